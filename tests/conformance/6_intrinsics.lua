-- Library functions in loops that become hot: with arguments of one type for long, then of others, with values at the
-- edges, with errors, and with the function replaced while the loop runs.

local nan = 0 / 0
local numbers = {
  3, -3, 0, math.maxinteger, math.mininteger, 2.5, -2.5, 0.0, -0.0, 0.5, -0.5, 1e15, 2^53, 2^63, -2^63, 1e300, -1e300,
  1 / 0, -1 / 0, nan, "10", " 0x10 ", "1e1", "x", "", false, true, {}, print,
}

-- Evaluates `expression` of x and y in a loop, and as the result of a function that the loop calls.
local function hot(expression)
  local plain = load(([[
    local x, y = ...
    local r, s, n = nil, nil, 0
    for i = 1, 12 do r, s = %s n = n + 1 end
    return r, s, n
  ]]):format(expression), "=plain")
  local returned = load(([[
    local function f(x, y) return %s end
    return function(x, y)
      local r, s
      for i = 1, 12 do r, s = f(x, y) end
      return r, s
    end
  ]]):format(expression), "=returned")()
  return function(x, y)
    raises(expression, plain, x, y)
    raises(expression .. " returned", returned, x, y)
  end
end

-- One argument.
for _, expression in ipairs {
  "math.abs(x)", "math.floor(x)", "math.ceil(x)", "math.sqrt(x)", "math.type(x)", "math.tointeger(x)", "type(x)",
  "tonumber(x)", "math.max(x)", "math.min(x, x)", "rawlen(x)", "#x", "string.len(x)", "string.char(x)", "assert(x)",
  "assert(x, 'no', 3)", "string.byte(x)", "select('#', x)", "select(2, x)", "select(-1, x)", "select(x, 1, 2)",
  "math.floor(x), 1", "(math.floor(x))", "math.ult(x, 1)", "math.ult(1, x)",
} do
  local f = hot(expression)
  for i = 1, #numbers do f(numbers[i]) end
  f(nil)
  f(numbers[1])
  f(numbers[6])
end
for _, expression in ipairs { "math.floor()", "type()", "math.max()", "assert()", "rawequal(1)", "select('#')", "select()",
  "rawget({})", "rawset({}, 1)", "tonumber()", "tostring()", "ipairs()", "pairs()", "next()", "setmetatable({})",
  "string.sub()", "string.byte()", "string.char()", "string.sub('x')", "math.type()" } do
  hot(expression)()
end
hot("tostring(x)")("text")
hot("tostring(x)")(12)
hot("tostring(x)")(1.5)
hot("tostring(x)")(nil)

-- Two numbers.
local some = { 1, 2, -1, math.maxinteger, math.mininteger, 1.0, 2.5, 0.0, -0.0, 1 / 0, nan, "1", {} }
for _, expression in ipairs { "math.max(x, y)", "math.min(x, y)", "math.max(x, y, 2)", "rawequal(x, y)", "math.ult(x, y)",
  "1 / math.max(x, y)", "1 / math.min(x, y)", "select(y, x, 1)" } do
  local f = hot(expression)
  for i = 1, #some do
    for j = 1, #some do f(some[i], some[j]) end
  end
end

-- Strings.
local places = { 1, 2, 5, 0, -1, -5, -6, 6, 7, math.maxinteger, math.mininteger, 2.0, 2.5, "2", false }
for _, expression in ipairs { "string.byte(x, y)", "x:byte(y)", "x:sub(y)", "x:sub(y, y)", "x:sub(2, y)", "x:sub(y, -2)",
  "string.sub(x, y, nil)", "x:byte(y, y)", "x:sub(y, y + 1)", "x:byte(y, -1)" } do
  local f = hot(expression)
  for _, s in ipairs { "hello", "", "a long string that is no short one, as it has more than forty bytes", 12345 } do
    for i = 1, #places do f(s, places[i]) end
    f(s, nil)
  end
end
do
  local f = hot("string.char(x)")
  for _, c in ipairs { 0, 65, 255, 256, -1, 65.0, 65.5, "66", 10 } do f(c) end
  hot("string.char(x, y)")(65, 66)
  hot("string.char()")()
end

-- Raw accesses; a key that is new changes what is known of the table.
do
  local function filled(key)
    local sum = 0
    for i = 1, 30 do
      local t = { x = i }
      t[key .. ""] = 5
      sum = sum + t.x + (t.z or 0)
    end
    return sum
  end
  check("a computed key is a field", filled("z"), filled("x"), filled("y"), filled("z"))
  local function raw(key, v)
    local sum = 0
    for i = 1, 30 do
      local t = { x = i }
      local u = rawset(t, key, v)
      sum = sum + (rawget(t, "x") or 1000) + (u.z or 0) + (rawget(u, 1) or 0) + rawlen(t)
    end
    return sum
  end
  check("rawset", raw("z", 1), raw("x", 2), raw(1, 3), raw("z", 4), raw(2.0, 5), raw(1.0, 6), raw(true, 7), raw("x", nil))
  raises("rawset nil key", raw, nil, 1)
  raises("rawset nan key", raw, nan, 1)
  local log = {}
  local proxy = setmetatable({}, {
    __index = function(_, k) log[#log + 1] = k return 1 end,
    __newindex = function(_, k) log[#log + 1] = k end,
    __len = function() return 99 end,
    __eq = function() return true end,
  })
  local seen = 0
  for i = 1, 40 do
    if rawget(proxy, "a") == nil then seen = seen + 1 end
    rawset(proxy, "b", i)
    if rawequal(proxy, setmetatable({}, getmetatable(proxy))) then seen = seen + 1000 end
    seen = seen + rawlen(proxy)
  end
  check("raw accesses ask nobody", seen, #log, rawget(proxy, "b"))
  for _, v in ipairs { 1, "s", false, print } do
    hot("rawget(x, 1)")(v)
    hot("rawset(x, 1, 2)")(v)
  end
end

-- Assertions that stop holding.
do
  local function count(limit)
    local n = 0
    for i = 1, 100 do
      local v, w = assert(i < limit, "too far")
      n = n + (v and 1 or 0) + (w == "too far" and 1 or 0)
    end
    return n
  end
  raises("holds", count, 200)
  raises("fails", count, 60)
  raises("fails at once", count, 0)
end

-- Extra arguments.
do
  local function sum(...)
    local s = 0
    for i = 1, select("#", ...) do s = s + (select(i, ...) or 0) end
    return s
  end
  local function third(...) return (select(3, ...)) end
  local function last(...) return (select(-1, ...)) end
  local function counted(...) return select("#", ...) end
  local a, b, c, d = 0, 0, 0, 0
  for i = 1, 60 do
    a = a + sum(i, 2, 3)
    b = b + (third(1, 2, i, 4) or 0)
    c = c + last(1, i)
    d = d + counted(nil, i, nil) + counted()
  end
  check("select in vararg functions", a, b, c, d)
  check("select of nothing", third(1, 2), pcall(last))
end

-- Traversals.
do
  local function elements(t)
    local n, s = 0, 0
    for i, v in ipairs(t) do
      n = n + i
      s = s + (math.type(v) and v or 1)
    end
    return n, s
  end
  local function passes(label, ...)
    for i = 1, select("#", ...) do
      local t = select(i, ...)
      for _ = 1, 8 do pcall(elements, t) end
      raises(label .. " " .. i, elements, t)
    end
  end
  passes("ipairs", { 1, 2, 3 }, { 1.5, 2.5 }, {}, { 1, 2, nil, 4 }, { "a", "b" }, { nil, 2 }, { n = 1 }, { [1] = 1, [2] = 2, [4] = 4 },
    setmetatable({ 1, 2 }, { __index = function(_, i) if i < 10 then return i end end }), setmetatable({ 3 }, {}), 1, nil)
  local function entries(t)
    local n, s = 0, 0
    for k, v in pairs(t) do
      n = n + (math.type(k) and k or #tostring(k))
      s = s + v
    end
    return n, s
  end
  local plain = { 1, 2, 3, x = 4, y = 5, [2.5] = 6, [true] = 7 }
  local other = setmetatable({}, { __pairs = function() return next, { 10, 20 }, nil end })
  for i = 1, 40 do entries(plain) end
  check("pairs", entries(plain))
  check("pairs of an object", entries(other))
  check("pairs of nothing", entries({}))
  check("pairs with a metatable", entries(setmetatable({ 1, z = 2 }, {})))
  raises("pairs of no table", entries, 1)
  local function emptied(t)
    local n = 0
    for k in pairs(t) do
      t[k] = nil
      n = n + 1
    end
    return n, next(t)
  end
  local function changed(t)
    for k, v in pairs(t) do t[k] = v + 1 end
    return entries(t)
  end
  for i = 1, 20 do
    local t = { 1, 2, 3, a = 1, b = 2, c = 3, d = 4, e = 5, [0] = 1, [10.5] = 2 }
    check("assigned during a traversal", changed(t))
    check("emptied during a traversal", emptied(t))
  end
  local first = 0
  for i = 1, 60 do
    local t = { [i] = i }
    local k, v = next(t)
    if next({}) == nil and next(t, k) == nil then first = first + k + v end
  end
  check("next", first)
  hot("next(x, y)")({ 1 }, "stranger")
  hot("next(x, y)")(1)
  -- The loop's state is changed from inside by way of the debug library: the traversal goes on from there.
  local function iterated(t, f)
    local n = 0
    for k, v in next, t do n = n + v end
    for k, v in f, t do n = n + v end
    return n
  end
  local function mine(t, k) return next(t, k) end
  for i = 1, 30 do iterated({ 1, 2, a = 3 }, i > 20 and mine or next) end
  check("with next itself", iterated({ 1, 2, a = 3 }, next), iterated({ 1, 2, a = 3 }, mine))
end

-- Traversals in which a key is removed and added again, or the table grows a new part.
do
  local function touched(t)
    local seen = {}
    for k, v in pairs(t) do
      seen[#seen + 1] = v
      local old = t[k]
      t[k] = nil
      t[k] = old
    end
    table.sort(seen)
    return table.concat(seen, " ")
  end
  for i = 1, 10 do check("touched", touched { 1, 2, 3, a = 4, b = 5, [1.5] = 6 }) end
end

-- Metatables.
do
  local Point = {}
  Point.__index = Point
  Point.__add = function(a, b) return setmetatable({ x = a.x + b.x }, Point) end
  function Point.new(x) return setmetatable({ x = x }, Point) end
  function Point:get() return self.x end
  local p = Point.new(0)
  for i = 1, 60 do p = p + Point.new(i) end
  check("objects", p:get(), getmetatable(p) == Point)
  local sum = 0
  for i = 1, 60 do
    if i == 40 then Point.__len = function() return 5 end end
    local q = setmetatable({ x = i }, Point)
    sum = sum + q:get() + (i >= 40 and #q or 0)
  end
  check("a metatable gets an event", sum)
  local finalized, with_gc = 0, { __gc = function() end }
  for i = 1, 60 do
    if i == 30 then with_gc.__gc = function() finalized = finalized + 1 end end
    setmetatable({}, with_gc)
  end
  collectgarbage()
  collectgarbage()
  check("finalizers run", finalized > 0)
  local protected = setmetatable({}, { __metatable = "locked" })
  hot("setmetatable(x, y)")(protected, {})
  local f = hot("getmetatable(setmetatable(x, y)) == y")
  f({}, {})
  f({}, nil)
  f({ 1 }, Point)
  f(1, {})
  f({}, 1)
  local shared = {}
  for i = 1, 40 do
    setmetatable(shared, i % 2 == 0 and Point or nil)
  end
  check("set and removed", getmetatable(shared) == Point)
end

-- table.insert
do
  local function inserted(t, n, v)
    for i = 1, n do table.insert(t, v) end
    return #t, t[#t]
  end
  check("integers", inserted({}, 100, 1))
  check("floats", inserted({}, 100, 1.5))
  check("mixed", inserted({ 1, "a" }, 50, {}))
  check("nil", inserted({ 1 }, 30, nil))
  check("after others", inserted({ x = 1, [3.5] = 1 }, 30, 2))
  local log = 0
  local object = setmetatable({}, { __newindex = function(t, k, v) log = log + k rawset(t, k, v) end })
  check("with a metatable", inserted(object, 20, 7))
  check("asked", log)
  raises("of no table", inserted, 1, 1, 1)
  hot("table.insert(x, 1, 2, 3)")({})
  hot("table.insert(x)")({})
end

-- Functions that are replaced while the loop runs.
do
  local old = { floor = math.floor, type = type, byte = string.byte, max = math.max, ipairs = ipairs, select = select }
  local function loop(change)
    local s = 0
    for i = 1, 60 do
      if i == 40 then change() end
      s = s + math.floor(i + 0.5) + math.max(i, 3) + ("abc"):byte(2) + select("#", i, i)
      if type(i) == "number" then s = s + 1 end
      for _, v in ipairs { i } do s = s + v end
    end
    return s
  end
  check("kept", loop(function() end))
  check("replaced", loop(function()
    math.floor = function(x) return x end
    math.max = math.min
    string.byte = function() return 1000 end
    type = function() return "other" end
    select = function() return 7 end
    ipairs = function(t) return next, { 100 } end
  end))
  math.floor, math.max, string.byte, type, select, ipairs = old.floor, old.max, old.byte, old.type, old.select, old.ipairs
  check("restored", loop(function() end))
  local functions = { math.floor, math.ceil, math.abs, math.sqrt, function(x) return -x end, math.type }
  local results = {}
  for i = 1, 120 do
    results[#results + 1] = tostring(functions[i // 20 % #functions + 1](i + 0.25))
  end
  check("by value", table.concat(results, " "))
end
