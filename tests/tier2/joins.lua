-- Side executors that come back to the head of their loop, after having changed what the loop takes for granted.

-- A method, found through a chain of holders, becomes a constant in the loop; nothing else in the loop mentions the receiver.
do
  local C, D = {}, {}
  C.get = function() return 1 end
  D.__index = setmetatable(D, {__index = C})
  local f1, f2, new = function() return 1000 end, function() return 5 end, {}
  for i = 1, 400 do new[i] = i == 300 and f2 or f1 end
  local function go(o, list)
    local s = 0
    for i = 1, 4000 do
      s = s + o.get()
      if i % 10 == 0 then list[i // 10].get = new[i // 10] end
    end
    return s
  end
  local list = {}
  for i = 1, 400 do list[i] = {v = i} end
  list[200] = D
  local o = setmetatable({}, D)
  list[300] = o
  print("constant", go(o, list))
end

-- What has been stored before the loop is a constant in it, until a handler stores something else.
do
  local L = {t = 1}
  local function go(n, list)
    local s = 0
    local t = {x = 1}
    L.t = t
    for i = 1, n do
      s = s + t.x
      if i % 10 == 0 then list[i // 10].x = i end
    end
    return s
  end
  local list, sum = {}, 0
  for i = 1, 4 do list[i] = setmetatable({}, {__newindex = function(_, _, v) v = v + 1 end}) end
  for r = 1, 600 do
    sum = sum + go(40, list)
    if r % 200 == 150 then list[3] = setmetatable({}, {__newindex = function(_, _, v) L.t.x = v end}) end
  end
  print("store", sum)
end

-- A path through several objects.
do
  local function go(t, list)
    local s = 0
    for i = 1, 4000 do
      s = s + t.u.w.x
      if i % 10 == 0 then list[i // 10].u = {a = 1, w = {x = i}} end
    end
    return s
  end
  local list = {}
  for i = 1, 400 do list[i] = {u = 1} end
  local t = {u = {a = 1, w = {x = 1}}}
  list[200], list[300] = t, t
  print("path", go(t, list))
end

-- A new object is stored to after the collector has seen it.
do
  collectgarbage("generational")
  local L = {t = 1}
  local function go(n, g)
    local s = 0
    local t = {x = {0}}
    L.t = t
    for i = 1, n do
      if i % 10 == 0 then g("step") s = s + L.t.x[1] end
      t.x = {i}
    end
    return s
  end
  local sum = 0
  for _ = 1, 300 do sum = sum + go(40, collectgarbage) end
  print("new", sum)
  collectgarbage("incremental")
end

-- Two variables are one in the loop, and get a boolean.
do
  local function f(a, m)
    local x, y = nil, nil
    local n = 0
    for i = 1, m do
      if x == true then n = n + 1 end
      if i % 3 == 0 then x = not a[i] y = x elseif i % 5 ~= 4 then x = a[i] y = x end
    end
    return x, y, n
  end
  local a = {}
  for i = 1, 40 do a[i] = i % 2 == 0 and i or i % 7 == 0 and "x" or i % 5 > 2 end
  local s, keys = {}, {}
  for r = 1, 1500 do
    local x, y, n = f(a, 9 + r % 9)
    local k = tostring(x) .. tostring(y) .. n
    if not s[k] then keys[#keys + 1] = k end
    s[k] = (s[k] or 0) + 1
  end
  for _, k in ipairs(keys) do print(k, s[k]) end
end

-- A counter and what it is stored to are one variable in the loop; a branch does not store it.
do
  local function get(b) return b.x end
  local function work(k)
    local t, n, i = {x = 1, y = 1}, 0, 0
    local e = {x = 1, r = 1}
    while i < 278 do
      i = i + 1
      n = n + get(t)
      if i % 5 == k then t.x = i elseif i % 25 == 1 then e.r = {v = i} end
    end
    return n
  end
  for k = 0, 4 do print("counter", work(k), work(k)) end
  local function copies(t, m)
    local x, s = t.x, 0
    for i = 1, m do
      s = s + t.x
      x = x + 1
      if i % 5 ~= 3 then t.x = x end
    end
    return s, x, t.x
  end
  for r = 1, 6 do print("copy", copies({x = r}, 100)) end
end
