-- Inner loops over numbers, whose passes are counted before they begin: limits, steps and types of any kind.
local pending, show = "", print
local function write(...) pending = pending .. table.concat({...}) end
local function print(...)
  show(pending, ...)
  pending = ""
end
local function passes(from, to, by, most)
  local n, last = 0, from
  for i = from, to, by do
    n, last = n + 1, i
    if n >= (most or 1000) then break end
  end
  return n .. ":" .. last
end
local low, high = math.mininteger, math.maxinteger

-- A nest, the steps of whose inner loop are constants.
local function nest(n)
  local s = 0
  for i = 1, n do
    for j = i, n do s = s + i * j end
    for j = n, i, -1 do s = s * 3 % 1000003 + j end
    for j = 1, n, 3 do s = s + j end
    for j = n, -n, -4 do s = s * 5 % 1000003 - j end
    for j = -i, i, 7 do s = s + j end
    for j = i, 1 do s = s + 1 end
  end
  return s
end
for n = 0, 12 do write(nest(n), " ") end
print()

-- Steps that are not constants, and limits at the ends of the range.
local function steps(list)
  local parts = {}
  for i = 1, #list do
    local c = list[i]
    local n, last = 0, 0
    for j = c[1], c[2], c[3] do
      n, last = n + 1, j
      if n == 40 then break end
    end
    parts[#parts + 1] = n .. ":" .. last
  end
  return table.concat(parts, " ")
end
local up, mixed = {}, {}
for by = 1, 12 do up[by] = {1, 100, by} end
for by = -6, 6 do if by ~= 0 then mixed[#mixed + 1] = {by, -by * 9, -by} mixed[#mixed + 1] = {-50, 50, by} end end
print(steps(up))
print(steps(mixed))
for _ = 1, 3 do
  print(steps {{low, high, 1 << 62}, {high, low, low}, {low, high, high}, {low, low + 3, 2}, {high - 3, high, 2}})
  print(steps {{low, high, 3}, {low, high, 7}, {high, low, -3}, {0, high, 5}, {-1, high, 6}, {low, 0, 10}})
end

-- Numbers of passes beyond the greatest integer.
local function far(by)
  local s = ""
  for k = 1, 6 do
    local n = 0
    for i = low + k, high - k, 3 do n = n + 1 if n > 5 then break end end
    for i = high - k, low + k, -5 do n = n + 1 if n > 12 then break end end
    for i = low + k, high, 8 do n = n + 1 if n > 20 then break end end
    for i = low, high, by do n = n + 1 if n > 30 then break end end
    s = s .. " " .. n
  end
  return s
end
print(far(1), far(2), far(9), far(high))

-- Steps of zero, floats and strings.
local function tries(from, to, by)
  local ok, message = pcall(passes, from, to, by)
  return tostring(message):gsub("^.-:%d+: ", "")
end
for _ = 1, 4 do
  for _, c in ipairs {{1, 9, 2}, {1, 9, 0}, {1, 9.5, 2}, {1.0, 9, 2}, {9, 1, -2}, {1, 9, 0.5}, {1, 0, 1}, {1, "9", 1}, {0, 0 / 0, 1}, {1, 1e300, 1 << 61}} do
    write((tries(c[1], c[2], c[3])), " ")
  end
  print()
end
-- What is no number has not passed the limit, and does not go on.
local function passes(first, last, step)
  local n = 0
  for _ = first, last, step do n = n + 1 end
  return n
end
local nan, counts = 0 / 0, { 0, 0, 0, 0, 0 }
for i = 1, 200 do
  local first = i % 50 == 0 and nan or i + 0.5
  counts[1] = counts[1] + passes(first, i + 3, 1)
  counts[2] = counts[2] + passes(i + 0.5, i % 40 == 0 and nan or i + 2, 1)
  counts[3] = counts[3] + passes(first, 0.5, -1.5) % 7
  counts[4] = counts[4] + passes(1.0, 2, i % 60 == 0 and nan or 1)
  counts[5] = counts[5] + passes(nan, nan, 1.0)
end
print(table.concat(counts, " "))
