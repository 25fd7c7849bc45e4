//! Running code that is not trusted: few libraries, a limit of memory, and a limit of time.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use perilune::{Error, Libraries, MultiValue, Result, Vm};

const MEMORY: usize = 8 << 20;
const TIME: Duration = Duration::from_millis(200);

/// Runs `source` in a VM of its own.
fn run(source: &str) -> Result<MultiValue> {
    let vm = Vm::builder()
        .libraries(Libraries::BASE | Libraries::STRING | Libraries::TABLE | Libraries::MATH)
        .memory_limit(MEMORY)
        .build()?;
    // What reads files or other code is not for guests.
    for name in ["dofile", "loadfile", "load", "collectgarbage"] {
        vm.globals().set(name, None::<bool>)?;
    }

    let cancel = vm.cancel_handle();
    let (done, timer) = mpsc::channel::<()>();
    thread::spawn(move || {
        if timer.recv_timeout(TIME) == Err(mpsc::RecvTimeoutError::Timeout) {
            cancel.cancel();
        }
    });
    let result = vm.load(source).name("=guest").eval();
    drop(done);
    result
}

fn main() {
    let guests = [
        "return 6 * 7",
        "return os, io, load",
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local t = {} for i = 1, math.huge do t[i] = ('x'):rep(i) end",
        "return ('x'):rep(1 << 40)",
        "local function f() return 1 + f() end return f()",
    ];
    for source in guests {
        match run(source) {
            Ok(values) => println!("{source}\n  -> {:?}", Vec::from_iter(values)),
            Err(Error::Cancelled) => println!("{source}\n  took too long"),
            Err(Error::Memory) => println!("{source}\n  used too much memory"),
            Err(Error::Runtime(e)) => println!("{source}\n  failed: {}", e.message),
            Err(e) => println!("{source}\n  could not run: {e}"),
        }
    }
}
