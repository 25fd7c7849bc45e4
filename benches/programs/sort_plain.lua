-- Sort, default order: table.sort without a comparator on numbers, floats and strings, in random, ascending,
-- descending, nearly sorted and many-duplicates order. Exercises: the library's sort with its built-in comparison.

local n = tonumber((...) or 50000)
local ROUNDS = 3

local seed = 99
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit
end

local function check(t, size, sum, weigh, what)
  local actual = 0
  for i = 1, size do
    actual = actual + weigh(t[i])
    if i > 1 and t[i] < t[i - 1] then error("sort_plain: not sorted: " .. what) end
  end
  if #t ~= size or actual ~= sum then error("sort_plain: elements changed: " .. what) end
end

local function fill(size, make)
  local t = {}
  for i = 1, size do t[i] = make(i) end
  return t
end

local function identity(x) return x end

local letters = "abcdefghijklmnopqrstuvwxyz"
local function word()
  local first, length = random(20) + 1, random(6)
  return letters:sub(first, first + length) .. random(5000)
end

local cases = {
  { "random integers", function() return random(1000000) end, identity },
  { "random floats", function() return random(1000000) / 64 end, identity },
  { "ascending", function(i) return i end, identity },
  { "descending", function(i) return n - i end, identity },
  { "nearly sorted", function(i) return i + random(8) end, identity },
  { "few values", function() return random(10) end, identity },
  { "strings", word, string.len },
}

local median = 0
for _ = 1, ROUNDS do
  for _, case in ipairs(cases) do
    local what, make, weigh = case[1], case[2], case[3]
    local t = fill(n, make)
    local sum = 0
    for i = 1, n do sum = sum + weigh(t[i]) end
    table.sort(t)
    check(t, n, sum, weigh, what)
    if what == "random integers" then median = median + t[math.floor(n / 2)] end
  end
end

-- Many small sorts.
local small = 0
for _ = 1, math.floor(n / 10) do
  local t = fill(12, function() return random(100) end)
  table.sort(t)
  for i = 2, 12 do
    if t[i] < t[i - 1] then error("sort_plain: not sorted: small") end
  end
  small = small + t[1] + t[12]
end
if n == 50000 and (median ~= 1501347 or small ~= 495356) then
  error(string.format("sort_plain: wrong checksum %d %d", median, small))
end
print(string.format("sort_plain: n %d, medians %d, small %d", n, median, small))
