-- Manual section 2.1: values and types.

-- The eight types.
check("type nil", type(nil))
check("type boolean", type(true), type(false))
check("type number", type(1), type(1.5))
check("type string", type(""))
check("type table", type({}))
check("type function", type(type), type(function() end))
check("type thread", type(coroutine.create(function() end)))
check("type userdata", type(io.stdout))

-- nil and false are the only false values.
for _, v in ipairs({ 0, 0.0, "", "false", "nil", {}, print, true }) do
  check("truthy", v and "true" or "false")
end
check("falsy nil", nil and "true" or "false")
check("falsy false", false and "true" or "false")

exprs [[
math.type(1)
math.type(1.0)
math.type(-0.0)
math.type("1")
math.type(nil)
math.type({})
math.type(0x10)
math.type(0x1p4)
math.type(1e2)
math.type(9223372036854775807)
math.type(9223372036854775808)
math.type(0xffffffffffffffff)
math.type(0x1ffffffffffffffff)
1 == 1.0
0 == -0.0
1/0 == math.huge
0/0 == 0/0
0/0 ~= 0/0
-0.0
0.0
1/-0.0
1/0.0
math.maxinteger
math.mininteger
math.maxinteger + 1 == math.mininteger
math.mininteger - 1 == math.maxinteger
math.maxinteger + 1.0
math.maxinteger + 0.0 == math.maxinteger
math.maxinteger * 2
math.mininteger * -1
-math.mininteger
math.mininteger // -1
math.mininteger % -1
math.abs(math.mininteger)
2^53
2^53 == 2^53 + 1
(2^53|0) + 1
"abc" == "abc"
"abc" == "abd"
"a\0b" == "a\0c"
#"a\0b"
"1" == 1
"" == false
nil == false
{} == {}
print == print
1 < 2, 1 < 2.5, 1.5 < 2
"a" < "b", "a" < "B", "" < "a", "a\0" < "a\0b"
"Z" < "a", "a" < "aa", "a" <= "a"
math.mininteger < math.maxinteger
]]

-- Strings are immutable byte sequences holding any byte.
do
  local all = {}
  for i = 0, 255 do all[#all + 1] = string.char(i) end
  local s = table.concat(all)
  check("all bytes length", #s)
  check("all bytes sum", (function() local n = 0 for i = 1, #s do n = n + s:byte(i) end return n end)())
  check("byte 0", s:byte(1))
  check("byte 255", s:byte(256))
  check("low bytes", s:sub(1, 33))
  check("high bytes", s:sub(250))
end

-- Tables: keys of every type but nil and NaN; float keys with an integer value are integers.
do
  local t = {}
  t[1.0] = "one"
  check("float key normalised", t[1], math.type(next(t)))
  t[2^53] = "big"
  check("2^53 key", t[2^53], t[2^53 | 0])
  t[1] = nil
  t[2^53] = nil
  t["1"] = "string"
  check("string key is not a number", t[1], t["1"])
  t[1.5] = "half"
  check("float key", t[1.5])
  t[true], t[false] = "t", "f"
  check("boolean keys", t[true], t[false])
  local k, f = {}, function() end
  t[k], t[f], t[print] = 1, 2, 3
  check("object keys", t[k], t[f], t[print], t[{}])
  t[-0.0] = "zero"
  check("negative zero key", t[0], t[0.0], t[-0.0])
  t[math.huge], t[-math.huge] = "inf", "-inf"
  check("infinite keys", t[math.huge], t[-math.huge])
  t[math.mininteger] = "min"
  check("minimum key", t[math.mininteger], t[-2.0 ^ 63])
  t[2.0 ^ 63] = "2^63"
  check("2^63 key", t[2.0 ^ 63], t[math.mininteger], t[math.maxinteger])
  check("read nil key", t[nil])
  check("read nan key", t[0 / 0])
  raises("write nil key", function() t[nil] = 1 end)
  raises("write nan key", function() t[0 / 0] = 1 end)
  raises("write nil to nil key", function() t[nil] = nil end)
  raises("write nil to nan key", function() t[0 / 0] = nil end)
  raises("rawset nil key", rawset, t, nil, 1)
  raises("rawset nan key", rawset, t, 0 / 0, 1)
  raises("constructor nil key", function() return { [nil] = 1 } end)
  raises("constructor nan key", function() return { [0 / 0] = 1 } end)
  check("rawget nil key", rawget(t, nil))
end

-- Assigning nil removes; a removed key can come back.
do
  local t = { a = 1, b = 2 }
  t.a = nil
  check("removed", t)
  t.a = 3
  check("restored", t)
  t.a, t.b = nil, nil
  check("empty", t, next(t))
end

-- Tables, functions and threads are references.
do
  local a = {}
  local b = a
  b.x = 1
  check("reference", a.x, a == b, a == {})
  local co = coroutine.create(function() end)
  check("thread identity", co == co, co == coroutine.create(function() end))
  local function make() local n = 0 return function() n = n + 1 return n end end
  local f, g = make(), make()
  check("closure identity", f == f, f == g)
  check("closure state", f(), f(), g())
end

-- Long strings and short strings compare by content.
do
  local a = string.rep("x", 100)
  local b = string.rep("x", 50) .. string.rep("x", 50)
  check("long equal", a == b)
  check("long as key", ({ [a] = "found" })[b])
  check("long less", a < b .. "x", a <= b, a < b)
end
