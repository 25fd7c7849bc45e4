//! Large tables and interned strings while the collector is in the middle of them: what moves behind its back stays.
//!
//! In tests slices are a few elements long, so that tables of some dozens are traced in many steps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::graph::{TestRoots, new_table, set, string};
use crate::heap::Mode;
use crate::runtime::Runtime;
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::Value;

/// Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Push,
    Insert(usize),
    Remove(usize),
    Replace(usize),
    /// Exchanges two elements of the array.
    Swap(usize, usize),
    /// A new entry of the map, its key and value otherwise unknown.
    Enter,
    Delete(usize),
    /// An element of the array becomes a value of the map.
    Move(usize),
    /// A value of the map becomes an element of the array.
    MoveBack(usize),
    /// A string is kept under a number.
    Keep(i64, u8),
    Drop(i64),
    /// Strings that nobody keeps.
    Mention(u8, u8),
    Work(isize),
    Full,
}

fn op() -> impl Strategy<Value = Op> {
    let n = any::<usize>;
    prop_oneof![
        6 => Just(Op::Push),
        4 => n().prop_map(Op::Insert),
        3 => n().prop_map(Op::Remove),
        2 => n().prop_map(Op::Replace),
        2 => (n(), n()).prop_map(|(i, j)| Op::Swap(i, j)),
        6 => Just(Op::Enter),
        3 => n().prop_map(Op::Delete),
        3 => n().prop_map(Op::Move),
        3 => n().prop_map(Op::MoveBack),
        4 => (1i64..30, any::<u8>()).prop_map(|(k, s)| Op::Keep(k, s)),
        2 => (1i64..30).prop_map(Op::Drop),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(from, n)| Op::Mention(from, n)),
        16 => (1isize..150).prop_map(Op::Work),
        4 => (1isize..20_000).prop_map(Op::Work),
        1 => Just(Op::Full),
    ]
}

struct World {
    rt: Runtime,
    roots: TestRoots,
    array: Gc<Table>,
    map: Gc<Table>,
    kept: Gc<Table>,
    /// What the tables hold: the numbers of tables, and strings by number.
    elements: Vec<i64>,
    entries: BTreeMap<i64, i64>,
    strings: BTreeMap<i64, u8>,
    next: i64,
}

fn text(n: u8) -> String {
    // Of all lengths that are interned.
    format!("s{n}{}", "x".repeat(n as usize % 30))
}

impl World {
    fn new(mode: Mode) -> World {
        let mut rt = Runtime::new().unwrap();
        let [array, map, kept] = std::array::from_fn(|_| new_table(&mut rt));
        let roots = TestRoots::default();
        roots
            .0
            .borrow_mut()
            .extend([array, map, kept].map(Value::table));
        rt.set_gc_mode(&roots, mode);
        World {
            rt,
            roots,
            array,
            map,
            kept,
            elements: Vec::new(),
            entries: BTreeMap::new(),
            strings: BTreeMap::new(),
            next: 0,
        }
    }

    /// A new table with its number.
    fn numbered(&mut self) -> (i64, Value) {
        self.next += 1;
        let t = new_table(&mut self.rt);
        set(&mut self.rt, t, Value::int(1), Value::int(self.next));
        (self.next, Value::table(t))
    }

    fn number(&self, v: Value) -> i64 {
        self.rt
            .get(v.as_table().unwrap(), Value::int(1))
            .as_int()
            .unwrap()
    }

    fn push(&mut self, number: i64, v: Value) {
        let (array, at) = (self.array, self.elements.len() as i64 + 1);
        set(&mut self.rt, array, Value::int(at), v);
        self.elements.push(number);
    }

    fn enter(&mut self, number: i64, v: Value) {
        let (key_number, key) = self.numbered();
        let map = self.map;
        set(&mut self.rt, map, key, v);
        self.entries.insert(key_number, number);
    }

    /// The `n`-th entry of the map as it is traversed.
    fn entry(&self, n: usize) -> (Value, Value) {
        let mut at = self.rt.next(self.map, Value::NIL).unwrap().unwrap();
        for _ in 0..n % self.entries.len() {
            at = self.rt.next(self.map, at.0).unwrap().unwrap();
        }
        at
    }

    fn delete(&mut self, n: usize) -> (i64, Value) {
        let (key, v) = self.entry(n);
        self.entries.remove(&self.number(key));
        let map = self.map;
        set(&mut self.rt, map, key, Value::NIL);
        (self.number(v), v)
    }

    fn remove(&mut self, n: usize) -> (i64, Value) {
        let i = n % self.elements.len();
        let v = self.rt.get(self.array, Value::int(i as i64 + 1));
        assert!(self.rt.remove_element(self.array, i as u32 + 1).is_ok());
        (self.elements.remove(i), v)
    }

    fn apply(&mut self, op: Op) {
        let len = self.elements.len();
        match op {
            Op::Push => {
                let (number, v) = self.numbered();
                self.push(number, v);
            }
            Op::Enter => {
                let (number, v) = self.numbered();
                self.enter(number, v);
            }
            Op::Keep(k, n) => {
                let s = string(&mut self.rt, &text(n));
                let kept = self.kept;
                set(&mut self.rt, kept, Value::int(k), s);
                self.strings.insert(k, n);
            }
            Op::Drop(k) => {
                let kept = self.kept;
                set(&mut self.rt, kept, Value::int(k), Value::NIL);
                self.strings.remove(&k);
            }
            Op::Mention(from, n) => {
                for i in 0..n {
                    let s = string(&mut self.rt, &text(from.wrapping_add(i)));
                    assert_eq!(
                        s.as_string().unwrap().as_bytes(),
                        text(from.wrapping_add(i)).as_bytes()
                    );
                }
            }
            Op::Work(budget) => {
                self.rt.work(&self.roots, budget);
            }
            Op::Full => self.rt.collect_full(&self.roots),
            Op::Delete(n) if !self.entries.is_empty() => {
                self.delete(n);
            }
            Op::MoveBack(n) if !self.entries.is_empty() => {
                let (number, v) = self.delete(n);
                self.push(number, v);
            }
            _ if len == 0 => {}
            Op::Insert(n) => {
                let (number, v) = self.numbered();
                assert!(
                    self.rt
                        .insert_element(self.array, (n % len) as u32 + 1, v)
                        .is_ok()
                );
                self.elements.insert(n % len, number);
            }
            Op::Remove(n) => {
                self.remove(n);
            }
            Op::Move(n) => {
                let (number, v) = self.remove(n);
                self.enter(number, v);
            }
            Op::Replace(n) => {
                let (number, v) = self.numbered();
                let array = self.array;
                set(&mut self.rt, array, Value::int((n % len) as i64 + 1), v);
                self.elements[n % len] = number;
            }
            Op::Swap(i, j) => {
                let array = self.array;
                let keys = [i % len, j % len].map(|i| Value::int(i as i64 + 1));
                let values = keys.map(|k| self.rt.get(array, k));
                set(&mut self.rt, array, keys[0], values[1]);
                set(&mut self.rt, array, keys[1], values[0]);
                self.elements.swap(i % len, j % len);
            }
            Op::Delete(_) | Op::MoveBack(_) => {}
        }
    }

    fn check(&mut self) {
        for (i, &number) in self.elements.iter().enumerate() {
            assert_eq!(
                self.number(self.rt.get(self.array, Value::int(i as i64 + 1))),
                number
            );
        }
        let mut found = BTreeMap::new();
        let mut key = Value::NIL;
        while let Some((k, v)) = self.rt.next(self.map, key).unwrap() {
            found.insert(self.number(k), self.number(v));
            key = k;
        }
        assert_eq!(found, self.entries);
        for (&k, &n) in &self.strings {
            let s = self.rt.get(self.kept, Value::int(k));
            assert!(s.same_bits(Value::string(
                self.rt.new_string(text(n).as_bytes()).unwrap()
            )));
        }
    }
}

fn run(mode: Mode, ops: Vec<Op>) {
    let mut world = World::new(mode);
    for op in ops {
        let collects = matches!(op, Op::Work(_) | Op::Full);
        world.apply(op);
        if collects {
            world.check();
        }
    }
    world.rt.collect_full(&world.roots);
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_in_incremental_mode(ops in prop::collection::vec(op(), 1..400)) {
        run(Mode::Incremental, ops);
    }

    #[test]
    fn nothing_is_lost_in_generational_mode(ops in prop::collection::vec(op(), 1..400)) {
        run(Mode::Generational, ops);
    }
}

/// A large array, a large hash part and many strings do not make for long steps.
#[test]
fn steps_are_bounded() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let [array, map, strings] = std::array::from_fn(|_| new_table(&mut rt));
    roots
        .0
        .borrow_mut()
        .extend([array, map, strings].map(Value::table));
    for i in 1..=20_000 {
        let t = new_table(&mut rt);
        set(&mut rt, array, Value::int(i), Value::table(t));
        set(&mut rt, map, Value::table(t), Value::int(i));
        let s = string(&mut rt, &format!("string {i}"));
        if i % 2 == 0 {
            set(&mut rt, strings, Value::int(i), s);
        }
    }
    let before = rt.strings.len();
    let mut steps = 0;
    while !rt.work(&roots, 1000) {
        steps += 1;
        // A store into each of the tables, wherever the collector is.
        for t in [array, map] {
            let i = steps % 20_000 + 1;
            let v = new_table(&mut rt);
            set(&mut rt, t, Value::int(i), Value::table(v));
        }
    }
    assert!(steps > 1000, "{steps}");
    assert!(rt.strings.len() < before - 9000);
}

/// The interner grows and shrinks while it is swept.
#[test]
fn strings_come_and_go_while_they_are_swept() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let kept = new_table(&mut rt);
    roots.0.borrow_mut().push(Value::table(kept));
    let mut next = 0;
    for round in 0..40 {
        // Many strings in some rounds, few in others.
        let many = if round % 8 < 4 { 60 } else { 1 };
        while !rt.work(&roots, 2_000) {
            for _ in 0..many {
                next += 1;
                let s = string(&mut rt, &format!("string {next}"));
                if next % 7 == 0 {
                    set(&mut rt, kept, Value::int(next / 7 % 500 + 1), s);
                }
            }
        }
        for i in 1..=500 {
            if let Some(s) = kept.get_int(i).as_string() {
                let text = s.as_bytes().to_vec();
                assert_eq!(rt.new_string(&text).unwrap(), s);
            }
        }
    }
    while !rt.work(&roots, 10_000) {}
    while !rt.work(&roots, 10_000) {}
    assert!(rt.strings.len() < 1500, "{}", rt.strings.len());
}

/// A full collection gives the memory of an interner back that has had many strings.
#[test]
fn full_collections_shrink_the_interner() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    rt.collect_full(&roots);
    let before = rt.heap.used();
    for i in 0..50_000 {
        string(&mut rt, &format!("string {i}"));
    }
    let grown = rt.heap.used() - before;
    rt.collect_full(&roots);
    let kept = rt.heap.used() - before;
    assert!(kept < grown / 8, "{kept} of {grown}");
}
