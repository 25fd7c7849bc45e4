-- Manual section 2.6: coroutines.

-- Values go in and out.
do
  local co = coroutine.create(function(...)
    local args = { n = select("#", ...), ... }
    local a, b = coroutine.yield(args.n, ...)
    local c = coroutine.yield(a, b)
    local d = select("#", coroutine.yield())
    return "end", c, d
  end)
  check("first resume", coroutine.resume(co, 1, nil, 3))
  check("second resume", coroutine.resume(co, "a", "b", "extra"))
  check("third resume", coroutine.resume(co))
  check("fourth resume", coroutine.resume(co, nil, nil))
  check("dead resume", coroutine.resume(co))
  check("dead status", coroutine.status(co))
end

-- The manual's example.
do
  local log = {}
  local function foo(a) log[#log + 1] = "foo " .. a return coroutine.yield(2 * a) end
  local co = coroutine.create(function(a, b)
    log[#log + 1] = "co-body " .. a .. " " .. b
    local r = foo(a + 1)
    log[#log + 1] = "co-body " .. r
    local r2, s = coroutine.yield(a + b, a - b)
    log[#log + 1] = "co-body " .. r2 .. " " .. s
    return b, "end"
  end)
  check("main 1", coroutine.resume(co, 1, 10))
  check("main 2", coroutine.resume(co, "r"))
  check("main 3", coroutine.resume(co, "x", "y"))
  check("main 4", coroutine.resume(co, "x", "y"))
  check("log", log)
end

-- Status.
do
  local co, inner
  co = coroutine.create(function()
    check("running inside", coroutine.status(co))
    inner = coroutine.create(function()
      check("normal outside", coroutine.status(co), coroutine.status(inner))
      coroutine.yield()
    end)
    coroutine.resume(inner)
    check("suspended inner", coroutine.status(inner))
    coroutine.yield()
  end)
  check("before", coroutine.status(co))
  coroutine.resume(co)
  check("between", coroutine.status(co))
  coroutine.resume(co)
  check("after", coroutine.status(co))
  local bad = coroutine.create(error)
  coroutine.resume(bad)
  check("failed", coroutine.status(bad))
end

-- running and isyieldable.
do
  local main, is_main = coroutine.running()
  check("main thread", type(main), is_main, coroutine.isyieldable(), coroutine.isyieldable(main))
  local co
  co = coroutine.create(function()
    local me, m = coroutine.running()
    return me == co, m, coroutine.isyieldable(), coroutine.isyieldable(co), coroutine.status(main)
  end)
  check("not started yieldable", coroutine.isyieldable(co))
  check("inside", coroutine.resume(co))
  check("same object", select(2, coroutine.running()))
end

-- Errors.
do
  local co = coroutine.create(function() error("message") end)
  check("error string", coroutine.resume(co))
  check("after error", coroutine.resume(co))
  check("error table", coroutine.resume(coroutine.create(function() error({ code = 1 }) end)))
  check("error nil", coroutine.resume(coroutine.create(function() error() end)))
  check("runtime error", coroutine.resume(coroutine.create(function() local x; return x.y end)))
  check("native body", coroutine.resume(coroutine.create(math.abs), -5))
  check("native body error", coroutine.resume(coroutine.create(math.abs)))
  check("native error", coroutine.resume(coroutine.create(error), "m"))
  raises("resume main", function() return coroutine.resume((coroutine.running())) end)
  check("resume itself", coroutine.wrap(function() return coroutine.resume((coroutine.running())) end)())
  check("resume normal", (function()
    local outer
    outer = coroutine.create(function()
      return coroutine.resume(coroutine.create(function() return coroutine.resume(outer) end))
    end)
    return coroutine.resume(outer)
  end)())
  raises("yield outside", coroutine.yield)
  raises("yield outside in function", function() coroutine.yield(1) end)
  raises("create number", coroutine.create, 5)
  raises("create nothing", coroutine.create)
  raises("create callable table", coroutine.create, setmetatable({}, { __call = print }))
  raises("resume number", coroutine.resume, 5)
  raises("resume function", coroutine.resume, print)
  raises("status number", coroutine.status, 5)
  raises("wrap nil", coroutine.wrap, nil)
  raises("close number", coroutine.close, 5)
  raises("isyieldable number", coroutine.isyieldable, 5)
end

-- wrap.
do
  local gen = coroutine.wrap(function(n) for i = 1, n do coroutine.yield(i) end return "end" end)
  check("wrap values", gen(2), gen(), gen())
  raises("wrap dead", gen)
  raises("wrap dead in function", function() gen() end)
  raises("wrap error", coroutine.wrap(function() error("message") end))
  raises("wrap error level 0", coroutine.wrap(function() error("message", 0) end))
  raises("wrap error called from Lua", function() coroutine.wrap(function() error("message") end)() end)
  raises("wrap error level 0 called from Lua", function() coroutine.wrap(function() error("message", 0) end)() end)
  raises("wrap error table", function() coroutine.wrap(function() error({ 1 }) end)() end)
  raises("wrap error number", function() coroutine.wrap(function() error(42) end)() end)
  raises("wrap runtime error", function()
    coroutine.wrap(function() local x; return x.y end)()
  end)
  raises("nested wrap errors", function()
    coroutine.wrap(function()
      coroutine.wrap(function() error("deep") end)()
    end)()
  end)
  raises("wrap running", function()
    local w
    w = coroutine.wrap(function() return w() end)
    return w()
  end)
  check("wrap in for", (function()
    local out = {}
    for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i * i) end end) do out[#out + 1] = v end
    return out
  end)())
  local log = {}
  raises("wrap error closes variables", coroutine.wrap(function()
    local c <close> = setmetatable({}, { __close = function(_, e) log[#log + 1] = e end })
    error("E", 0)
  end))
  check("wrap closed", log)
end

-- Yield across pcall and xpcall.
do
  local co = coroutine.wrap(function()
    local r = { pcall(function(a)
      local b = coroutine.yield(a)
      error("after " .. b, 0)
    end, "in") }
    coroutine.yield(r)
    local s = { xpcall(function()
      coroutine.yield("in xpcall")
      local x
      return x.y
    end, function(m) return "H " .. m end) }
    coroutine.yield(s)
    return pcall(pcall, coroutine.yield, "deep")
  end)
  check("pcall 1", co())
  check("pcall 2", co("resumed"))
  check("xpcall 1", co())
  check("xpcall 2", co())
  check("pcall of yield", co())
  check("pcall of yield resumed", co("v1", "v2"))
  check("error after many yields", coroutine.wrap(function()
    return pcall(function() for i = 1, 3 do pcall(coroutine.yield, i) end error("end", 0) end)
  end)())
end

-- Yield across metamethods.
do
  local mt = {}
  for _, ev in ipairs { "add", "sub", "mul", "div", "mod", "pow", "idiv", "band", "bor", "bxor", "shl", "shr", "unm", "bnot", "len", "concat", "index", "call" } do
    mt["__" .. ev] = function(...) return coroutine.yield(ev) end
  end
  mt.__newindex = function() coroutine.yield("newindex") end
  for _, ev in ipairs { "eq", "lt", "le" } do mt["__" .. ev] = function() return coroutine.yield(ev) end end
  local function new() return setmetatable({}, mt) end
  local function across(label, f)
    local co = coroutine.create(f)
    local _, ev = coroutine.resume(co)
    check("yield in " .. label, ev, coroutine.resume(co, "result"))
  end
  local t = new()
  across("add", function() return t + 1 end)
  across("sub", function() return 1 - t end)
  across("mul", function() return t * t end)
  across("div", function() return t / 1 end)
  across("mod", function() return t % 3 end)
  across("pow", function() return t ^ 3 end)
  across("idiv", function() return t // 3 end)
  across("band", function() return t & 3 end)
  across("bor", function() return 3 | t end)
  across("bxor", function() return 3 ~ t end)
  across("shl", function() return 3 << t end)
  across("shr", function() return t >> 3 end)
  across("unm", function() return -t end)
  across("bnot", function() return ~t end)
  across("len", function() return #t end)
  across("concat", function() return t .. "x" end)
  across("concat long", function() return "a" .. "b" .. t end)
  across("index", function() return t.x end)
  across("index integer", function() return t[1] end)
  across("index method", function() return t["a b"] end)
  across("call", function() return t(1) end)
  across("call not last", function() local r = t(1) return r, 2 end)
  across("newindex", function() t.x = 1 return "stored", rawget(t, "x") end)
  across("eq", function() return t == new() end)
  across("ne", function() return t ~= new() end)
  across("lt", function() return t < 1 end)
  across("gt", function() return t > 1 end)
  across("le", function() return t <= 1 end)
  across("ge", function() return t >= 1 end)
  across("lt in condition", function() if t < 1 then return "then" end return "else" end)
  across("not lt in condition", function() if not (t < 1) then return "then" end return "else" end)
  across("eq in condition", function() if t == new() then return "then" end return "else" end)
  across("and", function() return t < 1 and "yes" or "no" end)
  across("while", function() while t <= 1 do return "body" end return "after" end)
  across("expression", function() return (t + 1) .. "!" end)
  across("argument", function() return select("#", t + 1, 2, 3) end)
  check("concat of several yields", (function()
    local co = coroutine.create(function() return t .. "a" .. t .. "b" .. t end)
    local out = {}
    local _, v = coroutine.resume(co)
    local n = 0
    while coroutine.status(co) ~= "dead" do
      n = n + 1
      out[#out + 1] = v
      _, v = coroutine.resume(co, "r" .. n)
    end
    return out, v
  end)())
end

-- Yield in iterators, for loops, and table constructors.
do
  local function drain(f)
    local co = coroutine.create(f)
    local out = {}
    while true do
      local r = table.pack(coroutine.resume(co, #out))
      out[#out + 1] = r[2]
      if coroutine.status(co) == "dead" then return out end
    end
  end
  check("iterator yields", drain(function()
    local sum = 0
    for i in function(_, c) coroutine.yield("iter") c = (c or 0) + 1 if c < 4 then return c end end do sum = sum + i end
    return sum
  end))
  check("body yields", drain(function()
    local s = ""
    for i = 1, 3 do s = s .. i .. coroutine.yield(i) end
    return s
  end))
  check("pairs body yields", drain(function()
    local s = 0
    for _, v in ipairs { 10, 20, 30 } do coroutine.yield(v) s = s + v end
    return s
  end))
  check("__pairs yields", drain(function()
    local s = 0
    for k in pairs(setmetatable({}, { __pairs = function(t) coroutine.yield("pairs") return next, { 5 } end })) do s = s + k end
    return s
  end))
  check("constructor yields", drain(function()
    return #{ coroutine.yield("a"), coroutine.yield("b"), coroutine.yield("c") }
  end))
  check("argument yields", drain(function()
    return math.max(coroutine.yield(1), coroutine.yield(2), coroutine.yield(3))
  end))
  check("varargs yields", drain(function()
    local function f(...) coroutine.yield(select("#", ...)) return ... end
    return (select(3, f(1, 2, 3)))
  end))
  check("tail yields", drain(function() return coroutine.yield("tail") end))
  check("recursive yields", drain(function()
    local function walk(n) if n > 0 then walk(n - 1) coroutine.yield(n) walk(n - 1) end end
    walk(3)
    return "done"
  end))
end

-- What cannot be crossed.
do
  local function inside(f) return coroutine.resume(coroutine.create(f)) end
  check("sort", inside(function() table.sort({ 1, 2, 3 }, function() coroutine.yield() end) end))
  check("gsub", inside(function() string.gsub("abc", ".", function() coroutine.yield() end) end))
  check("load reader", inside(function() return load(function() coroutine.yield() end) end))
  check("tostring", inside(function() return tostring(setmetatable({}, { __tostring = function() coroutine.yield() end })) end))
  check("isyieldable inside sort", inside(function()
    local y
    table.sort({ 1, 2 }, function(a, b) y = coroutine.isyieldable() return a < b end)
    return y
  end))
  check("message handler", inside(function() return xpcall(error, function() return coroutine.isyieldable() end) end))
  check("another coroutine inside sort", inside(function()
    local out = {}
    table.sort({ 2, 1 }, function(a, b) out[#out + 1] = coroutine.wrap(function() coroutine.yield(a) end)() return a < b end)
    return #out > 0
  end))
end

-- close.
do
  local co = coroutine.create(function() end)
  check("close not started", coroutine.close(co), coroutine.status(co))
  check("close dead", coroutine.close(co))
  check("resume closed", coroutine.resume(co))
  local log = {}
  local function closer(n, fail)
    return setmetatable({}, { __close = function(_, e) log[#log + 1] = n .. ":" .. tostring(e) if fail then error(fail, 0) end end })
  end
  co = coroutine.create(function()
    local a <close> = closer "a"
    local b <close> = closer "b"
    coroutine.yield("y")
  end)
  coroutine.resume(co)
  check("close suspended", coroutine.close(co))
  check("closed variables", log, coroutine.status(co))
  log = {}
  co = coroutine.create(function()
    local a <close> = closer("a")
    local b <close> = closer("b", "failed b")
    local c <close> = closer("c")
    coroutine.yield()
  end)
  coroutine.resume(co)
  check("close with error", coroutine.close(co))
  check("close log", log, coroutine.status(co))
  check("close again", coroutine.close(co))
  co = coroutine.create(function() error("E", 0) end)
  coroutine.resume(co)
  check("close failed", coroutine.close(co))
  check("close failed again", coroutine.close(co))
  co = coroutine.create(function() error({ 1 }) end)
  coroutine.resume(co)
  check("close failed table", coroutine.close(co))
  raises("close running", function() return coroutine.close((coroutine.running())) end)
  check("close running inside", coroutine.resume(coroutine.create(function() coroutine.close((coroutine.running())) end)))
  check("close normal", coroutine.resume((function()
    local outer
    outer = coroutine.create(function()
      return coroutine.resume(coroutine.create(function() return coroutine.close(outer) end))
    end)
    return outer
  end)()))
  log = {}
  co = coroutine.wrap(function()
    return pcall(function()
      local a <close> = closer "p"
      coroutine.yield(1)
      error("after", 0)
    end)
  end)
  check("variables across yields", co(), co())
  check("closed after the error", log)
  log = {}
  co = coroutine.create(function()
    for i in pairs { 1 } do
      local x <close> = closer "loop"
      coroutine.yield(i)
    end
  end)
  check("in a loop", coroutine.resume(co))
  check("loop ends", coroutine.resume(co))
  check("loop log", log)
end

-- Yield inside __close.
do
  local function yielder(n) return setmetatable({}, { __close = function(_, e) coroutine.yield(n, e) end }) end
  local function trace(f)
    local co = coroutine.create(f)
    local out = {}
    while coroutine.status(co) == "suspended" do out[#out + 1] = show({ coroutine.resume(co) }) end
    return table.unpack(out)
  end
  check("block end", trace(function()
    do local a <close> = yielder "a" local b <close> = yielder "b" end
    return "end"
  end))
  check("return", trace(function()
    local a <close> = yielder "a"
    return "r1", "r2"
  end))
  check("break", trace(function()
    while true do local a <close> = yielder "a" break end
    return "after"
  end))
  check("goto", trace(function()
    local n = 0
    ::top::
    do
      local a <close> = yielder(n)
      n = n + 1
      if n < 3 then goto top end
    end
    return "end"
  end))
  check("error", trace(function()
    local ok, e = pcall(function()
      local a <close> = yielder "a"
      local b <close> = yielder "b"
      error("E", 0)
    end)
    return ok, e
  end))
  check("error to the top", trace(function()
    local a <close> = yielder "a"
    error("E", 0)
  end))
  check("for closing value", trace(function()
    for i in function(_, c) if not c then return 1 end end, nil, nil, yielder "closing" do coroutine.yield(i) end
    return "end"
  end))
  check("return from a loop", trace(function()
    for i in function(_, c) return (c or 0) + 1 end, nil, nil, yielder "closing" do return i, "returned" end
  end))
  check("error in close after yield", trace(function()
    return pcall(function()
      local a <close> = setmetatable({}, { __close = function() coroutine.yield("closing") error("from close", 0) end })
      return 1
    end)
  end))
end

-- Generators, producers and consumers, many coroutines.
do
  local function permgen(a, n)
    n = n or #a
    if n <= 1 then coroutine.yield(table.concat(a)) return end
    for i = 1, n do
      a[n], a[i] = a[i], a[n]
      permgen(a, n - 1)
      a[n], a[i] = a[i], a[n]
    end
  end
  local perms = {}
  for p in coroutine.wrap(function() permgen { "a", "b", "c" } end) do perms[#perms + 1] = p end
  check("permutations", perms)
  local function numbers(n) return coroutine.wrap(function() for i = 2, n do coroutine.yield(i) end end) end
  local function filter(p, g) return coroutine.wrap(function() for n in g do if n % p ~= 0 then coroutine.yield(n) end end end) end
  local primes, g = {}, numbers(50)
  while true do
    local n = g()
    if not n then break end
    primes[#primes + 1] = n
    g = filter(n, g)
  end
  check("sieve of coroutines", primes)
  local cos, total = {}, 0
  for i = 1, 1000 do
    cos[i] = coroutine.wrap(function(x) while true do x = coroutine.yield(x + i) end end)
    total = total + cos[i](i)
  end
  for i = 1, 1000 do total = total + cos[i](1) end
  check("a thousand coroutines", total)
  local function deep(n) if n == 0 then return coroutine.yield("bottom") end return (deep(n - 1)) end
  local co = coroutine.create(deep)
  check("deep stack", coroutine.resume(co, 1000))
  check("deep stack resumed", coroutine.resume(co, "up"))
  local function nest(n) if n == 0 then return "innermost" end return coroutine.wrap(nest)(n - 1) end
  check("nested coroutines", nest(100))
  check("too deeply nested", (pcall(nest, 100000)))
  check("upvalues shared", (function()
    local n = 0
    local a = coroutine.wrap(function() while true do n = n + 1 coroutine.yield(n) end end)
    local b = coroutine.wrap(function() while true do n = n * 10 coroutine.yield(n) end end)
    return a(), b(), a(), b()
  end)())
  check("varargs survive", (function()
    local c = coroutine.wrap(function(...) coroutine.yield() return select("#", ...), ... end)
    c(1, nil, 3)
    return c()
  end)())
  check("many values", select("#", coroutine.wrap(function() return coroutine.yield(table.unpack({}, 1, 200)) end)()))
  check("resume passes many", (function()
    local c = coroutine.wrap(function() return select("#", coroutine.yield()) end)
    c()
    return c(table.unpack({}, 1, 200))
  end)())
end

-- Stack overflow in a coroutine leaves the others alone.
do
  local function f(...) return 1 + f(...) end
  local ok, e = coroutine.resume(coroutine.create(f), table.unpack({}, 1, 100))
  check("overflow", ok, e:match("stack overflow"))
  check("still fine", coroutine.wrap(function() return "fine" end)())
end

-- Coroutines and debug.
do
  local co = coroutine.create(function(a) local b = 2 coroutine.yield(a + b) return "end" end)
  coroutine.resume(co, 1)
  check("locals of a suspended coroutine", debug.getlocal(co, 1, 1))
  check("second local", debug.getlocal(co, 1, 2))
  check("line", debug.getinfo(co, 1, "l").currentline)
  check("level 0 is yield", debug.getinfo(co, 0, "n").name)
  check("set a local", debug.setlocal(co, 1, 1, 5))
  check("level out of range", debug.getinfo(co, 5))
end
