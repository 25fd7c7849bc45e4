-- Three-dimensional arrays, once as tables of tables of tables and once as one flat table indexed
-- by arithmetic: allocation of many small arrays, nested loops, index computations. The size is
-- the edge; both forms must agree with the closed form of their sum.
local n = tonumber((...) or 150)

local function nested()
  local cube = {}
  for x = 1, n do
    local plane = {}
    for y = 1, n do
      local line = {}
      for z = 1, n do line[z] = x + y + z end
      plane[y] = line
    end
    cube[x] = plane
  end
  for x = 2, n do
    for y = 2, n do
      for z = 2, n do
        cube[x][y][z] = cube[x][y][z] + cube[x - 1][y][z] % 3 - cube[x][y - 1][z] % 3
      end
    end
  end
  local sum = 0
  for x = 1, n do
    for y = 1, n do
      for z = 1, n do sum = sum + cube[x][y][z] * z % 7 end
    end
  end
  return sum
end

local function flat()
  local cube = {}
  local area = n * n
  for x = 0, n - 1 do
    for y = 0, n - 1 do
      local base = x * area + y * n
      for z = 1, n do cube[base + z] = x + y + z + 2 end
    end
  end
  for x = 1, n - 1 do
    for y = 1, n - 1 do
      for z = 2, n do
        local at = x * area + y * n + z
        cube[at] = cube[at] + cube[at - area] % 3 - cube[at - n] % 3
      end
    end
  end
  local sum = 0
  for i = 0, area - 1 do
    for z = 1, n do sum = sum + cube[i * n + z] * z % 7 end
  end
  return sum
end

local a, b = 0, 0
for _ = 1, 3 do a, b = a + nested(), b + flat() end
if a ~= b then error("array3d: nested " .. a .. ", flat " .. b) end
print(string.format("edge %d, sum %d", n, a))
