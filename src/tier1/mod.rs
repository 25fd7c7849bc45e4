//! Tier 1: the adaptive interpreter, and the state of a VM that it runs on.
//!
//! - [`state`]: the VM state, the running coroutine's stack, raising errors;
//! - [`interp`]: the dispatch loop; [`slow`]: what instructions do when their fast path fails;
//! - [`ic`]: filling inline caches; [`call`]: calls, returns and continuations; [`unwind`]: errors;
//! - [`callback`]: host functions across which nobody can yield while they call back;
//! - [`coroutine`]: resuming and yielding; [`native`]: what host functions see;
//! - [`hook`]: hooks; [`collect`]: roots and finalizers; [`poll`]: interrupts and heat; [`recording`]: recorded passes;
//! - [`message`]: the wording of run-time errors; [`introspect`]: activations and tracebacks;
//! - [`statistics`]: what the VM has done.

pub mod call;
pub mod callback;
mod collect;
mod concat;
pub mod coroutine;
pub mod hook;
mod ic;
mod interp;
pub mod introspect;
pub mod message;
pub mod native;
mod poll;
pub mod recording;
pub(crate) mod slow;
pub mod state;
pub mod statistics;
mod unwind;

#[cfg(test)]
pub(crate) use interp::execute;
pub(crate) use interp::execute_one;
pub use concat::joined;
pub use native::{Args, Builtin, ContinuationFn, Leaf, NativeFn, NativeResult};
pub use slow::{
    Arith, ArithError, Chain, arith_numbers, index_chain, is_next, newindex_chain, primitive_order,
};
pub use state::{Raised, State};
