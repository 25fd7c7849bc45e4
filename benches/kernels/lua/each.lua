-- Sixteen callbacks to one iteration method.
local List = {}
List.__index = List

function List:each(f)
  local items = self.items
  for i = 1, self.size do f(items[i]) end
end

local list = setmetatable({items = {}, size = 100}, List)
for i = 1, 100 do list.items[i] = i end

return function(n)
  local sum = 0
  for _ = 1, n do
    list:each(function(x) sum = sum + x end)
    list:each(function(x) sum = sum + 2 * x end)
    list:each(function(x) sum = sum - x end)
    list:each(function(x) sum = sum + x + 3 end)
    list:each(function(x) sum = sum + x end)
    list:each(function(x) sum = sum + 2 * x end)
    list:each(function(x) sum = sum - x end)
    list:each(function(x) sum = sum + x + 7 end)
    list:each(function(x) sum = sum + x end)
    list:each(function(x) sum = sum + 2 * x end)
    list:each(function(x) sum = sum - x end)
    list:each(function(x) sum = sum + x + 11 end)
    list:each(function(x) sum = sum + x end)
    list:each(function(x) sum = sum + 2 * x end)
    list:each(function(x) sum = sum - x end)
    list:each(function(x) sum = sum + x + 15 end)
  end
  return sum
end
