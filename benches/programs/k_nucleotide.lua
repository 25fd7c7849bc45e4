-- K-nucleotide: counts the frequencies of all substrings of several lengths in a DNA sequence, prints the shortest
-- ones sorted by frequency, and looks some longer ones up. Exercises: hash tables with string keys made by
-- string.sub, table counters, sorting with a two-level comparator, string formatting.

local n = tonumber((...) or 90000)

local function make_sequence(length)
  local seed = 42
  local limits = { { "A", 0.30295 }, { "C", 0.50094 }, { "G", 0.69849 }, { "T", 1.1 } }
  local parts = {}
  for i = 1, length do
    seed = (seed * 3877 + 29573) % 139968
    local x = seed / 139968
    for k = 1, 4 do
      if x < limits[k][2] then
        parts[i] = limits[k][1]
        break
      end
    end
    -- A repeated motif now and then, so that long substrings recur.
    if i % 1000 >= 990 then parts[i] = ("GGTATTTTAA"):sub(i % 10 + 1, i % 10 + 1) end
  end
  return table.concat(parts)
end

local Counter = {}
Counter.__index = Counter

function Counter.new(sequence, width)
  local counts = {}
  local sub = string.sub
  for i = 1, #sequence - width + 1 do
    local key = sub(sequence, i, i + width - 1)
    counts[key] = (counts[key] or 0) + 1
  end
  return setmetatable({ counts = counts, width = width, total = #sequence - width + 1 }, Counter)
end

function Counter:of(key) return self.counts[key] or 0 end

-- Substrings in order of falling frequency, then of the alphabet.
function Counter:ranking()
  local counts, keys = self.counts, {}
  for key in pairs(counts) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local x, y = counts[a], counts[b]
    if x ~= y then return x > y end
    return a < b
  end)
  return keys
end

function Counter:check()
  local sum = 0
  for key, count in pairs(self.counts) do
    if #key ~= self.width then error("k_nucleotide: wrong key " .. key) end
    sum = sum + count
  end
  if sum ~= self.total then error("k_nucleotide: wrong total") end
end

-- Counts by scanning with string.find; an independent check.
local function count_by_find(sequence, key)
  local count, at = 0, 1
  while true do
    at = sequence:find(key, at, true)
    if not at then return count end
    count = count + 1
    at = at + 1
  end
end

local sequence = make_sequence(n)
local lines = {}
for width = 1, 2 do
  local counter = Counter.new(sequence, width)
  counter:check()
  local top = counter:ranking()[1]
  lines[#lines + 1] = string.format("%s %.3f", top, counter:of(top) * 100 / counter.total)
end
local checksum = 0
for _, width in ipairs({ 3, 4, 6, 8, 12, 18 }) do
  local counter = Counter.new(sequence, width)
  counter:check()
  local keys = counter:ranking()
  for i = 1, math.min(#keys, 500) do
    checksum = (checksum * 31 + counter:of(keys[i]) * i + keys[i]:byte(1)) % 1000003
  end
  for i = 1, math.min(#keys, 3) do
    if count_by_find(sequence, keys[i]) ~= counter:of(keys[i]) then error("k_nucleotide: wrong count of " .. keys[i]) end
  end
  local motif = ("GGTATTTTAATTTATAGT"):sub(1, width)
  if count_by_find(sequence, motif) ~= counter:of(motif) then error("k_nucleotide: wrong count of " .. motif) end
end
if n == 90000 and checksum ~= 616125 then error(string.format("k_nucleotide: wrong checksum %d", checksum)) end
print(string.format("k_nucleotide: n %d, %s, checksum %d", n, table.concat(lines, ", "), checksum))
