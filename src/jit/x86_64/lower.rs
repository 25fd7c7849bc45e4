//! Lowering: from a superblock, its plan and its allocation to code.
//!
//! Every micro-op that superblocks have is lowered: inline, as a call-out, or through its [helper](crate::jit::helpers). What
//! is rare is put behind the code ([`Lowering::cold`]). A node reads its inputs, and leaves, before it writes its outputs: these
//! may be in the same registers as values of its snapshot.

use std::mem::offset_of;

use perilune_uops::{Exit, MicroOp, Type};

use super::arithmetic::int_condition;
use super::assembler::{Alu, Assembler, Cond, Label, Mem, Shift, at};
use super::exits::{Stub, slot_words};
use super::field;
use super::operands::{Emitter, TagAt};
use super::registers::*;
use super::stubs::Stubs;
use super::{Code, Jump};
use crate::heap::Heap;
use crate::jit::addresses::Common;
use crate::jit::allocation::{Allocation, Place};
use crate::jit::helpers::{self, helper};
use crate::jit::map::{self, CodeMap};
use crate::jit::plan::{Located, Part, Plan, guarded_type, tag_of};
use crate::jit::run::{call_directly, call_native, call_out};
use crate::jit::{CallOut, CompileError, Engine, Info, Parent, Watch};
use crate::runtime::Runtime;
use crate::runtime::array::ArrayKind;
use crate::runtime::coroutine::{CallRecord, record_flags};
use crate::runtime::function::{CellState, Closure, UpCell};
use crate::runtime::object::{Gc, Header};
use crate::runtime::shape::Shapes;
use crate::runtime::string::Str;
use crate::runtime::table::{Table, table_flags};
use crate::runtime::userdata::Userdata;
use crate::runtime::value::Tag;
use crate::tier1::State;
use crate::tier1::native::{DirectFn, direct_code};
use crate::tier2::executor::Counts;
use crate::tier2::superblock::{Node, ObjectId, Ref, SnapshotId, slot_offsets};
use crate::tier2::uop::Request;

// What is read and written in objects.
pub const BARRIER: i32 = offset_of!(Header, barrier) as i32;
const SHAPE: i32 = offset_of!(Table, shape) as i32;
const USERDATA_METATABLE: i32 = offset_of!(Userdata, metatable) as i32;
const METATABLE: i32 = offset_of!(Table, metatable) as i32;
pub const ARRAY: i32 = offset_of!(Table, array) as i32;
pub const ARRAY_LEN: i32 = offset_of!(Table, array_len) as i32;
pub const ARRAY_CAP: i32 = offset_of!(Table, array_cap) as i32;
pub const ARRAY_KIND: i32 = offset_of!(Table, array_kind) as i32;
const OVERFLOW: i32 = offset_of!(Table, overflow) as i32;
pub const HASH: i32 = offset_of!(Table, hash) as i32;
pub const FLAGS: i32 = offset_of!(Table, flags) as i32;
pub const CELL_PAYLOAD: i32 = offset_of!(UpCell, payload) as i32;
pub const CELL_TAG: i32 = offset_of!(UpCell, tag) as i32;
pub const CELL_STATE: i32 = offset_of!(UpCell, state) as i32;

pub const NIL: i32 = Tag::NIL.byte() as i32;
const FALSE: i32 = Tag::FALSE.byte() as i32;
const TRUE: i32 = Tag::TRUE.byte() as i32;

/// Code that is put behind the rest.
type Cold<'a, 'p> = Box<dyn FnOnce(&mut Lowering<'a, 'p>) + 'p>;

/// See the module's documentation.
pub struct Lowering<'a, 'p> {
    pub e: Emitter<'a, 'p>,
    pub stubs: &'p Stubs,
    pub shapes: &'p Shapes,
    pub info: *const Info,
    /// The code's way out; see [`exits`](super::exits).
    pub out: Label,
    /// The stubs of exits that something leaves by.
    pub exits: Vec<Option<Label>>,
    pub jumps: Vec<Stub>,
    /// See [`Code::joins`].
    pub joins: Option<u32>,
    pub parent: Option<Parent<'p>>,
    watch: Watch,
    map: Option<CodeMap>,
    /// The node that code is made for.
    current: u32,
    call_outs: Vec<CallOut>,
    cold: Vec<Cold<'a, 'p>>,
    loop_start: Label,
    pub left: Label,
}

/// The code of a superblock. `info` is the address of what the runtime will know of it.
pub fn lower<'a, 'p>(
    plan: &'p Plan<'a>,
    allocation: &'p Allocation,
    engine: &'p Engine,
    info: *const Info,
    shapes: &'p Shapes,
    parent: Option<Parent<'p>>,
    watch: Watch,
) -> Result<Code, CompileError> {
    let stubs = &engine.stubs;
    let mut asm = Assembler::default();
    let (out, loop_start, left, begin) = (asm.label(), asm.label(), asm.label(), asm.label());
    asm.bind(begin);
    let mut l = Lowering {
        e: Emitter {
            asm,
            plan,
            allocation,
            traps: engine.traps,
        },
        stubs,
        shapes,
        info,
        out,
        exits: vec![None; plan.sb.snapshots.len()],
        jumps: Vec::new(),
        joins: None,
        parent,
        watch,
        map: watch.map.then(CodeMap::default),
        current: 0,
        call_outs: Vec::new(),
        cold: Vec::new(),
        loop_start,
        left,
    };
    l.mark(map::Part::Begin);
    l.count(offset_of!(Counts, entries));
    l.params();
    let mut derived = plan.addresses.derived.iter().zip(0..).peekable();
    for i in 0..plan.sb.nodes.len() {
        l.current = i as u32;
        l.mark(map::Part::Node(i as u32));
        while let Some((derived, name)) = derived.next_if(|d| d.0.at as usize == i) {
            l.derived(derived.common, name);
        }
        l.node(i)?;
    }
    while !l.cold.is_empty() {
        for cold in std::mem::take(&mut l.cold) {
            cold(&mut l);
        }
    }
    l.mark(map::Part::Leave);
    l.e.asm.bind(left);
    l.e.asm.mov_imm(RAX, stubs.left());
    l.e.asm.jump_to(RAX);
    l.mark(map::Part::LinkedEntry);
    let linked_entry = l.e.asm.position() as u32;
    l.linked_entry(parent, begin);
    l.mark(map::Part::CalledEntry);
    let called_entry = l.e.asm.position() as u32;
    l.called_entry(begin);
    l.finish_exits();
    let out = l.e.asm.offset_of(out) as u32;
    let loop_start = match plan.head() {
        Some(_) => l.e.asm.offset_of(l.loop_start) as u32,
        None => 0,
    };
    let offset = |stub: &Stub| Jump {
        exit: stub.exit,
        displacement: stub.displacement as u32,
        out,
        stored: stub.stored,
    };
    let jumps = l.jumps.iter().map(offset).collect();
    l.mark(map::Part::Literals);
    let bytes = l.e.asm.finish();
    if bytes.len() > i32::MAX as usize / 4 {
        return Err(CompileError::TooLarge);
    }
    Ok(Code {
        bytes,
        call_outs: l.call_outs,
        jumps,
        linked_entry,
        called_entry,
        loop_start,
        joins: l.joins,
        out,
        map: l.map,
    })
}

impl<'a, 'p> Lowering<'a, 'p> {
    /// Puts code behind the rest; control comes to it by the label that is returned.
    pub fn cold(&mut self, emit: impl FnOnce(&mut Lowering<'a, 'p>) + 'p) -> Label {
        let label = self.e.asm.label();
        let node = self.current;
        self.cold.push(Box::new(move |l| {
            l.current = node;
            l.mark(map::Part::Cold(node));
            l.e.asm.bind(label);
            emit(l);
        }));
        label
    }

    /// The same, for code that comes back to where it is now when everything has been emitted: the label to be bound is given to it.
    pub fn detour(
        &mut self,
        emit: impl FnOnce(&mut Lowering<'a, 'p>, Label) + 'p,
    ) -> (Label, Label) {
        let back = self.e.asm.label();
        (self.cold(move |l| emit(l, back)), back)
    }

    /// What comes next belongs to another part of the code, if anybody wants to know.
    pub fn mark(&mut self, part: map::Part) {
        if let Some(map) = &mut self.map {
            map.push(self.e.asm.position() as u32, part);
        }
    }

    /// Adds one to a counter of the code, if anybody wants to know. Uses rdx.
    fn count(&mut self, counter: usize) {
        if self.watch.counts {
            let counter = self.info as u64 + (offset_of!(Info, counts) + counter) as u64;
            self.e.asm.mov_imm(RDX, counter);
            self.e.asm.alu_imm(Alu::Add, at(RDX, 0), 1);
        }
    }

    pub fn input(&self, node: &Node, k: usize) -> Place {
        self.e.input(node, k)
    }

    pub fn type_of(&self, node: &Node, k: usize) -> Type {
        self.e.type_of(node.inputs[k])
    }

    pub fn object(&self, operand: u64) -> u64 {
        self.e.plan.sb.object(ObjectId(operand as u32)).addr
    }

    /// Moves parameters from where the parent has them.
    fn params(&mut self) {
        let plan = self.e.plan;
        let (mut moves, mut held) = (Vec::new(), Vec::new());
        for (i, node) in plan.sb.nodes.iter().enumerate() {
            if node.op == MicroOp::PARAM && plan.uses[i] > 0 {
                let from = plan.params[node.operands[0] as usize];
                let r = Ref(i as u32);
                let ty = plan.sb.type_of(r);
                let to = [self.e.place(r, 0), self.e.place(r, 1)];
                held.extend(to);
                moves.push((to, ty, from.places, from.ty));
            }
        }
        self.e.move_values(moves);
        let held: Vec<Place> = self.e.allocation.live_at(0).chain(held).collect();
        self.e.trap_all_but(&held);
    }

    fn loop_head(&mut self) {
        let plan = self.e.plan;
        let values = plan
            .sb
            .phis()
            .map(|phi| plan.sb.node(phi).inputs[0])
            .collect::<Vec<_>>();
        self.carry(&values);
        self.e.asm.align_loop();
        let start = self.loop_start;
        self.e.asm.bind(start);
    }

    /// `JOIN`: gives the `PHI`s of the loop that the code comes back to their values, and jumps there.
    fn join(&mut self, node: &Node) -> Result<(), CompileError> {
        let root = self.parent.and_then(|p| p.executor.with_loop());
        let root = root.ok_or(CompileError::MicroOp(node.op))?;
        let looping = root
            .superblock
            .looping
            .as_ref()
            .ok_or(CompileError::MicroOp(node.op))?;
        let sb = self.e.plan.sb;
        let given = sb.slots_of(node.exit);
        let mut moves = Vec::new();
        // Slots may be one `PHI`, which gets its value once: booleans become tags by an addition.
        let mut moved: Vec<Ref> = Vec::new();
        let at_head = root
            .code
            .machine()
            .info
            .exits
            .at(&root.superblock, looping.label);
        for (to, &(slot, phi)) in at_head.zip(root.superblock.slots_of(looping.label)) {
            if phi < looping.head || to.places[0] == Place::None || moved.contains(&phi) {
                continue;
            }
            moved.push(phi);
            let (_, r) = *given
                .iter()
                .find(|g| g.0 == slot)
                .ok_or(CompileError::MicroOp(node.op))?;
            moves.push((
                to.places,
                to.ty,
                [self.e.place(r, 0), self.e.place(r, 1)],
                sb.type_of(r),
            ));
        }
        self.e.move_values(moves);
        let next = self.e.asm.label();
        self.e.asm.jump(next);
        self.joins = Some(self.e.asm.position() as u32 - 4);
        self.e.asm.bind(next);
        Ok(())
    }

    /// Moves values to the `PHI`s.
    fn carry(&mut self, values: &[Ref]) {
        let plan = self.e.plan;
        let live = |phi: &Ref| plan.parts[phi.index()][0] != Part::None;
        let moves: Vec<_> = plan
            .sb
            .phis()
            .zip(values)
            .filter(|(phi, _)| live(phi))
            .map(|(phi, &r)| {
                let places = |r: Ref| [self.e.place(r, 0), self.e.place(r, 1)];
                (
                    places(phi),
                    plan.sb.type_of(phi),
                    places(r),
                    plan.sb.type_of(r),
                )
            })
            .collect();
        self.e.move_values(moves);
    }

    fn node(&mut self, i: usize) -> Result<(), CompileError> {
        use MicroOp::*;
        let plan = self.e.plan;
        let node = plan.sb.nodes[i];
        if plan.sunk[i].is_some() || plan.is_dead(i) {
            return Ok(());
        }
        let out = self.e.place(Ref(i as u32), 0);
        let exit = node.exit;
        let operand = node.operands[0];
        match node.op {
            // Constants are operands of what uses them.
            CONST_NIL | CONST_INT | CONST_FLOAT | CONST_BOOL | CONST_TABLE | CONST_STRING
            | CONST_CLOSURE | CONST_NATIVE | CONST_CELL | CONST_USERDATA | CONST_COROUTINE => {}
            // Parameters and first values are moved by others.
            PARAM | PHI => {}
            // Made when control leaves.
            VIRTUAL_TABLE | VIRTUAL_CLOSURE | VIRTUAL_CELL => {}
            // Transfers leave nothing to be counted down; there is room for all frames, and heat is not counted here.
            START | LOOP_HEAD | ENTRY | GUARD_ROOM | GUARD_ARGS => {}
            LOOP => self.loop_head(),
            BACK => {
                self.carry(plan.back());
                self.count(offset_of!(Counts, passes));
                let start = self.loop_start;
                self.e.asm.jump(start);
            }
            LINK => self.link(&node),
            EXIT => self.exit_for_good(&node),
            JOIN => self.join(&node)?,

            // The frame.
            LOAD => {
                self.e.asm.load(RAX, at(RBP, field!(slots)));
                let (payload, tag) = slot_words(operand);
                self.load_value(i, payload, tag, true);
            }
            CALLEE => {
                self.e.asm.load(RAX, at(RBP, field!(slots)));
                self.e.load_to(out, slot_words(0).0, RAX);
            }
            EXTRA_COUNT => {
                self.record(RAX);
                let to = self.e.target(out, RAX);
                self.e
                    .asm
                    .load32(to, at(RAX, offset_of!(CallRecord, extra_args) as i32));
                self.e.put(out, to);
            }
            LOAD_EXTRA => {
                // The extra arguments lie below the function.
                self.record(RAX);
                self.e
                    .asm
                    .load32(RCX, at(RAX, offset_of!(CallRecord, extra_args) as i32));
                self.e.gpr_to(RAX, self.input(&node, 0));
                self.e.asm.alu(Alu::Sub, RAX, RCX);
                self.e.asm.shift_imm(Shift::Left, RAX, 4);
                self.e.asm.alu(Alu::Add, RAX, at(RBP, field!(slots)));
                let (payload, tag) = slot_words(0);
                self.load_value(i, payload, tag, true);
            }

            LIST_COUNT => {
                self.e.asm.load(RCX, at(RBP, field!(state)));
                self.e.asm.load(RCX, at(RCX, offset_of!(State, top) as i32));
                self.e.asm.load(RAX, at(RBP, field!(slots)));
                self.e.asm.lea(RAX, slot_words(operand).0);
                self.e.asm.alu(Alu::Sub, RCX, RAX);
                self.e.asm.shift_imm(Shift::Right, RCX, 4);
                self.e.put(out, RCX);
            }

            // Types.
            op if let Some(ty) = guarded_type(op) => self.guard_type(i, &node, ty),
            GUARD_NUMBER => self.guard_number(&node, out),
            GUARD_BOOL => self.guard_bool(&node, out),
            GUARD_NIL => match self.e.tag(node.inputs[0]) {
                TagAt::At(tag) => {
                    self.e.compare32(tag, NIL);
                    self.leave_if(Cond::NotEqual, exit);
                }
                TagAt::Known(tag) if tag == NIL as u64 => {}
                _ => self.leave(exit),
            },
            GUARD_NOT_NIL => self.guard_not_nil(node.inputs[0], exit),
            GUARD_FOUND => {
                if operand == 0 {
                    self.guard_not_nil(node.inputs[0], exit);
                }
            }
            GUARD_OBJECT => self.guard_object(&node),
            GUARD_NEXT => self.helper(i, &node, &[])?,
            GUARD_TRUE | GUARD_FALSE => self.guard_condition(i, &node),
            TRUTH => {
                // Of other types the truth is a constant, or the value itself.
                if let TagAt::At(tag) = self.e.tag(node.inputs[0])
                    && self.type_of(&node, 0) == Type::Tagged
                {
                    self.e.compare32(tag, FALSE);
                    self.put_condition(Cond::Above, out);
                } else if self.type_of(&node, 0) == Type::Tagged {
                    let known = matches!(self.e.tag(node.inputs[0]), TagAt::Known(tag) if tag > FALSE as u64);
                    self.e.move_to(out, Place::Const(known as u64));
                }
            }
            IS_NIL => {
                if self.type_of(&node, 0) == Type::Tagged {
                    match self.e.tag(node.inputs[0]) {
                        TagAt::At(tag) => {
                            self.e.compare32(tag, NIL);
                            self.put_condition(Cond::Equal, out);
                        }
                        tag => self
                            .e
                            .move_to(out, Place::Const((tag == TagAt::Known(NIL as u64)) as u64)),
                    }
                }
            }
            TAG => {
                // Of a boolean; those of others are known.
                let tag = self.e.place(Ref(i as u32), 1);
                if let TagAt::OfBool(_) = self.e.tag(node.inputs[0]) {
                    let made = self.e.tag_in(node.inputs[0], RAX);
                    self.e.put(tag, made);
                }
            }

            // Numbers.
            SUB_I if self.counted_down(i - 1).is_some() => {}
            ADD_I | SUB_I | MUL_I | AND_I | OR_I | XOR_I | IDIV_I | MOD_I | NEG_I | NOT_I
            | SHL_I | SHR_I | SAR_I | ABS_I | MIN_I | MAX_I | EQ_I | SAME | LT_I | LE_I | LT_U
            | SELECT_I | GUARD_NOT_ZERO => self.integers(&node, out),
            ADD_F | SUB_F | MUL_F | DIV_F | IDIV_F | MOD_F | POW_F | NEG_F | ABS_F | SQRT_F
            | FLOOR_F | CEIL_F | MIN_F | MAX_F | EQ_F | LT_F | LE_F | SELECT_F | INT_TO_FLOAT
            | CALL_F | CALL_FF | RANDOM_F | RANDOM_I | EXACT_FLOAT | FLOAT_TO_INT | FOR_GOES_ON => {
                self.floats(i, &node, out)?
            }

            // Booleans, identity and strings.
            NOT => {
                let to = self.e.target(out, RAX);
                self.e.gpr_to(to, self.input(&node, 0));
                self.e.asm.alu_imm(Alu::Xor, to, 1);
                self.e.put(out, to);
            }
            SELECT => self.select(i, &node),
            RAW_EQ => self.raw_equal(i, &node, out)?,
            GUARD_RAW_EQ => {
                let asks = |ty: Type| matches!(ty, Type::Tagged | Type::Table | Type::Userdata);
                let types = [self.type_of(&node, 0), self.type_of(&node, 1)];
                if types == [Type::Table; 2] {
                    self.guard_raw_equality(i, &node)?;
                } else if types.into_iter().all(asks) {
                    self.helper(i, &node, &[])?;
                }
            }
            EQ_S => self.equal_strings(i, &node, out)?,
            LT_S | LE_S => self.helper(i, &node, &[])?,
            LOAD_BYTE => self.load_byte(&node, out),
            SUBSTRING => self.substring(i, &node, out)?,
            BYTE_STRING => self.byte_string(&node, out),
            LENGTH_S => self.load_field(&node, out, offset_of!(Str, len) as i32),

            // Captured variables.
            LOAD_CAPTURED => self.load_field(&node, out, captured(operand)),
            INIT_CAPTURED => {
                let closure = self.e.gpr(self.input(&node, 0), RAX);
                self.e
                    .store_from(at(closure, captured(operand)), self.input(&node, 1), RCX);
            }
            LOAD_CELL => {
                let cell = self.e.gpr(self.input(&node, 0), RAX);
                self.load_value(i, at(cell, CELL_PAYLOAD), at(cell, CELL_TAG), false);
            }
            GUARD_MUTABLE => {
                let cell = self.e.gpr(self.input(&node, 0), RAX);
                self.e
                    .asm
                    .cmp8_imm(at(cell, CELL_STATE), CellState::Mutable as u8);
                self.leave_if(Cond::NotEqual, exit);
            }
            STORE_CELL => {
                let cell = self.e.gpr(self.input(&node, 0), RAX);
                self.e.store_packed(
                    at(cell, CELL_PAYLOAD),
                    at(cell, CELL_TAG),
                    node.inputs[1],
                    RCX,
                );
            }
            SET_CELL => self.set_cell(i, &node),
            NEW_CELL | NEW_EMPTY_CELL => self.new_cell(i, &node),
            ALLOCATE_CLOSURE => self.allocate_closure(i, &node),
            GUARD_PROTO => {
                let closure = self.e.gpr(self.input(&node, 0), RAX);
                self.e.asm.mov_imm(RCX, self.object(operand));
                self.e.asm.alu(
                    Alu::Cmp,
                    RCX,
                    at(closure, offset_of!(Closure, proto) as i32),
                );
                self.leave_if(Cond::NotEqual, exit);
            }

            // Tables: the header.
            GUARD_SHAPE => {
                let t = self.e.gpr(self.input(&node, 0), RAX);
                self.e.asm.alu32_imm(Alu::Cmp, at(t, SHAPE), operand as i32);
                self.leave_if(Cond::NotEqual, exit);
            }
            SET_SHAPE => {
                let t = self.e.gpr(self.input(&node, 0), RAX);
                self.e.asm.store32_imm(at(t, SHAPE), operand as u32);
            }
            GUARD_NO_METATABLE => {
                let t = self.e.gpr(self.input(&node, 0), RAX);
                self.guard_no_metatable(t, exit);
            }
            GUARD_METATABLE => {
                let userdata = self.e.gpr(self.input(&node, 0), RAX);
                self.e.asm.mov_imm(RCX, self.object(operand));
                self.e
                    .asm
                    .alu(Alu::Cmp, RCX, at(userdata, USERDATA_METATABLE));
                self.leave_if(Cond::NotEqual, exit);
            }
            SET_METATABLE => {
                let t = self.e.gpr(self.input(&node, 0), RAX);
                self.e
                    .store_from(at(t, METATABLE), self.input(&node, 1), RCX);
                self.e.asm.store32_imm(at(t, SHAPE), operand as u32);
            }
            GUARD_EPOCH => {
                self.e.asm.load(RAX, at(RBP, field!(state)));
                let epoch = offset_of!(State, rt) + offset_of!(Runtime, holder_epoch);
                self.e
                    .asm
                    .alu32_imm(Alu::Cmp, at(RAX, epoch as i32), operand as i32);
                self.leave_if(Cond::NotEqual, exit);
            }
            MicroOp::BARRIER => self.barrier(i, &node),
            NEW_TABLE => {
                let frame = plan.sb.snapshot_at(exit).frame;
                let proto = plan.sb.object(plan.sb.frame(frame).proto).addr;
                self.helper(i, &node, &[operand, proto])?
            }
            ALLOCATE_TABLE => self.allocate_table(i, &node)?,

            // Tables: the object part.
            LOAD_INLINE | LOAD_OVERFLOW | LOAD_HOLDER => {
                let (payload, tag) = self.slot(&node);
                self.load_value(i, payload, tag, false);
            }
            STORE_INLINE | STORE_OVERFLOW => {
                let (payload, tag) = self.slot(&node);
                self.e.store_packed(payload, tag, node.inputs[1], RCX);
            }
            GUARD_FOUND_IN => match self.e.tag(node.inputs[1]) {
                TagAt::At(tag) => {
                    let table = self.input(&node, 0);
                    let (nil, back) = self.detour(move |l, back| {
                        let t = l.e.gpr(table, RAX);
                        l.e.asm.alu_imm(Alu::Cmp, at(t, METATABLE), 0);
                        l.leave_if(Cond::NotEqual, exit);
                        l.e.asm.jump(back);
                    });
                    self.e.compare32(tag, NIL);
                    self.e.asm.jump_if(Cond::Equal, nil);
                    self.e.asm.bind(back);
                }
                TagAt::Known(tag) if tag == NIL as u64 => {
                    let t = self.e.gpr(self.input(&node, 0), RAX);
                    self.e.asm.alu_imm(Alu::Cmp, at(t, METATABLE), 0);
                    self.leave_if(Cond::NotEqual, exit);
                }
                _ => {}
            },

            // Tables: the array part.
            GUARD_IN_ARRAY => {
                let t = self.e.gpr(self.input(&node, 0), RAX);
                let (index, offset) = self.index(i, &node);
                match index {
                    Place::Const(index) => match i32::try_from(index as i64) {
                        Ok(index) if index >= 1 => {
                            self.e.asm.alu32_imm(Alu::Cmp, at(t, ARRAY_LEN), index);
                            self.leave_if(Cond::Below, exit);
                        }
                        _ => self.leave(exit),
                    },
                    index => {
                        let index = self.e.gpr(index, RCX);
                        self.e.asm.lea(RCX, at(index, offset - 1));
                        self.e.asm.load32(RAX, at(t, ARRAY_LEN));
                        self.e.asm.alu(Alu::Cmp, RCX, RAX);
                        self.leave_if(Cond::AboveEqual, exit);
                    }
                }
            }
            GUARD_ARRAY_KIND => {
                let t = self.e.gpr(self.input(&node, 0), RAX);
                self.e.asm.cmp8_imm(at(t, ARRAY_KIND), operand as u8);
                self.leave_if(Cond::NotEqual, exit);
            }
            GUARD_ACCEPTS => self.guard_accepts(node.inputs[0], node.inputs[1], exit),
            GUARD_APPENDS => {
                let t = self.e.gpr(self.input(&node, 0), RAX);
                let index = self.e.gpr(self.input(&node, 1), RCX);
                self.e.asm.lea(RCX, at(index, -1));
                self.guard_appends(t, exit);
                self.guard_no_metatable(t, exit);
            }
            GUARD_STORABLE | GUARD_RAW_STORABLE => {
                self.guard_accepts(node.inputs[0], node.inputs[2], exit);
                self.guard_place(&node);
            }
            LOAD_ELEMENT => {
                let (payload, tag) = self.element(i, &node);
                self.load_value(i, payload, tag, false);
            }
            LOAD_ELEMENT_I | LOAD_ELEMENT_F => {
                let payload = self.element_in_memory(i, &node);
                self.e.load_to(out, payload, RAX);
            }
            TEST_ELEMENT => {
                let tag = self.element_tag(i, &node);
                self.e.asm.cmp8_imm(tag, FALSE as u8);
                self.put_condition(Cond::Above, out);
            }
            REPLACE_ELEMENT if plan.addresses.keeps_tag(i) => {
                let payload = self.element_in_memory(i, &node);
                self.e.store_from(payload, self.input(&node, 2), RAX);
            }
            REPLACE_ELEMENT if self.type_of(&node, 2) == Type::Bool => {
                self.replace_by_boolean(i, &node)
            }
            STORE_ELEMENT | REPLACE_ELEMENT => {
                let (payload, tag) = self.element(i, &node);
                self.e.store_packed(payload, tag, node.inputs[2], RAX);
                if node.op == STORE_ELEMENT {
                    self.extend_array(&node);
                }
            }
            INIT_ELEMENT => {
                let (payload, tag) = self.element(i, &node);
                self.e.store_packed(payload, tag, node.inputs[2], RAX);
                self.join_element(&node);
            }
            LENGTH_T => self.length(i, &node, out)?,

            // Tables: any key.
            RAW_GET => self.raw_get(i, &node)?,
            RAW_SET | FIND_NEXT | KEY_POSITION => self.helper(i, &node, &[])?,
            NEXT_POSITION => self.next_position(i, &node, out),
            LOAD_KEY | LOAD_VALUE => self.load_entry(i, &node),

            // Control.
            POLL => {
                self.e.asm.load(RAX, at(RBP, field!(state)));
                self.e
                    .asm
                    .alu32_imm(Alu::Cmp, at(RAX, offset_of!(State, interrupt) as i32), 0);
                self.leave_if(Cond::NotEqual, exit);
            }
            SUNK => self.sunk(i, operand),
            SAFEPOINT => {
                self.e.asm.load(RAX, at(RBP, field!(state)));
                let requested = offset_of!(State, rt) + offset_of!(Runtime, heap) + Heap::REQUESTED;
                self.e.asm.cmp8_imm(at(RAX, requested as i32), 0);
                self.leave_if(Cond::NotEqual, exit);
            }
            GUARD_PLAIN_RETURN => {
                let frame = plan.sb.frame(plan.sb.snapshot_at(exit).frame);
                let plain = frame.continuation as u8 | frame.flags == 0;
                match frame.caller {
                    None => {
                        self.record(RAX);
                        for offset in [
                            offset_of!(CallRecord, continuation),
                            offset_of!(CallRecord, flags),
                        ] {
                            self.e.asm.cmp8_imm(at(RAX, offset as i32), 0);
                            self.leave_if(Cond::NotEqual, exit);
                        }
                    }
                    Some(_) if plain => {}
                    Some(_) => self.leave(exit),
                }
            }
            GUARD_UNMARKED => {
                self.record(RAX);
                self.e
                    .asm
                    .load8(RAX, at(RAX, offset_of!(CallRecord, flags) as i32));
                self.e
                    .asm
                    .alu32_imm(Alu::And, RAX, record_flags::TBC as i32);
                self.leave_if(Cond::NotEqual, exit);
            }
            GUARD_CATCHING => self.guard_catching(&node),
            GUARD_VALID => self.guard_valid(i, &node)?,

            PUSH_FRAME => self.push_frame(&node),
            REPLACE_FRAME => self.replace_frame(&node),
            POP_FRAME => self.pop_frame(&node),

            SET_LIST => self.set_list(i, &node),

            // Call-outs.
            CONCAT_S => self.concat(i, &node, out),
            CALL_LEAF | CALL_TABLE => self.call_leaf(i, &node),
            GUARD_STRINGS | NEW_CLOSURE | ARITH | COMPARE | LENGTH | CONCAT | GET_INDEX
            | SET_INDEX | GET_FIELD | SET_FIELD | GET_METHOD | RAISE | FOR_PREPARE | CALL
            | TAIL_CALL | LEAVE | VARARG | MARK_TO_CLOSE | CLOSE | INTERPRET => {
                self.call_out(i, &node)
            }
            // The function is in its slot.
            CALL_NATIVE => match self.direct_code(&node) {
                Some(code) => self.call_directly(i, &node, code),
                None => self.call_runtime(i, &node, call_native as *const () as usize, false),
            },

            SWITCH => self.switch(&node),

            // The type guards are above; of the rest projection leaves none.
            GUARD_INT | GUARD_FLOAT | GUARD_STRING | GUARD_TABLE | GUARD_CLOSURE | GUARD_NATIVE
            | GUARD_CELL | GUARD_USERDATA | GUARD_COROUTINE | CONST | STORE | STORE_NILS
            | STORE_PAIR | JUMP | JUMP_IF | JUMP_UNLESS => {
                return Err(CompileError::MicroOp(node.op));
            }
        }
        Ok(())
    }

    /// The current call record.
    fn record(&mut self, to: Gpr) {
        self.e.asm.load(RAX, at(RBP, field!(state)));
        self.e
            .asm
            .load(to, at(RAX, offset_of!(State, record) as i32));
    }

    pub fn compare_zero(&mut self, place: Place) {
        match place {
            Place::Gpr(r) => self.e.asm.test(Gpr(r), Gpr(r)),
            place => self.e.compare(place, Place::Const(0)),
        }
    }

    pub fn put_condition(&mut self, cond: Cond, out: Place) {
        let to = self.e.target(out, RAX);
        self.e.asm.set(cond, to);
        self.e.put(out, to);
    }

    // Loads.

    /// Loads the value of node `i`, or of the load that has been sunk into it, which makes sure of its type. A tag is a word
    /// (`wide`) or a byte.
    pub fn load_value(&mut self, i: usize, payload: Mem, tag: Mem, wide: bool) {
        let r = Ref(i as u32);
        let (to, to_tag) = (self.e.place(r, 0), self.e.place(r, 1));
        match self.e.type_of(r) {
            Type::Tagged => {
                let is_free = |r: &Gpr| !uses(payload, *r) && !uses(tag, *r);
                let scratch = [RDX, RAX, RCX]
                    .into_iter()
                    .find(is_free)
                    .expect("two operands use two of them at most");
                let load_tag = |l: &mut Self, register: Gpr| {
                    if wide {
                        l.e.asm.load(register, tag)
                    } else {
                        l.e.asm.load8(register, tag)
                    }
                };
                // What addresses the one may be where the other one is to be.
                let in_way =
                    |place: Place, of: Mem| matches!(place, Place::Gpr(r) if uses(of, Gpr(r)));
                let register = self.e.target(to_tag, scratch);
                if !in_way(to, tag) {
                    self.e.load_to(to, payload, scratch);
                    load_tag(self, register);
                    self.e.put(to_tag, register);
                } else if !in_way(to_tag, payload) {
                    load_tag(self, register);
                    self.e.put(to_tag, register);
                    self.e.load_to(to, payload, scratch);
                } else {
                    load_tag(self, scratch);
                    self.e.load_to(to, payload, scratch);
                    self.e.put(to_tag, scratch);
                }
            }
            Type::Bool => {
                if wide {
                    self.e.asm.alu32_imm(Alu::Cmp, tag, TRUE);
                } else {
                    self.e.asm.cmp8_imm(tag, TRUE as u8);
                }
                self.put_condition(Cond::Equal, to);
            }
            _ => self.e.load_to(to, payload, RDX),
        }
    }

    /// Loads a word of an object.
    fn load_field(&mut self, node: &Node, out: Place, offset: i32) {
        let object = self.e.gpr(self.input(node, 0), RAX);
        self.e.load_to(out, at(object, offset), RAX);
    }

    /// The slot of a table that a node names. Uses rax.
    fn slot(&mut self, node: &Node) -> (Mem, Mem) {
        let (table, offsets, inline) = match node.op {
            MicroOp::LOAD_HOLDER => {
                let slot = slot_offsets(node.operands[1]);
                (
                    Place::Const(self.object(node.operands[0])),
                    slot,
                    !slot.in_overflow(),
                )
            }
            op => (
                self.input(node, 0),
                slot_offsets(node.operands[0]),
                matches!(op, MicroOp::LOAD_INLINE | MicroOp::STORE_INLINE),
            ),
        };
        let mut base = self.e.gpr(table, RAX);
        if !inline {
            self.e.asm.load(RAX, at(base, OVERFLOW));
            base = RAX;
        }
        (
            at(base, offsets.payload as i32),
            at(base, offsets.tag as i32),
        )
    }

    // Elements of arrays.

    /// Makes a value that accesses have in common.
    fn derived(&mut self, common: Common, name: u32) {
        let to = self.derived_place(Some(name));
        let register = self.e.target(to, RCX);
        match common {
            Common::Base(table) => {
                let table = self.e.gpr(self.e.place(table, 0), RCX);
                self.e.asm.load(register, at(table, ARRAY));
            }
            Common::Negated(index) => {
                self.e.gpr_to(register, self.e.place(index, 0));
                self.e.asm.neg(register);
            }
        }
        self.e.put(to, register);
    }

    fn derived_place(&self, name: Option<u32>) -> Place {
        let part = name.map_or(Part::None, |name| Part::Value(self.e.plan.derived(name)));
        self.e.allocation.place(part)
    }

    /// The index of the element that node `i` accesses, less a constant.
    fn index(&self, i: usize, node: &Node) -> (Place, i32) {
        let Some(access) = self.e.plan.addresses.access(i) else {
            return (self.input(node, 1), 0);
        };
        match self.e.place(access.index, 0) {
            Place::Const(index) => (
                Place::Const(index.wrapping_add_signed(access.offset as i64)),
                0,
            ),
            place => (place, access.offset),
        }
    }

    /// The base of the array that node `i` accesses: in rcx, unless it has a register.
    fn array_base(&mut self, i: usize, node: &Node) -> Gpr {
        let access = self.e.plan.addresses.access(i);
        match self.derived_place(access.and_then(|access| access.base)) {
            Place::None => {
                let t = self.e.gpr(self.input(node, 0), RCX);
                self.e.asm.load(RCX, at(t, ARRAY));
                RCX
            }
            place => self.e.gpr(place, RCX),
        }
    }

    /// The payload of the element that node `i` accesses. Uses rdx.
    fn element_payload(&mut self, i: usize, node: &Node, base: Gpr) -> Mem {
        let (index, offset) = self.index(i, node);
        if let Some(index) = near(index) {
            return at(base, -8 * index);
        }
        let access = self.e.plan.addresses.access(i);
        let negated = match self.derived_place(access.and_then(|access| access.negated)) {
            Place::None => {
                self.e.gpr_to(RDX, index);
                self.e.asm.neg(RDX);
                RDX
            }
            place => self.e.gpr(place, RDX),
        };
        Mem::Indexed {
            base,
            index: negated,
            scale: 8,
            disp: -8 * offset,
        }
    }

    /// The same, whatever the array's base. Uses rcx and rdx.
    pub fn element_in_memory(&mut self, i: usize, node: &Node) -> Mem {
        let base = self.array_base(i, node);
        self.element_payload(i, node, base)
    }

    /// Its tag. Uses rcx and rdx.
    fn element_tag(&mut self, i: usize, node: &Node) -> Mem {
        let base = self.array_base(i, node);
        let (index, offset) = self.index(i, node);
        if let Some(index) = near(index) {
            return at(base, index - 1);
        }
        let index = self.e.gpr(index, RDX);
        Mem::Indexed {
            base,
            index,
            scale: 1,
            disp: offset - 1,
        }
    }

    /// Payload and tag of an element. Uses rcx and rdx, and rax before the element is accessed.
    fn element(&mut self, i: usize, node: &Node) -> (Mem, Mem) {
        let base = self.array_base(i, node);
        let payload = self.element_payload(i, node, base);
        let (index, offset) = self.index(i, node);
        if let Some(index) = near(index) {
            return (payload, at(base, index - 1));
        }
        let tag = |base, index| Mem::Indexed {
            base,
            index,
            scale: 1,
            disp: offset - 1,
        };
        match index {
            Place::Gpr(index) => (payload, tag(base, Gpr(index))),
            index if !uses(payload, RDX) => {
                let index = self.e.gpr(index, RDX);
                (payload, tag(base, index))
            }
            _ => {
                // The index has no register, and its negation is in rdx.
                self.e.asm.lea(RAX, payload);
                self.e.asm.mov(RCX, base);
                self.e.asm.alu(Alu::Sub, RCX, RDX);
                self.e.asm.mov(RDX, RAX);
                (at(RDX, 0), at(RCX, offset - 1))
            }
        }
    }

    // Guards.

    /// A guard for a type with one tag, which makes the load that has been sunk into it.
    fn guard_type(&mut self, i: usize, node: &Node, ty: Type) {
        let tag = tag_of(ty);
        if let Some(first) = self.e.plan.with[i] {
            return self.guarded_load(i, first as usize, node, tag);
        }
        match self.e.tag(node.inputs[0]) {
            TagAt::Known(known) if known == tag => {}
            TagAt::At(place) => {
                self.e.compare32(place, tag as i32);
                self.leave_if(Cond::NotEqual, node.exit);
            }
            _ => return self.leave(node.exit),
        }
        // A payload in a register of the other kind.
        let r = Ref(i as u32);
        if self.e.plan.parts[i][0] == Part::Value(Plan::value(i, 0)) {
            let (to, from) = (self.e.place(r, 0), self.input(node, 0));
            self.e.move_to(to, from);
        }
    }

    fn guarded_load(&mut self, i: usize, first: usize, node: &Node, tag: u64) {
        let load = self.e.plan.sb.nodes[first];
        let wide = load.op == MicroOp::LOAD;
        let (payload, at_tag) = match load.op {
            MicroOp::LOAD => {
                self.e.asm.load(RAX, at(RBP, field!(slots)));
                slot_words(load.operands[0])
            }
            MicroOp::LOAD_ELEMENT => self.element(first, &load),
            MicroOp::LOAD_CELL => {
                let cell = self.e.gpr(self.input(&load, 0), RAX);
                (at(cell, CELL_PAYLOAD), at(cell, CELL_TAG))
            }
            _ => self.slot(&load),
        };
        if wide {
            self.e.asm.alu32_imm(Alu::Cmp, at_tag, tag as i32);
        } else {
            self.e.asm.cmp8_imm(at_tag, tag as u8);
        }
        self.leave_if(Cond::NotEqual, node.exit);
        let out = self.e.place(Ref(i as u32), 0);
        self.e.load_to(out, payload, RAX);
    }

    fn guard_not_nil(&mut self, r: Ref, exit: SnapshotId) {
        match self.e.tag(r) {
            TagAt::At(tag) => {
                self.e.compare32(tag, NIL);
                self.leave_if(Cond::Equal, exit);
            }
            TagAt::Known(tag) if tag == NIL as u64 => self.leave(exit),
            _ => {}
        }
    }

    fn guard_number(&mut self, node: &Node, out: Place) {
        let payload = self.input(node, 0);
        match self.e.tag(node.inputs[0]) {
            TagAt::Known(tag) if tag == Tag::INT.byte() as u64 => self.int_to_float(payload, out),
            TagAt::Known(tag) if tag == Tag::FLOAT.byte() as u64 => {
                // A float as such is its guard's value.
                if self.type_of(node, 0) != Type::Float {
                    self.e.move_to(out, payload);
                }
            }
            TagAt::At(tag) => {
                let exit = node.exit;
                let (other, back) = self.detour(move |l, back| {
                    l.e.compare32(tag, Tag::INT.byte() as i32);
                    l.leave_if(Cond::NotEqual, exit);
                    l.int_to_float(payload, out);
                    l.e.asm.jump(back);
                });
                self.e.compare32(tag, Tag::FLOAT.byte() as i32);
                self.e.asm.jump_if(Cond::NotEqual, other);
                self.e.move_to(out, payload);
                self.e.asm.bind(back);
            }
            _ => self.leave(node.exit),
        }
    }

    fn guard_bool(&mut self, node: &Node, out: Place) {
        match (self.type_of(node, 0), self.e.tag(node.inputs[0])) {
            (Type::Bool, _) => {}
            (_, TagAt::At(tag)) => {
                let tag = self.e.gpr(tag, RAX);
                self.e.asm.lea(RAX, at(tag, -FALSE));
                self.e.asm.alu_imm(Alu::Cmp, RAX, 1);
                self.leave_if(Cond::Above, node.exit);
                self.e.put(out, RAX);
            }
            (_, TagAt::Known(tag)) if tag == FALSE as u64 || tag == TRUE as u64 => {
                self.e.move_to(out, Place::Const(tag - FALSE as u64));
            }
            _ => self.leave(node.exit),
        }
    }

    fn guard_object(&mut self, node: &Node) {
        let object = *self.e.plan.sb.object(ObjectId(node.operands[0] as u32));
        let Some(tag) = object.kind.constant().map(|(_, ty)| tag_of(ty)) else {
            return self.leave(node.exit);
        };
        match self.e.tag(node.inputs[0]) {
            TagAt::Known(known) if known == tag => {}
            TagAt::At(place) => {
                self.e.compare32(place, tag as i32);
                self.leave_if(Cond::NotEqual, node.exit);
            }
            _ => return self.leave(node.exit),
        }
        self.e
            .compare(self.input(node, 0), Place::Const(object.addr));
        self.leave_if(Cond::NotEqual, node.exit);
    }

    /// The register of a number that a guard counts down as it tests it; see [`Plan::counts_down`].
    fn counted_down(&self, guard: usize) -> Option<Gpr> {
        let plan = self.e.plan;
        let place = |r: Ref| self.e.place(r, 0);
        let counted = plan.counts_down(guard).then_some(Ref(guard as u32 + 1))?;
        match (place(counted), place(plan.sb.node(counted).inputs[0])) {
            (Place::Gpr(to), Place::Gpr(from)) if to == from => Some(Gpr(to)),
            _ => None,
        }
    }

    /// A guard for a boolean, or for the test that has been sunk into it.
    fn guard_condition(&mut self, i: usize, node: &Node) {
        use MicroOp::*;
        let sense = node.op == GUARD_TRUE;
        let exit = node.exit;
        let Some(first) = self.e.plan.with[i] else {
            match self.input(node, 0) {
                Place::Const(b) if (b != 0) == sense => {}
                Place::Const(_) => self.leave(exit),
                place => {
                    self.compare_zero(place);
                    self.leave_if(if sense { Cond::Equal } else { Cond::NotEqual }, exit);
                }
            }
            return;
        };
        let test = self.e.plan.sb.nodes[first as usize];
        let leave_unless = |l: &mut Self, cond: Cond| {
            l.leave_if(if sense { cond.negate() } else { cond }, exit);
        };
        match test.op {
            EQ_I if let Some(count) = self.counted_down(i) => {
                self.e.asm.alu_imm(Alu::Sub, count, 1);
                self.leave_if(Cond::Below, exit);
            }
            EQ_I | SAME | LT_I | LE_I | LT_U => {
                let (x, y) = (self.input(&test, 0), self.input(&test, 1));
                self.e.compare(x, y);
                leave_unless(self, int_condition(test.op));
            }
            EQ_F => {
                self.compare_floats(self.input(&test, 0), self.input(&test, 1));
                if sense {
                    self.leave_if(Cond::NotEqual, exit);
                    self.leave_if(Cond::Parity, exit);
                } else {
                    let unordered = self.e.asm.label();
                    self.e.asm.jump_if(Cond::Parity, unordered);
                    self.leave_if(Cond::Equal, exit);
                    self.e.asm.bind(unordered);
                }
            }
            // Unordered operands are below.
            LT_F | LE_F => {
                self.compare_floats(self.input(&test, 1), self.input(&test, 0));
                leave_unless(
                    self,
                    if test.op == LT_F {
                        Cond::Above
                    } else {
                        Cond::AboveEqual
                    },
                );
            }
            TRUTH | IS_NIL => match self.e.tag(test.inputs[0]) {
                TagAt::At(tag) => {
                    self.e
                        .compare32(tag, if test.op == TRUTH { FALSE } else { NIL });
                    leave_unless(
                        self,
                        if test.op == TRUTH {
                            Cond::Above
                        } else {
                            Cond::Equal
                        },
                    );
                }
                tag => {
                    let TagAt::Known(tag) = tag else {
                        unreachable!("tagged values have tags")
                    };
                    let holds = if test.op == TRUTH {
                        tag > FALSE as u64
                    } else {
                        tag == NIL as u64
                    };
                    if holds != sense {
                        self.leave(exit);
                    }
                }
            },
            TEST_ELEMENT => {
                let tag = self.element_tag(first as usize, &test);
                self.e.asm.cmp8_imm(tag, FALSE as u8);
                leave_unless(self, Cond::Above);
            }
            FOR_GOES_ON if sense => {
                let stub = self.exit(exit);
                self.goes_on(&test, stub);
            }
            FOR_GOES_ON => {
                let ends = self.e.asm.label();
                self.goes_on(&test, ends);
                self.leave(exit);
                self.e.asm.bind(ends);
            }
            _ => unreachable!("only these are sunk into guards"),
        }
    }

    // Equality.

    /// `SELECT`: payload and tag of one of two values.
    fn select(&mut self, i: usize, node: &Node) {
        let done = self.e.asm.label();
        let [condition, x, y] = node.inputs;
        // What is made may be in the places of inputs.
        for (r, last) in [(y, false), (x, true)] {
            let payload = self.e.payload(r);
            self.e.gpr_to(RCX, payload);
            let tag = self.e.tag_in(r, RDX);
            self.e.asm.mov(RDX, tag);
            if !last {
                self.compare_zero(self.e.place(condition, 0));
                self.e.asm.jump_if(Cond::Equal, done);
            }
        }
        self.e.asm.bind(done);
        let (payload, tag) = (
            self.e.place(Ref(i as u32), 0),
            self.e.place(Ref(i as u32), 1),
        );
        self.e.put(payload, RCX);
        self.e.put(tag, RDX);
    }

    fn raw_equal(&mut self, i: usize, node: &Node, out: Place) -> Result<(), CompileError> {
        let (x, y) = (self.type_of(node, 0), self.type_of(node, 1));
        match (x, y) {
            (Type::Tagged, _) | (_, Type::Tagged) => self.raw_equal_tagged(i, node, out),
            (Type::Float | Type::Int, Type::Float | Type::Int) if x != y || x == Type::Float => {
                self.helper(i, node, &[])
            }
            (Type::String, Type::String) => self.equal_strings(i, node, out),
            _ if x == y => {
                self.e.compare(self.input(node, 0), self.input(node, 1));
                self.put_condition(Cond::Equal, out);
                Ok(())
            }
            _ => {
                self.e.move_to(out, Place::Const(0));
                Ok(())
            }
        }
    }

    /// Needs two tables to be the same, or none of them to have an `__eq`.
    fn guard_raw_equality(&mut self, i: usize, node: &Node) -> Result<(), CompileError> {
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        let call = self.helper_call(i, node, &[])?;
        let (asks, done) = self.detour(move |l, done| {
            l.call_helper(&call);
            l.e.asm.jump(done);
        });
        let x = self.e.gpr(x, RAX);
        let y = self.e.gpr(y, RCX);
        self.e.asm.alu(Alu::Cmp, x, y);
        self.e.asm.jump_if(Cond::Equal, done);
        self.e.asm.load(RDX, at(x, METATABLE));
        self.e.asm.alu(Alu::Or, RDX, at(y, METATABLE));
        self.e.asm.jump_if(Cond::NotEqual, asks);
        self.e.asm.bind(done);
        Ok(())
    }

    fn equal_strings(&mut self, i: usize, node: &Node, out: Place) -> Result<(), CompileError> {
        use crate::runtime::object::Kind;
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        let call = self.helper_call(i, node, &[])?;
        // Short strings are interned.
        let (different, done) = self.detour(move |l, done| {
            let x = l.e.gpr(x, RAX);
            l.e.asm
                .cmp8_imm(at(x, offset_of!(Str, kind) as i32), Kind::LongString as u8);
            let no = l.e.asm.label();
            l.e.asm.jump_if(Cond::NotEqual, no);
            l.call_helper(&call);
            l.e.asm.jump(done);
            l.e.asm.bind(no);
            l.e.move_to(out, Place::Const(0));
            l.e.asm.jump(done);
        });
        self.e.compare(x, y);
        self.e.asm.jump_if(Cond::NotEqual, different);
        self.e.move_to(out, Place::Const(1));
        self.e.asm.bind(done);
        Ok(())
    }

    fn sunk(&mut self, i: usize, objects: u64) {
        let live: Vec<Place> = self.e.allocation.live_at(i).collect();
        let (many, back) = self.detour(move |l, back| {
            l.e.save(&live, false);
            l.e.call_with_frame(helpers::many_sunk as *const () as usize);
            l.e.restore(&live);
            l.e.asm.jump(back);
        });
        let left = offset_of!(State, rt) + offset_of!(Runtime, heap) + Heap::SUNK_LEFT;
        self.e.asm.load(RAX, at(RBP, field!(state)));
        let left = at(RAX, left as i32);
        self.e.asm.alu32_imm(Alu::Sub, left, objects as i32);
        self.e.asm.jump_if(Cond::Below, many);
        self.e.asm.bind(back);
    }

    // Tables.

    fn barrier(&mut self, i: usize, node: &Node) {
        let object = self.input(node, 0);
        let live: Vec<Place> = self.e.allocation.live_at(i).collect();
        let (logs, back) = self.detour(move |l, back| {
            l.e.save(&live, false);
            l.e.gpr_to(RSI, object);
            l.e.call_with_frame(helpers::barrier as *const () as usize);
            l.e.restore(&live);
            l.e.asm.jump(back);
        });
        let object = self.e.gpr(object, RAX);
        self.e.asm.cmp8_imm(at(object, BARRIER), 0);
        self.e.asm.jump_if(Cond::NotEqual, logs);
        self.e.asm.bind(back);
    }

    /// Needs a value not to be nil and of the kind that an array holds.
    fn guard_accepts(&mut self, t: Ref, v: Ref, exit: SnapshotId) {
        let table = self.e.gpr(self.e.place(t, 0), RAX);
        let ok = self.e.asm.label();
        let tag = match self.e.tag(v) {
            TagAt::Known(tag) if tag == NIL as u64 => return self.leave(exit),
            TagAt::Known(tag) => Some(tag),
            _ => None,
        };
        self.e.asm.load8(RDX, at(table, ARRAY_KIND));
        match tag {
            Some(tag) => self.e.asm.alu32_imm(Alu::Cmp, RDX, tag as i32),
            None => {
                let tag = self.e.tag_in(v, RAX);
                self.e.asm.alu32_imm(Alu::Cmp, tag, NIL);
                self.leave_if(Cond::Equal, exit);
                self.e.asm.alu32(Alu::Cmp, RDX, tag);
            }
        }
        self.e.asm.jump_if(Cond::Equal, ok);
        self.e
            .asm
            .alu32_imm(Alu::Cmp, RDX, ArrayKind::PACKED.0 as i32);
        self.leave_if(Cond::Below, exit);
        self.e.asm.bind(ok);
    }

    /// Needs the index in rcx, less one, to be that behind the last element of the table in `t`. Uses rdx.
    fn guard_appends(&mut self, t: Gpr, exit: SnapshotId) {
        self.e.asm.load32(RDX, at(t, ARRAY_LEN));
        self.e.asm.alu(Alu::Cmp, RCX, RDX);
        self.leave_if(Cond::NotEqual, exit);
        self.e.asm.alu32(Alu::Cmp, RDX, at(t, ARRAY_CAP));
        self.leave_if(Cond::AboveEqual, exit);
        self.has_indices(t);
        self.leave_if(Cond::NotEqual, exit);
    }

    /// Compares: not equal if the hash part of a table may have indices. Uses rdx.
    fn has_indices(&mut self, t: Gpr) {
        self.e.asm.load8(RDX, at(t, FLAGS));
        self.e
            .asm
            .alu32_imm(Alu::And, RDX, table_flags::INDICES as i32);
    }

    fn guard_no_metatable(&mut self, t: Gpr, exit: SnapshotId) {
        self.e.asm.alu_imm(Alu::Cmp, at(t, METATABLE), 0);
        self.leave_if(Cond::NotEqual, exit);
    }

    /// Needs an element to be storable over another one that no metatable would be asked for, or behind the last one.
    fn guard_place(&mut self, node: &Node) {
        let exit = node.exit;
        let t = self.e.gpr(self.input(node, 0), RAX);
        let index = self.e.gpr(self.input(node, 1), RCX);
        self.e.asm.lea(RCX, at(index, -1));
        let ok = self.e.asm.label();
        let asks = node.op == MicroOp::GUARD_STORABLE;
        let (behind, _) = self.detour(move |l, _| {
            l.guard_appends(t, exit);
            if asks {
                l.guard_no_metatable(t, exit);
            }
            l.e.asm.jump(ok);
        });
        self.e.asm.load32(RDX, at(t, ARRAY_LEN));
        self.e.asm.alu(Alu::Cmp, RCX, RDX);
        self.e.asm.jump_if(Cond::AboveEqual, behind);
        if !asks {
            self.e.asm.bind(ok);
            return;
        }
        let (with_metatable, _) = self.detour(move |l, _| {
            l.e.asm.load(RDX, at(t, ARRAY));
            l.e.asm.cmp8_imm(
                Mem::Indexed {
                    base: RDX,
                    index: RCX,
                    scale: 1,
                    disp: 0,
                },
                NIL as u8,
            );
            l.leave_if(Cond::Equal, exit);
            l.e.asm.jump(ok);
        });
        self.e.asm.alu_imm(Alu::Cmp, at(t, METATABLE), 0);
        self.e.asm.jump_if(Cond::NotEqual, with_metatable);
        self.e.asm.bind(ok);
    }

    /// The element that has been stored may be a new last one.
    fn extend_array(&mut self, node: &Node) {
        let t = self.e.gpr(self.input(node, 0), RAX);
        let index = self.e.gpr(self.input(node, 1), RCX);
        let within = self.e.asm.label();
        self.e.asm.load32(RDX, at(t, ARRAY_LEN));
        self.e.asm.alu(Alu::Cmp, index, RDX);
        self.e.asm.jump_if(Cond::BelowEqual, within);
        self.e.asm.store32(at(t, ARRAY_LEN), index);
        self.e.asm.bind(within);
    }

    /// Stores a boolean over an element. Those of flags have the same payload, which is not even looked at then: they lie much closer
    /// together in memory without it.
    fn replace_by_boolean(&mut self, i: usize, node: &Node) {
        let (payload, tag) = self.element(i, node);
        let (no_boolean, back) = self.detour(move |l, back| {
            l.e.asm.store_imm(payload, 0);
            l.e.asm.jump(back);
        });
        self.e.asm.cmp8_imm(tag, TRUE as u8);
        self.e.asm.jump_if(Cond::Above, no_boolean);
        self.e.asm.bind(back);
        match self.e.tag(node.inputs[2]) {
            TagAt::Known(known) => self.e.asm.store8_imm(tag, known as u8),
            _ => {
                let register = self.e.tag_in(node.inputs[2], RAX);
                self.e.asm.store8(tag, register);
            }
        }
    }

    /// Counts an element that has been added to an array, whose kind it becomes part of.
    fn join_element(&mut self, node: &Node) {
        let t = self.e.gpr(self.input(node, 0), RAX);
        let index = self.e.gpr(self.input(node, 1), RCX);
        self.e.asm.store32(at(t, ARRAY_LEN), index);
        let (first, done) = (self.e.asm.label(), self.e.asm.label());
        let tag = self.e.tag_in(node.inputs[2], RDX);
        self.e.asm.load8(RCX, at(t, ARRAY_KIND));
        self.e
            .asm
            .alu32_imm(Alu::Cmp, RCX, ArrayKind::EMPTY.0 as i32);
        self.e.asm.jump_if(Cond::Equal, first);
        self.e.asm.alu32(Alu::Cmp, RCX, tag);
        self.e.asm.jump_if(Cond::Equal, done);
        // An array that may hold nil goes on doing so.
        self.e.asm.alu32_imm(Alu::Cmp, RCX, ArrayKind::ANY.0 as i32);
        self.e.asm.jump_if(Cond::Equal, done);
        self.e
            .asm
            .store8_imm(at(t, ARRAY_KIND), ArrayKind::PACKED.0);
        self.e.asm.jump(done);
        self.e.asm.bind(first);
        self.e.asm.store8(at(t, ARRAY_KIND), tag);
        self.e.asm.bind(done);
    }

    fn length(&mut self, i: usize, node: &Node, out: Place) -> Result<(), CompileError> {
        let call = self.helper_call(i, node, &[])?;
        let (asks, back) = self.detour(move |l, back| {
            l.call_helper(&call);
            l.e.asm.jump(back);
        });
        let t = self.e.gpr(self.input(node, 0), RAX);
        let full = self.e.asm.label();
        self.e.asm.cmp8_imm(at(t, ARRAY_KIND), ArrayKind::ANY.0);
        self.e.asm.jump_if(Cond::Equal, asks);
        self.e.asm.load32(RCX, at(t, ARRAY_LEN));
        self.e.asm.alu32(Alu::Cmp, RCX, at(t, ARRAY_CAP));
        self.e.asm.jump_if(Cond::NotEqual, full);
        self.has_indices(t);
        self.e.asm.jump_if(Cond::NotEqual, asks);
        self.e.asm.bind(full);
        self.e.put(out, RCX);
        self.e.asm.bind(back);
        Ok(())
    }

    // Calls.

    /// A micro-op as a call of its helper, with these operands.
    pub fn helper(&mut self, i: usize, node: &Node, operands: &[u64]) -> Result<(), CompileError> {
        let call = self.helper_call(i, node, operands)?;
        self.call_helper(&call);
        Ok(())
    }

    pub fn helper_call(
        &self,
        i: usize,
        node: &Node,
        operands: &[u64],
    ) -> Result<HelperCall, CompileError> {
        let function = helper(node.op).ok_or(CompileError::MicroOp(node.op))?;
        Ok(HelperCall {
            node: *node,
            name: Ref(i as u32),
            function: function as *const () as usize,
            operands: operands.to_vec(),
            live: self.e.allocation.live_at(i).collect(),
        })
    }

    pub fn call_helper(&mut self, call: &HelperCall) {
        let HelperCall {
            node,
            name,
            function,
            operands,
            live,
        } = call;
        self.e.save(live, false);
        let arg = |k: usize| at(RBP, field!(args) + 8 * k as i32);
        for (k, &input) in node.inputs().iter().enumerate() {
            self.e.store_value(arg(2 * k), arg(2 * k + 1), input, RAX);
            // Where it is of one type a boolean is its payload, too.
        }
        for (k, &operand) in operands.iter().enumerate() {
            self.e.store_from(arg(6 + k), Place::Const(operand), RAX);
        }
        self.e.call_with_frame(*function);
        self.e.restore(live);
        if node.exit_kind() != Exit::None {
            self.e.asm.test(RAX, RAX);
            self.leave_if(Cond::NotEqual, node.exit);
        }
        self.take_output(*name, node);
    }

    fn take_output(&mut self, name: Ref, node: &Node) {
        if node.ty.is_none() {
            return;
        }
        let output = |k: i32| at(RBP, field!(output) + 8 * k);
        let (payload, tag) = (self.e.place(name, 0), self.e.place(name, 1));
        self.e.load_to(payload, output(0), RAX);
        if node.ty == Some(Type::Tagged) {
            self.e.load_to(tag, output(1), RAX);
        }
    }

    /// A call-out.
    pub fn call_out(&mut self, i: usize, node: &Node) {
        let has_inputs = !node.inputs().is_empty();
        self.call_runtime(i, node, call_out as *const () as usize, has_inputs);
    }

    /// The code for direct calls of the function that `CALL_NATIVE` calls, if that is known and has such code.
    fn direct_code(&self, node: &Node) -> Option<DirectFn> {
        let known = self.e.plan.sb.constant_object(node.inputs[0])?;
        let counted = node.operands[1] != 0;
        direct_code(Gc::from_addr(known.addr)).filter(|_| counted)
    }

    /// A call of a host function's code for that: nothing but the slots of the call is in memory.
    fn call_directly(&mut self, i: usize, node: &Node, code: DirectFn) {
        let at_index = self.note_call_out(node);
        let live: Vec<Place> = self.e.allocation.live_at(i).collect();
        self.store_slots(node.exit);
        self.e.save(&live, false);
        self.e.asm.mov_imm(RCX, code as usize as u64);
        self.perform(
            i,
            node,
            at_index,
            call_directly as *const () as usize,
            &live,
        );
    }

    /// A call-out by a function of the runtime, which finds inputs where they are saved if it looks for them.
    fn call_runtime(&mut self, i: usize, node: &Node, function: usize, looks: bool) {
        let at_index = self.note_call_out(node);
        let live: Vec<Place> = self.e.allocation.live_at(i).collect();
        self.store_slots(node.exit);
        self.e.save(&live, looks);
        self.show_frames(at_index);
        self.perform(i, node, at_index, function, &live);
    }

    /// Pushes the records of a call-out's frames, if it needs them.
    pub fn show_frames(&mut self, at_index: u64) {
        let CallOut {
            request, inlined, ..
        } = self.call_outs[at_index as usize].clone();
        if request.needs_records() {
            let pc = self.e.plan.sb.snapshot_at(request.exit).pc;
            self.records_of(request.frame, pc + request.behind());
            self.stand_at(inlined as i32, 0);
        }
    }

    /// Notes a call-out, for the runtime to find it by the number that is returned.
    pub fn note_call_out(&mut self, node: &Node) -> u64 {
        let sb = self.e.plan.sb;
        let none = Located {
            ty: Type::Int,
            places: [Place::None; 2],
        };
        let mut inputs = [none; 3];
        for (located, &input) in inputs.iter_mut().zip(node.inputs()) {
            *located = Located {
                ty: sb.type_of(input),
                places: [self.e.place(input, 0), self.e.place(input, 1)],
            };
        }
        let at_index = self.call_outs.len() as u64;
        let request = Request::new(sb, node);
        let records = request.needs_records();
        let inlined = if records {
            sb.inlined(request.frame) as u32
        } else {
            0
        };
        self.call_outs.push(CallOut {
            request,
            inlined,
            inputs,
        });
        at_index
    }

    /// Calls the function that performs a call-out.
    pub fn call_for(&mut self, at_index: u64, function: usize) {
        self.e.asm.mov_imm(RSI, self.info as u64);
        self.e.asm.mov_imm(RDX, at_index);
        self.e.call_with_frame(function);
    }

    /// Calls the function that performs a call-out, and goes where it says.
    fn perform(&mut self, i: usize, node: &Node, at_index: u64, function: usize, live: &[Place]) {
        self.call_for(at_index, function);
        self.e.restore(live);
        let (exit, left) = (node.exit, self.left);
        let elsewhere = self.cold(move |l| {
            l.e.asm.alu_imm(Alu::Cmp, RAX, crate::jit::run::EXIT as i32);
            l.leave_if(Cond::Equal, exit);
            l.e.asm.jump(left);
        });
        self.e.asm.test(RAX, RAX);
        self.e.asm.jump_if(Cond::NotEqual, elsewhere);
        self.take_output(Ref(i as u32), node);
    }
}

/// A call of a helper, to be emitted.
pub struct HelperCall {
    node: Node,
    name: Ref,
    function: usize,
    operands: Vec<u64>,
    live: Vec<Place>,
}

/// Whether an operand is addressed through a register.
fn uses(operand: Mem, r: Gpr) -> bool {
    match operand {
        Mem::At { base, .. } => base == r,
        Mem::Indexed { base, index, .. } => base == r || index == r,
        Mem::Code(_) => false,
    }
}

/// A constant index that fits into displacements.
fn near(index: Place) -> Option<i32> {
    match index {
        Place::Const(index) if (1..1 << 24).contains(&index) => Some(index as i32),
        _ => None,
    }
}

/// Where a closure's captured variable is.
fn captured(number: u64) -> i32 {
    (size_of::<Closure>() + number as usize * size_of::<Gc<UpCell>>()) as i32
}
