//! Exits: their temperature, and what happens when they are hot.

use std::sync::atomic::Ordering;

use super::Engine;
use super::executor::Executor;
use super::superblock::SnapshotId;
use crate::tier1::State;
use crate::tier1::recording::Origin;

/// Attempts to give an exit an executor, each at twice the temperature of the one before.
const ATTEMPTS_MAX: u16 = 6;
/// The longest chain of side executors.
const GENERATIONS_MAX: u32 = 64;

impl State {
    /// Control has left `executor` by a cold exit, and tier 1 is about to go on there. If the exit has become hot,
    /// what comes next is recorded.
    pub(crate) fn exit_taken(&mut self, executor: *const Executor, exit: SnapshotId) {
        self.tier2.counters.exits += 1;
        // SAFETY: executors stay allocated while they run.
        let e = unsafe { &*executor };
        let state = e.exit(exit);
        state.taken.set(state.taken.get().saturating_add(1));
        if self.interrupt.load(Ordering::Relaxed) != 0 {
            // A poll has left, most likely: there is nothing to be made that goes on instead.
            return;
        }
        let temperature = state.temperature.get().saturating_add(1);
        state.temperature.set(temperature);
        let attempts = state.attempts.get();
        let hot = u32::from(temperature) >= u32::from(self.tier2.hot_exit.max(1)) << attempts;
        if !hot
            || attempts >= ATTEMPTS_MAX
            || e.generation >= GENERATIONS_MAX
            || !e.is_valid()
            || self.recording.active
            || self.tier2.engine == Engine::Off
        {
            return;
        }
        state.temperature.set(0);
        state.attempts.set(attempts + 1);
        let snapshot = e.superblock.snapshot_at(exit);
        let inlined = e.superblock.inlined(snapshot.frame) as u32;
        self.begin_recording(Origin::Exit(executor, exit), inlined);
    }
}
