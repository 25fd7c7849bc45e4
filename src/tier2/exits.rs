//! What happens at exits that have no target yet.

use super::executor::Executor;
use super::superblock::SnapshotId;
use crate::tier1::State;

impl State {
    /// Control has left `executor` for tier 1, which goes on at the current record's program counter.
    pub(crate) fn exit_taken(&mut self, executor: *const Executor, exit: SnapshotId) {
        // SAFETY: the executor's activation is not over yet.
        let temperature = unsafe { &(*executor).exit(exit).temperature };
        temperature.set(temperature.get().saturating_add(1));
    }
}
