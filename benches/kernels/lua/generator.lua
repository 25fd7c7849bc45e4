-- A generator that yields integers to a loop.
local function generate(n)
  for i = 1, n do coroutine.yield(i) end
end

return function(n)
  local sum = 0
  for v in coroutine.wrap(function() generate(n) end) do sum = sum + v end
  return sum
end
