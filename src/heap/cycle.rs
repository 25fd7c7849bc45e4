//! The phases of a collection.
//!
//! ```text
//! Pause -> Mark -> (atomic) -> Strings -> Owners -> Sweep -> Pause
//! ```
//!
//! Marking is incremental, and large tables are marked in slices. When all is marked, the containers logged until then
//! are scanned once more, and what is logged after that is left to the atomic phase. It completes the marking at one
//! safepoint: it scans roots, stacks and the logged containers again and settles ephemerons, finalizers and weak references.
//! Then nothing refers to the dead but the interner and the list of owners, which are swept in this order; until then
//! the cells that they may name are held back. Blocks are swept by whoever comes first, the allocator or the steps of the
//! last phase.
//!
//! Generational collection is the same with sticky mark bits: a minor cycle begins with the marks of the one
//! before, so that only objects allocated since (and logged containers) are scanned, and only they can die.

use super::block::CLASSES;
use super::mark::{Marker, Roots, cell, push};
use super::pacing::Mode;
use super::{Heap, Phase};
use crate::runtime::Runtime;
use crate::runtime::interner;
use crate::runtime::object::{Gc, Header, Object};
use crate::runtime::string::Str;

/// How many bytes a full collection looks at between two polls.
const POLL_DISTANCE: isize = 1 << 22;
/// What sweeping a block costs, in bytes looked at.
const SWEEP_COST: isize = 512;
/// What examining an owner or a large cell costs.
const ITEM_COST: isize = 32;
/// What sweeping a segment of the interner costs.
const SEGMENT_COST: isize = 8 * interner::ENTRIES as isize;

impl Runtime {
    /// Advances the collector, at a safepoint at which [`Heap::should_collect`] says so.
    #[cold]
    pub fn gc_step(&mut self, roots: &dyn Roots) {
        if self.heap.stress || self.heap.under_pressure() {
            self.collect_full(roots);
        } else if self.heap.mode() == Mode::Generational && self.heap.phase == Phase::Pause {
            self.collect_young(roots);
        } else {
            let budget = self.heap.step_budget();
            self.work(roots, budget);
        }
    }

    /// One step of `collectgarbage("step", kb)`: as if so many KiB had been allocated, or a basic step for 0. Returns
    /// whether it has completed a cycle.
    pub fn gc_step_kb(&mut self, roots: &dyn Roots, kb: usize) -> bool {
        if self.heap.stress {
            // The next safepoint would complete the cycle, so no number of steps ever did.
            self.collect_full(roots);
            return true;
        }
        if self.heap.mode() == Mode::Generational && self.heap.phase == Phase::Pause {
            self.collect_young(roots);
            return true;
        }
        let extra = kb.saturating_mul(4 << 10).min(isize::MAX as usize / 2) as isize;
        let budget = self.heap.step_budget().saturating_add(extra);
        self.work(roots, budget)
    }

    /// A complete collection: everything unreachable now is freed, or its finalizer is pending. If the VM is to be stopped, it may
    /// remain incomplete.
    pub fn collect_full(&mut self, roots: &dyn Roots) {
        // A marking in progress has marked what may have died since.
        self.finish_sweep_phases();
        self.heap.unmark_all();
        if self.complete_cycle(roots, true) {
            self.heap.release_empty();
            self.heap.pacing.major_base = self.heap.used();
            self.schedule();
        }
    }

    /// Completes the cycle in progress, or a whole one, unless the VM is to be stopped meanwhile: then it goes on step by step. `full`
    /// is whether memory is given back at once.
    fn complete_cycle(&mut self, roots: &dyn Roots, full: bool) -> bool {
        let longest_step = self.heap.pacing.stats.longest_step;
        let mut complete = self.advance(roots, POLL_DISTANCE, full);
        while !complete && self.heap.poll().is_ok() {
            complete = self.advance(roots, POLL_DISTANCE, full);
        }
        self.heap.pacing.stats.longest_step = longest_step;
        complete
    }

    /// A minor cycle of the generational mode, or a major one when the heap has grown enough.
    fn collect_young(&mut self, roots: &dyn Roots) {
        let p = self.heap.pacing.parameters;
        let base = self.heap.pacing.major_base;
        if self.heap.used() > base.saturating_add((base / 100).saturating_mul(p.major_multiplier)) {
            return self.collect_full(roots);
        }
        self.heap.pacing.stats.minor_cycles += 1;
        self.complete_cycle(roots, false);
    }

    /// Changes the mode; returns the one before.
    pub fn set_gc_mode(&mut self, roots: &dyn Roots, mode: Mode) -> Mode {
        let before = self.heap.mode();
        if mode != before {
            self.finish_sweep_phases();
            self.heap.unmark_all();
            self.heap.sticky = mode == Mode::Generational;
            if self.heap.sticky {
                self.collect_full(roots);
            }
        }
        before
    }

    fn schedule(&mut self) {
        let p = self.heap.pacing.parameters;
        let percent = if self.heap.sticky {
            100 + p.minor_multiplier
        } else {
            // Half the growth that Lua's parameter names: collections are cheap here, and memory peaks matter.
            p.pause - p.pause.saturating_sub(100) / 2
        };
        self.heap.schedule_cycle(percent);
    }

    /// Works until the budget is spent or a cycle is complete. Returns whether one is.
    pub(super) fn work(&mut self, roots: &dyn Roots, budget: isize) -> bool {
        self.advance(roots, budget, false)
    }

    /// The same as a part of a full collection, or not.
    fn advance(&mut self, roots: &dyn Roots, budget: isize, full: bool) -> bool {
        let mut left = budget;
        while left > 0 {
            match self.heap.phase {
                Phase::Pause => {
                    self.begin_cycle(roots);
                    left -= ITEM_COST;
                }
                Phase::Mark => {
                    left = Marker { rt: self }.propagate(left);
                    let marking = &self.heap.marking;
                    let marked = marking.gray.is_empty() && marking.partial.is_empty();
                    if !marking.failed && (!marked || Marker { rt: self }.preclean()) {
                        continue;
                    }
                    left -= self.atomic(roots);
                    if self.heap.marking.failed {
                        self.heap.give_up_cycle();
                        self.schedule();
                        return true;
                    }
                    self.heap.begin_sweep();
                    self.strings.begin_sweep();
                    self.heap.hold_strings();
                    self.heap.begin_owner_sweep();
                    self.heap.phase = Phase::Strings;
                }
                Phase::Strings => {
                    left -= SEGMENT_COST;
                    if !self.strings.sweep_some(&mut self.heap, full) {
                        self.heap.release_strings();
                        self.heap.phase = Phase::Owners;
                    }
                }
                Phase::Owners => match self.heap.sweep_owner() {
                    Some(()) => left -= ITEM_COST,
                    None => self.heap.phase = Phase::Sweep,
                },
                Phase::Sweep => match self.heap.sweep_some() {
                    Some(cost) => left -= cost,
                    None => {
                        self.heap.phase = Phase::Pause;
                        self.heap.pacing.stats.cycles += 1;
                        self.schedule();
                        return true;
                    }
                },
            }
        }
        let done = budget.saturating_sub(left) as usize;
        let stats = &mut self.heap.pacing.stats;
        stats.longest_step = stats.longest_step.max(done);
        self.heap.schedule_step();
        false
    }

    fn begin_cycle(&mut self, roots: &dyn Roots) {
        self.heap.phase = Phase::Mark;
        self.mark_roots(roots);
    }

    fn mark_roots(&mut self, roots: &dyn Roots) {
        let mut marker = Marker { rt: self };
        roots.trace(&mut marker);
        marker.mark_runtime();
        marker.mark_pending();
    }

    /// Completes the marking, and settles what depends on its completion. Returns its cost.
    fn atomic(&mut self, roots: &dyn Roots) -> isize {
        self.mark_roots(roots);
        let mut cost = 0;
        let mut m = Marker { rt: self };
        cost += m.rescan_logged();
        cost += m.rescan_stacks();
        m.converge_ephemerons();
        if m.rt.heap.marking.failed {
            return cost;
        }
        // Values before finalizers see their objects, keys afterwards: an object being finalized is no longer found as
        // a value, but still as a key.
        m.clear_weak_values((0, 0));
        let marking = &m.rt.heap.marking;
        let seen = (marking.weak_values.len(), marking.all_weak.len());
        m.separate_finalizers();
        m.mark_pending();
        cost += m.propagate_all();
        m.converge_ephemerons();
        if m.rt.heap.marking.failed {
            return cost;
        }
        m.clear_weak_keys();
        m.clear_weak_values(seen);
        self.report_deaths();
        let marking = &mut self.heap.marking;
        marking.clear_lists();
        // Clearing entries logs tables, to no purpose.
        marking
            .logged
            .drain(..)
            .for_each(|container| container.barrier.set(1));
        cost
    }

    /// Brings a sweep in progress to its end.
    fn finish_sweep_phases(&mut self) {
        if self.heap.phase == Phase::Strings {
            while self.strings.sweep_some(&mut self.heap, false) {}
            self.heap.release_strings();
            self.heap.phase = Phase::Owners;
        }
        if matches!(self.heap.phase, Phase::Owners | Phase::Sweep) {
            while self.heap.sweep_owner().is_some() {}
            self.heap.finish_sweep();
            self.heap.sweep_class = 0;
            self.heap.phase = Phase::Pause;
            self.heap.pacing.stats.cycles += 1;
        }
    }

    /// Tells everyone with weak references who is dead.
    fn report_deaths(&mut self) {
        let alive = |object: Gc<Header>| Heap::is_marked(object);
        for proto in self.heap.protos().filter(|p| alive(p.header())) {
            proto.info.sweep_caches(&alive);
        }
        self.sweep_weak(&alive);
    }
}

impl Marker<'_> {
    fn rescan_logged(&mut self) -> isize {
        let mut cost = self.propagate_all();
        while let Some(container) = self.rt.heap.marking.logged.pop() {
            cost += self.scan(container) as isize + self.propagate_all();
        }
        cost
    }

    /// Scans the stacks of all marked coroutines again, and those found thereby once.
    fn rescan_stacks(&mut self) -> isize {
        let mut cost = 0;
        if self.rt.heap.sticky {
            // Those marked in earlier cycles are not in the list.
            let Heap {
                owners, marking, ..
            } = &mut self.rt.heap;
            marking.coroutines.clear();
            for co in owners.coroutines().filter(|&co| Heap::is_marked(co)) {
                push(&mut marking.coroutines, co, &mut marking.failed);
            }
        }
        let mut i = 0;
        while let Some(&co) = self.rt.heap.marking.coroutines.get(i) {
            cost += self.scan_coroutine(co) as isize + self.propagate_all();
            i += 1;
        }
        for &co in &self.rt.heap.marking.coroutines {
            Marker::clear_dead_slots(co);
        }
        cost
    }
}

impl Heap {
    /// Whether the sweep of the phases to come will free an object.
    #[inline]
    pub fn is_dead<T: Object>(&self, object: Gc<T>) -> bool {
        self.is_cell_dead(cell(object))
    }

    /// Asks for what [`Heap::is_dead`] will look at.
    #[inline(always)]
    pub fn prefetch_mark(s: Gc<Str>) {
        Heap::prefetch_cell_mark(cell(s));
    }

    /// Lets a dead string live, which has been asked for before the interner forgot it.
    #[cold]
    pub fn revive(&mut self, s: Gc<Str>) {
        if self.is_dead(s) {
            // Its cell is held back, and its block not swept: the mark keeps it.
            Heap::mark_cell(cell(s));
        }
    }

    pub fn mode(&self) -> Mode {
        if self.sticky {
            Mode::Generational
        } else {
            Mode::Incremental
        }
    }

    /// Sweeps one block or large cell; returns its cost, or `None` if there is nothing left to sweep.
    fn sweep_some(&mut self) -> Option<isize> {
        while self.sweep_class < CLASSES {
            if self.sweep_block(self.sweep_class) {
                return Some(SWEEP_COST);
            }
            self.sweep_class += 1;
        }
        if self.sweep_large_cell().is_some() {
            return Some(ITEM_COST);
        }
        self.sweep_class = 0;
        None
    }

    /// Forgets all marks and whatever marking was in progress.
    fn unmark_all(&mut self) {
        for mut block in self.regions.blocks() {
            // SAFETY: blocks in use have initialised heads, and nothing else refers to them now.
            unsafe { block.as_mut().mark.fill(0) };
        }
        self.large.unmark_all();
        self.marking.clear();
        self.phase = Phase::Pause;
    }

    /// Ends a marking that could not be completed, without freeing anything.
    fn give_up_cycle(&mut self) {
        self.unmark_all();
        self.pacing.stats.failed_cycles += 1;
    }
}
