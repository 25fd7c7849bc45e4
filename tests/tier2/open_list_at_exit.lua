-- A side exit while an open list of arguments ends above the caller's registers.
local out = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  out(table.concat(line, " "))
end
local function count(...) return select("#", ...) end
local function pass(...) return ... end
local A = {}
local n = 0
for i = 1, 40, 2 do
  local o = setmetatable({v = count(nil, 1)}, {__index = A})
  n = n + o.v + count(pass(nil, i % 3 == 0 and 1 or nil, 1))
end
print(n)
