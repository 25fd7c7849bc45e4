//! Tier 2: superblocks, their optimizer, and executors.

pub mod deopt;
pub mod executor;
mod exits;
pub mod superblock;
pub mod uop;

use smallvec::SmallVec;

use crate::runtime::assumption::Assumption;
use crate::tier1::State;
use executor::{Executor, Graph};

/// Tier 2's part of a VM.
pub struct Tier2 {
    pub graph: Graph,
    /// The executor that runs, for call-outs and exits; null in tier 1.
    pub current: *const Executor,
    /// The executor that control comes from, counted, during a transfer that is not along a patched edge; null when
    /// it comes from tier 1.
    pub previous: *const Executor,
    /// Activations of executors on the native stack.
    pub active: u32,
    /// Registers of the tier-2 interpreter that no activation uses at the moment.
    pub registers: Vec<u64>,
    /// How often someone has changed registers of frames from outside (`debug.setlocal`).
    pub disturbances: u64,
}

impl Default for Tier2 {
    fn default() -> Tier2 {
        Tier2 {
            graph: Graph::default(),
            current: std::ptr::null(),
            previous: std::ptr::null(),
            active: 0,
            registers: Vec::new(),
            disturbances: 0,
        }
    }
}

impl State {
    /// Invalidates the executors whose assumptions have been broken.
    #[inline]
    pub(crate) fn settle_assumptions(&mut self) {
        if self.rt.assumptions.any_broken() {
            self.invalidate_broken();
        }
    }

    #[cold]
    fn invalidate_broken(&mut self) {
        let broken: SmallVec<[Assumption; 4]> = self.rt.assumptions.drain().collect();
        self.tier2.graph.invalidate(&broken);
    }
}
