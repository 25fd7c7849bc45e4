-- Objects that are not made where they are written, and must be there as soon as anybody looks: at side exits, for other
-- executors, in error messages, for debug.getlocal, after a collection.
local function show(t)
  local parts = {}
  for k, v in pairs(t) do parts[#parts + 1] = tostring(k) .. "=" .. tostring(v) end
  table.sort(parts)
  return "{" .. table.concat(parts, " ") .. "}"
end

-- Fields, seen at side exits that become hot.
local function points(n)
  local s, kept = 0, {}
  for i = 1, n do
    local p = {x = i, y = i * 0.5}
    p.z = p.x + p.y
    if i % 7 == 0 then kept[#kept + 1] = show(p) end
    if i % 3 == 0 then p.x = p.x + 1 end
    s = s + p.x + p.z
  end
  return s, table.concat(kept, " ")
end
print(points(40))

-- Arrays of one kind and of several, their length, and elements that are replaced and added.
local function arrays(n)
  local s, seen = 0, {}
  for i = 1, n do
    local a, b = {i, i + 1, i + 2}, {i, "x", 2.5, true}
    a[2] = a[1] + a[3]
    local swapped = {a[2], a[1]}
    s = s + #a + #b + swapped[1] - swapped[2]
    if i % 10 == 0 then seen[#seen + 1] = show(a) .. show(b) .. show(swapped) .. #a end
    b[5] = i
    if i % 11 == 0 then seen[#seen + 1] = show(b) .. #b end
  end
  return s, table.concat(seen, " ")
end
print(arrays(50))

-- Objects that refer to each other, and to themselves.
local function circles(n)
  local found = 0
  for i = 1, n do
    local a = {value = i}
    local b = {other = a, value = -i}
    a.other = b
    a.self = a
    if i % 5 == 0 then
      assert(a.other.other == a and a.self.self == a and rawequal(b.other, a))
      found = found + a.other.value + b.other.value + i
      if i % 2 == 0 then found = found + (next(a) and 1 or 0) end
    end
    assert(a.other.other == a.self)
  end
  return found
end
print(circles(60))

-- Metatables.
local Vector = {}
Vector.__index = Vector
Vector.__add = function(a, b) return setmetatable({x = a.x + b.x, y = a.y + b.y}, Vector) end
Vector.__eq = function(a, b) return a.x == b.x and a.y == b.y end
Vector.__tostring = function(a) return "<" .. a.x .. "," .. a.y .. ">" end
function Vector.new(x, y) return setmetatable({x = x, y = y}, Vector) end
function Vector:length2() return self.x * self.x + self.y * self.y end
local function vectors(n)
  local s, seen = 0, {}
  local sum = Vector.new(0, 0)
  for i = 1, n do
    local v = Vector.new(i, 1) + Vector.new(1, i)
    s = s + v:length2()
    if i % 9 == 0 then sum = sum + v seen[#seen + 1] = tostring(v) end
    if v == Vector.new(11, 11) then seen[#seen + 1] = "equal" end
  end
  return s, tostring(sum), table.concat(seen, " ")
end
print(vectors(40))

-- Closures and what they capture.
local function closures(n)
  local s, kept = 0, {}
  for i = 1, n do
    local k = i
    local add = function(x) k = k + x return k end
    local get = function() return k end
    s = s + add(2) + add(3) - get()
    if i % 8 == 0 then kept[#kept + 1] = {add, get} end
    local function count(m) if m == 0 then return k end return count(m - 1) end
    s = s + count(2)
  end
  for _, pair in ipairs(kept) do s = s * 3 % 1000003 + pair[1](1) + pair[2]() end
  return s
end
print(closures(50))

-- Made before the loop, and used in it.
local function before(n)
  local limits, s = {low = 3, high = 20}, 0
  local step = function(x) return x + limits.low end
  for i = 1, n do
    if i > limits.low and i < limits.high then s = step(s) + i end
  end
  return s, show(limits)
end
for _ = 1, 5 do print(before(30)) end

-- Carried around the loop.
local function carried(n)
  local last, first = {v = 0, n = 0}, nil
  for i = 1, n do
    local new = {v = last.v + i, n = last.n + 1}
    if i == 1 then first = last end
    last = new
  end
  return last.v, last.n, first.v
end
print(carried(45))

-- Errors and traces while objects are virtual.
local object, access
local function fails(n)
  for i = 1, n do
    local o = {i, name = "o" .. i}
    local f = function() return o end
    if i == n then
      object, access = o, f
      error(f() == o and "the same" or "another", 0)
    end
  end
end
for n = 20, 22 do
  print(tostring(pcall(fails, n)), select(2, pcall(fails, n)))
  print(show(object), tostring(access() == object))
end
local function looks(n)
  local seen = {}
  for i = 1, n do
    local o = {a = i, b = {i}}
    if i % 6 == 0 then
      local name, v
      for at = 1, 20 do
        name, v = debug.getlocal(1, at)
        if name == "o" then break end
      end
      seen[#seen + 1] = name .. v.a + v.b[1]
      v.a = 100
    end
    seen[1] = o.a
  end
  return table.concat(seen, " ")
end
print(looks(40))

-- Collections in the middle.
local function collecting(n)
  local weak, s = setmetatable({}, {__mode = "k"}), 0
  for i = 1, n do
    local o = {v = {i}}
    local p = {o, o}
    if i % 10 == 0 then
      weak[p] = i
      collectgarbage()
      s = s + weak[p]
    end
    s = s + p[1].v[1] + (p[1] == p[2] and 1 or 0)
  end
  return s
end
print(collecting(60))

-- Suspended.
local function producer(n)
  return coroutine.wrap(function()
    for i = 1, n do
      local o = {at = i, double = function() return i * 2 end}
      if i % 4 == 0 then coroutine.yield(o) end
    end
  end)
end
local s = 0
for o in producer(40) do s = s + o.at + o.double() end
print(s)

-- A finalizer must be found.
local finalized = 0
for i = 1, 30 do
  local o = setmetatable({i}, {__gc = function(o) finalized = finalized + o[1] end})
end
collectgarbage()
collectgarbage()
print(finalized)
