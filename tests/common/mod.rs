//! What the differential tests share: running a program under both engines, comparing what it printed, and the
//! random numbers they are made from.
//!
//! A program runs after `conformance/prelude.lua` in the same fresh state. It is loaded and called by Lua code, so
//! that an error that reaches the top is rendered by the same helpers as any other value.

#![allow(
    dead_code,
    reason = "it is compiled into each test of its own, which uses a part of it"
)]

use std::cell::RefCell;
use std::fmt::Write;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mlua::{Lua, Variadic};
use perilune::{CancelHandle, Engine, Result, VmBuilder};

const PRELUDE: &str = include_str!("../conformance/prelude.lua");

const TIMEOUT: Duration = Duration::from_secs(60);

/// Calls the program in the global `SOURCE`.
const DRIVER: &str = r#"
local f, message = load(SOURCE, "=p")
if not f then
  print("SYNTAX " .. message)
else
  local ok, e = pcall(f)
  if not ok then print("FATAL " .. show(e)) end
end
"#;

/// The engines that are built in.
pub fn engines() -> impl Iterator<Item = Engine> {
    [Engine::Off, Engine::Uops, Engine::Jit]
        .into_iter()
        .filter(|engine| engine.is_built_in())
}

/// Those of them that compile what is hot.
pub fn compilers() -> impl Iterator<Item = Engine> {
    engines().filter(|engine| *engine != Engine::Off)
}

/// Runs a program under the reference and returns what it printed.
pub fn run_reference(source: &[u8]) -> Vec<u8> {
    // SAFETY: the programs load no native modules and use the debug library only to look at Lua functions.
    let lua = unsafe { Lua::unsafe_new() };
    let output = Rc::new(RefCell::new(Vec::new()));
    let writer = |separator: &'static [u8], end: &'static [u8]| {
        let sink = Rc::clone(&output);
        let write = move |lua: &Lua, values: Variadic<mlua::Value>| -> mlua::Result<()> {
            let mut output = sink.borrow_mut();
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    output.extend_from_slice(separator);
                }
                match lua.coerce_string(value.clone())? {
                    Some(text) => output.extend_from_slice(&text.as_bytes()),
                    None => output.extend_from_slice(value.to_string()?.as_bytes()),
                }
            }
            output.extend_from_slice(end);
            Ok(())
        };
        lua.create_function(write)
            .expect("creating a function needs only memory")
    };
    let globals = lua.globals();
    globals
        .set("print", writer(b"\t", b"\n"))
        .and_then(|()| {
            globals
                .get::<mlua::Table>("io")?
                .set("write", writer(b"", b""))
        })
        .and_then(|()| globals.set("SOURCE", lua.create_string(source)?))
        .and_then(|()| lua.load(PRELUDE).set_name("@prelude.lua").exec())
        .and_then(|()| lua.load(DRIVER).set_name("@driver.lua").exec())
        .expect("the driver catches every error of the program");
    output.take()
}

/// Runs a program under perilune and returns what it printed. An error of the VM itself is the last line.
pub fn run_perilune(settings: VmBuilder, source: &[u8]) -> Vec<u8> {
    let output = Output::default();
    let result = settings
        .output(Box::new(output.clone()))
        .build()
        .and_then(|vm| {
            vm.globals().set("SOURCE", vm.create_string(source)?)?;
            vm.load(PRELUDE).name("@prelude.lua").exec()?;
            with_timeout(vm.cancel_handle(), || {
                vm.load(DRIVER).name("@driver.lua").exec()
            })
        });
    let mut output = output.take();
    if let Err(error) = result {
        output.extend_from_slice(format!("ENGINE {error}\n").as_bytes());
    }
    output
}

/// Cancels what `f` runs if it takes so long that it must be in an endless loop.
pub fn with_timeout(cancel: CancelHandle, f: impl FnOnce() -> Result<()>) -> Result<()> {
    thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            if wait.recv_timeout(TIMEOUT) == Err(RecvTimeoutError::Timeout) {
                cancel.cancel();
            }
        });
        let result = f();
        drop(done);
        result
    })
}

/// A buffer that takes a VM's output.
#[derive(Clone, Default)]
pub struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// What it has taken.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().expect("writing does not panic"))
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("writing does not panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Describes the first lines in which two outputs differ, or `None` if they agree. The sign of a NaN is not compared:
/// it depends on the order in which the C compiler puts operands.
pub fn difference(expected: &[u8], actual: &[u8]) -> Option<String> {
    let expected = String::from_utf8_lossy(expected).replace("-nan", "nan");
    let actual = String::from_utf8_lossy(actual).replace("-nan", "nan");
    if expected == actual {
        return None;
    }
    let (mut e, mut a) = (expected.lines(), actual.lines());
    let mut report = String::new();
    for number in 1.. {
        let (e, a) = (e.next(), a.next());
        if e == a {
            continue;
        }
        for (sign, line) in [('-', e), ('+', a)] {
            match line {
                Some(line) => writeln!(report, "{sign} {number:4} {line}"),
                None => writeln!(report, "{sign} {number:4} (end of output)"),
            }
            .expect("writing to a string");
        }
        break;
    }
    Some(report)
}

/// A small generator of random numbers (SplitMix64, by Sebastiano Vigna).
pub struct Rng {
    state: u64,
    /// What [`below`](Rng::below) is to return first.
    decisions: std::vec::IntoIter<u8>,
}

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng {
            state: seed,
            decisions: Vec::new().into_iter(),
        }
    }

    /// A generator whose first decisions are given, a byte each.
    pub fn deciding(decisions: Vec<u8>) -> Rng {
        Rng {
            state: 0,
            decisions: decisions.into_iter(),
        }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        match self.decisions.next() {
            Some(decision) if n <= 256 => decision as usize % n,
            _ => (self.next() % n as u64) as usize,
        }
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}
