//! Bytecode: instructions, prototypes, inline caches, builder, verifier and listing.

pub mod cache;
pub mod lines;
mod proto;

pub use cache::{CallSite, FieldCache, LoopSite, ReturnSite, TableSite};
pub use proto::{CapturedVar, CellSource, LocalVar, Proto, ProtoInfo, proto_flags};

/// One instruction: opcode and operands in a 64-bit word. See `perilune-uops` for the instruction set.
///
/// ```text
///  63            32 31   24 23   16 15    8 7     0
/// |       d        |   c   |   b   |   a   |  op   |
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Instr(pub u64);
