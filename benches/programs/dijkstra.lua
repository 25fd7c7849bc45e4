-- Shortest paths in a random graph of n nodes with a binary heap held in two parallel arrays:
-- adjacency lists, sifting up and down, unpredictable branches. The result is proved optimal by
-- looking at every edge, for every size.
local n = tonumber((...) or 120000)

local degree = 6
local seed = 31
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit + 1
end

-- Node i's edges are pairs of target and weight in a flat list.
local edges = {}
for i = 1, n do
  local list = {}
  for k = 1, degree do
    list[2 * k - 1] = random(n)
    list[2 * k] = random(1000)
  end
  list[2 * degree + 1] = i % n + 1
  list[2 * degree + 2] = 1000
  edges[i] = list
end

local Heap = {}
Heap.__index = Heap

function Heap.new()
  return setmetatable({ size = 0, keys = {}, nodes = {} }, Heap)
end

function Heap:push(key, node)
  local keys, nodes = self.keys, self.nodes
  local at = self.size + 1
  self.size = at
  while at > 1 do
    local parent = (at - at % 2) / 2
    if keys[parent] <= key then break end
    keys[at], nodes[at] = keys[parent], nodes[parent]
    at = parent
  end
  keys[at], nodes[at] = key, node
end

function Heap:pop()
  local keys, nodes, size = self.keys, self.nodes, self.size
  local top_key, top_node = keys[1], nodes[1]
  local key, node = keys[size], nodes[size]
  size = size - 1
  self.size = size
  local at = 1
  while 2 * at <= size do
    local child = 2 * at
    if child < size and keys[child + 1] < keys[child] then child = child + 1 end
    if keys[child] >= key then break end
    keys[at], nodes[at] = keys[child], nodes[child]
    at = child
  end
  keys[at], nodes[at] = key, node
  return top_key, top_node
end

local function shortest_paths(source)
  local distance = {}
  for i = 1, n do distance[i] = math.huge end
  distance[source] = 0
  local heap = Heap.new()
  heap:push(0, source)
  while heap.size > 0 do
    local d, node = heap:pop()
    if d == distance[node] then
      local list = edges[node]
      for k = 1, #list, 2 do
        local target, candidate = list[k], d + list[k + 1]
        if candidate < distance[target] then
          distance[target] = candidate
          heap:push(candidate, target)
        end
      end
    end
  end
  return distance
end

-- Distances are right if no edge shortens them and every node but the source has a tight edge.
local function verify(distance, source)
  local reached = { [source] = true }
  for i = 1, n do
    local list = edges[i]
    for k = 1, #list, 2 do
      local target, candidate = list[k], distance[i] + list[k + 1]
      if candidate < distance[target] then error("dijkstra: not shortest: " .. target) end
      if candidate == distance[target] then reached[target] = true end
    end
  end
  for i = 1, n do
    if not reached[i] then error("dijkstra: no path to " .. i) end
  end
end

local total, farthest = 0, 0
for _, source in ipairs({ 1, n }) do
  local distance = shortest_paths(source)
  verify(distance, source)
  for i = 1, n do
    total = total + distance[i]
    farthest = math.max(farthest, distance[i])
  end
end
print(string.format("total distance %d, farthest %d", total, farthest))
