-- One product of the matrix of spectral-norm and a vector.
local function A(i, j)
  local ij = i + j - 1
  return 1.0 / (ij * (ij - 1) * 0.5 + i)
end

local x, y = {}, {}

return function(n)
  for i = 1, n do x[i] = 1.0 / i end
  for i = 1, n do
    local a = 0.0
    for j = 1, n do a = a + x[j] * A(i, j) end
    y[i] = a
  end
  local sum = 0.0
  for i = 1, n do sum = sum + y[i] end
  return sum
end
