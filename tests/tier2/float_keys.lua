-- Floats as keys: those that are integers are such keys, others are not.
local pending, show = "", print
local function write(...) pending = pending .. table.concat({...}) end
local function print(...)
  show(pending, ...)
  pending = ""
end
local function filled(n, v)
  local t = {}
  for i = 1, n do t[i] = v or i end
  return t
end
local function sum(t, from, to, by)
  local s = 0
  for i = from, to, by do s = s + (t[i] or 1000) end
  return s
end
local t = filled(50)
t[0], t[-3], t[2.5] = 7, 8, 9
for _ = 1, 3 do
  print(sum(t, 1.0, 50, 1), sum(t, 0.0, 60, 2), sum(t, -3.0, 3, 1), sum(t, 1, 50, 0.5), sum(t, 1.0, 3, 0.25), sum(t, 1, 50, 1))
end
print(sum(t, -0.0, 5, 1), sum(t, 2.0 ^ 53, 2.0 ^ 53 + 4, 2), sum(t, -1e300, 0, 1e299))

local function store(t, from, to, by, v)
  for i = from, to, by do t[i] = v + i // 1 end
  return #t
end
for k = 1, 3 do
  local u = filled(20, 0)
  print(store(u, 1.0, 20, 1, 5), store(u, 21.0, 30, 1, 6), store(u, 31.0, 33, 0.5, 7), store(u, 0.0, 3, 1, 8.5))
  local keys = 0
  for key, v in pairs(u) do keys = keys + 1 if math.type(key) == "float" then write(key, "=", v, " ") end end
  print(keys, u[1], u[30], u[31], u[31.5], u[0])
end

-- Keys that are seen by metamethods are what the program wrote.
local seen = {}
local watched = setmetatable({}, {
  __index = function(_, key) seen[#seen + 1] = math.type(key) .. ":" .. key return 1 end,
  __newindex = function(_, key) seen[#seen + 1] = math.type(key) .. "=" .. key end,
})
for _, u in ipairs {filled(9), watched, filled(9), watched} do
  for i = 7.0, 12 do u[i] = u[i] or i end
end
print(table.concat(seen, " "))
