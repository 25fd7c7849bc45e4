-- Closures over fresh and shared variables, open lists, tail calls, many shapes, arrays of changing kinds, strings.
local out = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  out(table.concat(line, " "))
end
-- inlined functions storing to fresh and shared upvalues
local function counter() local c = 0 return {inc = function() c = c + 1 return c end, get = function() return c end, set = function(v) c = v end} end
local cs = {} for i = 1, 5 do cs[i] = counter() end
local s = 0
for i = 1, 100 do local c = cs[i % 5 + 1] c.inc() if i % 17 == 0 then c.set(i) elseif i % 31 == 0 then c.set(i + 0.5) end s = s + c.get() end
print(s)
-- uninitialised recursion local
for i = 1, 50 do local f f = function(n) if n == 0 then return i end return f(n - 1) end s = s + f(i % 5) if i % 9 == 0 then f = nil end end print(s)
-- loops with captured loop variable assigned
for i = 1, 60 do local g = function() i = i + 1 return i end s = s + g() + i end print(s)
for i = 1, 3 do for j = 1, 30 do local h = function() j = j * 2 return j end if j % 3 == 0 then s = s + h() end end end print(s)
-- while with closures and breaks
local fs = {} local i = 0 while true do local v = i fs[#fs + 1] = function() v = v + 1 return v end i = i + 1 if i > 40 then break end if i % 2 == 0 then goto c end s = s + fs[#fs]() ::c:: end for _, f in ipairs(fs) do s = s + f() end print(s)
-- repeat with local in the condition
local n = 0 for k = 1, 40 do local r = 0 repeat local d = r * 2 local f = function() return d end r = r + 1 n = n + f() until d > k end print(n)
-- varargs through many
local function v1(...) return ... end local function v2(...) return v1(...), select("#", ...) end local function v3(a, ...) return v2(a, ...) end
local function v4(...) local t = {...} return #t, ... end local function v5(...) return (...), v4(select(2, ...)) end
for k = 1, 80 do local a, b, c = v3(k, v1(1, 2), nil) s = s + a + (b or 0) + (c or 0) local p, q, r = v5(k, k + 1, v1(k)) s = s + p + q + r if k % 7 == 0 then local z = v5() s = s + (z or 1) end end print(s)
-- too many args / too few
local function f3(a, b, c) return (a or 1) + (b or 10) + (c or 100) end
for k = 1, 60 do s = s + f3() + f3(k) + f3(k, k) + f3(k, k, k, k, k) + f3(v1(k, k)) + f3(k, v1()) + (f3(v1())) end print(s)
-- tail calls of all kinds
local function t0(a, b) if a > 0 then return t0(a - 1, b + 1) end return b end
local function t1(...) return f3(...) end local function t2(a) return v1(a, a) end local function t3(a) return select("#", a, a) end local function t4(a) return t3(a) + 0 end
local mc = setmetatable({}, {__call = function(self, a, b) return a + (b or 5) end}) local function t5(a) return mc(a) end
for k = 1, 60 do local x, y = t2(k) s = s + t0(k % 4, k) + t1(k) + t1(k, k, k, k) + x + y + t3(k) + t4(k) + t5(k) + mc(k, 1) end print(s)
local function ping(n) if n <= 0 then return 0 end return (function(m) return ping(m) end)(n - 1) end for k = 1, 30 do s = s + ping(k) end print(s)
-- polymorphic shapes: different orders of fields, deletion, dictionary
local objs = {{x = 1, y = 2}, {y = 3, x = 4}, {x = 5, z = 1, y = 6}, setmetatable({x = 7}, {__index = {y = 8}}), setmetatable({}, {__index = function(t, k) return k == "x" and 9 or 10 end})}
local big = {} for k = 1, 200 do big["f" .. k] = k end big.x = 1 big.y = 2 objs[6] = big
for k = 1, 200 do local o = objs[k % 6 + 1] s = s + o.x + o.y if k % 50 == 0 then o.x = o.x + 1 end if k == 120 then objs[1].x = nil objs[1].x = 20 end if k == 150 then objs[2].w = 1 end end print(s)
-- field stores that add, replace, delete
for k = 1, 100 do local o = {} o.a = k if k % 3 == 0 then o.b = k end o.c = o.a if k % 5 == 0 then o.a = nil end o["d" .. k % 4] = 1 local c = 0 for _, v in pairs(o) do c = c + v end s = s + c end print(s)
-- many fields (overflow)
for k = 1, 60 do local o = {} o.a1 = 1 o.a2 = 2 o.a3 = 3 o.a4 = 4 o.a5 = 5 o.a6 = 6 o.a7 = 7 o.a8 = k o.a9 = 9 o.a10 = k o.a11 = 11 o.a12 = 12 s = s + o.a1 + o.a8 + o.a10 + o.a12 end print(s)
-- arrays of arrays, nil elements, float keys, negative
local g = {} for a = 1, 20 do g[a] = {} for b = 1, 20 do g[a][b] = (a * b) % 3 == 0 and 0.5 or a end end
for r = 1, 5 do for a = 1, 20 do local row = g[a] for b = 1, 20 do s = s + row[b] if r == 3 and b == 7 then row[b] = false end if not row[b] then row[b] = "1" end s = s + row[b] end end end print(s)
for k = 1, 60 do local t = {1, 2, 3, nil, 5} t[2.0] = k t[-1] = k t[0] = k t[k + 0.5] = k t[1 << 40] = 1 s = s + t[2] + t[-1] + t[0] + (t[4] or 1) + t[k + 0.5] + t[2^40] end print(s)
local q = {} for k = 1, 300 do if k % 3 ~= 0 then q[#q + 1] = k else local v = table.remove(q) s = s + (v or 0) end if k % 50 == 0 then q = {} end end print(s, #q)
local d = {} for k = 100, 1, -1 do d[k] = k end for k = 1, 100 do s = s + d[k] d[k] = nil end print(s, next(d))
-- and/or, comparisons chains, nan
local nan = 0/0 local c = 0 for k = 1, 80 do local v = k % 4 == 0 and nan or k / 3 if v == v then c = c + 1 end if not (v < 10) then c = c + 2 end if v >= 10 then c = c + 4 end if v ~= k then c = c + 8 end if k % 7 == 3 and v > 1 or k == 5 then c = c + 16 end end print(c)
-- mixed int/float comparisons at limits
for k = 1, 40 do local big = math.maxinteger local f = 2^63 if big < f then c = c + 1 end if big + 0.0 == f then c = c + 2 end if math.mininteger <= -2^63 then c = c + 4 end if k < 20.5 then c = c + 8 end if 2^53 == (1 << 53) + (k % 2) then c = c + 16 end end print(c)
-- strings
local st = "" for k = 1, 80 do st = st .. string.char(64 + k % 26) if #st > 20 then st = st:sub(2, -3) end if st:byte(k % 10 + 1) == 70 then c = c + 1 end if st:find("DE", 1, true) then c = c + 10 end if st < "M" then c = c + 3 end for w in st:gmatch("A.") do c = c + #w end end print(st, c)
for k = -10, 60 do local x = ("hello"):sub(k, k + 2) local b = ("hello"):byte(k) s = s + #x + (b or 0) end print(s)
print(pcall(function() for k = 1, 60 do local x = string.char(k * 5) end end))
print(math.type(s), s)
local mx = 0 for k = 1, 60 do mx = math.max(mx, k % 7, k / 2) mx = math.min(mx, 100) c = c + math.floor(k / 7) + math.abs(-k) + math.fmod(k, 3) + (math.tointeger(k / 2) or 0) + math.ceil(-k / 3) + (k % 5 == 0 and math.floor(2^70 / k) // 2^66 or 0) end print(mx, c)
print(pcall(function() local t = {} for k = 1, 60 do t[k] = math.floor(k == 50 and "a" or k + 0.5) end end))
