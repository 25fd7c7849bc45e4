-- Numeric loops of every kind inside hot loops: what they count, where they end, and that they do not run.
local write = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  write(table.concat(line, "\t"))
end

local function ints(first, last, step)
  local n, sum = 0, 0
  for i = first, last, step do n = n + 1; sum = sum + i end
  return n, sum
end
local function down() local s = 0; for i = 10, 1, -1 do s = s * 3 + i end return s end
local function threes(n) local s = 0; for i = 1, n, 3 do s = s + i end return s end
local function back(n) local s = 0; for i = n, -n, -7 do s = s + i * 2 end return s end
local function floats(first, last, step) local s = 0.0; for x = first, last, step do s = s + x end return s end
local function mixed(n) local c = 0; for i = 1, n / 3 do c = c + i end return c end
local function steps(n, by) local c = 0; for i = 0, n, by do c = c + 1 end return c end

local total = 0
for k = 1, 400 do
  local n, sum = ints(k % 13, 20, k % 4 + 1)
  total = total + n * 1000 + sum
  n, sum = ints(20, k % 13, -(k % 4) - 1)
  total = total + n * 1000 + sum
  total = total + down() + threes(k % 11) + back(k % 20) + mixed(k % 25) + steps(30, k % 6 + 1)
  total = total + floats(0.5, k % 5, 0.25) + floats(k % 7, 0, -0.5) + floats(1, 3.5, 1)
end
print(total)

-- Limits and steps that change their kind, and the edges of integers.
local function edge(first, last, step)
  local n = 0
  local seen
  for i = first, last, step do
    n = n + 1
    seen = i
    if n == 5 then break end
  end
  return n, seen
end
local big, small = math.maxinteger, math.mininteger
for k = 1, 200 do
  local a, b = edge(k % 3, 10, k % 2 == 0 and 2 or 2.5)
  local c, d = edge(big - 3, big, 2)
  local e, f = edge(small + 3, small, -2)
  local g, h = edge(small, big, big // 2)
  local i, j = edge(1, k % 5 == 0 and math.huge or 3.7, 1)
  local l, m = edge(1, 0 / 0, 1)
  local o, p = edge(3, -math.huge, -1)
  local q, r = edge(1, big + 0.0, big // 3)
  local s, t = edge(0.0, 1, 0.3)
  if k % 40 == 0 then print(a, b, c, d, e, f, g, h, i, j, l, m, o, p, q, r, s, t) end
end

-- A step that is zero sometimes.
local function zero(step) local n = 0; for i = 1, 3, step do n = n + 1 end return n end
local function zero_float(step) local n = 0; for i = 1.0, 3, step do n = n + 1 end return n end
for k = 1, 120 do
  local ok, message = pcall(zero, k % 60 - 0)
  if not ok then print(k, message) end
  ok, message = pcall(zero_float, (k % 60) * 1.0)
  if not ok then print(k, message) end
end
for k = 1, 60 do
  local ok, message = pcall(ints, 1, k == 55 and "x" or 3, 1)
  if not ok then print(k, message) end
end

-- Loops that end a block with variables to be closed, or with none.
local closed = 0
local marker = setmetatable({}, { __close = function() closed = closed + 1 end })
local function close_some(n, t)
  local s = 0
  for i = 1, n do
    for _, v in ipairs(t) do s = s + v end
    for k, v in pairs(t) do s = s + v end
    for v in next, t do s = s + v end
    if i % 16 == 0 then
      local m <close> = marker
      s = s + 1
    end
  end
  return s
end
print(close_some(200, { 1, 2, 3 }), closed)
local function iterate(t)
  local i = 0
  return function() i = i + 1; return t[i] end, nil, nil, marker
end
local s = 0
for k = 1, 100 do
  for v in iterate({ 1, 2, 3 }) do s = s + v end
  for v in iterate({}) do s = s + v end
end
print(s, closed)

-- ipairs that ends at an element, at the array's end, and at once.
local lists = { { 1, 2, 3 }, {}, { 1, nil, 3 }, { 4, 5, 6, 7, 8, 9 }, setmetatable({}, { __index = function(_, i) return i < 4 and i or nil end }) }
local seen = 0
for k = 1, 500 do
  for i, v in ipairs(lists[k % #lists + 1]) do seen = seen + i * v end
end
print(seen)
