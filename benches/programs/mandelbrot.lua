-- Mandelbrot set membership on an n by n grid: a tight floating-point inner loop with an
-- unpredictable exit, no allocation at all. The picture is folded into a checksum; the set's area
-- estimated from it is checked for every size large enough to make sense.
local n = tonumber((...) or 1600)

local limit = 100
local inside, checksum = 0, 0
for row = 0, n - 1 do
  local ci = 2.0 * row / n - 1.0
  for col = 0, n - 1 do
    local cr = 2.0 * col / n - 1.5
    local zr, zi, zr2, zi2 = 0.0, 0.0, 0.0, 0.0
    local steps = 0
    while steps < limit and zr2 + zi2 <= 4.0 do
      zi = 2.0 * zr * zi + ci
      zr = zr2 - zi2 + cr
      zr2, zi2 = zr * zr, zi * zi
      steps = steps + 1
    end
    if steps == limit then inside = inside + 1 end
    checksum = (checksum * 31 + steps) % 1000000007
  end
end

-- The window is 2 by 2 and holds nearly the whole set, whose area is about 1.5066.
local area = 4.0 * inside / (n * n)
if n >= 100 and (area < 1.45 or area > 1.60) then error("mandelbrot: area " .. area) end
if n == 1600 and checksum ~= 171965159 then error("mandelbrot: checksum " .. checksum) end
print(string.format("%d of %d points inside, checksum %d", inside, n * n, checksum))
