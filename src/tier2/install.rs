//! From a recording to an executor in its place.

use std::ptr;

use perilune_uops::MicroOp;

use super::executor::{Anchor, Code, Executor};
use super::projection::{self, Projection};
use super::superblock::Superblock;
use super::{Engine, optimizer, uop, verify};
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
        let wanted = self.tier2.engine != Engine::Off && self.is_current(origin);
        let projection = if wanted { projection::project(self) } else { None };
        self.recording.steps.clear();
        self.recording.origin = None;
        let installed = projection.and_then(|projection| self.install(origin, projection));
        if wanted && installed.is_none() {
            self.tier2.counters.failed += 1;
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

    fn install(&mut self, origin: Origin, projection: Projection) -> Option<()> {
        let Projection { superblock, mut assumptions, instructions, link, stop } = projection;
        let counters = &mut self.tier2.counters;
        counters.projected += 1;
        counters.stops[stop as usize] += 1;
        counters.micro_ops_before += superblock.nodes.len() as u64;
        if self.tier2.dump.superblocks {
            eprintln!("superblock from {origin:?}, {stop:?}\n{superblock}");
        }
        if cfg!(debug_assertions)
            && let Err(error) = verify::verify(&superblock)
        {
            panic!("projection breaks a rule: {error}\n{superblock}");
        }
        let optimized = optimizer::optimize(superblock);
        if self.tier2.dump.superblocks {
            eprintln!("optimized\n{optimized}");
        }
        self.tier2.counters.micro_ops_after += optimized.nodes.len() as u64;
        let code = self.code_for(origin, &optimized)?;
        if self.tier2.dump.superblocks {
            code.dump();
        }
        assumptions.dedup();
        for a in &assumptions {
            self.rt.assumptions.watch(*a).ok()?;
        }
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
        let executor = graph.add(anchor, parent, generation, optimized, code, assumptions.into(), instructions);
        // SAFETY: just made, or checked by `is_current`.
        unsafe {
            match origin {
                Origin::Place(site) => {
                    (*site).executor.set(executor as *const u8);
                    // The next pass enters it.
                    (*site).countdown.set(1);
                }
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
                self.tier2.jit.compile(superblock, parent).map(Code::Machine)
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
        if self.tier2.active == 0 && !self.recording.active {
            // SAFETY: no activation is in progress; a valid executor is not in the graveyard.
            unsafe { self.tier2.graph.reap() };
        }
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
