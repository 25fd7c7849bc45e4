-- Coroutine generators: producers, filters and consumers built on coroutine.wrap and coroutine.create/resume/yield.
-- Exercises: fast switches, generators driving `for` loops, recursion inside a generator, pipelines of several
-- coroutines, values passed both ways, many short-lived coroutines.

local n = tonumber((...) or 120)

local function expect(actual, expected, what)
  if actual ~= expected then error(string.format("coroutines_gen: %s: %d instead of %d", what, actual, expected)) end
end

local yield, wrap = coroutine.yield, coroutine.wrap

-- A generator in a for loop.
local function range(first, last)
  return wrap(function()
    for i = first, last do yield(i) end
  end)
end

-- Recursive traversal.
local function insert(tree, key)
  if not tree then return { key = key } end
  if key < tree.key then
    tree.left = insert(tree.left, key)
  elseif key > tree.key then
    tree.right = insert(tree.right, key)
  end
  return tree
end

local function in_order(tree)
  if tree then
    in_order(tree.left)
    yield(tree.key)
    in_order(tree.right)
  end
end

-- Do two trees hold the same keys? Walks both at once.
local function same_fringe(a, b)
  local next_a = wrap(function() in_order(a) end)
  local next_b = wrap(function() in_order(b) end)
  local count = 0
  while true do
    local x, y = next_a(), next_b()
    if x ~= y then return false, count end
    if x == nil then return true, count end
    count = count + 1
  end
end

-- Permutations.
local function permute(items, k)
  if k <= 1 then
    yield(items)
    return
  end
  for i = 1, k do
    items[k], items[i] = items[i], items[k]
    permute(items, k - 1)
    items[k], items[i] = items[i], items[k]
  end
end

local function permutations(items)
  local co = coroutine.create(function() permute(items, #items) end)
  return function()
    local ok, result = coroutine.resume(co)
    if not ok then error(result) end
    return result
  end
end

-- A producer / filters / consumer pipeline.
local function source(last)
  return wrap(function()
    for i = 1, last do yield(i) end
  end)
end

local function map(input, fn)
  return wrap(function()
    for x in input do yield(fn(x)) end
  end)
end

local function filter(input, test)
  return wrap(function()
    for x in input do
      if test(x) then yield(x) end
    end
  end)
end

local function batch(input, size)
  return wrap(function()
    local items = {}
    for x in input do
      items[#items + 1] = x
      if #items == size then
        yield(items)
        items = {}
      end
    end
    if #items > 0 then yield(items) end
  end)
end

-- Values in both directions: a running average that is told each new number.
local function averager()
  local co = wrap(function()
    local sum, count, average = 0, 0, 0
    while true do
      local x = yield(average)
      sum, count = sum + x, count + 1
      average = sum / count
    end
  end)
  co()
  return co
end

local left, right
local seed = 7
for _ = 1, 1000 do
  seed = seed * 16807 % 2147483647
  left = insert(left, seed % 100000)
end
for key in wrap(function() in_order(left) end) do right = insert(right, key * 7919 % 100003) end
local rebuilt
do
  local keys = {}
  for key in wrap(function() in_order(left) end) do keys[#keys + 1] = key end
  for i = #keys, 1, -3 do rebuilt = insert(rebuilt, keys[i]) end
  for i = 1, #keys do rebuilt = insert(rebuilt, keys[i * 37 % #keys + 1]) end
  for i = 1, #keys do rebuilt = insert(rebuilt, keys[i]) end
end

local switches = 0
for _ = 1, n do
  local sum = 0
  for i in range(1, 20000) do sum = sum + i end
  expect(sum, 200010000, "range")

  local same, count = same_fringe(left, rebuilt)
  if not same then error("coroutines_gen: trees differ") end
  if same_fringe(left, right) then error("coroutines_gen: different trees found equal") end

  local perms, weight = 0, 0
  for p in permutations({ 1, 2, 3, 4, 5, 6, 7 }) do
    perms = perms + 1
    weight = weight + p[1] * perms % 7
  end
  expect(perms, 5040, "permutations")

  local squares = map(source(3000), function(x) return x * x end)
  local odd = filter(squares, function(x) return x % 2 == 1 end)
  local batches, total = 0, 0
  for items in batch(odd, 64) do
    batches = batches + 1
    for _, x in ipairs(items) do total = total + x end
  end
  expect(batches, 24, "batches")
  expect(total, 1500 * (4 * 1500 * 1500 - 1) / 3, "sum of odd squares")

  local tell, average = averager(), nil
  for i = 1, 2001 do average = tell(i) end
  expect(average, 1001, "average")

  for i = 1, 1000 do
    local co = coroutine.create(function(a, b)
      local c = yield(a + b)
      return c * 2
    end)
    local _, first = coroutine.resume(co, i, 1)
    local _, second = coroutine.resume(co, first)
    expect(second, 2 * (i + 1), "short-lived coroutine")
    if coroutine.status(co) ~= "dead" then error("coroutines_gen: not dead") end
  end
  switches = switches + 20000 + 2 * count + perms + 3000 + 3000 + 1500 + 24 + 2001 + 2000
end
print(string.format("coroutines_gen: %d rounds, %d switches", n, switches))
