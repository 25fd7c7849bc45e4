//! Many VMs on several threads, whose machine code shares one region: what one VM does to its code disturbs no other.
//!
//! Executors are made, patched, invalidated and freed all the time, and VMs come and go while others run.

mod common;
#[path = "random/generator.rs"]
#[allow(dead_code, reason = "programs are not made smaller here")]
mod generator;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use common::{Output, Rng, compilers, difference};
use generator::{Hot, render};
use perilune::{Engine, Vm, VmBuilder};

const THREADS: usize = 8;
const VMS: usize = 24;

/// Times that a VM runs its program.
const RUNS: usize = 3;

/// Runs of all VMs.
const TURNS: usize = 160;

const HELPERS: &str = include_str!("random/helpers.lua");

fn programs() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tier2");
    let mut paths: Vec<_> = fs::read_dir(directory)
        .expect("the directory exists")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    let written = paths
        .iter()
        .map(|path| fs::read_to_string(path).expect("it can be read"));
    let made = (0..12).map(|seed| {
        let hot = Hot::new(Rng::new(seed));
        let program = if seed % 2 == 0 {
            hot.program()
        } else {
            hot.tight()
        };
        format!("{HELPERS}\n{}", render(&program))
    });
    written.chain(made).collect()
}

/// A VM that runs a program again and again.
struct Machine {
    vm: Vm,
    output: Output,
    program: usize,
    runs: usize,
}

impl Machine {
    fn new(settings: VmBuilder, program: usize) -> Machine {
        let output = Output::default();
        let vm = settings
            .output(Box::new(output.clone()))
            .build()
            .expect("the libraries fit");
        vm.load(include_str!("conformance/prelude.lua"))
            .name("@prelude.lua")
            .exec()
            .expect("it is right");
        Machine {
            vm,
            output,
            program,
            runs: 0,
        }
    }

    /// What the program prints this time.
    fn run(&mut self, programs: &[String]) -> Vec<u8> {
        self.runs += 1;
        let program = &programs[self.program];
        let result = self.vm.load(program).name("=p").exec();
        let mut output = self.output.take();
        if let Err(error) = result {
            output.extend_from_slice(format!("FATAL {error}\n").as_bytes());
        }
        output
    }
}

/// The `n`th VM: executors live long, or go all the time.
fn machine(engine: Engine, n: usize, programs: usize) -> Machine {
    let builder = Vm::builder().engine(engine);
    let settings = match n % 4 {
        0 => builder.hot_threshold(2),
        1 => builder.hot_threshold(1).invalidation_stress(3),
        2 => builder.hot_threshold(2).executor_limit(6),
        _ => builder,
    };
    Machine::new(settings, n % programs)
}

#[test]
fn vms_on_many_threads_share_code_memory() {
    let programs = programs();
    let mut expected = Vec::new();
    for n in 0..programs.len() {
        let mut machine = machine(Engine::Off, n, programs.len());
        let runs = (0..RUNS).map(|_| machine.run(&programs));
        expected.push(runs.collect::<Vec<_>>());
    }
    for engine in compilers() {
        hammer(engine, &programs, &expected);
    }
}

fn hammer(engine: Engine, programs: &[String], expected: &[Vec<Vec<u8>>]) {
    // VMs wait in a queue between runs, so that each is run by many threads.
    let machines = (0..VMS).map(|n| machine(engine, n, programs.len()));
    let waiting = Mutex::new(machines.collect::<VecDeque<_>>());
    let (turn, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                loop {
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    if turn >= TURNS {
                        break;
                    }
                    // There are more VMs than threads.
                    let next = waiting.lock().expect("nothing panics").pop_front();
                    let mut vm = next.expect("each thread has one VM");
                    let expected = &expected[vm.program][vm.runs];
                    let output = vm.run(programs);
                    if let Some(report) = difference(expected, &output) {
                        let report = format!("run {}: {report}\n{}", vm.runs, programs[vm.program]);
                        wrong.lock().expect("nothing panics").push(report);
                    }
                    if vm.runs == RUNS {
                        vm = machine(engine, VMS + turn, programs.len());
                    }
                    waiting.lock().expect("nothing panics").push_back(vm);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nothing panics");
    assert!(
        wrong.is_empty(),
        "{engine:?}: {} runs differ, of them\n{}",
        wrong.len(),
        wrong[0]
    );
}
