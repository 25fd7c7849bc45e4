-- Error handling: code that uses errors for control flow. Exercises: pcall and xpcall in inner loops, errors with
-- strings, tables and nil as values, rethrowing, errors through deep stacks, runtime errors (nil index, bad
-- arithmetic, bad call), cleanup wrappers, assert, error objects with metatables and inheritance.

local n = tonumber((...) or 20000)

local function expect(actual, expected, what)
  if actual ~= expected then
    error(string.format("pcall_heavy: %s: %s instead of %s", what, tostring(actual), tostring(expected)))
  end
end

-- Exceptions -----------------------------------------------------------------------------------------------------------

local Exception = {}
Exception.__index = Exception
Exception.__tostring = function(e) return e.kind .. ": " .. e.message end

local function subclass(base, kind)
  local c = setmetatable({ kind = kind }, { __index = base })
  c.__index = c
  c.__tostring = base.__tostring
  return c
end

local IOFailure = subclass(Exception, "io")
local Timeout = subclass(IOFailure, "timeout")
local ParseFailure = subclass(Exception, "parse")

local function throw(class, message) error(setmetatable({ message = message }, class)) end

local function is_a(e, class)
  local c = getmetatable(e)
  while c do
    if c == class then return true end
    local meta = getmetatable(c)
    c = meta and meta.__index
  end
  return false
end

-- try { body, catch = { { Class, handler }, ... }, finally = fn }
local function try(spec)
  local ok, result = pcall(spec[1])
  local unhandled = not ok
  if not ok and type(result) == "table" then
    for _, clause in ipairs(spec.catch or {}) do
      if is_a(result, clause[1]) then
        unhandled = false
        result = clause[2](result)
        break
      end
    end
  end
  if spec.finally then spec.finally() end
  if unhandled then error(result, 0) end
  return result
end

-- Workloads ------------------------------------------------------------------------------------------------------------

local function plain(i)
  local ok, a, b = pcall(function(x, y) return x + y, x - y end, i, 1)
  expect(ok and a + b, 2 * i, "values of pcall")
  local failed, message = pcall(error, "stop")
  expect(failed, false, "pcall of error")
  expect(message, "stop", "message")
  local _, object = pcall(error, { code = i })
  expect(object.code, i, "error object")
  expect(select(2, pcall(error, nil)), nil, "nil error")
  expect(select(2, pcall(error, "level zero", 0)), "level zero", "level")
end

local function deep(depth, value)
  if depth == 0 then error({ value = value }) end
  return deep(depth - 1, value) + 1
end

local function runtime_errors()
  local missing
  local ok, message = pcall(function() return missing.field end)
  expect(ok, false, "index nil")
  expect(message:find("attempt to index", 1, true) ~= nil, true, "index nil: " .. message)
  ok, message = pcall(function() return {} + 1 end)
  expect(ok, false, "arithmetic")
  expect(message:find("attempt to perform arithmetic on a table value", 1, true) ~= nil, true, message)
  ok, message = pcall(function() missing() end)
  expect(ok, false, "call nil")
  expect(message:find("attempt to call", 1, true) ~= nil, true, message)
  expect(pcall(string.rep), false, "bad argument")
end

local finished = 0
local function exceptions(i)
  local result = try({
    function()
      if i % 3 == 0 then throw(Timeout, "slow") end
      if i % 3 == 1 then throw(ParseFailure, "bad") end
      return "fine"
    end,
    catch = {
      { IOFailure, function(e) return "caught " .. tostring(e) end },
      { ParseFailure, function(e) return "parse " .. e.message end },
    },
    finally = function() finished = finished + 1 end,
  })
  expect(result, i % 3 == 0 and "caught timeout: slow" or i % 3 == 1 and "parse bad" or "fine", "exception")
  local outer = try({
    function()
      return try({
        function() throw(Timeout, "inner") end,
        catch = { { ParseFailure, function() return "wrong" end } },
        finally = function() finished = finished + 1 end,
      })
    end,
    catch = { { Exception, function(e) return e.message end } },
  })
  expect(outer, "inner", "rethrown exception")
end

local function handler_calls(i)
  local seen
  local ok, result = xpcall(function() return deep(5, i) end, function(e)
    seen = e.value
    return "handled"
  end)
  expect(ok, false, "xpcall")
  expect(result, "handled", "result of the handler")
  expect(seen, i, "argument of the handler")
  ok, result = xpcall(function() return i end, error)
  expect(ok and result, i, "xpcall without an error")
end

-- Parses a sum such as "1+22+x"; a malformed term is an error that the caller turns into 0.
local function number_of(text) return assert(tonumber(text), "not a number") end
local texts = { "1+22+333", "4+x+5", "+", "7", "10+20+30+forty" }
local function lenient_sum(text)
  local total, bad = 0, 0
  for term in text:gmatch("[^+]+") do
    local ok, value = pcall(number_of, term)
    if ok then
      total = total + value
    else
      expect(value:sub(-12), "not a number", "assertion")
      bad = bad + 1
    end
  end
  return total, bad
end

local sum, malformed = 0, 0
for i = 1, n do
  plain(i)
  local ok, e = pcall(deep, 20, i)
  expect(not ok and e.value, i, "deep error")
  runtime_errors()
  exceptions(i)
  handler_calls(i)
  local total, bad = lenient_sum(texts[i % #texts + 1])
  sum, malformed = sum + total, malformed + bad
end
expect(finished, 2 * n, "finally clauses")
if n % 5 == 0 then
  expect(sum, n / 5 * (356 + 9 + 0 + 7 + 60), "sum")
  expect(malformed, n / 5 * 2, "malformed terms")
end
print(string.format("pcall_heavy: n %d, sum %d, %d malformed", n, sum, malformed))
