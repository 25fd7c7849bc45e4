-- Coroutine switches out of loops, recursive functions and inlined callees, with few and many values, errors, closing, hooks and
-- introspection in between.

local yield, resume, wrap, create = coroutine.yield, coroutine.resume, coroutine.wrap, coroutine.create

-- Generators in loops of all kinds.
local function range(first, last)
  return wrap(function() for i = first, last do yield(i) end end)
end
local sum = 0
for i in range(1, 200) do sum = sum + i end
print("range", sum)
local gen, n = range(1, 150), 0
while true do
  local v = gen()
  if not v then break end
  n = n + v
end
print("while", n, pcall(gen))

-- Values in both directions, of changing types and numbers.
local function echo(...)
  local count = 0
  while true do
    count = count + select("#", ...)
    local function again(...) return ... end
    if count > 400 then return count, "end" end
    (function(...) end)(again(...))
    local a, b, c = yield(count, ...)
    count = count + (a and 1 or 0) + (b and 2 or 0) + (c and 4 or 0)
  end
end
local co = create(echo)
local log = {}
for i = 1, 90 do
  local ok, a, b, c
  if i % 4 == 0 then
    ok, a, b, c = resume(co)
  elseif i % 7 == 0 then
    ok, a, b, c = resume(co, i, "x" .. i, i / 2)
  else
    ok, a, b, c = resume(co, i)
  end
  log[#log + 1] = tostring(ok) .. tostring(a) .. tostring(b) .. tostring(c)
end
print(table.concat(log, " "))
print(coroutine.status(co), resume(co))

-- All results wanted, none, and as arguments.
local function pairs_of(k) return wrap(function() for i = 1, k do yield(i, i * i, i * i * i) end end) end
local g, t = pairs_of(120), {}
for i = 1, 40 do
  g()
  t[#t + 1] = select("#", g())
  t[#t + 1] = math.max(g())
end
print(#t, t[1], t[#t], select("#", g()), pcall(g))

-- Recursion: yields from frames that were inlined and from frames that were not.
local function tree(depth)
  if depth == 0 then return nil end
  return { left = tree(depth - 1), key = depth, right = tree(depth - 1) }
end
local function walk(node, level)
  if node then
    walk(node.left, level + 1)
    yield(node.key, level)
    walk(node.right, level + 1)
  end
end
local keys, levels = 0, 0
for key, level in wrap(function() walk(tree(8), 0) end) do
  keys, levels = keys + key, levels + level
end
print("tree", keys, levels)

-- Generators of generators.
local function map(input, f) return wrap(function() for x in input do yield(f(x)) end end) end
local function filter(input, f) return wrap(function() for x in input do if f(x) then yield(x) end end end) end
for k = 1, 4 do
  local total = 0
  for x in filter(map(range(1, 60), function(x) return x * k end), function(x) return x % 3 ~= 0 end) do total = total + x end
  print("pipeline", k, total)
end

-- Errors in the middle of loops, in and behind a yield, caught outside and inside.
local function failing(at)
  return create(function()
    for i = 1, 1000 do
      local x = yield(i)
      if i == at then error(x) end
      if i == at + 1 then local y = x.field end
    end
  end)
end
for _, at in ipairs { 5, 60, 61 } do
  local co, steps, last = failing(at), 0, nil
  for i = 1, 100 do
    local ok, v = resume(co, i % 2 == 0 and i or { code = i })
    if not ok then last = type(v) == "table" and v.code or v break end
    steps = steps + v
  end
  print("failing", at, steps, last, coroutine.status(co), (coroutine.close(co)))
end
local protected = create(function()
  local caught = 0
  for i = 1, 200 do
    local ok, e = pcall(function()
      local x = yield(i)
      if x % 3 == 0 then error("three", 0) end
      return x
    end)
    if not ok then caught = caught + 1 end
  end
  return "caught", caught
end)
local results = {}
for i = 1, 202 do results[#results + 1] = tostring(select(2, resume(protected, i))) end
print(results[1], results[150], results[200], results[201], results[202])

-- Wrapped coroutines that fail get the position.
local bad = wrap(function() for i = 1, 80 do yield(i) end error("over") end)
local count = 0
print(pcall(function() while true do count = count + bad() end end))
print(count)

-- Variables to close: left early, by an error, and by coroutine.close.
local closed = 0
local function guarded(last)
  return create(function()
    local resource <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
    for i = 1, last do yield(i) end
  end)
end
for k = 1, 40 do
  local co = guarded(k)
  for i = 1, 20 do
    local ok, v = resume(co)
    if v == nil then break end
  end
  if coroutine.status(co) == "suspended" then assert(coroutine.close(co)) end
end
print("closed", closed)
for i in wrap(function() for i = 1, 70 do yield(i) end end), nil, nil, setmetatable({}, { __close = function() closed = -1 end }) do
  if i == 65 then break end
end
print("closed", closed)

-- Suspended frames seen and changed from outside.
local visible = create(function(a)
  local sum = a
  for i = 1, 300 do
    local step = i
    local function inner(v) return (yield(v)) end
    sum = sum + step + inner(sum)
  end
  return sum
end)
local seen = {}
local ok, v = resume(visible, 1)
for i = 1, 120 do
  if i % 50 == 0 then
    local name, value = debug.getlocal(visible, 2, 2)
    seen[#seen + 1] = name .. "=" .. value
    debug.setlocal(visible, 2, 2, value * 2)
  end
  ok, v = resume(visible, i)
end
print(table.concat(seen, " "), v, debug.traceback(visible))

-- Yields across metamethods, iterators and tail calls.
local Number = setmetatable({}, { __call = function(class, n) return setmetatable({ n = n }, class) end })
Number.__add = function(a, b) return Number(yield(a.n + b.n)) end
Number.__index = function(_, key) return yield(key) end
Number.__lt = function(a, b) return yield("lt") end
local sums = wrap(function()
  local total = Number(0)
  for i = 1, 100 do
    total = total + Number(i)
    if total < Number(5) then total = Number(total.n + total.missing) end
  end
  return total.n
end)
local answer = sums()
local trail = 0
for i = 1, 240 do
  if answer == "lt" then
    answer = sums(i % 3 == 0)
  elseif answer == "missing" then
    answer = sums(1)
  else
    trail = trail + answer
    answer = sums(answer % 97)
  end
  if i == 239 then break end
end
print("metamethods", trail, answer)
local function tail(n) return yield(n) end
local tails = wrap(function() for i = 1, 100 do tail(i) end return tail("last") end)
local heads = 0
for i = 1, 100 do heads = heads + tails() end
print("tails", heads, tails(), tails("returned"))

-- Many short ones, which start and end in a loop.
local made = 0
for i = 1, 300 do
  local co = create(function(a, b) local c = yield(a + b) return c * 2 end)
  local _, first = resume(co, i, 1)
  local _, second = resume(co, first)
  made = made + second
end
print("short", made)

-- Each other's resumer, and coroutines that resume themselves or the running one.
local ping, pong
ping = create(function() for i = 1, 100 do yield(select(2, resume(pong, i))) end end)
pong = create(function(x) while true do x = yield(x * 2) end end)
local total = 0
for i = 1, 100 do total = total + select(2, resume(ping)) end
print("ping", total)
local own
own = wrap(function() for i = 1, 60 do yield(select("#", pcall(own))) end end)
local twos = 0
for i = 1, 60 do twos = twos + own() end
print("own", twos, resume(coroutine.running()))

-- A hook in the middle.
local lines = 0
local hooked = wrap(function()
  for i = 1, 100 do
    if i == 50 then debug.sethook(function() lines = lines + 1 end, "l") end
    if i == 60 then debug.sethook() end
    yield(i)
  end
end)
local h = 0
for i = 1, 100 do h = h + hooked() end
print("hook", h, lines)

-- Sorting, replacing and protected calls in loops: host functions that call back.
local order = 0
for i = 1, 60 do
  local t = { 3, i % 5, 2, i % 7 }
  table.sort(t, function(a, b) order = order + 1 return a > b end)
  order = order + t[1]
  local s = ("abc"):gsub(".", function(c) return c == "b" and tostring(i) or nil end)
  order = order + #s
  local ok, v = pcall(function(x) if x % 9 == 0 then error(x) end return x + 1 end, i)
  order = order + (ok and v or 100)
end
print("callbacks", order)
