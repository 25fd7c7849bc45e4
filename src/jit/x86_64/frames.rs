//! Frames that machine code pushes, replaces and pops: calls and returns that are not inlined.
//!
//! Control goes from executor to executor over memory: the caller stores its slots, writes the records of its inlined frames and of the
//! callee, and jumps to the executor at the callee's entry; a return stores its results where the caller expects them and jumps to
//! the executor at the place in the record. Where there is none, everything is in memory already and the runtime goes on.
//!
//! Records are always complete, so whoever looks at the stack finds what tier 1 would have left there. The price is five stores a call:
//! what only other continuations than calls look at is not written.

use std::mem::offset_of;

use super::assembler::{Alu, Cond, Label, Mem, Shift, at};
use super::exits::slot_words;
use super::field;
use super::lower::Lowering;
use super::registers::*;
use crate::bytecode::cache::LoopSite;
use crate::jit::plan::Prototype;
use crate::jit::run;
use crate::runtime::coroutine::{CallRecord, Continuation, Coroutine, record_flags};
use crate::runtime::value::{Tag, Value};
use crate::tier1::State;
use crate::tier1::callback::protected_call_returned;
use crate::tier1::state::NATIVE_DEPTH_MAX;
use crate::tier2::Tier2;
use crate::tier2::superblock::{Frame, FrameId, NO_CALL_SITE, Node, ObjectId, SnapshotId};

const RECORD: i32 = size_of::<CallRecord>() as i32;
const SLOT: i32 = size_of::<Value>() as i32;
/// Where a record says what its results are for: wanted results, continuation and flags in one word.
const PURPOSE: usize = offset_of!(CallRecord, wanted);

const _: () = {
    assert!(PURPOSE == 36 && offset_of!(CallRecord, extra_args) == 32);
    assert!(offset_of!(CallRecord, continuation) == 38 && offset_of!(CallRecord, flags) == 39);
    assert!(offset_of!(CallRecord, top) == offset_of!(CallRecord, base) + 4);
    assert!(Continuation::Call as u8 == 0);
};

/// The last words of a record but one: extra arguments, wanted results, continuation and flags.
fn purpose(extra_args: u32, wanted: i16, continuation: Continuation, flags: u8) -> u64 {
    extra_args as u64
        | (wanted as u16 as u64) << 32
        | (continuation as u64) << 48
        | (flags as u64) << 56
}

/// The bits of a record's purpose that are not zero if it does not return to a call instruction, whatever `ignored` flags it has.
fn unless_call(ignored: u8) -> i32 {
    ((!ignored as u32) << 24 | 0xFF << 16) as i32
}

/// Base and end of a frame, relative to those of the first frame's base, as one word of a record.
fn extent(base: u64, registers: u64) -> u64 {
    (base - 1) | (base - 1 + registers) << 32
}

fn state(name: usize) -> Mem {
    at(RSI, name as i32)
}

fn slot_at(base: Gpr, slot: i32) -> (Mem, Mem) {
    (at(base, slot * SLOT), at(base, slot * SLOT + 8))
}

impl<'a, 'p> Lowering<'a, 'p> {
    fn prototype(&self, id: ObjectId) -> Prototype {
        self.e.plan.prototype(id)
    }

    /// Needs nothing to be due, and room for a frame that ends at a slot and for `records` more records, before anything is stored.
    /// Leaves the current record in rdx.
    fn guard_room(&mut self, end: i32, records: i32, exit: SnapshotId) {
        let asm = &mut self.e.asm;
        asm.load(RCX, at(RBP, field!(state)));
        asm.alu32_imm(Alu::Cmp, at(RCX, offset_of!(State, interrupt) as i32), 0);
        self.leave_if(Cond::NotEqual, exit);
        let asm = &mut self.e.asm;
        asm.load(RAX, at(RBP, field!(slots)));
        asm.alu_imm(Alu::Add, RAX, end * SLOT);
        asm.alu(Alu::Cmp, RAX, at(RBP, field!(limit)));
        self.leave_if(Cond::Above, exit);
        let asm = &mut self.e.asm;
        asm.load(RDX, at(RCX, offset_of!(State, record) as i32));
        if records > 0 {
            asm.lea(RAX, at(RDX, records * RECORD));
            asm.alu(Alu::Cmp, RAX, at(RBP, field!(records_end)));
            self.leave_if(Cond::AboveEqual, exit);
        }
    }

    /// `PUSH_FRAME`
    pub fn push_frame(&mut self, node: &Node) {
        let sb = self.e.plan.sb;
        let [func, count, proto, site] = node.operands;
        let snapshot = *sb.snapshot_at(node.exit);
        let callee = self.prototype(ObjectId(proto as u32));
        let caller = self.prototype(sb.frame(snapshot.frame).proto);
        let inlined = sb.inlined(snapshot.frame) as i32;
        self.guard_room(
            (func + 1 + callee.registers as u64) as i32,
            inlined + 1,
            node.exit,
        );
        self.store_slots(node.exit);
        self.store_missing_arguments(func, count, &callee);
        // Nothing is in registers any more but the record.
        self.e.asm.load(RSI, at(RBP, field!(state)));
        let mut constants = self.records_above(snapshot.frame, snapshot.pc + 1);
        let wanted = caller.wanted_at(snapshot.pc);
        let purpose = purpose(0, wanted, Continuation::Call, 0);
        let returns = caller.returns_at(site as u32);
        self.record_at(
            inlined + 1,
            callee.code_at(0),
            returns,
            extent(func + 1, callee.registers as u64),
            purpose,
            None,
            &mut constants,
        );
        self.e.store_constants(constants, RAX);
        self.stand_at(inlined + 1, func as i32);
        self.go_to(callee.entry);
    }

    /// `LINK`: makes the records of inlined frames, and goes on at the loop's place.
    pub fn link(&mut self, node: &Node) {
        let sb = self.e.plan.sb;
        let snapshot = *sb.snapshot_at(node.exit);
        let frame = sb.frame(snapshot.frame);
        let inlined = sb.inlined(snapshot.frame) as i32;
        self.store_slots(node.exit);
        self.records_of(snapshot.frame, snapshot.pc);
        self.stand_at(inlined, frame.base as i32 - 1);
        let site = self.prototype(frame.proto).loop_at(node.operands[0] as u32);
        self.go_to(site);
    }

    /// Writes what records lack of a frame, which goes on at `pc`, and its callers: the records of inlined ones, and where the others go
    /// on. Leaves the state in rsi and the first frame's record in rdx. Uses rax and rcx.
    pub fn records_of(&mut self, frame: FrameId, pc: u32) {
        self.load_record();
        let constants = self.records_above(frame, pc);
        self.e.store_constants(constants, RAX);
    }

    /// The same with the state in rsi and the first frame's record in rdx already, but for constants, which are returned with where to store
    /// them. Leaves what [`Self::record_at`] needs in rcx.
    fn records_above(&mut self, frame: FrameId, pc: u32) -> Vec<(Mem, u64)> {
        let mut constants = Vec::new();
        let sb = self.e.plan.sb;
        let mut chain: Vec<FrameId> = sb.chain(frame).collect();
        chain.reverse();
        let asm = &mut self.e.asm;
        // The first frame's base, twice in a word.
        asm.load32(RCX, at(RDX, offset_of!(CallRecord, base) as i32));
        asm.mov(RAX, RCX);
        asm.shift_imm(Shift::Left, RAX, 32);
        asm.alu(Alu::Add, RCX, RAX);
        let mut above = 0;
        for (k, &id) in chain.iter().enumerate() {
            let frame = *sb.frame(id);
            let resume = match chain.get(k + 1) {
                Some(&inner) => sb.frame(inner).return_pc,
                None => pc,
            };
            let pc = self.prototype(frame.proto).code_at(resume);
            if k == 0 {
                constants.push((at(RDX, offset_of!(CallRecord, pc) as i32), pc));
                continue;
            }
            let outer = self.prototype(sb.frame(chain[k - 1]).proto);
            let returns = if frame.call_site == NO_CALL_SITE {
                0
            } else {
                outer.returns_at(frame.call_site)
            };
            above += 1;
            let extent = extent(frame.base as u64, frame.registers as u64);
            if frame.is_protected() {
                self.protecting_record_at(above, &frame, &mut constants);
                above += 1;
                let purpose = purpose(frame.extra_args, -1, frame.continuation, frame.flags);
                self.record_at(above, pc, 0, extent, purpose, None, &mut constants);
                let then = at(RDX, RECORD * above + offset_of!(CallRecord, then) as i32);
                constants.push((then, protected_call_returned as *const () as u64));
                continue;
            }
            let purpose = purpose(
                frame.extra_args,
                frame.wanted,
                frame.continuation,
                frame.flags,
            );
            let aux = (frame.continuation != Continuation::Call).then_some(frame.aux);
            self.record_at(above, pc, returns, extent, purpose, aux, &mut constants);
        }
        constants
    }

    /// The record of the `pcall` that has called a frame, which is counted. Uses rax.
    fn protecting_record_at(&mut self, above: i32, frame: &Frame, constants: &mut Vec<(Mem, u64)>) {
        let flags = record_flags::NATIVE | record_flags::CATCHES;
        let purpose = purpose(0, frame.wanted, Continuation::Call, flags);
        let extent = extent(frame.result as u64 + 1, 1);
        self.record_at(above, 0, 0, extent, purpose, None, constants);
        let asm = &mut self.e.asm;
        asm.load(RAX, state(offset_of!(State, co)));
        asm.alu32_imm(Alu::Add, at(RAX, offset_of!(Coroutine, catching) as i32), 1);
    }

    /// `GUARD_CATCHING`
    pub fn guard_catching(&mut self, node: &Node) {
        let most = NATIVE_DEPTH_MAX as i32 - node.operands[0] as i32;
        let asm = &mut self.e.asm;
        asm.load(RCX, at(RBP, field!(state)));
        asm.load(RAX, at(RCX, offset_of!(State, co) as i32));
        asm.load32(RAX, at(RAX, offset_of!(Coroutine, catching) as i32));
        asm.alu32(
            Alu::Add,
            RAX,
            at(RCX, offset_of!(State, native_depth) as i32),
        );
        asm.alu32_imm(Alu::Cmp, RAX, most);
        self.leave_if(Cond::Above, node.exit);
    }

    /// Makes the record above the first frame's the current one, with its function in a slot.
    pub fn stand_at(&mut self, above: i32, function: i32) {
        let asm = &mut self.e.asm;
        if above > 0 {
            asm.alu_imm(Alu::Add, RDX, above * RECORD);
            asm.store(state(offset_of!(State, record)), RDX);
        }
        if function > 0 {
            asm.alu_imm(Alu::Add, at(RBP, field!(slots)), function * SLOT);
        }
    }

    /// Writes a record above the one in rdx, but for constants, which are added to those that are to be stored. Base and end of its frame are
    /// relative to those in rcx. Uses rax. What only other continuations than calls look at is left as it is for those.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are what a record consists of"
    )]
    fn record_at(
        &mut self,
        above: i32,
        pc: u64,
        returns: u64,
        extent: u64,
        purpose: u64,
        aux: Option<u64>,
        constants: &mut Vec<(Mem, u64)>,
    ) {
        let to = |offset: usize| at(RDX, above * RECORD + offset as i32);
        constants.push((to(offset_of!(CallRecord, pc)), pc));
        constants.push((to(offset_of!(CallRecord, return_site)), returns));
        constants.push((to(offset_of!(CallRecord, extra_args)), purpose));
        self.e.asm.mov_imm(RAX, extent);
        self.e.asm.alu(Alu::Add, RAX, RCX);
        self.e.asm.store(to(offset_of!(CallRecord, base)), RAX);
        if let Some(aux) = aux {
            constants.push((to(offset_of!(CallRecord, aux)), aux));
        }
    }

    /// Stores a constant. Uses rax.
    fn store_word(&mut self, to: Mem, word: u64) {
        self.e
            .store_from(to, crate::jit::allocation::Place::Const(word), RAX);
    }

    /// Stores nil for the parameters that get no argument, of a function in a slot; it and its arguments are `count` values. Uses rax.
    fn store_missing_arguments(&mut self, function: u64, count: u64, callee: &Prototype) {
        let missing = count..1 + callee.params as u64;
        if !missing.is_empty() {
            self.e.asm.load(RAX, at(RBP, field!(slots)));
        }
        for k in missing {
            let (payload, tag) = slot_words(function + k);
            self.e.asm.store_imm(payload, 0);
            self.e.asm.store_imm(tag, Tag::NIL.byte() as i32);
        }
    }

    /// The state in rsi and the current record in rdx, when nothing is in registers any more.
    fn load_record(&mut self) {
        self.e.asm.load(RSI, at(RBP, field!(state)));
        self.e.asm.load(RDX, state(offset_of!(State, record)));
    }

    /// Goes on at a place in the current frame, by its address. Uses rax, rcx and rsi.
    fn go_to(&mut self, place: u64) {
        let nowhere = self.cold(|l| {
            let tier2 = offset_of!(State, tier2) + offset_of!(Tier2, nowhere);
            l.e.asm.load(RSI, at(RBP, field!(state)));
            l.e.asm.store(state(tier2), RCX);
            let in_memory = l.left;
            l.e.asm.jump(in_memory);
        });
        let asm = &mut self.e.asm;
        asm.mov_imm(RCX, place);
        asm.load(RAX, at(RCX, offset_of!(LoopSite, code) as i32));
        asm.test(RAX, RAX);
        asm.jump_if(Cond::Equal, nowhere);
        asm.jump_to(RAX);
    }

    /// `REPLACE_FRAME`
    pub fn replace_frame(&mut self, node: &Node) {
        let [func, count, proto, _] = node.operands;
        let callee = self.prototype(ObjectId(proto as u32));
        self.guard_room(1 + callee.registers as i32, 0, node.exit);
        // What the frame returns to does not matter, but it must have nothing to close and no arguments below it.
        let keeps = record_flags::TAIL | record_flags::FINALIZER;
        self.e.asm.load32(RAX, at(RDX, PURPOSE as i32));
        self.e
            .asm
            .alu32_imm(Alu::And, RAX, ((!keeps as u32) << 24) as i32);
        self.leave_if(Cond::NotEqual, node.exit);
        // Of the frame nothing is needed any more but the call.
        self.e.asm.load(RAX, at(RBP, field!(slots)));
        self.store_at_bottom(node, func, count, RAX);
        self.store_missing_arguments(0, count, &callee);
        let asm = &mut self.e.asm;
        asm.load32(RAX, at(RDX, offset_of!(CallRecord, base) as i32));
        asm.alu_imm(Alu::Add, RAX, callee.registers as i32);
        asm.store32(at(RDX, offset_of!(CallRecord, top) as i32), RAX);
        asm.alu32_imm(
            Alu::Or,
            at(RDX, PURPOSE as i32),
            (record_flags::TAIL as i32) << 24,
        );
        self.store_word(
            at(RDX, offset_of!(CallRecord, pc) as i32),
            callee.code_at(0),
        );
        self.go_to(callee.entry);
    }

    /// `POP_FRAME`. A frame that does not return to a call instruction is left to the runtime, and so are an open list and an inlined frame.
    pub fn pop_frame(&mut self, node: &Node) {
        let [first, count, ..] = node.operands;
        let sb = self.e.plan.sb;
        let frame = *sb.frame(sb.snapshot_at(node.exit).frame);
        let inlined = frame.caller.is_some();
        let Some(n) = count
            .checked_sub(1)
            .filter(|n| *n < i16::MAX as u64 && !inlined)
        else {
            return self.go_elsewhere(node);
        };
        let owned = *node;
        let pop = self.e.asm.label();
        let running = self.prototype(frame.proto);
        let other = self.cold(move |l| l.pop_other(&owned, n, &running, pop));
        let asm = &mut self.e.asm;
        asm.load(RCX, at(RBP, field!(state)));
        asm.load(RDX, at(RCX, offset_of!(State, record) as i32));
        asm.alu32_imm(Alu::Cmp, at(RDX, PURPOSE as i32), n as i32);
        asm.jump_if(Cond::NotEqual, other);
        self.e.asm.load(RAX, at(RBP, field!(slots)));
        self.store_at_bottom(node, first, n, RAX);
        // Nothing is in registers any more but the record.
        self.e.asm.load(RSI, at(RBP, field!(state)));
        self.e.asm.bind(pop);
        let in_memory = self.left;
        let asm = &mut self.e.asm;
        asm.load(RCX, at(RDX, offset_of!(CallRecord, return_site) as i32));
        asm.alu_imm(Alu::Sub, RDX, RECORD);
        asm.store(state(offset_of!(State, record)), RDX);
        asm.load32(RAX, at(RDX, offset_of!(CallRecord, base) as i32));
        asm.shift_imm(Shift::Left, RAX, 4);
        asm.alu(Alu::Add, RAX, state(offset_of!(State, stack)));
        asm.alu_imm(Alu::Sub, RAX, SLOT);
        asm.store(at(RBP, field!(slots)), RAX);
        asm.test(RCX, RCX);
        asm.jump_if(Cond::Equal, in_memory);
        asm.load(RAX, at(RCX, offset_of!(LoopSite, code) as i32));
        asm.test(RAX, RAX);
        asm.jump_if(Cond::Equal, in_memory);
        asm.jump_to(RAX);
    }

    /// The record in rdx is not of a call that wants exactly `n` results.
    fn pop_other(&mut self, node: &Node, n: u64, running: &Prototype, pop: Label) {
        let first = node.operands[0];
        let (call, fewer, open) = (self.e.asm.label(), self.e.asm.label(), self.e.asm.label());
        let not_all = self.e.asm.label();
        // Of a call that wants all results, as arguments and results of other calls are.
        let asm = &mut self.e.asm;
        asm.alu32_imm(Alu::Cmp, at(RDX, PURPOSE as i32), u16::MAX as i32);
        asm.jump_if(Cond::NotEqual, not_all);
        asm.load(RAX, at(RBP, field!(slots)));
        self.store_at_bottom(node, first, n, RAX);
        let asm = &mut self.e.asm;
        asm.load(RSI, at(RBP, field!(state)));
        asm.lea(RAX, at(RAX, n as i32 * SLOT));
        asm.store(state(offset_of!(State, top)), RAX);
        asm.jump(pop);
        asm.bind(not_all);
        asm.load32(RAX, at(RDX, PURPOSE as i32));
        asm.mov(RCX, RAX);
        let vararg = if running.is_vararg {
            record_flags::VARARG
        } else {
            0
        };
        asm.alu32_imm(Alu::And, RCX, unless_call(record_flags::TAIL | vararg));
        asm.jump_if(Cond::Equal, call);
        self.go_elsewhere(node);
        self.e.asm.bind(call);
        self.e.asm.load(RAX, at(RBP, field!(slots)));
        if running.is_vararg {
            self.below_extra_arguments(running);
        }
        self.e.asm.load(RDX, at(RBP, field!(slots)));
        self.store_at_bottom(node, first, n, RDX);
        self.e.asm.mov(RDI, RAX);
        self.load_record();
        let asm = &mut self.e.asm;
        asm.load32(RAX, at(RDX, PURPOSE as i32));
        asm.shift_imm(Shift::Left, RAX, 48);
        asm.shift_imm(Shift::Arithmetic, RAX, 48);
        asm.test(RAX, RAX);
        asm.jump_if(Cond::Less, open);
        asm.alu_imm(Alu::Cmp, RAX, n as i32);
        // Results that nobody wants lie where nothing is in use.
        asm.jump_if(Cond::LessEqual, pop);
        // rdi to rax: the wanted slots behind the results.
        asm.shift_imm(Shift::Left, RAX, 4);
        asm.alu(Alu::Add, RAX, RDI);
        asm.alu_imm(Alu::Add, RDI, n as i32 * SLOT);
        asm.bind(fewer);
        asm.store_imm(at(RDI, 0), 0);
        asm.store_imm(at(RDI, 8), Tag::NIL.byte() as i32);
        asm.alu_imm(Alu::Add, RDI, SLOT);
        asm.alu(Alu::Cmp, RDI, RAX);
        asm.jump_if(Cond::Below, fewer);
        asm.jump(pop);
        asm.bind(open);
        asm.alu_imm(Alu::Add, RDI, n as i32 * SLOT);
        asm.store(state(offset_of!(State, top)), RDI);
        asm.jump(pop);
    }

    /// With the running function's slot in rax, and its record in rdx: moves rax to the slot that its caller has called, which is
    /// another one if there are extra arguments. Uses rcx.
    fn below_extra_arguments(&mut self, running: &Prototype) {
        let plain = self.e.asm.label();
        let asm = &mut self.e.asm;
        asm.load8(RCX, at(RDX, offset_of!(CallRecord, flags) as i32));
        asm.alu32_imm(Alu::And, RCX, record_flags::VARARG as i32);
        asm.jump_if(Cond::Equal, plain);
        asm.load32(RCX, at(RDX, offset_of!(CallRecord, extra_args) as i32));
        asm.alu_imm(Alu::Add, RCX, running.params as i32 + 1);
        asm.shift_imm(Shift::Left, RCX, 4);
        asm.alu(Alu::Sub, RAX, RCX);
        asm.bind(plain);
    }

    /// Stores values of the running function, whose slots begin at `from`, from the slot in rax on: where its caller expects its
    /// results, or where the function that replaces it begins. Uses rcx.
    fn store_at_bottom(&mut self, node: &Node, first: u64, n: u64, from: Gpr) {
        let slots = self.e.plan.sb.slots_of(node.exit);
        for k in 0..n {
            let (payload, tag) = slot_words(k);
            match slots.iter().find(|s| s.0 as u64 == first + k) {
                Some(&(_, r)) => self.e.store_value(payload, tag, r, RCX),
                None => {
                    // What is moved has not been overwritten yet: it lies above.
                    let words = slot_at(from, (first + k) as i32);
                    for (to, from) in [(payload, words.0), (tag, words.1)] {
                        self.e.asm.load(RCX, from);
                        self.e.asm.store(to, RCX);
                    }
                }
            }
        }
    }

    /// `SWITCH`: goes on where the runtime says.
    pub fn switch(&mut self, node: &Node) {
        let at_index = self.note_call_out(node);
        self.store_slots(node.exit);
        self.show_frames(at_index);
        let [func, count, _, site] = node.operands;
        let sb = self.e.plan.sb;
        let caller = self.prototype(sb.frame(sb.snapshot_at(node.exit).frame).proto);
        let returns = caller.returns_at(site as u32);
        let asm = &mut self.e.asm;
        asm.load(RCX, at(RBP, field!(slots)));
        asm.alu_imm(Alu::Add, RCX, func as i32 * SLOT);
        asm.mov_imm(R8, count);
        asm.mov_imm(R9, returns);
        self.call_for(at_index, run::switch as *const () as usize);
        self.go_on_or_leave();
    }

    /// Ends the code with a call-out: goes on where the runtime says.
    fn go_elsewhere(&mut self, node: &Node) {
        let at_index = self.note_call_out(node);
        self.store_slots(node.exit);
        self.show_frames(at_index);
        self.call_for(at_index, run::go_elsewhere as *const () as usize);
        self.go_on_or_leave();
    }

    /// Goes to the code at the address in rax, if there is any.
    fn go_on_or_leave(&mut self) {
        let left = self.left;
        let asm = &mut self.e.asm;
        asm.test(RAX, RAX);
        asm.jump_if(Cond::Equal, left);
        asm.jump_to(RAX);
    }

    /// The entry of calls and returns: it makes sure that there is room for the frames. That of the first frame is there.
    pub fn called_entry(&mut self, begin: Label) {
        let sb = self.e.plan.sb;
        let (slots, depth) = (sb.slot_count() as i32, sb.depth() as i32);
        let in_memory = self.left;
        let asm = &mut self.e.asm;
        if slots > 1 + sb.frames[0].registers as i32 {
            asm.load(RDX, at(RBP, field!(slots)));
            asm.alu_imm(Alu::Add, RDX, slots * SLOT);
            asm.alu(Alu::Cmp, RDX, at(RBP, field!(limit)));
            asm.jump_if(Cond::Above, in_memory);
        }
        self.guard_records(depth, in_memory);
        self.e.asm.jump(begin);
    }

    /// Goes to `out` unless so many records can be pushed. Uses rdx.
    pub fn guard_records(&mut self, depth: i32, out: Label) {
        if depth > 0 {
            let asm = &mut self.e.asm;
            asm.load(RDX, at(RBP, field!(state)));
            asm.load(RDX, at(RDX, offset_of!(State, record) as i32));
            asm.alu_imm(Alu::Add, RDX, depth * RECORD);
            asm.alu(Alu::Cmp, RDX, at(RBP, field!(records_end)));
            asm.jump_if(Cond::AboveEqual, out);
        }
    }
}
