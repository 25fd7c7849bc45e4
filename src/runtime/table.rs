//! Tables: an object part for string keys, an array part for 1..n, a hash part for everything else.
//!
//! Short string keys are slots of the shape, or in the hash part of a table in dictionary mode. Integers
//! are elements of the [array](super::array) or in the [hash part](super::hash); all other keys, long
//! strings included, are in the hash part. A table owns its three blocks. Fields are read by anyone, but
//! changed through [`Runtime`]'s operations and inline caches only, which keep the invariants of the parts.

use std::cell::Cell;
use std::mem::{offset_of, size_of};
use std::ptr::{self, NonNull};

use smallvec::SmallVec;

use super::Runtime;
use super::array::ArrayKind;
use super::assumption::Assumption;
use super::hash::{HashPart, Node};
use super::number;
use super::object::{Gc, Kind, Object};
use super::shape::{self, Location, ShapeId};
use super::string::Str;
use super::value::{Tag, Value};
use crate::bytecode::cache::{SlotOffsets, TableSite};
use crate::heap::OutOfMemory;

/// The header of a table. The inline slots follow it: first the payloads (8 bytes each), then the tags (one
/// byte each), both runs as long as the shape's inline capacity.
#[repr(C, align(8))]
pub struct Table {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    /// What the array part holds; see [`ArrayKind`].
    pub array_kind: Cell<ArrayKind>,
    /// See [`table_flags`].
    pub flags: Cell<u8>,
    pub shape: Cell<ShapeId>,
    pub metatable: Cell<Option<Gc<Table>>>,
    /// Element `i` (from 1) has its payload at `array - 8 * i` and its tag at `array + i - 1`.
    pub array: Cell<*mut u8>,
    /// Elements in use; those behind are uninitialised.
    pub array_len: Cell<u32>,
    pub array_cap: Cell<u32>,
    /// Slots beyond the inline ones: payloads, then tags; the capacity is fixed by the shape.
    pub overflow: Cell<*mut u8>,
    pub hash: Cell<*mut HashPart>,
}

const _: () = {
    assert!(offset_of!(Table, array_kind) == 2 && offset_of!(Table, flags) == 3);
    assert!(offset_of!(Table, shape) == 4 && offset_of!(Table, metatable) == 8);
    assert!(offset_of!(Table, array) == 16 && offset_of!(Table, array_len) == 24);
    assert!(offset_of!(Table, array_cap) == 28 && offset_of!(Table, overflow) == 32);
    assert!(offset_of!(Table, hash) == 40 && size_of::<Table>() == 48);
};

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Table {}

/// Bits of [`Table::flags`].
pub mod table_flags {
    /// The table is or was a metatable: a store of an event key must go through [`Runtime`](super::Runtime).
    pub const IS_METATABLE: u8 = 1;
    /// All keys are in the hash part.
    pub const DICTIONARY: u8 = 2;
    /// The shape is the table's own.
    pub const OWNED: u8 = 4;
    /// The table is registered with the collector, to be finalized.
    pub const FINALIZABLE: u8 = 8;
    /// The hash part may have indices: integer keys from 1 on. Without, what is stored behind the last element goes there.
    pub const INDICES: u8 = 16;
}

/// Why a store failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    /// The key is nil.
    NilKey,
    /// The key is a NaN.
    NanKey,
    Memory,
}

impl From<OutOfMemory> for TableError {
    fn from(_: OutOfMemory) -> TableError {
        TableError::Memory
    }
}

/// The key given to [`Runtime::next`] is not in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidKey;

/// How a store adds a constant key to tables of a shape when that needs no memory: write the slot, then the shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddPlan {
    pub next_shape: ShapeId,
    pub offsets: SlotOffsets,
    /// Whether the offsets are relative to the table, not to its overflow block.
    pub inline: bool,
}

/// Where a string key comes from, which decides how far shapes are made for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A constant in the code.
    Constant,
    /// Computed.
    Dynamic,
}

/// A table with so many slots gets no further one for a nil.
const RESERVED_SLOTS_MAX: u32 = 16;
/// The most slots and elements a table site learns to allocate.
const LEARNED_SLOTS_MAX: u32 = 32;
const LEARNED_ELEMENTS_MAX: u32 = 256;

impl Gc<Table> {
    #[inline(always)]
    pub fn has_flag(self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    #[inline(always)]
    pub(super) fn set_flag(self, flag: u8) {
        self.flags.set(self.flags.get() | flag);
    }

    #[inline(always)]
    fn clear_flag(self, flag: u8) {
        self.flags.set(self.flags.get() & !flag);
    }

    /// The hash part, if there is one.
    #[inline(always)]
    pub fn hash_part<'a>(self) -> Option<&'a HashPart> {
        // SAFETY: null or the table's own live part. All its fields are cells.
        unsafe { self.hash.get().as_ref() }
    }

    #[inline(always)]
    fn slot_pointers(self, location: Location) -> Option<(*mut u64, *mut u8)> {
        let (base, slot) = match location {
            Location::Inline(slot) => (self.as_ptr() as *mut u8, slot),
            Location::Overflow(slot) => (self.overflow.get(), slot),
            _ => return None,
        };
        // SAFETY: offsets come from the table's shape, so they are within its cell or overflow block.
        unsafe {
            Some((
                base.add(slot.payload as usize) as *mut u64,
                base.add(slot.tag as usize),
            ))
        }
    }

    /// The value at a location that the table's shape has given.
    #[inline(always)]
    pub fn slot(self, location: Location) -> Value {
        if let Location::Dictionary(node) = location {
            return self
                .hash_part()
                .map_or(Value::NIL, |hash| hash.nodes()[node as usize].value());
        }
        match self.slot_pointers(location) {
            // SAFETY: the slots of a shape are initialised.
            Some((payload, tag)) => unsafe { Value::new(*payload, Tag::from_byte(*tag)) },
            None => Value::NIL,
        }
    }

    /// Writes a slot, without barrier or any other consequence.
    #[inline(always)]
    fn put_slot(self, location: Location, v: Value) {
        if let Some((payload, tag)) = self.slot_pointers(location) {
            // SAFETY: the slot is within the table's memory.
            unsafe {
                *payload = v.payload();
                *tag = v.tag().byte();
            }
        }
    }

    /// Writes a slot in the table itself, without barrier.
    ///
    /// # Safety
    /// The offsets are those of a slot in tables with as much room for slots as this one.
    pub unsafe fn put_inline(self, slot: SlotOffsets, v: Value) {
        let base = self.as_ptr() as *mut u8;
        // SAFETY: the caller's promise.
        unsafe {
            *(base.add(slot.payload as usize) as *mut u64) = v.payload();
            *base.add(slot.tag as usize) = v.tag().byte();
        }
    }

    /// The value of an integer key.
    #[inline(always)]
    pub fn get_int(self, i: i64) -> Value {
        let n = (i as u64).wrapping_sub(1);
        if n < self.array_len.get() as u64 {
            return self.element(i as u32);
        }
        if self.hash.get().is_null() {
            return Value::NIL;
        }
        self.get_int_hash(i)
    }

    /// The key is one of the hash part from now on.
    fn note_key(self, key: Value) {
        if key.as_int().is_some_and(|i| i >= 1) {
            self.set_flag(table_flags::INDICES);
        }
    }

    #[inline(never)]
    fn get_int_hash(self, i: i64) -> Value {
        match self.hash_part() {
            Some(hash) if hash.has_ints() => hash
                .find_int(i)
                .map_or(Value::NIL, |at| hash.nodes()[at].value()),
            _ => Value::NIL,
        }
    }

    #[inline]
    fn get_str_hash(self, key: Gc<Str>) -> Value {
        match self.hash_part() {
            Some(hash) => hash
                .find_str(key)
                .map_or(Value::NIL, |at| hash.nodes()[at].value()),
            None => Value::NIL,
        }
    }

    /// The node before a position of a traversal; none at the end.
    #[inline]
    fn node_before<'a>(self, position: u64) -> Option<&'a Node> {
        self.hash_part()?.nodes().get((position - NODES) as usize - 1)
    }

    /// The hash part's block and its size, for the collector.
    pub fn hash_block(self) -> Option<(NonNull<u8>, usize)> {
        let hash = self.hash_part()?;
        NonNull::new(self.hash.get()).map(|p| (p.cast(), HashPart::size(hash.node_count())))
    }
}

/// A float key with an integer value becomes that integer.
#[inline]
pub fn normalise_key(key: Value) -> Value {
    match key.as_float().and_then(number::float_to_int_exact) {
        Some(i) => Value::int(i),
        None => key,
    }
}

impl Runtime {
    /// An empty table of an empty shape (see [`Shapes::root_for`](shape::Shapes::root_for)).
    #[inline]
    pub fn new_table(&mut self, shape: ShapeId, array_cap: u32) -> Result<Gc<Table>, OutOfMemory> {
        debug_assert!(self.shapes.slot_count(shape) == 0);
        let size = size_of::<Table>() + 9 * self.shapes.inline_cap(shape) as usize;
        let p: NonNull<Table> = self.heap.alloc(size)?.cast();
        // SAFETY: the cell is fresh and large enough.
        let t = unsafe {
            p.write(Table {
                barrier: Cell::new(0),
                kind: Kind::Table,
                array_kind: Cell::new(ArrayKind::EMPTY),
                flags: Cell::new(0),
                shape: Cell::new(shape),
                metatable: Cell::new(None),
                array: Cell::new(ptr::null_mut()),
                array_len: Cell::new(0),
                array_cap: Cell::new(0),
                overflow: Cell::new(ptr::null_mut()),
                hash: Cell::new(ptr::null_mut()),
            });
            Gc::from_ptr(p)
        };
        if array_cap > 0 {
            self.set_array_cap(t, array_cap)?;
        }
        Ok(t)
    }

    /// Gives a table of an empty shape these fields, whose keys are short and all different. Its shape is then one that
    /// no other table has come to: for tables of which a VM has one.
    pub fn fill_table(&mut self, t: Gc<Table>, fields: &[(Gc<Str>, Value)]) -> Result<(), OutOfMemory> {
        debug_assert!(!t.has_flag(table_flags::OWNED | table_flags::DICTIONARY));
        let keys: SmallVec<[Gc<Str>; 64]> = fields.iter().map(|field| field.0).collect();
        let shape = self.shapes.with_keys(t.shape.get(), &keys)?;
        let overflow = self.shapes.overflow_cap(shape) as usize;
        if overflow > 0 {
            t.overflow.set(self.heap.alloc(9 * overflow)?.as_ptr());
        }
        self.heap.write_barrier(t);
        t.shape.set(shape);
        for (slot, &(_, v)) in fields.iter().enumerate() {
            t.put_slot(self.shapes.slot_location(shape, slot as u32), v);
        }
        Ok(())
    }

    /// A table of any shape that is nobody's own, with nil in all slots.
    pub fn allocate_table(&mut self, shape: ShapeId, array_cap: u32) -> Result<Gc<Table>, OutOfMemory> {
        let root = self.shapes.root_for(self.shapes.inline_cap(shape));
        debug_assert!(self.shapes.inline_cap(root) == self.shapes.inline_cap(shape) && !self.shapes.is_owned(shape));
        let t = self.new_table(root, array_cap)?;
        let overflow = self.shapes.overflow_cap(shape) as usize;
        if overflow > 0 {
            t.overflow.set(self.heap.alloc(9 * overflow)?.as_ptr());
        }
        t.shape.set(shape);
        for slot in 0..self.shapes.slot_count(shape) {
            t.put_slot(self.shapes.slot_location(shape, slot), Value::NIL);
        }
        Ok(t)
    }

    /// An empty table with what its site has learned.
    #[inline]
    pub fn new_table_at(&mut self, site: &TableSite) -> Result<Gc<Table>, OutOfMemory> {
        let made = site.made.get().wrapping_add(1);
        site.made.set(made);
        if made.is_power_of_two() {
            self.learn(site);
        }
        let t = self.new_table(site.shape.get(), site.array_cap.get())?;
        if made.is_power_of_two() {
            site.sample.set(Some(t));
        }
        Ok(t)
    }

    /// Takes the site's lesson from its sample: allocate as much as that table has grown to.
    #[cold]
    #[inline(never)]
    pub fn learn(&mut self, site: &TableSite) {
        let Some(sample) = site.sample.take() else {
            return;
        };
        let used = self
            .shapes
            .slot_count(sample.shape.get())
            .min(LEARNED_SLOTS_MAX);
        let cap = self.shapes.inline_cap(site.shape.get());
        if used > cap || used < cap / 4 {
            site.shape
                .set(self.shapes.root_for(used.max(site.slots as u32)));
        }
        let elements = sample.array_len.get().min(LEARNED_ELEMENTS_MAX);
        if elements > site.array_cap.get() || elements < site.array_cap.get() / 4 {
            site.array_cap.set(elements.max(site.elements as u32));
        }
    }

    // Reading.

    /// Where the table has a short string key.
    #[inline]
    pub fn locate(&self, t: Gc<Table>, key: Gc<Str>) -> Location {
        if t.has_flag(table_flags::DICTIONARY) {
            let node = t.hash_part().and_then(|hash| hash.find_str(key));
            return node.map_or(Location::Absent, |at| Location::Dictionary(at as u32));
        }
        self.shapes.locate(t.shape.get(), key)
    }

    /// Notes that the caller will rely on a key being absent from all tables with this table's shape. A holder's
    /// shape then changes when a key is added.
    #[inline]
    pub fn rely_on_absence(&self, t: Gc<Table>) {
        self.shapes.note_absence(t.shape.get());
    }

    /// The value of a short string key.
    #[inline]
    pub fn get_str(&self, t: Gc<Table>, key: Gc<Str>) -> Value {
        debug_assert!(key.is_short());
        if t.has_flag(table_flags::DICTIONARY) {
            return t.get_str_hash(key);
        }
        t.slot(self.shapes.locate(t.shape.get(), key))
    }

    /// The value of any key (`rawget`).
    #[inline]
    pub fn get(&self, t: Gc<Table>, key: Value) -> Value {
        match key.tag() {
            Tag::INT => t.get_int(key.as_int_unchecked()),
            Tag::STRING if Gc::<Str>::from_addr(key.payload()).is_short() => {
                self.get_str(t, Gc::from_addr(key.payload()))
            }
            Tag::NIL => Value::NIL,
            _ => self.get_other(t, key),
        }
    }

    #[inline(never)]
    fn get_other(&self, t: Gc<Table>, key: Value) -> Value {
        match normalise_key(key).as_int() {
            Some(i) => t.get_int(i),
            None => self.get_hash(t, key),
        }
    }

    fn get_hash(&self, t: Gc<Table>, key: Value) -> Value {
        match t.hash_part() {
            Some(hash) => hash
                .find(&self.strings, key)
                .map_or(Value::NIL, |at| hash.nodes()[at].value()),
            None => Value::NIL,
        }
    }

    // Writing.

    /// Sets any key (`rawset`).
    #[inline]
    pub fn set(&mut self, t: Gc<Table>, key: Value, v: Value) -> Result<(), TableError> {
        match key.tag() {
            Tag::INT => self.set_int(t, key.as_int_unchecked(), v),
            Tag::STRING if Gc::<Str>::from_addr(key.payload()).is_short() => {
                self.set_str_dynamic(t, Gc::from_addr(key.payload()), v)
            }
            _ => self.set_other(t, key, v),
        }
    }

    #[inline(never)]
    fn set_other(&mut self, t: Gc<Table>, key: Value, v: Value) -> Result<(), TableError> {
        if key.is_nil() {
            return Err(TableError::NilKey);
        }
        if key.as_float().is_some_and(f64::is_nan) {
            return Err(TableError::NanKey);
        }
        match normalise_key(key).as_int() {
            Some(i) => self.set_int(t, i, v),
            None => self.set_hash(t, key, v),
        }
    }

    /// Sets an integer key.
    #[inline]
    pub fn set_int(&mut self, t: Gc<Table>, i: i64, v: Value) -> Result<(), TableError> {
        let n = (i as u64).wrapping_sub(1);
        let len = t.array_len.get();
        let kind = t.array_kind.get();
        if !v.is_nil() {
            if n < len as u64 && kind.accepts(v.tag()) {
                self.heap.write_barrier(t);
                t.put_element(i as u32, v);
                return Ok(());
            }
            if n == len as u64 && len < t.array_cap.get() {
                self.heap.write_barrier(t);
                t.put_element(i as u32, v);
                t.array_len.set(len + 1);
                t.array_kind.set(kind.join(v.tag()));
                return Ok(());
            }
        }
        self.set_int_slow(t, i, v)
    }

    #[cold]
    #[inline(never)]
    fn set_int_slow(&mut self, t: Gc<Table>, i: i64, v: Value) -> Result<(), TableError> {
        self.heap.write_barrier(t);
        let n = (i as u64).wrapping_sub(1);
        let (len, cap) = (t.array_len.get() as u64, t.array_cap.get() as u64);
        if v.is_nil() {
            if n < len {
                t.clear_element(i as u32);
                return Ok(());
            }
        } else if n < cap || n == len && self.grow_array(t)? {
            t.extend_to(i as u32, v);
            return Ok(());
        }
        self.set_hash(t, Value::int(i), v)
    }

    /// Sets a key that belongs into the hash part, or into the array once that has grown.
    fn set_hash(&mut self, t: Gc<Table>, key: Value, v: Value) -> Result<(), TableError> {
        self.heap.write_barrier(t);
        if let Some(hash) = t.hash_part() {
            if let Some(at) = hash.find(&self.strings, key) {
                hash.nodes()[at].set_value(v);
                return Ok(());
            }
            if v.is_nil() || hash.insert(&self.strings, key, v) {
                t.note_key(key);
                return Ok(());
            }
        } else if v.is_nil() {
            return Ok(());
        }
        self.rehash(t, key)?;
        self.set_after_rehash(t, key, v)
    }

    /// Sets a key that the table does not have and for which there is room.
    fn set_after_rehash(&mut self, t: Gc<Table>, key: Value, v: Value) -> Result<(), TableError> {
        if let Some(i) = key
            .as_int()
            .filter(|&i| i >= 1 && i <= t.array_cap.get() as i64)
        {
            t.extend_to(i as u32, v);
            return Ok(());
        }
        match t.hash_part() {
            Some(hash) if hash.insert(&self.strings, key, v) => {
                t.note_key(key);
                Ok(())
            }
            _ => Err(TableError::Memory),
        }
    }

    /// Sets a short string key that is a constant in the code.
    #[inline]
    pub fn set_str_const(
        &mut self,
        t: Gc<Table>,
        key: Gc<Str>,
        v: Value,
    ) -> Result<(), TableError> {
        self.set_str(t, key, v, Origin::Constant)
    }

    /// Sets a short string key that has been computed.
    #[inline]
    pub fn set_str_dynamic(
        &mut self,
        t: Gc<Table>,
        key: Gc<Str>,
        v: Value,
    ) -> Result<(), TableError> {
        self.set_str(t, key, v, Origin::Dynamic)
    }

    /// Sets a short string key in a constructor: nil reserves a slot, too.
    #[inline]
    pub fn init_str(&mut self, t: Gc<Table>, key: Gc<Str>, v: Value) -> Result<(), TableError> {
        if v.is_nil() && self.locate(t, key) == Location::Absent {
            return self.add_str(t, key, v, Origin::Constant);
        }
        self.set_str(t, key, v, Origin::Constant)
    }

    #[inline(always)]
    fn set_str(
        &mut self,
        t: Gc<Table>,
        key: Gc<Str>,
        v: Value,
        origin: Origin,
    ) -> Result<(), TableError> {
        debug_assert!(key.is_short());
        if t.flags.get() & !(table_flags::FINALIZABLE | table_flags::INDICES) == 0 {
            let location = self.shapes.locate(t.shape.get(), key);
            if location != Location::Absent {
                self.heap.write_barrier(t);
                t.put_slot(location, v);
                return Ok(());
            }
        }
        self.set_str_slow(t, key, v, origin)
    }

    #[cold]
    #[inline(never)]
    fn set_str_slow(
        &mut self,
        t: Gc<Table>,
        key: Gc<Str>,
        v: Value,
        origin: Origin,
    ) -> Result<(), TableError> {
        if t.has_flag(table_flags::IS_METATABLE)
            && key.event.get() != 0
            && !self.get_str(t, key).same_bits(v)
        {
            self.events_change(t);
        }
        if t.has_flag(table_flags::DICTIONARY) {
            return self.set_hash(t, Value::string(key), v);
        }
        match self.shapes.find(t.shape.get(), key) {
            Some(slot) => {
                self.store_slot(t, slot, v);
                Ok(())
            }
            None if v.is_nil() && !self.nil_reserves(t, key, origin)? => Ok(()),
            None => self.add_str(t, key, v, origin),
        }
    }

    /// Whether a store of nil gives a table a slot for a key that it does not have. Objects whose fields begin as
    /// nil then have the shape of those that are filled at once, for nine bytes a field.
    fn nil_reserves(&mut self, t: Gc<Table>, key: Gc<Str>, origin: Origin) -> Result<bool, OutOfMemory> {
        Ok(origin == Origin::Constant
            && key.event.get() == 0
            && !t.has_flag(table_flags::OWNED)
            && self.shapes.slot_count(t.shape.get()) < RESERVED_SLOTS_MAX
            && self.shape_with(t, key, origin)?.is_some())
    }

    fn store_slot(&mut self, t: Gc<Table>, slot: u32, v: Value) {
        let id = t.shape.get();
        let location = self.shapes.slot_location(id, slot);
        if self.shapes.slot_is_constant(id, slot) && !t.slot(location).same_bits(v) {
            self.shapes.set_mutable(id, slot);
            self.assumption_broken(Assumption::SlotConstant { table: t, slot });
        }
        self.heap.write_barrier(t);
        t.put_slot(location, v);
    }

    /// Adds a short string key that the table does not have.
    fn add_str(
        &mut self,
        t: Gc<Table>,
        key: Gc<Str>,
        v: Value,
        origin: Origin,
    ) -> Result<(), TableError> {
        self.heap.write_barrier(t);
        let id = t.shape.get();
        let Some(next) = self.shape_with(t, key, origin)? else {
            self.make_dictionary(t)?;
            return self.set_hash(t, Value::string(key), v);
        };
        let slots = self.shapes.slot_count(id);
        let owned = t.has_flag(table_flags::OWNED);
        let inline = self.shapes.inline_cap(id);
        let used = slots.saturating_sub(inline);
        let block = if slots < inline {
            None
        } else {
            self.next_overflow(used)?
        };
        // In a larger block the tags are elsewhere.
        let moves = block.is_some() && used > 0;
        let next = if owned {
            self.shapes.add_owned_key(id, key)
        } else {
            Ok(next)
        };
        let next = match (next, block) {
            (Ok(next), Some(block)) => {
                self.move_overflow(t, used, block);
                next
            }
            (Err(e), Some(block)) => {
                self.heap
                    .free(block, 9 * shape::overflow_capacity(used + 1) as usize);
                return Err(e.into());
            }
            (next, None) => next?,
        };
        t.put_slot(self.shapes.slot_location(next, slots), v);
        t.shape.set(next);
        if owned {
            self.holder_epoch = self.holder_epoch.wrapping_add(1);
            self.assumption_broken(Assumption::KeyAbsent { table: t, key });
            if moves {
                self.assumption_broken(Assumption::Holder { table: t });
            }
        }
        Ok(())
    }

    /// The shape with one key more, or `None` if the table should become a dictionary. An owned shape itself.
    fn shape_with(
        &mut self,
        t: Gc<Table>,
        key: Gc<Str>,
        origin: Origin,
    ) -> Result<Option<ShapeId>, OutOfMemory> {
        if t.has_flag(table_flags::DICTIONARY) {
            return Ok(None);
        }
        let id = t.shape.get();
        let slots = self.shapes.slot_count(id);
        if t.has_flag(table_flags::OWNED) {
            let max = if origin == Origin::Constant {
                shape::OWNED_SLOTS_MAX
            } else {
                shape::TREE_SLOTS_MAX
            };
            return Ok((slots < max).then_some(id));
        }
        if slots >= shape::TREE_SLOTS_MAX {
            return Ok(None);
        }
        if let Some(next) = self.shapes.next(id, key) {
            return Ok(Some(next));
        }
        let dynamic_limit = slots >= shape::DYNAMIC_SLOTS_MAX
            || self.shapes.transition_count(id) >= shape::DYNAMIC_TRANSITIONS_MAX;
        if self.shapes.is_full() || origin == Origin::Dynamic && dynamic_limit {
            return Ok(None);
        }
        self.shapes.add_key(id, key).map(Some)
    }

    /// A larger overflow block for a table whose present one, with `used` slots, is full.
    fn next_overflow(&mut self, used: u32) -> Result<Option<NonNull<u8>>, OutOfMemory> {
        let cap = shape::overflow_capacity(used + 1);
        if cap == shape::overflow_capacity(used) {
            return Ok(None);
        }
        self.heap.alloc(9 * cap as usize).map(Some)
    }

    /// Moves the `used` slots of the overflow block to the larger one from `next_overflow`.
    fn move_overflow(&mut self, t: Gc<Table>, used: u32, block: NonNull<u8>) {
        let old_cap = shape::overflow_capacity(used) as usize;
        let cap = shape::overflow_capacity(used + 1) as usize;
        if let Some(old) = NonNull::new(t.overflow.get()) {
            // SAFETY: both blocks hold their capacity's payloads followed by tags; `used` of each are in use.
            unsafe {
                ptr::copy_nonoverlapping(old.as_ptr(), block.as_ptr(), 8 * used as usize);
                let tags = old.as_ptr().add(8 * old_cap);
                ptr::copy_nonoverlapping(tags, block.as_ptr().add(8 * cap), used as usize);
            }
            self.heap.free(old, 9 * old_cap);
        }
        t.overflow.set(block.as_ptr());
    }

    /// The overflow block and its size, for the collector.
    pub fn overflow_block(&self, t: Gc<Table>) -> Option<(NonNull<u8>, usize)> {
        NonNull::new(t.overflow.get())
            .map(|p| (p, 9 * self.shapes.overflow_cap(t.shape.get()) as usize))
    }

    /// How to add an absent constant key to tables like this without allocating; `None` if that cannot be.
    /// When the key is an event, the plan holds only for tables without
    /// [`IS_METATABLE`](table_flags::IS_METATABLE), which the shape does not tell.
    pub fn plan_add(&mut self, t: Gc<Table>, key: Gc<Str>) -> Option<AddPlan> {
        if t.has_flag(table_flags::DICTIONARY | table_flags::OWNED)
            || self.locate(t, key) != Location::Absent
        {
            return None;
        }
        self.shape_with(t, key, Origin::Constant).ok()??;
        self.plan_add_to(t.shape.get(), key)
    }

    /// How to add an absent constant key to tables of a shape without allocating, if such a key has been added
    /// to one before.
    pub fn plan_add_to(&self, shape: ShapeId, key: Gc<Str>) -> Option<AddPlan> {
        if self.shapes.is_owned(shape) || self.shapes.is_dictionary(shape) {
            return None;
        }
        let next_shape = self.shapes.next(shape, key)?;
        let slot = self.shapes.slot_count(shape);
        let (offsets, inline) = match self.shapes.slot_location(next_shape, slot) {
            Location::Inline(offsets) => (offsets, true),
            Location::Overflow(offsets)
                if self.shapes.overflow_cap(next_shape) == self.shapes.overflow_cap(shape) =>
            {
                (offsets, false)
            }
            _ => return None,
        };
        Some(AddPlan { next_shape, offsets, inline })
    }

    // Holders.

    /// Gives the table a shape of its own, so that others can rely on its keys, its metatable and its constant
    /// slots. False if it cannot have one.
    pub fn make_holder(&mut self, t: Gc<Table>) -> Result<bool, OutOfMemory> {
        if t.has_flag(table_flags::OWNED) {
            return Ok(true);
        }
        if t.has_flag(table_flags::DICTIONARY) {
            return Ok(false);
        }
        let Some(id) = self.shapes.own(t.shape.get(), t)? else {
            return Ok(false);
        };
        t.shape.set(id);
        t.set_flag(table_flags::OWNED);
        Ok(true)
    }

    /// Whether a store to a present key must take the slow path because the slot is still constant. The answer
    /// "no" holds as long as the table has its shape.
    pub fn store_needs_slow_path(&self, t: Gc<Table>, key: Gc<Str>) -> bool {
        t.has_flag(table_flags::OWNED)
            && self
                .shapes
                .find(t.shape.get(), key)
                .is_some_and(|slot| self.shapes.slot_is_constant(t.shape.get(), slot))
    }

    /// A holder's slot and value of a key, if the slot is constant.
    pub fn constant_slot(&self, t: Gc<Table>, key: Gc<Str>) -> Option<(u32, Value)> {
        let id = t.shape.get();
        let slot = self.shapes.find(id, key)?;
        let value = t.slot(self.shapes.slot_location(id, slot));
        self.shapes
            .slot_is_constant(id, slot)
            .then_some((slot, value))
    }

    /// What was known of a holder beyond its slots' values ends.
    pub(super) fn holder_changed(&mut self, t: Gc<Table>) {
        self.holder_epoch = self.holder_epoch.wrapping_add(1);
        self.assumption_broken(Assumption::Holder { table: t });
    }

    // Dictionaries and rebuilding.

    /// Moves the slots to the hash part.
    fn make_dictionary(&mut self, t: Gc<Table>) -> Result<(), TableError> {
        if t.has_flag(table_flags::DICTIONARY) {
            return Ok(());
        }
        let id = t.shape.get();
        let dictionary = self.shapes.dictionary(self.shapes.class(id))?;
        let in_hash = t.hash_part().map_or(0, |hash| {
            hash.nodes().iter().filter(|n| !n.value().is_nil()).count()
        });
        let count = in_hash + self.shapes.slot_count(id) as usize + 1;
        let new = HashPart::alloc(&mut self.heap, HashPart::nodes_for(count))?;
        // SAFETY: just made, and used by this table only.
        let part = unsafe { new.as_ref() };
        let mut fits = true;
        if let Some(hash) = t.hash_part() {
            for node in hash.nodes().iter().filter(|n| !n.value().is_nil()) {
                fits &= part.insert(&self.strings, node.key(), node.value());
            }
        }
        for (slot, &key) in self.shapes.keys(id).iter().enumerate() {
            let v = t.slot(self.shapes.slot_location(id, slot as u32));
            if !v.is_nil() {
                fits &= part.insert(&self.strings, Value::string(key), v);
            }
        }
        debug_assert!(fits);
        if let Some((block, size)) = t.hash_block() {
            self.heap.free(block, size);
        }
        t.hash.set(new.as_ptr());
        if let Some((block, size)) = self.overflow_block(t) {
            self.heap.free(block, size);
            t.overflow.set(ptr::null_mut());
        }
        t.shape.set(dictionary);
        t.set_flag(table_flags::DICTIONARY);
        if t.has_flag(table_flags::OWNED) {
            t.clear_flag(table_flags::OWNED);
            self.shapes.disown(id);
            self.holder_changed(t);
        }
        Ok(())
    }

    /// Rebuilds array and hash part so that there is room for one key more. As in Lua, the array gets the
    /// largest power of two such that more than half of it is in use.
    #[cold]
    #[inline(never)]
    pub(super) fn rehash(&mut self, t: Gc<Table>, extra: Value) -> Result<(), TableError> {
        let old = t.hash_part();
        let live = || {
            old.into_iter()
                .flat_map(|hash| hash.nodes())
                .filter(|node| !node.value().is_nil())
        };

        // bins[b]: integer keys in (2^(b-1), 2^b].
        let mut bins = [0u32; 33];
        let mut count_int = |key: Value| {
            if let Some(i) = key.as_int().filter(|i| (1..=1 << 32).contains(i)) {
                bins[64 - (i as u64 - 1).leading_zeros() as usize] += 1;
            }
        };
        live().for_each(|node| count_int(node.key()));
        count_int(extra);
        let tags = t.element_tags();
        let mut low = 0;
        for (b, bin) in bins.iter_mut().enumerate() {
            let high = (1usize << b).min(tags.len());
            if low < high {
                let holes = match t.array_kind.get() {
                    ArrayKind::ANY => tags[low..high]
                        .iter()
                        .filter(|&&tag| tag == Tag::NIL.byte())
                        .count(),
                    _ => 0,
                };
                *bin += (high - low - holes) as u32;
                low = high;
            }
        }
        let dense = dense_size(&bins);

        let (len, old_cap) = (t.array_len.get(), t.array_cap.get());
        // An array keeps its capacity unless it is dense no more or much too large.
        let cap = if dense > old_cap || dense < len || old_cap / 8 > dense {
            dense
        } else {
            old_cap
        };
        let in_array = |key: Value| key.as_int().is_some_and(|i| i >= 1 && i <= cap as i64);
        let leaving = || {
            (cap + 1..=len)
                .map(|i| (i, t.element(i)))
                .filter(|(_, v)| !v.is_nil())
        };
        let count = live().filter(|node| !in_array(node.key())).count()
            + leaving().count()
            + usize::from(!in_array(extra));

        let new = if count == 0 {
            None
        } else {
            let mut nodes = HashPart::nodes_for(count);
            // Where keys come and go, room to breathe: else every few insertions would end here.
            if old.is_some_and(|hash| hash.node_count() == nodes) && count > nodes / 4 * 3 {
                nodes *= 2;
            }
            Some(HashPart::alloc(&mut self.heap, nodes)?)
        };
        // SAFETY: just made, and used by this table only.
        let part = new.map(|p| unsafe { p.as_ref() });
        t.clear_flag(table_flags::INDICES);
        let insert = |strings: &_, key, v| {
            t.note_key(key);
            let fits = part.is_some_and(|part| part.insert(strings, key, v));
            debug_assert!(fits);
        };
        for (i, v) in leaving() {
            insert(&self.strings, Value::int(i as i64), v);
        }
        let mut ready = Ok(());
        for (i, node) in live().filter(|node| !in_array(node.key())).enumerate() {
            if i & 0xFFFF == 0xFFFF {
                ready = self.heap.poll();
                if ready.is_err() {
                    break;
                }
            }
            insert(&self.strings, node.key(), node.value());
        }
        if ready.is_ok() && cap != old_cap {
            t.array_len.set(len.min(cap));
            ready = self.set_array_cap(t, cap);
            if ready.is_err() {
                t.array_len.set(len);
            }
        }
        if let Err(e) = ready {
            t.set_flag(table_flags::INDICES);
            if let (Some(p), Some(part)) = (new, part) {
                self.heap.free(p.cast(), HashPart::size(part.node_count()));
            }
            return Err(e.into());
        }
        if old.is_some_and(HashPart::has_ints) {
            for node in live().filter(|node| in_array(node.key())) {
                if let Some(i) = node.key().as_int() {
                    t.extend_to(i as u32, node.value());
                }
            }
        }
        if let Some((block, size)) = t.hash_block() {
            self.heap.free(block, size);
        }
        t.hash.set(new.map_or(ptr::null_mut(), NonNull::as_ptr));
        if t.array_kind.get() == ArrayKind::ANY {
            t.refresh_array();
        }
        Ok(())
    }

    // Traversal.

    /// The entry behind `key` (nil: the first one): array, slots, hash part.
    pub fn next(&self, t: Gc<Table>, key: Value) -> Result<Option<(Value, Value)>, InvalidKey> {
        let position = self.key_position(t, key)?;
        Ok(self
            .next_index(t, position)
            .map(|(_, key, value)| (key, value)))
    }

    /// Floats are not normalised: `next` never returns one that equals an integer, and does not take one.
    fn position_behind(&self, t: Gc<Table>, key: Value) -> Result<u64, InvalidKey> {
        // An element that has been assigned nil may be behind the end by now.
        if let Some(i) = key
            .as_int()
            .filter(|&i| i >= 1 && i <= t.array_cap.get() as i64)
        {
            return Ok(i as u64);
        }
        if let Some(key) = key
            .as_string()
            .filter(|key| key.is_short() && !t.has_flag(table_flags::DICTIONARY))
        {
            let slot = self.shapes.find(t.shape.get(), key).ok_or(InvalidKey)?;
            return Ok(SLOTS + slot as u64 + 1);
        }
        let node = t
            .hash_part()
            .and_then(|hash| hash.find_for_next(&self.strings, key))
            .ok_or(InvalidKey)?;
        Ok(NODES + node as u64 + 1)
    }

    /// The position behind `key`, or the beginning for nil.
    pub fn key_position(&self, t: Gc<Table>, key: Value) -> Result<u64, InvalidKey> {
        if key.is_nil() { Ok(0) } else { self.position_behind(t, key) }
    }

    /// The position behind the entry that follows `key` (nil: that is the first one), or [`END`].
    pub fn find_next(&self, t: Gc<Table>, key: Value) -> Result<u64, InvalidKey> {
        let position = self.key_position(t, key)?;
        Ok(self.next_position(t, position))
    }

    /// The position behind the first entry at or behind a position, or [`END`].
    #[inline]
    pub fn next_position(&self, t: Gc<Table>, position: u64) -> u64 {
        self.next_index(t, position).map_or(END, |(position, ..)| position)
    }

    /// The key before a position that [`Runtime::next_position`] has given; nil at the end.
    #[inline]
    pub fn key_before(&self, t: Gc<Table>, position: u64) -> Value {
        if position <= SLOTS {
            Value::int(position as i64)
        } else if position <= NODES {
            Value::string(self.shapes.keys(t.shape.get())[(position - SLOTS) as usize - 1])
        } else {
            t.node_before(position).map_or(Value::NIL, Node::key)
        }
    }

    /// The value of that key.
    #[inline]
    pub fn value_before(&self, t: Gc<Table>, position: u64) -> Value {
        if position <= SLOTS {
            t.get_int(position as i64)
        } else if position <= NODES {
            t.slot(self.shapes.slot_location(t.shape.get(), (position - SLOTS) as u32 - 1))
        } else {
            t.node_before(position).map_or(Value::NIL, Node::value)
        }
    }

    /// The first entry at or behind a position, and the position behind that. Traversals begin at 0; positions
    /// stay good as long as no key is added.
    #[inline]
    pub fn next_index(&self, t: Gc<Table>, position: u64) -> Option<(u64, Value, Value)> {
        let mut position = position;
        if position < SLOTS {
            while position < t.array_len.get() as u64 {
                position += 1;
                let v = t.element(position as u32);
                if !v.is_nil() {
                    return Some((position, Value::int(position as i64), v));
                }
            }
            position = SLOTS;
        }
        if position < NODES {
            let id = t.shape.get();
            let keys = self.shapes.keys(id);
            while let Some(&key) = keys.get((position - SLOTS) as usize) {
                let v = t.slot(self.shapes.slot_location(id, (position - SLOTS) as u32));
                position += 1;
                if !v.is_nil() {
                    return Some((position, Value::string(key), v));
                }
            }
            position = NODES;
        }
        let nodes = t.hash_part()?.nodes();
        while let Some(node) = nodes.get((position - NODES) as usize) {
            position += 1;
            if !node.value().is_nil() {
                return Some((position, node.key(), node.value()));
            }
        }
        None
    }
}

/// Positions of a traversal: elements from 0, slots from here, nodes from there.
const SLOTS: u64 = 1 << 32;
pub const NODES: u64 = 1 << 33;
/// The position behind all entries.
pub const END: u64 = u64::MAX;

/// The largest power of two such that more than half of the keys up to it are in use, or 0.
fn dense_size(bins: &[u32; 33]) -> u32 {
    let (mut best, mut below) = (0, 0u64);
    for (b, &bin) in bins.iter().enumerate().take(32) {
        below += bin as u64;
        if below > (1u64 << b) / 2 {
            best = 1 << b;
        }
    }
    best
}
