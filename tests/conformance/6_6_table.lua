-- Manual section 6.6: table manipulation.

exprs [==[
table.concat({})
table.concat({1, 2, 3})
table.concat({1, 2, 3}, ", ")
table.concat({"a", "b", "c"}, "-", 2)
table.concat({"a", "b", "c"}, "-", 2, 3)
table.concat({"a", "b", "c"}, "-", 3, 2)
table.concat({"a", "b", "c"}, "-", 1, 4)
table.concat({"a", "b", "c"}, "-", 0)
table.concat({1.5, 2, "x"}, "|")
table.concat({1, {}, 3})
table.concat({1, nil, 3}, ",", 1, 3)
table.concat({true})
table.concat({print})
table.concat({"a"}, 5)
table.concat({"a", "b"}, 5)
table.concat({"a", "b"}, {})
table.concat({"a", "b"}, ",", "x")
table.concat({"a", "b"}, ",", 1.5)
table.concat({"a", "b"}, nil, nil, nil)
table.concat({[5] = "x"}, ",", 5, 5)
table.concat({[math.maxinteger] = "x"}, ",", math.maxinteger, math.maxinteger)
table.concat({[math.mininteger] = "x"}, ",", math.mininteger, math.mininteger)
table.concat({}, "x", 1, 0)
table.concat({"a", "b"}, "\0")
table.concat(5)
table.concat()
#table.concat((function() local t = {} for i = 1, 5000 do t[i] = "ab" end return t end)(), ",")
table.pack()
table.pack(1, nil, 3)
table.pack(nil).n
select("#", table.unpack({}))
table.unpack({1, 2, 3})
table.unpack({1, 2, 3}, 2)
table.unpack({1, 2, 3}, 2, 3)
table.unpack({1, 2, 3}, -1, 1)
table.unpack({1, 2, 3}, 3, 2)
table.unpack({1, 2}, 1, 4)
table.unpack({[math.maxinteger] = "m"}, math.maxinteger, math.maxinteger)
table.unpack({[math.mininteger] = "m"}, math.mininteger, math.mininteger)
table.unpack({}, 1, 1e7)
table.unpack({}, 1, math.maxinteger)
table.unpack({}, math.mininteger, math.maxinteger)
table.unpack({}, 0, math.maxinteger)
table.unpack({1, 2, 3}, "2")
table.unpack({1, 2, 3}, 1.5)
table.unpack("abc", 1, 2)
table.unpack(5)
table.unpack()
]==]

-- insert and remove.
do
  local function after(f, t, ...)
    local r = table.pack(f(t, ...))
    return t, table.unpack(r, 1, r.n)
  end
  check("insert at the end", after(table.insert, { 1, 2 }, 3))
  check("insert at 1", after(table.insert, { 1, 2 }, 1, 0))
  check("insert in the middle", after(table.insert, { 1, 2, 3 }, 2, "x"))
  check("insert at n+1", after(table.insert, { 1, 2 }, 3, "x"))
  check("insert into empty", after(table.insert, {}, 1, "x"))
  check("insert nil", after(table.insert, { 1 }, nil))
  raises("insert at n+2", table.insert, { 1, 2 }, 4, "x")
  raises("insert at 0", table.insert, { 1, 2 }, 0, "x")
  raises("insert at -1", table.insert, { 1, 2 }, -1, "x")
  raises("insert without value", table.insert, { 1 })
  raises("insert too many", table.insert, { 1 }, 1, 2, 3)
  raises("insert float position", after, table.insert, { 1 }, 1.0, "x")
  raises("insert fraction", table.insert, { 1 }, 1.5, "x")
  raises("insert string position", after, table.insert, { 1 }, "1", "x")
  raises("insert bad position", table.insert, { 1 }, "x", 1)
  raises("insert nil position", table.insert, { 1 }, nil, "x")
  raises("insert into nil", table.insert, nil, 1)
  raises("insert into a string", table.insert, "abc", 1)
  raises("insert minimum position", table.insert, { 1 }, math.mininteger, 1)
  raises("insert nothing", table.insert)
  check("remove last", after(table.remove, { 1, 2, 3 }))
  check("remove first", after(table.remove, { 1, 2, 3 }, 1))
  check("remove middle", after(table.remove, { 1, 2, 3 }, 2))
  check("remove n", after(table.remove, { 1, 2, 3 }, 3))
  check("remove n+1", after(table.remove, { 1, 2, 3 }, 4))
  check("remove from empty", after(table.remove, {}))
  check("remove 0 from empty", after(table.remove, {}, 0))
  check("remove 1 from empty", after(table.remove, {}, 1))
  check("remove 0 when there is one", after(table.remove, { [0] = "zero" }, 0))
  raises("remove n+2", table.remove, { 1, 2, 3 }, 5)
  raises("remove 0", table.remove, { 1, 2, 3 }, 0)
  raises("remove -1", table.remove, { 1, 2, 3 }, -1)
  raises("remove 2 from empty", table.remove, {}, 2)
  raises("remove fraction", table.remove, { 1 }, 1.5)
  raises("remove word", table.remove, { 1 }, "x")
  raises("remove from nil", table.remove)
  check("queue", (function() local q, out = {}, {} for i = 1, 5 do table.insert(q, i) end while #q > 0 do out[#out + 1] = table.remove(q, 1) end return out end)())
  check("stack", (function() local s, out = {}, {} for i = 1, 5 do s[#s + 1] = i end while #s > 0 do out[#out + 1] = table.remove(s) end return out end)())
end

-- move.
do
  check("move right", table.move({ 1, 2, 3 }, 1, 3, 2))
  check("move left", table.move({ 1, 2, 3 }, 2, 3, 1))
  check("move far", table.move({ 1, 2 }, 1, 2, 5))
  check("move onto itself", table.move({ 1, 2 }, 1, 2, 1))
  check("move empty range", table.move({ 1, 2 }, 2, 1, 5))
  check("move to another", table.move({ 1, 2, 3 }, 1, 3, 1, {}))
  check("move to another at 3", table.move({ 1, 2 }, 1, 2, 3, { "a", "b" }))
  check("move overlapping by one", table.move({ 1, 2, 3, 4, 5 }, 1, 4, 2))
  check("move overlapping left", table.move({ 1, 2, 3, 4, 5 }, 3, 5, 2))
  check("move nils", table.move({ 1, nil, 3 }, 1, 3, 2))
  check("move negative", table.move({ [-1] = "a", [0] = "b" }, -1, 0, 1))
  check("move to maximum", (function() local t = table.move({ "x" }, 1, 1, math.maxinteger) return t[math.maxinteger] end)())
  check("move from minimum", (function() local t = table.move({ [math.mininteger] = "x" }, math.mininteger, math.mininteger, 1) return t[1] end)())
  check("move returns destination", (function() local a, b = { 1 }, {} return table.move(a, 1, 1, 1, b) == b, table.move(a, 1, 1, 2) == a end)())
  raises("move too many", table.move, {}, 0, math.maxinteger, 1)
  raises("move too many 2", table.move, {}, -1, math.maxinteger, 1)
  raises("move wrap around", table.move, {}, 1, 2, math.maxinteger)
  raises("move from nil", table.move, nil, 1, 2, 3)
  raises("move to nil", table.move, {}, 1, 2, 3, 5)
  raises("move without target", table.move, {}, 1, 2)
  raises("move fraction", table.move, {}, 1.5, 2, 3)
  check("move through metamethods", (function()
    local log = {}
    local src = setmetatable({}, { __index = function(_, k) log[#log + 1] = "get" .. k return k * 10 end })
    local dst = setmetatable({}, { __newindex = function(_, k, v) log[#log + 1] = "set" .. k .. "=" .. v end })
    table.move(src, 1, 3, 5, dst)
    return log
  end)())
  check("move overlapping through metamethods goes backwards", (function()
    local log = {}
    local t = setmetatable({}, { __index = function(_, k) log[#log + 1] = k return k end })
    table.move(t, 1, 3, 2)
    return log
  end)())
end

-- sort.
do
  local function sorted(t, f) table.sort(t, f) return t end
  check("sort numbers", sorted { 3, 1, 2 })
  check("sort mixed numbers", sorted { 3, 1.5, 2, -1, 0.5 })
  check("sort strings", sorted { "banana", "apple", "Cherry", "", "a" })
  check("sort descending", sorted({ 1, 3, 2 }, function(a, b) return a > b end))
  check("sort empty", sorted {})
  check("sort one", sorted { 1 })
  check("sort two", sorted { 2, 1 })
  check("sort equal", sorted { 1, 1, 1, 1 })
  check("sort sorted", sorted { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })
  check("sort reversed", sorted { 10, 9, 8, 7, 6, 5, 4, 3, 2, 1 })
  check("sort by field", (function()
    local t = { { k = 3 }, { k = 1 }, { k = 2 } }
    table.sort(t, function(a, b) return a.k < b.k end)
    return t
  end)())
  check("sort with __lt", (function()
    local mt = { __lt = function(a, b) return a.v < b.v end }
    local t = {}
    for i, v in ipairs { 5, 3, 4, 1, 2 } do t[i] = setmetatable({ v = v }, mt) end
    table.sort(t)
    local out = {}
    for i, o in ipairs(t) do out[i] = o.v end
    return out
  end)())
  check("sort a thousand", (function()
    local t, x = {}, 12345
    for i = 1, 1000 do x = (x * 1103515245 + 12345) % 2147483648 t[i] = x end
    table.sort(t)
    for i = 2, 1000 do if t[i - 1] > t[i] then return "unsorted at " .. i end end
    return "sorted"
  end)())
  check("sort with many duplicates", (function()
    local t = {}
    for i = 1, 500 do t[i] = i % 7 end
    table.sort(t)
    local n = {}
    for _, v in ipairs(t) do n[v + 1] = (n[v + 1] or 0) + 1 end
    for i = 2, 500 do if t[i - 1] > t[i] then return "unsorted" end end
    return n
  end)())
  check("sort strings descending", sorted({ "b", "a", "c" }, function(a, b) return a > b end))
  check("sort results count", select("#", table.sort { 1, 2 }))
  raises("sort mixed types", table.sort, { 1, "x" })
  raises("sort mixed types in a function", function() table.sort { 2, "x", 1 } end)
  raises("sort tables", table.sort, { {}, {} })
  raises("sort nil element", table.sort, { 1, nil, 3 })
  raises("sort booleans", table.sort, { true, false })
  raises("sort bad comparator", table.sort, { 1, 2 }, 5)
  raises("sort string comparator", table.sort, { 1, 2 }, "f")
  raises("sort nil comparator", sorted, { 2, 1 }, nil)
  raises("sort comparator error", table.sort, { 1, 2, 3 }, function() error("cmp") end)
  raises("sort not a table", table.sort, 5)
  raises("sort always true", table.sort, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function() return true end)
  check("sort always false", sorted({ 1, 1, 1, 1 }, function() return false end))
  check("sort through metamethods", (function()
    local real = { 3, 1, 2 }
    local p = setmetatable({}, { __index = real, __newindex = real, __len = function() return 3 end })
    table.sort(p)
    return real, rawlen(p)
  end)())
  raises("sort too large", table.sort, setmetatable({}, { __len = function() return math.maxinteger end }))
  raises("sort with a length of 0", sorted, setmetatable({}, { __len = function() return 0 end }))
end

-- Functions on things that only look like tables.
do
  local log = {}
  local p = setmetatable({}, {
    __index = function(_, k) log[#log + 1] = "get " .. k return "v" .. k end,
    __newindex = function(_, k, v) log[#log + 1] = "set " .. k .. " " .. tostring(v) end,
    __len = function() return 3 end,
  })
  check("concat proxy", table.concat(p, ","))
  check("unpack proxy", table.unpack(p))
  log = {}
  table.insert(p, 2, "new")
  check("insert proxy", log)
  log = {}
  check("remove proxy", table.remove(p, 1))
  check("remove proxy log", log)
  local callable = setmetatable({}, { __index = { 1, 2 }, __len = function() return 2 end, __newindex = function() end })
  check("a table with metamethods is enough", table.concat(callable, "+"))
  raises("userdata is not", table.concat, io.stdout)
  raises("a string with a length is not", table.insert, "abc", 1)
  raises("error in __index", table.concat, setmetatable({}, { __len = function() return 1 end, __index = function() error("index", 0) end }))
  raises("error in __len", table.unpack, setmetatable({}, { __len = function() error("len", 0) end }))
end
check("next order is consistent", (function()
  local t = { 1, 2, 3, x = 1, y = 2 }
  local a, b = {}, {}
  for k in pairs(t) do a[#a + 1] = tostring(k) end
  for k in pairs(t) do b[#b + 1] = tostring(k) end
  return table.concat(a, " ") == table.concat(b, " "), #a
end)())
check("all keys visited", (function()
  local t, n = {}, 0
  for i = 1, 1000 do t[i] = true t["k" .. i] = true t[i + 0.5] = true end
  for _ in pairs(t) do n = n + 1 end
  return n
end)())
check("assigning existing while traversing", (function()
  local t = {}
  for i = 1, 100 do t["k" .. i] = i end
  for k, v in pairs(t) do t[k] = v * 2 end
  local s = 0
  for _, v in pairs(t) do s = s + v end
  return s
end)())
