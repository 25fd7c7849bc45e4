//! Tier 1: the adaptive interpreter, and the state of a VM that it runs on.
//!
//! - [`state`]: the VM state, the running coroutine's stack, raising errors;
//! - [`interp`]: the dispatch loop; [`slow`]: what instructions do when their fast path fails;
//! - [`ic`]: filling inline caches; [`call`]: calls, returns and continuations; [`unwind`]: errors;
//! - [`coroutine`]: resuming and yielding; [`native`]: what host functions see;
//! - [`collect`]: roots and finalizers; [`poll`]: interrupts and heat; [`recording`]: recorded passes;
//! - [`message`]: the wording of run-time errors; [`introspect`]: activations and tracebacks;
//! - [`statistics`]: what the VM has done.

pub mod call;
mod collect;
pub mod coroutine;
mod ic;
mod interp;
pub mod introspect;
pub mod message;
pub mod native;
mod poll;
pub mod recording;
mod slow;
pub mod state;
pub mod statistics;
mod unwind;

pub use native::{Args, Builtin, ContinuationFn, NativeFn, NativeResult};
pub use slow::{
    Arith, ArithError, Chain, arith_numbers, index_chain, is_next, newindex_chain, primitive_order,
};
pub use state::{Raised, State};
