//! Tables by any key, strings by byte, and captured variables: what is found at once is found in place, and the rest by helpers
//! with their arguments in registers.

use std::mem::offset_of;

use perilune_uops::{MicroOp, Type};

use super::assembler::{Alu, Cond, Label, Mem, Shift, at};
use super::field;
use super::lower::*;
use super::operands::TagAt;
use super::registers::*;
use crate::jit::CompileError;
use crate::jit::allocation::Place;
use crate::jit::frame::Frame;
use crate::jit::helpers::{self, Pair};
use crate::runtime::Runtime;
use crate::runtime::array::ArrayKind;
use crate::runtime::assumption::Assumptions;
use crate::runtime::function::CellState;
use crate::runtime::hash::layout;
use crate::runtime::interner::StringTable;
use crate::runtime::object::Kind;
use crate::runtime::string::{LongStr, Str};
use crate::runtime::table::{NODES, table_flags};
use crate::runtime::value::Tag;
use crate::tier1::State;
use crate::tier2::Tier2;
use crate::tier2::superblock::{Node, Ref};

const KIND: i32 = offset_of!(Str, kind) as i32;

/// Whatever [`SET_LIST`](MicroOp::SET_LIST) stores more than this is left to the runtime.
const LIST_MAX: u64 = 32;

/// A field of the runtime, relative to the state.
fn runtime(offset: usize) -> i32 {
    (offset_of!(State, rt) + offset) as i32
}

impl<'a, 'p> Lowering<'a, 'p> {
    /// Calls a helper with the frame and these values as arguments: in rsi, rdx and rcx, as many as there are. What it returns
    /// is in rax and rdx.
    fn call_with(&mut self, live: &[Place], function: usize, arguments: &[Place]) {
        self.e.save(live, false);
        let registers = [RSI, RDX, RCX];
        // Of these only rsi may be where a value is, so that there are no circles.
        let moves = registers
            .iter()
            .zip(arguments)
            .map(|(r, &from)| (Place::Gpr(r.0), from));
        self.e.moves(moves.collect());
        self.e.call_with_frame(function);
        self.e.restore(live);
    }

    /// A helper whose result is a word, as what a node is.
    pub fn call_for_word(&mut self, i: usize, function: usize, arguments: &[Place], out: Place) {
        let live = self.live(i);
        self.call_with(&live, function, arguments);
        self.e.put(out, RAX);
    }

    /// `CONCAT_S`
    pub fn concat(&mut self, i: usize, node: &Node, out: Place) {
        let live = self.live(i);
        self.store_slots(node.exit);
        let operands = [node.operands[0], node.operands[1]].map(Place::Const);
        let concat = helpers::concat as *const () as usize;
        self.call_with(&live, concat, &operands);
        self.e.asm.test(RAX, RAX);
        self.leave_if(Cond::Equal, node.exit);
        self.e.put(out, RAX);
    }

    /// `CALL_LEAF` and `CALL_TABLE`
    pub fn call_leaf(&mut self, i: usize, node: &Node) {
        let live = self.live(i);
        self.store_slots(node.exit);
        let [slot, arguments, results, _] = node.operands.map(Place::Const);
        let call_leaf = helpers::call_leaf as *const () as usize;
        self.call_with(&live, call_leaf, &[slot, arguments, results]);
        self.e.asm.test(RAX, RAX);
        self.leave_if(Cond::NotEqual, node.exit);
    }

    fn live(&self, i: usize) -> Vec<Place> {
        self.e.allocation.live_at(i).collect()
    }

    /// The places of a node's payload and tag.
    fn outputs(&self, i: usize) -> (Place, Place) {
        let r = Ref(i as u32);
        (self.e.place(r, 0), self.e.place(r, 1))
    }

    /// A call of a helper that returns a value, as what is done behind the code where nothing else does. The label of where that is.
    fn otherwise(
        &mut self,
        i: usize,
        function: unsafe extern "C" fn(*mut Frame, u64, u64) -> Pair,
        arguments: [Place; 2],
        done: Label,
    ) -> Label {
        let live = self.live(i);
        let (payload, tag) = self.outputs(i);
        self.cold(move |l| {
            l.call_with(&live, function as *const () as usize, &arguments);
            l.e.put(payload, RAX);
            l.e.put(tag, RDX);
            l.e.asm.jump(done);
        })
    }

    // Captured variables.

    /// `SET_CELL`
    pub fn set_cell(&mut self, i: usize, node: &Node) {
        let cell = self.input(node, 0);
        let live = self.live(i);
        let (not_mutable, back) = self.detour(move |l, back| {
            let again = l.e.asm.label();
            let c = l.e.gpr(cell, RAX);
            l.e.asm
                .cmp8_imm(at(c, CELL_STATE), CellState::Uninitialised as u8);
            l.e.asm.jump_if(Cond::NotEqual, again);
            l.e.asm
                .store8_imm(at(c, CELL_STATE), CellState::Constant as u8);
            l.e.asm.jump(back);
            l.e.asm.bind(again);
            l.call_with(&live, helpers::first_stores as *const () as usize, &[cell]);
            l.e.gpr(cell, RAX);
            l.e.asm.jump(back);
        });
        let live = self.live(i);
        let (logs, done) = self.detour(move |l, done| {
            l.call_with(&live, helpers::barrier as *const () as usize, &[cell]);
            l.e.asm.jump(done);
        });
        let c = self.e.gpr(cell, RAX);
        self.e
            .asm
            .cmp8_imm(at(c, CELL_STATE), CellState::Mutable as u8);
        self.e.asm.jump_if(Cond::NotEqual, not_mutable);
        self.e.asm.bind(back);
        self.e
            .store_packed(at(c, CELL_PAYLOAD), at(c, CELL_TAG), node.inputs[1], RCX);
        self.e.asm.cmp8_imm(at(c, BARRIER), 0);
        self.e.asm.jump_if(Cond::NotEqual, logs);
        self.e.asm.bind(done);
    }

    /// `GUARD_VALID`: nothing becomes invalid unless something has been reported.
    pub fn guard_valid(&mut self, i: usize, node: &Node) -> Result<(), CompileError> {
        let call = self.helper_call(i, node, &[self.info as u64])?;
        let (reported, valid) = self.detour(move |l, valid| {
            l.call_helper(&call);
            l.e.asm.jump(valid);
        });
        let stress = (offset_of!(State, tier2) + offset_of!(Tier2, invalidation_stress)) as i32;
        let asm = &mut self.e.asm;
        asm.load(RAX, at(RBP, field!(state)));
        let broken = offset_of!(Runtime, assumptions) + Assumptions::REPORTED;
        for flag in [broken, offset_of!(Runtime, flush_caches)] {
            asm.cmp8_imm(at(RAX, runtime(flag)), 0);
            asm.jump_if(Cond::NotEqual, reported);
        }
        asm.alu32_imm(Alu::Cmp, at(RAX, stress), 0);
        asm.jump_if(Cond::NotEqual, reported);
        asm.bind(valid);
        Ok(())
    }

    // Equality.

    /// `RAW_EQ` where not both types are known.
    pub fn raw_equal_tagged(
        &mut self,
        i: usize,
        node: &Node,
        out: Place,
    ) -> Result<(), CompileError> {
        let [x, y, _] = node.inputs;
        let known = [x, y].into_iter().find_map(|r| match self.e.tag(r) {
            TagAt::Known(tag) => Some(tag),
            _ => None,
        });
        let (px, py) = (self.e.payload(x), self.e.payload(y));
        let [float, string, truth] =
            [Tag::FLOAT, Tag::STRING, Tag::TRUE].map(|tag| tag.byte() as u64);
        let may_be = move |tag: u64| known.is_none_or(|known| known == tag);
        let call = self.helper_call(i, node, &[])?;
        let done = self.e.asm.label();
        let asks = self.cold(move |l| {
            l.call_helper(&call);
            l.e.asm.jump(done);
        });
        let other_tag = self.cold(move |l| {
            // An integer may equal a float, and these two only differ in all of three bits.
            const { assert!(Tag::INT.byte() ^ Tag::FLOAT.byte() == 7) };
            let tag = l.e.tag_in(x, RAX);
            l.e.asm.mov(RAX, tag);
            let tag = l.e.tag_in(y, RCX);
            l.e.asm.alu32(Alu::Xor, RAX, tag);
            l.e.asm.alu32_imm(Alu::Cmp, RAX, 7);
            l.e.asm.jump_if(Cond::Equal, asks);
            l.e.move_to(out, Place::Const(0));
            l.e.asm.jump(done);
        });
        let other_payload = self.cold(move |l| {
            let tag = l.e.tag_in(x, RAX);
            if may_be(string) {
                l.e.asm.alu32_imm(Alu::Cmp, tag, string as i32);
                l.e.asm.jump_if(Cond::Equal, asks);
            }
            // The payload of nil and booleans is nothing.
            l.e.asm.alu32_imm(Alu::Cmp, tag, truth as i32);
            l.put_condition(Cond::BelowEqual, out);
            l.e.asm.jump(done);
        });
        let (xt, yt) = (self.e.tag_in(x, RAX), self.e.tag_in(y, RCX));
        self.e.asm.alu32(Alu::Cmp, xt, yt);
        self.e.asm.jump_if(Cond::NotEqual, other_tag);
        if may_be(float) {
            // One that is not a number does not equal itself.
            self.e.asm.alu32_imm(Alu::Cmp, xt, float as i32);
            self.e.asm.jump_if(Cond::Equal, asks);
        }
        self.e.compare(px, py);
        self.e.asm.jump_if(Cond::NotEqual, other_payload);
        self.e.move_to(out, Place::Const(1));
        self.e.asm.bind(done);
        Ok(())
    }

    // Strings.

    /// Needs `1 <= index <= #s`, and loads the byte there into rax. Uses rcx and rdx.
    fn byte_at(&mut self, s: Place, index: Place, otherwise: Label) {
        let (long, back) = self.detour(move |l, back| {
            let s = l.e.gpr(s, RAX);
            l.e.asm.load(RAX, at(s, offset_of!(LongStr, data) as i32));
            l.e.asm.jump(back);
        });
        let s = self.e.gpr(s, RAX);
        let index = self.e.gpr(index, RCX);
        let asm = &mut self.e.asm;
        asm.lea(RDX, at(index, -1));
        asm.alu(Alu::Cmp, RDX, at(s, offset_of!(Str, len) as i32));
        asm.jump_if(Cond::AboveEqual, otherwise);
        asm.cmp8_imm(at(s, KIND), Kind::ShortString as u8);
        asm.jump_if(Cond::NotEqual, long);
        asm.lea(RAX, at(s, size_of::<Str>() as i32));
        asm.bind(back);
        let byte = Mem::Indexed {
            base: RAX,
            index: RDX,
            scale: 1,
            disp: 0,
        };
        asm.load8(RAX, byte);
    }

    /// `LOAD_BYTE`
    pub fn load_byte(&mut self, node: &Node, out: Place) {
        let (s, index) = (self.input(node, 0), self.input(node, 1));
        let exit = self.exit(node.exit);
        self.byte_at(s, index, exit);
        self.e.put(out, RAX);
    }

    /// The string of the byte in a register, which may be rax. Uses rax and rcx.
    fn string_of_byte(&mut self, byte: Gpr, out: Place) {
        let strings = offset_of!(Runtime, strings) + StringTable::BYTES;
        self.e.asm.load(RCX, at(RBP, field!(state)));
        self.e.asm.load(RCX, at(RCX, runtime(strings)));
        self.e.load_to(
            out,
            Mem::Indexed {
                base: RCX,
                index: byte,
                scale: 8,
                disp: 0,
            },
            RAX,
        );
    }

    /// `BYTE_STRING`
    pub fn byte_string(&mut self, node: &Node, out: Place) {
        let byte = self.e.gpr(self.input(node, 0), RAX);
        self.e.asm.alu_imm(Alu::Cmp, byte, 255);
        self.leave_if(Cond::Above, node.exit);
        self.string_of_byte(byte, out);
    }

    /// `SUBSTRING`: strings of one byte are there.
    pub fn substring(&mut self, i: usize, node: &Node, out: Place) -> Result<(), CompileError> {
        if node.inputs[1] != node.inputs[2] {
            return self.helper(i, node, &[]);
        }
        let call = self.helper_call(i, node, &[])?;
        let (outside, done) = self.detour(move |l, done| {
            l.call_helper(&call);
            l.e.asm.jump(done);
        });
        let (s, index) = (self.input(node, 0), self.input(node, 1));
        self.byte_at(s, index, outside);
        self.string_of_byte(RAX, out);
        self.e.asm.bind(done);
        Ok(())
    }

    // Tables: any key.

    /// `RAW_GET`
    pub fn raw_get(&mut self, i: usize, node: &Node) -> Result<(), CompileError> {
        match self.type_of(node, 1) {
            Type::String => self.get_string(i, node),
            Type::Int => self.get_word(i, node, Tag::INT),
            Type::Table => self.get_word(i, node, Tag::TABLE),
            _ => return self.helper(i, node, &[]),
        }
        Ok(())
    }

    /// A string is looked for in place if it is short and the table a dictionary.
    fn get_string(&mut self, i: usize, node: &Node) {
        let (table, key) = (self.input(node, 0), self.input(node, 1));
        let done = self.e.asm.label();
        let otherwise = self.otherwise(i, helpers::get_string, [table, key], done);
        let t = self.e.gpr(table, RAX);
        let k = self.e.gpr(key, RCX);
        let asm = &mut self.e.asm;
        asm.load8(RDX, at(t, FLAGS));
        asm.alu32_imm(Alu::And, RDX, table_flags::DICTIONARY as i32);
        asm.jump_if(Cond::Equal, otherwise);
        asm.cmp8_imm(at(k, KIND), Kind::ShortString as u8);
        asm.jump_if(Cond::NotEqual, otherwise);
        asm.load(RDX, at(t, HASH));
        asm.test(RDX, RDX);
        asm.jump_if(Cond::Equal, otherwise);
        asm.load32(RAX, at(k, offset_of!(Str, hash) as i32));
        asm.alu32(Alu::And, RAX, at(RDX, layout::MASK));
        self.node_at(RDX, RAX);
        self.find_node(i, k, Tag::STRING, done);
        let (payload, tag) = (at(RAX, layout::PAYLOAD), at(RAX, layout::TAG));
        self.load_value(i, payload, tag, false);
        self.e.asm.bind(done);
    }

    /// An integer or a table is looked for in the hash part, in place. An integer that has no value there may be in the array.
    fn get_word(&mut self, i: usize, node: &Node, key_tag: Tag) {
        let (table, key) = (self.input(node, 0), self.input(node, 1));
        let integer = key_tag == Tag::INT;
        let done = self.e.asm.label();
        let helper = if integer {
            helpers::get_int
        } else {
            helpers::get_table
        };
        let otherwise = self.otherwise(i, helper, [table, key], done);
        // Of the addresses of objects the lowest bits are always the same.
        let shift = if integer { 0 } else { layout::OBJECT_SHIFT };
        let t = self.e.gpr(table, RAX);
        self.e.asm.load(RAX, at(t, HASH));
        self.e.asm.test(RAX, RAX);
        self.e.asm.jump_if(Cond::Equal, otherwise);
        match key {
            Place::Const(k) => {
                let hash = (k >> shift).wrapping_mul(layout::MULTIPLIER);
                self.e.asm.mov_imm(RDX, hash);
            }
            key if integer => {
                self.e.asm.mov_imm(RDX, layout::MULTIPLIER);
                let key = self.e.operand(key, RCX);
                self.e.asm.imul(RDX, key);
            }
            key => {
                self.e.gpr_to(RDX, key);
                self.e.asm.shift_imm(Shift::Right, RDX, shift);
                self.e.asm.mov_imm(RCX, layout::MULTIPLIER);
                self.e.asm.imul(RDX, RCX);
            }
        }
        self.e.asm.load8(RCX, at(RAX, layout::SHIFT));
        self.e.asm.shift(Shift::Right, RDX);
        self.e.asm.mov(RCX, RAX);
        self.e.asm.mov(RAX, RDX);
        self.node_at(RCX, RAX);
        let k = self.e.gpr(key, RCX);
        let (payload, tag) = (at(RAX, layout::PAYLOAD), at(RAX, layout::TAG));
        if integer {
            self.find_node_or(k, key_tag, otherwise);
            self.e.asm.cmp8_imm(tag, NIL as u8);
            self.e.asm.jump_if(Cond::Equal, otherwise);
        } else {
            self.find_node(i, k, key_tag, done);
        }
        self.load_value(i, payload, tag, false);
        self.e.asm.bind(done);
    }

    /// Makes the number of a node its address.
    fn node_at(&mut self, part: Gpr, node: Gpr) {
        const { assert!(layout::NODE == 24) };
        let asm = &mut self.e.asm;
        asm.lea(
            node,
            Mem::Indexed {
                base: node,
                index: node,
                scale: 2,
                disp: 0,
            },
        );
        asm.lea(
            node,
            Mem::Indexed {
                base: part,
                index: node,
                scale: 8,
                disp: layout::NODES,
            },
        );
    }

    /// From the node in rax on looks for a key. Nil is the result of node `i` if there is none. Uses rdx.
    fn find_node(&mut self, i: usize, key: Gpr, tag: Tag, done: Label) {
        let (payload, nil) = self.outputs(i);
        let absent = self.cold(move |l| {
            l.e.move_to(payload, Place::Const(0));
            l.e.move_to(nil, Place::Const(NIL as u64));
            l.e.asm.jump(done);
        });
        self.find_node_or(key, tag, absent);
    }

    fn find_node_or(&mut self, key: Gpr, tag: Tag, absent: Label) {
        let again = self.e.asm.label();
        let next = self.cold(move |l| {
            let asm = &mut l.e.asm;
            asm.load32(RDX, at(RAX, layout::NEXT));
            asm.test(RDX, RDX);
            asm.jump_if(Cond::Equal, absent);
            // A distance with a sign, in nodes.
            asm.shift_imm(Shift::Left, RDX, 32);
            asm.shift_imm(Shift::Arithmetic, RDX, 32);
            asm.lea(
                RDX,
                Mem::Indexed {
                    base: RDX,
                    index: RDX,
                    scale: 2,
                    disp: 0,
                },
            );
            asm.lea(
                RAX,
                Mem::Indexed {
                    base: RAX,
                    index: RDX,
                    scale: 8,
                    disp: 0,
                },
            );
            asm.jump(again);
        });
        let asm = &mut self.e.asm;
        asm.bind(again);
        asm.alu(Alu::Cmp, key, at(RAX, layout::KEY));
        asm.jump_if(Cond::NotEqual, next);
        asm.cmp8_imm(at(RAX, layout::KEY_TAG), tag.byte());
        asm.jump_if(Cond::NotEqual, next);
    }

    // Tables: traversal.

    /// `NEXT_POSITION`: in place if the next element is there and not nil.
    pub fn next_position(&mut self, i: usize, node: &Node, out: Place) {
        let (table, position) = (self.input(node, 0), self.input(node, 1));
        let live = self.live(i);
        let (otherwise, done) = self.detour(move |l, done| {
            l.call_with(
                &live,
                helpers::next_position as *const () as usize,
                &[table, position],
            );
            l.e.put(out, RAX);
            l.e.asm.jump(done);
        });
        let t = self.e.gpr(table, RAX);
        let p = self.e.gpr(position, RCX);
        let asm = &mut self.e.asm;
        asm.load32(RDX, at(t, ARRAY_LEN));
        asm.alu(Alu::Cmp, p, RDX);
        asm.jump_if(Cond::AboveEqual, otherwise);
        asm.load(RDX, at(t, ARRAY));
        asm.cmp8_imm(
            Mem::Indexed {
                base: RDX,
                index: p,
                scale: 1,
                disp: 0,
            },
            NIL as u8,
        );
        asm.jump_if(Cond::Equal, otherwise);
        let to = self.e.target(out, RAX);
        self.e.asm.lea(to, at(p, 1));
        self.e.put(out, to);
        self.e.asm.bind(done);
    }

    /// `LOAD_KEY` or `LOAD_VALUE`: in place if the position is in the array or in the hash part.
    pub fn load_entry(&mut self, i: usize, node: &Node) {
        let keys = node.op == MicroOp::LOAD_KEY;
        let (table, position) = (self.input(node, 0), self.input(node, 1));
        let (payload, tag) = self.outputs(i);
        let done = self.e.asm.label();
        let helper = if keys {
            helpers::load_key
        } else {
            helpers::load_value
        };
        let otherwise = self.otherwise(i, helper, [table, position], done);
        let in_hash = self.cold(move |l| {
            let t = l.e.gpr(table, RAX);
            let asm = &mut l.e.asm;
            asm.load(RAX, at(t, HASH));
            asm.test(RAX, RAX);
            asm.jump_if(Cond::Equal, otherwise);
            // Positions are behind their nodes; those outside of the hash part become large numbers.
            asm.mov_imm(RDX, (NODES + 1).wrapping_neg());
            l.e.alu(Alu::Add, RDX, position, RCX);
            let asm = &mut l.e.asm;
            asm.load32(RCX, at(RAX, layout::MASK));
            asm.alu(Alu::Cmp, RDX, RCX);
            asm.jump_if(Cond::Above, otherwise);
            asm.mov(RCX, RAX);
            asm.mov(RAX, RDX);
            l.node_at(RCX, RAX);
            let (payload, tag) = if keys {
                (layout::KEY, layout::KEY_TAG)
            } else {
                (layout::PAYLOAD, layout::TAG)
            };
            // What has a value has a key that is alive.
            l.load_value(i, at(RAX, payload), at(RAX, tag), false);
            l.e.asm.jump(done);
        });
        let p = self.e.gpr(position, RCX);
        self.e.asm.mov(RDX, p);
        self.e.asm.shift_imm(Shift::Right, RDX, 32);
        self.e.asm.jump_if(Cond::NotEqual, in_hash);
        if keys {
            self.e.put(payload, p);
            self.e.move_to(tag, Place::Const(Tag::INT.byte() as u64));
        } else {
            let t = self.e.gpr(table, RAX);
            let asm = &mut self.e.asm;
            asm.lea(RDX, at(p, -1));
            asm.load32(RCX, at(t, ARRAY_LEN));
            asm.alu(Alu::Cmp, RDX, RCX);
            asm.jump_if(Cond::AboveEqual, otherwise);
            asm.load(RAX, at(t, ARRAY));
            asm.lea(
                RCX,
                Mem::Indexed {
                    base: RAX,
                    index: RDX,
                    scale: 1,
                    disp: 0,
                },
            );
            asm.neg(RDX);
            asm.lea(
                RAX,
                Mem::Indexed {
                    base: RAX,
                    index: RDX,
                    scale: 8,
                    disp: -8,
                },
            );
            self.load_value(i, at(RAX, 0), at(RCX, 0), false);
        }
        self.e.asm.bind(done);
    }

    // Constructors.

    /// `SET_LIST`: in place into an array that is empty and has room, if none of a few values is nil.
    pub fn set_list(&mut self, i: usize, node: &Node) {
        let [first, count, start, _] = node.operands;
        let few = start == 0 && (1..=LIST_MAX).contains(&count);
        let value = |k: u64| {
            let v = self.in_snapshot(node, first + k)?;
            (self.e.tag(v) != TagAt::Known(NIL as u64)).then_some(v)
        };
        let Some(values) = few
            .then(|| (1..=count).map(value).collect::<Option<Vec<Ref>>>())
            .flatten()
        else {
            return self.call_out(i, node);
        };
        let table = self.input(node, 0);
        let owned = *node;
        let (otherwise, done) = self.detour(move |l, done| {
            l.call_out(i, &owned);
            l.e.asm.jump(done);
        });
        let t = self.e.gpr(table, RAX);
        let asm = &mut self.e.asm;
        asm.alu32_imm(Alu::Cmp, at(t, ARRAY_CAP), count as i32);
        asm.jump_if(Cond::Below, otherwise);
        asm.alu32_imm(Alu::Cmp, at(t, ARRAY_LEN), 0);
        asm.jump_if(Cond::NotEqual, otherwise);
        asm.cmp8_imm(at(t, ARRAY_KIND), ArrayKind::EMPTY.0);
        asm.jump_if(Cond::NotEqual, otherwise);
        asm.cmp8_imm(at(t, BARRIER), 0);
        asm.jump_if(Cond::NotEqual, otherwise);
        asm.load(RCX, at(t, ARRAY));
        for (k, &v) in values.iter().enumerate() {
            if let TagAt::At(tag) = self.e.tag(v) {
                self.e.compare32(tag, NIL);
                self.e.asm.jump_if(Cond::Equal, otherwise);
            }
            let k = k as i32;
            self.e
                .store_packed(at(RCX, -8 * (k + 1)), at(RCX, k), v, RDX);
        }
        self.array_kind(&values);
        let t = self.e.gpr(table, RAX);
        self.e.asm.store8(at(t, ARRAY_KIND), RDX);
        self.e.asm.store32_imm(at(t, ARRAY_LEN), count as u32);
        self.e.asm.bind(done);
    }

    /// The value that a slot has in a node's snapshot.
    fn in_snapshot(&self, node: &Node, slot: u64) -> Option<Ref> {
        let slots = self.e.plan.sb.slots_of(node.exit);
        slots.iter().find(|s| s.0 as u64 == slot).map(|s| s.1)
    }

    /// The kind of an array of these values, none of which is nil, in rdx. Uses rax.
    fn array_kind(&mut self, values: &[Ref]) {
        let known = values.iter().filter_map(|&v| match self.e.tag(v) {
            TagAt::Known(tag) => Some(tag),
            _ => None,
        });
        let known: Vec<u64> = known.collect();
        if known.iter().any(|tag| *tag != known[0]) {
            return self.e.asm.mov_imm(RDX, ArrayKind::PACKED.0 as u64);
        }
        let (first, others) = values.split_first().expect("there are values");
        let tag = self.e.tag_in(*first, RDX);
        self.e.asm.mov(RDX, tag);
        if known.len() == values.len() {
            return;
        }
        let (mixed, done) = self.detour(|l, done| {
            l.e.asm.mov_imm(RDX, ArrayKind::PACKED.0 as u64);
            l.e.asm.jump(done);
        });
        for &v in others {
            let tag = self.e.tag_in(v, RAX);
            self.e.asm.alu32(Alu::Cmp, RDX, tag);
            self.e.asm.jump_if(Cond::NotEqual, mixed);
        }
        self.e.asm.bind(done);
    }
}
