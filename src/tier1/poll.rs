//! Polls: what the interpreter does at back-edges, function entries and safepoints besides executing.
//!
//! One word ([`State::interrupt`]) says whether anything is to be done. Heat is counted here too: when a loop or
//! function becomes hot, its next pass is [recorded](super::recording). Attempts that lead nowhere back off
//! exponentially.

use std::sync::atomic::Ordering;

use super::call::Outcome;
use super::recording::Origin;
use super::state::{Raised, State, interrupt};
use crate::bytecode::cache::LoopSite;
use crate::bytecode::proto::Proto;
use crate::runtime::object::Gc;
use crate::runtime::value::Value;
use crate::tier2::executor::Executor;

impl State {
    /// A place has used up its countdown. Whether the dispatch loop, which is the recording one or not, shall be left: to
    /// enter an executor, or to record.
    #[cold]
    #[inline(never)]
    pub(crate) fn hot(&mut self, site: &LoopSite, recording: bool) -> bool {
        let executor = site.executor.get() as *const Executor;
        if !executor.is_null() {
            site.countdown.set(1);
            if self.interrupt.load(Ordering::Relaxed) != 0 {
                // What is due is done first. A function's executor that calls itself would leave at once, and be entered again.
                return false;
            }
            // A recording that a native call has begun goes on in the dispatch loop around the call, which does not record
            // yet. What is recorded is not entered.
            if !recording && !self.recording.active {
                self.tier2.entering = executor;
            }
            return !recording;
        }
        let attempts = site.attempts.get();
        let passes = (self.hot_threshold.max(1) as u64) << attempts.min(32);
        site.countdown.set(u32::try_from(passes).unwrap_or(u32::MAX));
        if attempts == 0 {
            // The place is new: all that it needed was its first countdown.
            site.attempts.set(1);
            return false;
        }
        if site.cooling.replace(false) {
            return false;
        }
        if recording || attempts > LoopSite::ATTEMPTS_MAX {
            return false;
        }
        site.attempts.set(attempts + 1);
        if attempts == 1 {
            self.counters.hot_places += 1;
        }
        self.begin_recording(Origin::Place(site), 0);
        true
    }

    /// Counts an entry of a function that is called other than by the fast path.
    #[inline]
    pub(super) fn count_entry(&mut self, proto: Gc<Proto>) {
        let left = proto.entry.countdown.get();
        if left > 1 {
            proto.entry.countdown.set(left - 1);
        }
    }

    /// Does what the interrupt word asks for.
    #[cold]
    #[inline(never)]
    pub(super) fn poll(&mut self) -> Result<Outcome, Raised> {
        self.check_cancelled()?;
        let bits = self.interrupt.fetch_and(interrupt::CANCEL | interrupt::HOOK, Ordering::Relaxed);
        if bits & interrupt::COLLECT != 0 {
            let live = self.registers_in_use();
            self.collect_at(live);
        }
        if self.rt.heap.has_finalizers() {
            self.run_finalizers()?;
        }
        if bits & interrupt::RAISE != 0 {
            return Err(self.raise_text("interrupted!"));
        }
        Ok(self.settled())
    }

    /// The registers that the current bytecode function uses where it is stopped, as its prototype says.
    fn registers_in_use(&self) -> u32 {
        let frame = self.frame();
        // SAFETY: a bytecode function lies below its base.
        let function = unsafe { Value::load(self.slot(frame.base - 1)) };
        let proto = function.as_closure().expect("polls are made by bytecode functions").proto;
        // SAFETY: the program counter points into the function's code.
        match unsafe { frame.pc.offset_from(proto.code) } {
            0 => proto.params as u32,
            pc => proto.info.live[pc as usize - 1] as u32,
        }
    }

    /// A poll after a frame has been replaced. Open results may lie above the registers in use, so neither the
    /// collector nor finalizers may run.
    pub(super) fn poll_in(&mut self, outcome: Outcome) -> Result<Outcome, Raised> {
        self.check_cancelled()?;
        Ok(outcome)
    }

    /// A poll after a host function has returned to a bytecode function, which uses its slots below
    /// `end`. Finalizers wait: they would overwrite open results.
    #[cold]
    #[inline(never)]
    pub(crate) fn poll_after_call(&mut self, end: u32) -> Result<Outcome, Raised> {
        if self.rt.heap.should_collect() {
            self.collect_at(end - self.frame().base);
        }
        self.check_cancelled()?;
        Ok(self.settled())
    }

    /// The same after a call instruction has called the host function at `func` for `wanted` results, if anything is due.
    #[inline]
    pub(crate) fn poll_after_native(&mut self, func: u32, wanted: i16) -> Result<(), Raised> {
        if *self.interrupt.get_mut() != 0 || self.rt.heap.should_collect() {
            let end = if wanted < 0 { self.index_of(self.top) } else { func + wanted as u32 };
            self.poll_after_call(end)?;
        }
        Ok(())
    }

    /// Raises an error if the host has asked the VM to stop. Long-running library functions call this.
    pub fn check_cancelled(&mut self) -> Result<(), Raised> {
        if self.interrupt.load(Ordering::Relaxed) & interrupt::CANCEL == 0 {
            return Ok(());
        }
        if self.in_leaf {
            return Err(Raised);
        }
        // The request is being carried out: what closes variables on the way runs normally, until it is cancelled, too.
        self.interrupt.fetch_and(!interrupt::CANCEL, Ordering::Relaxed);
        self.cancelling = true;
        Err(self.raise(Value::NIL))
    }
}
