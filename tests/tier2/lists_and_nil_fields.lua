-- Open lists whose length is recorded, and changes later; fields that are nil in their object.
local write = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  write(table.concat(line, "\t"))
end

local Class = {}
Class.__index = Class
Class.kind = "class"

local function new(x, y) return setmetatable({ x = x, y = y }, Class) end
local sum = 0
for i = 1, 300 do
  local o = new(i, i % 7 == 0 and i or nil)
  sum = sum + o.x + (o.y or 0)
end
print(sum)

-- A field that is nil in the object is the class's, until the class gets one.
local list = nil
for i = 1, 20 do list = setmetatable({ value = i, rest = list, kind = nil }, Class) end
local function walk()
  local n, kinds = 0, 0
  local at = list
  while at do
    n = n + at.value
    if at.kind == "class" then kinds = kinds + 1 end
    at = at.rest
  end
  return n, kinds
end
for i = 1, 60 do
  local n, kinds = walk()
  if i % 20 == 0 then print(n, kinds) end
  if i == 40 then Class.kind = "other" end
end
-- The end of the list is found in the class from now on.
Class.rest = { value = 1000 }
print(walk())
Class.rest = nil
print(walk())

-- Host functions in tail position, with one result, none, and several.
local function part(s, i) return string.byte(s, i, i + 1) end
local function first(s) return (string.byte(s, 1)) end
local function count(...) return select("#", ...) end
local function pass(...) return ... end
local total, lists = 0, 0
for i = 1, 300 do
  local a, b = part("abcdef", i % 7 + 1)
  total = total + (a or 0) + (b or 0) + first("x")
  lists = lists + #{ part("abcdef", i % 7 + 1) } + count(part("abcdef", i % 7 + 1))
end
print(total, lists)

-- Extra arguments, whose number changes.
local function sum_of(...)
  local s = 0
  for i = 1, select("#", ...) do s = s + (select(i, ...)) end
  return s
end
local function swap(a, b, ...) return b, a, ... end
local out = 0
for i = 1, 400 do
  if i % 5 == 0 then
    out = out + sum_of(i, 1, 2, 3)
  elseif i % 3 == 0 then
    out = out + sum_of()
  else
    out = out + sum_of(i, i)
  end
  local p = { pass(swap(i, 2, 3, 4)) }
  out = out + p[1] * #p
  local q = { swap(pass()) }
  out = out + #q
end
print(out)

-- Many values, which are not known one by one.
local many = {}
for i = 1, 40 do many[i] = i end
local n = 0
for i = 1, 100 do
  n = n + count(table.unpack(many, 1, i % 40))
  n = n + #{ table.unpack(many, 1, i % 20) }
  n = n + sum_of(table.unpack(many, 1, i % 18))
end
print(n)

-- Extra arguments are changed from outside.
local function meddled(...)
  local s = 0
  for i = 1, 50 do
    if i == 30 then debug.setlocal(1, -1, 1000) end
    local a = ...
    s = s + a
  end
  return s
end
for i = 1, 10 do meddled(1) end
print(meddled(1))

-- Errors in host functions in tail position.
local function fails(x) return string.rep(x, 2) end
for i = 1, 100 do
  local ok, message = pcall(fails, i % 50 == 0 and {} or "x")
  if not ok then print(i, message) end
end
local function protected(f, ...) return pcall(f, ...) end
local good = 0
for i = 1, 100 do
  local ok, a, b = protected(function(x, y) if x % 10 == 0 then error("ten", 0) end return y, x end, i, "y")
  if ok then good = good + b else good = good - #a end
end
print(good)

-- Selectors that are no constants, in and out of range; results of functions with extra arguments.
local function pick(n, ...)
  local s = 0
  for i = 1, n do s = s + (select(i, ...) or 7) end
  return s
end
local function both(a, ...)
  local x, y = select(a, ...)
  return x, y, a
end
local function three(...) return 1, 2, 3 end
local function none(...) return end
local picked = 0
for i = 1, 300 do
  picked = picked + pick(i % 6, 1, 2, 3)
  local a, b, c = both(i % 3 + 1, i, i + 1, i + 2)
  picked = picked + a + (b or 0) + c
  local d, e, f, g = three(i, i, i)
  picked = picked + d + e + f + #{ three(i) } + #{ none(i) } + (g and 1 or 0)
  local h = none(i, i)
  if h ~= nil then print("something") end
end
print(picked)
print(pcall(pick, -1, 1), pcall(function(...) local s = 0; for i = 1, -2, -1 do s = s + select(i, ...) end return s end, 1, 2))

-- Lists in memory at an exit of an executor.
local function listed(f, ...)
  local text
  for i = 1, 60 do
    local arguments = i < 40 and { 1, 2 } or { ... }
    local ok, e = pcall(f, table.unpack(arguments))
    if not ok then text = e end
  end
  return text
end
local function less(x, y) return x < y end
print(listed(less, 1.5, {}), listed(less, 1, "x"), listed(less), listed(less, 1.5, {}), listed(less, {}, 2, 3))
