-- Manual section 3.4: expressions.

-- 3.4.1 Arithmetic: integers wrap, floats follow IEEE 754.
exprs [[
1 + 2
1 + 2.0
1.5 + 1.5
0.1 + 0.7
math.maxinteger + 1
math.mininteger - 1
math.maxinteger * 2
math.maxinteger * math.maxinteger
math.mininteger * math.mininteger
math.maxinteger + 1.0
math.mininteger * -1
-math.mininteger
-0
-0.0
0 * -1
0.0 * -1
3 - 5
3 - 5.0
7 / 2
6 / 2
1 / 0
-1 / 0
0 / 0
1 / -0.0
0.0 / -1
math.mininteger / -1
2^2
2^0.5
2^-1
(-2)^2
(-2)^3
(-8)^(1/3)
0^0
0^-1
10^2
2^63
2^64
-2^2
2^3^2
7 // 2
-7 // 2
7 // -2
-7 // -2
7 // 2.0
-7 // 2.0
7.5 // 2
-7.5 // 2
7.5 // -2
1 // 0.0
-1 // 0.0
0 // 0.0
0.0 // 1
-0.0 // 1
1 // math.huge
-1 // math.huge
1 // -math.huge
math.huge // 1
math.huge // math.huge
math.mininteger // -1
math.mininteger // 1
math.maxinteger // -1
math.mininteger // math.maxinteger
math.maxinteger // 2
5 // 1e308
-5 // 1e308
0 // 5
0 // -5
1 // 0
math.mininteger // 0
7 % 3
-7 % 3
7 % -3
-7 % -3
6 % 3
-6 % 3
6 % -3
7 % 3.0
-7 % 3.0
7 % -3.0
-7 % -3.0
5.5 % 2
-5.5 % 2
5.5 % -2
-5.5 % -2
-6 % 3.0
6 % -3.0
1 % 0.0
1 % math.huge
-1 % math.huge
1 % -math.huge
-1 % -math.huge
0 % math.huge
-0.0 % math.huge
math.huge % 2
0/0 % 1
0.1 % 0.01
1e308 % 3
5 % 3e-310
math.mininteger % -1
math.mininteger % 1
math.mininteger % math.maxinteger
math.maxinteger % math.mininteger
math.maxinteger % -2
0 % 5
0 % -5
1 % 0
math.mininteger % 0
1 % 0 == 0
1.0 % 0
-(0/0)
1e15 + 0.5
2^53 + 1
9007199254740992 + 1
9007199254740993 + 0.0
1e308 * 10
-1e308 * 10
1e-308 / 1e10
5e-324 / 2
1 - 0.9
100 * 1.1
3 * 0.1
1e16 + 1
]]

-- 3.4.2 Bitwise operators: 64 bits, floats with an exact integer value only.
exprs [[
5 & 3
5 | 3
5 ~ 3
~5
~0
~-1
-1 & 0xff
-1 >> 1
-1 >> 63
-1 >> 64
-1 >> 100
-1 << 63
-1 << 64
1 << 62
1 << 63
1 << 64
1 << -1
8 >> 1
8 >> -1
8 << -2
8 >> 3
1 << 0
-8 >> 1
2^31 | 0
5.0 & 3
5.0 | 3.0
~5.0
1.0 << 2
1 << 2.0
"5" & 3
"0x10" | 0
"5.0" & 7
~"5"
"1" << "2"
" 10 " ~ 3
2^53 & -1
2^63 & 1
-2^63 & -1
1.5 & 1
1 | 1.5
~1.5
1 << 1.5
1e100 | 0
math.huge | 0
0/0 | 0
"1.5" & 1
"abc" & 1
1 & "abc"
1 & {}
nil | 1
~nil
true & 1
1 ~ false
"1e1" | 0
"9223372036854775808" | 0
"0xffffffffffffffff" | 0
"" | 0
0xF0F0 & 0x0FF0 | 0x000F ~ 0xFFFF
math.mininteger >> 63
math.mininteger << 1
math.maxinteger << 1
math.mininteger ~ math.maxinteger
1 << math.mininteger
1 >> math.mininteger
1 << math.maxinteger
1 >> math.maxinteger
]]

-- 3.4.3 Coercions and conversions.
exprs [[
"10" + 5
"10" + "5"
10 .. 20
"0x10" + 0
" 10 " + 0
"10.0" + 0
"1e1" + 0
"-5" * 2
-"2"
-"2.0"
-"0x10"
- "-9223372036854775808"
"9223372036854775807" + 0
"9223372036854775808" + 0
"10" / 2
"7" // 2
"7" // "2.0"
"7" % 4
"2" ^ 2
"10" - 1
"1" + "1" .. "1"
"abc" + 1
1 + "abc"
"" + 1
" " + 1
"1 2" + 1
"10x" + 1
"0x" + 1
"1e" + 1
"inf" + 1
"nan" + 1
"1_0" + 1
"--1" + 0
"+1" + 0
"+ 1" + 0
"- 1" + 0
"\t1\n" + 0
"1\0" + 0
"0x1p4" + 0
"0x.8" + 0
"1." + 0
".5" + 0
"." + 0
"1e+2" + 0
"5" == 5
"5" < "10"
5 .. ""
5.0 .. ""
-0.0 .. ""
1e15 .. ""
1e16 .. ""
1e100 .. ""
2^53 .. ""
2^63 .. ""
0.1 .. ""
1/3 .. ""
100 .. ""
1e14 .. ""
123456789012345.0 .. ""
1234567890123456.0 .. ""
3.14159265358979 .. ""
1/0 .. ""
-1/0 .. ""
math.maxinteger .. ""
math.mininteger .. ""
1e-5 .. ""
0.0001 .. ""
1e-10 .. ""
-1.5 .. "|" .. 2
]]
exprs [[
({10, 20})[1.0]
({10, 20})["1"]
string.rep("x", 3.0)
string.rep("x", "3")
string.rep("x", 3.5)
string.rep("x", "3.5")
string.rep("x", "a")
("x"):rep("0x3")
math.abs("-5")
math.floor("3.7")
("10"):rep(2) + 1
#"10" + 1
]]

-- 3.4.4 Relational operators.
exprs [[
1 == 1.0
1 < 1.5
1 <= 1.0
-1 < -0.5
math.maxinteger < math.huge
math.mininteger > -math.huge
math.maxinteger == 2^63
math.maxinteger + 0.0 == 2^63
math.maxinteger < 2^63
math.maxinteger <= 2^63
math.maxinteger >= 2^63
2^63 > math.maxinteger
2^63 >= math.maxinteger
2^63 <= math.maxinteger
math.mininteger == -2^63
math.mininteger <= -2^63
math.mininteger < -2^63
-2^63 <= math.mininteger
math.mininteger < -2^63 + 1025
2^53 == 2^53 + 1
(2^53|0) + 1 == 2^53
(2^53|0) + 1 > 2^53
(2^53|0) + 1 < 2^53 + 2
2^53 < (2^53|0) + 1
9007199254740993 == 9007199254740992.0
9007199254740993 > 9007199254740992.0
9223372036854775807 == 9223372036854775807.0
9223372036854775807 < 9223372036854775807.0
0/0 == 0/0
0/0 ~= 0/0
0/0 < 1
0/0 > 1
0/0 <= 0/0
1 < 0/0
1 >= 0/0
not (1 < 0/0)
math.maxinteger < 0/0
math.mininteger >= 0/0
0.0 == -0.0
0 == -0.0
0 < -0.0
"a" < "b"
"a" < "A"
"Z" < "a"
"" < "a"
"a" < "a"
"a" <= "a"
"a" < "aa"
"a\0a" < "a\0b"
"a\0" > "a"
"\xff" > "a"
"10" < "9"
"a" == "a"
"a" ~= "b"
nil == false
0 == false
"0" == 0
{} == {}
nil == nil
true == true
true ~= 1
print == print
1 < "2"
"1" < 2
{} < {}
nil < nil
{} < 1
true < true
nil > 1
1 <= {}
"a" < {}
print < print
1.5 > 1
1 > 0.5
-1 >= -1.0
5 // 1 == 5.0
]]

-- 3.4.5 Logical operators.
exprs [[
10 or 20
10 or error()
nil or "a"
nil and 10
false and error()
false and nil
false or nil
10 and 20
nil or false
1 and nil or 2
false == false and 1
not nil
not 0
not ""
not not 1
not 1 == 2
1 and 2 and 3
nil and 1 or 2 and 3
1 or 2 and error()
(nil or 1) and 2
(false or nil) == nil
nil and nil == nil
#"ab" == 2 and "two" or "other"
1 < 2 and 2 < 3
(1 < 2) == true
1 < 2 == true
not (1 < 2) or not (2 < 1)
(function(...) return ... end)(1, 2) and 3
(function() end)() or "none"
(function() return 1, 2 end)() or 3
]]
check("and/or values", (function(a, b, c) return a and b or c, a or b and c, (a or b) and c end)(nil, 1, 2))
check("short circuit counts", (function()
  local n = 0
  local function f(v) n = n + 1 return v end
  local _ = f(false) and f(true)
  _ = f(true) or f(true)
  _ = f(nil) or f(false) or f(1) or f(2)
  return n
end)())
check("conditions as values", (function(a, b)
  local x = a == b
  local y = a < b
  local z = not (a < b)
  local w = a == b or a < b
  return x, y, z, w
end)(1, 2))
check("nested and or", (function(a, b, c, d) return (a and b) or (c and d), a and (b or c) and d, not (a and b) end)(1, false, 3, 4))

-- 3.4.6 Concatenation.
exprs [[
"a" .. "b" .. "c"
1 .. 2
1.0 .. "x"
-1 .. ""
"a" .. 1 + 2
"a" .. 1 .. 2.5
("x"):rep(3) .. "y"
"a\0" .. "\0b"
#("x"):rep(1000) .. ""
"" .. ""
1 .. nil
nil .. 1
{} .. ""
"a" .. true
"a" .. print
("a" .. "b"):upper()
"x" .. ("y" .. "z") == "xyz"
math.mininteger .. ""
2^63 .. ""
0x10 .. ""
]]
check("many concatenations", #(function() local s = "" for i = 1, 1000 do s = s .. i end return s end)())
check("long concatenation expression", (function(a) return a .. a .. a .. a .. a .. a .. a .. a .. a .. a .. a .. a .. 1 .. a .. 2 end)("xy"))
check("same string grows", (function() local s = "a" for _ = 1, 10 do s = s .. s end return #s end)())

-- 3.4.7 Length.
exprs [[
#""
#"abc"
#"\0\0"
#{}
#{1, 2, 3}
#{1, 2, 3, nil}
#{n = 1}
#{[1] = "a", [2] = "b"}
#{"a", [2] = "b"}
#{(function() return 1, 2, 3 end)()}
#{(function() return 1, 2, 3 end)(), 10}
#"a" + 1
-#"abc"
#5
#nil
#print
#true
]]
check("length grows", (function() local t = {} for i = 1, 100 do t[i] = i end return #t end)())
check("length shrinks", (function() local t = {} for i = 1, 100 do t[i] = i end for i = 100, 51, -1 do t[i] = nil end return #t end)())
check("length with insertion at the end", (function() local t = {} for i = 1, 10 do t[#t + 1] = i end return #t, t[10] end)())
check("length backwards fill", (function() local t = {} for i = 10, 1, -1 do t[i] = i end return #t end)())
check("length after clearing", (function() local t = { 1, 2, 3 } for i = 3, 1, -1 do t[i] = nil end return #t end)())

-- 3.4.8 Precedence.
exprs [[
1 + 2 * 3
(1 + 2) * 3
2 * 3 % 4
2 ^ 3 * 2
-3 ^ 2
2 ^ -3
not 1 == 1
not (1 == 1)
1 .. 2 == "12"
1 + 1 .. 2
1 << 2 + 1
1 | 2 & 3
1 | 2 ~ 3
6 & 3 << 1
1 .. 2 << 3
5 - 3 - 1
2 ^ 2 ^ 3
"a" .. "b" == "ab"
1 < 2 == (2 > 1)
1 == 1 ~= false
not nil and 1
-2 ^ 2
- - 2
~ ~ 5
-"2" + 0
#"abc" ^ 2
- #"abc"
not #""
2 * -3
2 - -3
2 ^ - 2
1 or 2 and nil
nil == nil and 1 or 2
1 + 2 < 4
"x" < "y" .. "z"
7 // 2 * 2
7 % 4 // 2
~5 & 0xF
-1 >> 60 & 3
3 & 2 == 2
1 | 0 == 1
-5 // 2
-5 % 3
(-5) % 3
2 ^ 0.5 ^ 2
1 + 2 .. 3 + 4
]]

-- 3.4.9 Constructors.
check("positional", { 1, 2, 3 })
check("named", { a = 1, b = 2 })
check("bracketed", { [1 + 1] = "two", ["a" .. "b"] = 1 })
check("mixed", { 1, x = "x", 2, [10] = 10, 3 })
check("separators", { 1; 2, 3; })
check("trailing comma", { 1, 2, })
check("nested", { { 1 }, { { 2 } } })
check("nil holes", select("#", table.unpack({ nil, nil, 3 }, 1, 3)), table.unpack({ nil, nil, 3 }, 1, 3))
check("call expands at the end", { (function() return 1, 2, 3 end)() })
check("call truncated before", { (function() return 1, 2, 3 end)(), 10 })
check("parenthesised call", { ((function() return 1, 2, 3 end)()) })
check("varargs", (function(...) return { ... }, { ..., "x" }, { (...) } end)(1, 2, 3))
check("named call is one value", { x = (function() return 1, 2 end)() })
check("call then named", { (function() return 1, 2 end)(), x = 1 })
check("duplicate key", { a = 1, a = 2 })
check("duplicate bracketed key", { [1] = "b", [1] = "c" })
check("positional over bracketed", { [1] = "b", "p" })
check("order of evaluation", (function()
  local log = {}
  local function e(v) log[#log + 1] = v return v end
  local _ = { e(1), [e(2)] = e(3), x = e(4), e(5) }
  return log
end)())
check("many items", #{ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56 })
check("large constructor", (function()
  local src = { "return {" }
  for i = 1, 5000 do src[#src + 1] = i .. "," end
  src[#src + 1] = "}"
  local t = load(table.concat(src))()
  return #t, t[1], t[2500], t[5000]
end)())
check("large expanding call", #{ table.unpack({}, 1, 0) }, select("#", table.unpack({}, 1, 250)))
check("function fields", { f = function() end, g = print })
check("fresh tables", (function() local function f() return {} end return f() == f() end)())
check("float keys", { [1.0] = "a", [2^53] = "b" })
check("empty strings", { [""] = "" })
check("boolean keys", { [true] = 1, [false] = 0 })

-- 3.4.10 Function calls.
check("no arguments", (function(...) return select("#", ...) end)())
check("missing are nil", (function(a, b) return a, b end)(1))
check("extra dropped", (function(a) return a end)(1, 2, 3))
check("call expands last", (function(...) return select("#", ...) end)(1, (function() return 1, 2 end)()))
check("call truncated first", (function(...) return select("#", ...) end)((function() return 1, 2 end)(), 1))
check("string call", (function(s) return s end) "str", (function(s) return s end) 'q', (function(s) return s end) [[l]])
check("table call", (function(t) return t end) { 1 })
check("chained calls", (function() return function() return function() return "deep" end end end)()()())
check("method call", ({ v = 1, m = function(self, x) return self.v + x end }):m(2))
check("method string call", ({ m = function(_, s) return s end }):m "str")
check("method evaluates object once", (function()
  local n = 0
  local o = { m = function() return n end }
  local function get() n = n + 1 return o end
  return get():m()
end)())
check("argument order", (function()
  local log = {}
  local function e(v) log[#log + 1] = v return v end
  local function f() end
  ;(e(1) and f)(e(2), e(3), e(4))
  return log
end)())
check("operand order", (function()
  local log = {}
  local function e(v) log[#log + 1] = v return v end
  local _ = e(1) + e(2) * e(3) .. e(4)
  return log
end)())
check("comparison operand order", (function()
  local log = {}
  local function e(v) log[#log + 1] = v return v end
  local _ = e(1) < e(2)
  _ = e(3) > e(4)
  _ = e(5) >= e(6)
  _ = e(7) == e(8)
  return log
end)())
check("index operand order", (function()
  local log = {}
  local t = { a = { b = 1 } }
  local function e(v, r) log[#log + 1] = v return r end
  local _ = e("t", t)[e("a", "a")][e("b", "b")]
  return log
end)())
check("tail call", (function() local function f(n) if n > 0 then return f(n - 1) end return "bottom" end return f(100000) end)())
check("mutual tail calls", (function()
  local a, b
  function a(n) if n == 0 then return "a" end return b(n - 1) end
  function b(n) if n == 0 then return "b" end return a(n - 1) end
  return a(100001)
end)())
check("tail method call", (function() local o = {} function o:f(n) if n > 0 then return self:f(n - 1) end return self == o end return o:f(50000) end)())
check("tail call with varargs", (function() local function f(n, ...) if n > 0 then return f(n - 1, n, ...) end return select("#", ...) end return f(50) end)())
check("many arguments", select("#", table.unpack({}, 1, 200)))
check("pass many arguments", (function(...) return select("#", ...), (select(200, ...)) end)(table.unpack({ [200] = "last" }, 1, 200)))
check("return many", select("#", (function() return table.unpack({}, 1, 240) end)()))
check("big unpack", select("#", table.unpack({}, 1, 10000)))

-- 3.4.11 Function definitions and varargs.
check("vararg count", (function(...) return select("#", ...) end)(nil, nil))
check("vararg first", (function(...) return (...) end)(1, 2))
check("vararg none", (function(...) return (...) end)())
check("vararg middle", (function(...) return ..., "end" end)(1, 2))
check("vararg with parameters", (function(a, b, ...) return select("#", ...), ... end)(1, 2, 3, 4))
check("vararg with too few", (function(a, b, ...) return a, b, select("#", ...) end)(1))
check("vararg assignment", (function(...) local a, b, c = ... return c, b, a end)(1, 2))
check("vararg in arithmetic", (function(...) return ... + 1 end)(1, 2))
check("vararg in concat", (function(...) return "a" .. ... end)("b", "c"))
check("vararg twice", (function(...) return select("#", ..., ...) end)(1, 2, 3))
check("vararg in constructor", (function(...) return #{ ... }, #{ ..., ... } end)(1, 2, 3))
check("vararg nil at the end", (function(...) return table.pack(...).n end)(1, nil))
check("vararg not in nested", (load("local function f(...) return function() return ... end end")))
check("vararg in loop", (function(...) local s = 0 for _, v in ipairs { ... } do s = s + v end return s end)(1, 2, 3))
check("vararg kept after calls", (function(...) local t = { ... } t[1] = "changed" return ... end)("original"))
check("method definition", (function() local o = {} function o.a() return "a" end function o:b() return self == o end return o.a(), o:b() end)())
check("function as value", (function(f) return f(2) end)(function(x) return x * x end))
check("default arguments", (function(a) a = a or "default" return a end)())
check("select negative", select(-1, 1, 2, 3))
check("select negative 2", select(-2, 1, 2, 3))
check("select beyond", select("#", select(5, 1, 2)))
raises("select zero", select, 0, 1)
raises("select too negative", select, -5, 1)

-- Integer and float results through locals (not folded by a compiler).
do
  local function arith(a, b)
    return a + b, a - b, a * b, a / b, a % b, a // b, a ^ b
  end
  check("ints", arith(7, 3))
  check("negative", arith(-7, 3))
  check("negative divisor", arith(7, -3))
  check("floats", arith(7.0, 3.0))
  check("mixed", arith(7, 3.0))
  check("mixed 2", arith(7.5, -2))
  check("strings", arith("7", "3"))
  check("string and float", arith("7", 0.5))
  check("zero float divisor", arith(7, 0.0))
  check("zero over zero", arith(0.0, 0))
  check("extremes", arith(math.mininteger, -1))
  check("maximum", arith(math.maxinteger, math.maxinteger))
  check("infinities", arith(math.huge, 2))
  check("by infinity", arith(-2, math.huge))
  check("negative zero", arith(-0.0, 5))
  raises("integer division by zero", function(a, b) return a // b end, 1, 0)
  raises("integer modulo by zero", function(a, b) return a % b end, 1, 0)
  raises("string division by zero", function(a, b) return a // b end, "1", "0")
  local function bits(a, b) return a & b, a | b, a ~ b, a << b, a >> b, ~a end
  check("bits", bits(0xF0, 4))
  check("bits negative shift", bits(1, -1))
  check("bits float", bits(6.0, 2))
  raises("bits string", bits, "6", "2")
  check("bits 63", bits(-1, 63))
  check("bits 64", bits(-1, 64))
  raises("bits fraction", bits, 1.5, 1)
  raises("bits fraction right", bits, 1, 1.5)
  raises("bits string fraction", bits, "1.5", 1)
  raises("bits table", bits, {}, 1)
  raises("bits word", bits, "x", 1)
  raises("bits nan", bits, 0 / 0, 1)
  raises("bits inf", bits, 1, math.huge)
  raises("bits 2^63", bits, 2 ^ 63, 1)
  local function compare(a, b) return a < b, a <= b, a > b, a >= b, a == b, a ~= b end
  check("compare ints", compare(1, 2))
  check("compare int float", compare(1, 1.0))
  check("compare nan", compare(0 / 0, 1))
  check("compare big", compare(math.maxinteger, 2 ^ 63))
  check("compare small", compare(math.mininteger, -2 ^ 63))
  check("compare 2^53", compare((2 ^ 53 | 0) + 1, 2 ^ 53))
  check("compare inf", compare(math.maxinteger, math.huge))
  check("compare -inf", compare(math.mininteger, -math.huge))
  check("compare half", compare(2, 2.5))
  check("compare negative half", compare(-2, -2.5))
  check("compare strings", compare("a", "b"))
  local function constants(a) return a + 1, a - 1, a * 2, a / 2, a % 3, a // 2, a ^ 2, 1 + a, 1 - a, 2 * a, 2 / a, 3 % a, 2 // a, 2 ^ a end
  check("constants int", constants(5))
  check("constants float", constants(5.5))
  check("constants negative", constants(-5))
  check("constants string", constants("5"))
  check("constants max", constants(math.maxinteger))
  local function constants2(a) return a < 3, a <= 3, a > 3, a >= 3, 3 < a, 3 <= a, 3 > a, 3 >= a, a == 3, a ~= 3, a == 3.0, a < 3.5, a > 2.5 end
  check("compare constants int", constants2(3))
  check("compare constants float", constants2(3.0))
  check("compare constants nan", constants2(0 / 0))
  check("compare constants big", constants2(2 ^ 63))
  local function constants3(a) return a & 7, a | 8, a ~ 1, a << 2, a >> 1, 1 << a, 1 >> a, 7 & a end
  check("bit constants", constants3(5))
  check("bit constants float", constants3(5.0))
  check("bit constants negative", constants3(-1))
end
