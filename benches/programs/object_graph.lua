-- Object graph: keeps a graph of objects alive while endlessly replacing, rewiring and dropping parts of it.
-- Exercises: allocation mixed with mutation of old objects (old-to-young references), weak tables, tables used as
-- sets with insertion and deletion, reachability walks with an explicit stack.

local steps = tonumber((...) or 240000)
local NODES = 5000
local DEGREE = 4

local seed = 20250101
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit + 1
end

local Node = {}
Node.__index = Node

local made = 0

function Node.new(slot)
  made = made + 1
  return setmetatable({ id = made, slot = slot, targets = {}, sources = {}, source_count = 0, payload = { made, made % 7 } },
    Node)
end

function Node:link(i, target)
  self:unlink(i)
  self.targets[i] = target
  local count = target.sources[self]
  if not count then target.source_count = target.source_count + 1 end
  target.sources[self] = (count or 0) + 1
end

function Node:unlink(i)
  local old = self.targets[i]
  if not old then return end
  local count = old.sources[self] - 1
  if count == 0 then
    old.sources[self] = nil
    old.source_count = old.source_count - 1
  else
    old.sources[self] = count
  end
  self.targets[i] = nil
end

local Graph = {}
Graph.__index = Graph

function Graph.new(size)
  local o = setmetatable({ nodes = {}, size = size, names = setmetatable({}, { __mode = "v" }) }, Graph)
  for i = 1, size do o.nodes[i] = Node.new(i) end
  for i = 1, size do
    for d = 1, DEGREE do o.nodes[i]:link(d, o.nodes[random(size)]) end
  end
  return o
end

function Graph:rewire()
  self.nodes[random(self.size)]:link(random(DEGREE), self.nodes[random(self.size)])
end

-- Replaces a node by a new one that takes over all its links.
function Graph:replace()
  local slot = random(self.size)
  local old, new = self.nodes[slot], Node.new(slot)
  for i = 1, DEGREE do
    local target = old.targets[i]
    old:unlink(i)
    new:link(i, target == old and new or target)
  end
  for source in pairs(old.sources) do
    for i = 1, DEGREE do
      if source.targets[i] == old then source.targets[i] = new end
    end
    new.sources[source] = old.sources[source]
    new.source_count = new.source_count + 1
  end
  self.nodes[slot] = new
  self.names["node" .. slot] = new
end

function Graph:touch()
  local node = self.nodes[random(self.size)]
  node.payload = { node.payload[1] + 1, node.payload[2] }
end

function Graph:check()
  local links = 0
  for slot, node in ipairs(self.nodes) do
    if node.slot ~= slot then error("object_graph: node in the wrong slot") end
    local count = 0
    for source, uses in pairs(node.sources) do
      if self.nodes[source.slot] ~= source then error("object_graph: reference to a dropped node") end
      count = count + 1
      links = links + uses
    end
    if count ~= node.source_count then error("object_graph: wrong source count") end
  end
  if links ~= self.size * DEGREE then error("object_graph: links lost: " .. links) end
end

function Graph:reachable(start)
  local seen, stack, count = { [start] = true }, { start }, 1
  while #stack > 0 do
    local node = table.remove(stack)
    for i = 1, DEGREE do
      local target = node.targets[i]
      if not seen[target] then
        seen[target] = true
        count = count + 1
        stack[#stack + 1] = target
      end
    end
  end
  return count
end

local graph = Graph.new(NODES)
local reached = 0
for step = 1, steps do
  local action = random(10)
  if action <= 5 then
    graph:rewire()
  elseif action <= 7 then
    graph:replace()
  else
    graph:touch()
  end
  if step % 20000 == 0 then
    graph:check()
    reached = reached + graph:reachable(graph.nodes[1])
  end
end
collectgarbage()
for name, node in pairs(graph.names) do
  if name ~= "node" .. node.slot or graph.nodes[node.slot] ~= node then
    error("object_graph: weak table keeps a dropped node")
  end
end
local checksum = 0
for _, node in ipairs(graph.nodes) do checksum = (checksum * 31 + node.payload[1]) % 1000000007 end
if steps == 240000 and checksum ~= 862597034 then error("object_graph: wrong checksum " .. checksum) end
print(string.format("object_graph: %d nodes made, %d reached, checksum %d", made, reached, checksum))
