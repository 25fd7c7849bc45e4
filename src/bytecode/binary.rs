//! Binary chunks: functions as bytes, and back.
//!
//! A chunk is a header and a function. The header begins as in the reference implementation, since there are programs
//! that look at it; behind that it names the instruction set by a fingerprint, so a chunk is only read by versions whose
//! instructions mean the same. Numbers are little-endian; sizes and lines take seven bits a byte.
//!
//! Reading makes a [`FunctionDescription`], from which there is only the verified way into a VM. Nothing is taken on trust:
//! an element takes at least a byte of the chunk, so sizes are bounded by what is there, and memory is charged to the
//! VM while it is in use.

use std::mem::size_of;

use perilune_uops::instructions::Format;

use super::description::{
    Captured, Constant, FunctionDescription, Instruction, Local, NESTING_MAX, TableSize, unlearned,
};
use super::proto::{CellSource, Proto, proto_flags};
use super::{Instr, Op};
use crate::heap::{Heap, OutOfMemory};
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::value::{Tag, Value};

/// The first byte of every binary chunk, which no source begins with.
pub const MARK: u8 = 0x1b;

/// The parts of the header, each with what is said of a chunk that has something else there.
const HEADER: &[(&[u8], &str)] = &[
    (b"\x1bLua", "not a binary chunk"),
    // Lua 5.4, in its official format.
    (&[0x54], "version mismatch"),
    (&[0], "format mismatch"),
    // Bytes that a transfer as text would change.
    (b"\x19\x93\r\n\x1a\n", "corrupted chunk"),
    // The sizes of the reference implementation's instructions, and of integers and floats.
    (&[4], "Instruction size mismatch"),
    (&[8], "lua_Integer size mismatch"),
    (&[8], "lua_Number size mismatch"),
    (&0x5678_i64.to_le_bytes(), "integer format mismatch"),
    (&370.5_f64.to_bits().to_le_bytes(), "float format mismatch"),
    // Changes with the layout of chunks.
    (&[2], "version mismatch"),
    // The reference implementation does not get past this: it expects a size here, and ten bytes below 128 are too large for
    // one.
    (b"perilune bytecode", "not a perilune chunk"),
    (&FINGERPRINT, "version mismatch"),
];

/// Changes with the instruction set.
const FINGERPRINT: [u8; 8] = fingerprint().to_le_bytes();

/// The source of functions that have been stripped of it.
const NO_SOURCE: &[u8] = b"=?";

const NIL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INTEGER: u8 = 3;
const FLOAT: u8 = 4;
const STRING: u8 = 5;

const fn fingerprint() -> u64 {
    const PRIME: u64 = 0x100_0000_01b3;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < Op::ALL.len() {
        let name = Op::ALL[i].name().as_bytes();
        let mut j = 0;
        while j < name.len() {
            hash = (hash ^ name[j] as u64).wrapping_mul(PRIME);
            j += 1;
        }
        let Format { a, b, c, d } = Op::ALL[i].format();
        let format = a as u64 | (b as u64) << 8 | (c as u64) << 16 | (d as u64) << 24;
        hash = (hash ^ format).wrapping_mul(PRIME);
        i += 1;
    }
    hash
}

/// Why bytes are no chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    Memory,
    /// What is wrong, in Lua's words where it has any.
    Invalid(&'static str),
}

impl From<OutOfMemory> for ReadError {
    fn from(_: OutOfMemory) -> ReadError {
        ReadError::Memory
    }
}

const TRUNCATED: ReadError = ReadError::Invalid("truncated chunk");
const CORRUPTED: ReadError = ReadError::Invalid("corrupted chunk");

/// Writes functions piece by piece to `put`.
struct Writer<'a, E> {
    put: &'a mut dyn FnMut(&[u8]) -> Result<(), E>,
    strip: bool,
}

/// Whether a function can be written: library code cannot, whose marks no chunk may bear.
pub fn is_writable(proto: &Proto) -> bool {
    proto.flags & !proto_flags::VARARG == 0
}

/// Writes the function of a prototype, as it was before it ran, without names and lines if `strip`.
pub fn write<E>(
    proto: &Proto,
    strip: bool,
    put: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut writer = Writer { put, strip };
    for (part, _) in HEADER {
        writer.bytes(part)?;
    }
    writer.function(proto, None)
}

impl<E> Writer<'_, E> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), E> {
        (self.put)(bytes)
    }

    fn size(&mut self, n: usize) -> Result<(), E> {
        let mut buffer = [0; 10];
        let mut n = n as u64;
        let mut len = 0;
        loop {
            buffer[len] = (n & 0x7f) as u8;
            n >>= 7;
            len += 1;
            if n == 0 {
                break;
            }
            buffer[len - 1] |= 0x80;
        }
        self.bytes(&buffer[..len])
    }

    fn string(&mut self, s: &[u8]) -> Result<(), E> {
        self.size(s.len())?;
        self.bytes(s)
    }

    /// A string that may be missing.
    fn name(&mut self, s: Option<Gc<Str>>) -> Result<(), E> {
        match s {
            None => self.size(0),
            Some(s) => {
                self.size(s.as_bytes().len() + 1)?;
                self.bytes(s.as_bytes())
            }
        }
    }

    fn function(&mut self, proto: &Proto, outer: Option<Gc<Str>>) -> Result<(), E> {
        let info = &proto.info;
        let shown = !self.strip && outer != Some(info.source);
        self.name(shown.then_some(info.source))?;
        self.size(info.line_defined as usize)?;
        self.size(info.last_line as usize)?;
        let vararg = proto.flags & proto_flags::VARARG != 0;
        self.bytes(&[proto.params, vararg as u8, proto.registers as u8])?;
        self.size(info.code.len())?;
        for (&instr, &live) in info.code.iter().zip(&info.live) {
            self.bytes(&unlearned(instr).to_bits().to_le_bytes())?;
            self.bytes(&[live])?;
        }
        let runs = if self.strip {
            &[][..]
        } else {
            info.lines.runs()
        };
        self.size(runs.len())?;
        for &(pc, line) in runs {
            self.size(pc as usize)?;
            self.size(line as usize)?;
        }
        self.size(info.constants.len())?;
        for constant in &info.constants {
            self.constant(*constant)?;
        }
        self.size(info.fields.len())?;
        for field in &info.fields {
            self.string(field.key.as_bytes())?;
        }
        self.size(info.calls.len())?;
        self.size(info.loops.len())?;
        self.size(info.tables.len())?;
        for site in &info.tables {
            self.size(site.slots as usize)?;
            self.size(site.elements as usize)?;
        }
        self.size(info.captured.len())?;
        for var in &info.captured {
            let (kind, index) = match var.source {
                CellSource::Register(r) => (0, r),
                CellSource::Captured(n) => (1, n),
            };
            self.bytes(&[kind, index])?;
            self.name(if self.strip { None } else { var.name })?;
        }
        let locals = if self.strip {
            &[][..]
        } else {
            &info.locals[..]
        };
        self.size(locals.len())?;
        for local in locals {
            self.string(local.name.as_bytes())?;
            self.bytes(&[local.register])?;
            self.size(local.start as usize)?;
            self.size(local.end as usize)?;
        }
        self.size(info.protos.len())?;
        for nested in &info.protos {
            self.function(nested, Some(info.source))?;
        }
        Ok(())
    }

    fn constant(&mut self, v: Value) -> Result<(), E> {
        if let Some(i) = v.as_int() {
            self.bytes(&[INTEGER])?;
            return self.bytes(&i.to_le_bytes());
        }
        if let Some(f) = v.as_float() {
            self.bytes(&[FLOAT])?;
            return self.bytes(&f.to_bits().to_le_bytes());
        }
        if let Some(s) = v.as_string() {
            self.bytes(&[STRING])?;
            return self.string(s.as_bytes());
        }
        self.bytes(&[match v.tag() {
            Tag::TRUE => TRUE,
            Tag::FALSE => FALSE,
            _ => NIL,
        }])
    }
}

/// A description on its way into the VM, and what its memory has been charged.
pub struct Read {
    pub function: FunctionDescription,
    charged: usize,
}

impl Read {
    /// Frees the memory.
    pub fn release(self, heap: &mut Heap) {
        heap.discharge(self.charged);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    heap: &'a mut Heap,
    charged: usize,
}

/// Reads a chunk. What follows it is ignored.
pub fn read(chunk: &[u8], heap: &mut Heap) -> Result<Read, ReadError> {
    let mut reader = Reader {
        rest: chunk,
        heap,
        charged: 0,
    };
    let function = reader.chunk();
    let charged = reader.charged;
    match function {
        Ok(function) => Ok(Read { function, charged }),
        Err(e) => {
            heap.discharge(charged);
            Err(e)
        }
    }
}

impl Reader<'_> {
    fn chunk(&mut self) -> Result<FunctionDescription, ReadError> {
        for (part, otherwise) in HEADER {
            self.expect(part, otherwise)?;
        }
        let mut function = self.function(0)?;
        if function.source.is_empty() {
            function.source = self.copy(NO_SOURCE)?;
        }
        Ok(function)
    }

    fn expect(&mut self, bytes: &[u8], otherwise: &'static str) -> Result<(), ReadError> {
        match self.bytes(bytes.len())? == bytes {
            true => Ok(()),
            false => Err(ReadError::Invalid(otherwise)),
        }
    }

    fn bytes(&mut self, n: usize) -> Result<&[u8], ReadError> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        self.array().map(|[byte]| byte)
    }

    fn size(&mut self) -> Result<usize, ReadError> {
        let mut n = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            n |= ((byte & 0x7f) as u64) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(n).map_err(|_| CORRUPTED);
            }
        }
        Err(CORRUPTED)
    }

    fn number(&mut self) -> Result<u32, ReadError> {
        u32::try_from(self.size()?).map_err(|_| CORRUPTED)
    }

    /// An empty list with room for `n` elements, each of which takes at least a byte of what follows.
    fn room<T>(&mut self, n: usize) -> Result<Vec<T>, ReadError> {
        if n > self.rest.len() {
            return Err(TRUNCATED);
        }
        let size = n * size_of::<T>();
        self.heap.poll()?;
        self.heap.charge(size)?;
        self.charged += size;
        let mut list = Vec::new();
        list.try_reserve_exact(n).map_err(|_| OutOfMemory)?;
        Ok(list)
    }

    fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let n = self.size()?;
        let mut list = self.room(n)?;
        for i in 0..n {
            if i & 0xFFF == 0xFFF {
                self.heap.poll()?;
            }
            list.push(element(self)?);
        }
        Ok(list)
    }

    fn copy(&mut self, bytes: &[u8]) -> Result<Vec<u8>, ReadError> {
        self.heap.charge(bytes.len())?;
        self.charged += bytes.len();
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len())
            .map_err(|_| OutOfMemory)?;
        copy.extend_from_slice(bytes);
        Ok(copy)
    }

    fn string_of(&mut self, n: usize) -> Result<Vec<u8>, ReadError> {
        let mut copy = self.room(n)?;
        copy.extend_from_slice(self.bytes(n)?);
        Ok(copy)
    }

    fn string(&mut self) -> Result<Vec<u8>, ReadError> {
        let n = self.size()?;
        self.string_of(n)
    }

    fn name(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        match self.size()? {
            0 => Ok(None),
            n => self.string_of(n - 1).map(Some),
        }
    }

    fn function(&mut self, depth: usize) -> Result<FunctionDescription, ReadError> {
        if depth > NESTING_MAX {
            return Err(CORRUPTED);
        }
        let source = self.name()?.unwrap_or_default();
        let (line_defined, last_line) = (self.number()?, self.number()?);
        let [params, vararg, registers] = self.array()?;
        let mut code = self.list(|this| {
            let instr = Instr::from_bits(u64::from_le_bytes(this.array()?)).ok_or(CORRUPTED)?;
            let live = this.byte()?;
            Ok(Instruction {
                instr,
                live,
                line: 0,
            })
        })?;
        self.lines(&mut code)?;
        Ok(FunctionDescription {
            source,
            line_defined,
            last_line,
            params,
            vararg: vararg != 0,
            registers,
            code,
            constants: self.list(Self::constant)?,
            fields: self.list(Self::string)?,
            call_sites: self.number()?,
            loop_sites: self.number()?,
            tables: self.list(|this| {
                let sizes = (u16::try_from(this.size()?), u16::try_from(this.size()?));
                match sizes {
                    (Ok(slots), Ok(elements)) => Ok(TableSize { slots, elements }),
                    _ => Err(CORRUPTED),
                }
            })?,
            captured: self.list(|this| {
                let [kind, index] = this.array()?;
                let source = match kind {
                    0 => CellSource::Register(index),
                    1 => CellSource::Captured(index),
                    _ => return Err(CORRUPTED),
                };
                let name = this.name()?;
                Ok(Captured { name, source })
            })?,
            locals: self.list(|this| {
                Ok(Local {
                    name: this.string()?,
                    register: this.byte()?,
                    start: this.number()?,
                    end: this.number()?,
                })
            })?,
            functions: self.list(|this| this.function(depth + 1))?,
        })
    }

    /// The lines of the code, as runs.
    fn lines(&mut self, code: &mut [Instruction]) -> Result<(), ReadError> {
        let runs = self.size()?;
        let mut line = 0;
        let mut done = 0;
        for _ in 0..runs {
            let (pc, next) = (self.size()?, self.number()?);
            let run = code.get_mut(done..pc).ok_or(CORRUPTED)?;
            run.iter_mut().for_each(|at| at.line = line);
            (done, line) = (pc, next);
        }
        code[done..].iter_mut().for_each(|at| at.line = line);
        Ok(())
    }

    fn constant(&mut self) -> Result<Constant, ReadError> {
        Ok(match self.byte()? {
            NIL => Constant::Nil,
            FALSE => Constant::Bool(false),
            TRUE => Constant::Bool(true),
            INTEGER => Constant::Integer(i64::from_le_bytes(self.array()?)),
            FLOAT => Constant::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            STRING => Constant::String(self.string()?),
            _ => return Err(CORRUPTED),
        })
    }
}
