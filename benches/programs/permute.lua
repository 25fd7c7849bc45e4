-- Heap's algorithm, recursively, with a callback for each permutation of ten elements: recursion,
-- calls of a closure that updates upvalues, swaps in a small array. The size is the number of
-- repetitions. The number of visits is checked, and that every element comes first equally often.
local n = tonumber((...) or 7)

local length, factorial = 10, 3628800
local items = {}
for i = 1, length do items[i] = i end

local visits, weighted = 0, 0
local first_counts = {}
for i = 1, length do first_counts[i] = 0 end

local function visit()
  visits = visits + 1
  local first = items[1]
  first_counts[first] = first_counts[first] + 1
  weighted = (weighted + visits * items[length]) % 1000003
end

local function permute(k)
  if k == 1 then
    visit()
    return
  end
  for i = 1, k - 1 do
    permute(k - 1)
    if k % 2 == 0 then
      items[i], items[k] = items[k], items[i]
    else
      items[1], items[k] = items[k], items[1]
    end
  end
  permute(k - 1)
end

for _ = 1, n do permute(length) end
if visits ~= n * factorial then error("permute: wrong number of visits " .. visits) end
for i = 1, length do
  if first_counts[i] * length ~= visits then error("permute: wrong count for " .. i) end
end
if n == 7 and weighted ~= 977909 then error("permute: checksum " .. weighted) end
print(string.format("%d permutations, checksum %d", visits, weighted))
