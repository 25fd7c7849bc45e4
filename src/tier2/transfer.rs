//! Calls and returns between executors: what goes on when one of them has pushed, replaced or popped a frame.
//!
//! A function's entry and the place behind a call count their heat like loops. What returns to a call finds the place
//! through the return site in its record.

use std::mem;
use std::ptr;
use std::sync::atomic::Ordering;

use super::executor::Executor;
use crate::bytecode::cache::LoopSite;
use crate::runtime::coroutine::record_flags;
use crate::runtime::value::Value;
use crate::tier1::State;

impl State {
    /// An executor has pushed, replaced or popped a frame, and tier 1 would go on: the executor to go on in instead, at
    /// the current record's program counter.
    pub(crate) fn next_executor(&mut self) -> Option<*const Executor> {
        let returned = mem::replace(&mut self.tier2.returning, ptr::null());
        let frame = *self.frame();
        if frame.flags & record_flags::NATIVE != 0
            || self.hook_events != 0
            || self.recording.active
            || self.recording.complete
            // Polls are made by tier 1.
            || self.interrupt.load(Ordering::Relaxed) != 0
        {
            return None;
        }
        // SAFETY: a bytecode function lies below its base.
        let proto = unsafe { Value::load(self.slot(frame.base - 1)) }.as_closure()?.proto;
        let site: *const LoopSite = if ptr::eq(frame.pc, proto.code) {
            &proto.entry
        } else if !returned.is_null() {
            debug_assert!(proto.info.calls.iter().any(|site| ptr::eq(&site.returns, returned)));
            returned
        } else {
            return None;
        };
        // SAFETY: a place in a prototype that runs.
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
}
