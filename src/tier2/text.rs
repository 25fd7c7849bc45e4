//! The text form of superblocks.
//!
//! ```text
//! object o0: Proto 0x1000
//! frame f0: o0 base 1 registers 6
//! v0 = LOAD [4]
//! s0: pc 3 [4=v0]
//! v1 = GUARD_INT v0 exit s0
//! v2 = CONST_INT 1
//! LOOP entry s0
//! v4 = PHI v1: Int back v5
//! v5 = ADD_I v4 v2
//! s1: pc 4 [4=v5]
//! POLL exit s1
//! BACK
//! ```
//!
//! A line is an object, a frame, what is known of a parameter (`param 0 shape 17`), a snapshot or a node; `#` begins a
//! comment. Of a node come first the immediate operands (registers in brackets, slots of shapes as `payload:tag`), then
//! the inputs, then its type unless it is the declared one, then for a `PHI` what is carried back and for the `LOOP` the
//! entry snapshot, then the exit. The frame of a snapshot is the first one unless it is named; the defaults of frames are
//! left out. An exit may also be written in place: `exit pc 3 [4=v0]`.
//!
//! Written, a node has the name of its position (so there is no `v3` above), and a snapshot that of its place in the
//! order of first use. Read, names may be any words that are not ones of the form itself. Invariant: whatever
//! superblock is written and can be read gives an equal one but for the numbers of snapshots and those not used; only
//! what is missing (written `?`) and references to what does not exist cannot be read. Reading, which only tests
//! and tools do, checks the form; the rules are checked by
//! [`verify`](super::verify).

use std::fmt::{self, Display, Formatter};

use perilune_uops::{FloatFunction, Immediate, MicroOp, Operation};

use super::superblock::*;
use crate::runtime::array::ArrayKind;
use crate::runtime::coroutine::Continuation;

#[cfg(any(test, feature = "internals"))]
mod check;
#[cfg(any(test, feature = "internals"))]
mod parse;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "internals"))]
pub use check::check;
#[cfg(feature = "internals")]
pub use parse::ParseError;

/// Kinds of arrays that have names; the others are written as numbers.
const ARRAY_KINDS: [(ArrayKind, &str); 5] = [
    (ArrayKind::EMPTY, "empty"),
    (ArrayKind::INT, "int"),
    (ArrayKind::FLOAT, "float"),
    (ArrayKind::PACKED, "packed"),
    (ArrayKind::ANY, "any"),
];

impl Display for Ref {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.is_none() {
            f.write_str("?")
        } else {
            write!(f, "v{}", self.0)
        }
    }
}

impl Display for FrameId {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

impl Display for ObjectId {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "o{}", self.0)
    }
}

impl Display for ObjectKind {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} {:#x}", self.kind, self.addr)
    }
}

impl Display for Frame {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(
            f,
            "{} base {} registers {}",
            self.proto, self.base, self.registers
        )?;
        if let Some(caller) = self.caller {
            write!(f, " caller {caller}")?;
        }
        if self.return_pc != 0 {
            write!(f, " return {}", self.return_pc)?;
        }
        if self.call_site != NO_CALL_SITE {
            write!(f, " site {}", self.call_site)?;
        }
        if self.wanted != 0 {
            write!(f, " wanted {}", self.wanted)?;
        }
        if self.continuation != Continuation::Call {
            write!(f, " continuation {:?}", self.continuation)?;
        }
        if self.flags != 0 {
            write!(f, " flags {}", self.flags)?;
        }
        if self.extra_args != 0 {
            write!(f, " extra {}", self.extra_args)?;
        }
        if self.result != 0 {
            write!(f, " result {}", self.result)?;
        }
        if self.aux != 0 {
            write!(f, " aux {}", self.aux)?;
        }
        Ok(())
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Part::Metatable => f.write_str("metatable"),
            Part::Slot(slot) => {
                let slot = slot_offsets(*slot as u64);
                write!(f, "{}:{}", slot.payload, slot.tag)
            }
            Part::Element(i) => write!(f, "element {i}"),
            Part::Captured(i) => write!(f, "captured {i}"),
            Part::Content => f.write_str("content"),
        }
    }
}

/// The names of a superblock's snapshots: numbers in the order of their first use.
pub struct Names(Vec<Option<u32>>);

/// A snapshot's name.
pub struct SnapshotName(Option<u32>);

impl Display for SnapshotName {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "s{number}"),
            None => f.write_str("?"),
        }
    }
}

impl Names {
    pub fn name(&self, id: SnapshotId) -> SnapshotName {
        SnapshotName(self.0.get(id.0 as usize).copied().flatten())
    }

    /// Gives a snapshot that exists and has no number yet the next one.
    fn assign(&mut self, id: SnapshotId, next: &mut u32) {
        if let Some(number @ None) = self.0.get_mut(id.0 as usize) {
            *number = Some(*next);
            *next += 1;
        }
    }
}

/// A node as the text form has it.
pub struct NodeText<'a> {
    sb: &'a Superblock,
    node: Ref,
    names: &'a Names,
}

impl Display for NodeText<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let node = self.sb.node(self.node);
        self.sb.write_node(f, self.node, node, self.names)
    }
}

impl Superblock {
    /// The names of its snapshots in the text form.
    pub fn names(&self) -> Names {
        let mut names = Names(vec![None; self.snapshots.len()]);
        let mut next = 0;
        for (r, _) in self.iter() {
            self.snapshots_at(r)
                .for_each(|id| names.assign(id, &mut next));
        }
        names
    }

    /// A node as the text form has it.
    pub fn node_text<'a>(&'a self, node: Ref, names: &'a Names) -> NodeText<'a> {
        NodeText {
            sb: self,
            node,
            names,
        }
    }

    /// The snapshots that a node names, in order.
    fn snapshots_at(&self, r: Ref) -> impl Iterator<Item = SnapshotId> {
        let node = self.node(r);
        let entry = self.entry_at(r).filter(|_| node.op == MicroOp::LOOP);
        entry.into_iter().chain([node.exit])
    }

    fn write_snapshot(&self, f: &mut Formatter, id: SnapshotId) -> fmt::Result {
        let snapshot = self.snapshot_at(id);
        if snapshot.frame != FrameId(0) {
            write!(f, "{} ", snapshot.frame)?;
        }
        write!(f, "pc {}", snapshot.pc)?;
        if let Some(top) = snapshot.top {
            write!(f, " top {top}")?;
        }
        f.write_str(" [")?;
        for (i, (slot, value)) in self.slots_of(id).iter().enumerate() {
            let separator = if i > 0 { " " } else { "" };
            write!(f, "{separator}{slot}={value}")?;
        }
        f.write_str("]")?;
        for (i, object) in self.virtual_objects(id).enumerate() {
            let word = if i == 0 { " with" } else { "" };
            write!(f, "{word} {} {} [", object.object, object.header)?;
            for (i, (part, (_, value))) in object.parts.iter().zip(object.values).enumerate() {
                let separator = if i > 0 { " " } else { "" };
                write!(f, "{separator}{part}={value}")?;
            }
            f.write_str("]")?;
        }
        Ok(())
    }

    /// What `r`, if it is a `PHI` of the loop, becomes.
    fn back_of(&self, r: Ref) -> Option<Ref> {
        let looping = self.looping.as_ref()?;
        let i = r.0.checked_sub(looping.head.0)?.checked_sub(1)?;
        looping.back.get(i as usize).copied()
    }

    /// The entry snapshot if `r` is the head of the loop.
    fn entry_at(&self, r: Ref) -> Option<SnapshotId> {
        let looping = self.looping.as_ref()?;
        (looping.head == r).then_some(looping.entry)
    }

    fn write_node(&self, f: &mut Formatter, r: Ref, node: &Node, names: &Names) -> fmt::Result {
        let declaration = node.op.declaration();
        if node.ty.or(declaration.output).is_some() {
            write!(f, "{r} = ")?;
        }
        write!(f, "{}", node.op)?;
        for (&kind, &operand) in declaration.operands.iter().zip(node.operands()) {
            f.write_str(" ")?;
            write_operand(f, kind, operand)?;
        }
        for input in node.inputs() {
            write!(f, " {input}")?;
        }
        if node.ty != declaration.output {
            match node.ty {
                Some(ty) => write!(f, ": {ty}")?,
                None => f.write_str(": ?")?,
            }
        }
        if node.op == MicroOp::PHI
            && let Some(back) = self.back_of(r)
        {
            write!(f, " back {back}")?;
        }
        if node.op == MicroOp::LOOP
            && let Some(entry) = self.entry_at(r)
        {
            write!(f, " entry {}", names.name(entry))?;
        }
        if !node.exit.is_none() {
            write!(f, " exit {}", names.name(node.exit))?;
        }
        Ok(())
    }
}

fn write_operand(f: &mut Formatter, kind: Immediate, operand: u64) -> fmt::Result {
    match kind {
        Immediate::Use | Immediate::Def | Immediate::Group => write!(f, "[{operand}]"),
        Immediate::Int => write!(f, "{}", operand as i64),
        Immediate::Float => write_float(f, operand),
        Immediate::Flag if operand <= 1 => write!(f, "{}", operand == 1),
        Immediate::Object | Immediate::Proto => write!(f, "o{operand}"),
        Immediate::Slot if operand >> 32 == 0 => {
            let slot = slot_offsets(operand);
            write!(f, "{}:{}", slot.payload, slot.tag)
        }
        Immediate::Operation => match Operation::from_operand(operand) {
            Some(operation) => write!(f, "{operation}"),
            None => write!(f, "{operand}"),
        },
        Immediate::Function => match FloatFunction::from_operand(operand) {
            Some(function) => write!(f, "{function}"),
            None => write!(f, "{operand}"),
        },
        Immediate::ArrayKind => match ARRAY_KINDS.iter().find(|k| k.0.0 as u64 == operand) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{operand}"),
        },
        _ => write!(f, "{operand}"),
    }
}

/// Writes a float so that it is read back exactly.
fn write_float(f: &mut Formatter, bits: u64) -> fmt::Result {
    let value = f64::from_bits(bits);
    if value.is_nan() {
        write!(f, "{bits:#x}")
    } else {
        write!(f, "{value:?}")
    }
}

impl Display for Superblock {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        for (i, object) in self.objects.iter().enumerate() {
            writeln!(f, "object {}: {object}", ObjectId(i as u32))?;
        }
        for (i, frame) in self.frames.iter().enumerate() {
            writeln!(f, "frame {}: {frame}", FrameId(i as u16))?;
        }
        for (param, shape) in &self.param_shapes {
            writeln!(f, "param {param} shape {shape}")?;
        }
        if self.keeps_bounds {
            writeln!(f, "keep bounds")?;
        }
        let names = self.names();
        let mut written = 0;
        for (r, _) in self.iter() {
            for id in self.snapshots_at(r) {
                // It is written where it is used first.
                let name = names.name(id);
                if name.0 == Some(written) {
                    written += 1;
                    write!(f, "{name}: ")?;
                    self.write_snapshot(f, id)?;
                    writeln!(f)?;
                }
            }
            writeln!(f, "{}", self.node_text(r, &names))?;
        }
        Ok(())
    }
}
