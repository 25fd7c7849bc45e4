-- Graph search: A*, Dijkstra's algorithm and breadth-first search on a grid with walls and weighted ground.
-- Exercises: a binary-heap priority queue class, node objects with cross references, closures as heuristics,
-- string and number keys, floods of table lookups. The three searches check each other.

local side = tonumber((...) or 150)

local seed = 5
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit
end

local Heap = {}
Heap.__index = Heap

function Heap.new() return setmetatable({ items = {}, keys = {}, size = 0 }, Heap) end

function Heap:push(item, key)
  local items, keys = self.items, self.keys
  self.size = self.size + 1
  local i = self.size
  while i > 1 do
    local up = math.floor(i / 2)
    if keys[up] <= key then break end
    items[i], keys[i] = items[up], keys[up]
    i = up
  end
  items[i], keys[i] = item, key
end

function Heap:pop()
  local items, keys, size = self.items, self.keys, self.size
  local top, top_key = items[1], keys[1]
  local item, key = items[size], keys[size]
  items[size], keys[size] = nil, nil
  size = size - 1
  self.size = size
  if size > 0 then
    local i = 1
    while 2 * i <= size do
      local child = 2 * i
      if child < size and keys[child + 1] < keys[child] then child = child + 1 end
      if keys[child] >= key then break end
      items[i], keys[i] = items[child], keys[child]
      i = child
    end
    items[i], keys[i] = item, key
  end
  return top, top_key
end

local Cell = {}
Cell.__index = Cell

function Cell.new(x, y, cost) return setmetatable({ x = x, y = y, cost = cost, neighbours = {} }, Cell) end

local Grid = {}
Grid.__index = Grid

function Grid.new(width, height)
  local o = setmetatable({ width = width, height = height, cells = {} }, Grid)
  for y = 1, height do
    for x = 1, width do
      local wall = random(100) < 18 and not (x == 1 and y == 1) and not (x == width and y == height)
      if not wall then o.cells[y * width + x] = Cell.new(x, y, random(4) + 1) end
    end
  end
  for y = 1, height do
    for x = 1, width do
      local cell = o:at(x, y)
      if cell then
        for _, d in ipairs({ { 1, 0 }, { 0, 1 }, { -1, 0 }, { 0, -1 } }) do
          local other = o:at(x + d[1], y + d[2])
          if other then table.insert(cell.neighbours, other) end
        end
      end
    end
  end
  return o
end

function Grid:at(x, y)
  if x < 1 or y < 1 or x > self.width or y > self.height then return nil end
  return self.cells[y * self.width + x]
end

-- Returns the cost of the cheapest path, the table of predecessors and the number of cells expanded.
local function search(start, goal, estimate)
  local open, best, from, closed = Heap.new(), { [start] = 0 }, {}, {}
  local expanded = 0
  open:push(start, estimate(start))
  while open.size > 0 do
    local cell = open:pop()
    if cell == goal then return best[goal], from, expanded end
    if not closed[cell] then
      closed[cell] = true
      expanded = expanded + 1
      for _, next_cell in ipairs(cell.neighbours) do
        if not closed[next_cell] then
          local cost = best[cell] + next_cell.cost
          local known = best[next_cell]
          if not known or cost < known then
            best[next_cell] = cost
            from[next_cell] = cell
            open:push(next_cell, cost + estimate(next_cell))
          end
        end
      end
    end
  end
  return nil, from, expanded
end

local function breadth_first(start)
  local distance, queue, head = { [start] = 0 }, { start }, 1
  while queue[head] do
    local cell = queue[head]
    head = head + 1
    for _, next_cell in ipairs(cell.neighbours) do
      if not distance[next_cell] then
        distance[next_cell] = distance[cell] + 1
        queue[#queue + 1] = next_cell
      end
    end
  end
  return distance
end

local function path_to(goal, from)
  local path = { goal }
  while from[path[#path]] do path[#path + 1] = from[path[#path]] end
  local reversed = {}
  for i = #path, 1, -1 do reversed[#reversed + 1] = path[i] end
  return reversed
end

local function check_path(path, start, goal, cost)
  if path[1] ~= start or path[#path] ~= goal then error("graph_search: path does not connect") end
  local sum = 0
  for i = 2, #path do
    if math.abs(path[i].x - path[i - 1].x) + math.abs(path[i].y - path[i - 1].y) ~= 1 then
      error("graph_search: path jumps")
    end
    sum = sum + path[i].cost
  end
  if sum ~= cost then error(string.format("graph_search: path costs %d, not %d", sum, cost)) end
end

local function zero() return 0 end

local total, a_star_cells, dijkstra_cells, unreachable = 0, 0, 0, 0
for _ = 1, 3 do
  local grid = Grid.new(side, side)
  local start = grid:at(1, 1)
  local distance = breadth_first(start)
  for _, target in ipairs({ { side, side }, { side, 1 }, { 1, side }, { math.floor(side / 2), math.floor(side / 2) } }) do
    local goal = grid:at(target[1], target[2])
    if goal then
      local function manhattan(cell) return math.abs(cell.x - goal.x) + math.abs(cell.y - goal.y) end
      local cost, from, expanded = search(start, goal, manhattan)
      local cost2, from2, expanded2 = search(start, goal, zero)
      if cost ~= cost2 then error("graph_search: A* and Dijkstra disagree") end
      if expanded > expanded2 then error("graph_search: A* expands more cells than Dijkstra") end
      if (cost ~= nil) ~= (distance[goal] ~= nil) then error("graph_search: reachability differs") end
      if cost then
        local path = path_to(goal, from)
        check_path(path, start, goal, cost)
        check_path(path_to(goal, from2), start, goal, cost)
        if #path - 1 < distance[goal] then error("graph_search: path shorter than the shortest") end
        total = total + cost
      else
        unreachable = unreachable + 1
      end
      a_star_cells, dijkstra_cells = a_star_cells + expanded, dijkstra_cells + expanded2
    end
  end
end
if side == 150 and total ~= 3907 then error(string.format("graph_search: wrong total %d", total)) end
print(string.format("graph_search: side %d, cost %d, cells %d and %d, %d unreachable", side, total, a_star_cells,
  dijkstra_cells, unreachable))
