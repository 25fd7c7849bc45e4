-- Multiplication of two square matrices, the second transposed first: dot products over tables of
-- floats. The size is the order. The product is checked with Freivalds' method: its action on a
-- vector must be that of the factors one after the other.
local n = tonumber((...) or 680)

local function matrix(f)
  local m = {}
  for i = 1, n do
    local row = {}
    for j = 1, n do row[j] = f(i, j) end
    m[i] = row
  end
  return m
end

local function multiply(a, b)
  local transposed = matrix(function(i, j) return b[j][i] end)
  local product = {}
  for i = 1, n do
    local row, out = a[i], {}
    for j = 1, n do
      local column, sum = transposed[j], 0.0
      for k = 1, n do sum = sum + row[k] * column[k] end
      out[j] = sum
    end
    product[i] = out
  end
  return product
end

local function apply(m, v)
  local out = {}
  for i = 1, n do
    local row, sum = m[i], 0.0
    for j = 1, n do sum = sum + row[j] * v[j] end
    out[i] = sum
  end
  return out
end

local a = matrix(function(i, j) return (i * 7 + j * 13) % 11 - 5.5 end)
local b = matrix(function(i, j) return (i * 5 - j * 3) % 17 / 16 end)
local product = multiply(a, b)

local v = {}
for i = 1, n do v[i] = i % 5 - 1.5 end
local direct, composed = apply(product, v), apply(a, apply(b, v))
local trace = 0.0
for i = 1, n do
  if math.abs(direct[i] - composed[i]) > 1e-6 then error("matmul: wrong row " .. i) end
  trace = trace + product[i][i]
end
print(string.format("order %d, trace %.5f", n, trace))
