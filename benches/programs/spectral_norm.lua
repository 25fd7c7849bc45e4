-- Spectral norm of an infinite matrix by the power method: floating-point array traversals with a
-- small function called in the innermost loop. The norm converges quickly with the size, so that
-- it can be checked to a few digits for every size from 50 on.
local n = tonumber((...) or 2250)

local function element(i, j)
  local ij = i + j - 1
  return 1.0 / (ij * (ij - 1) * 0.5 + i)
end

local function multiply(v, out)
  for i = 1, n do
    local sum = 0.0
    for j = 1, n do sum = sum + v[j] * element(i, j) end
    out[i] = sum
  end
end

local function multiply_transposed(v, out)
  for i = 1, n do
    local sum = 0.0
    for j = 1, n do sum = sum + v[j] * element(j, i) end
    out[i] = sum
  end
end

local u, v, t = {}, {}, {}
for i = 1, n do u[i] = 1.0 end
for _ = 1, 10 do
  multiply(u, t)
  multiply_transposed(t, v)
  multiply(v, t)
  multiply_transposed(t, u)
end

local vbv, vv = 0.0, 0.0
for i = 1, n do
  vbv = vbv + u[i] * v[i]
  vv = vv + v[i] * v[i]
end
local norm = math.sqrt(vbv / vv)
if n >= 50 and math.abs(norm - 1.274224) > 2e-5 then error("spectral_norm: " .. norm) end
print(string.format("%.9f", norm))
