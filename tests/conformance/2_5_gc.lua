-- Manual section 2.5: garbage collection, observed only after explicit full collections.

local function full() collectgarbage() collectgarbage() end
local function count(t) local n = 0 for _ in pairs(t) do n = n + 1 end return n end

-- collectgarbage's options.
check("collect", collectgarbage("collect"))
check("default option", collectgarbage())
check("count", math.type(collectgarbage("count")), collectgarbage("count") > 0)
check("stop and restart", collectgarbage("isrunning"), collectgarbage("stop"), collectgarbage("isrunning"), collectgarbage("restart"), collectgarbage("isrunning"))
check("step", type(collectgarbage("step")))
check("step to the end", (function()
  for _ = 1, 1000000 do if collectgarbage("step") then return "cycle done" end end
  return "never"
end)())
check("initial mode", collectgarbage("incremental"))
check("to generational", collectgarbage("generational"), collectgarbage("generational"))
check("to incremental", collectgarbage("incremental"), collectgarbage("incremental"))
check("incremental parameters", collectgarbage("incremental", 200, 100, 13))
check("generational parameters", collectgarbage("generational", 20, 100), collectgarbage("incremental"))
raises("bad option", collectgarbage, "nothing")
raises("bad option in a function", function() collectgarbage("nothing") end)
raises("option not a string", collectgarbage, {})
raises("option number", collectgarbage, 5)
check("setpause", (function()
  collectgarbage("setpause", 160)
  return collectgarbage("setpause", 200)
end)())
check("setstepmul", (function()
  collectgarbage("setstepmul", 200)
  return collectgarbage("setstepmul", 100)
end)())

-- Memory comes back.
do
  full()
  local before = collectgarbage("count")
  local t = {}
  for i = 1, 3000 do t[i] = { i } end
  check("grows", collectgarbage("count") > before + 100)
  t = nil
  full()
  check("shrinks", collectgarbage("count") < before + 100)
end

-- Weak values.
do
  local w = setmetatable({}, { __mode = "v" })
  local keep = {}
  w[1], w[2], w.kept, w.lost = {}, keep, keep, {}
  w.n, w.s, w.b = 5, "string", true
  w.f = function() return w end
  full()
  check("weak values", w[1], w[2] == keep, w.kept == keep, w.lost, w.n, w.s, w.b, w.f)
  check("weak values count", count(w))
  keep = nil
  full()
  check("weak values after", w[2], w.kept, count(w))
end

-- Weak keys.
do
  local w = setmetatable({}, { __mode = "k" })
  local key = {}
  w[key], w[{}], w[1], w.s = "kept", "lost", {}, {}
  full()
  check("weak keys", w[key], count(w), type(w[1]), type(w.s))
  key = nil
  full()
  check("weak keys after", count(w))
end

-- Both.
do
  local w = setmetatable({}, { __mode = "kv" })
  local k, v = {}, {}
  w[k], w[1], w[{}], w[2] = v, v, v, {}
  full()
  check("weak both", w[k] == v, w[1] == v, count(w))
  k = nil
  full()
  check("weak both without key", count(w), w[1] == v)
  v = nil
  full()
  check("weak both empty", next(w))
end

-- Modes can be set before or after filling, and other letters mean nothing.
do
  local mt = {}
  local w = setmetatable({ {}, {} }, mt)
  full()
  check("strong", count(w))
  mt.__mode = "v"
  full()
  check("turned weak", count(w))
  local s = setmetatable({ {}, [{}] = 1 }, { __mode = "x" })
  full()
  check("mode x", count(s))
  local n = setmetatable({ {} }, { __mode = 5 })
  full()
  check("mode not a string", count(n))
end

-- Ephemerons: a value only reachable through its own key does not keep it.
do
  local e = setmetatable({}, { __mode = "k" })
  do
    local k = {}
    e[k] = { k }
    local a, b = {}, {}
    e[a], e[b] = b, a
  end
  full()
  check("ephemeron cycle", count(e))
  local root = {}
  do
    local k1, k2, k3 = root, {}, {}
    e[k1], e[k2], e[k3] = k2, k3, "end"
  end
  full()
  check("ephemeron chain", count(e), e[e[e[root]]])
  root = nil
  full()
  check("ephemeron chain gone", count(e))
  local e2 = setmetatable({}, { __mode = "k" })
  local anchor = {}
  do
    local k = {}
    e[anchor], e2[k] = k, "through another table"
  end
  full()
  check("two ephemeron tables", e2[e[anchor]])
  anchor = nil
  full()
  check("two ephemeron tables gone", count(e), count(e2))
end

-- Strings are values, not objects.
do
  local w = setmetatable({}, { __mode = "kv" })
  w["key" .. 1] = "value" .. 1
  w[1] = string.rep("x", 1000)
  full()
  check("strings stay", w.key1, #w[1])
end

-- Finalizers run in the reverse order of marking.
do
  local log = {}
  do
    local all = {}
    for i = 1, 5 do all[i] = setmetatable({}, { __gc = function() log[#log + 1] = i end }) end
  end
  full()
  check("finalizer order", log)
  local function marked(n) return setmetatable({ n = n }, { __gc = function(o) log[#log + 1] = o.n end }) end
  log = {}
  do
    local a, b = marked "a", marked "b"
    a.other, b.other = b, a
  end
  full()
  check("finalizers in a cycle", log)
  log = {}
  do
    local x = marked "x"
    setmetatable(x, nil)
  end
  full()
  check("metatable removed", log)
  log = {}
  do
    local x = setmetatable({}, {})
    getmetatable(x).__gc = function() log[#log + 1] = "late" end
  end
  full()
  check("field added later is not marked", log)
  do
    local x = setmetatable({}, { __gc = true })
    getmetatable(x).__gc = function() log[#log + 1] = "reserved" end
  end
  full()
  check("reserved field", log)
  log = {}
  do setmetatable({}, { __gc = "not callable" }) end
  full()
  check("handler that is no function", log)
  log = {}
  do
    local x = setmetatable({}, { __gc = function() log[#log + 1] = "first" end })
    setmetatable(x, { __gc = function() log[#log + 1] = "second" end })
  end
  full()
  check("metatable replaced", log)
end

-- Finalizers get the object and may bring it back.
do
  local saved
  local runs = 0
  local mt
  mt = { __gc = function(o) runs = runs + 1 saved = o end }
  do setmetatable({ payload = "intact" }, mt) end
  full()
  check("resurrected", saved and saved.payload, runs)
  saved = nil
  full()
  check("finalized once", saved, runs)
  mt.__gc = function(o) runs = runs + 1 if runs < 5 then setmetatable(o, mt) end end
  do setmetatable({}, mt) end
  for _ = 1, 10 do full() end
  check("marked again", runs)
end

-- What a finalized object refers to is alive for it.
do
  local got
  do
    local inner = { v = "inner" }
    setmetatable({ inner = inner }, { __gc = function(o) got = o.inner.v end })
  end
  full()
  check("references intact", got)
  local closure_result
  do
    local secret = "captured"
    setmetatable({}, { __gc = function() closure_result = secret end })
  end
  full()
  check("captured variables", closure_result)
end

-- Weak values are cleared before finalizers run, weak keys after.
do
  local wv = setmetatable({}, { __mode = "v" })
  local wk = setmetatable({}, { __mode = "k" })
  local seen_value, seen_key
  do
    local o = setmetatable({}, { __gc = function(o)
      seen_value, seen_key = wv[1], wk[o]
    end })
    wv[1], wk[o] = o, "info"
  end
  full()
  check("in the finalizer", seen_value, seen_key)
  full()
  check("after", wv[1], next(wk))
end

-- Errors in finalizers are warnings: nothing propagates.
do
  local after
  do
    setmetatable({}, { __gc = function() after = true end })
    setmetatable({}, { __gc = function() error("ignored") end })
  end
  raises("collect with failing finalizer", collectgarbage)
  full()
  check("other finalizers ran", after)
end

-- A finalizer may allocate, and asking for a collection inside one does no harm.
do
  local ok
  do setmetatable({}, { __gc = function() ok = pcall(collectgarbage) end }) end
  full()
  check("collect inside a finalizer", ok)
  local made
  do setmetatable({}, { __gc = function() made = {} for i = 1, 1000 do made[i] = { i } end end }) end
  full()
  full()
  check("allocation inside a finalizer", #made, made[1000][1])
  local yielded
  do setmetatable({}, { __gc = function() yielded = coroutine.isyieldable() end }) end
  coroutine.wrap(full)()
  check("not yieldable", yielded)
end

-- Threads and closures are collected with what they hold.
do
  local w = setmetatable({}, { __mode = "v" })
  do
    local held = {}
    w.held = held
    local co = coroutine.wrap(function() local h = held coroutine.yield() return h end)
    co()
    w.co = co
  end
  full()
  check("suspended coroutine", w.held, w.co)
  local co = coroutine.create(function() local h = {} w.h = h coroutine.yield() return h end)
  coroutine.resume(co)
  full()
  check("live coroutine keeps locals", type(w.h))
  coroutine.resume(co)
  full()
  check("dead coroutine", w.h)
  local function f() local u = {} w.u = u return function() return u end end
  local g = f()
  full()
  check("upvalue kept", w.u == g())
  g = nil
  full()
  check("upvalue gone", w.u)
  do
    local a = setmetatable({}, { __mode = "v" })
    local t = {}
    t.self = t
    a[1] = t
    t = nil
    full()
    check("cycle", a[1])
  end
end

-- A collection in the middle of a traversal that clears fields is allowed.
do
  local t = {}
  for i = 1, 100 do t["k" .. i] = { i } end
  local n = 0
  for k in pairs(t) do
    t[k] = nil
    n = n + 1
    if n % 10 == 0 then full() end
  end
  check("clearing while traversing", n, next(t))
end

-- Generational mode behaves the same.
do
  collectgarbage("generational")
  local w = setmetatable({}, { __mode = "k" })
  local keep = {}
  w[keep], w[{}] = 1, 2
  local log = {}
  do setmetatable({}, { __gc = function() log[#log + 1] = "g" end }) end
  full()
  check("generational", w[keep], count(w), log)
  for i = 1, 1000 do keep[i] = { i } end
  full()
  local s = 0
  for i = 1, 1000 do s = s + keep[i][1] end
  check("generational survivors", s)
  collectgarbage("incremental")
end

-- __close and __gc are independent.
do
  local log = {}
  do
    local o <close> = setmetatable({}, {
      __close = function() log[#log + 1] = "close" end,
      __gc = function() log[#log + 1] = "gc" end,
    })
  end
  full()
  check("close then gc", log)
end
-- A removed entry of a table that is weak in both keeps no string alive.
do
  full()
  local before = collectgarbage("count")
  local t = setmetatable({}, { __mode = "kv" })
  t[("s"):rep(1 << 20)] = 1
  full()
  check("key of an entry", collectgarbage("count") > before + 1000)
  t[next(t)] = nil
  full()
  check("key of a removed entry", collectgarbage("count") < before + 1000, next(t))
end
