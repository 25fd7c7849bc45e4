//! The assembler: instructions as bytes.
//!
//! Encodings are dynasm's. Which operands are registers, memory or constants is only known when a superblock is lowered, so each
//! instruction has a template for each kind of operand, with registers by number. Templates assemble into an [`Instruction`],
//! which is appended to the code in its shortest form.

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler, dynasm};

use super::instruction::Instruction;
use super::registers::{Gpr, Xmm};

/// A place in the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(DynamicLabel);

/// A memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mem {
    At {
        base: Gpr,
        disp: i32,
    },
    /// base + index * scale + disp, where the scale is 1, 2, 4 or 8 and the index is not rsp.
    Indexed {
        base: Gpr,
        index: Gpr,
        scale: u8,
        disp: i32,
    },
    /// In the code itself.
    Code(Label),
}

/// The memory at `base + disp`.
pub fn at(base: Gpr, disp: i32) -> Mem {
    Mem::At { base, disp }
}

/// A register or memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    Register(u8),
    Memory(Mem),
}

impl From<Gpr> for Operand {
    fn from(r: Gpr) -> Operand {
        Operand::Register(r.0)
    }
}

impl From<Xmm> for Operand {
    fn from(x: Xmm) -> Operand {
        Operand::Register(x.0)
    }
}

impl From<Mem> for Operand {
    fn from(m: Mem) -> Operand {
        Operand::Memory(m)
    }
}

/// Arithmetic that sets flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alu {
    Add,
    Or,
    And,
    Sub,
    Xor,
    Cmp,
}

/// Shifts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shift {
    Left,
    Right,
    Arithmetic,
}

/// Float arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sse {
    Sqrt,
    Add,
    Mul,
    Sub,
    Min,
    Div,
    Max,
}

/// Conditions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cond {
    Below,
    AboveEqual,
    Equal,
    NotEqual,
    BelowEqual,
    Above,
    NotSign,
    Parity,
    Less,
    GreaterEqual,
    LessEqual,
    Greater,
}

impl Cond {
    pub fn negate(self) -> Cond {
        use Cond::*;
        match self {
            Below => AboveEqual,
            AboveEqual => Below,
            Equal => NotEqual,
            NotEqual => Equal,
            BelowEqual => Above,
            Above => BelowEqual,
            NotSign | Parity => unreachable!("these are not conditions of tests"),
            Less => GreaterEqual,
            GreaterEqual => Less,
            LessEqual => Greater,
            Greater => LessEqual,
        }
    }
}

/// An instruction whose operands are registers and constants.
macro_rules! instruction {
    ($($template:tt)*) => {{
        let mut instruction = Instruction::default();
        dynasm!(instruction ; .arch x64 ; $($template)*);
        instruction
    }};
}

/// An instruction with a memory operand, between what stands before and behind it.
macro_rules! memory {
    ($memory:expr, [$($before:tt)*] [$($behind:tt)*]) => {
        match $memory {
            Mem::At { base, disp } => {
                instruction!($($before)* [DWORD Rq(base) + disp] $($behind)*).with_base()
            }
            Mem::Indexed { base, index, scale, disp } => {
                debug_assert!(index.0 != 4 && matches!(scale, 1 | 2 | 4 | 8));
                match scale {
                    1 => instruction!($($before)* [DWORD Rq(base) + Rq(index) + disp] $($behind)*),
                    2 => instruction!($($before)* [DWORD Rq(base) + Rq(index) * 2 + disp] $($behind)*),
                    4 => instruction!($($before)* [DWORD Rq(base) + Rq(index) * 4 + disp] $($behind)*),
                    _ => instruction!($($before)* [DWORD Rq(base) + Rq(index) * 8 + disp] $($behind)*),
                }
                .with_base()
            }
            Mem::Code(label) => instruction!($($before)* [=>label.0] $($behind)*),
        }
    };
}

/// An instruction with an operand that may be a register of a family or memory of a size.
macro_rules! operand {
    ($operand:expr, $family:ident, $size:ident, [$($before:tt)*] [$($behind:tt)*]) => {
        match $operand {
            Operand::Register(r) => instruction!($($before)* $family(r) $($behind)*),
            Operand::Memory(memory) => memory!(memory, [$($before)* $size] [$($behind)*]),
        }
    };
}

/// Arithmetic with an operand that may be a register of a family or memory of a size.
macro_rules! alu {
    ($op:expr, $operand:expr, $family:ident, $size:ident, [$($before:tt)*] [$($behind:tt)*]) => {
        match $op {
            Alu::Add => operand!($operand, $family, $size, [add $($before)*] [$($behind)*]),
            Alu::Or => operand!($operand, $family, $size, [or $($before)*] [$($behind)*]),
            Alu::And => operand!($operand, $family, $size, [and $($before)*] [$($behind)*]),
            Alu::Sub => operand!($operand, $family, $size, [sub $($before)*] [$($behind)*]),
            Alu::Xor => operand!($operand, $family, $size, [xor $($before)*] [$($behind)*]),
            Alu::Cmp => operand!($operand, $family, $size, [cmp $($before)*] [$($behind)*]),
        }
    };
}

/// Code being made. It may lie anywhere: references within it are relative.
pub struct Assembler {
    code: VecAssembler<X64Relocation>,
    literals: Vec<(u64, Label)>,
}

impl Default for Assembler {
    fn default() -> Assembler {
        Assembler {
            code: VecAssembler::new_with_capacity(0, 2048, 0, 0, 64, 0, 128),
            literals: Vec::new(),
        }
    }
}

impl Assembler {
    pub fn position(&self) -> usize {
        self.code.offset().0
    }

    pub fn label(&mut self) -> Label {
        Label(self.code.new_dynamic_label())
    }

    pub fn bind(&mut self, label: Label) {
        self.code.dynamic_label(label.0);
    }

    /// Where a bound label is.
    pub fn offset_of(&self, label: Label) -> usize {
        let offset = self.code.labels().resolve_dynamic(label.0);
        offset.expect("the label is bound").0
    }

    /// A 64-bit constant in memory, behind the code.
    pub fn literal(&mut self, bits: u64) -> Mem {
        if let Some(known) = self.literals.iter().find(|l| l.0 == bits) {
            return Mem::Code(known.1);
        }
        let label = self.label();
        self.literals.push((bits, label));
        Mem::Code(label)
    }

    /// Appends the literals and fills in all displacements.
    pub fn finish(mut self) -> Vec<u8> {
        dynasm!(self.code ; .arch x64 ; .align 16, 0xCC);
        for (bits, label) in std::mem::take(&mut self.literals) {
            // Masks for packed instructions are sixteen bytes.
            dynasm!(self.code ; .arch x64 ; =>label.0 ; .u64 bits ; .u64 0);
        }
        let code = self.code.finalize();
        code.expect("labels are bound once, within reach")
    }

    /// Appends the shortest form of an instruction.
    #[inline(never)]
    fn append(&mut self, instruction: Instruction) {
        let instruction = instruction.shorten();
        let (bytes, len) = instruction.bytes();
        self.code.extend(&bytes[..len]);
        if let Some(r) = instruction.reference {
            self.code.dynamic_reloc(r.label, 0, r.offset, 0, r.kind);
        }
    }

    // Moves.

    pub fn mov(&mut self, to: Gpr, from: Gpr) {
        if to != from {
            self.append(instruction!(mov Rq(to), Rq(from)));
        }
    }

    /// Leaves the flags alone.
    pub fn mov_imm(&mut self, to: Gpr, imm: u64) {
        self.append(if let Ok(low) = u32::try_from(imm) {
            instruction!(mov Rd(to), DWORD low as i32)
        } else if let Ok(short) = i32::try_from(imm as i64) {
            instruction!(mov Rq(to), DWORD short)
        } else {
            instruction!(mov Rq(to), QWORD imm as i64)
        });
    }

    /// Always five bytes, for one of the first eight registers.
    pub fn mov32_imm(&mut self, to: Gpr, imm: u32) {
        debug_assert!(to.0 < 8);
        self.append(instruction!(mov Rd(to), DWORD imm as i32));
    }

    pub fn load(&mut self, to: Gpr, from: Mem) {
        self.append(memory!(from, [mov Rq(to), QWORD] []));
    }

    pub fn store(&mut self, to: Mem, from: Gpr) {
        self.append(memory!(to, [mov QWORD] [, Rq(from)]));
    }

    /// Stores a sign-extended constant.
    pub fn store_imm(&mut self, to: Mem, imm: i32) {
        self.append(memory!(to, [mov QWORD] [, DWORD imm]));
    }

    pub fn load32(&mut self, to: Gpr, from: Mem) {
        self.append(memory!(from, [mov Rd(to), DWORD] []));
    }

    pub fn store32(&mut self, to: Mem, from: Gpr) {
        self.append(memory!(to, [mov DWORD] [, Rd(from)]));
    }

    pub fn store32_imm(&mut self, to: Mem, imm: u32) {
        self.append(memory!(to, [mov DWORD] [, DWORD imm as i32]));
    }

    /// Loads a byte, extended with zeros.
    pub fn load8(&mut self, to: Gpr, from: Mem) {
        self.append(memory!(from, [movzx Rd(to), BYTE] []));
    }

    pub fn store8(&mut self, to: Mem, from: Gpr) {
        self.append(memory!(to, [mov BYTE] [, Rb(from)]).low_byte_of(from));
    }

    pub fn store8_imm(&mut self, to: Mem, imm: u8) {
        self.append(memory!(to, [mov BYTE] [, BYTE imm as i8]));
    }

    pub fn lea(&mut self, to: Gpr, of: Mem) {
        self.append(memory!(of, [lea Rq(to),] []));
    }

    // Integers.

    pub fn alu(&mut self, op: Alu, to: Gpr, from: impl Into<Operand>) {
        self.append(alu!(op, from.into(), Rq, QWORD, [Rq(to),] []));
    }

    pub fn alu_imm(&mut self, op: Alu, to: impl Into<Operand>, imm: i32) {
        self.append(alu!(op, to.into(), Rq, QWORD, [] [, DWORD imm]));
    }

    pub fn alu32(&mut self, op: Alu, to: Gpr, from: impl Into<Operand>) {
        self.append(alu!(op, from.into(), Rd, DWORD, [Rd(to),] []));
    }

    pub fn alu32_imm(&mut self, op: Alu, to: impl Into<Operand>, imm: i32) {
        self.append(alu!(op, to.into(), Rd, DWORD, [] [, DWORD imm]));
    }

    /// Compares a byte in memory.
    pub fn cmp8_imm(&mut self, with: Mem, imm: u8) {
        self.append(memory!(with, [cmp BYTE] [, BYTE imm as i8]));
    }

    pub fn test(&mut self, x: Gpr, y: Gpr) {
        self.append(instruction!(test Rq(x), Rq(y)));
    }

    pub fn imul(&mut self, to: Gpr, from: impl Into<Operand>) {
        self.append(operand!(from.into(), Rq, QWORD, [imul Rq(to),] []));
    }

    pub fn imul_imm(&mut self, to: Gpr, from: impl Into<Operand>, imm: i32) {
        self.append(operand!(from.into(), Rq, QWORD, [imul Rq(to),] [, DWORD imm]));
    }

    /// rdx:rax becomes the product of rax and the operand, unsigned.
    pub fn mul(&mut self, by: impl Into<Operand>) {
        self.append(operand!(by.into(), Rq, QWORD, [mul] []));
    }

    pub fn neg(&mut self, r: Gpr) {
        self.append(instruction!(neg Rq(r)));
    }

    pub fn not(&mut self, r: Gpr) {
        self.append(instruction!(not Rq(r)));
    }

    /// Divides rdx:rax.
    pub fn idiv(&mut self, by: Gpr) {
        self.append(instruction!(idiv Rq(by)));
    }

    /// Divides edx:eax, unsigned.
    pub fn div32(&mut self, by: Gpr) {
        self.append(instruction!(div Rd(by)));
    }

    /// Extends the sign of rax into rdx.
    pub fn cqo(&mut self) {
        self.append(instruction!(cqo));
    }

    pub fn shift_imm(&mut self, op: Shift, r: Gpr, by: u8) {
        self.append(match op {
            Shift::Left => instruction!(shl Rq(r), BYTE by as i8),
            Shift::Right => instruction!(shr Rq(r), BYTE by as i8),
            Shift::Arithmetic => instruction!(sar Rq(r), BYTE by as i8),
        });
    }

    /// By cl, modulo 64.
    pub fn shift(&mut self, op: Shift, r: Gpr) {
        self.append(match op {
            Shift::Left => instruction!(shl Rq(r), cl),
            Shift::Right => instruction!(shr Rq(r), cl),
            Shift::Arithmetic => instruction!(sar Rq(r), cl),
        });
    }

    /// Makes 1 or 0 of a condition.
    pub fn set(&mut self, cond: Cond, to: Gpr) {
        let set = match cond {
            Cond::Below => instruction!(setb Rb(to)),
            Cond::AboveEqual => instruction!(setae Rb(to)),
            Cond::Equal => instruction!(sete Rb(to)),
            Cond::NotEqual => instruction!(setne Rb(to)),
            Cond::BelowEqual => instruction!(setbe Rb(to)),
            Cond::Above => instruction!(seta Rb(to)),
            Cond::NotSign => instruction!(setns Rb(to)),
            Cond::Parity => instruction!(setp Rb(to)),
            Cond::Less => instruction!(setl Rb(to)),
            Cond::GreaterEqual => instruction!(setge Rb(to)),
            Cond::LessEqual => instruction!(setle Rb(to)),
            Cond::Greater => instruction!(setg Rb(to)),
        };
        self.append(set.low_byte_of(to));
        self.append(instruction!(movzx Rd(to), Rb(to)).low_byte_of(to));
    }

    pub fn cmov(&mut self, cond: Cond, to: Gpr, from: impl Into<Operand>) {
        let from = from.into();
        self.append(match cond {
            Cond::Below => operand!(from, Rq, QWORD, [cmovb Rq(to),] []),
            Cond::AboveEqual => operand!(from, Rq, QWORD, [cmovae Rq(to),] []),
            Cond::Equal => operand!(from, Rq, QWORD, [cmove Rq(to),] []),
            Cond::NotEqual => operand!(from, Rq, QWORD, [cmovne Rq(to),] []),
            Cond::BelowEqual => operand!(from, Rq, QWORD, [cmovbe Rq(to),] []),
            Cond::Above => operand!(from, Rq, QWORD, [cmova Rq(to),] []),
            Cond::NotSign => operand!(from, Rq, QWORD, [cmovns Rq(to),] []),
            Cond::Parity => operand!(from, Rq, QWORD, [cmovp Rq(to),] []),
            Cond::Less => operand!(from, Rq, QWORD, [cmovl Rq(to),] []),
            Cond::GreaterEqual => operand!(from, Rq, QWORD, [cmovge Rq(to),] []),
            Cond::LessEqual => operand!(from, Rq, QWORD, [cmovle Rq(to),] []),
            Cond::Greater => operand!(from, Rq, QWORD, [cmovg Rq(to),] []),
        });
    }

    // Control.

    pub fn jump(&mut self, to: Label) {
        dynasm!(self.code ; .arch x64 ; jmp =>to.0);
    }

    pub fn jump_if(&mut self, cond: Cond, to: Label) {
        match cond {
            Cond::Below => dynasm!(self.code ; .arch x64 ; jb =>to.0),
            Cond::AboveEqual => dynasm!(self.code ; .arch x64 ; jae =>to.0),
            Cond::Equal => dynasm!(self.code ; .arch x64 ; je =>to.0),
            Cond::NotEqual => dynasm!(self.code ; .arch x64 ; jne =>to.0),
            Cond::BelowEqual => dynasm!(self.code ; .arch x64 ; jbe =>to.0),
            Cond::Above => dynasm!(self.code ; .arch x64 ; ja =>to.0),
            Cond::NotSign => dynasm!(self.code ; .arch x64 ; jns =>to.0),
            Cond::Parity => dynasm!(self.code ; .arch x64 ; jp =>to.0),
            Cond::Less => dynasm!(self.code ; .arch x64 ; jl =>to.0),
            Cond::GreaterEqual => dynasm!(self.code ; .arch x64 ; jge =>to.0),
            Cond::LessEqual => dynasm!(self.code ; .arch x64 ; jle =>to.0),
            Cond::Greater => dynasm!(self.code ; .arch x64 ; jg =>to.0),
        }
    }

    /// A jump whose displacement is an aligned word, so that it can be patched. Returns its offset.
    pub fn patchable_jump(&mut self, to: Label) -> usize {
        debug_assert_eq!(self.position() % 4, 3);
        self.jump(to);
        self.position() - 4
    }

    /// Fills up until the position is `rest` modulo 4. Not to be run through.
    pub fn align_cold(&mut self, rest: usize) {
        while self.position() % 4 != rest {
            self.code.push(0xCC);
        }
    }

    /// Fills up to a multiple of 16.
    pub fn align_loop(&mut self) {
        self.fill(self.position().wrapping_neg() % 16);
    }

    /// Fills up until the position is `rest` modulo 4.
    pub fn align_code(&mut self, rest: usize) {
        self.fill((rest + 4 - self.position() % 4) % 4);
    }

    /// Fills in instructions that do nothing.
    fn fill(&mut self, missing: usize) {
        let end = self.position() + missing;
        while self.position() < end {
            match end - self.position() {
                1 => dynasm!(self.code ; .arch x64 ; nop),
                2 => dynasm!(self.code ; .arch x64 ; xchg ax, ax),
                3 => dynasm!(self.code ; .arch x64 ; nop DWORD [rax]),
                4 => dynasm!(self.code ; .arch x64 ; nop DWORD [BYTE rax + 0]),
                5 => dynasm!(self.code ; .arch x64 ; nop DWORD [BYTE rax + rax * 1 + 0]),
                6 => dynasm!(self.code ; .arch x64 ; nop WORD [BYTE rax + rax * 1 + 0]),
                7 => dynasm!(self.code ; .arch x64 ; nop DWORD [DWORD rax + 0]),
                8 => dynasm!(self.code ; .arch x64 ; nop DWORD [DWORD rax + rax * 1 + 0]),
                _ => dynasm!(self.code ; .arch x64 ; nop WORD [DWORD rax + rax * 1 + 0]),
            }
        }
    }

    pub fn jump_to(&mut self, to: Gpr) {
        self.append(instruction!(jmp Rq(to)));
    }

    pub fn call(&mut self, to: Gpr) {
        self.append(instruction!(call Rq(to)));
    }

    pub fn push(&mut self, r: Gpr) {
        self.append(instruction!(push Rq(r)));
    }

    pub fn pop(&mut self, r: Gpr) {
        self.append(instruction!(pop Rq(r)));
    }

    pub fn ret(&mut self) {
        self.append(instruction!(ret));
    }

    // Floats.

    pub fn movsd(&mut self, to: Xmm, from: Xmm) {
        if to != from {
            self.append(instruction!(movaps Rx(to), Rx(from)));
        }
    }

    pub fn load_float(&mut self, to: Xmm, from: Mem) {
        self.append(memory!(from, [movsd Rx(to), QWORD] []));
    }

    pub fn store_float(&mut self, to: Mem, from: Xmm) {
        self.append(memory!(to, [movsd QWORD] [, Rx(from)]));
    }

    /// Stores all sixteen bytes of a register.
    pub fn store_wide(&mut self, to: Mem, from: Xmm) {
        self.append(memory!(to, [movups OWORD] [, Rx(from)]));
    }

    /// The bits of a register as a float.
    pub fn float_of_bits(&mut self, to: Xmm, from: Gpr) {
        self.append(instruction!(movq Rx(to), Rq(from)));
    }

    pub fn bits_of_float(&mut self, to: Gpr, from: Xmm) {
        self.append(instruction!(movq Rq(to), Rx(from)));
    }

    pub fn sse(&mut self, op: Sse, to: Xmm, from: impl Into<Operand>) {
        let from = from.into();
        self.append(match op {
            Sse::Sqrt => operand!(from, Rx, QWORD, [sqrtsd Rx(to),] []),
            Sse::Add => operand!(from, Rx, QWORD, [addsd Rx(to),] []),
            Sse::Mul => operand!(from, Rx, QWORD, [mulsd Rx(to),] []),
            Sse::Sub => operand!(from, Rx, QWORD, [subsd Rx(to),] []),
            Sse::Min => operand!(from, Rx, QWORD, [minsd Rx(to),] []),
            Sse::Div => operand!(from, Rx, QWORD, [divsd Rx(to),] []),
            Sse::Max => operand!(from, Rx, QWORD, [maxsd Rx(to),] []),
        });
    }

    pub fn compare_floats(&mut self, x: Xmm, y: impl Into<Operand>) {
        self.append(operand!(y.into(), Rx, QWORD, [ucomisd Rx(x),] []));
    }

    pub fn float_of_int(&mut self, to: Xmm, from: impl Into<Operand>) {
        self.append(operand!(from.into(), Rq, QWORD, [cvtsi2sd Rx(to),] []));
    }

    pub fn int_of_float(&mut self, to: Gpr, from: Xmm) {
        self.append(instruction!(cvttsd2si Rq(to), Rx(from)));
    }

    pub fn zero_float(&mut self, x: Xmm) {
        self.append(instruction!(xorps Rx(x), Rx(x)));
    }

    pub fn xor_float(&mut self, x: Xmm, y: impl Into<Operand>) {
        self.append(operand!(y.into(), Rx, OWORD, [xorps Rx(x),] []));
    }

    pub fn and_float(&mut self, x: Xmm, y: impl Into<Operand>) {
        self.append(operand!(y.into(), Rx, OWORD, [andps Rx(x),] []));
    }

    /// Rounds to an integral float: down (1) or up (2). Needs SSE4.1.
    pub fn round(&mut self, to: Xmm, from: impl Into<Operand>, mode: u8) {
        // Inexact results are no exceptions.
        let mode = (mode | 8) as i8;
        self.append(operand!(from.into(), Rx, QWORD, [roundsd Rx(to),] [, BYTE mode]));
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Encoder, IcedError, Instruction as Reference, MemoryOperand, Register};

    use super::super::registers::*;
    use super::*;

    /// What a few instructions assemble to, as the system's assembler has it.
    #[test]
    fn encodings() {
        let check = |expected: &[u8], make: &dyn Fn(&mut Assembler)| {
            let mut asm = Assembler::default();
            make(&mut asm);
            assert_eq!(asm.code.finalize(), Ok(expected.to_vec()));
        };
        check(&[0x48, 0x8B, 0x45, 0x80], &|a| a.load(RAX, at(RBP, -128)));
        check(&[0x4D, 0x8B, 0x24, 0x24], &|a| a.load(R12, at(R12, 0)));
        check(&[0x4D, 0x8B, 0x6D, 0x00], &|a| a.load(R13, at(R13, 0)));
        check(&[0x4C, 0x89, 0xBC, 0x24, 0, 1, 0, 0], &|a| {
            a.store(at(RSP, 256), R15)
        });
        let element = Mem::Indexed {
            base: R13,
            index: R9,
            scale: 8,
            disp: 0,
        };
        check(&[0x4B, 0x8B, 0x44, 0xCD, 0x00], &|a| a.load(RAX, element));
        check(&[0x40, 0x88, 0x77, 0x05], &|a| a.store8(at(RDI, 5), RSI));
        check(&[0x80, 0x3B, 0x07], &|a| a.cmp8_imm(at(RBX, 0), 7));
        check(&[0x81, 0x7F, 0x04, 0x2A, 0x01, 0, 0], &|a| {
            a.alu32_imm(Alu::Cmp, at(RDI, 4), 298)
        });
        check(&[0x49, 0x83, 0xC2, 0xFF], &|a| a.alu_imm(Alu::Add, R10, -1));
        check(&[0xB8, 0, 0, 0, 0], &|a| a.mov_imm(RAX, 0));
        check(&[0x41, 0xBF, 1, 0, 0, 0], &|a| a.mov_imm(R15, 1));
        check(&[0x49, 0xC7, 0xC0, 0xFE, 0xFF, 0xFF, 0xFF], &|a| {
            a.mov_imm(R8, -2i64 as u64)
        });
        check(&[0x49, 0xB8, 0, 0, 0, 0, 1, 0, 0, 0], &|a| {
            a.mov_imm(R8, 1 << 32)
        });
        check(&[0x40, 0x0F, 0x9C, 0xC6, 0x40, 0x0F, 0xB6, 0xF6], &|a| {
            a.set(Cond::Less, RSI)
        });
        check(&[0xF2, 0x44, 0x0F, 0x58, 0xC9], &|a| {
            a.sse(Sse::Add, Xmm(9), Xmm(1))
        });
        check(&[0x66, 0x4C, 0x0F, 0x6E, 0xC0], &|a| {
            a.float_of_bits(Xmm(8), RAX)
        });
        check(&[0x66, 0x48, 0x0F, 0x7E, 0xC0], &|a| {
            a.bits_of_float(RAX, Xmm(0))
        });
        check(&[0xF2, 0x48, 0x0F, 0x2A, 0xC8], &|a| {
            a.float_of_int(Xmm(1), RAX)
        });
        check(&[0x66, 0x0F, 0x3A, 0x0B, 0xD1, 0x09], &|a| {
            a.round(Xmm(2), Xmm(1), 1)
        });
    }

    #[test]
    fn literals_and_labels_are_relative() {
        let mut asm = Assembler::default();
        let start = asm.label();
        asm.bind(start);
        let one = asm.literal(1.0f64.to_bits());
        assert_eq!(asm.literal(1.0f64.to_bits()), one);
        asm.round(Xmm(0), one, 2);
        asm.jump(start);
        let code = asm.finish();
        // The literal lies at 16; the operand counts from the end of the instruction, at 10.
        assert_eq!(
            &code[..10],
            [0x66, 0x0F, 0x3A, 0x0B, 0x05, 6, 0, 0, 0, 0x0A]
        );
        assert_eq!(&code[10..15], [0xE9, 0xF1, 0xFF, 0xFF, 0xFF]);
        assert_eq!(&code[16..24], 1.0f64.to_bits().to_le_bytes());
    }

    const GENERAL: [Gpr; 5] = [RAX, RSP, RBP, RSI, R12];
    const INDICES: [Gpr; 5] = [RCX, RBP, RDI, R9, R12];
    const DISPLACEMENTS: [i32; 8] = [0, 1, -1, 127, 128, -128, -129, i32::MAX];
    const CONSTANTS: [i32; 8] = [0, 1, -1, 127, 128, -128, -129, i32::MIN];

    fn quad(r: u8) -> Register {
        Register::RAX + r as u32
    }

    fn double(r: u8) -> Register {
        Register::EAX + r as u32
    }

    fn byte(r: u8) -> Register {
        // Behind the fourth one, the second bytes of the first registers have names.
        Register::AL + r as u32 + if r < 4 { 0 } else { 4 }
    }

    fn float(x: u8) -> Register {
        Register::XMM0 + x as u32
    }

    /// Memory operands of all forms, and what they are in the reference.
    fn memories() -> Vec<(Mem, MemoryOperand)> {
        let mut memories = Vec::new();
        for base in (0..16).map(Gpr) {
            for disp in DISPLACEMENTS {
                let size = u32::from(disp != 0);
                let (from, by) = (quad(base.0), disp as i64);
                let reference = MemoryOperand::with_base_displ_size(from, by, size);
                memories.push((at(base, disp), reference));
                for (index, scale) in INDICES
                    .into_iter()
                    .flat_map(|i| [1, 2, 4, 8].map(|s| (i, s)))
                {
                    let element = Mem::Indexed {
                        base,
                        index,
                        scale,
                        disp,
                    };
                    let (index, scale) = (quad(index.0), scale as u32);
                    memories.push((
                        element,
                        MemoryOperand::with_base_index_scale_displ_size(
                            from, index, scale, by, size,
                        ),
                    ));
                }
            }
        }
        memories
    }

    /// Checks that something assembles to what the reference has as the instruction's shortest encoding.
    fn check(make: impl Fn(&mut Assembler), reference: Result<Reference, IcedError>) {
        let reference = reference.unwrap();
        let mut encoder = Encoder::new(64);
        let len = encoder.encode(&reference, 0).unwrap();
        let mut asm = Assembler::default();
        make(&mut asm);
        assert_eq!(asm.position(), len, "{reference:?}");
        assert_eq!(asm.finish()[..len], encoder.take_buffer(), "{reference:?}");
    }

    #[test]
    fn memory_operands_are_the_shortest() {
        type Family = fn(u8) -> Register;
        type Make = fn(&mut Assembler, u8, Mem);
        // A register, and memory behind it.
        let loads: [(Code, Family, Make); 28] = [
            (Code::Mov_r64_rm64, quad, |a, r, m| a.load(Gpr(r), m)),
            (Code::Mov_r32_rm32, double, |a, r, m| a.load32(Gpr(r), m)),
            (Code::Movzx_r32_rm8, double, |a, r, m| a.load8(Gpr(r), m)),
            (Code::Lea_r64_m, quad, |a, r, m| a.lea(Gpr(r), m)),
            (Code::Add_r64_rm64, quad, |a, r, m| {
                a.alu(Alu::Add, Gpr(r), m)
            }),
            (Code::Or_r64_rm64, quad, |a, r, m| a.alu(Alu::Or, Gpr(r), m)),
            (Code::And_r64_rm64, quad, |a, r, m| {
                a.alu(Alu::And, Gpr(r), m)
            }),
            (Code::Sub_r64_rm64, quad, |a, r, m| {
                a.alu(Alu::Sub, Gpr(r), m)
            }),
            (Code::Xor_r64_rm64, quad, |a, r, m| {
                a.alu(Alu::Xor, Gpr(r), m)
            }),
            (Code::Cmp_r64_rm64, quad, |a, r, m| {
                a.alu(Alu::Cmp, Gpr(r), m)
            }),
            (Code::Cmp_r32_rm32, double, |a, r, m| {
                a.alu32(Alu::Cmp, Gpr(r), m)
            }),
            (Code::Imul_r64_rm64, quad, |a, r, m| a.imul(Gpr(r), m)),
            (Code::Cmovl_r64_rm64, quad, |a, r, m| {
                a.cmov(Cond::Less, Gpr(r), m)
            }),
            (Code::Cmovae_r64_rm64, quad, |a, r, m| {
                a.cmov(Cond::AboveEqual, Gpr(r), m)
            }),
            (Code::Movsd_xmm_xmmm64, float, |a, r, m| {
                a.load_float(Xmm(r), m)
            }),
            (Code::Sqrtsd_xmm_xmmm64, float, |a, r, m| {
                a.sse(Sse::Sqrt, Xmm(r), m)
            }),
            (Code::Addsd_xmm_xmmm64, float, |a, r, m| {
                a.sse(Sse::Add, Xmm(r), m)
            }),
            (Code::Mulsd_xmm_xmmm64, float, |a, r, m| {
                a.sse(Sse::Mul, Xmm(r), m)
            }),
            (Code::Subsd_xmm_xmmm64, float, |a, r, m| {
                a.sse(Sse::Sub, Xmm(r), m)
            }),
            (Code::Minsd_xmm_xmmm64, float, |a, r, m| {
                a.sse(Sse::Min, Xmm(r), m)
            }),
            (Code::Divsd_xmm_xmmm64, float, |a, r, m| {
                a.sse(Sse::Div, Xmm(r), m)
            }),
            (Code::Maxsd_xmm_xmmm64, float, |a, r, m| {
                a.sse(Sse::Max, Xmm(r), m)
            }),
            (Code::Ucomisd_xmm_xmmm64, float, |a, r, m| {
                a.compare_floats(Xmm(r), m)
            }),
            (Code::Cvtsi2sd_xmm_rm64, float, |a, r, m| {
                a.float_of_int(Xmm(r), m)
            }),
            (Code::Xorps_xmm_xmmm128, float, |a, r, m| {
                a.xor_float(Xmm(r), m)
            }),
            (Code::Andps_xmm_xmmm128, float, |a, r, m| {
                a.and_float(Xmm(r), m)
            }),
            (Code::Add_r32_rm32, double, |a, r, m| {
                a.alu32(Alu::Add, Gpr(r), m)
            }),
            (Code::And_r32_rm32, double, |a, r, m| {
                a.alu32(Alu::And, Gpr(r), m)
            }),
        ];
        // Memory, and a register behind it.
        let stores: [(Code, Family, Make); 5] = [
            (Code::Mov_rm64_r64, quad, |a, r, m| a.store(m, Gpr(r))),
            (Code::Mov_rm32_r32, double, |a, r, m| a.store32(m, Gpr(r))),
            (Code::Mov_rm8_r8, byte, |a, r, m| a.store8(m, Gpr(r))),
            (Code::Movsd_xmmm64_xmm, float, |a, r, m| {
                a.store_float(m, Xmm(r))
            }),
            (Code::Movups_xmmm128_xmm, float, |a, r, m| {
                a.store_wide(m, Xmm(r))
            }),
        ];
        for (memory, reference) in memories() {
            for r in GENERAL.map(|r| r.0) {
                for (code, family, make) in loads {
                    check(
                        |a| make(a, r, memory),
                        Reference::with2(code, family(r), reference),
                    );
                }
                for (code, family, make) in stores {
                    check(
                        |a| make(a, r, memory),
                        Reference::with2(code, reference, family(r)),
                    );
                }
                check(
                    |a| a.round(Xmm(r), memory, 1),
                    Reference::with3(Code::Roundsd_xmm_xmmm64_imm8, float(r), reference, 9),
                );
            }
            for imm in CONSTANTS {
                let with = |code| Reference::with2(code, reference, imm);
                let with_byte = |code| Reference::with2(code, reference, imm as u8 as i32);
                let short = i8::try_from(imm).is_ok();
                let of_size = |byte, long| with(if short { byte } else { long });
                check(|a| a.store_imm(memory, imm), with(Code::Mov_rm64_imm32));
                check(
                    |a| a.store32_imm(memory, imm as u32),
                    with(Code::Mov_rm32_imm32),
                );
                check(
                    |a| a.store8_imm(memory, imm as u8),
                    with_byte(Code::Mov_rm8_imm8),
                );
                check(
                    |a| a.cmp8_imm(memory, imm as u8),
                    with_byte(Code::Cmp_rm8_imm8),
                );
                check(
                    |a| a.alu_imm(Alu::Add, memory, imm),
                    of_size(Code::Add_rm64_imm8, Code::Add_rm64_imm32),
                );
                check(
                    |a| a.alu32_imm(Alu::Cmp, memory, imm),
                    of_size(Code::Cmp_rm32_imm8, Code::Cmp_rm32_imm32),
                );
                let code = if short {
                    Code::Imul_r64_rm64_imm8
                } else {
                    Code::Imul_r64_rm64_imm32
                };
                check(
                    |a| a.imul_imm(R9, memory, imm),
                    Reference::with3(code, Register::R9, reference, imm),
                );
            }
        }
    }

    #[test]
    fn register_operands_are_the_shortest() {
        type Family = fn(u8) -> Register;
        type Make = fn(&mut Assembler, u8, u8);
        let instructions: [(Code, [Family; 2], Make); 21] = [
            (Code::Mov_rm64_r64, [quad, quad], |a, x, y| {
                a.mov(Gpr(x), Gpr(y))
            }),
            (Code::Test_rm64_r64, [quad, quad], |a, x, y| {
                a.test(Gpr(x), Gpr(y))
            }),
            (Code::Add_rm64_r64, [quad, quad], |a, x, y| {
                a.alu(Alu::Add, Gpr(x), Gpr(y))
            }),
            (Code::Or_rm64_r64, [quad, quad], |a, x, y| {
                a.alu(Alu::Or, Gpr(x), Gpr(y))
            }),
            (Code::And_rm64_r64, [quad, quad], |a, x, y| {
                a.alu(Alu::And, Gpr(x), Gpr(y))
            }),
            (Code::Sub_rm64_r64, [quad, quad], |a, x, y| {
                a.alu(Alu::Sub, Gpr(x), Gpr(y))
            }),
            (Code::Xor_rm64_r64, [quad, quad], |a, x, y| {
                a.alu(Alu::Xor, Gpr(x), Gpr(y))
            }),
            (Code::Cmp_r64_rm64, [quad, quad], |a, x, y| {
                a.alu(Alu::Cmp, Gpr(x), Gpr(y))
            }),
            (Code::Cmp_r32_rm32, [double, double], |a, x, y| {
                a.alu32(Alu::Cmp, Gpr(x), Gpr(y))
            }),
            (Code::Imul_r64_rm64, [quad, quad], |a, x, y| {
                a.imul(Gpr(x), Gpr(y))
            }),
            (Code::Cmovge_r64_rm64, [quad, quad], |a, x, y| {
                a.cmov(Cond::GreaterEqual, Gpr(x), Gpr(y))
            }),
            (Code::Movaps_xmm_xmmm128, [float, float], |a, x, y| {
                a.movsd(Xmm(x), Xmm(y))
            }),
            (Code::Movq_xmm_rm64, [float, quad], |a, x, y| {
                a.float_of_bits(Xmm(x), Gpr(y))
            }),
            (Code::Movq_rm64_xmm, [quad, float], |a, x, y| {
                a.bits_of_float(Gpr(x), Xmm(y))
            }),
            (Code::Cvtsi2sd_xmm_rm64, [float, quad], |a, x, y| {
                a.float_of_int(Xmm(x), Gpr(y))
            }),
            (Code::Cvttsd2si_r64_xmmm64, [quad, float], |a, x, y| {
                a.int_of_float(Gpr(x), Xmm(y))
            }),
            (Code::Divsd_xmm_xmmm64, [float, float], |a, x, y| {
                a.sse(Sse::Div, Xmm(x), Xmm(y))
            }),
            (Code::Ucomisd_xmm_xmmm64, [float, float], |a, x, y| {
                a.compare_floats(Xmm(x), Xmm(y))
            }),
            (Code::Xorps_xmm_xmmm128, [float, float], |a, x, y| {
                a.xor_float(Xmm(x), Xmm(y))
            }),
            (Code::Andps_xmm_xmmm128, [float, float], |a, x, y| {
                a.and_float(Xmm(x), Xmm(y))
            }),
            (Code::And_rm32_r32, [double, double], |a, x, y| {
                a.alu32(Alu::And, Gpr(x), Gpr(y))
            }),
        ];
        type MakeOne = fn(&mut Assembler, Gpr);
        let unary: [(Code, Family, MakeOne); 11] = [
            (Code::Neg_rm64, quad, |a, r| a.neg(r)),
            (Code::Not_rm64, quad, |a, r| a.not(r)),
            (Code::Idiv_rm64, quad, |a, r| a.idiv(r)),
            (Code::Div_rm32, double, |a, r| a.div32(r)),
            (Code::Jmp_rm64, quad, |a, r| a.jump_to(r)),
            (Code::Call_rm64, quad, |a, r| a.call(r)),
            (Code::Push_r64, quad, |a, r| a.push(r)),
            (Code::Pop_r64, quad, |a, r| a.pop(r)),
            (Code::Shl_rm64_CL, quad, |a, r| a.shift(Shift::Left, r)),
            (Code::Shr_rm64_CL, quad, |a, r| a.shift(Shift::Right, r)),
            (Code::Sar_rm64_CL, quad, |a, r| {
                a.shift(Shift::Arithmetic, r)
            }),
        ];
        for x in 0..16 {
            for y in (0..16).filter(|&y| y != x) {
                for (code, families, make) in instructions {
                    check(
                        |a| make(a, x, y),
                        Reference::with2(code, families[0](x), families[1](y)),
                    );
                }
            }
            for (code, family, make) in unary {
                let reference = match code {
                    Code::Shl_rm64_CL | Code::Shr_rm64_CL | Code::Sar_rm64_CL => {
                        Reference::with2(code, family(x), Register::CL)
                    }
                    _ => Reference::with1(code, family(x)),
                };
                check(|a| make(a, Gpr(x)), reference);
            }
            for imm in CONSTANTS {
                let short = i8::try_from(imm).is_ok();
                let code = if short {
                    Code::Sub_rm64_imm8
                } else {
                    Code::Sub_rm64_imm32
                };
                check(
                    |a| a.alu_imm(Alu::Sub, Gpr(x), imm),
                    Reference::with2(code, quad(x), imm),
                );
                let code = if short {
                    Code::And_rm32_imm8
                } else {
                    Code::And_rm32_imm32
                };
                check(
                    |a| a.alu32_imm(Alu::And, Gpr(x), imm),
                    Reference::with2(code, double(x), imm),
                );
            }
            check(
                |a| a.shift_imm(Shift::Arithmetic, Gpr(x), 63),
                Reference::with2(Code::Sar_rm64_imm8, quad(x), 63),
            );
        }
    }

    #[test]
    fn conditions() {
        use Cond::*;
        let conditions = [
            Below,
            AboveEqual,
            Equal,
            NotEqual,
            BelowEqual,
            Above,
            NotSign,
            Parity,
            Less,
            GreaterEqual,
            LessEqual,
            Greater,
        ];
        let numbers = [2, 3, 4, 5, 6, 7, 9, 10, 12, 13, 14, 15];
        for (cond, number) in conditions.into_iter().zip(numbers) {
            let mut asm = Assembler::default();
            let next = asm.label();
            asm.set(cond, RCX);
            asm.cmov(cond, RAX, RCX);
            asm.jump_if(cond, next);
            asm.bind(next);
            let code = asm.finish();
            assert_eq!(code[..3], [0x0F, 0x90 | number, 0xC1]);
            assert_eq!(code[3..6], [0x0F, 0xB6, 0xC9]);
            assert_eq!(code[6..10], [0x48, 0x0F, 0x40 | number, 0xC1]);
            assert_eq!(code[10..16], [0x0F, 0x80 | number, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn gaps_are_filled_by_instructions() {
        for before in 0..16 {
            let mut asm = Assembler::default();
            (0..before).for_each(|_| asm.ret());
            asm.align_loop();
            assert!(asm.position().is_multiple_of(16));
            let code = asm.finish();
            let mut at = before;
            while at < code.len() {
                let nop = &code[at..];
                at += match (nop[0], nop.get(1)) {
                    (0x90, _) => 1,
                    (0x66, Some(0x90)) => 2,
                    (0x66, _) => 1 + nop_len(&nop[1..]),
                    _ => nop_len(nop),
                };
            }
            assert_eq!(at, code.len());
        }
        /// Of the instruction that is nothing but a memory operand.
        fn nop_len(nop: &[u8]) -> usize {
            assert_eq!(nop[..2], [0x0F, 0x1F]);
            let sib = usize::from(nop[2] & 7 == 4);
            3 + sib + [0, 1, 4][(nop[2] >> 6) as usize]
        }
    }
}
