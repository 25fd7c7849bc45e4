-- Ray tracer: spheres and a checkered floor with reflections and shadows. Exercises: float vectors as objects with
-- methods, polymorphic shapes with inheritance and fresh metatables (`setmetatable(o, { __index = Class })`),
-- many short-lived objects, recursion.

local size = tonumber((...) or 300)

local Vector = {}
Vector.__index = Vector

local function vector(x, y, z) return setmetatable({ x = x, y = y, z = z }, Vector) end

function Vector:add(o) return vector(self.x + o.x, self.y + o.y, self.z + o.z) end
function Vector:subtract(o) return vector(self.x - o.x, self.y - o.y, self.z - o.z) end
function Vector:scale(k) return vector(self.x * k, self.y * k, self.z * k) end
function Vector:dot(o) return self.x * o.x + self.y * o.y + self.z * o.z end
function Vector:length() return math.sqrt(self:dot(self)) end
function Vector:normalize() return self:scale(1 / self:length()) end
function Vector:reflect(normal) return self:subtract(normal:scale(2 * self:dot(normal))) end

function Vector:cross(o)
  return vector(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
end

-- Shapes: intersect(ray) returns a distance or nil; normal_at(point); color_at(point).
local Shape = {}

function Shape.init(o, color, shine, mirror)
  o.color, o.shine, o.mirror = color, shine, mirror
  return o
end

function Shape:color_at() return self.color end

local Sphere = setmetatable({}, { __index = Shape })

function Sphere.new(center, radius, ...)
  return Shape.init(setmetatable({ center = center, radius = radius }, { __index = Sphere }), ...)
end

function Sphere:intersect(ray)
  local toward = self.center:subtract(ray.origin)
  local along = toward:dot(ray.direction)
  local d = self.radius * self.radius - toward:dot(toward) + along * along
  if d < 0 then return nil end
  local root = math.sqrt(d)
  if along - root > 1e-6 then return along - root end
  if along + root > 1e-6 then return along + root end
  return nil
end

function Sphere:normal_at(point) return point:subtract(self.center):normalize() end

local Plane = setmetatable({}, { __index = Shape })

function Plane.new(normal, offset, ...)
  return Shape.init(setmetatable({ normal = normal, offset = offset }, { __index = Plane }), ...)
end

function Plane:intersect(ray)
  local slope = self.normal:dot(ray.direction)
  if slope > -1e-9 then return nil end
  local distance = (self.offset - self.normal:dot(ray.origin)) / slope
  return distance > 1e-6 and distance or nil
end

function Plane:normal_at() return self.normal end

local CheckeredPlane = setmetatable({}, { __index = Plane })

function CheckeredPlane.new(...)
  return setmetatable(Plane.new(...), { __index = CheckeredPlane })
end

function CheckeredPlane:color_at(point)
  if (math.floor(point.x) + math.floor(point.z)) % 2 == 0 then return self.color end
  return self.color:scale(0.15)
end

-- Scene ----------------------------------------------------------------------------------------------------------------

local Scene = {}

function Scene.new(shapes, lights, background)
  return setmetatable({ shapes = shapes, lights = lights, background = background, rays = 0 }, { __index = Scene })
end

function Scene:nearest(ray)
  self.rays = self.rays + 1
  local hit, best
  for _, shape in ipairs(self.shapes) do
    local distance = shape:intersect(ray)
    if distance and (not best or distance < best) then hit, best = shape, distance end
  end
  return hit, best
end

function Scene:shadowed(point, direction, limit)
  local ray = { origin = point, direction = direction }
  for _, shape in ipairs(self.shapes) do
    local distance = shape:intersect(ray)
    if distance and distance < limit then return true end
  end
  return false
end

function Scene:trace(ray, depth)
  local shape, distance = self:nearest(ray)
  if not shape then return self.background end
  local point = ray.origin:add(ray.direction:scale(distance))
  local normal = shape:normal_at(point)
  local above = point:add(normal:scale(1e-4))
  local base = shape:color_at(point)
  local color = base:scale(0.1)
  local reflected = ray.direction:reflect(normal)
  for _, light in ipairs(self.lights) do
    local toward = light.position:subtract(point)
    local limit = toward:length()
    toward = toward:normalize()
    local brightness = normal:dot(toward)
    if brightness > 0 and not self:shadowed(above, toward, limit) then
      color = color:add(base:scale(brightness * light.power))
      local highlight = reflected:dot(toward)
      if highlight > 0 then
        local power = highlight ^ shape.shine * light.power
        color = color:add(vector(power, power, power))
      end
    end
  end
  if shape.mirror > 0 and depth > 0 then
    local seen = self:trace({ origin = above, direction = reflected:normalize() }, depth - 1)
    color = color:scale(1 - shape.mirror):add(seen:scale(shape.mirror))
  end
  return color
end

local function make_scene()
  local shapes = {
    CheckeredPlane.new(vector(0, 1, 0), 0, vector(0.9, 0.9, 0.9), 60, 0.2),
    Sphere.new(vector(0, 1, 0), 1, vector(0.9, 0.2, 0.2), 80, 0.3),
    Sphere.new(vector(-1.9, 0.7, 1.2), 0.7, vector(0.2, 0.9, 0.3), 30, 0.1),
    Sphere.new(vector(1.7, 0.6, 1.6), 0.6, vector(0.3, 0.4, 0.95), 120, 0.5),
  }
  for i = 0, 7 do
    local angle = i * math.pi / 4
    shapes[#shapes + 1] =
      Sphere.new(vector(3 * math.cos(angle), 0.3, 3 * math.sin(angle)), 0.3, vector(0.1 * i, 0.5, 0.8 - 0.1 * i), 20, 0.2)
  end
  local lights = {
    { position = vector(4, 6, 5), power = 0.6 },
    { position = vector(-5, 4, 3), power = 0.4 },
  }
  return Scene.new(shapes, lights, vector(0.3, 0.5, 0.8))
end

local function render(scene, width, height)
  local eye, target = vector(0, 2, 7), vector(0, 0.8, 0)
  local forward = target:subtract(eye):normalize()
  local right = forward:cross(vector(0, 1, 0)):normalize()
  local up = right:cross(forward)
  local total, rows = vector(0, 0, 0), {}
  for j = 1, height do
    local row = vector(0, 0, 0)
    for i = 1, width do
      local u, v = (i - 0.5) / width * 2 - 1, 1 - (j - 0.5) / height * 2
      local direction = forward:add(right:scale(u * 0.6)):add(up:scale(v * 0.6)):normalize()
      row = row:add(scene:trace({ origin = eye, direction = direction }, 3))
    end
    rows[j] = row
    total = total:add(row)
  end
  return total:scale(1 / (width * height)), rows
end

local scene = make_scene()
local mean = render(scene, size, size)
local checksum = string.format("%.4f %.4f %.4f", mean.x, mean.y, mean.z)
if size == 300 and checksum ~= "0.3076 0.4040 0.5384" then error("raytracer: wrong picture: " .. checksum) end
print(string.format("raytracer: size %d, %d rays, mean %s", size, scene.rays, checksum))
