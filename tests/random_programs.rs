//! Random programs: perilune prints what the reference prints, in every mode.
//!
//! `PERILUNE_SEEDS=n` tries `n` programs, `PERILUNE_SEED=s` starts at the one of seed `s` (and tries only that, if not
//! told otherwise). A failing program is made smaller and printed; with `PERILUNE_SHOW` every program is printed.

mod common;
#[path = "random/generator.rs"]
mod generator;

use std::env;
use std::panic::{self, AssertUnwindSafe};

use common::{Rng, difference, engines, run_perilune, run_reference};
use generator::{Generator, Hot, Node, minimise, render};
use perilune::{Vm, VmBuilder};

const HELPERS: &str = include_str!("random/helpers.lua");

const DEFAULT_SEEDS: u64 = 60;

/// Failing programs made smaller before giving up.
const MAX_FAILURES: usize = 8;

/// A name, how to set up a VM for the program of a seed, and how often that is done.
type Mode = (&'static str, fn(VmBuilder, u64) -> VmBuilder, u64);

const MODES: [Mode; 5] = [
    ("normal", |vm, _| vm, 1),
    ("hot at once", |vm, _| vm.hot_threshold(1), 1),
    ("cramped", |vm, _| vm.stack_stress(true).cached_shapes(1), 1),
    ("collecting always", |vm, _| vm.gc_stress(true), 4),
    (
        "hot soon, collecting always",
        |vm, _| vm.hot_threshold(2).gc_stress(true),
        4,
    ),
];

/// For programs with hot loops.
const HOT_MODES: [Mode; 9] = [
    ("normal", |vm, _| vm, 3),
    ("hot at once", |vm, _| vm.hot_threshold(1), 1),
    ("hot soon", |vm, _| vm.hot_threshold(2), 1),
    (
        "hot some time",
        |vm, seed| vm.hot_threshold(3 + (seed % 17) as u32),
        1,
    ),
    (
        "invalidating",
        |vm, seed| {
            vm.hot_threshold(2)
                .invalidation_stress(1 + (seed % 13) as u32)
        },
        2,
    ),
    (
        "hot soon, cramped",
        |vm, _| vm.hot_threshold(2).stack_stress(true).cached_shapes(1),
        2,
    ),
    (
        "hot soon, collecting always",
        |vm, seed| vm.hot_threshold(1 + (seed % 3) as u32).gc_stress(true),
        8,
    ),
    (
        "hot soon, traps in registers",
        |vm, seed| {
            vm.hot_threshold(1 + (seed % 3) as u32)
                .register_stress(true)
        },
        2,
    ),
    (
        "hot soon, little code memory",
        |vm, seed| {
            vm.hot_threshold(2)
                .code_memory((1 + seed as usize % 16) << 12)
        },
        4,
    ),
];

fn source(program: &[Node]) -> Vec<u8> {
    format!("{HELPERS}\n{}", render(program)).into_bytes()
}

/// What perilune prints; a panic is printed, too.
fn perilune(settings: VmBuilder, source: &[u8]) -> Vec<u8> {
    let run = panic::catch_unwind(AssertUnwindSafe(|| run_perilune(settings, source)));
    run.unwrap_or_else(|_| b"PANIC\n".to_vec())
}

fn compare(settings: impl Fn() -> VmBuilder, program: &[Node]) -> Option<String> {
    let source = source(program);
    difference(&run_reference(&source), &perilune(settings(), &source))
}

fn number_from(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().expect("a number of or for seeds"))
}

fn try_programs(make: impl Fn(u64) -> Vec<Node>, modes: &[Mode]) {
    let first = number_from("PERILUNE_SEED");
    let count =
        number_from("PERILUNE_SEEDS").unwrap_or(if first.is_some() { 1 } else { DEFAULT_SEEDS });
    let first = first.unwrap_or(0);
    let mut failures = 0;
    let mut compared = 0;
    for seed in first..first + count {
        if failures == MAX_FAILURES {
            break;
        }
        let program = make(seed);
        let text = source(&program);
        if env::var_os("PERILUNE_SHOW").is_some() {
            println!("{}", String::from_utf8_lossy(&text));
        }
        let expected = run_reference(&text);
        assert!(
            !expected.starts_with(b"SYNTAX"),
            "seed {seed} makes no program: {}",
            String::from_utf8_lossy(&expected)
        );
        // How deep failing message handlers nest is the implementation's choice, and so is what they have done.
        if memchr::memmem::find(&expected, b"error in error handling").is_some()
            || memchr::memmem::find(&expected, b"out of call fuel").is_some()
        {
            continue;
        }
        compared += 1;
        let modes = modes.iter().filter(|(_, _, every)| seed % every == 0);
        for ((name, configure, _), engine) in
            modes.flat_map(|mode| engines().map(move |engine| (mode, engine)))
        {
            let settings = || configure(Vm::builder().engine(engine), seed);
            if let Some(first) = difference(&expected, &perilune(settings(), &text)) {
                let smaller = minimise(program, |program| compare(settings, program).is_some());
                // An error that comes and goes leaves the program as it was, and only its first report.
                let report = compare(settings, &smaller).unwrap_or(first);
                eprintln!(
                    "seed {seed}, {name}, engine {engine:?}:\n{}\n{report}",
                    render(&smaller)
                );
                failures += 1;
                break;
            }
        }
    }
    assert!(failures == 0, "{failures} programs failed");
    assert!(
        compared * 2 >= count,
        "only {compared} of {count} programs say something"
    );
}

#[test]
fn random_programs_behave_like_the_reference() {
    try_programs(|seed| Generator::new(Rng::new(seed)).program(), &MODES);
}

#[test]
fn random_programs_with_hot_loops_behave_like_the_reference() {
    try_programs(|seed| Hot::new(Rng::new(seed)).program(), &HOT_MODES);
}

#[test]
fn random_programs_with_tight_loops_behave_like_the_reference() {
    try_programs(|seed| Hot::new(Rng::new(seed)).tight(), &HOT_MODES);
}
