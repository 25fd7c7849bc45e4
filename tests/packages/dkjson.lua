local json = require "dkjson"
json.use_lpeg = nil
local state = { keyorder = { "name", "age", "tags", "nested" }, indent = true }
local value = { name = "Ünïcode \n\t\"q\" \\ / \0 \u{1F600}", age = 42, tags = { "a", "b", json.null }, nested = { x = 1.5, y = -0.25, z = { } } }
print(json.encode(value, { keyorder = { "name", "age", "tags", "nested", "x", "y", "z" } }))
print(json.encode({ 1, 2, { 3, { 4 } } }, state))
print(json.encode(setmetatable({}, { __jsontype = "array" })), json.encode(setmetatable({}, { __jsontype = "object" })))
print(json.encode({ 1e300, 1e-5, 123456789012, 0.1, 1 / 3, 2 ^ 53 }))
print(pcall(json.encode, { print }))
print(json.encode({ 0 / 0, math.huge }))
local cyclic = {}
cyclic[1] = cyclic
print(pcall(json.encode, cyclic))
local function show(v, indent)
  if type(v) ~= "table" then return tostring(v) .. ":" .. type(v) .. (math.type(v) or "") end
  local keys = {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, k in ipairs(keys) do keys[i] = tostring(k) .. "=" .. show(v[k]) end
  return "{" .. table.concat(keys, ",") .. "}" .. ((getmetatable(v) or {}).__jsontype or "")
end
for _, text in ipairs { '{"a":[1,2.5,-3e2,{"b":null}],"c":true,"d":"\\u00e9\\ud83d\\ude00\\n"}', "[]", "{}", '"x"', "12", " [1 , 2] rest",
  '{"a":}', "[1,", '"open', "nul", '{"a" 1}', "/* c */ [1] // x", "[1e5, 0.5E-3, 1E+2]", "" } do
  local v, pos, err = json.decode(text, 1, nil)
  print(show(v), pos, err)
end
print(json.quotestring("\127\u{2028}\u{ad}"))
local big = {}
for i = 1, 200 do big[i] = { id = i } end
local text = json.encode(big)
print(#text, json.decode(text)[200].id, json.encode((json.decode(text))) == text)
