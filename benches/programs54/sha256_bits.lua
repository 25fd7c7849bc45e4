-- SHA-256 with 5.4's bit operators: shifts, rotations within 32 bits, masks, string.unpack for the
-- message and string.pack for the padding. The size is the length of the message in kilobytes; the
-- standard's test vectors are checked first.
local n <const> = math.tointeger(tonumber((...) or 1500))

local MASK <const> = 0xFFFFFFFF

-- The constants are the leading fraction bits of the square and cube roots of the first primes,
-- found by integer bisection.
local function root_fraction(x, exponent)
  local low, high = 0.0, x + 0.0
  for _ = 1, 100 do
    local middle <const> = (low + high) / 2
    if middle ^ exponent <= x then low = middle else high = middle end
  end
  return math.floor(low * 2.0 ^ 32) & MASK
end

local initial <const>, K <const> = {}, {}
do
  local candidate = 2
  while #K < 64 do
    for divisor = 2, candidate - 1 do
      if candidate % divisor == 0 then goto composite end
    end
    K[#K + 1] = root_fraction(candidate, 3)
    if #initial < 8 then initial[#initial + 1] = root_fraction(candidate, 2) end
    ::composite::
    candidate = candidate + 1
  end
end

local function rotate(x, by)
  return (x >> by) | (x << (32 - by)) & MASK
end

local function sha256(message)
  local zeros <const> = (55 - #message) % 64
  message = message .. "\x80" .. string.rep("\0", zeros) .. string.pack(">I8", #message * 8)
  local h0, h1, h2, h3, h4, h5, h6, h7 = table.unpack(initial)
  local w = {}
  for at = 1, #message, 64 do
    w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14],
      w[15], w[16] = string.unpack(">I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4", message, at)
    for i = 17, 64 do
      local x <const>, y <const> = w[i - 15], w[i - 2]
      local s0 <const> = rotate(x, 7) ~ rotate(x, 18) ~ (x >> 3)
      local s1 <const> = rotate(y, 17) ~ rotate(y, 19) ~ (y >> 10)
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) & MASK
    end
    local a, b, c, d, e, f, g, h = h0, h1, h2, h3, h4, h5, h6, h7
    for i = 1, 64 do
      local s1 <const> = rotate(e, 6) ~ rotate(e, 11) ~ rotate(e, 25)
      local t1 <const> = h + s1 + ((e & f) ~ (~e & g)) + K[i] + w[i]
      local s0 <const> = rotate(a, 2) ~ rotate(a, 13) ~ rotate(a, 22)
      local t2 <const> = s0 + ((a & b) ~ (a & c) ~ (b & c))
      h, g, f, e, d, c, b, a = g, f, e, (d + t1) & MASK, c, b, a, (t1 + t2) & MASK
    end
    h0, h1, h2, h3 = (h0 + a) & MASK, (h1 + b) & MASK, (h2 + c) & MASK, (h3 + d) & MASK
    h4, h5, h6, h7 = (h4 + e) & MASK, (h5 + f) & MASK, (h6 + g) & MASK, (h7 + h) & MASK
  end
  return string.format("%08x%08x%08x%08x%08x%08x%08x%08x", h0, h1, h2, h3, h4, h5, h6, h7)
end

for message, digest in pairs({
  [""] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  ["abc"] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  ["abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"] =
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
}) do
  if sha256(message) ~= digest then error("sha256_bits: wrong digest of '" .. message .. "'") end
end

local digest <const> = sha256(string.rep("perilune", n * 128))
if n == 1500 and digest ~= "5167aec40c0fbc1880e0d3ee6b30507c0f8f9fbed8cbebb0d988a1452cc0014e" then
  error("sha256_bits: wrong digest " .. digest)
end
print(string.format("%d KB: %s", n, digest))
