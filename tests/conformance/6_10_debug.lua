-- Manual section 6.10: the debug library's traceback and getinfo.
local function info(f, what) return debug.getinfo(f, what) end
local function here() return debug.getinfo(2, "l").currentline end
check("currentline", here())
check("currentline again",
  here())
check("short_src", debug.getinfo(1, "S").short_src, debug.getinfo(1, "S").source, debug.getinfo(1, "S").what)
local function sample(a, b, ...)
  local c = a
  return c, b
end
check("S of a function", info(sample, "S"))
check("S of native", info(print and string.rep, "S"))
check("u of a function", info(sample, "u"))
check("u of native", info(string.rep, "u"))
check("u with upvalues", info(function() return sample, info end, "u"))
check("l of a function", info(sample, "l"))
check("L of a function", info(sample, "L"))
check("f of a function", info(sample, "f").func == sample)
check("n of a function", info(sample, "n"))
check("t of a function", info(sample, "t"))
check("S of a chunk", info(load("return 1", "=c"), "S"))
check("S of a string chunk", info(load("return 1\n"), "S"))
check("S of a file chunk", info(load("return 1", "@dir/file.lua"), "S"))
check("S of a nested function", info(load("\nreturn function()\n\nend", "=c")(), "S"))
check("u of a chunk", info(load("return x", "=c"), "u"))
check("level beyond", info(1000, "S"))
raises("bad level", debug.getinfo, "x")
raises("bad option", debug.getinfo, 1, "x")
raises("option >", debug.getinfo, 1, ">S")
raises("nothing", debug.getinfo)
raises("negative level", debug.getinfo, -1, "S")
raises("fraction level", debug.getinfo, 1.5)

-- Names of functions by the way they were called.
local function name() local i = debug.getinfo(2, "n") return i.name, i.namewhat end
do
  local function a_local() local n, w = name() return n, w end
  check("local", (function() local r, w = a_local() return r, w end)())
  local t = { field = a_local }
  check("field", (function() local r, w = t.field() return r, w end)())
  check("method", (function() local r, w = t:field() return r, w end)())
  check("through an index", (function() local r, w = t["field"]() return r, w end)())
  check("computed index", (function() local k = "field" local r, w = t[k]() return r, w end)())
  check("anonymous", (function() local r, w = (function() local n, w2 = name() return n, w2 end)() return r, w end)())
  check("tail called", (function() return a_local() end)())
  check("from pcall", select(2, pcall(a_local)))
  a_global_function = a_local
  check("global", (function() local r, w = a_global_function() return r, w end)())
  a_global_function = nil
  local mt = {}
  for _, e in ipairs { "add", "sub", "concat", "unm", "len", "index", "call", "band", "idiv" } do mt["__" .. e] = function() local n, w = name() return n .. "/" .. w end end
  for _, e in ipairs { "eq", "lt", "le" } do mt["__" .. e] = function() local n, w = name() mt.last = n .. "/" .. w return true end end
  mt.__newindex = mt.__eq
  local o, p = setmetatable({}, mt), setmetatable({}, mt)
  check("metamethod names", o + 1, o - 1, o .. "", -o, #o, o.x, o & 1, o // 1)
  check("metamethod eq", o == p, mt.last)
  check("metamethod lt", o < p, mt.last)
  check("metamethod le", o <= p, mt.last)
  check("metamethod newindex", (function() o.x = 1 return mt.last end)())
  check("iterator", (function()
    local n, w
    for _ in function() if n then return nil end n, w = name() return 1 end do end
    return n, w
  end)())
  check("close", (function()
    local n, w
    do local c <close> = setmetatable({}, { __close = function() n, w = name() end }) end
    return n, w
  end)())
end
check("istailcall", (function() local function f() return debug.getinfo(1, "t").istailcall end local function g() return f() end local r = g() return r, (f()) end)())
check("func", (function() local function f() return debug.getinfo(1, "f").func end return f() == f end)())
check("linedefined", debug.getinfo(1, "S").linedefined, debug.getinfo(sample, "S").linedefined, debug.getinfo(sample, "S").lastlinedefined)
check("default fields", (function()
  local keys = {}
  for k in pairs(debug.getinfo(sample)) do keys[#keys + 1] = k end
  table.sort(keys)
  return keys
end)())
check("active lines", (function()
  local lines = {}
  for l in pairs(debug.getinfo(load("local a\n\na = 1\nif a then\na = 2\nend\nreturn a", "=c"), "L").activelines) do lines[#lines + 1] = l end
  table.sort(lines)
  return lines
end)())
check("line in multi-line call", (function()
  local l
  local function f() l = debug.getinfo(2, "l").currentline end
  f(
    1,
    2
  )
  return l - debug.getinfo(1, "l").currentline
end)())

-- Locals.
check("getlocal", (function() local a, b = 1, "two" return debug.getlocal(1, 2) end)())
check("getlocal parameter names", debug.getlocal(sample, 1))
check("getlocal second parameter", debug.getlocal(sample, 2))
check("getlocal no more parameters", debug.getlocal(sample, 3))
check("getlocal vararg", (function(...) return debug.getlocal(1, -1) end)("v1", "v2"))
check("getlocal vararg out of range", (function(...) return debug.getlocal(1, -3) end)("v1", "v2"))
check("setlocal", (function() local a = 1 debug.setlocal(1, 1, "changed") return a end)())
check("shadowed locals", (function() local x = 1 local x = 2 local n1, v1 = debug.getlocal(1, 1) local n2, v2 = debug.getlocal(1, 2) return n1, v1, n2, v2 end)())
raises("getlocal bad level", debug.getlocal, 1000, 1)
raises("getlocal nothing", debug.getlocal)
raises("setlocal bad level", debug.setlocal, 1000, 1, 1)

-- Metatables and registry.
check("getmetatable", debug.getmetatable("").__index == string, debug.getmetatable(5))
check("setmetatable returns", debug.setmetatable(5, nil))
raises("setmetatable bad", debug.setmetatable, 5, 5)
check("registry", type(debug.getregistry()))
check("uservalue of a non-userdata", debug.getuservalue(5))

-- Hooks.
check("hook initially", debug.gethook())
check("line hook", (function()
  local lines = {}
  debug.sethook(function(e, l) lines[#lines + 1] = e .. l end, "l")
  local a = 1
  local b = 2
  debug.sethook()
  return #lines, lines[1]:match("^line")
end)())
check("call hook", (function()
  local events = {}
  local function f() end
  debug.sethook(function(e) events[#events + 1] = e end, "cr")
  f()
  debug.sethook()
  return events
end)())

-- traceback.
check("traceback message", (coroutine.wrap(function() return (debug.traceback("msg")) end)()))
check("traceback of non-strings", debug.traceback(true), debug.traceback(print) == print)
check("traceback of a coroutine", debug.traceback(coroutine.create(print), "m"))
raises("traceback bad level", debug.traceback, "m", "x")
check("traceback names", coroutine.wrap(function()
  local t = {}
  function t.inner() return (debug.traceback("m")) end
  function t:method() local r = t.inner() return r end
  local r = t:method()
  return r
end)())
check("traceback through native", coroutine.wrap(function()
  local r
  table.sort({ 1, 2 }, function(a, b) r = debug.traceback("m") return a < b end)
  return r
end)())
check("traceback through pcall", coroutine.wrap(function() local _, r = pcall(function() local s = debug.traceback("m") return s end) return r end)())
check("traceback through load", coroutine.wrap(function() local r = load("local s = debug.traceback('m')\nreturn s", "=chunk")() return r end)())

-- A coroutine that has ended by an error can still be looked at.
do
  local co = coroutine.create(function()
    local t, s = { 1 }, "text" .. 2
    local x = t.y.z
  end)
  coroutine.resume(co)
  collectgarbage()
  check("locals of a failed coroutine", debug.getlocal(co, 0, 1))
  check("another local of a failed coroutine", debug.getlocal(co, 0, 2))
  co = coroutine.create(function()
    local outer = "outer" .. 1
    table.sort({ 1, 2, 3 }, function(a)
      local inner = "inner" .. a
      local x = a.y.z
    end)
  end)
  coroutine.resume(co)
  collectgarbage()
  check("failed under a native function", debug.traceback(co, "m"))
  check("local above a native function", (debug.getlocal(co, 0, 2)))
  check("local below a native function", debug.getlocal(co, 2, 1))
end
-- Captured parameters make no line active.
check("active lines", (function()
  local function f(a, b, c)

    return function() return a, b, c end

  end
  local i, lines = debug.getinfo(f, "SL"), {}
  for line in pairs(i.activelines) do lines[#lines + 1] = line - i.linedefined end
  table.sort(lines)
  return lines
end)())
-- Temporary values can be set.
check("set a temporary", (function()
  local function set() return debug.setlocal(2, 3, 10) and 20 end
  local function f(a, b) return (a + 1) + set() end
  return f(0, 0)
end)())
-- The registry has the hooks by coroutine, weakly.
check("hooks in the registry", (function()
  local function hook() end
  debug.sethook(hook, "c")
  local hooks = debug.getregistry()._HOOKKEY
  local found = hooks[coroutine.running()] == hook
  debug.sethook()
  return found, hooks[coroutine.running()], getmetatable(hooks).__mode
end)())
