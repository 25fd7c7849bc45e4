//! A reference evaluator of superblocks, independent of the VM: what a superblock does, by the equations of its
//! micro-ops, to a model of slots and heap.
//!
//! What it finds is made up when it is looked at, by an [`Oracle`] that two superblocks share: the second one finds
//! what the first one found. Values that nobody has looked at are compared by where they come from.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use perilune_uops::{Immediate, MicroOp, Type};

use crate::runtime::array::ArrayKind;
use crate::runtime::{functions, number};
use crate::runtime::value::Tag;
use crate::tier2::superblock::*;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    /// Its bits.
    Float(u64),
    Object(Kind, u64),
    /// Not looked at yet.
    Unknown(u32),
}

/// A kind of object, ordered for keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Kind {
    Table,
    String,
    Closure,
    Native,
    Cell,
    Userdata,
    Coroutine,
}

const KINDS: [(Kind, Type); 7] = [
    (Kind::Table, Type::Table),
    (Kind::String, Type::String),
    (Kind::Closure, Type::Closure),
    (Kind::Native, Type::Native),
    (Kind::Cell, Type::Cell),
    (Kind::Userdata, Type::Userdata),
    (Kind::Coroutine, Type::Coroutine),
];

fn kind_of(ty: Type) -> Option<Kind> {
    KINDS.iter().find(|k| k.1 == ty).map(|k| k.0)
}

/// A place in an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Place {
    Inline(u64),
    Overflow(u64),
    Element(i64),
    Cell,
    Metatable,
    Captured(u64),
}

/// Whatever is found rather than made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    Slot(Slot),
    Param(u64),
    Place(u64, u32, Place),
    Result(u32, u64),
    Raw(u64, u64, Value),
    /// What traversing a table finds: the position behind a key or position, the key or the value there.
    Traversal(MicroOp, u64, u64, Value),
    /// A number that is about an object at some time.
    Fact(Fact, u64, u32),
    /// Whether an exit that depends on nothing else is taken.
    Leaves(MicroOp, u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Fact {
    Shape,
    Metatable,
    Length,
    ArrayKind,
    Room,
    Mutable,
}

/// Makes up what superblocks find, and keeps to it.
pub struct Oracle {
    seed: u64,
    unknown: HashMap<Key, u32>,
    decided: Vec<Option<Value>>,
    facts: HashMap<Key, u64>,
}

impl Oracle {
    pub fn new(seed: u64) -> Oracle {
        Oracle {
            seed,
            unknown: HashMap::new(),
            decided: Vec::new(),
            facts: HashMap::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        (self.seed >> 33) % below
    }

    fn likely(&mut self) -> bool {
        self.random(12) != 0
    }

    fn unknown(&mut self, key: Key) -> Value {
        let next = self.decided.len() as u32;
        let id = *self.unknown.entry(key).or_insert(next);
        if id == next {
            self.decided.push(None);
        }
        self.resolve(Value::Unknown(id))
    }

    /// The value itself if somebody has looked at it.
    fn resolve(&self, v: Value) -> Value {
        match v {
            Value::Unknown(id) => self.decided[id as usize].unwrap_or(v),
            _ => v,
        }
    }

    fn value_of(&mut self, ty: Type) -> Value {
        const FLOATS: [f64; 8] = [0.0, -0.0, 1.0, 2.5, -3.0, 1e300, f64::INFINITY, f64::NAN];
        const INTS: [i64; 12] = [0, 1, 2, 3, 4, 5, -1, -2, 7, 64, i64::MAX, i64::MIN];
        match ty {
            Type::Int => Value::Int(INTS[self.random(12) as usize]),
            Type::Float => Value::Float(FLOATS[self.random(8) as usize].to_bits()),
            Type::Bool => Value::Bool(self.random(2) == 0),
            Type::Table if self.random(4) == 0 => Value::Object(Kind::Table, 0x2000),
            Type::Closure if self.random(2) == 0 => Value::Object(Kind::Closure, 0x4000),
            _ => match kind_of(ty) {
                Some(kind) => Value::Object(kind, 0x100 * (kind as u64 + 1) + self.random(3)),
                None => Value::Nil,
            },
        }
    }

    /// A concrete value, which probably is `likely`, if that is one.
    fn look(&mut self, v: Value, likely: Type) -> Value {
        let Value::Unknown(id) = v else { return v };
        if let Some(decided) = self.decided[id as usize] {
            return decided;
        }
        let ty = if likely != Type::Tagged && self.likely() {
            likely
        } else {
            [
                Type::Int,
                Type::Float,
                Type::Bool,
                Type::Table,
                Type::String,
                Type::Tagged,
            ][self.random(6) as usize]
        };
        let decided = self.value_of(ty);
        self.decided[id as usize] = Some(decided);
        decided
    }

    /// Some integer, which depends on the value.
    fn look_as_int(&mut self, v: Value) -> Value {
        match self.look(v, Type::Int) {
            Value::Int(i) => Value::Int(i),
            _ => Value::Int(0),
        }
    }

    /// A value that is known to be of a type.
    fn typed(&mut self, v: Value, ty: Type) -> Value {
        let Value::Unknown(id) = v else { return v };
        if ty != Type::Tagged && self.decided[id as usize].is_none() {
            self.decided[id as usize] = Some(self.value_of(ty));
        }
        self.resolve(v)
    }

    fn fact(&mut self, key: Key, likely: u64, others: u64) -> u64 {
        if let Some(&fact) = self.facts.get(&key) {
            return fact;
        }
        let fact = if self.likely() {
            likely
        } else {
            self.random(others)
        };
        self.facts.insert(key, fact);
        fact
    }
}

/// What is observed where control leaves, or calls out.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    what: String,
    frame: FrameId,
    pc: u32,
    top: Option<Slot>,
    inputs: Vec<Value>,
    slots: BTreeMap<Slot, Change>,
    places: BTreeMap<(u64, Place), Change>,
    facts: BTreeMap<(u64, u8), u64>,
    generations: BTreeMap<u64, u32>,
}

/// What there was at first, and what there is.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Change(Value, Value);

/// What has been done to objects; whatever is not there is as it was found.
#[derive(Clone, Default, PartialEq, Debug)]
struct Heap {
    places: BTreeMap<(u64, Place), Value>,
    facts: BTreeMap<(u64, u8), u64>,
}

/// Fresh objects have addresses from here on.
const FRESH: u64 = 1 << 32;

struct Run<'a> {
    sb: &'a Superblock,
    oracle: &'a mut Oracle,
    values: Vec<Value>,
    slots: BTreeMap<Slot, Value>,
    heap: Heap,
    /// How often call-outs may have changed an object.
    generations: BTreeMap<u64, u32>,
    objects: u64,
    calls: u32,
    polls: HashMap<MicroOp, u32>,
    trace: Vec<Outcome>,
    /// Objects that need no barrier, and those stored to.
    heard: BTreeSet<u64>,
    dirty: BTreeSet<u64>,
    /// What there would have been if it had left at the head of its loop.
    entry: Option<Vec<Outcome>>,
    /// Fresh objects that somebody has seen, in this order.
    seen: Vec<u64>,
}

/// What a superblock does: its call-outs and then its exit; and the same if it left at the head of its loop.
pub fn run(sb: &Superblock, oracle: &mut Oracle) -> (Vec<Outcome>, Option<Vec<Outcome>>) {
    let mut run = Run {
        sb,
        oracle,
        values: vec![Value::Nil; sb.nodes.len()],
        slots: BTreeMap::new(),
        heap: Heap::default(),
        generations: BTreeMap::new(),
        objects: 0,
        calls: 0,
        polls: HashMap::new(),
        trace: Vec::new(),
        heard: BTreeSet::new(),
        dirty: BTreeSet::new(),
        entry: None,
        seen: Vec::new(),
    };
    let exit = run.run();
    let outcome = run.observe(String::new(), exit, Vec::new());
    run.trace.push(outcome);
    (run.trace, run.entry)
}

/// The same with all values that have been looked at, and without what is as it was.
pub fn settle(outcomes: &mut [Outcome], oracle: &Oracle) {
    let look = |change: &mut Change| {
        *change = Change(oracle.resolve(change.0), oracle.resolve(change.1));
        change.0 != change.1
    };
    for outcome in outcomes {
        for v in &mut outcome.inputs {
            *v = oracle.resolve(*v);
        }
        outcome.slots.retain(|_, change| look(change));
        outcome.places.retain(|_, change| look(change));
    }
}

impl Run<'_> {
    fn run(&mut self) -> SnapshotId {
        let (mut at, mut passes) = (0, 0);
        loop {
            let node = &self.sb.nodes[at];
            let r = Ref(at as u32);
            match node.op {
                MicroOp::LOOP if self.entry.is_none() => {
                    let entry = self.sb.looping.as_ref().expect("there is a loop").entry;
                    let seen = self.seen.clone();
                    let outcome = self.observe(String::new(), entry, Vec::new());
                    self.seen = seen;
                    let mut trace = self.trace.clone();
                    trace.push(outcome);
                    self.entry = Some(trace);
                }
                // Of the first pass: going back leads behind the `PHI`s.
                MicroOp::PHI => self.values[at] = self.value(node.inputs[0]),
                MicroOp::BACK => {
                    let l = self.sb.looping.as_ref().expect("there is a loop");
                    let back: Vec<Value> = l.back.iter().map(|&r| self.value(r)).collect();
                    let first = l.head.index() + 1;
                    self.values[first..first + back.len()].copy_from_slice(&back);
                    at = first + back.len();
                    passes += 1;
                    assert!(passes < 100, "the loop does not end:\n{}", self.sb);
                    continue;
                }
                _ => {
                    if node.exit_kind() != perilune_uops::Exit::None {
                        assert!(
                            self.dirty.is_subset(&self.heard),
                            "{r} can see a store without a barrier:\n{}",
                            self.sb
                        );
                        self.dirty.clear();
                    }
                    match self.step(r, node) {
                        Some(value) => {
                            if let Some(ty) = node.ty {
                                assert!(
                                    self.has_type(value, ty),
                                    "{r} made {value:?}:\n{}",
                                    self.sb
                                );
                            }
                            self.values[at] = value;
                        }
                        None => return node.exit,
                    }
                }
            }
            at += 1;
        }
    }

    fn has_type(&self, v: Value, ty: Type) -> bool {
        match (v, ty) {
            (_, Type::Tagged) => true,
            (Value::Int(_), ty) => ty == Type::Int,
            (Value::Float(_), ty) => ty == Type::Float,
            (Value::Bool(_), ty) => ty == Type::Bool,
            (Value::Object(kind, _), ty) => kind_of(ty) == Some(kind),
            (Value::Nil | Value::Unknown(_), _) => false,
        }
    }

    /// What there is once the slots of the snapshot have been stored.
    fn observe(&mut self, what: String, exit: SnapshotId, inputs: Vec<Value>) -> Outcome {
        let snapshot = *self.sb.snapshot_at(exit);
        let mut slots = self.slots.clone();
        for &(slot, r) in self.sb.slots_of(exit) {
            slots.insert(slot, self.value(r));
        }
        self.describe(exit);
        self.see(&inputs, &slots);
        let named = |v: Value| self.named_value(v);
        let inputs = inputs.into_iter().map(named).collect();
        let slots: Vec<_> = slots.into_iter().map(|(s, v)| (s, named(v))).collect();
        let slots = slots
            .into_iter()
            .map(|(slot, v)| (slot, Change(self.oracle.unknown(Key::Slot(slot)), v)));
        let slots = slots.collect();
        let places = self.changes();
        Outcome {
            what,
            frame: snapshot.frame,
            pc: snapshot.pc,
            top: snapshot.top,
            inputs,
            slots,
            places: places
                .into_iter()
                .filter_map(|((object, place), Change(first, v))| {
                    let object = self.name(object)?;
                    Some(((object, place), Change(first, self.named_value(v))))
                })
                .collect(),
            facts: (self.heap.facts.iter())
                .filter_map(|(&(object, fact), &v)| Some(((self.name(object)?, fact), v)))
                .collect(),
            generations: (self.generations.iter())
                .filter_map(|(&object, &n)| Some((self.name(object)?, n)))
                .collect(),
        }
    }

    /// Makes the virtual objects of a snapshot what they are if control leaves there.
    fn describe(&mut self, exit: SnapshotId) {
        for object in self.sb.virtual_objects(exit) {
            let Value::Object(kind, addr) = self.value(object.object) else {
                panic!("{} is no object:\n{}", object.object, self.sb);
            };
            let header = object.header as u64;
            match kind {
                Kind::Table => self.set_fact(addr, Fact::Shape, header),
                Kind::Cell => self.set_fact(addr, Fact::Mutable, (header == 2) as u64),
                _ => {}
            }
            let mut array = ArrayKind::EMPTY;
            for (part, &(_, r)) in object.parts.iter().zip(object.values) {
                let v = self.value(r);
                let place = match part {
                    Part::Slot(slot) => Place::Inline(*slot as u64),
                    Part::Element(i) => {
                        array = self.joined(array, v);
                        self.set_fact(addr, Fact::Length, *i as u64);
                        self.set_fact(addr, Fact::ArrayKind, array.0 as u64);
                        Place::Element(*i as i64)
                    }
                    Part::Metatable => {
                        self.set_fact(addr, Fact::Metatable, 1);
                        Place::Metatable
                    }
                    Part::Captured(i) => Place::Captured(*i as u64),
                    Part::Content => Place::Cell,
                };
                self.heap.places.insert((addr, place), v);
            }
        }
    }

    fn set_fact(&mut self, object: u64, fact: Fact, to: u64) {
        self.heap.facts.insert((object, fact as u8), to);
    }

    /// The kind of an array with another element.
    fn joined(&mut self, kind: ArrayKind, v: Value) -> ArrayKind {
        kind.join(self.value_tag(v))
    }

    fn value_tag(&mut self, v: Value) -> Tag {
        match self.oracle.look(v, Type::Int) {
            Value::Int(_) => Tag::INT,
            Value::Float(_) => Tag::FLOAT,
            Value::Nil => Tag::NIL,
            Value::Bool(b) => [Tag::FALSE, Tag::TRUE][b as usize],
            Value::Object(Kind::Table, _) => Tag::TABLE,
            Value::Object(Kind::String, _) => Tag::STRING,
            Value::Object(Kind::Closure, _) => Tag::CLOSURE,
            Value::Object(Kind::Native, _) => Tag::NATIVE,
            Value::Object(Kind::Cell, _) => Tag::CELL,
            Value::Object(Kind::Userdata, _) => Tag::USERDATA,
            Value::Object(Kind::Coroutine, _) => Tag::COROUTINE,
            Value::Unknown(_) => unreachable!("it has been looked at"),
        }
    }

    /// Fresh objects that can be found from these values have been seen from now on.
    fn see(&mut self, inputs: &[Value], slots: &BTreeMap<Slot, Value>) {
        let places = self.heap.places.clone();
        let outside = places.iter().filter(|(k, _)| k.0 < FRESH).map(|k| *k.1);
        let all = inputs.iter().chain(slots.values()).copied();
        let mut pending: VecDeque<Value> = all.chain(outside).collect();
        let mut visited = BTreeSet::new();
        for &object in &self.seen {
            // What it holds may be new.
            visited.insert(object);
            pending.extend(places.iter().filter(|(k, _)| k.0 == object).map(|k| *k.1));
        }
        while let Some(v) = pending.pop_front() {
            if let Value::Object(_, object) = self.oracle.resolve(v)
                && object >= FRESH
                && visited.insert(object)
            {
                self.seen.push(object);
                pending.extend(places.iter().filter(|(k, _)| k.0 == object).map(|k| *k.1));
            }
        }
    }

    /// What is known of an object outside: the address, or the order in which it has been seen. None if it has not.
    fn name(&self, object: u64) -> Option<u64> {
        if object < FRESH {
            return Some(object);
        }
        let at = self.seen.iter().position(|&o| o == object)?;
        Some(FRESH + at as u64)
    }

    fn named_value(&self, v: Value) -> Value {
        match self.oracle.resolve(v) {
            Value::Object(kind, object) => Value::Object(kind, self.identity(object)),
            v => v,
        }
    }

    /// The same; all objects that nobody has seen are one: what is made up must not depend on how many others there are.
    fn identity(&self, object: u64) -> u64 {
        self.name(object).unwrap_or(FRESH - 1)
    }

    fn changes(&mut self) -> BTreeMap<(u64, Place), Change> {
        let places = self.heap.places.clone();
        places
            .into_iter()
            .map(|(at, v)| (at, Change(self.initial(at.0, at.1), v)))
            .collect()
    }

    /// A number that changes whenever the table does.
    fn digest(&mut self, table: u64) -> u64 {
        let mut digest = self.generation(table) as u64;
        for ((object, place), Change(first, v)) in self.changes() {
            let (first, v) = (
                self.oracle.look(first, Type::Int),
                self.oracle.look(v, Type::Int),
            );
            if object == table && first != v {
                let text = format!("{place:?} {:?}", self.named_value(v));
                let add = |h: u64, b: u8| (h ^ b as u64).wrapping_mul(0x100_0000_01B3);
                digest = text.bytes().fold(digest, add);
            }
        }
        digest
    }

    fn generation(&self, object: u64) -> u32 {
        self.generations.get(&object).copied().unwrap_or(0)
    }

    /// What a place held before anything was stored there.
    fn initial(&mut self, object: u64, place: Place) -> Value {
        let generation = self.generation(object);
        if object >= FRESH && generation == 0 {
            return Value::Nil;
        }
        let known = self.identity(object);
        let v = self.oracle.unknown(Key::Place(known, generation, place));
        if !matches!(place, Place::Element(_)) {
            return v;
        }
        let kind = ArrayKind(self.fact(object, Fact::ArrayKind, ArrayKind::PACKED.0 as u64) as u8);
        match kind {
            ArrayKind::INT => self.oracle.typed(v, Type::Int),
            ArrayKind::FLOAT => self.oracle.typed(v, Type::Float),
            ArrayKind::PACKED => match self.oracle.look(v, Type::Bool) {
                Value::Nil => Value::Bool(true),
                v => v,
            },
            _ => v,
        }
    }

    fn get(&mut self, object: u64, place: Place) -> Value {
        match self.heap.places.get(&(object, place)) {
            Some(&v) => self.oracle.resolve(v),
            None => self.initial(object, place),
        }
    }

    fn put(&mut self, object: u64, place: Place, v: Value) {
        self.heap.places.insert((object, place), v);
        self.dirty.insert(object);
    }

    fn fact(&mut self, object: u64, fact: Fact, likely: u64) -> u64 {
        if let Some(&known) = self.heap.facts.get(&(object, fact as u8)) {
            return known;
        }
        // A cell stays mutable whatever happens.
        let generation = if fact == Fact::Mutable {
            0
        } else {
            self.generation(object)
        };
        let key = Key::Fact(fact, self.identity(object), generation);
        match fact {
            Fact::Shape => 20 + self.oracle.fact(key, likely.wrapping_sub(20), 4),
            Fact::ArrayKind => {
                let others = [
                    ArrayKind::INT,
                    ArrayKind::FLOAT,
                    ArrayKind::PACKED,
                    ArrayKind::ANY,
                ];
                let likely = others
                    .iter()
                    .position(|k| k.0 as u64 == likely)
                    .unwrap_or(3);
                others[self.oracle.fact(key, likely as u64, 4) as usize].0 as u64
            }
            Fact::Length => self.oracle.fact(key, likely.min(9), 5),
            Fact::Metatable | Fact::Room | Fact::Mutable => self.oracle.fact(key, likely, 2),
        }
    }

    fn value(&self, r: Ref) -> Value {
        self.oracle.resolve(self.values[r.index()])
    }

    fn int(&self, r: Ref) -> i64 {
        match self.value(r) {
            Value::Int(i) => i,
            v => panic!("{r} is {v:?}, not an integer:\n{}", self.sb),
        }
    }

    fn float(&self, r: Ref) -> f64 {
        match self.value(r) {
            Value::Float(bits) => f64::from_bits(bits),
            v => panic!("{r} is {v:?}, not a float:\n{}", self.sb),
        }
    }

    fn bool(&self, r: Ref) -> bool {
        match self.value(r) {
            Value::Bool(b) => b,
            v => panic!("{r} is {v:?}, not a boolean:\n{}", self.sb),
        }
    }

    fn object(&self, r: Ref) -> u64 {
        match self.value(r) {
            Value::Object(_, object) => object,
            v => panic!("{r} is {v:?}, not an object:\n{}", self.sb),
        }
    }

    /// The content of a string: two of them are equal and not the same.
    fn content(&self, r: Ref) -> u64 {
        self.object(r).min(0x201)
    }

    fn named(&self, node: &Node) -> u64 {
        self.sb.object(ObjectId(node.operands[0] as u32)).addr
    }

    fn accepts(&mut self, table: u64, v: Value) -> bool {
        let tag = self.value_tag(v);
        let kind = ArrayKind(self.fact(table, Fact::ArrayKind, ArrayKind::PACKED.0 as u64) as u8);
        tag != Tag::NIL && kind.accepts(tag)
    }

    fn in_array(&mut self, table: u64, i: i64) -> bool {
        let n = self.fact(table, Fact::Length, i.clamp(0, 9) as u64) as i64;
        1 <= i && i <= n
    }

    fn appends(&mut self, table: u64, i: i64) -> bool {
        let n = self.fact(table, Fact::Length, 3) as i64;
        i == n + 1 && n < 20 && self.fact(table, Fact::Room, 1) != 0
    }

    fn raw_equal(&mut self, x: Ref, y: Ref) -> bool {
        let (a, b) = (self.value(x), self.value(y));
        let a = self.oracle.look(a, Type::Int);
        let b = self.oracle.look(b, Type::Int);
        match (a, b) {
            (Value::Float(p), Value::Float(q)) => f64::from_bits(p) == f64::from_bits(q),
            (Value::Int(i), Value::Float(f)) | (Value::Float(f), Value::Int(i)) => {
                number::eq_int_float(i, f64::from_bits(f))
            }
            (Value::Object(Kind::String, p), Value::Object(Kind::String, q)) => {
                p.min(0x201) == q.min(0x201)
            }
            _ => a == b,
        }
    }

    /// A type guard.
    fn guard(&mut self, x: Ref, ty: Type) -> Option<Value> {
        let v = self.value(x);
        let v = self.oracle.look(v, ty);
        self.has_type(v, ty).then_some(v)
    }

    fn leaves(&mut self, op: MicroOp) -> bool {
        let n = self.polls.entry(op).or_insert(0);
        *n += 1;
        let key = Key::Leaves(op, *n);
        self.oracle.fact(key, 0, 2) != 0
    }

    fn allocate(&mut self, kind: Kind) -> u64 {
        self.objects += 1;
        let object = FRESH + self.objects;
        self.heard.insert(object);
        if kind == Kind::Table {
            self.heap.facts.insert((object, Fact::Metatable as u8), 0);
            self.heap.facts.insert((object, Fact::Length as u8), 0);
            self.heap
                .facts
                .insert((object, Fact::ArrayKind as u8), ArrayKind::EMPTY.0 as u64);
        }
        object
    }

    /// Runs anything: every object that is within reach may change.
    fn call_out(&mut self, node: &Node) -> Value {
        let inputs: Vec<Value> = node.inputs().iter().map(|&r| self.value(r)).collect();
        let what = format!("{} {:?}", node.op, node.operands());
        let outcome = self.observe(what, node.exit, inputs.clone());
        self.trace.push(outcome);
        for &(slot, r) in self.sb.slots_of(node.exit) {
            let v = self.value(r);
            self.slots.insert(slot, v);
        }
        let mut reachable = BTreeSet::new();
        let mut pending: Vec<Value> = inputs;
        pending.extend(self.slots.values());
        let places = self.heap.places.clone();
        pending.extend(
            places
                .iter()
                .filter(|(k, _)| k.0 < FRESH || self.generation(k.0) > 0)
                .map(|k| *k.1),
        );
        while let Some(v) = pending.pop() {
            if let Value::Object(_, object) = self.oracle.resolve(v)
                && reachable.insert(object)
            {
                pending.extend(places.iter().filter(|(k, _)| k.0 == object).map(|k| *k.1));
            }
        }
        // All that was not made here is within reach.
        let unchanged = |object: u64| object >= FRESH && !reachable.contains(&object);
        let known: BTreeSet<u64> = (self.heap.places.keys().map(|k| k.0))
            .chain(self.heap.facts.keys().map(|k| k.0))
            .chain((1..=self.objects).map(|i| FRESH + i))
            .chain(
                KINDS
                    .iter()
                    .flat_map(|k| (0..3).map(move |i| 0x100 * (k.0 as u64 + 1) + i)),
            )
            .chain([0x2000, 0x4000])
            .filter(|&object| !unchanged(object))
            .collect();
        self.heap.places.retain(|k, _| !known.contains(&k.0));
        // Cells stay mutable.
        self.heap
            .facts
            .retain(|k, _| !known.contains(&k.0) || k.1 == Fact::Mutable as u8);
        for object in known {
            *self.generations.entry(object).or_insert(0) += 1;
        }
        self.heard.clear();
        self.calls += 1;
        let result = self.oracle.unknown(Key::Result(self.calls, 0));
        for (&kind, &operand) in node.op.declaration().operands.iter().zip(node.operands()) {
            if kind == Immediate::Def {
                let v = self.oracle.unknown(Key::Result(self.calls, 1 + operand));
                self.slots.insert(operand as Slot, v);
            }
        }
        match node.ty {
            Some(ty) => self.oracle.typed(result, ty),
            None => Value::Nil,
        }
    }

    /// What a node makes (nil if nothing), or none if control leaves.
    fn step(&mut self, r: Ref, node: &Node) -> Option<Value> {
        use MicroOp::*;
        use Value::*;
        let [x, y, w] = node.inputs;
        let holds = |condition: bool| condition.then_some(Nil);
        let fl = |f: f64| Some(Float(f.to_bits()));
        let operand = node.operands[0];
        if node.effects().calls {
            return Some(self.call_out(node));
        }
        Some(match node.op {
            START | LOOP => Nil,
            CONST_NIL => Nil,
            CONST_INT => Int(operand as i64),
            CONST_FLOAT => Float(operand),
            CONST_BOOL => Bool(operand != 0),
            CONST_TABLE | CONST_STRING | CONST_CLOSURE | CONST_NATIVE | CONST_CELL
            | CONST_USERDATA | CONST_COROUTINE => Object(kind_of(node.ty?)?, self.named(node)),
            PARAM => {
                let v = self.oracle.unknown(Key::Param(operand));
                self.oracle.typed(v, node.ty?)
            }
            LOAD => {
                let v = match self.slots.get(&(operand as Slot)) {
                    Some(&v) => self.oracle.resolve(v),
                    None => self.oracle.unknown(Key::Slot(operand as Slot)),
                };
                self.oracle.typed(v, node.ty?)
            }
            GUARD_INT | GUARD_FLOAT | GUARD_BOOL | GUARD_STRING | GUARD_TABLE | GUARD_CLOSURE
            | GUARD_NATIVE | GUARD_CELL | GUARD_USERDATA | GUARD_COROUTINE => {
                return self.guard(x, node.ty?);
            }
            GUARD_NUMBER => match self.guard(x, Type::Float) {
                Some(v) => v,
                None => match self.value(x) {
                    Int(i) => Float((i as f64).to_bits()),
                    _ => return None,
                },
            },
            GUARD_NIL | GUARD_NOT_NIL | IS_NIL => {
                let v = self.value(x);
                let nil = self.oracle.look(v, Type::Int) == Nil;
                match node.op {
                    IS_NIL => Bool(nil),
                    op => return holds(nil == (op == GUARD_NIL)),
                }
            }
            GUARD_FOUND => {
                let v = self.value(x);
                return holds(operand != 0 || self.oracle.look(v, Type::Int) != Nil);
            }
            GUARD_FOUND_IN => {
                let v = self.value(y);
                let nil = self.oracle.look(v, Type::Int) == Nil;
                return holds(!nil || self.fact(self.object(x), Fact::Metatable, 0) == 0);
            }
            GUARD_OBJECT => {
                let kind = self.sb.object(ObjectId(operand as u32)).kind.constant()?.1;
                let v = self.value(x);
                let v = self.oracle.look(v, kind);
                return holds(v == Object(kind_of(kind)?, self.named(node)));
            }
            GUARD_TRUE => return holds(self.bool(x)),
            GUARD_FALSE => return holds(!self.bool(x)),
            TRUTH => {
                let v = self.value(x);
                Bool(!matches!(
                    self.oracle.look(v, Type::Bool),
                    Nil | Bool(false)
                ))
            }
            ADD_I => Int(self.int(x).wrapping_add(self.int(y))),
            SUB_I => Int(self.int(x).wrapping_sub(self.int(y))),
            MUL_I => Int(self.int(x).wrapping_mul(self.int(y))),
            IDIV_I => {
                Int(number::int_floor_div(self.int(x), self.int(y))
                    .expect("the divisor is guarded"))
            }
            MOD_I => {
                Int(number::int_modulo(self.int(x), self.int(y)).expect("the divisor is guarded"))
            }
            NEG_I => Int(self.int(x).wrapping_neg()),
            AND_I => Int(self.int(x) & self.int(y)),
            OR_I => Int(self.int(x) | self.int(y)),
            XOR_I => Int(self.int(x) ^ self.int(y)),
            NOT_I => Int(!self.int(x)),
            SHL_I => Int(number::shift_left(self.int(x), self.int(y))),
            SHR_I => Int(number::shift_right(self.int(x), self.int(y))),
            SAR_I => Int(self
                .int(x)
                .checked_shr(self.int(y) as u32)
                .expect("the count is in range")),
            ABS_I => Int(self.int(x).wrapping_abs()),
            MIN_I => Int(self.int(x).min(self.int(y))),
            MAX_I => Int(self.int(x).max(self.int(y))),
            EQ_I => Bool(self.int(x) == self.int(y)),
            LT_I => Bool(self.int(x) < self.int(y)),
            LE_I => Bool(self.int(x) <= self.int(y)),
            LT_U => Bool((self.int(x) as u64) < self.int(y) as u64),
            SELECT_I | SELECT_F | SELECT => self.value(if self.bool(x) { y } else { w }),
            GUARD_NOT_ZERO => return holds(self.int(x) != 0),
            ADD_F => return fl(self.float(x) + self.float(y)),
            SUB_F => return fl(self.float(x) - self.float(y)),
            MUL_F => return fl(self.float(x) * self.float(y)),
            DIV_F => return fl(self.float(x) / self.float(y)),
            IDIV_F => return fl(number::float_floor_div(self.float(x), self.float(y))),
            MOD_F => return fl(number::float_modulo(self.float(x), self.float(y))),
            POW_F => return fl(number::pow(self.float(x), self.float(y))),
            NEG_F => return fl(-self.float(x)),
            ABS_F => return fl(self.float(x).abs()),
            SQRT_F => return fl(self.float(x).sqrt()),
            FLOOR_F => return fl(self.float(x).floor()),
            CEIL_F => return fl(self.float(x).ceil()),
            MIN_F => self.value(if self.float(y) < self.float(x) { y } else { x }),
            MAX_F => self.value(if self.float(x) < self.float(y) { y } else { x }),
            EQ_F => Bool(self.float(x) == self.float(y)),
            LT_F => Bool(self.float(x) < self.float(y)),
            LE_F => Bool(self.float(x) <= self.float(y)),
            INT_TO_FLOAT => return fl(self.int(x) as f64),
            EXACT_FLOAT => {
                let exact = (-(1 << 53)..1 << 53).contains(&self.int(x));
                return exact.then_some(Float((self.int(x) as f64).to_bits()));
            }
            CALL_F => return fl(functions::call(operand, self.float(x), 0.0)),
            CALL_FF => return fl(functions::call(operand, self.float(x), self.float(y))),
            FLOAT_TO_INT => return number::float_to_int_exact(self.float(x)).map(Int),
            FOR_GOES_ON => {
                let (a, b) = if self.float(w) > 0.0 { (x, y) } else { (y, x) };
                Bool(self.float(a) <= self.float(b))
            }
            NOT => Bool(!self.bool(x)),
            SAME => Bool(self.value(x) == self.value(y)),
            RAW_EQ => Bool(self.raw_equal(x, y)),
            GUARD_RAW_EQ => {
                let equal = self.raw_equal(x, y);
                let asks = |v| matches!(v, Object(Kind::Table | Kind::Userdata, _));
                let (a, b) = (self.value(x), self.value(y));
                let same_kind = matches!((a, b), (Object(p, _), Object(q, _)) if p == q);
                return holds(equal || !(same_kind && asks(a)));
            }
            EQ_S => Bool(self.content(x) == self.content(y)),
            LT_S => Bool(self.content(x) < self.content(y)),
            LE_S => Bool(self.content(x) <= self.content(y)),
            LENGTH_S => Int(self.content(x) as i64 & 7),
            LOAD_CELL => self.get(self.object(x), Place::Cell),
            STORE_CELL => {
                let v = self.value(y);
                self.put(self.object(x), Place::Cell, v);
                Nil
            }
            SET_CELL => {
                let (cell, v) = (self.object(x), self.value(y));
                self.heap.places.insert((cell, Place::Cell), v);
                self.heap.facts.insert((cell, Fact::Mutable as u8), 1);
                Nil
            }
            GUARD_MUTABLE => return holds(self.fact(self.object(x), Fact::Mutable, 1) != 0),
            NEW_CELL => {
                let (cell, v) = (self.allocate(Kind::Cell), self.value(x));
                self.heap.facts.insert((cell, Fact::Mutable as u8), 0);
                self.heap.places.insert((cell, Place::Cell), v);
                Object(Kind::Cell, cell)
            }
            GUARD_SHAPE => {
                return holds(self.fact(self.object(x), Fact::Shape, operand) == operand);
            }
            SET_SHAPE => {
                let table = self.object(x);
                if self.fact(table, Fact::Shape, operand) != operand {
                    self.heap.facts.insert((table, Fact::Shape as u8), operand);
                }
                Nil
            }
            GUARD_NO_METATABLE => return holds(self.fact(self.object(x), Fact::Metatable, 0) == 0),
            GUARD_METATABLE => {
                let wanted = self.named(node);
                return holds(self.fact(self.object(x), Fact::Metatable, wanted) == wanted);
            }
            BARRIER => {
                self.heard.insert(self.object(x));
                Nil
            }
            ALLOCATE_TABLE => {
                let table = self.allocate(Kind::Table);
                self.heap.facts.insert((table, Fact::Shape as u8), operand);
                Object(Kind::Table, table)
            }
            LOAD_INLINE => self.get(self.object(x), Place::Inline(operand)),
            LOAD_OVERFLOW => self.get(self.object(x), Place::Overflow(operand)),
            LOAD_HOLDER => {
                let table = self.named(node);
                let slot = node.operands[1];
                let in_overflow = slot_offsets(slot).payload < 48;
                self.get(
                    table,
                    if in_overflow {
                        Place::Overflow(slot)
                    } else {
                        Place::Inline(slot)
                    },
                )
            }
            STORE_INLINE | STORE_OVERFLOW => {
                let v = self.value(y);
                let place = if node.op == STORE_INLINE {
                    Place::Inline(operand)
                } else {
                    Place::Overflow(operand)
                };
                self.put(self.object(x), place, v);
                Nil
            }
            SET_METATABLE => {
                let (table, v) = (self.object(x), self.value(y));
                self.set_fact(table, Fact::Shape, operand);
                self.set_fact(table, Fact::Metatable, 1);
                self.put(table, Place::Metatable, v);
                Nil
            }
            ALLOCATE_CLOSURE => Object(Kind::Closure, self.allocate(Kind::Closure)),
            INIT_CAPTURED => {
                let v = self.value(y);
                self.heap.places.insert((self.object(x), Place::Captured(operand)), v);
                Nil
            }
            LOAD_CAPTURED => {
                let v = self.get(self.object(x), Place::Captured(operand));
                self.oracle.typed(v, Type::Cell)
            }
            GUARD_PROTO => {
                let closure = self.object(x);
                return holds(closure >= FRESH);
            }
            VIRTUAL_TABLE => Object(Kind::Table, self.allocate(Kind::Table)),
            VIRTUAL_CLOSURE => Object(Kind::Closure, self.allocate(Kind::Closure)),
            VIRTUAL_CELL => Object(Kind::Cell, self.allocate(Kind::Cell)),
            INIT_ELEMENT => {
                let (table, i, v) = (self.object(x), self.int(y), self.value(w));
                let kind = self.fact(table, Fact::ArrayKind, 0);
                let kind = self.joined(ArrayKind(kind as u8), v);
                self.set_fact(table, Fact::Length, i as u64);
                self.set_fact(table, Fact::ArrayKind, kind.0 as u64);
                self.put(table, Place::Element(i), v);
                Nil
            }
            GUARD_IN_ARRAY => return holds(self.in_array(self.object(x), self.int(y))),
            GUARD_ARRAY_KIND => {
                return holds(self.fact(self.object(x), Fact::ArrayKind, operand) == operand);
            }
            GUARD_ACCEPTS => {
                let v = self.value(y);
                return holds(self.accepts(self.object(x), v));
            }
            GUARD_APPENDS => return holds(self.appends(self.object(x), self.int(y))),
            GUARD_STORABLE => {
                let (table, i, v) = (self.object(x), self.int(y), self.value(w));
                if !self.accepts(table, v) {
                    return None;
                }
                if self.in_array(table, i) {
                    let old = self.get(table, Place::Element(i));
                    let old = self.oracle.look(old, Type::Int);
                    return holds(old != Nil || self.fact(table, Fact::Metatable, 0) == 0);
                }
                return holds(self.appends(table, i));
            }
            GUARD_RAW_STORABLE => {
                let (table, i, v) = (self.object(x), self.int(y), self.value(w));
                let accepts = self.accepts(table, v);
                return holds(accepts && (self.in_array(table, i) || self.appends(table, i)));
            }
            LOAD_ELEMENT | LOAD_ELEMENT_I | LOAD_ELEMENT_F | TEST_ELEMENT => {
                let (table, i) = (self.object(x), self.int(y));
                assert!(self.in_array(table, i), "{r} is out of range:\n{}", self.sb);
                let v = self.get(table, Place::Element(i));
                if node.op == TEST_ELEMENT {
                    Bool(!matches!(
                        self.oracle.look(v, Type::Bool),
                        Nil | Bool(false)
                    ))
                } else {
                    v
                }
            }
            STORE_ELEMENT | REPLACE_ELEMENT => {
                let (table, i, v) = (self.object(x), self.int(y), self.value(w));
                if !self.in_array(table, i) {
                    assert!(
                        node.op == STORE_ELEMENT && self.appends(table, i),
                        "{r} is out of range:\n{}",
                        self.sb
                    );
                    self.heap
                        .facts
                        .insert((table, Fact::Length as u8), i as u64);
                }
                self.put(table, Place::Element(i), v);
                Nil
            }
            LENGTH_T => {
                let table = self.object(x);
                let n = self.fact(table, Fact::Length, 3) as i64;
                let last = if n > 0 {
                    self.get(table, Place::Element(n))
                } else {
                    Bool(true)
                };
                Int(n - (self.oracle.look(last, Type::Int) == Nil) as i64)
            }
            RAW_GET => {
                let (table, key) = (self.object(x), self.value(y));
                let key = self.oracle.look(key, Type::Int);
                match key {
                    Int(i) if self.in_array(table, i) => self.get(table, Place::Element(i)),
                    _ => {
                        let digest = self.digest(table);
                        let (known, key) = (self.identity(table), self.named_value(key));
                        self.oracle.unknown(Key::Raw(known, digest, key))
                    }
                }
            }
            RAW_SET => {
                let (table, key, v) = (self.object(x), self.value(y), self.value(w));
                match self.oracle.look(key, Type::Int) {
                    Nil => return None,
                    Float(bits) if f64::from_bits(bits).is_nan() => return None,
                    Int(i) if self.in_array(table, i) => {
                        if !self.accepts(table, v) {
                            self.heap
                                .facts
                                .insert((table, Fact::ArrayKind as u8), ArrayKind::ANY.0 as u64);
                        }
                        self.heap.places.insert((table, Place::Element(i)), v);
                    }
                    _ => {
                        // Any part of the table may be another one now.
                        self.heap.places.retain(|k, _| k.0 != table);
                        self.heap.facts.retain(|k, _| k.0 != table);
                        *self.generations.entry(table).or_insert(0) += 1;
                    }
                }
                Nil
            }
            FIND_NEXT | KEY_POSITION | NEXT_POSITION | LOAD_KEY | LOAD_VALUE => {
                let (table, at) = (self.object(x), self.value(y));
                let at = self.oracle.look(at, Type::Int);
                let digest = self.digest(table);
                let (known, at) = (self.identity(table), self.named_value(at));
                let found = self
                    .oracle
                    .unknown(Key::Traversal(node.op, known, digest, at));
                if matches!(node.op, FIND_NEXT | KEY_POSITION)
                    && self.oracle.look(found, Type::Int) == Nil
                {
                    return None;
                }
                match node.op {
                    FIND_NEXT | KEY_POSITION | NEXT_POSITION => self.oracle.look_as_int(found),
                    _ => found,
                }
            }
            TAG => self.value(x),
            SUNK => Nil,
            POLL | GUARD_VALID | SAFEPOINT => return holds(!self.leaves(node.op)),
            EXIT | LINK => return None,
            op => panic!("{op} is not evaluated"),
        })
    }
}
