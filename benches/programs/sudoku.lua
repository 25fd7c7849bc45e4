-- A sudoku solver: backtracking on the cell with the fewest candidates, with candidate flags per
-- row, column and box in tables indexed by arithmetic. Recursion, short loops, unpredictable
-- branches. The size is the number of rounds over a few hard puzzles; every solution is checked
-- for the rules and for agreement with the givens.
local n = tonumber((...) or 6)

local puzzles = {
  "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
  "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..",
  "4.....8.5.3..........7......2.....6.....8.4......1.......6.3.7.5..2.....1.4......",
  "..............3.85..1.2.......5.7.....4...1...9.......5......73..2.1........4...9",
}

local nodes = 0

local function solve(text)
  local cells, rows, columns, boxes = {}, {}, {}, {}
  for i = 0, 8 do rows[i], columns[i], boxes[i] = {}, {}, {} end
  local row_of, column_of, box_of, empty = {}, {}, {}, {}

  for i = 1, 81 do
    local r, c = math.floor((i - 1) / 9), (i - 1) % 9
    row_of[i], column_of[i] = rows[r], columns[c]
    box_of[i] = boxes[math.floor(r / 3) * 3 + math.floor(c / 3)]
    local digit = tonumber(text:sub(i, i)) or 0
    cells[i] = digit
    if digit > 0 then
      row_of[i][digit], column_of[i][digit], box_of[i][digit] = true, true, true
    else
      empty[#empty + 1] = i
    end
  end

  local function search(left)
    if left == 0 then return true end
    nodes = nodes + 1
    local best, fewest = 1, 10
    for k = 1, left do
      local i = empty[k]
      local row, column, box = row_of[i], column_of[i], box_of[i]
      local candidates = 0
      for digit = 1, 9 do
        if not (row[digit] or column[digit] or box[digit]) then candidates = candidates + 1 end
      end
      if candidates < fewest then
        best, fewest = k, candidates
        if candidates <= 1 then break end
      end
    end
    if fewest == 0 then return false end
    local i = empty[best]
    empty[best], empty[left] = empty[left], i
    local row, column, box = row_of[i], column_of[i], box_of[i]
    for digit = 1, 9 do
      if not (row[digit] or column[digit] or box[digit]) then
        row[digit], column[digit], box[digit] = true, true, true
        cells[i] = digit
        if search(left - 1) then return true end
        row[digit], column[digit], box[digit] = nil, nil, nil
      end
    end
    cells[i] = 0
    empty[best], empty[left] = i, empty[best]
    return false
  end

  if not search(#empty) then error("sudoku: no solution") end
  return table.concat(cells)
end

local function verify(text, solution)
  for i = 1, 81 do
    local given = text:sub(i, i)
    if given ~= "." and given ~= solution:sub(i, i) then error("sudoku: a given changed") end
  end
  for unit = 0, 8 do
    local row, column, box = {}, {}, {}
    for k = 0, 8 do
      local corner = math.floor(unit / 3) * 27 + unit % 3 * 3
      local inside = math.floor(k / 3) * 9 + k % 3
      row[solution:byte(unit * 9 + k + 1)] = true
      column[solution:byte(k * 9 + unit + 1)] = true
      box[solution:byte(corner + inside + 1)] = true
    end
    for digit = 49, 57 do
      if not (row[digit] and column[digit] and box[digit]) then error("sudoku: rule broken") end
    end
  end
end

for _ = 1, n do
  for _, text in ipairs(puzzles) do verify(text, solve(text)) end
end
print(string.format("%d rounds, %d nodes", n, nodes))
print(solve(puzzles[2]))
