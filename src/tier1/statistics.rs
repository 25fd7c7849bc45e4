//! What a VM has done, for people: counters kept on the way, and a look at the code and the heap.
//!
//! Counters are changed on slow paths only. [`State::statistics`] is the one place that puts figures together.

use std::fmt;

use super::state::State;
use crate::bytecode::Op;

/// A count for each instruction.
#[derive(Clone)]
pub struct Tally([u64; Op::ALL.len()]);

impl Default for Tally {
    fn default() -> Tally {
        Tally([0; Op::ALL.len()])
    }
}

impl Tally {
    /// One more of `op`.
    #[inline(always)]
    pub fn count(&mut self, op: Op) {
        self.0[op as usize] += 1;
    }

    /// The instructions that were counted, by name.
    fn by_name(&self) -> Vec<(&'static str, u64)> {
        let counted = Op::ALL.iter().map(|op| (op.name(), self.0[*op as usize]));
        counted.filter(|(_, n)| *n > 0).collect()
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_name()).finish()
    }
}

/// Counters of what a VM has done; [`Statistics`] explains them.
#[derive(Default, Clone, Debug)]
pub struct Counters {
    pub specialised: Tally,
    pub despecialised: Tally,
    pub field_misses: u64,
    pub hot_places: u64,
    pub recordings: u64,
    pub recorded_steps: u64,
    pub collector_steps: u64,
}

/// What a VM has done since it was made, and the state of its code and heap; see
/// [`Vm::statistics`](crate::Vm::statistics). Instructions are given by name, and only those whose count is not 0.
///
/// Its `Display` form is a table for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// How often an instruction was rewritten to a special form, by form. An instruction that goes back and forth
    /// counts each time.
    pub specialised: Vec<(&'static str, u64)>,
    /// How often a special form met operands that it is not for and was rewritten to its general form, by general
    /// form. Field instructions that turn general because they met too many shapes count here.
    pub despecialised: Vec<(&'static str, u64)>,
    /// Special forms in the code that is in memory now, by form.
    pub forms: Vec<(&'static str, u64)>,
    /// Field accesses that their inline cache did not answer, including each first one.
    pub field_misses: u64,
    /// Loops and functions that became hot.
    pub hot_places: u64,
    /// Passes through hot loops and functions that were recorded; a place may be recorded again later.
    pub recordings: u64,
    /// Instructions in all recordings.
    pub recorded_steps: u64,
    /// Times that the collector ran: steps of the incremental collection, minor and full collections.
    pub collector_steps: u64,
    /// Collections completed.
    pub collections: u64,
    /// Those of them that were minor collections of the generational mode.
    pub minor_collections: u64,
    /// Bytes looked at in the longest step of the collector. Full collections do not count.
    pub longest_step: usize,
    /// Bytes allocated since the VM was made.
    pub bytes_allocated: u64,
    /// Bytes in use, including garbage not yet collected.
    pub bytes_used: usize,
    /// Bytes that the heap holds for objects, in use or not.
    pub bytes_reserved: usize,
}

impl State {
    /// The figures of this moment. Takes time in proportion to the code in memory.
    pub fn statistics(&self) -> Statistics {
        let mut forms = Tally::default();
        for proto in self.rt.heap.protos() {
            let ops = proto.info.code.iter().map(|instr| instr.op());
            ops.filter(|op| op.general() != *op).for_each(|op| forms.count(op));
        }
        let heap = self.rt.heap.stats();
        Statistics {
            specialised: self.counters.specialised.by_name(),
            despecialised: self.counters.despecialised.by_name(),
            forms: forms.by_name(),
            field_misses: self.counters.field_misses,
            hot_places: self.counters.hot_places,
            recordings: self.counters.recordings,
            recorded_steps: self.counters.recorded_steps,
            collector_steps: self.counters.collector_steps,
            collections: heap.cycles,
            minor_collections: heap.minor_cycles,
            longest_step: heap.longest_step,
            bytes_allocated: self.rt.heap.allocated(),
            bytes_used: self.rt.heap.used(),
            bytes_reserved: self.rt.heap.reserved(),
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [
            ("specialised", &self.specialised),
            ("despecialised", &self.despecialised),
            ("special forms in memory", &self.forms),
        ];
        for (title, counts) in groups {
            let total: u64 = counts.iter().map(|(_, n)| n).sum();
            writeln!(f, "{title:<28}{total:>14}")?;
            for (name, n) in counts {
                writeln!(f, "  {name:<26}{n:>14}")?;
            }
        }
        let figures = [
            ("inline-cache misses", self.field_misses),
            ("hot places", self.hot_places),
            ("recordings", self.recordings),
            ("recorded instructions", self.recorded_steps),
            ("collector steps", self.collector_steps),
            ("collections", self.collections),
            ("  of them minor", self.minor_collections),
            ("longest step, bytes", self.longest_step as u64),
            ("bytes allocated", self.bytes_allocated),
            ("bytes used", self.bytes_used as u64),
            ("bytes reserved", self.bytes_reserved as u64),
        ];
        figures.iter().try_for_each(|(title, n)| writeln!(f, "{title:<28}{n:>14}"))
    }
}
