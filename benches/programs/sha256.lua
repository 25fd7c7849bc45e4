-- SHA-256 in plain arithmetic, as portable Lua without bit operators has to do it: words are split
-- into bytes whose exclusive or and conjunction are looked up in tables. Table reads, modulo and
-- division, string.byte. The size is the length of the message in kilobytes; the standard's test
-- vectors are checked first.
local n = tonumber((...) or 410)

local byte, char, floor = string.byte, string.char, math.floor
local format, rep = string.format, string.rep

local XOR, AND = {}, {}
for a = 0, 255 do
  for b = 0, 255 do
    local xor, conjunction, bit = 0, 0, 1
    for _ = 1, 8 do
      local p, q = floor(a / bit) % 2, floor(b / bit) % 2
      if p ~= q then xor = xor + bit end
      if p + q == 2 then conjunction = conjunction + bit end
      bit = bit * 2
    end
    XOR[a * 256 + b], AND[a * 256 + b] = xor, conjunction
  end
end

-- Combines two words byte by byte through one of the tables.
local function combine(op, a, b)
  local a0, b0 = a % 256, b % 256
  a, b = (a - a0) / 256, (b - b0) / 256
  local a1, b1 = a % 256, b % 256
  a, b = (a - a1) / 256, (b - b1) / 256
  local a2, b2 = a % 256, b % 256
  a, b = (a - a2) / 256, (b - b2) / 256
  return op[a0 * 256 + b0] + op[a1 * 256 + b1] * 256 + op[a2 * 256 + b2] * 65536
    + op[a * 256 + b] * 16777216
end

local POWER = { [0] = 1 }
for i = 1, 32 do POWER[i] = POWER[i - 1] * 2 end

local function rotate(word, by)
  local low = word % POWER[by]
  return (word - low) / POWER[by] + low * POWER[32 - by]
end

local function shift(word, by)
  return (word - word % POWER[by]) / POWER[by]
end

local function xor3(a, b, c)
  return combine(XOR, combine(XOR, a, b), c)
end

-- The constants are the leading fraction bits of the square and cube roots of the first primes.
local initial, constants = {}, {}
local candidate = 2
while #constants < 64 do
  local prime = true
  for divisor = 2, candidate - 1 do
    if candidate % divisor == 0 then prime = false end
  end
  if prime then
    local cube = candidate ^ (1 / 3)
    cube = cube - (cube * cube * cube - candidate) / (3 * cube * cube)
    constants[#constants + 1] = floor((cube - floor(cube)) * 4294967296)
    local square = math.sqrt(candidate)
    if #initial < 8 then initial[#initial + 1] = floor((square - floor(square)) * 4294967296) end
  end
  candidate = candidate + 1
end

local function block(state, message, at)
  local w = {}
  for i = 1, 16 do
    local b1, b2, b3, b4 = byte(message, at + 4 * i - 4, at + 4 * i - 1)
    w[i] = ((b1 * 256 + b2) * 256 + b3) * 256 + b4
  end
  for i = 17, 64 do
    local x, y = w[i - 15], w[i - 2]
    local s0 = xor3(rotate(x, 7), rotate(x, 18), shift(x, 3))
    local s1 = xor3(rotate(y, 17), rotate(y, 19), shift(y, 10))
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) % 4294967296
  end
  local a, b, c, d, e, f, g, h =
    state[1], state[2], state[3], state[4], state[5], state[6], state[7], state[8]
  for i = 1, 64 do
    local s1 = xor3(rotate(e, 6), rotate(e, 11), rotate(e, 25))
    local choice = combine(XOR, g, combine(AND, e, combine(XOR, f, g)))
    local t1 = h + s1 + choice + constants[i] + w[i]
    local s0 = xor3(rotate(a, 2), rotate(a, 13), rotate(a, 22))
    local majority = combine(XOR, combine(AND, a, combine(XOR, b, c)), combine(AND, b, c))
    h, g, f, e, d, c, b, a = g, f, e, (d + t1) % 4294967296, c, b, a,
      (t1 + s0 + majority) % 4294967296
  end
  local working = { a, b, c, d, e, f, g, h }
  for i = 1, 8 do state[i] = (state[i] + working[i]) % 4294967296 end
end

local function sha256(message)
  local bits = #message * 8
  local tail = {}
  for i = 8, 1, -1 do
    tail[i] = char(floor(bits % 256))
    bits = floor(bits / 256)
  end
  message = message .. "\128" .. rep("\0", (55 - #message) % 64) .. table.concat(tail)
  local state = {}
  for i = 1, 8 do state[i] = initial[i] end
  for at = 1, #message, 64 do block(state, message, at) end
  local hex = {}
  for i = 1, 8 do
    local low = state[i] % 65536
    hex[i] = format("%04x%04x", floor((state[i] - low) / 65536), floor(low))
  end
  return table.concat(hex)
end

local vectors = {
  [""] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  ["abc"] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  ["abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"] =
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
}
for message, digest in pairs(vectors) do
  if sha256(message) ~= digest then error("sha256: wrong digest of '" .. message .. "'") end
end

local digest = sha256(rep("perilune", n * 128))
if n == 410 and digest ~= "69e9de66897b236c45ae3c290380166ecd22f6655c10a510717a2caf8f004f06" then
  error("sha256: wrong digest " .. digest)
end
print(format("%d KB: %s", n, digest))
