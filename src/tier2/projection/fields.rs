//! Fields: gets, sets and methods by constant keys.
//!
//! A receiver's shape settles where the key is, or that it is missing and which table to look in next. Tables through
//! which others find their keys, and constant tables, have shapes of their own; what is constant in them becomes a
//! constant of the superblock, on the assumption that it stays so.

use perilune_uops::{MicroOp, Type};

use super::super::superblock::*;
use super::{Flow, Projector, Stop};
use crate::bytecode::Instr;
use crate::bytecode::cache::SlotOffsets;
use crate::runtime::assumption::Assumption;
use crate::runtime::class::ClassId;
use crate::runtime::metatable::{Event, basic_type};
use crate::runtime::object::Gc;
use crate::runtime::shape::{Location, ShapeId};
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier1::recording::facts;

/// The longest chain of holders that is followed.
const HOLDERS_MAX: usize = 16;

impl Projector<'_> {
    fn key_of(&self, instr: Instr) -> Gc<Str> {
        self.proto().info.fields[instr.d() as usize].key
    }

    /// `R[dest] = receiver[key]`.
    pub(super) fn get_field(&mut self, instr: Instr, receiver: Ref, dest: usize) -> Flow {
        let key = self.key_of(instr);
        if self.enters_handler() && self.follow_get_field(receiver, key, dest, false).is_some() {
            return Ok(());
        }
        match self.lookup(receiver, key) {
            Some(v) => {
                self.write(self.register(dest), v);
                self.goes_on()
            }
            None => self.get_field_out(instr, receiver, dest),
        }
    }

    fn get_field_out(&mut self, instr: Instr, receiver: Ref, dest: usize) -> Flow {
        let stays = self.stays();
        let operands = [self.register(dest) as u64, instr.d() as u64];
        self.emit(MicroOp::GET_FIELD, &[receiver], &operands);
        self.forget(self.register(dest));
        if stays { self.goes_on() } else { self.stop_behind(Stop::Call) }
    }

    /// `R[a+1] = R[b]; R[a] = R[b][key]`.
    pub(super) fn get_method(&mut self, instr: Instr) -> Flow {
        let key = self.key_of(instr);
        let receiver = self.read(self.register(instr.b()));
        let (a, dest) = (self.register(instr.a()), instr.a());
        if self.enters_handler() && self.follow_get_field(receiver, key, dest, true).is_some() {
            return Ok(());
        }
        let method = match Tag::from_byte(self.step().tags[1]) {
            Tag::STRING if !self.cautious => {
                self.guard_type(receiver, Type::String);
                self.string_method(key)
            }
            Tag::USERDATA if !self.cautious => self.userdata_method(receiver, key),
            _ => self.lookup(receiver, key),
        };
        // The receiver may have become known better.
        let receiver = self.read(self.register(instr.b()));
        if let Some(method) = method {
            self.write(a + 1, receiver);
            self.write(a, method);
            return self.goes_on();
        }
        let stays = self.stays();
        self.emit(MicroOp::GET_METHOD, &[receiver], &[self.register(dest) as u64, instr.d() as u64]);
        self.forget(a);
        self.forget(a + 1);
        if stays { self.goes_on() } else { self.stop_behind(Stop::Call) }
    }

    /// A method of strings.
    fn string_method(&mut self, key: Gc<Str>) -> Option<Ref> {
        let sample = self.st.rt.strings.empty();
        let index = self.st.rt.metamethod(Value::string(sample), Event::Index);
        self.assume(Assumption::PrimitiveMetatable(basic_type(Tag::STRING)?));
        self.inherited(index, key)
    }

    /// A method of a userdata whose metatable has a table of methods.
    fn userdata_method(&mut self, receiver: Ref, key: Gc<Str>) -> Option<Ref> {
        let metatable = self.step().metatable?;
        let index = self.st.rt.event_of(metatable, Event::Index);
        index.as_table()?;
        let userdata = self.guard_type(receiver, Type::Userdata);
        let id = self.object(ObjectKind::Table, metatable.addr());
        self.emit(MicroOp::GUARD_METATABLE, &[userdata], &[id.0 as u64]);
        self.st.rt.watch_events(metatable);
        self.assume(Assumption::Events { metatable });
        self.inherited(index, key)
    }

    /// What `receiver[key]` is, if it can be found without running anything.
    fn lookup(&mut self, receiver: Ref, key: Gc<Str>) -> Option<Ref> {
        if self.cautious || !key.is_short() {
            return None;
        }
        if let Some(Object { kind: ObjectKind::Table, addr }) = self.constant_object(receiver) {
            return self.in_holder(Gc::from_addr(addr), key);
        }
        if self.megamorphic {
            return self.lookup_in_any(receiver, key);
        }
        let (t, shape) = self.receiver_shape(receiver)?;
        let class = self.st.rt.shapes.class(shape);
        let known = class == ClassId::NONE || self.st.rt.classes.is_known(class);
        match self.st.rt.shapes.find(shape, key) {
            Some(slot) => {
                let location = self.st.rt.shapes.slot_location(shape, slot);
                self.guard_shape(t, shape);
                let v = self.load_slot(t, location)?;
                // A nil may be found elsewhere.
                let is_nil = self.step().facts & facts::NIL_FIELD != 0;
                let index = self.st.rt.classes.event(class, Event::Index).filter(|index| is_nil || index.is_nil());
                let Some(index) = index else {
                    self.emit(MicroOp::GUARD_NOT_NIL, &[v], &[]);
                    return Some(v);
                };
                if class != ClassId::NONE {
                    self.assume(Assumption::Class(class));
                }
                if index.is_nil() {
                    return Some(v);
                }
                self.emit(MicroOp::GUARD_NIL, &[v], &[]);
                self.inherited(index, key)
            }
            None if !known => None,
            None => {
                self.st.rt.shapes.rely_on_absence(shape);
                let index = self.st.rt.classes.event(class, Event::Index)?;
                self.guard_shape(t, shape);
                if class != ClassId::NONE {
                    self.assume(Assumption::Class(class));
                }
                self.inherited(index, key)
            }
        }
    }

    /// What a table of any shape gives, itself.
    fn lookup_in_any(&mut self, receiver: Ref, key: Gc<Str>) -> Option<Ref> {
        let step = self.step();
        let found = step.facts & facts::NIL_FIELD == 0 || step.facts & facts::NO_METATABLE != 0;
        if !found || step.tags[1] != Tag::TABLE.byte() {
            return None;
        }
        let t = self.guard_type(receiver, Type::Table);
        let key = self.constant(Value::string(key))?;
        let v = self.emit(MicroOp::RAW_GET, &[t, key], &[]);
        self.emit(MicroOp::GUARD_FOUND_IN, &[t, v], &[]);
        Some(v)
    }

    /// The same for a store.
    fn store_in_any(&mut self, receiver: Ref, key: Gc<Str>, v: Ref) -> Option<()> {
        let step = self.step();
        if step.facts & facts::NO_METATABLE == 0 || step.tags[0] != Tag::TABLE.byte() {
            return None;
        }
        let t = self.guard_type(receiver, Type::Table);
        self.emit(MicroOp::GUARD_NO_METATABLE, &[t], &[]);
        let key = self.constant(Value::string(key))?;
        self.emit(MicroOp::RAW_SET, &[t, key, v], &[]);
        self.unsettled = true;
        Some(())
    }

    /// The receiver as a table, and the shape that it has or had when it was recorded; `None` if shapes say nothing
    /// about it.
    pub(super) fn receiver_shape(&mut self, receiver: Ref) -> Option<(Ref, ShapeId)> {
        let shape = match self.shape_of(receiver) {
            Some(shape) => shape,
            None => self.step().shape,
        };
        if shape == 0 || self.st.rt.shapes.is_dictionary(ShapeId(shape)) {
            return None;
        }
        let receiver_type = self.sb.type_of(receiver);
        if receiver_type != Type::Table && receiver_type != Type::Tagged {
            return None;
        }
        Some((self.guard_type(receiver, Type::Table), ShapeId(shape)))
    }

    pub(super) fn guard_shape(&mut self, t: Ref, shape: ShapeId) {
        if self.shape_of(t) != Some(shape.0) {
            self.emit(MicroOp::GUARD_SHAPE, &[t], &[shape.0 as u64]);
            self.set_shape(t, shape.0);
        }
    }

    fn load_slot(&mut self, t: Ref, location: Location) -> Option<Ref> {
        let (op, slot) = match location {
            Location::Inline(slot) => (MicroOp::LOAD_INLINE, slot),
            Location::Overflow(slot) => (MicroOp::LOAD_OVERFLOW, slot),
            _ => return None,
        };
        Some(self.emit(op, &[t], &[slot_operand(slot)]))
    }

    /// What a table without the key gives, whose `__index` is this.
    fn inherited(&mut self, index: Value, key: Gc<Str>) -> Option<Ref> {
        if index.is_nil() {
            return Some(self.sb.push(Node::nil()));
        }
        self.in_holder(index.as_table()?, key)
    }

    /// What a constant table gives for a key, itself or through its metatable.
    fn in_holder(&mut self, mut holder: Gc<Table>, key: Gc<Str>) -> Option<Ref> {
        for _ in 0..HOLDERS_MAX {
            if !self.st.rt.make_holder(holder).ok()? {
                return None;
            }
            self.assume(Assumption::Holder { table: holder });
            let shape = holder.shape.get();
            let class = self.st.rt.shapes.class(shape);
            if let Some((slot, v)) = self.st.rt.constant_slot(holder, key)
                && !v.is_nil()
                && let Some(constant) = self.constant(v)
            {
                self.assume(Assumption::SlotConstant { table: holder, slot });
                return Some(constant);
            }
            if let Some(slot) = self.st.rt.shapes.find(shape, key) {
                let location = self.st.rt.shapes.slot_location(shape, slot);
                let t = self.constant(Value::table(holder))?;
                let v = self.load_slot(t, location)?;
                if class != ClassId::NONE {
                    self.emit(MicroOp::GUARD_NOT_NIL, &[v], &[]);
                }
                return Some(v);
            }
            if class != ClassId::NONE && !self.st.rt.classes.is_known(class) {
                return None;
            }
            self.st.rt.rely_on_absence(holder);
            self.assume(Assumption::KeyAbsent { table: holder, key });
            if class != ClassId::NONE {
                self.assume(Assumption::Class(class));
            }
            let index = self.st.rt.table_event(holder, Event::Index);
            if index.is_nil() {
                return Some(self.sb.push(Node::nil()));
            }
            holder = index.as_table()?;
        }
        None
    }

    /// `receiver[key] = v`.
    pub(super) fn set_field(&mut self, instr: Instr, receiver: Ref, v: Ref) -> Flow {
        let key = self.key_of(instr);
        if self.enters_handler() && self.follow_set_field(receiver, key, v).is_some() {
            return Ok(());
        }
        if self.store(receiver, key, v).is_some() {
            return self.goes_on();
        }
        let stays = self.stays();
        self.emit(MicroOp::SET_FIELD, &[receiver, v], &[instr.d() as u64]);
        if stays { self.goes_on() } else { self.stop_behind(Stop::Call) }
    }

    /// Stores to a field without running anything; `None` if that cannot be.
    fn store(&mut self, receiver: Ref, key: Gc<Str>, v: Ref) -> Option<()> {
        if self.cautious || !key.is_short() || key.event.get() != 0 {
            return None;
        }
        if let Some(Object { kind: ObjectKind::Table, addr }) = self.constant_object(receiver) {
            return self.store_in_holder(receiver, Gc::from_addr(addr), key, v);
        }
        if self.megamorphic {
            return self.store_in_any(receiver, key, v);
        }
        let (t, shape) = self.receiver_shape(receiver)?;
        let plain = self.stores_plainly(shape)?;
        let Some(slot) = self.st.rt.shapes.find(shape, key) else {
            return if plain { self.add_field(t, shape, key, v) } else { None };
        };
        if self.st.rt.shapes.slot_is_constant(shape, slot) {
            return None;
        }
        let location = self.st.rt.shapes.slot_location(shape, slot);
        self.guard_shape(t, shape);
        if !plain {
            let old = self.load_slot(t, location)?;
            self.emit(MicroOp::GUARD_NOT_NIL, &[old], &[]);
        }
        self.store_slot(t, location, v)
    }

    /// The constant key, if it is one that shapes have.
    fn constant_key(&self, key: Ref) -> Option<Gc<Str>> {
        let object = self.constant_object(key).filter(|object| object.kind == ObjectKind::String)?;
        Some(Gc::<Str>::from_addr(object.addr)).filter(|key| key.is_short() && !self.cautious)
    }

    /// What a table itself has for a constant key (`rawget`).
    pub(super) fn raw_field(&mut self, t: Ref, key: Ref) -> Option<Ref> {
        let key = self.constant_key(key)?;
        let (t, shape) = self.receiver_shape(t)?;
        let slot = self.st.rt.shapes.find(shape, key);
        if slot.is_none() {
            self.st.rt.shapes.rely_on_absence(shape);
        }
        self.guard_shape(t, shape);
        match slot {
            Some(slot) => {
                let location = self.st.rt.shapes.slot_location(shape, slot);
                self.load_slot(t, location)
            }
            None => Some(self.sb.push(Node::nil())),
        }
    }

    /// Stores to a constant key of a table itself (`rawset`).
    pub(super) fn raw_store(&mut self, t: Ref, key: Ref, v: Ref) -> Option<()> {
        let key = self.constant_key(key).filter(|key| key.event.get() == 0)?;
        let (t, shape) = self.receiver_shape(t)?;
        let Some(slot) = self.st.rt.shapes.find(shape, key) else {
            return self.add_field(t, shape, key, v);
        };
        if self.st.rt.shapes.slot_is_constant(shape, slot) {
            return None;
        }
        let location = self.st.rt.shapes.slot_location(shape, slot);
        self.guard_shape(t, shape);
        self.store_slot(t, location, v)
    }

    /// Whether a store of a key that a table of this shape lacks, or has with nil, is not asked about; `None` if the
    /// shape does not say.
    fn stores_plainly(&mut self, shape: ShapeId) -> Option<bool> {
        let class = self.st.rt.shapes.class(shape);
        if class == ClassId::NONE {
            return Some(true);
        }
        let event = self.st.rt.classes.event(class, Event::NewIndex)?;
        self.assume(Assumption::Class(class));
        Some(event.is_nil())
    }

    fn store_slot(&mut self, t: Ref, location: Location, v: Ref) -> Option<()> {
        let (op, slot): (MicroOp, SlotOffsets) = match location {
            Location::Inline(slot) => (MicroOp::STORE_INLINE, slot),
            Location::Overflow(slot) => (MicroOp::STORE_OVERFLOW, slot),
            _ => return None,
        };
        self.emit(op, &[t, v], &[slot_operand(slot)]);
        self.emit(MicroOp::BARRIER, &[t], &[]);
        Some(())
    }

    /// Stores a key that tables of the shape lack, where that needs no memory.
    fn add_field(&mut self, t: Ref, shape: ShapeId, key: Gc<Str>, v: Ref) -> Option<()> {
        if self.sb.node(v).op == MicroOp::CONST_NIL {
            // What becomes of the key is the table's business.
            return None;
        }
        let plan = self.st.rt.plan_add_to(shape, key).filter(|plan| plan.inline)?;
        self.guard_shape(t, shape);
        if self.sb.type_of(v) == Type::Tagged {
            self.emit(MicroOp::GUARD_NOT_NIL, &[v], &[]);
        }
        self.emit(MicroOp::STORE_INLINE, &[t, v], &[slot_operand(plan.offsets)]);
        self.emit(MicroOp::SET_SHAPE, &[t], &[plan.next_shape.0 as u64]);
        self.emit(MicroOp::BARRIER, &[t], &[]);
        self.change_shape(t, shape.0, plan.next_shape.0);
        Some(())
    }

    fn store_in_holder(&mut self, receiver: Ref, t: Gc<Table>, key: Gc<Str>, v: Ref) -> Option<()> {
        if !self.st.rt.make_holder(t).ok()? {
            return None;
        }
        let shape = t.shape.get();
        let slot = self.st.rt.shapes.find(shape, key)?;
        if self.st.rt.shapes.slot_is_constant(shape, slot) {
            return None;
        }
        let plain = self.stores_plainly(shape)?;
        self.assume(Assumption::Holder { table: t });
        let location = self.st.rt.shapes.slot_location(shape, slot);
        if !plain {
            let old = self.load_slot(receiver, location)?;
            self.emit(MicroOp::GUARD_NOT_NIL, &[old], &[]);
        }
        self.store_slot(receiver, location, v)
    }
}
