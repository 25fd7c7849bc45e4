//! What happens when an error has been raised: message handlers, closing variables, and finding who catches.
//!
//! The records of the failed activations stay where they are until the handler has run, so a handler and a
//! traceback see the stack as it was.

use super::call::{Outcome, Return, Step};
use super::native::{Args, NativeResult};
use super::state::{NATIVE_DEPTH_MAX, Raised, State};
use super::introspect;
use crate::runtime::coroutine::{Continuation, Status, record_flags};
use crate::runtime::metatable::Event;
use crate::runtime::value::Value;

/// Who takes the error.
enum Catcher {
    /// The catching frame at this depth.
    Frame(u32),
    /// The Rust code that made the call at this depth.
    Host(u32),
    /// The resumer of this coroutine.
    Resumer,
}

impl State {
    /// Makes the running host function catch the errors of what it calls: it then returns `false` and the error, which
    /// has been passed through the message handler in the window's first slot if there is a handler. That too many such
    /// functions are nested is an error that it catches itself.
    pub fn catch_errors(&mut self, handler: bool) -> Result<(), Raised> {
        let handler = if handler { record_flags::HANDLER } else { 0 };
        self.frame_mut().flags |= record_flags::CATCHES | handler;
        self.count_catching()
    }

    /// Makes the running host function catch its own errors and those of what it calls, after any message handler: it
    /// then returns nil and the error.
    pub fn catch_errors_as_nil(&mut self) -> Result<(), Raised> {
        self.frame_mut().flags |= record_flags::CATCHES | record_flags::NIL_ON_ERROR;
        self.count_catching()
    }

    /// Unwinds to whoever catches the current error: returns what is to be done next, or nothing after popping the
    /// activation that Rust asked for.
    pub(super) fn unwind(&mut self) -> Option<Step> {
        // Catching may itself raise an error, which then takes the place of the first.
        loop {
            if let Ok(step) = self.unwind_once() {
                return step;
            }
        }
    }

    fn unwind_once(&mut self) -> Result<Option<Step>, Raised> {
        self.pending = None;
        if self.error.as_string() == Some(self.memory_message) {
            // Long work that is to be stopped ends as if memory had run out. Executors leave the error to tier 1, so the request is not
            // looked at before.
            if let Err(Raised) = self.check_cancelled() {}
        }
        if !self.error_handled {
            self.error_handled = true;
            if !self.cancelling {
                self.apply_handler();
            }
            self.raised_depth = self.depth();
        }
        match self.find_catcher() {
            Catcher::Frame(depth) => {
                self.drop_activations(depth + 1);
                self.truncate(depth);
                self.shrink_reserve();
                self.close_after_error().map(Some)
            }
            Catcher::Host(depth) => {
                self.drop_activations(depth);
                self.truncate(depth);
                let from = self.result_slot();
                self.close_for_host(from);
                self.pop_record();
                self.shrink_reserve();
                self.make_room_after(self.error);
                Ok(None)
            }
            Catcher::Resumer => self.fail_coroutine().map(Some),
        }
    }

    fn find_catcher(&self) -> Catcher {
        let mut depth = self.depth();
        loop {
            let record = self.record_at(depth);
            if record.flags & record_flags::CATCHES != 0 && !self.cancelling {
                return Catcher::Frame(depth);
            }
            match record.continuation {
                Continuation::Host => return Catcher::Host(depth),
                Continuation::Coroutine => return Catcher::Resumer,
                _ => depth -= 1,
            }
        }
    }

    /// Makes the record at `depth` the current one.
    fn truncate(&mut self, depth: u32) {
        // SAFETY: a depth found by looking at the records.
        self.record = unsafe { self.co.records.get().add(depth as usize - 1) };
    }

    /// Passes the error through the handler of the nearest `xpcall`, if it is nearer than any `pcall`; looks past
    /// activations entered from Rust, since their stack is still intact. Without any, notes the traceback, and passes the error
    /// through the handler of the Rust code that has called with one.
    fn apply_handler(&mut self) {
        let mut depth = self.depth();
        loop {
            if depth == 0 {
                self.note_traceback();
                return;
            }
            let record = *self.record_at(depth);
            if let Some(index) = record.host_handler() {
                self.note_traceback();
                // SAFETY: below the function that has been called with it.
                let handler = unsafe { Value::load(self.slot(index)) };
                self.run_handler(handler);
                return;
            }
            if record.flags & record_flags::CATCHES != 0 && record.flags & record_flags::NIL_ON_ERROR == 0 {
                if record.flags & record_flags::HANDLER != 0 {
                    // SAFETY: the window's first slot.
                    let handler = unsafe { Value::load(self.slot(record.base)) };
                    self.run_handler(handler);
                }
                return;
            }
            if record.continuation == Continuation::Coroutine || record.flags & record_flags::FINALIZER != 0 {
                return;
            }
            depth -= 1;
        }
    }

    fn note_traceback(&mut self) {
        if self.keep_traceback && self.co == self.main {
            self.traceback = Some(introspect::traceback(self, 0));
        }
    }

    fn run_handler(&mut self, handler: Value) {
        // An error in the handler is handled by the handler again, until the native stack is used up.
        let error = self.error;
        // It takes two levels: this one and the call's.
        if self.native_depth + 1 >= NATIVE_DEPTH_MAX {
            if let Ok(message) = self.string_value(b"error in error handling") {
                self.error = message;
            }
            return;
        }
        self.native_depth += 1;
        if let Ok((at, n)) = self.call_value(handler, &[error]) {
            // SAFETY: results are initialised.
            self.error = if n == 0 { Value::NIL } else { unsafe { Value::load(self.slot(at)) } };
        }
        self.native_depth -= 1;
        self.error_handled = true;
    }

    /// The current record catches: closes the variables above it, then returns `false` and the error from it.
    fn close_after_error(&mut self) -> Result<Step, Raised> {
        if self.frame().flags & record_flags::NO_YIELD != 0 {
            self.drop_waiting(self.native_depth);
        }
        let at = self.caught_at();
        let error = self.error;
        // SAFETY: the slot held the called function, which is no longer needed.
        unsafe { Value::store(self.slot(at), error) };
        self.frame_mut().top = at + 1;
        self.close_next(at)
    }

    /// Where the current record, which catches, keeps the error: the first slot, or the one above the handler.
    fn caught_at(&self) -> u32 {
        let frame = self.frame();
        frame.base + if frame.flags & record_flags::HANDLER != 0 { 1 } else { 0 }
    }

    fn close_next(&mut self, error_at: u32) -> Result<Step, Raised> {
        // SAFETY: written by `close_after_error`.
        let error = unsafe { Value::load(self.slot(error_at)) };
        if let Some(slot) = self.take_to_close(error_at + 1) {
            // SAFETY: a variable marked to be closed is initialised.
            let v = unsafe { Value::load(self.slot(slot)) };
            let method = self.rt.metamethod(v, Event::Close);
            let func = slot + 1;
            self.frame_mut().top = slot + 1;
            self.reserve(func + 3)?;
            // SAFETY: room was made above; everything above the variable belonged to dead frames.
            unsafe {
                Value::store(self.slot(func), method);
                Value::store(self.slot(func + 1), v);
                Value::store(self.slot(func + 2), error);
            }
            return Ok(Step::Call { func, nargs: 2, ret: Return::native(closed_after_error) });
        }
        let gives_nil = self.frame().flags & record_flags::NIL_ON_ERROR != 0;
        Ok(self.return_error(if gives_nil { Value::NIL } else { Value::FALSE }, error))
    }

    /// The running host function, which has caught an error, returns `status` and the error.
    pub(super) fn return_error(&mut self, status: Value, error: Value) -> Step {
        let base = self.frame().base;
        // SAFETY: above the window there is always the slack.
        unsafe {
            Value::store(self.slot(base), status);
            Value::store(self.slot(base + 1), error);
        }
        self.frame_mut().top = base + 2;
        self.make_room_after(error);
        Step::Return { first: base, n: 2 }
    }

    /// An error has been caught by the running host function, everything that it needs being in its window. If there was no memory for
    /// something, what that leaves behind is collected: otherwise the next allocation would fail as well, before the collector's turn.
    fn make_room_after(&mut self, error: Value) {
        if error.same_bits(Value::string(self.memory_message)) && self.rt.heap.should_collect() {
            // A recording in progress keeps what has failed alive.
            self.stop_recording();
            self.collect_in_native(|rt, roots| rt.collect_full(roots));
        }
    }

    /// Takes the newest variable to be closed at or above stack index `from`.
    pub(super) fn take_to_close(&mut self, from: u32) -> Option<u32> {
        let mut list = self.co.to_close.take();
        let found = match list.last() {
            Some(&slot) if slot >= from => list.pop(),
            _ => None,
        };
        self.co.to_close.set(list);
        found
    }

    /// Notes a variable to be closed.
    pub(super) fn add_to_close(&mut self, slot: u32) -> Result<(), Raised> {
        let mut list = self.co.to_close.take();
        let room = list.try_reserve(1);
        if room.is_ok() {
            list.push(slot);
        }
        self.co.to_close.set(list);
        room.map_err(|_| self.raise_memory())
    }

    /// Closes the variables at or above `from` while the error leaves for Rust.
    fn close_for_host(&mut self, from: u32) {
        while let Some(slot) = self.take_to_close(from) {
            let error = self.error;
            // SAFETY: a variable marked to be closed is initialised.
            let v = unsafe { Value::load(self.slot(slot)) };
            let method = self.rt.metamethod(v, Event::Close);
            let frame = self.frame_mut();
            frame.top = frame.top.max(slot + 1);
            if self.call_value(method, &[v, error]).is_ok() {
                self.error = error;
            }
        }
    }

    /// The record at `depth` (1 is the coroutine's first).
    pub(super) fn record_at(&self, depth: u32) -> &crate::runtime::coroutine::CallRecord {
        debug_assert!(depth >= 1 && depth <= self.depth());
        // SAFETY: between the first record and the current one.
        unsafe { &*self.co.records.get().add(depth as usize - 1) }
    }

    /// The error ends the running coroutine: its resumer gets it. The records stay, for tracebacks.
    fn fail_coroutine(&mut self) -> Result<Step, Raised> {
        let error = self.error;
        self.drop_activations(1);
        // SAFETY: slot 0 of a stack is not used otherwise; `coroutine.close` finds the error there.
        unsafe { Value::store(self.slot(0), error) };
        self.restore_raiser();
        let end = self.frame_at(self.co, 0).map_or(1, |frame| frame.live_end());
        self.top = self.slot(end);
        self.leave_coroutine();
        let dead = self.co;
        dead.status.set(Status::Dead);
        self.return_to_resumer(dead);
        if self.cancelling {
            // Nobody else will close its variables.
            let closed = self.close_coroutine(dead);
            let error = closed.err().unwrap_or(error);
            return Err(self.raise(error));
        }
        self.resumed_with_error(dead, error)
    }

    /// Brings back activations on top of the current one that have been popped on the way of the error through Rust
    /// code: that code may have left results in their slots, but nothing else has happened since.
    fn restore_raiser(&mut self) {
        let depth = self.depth();
        if self.raised_depth > depth {
            self.truncate(self.raised_depth);
            let all = self.raised_depth - depth;
            let intact = (0..all).all(|level| self.frame_at(self.co, level).is_some_and(|frame| frame.is_intact()));
            if !intact {
                self.truncate(depth);
            }
        }
    }

    /// Starts closing the variables of a returning bytecode frame; `n` results begin at `first`. The return is executed
    /// again after each variable: an open list of results lies above all variables and must end at the frame's `top`
    /// then; other results may lie below the variables.
    pub(super) fn close_before_return(&mut self, first: u32, n: u32) -> Result<Option<Outcome>, Raised> {
        let base = self.frame().base;
        let Some(slot) = self.take_to_close(base) else {
            return Ok(None);
        };
        // SAFETY: a variable marked to be closed is initialised.
        let v = unsafe { Value::load(self.slot(slot)) };
        let method = self.rt.metamethod(v, Event::Close);
        let end = (first + n).max(slot + 1);
        let frame = self.frame_mut();
        frame.flags |= record_flags::CLOSING;
        frame.top = end;
        self.reserve(end + 3)?;
        self.close_call(method, v).map(Some)
    }

    /// Calls `__close` of the newest variable at or above `from`, if there is one.
    pub(crate) fn close_one(&mut self, from: u32) -> Result<Option<Outcome>, Raised> {
        let Some(slot) = self.take_to_close(from) else {
            return Ok(None);
        };
        // SAFETY: as above.
        let v = unsafe { Value::load(self.slot(slot)) };
        let method = self.rt.metamethod(v, Event::Close);
        self.close_call(method, v).map(Some)
    }

    fn close_call(&mut self, method: Value, v: Value) -> Result<Outcome, Raised> {
        self.call_metamethod(method, &[v, Value::NIL], Return::to(Continuation::Repeat, 0))
    }
}

/// Goes on closing after a `__close` that ran because of an error.
fn closed_after_error(st: &mut State, _: Args) -> NativeResult {
    let at = st.caught_at();
    let step = st.close_next(at)?;
    st.request_step(step)
}
