-- Manual section 3.1: lexical conventions.

-- Escape sequences.
exprs [==[
"\a\b\f\n\r\t\v\\\"\'"
'\a\b\f\n\r\t\v\\\"\''
"\65\066\0067"
"\0"
"\000\0001"
"\255"
"\x41\x7a\xff\x00"
"\xAb\xaB"
"a\z   b"
"\z"
"\u{41}"
"\u{0}"
"\u{7F}\u{80}"
"\u{7FF}\u{800}"
"\u{FFFF}\u{10000}"
"\u{10FFFF}"
"\u{1FFFFF}\u{200000}"
"\u{3FFFFFF}\u{4000000}"
"\u{7FFFFFFF}"
"\u{000000041}"
"\u{20AC}"
'it''s'
"'" .. '"'
"tab	inside"
#"\z    "
"\049\50"
"\1234"
"--not a comment"
'[[not long]]'
""
''
]==]
check("escaped newline", "a\
b")
check("escaped newline and indentation", "a\
   b")
check("z skips lines", "a\z

   	b")
run("escaped crlf", "return 'a\\\r\nb'")
run("escaped lfcr", "return 'a\\\n\rb'")
run("escaped cr", "return 'a\\\rb'")
run("escaped two crs", "return 'a\\\r\\\rb'")
run("z across crlf", "return 'a\\z\r\n  \r\n b'")
run("raw bytes", "return '" .. string.char(1, 127, 128, 255) .. "'")
run("zero byte in a string", "return 'a\0b'")

-- Long strings.
check("long", [[abc]])
check("long drops first newline", [[
abc]])
check("long keeps second newline", [[

abc]])
check("long no escapes", [[\n\x41\]])
check("long level 1", [=[a]]b]=])
check("long level 3", [===[a]==]b]=]c]]d]===])
check("long with brackets", [[a[b]c]])
check("long nested opening", [[a [[ b]])
check("long empty", [[]], [==[]==])
check("long with quotes", [["']])
check("long ends with bracket", [=[a]]=])
check("long multi-line", [[a
b

c]])
run("long crlf", "return [[\r\na\r\nb\n\rc\rd\n]]")
run("long zero", "return [[a\0b]]")
run("long call", "return (string.len[[abc]])")
run("index then long string", "local t = {abc = 5} return t[ [[abc]] ]")

-- Comments.
run("line comment", "--comment\nreturn 1")
run("line comment at the end", "return 1 --comment")
run("empty comment", "--\nreturn 1")
run("long comment", "--[[ a\nb ]] return 1")
run("long comment level", "--[==[ ]] ]=] \n]==] return 1")
run("not a long comment", "--[=a\nreturn 1 --]=]")
run("not a long comment space", "-- [[ return 0\nreturn 1 --]]")
run("toggle comment", "---[[\nreturn 1\n--]]")
run("comment between tokens", "return --[[a]] 1 --[[b]] + --[[c]] 2")
run("comment cr", "--x\rreturn 1")
run("first line with hash", "#!/usr/bin/lua\nreturn 1")
run("only a comment", "-- nothing")
run("empty chunk", "")
run("only semicolons", ";;;")
run("only white space", " \t\v\f\r\n")

-- Numerals.
exprs [[
3
345
0xff
0XBEBADA
0xA
0Xa
00012
9223372036854775807
9223372036854775808
-9223372036854775808
-9223372036854775807 - 1
123456789012345678901234567890
0x7fffffffffffffff
0x8000000000000000
0xffffffffffffffff
0x10000000000000001
0xdeadbeefdeadbeefcafe
3.0
3.1416
314.16e-2
0.31416E1
34e1
34E+1
34e-1
.5
5.
.5e1
5.e1
0e12
0x0.1E
0xA23p-4
0X1.921FB54442D18P+1
0x.1
0x1.
0x1p4
0x1P-2
0xA.8p0
0x.p1 == nil
1e308
1e309
-1e309
1e-320
4.9e-324
2e-324
1e-400
0x1p-1074
0x1p-1075
0x1p1023
0x1p1024
0x1.fffffffffffffp1023
0x1.fffffffffffff8p1023
2^1023 * 2
1e15
1e16
1e100
123456.789e3
0.1 + 0.2
0.1
1/3
100000000000000
1e14
1e+14
3e0
0x10p0
1//1
5 // 0.0
0x1p63
0x1p-1
0xfffffffffffffffffffffp-10
9007199254740993.0
1.7976931348623157e308
1.7976931348623159e308
2.2250738585072014e-308
2.2250738585072011e-308
0.1e1
1e1e == nil
0x
0xg
1..2
1 ..2
3x
3.4.5
1e
1e+
0x1p
0x1pz
08
1_000
0b1
0x1.8
0x.8p1
1.e1
]]

-- Names and reserved words.
run("names", "local _, a1, _2, A, a = 1, 2, 3, 4, 5 return _, a1, _2, A, a")
run("case matters", "local And, AND = 1, 2 return And, AND")
run("fields named like keywords need brackets", "local t = {['end'] = 1} return t['end']")
run("goto is reserved", "local goto = 1")
run("long name", "local " .. string.rep("n", 300) .. " = 7 return " .. string.rep("n", 300))
for _, word in ipairs {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
  "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
} do
  syntax("reserved " .. word, "local " .. word .. " = 1")
end
syntax("non-ascii name", "local \xe4 = 1")
syntax("unicode name", "local caf\xc3\xa9 = 1")

-- Tokens, longest match.
exprs [[
1--1
1 - -1
2^-1
not not nil
1<2, 1<=2, 2>1, 2>=1, 1==1, 1~=2
7//2, 7/2
1<<2, 8>>1
~0, 5~3, ~5
1 .. 2
"a".."b"
#"abc", -"2"
(function(...) return ... end)(1, 2)
({1, 2; 3})[3]
{a=1}.a
("x"):rep(3)
2^3^2
-2^2
]]

-- Lexical errors.
syntaxes [==[
x = "unfinished
x = 'unfinished
x = "bad \q escape"
x = "\400"
x = "\256"
x = "\999 rest"
x = "\x"
x = "\xg1"
x = "\x1"
x = "\x1g"
x = "\u"
x = "\u41"
x = "\u{"
x = "\u{}"
x = "\u{g}"
x = "\u{41"
x = "\u{80000000}"
x = "\u{FFFFFFFFF}"
x = "\
x = [[unfinished
x = [==[unfinished]]
x = [=
x = [=x
x = [==
--[[ unfinished comment
--[==[ unfinished ]]
x = 3x
x = 3.4.5
x = 0x
x = 1e
x = 1e+
x = 12abc
x = 0xep1q
x = 1..2
x = .5.
x = $
x = @
x = !
x = `
x = a ? b
x = "a" .. \
x = 1 & & 2
x = ~
x = !=
]==]
syntax("unfinished at end of file", "x = 'abc")
syntax("unfinished long on line 3", "x = [[\n\nabc")
syntax("unfinished comment on line 2", "\n--[[ abc\n\n")
syntax("control character", "x = \1")
syntax("byte 200", "x = \200")
syntax("escape cut by newline", "x = '\\x4\n'")
syntax("string with a newline", "x = 'a\nb'")
syntax("long escape text", "x = 'a long string before the \\q escape and after'")
syntax("very long token", "x = " .. string.rep("y", 200) .. " z")
syntax("very long string token", "x = 'a' '" .. string.rep("y", 200) .. "'")
syntax("crlf counts once", "\r\n\r\n$")
syntax("lfcr counts once", "\n\r\n\r$")
syntax("two lfs", "\n\n$")
syntax("line in long string", "x = [[\n\n]] $")
syntax("line after escaped newline", "x = '\\\n' $")
syntax("line after z", "x = '\\z\n\n' $")
