//! The beginning and the ends of code: how it is entered, and how it leaves.
//!
//! An exit's jump goes to its *stub*, behind the code: it notes the exit's number and goes on to the code's way out, which
//! notes whose exit it is. When an exit gets a target, the stub's jump leads there instead; the target's entry makes sure
//! that there is room for its frames, and otherwise takes the way out that the jump has replaced.

use super::assembler::{Alu, Cond, Label, Mem, at};
use super::field;
use super::lower::Lowering;
use super::operands::TagAt;
use super::registers::*;
use crate::jit::Parent;
use crate::jit::allocation::Place;
use crate::jit::map::Part;
use crate::runtime::value::Value;
use crate::tier2::superblock::{Node, SnapshotId};

/// A jump to be finished when all code has been made.
pub struct Stub {
    pub exit: SnapshotId,
    pub displacement: usize,
    pub stored: bool,
}

impl Lowering<'_, '_> {
    /// Where to leave for a snapshot.
    pub fn exit(&mut self, id: SnapshotId) -> Label {
        if let Some(label) = self.exits[id.0 as usize] {
            return label;
        }
        let label = self.e.asm.label();
        self.exits[id.0 as usize] = Some(label);
        label
    }

    pub fn leave(&mut self, id: SnapshotId) {
        let exit = self.exit(id);
        self.e.asm.jump(exit);
    }

    pub fn leave_if(&mut self, cond: Cond, id: SnapshotId) {
        let exit = self.exit(id);
        self.e.asm.jump_if(cond, exit);
    }

    /// The entry of a transfer along an edge. With the exit's number in eax, and its code in rcx if the executor begins in memory.
    pub fn linked_entry(&mut self, parent: Option<Parent>, begin: Label) {
        let asm = &mut self.e.asm;
        let sb = self.e.plan.sb;
        let (slots, depth) = (sb.slot_count(), sb.depth());
        let (known_slots, known_depth) = parent.map_or((0, 0), |p| {
            (
                p.executor.superblock.slot_count(),
                p.executor.superblock.depth(),
            )
        });
        let out = asm.label();
        if slots > known_slots {
            asm.load(RDX, at(RBP, field!(slots)));
            asm.alu_imm(Alu::Add, RDX, (slots * size_of::<Value>()) as i32);
            asm.alu(Alu::Cmp, RDX, at(RBP, field!(limit)));
            asm.jump_if(Cond::Above, out);
        }
        if depth > known_depth {
            self.guard_records(depth as i32, out);
        }
        let asm = &mut self.e.asm;
        asm.jump(begin);
        asm.bind(out);
        let way_out = match parent {
            Some(parent) => parent.code.out(),
            None => self.stubs.exit(),
        };
        asm.mov_imm(RDX, way_out);
        asm.jump_to(RDX);
    }

    /// `EXIT`: if the slots can be stored here, they are, so that the exit may lead to executors that begin in memory.
    pub fn exit_for_good(&mut self, node: &Node) {
        let sb = self.e.plan.sb;
        let snapshot = sb.snapshot_at(node.exit);
        let inlined = sb.frame(snapshot.frame).caller.is_some();
        if inlined || snapshot.top.is_some() || sb.has_virtual_objects(node.exit) {
            return self.leave(node.exit);
        }
        self.store_slots(node.exit);
        self.e.asm.mov_imm(RCX, self.info as u64);
        self.e.asm.align_code(2);
        self.e.asm.mov32_imm(RAX, node.exit.0);
        self.stub_jump(node.exit, true);
    }

    /// Stores the slots of a snapshot. Uses rax and rcx.
    pub fn store_slots(&mut self, id: SnapshotId) {
        let slots = self.e.plan.sb.slots_of(id);
        if !slots.is_empty() {
            self.e.asm.load(RAX, at(RBP, field!(slots)));
        }
        let mut constants = Vec::new();
        for &(slot, r) in slots {
            let (payload, tag) = slot_words(slot as u64);
            match (self.e.payload(r), self.e.tag(r)) {
                (Place::Const(word), TagAt::Known(known)) => {
                    constants.extend([(payload, word), (tag, known)])
                }
                _ => self.e.store_value(payload, tag, r, RCX),
            }
        }
        self.e.store_constants(constants, RCX);
    }

    /// Emits the stubs of exits, and the way out.
    pub fn finish_exits(&mut self) {
        for id in 0..self.exits.len() {
            let Some(label) = self.exits[id] else {
                continue;
            };
            self.e.asm.align_cold(2);
            self.mark(Part::Exit(SnapshotId(id as u32)));
            self.e.asm.bind(label);
            self.e.asm.mov32_imm(RAX, id as u32);
            self.stub_jump(SnapshotId(id as u32), false);
        }
        self.mark(Part::Out);
        self.e.asm.bind(self.out);
        self.e.asm.mov_imm(RCX, self.info as u64);
        self.e.asm.mov_imm(RDX, self.stubs.exit());
        self.e.asm.jump_to(RDX);
    }

    fn stub_jump(&mut self, exit: SnapshotId, stored: bool) {
        let displacement = self.e.asm.patchable_jump(self.out);
        self.jumps.push(Stub {
            exit,
            displacement,
            stored,
        });
    }
}

/// The words of a slot, with the slots' address in rax.
pub fn slot_words(slot: u64) -> (Mem, Mem) {
    let payload = slot as i32 * size_of::<Value>() as i32;
    (at(RAX, payload), at(RAX, payload + 8))
}
