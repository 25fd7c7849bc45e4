//! Parts of programs whose loops are tight: no bookkeeping, few things that are always done, and several branches that
//! are rarely taken, each of which does something that the loop may have taken for granted not to happen. See
//! [`Hot::tight`](super::Hot::tight).

pub const HELPERS: &str = r##"local out = {}
local function put(v) if #out < 300 then out[#out + 1] = v end end
local function show(label) for at = 1, #out do note(out[at]) end flush(label) out = {} end
local function none() end
local function swap(b, c) return c, b end
local function three(b) return b, 1, b end
local function opt(b, c, d) if d then return d end if c then return c, b end return b end
local function rest(b, ...) if b then return ... end return select("#", ...), ... end
local function flip(...) local b, c = ... return c, b, ... end
local function t1(b, c, d) return opt(d, c) end
local function t2(b) return t1(b, b) end
local function t3(...) return t2(...) end
local function t4(b, ...) return rest(b, ...) end
local function deep(v, d) if d <= 0 then return v end return deep(v, d - 1) end
local function rec(v, d) if d <= 0 then return v end local r = rec(v, d - 1) return r end
local function rev(v, d) if d <= 0 then return v, d end return (rev(v, d - 1)), v end
local pong
local function ping(d, v) if d <= 0 then return v, d end return pong(d - 1, v, d) end
function pong(d, v, w, z) if d <= 0 then return v, w, z end local b, c = ping(d - 1, w) return b, c end
local function find(b, v) for at = 1, #b do if b[at] == v then return at, b[at] end end end
local function total(b) local r = 0 for _, v in ipairs(b) do if type(v) == "number" then r = r + v elseif v then r = r + 1 end end return r end
local function size(b) local c = 0 for _ in pairs(b) do c = c + 1 end return c end
local function each(b, g) for at = 1, #b do g(b[at], at) end return #b end
local function net(c, d) local r = 0 for v = 1, c do for w = v, d do if (v + w) % 3 == 0 then r = r + v elseif w % 2 == 0 then r = r - w end end end return r end
local function counts(k) local c = 0 while true do c = c + 1 if c > k then return c end if c % 3 == 0 then goto on end c = c + 1 ::on:: end end
local function try(g, ...) local ok, e, e2 = pcall(g, ...) if ok then return e, e2 end return type(e) == "table" and e.v or e end
local function tb(m) return (string.gsub(debug.traceback(m, 2), "%[C%]: in %?.*", "")) end
local function bad(v) if v % 5 == 0 then error("bad " .. v) elseif v % 5 == 1 then return nil .. v elseif v % 5 == 2 then return v.x.y elseif v % 5 == 3 then return {} < v end return v end
local function bad2(v, w) local r = bad(v) return r, w end
local function bad3(v) return bad2(v) end
local function trace(v) local ok, e = xpcall(bad2, tb, v) return e end
local function closes(v, g) local c <close> = setmetatable({}, {__close = function(_, e) g(e) end}) if v then return v end return none(g(1)) end
local function gen(k) return coroutine.wrap(function(...) local v = ... for c = 1, k do if c % 3 == 0 then v = coroutine.yield(c, v) else coroutine.yield(c) end end return nil end) end
local function rest_of(...) local c = 0 for at = 1, select("#", ...) do if (select(at, ...)) then c = c + at end end return c end
local function range(k) local r = {} for at = 1, k do r[at] = at end return r end
local yields = coroutine.isyieldable
local E = setmetatable({}, {__index = function(_, k) return k == "x" and 4 or nil end})
E.__index = function(b, k) if k == "x" then return 3 elseif k == "get" then return A.get end return rawget(E, k) end
E.__eq = function(b, c) return b.y == c.y end
E.__lt = function(b, c) return num(rawget(obj(b), "y")) < num(rawget(obj(c), "y")) end
E.__le = E.__lt
E.__call = function(self, b, ...) return b, ... end
E.__concat = function(b, c) return "E" end
E.__len = function() return 2 end
E.__add = function(b, c) return 1 end
local function new(v) return {x = v, y = v, r = {v = 1}} end
local function newE(v) return setmetatable({y = v, r = {v = 2}}, E) end
local function newA(v) return setmetatable({x = v, y = 1, r = {v = 3}}, A) end
local function put_x(b, v) b.x = v end
local function get_x(b) return b.x end
local function put_r(b, v) b.r = {v = v} return b end
"##;

/// `x` of an object is a number or nil, `r` a table with a number `v`; `y` is anything.
pub const LOCALS: &str = r#"local n, f, s, x, y, z = 0, 0.5, "s", p, nil, 1
local t, e, v = new(1), new(2), new(3)
local L = {t, e, v, new(4), newA(5), newE(6), new(7)}
local a, b, h, k = {1, 2, 3, 4, 5, 6, 7, 8}, {1, 2.5, "c", true, false}, {q = 1, w = 2, 3, [2.5] = 4}, {}
local F, G, c1, c2 = add, get_x, 0, 1
local u, w, o, m, P, fns = 0, 1, L[5], {x = 1}, {L[5], L[6], C.new(3), {v = 4, get = A.get, inc = A.inc, name = A.name}, D}, {}
local ops = {add, get_x = get_x, put = put_x}"#;

/// Done in each pass.
pub const ALWAYS: [&str; 40] = [
    "n = n + 1",
    "n = n + i",
    "n = n + (t.x or 0)",
    "n = n + (e.x or 0)",
    "n = n + t.r.v",
    "n = n + e.r.v",
    "n = n + (L[i % #L + 1].x or 0)",
    "n = n + (a[i % #a + 1] or 0)",
    "n = n + num(b[i % #b + 1])",
    "n = n + c1",
    "c1 = c1 + 1",
    "f = f + n",
    "f = f * 0.25 + i",
    "t.x = n",
    "t.x = (t.x or 0) + 1",
    "e.x = i",
    "x = t.y",
    "x = e",
    "y = x",
    "x, y = y, x",
    "z = not x",
    "z = i",
    "if #a > 6 then a[6] = i end",
    "n = n + F(i, 1)",
    "n = n + num(G(t))",
    "n = n + num(t.get and t:get())",
    "n = n + num(get_x(e))",
    "n = n + (ops.get_x(t) or 0)",
    "n = n + (opt(i) or 0)",
    "n = n + num(t1(1, i))",
    "n = n + num(deep(i, 2))",
    "n = n + num(rec(i, 3))",
    "n = n + rest_of(i, x)",
    "if t == e then n = n + 3 end",
    "if x == y then n = n + 5 end",
    "if x then n = n + 1 end",
    "if y == true then n = n + 7 elseif y == false then n = n + 11 end",
    "if #s > 3 then n = n + 1 end",
    "n = n ~ i",
    "k[i] = n",
];

/// Done now and then.
pub const SIDE: [&str; 132] = [
    "n = n + 1",
    "n = n * 3",
    "n = n - (t.x or 0)",
    "n = math.maxinteger",
    "n = $n",
    "f = $n",
    "f = i",
    "x = i",
    "x = nil",
    "x = $x",
    "y = $x",
    "y = not x",
    "x = not y y = x",
    "x, y, z = $x, x",
    "z = $x",
    "x = f",
    "s = cap(s .. i)",
    "s = \"q\"",
    "put(n)",
    "put(x)",
    "put(y) put(z)",
    "put(t.x) put(e.x)",
    "put(s)",
    "t = e",
    "e = t",
    "t, e = e, t",
    "t = L[i % #L + 1]",
    "e = L[i % #L + 1]",
    "e = new(i)",
    "t = newA(i)",
    "e = newE(i)",
    "t = {x = i, r = {v = 1}}",
    "t = {r = {v = 5}, x = i}",
    "t.x = i",
    "e.x = f",
    "e.x = nil",
    "L[i % #L + 1].x = i",
    "L[i // $k % #L + 1].x = i",
    "L[i // $k % #L + 1].x = nil",
    "L[i // $k % #L + 1].y = $x",
    "L[i // $k % #L + 1].r = {v = i}",
    "L[i // $k % #L + 1].r.v = i",
    "L[i // $k % #L + 1][\"k\" .. i % $k] = i",
    "L[i // $k % #L + 1].get = A.get",
    "L[i // $k % #L + 1].new = i",
    "L[i % #L + 1] = new(i)",
    "L[#L + 1] = new(i) if #L > 12 then L = {t, e} end",
    "put_x(t, i)",
    "put_x(L[i // $k % #L + 1], i)",
    "put_r(L[i // $k % #L + 1], i)",
    "put_r(e, i).x = i",
    "setmetatable(L[i // $k % #L + 1], A)",
    "setmetatable(L[i // $k % #L + 1], E)",
    "setmetatable(L[i // $k % #L + 1], nil)",
    "setmetatable(t, {__index = function(_, key) return key == \"x\" and 8 or nil end})",
    "t.v = i",
    "a[i % #a + 1] = i",
    "a[i % #a + 1] = i + 0.5",
    "a[#a + 1] = i",
    "a[#a] = nil if #a == 0 then a = {1} end",
    "a = {1, 2}",
    "a = {i + 0.5, 1, 2}",
    "if #a > 30 then a = {3} end",
    "for j = #a + 1, #a + $k do a[j] = j end if #a > 60 then a = {0} end",
    "for j = #a, 2, -1 do a[j] = nil end",
    "b[i % #b + 1] = $x or false",
    "table.insert(a, i) if #a > 40 then a = {9} end",
    "table.remove(a) if #a == 0 then a = {1} end",
    "h[i % $k] = i",
    "h[i] = i",
    "h[i - $k] = nil",
    "h = {}",
    "for key in pairs(h) do h[key] = nil end",
    "for key, w in pairs(h) do if w == i then h[key] = nil else n = n + w end end",
    "for key, w in next, h do n = n + w if w % 2 == 0 then h[key] = nil end end",
    "for key, w in pairs(t) do if key ~= \"r\" then n = n + 1 end end",
    "for _, w in ipairs(a) do n = n + w end",
    "for _, w in ipairs(L) do n = n + (w.x or 0) end",
    "for j = 1, $k do n = n + j end",
    "for j = 1, $k do if j % 2 == 0 then n = n + j else f = f + 1 end end",
    "for j = i, i + 2 do for l = 1, 3 do n = n + j * l end end",
    "for j = 1, 3 do t.x = (t.x or 0) + j e = L[j] end",
    "for j = 1, 2 do L[j].x = j end",
    "local j = 0 while j < $k do j = j + 1 if j == 3 then goto next end n = n + j ::next:: end",
    "n = n + net(2, 5)",
    "n = n + counts($k)",
    "n = n + total(a)",
    "n = n + total(b)",
    "n = n + size(h)",
    "n = n + (find(a, i) or 0)",
    "n = n + each(a, function(w) c1 = c1 + w end)",
    "n = n + each(L, function(w) w.x = i end)",
    "put(rev(i, $k))",
    "x, y = ping($k, i)",
    "x, y, z = flip(rest(x, y, z))",
    "x, y = swap(x, y)",
    "x, y, z = three(i)",
    "x, y = none()",
    "x, y, z = t3(i, x)",
    "x, y, z = t4(x, y, z)",
    "x, y = opt(three(x))",
    "x = (opt(flip(x, y)))",
    "k = {flip(i, x)}",
    "k = {i, three(x), three(i)}",
    "put(select(\"#\", flip(x)))",
    "n = n + rest_of(flip(x, i))",
    "n = n + rest_of(rest(nil, x))",
    "x = deep(i, $k)",
    "x = rec(x, $k)",
    "put(try(bad, i))",
    "put(try(bad3, i))",
    "put(trace(i))",
    "put(trace(i + 1))",
    "put(tb(\"t\"))",
    "x = closes(x, put)",
    "closes(nil, function(e) n = n + 1 end)",
    "for w, w2 in gen($k) do n = n + w end",
    "if yields() then coroutine.yield(n) end",
    "F = function(d, e) return d end",
    "F = F == add and tail or add",
    "G = function(d) return n end",
    "G = get_x",
    "ops.get_x = G",
    "ops.get_x = function(d) return d.y and 1 end",
    "local c = i fns[i % 3 + 1] = function() c = c + 1 return c + c2 end",
    "if fns[i % 3 + 1] then n = n + fns[i % 3 + 1]() end",
    "c2 = c2 + 1",
    "c1 = c1 + n local g = function() c1 = c1 + 1 end g()",
    "if (e < v) ~= (v < e) then n = n + 1 end",
    "put(e == v) put(t ~= e)",
    "put(try(function() return e .. t end) ~= nil)",
    "put(try(e, x, i) == x)",
];

/// Done once or twice.
pub const ONCE: [&str; 14] = [
    "A.get = function(self) return i end",
    "A.get = nil",
    "A.y = i",
    "E.__index = A",
    "E.__eq = nil",
    "E.__eq = function() return i % 2 == 0 end",
    "collectgarbage()",
    "collectgarbage(\"step\")",
    "poke(\"n\", 5)",
    "poke(\"x\", nil) poke(\"t\", e)",
    "peek()",
    "debug.sethook(function() G1 = G1 + 1 debug.sethook() end, \"c\")",
    "add = function(d, e) return d * e end",
    "setmetatable(A, {__index = {get = function() return 5 end, x = 2}})",
];
