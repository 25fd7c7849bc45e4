-- Gets, sets and method calls with a constant key in places that see many kinds of tables, so many that no cache
-- of the place holds them all; and what changes afterwards must be seen in these places.

local function tables()
  local list = {}
  local keys = ""
  for i = 1, 12 do
    keys = keys .. "k" .. i .. " = " .. i .. ", "
    list[i] = load("return {" .. keys .. "}")()
  end
  return list
end

local function get(t) return t.x end
local function set(t, v) t.x = v end
local function set_true(t) t.x = true end
local function call(t) return t:m() end

local function gets(label, list)
  for _ = 1, 30 do
    for i = 1, #list do get(list[i]) end
  end
  local seen = {}
  for i = 1, #list do seen[i] = tostring(get(list[i])) end
  check(label, table.concat(seen, " "))
end

local function keys_of(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n
end

do
  local list = tables()
  gets("absent", list)
  for i, t in ipairs(list) do set(t, i) end
  gets("added", list)
  for _ = 1, 30 do
    for i, t in ipairs(list) do set(t, i * 10) end
  end
  gets("replaced", list)
  for i, t in ipairs(list) do
    if i % 2 == 0 then set(t, nil) end
  end
  gets("set to nil", list)
  check("number of keys", keys_of(list[11]), keys_of(list[12]))
  for _ = 1, 30 do
    for _, t in ipairs(tables()) do set_true(t) end
  end
  list = tables()
  for _, t in ipairs(list) do set_true(t) end
  gets("constant added", list)
  check("number of keys", keys_of(list[1]), keys_of(list[12]))
end

do
  local list = tables()
  for _ = 1, 30 do
    for _, t in ipairs(tables()) do set(t, nil) end
  end
  for _, t in ipairs(list) do set(t, nil) end
  check("nil adds no key", keys_of(list[1]), keys_of(list[12]), next({}, nil), rawlen(list[3]))
  local t = { y = 1 }
  for k in pairs(t) do t.x = nil t.z = nil t[k] = nil end
  check("nil during traversal", next(t))
end

do
  local base = { x = "inherited", m = function(self) return self.k1 end }
  local class = setmetatable({}, { __index = base })
  local list = tables()
  for _, t in ipairs(list) do setmetatable(t, { __index = class }) end
  gets("inherited", list)
  for _ = 1, 30 do
    for _, t in ipairs(list) do call(t) end
  end
  check("method", call(list[1]), call(list[12]))
  class.x = "nearer"
  gets("holder gets the key", list)
  class.m = function() return "nearer method" end
  check("method of nearer holder", call(list[1]), call(list[12]))
  class.x = nil
  gets("holder loses the key", list)
  for i, t in ipairs(list) do t.x = i end
  gets("own", list)
  for _, t in ipairs(list) do t.x = nil end
  gets("own nil", list)
  base.x = nil
  gets("absent everywhere", list)
  for i, t in ipairs(list) do
    getmetatable(t).__index = function(_, k) return k .. i end
  end
  gets("functions", list)
  for _, t in ipairs(list) do setmetatable(t, nil) end
  gets("without metatable", list)
  raises("no method", function() return call(list[12]) end)
end

do
  local list, log = tables(), {}
  for _ = 1, 30 do
    for i, t in ipairs(tables()) do set(t, i) set(t, nil) set(t, i) end
  end
  for i, t in ipairs(list) do
    setmetatable(t, { __newindex = function(_, k, v) log[#log + 1] = k .. i .. tostring(v) end })
  end
  for _, t in ipairs(list) do set(t, 1) set_true(t) set(t, nil) end
  check("newindex", table.concat(log, " "))
  gets("nothing stored", list)
  for i, t in ipairs(list) do rawset(t, "x", i) end
  for i, t in ipairs(list) do set(t, -i) end
  gets("present keys", list)
  check("newindex was not called", #log)
end

do
  -- Events added to tables in use as metatables.
  local function index(m, t) m.__index = t end
  local objects = {}
  for i = 1, 40 do
    local m = {}
    if i % 2 == 0 then
      objects[i] = setmetatable({}, m)
      index(m, { x = i })
    else
      index(m, { x = i })
      objects[i] = setmetatable({}, m)
    end
  end
  gets("index added later", objects)
end

do
  -- Tail calls of functions with other frames, and with fewer and more arguments than parameters.
  local function last(a, b, c) return a, b, c end
  local function many(...) return select("#", ...), ... end
  local function pad(n) return last(n) end
  local function cut(n) return last(n, 2, 3, 4) end
  local function vararg(n) return many(n, nil) end
  local function from_vararg(...) return last(...) end
  local function count(n, sum) if n == 0 then return sum end return count(n - 1, sum + n) end
  check("fewer", pad(1))
  check("more", cut(1))
  check("to vararg", vararg(1))
  check("from vararg", from_vararg(7, 8))
  check("deep", count(100000, 0))
  local function caller(n) local t <close> = setmetatable({}, { __close = function() end }) return last(n, n) end
  check("closing", caller(5))
  local function wanted() local a, b = pad(3) return b, a end
  check("results", wanted())
  check("in a coroutine", coroutine.wrap(function(n) return coroutine.yield(n) end)(4))
  raises("traceback level", function() local function f() return error("tail", 2) end f() end)
end
