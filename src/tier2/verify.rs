//! The rules of superblocks, checked.
//!
//! Every pass and every backend may take for granted what is said here; projection and each pass have to keep it.
//!
//! - **Nodes** use values of nodes before them, of types that their inputs accept, and have the type that is declared; `LOAD`,
//!   `PARAM` and `PHI` may have any concrete one. Fields that are not used are empty.
//! - **Operands** name slots, objects and operations that exist and are of the right kind; groups of slots lie in the running
//!   frame or end where an open list does.
//! - **Micro-ops** that only expansions have do not occur: stores to slots, constants by index, jumps.
//! - **Exits**: a node has a snapshot exactly if control can leave at it. Its slots ascend and lie within its frames,
//!   and its values are made before the node.
//! - **Virtual objects** are mentioned by snapshots only, which describe each of them once, with the parts that objects of its
//!   kind have. Snapshots of call-outs, of `LINK` and of `JOIN`, whose values others find, mention none.
//! - **Frames**: the first is the one in which the superblock begins; each other one has a caller before it in the list
//!   and begins above it.
//! - **Order**: `START` is the first node, then come the `PARAM`s, each once. The last node, and no other, is one with
//!   which control leaves for good, and `BACK` exactly if there is a loop.
//! - **The loop**: one `LOOP`, behind it the `PHI`s, and no others anywhere. A `PHI` gets its first value from before the loop;
//!   both its values are of its type, or it is `Tagged`. The values of the entry snapshot are made before the loop.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use perilune_uops::{Exit, FloatFunction, Immediate, MicroOp, Operation, Type};

use super::superblock::*;
use crate::runtime::function::CellState;

#[cfg(test)]
mod tests;

/// Why something is not a superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// The node that breaks the rule, if it is one.
    pub at: Option<Ref>,
    pub rule: Broken,
}

/// A rule that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// There are no nodes, or more than can be named.
    Length,
    /// The micro-op occurs only in expansions.
    OutOfPlace(MicroOp),
    /// The input is not made by a node before this one.
    Undefined(Ref),
    /// The input's node makes no value.
    NoValue(Ref),
    /// The input is of another type than declared.
    InputType {
        input: Ref,
        expected: Type,
        found: Type,
    },
    /// The node is of another type than declared.
    OutputType(Option<Type>),
    /// An input or operand that the micro-op does not have.
    Unused,
    /// The operand of this kind is out of range.
    Operand(Immediate, u64),
    /// The operand names an object of another kind.
    Kind(ObjectId, ObjectKind),
    /// Registers `slot` to `end`, which is not part of them, do not lie in the running frame.
    Group { slot: u64, end: u64 },
    /// Control can leave, and there is no snapshot.
    NoSnapshot,
    /// Control cannot leave, and there is a snapshot.
    Snapshot,
    /// There is no such snapshot.
    UnknownSnapshot(SnapshotId),
    /// The snapshot's frame does not exist.
    UnknownFrame(FrameId),
    /// The slot of the snapshot is not above the one before it.
    Order(Slot),
    /// The slot of the snapshot is in none of its frames.
    Outside(Slot),
    /// The open list of the snapshot ends outside of the frames.
    Top(Slot),
    /// The snapshot's value is not made before this node.
    Unavailable(Slot, Ref),
    /// The snapshot's node makes no value.
    Empty(Slot, Ref),
    /// The virtual object is mentioned by something that is not a snapshot, or by one that must not.
    Mentioned(Ref),
    /// The snapshot describes an object that is not virtual, not at all, twice, or with parts that it cannot have.
    Described(Ref),
    /// The first frame is not one in which a superblock can begin.
    FirstFrame,
    /// The frame does not stand above a caller that comes before it.
    Caller(FrameId),
    /// The frame's function is not a prototype.
    Function(FrameId),
    /// The frame goes beyond the slots that there can be, or wants less than no results.
    Extent(FrameId),
    /// A shape is known of something that cannot be a parameter.
    ParamShape(u32),
    /// `START` is not the first node.
    Start,
    /// A `PARAM` behind other nodes, or for a parameter that has one already.
    Param,
    /// Control goes on behind the last node.
    RunsOff,
    /// Control never comes to what is behind the node.
    Unreachable,
    /// The superblock has a loop and does not end with `BACK`, or the other way round.
    Back,
    /// The loop's head is not a `LOOP`, or the `LOOP` not the loop's head.
    Head,
    /// The number of `PHI`s behind the `LOOP`, and of values carried back.
    Phis { phis: usize, back: usize },
    /// The `PHI` is not behind the `LOOP`.
    StrayPhi,
    /// The value carried back for the `PHI` does not exist or is of another type.
    Carried(Ref),
}

impl Display for VerifyError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "node {at}: ")?;
        }
        self.rule.fmt(f)
    }
}

impl std::error::Error for VerifyError {}

impl Display for Broken {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Broken::Length => f.write_str("the number of nodes is out of range"),
            Broken::OutOfPlace(op) => write!(f, "{op} does not occur in superblocks"),
            Broken::Undefined(r) => write!(f, "{r} is used before it is made"),
            Broken::NoValue(r) => write!(f, "{r} makes no value"),
            Broken::InputType {
                input,
                expected,
                found,
            } => {
                write!(f, "{input} is of type {found}, not {expected}")
            }
            Broken::OutputType(Some(ty)) => write!(f, "the type cannot be {ty}"),
            Broken::OutputType(None) => f.write_str("the type is missing"),
            Broken::Unused => f.write_str("fields that the micro-op does not use are not empty"),
            Broken::Operand(kind, operand) => write!(f, "{kind} operand {operand} is out of range"),
            Broken::Kind(id, kind) => write!(f, "object {id} is of kind {kind}"),
            Broken::Group { slot, end } => {
                write!(f, "slots {slot} to {end} are not in the running frame")
            }
            Broken::NoSnapshot => f.write_str("control can leave without a snapshot"),
            Broken::Snapshot => f.write_str("control cannot leave, but there is a snapshot"),
            Broken::UnknownSnapshot(_) => f.write_str("the snapshot does not exist"),
            Broken::UnknownFrame(id) => write!(f, "frame {id} of the snapshot does not exist"),
            Broken::Order(slot) => write!(f, "slot {slot} of the snapshot is not in order"),
            Broken::Outside(slot) => {
                write!(f, "slot {slot} of the snapshot is outside of its frames")
            }
            Broken::Top(top) => write!(f, "the top {top} of the snapshot is outside of its frames"),
            Broken::Unavailable(slot, r) => {
                write!(
                    f,
                    "{r}, the value of slot {slot} in the snapshot, is made later"
                )
            }
            Broken::Empty(slot, r) => {
                write!(f, "{r}, for slot {slot} in the snapshot, makes no value")
            }
            Broken::Mentioned(r) => write!(f, "{r} is virtual and must not be mentioned"),
            Broken::Described(r) => {
                write!(f, "{r} is not described once, as what is virtual has to be")
            }
            Broken::FirstFrame => {
                f.write_str("the first frame has a caller, another base than 1, or is missing")
            }
            Broken::Caller(id) => write!(f, "frame {id} does not stand above a caller before it"),
            Broken::Function(id) => write!(f, "the function of frame {id} is not a prototype"),
            Broken::Extent(id) => {
                write!(f, "the registers or results of frame {id} are out of range")
            }
            Broken::ParamShape(i) => {
                write!(f, "parameter {i} cannot have the shape that is known of it")
            }
            Broken::Start => f.write_str("START is not the first node"),
            Broken::Param => f.write_str("the PARAM is behind other nodes or occurs twice"),
            Broken::RunsOff => f.write_str("control goes on behind the last node"),
            Broken::Unreachable => f.write_str("control never comes to what is behind the node"),
            Broken::Back => f.write_str("BACK is the last node exactly if there is a loop"),
            Broken::Head => f.write_str("there is one LOOP, the head of the loop"),
            Broken::Phis { phis, back } => {
                write!(f, "{back} values are carried back for {phis} PHIs")
            }
            Broken::StrayPhi => f.write_str("the PHI is not behind the LOOP"),
            Broken::Carried(r) => write!(f, "{r} cannot be carried back for the PHI"),
        }
    }
}

type Checked = Result<(), VerifyError>;

/// Fails with a broken rule that is not a node's unless `holds`.
fn ensure(holds: bool, rule: Broken) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(VerifyError { at: None, rule })
    }
}

/// Fails with a rule that the node at `at` breaks unless `holds`.
fn ensure_at(at: Ref, holds: bool, rule: Broken) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(VerifyError { at: Some(at), rule })
    }
}

/// Checks all rules.
pub fn verify(block: &Superblock) -> Checked {
    ensure(
        (1..u32::MAX as usize).contains(&block.nodes.len()),
        Broken::Length,
    )?;
    let verifier = Verifier {
        block,
        slots: block.slot_count() as u64,
    };
    verifier.frames()?;
    verifier.param_shapes()?;
    for (at, node) in block.iter() {
        verifier.node(at, node)?;
    }
    verifier.params()?;
    verifier.end()?;
    verifier.looping()
}

struct Verifier<'a> {
    block: &'a Superblock,
    /// Slots that there are.
    slots: u64,
}

impl Verifier<'_> {
    fn frames(&self) -> Checked {
        let first = self.block.frames.first();
        let begins = first.is_some_and(|f| f.caller.is_none() && f.base == 1);
        ensure(
            begins && self.block.frames.len() <= u16::MAX as usize,
            Broken::FirstFrame,
        )?;
        for (i, frame) in self.block.frames.iter().enumerate() {
            let id = FrameId(i as u16);
            let above = match frame.caller {
                Some(caller) => caller.0 < id.0 && frame.base > self.block.frame(caller).base,
                None => i == 0,
            };
            ensure(above, Broken::Caller(id))?;
            let end = frame.base as u32 + frame.registers as u32;
            ensure(
                end <= Slot::MAX as u32 && frame.wanted >= -1,
                Broken::Extent(id),
            )?;
            let kind = self
                .block
                .objects
                .get(frame.proto.0 as usize)
                .map(|o| o.kind);
            ensure(kind == Some(ObjectKind::Proto), Broken::Function(id))?;
        }
        Ok(())
    }

    fn param_shapes(&self) -> Checked {
        for &(param, shape) in &self.block.param_shapes {
            let possible = param <= Slot::MAX as u32 && shape != 0;
            let index =
                |node: &&Node| node.op == MicroOp::PARAM && node.operands[0] == param as u64;
            let ty = self.block.nodes.iter().find(index).and_then(|node| node.ty);
            let table = ty.is_none_or(|ty| ty == Type::Table || ty == Type::Tagged);
            ensure(possible && table, Broken::ParamShape(param))?;
        }
        Ok(())
    }

    fn node(&self, at: Ref, node: &Node) -> Checked {
        let check = |holds, rule| ensure_at(at, holds, rule);
        check(node.op.is_in_superblocks(), Broken::OutOfPlace(node.op))?;
        self.inputs(at, node)?;
        let typed = if node.op.has_own_type() {
            node.ty.is_some_and(Type::is_concrete)
        } else {
            node.ty == node.op.declaration().output
        };
        check(typed, Broken::OutputType(node.ty))?;
        let spare_inputs = node.inputs[node.inputs().len()..]
            .iter()
            .all(|r| r.is_none());
        let spare_operands = node.operands[node.operands().len()..]
            .iter()
            .all(|o| *o == 0);
        check(spare_inputs && spare_operands, Broken::Unused)?;
        self.exit(at, node)?;
        self.operands(at, node)?;
        check(node.op != MicroOp::START || at.0 == 0, Broken::Start)
    }

    fn inputs(&self, at: Ref, node: &Node) -> Checked {
        for (&input, &expected) in node.inputs().iter().zip(node.op.declaration().inputs) {
            ensure_at(at, input < at, Broken::Undefined(input))?;
            let Some(found) = self.block.node(input).ty else {
                return ensure_at(at, false, Broken::NoValue(input));
            };
            let virtual_input = is_virtual(self.block.node(input).op);
            ensure_at(at, !virtual_input, Broken::Mentioned(input))?;
            let accepted = expected.accepts(found);
            ensure_at(
                at,
                accepted,
                Broken::InputType {
                    input,
                    expected,
                    found,
                },
            )?;
        }
        Ok(())
    }

    fn exit(&self, at: Ref, node: &Node) -> Checked {
        let leaves = node.exit_kind() != Exit::None && node.op != MicroOp::BACK;
        ensure_at(at, !leaves || !node.exit.is_none(), Broken::NoSnapshot)?;
        ensure_at(at, leaves || node.exit.is_none(), Broken::Snapshot)?;
        if !leaves {
            return Ok(());
        }
        self.snapshot(at, node.exit)?;
        let stored = node.is_call_out() || matches!(node.op, MicroOp::LINK | MicroOp::JOIN);
        match self.block.virtual_objects(node.exit).next() {
            Some(object) if stored => ensure_at(at, false, Broken::Mentioned(object.object)),
            _ => Ok(()),
        }
    }

    /// The virtual objects of a snapshot for which control leaves at `at`.
    fn virtual_objects(&self, at: Ref, id: SnapshotId) -> Checked {
        let is_virtual = |r: Ref| is_virtual(self.block.node(r).op);
        for &(slot, value) in self.block.values_of(id) {
            ensure_at(at, value < at, Broken::Unavailable(slot, value))?;
            ensure_at(
                at,
                self.block.node(value).ty.is_some(),
                Broken::Empty(slot, value),
            )?;
            let mut objects = self.block.virtual_objects(id);
            let described = !is_virtual(value) || objects.any(|object| object.object == value);
            ensure_at(at, described, Broken::Described(value))?;
        }
        for (i, object) in self.block.virtual_objects(id).enumerate() {
            let described = Broken::Described(object.object);
            let known = object.object < at && is_virtual(object.object);
            let mut others = self.block.virtual_objects(id).skip(i + 1);
            let once = others.all(|other| other.object != object.object);
            ensure_at(at, known && once, described)?;
            ensure_at(at, self.has_parts(&object), described)?;
        }
        Ok(())
    }

    /// Whether a virtual object is described as what it is.
    fn has_parts(&self, object: &Described) -> bool {
        let node = self.block.node(object.object);
        let mut seen = HashSet::new();
        let types = object.values.iter().map(|v| self.block.node(v.1).ty);
        let mut parts = object.parts.iter().zip(types);
        match node.op {
            MicroOp::VIRTUAL_TABLE => {
                let mut elements = 0;
                object.header != 0
                    && parts.all(|(part, ty)| {
                        let possible = match part {
                            Part::Metatable => ty == Some(Type::Table),
                            Part::Element(i) => {
                                elements += 1;
                                *i == elements && *i as u64 <= node.operands[0]
                            }
                            Part::Slot(_) => true,
                            Part::Captured(_) | Part::Content => false,
                        };
                        possible && seen.insert(part)
                    })
            }
            MicroOp::VIRTUAL_CLOSURE => parts.enumerate().all(|(i, (part, ty))| {
                *part == Part::Captured(i as u8) && ty == Some(Type::Cell)
            }),
            _ => {
                let state = object.header <= CellState::Mutable as u32;
                state && object.parts.len() <= 1 && parts.all(|(part, _)| *part == Part::Content)
            }
        }
    }

    /// The snapshot when control leaves at `at`.
    fn snapshot(&self, at: Ref, id: SnapshotId) -> Checked {
        let check = |holds, rule| ensure_at(at, holds, rule);
        check(
            (id.0 as usize) < self.block.snapshots.len(),
            Broken::UnknownSnapshot(id),
        )?;
        let Snapshot { frame, top, .. } = *self.block.snapshot_at(id);
        check(
            (frame.0 as usize) < self.block.frames.len(),
            Broken::UnknownFrame(frame),
        )?;
        if let Some(top) = top {
            let from = self.block.frame(frame).base;
            check(top >= from && top as u64 <= self.slots, Broken::Top(top))?;
        }
        let end = self.end_of(id);
        let mut next = 0;
        for &(slot, _) in self.block.slots_of(id) {
            check(slot as u64 >= next, Broken::Order(slot))?;
            next = slot as u64 + 1;
            // What `JOIN` gives the loop goes beyond slots.
            let given = self.block.node(at).op == MicroOp::JOIN && slot >= POSITIONS;
            check(next <= end || given, Broken::Outside(slot))?;
        }
        self.virtual_objects(at, id)
    }

    /// The end of the slots that the frames of a snapshot use.
    fn end_of(&self, id: SnapshotId) -> u64 {
        let Snapshot { frame, top, .. } = *self.block.snapshot_at(id);
        let ends = self.block.chain(frame).map(|id| {
            let frame = self.block.frame(id);
            frame.base as u64 + frame.registers as u64
        });
        ends.chain(top.map(|top| top as u64)).max().unwrap_or(0)
    }

    /// The operands of a node whose exit has been checked.
    fn operands(&self, at: Ref, node: &Node) -> Checked {
        for (i, &kind) in node.op.declaration().operands.iter().enumerate() {
            let operand = node.operands[i];
            match kind {
                Immediate::Use | Immediate::Def if node.exit.is_none() => {
                    ensure_at(at, operand < self.slots, Broken::Operand(kind, operand))?;
                }
                Immediate::Use | Immediate::Def => self.group(at, node, operand, Some(1))?,
                Immediate::Group => self.group(at, node, operand, group_length(node))?,
                Immediate::Object | Immediate::Proto => self.object(at, node.op, kind, operand)?,
                _ => ensure_at(
                    at,
                    in_range(node.op, kind, operand),
                    Broken::Operand(kind, operand),
                )?,
            }
        }
        Ok(())
    }

    /// `length` slots from `slot` on lie in the running frame of the node's snapshot, or end where its open list does.
    fn group(&self, at: Ref, node: &Node, slot: u64, length: Option<u64>) -> Checked {
        let snapshot = self.block.snapshot_at(node.exit);
        let frame = self.block.frame(snapshot.frame);
        let registers = frame.base as u64 + frame.registers as u64;
        let limit = snapshot
            .top
            .map_or(registers, |top| registers.max(top as u64));
        let end = length
            .and_then(|length| slot.checked_add(length))
            .unwrap_or(u64::MAX);
        let inside = slot >= frame.base as u64 && end <= limit;
        ensure_at(at, inside, Broken::Group { slot, end })
    }

    fn object(&self, at: Ref, op: MicroOp, immediate: Immediate, operand: u64) -> Checked {
        let found = usize::try_from(operand)
            .ok()
            .and_then(|i| self.block.objects.get(i));
        let Some(Object { kind, .. }) = found else {
            return ensure_at(at, false, Broken::Operand(immediate, operand));
        };
        let fits = match (immediate, op) {
            (Immediate::Proto, _) => *kind == ObjectKind::Proto,
            (_, MicroOp::LOAD_HOLDER | MicroOp::GUARD_METATABLE) => *kind == ObjectKind::Table,
            (_, MicroOp::GUARD_OBJECT) => *kind != ObjectKind::Proto,
            _ => kind.constant().is_some_and(|(constant, _)| constant == op),
        };
        ensure_at(at, fits, Broken::Kind(ObjectId(operand as u32), *kind))
    }

    fn params(&self) -> Checked {
        let mut before = true;
        let mut seen = HashSet::new();
        for (at, node) in self.block.iter() {
            match node.op {
                MicroOp::START => {}
                MicroOp::PARAM => {
                    ensure_at(at, before && seen.insert(node.operands[0]), Broken::Param)?
                }
                _ => before = false,
            }
        }
        Ok(())
    }

    fn end(&self) -> Checked {
        let last = Ref(self.block.nodes.len() as u32 - 1);
        for (at, node) in self.block.iter() {
            ensure_at(at, at == last || !node.op.ends(), Broken::Unreachable)?;
        }
        let op = self.block.node(last).op;
        ensure_at(last, op.ends(), Broken::RunsOff)?;
        let looping = self.block.looping.is_some();
        ensure_at(last, looping == (op == MicroOp::BACK), Broken::Back)
    }

    fn looping(&self) -> Checked {
        let head = self.block.looping.as_ref().map(|l| l.head);
        let phis = self.phis_behind(head);
        for (at, node) in self.block.iter() {
            ensure_at(
                at,
                node.op != MicroOp::LOOP || head == Some(at),
                Broken::Head,
            )?;
            let stray = node.op == MicroOp::PHI && !phis.contains(&at.index());
            ensure_at(at, !stray, Broken::StrayPhi)?;
        }
        let Some(looping) = &self.block.looping else {
            return Ok(());
        };
        let head = looping.head;
        let op = self.block.nodes.get(head.index()).map(|node| node.op);
        ensure(op == Some(MicroOp::LOOP), Broken::Head)?;
        let counts = Broken::Phis {
            phis: phis.len(),
            back: looping.back.len(),
        };
        ensure_at(head, phis.len() == looping.back.len(), counts)?;
        self.snapshot(head, looping.entry)?;
        for (phi, &back) in phis.zip(&looping.back) {
            self.phi(Ref(phi as u32), head, back)?;
        }
        Ok(())
    }

    /// The positions of the `PHI`s behind the head of the loop.
    fn phis_behind(&self, head: Option<Ref>) -> std::ops::Range<usize> {
        let nodes = &self.block.nodes;
        let Some(first) = head
            .map(|head| head.index() + 1)
            .filter(|first| *first <= nodes.len())
        else {
            return 0..0;
        };
        let phis = nodes[first..]
            .iter()
            .take_while(|node| node.op == MicroOp::PHI)
            .count();
        first..first + phis
    }

    fn phi(&self, at: Ref, head: Ref, back: Ref) -> Checked {
        let node = self.block.node(at);
        let ty = node.ty.unwrap_or(Type::Tagged);
        let takes = |value| ty == Type::Tagged || ty == value;
        let carried = self.block.nodes.get(back.index());
        let carries_virtual = carried.is_some_and(|node| is_virtual(node.op));
        ensure_at(at, !carries_virtual, Broken::Mentioned(back))?;
        let first = node.inputs[0];
        ensure_at(at, first < head, Broken::Undefined(first))?;
        let found = self.block.type_of(first);
        ensure_at(
            at,
            takes(found),
            Broken::InputType {
                input: first,
                expected: ty,
                found,
            },
        )?;
        let carried = self.block.nodes.get(back.index()).and_then(|node| node.ty);
        ensure_at(at, carried.is_some_and(takes), Broken::Carried(back))
    }
}

/// The slots that a micro-op with a group takes or fills, as far as they are known before it runs.
fn group_length(node: &Node) -> Option<u64> {
    let count = node.operands[1];
    Some(match node.op {
        MicroOp::GET_METHOD => 2,
        MicroOp::FOR_PREPARE => 4,
        MicroOp::GUARD_ROOM | MicroOp::CLOSE => 1,
        // At least one value.
        MicroOp::CONCAT | MicroOp::CONCAT_S | MicroOp::GUARD_STRINGS if count == 0 => return None,
        MicroOp::CONCAT | MicroOp::CONCAT_S | MicroOp::GUARD_STRINGS => count,
        // The table, then the elements; if they are an open list, how many is not known.
        MicroOp::SET_LIST => count.checked_add(1)?,
        // A function and one less than `count` arguments; one less than the other count results.
        MicroOp::CALL_LEAF | MicroOp::CALL_TABLE if count == 0 => return None,
        MicroOp::CALL
        | MicroOp::CALL_NATIVE
        | MicroOp::SWITCH
        | MicroOp::CALL_LEAF
        | MicroOp::CALL_TABLE => {
            count.max(node.operands[2].saturating_sub(1)).max(1)
        }
        MicroOp::TAIL_CALL | MicroOp::PUSH_FRAME | MicroOp::REPLACE_FRAME => count.max(1),
        // Values only.
        _ => count.saturating_sub(1),
    })
}

/// Whether an operand that names neither a slot nor an object can be what it is.
fn in_range(op: MicroOp, kind: Immediate, operand: u64) -> bool {
    match kind {
        Immediate::Int if op == MicroOp::PARAM => operand <= Slot::MAX as u64,
        Immediate::Int | Immediate::Float => true,
        Immediate::Flag => operand <= 1,
        Immediate::Operation => Operation::from_operand(operand)
            .is_some_and(|operation| operation.is_comparison() == (op == MicroOp::COMPARE)),
        Immediate::Function => FloatFunction::from_operand(operand)
            .is_some_and(|function| function.arity() == op.declaration().inputs.len()),
        Immediate::ArrayKind | Immediate::Captured => operand <= u8::MAX as u64,
        Immediate::Count | Immediate::Constant | Immediate::Nested => operand <= u16::MAX as u64,
        Immediate::Shape => operand != 0 && operand <= u32::MAX as u64,
        _ => operand <= u32::MAX as u64,
    }
}
