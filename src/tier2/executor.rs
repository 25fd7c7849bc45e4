//! Executors: what runs, and the graph that they form.
//!
//! An executor is entered at its beginning and leaves through one of its exits, each of which is a snapshot of its
//! superblock. An exit has a temperature, and once it is hot it may have a *target*, another executor: that edge is
//! patched, and transfers along it are a switch. Executors are counted: by the places in the bytecode that enter
//! them, by patched edges, and by transfers in progress (`State::tier2.previous`). Those whose count drops to zero, and those
//! that may not run any more, wait in the graveyard until no activation can be inside them.
//!
//! Invariants: an executor that is not valid is entered by nobody: no place and no edge leads to it. Everything an executor
//! assumes is watched ([`Assumption`]); when that breaks, [`Graph::invalidate`] unlinks it and the side executors that
//! began with what it knew.

use std::cell::Cell;
use std::ptr;

use super::superblock::{SnapshotId, Superblock};
use super::uop;
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
use crate::jit;
use crate::bytecode::cache::LoopSite;
use crate::runtime::assumption::Assumption;

/// Where tier 1, or a return, enters an executor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// A loop head or function entry, by its heat counter.
    Site(*const LoopSite),
    /// An exit of another executor.
    Exit(*const Executor, SnapshotId),
}

/// The state of an exit.
#[derive(Debug)]
pub struct ExitState {
    /// How often it has been taken since it was last tried to give it a target.
    pub temperature: Cell<u16>,
    /// How often that has been tried.
    pub attempts: Cell<u16>,
    /// The executor to go on in, which this edge counts; null while the exit is cold.
    pub target: Cell<*const Executor>,
}

/// What runs for an executor. All executors of a VM are of the same kind.
pub enum Code {
    Uops(uop::Code),
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    Machine(jit::Machine),
}

impl Code {
    /// The tier-2 interpreter's.
    #[inline(always)]
    pub fn uops(&self) -> &uop::Code {
        match self {
            Code::Uops(code) => code,
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(_) => unreachable!("the tier-2 interpreter enters its own code only"),
        }
    }

    /// Prints machine code, as bytes.
    pub fn dump(&self) {
        match self {
            Code::Uops(_) => {}
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => eprintln!("{code:x?}"),
        }
    }

    /// Tells the code whose it is.
    fn belongs_to(&self, executor: *const Executor) {
        match self {
            Code::Uops(_) => {}
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => code.info.executor.set(executor),
        }
    }

    /// Machine code.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    #[inline(always)]
    pub fn machine(&self) -> &jit::Machine {
        match self {
            Code::Machine(code) => code,
            Code::Uops(_) => unreachable!("machine code leads to machine code only"),
        }
    }
}

/// Slots and records that an activation may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    pub slots: u32,
    pub records: u32,
}

/// A compiled superblock. Shared by raw pointers that the module's protocol keeps valid.
pub struct Executor {
    references: Cell<u32>,
    valid: Cell<bool>,
    /// Set while the collector of cycles finds it reachable.
    reached: Cell<bool>,
    /// The number in dumps, counted from 1 in each VM.
    pub number: u32,
    pub anchor: Anchor,
    /// The executor at whose exit this one begins, with what that one knew; null for others.
    pub parent: *const Executor,
    /// Side exits between this executor and one that begins at a place in the bytecode.
    pub generation: u32,
    /// The optimized superblock.
    pub superblock: Superblock,
    pub code: Code,
    /// What an activation needs of the coroutine's stacks.
    pub room: Room,
    /// By the numbers of snapshots.
    pub exits: Box<[ExitState]>,
    pub assumptions: Box<[Assumption]>,
    /// Instructions that one pass stands for: those before the loop, and those in it.
    pub instructions: (u32, u32),
    /// Times that it has been entered.
    pub entries: Cell<u64>,
    /// Times that its loop has gone back.
    pub passes: Cell<u64>,
}

impl Executor {
    /// Whether it may be entered.
    pub fn is_valid(&self) -> bool {
        self.valid.get()
    }

    pub fn exit(&self, id: SnapshotId) -> &ExitState {
        &self.exits[id.0 as usize]
    }

    /// Patches the jumps of machine code at an exit, which has got a target, or none.
    fn patch(&self, id: SnapshotId, target: Option<&Executor>) {
        match (&self.code, target) {
            (Code::Uops(_), _) => {}
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            (Code::Machine(code), Some(target)) => code.link(id, target.anchor, target.code.machine()),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            (Code::Machine(code), None) => code.unlink(id),
        }
    }

    /// Lets an exit lead nowhere. Returns where it has led.
    fn cut(&self, id: SnapshotId) -> *const Executor {
        let target = self.exit(id).target.replace(ptr::null());
        if !target.is_null() {
            self.patch(id, None);
        }
        target
    }

    /// By the numbers of its exits.
    fn exit_ids(&self) -> impl Iterator<Item = SnapshotId> + use<> {
        (0..self.exits.len() as u32).map(SnapshotId)
    }

    /// One reference more.
    pub fn retain(&self) {
        self.references.set(self.references.get() + 1);
    }
}

/// All executors of a VM.
#[derive(Default)]
pub struct Graph {
    /// Every executor that may run.
    executors: Vec<*mut Executor>,
    /// Those that never run again, but may be running.
    graveyard: Vec<*mut Executor>,
    made: u32,
    pub invalidated: u64,
}

impl Graph {
    /// The executors that may run.
    pub fn executors(&self) -> impl Iterator<Item = &Executor> {
        // SAFETY: listed executors are alive.
        self.executors.iter().map(|e| unsafe { &**e })
    }

    /// Adds an executor, which its anchor does not know yet. Returns it with one reference, the caller's.
    #[allow(clippy::too_many_arguments, reason = "the parts of an executor")]
    pub fn add(
        &mut self,
        anchor: Anchor,
        parent: *const Executor,
        generation: u32,
        superblock: Superblock,
        code: Code,
        assumptions: Box<[Assumption]>,
        instructions: (u32, u32),
    ) -> *const Executor {
        self.made += 1;
        let cold = || ExitState { temperature: Cell::new(0), attempts: Cell::new(0), target: Cell::new(ptr::null()) };
        let exits = superblock.snapshots.iter().map(|_| cold()).collect();
        let room = Room { slots: superblock.slot_count() as u32, records: superblock.depth() as u32 };
        let executor = Box::into_raw(Box::new(Executor {
            references: Cell::new(1),
            valid: Cell::new(true),
            reached: Cell::new(false),
            number: self.made,
            anchor,
            parent,
            generation,
            superblock,
            code,
            room,
            exits,
            assumptions,
            instructions,
            entries: Cell::new(0),
            passes: Cell::new(0),
        }));
        // SAFETY: just made.
        unsafe { (*executor).code.belongs_to(executor) };
        self.executors.push(executor);
        executor
    }

    /// One reference less. Without any, the executor is taken out of the graph.
    ///
    /// # Safety
    /// `executor` is an executor of this graph, and the caller's reference is one that was counted.
    pub unsafe fn release(&mut self, executor: *const Executor) {
        // SAFETY: it is alive as long as it is counted.
        let e = unsafe { &*executor };
        e.references.set(e.references.get() - 1);
        if e.references.get() == 0 {
            self.bury(executor);
        }
    }

    /// Gives an exit its target, which is counted for the edge.
    pub fn link(&mut self, executor: &Executor, id: SnapshotId, target: &Executor) {
        target.retain();
        self.attach(executor, id, target);
    }

    /// The same with a target that has been counted already.
    pub fn attach(&mut self, executor: &Executor, id: SnapshotId, target: &Executor) {
        let exit = executor.exit(id);
        debug_assert!(exit.target.get().is_null() && target.is_valid());
        exit.target.set(target);
        executor.patch(id, Some(target));
    }

    /// Takes an executor out of the graph: nobody enters it any more, and its exits lead nowhere.
    fn bury(&mut self, executor: *const Executor) {
        let mut pending = vec![executor];
        while let Some(executor) = pending.pop() {
            // SAFETY: executors stay allocated until they are reaped.
            let e = unsafe { &*executor };
            if !e.valid.replace(false) {
                continue;
            }
            if let Some(at) = self.executors.iter().position(|x| ptr::eq(*x, executor)) {
                self.graveyard.push(self.executors.swap_remove(at));
            }
            for id in e.exit_ids() {
                let target = e.cut(id);
                // SAFETY: a patched edge counts its target, which is therefore alive.
                if let Some(t) = unsafe { target.as_ref() } {
                    t.references.set(t.references.get() - 1);
                    if t.references.get() == 0 {
                        pending.push(target);
                    }
                }
            }
        }
    }

    /// Removes executors from everywhere: the places that enter them, and the edges that lead to them.
    fn unlink(&mut self, doomed: &[*const Executor]) {
        let dies = |e: *const Executor| doomed.iter().any(|d| ptr::eq(*d, e));
        for &executor in &self.executors {
            // SAFETY: listed executors are alive.
            let e = unsafe { &*executor };
            for id in e.exit_ids() {
                if dies(e.exit(id).target.get()) {
                    // SAFETY: as above; the edge's count ends here, burying follows below.
                    let target = unsafe { &*e.cut(id) };
                    target.references.set(target.references.get() - 1);
                    e.exit(id).temperature.set(0);
                }
            }
        }
        for &executor in doomed {
            // SAFETY: doomed executors are alive until they are reaped.
            let e = unsafe { &*executor };
            if let Anchor::Site(site) = e.anchor {
                // SAFETY: a prototype outlives the executors at its sites: they assume that it is alive.
                let site = unsafe { &*site };
                if ptr::eq(site.executor.get(), executor as *const u8) {
                    site.executor.set(ptr::null());
                    e.references.set(e.references.get() - 1);
                }
            }
            self.bury(executor);
        }
    }

    /// An assumption has been broken: those that made it, and the side executors that began with what these knew,
    /// never run again.
    pub fn invalidate(&mut self, broken: &[Assumption]) {
        let relies = |e: &&Executor| e.assumptions.iter().any(|a| broken.contains(a));
        let doomed = self.executors().filter(relies).map(|e| e as *const Executor).collect();
        self.invalidate_with_side_executors(doomed);
    }

    /// The same for an executor by its number modulo the number of executors. For tests.
    pub fn invalidate_nth(&mut self, n: usize) {
        if let Some(at) = n.checked_rem(self.executors.len()) {
            self.invalidate_with_side_executors(vec![self.executors[at]]);
        }
    }

    fn invalidate_with_side_executors(&mut self, mut doomed: Vec<*const Executor>) {
        let mut at = 0;
        while at < doomed.len() {
            let parent = doomed[at];
            for e in self.executors() {
                if ptr::eq(e.parent, parent) && !doomed.iter().any(|d| ptr::eq(*d, e)) {
                    doomed.push(e);
                }
            }
            at += 1;
        }
        self.invalidated += doomed.len() as u64;
        self.unlink(&doomed);
    }

    /// All executors go: what they know of shapes no longer means what it did.
    pub fn invalidate_all(&mut self) {
        let doomed: Vec<*const Executor> = self.executors().map(|e| e as *const Executor).collect();
        self.invalidated += doomed.len() as u64;
        self.unlink(&doomed);
    }

    /// Unlinks executors that no place in the bytecode leads to: cycles that count each other.
    pub fn collect_cycles(&mut self) {
        self.executors().for_each(|e| e.reached.set(false));
        let mut pending: Vec<*const Executor> = Vec::new();
        for e in self.executors() {
            if let Anchor::Site(site) = e.anchor {
                // SAFETY: as in `unlink`.
                let entered = unsafe { (*site).executor.get() };
                if ptr::eq(entered, e as *const Executor as *const u8) {
                    pending.push(e);
                }
            }
        }
        while let Some(executor) = pending.pop() {
            // SAFETY: edges lead to executors that are alive.
            let e = unsafe { &*executor };
            if !e.reached.replace(true) {
                pending.extend(e.exits.iter().map(|exit| exit.target.get()).filter(|t| !t.is_null()));
            }
        }
        let lost: Vec<*const Executor> =
            self.executors().filter(|e| !e.reached.get()).map(|e| e as *const Executor).collect();
        self.unlink(&lost);
    }

    /// Frees the executors that never run again.
    ///
    /// # Safety
    /// No activation of an executor is in progress.
    pub unsafe fn reap(&mut self) {
        for executor in self.graveyard.drain(..) {
            // SAFETY: made by `add`, listed once, referred to by nobody: the caller's promise.
            drop(unsafe { Box::from_raw(executor) });
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // The places that enter executors are going as well.
        self.graveyard.append(&mut self.executors);
        // SAFETY: the VM is being dropped, so nothing runs.
        unsafe { self.reap() };
    }
}
