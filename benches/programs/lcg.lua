-- Pseudo-random generators in plain arithmetic: Park and Miller's minimal standard, L'Ecuyer's
-- MRG32k3a held in a closure's upvalues, and Wichmann and Hill's. Modulo of products up to 2^53
-- and floating-point fractions; pi is estimated by Monte Carlo. The size is the number of draws
-- in thousands; the minimal standard's published value is checked.
local n = tonumber((...) or 12000)

local function park_miller(seed)
  return function()
    seed = seed * 16807 % 2147483647
    return seed
  end
end

local function mrg32k3a()
  local m1, m2 = 4294967087, 4294944443
  local a1, a2, a3 = 12345, 12345, 12345
  local b1, b2, b3 = 12345, 12345, 12345
  return function()
    local p = (1403580 * a2 - 810728 * a1) % m1
    a1, a2, a3 = a2, a3, p
    local q = (527612 * b3 - 1370589 * b1) % m2
    b1, b2, b3 = b2, b3, q
    return ((p - q) % m1) / 4294967088
  end
end

local function wichmann_hill(x, y, z)
  return function()
    x, y, z = 171 * x % 30269, 172 * y % 30307, 170 * z % 30323
    return (x / 30269 + y / 30307 + z / 30323) % 1.0
  end
end

local reference = park_miller(1)
local value
for _ = 1, 10000 do value = reference() end
if value ~= 1043618065 then error("lcg: wrong minimal standard") end

local draws = n * 1000
local minimal, combined, small = park_miller(2026), mrg32k3a(), wichmann_hill(1, 2, 3)
local inside, sum, dice = 0, 0.0, { 0, 0, 0, 0, 0, 0 }
for _ = 1, draws do
  local x, y = combined(), small()
  if x * x + y * y < 1.0 then inside = inside + 1 end
  sum = sum + x
  local face = minimal() % 6 + 1
  dice[face] = dice[face] + 1
end

local pi = 4 * inside / draws
if draws >= 1000000 then
  if math.abs(pi - math.pi) > 0.01 then error("lcg: pi is " .. pi) end
  if math.abs(sum / draws - 0.5) > 0.002 then error("lcg: mean is " .. sum / draws) end
  for face = 1, 6 do
    if math.abs(dice[face] * 6 / draws - 1) > 0.02 then error("lcg: unfair face " .. face) end
  end
end
print(string.format("pi %.6f, mean %.6f, sixes %d", pi, sum / draws, dice[6]))
