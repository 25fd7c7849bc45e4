//! What a VM has done, for people: counters kept on the way, and a look at the code and the heap.
//!
//! Counters are changed on slow paths only. [`State::statistics`] is the one place that puts figures together.

use std::fmt;

use super::state::State;
use crate::bytecode::Op;
use crate::runtime::assumption::Assumption;
use crate::tier2::CompileTime;
use crate::tier2::executor::Executor;
use crate::tier2::projection::Stop;

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
    pub interpreted: u64,
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
    /// Tier 2.
    pub executors: ExecutorStatistics,
    /// Instructions executed by the interpreter, if the VM counts them; see
    /// [`VmBuilder::count_instructions`](crate::VmBuilder::count_instructions).
    pub interpreted: Option<u64>,
}

/// What tier 2 has done, and the executors of the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutorStatistics {
    /// Executors made.
    pub made: u64,
    /// Those that may run.
    pub alive: u64,
    /// Those given up because others were used more.
    pub retired: u64,
    /// Those given up because nothing led to them any more.
    pub unreachable: u64,
    /// Those given up because what they took for granted no longer held, by the kind of assumption.
    pub invalidated: Vec<(&'static str, u64)>,
    /// Recordings of which no executor could be made.
    pub failed: u64,
    /// Why superblocks ended where they did.
    pub stops: Vec<(&'static str, u64)>,
    /// Times that control has gone back to the interpreter through an exit.
    pub exits_taken: u64,
    /// Exits of executors that may run: never taken, ...
    pub cold_exits: u64,
    /// ... taken, and leading to the interpreter, ...
    pub warm_exits: u64,
    /// ... and leading to another executor.
    pub hot_exits: u64,
    /// Micro-ops of all superblocks before optimization.
    pub micro_ops_before: u64,
    /// The same after it.
    pub micro_ops_after: u64,
    /// Bytecode instructions that all superblocks stand for.
    pub instructions: u64,
    /// Micro-ops of optimized superblocks, by name.
    pub micro_ops: Vec<(&'static str, u64)>,
    /// Bytes of the code of executors that may run.
    pub code_bytes: usize,
    /// Bytes that say what their exits leave behind.
    pub snapshot_bytes: usize,
    /// Bytes of executors altogether, including those that wait to be freed.
    pub bytes: usize,
    /// About how many instructions have been executed in executors. Machine code counts only if
    /// [`VmBuilder::count_executions`](crate::VmBuilder::count_executions) asks for it.
    pub executed: u64,
    /// Time that making them has taken.
    pub time: CompileTime,
}

/// `count / of` to two places.
fn ratio(count: u64, of: u64) -> String {
    let hundredths = count.saturating_mul(100).checked_div(of).unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

impl Statistics {
    /// Of the instructions executed, those in executors, in percent; if the VM counts instructions.
    pub fn percent_in_executors(&self) -> Option<f64> {
        let executed = self.executors.executed as f64;
        Some(100.0 * executed / (executed + self.interpreted? as f64).max(1.0))
    }
}

/// How many exits an executor has that were never taken, that lead to the interpreter, and that lead elsewhere.
fn exits_of(e: &Executor) -> (u64, u64, u64) {
    let (mut cold, mut warm, mut hot) = (0, 0, 0);
    let mut seen = vec![false; e.exits.len()];
    let ids = e.superblock.nodes.iter().map(|node| node.exit).filter(|id| !id.is_none());
    for id in ids {
        if std::mem::replace(&mut seen[id.0 as usize], true) {
            continue;
        }
        let exit = e.exit(id);
        match (exit.target.get().is_null(), exit.taken.get()) {
            (false, _) => hot += 1,
            (true, 0) => cold += 1,
            (true, _) => warm += 1,
        }
    }
    (cold, warm, hot)
}

fn named<'a>(names: &'a [&'static str], counts: &'a [u64]) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    names.iter().copied().zip(counts.iter().copied()).filter(|(_, n)| *n > 0)
}

impl State {
    fn executor_statistics(&self) -> ExecutorStatistics {
        let (graph, counters) = (&self.tier2.graph, &self.tier2.counters);
        let departed = &graph.departed;
        let flushed = ("shapes", departed.flushed);
        let (mut cold_exits, mut warm_exits, mut hot_exits) = (0, 0, 0);
        let (mut code_bytes, mut snapshot_bytes) = (0, 0);
        for e in graph.executors() {
            let (cold, warm, hot) = exits_of(e);
            cold_exits += cold;
            warm_exits += warm;
            hot_exits += hot;
            code_bytes += e.code.code_bytes();
            snapshot_bytes += e.code.location_bytes() + e.superblock.snapshot_bytes() + size_of_val(&*e.exits);
        }
        ExecutorStatistics {
            made: u64::from(graph.made()),
            alive: graph.count() as u64,
            retired: departed.retired,
            unreachable: departed.lost,
            invalidated: named(&Assumption::KIND_NAMES, &departed.broken)
                .chain(Some(flushed).filter(|(_, n)| *n > 0))
                .collect(),
            failed: counters.failed,
            stops: named(&Stop::NAMES, &counters.stops).collect(),
            exits_taken: counters.exits,
            cold_exits,
            warm_exits,
            hot_exits,
            micro_ops_before: counters.micro_ops_before,
            micro_ops_after: counters.micro_ops_after,
            instructions: counters.instructions,
            micro_ops: counters.micro_ops.by_name(),
            code_bytes,
            snapshot_bytes,
            bytes: graph.bytes(),
            executed: graph.executed(),
            time: counters.time,
        }
    }

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
            executors: self.executor_statistics(),
            interpreted: self.count_instructions.then_some(self.counters.interpreted),
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
        figures.iter().try_for_each(|(title, n)| writeln!(f, "{title:<28}{n:>14}"))?;
        self.executors.fmt(f)?;
        if let (Some(n), Some(percent)) = (self.interpreted, self.percent_in_executors()) {
            writeln!(f, "{:<28}{n:>14}", "interpreted instructions")?;
            writeln!(f, "{:<28}{percent:>14.2}", "percent in executors")?;
        }
        Ok(())
    }
}

impl fmt::Display for ExecutorStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |f: &mut fmt::Formatter<'_>, title: &str, n: u64| writeln!(f, "{title:<28}{n:>14}");
        let counts = |f: &mut fmt::Formatter<'_>, title: &str, counts: &[(&'static str, u64)]| {
            figure(f, title, counts.iter().map(|(_, n)| n).sum())?;
            counts.iter().try_for_each(|(name, n)| writeln!(f, "  {name:<26}{n:>14}"))
        };
        figure(f, "executors made", self.made)?;
        figure(f, "  alive", self.alive)?;
        figure(f, "  retired", self.retired)?;
        figure(f, "  unreachable", self.unreachable)?;
        counts(f, "  invalidated", &self.invalidated)?;
        figure(f, "failed recordings", self.failed)?;
        counts(f, "ends of superblocks", &self.stops)?;
        figure(f, "exits to the interpreter", self.exits_taken)?;
        figure(f, "cold exits", self.cold_exits)?;
        figure(f, "warm exits", self.warm_exits)?;
        figure(f, "hot exits", self.hot_exits)?;
        figure(f, "micro-ops before", self.micro_ops_before)?;
        writeln!(f, "{:<28}{:>14}", "  per instruction", ratio(self.micro_ops_before, self.instructions))?;
        figure(f, "micro-ops after", self.micro_ops_after)?;
        writeln!(f, "{:<28}{:>14}", "  per instruction", ratio(self.micro_ops_after, self.instructions))?;
        figure(f, "bytes of executors", self.bytes as u64)?;
        figure(f, "  of code", self.code_bytes as u64)?;
        figure(f, "  of snapshots", self.snapshot_bytes as u64)?;
        let exits = self.cold_exits + self.warm_exits + self.hot_exits;
        writeln!(f, "{:<28}{:>14}", "    per exit", ratio(self.snapshot_bytes as u64, exits))?;
        figure(f, "instructions in executors", self.executed)?;
        let time = &self.time;
        figure(f, "microseconds of compiling", time.total().as_micros() as u64)?;
        figure(f, "  projection", time.projection.as_micros() as u64)?;
        figure(f, "  optimization", time.optimization.as_micros() as u64)?;
        figure(f, "  lowering", time.lowering.as_micros() as u64)
    }
}
