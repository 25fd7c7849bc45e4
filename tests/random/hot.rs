//! Random programs whose loops get hot: what a compiler of traces takes for granted is true for a while and then
//! changes. Variables change their types, sites see several shapes, functions are replaced, errors are raised in the
//! middle, frames are looked at and changed from outside.
//!
//! Statements and expressions are templates: `$` and a letter stand for a random part, see [`Hot::part`].

use super::{FLOATS, INTEGERS, Node, Part, STRINGS};
use super::{mixed, tight};
use crate::common::Rng;

const HEADER: &str = r##"local G0 = 0
local N, notes = 0, {}
local function text(v)
  local t = math.type(v)
  if t == "float" then if v ~= v then return "nan" end return string.format("%.14g", v) .. "f" end
  if t == "integer" or type(v) == "boolean" or v == nil then return tostring(v) end
  if type(v) == "string" then return "'" .. string.sub(v, 1, 60) .. "'" end
  return type(v)
end
function note(v) N = N + 1 if N <= 1500 then notes[N] = text(v) end end
function flush(label)
  for at = 1, math.min(N, 1500), 12 do
    print(label .. " " .. at .. ": " .. table.concat(notes, " ", at, math.min(at + 11, N, 1500)))
  end
  N, notes = 0, {}
end
local function nz(v) if v == 0 then return 3 end return v end
local function num(v) if type(v) == "number" then return v end return 4 end
local function str(v) if type(v) == "string" then return v end return "q" end
local function obj(v) if type(v) == "table" then return v end return {v = 2} end
local function add(a, b) return a + b end
local function pick(c, a, b) if c then return a end return b end
local function two(a) return a, a + 1 end
local function sum(...) local r = 0 for _, v in ipairs({...}) do r = r + num(v) end return r end
local function count(...) return select("#", ...) end
local function last(...) return (select(-1, ...)) end
local function pass(...) return ... end
local function tail(a, b) return add(num(a), num(b)) end
local function fib(v) if v < 2 then return v end return fib(v - 1) + fib(v - 2) end
local function even(v) if v <= 0 then return true end return not even(v - 1) end
local function upto(k) local at = 0 return function() at = at + 1 if at <= k then return at, at * 2 end end end
local function step(s, c) if c < s then return c + 1 end end
local function fails(v) if num(v) % 3 == 0 then error("fails " .. text(v)) end return v end
local function throws(v) if num(v) % 2 == 0 then error({v = v}) end return v end
A = {v = 1, w = 2} A.__index = A
function A.new(v) return setmetatable({v = v}, A) end
function A:get() return self.v end
function A:inc(d) self.v = num(self.v) + num(d) return self.v end
function A:name() return "A" end
function A.__add(a, b) return num(obj(a).v) + num(obj(b).v) end
function A.__eq(a, b) return num(a.v) == num(b.v) end
function A.__lt(a, b) return num(obj(a).v) < num(obj(b).v) end
function A.__le(a, b) return num(obj(a).v) <= num(obj(b).v) end
function A.__concat(a, b) return "cat" end
function A.__len(a) return 7 end
function A.__call(self, a) return num(self.v) + num(a) end
function A.__unm(a) return -num(a.v) end
B = setmetatable({}, {__index = A}) B.__index = B
function B.new(v) local o = {w = 5} o.v = v return setmetatable(o, B) end
function B:get() return num(self.v) + num(self.w) end
function B:name() return "B" end
B.__add, B.__lt, B.__le, B.__eq = A.__add, A.__lt, A.__le, A.__eq
function B.__index(t, k) if k == "z" then return 9 end return rawget(B, k) or A[k] end
function B.__newindex(t, k, v) rawset(t, k, v) G3 = G3 + 1 end
C = {}
function C.new(v) return setmetatable({x = 1, v = v}, {__index = A, __add = function(a, b) return 11 end, __call = A.__call}) end
D = setmetatable({v = 3, get = function(self) return self.v end, inc = A.inc, name = A.name}, A)
G1, G2, G3 = 1, 2.5, 0
"##;

const LOCALS: &str = r#"local n, f, s, x, y = num(p), 0.5, "s", p, nil
local a, h, k, m, P = {1, 2, 3}, {}, {1, 2.5, "c", true}, {x = 1}, {A.new(1), B.new(2), C.new(3), {v = 4, get = A.get, inc = A.inc, name = A.name}, D}
local o, F, fns = P[1], add, {}
local u, w = 0, 1"#;

/// Expressions that are numbers.
const NUMBERS: [&str; 58] = [
    "i",
    "i",
    "n",
    "n",
    "f",
    "u",
    "w",
    "G1",
    "G2",
    "#a",
    "$l",
    "$l",
    "num(x)",
    "num(y)",
    "($n + $n)",
    "($n - $n)",
    "($n * $n)",
    "($n / $n)",
    "($n % nz($n))",
    "($n // nz($n))",
    "($n + 1)",
    "(i % $k)",
    "(i * $k)",
    "(n + 0.5)",
    "-($n)",
    "(toint($n) & toint($n))",
    "(toint($n) | $k)",
    "(toint($n) << $k)",
    "(toint($n) >> $k)",
    "~toint($n)",
    "($n ^ 2)",
    "(a[i % #a + 1] or 0)",
    "(a[$k] or $n)",
    "num(h[i % $k])",
    "num(h[$k])",
    "num(k[i % 4 + 1])",
    "num(m.x)",
    "num(o.v)",
    "num(o.w)",
    "num(o:get())",
    "num(o:inc($n))",
    "add($n, $n)",
    "pick($c, $n, $n)",
    "sum($n, $n)",
    "sum($n, $x, $x)",
    "count($x, $x)",
    "count(pass($x, $x))",
    "tail($x, $n)",
    "fib(i % 7)",
    "#s",
    "#str(x)",
    "#$s",
    "math.max($n, $n)",
    "math.floor(num(x) % 10)",
    "(tonumber($s) or 2)",
    "num(P[i % 5 + 1].v)",
    "num(F($n, $n))",
    "num(A.v)",
];

const TEXTS: [&str; 18] = [
    "s",
    "s",
    "str(x)",
    "$L",
    "$L",
    "($s .. $s)",
    "($s .. i)",
    "(s .. (i % $k) .. \"z\")",
    "tostring(toint($n))",
    "($s):sub(i % 5 + 1, -2)",
    "s:upper()",
    "str(k[i % 4 + 1])",
    "o:name()",
    "type($x)",
    "string.rep(\"r\", i % 3)",
    "string.format(\"%s\", i)",
    "pick($c, $s, $s)",
    "string.char(65 + i % 26)",
];

const VALUES: [&str; 22] = [
    "$n",
    "$n",
    "$n",
    "$s",
    "nil",
    "true",
    "false",
    "x",
    "y",
    "$c",
    "k[i % 4 + 1]",
    "h[i % $k]",
    "m[$K]",
    "m.y",
    "o",
    "{v = $n}",
    "o.q",
    "(x or $x)",
    "($c and $x)",
    "P[i % 5 + 1]",
    "last($x, $x)",
    "(o.q or $n)",
];

const CONDITIONS: [&str; 22] = [
    "i % $k == 0",
    "i % $k == 1",
    "i > $k",
    "i == $k",
    "$n < $n",
    "$n <= $n",
    "$n == $n",
    "$n > 0",
    "$s == $s",
    "$s < $s",
    "$x == $x",
    "x == nil",
    "x",
    "not y",
    "($c and $c)",
    "($c or $c)",
    "even(i % 6)",
    "o == P[i % 5 + 1]",
    "type(x) == \"number\"",
    "x == \"a\"",
    "x ~= 3",
    "i < 20",
];

const STATEMENTS: [&str; 114] = [
    "note($x)",
    "note($n)",
    "note($s)",
    "note(x) note(n)",
    "n = $n",
    "n = $n",
    "f = f + $n",
    "f = f * 0.5 + i",
    "s = cap($s)",
    "s = cap(s .. $s)",
    "x = $x",
    "y = $x",
    "x, y = y, x",
    "n, x = two($n)",
    "x, y = pass($x, $x, $x)",
    "x, n = $x, $n",
    "G1 = G1 + 1",
    "G1 = $n",
    "G2 = G2 + $n",
    "u = u + $n",
    "w = w + i",
    "u, w = w, u",
    "if i % $k == $j then x = $x end",
    "if i == $k then n = $n end",
    "if i > $k then x = $x y = $x end",
    "if $c then$B end",
    "if $c then$B else$B end",
    "if $c then$B elseif $c then$B else$B end",
    "x = k[i % 4 + 1]",
    "k[i % 4 + 1] = $x",
    "k[$j + 1] = $x",
    "a[i % #a + 1] = $m",
    "if #a < 30 then a[#a + 1] = $m end",
    "if #a > 2 then a[#a] = nil end",
    "if i == $k then a[1] = \"1\" end",
    "table.insert(a, $m) if #a > 20 then a = {0} end",
    "h[i % $k] = $x",
    "h[i] = $n",
    "h[i * $k] = $n",
    "h[$k] = nil",
    "h[i % $k] = nil",
    "h[$n] = i",
    "m[$K] = $x",
    "m[$K] = nil",
    "m.x = $n",
    "m.y = $x",
    "m[\"k\" .. i] = $n",
    "m = {x = $n, y = $x}",
    "m = {$n, $x, $n}",
    "h = {$n, nil, $n}",
    "m = {pass($x, $x)}",
    "o = P[i % 5 + 1]",
    "o = P[i % 2 + 1]",
    "o = A.new($n)",
    "o = B.new($n)",
    "o = C.new($n)",
    "o = setmetatable({v = $n}, {__index = A})",
    "P[i % 5 + 1] = A.new($n)",
    "o.v = $n",
    "o.v = $x",
    "o.w = $n",
    "o.q = $x",
    "o.v = nil",
    "if i == $k then setmetatable(o, A) end",
    "if i == $k then setmetatable(P[1], B) end",
    "if i == $k then A.get = function(self) return $k end end",
    "if i % $k == 0 then A.v = $n end",
    "if i == $k then B.get = nil end",
    "if i == $k then A.__index = function(t, key) return rawget(A, key) end end",
    "note(o + $n)",
    "note(o + P[i % 5 + 1])",
    "note(o < P[i % 2 + 1])",
    "note(P[1] .. $s)",
    "note(#P[1])",
    "note(-P[1])",
    "note(P[1]($n))",
    "note(o.z)",
    "note(o:get())",
    "note(o:inc($n))",
    "note(o:name())",
    "x = o[$K]",
    "F = function(b, c) return $n end",
    "F = pick($c, add, tail)",
    "F = i % 2 == 0 and add or tail",
    "do local c = $n fns[i % 3 + 1] = function() c = c + 1 return c end end",
    "fns[i % 3 + 1] = function() u = u + 1 return u + i end",
    "if fns[i % 3 + 1] then note(fns[i % 3 + 1]()) end",
    "do local c = $x local g = function() return c end c = $x note(g()) end",
    "for j = 1, $k do tick()$I ::next:: end",
    "for j = $k, 1, -1 do tick()$I ::next:: end",
    "for j = 1.0, 3, 0.5 do tick()$I ::next:: end",
    "for j = $n, $n, $k do tick()$I ::next:: end",
    "for j = math.maxinteger - 2, math.maxinteger do tick()$I ::next:: end",
    "for j, b in ipairs(a) do tick()$I ::next:: end",
    "for j, b in ipairs(k) do tick() note(b)$I ::next:: end",
    "do local c = 0 for key, b in pairs(m) do tick() c = c + 1 end note(c) end",
    "do local c = 0 for key, b in next, h do tick() c = c + num(b) % 1 end end",
    "for j in upto($k) do tick()$I ::next:: end",
    "for j in step, $k, 0 do tick()$I ::next:: end",
    "for j in coroutine.wrap(function() for c = 1, $k do coroutine.yield(c) end end) do tick()$I ::next:: end",
    "do local j = 0 while j < $k do tick() j = j + 1$I ::next:: end end",
    "do local j = 0 repeat tick() j = j + 1 do$I end ::next:: until j >= $k end",
    "note(select(2, pcall(fails, i)))",
    "do local ok, e = pcall(throws, $n) note(ok) end",
    "note(pcall(function()$B return $x end))",
    "note((select(2, pcall(function() local z = $x + 1 return z end))))",
    "note((select(2, pcall(function() return $x .. \"c\" end))))",
    "note((select(2, pcall(function() return $x < $x end))))",
    "note((select(2, pcall(function() return ($x).v end))))",
    "do local c <close> = closer(\"c\" .. i)$B end",
    "do local co = coroutine.wrap(function(q)$B q = coroutine.yield($x)$B return q end) note(co(1)) note(co(2)) end",
    "if co and i % $k == 0 then note(co($x)) end",
    "do local v = {pass(table.unpack(a, 1, i % 4))} note(#v) note(v[2]) end",
    "note(sum(table.unpack(a, 1, i % 4)))",
];

/// Statements that look at frames or at the heap from outside.
const RARE: [&str; 29] = [
    "if i % $k == 0 then collectgarbage() end",
    "if i % $k == 0 then collectgarbage(\"step\") end",
    "if i == $k then local at, name, v = 1, debug.getlocal(1, 1) while name do if name == \"n\" then debug.setlocal(1, at, $n) end at = at + 1 name, v = debug.getlocal(1, at) end end",
    "if i % $k == 0 then poke(\"n\", $n) end",
    "if i % $k == 0 then poke(\"x\", $x) end",
    "if i % $k == 0 then peek() end",
    "if i % $k == 0 then note(string.match(debug.traceback(\"t\", 1), \"^t\\nstack traceback:\\n[^\\n]*\\n?[^\\n]*\")) end",
    "if i % $k == 0 then note(debug.getinfo(1, \"l\").currentline) end",
    "if i % $k == 0 then note(where()) end",
    "if i == $k then debug.sethook(function() end, \"l\") end",
    "if i == $k then debug.sethook() end",
    "if i == $k then debug.sethook(function(_, line) hooked = line end, \"l\") elseif i == $k + 3 then debug.sethook() end",
    "if i == $k then debug.sethook(function() G1 = G1 + 1 debug.sethook() end, \"c\") end",
    "if i == $k then debug.sethook(function() debug.sethook() poke(\"n\", 50) end, \"r\") end",
    "if i == $k then for key in pairs(m) do m[key] = nil end end",
    "if i == $k then table.sort(a, function(b, c) return num(b) < num(c) end) end",
    "if i == $k then debug.setmetatable(0, {__index = function(v, key) return key end, __call = function(v, b) return b end}) elseif i == $k then debug.setmetatable(0, nil) end note((select(2, pcall(function() return n.x end))))",
    "if i == $k then debug.setmetatable(nil, {__index = A, __add = A.__add}) elseif i == $k then debug.setmetatable(nil, nil) end note((select(2, pcall(function() return y.v end))))",
    "if i == $k then local f = fns[1] if f then debug.upvaluejoin(f, 1, function() return w end, 1) end end",
    "if i == $k then for at = 1, 5 do if debug.getupvalue(add, at) then debug.setupvalue(add, at, 1) end end end",
    "if i == $k then add = function(b, c) return b end end",
    "if i == $k then num = function(v) return type(v) == \"number\" and v or 5 end end",
    "if i == $k then setmetatable(_G, {__index = function(_, key) return 3 end}) G3 = nil elseif i == $k then setmetatable(_G, nil) G3 = 1 end note(G3)",
    "if i == $k then load(\"G1 = 5 A.v = 6\")() end",
    "if i == $k then setmetatable(a, {__index = function(t, b) return b end, __len = function() return 3 end}) elseif i == $k then setmetatable(a, nil) end",
    "if i == $k then setmetatable(m, {__newindex = function(t, b, c) rawset(t, b, c) u = u + 1 end}) end",
    "if i == $k then setmetatable(m, {__index = o}) end",
    "if i == $k then error(\"stop \" .. i) end",
    "if i == $k then return n, $x end",
];

const FRAMES: &str = r#"local function poke(name, v)
  local at = 1
  while true do
    local found = debug.getlocal(2, at)
    if not found then return end
    if found == name then debug.setlocal(2, at, v) return end
    at = at + 1
  end
end
local function peek()
  local at = 1
  while true do
    local found, v = debug.getlocal(2, at)
    if not found then return end
    if string.sub(found, 1, 1) ~= "(" then note(found) note(v) end
    at = at + 1
  end
end
local function where() return string.match(debug.traceback("t", 2), "^t\nstack traceback:\n[^\n]*") end"#;

/// Statements of inner loops only.
const INNER: [&str; 6] = [
    "if $c then break end",
    "if $c then goto next end",
    "n = n + num(j)",
    "note(j)",
    "x = j",
    "a[j] = a[j] or $m",
];

pub struct Hot {
    rng: Rng,
    functions: usize,
}

impl Hot {
    pub fn new(rng: Rng) -> Hot {
        Hot { rng, functions: 0 }
    }

    /// A whole program.
    pub fn program(mut self) -> Vec<Node> {
        let mut program = vec![Node(vec![HEADER.into()]), Node(vec![FRAMES.into()])];
        for _ in 0..self.rng.below(3) {
            program.push(self.global_function());
        }
        for _ in 0..1 + self.rng.below(3) {
            program.push(self.work());
        }
        program.push(self.template("note(G1) note(G2) note(G3) note(A.v) flush(\"end\")", 0));
        program
    }

    /// The same with [`tight`] loops.
    pub fn tight(mut self) -> Vec<Node> {
        let mut program = vec![Node(vec![HEADER.into()]), Node(vec![FRAMES.into()])];
        program.push(Node(vec![tight::HELPERS.into()]));
        program.push(Node(vec![mixed::HELPERS.into()]));
        for _ in 0..1 + self.rng.below(2) {
            program.push(self.tight_work());
        }
        program.push(self.template("note(G1) note(A.v) flush(\"end\")", 0));
        program
    }

    fn tight_work(&mut self) -> Node {
        let header = match self.rng.below(9) {
            0 => "for i = 300, 1, -1 do",
            1 => "local i = 0 while i < $Z do i = i + 1",
            2 => "local i = 0 repeat i = i + 1 do",
            3 => "for i, i2 in upto($Z) do",
            4 => "for i in ipairs(range($Z)) do",
            5 => "for i in pairs(range($Z)) do",
            _ => "for i = 1, $Z do",
        };
        let end = if header.contains("repeat") {
            "end ::continue:: until i >= $Z"
        } else {
            "::continue:: end"
        };
        let results = "put(n) put(f) put(s) put(x) put(y) put(z) put(t.x) put(e.x) put(#a) put(total(a)) put(total(b)) put(size(h)) put(c1) put(c2) put(#L) put(p1[1]) put(p2[2]) put(rec1.x) put(str1)";
        let calls = match self.rng.below(6) {
            0 => "for q = 1, 3 do raises(\"w\", work, q % 2 == 0 and q or q * 0.5) show(\"w\") end",
            1 => "for q = 1, 40 do work(q) end show(\"w\")",
            2 => "for q = 1, 40 do raises(\"w\", work, q % 7 == 0 and \"q\" or q) end show(\"w\")",
            3 => {
                "for q in coroutine.wrap(function() work(1) work(nil) end) do put(q) end show(\"w\")"
            }
            4 => {
                "raises(\"w\", work, 1) show(\"w\") local g = coroutine.wrap(work) raises(\"c\", g, 2) raises(\"c\", g, 2) show(\"c\")"
            }
            _ => "raises(\"w\", work, 1) show(\"w\")",
        };
        let passes = if calls.contains("40") { 12 } else { 150 };
        let passes = passes + self.rng.below(passes);
        // What the loop uses may be captured and never change, or be local.
        let locals = [tight::LOCALS, mixed::LOCALS].join("\n");
        let (outside, inside) = match self.rng.below(3) {
            0 => (locals.replace(", p,", ", 1,"), String::new()),
            _ => (String::new(), locals),
        };
        let template = format!(
            "do {outside} local function work(p)\n{inside}\n{header} $A {end} {results} return n, x end {calls} end"
        );
        let template = template.replace("$Z", &passes.to_string());
        self.template(&template, 3)
    }

    /// The body of a tight loop: things that are always done, and branches.
    fn tight_body(&mut self) -> Part {
        let mut block: Vec<Node> = Vec::new();
        for _ in 0..2 + self.rng.below(5) {
            let t = match self.rng.below(5) {
                0..2 if self.rng.one_in(2) => self.rng.pick(&mixed::ALWAYS).to_owned(),
                0..2 => self.rng.pick(&tight::ALWAYS).to_owned(),
                2 if self.rng.one_in(3) => {
                    format!("if i == {} then $O end", 20 + self.rng.below(200))
                }
                2 => "if i % $k == 0 then goto continue end".to_owned(),
                3 => "if i % $k == $j then$S elseif i % $k == 1 then$S end".to_owned(),
                _ => "if i % $k == $j then$S end".to_owned(),
            };
            block.push(self.template(&t, 2));
        }
        block.push(self.template("if i % $k == $j then$S else$S end", 2));
        vec![Node(vec!["do".into(), block.into(), "end".into()])].into()
    }

    /// A function that later statements may call, small enough to be inlined.
    fn global_function(&mut self) -> Node {
        self.functions += 1;
        let name = self.functions;
        let template = match self.rng.below(4) {
            0 => format!("function g{name}(i, x) local n, y = i, x$V return $w end"),
            1 => format!(
                "function g{name}(i, ...) local x, y = ... local n = 1$V return $w, ... end"
            ),
            2 => format!(
                "function g{name}(i, x) local n, y = i, nil for j = 1, i % 4 do tick()$V end return n, x end"
            ),
            _ => format!(
                "function g{name}(i, x) local n, y = i, x if i % 3 == 0 then return g{name}(i - 1, n) end$V return $w end"
            ),
        };
        self.template(&template, 1)
    }

    /// A function with a hot loop, and its calls.
    fn work(&mut self) -> Node {
        let header = match self.rng.below(7) {
            0 => "for i = 60, 1, -$k do",
            1 => "local i = 0 while i < $T do i = i + 1",
            2 => "for i = 1, $T, $k do",
            3 => "local i = 0 repeat i = i + 1 if i > 90 then break end do",
            4 => "for i in upto($T) do",
            _ => "for i = 1, $T do",
        };
        let end = if header.contains("repeat") {
            "end ::continue:: until i >= $T"
        } else {
            "::continue:: end"
        };
        let co = match self.rng.below(5) {
            0 => {
                "local co = coroutine.wrap(function(q) local i, x, y, n, s, o, a = 0, q, 1, 2, \"c\", P[1], {1, 2} while true do i = i + 1$V coroutine.yield(n) end end)"
            }
            _ => "local co",
        };
        let calls = match self.rng.below(4) {
            0 => "for q = 1, 4 do refuel() raises(\"w\", work, $x0) end flush(\"w\")",
            1 => {
                "refuel() raises(\"w\", work, 1) flush(\"w\") refuel() raises(\"v\", work, 2.5) flush(\"v\") raises(\"x\", work, \"3\") flush(\"x\")"
            }
            2 => "refuel() raises(\"w\", coroutine.wrap(work), 1) flush(\"w\")",
            _ => "refuel() raises(\"w\", work, 1) flush(\"w\")",
        };
        let calls = calls.replace("$x0", "q % 2 == 0 and q or q * 0.5");
        let template = format!(
            "do local function work(p)\n{LOCALS}\n{co}\n{header} tick()$W {end} note(n) note(f) note(s) note(x) note(u) return n, x end {calls} debug.sethook() end"
        );
        self.template(&template, 3)
    }

    /// A template with random parts.
    fn template(&mut self, template: &str, depth: usize) -> Node {
        let mut parts: Vec<Part> = Vec::new();
        let mut pieces = template.split('$');
        parts.push(pieces.next().unwrap_or("").into());
        for piece in pieces {
            let letter = piece.chars().next().expect("a letter follows each $");
            parts.push(self.part(letter, depth));
            parts.push(piece[letter.len_utf8()..].into());
        }
        Node(parts)
    }

    /// `n`umber, te`s`t, any value `x`, `c`ondition, `l`iteral number, `L`iteral string, small number `k` and smaller
    /// one `j`, number that is not NaN `m`, number of passes `T`, `K`ey; what functions `w`ithout the
    /// loop's variables may return; blocks: `B`, of `I`nner loops, of the `W`ork loop, of small functions `V`.
    fn part(&mut self, letter: char, depth: usize) -> Part {
        let d = depth.saturating_sub(1);
        let node = match letter {
            'n' if depth == 0 => return Part::Expr(self.number_leaf()),
            'n' => {
                let t = self.rng.pick(&NUMBERS).to_owned();
                self.template(&t, d)
            }
            'm' => {
                let t = "nn($n)";
                self.template(t, d)
            }
            's' if depth == 0 => Node(vec![
                self.rng.pick(&["s", "\"a\"", "\"10\"", "str(x)"]).into(),
            ]),
            's' => {
                let t = self.rng.pick(&TEXTS).to_owned();
                self.template(&t, d)
            }
            'x' if depth == 0 => Node(vec![
                self.rng
                    .pick(&["x", "y", "nil", "1", "2.5", "\"a\"", "true", "i"])
                    .into(),
            ]),
            'x' if self.functions > 0 && self.rng.one_in(8) => {
                let t = format!("g{}($n, $x)", 1 + self.rng.below(self.functions));
                self.template(&t, d)
            }
            'x' => {
                let t = self.rng.pick(&VALUES).to_owned();
                self.template(&t, d)
            }
            'c' if depth == 0 => Node(vec![
                self.rng
                    .pick(&["i % 2 == 0", "x", "i > 11", "n == 1"])
                    .into(),
            ]),
            'c' => {
                let t = self.rng.pick(&CONDITIONS).to_owned();
                self.template(&t, d)
            }
            'l' => match self.rng.below(6) {
                0 => Node(vec![self.rng.pick(&INTEGERS).into()]),
                1 => Node(vec![self.rng.pick(&FLOATS).into()]),
                _ => Node(vec![format!("{}", self.rng.below(9) as i64 - 2).into()]),
            },
            'L' => Node(vec![self.rng.pick(&STRINGS).into()]),
            'k' => {
                let range = if self.rng.one_in(3) { 30 } else { 5 };
                return format!("{}", 2 + self.rng.below(range)).into();
            }
            'j' => return format!("{}", self.rng.below(4)).into(),
            'T' => return format!("{}", 20 + self.rng.below(60)).into(),
            'K' => {
                let t = *[
                    &"\"x\"",
                    &"\"y\"",
                    &"i % 7",
                    &"\"k\" .. i % 9",
                    &"i",
                    &"2.0",
                    &"str(x)",
                    &"i % 2 == 0",
                    &"o",
                ][self.rng.below(9)];
                return Part::Expr(Node(vec![t.into()]));
            }
            'w' => Node(vec![
                self.rng
                    .pick(&["n", "n + i", "x", "y or n", "i", "nil"])
                    .into(),
            ]),
            'B' => {
                let count = 1 + self.rng.below(2);
                return self.block(count, depth, false);
            }
            'I' => {
                let count = 1 + self.rng.below(3);
                return self.block(count, depth, true);
            }
            'W' => {
                let count = 2 + self.rng.below(7);
                return self.work_block(count);
            }
            'A' => return self.tight_body(),
            'S' => {
                let count = 1 + self.rng.below(2);
                let block = (0..count).map(|_| {
                    let t = self.rng.pick(&tight::SIDE).to_owned();
                    self.template(&format!("do {t} end"), 1)
                });
                let block: Vec<Node> = block.collect();
                return block.into();
            }
            'O' => {
                let t = self.rng.pick(&tight::ONCE).to_owned();
                self.template(&t, 1)
            }
            'V' => {
                let count = self.rng.below(3);
                return self.small_block(count);
            }
            _ => unreachable!("no part is called {letter}"),
        };
        Part::Expr(node)
    }

    fn number_leaf(&mut self) -> Node {
        Node(vec![
            self.rng
                .pick(&["i", "n", "f", "1", "2", "0.5", "-3", "num(x)"])
                .into(),
        ])
    }

    fn block(&mut self, count: usize, depth: usize, inner: bool) -> Part {
        let block = (0..count).map(|_| {
            let t = match self.rng.below(10) {
                0..3 if inner => self.rng.pick(&INNER).to_owned(),
                _ if depth == 0 => self
                    .rng
                    .pick(&[
                        "n = n + 1",
                        "note(n)",
                        "x = i",
                        "x = n",
                        "G1 = G1 + 1",
                        "note(x)",
                    ])
                    .to_owned(),
                _ => self.rng.pick(&STATEMENTS).to_owned(),
            };
            self.template(&t, depth.saturating_sub(1))
        });
        let block: Vec<Node> = block.collect();
        if inner {
            // A block of its own, so that `goto` leaves no variable's scope.
            return vec![Node(vec!["do".into(), block.into(), "end".into()])].into();
        }
        block.into()
    }

    fn work_block(&mut self, count: usize) -> Part {
        let block: Vec<Node> = (0..count)
            .map(|_| {
                let t = match self.rng.below(14) {
                    0 => self.rng.pick(&RARE).to_owned(),
                    1 => "if $c then goto continue end".to_owned(),
                    _ => self.rng.pick(&STATEMENTS).to_owned(),
                };
                let t = if t.contains("return") && !t.contains("function") {
                    format!("do {t} end")
                } else {
                    t
                };
                let depth = 1 + self.rng.below(3);
                self.template(&t, depth)
            })
            .collect();
        vec![Node(vec!["do".into(), block.into(), "end".into()])].into()
    }

    /// Statements that need nothing but `i`, `n`, `x`, `y` and what is global.
    fn small_block(&mut self, count: usize) -> Part {
        const SMALL: [&str; 16] = [
            "n = num(n) + num(x)",
            "n = num(n) * 2",
            "x = n",
            "y = x",
            "x, y = y, x",
            "if num(n) > 10 then n = 1 end",
            "if i % $k == 0 then x = $l end",
            "if i % $k == 0 then note(x) end",
            "G1 = G1 + 1",
            "G2 = num(n)",
            "if x then n = num(n) + 1 else x = 1 end",
            "x = {v = n}",
            "x = A.new(n)",
            "x = obj(x).v",
            "y = str(x) .. i",
            "if i % $k == 0 then fails(i) end",
        ];
        let block: Vec<Node> = (0..count)
            .map(|_| {
                let t = self.rng.pick(&SMALL).to_owned();
                self.template(&t, 1)
            })
            .collect();
        block.into()
    }
}
