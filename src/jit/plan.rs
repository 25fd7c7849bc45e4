//! The plan of a superblock's code: which nodes become one with others, and which values have to be kept.
//!
//! A node makes up to two *parts*: the payload, and the tag if the value is tagged. A part is a *value* of its own, a constant,
//! or the same as a part of an earlier node: a guard for a type makes nothing, its output is the payload of its input. A node
//! whose result only the next node wants may be *sunk* into it.
//!
//! Nothing here knows the machine. Constants are values only while they are in a place that patches must not look into,
//! so [`Part::Const`] is all that is said of them.

use perilune_uops::{MicroOp, Type};

use super::addresses::Addresses;
use super::allocation::Place;
use crate::bytecode::proto::{Proto, proto_flags};
use crate::runtime::object::Gc;
use crate::runtime::value::Tag;
use crate::tier2::superblock::{Node, ObjectId, ObjectKind, Ref, Superblock};
use crate::tier2::uop::pointer_tag;

/// The kind of register that a value needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    General,
    Float,
}

/// A part of what a node makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    None,
    Const(u64),
    /// By [`Plan::value`].
    Value(u32),
}

/// Where the parts of a value are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Located {
    pub ty: Type,
    /// Payload and, of a tagged one, tag.
    pub places: [Place; 2],
}

/// What code needs to know of a function that it calls or returns from. Of live prototypes none of that changes.
pub struct Prototype {
    pub params: u32,
    pub registers: u32,
    /// Whether it takes extra arguments.
    pub is_vararg: bool,
    /// The address of the place at the function's entry.
    pub entry: u64,
    proto: Gc<Proto>,
}

impl Prototype {
    fn new(proto: Gc<Proto>) -> Prototype {
        Prototype {
            params: proto.params as u32,
            registers: proto.registers,
            is_vararg: proto.flags & proto_flags::VARARG != 0,
            entry: &raw const proto.entry as u64,
            proto,
        }
    }

    /// The address of an instruction.
    pub fn code_at(&self, pc: u32) -> u64 {
        debug_assert!((pc as usize) <= self.proto.info.code.len());
        self.proto.code.wrapping_add(pc as usize) as u64
    }

    /// The address of the place behind a call.
    pub fn returns_at(&self, site: u32) -> u64 {
        &raw const self.proto.info.calls[site as usize].returns as u64
    }

    /// The address of the place at a loop's head.
    pub fn loop_at(&self, site: u32) -> u64 {
        &raw const self.proto.info.loops[site as usize] as u64
    }

    /// The results that a call instruction wants.
    pub fn wanted_at(&self, pc: u32) -> i16 {
        self.proto.info.code[pc as usize].c() as i16 - 1
    }
}

/// See the module's documentation.
pub struct Plan<'a> {
    pub sb: &'a Superblock,
    pub params: &'a [Located],
    /// How often the value of each node is used.
    pub uses: Vec<u32>,
    /// The node into which this one has been sunk.
    pub sunk: Vec<Option<u32>>,
    /// The node that has been sunk into this one.
    pub with: Vec<Option<u32>>,
    pub parts: Vec<[Part; 2]>,
    pub addresses: Addresses,
}

impl<'a> Plan<'a> {
    pub fn new(sb: &'a Superblock, params: &'a [Located]) -> Plan<'a> {
        let n = sb.nodes.len();
        let mut plan = Plan {
            sb,
            params,
            uses: vec![0; n],
            sunk: vec![None; n],
            with: vec![None; n],
            parts: vec![[Part::None; 2]; n],
            addresses: Addresses::new(sb),
        };
        plan.count_uses();
        for i in 0..n {
            if let Some(first) = plan.partner(i) {
                plan.sunk[first] = Some(i as u32);
                plan.with[i] = Some(first as u32);
            }
        }
        for i in 0..n {
            if plan.sunk[i].is_none() && !plan.is_dead(i) {
                plan.parts[i] = plan.parts_of(i);
            }
        }
        plan
    }

    /// What is to be known of a prototype among the superblock's objects, which are alive.
    pub fn prototype(&self, id: ObjectId) -> Prototype {
        let object = self.sb.object(id);
        debug_assert_eq!(object.kind, ObjectKind::Proto);
        Prototype::new(Gc::from_addr(object.addr))
    }

    /// The name of a part of a node as a value of its own.
    pub fn value(node: usize, part: usize) -> u32 {
        (2 * node + part) as u32
    }

    /// The name of a derived value as a value of its own.
    pub fn derived(&self, i: u32) -> u32 {
        2 * self.sb.nodes.len() as u32 + i
    }

    /// The node that makes a value, or before which it is made, and which part of it that is.
    pub fn maker(&self, value: u32) -> (usize, usize) {
        match value.checked_sub(self.derived(0)) {
            Some(i) => (self.addresses.derived[i as usize].at as usize - 1, 1),
            None => (value as usize / 2, value as usize % 2),
        }
    }

    pub fn class(&self, value: u32) -> Class {
        let (node, part) = self.maker(value);
        if part == 0 && self.sb.nodes[node].ty == Some(Type::Float) {
            Class::Float
        } else {
            Class::General
        }
    }

    pub fn head(&self) -> Option<usize> {
        self.sb.looping.as_ref().map(|l| l.head.index())
    }

    pub fn back(&self) -> &'a [Ref] {
        self.sb.looping.as_ref().map_or(&[], |l| &l.back)
    }

    /// What node `i` computes with: its inputs, unless derived values take their places.
    pub fn inputs(&self, i: usize) -> impl Iterator<Item = Ref> + use<'a> {
        let inputs = self.addresses.inputs(i, &self.sb.nodes[i]);
        inputs.into_iter().flatten()
    }

    /// What node `i` leaves with: the values of its snapshot.
    pub fn leaves_with(&self, i: usize) -> impl Iterator<Item = Ref> + use<'a> {
        let exit = self.sb.nodes[i].exit;
        let slots = if exit.is_none() {
            &[]
        } else {
            self.sb.values_of(exit)
        };
        slots.iter().map(|s| s.1)
    }

    /// Everything that node `i` uses but derived values.
    pub fn used_by(&self, i: usize) -> impl Iterator<Item = Ref> + use<'a> {
        self.inputs(i).chain(self.leaves_with(i))
    }

    /// Whether no code is made for a node.
    pub fn is_dead(&self, i: usize) -> bool {
        self.uses[i] == 0 && !self.sb.nodes[i].is_anchored()
    }

    /// Where code for a node is made.
    pub fn place(&self, mut i: usize) -> usize {
        while let Some(at) = self.sunk[i] {
            i = at as usize;
        }
        i
    }

    /// Whether the node behind guard `i` counts a number down by one that the guard lets go on unless it is 0: one instruction does both
    /// if they are in one place and the exit does not need the number.
    pub fn counts_down(&self, i: usize) -> bool {
        let constant = |r: Ref, value: u64| {
            let node = self.sb.node(r);
            node.op == MicroOp::CONST_INT && node.operands[0] == value
        };
        let (Some(test), Some(next)) = (self.with[i], self.sb.nodes.get(i + 1)) else {
            return false;
        };
        let test = &self.sb.nodes[test as usize];
        let [x, zero, _] = test.inputs;
        self.sb.nodes[i].op == MicroOp::GUARD_FALSE
            && test.op == MicroOp::EQ_I
            && constant(zero, 0)
            && next.op == MicroOp::SUB_I
            && next.inputs[0] == x
            && constant(next.inputs[1], 1)
            && !self
                .leaves_with(i)
                .any(|r| self.parts[r.index()][0] == self.parts[x.index()][0])
    }

    fn count_uses(&mut self) {
        for i in 0..self.sb.nodes.len() {
            for r in self.used_by(i) {
                self.uses[r.index()] += 1;
            }
        }
        for derived in &self.addresses.derived {
            self.uses[derived.common.operand().index()] += 1;
        }
        for r in self.back() {
            self.uses[r.index()] += 1;
        }
    }

    /// The node that is sunk into node `i`.
    fn partner(&self, i: usize) -> Option<usize> {
        use MicroOp::*;
        let node = &self.sb.nodes[i];
        if self.is_dead(i) {
            return None;
        }
        let operand = match node.op {
            ADD_F | SUB_F | MUL_F | DIV_F => 1,
            _ => 0,
        };
        let first = node.inputs().get(operand)?.index();
        let source = &self.sb.nodes[first];
        let only_use = self.uses[first] == 1 && self.sunk[first].is_none();
        let same_side = self.head().is_none_or(|head| (first < head) == (i < head));
        let tagged = |source: &Node| self.sb.type_of(source.inputs[0]) == Type::Tagged;
        let fits = match node.op {
            GUARD_TRUE | GUARD_FALSE => match source.op {
                EQ_I | LT_I | LE_I | LT_U | EQ_F | LT_F | LE_F | SAME | FOR_GOES_ON => true,
                TRUTH | IS_NIL => tagged(source),
                // What it reads may change in between.
                TEST_ELEMENT => first + 1 == i,
                _ => false,
            },
            // An operand in memory.
            ADD_F | SUB_F | MUL_F | DIV_F => first + 1 == i && source.op == LOAD_ELEMENT_F,
            op if guarded_type(op).is_some() => {
                let loads = matches!(
                    source.op,
                    LOAD | LOAD_INLINE | LOAD_OVERFLOW | LOAD_HOLDER | LOAD_ELEMENT | LOAD_CELL
                );
                first + 1 == i && loads && source.ty == Some(Type::Tagged)
            }
            _ => false,
        };
        (fits && only_use && same_side).then_some(first)
    }

    fn parts_of(&self, i: usize) -> [Part; 2] {
        use MicroOp::*;
        let node = &self.sb.nodes[i];
        let own = Part::Value(Plan::value(i, 0));
        let own_tag = Part::Value(Plan::value(i, 1));
        let own = match node.ty {
            None => return [Part::None; 2],
            Some(Type::Tagged) => [own, own_tag],
            Some(_) => [own, Part::None],
        };
        let input_type = |k: usize| self.sb.type_of(node.inputs[k]);
        let input = |k: usize| self.parts[node.inputs[k].index()];
        match node.op {
            // Made when control leaves.
            VIRTUAL_TABLE | VIRTUAL_CLOSURE | VIRTUAL_CELL => [Part::None; 2],
            CONST_NIL => [Part::Const(0), Part::Const(Tag::NIL.byte() as u64)],
            CONST_INT | CONST_FLOAT | CONST_BOOL => [Part::Const(node.operands[0]), Part::None],
            CONST_TABLE | CONST_STRING | CONST_CLOSURE | CONST_NATIVE | CONST_CELL
            | CONST_USERDATA | CONST_COROUTINE => [
                Part::Const(self.sb.object(ObjectId(node.operands[0] as u32)).addr),
                Part::None,
            ],
            PARAM => {
                let incoming = &self.params[node.operands[0] as usize];
                let part = |k: usize| match incoming.places[k] {
                    Place::Const(bits) => Part::Const(bits),
                    _ => own[k],
                };
                match (node.ty, incoming.ty) {
                    (Some(Type::Tagged), Type::Tagged) => [part(0), part(1)],
                    (Some(Type::Tagged), Type::Bool) => match incoming.places[0] {
                        Place::Const(bits) => [Part::Const(0), Part::Const(bool_tag(bits))],
                        _ => [Part::Const(0), own[1]],
                    },
                    (Some(Type::Tagged), ty) => [part(0), Part::Const(tag_of(ty))],
                    _ => [part(0), Part::None],
                }
            }
            TAG => match input_type(0) {
                Type::Tagged => input(0),
                Type::Bool => match input(0)[0] {
                    Part::Const(bits) => [Part::Const(0), Part::Const(bool_tag(bits))],
                    _ => [Part::Const(0), own[1]],
                },
                ty => [input(0)[0], Part::Const(tag_of(ty))],
            },
            TRUTH => match input_type(0) {
                Type::Tagged => own,
                Type::Bool => input(0),
                _ => [Part::Const(1), Part::None],
            },
            IS_NIL => match input_type(0) {
                Type::Tagged => own,
                _ => [Part::Const(0), Part::None],
            },
            GUARD_NUMBER if input_type(0) == Type::Float => input(0),
            GUARD_BOOL if input_type(0) == Type::Bool => input(0),
            // A load is made by the guard itself.
            op if let Some(ty) = guarded_type(op)
                && self.with[i].is_none() =>
            {
                let payload = input(0)[0];
                let same_class = match payload {
                    Part::Value(v) => (self.class(v) == Class::Float) == (ty == Type::Float),
                    _ => true,
                };
                let known = input_type(0);
                if (known == Type::Tagged || known == ty) && same_class {
                    [payload, Part::None]
                } else {
                    own
                }
            }
            _ => own,
        }
    }
}

/// The type that a guard makes sure of, if values of it have one tag.
pub fn guarded_type(op: MicroOp) -> Option<Type> {
    use MicroOp::*;
    Some(match op {
        GUARD_INT => Type::Int,
        GUARD_FLOAT => Type::Float,
        GUARD_STRING => Type::String,
        GUARD_TABLE => Type::Table,
        GUARD_CLOSURE => Type::Closure,
        GUARD_NATIVE => Type::Native,
        GUARD_CELL => Type::Cell,
        GUARD_USERDATA => Type::Userdata,
        GUARD_COROUTINE => Type::Coroutine,
        _ => return None,
    })
}

/// The tag of values of a type that have one.
pub fn tag_of(ty: Type) -> u64 {
    pointer_tag(ty)
        .expect("booleans and tagged values have several tags")
        .byte() as u64
}

/// The tag of a boolean.
pub fn bool_tag(bits: u64) -> u64 {
    (if bits != 0 { Tag::TRUE } else { Tag::FALSE }).byte() as u64
}
