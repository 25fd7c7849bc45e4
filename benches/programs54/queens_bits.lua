-- The n queens problem on bit boards, recursively and with an explicit stack: conjunction,
-- disjunction, complement, shifts and negation of integers, goto. The numbers of solutions are
-- known, and both ways must agree.
local n <const> = math.tointeger(tonumber((...) or 13))

local known <const> = { 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596 }
local ALL <const> = (1 << n) - 1

local function recursive(columns, left, right)
  if columns == ALL then return 1 end
  local count = 0
  local free = ALL & ~(columns | left | right)
  while free ~= 0 do
    local bit <const> = free & -free
    free = free ~ bit
    count = count + recursive(columns | bit, (left | bit) << 1, (right | bit) >> 1)
  end
  return count
end

local function iterative()
  local columns, left, right, free = {}, {}, {}, {}
  local depth, count = 1, 0
  columns[1], left[1], right[1], free[1] = 0, 0, 0, ALL
  ::continue::
  local candidates <const> = free[depth]
  if candidates == 0 then
    depth = depth - 1
    if depth == 0 then return count end
    goto continue
  end
  local bit <const> = candidates & -candidates
  free[depth] = candidates ~ bit
  local c <const> = columns[depth] | bit
  if c == ALL then
    count = count + 1
    goto continue
  end
  local l <const>, r <const> = (left[depth] | bit) << 1, (right[depth] | bit) >> 1
  depth = depth + 1
  columns[depth], left[depth], right[depth], free[depth] = c, l, r, ALL & ~(c | l | r)
  goto continue
end

local a <const>, b <const> = recursive(0, 0, 0), iterative()
if a ~= b or (known[n] and a ~= known[n]) then error("queens_bits: " .. a .. " and " .. b) end
print(string.format("%d queens: %d solutions", n, a))
