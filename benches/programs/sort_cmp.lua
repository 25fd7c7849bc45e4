-- Sort with comparators: table.sort on objects by one field, by several fields, by a computed key, in reverse order,
-- and through the `__lt` metamethod; plus a stable merge sort written in Lua with a comparator argument. Exercises:
-- calls from the library back into Lua functions, closures as comparators, field access.

local n = tonumber((...) or 28000)
local ROUNDS = 2

local seed = 4711
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit
end

local Person = {}
Person.__index = Person
Person.__lt = function(a, b) return a.id < b.id end

local names = { "ada", "alan", "barbara", "donald", "edsger", "grace", "john", "ken", "niklaus", "robin", "tony" }

function Person.new(id)
  return setmetatable({ id = id, name = names[random(#names) + 1], age = random(80), score = random(10000) / 16 }, Person)
end

function Person:key() return self.age * 1000 + self.score end

local function by(field)
  return function(a, b) return a[field] < b[field] end
end

local function descending(less)
  return function(a, b) return less(b, a) end
end

-- Orders by each of the given fields in turn.
local function by_fields(...)
  local fields = { ... }
  local count = #fields
  return function(a, b)
    for i = 1, count do
      local x, y = a[fields[i]], b[fields[i]]
      if x ~= y then return x < y end
    end
    return false
  end
end

local function merge_sort(t, less)
  local size, from, to = #t, t, {}
  local width = 1
  while width < size do
    for low = 1, size, 2 * width do
      local i, middle, high = low, math.min(low + width, size + 1), math.min(low + 2 * width, size + 1)
      local j = middle
      for k = low, high - 1 do
        if i < middle and (j >= high or not less(from[j], from[i])) then
          to[k] = from[i]
          i = i + 1
        else
          to[k] = from[j]
          j = j + 1
        end
      end
    end
    from, to = to, from
    width = 2 * width
  end
  return from
end

local function copy(t)
  local c = {}
  for i = 1, #t do c[i] = t[i] end
  return c
end

local function check(t, less, what)
  local seen, sum = 0, 0
  for i = 1, #t do
    seen, sum = seen + 1, sum + t[i].id
    if i > 1 and less(t[i], t[i - 1]) then error("sort_cmp: not sorted: " .. what) end
  end
  if seen ~= n or sum ~= n * (n + 1) / 2 then error("sort_cmp: elements lost: " .. what) end
end

local checksum = 0
for _ = 1, ROUNDS do
  local people = {}
  for i = 1, n do people[i] = Person.new(i) end
  for i = n, 2, -1 do
    local j = random(i) + 1
    people[i], people[j] = people[j], people[i]
  end
  local orders = {
    { "score", by("score") },
    { "name", by("name") },
    { "age, descending", descending(by("age")) },
    { "name, age, id", by_fields("name", "age", "id") },
    { "computed key", function(a, b) return a:key() < b:key() end },
    { "inline", function(a, b) return a.age < b.age or a.age == b.age and a.id > b.id end },
  }
  for _, order in ipairs(orders) do
    local t = copy(people)
    table.sort(t, order[2])
    check(t, order[2], order[1])
  end
  local t = copy(people)
  table.sort(t)
  for i = 1, n do
    if t[i].id ~= i then error("sort_cmp: not sorted by __lt") end
  end
  local stable = merge_sort(merge_sort(people, by("id")), by("age"))
  check(stable, by_fields("age", "id"), "stable merge sort")
  local strict = copy(people)
  table.sort(strict, by_fields("name", "age", "id"))
  for i = 1, n, 7 do checksum = (checksum * 31 + strict[i].id + stable[i].age) % 1000003 end
end
if n == 28000 and checksum ~= 379781 then error("sort_cmp: wrong checksum " .. checksum) end
print(string.format("sort_cmp: n %d, checksum %d", n, checksum))
