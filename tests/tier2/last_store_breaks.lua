-- A store that breaks what was taken for constant is the last thing before control leaves for another executor.
local out = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  out(table.concat(line, " "))
end
local v = 1
local function get() return v end
local s = 0
for i = 1, 80 do
  if i % 20 == 10 then v = i end
  s = s + get()
end
local t = setmetatable({}, {__index = {x = 1}})
local base = getmetatable(t).__index
for i = 1, 80 do
  local key = i % 20 == 10 and "x" or "k" .. i % 3
  base[key] = i
  s = s + t.x
end
print(s)
