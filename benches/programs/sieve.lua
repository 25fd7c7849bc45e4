-- Sieve of Eratosthenes with an array of booleans: strided stores into one large array, repeated a
-- few times. The size is the upper bound; the count is checked against the known number of primes
-- for powers of ten and otherwise against trial division of the last prime found.
local n = tonumber((...) or 5000000)

local known = {
  [1000] = 168, [10000] = 1229, [100000] = 9592, [1000000] = 78498, [5000000] = 348513,
  [10000000] = 664579,
}

local function count_primes(limit)
  local composite = {}
  for i = 1, limit do composite[i] = false end
  local count, last = 0, 0
  for i = 2, limit do
    if not composite[i] then
      count, last = count + 1, i
      for multiple = i * i, limit, i do composite[multiple] = true end
    end
  end
  return count, last
end

local count, last
for _ = 1, 4 do count, last = count_primes(n) end
for divisor = 2, math.floor(math.sqrt(last)) do
  if last % divisor == 0 then error("sieve: not a prime: " .. last) end
end
if known[n] and known[n] ~= count then error("sieve: wrong count " .. count) end
print(string.format("%d primes up to %d, the last is %d", count, n, last))
