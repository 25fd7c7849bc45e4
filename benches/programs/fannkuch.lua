-- Fannkuch: for every permutation of 1..n, counts how often a prefix must be reversed until 1 comes
-- first. Small integer arrays, swaps and rotations, short unpredictable loops. The maxima and
-- checksums are known for the usual sizes.
local n = tonumber((...) or 10)

local known = { [7] = { 228, 16 }, [8] = { 1616, 22 }, [9] = { 8629, 30 }, [10] = { 73196, 38 } }

local function fannkuch()
  local perm, work, count = {}, {}, {}
  for i = 1, n do perm[i], work[i], count[i] = i, i, 0 end
  local checksum, most, sign = 0, 0, 1
  while true do
    if perm[1] ~= 1 then
      for i = 1, n do work[i] = perm[i] end
      local flips = 0
      local first = work[1]
      while first ~= 1 do
        local low, high = 1, first
        while low < high do
          work[low], work[high] = work[high], work[low]
          low, high = low + 1, high - 1
        end
        flips = flips + 1
        first = work[1]
      end
      if flips > most then most = flips end
      checksum = checksum + sign * flips
    end
    -- The next permutation: rotate ever longer prefixes until one has not come round.
    local i = 2
    while true do
      if i > n then return checksum, most end
      local head = perm[1]
      for k = 1, i - 1 do perm[k] = perm[k + 1] end
      perm[i] = head
      count[i] = count[i] + 1
      if count[i] < i then break end
      count[i] = 0
      i = i + 1
    end
    sign = -sign
  end
end

local checksum, most = fannkuch()
local expected = known[n]
if expected and (most ~= expected[2]) then error("fannkuch: wrong maximum " .. most) end
if expected and (checksum ~= expected[1]) then error("fannkuch: wrong checksum " .. checksum) end
print(string.format("%d\nPfannkuchen(%d) = %d", checksum, n, most))
