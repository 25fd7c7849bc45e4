-- Division and modulo by constants, of numbers of any size and sign.
local low, high = math.mininteger, math.maxinteger
local numbers = {0, 1, 2, 3, 6, 7, 9, 10, 11, 12, 255, 256, 1000, 65520, 65521, 1 << 31, (1 << 32) - 1, 1 << 32,
  4294967087, 1 << 53, (1 << 62) - 1, 1 << 62, high - 1, high, low, low + 1, low + 2, low // 3, high // 3, high // 7 * 7}
for i = 1, #numbers do numbers[#numbers + 1] = -numbers[i] end
local seed = 17
for i = 1, 60 do
  seed = seed * 6364136223846793005 + 1442695040888963407
  numbers[#numbers + 1] = seed >> (i % 23) numbers[#numbers + 1] = seed // (1 << i % 31)
end

local divisors = {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 25, 28, 60, 64, 100, 125, 127, 255, 256, 641, 961, 1000, 4096,
  30269, 65521, 65536, 99999, 1000003, 10000000, 16777213, 1 << 30, 2147483647, 1 << 31, 4294967087, 1 << 32,
  6700417, 1 << 40, (1 << 53) + 1, high // 2, (1 << 62) - 1, 1 << 62, (1 << 62) + 1, high - 1, high}
for i = 1, #divisors do divisors[#divisors + 1] = -divisors[i] end
divisors[#divisors + 1] = low

-- The constants are in the code. Every quotient is checked by what it means.
local template = [[
local numbers, d = ...
local sum = 0
for i = 1, #numbers do
  local x = numbers[i]
  local q, r = x // D, x % D
  if q * D + r ~= x or r < 0 and D > 0 or r > 0 and D < 0 or D > 0 and r >= D or D < 0 and r <= D or q ~= x // d or r ~= x % d then
    error(x .. " by " .. D .. " is " .. q .. " and " .. r)
  end
  sum = sum * 31 + q ~ r
  if r == 0 then sum = sum + (x % D) // D end
end
return sum
]]
local total = 0
for _, d in ipairs(divisors) do
  local text = d == low and "(-9223372036854775807 - 1)" or "(" .. d .. ")"
  local sum = assert(load((template:gsub("D", text))))(numbers, d)
  total = total * 7 + sum
  print(d, sum)
end
print(total)

-- Of numbers whose range is known.
local function small(n)
  local s = 0
  for i = 1, n do
    local byte = i & 255
    s = s + byte % 10 + byte // 10 * 3 + (i & 0xffff) % 241 + i % 7 - i // 5 + (i >> 40) % 3
    s = s % 1000003
  end
  return s
end
print(small(300), small(5000))
local text = string.rep("perilune", 40)
local function bytes(t)
  local a, b = 1, 0
  for i = 1, #t do
    a = (a + t:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end
print(bytes(text), bytes(text .. "x"))

-- Floats: small and large, with and without fractions, zeros of both signs, infinities.
local floats = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 7.0, 9.999999999999998, 10.0, 15.999, 16.0, 255.0, 1e5, 65521.0, 1e7, 123456789.125,
  2.0 ^ 31, 2.0 ^ 32 - 1, 2.0 ^ 51 - 0.5, 2.0 ^ 52 - 1, 2.0 ^ 52, 2.0 ^ 53, 1e16, 1e300, 1 / 0, 5e-324, 2.0 ^ -1022, 1e-300, 1 / 3,
  9.0 - 2.0 ^ -50, 3e15 / 7, 0.1 * 3, 6.999999999999999, 20999999999999.996}
for i = 1, #floats do floats[#floats + 1] = -floats[i] end
for i = 1, 40 do
  seed = seed * 6364136223846793005 + 1442695040888963407
  floats[#floats + 1] = (seed >> 12) / (1 << i)
  floats[#floats + 1] = -(seed >> i) / 1024
end
local float_template = [[
local floats = ...
local hash, zeros = 0, 0
for i = 1, #floats do
  local r = floats[i] % D
  if r == 0 then zeros = zeros * 3 + (1 / r > 0 and 1 or 2) end
  local bits = r ~= r and 77 or string.unpack("i8", string.pack("d", r))
  hash = hash * 31 + bits ~ zeros
end
return hash
]]
local by = {1.0, 2.0, 3.0, 7.0, 10.0, 16.0, 256.0, 65521.0, 1e7, 2147483647.0, 2.0 ^ 40, 2.0 ^ 51, 2.0 ^ 52 - 1, 2.0 ^ 52, 2.0 ^ 53, 1e300,
  0.5, 0.1, 1.5, 1e-3, 5e-324, 1 / 0}
for i = 1, #by do by[#by + 1] = -by[i] end
for _, d in ipairs(by) do
  local text = d == 1 / 0 and "math.huge" or d == -1 / 0 and "(-math.huge)" or ("(%.17g)"):format(d)
  if math.type(d) == "float" and not text:find("[%.en]") then text = text:gsub("%)", ".0)") end
  print(d, (assert(load((float_template:gsub("D", text))))(floats)))
end
local function by_variable(floats, d)
  local hash = 0
  for i = 1, #floats do
    local r = floats[i] % d
    local bits = r ~= r and 77 or string.unpack("i8", string.pack("d", r))
    hash = hash * 31 + bits
  end
  return hash
end
for k = 1, 3 do
  for _, d in ipairs(by) do print(d, by_variable(floats, d)) end
end
print(by_variable(floats, 0.0), by_variable(floats, 0 / 0))
