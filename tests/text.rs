//! Text in and out: formats, patterns, numerals and packed data, random ones, read and written as the reference does.
//!
//! Each case is an expression. A batch of them is one program, and each prints one line. `PERILUNE_SEEDS=n` tries `n`
//! batches of each sort.

mod common;

use std::env;
use std::fmt::Write;

use common::{Rng, difference, run_perilune, run_reference};
use perilune::Vm;

const DEFAULT_BATCHES: u64 = 8;
const CASES: usize = 250;

/// Runs batches of expressions and shows the first few that differ.
fn compare(seed: u64, mut case: impl FnMut(&mut Rng) -> String) {
    let batches = env::var("PERILUNE_SEEDS")
        .map_or(DEFAULT_BATCHES, |n| n.parse().expect("a number of batches"));
    for batch in 0..batches {
        let mut rng = Rng::new(seed << 32 | batch);
        let cases: Vec<String> = (0..CASES).map(|_| case(&mut rng)).collect();
        let mut program = String::new();
        for case in &cases {
            writeln!(program, "raises('', function() return {case} end)")
                .expect("writing to a string");
        }
        let expected = run_reference(program.as_bytes());
        let actual = run_perilune(Vm::builder(), program.as_bytes());
        if difference(&expected, &actual).is_none() {
            continue;
        }
        let (mut e, mut a) = (
            expected.split(|&b| b == b'\n'),
            actual.split(|&b| b == b'\n'),
        );
        let mut report = String::new();
        for case in &cases {
            let (e, a) = (e.next().unwrap_or_default(), a.next().unwrap_or_default());
            if difference(e, a).is_some() {
                let (e, a) = (String::from_utf8_lossy(e), String::from_utf8_lossy(a));
                writeln!(report, "{case}\n- {e}\n+ {a}").expect("writing to a string");
            }
        }
        panic!("batch {batch} (- reference, + perilune)\n{report}");
    }
}

/// A Lua string literal.
fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte as char]),
            b' '..=b'~' => text.push(byte as char),
            _ => write!(text, "\\{byte:03}").expect("writing to a string"),
        }
    }
    text.push('"');
    text
}

fn integer(rng: &mut Rng) -> String {
    match rng.below(8) {
        0 => "math.mininteger".to_owned(),
        1 => "math.maxinteger".to_owned(),
        2 => "0".to_owned(),
        _ => {
            let n = rng.next() as i64 >> rng.below(64);
            if n == i64::MIN {
                "math.mininteger".to_owned()
            } else {
                format!("({n})")
            }
        }
    }
}

fn float(rng: &mut Rng) -> String {
    match rng.below(12) {
        0 => rng
            .pick(&[
                "0.0",
                "(-0.0)",
                "math.huge",
                "(-math.huge)",
                "(0/0)",
                "1e15",
                "1e16",
                "1e17",
                "123456789012345.0",
            ])
            .to_owned(),
        1 => rng
            .pick(&[
                "0.1",
                "5e-324",
                "2.2250738585072014e-308",
                "1.7976931348623157e308",
                "2^53",
                "2^63",
                "0.5",
                "9.5",
                "999999.5",
            ])
            .to_owned(),
        2 => format!("({}/{})", rng.below(1000), 1 + rng.below(1000)),
        3 => format!("({}.5)", rng.below(1_000_000)),
        4 => format!("({}e{})", rng.below(100_000), rng.below(40) as i64 - 20),
        5 => format!("({}.0)", rng.next() as i64 >> rng.below(64)),
        _ => format!(
            "(string.unpack('<d', {}))",
            quote(&rng.next().to_le_bytes())
        ),
    }
}

fn text(rng: &mut Rng, alphabet: &[u8], most: usize) -> Vec<u8> {
    let length = rng.below(most + 1);
    (0..length)
        .map(|_| alphabet[rng.below(alphabet.len())])
        .collect()
}

fn value(rng: &mut Rng) -> String {
    match rng.below(12) {
        0..=3 => integer(rng),
        4..=7 => float(rng),
        8 => rng.pick(&["nil", "true", "false", "{}"]).to_owned(),
        9 => quote(&text(rng, b"0123456789.ex- ", 6)),
        _ => quote(&text(rng, b"ab\n\0\r\"\\\xff\xe9 9", 12)),
    }
}

#[test]
fn formats() {
    compare(1, |rng| {
        let mut spec = Vec::new();
        let mut arguments = String::new();
        for _ in 0..1 + rng.below(2) {
            spec.extend(text(rng, b"ab <>", 2));
            if rng.one_in(12) {
                spec.extend(b"%%");
                continue;
            }
            spec.push(b'%');
            let conversion = rng.pick(&[
                b"d", b"i", b"u", b"c", b"x", b"X", b"o", b"e", b"E", b"f", b"F", b"g", b"G", b"a",
                b"A", b"q", b"s", b"p", b"y",
            ]);
            if rng.one_in(2) {
                spec.extend(text(rng, b"-+ #0", 2));
            }
            if rng.one_in(2) {
                let most = if rng.one_in(20) { 120 } else { 30 };
                spec.extend(rng.below(most).to_string().bytes());
            }
            if rng.one_in(2) {
                spec.push(b'.');
                if !rng.one_in(5) {
                    let most = if rng.one_in(20) { 120 } else { 25 };
                    spec.extend(rng.below(most).to_string().bytes());
                }
            }
            spec.extend(conversion);
            let argument = match conversion {
                b"d" | b"i" | b"c" | b"x" | b"X" | b"o" if !rng.one_in(8) => integer(rng),
                b"e" | b"E" | b"f" | b"F" | b"g" | b"G" | b"a" | b"A" if !rng.one_in(8) => {
                    float(rng)
                }
                b"p" => "nil".to_owned(),
                b"s" => value(rng).replace("{}", "nil"),
                _ => value(rng),
            };
            write!(arguments, ", {argument}").expect("writing to a string");
        }
        format!("string.format({}{arguments})", quote(&spec))
    });
}

fn pattern(rng: &mut Rng) -> Vec<u8> {
    let mut pattern = Vec::new();
    if rng.one_in(8) {
        pattern.push(b'^');
    }
    let mut open = 0;
    let mut captures = 0;
    for _ in 0..1 + rng.below(5) {
        match rng.below(14) {
            0..=3 => pattern.push(b"abcA1 .-x"[rng.below(9)]),
            4..=5 => pattern.extend([b'%', b"acdglpsuwxACDLPSUWX.%-[]zq"[rng.below(26)]]),
            6..=7 => {
                pattern.push(b'[');
                if rng.one_in(3) {
                    pattern.push(b'^');
                }
                for _ in 0..1 + rng.below(3) {
                    pattern.extend(
                        rng.pick(&["a-c", "b", "%d", "%w", "]", "0-9", "-", "%]", ".", "z-a"])
                            .bytes(),
                    );
                }
                if !rng.one_in(20) {
                    pattern.push(b']');
                }
            }
            8..=9 => {
                pattern.push(b'(');
                open += 1;
                captures += 1;
                if rng.one_in(3) {
                    pattern.push(b')');
                    open -= 1;
                }
            }
            10 if open > 0 => {
                pattern.push(b')');
                open -= 1;
            }
            11 if captures > 0 => {
                let most = captures + usize::from(rng.one_in(8));
                pattern.extend([b'%', b'1' + rng.below(most).min(8) as u8]);
            }
            12 => pattern.extend(b"%b()".iter().take(if rng.one_in(10) { 3 } else { 4 })),
            13 => pattern.extend(b"%f[%w]".iter().take(if rng.one_in(10) { 2 } else { 6 })),
            _ => pattern.push(b'.'),
        }
        if rng.one_in(3) {
            pattern.push(b"*+-?"[rng.below(4)]);
        }
    }
    if !rng.one_in(15) {
        pattern.extend(std::iter::repeat_n(b')', open));
    }
    if rng.one_in(6) {
        pattern.push(b'$');
    }
    if rng.one_in(40) {
        pattern.push(b'%');
    }
    pattern
}

#[test]
fn patterns() {
    compare(2, |rng| {
        let subject = quote(&text(rng, b"aabbccA1 (.)-x\0\xe9", 14));
        let pattern = quote(&pattern(rng));
        let start = rng.below(12) as i64 - 4;
        match rng.below(6) {
            0 => format!("string.find({subject}, {pattern})"),
            1 => format!(
                "string.find({subject}, {pattern}, {start}, {})",
                rng.one_in(4)
            ),
            2 => format!("string.match({subject}, {pattern}, {start})"),
            3 => format!(
                "(function() local r = {{}} for a, b in string.gmatch({subject}, {pattern}) do \
                 r[#r + 1] = {{a, b or false}} end return r end)()"
            ),
            4 => {
                let by = quote(&text(rng, b"<%%%01120a>", 5));
                format!("string.gsub({subject}, {pattern}, {by})")
            }
            _ => {
                let by = rng.pick(&[
                    "{a = 1, b = 'q', [''] = 'e', c = false}",
                    "function(...) return ... end",
                    "function(...) return select('#', ...) end",
                    "function(x) if x == 'a' then return {} end end",
                ]);
                format!("string.gsub({subject}, {pattern}, {by}, {})", rng.below(6))
            }
        }
    });
}

#[test]
fn numerals() {
    compare(3, |rng| match rng.below(10) {
        0 => format!("tostring({})", float(rng)),
        1 => format!("tostring({})", integer(rng)),
        2 => format!("({}) .. ''", value(rng)),
        3 => format!(
            "tonumber({}, {})",
            quote(&text(rng, b"019azAZ-_ \t", 6)),
            1 + rng.below(38)
        ),
        4 => {
            format!(
                "load({})",
                quote(format!("return {}", numeral(rng)).as_bytes())
            ) + " and 1"
        }
        5 => format!(
            "assert(load({}, '=n'))()",
            quote(format!("return {}", numeral(rng)).as_bytes())
        ),
        6 => format!("math.tointeger({})", quote(numeral(rng).as_bytes())),
        7 => format!("{} | 0", quote(numeral(rng).as_bytes())),
        8 => format!("{} + 0", quote(numeral(rng).as_bytes())),
        _ => format!("tonumber({})", quote(numeral(rng).as_bytes())),
    });
}

/// A text that is a numeral or nearly one.
fn numeral(rng: &mut Rng) -> String {
    let mut text = String::new();
    if rng.one_in(6) {
        text.push_str(rng.pick(&[" ", "\n\t", "+", "-", " -", "- "]));
    }
    let (digits, exponent): (&[u8], char) = if rng.one_in(3) {
        text.push_str(rng.pick(&["0x", "0X"]));
        (b"0123456789abcdefF", 'p')
    } else {
        (b"0123456789", 'e')
    };
    let long = if rng.one_in(8) { 40 } else { 20 };
    text.extend(self::text(rng, digits, long).iter().map(|&b| b as char));
    if rng.one_in(2) {
        text.push('.');
        text.extend(self::text(rng, digits, long).iter().map(|&b| b as char));
    }
    if rng.one_in(2) {
        text.push(exponent);
        text.push_str(rng.pick(&["", "", "+", "-"]));
        let most = *rng.pick(&[&9usize, &99, &400, &99_999]);
        write!(text, "{}", rng.below(most)).expect("writing to a string");
    }
    if rng.one_in(15) {
        text.push_str(rng.pick(&[" ", "x", "\0", "_", "e", ".", "inf", "nan"]));
    }
    text
}

fn pack_option(rng: &mut Rng) -> (String, Option<String>) {
    let most = if rng.one_in(10) { 18 } else { 16 };
    let size = 1 + rng.below(most);
    let short = quote(&text(rng, b"ab\0\xff", 6));
    match rng.below(22) {
        0 => (rng.pick(&["<", ">", "=", " "]).to_owned(), None),
        1 => (
            rng.pick(&["!", "!2", "!4", "!8", "!16", "!3"]).to_owned(),
            None,
        ),
        2 => ("x".to_owned(), None),
        3 => (rng.pick(&["Xi4", "Xd", "Xh", "X", "Xs"]).to_owned(), None),
        4..=5 => (rng.pick(&["f", "d", "n"]).to_owned(), Some(float(rng))),
        6 => ("z".to_owned(), Some(short)),
        7 => (format!("s{}", size.min(17)), Some(short)),
        8 => (format!("c{}", rng.below(8)), Some(short)),
        9 => ("s".to_owned(), Some(short)),
        10..=12 => (format!("i{size}"), Some(integer(rng))),
        13..=14 => (format!("I{size}"), Some(integer(rng))),
        15 => ("j".to_owned(), Some(value(rng))),
        _ => (
            rng.pick(&["b", "B", "h", "H", "i", "I", "l", "L", "J", "T"])
                .to_owned(),
            Some(integer(rng)),
        ),
    }
}

#[test]
fn packed_data() {
    compare(4, |rng| {
        let mut format = String::new();
        let mut arguments = String::new();
        for _ in 0..1 + rng.below(4) {
            let (option, argument) = pack_option(rng);
            format.push_str(&option);
            if let Some(argument) = argument {
                // Small numbers fit into most sizes.
                let argument = if rng.one_in(2) && !argument.starts_with('"') {
                    rng.below(100).to_string()
                } else {
                    argument
                };
                write!(arguments, ", {argument}").expect("writing to a string");
            }
        }
        if rng.one_in(30) {
            format.push_str(rng.pick(&["y", "i0", "i17", "c", "99999999999", "!17"]));
        }
        match rng.below(5) {
            0 => format!("string.packsize('{format}')"),
            1 => format!(
                "string.unpack('{format}', {}, {})",
                quote(&text(rng, b"\0\0\0\0\0\0\0\0\0\x01\x02\xffab", 60)),
                rng.below(8) as i64 - 2,
            ),
            2 => format!("string.pack('{format}'{arguments})"),
            _ => format!("string.unpack('{format}', string.pack('{format}'{arguments}))"),
        }
    });
}
