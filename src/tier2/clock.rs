//! The time that making executors takes.

use std::time::Duration;

/// Processor time of this thread, which others that run meanwhile do not count in.
#[cfg(unix)]
fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and the time is written to a place that is there for it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nothing is measured here.
#[cfg(not(unix))]
fn now() -> Duration {
    Duration::ZERO
}

/// Processor time since something began.
pub struct Stopwatch(Duration);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(now())
    }

    /// The time since it was started, or since it was last asked.
    pub fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.0, now());
        self.0.saturating_sub(before)
    }
}

/// Processor time that making executors has taken, by what was being done. Zero where it is not known.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CompileTime {
    /// From recordings to superblocks.
    pub projection: Duration,
    /// From superblocks to better ones.
    pub optimization: Duration,
    /// From superblocks to code.
    pub lowering: Duration,
    /// Putting executors into their places.
    pub installation: Duration,
}

impl CompileTime {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.projection + self.optimization + self.lowering + self.installation
    }
}
