-- Tables change their kind, their contents and their metatables in hot loops; arithmetic at its limits; errors.
local out = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  out(table.concat(line, " "))
end
-- tables under modification by library functions
local a = {}
local s = 0
for i = 1, 80 do
  table.insert(a, i)
  if i % 5 == 0 then table.remove(a, 1) end
  if i % 9 == 0 then table.sort(a, function(x, y) return x > y end) end
  if i % 11 == 0 then a[#a + 1] = 0.5 end
  if i % 13 == 0 then table.move(a, 1, 3, 2) end
  for j = 1, #a do s = s + a[j] end
end
print(s, #a)
-- array becoming hash, nil at end
local t = {}
for i = 1, 100 do
  t[i] = i
  if i % 10 == 0 then for j = i, i - 8, -1 do t[j] = nil end end
  s = s + #t % 1
end
local c = 0 for k, v in pairs(t) do c = c + v end print(c)
-- holders
local Base = {} Base.__index = Base
function Base.f(self) return 1 end
local o = setmetatable({}, Base)
s = 0
for i = 1, 90 do
  s = s + o:f()
  if i == 20 then Base.f = function() return 10 end end
  if i == 40 then rawset(Base, "f", function() return 100 end) end
  if i == 50 then for k in pairs(Base) do if k == "f" then Base[k] = function() return 1000 end end end end
  if i == 60 then Base["f"] = nil Base.__index = {f = function() return 10000 end} end
  if i == 70 then setmetatable(o, {__index = function() return function() return 7 end end}) end
  if i == 80 then o.f = function() return 3 end end
end
print(s)
-- next during changes
t = {}
for i = 1, 30 do t["k" .. i] = i end
local n = 0
for r = 1, 10 do for k, v in pairs(t) do n = n + v if v % 3 == r % 3 then t[k] = nil elseif v % 3 == 1 then t[k] = v + 3 end end end
print(n)
-- next with invalid key
print(pcall(function() local t = {1, 2, 3} for i = 1, 30 do local k = next(t, i % 4 == 0 and nil or i % 4) if i == 25 then next(t, "zz") end end end))
-- pairs with __pairs
local P = setmetatable({}, {__pairs = function(t) return function(_, k) k = (k or 0) + 1 if k < 4 then return k, k * 2 end end, t, nil end})
n = 0 for i = 1, 30 do for k, v in pairs(P) do n = n + v end end print(n)
-- integer loops at bounds
n = 0
for r = 1, 20 do for i = math.maxinteger - 3, math.maxinteger do n = n + 1 end for i = math.mininteger + 2, math.mininteger, -1 do n = n + 1 end end print(n)
for r = 1, 20 do for i = 3, 1 do n = n + 1 end for i = 1, 0.5 do n = n + 1 end for i = 1, math.huge, 1 << 60 do n = n + 1 end end print(n)
for r = 1, 20 do local ok, e = pcall(function() for i = 1, 10, r % 4 == 0 and 0 or 1 do n = n + 1 end end) if not ok then n = n + #e end end print(n)
-- division
local z = {1, 2, 0, -3, math.mininteger, -1, 0.0, -0.0, 2^53, 1e308}
local out = {}
for r = 1, 10 do for i = 1, #z do for j = 1, #z do
  local ok, v = pcall(function() return z[i] // z[j] end) out[#out + 1] = tostring(v)
  ok, v = pcall(function() return z[i] % z[j] end) out[#out + 1] = tostring(v)
  out[#out + 1] = tostring(z[i] / z[j])
  out[#out+1] = tostring(z[i] < z[j]) out[#out+1] = tostring(z[i] == z[j])
end end end
local h = 0 for i, v in ipairs(out) do v = v:gsub("-nan", "nan") for j = 1, #v do h = (h * 31 + v:byte(j)) & 0xffffff end end print(h)
-- shifts
h = 0 for r = 1, 3 do for i = -70, 70 do h = h ~ (r << i) ~ (-1 >> i) ~ (i << r) end end print(h)
-- concat numbers
local cs = {} for i = 1, 50 do cs[#cs + 1] = i .. "|" .. i / 2 .. "|" .. -0.0 .. (i % 3 == 0 and 1e100 or "x") end print(table.concat(cs, ";"))
-- string coercions
n = 0 for i = 1, 50 do n = n + ("10" + i) + ("0x10" * 1) + (i % 7 == 0 and "1e1" or 1) end print(n)
print(pcall(function() for i = 1, 50 do local v = i % 26 == 25 and {} or i local w = v + 1 end end))
print(pcall(function() for i = 1, 50 do local v = i % 26 == 25 and {} or "a" local w = v .. "b" end end))
print(pcall(function() for i = 1, 50 do local v = i % 26 == 25 and "x" or i local w = v < 3 end end))
print(pcall(function() for i = 1, 50 do local v = i % 26 ~= 25 and {x = 1} or nil local w = v.x end end))
print(pcall(function() for i = 1, 50 do local v = i % 26 ~= 25 and {x = 1} or nil v.x = 1 end end))
print(pcall(function() for i = 1, 50 do local v = {} if i == 25 then v[nil] = 1 end v[i] = 1 end end))
print(pcall(function() local t = {} for i = 1, 50 do local k = i if i == 25 then k = 0/0 end t[k] = 1 end end))
print(pcall(function() for i = 1, 50 do local v = i % 26 ~= 25 and print or nil if i == 25 then v(1) end end end))
print(pcall(function() local t = {f = function() end} for i = 1, 50 do if i == 25 then t.f = nil end t:f() end end))
print(pcall(function() local function r(n) return 1 + r(n + 1) end for i = 1, 3 do pcall(r, 1) end return "ok" end))
