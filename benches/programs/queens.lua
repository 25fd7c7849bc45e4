-- All solutions of the n queens problem by backtracking, with the free columns and diagonals held
-- in arrays of booleans: recursion, upvalue access and array stores. The numbers of solutions are
-- known.
local n = tonumber((...) or 13)

local known = { 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712 }

local columns, rising, falling, board = {}, {}, {}, {}
for i = 1, n do columns[i] = true end
for i = 1, 2 * n do rising[i], falling[i] = true, true end

local solutions, checksum = 0, 0

local function place(row)
  if row > n then
    solutions = solutions + 1
    for i = 1, n do checksum = (checksum * 7 + board[i]) % 1000003 end
    return
  end
  for column = 1, n do
    local up, down = row + column, row - column + n
    if columns[column] and rising[up] and falling[down] then
      columns[column], rising[up], falling[down] = false, false, false
      board[row] = column
      place(row + 1)
      columns[column], rising[up], falling[down] = true, true, true
    end
  end
end

place(1)
if known[n] and solutions ~= known[n] then error("queens: wrong count " .. solutions) end
print(string.format("%d queens: %d solutions, checksum %d", n, solutions, checksum))
