//! The source lines of instructions, run-length encoded.

use super::proto_builder::exact;
use crate::heap::{Meter, OutOfMemory};

/// Maps instructions to source lines: a sorted list of (first instruction, line), each entry valid up to the
/// next one. Lookup is a binary search.
#[derive(Default, Clone)]
pub struct LineTable {
    runs: Vec<(u32, u32)>,
}

impl LineTable {
    /// Notes that instruction `pc` (not below any noted before) belongs to `line`.
    pub fn push(&mut self, pc: u32, line: u32) {
        match self.runs.last_mut() {
            Some(last) if last.1 == line => {}
            Some(last) if last.0 == pc => last.1 = line,
            _ => self.runs.push((pc, line)),
        }
    }

    /// [`push`](LineTable::push), metered.
    pub fn try_push(&mut self, meter: &Meter, pc: u32, line: u32) -> Result<(), OutOfMemory> {
        if self.runs.len() == self.runs.capacity() {
            meter.reserve(&mut self.runs, 1)?;
        }
        self.push(pc, line);
        Ok(())
    }

    /// The table without spare room, whose memory is no longer the meter's.
    pub(super) fn finish(self, meter: &Meter) -> LineTable {
        LineTable { runs: exact(meter, self.runs) }
    }

    /// The line of instruction `pc`, or 0 in stripped code.
    pub fn line(&self, pc: u32) -> u32 {
        match self.runs.partition_point(|run| run.0 <= pc) {
            0 => 0,
            n => self.runs[n - 1].1,
        }
    }

    /// The runs: first instruction and line.
    pub fn runs(&self) -> &[(u32, u32)] {
        &self.runs
    }
}
