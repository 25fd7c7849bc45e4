-- Tables with shapes of their own, the globals and constant ones, get keys until their slots move, while hot code knows where
-- these are.
local function fill() array = {} size = 4 seed = 5 for i = 1, size do seed = seed + 1 array[i] = seed end end
local function count() low, high = 1, 5 while low < high do low = low + 1 end end
local function longest(bound)
  best, most = 1, 0
  for i = 1, bound do
    current, steps = i, 0
    while current ~= 1 do steps = steps + 1 current = current % 2 == 0 and current // 2 or 3 * current + 1 end
    if steps > most then best, most = i, steps end
  end
end
for k = 1, 40 do
  for _ = 1, 2 do fill() count() longest(20) end
  if low ~= 5 or best ~= 18 or most ~= 20 or seed ~= 9 then print("wrong", k, low, best, most, seed) end
  _G["global" .. k] = k
end
print(low, best, most, seed)
for more = 0, 20 do
  local t = {}
  for k = 1, more do t["old" .. k] = k end
  local function put(k)
    t.first, t.second, t.third = k, k, k
    for j = 1, 3 do t.first = t.first + 1 t.second = t.second + j t.third = t.first + t.second end
    return t.third
  end
  local sum = 0
  for k = 1, 30 do sum = sum + put(k) t["new" .. k] = k sum = sum + t["new" .. k] end
  print(more, sum, t.first, t.second, t.third)
end
