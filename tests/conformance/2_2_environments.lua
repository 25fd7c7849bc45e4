-- Manual section 2.2: environments and the global environment.

check("_G is itself", _G._G == _G)
check("_ENV is _G", _ENV == _G)
x_global = 10
check("global write", _G.x_global, _ENV.x_global, x_global)
_G.y_global = 20
check("global through _G", y_global)
check("undefined global", undefined_global)
x_global, y_global = nil, nil
check("removed globals", x_global, rawget(_G, "y_global"))

-- A local _ENV redirects every free name of its scope.
do
  local check, type = check, type
  do
    local _ENV = { a = 1 }
    check("local env read", a, b)
    b = 2
    check("local env write", b, _ENV.b)
  end
  check("env restored", b)
end

-- _ENV as a parameter, an upvalue, and an ordinary table.
do
  local function f(_ENV) return a end
  check("env parameter", f({ a = "A" }), f({}))
  local function get(_ENV, n) return _ENV[n] end
  check("env as a table", get({ k = 5 }, "k"))
  local env = { v = 1 }
  local bump
  do
    local _ENV = env
    function bump() v = v + 1 return v end
  end
  check("env upvalue", bump(), bump(), env.v)
end

-- Functions declared under another _ENV are its fields.
do
  local m = {}
  do
    local _ENV = m
    function f() return 1 end
    function g() return f() + 1 end
  end
  check("functions as fields", m.f(), m.g())
  check("not global", rawget(_G, "f"), rawget(_G, "g"))
end

-- Assigning to _ENV itself.
do
  local saved, check = _ENV, check
  local function scope()
    local _ENV <const> = { x = "inner" }
    return x
  end
  check("const env", scope())
  local _ENV = { x = 1 }
  check("first env", x)
  _ENV = { x = 2 }
  check("second env", x)
  _ENV = saved
  check("env reassigned", type(print))
end

-- load gives a chunk its environment as first upvalue.
check("load with env", load("return a, b", "=c", "t", { a = 1, b = 2 })())
check("load with env writes", (function()
  local env = {}
  load("x = 1; y = {}; function f() end", "=c", "t", env)()
  return env.x, env.y, env.f
end)())
check("load without env", load("return _ENV == _G")())
raises("load with nil env", load("return x", "=c", "t", nil))
raises("load with nil env writes", load("x = 1", "=c", "t", nil))
check("load with nil env, no globals", load("local a = 1 return a", "=c", "t", nil)())
raises("load with number env", load("return x", "=c", "t", 5))
check("load with string env", load("return len", "=c", "t", "a string")() == string.len)
raises("load with string env writes", load("x = 1", "=c", "t", "a string"))

-- Metatables on environments.
do
  local log = {}
  local env = setmetatable({}, {
    __index = function(_, k) log[#log + 1] = "get " .. k return k .. "!" end,
    __newindex = function(t, k, v) log[#log + 1] = "set " .. k rawset(t, k, v) end,
  })
  check("env __index", load("x = y; return x, z", "=c", "t", env)())
  check("env log", log)
  local strict = setmetatable({}, { __index = function(_, k) error("undeclared " .. k, 2) end })
  raises("strict env", load("\n\nreturn foo", "=c", "t", strict))
  local sandbox = setmetatable({}, { __index = _G })
  load("shadow = 1; type = 2", "=c", "t", sandbox)()
  check("sandbox", sandbox.shadow, sandbox.type, rawget(_G, "shadow"), type(1))
end

-- Messages name globals and the environment.
progs [[
undefined_function()
undefined.field = 1
local x = undefined.field
local x = undefined + 1
local x = -undefined
local x = #undefined
local x = undefined .. "s"
local _ENV = {}; undefined_function()
local _ENV = {}; local x = a.b
local _ENV = nil; x = 1
local _ENV = nil; return x
local _ENV = nil; local function f() return x end; return f()
local _ENV = nil; local function f() x = 1 end; return f()
local _ENV = 5; return x
local _ENV = {}; local function f() return y.z end; return f()
local e = {}; local _ENV = e; return e.x.y
local function f(_ENV) return x end; f()
_ENV.a.b = 1
_G.a.b = 1
return _G.a.b
_ENV.undefined()
]]

-- Environments are per function, not per call.
do
  local function gen(env) return load("n = (n or 0) + 1; return n", "=c", "t", env) end
  local e1, e2 = {}, { n = 10 }
  local f1, f2 = gen(e1), gen(e2)
  check("separate envs", f1(), f1(), f2(), e1.n, e2.n)
end

-- Upvalues of loaded chunks are _ENV only.
check("upvalue name", (debug.getupvalue(load("return x"), 1)))
check("upvalue count", (debug.getupvalue(load("return 1"), 1)), debug.getupvalue(load("return 1"), 2))
do
  local f = load("return x")
  debug.setupvalue(f, 1, { x = "set" })
  check("setupvalue env", f())
end
