//! Machine code for superblocks.
//!
//! [`compile`] makes [`Machine`] code of a superblock, [`run`](run::run) enters an executor that has such code.
//!
//! ```text
//! memory      code memory                      plan        what code is made for, and which values are kept
//! frame       what code and runtime share      allocation  the places of values      checker  whether they are right
//! run         entering, leaving, call-outs     helpers     functions that code calls
//! exits       where values are at exits        addresses   what accesses to arrays have in common
//! x86_64      lowering, for this instruction set   map     which part of the code is for what
//! outside     what profilers and debuggers are told
//! ```
//!
//! Nothing outside of the instruction set's folder knows an encoding or a register's role.
//!
//! Code of an executor jumps to that of others along patched edges: an exit's jump leads out, to the runtime, or to the
//! code of the exit's target. Whoever changes an edge in the graph of executors patches the jump ([`Machine::link`]).

mod addresses;
pub mod allocation;
mod checker;
mod exits;
pub mod frame;
mod helpers;
pub mod map;
pub mod memory;
pub mod outside;
pub mod plan;
pub mod run;
#[cfg(test)]
mod tests;
mod x86_64;

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::ptr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use perilune_uops::MicroOp;

use crate::runtime::shape::Shapes;
use crate::tier2::CodeSettings;
use crate::tier2::executor::{Anchor, Counts, Executor};
use crate::tier2::superblock::{SnapshotId, Superblock};
use crate::tier2::uop::Request;
use allocation::Place;
use exits::ExitTable;
use map::CodeMap;
use memory::{Block, CodeMemory, MemoryError};
use plan::Located;
#[cfg(feature = "disasm")]
pub use x86_64::listing::Section;
use x86_64::stubs::Stubs;
pub use x86_64::stubs::UNWINDING;

/// Bytes of code that all VMs of a process may have.
const CODE_LIMIT: usize = 128 << 20;

/// Why a superblock has no machine code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompileError {
    /// The micro-op does not belong into a superblock.
    MicroOp(MicroOp),
    /// More values are alive at once than a frame has room for.
    TooManyValues,
    /// Its numbers do not fit into instructions.
    TooLarge,
    Memory(MemoryError),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            CompileError::MicroOp(op) => write!(f, "{op} in a superblock"),
            CompileError::TooManyValues => f.write_str("too many values are alive at once"),
            CompileError::TooLarge => f.write_str("the superblock is too large"),
            CompileError::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CompileError {}

impl From<MemoryError> for CompileError {
    fn from(error: MemoryError) -> CompileError {
        CompileError::Memory(error)
    }
}

/// What VMs share, usually all of a process: code memory, and the code through which control enters and leaves.
pub struct Engine {
    memory: CodeMemory,
    stubs: Stubs,
    /// Whether code fills registers that hold nothing with values that no program has; see [`CodeSettings::traps`].
    traps: bool,
}

static ENGINE: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

impl Engine {
    /// The engine of a VM with these settings: its own if they are special.
    pub fn for_settings(settings: CodeSettings) -> Result<Arc<Engine>, MemoryError> {
        if settings == CodeSettings::default() {
            return Engine::shared();
        }
        let limit = settings.memory.unwrap_or(CODE_LIMIT);
        Ok(Arc::new(Engine::new(limit, settings.traps)?))
    }

    /// The engine, which is made for the first VM that asks for it and goes with the last one.
    fn shared() -> Result<Arc<Engine>, MemoryError> {
        let mut shared = ENGINE.lock();
        if let Some(engine) = shared.upgrade() {
            return Ok(engine);
        }
        let engine = Arc::new(Engine::new(CODE_LIMIT, false)?);
        *shared = Arc::downgrade(&engine);
        Ok(engine)
    }

    fn new(limit: usize, traps: bool) -> Result<Engine, MemoryError> {
        let memory = CodeMemory::new(limit)?;
        let stubs = Stubs::new(&memory)?;
        Ok(Engine {
            memory,
            stubs,
            traps,
        })
    }
}

/// How the native stack looks while code runs, for debuggers.
pub struct Unwinding {
    /// Bytes between the stack pointer and the frame of whoever has entered.
    pub depth: u64,
    /// The registers, as DWARF numbers them, that have been saved below the return address, one below the other.
    pub saved: [u8; 6],
}

/// What code does and tells for those who look at it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Watch {
    /// Whether it is kept which part of the code is for what.
    pub map: bool,
    /// Whether entries and passes of loops are counted.
    pub counts: bool,
}

/// The executor at whose exit a side executor begins.
#[derive(Clone, Copy)]
pub struct Parent<'a> {
    pub executor: &'a Executor,
    pub code: &'a Machine,
    pub exit: SnapshotId,
}

/// Something that is not done by machine code; see [`Request`].
#[derive(Clone, Debug)]
pub struct CallOut {
    pub request: Request,
    /// Records of inlined frames that code has pushed before it.
    pub inlined: u32,
    pub inputs: [Located; 3],
}

/// What the runtime knows of code, at an address that code contains.
pub struct Info {
    /// The executor whose code it is; null until that is made.
    pub executor: Cell<*const Executor>,
    pub counts: Counts,
    pub exits: ExitTable,
    pub call_outs: Box<[CallOut]>,
}

/// A jump that leads out or to the code of a target, and where it leads without one. Offsets of their displacements, and of the
/// other code.
#[derive(Clone, Copy, Debug)]
struct Jump {
    exit: SnapshotId,
    displacement: u32,
    out: u32,
    /// Whether the exit's slots have been stored when control comes to it, so that it may lead to executors that begin in memory.
    stored: bool,
}

/// The machine code of an executor.
pub struct Machine {
    /// Dropped before the code is freed.
    published: OnceCell<outside::Published>,
    block: Block,
    engine: Arc<Engine>,
    pub info: Box<Info>,
    jumps: Box<[Jump]>,
    /// Where a transfer along an edge enters: it checks that there is room for the frames.
    linked_entry: u32,
    /// Where calls and returns enter, likewise.
    called_entry: u32,
    /// Where the loop begins, if there is one, and what it keeps in which places.
    loop_start: u32,
    kept: Box<[Place]>,
    /// Where a side executor that cannot be entered leaves instead, with the exit's number at hand.
    out: u32,
    /// What its ranges are for, if that was asked.
    pub map: Option<CodeMap>,
    /// Bytes of it.
    pub size: usize,
}

impl fmt::Debug for Machine {
    /// The address, and the bytes in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "machine code at {:?}: ", self.block.address())?;
        self.bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Makes the code of a superblock, which has been verified. Of a side executor the parent is given.
pub fn compile(
    engine: &Arc<Engine>,
    sb: &Superblock,
    shapes: &Shapes,
    parent: Option<Parent>,
    watch: Watch,
) -> Result<Machine, CompileError> {
    let params: Vec<Located> = match parent {
        None => Vec::new(),
        Some(p) => p
            .code
            .info
            .exits
            .at(&p.executor.superblock, p.exit)
            .collect(),
    };
    let plan = plan::Plan::new(sb, &params);
    let root = parent
        .filter(|_| sb.joins())
        .and_then(|p| p.executor.with_loop());
    let reserved = root.map_or(&[][..], |root| &root.code.machine().kept);
    let allocation = allocation::allocate(&plan, x86_64::ALLOCATED, reserved)
        .map_err(|_| CompileError::TooManyValues)?;
    if cfg!(debug_assertions)
        && let Err(error) = checker::check(&plan, &allocation)
    {
        panic!("wrong allocation: {error}\n{sb}");
    }
    let exits = ExitTable::new(&plan, &allocation)?;
    let mut info = Box::new(Info {
        executor: Cell::new(ptr::null()),
        counts: Counts::default(),
        exits,
        call_outs: Box::default(),
    });
    let mut code = x86_64::lower(
        &plan,
        &allocation,
        engine,
        &raw const *info,
        shapes,
        parent,
        watch,
    )?;
    info.call_outs = code.call_outs.into();
    let mut block = engine.memory.allocate(code.bytes.len())?;
    if let (Some(at), Some(root)) = (code.joins, root) {
        let to = root.code.machine().loop_start();
        let from = block.address() as u64 + at as u64 + 4;
        code.bytes[at as usize..][..4]
            .copy_from_slice(&(to.wrapping_sub(from) as u32).to_le_bytes());
    }
    block.write(&code.bytes);
    Ok(Machine {
        published: OnceCell::new(),
        block,
        engine: engine.clone(),
        info,
        jumps: code.jumps.into(),
        linked_entry: code.linked_entry,
        called_entry: code.called_entry,
        loop_start: code.loop_start,
        kept: allocation.kept_by_loop(&plan).into(),
        out: code.out,
        map: code.map,
        size: code.bytes.len(),
    })
}

impl Machine {
    /// Where tier 1 enters: room has been made, and the values are in memory.
    fn entry(&self) -> *const u8 {
        self.block.address()
    }

    /// Where machine code enters that has pushed, replaced or popped a frame.
    pub fn called_entry(&self) -> *const u8 {
        self.block
            .address()
            .wrapping_add(self.called_entry as usize)
    }

    fn loop_start(&self) -> u64 {
        self.address() + self.loop_start as u64
    }

    /// Where control leaves by an exit whose number is at hand.
    fn out(&self) -> u64 {
        self.block.address() as u64 + self.out as u64
    }

    fn address(&self) -> u64 {
        self.block.address() as u64
    }

    /// Lets an exit lead to the code of its new target.
    pub fn link(&self, exit: SnapshotId, anchor: Anchor, target: &Machine) {
        for jump in self.jumps.iter().filter(|j| j.exit == exit) {
            let in_memory = matches!(anchor, Anchor::Site(_));
            if !in_memory || jump.stored {
                self.patch(jump, target.address() + target.linked_entry as u64);
            }
        }
    }

    /// Lets an exit lead out again.
    pub fn unlink(&self, exit: SnapshotId) {
        for jump in self.jumps.iter().filter(|j| j.exit == exit) {
            self.patch(jump, self.address() + jump.out as u64);
        }
    }

    fn patch(&self, jump: &Jump, to: u64) {
        let from = self.address() + jump.displacement as u64 + 4;
        self.block
            .patch(jump.displacement as usize, to.wrapping_sub(from) as u32);
    }

    /// Its parts, disassembled, if it has a map.
    #[cfg(feature = "disasm")]
    pub fn sections(&self, sb: &Superblock, addresses: x86_64::listing::Addresses) -> Vec<Section> {
        x86_64::listing::list(self, sb, addresses)
    }

    /// Whether an address is in it.
    #[cfg(feature = "disasm")]
    pub fn contains(&self, address: u64) -> bool {
        (self.address()..self.address() + self.size as u64).contains(&address)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the block is readable where it runs, and changes in patches only, whose words nobody relies on.
        unsafe { std::slice::from_raw_parts(self.block.address(), self.size) }
    }
}
