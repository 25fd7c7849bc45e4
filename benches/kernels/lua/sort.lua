-- Sorting records with a comparator.
local records, sorted = {}, {}
local seed = 42
for i = 1, 5000 do
  seed = (seed * 16807) % 2147483647
  records[i] = {key = seed}
end

return function(n)
  local sum = 0
  for _ = 1, n do
    for i = 1, #records do sorted[i] = records[i] end
    table.sort(sorted, function(a, b) return a.key < b.key end)
    sum = sum + sorted[17].key + sorted[2500].key
  end
  for i = 2, #sorted do assert(sorted[i - 1].key <= sorted[i].key) end
  return sum
end
