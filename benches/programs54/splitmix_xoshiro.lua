-- 64-bit pseudo-random generators, splitmix64 seeding xoshiro256** and xorshift64*: wrapping
-- integer multiplication and addition, shifts, rotations and exclusive or. The size is the number
-- of draws in thousands; splitmix64's published first values for seed 1234567 are checked, and the
-- balance of the bits for every size.
local n <const> = math.tointeger(tonumber((...) or 4000))

local function splitmix64(seed)
  return function()
    seed = seed + 0x9E3779B97F4A7C15
    local z = seed
    z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ~ (z >> 27)) * 0x94D049BB133111EB
    return z ~ (z >> 31)
  end
end

local function rotate_left(x, by)
  return (x << by) | (x >> (64 - by))
end

local function xoshiro256(seed)
  local next_seed <const> = splitmix64(seed)
  local s0, s1, s2, s3 = next_seed(), next_seed(), next_seed(), next_seed()
  return function()
    local result <const> = rotate_left(s1 * 5, 7) * 9
    local t <const> = s1 << 17
    s2 = s2 ~ s0
    s3 = s3 ~ s1
    s1 = s1 ~ s2
    s0 = s0 ~ s3
    s2 = s2 ~ t
    s3 = rotate_left(s3, 45)
    return result
  end
end

local function xorshift64star(x)
  return function()
    x = x ~ (x >> 12)
    x = x ~ (x << 25)
    x = x ~ (x >> 27)
    return x * 0x2545F4914F6CDD1D
  end
end

local function bit_count(x)
  x = x - ((x >> 1) & 0x5555555555555555)
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
  x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F
  return (x * 0x0101010101010101) >> 56
end

local reference <const> = splitmix64(1234567)
for _, expected in ipairs({
  0x599ED017FB08FC85, 0x2C73F08458540FA5, 0x883EBCE5A3F27C77, 0x3FBEF740E9177B3F,
}) do
  local value <const> = reference()
  if value ~= expected then error(string.format("splitmix64: wrong value %x", value)) end
end

local a <const>, b <const> = xoshiro256(42), xorshift64star(88172645463325252)
local fold, ones, below = 0, 0, 0
for i = 1, n * 1000 do
  local x <const>, y <const> = a(), b()
  fold = rotate_left(fold, 1) ~ x ~ y
  if math.ult(x, y) then below = below + 1 end
  if i % 8 == 0 then ones = ones + bit_count(x) end
end
local draws <const> = n * 1000
if draws >= 100000 then
  if math.abs(ones / (draws // 8) - 32) > 0.2 then error("splitmix_xoshiro: unbalanced bits") end
  if math.abs(below / draws - 0.5) > 0.01 then error("splitmix_xoshiro: unbalanced order") end
end
print(string.format("%d draws, fold %016x, %d below", draws, fold, below))
