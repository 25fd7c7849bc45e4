-- The towers of Hanoi with disks as linked objects on three piles: recursion, pushing and popping
-- through table fields, checks that can fail. The number of moves and the final pile are checked
-- for every size.
local n = tonumber((...) or 25)

local piles = { false, false, false }
local moves = 0

local function push(disk, pile)
  local top = piles[pile]
  if top and disk.size >= top.size then error("towers: a disk on a smaller one") end
  disk.below = top
  piles[pile] = disk
end

local function pop(pile)
  local top = piles[pile]
  if not top then error("towers: empty pile") end
  piles[pile] = top.below
  top.below = false
  return top
end

local function move(count, from, to)
  if count == 1 then
    push(pop(from), to)
    moves = moves + 1
    return
  end
  local other = 6 - from - to
  move(count - 1, from, other)
  move(1, from, to)
  move(count - 1, other, to)
end

for size = n, 1, -1 do push({ size = size, below = false }, 1) end
move(n, 1, 3)

local expected = 1
for _ = 1, n do expected = expected * 2 end
if moves ~= expected - 1 then error("towers: wrong number of moves " .. moves) end
local disk, height = piles[3], 0
while disk do
  height = height + 1
  if disk.size ~= height then error("towers: wrong order") end
  disk = disk.below
end
if height ~= n then error("towers: disks lost") end
print(string.format("%d disks, %d moves", n, moves))
