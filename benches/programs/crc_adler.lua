-- CRC-32 by table and Adler-32 over a string, with exclusive or done arithmetically four bits at a
-- time: modulo, division, table reads and string.byte. The size is the length in kilobytes; the
-- published check values are verified first, and that checking in pieces gives the same result.
local n = tonumber((...) or 2900)

local byte, floor = string.byte, math.floor

local NIBBLE = {}
for a = 0, 15 do
  for b = 0, 15 do
    local xor, bit = 0, 1
    for _ = 1, 4 do
      if floor(a / bit) % 2 ~= floor(b / bit) % 2 then xor = xor + bit end
      bit = bit * 2
    end
    NIBBLE[a * 16 + b] = xor
  end
end

local function xor(a, b)
  local result, place = 0, 1
  while a > 0 or b > 0 do
    local low_a, low_b = a % 16, b % 16
    result = result + NIBBLE[low_a * 16 + low_b] * place
    a, b, place = (a - low_a) / 16, (b - low_b) / 16, place * 16
  end
  return result
end

local CRC = {}
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do
    local low = c % 2
    c = (c - low) / 2
    if low == 1 then c = xor(c, 3988292384) end
  end
  CRC[i] = c
end

-- Continues from the checksum of what came before, 0 at first.
local function crc32(crc, s)
  crc = 4294967295 - crc
  for i = 1, #s do
    local low = crc % 256
    crc = xor((crc - low) / 256, CRC[xor(low, byte(s, i))])
  end
  return 4294967295 - crc
end

-- Continues from the checksum of what came before, 1 at first.
local function adler32(adler, s)
  local a = adler % 65536
  local b = (adler - a) / 65536
  for i = 1, #s do
    a = (a + byte(s, i)) % 65521
    b = (b + a) % 65521
  end
  return b * 65536 + a
end

if crc32(0, "123456789") ~= 3421780262 then error("crc_adler: wrong CRC") end
if adler32(1, "Wikipedia") ~= 300286872 then error("crc_adler: wrong Adler checksum") end

local chunk, seed = {}, 3
for i = 1, 1024 do
  seed = seed * 16807 % 2147483647
  chunk[i] = string.char(seed % 256)
end
chunk = table.concat(chunk)

local crc, adler = 0, 1
for _ = 1, n do
  crc, adler = crc32(crc, chunk), adler32(adler, chunk)
end
if n % 4 == 0 then
  local whole = 1
  for _ = 1, n / 4 do whole = adler32(whole, chunk .. chunk .. chunk .. chunk) end
  if whole ~= adler then error("crc_adler: pieces differ") end
end
print(string.format("crc %.0f, adler %.0f", crc, adler))
