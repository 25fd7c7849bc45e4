//! Indexing with computed keys.

use perilune_uops::{MicroOp, Type};

use super::super::superblock::*;
use super::{Flow, Projector, type_of_tag};
use crate::bytecode::{Instr, Op};
use crate::runtime::array::ArrayKind;
use crate::runtime::metatable::Event;
use crate::runtime::value::Tag;
use crate::tier1::recording::facts;

impl Projector<'_> {
    /// `R[a] = R[b][key]`.
    pub(super) fn get_index(&mut self, instr: Instr, key: Ref) -> Flow {
        let table = self.read(self.register(instr.b()));
        let step = *self.step();
        if step.tags[1] != Tag::TABLE.byte() || !self.stays() {
            return self.general(instr);
        }
        let dest = self.register(instr.a());
        if step.facts & facts::IN_ARRAY != 0 && !(self.cautious && step.facts & facts::INTEGRAL != 0) {
            let t = self.guard_type(table, Type::Table);
            let i = self.integer_key(key);
            self.emit(MicroOp::GUARD_IN_ARRAY, &[t, i], &[]);
            let uniform = match ArrayKind(step.array_kind) {
                ArrayKind::INT => Some(MicroOp::LOAD_ELEMENT_I),
                ArrayKind::FLOAT => Some(MicroOp::LOAD_ELEMENT_F),
                _ => None,
            };
            let v = match uniform.filter(|_| !self.cautious) {
                Some(load) => {
                    self.emit(MicroOp::GUARD_ARRAY_KIND, &[t], &[step.array_kind as u64]);
                    self.emit(load, &[t, i], &[])
                }
                None => {
                    let v = self.emit(MicroOp::LOAD_ELEMENT, &[t, i], &[]);
                    self.emit(MicroOp::GUARD_FOUND_IN, &[t, v], &[]);
                    v
                }
            };
            self.write(dest, v);
            return self.goes_on();
        }
        if step.facts & facts::NO_METATABLE == 0 && self.cautious {
            return self.general(instr);
        }
        let t = self.guard_type(table, Type::Table);
        let key = self.typed_key(instr, key);
        let v = self.emit(MicroOp::RAW_GET, &[t, key], &[]);
        self.emit(MicroOp::GUARD_FOUND_IN, &[t, v], &[]);
        self.write(dest, v);
        self.goes_on()
    }

    /// The key of a get with the type that was recorded, if that makes the access cheaper.
    fn typed_key(&mut self, instr: Instr, key: Ref) -> Ref {
        let tag = if instr.op().general() == Op::GETINDEX { self.step().tags[2] } else { Tag::INT.byte() };
        match type_of_tag(tag) {
            Some(ty @ (Type::Int | Type::String | Type::Table)) if !self.cautious => self.guard_type(key, ty),
            Some(Type::Float) if self.step().facts & facts::INTEGRAL != 0 && !self.cautious => self.integer_key(key),
            _ => key,
        }
    }

    /// A key that was recorded to be an integer, or a float equal to one, as an integer.
    fn integer_key(&mut self, key: Ref) -> Ref {
        if self.step().facts & facts::INTEGRAL == 0 {
            return self.guard_type(key, Type::Int);
        }
        let key = self.guard_type(key, Type::Float);
        self.emit(MicroOp::FLOAT_TO_INT, &[key], &[])
    }

    /// A store over an element of an array without nil, which goes on holding what it holds.
    fn replace_element(&mut self, table: Ref, key: Ref, v: Ref) -> Option<()> {
        let step = *self.step();
        let kind = ArrayKind(step.array_kind);
        // What the value is, it must be known to be before anything has happened.
        let nil = self.sb.node(v).op == MicroOp::CONST_NIL;
        let known = Some(self.sb.type_of(v)).filter(|ty| *ty != Type::Tagged);
        let wanted = match kind {
            ArrayKind::PACKED if !nil => None,
            ArrayKind::INT => Some(Type::Int),
            ArrayKind::FLOAT => Some(Type::Float),
            _ => return None,
        };
        let fits = match (known, wanted) {
            (Some(known), Some(wanted)) => known == wanted,
            // An array of numbers rarely gets another one than it holds.
            (None, Some(_)) => !nil,
            (_, None) => true,
        };
        if !fits {
            return None;
        }
        let t = self.guard_type(table, Type::Table);
        let i = self.integer_key(key);
        self.emit(MicroOp::GUARD_ARRAY_KIND, &[t], &[step.array_kind as u64]);
        self.emit(MicroOp::GUARD_IN_ARRAY, &[t, i], &[]);
        let v = match wanted {
            Some(ty) => self.guard_type(v, ty),
            None => {
                if known.is_none() {
                    self.emit(MicroOp::GUARD_NOT_NIL, &[v], &[]);
                }
                v
            }
        };
        self.emit(MicroOp::REPLACE_ELEMENT, &[t, i, v], &[]);
        self.emit(MicroOp::BARRIER, &[t], &[]);
        Some(())
    }

    /// `R[a][key] = v`.
    pub(super) fn set_index(&mut self, instr: Instr, key: Ref, v: Ref) -> Flow {
        let table = self.read(self.register(instr.a()));
        let step = *self.step();
        if step.tags[0] != Tag::TABLE.byte() || !self.stays() {
            return self.general(instr);
        }
        // What a table does when it loses an element is the runtime's business.
        let removes = self.sb.node(v).op == MicroOp::CONST_NIL
            || self.sb.type_of(v) == Type::Tagged && self.stored_tag(instr) == Some(Tag::NIL.byte());
        let puts = step.facts & (facts::IN_ARRAY | facts::APPENDS) != 0 && !removes && !self.cautious;
        if puts && step.facts & facts::IN_ARRAY != 0 && self.replace_element(table, key, v).is_some() {
            return self.goes_on();
        }
        if puts {
            let t = self.guard_type(table, Type::Table);
            let i = self.integer_key(key);
            // A metatable has to be asked about what is absent only.
            let plain = step.facts & (facts::NO_METATABLE | facts::IN_ARRAY) != 0;
            let guard = if !plain && self.plain_table(t, &[Event::NewIndex]).is_some() {
                MicroOp::GUARD_RAW_STORABLE
            } else {
                MicroOp::GUARD_STORABLE
            };
            self.emit(guard, &[t, i, v], &[]);
            self.emit(MicroOp::STORE_ELEMENT, &[t, i, v], &[]);
            self.emit(MicroOp::BARRIER, &[t], &[]);
            return self.goes_on();
        }
        let Some(t) = self.plain_table(table, &[Event::NewIndex]) else {
            return self.general(instr);
        };
        let is_int = instr.op().general() != Op::SETINT && step.tags[1] == Tag::INT.byte();
        let key = if is_int && !self.cautious { self.guard_type(key, Type::Int) } else { key };
        self.emit(MicroOp::RAW_SET, &[t, key, v], &[]);
        // What is assumed of tables is about their fields.
        self.unsettled = self.sb.type_of(key) != Type::Int;
        self.goes_on()
    }

    /// The recorded tag of the value that is stored.
    fn stored_tag(&self, instr: Instr) -> Option<u8> {
        match instr.op().general() {
            Op::SETINDEX => Some(self.step().tags[2]),
            Op::SETINT => Some(self.step().tags[1]),
            _ => None,
        }
    }
}
