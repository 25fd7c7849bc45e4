-- Dynamic programming over random sequences of length n: longest common subsequence, edit distance
-- with insertions and deletions, Levenshtein's distance, and a 0/1 knapsack. Rows of integers,
-- comparisons and minima in the innermost loop. The identities that connect the results are
-- checked for every size.
local n = tonumber((...) or 3750)

local seed = 99
local function random(limit)
  seed = seed * 16807 % 2147483647
  return seed % limit + 1
end

local a, b = {}, {}
for i = 1, n do a[i], b[i] = random(4), random(4) end

local function common_subsequence()
  local previous, current = {}, {}
  for j = 0, n do previous[j], current[j] = 0, 0 end
  for i = 1, n do
    local ai = a[i]
    for j = 1, n do
      if ai == b[j] then
        current[j] = previous[j - 1] + 1
      else
        local up, left = previous[j], current[j - 1]
        current[j] = up > left and up or left
      end
    end
    previous, current = current, previous
  end
  return previous[n]
end

local function distance(substitution)
  local min = math.min
  local row = {}
  for j = 0, n do row[j] = j end
  for i = 1, n do
    local ai, diagonal = a[i], row[0]
    row[0] = i
    for j = 1, n do
      local change = diagonal
      if ai ~= b[j] then change = change + substitution end
      diagonal = row[j]
      row[j] = min(change, diagonal + 1, row[j - 1] + 1)
    end
  end
  return row[n]
end

-- Returns the best value and a list of the chosen items.
local function knapsack(weights, values, capacity)
  local best, taken = {}, {}
  for c = 0, capacity do best[c] = 0 end
  for i = 1, #weights do
    local weight, value, took = weights[i], values[i], {}
    for c = capacity, weight, -1 do
      local candidate = best[c - weight] + value
      if candidate > best[c] then
        best[c] = candidate
        took[c] = true
      end
    end
    taken[i] = took
  end
  local chosen, c = {}, capacity
  for i = #weights, 1, -1 do
    if taken[i][c] then
      chosen[#chosen + 1] = i
      c = c - weights[i]
    end
  end
  return best[capacity], chosen
end

local lcs, indel, levenshtein = common_subsequence(), distance(2), distance(1)
if indel ~= 2 * (n - lcs) then error("edit_distance: the distances disagree") end
if levenshtein > indel or 2 * levenshtein < indel then
  error("edit_distance: Levenshtein's distance out of bounds")
end

local weights, values, capacity = {}, {}, n * 2
for i = 1, 100 do weights[i], values[i] = random(n), random(1000) end
local best, chosen = knapsack(weights, values, capacity)
local weight, value = 0, 0
for _, item in ipairs(chosen) do weight, value = weight + weights[item], value + values[item] end
if weight > capacity or value ~= best then error("edit_distance: impossible knapsack") end
if n == 3750 and (lcs ~= 2438 or levenshtein ~= 1971 or best ~= 11480) then
  error("edit_distance: wrong results")
end
print(string.format("lcs %d, indel %d, levenshtein %d, knapsack %d", lcs, indel, levenshtein, best))
