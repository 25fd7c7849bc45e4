//! Host functions that call back without native recursion, although nobody can yield across them.
//!
//! Such an activation counts like a call on the native stack: against the limit of those, and among what its
//! coroutine cannot yield across. Its record says so ([`record_flags::NO_YIELD`]). Invariant: the counts agree with
//! the records; whoever drops a record with the flag takes its part back, and that happens in two places only, when
//! the activation returns and when an error drops it. Activations that catch errors are counted in the same way, but by
//! their coroutine, since they may be yielded across.
//!
//! While it waits for what it has called, a host function may leave Rust state with the VM ([`State::keep_waiting`]).
//! Activations across which nobody can yield end in the reverse order of their beginning, so the states are a stack.

use std::any::Any;

use super::call::{NATIVE_SLOTS, Step};
use super::native::{Args, NativeResult};
use super::state::{NATIVE_DEPTH_MAX, Raised, State};
use crate::bytecode::proto::proto_flags;
use crate::runtime::coroutine::record_flags;
use crate::runtime::function::Closure;
use crate::runtime::object::Gc;
use crate::runtime::value::Value;

/// How `pcall` goes on: the results lie where the called function was, one above its own slot.
pub fn protected_call_returned(st: &mut State, args: Args) -> NativeResult {
    // SAFETY: the slot of `pcall` itself.
    unsafe { Value::store(st.slot(args.base - 1), Value::TRUE) };
    Ok(args.count as i32 + 1)
}

/// The state of a host function that waits for a callback.
pub(super) struct Waiting {
    /// [`State::native_depth`] in the activation.
    depth: u32,
    state: Box<dyn Any + Send>,
    /// Memory of the state that is charged to the heap.
    charged: usize,
}

impl State {
    /// Lets nobody yield across the running host function from now on. It must make a request next, and may make
    /// others later.
    pub fn forbid_yields(&mut self) -> Result<(), Raised> {
        if self.in_leaf {
            return Err(Raised);
        }
        if self.frame().flags & record_flags::NO_YIELD != 0 {
            return Ok(());
        }
        if self.native_depth >= NATIVE_DEPTH_MAX {
            return Err(self.stack_overflow_in_native());
        }
        self.native_depth += 1;
        self.raised_depth = 0;
        self.co.non_yieldable.set(self.co.non_yieldable.get() + 1);
        self.frame_mut().flags |= record_flags::NO_YIELD;
        Ok(())
    }

    /// Counts the running host function among those of its coroutine that catch errors. As in the reference implementation
    /// only so many of them may be nested as calls on the native stack; otherwise an endless recursion through `pcall` would
    /// be noticed by the end of the stack only, and errors that each level extends would take quadratic time and memory.
    pub(super) fn count_catching(&mut self) -> Result<(), Raised> {
        self.co.catching.set(self.co.catching.get() + 1);
        if !self.may_catch(0) {
            return Err(self.raise_message(b"C stack overflow"));
        }
        Ok(())
    }

    /// Whether so many more activations that catch errors are allowed in the running coroutine.
    pub(crate) fn may_catch(&self, more: u32) -> bool {
        self.native_depth + self.co.catching.get() + more <= NATIVE_DEPTH_MAX
    }

    /// An activation of the running coroutine ends, whose record has `flags`: takes back what has been counted for it.
    pub(super) fn uncount(&mut self, flags: u8) {
        if flags & record_flags::NO_YIELD != 0 {
            self.native_depth -= 1;
            self.co.non_yieldable.set(self.co.non_yieldable.get() - 1);
        }
        if flags & record_flags::CATCHES != 0 {
            self.co.catching.set(self.co.catching.get() - 1);
        }
    }

    /// The activations of the running coroutine from `depth` on are dropped: by an error, or by the executor that has made them.
    pub(crate) fn drop_activations(&mut self, depth: u32) {
        if self.co.non_yieldable.get() == 0 && self.co.catching.get() == 0 {
            return;
        }
        for dropped in depth..=self.depth() {
            self.uncount(self.record_at(dropped).flags);
        }
        self.drop_waiting(self.native_depth + 1);
    }

    /// Drops the states of activations that an error has ended: those at `depth` or deeper.
    pub(super) fn drop_waiting(&mut self, depth: u32) {
        while let Some(waiting) = self.waiting.pop_if(|w| w.depth >= depth) {
            self.rt.heap.discharge(waiting.charged);
        }
    }

    /// Keeps a state for the running host function, which has forbidden yields, until [`State::take_waiting`] or until
    /// an error ends the activation. `charged` is the part of its memory that is charged to the heap.
    pub fn keep_waiting<T: Any + Send>(&mut self, state: Box<T>, charged: usize) -> Result<(), Raised> {
        debug_assert!(self.frame().flags & record_flags::NO_YIELD != 0);
        if self.waiting.try_reserve(1).is_err() {
            self.rt.heap.discharge(charged);
            return Err(self.raise_memory());
        }
        let depth = self.native_depth;
        self.waiting.push(Waiting { depth, state, charged });
        Ok(())
    }

    /// The state that the running host function has kept.
    pub fn take_waiting<T: Any + Send>(&mut self) -> Box<T> {
        let depth = self.native_depth;
        let waiting = self.waiting.pop_if(|w| w.depth == depth);
        let state = waiting.and_then(|w| w.state.downcast().ok());
        state.expect("a host function takes what it has kept")
    }

    /// Lets the running host function go on as the bytecode function `code`, which is library code
    /// ([`proto_flags::BUILTIN`]) without varargs, with `params`. For everybody who looks at the stack it stays the
    /// host function, with the first `kept` of its arguments. The function must return the result of this.
    pub fn continue_in(&mut self, code: Gc<Closure>, args: Args, kept: u32, params: &[Value]) -> NativeResult {
        let proto = code.proto;
        assert!(proto.params as usize == params.len() && kept <= args.count);
        debug_assert!(proto.flags == proto_flags::BUILTIN);
        // The frame is laid out like one with extra arguments: the host function and its arguments.
        let function = args.base - 1;
        let extra_args = kept + 1;
        let extra = args.base + params.len() as u32;
        let base = extra + extra_args + 1;
        self.reserve(base + proto.registers.max(NATIVE_SLOTS))?;
        let (from, to) = (self.slot(function), self.slot(extra));
        // SAFETY: room was made above. The window moves up, then its old place below the new one is cleared.
        unsafe {
            for i in (0..extra_args as usize).rev() {
                Value::store(to.add(i), Value::load(from.add(i)));
            }
            for slot in args.base..extra {
                Value::store(self.slot(slot), Value::NIL);
            }
            Value::store(self.slot(base - 1), Value::closure(code));
            for (i, v) in params.iter().enumerate() {
                Value::store(self.slot(base + i as u32), *v);
            }
        }
        let frame = self.frame_mut();
        frame.pc = proto.code;
        frame.base = base;
        frame.top = base + proto.registers;
        frame.extra_args = extra_args;
        frame.flags = frame.flags & !record_flags::NATIVE | record_flags::VARARG;
        self.count_entry(proto);
        self.request_step(Step::Run)
    }
}
