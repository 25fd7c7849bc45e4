//! Coroutines: a stack of values and a stack of call records, both plain data.
//!
//! The registers of an activation are a window on the coroutine's value stack; its call record lies on the record
//! stack. Nothing on the heap points into either, so both may move when they grow. The running coroutine is
//! used by the interpreter through [`State`](crate::tier1::State); a suspended one is not touched by anyone but the
//! collector and introspection.

use std::cell::Cell;
use std::mem::{offset_of, size_of};

use super::object::{Gc, Kind, Object};
use super::value::Value;
use crate::bytecode::Instr;
use crate::bytecode::cache::LoopSite;
use crate::tier1::ContinuationFn;

/// What a coroutine is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Not started, or suspended in a yield.
    Suspended,
    Running,
    /// It has resumed another one.
    Normal,
    Dead,
}

/// How a return finishes the instruction that made the call; kept in the callee's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Continuation {
    /// A call instruction: the results go to the function's slot and up.
    Call,
    /// A metamethod: the first result goes to register `aux` of the caller.
    StoreResult,
    /// A comparison metamethod: the caller jumps if the truth of the result equals the lowest bit of `aux`;
    /// the rest of it is the distance.
    Jump,
    /// The results are dropped (`__newindex`).
    Discard,
    /// The results are dropped and the caller executes its instruction again (closing variables one by one).
    Repeat,
    /// `__concat`: the caller goes on concatenating; `aux` is the number of operands left before the result.
    Concat,
    /// The function was entered from Rust; returning leaves the interpreter loop.
    Host,
    /// The caller is a host function that goes on in `then`.
    Native,
    /// The function is a coroutine's body; returning ends the coroutine.
    Coroutine,
}

/// Bits of [`CallRecord::flags`].
pub mod record_flags {
    /// The frame belongs to a host function.
    pub const NATIVE: u8 = 1;
    /// The function was called by a tail call (the frames in between are gone).
    pub const TAIL: u8 = 2;
    /// An error unwinding to this frame stops here (`pcall`, `xpcall`).
    pub const CATCHES: u8 = 4;
    /// The function has extra arguments, which lie below its base: `extra_args` of them, above the original
    /// places of the parameters and of the function.
    pub const VARARG: u8 = 8;
    /// The frame has to-be-closed variables.
    pub const TBC: u8 = 16;
    /// The frame is returning and closes its variables first; `top` is the end of its results.
    pub const CLOSING: u8 = 32;
    /// The function was called as a finalizer.
    pub const FINALIZER: u8 = 64;
    /// The activation counts among those of its coroutine's [`non_yieldable`](super::Coroutine::non_yieldable) ones.
    pub const NO_YIELD: u8 = 128;

    // Host functions close no variables of their own; the bits for that say something else in their frames.

    /// Of a host function that catches: errors pass through the message handler in the window's first slot (`xpcall`).
    pub const HANDLER: u8 = TBC;
    /// Of a host function that catches: it then returns nil and the error instead of `false` and the error (`load`).
    pub const NIL_ON_ERROR: u8 = CLOSING;
    /// Of a host function that resumes: it wants values and errors as if it had called the coroutine's body.
    pub const WRAPS: u8 = CLOSING;
}

/// A function that is called at certain events.
#[derive(Clone, Copy)]
pub struct Hook {
    /// Nil if there is none.
    pub function: Value,
    /// The events; see [`tier1::hook`](crate::tier1::hook).
    pub events: u8,
    /// The number of instructions between two events of their kind.
    pub period: i32,
    /// Instructions left until the next of these events.
    pub left: i32,
}

impl Hook {
    pub const NONE: Hook = Hook {
        function: Value::NIL,
        events: 0,
        period: 0,
        left: 0,
    };
}

impl CallRecord {
    /// The [`aux`](CallRecord::aux) of a function that Rust has called as a hook.
    pub const HOOK: u64 = 1;
    /// The low half of the [`aux`](CallRecord::aux) of a function that Rust has called with a message handler; the high half
    /// is the handler's stack index.
    const HANDLED: u64 = 2;

    /// The `aux` of a function that Rust calls with the message handler at a stack index.
    pub fn handled_by(index: u32) -> u64 {
        (index as u64) << 32 | CallRecord::HANDLED
    }

    /// The stack index of the message handler with which Rust has called the function.
    pub fn host_handler(&self) -> Option<u32> {
        let handled = self.continuation == Continuation::Host && self.aux as u32 as u64 == CallRecord::HANDLED;
        handled.then_some((self.aux >> 32) as u32)
    }

    /// Whether the function was called as a hook: between two instructions of its caller, all of whose registers are in use
    /// then.
    pub fn is_hook(&self) -> bool {
        self.continuation == Continuation::Host && self.aux == CallRecord::HOOK
    }
}

/// One activation.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CallRecord {
    /// The next instruction, saved while the function is not the running one; null in a host function.
    pub pc: *const Instr,
    /// Where a compiled caller goes on when this activation returns: a place that the caller's prototype owns; null if there
    /// is none.
    pub return_site: *const LoopSite,
    /// For `Native` continuations: what the host function does next.
    pub then: Option<ContinuationFn>,
    /// The window's first register; the function itself lies one below (varargs further below).
    pub base: u32,
    /// The end of the window: behind the last register, or behind a host function's last argument.
    pub top: u32,
    /// Extra arguments of a vararg function, in slots below the function's copy.
    pub extra_args: u32,
    /// Results that the caller wants, or -1 for all.
    pub wanted: i16,
    pub continuation: Continuation,
    pub flags: u8,
    /// Operand of the continuation.
    pub aux: u64,
}

const _: () = {
    assert!(size_of::<CallRecord>() == 48);
    assert!(offset_of!(CallRecord, pc) == 0 && offset_of!(CallRecord, return_site) == 8);
    assert!(offset_of!(CallRecord, base) == 24 && offset_of!(CallRecord, flags) == 39);
};

/// A coroutine. The main program is one too.
#[repr(C, align(8))]
pub struct Coroutine {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    pub status: Cell<Status>,
    /// Which hooks are running; see [`tier1::hook`](crate::tier1::hook).
    pub hooks_running: Cell<u8>,
    /// Calls in progress across which it cannot yield.
    pub non_yieldable: Cell<u32>,
    /// Activations in progress that catch errors.
    pub catching: Cell<u32>,
    pub stack: Cell<*mut Value>,
    /// Slots allocated.
    pub stack_size: Cell<u32>,
    /// Slots in use while not running, or while a host function runs: the end of what the collector scans.
    pub top: Cell<u32>,
    pub records: Cell<*mut CallRecord>,
    pub records_size: Cell<u32>,
    /// Records in use; the last is the current activation.
    pub depth: Cell<u32>,
    /// Who resumed it.
    pub resumer: Cell<Option<Gc<Coroutine>>>,
    /// Stack indices of pending to-be-closed variables, oldest first.
    pub to_close: Cell<Vec<u32>>,
    /// The hook that scripts have set.
    pub hook: Cell<Hook>,
    /// The instruction before which hooks were due last, in the current function.
    pub hook_pc: Cell<u32>,
}

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Coroutine {}
