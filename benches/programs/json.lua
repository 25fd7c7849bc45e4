-- JSON: builds a document, serializes it, parses the text back, compares the two trees, and repeats. Exercises:
-- recursive descent over a string with string.byte/find/sub/gsub and captures, string building with table.concat,
-- a dispatch table of parser functions, recursion over mixed tables, sorted keys, deep comparison.

local rounds = tonumber((...) or 45)

local null = setmetatable({}, { __tostring = function() return "null" end })

-- Serializer ---------------------------------------------------------------------------------------------------------

local escapes = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
}

local function quote(s)
  return '"' .. s:gsub('[%c"\\]', function(c)
    return escapes[c] or string.format("\\u%04x", c:byte())
  end) .. '"'
end

local function format_number(x)
  if x == math.floor(x) and x > -1e15 and x < 1e15 then return string.format("%d", x) end
  return string.format("%.14g", x)
end

local serialize

local function serialize_array(t, out)
  out[#out + 1] = "["
  for i, v in ipairs(t) do
    if i > 1 then out[#out + 1] = "," end
    serialize(v, out)
  end
  out[#out + 1] = "]"
end

local function serialize_object(t, out)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  out[#out + 1] = "{"
  for i, k in ipairs(keys) do
    if i > 1 then out[#out + 1] = "," end
    out[#out + 1] = quote(k)
    out[#out + 1] = ":"
    serialize(t[k], out)
  end
  out[#out + 1] = "}"
end

function serialize(v, out)
  local kind = type(v)
  if v == null then
    out[#out + 1] = "null"
  elseif kind == "table" then
    if v[1] ~= nil then serialize_array(v, out) else serialize_object(v, out) end
  elseif kind == "string" then
    out[#out + 1] = quote(v)
  elseif kind == "number" then
    out[#out + 1] = format_number(v)
  else
    out[#out + 1] = tostring(v)
  end
end

local function encode(v)
  local out = {}
  serialize(v, out)
  return table.concat(out)
end

-- Parser -------------------------------------------------------------------------------------------------------------

local function fail(text, pos, what)
  error(string.format("json: %s at byte %d near %q", what, pos, text:sub(pos, pos + 10)))
end

local function skip(text, pos)
  return text:find("[^ \t\r\n]", pos) or #text + 1
end

local unescapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function parse_string(text, pos)
  local stop = text:find('["\\]', pos + 1)
  if not stop then fail(text, pos, "unfinished string") end
  if text:byte(stop) == 34 then return text:sub(pos + 1, stop - 1), stop + 1 end
  local parts = { text:sub(pos + 1, stop - 1) }
  while text:byte(stop) == 92 do
    local c = text:sub(stop + 1, stop + 1)
    local resume = stop + 2
    if c == "u" then
      parts[#parts + 1] = string.char(tonumber(text:sub(stop + 2, stop + 5), 16))
      resume = stop + 6
    else
      parts[#parts + 1] = unescapes[c] or c
    end
    stop = text:find('["\\]', resume)
    if not stop then fail(text, pos, "unfinished string") end
    parts[#parts + 1] = text:sub(resume, stop - 1)
  end
  return table.concat(parts), stop + 1
end

local function parse_number(text, pos)
  local digits = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", pos)
  local value = digits and tonumber(digits)
  if not value then fail(text, pos, "bad number") end
  return value, pos + #digits
end

local parsers = {}

local function parse(text, pos)
  pos = skip(text, pos)
  local parser = parsers[text:byte(pos)]
  if not parser then fail(text, pos, "unexpected character") end
  return parser(text, pos)
end

local function literal(word, value)
  return function(text, pos)
    if text:sub(pos, pos + #word - 1) ~= word then fail(text, pos, "bad literal") end
    return value, pos + #word
  end
end

local function parse_array(text, pos)
  local result, count = {}, 0
  pos = skip(text, pos + 1)
  if text:byte(pos) == 93 then return result, pos + 1 end
  while true do
    count = count + 1
    result[count], pos = parse(text, pos)
    pos = skip(text, pos)
    local c = text:byte(pos)
    if c == 93 then return result, pos + 1 end
    if c ~= 44 then fail(text, pos, "',' or ']' expected") end
    pos = pos + 1
  end
end

local function parse_object(text, pos)
  local result = {}
  pos = skip(text, pos + 1)
  if text:byte(pos) == 125 then return result, pos + 1 end
  while true do
    local key
    pos = skip(text, pos)
    if text:byte(pos) ~= 34 then fail(text, pos, "key expected") end
    key, pos = parse_string(text, pos)
    pos = skip(text, pos)
    if text:byte(pos) ~= 58 then fail(text, pos, "':' expected") end
    result[key], pos = parse(text, pos + 1)
    pos = skip(text, pos)
    local c = text:byte(pos)
    if c == 125 then return result, pos + 1 end
    if c ~= 44 then fail(text, pos, "',' or '}' expected") end
    pos = pos + 1
  end
end

parsers[34] = parse_string
parsers[45] = parse_number
for c = 48, 57 do parsers[c] = parse_number end
parsers[91] = parse_array
parsers[123] = parse_object
parsers[116] = literal("true", true)
parsers[102] = literal("false", false)
parsers[110] = literal("null", null)

local function decode(text)
  local value, pos = parse(text, 1)
  if skip(text, pos) <= #text then fail(text, pos, "trailing text") end
  return value
end

-- Driver -------------------------------------------------------------------------------------------------------------

local seed = 42
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit
end

local words = { "alpha", "beta", "gamma", "delta\n", "say \"hi\"", "tab\there", "back\\slash", "bell\7", "plain text", "" }

local function make_record(id)
  local tags = {}
  for i = 1, 1 + random(5) do tags[i] = words[1 + random(#words)] end
  return {
    id = id,
    name = words[1 + random(#words)] .. id,
    active = random(2) == 0,
    parent = random(3) == 0 and null or random(1000),
    tags = tags,
    position = { x = random(2000) / 8 - 100, y = random(2000) / 16, z = -random(100) },
    history = { { at = random(100000), ok = true }, { at = random(100000), ok = false } },
    ratio = random(1000) / 1024,
    big = random(1000) * 1e17,
  }
end

local function equal(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for k, v in pairs(a) do
    if not equal(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

local bytes, checksum = 0, 0
for round = 1, rounds do
  local document = { version = round, records = {} }
  for i = 1, 200 do document.records[i] = make_record(i) end
  local text = encode(document)
  local copy = decode(text)
  if not equal(document, copy) then error("json: the parsed document differs") end
  local again = encode(copy)
  if again ~= text then error("json: the second serialization differs") end
  bytes = bytes + #text
  for i = 1, #text, 97 do checksum = (checksum * 31 + text:byte(i)) % 1000003 end
end
local ok, message = pcall(decode, '{"a": [1, 2, }')
if ok or not message:find("unexpected character at byte 14", 1, true) then error("json: bad text accepted") end
if rounds == 45 and (bytes ~= 2099285 or checksum ~= 7403) then error("json: wrong checksum " .. checksum) end
print(string.format("json: %d rounds, %d bytes, checksum %d", rounds, bytes, checksum))
