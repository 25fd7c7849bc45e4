//! The code that the tier-2 interpreter runs: instructions of sixteen bytes over 64-bit registers.
//!
//! A value takes one register, a tagged one two in a row: payload, then tag. Values of an immediate operand's sort are
//! constants, which have registers of their own that are filled when the code is entered. Where an operand may be of
//! any type, the instruction says of which, as a [`Form`].
//!
//! Invariant, which [`lower`](super::lower::lower) checks: every register that an instruction or a snapshot names is less than
//! [`Code::registers`], and the last instruction does not fall through.

use std::fmt;

use perilune_uops::Type;

use super::callout::Request;

use crate::runtime::value::{Tag, Value};
use crate::tier2::executor::Counts;
use crate::tier2::superblock::SnapshotId;

/// How a value is held in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Form(pub u8);

impl Form {
    /// Payload and tag, in two registers.
    pub const TAGGED: Form = Form(0xFF);
    /// 0 or 1.
    pub const BOOL: Form = Form(0xFE);
    pub const INT: Form = Form(3);
    pub const FLOAT: Form = Form(4);

    /// The form of values of a type: the payload of values with one tag, or one of the constants.
    pub fn of(ty: Type) -> Form {
        match ty {
            Type::Int => Form::INT,
            Type::Float => Form::FLOAT,
            Type::Bool => Form::BOOL,
            Type::Tagged => Form::TAGGED,
            Type::Any | Type::Object => unreachable!("a type of inputs only"),
            _ => match pointer_tag(ty) {
                Some(tag) => Form(tag.byte()),
                None => unreachable!("all other types are pointers"),
            },
        }
    }

}

const _: () = {
    assert!(Type::Int as u8 != Type::Float as u8);
    assert!(std::mem::size_of::<Insn>() == 16);
};

/// The tag of values of a pointer type, or of numbers.
pub fn pointer_tag(ty: Type) -> Option<Tag> {
    Some(match ty {
        Type::Int => Tag::INT,
        Type::Float => Tag::FLOAT,
        Type::Table => Tag::TABLE,
        Type::String => Tag::STRING,
        Type::Closure => Tag::CLOSURE,
        Type::Native => Tag::NATIVE,
        Type::Cell => Tag::CELL,
        Type::Userdata => Tag::USERDATA,
        Type::Coroutine => Tag::COROUTINE,
        Type::Bool | Type::Tagged | Type::Any | Type::Object => return None,
    })
}

/// One instruction. What the fields mean is said at the [`Opcode`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Insn {
    pub op: Opcode,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    pub imm: u64,
}

impl Insn {
    pub fn new(op: Opcode, a: u16, b: u16, c: u16, imm: u64) -> Insn {
        Insn { op, a, b, c, imm }
    }

    /// The snapshot for which a guard leaves.
    #[inline(always)]
    pub fn exit(self) -> SnapshotId {
        SnapshotId(self.imm as u32)
    }

    /// The upper half of the immediate.
    #[inline(always)]
    pub fn high(self) -> u32 {
        (self.imm >> 32) as u32
    }

    /// A third input's register, and the forms of operands of any type, in the upper half of the immediate.
    #[inline(always)]
    pub fn third(self) -> u16 {
        (self.imm >> 32) as u16
    }

    #[inline(always)]
    pub fn form(self) -> Form {
        Form((self.imm >> 48) as u8)
    }

    #[inline(always)]
    pub fn second_form(self) -> Form {
        Form((self.imm >> 56) as u8)
    }
}

/// The immediate of an instruction with an exit and the rest that [`Insn::third`] and so on take apart.
pub fn immediate(low: u32, third: u16, form: Form, second: Form) -> u64 {
    low as u64 | (third as u64) << 32 | (form.0 as u64) << 48 | (second.0 as u64) << 56
}

/// What an instruction does. `a`, `b`, `c` are registers unless something else is said; `b` and `c` are inputs and `a` is
/// the output. Guards leave for [`Insn::exit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Opcode {
    /// Two moves, one after the other: a = b, then imm = c.
    Move2,
    Move,
    /// a = imm
    Set,
    /// Slot b of the activation.
    LoadSlot,
    LoadSlotPayload,
    LoadSlotBool,
    /// The same, needing tag c.
    LoadSlotGuard,
    ExtraCount,
    LoadExtra,
    ListCount,

    /// needs tag c
    GuardTag,
    GuardNumber,
    GuardBool,
    /// b is tagged, c a tagged constant
    GuardIdentical,
    /// b and c are payloads
    GuardSame,
    GuardNil,
    GuardNotNil,
    GuardNext,
    GuardNextPayload,
    GuardTrue,
    GuardFalse,
    Truthy,
    IsNil,

    AddI,
    SubI,
    MulI,
    IDivI,
    ModI,
    NegI,
    AndI,
    OrI,
    XorI,
    NotI,
    ShlI,
    ShrI,
    SarI,
    Tag,
    AbsI,
    MinI,
    MaxI,
    EqI,
    LtI,
    LeI,
    LtU,
    /// a = if b then c else the third
    Select,
    /// the same with c in the first form and the third in the second; a is tagged
    SelectTagged,
    GuardNotZero,

    AddF,
    SubF,
    MulF,
    DivF,
    IDivF,
    ModF,
    PowF,
    NegF,
    AbsF,
    SqrtF,
    FloorF,
    CeilF,
    MinF,
    MaxF,
    EqF,
    LtF,
    LeF,
    IntToFloat,
    FloatToInt,
    ExactFloat,
    /// the function is the immediate
    CallF,
    CallFF,
    RandomF,
    RandomI,
    GoesOn,

    // Comparisons with their guards.
    GuardEqI,
    GuardNeI,
    GuardLtI,
    GuardLeI,
    GuardLtU,
    GuardNotLtU,
    GuardEqF,
    GuardNeF,
    GuardLtF,
    GuardNotLtF,
    GuardLeF,
    GuardNotLeF,
    GuardGoesOn,
    GuardTruthy,
    GuardFalsy,

    Not,
    /// b in the first form, c in the second
    RawEq,
    GuardRawEq,
    EqS,
    LtS,
    LeS,
    LengthS,
    LoadByte,
    Substring,
    ByteString,

    /// c is the number of the captured variable
    LoadCaptured,
    /// b is the closure, a the cell, c the number
    InitCaptured,
    LoadCell,
    /// b = the cell, c the value
    SetCell,
    GuardMutable,
    StoreCell,
    NewCell,
    NewEmptyCell,
    /// b is a prototype
    AllocateClosure,
    GuardProto,

    /// the shape is in the upper half of the immediate
    GuardShape,
    /// a = b as a table; the shape is in the upper half of the immediate
    GuardTableShape,
    SetShape,
    GuardNoMetatable,
    /// c is the metatable
    GuardMetatable,
    /// metatable(b) = c; the shape is the immediate
    SetMetatable,
    GuardEpoch,
    Barrier,
    /// b is the running prototype; the site is in the upper half of the immediate
    NewTable,
    /// the shape is in the upper half of the immediate, c is the array's capacity
    AllocateTable,

    /// the slot is in the upper half of the immediate; `c` is the tag that `...Guard` needs
    LoadInline,
    LoadInlineGuard,
    LoadOverflow,
    LoadOverflowGuard,
    /// b is the table, c the value; the slot is in the lower half of the immediate
    StoreInline,
    StoreOverflow,
    GuardFoundIn,

    GuardInArray,
    /// c is the kind
    GuardArrayKind,
    GuardAccepts,
    GuardAppends,
    GuardStorable,
    GuardRawStorable,
    LoadElement,
    /// `third` is the tag that is needed
    LoadElementGuard,
    LoadElementPayload,
    /// GuardInArray, then the load
    GuardLoadElement,
    GuardLoadElementPayload,
    /// GuardInArray, then LoadElementGuard with the exit in the upper half, below the tag
    GuardLoadElementGuard,
    TestElement,
    StoreElement,
    ReplaceElement,
    InitElement,
    LengthT,

    RawGet,
    RawSet,
    FindNext,
    KeyPosition,
    NextPosition,
    LoadKey,
    LoadValue,

    Poll,
    Safepoint,
    /// the count is the immediate
    Sunk,
    Start,
    GuardPlainReturn,
    GuardUnmarked,
    /// c more of them
    GuardCatching,
    GuardValid,
    /// to the instruction imm
    Back,
    Exit,
    /// imm is the number of the call-out
    CallOut,
}

/// Where a value of a snapshot is.
#[derive(Clone, Copy, Debug)]
pub struct Location {
    pub register: u16,
    pub form: Form,
}

/// A parameter that is used. The first one has register 0, the others follow.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Which of the values of the parent's snapshot it is.
    pub index: u32,
    pub form: Form,
}

/// Something that is not done by an instruction: see [`callout`](super::callout).
#[derive(Clone, Debug)]
pub struct CallOut {
    pub request: Request,
    pub inputs: [(u16, Form); 3],
    /// Where the output goes.
    pub output: u16,
}

/// The executable form of a superblock.
#[derive(Debug, Default)]
pub struct Code {
    pub(super) insns: Box<[Insn]>,
    /// Registers that it needs.
    pub(super) registers: usize,
    /// The parameters that have registers.
    pub(super) params: Box<[Param]>,
    /// Where the constants' registers begin, and what these hold.
    pub(super) first_constant: usize,
    pub(super) constants: Box<[u64]>,
    /// For each snapshot where its locations end; they begin where the ones before end.
    pub(super) ends: Box<[u32]>,
    pub(super) locations: Box<[Location]>,
    pub(super) call_outs: Box<[CallOut]>,
    pub counts: Counts,
}

impl Code {
    /// Where the values of a snapshot are. For virtual objects, which are nowhere, this means nothing.
    pub fn locations(&self, id: SnapshotId) -> &[Location] {
        let at = id.0 as usize;
        let first = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.locations[first..self.ends[at] as usize]
    }

    /// How many instructions there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.insns.len()
    }

    /// Bytes of instructions.
    pub fn code_bytes(&self) -> usize {
        size_of_val(&*self.insns)
            + size_of_val(&*self.constants)
            + size_of_val(&*self.params)
            + size_of_val(&*self.call_outs)
    }

    /// Bytes that say where the values of snapshots are.
    pub fn location_bytes(&self) -> usize {
        size_of_val(&*self.ends) + size_of_val(&*self.locations)
    }

}

/// A listing: instructions with their fields, call-outs, and where the slots of snapshots are.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "registers {}, constants from {}: {:x?}", self.registers, self.first_constant, self.constants)?;
        for (i, insn) in self.insns.iter().enumerate() {
            let op = format!("{:?}", insn.op);
            write!(f, "{i:5}  {op:<24} a {:<4} b {:<4} c {:<4} imm {:#x}", insn.a, insn.b, insn.c, insn.imm)?;
            match self.call_outs.get(insn.imm as usize).filter(|_| insn.op == Opcode::CallOut) {
                Some(out) => {
                    let request = &out.request;
                    write!(f, "  {}", request.op)?;
                    let inputs = request.op.declaration().inputs.len();
                    out.inputs[..inputs].iter().try_for_each(|(r, _)| write!(f, " r{r}"))?;
                    let operands = request.op.declaration().operands.len();
                    request.operands[..operands].iter().try_for_each(|n| write!(f, " {n:#x}"))?;
                    writeln!(f, " -> r{} exit s{}", out.output, request.exit.0)?;
                }
                None => writeln!(f)?,
            }
        }
        for id in 0..self.ends.len() as u32 {
            write!(f, "   s{id}:")?;
            let locations = self.locations(SnapshotId(id)).iter();
            locations.clone().try_for_each(|l| write!(f, " r{}", l.register))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The value in a register.
///
/// # Safety
/// `registers` points to enough registers, and this one, with the next one if the form says so, holds a value of the form.
#[inline(always)]
pub unsafe fn value_at(registers: *const u64, register: u16, form: Form) -> Value {
    // SAFETY: the caller's promise.
    unsafe {
        let payload = *registers.add(register as usize);
        match form {
            Form::TAGGED => Value::new(payload, Tag::from_byte(*registers.add(register as usize + 1) as u8)),
            Form::BOOL => Value::bool(payload != 0),
            Form(tag) => Value::new(payload, Tag::from_byte(tag)),
        }
    }
}
