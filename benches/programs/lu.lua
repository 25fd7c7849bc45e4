-- LU decomposition with partial pivoting and the solution of a linear system: nested loops over
-- rows that are tables of floats, rows swapped by reference. The size is the order of the matrix;
-- the solution is checked against the known one.
local n = tonumber((...) or 1050)

local seed = 7
local function random()
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
end

-- Decomposes the matrix in place and returns the row permutation.
local function decompose(a)
  local pivots = {}
  for i = 1, n do pivots[i] = i end
  for k = 1, n do
    local best, at = math.abs(a[k][k]), k
    for i = k + 1, n do
      local candidate = math.abs(a[i][k])
      if candidate > best then best, at = candidate, i end
    end
    if at ~= k then
      a[k], a[at] = a[at], a[k]
      pivots[k], pivots[at] = pivots[at], pivots[k]
    end
    local pivot_row = a[k]
    local inverse = 1.0 / pivot_row[k]
    for i = k + 1, n do
      local row = a[i]
      local factor = row[k] * inverse
      row[k] = factor
      for j = k + 1, n do row[j] = row[j] - factor * pivot_row[j] end
    end
  end
  return pivots
end

local function solve(lu, pivots, b)
  local x = {}
  for i = 1, n do
    local row, sum = lu[i], b[pivots[i]]
    for j = 1, i - 1 do sum = sum - row[j] * x[j] end
    x[i] = sum
  end
  for i = n, 1, -1 do
    local row, sum = lu[i], x[i]
    for j = i + 1, n do sum = sum - row[j] * x[j] end
    x[i] = sum / row[i]
  end
  return x
end

-- The right-hand side is chosen so that the solution is 1, 2, ..., n.
local a, b = {}, {}
for i = 1, n do
  local row, sum = {}, 0.0
  for j = 1, n do
    row[j] = random() - 0.5
    sum = sum + row[j] * j
  end
  a[i], b[i] = row, sum
end

local x = solve(a, decompose(a), b)
local worst = 0
for i = 1, n do worst = math.max(worst, math.abs(x[i] - i)) end
if worst > 1e-4 then error("lu: error of the solution " .. worst) end
print(string.format("order %d, x[1] %.4f, x[n] %.4f", n, x[1], x[n]))
