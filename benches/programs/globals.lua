-- Globals: code in the style of small scripts, where every function and variable is global. Exercises: reads and
-- writes of global variables in inner loops, calls of global functions, library functions through global tables,
-- indirect access by _G, a counter bumped from many functions.

n = tonumber((...) or 250)

function expect(actual, expected, what)
  if actual ~= expected then error(string.format("globals: %s: %d instead of %d", what, actual, expected)) end
end

-- Bubble sort and binary search on a global array.
function fill_array()
  array = {}
  size = 400
  seed = 74755
  for i = 1, size do
    seed = (seed * 1309 + 13849) % 65536
    array[i] = seed
  end
end

function swap(i, j) array[i], array[j] = array[j], array[i] end

function bubble_sort()
  swaps = 0
  limit = size
  while limit > 1 do
    last = 1
    for i = 1, limit - 1 do
      if array[i] > array[i + 1] then
        swap(i, i + 1)
        swaps = swaps + 1
        last = i
      end
    end
    limit = last
  end
end

function search(key)
  low, high = 1, size
  while low <= high do
    middle = math.floor((low + high) / 2)
    probes = probes + 1
    if array[middle] == key then return middle end
    if array[middle] < key then low = middle + 1 else high = middle - 1 end
  end
  return nil
end

-- Collatz sequences with global state.
function step()
  steps = steps + 1
  if current % 2 == 0 then current = current / 2 else current = 3 * current + 1 end
end

function collatz(first)
  current = first
  steps = 0
  while current ~= 1 do step() end
  return steps
end

function longest_collatz(bound)
  best, best_steps = 1, 0
  for i = 1, bound do
    if collatz(i) > best_steps then best, best_steps = i, steps end
  end
end

-- A turtle whose state is all global.
function reset() x, y, dx, dy, moves = 0, 0, 1, 0, 0 end
function left() dx, dy = -dy, dx end
function right() dx, dy = dy, -dx end

function forward(k)
  for _ = 1, k do
    x = x + dx
    y = y + dy
    moves = moves + 1
    far = math.max(far, math.abs(x), math.abs(y))
  end
end

function dragon(order, turn)
  if order == 0 then
    forward(1)
    return
  end
  dragon(order - 1, left)
  turn()
  dragon(order - 1, right)
end

-- Variables by name.
function count_up(name) _G[name] = (_G[name] or 0) + 1 end

for round = 1, n do
  fill_array()
  bubble_sort()
  for i = 2, size do
    if array[i - 1] > array[i] then error("globals: not sorted") end
  end
  probes = 0
  for i = 1, size do
    if array[search(array[i])] ~= array[i] then error("globals: search failed") end
  end
  if search(-1) then error("globals: found what is not there") end

  longest_collatz(1200)
  expect(best, 1161, "longest Collatz sequence")
  expect(best_steps, 181, "Collatz steps")

  reset()
  far = 0
  dragon(12, left)
  expect(moves, 4096, "moves")
  expect(math.abs(x) + math.abs(y), 64, "distance on the dragon curve")

  for i = 0, 49 do _G["counter_" .. i] = nil end
  for i = 1, 5000 do count_up("counter_" .. i % 50) end
  expect(counter_0, 100, "counter_0")
  expect(counter_49, 100, "counter_49")
end
if swaps ~= 41133 or probes ~= 3106 or far ~= 74 then
  error(string.format("globals: wrong result: %d swaps, %d probes, far %d", swaps, probes, far))
end
print(string.format("globals: %d rounds, %d swaps, %d probes, far %d", n, swaps, probes, far))
