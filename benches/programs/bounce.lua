-- Bounce: balls bouncing in a box. Exercises: arrays of small objects updated in place through methods, integer
-- arithmetic, subclassing (walls that slow balls down), an object-oriented random number generator.

local rounds = tonumber((...) or 1300)

local Random = {}
Random.__index = Random

function Random.new(seed) return setmetatable({ seed = seed }, Random) end

function Random:next()
  self.seed = (self.seed * 1309 + 13849) % 65536
  return self.seed
end

local Ball = {}
Ball.__index = Ball
local LIMIT = 500

function Ball.new(random)
  return Ball.init(setmetatable({}, Ball), random)
end

function Ball.init(o, random)
  o.x = random:next() % LIMIT
  o.y = random:next() % LIMIT
  o.vx = random:next() % 300 - 150
  o.vy = random:next() % 300 - 150
  return o
end

function Ball:move()
  self.x = self.x + self.vx
  self.y = self.y + self.vy
end

-- Moves one step; returns whether the ball hit a wall.
function Ball:bounce()
  local bounced = false
  self:move()
  if self.x > LIMIT then
    self.x = LIMIT
    self.vx = -math.abs(self.vx)
    bounced = true
  end
  if self.x < 0 then
    self.x = 0
    self.vx = math.abs(self.vx)
    bounced = true
  end
  if self.y > LIMIT then
    self.y = LIMIT
    self.vy = -math.abs(self.vy)
    bounced = true
  end
  if self.y < 0 then
    self.y = 0
    self.vy = math.abs(self.vy)
    bounced = true
  end
  if bounced then self:on_bounce() end
  return bounced
end

function Ball:on_bounce() end

-- A ball that turns a quarter left each third bounce.
local SpinningBall = setmetatable({}, Ball)
SpinningBall.__index = SpinningBall

function SpinningBall.new(random)
  local o = Ball.init(setmetatable({}, SpinningBall), random)
  o.hits = 0
  return o
end

function SpinningBall:on_bounce()
  self.hits = self.hits + 1
  if self.hits % 3 == 0 then self.vx, self.vy = -self.vy, self.vx end
end

local function run(make, count, steps)
  local random = Random.new(74755)
  local balls = {}
  for i = 1, count do balls[i] = make(random) end
  local bounces = 0
  for _ = 1, steps do
    for _, ball in ipairs(balls) do
      if ball:bounce() then bounces = bounces + 1 end
    end
  end
  for _, ball in ipairs(balls) do
    if ball.x < 0 or ball.x > LIMIT or ball.y < 0 or ball.y > LIMIT then error("bounce: ball out of the box") end
  end
  return bounces
end

local plain, spinning
for _ = 1, rounds do
  local p, s = run(Ball.new, 100, 50), run(SpinningBall.new, 100, 50)
  if plain and (p ~= plain or s ~= spinning) then error("bounce: runs differ") end
  plain, spinning = p, s
end
-- The plain variant with these parameters is a well-known benchmark whose result is 1331.
if plain ~= 1331 or spinning ~= 1530 then error(string.format("bounce: wrong result: %d %d", plain, spinning)) end
print(string.format("bounce: %d rounds, %d plain and %d spinning bounces", rounds, plain, spinning))
