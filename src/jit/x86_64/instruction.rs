//! Single instructions: what templates assemble into, and how they become as short as they can be.
//!
//! dynasm decides when a template is compiled which bytes an instruction has. Registers that are only known at run time
//! therefore always get a REX prefix and, as a base, an SIB byte; displacements get four bytes, and so do constants with which
//! memory is operated on. [`Instruction::shorten`] takes out what an instruction does not need, so that one template serves
//! for all operands of a kind.

use dynasmrt::{AssemblyOffset, DynamicLabel, DynasmApi};

use super::registers::Gpr;

/// An instruction of at most sixteen bytes.
#[derive(Clone, Copy, Default)]
pub struct Instruction {
    /// The first byte is the lowest one.
    bits: u128,
    len: usize,
    /// Whether it has a memory operand with a base register and a displacement of four bytes: see [`Instruction::with_base`].
    has_base: bool,
    /// Whether it names the lowest byte of a register that has no such name without a REX prefix.
    low_byte: bool,
    pub reference: Option<Reference>,
}

/// A displacement to fill in, as [`DynasmLabelApi`](dynasmrt::DynasmLabelApi) takes it. Its offset counts from the end of the
/// instruction.
#[derive(Clone, Copy)]
pub struct Reference {
    pub label: DynamicLabel,
    pub offset: u8,
    pub kind: u8,
}

/// The prefix that says that no register has a high number and that operands have 32 bits.
const REX: u8 = 0x40;

/// Says in it that the index register has a high number.
const REX_INDEX: u8 = 2;

impl Instruction {
    /// With a memory operand that has a base register and a displacement of four bytes.
    pub fn with_base(self) -> Instruction {
        Instruction {
            has_base: true,
            ..self
        }
    }

    /// With the lowest byte of a register as an operand.
    pub fn low_byte_of(self, r: Gpr) -> Instruction {
        Instruction {
            low_byte: r.0 >= 4,
            ..self
        }
    }

    /// What dynasm calls for an operand that is a label.
    pub fn dynamic_reloc(
        &mut self,
        label: DynamicLabel,
        _target_offset: isize,
        offset: u8,
        _reference_offset: u8,
        kind: u8,
    ) {
        self.reference = Some(Reference {
            label,
            offset,
            kind,
        });
    }

    /// Its shortest form.
    #[inline]
    pub fn shorten(mut self) -> Instruction {
        let mut at = usize::from(matches!(self.byte(0), 0x66 | 0xF2));
        let prefix = self.byte(at);
        if prefix & 0xF0 == REX {
            if prefix == REX && !self.low_byte {
                self.remove_prefix(at == 1);
            } else {
                at += 1;
            }
        }
        match self.byte(at) {
            0x0F => at += 1 + usize::from(self.byte(at + 1) == 0x3A),
            0x69 | 0x81 => self.shorten_immediate(at),
            _ => {}
        }
        if self.has_base {
            self.shorten_memory(at + 1, prefix & REX_INDEX != 0);
        }
        self
    }

    #[inline]
    fn remove_prefix(&mut self, second: bool) {
        let first = if second { self.bits & 0xFF } else { 0 };
        self.bits >>= 8;
        if second {
            self.bits = self.bits & !0xFF | first;
        }
        self.len -= 1;
    }

    /// With the position of the opcode: arithmetic with a constant of four bytes has another one for a single byte.
    #[inline]
    fn shorten_immediate(&mut self, opcode: usize) {
        const SHORT: u128 = 2;
        let end = 8 * (self.len - 3);
        if i8::try_from((self.bits >> (end - 8)) as i32).is_ok() {
            self.bits = self.bits & ((1 << end) - 1) | SHORT << (8 * opcode);
            self.len -= 3;
            if let Some(reference) = &mut self.reference {
                reference.offset -= 3;
            }
        }
    }

    /// With the position of the ModR/M byte, behind which there are an SIB byte and a displacement of four bytes.
    #[inline]
    fn shorten_memory(&mut self, mode: usize, high_index: bool) {
        const NO_INDEX: u8 = 4 << 3;
        let head = 8 * mode;
        let operand = self.bits >> head;
        let (modrm, sib) = (operand as u8, (operand >> 8) as u8);
        let displacement = (operand >> 16) as i32;
        let behind = operand >> 48;
        let base = sib & 7;
        let (mode, mut bits, mut size) = match i8::try_from(displacement) {
            Ok(0) if base != 5 => (0, 0, 0),
            Ok(short) => (0x40, short as u8 as u64, 1),
            Err(_) => (0x80, displacement as u32 as u64, 4),
        };
        let rm = if sib & 0x38 == NO_INDEX && !high_index && base != 4 {
            base
        } else {
            bits = bits << 8 | sib as u64;
            size += 1;
            4
        };
        bits = bits << 8 | (mode | modrm & 0x38 | rm) as u64;
        let short = bits as u128 | behind << (8 * (size + 1));
        self.bits = self.bits & ((1 << head) - 1) | short << head;
        self.len -= 5 - size;
    }

    /// Its bytes, and how many these are.
    pub fn bytes(&self) -> ([u8; 16], usize) {
        (self.bits.to_le_bytes(), self.len)
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        (self.bits >> (8 * at)) as u8
    }
}

impl Extend<u8> for Instruction {
    #[inline]
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        bytes.into_iter().for_each(|b| self.push(b));
    }
}

impl<'a> Extend<&'a u8> for Instruction {
    #[inline]
    fn extend<T: IntoIterator<Item = &'a u8>>(&mut self, bytes: T) {
        bytes.into_iter().for_each(|&b| self.push(b));
    }
}

impl DynasmApi for Instruction {
    fn offset(&self) -> AssemblyOffset {
        AssemblyOffset(self.len)
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bits |= (byte as u128) << (8 * self.len);
        self.len += 1;
    }

    #[inline]
    fn push_i32(&mut self, value: i32) {
        self.bits |= (value as u32 as u128) << (8 * self.len);
        self.len += 4;
    }

    fn align(&mut self, alignment: usize, with: u8) {
        while !self.len.is_multiple_of(alignment) {
            self.push(with);
        }
    }
}
