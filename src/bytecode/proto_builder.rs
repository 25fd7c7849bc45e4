//! The builder of prototypes: how code gets into a VM, from the Lua front end or from a description.
//!
//! A [`ProtoBuilder`] collects the instructions of one function and what they refer to, and
//! [`finish`](ProtoBuilder::finish) makes a [`Proto`] of it. Nested functions are finished first and added
//! with [`nested`](ProtoBuilder::nested).
//!
//! Invariant: a builder never holds more than the instruction encoding can name. What goes wrong on the way (a
//! limit, no memory) is remembered, later calls do nothing of consequence, and `finish` reports it; so a front
//! end need not check each step.
//!
//! Registers are the front end's business; the builder only notes how many are needed
//! ([`reserve_registers`](ProtoBuilder::reserve_registers)). With each instruction goes its `live` count: when
//! the activation is stopped in the instruction (in a metamethod, a callee or a collection), the registers below
//! that number are initialised and in use.

use std::cell::Cell;
use std::mem::size_of;

use hashbrown::HashMap;

use super::cache::{COLD_LOOP_SITE, CallSite, FieldCache, LoopSite, TableSite};
use super::lines::LineTable;
use super::proto::{CapturedVar, LocalVar, Proto, ProtoInfo};
use super::unrolling::unrolled_loops;
use super::{Instr, Op};
use crate::heap::{Meter, OutOfMemory};
use crate::runtime::Runtime;
use crate::runtime::hasher::BuildWordHasher;
use crate::runtime::object::{Gc, Kind};
use crate::runtime::string::{SHORT_MAX, Str};
use crate::runtime::value::{Tag, Value};

/// Why a function cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtoError {
    /// The function exceeds a limit of the encoding; what, and the source line of the instruction.
    Limit {
        what: &'static str,
        line: u32,
    },
    OutOfMemory,
}

impl From<OutOfMemory> for ProtoError {
    fn from(_: OutOfMemory) -> ProtoError {
        ProtoError::OutOfMemory
    }
}

/// Jumps that wait for their common target. They are chained through their distance operands.
#[derive(Clone, Copy)]
pub struct JumpList {
    last: u32,
}

impl JumpList {
    const END: u32 = u32::MAX;

    pub const EMPTY: JumpList = JumpList {
        last: JumpList::END,
    };

    pub fn is_empty(self) -> bool {
        self.last == JumpList::END
    }
}

impl Default for JumpList {
    fn default() -> JumpList {
        JumpList::EMPTY
    }
}

/// What [`ProtoBuilder::new`] wants to know of a function.
#[derive(Clone, Copy)]
pub struct FunctionHead {
    /// The chunk's name.
    pub source: Gc<Str>,
    /// Where the definition begins, or 0 for a main chunk.
    pub line_defined: u32,
    pub last_line: u32,
    /// Fixed parameters; they arrive in the first registers.
    pub params: u8,
    /// See [`proto_flags`](super::proto_flags).
    pub flags: u8,
}

/// A function under construction. See the module's documentation.
pub struct ProtoBuilder<'m> {
    /// What the memory is taken from until the prototype is placed in the heap.
    meter: &'m Meter<'m>,
    head: FunctionHead,
    code: Vec<Instr>,
    live: Vec<u8>,
    lines: LineTable,
    line: u32,
    /// The first and the last of the instructions that take the line of the one behind them.
    lineless: Option<(u32, u32)>,
    /// The last instruction that something jumps to.
    last_target: u32,
    constants: Vec<Value>,
    constant_indices: HashMap<(u8, u64), u32, BuildWordHasher>,
    fields: Vec<FieldCache>,
    calls: Vec<CallSite>,
    tables: Vec<TableSite>,
    loops: Vec<LoopSite>,
    protos: Vec<Gc<Proto>>,
    captured: Vec<CapturedVar>,
    locals: Vec<LocalVar>,
    registers: usize,
    failure: Option<ProtoError>,
}

/// `Vec::push`, metered.
#[inline]
fn push<T>(meter: &Meter, vec: &mut Vec<T>, item: T) -> Result<(), ProtoError> {
    Ok(meter.push(vec, item)?)
}

impl<'m> ProtoBuilder<'m> {
    /// An empty function.
    pub fn new(head: FunctionHead, meter: &'m Meter<'m>) -> ProtoBuilder<'m> {
        ProtoBuilder {
            meter,
            head,
            code: Vec::new(),
            live: Vec::new(),
            lines: LineTable::default(),
            line: head.line_defined,
            lineless: None,
            last_target: 0,
            constants: Vec::new(),
            constant_indices: HashMap::default(),
            fields: Vec::new(),
            calls: Vec::new(),
            tables: Vec::new(),
            loops: Vec::new(),
            protos: Vec::new(),
            captured: Vec::new(),
            locals: Vec::new(),
            registers: head.params as usize,
            failure: None,
        }
    }

    /// Remembers the first failure.
    fn note<T: Default>(&mut self, result: Result<T, ProtoError>) -> T {
        result.unwrap_or_else(|e| {
            self.failure.get_or_insert(e);
            T::default()
        })
    }

    /// Fails because of a limit.
    pub fn exceed(&mut self, what: &'static str) {
        let line = self.line;
        self.failure.get_or_insert(ProtoError::Limit { what, line });
    }

    /// Fails for a reason that lies outside of the builder.
    pub fn fail(&mut self, e: ProtoError) {
        self.failure.get_or_insert(e);
    }

    /// Whether it has failed, so that there is no point in going on.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Notes that registers below `count` are used.
    #[inline]
    pub fn reserve_registers(&mut self, count: usize) {
        if count > self.registers {
            self.registers = count;
            if count > Instr::MAX_REGISTERS {
                self.exceed("function or expression needs too many registers");
            }
        }
    }

    // Code.

    /// The source line of the instructions to come.
    #[inline]
    pub fn set_line(&mut self, line: u32) {
        self.line = line;
    }

    /// Lets the next instruction belong to the line of the one that follows.
    pub fn without_line(&mut self) {
        let here = self.here();
        self.lineless.get_or_insert((here, here)).1 = here;
    }

    /// Lets the `NIL` that has just been emitted set `count` registers from `first` on as well. False if there is none
    /// that sets the registers before these.
    pub fn extend_nil(&mut self, first: usize, count: usize, live: usize) -> bool {
        if self.failure.is_some() || self.last_target == self.here() {
            return false;
        }
        match (self.code.last_mut(), self.live.last_mut()) {
            (Some(last), Some(last_live))
                if last.op() == Op::NIL && last.a() + last.b() + 1 == first =>
            {
                *last = instr(Op::NIL, last.a(), last.b() + count, 0, 0);
                *last_live = live as u8;
                true
            }
            _ => false,
        }
    }

    /// Continues the line of the instruction before, if that declares variables without values.
    pub fn join_nil(&mut self) {
        let joins = self.last_target != self.here()
            && self.code.last().is_some_and(|last| matches!(last.op(), Op::NIL | Op::NEWCELL));
        if joins {
            self.line = self.lines.line(self.here() - 1);
        }
    }

    /// The index of the next instruction.
    #[inline]
    pub fn here(&self) -> u32 {
        self.code.len() as u32
    }

    /// Appends an instruction and returns its index. `live` is the number of registers in use in it.
    #[inline]
    pub fn emit(&mut self, instr: Instr, live: usize) -> u32 {
        let pc = self.here();
        if self.failure.is_none() {
            let result = self.try_emit(instr, live);
            self.note(result);
        }
        pc
    }

    #[inline]
    fn try_emit(&mut self, instr: Instr, live: usize) -> Result<(), ProtoError> {
        if self.code.len() >= i32::MAX as usize {
            self.exceed("function is too long");
            return Ok(());
        }
        // Whether a function has so many registers is for the verifier to say.
        debug_assert!(live <= u8::MAX as usize);
        let pc = self.here();
        if pc & 0xFFF == 0xFFF {
            self.meter.poll()?;
        }
        match self.lineless {
            Some((_, last)) if last == pc => {}
            lineless => {
                let first = lineless.map_or(pc, |(first, _)| first);
                self.lines.try_push(self.meter, first, self.line)?;
                self.lineless = None;
            }
        }
        push(self.meter, &mut self.live, live as u8)?;
        push(self.meter, &mut self.code, instr)
    }

    /// Appends an instruction that jumps to a target still unknown and adds it to `list`.
    #[inline]
    pub fn emit_jump(&mut self, list: &mut JumpList, instr: Instr, live: usize) {
        let pc = self.emit(instr.with_d(list.last), live);
        if self.failure.is_none() {
            list.last = pc;
        }
    }

    /// Appends an instruction that jumps back to instruction `target`.
    pub fn emit_back(&mut self, instr: Instr, target: u32, live: usize) {
        let distance = target.wrapping_sub(self.here() + 1);
        self.emit(instr.with_d(distance), live);
    }

    /// Notes that something jumps to an instruction.
    pub fn target(&mut self, pc: u32) {
        self.last_target = self.last_target.max(pc);
    }

    /// Lets the jumps of `list` go to the next instruction.
    pub fn patch_here(&mut self, list: JumpList) {
        self.patch(list, self.here());
    }

    /// Lets the jumps of `list` go to instruction `target`.
    pub fn patch(&mut self, list: JumpList, target: u32) {
        self.target(target);
        let mut pc = list.last;
        while let Some(jump) = self.code.get_mut(pc as usize) {
            let next = jump.d();
            *jump = jump.with_d(target.wrapping_sub(pc + 1));
            pc = next;
        }
    }

    // What instructions refer to.

    /// The index of a constant (nil, a boolean, a number or a string), which is added if it is new.
    pub fn constant(&mut self, v: Value) -> u32 {
        if let Some(&index) = self.constant_indices.get(&(v.tag().byte(), v.payload())) {
            return index;
        }
        let result = self.add_constant(v);
        self.note(result)
    }

    /// Adds a constant even if there is an equal one.
    pub fn push_constant(&mut self, v: Value) {
        let result = push(self.meter, &mut self.constants, v);
        self.note(result);
    }

    fn add_constant(&mut self, v: Value) -> Result<u32, ProtoError> {
        debug_assert!(matches!(v.tag(), Tag::STRING) || !v.tag().is_collectable());
        let index = self.constants.len() as u32;
        if self.constant_indices.len() == self.constant_indices.capacity() {
            self.grow_constant_indices()?;
        }
        push(self.meter, &mut self.constants, v)?;
        self.constant_indices
            .insert((v.tag().byte(), v.payload()), index);
        Ok(index)
    }

    #[cold]
    fn grow_constant_indices(&mut self) -> Result<(), ProtoError> {
        let indices = &mut self.constant_indices;
        // Both tables exist while the contents move; twice as many entries need a little more than twice the memory.
        let before = indices.allocation_size();
        let after = before * 2 + 256;
        self.meter.take(after)?;
        let grown = indices.try_reserve(indices.len().max(1));
        self.meter.give_back(before + after);
        self.meter.take(indices.allocation_size())?;
        Ok(grown.map_err(|_| OutOfMemory)?)
    }

    /// The index of a constant for a 16-bit operand, if there is one.
    pub fn short_constant(&mut self, v: Value) -> Option<u16> {
        self.constant(v).try_into().ok()
    }

    /// A new field cache for `key`, which must be a short string.
    pub fn field(&mut self, key: Gc<Str>) -> u32 {
        debug_assert!(key.len <= SHORT_MAX);
        let index = self.fields.len() as u32;
        let result = push(self.meter, &mut self.fields, FieldCache::new(key));
        self.note(result);
        index
    }

    /// A new call site.
    pub fn call_site(&mut self) -> u32 {
        let index = self.calls.len() as u32;
        let result = push(self.meter, &mut self.calls, CallSite::new());
        self.note(result);
        index
    }

    /// A new table site, for a constructor that fills as many slots and elements.
    pub fn table_site(&mut self, rt: &Runtime, slots: usize, elements: usize) -> u32 {
        let index = self.tables.len() as u32;
        let slots = slots.min(u16::MAX as usize) as u16;
        let elements = elements.min(u16::MAX as usize) as u16;
        let site = TableSite {
            shape: Cell::new(rt.shapes.root_for(slots as u32)),
            array_cap: Cell::new(elements as u32),
            sample: Cell::new(None),
            made: Cell::new(0),
            slots,
            elements,
        };
        let result = push(self.meter, &mut self.tables, site);
        self.note(result);
        index
    }

    /// A new loop site; all loops beyond the 65535th get the [cold](COLD_LOOP_SITE) one.
    pub fn loop_site(&mut self) -> u16 {
        let index = self.loops.len().min(COLD_LOOP_SITE as usize) as u16;
        if self.loops.len() <= COLD_LOOP_SITE as usize {
            let is_cold = index == COLD_LOOP_SITE;
            let site = if is_cold { LoopSite::cold() } else { LoopSite::new() };
            let result = push(self.meter, &mut self.loops, site);
            self.note(result);
        }
        index
    }

    /// Adds a nested function, for `CLOSURE`.
    pub fn nested(&mut self, proto: Gc<Proto>) -> u32 {
        let index = self.protos.len() as u32;
        let result = push(self.meter, &mut self.protos, proto);
        self.note(result);
        index
    }

    /// Declares the next captured variable.
    pub fn captured(&mut self, var: CapturedVar) {
        if self.captured.len() == u8::MAX as usize {
            self.exceed("too many upvalues (limit is 255)");
            return;
        }
        let result = push(self.meter, &mut self.captured, var);
        self.note(result);
    }

    /// Names a register from the next instruction on; returns what [`end_local`](Self::end_local) wants.
    pub fn begin_local(&mut self, name: Gc<Str>, register: usize) -> usize {
        let index = self.locals.len();
        let start = self.here();
        let local = LocalVar {
            name,
            register: register as u8,
            start,
            end: u32::MAX,
        };
        let result = push(self.meter, &mut self.locals, local);
        self.note(result);
        index
    }

    /// Adds a local with its extent.
    pub fn push_local(&mut self, local: LocalVar) {
        let result = push(self.meter, &mut self.locals, local);
        self.note(result);
    }

    /// Ends the extent of a local before the next instruction.
    pub fn end_local(&mut self, local: usize) {
        let end = self.here();
        if let Some(local) = self.locals.get_mut(local) {
            local.end = end;
        }
    }

    // The end.

    /// The finished prototype. Locals that have not been ended extend to the end of the function.
    ///
    /// The code must pass the verifier; where it may not, use [`build`](Self::build).
    pub fn finish(self, rt: &mut Runtime) -> Result<Gc<Proto>, ProtoError> {
        let meter = self.meter;
        let proto = self.build()?;
        meter.settle(&mut rt.heap);
        let placed = place(proto, rt);
        meter.settle(&mut rt.heap);
        Ok(placed?)
    }

    /// The finished prototype, not yet in the VM's heap. Its memory is no longer the meter's.
    pub fn build(mut self) -> Result<Proto, ProtoError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let end = self.here();
        for local in &mut self.locals {
            local.end = local.end.min(end);
        }
        let meter = self.meter;
        meter.give_back(self.constant_indices.allocation_size());
        let mut info = Box::new(ProtoInfo {
            code: exact(meter, self.code),
            constants: exact(meter, self.constants),
            fields: exact(meter, self.fields),
            calls: exact(meter, self.calls),
            tables: exact(meter, self.tables),
            loops: exact(meter, self.loops),
            protos: exact(meter, self.protos),
            captured: exact(meter, self.captured),
            live: exact(meter, self.live),
            history: Cell::default(),
            lines: self.lines.finish(meter),
            locals: exact(meter, self.locals),
            source: self.head.source,
            line_defined: self.head.line_defined,
            last_line: self.head.last_line,
        });
        for site in unrolled_loops(&info.code) {
            info.loops.get(site).into_iter().for_each(LoopSite::unroll);
        }
        Ok(Proto {
            barrier: Cell::new(0),
            kind: Kind::Proto,
            params: self.head.params,
            flags: self.head.flags,
            registers: self.registers as u32,
            code: info.code.as_mut_ptr(),
            constants: info.constants.as_ptr(),
            fields: info.fields.as_ptr(),
            calls: info.calls.as_ptr(),
            tables: info.tables.as_ptr(),
            loops: info.loops.as_ptr(),
            entry: LoopSite::new(),
            info,
        })
    }
}

/// Puts a prototype, which must pass the verifier, into the VM's heap: the interpreter and the collector take its
/// code at its word from then on.
pub fn place(proto: Proto, rt: &mut Runtime) -> Result<Gc<Proto>, OutOfMemory> {
    let cell = rt.heap.alloc(size_of::<Proto>())?.cast::<Proto>();
    // SAFETY: the cell is fresh and of this size; written to, it is a prototype.
    let proto = unsafe {
        cell.write(proto);
        Gc::from_ptr(cell)
    };
    rt.heap.register_proto(proto)?;
    Ok(proto)
}

/// The vector without spare room, for an owner that accounts for it otherwise.
pub(super) fn exact<T>(meter: &Meter, mut vec: Vec<T>) -> Vec<T> {
    meter.give_back(vec.capacity() * size_of::<T>());
    vec.shrink_to_fit();
    vec
}

/// An instruction with operands `a`, `b`, `c` that are registers or counts.
///
/// Operands are cut to their width; a builder that has been told of all registers in use
/// ([`ProtoBuilder::reserve_registers`]) has failed by then if that matters.
#[inline]
pub fn instr(op: Op, a: usize, b: usize, c: usize, d: u32) -> Instr {
    Instr::new(op, a as u8, b as u8, c as u8, d)
}
