//! Calls, returns and continuations.
//!
//! Nothing here recurses on the native stack: a host function that wants something called returns a request
//! ([`State::call_then`], [`State::finish_then`]), and [`State::drive`] carries out requests one after another
//! until there is a bytecode frame to run or the activation that Rust asked for has ended.

use std::ptr;

use super::native::{Args, ContinuationFn, NativeResult};
use super::state::{NATIVE_DEPTH_MAX, Raised, STACK_SLACK, State};
use super::{interp, message};
use crate::bytecode::proto::proto_flags;
use crate::runtime::coroutine::{CallRecord, Continuation, record_flags};
use crate::runtime::metatable::Event;
use crate::runtime::value::{Tag, Value};

/// Free slots that a host function may rely on above its arguments.
pub const NATIVE_SLOTS: u32 = 20;

/// Returned by a host function to have [`State::pending`] carried out.
pub(super) const REQUEST: i32 = -2;

/// What happens with a callee's results.
#[derive(Clone, Copy)]
pub struct Return {
    pub wanted: i16,
    pub continuation: Continuation,
    pub then: Option<ContinuationFn>,
    pub aux: u64,
    pub flags: u8,
}

impl Return {
    /// As for a call instruction that wants `wanted` results (-1: all).
    #[inline]
    pub fn call(wanted: i16) -> Return {
        Return { wanted, continuation: Continuation::Call, then: None, aux: 0, flags: 0 }
    }

    /// To the caller, as `continuation` says.
    pub fn to(continuation: Continuation, aux: u64) -> Return {
        Return { wanted: -1, continuation, then: None, aux, flags: 0 }
    }

    /// To the running host function, which goes on in `then`.
    pub fn native(then: ContinuationFn) -> Return {
        Return { wanted: -1, continuation: Continuation::Native, then: Some(then), aux: 0, flags: 0 }
    }
}

/// What is to be done next.
#[derive(Clone, Copy)]
pub enum Step {
    /// Call the value at stack index `func` with the `nargs` values above it.
    Call { func: u32, nargs: u32, ret: Return },
    /// The current activation returns `n` values, which begin at stack index `first`.
    Return { first: u32, n: u32 },
    /// The current activation runs: it has become one of a bytecode function.
    Run,
}

/// Where control is after a call or return has been carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In a bytecode frame, the current one.
    Continue,
    /// The same, and the dispatch loop with hooks must run it.
    Hooked,
    /// The activation entered from Rust has ended; its results end at [`State::top`].
    Exit,
}

/// What becomes of the results of an activation.
enum Delivery {
    /// Control is settled.
    Settled(Outcome),
    /// A host function got them and has returned this.
    Host(i32),
}

impl State {
    /// Asks for a call from a host function; the function must return the result of this.
    pub fn call_then(&mut self, func: u32, nargs: u32, then: ContinuationFn) -> NativeResult {
        // The arguments are the callee's now.
        self.frame_mut().top = func + 1;
        self.request_step(Step::Call { func, nargs, ret: Return::native(then) })
    }

    /// Returns `n` values that begin at stack index `first` from a host function, which must return the result of
    /// this.
    pub fn return_at(&mut self, first: u32, n: u32) -> NativeResult {
        self.request_step(Step::Return { first, n })
    }

    /// Asks for `step` from a host function; the function must return the result of this.
    pub(super) fn request_step(&mut self, step: Step) -> NativeResult {
        if self.in_leaf {
            return Err(Raised);
        }
        self.pending = Some(step);
        Ok(REQUEST)
    }

    /// Calls the value at stack index `func` with the `nargs` values above it and runs it to its end. The results
    /// replace the function and end at [`State::top`]; their number is returned. Nothing can yield across this.
    pub fn call(&mut self, func: u32, nargs: u32) -> Result<u32, Raised> {
        self.call_flagged(func, nargs, 0, 0)
    }

    /// Calls a finalizer with its object. What it raises is no business of any message handler.
    pub(super) fn call_finalizer(&mut self, method: Value, object: Value) -> Result<(), Raised> {
        let func = self.push_call(method, &[object])?;
        self.call_flagged(func, 1, record_flags::FINALIZER, 0).map(|_| ())
    }

    /// Calls like [`State::call`]; the value below the function is the message handler of what nobody catches. It looks past
    /// activations entered from Rust inside the call.
    pub fn call_handled(&mut self, func: u32, nargs: u32) -> Result<u32, Raised> {
        self.call_flagged(func, nargs, 0, CallRecord::handled_by(func - 1))
    }

    /// Calls a hook.
    pub(super) fn call_hook(&mut self, hook: Value, args: &[Value]) -> Result<(), Raised> {
        let func = self.push_call(hook, args)?;
        self.call_flagged(func, args.len() as u32, 0, CallRecord::HOOK).map(|_| ())
    }

    fn call_flagged(&mut self, func: u32, nargs: u32, flags: u8, aux: u64) -> Result<u32, Raised> {
        if self.native_depth >= NATIVE_DEPTH_MAX {
            return Err(self.stack_overflow_in_native());
        }
        self.native_depth += 1;
        self.raised_depth = 0;
        let co = self.co;
        co.non_yieldable.set(co.non_yieldable.get() + 1);
        let outcome = self.call_to_end(func, nargs, flags, aux);
        co.non_yieldable.set(co.non_yieldable.get() - 1);
        self.native_depth -= 1;
        outcome?;
        Ok(self.index_of(self.top) - func)
    }

    #[cold]
    pub(super) fn stack_overflow_in_native(&mut self) -> Raised {
        if self.native_depth > NATIVE_DEPTH_MAX {
            return self.raise_message(b"error in error handling");
        }
        // The handler of this error may nest a little deeper.
        self.native_depth += 1;
        let raised = self.raise_message(b"C stack overflow");
        self.native_depth -= 1;
        raised
    }

    fn call_to_end(&mut self, func: u32, nargs: u32, flags: u8, aux: u64) -> Result<(), Raised> {
        let (co, depth) = (self.co, self.depth());
        let ret = Return { flags, ..Return::to(Continuation::Host, aux) };
        let mut outcome = self.drive(Step::Call { func, nargs, ret });
        loop {
            outcome = match outcome {
                Ok(Outcome::Exit) => return Ok(()),
                Ok(Outcome::Continue | Outcome::Hooked) => interp::execute(self),
                // The activation was never entered: the error is its caller's.
                Err(Raised) if self.co == co && self.depth() == depth => return Err(Raised),
                Err(Raised) => match self.unwind() {
                    Some(step) => self.drive(step),
                    None => return Err(Raised),
                },
            };
        }
    }

    /// Pushes `f` and `args` above everything in use and calls it: [`State::call`] for Rust code that has the
    /// values at hand. Returns the stack index of the results and their number.
    pub fn call_value(&mut self, f: Value, args: &[Value]) -> Result<(u32, u32), Raised> {
        let func = self.push_call(f, args)?;
        let n = self.call(func, args.len() as u32)?;
        Ok((func, n))
    }

    /// Puts a function and its arguments above everything in use.
    fn push_call(&mut self, f: Value, args: &[Value]) -> Result<u32, Raised> {
        if self.in_leaf {
            return Err(Raised);
        }
        let func = self.free_index();
        self.reserve(func + 1 + args.len() as u32)?;
        // SAFETY: room was made above.
        unsafe {
            Value::store(self.slot(func), f);
            for (i, v) in args.iter().enumerate() {
                Value::store(self.slot(func + 1 + i as u32), *v);
            }
        }
        Ok(func)
    }

    /// The first slot above everything in use by the current activation.
    pub fn free_index(&self) -> u32 {
        let frame = self.frame();
        if frame.flags & record_flags::NATIVE != 0 {
            frame.top
        } else {
            frame.top.max(self.index_of(self.top))
        }
    }

    /// Carries out `step` and what follows from it.
    pub fn drive(&mut self, step: Step) -> Result<Outcome, Raised> {
        match step {
            Step::Call { func, nargs, ret } => match self.enter(func, nargs, ret)? {
                None => Ok(self.settled()),
                Some(result) => self.settle(result),
            },
            Step::Return { first, n } => self.return_values(first, n),
            Step::Run => Ok(self.settled()),
        }
    }

    /// Returns `n` values that begin at stack index `first` from the current activation, and carries out what follows.
    pub(super) fn return_values(&mut self, first: u32, n: u32) -> Result<Outcome, Raised> {
        match self.deliver(first, n)? {
            Delivery::Settled(outcome) => Ok(outcome),
            Delivery::Host(result) => self.settle(result),
        }
    }

    /// Carries out what the running host function wants, which has returned `result`, and what follows from it.
    pub(super) fn settle(&mut self, mut result: i32) -> Result<Outcome, Raised> {
        loop {
            let delivery = if result >= 0 {
                let first = self.frame().base - 1;
                self.deliver(first, result as u32)?
            } else {
                match self.pending.take().expect("a host function that returns a request has made one") {
                    Step::Call { func, nargs, ret } => match self.enter(func, nargs, ret)? {
                        None => return Ok(self.settled()),
                        Some(result) => Delivery::Host(result),
                    },
                    Step::Return { first, n } => self.deliver(first, n)?,
                    Step::Run => return Ok(self.settled()),
                }
            };
            match delivery {
                Delivery::Settled(outcome) => return Ok(outcome),
                Delivery::Host(next) => result = next,
            }
        }
    }

    /// Enters the function at `func`: pushes a bytecode frame (`None`), or runs a host function and returns
    /// its result.
    fn enter(&mut self, func: u32, mut nargs: u32, ret: Return) -> Result<Option<i32>, Raised> {
        loop {
            // SAFETY: the caller has put the function there.
            let f = unsafe { Value::load(self.slot(func)) };
            if let Some(closure) = f.as_closure() {
                self.push_closure(closure, func, nargs, ret)?;
                if self.hook_events != 0 {
                    self.hook_call()?;
                }
                return Ok(None);
            }
            if let Some(native) = f.as_native() {
                let args = self.push_native(func, nargs, ret)?;
                if self.hook_events != 0 {
                    self.hook_call()?;
                }
                let result = (native.func)(self, args)?;
                if self.hook_events != 0 {
                    return self.keep_function(f, result).map(Some);
                }
                return Ok(Some(result));
            }
            self.insert_call_handler(func, nargs)?;
            nargs += 1;
        }
    }

    /// Puts the `__call` handler of the value at `func`, which is no function, there; the value becomes the first argument.
    pub(super) fn insert_call_handler(&mut self, func: u32, nargs: u32) -> Result<(), Raised> {
        // SAFETY: the caller has put the value there.
        let f = unsafe { Value::load(self.slot(func)) };
        let handler = self.rt.metamethod(f, Event::Call);
        if handler.is_nil() {
            return Err(message::call_error(self, f));
        }
        self.reserve(func + nargs + 2)?;
        let p = self.slot(func);
        // SAFETY: room was made above.
        unsafe {
            for i in (0..=nargs as usize).rev() {
                Value::store(p.add(i + 1), Value::load(p.add(i)));
            }
            Value::store(p, handler);
        }
        Ok(())
    }

    /// Pushes the frame of a host function.
    #[inline]
    pub(super) fn push_native(&mut self, func: u32, nargs: u32, ret: Return) -> Result<Args, Raised> {
        let args = Args { base: func + 1, count: nargs };
        self.reserve(args.base + nargs + NATIVE_SLOTS)?;
        self.push_record(CallRecord {
            pc: ptr::null(),
            return_site: ptr::null(),
            then: ret.then,
            base: args.base,
            top: args.base + nargs,
            extra_args: 0,
            wanted: ret.wanted,
            continuation: ret.continuation,
            flags: ret.flags | record_flags::NATIVE,
            aux: ret.aux,
        })?;
        Ok(args)
    }

    /// Pushes the frame of a bytecode function.
    pub(crate) fn push_closure(
        &mut self,
        closure: crate::runtime::object::Gc<crate::runtime::function::Closure>,
        func: u32,
        nargs: u32,
        ret: Return,
    ) -> Result<(), Raised> {
        let proto = closure.proto;
        let params = proto.params as u32;
        let mut base = func + 1;
        let mut flags = ret.flags;
        let mut extra_args = 0;
        if proto.flags & proto_flags::VARARG != 0 && nargs > params {
            flags |= record_flags::VARARG;
            extra_args = nargs - params;
            base = func + 1 + nargs + 1;
            self.reserve(base + proto.registers)?;
            let from = self.slot(func);
            let to = self.slot(base - 1);
            // SAFETY: room was made above; the function and its parameters move up, above the extra arguments.
            unsafe {
                for i in 0..=params as usize {
                    Value::store(to.add(i), Value::load(from.add(i)));
                    if i > 0 {
                        Value::store(from.add(i), Value::NIL);
                    }
                }
            }
        } else {
            self.reserve(base + proto.registers.max(nargs))?;
            for i in nargs..params {
                // SAFETY: parameters are registers, for which room was made above.
                unsafe { Value::store(self.slot(base + i), Value::NIL) };
            }
        }
        self.push_record(CallRecord {
            pc: proto.code,
            return_site: ptr::null(),
            then: ret.then,
            base,
            top: base + proto.registers,
            extra_args,
            wanted: ret.wanted,
            continuation: ret.continuation,
            flags,
            aux: ret.aux,
        })?;
        self.count_entry(proto);
        Ok(())
    }

    /// Where the current activation's results go.
    pub(super) fn result_slot(&self) -> u32 {
        let frame = self.frame();
        let mut func = frame.base - 1;
        if frame.flags & record_flags::VARARG != 0 {
            // SAFETY: a frame with extra arguments is a bytecode function's, which lies below its base.
            let f = unsafe { Value::load(self.slot(func)) };
            let params = f.as_closure().map_or(0, |c| c.proto.params as u32);
            func -= params + frame.extra_args + 1;
        }
        func
    }

    /// Returns from the current activation.
    fn deliver(&mut self, first: u32, n: u32) -> Result<Delivery, Raised> {
        // Calls by host functions and of metamethods are entered without a poll, so that closing a variable is never
        // skipped; they may still be all that a program does.
        self.check_cancelled()?;
        if self.hook_events != 0 {
            self.hook_return(first, n)?;
        }
        // Only what is needed: copying the whole record has to wait for the stores that have just written its fields.
        let CallRecord { continuation, flags, wanted, aux, then, .. } = *self.frame();
        let dest = self.result_slot();
        if flags & (record_flags::NO_YIELD | record_flags::CATCHES) != 0 {
            self.uncount(flags);
        }
        match continuation {
            Continuation::Call => {
                self.pop_record();
                self.place_results(dest, first, n, wanted);
            }
            Continuation::Host => {
                self.pop_record();
                self.place_results(dest, first, n, -1);
                return Ok(Delivery::Settled(Outcome::Exit));
            }
            Continuation::Discard => self.pop_record(),
            Continuation::Repeat => {
                self.pop_record();
                let caller = self.frame_mut();
                // SAFETY: the program counter lies behind the instruction that made the call.
                caller.pc = unsafe { caller.pc.sub(1) };
                self.hook_repeat();
            }
            Continuation::StoreResult => {
                let v = self.first_result(first, n);
                self.pop_record();
                let to = self.frame().base + aux as u32;
                // SAFETY: `aux` is a register of the caller.
                unsafe { Value::store(self.slot(to), v) };
            }
            Continuation::Jump => {
                let v = self.first_result(first, n);
                self.pop_record();
                if v.is_falsy() != (aux & 1 != 0) {
                    let distance = (aux as i64) >> 1;
                    let caller = self.frame_mut();
                    // SAFETY: the distance is that of the interrupted jump, which the verifier has checked.
                    caller.pc = unsafe { caller.pc.offset(distance as isize) };
                }
            }
            Continuation::Concat => {
                let v = self.first_result(first, n);
                self.pop_record();
                if let Some(step) = self.concat_resume(v, aux)? {
                    return self.request_step(step).map(Delivery::Host);
                }
            }
            Continuation::Native => {
                self.pop_record();
                self.place_results(dest, first, n, -1);
                let then = then.expect("a native continuation has a function");
                self.frame_mut().top = dest + n;
                let function = self.slot(self.frame().base - 1);
                // SAFETY: the slot of the host function that goes on.
                let function = unsafe { Value::load(function) };
                let result = then(self, Args { base: dest, count: n })?;
                if self.hook_events != 0 {
                    return self.keep_function(function, result).map(Delivery::Host);
                }
                return Ok(Delivery::Host(result));
            }
            Continuation::Coroutine => return self.end_coroutine(first, n).map(Delivery::Host),
        }
        Ok(Delivery::Settled(self.settled()))
    }

    fn first_result(&self, first: u32, n: u32) -> Value {
        // SAFETY: the results are initialised.
        if n == 0 { Value::NIL } else { unsafe { Value::load(self.slot(first)) } }
    }

    /// Moves results down to where the caller expects them.
    #[inline]
    pub(super) fn place_results(&mut self, dest: u32, first: u32, n: u32, wanted: i16) {
        let to = self.slot(dest);
        let from = self.slot(first);
        let count = if wanted < 0 { n } else { wanted as u32 };
        // SAFETY: `dest` lies at or below `first`; wanted results are registers of the caller.
        unsafe {
            for i in 0..count.min(n) as usize {
                Value::store(to.add(i), Value::load(from.add(i)));
            }
            for i in n..count {
                Value::store(to.add(i as usize), Value::NIL);
            }
            if wanted < 0 {
                self.top = to.add(n as usize);
            }
        }
    }

    /// Pushes a call of `f` with up to three arguments above the current frame's registers and enters it.
    pub(super) fn call_metamethod(&mut self, f: Value, args: &[Value], ret: Return) -> Result<Outcome, Raised> {
        debug_assert!(args.len() < STACK_SLACK as usize);
        let func = self.frame().top;
        let p = self.slot(func);
        // SAFETY: above a frame's window there is always the slack.
        unsafe {
            Value::store(p, f);
            for (i, v) in args.iter().enumerate() {
                Value::store(p.add(i + 1), *v);
            }
        }
        self.drive(Step::Call { func, nargs: args.len() as u32, ret })
    }

    /// Pushes a value onto the running host function's window, which keeps it alive; returns its stack index.
    pub fn push_temp(&mut self, v: Value) -> Result<u32, Raised> {
        if self.in_leaf {
            return Err(Raised);
        }
        let at = self.frame().top;
        self.reserve(at + 1)?;
        // SAFETY: room was made above.
        unsafe { Value::store(self.slot(at), v) };
        self.frame_mut().top = at + 1;
        Ok(at)
    }

    /// The tag of the value at a slot, for assertions.
    pub fn tag_at(&self, index: u32) -> Tag {
        // SAFETY: callers name slots in use.
        unsafe { Value::load(self.slot(index)) }.tag()
    }
}
