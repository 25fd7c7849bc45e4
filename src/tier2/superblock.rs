//! Superblocks: the representation that projection makes, the optimizer rewrites and the backends lower.
//!
//! A superblock is a sequence of [`Node`]s, micro-ops in static single assignment form: a node is named by its
//! position ([`Ref`]) and uses only nodes before it. It may contain one loop: everything behind a `LOOP` node, up to
//! the last node, which is then `BACK`. The `PHI`s follow the `LOOP` node directly. Otherwise the last node is one
//! with which control leaves for good.
//!
//! Registers are numbered as *slots*: slot 0 is the function of the frame in which the superblock begins, slot 1 its first
//! register; the registers of inlined frames follow at their frame's base. There are no stores to slots: what a slot has been
//! given is in the [`Snapshot`] of each node at which control can leave. A slot that a snapshot does not mention holds
//! what it held when the superblock was entered, or what the last call-out has left there.
//!
//! An object that nobody but snapshots mentions is *virtual*: its node makes nothing, and each snapshot that mentions it has the
//! state in which it would be, from which it is rebuilt if control leaves there.
//!
//! Invariants: a superblock is `Send` and nobody reads the heap through it; heap objects are named by their index
//! in [`Superblock::objects`]. Every node with an exit has a snapshot. The text form is in [`text`](super::text), the
//! rules are checked by [`verify`](super::verify).

use std::ops::Range;

use perilune_uops::{Effects, Exit, MicroOp, Type};

use crate::bytecode::cache::SlotOffsets;
use crate::runtime::coroutine::Continuation;

/// Names a node by its position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ref(pub u32);

impl Ref {
    /// No node.
    pub const NONE: Ref = Ref(u32::MAX);

    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub fn is_none(self) -> bool {
        self == Ref::NONE
    }
}

/// Names a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SnapshotId(pub u32);

impl SnapshotId {
    pub const NONE: SnapshotId = SnapshotId(u32::MAX);

    #[inline]
    pub fn is_none(self) -> bool {
        self == SnapshotId::NONE
    }
}

/// Names a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FrameId(pub u16);

/// Names an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ObjectId(pub u32);

/// A slot; see the module's documentation.
pub type Slot = u16;

/// One micro-op.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Node {
    pub op: MicroOp,
    /// The type of its value. For most micro-ops the declared one; `LOAD`, `PARAM` and `PHI` may have any but `Any`
    /// and `Object`. A `LOAD` of another type than `Tagged` is one of a slot known to hold a value of that type.
    pub ty: Option<Type>,
    /// As many as declared; the others are `NONE`.
    pub inputs: [Ref; 3],
    /// The immediate operands in the order of the declaration, each as a 64-bit word: integers and floats as their bits,
    /// registers as slots, slots of shapes as [`slot_operand`] packs them, objects by index, the others as numbers.
    pub operands: [u64; 4],
    /// Where control goes if it leaves here; `NONE` exactly if the micro-op has no exit, or is `BACK`. Of nodes with
    /// status the state while the instruction runs.
    pub exit: SnapshotId,
}

/// The offsets of a shape's slot as an operand.
pub fn slot_operand(slot: SlotOffsets) -> u64 {
    slot.payload as u64 | (slot.tag as u64) << 16
}

/// The inverse of [`slot_operand`].
pub fn slot_offsets(operand: u64) -> SlotOffsets {
    SlotOffsets { payload: operand as u16, tag: (operand >> 16) as u16 }
}

impl Node {
    /// A node with these inputs and operands, the declared type, and no exit.
    #[inline]
    pub fn new(op: MicroOp, inputs: &[Ref], operands: &[u64]) -> Node {
        let declaration = op.declaration();
        debug_assert_eq!(inputs.len(), declaration.inputs.len(), "{op}");
        debug_assert_eq!(operands.len(), declaration.operands.len(), "{op}");
        let mut node = Node {
            op,
            ty: declaration.output,
            inputs: [Ref::NONE; 3],
            operands: [0; 4],
            exit: SnapshotId::NONE,
        };
        node.inputs[..inputs.len()].copy_from_slice(inputs);
        node.operands[..operands.len()].copy_from_slice(operands);
        node
    }

    /// The same, leaving for `exit`.
    #[inline]
    pub fn with_exit(self, exit: SnapshotId) -> Node {
        Node { exit, ..self }
    }

    /// The same, of type `ty`.
    #[inline]
    pub fn with_type(self, ty: Type) -> Node {
        Node { ty: Some(ty), ..self }
    }

    pub fn int(i: i64) -> Node {
        Node::new(MicroOp::CONST_INT, &[], &[i as u64])
    }

    pub fn float(f: f64) -> Node {
        Node::new(MicroOp::CONST_FLOAT, &[], &[f.to_bits()])
    }

    pub fn bool(b: bool) -> Node {
        Node::new(MicroOp::CONST_BOOL, &[], &[b as u64])
    }

    pub fn nil() -> Node {
        Node::new(MicroOp::CONST_NIL, &[], &[])
    }

    /// The inputs it has.
    #[inline]
    pub fn inputs(&self) -> &[Ref] {
        &self.inputs[..self.op.declaration().inputs.len()]
    }

    #[inline]
    pub fn inputs_mut(&mut self) -> &mut [Ref] {
        &mut self.inputs[..self.op.declaration().inputs.len()]
    }

    /// The operands it has.
    #[inline]
    pub fn operands(&self) -> &[u64] {
        &self.operands[..self.op.declaration().operands.len()]
    }

    #[inline]
    pub fn effects(&self) -> Effects {
        self.op.declaration().effects
    }

    #[inline]
    pub fn exit_kind(&self) -> Exit {
        self.op.declaration().exit
    }

    /// Whether it is a guard: it leaves unless a condition holds, and changes nothing.
    #[inline]
    pub fn is_guard(&self) -> bool {
        self.exit_kind() == Exit::Restart
    }

    /// Whether the frames must be in memory while it runs: it may run any code, or it reads or writes slots there.
    /// Such a node stores the slots of its snapshot first, and makes the records of inlined frames if it may call.
    #[inline]
    pub fn is_call_out(&self) -> bool {
        let effects = self.effects();
        effects.calls
            || self.exit_kind() == Exit::Status && effects.reads.contains(perilune_uops::Memory::Frame)
            || matches!(self.op, MicroOp::PUSH_FRAME | MicroOp::REPLACE_FRAME | MicroOp::POP_FRAME)
    }

    /// Whether it must stay although nobody uses its value.
    #[inline]
    pub fn is_anchored(&self) -> bool {
        !self.effects().is_none()
            || self.exit_kind() != Exit::None
            || matches!(self.op, MicroOp::LOOP | MicroOp::START)
    }
}

/// The kind of an object that a superblock names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ObjectKind {
    Table,
    String,
    Closure,
    Native,
    Cell,
    Userdata,
    Coroutine,
    Proto,
}

impl ObjectKind {
    /// The micro-op that makes such an object a value, and the type of that.
    pub fn constant(self) -> Option<(MicroOp, Type)> {
        Some(match self {
            ObjectKind::Table => (MicroOp::CONST_TABLE, Type::Table),
            ObjectKind::String => (MicroOp::CONST_STRING, Type::String),
            ObjectKind::Closure => (MicroOp::CONST_CLOSURE, Type::Closure),
            ObjectKind::Native => (MicroOp::CONST_NATIVE, Type::Native),
            ObjectKind::Cell => (MicroOp::CONST_CELL, Type::Cell),
            ObjectKind::Userdata => (MicroOp::CONST_USERDATA, Type::Userdata),
            ObjectKind::Coroutine => (MicroOp::CONST_COROUTINE, Type::Coroutine),
            ObjectKind::Proto => return None,
        })
    }
}

/// A heap object by its address. Weak: whoever runs the superblock is told when the object dies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Object {
    pub kind: ObjectKind,
    pub addr: u64,
}

/// An activation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The caller; `None` for the frame in which the superblock begins, which has a record already.
    pub caller: Option<FrameId>,
    pub proto: ObjectId,
    /// The slot of its first register; the function itself lies one below.
    pub base: Slot,
    /// Registers that it has.
    pub registers: u16,
    /// Where its caller goes on: the instruction behind the call.
    pub return_pc: u32,
    /// The index of the caller's call site, or `NO_CALL_SITE`.
    pub call_site: u32,
    /// Results that the caller wants, or -1 for all.
    pub wanted: i16,
    pub continuation: Continuation,
    /// As in a call record.
    pub flags: u8,
    /// Extra arguments, in the slots below the function.
    pub extra_args: u32,
    /// Where the results go: the slot of the called function before extra arguments moved it. Of a protected frame, the slot of
    /// `pcall`.
    pub result: Slot,
    pub aux: u64,
}

impl Frame {
    /// Whether `pcall` has called it, for the results that the caller wants. It has a record below the frame's.
    pub fn is_protected(&self) -> bool {
        self.continuation == Continuation::Native
    }

    /// Whether its caller calls it as a handler, in an instruction that is not a call.
    pub fn is_handler(&self) -> bool {
        !matches!(self.continuation, Continuation::Call | Continuation::Native)
    }

    /// Activations that have records on its behalf.
    fn records(&self) -> usize {
        1 + self.is_protected() as usize
    }
}

/// The frame was not entered by a call instruction.
pub const NO_CALL_SITE: u32 = u32::MAX;

/// What tier 1 needs to go on where control leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The running activation; its callers are on the stack below it.
    pub frame: FrameId,
    /// The instruction to resume at, or, of a call-out, the one that is running.
    pub pc: u32,
    /// The slot at which an open list of values ends, if there is one.
    pub top: Option<Slot>,
    /// Where its slots begin in [`Superblock::slots`], and how many there are.
    first: u32,
    /// Where the states of virtual objects begin in [`Superblock::states`], and how many there are.
    first_state: u32,
    states: u16,
    len: u16,
    /// The values of these states, which follow the slots.
    contents: u16,
}

impl Snapshot {
    /// Where its values are in [`Superblock::slots`].
    fn values(&self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.len as usize + self.contents as usize
    }
}

/// The state of a virtual object if control leaves, as one snapshot has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Virtual {
    /// The node.
    pub object: Ref,
    /// A table's shape, a cell's [`CellState`](crate::runtime::function::CellState), nothing of closures.
    pub header: u32,
    /// Where its parts begin in [`Superblock::parts`], and how many there are. Their values follow those of the states before.
    first: u32,
    len: u32,
}

/// A part of a virtual object that has a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    Metatable,
    /// A slot in the table itself, as an operand.
    Slot(u32),
    /// An element, from 1. Those of a table are in order, without gaps.
    Element(u32),
    /// A captured variable of a closure. All of them have values.
    Captured(u8),
    /// What a cell holds.
    Content,
}

/// A virtual object, its state and its parts with their values, as a snapshot has them.
pub struct Described<'a> {
    pub object: Ref,
    pub header: u32,
    pub parts: &'a [Part],
    pub values: &'a [(Slot, Ref)],
}

/// As snapshots count. Slots have numbers of 16 bits, and superblocks fewer nodes.
fn count(n: usize) -> u16 {
    u16::try_from(n).expect("a snapshot has fewer values")
}

/// What stands for the slot where [`Superblock::slots`] has the value of a part.
const NO_SLOT: Slot = Slot::MAX;

/// The loop of a superblock.
#[derive(Clone, PartialEq, Debug)]
pub struct Loop {
    /// The `LOOP` node.
    pub head: Ref,
    /// For each `PHI` what the pass leaves for the next one.
    pub back: Vec<Ref>,
    /// The state in which the first pass begins, for guards that are moved before the loop.
    pub entry: SnapshotId,
    /// The state at the head in each pass, for those that come back to it from outside: `PHI`s, and what is made before the
    /// loop. It keeps nothing but loads of slots alive, and is not part of the text form. `NONE` if nobody can come back.
    pub label: SnapshotId,
    /// What checks before the loop rely on; not part of the text form. Whoever comes back has to have counted on.
    pub counters: Vec<Counter>,
}

/// `PHI`s of a numeric loop: each pass adds the step, which is made before the loop, to the index and takes one off the
/// count; with a count of 0 it is the last pass.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Counter {
    pub index: Ref,
    pub step: Ref,
    pub count: Ref,
}

/// In labels and in what `JOIN` gives them, from here on slots are the positions of traversals, by their control variables.
pub const POSITIONS: Slot = 0x8000;

/// See the module's documentation.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Superblock {
    pub nodes: Vec<Node>,
    /// The nodes for which [`Node::is_call_out`] holds, in order.
    pub call_outs: Vec<Ref>,
    pub frames: Vec<Frame>,
    pub objects: Vec<Object>,
    pub snapshots: Vec<Snapshot>,
    /// The slots of all snapshots with their values; see [`Superblock::slots_of`].
    pub slots: Vec<(Slot, Ref)>,
    /// The states of virtual objects of all snapshots, and their parts; see [`Superblock::virtual_objects`].
    pub states: Vec<Virtual>,
    pub parts: Vec<Part>,
    pub looping: Option<Loop>,
    /// Shapes that parameters are known to have when the superblock is entered.
    pub param_shapes: Vec<(u32, u32)>,
    /// Whether checks of bounds stay in the loop: it begins where those before another one have failed.
    pub keeps_bounds: bool,
}

impl Superblock {
    /// Gives back memory that it does not need. Snapshots whose values are the first ones of another one near by share those: most
    /// differ in temporaries only, which come last.
    pub fn compact(&mut self) {
        const NEAR: usize = 6;
        let slots = std::mem::take(&mut self.slots);
        let count = self.snapshots.len();
        let values: Vec<&[(Slot, Ref)]> = self.snapshots.iter().map(|s| &slots[s.values()]).collect();
        let shares = |i: usize, other: usize| {
            let longer = values[other].len() > values[i].len() || values[other].len() == values[i].len() && other < i;
            longer && values[i].last() == values[other][..values[i].len()].last() && values[other].starts_with(values[i])
        };
        let host = |i: usize| {
            let near = i.saturating_sub(NEAR)..count.min(i + NEAR + 1);
            near.filter(|&other| shares(i, other)).max_by_key(|&other| values[other].len())
        };
        let hosts: Vec<Option<usize>> = (0..count).map(host).collect();
        let own = (0..count).filter(|&i| hosts[i].is_none());
        self.slots.reserve_exact(own.clone().map(|i| values[i].len()).sum());
        for i in own {
            self.snapshots[i].first = self.slots.len() as u32;
            self.slots.extend_from_slice(values[i]);
        }
        for i in 0..count {
            // Hosts are longer, or come earlier.
            let last = std::iter::successors(Some(i), |&i| hosts[i]).last().unwrap_or(i);
            self.snapshots[i].first = self.snapshots[last].first;
        }
        self.nodes.shrink_to_fit();
        self.call_outs.shrink_to_fit();
        self.snapshots.shrink_to_fit();
        self.states.shrink_to_fit();
        self.parts.shrink_to_fit();
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.call_outs.capacity() * size_of::<Ref>()
            + self.frames.capacity() * size_of::<Frame>()
            + self.objects.capacity() * size_of::<Object>()
            + self.snapshot_bytes()
            + self.looping.as_ref().map_or(0, |l| l.back.capacity() * size_of::<Ref>())
            + self.param_shapes.capacity() * size_of::<(u32, u32)>()
    }

    /// Bytes of its snapshots.
    pub fn snapshot_bytes(&self) -> usize {
        self.snapshots.capacity() * size_of::<Snapshot>()
            + self.slots.capacity() * size_of::<(Slot, Ref)>()
            + self.states.capacity() * size_of::<Virtual>()
            + self.parts.capacity() * size_of::<Part>()
    }

    /// Appends a node.
    #[inline]
    pub fn push(&mut self, node: Node) -> Ref {
        let r = Ref(self.nodes.len() as u32);
        if node.is_call_out() {
            self.call_outs.push(r);
        }
        self.nodes.push(node);
        r
    }

    /// This, unless it is the same as another one.
    pub fn unless_same(self, other: &Superblock) -> Option<Superblock> {
        (self != *other).then_some(self)
    }

    #[inline]
    pub fn node(&self, r: Ref) -> &Node {
        &self.nodes[r.index()]
    }

    /// The type of a node's value. The node must make one.
    #[inline]
    pub fn type_of(&self, r: Ref) -> Type {
        self.node(r).ty.expect("the node makes a value")
    }

    /// Every node with its name.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (Ref, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (Ref(i as u32), node))
    }

    #[inline]
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0 as usize]
    }

    #[inline]
    pub fn object(&self, id: ObjectId) -> &Object {
        &self.objects[id.0 as usize]
    }

    /// The index of an object, which is added if it is new.
    pub fn intern(&mut self, object: Object) -> ObjectId {
        let at = match self.objects.iter().position(|o| *o == object) {
            Some(at) => at,
            None => {
                self.objects.push(object);
                self.objects.len() - 1
            }
        };
        ObjectId(at as u32)
    }

    /// Adds a snapshot of these slots, in ascending order.
    pub fn snapshot(
        &mut self,
        frame: FrameId,
        pc: u32,
        top: Option<Slot>,
        slots: impl IntoIterator<Item = (Slot, Ref)>,
    ) -> SnapshotId {
        let first = self.slots.len() as u32;
        self.slots.extend(slots);
        debug_assert!(self.slots[first as usize..].is_sorted_by_key(|s| s.0));
        let len = count(self.slots.len() - first as usize);
        let first_state = self.states.len() as u32;
        self.snapshots.push(Snapshot { frame, pc, top, first, len, first_state, states: 0, contents: 0 });
        SnapshotId(self.snapshots.len() as u32 - 1)
    }

    /// Adds the state of a virtual object to the snapshot that has been added last, to which nothing but states has been added.
    pub fn describe(&mut self, object: Ref, header: u32, parts: impl IntoIterator<Item = (Part, Ref)>) {
        let first = self.parts.len() as u32;
        for (part, value) in parts {
            self.parts.push(part);
            self.slots.push((NO_SLOT, value));
        }
        let len = self.parts.len() as u32 - first;
        self.states.push(Virtual { object, header, first, len });
        let snapshot = self.snapshots.last_mut().expect("there is a snapshot");
        snapshot.states += 1;
        snapshot.contents += count(len as usize);
        debug_assert_eq!(snapshot.values().end, self.slots.len());
    }

    #[inline]
    pub fn snapshot_at(&self, id: SnapshotId) -> &Snapshot {
        &self.snapshots[id.0 as usize]
    }

    /// The slots of a snapshot with their values, in ascending order.
    #[inline]
    pub fn slots_of(&self, id: SnapshotId) -> &[(Slot, Ref)] {
        let Snapshot { first, len, .. } = *self.snapshot_at(id);
        &self.slots[first as usize..][..len as usize]
    }

    /// All values of a snapshot: those of its slots, then those of the parts of virtual objects, whose slots mean nothing.
    #[inline]
    pub fn values_of(&self, id: SnapshotId) -> &[(Slot, Ref)] {
        &self.slots[self.snapshot_at(id).values()]
    }

    /// The virtual objects that a snapshot mentions.
    pub fn virtual_objects(&self, id: SnapshotId) -> impl Iterator<Item = Described<'_>> + '_ {
        let Snapshot { first, len, first_state, states, .. } = *self.snapshot_at(id);
        let mut at = first as usize + len as usize;
        self.states[first_state as usize..][..states as usize].iter().map(move |state| {
            let values = &self.slots[at..][..state.len as usize];
            at += state.len as usize;
            let parts = &self.parts[state.first as usize..][..state.len as usize];
            Described { object: state.object, header: state.header, parts, values }
        })
    }

    /// Whether a snapshot mentions virtual objects.
    #[inline]
    pub fn has_virtual_objects(&self, id: SnapshotId) -> bool {
        self.snapshot_at(id).states > 0
    }

    /// The end of the highest frame or open list: slots that an activation of the superblock may use.
    pub fn slot_count(&self) -> usize {
        let frames = self.frames.iter().map(|f| f.base as usize + f.registers as usize);
        let lists = self.snapshots.iter().filter_map(|s| s.top).map(usize::from);
        frames.chain(lists).max().unwrap_or(0)
    }

    /// The depth of inlining: the most records that leaving may push.
    pub fn depth(&self) -> usize {
        (0..self.frames.len()).map(|i| self.inlined(FrameId(i as u16))).max().unwrap_or(0)
    }

    /// The object that a value is, if it is a constant.
    pub fn constant_object(&self, r: Ref) -> Option<Object> {
        let node = self.node(r);
        is_constant(node.op).then(|| *self.object(ObjectId(node.operands[0] as u32)))
    }

    /// Whether it ends by coming back to the loop at one of whose exits it has begun.
    pub fn joins(&self) -> bool {
        self.nodes.last().is_some_and(|node| node.op == MicroOp::JOIN)
    }

    /// The records of a frame and its callers without the first one's.
    pub fn inlined(&self, frame: FrameId) -> usize {
        self.chain(frame).map(|id| self.frame(id).records()).sum::<usize>() - 1
    }

    /// A frame and its callers, the innermost first.
    pub fn chain(&self, from: FrameId) -> impl Iterator<Item = FrameId> + '_ {
        std::iter::successors(Some(from), |id| self.frame(*id).caller)
    }

    /// The `PHI`s of the loop.
    pub fn phis(&self) -> impl Iterator<Item = Ref> + '_ {
        let first = self.looping.as_ref().map_or(0, |l| l.head.0 + 1);
        let n = self.looping.as_ref().map_or(0, |l| l.back.len() as u32);
        (first..first + n).map(Ref)
    }
}

/// Whether a node stands for an object that only snapshots mention.
pub fn is_virtual(op: MicroOp) -> bool {
    matches!(op, MicroOp::VIRTUAL_TABLE | MicroOp::VIRTUAL_CLOSURE | MicroOp::VIRTUAL_CELL)
}

/// The type that a guard of types makes sure of.
pub fn guarded_type(op: MicroOp) -> Option<Type> {
    Some(match op {
        MicroOp::GUARD_INT => Type::Int,
        MicroOp::GUARD_FLOAT => Type::Float,
        MicroOp::GUARD_BOOL => Type::Bool,
        MicroOp::GUARD_STRING => Type::String,
        MicroOp::GUARD_TABLE => Type::Table,
        MicroOp::GUARD_CLOSURE => Type::Closure,
        MicroOp::GUARD_NATIVE => Type::Native,
        MicroOp::GUARD_CELL => Type::Cell,
        MicroOp::GUARD_USERDATA => Type::Userdata,
        MicroOp::GUARD_COROUTINE => Type::Coroutine,
        _ => return None,
    })
}

/// Whether a micro-op names an object that is there anyway.
pub fn is_constant(op: MicroOp) -> bool {
    use MicroOp::*;
    matches!(
        op,
        CONST_TABLE | CONST_STRING | CONST_CLOSURE | CONST_NATIVE | CONST_CELL | CONST_USERDATA | CONST_COROUTINE
    )
}

/// The guard that makes sure of a type.
pub fn guard_of(ty: Type) -> Option<MicroOp> {
    MicroOp::ALL.iter().copied().find(|op| guarded_type(*op) == Some(ty))
}

/// Builds a superblock out of another one: what every pass of the optimizer is made with.
///
/// A pass goes through the nodes of the old superblock in order and for each says what it becomes: a new node
/// ([`Rewriter::emit`]), an existing one of the new superblock ([`Rewriter::replace`]) or nothing. Inputs are renamed on the
/// way. Snapshots are copied when the node that uses them is emitted; frames and objects stay as they are.
pub struct Rewriter<'a> {
    pub old: &'a Superblock,
    pub new: Superblock,
    /// For each old node the new one, or `NONE`.
    names: Vec<Ref>,
    /// For each old snapshot the new one, or `NONE`.
    copied: Vec<SnapshotId>,
    /// For each old `PHI`, and then for each one that was added, the old node that the pass leaves for the next one.
    pub back: Vec<Ref>,
    /// What the new loop will have, with old names.
    pub counters: Vec<Counter>,
    /// For each entry of the old slots whether snapshots keep it; all of them if it is empty.
    kept: Vec<bool>,
}

impl<'a> Rewriter<'a> {
    pub fn new(old: &'a Superblock) -> Rewriter<'a> {
        Rewriter {
            old,
            new: Superblock {
                nodes: Vec::with_capacity(old.nodes.len() + 8),
                call_outs: Vec::with_capacity(old.call_outs.len()),
                frames: old.frames.clone(),
                objects: old.objects.clone(),
                snapshots: Vec::with_capacity(old.snapshots.len()),
                slots: Vec::with_capacity(old.slots.len()),
                states: Vec::with_capacity(old.states.len()),
                parts: Vec::with_capacity(old.parts.len()),
                looping: None,
                param_shapes: old.param_shapes.clone(),
                keeps_bounds: old.keeps_bounds,
            },
            names: vec![Ref::NONE; old.nodes.len()],
            copied: vec![SnapshotId::NONE; old.snapshots.len()],
            back: old.looping.as_ref().map_or(Vec::new(), |l| l.back.clone()),
            counters: old.looping.as_ref().map_or(Vec::new(), |l| l.counters.clone()),
            kept: Vec::new(),
        }
    }

    /// Says which slots snapshots keep. To be called before anything is emitted.
    pub fn keep_slots(&mut self, keep: impl Fn(SnapshotId, Slot, Ref) -> bool) {
        self.kept = vec![true; self.old.slots.len()];
        for (i, snapshot) in self.old.snapshots.iter().enumerate() {
            let range = snapshot.first as usize..snapshot.first as usize + snapshot.len as usize;
            for (kept, &(slot, value)) in self.kept[range.clone()].iter_mut().zip(&self.old.slots[range]) {
                *kept = keep(SnapshotId(i as u32), slot, value);
            }
        }
    }

    /// What an old node has become.
    #[inline]
    pub fn name(&self, old: Ref) -> Ref {
        self.names[old.index()]
    }

    /// The old node with its inputs renamed; its exit is still the old one.
    #[inline]
    pub fn renamed(&self, old: Ref) -> Node {
        let mut node = *self.old.node(old);
        for input in node.inputs_mut() {
            *input = self.names[input.index()];
        }
        node
    }

    /// The new snapshot for an old one, with the values renamed. A copy is made once.
    pub fn exit(&mut self, old: SnapshotId) -> SnapshotId {
        if old.is_none() || !self.copied[old.0 as usize].is_none() {
            return if old.is_none() { old } else { self.copied[old.0 as usize] };
        }
        let source = *self.old.snapshot_at(old);
        let range = source.first as usize..source.first as usize + source.len as usize;
        let (names, kept) = (&self.names, &self.kept);
        let slots = range.filter(|&i| kept.is_empty() || kept[i]).map(|i| {
            let (slot, r) = self.old.slots[i];
            (slot, names[r.index()])
        });
        let new = self.new.snapshot(source.frame, source.pc, source.top, slots);
        for described in self.old.virtual_objects(old) {
            let values = described.values.iter().map(|&(_, r)| names[r.index()]);
            let parts = described.parts.iter().copied().zip(values);
            self.new.describe(names[described.object.index()], described.header, parts);
        }
        self.copied[old.0 as usize] = new;
        new
    }

    /// The new label for an old one: of values that are no longer made it says nothing.
    fn label(&mut self, old: SnapshotId) -> SnapshotId {
        if old.is_none() {
            return old;
        }
        let source = *self.old.snapshot_at(old);
        let slots = self.old.slots_of(old).iter().map(|&(slot, r)| (slot, self.names[r.index()]));
        self.new.snapshot(source.frame, source.pc, source.top, slots.filter(|s| !s.1.is_none()))
    }

    /// Lets `new` stand for the old snapshot.
    pub fn replace_exit(&mut self, old: SnapshotId, new: SnapshotId) {
        self.copied[old.0 as usize] = new;
    }

    /// Emits `node`, whose inputs are new and whose exit is old, in the place of `old`.
    #[inline]
    pub fn emit(&mut self, old: Ref, node: Node) -> Ref {
        let new = self.add(node);
        self.names[old.index()] = new;
        new
    }

    /// Emits `node`, whose inputs are new and whose exit is old, beside what the old nodes become.
    #[inline]
    pub fn add(&mut self, mut node: Node) -> Ref {
        node.exit = self.exit(node.exit);
        self.new.push(node)
    }

    /// Copies `old` with its inputs renamed.
    #[inline]
    pub fn copy(&mut self, old: Ref) -> Ref {
        let node = self.renamed(old);
        self.emit(old, node)
    }

    /// Lets the existing new node `by` stand for `old`.
    #[inline]
    pub fn replace(&mut self, old: Ref, by: Ref) {
        self.names[old.index()] = by;
    }

    /// Adds a `PHI` of this type that is `init`, a new node, on the first pass and becomes what the old node `back` is.
    /// To be called when the old `PHI`s have been handled and before anything else is emitted.
    pub fn carry(&mut self, ty: Type, init: Ref, back: Ref) -> Ref {
        self.back.push(back);
        self.new.push(Node::new(MicroOp::PHI, &[init], &[]).with_type(ty))
    }

    /// Finishes: renames what the loop, if there is one, carries back. To be called when all nodes have been
    /// handled. The `LOOP` node and the `PHI`s must have been copied in order and without anything between; a `PHI` may
    /// have been replaced by a node before it, and all of them and the `LOOP` node left out.
    pub fn finish(mut self) -> Superblock {
        if let Some(old) = &self.old.looping
            && !self.names[old.head.index()].is_none()
        {
            let head = self.names[old.head.index()];
            let entry = self.exit(old.entry);
            let mut back = Vec::with_capacity(self.back.len());
            for (i, &r) in self.back.iter().enumerate() {
                let next = Ref(head.0 + 1 + back.len() as u32);
                if i >= old.back.len() || self.names[old.head.index() + 1 + i] == next {
                    back.push(self.names[r.index()]);
                }
            }
            let name = |r: Ref| self.names[r.index()];
            let named = |c: &Counter| Counter { index: name(c.index), step: name(c.step), count: name(c.count) };
            let mut counters: Vec<Counter> = self.counters.iter().map(named).collect();
            let counts = |c: &Counter| ![c.index, c.step, c.count].contains(&Ref::NONE);
            let mut label = old.label;
            if !counters.iter().all(counts) {
                // Nobody can come back to a loop that relies on what is not known any more.
                label = SnapshotId::NONE;
                counters.clear();
            }
            let label = self.label(label);
            self.new.looping = Some(Loop { head, back, entry, label, counters });
        }
        self.new
    }

    /// Finishes with leaving for the old snapshot `exit`: control does not go beyond what has been emitted. If that
    /// includes the head of the loop, the loop never closes, and what it would carry is what it begins with.
    pub fn leave(mut self, exit: SnapshotId) -> Superblock {
        self.add(Node::new(MicroOp::EXIT, &[], &[]).with_exit(exit));
        let cut = self.new;
        if !cut.nodes.iter().any(|node| node.op == MicroOp::LOOP) {
            return cut;
        }
        let mut straight = Rewriter::new(&cut);
        for (r, node) in cut.iter() {
            match node.op {
                MicroOp::LOOP => {}
                MicroOp::PHI => straight.replace(r, straight.name(node.inputs[0])),
                _ => {
                    straight.copy(r);
                }
            }
        }
        straight.finish()
    }
}
