-- Quadtree: a point quadtree with range queries, nearest-neighbour search, removal and rebuilding, on moving points.
-- Exercises: recursive classes with methods, children in array fields, float comparisons, allocation when nodes
-- split, results gathered in tables, checks against a plain scan.

local steps = tonumber((...) or 26)
local POINTS = 1500
local CAPACITY = 8
local SIZE = 1024

local seed = 31337
local function random()
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
end

local Box = {}
Box.__index = Box

function Box.new(x0, y0, x1, y1) return setmetatable({ x0 = x0, y0 = y0, x1 = x1, y1 = y1 }, Box) end
function Box:contains(p) return p.x >= self.x0 and p.x < self.x1 and p.y >= self.y0 and p.y < self.y1 end

function Box:overlaps(o)
  return self.x0 < o.x1 and o.x0 < self.x1 and self.y0 < o.y1 and o.y0 < self.y1
end

-- The squared distance from a position to the box.
function Box:distance2(x, y)
  local dx = math.max(self.x0 - x, 0, x - self.x1)
  local dy = math.max(self.y0 - y, 0, y - self.y1)
  return dx * dx + dy * dy
end

local Quadtree = {}
Quadtree.__index = Quadtree

function Quadtree.new(box) return setmetatable({ box = box, points = {}, children = nil, count = 0 }, Quadtree) end

function Quadtree:split()
  local b = self.box
  local mx, my = (b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2
  self.children = {
    Quadtree.new(Box.new(b.x0, b.y0, mx, my)),
    Quadtree.new(Box.new(mx, b.y0, b.x1, my)),
    Quadtree.new(Box.new(b.x0, my, mx, b.y1)),
    Quadtree.new(Box.new(mx, my, b.x1, b.y1)),
  }
  local points = self.points
  self.points = nil
  for _, p in ipairs(points) do self:child_for(p):insert(p) end
end

function Quadtree:child_for(p)
  for _, child in ipairs(self.children) do
    if child.box:contains(p) then return child end
  end
  return error("quadtree: point outside")
end

function Quadtree:insert(p)
  self.count = self.count + 1
  if self.children then
    self:child_for(p):insert(p)
    return
  end
  local points = self.points
  points[#points + 1] = p
  if #points > CAPACITY and self.box.x1 - self.box.x0 > 1 then self:split() end
end

function Quadtree:remove(p)
  if self.children then
    if not self:child_for(p):remove(p) then return false end
    self.count = self.count - 1
    if self.count <= CAPACITY then
      local points = {}
      self:gather(points)
      self.children, self.points = nil, points
    end
    return true
  end
  for i, q in ipairs(self.points) do
    if q == p then
      table.remove(self.points, i)
      self.count = self.count - 1
      return true
    end
  end
  return false
end

function Quadtree:gather(out)
  if self.children then
    for _, child in ipairs(self.children) do child:gather(out) end
  else
    for _, p in ipairs(self.points) do out[#out + 1] = p end
  end
end

function Quadtree:query(box, out)
  if not self.box:overlaps(box) then return out end
  if self.children then
    for _, child in ipairs(self.children) do child:query(box, out) end
  else
    for _, p in ipairs(self.points) do
      if box:contains(p) then out[#out + 1] = p end
    end
  end
  return out
end

function Quadtree:nearest(x, y, except, best, best2)
  if self.box:distance2(x, y) >= best2 then return best, best2 end
  if self.children then
    for _, child in ipairs(self.children) do best, best2 = child:nearest(x, y, except, best, best2) end
    return best, best2
  end
  for _, p in ipairs(self.points) do
    local dx, dy = p.x - x, p.y - y
    local d2 = dx * dx + dy * dy
    if d2 < best2 and p ~= except then best, best2 = p, d2 end
  end
  return best, best2
end

function Quadtree:depth()
  if not self.children then return 1 end
  local deepest = 0
  for _, child in ipairs(self.children) do deepest = math.max(deepest, child:depth()) end
  return deepest + 1
end

local points = {}
local tree = Quadtree.new(Box.new(0, 0, SIZE, SIZE))
for i = 1, POINTS do
  local center = i % 5 * 200 + 100
  points[i] = {
    id = i,
    x = (center + (random() - 0.5) * 300) % SIZE,
    y = (SIZE - center + (random() - 0.5) * 300) % SIZE,
    vx = (random() - 0.5) * 8,
    vy = (random() - 0.5) * 8,
  }
  tree:insert(points[i])
end

local function check_query(box, found)
  local count = 0
  for _, p in ipairs(points) do
    if box:contains(p) then count = count + 1 end
  end
  if count ~= #found then error(string.format("quadtree: %d points found, %d by scan", #found, count)) end
end

local function check_nearest(p, d2)
  local best2 = math.huge
  for _, q in ipairs(points) do
    local dx, dy = q.x - p.x, q.y - p.y
    if q ~= p then best2 = math.min(best2, dx * dx + dy * dy) end
  end
  if best2 ~= d2 then error("quadtree: wrong nearest neighbour") end
end

local matches, id_sum, deepest = 0, 0, 0
for step = 1, steps do
  for _, p in ipairs(points) do
    if not tree:remove(p) then error("quadtree: point lost") end
    p.x, p.y = (p.x + p.vx) % SIZE, (p.y + p.vy) % SIZE
    tree:insert(p)
  end
  if tree.count ~= POINTS then error("quadtree: wrong count") end
  deepest = math.max(deepest, tree:depth())
  for i, p in ipairs(points) do
    local near, d2 = tree:nearest(p.x, p.y, p, nil, math.huge)
    id_sum = id_sum + near.id
    if i % 500 == step % 500 then check_nearest(p, d2) end
  end
  for i = 1, 400 do
    local x, y = random() * SIZE, random() * SIZE
    local box = Box.new(x - 40, y - 40, x + 40, y + 40)
    local found = tree:query(box, {})
    matches = matches + #found
    if i % 40 == 0 then check_query(box, found) end
  end
end
if steps == 26 and (matches ~= 90654 or id_sum ~= 29013899) then
  error(string.format("quadtree: wrong result: %d matches, ids %d", matches, id_sum))
end
print(string.format("quadtree: %d steps, %d matches, ids %d, depth %d", steps, matches, id_sum, deepest))
