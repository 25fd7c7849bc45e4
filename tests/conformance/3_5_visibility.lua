-- Manual section 3.5: visibility rules and closures.

-- The manual's example.
do
  local out = {}
  x = 10
  do
    local x = x
    out[#out + 1] = x
    x = x + 1
    do
      local x = x + 1
      out[#out + 1] = x
    end
    out[#out + 1] = x
  end
  out[#out + 1] = x
  x = nil
  check("shadowing", out)
end
do
  local a = {}
  local x = 20
  for i = 1, 10 do
    local y = 0
    a[i] = function() y = y + 1 return x + y end
  end
  check("ten closures", a[1](), a[1](), a[2](), a[10]())
  x = 100
  check("shared upvalue", a[1](), a[3]())
end

check("counter", (function()
  local function counter() local n = 0 return function() n = n + 1 return n end, function() return n end end
  local inc, get = counter()
  local inc2, get2 = counter()
  inc() inc() inc2()
  return get(), get2()
end)())
check("parameters are locals", (function()
  local function f(a) return function() a = a + 1 return a end end
  local g, h = f(1), f(10)
  return g(), g(), h()
end)())
check("shared between siblings", (function()
  local set, get
  do
    local v = 0
    function set(x) v = x end
    function get() return v end
  end
  set(5)
  return get()
end)())
check("through several levels", (function()
  local a = 1
  return (function() return (function() return (function() a = a + 1 return a end)() + a end)() + a end)()
end)())
check("captured loop variable", (function()
  local fs = {}
  for i = 1, 3 do fs[#fs + 1] = function(d) i = i + (d or 0) return i end end
  return fs[1](10), fs[1](), fs[2](), fs[3](1)
end)())
check("while locals are fresh", (function()
  local fs, n = {}, 0
  while n < 3 do
    local m = n
    fs[#fs + 1] = function() m = m * 2 return m end
    n = n + 1
  end
  return fs[1](), fs[2](), fs[2](), fs[3]()
end)())
check("two variables of one iteration", (function()
  local sets, gets = {}, {}
  for i = 1, 2 do
    local v = i
    sets[i] = function(x) v = x end
    gets[i] = function() return v, i end
  end
  sets[1](100)
  return { gets[1]() }, { gets[2]() }
end)())
check("break keeps captured values", (function()
  local f
  for i = 1, 5 do
    local v = i * i
    if i == 3 then f = function() return v end break end
  end
  return f()
end)())
check("captured before assignment", (function()
  local x
  local f = function() return x end
  x = "later"
  return f()
end)())
check("captured vararg copy", (function(...)
  local a, b = ...
  local f = function() return b, a end
  a = "changed"
  return f()
end)(1, 2))
check("upvalue of dead frame", (function()
  local function mk() local t = { 1 } return function() t[#t + 1] = #t return #t end end
  local f = mk()
  f() f()
  return f()
end)())
check("recursive closures", (function()
  local function fix(f) return function(...) return f(fix(f), ...) end end
  local fact = fix(function(self, n) return n == 0 and 1 or n * self(n - 1) end)
  return fact(10), fact(20), fact(21)
end)())
check("mutual recursion", (function()
  local odd
  local function even(n) if n == 0 then return true end return odd(n - 1) end
  function odd(n) if n == 0 then return false end return even(n - 1) end
  return even(10), odd(10), even(1001)
end)())
check("same name in nested functions", (function()
  local v = "a"
  local function f() local v = v .. "b" return function() local v = v .. "c" return v end end
  return f()(), v
end)())
check("upvalues in coroutines", (function()
  local n = 0
  local co = coroutine.wrap(function() while true do n = n + 1 coroutine.yield() end end)
  co() co() co()
  return n
end)())
check("upvalues after an error", (function()
  local get
  pcall(function() local v = "kept" get = function() return v end v = "changed" error() end)
  return get()
end)())
check("shared after an error", (function()
  local get, set
  pcall(function() local v = 1 get = function() return v end set = function(x) v = x end error() end)
  set(7)
  return get()
end)())
check("until scope", (function() local x = 5 local n = 0 repeat local x = n n = n + 1 until x == 2 return n, x end)())
check("if blocks", (function() local x = 1 if true then local x = 2 end return x end)())
check("else blocks", (function() local x = 1 if false then else local x = 2 x = x + 1 end return x end)())
check("elseif scope", (function() local x = 1 if x == 2 then local x = 3 elseif x == 1 then local x = 4 return x end end)())
check("method self", (function() local o = { v = 3 } function o:get() return self.v end function o.plain(self) return self.v + 1 end return o:get(), o.plain(o), o:plain() end)())
check("nested function names", (function() local a = { b = { c = {} } } function a.b.c.f(x) return x end function a.b.c:g(x) return self == a.b.c, x end return a.b.c.f(1), a.b.c:g(2) end)())
check("local function shadows", (function() local function f() return 1 end local function f() return 2 end return f() end)())
check("global function", (function() function gf() return "global" end local r = gf() gf = nil return r end)())
check("self is an ordinary name", (function() local self = 1 return (function() return self end)() end)())

-- debug.upvalueid and upvaluejoin see the sharing.
check("upvalueid shared", (function()
  local v = 1
  local function f() return v end
  local function g() return v end
  local w = 2
  local function h() return w end
  return debug.upvalueid(f, 1) == debug.upvalueid(g, 1), debug.upvalueid(f, 1) == debug.upvalueid(h, 1)
end)())
check("upvalueid per iteration", (function()
  local fs = {}
  for i = 1, 2 do fs[i] = function() return i end end
  return debug.upvalueid(fs[1], 1) == debug.upvalueid(fs[2], 1)
end)())
check("upvaluejoin", (function()
  local a, b = 1, 2
  local function f() return a end
  local function g() b = b + 1 return b end
  debug.upvaluejoin(f, 1, g, 1)
  g()
  return f()
end)())
check("getupvalue", (function() local first, second = 1, 2 local function f() return second, first end return debug.getupvalue(f, 1) end)())
check("getupvalue second", (function() local first, second = 1, 2 local function f() return second, first end return debug.getupvalue(f, 2) end)())
check("setupvalue", (function() local v = 1 local function f() return v end debug.setupvalue(f, 1, "set") return f(), v end)())
check("upvalueid out of range", debug.upvalueid(function() end, 3))

-- Many upvalues and locals.
do
  local src = {}
  for i = 1, 150 do src[#src + 1] = "local v" .. i .. " = " .. i end
  src[#src + 1] = "return function() return v1"
  for i = 2, 150 do src[#src + 1] = " + v" .. i end
  src[#src + 1] = " end"
  check("150 upvalues", load(table.concat(src, "\n"))()())
  local names = {}
  for i = 1, 200 do names[i] = "l" .. i end
  syntax("200 locals", "local " .. table.concat(names, ",") .. " return l200")
  names[201] = "l201"
  syntax("201 locals", "local " .. table.concat(names, ","))
  syntax("201 locals in a function", "\nfunction f()\nlocal " .. table.concat(names, ",") .. "\nend")
  local up = {}
  for i = 1, 3 do
    up[#up + 1] = "local function f" .. i .. "()"
    for j = 1, 100 do up[#up + 1] = "local a" .. i .. "_" .. j .. " = 1" end
  end
  up[#up + 1] = "return function() return 0"
  for i = 1, 3 do for j = 1, 100 do up[#up + 1] = " + a" .. i .. "_" .. j end end
  up[#up + 1] = " end end end end"
  syntax("300 upvalues", table.concat(up, "\n"))
end
