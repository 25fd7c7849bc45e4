-- Indices of counting loops, whose bounds are checked before the loop: where they are exceeded after all, or might seem to be.
local function filled(n, f)
  local t = {}
  for i = 1, n do t[i] = f and f(i) or i * 0.5 end
  return t
end
local function text(t)
  local parts = {}
  for i = 1, #t + 1 do parts[i] = tostring(t[i]) end
  return table.concat(parts, " ")
end

-- Neighbours, within the bounds and beyond.
local function neighbours(t, from, to)
  local s = 0
  for i = from, to do
    local before, after = t[i - 1], t[i + 1]
    s = s + t[i] + (before or 100) - (after or 1000)
  end
  return s
end
local t = filled(40)
for _ = 1, 4 do print(neighbours(t, 2, 39), neighbours(t, 1, 39), neighbours(t, 2, 40), neighbours(t, 1, 40)) end

-- Steps.
local function stepping(t, from, to, step)
  local s = 0
  for i = from, to, step do s = s * 2 % 1000003 + t[i] end
  return s
end
local u = filled(60, function(i) return i end)
for step = 1, 13 do print(stepping(u, 1, 60, step), stepping(u, 60, 1, -step), stepping(u, 60 - step, step, -7)) end
local function odd(t)
  local s = 0
  for i = 1, 59, 2 do s = s * 3 % 1000003 + t[i] + t[i + 1] end
  for i = 60, 2, -2 do s = s * 3 % 1000003 + t[i] - t[i - 1] end
  return s
end
for _ = 1, 3 do print(odd(u)) end

-- Left before the end: what comes behind is never looked at.
local function find(t, x, to)
  for i = 1, to do
    if t[i] == x then return i end
  end
end
for k = 1, 60, 7 do print(find(u, k, 60), find(u, k, 1 << 40), find(u, k, math.maxinteger), find(u, 61, 70)) end

-- Indices at the ends of the integers.
local function extreme(t, from, to, step)
  local n = 0
  for i = from, to, step do
    if t[i] == nil then n = n + 1 end
    if t[i + 1] then n = n + 1000 end
  end
  return n
end
for _ = 1, 3 do
  print(extreme(u, math.maxinteger - 30, math.maxinteger, 1), extreme(u, math.mininteger + 30, math.mininteger, -1))
  print(extreme(u, 1, math.maxinteger, math.maxinteger // 40), extreme(u, -20, 70, 1))
end

-- The array becomes shorter, longer, another one, or of another kind while the loop runs.
local function shrinking(t, n)
  local s = 0
  for i = 1, n do
    s = s + (t[i] or -1)
    if i % 5 == 0 then t[#t] = nil end
  end
  return s
end
for _ = 1, 3 do print(shrinking(filled(30), 30)) end
local function growing(t, n)
  local s = 0
  for i = 1, n do
    s = s + t[i]
    t[i + 1] = t[i] + 1
  end
  return s, #t
end
for _ = 1, 3 do print(growing({1}, 50)) end
local function replacing(t, n)
  local s = 0
  for i = 1, n do
    s = s + (t[i] or 7)
    if i == 20 then t = {1, 2, 3} end
    if i == 25 then t = filled(40) end
  end
  return s
end
for _ = 1, 3 do print(replacing(filled(40), 40)) end
local function changing(t, n, at, v)
  for i = 1, n do
    t[i] = t[i] * 2
    if i == at then t[n] = v end
  end
  return text(t)
end
for _, v in ipairs {1, 2.5, "3"} do print(changing(filled(20, function(i) return i end), 20, 10, v)) end
for _, v in ipairs {1, 2.5, "3"} do print(changing(filled(20), 20, 10, v)) end

-- Stores of what the array does not hold.
local function storing(t, values)
  for i = 1, #values do t[i] = values[i] end
  return text(t)
end
for _ = 1, 3 do
  print(storing(filled(5), {1.5, 2.5, 3.5}), storing(filled(5), {1, 2, 3}), storing(filled(5), {"a", "b", "c"}))
  print(storing(filled(3), {1.5, 2.5, 3.5, 4.5, 5.5}), storing({1, "x", true, {} and 4}, {2, "y", false, 5, 6}))
  print(storing({1, 2, 3}, {false, false, false}), storing({true, true, true}, {false, false, true}))
end

-- Ways through the loop that count otherwise.
local function skipping(t, n)
  local s, i, back = 0, 1, 0
  while i <= n do
    s = s + t[i]
    if i % 7 == 0 then i = i + 3 elseif i % 11 == 0 and back < 9 then i = i - 2 back = back + 1 end
    i = i + 1
  end
  return s
end
for _ = 1, 3 do print(skipping(u, 57)) end
local function nested(t, n)
  local s = 0
  for i = 1, n do
    if i % 3 == 0 then
      for j = i, n do s = s + t[j] * t[i] end
    elseif i % 5 == 0 then
      for j = n, i, -1 do s = s - t[j] end
    else
      s = s + t[i]
    end
  end
  return s
end
for _ = 1, 3 do print(nested(u, 60)) end
local function matrix(n)
  local a, b, c = {}, {}, {}
  for i = 1, n do
    a[i], b[i], c[i] = {}, {}, {}
    for j = 1, n do a[i][j], b[i][j] = i + j, i - j end
  end
  for i = 1, n do
    for j = 1, n do
      local s = 0
      for k = 1, n do s = s + a[i][k] * b[k][j] end
      c[i][j] = s
    end
  end
  return text(c[1]), text(c[n])
end
print(matrix(12))

-- Two variables that the loop gives one value, and some ways through it two.
local function twins(n)
  local a, b, s = 0, 0, 0
  for i = 1, n do
    s = s + a * 2 + b
    if i % 3 == 0 then a = 1 b = 2 else a = i b = i end
  end
  local i, j = 0, 5
  while i < n do
    s = s + i * 3 + j
    i = i + 1
    j = i
    if i % 4 == 0 then j = 9 end
  end
  return s
end
for _ = 1, 3 do print(twins(80)) end

-- The loop's own variables, changed from outside.
local function meddled(t, n)
  local s = 0
  for i = 1, n do
    s = s + (t[i] or 5)
    if i == 15 then
      for k = 1, 20 do
        local name, v = debug.getlocal(1, k)
        if name and v == 15 and name:find("state") then debug.setlocal(1, k, 200) end
      end
    end
    if s > 100000 then break end
  end
  return s > 0
end
for _ = 1, 3 do print(tostring(meddled(u, 30))) end

-- Rows of flat arrays: what is added to an index is the same in all passes, whatever it is.
local function rows(t, width, from, to, at, less)
  local s = 0
  for i = from, to do
    local x = t[at + i]
    local above = t[at + i - less]
    s = (s * 3 + (x or 7) - (above or 9) + (t[width - 1 + i] or 11)) % 1000003
  end
  return s
end
local flat = filled(90, function(i) return i * i end)
for at = -10, 90, 10 do
  print(rows(flat, 10, 1, 10, at, 10), rows(flat, 10, 1, 10, at, -10), rows(flat, 10, 5, 4, at, 0), rows(flat, 0, 1, 20, at, at))
end
for _, far in ipairs { math.maxinteger, math.mininteger, math.maxinteger - 5, math.mininteger + 5 } do
  print(rows(flat, 10, 1, 20, far, far), rows(flat, 10, 1, 20, far, 0), rows(flat, far, 1, 20, 10, far))
end
local function smooth(t, from, to, step, at, width)
  for i = from, to, step do
    local k = at + i
    t[k] = (t[k] + t[k - width] + t[k + width]) % 1009
  end
  return text(t)
end
for _ = 1, 3 do
  print(smooth(flat, 1, 10, 1, 40, 10))
  print(smooth(flat, 10, 1, -1, 20, 10))
  print(smooth(flat, 1, 30, 3, 30, 30))
  print(pcall(smooth, flat, 1, 10, 1, 80, 10))
end
