-- Resource handling: to-be-closed variables released at the end of blocks, by break, goto, return,
-- errors through pcall, the fourth value of a generic for, and coroutine.close on suspended
-- coroutines. The size is the number of thousands of rounds; every acquired resource must be
-- released exactly once and in the right order.
local n <const> = math.tointeger(tonumber((...) or 180))

local acquired, released, failures, order = 0, 0, 0, 0

local Resource <const> = {}
Resource.__index = Resource
function Resource.__close(self, err)
  if self.closed then error("resources: closed twice") end
  self.closed = true
  released = released + 1
  if err ~= nil then failures = failures + 1 end
  order = (order * 31 + self.id) % 1000000007
end

local function acquire(id)
  acquired = acquired + 1
  return setmetatable({ id = id, closed = false }, Resource)
end

local function by_return(i)
  local outer <close> = acquire(i)
  local inner <close> = acquire(i + 1)
  if outer.closed or inner.closed then error("resources: closed early") end
  return outer.id + inner.id
end

local function by_error(i)
  local outer <close> = acquire(i)
  do
    local inner <close> = acquire(i + 1)
    if i % 2 == 0 then error({ code = i }) end
  end
  return outer.id
end

local function items(count)
  local guard <const> = acquire(count)
  return function(_, previous)
    if previous < count then return previous + 1 end
  end, nil, 0, guard
end

local function by_loop(i)
  local sum = 0
  for item in items(10) do
    local each <close> = acquire(item)
    if item == 7 and i % 3 == 0 then break end
    if item % 2 == 0 then goto continue end
    sum = sum + each.id
    ::continue::
  end
  return sum
end

local function by_coroutine(i)
  local co <const> = coroutine.create(function()
    local held <close> = acquire(i)
    coroutine.yield(held.id)
    return held.id
  end)
  local ok <const>, id <const> = coroutine.resume(co)
  if not ok or id ~= i then error("resources: coroutine failed") end
  if i % 2 == 0 then
    coroutine.resume(co)
  end
  if not coroutine.close(co) then error("resources: coroutine not closed") end
  return coroutine.status(co) == "dead" and 1 or 0
end

local sum, caught = 0, 0
for i = 1, n * 1000 do
  sum = sum + by_return(i)
  local ok <const>, result <const> = pcall(by_error, i)
  if ok then
    sum = sum + result
  else
    if result.code ~= i then error("resources: wrong error") end
    caught = caught + 1
  end
  if i % 4 == 0 then sum = sum + by_loop(i) end
  if i % 8 <= 1 then sum = sum + by_coroutine(i) end
end
if acquired ~= released then error("resources: leaked " .. acquired - released) end
if caught ~= n * 500 or failures ~= 2 * caught then error("resources: wrong errors") end
print(string.format("%d resources, %d by errors, sum %d, order %d", acquired, failures, sum, order))
