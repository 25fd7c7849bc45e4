//! Descriptions of functions as plain data, and the way from there into a VM and back.
//!
//! Anything can be in a description. [`FunctionDescription::make`] is the only way of one into a VM, and lets nothing
//! pass that the verifier has not accepted.

use super::cache::COLD_LOOP_SITE;
use super::proto::{CapturedVar, CellSource, LocalVar, Proto, proto_flags};
use super::proto_builder::{FunctionHead, ProtoBuilder, ProtoError, place};
use super::verify::{VerifyError, verify_one};
use super::{Instr, Op};
use crate::heap::{Meter, OutOfMemory};
use crate::runtime::Runtime;
use crate::runtime::object::Gc;
use crate::runtime::string::{SHORT_MAX, Str};
use crate::runtime::value::{Tag, Value};
use perilune_uops::Wide;

/// How deep functions may be nested in each other.
pub(super) const NESTING_MAX: usize = 200;

/// A function as data; see the [module's documentation](super).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FunctionDescription {
    /// The chunk's name, as for Lua source: `=name`, `@file`, or the source itself. Empty in a nested function, it is that
    /// of the function around it.
    pub source: Vec<u8>,
    /// The line where the definition begins, or 0 for a main function.
    pub line_defined: u32,
    /// The line where it ends, or 0.
    pub last_line: u32,
    /// The number of parameters; they arrive in the first registers.
    pub params: u8,
    /// The function takes extra arguments.
    pub vararg: bool,
    /// The number of registers, parameters included.
    pub registers: u8,
    /// The code.
    pub code: Vec<Instruction>,
    /// The constants.
    pub constants: Vec<Constant>,
    /// The keys of the field caches.
    pub fields: Vec<Vec<u8>>,
    /// The number of call sites.
    pub call_sites: u32,
    /// The table sites.
    pub tables: Vec<TableSize>,
    /// The number of loop sites.
    pub loop_sites: u32,
    /// The functions that `CLOSURE` makes closures of. They may be nested 200 deep.
    pub functions: Vec<FunctionDescription>,
    /// The captured variables, at most 255.
    pub captured: Vec<Captured>,
    /// The names of registers, for messages and the debug library.
    pub locals: Vec<Local>,
}

/// An instruction in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// The instruction.
    pub instr: Instr,
    /// The registers below this number are in use while the activation is stopped here.
    pub live: u8,
    /// The source line, or 0.
    pub line: u32,
}

/// A constant.
#[derive(Clone, PartialEq, Debug)]
pub enum Constant {
    /// Nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A string.
    String(Vec<u8>),
}

/// What a table constructor fills: a hint for the size of the tables that it makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableSize {
    /// Fields with constant names.
    pub slots: u16,
    /// Elements from index 1 on.
    pub elements: u16,
}

/// A captured variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The name, for messages and the debug library.
    pub name: Option<Vec<u8>>,
    /// Where the enclosing function has its cell; without meaning in the outermost function.
    pub source: CellSource,
}

/// The name of a register in a part of the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// The name. If it begins with a parenthesis, the debug library cannot assign to the register.
    pub name: Vec<u8>,
    /// The register.
    pub register: u8,
    /// The first instruction at which the local is in scope.
    pub start: u32,
    /// The first instruction at which it no longer is; ends beyond the code are taken for its end.
    pub end: u32,
}

/// Why a description cannot be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    Memory,
    Invalid(VerifyError),
}

impl From<OutOfMemory> for LoadError {
    fn from(_: OutOfMemory) -> LoadError {
        LoadError::Memory
    }
}

impl FunctionDescription {
    /// Makes a verified prototype.
    pub(crate) fn make(&self, rt: &mut Runtime) -> Result<Gc<Proto>, LoadError> {
        let meter = Meter::new(&mut rt.heap);
        let made = self.make_nested(rt, None, 0, &meter);
        meter.close(&mut rt.heap);
        made
    }

    fn invalid<T>(&self, message: &str) -> Result<T, LoadError> {
        Err(LoadError::Invalid(VerifyError {
            line_defined: self.line_defined,
            pc: None,
            message: message.to_string(),
        }))
    }

    fn make_nested(
        &self,
        rt: &mut Runtime,
        outer: Option<Gc<Str>>,
        depth: usize,
        meter: &Meter,
    ) -> Result<Gc<Proto>, LoadError> {
        if depth > NESTING_MAX {
            return self.invalid("functions are nested too deep");
        }
        rt.heap.poll()?;
        // Each site needs an instruction, so this bounds them by the size of the description.
        if self.call_sites as usize > self.code.len() || self.loop_sites as usize > self.code.len()
        {
            return self.invalid("more sites than instructions");
        }
        let source = match outer {
            Some(outer) if self.source.is_empty() || outer.as_bytes() == self.source => outer,
            _ => rt.new_string(&self.source)?,
        };
        let mut builder = ProtoBuilder::new(
            FunctionHead {
                source,
                line_defined: self.line_defined,
                last_line: self.last_line,
                params: self.params,
                flags: if self.vararg { proto_flags::VARARG } else { 0 },
            },
            meter,
        );
        builder.reserve_registers(self.registers as usize);
        for constant in &self.constants {
            let v = match constant {
                Constant::Nil => Value::NIL,
                Constant::Bool(false) => Value::FALSE,
                Constant::Bool(true) => Value::TRUE,
                Constant::Integer(i) => Value::int(*i),
                Constant::Float(f) => Value::float(*f),
                Constant::String(s) => Value::string(rt.new_string(s)?),
            };
            builder.push_constant(v);
        }
        for key in &self.fields {
            if key.len() > SHORT_MAX {
                return self.invalid("the key of a field cache is too long");
            }
            let key = rt.new_string(key)?;
            builder.field(key);
        }
        for _ in 0..self.call_sites {
            builder.call_site();
        }
        for size in &self.tables {
            builder.table_site(rt, size.slots as usize, size.elements as usize);
        }
        for _ in 0..self.loop_sites.min(COLD_LOOP_SITE as u32 + 1) {
            builder.loop_site();
        }
        for function in &self.functions {
            let proto = function.make_nested(rt, Some(source), depth + 1, meter)?;
            builder.nested(proto);
        }
        for var in &self.captured {
            let name = var.name.as_ref().map(|name| rt.new_string(name));
            builder.captured(CapturedVar::new(name.transpose()?, var.source));
        }
        for local in &self.locals {
            builder.push_local(LocalVar {
                name: rt.new_string(&local.name)?,
                register: local.register,
                start: local.start,
                end: local.end,
            });
        }
        meter.settle(&mut rt.heap);
        for at in &self.code {
            builder.set_line(at.line);
            builder.emit(at.instr, at.live as usize);
        }
        let proto = match builder.build() {
            Ok(proto) => proto,
            Err(ProtoError::OutOfMemory) => return Err(LoadError::Memory),
            Err(ProtoError::Limit { what, .. }) => return self.invalid(what),
        };
        meter.settle(&mut rt.heap);
        verify_one(&proto).map_err(LoadError::Invalid)?;
        Ok(place(proto, rt)?)
    }

    /// Describes a prototype as it was before it ran.
    pub(crate) fn of(proto: &Proto) -> FunctionDescription {
        let info = &proto.info;
        let bytes = |s: Gc<Str>| s.as_bytes().to_vec();
        let code = info.code.iter().zip(&info.live).enumerate();
        FunctionDescription {
            source: bytes(info.source),
            line_defined: info.line_defined,
            last_line: info.last_line,
            params: proto.params,
            vararg: proto.flags & proto_flags::VARARG != 0,
            registers: proto.registers as u8,
            code: code
                .map(|(pc, (&instr, &live))| Instruction {
                    instr: unlearned(instr),
                    live,
                    line: info.lines.line(pc as u32),
                })
                .collect(),
            constants: info.constants.iter().map(|v| constant(*v)).collect(),
            fields: info.fields.iter().map(|field| bytes(field.key)).collect(),
            call_sites: info.calls.len() as u32,
            tables: info
                .tables
                .iter()
                .map(|site| TableSize {
                    slots: site.slots,
                    elements: site.elements,
                })
                .collect(),
            loop_sites: info.loops.len() as u32,
            functions: info
                .protos
                .iter()
                .map(|p| FunctionDescription::of(p))
                .collect(),
            captured: info
                .captured
                .iter()
                .map(|var| Captured {
                    name: var.name.map(bytes),
                    source: var.source,
                })
                .collect(),
            locals: info
                .locals
                .iter()
                .map(|local| Local {
                    name: bytes(local.name),
                    register: local.register,
                    start: local.start,
                    end: local.end,
                })
                .collect(),
        }
    }
}

/// The instruction as it was before it ran.
pub(super) fn unlearned(instr: Instr) -> Instr {
    let op: Op = instr.op().general();
    let instr = instr.with_op(op);
    if op.format().d == Wide::None {
        instr.with_d(0)
    } else {
        instr
    }
}

fn constant(v: Value) -> Constant {
    match (v.tag(), v.as_int(), v.as_float(), v.as_string()) {
        (_, Some(i), ..) => Constant::Integer(i),
        (_, _, Some(f), _) => Constant::Float(f),
        (_, _, _, Some(s)) => Constant::String(s.as_bytes().to_vec()),
        (Tag::TRUE, ..) => Constant::Bool(true),
        (Tag::FALSE, ..) => Constant::Bool(false),
        _ => Constant::Nil,
    }
}
