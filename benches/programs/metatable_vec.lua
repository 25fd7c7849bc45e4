-- Metatable arithmetic: vectors, complex numbers and rationals with operators defined by metamethods. Exercises:
-- __add, __sub, __mul, __div, __unm, __eq, __lt, __le, __concat, __call, __pow, mixed operands
-- (number * vector), short-lived result objects, __tostring.

local n = tonumber((...) or 70)

local function close(a, b) return math.abs(a - b) <= 1e-9 * math.max(1, math.abs(a), math.abs(b)) end

-- Vectors --------------------------------------------------------------------------------------------------------------

local Vec = {}
Vec.__index = Vec

local function vec(x, y, z) return setmetatable({ x = x, y = y, z = z }, Vec) end

function Vec.__add(a, b) return vec(a.x + b.x, a.y + b.y, a.z + b.z) end
function Vec.__sub(a, b) return vec(a.x - b.x, a.y - b.y, a.z - b.z) end
function Vec.__unm(a) return vec(-a.x, -a.y, -a.z) end

function Vec.__mul(a, b)
  if type(a) == "number" then return vec(a * b.x, a * b.y, a * b.z) end
  if type(b) == "number" then return vec(a.x * b, a.y * b, a.z * b) end
  return a.x * b.x + a.y * b.y + a.z * b.z
end

function Vec.__div(a, k) return vec(a.x / k, a.y / k, a.z / k) end

-- Cross product.
function Vec.__concat(a, b)
  return vec(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x)
end

function Vec.__eq(a, b) return a.x == b.x and a.y == b.y and a.z == b.z end
function Vec.__call(v, axis) return v[axis] end
function Vec:length() return math.sqrt(self * self) end

-- A spring-coupled chain of particles; the total momentum is conserved.
local function springs(steps)
  local position, velocity = {}, {}
  local COUNT = 20
  for i = 1, COUNT do
    position[i] = vec(i, i % 3, 0)
    velocity[i] = vec(0, 0, i % 2 - 0.5)
  end
  local dt = 0.01
  for _ = 1, steps do
    for i = 1, COUNT - 1 do
      local apart = position[i + 1] - position[i]
      local pull = (apart / apart:length()) * (apart:length() - 1)
      velocity[i] = velocity[i] + dt * pull
      velocity[i + 1] = velocity[i + 1] - dt * pull
    end
    for i = 1, COUNT do position[i] = position[i] + velocity[i] * dt end
  end
  local momentum = vec(0, 0, 0)
  for i = 1, COUNT do momentum = momentum + velocity[i] end
  if momentum:length() > 1e-9 then error("metatable_vec: momentum not conserved") end
  return position[1]("x") + position[COUNT]("y")
end

local function identities(count)
  for i = 1, count do
    local a, b = vec(i, i + 1, 2 - i), vec(3, -i, i % 4)
    local c = a .. b
    if c * a ~= 0 or c * b ~= 0 then error("metatable_vec: cross product not orthogonal") end
    if -(b .. a) ~= c then error("metatable_vec: cross product not antisymmetric") end
    if (a + b) * (a - b) ~= a * a - b * b then error("metatable_vec: difference of squares") end
  end
end

-- Complex numbers ------------------------------------------------------------------------------------------------------

local Complex = {}
Complex.__index = Complex

local function complex(re, im) return setmetatable({ re = re, im = im }, Complex) end

local function lift(x) return type(x) == "number" and complex(x, 0) or x end

function Complex.__add(a, b)
  a, b = lift(a), lift(b)
  return complex(a.re + b.re, a.im + b.im)
end

function Complex.__sub(a, b)
  a, b = lift(a), lift(b)
  return complex(a.re - b.re, a.im - b.im)
end

function Complex.__mul(a, b)
  a, b = lift(a), lift(b)
  return complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)
end

function Complex.__div(a, b)
  a, b = lift(a), lift(b)
  local d = b.re * b.re + b.im * b.im
  return complex((a.re * b.re + a.im * b.im) / d, (a.im * b.re - a.re * b.im) / d)
end

function Complex.__pow(a, k)
  local result = complex(1, 0)
  for _ = 1, k do result = result * a end
  return result
end

function Complex:norm() return math.sqrt(self.re * self.re + self.im * self.im) end

-- All roots of x^5 - 3x^3 + 2x - 7 at once (Durand and Kerner's iteration).
local function roots()
  local z = {}
  for i = 1, 5 do z[i] = complex(0.4, 0.9) ^ i end
  local function polynomial(x) return x ^ 5 - 3 * x ^ 3 + 2 * x - 7 end
  for _ = 1, 60 do
    for i = 1, 5 do
      local product = complex(1, 0)
      for j = 1, 5 do
        if i ~= j then product = product * (z[i] - z[j]) end
      end
      z[i] = z[i] - polynomial(z[i]) / product
    end
  end
  local product, sum = complex(1, 0), complex(0, 0)
  for i = 1, 5 do
    if polynomial(z[i]):norm() > 1e-9 then error("metatable_vec: not a root") end
    product, sum = product * z[i], sum + z[i]
  end
  if not close(product.re, 7) or not close(sum.re, 0) then error("metatable_vec: wrong roots") end
end

-- Rationals ------------------------------------------------------------------------------------------------------------

local Rational = {}
Rational.__index = Rational

local function gcd(a, b)
  while b ~= 0 do a, b = b, a % b end
  return a
end

local function rational(p, q)
  local d = gcd(math.abs(p), q)
  return setmetatable({ p = math.floor(p / d), q = math.floor(q / d) }, Rational)
end

function Rational.__add(a, b) return rational(a.p * b.q + b.p * a.q, a.q * b.q) end
function Rational.__sub(a, b) return rational(a.p * b.q - b.p * a.q, a.q * b.q) end
function Rational.__mul(a, b) return rational(a.p * b.p, a.q * b.q) end
function Rational.__eq(a, b) return a.p == b.p and a.q == b.q end
function Rational.__lt(a, b) return a.p * b.q < b.p * a.q end
function Rational.__le(a, b) return a.p * b.q <= b.p * a.q end
function Rational.__tostring(a) return string.format("%d/%d", a.p, a.q) end

local function telescope(terms)
  local sum, previous = rational(0, 1), rational(-1, 1)
  for k = 1, terms do
    sum = sum + rational(1, k) * rational(1, k + 1)
    if not (previous < sum) or sum <= previous then error("metatable_vec: partial sums do not grow") end
    previous = sum
  end
  if sum ~= rational(terms, terms + 1) then error("metatable_vec: wrong sum") end
  return tostring(sum)
end

local last, text
for _ = 1, n do
  last = springs(200)
  identities(1000)
  roots()
  text = telescope(1000)
end
if text ~= "1000/1001" then error("metatable_vec: wrong sum " .. text) end
print(string.format("metatable_vec: %d rounds, %s, %.6f", n, text, last))
