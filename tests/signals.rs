//! Signals of a sampling profiler, whose handler runs on the thread's own stack, do no harm to executors.
#![cfg(target_os = "linux")]

use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use perilune::{Engine, Vm};

/// Where samples have been taken.
static PLACES: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];
static SAMPLES: AtomicUsize = AtomicUsize::new(0);

/// Uses much of the stack, and registers for floats, as handlers may.
extern "C" fn sample(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let mut room = [1.5f64; 512];
    for (i, x) in black_box(&mut room).iter_mut().enumerate() {
        *x = x.sqrt() * i as f64;
    }
    black_box(&room);
    let at = SAMPLES.fetch_add(1, Ordering::Relaxed);
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the system passes the context that it has interrupted.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        let pc = context.uc_mcontext.gregs[libc::REG_RIP as usize] as u64;
        PLACES[at % PLACES.len()].store(pc, Ordering::Relaxed);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, context);
}

/// Takes a sample each so many microseconds of processor time; 0 for none any more.
fn sample_every(microseconds: libc::suseconds_t) {
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: microseconds,
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: the handler is such a function; it touches atomic variables only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = sample as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGPROF, &action, ptr::null_mut()), 0);
        assert_eq!(
            libc::setitimer(libc::ITIMER_PROF, &timer, ptr::null_mut()),
            0
        );
    }
}

/// Loops with more values than registers, calls that are not inlined, call-outs, allocation and errors.
const PROGRAM: &str = r#"
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
local function many(n)
  local a, b, c, d, e, f, g, h = 1, 2, 3, 4, 5, 6, 7, 8
  local x, y, z, u, v, w = 0.5, 1.5, 2.5, 3.5, 4.5, 5.5
  for i = 1, n do
    a, b, c, d, e, f, g, h = b ~ i, c + a, d ~ b, e + c, f ~ d, g + e, h ~ f, a + g
    x, y, z, u, v, w = y + 0.25, z * 0.5, u - x, v * 0.75, w + y, x - z
    if i % 1000 == 0 then a, b = a % 65537, b % 65537 end
  end
  return a ~ b ~ c ~ d ~ e ~ f ~ g ~ h, x + y + z + u + v + w
end
local function objects(n)
  local list, failures = nil, 0
  for i = 1, n do
    list = {next = i % 100 > 0 and list or nil, text = "k" .. i % 7, i}
    if i % 50 == 0 and not pcall(error, list) then failures = failures + 1 end
  end
  local count = 0
  while list do count = count + #list.text; list = list.next end
  return count, failures
end
for round = 1, 3 do
  result = table.concat({fib(24), many(60000)}, " ") .. " " .. table.concat({objects(30000)}, " ")
end
"#;

fn run(engine: Engine) -> String {
    let vm = Vm::builder().engine(engine).build().unwrap();
    vm.load(PROGRAM).exec().unwrap();
    vm.globals().get("result").unwrap()
}

/// Whether an address is in machine code: executable memory without a file.
fn is_code(pc: u64, maps: &str) -> bool {
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let address = |hex| u64::from_str_radix(hex, 16).unwrap();
        rest.starts_with("r-xs") && (address(start)..address(end)).contains(&pc)
    })
}

#[test]
fn samples_are_taken_anywhere() {
    let expected = run(Engine::Off);
    // Keeps code memory where it is.
    let keeper = Vm::new();
    keeper
        .load("local s = 0 for i = 1, 10000 do s = s + i end")
        .exec()
        .unwrap();
    sample_every(100);
    for engine in [Engine::Off, Engine::Uops, Engine::Jit] {
        if engine.is_built_in() {
            for _ in 0..5 {
                assert_eq!(run(engine), expected, "{engine:?}");
            }
        }
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let inside = || {
        let places = PLACES.iter().map(|pc| pc.load(Ordering::Relaxed));
        places.filter(|pc| is_code(*pc, &maps)).count()
    };
    // How many samples there are in a run is the system's business.
    let enough = || inside() > 5 || !Engine::Jit.is_built_in();
    let mut rounds = 0;
    while !enough() && rounds < 100 {
        assert_eq!(run(Engine::Jit), expected);
        rounds += 1;
    }
    sample_every(0);
    let samples = SAMPLES.load(Ordering::Relaxed);
    assert!(samples > 20, "{samples} samples");
    assert!(
        enough(),
        "{} of {samples} samples are in machine code\n{maps}",
        inside()
    );
}
