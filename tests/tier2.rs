//! Programs of `tests/tier2` that have once gone wrong, or nearly: every engine prints what the reference prints,
//! whenever loops become hot and whatever is invalidated.

mod common;

use std::fs;
use std::path::Path;

use common::{difference, run_perilune, run_reference};
use perilune::{Engine, Vm};

/// Passes after which places are hot.
const THRESHOLDS: [u32; 3] = [1, 2, 5];

#[test]
fn engines_agree_with_the_reference() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tier2");
    let mut programs: Vec<_> = fs::read_dir(directory)
        .expect("the directory exists")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    programs.sort();
    assert!(!programs.is_empty());
    let engines: Vec<Engine> = [Engine::Off, Engine::Uops, Engine::Jit].into_iter().filter(|e| e.is_built_in()).collect();
    let mut failures = 0;
    for path in programs {
        let source = fs::read(&path).expect("it can be read");
        let expected = run_reference(&source);
        assert!(!expected.starts_with(b"SYNTAX") && !expected.is_empty(), "{} prints nothing", path.display());
        for &engine in &engines {
            for hot in THRESHOLDS {
                let settings = || Vm::builder().engine(engine).hot_threshold(hot);
                let stressed = settings().invalidation_stress(hot + 1).stack_stress(true);
                for (name, settings) in [("", settings()), ("stressed", stressed)] {
                    if let Some(report) = difference(&expected, &run_perilune(settings, &source)) {
                        eprintln!("{}, {engine:?}, hot after {hot} {name}\n{report}", path.display());
                        failures += 1;
                    }
                }
            }
        }
    }
    assert_eq!(failures, 0, "runs that differ");
}
