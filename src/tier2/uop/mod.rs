//! The tier-2 interpreter: executors as micro-ops over an array of untagged 64-bit registers.

use super::executor::Executor;
use super::superblock::Superblock;
use crate::tier1::State;
use crate::tier1::call::Outcome;
use crate::tier1::Raised;

/// The executable form of a superblock.
#[derive(Debug, Default)]
pub struct Code {}

/// Lowers.
pub fn lower(_: &Superblock) -> Result<Code, ()> {
    Ok(Code {})
}

/// Runs.
pub fn run(_: &mut State, _: *const Executor) -> Result<Outcome, Raised> {
    Ok(Outcome::Continue)
}
