-- Messages of the compiler.

syntaxes [[
x
x =
x = 1 2
x = = 1
= 1
1 = x
x y
x, y
x.
x.1
x.y.
x:
x:y
x:y.z = 1
x[
x[1
x[1] 
x[]
x[] = 1
x(
x(1
x(1,
x(1,)
x(,)
x(1 2)
x)
x]
x}
)
]
}
(
[
{
{}
{1}
x = {
x = {1
x = {1,
x = {1 2}
x = {,}
x = {1,,2}
x = {[1]}
x = {[1] 2}
x = {[1 = 2}
x = {a = }
x = {a = 1 b = 2}
x = {a.b = 1}
x = {"a" = 1}
x = {[] = 1}
x = (
x = (1
x = ()
x = (1,2)
x = 1 +
x = + 1
x = 1 + + 2
x = 1 * * 2
x = 1 .. 
x = .. 1
x = not
x = #
x = -
x = 1 and
x = and 1
x = 1 or or 2
x = 1 == == 2
x = 1 != 2
x = 1 =< 2
x = a b
x = "a" "b"
x = "a" 1
x = 1 "a"
x = f{} {}
x = function
x = function(
x = function()
x = function() end end
x = function(1) end
x = function(a b) end
x = function(a,) end
x = function(a, ...) end
x = function(..., a) end
x = function(...,) end
x = function f() end
x = ...
function
function f
function f(
function f() 
function f()) end
function f(a, b end
function f.g() end
function f.g.h:i() end
function f:g:h() end
function f:g.h() end
function f[1]() end
function 1() end
function "f"() end
function (x) end
function f() return end end
function f() return ... end
function f(...) return ... end
local
local x,
local x = 
local 1
local x.y = 1
local x:y = 1
local x[1] = 1
local function
local function f
local function f.g() end
local function f:g() end
local x y
local x = 1, 
if
if x
if x then
if x then y
if x then else
if x then elseif
if x then elseif y
if x then elseif y then
if x then else else end
if x then else elseif y then end
if then end
if x y end
if x then end end
else
elseif
end
then
until
while
while x
while x do
while do end
while x y end
while x then end
do
do do end
do end end
repeat
repeat x() until
repeat until
repeat x()
repeat end
for
for x
for x =
for x = 1
for x = 1,
for x = 1, 2
for x = 1, 2,
for x = 1, 2, 3
for x = 1, 2, 3, 4 do end
for x = 1 do end
for x = do end
for x do end
for x in
for x in y
for x in y do
for x, in y do end
for x, y = 1, 2 do end
for 1 = 1, 2 do end
for x.y = 1, 2 do end
for x in y, z do end
for x of y do end
return return
return 1,
return 1 2
return 1 x = 2
return; x = 1
return 1; return 2
return 1;; 
return end
break
break 1
goto
goto 1
goto x y
::
::x
::x:
:: ::
x = 1;
; x = 1
;;
x = 1;; y = 2
f() g()
f(); g()
f
f + g
f == g
"x"
"x":rep(1)
("x"):rep(1)
{}.x = 1
({}).x = 1
nil = 1
true = 1
nil()
... = 1
local ... = 1
not x = 1
-x = 1
x = -
x == 1
x += 1
x++
x ? y : z
x = y ? 1 : 2
x || y
x && y
!x
x != y
x = {} .y
a.b:c = 1
a.b:c()
a.b:c{}
a.b:c""
a:b
a:b:c()
a:b().c:d()
a.b.c
a().b
a().b = 1
a() = 1
a().b()
(a)
(a)()
(a).b
(a).b = 1
(a) = 1
a, b = 1, 2
a, b() = 1, 2
a(), b = 1, 2
a.b, c[1] = 1, 2
a, (b) = 1, 2
a, 1 = 1, 2
a, = 1
, a = 1
end x = 1
x = end
x = then
x = do
x = local
x = function end
x = if
x = while
x = nil nil
x = true false
x = 5 .. 6
x = a.end
x = a:end()
x = a.function
x = {end = 1}
x = {and = 1}
x.end = 1
goto continue
while true do goto continue end
::continue:: ::continue::
local x <const> = 1 x = 2
local x <const> = 1 x = x + 1
local x <const> = 1 function x() end
local x <const> = 1 for i = 1, 2 do x = i end
local x <const> = 1 return function() x = 2 end
local x <foo> = 1
local x <const, close> = 1
local x <const> <close> = 1
local <const> x = 1
local x : number = 1
]]

-- Lines.
do
  local function at(label, ...) syntax(label, table.concat({ ... }, "\n")) end
  at("unclosed function", "function f()", "x = 1", "")
  at("unclosed if", "if x then", "y = 1", "else", "z = 2")
  at("unclosed while on the same line", "while x do y = 1")
  at("unclosed nested", "function f()", "if x then", "while y do", "end", "end")
  at("unclosed paren", "x = (1 +", "2", "y = 3")
  at("unclosed brace", "x = {", "1,", "2", "y = 3")
  at("unclosed bracket", "x[", "1", "= 3")
  at("unclosed call", "f(", "1,", "2", "g()")
  at("unclosed repeat", "repeat", "x = 1", "end")
  at("unclosed for", "for i = 1, 2 do", "x = 1")
  at("unclosed do", "do", "x = 1")
  at("unclosed parameter list", "function f(a,", "b", "x = 1")
  at("extra end", "function f()", "end", "end")
  at("bad token on line 3", "x = 1", "y = 2", "z = = 3")
  at("bad token after comment", "-- comment", "--[[ long", "comment ]] = 1")
  at("unfinished string on line 2", "x = 1", "y = 'abc", "z = 3")
  at("ambiguity is no error", "f", "(1)")
  at("missing then", "if x", "y = 1", "end")
  at("missing do", "while x", "y = 1", "end")
  at("missing do in for", "for i = 1, 2", "y = 1", "end")
  at("else if", "if x then", "else if y then", "end")
  at("goto in function", "function f()", "goto l", "end", "::l::")
  at("break in function", "while true do", "local f = function()", "break", "end", "end")
  at("const in nested function", "local x <const> = 1", "function f()", "x = 2", "end")
  at("vararg outside", "function f()", "return ...", "end")
  at("vararg in nested", "function f(...)", "return function()", "return ...", "end", "end")
end

-- Chunk names.
for _, name in ipairs { "=chunk", "@file.lua", "source text", "two\nlines", "", "=" } do
  syntax("name " .. show(name), "x =", name)
end
check("name of a string chunk", load("x ="))
check("name of a long string chunk", load("x = 1; y = 2; z = 3; a = 4; b = 5; c = 6; d = 7; e = "))
check("name of a multi-line string chunk", load("x = 1\ny ="))
check("name of a reader chunk", load((function() local parts = { "x", " =" } local i = 0 return function() i = i + 1 return parts[i] end end)()))

-- Tokens are shown as they were written.
syntaxes [[
x = 1 0x10
x = 1 1e5
x = 1 'single'
x = 1 "double\n"
x = 1 "\65"
x = 1 [=[long]=]
x = 1 ...
x = 1 ..
x = 1 //
x = 1 <<
x = 1 >>
x = 1 ::
x = 1 <=
x = 1 ~=
x = 1 ==
x = 1 ~
x = 1 #
x = 1 @
x = 1 and
x = 1 goto
x = } 
x = 3.14.15
x = f f
x = 1 --comment
x = --comment
]]

-- Limits.
do
  check("nested parentheses 100", load("return " .. string.rep("(", 100) .. "1" .. string.rep(")", 100))())
  check("nested parentheses 100000", (load("return " .. string.rep("(", 100000) .. "1" .. string.rep(")", 100000))))
  check("nested tables 100", type(load("return " .. string.rep("{", 100) .. string.rep("}", 100))()))
  check("nested tables 100000", (load("return " .. string.rep("{", 100000) .. string.rep("}", 100000))))
  check("nested functions 40", type(load(string.rep("return function() ", 40) .. string.rep(" end", 40))()))
  check("nested functions 100000", (load(string.rep("return function() ", 100000) .. string.rep(" end", 100000))))
  check("nested blocks 100", load(string.rep("do ", 100) .. "return 1" .. string.rep(" end", 100))())
  check("nested blocks 100000", (load(string.rep("do ", 100000) .. string.rep(" end", 100000))))
  check("unary operators 100", load("return " .. string.rep("- ", 100) .. "1")())
  check("unary operators 100000", (load("return " .. string.rep("- ", 100000) .. "1")))
  check("right associative 100", load("return " .. string.rep("1 ^ ", 100) .. "1")())
  check("right associative 100000", (load("return " .. string.rep("1 ^ ", 100000) .. "1")))
  check("left associative 10000", load("return " .. string.rep("1 + ", 10000) .. "1")())
  check("else if chain", load("local x = 100 if x == 0 then return 0 " .. (function()
    local s = {}
    for i = 1, 100 do s[i] = "elseif x == " .. i .. " then return " .. i .. " " end
    return table.concat(s)
  end)() .. "end")())
  check("many constants", (function()
    local s = { "local t = {} " }
    for i = 1, 1000 do s[#s + 1] = ("t[%d] = %d.5 t.k%d = 'v%d' "):format(i, i, i, i) end
    s[#s + 1] = "return t[1000], t.k1, t.k1000"
    return load(table.concat(s))()
  end)())
  check("many functions", (function()
    local s = { "local s = 0 " }
    for i = 1, 500 do s[#s + 1] = "s = s + (function() return " .. i .. " end)() " end
    s[#s + 1] = "return s"
    return load(table.concat(s))()
  end)())
  check("long jumps", (function()
    local s = { "local s = 0 for i = 1, 3 do if i == 2 then " }
    for i = 1, 3000 do s[#s + 1] = "s = s + " .. i .. " " end
    s[#s + 1] = "else s = s + 1 end end return s"
    return load(table.concat(s))()
  end)())
  check("long string", #load("return '" .. string.rep("x", 100000) .. "'")())
  check("long line", load(string.rep(" ", 100000) .. "return 1")())
  check("many lines", load(string.rep("\n", 100000) .. "return ...")(1))
  raises("error on a high line", load(string.rep("\n", 100000) .. "error('x')", "=src"))
end
