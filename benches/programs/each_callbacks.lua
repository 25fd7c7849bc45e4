-- Each/callbacks: a collections library in functional style. Exercises: passing closures to shared iteration
-- functions (each, map, filter, reduce, ...) from many call sites, so that the calls inside the library are
-- megamorphic; small anonymous functions with upvalues; method chaining.

local rounds = tonumber((...) or 1700)
local unpack = unpack or table.unpack

local List = {}
List.__index = List

local function list(items) return setmetatable(items, List) end

local function range(first, last, step)
  local items = {}
  for i = first, last, step or 1 do items[#items + 1] = i end
  return list(items)
end

function List:each(fn)
  for i = 1, #self do fn(self[i], i) end
  return self
end

function List:map(fn)
  local out = {}
  self:each(function(x, i) out[i] = fn(x) end)
  return list(out)
end

function List:filter(keep)
  local out = {}
  self:each(function(x)
    if keep(x) then out[#out + 1] = x end
  end)
  return list(out)
end

function List:reduce(initial, fn)
  local accumulator = initial
  self:each(function(x) accumulator = fn(accumulator, x) end)
  return accumulator
end

function List:sum() return self:reduce(0, function(a, b) return a + b end) end
function List:count(test) return self:reduce(0, function(n, x) return test(x) and n + 1 or n end) end

function List:flat_map(fn)
  local out = {}
  self:each(function(x)
    fn(x):each(function(y) out[#out + 1] = y end)
  end)
  return list(out)
end

function List:zip(other, fn)
  local out = {}
  self:each(function(x, i)
    if other[i] ~= nil then out[#out + 1] = fn(x, other[i]) end
  end)
  return list(out)
end

function List:find(test)
  for i = 1, #self do
    if test(self[i]) then return self[i] end
  end
  return nil
end

function List:all(test) return not self:find(function(x) return not test(x) end) end

function List:group_by(key)
  local groups, order = {}, list({})
  self:each(function(x)
    local k = key(x)
    if not groups[k] then
      groups[k] = list({})
      order[#order + 1] = k
    end
    table.insert(groups[k], x)
  end)
  return groups, order
end

function List:take_while(test)
  local out = {}
  for _, x in ipairs(self) do
    if not test(x) then break end
    out[#out + 1] = x
  end
  return list(out)
end

local function compose(...)
  local fns = { ... }
  return function(x)
    for i = #fns, 1, -1 do x = fns[i](x) end
    return x
  end
end

local function expect(actual, expected, what)
  if actual ~= expected then error(string.format("each_callbacks: %s: %d instead of %d", what, actual, expected)) end
end

local n = 120
local numbers = range(1, n)

local function even(x) return x % 2 == 0 end
local function square(x) return x * x end

local people = range(1, n):map(function(i)
  return { id = i, age = i * 7 % 60 + 10, team = i % 5, score = i * i % 101 }
end)

local function arithmetic()
  expect(numbers:map(square):sum(), n * (n + 1) * (2 * n + 1) / 6, "sum of squares")
  expect(numbers:filter(even):map(function(x) return x / 2 end):sum(), n / 2 * (n / 2 + 1) / 2, "halves of evens")
  expect(numbers:map(function(x) return 2 * x - 1 end):sum(), n * n, "sum of odds")
  expect(numbers:reduce(0, function(a, x) return (a * 10 + x) % 9 end), numbers:sum() % 9, "digits modulo nine")
  expect(numbers:reduce(0, math.max), n, "maximum")
  expect(numbers:zip(numbers:map(function(x) return n + 1 - x end), function(a, b) return a + b end):sum(), n * (n + 1),
    "zip")
end

local function predicates()
  expect(numbers:count(even), n / 2, "evens")
  expect(numbers:count(function(x) return x % 3 == 0 or x % 5 == 0 end), 56, "multiples of 3 or 5")
  expect(numbers:find(function(x) return x * x > 2000 end), 45, "find")
  expect(#numbers:take_while(function(x) return x < 50 end), 49, "take while")
  local primes = numbers:filter(function(x)
    return x > 1 and range(2, math.floor(math.sqrt(x))):all(function(d) return x % d ~= 0 end)
  end)
  expect(#primes, 30, "primes")
end

local function records()
  local groups, order = people:group_by(function(p) return p.team end)
  expect(#order, 5, "teams")
  local total = 0
  order:each(function(team)
    local members = groups[team]
    total = total + members:map(function(p) return p.score end):sum()
    expect(members:count(function(p) return p.team == team end), n / 5, "members")
  end)
  expect(total, people:reduce(0, function(a, p) return a + p.score end), "scores")
  local oldest = people:reduce(people[1], function(a, b) return b.age > a.age and b or a end)
  expect(people:count(function(p) return p.age > oldest.age end), 0, "older than the oldest")
  return total
end

local function nested()
  local pairs_count = 0
  range(1, 12):each(function(a)
    range(a, 30):each(function(b)
      local c = math.sqrt(a * a + b * b)
      if c == math.floor(c) then pairs_count = pairs_count + 1 end
    end)
  end)
  expect(pairs_count, 8, "triples")
  local triangle = range(1, 15):flat_map(function(i) return range(1, i) end)
  expect(#triangle, 120, "flat map")
  expect(triangle:sum(), 680, "tetrahedral number")
  local adders = range(1, 10):map(function(k)
    return function(x) return x + k end
  end)
  expect(compose(unpack(adders))(0), 55, "composition")
  expect(adders:reduce(1, function(x, f) return f(x) end), 56, "fold of functions")
end

local total = 0
for _ = 1, rounds do
  arithmetic()
  predicates()
  total = total + records()
  nested()
end
print(string.format("each_callbacks: %d rounds, total %d", rounds, total))
