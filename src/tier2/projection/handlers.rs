//! Metamethods: handlers written in Lua are followed like callees.
//!
//! A handler's frame stands above all registers of the function whose instruction calls it, and its return finishes
//! the instruction, as the frame's continuation says. Which handler it is follows from the shape of the operand.

use perilune_uops::{MicroOp, Operation, Type};
use smallvec::SmallVec;

use super::super::superblock::*;
use super::{Flow, Projector, Top, type_of_tag};
use crate::bytecode::Instr;
use crate::bytecode::proto::Proto;
use crate::runtime::assumption::Assumption;
use crate::runtime::class::ClassId;
use crate::runtime::coroutine::Continuation;
use crate::runtime::metatable::{Event, basic_type};
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier1::recording::facts;

/// The longest chain of holders that is followed to a handler.
const HOLDERS_MAX: usize = 16;

impl Projector<'_> {
    /// Whether the recording shows that the instruction calls a function written in Lua.
    pub(super) fn enters_handler(&self) -> bool {
        let next = self.next();
        !self.cautious && next.pc == 0 && next.depth == self.step().depth + 1
    }

    /// Follows the instruction into the handler that it calls, if that can be said to be the one that was recorded.
    pub(super) fn follow_handler(&mut self, instr: Instr) -> Option<()> {
        let mut values: SmallVec<[(Ref, Option<Type>); 8]> = SmallVec::new();
        let steps = instr.op().general().expansion();
        for (at, step) in steps.iter().enumerate() {
            let operand = step.operands.first().map_or(0, |o| self.operand(instr, *o));
            let input = |k: usize| values[step.inputs[k] as usize];
            let value = match step.op {
                MicroOp::LOAD => {
                    let tag = self.recorded_tag(instr, step.operands[0]);
                    (self.read(operand as Slot), tag.and_then(type_of_tag))
                }
                MicroOp::CONST => (self.constant_of(operand as usize), None),
                MicroOp::CONST_INT => (self.sb.push(Node::int(operand as i64)), None),
                MicroOp::ARITH => {
                    let event = event_of(operation_of(self.operand(instr, step.operands[1])));
                    let (x, y) = (input(0), input(1));
                    let handler = self.binary_handler(x, y, event)?;
                    let dest = operand - self.base() as u64;
                    return self.enter_handler(handler, &[x.0, y.0], Continuation::StoreResult, dest);
                }
                MicroOp::LENGTH => {
                    let (x, ty) = input(0);
                    let handler = self.handler(x, ty, Event::Len)?;
                    let dest = operand - self.base() as u64;
                    return self.enter_handler(handler, &[x, x], Continuation::StoreResult, dest);
                }
                MicroOp::COMPARE => {
                    let event = event_of(operation_of(operand));
                    let (x, y) = (input(0), input(1));
                    if event == Event::Eq {
                        let recorded = [x, y].map(|(v, ty)| self.known_type(v).or(ty));
                        if recorded != [Some(Type::Table); 2] {
                            return None;
                        }
                        let (x, y) = (self.guard_type(x.0, Type::Table), self.guard_type(y.0, Type::Table));
                        let same = self.emit(MicroOp::SAME, &[x, y], &[]);
                        self.emit(MicroOp::GUARD_FALSE, &[same], &[]);
                    }
                    let handler = self.binary_handler(x, y, event)?;
                    let sense = steps[at + 1].op == MicroOp::JUMP_IF;
                    let aux = ((instr.sd() as i64) << 1 | sense as i64) as u64;
                    return self.enter_handler(handler, &[x.0, y.0], Continuation::Jump, aux);
                }
                MicroOp::GET_INDEX => {
                    let ((x, ty), (key, _)) = (input(0), input(1));
                    let handler = self.handler_for_absent(x, ty, key, Event::Index)?;
                    let dest = operand - self.base() as u64;
                    return self.enter_handler(handler, &[x, key], Continuation::StoreResult, dest);
                }
                MicroOp::SET_INDEX => {
                    let ((x, ty), (key, _), (v, _)) = (input(0), input(1), input(2));
                    let handler = self.handler_for_absent(x, ty, key, Event::NewIndex)?;
                    return self.enter_handler(handler, &[x, key, v], Continuation::Discard, 0);
                }
                _ => return None,
            };
            values.push(value);
        }
        None
    }

    /// The same for a get of a field into register `dest`; `method` says whether the receiver is kept, too.
    pub(super) fn follow_get_field(&mut self, receiver: Ref, key: Gc<Str>, dest: usize, method: bool) -> Option<()> {
        let (t, index) = self.event_without_field(receiver, key, Event::Index)?;
        let (handler, object) = self.index_handler(t, index, key)?;
        let key = self.constant(Value::string(key))?;
        if !self.is_entered(handler) {
            return None;
        }
        if method {
            // Both registers are in use while the handler runs.
            self.write(self.register(dest), t);
            self.write(self.register(dest + 1), t);
        }
        self.enter_handler(handler, &[object, key], Continuation::StoreResult, dest as u64)
    }

    /// The same for a store to a field.
    pub(super) fn follow_set_field(&mut self, receiver: Ref, key: Gc<Str>, v: Ref) -> Option<()> {
        let (t, handler) = self.event_without_field(receiver, key, Event::NewIndex)?;
        let key = self.constant(Value::string(key))?;
        self.enter_handler(handler, &[t, key, v], Continuation::Discard, 0)
    }

    /// The handler of a call of the table in register `func`, which is put there; the table becomes the first argument.
    pub(super) fn call_handler(&mut self, func: usize, nargs: usize) -> Option<Gc<Proto>> {
        let slot = self.register(func);
        let x = self.read(slot);
        let handler = self.handler(x, type_of_tag(self.step().tags[0]), Event::Call)?;
        let proto = handler.as_closure().filter(|_| self.is_entered(handler))?.proto;
        let f = self.constant(handler)?;
        let values: SmallVec<[Ref; 8]> = (0..=nargs as Slot).map(|i| self.read(slot + i)).collect();
        self.make_slots(slot as usize + nargs + 2);
        self.write(slot, f);
        for (i, v) in values.into_iter().enumerate() {
            self.write(slot + 1 + i as Slot, v);
        }
        Some(proto)
    }

    // Which handler.

    fn known_type(&self, x: Ref) -> Option<Type> {
        Some(self.sb.type_of(x)).filter(|ty| *ty != Type::Tagged)
    }

    /// Whether `handler` is the function that the recording enters, and may be followed.
    fn is_entered(&self, handler: Value) -> bool {
        let proto = handler.as_closure().map(|closure| closure.proto.as_ptr());
        proto.is_some_and(|proto| self.enters(proto) && self.may_inline(proto))
    }

    /// The handler of an event of `x`, or nil, which are guarded to follow from its type, or from its shape.
    fn handler(&mut self, x: Ref, recorded: Option<Type>, event: Event) -> Option<Value> {
        let ty = self.known_type(x).or(recorded)?;
        let (sample, tag) = match ty {
            Type::Table => {
                let (t, shape) = self.receiver_shape(x)?;
                let class = self.st.rt.shapes.class(shape);
                let handler = self.st.rt.classes.event(class, event)?;
                self.guard_shape(t, shape);
                if class != ClassId::NONE {
                    self.assume(Assumption::Class(class));
                }
                return Some(handler);
            }
            Type::Int => (Value::int(0), Tag::INT),
            Type::Float => (Value::float(0.0), Tag::FLOAT),
            Type::Bool => (Value::FALSE, Tag::FALSE),
            Type::String => (Value::string(self.st.rt.strings.empty()), Tag::STRING),
            _ => return None,
        };
        self.guard_type(x, ty);
        self.assume(Assumption::PrimitiveMetatable(basic_type(tag)?));
        Some(self.st.rt.metamethod(sample, event))
    }

    /// A table that was recorded to have no handlers for some events: none at all, or none of its class.
    pub(super) fn plain_table(&mut self, x: Ref, events: &[Event]) -> Option<Ref> {
        if self.step().facts & facts::NO_METATABLE != 0 {
            let t = self.guard_type(x, Type::Table);
            self.emit(MicroOp::GUARD_NO_METATABLE, &[t], &[]);
            return Some(t);
        }
        for &event in events {
            self.handler(x, Some(Type::Table), event).filter(|handler| handler.is_nil())?;
        }
        Some(self.guard_type(x, Type::Table))
    }

    /// The handler of an operation on two values of which one is a table.
    fn binary_handler(
        &mut self,
        (x, tx): (Ref, Option<Type>),
        (y, ty): (Ref, Option<Type>),
        event: Event,
    ) -> Option<Value> {
        let tables = [(x, tx), (y, ty)].map(|(v, ty)| self.known_type(v).or(ty) == Some(Type::Table));
        if tables == [false, false] {
            return None;
        }
        let first = self.handler(x, tx, event)?;
        if !first.is_nil() {
            return tables[0].then_some(first);
        }
        self.handler(y, ty, event).filter(|_| tables[1])
    }

    /// The handler of an access to a table that lacks `key`.
    fn handler_for_absent(&mut self, x: Ref, ty: Option<Type>, key: Ref, event: Event) -> Option<Value> {
        let handler = self.handler(x, ty, event)?;
        if self.known_type(x).or(ty) != Some(Type::Table) || !self.is_entered(handler) {
            return None;
        }
        let t = self.guard_type(x, Type::Table);
        let v = self.emit(MicroOp::RAW_GET, &[t, key], &[]);
        self.emit(MicroOp::GUARD_NIL, &[v], &[]);
        Some(handler)
    }

    /// The receiver, a table without the field `key`, and the value of its event.
    fn event_without_field(&mut self, receiver: Ref, key: Gc<Str>, event: Event) -> Option<(Ref, Value)> {
        if !key.is_short() {
            return None;
        }
        let (t, shape) = self.receiver_shape(receiver)?;
        if self.st.rt.shapes.find(shape, key).is_some() {
            return None;
        }
        let class = self.st.rt.shapes.class(shape);
        let v = self.st.rt.classes.event(class, event)?;
        self.st.rt.shapes.rely_on_absence(shape);
        self.guard_shape(t, shape);
        self.assume(Assumption::Class(class));
        Some((t, v))
    }

    /// The function at the end of a chain of `__index` tables that lack `key`, and the table that has it.
    fn index_handler(&mut self, t: Ref, mut index: Value, key: Gc<Str>) -> Option<(Value, Ref)> {
        let mut object = t;
        for _ in 0..HOLDERS_MAX {
            let Some(holder) = index.as_table() else {
                return index.as_closure().map(|_| (index, object));
            };
            index = self.inherited_event(holder, key)?;
            object = self.constant(Value::table(holder))?;
        }
        None
    }

    /// The `__index` of a holder that lacks `key`.
    fn inherited_event(&mut self, holder: Gc<Table>, key: Gc<Str>) -> Option<Value> {
        if !self.st.rt.make_holder(holder).ok()? {
            return None;
        }
        let shape = holder.shape.get();
        let class = self.st.rt.shapes.class(shape);
        let index = self.st.rt.classes.event(class, Event::Index)?;
        if self.st.rt.shapes.find(shape, key).is_some() {
            return None;
        }
        self.st.rt.rely_on_absence(holder);
        self.assume(Assumption::Holder { table: holder });
        self.assume(Assumption::KeyAbsent { table: holder, key });
        self.assume(Assumption::Class(class));
        Some(index)
    }

    // Frames of handlers.

    /// Pushes the frame of a handler, if it is the function that was recorded.
    fn enter_handler(&mut self, handler: Value, args: &[Ref], continuation: Continuation, aux: u64) -> Option<()> {
        let proto = handler.as_closure().filter(|_| self.is_entered(handler))?.proto;
        let frame = *self.sb.frame(self.frame);
        let func = frame.base + frame.registers;
        self.make_slots(func as usize + args.len() + 2);
        let f = self.constant(handler)?;
        self.write(func, f);
        for (i, v) in args.iter().enumerate() {
            self.write(func + 1 + i as Slot, *v);
        }
        let frame = Frame {
            caller: Some(self.frame),
            proto: self.object(ObjectKind::Proto, proto.addr()),
            base: func + 1,
            registers: proto.registers as u16,
            return_pc: self.pc() + 1,
            call_site: NO_CALL_SITE,
            wanted: -1,
            continuation,
            flags: 0,
            extra_args: 0,
            result: func,
            aux,
        };
        self.push_frame(frame, &proto, args.len());
        Some(())
    }

    /// Where `frame` jumps to in its caller if its result says so.
    pub(super) fn jump_of(frame: &Frame) -> Option<u32> {
        let distance = (frame.aux as i64) >> 1;
        (frame.continuation == Continuation::Jump).then(|| (frame.return_pc as i64 + distance) as u32)
    }

    /// Returns from `frame` to its caller, where the recording goes on, and finishes the instruction there.
    pub(super) fn finish_call(&mut self, caller: FrameId, frame: &Frame, values: &[Ref]) -> Flow {
        let result = match values.first() {
            Some(v) => *v,
            None => self.sb.push(Node::nil()),
        };
        self.frame = caller;
        self.top = Top::None;
        match frame.continuation {
            Continuation::Call => self.deliver(frame.result, values, frame.wanted),
            Continuation::Native => {
                let mut values: SmallVec<[Ref; 8]> = SmallVec::from_slice(values);
                let success = self.sb.push(Node::bool(true));
                values.insert(0, success);
                self.make_slots(frame.result as usize + values.len() + 1);
                self.deliver(frame.result, &values, frame.wanted);
            }
            Continuation::StoreResult => {
                let dest = self.register(frame.aux as usize);
                self.write(dest, result);
            }
            Continuation::Jump => {
                let jump = Self::jump_of(frame).expect("its continuation is a jump");
                if jump != frame.return_pc {
                    let taken = self.next().pc == jump;
                    let other = if taken { frame.return_pc } else { jump };
                    let exit = self.snapshot(other);
                    let truth = self.sb.push(Node::new(MicroOp::TRUTH, &[result], &[]));
                    let sense = frame.aux & 1 != 0;
                    let guard = if taken == sense { MicroOp::GUARD_TRUE } else { MicroOp::GUARD_FALSE };
                    self.sb.push(Node::new(guard, &[truth], &[]).with_exit(exit));
                }
            }
            Continuation::Discard => {}
            _ => unreachable!("only these frames are inlined"),
        }
        Ok(())
    }
}

/// The operation that the operand of an expansion names.
fn operation_of(operand: u64) -> Operation {
    Operation::from_operand(operand).expect("expansions name operations")
}

/// The event of an operation.
fn event_of(op: Operation) -> Event {
    match op {
        Operation::Add => Event::Add,
        Operation::Sub => Event::Sub,
        Operation::Mul => Event::Mul,
        Operation::Div => Event::Div,
        Operation::Mod => Event::Mod,
        Operation::Pow => Event::Pow,
        Operation::IDiv => Event::IDiv,
        Operation::BAnd => Event::BAnd,
        Operation::BOr => Event::BOr,
        Operation::BXor => Event::BXor,
        Operation::Shl => Event::Shl,
        Operation::Shr => Event::Shr,
        Operation::Unm => Event::Unm,
        Operation::BNot => Event::BNot,
        Operation::Eq => Event::Eq,
        Operation::Lt => Event::Lt,
        Operation::Le => Event::Le,
    }
}
