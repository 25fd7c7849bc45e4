//! From places to operands: loading, storing and moving values.
//!
//! What is not in a register is taken through one of the scratch registers, which each function says or is given.

use perilune_uops::Type;

use super::assembler::{Alu, Assembler, Mem, Operand, at};
use super::registers::*;
use super::{field, slot_of, spill};
use crate::jit::allocation::{Allocation, Place};
use crate::jit::plan::{Plan, bool_tag, tag_of};
use crate::runtime::value::Tag;
use crate::tier2::superblock::{Node, Ref};

/// The tag of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagAt {
    Known(u64),
    At(Place),
    /// Of a boolean that is there.
    OfBool(Place),
}

/// The assembler, with the places of a superblock's values.
pub struct Emitter<'a, 'p> {
    pub asm: Assembler,
    pub plan: &'p Plan<'a>,
    pub allocation: &'p Allocation,
    /// Whether registers that hold nothing get a value that no program has.
    pub traps: bool,
}

/// An address that leads nowhere, no small number, and a NaN.
const TRAP: u64 = 0xFFF8_DEAD_0000_DEAD;

/// A constant as an immediate operand, if it fits.
pub fn immediate(bits: u64) -> Option<i32> {
    i32::try_from(bits as i64).ok()
}

impl Emitter<'_, '_> {
    pub fn type_of(&self, r: Ref) -> Type {
        self.plan.sb.type_of(r)
    }

    /// Where a part of a node's value is.
    pub fn place(&self, r: Ref, part: usize) -> Place {
        self.allocation.place(self.plan.parts[r.index()][part])
    }

    /// Where the (only) part of an input is.
    pub fn input(&self, node: &Node, k: usize) -> Place {
        self.place(node.inputs[k], 0)
    }

    /// The payload of a value as it is stored.
    pub fn payload(&self, r: Ref) -> Place {
        if self.type_of(r) == Type::Bool {
            Place::Const(0)
        } else {
            self.place(r, 0)
        }
    }

    pub fn tag(&self, r: Ref) -> TagAt {
        let place = match self.type_of(r) {
            Type::Tagged => self.place(r, 1),
            Type::Bool => match self.place(r, 0) {
                Place::Const(bits) => return TagAt::Known(bool_tag(bits)),
                place => return TagAt::OfBool(place),
            },
            ty => return TagAt::Known(tag_of(ty)),
        };
        match place {
            Place::Const(bits) => TagAt::Known(bits),
            place => TagAt::At(place),
        }
    }

    // General registers.

    /// The value of a place in a register: its own, or `scratch`.
    pub fn gpr(&mut self, place: Place, scratch: Gpr) -> Gpr {
        match place {
            Place::Gpr(r) => return Gpr(r),
            Place::Xmm(x) => self.asm.bits_of_float(scratch, Xmm(x)),
            Place::Spill(word) => self.asm.load(scratch, spill(word)),
            Place::Const(bits) => self.asm.mov_imm(scratch, bits),
            Place::None => {}
        }
        scratch
    }

    /// Moves the value of a place into a register.
    pub fn gpr_to(&mut self, to: Gpr, place: Place) {
        let from = self.gpr(place, to);
        self.asm.mov(to, from);
    }

    /// The register to make a value for a place in.
    pub fn target(&self, place: Place, scratch: Gpr) -> Gpr {
        match place {
            Place::Gpr(r) => Gpr(r),
            _ => scratch,
        }
    }

    /// Moves what has been made in a register to its place.
    pub fn put(&mut self, place: Place, from: Gpr) {
        match place {
            Place::Gpr(r) => self.asm.mov(Gpr(r), from),
            Place::Xmm(x) => self.asm.float_of_bits(Xmm(x), from),
            Place::Spill(word) => self.asm.store(spill(word), from),
            Place::Const(_) | Place::None => {}
        }
    }

    /// A general operand: a register or memory. What is neither is loaded into `scratch`.
    pub fn operand(&mut self, place: Place, scratch: Gpr) -> Operand {
        match place {
            Place::Spill(word) => spill(word).into(),
            place => self.gpr(place, scratch).into(),
        }
    }

    /// `to op= place`
    pub fn alu(&mut self, op: Alu, to: Gpr, place: Place, scratch: Gpr) {
        match place {
            Place::Const(bits) if let Some(imm) = immediate(bits) => self.asm.alu_imm(op, to, imm),
            place => {
                let from = self.operand(place, scratch);
                self.asm.alu(op, to, from);
            }
        }
    }

    /// Compares `x` with `y`. Uses rax and rcx.
    pub fn compare(&mut self, x: Place, y: Place) {
        match (x, y) {
            (Place::Spill(word), Place::Const(bits)) if let Some(imm) = immediate(bits) => {
                self.asm.alu_imm(Alu::Cmp, spill(word), imm);
            }
            _ => {
                let x = self.gpr(x, RAX);
                self.alu(Alu::Cmp, x, y, RCX);
            }
        }
    }

    /// Compares a place with a small number, by the lower half.
    pub fn compare32(&mut self, place: Place, imm: i32) {
        match place {
            Place::Spill(word) => self.asm.alu32_imm(Alu::Cmp, spill(word), imm),
            place => {
                let r = self.gpr(place, RAX);
                self.asm.alu32_imm(Alu::Cmp, r, imm);
            }
        }
    }

    // Float registers.

    pub fn xmm(&mut self, place: Place, scratch: Xmm) -> Xmm {
        match place {
            Place::Xmm(x) => return Xmm(x),
            Place::Gpr(r) => self.asm.float_of_bits(scratch, Gpr(r)),
            Place::Spill(word) => self.asm.load_float(scratch, spill(word)),
            Place::Const(0) => self.asm.zero_float(scratch),
            Place::Const(bits) => {
                let literal = self.asm.literal(bits);
                self.asm.load_float(scratch, literal);
            }
            Place::None => {}
        }
        scratch
    }

    pub fn xmm_to(&mut self, to: Xmm, place: Place) {
        let from = self.xmm(place, to);
        self.asm.movsd(to, from);
    }

    pub fn target_xmm(&self, place: Place) -> Xmm {
        match place {
            Place::Xmm(x) => Xmm(x),
            _ => XMM_SCRATCH,
        }
    }

    pub fn put_xmm(&mut self, place: Place, from: Xmm) {
        match place {
            Place::Xmm(x) => self.asm.movsd(Xmm(x), from),
            Place::Gpr(r) => self.asm.bits_of_float(Gpr(r), from),
            Place::Spill(word) => self.asm.store_float(spill(word), from),
            Place::Const(_) | Place::None => {}
        }
    }

    /// A float operand: a register or memory.
    pub fn float_operand(&mut self, place: Place) -> Operand {
        match place {
            Place::Spill(word) => spill(word).into(),
            Place::Const(bits) => self.asm.literal(bits).into(),
            place => self.xmm(place, XMM_SCRATCH).into(),
        }
    }

    /// The same for the second operand, when the first one may be in the float scratch register: floats are never in general
    /// registers, so nothing is loaded.
    pub fn float_operand_of(&mut self, place: Place) -> Operand {
        debug_assert!(!matches!(place, Place::Gpr(_)));
        self.float_operand(place)
    }

    /// Loads a float and leaves the flags alone.
    pub fn xmm_keeping_flags(&mut self, to: Xmm, place: Place) {
        // Neither of the ways to load a float sets flags.
        self.xmm_to(to, place);
    }

    // Memory.

    /// Loads a word into a place.
    pub fn load_to(&mut self, to: Place, from: Mem, scratch: Gpr) {
        match to {
            Place::Xmm(x) => self.asm.load_float(Xmm(x), from),
            _ => {
                let r = self.target(to, scratch);
                self.asm.load(r, from);
                self.put(to, r);
            }
        }
    }

    /// Stores the value of a place.
    pub fn store_from(&mut self, to: Mem, place: Place, scratch: Gpr) {
        match place {
            Place::Xmm(x) => self.asm.store_float(to, Xmm(x)),
            Place::Const(bits) if let Some(imm) = immediate(bits) => self.asm.store_imm(to, imm),
            place => {
                let r = self.gpr(place, scratch);
                self.asm.store(to, r);
            }
        }
    }

    /// Stores constants, each of which is loaded once. The words do not overlap.
    pub fn store_constants(&mut self, mut words: Vec<(Mem, u64)>, scratch: Gpr) {
        words.sort_by_key(|word| word.1);
        let mut held = None;
        for (to, word) in words {
            match immediate(word) {
                Some(imm) => self.asm.store_imm(to, imm),
                None => {
                    if held != Some(word) {
                        self.asm.mov_imm(scratch, word);
                        held = Some(word);
                    }
                    self.asm.store(to, scratch);
                }
            }
        }
    }

    /// The tag of a value in a register.
    pub fn tag_in(&mut self, r: Ref, scratch: Gpr) -> Gpr {
        match self.tag(r) {
            TagAt::Known(tag) => {
                self.asm.mov_imm(scratch, tag);
                scratch
            }
            TagAt::At(place) => self.gpr(place, scratch),
            TagAt::OfBool(place) => {
                let b = self.gpr(place, scratch);
                // One more than the boolean.
                self.asm.lea(scratch, at(b, Tag::FALSE.byte() as i32));
                scratch
            }
        }
    }

    /// Stores a value in two words.
    pub fn store_value(&mut self, payload: Mem, tag: Mem, r: Ref, scratch: Gpr) {
        let place = self.payload(r);
        self.store_from(payload, place, scratch);
        match self.tag(r) {
            TagAt::Known(known) => self.asm.store_imm(tag, known as i32),
            _ => {
                let register = self.tag_in(r, scratch);
                self.asm.store(tag, register);
            }
        }
    }

    /// Stores a value with its tag in a byte.
    pub fn store_packed(&mut self, payload: Mem, tag: Mem, r: Ref, scratch: Gpr) {
        let place = self.payload(r);
        self.store_from(payload, place, scratch);
        match self.tag(r) {
            TagAt::Known(known) => self.asm.store8_imm(tag, known as u8),
            _ => {
                let register = self.tag_in(r, scratch);
                self.asm.store8(tag, register);
            }
        }
    }

    // Moves.

    /// Moves all at once. Uses rax, rdx and the float scratch register.
    pub fn moves(&mut self, mut pending: Vec<(Place, Place)>) {
        pending.retain(|(to, from)| to != from);
        while !pending.is_empty() {
            match pending
                .iter()
                .position(|m| pending.iter().all(|other| other.1 != m.0))
            {
                Some(ready) => {
                    let (to, from) = pending.swap_remove(ready);
                    self.move_to(to, from);
                }
                None => {
                    // All are in circles: the first one's target is kept elsewhere. Each circle is done before the next one
                    // is broken.
                    let kept = pending[0].0;
                    let spare = match kept {
                        Place::Xmm(_) => Place::Xmm(XMM_SCRATCH.0),
                        _ => Place::Gpr(RDX.0),
                    };
                    self.move_to(spare, kept);
                    pending
                        .iter_mut()
                        .filter(|m| m.1 == kept)
                        .for_each(|m| m.1 = spare);
                }
            }
        }
    }

    pub fn move_to(&mut self, to: Place, from: Place) {
        match to {
            Place::Gpr(r) => self.gpr_to(Gpr(r), from),
            Place::Xmm(x) => self.xmm_to(Xmm(x), from),
            Place::Spill(word) => self.store_from(spill(word), from, RAX),
            Place::Const(_) | Place::None => {}
        }
    }

    /// The moves that make a value the one at other places, and which of these are then tags that lack one.
    pub fn value_moves(
        &self,
        to: [Place; 2],
        to_type: Type,
        from: [Place; 2],
        from_type: Type,
    ) -> (Vec<(Place, Place)>, Option<Place>) {
        if to_type != Type::Tagged {
            return (vec![(to[0], from[0])], None);
        }
        match from_type {
            Type::Tagged => (vec![(to[0], from[0]), (to[1], from[1])], None),
            Type::Bool => match from[0] {
                Place::Const(bits) => (
                    vec![
                        (to[0], Place::Const(0)),
                        (to[1], Place::Const(bool_tag(bits))),
                    ],
                    None,
                ),
                b => (vec![(to[0], Place::Const(0)), (to[1], b)], Some(to[1])),
            },
            ty => (
                vec![(to[0], from[0]), (to[1], Place::Const(tag_of(ty)))],
                None,
            ),
        }
    }

    /// Moves values; see [`Emitter::value_moves`].
    pub fn move_values(
        &mut self,
        values: impl IntoIterator<Item = ([Place; 2], Type, [Place; 2], Type)>,
    ) {
        let (mut moves, mut tags) = (Vec::new(), Vec::new());
        for (to, to_type, from, from_type) in values {
            let (more, tag) = self.value_moves(to, to_type, from, from_type);
            moves.extend(
                more.into_iter()
                    .filter(|m| !matches!(m.0, Place::None | Place::Const(_))),
            );
            tags.extend(tag);
        }
        self.moves(moves);
        for tag in tags {
            match tag {
                Place::Gpr(r) => self.asm.alu_imm(Alu::Add, Gpr(r), 1),
                Place::Spill(word) => self.asm.alu_imm(Alu::Add, spill(word), 1),
                Place::Xmm(_) | Place::Const(_) | Place::None => {}
            }
        }
    }

    // Calls.

    /// Saves registers in the frame: all of these, or those that calls disturb. Leaves the flags alone.
    pub fn save(&mut self, live: &[Place], all: bool) {
        for &place in live {
            match place {
                Place::Gpr(r) if all || !is_preserved(r) => {
                    self.asm.store(slot_of(field!(gprs), r), Gpr(r))
                }
                Place::Xmm(x) => self.asm.store_float(slot_of(field!(xmms), x), Xmm(x)),
                _ => {}
            }
        }
    }

    /// Restores the registers that calls disturb. Leaves the flags alone.
    pub fn restore(&mut self, live: &[Place]) {
        for &place in live {
            match place {
                Place::Gpr(r) if !is_preserved(r) => {
                    self.asm.load(Gpr(r), slot_of(field!(gprs), r))
                }
                Place::Xmm(x) => self.asm.load_float(Xmm(x), slot_of(field!(xmms), x)),
                _ => {}
            }
        }
        self.trap_all_but(live);
    }

    /// In tests of what registers hold: gives all others a value that nobody expects. Leaves the flags alone.
    pub fn trap_all_but(&mut self, live: &[Place]) {
        if !self.traps {
            return;
        }
        for &r in GPRS {
            if !live.contains(&Place::Gpr(r)) {
                self.asm.mov_imm(Gpr(r), TRAP);
            }
        }
        let trap = self.asm.literal(TRAP);
        for &x in XMMS {
            if !live.contains(&Place::Xmm(x)) {
                self.asm.load_float(Xmm(x), trap);
            }
        }
    }

    /// Calls a function of the runtime with the frame as its first argument.
    pub fn call_with_frame(&mut self, function: usize) {
        self.asm.lea(RDI, at(RBP, -super::BIAS));
        self.asm.mov_imm(RAX, function as u64);
        self.asm.call(RAX);
    }
}
