-- Arbitrary-precision arithmetic with limbs of seven decimal digits: n decimals of pi by two
-- arctangent formulas that must agree, n factorial, and its schoolbook square. Long division and
-- multiplication loops over arrays of integers, string.format and table.concat for the output.
local n = tonumber((...) or 6500)

local BASE, DIGITS = 10000000, 7
local floor = math.floor

-- Fixed-point numbers: the first limb is the integral part, the others are the fraction.
local limbs = floor((n + DIGITS - 1) / DIGITS) + 3

local function divide(out, a, divisor, from)
  local rest = 0
  for i = from, limbs do
    local dividend = rest * BASE + a[i]
    rest = dividend % divisor
    out[i] = (dividend - rest) / divisor
  end
end

-- Adds factor * arctan(1 / x) to the sum.
local function add_arctan(sum, factor, x)
  local power, term = {}, {}
  for i = 1, limbs do power[i], term[i] = 0, 0 end
  power[1] = math.abs(factor)
  divide(power, power, x, 1)
  local from, k, sign = 1, 1, factor > 0 and 1 or -1
  while from <= limbs do
    divide(term, power, k, from)
    for i = from, limbs do sum[i] = sum[i] + sign * term[i] end
    divide(power, power, x * x, from)
    while from <= limbs and power[from] == 0 do from = from + 1 end
    k, sign = k + 2, -sign
    -- Limbs are normalized from time to time only; they stay far below 2^53 in between.
    if k % 64 == 1 or from > limbs then
      local carry = 0
      for i = limbs, 2, -1 do
        local value = sum[i] + carry
        local low = value % BASE
        sum[i], carry = low, (value - low) / BASE
      end
      sum[1] = sum[1] + carry
    end
  end
end

local function pi_digits(terms)
  local sum = {}
  for i = 1, limbs do sum[i] = 0 end
  for _, term in ipairs(terms) do add_arctan(sum, term[1], term[2]) end
  local text = {}
  for i = 2, limbs do text[i - 1] = string.format("%07d", sum[i]) end
  return string.format("%d", sum[1]) .. "." .. table.concat(text):sub(1, n)
end

-- Natural numbers: the least significant limb first.
local function factorial(k)
  local a = { 1 }
  for factor = 2, k do
    local carry = 0
    for i = 1, #a do
      local value = a[i] * factor + carry
      local low = value % BASE
      a[i], carry = low, (value - low) / BASE
    end
    while carry > 0 do
      local low = carry % BASE
      a[#a + 1], carry = low, (carry - low) / BASE
    end
  end
  return a
end

local function multiply(a, b)
  local out = {}
  for i = 1, #a + #b do out[i] = 0 end
  for i = 1, #a do
    local factor, carry = a[i], 0
    for j = 1, #b do
      local value = out[i + j - 1] + factor * b[j] + carry
      local low = value % BASE
      out[i + j - 1], carry = low, (value - low) / BASE
    end
    out[i + #b] = carry
  end
  return out
end

-- The residue modulo a small number, to check products with.
local function residue(a, modulus)
  local rest = 0
  for i = #a, 1, -1 do rest = (rest * BASE + a[i]) % modulus end
  return rest
end

local function digit_sum(a)
  local sum = 0
  for i = 1, #a do
    local limb = a[i]
    while limb > 0 do
      local digit = limb % 10
      sum, limb = sum + digit, (limb - digit) / 10
    end
  end
  return sum
end

local machin = pi_digits({ { 16, 5 }, { -4, 239 } })
local stormer = pi_digits({ { 24, 8 }, { 8, 57 }, { 4, 239 } })
if machin ~= stormer then error("bignum: the formulas for pi disagree") end
if n >= 1000 and machin:sub(-n + 990, -n + 999) ~= "2164201989" then
  error("bignum: wrong digits of pi")
end

local big = factorial(n)
local square = multiply(big, big)
local modulus = 99999989
if residue(square, modulus) ~= residue(big, modulus) * residue(big, modulus) % modulus then
  error("bignum: wrong square")
end
if n == 1000 and digit_sum(big) ~= 10539 then error("bignum: wrong factorial") end
print(string.format("pi ends in %s, digit sum of the factorial %d, of its square %d",
  machin:sub(-10), digit_sum(big), digit_sum(square)))
