//! Bytecode for front ends: describing functions as data, and what the verifier demands of them.
//!
//! Lua source is one way to get a function. Another is to describe it: a [`FunctionBuilder`] collects instructions
//! and what they refer to and makes a [`FunctionDescription`], plain data that belongs to no VM;
//! [`Vm::load_bytecode`](crate::Vm::load_bytecode) verifies it, whatever its origin, and makes a function of it. A wrong
//! description is refused with a [`VerifyError`]; what is accepted cannot do harm, whatever values it meets.
//!
//! ```
//! use perilune::Vm;
//! use perilune::bytecode::{Constant, FunctionBuilder, Instr, Op};
//!
//! // function(n) local sum = 0; for i = 1, n do sum = sum + i end; return sum end
//! let mut f = FunctionBuilder::new("=sum", 1, 0);
//! f.emit(Instr::new(Op::LOADI, 1, 0, 0, 0), 1); // sum, in register 1
//! f.emit(Instr::new(Op::LOADI, 2, 0, 0, 1), 2); // start, limit and step, in registers 2 to 4
//! f.emit(Instr::new(Op::MOVE, 3, 0, 0, 0), 3);
//! f.emit(Instr::new(Op::LOADI, 4, 0, 0, 1), 4);
//! let (body, end) = (f.label(), f.label());
//! f.emit_jump(Instr::new(Op::FORPREP, 2, 0, 0, 0), end, 5);
//! f.place(body);
//! f.emit(Instr::new(Op::ADD, 1, 1, 5, 0), 6); // i is in register 5
//! let site = f.loop_site();
//! f.emit_jump(Instr::with_bc(Op::FORLOOP, 2, site, 0), body, 5);
//! f.place(end);
//! f.emit(Instr::new(Op::RETURN1, 1, 0, 0, 0), 2);
//! let description = f.finish()?;
//!
//! let vm = Vm::new();
//! let sum = vm.load_bytecode(&description)?;
//! assert_eq!(sum.call::<i64>(10)?, 55);
//!
//! // The sum may not have been computed.
//! let mut wrong = description;
//! wrong.code.remove(0);
//! let error = vm.load_bytecode(&wrong).unwrap_err();
//! assert!(error.to_string().contains("register 1 may not be initialised"), "{error}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The instructions are described at [`Op`], and as a manual by `cargo run -p perilune-uops --example manual`. To see
//! what the Lua front end makes of something, look at the description of a compiled function
//! ([`Function::description`](crate::Function::description)). Only general instructions may be used: their specialised
//! forms are what the interpreter turns them into.
//!
//! # Frames and registers
//!
//! An activation has [`registers`](FunctionDescription::registers) registers, 255 at most. The first ones hold the
//! parameters, nil where arguments are missing; the others hold nothing until they are written, and must not be read. Extra
//! arguments of a vararg function are found by `VARARG` only. A call's function and arguments lie in consecutive
//! registers, and the results come in their place; everything above is lost.
//!
//! # Live counts
//!
//! Some instructions stop the activation: a callee runs, a metamethod, a finalizer or the collector. Each instruction has
//! a *live count*: the registers below it are kept while the activation is stopped there, and all of them must be
//! initialised; those from the count on are lost, except for the instruction's result. Operands need not be kept, since
//! they are read first, except those of `CONCAT`. The count of an instruction that never stops is not looked at.
//!
//! # Cells and captured variables
//!
//! A variable that a nested function captures lives in a *cell* from its declaration on. `CELL` puts a register's
//! value into a new cell, which takes the value's place; `NEWCELL` makes an empty one. A register with a cell is used by
//! `GETCELL`, `SETCELL` and `CLOSURE` only. `CLOSURE` makes a closure of a nested function with the cells that its
//! [`captured`](FunctionDescription::captured) variables name: each in a register of the enclosing function, or a
//! captured variable of that. The outermost function has no enclosing one: loading makes its cells, with the table of
//! globals in variable 0 and nil in the others.
//!
//! # Open lists
//!
//! A `CALL` with `c` = 0 and a `VARARG` with `c` = 0 produce an *open list*: as many values as there are. The next
//! instruction must take it: a `CALL`, `TAILCALL`, `RETURN` or `SETLIST` with `b` = 0, with nothing between. A `TAILCALL`
//! must be followed by a `RETURN` of its results from the same register with `b` = 0.
//!
//! # Sites
//!
//! Instructions learn, each in a place of its own: field accesses in a field cache (which also has the key, of at most 40
//! bytes), calls in a call site, table constructors in a table site, the ends of loops in a loop site. No two
//! instructions may share one, except for loop site 65535, which learns nothing.
//!
//! # What the verifier enforces
//!
//! - All operands exist and are of the right kind; operands that are not used are zero.
//! - Jumps lead into the function; `LOOP`, `FORLOOP` and `TFORLOOP` lead backwards, all others forwards. Control never runs
//!   off the end.
//! - On every path to an instruction, the registers that it reads are initialised, with a value or with a cell
//!   as needed.
//! - Live counts, open lists and sites are as said above.
//! - `FORLOOP` uses registers that `FORPREP` has prepared and nobody else has written since; `SETLIST` fills a table
//!   fresh from `NEWTABLE`. A [local](FunctionDescription::locals) whose name does not begin with a parenthesis can be
//!   assigned to by the debug library, so it must not name these registers.
//! - Registers marked by `TBC` or `TFORPREP` are marked in ascending order and kept, unwritten, until a `CLOSE` or the
//!   end of the function closes them.

internal! { binary cache lines listing names proto proto_builder source verify }

mod builder;
mod description;
mod unrolling;

pub use builder::{BuildError, FunctionBuilder, Label};
pub use description::{Captured, Constant, FunctionDescription, Instruction, Local, TableSize};
pub use perilune_uops::Op;
pub use perilune_uops::instructions::{Format, Role, Wide};
pub use proto::CellSource;
pub use verify::VerifyError;

pub(crate) use description::LoadError;

use std::fmt;

/// One instruction: opcode and operands in a 64-bit word.
///
/// ```text
///  63            32 31   24 23   16 15    8 7     0
/// |       d        |   c   |   b   |   a   |  op   |
/// ```
///
/// Invariant: the opcode exists.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Instr(u64);

impl fmt::Debug for Instr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b, c, d) = (self.a(), self.b(), self.c(), self.sd());
        write!(f, "{} {a} {b} {c} {d}", self.op().name())
    }
}

impl Instr {
    /// The most registers of a function. One less than an operand can name, so that a count of all of them, plus one,
    /// fits an operand too.
    pub const MAX_REGISTERS: usize = 254;

    /// An instruction. What the operands mean, the [opcode's format](Op::format) says; unused ones must be 0.
    #[inline(always)]
    pub const fn new(op: Op, a: u8, b: u8, c: u8, d: u32) -> Instr {
        Instr(op as u64 | (a as u64) << 8 | (b as u64) << 16 | (c as u64) << 24 | (d as u64) << 32)
    }

    /// An instruction whose `b` and `c` are one 16-bit operand.
    #[inline(always)]
    pub const fn with_bc(op: Op, a: u8, bc: u16, d: u32) -> Instr {
        Instr::new(op, a, bc as u8, (bc >> 8) as u8, d)
    }

    /// The instruction as a word.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The instruction in a word, if its opcode exists.
    pub(crate) fn from_bits(bits: u64) -> Option<Instr> {
        ((bits as u8 as usize) < Op::ALL.len()).then_some(Instr(bits))
    }

    /// The opcode's number.
    #[inline(always)]
    pub fn opcode(self) -> u8 {
        self.0 as u8
    }

    /// The opcode.
    #[inline(always)]
    pub fn op(self) -> Op {
        Op::ALL[self.opcode() as usize]
    }

    /// The opcode, without a check.
    ///
    /// # Safety
    /// The instruction must come from a verified prototype or from [`Instr::new`].
    #[inline(always)]
    pub(crate) unsafe fn op_unchecked(self) -> Op {
        debug_assert!((self.opcode() as usize) < Op::ALL.len());
        // SAFETY: the caller's promise; `Op` is a `u8` without gaps.
        unsafe { std::mem::transmute::<u8, Op>(self.opcode()) }
    }

    /// The first operand.
    #[inline(always)]
    pub fn a(self) -> usize {
        (self.0 >> 8) as u8 as usize
    }

    /// The second operand.
    #[inline(always)]
    pub fn b(self) -> usize {
        (self.0 >> 16) as u8 as usize
    }

    /// The third operand.
    #[inline(always)]
    pub fn c(self) -> usize {
        (self.0 >> 24) as u8 as usize
    }

    /// The second and third operand as one number.
    #[inline(always)]
    pub fn bc(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The wide operand.
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

    /// The same instruction with another wide operand.
    #[inline(always)]
    pub fn with_d(self, d: u32) -> Instr {
        Instr(self.0 & 0xffff_ffff | (d as u64) << 32)
    }
}
