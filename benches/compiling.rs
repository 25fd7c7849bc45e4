//! The cost of making executors: what programs from `benches/programs` have compiled, per micro-op that projection has made.
//!
//! Each iteration runs a program in a VM of its own and takes the processor time that the VM has measured in one phase, so that
//! superblocks, and what caches hold, are those of real runs. A result is time per micro-op; times for all superblocks of a program
//! together are in `perilune --stats`.

use std::fs;
use std::io;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use perilune::{CompileTime, Vm};

/// Programs that make many executors in a short time.
const PROGRAMS: [&str; 4] = ["richards", "queens", "havlak", "json"];

/// A phase by its name, and the part of the time that it takes.
type Phase = (&'static str, fn(&CompileTime) -> Duration);

const PHASES: [Phase; 5] = [
    ("projection", |time| time.projection),
    ("optimization", |time| time.optimization),
    ("lowering", |time| time.lowering),
    ("installation", |time| time.installation),
    ("total", CompileTime::total),
];

/// The time that a run of a program has spent in a phase, per micro-op.
fn per_micro_op(source: &[u8], name: &str, phase: fn(&CompileTime) -> Duration) -> Duration {
    let vm = Vm::builder()
        .output(Box::new(io::sink()))
        .build()
        .expect("a VM");
    let program = vm
        .load(source)
        .name(name)
        .into_function()
        .expect("the program is right");
    program.call::<()>(()).expect("the program runs");
    let executors = vm.statistics().expect("statistics").executors;
    let micro_ops = u32::try_from(executors.micro_ops_before)
        .unwrap_or(u32::MAX)
        .max(1);
    phase(&executors.time) / micro_ops
}

fn compiling(c: &mut Criterion) {
    for program in PROGRAMS {
        let path = format!(
            "{}/benches/programs/{program}.lua",
            env!("CARGO_MANIFEST_DIR")
        );
        let source = fs::read(&path).expect("the program is there");
        let mut group = c.benchmark_group(program);
        group.sample_size(10);
        for (name, phase) in PHASES {
            group.bench_function(name, |b| {
                b.iter_custom(|runs| {
                    (0..runs)
                        .map(|_| per_micro_op(&source, program, phase))
                        .sum()
                });
            });
        }
    }
}

criterion_group!(benches, compiling);
criterion_main!(benches);
