-- Closures: creation and calling of closures. Exercises: closures made in loops (a fresh variable per iteration),
-- counters with mutable upvalues shared by several closures, currying, memoization, objects made of closures,
-- Church numerals, streams (lazy lists) and a sieve on them.

local n = tonumber((...) or 280)

local function expect(actual, expected, what)
  if actual ~= expected then error(string.format("closures: %s: %d instead of %d", what, actual, expected)) end
end

-- Each iteration has its own variable.
local function fresh_variables(count)
  local readers, writers = {}, {}
  for i = 1, count do
    local value = i
    readers[i] = function() return value + i end
    writers[i] = function(x) value = x end
  end
  local sum = 0
  for i = 1, count do sum = sum + readers[i]() end
  expect(sum, count * (count + 1), "fresh variables")
  for i = 1, count do writers[i](-i) end
  sum = 0
  for i = 1, count do sum = sum + readers[i]() end
  expect(sum, 0, "written variables")
end

-- Objects made of closures over shared state.
local function account(balance)
  local history = 0
  local self = {}
  function self.deposit(x)
    balance = balance + x
    history = history + 1
  end
  function self.withdraw(x)
    if x > balance then return false end
    balance = balance - x
    history = history + 1
    return true
  end
  function self.balance() return balance end
  function self.history() return history end
  return self
end

local function accounts(count)
  local total = 0
  for i = 1, count do
    local a = account(100)
    for d = 1, 10 do a.deposit(d) end
    while a.withdraw(20) do end
    total = total + a.balance() + a.history() + i % 2
  end
  expect(total, count * 32 + math.ceil(count / 2), "accounts")
end

-- Currying.
local function curry(fn, arity)
  local function collect(count, args)
    return function(x)
      local all = {}
      for i = 1, count do all[i] = args[i] end
      all[count + 1] = x
      if count + 1 == arity then return fn(all[1], all[2], all[3]) end
      return collect(count + 1, all)
    end
  end
  return collect(0, {})
end

local function currying(count)
  local volume = curry(function(a, b, c) return a * b * c end, 3)
  local double = volume(2)(1)
  local sum = 0
  for i = 1, count do sum = sum + volume(1)(2)(i) + double(i) end
  expect(sum, 2 * count * (count + 1), "currying")
end

-- Memoization by a higher-order function.
local function memoize(fn)
  local cache = {}
  return function(x)
    local value = cache[x]
    if value == nil then
      value = fn(x)
      cache[x] = value
    end
    return value
  end
end

local function memoized(count)
  local partitions
  partitions = memoize(function(x)
    if x < 0 then return 0 end
    if x == 0 then return 1 end
    local sum, sign = 0, 1
    for k = 1, x do
      local a, b = k * (3 * k - 1) / 2, k * (3 * k + 1) / 2
      if a > x then break end
      sum = sum + sign * (partitions(x - a) + partitions(x - b))
      sign = -sign
    end
    return sum
  end)
  for _ = 1, count do expect(partitions(100), 190569292, "partitions of 100") end
end

-- Church numerals.
local function church(k)
  return function(f)
    return function(x)
      for _ = 1, k do x = f(x) end
      return x
    end
  end
end
local function plus(a, b)
  return function(f)
    return function(x) return a(f)(b(f)(x)) end
  end
end
local function times(a, b)
  return function(f) return a(b(f)) end
end
local function to_number(numeral)
  return numeral(function(x) return x + 1 end)(0)
end

local function numerals(count)
  local three, four = church(3), church(4)
  for _ = 1, count do
    local twelve = times(three, four)
    expect(to_number(plus(times(twelve, twelve), twelve)), 156, "church numeral")
  end
end

-- Lazy streams.
local function stream(head, tail) return { head = head, tail = tail } end
local function integers_from(k)
  return stream(k, function() return integers_from(k + 1) end)
end
local function keep(s, test)
  while not test(s.head) do s = s.tail() end
  return stream(s.head, function() return keep(s.tail(), test) end)
end
local function primes_of(s)
  local p = s.head
  return stream(p, function()
    return primes_of(keep(s.tail(), function(x) return x % p ~= 0 end))
  end)
end

local function sieve(count)
  local s = primes_of(integers_from(2))
  for _ = 2, count do s = s.tail() end
  return s.head
end

for _ = 1, n do
  fresh_variables(1000)
  accounts(200)
  currying(300)
  memoized(10)
  numerals(50)
  expect(sieve(60), 281, "60th prime")
end
print(string.format("closures: %d rounds ok", n))
