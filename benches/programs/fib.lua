-- Naive recursive Fibonacci numbers: nothing but calls and returns of a global-free recursive
-- closure with one comparison, three additions and subtractions each. The result is checked
-- against the iterative definition, for every size.
local n = tonumber((...) or 39)

local function fib(k)
  if k < 2 then return k end
  return fib(k - 1) + fib(k - 2)
end

local result = fib(n)
local a, b = 0, 1
for _ = 1, n do a, b = b, a + b end
if result ~= a then error("fib: wrong result " .. result) end
print(string.format("fib(%d) = %d", n, result))
