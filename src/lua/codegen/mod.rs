//! Code generation: from the syntax tree to prototypes of register bytecode.
//!
//! Locals live in consecutive registers, temporaries above them like on a stack; `free` is the first free
//! register. A captured local holds a cell in its register from the point where it comes into being.
//!
//! - `mod`: functions, registers, scopes;
//! - [`expr`]: expressions; [`jump`](mod@jump): conditions and the short-circuiting operators;
//! - [`stmt`]: statements; [`assign`]: assignments.
//!
//! Invariant: between any two steps all registers below `free` are initialised, and every step leaves `free` as
//! its description says. Recursion is bounded by the parser's limit on nesting; where the tree may be deep (to
//! the left), `pending` takes the place of the native stack.

mod assign;
mod expr;
mod jump;
mod stmt;
#[cfg(test)]
mod tests;

use std::mem::replace;
use std::sync::atomic::AtomicU32;

use super::ast::{Chunk, ExprId, FuncId, UpvalueSource, VarId};
use super::parser::parse_until;
use super::{StrId, SyntaxError, chunk_id, fold, parse};
use crate::bytecode::proto_builder::{ProtoError, ProtoBuilder, FunctionHead, JumpList, instr};
use crate::bytecode::{Instr, Op};
use crate::bytecode::verify::verify;
use crate::bytecode::proto::{CapturedVar, CellSource, Proto, proto_flags};
use crate::heap::Meter;
use crate::runtime::Runtime;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;

/// Why a chunk cannot be compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompileError {
    /// The message, with its position.
    Syntax(Vec<u8>),
    Memory,
}

impl From<SyntaxError> for CompileError {
    fn from(e: SyntaxError) -> CompileError {
        match e {
            SyntaxError::OutOfMemory => CompileError::Memory,
            e => CompileError::Syntax(e.message().to_vec()),
        }
    }
}

/// Compiles Lua source. `chunk_name` is what `load` takes: `@file`, `=name` or the source itself.
///
/// The result is the main function's prototype, which takes `...` and has one captured variable, `_ENV`. Time and
/// space are linear in the source; all memory counts against the heap's limit. If the polled word `interrupt` asks for an end,
/// it fails as if memory had run out.
pub fn compile(
    rt: &mut Runtime,
    interrupt: Option<&AtomicU32>,
    source: &[u8],
    chunk_name: &[u8],
    depth: u32,
) -> Result<Gc<Proto>, CompileError> {
    compile_with(rt, interrupt, source, chunk_name, depth, 0)
}

/// Compiles library code: its functions pass for host functions.
pub fn compile_library(rt: &mut Runtime, source: &[u8]) -> Result<Gc<Proto>, CompileError> {
    compile_with(rt, None, source, b"=[C]", 0, proto_flags::BUILTIN)
}

fn compile_with(
    rt: &mut Runtime,
    interrupt: Option<&AtomicU32>,
    source: &[u8],
    chunk_name: &[u8],
    depth: u32,
    flags: u8,
) -> Result<Gc<Proto>, CompileError> {
    let meter = Meter::with_interrupt(&mut rt.heap, interrupt);
    let result = compile_metered(rt, source, chunk_name, depth, flags, &meter);
    meter.close(&mut rt.heap);
    result
}

fn compile_metered(
    rt: &mut Runtime,
    source: &[u8],
    chunk_name: &[u8],
    depth: u32,
    flags: u8,
    meter: &Meter,
) -> Result<Gc<Proto>, CompileError> {
    let mut chunk = parse(source, chunk_name, depth, meter)?;
    meter.settle(&mut rt.heap);
    fold::fold(&mut chunk, meter).map_err(|_| CompileError::Memory)?;
    let mut culprit = None;
    let (what, line) = match generate(rt, &chunk, chunk_name, flags, meter, &mut culprit) {
        Ok(proto) => return Ok(proto),
        Err(ProtoError::OutOfMemory) => return Err(CompileError::Memory),
        Err(ProtoError::Limit { what, line }) => (what, line),
    };
    if let Some(e) = culprit {
        // Expressions do not keep their place, but parsing again comes by the place.
        parse_until(source, chunk_name, depth, meter, Some((e, what)))?;
    }
    let mut message = chunk_id(chunk_name);
    message.extend_from_slice(format!(":{line}: {what}").as_bytes());
    Err(CompileError::Syntax(message))
}

/// Generates the chunk's main function. `culprit` is then the expression that needed a register too many, if one did.
fn generate(
    rt: &mut Runtime,
    chunk: &Chunk,
    chunk_name: &[u8],
    flags: u8,
    meter: &Meter,
    culprit: &mut Option<ExprId>,
) -> Result<Gc<Proto>, ProtoError> {
    let source = rt.new_string(chunk_name)?;
    meter.settle(&mut rt.heap);
    let mut generator = Generator {
        chunk,
        source,
        flags,
        strings: meter.filled(chunk.strings.len())?,
        registers: meter.filled(chunk.var_count())?,
        labels: meter.filled(chunk.label_count())?,
        pending: Vec::new(),
        current: None,
        culprit: None,
        f: FunctionState::new(head(chunk, FuncId::MAIN, source, flags), meter),
        meter,
        rt,
    };
    generator.body(FuncId::MAIN);
    *culprit = generator.culprit;
    let proto = generator.f.builder.finish(generator.rt)?;
    debug_assert_eq!(verify(&proto), Ok(()));
    Ok(proto)
}

fn head(chunk: &Chunk, id: FuncId, source: Gc<Str>, flags: u8) -> FunctionHead {
    let function = &chunk[id];
    FunctionHead {
        source,
        line_defined: function.line,
        last_line: if id == FuncId::MAIN {
            0
        } else {
            function.end_line
        },
        params: function.param_count,
        flags: if function.is_vararg {
            flags | proto_flags::VARARG
        } else {
            flags
        },
    }
}

/// What is known of a label.
#[derive(Clone, Copy, Default)]
struct LabelState {
    /// Its instruction, once it has been met.
    target: Option<u32>,
    /// The jumps to it from before.
    jumps: JumpList,
}

/// A loop around the current statement.
struct Loop {
    breaks: JumpList,
    /// The first register of its body's variables.
    level: usize,
}

/// What [`Generator::leave_scope`] goes back to.
struct Scope {
    free: usize,
    named: usize,
    open: usize,
    closes: bool,
    joined: usize,
}

/// The state of a function under generation.
struct FunctionState<'a> {
    builder: ProtoBuilder<'a>,
    /// The first free register.
    free: usize,
    /// For each named variable in scope the first register that a jump out of its scope gives up.
    named: Vec<usize>,
    /// The variables in scope, for the builder's list of locals.
    open: Vec<usize>,
    /// Whether the current block has a to-be-closed variable.
    closes: bool,
    /// Registers from here on may not be initialised, because a jump to the end of the block skips them.
    joined: usize,
    loops: Vec<Loop>,
}

impl<'a> FunctionState<'a> {
    fn new(head: FunctionHead, meter: &'a Meter<'a>) -> FunctionState<'a> {
        FunctionState {
            builder: ProtoBuilder::new(head, meter),
            free: 0,
            named: Vec::new(),
            open: Vec::new(),
            closes: false,
            joined: usize::MAX,
            loops: Vec::new(),
        }
    }
}

/// The generator of a chunk's code.
struct Generator<'a> {
    rt: &'a mut Runtime,
    chunk: &'a Chunk,
    source: Gc<Str>,
    /// Flags of all functions.
    flags: u8,
    /// The chunk's strings as objects, as far as they have been needed.
    strings: Vec<Option<Gc<Str>>>,
    /// The registers of variables.
    registers: Vec<usize>,
    labels: Vec<LabelState>,
    /// Expressions put off while their left operands are generated.
    pending: Vec<ExprId>,
    /// The expression being generated, or the last one.
    current: Option<ExprId>,
    /// The first expression that needed more registers than there are.
    culprit: Option<ExprId>,
    f: FunctionState<'a>,
    meter: &'a Meter<'a>,
}

impl Generator<'_> {
    // Functions.

    /// Generates a nested function; returns its index in the current one.
    fn function(&mut self, id: FuncId) -> u32 {
        let inner = FunctionState::new(head(self.chunk, id, self.source, self.flags), self.meter);
        let outer = replace(&mut self.f, inner);
        self.body(id);
        let inner = replace(&mut self.f, outer);
        match inner.builder.finish(self.rt) {
            Ok(proto) => self.f.builder.nested(proto),
            Err(e) => {
                self.f.builder.fail(e);
                0
            }
        }
    }

    /// Generates the whole of the function whose state has just been set up.
    fn body(&mut self, id: FuncId) {
        let function = &self.chunk[id];
        for upvalue in self.chunk.upvalues(id) {
            let name = Some(self.string(self.chunk[upvalue.var].name));
            let source = match upvalue.source {
                UpvalueSource::ParentLocal => {
                    CellSource::Register(self.registers[upvalue.var.index()] as u8)
                }
                UpvalueSource::ParentUpvalue(index) => CellSource::Captured(index),
                UpvalueSource::Loader => CellSource::Captured(0),
            };
            self.f.builder.captured(CapturedVar::new(name, source));
        }
        let count = function.param_count as usize;
        self.claim(count);
        self.variables(function.first_param, 0, count);
        self.statements(function.body);
        let line = if id == FuncId::MAIN {
            self.chunk[function.body].end_line
        } else {
            function.end_line
        };
        self.line(line);
        self.f.free = self.f.free.min(self.f.joined);
        self.emit(Op::RETURN0, 0, 0, 0, 0);
    }

    // Emitting.

    fn line(&mut self, line: u32) {
        self.f.builder.set_line(line);
    }

    /// Emits an instruction in which all registers below `free` are in use.
    fn emit(&mut self, op: Op, a: usize, b: usize, c: usize, d: u32) {
        self.f.builder.emit(instr(op, a, b, c, d), self.f.free);
    }

    fn emit_jump(&mut self, list: &mut JumpList, op: Op, a: usize, b: usize) {
        self.f
            .builder
            .emit_jump(list, instr(op, a, b, 0, 0), self.f.free);
    }

    /// Emits the instruction that ends a loop and jumps back to `target`.
    fn emit_back(&mut self, op: Op, a: usize, target: u32) {
        let site = self.f.builder.loop_site() as usize;
        self.f
            .builder
            .emit_back(instr(op, a, site & 0xff, site >> 8, 0), target, self.f.free);
    }

    /// The next instruction, as the target of jumps back.
    fn here(&mut self) -> u32 {
        let here = self.f.builder.here();
        self.f.builder.target(here);
        here
    }

    fn patch_here(&mut self, list: JumpList) {
        self.f.builder.patch_here(list);
    }

    // Registers, strings, scopes.

    /// Takes the next `count` registers, which the caller has initialised or will with the next instruction.
    fn claim(&mut self, count: usize) -> usize {
        let first = self.f.free;
        self.f.free += count;
        self.need(self.f.free);
        first
    }

    /// Notes that registers below `count` are used.
    fn need(&mut self, count: usize) {
        if count > Instr::MAX_REGISTERS && self.culprit.is_none() {
            self.culprit = self.current;
        }
        self.f.builder.reserve_registers(count);
    }

    /// A string of the chunk as an object.
    fn string(&mut self, id: StrId) -> Gc<Str> {
        if let Some(s) = self.strings[id.index()] {
            return s;
        }
        self.meter.settle(&mut self.rt.heap);
        let s = self
            .rt
            .new_string(self.chunk.strings.get(id))
            .unwrap_or_else(|e| {
                self.f.builder.fail(e.into());
                self.source
            });
        self.meter.settle(&mut self.rt.heap);
        self.strings[id.index()] = Some(s);
        s
    }

    /// Brings variables with their values in consecutive registers into being.
    fn variables(&mut self, first: VarId, register: usize, count: usize) {
        for i in 0..count {
            let var = VarId(first.0 + i as u32);
            if self.chunk[var].captured {
                // No line begins with it.
                self.f.builder.without_line();
                self.emit(Op::CELL, register + i, 0, 0, 0);
            }
            self.activate(var, register + i);
        }
    }

    /// Begins the scope of a variable, which is in `register`.
    fn activate(&mut self, var: VarId, register: usize) {
        self.registers[var.index()] = register;
        self.f.named.push(register);
        let name = self.string(self.chunk[var].name);
        let local = self.f.builder.begin_local(name, register);
        self.f.open.push(local);
    }

    fn enter_scope(&mut self) -> Scope {
        Scope {
            free: self.f.free,
            named: self.f.named.len(),
            open: self.f.open.len(),
            closes: replace(&mut self.f.closes, false),
            joined: replace(&mut self.f.joined, usize::MAX),
        }
    }

    /// Ends the scope of the variables since `scope` and closes those that are to be.
    fn leave_scope(&mut self, scope: Scope) {
        for local in self.f.open.drain(scope.open..) {
            self.f.builder.end_local(local);
        }
        if self.f.closes {
            // A jump may have skipped the last variables, but what is to be closed stays in use.
            self.emit(Op::CLOSE, scope.free, 0, 0, 0);
        }
        self.f.named.truncate(scope.named);
        self.f.free = scope.free;
        self.f.closes = scope.closes;
        self.f.joined = scope.joined;
    }
}
