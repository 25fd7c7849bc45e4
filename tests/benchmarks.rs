//! The benchmark programs, small, run with everything hot at once and under circumstances that shake things: they print
//! what they print without executors.
//!
//! Each program is run under some of the circumstances. `PERILUNE_SHAKEN=name` runs the programs whose names contain that
//! under all of them, `PERILUNE_SECONDS=n` lets each run take `n` seconds.

mod common;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use common::{Output, difference};
use perilune::{Engine, Error, Vm, VmBuilder};

/// What a run may take. A run that takes longer is stopped, and what it has printed until then is compared.
const SECONDS: u64 = 2;

/// A name, and how to set up a VM.
type Mode = (&'static str, fn(VmBuilder) -> VmBuilder);

const MODES: [Mode; 8] = [
    ("hot at once", |vm| vm.hot_threshold(1)),
    ("hot soon, invalidating", |vm| {
        vm.hot_threshold(2).invalidation_stress(7)
    }),
    ("hot at once, cramped", |vm| {
        vm.hot_threshold(1).stack_stress(true).cached_shapes(1)
    }),
    ("hot at once, few executors", |vm| {
        vm.hot_threshold(1).executor_limit(12)
    }),
    ("hot soon, little memory for executors", |vm| {
        vm.hot_threshold(2).executor_memory(100_000)
    }),
    ("hot at once, collecting always", |vm| {
        vm.hot_threshold(1).gc_stress(true)
    }),
    ("hot at once, little code memory", |vm| {
        vm.hot_threshold(1).code_memory(64 << 10)
    }),
    ("hot at once, traps in registers", |vm| {
        vm.hot_threshold(1).register_stress(true)
    }),
];

/// Sizes of programs that do not take a hundredth of the time with a hundredth of the size.
const SIZES: [(&str, i64); 12] = [
    ("binary_trees", 4),
    ("fannkuch", 5),
    ("fib", 12),
    ("lua_interp", 1),
    ("permute", 1),
    ("queens", 5),
    ("queens_bits", 5),
    ("sudoku", 1),
    ("tak", 2),
    ("towers", 6),
    ("nbody", 500),
    ("sieve", 5000),
];

struct Program {
    path: PathBuf,
    source: Vec<u8>,
    size: i64,
}

fn programs() -> Vec<Program> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wanted = env::var("PERILUNE_SHAKEN").unwrap_or_default();
    let mut paths: Vec<PathBuf> = ["benches/programs", "benches/programs54"]
        .iter()
        .flat_map(|directory| {
            fs::read_dir(root.join(directory)).expect("a directory of the repository")
        })
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    paths.sort();
    let programs = paths.into_iter().map(|path| {
        let source = fs::read(&path).expect("a readable file");
        let name = path.file_stem().expect("a file").to_string_lossy();
        let size = SIZES
            .iter()
            .find(|size| size.0 == name)
            .map_or_else(|| usual_size(&source) / 100, |size| size.1);
        Program {
            source,
            size: size.max(2),
            path,
        }
    });
    programs.collect()
}

/// The size that a program has if it is not told another one.
fn usual_size(source: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(source);
    let (_, rest) = text.split_once("(...) or ").expect("programs take a size");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// What a program prints, and whether that is all.
fn run(settings: VmBuilder, program: &Program, seconds: u64) -> (Vec<u8>, bool) {
    let output = Output::default();
    let vm = settings
        .output(Box::new(output.clone()))
        .build()
        .expect("there is memory");
    let cancel = vm.cancel_handle();
    let result = thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            if wait.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
                cancel.cancel();
            }
        });
        let result = vm.load(&program.source).name("=p").call::<()>(program.size);
        drop(done);
        result
    });
    let mut printed = output.take();
    match result {
        Ok(()) => (printed, true),
        Err(Error::Cancelled) => (printed, false),
        Err(error) => {
            printed.extend_from_slice(format!("ENGINE {error}\n").as_bytes());
            (printed, true)
        }
    }
}

#[test]
fn benchmarks_print_the_same_whatever_happens_to_their_executors() {
    let seconds = env::var("PERILUNE_SECONDS").map_or(SECONDS, |n| n.parse().expect("a number"));
    let share = if env::var_os("PERILUNE_SHAKEN").is_some() {
        1
    } else {
        3
    };
    let mut failures = 0;
    for (number, program) in programs().into_iter().enumerate() {
        let path = program.path.display();
        let off = Vm::builder().engine(Engine::Off);
        let (expected, all) = run(off, &program, 60);
        assert!(all, "{path} is too large");
        assert!(
            !expected.windows(7).any(|w| w == b"ENGINE "),
            "{path}: {}",
            String::from_utf8_lossy(&expected)
        );
        for engine in [Engine::Jit, Engine::Uops] {
            if !engine.is_built_in() {
                continue;
            }
            let chosen = MODES
                .iter()
                .enumerate()
                .filter(|m| (m.0 + number) % share == 0);
            for (_, (name, configure)) in chosen {
                let settings = configure(Vm::builder().engine(engine));
                let (printed, all) = run(settings, &program, seconds);
                let until = if all { expected.len() } else { printed.len() };
                let expected = &expected[..until.min(expected.len())];
                if let Some(report) = difference(expected, &printed) {
                    eprintln!("{path} {}, {name}, {engine:?}\n{report}", program.size);
                    failures += 1;
                }
                if env::var_os("PERILUNE_SHOW").is_some() && !all {
                    println!("{path} {}, {name}, {engine:?} takes too long", program.size);
                }
            }
        }
    }
    assert_eq!(failures, 0, "runs that differ");
}
