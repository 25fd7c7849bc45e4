//! From a recording to an executor in its place.

use std::ptr;

use perilune_uops::MicroOp;

use super::clock::Stopwatch;
use super::executor::{Anchor, Code, Details, Executor, Parts};
use super::place::{Header, Place};
use super::projection::{self, Projection};
use super::superblock::Superblock;
use super::{Dump, Engine, optimizer, uop, verify};
use crate::bytecode::cache::LoopSite;
use crate::tier1::State;
use crate::tier1::recording::Origin;

impl State {
    /// A recording is complete: makes an executor of it, if that can be.
    pub(crate) fn recorded(&mut self) {
        self.recording.complete = false;
        let Some(origin) = self.recording.origin else {
            return;
        };
        let mut clock = Stopwatch::start();
        self.settle_assumptions();
        let wanted = self.tier2.engine != Engine::Off && self.make_room_for_executor() && self.is_current(origin);
        let first = self.recording.steps.first().map(|step| (step.closure, step.pc));
        let projection = if wanted { projection::project(self) } else { None };
        self.tier2.counters.time.projection += clock.lap();
        self.recording.steps.clear();
        self.recording.origin = None;
        let installed = projection.zip(first).and_then(|(projection, (closure, pc))| {
            let place = Place { proto: Some(closure.proto), pc };
            let named = self.tier2.names_executors();
            let header = named.then(|| Header::new(self, origin, closure, place, projection.stop));
            self.install(origin, place, projection, header, &mut clock)
        });
        if wanted && installed.is_none() {
            self.tier2.counters.failed += 1;
        }
        self.tier2.counters.time.installation += clock.lap();
    }

    /// Sees to it that the limits allow one more executor. False if those that are running do not leave room.
    fn make_room_for_executor(&mut self) -> bool {
        let no_code = self.tier2.take_exhausted();
        let graph = &mut self.tier2.graph;
        if graph.is_full() || no_code {
            graph.collect_cycles(&mut self.rt);
            self.reap_executors();
        }
        let graph = &mut self.tier2.graph;
        let limits = graph.limits;
        if graph.is_full() || no_code {
            // Where code finds no room there are as many executors as can be.
            graph.retire(&mut self.rt, if no_code { graph.used() } else { limits });
            self.reap_executors();
        }
        !self.tier2.graph.is_full()
    }

    /// Frees executors that never run again, if nothing can be inside one.
    fn reap_executors(&mut self) {
        if self.tier2.active == 0 && !self.recording.active {
            // SAFETY: no activation is in progress.
            unsafe { self.tier2.graph.reap(&mut self.rt.heap) };
        }
    }

    /// Whether an executor may still be put where the recording began.
    fn is_current(&self, origin: Origin) -> bool {
        match origin {
            // SAFETY: the recording keeps the place's function alive.
            Origin::Place(site) => unsafe { (*site).executor.get().is_null() },
            Origin::Exit(parent, exit) => {
                let alive = self.tier2.graph.executors().find(|e| ptr::eq(*e, parent));
                alive.is_some_and(|e| e.exit(exit).target.get().is_null())
            }
        }
    }

    fn install(
        &mut self,
        origin: Origin,
        place: Place,
        projection: Projection,
        header: Option<Header>,
        clock: &mut Stopwatch,
    ) -> Option<()> {
        let Projection { superblock, mut assumptions, instructions, link, stop } = projection;
        let counters = &mut self.tier2.counters;
        counters.projected += 1;
        counters.stops[stop as usize] += 1;
        counters.micro_ops_before += superblock.nodes.len() as u64;
        let Dump { superblocks, uops, machine_code, ref filters } = self.tier2.dump;
        let shown = header.as_ref().filter(|header| place.matches(filters, &header.function));
        if let Some(header) = shown.filter(|_| superblocks) {
            eprintln!("superblock of {header}\n{superblock}");
        }
        if cfg!(debug_assertions)
            && let Err(error) = verify::verify(&superblock)
        {
            panic!("projection breaks a rule: {error}\n{superblock}");
        }
        let before = self.tier2.keeps_superblocks.then(|| superblock.to_string());
        let mut optimized = optimizer::optimize(superblock);
        optimized.compact();
        self.tier2.counters.time.optimization += clock.lap();
        if let Some(header) = shown.filter(|_| superblocks) {
            eprintln!("optimized superblock of {header}\n{optimized}");
        }
        let counters = &mut self.tier2.counters;
        counters.micro_ops_after += optimized.nodes.len() as u64;
        counters.instructions += u64::from(instructions.0) + u64::from(instructions.1);
        counters.micro_ops.count(&optimized);
        let code = self.code_for(origin, &optimized);
        self.tier2.counters.time.lowering += clock.lap();
        let code = code?;
        if let Some(header) = shown.filter(|_| uops) {
            eprintln!("code of {header}\n{code}");
        }
        if let Some(header) = shown.filter(|_| machine_code) {
            eprintln!("machine code of {header}\n{}", code.listing(&optimized));
        }
        assumptions.sort_unstable();
        assumptions.dedup();
        let (anchor, parent, generation) = match origin {
            Origin::Place(site) => (Anchor::Site(site), ptr::null(), 0),
            Origin::Exit(parent, exit) => {
                // SAFETY: checked to be alive by `is_current`; nothing has run since.
                (Anchor::Exit(parent, exit), parent, unsafe { (*parent).generation } + 1)
            }
        };
        // The end may not be reached: then the optimizer has replaced it.
        let last = optimized.nodes.last().filter(|node| node.op == MicroOp::LINK).map(|node| node.exit);
        let graph = &mut self.tier2.graph;
        let details = header.map(|header| Box::new(Details { header, before }));
        let parts =
            Parts { anchor, place, parent, generation, superblock: optimized, code, assumptions, instructions, details };
        let executor = graph.add(&mut self.rt, parts).ok()?;
        // SAFETY: just made.
        self.tier2.publish(unsafe { &*executor });
        let graph = &mut self.tier2.graph;
        // SAFETY: just made, or checked by `is_current`.
        unsafe {
            match origin {
                Origin::Place(_) => graph.place(&*executor),
                Origin::Exit(parent, exit) => graph.attach(&*parent, exit, &*executor),
            }
            if let (Some(site), Some(exit)) = (link, last)
                && let Some(target) = executor_at(site)
            {
                graph.link(&*executor, exit, target);
            }
        }
        Some(())
    }

    /// The code for a superblock; none if that is not possible.
    #[cfg_attr(not(all(feature = "jit", target_arch = "x86_64", target_os = "linux")), allow(unused_variables, reason = "machine code uses it"))]
    fn code_for(&mut self, origin: Origin, superblock: &Superblock) -> Option<Code> {
        match self.tier2.engine {
            Engine::Off => None,
            Engine::Uops => uop::lower(superblock).ok().map(Code::Uops),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            Engine::Jit => {
                let parent = match origin {
                    Origin::Place(_) => None,
                    // SAFETY: checked to be alive by `is_current`; nothing has run since.
                    Origin::Exit(parent, exit) => Some((unsafe { &*parent }, exit)),
                };
                self.tier2.jit.compile(superblock, &self.rt.shapes, parent).map(Code::Machine)
            }
            #[cfg(not(all(feature = "jit", target_arch = "x86_64", target_os = "linux")))]
            Engine::Jit => None,
        }
    }

    /// The executor that tier 1 wants to be entered, at most once.
    pub(crate) fn take_entering(&mut self) -> Option<*const Executor> {
        let executor = std::mem::replace(&mut self.tier2.entering, ptr::null());
        if executor.is_null() {
            return None;
        }
        self.settle_assumptions();
        // SAFETY: executors are reaped below only, and `entering` is set right before.
        let valid = unsafe { (*executor).is_valid() };
        // A valid executor is not in the graveyard.
        self.reap_executors();
        valid.then_some(executor)
    }
}

/// The executor at a place.
///
/// # Safety
/// The place's function is alive.
unsafe fn executor_at<'a>(site: *const LoopSite) -> Option<&'a Executor> {
    // SAFETY: the caller's promise; what a place points to is an executor that it counts.
    unsafe { ((*site).executor.get() as *const Executor).as_ref() }
}
