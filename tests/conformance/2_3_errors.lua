-- Manual section 2.3: error handling.

-- Error values of any type.
raises("string", function() error("message") end)
raises("string level 0", function() error("message", 0) end)
raises("string level 1", function() error("message", 1) end)
raises("number", function() error(42) end)
raises("float", function() error(1.5) end)
raises("nil", function() error(nil) end)
raises("no argument", function() error() end)
raises("false", function() error(false) end)
raises("table", function() error({ code = 7 }) end)
raises("function", function() error(print) end)
raises("direct call", error, "message")
raises("direct call with level 2", error, "message", 2)
raises("direct nil", error)
do
  local t = {}
  local ok, e = pcall(error, t)
  check("same table", ok, e == t)
end

-- Levels point at callers.
do
  local function l1() error("level 1", 1) end
  local function l2() error("level 2", 2) end
  local function l3() error("level 3", 3) end
  local function call(f) f() end
  raises("level 1", call, l1)
  raises("level 2", call, l2)
  raises("level 2 from pcall", l2)
  raises("level 3", function()
    call(l3)
  end)
  raises("level beyond the stack", function() error("far", 50) end)
  raises("level on a table", function() error({}, 2) end)
  raises("level float", function() error("m", 1.0) end)
  raises("level string", function() error("m", "1") end)
  raises("bad level", function() error("m", "x") end)
  raises("bad level fraction", function() error("m", 1.5) end)
end

-- pcall.
check("pcall success", pcall(function(...) return ... end, 1, nil, 3))
check("pcall no results", pcall(function() end))
check("pcall native", pcall(math.abs, -1))
check("pcall of a non-function", pcall(5))
check("pcall of nil", pcall(nil))
raises("pcall of a callable", setmetatable({}, { __call = function(self, ...) return select("#", ...) end }), nil, nil)
raises("pcall without arguments", pcall)
check("nested pcall", pcall(pcall, error, "inner"))
check("pcall of pcall of pcall", pcall(pcall, pcall, error, "inner"))
check("pcall pcall", pcall(pcall))
check("error after pcall", pcall(function()
  local ok, e = pcall(error, "first", 0)
  error(e .. " second", 0)
end))

-- xpcall.
check("xpcall success", xpcall(function(...) return ... end, print, 1, 2))
check("xpcall handler result", xpcall(error, function(e) return "handled " .. e end, "m"))
check("xpcall handler many results", xpcall(error, function(e) return e, "second" end, "m"))
check("xpcall handler no result", xpcall(error, function() end, "m"))
check("xpcall nil error", xpcall(error, function(e) return type(e) end))
check("xpcall runtime error", xpcall(function() local x = nil; return x.y end, function(e) return "H:" .. e end))
check("xpcall non-function", xpcall(5, function(e) return e end))
check("xpcall handler sees the stack", xpcall(function()
  local secret = 1
  error("m")
end, function() return (debug.getlocal(3, 1)) end))
check("xpcall handler line", xpcall(function()
  error("m")
end, function() return debug.getinfo(3, "l").currentline end))
raises("xpcall without handler", xpcall, print)
raises("xpcall without arguments", xpcall)
check("xpcall nested", xpcall(function()
  return xpcall(error, function(e) return "in " .. e end, "m")
end, function(e) return "out " .. e end))
check("xpcall with handler rethrowing to outer", xpcall(function()
  local _, e = xpcall(error, function(e) return "in " .. e end, "m")
  error(e, 0)
end, function(e) return "out " .. e end))
do
  -- An error in the handler calls the handler again, until it stops.
  local n = 0
  check("error in handler once", xpcall(error, function(e)
    n = n + 1
    if n < 3 then error("again " .. n, 0) end
    return e
  end, "first"))
  check("handler calls", n)
end
raises("handler is a table", function()
  return xpcall(error, setmetatable({}, { __call = function(_, e) return "T:" .. e end }), "m")
end)
check("traceback as handler", select("#", xpcall(error, debug.traceback, "m")))

-- assert.
check("assert values", assert(1, "unused", nil))
raises("assert false", function() assert(false) end)
raises("assert nil", function() assert(nil) end)
raises("assert message", function() assert(false, "message") end)
raises("assert nil message", function() assert(false, nil) end)
raises("assert table message", function() assert(nil, { 1 }) end)
raises("assert number message", function() assert(nil, 5) end)
raises("assert no value", function() assert() end)

-- Values survive intact through several protected calls.
do
  local e = setmetatable({}, { __tostring = function() return "custom" end })
  local _, a = pcall(pcall, error, e)
  check("outer", a)
  local _, _, b = pcall(pcall, error, e)
  check("identity through levels", b == e, tostring(b))
end

-- Errors with positions from every kind of operation.
raises("arith position", function()
  local a
  local b = 1
  return a
    + b
end)
raises("call position", function()
  local t = {}
  t.f(
    1,
    2
  )
end)
raises("index position", function()
  local t = {}
  return t
    .a
    .b
end)
raises("concat position", function()
  return "a"
    .. {}
    .. "b"
end)
raises("nested function position", function()
  local function inner()
    error("deep")
  end
  inner()
end)
raises("native with position", function()
  string.rep()
end)
raises("native in expression", function()
  return 1 +
    string.rep()
end)

-- Stack overflow is an error like any other. (Large frames get there sooner.)
do
  local function large(f) return f(table.unpack({}, 1, 100)) end
  local function f(...) return 1 + f(...) end
  check("stack overflow", xpcall(large, function(m)
    return type(m) .. " " .. m:match("stack overflow") .. " " .. m:match("^[%w_.]+:%d+:")
  end, f))
  local depth = 0
  local function g(...) depth = depth + 1 g(...) end
  check("overflow leaves the state usable", pcall(large, g) == false, depth > 1000)
  local t = setmetatable({}, {})
  getmetatable(t).__index = function(s, k) return s[k] end
  check("overflow in metamethods", (pcall(function() return t.x end)))
  check("string recursion", (pcall(function()
    local s = setmetatable({}, {})
    getmetatable(s).__tostring = function(x) return tostring(x) end
    return tostring(s)
  end)))
end

-- Deep tail calls do not overflow.
do
  local function loop(n) if n == 0 then return "done" end return loop(n - 1) end
  check("tail calls", loop(200000))
end

-- Tracebacks: their shape in a fresh coroutine.
do
  local function trace(f, ...)
    local co = coroutine.create(f)
    local ok, e = coroutine.resume(co, ...)
    return debug.traceback(co, e)
  end
  check("traceback main function", trace(function() error("m") end))
  local function inner() error("deep") end
  local function outer() inner() return 1 end
  check("traceback upvalue names", trace(function() outer() return 1 end))
  check("traceback local name", trace(function()
    local function named() error("m") end
    named()
    return 1
  end))
  check("traceback field name", trace(function()
    local t = { f = function() error("m") end }
    t.f()
    return 1
  end))
  check("traceback method name", trace(function()
    local t = { m = function() error("m") end }
    t:m()
    return 1
  end))
  check("traceback nested field", trace(function()
    local t = { u = { f = function() error("m") end } }
    t.u.f()
    return 1
  end))
  function a_global() error("m") end
  check("traceback global", trace(function() a_global() return 1 end))
  a_global = nil
  check("traceback tail call", trace(function() return (function() error("m") end)() end))
  check("traceback named tail call", trace(function() return inner() end))
  check("traceback native", trace(function() string.rep() return 1 end))
  check("traceback pcall", trace(function() pcall(error) coroutine.yield() end))
  check("traceback suspended", trace(function() coroutine.yield("y") end))
  check("traceback suspended deep", trace(function()
    local function y() coroutine.yield("y") return 1 end
    y()
    return 1
  end))
  check("traceback metamethod add", trace(function()
    local t = setmetatable({}, { __add = function() error("m") end })
    return 1, t + 1
  end))
  check("traceback metamethod index", trace(function()
    local t = setmetatable({}, { __index = function() error("m") end })
    return 1, t.x
  end))
  check("traceback metamethod concat", trace(function()
    local t = setmetatable({}, { __concat = function() error("m") end })
    return 1, t .. ""
  end))
  check("traceback metamethod eq", trace(function()
    local mt = { __eq = function() error("m") end }
    return 1, setmetatable({}, mt) == setmetatable({}, mt)
  end))
  check("traceback metamethod close", trace(function()
    local c <close> = setmetatable({}, { __close = function() error("m") end })
    return 1
  end))
  check("traceback for iterator", trace(function()
    for _ in function() error("m") end do end
    return 1
  end))
  check("traceback sort", trace(function()
    table.sort({ 1, 2, 3 }, function() error("m") end)
    return 1
  end))
  check("traceback gsub", trace(function()
    string.gsub("abc", ".", function() error("m") end)
    return 1
  end))
  check("traceback xpcall", trace(function()
    xpcall(function() coroutine.yield("y") return 1 end, print)
    return 1
  end))
  check("traceback loaded chunk", trace(load("\nerror('m')", "=chunk")))
  check("traceback loaded string", trace(load("error('m')", "error('m')")))
  check("traceback dead", (function()
    local co = coroutine.create(function() end)
    coroutine.resume(co)
    return debug.traceback(co)
  end)())
  check("traceback not started", debug.traceback(coroutine.create(function() end)))
  check("traceback recursion", (trace(function()
    local function r(n) if n == 0 then error("m") end r(n - 1) return 1 end
    r(3)
    return 1
  end)))
  check("traceback long recursion", (trace(function()
    local function r(n) if n == 0 then error("m") end r(n - 1) return 1 end
    r(60)
    return 1
  end)))
end

-- debug.traceback's arguments.
check("traceback of a table", type(debug.traceback({})))
check("traceback of false", debug.traceback(false))
check("traceback number", debug.traceback(5):match("^5\nstack traceback:"))
check("traceback nil", debug.traceback(nil):match("^stack traceback:"))
check("traceback level", coroutine.wrap(function()
  local function f() return (debug.traceback("m", 2)) end
  local r = f()
  return r
end)())
check("traceback level 1", coroutine.wrap(function()
  local function f() return (debug.traceback("m", 1)) end
  local r = f()
  return r
end)())
check("traceback level 0", coroutine.wrap(function()
  local r = debug.traceback("m", 0)
  return r
end)())
check("traceback level beyond", coroutine.wrap(function()
  local r = debug.traceback("m", 20)
  return r
end)())

-- To-be-closed variables and errors.
do
  local log = {}
  local function closer(name, fail)
    return setmetatable({}, { __close = function(_, e)
      log[#log + 1] = name .. ":" .. tostring(e)
      if fail then error(fail, 0) end
    end })
  end
  raises("closed on error", function()
    local a <close> = closer("a")
    local b <close> = closer("b")
    error("E", 0)
  end)
  check("close log", log)
  log = {}
  raises("error replaced", function()
    local a <close> = closer("a", "from a")
    local b <close> = closer("b", "from b")
    error("E", 0)
  end)
  check("close log replaced", log)
  log = {}
  raises("error only in close", function()
    local a <close> = closer("a")
    local b <close> = closer("b", "from b")
    return 1
  end)
  check("close log normal", log)
end
-- Functions that catch errors can be nested a limited number of times, in each coroutine.
do
  local function nest(n)
    if n == 0 then return "innermost" end
    return select(2, pcall(nest, n - 1))
  end
  check("nested pcalls", nest(150), nest(1000))
  check("nested pcalls in a coroutine", coroutine.wrap(function() return nest(150), nest(1000) end)())
  check("errors that each level extends", (function()
    local levels = 0
    local function down() levels = levels + 1 assert(pcall(down)) end
    local caught, message = xpcall(down, down)
    return caught, type(message), levels < 100000
  end)())
  check("not counted after an error", (function()
    for i = 1, 250 do pcall(pcall, error) end
    return nest(150)
  end)())
  check("not counted after a yield", (function()
    local resumed = 0
    for i = 1, 250 do
      local co = coroutine.wrap(function() pcall(pcall, coroutine.yield) resumed = resumed + 1 end)
      co() co()
    end
    return resumed, nest(150)
  end)())
end
