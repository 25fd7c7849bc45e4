-- Takeuchi's function and Ackermann's function: deep recursion with several arguments, calls in
-- argument position and tail calls. The size is the number of repetitions of both; the closed
-- forms of the results are known.
local n = tonumber((...) or 800)

local function tak(x, y, z)
  if y >= x then return z end
  return tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y))
end

local function ack(m, k)
  if m == 0 then return k + 1 end
  if k == 0 then return ack(m - 1, 1) end
  return ack(m - 1, ack(m, k - 1))
end

local tak_sum, ack_sum = 0, 0
for _ = 1, n do
  tak_sum = tak_sum + tak(18, 12, 6)
  ack_sum = ack_sum + ack(2, 100) + ack(3, 5)
end
-- tak(18, 12, 6) = 7; ack(2, k) = 2k + 3; ack(3, k) = 2^(k+3) - 3.
if tak_sum ~= 7 * n then error("tak: wrong sum " .. tak_sum) end
if ack_sum ~= (203 + 253) * n then error("ack: wrong sum " .. ack_sum) end
print(string.format("tak sum %d, ack sum %d", tak_sum, ack_sum))
