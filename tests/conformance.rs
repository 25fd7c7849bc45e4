//! The conformance suite: every program under `conformance/` runs under
//! perilune and under the reference implementation (Lua 5.4.8, through mlua),
//! and both must print the same lines.
//!
//! A program prints one line for each assertion, by way of the helpers that
//! `conformance/prelude.lua` defines in the same state. The reference is run,
//! not recorded, so a program can be changed without regenerating anything.
//!
//! Perilune runs each program in several modes ([`Mode`]), with each engine
//! that is built in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use mlua::{Lua, Variadic};

/// Fewer assertions than this mean that programs are missing or stopped early.
const MINIMUM_ASSERTIONS: usize = 3_000;

/// Differing lines shown for each program before the report is cut short.
const MAX_REPORTED_LINES: usize = 12;

/// Something that runs a Lua program and captures what it prints.
trait Engine {
    /// Runs `prelude` and then `source` in one fresh state, `source` under the
    /// chunk name `@name`, and returns the bytes written by `print`. An error
    /// that reaches the top is appended as a last line starting with `FATAL`.
    fn run(&self, prelude: &[u8], name: &str, source: &[u8]) -> Vec<u8>;
}

struct Reference;

impl Engine for Reference {
    fn run(&self, prelude: &[u8], name: &str, source: &[u8]) -> Vec<u8> {
        // SAFETY: the programs are this repository's own; they load no native
        // modules and use the debug library only to look at Lua functions.
        let lua = unsafe { Lua::unsafe_new() };
        let output = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&output);
        let print = lua
            .create_function(move |_, line: Variadic<mlua::String>| {
                let mut output = sink.borrow_mut();
                for (i, text) in line.iter().enumerate() {
                    if i > 0 {
                        output.push(b'\t');
                    }
                    output.extend_from_slice(&text.as_bytes());
                }
                output.push(b'\n');
                Ok(())
            })
            .expect("creating a function needs only memory");
        lua.globals()
            .set("print", print)
            .expect("the fresh globals take any key");
        let result = lua
            .load(prelude)
            .set_name("@prelude.lua")
            .exec()
            .and_then(|()| lua.load(source).set_name(format!("@{name}")).exec());
        let mut output = output.take();
        if let Err(error) = result {
            output.extend_from_slice(format!("FATAL {error}\n").as_bytes());
        }
        output
    }
}

/// Perilune, with its defaults or with settings that bring out mistakes.
struct Perilune {
    engine: perilune::Engine,
    mode: Mode,
}

#[derive(Clone, Copy)]
enum Mode {
    Default,
    /// Every loop and function is hot at its second pass.
    Hot,
    /// They are hot after twice as many.
    Warm,
    /// They are hot after a number of passes that is another one for each program.
    Random,
    /// A collection at every safepoint.
    CollectorStress,
    /// No room on stacks, which move at every call, and little in caches.
    Cramped,
    /// The same when everything is hot.
    CrampedHot,
    /// Everything is hot, and code finds no room.
    LittleCode,
    /// Everything is hot, and registers that hold nothing are filled with nonsense.
    Traps,
}

impl Mode {
    fn configure(self, builder: perilune::VmBuilder, name: &str) -> perilune::VmBuilder {
        match self {
            Mode::Default => builder,
            Mode::Hot => builder.hot_threshold(1),
            Mode::Warm => builder.hot_threshold(2),
            Mode::Random => {
                builder.hot_threshold(name.bytes().map(u32::from).sum::<u32>() % 40 + 3)
            }
            Mode::CollectorStress => builder.gc_stress(true).hot_threshold(2),
            Mode::Cramped => builder.stack_stress(true).cached_shapes(1),
            Mode::CrampedHot => Mode::Cramped.configure(builder, name).hot_threshold(1),
            Mode::LittleCode => builder.hot_threshold(1).code_memory(64 << 10),
            Mode::Traps => builder.hot_threshold(1).register_stress(true),
        }
    }

    /// Whether it makes a difference to an engine.
    fn concerns(self, engine: perilune::Engine) -> bool {
        let of_code = matches!(self, Mode::LittleCode | Mode::Traps);
        engine.is_built_in() && (!of_code || engine == perilune::Engine::Jit)
    }
}

impl Engine for Perilune {
    fn run(&self, prelude: &[u8], name: &str, source: &[u8]) -> Vec<u8> {
        let output = Output::default();
        let builder = perilune::Vm::builder()
            .output(Box::new(output.clone()))
            .engine(self.engine);
        let vm = self
            .mode
            .configure(builder, name)
            .build()
            .expect("a VM needs only memory");
        let result = vm
            .load(prelude)
            .name("@prelude.lua")
            .exec()
            .and_then(|()| vm.load(source).name(format!("@{name}")).exec());
        drop(vm);
        let mut output = output.0.lock().expect("nothing panics while writing");
        if let Err(error) = result {
            output.extend_from_slice(format!("FATAL {error}\n").as_bytes());
        }
        std::mem::take(&mut output)
    }
}

/// Where perilune's `print` goes.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("nothing panics while writing")
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

fn read(name: &str) -> Vec<u8> {
    let path = directory().join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(engine: &dyn Engine, name: &str) -> Vec<u8> {
    engine.run(&read("prelude.lua"), name, &read(name))
}

fn lines(output: &[u8]) -> Vec<&[u8]> {
    output
        .strip_suffix(b"\n")
        .map_or_else(Vec::new, |text| text.split(|&byte| byte == b'\n').collect())
}

/// Describes where `actual` departs from `expected`, or `None` if they agree.
///
/// Lines are paired by number while both sides carry the same label (the text
/// up to `" -> "` or `": "`), so that one wrong value is reported as such; once
/// the labels part, the rest cannot be paired and is summed up in one line.
fn difference(expected: &[u8], actual: &[u8]) -> Option<String> {
    let (expected, actual) = (lines(expected), lines(actual));
    if expected == actual {
        return None;
    }
    let mut report = String::new();
    let mut reported = 0;
    let mut hidden = 0;
    let paired = expected
        .iter()
        .zip(&actual)
        .take_while(|(e, a)| label(e) == label(a))
        .count();
    for number in 0..paired {
        let (e, a) = (expected[number], actual[number]);
        if e == a {
            continue;
        }
        if reported == MAX_REPORTED_LINES {
            hidden += 1;
            continue;
        }
        reported += 1;
        push_line(&mut report, '-', number, e);
        push_line(&mut report, '+', number, a);
    }
    if hidden > 0 {
        let _ = writeln!(report, "    ... {hidden} more differing lines");
    }
    if paired < expected.len() || paired < actual.len() {
        if let Some(e) = expected.get(paired) {
            push_line(&mut report, '-', paired, e);
        }
        if let Some(a) = actual.get(paired) {
            push_line(&mut report, '+', paired, a);
        }
        let _ = writeln!(
            report,
            "    ... from here on lines do not match up ({} expected, {} printed)",
            expected.len(),
            actual.len()
        );
    }
    Some(report)
}

/// What identifies an assertion: its line up to the first separator.
fn label(line: &[u8]) -> &[u8] {
    let arrow = line.windows(4).position(|window| window == b" -> ");
    let colon = line.windows(2).position(|window| window == b": ");
    let end = match (arrow, colon) {
        (Some(arrow), Some(colon)) => arrow.min(colon),
        (Some(end), None) | (None, Some(end)) => end,
        (None, None) => line.len(),
    };
    &line[..end]
}

fn push_line(report: &mut String, sign: char, index: usize, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let _ = writeln!(report, "  {sign} {:4} {text}", index + 1);
}

fn compare(name: &str, mode: Mode) {
    let expected = run(&Reference, name);
    for engine in [
        perilune::Engine::Off,
        perilune::Engine::Uops,
        perilune::Engine::Jit,
    ] {
        if !mode.concerns(engine) {
            continue;
        }
        let actual = run(&Perilune { engine, mode }, name);
        if let Some(report) = difference(&expected, &actual) {
            panic!("{name} (- reference, + perilune with engine {engine:?})\n{report}");
        }
    }
}

/// Declares the tests of each program, and the list of all of them.
macro_rules! programs {
    ($($test:ident => $file:literal,)*) => {
        const PROGRAMS: &[&str] = &[$($file),*];

        $(
            mod $test {
                use super::{Mode, compare};

                #[test]
                fn with_defaults() {
                    compare($file, Mode::Default);
                }

                #[test]
                fn when_all_is_hot() {
                    compare($file, Mode::Hot);
                }

                #[test]
                fn when_all_is_warm() {
                    compare($file, Mode::Warm);
                }

                #[test]
                fn when_some_is_hot() {
                    compare($file, Mode::Random);
                }

                #[test]
                fn under_collector_stress() {
                    compare($file, Mode::CollectorStress);
                }

                #[test]
                fn when_cramped() {
                    compare($file, Mode::Cramped);
                }

                #[test]
                fn when_cramped_and_hot() {
                    compare($file, Mode::CrampedHot);
                }

                #[test]
                fn with_little_code_memory() {
                    compare($file, Mode::LittleCode);
                }

                #[test]
                fn when_registers_trap() {
                    compare($file, Mode::Traps);
                }
            }
        )*
    };
}

programs! {
    section_2_1_values_types => "2_1_values_types.lua",
    section_2_2_environments => "2_2_environments.lua",
    section_2_3_errors => "2_3_errors.lua",
    section_2_4_field_caches => "2_4_field_caches.lua",
    section_2_4_metatables => "2_4_metatables.lua",
    section_2_5_gc => "2_5_gc.lua",
    section_2_6_coroutines => "2_6_coroutines.lua",
    section_3_1_lexical => "3_1_lexical.lua",
    section_3_3_statements => "3_3_statements.lua",
    section_3_4_expressions => "3_4_expressions.lua",
    section_3_5_visibility => "3_5_visibility.lua",
    section_3_6_runtime_messages => "3_6_runtime_messages.lua",
    section_3_7_syntax_messages => "3_7_syntax_messages.lua",
    section_6_10_debug => "6_10_debug.lua",
    section_6_10_debug_details => "6_10_debug_details.lua",
    section_6_10_hooks => "6_10_hooks.lua",
    section_6_1_basic => "6_1_basic.lua",
    section_6_2_coroutine => "6_2_coroutine.lua",
    section_6_3_modules => "6_3_modules.lua",
    section_6_4_binary => "6_4_binary.lua",
    section_6_4_string => "6_4_string.lua",
    section_6_5_utf8 => "6_5_utf8.lua",
    section_6_6_table => "6_6_table.lua",
    section_6_7_math => "6_7_math.lua",
    section_6_8_io => "6_8_io.lua",
    section_6_8_details => "6_8_io_os_details.lua",
    section_6_9_os => "6_9_os.lua",
    section_6_callbacks => "6_callbacks.lua",
    section_6_handlers => "6_handlers.lua",
    section_6_intrinsics => "6_intrinsics.lua",
    section_6_leaf_calls => "6_leaf_calls.lua",
}

#[test]
fn every_program_is_listed() {
    let mut found: Vec<String> = fs::read_dir(directory())
        .expect("the programs are part of the repository")
        .map(|entry| entry.expect("a readable directory").file_name())
        .map(|name| name.into_string().expect("names are ASCII"))
        .filter(|name| name.ends_with(".lua") && name != "prelude.lua")
        .collect();
    found.sort();
    assert_eq!(found, PROGRAMS);
}

/// The reference runs every program to its end, the same way twice, and
/// together they hold the promised number of assertions.
#[test]
fn programs_are_complete_and_deterministic() {
    let mut counts = BTreeMap::new();
    for name in PROGRAMS {
        let first = run(&Reference, name);
        let second = run(&Reference, name);
        if let Some(report) = difference(&first, &second) {
            panic!("{name} is not deterministic\n{report}");
        }
        let printed = lines(&first);
        if let Some(fatal) = printed.iter().find(|line| line.starts_with(b"FATAL ")) {
            panic!("{name}: {}", String::from_utf8_lossy(fatal));
        }
        counts.insert(*name, printed.len());
    }
    let total: usize = counts.values().sum();
    assert!(
        total >= MINIMUM_ASSERTIONS,
        "only {total} assertions: {counts:#?}"
    );
}

#[test]
fn differences_are_reported() {
    assert_eq!(difference(b"a: 1\nb: 2\n", b"a: 1\nb: 2\n"), None);
    let changed = difference(b"a: 1\nb: 2\nc: 3\n", b"a: 1\nb: 5\nc: 3\n");
    assert_eq!(
        changed.as_deref(),
        Some("  -    2 b: 2\n  +    2 b: 5\n"),
        "one changed value"
    );
    let cut = difference(b"a: 1\nb: 2\n", b"a: 1\n").expect("a missing line is a difference");
    assert!(cut.contains("-    2 b: 2") && cut.contains("2 expected, 1 printed"));
    let extra = difference(b"a: 1\n", b"a: 1\nb: 2\n").expect("an extra line is a difference");
    assert!(extra.contains("+    2 b: 2") && extra.contains("1 expected, 2 printed"));
}
