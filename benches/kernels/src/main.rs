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

use std::time::Instant;

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

/// Timed runs of each form; odd, for the median.
const ROUNDS: usize = 11;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds that `run` takes for an operation.
fn time(operations: f64, run: impl FnOnce() -> f64) -> (f64, f64) {
    let start = Instant::now();
    let result = run();
    (start.elapsed().as_nanos() as f64 / operations, result)
}

fn measure(mut kernel: Kernel) {
    let lua = Lua::new();
    let reference: Function = lua.load(kernel.source).eval().expect("a chunk that returns a function");
    let mut times = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (ns, value) = time(kernel.operations, || (kernel.run)(kernel.argument));
        let (reference_ns, expected) = time(kernel.operations, || {
            reference.call(kernel.argument).expect("no error in the reference")
        });
        assert!(value == expected, "{}: {value} instead of {expected}", kernel.name);
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
    let wanted = std::env::args().nth(1);
    println!("{:<28} {:<12} {:>9} {:>9} {:>7}", "kernel", "operation", "ns", "LuaJIT", "ratio");
    let kernels: &[(&str, fn() -> Vec<Kernel>)] = &[
        ("fib", fib::kernels),
        ("spectral", spectral::kernels),
        ("methods", methods::kernels),
        ("each", each::kernels),
        ("sort", sort::kernels),
        ("trees", trees::kernels),
        ("generator", generator::kernels),
        ("counters", counters::kernels),
    ];
    for (_, kernels) in kernels.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|w| w == name)) {
        kernels().into_iter().for_each(measure);
    }
}
