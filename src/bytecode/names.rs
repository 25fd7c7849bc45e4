//! What the programmer calls a value: names for error messages and tracebacks, found in the bytecode.
//!
//! The name of a register's value is that of the local in scope there, or else follows from the instruction that
//! has last written the register, unless that depends on a jump: the idea of Lua's `ldebug.c`.

use perilune_uops::{Role, Wide};

use super::proto::{LocalVar, ProtoInfo};
use super::{Instr, Op};
use crate::runtime::object::Gc;
use crate::runtime::string::Str;

/// A name and what kind of thing it names: "global", "local", "method", "field", "upvalue", "constant",
/// "metamethod" or "for iterator".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    pub kind: &'static str,
    pub name: Vec<u8>,
}

/// Where a register's value comes from.
enum Origin {
    Named(Name),
    /// The instruction at this place computes it.
    Instruction(usize),
    Unknown,
}

impl Name {
    fn new(kind: &'static str, name: &[u8]) -> Name {
        Name {
            kind,
            name: c_string(name).to_vec(),
        }
    }

    fn of(kind: &'static str, name: Option<Gc<Str>>) -> Name {
        Name::new(kind, name.map_or(b"?", |s| s.as_bytes()))
    }
}

/// The part of a string that Lua's messages show: up to the first zero byte.
pub fn c_string(s: &[u8]) -> &[u8] {
    s.split(|&c| c == 0).next().unwrap_or(s)
}

impl ProtoInfo {
    /// The local in scope at `pc` that lives in `register`.
    pub fn local_name(&self, pc: usize, register: usize) -> Option<Gc<Str>> {
        self.locals_at(pc)
            .filter(|local| local.register as usize == register)
            .last()
            .map(|local| local.name)
    }

    /// The locals in scope at `pc`, in order of declaration.
    pub fn locals_at(&self, pc: usize) -> impl Iterator<Item = &LocalVar> {
        self.locals
            .iter()
            .filter(move |local| local.start as usize <= pc && pc < local.end as usize)
    }

    /// The name of the captured variable `index`.
    pub fn captured_name(&self, index: usize) -> Name {
        Name::of("upvalue", self.captured.get(index).and_then(|c| c.name))
    }

    /// The name of the value that `register` holds before the instruction at `pc`.
    pub fn register_name(&self, pc: usize, register: usize) -> Option<Name> {
        let at = match self.origin(pc, register) {
            Origin::Named(name) => return Some(name),
            Origin::Instruction(at) => at,
            Origin::Unknown => return None,
        };
        let i = self.code[at];
        let key = || self.fields[i.d() as usize].key;
        Some(match i.op().general() {
            Op::GETENV => {
                let table = self.captured_name(i.b());
                Name::of(
                    if table.name == b"_ENV" {
                        "global"
                    } else {
                        "field"
                    },
                    Some(key()),
                )
            }
            Op::GETFIELD => Name::of(self.field_kind(at, i.b()), Some(key())),
            Op::GETINDEX => match self.origin(at, i.c()) {
                Origin::Named(Name {
                    kind: "constant",
                    name,
                }) => Name {
                    kind: self.field_kind(at, i.b()),
                    name,
                },
                _ => Name::new(self.field_kind(at, i.b()), b"?"),
            },
            // Lua has an instruction for small indices only, and cannot name others.
            Op::GETINT if i.d() <= 255 => Name::new("field", b"integer index"),
            Op::GETINT => Name::new("field", b"?"),
            Op::SELF if register == i.a() => Name::of("method", Some(key())),
            _ => return None,
        })
    }

    /// The name of the function that the instruction at `pc` calls, directly or as a metamethod.
    pub fn called_name(&self, pc: usize) -> Option<Name> {
        let i = self.code[pc];
        let event = match i.op().general() {
            Op::CALL | Op::TAILCALL => return self.register_name(pc, i.a()),
            Op::TFORCALL => return Some(Name::new("for iterator", b"for iterator")),
            Op::GETENV | Op::GETFIELD | Op::SELF | Op::GETINDEX | Op::GETINT => "index",
            Op::SETENV
            | Op::SETFIELD
            | Op::SETFIELDK
            | Op::SETINDEX
            | Op::SETINDEXK
            | Op::SETINT => "newindex",
            Op::ADD | Op::ADDK => "add",
            Op::SUB | Op::SUBK => "sub",
            Op::MUL | Op::MULK => "mul",
            Op::DIV | Op::DIVK => "div",
            Op::MOD | Op::MODK => "mod",
            Op::POW | Op::POWK => "pow",
            Op::IDIV | Op::IDIVK => "idiv",
            Op::BAND | Op::BANDK => "band",
            Op::BOR | Op::BORK => "bor",
            Op::BXOR | Op::BXORK => "bxor",
            Op::SHL | Op::SHLK => "shl",
            Op::SHR | Op::SHRK => "shr",
            Op::UNM => "unm",
            Op::BNOT => "bnot",
            Op::LEN => "len",
            Op::CONCAT => "concat",
            Op::JEQ | Op::JNE => "eq",
            Op::JLT | Op::JNLT | Op::JLTI | Op::JNLTI | Op::JGTI | Op::JNGTI => "lt",
            Op::JLE | Op::JNLE | Op::JLEI | Op::JNLEI | Op::JGEI | Op::JNGEI => "le",
            Op::CLOSE | Op::RETURN | Op::RETURN0 | Op::RETURN1 => "close",
            _ => return None,
        };
        Some(Name::new("metamethod", event.as_bytes()))
    }

    fn origin(&self, pc: usize, register: usize) -> Origin {
        if let Some(name) = self.local_name(pc, register) {
            return Origin::Named(Name::of("local", Some(name)));
        }
        let Some(at) = self.last_write(pc, register) else {
            return Origin::Unknown;
        };
        let i = self.code[at];
        match i.op().general() {
            // A move from above is a result that is put into its place.
            Op::MOVE if i.b() < i.a() => self.origin(at, i.b()),
            Op::MOVE => Origin::Unknown,
            Op::GETUP => Origin::Named(self.captured_name(i.b())),
            Op::GETCELL => match self.local_name(at, i.b()) {
                Some(name) => Origin::Named(Name::of("local", Some(name))),
                None => Origin::Unknown,
            },
            Op::LOADK => match self.constants[i.d() as usize].as_string() {
                Some(s) => Origin::Named(Name::of("constant", Some(s))),
                None => Origin::Unknown,
            },
            _ => Origin::Instruction(at),
        }
    }

    /// The instruction before `pc` that has written `register`, unless code is jumped over between them.
    fn last_write(&self, pc: usize, register: usize) -> Option<usize> {
        let mut found = None;
        // Code before this place has been jumped over, or not.
        let mut target = 0;
        for (at, &i) in self.code[..pc].iter().enumerate() {
            if i.op().format().d == Wide::Jump && i.sd() > 0 {
                let to = at + 1 + i.sd() as usize;
                if to <= pc && to > target {
                    target = to;
                }
            }
            if writes(i, register) {
                found = (at >= target).then_some(at);
            }
        }
        found
    }

    /// Whether fields of the table in `register` are global variables.
    fn field_kind(&self, pc: usize, register: usize) -> &'static str {
        match self.origin(pc, register) {
            Origin::Named(Name {
                kind: "local" | "upvalue",
                name,
            }) if name == b"_ENV" => "global",
            _ => "field",
        }
    }
}

/// Whether an instruction writes a register.
fn writes(i: Instr, register: usize) -> bool {
    let (a, end) = match i.op().general() {
        Op::NIL => (i.a(), i.a() + i.b() + 1),
        Op::SELF => (i.a(), i.a() + 2),
        Op::CELL | Op::CONCAT => (i.a(), i.a() + 1),
        Op::FORPREP | Op::FORLOOP => (i.a(), i.a() + 4),
        Op::TFORLOOP => (i.a() + 2, i.a() + 3),
        // Calls use what lies above.
        Op::TFORCALL => (i.a() + 4, usize::MAX),
        Op::CALL | Op::TAILCALL => (i.a(), usize::MAX),
        Op::VARARG if i.c() == 0 => (i.a(), usize::MAX),
        Op::VARARG => (i.a(), i.a() + i.c() - 1),
        op if matches!(op.format().a, Role::Def | Role::DefCell) => (i.a(), i.a() + 1),
        _ => return false,
    };
    (a..end).contains(&register)
}
