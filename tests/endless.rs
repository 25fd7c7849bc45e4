//! Programs that never end can be stopped from another thread, wherever they are, and the VM goes on afterwards.
//!
//! Nothing here depends on how long that takes: a program that cannot be stopped fails the test after [`PATIENCE`].
//! `PERILUNE_LATENCY=1` prints how long each took to stop.

mod common;
mod hostile;

use std::env;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::{compilers, engines};
use hostile::{ENDLESS, LONG};
use perilune::{CancelHandle, Error, Vm, VmBuilder};

/// Longer than anything takes, even on a busy machine and with checks compiled in.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a program may do before it is stopped.
const HEAD_START: Duration = Duration::from_millis(15);

/// So that those that also take memory do not take the machine's.
const LIMIT: usize = 64 << 20;

/// The size of what long operations work on.
const SIZE: usize = 1 << 20;

/// Asks for the end again and again, since what closes variables on the way may be endless, too.
fn cancel_until_done(cancel: CancelHandle, f: impl FnOnce()) {
    thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            while wait.recv_timeout(HEAD_START) == Err(RecvTimeoutError::Timeout) {
                cancel.cancel();
            }
        });
        f();
        drop(done);
    });
}

fn assert_usable(vm: &Vm) {
    let sum = "local t = {} for i = 1, 100 do t[i] = {i} end local n = 0 for _, v in ipairs(t) do n = n + v[1] end \
               local co = coroutine.wrap(function() coroutine.yield(n) end) return co()";
    // A request that came too late for the program may end this one instead.
    vm.cancel_handle().withdraw();
    assert_eq!(vm.load(sum).eval::<i64>().expect("a usable VM"), 5050);
    vm.collect_garbage().expect("nothing fails");
}

fn stop(settings: VmBuilder, setup: &str, program: &str) {
    let vm = settings
        .memory_limit(LIMIT)
        .warnings(|_, _| {})
        .build()
        .expect("the libraries fit");
    vm.globals().set("N", SIZE).expect("there is room");
    vm.load(setup)
        .exec()
        .unwrap_or_else(|e| panic!("{e}: {setup}"));
    let started = Instant::now();
    cancel_until_done(vm.cancel_handle(), || {
        match vm.load(program).name("=endless").exec() {
            // Some take memory first.
            Err(Error::Cancelled | Error::Memory) => {}
            other => panic!("{other:?}"),
        }
    });
    if env::var_os("PERILUNE_LATENCY").is_some() {
        println!("{:6} ms {program}", started.elapsed().as_millis());
    }
    // Finalizers that never end are stopped here, too.
    cancel_until_done(
        vm.cancel_handle(),
        || {
            while vm.collect_garbage().is_err() {}
        },
    );
    assert_usable(&vm);
    cancel_until_done(vm.cancel_handle(), || drop(vm));
}

fn stop_all(
    settings: impl Fn() -> VmBuilder,
    programs: impl Iterator<Item = (&'static str, String)>,
) {
    let mut failures = Vec::new();
    for (setup, program) in programs {
        let (done, wait) = channel();
        let settings = settings();
        let name = program.clone();
        let runner = thread::spawn(move || {
            stop(settings, setup, &program);
            // The receiver is there unless the test has failed already.
            done.send(()).expect("somebody waits");
        });
        match wait.recv_timeout(PATIENCE) {
            Ok(()) => runner.join().expect("it has reported its end"),
            Err(RecvTimeoutError::Timeout) => {
                failures.push(format!("does not stop: {name}"));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => failures.push(format!("fails: {name}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn endless() -> impl Iterator<Item = (&'static str, String)> {
    ENDLESS.iter().map(|&program| ("", program.to_owned()))
}

#[test]
fn endless_programs_can_be_stopped() {
    stop_all(Vm::builder, endless());
}

/// Whatever is half done when they are stopped.
#[test]
fn long_operations_can_be_stopped() {
    for engine in engines() {
        let repeated = |&(setup, operation)| (setup, format!("while true do {operation} end"));
        stop_all(|| Vm::builder().engine(engine), LONG.iter().map(repeated));
    }
}

#[test]
fn endless_programs_can_be_stopped_when_hot() {
    for engine in compilers() {
        stop_all(|| Vm::builder().engine(engine).hot_threshold(2), endless());
    }
}

#[test]
fn endless_programs_can_be_stopped_when_cramped() {
    let cramped = || {
        Vm::builder()
            .stack_stress(true)
            .cached_shapes(1)
            .hot_threshold(1)
    };
    stop_all(cramped, endless());
}

/// A request to stop ends all of the finalizers that run when a VM is dropped, not one of them.
#[test]
fn endless_finalizers_do_not_keep_a_vm() {
    let vm = Vm::new();
    vm.load(
        "local m = {__gc = function() while true do end end} \
         for i = 1, 100000 do keep = setmetatable({keep}, m) end",
    )
    .exec()
    .expect("nothing is finalized yet");
    let (done, wait) = channel();
    thread::spawn(move || {
        cancel_until_done(vm.cancel_handle(), || drop(vm));
        done.send(()).expect("somebody waits");
    });
    assert_eq!(wait.recv_timeout(PATIENCE), Ok(()), "the VM stays");
}
