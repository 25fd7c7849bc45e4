//! Allocation sinking: an object that nobody gets hold of is not made.
//!
//! Tables, closures and cells that the superblock makes and uses itself become *virtual*. Their parts are followed through
//! the nodes: stores to them disappear, loads are what has been stored, and guards that they keep are gone. Snapshots
//! that mention them describe them, so that they are made when control leaves there.
//!
//! What the runtime or another executor is to find has to be there: objects in the snapshots of call-outs, of `LINK` and of `JOIN`
//! are made, and so is whatever is used in a way that is not followed. The loop carries no virtual objects, and changes none that
//! were made before it. The objects that have to be made are found by following all of them, and then the rest again, until it stays
//! the same, because what is stored in an object that has to be made has to be made as well.
//!
//! Programs also make objects for the collector's sake: `repeat local t = {} until finalized` ends because it does. So what each pass
//! does not make is counted, at its end, by `SUNK`.

use perilune_uops::{MicroOp, Type};
use smallvec::SmallVec;

use super::alias::is_type_guard;
use crate::runtime::array::ArrayKind;
use crate::runtime::function::CellState;
use crate::tier2::superblock::{Node, Part, Ref, Rewriter, SnapshotId, Superblock, guard_of};
use crate::tier2::uop::pointer_tag;

/// What is not a candidate.
const NONE: u32 = u32::MAX;

/// An object that is followed.
struct Object {
    node: Ref,
    shape: u32,
    state: CellState,
    /// Of an array whose elements are of known types.
    array_kind: Option<ArrayKind>,
    parts: SmallVec<[(Part, Ref); 4]>,
    elements: u32,
}

/// What becomes of a node.
enum Fate {
    /// It stays.
    Stays,
    /// Nothing is left of it.
    Gone,
    /// It is the virtual object that it made.
    Object,
    /// It is an earlier value.
    Is(Ref),
    Int(i64),
    Bool(bool),
    /// It is guards that these values are of a type.
    Guards(SmallVec<[Ref; 4]>, Type),
    /// The objects that it uses have to be made.
    Escapes,
}

struct Sinking<'a> {
    sb: &'a Superblock,
    /// For each node whether it makes an object that may be virtual.
    candidates: Vec<bool>,
    /// For each node the index of the object that it is.
    object_of: Vec<u32>,
    objects: Vec<Object>,
    /// For each node the one that makes its value.
    value: Vec<Ref>,
    /// Types of values that guards have shown since they were made.
    shown: Vec<(Ref, Type)>,
    /// How often objects have changed.
    changes: u32,
    /// For each old snapshot `changes` when it was copied.
    copied: Vec<u32>,
}

/// The pass; see the module's documentation.
pub fn sink(old: &Superblock) -> Option<Superblock> {
    let mut candidates: Vec<bool> = old.nodes.iter().map(|node| can_be_virtual(node.op)).collect();
    if !candidates.contains(&true) {
        return None;
    }
    loop {
        let mut sinking = Sinking::new(old, candidates);
        let found = sinking.analyse();
        candidates = sinking.candidates;
        if !found {
            break;
        }
    }
    if !candidates.contains(&true) {
        return None;
    }
    Some(Sinking::new(old, candidates).rewrite())
}

fn can_be_virtual(op: MicroOp) -> bool {
    use MicroOp::*;
    matches!(op, ALLOCATE_TABLE | ALLOCATE_CLOSURE | NEW_CELL | NEW_EMPTY_CELL)
}

/// Whether somebody finds the slots of a node's snapshot when it runs.
fn stores_slots(node: &Node) -> bool {
    node.is_call_out() || matches!(node.op, MicroOp::LINK | MicroOp::JOIN)
}

impl<'a> Sinking<'a> {
    fn new(sb: &'a Superblock, candidates: Vec<bool>) -> Sinking<'a> {
        let n = sb.nodes.len();
        Sinking {
            sb,
            candidates,
            object_of: vec![NONE; n],
            objects: Vec::new(),
            value: (0..n as u32).map(Ref).collect(),
            shown: Vec::new(),
            changes: 0,
            copied: vec![NONE; sb.snapshots.len()],
        }
    }

    /// Follows the candidates. Those that have to be made are none any more; whether there were any.
    fn analyse(&mut self) -> bool {
        let sb = self.sb;
        let mut found = false;
        for (r, node) in sb.iter() {
            let fate = self.fate(r, node);
            if matches!(fate, Fate::Escapes) {
                for &input in node.inputs() {
                    found |= self.escapes(input);
                }
            }
            if stores_slots(node) {
                for &(_, value) in sb.slots_of(node.exit) {
                    found |= self.escapes(value);
                }
            }
            match fate {
                Fate::Is(value) => self.value[r.index()] = value,
                Fate::Guards(values, ty) => self.shown.extend(values.into_iter().map(|v| (v, ty))),
                _ => {}
            }
        }
        for &back in sb.looping.iter().flat_map(|l| &l.back) {
            found |= self.escapes(back);
        }
        found
    }

    /// A value has to be there in memory: whether that is news.
    fn escapes(&mut self, r: Ref) -> bool {
        let r = self.value[r.index()];
        self.object_of[r.index()] != NONE && std::mem::take(&mut self.candidates[r.index()])
    }

    fn rewrite(mut self) -> Superblock {
        let sb = self.sb;
        let mut rw = Rewriter::new(sb);
        let head = sb.looping.as_ref().map_or(0, |l| l.head.index());
        let sunk = self.candidates[head..].iter().filter(|&&sunk| sunk).count();
        for (r, node) in sb.iter() {
            if r.index() + 1 == sb.nodes.len() && sunk > 0 {
                rw.add(Node::new(MicroOp::SUNK, &[], &[sunk as u64]));
            }
            if node.op == MicroOp::LOOP
                && let Some(l) = &sb.looping
            {
                self.describe(&mut rw, l.entry);
                rw.exit(l.entry);
            }
            match self.fate(r, node) {
                Fate::Stays => {
                    self.describe(&mut rw, node.exit);
                    rw.copy(r);
                }
                Fate::Gone => {}
                Fate::Object => {
                    let node = match node.op {
                        MicroOp::ALLOCATE_TABLE => Node::new(MicroOp::VIRTUAL_TABLE, &[], &node.operands[1..2]),
                        MicroOp::ALLOCATE_CLOSURE => Node::new(MicroOp::VIRTUAL_CLOSURE, &[], &node.operands[..1]),
                        _ => Node::new(MicroOp::VIRTUAL_CELL, &[], &[]),
                    };
                    rw.emit(r, node);
                }
                Fate::Is(value) => {
                    self.value[r.index()] = value;
                    rw.replace(r, rw.name(value));
                }
                Fate::Int(i) => {
                    rw.emit(r, Node::int(i));
                }
                Fate::Bool(b) => {
                    rw.emit(r, Node::bool(b));
                }
                Fate::Guards(values, ty) => {
                    self.describe(&mut rw, node.exit);
                    let guard = guard_of(ty).expect("arrays of one kind hold numbers");
                    for v in values {
                        let input = rw.name(v);
                        // Whoever uses the value from now on finds it with its type.
                        rw.emit(v, Node::new(guard, &[input], &[]).with_exit(node.exit));
                        self.shown.push((v, ty));
                    }
                }
                Fate::Escapes => unreachable!("such objects are no candidates any more"),
            }
        }
        rw.finish()
    }

    /// Copies a snapshot with descriptions of the virtual objects that it mentions, as they are now.
    fn describe(&mut self, rw: &mut Rewriter, id: SnapshotId) {
        if id.is_none() || self.copied[id.0 as usize] == self.changes {
            return;
        }
        let sb = self.sb;
        let mut mentioned: SmallVec<[u32; 8]> = SmallVec::new();
        let mention = |mentioned: &mut SmallVec<[u32; 8]>, r: Ref| {
            let object = self.object_of[self.value[r.index()].index()];
            if object != NONE && !mentioned.contains(&object) {
                mentioned.push(object);
            }
        };
        sb.slots_of(id).iter().for_each(|&(_, r)| mention(&mut mentioned, r));
        if mentioned.is_empty() {
            // It is copied as it is, once.
            return;
        }
        let mut at = 0;
        while let Some(&object) = mentioned.get(at) {
            self.objects[object as usize].parts.iter().for_each(|&(_, r)| mention(&mut mentioned, r));
            at += 1;
        }
        self.copied[id.0 as usize] = self.changes;
        let source = *sb.snapshot_at(id);
        let slots = sb.slots_of(id).iter().map(|&(slot, r)| (slot, rw.name(r)));
        let slots: SmallVec<[_; 32]> = slots.collect();
        let new = rw.new.snapshot(source.frame, source.pc, source.top, slots);
        for known in sb.virtual_objects(id) {
            let values = known.values.iter().map(|&(_, r)| rw.name(r));
            let parts: SmallVec<[_; 8]> = known.parts.iter().copied().zip(values).collect();
            rw.new.describe(rw.name(known.object), known.header, parts);
        }
        for object in mentioned {
            let object = &self.objects[object as usize];
            let header = match sb.node(object.node).op {
                MicroOp::ALLOCATE_TABLE => object.shape,
                MicroOp::ALLOCATE_CLOSURE => 0,
                _ => object.state as u32,
            };
            let parts: SmallVec<[_; 8]> = object.parts.iter().map(|&(part, r)| (part, rw.name(r))).collect();
            rw.new.describe(rw.name(object.node), header, parts);
        }
        rw.replace_exit(id, new);
    }

    /// The candidate that an input is.
    fn object(&self, node: &Node, k: usize) -> Option<usize> {
        let input = node.inputs().get(k)?;
        let object = self.object_of[self.value[input.index()].index()];
        (object != NONE && self.candidates[self.value[input.index()].index()]).then_some(object as usize)
    }

    /// The type of a value.
    fn type_of(&self, r: Ref) -> Type {
        let shown = self.shown.iter().find(|s| s.0 == r);
        shown.map_or_else(|| self.sb.type_of(r), |s| s.1)
    }

    fn constant(&self, r: Ref) -> Option<i64> {
        let node = self.sb.node(self.value[r.index()]);
        (node.op == MicroOp::CONST_INT).then_some(node.operands[0] as i64)
    }

    /// What becomes of a node, and of the objects when it runs.
    fn fate(&mut self, r: Ref, node: &Node) -> Fate {
        if self.candidates[r.index()] {
            self.begin(r, node);
            return Fate::Object;
        }
        if let Some(object) = self.object(node, 0)
            && let Some(fate) = self.use_of(object, r, node)
        {
            return fate;
        }
        let uses = (0..node.inputs().len()).any(|k| self.object(node, k).is_some());
        match (uses, node.op) {
            (false, _) => Fate::Stays,
            (true, MicroOp::SAME | MicroOp::RAW_EQ) => {
                let [x, y, _] = node.inputs;
                Fate::Bool(self.value[x.index()] == self.value[y.index()])
            }
            (true, _) => Fate::Escapes,
        }
    }

    fn begin(&mut self, r: Ref, node: &Node) {
        let mut object = Object {
            node: r,
            shape: node.operands[0] as u32,
            state: CellState::Uninitialised,
            array_kind: Some(ArrayKind::EMPTY),
            parts: SmallVec::new(),
            elements: 0,
        };
        if node.op == MicroOp::NEW_CELL {
            object.state = CellState::Constant;
            object.parts.push((Part::Content, self.value[node.inputs[0].index()]));
        }
        self.object_of[r.index()] = self.objects.len() as u32;
        self.objects.push(object);
        self.changes += 1;
    }

    /// What becomes of a node whose first input is an object; `None` if it is not known.
    fn use_of(&mut self, at: usize, r: Ref, node: &Node) -> Option<Fate> {
        use MicroOp::*;
        let head = self.sb.looping.as_ref().map(|l| l.head);
        let changes = !node.effects().writes.is_empty() && node.op != BARRIER;
        if changes {
            let object = &self.objects[at];
            if head.is_some_and(|head| object.node < head && head < r) {
                return None;
            }
            self.changes += 1;
        }
        let value = |k: usize| self.value[node.inputs[k].index()];
        let object = &self.objects[at];
        let part = |part: Part| object.parts.iter().find(|p| p.0 == part).map(|p| p.1);
        let holds = |condition: bool| condition.then_some(Fate::Gone);
        Some(match node.op {
            BARRIER => Fate::Gone,
            op if is_type_guard(op) && node.ty == self.sb.node(object.node).ty => Fate::Is(object.node),
            GUARD_NOT_NIL | GUARD_FOUND => Fate::Gone,
            GUARD_RAW_EQ => {
                let other = value(1);
                return holds(other == object.node || !matches!(self.type_of(other), Type::Table | Type::Tagged));
            }

            STORE_INLINE => {
                let v = value(1);
                self.put(at, Part::Slot(node.operands[0] as u32), v)
            }
            LOAD_INLINE => Fate::Is(part(Part::Slot(node.operands[0] as u32))?),
            SET_SHAPE => {
                self.objects[at].shape = node.operands[0] as u32;
                Fate::Gone
            }
            SET_METATABLE => {
                let metatable = value(1);
                if self.object(node, 1).is_some() {
                    return None;
                }
                self.objects[at].shape = node.operands[0] as u32;
                self.put(at, Part::Metatable, metatable)
            }
            GUARD_SHAPE => return holds(object.shape as u64 == node.operands[0]),
            GUARD_NO_METATABLE => return holds(part(Part::Metatable).is_none()),
            GUARD_FOUND_IN => {
                let found = self.type_of(value(1)) != Type::Tagged;
                return holds(found || part(Part::Metatable).is_none());
            }

            INIT_ELEMENT => {
                let v = value(2);
                self.append(at, v)
            }
            GUARD_IN_ARRAY => return holds(self.element(object, node.inputs[1]).is_some()),
            GUARD_ARRAY_KIND => {
                let wanted = match ArrayKind(node.operands[0] as u8) {
                    ArrayKind::INT => Type::Int,
                    ArrayKind::FLOAT => Type::Float,
                    kind => return holds(object.array_kind == Some(kind)),
                };
                if object.elements == 0 {
                    return None;
                }
                let mut unknown = SmallVec::new();
                for &(_, v) in object.parts.iter().filter(|p| matches!(p.0, Part::Element(_))) {
                    match self.type_of(v) {
                        ty if ty == wanted => {}
                        // `PHI`s, and what is known of the loop from outside, keep their names.
                        Type::Tagged if self.sb.node(v).op == PHI => return None,
                        Type::Tagged if head.is_some_and(|head| v < head && head < r) => return None,
                        Type::Tagged if !unknown.contains(&v) => unknown.push(v),
                        Type::Tagged => {}
                        _ => return None,
                    }
                }
                self.objects[at].array_kind = Some(ArrayKind(node.operands[0] as u8));
                if unknown.is_empty() { Fate::Gone } else { Fate::Guards(unknown, wanted) }
            }
            LOAD_ELEMENT | LOAD_ELEMENT_I | LOAD_ELEMENT_F => {
                let v = part(self.element(object, node.inputs[1])?)?;
                let fits = node.ty == Some(Type::Tagged) || node.ty == Some(self.type_of(v));
                fits.then_some(Fate::Is(v))?
            }
            LENGTH_T => Fate::Int(object.elements as i64),
            GUARD_STORABLE | GUARD_RAW_STORABLE => {
                let tag = pointer_tag(self.type_of(value(2)))?;
                let appends = self.constant(node.inputs[1]) == Some(object.elements as i64 + 1)
                    && (object.elements as u64) < self.sb.node(object.node).operands[1]
                    && (node.op == GUARD_RAW_STORABLE || part(Part::Metatable).is_none());
                let within = appends || self.element(object, node.inputs[1]).is_some();
                return holds(within && object.array_kind.is_some_and(|kind| kind.accepts(tag)));
            }
            STORE_ELEMENT | REPLACE_ELEMENT => {
                let v = value(2);
                match self.element(object, node.inputs[1]) {
                    Some(element) => self.put(at, element, v),
                    None if self.constant(node.inputs[1]) == Some(object.elements as i64 + 1) => self.append(at, v),
                    None => return None,
                }
            }

            SET_CELL => {
                let state = match object.state {
                    CellState::Uninitialised => CellState::Constant,
                    CellState::Constant | CellState::Mutable => CellState::Mutable,
                };
                let v = value(1);
                self.objects[at].state = state;
                self.put(at, Part::Content, v)
            }
            STORE_CELL => {
                let v = value(1);
                self.put(at, Part::Content, v)
            }
            GUARD_MUTABLE => return holds(object.state == CellState::Mutable),
            LOAD_CELL => Fate::Is(part(Part::Content)?),

            INIT_CAPTURED => {
                let cell = value(1);
                self.put(at, Part::Captured(node.operands[0] as u8), cell)
            }
            LOAD_CAPTURED => Fate::Is(part(Part::Captured(node.operands[0] as u8))?),
            GUARD_PROTO => return holds(self.sb.node(object.node).operands[0] == node.operands[0]),
            _ => return None,
        })
    }

    /// The element that an index names, if it is one of the object's.
    fn element(&self, object: &Object, index: Ref) -> Option<Part> {
        let i = self.constant(index)?;
        (1..=object.elements as i64).contains(&i).then_some(Part::Element(i as u32))
    }

    fn put(&mut self, at: usize, part: Part, v: Ref) -> Fate {
        let parts = &mut self.objects[at].parts;
        match parts.iter_mut().find(|p| p.0 == part) {
            Some(known) => known.1 = v,
            None => parts.push((part, v)),
        }
        Fate::Gone
    }

    fn append(&mut self, at: usize, v: Ref) -> Fate {
        let tag = pointer_tag(self.type_of(v));
        let object = &mut self.objects[at];
        object.elements += 1;
        object.parts.push((Part::Element(object.elements), v));
        object.array_kind = object.array_kind.zip(tag).map(|(kind, tag)| kind.join(tag));
        Fate::Gone
    }
}
