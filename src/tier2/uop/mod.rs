//! The tier-2 interpreter: executors as micro-ops over an array of untagged 64-bit registers.

/// The executable form of a superblock.
#[derive(Debug, Default)]
pub struct Code {}
