-- Conway's game of life on a torus, with two grids of rows that are tables of 0 and 1: small
-- integers, neighbour sums and table swaps. The size is the number of generations of a 128 by 128
-- soup; a glider's period and direction are checked first.
local n = tonumber((...) or 3000)

local function new_grid(size)
  local grid = {}
  for y = 1, size do
    local row = {}
    for x = 1, size do row[x] = 0 end
    grid[y] = row
  end
  return grid
end

local function step(from, to, size)
  for y = 1, size do
    local above = from[y > 1 and y - 1 or size]
    local row = from[y]
    local below = from[y < size and y + 1 or 1]
    local out = to[y]
    for x = 1, size do
      local left = x > 1 and x - 1 or size
      local right = x < size and x + 1 or 1
      local sum = above[left] + above[x] + above[right] + row[left] + row[right]
        + below[left] + below[x] + below[right]
      if sum == 3 or (sum == 2 and row[x] == 1) then
        out[x] = 1
      else
        out[x] = 0
      end
    end
  end
end

local function run(grid, size, generations)
  local other = new_grid(size)
  for _ = 1, generations do
    step(grid, other, size)
    grid, other = other, grid
  end
  return grid
end

local function population(grid, size)
  local count, hash = 0, 0
  for y = 1, size do
    for x = 1, size do
      count = count + grid[y][x]
      hash = (hash * 2 + grid[y][x]) % 1000000007
    end
  end
  return count, hash
end

-- A glider moves by one cell diagonally every four generations: round a torus of 16 in 64.
local function glider(at)
  local grid = new_grid(16)
  for _, cell in ipairs({ { 0, 1 }, { 1, 2 }, { 2, 0 }, { 2, 1 }, { 2, 2 } }) do
    grid[at + cell[1]][at + cell[2]] = 1
  end
  return grid
end
local _, start = population(glider(3), 16)
local _, later = population(run(glider(3), 16, 64), 16)
local _, moved = population(run(glider(3), 16, 20), 16)
local _, ahead = population(glider(8), 16)
if start ~= later or moved ~= ahead then error("life: the glider went astray") end

local size, seed = 128, 12345
local soup = new_grid(size)
for y = 1, size do
  for x = 1, size do
    seed = seed * 16807 % 2147483647
    soup[y][x] = seed % 3 == 0 and 1 or 0
  end
end
local count, hash = population(run(soup, size, n), size)
if n == 3000 and hash ~= 453765707 then error("life: hash " .. hash) end
print(string.format("%d generations, population %d, hash %d", n, count, hash))
