-- Varargs: functions with variable numbers of arguments and results. Exercises: `...` in calls, in constructors and
-- in assignments, select('#', ...) and select(i, ...), packing with holes, unpack, recursion over `...`, forwarding,
-- multiple assignment, functions returning several values.

local n = tonumber((...) or 120000)
local unpack = unpack or table.unpack

local function expect(actual, expected, what)
  if actual ~= expected then
    error(string.format("varargs: %s: %s instead of %s", what, tostring(actual), tostring(expected)))
  end
end

local function count(...) return select("#", ...) end
local function pack(...) return { n = select("#", ...), ... } end

local function sum(...)
  local total = 0
  for i = 1, select("#", ...) do total = total + (select(i, ...)) end
  return total
end

local function sum_table(...)
  local total = 0
  for _, x in ipairs({ ... }) do total = total + x end
  return total
end

local function sum_recursive(x, ...)
  if x == nil then return 0 end
  return x + sum_recursive(...)
end

local function maximum(first, ...)
  local best, at = first, 1
  for i = 1, select("#", ...) do
    local x = select(i, ...)
    if x > best then best, at = x, i + 1 end
  end
  return best, at
end

local function reverse(...)
  local function walk(k, x, ...)
    if k == 0 then return end
    if k == 1 then return x end
    local rest = pack(walk(k - 1, ...))
    rest[rest.n + 1] = x
    return unpack(rest, 1, rest.n + 1)
  end
  return walk(select("#", ...), ...)
end

local function map(fn, ...)
  local results = pack(...)
  for i = 1, results.n do results[i] = fn(results[i]) end
  return unpack(results, 1, results.n)
end

local function bind(fn, ...)
  local bound = pack(...)
  return function(...)
    local args = { unpack(bound, 1, bound.n) }
    for i = 1, select("#", ...) do args[bound.n + i] = (select(i, ...)) end
    return fn(unpack(args, 1, bound.n + select("#", ...)))
  end
end

local function forward(fn, ...) return fn(...) end
local function divide(a, b) return math.floor(a / b), a % b end
local function rotate(a, b, c, ...) return b, c, a, ... end
local function traced(log, fn)
  return function(...)
    log.calls = log.calls + 1
    log.args = log.args + select("#", ...)
    return fn(...)
  end
end

local function dispatch(handlers, event, ...)
  local handler = handlers[event]
  if handler then return handler(...) end
  return nil, event
end

local log = { calls = 0, args = 0 }
local logged_sum = traced(log, sum)
local handlers = {
  add = function(a, b) return a + b end,
  swap = function(a, b) return b, a end,
  none = function() end,
  all = function(...) return select("#", ...), ... end,
}

local total = 0
for i = 1, n do
  expect(count(), 0, "no arguments")
  expect(count(nil, nil), 2, "nil arguments")
  local s = sum(i, 2, 3, 4, 5)
  expect(s, i + 14, "sum")
  expect(sum_table(i, 2, 3, 4, 5), s, "sum by a table")
  expect(sum_recursive(i, 2, 3, 4, 5), s, "sum by recursion")
  local best, at = maximum(3, i, 7, 1)
  expect(best, i > 7 and i or 7, "maximum")
  expect(at, i >= 7 and 2 or 3, "place of the maximum")
  local a, b, c, d = reverse(1, i, nil, 4)
  expect(a, 4, "reversed 1")
  expect(b, nil, "reversed 2")
  expect(c, i, "reversed 3")
  expect(d, 1, "reversed 4")
  local q, r = forward(divide, i, 7)
  expect(q * 7 + r, i, "division")
  expect(sum(map(function(x) return x * 2 end, 1, 2, i)), 6 + 2 * i, "map")
  expect(bind(sum, 1, i)(2, 3), i + 6, "bind")
  local x, y, z, w = rotate(rotate(rotate(1, 2, i, 4)))
  expect(x * 1000 + y * 100 + w, 1204, "rotation")
  expect(z, i, "rotated three times")
  total = total + logged_sum(i) + logged_sum(unpack({ i, 1, 1 }))
  total = total + dispatch(handlers, "add", i, 1) + dispatch(handlers, "all", i, nil, 2)
  local p, e = dispatch(handlers, "swap", i, q)
  expect(p, q, "swap")
  expect(e, i, "swap")
  local missing, name = dispatch(handlers, "missing", i)
  expect(missing, nil, "missing handler")
  expect(name, "missing", "missing handler")
  expect(count(dispatch(handlers, "none", i)), 0, "no results")
  local t = { forward(rotate, 1, 2, 3, unpack({ 4, 5, 6, 7, 8 })) }
  expect(#t, 8, "constructor")
  expect(string.format("%d-%d-%d", (rotate(1, 2, 3)), select(2, 9, 8), select("#", unpack(t))), "2-8-8", "truncation")
end
expect(log.calls, 2 * n, "logged calls")
expect(log.args, 4 * n, "logged arguments")
expect(total, 3 * n * (n + 1) / 2 + 6 * n, "total")
print(string.format("varargs: n %d, total %d", n, total))
