-- The Lucas-Lehmer test of Mersenne numbers with limbs of 28 bits held in 64-bit integers: squaring
-- with delayed carries, masks and shifts, integer for loops with computed bounds. The size is the
-- largest exponent tried; the exponents of Mersenne primes are known.
local n <const> = math.tointeger(tonumber((...) or 900))

local BITS <const> = 28
local MASK <const> = (1 << BITS) - 1

-- Squares the number of the given limbs (least significant first) and reduces it modulo 2^p - 1,
-- subtracting two as well: one step of the test. Products of limbs take 56 bits, which leaves room
-- for summing up 128 of them.
local function step(a, p, product)
  local limbs <const> = #a
  for i = 1, 2 * limbs + 1 do product[i] = 0 end
  for i = 1, limbs do
    local ai <const> = a[i]
    product[2 * i - 1] = product[2 * i - 1] + ai * ai
    local twice <const> = ai << 1
    for j = i + 1, limbs do
      local at <const> = i + j - 1
      product[at] = product[at] + twice * a[j]
    end
  end
  local carry = 0
  for i = 1, 2 * limbs + 1 do
    local value <const> = product[i] + carry
    product[i] = value & MASK
    carry = value >> BITS
  end

  -- Adds the bits from p on to those below.
  local skip <const>, shift <const> = p // BITS, p % BITS
  local top <const> = (1 << shift) - 1
  carry = -2
  for i = 1, limbs do
    local low = product[i]
    if i == limbs then low = low & top end
    local from <const> = i + skip
    local high = product[from] >> shift
    if from < 2 * limbs + 1 then high = high | (product[from + 1] << (BITS - shift)) & MASK end
    local value <const> = low + high + carry
    a[i] = value & MASK
    carry = value >> BITS
    -- The shift is logical; a borrow keeps its sign.
    if value < 0 then carry = -1 end
  end
  -- What exceeds p bits is worth as much at the bottom; a final borrow means minus one or two.
  if carry < 0 then
    a[limbs] = a[limbs] & top
    carry = -1
  else
    carry = a[limbs] >> shift
    a[limbs] = a[limbs] & top
  end
  local i = 1
  while carry ~= 0 and i <= limbs do
    local value <const> = a[i] + carry
    a[i] = value & MASK
    carry = value < 0 and -1 or value >> BITS
    i = i + 1
  end
end

local function is_mersenne_prime(p)
  local limbs <const> = p // BITS + 1
  local a <const>, product <const> = { 4 }, {}
  for i = 2, limbs do a[i] = 0 end
  for _ = 1, p - 2 do step(a, p, product) end
  -- Zero may also be represented as 2^p - 1.
  local zero, ones = true, true
  for i = 1, limbs do
    if a[i] ~= 0 then zero = false end
    if a[i] ~= (i == limbs and (1 << p % BITS) - 1 or MASK) then ones = false end
  end
  return zero or ones
end

local function is_prime(k)
  for divisor = 2, k - 1 do
    if divisor * divisor > k then break end
    if k % divisor == 0 then return false end
  end
  return true
end

local known <const> = { 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203 }
local found <const> = {}
for p = 5, n, 2 do
  if is_prime(p) and is_mersenne_prime(p) then found[#found + 1] = p end
end
for i, p in ipairs(known) do
  local expected <const> = p <= n and p or nil
  if found[i] ~= expected then
    error(string.format("lucas_lehmer: %s instead of %s", found[i], expected))
  end
end
print(table.concat(found, " "))
