//! The code through which control enters and leaves machine code.

use super::assembler::{Assembler, at};
use super::registers::*;
use super::{field, slot_of};
use crate::jit::Unwinding;
use crate::jit::frame::Frame;
use crate::jit::memory::{Block, CodeMemory, MemoryError};

/// What [`Stubs::enter`] leaves on the native stack: the return address, the saved registers, and eight bytes for the
/// alignment. Code leaves it as it is.
pub const UNWINDING: Unwinding = Unwinding {
    depth: 8 + 8 * CALLEE_SAVED.len() as u64 + 8,
    // rbx, rbp, and the others have their own numbers.
    saved: [3, 6, 12, 13, 14, 15],
};

/// See the module's documentation.
pub struct Stubs {
    block: Block,
    size: usize,
    exit: usize,
    left: usize,
}

impl Stubs {
    pub fn new(memory: &CodeMemory) -> Result<Stubs, MemoryError> {
        let mut asm = Assembler::default();
        // enter(frame: rdi, code: rsi): the stack is aligned for calls while code runs.
        for r in CALLEE_SAVED {
            asm.push(r);
        }
        asm.alu_imm(super::assembler::Alu::Sub, RSP, 8);
        asm.lea(RBP, at(RDI, super::BIAS));
        asm.jump_to(RSI);

        // Leaving by an exit, whose number is in eax, of the code whose information is in rcx.
        let exit = asm.position();
        for &r in GPRS {
            asm.store(slot_of(field!(gprs), r), Gpr(r));
        }
        for &x in XMMS {
            asm.store_float(slot_of(field!(xmms), x), Xmm(x));
        }
        asm.store(at(RBP, field!(exit)), RAX);
        asm.store(at(RBP, field!(left)), RCX);

        // Leaving for good.
        let left = asm.position();
        asm.alu_imm(super::assembler::Alu::Add, RSP, 8);
        for &r in CALLEE_SAVED.iter().rev() {
            asm.pop(r);
        }
        asm.ret();
        let code = asm.finish();
        let mut block = memory.allocate(code.len())?;
        block.write(&code);
        Ok(Stubs {
            block,
            size: code.len(),
            exit,
            left,
        })
    }

    /// Runs machine code until it leaves.
    ///
    /// # Safety
    /// The frame has been set up for the code, which is entered in memory.
    pub unsafe fn enter(&self, frame: *mut Frame, code: *const u8) {
        // SAFETY: the stub is such a function.
        let enter: unsafe extern "C" fn(*mut Frame, *const u8) =
            unsafe { std::mem::transmute(self.block.address()) };
        // SAFETY: the caller's promise.
        unsafe { enter(frame, code) }
    }

    /// Their code.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block is readable where it runs, and never changes.
        unsafe { std::slice::from_raw_parts(self.block.address(), self.size) }
    }

    /// Where code leaves by an exit.
    pub fn exit(&self) -> u64 {
        self.block.address() as u64 + self.exit as u64
    }

    /// Where code leaves when the runtime has said how control goes on.
    pub fn left(&self) -> u64 {
        self.block.address() as u64 + self.left as u64
    }
}
