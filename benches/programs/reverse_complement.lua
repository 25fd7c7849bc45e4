-- Reverse complement: reads sequences in FASTA format from a string and writes their reverse complements in lines of
-- 60 letters, in three ways: whole-string functions, byte tables, and a letter loop. Exercises: string.reverse,
-- gsub with a table, string.byte/char with many values, gmatch over lines, table.concat, unpack.

local n = tonumber((...) or 40000)
local ROUNDS = 2
local WIDTH = 60
local unpack = unpack or table.unpack

local complement = {}
do
  local from, to = "ACGTUMRWSYKVHDBNacgtumrwsykvhdbn", "TGCAAKYWSRMBDHVNTGCAAKYWSRMBDHVN"
  for i = 1, #from do complement[from:sub(i, i)] = to:sub(i, i) end
end
local complement_byte = {}
for k, v in pairs(complement) do complement_byte[k:byte()] = v:byte() end

local function make_input(length)
  local seed = 42
  local letters = "acgtACGTMRWSYKVHDBN"
  local out = {}
  for part = 1, 3 do
    out[#out + 1] = string.format(">SEQ%d made up sequence", part)
    local left = length * part + part
    while left > 0 do
      local row = {}
      for i = 1, math.min(WIDTH, left) do
        seed = seed * 16807 % 2147483647
        local k = seed % (part * 6) + 1
        row[i] = letters:sub(k, k)
      end
      out[#out + 1] = table.concat(row)
      left = left - #row
    end
  end
  return table.concat(out, "\n") .. "\n"
end

-- Each strategy takes a sequence without line breaks and returns the lines of its reverse complement in `out`.
local strategies = {}

function strategies.whole(sequence, out)
  local reversed = sequence:reverse():gsub("%a", complement)
  for at = 1, #reversed, WIDTH do out[#out + 1] = reversed:sub(at, at + WIDTH - 1) end
end

function strategies.bytes(sequence, out)
  local byte, char = string.byte, string.char
  local high = #sequence
  while high > 0 do
    local low = math.max(high - WIDTH + 1, 1)
    local row = { byte(sequence, low, high) }
    local size = #row
    for i = 1, math.floor((size + 1) / 2) do
      local j = size + 1 - i
      row[i], row[j] = complement_byte[row[j]], complement_byte[row[i]]
    end
    out[#out + 1] = char(unpack(row, 1, size))
    high = low - 1
  end
end

function strategies.letters(sequence, out)
  local row, size = {}, 0
  for i = #sequence, 1, -1 do
    size = size + 1
    row[size] = complement[sequence:sub(i, i)]
    if size == WIDTH then
      out[#out + 1] = table.concat(row, "", 1, size)
      size = 0
    end
  end
  if size > 0 then out[#out + 1] = table.concat(row, "", 1, size) end
end

local function process(input, strategy)
  local out, parts = {}, nil
  local function flush()
    if parts then strategy(table.concat(parts), out) end
  end
  for line in input:gmatch("[^\n]+") do
    if line:sub(1, 1) == ">" then
      flush()
      parts = {}
      out[#out + 1] = line
    else
      parts[#parts + 1] = line
    end
  end
  flush()
  return table.concat(out, "\n") .. "\n"
end

local function checksum(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b * 65536 + a
end

local input = make_input(n)
local result
for _ = 1, ROUNDS do
  result = process(input, strategies.whole)
  if process(input, strategies.bytes) ~= result then error("reverse_complement: bytes differ") end
  if process(input, strategies.letters) ~= result then error("reverse_complement: letters differ") end
  if process(process(result, strategies.bytes), strategies.whole) ~= result then
    error("reverse_complement: not its own inverse")
  end
end
if #result ~= #input then error("reverse_complement: wrong length") end
local sum = checksum(result)
if n == 40000 and sum ~= 1373983269 then error(string.format("reverse_complement: wrong checksum %d", sum)) end
print(string.format("reverse_complement: n %d, %d bytes, checksum %d", n, #result, sum))
