//! Random graphs of tables, with weak tables and finalizers, against a model of what is reachable.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::heap::{Marker, Mode, Roots};
use crate::runtime::Runtime;
use crate::runtime::object::Gc;
use crate::runtime::shape::ShapeId;
use crate::runtime::table::Table;
use crate::runtime::value::Value as Lua;

/// Roots that tests change.
#[derive(Default)]
pub(super) struct TestRoots(pub RefCell<Vec<Lua>>);

impl Roots for TestRoots {
    fn trace(&self, marker: &mut Marker<'_>) {
        self.0.borrow().iter().for_each(|&v| marker.mark_value(v));
    }

}

pub(super) fn new_table(rt: &mut Runtime) -> Gc<Table> {
    rt.new_table(ShapeId::EMPTY, 0).unwrap()
}

pub(super) fn set(rt: &mut Runtime, t: Gc<Table>, key: Lua, v: Lua) {
    assert!(rt.set(t, key, v).is_ok());
}

pub(super) fn string(rt: &mut Runtime, s: &str) -> Lua {
    Lua::string(rt.new_string(s.as_bytes()).unwrap())
}

/// A table with this `__mode`.
pub(super) fn weak_table(rt: &mut Runtime, mode: &str) -> Gc<Table> {
    let (t, m) = (new_table(rt), new_table(rt));
    let (key, mode) = (string(rt, "__mode"), string(rt, mode));
    set(rt, m, key, mode);
    rt.set_metatable(t, Some(m)).unwrap();
    t
}

/// Where a table refers to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Int(i64),
    Field(u8),
    /// The key is a table as well.
    Key(usize),
}

/// Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    /// A new table, stored in a slot of another one or made a root.
    New(usize, Option<Slot>),
    Link(usize, Slot, usize),
    Unlink(usize, usize),
    Unroot(usize),
    Ephemeron(usize, usize),
    AllWeak(usize, usize),
    Finalizer(usize),
    /// Garbage that makes the allocator reuse cells.
    Garbage(usize),
    Work(isize),
    Full,
    Finalize,
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        (1i64..12).prop_map(Slot::Int),
        (1i64..1 << 40).prop_map(Slot::Int),
        (0u8..12).prop_map(Slot::Field),
        any::<usize>().prop_map(Slot::Key),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let n = any::<usize>;
    prop_oneof![
        8 => (n(), prop::option::weighted(0.9, slot())).prop_map(|(i, s)| Op::New(i, s)),
        8 => (n(), slot(), n()).prop_map(|(i, s, j)| Op::Link(i, s, j)),
        6 => (n(), n()).prop_map(|(i, j)| Op::Unlink(i, j)),
        1 => n().prop_map(Op::Unroot),
        2 => (n(), n()).prop_map(|(i, j)| Op::Ephemeron(i, j)),
        2 => (n(), n()).prop_map(|(i, j)| Op::AllWeak(i, j)),
        2 => n().prop_map(Op::Finalizer),
        2 => (1usize..400).prop_map(Op::Garbage),
        8 => (1isize..3000).prop_map(Op::Work),
        1 => Just(Op::Full),
        1 => Just(Op::Finalize),
    ]
}

struct Node {
    table: Gc<Table>,
    links: BTreeMap<Slot, usize>,
    finalizable: bool,
}

struct World {
    rt: Runtime,
    roots: TestRoots,
    nodes: Vec<Node>,
    rooted: Vec<usize>,
    /// Finalizable nodes in the order of registration.
    registered: Vec<usize>,
    /// From table to table, by weak key.
    ephemerons: BTreeMap<usize, usize>,
    ephemeron_table: Gc<Table>,
    /// From table to table, both weak.
    all_weak: BTreeMap<usize, usize>,
    all_weak_table: Gc<Table>,
    /// Weakly all tables by number.
    weak_values: Gc<Table>,
}

impl World {
    fn new(mode: Mode) -> World {
        let mut rt = Runtime::new().unwrap();
        let tables = ["k", "kv", "v"].map(|mode| weak_table(&mut rt, mode));
        let roots = TestRoots::default();
        roots.0.borrow_mut().extend(tables.map(Lua::table));
        rt.set_gc_mode(&roots, mode);
        let [ephemeron_table, all_weak_table, weak_values] = tables;
        World {
            rt,
            roots,
            nodes: Vec::new(),
            rooted: Vec::new(),
            registered: Vec::new(),
            ephemerons: BTreeMap::new(),
            ephemeron_table,
            all_weak: BTreeMap::new(),
            all_weak_table,
            weak_values,
        }
    }

    /// What can be reached from the roots and `more`.
    fn reachable(&self, more: &[usize]) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut work: Vec<usize> = self.rooted.iter().chain(more).copied().collect();
        loop {
            while let Some(i) = work.pop() {
                if seen.insert(i) {
                    for (slot, &to) in &self.nodes[i].links {
                        work.push(to);
                        if let Slot::Key(key) = *slot {
                            work.push(key);
                        }
                    }
                }
            }
            work.extend(
                self.ephemerons
                    .iter()
                    .filter(|(k, v)| seen.contains(k) && !seen.contains(v))
                    .map(|(_, v)| *v),
            );
            if work.is_empty() {
                return seen;
            }
        }
    }

    fn key(&mut self, slot: Slot) -> Lua {
        match slot {
            Slot::Int(i) => Lua::int(i),
            Slot::Field(n) => string(&mut self.rt, &format!("field{n}")),
            Slot::Key(i) => Lua::table(self.nodes[i].table),
        }
    }

    fn link(&mut self, from: usize, slot: Slot, to: usize) {
        let slot = match slot {
            Slot::Key(n) => {
                let reachable: Vec<usize> = self.reachable(&[]).into_iter().collect();
                Slot::Key(reachable[n % reachable.len()])
            }
            other => other,
        };
        let key = self.key(slot);
        let target = self.nodes[to].table;
        set(
            &mut self.rt,
            self.nodes[from].table,
            key,
            Lua::table(target),
        );
        self.nodes[from].links.insert(slot, to);
    }

    fn apply(&mut self, op: Op) {
        let reachable: Vec<usize> = self.reachable(&[]).into_iter().collect();
        let pick = |n: usize| reachable[n % reachable.len()];
        match op {
            Op::New(from, slot) => {
                let i = self.nodes.len();
                let table = new_table(&mut self.rt);
                let id = string(&mut self.rt, "id");
                set(&mut self.rt, table, id, Lua::int(i as i64));
                set(
                    &mut self.rt,
                    self.weak_values,
                    Lua::int(i as i64 + 1),
                    Lua::table(table),
                );
                self.nodes.push(Node {
                    table,
                    links: BTreeMap::new(),
                    finalizable: false,
                });
                match slot {
                    Some(slot) if !reachable.is_empty() => self.link(pick(from), slot, i),
                    _ => {
                        self.rooted.push(i);
                        self.roots.0.borrow_mut().push(Lua::table(table));
                    }
                }
            }
            Op::Garbage(n) => {
                for i in 0..n {
                    let t = new_table(&mut self.rt);
                    let key = string(&mut self.rt, &format!("garbage{i}"));
                    set(&mut self.rt, t, Lua::int(1), key);
                    set(&mut self.rt, t, key, Lua::int(1));
                }
            }
            Op::Work(budget) => {
                self.rt.work(&self.roots, budget);
            }
            Op::Full => self.full(),
            Op::Finalize => while self.rt.heap.next_finalizer().is_some() {},
            _ if reachable.is_empty() => {}
            Op::Link(from, slot, to) => self.link(pick(from), slot, pick(to)),
            Op::Unlink(from, n) => {
                let from = pick(from);
                let links = &self.nodes[from].links;
                if let Some(slot) = links.keys().nth(n % links.len().max(1)).copied() {
                    let key = self.key(slot);
                    set(&mut self.rt, self.nodes[from].table, key, Lua::NIL);
                    self.nodes[from].links.remove(&slot);
                }
            }
            Op::Unroot(n) => {
                let i = self.rooted.swap_remove(n % self.rooted.len());
                let table = Lua::table(self.nodes[i].table);
                let mut roots = self.roots.0.borrow_mut();
                let at = roots.iter().position(|v| v.same_bits(table)).unwrap();
                roots.swap_remove(at);
            }
            Op::Ephemeron(key, to) => {
                let (key, to) = (pick(key), pick(to));
                let (k, v) = (
                    Lua::table(self.nodes[key].table),
                    Lua::table(self.nodes[to].table),
                );
                set(&mut self.rt, self.ephemeron_table, k, v);
                self.ephemerons.insert(key, to);
            }
            Op::AllWeak(key, to) => {
                let (key, to) = (pick(key), pick(to));
                let (k, v) = (
                    Lua::table(self.nodes[key].table),
                    Lua::table(self.nodes[to].table),
                );
                set(&mut self.rt, self.all_weak_table, k, v);
                self.all_weak.insert(key, to);
            }
            Op::Finalizer(n) => {
                let i = pick(n);
                if !self.nodes[i].finalizable {
                    self.nodes[i].finalizable = true;
                    self.registered.push(i);
                    self.rt
                        .heap
                        .register_finalizer(self.nodes[i].table.header())
                        .unwrap();
                }
            }
        }
    }

    /// Everything reachable is there, with its contents.
    fn check(&mut self) {
        for i in self.reachable(&[]) {
            let table = self.nodes[i].table;
            let id = string(&mut self.rt, "id");
            assert_eq!(self.rt.get(table, id).as_int(), Some(i as i64));
            for (slot, to) in self.nodes[i].links.clone() {
                let key = self.key(slot);
                assert_eq!(
                    self.rt.get(table, key).as_table(),
                    Some(self.nodes[to].table)
                );
            }
            assert_eq!(
                self.rt
                    .get(self.weak_values, Lua::int(i as i64 + 1))
                    .as_table(),
                Some(table)
            );
            if let Some(&to) = self.ephemerons.get(&i) {
                let found = self
                    .rt
                    .get(self.ephemeron_table, Lua::table(table))
                    .as_table();
                assert_eq!(found, Some(self.nodes[to].table));
            }
        }
    }

    fn entries(&self, t: Gc<Table>) -> usize {
        let (mut n, mut key) = (0, Lua::NIL);
        while let Some((k, _)) = self.rt.next(t, key).unwrap() {
            n += 1;
            key = k;
        }
        n
    }

    /// A full collection, after which weak tables and finalizers must be exactly as the model says.
    fn full(&mut self) {
        // What earlier cycles have found dead is gone from the model's point of view, whatever is pending.
        while self.rt.heap.next_finalizer().is_some() {}
        self.rt.collect_full(&self.roots);
        let alive = self.reachable(&[]);
        let mut finalized = Vec::new();
        while let Some(v) = self.rt.heap.next_finalizer() {
            let id = string(&mut self.rt, "id");
            finalized.push(self.rt.get(v.as_table().unwrap(), id).as_int().unwrap() as usize);
        }
        let dead: Vec<usize> = self
            .registered
            .iter()
            .rev()
            .copied()
            .filter(|i| !alive.contains(i))
            .collect();
        // Those that earlier, incremental cycles found are not there again; the order holds.
        assert!(
            is_subsequence(&finalized, &dead),
            "{finalized:?} of {dead:?}"
        );
        self.registered.retain(|i| alive.contains(i));
        let kept = self.reachable(&finalized);
        self.ephemerons.retain(|k, _| kept.contains(k));
        self.all_weak
            .retain(|k, v| kept.contains(k) && alive.contains(v));
        assert_eq!(self.entries(self.weak_values), alive.len());
        assert_eq!(self.entries(self.ephemeron_table), self.ephemerons.len());
        assert_eq!(self.entries(self.all_weak_table), self.all_weak.len());
    }
}

fn is_subsequence(short: &[usize], long: &[usize]) -> bool {
    let mut rest = long.iter();
    short.iter().all(|x| rest.any(|y| x == y))
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
    world.check();
    world.full();
    world.rooted.clear();
    world.roots.0.borrow_mut().truncate(3);
    world.full();
    assert!(world.registered.is_empty() && world.reachable(&[]).is_empty());
    // The finalized objects go in the cycle after.
    world.full();
    assert!(world.ephemerons.is_empty() && world.all_weak.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn incremental_collection_keeps_exactly_what_is_reachable(ops in prop::collection::vec(op(), 1..300)) {
        run(Mode::Incremental, ops);
    }

    #[test]
    fn generational_collection_keeps_exactly_what_is_reachable(ops in prop::collection::vec(op(), 1..300)) {
        run(Mode::Generational, ops);
    }
}
