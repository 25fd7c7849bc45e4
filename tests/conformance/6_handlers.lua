-- Metamethods written in Lua that are called in loops that become hot: their results, what they see of their callers,
-- errors in them, and handlers that change.
local function object(x, meta) return setmetatable({ x = x }, meta) end

local function value(v) if type(v) == "table" then return v.x end return v end

local Number = {}
Number.__index = function(t, k) return k == "double" and t.x * 2 or k end
Number.__newindex = function(t, k, v) rawset(t, k, v + 1) end
Number.__add = function(a, b)
  local x = type(a) == "table" and a.x or a
  local y = type(b) == "table" and b.x or b
  return object(x + y, Number)
end
Number.__sub = function(...) local a, b = ... return value(a) - value(b), select("#", ...) end
Number.__mul = function(a, b) return Number.__add(a, b) end
Number.__unm = function(a, b) return object(-a.x, Number), rawequal(a, b) end
Number.__bnot = function() end
Number.__len = function(a) return a.x end
Number.__eq = function(a, b) return a.x == b.x end
Number.__lt = function(a, b) return value(a) < value(b) end
Number.__le = function(a, b) if value(a) <= value(b) then return "yes" end end
Number.__concat = function(a, b) return value(a) .. "," .. value(b) end
Number.__call = function(self, ...) return self.x, select("#", ...), ... end
Number.__idiv = function(a, b) error("divided", 2) end

do
  local n, one, s = object(0, Number), object(1, Number), 0
  for i = 1, 60 do
    n = n + one
    n = n + 1
    n = 1 + n
    s = s + #n + (n * one).x + (-n).x
  end
  check("arithmetic", n.x, s)
  local a, b, c = 0, 0, 0
  for i = 1, 60 do
    local m = object(i, Number)
    a = a + (m - one)
    b = b + m.double
    c = c + #m.missing
    if ~m == nil then c = c + 1 end
  end
  check("results", a, b, c)
end

do
  local less, equal, most, different = 0, 0, 0, 0
  local five = object(5, Number)
  for i = 1, 80 do
    local m = object(i % 10, Number)
    if m < five then less = less + 1 end
    if m == five then equal = equal + 1 end
    if m <= five then most = most + 1 end
    if m ~= five then different = different + 1 end
    if not (m > five) then less = less + 100 end
    if m >= 1 then most = most + 100 end
    local value = m == five
    if value then equal = equal + 1000 end
  end
  check("comparisons", less, equal, most, different)
end

do
  local calls, texts = 0, {}
  for i = 1, 60 do
    local m = object(i, Number)
    local x, n, first = m(i, 2)
    calls = calls + x + n + first + select("#", m())
    m.y = i
    m["z" .. i % 3] = i
    m[i] = i
    calls = calls + m.y + m["z" .. i % 3] + m[i] + #(m["none" .. i % 2]) + (m[-i])
    texts[#texts + 1] = m .. i
  end
  check("calls, accesses and texts", calls, #table.concat(texts))
end

-- Chains, methods, and receivers in between.
do
  local log = {}
  local Base = setmetatable({}, { __index = function(t, k) log[k] = (log[k] or 0) + 1 return function(self) return self.x end end })
  local Class = setmetatable({ present = 1 }, { __index = Base })
  Class.__index = Class
  local s = 0
  for i = 1, 60 do
    local o = setmetatable({ x = i }, Class)
    s = s + o:method() + o.present + o.other(o)
  end
  check("through holders", s, log.method, log.other, log.present)
  local set = 0
  local Guarded = { __newindex = function(t, k, v) set = set + v end }
  for i = 1, 60 do
    local o = setmetatable({}, Guarded)
    o.field = i
    o[1] = i
  end
  check("stores", set)
end

-- What handlers see of the stack and of the loop's variables.
do
  local lines, names = {}, {}
  local Seen = {
    __add = function(a, b)
      local line = debug.getinfo(2, "l").currentline
      lines[line] = (lines[line] or 0) + 1
      return a.x + b
    end,
    __index = function(t, k)
      local name, v = debug.getlocal(2, 1)
      names[name] = (names[name] or 0) + 1
      return v
    end,
  }
  local function body(count)
    local o, s = object(1, Seen), 0
    for i = 1, count do
      s = s + (o + i)
      s = s + o.missing
    end
    return s
  end
  local s = 0
  for i = 1, 20 do s = s + body(30) end
  local n = 0
  for _ in pairs(lines) do n = n + 1 end
  check("seen", s, n, names.count)
end

-- Errors, collections and yields in handlers.
do
  local function failing(limit)
    local meta = { __add = function(a, b) if b > limit then error("too much: " .. b) end return a end }
    local o = setmetatable({}, meta)
    for i = 1, 60 do o = o + i end
    return "fine"
  end
  for i = 1, 5 do raises("no error", failing, 100) end
  raises("error in a handler", failing, 50)
  raises("error of the operator", function() local n = object(1, Number) for i = 1, 60 do if i > 40 then n = n // 1 end end end)
  local co = coroutine.wrap(function()
    local meta = {
      __add = function(a, b) coroutine.yield(b) return a end,
      __lt = function(a, b) coroutine.yield("less") return true end,
      __index = function(t, k) return coroutine.yield(k) end,
    }
    local o, n = setmetatable({}, meta), 0
    for i = 1, 40 do
      o = o + i
      if o < o then n = n + 1 end
      n = n + o.amount
    end
    return "end", n
  end)
  local got, v = 0, nil
  repeat
    local r, n = co(v)
    v = r == "amount" and 2 or nil
    if type(r) == "number" then got = got + r end
  until n
  check("yields", got)
  local collecting = { __add = function(a, b) if b % 7 == 0 then collectgarbage() end return { a, b } and a end }
  local o, keep = setmetatable({}, collecting), {}
  for i = 1, 60 do
    local t, u = { i }, { tostring(i) }
    o = o + i
    keep[#keep + 1] = t[1] .. u[1]
  end
  check("collected", #table.concat(keep), rawequal(getmetatable(o), collecting))
end

-- Handlers that change, and operands of other kinds.
do
  local meta = { __add = function(a, b) return 1 end, __index = function() return 1 end, __call = function() return 1 end,
    __lt = function() return true end }
  local s = 0
  for i = 1, 90 do
    local o = setmetatable({}, meta)
    if i == 40 then
      meta.__add = function(a, b) return 10 end
      meta.__index = function() return 10 end
      meta.__call = function() return 10 end
      meta.__lt = function() return false end
    elseif i == 60 then
      meta.__index = { missing = 100 }
      meta.__add = nil
      setmetatable(o, { __add = function() return 1000 end, __index = meta, __call = function() return 0 end, __lt = meta.__lt })
      o.missing = 5
      meta.__add = meta.__call
    end
    s = s + (o + o) + o.missing + o() + (o < o and 1 or 0)
  end
  check("changed", s)
  local mixed, values = 0, { object(1, Number), 2, 2.5, object(3, Number), "4" }
  for i = 1, 100 do
    local a, b = values[i // 10 % 5 + 1], values[i % 5 + 1]
    local ok, r = pcall(function() return a + b end)
    mixed = mixed + (ok and (type(r) == "table" and tonumber(r.x) or r) or 100)
  end
  check("mixed", mixed)
  debug.setmetatable(1, { __index = function(n, k) return n end, __call = function(n, m) return m end, __len = function(n) return n end })
  local t = 0
  for i = 1, 60 do t = t + (i).any + i(3) + #i end
  debug.setmetatable(1, nil)
  check("numbers", t)
end

-- Generic loops over functions.
do
  local function upto(n) return function(_, i) if i < n then return i + 1, i * i end end, nil, 0 end
  local function closure(n) local i = 0 return function() i = i + 1 if i <= n then return i end end end
  local called = setmetatable({}, { __call = function(self, state, i) if i < state then return i + 1 end end })
  local a, b, c, d = 0, 0, 0, 0
  for i = 1, 30 do
    for k, v in upto(10) do a = a + k * v end
    for k in closure(i) do b = b + k end
    for k in called, 10, 0 do c = c + k end
    for k, v, w in (function(...) return select(1, ...) end), nil, nil do d = d + 1 end
  end
  check("iterators", a, b, c, d)
end
