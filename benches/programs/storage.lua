-- Storage: builds trees of arrays, keeps a few alive and drops the others, so that most of the time is allocation
-- and garbage collection. Exercises: table constructors, arrays of arrays, recursion, survivors of several ages.

local rounds = tonumber((...) or 200)

local Random = {}
Random.__index = Random

function Random.new(seed) return setmetatable({ seed = seed }, Random) end

function Random:next()
  self.seed = (self.seed * 1309 + 13849) % 65536
  return self.seed
end

local Storage = {}
Storage.__index = Storage

function Storage.new() return setmetatable({ count = 0, random = Random.new(74755) }, Storage) end

function Storage:build(depth)
  self.count = self.count + 1
  if depth == 1 then
    local leaf = {}
    for i = 1, self.random:next() % 10 + 1 do leaf[i] = false end
    return leaf
  end
  local node = {}
  for i = 1, 4 do node[i] = self:build(depth - 1) end
  return node
end

-- Returns the number of nodes and the number of leaf slots below `node`.
local function measure(node, depth)
  if depth == 1 then return 1, #node end
  local nodes, slots = 1, 0
  for _, child in ipairs(node) do
    local n, s = measure(child, depth - 1)
    nodes, slots = nodes + n, slots + s
  end
  return nodes, slots
end

local KEPT = 4
local ring = {}
local total, slots = 0, 0
for round = 1, rounds do
  local storage = Storage.new()
  local tree = storage:build(7)
  if storage.count ~= 5461 then error("storage: wrong count " .. storage.count) end
  total = total + storage.count
  ring[round % KEPT] = tree
  if round % 5 == 0 then
    local nodes, s = measure(tree, 7)
    if nodes ~= 5461 then error("storage: wrong tree " .. nodes) end
    if slots ~= 0 and s ~= slots then error("storage: trees differ") end
    slots = s
  end
end
if rounds >= 5 and slots ~= 22420 then error("storage: wrong number of slots " .. slots) end
print(string.format("storage: %d nodes, %d slots in the last tree", total, slots))
