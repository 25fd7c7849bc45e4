//! The builder of descriptions.

use std::collections::HashMap;
use std::fmt;

use super::cache::COLD_LOOP_SITE;
use super::description::{Captured, Constant, FunctionDescription, Instruction, Local, TableSize};
use super::{CellSource, Instr};

/// Why a function cannot be built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuildError {
    /// What is wrong.
    pub message: &'static str,
    /// The source line of the instruction, or 0.
    pub line: u32,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for BuildError {}

/// A place in the code of one builder, to jump to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// A constant as a key; floats by their bits, so that zeros of different sign stay apart.
#[derive(PartialEq, Eq, Hash)]
enum ConstantKey {
    Nil,
    Bool(bool),
    Integer(i64),
    Float(u64),
    String(Vec<u8>),
}

/// A function under construction; see the [module's documentation](super).
///
/// What goes wrong on the way is remembered and reported by [`finish`](FunctionBuilder::finish).
pub struct FunctionBuilder {
    function: FunctionDescription,
    line: u32,
    constants: HashMap<ConstantKey, u32>,
    /// The instructions that labels stand for.
    labels: Vec<Option<usize>>,
    /// Instructions that jump, and where to.
    jumps: Vec<(usize, Label)>,
    failure: Option<BuildError>,
}

impl FunctionBuilder {
    /// An empty function of the chunk `source` (`=name`, `@file` or the source itself), with so many parameters, whose
    /// definition begins in `line_defined` (0 for a main function).
    pub fn new(source: impl AsRef<[u8]>, params: u8, line_defined: u32) -> FunctionBuilder {
        FunctionBuilder {
            function: FunctionDescription {
                source: source.as_ref().to_vec(),
                line_defined,
                params,
                registers: params,
                ..FunctionDescription::default()
            },
            line: line_defined,
            constants: HashMap::new(),
            labels: Vec::new(),
            jumps: Vec::new(),
            failure: None,
        }
    }

    fn fail(&mut self, message: &'static str, line: u32) {
        self.failure.get_or_insert(BuildError { message, line });
    }

    /// Lets the function take extra arguments.
    pub fn set_vararg(&mut self) {
        self.function.vararg = true;
    }

    /// The line where the definition ends.
    pub fn set_last_line(&mut self, line: u32) {
        self.function.last_line = line;
    }

    /// The source line of the instructions to come.
    pub fn set_line(&mut self, line: u32) {
        self.line = line;
    }

    /// Notes that registers below `count` are used. Registers that instructions name or keep are noted by themselves, but
    /// not all those of a group.
    pub fn reserve_registers(&mut self, count: usize) {
        match u8::try_from(count) {
            Ok(count) => self.function.registers = self.function.registers.max(count),
            Err(_) => self.fail("function needs too many registers", self.line),
        }
    }

    /// Appends an instruction and returns its index. Registers below `live` are in use while the activation is
    /// stopped in it.
    pub fn emit(&mut self, instr: Instr, live: usize) -> usize {
        let at = self.function.code.len();
        self.reserve_registers(live);
        self.reserve_registers(registers_of(instr));
        self.function.code.push(Instruction {
            instr,
            live: live as u8,
            line: self.line,
        });
        at
    }

    /// Appends an instruction that jumps to a label, which may be placed before or afterwards.
    pub fn emit_jump(&mut self, instr: Instr, to: Label, live: usize) -> usize {
        let at = self.emit(instr, live);
        self.jumps.push((at, to));
        at
    }

    /// A new label.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Lets a label stand for the next instruction.
    pub fn place(&mut self, label: Label) {
        let here = self.function.code.len();
        match self.labels.get_mut(label.0) {
            Some(place @ None) => *place = Some(here),
            Some(Some(_)) => self.fail("a label has been placed twice", self.line),
            None => self.fail("a label belongs to another function", self.line),
        }
    }

    /// The index of a constant, which is added if it is new.
    pub fn constant(&mut self, constant: Constant) -> u32 {
        let key = match &constant {
            Constant::Nil => ConstantKey::Nil,
            Constant::Bool(b) => ConstantKey::Bool(*b),
            Constant::Integer(i) => ConstantKey::Integer(*i),
            Constant::Float(f) => ConstantKey::Float(f.to_bits()),
            Constant::String(s) => ConstantKey::String(s.clone()),
        };
        let constants = &mut self.function.constants;
        *self.constants.entry(key).or_insert_with(|| {
            constants.push(constant);
            constants.len() as u32 - 1
        })
    }

    /// A new field cache for `key`, of at most 40 bytes. (Longer keys are for `GETINDEX` and `SETINDEX`.)
    pub fn field(&mut self, key: impl AsRef<[u8]>) -> u32 {
        self.function.fields.push(key.as_ref().to_vec());
        self.function.fields.len() as u32 - 1
    }

    /// A new call site.
    pub fn call_site(&mut self) -> u32 {
        self.function.call_sites += 1;
        self.function.call_sites - 1
    }

    /// A new table site, for a constructor that fills so much.
    pub fn table_site(&mut self, size: TableSize) -> u32 {
        self.function.tables.push(size);
        self.function.tables.len() as u32 - 1
    }

    /// A new loop site, or 65535 if there are no more.
    pub fn loop_site(&mut self) -> u16 {
        let site = self.function.loop_sites.min(COLD_LOOP_SITE as u32);
        self.function.loop_sites = site + 1;
        site as u16
    }

    /// Adds a nested function, for `CLOSURE`.
    pub fn nested(&mut self, function: FunctionDescription) -> u32 {
        self.function.functions.push(function);
        self.function.functions.len() as u32 - 1
    }

    /// Declares the next captured variable and returns its index. Variable 0 of the outermost function is the table of
    /// globals, called `_ENV` in Lua.
    pub fn captured(&mut self, name: impl AsRef<[u8]>, source: CellSource) -> u8 {
        let index = self.function.captured.len();
        if index == u8::MAX as usize {
            self.fail("too many captured variables", self.line);
            return 0;
        }
        self.function.captured.push(Captured {
            name: Some(name.as_ref().to_vec()),
            source,
        });
        index as u8
    }

    /// Names a register from the next instruction on; returns what [`end_local`](Self::end_local) wants.
    pub fn begin_local(&mut self, name: impl AsRef<[u8]>, register: u8) -> usize {
        self.reserve_registers(register as usize + 1);
        self.function.locals.push(Local {
            name: name.as_ref().to_vec(),
            register,
            start: self.function.code.len() as u32,
            end: u32::MAX,
        });
        self.function.locals.len() - 1
    }

    /// Ends the extent of a local before the next instruction. Locals that are not ended extend to the end of the
    /// function.
    pub fn end_local(&mut self, local: usize) {
        let end = self.function.code.len() as u32;
        match self.function.locals.get_mut(local) {
            Some(local) => local.end = end,
            None => self.fail("no such local", self.line),
        }
    }

    /// The finished description.
    pub fn finish(mut self) -> Result<FunctionDescription, BuildError> {
        if self.function.code.len() > i32::MAX as usize {
            self.fail("function is too long", self.line);
        }
        for (at, label) in std::mem::take(&mut self.jumps) {
            let line = self.function.code[at].line;
            let Some(Some(target)) = self.labels.get(label.0) else {
                self.fail("a jump to a label without a place", line);
                break;
            };
            let distance = *target as i64 - (at as i64 + 1);
            let instr = &mut self.function.code[at].instr;
            *instr = instr.with_d(distance as i32 as u32);
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.function),
        }
    }
}

/// One more than the highest register that the instruction names by itself.
fn registers_of(instr: Instr) -> usize {
    use super::Role::{Cell, Def, DefCell, Group, Use};
    let format = instr.op().format();
    let operands = [
        (format.a, instr.a()),
        (format.b, instr.b()),
        (format.c, instr.c()),
    ];
    operands
        .into_iter()
        .filter(|(role, _)| matches!(role, Def | Use | Cell | DefCell | Group))
        .map(|(_, register)| register + 1)
        .max()
        .unwrap_or(0)
}
