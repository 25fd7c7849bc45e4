-- Complex fast Fourier transform (iterative radix 2, in place) forth and back on arrays of
-- floating-point numbers: strided array accesses and library calls of sin and cos. The size is the
-- number of transform pairs; the round trip and the transform of a pure wave are checked.
local n = tonumber((...) or 36)

local length = 32768

-- Transforms the signal held in re and im; direction is -1 (forward) or 1 (inverse, unscaled).
local function transform(re, im, direction)
  local size = #re
  local j = 1
  for i = 1, size - 1 do
    if i < j then
      re[i], re[j] = re[j], re[i]
      im[i], im[j] = im[j], im[i]
    end
    local bit = size / 2
    while bit >= 1 and j > bit do
      j = j - bit
      bit = bit / 2
    end
    j = j + bit
  end
  local half = 1
  while half < size do
    local theta = direction * math.pi / half
    for k = 0, half - 1 do
      local wr, wi = math.cos(theta * k), math.sin(theta * k)
      for p = k + 1, size, half * 2 do
        local q = p + half
        local tr = wr * re[q] - wi * im[q]
        local ti = wr * im[q] + wi * re[q]
        re[q], im[q] = re[p] - tr, im[p] - ti
        re[p], im[p] = re[p] + tr, im[p] + ti
      end
    end
    half = half * 2
  end
end

-- A pure wave has all its energy in one coefficient.
local re, im = {}, {}
for i = 1, length do
  re[i], im[i] = math.cos(2 * math.pi * 5 * (i - 1) / length), 0.0
end
transform(re, im, -1)
if math.abs(re[6] - length / 2) > 1e-4 or math.abs(re[7]) > 1e-4 then
  error("fft: wrong spectrum")
end

local seed = 42
local original = {}
for i = 1, length do
  seed = seed * 16807 % 2147483647
  original[i] = seed / 2147483647
  re[i], im[i] = original[i], 0.0
end
for _ = 1, n do
  transform(re, im, -1)
  transform(re, im, 1)
  for i = 1, length do
    re[i], im[i] = re[i] / length, im[i] / length
  end
end

local worst, sum = 0, 0
for i = 1, length do
  worst = math.max(worst, math.abs(re[i] - original[i]), math.abs(im[i]))
  sum = sum + re[i]
end
if worst > 1e-9 then error("fft: round trip error " .. worst) end
print(string.format("%d round trips, sum %.6f", n, sum))
