//! Metatables: the events, and how to get at the metamethod of a value.

use super::Runtime;
use super::assumption::Assumption;
use super::class::ClassId;
use super::class::Events;
use super::object::Gc;
use super::shape::{Location, ShapeId};
use super::table::{Table, table_flags};
use super::value::{Tag, Value};
use crate::bytecode::cache::SlotOffsets;
use crate::heap::OutOfMemory;

macro_rules! events {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// What metatables can define.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Event { $($variant),* }

        impl Event {
            /// All events, in order.
            pub const ALL: &[Event] = &[$(Event::$variant),*];

            /// The key in the metatable.
            pub fn name(self) -> &'static str {
                match self { $(Event::$variant => $name),* }
            }
        }
    };
}

events! {
    Index "__index", NewIndex "__newindex", Gc "__gc", Mode "__mode", Len "__len", Eq "__eq", Add "__add",
    Sub "__sub", Mul "__mul", Mod "__mod", Pow "__pow", Div "__div", IDiv "__idiv", BAnd "__band", BOr "__bor",
    BXor "__bxor", Shl "__shl", Shr "__shr", Unm "__unm", BNot "__bnot", Lt "__lt", Le "__le",
    Concat "__concat", Call "__call", Close "__close", ToString "__tostring", Name "__name", Pairs "__pairs",
    Metatable "__metatable",
}

const _: () = assert!(Event::ALL.len() <= 32);

/// The number of basic types that share one metatable per type.
pub const BASIC_TYPES: usize = 7;

/// The index of the type in [`Runtime::primitive_metatables`]: nil, boolean, number, string, function, light
/// userdata, thread. `None` for tables and full userdata, which have metatables of their own.
pub fn basic_type(tag: Tag) -> Option<u8> {
    Some(match tag {
        Tag::NIL => 0,
        Tag::FALSE | Tag::TRUE => 1,
        Tag::INT | Tag::FLOAT => 2,
        Tag::STRING => 3,
        Tag::CLOSURE | Tag::NATIVE => 4,
        Tag::LIGHT => 5,
        Tag::COROUTINE => 6,
        _ => return None,
    })
}

const META_CACHE_SIZE: usize = 64;
const META_EVENTS_MAX: usize = 3;

/// Cached metatable transitions by the metatable's shape: they hold for every metatable of that shape whose
/// event slots (all inline) have these values.
#[derive(Clone, Copy)]
struct ByShape {
    old: ShapeId,
    meta: ShapeId,
    new: ShapeId,
    count: u32,
    slots: [SlotOffsets; META_EVENTS_MAX],
    values: [Value; META_EVENTS_MAX],
}

/// Cached metatable transitions by the metatable's identity, good as long as no metatable's events change.
#[derive(Clone, Copy)]
struct ByIdentity {
    old: ShapeId,
    new: ShapeId,
    meta: u64,
}

const NO_SHAPE_ENTRY: ByShape = ByShape {
    old: ShapeId::NONE,
    meta: ShapeId::NONE,
    new: ShapeId::NONE,
    count: 0,
    slots: [SlotOffsets { payload: 0, tag: 0 }; META_EVENTS_MAX],
    values: [Value::NIL; META_EVENTS_MAX],
};
const NO_IDENTITY_ENTRY: ByIdentity = ByIdentity {
    old: ShapeId::NONE,
    new: ShapeId::NONE,
    meta: 0,
};

/// The recent metatable transitions, direct-mapped. All references are weak.
pub struct MetatableCache {
    by_shape: Box<[ByShape; META_CACHE_SIZE]>,
    by_identity: Box<[ByIdentity; META_CACHE_SIZE]>,
}

impl MetatableCache {
    pub(super) fn new() -> MetatableCache {
        MetatableCache {
            by_shape: Box::new([NO_SHAPE_ENTRY; META_CACHE_SIZE]),
            by_identity: Box::new([NO_IDENTITY_ENTRY; META_CACHE_SIZE]),
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_shape.fill(NO_SHAPE_ENTRY);
        self.by_identity.fill(NO_IDENTITY_ENTRY);
    }

    #[inline(always)]
    fn shape_index(old: ShapeId, meta: ShapeId) -> usize {
        (old.0 ^ meta.0.wrapping_mul(5)) as usize % META_CACHE_SIZE
    }

    #[inline(always)]
    fn identity_index(old: ShapeId, meta: Gc<Table>) -> usize {
        (old.0 ^ (meta.addr() >> 4) as u32 ^ (meta.addr() >> 10) as u32) as usize % META_CACHE_SIZE
    }

    /// The shape of a table of shape `old` (not owned) with the metatable `meta`.
    #[inline(always)]
    fn lookup(&self, old: ShapeId, meta: Gc<Table>) -> Option<ShapeId> {
        let e = &self.by_shape[Self::shape_index(old, meta.shape.get())];
        if e.old == old && e.meta == meta.shape.get() {
            let mut same = true;
            for i in 0..e.count as usize {
                same &= meta
                    .slot(Location::Inline(e.slots[i]))
                    .same_bits(e.values[i]);
            }
            if same {
                return Some(e.new);
            }
        }
        let e = &self.by_identity[Self::identity_index(old, meta)];
        (e.old == old && e.meta == meta.addr()).then_some(e.new)
    }
}

impl Runtime {
    /// The metamethod of any value, or nil.
    #[inline]
    pub fn metamethod(&self, v: Value, e: Event) -> Value {
        if let Some(t) = v.as_table() {
            return self.table_event(t, e);
        }
        match self.metatable(v) {
            Some(m) => self.get_str(m, self.events[e as usize]),
            None => Value::NIL,
        }
    }

    /// The metamethod of a table, or nil.
    #[inline]
    pub fn table_event(&self, t: Gc<Table>, e: Event) -> Value {
        let Some(m) = t.metatable.get() else {
            return Value::NIL;
        };
        match self.classes.event(self.shapes.class(t.shape.get()), e) {
            Some(v) => v,
            None => self.get_str(m, self.events[e as usize]),
        }
    }

    /// Whether the events of a table's metatable (if any) follow from its shape.
    #[inline]
    pub fn class_is_known(&self, shape: ShapeId) -> bool {
        self.classes.is_known(self.shapes.class(shape))
    }

    /// The metatable of any value.
    #[inline]
    pub fn metatable(&self, v: Value) -> Option<Gc<Table>> {
        match v.tag() {
            Tag::TABLE => v.as_table().and_then(|t| t.metatable.get()),
            Tag::USERDATA => v.as_userdata().and_then(|u| u.metatable.get()),
            tag => basic_type(tag).and_then(|basic| self.primitive_metatables[basic as usize]),
        }
    }

    /// Sets the metatable of all values of a basic type; see [`basic_type`].
    pub fn set_primitive_metatable(&mut self, basic: u8, m: Option<Gc<Table>>) {
        if let Some(m) = m {
            m.set_flag(table_flags::IS_METATABLE);
        }
        self.primitive_metatables[basic as usize] = m;
        self.holder_epoch = self.holder_epoch.wrapping_add(1);
        self.assumption_broken(Assumption::PrimitiveMetatable(basic));
    }

    /// Sets or removes a table's metatable. Finalizers are the caller's business.
    #[inline]
    pub fn set_metatable(&mut self, t: Gc<Table>, m: Option<Gc<Table>>) -> Result<(), OutOfMemory> {
        if let Some(m) = m
            && !t.has_flag(table_flags::OWNED)
            && let Some(shape) = self.metatable_cache.lookup(t.shape.get(), m)
        {
            self.heap.write_barrier(t);
            m.set_flag(table_flags::IS_METATABLE);
            t.metatable.set(Some(m));
            t.shape.set(shape);
            return Ok(());
        }
        self.set_metatable_slow(t, m)
    }

    /// The shape that a table of this shape, which is not an owned one, has with the metatable `m`, as long as that
    /// keeps its events.
    pub fn shape_with_metatable(&mut self, shape: ShapeId, m: Gc<Table>) -> Result<ShapeId, OutOfMemory> {
        m.set_flag(table_flags::IS_METATABLE);
        let class = self.class_for(shape, m)?;
        self.shapes.with_class(shape, class)
    }

    /// The value of an event in a metatable, or nil.
    pub fn event_of(&self, m: Gc<Table>, e: Event) -> Value {
        self.get_str(m, self.events[e as usize])
    }

    #[cold]
    #[inline(never)]
    fn set_metatable_slow(
        &mut self,
        t: Gc<Table>,
        m: Option<Gc<Table>>,
    ) -> Result<(), OutOfMemory> {
        let old = t.shape.get();
        let class = match m {
            None => ClassId::NONE,
            Some(m) => self.class_for(old, m)?,
        };
        let owned = t.has_flag(table_flags::OWNED);
        let new = if owned {
            self.shapes.set_owned_class(old, class)?
        } else {
            self.shapes.with_class(old, class)?
        };
        if owned {
            self.holder_changed(t);
        }
        self.heap.write_barrier(t);
        t.metatable.set(m);
        t.shape.set(new);
        if let Some(m) = m {
            m.set_flag(table_flags::IS_METATABLE);
            if !owned {
                self.cache_metatable(old, m, new);
            }
        }
        Ok(())
    }

    /// The class of a metatable, for a table of the given shape.
    fn class_for(&mut self, shape: ShapeId, m: Gc<Table>) -> Result<ClassId, OutOfMemory> {
        let events = self.events_of(m);
        // A metatable without events is probably about to get some.
        if events.is_empty() {
            return Ok(ClassId::UNKNOWN);
        }
        match self.classes.find(&events) {
            Some(class) => Ok(class),
            None if self.shapes.accepts_class(shape)? => self.classes.intern(events),
            None => Ok(ClassId::UNKNOWN),
        }
    }

    /// The events that a metatable defines.
    fn events_of(&self, m: Gc<Table>) -> Events {
        let dictionary = m.has_flag(table_flags::DICTIONARY);
        let keys = self.shapes.events(m.shape.get());
        let mut events = Events::default();
        for &e in Event::ALL {
            if dictionary || keys & 1 << e as u32 != 0 {
                let v = self.get_str(m, self.events[e as usize]);
                if !v.is_nil() {
                    events.push(e, v);
                }
            }
        }
        events
    }

    fn cache_metatable(&mut self, old: ShapeId, m: Gc<Table>, new: ShapeId) {
        let meta = m.shape.get();
        let mut entry = ByShape {
            old,
            meta,
            new,
            ..NO_SHAPE_ENTRY
        };
        let keys = self.shapes.events(meta);
        // Owned shapes change, and dictionaries keep their keys elsewhere.
        let mut by_shape = !m.has_flag(table_flags::OWNED | table_flags::DICTIONARY)
            && keys.count_ones() as usize <= META_EVENTS_MAX;
        for &e in Event::ALL {
            if by_shape && keys & 1 << e as u32 != 0 {
                let location = self.shapes.locate(meta, self.events[e as usize]);
                if let Location::Inline(slot) = location {
                    entry.slots[entry.count as usize] = slot;
                    entry.values[entry.count as usize] = m.slot(location);
                    entry.count += 1;
                } else {
                    by_shape = false;
                }
            }
        }
        if by_shape {
            self.metatable_cache.by_shape[MetatableCache::shape_index(old, meta)] = entry;
        } else {
            let entry = ByIdentity {
                old,
                new,
                meta: m.addr(),
            };
            self.metatable_cache.by_identity[MetatableCache::identity_index(old, m)] = entry;
        }
    }

    /// From now on changes of the events of a metatable that no table has are noticed, too.
    pub fn watch_events(&mut self, m: Gc<Table>) {
        m.set_flag(table_flags::IS_METATABLE);
    }

    /// An event of a table in use as a metatable is about to change: all that was derived from its events ends.
    #[cold]
    #[inline(never)]
    pub(super) fn events_change(&mut self, m: Gc<Table>) {
        let events = self.events_of(m);
        if let Some(class) = self.classes.find(&events) {
            self.dissolve(class);
        }
        self.metatable_cache.clear();
        self.class_epoch = self.class_epoch.wrapping_add(1);
        self.assumption_broken(Assumption::Events { metatable: m });
        for basic in 0..BASIC_TYPES as u8 {
            if self.primitive_metatables[basic as usize] == Some(m) {
                self.holder_epoch = self.holder_epoch.wrapping_add(1);
                self.assumption_broken(Assumption::PrimitiveMetatable(basic));
            }
        }
    }

    /// From now on shapes of the class vouch for nothing; every inline cache must go before the next instruction.
    fn dissolve(&mut self, class: ClassId) {
        self.classes.dissolve(class);
        self.holder_epoch = self.holder_epoch.wrapping_add(1);
        self.flush_caches = true;
        self.assumption_broken(Assumption::Class(class));
    }

    /// The collector announces that it will clear entries of a weak table.
    pub fn before_weak_clear(&mut self, t: Gc<Table>) {
        if t.has_flag(table_flags::IS_METATABLE) {
            self.events_change(t);
        }
    }
}
