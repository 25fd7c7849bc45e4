//! Intrinsics: library functions whose calls become micro-ops.
//!
//! What a function does with arguments of the types that were recorded is said here as it is in its implementation in
//! [`stdlib`](crate::stdlib), which is the definition. Arguments for which that is not enough, errors among them, fail a guard, and
//! tier 1 makes the call.

use perilune_uops::{FloatFunction, MicroOp, Type};
use smallvec::{SmallVec, smallvec};

use super::super::superblock::*;
use super::{Projector, type_of_tag};
use crate::runtime::array::ArrayKind;
use crate::runtime::assumption::Assumption;
use crate::runtime::class::ClassId;
use crate::runtime::function::Native;
use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::value::Tag;
use crate::stdlib;
use crate::tier1::Builtin;
use crate::tier1::recording::facts;

/// The most arguments among which one is selected by comparing.
const SELECTED_MAX: usize = 8;

/// What a call gives.
type Results = SmallVec<[Ref; 4]>;

/// The call of a known function.
#[derive(Clone, Copy)]
struct Call {
    native: Gc<Native>,
    /// The slot of the first argument.
    first: Slot,
    nargs: usize,
    wanted: i16,
}

impl Projector<'_> {
    /// The results of calling `native` in register `func`, if that can be said in micro-ops.
    pub(super) fn intrinsic(
        &mut self,
        native: Gc<Native>,
        func: usize,
        nargs: usize,
        wanted: i16,
    ) -> Option<Results> {
        // Where a guard has failed only what the recorded types decide is tried again.
        let by_type = matches!(
            native.builtin,
            Builtin::Type | Builtin::MathType | Builtin::Assert | Builtin::Ipairs | Builtin::Select
        );
        if matches!(native.builtin, Builtin::Other | Builtin::Leaf) || self.cautious && !by_type {
            return None;
        }
        let call = Call { native, first: self.register(func) + 1, nargs, wanted };
        let callee = self.read(call.first - 1);
        self.guard_native(callee, native);
        self.known_call(call)
    }

    /// Makes sure that `f` is this host function.
    pub(super) fn guard_native(&mut self, f: Ref, native: Gc<Native>) {
        if self.constant_object(f).is_none() {
            let id = self.object(ObjectKind::Native, native.addr());
            self.emit(MicroOp::GUARD_OBJECT, &[f], &[id.0 as u64]);
        }
    }

    fn known_call(&mut self, call: Call) -> Option<Results> {
        match call.native.builtin {
            Builtin::Other | Builtin::Leaf | Builtin::Host | Builtin::IpairsStep | Builtin::TableRemove => None,
            Builtin::Pcall | Builtin::CoroutineResume | Builtin::CoroutineWrapped | Builtin::CoroutineYield => None,

            Builtin::MathAbs => match self.argument_type(call, 0)? {
                Type::Int => self.unary(call, Type::Int, MicroOp::ABS_I),
                Type::Float => self.unary(call, Type::Float, MicroOp::ABS_F),
                _ => None,
            },
            Builtin::MathSqrt => {
                let x = self.float_argument(call, 0)?;
                one(self.emit(MicroOp::SQRT_F, &[x], &[]))
            }
            Builtin::MathAcos => self.float_function(call, FloatFunction::Acos),
            Builtin::MathAsin => self.float_function(call, FloatFunction::Asin),
            Builtin::MathCos => self.float_function(call, FloatFunction::Cos),
            Builtin::MathExp => self.float_function(call, FloatFunction::Exp),
            Builtin::MathSin => self.float_function(call, FloatFunction::Sin),
            Builtin::MathTan => self.float_function(call, FloatFunction::Tan),
            Builtin::MathAtan => {
                let y = self.float_argument(call, 0)?;
                let x = if call.nargs < 2 { self.sb.push(Node::float(1.0)) } else { self.float_argument(call, 1)? };
                one(self.call_function(FloatFunction::Atan, &[y, x]))
            }
            Builtin::MathLog if call.nargs < 2 => self.float_function(call, FloatFunction::Log),
            Builtin::MathLog => {
                let (x, base) = (self.float_argument(call, 0)?, self.float_argument(call, 1)?);
                one(self.call_function(FloatFunction::LogTo, &[x, base]))
            }
            Builtin::MathFmod => {
                let types = [self.argument_type(call, 0)?, self.argument_type(call, 1)?];
                if types == [Type::Int; 2] {
                    return None;
                }
                let (x, y) = (self.float_argument(call, 0)?, self.float_argument(call, 1)?);
                one(self.call_function(FloatFunction::Fmod, &[x, y]))
            }
            Builtin::MathDeg => self.scaled(call, stdlib::DEGREES),
            Builtin::MathRad => self.scaled(call, stdlib::RADIANS),
            Builtin::MathRandom => self.random(call),
            Builtin::MathFloor => self.rounded(call, MicroOp::FLOOR_F),
            Builtin::MathCeil => self.rounded(call, MicroOp::CEIL_F),
            Builtin::MathMax => self.extreme(call, MicroOp::MAX_I, MicroOp::MAX_F),
            Builtin::MathMin => self.extreme(call, MicroOp::MIN_I, MicroOp::MIN_F),
            Builtin::MathToInteger => match self.argument_type(call, 0)? {
                Type::Int => one(self.argument(call, 0, Type::Int)?),
                Type::Float => self.unary(call, Type::Float, MicroOp::FLOAT_TO_INT),
                _ => None,
            },
            Builtin::MathUlt => {
                let (x, y) = (self.argument(call, 0, Type::Int)?, self.argument(call, 1, Type::Int)?);
                one(self.emit(MicroOp::LT_U, &[x, y], &[]))
            }
            Builtin::MathType => {
                let ty = self.argument_type(call, 0)?;
                self.argument(call, 0, ty)?;
                one(match ty {
                    Type::Int => self.constant(call.native.upvalue(0))?,
                    Type::Float => self.constant(call.native.upvalue(1))?,
                    _ => self.sb.push(Node::nil()),
                })
            }

            Builtin::Type => {
                let tag = self.argument_tag(call, 0)?;
                match type_of_tag(tag.byte()) {
                    Some(ty) => {
                        self.argument(call, 0, ty)?;
                    }
                    None if tag == Tag::NIL => self.guard_nil(call, 0),
                    None => return None,
                }
                one(self.constant(call.native.upvalue(tag.byte() as usize))?)
            }
            Builtin::Assert => self.asserted(call),
            Builtin::Select => self.selected(call),
            Builtin::ToString => one(self.argument(call, 0, Type::String)?),
            Builtin::ToNumber if call.nargs == 1 => match self.argument_type(call, 0)? {
                ty @ (Type::Int | Type::Float) => one(self.argument(call, 0, ty)?),
                _ => None,
            },
            Builtin::ToNumber => None,

            Builtin::RawEqual if call.nargs >= 2 => {
                let (x, y) = (self.read(call.first), self.read(call.first + 1));
                one(self.emit(MicroOp::RAW_EQ, &[x, y], &[]))
            }
            Builtin::RawGet if call.nargs >= 2 => {
                let t = self.argument(call, 0, Type::Table)?;
                let key = self.key_argument(call, 1);
                if let Some(v) = self.raw_field(t, key) {
                    return one(v);
                }
                one(self.emit(MicroOp::RAW_GET, &[t, key], &[]))
            }
            Builtin::RawSet if call.nargs >= 3 => {
                let t = self.argument(call, 0, Type::Table)?;
                let key = self.key_argument(call, 1);
                let v = self.read(call.first + 2);
                if self.raw_store(t, key, v).is_some() {
                    return one(t);
                }
                self.emit(MicroOp::RAW_SET, &[t, key, v], &[]);
                self.unsettled = true;
                one(t)
            }
            Builtin::RawEqual | Builtin::RawGet | Builtin::RawSet => None,
            Builtin::RawLen => match self.argument_type(call, 0)? {
                Type::Table => self.unary(call, Type::Table, MicroOp::LENGTH_T),
                Type::String => self.unary(call, Type::String, MicroOp::LENGTH_S),
                _ => None,
            },
            Builtin::Next => self.next_entry(call),
            Builtin::Pairs => {
                let t = self.argument(call, 0, Type::Table)?;
                if self.step().facts & facts::NO_METATABLE == 0 {
                    return None;
                }
                self.emit(MicroOp::GUARD_NO_METATABLE, &[t], &[]);
                let next = self.constant(call.native.upvalue(0))?;
                let nil = self.sb.push(Node::nil());
                Some(smallvec![next, t, nil])
            }
            Builtin::Ipairs if call.nargs >= 1 => {
                let step = self.constant(call.native.upvalue(0))?;
                let zero = self.sb.push(Node::int(0));
                Some(smallvec![step, self.read(call.first), zero])
            }
            Builtin::Ipairs => None,
            Builtin::SetMetatable => self.with_metatable(call),
            Builtin::TableInsert => self.appended(call),

            Builtin::StringLen => self.unary(call, Type::String, MicroOp::LENGTH_S),
            Builtin::StringByte if call.nargs <= 2 => {
                let s = self.argument(call, 0, Type::String)?;
                let i = self.argument_or(call, 1, 1)?;
                one(self.emit(MicroOp::LOAD_BYTE, &[s, i], &[]))
            }
            Builtin::StringByte => None,
            Builtin::StringSub if call.nargs >= 2 => {
                let s = self.argument(call, 0, Type::String)?;
                let from = self.argument(call, 1, Type::Int)?;
                let to = self.argument_or(call, 2, -1)?;
                one(self.emit(MicroOp::SUBSTRING, &[s, from, to], &[]))
            }
            Builtin::StringSub => None,
            Builtin::StringChar if call.nargs == 1 => self.unary(call, Type::Int, MicroOp::BYTE_STRING),
            Builtin::StringChar => None,
        }
    }

    // Arguments.

    /// The tag that argument `i` has or had when it was recorded; `false` stands for both booleans.
    fn argument_tag(&self, call: Call, i: usize) -> Option<Tag> {
        if i >= call.nargs {
            return None;
        }
        let known = self.slots[call.first as usize + i].value;
        if !known.is_none() {
            let node = self.sb.node(known);
            let tag = match self.sb.type_of(known) {
                Type::Int => Some(Tag::INT),
                Type::Float => Some(Tag::FLOAT),
                Type::Bool => Some(Tag::FALSE),
                Type::Table => Some(Tag::TABLE),
                Type::String => Some(Tag::STRING),
                Type::Closure => Some(Tag::CLOSURE),
                Type::Native => Some(Tag::NATIVE),
                Type::Userdata => Some(Tag::USERDATA),
                Type::Coroutine => Some(Tag::COROUTINE),
                _ if node.op == MicroOp::CONST_NIL => Some(Tag::NIL),
                _ => None,
            };
            if tag.is_some() {
                return tag;
            }
        }
        self.step().tags.get(i + 1).map(|tag| Tag::from_byte(*tag))
    }

    fn argument_type(&self, call: Call, i: usize) -> Option<Type> {
        type_of_tag(self.argument_tag(call, i)?.byte())
    }

    /// Argument `i`, guarded to be of type `ty`, if it is one.
    fn argument(&mut self, call: Call, i: usize, ty: Type) -> Option<Ref> {
        if self.argument_type(call, i)? != ty {
            return None;
        }
        let x = self.read(call.first + i as Slot);
        Some(self.guard_type(x, ty))
    }

    /// Argument `i`, an integer, or a default if there is no such argument.
    fn argument_or(&mut self, call: Call, i: usize, default: i64) -> Option<Ref> {
        if i < call.nargs { self.argument(call, i, Type::Int) } else { Some(self.sb.push(Node::int(default))) }
    }

    /// Argument `i`, a number, as a float.
    fn float_argument(&mut self, call: Call, i: usize) -> Option<Ref> {
        match self.argument_type(call, i)? {
            Type::Float => self.argument(call, i, Type::Float),
            Type::Int => {
                let x = self.argument(call, i, Type::Int)?;
                Some(self.emit(MicroOp::INT_TO_FLOAT, &[x], &[]))
            }
            _ => None,
        }
    }

    /// Argument `i`, a table's key, with its type if that makes the access cheaper.
    fn key_argument(&mut self, call: Call, i: usize) -> Ref {
        let x = self.read(call.first + i as Slot);
        match self.argument_type(call, i) {
            Some(ty @ (Type::Int | Type::String | Type::Table)) => self.guard_type(x, ty),
            _ => x,
        }
    }

    /// Makes sure that argument `i` is nil.
    fn guard_nil(&mut self, call: Call, i: usize) {
        let x = self.read(call.first + i as Slot);
        if self.sb.node(x).op != MicroOp::CONST_NIL {
            self.emit(MicroOp::GUARD_NIL, &[x], &[]);
        }
    }

    /// `op` of the first argument, which is of type `ty`.
    fn unary(&mut self, call: Call, ty: Type, op: MicroOp) -> Option<Results> {
        let x = self.argument(call, 0, ty)?;
        one(self.emit(op, &[x], &[]))
    }

    // Functions.

    /// `math.floor` and `math.ceil`.
    fn rounded(&mut self, call: Call, op: MicroOp) -> Option<Results> {
        match self.argument_type(call, 0)? {
            Type::Int => one(self.argument(call, 0, Type::Int)?),
            Type::Float => {
                let x = self.argument(call, 0, Type::Float)?;
                let rounded = self.emit(op, &[x], &[]);
                // Out of the range of integers it would be a float.
                one(self.emit(MicroOp::FLOAT_TO_INT, &[rounded], &[]))
            }
            _ => None,
        }
    }

    fn call_function(&mut self, function: FloatFunction, inputs: &[Ref]) -> Ref {
        let op = if inputs.len() == 1 { MicroOp::CALL_F } else { MicroOp::CALL_FF };
        self.emit(op, inputs, &[function as u64])
    }

    /// A function of one float.
    fn float_function(&mut self, call: Call, function: FloatFunction) -> Option<Results> {
        let x = self.float_argument(call, 0)?;
        one(self.call_function(function, &[x]))
    }

    /// The argument, a number, times a constant.
    fn scaled(&mut self, call: Call, factor: f64) -> Option<Results> {
        let x = self.float_argument(call, 0)?;
        let factor = self.sb.push(Node::float(factor));
        one(self.emit(MicroOp::MUL_F, &[x, factor], &[]))
    }

    /// `math.random`, if there are numbers in the interval.
    fn random(&mut self, call: Call) -> Option<Results> {
        let (low, high) = match call.nargs {
            0 => return one(self.emit(MicroOp::RANDOM_F, &[], &[])),
            1 => (self.sb.push(Node::int(1)), self.argument(call, 0, Type::Int)?),
            2 => (self.argument(call, 0, Type::Int)?, self.argument(call, 1, Type::Int)?),
            _ => return None,
        };
        let any = self.emit(MicroOp::LE_I, &[low, high], &[]);
        self.emit(MicroOp::GUARD_TRUE, &[any], &[]);
        one(self.emit(MicroOp::RANDOM_I, &[low, high], &[]))
    }

    /// `math.max` and `math.min` of numbers.
    fn extreme(&mut self, call: Call, of_ints: MicroOp, of_floats: MicroOp) -> Option<Results> {
        let types: Option<SmallVec<[Type; 4]>> = (0..call.nargs).map(|i| self.argument_type(call, i)).collect();
        let types = types?;
        let &ty = types.first()?;
        if types.iter().any(|ty| !matches!(ty, Type::Int | Type::Float)) {
            return None;
        }
        let op = match ty {
            Type::Int => of_ints,
            _ => of_floats,
        };
        let mut best = self.argument(call, 0, ty)?;
        if types.iter().any(|other| *other != ty) {
            return self.mixed_extreme(call, &types, best, of_floats == MicroOp::MAX_F);
        }
        for i in 1..call.nargs {
            let x = self.argument(call, i, ty)?;
            best = self.emit(op, &[best, x], &[]);
        }
        one(best)
    }

    /// The same of integers and floats: these are compared, and the argument that is better than the ones before is taken as it is.
    fn mixed_extreme(&mut self, call: Call, types: &[Type], first: Ref, greatest: bool) -> Option<Results> {
        let mut best = first;
        let mut best_float = self.exact_float(best);
        for (i, &ty) in types.iter().enumerate().skip(1) {
            let x = self.argument(call, i, ty)?;
            let float = self.exact_float(x);
            let inputs = if greatest { [best_float, float] } else { [float, best_float] };
            let better = self.emit(MicroOp::LT_F, &inputs, &[]);
            best = self.emit(MicroOp::SELECT, &[better, x, best], &[]);
            best_float = self.emit(MicroOp::SELECT_F, &[better, float, best_float], &[]);
        }
        one(best)
    }

    /// A number as a float that compares as it does.
    pub(super) fn exact_float(&mut self, x: Ref) -> Ref {
        match self.sb.type_of(x) {
            Type::Int => self.emit(MicroOp::EXACT_FLOAT, &[x], &[]),
            _ => x,
        }
    }

    /// `assert` that holds.
    fn asserted(&mut self, call: Call) -> Option<Results> {
        if matches!(self.argument_tag(call, 0)?, Tag::NIL) || self.step().tags[1] == Tag::FALSE.byte() {
            return None;
        }
        let x = self.read(call.first);
        if matches!(self.sb.type_of(x), Type::Tagged | Type::Bool) {
            let holds = self.emit(MicroOp::TRUTH, &[x], &[]);
            self.emit(MicroOp::GUARD_TRUE, &[holds], &[]);
        }
        Some((0..call.nargs as Slot).map(|i| self.read(call.first + i)).collect())
    }

    /// `select` with a constant as its first argument.
    fn selected(&mut self, call: Call) -> Option<Results> {
        if call.nargs == 0 {
            return None;
        }
        let selector = self.read(call.first);
        let node = *self.sb.node(selector);
        let count = call.nargs as i64;
        if let Some(Object { kind: ObjectKind::String, addr }) = self.constant_object(selector) {
            let text: Gc<crate::runtime::string::Str> = Gc::from_addr(addr);
            let counts = text.as_bytes().first() == Some(&b'#');
            return if counts { one(self.sb.push(Node::int(count - 1))) } else { None };
        }
        if node.op != MicroOp::CONST_INT {
            return self.selected_extra(call, selector);
        }
        let n = node.operands[0] as i64;
        let first = if n < 0 { count.saturating_add(n) } else { n.min(count) };
        if first < 1 {
            return None;
        }
        Some((first..count).map(|i| self.read(call.first + i as Slot)).collect())
    }

    /// One of the other arguments, where which one varies. Those of the function in which the superblock begins are in memory.
    fn selected_extra(&mut self, call: Call, selector: Ref) -> Option<Results> {
        let values: Results = (1..call.nargs as Slot).map(|i| self.slots[(call.first + i) as usize].value).collect();
        let are_extra = self.extra.as_ref().is_some_and(|extra| extra.as_slice() == values.as_slice());
        let few = are_extra || (1..=SELECTED_MAX).contains(&values.len());
        if call.wanted != 1 || !few || self.cautious || self.argument_type(call, 0) != Some(Type::Int) {
            return None;
        }
        let i = self.guard_type(selector, Type::Int);
        let one = self.sb.push(Node::int(1));
        let i = self.sb.push(Node::new(MicroOp::SUB_I, &[i, one], &[]));
        let count = self.sb.push(Node::int(values.len() as i64));
        let exists = self.emit(MicroOp::LT_U, &[i, count], &[]);
        self.emit(MicroOp::GUARD_TRUE, &[exists], &[]);
        if are_extra {
            return self::one(self.emit(MicroOp::LOAD_EXTRA, &[i], &[]));
        }
        let values: Results = (1..call.nargs as Slot).map(|i| self.read(call.first + i)).collect();
        let (last, others) = values.split_last()?;
        let mut selected = *last;
        for (k, &value) in others.iter().enumerate().rev() {
            let k = self.sb.push(Node::int(k as i64));
            let is_it = self.sb.push(Node::new(MicroOp::EQ_I, &[i, k], &[]));
            let op = match [value, selected].map(|v| self.sb.type_of(v)) {
                [Type::Int, Type::Int] => MicroOp::SELECT_I,
                [Type::Float, Type::Float] => MicroOp::SELECT_F,
                _ => MicroOp::SELECT,
            };
            selected = self.sb.push(Node::new(op, &[is_it, value, selected], &[]));
        }
        self::one(selected)
    }

    /// `next`, where it does not matter that there is no second result at the end.
    fn next_entry(&mut self, call: Call) -> Option<Results> {
        if call.wanted < 0 {
            return None;
        }
        let t = self.argument(call, 0, Type::Table)?;
        let key = if call.nargs > 1 { self.read(call.first + 1) } else { self.sb.push(Node::nil()) };
        let position = self.emit(MicroOp::FIND_NEXT, &[t, key], &[]);
        let key = self.emit(MicroOp::LOAD_KEY, &[t, position], &[]);
        let v = self.emit(MicroOp::LOAD_VALUE, &[t, position], &[]);
        Some(smallvec![key, v])
    }

    /// One step of `ipairs` in a loop whose registers begin at `a`: the next key and element.
    pub(super) fn element_step(
        &mut self,
        native: Gc<Native>,
        iterator: Ref,
        state: Ref,
        a: usize,
    ) -> Option<(Ref, Ref)> {
        let step = *self.step();
        if step.tags[1] != Tag::TABLE.byte() || step.tags[2] != Tag::INT.byte() {
            return None;
        }
        let ends = self.next().tags[0] == Tag::NIL.byte();
        let in_array = step.facts & facts::IN_ARRAY != 0;
        if !in_array && step.facts & facts::NO_METATABLE == 0 {
            return None;
        }
        self.guard_native(iterator, native);
        let t = self.guard_type(state, Type::Table);
        let control = self.read(self.register(a + 2));
        let control = self.guard_type(control, Type::Int);
        let one = self.sb.push(Node::int(1));
        let i = self.sb.push(Node::new(MicroOp::ADD_I, &[control, one], &[]));
        if in_array && !ends {
            self.emit(MicroOp::GUARD_IN_ARRAY, &[t, i], &[]);
            let uniform = match ArrayKind(step.array_kind) {
                ArrayKind::INT => Some(MicroOp::LOAD_ELEMENT_I),
                ArrayKind::FLOAT => Some(MicroOp::LOAD_ELEMENT_F),
                _ => None,
            };
            if let Some(load) = uniform.filter(|_| !self.cautious) {
                self.emit(MicroOp::GUARD_ARRAY_KIND, &[t], &[step.array_kind as u64]);
                return Some((i, self.emit(load, &[t, i], &[])));
            }
            let v = self.emit(MicroOp::LOAD_ELEMENT, &[t, i], &[]);
            self.emit(MicroOp::GUARD_NOT_NIL, &[v], &[]);
            return Some((i, v));
        }
        self.emit(MicroOp::GUARD_NO_METATABLE, &[t], &[]);
        let v = self.emit(MicroOp::RAW_GET, &[t, i], &[]);
        if ends {
            self.emit(MicroOp::GUARD_NIL, &[v], &[]);
            let nil = self.sb.push(Node::nil());
            return Some((nil, nil));
        }
        self.emit(MicroOp::GUARD_NOT_NIL, &[v], &[]);
        Some((i, v))
    }

    /// `setmetatable` of a table without metatable, whose shape is known, to a constant.
    fn with_metatable(&mut self, call: Call) -> Option<Results> {
        if call.nargs < 2 {
            return None;
        }
        let metatable = self.read(call.first + 1);
        let Object { kind: ObjectKind::Table, addr } = self.constant_object(metatable)? else {
            return None;
        };
        let m: Gc<crate::runtime::table::Table> = Gc::from_addr(addr);
        let t = self.argument(call, 0, Type::Table)?;
        let (t, shape) = self.receiver_shape(t)?;
        let shapes = &self.st.rt.shapes;
        if shapes.class(shape) != ClassId::NONE || shapes.is_owned(shape) {
            return None;
        }
        // Finalizers are registered by the function.
        if !self.st.rt.event_of(m, Event::Gc).is_nil() {
            return None;
        }
        let next = self.st.rt.shape_with_metatable(shape, m).ok()?;
        self.guard_shape(t, shape);
        self.assume(Assumption::Events { metatable: m });
        self.emit(MicroOp::SET_METATABLE, &[t, metatable], &[next.0 as u64]);
        self.emit(MicroOp::BARRIER, &[t], &[]);
        self.change_shape(t, shape.0, next.0);
        one(t)
    }

    /// `table.insert` behind the last element of a table without metatable.
    fn appended(&mut self, call: Call) -> Option<Results> {
        if call.nargs != 2 {
            return None;
        }
        let t = self.argument(call, 0, Type::Table)?;
        let v = self.read(call.first + 1);
        let t = self.plain_table(t, &[Event::Len, Event::NewIndex])?;
        let n = self.emit(MicroOp::LENGTH_T, &[t], &[]);
        let one = self.sb.push(Node::int(1));
        let i = self.sb.push(Node::new(MicroOp::ADD_I, &[n, one], &[]));
        self.emit(MicroOp::GUARD_RAW_STORABLE, &[t, i, v], &[]);
        self.emit(MicroOp::STORE_ELEMENT, &[t, i, v], &[]);
        self.emit(MicroOp::BARRIER, &[t], &[]);
        Some(Results::new())
    }
}

/// One result.
fn one(r: Ref) -> Option<Results> {
    Some(smallvec![r])
}
