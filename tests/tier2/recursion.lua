-- Functions that call themselves, deeper than calls are inlined: arguments, results and records that machine code makes.
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
local function ack(m, k)
  if m == 0 then return k + 1 end
  if k == 0 then return ack(m - 1, 1) end
  return ack(m - 1, ack(m, k - 1))
end
local function tak(x, y, z)
  if y >= x then return z end
  return tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y))
end
local function sum(n) if n == 0 then return 0 end return n + sum(n - 1) end
for i = 1, 4 do print(fib(13), fib(12.0), ack(2, 6 + i), tak(8, 4, i), sum(40 * i), sum(30.0)) end

-- Tail calls that permute, drop and add arguments; some of them have not been loaded when the frame is replaced.
local function rotate(n, a, b, c, d)
  if n == 0 then return a, b, c, d end
  if n % 5 == 0 then return rotate(n - 1, b, c, d, a) end
  if n % 5 == 1 then return rotate(n - 1, d, a, b, c) end
  if n % 5 == 2 then return rotate(n - 1, a, c) end
  if n % 5 == 3 then return rotate(n - 1, n, a, b, c, d, n) end
  return rotate(n - 1, a, b, n, d)
end
for n = 0, 30, 3 do print(rotate(n, 1, 2.5, "three", {} ~= nil)) end
local function five(n, a, b, c, d, e) if n == 0 then return a, b, c, d, e end return five(n - 1, e, a, b, c, d) end
local function shorter(n, a, b, c) if n == 0 then return a, b, c end return five(n - 1, c, b) end
for n = 1, 12 do print(n, five(n, 1, 2, 3, 4, 5)) print(shorter(n, "x", "y", "z")) end

-- All results of calls, none, and more than are wanted.
local function count(...) return select("#", ...), ... end
local function list(n) if n == 0 then return end return n, list(n - 1) end
local function some(n) if n == 0 then return 1, 2, 3 end local a, b = some(n - 1) return b, a, n end
local function nothing(n) if n > 0 then nothing(n - 1) end end
for n = 0, 12 do
  print(count(list(n)))
  print(count(some(n)), (some(n)))
  print(count(nothing(n)), count((nothing(n))))
end
local function spread(n, ...) if n == 0 then return ... end return spread(n - 1, n, ...) end
local function nested(n, ...) if n == 0 then return select("#", ...) end return 1 + nested(n - 1, n, ...) end
for n = 0, 12, 2 do print(spread(n, "end")) print(nested(n)) end

-- Loops around recursion and recursion in loops.
local function permute(t, n, f)
  if n == 1 then return f(t) end
  for i = 1, n do
    permute(t, n - 1, f)
    local j = n % 2 == 0 and i or 1
    t[j], t[n] = t[n], t[j]
  end
end
local hash = 0
permute({ 1, 2, 3, 4, 5 }, 5, function(t) for _, x in ipairs(t) do hash = (hash * 7 + x) % 1000003 end end)
print(hash)

-- Methods, trees, and errors out of the depth with all levels in their places.
local Tree = {}
Tree.__index = Tree
function Tree.new(depth) return setmetatable({ left = depth > 0 and Tree.new(depth - 1), right = depth > 0 and Tree.new(depth - 1) }, Tree) end
function Tree:size() return 1 + (self.left and self.left:size() or 0) + (self.right and self.right:size() or 0) end
for depth = 0, 7 do print(Tree.new(depth):size()) end
local function fail(n, at) if n == at then error("at " .. n) end return 1 + fail(n - 1, at) end
local function unequal(n) if n == 0 then return {} + 1 end return unequal(n - 1) * 2 end
for n = 1, 14 do
  print(pcall(fail, n, 0), pcall(fail, n, n), pcall(unequal, n))
end
local function levels(n)
  if n > 0 then return 1 + levels(n - 1) end
  local level = 1
  while debug.getinfo(level, "f") do level = level + 1 end
  return level * 1000
end
local function lines(n) if n == 0 then return debug.traceback() end local s = lines(n - 1) return s end
for n = 1, 14 do
  local _, found = lines(n):gsub("\n", "")
  print(levels(n), found)
end

-- Coroutines that yield from the depth, and variables set from outside.
local function walk(n, path)
  if n == 0 then return coroutine.yield(path) end
  local x = walk(n - 1, path .. "l")
  local y = walk(n - 1, path .. "r")
  return x + y
end
for n = 1, 5 do
  local co, k, ok, v = coroutine.create(walk), 0, nil, nil
  ok, v = coroutine.resume(co, n, "")
  while coroutine.status(co) ~= "dead" do
    k = k + #v
    ok, v = coroutine.resume(co, k)
  end
  print(ok, v, k)
end
local function meddle(n, level)
  local kept = n
  if n == 0 then
    debug.setlocal(level, 3, "changed")
    return 0
  end
  local deeper = meddle(n - 1, level)
  return kept == n and deeper + 1 or deeper + 100
end
for n = 1, 12 do print(meddle(n, 1 + n // 2)) end
print(pcall(string.rep, "x", -1), select("#", pcall(function() local function forever() return 1 + forever() end return forever() end)))
