//! Calls and returns between executors: what goes on when one of them has pushed, replaced or popped a frame.
//!
//! A function's entry and the place behind a call count their heat like loops. What returns to a call finds the place
//! through the return site in its record, or by the call instruction, which is the one before.

use std::mem;
use std::ptr;
use std::sync::atomic::Ordering;

use super::executor::Executor;
use crate::bytecode::cache::LoopSite;
use crate::runtime::coroutine::record_flags;
use crate::runtime::value::Value;
use crate::tier1::State;
use perilune_uops::Wide;

impl State {
    /// An executor has pushed, replaced or popped a frame, or switched coroutines, and tier 1 would go on: the executor to go on in
    /// instead, at the current record's program counter.
    pub(crate) fn next_executor(&mut self) -> Option<*const Executor> {
        let nowhere = mem::replace(&mut self.tier2.nowhere, ptr::null());
        if !self.may_go_on() {
            return None;
        }
        // SAFETY: a place in a prototype that runs.
        let site = unsafe { nowhere.as_ref().or_else(|| self.place())? as *const LoopSite };
        // SAFETY: as above.
        let site = unsafe { &*site };
        if site.executor.get().is_null() {
            let left = site.countdown.get().wrapping_sub(1);
            site.countdown.set(left);
            if left == 0 {
                self.hot(site, false);
            }
            return None;
        }
        self.settle_assumptions();
        let executor = site.executor.get() as *const Executor;
        (!executor.is_null()).then_some(executor)
    }

    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    /// The machine code that goes on where control is, in memory; null if there is none.
    #[inline]
    pub(crate) fn code_to_go_on(&self) -> *const u8 {
        let place = if self.may_go_on() { self.place() } else { None };
        place.map_or(ptr::null(), |site| site.code.get())
    }

    /// Whether executors may be entered where control is.
    fn may_go_on(&self) -> bool {
        let native = self.frame().flags & record_flags::NATIVE != 0;
        let recording = self.recording.active || self.recording.complete;
        // Polls are made by tier 1.
        !native && !recording && self.hook_events == 0 && self.interrupt.load(Ordering::Relaxed) == 0
    }

    /// The place at which control is, if it is one: a function's entry, or behind a call.
    fn place(&self) -> Option<&LoopSite> {
        let frame = self.frame();
        // SAFETY: a bytecode function lies below its base; its prototype lives as long as it runs.
        let proto = unsafe { &*Value::load(self.slot(frame.base - 1)).as_closure()?.proto.as_ptr() };
        if ptr::eq(frame.pc, proto.code) {
            return Some(&proto.entry);
        }
        // SAFETY: the program counter is behind the beginning of the code.
        let before = unsafe { *frame.pc.sub(1) };
        // A frame that closes its variables executes its instruction again, whatever comes before that.
        if before.op().format().d != Wide::Call || frame.flags & record_flags::CLOSING != 0 {
            return None;
        }
        // SAFETY: verified operands of calls name call sites.
        Some(unsafe { &(*proto.calls.add(before.d() as usize)).returns })
    }
}
