//! Which memory accesses can meet: what the passes that move, forward or drop them ask.
//!
//! Everything here is about the old superblock of a pass and is computed in one walk over it. Two values may be the same
//! object unless one of these says that they are not: their constants differ; one of them is a fresh
//! object, and the other one was made before it, or before it became reachable; both are tables of known and different
//! shapes. Slots of the object part are told apart by their offsets, elements by their indices, which are a node
//! plus a constant.
//!
//! The invariant: a fact is about one execution of the nodes. What holds of a node in one pass of the loop says nothing
//! about the next one; [`Aliases::in_loop`] gives the nodes whose effects must be taken into account at its head.

use perilune_uops::{Memory, MemorySet, MicroOp, Type};

use crate::tier2::superblock::{is_constant, Node, Ref, Superblock, slot_offsets};

/// No shape is known.
const UNKNOWN: u32 = u32::MAX;

/// Aspects of a table's header, which change independently of each other.
mod header {
    pub const SHAPE: u8 = 1;
    pub const METATABLE: u8 = 2;
    /// The number of elements may grow.
    pub const GROWS: u8 = 4;
    /// The number of elements may shrink, the array's kind and the blocks may change.
    pub const ARRAY: u8 = 8;
}

/// See the module's documentation.
pub struct Aliases<'a> {
    sb: &'a Superblock,
    /// For each node the one that made its value: type guards do not make any.
    origin: Vec<Ref>,
    /// For each node that makes a fresh object the position at which others may get hold of it.
    escape: Vec<u32>,
    /// For each node the shape known of its first input when it runs.
    shape: Vec<u32>,
    /// For each node a number that changes where tables may change their shapes otherwise than by `SET_SHAPE`.
    epoch: Vec<u32>,
    /// The `SET_SHAPE`s.
    changes: Vec<Ref>,
    /// The nodes of the loop that may change memory.
    writers: Vec<Ref>,
}

/// Whether two accesses are of the same place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meet {
    Never,
    Maybe,
    Always,
}

impl Meet {
    fn and(self, other: Meet) -> Meet {
        match (self, other) {
            (Meet::Never, _) | (_, Meet::Never) => Meet::Never,
            (Meet::Always, Meet::Always) => Meet::Always,
            _ => Meet::Maybe,
        }
    }
}

/// Whether a node makes an object that nothing else refers to.
pub fn is_fresh(op: MicroOp) -> bool {
    use MicroOp::*;
    matches!(
        op,
        NEW_TABLE | ALLOCATE_TABLE | NEW_CELL | NEW_EMPTY_CELL | ALLOCATE_CLOSURE | NEW_CLOSURE
    )
}

/// Whether a node is its input, of a known type.
pub fn is_type_guard(op: MicroOp) -> bool {
    use MicroOp::*;
    matches!(
        op,
        GUARD_INT
            | GUARD_FLOAT
            | GUARD_BOOL
            | GUARD_STRING
            | GUARD_TABLE
            | GUARD_CLOSURE
            | GUARD_NATIVE
            | GUARD_CELL
            | GUARD_USERDATA
            | GUARD_COROUTINE
    )
}

/// What a node accesses, if it is a plain access to one place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Inline,
    Overflow,
    Holder,
    Element,
    Cell,
    Captured,
}

impl Place {
    /// The memory that it is in.
    fn memory(self) -> MemorySet {
        MemorySet::of(&[match self {
            Place::Inline | Place::Overflow | Place::Holder => Memory::Field,
            Place::Element => Memory::Element,
            Place::Cell => Memory::Cell,
            Place::Captured => Memory::Captured,
        }])
    }
}

fn place(op: MicroOp) -> Option<Place> {
    use MicroOp::*;
    Some(match op {
        LOAD_INLINE | STORE_INLINE => Place::Inline,
        LOAD_OVERFLOW | STORE_OVERFLOW => Place::Overflow,
        LOAD_HOLDER => Place::Holder,
        LOAD_ELEMENT | LOAD_ELEMENT_I | LOAD_ELEMENT_F | TEST_ELEMENT | STORE_ELEMENT
        | REPLACE_ELEMENT | INIT_ELEMENT => Place::Element,
        LOAD_CELL | SET_CELL | STORE_CELL | NEW_CELL => Place::Cell,
        LOAD_CAPTURED | INIT_CAPTURED => Place::Captured,
        _ => return None,
    })
}

/// Whether a node makes the value that is in one place, which it names.
pub fn is_plain_load(op: MicroOp) -> bool {
    place(op).is_some() && op.declaration().effects.is_none() && op != MicroOp::TEST_ELEMENT
}

/// The value that a node leaves in the one place that it names.
pub fn stored(node: &Node) -> Option<Ref> {
    use MicroOp::*;
    match node.op {
        STORE_INLINE | STORE_OVERFLOW | SET_CELL | STORE_CELL | INIT_CAPTURED => {
            Some(node.inputs[1])
        }
        STORE_ELEMENT | REPLACE_ELEMENT | INIT_ELEMENT => Some(node.inputs[2]),
        NEW_CELL => Some(node.inputs[0]),
        _ => None,
    }
}

impl<'a> Aliases<'a> {
    pub fn new(sb: &'a Superblock) -> Aliases<'a> {
        let n = sb.nodes.len();
        let mut aliases = Aliases {
            sb,
            origin: (0..n as u32).map(Ref).collect(),
            escape: vec![u32::MAX; n],
            shape: vec![UNKNOWN; n],
            epoch: vec![0; n],
            changes: Vec::new(),
            writers: Vec::new(),
        };
        let writes = |node: &Node| !node.effects().writes.is_empty() || node.is_call_out();
        aliases.writers = aliases.in_loop().filter(|&r| writes(sb.node(r))).collect();
        for (r, node) in sb.iter() {
            if is_type_guard(node.op) {
                aliases.origin[r.index()] = aliases.origin[node.inputs[0].index()];
            }
        }
        aliases.find_escapes();
        aliases.find_shapes();
        aliases
    }

    /// The node that made the value.
    pub fn origin(&self, r: Ref) -> Ref {
        self.origin[r.index()]
    }

    /// Whether anything in the loop may change what `reader` does; see [`Aliases::clobbers`].
    pub fn clobbered_in_loop(&self, reader: Ref) -> bool {
        self.writers
            .iter()
            .any(|&writer| self.clobbers(writer, reader))
    }

    /// The nodes of the loop that may change memory.
    pub fn writers_in_loop(&self) -> &[Ref] {
        &self.writers
    }

    /// The nodes of the loop.
    pub fn in_loop(&self) -> impl Iterator<Item = Ref> + use<> {
        let first = self
            .sb
            .looping
            .as_ref()
            .map_or(self.sb.nodes.len(), |l| l.head.index());
        (first as u32..self.sb.nodes.len() as u32).map(Ref)
    }

    fn find_escapes(&mut self) {
        let fresh: Vec<Ref> = self
            .sb
            .iter()
            .filter(|(_, n)| is_fresh(n.op))
            .map(|(r, _)| r)
            .collect();
        if fresh.is_empty() {
            return;
        }
        let head = self.sb.looping.as_ref().map(|l| l.head);
        let mut escapes = |origin: &[Ref], r: Ref, at: u32| {
            let r = origin[r.index()];
            let at = match head {
                // The pass after this one begins with the object known elsewhere.
                Some(head) if r < head && at > head.0 => head.0,
                _ => at,
            };
            let escape = &mut self.escape[r.index()];
            *escape = at.min(*escape);
        };
        for (r, node) in self.sb.iter() {
            use MicroOp::*;
            // An object gets known by being stored, and by a second name that is not traced.
            let first = match node.op {
                STORE_INLINE | STORE_OVERFLOW | SET_CELL | STORE_CELL | INIT_CAPTURED
                | SET_METATABLE => 1,
                STORE_ELEMENT | REPLACE_ELEMENT | INIT_ELEMENT => 2,
                NEW_CELL | RAW_SET | PHI | RAISE => 0,
                _ if node.is_call_out() => {
                    for &(_, value) in self.sb.slots_of(node.exit) {
                        escapes(&self.origin, value, r.0);
                    }
                    0
                }
                _ => continue,
            };
            for &input in &node.inputs()[first..] {
                escapes(&self.origin, input, r.0);
            }
        }
        if let Some(l) = &self.sb.looping {
            for &back in &l.back {
                escapes(&self.origin, back, self.sb.nodes.len() as u32);
            }
        }
    }

    fn find_shapes(&mut self) {
        let sb = self.sb;
        let mut known: Vec<(Ref, u32)> = Vec::new();
        for &(param, shape) in &sb.param_shapes {
            let of =
                |(_, n): &(Ref, &Node)| n.op == MicroOp::PARAM && n.operands[0] == param as u64;
            if let Some((r, _)) = sb
                .iter()
                .take_while(|(_, n)| n.op == MicroOp::PARAM)
                .find(of)
            {
                known.push((r, shape));
            }
        }
        let mut epoch = 0;
        for (r, node) in sb.iter() {
            let subject = node.inputs().first().map(|&t| self.origin(t));
            if let Some(subject) = subject
                && let Some(&(_, shape)) = known.iter().find(|k| k.0 == subject)
            {
                self.shape[r.index()] = shape;
            }
            self.epoch[r.index()] = epoch;
            let changes = header_writes(node) & header::SHAPE != 0;
            match (node.op, subject) {
                (MicroOp::LOOP, _) => {
                    let mut changes = self
                        .writers
                        .iter()
                        .filter(|&&w| header_writes(sb.node(w)) & header::SHAPE != 0);
                    if let Some(first) = changes.next() {
                        known.clear();
                        epoch += (sb.node(*first).op != MicroOp::SET_SHAPE
                            || changes.any(|&w| sb.node(w).op != MicroOp::SET_SHAPE))
                            as u32;
                    }
                }
                (MicroOp::ALLOCATE_TABLE, _) => known.push((r, node.operands[0] as u32)),
                (MicroOp::GUARD_SHAPE, Some(subject)) => {
                    known.retain(|k| k.0 != subject);
                    known.push((subject, node.operands[0] as u32));
                }
                (MicroOp::SET_SHAPE, Some(subject)) => {
                    let before = self.shape[r.index()];
                    known.retain(|&(t, shape)| {
                        t != subject
                            && (before != UNKNOWN && before != shape
                                || self.same(t, subject) == Meet::Never)
                    });
                    known.push((subject, node.operands[0] as u32));
                    self.changes.push(r);
                }
                _ if changes => {
                    known.clear();
                    epoch += 1;
                }
                _ => {}
            }
        }
    }

    /// The shape known of a node's first input when it runs.
    pub fn shape_at(&self, r: Ref) -> Option<u32> {
        Some(self.shape[r.index()]).filter(|&s| s != UNKNOWN)
    }

    /// Whether nobody else knows a fresh object when `at` runs.
    pub fn is_private(&self, object: Ref, at: Ref) -> bool {
        is_fresh(self.sb.node(object).op) && self.escape[object.index()] > at.0
    }

    /// Whether two origins are the same object.
    pub fn same(&self, a: Ref, b: Ref) -> Meet {
        if a == b {
            return Meet::Always;
        }
        let (early, late) = if a < b { (a, b) } else { (b, a) };
        let (x, y) = (self.sb.node(early), self.sb.node(late));
        if x.ty != y.ty && x.ty != Some(Type::Tagged) && y.ty != Some(Type::Tagged) {
            return Meet::Never;
        }
        if is_constant(x.op) && is_constant(y.op) {
            return if x.operands[0] == y.operands[0] {
                Meet::Always
            } else {
                Meet::Never
            };
        }
        // A fresh object is none that there was before, and none that somebody made or found while it was unknown.
        let unknown = is_fresh(x.op) && (self.escape[early.index()] > late.0 || is_constant(y.op));
        if is_fresh(y.op) || unknown {
            Meet::Never
        } else {
            Meet::Maybe
        }
    }

    /// Whether the plain accesses `a` and `b` are of the same place.
    pub fn meet(&self, a: Ref, b: Ref) -> Meet {
        let (x, y) = (self.sb.node(a), self.sb.node(b));
        let (Some(p), Some(q)) = (place(x.op), place(y.op)) else {
            return Meet::Maybe;
        };
        match (p, q) {
            (
                Place::Inline | Place::Overflow | Place::Holder,
                Place::Inline | Place::Overflow | Place::Holder,
            ) => self.meet_slots(a, p, b, q),
            (Place::Element, Place::Element) => {
                let (i, c) = self.index(x.inputs[1]);
                let (j, d) = self.index(y.inputs[1]);
                let index = match (i == j, c == d) {
                    (true, true) => Meet::Always,
                    (true, false) => Meet::Never,
                    _ => Meet::Maybe,
                };
                self.same(self.origin(x.inputs[0]), self.origin(y.inputs[0]))
                    .and(index)
            }
            (Place::Cell, Place::Cell) => self.same(self.cell(a), self.cell(b)),
            (Place::Captured, Place::Captured) => {
                let closures = self.same(self.origin(x.inputs[0]), self.origin(y.inputs[0]));
                closures.and(if x.operands[0] == y.operands[0] {
                    Meet::Always
                } else {
                    Meet::Never
                })
            }
            _ => Meet::Never,
        }
    }

    /// The cell that an access is of.
    fn cell(&self, r: Ref) -> Ref {
        let node = self.sb.node(r);
        if node.op == MicroOp::NEW_CELL {
            r
        } else {
            self.origin(node.inputs[0])
        }
    }

    fn meet_slots(&self, a: Ref, p: Place, b: Ref, q: Place) -> Meet {
        let (x, y) = (self.sb.node(a), self.sb.node(b));
        let operand =
            |node: &Node, place| slot_offsets(node.operands[(place == Place::Holder) as usize]);
        let (s, t) = (operand(x, p), operand(y, q));
        // Payloads and tags lie at different offsets in tables of different layouts.
        let slots = match (s.payload == t.payload, s.tag == t.tag) {
            (true, true) => Meet::Always,
            (false, false) => Meet::Never,
            _ => Meet::Maybe,
        };
        let blocks = match (p, q) {
            (Place::Inline, Place::Overflow) | (Place::Overflow, Place::Inline) => Meet::Never,
            _ if p == q => Meet::Always,
            _ => Meet::Maybe,
        };
        let tables = match (p, q) {
            (Place::Holder, Place::Holder) if x.operands[0] == y.operands[0] => Meet::Always,
            (Place::Holder, Place::Holder) => Meet::Never,
            (Place::Holder, _) => self.is_object(self.origin(y.inputs[0]), x.operands[0]),
            (_, Place::Holder) => self.is_object(self.origin(x.inputs[0]), y.operands[0]),
            _ => self.same_table(a, b),
        };
        tables.and(blocks).and(slots)
    }

    /// Whether the tables that are the first inputs of two nodes are the same.
    fn same_table(&self, a: Ref, b: Ref) -> Meet {
        let (x, y) = (
            self.origin(self.sb.node(a).inputs[0]),
            self.origin(self.sb.node(b).inputs[0]),
        );
        let same = self.same(x, y);
        let (s, t) = (self.shape[a.index()], self.shape[b.index()]);
        if same != Meet::Maybe
            || s == t
            || s == UNKNOWN
            || t == UNKNOWN
            || self.epoch[a.index()] != self.epoch[b.index()]
        {
            return same;
        }
        // The shapes differ. It is one table only if it has changed from one to the other.
        let changed = self.changes.iter().any(|&r| {
            let node = self.sb.node(r);
            let (shape, subject) = (node.operands[0] as u32, self.origin(node.inputs[0]));
            (shape == s || shape == t)
                && self.same(subject, x) != Meet::Never
                && self.same(subject, y) != Meet::Never
        });
        if changed { Meet::Maybe } else { Meet::Never }
    }

    /// Whether a value is the object that a superblock names so.
    fn is_object(&self, r: Ref, object: u64) -> Meet {
        let node = self.sb.node(r);
        if is_constant(node.op) {
            if node.operands[0] == object {
                Meet::Always
            } else {
                Meet::Never
            }
        } else if is_fresh(node.op) {
            Meet::Never
        } else {
            Meet::Maybe
        }
    }

    /// An index as a node, or none, plus a constant.
    pub fn index(&self, r: Ref) -> (Ref, i64) {
        let (mut base, mut offset) = (self.origin(r), 0i64);
        loop {
            let node = self.sb.node(base);
            let constant = |r: Ref| {
                let node = self.sb.node(r);
                (node.op == MicroOp::CONST_INT).then_some(node.operands[0] as i64)
            };
            match node.op {
                MicroOp::CONST_INT => {
                    return (Ref::NONE, offset.wrapping_add(node.operands[0] as i64));
                }
                MicroOp::ADD_I if let Some(c) = constant(node.inputs[1]) => {
                    offset = offset.wrapping_add(c)
                }
                MicroOp::SUB_I if let Some(c) = constant(node.inputs[1]) => {
                    offset = offset.wrapping_sub(c)
                }
                _ => return (base, offset),
            }
            base = self.origin(node.inputs[0]);
        }
    }

    /// Whether running `writer` may change what `reader` does, which has no effects itself; or, if `reader` is a plain
    /// store, whether it may change what that has stored.
    pub fn clobbers(&self, writer: Ref, reader: Ref) -> bool {
        use MicroOp::*;
        let (w, r) = (self.sb.node(writer), self.sb.node(reader));
        let at = place(r.op);
        let reads = at.map_or(r.effects().reads, Place::memory);
        if reads.is_empty() {
            return false;
        }
        match r.op {
            LOAD | LOAD_EXTRA | GUARD_STRINGS => {
                return w.is_call_out() || w.effects().writes.contains(Memory::Frame);
            }
            LIST_COUNT => return w.is_call_out(),
            // Cells do not become constant again.
            GUARD_MUTABLE => return false,
            CALLEE | EXTRA_COUNT => {
                return matches!(
                    w.op,
                    PUSH_FRAME | REPLACE_FRAME | POP_FRAME | SWITCH
                );
            }
            LOAD_CAPTURED | INIT_CAPTURED => {
                return w.op == INIT_CAPTURED && self.meet(writer, reader) != Meet::Never;
            }
            GUARD_EPOCH => {
                return w.effects().calls || matches!(w.op, RAW_SET | SET_LIST | SET_METATABLE);
            }
            _ => {}
        }
        if w.effects().calls {
            return match at {
                Some(Place::Cell) => !self.is_private(self.cell(reader), writer),
                Some(Place::Holder) | None => true,
                Some(_) => !self.is_private(self.origin(r.inputs[0]), writer),
            };
        }
        let classes = w.effects().writes;
        if !classes.intersects(reads) {
            return false;
        }
        if at.is_some() && place(w.op).is_some() {
            return self.meet(writer, reader) != Meet::Never;
        }
        // Of tables, what is done to one does not matter to others.
        let first = |op: MicroOp| op.declaration().inputs.first().copied();
        if first(w.op) == Some(Type::Table)
            && first(r.op) == Some(Type::Table)
            && w.op != SET_METATABLE
            && self.same_table(writer, reader) == Meet::Never
        {
            return false;
        }
        if at.is_none() && header_writes(w) & header_reads(r.op) != 0 {
            return true;
        }
        classes.intersects(reads.without(Memory::Header))
    }

    /// Whether a table that a node accesses may change its shape in the loop.
    pub fn reshaped_in_loop(&self, reader: Ref) -> bool {
        self.writers.iter().any(|&w| {
            let writer = self.sb.node(w);
            header_writes(writer) & header::SHAPE != 0
                && (writer.op != MicroOp::SET_SHAPE
                    || self.same(
                        self.origin(writer.inputs[0]),
                        self.origin(self.sb.node(reader).inputs[0]),
                    ) != Meet::Never)
        })
    }
}

/// Whether running `writer`, of another superblock, may change what `reader` has found in memory, or left there. What is in slots of
/// frames is not looked at.
pub fn changes_elsewhere(writer: &Node, reader: &Node) -> bool {
    use MicroOp::*;
    let (w, r) = (writer.effects(), reader.effects());
    match reader.op {
        LOAD | LOAD_EXTRA | GUARD_STRINGS | CALLEE | EXTRA_COUNT => return false,
        LIST_COUNT => return writer.is_call_out(),
        // Cells do not become constant again, and closures keep theirs.
        GUARD_MUTABLE | LOAD_CAPTURED | INIT_CAPTURED => return false,
        GUARD_EPOCH => return w.calls || matches!(writer.op, RAW_SET | SET_LIST | SET_METATABLE),
        // Nothing is known of what they leave.
        _ if r.calls => return false,
        _ => {}
    }
    let at = place(reader.op);
    let new = is_fresh(reader.op);
    let meets = |classes: MemorySet| {
        let classes = classes.without(Memory::Frame).without(Memory::State);
        w.writes.intersects(classes)
    };
    // The collector runs in calls only; apart from that it may hear of any store.
    let hears = |classes: MemorySet| if w.calls { classes } else { classes.without(Memory::Barrier) };
    if let Some(at) = at
        && !new
    {
        if !meets(at.memory()) {
            return false;
        }
        let slots = |op| matches!(place(op), Some(Place::Inline | Place::Overflow));
        // One table has a slot at one offset only.
        let apart = slots(writer.op)
            && slots(reader.op)
            && (place(writer.op) != place(reader.op)
                || slot_offsets(writer.operands[0]).payload
                    != slot_offsets(reader.operands[0]).payload);
        return !apart;
    }
    let aspects = match reader.op {
        _ if new => u8::MAX,
        SET_SHAPE | SET_METATABLE => header_writes(reader),
        op => header_reads(op),
    };
    header_writes(writer) & aspects != 0
        || meets(hears(r.reads).without(Memory::Header))
        || new && meets(MemorySet::of(&[Memory::Cell]))
}

/// The aspects of a header that a node may change.
fn header_writes(node: &Node) -> u8 {
    match node.op {
        MicroOp::SET_SHAPE => header::SHAPE,
        MicroOp::SET_METATABLE => header::SHAPE | header::METATABLE,
        MicroOp::STORE_ELEMENT => header::GROWS,
        MicroOp::INIT_ELEMENT => header::GROWS | header::ARRAY,
        _ if node.effects().writes.contains(Memory::Header) => u8::MAX,
        _ => 0,
    }
}

/// The aspects of a header that matter to a node. That an array accepts a value, or holds values of one kind, is not
/// changed by storing values that it accepts.
fn header_reads(op: MicroOp) -> u8 {
    use MicroOp::*;
    match op {
        GUARD_SHAPE => header::SHAPE,
        GUARD_NO_METATABLE | GUARD_FOUND_IN | GUARD_METATABLE => header::METATABLE,
        GUARD_IN_ARRAY | GUARD_ARRAY_KIND | GUARD_ACCEPTS => header::ARRAY,
        _ if op.declaration().effects.reads.contains(Memory::Header) => u8::MAX,
        _ => 0,
    }
}
