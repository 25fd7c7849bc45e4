-- Manual section 3.3: statements.

-- 3.3.1 Blocks.
do
  local x = 1
  do local x = 2 check("inner block", x) end
  check("outer block", x)
  local x = x + 10
  check("redeclared", x)
  local f = function() return x end
  local x = "new"
  check("closure keeps the old one", f(), x)
end

-- 3.3.2 Chunks.
check("chunk varargs", load("return ...")(1, nil, 2))
check("chunk vararg count", load("return select('#', ...)")())
check("chunk returns nothing", select("#", load("local x = 1")()))
check("chunk locals", load("local a, b = ... ; return b, a")(1, 2))

-- 3.3.3 Assignment.
do
  local i, a = 3, {}
  i, a[i] = i + 1, 20
  check("evaluated before assigned", i, a[3], a[4])
  local x, y = 1, 2
  x, y = y, x
  check("swap", x, y)
  local p, q, r = 1, 2, 3
  p, q, r = q, r, p
  check("rotate", p, q, r)
  local m, n, o = (function() return 1, 2 end)()
  check("too few", m, n, o)
  m, n = 1, 2, 3
  check("too many", m, n)
  m, n, o = (function() return 1, 2, 3 end)(), 10
  check("call not last is one", m, n, o)
  m, n, o = 10, (function() return 1, 2, 3 end)()
  check("call last expands", m, n, o)
  m, n = ((function() return 1, 2 end)())
  check("parentheses truncate", m, n)
  m, n = 5
  check("padded with nil", m, n)
  check("extra expressions are evaluated", (function()
    local count = 0
    local function f() count = count + 1 end
    local z = 1, f(), f()
    return count
  end)())
end
do
  -- The reference implementation's order: prefixes and values left to right, stores right to left.
  local log = {}
  local function t(name)
    return setmetatable({}, { __newindex = function(_, k, v) log[#log + 1] = name .. "." .. tostring(k) .. "=" .. tostring(v) end })
  end
  local function e(v) log[#log + 1] = "eval " .. tostring(v) return v end
  local a, b, c = t "a", t "b", t "c"
  a[e "k1"], b[e "k2"], c[e "k3"] = e(1), e(2), e(3)
  check("assignment order", log)
  log = {}
  a.x, a.x, a.x = 1, 2, 3
  check("same target", log)
  log = {}
  a.x, b.y, c.z = (function() return 1, 2, 3 end)()
  check("from a call", log)
  log = {}
  a[1], b[2] = 1
  check("padded stores", log)
  local u = {}
  u.x, u.x = 1, 2
  check("plain same target", u.x)
  local i = 1
  local arr = { 10, 20, 30 }
  i, arr[i] = 2, "set"
  check("index read before", i, arr)
  local s = { n = 1 }
  local w = s
  s.n, s = 5, { n = 9 }
  check("table read before", w.n, s.n)
  local k = { "a", "b" }
  k[1], k[2], k = 1, 2, nil
  check("target replaced last", k)
  do
    local g = { 1 }
    local h = g
    g[1], g = g, 7
    check("conflicting local", h[1] == h, g)
  end
  do
    local up = { 1 }
    local keep = up
    local function f() up[1], up = "x", "y" end
    f()
    check("conflicting upvalue", keep[1], up)
  end
  do
    local idx = 1
    local tt = {}
    tt[idx], idx = "first", 2
    check("conflicting index", tt, idx)
  end
end
raises("error in a value leaves targets alone", function()
  local t = { 1 }
  pcall(function() t[1], t[2] = 5, error("no") end)
  return t[1], t[2]
end)

-- 3.3.4 Control structures.
check("while", (function() local i, s = 1, 0 while i <= 5 do s = s + i i = i + 1 end return s end)())
check("while false", (function() while false do return 1 end return 2 end)())
check("while nil", (function() while nil do return 1 end return 2 end)())
check("while break", (function() local i = 0 while true do i = i + 1 if i == 7 then break end end return i end)())
check("repeat", (function() local i = 0 repeat i = i + 1 until i >= 3 return i end)())
check("repeat at least once", (function() local n = 0 repeat n = n + 1 until true return n end)())
check("until sees the body's locals", (function() local n = 0 repeat n = n + 1 local done = n == 4 until done return n end)())
check("repeat break", (function() local n = 0 repeat n = n + 1 if n == 2 then break end until false return n end)())
check("until with closures", (function()
  local fs = {}
  local n = 0
  repeat
    local i = n
    fs[#fs + 1] = function() return i end
    n = n + 1
  until i == 2
  return fs[1](), fs[2](), fs[3]()
end)())
check("if chain", (function()
  local out = {}
  for _, v in ipairs { 1, 2, 3, 4 } do
    if v == 1 then out[#out + 1] = "one" elseif v == 2 then out[#out + 1] = "two" elseif v == 3 then out[#out + 1] = "three" else out[#out + 1] = "else" end
  end
  return out
end)())
check("if without else", (function() if false then return 1 end return 2 end)())
check("nested breaks", (function()
  local n = 0
  for i = 1, 3 do
    for j = 1, 3 do
      if j == 2 then break end
      n = n + i * 10 + j
    end
    if i == 2 then break end
  end
  return n
end)())
check("break in the middle", (function() for i = 1, 10 do if i == 3 then break end; i = i + 0 end return "ok" end)())
check("return in the middle", (function() do return 1 end return 2 end)())
check("return with semicolon", (function() return 1; end)())
check("return nothing", select("#", (function() return end)()))
check("return many", (function() return 1, nil, nil end)())

-- goto.
check("continue", (function()
  local s = 0
  for i = 1, 10 do
    if i % 2 == 0 then goto continue end
    s = s + i
    ::continue::
  end
  return s
end)())
check("backward goto", (function() local n = 0 ::top:: n = n + 1 if n < 5 then goto top end return n end)())
check("goto out of nested loops", (function()
  for i = 1, 3 do for j = 1, 3 do if i * j == 6 then goto done end end end
  ::done::
  return "left"
end)())
check("goto into enclosing block", (function()
  do goto out end
  do return "skipped" end
  ::out::
  return "reached"
end)())
check("labels in different blocks", (function()
  local s = ""
  do goto l ::l:: s = s .. "a" end
  do goto l ::l:: s = s .. "b" end
  return s
end)())
check("label in nested function", (function()
  ::l::
  local function f() goto l ::l:: return "inner" end
  return f()
end)())
check("fresh locals by goto", (function()
  local fs = {}
  local i = 1
  ::top::
  do
    local x = i
    fs[i] = function() x = x + 10 return x end
  end
  i = i + 1
  if i <= 3 then goto top end
  return fs[1](), fs[1](), fs[2](), fs[3]()
end)())
check("goto continue with closures", (function()
  local fs = {}
  for i = 1, 4 do
    local x = i * 2
    if i == 2 then goto continue end
    fs[#fs + 1] = function() return x end
    ::continue::
  end
  return fs[1](), fs[2](), fs[3]()
end)())
check("label at the end of a block", (function() do local x goto e local y = 1 ::e:: end return "fine" end)())
check("label followed by void statements", (function() do goto e local y ::e:: ; ::f:: end return "fine" end)())
check("repeat until with goto", (function()
  local n = 0
  repeat
    n = n + 1
    if n < 3 then goto continue end
    do return n end
    ::continue::
  until n > 10
  return "never"
end)())
syntaxes [[
goto missing
do ::l:: end goto l
goto l; do ::l:: end
goto l; local x; ::l:: return x
goto l; local x; ::l:: print(x)
goto l; local x; ::l::
goto l; local x; ::l:: ;
do goto l; local x; ::l:: end
repeat goto l; local x; ::l:: until x
repeat goto l; local x = 1; ::l:: until true
::l:: ::l::
::l:: do ::l:: end
do ::l:: end ::l::
::l:: local function f() ::l:: end
function f() goto l end ::l::
::l:: function f() goto l end
goto 1
goto
::l
::1::
:: l ::
break
do break end
function f() break end
while true do local function f() break end end
if true then break end
while true do break break end
for i = 1, 2 do break; return end
while true do goto l ::l:: local x end
goto a; local b; do ::a:: end
]]
syntax("goto line", "\n\ngoto missing\n")
syntax("break line", "\n\nbreak\n")
syntax("duplicate label line", "::a::\n\n::a::")
syntax("jump into scope line", "\ngoto f\nlocal a = 1\n::f::\nreturn a")

-- 3.3.5 Numeric for.
do
  local function range(...)
    local out = {}
    local a, b, c = ...
    if select("#", ...) == 2 then
      for i = a, b do out[#out + 1] = i if #out > 8 then break end end
    else
      for i = a, b, c do out[#out + 1] = i if #out > 8 then break end end
    end
    return out
  end
  local max, min = math.maxinteger, math.mininteger
  check("for up", range(1, 4))
  check("for empty", range(4, 1))
  check("for one", range(3, 3))
  check("for down", range(4, 1, -1))
  check("for down empty", range(1, 4, -1))
  check("for step 2", range(1, 6, 2))
  check("for step 3", range(1, 9, 3))
  check("for step -2", range(10, 1, -2))
  check("for big step", range(1, 10, 100))
  check("for to max", range(max - 2, max))
  check("for from min", range(min, min + 2))
  check("for down to min", range(min + 2, min, -1))
  check("for max only", range(max, max))
  check("for overflow step", range(max - 1, max, 10))
  check("for overflow down", range(min + 1, min, -10))
  check("for whole range", range(min, max, max))
  check("for whole range down", range(max, min, min))
  check("for step max", range(0, max, max))
  check("for step min", range(0, min, min))
  check("for step min from max", range(max, min, min + 1))
  check("for float limit", range(1, 3.9))
  check("for float limit down", range(3, 0.1, -1))
  check("for negative float limit", range(-3, -1.5))
  check("for infinite limit", #range(max - 3, math.huge))
  check("for minus infinite limit", range(1, -math.huge))
  check("for minus infinite limit down", #range(min + 3, -math.huge, -1))
  check("for infinite limit down", range(1, math.huge, -1))
  check("for huge float limit", #range(1, 1e100))
  check("for nan limit", range(1, 0 / 0))
  check("for nan limit down", range(1, 0 / 0, -1))
  check("for limit 2^63", #range(max - 1, 2 ^ 63))
  check("for limit -2^63", range(min + 1, -2 ^ 63, -1))
  check("for float start", range(1.0, 3))
  check("for float step", range(1, 2, 0.25))
  check("for float step down", range(1, 0, -0.5))
  check("for tenths", range(0, 0.5, 0.1))
  check("for float limits", range(0.5, 3))
  check("for float start integer step", range(1.0, 3, 1))
  check("for integers with float step", range(1, 3, 1.0))
  check("for float infinity", #range(1.0, math.huge))
  check("for from infinity", #range(math.huge, math.huge))
  check("for from -infinity", #range(-math.huge, 0))
  check("for nan start", range(0 / 0, 1))
  check("for nan step", range(1.0, 2, 0 / 0))
  check("for float precision", #range(2 ^ 53, 2 ^ 53 + 4))
  check("for negative zero", range(-0.0, 0))
  check("for float max", range(1.0, 1))
  raises("for zero step", range, 1, 10, 0)
  raises("for zero float step", range, 1.0, 10, 0)
  raises("for zero float step 2", range, 1, 10, 0.0)
  raises("for negative zero step", range, 1, 10, -0.0)
  raises("for string start", range, "1", 10)
  raises("for string limit", range, 1, "10")
  raises("for string step", range, 1, 10, "1")
  raises("for nil start", range, nil, 10)
  raises("for nil limit", range, 1, nil)
  raises("for nil step", range, 1, 10, nil)
  raises("for table start", range, {}, 10)
  raises("for table limit", range, 1, {})
  raises("for table step", range, 1, 1, {})
  raises("for word start", range, "x", 10)
  raises("for float with string limit", range, 1.5, "x")
  raises("for all wrong", range, "a", "b", "c")
  raises("for boolean", range, true, 1)
  raises("for named type", range, setmetatable({}, { __name = "My.Type" }), 1)
end
check("for evaluates once", (function()
  local n = 0
  local function f(v) n = n + 1 return v end
  for _ = f(1), f(3), f(1) do end
  return n
end)())
check("for variable is a copy", (function() local s = 0 for i = 1, 3 do s = s + i i = 100 end return s end)())
check("for limit is a copy", (function() local n, c = 3, 0 for _ = 1, n do n = 10 c = c + 1 end return c end)())
check("for variable is local", (function() local i = "outer" for i = 1, 3 do end return i end)())
check("for closures", (function()
  local fs = {}
  for i = 1, 3 do fs[i] = function() i = i + 1 return i end end
  return fs[1](), fs[1](), fs[2](), fs[3]()
end)())
check("for sees outer in bounds", (function() local i = 3 local s = 0 for i = i, i + 2 do s = s + i end return s end)())
check("for nested", (function() local s = 0 for i = 1, 10 do for j = i, 10 do s = s + i * j end end return s end)())
check("for long", (function() local s = 0 for i = 1, 100000 do s = s + i end return s end)())
check("for float sum", (function() local s = 0 for x = 0.0, 1.0, 0.125 do s = s + x end return s end)())

-- Generic for.
do
  check("iterator arguments", (function()
    local got = {}
    for v in function(...) got[#got + 1] = show({ ... }) if #got < 3 then return #got end end, "state", "initial" do end
    return got
  end)())
  check("many variables", (function()
    for a, b, c, d in function(_, x) if not x then return 1, 2, 3 end end do return a, b, c, d end
  end)())
  check("extra values dropped", (function()
    for a in function(_, x) if not x then return 1, 2, 3 end end do return a end
  end)())
  check("stops at nil only", (function()
    local n = 0
    for v in function(_, x) n = n + 1 if n < 3 then return false end end do end
    return n
  end)())
  check("control variable is a copy", (function()
    local out = {}
    for i in function(_, c) if c < 3 then return c + 1 end end, nil, 0 do out[#out + 1] = i i = 100 end
    return out
  end)())
  check("closures in generic for", (function()
    local fs = {}
    for i, v in ipairs { "a", "b" } do fs[i] = function() v = v .. i return v end end
    return fs[1](), fs[1](), fs[2]()
  end)())
  check("stateful", (function()
    local n = 0
    local out = {}
    for v in function() n = n + 1 if n <= 3 then return n * n end end do out[#out + 1] = v end
    return out
  end)())
  check("expression list adjusted", (function()
    for k, v in next, { x = 1 } do return k, v end
  end)())
  check("ipairs stops at nil", (function() local n = 0 for _ in ipairs { 1, 2, nil, 4 } do n = n + 1 end return n end)())
  check("ipairs follows __index", (function()
    local s = 0
    for _, v in ipairs(setmetatable({ 1 }, { __index = function(_, i) if i <= 4 then return i * 10 end end })) do s = s + v end
    return s
  end)())
  check("pairs in array order", (function()
    local out = {}
    for k, v in pairs { 10, 20, 30 } do out[k] = v end
    return out
  end)())
  raises("call a nil iterator", function() for _ in nil do end end)
  raises("call a table", function() for _ in {} do end end)
  raises("call a number", function() for _ in 5 do end end)
  raises("missing pairs", function() local t = { 1 } for k, v in t do end end)
  raises("pairs of nil", function() for _ in pairs(nil) do end end)
  raises("ipairs of nil", function() for _ in ipairs() do end end)
  raises("error in an iterator", function() for _ in function() error("in iterator") end do end end)
  raises("runtime error in an iterator", function()
    for _ in function()
      local x
      return x.y
    end do end
  end)
end

-- The fourth value of a generic for is closed.
do
  local log
  local function closing(n) return setmetatable({}, { __close = function(_, e) log[#log + 1] = n .. ":" .. tostring(e) end }) end
  local function upto(n) return function(_, c) c = (c or 0) + 1 if c <= n then return c end end end
  log = {}
  for i in upto(2), nil, nil, closing "end" do log[#log + 1] = i end
  check("closed at the end", log)
  log = {}
  for i in upto(5), nil, nil, closing "break" do log[#log + 1] = i if i == 2 then break end end
  check("closed by break", log)
  log = {}
  local function ret() for i in upto(5), nil, nil, closing "return" do return i, #log end end
  check("returned", ret())
  check("closed by return", log)
  log = {}
  raises("error in the body", function() for i in upto(5), nil, nil, closing "error" do error("E", 0) end end)
  check("closed by error", log)
  log = {}
  do
    for i in upto(5), nil, nil, closing "goto" do goto out end
    ::out::
  end
  check("closed by goto", log)
  log = {}
  for i in upto(0), nil, nil, closing "no iteration" do end
  check("closed without iterations", log)
  raises("not closable", function() for _ in upto(1), nil, nil, {} do end end)
  raises("nil closing value", function() for _ in upto(1), nil, nil, nil do end return "fine" end)
  raises("false closing value", function() for _ in upto(1), nil, nil, false do end return "fine" end)
  log = {}
  for i in upto(2), nil, nil, closing "outer" do
    for j in upto(1), nil, nil, closing "inner" do log[#log + 1] = i .. "," .. j end
  end
  check("nested closing", log)
end

-- 3.3.6 Function calls as statements.
syntaxes [[
f
f.x
f:m
(f)
1
"s"
f()()
f().x
(f)()
(f).x = 1
f() = 1
(f()) = 1
a, b
a, b =
a, f() = 1, 2
(a) = 1
(a), b = 1, 2
a = 
local a =
x +
not x
]]
run("ambiguous call over lines", "local s = '' local function f(x) s = s .. tostring(x) return f end f\n(1)\n(2) return s")
run("semicolon separates", "local a = 1; (type)(a); return a")

-- 3.3.7 Local declarations.
check("local function recursion", (function() local function f(n) if n == 0 then return 0 end return n + f(n - 1) end return f(10) end)())
check("local f = function does not see itself", (function() local f = function() return f end return f() end)())
check("local initialised from outer", (function() local x = 1 do local x = x + 1 return x end end)())
check("locals default to nil", (function() local a, b, c return a, b, c end)())
check("locals in a loop are reset", (function()
  local out = {}
  for i = 1, 3 do local x out[i] = tostring(x) x = i end
  return out
end)())

-- const.
check("const", (function() local x <const> = 5 return x + 1 end)())
check("const folded", (function() local a <const>, b <const> = 2, "s" return a * 3, b .. a end)())
check("const table", (function() local t <const> = {} t.x = 1 return t.x end)())
check("const nil", (function() local n <const> = nil return n end)())
check("const boolean", (function() local n <const> = false return not n end)())
check("const captured", (function() local x <const> = 5 return (function() return x * 2 end)() end)())
check("const computed", (function(v) local x <const> = v * 2 return (function() return x end)() end)(4))
check("const without value", (function() local x <const> return x end)())
check("mixed attributes", (function() local a <const>, b, c <close> = 1, 2, nil b = b + a return a, b, c end)())
check("spaces in attribute", (function() local a < const > = 1 return a end)())
syntaxes [[
local x <const> = 1; x = 2
local x <const> = 1; x, y = 1, 2
local x <const> = 1; y, x = 1, 2
local x <const>; x = 1
local x <close> = nil; x = 1
local x <const> = 1; function f() x = 2 end
local x <const> = {}; function f() x = 2 end
local x <const> = 1; function x() end
local x <const> = 1; local function x() end; x = 1
local x <const> = {}; function x.f() end
local x <const> = 1; for x = 1, 2 do x = 3 end
local x <const> = 1; do local x = 2; x = 3 end
local x <unknown> = 1
local x <> = 1
local x <const = 1
local x const> = 1
local x <1> = 1
local a <close>, b <close> = nil, nil
local a <close>, b = nil, nil
local a <const>, b <const> = 1, 2
local function f <const> () end
local a <const>
local <const> a = 1
]]

-- close.
do
  local log = {}
  local function c(n) return setmetatable({}, { __close = function(_, e) log[#log + 1] = n .. ":" .. tostring(e) end }) end
  do
    local a <close> = c "a"
    local b <close> = c "b"
    log[#log + 1] = "body"
  end
  check("reverse order", log)
  log = {}
  local function f()
    local a <close> = c "a"
    return (function() log[#log + 1] = "value" return "v" end)()
  end
  check("not a tail call", f(), log)
  log = {}
  for i = 1, 3 do
    local x <close> = c(i)
    if i == 2 then goto continue end
    log[#log + 1] = "body " .. i
    ::continue::
  end
  check("each iteration", log)
  log = {}
  while true do
    local x <close> = c "w"
    break
  end
  check("break", log)
  log = {}
  do
    local n = 0
    repeat
      n = n + 1
      local x <close> = c("r" .. n)
    until n == 2 and x
  end
  check("until uses it", log)
  log = {}
  do
    local a <close> = c "a"
    local r = (function() local b <close> = c "b" return "r" end)()
    log[#log + 1] = r
  end
  check("nested functions", log)
  log = {}
  local ok, e = pcall(function()
    local a <close> = c "a"
    local b <close> = setmetatable({}, { __close = function() error("B", 0) end })
    local d <close> = c "d"
    error("D", 0)
  end)
  check("error replaced", ok, e, log)
  log = {}
  local t = {}
  setmetatable(t, { __close = function(self) log[#log + 1] = self == t end })
  do local x <close> = t end
  check("receives the value", log)
  log = {}
  local function many() local a <close> = c "m" return 1, 2, nil, 4 end
  check("many results", many())
  check("value changed after declaration", (function()
    local r = {}
    do
      local v = { n = 1 }
      local a <close> = setmetatable(v, { __close = function(o) r[1] = o.n end })
      v.n = 2
    end
    return r[1]
  end)())
  check("result evaluated before closing", (function()
    local x = 1
    local a <close> = setmetatable({}, { __close = function() x = 2 end })
    return x
  end)())
  check("captured variable changed by closing", (function()
    local x = 1
    local get = function() return x end
    do local a <close> = setmetatable({}, { __close = function() x = 2 end }) end
    return get()
  end)())
  raises("not closable", function() local mine <close> = 42 end)
  raises("not closable string", function() local mine <close> = "s" end)
  raises("not closable table", function() local a <close> = nil local other <close> = {} end)
  raises("not closable true", function() local a <close> = true end)
  raises("error in close has its own position", function()
    local a <close> = setmetatable({}, { __close = function()
      error("closing")
    end })
  end)
end

-- Results of a return that closes several variables.
do
  local function pass(...) return ... end
  local mt = { __close = function() pass(1, 2, 3) end }
  local function open(...)
    local a <close> = setmetatable({}, mt)
    local b <close> = setmetatable({}, mt)
    return pass(...)
  end
  check("close keeps no results", open())
  check("close keeps one result", open(1))
  check("close keeps nils", open(nil, nil))
  check("close keeps many results", open(table.unpack({}, 1, 20)))
  local function listed(x, ...)
    local a <close> = setmetatable({}, mt)
    return x, ...
  end
  check("close keeps a list", listed(1, 2, 3))
  check("close keeps a parameter", (function(x) local a <close> = setmetatable({}, mt) return x end)(5))
end

-- A jump to the end of a loop's body closes the body's variables, not the loop's.
do
  local log = {}
  local function closing(name)
    return setmetatable({}, { __close = function() log[#log + 1] = name end })
  end
  local function upto(s, c) c = c + 1 if c <= 3 then return c, s end end
  for i, s in upto, nil, 0, closing("loop") do
    do
      local inner <close> = closing("inner " .. i)
      if i < 3 then goto continue end
    end
    log[#log + 1] = "rest " .. i
    ::continue::
  end
  check("continue closes the body only", table.concat(log, ","))
  log = {}
  for i = 1, 2 do
    local outer <close> = closing("outer " .. i)
    while true do
      local inner <close> = closing("inner " .. i)
      goto continue
    end
    ::continue::
  end
  check("continue out of a nested loop", table.concat(log, ","))
end
