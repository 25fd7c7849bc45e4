-- Successive over-relaxation of Laplace's equation on a square grid: a five-point stencil over
-- rows that are tables of floats. The size is the number of sweeps. The boundary is a harmonic
-- function, to which the interior must converge.
local n = tonumber((...) or 1450)

local size = 250
local omega = 1.97

local function harmonic(i, j)
  local x, y = i / size, j / size
  return x * x - y * y + 0.5 * x * y
end

local grid = {}
for i = 1, size do
  grid[i] = {}
  for j = 1, size do
    local border = i == 1 or j == 1 or i == size or j == size
    grid[i][j] = border and harmonic(i, j) or 0.0
  end
end

local quarter, keep = omega * 0.25, 1.0 - omega
for _ = 1, n do
  for i = 2, size - 1 do
    local above, row, below = grid[i - 1], grid[i], grid[i + 1]
    for j = 2, size - 1 do
      row[j] = quarter * (above[j] + below[j] + row[j - 1] + row[j + 1]) + keep * row[j]
    end
  end
end

local worst, sum = 0, 0.0
for i = 1, size do
  for j = 1, size do
    worst = math.max(worst, math.abs(grid[i][j] - harmonic(i, j)))
    sum = sum + grid[i][j]
  end
end
if n >= 1300 and worst > 1e-6 then error("sor: has not converged: " .. worst) end
print(string.format("%d sweeps, sum %.6f", n, sum))
