//! Bytecode: instructions, prototypes, inline caches, builder, verifier and listing.

pub mod builder;
pub mod cache;
pub mod lines;
pub mod listing;
pub mod names;
mod proto;
pub mod source;
pub mod verify;

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

pub use perilune_uops::Op;

impl Instr {
    /// The most registers of a function. One less than an operand can name, so that a count of all of them, plus one,
    /// fits an operand too.
    pub const MAX_REGISTERS: usize = 254;

    #[inline(always)]
    pub const fn new(op: Op, a: u8, b: u8, c: u8, d: u32) -> Instr {
        Instr(op as u64 | (a as u64) << 8 | (b as u64) << 16 | (c as u64) << 24 | (d as u64) << 32)
    }

    /// An instruction whose `b` and `c` are one 16-bit operand.
    #[inline(always)]
    pub const fn with_bc(op: Op, a: u8, bc: u16, d: u32) -> Instr {
        Instr::new(op, a, bc as u8, (bc >> 8) as u8, d)
    }

    #[inline(always)]
    pub fn opcode(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    pub fn op(self) -> Op {
        Op::ALL[self.opcode() as usize]
    }

    /// The opcode, without a check.
    ///
    /// # Safety
    /// The instruction must come from a verified prototype or from [`Instr::new`].
    #[inline(always)]
    pub unsafe fn op_unchecked(self) -> Op {
        debug_assert!((self.opcode() as usize) < Op::ALL.len());
        // SAFETY: the caller's promise; `Op` is a `u8` without gaps.
        unsafe { std::mem::transmute::<u8, Op>(self.opcode()) }
    }

    #[inline(always)]
    pub fn a(self) -> usize {
        (self.0 >> 8) as u8 as usize
    }

    #[inline(always)]
    pub fn b(self) -> usize {
        (self.0 >> 16) as u8 as usize
    }

    #[inline(always)]
    pub fn c(self) -> usize {
        (self.0 >> 24) as u8 as usize
    }

    #[inline(always)]
    pub fn bc(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline(always)]
    pub fn d(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// `d` as a signed number: an immediate or a jump.
    #[inline(always)]
    pub fn sd(self) -> i32 {
        (self.0 >> 32) as i32
    }

    /// The same operands under another opcode.
    #[inline(always)]
    pub fn with_op(self, op: Op) -> Instr {
        Instr(self.0 & !0xff | op as u64)
    }

    #[inline(always)]
    pub fn with_d(self, d: u32) -> Instr {
        Instr(self.0 & 0xffff_ffff | (d as u64) << 32)
    }
}
