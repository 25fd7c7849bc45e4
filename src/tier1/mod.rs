//! Tier 1: the adaptive interpreter.

use crate::runtime::Runtime;

/// The state of one VM.
pub struct State {
    pub rt: Runtime,
}

/// Marks that an error is being raised; the error value is in the state.
#[derive(Debug, Clone, Copy)]
pub struct Raised;

/// The arguments of a host function: a window on the running coroutine's stack.
#[derive(Clone, Copy)]
pub struct Args {
    /// Stack index of the first argument; the function lies one below.
    pub base: u32,
    pub count: u32,
}

/// What a host function did: it left this many results at the function's slot and up, or (negative) asked
/// the interpreter to go on elsewhere.
pub type NativeResult = Result<i32, Raised>;

/// A host function.
pub type NativeFn = fn(&mut State, Args) -> NativeResult;

/// How a host function goes on after a function that it had called.
pub type ContinuationFn = fn(&mut State, Args) -> NativeResult;

/// Library functions that instructions or the optimizer know by identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Builtin {
    Other,
    Next,
}
