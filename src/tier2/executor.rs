//! Executors: what runs, and the graph that they form.
//!
//! An executor is entered at its beginning and leaves through one of its exits, each of which is a snapshot of its
//! superblock. An exit has a temperature, and once it is hot it may have a *target*, another executor: that edge is
//! patched, and transfers along it are a switch. Executors are counted: by the places in the bytecode that enter
//! them, by patched edges, and by transfers in progress (`State::tier2.previous`). Those whose count drops to zero, and those
//! that may not run any more, wait in the graveyard until no activation can be inside them.
//!
//! Executors leave the graph when what they assume breaks ([`Graph::invalidate`]), when there are too many of them and they
//! are used less than others ([`Graph::retire`]), and when nothing leads to them ([`Graph::collect_cycles`]).
//!
//! Invariants:
//! - An executor that is not valid is entered by nobody: no place and no edge leads to it, and nobody watches its
//!   assumptions for it.
//! - Everything an executor assumes is watched ([`Assumption`]) as long as it is valid. Its side executors assume the same.
//! - A place is touched only while its prototype is alive. That it has died is one of the broken assumptions, which are
//!   carried out before anything else happens to the graph ([`State::settle_assumptions`](crate::tier1::State)).
//! - Nothing but [`Graph::add`] allocates, and that can fail. The memory of executors is charged to the heap's limit.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::fmt;
use std::ptr;

use super::place::{self, Place};
use super::superblock::{SnapshotId, Superblock};
use super::uop;
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
use crate::jit;
use crate::bytecode::cache::LoopSite;
use crate::heap::{Heap, OutOfMemory};
use crate::runtime::Runtime;
use crate::runtime::assumption::{Assumption, Assumptions};
use crate::runtime::object::{Gc, Header};

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
    /// How often it has led to tier 1.
    pub taken: Cell<u32>,
    /// The executor to go on in, which this edge counts; null while the exit is cold.
    pub target: Cell<*const Executor>,
}

impl ExitState {
    fn cold() -> ExitState {
        ExitState {
            temperature: Cell::new(0),
            attempts: Cell::new(0),
            taken: Cell::new(0),
            target: Cell::new(ptr::null()),
        }
    }
}

/// How often code has been run. Machine code counts entries and passes only if someone wants to know.
#[derive(Default, Debug)]
#[repr(C)]
pub struct Counts {
    /// Times that it has been entered.
    pub entries: Cell<u64>,
    /// Times that its loop has gone back. What side executors bring back to it is not among them.
    pub passes: Cell<u64>,
    /// Times that it has called out.
    pub call_outs: Cell<u64>,
}

impl Counts {
    pub fn enter(&self) {
        self.entries.set(self.entries.get() + 1);
    }

    pub fn pass(&self, passes: u64) {
        self.passes.set(self.passes.get() + passes);
    }

    pub fn call_out(&self) {
        self.call_outs.set(self.call_outs.get() + 1);
    }
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

    /// How often it has been run.
    #[inline(always)]
    fn counts(&self) -> &Counts {
        match self {
            Code::Uops(code) => &code.counts,
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => &code.info.counts,
        }
    }

    /// Machine code that has a map, disassembled; empty where that cannot be done.
    #[cfg_attr(not(feature = "disasm"), allow(unused_variables, reason = "the disassembler uses them"))]
    pub fn listing(&self, superblock: &Superblock) -> String {
        match self {
            #[cfg(all(feature = "disasm", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => {
                code.sections(superblock, &|_| None).iter().map(ToString::to_string).collect()
            }
            _ => String::new(),
        }
    }

    /// Bytes of instructions.
    pub fn code_bytes(&self) -> usize {
        match self {
            Code::Uops(code) => code.code_bytes(),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => code.size,
        }
    }

    /// Bytes that say where the values of snapshots are.
    pub fn location_bytes(&self) -> usize {
        match self {
            Code::Uops(code) => code.location_bytes(),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => code.info.exits.bytes(),
        }
    }

    /// Where machine code enters it from memory; null if it is no machine code.
    fn entry(&self) -> *const u8 {
        match self {
            Code::Uops(_) => ptr::null(),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => code.called_entry(),
        }
    }

    /// Tells the code whose it is.
    #[cfg_attr(not(all(feature = "jit", target_arch = "x86_64", target_os = "linux")), allow(unused_variables, reason = "machine code uses it"))]
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

/// A listing.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Uops(code) => code.fmt(f),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Code::Machine(code) => writeln!(f, "{code:x?}"),
        }
    }
}

/// What people may want to know of an executor. It is kept if someone looks, and not charged.
pub struct Details {
    pub header: place::Header,
    /// The text of the superblock before optimization, if that was asked.
    pub before: Option<String>,
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
    /// Set while executors are being unlinked: it is one of them.
    doomed: Cell<bool>,
    /// Whether the place of its anchor enters it, and counts it.
    placed: Cell<bool>,
    /// Whether control has come to it since retirement last looked.
    awake: Cell<bool>,
    /// Where it is in the graph's list.
    index: Cell<usize>,
    /// Its use when retirement last looked.
    seen: Cell<u64>,
    /// The use of it and its side executors since then, while retirement looks.
    recent: Cell<u64>,
    /// The number in dumps, counted from 1 in each VM.
    pub number: u32,
    pub anchor: Anchor,
    /// Where it begins, for people.
    pub place: Place,
    /// The executor at whose exit this one begins, with what that one knew; null for others. It is valid as long as
    /// this one is.
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
    /// Bytes charged for it.
    pub bytes: usize,
    /// Instructions that one pass stands for: those before the loop, and those in it.
    pub instructions: (u32, u32),
    pub details: Option<Box<Details>>,
}

impl Executor {
    /// Whether it may be entered.
    #[inline]
    pub fn is_valid(&self) -> bool {
        self.valid.get()
    }

    pub fn exit(&self, id: SnapshotId) -> &ExitState {
        &self.exits[id.0 as usize]
    }

    /// Patches the jumps of machine code at an exit, which has got a target, or none.
    #[cfg_attr(not(all(feature = "jit", target_arch = "x86_64", target_os = "linux")), allow(unused_variables, reason = "machine code uses it"))]
    fn patch(&self, id: SnapshotId, target: Option<&Executor>) {
        match (&self.code, target) {
            (Code::Uops(_), _) => {}
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            (Code::Machine(code), Some(target)) => code.link(id, target.anchor, target.code.machine()),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            (Code::Machine(code), None) => code.unlink(id),
        }
    }

    /// Lets an exit lead nowhere. Returns where it has led; that edge's reference is the caller's now.
    fn cut(&self, id: SnapshotId) -> *const Executor {
        let target = self.exit(id).target.replace(ptr::null());
        if !target.is_null() {
            self.patch(id, None);
        }
        target
    }

    /// Lets control come to it, and from it to others, through the runtime only, which wakes who is needed. The tier-2
    /// interpreter always takes that way.
    fn put_to_sleep(&self) {
        self.awake.set(false);
        if let Anchor::Site(site) = self.anchor
            && self.placed.get()
        {
            // SAFETY: the prototypes of valid executors' places are alive.
            unsafe { (*site).code.set(ptr::null()) };
        }
        let linked = |id: &SnapshotId| !self.exit(*id).target.get().is_null();
        self.exit_ids().filter(linked).for_each(|id| self.patch(id, None));
    }

    /// It is entered in memory, at its place.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    pub fn wake(&self) {
        if let Anchor::Site(site) = self.anchor
            && !self.awake.replace(true)
            && self.placed.get()
        {
            // SAFETY: the place's function is running.
            unsafe { (*site).code.set(self.code.entry()) };
        }
    }

    /// Control has left by an exit to the runtime, although it has a target.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    pub fn wake_target(&self, id: SnapshotId, target: &Executor) {
        if matches!(target.anchor, Anchor::Exit(..)) {
            target.awake.set(true);
        }
        self.patch(id, Some(target));
    }

    /// By the numbers of its exits.
    fn exit_ids(&self) -> impl Iterator<Item = SnapshotId> + use<> {
        (0..self.exits.len() as u32).map(SnapshotId)
    }

    /// One reference more.
    pub fn retain(&self) {
        self.references.set(self.references.get() + 1);
    }

    /// One reference less. Whether it was the last.
    fn drop_reference(&self) -> bool {
        let left = self.references.get() - 1;
        self.references.set(left);
        left == 0
    }

    /// How often it has been run.
    #[inline(always)]
    pub fn counts(&self) -> &Counts {
        self.code.counts()
    }

    /// How much it has been used.
    fn used(&self) -> u64 {
        let counts = self.counts();
        counts.entries.get() + counts.passes.get() + counts.call_outs.get()
    }

    /// The executors at whose exits it, and those between, have begun.
    fn ancestors(&self) -> impl Iterator<Item = &Executor> {
        // SAFETY: the parents of an executor are freed no sooner than it is.
        let parent = |e: &Executor| unsafe { e.parent.as_ref() };
        std::iter::successors(parent(self), move |e| parent(e))
    }

    /// About how many bytecode instructions have been executed in it: what its passes stand for, of passes that
    /// were left early a part in proportion to the micro-ops before the exit.
    pub fn executed(&self) -> u64 {
        let nodes = &self.superblock.nodes;
        let head = self.superblock.looping.as_ref().map_or(nodes.len(), |l| l.head.index());
        let (before, within) = (u64::from(self.instructions.0), u64::from(self.instructions.1));
        let (entries, passes) = (self.counts().entries.get(), self.counts().passes.get());
        let mut executed = entries * before + passes * within;
        let mut done = Vec::new();
        if done.try_reserve_exact(self.exits.len()).is_ok() {
            done.resize(self.exits.len(), false);
        }
        for (at, node) in nodes.iter().enumerate().filter(|(_, node)| !node.exit.is_none()) {
            // The first node with an exit stands for all that have it.
            if done.get_mut(node.exit.0 as usize).is_none_or(|done| std::mem::replace(done, true)) {
                continue;
            }
            let exit = self.exit(node.exit);
            // SAFETY: a patched edge keeps its target alive. A side executor is entered by its exit only.
            let passed = unsafe { exit.target.get().as_ref() };
            let passed = passed.filter(|t| matches!(t.anchor, Anchor::Exit(..))).map_or(0, |t| t.counts().entries.get());
            let left = passed + u64::from(exit.taken.get());
            if at < head {
                executed = executed.saturating_sub(left * before * (head - at) as u64 / head.max(1) as u64);
            } else {
                executed += left * within * (at - head) as u64 / (nodes.len() - head).max(1) as u64;
            }
        }
        executed
    }

    /// The executor with a loop at whose exits this one, and those between them, have begun; or this one, if it has a loop.
    pub fn with_loop(&self) -> Option<&Executor> {
        let mut e = self;
        while e.superblock.looping.is_none() {
            // SAFETY: the parents of an executor are freed no sooner than it is.
            e = unsafe { e.parent.as_ref()? };
        }
        Some(e)
    }

    /// The prototype with the place or exit at which it begins.
    fn home(&self) -> Option<Assumption> {
        let frame = self.superblock.frames.first()?;
        Some(Assumption::Alive(Gc::<Header>::from_addr(self.superblock.object(frame.proto).addr)))
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
thread_local! {
    /// Executors of this thread that have not been freed.
    pub static ALLOCATED: Cell<i64> = const { Cell::new(0) };
}

#[cfg(test)]
impl Drop for Executor {
    fn drop(&mut self) {
        ALLOCATED.set(ALLOCATED.get() - 1);
    }
}

/// How many executors there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub executors: usize,
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { executors: 4096, bytes: 64 << 20 }
    }
}

/// Why executors have left the graph, and what they had done.
#[derive(Clone, Default, Debug)]
pub struct Departed {
    /// By [`Assumption::kind`] of the broken assumption.
    pub broken: [u64; Assumption::KINDS],
    /// Because the shapes that they knew were given up.
    pub flushed: u64,
    /// Because others were used more.
    pub retired: u64,
    /// Because nothing led to them any more.
    pub lost: u64,
    /// Instructions executed in those that have been freed.
    pub executed: u64,
}

/// All executors of a VM.
#[derive(Default)]
pub struct Graph {
    /// Every executor that may run.
    executors: Vec<*mut Executor>,
    /// Those that never run again, but may be running.
    graveyard: Vec<*mut Executor>,
    /// Those being unlinked. This list and the next one have room for all executors.
    doomed: Vec<*const Executor>,
    /// Those being buried.
    pending: Vec<*const Executor>,
    made: u32,
    /// Bytes charged for all executors, those in the graveyard included.
    bytes: usize,
    pub limits: Limits,
    pub departed: Departed,
}

/// What a new executor consists of.
pub struct Parts {
    pub anchor: Anchor,
    pub place: Place,
    /// See [`Executor::parent`].
    pub parent: *const Executor,
    pub generation: u32,
    pub superblock: Superblock,
    pub code: Code,
    pub assumptions: Vec<Assumption>,
    pub instructions: (u32, u32),
    pub details: Option<Box<Details>>,
}

impl Parts {
    /// Bytes that an executor of them takes.
    fn bytes(&self) -> usize {
        // Watching an assumption takes about as much again, twice.
        size_of::<Executor>()
            + self.superblock.bytes()
            + self.code.code_bytes()
            + self.code.location_bytes()
            + self.superblock.snapshots.len() * size_of::<ExitState>()
            + self.assumptions.len() * 4 * size_of::<Assumption>()
    }
}

impl Graph {
    /// The executors that may run.
    pub fn executors(&self) -> impl Iterator<Item = &Executor> {
        // SAFETY: listed executors are alive.
        self.executors.iter().map(|e| unsafe { &**e })
    }

    /// How many executors have been made.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// How many executors may run.
    pub fn count(&self) -> usize {
        self.executors.len()
    }

    /// Bytes that executors take, those that wait to be freed included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// About how many bytecode instructions have been executed in executors.
    pub fn executed(&self) -> u64 {
        // SAFETY: those in the graveyard have not been freed.
        let waiting = self.graveyard.iter().map(|e| unsafe { &**e });
        self.departed.executed + self.executors().chain(waiting).map(Executor::executed).sum::<u64>()
    }

    /// Adds an executor, which its anchor does not know yet. Returns it with one reference, the caller's. From now on its
    /// assumptions are watched.
    pub fn add(&mut self, rt: &mut Runtime, parts: Parts) -> Result<*const Executor, OutOfMemory> {
        let bytes = parts.bytes();
        rt.heap.charge(bytes)?;
        match self.add_charged(&mut rt.assumptions, parts, bytes) {
            Ok(executor) => {
                self.bytes += bytes;
                Ok(executor)
            }
            Err(e) => {
                rt.heap.discharge(bytes);
                Err(e)
            }
        }
    }

    fn add_charged(
        &mut self,
        assumptions: &mut Assumptions,
        parts: Parts,
        bytes: usize,
    ) -> Result<*const Executor, OutOfMemory> {
        let Parts { anchor, place, parent, generation, superblock, code, assumptions: assumed, instructions, details } = parts;
        reserve(&mut self.executors, 1)?;
        // Whatever is alive can be buried.
        let all = self.executors.len() + 1;
        reserve(&mut self.graveyard, all)?;
        reserve(&mut self.doomed, all)?;
        reserve(&mut self.pending, all)?;
        let mut exits = Vec::new();
        exits.try_reserve_exact(superblock.snapshots.len()).map_err(|_| OutOfMemory)?;
        exits.resize_with(superblock.snapshots.len(), ExitState::cold);
        let layout = Layout::new::<Executor>();
        // SAFETY: executors are not of size zero.
        let executor = unsafe { alloc::alloc(layout) } as *mut Executor;
        if executor.is_null() {
            return Err(OutOfMemory);
        }
        if let Some(failed) = assumed.iter().position(|a| assumptions.watch(*a).is_err()) {
            assumed[..failed].iter().for_each(|a| assumptions.unwatch(*a));
            // SAFETY: allocated above with this layout.
            unsafe { alloc::dealloc(executor as *mut u8, layout) };
            return Err(OutOfMemory);
        }
        let mut room = Room { slots: superblock.slot_count() as u32, records: superblock.depth() as u32 };
        if superblock.joins() {
            // SAFETY: the parent is alive: the side executor is made for one of its exits.
            let parent = unsafe { (*parent).room };
            room = Room { slots: room.slots.max(parent.slots), records: room.records.max(parent.records) };
        }
        self.made += 1;
        // SAFETY: fresh memory of the right layout; from here on it is owned as a box would own it.
        unsafe {
            executor.write(Executor {
                references: Cell::new(1),
                valid: Cell::new(true),
                reached: Cell::new(false),
                doomed: Cell::new(false),
                placed: Cell::new(false),
                awake: Cell::new(true),
                index: Cell::new(self.executors.len()),
                seen: Cell::new(0),
                recent: Cell::new(0),
                number: self.made,
                anchor,
                place,
                parent,
                generation,
                superblock,
                code,
                room,
                exits: exits.into(),
                assumptions: assumed.into(),
                bytes,
                instructions,
                details,
            });
            (*executor).code.belongs_to(executor);
        }
        #[cfg(test)]
        ALLOCATED.set(ALLOCATED.get() + 1);
        self.executors.push(executor);
        Ok(executor)
    }

    /// One reference less. Without any, the executor is taken out of the graph.
    ///
    /// # Safety
    /// `executor` is an executor of this graph, and the caller's reference is one that was counted.
    pub unsafe fn release(&mut self, rt: &mut Runtime, executor: *const Executor) {
        // SAFETY: it is alive as long as it is counted.
        let e = unsafe { &*executor };
        if e.drop_reference() {
            self.departed.lost += u64::from(e.is_valid());
            self.bury(&mut rt.assumptions, executor);
        }
    }

    /// Puts an executor into the place of its anchor, which gets the caller's reference.
    ///
    /// # Safety
    /// The place's prototype is alive, and the place is empty.
    pub unsafe fn place(&mut self, executor: &Executor) {
        if let Anchor::Site(site) = executor.anchor {
            // SAFETY: the caller's promise.
            let site = unsafe { &*site };
            debug_assert!(site.executor.get().is_null());
            site.executor.set(executor as *const Executor as *const u8);
            site.code.set(executor.code.entry());
            // The next pass enters it.
            site.countdown.set(1);
            executor.placed.set(true);
        }
    }

    /// Takes an executor out of its place, without burying it.
    ///
    /// # Safety
    /// The place's prototype is alive.
    unsafe fn displace(&self, executor: &Executor) {
        if let Anchor::Site(site) = executor.anchor
            && executor.placed.replace(false)
        {
            // SAFETY: the caller's promise.
            let site = unsafe { &*site };
            site.executor.set(ptr::null());
            site.code.set(ptr::null());
            site.cooling.set(true);
            executor.drop_reference();
        }
    }

    /// Gives an exit its target, which is counted for the edge.
    pub fn link(&mut self, executor: &Executor, id: SnapshotId, target: &Executor) {
        target.retain();
        self.attach(executor, id, target);
    }

    /// The same with a reference that the caller has.
    pub fn attach(&mut self, executor: &Executor, id: SnapshotId, target: &Executor) {
        let exit = executor.exit(id);
        debug_assert!(exit.target.get().is_null() && executor.is_valid() && target.is_valid());
        exit.target.set(target);
        executor.patch(id, Some(target));
    }

    /// Takes an executor out of the graph: nobody enters it any more, and its exits lead nowhere.
    fn bury(&mut self, assumptions: &mut Assumptions, executor: *const Executor) {
        self.push_pending(executor);
        while let Some(executor) = self.pending.pop() {
            // SAFETY: executors stay allocated until they are reaped.
            let e = unsafe { &*executor };
            let at = e.index.get();
            let buried = self.executors.swap_remove(at);
            debug_assert!(ptr::eq(buried, executor));
            if let Some(&moved) = self.executors.get(at) {
                // SAFETY: listed executors are alive.
                unsafe { (*moved).index.set(at) };
            }
            self.graveyard.push(buried);
            e.assumptions.iter().for_each(|a| assumptions.unwatch(*a));
            for id in e.exit_ids() {
                let target = e.cut(id);
                // SAFETY: a patched edge counts its target, which is therefore alive.
                let Some(t) = (unsafe { target.as_ref() }) else { continue };
                // Side executors stand on what their parent knows, whoever else counts them.
                if t.drop_reference() | ptr::eq(t.parent, e) {
                    self.departed.lost += u64::from(t.is_valid());
                    self.push_pending(target);
                }
            }
        }
    }

    /// An executor is going to be buried, unless it is already.
    fn push_pending(&mut self, executor: *const Executor) {
        // SAFETY: executors stay allocated until they are reaped.
        if unsafe { (*executor).valid.replace(false) } {
            self.pending.push(executor);
        }
    }

    /// Removes the doomed executors from everywhere, and with them the side executors that begin with what these knew.
    /// Returns how many of the latter there were.
    fn unlink(&mut self, rt: &mut Runtime, home_died: &dyn Fn(&Executor) -> bool) -> u64 {
        let mut doomed = std::mem::take(&mut self.doomed);
        let direct = self.executors().filter(|e| e.doomed.get()).count();
        for e in self.executors() {
            let mut ancestor = e.parent;
            // SAFETY: the parents of valid executors are valid.
            while let Some(a) = unsafe { ancestor.as_ref() } {
                if a.doomed.get() {
                    e.doomed.set(true);
                    break;
                }
                ancestor = a.parent;
            }
        }
        for e in self.executors() {
            if e.doomed.get() {
                doomed.push(e);
            }
            for id in e.exit_ids() {
                let exit = e.exit(id);
                // SAFETY: a patched edge keeps its target alive.
                let target = unsafe { exit.target.get().as_ref() };
                if let Some(target) = target.filter(|t| t.doomed.get()) {
                    e.cut(id);
                    exit.temperature.set(0);
                    // Without references, too, it is buried below.
                    target.drop_reference();
                }
            }
        }
        let indirect = doomed.len() - direct;
        for executor in doomed.drain(..) {
            // SAFETY: doomed executors are alive until they are reaped.
            let e = unsafe { &*executor };
            if !home_died(e) {
                // SAFETY: the place's prototype is alive.
                unsafe { self.displace(e) };
            } else if e.placed.replace(false) {
                e.drop_reference();
            }
            self.bury(&mut rt.assumptions, executor);
        }
        self.doomed = doomed;
        indirect as u64
    }

    /// Assumptions have been broken: those that made them, and the side executors that began with what these knew,
    /// never run again. All assumptions broken so far must be among them.
    pub fn invalidate(&mut self, rt: &mut Runtime, broken: &mut [Assumption]) {
        broken.sort_unstable();
        let is_broken = |a: &Assumption| broken.binary_search(a).is_ok();
        let mut kinds = [0; Assumption::KINDS];
        for e in self.executors() {
            if let Some(a) = e.assumptions.iter().find(|a| is_broken(a)) {
                e.doomed.set(true);
                kinds[a.kind()] += 1;
            }
        }
        let counts = self.departed.broken.iter_mut().zip(kinds);
        counts.for_each(|(count, more)| *count += more);
        if kinds.iter().any(|n| *n > 0) {
            self.unlink(rt, &|e| e.home().is_some_and(|home| is_broken(&home)));
        }
    }

    /// Invalidates an executor by its number modulo the number of executors. For tests.
    pub fn invalidate_nth(&mut self, rt: &mut Runtime, n: usize) {
        let chosen = n.checked_rem(self.executors.len()).and_then(|at| self.executors().nth(at));
        if let Some(e) = chosen {
            e.doomed.set(true);
            self.unlink(rt, &|_| false);
        }
    }

    /// All executors go: what they know of shapes no longer means what it did.
    pub fn invalidate_all(&mut self, rt: &mut Runtime) {
        self.executors().for_each(|e| e.doomed.set(true));
        self.departed.flushed += self.count() as u64;
        self.unlink(rt, &|_| false);
    }

    /// Unlinks executors that no place in the bytecode leads to: cycles that count each other.
    pub fn collect_cycles(&mut self, rt: &mut Runtime) {
        let mut pending = std::mem::take(&mut self.pending);
        let reach = |pending: &mut Vec<*const Executor>, e: &Executor| {
            if !e.reached.replace(true) {
                pending.push(e);
            }
        };
        self.executors().for_each(|e| e.reached.set(false));
        self.executors().filter(|e| e.placed.get()).for_each(|e| reach(&mut pending, e));
        while let Some(executor) = pending.pop() {
            // SAFETY: edges lead to executors that are alive.
            let exits = unsafe { &(*executor).exits };
            for exit in exits {
                // SAFETY: as above.
                if let Some(target) = unsafe { exit.target.get().as_ref() } {
                    reach(&mut pending, target);
                }
            }
        }
        self.pending = pending;
        let mut lost = 0;
        for e in self.executors().filter(|e| !e.reached.get()) {
            e.doomed.set(true);
            lost += 1;
        }
        if lost > 0 {
            self.departed.lost += lost;
            self.unlink(rt, &|_| false);
        }
    }

    /// Whether another executor would be one too many.
    pub fn is_full(&self) -> bool {
        self.count() >= self.limits.executors || self.bytes >= self.limits.bytes
    }

    /// What there is of that which is limited.
    pub fn used(&self) -> Limits {
        Limits { executors: self.count(), bytes: self.bytes }
    }

    /// Unlinks executors until a quarter of what these limits allow is free: those that have been used least since
    /// the last look, with their side executors. The use of these is theirs, too: a loop whose passes go through side
    /// executors is never entered.
    ///
    /// Machine code that counted its entries would be slower by up to a tenth. Instead all that stay are put to sleep, and
    /// those that still sleep at the next look have not been used.
    pub fn retire(&mut self, rt: &mut Runtime, limits: Limits) {
        // Waiting executors are as good as freed.
        // SAFETY: those in the graveyard have not been freed.
        let waiting: usize = self.graveyard.iter().map(|e| unsafe { (**e).bytes }).sum();
        let (mut count, mut bytes) = (self.count(), self.bytes - waiting);
        let allowed = |max: usize| max - max.div_ceil(4);
        let (most, most_bytes) = (allowed(limits.executors), allowed(limits.bytes));
        self.executors().for_each(|e| e.recent.set(0));
        for e in self.executors() {
            let recent = e.used() - e.seen.replace(e.used()) + u64::from(e.awake.get());
            for e in std::iter::once(e).chain(e.ancestors()) {
                e.recent.set(e.recent.get().saturating_add(recent));
            }
        }
        let class = |e: &Executor| u64::BITS - e.recent.get().leading_zeros();
        let mut direct = 0;
        'classes: for least in 0..=u64::BITS {
            for e in self.executors().filter(|e| class(e) == least) {
                if count <= most && bytes <= most_bytes {
                    break 'classes;
                }
                e.doomed.set(true);
                direct += 1;
                count -= 1;
                bytes -= e.bytes;
            }
        }
        if direct > 0 {
            self.departed.retired += direct + self.unlink(rt, &|_| false);
        }
        self.executors().for_each(Executor::put_to_sleep);
    }

    /// Frees the executors that never run again.
    ///
    /// # Safety
    /// No activation of an executor is in progress.
    pub unsafe fn reap(&mut self, heap: &mut Heap) {
        let (bytes, executed) = (&mut self.bytes, &mut self.departed.executed);
        self.graveyard.retain(|&executor| {
            // SAFETY: made by `add` and listed once. Apart from references that are counted nobody refers to it: the
            // caller's promise.
            unsafe {
                let e = &*executor;
                if e.references.get() > 0 {
                    return true;
                }
                *executed += e.executed();
                *bytes -= e.bytes;
                heap.discharge(e.bytes);
                drop(Box::from_raw(executor));
                false
            }
        });
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // The VM is being dropped: nothing runs, and the places that enter executors are going as well.
        for executor in self.executors.drain(..).chain(self.graveyard.drain(..)) {
            // SAFETY: made by `add`, and listed once.
            drop(unsafe { Box::from_raw(executor) });
        }
    }
}

fn reserve<T>(list: &mut Vec<T>, total: usize) -> Result<(), OutOfMemory> {
    list.try_reserve(total).map_err(|_| OutOfMemory)
}
