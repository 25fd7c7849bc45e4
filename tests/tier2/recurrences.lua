-- Elements that a pass of a loop stores and a later one loads.
local pending, show = "", print
local function write(...) pending = pending .. table.concat({...}) end
local function print(...)
  show(pending, ...)
  pending = ""
end
local function filled(n, f)
  local t = {}
  for i = 1, n do t[i] = f(i) end
  return t
end
local function floats(n) return filled(n, function(i) return i % 7 * 0.5 end) end
local function integers(n) return filled(n, function(i) return i % 11 end) end
local function sum(t)
  local s = 0
  for i = 1, #t do s = s * 3 % 1000003 + t[i] end
  return s
end

local function forward(t, from, to)
  for i = from, to do t[i] = t[i - 1] * 0.5 + t[i] end
end
local function backward(t, from, to)
  for i = from, to, -1 do t[i] = t[i + 1] - t[i] end
end
local function strided(t, from, to)
  for i = from, to, 2 do t[i] = t[i - 2] + t[i - 1] * 0.25 end
end
local function ahead(t, from, to)
  for i = from, to do t[i + 1] = t[i] + t[i + 1] * 0.125 end
end
local function against(t, from, to)
  for i = from, to do t[i] = t[i + 1] + t[i + 2] end
end
local function twice(t, from, to)
  for i = from, to do
    t[i] = t[i - 1] + 1.5
    t[i] = t[i] * 0.5 + t[i - 1]
  end
end
local function two_steps(t, from, to)
  for i = from, to do
    t[i] = t[i - 2] + 0.5
    t[i - 1] = t[i] - t[i - 1]
  end
end
local loops = {forward, ahead, strided, two_steps, twice, against}
for k = 1, 3 do
  for _, make in ipairs {floats, integers} do
    for number, loop in ipairs(loops) do
      local t = make(60)
      loop(t, 3, 50)
      loop(t, 20, 20)
      loop(t, 20, 19)
      loop(t, 4, 58)
      write(number, ":", string.format("%.14g", sum(t)), " ")
    end
    local t = make(60)
    backward(t, 58, 2)
    backward(t, 59, 59)
    print(string.format("%.14g", sum(t)))
  end
end

-- One array under two names, or not.
local function pair(a, b, from, to)
  for i = from, to do
    a[i] = a[i - 1] + b[i]
    b[i - 1] = a[i] * 0.5
    b[i + 1] = a[i - 1] - 0.25
  end
end
for k = 1, 4 do
  local a, b, c = floats(40), floats(40), integers(40)
  pair(a, b, 2, 39)
  pair(a, a, 2, 39)
  pair(c, b, 2, 39)
  pair(b, c, 2, 39)
  print(string.format("%.14g %.14g %.14g", sum(a), sum(b), sum(c)))
end

-- Integers, and values that change their type on the way.
local function prefix(t, from, to)
  for i = from, to do t[i] = t[i] + t[i - 1] end
end
for k = 1, 4 do
  local t = integers(50)
  prefix(t, 2, 50)
  t[25] = k % 2 == 0 and 0.5 or t[25]
  prefix(t, 2, 50)
  t[10] = math.maxinteger
  prefix(t, 2, 50)
  print(sum(t), t[9], t[50], (select(2, pcall(prefix, t, 2, 51)):gsub("^.-:%d+: ", "")))
  t[30] = {}
  print(select(2, pcall(prefix, t, 2, 50)):gsub("^.-:%d+: ", ""))
end

-- Loops that are left in the middle, and that go beyond their arrays.
local function until_large(t, from, to)
  for i = from, to do
    t[i] = t[i - 1] * 1.5 + t[i]
    if t[i] > 100 then return i end
  end
end
local function beyond(t, from, to)
  local n = 0
  for i = from, to do
    t[i] = (t[i - 1] or 7) + 0.5
    n = n + 1
  end
  return n
end
for k = 1, 4 do
  local t = floats(30)
  print(until_large(t, 2, 30), until_large(t, 2, 30), beyond(t, 2, 33), beyond(t, -3, 5), #t, string.format("%.14g", sum(t)), t[-3], t[0])
end
