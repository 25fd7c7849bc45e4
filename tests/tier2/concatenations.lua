-- Strings and numbers joined in hot loops, with operands of changing kinds.
local write = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  write(table.concat(line, "\t"))
end

local function join(a, b, c) return a .. ":" .. b .. ":" .. c end
local parts = {}
for i = 1, 200 do
  local x = i % 7 == 0 and i + 0.5 or i
  local y = i % 11 == 0 and "y" .. i or i * 2
  parts[#parts + 1] = join(x, y, "z") .. -i .. 1e100 .. math.mininteger
  parts[#parts + 1] = i .. "" .. i / 4
end
print(#table.concat(parts), parts[1], parts[154], parts[22], parts[#parts])
local many = 0
for i = 1, 100 do
  local s = i .. "a" .. i .. "b" .. i .. "c" .. i .. i .. i
  many = many + #s
end
print(many)
local meta = setmetatable({}, { __concat = function(a, b) return (type(a) == "table" and "<t>" or a) .. (type(b) == "table" and "<t>" or b) end })
local last
for i = 1, 200 do
  last = i .. "x" .. (i % 50 == 0 and meta or i) .. i
  if i % 50 == 0 then print(last) end
end
for i = 1, 120 do
  local ok, message = pcall(function() return "a" .. (i == 110 and {} or i) .. "b" end)
  if not ok then print(i, message) end
end
for i = 1, 120 do
  local ok, message = pcall(function() local t = i == 110 and nil or i; return "a" .. 1 .. t end)
  if not ok then print(i, message) end
end
