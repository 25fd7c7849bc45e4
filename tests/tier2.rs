//! Programs of `tests/tier2` that have once gone wrong, or nearly: every engine prints what the reference prints,
//! whenever loops become hot and whatever is invalidated.

mod common;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use common::{Rng, difference, engines, run_perilune, run_reference};
use perilune::{Error, Vm};

/// Passes after which places are hot.
const THRESHOLDS: [u32; 4] = [1, 2, 5, 64];

fn programs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tier2");
    let entries = fs::read_dir(directory).expect("the directory exists");
    let mut programs: Vec<_> = entries
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    programs.sort();
    assert!(!programs.is_empty());
    programs
}

#[test]
fn engines_agree_with_the_reference() {
    let mut failures = 0;
    for path in programs() {
        let source = fs::read(&path).expect("it can be read");
        let expected = run_reference(&source);
        let path = path.display();
        assert!(
            !expected.starts_with(b"SYNTAX") && !expected.is_empty(),
            "{path} prints nothing"
        );
        for engine in engines() {
            for hot in THRESHOLDS {
                let settings = || Vm::builder().engine(engine).hot_threshold(hot);
                let stressed = settings().invalidation_stress(hot + 1).stack_stress(true);
                let modes = [
                    ("", settings()),
                    ("stressed", stressed),
                    ("with little code memory", settings().code_memory(16 << 10)),
                    ("with traps in registers", settings().register_stress(true)),
                ];
                for (name, settings) in modes {
                    if let Some(report) = difference(&expected, &run_perilune(settings, &source)) {
                        eprintln!("{path}, {engine:?}, hot after {hot} {name}\n{report}");
                        failures += 1;
                    }
                }
            }
        }
    }
    assert_eq!(failures, 0, "runs that differ");
}

/// Whether a VM does what it should after something else has been ended by force.
fn is_sane(vm: &Vm) -> bool {
    let check = "debug.sethook() debug.setmetatable(0, nil) setmetatable(_G, nil) collectgarbage() \
        local t, s = {}, 0 for i = 1, 200 do t[i % 7] = (t[i % 7] or 0) + i s = s + #tostring(i) end \
        return s + t[3] + collectgarbage('count') * 0 // 1";
    vm.load(check)
        .eval::<f64>()
        .expect("nothing is wrong with it")
        == 492.0 + 2929.0
}

#[test]
fn cancelling_at_any_time_leaves_the_vm_usable() {
    let mut rng = Rng::new(1);
    let mut cancelled = 0;
    for path in programs() {
        let source = fs::read(&path).expect("it can be read");
        for engine in engines() {
            for _ in 0..6 {
                let settings = Vm::builder()
                    .engine(engine)
                    .hot_threshold(1)
                    .output(Box::new(io::sink()));
                let vm = settings.build().expect("there is memory");
                let delay = Duration::from_micros(rng.below(8_000) as u64);
                let cancel = vm.cancel_handle();
                let result = thread::scope(|scope| {
                    scope.spawn(|| {
                        thread::sleep(delay);
                        cancel.cancel();
                    });
                    vm.load(&source).exec()
                });
                match result {
                    Err(Error::Cancelled) => cancelled += 1,
                    Ok(()) => vm.cancel_handle().withdraw(),
                    Err(error) => panic!("{}: {error}", path.display()),
                }
                vm.cancel_handle().withdraw();
                assert!(
                    is_sane(&vm),
                    "{}, {engine:?}, cancelled after {delay:?}",
                    path.display()
                );
            }
        }
    }
    assert!(cancelled > 0);
}

#[test]
fn running_out_of_memory_anywhere_leaves_the_vm_usable() {
    for path in programs() {
        let source = fs::read(&path).expect("it can be read");
        for engine in engines() {
            let settings = Vm::builder()
                .engine(engine)
                .hot_threshold(1)
                .output(Box::new(io::sink()));
            let vm = settings.build().expect("there is memory");
            let used = vm.used_memory().expect("nothing runs");
            for spare in (0..24).map(|k| (1_500 + k % 2 * 700) << (k / 2)) {
                vm.set_memory_limit(used + spare).expect("nothing runs");
                vm.fail_allocation_at(Some(spare as u64 / 7))
                    .expect("nothing runs");
                // Whether it ends with an error, and with which, is up to the program.
                let outcome = vm.load(&source).exec();
                assert!(!matches!(outcome, Err(Error::Cancelled)));
                vm.fail_allocation_at(None).expect("nothing runs");
                vm.set_memory_limit(usize::MAX).expect("nothing runs");
                assert!(
                    is_sane(&vm),
                    "{}, {engine:?}, with {spare} bytes",
                    path.display()
                );
            }
        }
    }
}
