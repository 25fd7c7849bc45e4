-- Section 6.10: hooks.

-- Runs each piece in a coroutine with a hook and shows its events.
local function events_of(source, mask)
  local f = assert(load(source, "=t"))
  local events = {}
  local co = coroutine.create(f)
  debug.sethook(co, function(event, line)
    if debug.getinfo(2, "S").short_src == "t" then
      events[#events + 1] = (event == "line" and "" or event .. " ") .. tostring(line)
    end
  end, mask)
  local ok, e = coroutine.resume(co)
  return table.concat(events, ", "), ok, ok or e
end

local pieces = {
[===[
local function f(a, b, c)

  local function g() return a, b, c end
  return g
end
return f(1, 2, 3)
]===],
[===[
local function f(a, b, ...)
  return function() return a, b end
end
f(1,
  2)
local function g(a, b) local c = function() return a, b, c end
end
g()
]===],
[===[
local a
if a
then
  a = 1
elseif not
  a
then a = 2
end
if (a
    or a
  )
then
  a = nil
end
if a and
  a.b
then
  a = 3
else
  a = 4
end
]===],
[===[
local a = 1
while (a
)
do
  a = nil
end
repeat
  local b = a
until (
  not b
)
for i = 1, 2 do
  if i
    then
    break
  end
end
if
  nil
then
  a = 5
end
]===],
[===[
local a = 1
local b = 2
for i = 1, 3 do
  a = a + i
end
return a
]===],
[===[
for i = 1, 3 do a = i end
for i = 1, 2 do
end
]===],
[===[
local t = {}
for k, v in pairs({1,2,3}) do
  t[k] = v
end
for k, v in next, {1} do t[k] = v end
]===],
[===[
local i = 0
while i < 3 do
  i = i + 1
end
]===],
[===[
local i = 0
while
  i < 3
do
  i = i + 1
  if i == 2 then
    i = i
  else
    i = i + 0
  end
end
]===],
[===[
local i = 0
repeat
  i = i + 1
until i > 3
]===],
[===[
local i = 0
repeat local x = i
  i = i + 1
  local function f() return x end
until
  f() > 3
]===],
[===[
local function f(a)
  if a then
    return 1
  end
  return 2
end
f(true)
f(false)
f(nil)
]===],
[===[
local function f(...)
  local a = ...
  return a
end
f(1,
  2,
  3)
]===],
[===[
local t = {
  1,
  2,
  x = 3,
  f = function()
    return 1
  end,
}
t.f()
]===],
[===[
local s = "a" ..
  "b" ..
  tostring(1)
local x = 1 +
   2 *
   #s
]===],
[===[
goto a
::a::
do
  local i = 1
  ::top::
  i = i + 1
  if i < 4 then goto top end
end
]===],
[===[
for i = 1, 4 do
  if i == 2 then
    goto continue
  end
  local x = i
  ::continue::
end
]===],
[===[
for i = 1, 4 do
  if i == 3 then break end
  local x = i
end
local y = 1
]===],
[===[
local function g() return 1 end
local function f()
  return g()
end
f()
local a, b, c = f(),
  g(),
  f()
]===],
[===[
local mt = setmetatable({}, {__index = function(t, k)
  return k
end, __add = function(a, b)
  return 1
end})
local x = mt.foo
local y = mt + 1
if mt.x == "x" and
   mt.y == "y" or
   mt.z then
  x = 1
end
]===],
[===[
do
  local x <close> = setmetatable({}, {__close = function()
    local z = 1
  end})
  local y = 2
end
local function f()
  local x <close> = setmetatable({}, {__close = function()
    local z = 1
  end})
  return 1
end
f()
f()
]===],
[===[
local co = coroutine.wrap(function()
  coroutine.yield(1)
  coroutine.yield(2)
end)
co()
co()
co()
]===],
[===[
local a <const> = 5
local b <const> = a + 1
local x = a + b
local function f() return a end
f()
]===],
[===[
while true do
  if x then
    break
  end
  x = 1
end
x = nil
]===],
[===[
local a = {}
a.x = 1 a.y = 2
a.z = 3;
(function() a.w = 4 end)()
pcall(error, "x")
pcall(function()
  error("y")
end)
local z
]===],
[===[
if false then
  x = 1
elseif nil then
  x = 2
else
  x = 3
end
if not false then x = 4 end
]===],
[===[
local function fact(n)
  if n == 0 then return 1 end
  return n * fact(n - 1)
end
fact(3)
]===],
[===[
local x = 10
local y = x > 5
  and x
  or 3
local z = not (x
  == y)
return x,
  y,
  z
]===],
[===[
local t = {10,20,30}
for i, v in ipairs(t) do
  if v == 20 then
    t[i] = 1
  end
end
table.sort(t, function(a, b)
  return a < b
end)
]===],
[===[
local function f() end
f()
f() f()
f(f())
]===],
[===[
local i = 1
while i < 3 do i = i + 1 end
repeat i = i - 1 until i == 0
for j = 1, 2 do for k = 1, 2 do i = j end end
]===],
[===[
local n = 0
for i = 1, 2 do
  for j = 1, 2 do
    n = n + 1
  end
end
for i = 10, 1 do
  n = 0
end
while false do
  n = 1
end
]===],
[===[
local s = 0
for i = 1,
        3,
        1 do
  s = s
    + i
end
]===],
[===[
a = 1
b = 2

c = function()

  return a
    + b

end

c()
local function h(x)
  do
    local y = x
    if y then do return y end end
  end
end
h(1) h()
]===],
[===[
local t = {}
t[1],
t[2] =
  1,
  2
t.a, t.b = t.b,
 t.a
local x, y
x = 1; y = 2
]===],
[===[
local function f(x)
  local a = x or
    5
  local b = x and
     x.y
  return a
end
f()
f({})
]===],
[===[
x = string.format("%d",
  3):rep(
  2):upper()
]===],
[===[
local a
local b, c
local function v() end
local d <close> = nil
local function w() a = 1 b = 2 end
w()
local e = 1
do local a <const> = 1 end
do end
;
;
e = 2
]===],
[===[
for i = 1, 2 do
  local x = function() return i end
  x()
end
for k, v in pairs {a = 1} do local f = function() return k end end
]===],
[===[
while true do
  local i = 1
  if i then break end
end
do goto e end
::e::
local q
do
  goto f
  ::f::
end
]===],
[===[
local i = 1
::a:: i = i + 1
if i == 3 then goto b end
goto a
::b::
i = 5
]===],
}
for i, piece in ipairs(pieces) do
  check("lines of piece " .. i, events_of(piece, "l"))
  check("events of piece " .. i, events_of(piece, "crl"))
end

-- Which lines have code.
for i, piece in ipairs(pieces) do
  local lines = {}
  for line in pairs(debug.getinfo(load(piece), "L").activelines) do lines[#lines + 1] = line end
  table.sort(lines)
  check("active lines of piece " .. i, table.concat(lines, " "))
end

-- Setting and getting.
local function h() end
check("no hook", debug.gethook())
debug.sethook(h, "crl", 7)
local f, mask, count = debug.gethook()
debug.sethook()
check("the hook", f == h, mask, count)
debug.sethook(h, "")
check("a hook without events", debug.gethook())
debug.sethook(h, "xyz", 3)
f, mask, count = debug.gethook()
debug.sethook()
check("count only", f == h, mask, count)
debug.sethook(h, "l", -1)
f, mask, count = debug.gethook()
debug.sethook()
check("negative count", f == h, mask, count)
check("removed", debug.gethook())
raises("sethook without mask", debug.sethook, h)
raises("sethook with a bad function", debug.sethook, 1, "l")
raises("sethook with a bad count", debug.sethook, h, "l", "x")
raises("gethook with anything", debug.gethook, 1)
local co = coroutine.create(function() end)
debug.sethook(co, h, "r")
f, mask, count = debug.gethook(co)
check("hook of a coroutine", f == h, mask, count, debug.gethook())
debug.sethook(co)
check("hook of a coroutine removed", debug.gethook(co))
debug.sethook(h, "c", 5)
co = coroutine.create(function() end)
debug.sethook()
check("hooks are not inherited", debug.gethook(co))

-- What the hook sees.
local function record(mask, body, what)
  local seen = {}
  local function hook(event, line)
    local i = debug.getinfo(2, what or "nSl")
    seen[#seen + 1] = table.concat({
      event, tostring(line), tostring(i.name), tostring(i.namewhat), tostring(i.what), tostring(i.currentline), tostring(i.istailcall),
    }, " ")
  end
  debug.sethook(hook, mask)
  local ok, e = pcall(body)
  debug.sethook()
  return seen, ok, e
end
local function leaf(a, b) return a end
local function tail(x) return leaf(x) end
local object = { method = function(self) return self end }
check("calls", record("c", function() leaf(1) tail(2) object:method() local s = ("x"):rep(3) end, "nSlt"))
check("returns", record("r", function() leaf(1) tail(2) object:method() local s = ("x"):rep(3) end, "nSlt"))
check("metamethods", record("cr", function()
  local t = setmetatable({}, { __index = leaf, __add = leaf, __lt = leaf, __concat = leaf, __call = leaf, __eq = leaf })
  local a, b, c, d = t.x, t + 1, t < t, t .. "x"
  a = t(1)
  b = t == setmetatable({}, getmetatable(t))
end))
check("iterators", record("cr", function()
  for k, v in pairs({ 1, 2 }) do end
  for k, v in ipairs({ 1, 2 }) do end
  for k, v in next, {} do end
end))
check("closing", record("cr", function()
  local x <close> = setmetatable({}, { __close = function() end })
  do
    local y <close> = setmetatable({}, { __close = function() end })
  end
  return 1
end))
check("errors", record("cr", function()
  pcall(error, "x")
  pcall(function() local x = nil + 1 end)
  xpcall(error, function(m) return m end, "y")
end))
check("an error through the hooked function", record("cr", function() leaf() error("z", 0) end))
check("library functions that call", record("cr", function()
  table.sort({ 2, 1 }, function(a, b) return a < b end)
  local s = string.gsub("ab", "%w", function(c) end)
  load(function() end)
  select(2, 1)
end))
check("coroutines have no hook of others", record("crl", function()
  local co = coroutine.wrap(function(a)
    local b = coroutine.yield(a)
    return b
  end)
  co(1)
  co(2)
end))
check("vararg functions", record("cr", function()
  local function v(...) return ... end
  v(1, 2)
  return v(v(1), 2)
end))

-- A hook in a coroutine stays with it.
do
  local seen = {}
  local co = coroutine.create(function(a)
    local x = coroutine.yield(a)
    x = x + 1
    coroutine.yield(x)
    return x
  end)
  debug.sethook(co, function(event, line) seen[#seen + 1] = event .. tostring(line and line - 0 or "") end, "crl")
  local r = { coroutine.resume(co, 1) }
  r[#r + 1] = "|"
  table.move({ coroutine.resume(co, 2) }, 1, 2, #r + 1, r)
  table.move({ coroutine.resume(co, 3) }, 1, 2, #r + 1, r)
  check("hook across yields", seen, r)
end

-- Values in transfer.
do
  local function transferred(mask, body)
    local seen = {}
    debug.sethook(function(event)
      local i = debug.getinfo(2, "ru")
      local values = {}
      for n = i.ftransfer, i.ftransfer + i.ntransfer - 1 do
        local name, v = debug.getlocal(2, n)
        values[#values + 1] = tostring(v)
      end
      seen[#seen + 1] = event .. "(" .. table.concat(values, " ") .. ")"
    end, mask)
    body()
    debug.sethook()
    return seen
  end
  check("arguments", transferred("c", function()
    leaf(1, 2) leaf(3) select(2, "a", "b") math.abs(-3) tail(5)
  end))
  check("results", transferred("r", function()
    leaf(1, 2) local x = select(2, "a", "b", "c") x = math.abs(-3) tail(5)
    local function many(...) return 7, ... end
    many(8, 9)
  end))
  check("no transfer", debug.getinfo(1, "r").ftransfer, debug.getinfo(1, "r").ntransfer)
end

-- Hooks and variables.
check("locals in a hook", (function()
  local seen = {}
  debug.sethook(function(_, line)
    local n = 1
    while true do
      local name, v = debug.getlocal(2, n)
      if not name or name:sub(1, 1) == "(" then break end
      if name ~= "seen" then seen[#seen + 1] = name .. "=" .. tostring(v) end
      n = n + 1
    end
  end, "l")
  local a = 1
  local b = a + 1
  do
    local c = b
  end
  debug.sethook()
  return seen
end)())
check("setlocal in a hook", (function()
  local x = 1
  debug.sethook(function() debug.sethook() debug.setlocal(2, 1, 10) end, "l")
  local y = 5
  return x
end)())
check("locals at a call", (function()
  local seen
  local function f(a, b, ...) local c = a return c end
  debug.sethook(function()
    local i = debug.getinfo(2, "f")
    if i.func == f then
      seen = { debug.getlocal(2, 1) }
      seen[3], seen[4] = debug.getlocal(2, 2)
      seen[5], seen[6] = debug.getlocal(2, -1)
      seen[7] = debug.getlocal(2, 3)
    end
  end, "c")
  f("A", "B", "C")
  debug.sethook()
  return seen
end)())

-- Errors in hooks.
check("an error in a line hook", pcall(function()
  debug.sethook(function(_, l) debug.sethook() error("in hook", 0) end, "l")
  local a = 1
  local b = 2
end))
check("an error in a call hook", pcall(function()
  debug.sethook(function() debug.sethook() error("in hook") end, "c")
  leaf()
end))
check("an error in a return hook", pcall(function()
  local n = 0
  debug.sethook(function() n = n + 1 if n == 3 then debug.sethook() error({ "table" }) end end, "r")
  leaf()
  leaf()
  leaf()
end))
check("an error in a count hook ends a loop", (pcall(function()
  debug.sethook(function() error("too long", 0) end, "", 1000)
  while true do end
end)))
debug.sethook()
check("after an error", debug.gethook())

-- Hooks do not nest, and a hook may change itself.
check("no events in a hook", (function()
  local n = 0
  debug.sethook(function() n = n + 1 leaf() local a = 1 end, "c")
  leaf()
  leaf()
  debug.sethook()
  return n
end)())
check("a hook that replaces itself", (function()
  local seen = {}
  local function second(e) seen[#seen + 1] = "second " .. e end
  debug.sethook(function(e) seen[#seen + 1] = "first " .. e debug.sethook(second, "c") end, "c")
  leaf()
  leaf()
  debug.sethook()
  return seen
end)())
check("yield in a hook", (function()
  local co = coroutine.create(function() local a = 1 return a end)
  debug.sethook(co, function() coroutine.yield() end, "l")
  return coroutine.resume(co)
end)())
check("traceback in a hook", (function()
  local text
  debug.sethook(function() debug.sethook() text = debug.traceback("m") end, "l")
  local a = 1
  return (text:gsub("\n[^\n]*prelude.*", ""))
end)())
check("name of a hook", (function()
  local i
  debug.sethook(function() debug.sethook() i = debug.getinfo(1, "n") end, "l")
  local a = 1
  return i.name, i.namewhat
end)())

-- Count hooks come regularly.
check("count", (function()
  local n = 0
  debug.sethook(function(e, l) n = n + 1 assert(e == "count" and l == nil) end, "", 1)
  for i = 1, 100 do end
  debug.sethook()
  return n > 100, n < 300
end)())
check("collections in hooks", (function()
  local t = {}
  debug.sethook(function() collectgarbage() local garbage = { {} } end, "crl", 3)
  for i = 1, 3 do
    t[i] = { tostring(i) .. "x", leaf({ i }), select("#", leaf(i), leaf(i), i) }
  end
  local s = t[1][1] .. t[2][1] .. tostring(t[3][3])
  debug.sethook()
  return s, t[2][2][1]
end)())
-- Finalizers have no hooks.
check("hooks and finalizers", (function()
  local finalized, seen = 0, 0
  local function finalize() finalized = finalized + 1 end
  debug.sethook(function()
    if debug.getinfo(2, "f").func == finalize then seen = seen + 1 end
  end, "crl", 1)
  for i = 1, 10 do
    setmetatable({}, { __gc = finalize })
    collectgarbage()
  end
  debug.sethook()
  return finalized > 0, seen
end)())
