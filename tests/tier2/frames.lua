-- Frames of inlined functions are looked at, changed, suspended, unwound and hooked.
local out = print
local function print(...)
  local line = table.pack(...)
  for i = 1, line.n do line[i] = tostring(line[i]) end
  out(table.concat(line, " "))
end
local function tb(msg) return (debug.traceback(msg, 2):gsub("%[C%]: in %?.*", "")) end
local function c(n) if n % 20 == 0 then print(tb("t" .. n)) end return n end
local function b(n, ...) local r = c(n) return r + select("#", ...) end
local function a(n) return (b(n, 1, 2, n % 2 == 0 and 1 or nil)) end
local s = 0
for i = 1, 60 do s = s + a(i) end print(s)
-- tail
local function tc(n) if n % 20 == 0 then print(tb("tail" .. n)) end return n end
local function tb1(n) return tc(n) end
local function ta(n) local x = tb1(n) return x end
for i = 1, 60 do s = s + ta(i) end print(s)
-- methods, upvalues, globals, fields names in errors
local T = {} function T.m(self, v) return v.x.y end function T:err(i) if i == 40 then error("E" .. i) end end
G = {h = function(v) return v + nil end}
for _, f in ipairs{function(i) return T:m(i % 50 == 49 and {} or {x = {y = 1}}) end, function(i) T:err(i) end, function(i) if i == 40 then G.h(1) end end,
  function(i) local q = i == 40 and {} or 1 return q + 1 end, function(i) local q = i == 40 and {} or 1 return q < 2 end, function(i) return #(i == 40 and 5 or "a") end,
  function(i) local q = i == 40 and "x" or i for j = 1, q do end end, function(i) local z = i == 40 and 0 or 1 return 1 // z end, function(i) local z = i == 40 and 0 or 1 return 1 % z end,
  function(i) local z = i == 40 and 1.5 or 1 return 1 | z end, function(i) local z = i == 40 and "a" or 1 return z & 1 end, function(i) return -(i == 40 and {} or 1) end,
  function(i) local t = setmetatable({}, {__index = function(t, k) if i == 40 then error("idx") end return 1 end}) return t.x end,
  function(i) string.rep(i == 40 and {} or "x", 1) end, function(i) ("x"):rep(i == 40 and "q" or 1) end, function(i) return math.floor(i == 40 and "q" or 1) end,
  function(i) setmetatable(i == 40 and 1 or {}, nil) end, function(i) return T.nope and 1 or (i == 40 and T.nope()) end } do
  print(xpcall(function() for i = 1, 60 do f(i) end end, function(e) return tb(tostring(e)) end))
end
-- getlocal and setlocal of callers from inlined
local function set(level, name, v) for k = 1, 50 do local n = debug.getlocal(level + 1, k) if not n then return end if n == name then debug.setlocal(level + 1, k, v) end end end
local function inner(i) local q = i if i % 10 == 0 then set(1, "q", 100) set(2, "p", 1000) set(3, "s2", 0.5) end return q end
local function mid(i) local p = 1 local r = inner(i) return p + r end
local s2 = 0
for i = 1, 65 do s2 = s2 + mid(i) end print(s2)
-- varargs by getlocal
local function va(...) local n = 0 for k = 1, 4 do local nm, v = debug.getlocal(1, -k) if nm then n = n + v end end return n end
local function vb(...) if select("#", ...) > 2 then debug.setlocal(1, -1, 50) end return (...) end
local s3 = 0
for i = 1, 60 do s3 = s3 + va(i, i % 2 == 0 and 2 or 3) + vb(i, 1, i % 3 == 0 and 1 or nil) end print(s3)
-- coroutines yield across inlined frames
local function y1(i) local v = coroutine.yield(i) return v end
local function y2(i) local a, b = y1(i), i return a + b end
local function gen() local s = 0 for i = 1, 60 do s = s + y2(i) end return s end
local co = coroutine.create(gen)
local r, v = true, nil
local tot = 0
for i = 1, 62 do r, v = coroutine.resume(co, i) tot = tot + (type(v) == "number" and v or 0) end print(tot, r, v)
-- close in coroutine in hot loop
for i = 1, 40 do
  local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function(_, e) s = s + i end}) for j = 1, 5 do if j == i % 7 then coroutine.yield() end end end)
  coroutine.resume(co) if i % 2 == 0 then coroutine.close(co) else coroutine.resume(co) end
end print(s)
-- stack overflow within hot
local function over(n) return 1 + over(n + 1) end
print(pcall(over, 1)) print(select(2, pcall(function() for i = 1, 10 do over(i) end end)):sub(1, 60))
local function deep(n) if n == 0 then return 0 end return 1 + deep(n - 1) end
for i = 1, 5 do s = s + deep(i * 1000) end print(s)
-- hooks
local cnt = 0
for i = 1, 60 do if i == 20 then debug.sethook(function() cnt = cnt + 1 end, "", 100) end if i == 40 then debug.sethook() end s = s + a(i) end print(s, cnt > 3)
local lines = {}
local function hooked(i) local z = i return z end
for i = 1, 60 do
  hooked(i)
  if i == 30 then debug.sethook(function(e, l) lines[#lines + 1] = e .. (l or "") end, "crl") end
  if i == 32 then debug.sethook() end
end
local base = nil for k, l in ipairs(lines) do local n = tonumber(l:match("%d+")) if n then base = base or n lines[k] = l:gsub("%d+", tostring(n - base)) end end
print(table.concat(lines, " "))
-- multiple results & open calls
local function mr(n) if n == 0 then return elseif n == 1 then return 1 elseif n == 2 then return 1, 2 else return 1, 2, 3 end end
local function cat(...) local s = "" for i = 1, select("#", ...) do s = s .. tostring((select(i, ...))) end return s end
local o = {}
for i = 1, 60 do o[#o + 1] = cat(mr(i % 4)) .. cat(0, mr((i + 1) % 4)) .. #{mr(i % 3)} .. cat((mr(i % 4))) .. cat(pcall(mr, i % 4)) .. cat(select(2, pcall(mr, i % 4))) end print(table.concat(o, ","))
-- goto loops
do local i = 0 ::top:: i = i + 1 local fn = function() i = i + 0 return i end if i % 3 == 0 then s = s + fn() goto cont end s = s + 1 ::cont:: if i < 70 then goto top end end print(s)
-- closures in loops capture fresh
local fs = {} for i = 1, 50 do local j = i * 2 fs[i] = function() j = j + i return j end end
local q = 0 for r = 1, 3 do for i = 1, 50 do q = q + fs[i]() end end print(q)
