-- List: recursive functions over singly linked lists (Takeuchi's function on list lengths, append, reverse, merge
-- sort). Exercises: deep recursion, pointer chasing, nil tests, allocation of two-field objects.

local n = tonumber((...) or 20)

local Cell = {}
Cell.__index = Cell

local function cons(value, rest) return setmetatable({ value = value, rest = rest }, Cell) end

function Cell:length()
  local rest = self.rest
  return rest and 1 + rest:length() or 1
end

local function make(length)
  if length == 0 then return nil end
  return cons(length, make(length - 1))
end

local function shorter(x, y)
  while y do
    if not x then return true end
    x, y = x.rest, y.rest
  end
  return false
end

local function tail(x, y, z)
  if shorter(y, x) then
    return tail(tail(x.rest, y, z), tail(y.rest, z, x), tail(z.rest, x, y))
  end
  return z
end

local function append(a, b)
  if not a then return b end
  return cons(a.value, append(a.rest, b))
end

local function reverse(a)
  local result
  while a do a, result = a.rest, cons(a.value, result) end
  return result
end

local function split(a)
  if not a then return nil, nil end
  local left, right = split(a.rest)
  return cons(a.value, right), left
end

local function merge(a, b)
  if not a then return b end
  if not b then return a end
  if b.value < a.value then return cons(b.value, merge(a, b.rest)) end
  return cons(a.value, merge(a.rest, b))
end

local function sort(a)
  if not a or not a.rest then return a end
  local left, right = split(a)
  return merge(sort(left), sort(right))
end

for _ = 1, n do
  local result = tail(make(18), make(12), make(6))
  if result:length() ~= 7 then error("list: wrong length " .. result:length()) end
end

local seed, numbers = 12345, nil
local LENGTH = 2000
local sum = 0
for _ = 1, LENGTH do
  seed = seed * 16807 % 2147483647
  numbers = cons(seed % 10000, numbers)
  sum = sum + seed % 10000
end
local sorted_sum = 0
for _ = 1, n do
  local sorted = sort(append(numbers, reverse(numbers)))
  local previous, count = -1, 0
  while sorted do
    if sorted.value < previous then error("list: not sorted") end
    previous, count = sorted.value, count + 1
    sorted_sum = sorted_sum + sorted.value
    sorted = sorted.rest
  end
  if count ~= 2 * LENGTH then error("list: elements lost") end
end
if sorted_sum ~= 2 * n * sum then error("list: elements changed") end
print(string.format("list: n %d, sum %d", n, sorted_sum))
