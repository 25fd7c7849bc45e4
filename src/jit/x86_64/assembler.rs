//! The assembler: instructions as bytes.
//!
//! Which operands are registers, memory or constants is only known when a superblock is lowered, so instructions are encoded
//! by functions over operands, each in its shortest form. Templates of a macro assembler would take the longest
//! form of everything that is not written out in them.

use super::registers::{Gpr, Xmm};

/// A place in the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(u32);

/// A memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mem {
    At {
        base: Gpr,
        disp: i32,
    },
    /// base + index * scale + disp
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

/// Arithmetic that sets flags, by its number in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts, by their numbers in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Shift {
    Left = 4,
    Right = 5,
    Arithmetic = 7,
}

/// Float arithmetic, by its opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Sse {
    Sqrt = 0x51,
    Add = 0x58,
    Mul = 0x59,
    Sub = 0x5C,
    Min = 0x5D,
    Div = 0x5E,
    Max = 0x5F,
}

/// Conditions, by their numbers in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cond {
    Below = 2,
    AboveEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowEqual = 6,
    Above = 7,
    NotSign = 9,
    Parity = 10,
    Less = 12,
    GreaterEqual = 13,
    LessEqual = 14,
    Greater = 15,
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

const UNBOUND: u32 = u32::MAX;

/// Code being made. It may lie anywhere: references within it are relative.
#[derive(Default)]
pub struct Assembler {
    code: Vec<u8>,
    labels: Vec<u32>,
    /// Displacements to fill in: where they are, where they lead, and what counts from behind them.
    fixups: Vec<(u32, Label, u8)>,
    literals: Vec<(u64, Label)>,
}

const OPERAND_SIZE: u8 = 0x66;
const SCALAR: u8 = 0xF2;

impl Assembler {
    pub fn position(&self) -> usize {
        self.code.len()
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(UNBOUND);
        Label(self.labels.len() as u32 - 1)
    }

    pub fn bind(&mut self, label: Label) {
        debug_assert_eq!(
            self.labels[label.0 as usize], UNBOUND,
            "labels are bound once"
        );
        self.labels[label.0 as usize] = self.code.len() as u32;
    }

    /// Where a bound label is.
    pub fn offset_of(&self, label: Label) -> usize {
        let at = self.labels[label.0 as usize];
        debug_assert_ne!(at, UNBOUND);
        at as usize
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
        while !self.code.len().is_multiple_of(16) {
            self.byte(0xCC);
        }
        for (bits, label) in std::mem::take(&mut self.literals) {
            self.bind(label);
            self.code.extend(bits.to_le_bytes());
            // Masks for packed instructions are sixteen bytes.
            self.code.extend([0; 8]);
        }
        for &(at, label, tail) in &self.fixups {
            let target = self.labels[label.0 as usize];
            assert_ne!(target, UNBOUND, "a label is not bound");
            let disp = target.wrapping_sub(at + 4 + tail as u32);
            self.code[at as usize..][..4].copy_from_slice(&disp.to_le_bytes());
        }
        self.code
    }

    fn byte(&mut self, b: u8) {
        self.code.push(b);
    }

    fn word(&mut self, w: i32) {
        self.code.extend(w.to_le_bytes());
    }

    fn displacement(&mut self, label: Label, tail: u8) {
        self.fixups.push((self.code.len() as u32, label, tail));
        self.word(0);
    }

    /// An instruction with a ModR/M byte. `tail` is the size of the immediate operand that will follow.
    #[allow(clippy::too_many_arguments, reason = "the parts of an encoding")]
    fn encode(
        &mut self,
        prefix: Option<u8>,
        wide: bool,
        byte: bool,
        opcode: &[u8],
        reg: u8,
        rm: Operand,
        tail: u8,
    ) {
        if let Some(prefix) = prefix {
            self.byte(prefix);
        }
        let (x, b) = match rm {
            Operand::Register(r) => (0, r >> 3),
            Operand::Memory(Mem::At { base, .. }) => (0, base.0 >> 3),
            Operand::Memory(Mem::Indexed { base, index, .. }) => (index.0 >> 3, base.0 >> 3),
            Operand::Memory(Mem::Code(_)) => (0, 0),
        };
        let rex = 0x40 | (wide as u8) << 3 | (reg >> 3) << 2 | x << 1 | b;
        // Without it these numbers would name the second bytes of other registers.
        let low_byte = byte && (reg >= 4 || matches!(rm, Operand::Register(r) if r >= 4));
        if rex != 0x40 || low_byte {
            self.byte(rex);
        }
        self.code.extend(opcode);
        let reg = (reg & 7) << 3;
        match rm {
            Operand::Register(r) => self.byte(0xC0 | reg | r & 7),
            Operand::Memory(Mem::Code(label)) => {
                self.byte(reg | 5);
                self.displacement(label, tail);
            }
            Operand::Memory(Mem::At { base, disp }) => {
                let mode = Assembler::mode(base, disp);
                self.byte(mode | reg | base.0 & 7);
                if base.0 & 7 == 4 {
                    self.byte(0x24);
                }
                self.offset(mode, disp);
            }
            Operand::Memory(Mem::Indexed {
                base,
                index,
                scale,
                disp,
            }) => {
                debug_assert!(index.0 != 4 && scale.is_power_of_two() && scale <= 8);
                let mode = Assembler::mode(base, disp);
                self.byte(mode | reg | 4);
                self.byte((scale.trailing_zeros() as u8) << 6 | (index.0 & 7) << 3 | base.0 & 7);
                self.offset(mode, disp);
            }
        }
    }

    fn mode(base: Gpr, disp: i32) -> u8 {
        if disp == 0 && base.0 & 7 != 5 {
            0
        } else if i8::try_from(disp).is_ok() {
            0x40
        } else {
            0x80
        }
    }

    fn offset(&mut self, mode: u8, disp: i32) {
        match mode {
            0 => {}
            0x40 => self.byte(disp as u8),
            _ => self.word(disp),
        }
    }

    // Moves.

    pub fn mov(&mut self, to: Gpr, from: Gpr) {
        if to != from {
            self.encode(None, true, false, &[0x8B], to.0, from.into(), 0);
        }
    }

    /// Leaves the flags alone.
    pub fn mov_imm(&mut self, to: Gpr, imm: u64) {
        if u32::try_from(imm).is_ok() {
            if to.0 >= 8 {
                self.byte(0x41);
            }
            self.byte(0xB8 | to.0 & 7);
            self.word(imm as u32 as i32);
        } else if i32::try_from(imm as i64).is_ok() {
            self.encode(None, true, false, &[0xC7], 0, to.into(), 4);
            self.word(imm as i32);
        } else {
            self.byte(0x48 | to.0 >> 3);
            self.byte(0xB8 | to.0 & 7);
            self.code.extend(imm.to_le_bytes());
        }
    }

    /// Always five bytes, for one of the first eight registers.
    pub fn mov32_imm(&mut self, to: Gpr, imm: u32) {
        self.byte(0xB8 | to.0 & 7);
        self.word(imm as i32);
    }

    pub fn load(&mut self, to: Gpr, from: Mem) {
        self.encode(None, true, false, &[0x8B], to.0, from.into(), 0);
    }

    pub fn store(&mut self, to: Mem, from: Gpr) {
        self.encode(None, true, false, &[0x89], from.0, to.into(), 0);
    }

    /// Stores a sign-extended constant.
    pub fn store_imm(&mut self, to: Mem, imm: i32) {
        self.encode(None, true, false, &[0xC7], 0, to.into(), 4);
        self.word(imm);
    }

    pub fn load32(&mut self, to: Gpr, from: Mem) {
        self.encode(None, false, false, &[0x8B], to.0, from.into(), 0);
    }

    pub fn store32(&mut self, to: Mem, from: Gpr) {
        self.encode(None, false, false, &[0x89], from.0, to.into(), 0);
    }

    pub fn store32_imm(&mut self, to: Mem, imm: u32) {
        self.encode(None, false, false, &[0xC7], 0, to.into(), 4);
        self.word(imm as i32);
    }

    /// Loads a byte, extended with zeros.
    pub fn load8(&mut self, to: Gpr, from: Mem) {
        self.encode(None, false, false, &[0x0F, 0xB6], to.0, from.into(), 0);
    }

    pub fn store8(&mut self, to: Mem, from: Gpr) {
        self.encode(None, false, true, &[0x88], from.0, to.into(), 0);
    }

    pub fn store8_imm(&mut self, to: Mem, imm: u8) {
        self.encode(None, false, false, &[0xC6], 0, to.into(), 1);
        self.byte(imm);
    }

    pub fn lea(&mut self, to: Gpr, of: Mem) {
        self.encode(None, true, false, &[0x8D], to.0, of.into(), 0);
    }

    // Integers.

    pub fn alu(&mut self, op: Alu, to: Gpr, from: impl Into<Operand>) {
        self.encode(
            None,
            true,
            false,
            &[(op as u8) << 3 | 3],
            to.0,
            from.into(),
            0,
        );
    }

    pub fn alu_imm(&mut self, op: Alu, to: impl Into<Operand>, imm: i32) {
        self.alu_constant(true, op, to.into(), imm);
    }

    pub fn alu32(&mut self, op: Alu, to: Gpr, from: impl Into<Operand>) {
        self.encode(
            None,
            false,
            false,
            &[(op as u8) << 3 | 3],
            to.0,
            from.into(),
            0,
        );
    }

    pub fn alu32_imm(&mut self, op: Alu, to: impl Into<Operand>, imm: i32) {
        self.alu_constant(false, op, to.into(), imm);
    }

    fn alu_constant(&mut self, wide: bool, op: Alu, to: Operand, imm: i32) {
        if let Ok(short) = i8::try_from(imm) {
            self.encode(None, wide, false, &[0x83], op as u8, to, 1);
            self.byte(short as u8);
        } else {
            self.encode(None, wide, false, &[0x81], op as u8, to, 4);
            self.word(imm);
        }
    }

    /// Compares a byte in memory.
    pub fn cmp8_imm(&mut self, with: Mem, imm: u8) {
        self.encode(None, false, false, &[0x80], Alu::Cmp as u8, with.into(), 1);
        self.byte(imm);
    }

    pub fn test(&mut self, x: Gpr, y: Gpr) {
        self.encode(None, true, false, &[0x85], y.0, x.into(), 0);
    }

    pub fn imul(&mut self, to: Gpr, from: impl Into<Operand>) {
        self.encode(None, true, false, &[0x0F, 0xAF], to.0, from.into(), 0);
    }

    pub fn imul_imm(&mut self, to: Gpr, from: impl Into<Operand>, imm: i32) {
        if let Ok(short) = i8::try_from(imm) {
            self.encode(None, true, false, &[0x6B], to.0, from.into(), 1);
            self.byte(short as u8);
        } else {
            self.encode(None, true, false, &[0x69], to.0, from.into(), 4);
            self.word(imm);
        }
    }

    pub fn neg(&mut self, r: Gpr) {
        self.encode(None, true, false, &[0xF7], 3, r.into(), 0);
    }

    pub fn not(&mut self, r: Gpr) {
        self.encode(None, true, false, &[0xF7], 2, r.into(), 0);
    }

    /// Divides rdx:rax.
    pub fn idiv(&mut self, by: Gpr) {
        self.encode(None, true, false, &[0xF7], 7, by.into(), 0);
    }

    /// Divides edx:eax, unsigned.
    pub fn div32(&mut self, by: Gpr) {
        self.encode(None, false, false, &[0xF7], 6, by.into(), 0);
    }

    /// Extends the sign of rax into rdx.
    pub fn cqo(&mut self) {
        self.code.extend([0x48, 0x99]);
    }

    pub fn shift_imm(&mut self, op: Shift, r: Gpr, by: u8) {
        self.encode(None, true, false, &[0xC1], op as u8, r.into(), 1);
        self.byte(by);
    }

    /// By cl, modulo 64.
    pub fn shift(&mut self, op: Shift, r: Gpr) {
        self.encode(None, true, false, &[0xD3], op as u8, r.into(), 0);
    }

    pub fn set(&mut self, cond: Cond, to: Gpr) {
        self.encode(
            None,
            false,
            true,
            &[0x0F, 0x90 | cond as u8],
            0,
            to.into(),
            0,
        );
        self.encode(None, false, true, &[0x0F, 0xB6], to.0, to.into(), 0);
    }

    pub fn cmov(&mut self, cond: Cond, to: Gpr, from: impl Into<Operand>) {
        self.encode(
            None,
            true,
            false,
            &[0x0F, 0x40 | cond as u8],
            to.0,
            from.into(),
            0,
        );
    }

    // Control.

    pub fn jump(&mut self, to: Label) {
        self.byte(0xE9);
        self.displacement(to, 0);
    }

    pub fn jump_if(&mut self, cond: Cond, to: Label) {
        self.code.extend([0x0F, 0x80 | cond as u8]);
        self.displacement(to, 0);
    }

    /// A jump whose displacement is an aligned word, so that it can be patched. Returns its offset.
    pub fn patchable_jump(&mut self, to: Label) -> usize {
        debug_assert_eq!(self.code.len() % 4, 3);
        self.jump(to);
        self.code.len() - 4
    }

    /// Fills up until the position is `rest` modulo 4. Not to be run through.
    pub fn align_cold(&mut self, rest: usize) {
        while self.code.len() % 4 != rest {
            self.byte(0xCC);
        }
    }

    /// Fills up to a multiple of 16.
    pub fn align_loop(&mut self) {
        self.fill(self.code.len().wrapping_neg() % 16);
    }

    /// Fills up until the position is `rest` modulo 4.
    pub fn align_code(&mut self, rest: usize) {
        self.fill((rest + 4 - self.code.len() % 4) % 4);
    }

    /// Fills in instructions that do nothing.
    fn fill(&mut self, mut missing: usize) {
        const NOPS: [&[u8]; 9] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0F, 0x1F, 0x00],
            &[0x0F, 0x1F, 0x40, 0x00],
            &[0x0F, 0x1F, 0x44, 0x00, 0x00],
            &[0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00],
            &[0x0F, 0x1F, 0x80, 0, 0, 0, 0],
            &[0x0F, 0x1F, 0x84, 0x00, 0, 0, 0, 0],
            &[0x66, 0x0F, 0x1F, 0x84, 0x00, 0, 0, 0, 0],
        ];
        while missing > 0 {
            let nop = NOPS[missing.min(9) - 1];
            self.code.extend(nop);
            missing -= nop.len();
        }
    }

    pub fn jump_to(&mut self, to: Gpr) {
        self.encode(None, false, false, &[0xFF], 4, to.into(), 0);
    }

    pub fn call(&mut self, to: Gpr) {
        self.encode(None, false, false, &[0xFF], 2, to.into(), 0);
    }

    pub fn push(&mut self, r: Gpr) {
        if r.0 >= 8 {
            self.byte(0x41);
        }
        self.byte(0x50 | r.0 & 7);
    }

    pub fn pop(&mut self, r: Gpr) {
        if r.0 >= 8 {
            self.byte(0x41);
        }
        self.byte(0x58 | r.0 & 7);
    }

    pub fn ret(&mut self) {
        self.byte(0xC3);
    }

    // Floats.

    pub fn movsd(&mut self, to: Xmm, from: Xmm) {
        if to != from {
            self.encode(None, false, false, &[0x0F, 0x28], to.0, from.into(), 0);
        }
    }

    pub fn load_float(&mut self, to: Xmm, from: Mem) {
        self.encode(
            Some(SCALAR),
            false,
            false,
            &[0x0F, 0x10],
            to.0,
            from.into(),
            0,
        );
    }

    pub fn store_float(&mut self, to: Mem, from: Xmm) {
        self.encode(
            Some(SCALAR),
            false,
            false,
            &[0x0F, 0x11],
            from.0,
            to.into(),
            0,
        );
    }

    /// The bits of a register as a float.
    pub fn float_of_bits(&mut self, to: Xmm, from: Gpr) {
        self.encode(
            Some(OPERAND_SIZE),
            true,
            false,
            &[0x0F, 0x6E],
            to.0,
            from.into(),
            0,
        );
    }

    pub fn bits_of_float(&mut self, to: Gpr, from: Xmm) {
        self.encode(
            Some(OPERAND_SIZE),
            true,
            false,
            &[0x0F, 0x7E],
            from.0,
            to.into(),
            0,
        );
    }

    pub fn sse(&mut self, op: Sse, to: Xmm, from: impl Into<Operand>) {
        self.encode(
            Some(SCALAR),
            false,
            false,
            &[0x0F, op as u8],
            to.0,
            from.into(),
            0,
        );
    }

    pub fn compare_floats(&mut self, x: Xmm, y: impl Into<Operand>) {
        self.encode(
            Some(OPERAND_SIZE),
            false,
            false,
            &[0x0F, 0x2E],
            x.0,
            y.into(),
            0,
        );
    }

    pub fn float_of_int(&mut self, to: Xmm, from: impl Into<Operand>) {
        self.encode(
            Some(SCALAR),
            true,
            false,
            &[0x0F, 0x2A],
            to.0,
            from.into(),
            0,
        );
    }

    pub fn int_of_float(&mut self, to: Gpr, from: Xmm) {
        self.encode(
            Some(SCALAR),
            true,
            false,
            &[0x0F, 0x2C],
            to.0,
            from.into(),
            0,
        );
    }

    pub fn zero_float(&mut self, x: Xmm) {
        self.encode(None, false, false, &[0x0F, 0x57], x.0, x.into(), 0);
    }

    pub fn xor_float(&mut self, x: Xmm, y: impl Into<Operand>) {
        self.encode(None, false, false, &[0x0F, 0x57], x.0, y.into(), 0);
    }

    pub fn and_float(&mut self, x: Xmm, y: impl Into<Operand>) {
        self.encode(None, false, false, &[0x0F, 0x54], x.0, y.into(), 0);
    }

    /// Rounds to an integral float: down (1) or up (2). Needs SSE4.1.
    pub fn round(&mut self, to: Xmm, from: impl Into<Operand>, mode: u8) {
        self.encode(
            Some(OPERAND_SIZE),
            false,
            false,
            &[0x0F, 0x3A, 0x0B],
            to.0,
            from.into(),
            1,
        );
        self.byte(mode | 8);
    }

    /// Stores all sixteen bytes of a register.
    pub fn store_wide(&mut self, to: Mem, from: Xmm) {
        self.encode(None, false, false, &[0x0F, 0x11], from.0, to.into(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::registers::*;
    use super::*;

    /// What a few instructions assemble to, as the system's assembler has it.
    #[test]
    fn encodings() {
        let check = |expected: &[u8], make: &dyn Fn(&mut Assembler)| {
            let mut asm = Assembler::default();
            make(&mut asm);
            assert_eq!(asm.code, expected);
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
}
