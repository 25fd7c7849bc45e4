//! Projection: from a recorded pass to a superblock.
//!
//! Walks the recorded instructions and copies the micro-ops of their expansions, with what the instructions, their
//! caches and the heap say in the place of the operands. Registers are not stored to: a map says which value each slot has, and
//! snapshots copy it. Calls that were recorded are followed into the callee, whose frame then exists in snapshots only. Jumps become
//! guards on what was recorded. What cannot be specialised becomes a call-out; what cannot be followed ends the
//! superblock, which is then linked to what comes after it.
//!
//! Runs on the VM's thread. Everything it learns from the heap becomes part of the superblock: as a guard, or as an
//! [`Assumption`] in the result.

mod calls;
mod expand;
mod fields;
mod handlers;
mod index;
mod instructions;
mod intrinsics;
mod join;
mod loops;

use perilune_uops::{Immediate, MicroOp, Role, Type};
use smallvec::SmallVec;

use super::executor::Executor;
use super::superblock::*;
use crate::bytecode::cache::LoopSite;
use crate::bytecode::proto::Proto;
use crate::bytecode::{Instr, Op};
use crate::runtime::assumption::Assumption;
use crate::runtime::coroutine::Continuation;
use crate::runtime::object::{Gc, Header};
use crate::runtime::value::{Tag, Value};
use crate::tier1::recording::{Origin, RecordedStep, facts};
use crate::tier1::{Builtin, State, is_next};

/// Nodes after which a superblock is truncated.
const NODES_MAX: usize = 4000;
/// The most executors in a row that begin at the same instruction and tell shapes apart.
const SHAPES_MAX: usize = 12;

/// What projection has made.
pub struct Projection {
    pub superblock: Superblock,
    pub assumptions: Vec<Assumption>,
    /// Instructions before the loop, and in it.
    pub instructions: (u32, u32),
    /// The place that the final `EXIT` leads to, if an executor is or may be there.
    pub link: Option<*const LoopSite>,
    pub stop: Stop,
}

/// Why a superblock ends where it does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stop {
    /// Its loop closes.
    Loop,
    /// It comes to a place that has an executor.
    Link,
    /// It comes back to the loop whose exit it began at.
    Join,
    /// It returns from the frame in which it began.
    Return,
    /// It is long enough.
    Length,
    /// The recording ended.
    Recording,
    /// The recorded instruction did not go on as instructions do: an error was raised.
    Discontinuity,
    /// A call that is not followed: of a function that calls back, or too deep.
    Call,
    /// An instruction that only the frame itself can execute.
    Frame,
}

impl Stop {
    pub const COUNT: usize = Stop::NAMES.len();
    /// What people read, in the order of the variants.
    pub const NAMES: [&'static str; Stop::Frame as usize + 1] =
        ["loop", "link", "join", "return", "length", "recording", "discontinuity", "call", "frame"];

    pub fn name(self) -> &'static str {
        Stop::NAMES[self as usize]
    }
}

/// The value of a slot, as far as it is known.
#[derive(Clone, Copy)]
struct SlotValue {
    value: Ref,
    /// Whether memory may hold something else.
    dirty: bool,
}

const UNKNOWN: SlotValue = SlotValue { value: Ref::NONE, dirty: false };

/// Where an open list of values ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Top {
    None,
    /// Before this slot.
    Slot(Slot),
    /// Where the VM's state says; the values are in memory.
    Memory,
}

/// Where a traversal by a generic loop is. The loop's registers are its own, so the position goes with them; but another loop may
/// use the same registers, and begin with this one's key.
#[derive(Clone, Copy)]
struct Traversal {
    /// The slot of the loop's control variable.
    control: Slot,
    table: Ref,
    /// The key that the position is behind.
    key: Ref,
    position: Ref,
}

struct Projector<'a> {
    st: &'a mut State,
    sb: Superblock,
    steps: &'a [RecordedStep],
    /// The step that is being projected.
    at: usize,
    frame: FrameId,
    slots: Vec<SlotValue>,
    /// Used by each snapshot that is made.
    entries: Vec<(Slot, Ref)>,
    /// Types that slots have in memory, as the executor knows at whose exit this begins.
    in_memory: SmallVec<[(Slot, Type); 16]>,
    top: Top,
    /// The end of slots that the instruction uses beyond those that are live.
    extent: Slot,
    /// The state at the beginning of the instruction, once a node has needed it.
    here: SnapshotId,
    /// The last traversal of a table by a loop, if it is still where it was left.
    traversal: Option<Traversal>,
    /// The extra arguments of the first frame, once their number is known.
    extra: Option<SmallVec<[Ref; 8]>>,
    /// Shapes that tables are known to have here.
    shapes: SmallVec<[(Ref, u32); 16]>,
    /// Whether the executor may have been invalidated by the last instruction.
    unsettled: bool,
    /// The step at which the loop begins, and the slots of its phis.
    loop_step: Option<usize>,
    loop_slots: Vec<Slot>,
    /// The control variable of the loop if it traverses a table: its position is a phi, too.
    carried_control: Option<Slot>,
    /// Whether it begins at an exit.
    is_side: bool,
    /// The loop that this superblock may come back to.
    join: Option<join::Join<'a>>,
    /// The instruction at which a guard has failed that led to this superblock: nothing is specialised there that the
    /// recording cannot vouch for.
    cautious: bool,
    /// Whether the same instruction has seen too many shapes to tell them apart.
    megamorphic: bool,
    assumptions: Vec<Assumption>,
    before_loop: u32,
    done: u32,
}

/// The end of a superblock.
struct Ended(Stop);

/// What an instruction has led to.
type Flow = Result<(), Ended>;

/// Projects the recorded pass.
pub fn project(st: &mut State) -> Option<Projection> {
    let steps = std::mem::take(&mut st.recording.steps);
    let projection = match st.recording.origin {
        Some(Origin::Place(_)) => Projector::at_place(st, &steps),
        Some(Origin::Exit(parent, exit)) => {
            // SAFETY: an executor whose exit is being recorded is alive: recordings of exits of executors that have
            // been buried are dropped by the caller.
            Projector::at_exit(st, &steps, unsafe { &*parent }, exit)
        }
        None => None,
    }
    .and_then(Projector::run);
    st.recording.steps = steps;
    st.recording.steps.clear();
    projection
}

impl<'a> Projector<'a> {
    fn new(st: &'a mut State, steps: &'a [RecordedStep]) -> Projector<'a> {
        Projector {
            st,
            sb: Superblock::default(),
            steps,
            at: 0,
            frame: FrameId(0),
            slots: Vec::new(),
            entries: Vec::new(),
            in_memory: SmallVec::new(),
            top: Top::None,
            extent: 0,
            here: SnapshotId::NONE,
            traversal: None,
            extra: None,
            shapes: SmallVec::new(),
            unsettled: false,
            loop_step: None,
            loop_slots: Vec::new(),
            carried_control: None,
            is_side: false,
            join: None,
            cautious: false,
            megamorphic: false,
            assumptions: Vec::new(),
            before_loop: 0,
            done: 0,
        }
    }

    /// Begins at a loop head or function entry.
    fn at_place(st: &'a mut State, steps: &'a [RecordedStep]) -> Option<Projector<'a>> {
        let proto = steps.first()?.proto;
        let mut p = Projector::new(st, steps);
        let object = p.object(ObjectKind::Proto, proto as u64);
        // SAFETY: recorded prototypes are alive.
        let registers = unsafe { (*proto).registers } as u16;
        p.sb.frames.push(Frame {
            caller: None,
            proto: object,
            base: 1,
            registers,
            return_pc: 0,
            call_site: NO_CALL_SITE,
            wanted: 0,
            continuation: Continuation::Call,
            flags: 0,
            extra_args: 0,
            result: 0,
            aux: 0,
        });
        p.sb.push(Node::new(MicroOp::START, &[], &[]));
        p.grow_slots();
        // Behind a call for all results.
        // SAFETY: recorded prototypes are alive.
        let before = steps[0].pc.checked_sub(1).map(|pc| unsafe { *(*proto).code.add(pc as usize) });
        if before.is_some_and(|i| i.op().general() == Op::CALL && i.c() == 0) {
            p.top = Top::Memory;
        }
        Some(p)
    }

    /// Begins at an exit of `parent`, with what that knew.
    fn at_exit(
        st: &'a mut State,
        steps: &'a [RecordedStep],
        parent: &'a Executor,
        exit: SnapshotId,
    ) -> Option<Projector<'a>> {
        let from = &parent.superblock;
        let snapshot = *from.snapshot_at(exit);
        let mut p = Projector::new(st, steps);
        let mut chain: SmallVec<[FrameId; 8]> = from.chain(snapshot.frame).collect();
        chain.reverse();
        for (i, id) in chain.iter().enumerate() {
            let frame = *from.frame(*id);
            let proto = p.object(ObjectKind::Proto, from.object(frame.proto).addr);
            p.sb.frames.push(Frame { caller: i.checked_sub(1).map(|c| FrameId(c as u16)), proto, ..frame });
            }
        p.frame = FrameId(chain.len() as u16 - 1);
        p.grow_slots();
        // An open list may end above the registers.
        let end = from.slots_of(exit).last().map_or(0, |s| s.0).max(snapshot.top.unwrap_or(0)) as usize + 1;
        p.make_slots(end);
        p.sb.push(Node::new(MicroOp::START, &[], &[]));
        let values = p.parameters(from, exit);
        for (&(slot, _), value) in from.slots_of(exit).iter().zip(values) {
            p.slots[slot as usize] = SlotValue { value, dirty: true };
        }
        p.in_memory = types_in_memory(from, exit);
        p.top = match snapshot.top {
            Some(top) => Top::Slot(top),
            None if steps.first().is_some_and(RecordedStep::uses_open_list) => Top::Memory,
            None => Top::None,
        };
        p.cautious = steps.first().is_some_and(|step| must_be_cautious(from, exit, step));
        p.megamorphic = steps.first().is_some_and(|step| copies_at(parent, step) >= SHAPES_MAX);
        p.is_side = true;
        p.join = join::Join::new(parent, exit);
        p.sb.keeps_bounds = from.keeps_bounds || from.looping.as_ref().is_some_and(|l| l.entry == exit);
        // A superblock stands on what its parent took for granted.
        p.assumptions.extend_from_slice(&parent.assumptions);
        Some(p)
    }

    /// The values of an exit of another executor. Virtual objects are made here; the optimizer may leave that out again.
    fn parameters(&mut self, from: &Superblock, exit: SnapshotId) -> Vec<Ref> {
        let mut values: Vec<Ref> = Vec::with_capacity(from.values_of(exit).len());
        for (i, &(_, r)) in from.values_of(exit).iter().enumerate() {
            let param = Node::new(MicroOp::PARAM, &[], &[i as u64]);
            values.push(match is_virtual(from.node(r).op) {
                true => Ref::NONE,
                false => self.sb.push(param.with_type(from.type_of(r))),
            });
        }
        if from.has_virtual_objects(exit) {
            let made = self.make_objects(from, exit, &values);
            for (value, &(_, r)) in values.iter_mut().zip(from.values_of(exit)) {
                *value = made.iter().find(|o| o.0 == r).map_or(*value, |o| o.1);
            }
        }
        values
    }

    /// Makes the virtual objects of an exit, whose other values are given: each with its node in that superblock. While that is
    /// not done they are virtual here, too.
    fn make_objects(&mut self, from: &Superblock, exit: SnapshotId, values: &[Ref]) -> SmallVec<[(Ref, Ref); 8]> {
        type Names = SmallVec<[(Ref, Ref); 8]>;
        let name = |names: &Names, r: Ref, value: Ref| names.iter().find(|o| o.0 == r).map_or(value, |o| o.1);
        let mut described = Names::new();
        for object in from.virtual_objects(exit) {
            let mut node = *from.node(object.object);
            if node.op == MicroOp::VIRTUAL_CLOSURE {
                let proto = from.object(ObjectId(node.operands[0] as u32)).addr;
                node.operands[0] = self.object(ObjectKind::Proto, proto).0 as u64;
            }
            described.push((object.object, self.sb.push(node)));
        }
        let given = from.values_of(exit).iter().zip(values).map(|(&(slot, r), &v)| (slot, name(&described, r, v)));
        let given: SmallVec<[(Slot, Ref); 32]> = given.collect();
        let slots = from.slots_of(exit).len();
        let snapshot = *from.snapshot_at(exit);
        let here = self.sb.snapshot(self.frame, snapshot.pc, snapshot.top, given[..slots].iter().copied());
        let mut at = slots;
        for (object, &(_, node)) in from.virtual_objects(exit).zip(&described) {
            let contents = given[at..][..object.values.len()].iter().map(|v| v.1);
            self.sb.describe(node, object.header, object.parts.iter().copied().zip(contents));
            at += object.values.len();
        }
        // Closures come last, since they must not be without their captured variables for long.
        let mut made = Names::new();
        let mut closures = Names::new();
        for (object, &(r, node)) in from.virtual_objects(exit).zip(&described) {
            let operand = self.sb.node(node).operands[0];
            let new = match self.sb.node(node).op {
                MicroOp::VIRTUAL_CLOSURE => {
                    closures.push((r, node));
                    continue;
                }
                MicroOp::VIRTUAL_TABLE => Node::new(MicroOp::ALLOCATE_TABLE, &[], &[object.header as u64, operand]),
                _ => Node::new(MicroOp::NEW_EMPTY_CELL, &[], &[]),
            };
            made.push((r, self.sb.push(new.with_exit(here))));
        }
        let contents = |r: Ref| {
            let mut at = slots;
            for object in from.virtual_objects(exit) {
                if object.object == r {
                    break;
                }
                at += object.values.len();
            }
            at
        };
        let value = |made: &Names, at: usize| name(made, from.values_of(exit)[at].1, values[at]);
        for (r, node) in closures {
            let proto = self.sb.node(node).operands[0];
            let closure = Node::new(MicroOp::ALLOCATE_CLOSURE, &[], &[proto]).with_exit(here);
            let closure = self.sb.push(closure);
            let object = from.virtual_objects(exit).find(|object| object.object == r);
            for i in 0..object.map_or(0, |object| object.parts.len()) {
                let cell = value(&made, contents(r) + i);
                self.sb.push(Node::new(MicroOp::INIT_CAPTURED, &[closure, cell], &[i as u64]));
            }
            made.push((r, closure));
        }
        for object in from.virtual_objects(exit) {
            let this = name(&made, object.object, Ref::NONE);
            for (i, &part) in object.parts.iter().enumerate() {
                let v = value(&made, contents(object.object) + i);
                match part {
                    Part::Slot(slot) => {
                        self.sb.push(Node::new(MicroOp::STORE_INLINE, &[this, v], &[slot as u64]));
                    }
                    Part::Element(i) => {
                        let i = self.sb.push(Node::int(i as i64));
                        self.sb.push(Node::new(MicroOp::INIT_ELEMENT, &[this, i, v], &[]));
                    }
                    Part::Metatable => {
                        let shape = object.header as u64;
                        self.sb.push(Node::new(MicroOp::SET_METATABLE, &[this, v], &[shape]));
                    }
                    Part::Content => {
                        // The first store makes a cell constant, the second mutable.
                        for _ in 0..object.header {
                            self.sb.push(Node::new(MicroOp::SET_CELL, &[this, v], &[]).with_exit(here));
                        }
                    }
                    Part::Captured(_) => {}
                }
            }
            if self.sb.node(this).op == MicroOp::ALLOCATE_TABLE {
                self.set_shape(this, object.header);
            }
        }
        made
    }

    fn grow_slots(&mut self) {
        let n = self.sb.slot_count() + 1;
        if n > self.slots.len() {
            self.slots.resize(n, UNKNOWN);
        }
    }

    // Objects.

    /// The index of an object, which the superblock takes to be alive.
    fn object(&mut self, kind: ObjectKind, addr: u64) -> ObjectId {
        let before = self.sb.objects.len();
        let id = self.sb.intern(Object { kind, addr });
        if self.sb.objects.len() > before {
            self.assumptions.push(Assumption::Alive(Gc::<Header>::from_addr(addr)));
        }
        id
    }

    fn assume(&mut self, a: Assumption) {
        if !self.assumptions.contains(&a) {
            self.assumptions.push(a);
        }
    }

    /// The constant `v`; `None` for those that have no micro-op.
    fn constant(&mut self, v: Value) -> Option<Ref> {
        let node = match v.tag() {
            Tag::NIL => Node::nil(),
            Tag::FALSE => Node::bool(false),
            Tag::TRUE => Node::bool(true),
            Tag::INT => Node::int(v.as_int_unchecked()),
            Tag::FLOAT => Node::float(v.as_float_unchecked()),
            tag => {
                let kind = match tag {
                    Tag::STRING => ObjectKind::String,
                    Tag::TABLE => ObjectKind::Table,
                    Tag::CLOSURE => ObjectKind::Closure,
                    Tag::NATIVE => ObjectKind::Native,
                    Tag::USERDATA => ObjectKind::Userdata,
                    Tag::COROUTINE => ObjectKind::Coroutine,
                    Tag::CELL => ObjectKind::Cell,
                    _ => return None,
                };
                let id = self.object(kind, v.payload());
                Node::new(kind.constant()?.0, &[], &[id.0 as u64])
            }
        };
        Some(self.sb.push(node))
    }

    /// The object that `r` is, if it is a constant.
    fn constant_object(&self, r: Ref) -> Option<Object> {
        self.sb.constant_object(r)
    }

    // Slots.

    fn base(&self) -> Slot {
        self.sb.frame(self.frame).base
    }

    /// The slot of a register of the running function.
    fn register(&self, r: usize) -> Slot {
        self.base() + r as Slot
    }

    /// The value of a slot.
    fn read(&mut self, slot: Slot) -> Ref {
        let known = self.slots[slot as usize];
        if !known.value.is_none() {
            return known.value;
        }
        let mut node = Node::new(MicroOp::LOAD, &[], &[slot as u64]);
        if self.sb.chain(self.frame).any(|id| self.sb.frame(id).base == slot + 1) {
            // Below its registers there always is the function itself.
            node = node.with_type(Type::Closure);
        } else if let Some((_, ty)) = self.in_memory.iter().find(|known| known.0 == slot) {
            node = node.with_type(*ty);
        }
        let value = self.sb.push(node);
        self.slots[slot as usize] = SlotValue { value, dirty: false };
        value
    }

    fn write(&mut self, slot: Slot, value: Ref) {
        self.in_memory.retain(|known| known.0 != slot);
        self.slots[slot as usize] = SlotValue { value, dirty: true };
    }

    /// A guard has shown more of the value of a slot.
    fn refine(&mut self, old: Ref, new: Ref) {
        for s in self.slots.iter_mut().filter(|s| s.value == old) {
            s.value = new;
        }
        if let Some(traversal) = &mut self.traversal {
            for r in [&mut traversal.key, &mut traversal.table] {
                *r = if *r == old { new } else { *r };
            }
        }
        if let Some(shape) = self.shape_of(old) {
            self.shapes.push((new, shape));
        }
    }

    /// The slots from `from` on are in memory now, changed by a call-out.
    fn forget_from(&mut self, from: Slot) {
        self.slots[from as usize..].fill(UNKNOWN);
        self.in_memory.retain(|known| known.0 < from);
    }

    fn forget(&mut self, slot: Slot) {
        self.slots[slot as usize] = UNKNOWN;
        self.in_memory.retain(|known| known.0 != slot);
    }

    fn make_slots(&mut self, n: usize) {
        if n > self.slots.len() {
            self.slots.resize(n, UNKNOWN);
        }
    }

    /// Gives the results of a call to the slots from `first` on: as many as wanted, or all.
    fn deliver(&mut self, first: Slot, values: &[Ref], wanted: i16) {
        let n = if wanted < 0 { values.len() } else { wanted as usize };
        self.make_slots(first as usize + n + 1);
        for i in 0..n {
            let v = match values.get(i) {
                Some(v) => *v,
                None => self.sb.push(Node::nil()),
            };
            self.write(first + i as Slot, v);
        }
        self.top = if wanted < 0 { Top::Slot(first + n as Slot) } else { Top::None };
    }

    // Shapes.

    fn shape_of(&self, r: Ref) -> Option<u32> {
        self.shapes.iter().rev().find(|(table, _)| *table == r).map(|(_, shape)| *shape)
    }

    fn set_shape(&mut self, r: Ref, shape: u32) {
        self.shapes.retain(|(table, _)| *table != r);
        self.shapes.push((r, shape));
    }

    /// A table whose shape is known gets another one. What else is known to have had that shape may be the same table.
    fn change_shape(&mut self, t: Ref, from: u32, to: u32) {
        self.shapes.retain(|known| known.1 != from);
        self.set_shape(t, to);
    }

    // The recording.

    fn step(&self) -> &'a RecordedStep {
        &self.steps[self.at]
    }

    fn next(&self) -> &'a RecordedStep {
        &self.steps[self.at + 1]
    }

    fn proto(&self) -> &'a Proto {
        // SAFETY: recorded prototypes are alive.
        unsafe { &*self.step().proto }
    }

    fn pc(&self) -> u32 {
        self.step().pc
    }

    // Snapshots.

    /// The state at this point, for going on at `pc`.
    fn snapshot(&mut self, pc: u32) -> SnapshotId {
        let mut entries = std::mem::take(&mut self.entries);
        self.state(pc, &mut entries);
        let top = match self.top {
            Top::Slot(top) => Some(top),
            _ => None,
        };
        let id = self.sb.snapshot(self.frame, pc, top, entries.iter().copied());
        self.entries = entries;
        id
    }

    /// The slots in use for going on at `pc` that memory does not have.
    fn state(&self, pc: u32, entries: &mut Vec<(Slot, Ref)>) {
        entries.clear();
        let mut chain: SmallVec<[FrameId; 8]> = self.sb.chain(self.frame).collect();
        chain.reverse();
        for (i, id) in chain.iter().enumerate() {
            let frame = *self.sb.frame(*id);
            let end = match chain.get(i + 1) {
                Some(callee) => self.end_below(&frame, *callee),
                None => self.live_end(&frame, pc),
            };
            // The extra arguments of a handler lie above all registers of its caller.
            let extra = match chain.get(i + 1).map(|callee| *self.sb.frame(*callee)) {
                Some(callee) if callee.is_handler() => callee.result..callee.base - 1,
                _ => end..end,
            };
            for slot in (frame.base - 1..end).chain(extra) {
                let s = self.slots[slot as usize];
                if s.dirty && entries.last().is_none_or(|last| last.0 < slot) {
                    entries.push((slot, s.value));
                }
            }
        }
    }

    /// The end of the slots in use in a frame that has called `callee`.
    fn end_below(&self, frame: &Frame, callee: FrameId) -> Slot {
        let callee = *self.sb.frame(callee);
        if !callee.is_handler() {
            // Those below the function, extra arguments among them.
            return callee.base - 1;
        }
        let proto = self.sb.object(frame.proto).addr as *const Proto;
        // SAFETY: the prototypes of frames are alive.
        let proto = unsafe { &*proto };
        let pc = callee.return_pc as usize - 1;
        let instr = proto.info.code[pc];
        let kept = if instr.op().general() == Op::SELF { instr.a() + 2 } else { 0 };
        frame.base + registers_before(proto, pc).max(kept) as Slot
    }

    /// The end of the slots in use in the running frame when it is about to execute `pc`.
    fn live_end(&self, frame: &Frame, pc: u32) -> Slot {
        let proto = self.sb.object(frame.proto).addr as *const Proto;
        // SAFETY: the prototypes of frames are alive.
        let proto = unsafe { &*proto };
        let end = (frame.base + registers_before(proto, pc as usize) as Slot).max(self.extent);
        match self.top {
            Top::Slot(top) => end.max(top),
            _ => end,
        }
    }

    /// The state at the beginning of the instruction. Nothing of it may have happened yet.
    fn here(&mut self) -> SnapshotId {
        if self.here.is_none() {
            self.here = self.snapshot(self.pc());
        }
        self.here
    }

    /// Emits a micro-op, with the beginning of the instruction as its exit if it has one. A call-out leaves its
    /// results in memory.
    fn emit(&mut self, op: MicroOp, inputs: &[Ref], operands: &[u64]) -> Ref {
        let mut node = Node::new(op, inputs, operands);
        if node.exit_kind() != perilune_uops::Exit::None {
            node.exit = self.here();
        }
        let r = self.sb.push(node);
        if node.is_call_out() && op != MicroOp::SET_LIST {
            // What the snapshot mentions has been stored. Machine code has short forms of constructors, which store nothing.
            for i in 0..self.sb.slots_of(node.exit).len() {
                let slot = self.sb.slots_of(node.exit)[i].0;
                self.slots[slot as usize].dirty = false;
            }
        }
        if node.effects().calls || op == MicroOp::RAW_SET && self.sb.type_of(inputs[1]) != Type::Int {
            // A key may have been added.
            self.shapes.clear();
        }
        r
    }

    // The walk.

    fn run(mut self) -> Option<Projection> {
        let last = self.steps.len().checked_sub(1)?;
        self.loop_step = self.find_loop(last);
        let stop = loop {
            if self.at == last {
                break match self.try_to_join() {
                    Err(Ended(stop)) => stop,
                    Ok(()) => self.finish(),
                };
            }
            if self.sb.nodes.len() > NODES_MAX {
                break self.leave(self.pc(), Stop::Length);
            }
            if let Err(Ended(stop)) = self.try_to_join() {
                break stop;
            }
            if self.loop_step == Some(self.at) {
                if !self.may_copy_loop(last) {
                    break self.leave_for(self.pc(), self.steps[last - 1].instr().bc() as usize);
                }
                self.open_loop();
            }
            match self.instruction() {
                Ok(()) => self.at += 1,
                Err(Ended(stop)) => break stop,
            }
            self.done += 1;
            (self.cautious, self.megamorphic) = (false, false);
        };
        let link = (stop == Stop::Link).then(|| self.site_of_last_back_edge()).flatten();
        let instructions = match self.sb.looping {
            Some(_) => (self.before_loop, self.done - self.before_loop),
            None => (self.done, 0),
        };
        // A superblock that leaves where it began makes no progress.
        (self.done > 0).then_some(Projection {
            superblock: self.sb,
            assumptions: self.assumptions,
            instructions,
            link,
            stop,
        })
    }

    /// Whether the loop that the recording closes with its last step may be copied for the way by which this superblock comes to it. If so
    /// the copy is counted.
    fn may_copy_loop(&self, last: usize) -> bool {
        let own = self.sb.frames.len() == 1 && !self.is_side;
        if own || self.done == 0 {
            return true;
        }
        let closing = &self.steps[last - 1];
        // SAFETY: recorded prototypes are alive; loop sites are verified operands.
        let site = unsafe { &*(*closing.proto).loops.add(closing.instr().bc() as usize) };
        let copies = site.copies.get();
        site.copies.set(copies.saturating_add(1));
        copies < LoopSite::COPIES_MAX
    }

    /// The step at which a loop begins that the recording closes with its last step.
    fn find_loop(&self, last: usize) -> Option<usize> {
        let end = &self.steps[last];
        let before = self.steps.get(last.checked_sub(1)?)?;
        let closes = std::ptr::eq(before.proto, end.proto)
            && before.depth == end.depth
            && end.pc <= before.pc
            && matches!(before.instr().op().general(), Op::LOOP | Op::FORLOOP | Op::TFORLOOP)
            && !self.is_unrolled(before);
        if !closes {
            return None;
        }
        let at = self.steps[..last]
            .iter()
            .rposition(|s| s.pc == end.pc && s.depth == end.depth && std::ptr::eq(s.proto, end.proto))?;
        self.steps[at..last].iter().all(|s| s.depth >= end.depth).then_some(at)
    }

    /// Whether a step is the end of a pass of a loop whose passes are followed one by one.
    fn is_unrolled(&self, step: &RecordedStep) -> bool {
        let instr = step.instr();
        // SAFETY: recorded prototypes are alive; loop sites are verified operands.
        instr.op().general() == Op::FORLOOP && unsafe { (*(*step.proto).loops.add(instr.bc() as usize)).is_unrolled() }
    }

    /// The loop of the back-edge by which control has come to this step.
    fn last_back_edge(&self) -> Option<usize> {
        let before = self.steps.get(self.at.checked_sub(1)?)?;
        let here = self.step();
        let back_edge = matches!(before.instr().op().general(), Op::LOOP | Op::FORLOOP | Op::TFORLOOP);
        let arrived = std::ptr::eq(before.proto, here.proto) && before.depth == here.depth && here.pc <= before.pc;
        (back_edge && arrived).then(|| before.instr().bc() as usize)
    }

    /// Its site.
    fn site_of_last_back_edge(&self) -> Option<*const LoopSite> {
        let site = self.last_back_edge()?;
        // SAFETY: recorded prototypes are alive; loop sites are verified operands.
        Some(unsafe { (*self.step().proto).loops.add(site) })
    }

    /// Begins the loop: every slot in use becomes a phi.
    fn open_loop(&mut self) {
        let frame = *self.sb.frame(self.frame);
        let end = self.live_end(&frame, self.pc());
        let slots: Vec<Slot> = (frame.base..end).collect();
        slots.iter().for_each(|s| {
            self.read(*s);
        });
        self.here = SnapshotId::NONE;
        let entry = self.here();
        let traversal = self.traversed_by_loop().map(|control| (control, self.traversal_position(control)));
        let values: SmallVec<[Ref; 32]> = slots.iter().map(|s| self.read(*s)).collect();
        self.here = SnapshotId::NONE;
        let head = self.sb.push(Node::new(MicroOp::LOOP, &[], &[]));
        for (slot, value) in slots.iter().zip(values) {
            let phi = self.sb.push(Node::new(MicroOp::PHI, &[value], &[]));
            self.write(*slot, phi);
        }
        self.traversal = traversal.map(|(control, first)| {
            let position = self.sb.push(Node::new(MicroOp::PHI, &[first], &[]).with_type(Type::Int));
            let [table, key] = [control - 1, control].map(|slot| self.slots[slot as usize].value);
            Traversal { control, table, key, position }
        });
        self.carried_control = traversal.map(|(control, _)| control);
        self.shapes.clear();
        let mut at_head = Vec::new();
        self.state(self.pc(), &mut at_head);
        if let Some(t) = &self.traversal {
            at_head.push((POSITIONS + t.control, t.position));
        }
        let label = self.sb.snapshot(self.frame, self.pc(), None, at_head);
        self.sb.looping = Some(Loop { head, back: Vec::new(), entry, label, counters: Vec::new() });
        self.loop_slots = slots;
        self.before_loop = self.done;
    }

    /// The control variable of the loop that is about to begin, if it traverses a table with `next`.
    fn traversed_by_loop(&self) -> Option<Slot> {
        let [.., call, test, _] = self.steps else {
            return None;
        };
        let (called, tested) = (call.instr(), test.instr());
        let traverses = tested.op().general() == Op::TFORLOOP
            && called.op().general() == Op::TFORCALL
            && call.depth == self.step().depth
            && called.a() == tested.a()
            && call.tags[1] == Tag::TABLE.byte()
            && is_next(call.callee_value());
        traverses.then(|| self.register(called.a() + 2))
    }

    /// The position of the key in the control variable of a loop that traverses a table.
    fn traversal_position(&mut self, control: Slot) -> Ref {
        let key = self.read(control);
        let table = self.read(control - 1);
        match self.traversal {
            Some(t) if t.control == control && (t.table, t.key) == (table, key) => t.position,
            _ => {
                let table = self.guard_type(table, Type::Table);
                self.emit(MicroOp::KEY_POSITION, &[table, key], &[])
            }
        }
    }

    /// The recording has been followed to its end.
    fn finish(&mut self) -> Stop {
        if self.sb.looping.is_some() {
            let slots = std::mem::take(&mut self.loop_slots);
            let mut back: Vec<Ref> = slots.iter().map(|s| self.read(*s)).collect();
            if let Some(control) = self.carried_control {
                self.here = SnapshotId::NONE;
                back.push(self.traversal_position(control));
            }
            if let Some(looping) = &mut self.sb.looping {
                looping.back = back;
            }
            self.sb.push(Node::new(MicroOp::BACK, &[], &[]));
            return Stop::Loop;
        }
        let stop = if self.arrived_at_executor() { Stop::Link } else { Stop::Recording };
        self.leave(self.pc(), stop)
    }

    /// Whether the last step is a loop head of the lowest frame that has an executor.
    fn arrived_at_executor(&self) -> bool {
        self.frame == FrameId(0)
            // SAFETY: the site of a recorded instruction.
            && self.site_of_last_back_edge().is_some_and(|site| unsafe { !(*site).executor.get().is_null() })
    }

    /// Ends the superblock at `pc`. Nothing of the instruction there may have happened yet.
    fn leave(&mut self, pc: u32, stop: Stop) -> Stop {
        match self.last_back_edge() {
            Some(site) if stop == Stop::Link => self.leave_for(pc, site),
            _ => self.leave_by_node(Node::new(MicroOp::EXIT, &[], &[]), pc, stop),
        }
    }

    /// Ends the superblock at the head of a loop, by the loop's site.
    fn leave_for(&mut self, pc: u32, site: usize) -> Stop {
        self.leave_by_node(Node::new(MicroOp::LINK, &[], &[site as u64]), pc, Stop::Link)
    }

    fn leave_by_node(&mut self, node: Node, pc: u32, stop: Stop) -> Stop {
        let exit = self.snapshot(pc);
        if std::mem::take(&mut self.unsettled) {
            // What the exit leads to may be invalid now, too.
            self.sb.push(Node::new(MicroOp::GUARD_VALID, &[], &[]).with_exit(exit));
        }
        self.sb.push(node.with_exit(exit));
        self.unroll();
        stop
    }

    /// If a loop was begun, it does not close: what would have been its first pass is plain code.
    fn unroll(&mut self) {
        if self.sb.looping.take().is_none() {
            return;
        }
        let mut names: Vec<Ref> = Vec::with_capacity(self.sb.nodes.len());
        self.sb.call_outs.clear();
        for mut node in std::mem::take(&mut self.sb.nodes) {
            for input in node.inputs_mut() {
                *input = names[input.index()];
            }
            match node.op {
                MicroOp::PHI => names.push(node.inputs[0]),
                MicroOp::LOOP => names.push(Ref::NONE),
                _ => names.push(self.sb.push(node)),
            }
        }
        for (_, r) in &mut self.sb.slots {
            *r = names[r.index()];
        }
        self.before_loop = self.done;
    }

    /// One instruction. On return the next step is where control is, or the superblock has ended.
    fn instruction(&mut self) -> Flow {
        self.here = SnapshotId::NONE;
        self.extent = 0;
        if std::mem::take(&mut self.unsettled) {
            self.emit(MicroOp::GUARD_VALID, &[], &[]);
        }
        let instr = self.step().instr();
        self.project_instruction(instr)
    }

    /// Control goes to `pc` of the running function: the recording must have done so, too.
    fn goes_to(&mut self, pc: u32) -> Flow {
        let next = self.next();
        if next.depth == self.step().depth && std::ptr::eq(next.proto, self.step().proto) && next.pc == pc {
            Ok(())
        } else {
            Err(Ended(self.leave(pc, Stop::Discontinuity)))
        }
    }

    /// The same for the next instruction.
    fn goes_on(&mut self) -> Flow {
        self.goes_to(self.pc() + 1)
    }

    /// Whether the recording went on in the running function.
    fn stays(&self) -> bool {
        self.next().depth == self.step().depth && std::ptr::eq(self.next().proto, self.step().proto)
    }

    /// Ends the superblock before the instruction.
    fn stop_here<T>(&mut self, stop: Stop) -> Result<T, Ended> {
        Err(Ended(self.leave(self.pc(), stop)))
    }

    /// Ends the superblock behind the instruction, a call-out that may not come back here.
    fn stop_behind<T>(&mut self, stop: Stop) -> Result<T, Ended> {
        Err(Ended(self.leave(self.pc() + 1, stop)))
    }
}

/// The types of slots in memory that a superblock has made sure of before it leaves at `exit`: of those that it has
/// loaded once and that nothing in it changes.
fn types_in_memory(sb: &Superblock, exit: SnapshotId) -> SmallVec<[(Slot, Type); 16]> {
    let Some(end) = sb.nodes.iter().position(|node| node.exit == exit) else {
        return SmallVec::new();
    };
    // Call-outs leave their results from some slot on.
    let changed = sb.call_outs.iter().map(|r| sb.node(*r)).flat_map(|node| {
        let kinds = node.op.declaration().operands.iter().zip(node.operands());
        kinds.filter(|(kind, _)| matches!(kind, Immediate::Def | Immediate::Group)).map(|(_, slot)| *slot)
    });
    let limit = changed.min().unwrap_or(u64::MAX);
    let mut known = SmallVec::new();
    let loads = || sb.iter().filter(|(_, node)| node.op == MicroOp::LOAD);
    for (r, load) in loads().take_while(|load| load.0.index() < end).filter(|load| load.1.operands[0] < limit) {
        let slot = load.operands[0] as Slot;
        if loads().any(|(other, node)| node.operands[0] == load.operands[0] && other != r) {
            continue;
        }
        let guard = sb.iter().take(end).find(|(_, n)| n.inputs().first() == Some(&r) && guarded_type(n.op).is_some());
        let (name, ty) = match (load.ty, guard) {
            (Some(Type::Tagged), Some((guard, node))) => (guard, node.ty),
            (ty, _) => (r, ty),
        };
        if let Some(ty) = ty
            && ty != Type::Tagged
            && sb.slots.iter().all(|&(s, value)| s != slot || value == r || value == name)
        {
            known.push((slot, ty));
        }
    }
    known
}

/// How many executors in a row, of which each is a side executor of the one before, begin at the instruction of `step`.
fn copies_at(mut executor: &Executor, step: &RecordedStep) -> usize {
    let mut copies = 0;
    while executor.place.pc == step.pc
        && executor.place.proto.is_some_and(|proto| std::ptr::eq(proto.as_ptr(), step.proto))
        && !executor.parent.is_null()
    {
        copies += 1;
        // SAFETY: an executor keeps its parent.
        executor = unsafe { &*executor.parent };
    }
    copies
}

/// Whether specialising the instruction of `step` in the way of the guards that leave at `exit` would fail again: they
/// need something that the recording does not show, while shapes and types were as they need them.
fn must_be_cautious(sb: &Superblock, exit: SnapshotId, step: &RecordedStep) -> bool {
    let mut unseen = false;
    for node in sb.nodes.iter().filter(|node| node.exit == exit) {
        let failed = match node.op {
            // The recording does not tell which argument has been selected.
            MicroOp::GUARD_TRUE if selects(step) && sb.node(node.inputs[0]).op == MicroOp::LT_U => {
                unseen = true;
                continue;
            }
            MicroOp::GUARD_TRUE | MicroOp::GUARD_FALSE | MicroOp::POLL | MicroOp::GUARD_VALID => continue,
            MicroOp::EXIT | MicroOp::LINK | MicroOp::JOIN => continue,
            MicroOp::GUARD_SHAPE => step.shape != node.operands[0] as u32,
            MicroOp::GUARD_IN_ARRAY => step.facts & facts::IN_ARRAY == 0,
            MicroOp::GUARD_ARRAY_KIND => step.array_kind as u64 != node.operands[0],
            MicroOp::GUARD_NO_METATABLE => step.facts & facts::NO_METATABLE == 0,
            MicroOp::GUARD_NOT_NIL if step.accesses_field() => step.facts & facts::NIL_FIELD != 0,
            MicroOp::GUARD_NIL if step.accesses_field() => step.facts & facts::NIL_FIELD == 0,
            MicroOp::GUARD_NIL if step.instr().op().general() == Op::TFORCALL => step.facts & facts::IN_ARRAY != 0,
            MicroOp::GUARD_UNMARKED => step.facts & facts::MARKED != 0,
            MicroOp::GUARD_METATABLE => {
                step.metatable.map(Gc::addr) != Some(sb.object(ObjectId(node.operands[0] as u32)).addr)
            }
            MicroOp::GUARD_PROTO => step.callee_value().as_closure().is_none_or(|f| {
                f.proto.addr() != sb.object(ObjectId(node.operands[0] as u32)).addr
            }),
            op => match guarded_type(op) {
                Some(ty) => !step.tags.iter().any(|tag| type_of_tag(*tag) == Some(ty)),
                None => {
                    unseen = true;
                    false
                }
            },
        };
        if failed {
            return false;
        }
    }
    unseen
}

fn selects(step: &RecordedStep) -> bool {
    step.callee_value().as_native().is_some_and(|native| native.builtin == Builtin::Select)
}

/// The end of the registers in use before an instruction: those that it reads, and those in use behind it.
fn registers_before(proto: &Proto, pc: usize) -> usize {
    let instr = proto.info.code[pc];
    let format = instr.op().format();
    let operands = [(format.a, instr.a()), (format.b, instr.b()), (format.c, instr.c())];
    let read = operands.into_iter().filter(|o| matches!(o.0, Role::Use | Role::Cell)).map(|o| o.1 + 1);
    let a = instr.a();
    let group = match instr.op().general() {
        Op::CELL => a + 1,
        Op::SETLIST => a + 1 + instr.b(),
        Op::CONCAT | Op::CALL | Op::TAILCALL => a + instr.b().max(1),
        Op::FORPREP | Op::FORLOOP | Op::TFORCALL => a + 3,
        Op::TFORPREP => a + 4,
        Op::TFORLOOP => a + 5,
        Op::RETURN => a + instr.b().saturating_sub(1),
        _ => 0,
    };
    let params = if pc == 0 { proto.params as usize } else { 0 };
    read.max().unwrap_or(0).max(group).max(proto.info.live[pc] as usize).max(params)
}

/// The target of a jump.
fn target(pc: u32, instr: Instr) -> u32 {
    (pc as i64 + 1 + instr.sd() as i64) as u32
}

/// The type of values with a tag, if it says more than `Tagged`.
fn type_of_tag(tag: u8) -> Option<Type> {
    Some(match Tag::from_byte(tag) {
        Tag::FALSE | Tag::TRUE => Type::Bool,
        Tag::INT => Type::Int,
        Tag::FLOAT => Type::Float,
        Tag::STRING => Type::String,
        Tag::TABLE => Type::Table,
        Tag::CLOSURE => Type::Closure,
        Tag::NATIVE => Type::Native,
        Tag::USERDATA => Type::Userdata,
        Tag::COROUTINE => Type::Coroutine,
        Tag::CELL => Type::Cell,
        _ => return None,
    })
}
