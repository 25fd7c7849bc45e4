-- Conversions between numbers and strings: string.format with many specifiers, tostring, tonumber
-- in several bases, and concatenation of numbers. The size is the number of thousands of values;
-- every text is read back and compared.
local n = tonumber((...) or 250)

local format, tostring, tonumber = string.format, tostring, tonumber

local seed = 2024
local function random()
  seed = seed * 16807 % 2147483647
  return seed
end

local length, checksum = 0, 0
for i = 1, n * 1000 do
  local integer = random()
  local fraction = integer / 1024 + 0.0001

  local decimal = tostring(integer)
  if tonumber(decimal) ~= integer then error("formatting: tostring of " .. decimal) end
  local hexadecimal = format("%x", integer)
  if tonumber(hexadecimal, 16) ~= integer then error("formatting: %x of " .. decimal) end
  local exact = format("%.17g", fraction)
  if tonumber(exact) ~= fraction then error("formatting: %.17g of " .. exact) end
  local short = tostring(fraction)
  if math.abs(tonumber(short) - fraction) > 1e-6 then error("formatting: tostring " .. short) end
  local fixed = format("%10.3f|%-12d|%05d|%s", fraction, integer, i % 100000, decimal)
  if #fixed < 10 + 12 + 5 + 3 + #decimal then error("formatting: too short: " .. fixed) end
  local scientific = format("%.5e", fraction)
  if math.abs(tonumber(scientific) / fraction - 1) > 1e-5 then
    error("formatting: %e of " .. exact)
  end
  local joined = i .. "/" .. integer .. "/" .. fraction
  if joined ~= tostring(i) .. "/" .. decimal .. "/" .. short then
    error("formatting: wrong concatenation " .. joined)
  end
  length = length + #exact + #fixed + #joined + #hexadecimal
  checksum = (checksum * 31 + fixed:byte(7) + exact:byte(-1) + joined:byte(-1)) % 1000003
end
if n == 250 and checksum ~= 462733 then error("formatting: checksum " .. checksum) end
print(format("%d values, %d bytes, checksum %d", n * 1000, length, checksum))
