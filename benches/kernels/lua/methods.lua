-- Method calls on objects that have a metatable each.
local Point = {}

function Point:move(dx)
  self.x = self.x + dx
  self.moves = self.moves + 1
  return self.x
end

local objects = {}
for i = 1, 100 do
  objects[i] = setmetatable({x = i, moves = 0}, {__index = Point})
end

return function(n)
  for i = 1, #objects do objects[i].x = i end
  local sum = 0
  for k = 1, n do
    for i = 1, #objects do
      sum = sum + objects[i]:move(k)
    end
  end
  return sum
end
