-- What is constant changes in the middle of hot loops: captured variables, metatables, methods, globals.
local out = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  out(table.concat(line, " "))
end
-- upvaluejoin
local function mk(v) local function g() return v end return g end
local f, g = mk(1), mk(10)
local r = 0
for i = 1, 60 do
  r = r + f()
  if i == 30 then debug.upvaluejoin(f, 1, g, 1) end
  if i == 45 then debug.setupvalue(f, 1, 100) end
end
print(r)
do local a, b = 1, 2
  local function fa() return a end
  local function fb() return b end
  local s = 0
  for i = 1, 60 do s = s + fa() if i == 33 then debug.upvaluejoin(fa, 1, fb, 1) end end
  print(s)
end
-- metatables of primitives
local s = 0
for i = 1, 60 do
  if i == 20 then debug.setmetatable(0, {__index = function(n, k) return n + 1 end, __add = function() return 1 end, __concat = function() return "!" end}) end
  if i == 40 then debug.setmetatable(0, nil) end
  s = s + (pcall(function() return (i).x end) and 1 or 0)
  s = s + #(i .. "")
end
print(s)
s = 0
for i = 1, 60 do
  if i == 30 then debug.setmetatable(nil, {__index = function() return 5 end}) end
  local t = {}
  local ok, v = pcall(function() return t.x.y end)
  if ok then s = s + v end
end
debug.setmetatable(nil, nil)
print(s)
-- string methods
s = ""
for i = 1, 60 do
  if i == 20 then string.upper = function(x) return "<" .. x .. ">" end end
  if i == 40 then getmetatable("").__index = function(t, k) return function() return k end end end
  if i == 50 then getmetatable("").__index = string end
  local x = ("a"):upper()
  s = s .. x
end
print(s)
-- booleans with metatables
debug.setmetatable(true, {__index = {v = 3}, __call = function(b, x) return x end, __eq = function() return true end})
s = 0
for i = 1, 40 do local b = i % 2 == 0 s = s + b.v + b(i) end
print(s)
debug.setmetatable(true, nil)
-- __eq on tables changing
local mt = {}
local p, q = setmetatable({}, mt), setmetatable({}, mt)
s = 0
for i = 1, 60 do if p == q then s = s + 1 end if i == 30 then mt.__eq = function() return true end end if i == 50 then mt.__eq = nil end end
print(s)
-- __len, __lt added
s = 0
local t = setmetatable({1, 2, 3}, mt)
for i = 1, 60 do s = s + #t if i == 30 then mt.__len = function() return 100 end end if i == 50 then setmetatable(t, nil) end end
print(s)
-- __newindex added midway
s = 0
local holder = setmetatable({}, mt)
for i = 1, 60 do holder.x = i holder[i] = i if i == 30 then mt.__newindex = function(t, k, v) s = s + 1 end holder.x = nil end if i == 40 then mt.__newindex = nil end end
print(s, holder.x, #holder > 0)
-- globals removed
GX = 1
s = 0
for i = 1, 60 do if GX == nil then GX = 5 end s = s + GX if i % 7 == 0 then GX = nil end end
print(s)
setmetatable(_G, {__index = function(t, k) return 1000 end, __newindex = function(t, k, v) rawset(t, k, v + 1) end})
s = 0
for i = 1, 60 do s = s + QQ if i == 30 then QQ = 7 end if i == 45 then QQ = nil end end
print(s)
setmetatable(_G, nil)
