-- Havlak: finds the loops of control-flow graphs (the algorithm of Havlak's "Nesting of Reducible and Irreducible
-- Loops", with union-find). Exercises: graph construction, depth-first search, many small lists and sets held in
-- tables keyed by objects, path compression, classes with fresh metatables.

local n = tonumber((...) or 130)

local function class()
  local c = {}
  c.make = function(o) return setmetatable(o, { __index = c }) end
  return c
end

-- Control-flow graph -------------------------------------------------------------------------------------------------

local Block = class()

function Block.new(id) return Block.make({ id = id, inputs = {}, outputs = {} }) end

local Graph = class()

function Graph.new() return Graph.make({ blocks = {}, count = 0, start = nil }) end

function Graph:block(id)
  local b = self.blocks[id]
  if not b then
    b = Block.new(id)
    self.blocks[id] = b
    self.count = self.count + 1
    self.start = self.start or b
  end
  return b
end

function Graph:edge(from, to)
  local a, b = self:block(from), self:block(to)
  a.outputs[#a.outputs + 1] = b
  b.inputs[#b.inputs + 1] = a
end

-- Loop structure -----------------------------------------------------------------------------------------------------

local Loop = class()

function Loop.new(header, reducible)
  return Loop.make({ header = header, reducible = reducible, blocks = {}, children = {}, parent = nil, depth = 0 })
end

function Loop:set_parent(parent)
  self.parent = parent
  parent.children[#parent.children + 1] = self
end

-- Numbers the depths below this loop; returns the greatest one.
function Loop:number(depth)
  self.depth = depth
  local deepest = depth
  for _, child in ipairs(self.children) do
    local d = child:number(depth + 1)
    if d > deepest then deepest = d end
  end
  return deepest
end

local LoopNest = class()

function LoopNest.new() return LoopNest.make({ root = Loop.new(nil, true), loops = {} }) end

function LoopNest:add(loop) self.loops[#self.loops + 1] = loop end

function LoopNest:finish()
  for _, loop in ipairs(self.loops) do
    if not loop.parent then loop:set_parent(self.root) end
  end
  return self.root:number(0)
end

-- Union-find ---------------------------------------------------------------------------------------------------------

local Node = class()

function Node.new(block, number)
  local o = Node.make({ block = block, number = number, loop = nil, parent = nil })
  o.parent = o
  return o
end

function Node:find()
  local root = self
  local passed = {}
  while root ~= root.parent do
    if root.parent ~= root.parent.parent then passed[#passed + 1] = root end
    root = root.parent
  end
  for _, node in ipairs(passed) do node.parent = root end
  return root
end

-- Havlak's algorithm ---------------------------------------------------------------------------------------------------

local function depth_first(block, nodes, numbers, last)
  local number = #nodes + 1
  nodes[number] = Node.new(block, number)
  numbers[block] = number
  for _, target in ipairs(block.outputs) do
    if not numbers[target] then depth_first(target, nodes, numbers, last) end
  end
  last[number] = #nodes
end

local function find_loops(graph, nest)
  local nodes, numbers, last = {}, {}, {}
  depth_first(graph.start, nodes, numbers, last)
  local count = #nodes

  local function is_ancestor(w, v) return w <= v and v <= last[w] end

  local back, other, kind = {}, {}, {}
  for w = 1, count do
    kind[w] = "plain"
    back[w], other[w] = {}, {}
    for _, input in ipairs(nodes[w].block.inputs) do
      local v = numbers[input]
      if v then
        if is_ancestor(w, v) then
          back[w][#back[w] + 1] = v
        else
          other[w][v] = true
        end
      end
    end
  end

  -- `other[w]` is a set; predecessors are taken in increasing order to make the result independent of `pairs`.
  local function sorted(set)
    local list = {}
    for v in pairs(set) do list[#list + 1] = v end
    table.sort(list)
    return list
  end

  for w = count, 1, -1 do
    local body, in_body = {}, {}
    for _, v in ipairs(back[w]) do
      if v ~= w then
        local root = nodes[v]:find()
        if not in_body[root] then
          in_body[root] = true
          body[#body + 1] = root
        end
      else
        kind[w] = "self"
      end
    end
    if #body > 0 then kind[w] = "reducible" end
    local next_index = 1
    while next_index <= #body do
      local x = body[next_index]
      next_index = next_index + 1
      for _, y in ipairs(sorted(other[x.number])) do
        local root = nodes[y]:find()
        if not is_ancestor(w, root.number) then
          kind[w] = "irreducible"
          other[w][root.number] = true
        elseif root.number ~= w and not in_body[root] then
          in_body[root] = true
          body[#body + 1] = root
        end
      end
    end
    if #body > 0 or kind[w] == "self" then
      local node = nodes[w]
      local loop = Loop.new(node.block, kind[w] ~= "irreducible")
      node.loop = loop
      for _, member in ipairs(body) do
        member.parent = node
        if member.loop then
          member.loop:set_parent(loop)
        else
          loop.blocks[#loop.blocks + 1] = member.block
        end
      end
      nest:add(loop)
    end
  end
  return count
end

-- Test graphs --------------------------------------------------------------------------------------------------------

local Builder = class()

function Builder.new(graph) return Builder.make({ graph = graph, next_id = 1 }) end

function Builder:fresh()
  local id = self.next_id
  self.next_id = id + 1
  self.graph:block(id)
  return id
end

function Builder:straight(from, length)
  for _ = 1, length do
    local to = self:fresh()
    self.graph:edge(from, to)
    from = to
  end
  return from
end

function Builder:diamond(from)
  local left, right, join = self:fresh(), self:fresh(), self:fresh()
  self.graph:edge(from, left)
  self.graph:edge(from, right)
  self.graph:edge(left, join)
  self.graph:edge(right, join)
  return join
end

-- A loop whose body is `levels - 1` nested loops around a diamond.
function Builder:nest(from, levels)
  local head = self:straight(from, 1)
  local stop = levels > 1 and self:nest(head, levels - 1) or self:diamond(head)
  stop = self:straight(stop, 1)
  self.graph:edge(stop, head)
  return self:straight(stop, 1)
end

-- Two blocks entered from both sides: an irreducible loop.
function Builder:irreducible(from)
  local a, b, out = self:fresh(), self:fresh(), self:fresh()
  self.graph:edge(from, a)
  self.graph:edge(from, b)
  self.graph:edge(a, b)
  self.graph:edge(b, a)
  self.graph:edge(b, out)
  return out
end

function Builder:self_loop(from)
  local b = self:straight(from, 1)
  self.graph:edge(b, b)
  return self:straight(b, 1)
end

local REPEATS = 75
local graph = Graph.new()
local builder = Builder.new(graph)
local at = builder:fresh()
for _ = 1, n do
  at = builder:nest(at, 5)
  at = builder:irreducible(at)
  at = builder:self_loop(at)
  at = builder:straight(at, 3)
end

local function expect(actual, expected, what)
  if actual ~= expected then error(string.format("havlak: %d %s, expected %d", actual, what, expected)) end
end

for _ = 1, REPEATS do
  local nest = LoopNest.new()
  local reached = find_loops(graph, nest)
  local deepest = nest:finish()
  local irreducible = 0
  for _, loop in ipairs(nest.loops) do
    if not loop.reducible then irreducible = irreducible + 1 end
  end
  expect(reached, graph.count, "blocks reached")
  expect(#nest.loops, 7 * n, "loops")
  expect(irreducible, n, "irreducible loops")
  expect(#nest.root.children, 3 * n, "outermost loops")
  expect(deepest, 5, "levels")
end
print(string.format("havlak: %d blocks, %d loops ok", graph.count, 7 * n))
