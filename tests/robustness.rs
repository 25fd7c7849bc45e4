//! Whatever a script does, the VM reports it and goes on: broken and monstrous sources, recursion without end,
//! exhausted memory, and an allocation that fails at any point.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::{Rng, compilers, difference, run_perilune, run_reference, with_timeout};
use perilune::{Error, Table, Value, Vm, VmBuilder};

// The host's memory, counted for each thread.

struct Counting;

thread_local! {
    /// Bytes that this thread has allocated and not freed, and the most that they have been.
    static BALANCE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let balance = BALANCE.get() + bytes;
    BALANCE.set(balance);
    PEAK.set(PEAK.get().max(balance));
}

// SAFETY: everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let made = unsafe { System.alloc(layout) };
        if !made.is_null() {
            count(layout.size() as isize);
        }
        made
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(p, layout) }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let moved = unsafe { System.realloc(p, layout, size) };
        if !moved.is_null() {
            count(size as isize - layout.size() as isize);
        }
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The VM still computes, allocates, raises and collects.
fn assert_usable(vm: &Vm, after: &str) {
    let sum = vm.load(
        "local t = {} for i = 1, 100 do t[i] = {tostring(i)} end \
         local n = 0 for i, v in ipairs(t) do n = n + v[1] end \
         local co = coroutine.wrap(function(x) return pcall(error, coroutine.yield(x)) end) co() \
         return n + select('#', co('e'))",
    );
    match sum.eval::<i64>() {
        Ok(sum) => assert_eq!(sum, 5052, "wrong results after: {after}"),
        Err(error) => panic!("unusable ({error}) after: {after}"),
    }
    if let Err(error) = vm.collect_garbage() {
        panic!("no collection ({error}) after: {after}");
    }
}

/// Each program prints the same under both engines.
fn compare(programs: impl IntoIterator<Item = (&'static str, String)>) {
    compare_in(Vm::builder, programs);
}

/// The same in a VM with these settings.
fn compare_in(
    settings: impl Fn() -> VmBuilder,
    programs: impl IntoIterator<Item = (&'static str, String)>,
) {
    let mut failures = Vec::new();
    for (name, program) in programs {
        let program = format!("{HELPERS}\n{program}");
        let expected = run_reference(program.as_bytes());
        let run = AssertUnwindSafe(|| run_perilune(settings(), program.as_bytes()));
        let report = match catch_unwind(run) {
            Ok(actual) => difference(&expected, &actual),
            Err(_) => Some("a panic\n".to_owned()),
        };
        failures.extend(report.map(|report| format!("{name}\n{report}")));
    }
    assert!(
        failures.is_empty(),
        "{} differ (- reference, + perilune)\n{}",
        failures.len(),
        failures.join("\n")
    );
}

const HELPERS: &str = r#"
-- The kind of an error that has no more exact promise.
function kind(ok, e)
  e = tostring(e)
  if ok then return "ok" end
  -- Which limit deep nesting meets first, and at which token, is an engine's own affair.
  if string.find(e, "too many registers", 1, true) then return "stack overflow" end
  if string.find(e, "stack overflow", 1, true) then return "stack overflow" end
  if string.find(e, "error in error handling", 1, true) then return "stack overflow" end
  return (string.gsub(e, "^[^:]*:%d+: ", ""))
end

-- Compiles, runs if asked, and prints how that ended.
function try(label, source, call)
  local f, message = load(source, "=s")
  if not f then
    if #message > 300 then message = string.sub(message, 1, 300) end
    check(label, kind(false, message))
  elseif call then
    check(label, kind(pcall(f)))
  else
    check(label, "compiles")
  end
end
"#;

// Sources.

/// How many mutants are tried, unless `PERILUNE_MUTANTS` says otherwise: a share of what a thorough run tries (100,000).
const MUTANTS: usize = 20_000;

fn sources() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = [
        "tests/conformance",
        "benches/programs",
        "benches/programs54",
    ]
    .iter()
    .flat_map(|directory| {
        fs::read_dir(root.join(directory)).expect("a directory of the repository")
    })
    .map(|entry| entry.expect("a readable directory").path())
    .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a readable file"))
        .collect()
}

/// Cuts a source into words, numbers, spaces and single characters: near enough to tokens.
fn tokens(source: &[u8]) -> Vec<&[u8]> {
    let class = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' => 0,
        b' ' | b'\n' => 1,
        _ => 2,
    };
    source
        .chunk_by(|&a, &b| class(a) == class(b) && class(a) != 2)
        .collect()
}

fn mutant(rng: &mut Rng, sources: &[Vec<u8>]) -> Vec<u8> {
    let source = &sources[rng.below(sources.len())];
    // A run of lines, so that the mutations count.
    let lines: Vec<&[u8]> = source.split_inclusive(|&b| b == b'\n').collect();
    let start = rng.below(lines.len());
    let end = (start + 1 + rng.below(25)).min(lines.len());
    let mut text = lines[start..end].concat();
    for _ in 0..rng.below(4) {
        if rng.one_in(3) {
            let at = rng.below(text.len().max(1));
            if let Some(byte) = text.get_mut(at) {
                *byte = match rng.below(3) {
                    0 => *byte ^ 1 << rng.below(8),
                    1 => rng.next() as u8,
                    _ => b"\0\r\n\"'\\[]=-()~<>.:{}#"[rng.below(20)],
                };
            }
            continue;
        }
        let mut tokens = tokens(&text);
        if tokens.is_empty() {
            break;
        }
        let (a, b) = (rng.below(tokens.len()), rng.below(tokens.len()));
        match rng.below(5) {
            0 => {
                tokens.remove(a);
            }
            1 => tokens.insert(a, tokens[b]),
            2 => tokens.swap(a, b),
            3 => tokens.truncate(a),
            _ => {
                let word = rng.pick(&[
                    "end", "function", "local", "goto", "::x::", "...", "return", "<const>",
                    "<close>", "[[", "--[[", "0x", "1e", "\"\\u{", "\"\\x", "until", "break",
                    "for", "=", "//", "nil", "not",
                ]);
                tokens.insert(a, word.as_bytes());
            }
        }
        text = tokens.concat();
    }
    text
}

#[test]
fn mutated_sources_get_the_messages_of_the_reference() {
    let sources = sources();
    let lua = mlua::Lua::new();
    let vm = Vm::new();
    let mut rng = Rng::new(1);
    let mut differing = Vec::new();
    let mutants =
        env::var("PERILUNE_MUTANTS").map_or(MUTANTS, |n| n.parse().expect("a number of mutants"));
    for number in 0..mutants {
        let text = mutant(&mut rng, &sources);
        if text.first() == Some(&0x1b) {
            // The reference takes it for a binary chunk and does not look further.
            continue;
        }
        let compiled = catch_unwind(AssertUnwindSafe(|| {
            vm.load(&text).name("=m").into_function().map(drop)
        }));
        let Ok(compiled) = compiled else {
            panic!(
                "a panic for this source:\n{}",
                String::from_utf8_lossy(&text)
            );
        };
        if number % 1_000 == 0 {
            vm.collect_garbage().expect("nothing has a finalizer");
        }
        let actual = compiled.map_err(|error| match error {
            Error::Syntax { message, .. } => message,
            error => format!("{error:?}"),
        });
        let expected = lua
            .load(&text)
            .set_name("=m")
            .set_mode(mlua::ChunkMode::Text)
            .into_function();
        let expected = expected.map(drop).map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message,
            error => error.to_string(),
        });
        if actual != expected {
            differing.push(format!(
                "{}\n- {expected:?}\n+ {actual:?}",
                String::from_utf8_lossy(&text)
            ));
        }
    }
    differing.sort_by_key(String::len);
    let shown = differing.len().min(10);
    assert!(
        differing.is_empty(),
        "{} differ\n{}",
        differing.len(),
        differing[..shown].join("\n\n")
    );
}

/// Something that nests: what opens a level, what is in the middle, what closes it.
const NESTED: &[(&str, &str, &str)] = &[
    ("return ", "(", "1"),
    ("return ", "{", "1"),
    ("return ", "- ", "1"),
    ("return ", "not ", "1"),
    ("return ", "~", "1"),
    ("return ", "#", "x"),
    ("return ", "function() return ", "1"),
    ("", "do ", ""),
    ("", "while x do ", ""),
    ("", "for i = 1, 2 do ", ""),
    ("", "for i in x do ", ""),
    ("", "if x then ", ""),
    ("", "repeat ", ""),
    ("", "local function f() ", ""),
    ("return ", "1 .. ", "1"),
    ("return ", "2 ^ ", "1"),
    ("return ", "x + (", "1"),
    ("return ", "f(", "1"),
    ("return ", "f{", "1"),
    ("return ", "x[", "1"),
    ("return ", "{x = ", "1"),
    ("return ", "{[", "1"),
    ("x", " = function() x", " = 1"),
    ("return ", "x .. (", "1"),
    ("return ", "x < (", "1"),
    ("return ", "x and (", "1"),
    ("return ", "x:m(", "1"),
    ("return ", "x.y{z = ", "1"),
    ("return ", "{f = function() return ", "1"),
    ("", "local x <close> = f(function() ", ""),
    ("", "for i = 1, (function() ", " end)() do end"),
    ("", "if x then else ", ""),
    ("", "goto a do ", ""),
];

fn closing(open: &str) -> &str {
    match open {
        "(" | "x + (" | "f(" | "x .. (" | "x < (" | "x and (" | "x:m(" => ")",
        "{" | "f{" | "{x = " | "x.y{z = " => "}",
        "{f = function() return " => " end}",
        "local x <close> = f(function() " => " end)",
        "for i = 1, (function() " => " end)() do end",
        "x[" => "]",
        "{[" => "] = 1}",
        "repeat " => " until x",
        "- " | "not " | "~" | "#" | "1 .. " | "2 ^ " => "",
        _ => " end",
    }
}

#[test]
fn nested_sources_compile_or_report_an_overflow() {
    compare(NESTED.iter().map(|&(start, open, middle)| {
        let close = closing(open);
        let mut program = String::new();
        for levels in [10, 100, 150, 1_000, 100_000, 1_000_000] {
            program += &format!(
                "try({:?}, {start:?} .. string.rep({open:?}, {levels}) .. {middle:?} .. string.rep({close:?}, {levels}))\n",
                format!("{open} {levels}"),
            );
        }
        (open, program)
    }));
}

/// What goes on and on without nesting, as a program; `N` is a number of repetitions.
const CHAINS: &[&str] = &[
    "local f f = function() return f end return f' .. string.rep('()', N) .. ''",
    "local t = {} t.a = t return t' .. string.rep('.a', N) .. ''",
    "local t = {} t[1] = t return t' .. string.rep('[1]', N) .. ''",
    "local t = {} function t:m() return self end return t' .. string.rep(':m()', N) .. ''",
    "if x then ' .. string.rep('elseif x then ', N) .. 'end",
    "return 1' .. string.rep(' + 1', N) .. ''",
    "return true' .. string.rep(' and true', N) .. ''",
    "return false' .. string.rep(' or false', N) .. ''",
    "local x = 1 return x' .. string.rep(' == x', N) .. ''",
    "' .. string.rep('x = 1 ', N) .. '",
    "' .. string.rep(';', N) .. '",
    "' .. string.rep('do end ', N) .. '",
    "' .. string.rep('x = {} ', N) .. '",
    "' .. string.rep('local function f() end ', 150) .. '",
    "' .. string.rep('x = function() end ', N) .. '",
    "return #' .. string.rep(' ', N) .. '\"\"",
    "return {' .. string.rep('1,', N) .. '}",
    "return {' .. string.rep('x=1;', N) .. '}",
    "return {' .. string.rep('{},', N) .. '}",
    "return \"' .. string.rep('x', N) .. '\"",
    "return \"' .. string.rep('\\\\z  ', N) .. '\"",
    "return [' .. string.rep('=', N) .. '[x]' .. string.rep('=', N) .. ']",
    "return [' .. string.rep('=', N) .. '[x",
    "--[' .. string.rep('=', N) .. '[x]' .. string.rep('=', N) .. ']",
    "return ' .. string.rep('9', N) .. '",
    "return 0x' .. string.rep('f', N) .. '",
    "return 0.' .. string.rep('0', N) .. '1e' .. N .. '",
    "return ' .. string.rep('x', N) .. '",
    "x = ' .. string.rep('\\n', N) .. ' y.z",
    "::a:: ' .. string.rep('do goto a end ', 0) .. '",
    "while x do ' .. string.rep('x = y.z ', N) .. 'end",
    "for i = 1, 2 do ' .. string.rep('x = i ', N) .. ' end",
    "repeat ' .. string.rep('x = 1 ', N) .. ' until true",
    "if x then ' .. string.rep('x = y.z ', N) .. 'else y = 1 end",
];

#[test]
fn long_sources_compile_and_run() {
    compare(CHAINS.iter().map(|&chain| {
        let mut program = String::new();
        for n in [100, 3_000, 70_000] {
            program += &format!("do local N = {n} try('{n}', '{chain}', true) end\n");
        }
        (chain, program)
    }));
}

#[test]
fn limits_of_functions_are_reported() {
    compare([(
        "limits",
        r#"
        local function names(prefix, n)
          local out = {}
          for i = 1, n do out[i] = prefix .. i end
          return table.concat(out, ", ")
        end
        for _, n in ipairs{10, 100, 199, 200, 201, 250, 251, 254, 255, 256, 257, 300, 1000, 100000} do
          try("locals " .. n, "local " .. names("x", n), true)
          try("values " .. n, "local x = " .. names("", n), true)
          try("assigned " .. n, names("x", n) .. " = 1", true)
          try("parameters " .. n, "return (function(" .. names("x", n) .. ") end)()", true)
          try("arguments " .. n, "return select('#', " .. names("", n) .. ")", true)
          try("results " .. n, "return " .. names("", n), true)
          try("table " .. n, "return {" .. names("", n) .. "}", true)
          try("concat " .. n, "local x = 1 return x" .. string.rep(" .. x", n), true)
          try("for " .. n, "for " .. names("i", n) .. " in next, {} do end", true)
        end
        for _, n in ipairs{10, 100, 254, 255, 256, 300} do
          local out = {}
          for i = 0, (n - 1) // 100 do
            out[#out + 1] = (i > 0 and "return function() " or "") .. "local " .. names("u" .. i .. "_", math.min(100, n - i * 100)) .. " "
          end
          out[#out + 1] = "return function() "
          for i = 0, (n - 1) // 100 do
            for j = 1, math.min(100, n - i * 100) do out[#out + 1] = "u" .. i .. "_" .. j .. " = 1 " end
          end
          out[#out + 1] = string.rep("end ", 1 + (n - 1) // 100)
          try("upvalues " .. n, table.concat(out))
        end
        for _, n in ipairs{100, 300, 70000, 140000} do
          local out = {"local s = 0 "}
          for i = 1, n do out[#out + 1] = "s = s + " .. i .. ".5 " end
          out[#out + 1] = "return s"
          check("constants " .. n, load(table.concat(out))())
          for i = 1, n do out[i + 1] = "s = s + #'k" .. i .. "' " end
          check("strings " .. n, load(table.concat(out))())
          for i = 1, n do out[i + 1] = "k" .. i .. " = " .. i .. " " end
          out[#out] = "return k1 + k" .. n
          check("globals " .. n, load(table.concat(out), "=g", "t", {})())
          -- The reference has no more than 131072.
          if n <= 70000 then
            for i = 1, n do out[i + 1] = "s = function() return " .. i .. " end " end
            out[#out] = "return s()"
            check("functions " .. n, load(table.concat(out))())
          end
        end
        "#
        .to_owned(),
    )]);
}

/// Recursion that never ends. `r` is called; what matters is the kind of its error.
const RECURSIONS: &[&str] = &[
    "function r() return 1 + r() end",
    "function r(...) local a, b, c = r(1, ...) return a end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] .. '' end return t.x end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__newindex = function(t, k, v) t[k] = v return 1 end t.x = 1 end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__newindex = t t.x = 1 end",
    "function r() local t = {} for i = 1, 3000 do t = setmetatable({}, {__index = t}) end return t.x end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__add = function(a, b) return (a + b) end return t + 1 end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__concat = function(a, b) return (a .. b) end return t .. 1 end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__eq = function(a, b) return not (a == b) end return t == setmetatable({}, getmetatable(t)) end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__lt = function(a, b) return not (a < b) end return t < t end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__le = function(a, b) return not (a <= b) end return t <= t end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__len = function(a) return #a + 1 end return #t end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__unm = function(a) return 1 + -a end return -t end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__call = function(a) return 1 + a() end return t() end",
    "function r() local t = type for i = 1, 150 do t = setmetatable({}, {__call = t}) end return t() end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return tostring(t) .. '' end return tostring(t) end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__close = function(t) local x <close> = t end local x <close> = t end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__pairs = function(t) return pairs(t), 1 end return pairs(t) end",
    "function r() return (string.gsub('x', '.', r)) .. '' end",
    "function r() local t = {3, 2, 1} table.sort(t, function(a, b) r() return a < b end) end",
    "function r() return 1 + load('local a' .. (', a'):rep(190) .. ' return 1 + r()')() end",
    "function r() return 1 + load(function() r() end)() end",
    "function r() local t = {} for i = 1, 1000 do t = {t} end local function f(x) return x[1] and 1 + f(x[1]) or r() + 1 end return f(t) end",
    "function r() return 1 + select(2, pcall(r)) end",
    "function r() local ok, e = pcall(r) error(e, 0) end",
    "function r() local ok, e = xpcall(r, function(m) return m end) error(e, 0) end",
    "function r() local ok, e = xpcall(error, function(m) error(m) end) error(e, 0) end",
    "function r() local function h(m) return h(m) .. 1 end local ok, e = xpcall(error, h) error(e, 0) end",
    "function r() local ok, e = coroutine.resume(coroutine.create(r)) error(e, 0) end",
    "function r() return 1 + coroutine.wrap(r)() end",
    "function r() for x in r do end end",
    "function r() for x in coroutine.wrap(r) do end end",
    "function r() return 1 + require_(r) end function require_(f) return f() end",
    "function r() return debug.traceback(tostring(r() .. '')) end",
    "function r() return table.concat({r() .. ''}) end",
    "function r() local t = {1, 2} table.foreach_ = r return table.unpack({r(), r()}) end",
    "function r() return table.unpack({}, 1, 10000000) end",
    "function r() return string.byte(string.rep('x', 10000000), 1, -1) end",
    "function r() return select('#', table.unpack({}, 1, 900000)) + (function(...) return r(...) end)(table.unpack({}, 1, 900000)) end",
    "function r() return ('x'):rep(1 << 62) end",
    "function r() return string.match(string.rep('x', 300000), string.rep('(', 300000)) end",
    "function r() return string.match(string.rep('x', 300000), string.rep('x?', 300000)) end",
    "function r() return string.find(string.rep('a', 300000), string.rep('a-', 1000) .. 'b', 299000) end",
    "function r() return string.match(string.rep('(', 250000) .. string.rep(')', 250000), '%b()') and 1 end",
    "function r() return string.gsub(string.rep('a', 1000), '', string.rep('x', 1000)) and 1 end",
    "function r() return string.format('%s', setmetatable({}, {__tostring = function() return r() .. '' end})) end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return string.format('%s', t) end return tostring(t) end",
    "function r() return #table.concat(setmetatable({}, {__len = function() return 3 end, __index = function() return r() .. '' end})) end",
    "function r() return #table.concat({r() .. '', 'x'}) end",
    "function r() table.insert(setmetatable({}, {__newindex = function() r() end}), 1) end",
    "function r() return table.unpack(setmetatable({}, {__len = function() return r() + 1 end})) end",
    "function r() for _ in ipairs(setmetatable({}, {__index = function() return r() or 1 end})) do end end",
    "function r() table.move(setmetatable({}, {__index = function() return r() or 1 end}), 1, 3, 2, {}) end",
    "function r() table.sort(setmetatable({}, {__len = function() return 5 end, __index = function() return r() or 1 end})) end",
    "function r() table.sort({{}, {}, {}}, r) end",
    "function r() local m = {__lt = function() r() end} table.sort({setmetatable({}, m), setmetatable({}, m)}) end",
    "function r() return (string.gsub('x', 'x', setmetatable({}, {__index = function() return r() .. '' end}))) end",
    "function r() return string.rep('x', 3, r() .. '') end",
    "function r() local t = setmetatable({}, {}) getmetatable(t).__name = 'x' return t .. r() end",
    "function r() local ok, e = xpcall(error, xpcall, r) error(tostring(e), 0) end",
    "function r() local ok, e = pcall(pcall, pcall, pcall, r) return 1 + (e and 1 or 2) end",
    "function r() local t = setmetatable({}, {}) local m = getmetatable(t) m.__lt = function(a, b) return a .. b end m.__concat = function(a, b) return #a end m.__len = function(a) return a < a end return t < t end",
    "function r() local t = setmetatable({}, {}) local m = getmetatable(t) m.__idiv = function(a, b) return a >> b end m.__shr = function(a, b) return (a // b) end return 1 + (t // t) end",
    "function r() local f = debug.getinfo(1, 'f').func return 1 + f() end",
    "function r() local a = {} for i = 1, 200 do a[i] = i end local function f(...) return select('#', ...) + f(...) end return f(table.unpack(a)) end",
    "function r() package.preload.recursive = r return require('recursive') .. '' end",
    "function r() return string.gsub('abc', '%w', function(c) return string.gsub(c, '.', r) end) and 1 end",
    "function r() for w in string.gmatch('abc', '%w') do r() end end",
    "function r() local t = setmetatable({}, {__eq = function() return r() end}) return t == setmetatable({}, getmetatable(t)) end",
    "function r() local k = setmetatable({}, {__index = rawget}) return k[r()] end",
    "function r() return utf8.char(r() + 1) end",
];

/// A handler that runs where the stack has ended, with more registers than there was room for, and catches errors itself.
#[test]
fn handlers_of_overflows_may_use_many_registers() {
    compare([(
        "wide handlers",
        r#"
        for width = 10, 190, 20 do
          local names = {}
          for i = 1, width do names[i] = "v" .. i end
          local list = table.concat(names, ", ")
          local handler = load("return function(m) local " .. list .. " = " .. string.rep("1, ", width) .. "1 pcall(error, 'inner') pcall(error) "
            .. "v1 = 7 local t = {" .. list .. "} pcall(error, t) return #t end")()
          for n = 1, 3 do
            local function r(...) return 1 + r(n, ...) end
            check("width " .. width, xpcall(r, handler))
            check("in a coroutine", coroutine.wrap(function() return xpcall(r, handler) end)())
          end
        end
        "#
        .to_owned(),
    )]);
}

/// The longest chains of tables that are followed, one link fewer and one more.
#[test]
fn chains_of_tables_have_a_length_limit() {
    compare([(
        "chains",
        r##"
        for _, n in ipairs{1, 10, 16, 17, 100, 1998, 1999, 2000, 2001, 2002, 5000} do
          local t = {x = "found"}
          for i = 1, n do t = setmetatable({}, {__index = t}) end
          for i = 1, 3 do
            check("get " .. n, pcall(function() return t.x end))
            check("get other " .. n, pcall(function() return t[i] end))
            check("method " .. n, kind(pcall(function() return t:x() end)))
          end
          local bottom = {}
          t = bottom
          for i = 1, n do t = setmetatable({}, {__newindex = t}) end
          for i = 1, 3 do
            check("set " .. n, pcall(function() t.x = i end))
            check("set other " .. n, pcall(function() t[i] = i end))
          end
          check("stored " .. n, bottom.x, #bottom)
          check("concat " .. n, pcall(table.concat, t, "", 1, 1))
          check("insert " .. n, pcall(table.insert, t, 1, 2))
        end
        for _, n in ipairs{1, 10, 100, 150} do
          local t = function(...) return select("#", ...) end
          for i = 1, n do t = setmetatable({}, {__call = t}) end
          check("call " .. n, pcall(t, 1, 2))
        end
        "##
        .to_owned(),
    )]);
}

/// Finalizers that make more work for the collector.
#[test]
fn finalizers_may_create_finalizers() {
    compare([(
        "finalizers",
        r#"
        local made, ran = 0, 0
        local mt = {}
        local function new() made = made + 1 return setmetatable({}, mt) end
        mt.__gc = function(o) ran = ran + 1 if made < 50 then new() new() end end
        new()
        for i = 1, 60 do collectgarbage() end
        check("children", made, ran)
        -- Each comes back to life and asks to be finalized again.
        local again = 0
        local phoenix = {}
        phoenix.__gc = function(o) again = again + 1 setmetatable(o, phoenix) end
        setmetatable({}, phoenix)
        for i = 1, 10 do collectgarbage() end
        check("resurrected", again >= 9)
        phoenix.__gc = nil
        -- Errors in finalizers concern nobody else.
        for i = 1, 5 do setmetatable({}, {__gc = function() error("x") end}) end
        check("failing", pcall(collectgarbage))
        local depth = 0
        local function deep() depth = depth + 1 return 1 + deep() end
        setmetatable({}, {__gc = deep})
        check("overflowing", pcall(collectgarbage))
        check("deep", depth > 100)
        -- A collection within a finalizer, and a coroutine.
        local order = {}
        setmetatable({}, {__gc = function() collectgarbage() order[#order + 1] = "collected" end})
        setmetatable({}, {__gc = coroutine.wrap(function(o) order[#order + 1] = "resumed" end)})
        collectgarbage() collectgarbage()
        check("order", #order)
        "#
        .to_owned(),
    )]);
}

#[test]
fn endless_recursion_is_an_error() {
    compare(recursions());
}

#[test]
fn endless_recursion_is_an_error_when_hot() {
    for engine in compilers() {
        compare_in(
            || Vm::builder().engine(engine).hot_threshold(2),
            recursions(),
        );
    }
}

fn recursions() -> impl Iterator<Item = (&'static str, String)> {
    RECURSIONS.iter().map(|&recursion| {
        // The second time finds what the first has left behind.
        let program = format!(
            "{recursion}\n for i = 1, 2 do check({recursion:?}, kind(pcall(r))) end \
             check('in a coroutine', kind(coroutine.resume(coroutine.create(r)))) \
             check('usable', pcall(function() return #table.concat({{1, 2, 3}}) end))"
        );
        (recursion, program)
    })
}

// Memory.

const LIMIT: usize = 4 << 20;

/// What the host may need besides: buffers that are about to become strings, the compiler's own data.
const HOST_LIMIT: isize = 4 * LIMIT as isize;

/// Programs that take memory until there is no more. `PERILUNE_PEAKS=1` prints how much of the host's each has taken.
const BOMBS: &[&str] = &[
    "local s = 'x' while true do s = s .. s end",
    "local s = 'x' while true do s = s .. 'y' .. s end",
    "local s = ('x'):rep(100) while true do s = s:rep(2) end",
    "return ('x'):rep(1 << 30)",
    "local t = {} for i = 1, math.huge do t[i] = i end",
    "local t = {} for i = 1, math.huge do t[i] = i + 0.5 end",
    "local t = {} for i = 1, math.huge do t[-i] = true end",
    "local t = {} for i = 1, math.huge do t[i + 0.5] = i end",
    "local t = {} for i = 1, math.huge do t['k' .. i] = i end",
    "for i = 1, math.huge do _ENV['k' .. i] = i end",
    "local t = {} for i = 1, math.huge do t[#t + 1] = {} end",
    "local t = {} for i = 1, math.huge do t = {t} end",
    "local t = {} for i = 1, math.huge do t = {x = t, y = i} end",
    "local t = {} for i = 1, math.huge do t[{}] = {} end",
    "local t = {} for i = 1, math.huge do t = setmetatable({}, {__index = t}) end",
    "local t = {} for i = 1, math.huge do t[i] = tostring(i) end",
    "local t = {} for i = 1, math.huge do t[i] = function() return i end end",
    "local f for i = 1, math.huge do local g = f f = function() return g end end",
    "local t = {} for i = 1, math.huge do t[i] = coroutine.create(print) end",
    "local t = {} for i = 1, math.huge do t[i] = coroutine.wrap(function() coroutine.yield(i) end) t[i]() end",
    "local t = {} for i = 1, math.huge do t[i] = setmetatable({}, {__gc = function() end}) end",
    "local t = setmetatable({}, {__mode = 'k'}) for i = 1, math.huge do local k = {} t[k] = k t[i] = k end",
    "local t = {} for i = 1, math.huge do local f, e = load('return ' .. i) if not f then error(e, 0) end t[i] = f end",
    "local s = 'return 1' while true do s = s .. ' + ' .. s:sub(8) local f, e = load(s) if not f then error(e, 0) end end",
    "local t = {} for i = 1, math.huge do t[i] = table.pack(i, i, i) end",
    "local t = {} for i = 1, math.huge do t[i] = string.format('%099d', i) end",
    "local t = {} for i = 1, math.huge do t[i] = string.pack('i8', i) end",
    "local t = {} for i = 1, math.huge do table.insert(t, i) end",
    "local t = {} while true do table.move({1, 2, 3}, 1, 3, #t + 1, t) end",
    "local t = {('x'):rep(100000)} while true do t[#t + 1] = t[1] table.concat(t) end",
    "local s = ('x'):rep(1000) while true do s = s:gsub('x', 'xx') end",
    "local s = ('x'):rep(1000) while true do s = s:gsub('.', function(c) return c .. c end) end",
    "local s = ('x'):rep(1000) while true do s = s:gsub('', s) end",
    "local s = ('x'):rep(1000) while true do string.gsub(s, '.', function() s = s .. 'y' return s end) end",
    "local s = ('x'):rep(100000) return (s:gsub('.', function() return s end))",
    "local t, kept = {}, {} for i = 1, 1000 do t[i] = i end \
     while true do table.sort(t, function(a, b) kept[#kept + 1] = {a, b} return a > b end) end",
    "local t = {} local function f() t[#t + 1] = ('x'):rep(100000) table.sort({1, 2}, f) end f()",
    "local s = ('x'):rep(1000000) return s:gsub('.+', ('%0'):rep(100000))",
    "local s = ('?'):rep(100000) return package.searchpath(s:gsub('?', 'x'), s)",
    "local s = ('%c'):rep(1000000) return os.date(s)",
    "return io.lines('/dev/zero', 'a')()",
    "return io.lines('/dev/zero')()",
    "error(select(2, loadfile('/dev/zero')), 0)",
    "local s = ('x'):rep(1000) while true do s = string.format('%s%s', s, s) end",
    "local s = ('x'):rep(1000) while true do s = string.format('%q', s .. s) end",
    "local s = ('x'):rep(1000) while true do s = (s .. 'y'):upper() .. s:reverse() end",
    "local s = ('x'):rep(1000) while true do s = string.pack('s4s4', s, s) end",
    "local s = ('x'):rep(1000) while true do s = string.pack('s', s) .. s end",
    "return string.pack('!16 i16 c1000000000', 1, 'x')",
    "return string.format('%s', setmetatable({}, {__tostring = function() return ('x'):rep(1 << 30) end}))",
    "return #utf8.char(table.unpack((function() local t = {} for i = 1, 200000 do t[i] = 0x7fffffff end return t end)()))",
    "local t = {} for i = 1, 900000 do t[i] = true end return select('#', table.unpack(t))",
    "return select('#', table.unpack({}, 1, 900000))",
    "return table.pack(table.unpack({}, 1, 900000))",
    "return {table.unpack({}, 1, 900000)}",
    "return string.char(table.unpack((function() local t = {} for i = 1, 300000 do t[i] = 65 end return t end)()))",
    "local function r(...) return r(1, 2, 3, 4, 5, 6, 7, 8, ...) end return r()",
    "local function r(a) return 1 + r({a}) end return r()",
    "local s = '' while true do s = s .. 'x = 1 ' .. s local f, e = load(s) if not f then error(e, 0) end end",
    "error(select(2, load(function() return 'x = {} ' end)), 0)",
    "error(select(2, load(function() return 'x ' end)), 0)",
    "error(select(2, load(function() return ('--'):rep(1000) end)), 0)",
    "error(select(2, load(function() return '\"' .. ('a'):rep(1000) end)), 0)",
    "local i = 0 error(select(2, load(function() i = i + 1 return 'k' .. i .. ' = 1.' .. i .. ' ' end)), 0)",
    "error(select(2, load('return {' .. ('{},'):rep(1000000) .. '}')), 0)",
    "error(select(2, load(('x = function() end '):rep(50000))), 0)",
    "local s = 'e' while true do s = select(2, pcall(error, s .. s)) end",
    "local s = 'e' while true do s = debug.traceback(s .. s) end",
    "local t = {} for i = 1, math.huge do t[i] = debug.traceback('x') end",
    "local s = ('x'):rep(100) while true do s = os.date(s .. s) end",
    "local t = {} for i = 1, math.huge do t[i] = io.tmpfile end for i = 1, math.huge do t[i] = {} end",
    "local t = {} for i = 1, math.huge do t[i] = utf8.char(i % 1000) .. i end",
    "local t = {} for w in (('x '):rep(1000)):gmatch('%a') do for i = 1, 10000 do t[#t + 1] = w .. i end end",
    "local t = {} local co = coroutine.wrap(function() while true do t[#t + 1] = {} coroutine.yield() end end) while true do co() end",
    "local t = {} for i = 1, 8 do t[i] = ('x'):rep(400000) .. i end return table.concat(t) .. table.concat(t)",
    "local t = setmetatable({}, {__index = function(t, k) local v = {k} rawset(t, k, v) return v end}) for i = 1, math.huge do local _ = t[i] end",
    "local t = setmetatable({}, {__concat = function(a, b) return {a, b, ('x'):rep(1000)} end}) for i = 1, math.huge do t = setmetatable(t .. 1, getmetatable(t)) end",
];

#[test]
fn memory_bombs_end_with_an_error() {
    defuse(Vm::builder);
}

#[test]
fn memory_bombs_end_with_an_error_when_hot() {
    for engine in compilers() {
        defuse(|| Vm::builder().engine(engine).hot_threshold(2));
    }
}

fn defuse(settings: impl Fn() -> VmBuilder) {
    for bomb in BOMBS {
        let before = BALANCE.get();
        PEAK.set(before);
        let vm = settings()
            .memory_limit(LIMIT)
            .build()
            .expect("the libraries fit");
        vm.load("collectgarbage()").exec().expect("there is room");
        for caught in [true, false] {
            let result = with_timeout(vm.cancel_handle(), || {
                let env: Table = vm.load("return setmetatable({}, {__index = _G})").eval()?;
                let f = vm.load(bomb).name("=bomb").env(&env).into_function()?;
                vm.globals().set("bomb", f)?;
                if caught {
                    vm.load(
                        "local ok, e = pcall(bomb) \
                         if ok then e = 'finished' end \
                         if e ~= 'not enough memory' then error(e, 0) end",
                    )
                    .exec()
                } else {
                    vm.load("bomb()").exec()
                }
            });
            match result {
                Ok(()) if caught => {}
                Err(Error::Memory) if !caught => {}
                result => panic!("{bomb}: {result:?}"),
            }
            vm.globals()
                .set("bomb", Value::Nil)
                .expect("storing nil needs no memory");
            assert!(
                vm.used_memory().is_ok_and(|used| used <= LIMIT),
                "over the limit after {bomb}"
            );
            // The first collection makes finalizers due, the second frees what they were for.
            for _ in 0..2 {
                vm.collect_garbage()
                    .unwrap_or_else(|error| panic!("no collection ({error}) after {bomb}"));
            }
            assert_usable(&vm, bomb);
        }
        drop(vm);
        let peak = PEAK.get() - before;
        if env::var_os("PERILUNE_PEAKS").is_some() {
            println!("{:6} KiB {bomb}", peak >> 10);
        }
        assert!(peak < HOST_LIMIT, "the host needed {peak} bytes for {bomb}");
    }
}

/// Sources whose trees and code need much more memory than they do: what begins them, is repeated and ends them. `N` is
/// replaced by the number of the repetition.
const GIANTS: &[(&str, &str, &str)] = &[
    ("", "x = {1, 2, y = 3} ", ""),
    ("", "f(a)(b)(c) ", ""),
    ("return {", "1, ", "}"),
    ("return ", "a + ", "1"),
    ("", "do local a, b = function(...) return ... end end ", ""),
    ("", "vN = N ", ""),
];

#[test]
fn loading_keeps_to_the_limit() {
    let path = std::env::temp_dir().join(format!("perilune-giant-{}.lua", std::process::id()));
    for (begin, repeated, end) in GIANTS {
        let source = |n: usize| {
            let body: String = (0..n)
                .map(|i| repeated.replace('N', &i.to_string()))
                .collect();
            [begin, body.as_str(), end].concat()
        };
        let before = BALANCE.get();
        let vm = Vm::builder()
            .memory_limit(LIMIT)
            .build()
            .expect("the libraries fit");
        vm.globals()
            .set("path", path.to_str())
            .expect("there is room");
        // What an idle VM holds beyond what it counts: above all its first reservation, of which it uses little.
        let idle = BALANCE.get() - before - vm.used_memory().expect("the VM is at rest") as isize;
        let sizes = [1000, 10_000, 20_000, 50_000, 200_000];
        let (mut refused, mut peak) = (0, before);
        for n in sizes {
            let source = source(n);
            let program = "local f, e = load(source) \
                 local rest = source \
                 local g, e2 = load(function() local piece = rest:sub(1, 1 << 16) rest = rest:sub(1 + (1 << 16)) return piece end) \
                 local file = assert(io.open(path, 'w')) assert(file:write(source)) file:close() \
                 local h, e3 = loadfile(path) \
                 assert(f or e == 'not enough memory', e) assert(g or e2 == 'not enough memory', e2) \
                 assert(h or e3 == 'not enough memory', e3) \
                 return not f";
            let given = vm
                .create_string(&source)
                .and_then(|s| vm.globals().set("source", s));
            drop(source);
            PEAK.set(peak);
            let result = with_timeout(vm.cancel_handle(), || {
                given?;
                refused += vm.load(program).eval::<bool>()? as usize;
                Ok(())
            });
            peak = peak.max(PEAK.get());
            match result {
                Ok(()) | Err(Error::Memory) => {}
                Err(error) => panic!("{error} from {repeated}"),
            }
            vm.globals()
                .set("source", Value::Nil)
                .expect("storing nil needs no memory");
            vm.collect_garbage().expect("the VM is at rest");
            assert!(
                vm.used_memory().is_ok_and(|used| used <= LIMIT),
                "over the limit after {repeated}"
            );
            assert_usable(&vm, repeated);
        }
        assert!(refused > 0, "{repeated} makes no giant");
        drop(vm);
        let peak = peak - before - idle;
        assert!(
            peak <= LIMIT as isize + (1 << 20),
            "the host needed {peak} bytes for {repeated}"
        );
    }
    std::fs::remove_file(&path).expect("it has been written");
}

mod injected {
    //! Every allocation of these programs fails once.

    use super::{assert_usable, with_timeout};
    use perilune::{Error, Vm};

    /// Programs whose result is their own check: none may return anything but true, whatever has failed and been
    /// caught before.
    const PROGRAMS: &[&str] = &[
        "local t = {} for i = 1, 40 do t[i] = i t['k' .. i] = i t[i + 0.5] = i end return #t == 40 and t.k40 == 40",
        "local t = {} for i = 1, 30 do t = {t, x = i, y = {}} end return t.x == 30",
        "local s = '' for i = 1, 30 do s = s .. i .. ',' end return #s == 81",
        "return ('x'):rep(100, 'y'):upper():reverse():gsub('X', '%0%0'):len() == 299",
        "local n = 0 for w in ('the quick brown fox'):gmatch('%a+') do n = n + #w end return n == 16",
        "return string.format('%5d|%-8s|%q|%g', 42, 'abc', 'x\\ny', 1.5):len() == 25",
        "local fs = {} for i = 1, 20 do local c = i fs[i] = function() c = c + 1 return c end end return fs[20]() == 21",
        "local co = coroutine.wrap(function(a) for i = 1, 5 do a = a + coroutine.yield({a}) end return a end) \
         co(1) for i = 1, 4 do co(i) end return co(1) == 12",
        "local function f(...) return select('#', ...) end return f(table.unpack({}, 1, 500)) == 500",
        "local function r(n) if n == 0 then return 0 end return 1 + r(n - 1) end return r(500) == 500",
        "local C = {} C.__index = C function C.new(v) return setmetatable({v = v}, C) end function C:get() return self.v end \
         C.__add = function(a, b) return C.new(a.v + b.v) end local s = C.new(0) for i = 1, 20 do s = s + C.new(i) end \
         return s:get() == 210",
        "local ok, e = pcall(function() local x = nil return x.y end) return not ok and e:find('index a nil value', 1, true) ~= nil",
        "local ok, e = pcall(error, {code = 7}) return not ok and e.code == 7",
        "local ok, e = xpcall(function() error('x') end, function(m) return debug.traceback(m) end) return not ok and #e > 10",
        "local f, e = load('local a, b = 1, {x = 2} return function(...) return a + b.x + select(1, ...) end') \
         if not f then error(e, 0) end return f()(3) == 6",
        "local f = load('x = = 1') return f == nil",
        "local done local f, e = load(function() if not done then done = true return 'return {...}, function() end' end end) \
         if not f then error(e, 0) end return #f(1, 2) == 2",
        "local t = {} for i = 1, 50 do t[i] = (i * 7919) % 101 end table.sort(t, function(a, b) return a < b end) \
         for i = 2, 50 do if t[i - 1] > t[i] then return false end end return true",
        "local t = {} for i = 1, 50 do t[i] = setmetatable({k = i * 7919 % 101}, {__lt = function(a, b) return a.k < b.k end}) end \
         table.sort(t) for i = 2, 50 do if t[i - 1].k > t[i].k then return false end end return true",
        "local n = 0 local s = ('ab '):rep(50):gsub('%a+', function(w) n = n + 1 return w .. n .. ('x'):rep(50) end) return #s > 2600",
        "local n = 0 local f = load(function() n = n + 1 return n < 30 and ' local x = ' .. n or n == 30 and ' return x' or nil end) \
         return f == nil or f() == 29",
        "local t = setmetatable({}, {__tostring = function() return ('x'):rep(50) end}) return #tostring(t) == 50",
        "local w = setmetatable({}, {__mode = 'k'}) for i = 1, 20 do w[{}] = {} end collectgarbage() return next(w) == nil",
        "local n = 0 for i = 1, 10 do setmetatable({}, {__gc = function() n = n + 1 end}) end collectgarbage() return n == 10",
        "local log = {} do local a <close> = setmetatable({}, {__close = function() log[#log + 1] = 'a' end}) end return log[1] == 'a'",
        "local s = string.pack('>i4s1zd', 1, 'ab', 'c', 2.5) return select(3, string.unpack('>i4s1zd', s)) == 'c'",
        "return table.concat({1, 2, 3, table.unpack(table.move({4, 5, 6}, 1, 3, 1, {}))}, '-') == '1-2-3-4-5-6'",
        "local t = setmetatable({}, {__index = function(t, k) return k .. '!' end, __newindex = function(t, k, v) rawset(t, k, {v}) end}) \
         t.a = 1 return t.a[1] == 1 and t.b == 'b!'",
        "local t = {utf8.codepoint('héllo', 1, -1)} return utf8.char(table.unpack(t)) == 'héllo'",
        "local t = os.date('*t', 0) return t.year <= 1970 and #os.date('!%Y-%m-%d', 0) == 10",
        "for i = 1, 200 do _G['g' .. i] = i end for i = 1, 200 do _G['g' .. i] = nil end return g1 == nil",
        "local f = io.tmpfile() f:setvbuf('full', 100) f:write('a line\\n', 42, ' ', 1.5, '\\n', ('x'):rep(300)) f:seek('set') \
         local a, b, c = f:read('l', 'n', 'n') f:read('L') local d = f:read('a') f:close() \
         return a == 'a line' and b == 42 and c == 1.5 and #d == 300 and io.type(f) == 'closed file'",
        "local name = os.tmpname() local f = io.open(name, 'w') f:write('1\\n2\\n') f:close() local n = 0 \
         for l in io.lines(name) do n = n + l end local ok = n == 3 and os.remove(name) return ok and io.open(name) == nil",
        "return os.time({year = 2000, month = 1, day = 1, hour = 12}) > 0 and os.getenv('NO_SUCH_VARIABLE') == nil and os.clock() >= 0",
        "local i = debug.getinfo(1, 'nSlutfrL') local n, v = debug.getlocal(1, 1) local s = debug.traceback('m', 1) \
         local f, e = load('x = 1') if not f then error(e, 0) end \
         return i.currentline == 1 and n == 'i' and #s > 10 and debug.getupvalue(f, 1) == '_ENV'",
        "math.randomseed(42) local a, b = math.random(1, 6), math.random() \
         return math.type(a) == 'integer' and b < 1 and math.floor(2.5) == 2 and math.tointeger(8.0) == 8 and math.max(1, 2.5) == 2.5",
        "local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() end}) coroutine.yield(1) end) \
         coroutine.resume(co) return coroutine.close(co) and coroutine.status(co) == 'dead' and not coroutine.isyieldable()",
        "local ok, m = pcall(require, 'no.such.module') local p, e = package.searchpath('no.such', './?.lua;./?/x.lua') \
         package.preload.made = function(n) return {n} end return not ok and #m > 50 and p == nil and #e > 10 and require('made')[1] == 'made'",
        "local n = 0 for _, c in utf8.codes('añ€') do n = n + c end return n == 97 + 0xf1 + 0x20ac and utf8.len('añ€') == 3 \
         and utf8.offset('añ€', 3) == 4",
        "local t = {} for k, v in string.gmatch('a=1, b=2', '(%w+)=(%w+)') do t[k] = v end \
         return t.a == '1' and ('x'):byte() == 120 and ('%d'):format(3) == '3' and ('abc'):find('b', 1, true) == 2 and ('a,b'):gsub(',', {[','] = ';'}) == 'a;b'",
        "local t = {5, 2, 8} table.insert(t, 1, 9) table.remove(t) table.sort(t) return table.concat(t, ',') == '2,5,9' and select('#', table.unpack(t)) == 3",
        "return require('string') == string and tostring(print):find('builtin') ~= 1 and #tostring({}) > 5",
    ];

    /// More allocations than any program makes.
    const MOST: u64 = 20_000;

    #[test]
    fn any_allocation_may_fail() {
        for program in PROGRAMS {
            let vm = Vm::new();
            let mut n = 0;
            loop {
                vm.fail_allocation_at(Some(n)).expect("the VM is at rest");
                let mut result = None;
                let outcome = with_timeout(vm.cancel_handle(), || {
                    result = Some(vm.load(*program).name("=program").eval::<bool>()?);
                    Ok(())
                });
                let failed = vm.fail_allocation_at(None).expect("the VM is at rest");
                match outcome {
                    Err(Error::Memory) if failed => {}
                    // Programs that look at errors find another one; hooks of the collector warn and go on.
                    Ok(()) if failed => {}
                    Ok(()) => assert_eq!(result, Some(true), "wrong without a failure: {program}"),
                    outcome => panic!("allocation {n} fails: {outcome:?} from {program}"),
                }
                assert_usable(&vm, program);
                if !failed {
                    break;
                }
                n += 1;
                assert!(n < MOST, "without end: {program}");
            }
            assert!(n > 0, "nothing is allocated by {program}");
        }
    }

    #[test]
    fn making_a_function_or_a_handle_may_fail() {
        let vm = Vm::new();
        let mut n = 0;
        loop {
            vm.fail_allocation_at(Some(n)).expect("the VM is at rest");
            let work = || {
                let t = vm.create_table()?;
                t.set("name", vm.create_string("a string of the host")?)?;
                let f = vm.create_function(|_, x: i64| Ok(x + 1))?;
                t.set("f", &f)?;
                f.call::<i64>(1)
            };
            let result = work();
            let failed = vm.fail_allocation_at(None).expect("the VM is at rest");
            match result {
                Ok(2) if !failed => break,
                Err(Error::Memory) if failed => {}
                result => panic!("allocation {n} fails: {result:?}"),
            }
            assert_usable(&vm, "the host's work");
            n += 1;
            assert!(n < MOST);
        }
    }
}
