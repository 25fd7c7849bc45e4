//! Reads the text form.
//!
//! One pass over the lines. Values may be named before they are made: a name gets a number when it is first seen, the
//! nodes hold these numbers, and at the end they become positions. Objects, frames and snapshots come before
//! their uses. Time and memory are linear in the length of the text.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use perilune_uops::{FloatFunction, Immediate, MicroOp, Operation, Type};

use super::super::superblock::*;
use super::ARRAY_KINDS;
use crate::bytecode::cache::SlotOffsets;
use crate::runtime::coroutine::Continuation;

const OBJECT_KINDS: [ObjectKind; 8] = [
    ObjectKind::Table,
    ObjectKind::String,
    ObjectKind::Closure,
    ObjectKind::Native,
    ObjectKind::Cell,
    ObjectKind::Userdata,
    ObjectKind::Coroutine,
    ObjectKind::Proto,
];

const CONTINUATIONS: [Continuation; 9] = [
    Continuation::Call,
    Continuation::StoreResult,
    Continuation::Jump,
    Continuation::Discard,
    Continuation::Repeat,
    Continuation::Concat,
    Continuation::Host,
    Continuation::Native,
    Continuation::Coroutine,
];

/// Why a text is not that of a superblock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// From 1.
    pub line: u32,
    pub message: String,
}

impl Display for ParseError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

impl Superblock {
    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Superblock, ParseError> {
        let mut parser = Parser::default();
        for (i, line) in text.lines().enumerate() {
            parser.line = i as u32 + 1;
            parser.read_line(line).map_err(|message| ParseError {
                line: parser.line,
                message,
            })?;
        }
        parser.finish()
    }
}

type Parsed<T> = Result<T, String>;

/// Words of the form itself, which name no value and no snapshot.
const WORDS: [&str; 9] = [
    "object", "frame", "param", "keep", "pc", "exit", "entry", "back", "with",
];

/// A line, read from left to right.
struct Cursor<'a> {
    rest: &'a str,
}

/// Characters that are tokens of their own.
const PUNCTUATION: [char; 4] = ['=', ':', '[', ']'];

impl<'a> Cursor<'a> {
    fn new(line: &'a str) -> Cursor<'a> {
        let code = line.split('#').next().unwrap_or_default();
        Cursor { rest: code.trim() }
    }

    fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next token, which is empty at the end.
    fn peek(&self) -> &'a str {
        let end = match self
            .rest
            .find(|c: char| c.is_whitespace() || PUNCTUATION.contains(&c))
        {
            Some(0) => 1,
            Some(end) => end,
            None => self.rest.len(),
        };
        &self.rest[..end]
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.rest = self.rest[token.len()..].trim_start();
        token
    }

    /// Takes `token` if it is the next one.
    fn accept(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.accept(token) {
            Ok(())
        } else {
            Err(self.missing(&format!("`{token}`")))
        }
    }

    /// The message that something else is expected.
    fn missing(&self, expected: &str) -> String {
        match self.peek() {
            "" => format!("{expected} expected at the end of the line"),
            found => format!("{expected} expected before `{found}`"),
        }
    }

    /// A word that can be a name.
    fn name(&mut self, what: &str) -> Parsed<&'a str> {
        let token = self.peek();
        let starts = token.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let goes_on = token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !starts || !goes_on || WORDS.contains(&token) {
            return Err(self.missing(&format!("the name of {what}")));
        }
        Ok(self.next())
    }

    fn number<T: FromStr>(&mut self, what: &str) -> Parsed<T> {
        let number = self.peek().parse().map_err(|_| self.missing(what))?;
        self.next();
        Ok(number)
    }

    /// The number behind the keyword `word`, or the default.
    fn option<T: FromStr>(&mut self, word: &str, default: T) -> Parsed<T> {
        if self.accept(word) {
            self.number("a number in range")
        } else {
            Ok(default)
        }
    }

    /// The number behind the keyword `word`.
    fn field<T: FromStr>(&mut self, word: &str) -> Parsed<T> {
        self.expect(word)?;
        self.number("a number in range")
    }

    /// A number in hexadecimal form.
    fn hexadecimal(&mut self) -> Parsed<u64> {
        let digits = self
            .peek()
            .strip_prefix("0x")
            .filter(|d| !d.starts_with('+'));
        let Some(number) = digits.and_then(|d| u64::from_str_radix(d, 16).ok()) else {
            return Err(self.missing("a hexadecimal number"));
        };
        self.next();
        Ok(number)
    }

    fn finish(&self) -> Parsed<()> {
        if self.at_end() {
            Ok(())
        } else {
            Err(self.missing("the end of the line"))
        }
    }
}

/// A table of names that are defined before they are used.
struct Names<'a, T> {
    what: &'static str,
    ids: HashMap<&'a str, T>,
}

impl<'a, T: Copy> Names<'a, T> {
    fn new(what: &'static str) -> Names<'a, T> {
        Names {
            what,
            ids: HashMap::new(),
        }
    }

    fn define(&mut self, name: &'a str, id: T) -> Parsed<()> {
        match self.ids.insert(name, id) {
            None => Ok(()),
            Some(_) => Err(format!("{} `{name}` is defined twice", self.what)),
        }
    }

    fn get(&self, cursor: &mut Cursor<'a>) -> Parsed<T> {
        let name = cursor.name(&format!("the {}", self.what))?;
        self.ids
            .get(name)
            .copied()
            .ok_or_else(|| format!("unknown {} `{name}`", self.what))
    }
}

/// A name of a value.
struct ValueName<'a> {
    name: &'a str,
    node: Option<Ref>,
    /// The line that mentions it first.
    line: u32,
}

struct Parser<'a> {
    block: Superblock,
    line: u32,
    objects: Names<'a, ObjectId>,
    frames: Names<'a, FrameId>,
    snapshots: Names<'a, SnapshotId>,
    /// The names of values by number.
    values: Vec<ValueName<'a>>,
    value_numbers: HashMap<&'a str, u32>,
}

impl Default for Parser<'_> {
    fn default() -> Self {
        Parser {
            block: Superblock::default(),
            line: 0,
            objects: Names::new("object"),
            frames: Names::new("frame"),
            snapshots: Names::new("snapshot"),
            values: Vec::new(),
            value_numbers: HashMap::new(),
        }
    }
}

impl<'a> Parser<'a> {
    fn read_line(&mut self, line: &'a str) -> Parsed<()> {
        let mut cursor = Cursor::new(line);
        if cursor.at_end() {
            return Ok(());
        }
        let c = &mut cursor;
        match c.peek() {
            "object" => self.read_object(c)?,
            "frame" => self.read_frame(c)?,
            "param" => self.read_param_shape(c)?,
            "keep" => {
                c.next();
                c.expect("bounds")?;
                self.block.keeps_bounds = true;
            }
            word if word.starts_with(|c: char| c.is_ascii_uppercase()) => {
                self.read_node(c, None)?
            }
            _ => {
                let name = c.name("a value or a snapshot")?;
                if c.accept(":") {
                    let id = self.read_snapshot(c)?;
                    self.snapshots.define(name, id)?;
                } else if c.accept("=") {
                    self.read_node(c, Some(name))?;
                } else {
                    return Err(c.missing("`=` or `:`"));
                }
            }
        }
        cursor.finish()
    }

    fn read_object(&mut self, c: &mut Cursor<'a>) -> Parsed<()> {
        c.next();
        let name = c.name("an object")?;
        c.expect(":")?;
        let word = c.peek();
        let Some(kind) = OBJECT_KINDS.into_iter().find(|k| k.to_string() == word) else {
            return Err(c.missing("a kind of object"));
        };
        c.next();
        let addr = c.hexadecimal()?;
        self.objects
            .define(name, ObjectId(self.block.objects.len() as u32))?;
        self.block.objects.push(Object { kind, addr });
        Ok(())
    }

    fn read_frame(&mut self, c: &mut Cursor<'a>) -> Parsed<()> {
        c.next();
        let name = c.name("a frame")?;
        c.expect(":")?;
        let frame = Frame {
            proto: self.objects.get(c)?,
            base: c.field("base")?,
            registers: c.field("registers")?,
            caller: if c.accept("caller") {
                Some(self.frames.get(c)?)
            } else {
                None
            },
            return_pc: c.option("return", 0)?,
            call_site: c.option("site", NO_CALL_SITE)?,
            wanted: c.option("wanted", 0)?,
            continuation: read_continuation(c)?,
            flags: c.option("flags", 0)?,
            extra_args: c.option("extra", 0)?,
            result: c.option("result", 0)?,
            aux: c.option("aux", 0)?,
        };
        let id = u16::try_from(self.block.frames.len()).map_err(|_| "too many frames")?;
        self.frames.define(name, FrameId(id))?;
        self.block.frames.push(frame);
        Ok(())
    }

    fn read_param_shape(&mut self, c: &mut Cursor<'a>) -> Parsed<()> {
        let param = c.field("param")?;
        let shape = c.field("shape")?;
        self.block.param_shapes.push((param, shape));
        Ok(())
    }

    fn read_snapshot(&mut self, c: &mut Cursor<'a>) -> Parsed<SnapshotId> {
        let frame = if c.peek() == "pc" {
            FrameId(0)
        } else {
            self.frames.get(c)?
        };
        let pc = c.field("pc")?;
        let top = if c.accept("top") {
            Some(c.number("a slot")?)
        } else {
            None
        };
        c.expect("[")?;
        let mut slots: Vec<(Slot, Ref)> = Vec::new();
        while !c.accept("]") {
            let slot = c.number("a slot or `]`")?;
            c.expect("=")?;
            if slots.last().is_some_and(|last| last.0 > slot) {
                return Err(format!("slot {slot} is not in ascending order"));
            }
            slots.push((slot, self.read_value(c)?));
        }
        let id = self.block.snapshot(frame, pc, top, slots);
        if c.accept("with") {
            self.read_virtual_object(c)?;
            while !c.at_end() {
                self.read_virtual_object(c)?;
            }
        }
        Ok(id)
    }

    /// The state of a virtual object, which belongs to the last snapshot.
    fn read_virtual_object(&mut self, c: &mut Cursor<'a>) -> Parsed<()> {
        let object = self.read_value(c)?;
        let header = c.number("a shape or state")?;
        c.expect("[")?;
        let mut parts: Vec<(Part, Ref)> = Vec::new();
        while !c.accept("]") {
            let part = match c.peek() {
                "metatable" | "content" | "element" | "captured" => match c.next() {
                    "metatable" => Part::Metatable,
                    "content" => Part::Content,
                    "element" => Part::Element(c.number("an index")?),
                    _ => Part::Captured(c.number("an index")?),
                },
                _ => match u32::try_from(read_slot(c)?) {
                    Ok(slot) => Part::Slot(slot),
                    Err(_) => return Err("the slot's offsets are too large".into()),
                },
            };
            c.expect("=")?;
            parts.push((part, self.read_value(c)?));
        }
        self.block.describe(object, header, parts);
        Ok(())
    }

    /// A snapshot by its name or in place.
    fn read_exit(&mut self, c: &mut Cursor<'a>) -> Parsed<SnapshotId> {
        let named = self.snapshots.ids.contains_key(c.peek());
        if named || c.peek() != "pc" && !self.frames.ids.contains_key(c.peek()) {
            return self.snapshots.get(c);
        }
        self.read_snapshot(c)
    }

    /// The number of a value's name.
    fn value_number(&mut self, name: &'a str) -> u32 {
        let next = self.values.len() as u32;
        let number = *self.value_numbers.entry(name).or_insert(next);
        if number == next {
            self.values.push(ValueName {
                name,
                node: None,
                line: self.line,
            });
        }
        number
    }

    /// A value: the number of its name.
    fn read_value(&mut self, c: &mut Cursor<'a>) -> Parsed<Ref> {
        let name = c.name("a value")?;
        Ok(Ref(self.value_number(name)))
    }

    fn read_node(&mut self, c: &mut Cursor<'a>, name: Option<&'a str>) -> Parsed<()> {
        let word = c.next();
        let op: MicroOp = word
            .parse()
            .map_err(|_| format!("unknown micro-op `{word}`"))?;
        let declaration = op.declaration();
        let mut operands = Vec::new();
        for &kind in declaration.operands {
            operands.push(self.read_operand(c, kind)?);
        }
        let mut inputs = Vec::new();
        for _ in declaration.inputs {
            inputs.push(self.read_value(c)?);
        }
        let mut node = Node::new(op, &inputs, &operands);
        if c.accept(":") {
            let ty: Type = c.peek().parse().map_err(|_| c.missing("a type"))?;
            c.next();
            node = node.with_type(ty);
        }
        let at = Ref(self.block.nodes.len() as u32);
        self.read_looping(c, op, at)?;
        if c.accept("exit") {
            node.exit = self.read_exit(c)?;
        }
        self.define(name, &node, at)?;
        self.block.push(node);
        Ok(())
    }

    /// What belongs to the loop: the entry of a `LOOP`, and what is carried back for a `PHI`.
    fn read_looping(&mut self, c: &mut Cursor<'a>, op: MicroOp, at: Ref) -> Parsed<()> {
        if op == MicroOp::LOOP && c.accept("entry") {
            let entry = self.read_exit(c)?;
            if self.block.looping.is_some() {
                return Err("a second loop has an entry".into());
            }
            self.block.looping = Some(Loop {
                head: at,
                back: Vec::new(),
                entry,
                label: SnapshotId::NONE,
            counters: Vec::new(),
            });
        } else if op == MicroOp::PHI && c.accept("back") {
            let back = self.read_value(c)?;
            match &mut self.block.looping {
                Some(l) if l.head.index() + l.back.len() + 1 == at.index() => l.back.push(back),
                _ => {
                    return Err(
                        "`back` belongs to the PHIs right behind the LOOP with its entry".into(),
                    );
                }
            }
        }
        Ok(())
    }

    /// Gives the node at `at` its name, which it must have if it makes a value.
    fn define(&mut self, name: Option<&'a str>, node: &Node, at: Ref) -> Parsed<()> {
        match name {
            None if node.ty.is_some() => Err(format!("the value of {} needs a name", node.op)),
            None => Ok(()),
            Some(name) if node.ty.is_none() => {
                Err(format!("{} makes no value to be called `{name}`", node.op))
            }
            Some(name) => {
                let number = self.value_number(name);
                match self.values[number as usize].node.replace(at) {
                    None => Ok(()),
                    Some(_) => Err(format!("value `{name}` is defined twice")),
                }
            }
        }
    }

    fn read_operand(&self, c: &mut Cursor<'a>, kind: Immediate) -> Parsed<u64> {
        match kind {
            Immediate::Use | Immediate::Def | Immediate::Group => {
                c.expect("[")?;
                let slot = c.number("a slot")?;
                c.expect("]")?;
                Ok(slot)
            }
            Immediate::Int => c.number::<i64>("an integer").map(|i| i as u64),
            Immediate::Float if c.peek().starts_with("0x") => c.hexadecimal(),
            Immediate::Float => c.number::<f64>("a float").map(f64::to_bits),
            Immediate::Object | Immediate::Proto => self.objects.get(c).map(|o| o.0 as u64),
            Immediate::Flag => read_flag(c),
            Immediate::Slot => read_slot(c),
            Immediate::Operation => match c.peek().parse::<Operation>() {
                Ok(operation) => {
                    c.next();
                    Ok(operation as u64)
                }
                Err(_) => c.number("an operation"),
            },
            Immediate::Function => match c.peek().parse::<FloatFunction>() {
                Ok(function) => {
                    c.next();
                    Ok(function as u64)
                }
                Err(_) => c.number("a function"),
            },
            Immediate::ArrayKind => match ARRAY_KINDS.iter().find(|k| k.1 == c.peek()) {
                Some((kind, _)) => {
                    c.next();
                    Ok(kind.0 as u64)
                }
                None => c.number("a kind of array"),
            },
            _ => c.number("a number"),
        }
    }

    /// Replaces the numbers of names by positions.
    fn finish(mut self) -> Result<Superblock, ParseError> {
        if let Some(value) = self.values.iter().find(|v| v.node.is_none()) {
            let message = format!("unknown value `{}`", value.name);
            return Err(ParseError {
                line: value.line,
                message,
            });
        }
        let position = |number: Ref| self.values[number.index()].node.unwrap_or(Ref::NONE);
        let block = &mut self.block;
        let back = block.looping.iter_mut().flat_map(|l| &mut l.back);
        let inputs = block.nodes.iter_mut().flat_map(Node::inputs_mut);
        let slots = block.slots.iter_mut().map(|slot| &mut slot.1);
        let objects = block.states.iter_mut().map(|state| &mut state.object);
        for r in back.chain(inputs).chain(slots).chain(objects) {
            *r = position(*r);
        }
        Ok(self.block)
    }
}

fn read_continuation(c: &mut Cursor) -> Parsed<Continuation> {
    if !c.accept("continuation") {
        return Ok(Continuation::Call);
    }
    let word = c.peek();
    let Some(found) = CONTINUATIONS.into_iter().find(|k| format!("{k:?}") == word) else {
        return Err(c.missing("a continuation"));
    };
    c.next();
    Ok(found)
}

fn read_flag(c: &mut Cursor) -> Parsed<u64> {
    if c.accept("false") {
        Ok(0)
    } else if c.accept("true") {
        Ok(1)
    } else {
        c.number("a flag")
    }
}

/// The offsets of a shape's slot; a single number is what does not fit them.
fn read_slot(c: &mut Cursor) -> Parsed<u64> {
    let first: u64 = c.number("a slot's offsets")?;
    if !c.accept(":") {
        return Ok(first);
    }
    let payload = u16::try_from(first).map_err(|_| format!("offset {first} is too large"))?;
    let tag = c.number("the offset of the slot's tag")?;
    Ok(slot_operand(SlotOffsets { payload, tag }))
}
