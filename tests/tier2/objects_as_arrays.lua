-- Objects of classes used as arrays: lengths, elements and appends, until the class gets a metamethod for them.
local write = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  write(table.concat(line, "\t"))
end

local Stack = {}
Stack.__index = Stack
local function new() return setmetatable({ n = 0 }, Stack) end
function Stack:push(v) self[#self + 1] = v end
function Stack:pop() local v = self[#self]; self[#self] = nil; return v end
function Stack:add(v) table.insert(self, v) end
local sum = 0
for k = 1, 60 do
  local s = new()
  for i = 1, 30 do s:push(i) end
  for i = 1, 10 do sum = sum + s:pop() end
  for i = 1, 5 do s:add(i * 100) end
  for i, v in ipairs(s) do sum = sum + i * v end
  sum = sum + #s
end
print(sum)

local log = {}
local late = new()
for i = 1, 200 do
  if i == 100 then
    Stack.__newindex = function(t, key, v) log[#log + 1] = key; rawset(t, key, v) end
  elseif i == 150 then
    Stack.__len = function(t) log[#log + 1] = "#"; return rawlen(t) end
  elseif i == 180 then
    Stack.__newindex, Stack.__len = nil, nil
  end
  late:push(i)
  late:add(-i)
end
print(#late, #log, log[1], log[100], log[#log])

-- Holes, other kinds of values, and arrays that move into the hash part.
local odd = setmetatable({ 1, 2, 3, nil, 5 }, { __index = function(_, i) return i end })
local total = 0
for k = 1, 200 do
  odd[4] = k % 3 == 0 and k or nil
  odd[2] = k % 50 == 0 and "two" or 2
  total = total + odd[4] + (tonumber(odd[2]) or 0)
end
print(total)
local sparse = new()
for i = 1, 100 do sparse[i * 2] = i end
for i = 1, 100 do sparse[i] = sparse[i] or -i end
local n = 0
for i = 1, 200 do n = n + (sparse[i] or 0) end
print(n, #sparse == 100 or #sparse == 200)

-- Elements that are removed at the end, in the middle, and by a value that may be nil.
local function remove(t, n, v)
  t[n] = nil
  t[2] = v
  return #t
end
local kept = 0
for k = 1, 200 do
  local t = { 1, 2, 3, 4, 5 }
  local n = remove(t, 5, k % 3 == 0 and "x" or k)
  kept = kept + n + (t[5] == nil and 1 or 0)
  local u = { 1, 2, 3 }
  u[1] = k % 4 ~= 0 and k or nil
  kept = kept + (u[1] or 1000)
  local s = new()
  for i = 1, 8 do s[i] = i end
  while #s > 0 do kept = kept + s[#s]; s[#s] = nil end
end
print(kept)
-- Tail calls of functions with extra arguments.
local function last(n, ...) if n == 0 then return select("#", ...), ... end return last(n - 1, n, ...) end
local function spread(...) return last(3, ...) end
for k = 1, 100 do
  local a, b, c = spread(k, k + 1)
  kept = kept + a + b + c
end
print(kept, select("#", spread()))
