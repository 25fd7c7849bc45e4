-- Error messages of operations, with the kind and name of the variable involved.

-- Indexing.
progs [[
local a; return a.x
local a; return a[1]
local a; a.x = 1
local a; a[1] = 1
local a = 5; return a.x
local a = 5; a.x = 1
local a = true; return a.x
local a = print; return a.x
local a = {}; return a.b.c
local a = {}; return a.b[1]
local a = {}; return a[1].c
local a = {}; return a[1][2]
local a = {}; a.b.c = 1
local a = {}; a[1].c = 1
local a = {}; a.b.c.d = 1
local a = {}; return a["b"].c
local a = {}; return a["b c"].d
local a = {}; local k = "key"; return a[k].c
local a = {}; local k = 1; return a[k].c
local a = {}; return a[1.5].c
local a = {}; return a[true].c
local a = {b = {}}; return a.b.c.d
local a; local function f() return a.x end; return f()
local a; local function f() a.x = 1 end; return f()
local a = {}; local function f() return a.b.c end; return f()
local a = {}; local function f() a.b.c = 1 end; return f()
return x.y
return x[1]
x.y = 1
x[1] = 1
return x.y.z
return math.foo.bar
math.foo.bar = 1
return string.x.y.z
return (nil).x
return (nil)[1]
return (5).x
return (true).x
return ("x").y.z
return ({}).x.y
return f().x
local function f() end; return f().x
local function f() end; f().x = 1
local t = {f = function() end}; return t.f().x
local t = {f = function() end}; return t:f().x
return (function() end)().x
return (...).x
local a = ...; return a.x
local a, b = {}; return b.x
local t = setmetatable({}, {__index = function() end}); return t.x.y
for i, v in ipairs({1}) do return v.x.y end
for i = 1, 2 do return i.x.y end
local function f(p) return p.x end; f()
local function f(p) return p.x.y end; f({})
local s = "s"; s.x.y = 1
local s = "s"; return s.x.y
return #x.y
return -x.y
return x.y + 1
return x.y .. "z"
return x.y < 1
return not x.y
]]

-- Calling.
progs [[
local a; a()
local a = 5; a()
local a = {}; a()
local a = "s"; a()
local a = {}; a.b()
local a = {}; a.b.c()
local a = {}; a[1]()
local a = {}; a["b"]()
local a = {}; local k = "k"; a[k]()
local a = {}; a:m()
local a = {}; a.b:m()
local a = {b = {}}; a.b:m()
local a = {m = 5}; a:m()
local a; a:m()
local a; local function f() a() end; f()
local a = {}; local function f() a.b() end; f()
local a = {}; local function f() a:b() end; f()
local a; local function f() a:b() end; f()
x()
x.y()
x:y()
math.foo()
math.foo.bar()
string.foo("x")
("x"):foo()
("x").foo()
("x")()
(5)()
(nil)()
({})()
(function() end)()()
(x)()
(x or y)()
(x and y)()
local a, b; (a or b)()
local f = function() return nil end; f()()
local t = {f = function() end}; t.f()()
local function f(p) p() end; f()
local function f(p) p.q() end; f({})
local function f(p) return p() end; f()
local function f(p) return p.q() end; f({})
local function f() return x() end; f()
return x()
return x.y.z()
for i in nil do end
for i in 5 do end
local t = {} for k in t do end
for i = 1, x() do end
local a <const> = nil; a()
local a <const> = "s"; a()
local a <const> = 5; a.x()
local t = setmetatable({}, {__call = 5}); t()
local t = setmetatable({}, {__index = 5}); t.x()
local t = setmetatable({}, {__add = 5}); return t + 1
local t = setmetatable({}, {__eq = 5}); return t == setmetatable({}, getmetatable(t))
local t = setmetatable({}, {__lt = 5}); return t < t
local t = setmetatable({}, {__concat = 5}); return t .. "x"
local t = setmetatable({}, {__len = 5}); return #t
local t = setmetatable({}, {__unm = "x"}); return -t
local t = setmetatable({}, {__newindex = true}); t.x = 1
local t = setmetatable({}, {__tostring = true}); return tostring(t)
print.x()
local a = 1; a.b.c()
local a = {}; a.x.y.z()
local up = nil; return (function() return up() end)()
local up = {}; return (function() return up.x() end)()
]]

-- Arithmetic.
progs [[
local a; return a + 1
local a; return 1 + a
local a; return a - 1
local a; return a * 2
local a; return a / 2
local a; return a % 2
local a; return a // 2
local a; return a ^ 2
local a; return -a
local a = {}; return a + 1
local a = {}; return -a
local a = true; return a + 1
local a = print; return a + 1
local a, b = 1; return a + b
local a, b = nil, 1; return a + b
local a, b; return a + b
local a, b = {}, {}; return a + b
local a, b = 1, {}; return a * b
local a = "x"; return a + 1
local a = "x"; return 1 + a
local a = "x"; return -a
local a = "x"; return a + a
local a = "x"; return a + {}
local a = "10"; return a + {}
local a = {}; return "10" + a
local a = "x"; return a * nil
local a = {}; return a.b + 1
local a = {}; return 1 + a.b
local a = {}; return a.b + a.c
local a = {}; return -a.b
local a = {}; return a[1] + 1
local a = {}; a.x = a.x + 1
local a = {}; a[1] = a[1] + 1
local a; local function f() return a + 1 end; return f()
local a = {}; local function f() return a.b + 1 end; return f()
local a; local function f() a = a + 1 end; return f()
return x + 1
return 1 + x
return x + y
return x.y + 1
x = x + 1
return -x
return nil + 1
return 1 + nil
return {} + 1
return {} + {}
return true + 1
return "abc" + 1
return 1 + "abc"
return "abc" + "def"
return -"abc"
return -{}
return -nil
return 2 ^ {}
return f() + 1
local function f() end; return f() + 1
local function f() end; return 1 + f()
return math.foo + 1
return math.floor + 1
local a <const> = nil; return a + 1
local a <const> = "x"; return a + 1
local a <const> = {}; return a + 1
local s = 0; for i = 1, 3 do s = s + nil end
local s = 0; for i, v in ipairs({1, "x"}) do s = s + v end
local function f(a, b) return a + b end; return f(1)
local function f(a, b) return a + b end; return f(nil, 1)
local function f(a, b) return a + b end; return f("a", 1)
local function f(...) return ... + 1 end; return f()
local t = {x = {}}; return t.x + 1
local t = {{}}; return t[1] + 1
]]

-- Bitwise.
progs [[
local a; return a & 1
local a; return 1 | a
local a; return ~a
local a = 1.5; return a & 1
local a = 1.5; return 1 & a
local a = 1.5; return ~a
local a = "x"; return a & 1
local a = "x"; return 1 & a
local a = "1.5"; return a & 1
local a = {}; return a << 1
local a = {}; return 1 << a
local a = 2^63; return a | 0
local a = 1e100; return 1 ~ a
local a, b = 1.5, 2.5; return a & b
local a, b = 1.5, {}; return a & b
local a, b = {}, 1.5; return a & b
local a = {}; return a.x & 1
local a = {x = 1.5}; return a.x & 1
local a; local function f() return a & 1 end; return f()
local a = 1.5; local function f() return a & 1 end; return f()
return x & 1
return 1 & x
return ~x
return x.y & 1
return 1.5 & 1
return 1 & 1.5
return ~1.5
return "x" & 1
return "1.5" | 1
return nil | 1
return {} ~ 1
return 1 << nil
return true >> 1
return (0/0) | 0
return math.huge | 0
return math.pi & 1
return 2^53 & 2^64
]]

-- Concatenation.
progs [[
local a; return a .. "x"
local a; return "x" .. a
local a; return 1 .. a
local a = {}; return a .. "x"
local a = {}; return "x" .. a .. "y"
local a = true; return "x" .. a
local a = print; return "x" .. a
local a, b; return a .. b
local a, b = {}, {}; return a .. b
local a, b = "x"; return a .. b
local a = {}; return a.b .. "x"
local a = {}; return "x" .. a.b
local a = {}; return "x" .. a.b .. "y"
local a = {}; return a[1] .. "x"
local a; local function f() return a .. "x" end; return f()
local a; local function f() return "x" .. a end; return f()
local a = {}; local function f() return "x" .. a.b end; return f()
return x .. "y"
return "x" .. y
return "a" .. "b" .. x .. "c"
return x.y .. "z"
return nil .. "x"
return "x" .. nil
return {} .. {}
return "x" .. {} .. "y"
return "x" .. true
return 1 .. {}
return "x" .. f()
local function f() end; return "x" .. f()
local function f() end; return f() .. "x"
local s = "a"; s = s .. nil
local t = {}; t.x = t.x .. "y"
for i = 1, 2 do local s = "x" .. i .. y end
local a <const> = nil; return "x" .. a
]]

-- Comparison.
progs [[
local a; return a < 1
local a; return 1 < a
local a; return a <= 1
local a; return a > 1
local a; return a >= 1
local a = {}; return a < 1
local a = {}; return a < a
local a = {}; return a < "x"
local a = "x"; return a < 1
local a = "x"; return 1 < a
local a = 1; return a < "x"
local a = true; return a < false
local a = true; return a < 1
local a = print; return a < a
local a, b; return a < b
local a, b = {}, "x"; return a >= b
return x < 1
return x.y < 1
return nil < 1
return 1 < nil
return nil < nil
return {} < {}
return {} <= 1
return {} > 1
return "x" < 1
return "x" <= 1
return 1 >= "x"
return true > false
return print <= print
return coroutine.create(print) < 1
return io.stdout < 1
return io.stdout < io.stdout
return 1.5 < "x"
return 2^53 < {}
if nil < 1 then end
while {} < 1 do end
repeat until x > 1
local function f(a, b) return a < b end; return f(1, "2")
local function f(a, b) return a < b end; return f({}, nil)
]]

-- Length.
progs [[
local a; return #a
local a = 5; return #a
local a = true; return #a
local a = print; return #a
local a = {}; return #a.b
local a = {}; return #a[1]
local a; local function f() return #a end; return f()
local a = {}; local function f() return #a.b end; return f()
return #x
return #x.y
return #nil
return #5
return #print
return #f()
local function f() end; return #f()
for i = 1, #x do end
local a <const> = nil; return #a
]]

-- For loops.
progs [[
for i = nil, 1 do end
for i = 1, nil do end
for i = 1, 2, nil do end
for i = {}, 1 do end
for i = 1, {} do end
for i = 1, 2, {} do end
for i = "x", 1 do end
for i = 1, "x" do end
for i = 1, 2, "x" do end
for i = 1, 2, 0 do end
for i = 1.0, 2, 0 do end
for i = true, 1 do end
for i = print, 1 do end
for i = 1, x do end
for i = 1, #x do end
for i = 1.5, {} do end
for i = {}, {} do end
]]

-- Library functions name themselves as they were called.
progs [[
table.insert(nil, 1)
table.insert()
table.insert({}, 1, 2, 3)
table.insert({}, "x", 2)
table.insert({}, 5, 2)
table.concat({{}})
table.concat(1)
table.concat({1, 2, {}}, ",")
table.unpack()
table.remove({}, 5)
table.sort(1)
table.sort({1, "x"})
table.sort({1, 2}, 5)
string.rep()
string.rep("x")
string.rep("x", {})
string.rep("x", 1e100)
string.rep("x", 1 << 40)
string.format("%d", 1.5)
string.format("%d", "x")
string.format("%d")
string.format("%y", 1)
string.format("%")
string.char(256)
string.char(-1)
string.char("x")
string.char(1.5)
("x"):rep()
("x"):rep({})
("x"):rep("y")
("x"):format(nil):foo()
("x"):bad()
local s = "x"; s:rep()
local s = "x"; s:rep({})
local s = "%d"; s:format("x")
local rep = string.rep; rep()
local rep = string.rep; rep("x", {})
local t = {f = string.rep}; t.f()
local t = {f = string.rep}; t:f(1)
local t = {f = string.rep}; t.f("x", {})
string.upper()
string.len()
string.sub()
string.sub("x")
string.sub("x", {})
string.byte("x", {})
string.find("x")
string.gsub("x", "y")
string.gsub("x", "y", true)
math.floor("x")
math.floor({})
math.floor()
math.max()
math.random(0, -1)
math.random(1, 2, 3)
math.tointeger()
tonumber()
tonumber("10", 99)
tonumber(10, 10)
tonumber({}, 10)
tonumber("10", "x")
tostring()
type()
ipairs()
pairs()
next({}, "nokey")
next()
rawset(1, 2, 3)
rawget(1, 2)
rawlen(5)
rawequal(1)
select()
select("x")
setmetatable(1, {})
setmetatable({})
getmetatable()
assert(false)
assert(nil, "message")
assert()
error()
error("m")
error({})
load()
load(5)
load({})
pcall()
xpcall()
xpcall(print)
coroutine.create(1)
coroutine.resume(1)
coroutine.wrap()
coroutine.yield()
utf8.char(-1)
utf8.codepoint("x", 5)
utf8.len("x", 5)
os.time({})
os.date("%Ez", 0)
os.date("%Q")
io.open()
io.open("x", "bad mode")
io.lines("/nonexistent/file")
require()
require("does.not.exist.xyz") == 1
debug.getinfo()
debug.getinfo("x")
debug.getinfo(1, "X")
debug.getinfo(1, ">")
collectgarbage("x")
dofile("/nonexistent/file")
]]
run("debug.sethook(1)", "debug.sethook(1)")

-- Names in calls from native code, metamethods and tail calls.
raises("unnamed native", pcall, string.rep)
check("via pcall", pcall(string.rep))
check("via pcall argument 2", pcall(string.rep, "x", {}))
raises("tail call of native", function() return string.rep() end)
raises("tail call of field", function() local t = { f = string.rep } return t.f() end)
raises("native as metamethod", function() return setmetatable({}, { __add = string.rep }) + 1 end)
raises("native as __index", function() return setmetatable({}, { __index = string.rep }).x end)
raises("native as iterator", function() for _ in string.rep do end end)
raises("native via gsub", function() return (string.gsub("abc", ".", math.floor)) end)
raises("native via sort", function() table.sort({ 1, 2 }, string.rep) end)
raises("upvalue native", (function() local rep = string.rep return function() rep() end end)())
raises("method on a library", function() return string:rep() end)
raises("global alias", function() alias_of_rep = string.rep alias_of_rep() end)
alias_of_rep = nil
raises("calling through a method", function() local o = { rep = string.rep } o:rep(1) end)
raises("bad self", function() local o = { upper = string.upper } o:upper() end)
raises("file method without self", function() io.stdout.write() end)
raises("file method with bad self", function() io.stdout.write({}) end)
raises("file method colon", function() local f = { w = io.stdout.write } f:w() end)

-- Lines of multi-line operations.
do
  local function multi(label, src) run(label, src) end
  multi("call over lines", "local t = {}\nt.x(\n1,\n2\n)")
  multi("method over lines", "local t = {}\nt\n:x\n(\n1\n)")
  multi("chain over lines", "local t = {a = {}}\nreturn t\n.a\n.b\n.c")
  multi("arithmetic over lines", "local a, b = 1\nreturn a\n+\nb")
  multi("concat over lines", "local b\nreturn 'a'\n..\nb\n..\n'c'")
  multi("comparison over lines", "local b\nreturn 1\n<\nb")
  multi("unary over lines", "local b\nreturn -\nb")
  multi("condition", "local b\nif\nb < 1\nthen end")
  multi("for over lines", "for i = 1,\nnil\ndo\nend")
  multi("generic for over lines", "for i in\nnil\ndo\nend")
  multi("constructor over lines", "local b\nreturn {\n1,\nb.x,\n2\n}")
  multi("assignment over lines", "local a = {}\na.b\n.c\n=\n1")
  multi("index over lines", "local a = {}\nreturn a\n[1]\n[2]")
  multi("nested call error", "local function f()\nerror('x')\nend\nf()")
  multi("nested function", "local function f()\nlocal x\nreturn function()\nreturn x.y\nend\nend\nf()()")
  multi("after a long string", "local s = [[\n\n\n]]\nreturn s.x.y")
  multi("after a long comment", "--[[\n\n\n]]\nreturn x.y")
  multi("repeat until", "local x\nrepeat\nlocal y = x\nuntil y.z")
  multi("while condition", "local x\nwhile\nx.y\ndo end")
  multi("return of call", "local f\nreturn\nf(\n)")
  multi("arguments evaluated on other lines", "local t = {}\nprint(1,\n2,\nt.x.y)")
end
-- Chunk names in messages.
do
  local function named(name) local f = load("error('m')", name) raises("chunk name " .. show(name), f) end
  named("=name")
  named("@file.lua")
  named("code")
  named("first line\nsecond line")
  named("\nstarts with a newline")
  named("")
  named("=")
  named("@")
  named(string.rep("long ", 20))
  named("=" .. string.rep("long ", 20))
  named("@" .. string.rep("long/", 20) .. "file.lua")
  named("@" .. string.rep("x", 59))
  named("@" .. string.rep("x", 60))
  named("=" .. string.rep("x", 59))
  named("=" .. string.rep("x", 60))
  named(string.rep("x", 44))
  named(string.rep("x", 45))
  named(string.rep("x", 46))
  named(string.rep("x", 47))
  named(string.rep("x", 40) .. "\nrest")
  named(string.rep("x", 60) .. "\nrest")
  raises("default chunk name", load("error('m')"))
  raises("default chunk name of a long chunk", load("local a = 1 local b = 2 local c = 3 local d = 4 error('m')"))
  raises("default chunk name of two lines", load("local a = 1\nerror('m')"))
  raises("default chunk name of a reader", load((function() local done return function() if not done then done = true return "error('m')" end end end)()))
end
