//! Code that takes the input and is run by perilune and by the reference; both return the same text.

use std::cell::RefCell;

use perilune::{Bytes, Function, Vm};

struct Comparison {
    ours: Function,
    theirs: mlua::Function,
    lua: mlua::Lua,
    _vm: Vm,
}

impl Comparison {
    fn new(code: &str) -> Comparison {
        let vm = Vm::new();
        let lua = mlua::Lua::new();
        let ours = vm.load(code).name("=code").into_function();
        let theirs = lua.load(code).set_name("=code").into_function();
        Comparison {
            ours: ours.expect("the code is right"),
            theirs: theirs.expect("the code is right"),
            lua,
            _vm: vm,
        }
    }

    fn check(&self, input: &[u8]) {
        let ours: Bytes = self
            .ours
            .call(Bytes(input.to_vec()))
            .expect("the code catches errors");
        let theirs: mlua::String = self
            .lua
            .create_string(input)
            .and_then(|input| self.theirs.call(input))
            .expect("the code catches errors");
        // Which sign a NaN has depends on the C compiler.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("-nan", "nan");
        assert_eq!(
            text(&ours.0),
            text(&theirs.as_bytes()),
            "{:?}",
            String::from_utf8_lossy(input)
        );
    }
}

thread_local! {
    /// The code that the last input was for.
    static COMPARISON: RefCell<Option<(&'static str, Comparison)>> = const { RefCell::new(None) };
}

fn compare(code: &'static str, input: &[u8]) {
    COMPARISON.with_borrow_mut(|slot| {
        let comparison = slot.take().filter(|(of, _)| *of == code);
        let (_, comparison) =
            slot.insert(comparison.unwrap_or_else(|| (code, Comparison::new(code))));
        comparison.check(input);
    });
}

/// `string.format`: a format, a zero and what is formatted.
pub fn format(input: &[u8]) {
    const CODE: &str = r##"
        local input = ...
        local format, s = input:match("^(.-)\0(.*)$")
        format, s = format or input, s or ""
        -- Addresses differ.
        if format:find("%%[^%a%%]*p") then return "" end
        local out = {}
        for _, v in ipairs({ #s, s, -1.5, 1e300, s:byte() or 0 }) do
          local ok, text = pcall(string.format, format, v, v, v)
          out[#out + 1] = tostring(text)
        end
        return table.concat(out, "|")
    "##;
    if input.len() <= 64 {
        compare(CODE, input);
    }
}

/// Numerals, for `tonumber`, for arithmetic and in sources.
pub fn number(input: &[u8]) {
    const CODE: &str = r##"
        local input = ...
        local out = { tostring(tonumber(input)), tostring(math.type(tonumber(input))) }
        for base = 2, 36, 7 do out[#out + 1] = tostring(tonumber(input, base)) end
        if not input:find("[^%w%.%+%-]") then
          local f = load("return " .. input, "=n", "t", {})
          local ok, v = pcall(f or error)
          -- The reference computes -0.0 - 0 as -0.0 + 0, which is another zero.
          out[#out + 1] = f and (v == 0 and "zero" or tostring(v)) or "no expression"
        end
        out[#out + 1] = tostring(pcall(function() return input + 0 end))
        return table.concat(out, "|")
    "##;
    if input.len() <= 64 {
        compare(CODE, input);
    }
}

/// `string.pack` and its relations: a format, a zero and a string.
pub fn pack(input: &[u8]) {
    const CODE: &str = r##"
        local input = ...
        local format, s = input:match("^(.-)\0(.*)$")
        format, s = format or input, s or ""
        local out = {}
        local function add(...)
          for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end
        end
        add(pcall(string.packsize, format))
        add(pcall(string.pack, format, 1, 2, 3, 4))
        add(pcall(string.pack, format, s, s, s))
        add(pcall(string.unpack, format, s))
        return table.concat(out, "|")
    "##;
    if input.len() <= 64 {
        compare(CODE, input);
    }
}

/// Patterns: one, a zero and a subject.
pub fn pattern(input: &[u8]) {
    const CODE: &str = r##"
        local input = ...
        local pattern, subject = input:match("^(.-)\0(.*)$")
        if not pattern then return "" end
        local out = {}
        local function add(...)
          for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end
        end
        add(pcall(string.find, subject, pattern))
        add(pcall(string.gsub, subject, pattern, "<%0%1>", 5))
        add(pcall(function()
          local n = 0
          for a, b in subject:gmatch(pattern) do
            n = n + 1
            add(a, b)
            if n == 5 then break end
          end
        end))
        return table.concat(out, "|")
    "##;
    if input.len() <= 48 {
        compare(CODE, input);
    }
}

/// Short sources without loops.
pub fn script(input: &[u8]) {
    const CODE: &str = r##"
        local source = ...
        -- Nothing that depends on addresses, on the order of tables, on time or on memory; and nothing that runs for long.
        for _, word in ipairs({ "while", "repeat", "goto", "for", "rep", "function", "collectgarbage" }) do
          if source:find(word, 1, true) then return "" end
        end
        local out = {}
        local env = { type = type,
          -- The reference computes -0.0 - 0 as -0.0 + 0, which is another zero.
          tostring = function(v) return type(v) == "table" and "table" or type(v) == "function" and "function" or v == 0 and "zero" or tostring(v) end,
          select = select, pcall = pcall, error = error, math = { max = math.max, type = math.type, floor = math.floor },
          setmetatable = setmetatable }
        env.print = function(...)
          for i = 1, select("#", ...) do out[#out + 1] = env.tostring((select(i, ...))) end
        end
        local f, message = load(source, "=p", "t", env)
        if not f then return (message:gsub("near .*", "")) end
        env.print(pcall(f))
        return table.concat(out, "|")
    "##;
    if input.len() <= 200 {
        compare(CODE, input);
    }
}
