-- Event queue: a discrete-event simulation of a bank with several kinds of customers and tellers, driven by a
-- priority queue of events. Exercises: a heap class with a comparator, a pairing heap that must agree with it,
-- event objects of several classes with fresh metatables (`setmetatable(o, { __index = Class })`), polymorphic
-- `fire` methods, callbacks scheduled as closures.

local customers = tonumber((...) or 26000)

local seed = 271828
local function random()
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
end

-- Time in whole ticks keeps the order exact everywhere.
local function ticks(mean) return math.floor(random() * 2 * mean) + 1 end

local function earlier(a, b)
  if a.time ~= b.time then return a.time < b.time end
  return a.serial < b.serial
end

-- Binary heap ------------------------------------------------------------------------------------------------------------

local BinaryHeap = {}

function BinaryHeap.new(less) return setmetatable({ less = less, size = 0, items = {} }, { __index = BinaryHeap }) end

function BinaryHeap:push(item)
  self.size = self.size + 1
  self.items[self.size] = item
  self:sift_up(self.size)
end

function BinaryHeap:sift_up(i)
  local items, less = self.items, self.less
  local item = items[i]
  while i > 1 do
    local up = math.floor(i / 2)
    if not less(item, items[up]) then break end
    items[i] = items[up]
    i = up
  end
  items[i] = item
end

function BinaryHeap:sift_down(i)
  local items, less, size = self.items, self.less, self.size
  local item = items[i]
  while 2 * i <= size do
    local child = 2 * i
    if child < size and less(items[child + 1], items[child]) then child = child + 1 end
    if not less(items[child], item) then break end
    items[i] = items[child]
    i = child
  end
  items[i] = item
end

function BinaryHeap:pop()
  local items = self.items
  local top = items[1]
  items[1] = items[self.size]
  items[self.size] = nil
  self.size = self.size - 1
  if self.size > 1 then self:sift_down(1) end
  return top
end

-- Pairing heap -----------------------------------------------------------------------------------------------------------

local PairingHeap = {}

function PairingHeap.new(less) return setmetatable({ less = less, size = 0, root = nil }, { __index = PairingHeap }) end

function PairingHeap:meld(a, b)
  if not a then return b end
  if not b then return a end
  if self.less(b.item, a.item) then a, b = b, a end
  b.sibling = a.child
  a.child = b
  return a
end

function PairingHeap:push(item)
  self.size = self.size + 1
  self.root = self:meld(self.root, { item = item })
end

function PairingHeap:pop()
  local top = self.root.item
  self.size = self.size - 1
  local pairs_list
  local node = self.root.child
  while node do
    local first, second = node, node.sibling
    node = second and second.sibling
    first.sibling = nil
    if second then second.sibling = nil end
    local melded = self:meld(first, second)
    melded.sibling = pairs_list
    pairs_list = melded
  end
  local root
  while pairs_list do
    local following = pairs_list.sibling
    pairs_list.sibling = nil
    root = self:meld(root, pairs_list)
    pairs_list = following
  end
  self.root = root
  return top
end

-- Simulation -------------------------------------------------------------------------------------------------------------

local Simulation = {}

function Simulation.new(queue)
  return setmetatable({ queue = queue, now = 0, serial = 0, fired = 0 }, { __index = Simulation })
end

function Simulation:schedule(delay, event)
  self.serial = self.serial + 1
  event.time, event.serial = self.now + delay, self.serial
  self.queue:push(event)
  return event
end

function Simulation:run()
  while self.queue.size > 0 do
    local event = self.queue:pop()
    if event.time < self.now then error("event_queue: time runs backwards") end
    self.now = event.time
    if not event.cancelled then
      self.fired = self.fired + 1
      event:fire(self)
    end
  end
end

local Event = {}

local function event_class()
  local class = setmetatable({}, { __index = Event })
  class.new = function(o) return setmetatable(o, { __index = class }) end
  return class
end

function Event:cancel() self.cancelled = true end

local Callback = event_class()
function Callback:fire(simulation) self.fn(simulation) end

local Bank = {}

local Arrival, Departure, Impatience = event_class(), event_class(), event_class()

function Arrival:fire(simulation)
  local bank = self.bank
  bank.arrived = bank.arrived + 1
  local customer = { id = bank.arrived, since = simulation.now, work = ticks(bank.arrived % 7 == 0 and 90 or 28) }
  if bank.free > 0 then
    bank:serve(customer, simulation)
  else
    bank.waiting[bank.last + 1] = customer
    bank.last = bank.last + 1
    customer.impatience = simulation:schedule(ticks(150), Impatience.new({ bank = bank, customer = customer }))
  end
  if bank.arrived < bank.limit then simulation:schedule(ticks(10), Arrival.new({ bank = bank })) end
end

function Departure:fire(simulation)
  local bank = self.bank
  bank.free = bank.free + 1
  bank.served = bank.served + 1
  bank.checksum = (bank.checksum * 31 + self.customer.id) % 1000003
  while bank.first <= bank.last do
    local customer = bank.waiting[bank.first]
    bank.waiting[bank.first] = nil
    bank.first = bank.first + 1
    if not customer.gone then
      customer.impatience:cancel()
      bank:serve(customer, simulation)
      return
    end
  end
end

function Impatience:fire()
  self.customer.gone = true
  self.bank.left = self.bank.left + 1
end

function Bank.new(tellers, limit)
  return setmetatable({
    free = tellers, tellers = tellers, limit = limit, waiting = {}, first = 1, last = 0,
    arrived = 0, served = 0, left = 0, waited = 0, checksum = 0,
  }, { __index = Bank })
end

function Bank:serve(customer, simulation)
  self.free = self.free - 1
  self.waited = self.waited + simulation.now - customer.since
  simulation:schedule(customer.work, Departure.new({ bank = self, customer = customer }))
end

local function simulate(queue)
  seed = 271828
  local simulation, bank = Simulation.new(queue), Bank.new(4, customers)
  local samples, longest = 0, 0
  local function sample(s)
    samples = samples + 1
    longest = math.max(longest, bank.last - bank.first + 1)
    if bank.arrived < bank.limit then s:schedule(25, Callback.new({ fn = sample })) end
  end
  simulation:schedule(0, Callback.new({ fn = sample }))
  simulation:schedule(0, Arrival.new({ bank = bank }))
  simulation:run()
  if bank.arrived ~= customers then error("event_queue: customers missing") end
  if bank.served + bank.left ~= customers then error("event_queue: customers lost") end
  if bank.free ~= bank.tellers then error("event_queue: tellers lost") end
  return string.format("%d served, %d left, %d ticks waited, longest line %d, %d events, checksum %d", bank.served,
    bank.left, bank.waited, longest, simulation.fired, bank.checksum)
end

local result = simulate(BinaryHeap.new(earlier))
local other = simulate(PairingHeap.new(earlier))
if other ~= result then error("event_queue: the heaps disagree:\n" .. result .. "\n" .. other) end

-- Heap sort by both queues.
local binary, pairing = BinaryHeap.new(earlier), PairingHeap.new(earlier)
for i = 1, 20000 do
  local event = { time = math.floor(random() * 5000), serial = i }
  binary:push(event)
  pairing:push(event)
end
local previous = { time = -1, serial = 0 }
for _ = 1, 20000 do
  local event = binary:pop()
  if event ~= pairing:pop() or not earlier(previous, event) then error("event_queue: wrong order") end
  previous = event
end
if customers == 26000 and not result:find("checksum 37289", 1, true) then error("event_queue: wrong result: " .. result) end
print("event_queue: " .. result)
