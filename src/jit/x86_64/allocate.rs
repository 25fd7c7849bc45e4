//! Allocation: objects are made in place, as [`Heap::alloc`](crate::heap::Heap::alloc) and their constructors make them.
//!
//! A cell comes from its size class's span, else from the list of freed cells, else from the heap, which takes the next
//! span and charges it, or says that there is no memory. New objects are neither marked nor scanned: in whatever phase the
//! collector is, a mark bit that is clear and a barrier byte of 0 are right. It does not run before everything is initialised.

use std::mem::offset_of;

use super::assembler::{Alu, Cond, Label, at};
use super::field;
use super::lower::{CELL_PAYLOAD, CELL_STATE, CELL_TAG, Lowering};
use super::operands::TagAt;
use super::registers::*;
use crate::bytecode::proto::Proto;
use crate::heap::{Heap, SMALL_MAX, Spans};
use crate::jit::CompileError;
use crate::jit::allocation::Place;
use crate::jit::helpers;
use crate::runtime::Runtime;
use crate::runtime::array::{ArrayKind, array_size};
use crate::runtime::function::{CellState, Closure, UpCell};
use crate::runtime::object::{Gc, Header, Kind};
use crate::runtime::shape::ShapeId;
use crate::runtime::table::Table;
use crate::runtime::value::Tag;
use crate::tier1::State;
use crate::tier2::superblock::{Node, Ref, SnapshotId};

/// The first word of an object with these bytes and 32-bit words at offsets in it; all others are 0.
const fn head(kind: Kind, bytes: &[(usize, u8)], words: &[(usize, u32)]) -> u64 {
    let mut head = (kind as u64) << (8 * offset_of!(Header, kind));
    let mut i = 0;
    while i < bytes.len() {
        head |= (bytes[i].1 as u64) << (8 * bytes[i].0);
        i += 1;
    }
    let mut i = 0;
    while i < words.len() {
        head |= (words[i].1 as u64) << (8 * words[i].0);
        i += 1;
    }
    head
}

/// A field of the heap, relative to the state.
fn heap(offset: usize) -> i32 {
    (offset_of!(State, rt) + offset_of!(Runtime, heap) + offset) as i32
}

impl<'a, 'p> Lowering<'a, 'p> {
    /// Allocates a cell of at most [`SMALL_MAX`] bytes; its address is in rax. Uses rcx and rdx. Without memory control leaves.
    fn allocate_cell(&mut self, i: usize, size: usize, exit: SnapshotId) {
        let spans = Heap::spans_of(size);
        let live: Vec<_> = self.e.allocation.live_at(i).collect();
        let (exhausted, made) = self.detour(move |l, made| {
            let none = l.e.asm.label();
            let (list, count) = (
                at(RCX, heap(spans.free_list)),
                at(RCX, heap(spans.free_count)),
            );
            l.e.asm.load(RAX, list);
            l.e.asm.test(RAX, RAX);
            l.e.asm.jump_if(Cond::Equal, none);
            // Freed cells hold the pointer to the next one.
            l.e.asm.load(RDX, at(RAX, 0));
            l.e.asm.store(list, RDX);
            l.e.asm.alu_imm(Alu::Sub, count, 1);
            l.e.asm.jump(made);
            l.e.asm.bind(none);
            l.e.save(&live, false);
            l.e.asm.mov_imm(RSI, size as u64);
            l.e.call_with_frame(helpers::allocate_cell as *const () as usize);
            l.e.restore(&live);
            l.e.asm.test(RAX, RAX);
            l.leave_if(Cond::Equal, exit);
            l.e.asm.jump(made);
        });
        let asm = &mut self.e.asm;
        asm.load(RCX, at(RBP, field!(state)));
        asm.load(RAX, at(RCX, heap(spans.cursor)));
        asm.alu(Alu::Cmp, RAX, at(RCX, heap(spans.limit)));
        asm.jump_if(Cond::Equal, exhausted);
        asm.lea(RDX, at(RAX, spans.cell as i32));
        asm.store(at(RCX, heap(spans.cursor)), RDX);
        asm.bind(made);
    }

    /// `NEW_CELL`, or `NEW_EMPTY_CELL` if there is no input.
    pub fn new_cell(&mut self, i: usize, node: &Node) {
        self.allocate_cell(i, size_of::<UpCell>(), node.exit);
        let cell_head = |tag: u64, state: CellState| {
            let bytes = [
                (CELL_STATE as usize, state as u8),
                (CELL_TAG as usize, tag as u8),
            ];
            head(Kind::Cell, &bytes, &[])
        };
        match node.inputs() {
            [] => {
                self.put_word(
                    0,
                    cell_head(Tag::NIL.byte() as u64, CellState::Uninitialised),
                );
                self.e.asm.store_imm(at(RAX, CELL_PAYLOAD), 0);
            }
            &[value, ..] => {
                match self.e.tag(value) {
                    TagAt::Known(tag) => self.put_word(0, cell_head(tag, CellState::Constant)),
                    _ => {
                        self.put_word(0, cell_head(0, CellState::Constant));
                        let tag = self.e.tag_in(value, RCX);
                        self.e.asm.store8(at(RAX, CELL_TAG), tag);
                    }
                }
                let payload = self.e.payload(value);
                self.e.store_from(at(RAX, CELL_PAYLOAD), payload, RCX);
            }
        }
        self.finish_object(i);
    }

    /// `ALLOCATE_CLOSURE`: the captured variables are set by what follows.
    pub fn allocate_closure(&mut self, i: usize, node: &Node) {
        let proto = Gc::<Proto>::from_addr(self.object(node.operands[0]));
        let cells = proto.info.captured.len();
        self.allocate_cell(i, Closure::size(cells), node.exit);
        let bytes = [(offset_of!(Closure, cell_count), cells as u8)];
        self.put_word(0, head(Kind::Closure, &bytes, &[]));
        self.put_word(offset_of!(Closure, proto) as i32, proto.addr());
        self.finish_object(i);
    }

    /// `ALLOCATE_TABLE`: in place if all slots are inline and the blocks are cells.
    pub fn allocate_table(&mut self, i: usize, node: &Node) -> Result<(), CompileError> {
        let [shape, capacity, ..] = node.operands;
        let id = ShapeId(shape as u32);
        let array = array_size(capacity as u32);
        if self.shapes.overflow_cap(id) > 0 || array > SMALL_MAX {
            return self.helper(i, node, &[shape, capacity]);
        }
        let size = size_of::<Table>() + 9 * self.shapes.inline_cap(id) as usize;
        let done = self.e.asm.label();
        if capacity > 0 {
            let call = self.helper_call(i, node, &[shape, capacity])?;
            let exhausted = self.cold(move |l| {
                l.call_helper(&call);
                l.e.asm.jump(done);
            });
            self.allocate_pair(Heap::spans_of(size), Heap::spans_of(array), exhausted);
            self.e.asm.lea(RDX, at(RDX, 8 * capacity as i32));
        } else {
            self.allocate_cell(i, size, node.exit);
        }
        let shape = [(offset_of!(Table, shape), shape as u32)];
        let kind = [(offset_of!(Table, array_kind), ArrayKind::EMPTY.0)];
        self.put_word(0, head(Kind::Table, &kind, &shape));
        let asm = &mut self.e.asm;
        asm.zero_float(XMM_SCRATCH);
        // All fields from the metatable on begin as zeros.
        const { assert!(offset_of!(Table, metatable) == 8 && size_of::<Table>() == 48) };
        for from in [8, 24, 32] {
            asm.store_wide(at(RAX, from), XMM_SCRATCH);
        }
        if self.shapes.slot_count(id) > 0 {
            // The slots are nil. Cells are multiples of sixteen bytes.
            const { assert!(Tag::NIL.byte() == 0 && size_of::<Table>().is_multiple_of(16)) };
            for from in (size_of::<Table>()..size).step_by(16) {
                asm.store_wide(at(RAX, from as i32), XMM_SCRATCH);
            }
        }
        if capacity > 0 {
            asm.store(at(RAX, offset_of!(Table, array) as i32), RDX);
            asm.store32_imm(
                at(RAX, offset_of!(Table, array_cap) as i32),
                capacity as u32,
            );
        }
        self.finish_object(i);
        self.e.asm.bind(done);
        Ok(())
    }

    /// Allocates a table's cell, in rax, and its array's, in rdx, both from spans. Uses rcx.
    fn allocate_pair(&mut self, table: Spans, array: Spans, exhausted: Label) {
        let asm = &mut self.e.asm;
        asm.load(RCX, at(RBP, field!(state)));
        asm.load(RAX, at(RCX, heap(table.cursor)));
        asm.alu(Alu::Cmp, RAX, at(RCX, heap(table.limit)));
        asm.jump_if(Cond::Equal, exhausted);
        if table == array {
            asm.lea(RDX, at(RAX, table.cell as i32));
        } else {
            asm.load(RDX, at(RCX, heap(array.cursor)));
        }
        asm.alu(Alu::Cmp, RDX, at(RCX, heap(array.limit)));
        asm.jump_if(Cond::Equal, exhausted);
        asm.alu_imm(Alu::Add, at(RCX, heap(table.cursor)), table.cell as i32);
        asm.alu_imm(Alu::Add, at(RCX, heap(array.cursor)), array.cell as i32);
    }

    /// Stores a constant word of the object in rax. Uses rcx.
    fn put_word(&mut self, offset: i32, word: u64) {
        self.e.store_from(at(RAX, offset), Place::Const(word), RCX);
    }

    /// Moves the object in rax to where it belongs.
    fn finish_object(&mut self, i: usize) {
        let out = self.e.place(Ref(i as u32), 0);
        self.e.put(out, RAX);
    }
}
