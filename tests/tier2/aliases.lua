-- Two names of one thing.

-- A table under two names gets a key, and another one.
do
  local function two(a, b)
    local v = b.p
    a.q = 1
    b.r = 2
    return v
  end
  local function meta(a, b)
    local v = b.p
    setmetatable(a, {__index = {z = 7}})
    return v, b.z
  end
  for same = 1, 4 do
    local bad, sum = 0, 0
    for i = 1, 300 do
      local is_same = (i + same) % 4 == 0
      local a = {p = i}
      local b = is_same and a or {p = 1}
      two(a, b)
      if is_same and (a.q ~= 1 or a.r ~= 2) then bad = bad + 1 end
      if not is_same and (a.q ~= 1 or b.r ~= 2 or a.r or b.q) then bad = bad + 1 end
      local c = {p = i}
      local d = is_same and c or {p = 1}
      local v, z = meta(c, d)
      if z ~= (is_same and 7 or nil) then bad = bad + 1 end
      sum = sum + v
    end
    print(same, bad, sum)
  end
end

-- Two loops that use the same registers: the second one begins with a key of the first one's, in another table.
do
  local t, u = {a = 1, b = 2, c = 3}, {c = 1, b = 2, a = 3}
  local function count()
    local last, n = nil, 0
    for k in next, t do last = k break end
    for k in next, u, last do n = n + 1 end
    return n, last
  end
  local function behind(last)
    local n
    for k in pairs(u) do
      if n then n = n + 1 end
      if k == last then n = 0 end
    end
    return n
  end
  local bad = 0
  for _ = 1, 300 do
    local n, last = count()
    if n ~= behind(last) then bad = bad + 1 end
  end
  print("loops", bad)
end
