-- Richards: an operating-system simulator (after Martin Richards' benchmark). Six tasks of different priorities --
-- idle, worker, two handlers, two devices -- exchange packets through linked queues under a priority scheduler.
-- Exercises: single inheritance with shared metatables, short polymorphic methods called through `self`, field
-- updates, linked lists, boolean state flags. Every run of 10000 idle ticks must queue 23246 packets and hold
-- 9297 times.

local rounds = tonumber((...) or 70)

local IDLE, WORKER, HANDLER_A, HANDLER_B, DEVICE_A, DEVICE_B = 1, 2, 3, 4, 5, 6
local KIND_DEVICE, KIND_WORK = 0, 1
local DATA_SIZE = 4
local TICKS = 10000

local function class(base)
  local c = {}
  c.__index = c
  if base then setmetatable(c, base) end
  return c
end

-- 16-bit exclusive or in plain arithmetic, so that the program is valid in every dialect.
local function bxor16(a, b)
  local result, weight = 0, 1
  for _ = 1, 16 do
    local abit, bbit = a % 2, b % 2
    if abit ~= bbit then result = result + weight end
    a, b = (a - abit) / 2, (b - bbit) / 2
    weight = weight * 2
  end
  return result
end

local Packet = class()

function Packet.new(link, identity, kind)
  local data = {}
  for i = 1, DATA_SIZE do data[i] = 0 end
  return setmetatable({ link = link, identity = identity, kind = kind, datum = 0, data = data }, Packet)
end

-- Appends this packet to the list `head`; returns the new head.
function Packet:append_to(head)
  self.link = nil
  if not head then return self end
  local last = head
  while last.link do last = last.link end
  last.link = self
  return head
end

local Scheduler = class()

function Scheduler.new()
  return setmetatable({ tasks = {}, list = nil, current = nil, queued = 0, held = 0 }, Scheduler)
end

function Scheduler:add(task)
  task.next = self.list
  task.scheduler = self
  self.list = task
  self.tasks[task.identity] = task
end

function Scheduler:run()
  self.current = self.list
  while self.current do
    local task = self.current
    if task:is_suspended() then
      self.current = task.next
    else
      self.current = task:run()
    end
  end
end

function Scheduler:send(packet)
  local target = self.tasks[packet.identity]
  self.queued = self.queued + 1
  packet.link = nil
  packet.identity = self.current.identity
  return target:receive(packet, self.current)
end

function Scheduler:hold_current()
  self.held = self.held + 1
  self.current.holding = true
  return self.current.next
end

function Scheduler:wait_current()
  self.current.waiting = true
  return self.current
end

function Scheduler:release(identity)
  local task = self.tasks[identity]
  task.holding = false
  if task.priority > self.current.priority then return task end
  return self.current
end

local Task = class()

function Task.init(o, identity, priority, queue, waiting)
  o.identity = identity
  o.priority = priority
  o.queue = queue
  o.pending = queue ~= nil
  o.waiting = waiting
  o.holding = false
  return o
end

function Task:is_suspended()
  return self.holding or (not self.pending and self.waiting)
end

function Task:run()
  local packet
  if self.pending and self.waiting then
    packet = self.queue
    self.queue = packet.link
    self.waiting = false
    self.pending = self.queue ~= nil
  end
  return self:step(packet)
end

function Task:receive(packet, sender)
  if self.queue then
    self.queue = packet:append_to(self.queue)
    return sender
  end
  self.queue = packet
  self.pending = true
  if self.priority > sender.priority then return self end
  return sender
end

local IdleTask = class(Task)

function IdleTask.new(ticks)
  local o = Task.init(setmetatable({}, IdleTask), IDLE, 0, nil, false)
  o.control = 1
  o.ticks = ticks
  return o
end

function IdleTask:step()
  self.ticks = self.ticks - 1
  if self.ticks == 0 then return self.scheduler:hold_current() end
  local low = self.control % 2
  local half = (self.control - low) / 2
  if low == 0 then
    self.control = half
    return self.scheduler:release(DEVICE_A)
  end
  self.control = bxor16(half, 0xD008)
  return self.scheduler:release(DEVICE_B)
end

local WorkTask = class(Task)

function WorkTask.new(queue)
  local o = Task.init(setmetatable({}, WorkTask), WORKER, 1000, queue, true)
  o.destination = HANDLER_A
  o.letter = 0
  return o
end

function WorkTask:step(packet)
  if not packet then return self.scheduler:wait_current() end
  self.destination = self.destination == HANDLER_A and HANDLER_B or HANDLER_A
  packet.identity = self.destination
  packet.datum = 0
  for i = 1, DATA_SIZE do
    self.letter = self.letter + 1
    if self.letter > 26 then self.letter = 1 end
    packet.data[i] = 64 + self.letter
  end
  return self.scheduler:send(packet)
end

local HandlerTask = class(Task)

function HandlerTask.new(identity, priority, queue)
  return Task.init(setmetatable({}, HandlerTask), identity, priority, queue, true)
end

function HandlerTask:step(packet)
  if packet then
    if packet.kind == KIND_WORK then
      self.work = packet:append_to(self.work)
    else
      self.devices = packet:append_to(self.devices)
    end
  end
  local work = self.work
  if work then
    local done = work.datum
    if done >= DATA_SIZE then
      self.work = work.link
      return self.scheduler:send(work)
    end
    local device = self.devices
    if device then
      self.devices = device.link
      device.datum = work.data[done + 1]
      work.datum = done + 1
      return self.scheduler:send(device)
    end
  end
  return self.scheduler:wait_current()
end

local DeviceTask = class(Task)

function DeviceTask.new(identity, priority)
  return Task.init(setmetatable({}, DeviceTask), identity, priority, nil, true)
end

function DeviceTask:step(packet)
  if packet then
    self.held_packet = packet
    return self.scheduler:hold_current()
  end
  local held = self.held_packet
  if not held then return self.scheduler:wait_current() end
  self.held_packet = nil
  return self.scheduler:send(held)
end

local function packets(count, identity, kind)
  local queue
  for _ = 1, count do queue = Packet.new(queue, identity, kind) end
  return queue
end

local function simulate()
  local s = Scheduler.new()
  s:add(IdleTask.new(TICKS))
  s:add(WorkTask.new(packets(2, WORKER, KIND_WORK)))
  s:add(HandlerTask.new(HANDLER_A, 2000, packets(3, DEVICE_A, KIND_DEVICE)))
  s:add(HandlerTask.new(HANDLER_B, 3000, packets(3, DEVICE_B, KIND_DEVICE)))
  s:add(DeviceTask.new(DEVICE_A, 4000))
  s:add(DeviceTask.new(DEVICE_B, 5000))
  s:run()
  return s.queued, s.held
end

for _ = 1, rounds do
  local queued, held = simulate()
  if queued ~= 23246 or held ~= 9297 then
    error(string.format("richards: wrong result: queued %d, held %d", queued, held))
  end
end
print(string.format("richards: %d rounds ok", rounds))
