//! The wording of run-time errors: what was attempted, on a value of which type, and what the programmer calls it.
//!
//! The instruction before the saved program counter is the one that fails. A value that is to blame is looked for
//! among its operands; one that is not there (it came from a metatable, or the failing code is the host's) stays
//! nameless.

use perilune_uops::Role;

use super::introspect::Frame;
use super::state::{Raised, State};
use crate::bytecode::names::{Name, c_string};
use crate::bytecode::{Instr, Op};
use crate::bytecode::proto::Proto;
use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::value::{Tag, Value};

/// `v` is not a function and has no `__call`.
#[cold]
pub fn call_error(st: &mut State, v: Value) -> Raised {
    let name = st.failing().and_then(|f| f.proto.info.called_name(f.pc));
    complain(st, "call", v, name)
}

/// `v` is not a table and has no `__index` (or, for a store, no `__newindex`).
#[cold]
pub fn index_error(st: &mut State, v: Value) -> Raised {
    let name = st
        .failing()
        .and_then(|f| match f.instruction().op().general() {
            Op::GETENV | Op::SETENV => f.captured_operand(v),
            _ => f.registers().next().and_then(|r| f.name_if(r, v)),
        });
    complain(st, "index", v, name)
}

/// `x` and `y` are not both numbers and have no metamethod. Unary operations pass their operand twice.
#[cold]
pub fn arith_error(st: &mut State, bitwise: bool, x: Value, y: Value) -> Raised {
    if !bitwise
        && [x, y]
            .iter()
            .any(|v| v.is_string() && st.rt.metatable(*v).is_some())
    {
        // What the string library's metamethods say.
        let event = st
            .failing()
            .and_then(|f| f.proto.info.called_name(f.pc))
            .map_or(Vec::new(), |n| n.name);
        let (x, y) = (x.tag().type_name(), y.tag().type_name());
        let text = [
            b"attempt to ",
            &event[..],
            b" a '",
            x.as_bytes(),
            b"' with a '",
            y.as_bytes(),
            b"'",
        ]
        .concat();
        return st.raise_at_bytes(&text);
    }
    let blamed = if x.tag().is_number() { y } else { x };
    let what = if bitwise {
        "perform bitwise operation on"
    } else {
        "perform arithmetic on"
    };
    let name = operand_name(st, blamed);
    complain(st, what, blamed, name)
}

/// One of the numbers `x` and `y` cannot be converted to an integer.
#[cold]
pub fn no_integer(st: &mut State, x: Value, y: Value) -> Raised {
    let blamed = if super::native::to_integer(x).is_some() {
        y
    } else {
        x
    };
    let name = operand_name(st, blamed);
    let text = [
        b"number".to_vec(),
        in_parentheses(name),
        b" has no integer representation".to_vec(),
    ]
    .concat();
    st.raise_at_bytes(&text)
}

/// `x` and `y` have no order.
#[cold]
pub fn compare_error(st: &mut State, x: Value, y: Value) -> Raised {
    let (x, y) = (st.type_name_of(x), st.type_name_of(y));
    let text = if x == y {
        [b"attempt to compare two ", &x[..], b" values"].concat()
    } else {
        [b"attempt to compare ", &x[..], b" with ", &y[..]].concat()
    };
    st.raise_at_bytes(&text)
}

/// "attempt to (what) a ... value", for the operand `v`.
#[cold]
pub fn type_error(st: &mut State, v: Value, what: &str) -> Raised {
    let name = operand_name(st, v);
    complain(st, what, v, name)
}

/// `x` and `y`, neighbouring operands of a concatenation, are not both strings or numbers.
#[cold]
pub fn concat_error(st: &mut State, x: Value, y: Value) -> Raised {
    let left_is_good = x.is_string() || x.tag().is_number();
    let name = st
        .failing()
        .filter(|f| f.instruction().op().general() == Op::CONCAT)
        .and_then(|f| {
            let i = f.instruction();
            // Concatenation goes from right to left.
            let left = (i.a()..i.a() + i.b() - 1)
                .rev()
                .find(|&r| f.register(r).same_bits(x) && f.register(r + 1).same_bits(y))?;
            f.proto
                .info
                .register_name(f.pc, if left_is_good { left + 1 } else { left })
        });
    complain(st, "concatenate", if left_is_good { y } else { x }, name)
}

/// The "initial value", "limit" or "step" `v` of a numeric loop is not a number.
#[cold]
pub fn for_error(st: &mut State, v: Value, what: &str) -> Raised {
    let got = st.type_name_of(v);
    let text = [
        b"bad 'for' ",
        what.as_bytes(),
        b" (number expected, got ",
        &got[..],
        b")",
    ]
    .concat();
    st.raise_at_bytes(&text)
}

/// The variable in the slot `p` of the running function is to be closed, but has no `__close`.
#[cold]
pub fn close_error(st: &mut State, p: *const Value) -> Raised {
    let register = st.index_of(p) - st.frame().base;
    let name = st
        .failing()
        .and_then(|f| f.proto.info.local_name(f.pc, register as usize));
    let name = name.map_or(&b"?"[..], |s| c_string(s.as_bytes()));
    let text = [b"variable '", name, b"' got a non-closable value"].concat();
    st.raise_at_bytes(&text)
}

/// "attempt to (what) a (type) value (kind 'name')".
fn complain(st: &mut State, what: &str, v: Value, name: Option<Name>) -> Raised {
    let type_name = st.type_name_of(v);
    let text = [
        b"attempt to ",
        what.as_bytes(),
        b" a ",
        &type_name[..],
        b" value",
        &in_parentheses(name)[..],
    ]
    .concat();
    st.raise_at_bytes(&text)
}

fn in_parentheses(name: Option<Name>) -> Vec<u8> {
    match name {
        Some(n) => [b" (", n.kind.as_bytes(), b" '", &n.name[..], b"')"].concat(),
        None => Vec::new(),
    }
}

/// The name of the operand of the failing instruction whose value is `v`.
fn operand_name(st: &State, v: Value) -> Option<Name> {
    let f = st.failing()?;
    f.registers()
        .find(|&r| f.register(r).same_bits(v))
        .and_then(|r| f.proto.info.register_name(f.pc, r))
}

/// The instruction that fails, in the running function.
struct Failing {
    frame: Frame,
    proto: Gc<Proto>,
    pc: usize,
}

impl Failing {
    fn instruction(&self) -> Instr {
        self.proto.info.code[self.pc]
    }

    /// The registers that the instruction reads, in operand order.
    fn registers(&self) -> impl Iterator<Item = usize> {
        let i = self.instruction();
        let format = i.op().format();
        [(format.a, i.a()), (format.b, i.b()), (format.c, i.c())]
            .into_iter()
            .filter(|(role, _)| *role == Role::Use)
            .map(|(_, register)| register)
    }

    fn register(&self, r: usize) -> Value {
        self.frame.slot(r)
    }

    fn name_if(&self, r: usize, v: Value) -> Option<Name> {
        if self.register(r).same_bits(v) {
            self.proto.info.register_name(self.pc, r)
        } else {
            None
        }
    }

    fn captured_operand(&self, v: Value) -> Option<Name> {
        let index = self.instruction().b();
        let closure = self.frame.function().as_closure()?;
        closure
            .cell(index)
            .get()
            .same_bits(v)
            .then(|| self.proto.info.captured_name(index))
    }
}

impl State {
    fn failing(&self) -> Option<Failing> {
        let frame = self.frame_at(self.co, 0)?;
        let proto = frame.proto()?;
        Some(Failing {
            frame,
            proto,
            pc: frame.pc(proto),
        })
    }

    /// Raises a message as it is.
    #[cold]
    pub fn raise_message(&mut self, message: &[u8]) -> Raised {
        if self.in_leaf {
            return Raised;
        }
        match self.string_value(message) {
            Ok(v) => self.raise(v),
            Err(raised) => raised,
        }
    }

    /// Raises a message with the position of the running function, if that is not a host function.
    #[cold]
    pub fn raise_at(&mut self, message: &str) -> Raised {
        self.raise_at_bytes(message.as_bytes())
    }

    /// Like [`State::raise_at`], for messages that quote a script's bytes.
    #[cold]
    pub fn raise_at_bytes(&mut self, message: &[u8]) -> Raised {
        if self.in_leaf {
            return Raised;
        }
        let mut text = match self.frame_at(self.co, 0) {
            Some(frame) if frame.proto().is_some() => {
                let line = frame.line().map_or(-1, i64::from);
                [&frame.chunk_id()[..], format!(":{line}: ").as_bytes()].concat()
            }
            _ => Vec::new(),
        };
        text.extend_from_slice(message);
        self.raise_message(&text)
    }

    /// "chunk:line: " of the function at `level` (0 is the running one), or nothing if it is a host function.
    pub fn position(&self, level: u32) -> Vec<u8> {
        let Some(frame) = self.frame_at(self.co, level) else {
            return Vec::new();
        };
        match frame.line() {
            Some(line) => [&frame.chunk_id()[..], format!(":{line}: ").as_bytes()].concat(),
            None => Vec::new(),
        }
    }

    /// What the running host function has been called as, and whether as a method; otherwise its name in a loaded
    /// module, or "?".
    pub fn running_name(&self) -> (Vec<u8>, bool) {
        let Some(frame) = self.frame_at(self.co, 0) else {
            return (b"?".to_vec(), false);
        };
        match frame.name() {
            Some(name) => (name.name, name.kind == "method"),
            None => (
                self.global_name(frame.function()).unwrap_or(b"?".to_vec()),
                false,
            ),
        }
    }

    /// The type name for messages: a table's or userdata's metatable may give one in `__name`.
    pub fn type_name_of(&self, v: Value) -> Vec<u8> {
        let metatable = match v.tag() {
            Tag::TABLE | Tag::USERDATA => self.rt.metatable(v),
            _ => None,
        };
        let name = metatable.and_then(|m| {
            self.rt
                .get_str(m, self.rt.events[Event::Name as usize])
                .as_string()
        });
        name.map_or(v.tag().type_name().as_bytes(), |s| c_string(s.as_bytes()))
            .to_vec()
    }
}
