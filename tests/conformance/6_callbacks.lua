-- Library functions that call back: table.sort, string.gsub, load, tostring, print. Which comparisons are made in
-- which order, what callbacks see of the stack, and what becomes of errors, yields and variables to be closed.

-- The sequence of comparisons, as one number.
local function traced(n, less, element)
  local t, hash, calls = {}, 0, 0
  for i = 1, n do t[i] = element(i) end
  local ok, e = pcall(table.sort, t, function(a, b)
    calls = calls + 1
    hash = (hash * 31 + a * 7 + b) % 1000000007
    return less(a, b, calls)
  end)
  local sum = 0
  for i = 1, n do sum = (sum * 17 + t[i]) % 1000000007 end
  return hash, calls, sum, ok or e
end

do
  local lt = function(a, b) return a < b end
  local orders = {
    { "less", lt },
    { "greater", function(a, b) return a > b end },
    { "always", function() return true end },
    { "never", function() return false end },
    { "at most", function(a, b) return a <= b end },
    { "alternating", function(_, _, n) return n % 2 == 0 end },
    { "every third", function(_, _, n) return n % 3 == 0 end },
    { "nil and values", function(a, b) if a < b then return 0 end end },
  }
  local elements = {
    { "scattered", function(i) return i * 7919 % 1009 end },
    { "ascending", function(i) return i end },
    { "descending", function(i) return -i end },
    { "equal", function() return 5 end },
    { "two values", function(i) return i % 2 end },
    { "organ pipe", function(i) return i < 50 and i or 100 - i end },
  }
  for _, order in ipairs(orders) do
    for _, kind in ipairs(elements) do
      -- Beyond a hundred elements the reference may choose pivots by the time of day.
      local all = 0
      for n = 0, 100 do
        local hash, calls, sum, result = traced(n, order[2], kind[2])
        all = (all * 131 + hash + calls * 3 + sum + #tostring(result)) % 1000000007
      end
      check("comparisons, " .. order[1] .. ", " .. kind[1], all, traced(100, order[2], kind[2]))
    end
  end
  for n = 101, 300 do
    local hash, calls, sum, result = traced(n, lt, elements[1][2])
    if n % 20 == 0 then check("comparisons of " .. n, hash, calls, sum, result) end
  end
  for n = 101, 300, 13 do
    for _, order in ipairs(orders) do traced(n, order[2], elements[1][2]) end
    local _, _, _, result = traced(n, orders[3][2], elements[1][2])
    check("invalid order of " .. n, result)
  end
end

-- Without an order function.
do
  local log = {}
  local mt = { __lt = function(a, b) log[#log + 1] = a.k .. "<" .. b.k return a.k < b.k end }
  local t = {}
  for i, k in ipairs { 5, 3, 8, 1, 9, 2, 7 } do t[i] = setmetatable({ k = k }, mt) end
  table.sort(t)
  check("by __lt", table.concat(log, " "))
  raises("numbers and strings", table.sort, { 1, "x", 2 })
  raises("nothing to compare", table.sort, { {}, {}, {} })
  raises("a hole", table.sort, { 3, nil, 1 })
  raises("error in __lt", table.sort, { setmetatable({}, { __lt = function() error("m") end }), {} })
  check("not a number", (function()
    local nan, t = 0 / 0, { 3, 0 / 0, 1, 2, 0 / 0, 5, 4, 0 }
    local ok, e = pcall(table.sort, t)
    local out = {}
    for i, v in ipairs(t) do out[i] = v ~= v and "nan" or v end
    return ok, e, table.concat(out, " ")
  end)())
  local mixed = { 3, 1.5, -2, 2 ^ 53, 0.0, -1, 10 }
  table.sort(mixed)
  check("integers and floats", mixed)
end

-- Reads and writes go through metamethods in order.
do
  local function spied(n)
    local values, log = {}, {}
    for i = 1, n do values[i] = i * 37 % 11 end
    local proxy = setmetatable({}, {
      __index = function(_, i) log[#log + 1] = "r" .. i return values[i] end,
      __newindex = function(_, i, v) log[#log + 1] = "w" .. i values[i] = v end,
      __len = function() log[#log + 1] = "l" return n end,
    })
    return proxy, log, values
  end
  for _, n in ipairs { 0, 1, 2, 3, 4, 5, 9, 20 } do
    local proxy, log, values = spied(n)
    table.sort(proxy)
    check("accesses without function " .. n, table.concat(log, " "), values)
    proxy, log, values = spied(n)
    table.sort(proxy, function(a, b) log[#log + 1] = a .. ">" .. b return a > b end)
    check("accesses with function " .. n, table.concat(log, " "), values)
  end
  raises("too big", table.sort, setmetatable({}, { __len = function() return 2 ^ 31 | 0 end }))
  raises("error in __index", table.sort, setmetatable({}, {
    __len = function() return 3 end, __index = function(_, i) error("read " .. i, 2) end,
  }))
  raises("error in __newindex", table.sort, setmetatable({}, {
    __len = function() return 2 end, __index = function(_, i) return -i end, __newindex = function() error("w", 2) end,
  }))
end

-- What a callback sees of the stack.
local function look()
  local out = {}
  for level = 2, 6 do
    local i = debug.getinfo(level, "nSltuf")
    if not i then break end
    out[#out + 1] = table.concat({
      i.what, i.short_src, i.currentline, i.linedefined, tostring(i.name), i.namewhat, tostring(i.istailcall),
      tostring(i.isvararg), i.nparams, tostring(i.func == table.sort or i.func == string.gsub or i.func == load),
      tostring(i.func == tostring),
    }, ",")
  end
  return table.concat(out, "; ")
end

do
  local sort, seen = table.sort, nil
  local function less(a, b) seen = seen or look() return a < b end
  local function called(label, f)
    seen = nil
    f()
    check(label, seen)
  end
  called("levels in sort", function() table.sort({ 3, 1, 2 }, less) end)
  called("levels in a local sort", function() sort({ 3, 1, 2 }, less) end)
  called("levels in a sort called last", function() return sort({ 3, 1, 2 }, less) end)
  called("levels in a protected sort", function() pcall(sort, { 3, 1, 2 }, less) end)
  called("levels in sort by __lt", function()
    local mt = { __lt = function() seen = seen or look() return false end }
    sort { setmetatable({}, mt), setmetatable({}, mt) }
  end)
  called("levels in gsub", function() local s = ("x y"):gsub("%w", function() seen = seen or look() end) return s end)
  called("levels in the second call of gsub", function()
    local n = 0
    string.gsub("x y", "%w", function() n = n + 1 if n == 2 then seen = look() end end)
  end)
  called("levels in load", function() load(function() seen = seen or look() end) end)
  called("levels in tostring", function()
    local s = tostring(setmetatable({}, { __tostring = function() seen = look() return "s" end }))
  end)
  called("traceback in sort", function()
    sort({ 1, 2 }, function() seen = debug.traceback("m") end)
  end)
  called("traceback in gsub", function() local s = ("x"):gsub(".", function() seen = debug.traceback("m") end) return s end)
  called("traceback in load", function() local f = load(function() seen = debug.traceback("m") end) end)
  called("traceback in nested sorts", function()
    sort({ 1, 2 }, function(a, b)
      sort({ a, b }, function() seen = debug.traceback("m") return false end)
    end)
  end)
  called("locals of sort", function()
    local t = { 3, 1, 2 }
    sort(t, function(a, b)
      local name, v = debug.getlocal(2, 1)
      local name2, f = debug.getlocal(2, 2)
      seen = { name, v == t, name2, type(f), debug.getlocal(2, -1) }
      return a < b
    end)
  end)
  called("locals of gsub", function()
    string.gsub("subject", ".", function() seen = { debug.getlocal(2, 1) } end)
  end)
  raises("error level 1", sort, { 1, 2 }, function() error("m", 1) end)
  raises("error level 2", sort, { 1, 2 }, function() error("m", 2) end)
  raises("error level 3", function() sort({ 1, 2 }, function() error("m", 3) end) end)
  raises("error level 3 of gsub", function() string.gsub("x", ".", function() error("m", 3) end) end)
  raises("invalid order is the caller's", function() sort({ 1, 2, 3, 4 }, function() return true end) end)
  check("traceback of an invalid order", select(2, xpcall(function()
    sort({ 1, 2, 3, 4 }, function() return true end)
  end, debug.traceback)))
  check("traceback of an impossible comparison", select(2, xpcall(function() sort { {}, {} } end, debug.traceback)))
  check("traceback of an invalid replacement", select(2, xpcall(function()
    string.gsub("x", ".", function() return {} end)
  end, debug.traceback)))
  check("info of sort", debug.getinfo(sort, "S").what, debug.getinfo(sort, "u").nups, debug.getupvalue(sort, 1))
end

-- Nobody yields across them.
do
  local function inside(label, f)
    local co = coroutine.create(f)
    check(label, coroutine.resume(co))
    check(label .. " leaves", coroutine.status(co))
  end
  local yield = coroutine.yield
  inside("yield in sort", function() table.sort({ 1, 2, 3 }, yield) end)
  inside("yield in a function for sort", function() table.sort({ 1, 2, 3 }, function() yield() end) end)
  inside("yield in __lt in sort", function()
    table.sort { setmetatable({}, { __lt = function() yield() end }), {} }
  end)
  inside("yield in __index in sort", function()
    table.sort(setmetatable({}, { __len = function() return 2 end, __index = function() yield() end }))
  end)
  inside("yield in gsub", function() string.gsub("x", ".", yield) end)
  inside("yield in load", function() return load(yield) end)
  inside("yield in tostring", function() tostring(setmetatable({}, { __tostring = yield })) end)
  inside("yield after sort", function()
    table.sort({ 2, 1, 3 }, function(a, b) pcall(yield) return a < b end)
    return yield("fine")
  end)
  inside("yield after an error in sort", function()
    pcall(table.sort, { 2, 1, 3 }, function() error("m") end)
    return yield("fine")
  end)
  inside("yield after an error in gsub", function()
    pcall(string.gsub, "abc", "%w", function(c) if c == "b" then error("m") end return "x" end)
    return yield((string.gsub("abc", "%w", function(c) return c .. c end)))
  end)
  inside("yield after an error in load", function()
    local f, e = load(function() error("m") end)
    return yield(f, e)
  end)
  inside("isyieldable", function()
    local seen = {}
    table.sort({ 1, 2 }, function() seen[#seen + 1] = coroutine.isyieldable() end)
    string.gsub("x", ".", function() seen[#seen + 1] = coroutine.isyieldable() end)
    load(function() seen[#seen + 1] = coroutine.isyieldable() end)
    seen[#seen + 1] = coroutine.isyieldable()
    return seen
  end)
  inside("a coroutine in sort", function()
    local t = { 3, 1, 2 }
    table.sort(t, function(a, b)
      local co = coroutine.wrap(function() yield() return a < b end)
      co()
      return co()
    end)
    return t
  end)
  inside("a coroutine that fails in gsub", function()
    local out = {}
    local s = string.gsub("abc", ".", function(c)
      local co = coroutine.create(function()
        string.gsub("xyz", ".", function(d) if d == "y" then error(c) end return "long enough to be kept" end)
      end)
      out[#out + 1] = select(2, coroutine.resume(co))
      return c .. c
    end)
    return s, out
  end)
  check("sort as a body", coroutine.resume(coroutine.create(table.sort), { 2, 1 }, function(a, b) return a < b end))
  check("gsub as a body", coroutine.resume(coroutine.create(string.gsub), "ab", ".", function(c) return c .. "-" end))
  check("failing sort as a body", coroutine.resume(coroutine.create(table.sort), { 2, 1 }, function() error("m") end))
  check("wrapped sort that fails", pcall(coroutine.wrap(function() table.sort({ 2, 1 }, function() error("m") end) end)))
end

-- Variables of a callback whose error ends a coroutine are closed with that.
do
  local function pending(label, call)
    local log = {}
    local co = coroutine.create(function()
      local outer <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = "outer " .. tostring(e) end })
      call(function()
        local inner <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = "inner " .. tostring(e) end })
        error("m", 0)
      end)
    end)
    check(label .. ", failed", coroutine.resume(co))
    check(label .. ", before", log)
    check(label .. ", close", coroutine.close(co))
    check(label .. ", after", log)
  end
  pending("closing in sort", function(f) table.sort({ 1, 2 }, f) end)
  pending("closing in gsub", function(f) string.gsub("x", ".", f) end)
  pending("closing in nested callbacks", function(f)
    table.sort({ 1, 2 }, function() string.gsub("x", ".", f) end)
  end)
  pending("closing in tostring", function(f) tostring(setmetatable({}, { __tostring = f })) end)
  pending("closing in __lt", function(f) table.sort { setmetatable({}, { __lt = f }), {} } end)
  local log = {}
  local function closing()
    local c <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = tostring(e) end })
    error("m", 0)
  end
  check("closing in a protected sort", pcall(table.sort, { 1, 2 }, closing))
  raises("closing in load", load, closing)
  check("closed", log)
  raises("return through a variable", function()
    local c <close> = setmetatable({}, { __close = function() log[#log + 1] = "closed" end })
    return table.sort({ 2, 1 }, function(a, b) return a < b end)
  end)
end

-- Nesting ends with an error.
do
  local function nested(label, f)
    local ok, e = pcall(f)
    check(label, ok, (tostring(e):gsub("^.-:%d+: ", "")))
  end
  nested("sort in sort", function()
    local function f() table.sort({ 1, 2 }, f) end
    f()
  end)
  nested("gsub in gsub", function()
    local function f() string.gsub("x", ".", f) end
    f()
  end)
  nested("tostring in tostring", function()
    local t = setmetatable({}, {})
    getmetatable(t).__tostring = function() return tostring(t) end
    tostring(t)
  end)
  nested("alternating", function()
    local f
    local function g() table.sort({ 1, 2 }, f) end
    function f() string.gsub("x", ".", g) end
    f()
  end)
  -- Errors on the way leave nothing behind that counts.
  local function reached()
    local n = 0
    local function f() n = n + 1 table.sort({ 1, 2 }, f) end
    pcall(f)
    return n
  end
  local before = reached()
  local function fail() error("m") end
  local failing = setmetatable({}, { __tostring = fail, __lt = fail })
  for _ = 1, 300 do
    pcall(table.sort, { 1, 2 }, fail)
    pcall(table.sort, { failing, failing })
    pcall(string.gsub, "abc", ".", fail)
    pcall(tostring, failing)
    load(fail)
    load(function() return {} end)
    coroutine.resume(coroutine.create(table.sort), { 1, 2 }, fail)
    coroutine.resume(coroutine.create(function() table.sort({ 1, 2 }, function() string.gsub("x", ".", fail) end) end))
    pcall(coroutine.wrap(function() string.gsub("x", ".", function() pcall(table.sort, { 1, 2 }, fail) error("m") end) end))
    xpcall(table.sort, function() return tostring(failing) end, { 1, 2 }, fail)
  end
  check("nests as deep after errors", reached() == before)
  check("yields after errors", coroutine.wrap(function() return coroutine.isyieldable(), coroutine.yield("y") end)())
  check("and works again", (function()
    local t = { 3, 1, 2 }
    table.sort(t, function(a, b) return a > b end)
    return t, string.gsub("abc", ".", function(c) return c:upper() end)
  end)())
end

-- Replacement functions.
do
  local function double(c) return c .. c end
  check("every match", string.gsub("hello", ".", double))
  check("first matches", string.gsub("hello", ".", double, 2))
  check("no match", string.gsub("hello", "x", double))
  check("none wanted", string.gsub("hello", ".", double, 0))
  check("anchored", string.gsub("hello", "^.", double))
  check("anchored, no match", string.gsub("hello", "^x", double))
  check("empty matches", string.gsub("abc", "", function() return "-" end))
  check("empty subject", string.gsub("", "", function(s) return "[" .. s .. "]" end))
  check("captures", string.gsub("k1=v1, k2=v2", "(%w+)=(%w+)", function(k, v) return v .. "=" .. k end))
  check("positions", string.gsub("abc", "()b()", function(i, j) return i .. j end))
  check("false and nil", string.gsub("abcd", ".", function(c) if c == "b" then return false end if c == "c" then return "X" end end))
  check("numbers", string.gsub("abc", ".", function(c) return c:byte() end))
  check("floats", string.gsub("ab", ".", function() return 1.5 end))
  check("many results", string.gsub("ab", ".", function() return "x", "y", "z" end))
  check("no results", string.gsub("ab", ".", function() end))
  check("host functions", string.gsub("hello", "%w", string.upper))
  check("arguments", string.gsub("abc", "b", function(...) return select("#", ...) end))
  raises("invalid replacement", string.gsub, "abc", ".", function() return {} end)
  raises("invalid replacement true", string.gsub, "abc", ".", function() return true end)
  raises("bad pattern", string.gsub, "abc", "[", double)
  raises("bad pattern later", string.gsub, "abc", "b%", double)
  raises("error", string.gsub, "abc", ".", function(c) error(c, 0) end)
  check("nested", string.gsub("ab cd", "%w+", function(w) return (w:gsub(".", function(c) return c .. "." end)) end))
  check("collecting", (string.gsub(("ab"):rep(30), ".", function(c) collectgarbage("step") return c .. c end)))
end

-- Readers, and texts of objects.
do
  local function pieces(...)
    local list, n = { ... }, 0
    return function() n = n + 1 return list[n] end
  end
  check("pieces", load(pieces("return ", "1 ", "+ 2"))())
  check("numbers as pieces", load(pieces("return ", 12, 3.5))())
  check("an empty piece ends", load(pieces("return 1", "", " + 1"))())
  check("many pieces", #load((function()
    local n = 0
    return function() n = n + 1 if n <= 500 then return n == 1 and "return {" or n == 500 and "}" or n .. "," end end
  end)())())
  check("name", load(pieces("x ="), "=name"))
  check("without a name", load(pieces("x =")))
  check("mode", load(pieces("return 1"), "=name", "b"))
  check("environment", load(pieces("return x"), "=name", "t", { x = 5 })())
  check("no environment", pcall(load(pieces("return x"), "=name", "t", nil)))
  raises("bad piece", load, pieces("return ", {}))
  raises("error in the reader", load, function() error("m", 0) end)
  raises("error value of the reader", load, function() error({}) end)
  check("handler", xpcall(function() return load(function() error("m", 0) end) end, function(m) return m .. " handled" end))
  check("handler and syntax", xpcall(function() return load(pieces("x =")) end, function(m) return m .. " handled" end))
  check("reader calls load", load(function()
    local f = load(pieces("return 'inner'"))
    return nil
  end))
  raises("no reader", load, {})
  raises("bad name", load, pieces("return 1"), {})

  local function object(f) return setmetatable({}, { __tostring = f }) end
  check("tostring", tostring(object(function() return "text" end)))
  check("tostring of a number", tostring(object(function() return 12 end)))
  raises("tostring of nothing", tostring, object(function() end))
  raises("tostring of a table", tostring, object(function() return {} end))
  raises("tostring that fails", tostring, object(function() error("m") end))
  check("many results of __tostring", tostring(object(function() return "a", "b" end)))
  check("tostring in a comparison", (function()
    local t = { object(function() return "b" end), object(function() return "a" end) }
    table.sort(t, function(a, b) return tostring(a) < tostring(b) end)
    return tostring(t[1]), tostring(t[2])
  end)())
end

-- As metamethods.
do
  local t = setmetatable({}, { __index = pcall })
  local a, b, c = 1, 2, 3
  local d = t.x
  check("pcall as __index", a, b, c, d)
  local co = coroutine.wrap(function() while true do coroutine.yield(7) end end)
  t = setmetatable({}, { __index = co, __lt = co, __concat = co })
  d = t.x
  check("a coroutine as metamethods", a, b, c, d, t < t, t .. "x")
  t = setmetatable({}, { __index = tostring, __tostring = function() return "text" end })
  d = t.x
  check("tostring as __index", a, b, c, d)
end
