-- Library functions in loops: what they give, and what becomes of errors, metamethods and callbacks on the way.

local function show(...)
  local t = table.pack(...)
  for i = 1, t.n do t[i] = tostring(t[i]) end
  print(table.concat(t, " "))
end

-- Every function with arguments of one kind for a while, then with others.
local function vary(name, f, calls)
  for _, arguments in ipairs(calls) do
    for i = 1, 4 do
      local results = table.pack(pcall(f, table.unpack(arguments, 1, arguments.n)))
      if i % 3 == 1 then show(name, table.unpack(results, 1, results.n)) end
    end
  end
end

local function calls(...) return { n = select("#", ...), ... } end

local object = setmetatable({ 1, 2, 3 }, {
  __tostring = function() return "object" end,
  __index = function(_, k) return k end,
  __len = function() return 5 end,
  __name = "Object",
})

vary("format", string.format, {
  calls("%d", 3), calls("%d", 3.0), calls("%d", "7"), calls("%d", 3.5), calls("%d"), calls("%d", {}),
  calls("%s|%s", "a", object), calls("%s", nil), calls("%5.2f|%-8s|%08x|%q", 1 / 3, "ab", 255, "q\n"),
  calls("%y", 1), calls("%q", object), calls("%s %%", true), calls("%c%c", 65, 66), calls("%.30f", 0),
  calls("%.3f", 2.5), calls("%.0f", 0.5), calls("%.14g", 1e15), calls("%.17g", 0.1), calls("%e", 0), calls("%i", "x"),
})
vary("rep", string.rep, { calls("ab", 3), calls("ab", 3, ","), calls("x", -1), calls("x", 1 << 40), calls({}, 1), calls("x") })
vary("find", string.find, {
  calls("hello", "l"), calls("hello", "(l)(.)"), calls("hello", "x"), calls("hello", "l", -2), calls("a.b", ".", 1, true),
  calls("hello", "[a"), calls("hello", "%"), calls("hello", "(h"), calls("hello", "l", 10), calls("hello"), calls(12345, 34),
})
vary("match", string.match, { calls("k=v", "(%w+)=(%w+)"), calls("k=v", "()="), calls("", ".*"), calls("x", "(x"), calls("2024", "%d+") })
vary("gsub", string.gsub, {
  calls("hello", "l", "L"), calls("hello", "l", "%0%0"), calls("hello", "l", "%2"), calls("hello", "l", { l = 1 }),
  calls("hello", "l", object), calls("hello", "[el]", function(c) return c:upper() end), calls("hello", "l", print, 0),
  calls("hello", "l", function() error("in gsub", 0) end), calls("hello", "l", true), calls("hello", "l", "L", 1),
})
vary("byte", string.byte, { calls("abc", 1, -1), calls("abc", 2), calls("abc", 9), calls("", 1), calls({}) })
vary("char", string.char, { calls(72, 105), calls(), calls(256), calls("65"), calls(1.5) })
vary("sub", string.sub, { calls("hello", 2), calls("hello", 2, 3), calls("hello", -3), calls("hello", "2"), calls("hello"), calls(12345, 2, 3) })
vary("case", function(s) return s:upper(), s:lower(), s:reverse() end, { calls("aBc"), calls(""), calls(("xY"):rep(50)) })
vary("unpack", string.unpack, { calls("i4", "\1\0\0\0"), calls("i4", "\1"), calls("z", "ab\0"), calls("y", "") })
vary("tostring", tostring, { calls(1), calls(1.5), calls("s"), calls(nil), calls(false), calls(object), calls() })
vary("tonumber", tonumber, { calls("12"), calls("0x1p4"), calls("z"), calls("ff", 16), calls("ff", 99), calls({}), calls() })
vary("select", select, { calls(2, "a", "b", "c"), calls(-1, "a", "b"), calls("#", 1, 2), calls(0), calls(5, 1), calls(-5, 1) })
vary("getmetatable", getmetatable, { calls(1), calls(setmetatable({}, { __metatable = "locked" })), calls() })
vary("concat", table.concat, {
  calls({ 1, 2.5, "x" }, ", "), calls({ "a", "b", "c" }, "-", 2, 3), calls({}, "-"), calls({ "a", {} }), calls({ "a" }, "-", 1, 3),
  calls(object, ","), calls({ "a", "b" }, 1), calls({ "x", "y" }, "-", 3, 2), calls("x"), calls({ ("long "):rep(20), "b" }, ("s"):rep(30)),
})
vary("table.unpack", table.unpack, { calls({ 1, 2, 3 }), calls({ 1, 2 }, 2), calls({}, 1, 3), calls(object), calls({}, 1, 1 << 30), calls(5) })
vary("pack", function(...) local t = table.pack(...) return t.n, t[1], t[t.n] end, { calls(1, 2), calls(), calls(nil, nil) })
vary("modf", math.modf, { calls(3.7), calls(-3.7), calls(5), calls("x"), calls(1 / 0) })
vary("fmod", math.fmod, { calls(7, 3), calls(-7, 3), calls(7, 0), calls(7.5, 2), calls(7, "x") })
vary("utf8", function(s, i)
  return utf8.len(s), utf8.codepoint(s, 1, -1), utf8.offset(s, i), utf8.char(utf8.codepoint(s, 1))
end, { calls("h\u{e9}llo", 2), calls("\u{10FFFF}", 1), calls("\xff", 1), calls("ab", 9) })

-- Functions that change tables.
local function modify(f)
  local t = { 1, 2, 3, 4 }
  local log = {}
  for i = 1, 6 do log[#log + 1] = tostring((select(2, pcall(f, t, i)))) end
  show("modified", #t, table.concat(t, ","), table.concat(log, ","))
end
modify(function(t) return table.remove(t) end)
modify(function(t) return table.remove(t, 1) end)
modify(function(t, i) return i <= #t and table.remove(t, i) end)
modify(function(t, i) table.insert(t, 1, i) end)
modify(function(t, i) table.insert(t, i, i * 10) end)
modify(function(t, i) table.insert(t, i + 3, i) end)
modify(function(t, i) table.insert(t, i) return t[#t] + t[1] end)
modify(function(t) table.insert(t, 1, 2, 3) end)
modify(function(t) table.insert(t) end)

local logged = {}
local proxy = setmetatable({}, {
  __len = function() return 3 end,
  __index = function(_, k) logged[#logged + 1] = "get " .. k return k * 10 end,
  __newindex = function(_, k, v) logged[#logged + 1] = "set " .. k .. "=" .. tostring(v) end,
})
for i = 1, 5 do
  show("removed", table.remove(proxy, 1))
  table.insert(proxy, 2, i)
end
show(#logged, table.concat(logged, ";", 1, 12))

-- What is loaded before a call and after it.
do
  local t = { 5, 6, 7 }
  local sum = 0
  for i = 1, 20 do
    local before = t[1]
    table.insert(t, 1, i)
    sum = sum + before * 100 + t[1] + #t
    if i % 2 == 0 then sum = sum + table.remove(t) end
  end
  show(sum, #t, t[1], t[#t])
end

-- Iterators, broken off and nested.
for round = 1, 3 do
  local words = {}
  for word in ("one two three"):gmatch("%a+") do
    for c in word:gmatch("[aeiou]") do words[#words + 1] = c end
    if #words > 3 then break end
  end
  for k, v in ("a=1,b=2"):gmatch("(%w)=(%w)") do words[#words + 1] = k .. v end
  for p, c in utf8.codes("a\u{e9}") do words[#words + 1] = p .. ":" .. c end
  show(table.concat(words, " "))
end
show(pcall(function() for _ in ("x"):gmatch("(") do end end))
show(pcall(function() for _, c in utf8.codes("a\xff") do show(c) end end))

-- Errors have the positions and names of the calls.
for i = 1, 5 do
  local s = i < 4 and "abc" or {}
  show(pcall(function() return string.upper(s) end))
  local _, message = pcall(function() return ("x"):rep(s) end)
  show(message)
end
-- Concatenations of numbers and strings of all lengths.
for i = 1, 60, 7 do
  local s = ("x"):rep(i)
  show(#(s .. i), #(i .. s), #(i .. "/" .. s .. "/" .. i / 4), (i .. "" .. -i .. 0.5), s .. "" == s, #("" .. s .. i .. ""))
end
