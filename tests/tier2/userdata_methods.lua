-- Methods of userdata in hot loops, and metatables that change.
local f = assert(io.tmpfile())
local function position(file) return file:seek("cur") end
local n = 0
for i = 1, 100 do
  f:write("x", i)
  n = n + position(f)
end
print(n, f:seek("set"), #f:read("a"))
local methods = getmetatable(f).__index
local seek = methods.seek
for i = 1, 60 do
  if i == 40 then methods.seek = function() return -1 end end
  n = n + position(f)
end
methods.seek = seek
print(n, position(f))
local other = setmetatable({}, { __index = { seek = function() return 1 end } })
for i = 1, 100 do n = n + position(i % 3 == 0 and other or f) end
print(n)
f:close()
print((pcall(position, f)), io.type(f))
