-- Binary serialisation: string.pack and string.unpack with integers of many sizes, both byte
-- orders, floats, length-prefixed and zero-terminated strings, and a recursive tagged format with
-- variable-length integers that uses math.type. The size is the number of records in thousands;
-- everything is read back and compared.
local n <const> = math.tointeger(tonumber((...) or 40))

local pack <const>, unpack <const>, packsize <const> = string.pack, string.unpack, string.packsize

local HEADER <const> = "<I2 i4 I8 d"
if packsize(HEADER) ~= 22 then error("binary_pack: wrong header size") end

-- Zigzag and seven bits a byte.
local function write_integer(out, value)
  value = (value << 1) ~ (value >> 63 == 1 and -1 or 0)
  while value & ~0x7F ~= 0 do
    out[#out + 1] = string.char(value & 0x7F | 0x80)
    value = value >> 7
  end
  out[#out + 1] = string.char(value)
end

local function read_integer(s, at)
  local value, shift = 0, 0
  while true do
    local b <const> = s:byte(at)
    at = at + 1
    value = value | (b & 0x7F) << shift
    if b < 0x80 then break end
    shift = shift + 7
  end
  return (value >> 1) ~ -(value & 1), at
end

local function write(out, value)
  local kind <const> = math.type(value) or type(value)
  if kind == "integer" then
    out[#out + 1] = "i"
    write_integer(out, value)
  elseif kind == "float" then
    out[#out + 1] = pack("<c1d", "f", value)
  elseif kind == "string" then
    out[#out + 1] = pack("<c1s2", "s", value)
  elseif kind == "boolean" then
    out[#out + 1] = value and "t" or "n"
  else
    out[#out + 1] = "l"
    write_integer(out, #value)
    for _, element in ipairs(value) do write(out, element) end
  end
end

local function read(s, at)
  local tag <const> = s:sub(at, at)
  at = at + 1
  if tag == "i" then
    return read_integer(s, at)
  elseif tag == "f" then
    return unpack("<d", s, at)
  elseif tag == "s" then
    return unpack("<s2", s, at)
  elseif tag == "t" or tag == "n" then
    return tag == "t", at
  elseif tag ~= "l" then
    error("binary_pack: unknown tag " .. tag)
  end
  local list <const> = {}
  local count
  count, at = read_integer(s, at)
  for i = 1, count do list[i], at = read(s, at) end
  return list, at
end

local function equal(a, b)
  if type(a) ~= "table" then return a == b and math.type(a) == math.type(b) end
  if #a ~= #b then return false end
  for i = 1, #a do
    if not equal(a[i], b[i]) then return false end
  end
  return true
end

local seed = 0x123456789ABCDEF
local function random()
  seed = seed * 6364136223846793005 + 1442695040888963407
  return seed ~ (seed >> 29)
end

local bytes, checksum = 0, 0
for i = 1, n * 1000 do
  local wide <const>, narrow <const> = random(), random() >> 33
  local header <const> = pack(HEADER, i & 0xFFFF, -i, wide, i / 8)
  local a <const>, b <const>, c <const>, d <const>, stop <const> = unpack(HEADER, header)
  if a ~= i & 0xFFFF or b ~= -i or c ~= wide or d ~= i / 8 or stop ~= 23 then
    error("binary_pack: wrong header " .. i)
  end

  local mixed <const> = pack(">I3 !4 i4 z s1 <j", i & 0xFFFFFF, narrow, "name", "value", wide)
  local e <const>, f <const>, g <const>, h <const>, j <const> =
    unpack(">I3 !4 i4 z s1 <j", mixed)
  if e ~= i & 0xFFFFFF or f ~= narrow or g ~= "name" or h ~= "value" or j ~= wide then
    error("binary_pack: wrong mixed record " .. i)
  end

  local value <const> = { i, wide, i / 4, "key" .. i, i % 2 == 0, { narrow, { -narrow }, 1e300 } }
  local out <const> = {}
  write(out, value)
  local stream <const> = table.concat(out)
  local copy <const>, at <const> = read(stream, 1)
  if at ~= #stream + 1 or not equal(value, copy) then error("binary_pack: wrong value " .. i) end
  bytes = bytes + #header + #mixed + #stream
  checksum = checksum * 31 + stream:byte(-1) + mixed:byte(7) & 0xFFFFFFFF
end
print(string.format("%d records, %d bytes, checksum %d", n * 1000, bytes, checksum))
