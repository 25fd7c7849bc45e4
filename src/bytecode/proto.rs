//! Prototypes: a function's code and everything the interpreter needs beside it.

use std::cell::Cell;
use std::mem::{offset_of, size_of};

use super::Instr;
use super::cache::{CallSite, FieldCache, LoopSite, TableSite};
use super::lines::LineTable;
use crate::runtime::object::{Gc, Header, Kind, Object};
use crate::runtime::string::Str;
use crate::runtime::value::Value;

/// Bits of [`Proto::flags`].
pub mod proto_flags {
    /// The function takes extra arguments.
    pub const VARARG: u8 = 1;
    /// Library code in bytecode: it reports itself as a host function (`[C]`).
    pub const BUILTIN: u8 = 2;
}

/// A function prototype. The head is read by machine code; the rest is in [`ProtoInfo`], which owns the
/// arrays that the head points to.
#[repr(C, align(8))]
pub struct Proto {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    /// Fixed parameters.
    pub params: u8,
    /// See [`proto_flags`].
    pub flags: u8,
    /// Registers that an activation needs.
    pub registers: u32,
    pub code: *mut Instr,
    pub constants: *const Value,
    pub fields: *const FieldCache,
    pub calls: *const CallSite,
    pub tables: *const TableSite,
    pub loops: *const LoopSite,
    /// The function entry's heat.
    pub entry: LoopSite,
    pub info: Box<ProtoInfo>,
}

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Proto {}

const _: () = {
    assert!(offset_of!(Proto, params) == 2 && offset_of!(Proto, registers) == 4);
    assert!(offset_of!(Proto, code) == 8 && offset_of!(Proto, constants) == 16);
    assert!(size_of::<LoopSite>() == 24);
};

/// Where a closure's captured variable comes from when the closure is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellSource {
    /// The cell in this register of the enclosing function.
    Register(u8),
    /// The enclosing function's captured variable of this index.
    Captured(u8),
}

/// A captured variable, as declared, and what closures have shown of it.
#[derive(Clone, Debug)]
pub struct CapturedVar {
    /// `None` in stripped code.
    pub name: Option<Gc<Str>>,
    pub source: CellSource,
    /// The address of the cell that the last closure has got, which may have died.
    last: Cell<u64>,
    /// Whether another one has got another cell.
    varies: Cell<bool>,
}

impl CapturedVar {
    pub fn new(name: Option<Gc<Str>>, source: CellSource) -> CapturedVar {
        CapturedVar { name, source, last: Cell::new(0), varies: Cell::new(false) }
    }

    /// A closure gets the cell at this address.
    #[inline]
    pub fn see(&self, cell: u64) {
        let last = self.last.replace(cell);
        if last != cell && last != 0 {
            self.varies.set(true);
        }
    }

    /// Whether closures have got different cells. Those of a module's functions share theirs.
    pub fn varies(&self) -> bool {
        self.varies.get()
    }
}

/// A named local's extent.
#[derive(Clone, Copy, Debug)]
pub struct LocalVar {
    pub name: Gc<Str>,
    pub register: u8,
    /// The first instruction at which the local is in scope.
    pub start: u32,
    /// The first instruction at which it no longer is.
    pub end: u32,
}

impl ProtoInfo {
    /// Clears the inline caches that name dead objects. Called in the atomic phase of a collection.
    pub(crate) fn sweep_caches(&self, alive: &dyn Fn(Gc<Header>) -> bool) {
        self.fields.iter().for_each(|cache| cache.sweep(alive));
        for site in &self.calls {
            if site.proto.get().is_some_and(|p| !alive(p.header())) {
                site.proto.set(None);
            }
        }
        for site in &self.tables {
            if site.sample.get().is_some_and(|t| !alive(t.header())) {
                site.sample.set(None);
            }
        }
    }
}

impl LocalVar {
    /// Whether the register is the implementation's business (the state of a loop): the name begins with a
    /// parenthesis, and nobody can assign to it.
    pub fn is_hidden(&self) -> bool {
        self.name.as_bytes().first() == Some(&b'(')
    }
}

/// The parts of a prototype that are not on hot paths, and the owner of its arrays.
pub struct ProtoInfo {
    pub code: Vec<Instr>,
    pub constants: Vec<Value>,
    pub fields: Vec<FieldCache>,
    pub calls: Vec<CallSite>,
    pub tables: Vec<TableSite>,
    pub loops: Vec<LoopSite>,
    pub protos: Vec<Gc<Proto>>,
    pub captured: Vec<CapturedVar>,
    /// For each instruction the registers in use after it: what the collector scans when the activation is
    /// stopped there.
    pub live: Vec<u8>,
    pub lines: LineTable,
    pub locals: Vec<LocalVar>,
    /// For each conditional jump the outcomes of its last recorded executions, the newest in the lowest bit; empty
    /// until the function has been recorded.
    pub history: Cell<Vec<u16>>,
    /// The chunk's name as given to `load`: "@file", "=name" or the source itself.
    pub source: Gc<Str>,
    /// Where the definition begins, or 0 for a main chunk.
    pub line_defined: u32,
    pub last_line: u32,
}
