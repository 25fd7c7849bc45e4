//! Tests of the graph: random histories against a model, limits, and failing allocations.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::runtime::class::ClassId;
use crate::tier2::superblock::{Frame, FrameId, NO_CALL_SITE, Object, ObjectKind};
use crate::runtime::coroutine::Continuation;

const PLACES: usize = 6;
const EXITS: u32 = 3;
const CLASSES: u32 = 5;

/// An address that stands for the prototype of a place.
fn home(place: usize, life: u32) -> Assumption {
    Assumption::Alive(Gc::from_addr(0x1000 + (place as u64) * 0x100 + u64::from(life) * 0x10_0000))
}

fn classes(mask: u8) -> Vec<Assumption> {
    (0..CLASSES).filter(|n| mask >> n & 1 != 0).map(|n| Assumption::Class(ClassId(n))).collect()
}

/// A superblock with three exits that begins in some prototype.
fn superblock(home: Assumption) -> Superblock {
    let Assumption::Alive(proto) = home else { unreachable!("a prototype is an object") };
    let mut sb = Superblock::default();
    let proto = sb.intern(Object { kind: ObjectKind::Proto, addr: proto.addr() });
    sb.frames.push(Frame {
        caller: None,
        proto,
        base: 1,
        registers: 1,
        return_pc: 0,
        call_site: NO_CALL_SITE,
        wanted: 0,
        continuation: Continuation::Call,
        flags: 0,
        extra_args: 0,
        result: 0,
        aux: 0,
    });
    for pc in 0..EXITS {
        sb.snapshot(FrameId(0), pc, None, []);
    }
    sb
}

/// What the model knows of an executor.
#[derive(Clone, Debug)]
struct Known {
    at: *const Executor,
    place: Option<usize>,
    parent: Option<u32>,
    home: Assumption,
    assumptions: BTreeSet<Assumption>,
    edges: [Option<u32>; EXITS as usize],
    transfers: u32,
}

/// A graph, and a model of it.
struct Pair {
    rt: Runtime,
    graph: Graph,
    /// A place is replaced when its prototype dies; the old ones are kept to see that nobody touches them.
    #[allow(clippy::vec_box, reason = "executors point to them while they are exchanged")]
    places: Vec<Box<LoopSite>>,
    lives: [u32; PLACES],
    dead: Vec<(Box<LoopSite>, *const u8, bool)>,
    known: BTreeMap<u32, Known>,
    /// References of transfers to executors that are no longer valid.
    leaving: Vec<(u32, *const Executor)>,
    before: (usize, i64),
}

impl Pair {
    fn new() -> Pair {
        let rt = Runtime::new().unwrap();
        let before = (rt.heap.used(), ALLOCATED.get());
        Pair {
            rt,
            graph: Graph::default(),
            places: (0..PLACES).map(|_| Box::default()).collect(),
            lives: [0; PLACES],
            dead: Vec::new(),
            known: BTreeMap::new(),
            leaving: Vec::new(),
            before,
        }
    }

    fn pick(&self, n: u8) -> Option<u32> {
        let count = self.known.len().max(1);
        self.known.keys().nth(n as usize % count).copied()
    }

    fn add(&mut self, anchor: Anchor, parent: Option<u32>, home: Assumption, assumptions: Vec<Assumption>) -> u32 {
        let up = parent.map(|p| self.known[&p].at);
        // SAFETY: known executors are valid.
        let generation = up.map_or(0, |p| unsafe { (*p).generation } + 1);
        let parts = Parts {
            anchor,
            place: Place::none(),
            parent: up.unwrap_or(ptr::null()),
            generation,
            superblock: superblock(home),
            code: Code::Uops(uop::Code::default()),
            assumptions: assumptions.clone(),
            instructions: (1, 1),
            details: None,
        };
        let at = self.graph.add(&mut self.rt, parts).unwrap();
        // SAFETY: just made.
        let number = unsafe { (*at).number };
        let place = match anchor {
            Anchor::Site(site) => self.places.iter().position(|p| ptr::eq(&**p, site)),
            Anchor::Exit(..) => None,
        };
        let assumptions = assumptions.into_iter().collect();
        let known = Known { at, place, parent, home, assumptions, edges: [None; EXITS as usize], transfers: 0 };
        self.known.insert(number, known);
        number
    }

    fn add_at_place(&mut self, place: usize, mask: u8) {
        let site: *const LoopSite = &*self.places[place];
        if !self.places[place].executor.get().is_null() {
            return;
        }
        let home = home(place, self.lives[place]);
        let mut assumptions = classes(mask);
        assumptions.push(home);
        let number = self.add(Anchor::Site(site), None, home, assumptions);
        // SAFETY: both are alive, and the place is empty.
        unsafe { self.graph.place(&*self.known[&number].at) };
    }

    fn add_at_exit(&mut self, parent: u32, exit: u32, mask: u8) {
        let up = self.known[&parent].clone();
        if up.edges[exit as usize].is_some() {
            return;
        }
        let mut assumptions: BTreeSet<_> = classes(mask).into_iter().collect();
        assumptions.extend(&up.assumptions);
        let anchor = Anchor::Exit(up.at, SnapshotId(exit));
        let number = self.add(anchor, Some(parent), up.home, assumptions.into_iter().collect());
        // SAFETY: both are valid.
        unsafe { self.graph.attach(&*up.at, SnapshotId(exit), &*self.known[&number].at) };
        self.known.get_mut(&parent).unwrap().edges[exit as usize] = Some(number);
    }

    fn link(&mut self, from: u32, exit: u32, to: u32) {
        if self.known[&from].edges[exit as usize].is_some() || self.known[&to].place.is_none() {
            return;
        }
        // SAFETY: both are valid.
        unsafe { self.graph.link(&*self.known[&from].at, SnapshotId(exit), &*self.known[&to].at) };
        self.known.get_mut(&from).unwrap().edges[exit as usize] = Some(to);
    }

    /// The model: these go, with their side executors.
    fn forget(&mut self, mut doomed: BTreeSet<u32>) {
        loop {
            let side = |k: &Known| k.parent.is_some_and(|p| doomed.contains(&p));
            let more: BTreeSet<u32> = self.known.iter().filter(|(_, k)| side(k)).map(|(n, _)| *n).collect();
            if more.is_subset(&doomed) {
                break;
            }
            doomed.extend(more);
        }
        for n in &doomed {
            let gone = self.known.remove(n).unwrap();
            (0..gone.transfers).for_each(|_| self.leaving.push((*n, gone.at)));
        }
        for k in self.known.values_mut() {
            k.edges.iter_mut().filter(|e| e.is_some_and(|e| doomed.contains(&e))).for_each(|e| *e = None);
        }
    }

    fn forget_if(&mut self, doomed: impl Fn(&Known) -> bool) {
        let doomed = self.known.iter().filter(|(_, k)| doomed(k)).map(|(n, _)| *n).collect();
        self.forget(doomed);
    }

    fn break_assumption(&mut self, a: Assumption) {
        self.rt.assumptions.broken(a);
        let mut broken = self.rt.assumptions.take_broken();
        self.graph.invalidate(&mut self.rt, &mut broken);
        self.rt.assumptions.give_back(broken);
        self.forget_if(|k| k.assumptions.contains(&a));
    }

    fn kill_place(&mut self, place: usize) {
        let old = std::mem::take(&mut self.places[place]);
        let (entered, cooling) = (old.executor.get(), old.cooling.get());
        self.dead.push((old, entered, cooling));
        let broken = home(place, self.lives[place]);
        self.lives[place] += 1;
        self.break_assumption(broken);
    }

    fn collect_cycles(&mut self) {
        self.graph.collect_cycles(&mut self.rt);
        let entered = |k: &&Known| k.place.is_some_and(|p| ptr::eq(self.places[p].executor.get(), k.at as *const u8));
        let mut pending: Vec<u32> =
            self.known.iter().filter(|(_, k)| entered(k)).map(|(n, _)| *n).collect();
        let mut reached = BTreeSet::new();
        while let Some(n) = pending.pop() {
            if reached.insert(n) {
                pending.extend(self.known[&n].edges.iter().flatten());
            }
        }
        // SAFETY: known executors are valid.
        self.forget_if(|k| !reached.contains(&unsafe { (*k.at).number }));
    }

    /// What is retired is up to the graph, as long as the limits hold afterwards.
    fn retire(&mut self, limit: u8) {
        let most = limit as usize % 12 + 1;
        self.graph.limits.executors = most;
        let limits = self.graph.limits;
        self.graph.retire(&mut self.rt, limits);
        self.graph.limits = Limits::default();
        let valid: BTreeSet<u32> = self.graph.executors().map(|e| e.number).collect();
        assert!(valid.len() <= most - most.div_ceil(4));
        let gone: BTreeSet<u32> = self.known.keys().copied().filter(|n| !valid.contains(n)).collect();
        let n = self.known.len() - gone.len();
        self.forget(gone);
        assert_eq!(self.known.len(), n, "side executors go with their parents");
    }

    fn enter(&mut self, n: u32) {
        let k = self.known.get_mut(&n).unwrap();
        k.transfers += 1;
        // SAFETY: known executors are valid.
        let e = unsafe { &*k.at };
        e.retain();
        e.counts().enter();
    }

    fn leave(&mut self, n: u8) {
        if let Some(i) = (n as usize).checked_rem(self.leaving.len()) {
            let (_, at) = self.leaving.swap_remove(i);
            // SAFETY: counted by `enter`.
            unsafe { self.graph.release(&mut self.rt, at) };
        } else if let Some(n) = self.pick(n)
            && self.known[&n].transfers > 0
        {
            let k = self.known.get_mut(&n).unwrap();
            k.transfers -= 1;
            // SAFETY: counted by `enter`; valid executors are counted by others, too.
            unsafe { self.graph.release(&mut self.rt, k.at) };
        }
    }

    fn reap(&mut self) {
        // SAFETY: nothing runs here; transfers are counted.
        unsafe { self.graph.reap(&mut self.rt.heap) };
        let leaving: BTreeSet<u32> = self.leaving.iter().map(|l| l.0).collect();
        assert_eq!(ALLOCATED.get() - self.before.1, (self.known.len() + leaving.len()) as i64);
    }

    fn check(&self) {
        let valid: BTreeSet<u32> = self.graph.executors().map(|e| e.number).collect();
        assert_eq!(valid, self.known.keys().copied().collect());
        let mut watched: BTreeSet<Assumption> = BTreeSet::new();
        for (n, k) in &self.known {
            // SAFETY: known executors are valid.
            let e = unsafe { &*k.at };
            assert!(e.is_valid());
            let edges = self.known.values().flat_map(|k| k.edges).filter(|to| *to == Some(*n)).count() as u32;
            let entered = k.place.is_some_and(|p| ptr::eq(self.places[p].executor.get(), k.at as *const u8));
            assert_eq!(e.references.get(), edges + u32::from(entered) + k.transfers, "references of {n}");
            for (exit, to) in e.exits.iter().zip(k.edges) {
                assert!(ptr::eq(exit.target.get(), to.map_or(ptr::null(), |to| self.known[&to].at)));
            }
            watched.extend(&k.assumptions);
        }
        assert_eq!(self.rt.assumptions.count(), watched.len());
        for site in &self.places {
            let entered = site.executor.get();
            assert!(entered.is_null() || self.known.values().any(|k| ptr::eq(k.at as *const u8, entered)));
        }
        for (site, entered, cooling) in &self.dead {
            assert!(ptr::eq(site.executor.get(), *entered) && site.cooling.get() == *cooling);
        }
    }

    fn end(mut self) {
        while !self.leaving.is_empty() {
            self.leave(0);
        }
        for n in self.known.keys().copied().collect::<Vec<_>>() {
            while self.known[&n].transfers > 0 {
                let k = self.known.get_mut(&n).unwrap();
                k.transfers -= 1;
                // SAFETY: counted by `enter`.
                unsafe { self.graph.release(&mut self.rt, k.at) };
            }
        }
        self.graph.invalidate_all(&mut self.rt);
        self.forget_if(|_| true);
        self.check();
        self.reap();
        assert_eq!((self.rt.heap.used(), self.graph.bytes()), (self.before.0, 0));
        self.add_at_place(0, 0);
        let before = self.before.1;
        drop(self);
        assert_eq!(ALLOCATED.get(), before, "those that are left go with the graph");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    AtPlace(u8, u8),
    AtExit(u8, u8, u8),
    Link(u8, u8, u8),
    Break(u8),
    Kill(u8),
    Cycles,
    Retire(u8),
    Enter(u8),
    Leave(u8),
    Reap,
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<u8>;
    prop_oneof![
        8 => (n(), n()).prop_map(|(p, m)| Step::AtPlace(p, m)),
        8 => (n(), n(), n()).prop_map(|(p, e, m)| Step::AtExit(p, e, m)),
        8 => (n(), n(), n()).prop_map(|(f, e, t)| Step::Link(f, e, t)),
        2 => n().prop_map(Step::Break),
        2 => n().prop_map(Step::Kill),
        1 => Just(Step::Cycles),
        1 => n().prop_map(Step::Retire),
        4 => n().prop_map(Step::Enter),
        4 => n().prop_map(Step::Leave),
        2 => Just(Step::Reap),
        1 => Just(Step::Flush),
    ]
}

impl Pair {
    fn take(&mut self, step: Step) {
        match step {
            Step::AtPlace(place, mask) => self.add_at_place(place as usize % PLACES, mask & mask >> 3),
            Step::AtExit(n, exit, mask) => {
                if let Some(n) = self.pick(n) {
                    self.add_at_exit(n, u32::from(exit) % EXITS, mask & mask >> 3);
                }
            }
            Step::Link(from, exit, to) => {
                if let (Some(from), Some(to)) = (self.pick(from), self.pick(to)) {
                    self.link(from, u32::from(exit) % EXITS, to);
                }
            }
            Step::Break(n) => self.break_assumption(Assumption::Class(ClassId(u32::from(n) % CLASSES))),
            Step::Kill(place) => self.kill_place(place as usize % PLACES),
            Step::Cycles => self.collect_cycles(),
            Step::Retire(limit) => self.retire(limit),
            Step::Enter(n) => {
                if let Some(n) = self.pick(n) {
                    self.enter(n);
                }
            }
            Step::Leave(n) => self.leave(n),
            Step::Reap => self.reap(),
            Step::Flush => {
                self.graph.invalidate_all(&mut self.rt);
                self.forget_if(|_| true);
            }
        }
        self.check();
    }
}

proptest! {
    #[test]
    fn graphs_keep_their_promises(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::new();
        steps.into_iter().for_each(|step| pair.take(step));
        pair.end();
    }
}

#[test]
fn cycles_without_a_place_are_collected() {
    let mut pair = Pair::new();
    pair.add_at_place(0, 0);
    pair.add_at_place(1, 0);
    pair.link(1, 0, 2);
    pair.link(2, 0, 1);
    pair.link(2, 1, 2);
    // The places forget them, as those of code that is being replaced do.
    for place in 0..2 {
        // SAFETY: both are alive.
        unsafe { pair.graph.displace(&*pair.known[&(place + 1)].at) };
    }
    pair.check();
    assert_eq!(pair.graph.count(), 2);
    pair.collect_cycles();
    pair.check();
    assert_eq!((pair.graph.count(), pair.graph.departed.lost), (0, 2));
    pair.end();
}

#[test]
fn those_that_are_used_least_are_retired() {
    let mut pair = Pair::new();
    (0..4).for_each(|place| pair.add_at_place(place, 0));
    pair.add_at_exit(2, 0, 0);
    for (n, times) in [(1, 5), (2, 0), (3, 90), (4, 7), (5, 1000)] {
        // SAFETY: known executors are valid.
        unsafe { (*pair.known[&n].at).counts().entries.set(times) };
    }
    pair.graph.limits.executors = 5;
    assert!(pair.graph.is_full());
    {
        let limits = pair.graph.limits;
        pair.graph.retire(&mut pair.rt, limits);
    }
    let left: BTreeSet<u32> = pair.graph.executors().map(|e| e.number).collect();
    // Nobody enters the parent of a side executor that is used most.
    assert_eq!(left, [2, 3, 5].into());
    // The use before the last look does not count.
    // SAFETY: known executors are valid.
    unsafe { (*pair.known[&3].at).counts().passes.set(500) };
    pair.graph.limits.executors = 1;
    let limits = pair.graph.limits;
    pair.graph.retire(&mut pair.rt, limits);
    assert!(pair.graph.count() == 0);
    assert!(pair.places[1].cooling.get());
}

#[test]
fn executors_fit_the_memory_limit_or_are_not_made() {
    let mut pair = Pair::new();
    pair.add_at_place(0, 3);
    let limit = pair.rt.heap.used() + 64;
    pair.rt.heap.set_limit(limit);
    let parts = Parts {
        anchor: Anchor::Site(&*pair.places[1]),
        place: Place::none(),
        parent: ptr::null(),
        generation: 0,
        superblock: superblock(home(1, 0)),
        code: Code::Uops(uop::Code::default()),
        assumptions: classes(31),
        instructions: (1, 1),
        details: None,
    };
    let watched = pair.rt.assumptions.count();
    assert!(pair.graph.add(&mut pair.rt, parts).is_err());
    assert_eq!(pair.rt.assumptions.count(), watched);
    pair.check();
    pair.rt.heap.set_limit(usize::MAX);
    pair.end();
}

#[test]
fn executed_instructions_are_estimated() {
    let mut pair = Pair::new();
    pair.add_at_place(0, 0);
    // SAFETY: known executors are valid.
    let e = unsafe { &*pair.known[&1].at };
    e.counts().entries.set(10);
    e.counts().pass(32);
    assert_eq!(e.executed(), 42);
    assert_eq!(pair.graph.executed(), 42);
    pair.graph.invalidate_all(&mut pair.rt);
    assert_eq!(pair.graph.executed(), 42);
    // SAFETY: nothing runs.
    unsafe { pair.graph.reap(&mut pair.rt.heap) };
    assert_eq!(pair.graph.executed(), 42);
}
