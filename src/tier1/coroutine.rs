//! Resuming, yielding and closing coroutines.
//!
//! A switch exchanges which coroutine's stacks the state points to and moves the values over; the native stack
//! is not involved. While a coroutine runs, its resumer waits in the frame of the host function that resumed it
//! (`coroutine.resume`, or a function made by `coroutine.wrap`), whose record's flags say which.

use super::call::{Return, Step};
use super::native::{Args, Builtin, NativeResult};
use super::slow;
use super::state::{NATIVE_DEPTH_MAX, Raised, STACK_SLACK, State};
use crate::bytecode::cache::LoopSite;
use crate::bytecode::proto::proto_flags;
use crate::runtime::coroutine::{CallRecord, Continuation, Coroutine, Status, record_flags};
use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::value::Value;

/// How the resuming function wants results and errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ResumeKind {
    /// `true` and the values, or `false` and the error.
    Protected,
    /// The values, or the error raised again.
    Wrapped,
}

impl State {
    /// Resumes `co` with the values `first..first + n` of the running coroutine's stack. To be returned from the
    /// resuming host function, which must be the current activation.
    pub fn resume(&mut self, co: Gc<Coroutine>, first: u32, n: u32, kind: ResumeKind) -> NativeResult {
        if co.status.get() != Status::Suspended {
            let what = if co.status.get() == Status::Dead { "dead" } else { "non-suspended" };
            let text = format!("cannot resume {what} coroutine");
            return self.refuse_resume(&text, kind);
        }
        if self.native_depth >= NATIVE_DEPTH_MAX {
            return self.refuse_resume("C stack overflow", kind);
        }
        if kind == ResumeKind::Wrapped {
            self.frame_mut().flags |= record_flags::WRAPS;
        }
        // Results and errors will be delivered above the window.
        self.top = self.slot(self.frame().top);
        let started = co.depth.get() > 1;
        // The values go to the end of the resumed coroutine's stack.
        let at = co.top.get();
        self.transfer(co, at, first, n)?;
        self.native_depth += 1;
        let resumer = self.co;
        self.leave_coroutine();
        resumer.status.set(Status::Normal);
        co.resumer.set(Some(resumer));
        self.enter_coroutine(co);
        if started {
            // The current record is that of `yield`: it returns the values.
            self.request_step(Step::Return { first: at, n })
        } else {
            // The function lies below the values.
            self.request_step(Step::Call { func: at - 1, nargs: n, ret: Return::to(Continuation::Coroutine, 0) })
        }
    }

    fn refuse_resume(&mut self, text: &str, kind: ResumeKind) -> NativeResult {
        if kind == ResumeKind::Wrapped {
            return Err(self.raise_text(text));
        }
        let message = self.string_value(text.as_bytes())?;
        let args = Args { base: self.frame().base, count: 0 };
        self.ret2(args, Value::FALSE, message)
    }

    /// Carries out a call instruction's call of the host function at `func`, with the `nargs` values above it, if it is one that
    /// switches coroutines, both go on behind call instructions, and nothing else is to be done on the way: what
    /// [`State::resume`] and [`State::yield_values`] do in general. `None` if not; then nothing has happened. Otherwise the return
    /// site of the call behind which control is now, as far as that is known; `return_site` is that of this call.
    ///
    /// # Safety
    /// `func` is a slot of the current frame with a function in it.
    #[inline(always)]
    pub(crate) unsafe fn switch_directly(
        &mut self,
        func: *mut Value,
        nargs: u32,
        wanted: i16,
        return_site: *const LoopSite,
    ) -> Option<*const LoopSite> {
        // SAFETY: for the whole function. The caller's promise; coroutines have stacks and records as large as they say, and room
        // is made sure of before anything is written.
        unsafe {
            let native = Value::load(func).as_native()?;
            let left = self.co;
            let (co, passed, flags) = match native.builtin {
                Builtin::CoroutineYield if left.non_yieldable.get() == 0 => (left.resumer.get()?, 0, 0),
                Builtin::CoroutineResume if nargs > 0 => (Value::load(func.add(1)).as_coroutine()?, 1, 0),
                Builtin::CoroutineWrapped => (native.upvalue(0).as_coroutine()?, 0, record_flags::WRAPS),
                _ => return None,
            };
            let yields = native.builtin == Builtin::CoroutineYield;
            let resumable = co.status.get() == Status::Suspended && self.native_depth < NATIVE_DEPTH_MAX;
            let record = self.record.add(1);
            let special = self.hook_events | self.host_hook.events | co.hook.get().events | self.stack_stress as u8;
            if !(yields || resumable)
                || special != 0
                || *self.interrupt.get_mut() != 0
                || record == self.records_end
            {
                return None;
            }
            let n = nargs - passed;
            let waiting = co.records.get().add(co.depth.get() as usize - 1);
            // The function of one that has not started; the others wait in a host function.
            let body = match co.depth.get() {
                1 => Some(Value::load(co.stack.get().add(1)).as_closure()?),
                _ => None,
            };
            let plain = record_flags::NATIVE | if yields { record_flags::WRAPS } else { 0 };
            let (dest, slots, fits) = match body.map(|body| body.proto) {
                Some(proto) => {
                    let takes = proto.flags & proto_flags::VARARG == 0 && n <= proto.params as u32;
                    (1, proto.registers, takes)
                }
                None => {
                    let returns = (*waiting).continuation == Continuation::Call && (*waiting).flags & !plain == 0;
                    ((*waiting).base - 1, n, returns)
                }
            };
            if !fits || dest + 1 + slots + super::call::NATIVE_SLOTS + STACK_SLACK > co.stack_size.get() {
                return None;
            }
            // What has called waits for the results of this function.
            let base = self.index_of(func) + 1;
            let top = if yields { base } else { base + nargs };
            record.write(CallRecord {
                pc: std::ptr::null(),
                return_site,
                then: None,
                base,
                top,
                extra_args: 0,
                wanted,
                continuation: Continuation::Call,
                flags: flags | record_flags::NATIVE,
                aux: 0,
            });
            left.depth.set(self.depth() + 1);
            left.top.set(top);
            if yields {
                left.status.set(Status::Suspended);
                left.resumer.set(None);
                self.native_depth -= 1;
            } else {
                left.status.set(Status::Normal);
                co.resumer.set(Some(left));
                self.native_depth += 1;
            }
            self.enter_coroutine(co);
            let status = yields && (*waiting).flags & record_flags::WRAPS == 0;
            let (mut from, mut to) = (func.add(1 + passed as usize), self.slot(dest + body.is_some() as u32));
            if status {
                Value::store(to, Value::TRUE);
                to = to.add(1);
            }
            for _ in 0..n {
                // The coroutine that was left keeps its stack.
                Value::store(to, Value::load(from));
                (from, to) = (from.add(1), to.add(1));
            }
            if let Some(body) = body {
                let pushed = self.push_closure(body, dest, n, Return::to(Continuation::Coroutine, 0));
                debug_assert!(pushed.is_ok(), "there is room for its frame");
                return Some(std::ptr::null());
            }
            self.record = waiting.sub(1);
            slow::complete_results(self, dest, (n + status as u32) as i32, (*waiting).wanted);
            Some((*waiting).return_site)
        }
    }

    /// Copies values of the running coroutine onto another one's stack, growing that if necessary.
    fn transfer(&mut self, to: Gc<Coroutine>, at: u32, first: u32, n: u32) -> Result<(), Raised> {
        let room = at + n + super::call::NATIVE_SLOTS;
        if self.stack_stress || room + super::state::STACK_SLACK > to.stack_size.get() {
            let from = self.co;
            let status = to.status.get();
            self.leave_coroutine();
            self.enter_coroutine(to);
            let grown = self.grow_stack(room);
            self.leave_coroutine();
            to.status.set(status);
            self.enter_coroutine(from);
            grown?;
        }
        let (source, target) = (self.slot(first), to.stack.get());
        for i in 0..n as usize {
            // SAFETY: room was made above; the source values are in use.
            unsafe { Value::store(target.add(at as usize + i), Value::load(source.add(i))) };
        }
        Ok(())
    }

    /// Yields the values in the window of the running host function, which must return the result of this.
    pub fn yield_values(&mut self, args: Args) -> NativeResult {
        let co = self.co;
        if co.non_yieldable.get() > 0 || co == self.main {
            return Err(self.raise_at(if co == self.main {
                "attempt to yield from outside a coroutine"
            } else {
                "attempt to yield across a C-call boundary"
            }));
        }
        let resumer = co.resumer.get().expect("a running coroutine that is not the main one has a resumer");
        self.transfer(resumer, resumer.top.get(), args.base, args.count)?;
        // The window is empty while suspended; what `resume` passes goes where the arguments were.
        self.top = self.slot(args.base);
        self.frame_mut().top = args.base;
        self.leave_coroutine();
        co.status.set(Status::Suspended);
        self.return_to_resumer(co);
        self.resumed_with_values(args.count)
    }

    /// Makes the resumer of `co` the running coroutine.
    pub(super) fn return_to_resumer(&mut self, co: Gc<Coroutine>) {
        let resumer = co.resumer.take().expect("a coroutine that ran has a resumer");
        self.native_depth -= 1;
        self.enter_coroutine(resumer);
    }

    /// The running coroutine's body has returned: ends it and gives the values to the resumer.
    pub(super) fn end_coroutine(&mut self, first: u32, n: u32) -> NativeResult {
        let co = self.co;
        let resumer = co.resumer.get().expect("a running coroutine has a resumer");
        self.transfer(resumer, resumer.top.get(), first, n)?;
        self.pop_record();
        self.top = self.slot(1);
        self.leave_coroutine();
        co.status.set(Status::Dead);
        self.return_to_resumer(co);
        self.resumed_with_values(n)
    }

    /// The running coroutine's resuming function gets `n` values, which lie at the top of the stack.
    fn resumed_with_values(&mut self, n: u32) -> NativeResult {
        let first = self.index_of(self.top);
        if self.frame().flags & record_flags::WRAPS != 0 {
            return self.request_step(Step::Return { first, n });
        }
        // SAFETY: `transfer` has made more room than the values need; they move up by one for the status.
        unsafe {
            for i in (0..n as usize).rev() {
                Value::store(self.top.add(i + 1), Value::load(self.top.add(i)));
            }
            Value::store(self.top, Value::TRUE);
        }
        self.request_step(Step::Return { first, n: n + 1 })
    }

    /// The running coroutine's resuming function gets the error with which `dead` has ended.
    pub(super) fn resumed_with_error(&mut self, dead: Gc<Coroutine>, error: Value) -> Result<Step, Raised> {
        if self.frame().flags & record_flags::WRAPS != 0 {
            // A wrapped coroutine is closed; strings get the position of the resumer's caller.
            let closed = self.close_coroutine(dead);
            let error = closed.err().unwrap_or(error);
            let error = match error.as_string() {
                Some(s) if s != self.memory_message => {
                    let mut text = self.position(1);
                    text.extend_from_slice(s.as_bytes());
                    self.string_value(&text)?
                }
                _ => error,
            };
            return Err(self.raise(error));
        }
        Ok(self.return_error(Value::FALSE, error))
    }

    /// Closes the pending variables of a suspended or failed coroutine and makes it dead. `Err` is the error of a
    /// `__close`, or the one with which the coroutine had ended.
    pub fn close_coroutine(&mut self, co: Gc<Coroutine>) -> Result<(), Value> {
        let caller = self.co;
        let caller_status = caller.status.get();
        let failed = co.status.get() == Status::Dead && co.depth.get() > 1;
        // SAFETY: slot 0 holds the error with which a coroutine has ended.
        let mut error = failed.then(|| unsafe { Value::load(co.stack.get()) });
        if co.depth.get() > 1 {
            let saved = (self.error, self.error_handled);
            self.leave_coroutine();
            caller.status.set(Status::Normal);
            self.enter_coroutine(co);
            self.record = co.records.get();
            // Its suspended activations are given up.
            co.catching.set(0);
            while let Some(slot) = self.take_to_close(1) {
                // SAFETY: a variable marked to be closed is initialised.
                let v = unsafe { Value::load(self.slot(slot)) };
                let method = self.rt.metamethod(v, Event::Close);
                self.frame_mut().top = slot + 1;
                if self.call_value(method, &[v, error.unwrap_or(Value::NIL)]).is_err() {
                    error = Some(self.error);
                }
            }
            self.frame_mut().top = 1;
            self.top = self.slot(1);
            self.leave_coroutine();
            (self.error, self.error_handled) = saved;
            self.enter_coroutine(caller);
            caller.status.set(caller_status);
        }
        co.status.set(Status::Dead);
        match error {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }
}
