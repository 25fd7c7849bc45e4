//! Lowering: from a superblock, its plan and its allocation to code.
//!
//! Every micro-op that superblocks have is lowered: inline, as a call-out, or through its [helper](crate::jit::helpers). What
//! is rare is put behind the code ([`Lowering::cold`]). A node reads its inputs, and leaves, before it writes its outputs: these
//! may be in the same registers as values of its snapshot.

use std::mem::offset_of;

use perilune_uops::{Exit, MicroOp, Type};

use super::assembler::{Alu, Assembler, Cond, Label, Mem, Shift, Sse, at};
use super::exits::{Stub, slot_words};
use super::field;
use super::operands::{Emitter, TagAt, immediate};
use super::registers::*;
use super::stubs::Stubs;
use super::{Code, Jump};
use crate::bytecode::proto::Proto;
use crate::heap::Heap;
use crate::jit::allocation::{Allocation, Place};
use crate::jit::helpers::{self, helper};
use crate::jit::plan::{Located, Part, Plan, guarded_type, tag_of};
use crate::jit::run::{call_directly, call_native, call_out};
use crate::jit::{CallOut, CompileError, Info, Parent};
use crate::runtime::Runtime;
use crate::runtime::array::ArrayKind;
use crate::runtime::coroutine::CallRecord;
use crate::runtime::function::{CellState, Closure, UpCell};
use crate::runtime::object::{Gc, Header};
use crate::runtime::shape::Shapes;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::userdata::Userdata;
use crate::runtime::value::Tag;
use crate::tier1::State;
use crate::tier1::native::{DirectFn, direct_code};
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
    call_outs: Vec<CallOut>,
    cold: Vec<Cold<'a, 'p>>,
    loop_start: Label,
    pub left: Label,
}

/// The code of a superblock. `info` is the address of what the runtime will know of it.
pub fn lower<'a, 'p>(
    plan: &'p Plan<'a>,
    allocation: &'p Allocation,
    stubs: &'p Stubs,
    info: *const Info,
    shapes: &'p Shapes,
    parent: Option<Parent<'p>>,
) -> Result<Code, CompileError> {
    let mut asm = Assembler::default();
    let (out, loop_start, left, begin) = (asm.label(), asm.label(), asm.label(), asm.label());
    asm.bind(begin);
    let mut l = Lowering {
        e: Emitter {
            asm,
            plan,
            allocation,
        },
        stubs,
        shapes,
        info,
        out,
        exits: vec![None; plan.sb.snapshots.len()],
        jumps: Vec::new(),
        joins: None,
        parent,
        call_outs: Vec::new(),
        cold: Vec::new(),
        loop_start,
        left,
    };
    l.params();
    for i in 0..plan.sb.nodes.len() {
        l.node(i)?;
    }
    while !l.cold.is_empty() {
        for cold in std::mem::take(&mut l.cold) {
            cold(&mut l);
        }
    }
    l.e.asm.bind(left);
    l.e.asm.mov_imm(RAX, stubs.left());
    l.e.asm.jump_to(RAX);
    let linked_entry = l.e.asm.position() as u32;
    l.linked_entry(parent, begin);
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
    })
}

impl<'a, 'p> Lowering<'a, 'p> {
    /// Puts code behind the rest; control comes to it by the label that is returned.
    pub fn cold(&mut self, emit: impl FnOnce(&mut Lowering<'a, 'p>) + 'p) -> Label {
        let label = self.e.asm.label();
        self.cold.push(Box::new(move |l| {
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
        let mut moves = Vec::new();
        for (i, node) in plan.sb.nodes.iter().enumerate() {
            if node.op == MicroOp::PARAM && plan.uses[i] > 0 {
                let from = plan.params[node.operands[0] as usize];
                let r = Ref(i as u32);
                let ty = plan.sb.type_of(r);
                moves.push((
                    [self.e.place(r, 0), self.e.place(r, 1)],
                    ty,
                    from.places,
                    from.ty,
                ));
            }
        }
        self.e.move_values(moves);
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
            START | LOOP_HEAD | ENTRY | GUARD_ROOM => {}
            LOOP => self.loop_head(),
            BACK => {
                self.carry(plan.back());
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

            // Integers.
            ADD_I => self.add(&node, out),
            SUB_I => self.subtract(&node, out),
            MUL_I => self.multiply(&node, out),
            AND_I => self.commutative(Alu::And, &node, out),
            OR_I => self.commutative(Alu::Or, &node, out),
            XOR_I => self.commutative(Alu::Xor, &node, out),
            IDIV_I | MOD_I => self.divide(&node, out),
            NEG_I | NOT_I => {
                let to = self.e.target(out, RAX);
                self.e.gpr_to(to, self.input(&node, 0));
                if node.op == NEG_I {
                    self.e.asm.neg(to)
                } else {
                    self.e.asm.not(to)
                }
                self.e.put(out, to);
            }
            SHL_I | SHR_I => self.shift(&node, out),
            SAR_I => {
                let by = self.input(&node, 1);
                if !matches!(by, Place::Const(_)) {
                    self.e.gpr_to(RCX, by);
                }
                self.e.gpr_to(RAX, self.input(&node, 0));
                match by {
                    Place::Const(by) => self.e.asm.shift_imm(Shift::Arithmetic, RAX, by as u8 & 63),
                    _ => self.e.asm.shift(Shift::Arithmetic, RAX),
                }
                self.e.put(out, RAX);
            }
            ABS_I => {
                self.e.gpr_to(RAX, self.input(&node, 0));
                self.e.asm.mov(RCX, RAX);
                self.e.asm.neg(RCX);
                self.e.asm.cmov(Cond::GreaterEqual, RAX, RCX);
                self.e.put(out, RAX);
            }
            MIN_I | MAX_I => {
                self.e.gpr_to(RAX, self.input(&node, 0));
                let y = self.e.gpr(self.input(&node, 1), RCX);
                self.e.asm.alu(Alu::Cmp, RAX, y);
                self.e.asm.cmov(
                    if node.op == MIN_I {
                        Cond::Greater
                    } else {
                        Cond::Less
                    },
                    RAX,
                    y,
                );
                self.e.put(out, RAX);
            }
            EQ_I | SAME | LT_I | LE_I | LT_U => {
                self.e.compare(self.input(&node, 0), self.input(&node, 1));
                self.put_condition(int_condition(node.op), out);
            }
            SELECT_I => {
                self.e.gpr_to(RAX, self.input(&node, 2));
                let y = self.e.gpr(self.input(&node, 1), RCX);
                let b = self.e.gpr(self.input(&node, 0), RDX);
                self.e.asm.test(b, b);
                self.e.asm.cmov(Cond::NotEqual, RAX, y);
                self.e.put(out, RAX);
            }
            GUARD_NOT_ZERO => {
                self.compare_zero(self.input(&node, 0));
                self.leave_if(Cond::Equal, exit);
            }

            // Floats.
            ADD_F => self.float_op(Sse::Add, &node, out, true),
            SUB_F => self.float_op(Sse::Sub, &node, out, false),
            MUL_F => self.float_op(Sse::Mul, &node, out, true),
            DIV_F => self.float_op(Sse::Div, &node, out, false),
            IDIV_F if std::is_x86_feature_detected!("sse4.1") => {
                self.e.xmm_to(XMM_SCRATCH, self.input(&node, 0));
                let y = self.e.float_operand_of(self.input(&node, 1));
                self.e.asm.sse(Sse::Div, XMM_SCRATCH, y);
                let to = self.e.target_xmm(out);
                self.e.asm.round(to, XMM_SCRATCH, 1);
                self.e.put_xmm(out, to);
            }
            POW_F if self.input(&node, 1) == Place::Const(2.0f64.to_bits()) => {
                self.e.xmm_to(XMM_SCRATCH, self.input(&node, 0));
                self.e.asm.sse(Sse::Mul, XMM_SCRATCH, XMM_SCRATCH);
                self.e.put_xmm(out, XMM_SCRATCH);
            }
            MOD_F if let Some(by) = small_integer(self.input(&node, 1)) => {
                self.float_modulo(i, &node, by, out)?
            }
            FLOOR_F | CEIL_F if std::is_x86_feature_detected!("sse4.1") => {
                let to = self.e.target_xmm(out);
                let from = self.e.float_operand(self.input(&node, 0));
                self.e
                    .asm
                    .round(to, from, if node.op == FLOOR_F { 1 } else { 2 });
                self.e.put_xmm(out, to);
            }
            IDIV_F | MOD_F | POW_F | FLOOR_F | CEIL_F | CALL_F | CALL_FF => {
                self.float_function(i, &node)?
            }
            RANDOM_F => {
                self.call_for_word(i, helpers::random_float as *const () as usize, &[], out)
            }
            RANDOM_I => {
                let bounds = [self.input(&node, 0), self.input(&node, 1)];
                self.call_for_word(
                    i,
                    helpers::random_between as *const () as usize,
                    &bounds,
                    out,
                );
            }
            NEG_F | ABS_F => {
                let to = self.e.target_xmm(out);
                self.e.xmm_to(to, self.input(&node, 0));
                let mask = self.e.asm.literal(if node.op == NEG_F {
                    1 << 63
                } else {
                    u64::MAX >> 1
                });
                match node.op {
                    NEG_F => self.e.asm.xor_float(to, mask),
                    _ => self.e.asm.and_float(to, mask),
                }
                self.e.put_xmm(out, to);
            }
            SQRT_F => {
                let to = self.e.target_xmm(out);
                let from = self.e.float_operand(self.input(&node, 0));
                self.e.asm.sse(Sse::Sqrt, to, from);
                self.e.put_xmm(out, to);
            }
            MIN_F | MAX_F => {
                self.e.xmm_to(XMM_SCRATCH, self.input(&node, 1));
                let x = self.e.float_operand_of(self.input(&node, 0));
                self.e.asm.sse(
                    if node.op == MIN_F { Sse::Min } else { Sse::Max },
                    XMM_SCRATCH,
                    x,
                );
                self.e.put_xmm(out, XMM_SCRATCH);
            }
            EQ_F => {
                self.compare_floats(self.input(&node, 0), self.input(&node, 1));
                // Equal, and not unordered.
                self.e.asm.set(Cond::Parity, RCX);
                self.e.asm.set(Cond::Equal, RAX);
                self.e.asm.not(RCX);
                self.e.asm.alu32(Alu::And, RAX, RCX);
                self.e.put(out, RAX);
            }
            LT_F | LE_F => {
                self.compare_floats(self.input(&node, 1), self.input(&node, 0));
                self.put_condition(
                    if node.op == LT_F {
                        Cond::Above
                    } else {
                        Cond::AboveEqual
                    },
                    out,
                );
            }
            SELECT_F => {
                let done = self.e.asm.label();
                self.compare_zero(self.input(&node, 0));
                self.e.xmm_keeping_flags(XMM_SCRATCH, self.input(&node, 1));
                self.e.asm.jump_if(Cond::NotEqual, done);
                self.e.xmm_keeping_flags(XMM_SCRATCH, self.input(&node, 2));
                self.e.asm.bind(done);
                self.e.put_xmm(out, XMM_SCRATCH);
            }
            INT_TO_FLOAT => self.int_to_float(self.input(&node, 0), out),
            EXACT_FLOAT => {
                let x = self.input(&node, 0);
                self.e.gpr_to(RAX, x);
                self.e.asm.mov_imm(RCX, 1 << 53);
                self.e.asm.alu(Alu::Add, RAX, RCX);
                self.e.asm.shift_imm(Shift::Right, RAX, 54);
                self.leave_if(Cond::NotEqual, exit);
                self.int_to_float(x, out);
            }
            FLOAT_TO_INT => {
                let x = self.e.xmm(self.input(&node, 0), XMM_SCRATCH);
                self.e.asm.int_of_float(RAX, x);
                // The one number that does not fit converts to one that is not equal.
                let kept = x == XMM_SCRATCH;
                if kept {
                    self.e.asm.bits_of_float(RCX, x);
                }
                self.e.asm.zero_float(XMM_SCRATCH);
                self.e.asm.float_of_int(XMM_SCRATCH, RAX);
                if kept {
                    self.e.asm.bits_of_float(RDX, XMM_SCRATCH);
                    // Only the zeros are equal and have different bits.
                    let (different, back) = self.detour(move |l, back| {
                        l.e.asm.alu(Alu::Or, RDX, RCX);
                        l.e.asm.alu(Alu::Add, RDX, RDX);
                        l.leave_if(Cond::NotEqual, exit);
                        l.e.asm.jump(back);
                    });
                    self.e.asm.alu(Alu::Cmp, RDX, RCX);
                    self.e.asm.jump_if(Cond::NotEqual, different);
                    self.e.asm.bind(back);
                } else {
                    self.e.asm.compare_floats(XMM_SCRATCH, x);
                    self.leave_if(Cond::NotEqual, exit);
                    self.leave_if(Cond::Parity, exit);
                }
                self.e.put(out, RAX);
            }
            FOR_GOES_ON => {
                let [no, done] = [self.e.asm.label(), self.e.asm.label()];
                self.goes_on(&node, no);
                self.e.asm.mov_imm(RAX, 1);
                self.e.asm.jump(done);
                self.e.asm.bind(no);
                self.e.asm.mov_imm(RAX, 0);
                self.e.asm.bind(done);
                self.e.put(out, RAX);
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
                self.e.asm.alu_imm(Alu::Cmp, at(t, METATABLE), 0);
                self.leave_if(Cond::NotEqual, exit);
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
                match self.input(&node, 1) {
                    Place::Const(index) => match i32::try_from(index as i64) {
                        Ok(index) if index >= 1 => {
                            self.e.asm.alu32_imm(Alu::Cmp, at(t, ARRAY_LEN), index);
                            self.leave_if(Cond::Below, exit);
                        }
                        _ => self.leave(exit),
                    },
                    index => {
                        let index = self.e.gpr(index, RCX);
                        self.e.asm.lea(RCX, at(index, -1));
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
            }
            GUARD_STORABLE => {
                self.guard_accepts(node.inputs[0], node.inputs[2], exit);
                self.guard_place(&node);
            }
            LOAD_ELEMENT => {
                let (payload, tag) = self.element(&node);
                self.load_value(i, payload, tag, false);
            }
            LOAD_ELEMENT_I | LOAD_ELEMENT_F => {
                let (payload, _) = self.element(&node);
                self.e.load_to(out, payload, RAX);
            }
            TEST_ELEMENT => {
                let (_, tag) = self.element(&node);
                self.e.asm.cmp8_imm(tag, FALSE as u8);
                self.put_condition(Cond::Above, out);
            }
            STORE_ELEMENT | REPLACE_ELEMENT => {
                let (payload, tag) = self.element(&node);
                self.e.store_packed(payload, tag, node.inputs[2], RAX);
                if node.op == STORE_ELEMENT {
                    self.extend_array(&node);
                }
            }
            INIT_ELEMENT => {
                let (payload, tag) = self.element(&node);
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
            GUARD_ARGS => {
                let params = at(RAX, offset_of!(Proto, params) as i32);
                match node.operands[1] as u32 {
                    0 => {
                        self.e.asm.load(RAX, at(RBP, field!(state)));
                        self.e.asm.load(RCX, at(RAX, offset_of!(State, top) as i32));
                        self.e.asm.load(RAX, at(RBP, field!(slots)));
                        self.e.asm.lea(RAX, slot_words(operand + 1).0);
                        self.e.asm.alu(Alu::Sub, RCX, RAX);
                        self.e.asm.shift_imm(Shift::Right, RCX, 4);
                        let proto = self.object(node.operands[2]);
                        self.e.asm.mov_imm(RAX, proto);
                        self.e.asm.load8(RAX, params);
                        self.e.asm.alu(Alu::Cmp, RAX, RCX);
                    }
                    count => {
                        let proto = self.object(node.operands[2]);
                        self.e.asm.mov_imm(RAX, proto);
                        self.e.asm.load8(RAX, params);
                        self.e.asm.alu_imm(Alu::Cmp, RAX, count as i32 - 1);
                    }
                }
                self.leave_if(Cond::NotEqual, exit);
            }
            GUARD_VALID => self.guard_valid(i, &node)?,

            PUSH_FRAME => self.push_frame(&node),
            REPLACE_FRAME => self.replace_frame(&node),
            POP_FRAME => self.pop_frame(i, &node),

            SET_LIST => self.set_list(i, &node),

            // Call-outs.
            GUARD_STRINGS | CONCAT_S | NEW_CLOSURE | ARITH | COMPARE | LENGTH | CONCAT
            | GET_INDEX | SET_INDEX | GET_FIELD | SET_FIELD | GET_METHOD | RAISE | FOR_PREPARE
            | CALL | TAIL_CALL | LEAVE | VARARG | MARK_TO_CLOSE | CLOSE | INTERPRET => {
                self.call_out(i, &node)
            }
            // The function is in its slot.
            CALL_NATIVE => match self.direct_code(&node) {
                Some(code) => self.call_directly(i, &node, code),
                None => self.call_runtime(i, &node, call_native as *const () as usize, false),
            },

            // The type guards are above; of the rest projection leaves none.
            GUARD_INT | GUARD_FLOAT | GUARD_STRING | GUARD_TABLE | GUARD_CLOSURE | GUARD_NATIVE
            | GUARD_CELL | GUARD_USERDATA | GUARD_COROUTINE | CONST | STORE | STORE_NILS
            | STORE_PAIR | JUMP | JUMP_IF | JUMP_UNLESS | BURN | GUARD_RESUMABLE | RESUME
            | YIELD => {
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

    fn compare_zero(&mut self, place: Place) {
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
                // The base may be in either of the registers.
                let load_tag = |l: &mut Self| {
                    let register = l.e.target(to_tag, scratch);
                    if wide {
                        l.e.asm.load(register, tag)
                    } else {
                        l.e.asm.load8(register, tag)
                    }
                    l.e.put(to_tag, register);
                };
                if matches!(to, Place::Gpr(r) if uses(tag, Gpr(r))) {
                    load_tag(self);
                    self.e.load_to(to, payload, scratch);
                } else {
                    self.e.load_to(to, payload, scratch);
                    load_tag(self);
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

    /// An element of an array. Uses rcx and rdx, and rax before the element is accessed.
    fn element(&mut self, node: &Node) -> (Mem, Mem) {
        let t = self.e.gpr(self.input(node, 0), RAX);
        self.e.asm.load(RCX, at(t, ARRAY));
        match self.input(node, 1) {
            Place::Const(index) if (1..1 << 24).contains(&index) => {
                (at(RCX, -8 * index as i32), at(RCX, index as i32 - 1))
            }
            index => {
                let index = self.e.gpr(index, RDX);
                // Tags run upward, payloads downward.
                self.e.asm.mov(RDX, index);
                self.e.asm.neg(RDX);
                let payload = Mem::Indexed {
                    base: RCX,
                    index: RDX,
                    scale: 8,
                    disp: 0,
                };
                if index == RDX {
                    // The index has no other register: rcx becomes the tag's address less one.
                    return self.spilled_element(payload);
                }
                (
                    payload,
                    Mem::Indexed {
                        base: RCX,
                        index,
                        scale: 1,
                        disp: -1,
                    },
                )
            }
        }
    }

    /// The same for an index that is negated in rdx: the addresses of payload and tag in rdx and rcx.
    fn spilled_element(&mut self, payload: Mem) -> (Mem, Mem) {
        self.e.asm.lea(RAX, payload);
        self.e.asm.alu(Alu::Sub, RCX, RDX);
        self.e.asm.mov(RDX, RAX);
        (at(RDX, 0), at(RCX, -1))
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
            MicroOp::LOAD_ELEMENT => self.element(&load),
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

    fn int_to_float(&mut self, from: Place, out: Place) {
        let to = self.e.target_xmm(out);
        let from = self.e.operand(from, RAX);
        // The rest of the register would be waited for.
        self.e.asm.zero_float(to);
        self.e.asm.float_of_int(to, from);
        self.e.put_xmm(out, to);
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
                let (_, tag) = self.element(&test);
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

    // Arithmetic.

    fn add(&mut self, node: &Node, out: Place) {
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        let (x, y) = if matches!(x, Place::Const(_)) {
            (y, x)
        } else {
            (x, y)
        };
        if let (Place::Gpr(a), Place::Gpr(to), Some(imm)) = (x, out, constant(y))
            && a != to
        {
            return self.e.asm.lea(Gpr(to), at(Gpr(a), imm));
        }
        if let (Place::Gpr(a), Place::Gpr(b), Place::Gpr(to)) = (x, y, out)
            && a != to
            && b != to
        {
            return self.e.asm.lea(
                Gpr(to),
                Mem::Indexed {
                    base: Gpr(a),
                    index: Gpr(b),
                    scale: 1,
                    disp: 0,
                },
            );
        }
        self.commutative(Alu::Add, node, out);
    }

    fn commutative(&mut self, op: Alu, node: &Node, out: Place) {
        let (mut x, mut y) = (self.input(node, 0), self.input(node, 1));
        if y == out || matches!(x, Place::Const(_)) {
            std::mem::swap(&mut x, &mut y);
        }
        // Both may be there, or neither.
        let to = if y == out {
            RAX
        } else {
            self.e.target(out, RAX)
        };
        self.e.gpr_to(to, x);
        self.e.alu(op, to, y, RCX);
        self.e.put(out, to);
    }

    fn subtract(&mut self, node: &Node, out: Place) {
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        if let (Place::Gpr(a), Place::Gpr(to), Some(imm)) = (x, out, constant(y))
            && a != to
            && let Some(disp) = imm.checked_neg()
        {
            return self.e.asm.lea(Gpr(to), at(Gpr(a), disp));
        }
        let to = if y == out {
            RAX
        } else {
            self.e.target(out, RAX)
        };
        self.e.gpr_to(to, x);
        self.e.alu(Alu::Sub, to, y, RCX);
        self.e.put(out, to);
    }

    fn multiply(&mut self, node: &Node, out: Place) {
        let (mut x, mut y) = (self.input(node, 0), self.input(node, 1));
        if y == out || matches!(x, Place::Const(_)) {
            std::mem::swap(&mut x, &mut y);
        }
        if let Some(imm) = constant(y) {
            let to = self.e.target(out, RAX);
            let from = self.e.operand(x, RAX);
            self.e.asm.imul_imm(to, from, imm);
            return self.e.put(out, to);
        }
        let to = if y == out {
            RAX
        } else {
            self.e.target(out, RAX)
        };
        self.e.gpr_to(to, x);
        let y = self.e.operand(y, RCX);
        self.e.asm.imul(to, y);
        self.e.put(out, to);
    }

    /// Division rounded down, or its rest.
    fn divide(&mut self, node: &Node, out: Place) {
        let modulo = node.op == MicroOp::MOD_I;
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        if let Place::Const(by) = y
            && by.is_power_of_two()
            && by < 1 << 30
        {
            let to = self.e.target(out, RAX);
            self.e.gpr_to(to, x);
            if modulo {
                self.e.asm.alu_imm(Alu::And, to, by as i32 - 1);
            } else {
                self.e
                    .asm
                    .shift_imm(Shift::Arithmetic, to, by.trailing_zeros() as u8);
            }
            return self.e.put(out, to);
        }
        self.e.gpr_to(RAX, x);
        self.e.gpr_to(RCX, y);
        let done = self.e.asm.label();
        if !matches!(y, Place::Const(by) if by as i64 != -1) {
            // The division of the least integer by this one would trap.
            let (minus_one, _) = self.detour(move |l, _| {
                if modulo {
                    l.e.asm.mov_imm(RAX, 0)
                } else {
                    l.e.asm.neg(RAX)
                }
                l.e.asm.jump(done);
            });
            self.e.asm.alu_imm(Alu::Cmp, RCX, -1);
            self.e.asm.jump_if(Cond::Equal, minus_one);
        }
        // Numbers that are not negative and fit into half a register are divided several times as fast.
        let (wide, narrow_done) = (self.e.asm.label(), self.e.asm.label());
        self.e.asm.mov(RDX, RAX);
        self.e.asm.alu(Alu::Or, RDX, RCX);
        self.e.asm.shift_imm(Shift::Right, RDX, 32);
        self.e.asm.jump_if(Cond::NotEqual, wide);
        self.e.asm.div32(RCX);
        if modulo {
            self.e.asm.mov(RAX, RDX);
        }
        self.e.asm.jump(narrow_done);
        self.e.asm.bind(wide);
        self.e.asm.cqo();
        self.e.asm.idiv(RCX);
        // Division truncates: if it is inexact and the signs differ, the quotient is one too high.
        let exact = self.e.asm.label();
        self.e.asm.test(RDX, RDX);
        self.e.asm.jump_if(Cond::Equal, exact);
        if modulo {
            self.e.asm.mov(RAX, RDX);
            self.e.asm.alu(Alu::Xor, RAX, RCX);
            self.e.asm.jump_if(Cond::NotSign, exact);
            self.e.asm.alu(Alu::Add, RDX, RCX);
        } else {
            self.e.asm.alu(Alu::Xor, RDX, RCX);
            self.e.asm.jump_if(Cond::NotSign, exact);
            self.e.asm.alu_imm(Alu::Sub, RAX, 1);
        }
        self.e.asm.bind(exact);
        if modulo {
            self.e.asm.mov(RAX, RDX);
        }
        self.e.asm.bind(narrow_done);
        self.e.asm.bind(done);
        self.e.put(out, RAX);
    }

    fn shift(&mut self, node: &Node, out: Place) {
        let left = node.op == MicroOp::SHL_I;
        let (x, by) = (self.input(node, 0), self.input(node, 1));
        if let Place::Const(by) = by {
            let by = by as i64;
            let (by, left) = if by < 0 {
                (by.checked_neg().unwrap_or(64), !left)
            } else {
                (by, left)
            };
            if by > 63 {
                return self.e.move_to(out, Place::Const(0));
            }
            let to = self.e.target(out, RAX);
            self.e.gpr_to(to, x);
            self.e
                .asm
                .shift_imm(if left { Shift::Left } else { Shift::Right }, to, by as u8);
            return self.e.put(out, to);
        }
        self.e.gpr_to(RCX, by);
        self.e.gpr_to(RAX, x);
        let (there, back) = if left {
            (Shift::Left, Shift::Right)
        } else {
            (Shift::Right, Shift::Left)
        };
        let (other, done) = self.detour(move |l, done| {
            let zero = l.e.asm.label();
            l.e.asm.neg(RCX);
            l.e.asm.alu_imm(Alu::Cmp, RCX, 63);
            l.e.asm.jump_if(Cond::Above, zero);
            l.e.asm.shift(back, RAX);
            l.e.asm.jump(done);
            l.e.asm.bind(zero);
            l.e.asm.mov_imm(RAX, 0);
            l.e.asm.jump(done);
        });
        self.e.asm.alu_imm(Alu::Cmp, RCX, 63);
        self.e.asm.jump_if(Cond::Above, other);
        self.e.asm.shift(there, RAX);
        self.e.asm.bind(done);
        self.e.put(out, RAX);
    }

    fn float_op(&mut self, op: Sse, node: &Node, out: Place, commutative: bool) {
        let (mut x, mut y) = (self.input(node, 0), self.input(node, 1));
        if commutative && (y == out || matches!(x, Place::Const(_))) {
            std::mem::swap(&mut x, &mut y);
        }
        let to = if y == out {
            XMM_SCRATCH
        } else {
            self.e.target_xmm(out)
        };
        self.e.xmm_to(to, x);
        let y = self.e.float_operand_of(y);
        self.e.asm.sse(op, to, y);
        self.e.put_xmm(out, to);
    }

    /// The rest of a division by a small positive integer, as [`number::float_modulo`](crate::runtime::number::float_modulo)
    /// computes it.
    /// A call of a function of floats, whose arguments and result are in float registers.
    fn float_function(&mut self, i: usize, node: &Node) -> Result<(), CompileError> {
        let call = self.float_call(i, node)?;
        self.call_float(&call);
        Ok(())
    }

    fn float_call(&self, i: usize, node: &Node) -> Result<FloatCall, CompileError> {
        let function = helpers::float_function(node).ok_or(CompileError::MicroOp(node.op))?;
        Ok(FloatCall {
            function,
            inputs: node.inputs().iter().map(|&r| self.e.place(r, 0)).collect(),
            out: self.e.place(Ref(i as u32), 0),
            live: self.e.allocation.live_through(i).collect(),
        })
    }

    fn call_float(&mut self, call: &FloatCall) {
        self.e.save(&call.live, false);
        let arguments = (0..).map(Place::Xmm).zip(call.inputs.iter().copied());
        self.e.moves(arguments.collect());
        self.e.asm.mov_imm(RAX, call.function as u64);
        self.e.asm.call(RAX);
        self.e.asm.movsd(XMM_SCRATCH, Xmm(0));
        self.e.restore(&call.live);
        self.e.put_xmm(call.out, XMM_SCRATCH);
    }

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

    fn float_modulo(
        &mut self,
        i: usize,
        node: &Node,
        by: f64,
        out: Place,
    ) -> Result<(), CompileError> {
        let x = self.input(node, 0);
        let s = XMM_SCRATCH;
        let call = self.float_call(i, node)?;
        let (large, done) = self.detour(move |l, done| {
            l.call_float(&call);
            l.e.asm.jump(done);
        });
        let divisor = self.e.asm.literal(by.to_bits());
        self.e.xmm_to(s, x);
        self.e.asm.sse(Sse::Div, s, divisor);
        self.e.asm.int_of_float(RAX, s);
        // What does not fit into an integer becomes the least one.
        self.e.asm.lea(RCX, at(RAX, SMALL_BOUND));
        self.e.asm.alu_imm(Alu::Cmp, RCX, 2 * SMALL_BOUND);
        self.e.asm.jump_if(Cond::AboveEqual, large);
        // x - s, as -s + x.
        self.e.asm.zero_float(s);
        self.e.asm.float_of_int(s, RAX);
        self.e.asm.sse(Sse::Mul, s, divisor);
        let sign = self.e.asm.literal(1 << 63);
        self.e.asm.xor_float(s, sign);
        let operand = self.e.float_operand_of(x);
        self.e.asm.sse(Sse::Add, s, operand);
        let (not_positive, positive) = self.detour(move |l, positive| {
            let negative = l.e.asm.label();
            l.e.asm.jump_if(Cond::NotEqual, negative);
            // A zero has the sign of x.
            let x = l.e.xmm(x, s);
            l.e.asm.bits_of_float(RAX, x);
            l.e.asm.shift_imm(Shift::Right, RAX, 63);
            l.e.asm.shift_imm(Shift::Left, RAX, 63);
            l.e.asm.float_of_bits(s, RAX);
            l.e.asm.jump(positive);
            l.e.asm.bind(negative);
            // But minus zero stays.
            l.e.asm.alu(Alu::Add, RAX, RAX);
            l.e.asm.jump_if(Cond::Equal, positive);
            l.e.asm.sse(Sse::Add, s, divisor);
            l.e.asm.jump(positive);
        });
        self.e.asm.bits_of_float(RAX, s);
        self.e.asm.test(RAX, RAX);
        self.e.asm.jump_if(Cond::LessEqual, not_positive);
        self.e.asm.bind(positive);
        self.e.put_xmm(out, s);
        self.e.asm.bind(done);
        Ok(())
    }

    fn compare_floats(&mut self, x: Place, y: Place) {
        let x = self.e.xmm(x, XMM_SCRATCH);
        let y = self.e.float_operand_of(y);
        self.e.asm.compare_floats(x, y);
    }

    /// Jumps to `ends` unless a loop over floats goes on.
    fn goes_on(&mut self, test: &Node, ends: Label) {
        let (next, limit, step) = (
            self.input(test, 0),
            self.input(test, 1),
            self.input(test, 2),
        );
        match step {
            Place::Const(bits) if f64::from_bits(bits) > 0.0 => {
                self.compare_floats(limit, next);
                self.e.asm.jump_if(Cond::Below, ends);
            }
            Place::Const(_) => {
                self.compare_floats(next, limit);
                self.e.asm.jump_if(Cond::Below, ends);
            }
            step => {
                let (down, on) = self.detour(move |l, on| {
                    l.compare_floats(next, limit);
                    l.e.asm.jump_if(Cond::Below, ends);
                    l.e.asm.jump(on);
                });
                self.compare_floats(step, Place::Const(0));
                self.e.asm.jump_if(Cond::BelowEqual, down);
                self.compare_floats(limit, next);
                self.e.asm.jump_if(Cond::Below, ends);
                self.e.asm.bind(on);
            }
        }
    }

    // Equality.

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
        self.e.asm.alu_imm(Alu::Cmp, at(t, METATABLE), 0);
        self.leave_if(Cond::NotEqual, exit);
        self.e.asm.alu_imm(Alu::Cmp, at(t, HASH), 0);
        self.leave_if(Cond::NotEqual, exit);
    }

    /// Needs an element to be storable over another one that no metatable would be asked for, or behind the last one.
    fn guard_place(&mut self, node: &Node) {
        let exit = node.exit;
        let t = self.e.gpr(self.input(node, 0), RAX);
        let index = self.e.gpr(self.input(node, 1), RCX);
        self.e.asm.lea(RCX, at(index, -1));
        let ok = self.e.asm.label();
        let (behind, _) = self.detour(move |l, _| {
            l.guard_appends(t, exit);
            l.e.asm.jump(ok);
        });
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
        self.e.asm.load32(RDX, at(t, ARRAY_LEN));
        self.e.asm.alu(Alu::Cmp, RCX, RDX);
        self.e.asm.jump_if(Cond::AboveEqual, behind);
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
        self.e.asm.alu_imm(Alu::Cmp, at(t, HASH), 0);
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
        let CallOut {
            request, inlined, ..
        } = self.call_outs[at_index as usize].clone();
        if request.needs_records() {
            let pc = self.e.plan.sb.snapshot_at(node.exit).pc;
            self.records_of(request.frame, pc + request.behind());
            self.stand_at(inlined as i32, 0);
        }
        self.perform(i, node, at_index, function, &live);
    }

    /// Notes a call-out, for the runtime to find it by the number that is returned.
    fn note_call_out(&mut self, node: &Node) -> u64 {
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

    /// Calls the function that performs a call-out, and goes where it says.
    fn perform(&mut self, i: usize, node: &Node, at_index: u64, function: usize, live: &[Place]) {
        self.e.asm.mov_imm(RSI, self.info as u64);
        self.e.asm.mov_imm(RDX, at_index);
        self.e.call_with_frame(function);
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

/// A call of a function of floats, to be emitted.
struct FloatCall {
    function: usize,
    inputs: Vec<Place>,
    out: Place,
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

fn constant(place: Place) -> Option<i32> {
    match place {
        Place::Const(bits) => immediate(bits),
        _ => None,
    }
}

/// Quotients and divisors below this have an exact product.
const SMALL_BOUND: i32 = 1 << 26;

/// A float constant that is a small positive integer.
fn small_integer(place: Place) -> Option<f64> {
    let Place::Const(bits) = place else {
        return None;
    };
    let f = f64::from_bits(bits);
    (f >= 1.0 && f < SMALL_BOUND as f64 && f.trunc() == f).then_some(f)
}

/// Where a closure's captured variable is.
fn captured(number: u64) -> i32 {
    (size_of::<Closure>() + number as usize * size_of::<Gc<UpCell>>()) as i32
}

fn int_condition(op: MicroOp) -> Cond {
    match op {
        MicroOp::LT_I => Cond::Less,
        MicroOp::LE_I => Cond::LessEqual,
        MicroOp::LT_U => Cond::Below,
        _ => Cond::Equal,
    }
}
