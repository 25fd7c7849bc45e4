//! Tier 2: superblocks, their optimizer, and executors.
//!
//! - [`projection`] makes superblocks ([`superblock`]) from recorded passes; [`executor`] is what they become and the graph
//!   that these form; [`uop`] is the interpreter that runs them, [`jit`](crate::jit) makes machine code of them;
//! - [`place`] says where superblocks begin, and [`dot`] and [`page`](mod@page) show executors, for people;
//! - [`install`] goes from a recording to an executor in its place; [`exits`] counts what leaves executors; [`transfer`]
//!   goes from executor to executor over calls and returns; [`clock`] measures what making executors takes.

mod clock;
pub mod deopt;
pub mod dot;
pub mod executor;
mod exits;
mod install;
pub mod page;
pub mod place;
pub mod optimizer;
pub mod projection;
#[cfg(test)]
pub mod random;
pub mod superblock;
pub mod text;
mod transfer;
pub mod uop;
pub mod verify;

use std::fmt;
use std::ptr;

pub use clock::CompileTime;
use executor::{Code, Executor, Graph};
use perilune_uops::MicroOp;
use superblock::Superblock;

use crate::bytecode::cache::LoopSite;
use crate::tier1::call::Outcome;
use crate::tier1::{Raised, State};

/// What runs the hot parts of programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Engine {
    /// Nothing but the interpreter, which runs everything.
    Off,
    /// The tier-2 interpreter, which runs optimized micro-ops. Built in with the feature `uop-interp`.
    Uops,
    /// Machine code. Built in with the feature `jit`, on x86-64 Linux.
    Jit,
}

impl Engine {
    /// The engine of a VM that asks for none in particular: the fastest of those that are built in.
    pub(crate) const DEFAULT: Engine = if Engine::Jit.is_built_in() {
        Engine::Jit
    } else if Engine::Uops.is_built_in() {
        Engine::Uops
    } else {
        Engine::Off
    };

    /// Whether the build has it.
    pub const fn is_built_in(self) -> bool {
        match self {
            Engine::Off => true,
            Engine::Uops => cfg!(feature = "uop-interp"),
            Engine::Jit => cfg!(all(feature = "jit", target_arch = "x86_64", target_os = "linux")),
        }
    }
}

/// How the profiler `perf` is told of machine code; see [`VmBuilder::perf`](crate::VmBuilder::perf).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Perf {
    /// A list of names and addresses in `/tmp/perf-PID.map`, which `perf report` reads by itself. When code is freed and
    /// its memory used again, one address has several names, of which the list cannot say when they were right.
    Map,
    /// All code that there has been, with source lines, in `jit-PID.dump` in the current directory, for
    /// `perf record -k mono` and then `perf inject --jit`.
    Dump,
}

/// Enters an executor that begins in memory, in the current record. When this returns, control is in tier 1 again, at
/// the current record's program counter. An executor for whose frames there is no room is not entered.
pub(crate) fn run(st: &mut State, executor: *const Executor) -> Result<Outcome, Raised> {
    // SAFETY: whoever enters an executor knows it from a place or edge, which keeps it alive.
    match unsafe { &(*executor).code } {
        Code::Uops(_) => uop::run(st, executor),
        #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
        Code::Machine(_) => crate::jit::run::run(st, executor),
    }
}

/// What is special about a VM's machine code.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CodeSettings {
    /// The size of a region of code memory of its own, if it does not use the one that VMs share.
    pub memory: Option<usize>,
    /// Whether registers that hold nothing are filled with values that no program has, where code begins and after calls. For tests.
    pub traps: bool,
}

/// Times that an exit is taken before it gets an executor of its own. With twice as many, short programs gain
/// little, and some whose executors then begin at other exits lose more.
const HOT_EXIT: u16 = 16;

/// Tier 2's part of a VM.
pub struct Tier2 {
    pub engine: Engine,
    /// The temperature at which an exit is hot.
    pub hot_exit: u16,
    pub graph: Graph,
    /// The executor that tier 1 wants to be entered; null if there is none.
    pub entering: *const Executor,
    /// The executor that runs, for call-outs and exits; null in tier 1.
    pub current: *const Executor,
    /// The executor that control comes from, counted, during a transfer that is not along a patched edge; null when
    /// it comes from tier 1.
    pub previous: *const Executor,
    /// The place at which an executor wanted to go on and found no code; null if there is none.
    pub nowhere: *const LoopSite,
    /// Activations of executors on the native stack.
    pub active: u32,
    /// Registers of the tier-2 interpreter that no activation uses at the moment.
    pub registers: Vec<u64>,
    /// What machine code needs.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    pub jit: crate::jit::run::Jit,
    pub dump: Dump,
    /// Whether the text of superblocks before optimization is kept.
    pub keeps_superblocks: bool,
    pub counters: Counters,
    /// How often someone has changed registers of frames from outside (`debug.setlocal`).
    pub disturbances: u64,
    /// Invalidate an executor each time that assumptions have been looked after so often; 0 for never.
    pub invalidation_stress: u32,
    /// How often that has been, under stress.
    settled: u64,
}

/// What is printed while a VM runs.
#[derive(Clone, Default, Debug)]
pub struct Dump {
    /// Superblocks, before and after optimization.
    pub superblocks: bool,
    /// The code that the tier-2 interpreter runs.
    pub uops: bool,
    /// Machine code, disassembled.
    pub machine_code: bool,
    /// Only what begins in these functions or lines, if there are any; see [`place::Place::matches`].
    pub filters: Vec<String>,
}

impl Dump {
    /// Whether anything is printed.
    fn is_on(&self) -> bool {
        self.superblocks || self.uops || self.machine_code
    }
}

/// Micro-ops of optimized superblocks, by micro-op.
#[derive(Clone)]
pub struct MicroOps([u64; MicroOp::ALL.len()]);

impl Default for MicroOps {
    fn default() -> MicroOps {
        MicroOps([0; MicroOp::ALL.len()])
    }
}

impl MicroOps {
    fn count(&mut self, superblock: &Superblock) {
        superblock.nodes.iter().for_each(|node| self.0[node.op as usize] += 1);
    }

    /// Those that were counted, by name.
    pub fn by_name(&self) -> Vec<(&'static str, u64)> {
        let counted = MicroOp::ALL.iter().map(|op| (op.name(), self.0[*op as usize]));
        counted.filter(|(_, n)| *n > 0).collect()
    }
}

impl fmt::Debug for MicroOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_name()).finish()
    }
}

/// What tier 2 has done.
#[derive(Clone, Default, Debug)]
pub struct Counters {
    pub projected: u64,
    /// Recordings of which nothing could be made.
    pub failed: u64,
    /// Why superblocks ended, by [`projection::Stop`].
    pub stops: [u64; projection::Stop::COUNT],
    /// Exits to tier 1.
    pub exits: u64,
    pub micro_ops_before: u64,
    pub micro_ops_after: u64,
    /// Bytecode instructions in superblocks.
    pub instructions: u64,
    pub micro_ops: MicroOps,
    pub time: CompileTime,
}

impl Default for Tier2 {
    fn default() -> Tier2 {
        Tier2 {
            engine: Engine::DEFAULT,
            hot_exit: HOT_EXIT,
            graph: Graph::default(),
            entering: ptr::null(),
            current: ptr::null(),
            previous: ptr::null(),
            nowhere: ptr::null(),
            active: 0,
            registers: Vec::new(),
            #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
            jit: Default::default(),
            dump: Dump::default(),
            keeps_superblocks: false,
            counters: Counters::default(),
            disturbances: 0,
            invalidation_stress: 0,
            settled: 0,
        }
    }
}

impl Tier2 {
    /// Whether somebody wants to know what executors are called.
    fn names_executors(&self) -> bool {
        #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
        if self.jit.outside.is_on() {
            return true;
        }
        self.dump.is_on() || self.keeps_superblocks
    }

    /// Tells tools outside of a new executor.
    #[cfg_attr(not(all(feature = "jit", target_arch = "x86_64", target_os = "linux")), allow(unused_variables, reason = "machine code uses it"))]
    fn publish(&self, executor: &Executor) {
        #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
        if self.jit.outside.is_on() {
            self.jit.outside.publish(executor);
        }
    }
}

#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
impl Tier2 {
    pub(crate) fn set_code_settings(&mut self, settings: CodeSettings) {
        self.jit.settings = settings;
    }

    /// Whether code has not found room since this was last asked.
    fn take_exhausted(&mut self) -> bool {
        std::mem::take(&mut self.jit.exhausted)
    }
}

#[cfg(not(all(feature = "jit", target_arch = "x86_64", target_os = "linux")))]
impl Tier2 {
    pub(crate) fn set_code_settings(&mut self, _: CodeSettings) {}

    fn take_exhausted(&mut self) -> bool {
        false
    }
}

impl State {
    /// Carries out what broken assumptions mean: executors that made them never run again.
    #[inline]
    pub(crate) fn settle_assumptions(&mut self) {
        // First those about dead objects: afterwards all places of executors are alive.
        if self.rt.assumptions.any_broken() {
            let mut broken = self.rt.assumptions.take_broken();
            self.tier2.graph.invalidate(&mut self.rt, &mut broken);
            self.rt.assumptions.give_back(broken);
        }
        if self.rt.flush_caches {
            self.flush_caches();
        }
        if self.tier2.invalidation_stress != 0 {
            self.invalidate_some();
        }
    }

    /// Invalidates an executor now and then.
    #[cold]
    fn invalidate_some(&mut self) {
        self.tier2.settled += 1;
        if self.tier2.settled.is_multiple_of(u64::from(self.tier2.invalidation_stress)) {
            let n = self.tier2.settled / u64::from(self.tier2.invalidation_stress);
            self.tier2.graph.invalidate_nth(&mut self.rt, n as usize);
        }
    }
}
