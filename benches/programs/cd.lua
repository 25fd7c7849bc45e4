-- CD: an aircraft collision detector (the idea of the CDx real-time benchmark). Each radar frame reports positions;
-- motions since the last frame are put into voxels of a two-dimensional grid, and pairs sharing a voxel are tested
-- for collision by solving a quadratic. Tables are red-black trees with a key comparator. Exercises: float geometry
-- on small vector objects with methods, red-black tree insertion/deletion/iteration, nested allocation, recursion.

local frames = tonumber((...) or 50)
local AIRCRAFT = 220
local GOOD_VOXEL = 4.0
local RADIUS = GOOD_VOXEL / 2
local MIN_X, MIN_Y, MAX_X, MAX_Y = 0, 0, 1000, 1000

-- Vectors ------------------------------------------------------------------------------------------------------------

local Vector = {}
Vector.__index = Vector

function Vector.new(x, y, z) return setmetatable({ x = x, y = y, z = z }, Vector) end
function Vector:plus(o) return Vector.new(self.x + o.x, self.y + o.y, self.z + o.z) end
function Vector:minus(o) return Vector.new(self.x - o.x, self.y - o.y, self.z - o.z) end
function Vector:dot(o) return self.x * o.x + self.y * o.y + self.z * o.z end
function Vector:times(k) return Vector.new(self.x * k, self.y * k, self.z * k) end
function Vector:magnitude() return math.sqrt(self:dot(self)) end

-- Red-black tree (insertion and deletion after Cormen et al.) ----------------------------------------------------------

local Tree = {}
Tree.__index = Tree

function Tree.new(less) return setmetatable({ root = nil, less = less, size = 0 }, Tree) end

function Tree:find(key)
  local node, less = self.root, self.less
  while node do
    if less(key, node.key) then
      node = node.left
    elseif less(node.key, key) then
      node = node.right
    else
      return node
    end
  end
  return nil
end

function Tree:get(key)
  local node = self:find(key)
  return node and node.value
end

function Tree:rotate_left(x)
  local y = x.right
  x.right = y.left
  if y.left then y.left.parent = x end
  y.parent = x.parent
  if not x.parent then
    self.root = y
  elseif x == x.parent.left then
    x.parent.left = y
  else
    x.parent.right = y
  end
  y.left = x
  x.parent = y
end

function Tree:rotate_right(y)
  local x = y.left
  y.left = x.right
  if x.right then x.right.parent = y end
  x.parent = y.parent
  if not y.parent then
    self.root = x
  elseif y == y.parent.left then
    y.parent.left = x
  else
    y.parent.right = x
  end
  x.right = y
  y.parent = x
end

-- Stores `value` under `key`; returns the value it replaced, if any.
function Tree:put(key, value)
  local parent, node, less = nil, self.root, self.less
  local on_left = false
  while node do
    parent = node
    if less(key, node.key) then
      node, on_left = node.left, true
    elseif less(node.key, key) then
      node, on_left = node.right, false
    else
      local old = node.value
      node.value = value
      return old
    end
  end
  self.size = self.size + 1
  local x = { key = key, value = value, parent = parent, red = true }
  if not parent then
    self.root = x
  elseif on_left then
    parent.left = x
  else
    parent.right = x
  end
  while x ~= self.root and x.parent.red do
    local p = x.parent
    local g = p.parent
    local p_is_left = p == g.left
    local uncle = p_is_left and g.right or not p_is_left and g.left or nil
    if uncle and uncle.red then
      p.red, uncle.red, g.red = false, false, true
      x = g
    elseif p_is_left then
      if x == p.right then
        x = p
        self:rotate_left(x)
      end
      x.parent.red, g.red = false, true
      self:rotate_right(g)
    else
      if x == p.left then
        x = p
        self:rotate_right(x)
      end
      x.parent.red, g.red = false, true
      self:rotate_left(g)
    end
  end
  self.root.red = false
  return nil
end

local function leftmost(node)
  while node.left do node = node.left end
  return node
end

local function successor(node)
  if node.right then return leftmost(node.right) end
  local parent = node.parent
  while parent and node == parent.right do node, parent = parent, parent.parent end
  return parent
end

local function is_black(node) return not node or not node.red end

function Tree:rebalance_after_removal(x, parent)
  while x ~= self.root and is_black(x) do
    if x == parent.left then
      local w = parent.right
      if w.red then
        w.red, parent.red = false, true
        self:rotate_left(parent)
        w = parent.right
      end
      if is_black(w.left) and is_black(w.right) then
        w.red = true
        x, parent = parent, parent.parent
      else
        if is_black(w.right) then
          w.left.red, w.red = false, true
          self:rotate_right(w)
          w = parent.right
        end
        w.red, parent.red = parent.red, false
        if w.right then w.right.red = false end
        self:rotate_left(parent)
        x, parent = self.root, nil
      end
    else
      local w = parent.left
      if w.red then
        w.red, parent.red = false, true
        self:rotate_right(parent)
        w = parent.left
      end
      if is_black(w.left) and is_black(w.right) then
        w.red = true
        x, parent = parent, parent.parent
      else
        if is_black(w.left) then
          w.right.red, w.red = false, true
          self:rotate_left(w)
          w = parent.left
        end
        w.red, parent.red = parent.red, false
        if w.left then w.left.red = false end
        self:rotate_right(parent)
        x, parent = self.root, nil
      end
    end
  end
  if x then x.red = false end
end

function Tree:remove(key)
  local z = self:find(key)
  if not z then return nil end
  self.size = self.size - 1
  local old = z.value
  local y = (z.left and z.right) and successor(z) or z
  local x = y.left or y.right
  local parent = y.parent
  if x then x.parent = parent end
  if not parent then
    self.root = x
  elseif y == parent.left then
    parent.left = x
  else
    parent.right = x
  end
  if y ~= z then z.key, z.value = y.key, y.value end
  if not y.red then self:rebalance_after_removal(x, parent) end
  return old
end

function Tree:each(fn)
  local node = self.root and leftmost(self.root)
  while node do
    fn(node.key, node.value)
    node = successor(node)
  end
end

-- Fails unless the tree is a valid red-black tree; returns its black height.
local function validate(node)
  if not node then return 1 end
  if node.red and not (is_black(node.left) and is_black(node.right)) then error("cd: red node with a red child") end
  local left, right = validate(node.left), validate(node.right)
  if left ~= right then error("cd: black heights differ") end
  return left + (node.red and 0 or 1)
end

-- Collision detection --------------------------------------------------------------------------------------------------

local function less_callsign(a, b) return a < b end

local function less_voxel(a, b)
  if a.x ~= b.x then return a.x < b.x end
  return a.y < b.y
end

-- Returns the position where two motions come within RADIUS of each other, or nil.
local function intersect(m1, m2)
  local start1, start2 = m1.from, m2.from
  local v1, v2 = m1.to:minus(start1), m2.to:minus(start2)
  local relative = v1:minus(v2)
  local a = relative:dot(relative)
  local apart = start1:minus(start2)
  if a == 0 then
    if apart:magnitude() <= RADIUS then return start1:plus(start2):times(0.5) end
    return nil
  end
  local b = 2 * apart:dot(relative)
  local c = apart:dot(apart) - RADIUS * RADIUS
  local discriminant = b * b - 4 * a * c
  if discriminant < 0 then return nil end
  local root = math.sqrt(discriminant)
  local enter, leave = (-b - root) / (2 * a), (-b + root) / (2 * a)
  if enter > 1 or leave < 0 then return nil end
  local t = math.max(enter, 0)
  return start1:plus(v1:times(t)):plus(start2:plus(v2:times(t))):times(0.5)
end

-- Does the segment of `motion`, widened by RADIUS, touch the voxel at (vx, vy)? Interval test on each axis.
local function touches(motion, vx, vy)
  local from, to = motion.from, motion.to
  local low, high = 0, 1
  local dx = to.x - from.x
  local x0, x1 = vx - RADIUS, vx + GOOD_VOXEL + RADIUS
  if dx == 0 then
    if from.x < x0 or from.x > x1 then return false end
  else
    local t0, t1 = (x0 - from.x) / dx, (x1 - from.x) / dx
    if t0 > t1 then t0, t1 = t1, t0 end
    low, high = math.max(low, t0), math.min(high, t1)
  end
  local dy = to.y - from.y
  local y0, y1 = vy - RADIUS, vy + GOOD_VOXEL + RADIUS
  if dy == 0 then
    if from.y < y0 or from.y > y1 then return false end
  else
    local t0, t1 = (y0 - from.y) / dy, (y1 - from.y) / dy
    if t0 > t1 then t0, t1 = t1, t0 end
    low, high = math.max(low, t0), math.min(high, t1)
  end
  return low <= high
end

local function mark_voxels(seen, voxels, vx, vy, motion)
  if vx + GOOD_VOXEL < MIN_X or vx > MAX_X or vy + GOOD_VOXEL < MIN_Y or vy > MAX_Y then return end
  local key = { x = vx, y = vy }
  if seen:find(key) or not touches(motion, vx, vy) then return end
  seen:put(key, true)
  local list = voxels:get(key)
  if not list then
    list = {}
    voxels:put(key, list)
  end
  list[#list + 1] = motion
  local s = GOOD_VOXEL
  mark_voxels(seen, voxels, vx - s, vy, motion)
  mark_voxels(seen, voxels, vx + s, vy, motion)
  mark_voxels(seen, voxels, vx, vy - s, motion)
  mark_voxels(seen, voxels, vx, vy + s, motion)
end

local Detector = {}
Detector.__index = Detector

function Detector.new() return setmetatable({ state = Tree.new(less_callsign) }, Detector) end

-- Takes the list of { callsign, position } of a frame; returns the motions since the last frame.
function Detector:motions(frame)
  local motions, seen = {}, Tree.new(less_callsign)
  for _, report in ipairs(frame) do
    local old = self.state:put(report.callsign, report.position)
    seen:put(report.callsign, true)
    motions[#motions + 1] = { callsign = report.callsign, from = old or report.position, to = report.position }
  end
  local gone = {}
  self.state:each(function(callsign)
    if not seen:get(callsign) then gone[#gone + 1] = callsign end
  end)
  for _, callsign in ipairs(gone) do self.state:remove(callsign) end
  return motions
end

local function collide(motions)
  local voxels = Tree.new(less_voxel)
  for _, motion in ipairs(motions) do
    local vx = math.floor(motion.from.x / GOOD_VOXEL) * GOOD_VOXEL
    local vy = math.floor(motion.from.y / GOOD_VOXEL) * GOOD_VOXEL
    mark_voxels(Tree.new(less_voxel), voxels, vx, vy, motion)
  end
  local found = Tree.new(less_callsign)
  voxels:each(function(_, list)
    for i = 1, #list - 1 do
      local one = list[i]
      for j = i + 1, #list do
        local two = list[j]
        local position = intersect(one, two)
        if position then found:put(one.callsign .. "/" .. two.callsign, position) end
      end
    end
  end)
  return found
end

local function collide_by_force(motions)
  local count = 0
  for i = 1, #motions - 1 do
    for j = i + 1, #motions do
      if intersect(motions[i], motions[j]) then count = count + 1 end
    end
  end
  return count
end

-- Aircraft fly in pairs on crossing courses; every seventh one disappears now and then.
local function make_frame(time)
  local frame = {}
  for i = 0, AIRCRAFT - 2, 2 do
    local x = 10 + (i * 37) % 900
    local wave = math.cos(time * 0.5 + i) * 9
    frame[#frame + 1] = { callsign = "foo" .. i, position = Vector.new(x + time, wave * 3 + 500, 10 + i % 3) }
    if i % 7 ~= 0 or time % 4 ~= 3 then
      local y = math.sin(time * 0.5 + i) * 9 * 3 + 500
      frame[#frame + 1] = { callsign = "bar" .. i, position = Vector.new(x + time, y, 10 + i % 3) }
    end
  end
  return frame
end

local detector = Detector.new()
local total, sum = 0, 0
for time = 0, frames - 1 do
  local motions = detector:motions(make_frame(time))
  local found = collide(motions)
  if time % 10 == 0 then
    validate(detector.state.root)
    validate(found.root)
    local expected = collide_by_force(motions)
    if found.size ~= expected then
      error(string.format("cd: %d collisions found, %d by force", found.size, expected))
    end
  end
  total = total + found.size
  found:each(function(_, position) sum = sum + position.x + position.y end)
end
if detector.state.size ~= #make_frame(frames - 1) then error("cd: aircraft lost") end
if frames == 50 and total ~= 990 then error("cd: wrong number of collisions: " .. total) end
print(string.format("cd: %d frames, %d collisions, mean coordinate %.3f", frames, total, sum / total))
