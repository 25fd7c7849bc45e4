//! x86-64: the assembler, the registers and their roles, the stubs, and the lowering of superblocks.

mod access;
mod allocate;
mod arithmetic;
mod assembler;
mod exits;
mod frames;
mod instruction;
#[cfg(feature = "disasm")]
pub mod listing;
mod lower;
mod operands;
mod registers;
pub mod stubs;

pub use lower::lower;

use super::allocation::Registers;
use super::frame::{Frame, SPILLS};
use super::map::CodeMap;
use super::{CallOut, Jump};
use assembler::{Mem, at};
use registers::{GPRS, RBP, XMMS};

/// The registers that values are given.
pub const ALLOCATED: Registers = Registers {
    general: GPRS,
    float: XMMS,
    spills: SPILLS as u16,
};

/// How far behind the beginning of the frame `rbp` points.
const BIAS: i32 = 128;

/// The displacement of a field of the frame.
macro_rules! field {
    ($name:ident) => {
        std::mem::offset_of!(crate::jit::frame::Frame, $name) as i32 - $crate::jit::x86_64::BIAS
    };
}
use field;

/// A word of an array in the frame.
fn slot_of(array: i32, index: u8) -> Mem {
    at(RBP, array + 8 * index as i32)
}

/// A spilled value's word.
fn spill(word: u16) -> Mem {
    at(RBP, field!(spills) + 8 * word as i32)
}

const _: () = assert!(std::mem::offset_of!(Frame, spills) == 64);

/// What lowering makes.
pub struct Code {
    pub bytes: Vec<u8>,
    pub call_outs: Vec<CallOut>,
    pub jumps: Vec<Jump>,
    pub linked_entry: u32,
    pub called_entry: u32,
    /// Where the loop begins; 0 if there is none.
    pub loop_start: u32,
    /// The displacement of the jump to the loop that the code comes back to.
    pub joins: Option<u32>,
    pub out: u32,
    /// What its ranges are for, if that was asked.
    pub map: Option<CodeMap>,
}
