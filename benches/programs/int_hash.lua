-- Hash tables with sparse integer keys: inserts, successful and failing lookups, removal during a
-- traversal, reinsertion, and a table used as a memo of the Collatz function. The size is the
-- number of keys in thousands; counts and sums are checked for every size.
local n = tonumber((...) or 400)

local count = n * 1000

-- A bijection of 0 .. 2^32 - 1 that scatters the keys.
local function key(i)
  return (i * 1664525 + 1013904223) % 4294967296
end

local t = {}
for i = 1, count do t[key(i)] = i end

local hits, misses = 0, 0
for i = 1, 2 * count do
  local value = t[key(i)]
  if value == i then
    hits = hits + 1
  elseif value == nil then
    misses = misses + 1
  end
end
if hits ~= count or misses ~= count then error("int_hash: wrong lookups") end

local removed = 0
for k, v in pairs(t) do
  if v % 3 == 0 then
    t[k] = nil
    removed = removed + 1
  end
end
if removed ~= math.floor(count / 3) then error("int_hash: wrong removals " .. removed) end

for i = count + 1, count + removed do t[key(i)] = i end
local entries, sum = 0, 0
for _, v in pairs(t) do
  entries = entries + 1
  sum = sum + v
end
local expected = 0
for i = 1, count + removed do
  if i > count or i % 3 ~= 0 then expected = expected + i end
end
if entries ~= count or sum ~= expected then error("int_hash: wrong entries") end

-- Lengths of Collatz sequences with a memo; values far beyond the starting points occur.
local steps = { [1] = 0 }
local longest, at, memoized = 0, 1, 1
for start = 2, count do
  local path, value = {}, start
  while not steps[value] do
    path[#path + 1] = value
    if value % 2 == 0 then
      value = math.floor(value / 2)
    else
      value = 3 * value + 1
    end
  end
  local length = steps[value]
  for i = #path, 1, -1 do
    length = length + 1
    steps[path[i]] = length
  end
  memoized = memoized + #path
  if steps[start] > longest then longest, at = steps[start], start end
end
if count >= 100000 and steps[77031] ~= 350 then error("int_hash: wrong Collatz length") end
print(string.format("%d entries, sum %.0f, %d memoized, %d steps from %d", entries, sum, memoized,
  longest, at))
