//! When the collector runs and how much it does: the parameters of `collectgarbage`, and the limit.
//!
//! A cycle begins when the memory in use use has reached `pause` percent of what the last one left, and advances with
//! the allocation: for each byte allocated it looks at [`RATE`] * `stepmul` / 100 bytes. Near the limit a full
//! collection comes first, and again only when half of what it left free has been used, so that a nearly full
//! heap does not collect all the time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Heap, OutOfMemory};

/// The bit of the polled word that asks the VM to stop.
pub const CANCEL: u32 = 1;
/// The bit that asks for the collector.
pub const COLLECT: u32 = 4;

/// Fails if the polled word asks the VM to stop.
#[inline]
pub(super) fn poll(word: Option<&AtomicU32>) -> Result<(), OutOfMemory> {
    match word {
        Some(word) if word.load(Ordering::Relaxed) & CANCEL != 0 => Err(OutOfMemory),
        _ => Ok(()),
    }
}

/// Objects that have not been made are counted so many at a time.
pub(super) const SUNK_MANY: u32 = 1 << 14;
/// What those count as: a small part of the bytes that they would have taken, since there is nothing to be freed.
const SUNK_BYTES: usize = 32 << 10;

/// How the collector works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Incremental,
    Generational,
}

/// Bytes looked at per byte allocated, at a `stepmul` of 100.
const RATE: usize = 4;
/// A cycle does not begin before this many bytes have been allocated since the last one.
const CYCLE_MIN: usize = 512 << 10;

/// The parameters, as `collectgarbage` takes them.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// Percent of the memory in use after a cycle at which the next one begins.
    pub pause: usize,
    /// Speed of the collector relative to that of allocation, in percent of the usual one.
    pub step_multiplier: usize,
    /// Binary logarithm of the bytes allocated between two steps.
    pub step_size: u32,
    /// Percent that the heap may grow before a minor collection.
    pub minor_multiplier: usize,
    /// Percent that the heap may grow after a major collection before the next one.
    pub major_multiplier: usize,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            pause: 200,
            step_multiplier: 100,
            step_size: 13,
            minor_multiplier: 20,
            major_multiplier: 100,
        }
    }
}

/// What the collector has done since the VM was made.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stats {
    /// Cycles completed, minor ones included.
    pub cycles: u64,
    /// Minor cycles of the generational mode.
    pub minor_cycles: u64,
    /// Cycles given up because the lists of the collector could not grow.
    pub failed_cycles: u64,
    /// Bytes looked at in the longest step, full collections not counted.
    pub longest_step: usize,
}

/// The state of pacing.
#[derive(Default)]
pub(super) struct Pacing {
    pub parameters: Parameters,
    /// The script or host has stopped the collector.
    stopped: bool,
    /// Bytes charged at which the next step is due.
    due: usize,
    /// Bytes charged at which the limit calls for a full collection.
    pressure: usize,
    /// Bytes charged after the last step, or at which the first step of a cycle is due.
    last: usize,
    /// Bytes in use after the last major collection.
    pub major_base: usize,
    pub stats: Stats,
}

impl Heap {
    /// Sets the limit on [`Heap::used`], in bytes. What is in use already stays.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
        self.pacing.pressure = bytes - bytes / 8;
        self.update_trigger();
    }

    /// Changes the parameters; they take effect from the next step or cycle on.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.pacing.parameters
    }

    pub fn stats(&self) -> Stats {
        self.pacing.stats
    }

    /// Bytes ever allocated.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Stops the collector, except for collections asked for and those that the limit calls for.
    pub fn stop(&mut self) {
        self.pacing.stopped = true;
        self.update_trigger();
    }

    pub fn restart(&mut self) {
        self.pacing.stopped = false;
        self.pacing.due = self.charged;
        self.update_trigger();
    }

    pub fn is_running(&self) -> bool {
        !self.pacing.stopped
    }

    /// Asks for a full collection at every safepoint: finds objects that roots and barriers miss.
    pub fn set_stress(&mut self, on: bool) {
        self.stress = on;
        self.update_trigger();
    }

    /// Whether the limit calls for a full collection.
    pub(super) fn under_pressure(&self) -> bool {
        self.refused || self.charged >= self.pacing.pressure
    }

    /// The bytes that a step has to look at.
    pub(super) fn step_budget(&self) -> isize {
        let p = &self.pacing.parameters;
        let debt = self
            .charged
            .saturating_sub(self.pacing.last)
            .max(p.step_bytes());
        debt.saturating_mul(RATE)
            .saturating_mul(p.step_multiplier.max(1))
            .min(isize::MAX as usize) as isize
            / 100
    }

    /// Schedules the next step within a cycle.
    pub(super) fn schedule_step(&mut self) {
        self.pacing.last = self.charged;
        self.pacing.due = self
            .charged
            .saturating_add(self.pacing.parameters.step_bytes());
        self.update_trigger();
    }

    /// Schedules the next cycle when the heap has grown to `percent` of what is in use.
    pub(super) fn schedule_cycle(&mut self, percent: usize) {
        let used = self.used();
        let grown = (used / 100)
            .saturating_mul(percent)
            .max(used.saturating_add(CYCLE_MIN));
        // Between steps, rests of spans are charged as well.
        self.pacing.due = grown.saturating_add(self.charged - used);
        self.pacing.last = self.pacing.due;
        let relieved = used.saturating_add(self.limit.saturating_sub(used) / 2);
        self.pacing.pressure = relieved.max(self.limit - self.limit / 8);
        self.refused = false;
        self.update_trigger();
    }

    fn update_trigger(&mut self) {
        let due = if self.pacing.stopped {
            usize::MAX
        } else {
            self.pacing.due
        };
        self.trigger = due.min(self.pacing.pressure);
        self.requested = self.stress || self.refused || self.charged >= self.trigger;
        if let Some(word) = self.interrupt_word() {
            if self.requested && !self.stress {
                word.fetch_or(COLLECT, Ordering::Relaxed);
            } else {
                word.fetch_and(!COLLECT, Ordering::Relaxed);
            }
        }
    }

    /// Compiled code has not made objects that its program makes. Programs may wait for the collector by making objects
    /// (`repeat local t = {} until finalized`), so it comes all the same, only later.
    pub fn sunk(&mut self, objects: u32) {
        match self.sunk_left.checked_sub(objects) {
            Some(left) => self.sunk_left = left,
            None => self.many_sunk(),
        }
    }

    /// The number of such objects has reached [`SUNK_MANY`].
    #[cold]
    pub fn many_sunk(&mut self) {
        self.sunk_left = SUNK_MANY;
        self.pacing.due = self.pacing.due.saturating_sub(SUNK_BYTES);
        self.pacing.last = self.pacing.last.saturating_sub(SUNK_BYTES);
        self.update_trigger();
    }

    /// Asks the interpreter to call the collector.
    pub(super) fn request(&mut self) {
        self.requested = true;
        if let Some(word) = self.interrupt_word()
            && !self.stress
        {
            word.fetch_or(COLLECT, Ordering::Relaxed);
        }
    }

    fn interrupt_word(&self) -> Option<&AtomicU32> {
        // SAFETY: null, or the word that outlives the heap by the contract of `set_interrupt_word`.
        unsafe { self.interrupt.as_ref() }
    }

    /// Fails if the VM is to be stopped: long work in the heap's memory then ends as if there were no more. An error
    /// that says so becomes the request's when it is raised.
    #[inline]
    pub fn poll(&self) -> Result<(), OutOfMemory> {
        poll(self.interrupt_word())
    }

    /// Has the collector's requests also set [`COLLECT`] in a word that is polled; in stress mode they do not.
    ///
    /// # Safety
    /// The word must stay where it is as long as the heap exists.
    pub unsafe fn set_interrupt_word(&mut self, word: *const AtomicU32) {
        self.interrupt = word;
    }
}

impl Parameters {
    fn step_bytes(&self) -> usize {
        1usize.checked_shl(self.step_size).unwrap_or(usize::MAX)
    }
}
