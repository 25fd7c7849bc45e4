//! More that loops may do in each pass, beside what [`tight`](super::tight) has: metamethods of all sorts, coroutines and
//! protected calls that go on all the time, keys that are not constants, lists of arguments, numbers of both kinds, strings.

pub const HELPERS: &str = r##"local V = {}
V.__index = function(b, key) if key == "half" then return b[1] / 2 elseif key == "sum" then return b[1] + b[2] end return rawget(V, key) end
V.__newindex = function(b, key, v) rawset(b, key, key == "log" and {v} or v) end
local function vec(b, c) return setmetatable({b, c}, V) end
local function parts(b) if type(b) == "table" then return num(b[1]), num(b[2]) end return num(b), 1 end
local function lift(g) return function(b, c) local b1, b2 = parts(b) local c1, c2 = parts(c) return vec(g(b1, c1) % 1000, g(b2, c2) % 1000) end end
V.__add, V.__sub, V.__mul = lift(function(b, c) return b + c end), lift(function(b, c) return b - c end), lift(function(b, c) return b * c end)
V.__div, V.__mod = lift(function(b, c) return b / nz(c) end), lift(function(b, c) return b % nz(c) end)
V.__idiv = function(b, c) local b1 = parts(b) local c1 = parts(c) return b1 // nz(c1) end
V.__unm = function(b) return vec(-b[1], -b[2]) end
V.__eq = function(b, c) return b[1] == c[1] end
V.__lt = function(b, c) return parts(b) < parts(c) end
V.__le = function(b, c) return parts(b) <= parts(c) end
V.__len = function(b) return 2 end
V.__concat = function(b, c) return "V" end
V.__call = function(b, ...) return select("#", ...), ... end
V.__band = function(b, c) return 6 end
V.__shl = function(b, c) return b end
V.__bnot = function(b) return 9 end
V.__close = function() G3 = num(G3) + 1 end
V.__pairs = function(b) return function(_, key) if not key then return 1, b[1] elseif key == 1 then return 2, b[2] end end, b, nil end
function V:scaled(b) return vec(self[1] * b % 1000, self[2]) end
local keys = {"x", "y", "z", "w", "x"}
local function getter(key) return function(b) return b[key] end end
local gx, gy = getter("x"), getter("y")
local function counter(b) return coroutine.wrap(function(c) while true do b = b + num(c) c = coroutine.yield(b % 100) end end) end
local function pairs_of(b) return coroutine.wrap(function() for at = 1, #b do coroutine.yield(at, b[at]) end end) end
local function nested(b) local ok, e = pcall(function() local ok2, e2 = pcall(error, b) if b % 2 == 0 then error(e2, 0) end return e2 end) return e end
local function guarded(b) local ok, e = xpcall(function(c) if c % 3 == 0 then error({v = c}) end return c end, function(e) return e.v end, b) return e end
local function args(...) local b, c = ... return (b or 0) + (c or 0) + select("#", ...) end
local function nth(b, ...) return (select(b % select("#", ...) + 1, ...)) end
local function packed(...) local b = table.pack(...) return b.n, b[b.n] end
local function fold(g, b, ...) if select("#", ...) == 0 then return b end return fold(g, g(b, (...)), select(2, ...)) end
local function digits(b) local r = 0 for c in string.gmatch(tostring(b), "%d") do r = r + c end return r end
"##;

/// More variables.
pub const LOCALS: &str = r#"local p1, p2, step1, step2 = vec(1, 2), vec(3.5, 4), counter(0), counter(0.5)
local rec1, str1 = {x = 1, y = 2.5, z = "3"}, "abcdefghij""#;

/// Done in each pass.
pub const ALWAYS: [&str; 58] = [
    "p1 = p1 + 1",
    "p1 = p1 + p2",
    "p2 = p2 - i",
    "p2 = p1 * 2 - p2",
    "p1 = -p1",
    "p1 = p1 / 3",
    "p1 = p1 % 7",
    "n = n + p1 // 2",
    "n = n + #p1 + (p1 & 1) + ~p2",
    "n = n + p1.half + p2.sum",
    "n = n + p1:scaled(i)[1]",
    "p1.log = i",
    "p2[keys[i % 5 + 1]] = i",
    "if p1 == p2 then n = n + 1 end",
    "if p1 < p2 then n = n + 2 elseif p2 <= p1 then n = n - 1 end",
    "n = n + p1(i, x)",
    "s = cap(s .. p1)",
    "for _, w in pairs(p1) do n = n + w end",
    "do local w <close> = p1 n = n + 1 end",
    "n = n + step1(i)",
    "n = n + step2(x)",
    "f = f + step2(n % 10)",
    "for at, w in pairs_of(a) do n = n + at if at > 4 then break end end",
    "n = n + num(nested(i))",
    "n = n + num(guarded(i))",
    "n = n + num((select(2, pcall(add, i, f))))",
    "do local ok, w = pcall(add, i, x) if ok then n = n + num(w) else n = n + 1 end end",
    "n = n + num(try(fails, i))",
    "n = n + num(rec1[keys[i % 5 + 1]])",
    "rec1[keys[i % 4 + 1]] = i",
    "rec1[\"k\" .. i % 6] = n",
    "rec1[keys[i % 3 + 1]] = i % 4 == 0 and i + 0.5 or i",
    "rec1 = {[keys[i % 4 + 1]] = i, x = rec1.x}",
    "n = n + num(gx(rec1)) + num(gy(rec1))",
    "n = n + num(gx(i % 2 == 0 and rec1 or t))",
    "n = n + args(i, n % 3)",
    "n = n + args() + args(i)",
    "n = n + num(nth(i, n, f, 3))",
    "n = n + packed(i, x, i)",
    "n = n + fold(add, i, 2, 3, 4)",
    "n = n + num(fold(math.max, i, n % 9, f % 7))",
    "x, y = packed(table.unpack(a, 1, i % 4))",
    "n = n + i / 2",
    "n = n // 1",
    "n = n + i * 0.5",
    "n = i % 2 == 0 and n + 0.5 or math.floor(n)",
    "n = (n % 1000) * i",
    "n = math.tointeger(n) or n * 2",
    "f = f + i // 3 - i % 2.5",
    "if i < f then n = n + 1 elseif f == n then n = n + 2 end",
    "n = toint(n) << i % 5 | toint(f)",
    "n = n + (i < 2^53 and 1 or 0) + (math.type(n) == \"float\" and 1 or 2)",
    "n = n + digits(i)",
    "n = n + string.byte(str1, i % 10 + 1)",
    "s = string.sub(str1, i % 5, i % 9)",
    "if string.sub(str1, i % 10 + 1, i % 10 + 1) == \"c\" then n = n + 3 end",
    "n = n + #string.format(\"%d:%s\", i, s)",
    "str1 = string.sub(str1, 2) .. string.char(97 + i % 26)",
];
