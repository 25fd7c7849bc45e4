-- Binary trees: building, walking, dropping.
local function make(depth)
  if depth == 0 then return {left = nil, right = nil} end
  return {left = make(depth - 1), right = make(depth - 1)}
end

local function count(tree)
  if not tree.left then return 1 end
  return 1 + count(tree.left) + count(tree.right)
end

local long_lived = make(14)

return function(n)
  local sum = count(long_lived)
  for _ = 1, n do sum = sum + count(make(10)) end
  return sum
end
