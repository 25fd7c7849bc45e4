//! Tests of tables, shapes, classes and strings against simple models.

use std::collections::HashMap;

use proptest::prelude::*;

use super::Runtime;
use super::array::ArrayKind;
use super::assumption::Assumption;
use super::metatable::Event;
use super::object::Gc;
use super::shape::{Location, ShapeId};
use super::string::{SHORT_MAX, Str};
use super::table::{Table, TableError, table_flags};
use super::value::Value;
use crate::bytecode::cache::TableSite;

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

fn table(rt: &mut Runtime) -> Gc<Table> {
    rt.new_table(ShapeId::EMPTY, 0).unwrap()
}

fn string(rt: &mut Runtime, s: &str) -> Gc<Str> {
    rt.new_string(s.as_bytes()).unwrap()
}

fn list(rt: &mut Runtime, values: &[Option<i64>]) -> Gc<Table> {
    let t = table(rt);
    let values: Vec<Value> = values
        .iter()
        .map(|v| v.map_or(Value::NIL, Value::int))
        .collect();
    // SAFETY: the pointer is to so many values.
    unsafe {
        rt.set_list(t, 1, values.as_ptr(), values.len() as u32)
            .unwrap()
    };
    t
}

/// A key of the model: what a Lua key is after normalisation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Int(i64),
    Float(u64),
    Bool(bool),
    Str(String),
}

impl Key {
    fn value(&self, rt: &mut Runtime) -> Value {
        match self {
            Key::Int(i) => Value::int(*i),
            Key::Float(bits) => Value::float(f64::from_bits(*bits)),
            Key::Bool(b) => Value::bool(*b),
            Key::Str(s) => Value::string(string(rt, s)),
        }
    }
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        6 => (1..40i64).prop_map(Key::Int),
        1 => prop_oneof![-3..1i64, Just(i64::MIN), Just(i64::MAX), (1..60i64).prop_map(|i| i << 33)].prop_map(Key::Int),
        1 => (1..9i32).prop_map(|i| Key::Float((i as f64 + 0.5).to_bits())),
        1 => any::<bool>().prop_map(Key::Bool),
        5 => (0..60u32).prop_map(|i| Key::Str(format!("k{i}"))),
        1 => (0..4u32).prop_map(|i| Key::Str(format!("{i}{}", "x".repeat(SHORT_MAX)))),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    /// `None` assigns nil; otherwise an integer, float or boolean value.
    Set(Key, Option<u8>),
    SetConst(u32, Option<u8>),
    Append(u8),
    Pop,
    /// Traverses, assigning nil to every n-th entry.
    Sweep(usize),
    Holder,
    List(Vec<Option<u8>>),
}

fn op() -> impl Strategy<Value = Op> {
    let value = || prop_oneof![1 => Just(None), 3 => any::<u8>().prop_map(Some)];
    prop_oneof![
        20 => (key(), value()).prop_map(|(k, v)| Op::Set(k, v)),
        8 => (0..30u32, value()).prop_map(|(k, v)| Op::SetConst(k, v)),
        8 => any::<u8>().prop_map(Op::Append),
        4 => Just(Op::Pop),
        1 => (1..4usize).prop_map(Op::Sweep),
        1 => Just(Op::Holder),
        1 => proptest::collection::vec(value(), 0..6).prop_map(Op::List),
    ]
}

fn sample(v: Option<u8>) -> Value {
    match v {
        None => Value::NIL,
        Some(n) if n % 5 == 0 => Value::float(n as f64),
        Some(n) if n % 7 == 0 => Value::TRUE,
        Some(n) => Value::int(n as i64),
    }
}

struct Model {
    rt: Runtime,
    t: Gc<Table>,
    entries: HashMap<Key, Value>,
}

impl Model {
    fn put(&mut self, k: Key, v: Value) {
        if v.is_nil() {
            self.entries.remove(&k);
        } else {
            self.entries.insert(k, v);
        }
    }

    fn set(&mut self, k: Key, v: Value) {
        let key = k.value(&mut self.rt);
        self.rt.set(self.t, key, v).unwrap();
        self.put(k, v);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Set(k, v) => self.set(k, sample(v)),
            Op::SetConst(k, v) => {
                let name = format!("k{k}");
                let key = string(&mut self.rt, &name);
                self.rt.set_str_const(self.t, key, sample(v)).unwrap();
                self.put(Key::Str(name), sample(v));
            }
            Op::Append(n) => self.set(Key::Int(self.t.length() + 1), sample(Some(n))),
            Op::Pop => self.set(Key::Int(self.t.length()), Value::NIL),
            Op::Sweep(n) => self.sweep(n),
            Op::Holder => {
                self.rt.make_holder(self.t).unwrap();
            }
            Op::List(values) => {
                let values: Vec<Value> = values.into_iter().map(sample).collect();
                // SAFETY: the pointer is to so many values.
                unsafe {
                    self.rt
                        .set_list(self.t, 1, values.as_ptr(), values.len() as u32)
                        .unwrap()
                };
                for (i, v) in values.into_iter().enumerate() {
                    self.put(Key::Int(i as i64 + 1), v);
                }
            }
        }
    }

    /// Every entry is seen once, whatever is assigned nil on the way.
    fn sweep(&mut self, n: usize) {
        let expected = self.entries.len();
        let (mut at, mut seen) = (Value::NIL, 0);
        while let Some((k, v)) = self.rt.next(self.t, at).unwrap() {
            assert!(self.rt.get(self.t, k).same_bits(v));
            seen += 1;
            if seen % n == 0 {
                self.rt.set(self.t, k, Value::NIL).unwrap();
            }
            at = k;
        }
        assert_eq!(seen, expected);
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        for k in keys {
            let key = k.value(&mut self.rt);
            if self.rt.get(self.t, key).is_nil() {
                self.entries.remove(&k);
            }
        }
        assert_eq!(self.entries.len(), expected - expected / n);
    }

    fn check(&mut self) {
        let (mut position, mut seen) = (0, 0);
        while let Some((next, k, v)) = self.rt.next_index(self.t, position) {
            assert!(!v.is_nil() && self.rt.get(self.t, k).same_bits(v));
            (position, seen) = (next, seen + 1);
        }
        assert_eq!(seen, self.entries.len());
        for (k, v) in &self.entries {
            let key = k.value(&mut self.rt);
            assert!(self.rt.get(self.t, key).same_bits(*v), "{k:?}");
        }
        let n = self.t.length();
        assert!(n == 0 || self.entries.contains_key(&Key::Int(n)));
        assert!(!self.entries.contains_key(&Key::Int(n + 1)));
        let kind = self.t.array_kind.get();
        for &tag in self.t.element_tags() {
            assert!(match kind {
                ArrayKind::ANY => true,
                ArrayKind::PACKED => tag != 0,
                ArrayKind(uniform) => tag == uniform && tag != 0,
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_agree_with_a_map(ops in proptest::collection::vec(op(), 1..200), cap in 0..9u32) {
        let mut rt = runtime();
        let shape = rt.shapes.root_for(cap);
        let t = rt.new_table(shape, cap).unwrap();
        let mut model = Model { rt, t, entries: HashMap::new() };
        for op in ops {
            model.run(op);
            model.check();
        }
    }

    #[test]
    fn failed_allocations_leave_tables_whole(ops in proptest::collection::vec(op(), 1..100), room in 0..2000usize) {
        let mut rt = runtime();
        let t = table(&mut rt);
        let mut model = Model { rt, t, entries: HashMap::new() };
        for op in ops {
            let Op::Set(k, v) = op else { continue };
            let (key, v) = (k.value(&mut model.rt), sample(v));
            model.rt.heap.set_limit(model.rt.heap.used() + room);
            let result = model.rt.set(t, key, v);
            model.rt.heap.set_limit(usize::MAX);
            match result {
                Ok(()) => model.put(k, v),
                Err(e) => prop_assert_eq!(e, TableError::Memory),
            }
            model.check();
        }
    }

    #[test]
    fn metamethods_are_what_the_metatable_says(
        ops in proptest::collection::vec((0..8usize, 0..4usize, 0..4usize, 0..6i64, 0..7u8), 1..150)
    ) {
        let mut rt = runtime();
        let metas: Vec<_> = (0..4).map(|_| table(&mut rt)).collect();
        let mut objects: Vec<_> = (0..8).map(|_| table(&mut rt)).collect();
        let events = [Event::Index, Event::Len, Event::Call, Event::Metatable];
        for (o, m, e, n, what) in ops {
            let (object, meta, event) = (objects[o], metas[m], events[e]);
            let value = if n == 0 { Value::NIL } else { Value::int(n % 3) };
            let name = rt.events[event as usize];
            match what {
                0 | 1 => rt.set_metatable(object, Some(meta)).unwrap(),
                2 => rt.set_metatable(object, None).unwrap(),
                3 => rt.set_str_const(meta, name, value).unwrap(),
                4 => {
                    let key = string(&mut rt, &format!("f{n}"));
                    rt.set_str_const(object, key, Value::TRUE).unwrap();
                    rt.set_str_const(meta, key, Value::TRUE).unwrap();
                }
                5 => { rt.make_holder(if n < 3 { object } else { meta }).unwrap(); }
                _ => {
                    // A fresh metatable of equal events.
                    let fresh = table(&mut rt);
                    rt.set_str_const(fresh, name, value).unwrap();
                    objects[o] = table(&mut rt);
                    rt.set_metatable(objects[o], Some(fresh)).unwrap();
                }
            }
            for &object in &objects {
                for &event in Event::ALL {
                    let name = rt.events[event as usize];
                    let raw = object.metatable.get().map_or(Value::NIL, |m| rt.get_str(m, name));
                    prop_assert!(rt.table_event(object, event).same_bits(raw));
                }
            }
        }
    }

    #[test]
    fn appending_builds_the_concatenation(
        pieces in proptest::collection::vec((0..4usize, proptest::collection::vec(any::<u8>(), 0..120)), 1..60)
    ) {
        let mut rt = runtime();
        let mut made: Vec<(Gc<Str>, Vec<u8>)> = vec![(rt.strings.empty(), Vec::new())];
        for (back, piece) in pieces {
            // Mostly the last string is extended, sometimes one whose buffer has been used up.
            let (left, mut bytes) = made[made.len().saturating_sub(1 + back / 2)].clone();
            let right = rt.new_string(&piece).unwrap();
            bytes.extend(&piece);
            made.push((rt.append(left, &[right.as_bytes()]).unwrap(), bytes));
        }
        for (s, bytes) in made {
            prop_assert_eq!(s.as_bytes(), &bytes[..]);
            let other = rt.new_string(&bytes).unwrap();
            prop_assert!(s == other || s.content_equals(other));
            prop_assert_eq!(rt.strings.hash_of(s), rt.strings.hash_of(other));
        }
    }
}

#[test]
fn borders_of_constructors_are_the_references() {
    let mut rt = runtime();
    let cases: [(&[Option<i64>], i64); 8] = [
        (&[Some(1), None, Some(3)], 3),
        (&[Some(1), Some(2), None], 2),
        (&[None], 0),
        (&[Some(1), None, Some(3), None], 3),
        (&[None, None, Some(3)], 3),
        (&[None, Some(2), None], 2),
        (&[Some(1), None, None, Some(4), None, None], 1),
        (&[None, None, Some(3), None, None], 0),
    ];
    for (values, border) in cases {
        assert_eq!(list(&mut rt, values).length(), border, "{values:?}");
    }
}

#[test]
fn keys_are_checked_and_normalised() {
    let mut rt = runtime();
    let t = table(&mut rt);
    assert_eq!(rt.set(t, Value::NIL, Value::NIL), Err(TableError::NilKey));
    assert_eq!(
        rt.set(t, Value::float(f64::NAN), Value::TRUE),
        Err(TableError::NanKey)
    );
    rt.set(t, Value::float(3.0), Value::TRUE).unwrap();
    assert!(rt.get(t, Value::int(3)).same_bits(Value::TRUE));
    rt.set(t, Value::float(-0.0), Value::FALSE).unwrap();
    assert!(rt.get(t, Value::int(0)).same_bits(Value::FALSE));
    assert!(rt.get(t, Value::float(f64::NAN)).is_nil());
    assert!(rt.next(t, Value::int(77)).is_err());
}

#[test]
fn a_queue_keeps_its_array_small() {
    let mut rt = runtime();
    let t = table(&mut rt);
    for i in 1..100_000 {
        rt.set_int(t, i, Value::int(i)).unwrap();
        rt.set_int(t, i - 10, Value::NIL).unwrap();
    }
    assert!(
        t.array_cap.get() <= 1024 && t.hash_part().is_none_or(|hash| hash.node_count() <= 1024)
    );
}

#[test]
fn filled_backwards_a_table_becomes_an_array() {
    let mut rt = runtime();
    let t = table(&mut rt);
    for i in (1..=1000).rev() {
        rt.set_int(t, i, Value::int(i)).unwrap();
    }
    assert!(t.array_len.get() == 1000 && t.length() == 1000);
}

#[test]
fn dynamic_keys_make_a_dictionary_but_constant_ones_do_not() {
    let mut rt = runtime();
    let (fields, map) = (table(&mut rt), table(&mut rt));
    for i in 0..100 {
        let key = string(&mut rt, &format!("key{i}"));
        rt.set_str_dynamic(map, key, Value::int(i)).unwrap();
        rt.set_str_const(fields, key, Value::int(i)).unwrap();
    }
    assert!(map.has_flag(table_flags::DICTIONARY) && !fields.has_flag(table_flags::DICTIONARY));
    let key = string(&mut rt, "key77");
    assert!(matches!(rt.locate(fields, key), Location::Overflow(_)));
    assert!(matches!(rt.locate(map, key), Location::Dictionary(_)));
    assert_eq!(rt.get_str(map, key).as_int(), Some(77));
}

#[test]
fn planned_adds_are_what_a_store_does() {
    let mut rt = runtime();
    let shape = rt.shapes.root_for(2);
    let t = rt.new_table(shape, 0).unwrap();
    for i in 0..12 {
        let key = string(&mut rt, &format!("p{i}"));
        let plan = rt.plan_add(t, key);
        rt.set_str_const(t, key, Value::int(i)).unwrap();
        // Slots 2, 6 and 10 need an overflow block.
        assert_eq!(plan.is_none(), matches!(i, 2 | 6 | 10), "{i}");
        if let Some(plan) = plan {
            assert_eq!(plan.next_shape, t.shape.get());
            let expected = if plan.inline {
                Location::Inline(plan.offsets)
            } else {
                Location::Overflow(plan.offsets)
            };
            assert_eq!(rt.locate(t, key), expected);
        }
    }
}

#[test]
fn holders_report_what_changes() {
    let mut rt = runtime();
    let t = table(&mut rt);
    let (a, b) = (string(&mut rt, "a"), string(&mut rt, "b"));
    rt.set_str_const(t, a, Value::int(1)).unwrap();
    assert!(rt.make_holder(t).unwrap());
    let (slot, v) = rt.constant_slot(t, a).unwrap();
    assert_eq!(v.as_int(), Some(1));
    let (constant, absent) = (
        Assumption::SlotConstant { table: t, slot },
        Assumption::KeyAbsent { table: t, key: b },
    );
    rt.assumptions.watch(constant).unwrap();
    rt.assumptions.watch(absent).unwrap();
    rt.set_str_const(t, a, Value::int(1)).unwrap();
    assert!(!rt.assumptions.any_broken());
    rt.set_str_const(t, a, Value::int(2)).unwrap();
    assert_eq!(rt.assumptions.take_broken(), [constant]);
    assert!(!rt.store_needs_slow_path(t, a));

    rt.rely_on_absence(t);
    let (shape, epoch) = (t.shape.get(), rt.holder_epoch);
    rt.set_str_const(t, b, Value::TRUE).unwrap();
    assert!(t.shape.get() != shape && rt.holder_epoch != epoch);
    assert_eq!(rt.assumptions.take_broken(), [absent]);
}

#[test]
fn slots_of_a_shape_never_move() {
    let mut rt = runtime();
    let t = table(&mut rt);
    assert!(rt.make_holder(t).unwrap());
    let mut known: HashMap<(ShapeId, u64), Location> = HashMap::new();
    let keys: Vec<_> = (0..40).map(|i| string(&mut rt, &format!("m{i}"))).collect();
    for &key in &keys {
        rt.set_str_const(t, key, Value::TRUE).unwrap();
        for &key in keys.iter().filter(|&&key| !rt.get_str(t, key).is_nil()) {
            let location = rt.locate(t, key);
            assert_eq!(
                *known.entry((t.shape.get(), key.addr())).or_insert(location),
                location
            );
        }
    }
}

#[test]
fn fresh_metatables_of_equal_events_share_a_shape() {
    let mut rt = runtime();
    let class = table(&mut rt);
    let index = rt.events[Event::Index as usize];
    let mut shapes = Vec::new();
    for _ in 0..3 {
        let (t, m) = (table(&mut rt), table(&mut rt));
        rt.set_str_const(m, index, Value::table(class)).unwrap();
        rt.set_metatable(t, Some(m)).unwrap();
        shapes.push((t.shape.get(), m));
    }
    assert!(shapes.iter().all(|s| s.0 == shapes[0].0));
    assert!(!rt.flush_caches);
    rt.set_str_const(shapes[0].1, index, Value::NIL).unwrap();
    assert!(rt.flush_caches && !rt.classes.is_known(rt.shapes.class(shapes[0].0)));
}

#[test]
fn many_classes_stay_bounded() {
    let mut rt = runtime();
    let index = rt.events[Event::Index as usize];
    let mut shapes = std::collections::HashSet::new();
    for i in 0..10_000 {
        let (t, m) = (table(&mut rt), table(&mut rt));
        rt.set_str_const(m, index, Value::int(i)).unwrap();
        rt.set_metatable(t, Some(m)).unwrap();
        assert_eq!(rt.table_event(t, Event::Index).as_int(), Some(i));
        shapes.insert(t.shape.get());
    }
    assert!(shapes.len() < 100);
}

#[test]
fn sites_learn_slots_and_elements() {
    let mut rt = runtime();
    let site = TableSite {
        shape: ShapeId::EMPTY.into(),
        array_cap: 0.into(),
        sample: None.into(),
        made: 0.into(),
        slots: 0,
        elements: 0,
    };
    let x = string(&mut rt, "x");
    for _ in 0..2 {
        let t = rt.new_table_at(&site).unwrap();
        rt.set_str_const(t, x, Value::TRUE).unwrap();
        for i in 1..=10 {
            rt.set_int(t, i, Value::int(i)).unwrap();
        }
    }
    assert_eq!(
        (rt.shapes.inline_cap(site.shape.get()), site.array_cap.get()),
        (1, 10)
    );
}

#[test]
fn dead_keys_do_not_stop_a_traversal() {
    let mut rt = runtime();
    let t = table(&mut rt);
    let keys: Vec<_> = (0..20).map(|_| Value::table(table(&mut rt))).collect();
    for &k in &keys {
        rt.set(t, k, Value::TRUE).unwrap();
    }
    let (mut at, mut seen) = (Value::NIL, 0);
    while let Some((k, _)) = rt.next(t, at).unwrap() {
        rt.set(t, k, Value::NIL).unwrap();
        t.hash_part()
            .unwrap()
            .nodes()
            .iter()
            .filter(|n| n.value().is_nil())
            .for_each(|n| n.kill_key());
        (at, seen) = (k, seen + 1);
    }
    assert_eq!(seen, keys.len());
}

#[test]
fn strings_compare_by_bytes() {
    let mut rt = runtime();
    let mut less = |a: &[u8], b: &[u8]| {
        let (a, b) = (rt.new_string(a).unwrap(), rt.new_string(b).unwrap());
        a.compare(b).is_lt()
    };
    assert!(
        less(b"a\0a", b"a\0b") && less(b"a", b"a\0") && less(b"Z", b"a") && less(b"a", b"\xff")
    );
}
