-- Binary trees: builds and walks many short-lived perfect binary trees while a long-lived one stays alive.
-- Exercises: allocation rate, garbage collection, recursion.

local depth = tonumber((...) or 14)

local function build(d)
  if d == 0 then return {} end
  return { build(d - 1), build(d - 1) }
end

local function count(tree)
  local left = tree[1]
  if not left then return 1 end
  return 1 + count(left) + count(tree[2])
end

local function expect(actual, d, trees)
  local expected = trees * (2 ^ (d + 1) - 1)
  if actual ~= expected then error(string.format("binary_trees: depth %d: %d nodes, expected %d", d, actual, expected)) end
end

local MIN = 4
local stretch = build(depth + 1)
expect(count(stretch), depth + 1, 1)
stretch = nil

local long_lived = build(depth)
local total = 0
for d = MIN, depth, 2 do
  local trees = math.floor(2 ^ (depth - d + MIN))
  local nodes = 0
  for _ = 1, trees do nodes = nodes + count(build(d)) end
  expect(nodes, d, trees)
  total = total + nodes
end
expect(count(long_lived), depth, 1)
print(string.format("binary_trees: depth %d, %d nodes", depth, total))
