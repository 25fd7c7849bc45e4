-- Instructions that change their form while a pass is recorded are in it once: a loop that is linked to goes on at its head.
local write = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  write(table.concat(line, "\t"))
end

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
local function three() return (edge(0.0, 1, 0.3)) end
for k = 1, 60 do
  local a, b = edge(k % 3, 10, k % 2 == 0 and 2 or 2.5)
  local c, d = edge(0, 100, 30)
  local e = three()
  local f, g = edge(0.0, 1, 0.3)
  print(a, b, c, d, e, f, g)
end
local function fill(t, v) for i = 1, #t do t[i] = v end return #t end
local function sum(t) local s = t[1] for i = 2, #t do s = s + t[i] end return s end
for k = 1, 60 do
  local t = { 1, 2, 3, 4 }
  fill(t, k % 2 == 0 and k or k + 0.5)
  local u = { 1.5, 2, "3", 4 }
  print(sum(t), sum(u), k % 3 == 0 and "x" .. k or "x" .. 0.5)
end
