//! How long a VM that is asked to stop takes to do so.
//!
//! `cargo bench --bench latency [-- FILTERS]` runs each hostile program in each engine several times, asks for its end from
//! another thread at some moment, and prints what the VM's thread has computed from then on until control is back, in
//! milliseconds: its processor time, which does not depend on what else the machine does. The longest of all runs counts.

#[path = "../tests/hostile/mod.rs"]
mod hostile;

use std::env;
use std::thread;
use std::time::Duration;

use hostile::{ENDLESS, LONG};
use perilune::{CancelHandle, Engine, Error, Vm};

/// Runs per program and engine.
const RUNS: u32 = 5;

/// Memory for each program; some need most of it to be slow.
const LIMIT: usize = 2 << 30;

/// The size of what single operations work on.
const SIZE: usize = 32 << 20;

/// The processor time of a thread.
#[derive(Clone, Copy)]
struct Clock(libc::clockid_t);

impl Clock {
    fn of_this_thread() -> Clock {
        let mut clock = 0;
        // SAFETY: the thread exists and the clock is written to.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        assert_eq!(failed, 0, "no clock");
        Clock(clock)
    }

    fn now(self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the time is written to; a clock of a thread that has ended is an error.
        let failed = unsafe { libc::clock_gettime(self.0, &mut time) };
        assert_eq!(failed, 0, "the thread has ended");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// What the run computes after it has been asked to end, `delay` after its beginning.
fn latency(
    cancel: CancelHandle,
    delay: Duration,
    run: impl FnOnce() -> Result<(), Error>,
) -> Duration {
    let clock = Clock::of_this_thread();
    thread::scope(|scope| {
        let asker = scope.spawn(move || {
            thread::sleep(delay);
            let now = clock.now();
            cancel.cancel();
            now
        });
        match run() {
            Err(Error::Cancelled) => {}
            // Some take memory first.
            Err(Error::Memory) => return Duration::ZERO,
            other => panic!("not stopped: {other:?}"),
        }
        let end = clock.now();
        end - asker.join().expect("it only waits")
    })
}

fn measure(engine: Engine, setup: &str, program: &str) -> Duration {
    let mut longest = Duration::ZERO;
    let vm = Vm::builder()
        .engine(engine)
        .memory_limit(LIMIT)
        .warnings(|_, _| {})
        .build()
        .expect("there is memory");
    vm.globals().set("N", SIZE).expect("there is memory");
    vm.load(setup)
        .exec()
        .unwrap_or_else(|e| panic!("{e} in {setup}"));
    for run in 0..RUNS {
        let delay = Duration::from_micros(15_000 + 7_919 * run as u64);
        let took = latency(vm.cancel_handle(), delay, || {
            vm.load(program).name("=hostile").exec()
        });
        longest = longest.max(took);
        vm.cancel_handle().withdraw();
    }
    assert_eq!(
        vm.load("return 6 * 7").eval::<i64>().expect("a usable VM"),
        42
    );
    longest
}

fn main() {
    let filters: Vec<String> = env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let engines = [Engine::Off, Engine::Uops, Engine::Jit].map(|e| e.is_built_in().then_some(e));
    println!("{:>8} {:>8} {:>8}  ms", "off", "uops", "jit");
    let long = LONG
        .iter()
        .map(|&(setup, op)| (setup, format!("while true do {op} end"), op));
    let endless = ENDLESS
        .iter()
        .map(|&program| ("", program.to_owned(), program));
    for (setup, program, name) in long.chain(endless) {
        let described = format!("{name}  {setup}");
        if !filters.is_empty() && !filters.iter().any(|f| described.contains(f.as_str())) {
            continue;
        }
        for engine in engines {
            match engine {
                Some(engine) => {
                    let took = measure(engine, setup, &program).as_secs_f64() * 1e3;
                    print!("{:>7.1}{} ", took, if took > 10.0 { '!' } else { ' ' });
                }
                None => print!("{:>8} ", "-"),
            }
        }
        println!(" {described}");
    }
}
