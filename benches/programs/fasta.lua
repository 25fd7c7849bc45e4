-- Fasta: generates DNA sequences by repetition and by weighted random choice, written in FASTA lines into a buffer.
-- Exercises: a linear congruential generator in plain arithmetic, cumulative probability tables with linear and
-- binary search, closures, string.sub/string.char, line buffering with table.concat.

local n = tonumber((...) or 280000)
local WIDTH = 60

local IM, IA, IC = 139968, 3877, 29573

local function generator(seed)
  return function(max)
    seed = (seed * IA + IC) % IM
    return max * seed / IM
  end
end

local Writer = {}
Writer.__index = Writer

function Writer.new() return setmetatable({ lines = {}, count = 0 }, Writer) end

function Writer:line(text)
  self.count = self.count + 1
  self.lines[self.count] = text
end

function Writer:text() return table.concat(self.lines, "\n") .. "\n" end

local alu = "GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGG" .. "GAGGCCGAGGCGGGCGGATCACCTGAGGTCAGGAGTTCGAGA"
  .. "CCAGCCTGGCCAACATGGTGAAACCCCGTCTCTACTAAAAAT" .. "ACAAAAATTAGCCGGGCGTGGTGGCGCGCGCCTGTAATCCCA"
  .. "GCTACTCGGGAGGCTGAGGCAGGAGAATCGCTTGAACCCGGG" .. "AGGCGGAGGTTGCAGTGAGCCGAGATCGCGCCACTGCACTCC"
  .. "AGCCTGGGCGACAGAGCGAGACTCCGTCTCAAAAA"

local iub = {
  { "a", 0.27 }, { "c", 0.12 }, { "g", 0.12 }, { "t", 0.27 }, { "B", 0.02 }, { "D", 0.02 }, { "H", 0.02 }, { "K", 0.02 },
  { "M", 0.02 }, { "N", 0.02 }, { "R", 0.02 }, { "S", 0.02 }, { "V", 0.02 }, { "W", 0.02 }, { "Y", 0.02 },
}

local homo_sapiens = { { "a", 0.3029549426680 }, { "c", 0.1979883004921 }, { "g", 0.1975473066391 }, { "t", 0.3015094502008 } }

local function repeat_fasta(out, title, source, count)
  out:line(">" .. title)
  local length = #source
  local doubled = source .. source
  local at = 1
  while count > 0 do
    local width = math.min(WIDTH, count)
    out:line(doubled:sub(at, at + width - 1))
    at = (at + width - 1) % length + 1
    count = count - width
  end
end

local function cumulative(weights)
  local codes, limits, sum = {}, {}, 0
  for i, pair in ipairs(weights) do
    sum = sum + pair[2]
    codes[i], limits[i] = pair[1]:byte(), sum
  end
  limits[#limits] = math.max(sum, 1)
  return codes, limits
end

local function linear(limits)
  return function(x)
    local i = 1
    while limits[i] <= x do i = i + 1 end
    return i
  end
end

local function binary(limits)
  return function(x)
    local low, high = 1, #limits
    while low < high do
      local middle = math.floor((low + high) / 2)
      if limits[middle] <= x then low = middle + 1 else high = middle end
    end
    return low
  end
end

local function random_fasta(out, title, weights, count, random, make_search)
  out:line(">" .. title)
  local codes, limits = cumulative(weights)
  local search = make_search(limits)
  local char, concat = string.char, table.concat
  local letters = {}
  for i, code in ipairs(codes) do letters[i] = char(code) end
  local row = {}
  while count > 0 do
    local width = math.min(WIDTH, count)
    for i = 1, width do row[i] = letters[search(random(1))] end
    out:line(concat(row, "", 1, width))
    count = count - width
  end
end

local function generate(make_search)
  local out, random = Writer.new(), generator(42)
  repeat_fasta(out, "ONE Homo sapiens alu", alu, 2 * n)
  random_fasta(out, "TWO IUB ambiguity codes", iub, 3 * n, random, make_search)
  random_fasta(out, "THREE Homo sapiens frequency", homo_sapiens, 5 * n, random, make_search)
  return out:text()
end

local function checksum(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b * 65536 + a
end

local text = generate(linear)
if generate(binary) ~= text then error("fasta: the two searches differ") end
local sum = checksum(text)

-- The observed frequencies must be near the given ones.
local start = text:find(">THREE", 1, true)
local body = text:sub(text:find("\n", start, true) + 1)
for _, pair in ipairs(homo_sapiens) do
  local _, count = body:gsub(pair[1], "")
  if n >= 1000 and math.abs(count / (5 * n) - pair[2]) > 0.01 then error("fasta: wrong frequency of " .. pair[1]) end
end
if n == 280000 and sum ~= 1533926472 then error(string.format("fasta: wrong checksum %d", sum)) end
print(string.format("fasta: n %d, %d bytes, checksum %d", n, #text, sum))
