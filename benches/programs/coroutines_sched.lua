-- Coroutine scheduler: thousands of cooperative tasks with sleeping (a timer heap), channels, joining, errors in
-- tasks and cancellation. Exercises: many live coroutines at once, resume/yield with several values, coroutine
-- status, queues, errors caught by resume.

local n = tonumber((...) or 14)

local yield = coroutine.yield

-- Timer heap -----------------------------------------------------------------------------------------------------------

local Heap = {}
Heap.__index = Heap

function Heap.new() return setmetatable({ size = 0 }, Heap) end

local function before(a, b)
  if a.time ~= b.time then return a.time < b.time end
  return a.task.id < b.task.id
end

function Heap:push(entry)
  self.size = self.size + 1
  local i = self.size
  while i > 1 do
    local up = math.floor(i / 2)
    if not before(entry, self[up]) then break end
    self[i] = self[up]
    i = up
  end
  self[i] = entry
end

function Heap:pop()
  local top, last = self[1], self[self.size]
  self[self.size] = nil
  self.size = self.size - 1
  local size = self.size
  if size == 0 then return top end
  local i = 1
  while true do
    local child = 2 * i
    if child > size then break end
    if child < size and before(self[child + 1], self[child]) then child = child + 1 end
    if not before(self[child], last) then break end
    self[i] = self[child]
    i = child
  end
  self[i] = last
  return top
end

-- Queue ----------------------------------------------------------------------------------------------------------------

local Queue = {}
Queue.__index = Queue

function Queue.new() return setmetatable({ first = 1, last = 0 }, Queue) end

function Queue:push(x)
  self.last = self.last + 1
  self[self.last] = x
end

function Queue:pop()
  if self.first > self.last then return nil end
  local x = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  return x
end

function Queue:length() return self.last - self.first + 1 end

-- Scheduler ------------------------------------------------------------------------------------------------------------

local Scheduler = {}
Scheduler.__index = Scheduler

function Scheduler.new()
  return setmetatable({ ready = Queue.new(), timers = Heap.new(), now = 0, ids = 0, alive = 0, switches = 0, failed = 0 },
    Scheduler)
end

function Scheduler:spawn(fn, ...)
  self.ids = self.ids + 1
  local task = { id = self.ids, co = coroutine.create(fn), joiners = nil, result = nil, cancelled = false }
  self.alive = self.alive + 1
  self.ready:push({ task, ... })
  return task
end

function Scheduler:wake(task, value) self.ready:push({ task, value }) end

-- What a task may yield: an action and its arguments, run by the scheduler.
local actions = {}

function actions.sleep(self, task, ticks) self.timers:push({ time = self.now + ticks, task = task }) end
function actions.pass(self, task) self:wake(task) end

function actions.send(self, task, channel, value)
  if channel.receivers:length() > 0 then
    self:wake(channel.receivers:pop(), value)
    self:wake(task)
  elseif channel.buffer:length() < channel.capacity then
    channel.buffer:push(value)
    self:wake(task)
  else
    channel.senders:push({ task, value })
  end
end

function actions.receive(self, task, channel)
  local value = channel.buffer:pop()
  local sender = channel.senders:pop()
  if value == nil and sender then
    value = sender[2]
    self:wake(sender[1])
  elseif sender then
    channel.buffer:push(sender[2])
    self:wake(sender[1])
  end
  if value == nil then
    channel.receivers:push(task)
  else
    self:wake(task, value)
  end
end

function actions.join(self, task, other)
  if coroutine.status(other.co) == "dead" then
    self:wake(task, other.result)
  else
    other.joiners = other.joiners or {}
    table.insert(other.joiners, task)
  end
end

function Scheduler:finish(task, ok, result)
  self.alive = self.alive - 1
  if not ok then self.failed = self.failed + 1 end
  task.result = result
  for _, joiner in ipairs(task.joiners or {}) do self:wake(joiner, result) end
end

function Scheduler:step(task, ok, action, a, b)
  if coroutine.status(task.co) == "dead" then
    self:finish(task, ok, action)
  else
    actions[action](self, task, a, b)
  end
end

function Scheduler:run()
  while true do
    local entry = self.ready:pop()
    if entry then
      local task = entry[1]
      if not task.cancelled then
        self.switches = self.switches + 1
        self:step(task, coroutine.resume(task.co, entry[2], entry[3], entry[4]))
      end
    elseif self.timers.size > 0 then
      local timer = self.timers:pop()
      self.now = timer.time
      self.ready:push({ timer.task })
    else
      return
    end
  end
end

function Scheduler:cancel(task)
  if coroutine.status(task.co) ~= "dead" and not task.cancelled then
    task.cancelled = true
    self.alive = self.alive - 1
  end
end

local function channel(capacity)
  return { capacity = capacity, buffer = Queue.new(), senders = Queue.new(), receivers = Queue.new() }
end

local function sleep(ticks) return yield("sleep", ticks) end
local function send(c, value) return yield("send", c, value) end
local function receive(c) return yield("receive", c) end
local function join(task) return yield("join", task) end

-- Scenarios ------------------------------------------------------------------------------------------------------------

local function expect(actual, expected, what)
  if actual ~= expected then error(string.format("coroutines_sched: %s: %d instead of %d", what, actual, expected)) end
end

local function round()
  local s = Scheduler.new()

  -- Workers share one channel of jobs and answer on another.
  local jobs, answers = channel(16), channel(4)
  local JOBS, WORKERS = 2000, 50
  s:spawn(function()
    for i = 1, JOBS do send(jobs, i) end
    for _ = 1, WORKERS do send(jobs, false) end
  end)
  for id = 1, WORKERS do
    s:spawn(function()
      while true do
        local job = receive(jobs)
        if not job then return end
        if job % 10 == 0 then sleep(id) end
        send(answers, job * 2)
      end
    end)
  end
  local total = 0
  local collector = s:spawn(function()
    for _ = 1, JOBS do total = total + receive(answers) end
    return total
  end)

  -- Sleepers, some of which fail; and a tree of tasks that join their children.
  local woken = 0
  for i = 1, 1500 do
    s:spawn(function(ticks)
      for _ = 1, 3 do sleep(ticks) end
      woken = woken + 1
      if ticks == 13 then error({ code = ticks }) end
    end, i * 17 % 101 + 1)
  end
  local function tree(depth)
    if depth == 0 then return 1 end
    local left, right = s:spawn(tree, depth - 1), s:spawn(tree, depth - 1)
    yield("pass")
    return join(left) + join(right)
  end
  local root = s:spawn(tree, 9)

  -- A ring that passes a token around, and a task cancelled half-way.
  local ring, hops = {}, 0
  for i = 1, 100 do ring[i] = channel(1) end
  for i = 1, 100 do
    s:spawn(function()
      for _ = 1, 20 do
        local token = receive(ring[i])
        hops = hops + 1
        send(ring[i % 100 + 1], token + 1)
      end
    end)
  end
  s:spawn(function() send(ring[1], 0) end)
  local forever = s:spawn(function()
    while true do sleep(5) end
  end)
  s:spawn(function()
    sleep(200)
    s:cancel(forever)
  end)

  s:run()
  expect(s.alive, 0, "tasks left")
  expect(collector.result, JOBS * (JOBS + 1), "answers")
  expect(woken, 1500, "sleepers")
  expect(s.failed, 15, "failed tasks")
  expect(root.result, 512, "leaves")
  expect(hops, 2000, "hops")
  return s.switches, s.now
end

local switches, now
for _ = 1, n do switches, now = round() end
if switches ~= 21053 or now ~= 303 then error(string.format("coroutines_sched: wrong schedule: %d %d", switches, now)) end
print(string.format("coroutines_sched: %d rounds of %d switches, %d ticks", n, switches, now))
