-- UTF-8: utf8.char, codepoint, codes, len, offset and charpattern over a text in several scripts,
-- with a decoder by bit operators to compare with. The size is the number of rounds over about 60
-- kilobytes; lengths, code points and a round trip through UTF-16 are checked.
local n <const> = math.tointeger(tonumber((...) or 36))

local samples <const> = {
  "moonlight", "\u{43B}\u{443}\u{43D}\u{430}", "\u{6708}\u{306E}\u{5149}", "\u{1F315}\u{1F680}",
  "cr\u{E8}me", "\u{3A3}\u{3B5}\u{3BB}\u{3AE}\u{3BD}\u{3B7}",
}
local pieces <const> = {}
local seed = 1
for i = 1, 6000 do
  seed = seed * 16807 % 2147483647
  pieces[i] = samples[seed % #samples + 1]
end
local text <const> = table.concat(pieces, " ")

local function decode(s)
  local points <const>, size <const> = {}, #s
  local count, at = 0, 1
  while at <= size do
    local b <const> = s:byte(at)
    local point, extra
    if b < 0x80 then
      point, extra = b, 0
    elseif b < 0xE0 then
      point, extra = b & 0x1F, 1
    elseif b < 0xF0 then
      point, extra = b & 0x0F, 2
    else
      point, extra = b & 0x07, 3
    end
    for k = 1, extra do point = point << 6 | s:byte(at + k) & 0x3F end
    count = count + 1
    points[count] = point
    at = at + extra + 1
  end
  return points
end

local function to_utf16(points)
  local units <const> = {}
  for _, point in ipairs(points) do
    if point >= 0x10000 then
      units[#units + 1] = 0xD800 | point - 0x10000 >> 10
      units[#units + 1] = 0xDC00 | point & 0x3FF
    else
      units[#units + 1] = point
    end
  end
  return units
end

local function from_utf16(units)
  local parts <const> = {}
  local i = 1
  while i <= #units do
    local unit <const> = units[i]
    if unit & 0xFC00 == 0xD800 then
      local pair <const> = (unit & 0x3FF) << 10 | units[i + 1] & 0x3FF
      parts[#parts + 1] = utf8.char(0x10000 + pair)
      i = i + 2
    else
      parts[#parts + 1] = utf8.char(unit)
      i = i + 1
    end
  end
  return table.concat(parts)
end

local checksum = 0
for round = 1, n do
  local points <const> = decode(text)
  local count <const> = utf8.len(text)
  if #points ~= count then error("utf8_text: wrong length") end

  local i = 0
  for position, point in utf8.codes(text) do
    i = i + 1
    if points[i] ~= point then error("utf8_text: wrong code point at " .. position) end
    checksum = (checksum * 31 ~ point) & 0xFFFFFFFF
  end

  local characters = 0
  for character in text:gmatch(utf8.charpattern) do
    characters = characters + 1
    if characters % 16 == 0 and utf8.codepoint(character) ~= points[characters] then
      error("utf8_text: wrong character " .. characters)
    end
  end
  if characters ~= count then error("utf8_text: wrong number of characters") end

  -- Steps through the text by offset.
  local at, steps = 1, 0
  while true do
    at = utf8.offset(text, 8, at)
    if not at or at > #text then break end
    steps = steps + 7
    if utf8.codepoint(text, at) ~= points[steps + 1] then error("utf8_text: wrong offset") end
  end
  if count - steps > 8 then error("utf8_text: stopped early") end

  if from_utf16(to_utf16(points)) ~= text then error("utf8_text: wrong round trip") end
  local cut <const> = utf8.offset(text, 100 * round)
  local broken <const> = text:sub(1, cut - 1) .. "\xFF" .. text:sub(cut)
  local length <const>, invalid <const> = utf8.len(broken)
  if length or invalid ~= cut then error("utf8_text: invalid byte accepted") end
  checksum = checksum + round & 0xFFFFFFFF
end
print(string.format("%d bytes, %d characters, checksum %d", #text, utf8.len(text), checksum))
