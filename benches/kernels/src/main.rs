//! The layout proof: what a tracing compiler would make of eight hot programs, written by hand as machine code
//! over perilune's real objects, against LuaJIT on the same programs in Lua.

mod counters;
mod each;
mod fib;
mod generator;
mod methods;
mod sort;
mod spectral;
mod trees;
mod vm;

use std::sync::atomic::Ordering;

use mlua::{Function, Lua};

/// A program in both forms.
pub struct Kernel {
    pub name: &'static str,
    /// A chunk that returns a function of one number.
    pub source: &'static str,
    /// What is counted.
    pub operation: &'static str,
    pub argument: i64,
    /// Operations in one run.
    pub operations: f64,
    /// The machine code.
    pub run: Box<dyn FnMut(i64) -> f64>,
}

/// Makes the variants of a program.
type Kernels = fn() -> Vec<Kernel>;

/// The largest argument under stress: each collection looks at all objects.
const STRESSED_ARGUMENT: i64 = 10;

/// Timed runs of each form; odd, for the median.
const ROUNDS: usize = 11;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The processor time that this thread has used, in nanoseconds: what others do on the machine counts less.
fn now() -> f64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is valid for writing.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    assert!(failed == 0, "the thread has a clock");
    t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
}

/// Nanoseconds that `run` takes for an operation, and its result.
fn time(operations: f64, run: impl FnOnce() -> f64) -> (f64, f64) {
    let start = now();
    let result = run();
    ((now() - start) / operations, result)
}

/// LuaJIT as it comes: with its own allocator, which mlua would replace.
fn luajit() -> &'static Lua {
    // SAFETY: the state is new, and lives as long as the program.
    unsafe {
        let state = mlua::ffi::luaL_newstate();
        assert!(!state.is_null(), "memory for LuaJIT");
        mlua::ffi::luaL_openlibs(state);
        Lua::get_or_init_from_ptr(state)
    }
}

fn reference(kernel: &Kernel) -> Function {
    luajit()
        .load(kernel.source)
        .eval()
        .expect("a chunk that returns a function")
}

/// Runs both forms with collections wherever they may happen, and compares the results.
fn stress(mut kernel: Kernel) {
    let reference = reference(&kernel);
    let most = kernel.argument.min(STRESSED_ARGUMENT);
    for argument in [1, most / 2, most, most] {
        let value = (kernel.run)(argument);
        let expected: f64 = reference
            .call(argument)
            .expect("no error in the reference");
        assert!(
            value == expected,
            "{}: {value} instead of {expected} for {argument}",
            kernel.name
        );
    }
    println!("{}: the same results", kernel.name);
}

fn measure(mut kernel: Kernel) {
    let reference = reference(&kernel);
    let mut times = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (ns, value) = time(kernel.operations, || (kernel.run)(kernel.argument));
        let (reference_ns, expected) = time(kernel.operations, || {
            reference
                .call(kernel.argument)
                .expect("no error in the reference")
        });
        assert!(
            value == expected,
            "{}: {value} instead of {expected}",
            kernel.name
        );
        // The first round is for warming up.
        if round > 0 {
            times.0.push(ns);
            times.1.push(reference_ns);
        }
    }
    let (ns, reference_ns) = (median(times.0), median(times.1));
    println!(
        "{:<28} {:<12} {ns:>9.2} {reference_ns:>9.2} {:>7.2}",
        kernel.name,
        kernel.operation,
        ns / reference_ns
    );
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let stressed = arguments.iter().any(|a| a == "--stress");
    arguments.retain(|a| a != "--stress");
    let wanted = arguments.first();
    vm::STRESS.store(stressed, Ordering::Relaxed);
    if !stressed {
        println!(
            "{:<28} {:<12} {:>9} {:>9} {:>7}",
            "kernel", "operation", "ns", "LuaJIT", "ratio"
        );
    }
    let kernels: &[(&str, Kernels)] = &[
        ("fib", fib::kernels),
        ("spectral", spectral::kernels),
        ("methods", methods::kernels),
        ("each", each::kernels),
        ("sort", sort::kernels),
        ("trees", trees::kernels),
        ("generator", generator::kernels),
        ("counters", counters::kernels),
    ];
    for (_, kernels) in kernels
        .iter()
        .filter(|(name, _)| wanted.is_none_or(|w| w == name))
    {
        let run = if stressed { stress } else { measure };
        kernels().into_iter().for_each(run);
    }
}
