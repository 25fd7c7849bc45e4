//! Shapes: which string keys a table has, in which slots, and the class of its metatable.
//!
//! Shapes form a transition tree owned by the VM, from one root per inline capacity. Invariant: the slots of a table are
//! those of its shape, whose key list never changes but for the owned shapes, each the shape of exactly one table. A
//! key that a shape lacks is absent; one that it has may still hold nil. Shape ids are never reused.
//!
//! Three kinds: *tree shapes* are shared; *owned shapes* belong to one table through which others find their methods
//! (or the globals), and know which of its slots are constant; *dictionary shapes*, one per class, have no slots: all keys are in
//! the hash part.

use std::cell::Cell;
use std::mem::size_of;

use hashbrown::HashMap;

use super::class::ClassId;
use super::hasher::BuildWordHasher;
use super::object::{Gc, Header};
use super::string::Str;
use super::table::Table;
use crate::bytecode::cache::SlotOffsets;
use crate::heap::OutOfMemory;

/// Names a shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct ShapeId(pub u32);

impl ShapeId {
    /// The shape of no table.
    pub const NONE: ShapeId = ShapeId(0);
    /// The empty shape without inline slots.
    pub const EMPTY: ShapeId = ShapeId(1);
    /// The dictionary shape of tables without metatable.
    pub const DICTIONARY: ShapeId = ShapeId(1 + INLINE_CAPS.len() as u32);
}

/// The inline capacities that shapes may have.
pub const INLINE_CAPS: [u8; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32];

/// The most slots of a tree shape.
pub const TREE_SLOTS_MAX: u32 = 512;
/// The most slots of an owned shape; their offsets must fit [`SlotOffsets`].
pub const OWNED_SLOTS_MAX: u32 = 4096;
/// A key that is not a constant in the code adds no transition to a shape with so many slots ...
pub const DYNAMIC_SLOTS_MAX: u32 = 16;
/// ... or so many transitions.
pub const DYNAMIC_TRANSITIONS_MAX: u32 = 64;
/// Classes that a shape distinguishes; for further ones it does not know the class.
const CLASSES_MAX: u32 = 64;
/// When there are so many shapes, tables with new sets of keys become dictionaries.
const SHAPES_MAX: usize = 1 << 21;
/// Ids given to owned shapes in a VM's life, before no further table gets one.
const OWNED_MAX: u32 = 1 << 18;
/// Key lists up to this length are searched linearly.
const LINEAR_MAX: usize = 8;
/// Entries of the lookup cache, a power of two.
const CACHE_SIZE: usize = 512;

/// Where a table has a string key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// In the table itself.
    Inline(SlotOffsets),
    /// In its overflow block.
    Overflow(SlotOffsets),
    /// In this node of the hash part; the shape says nothing about it.
    Dictionary(u32),
    /// The table does not have the key.
    Absent,
}

impl SlotOffsets {
    /// Whether the offsets are of a slot in an overflow block, which they tell by themselves: inline slots follow the header
    /// of the table, and that has no room for as many tags as it has for payloads.
    pub fn in_overflow(self) -> bool {
        // Payload `k` and tag `k` are this far apart modulo 8, whatever the capacity.
        let header = size_of::<Table>() as u16;
        const { assert!(!(size_of::<Table>() - size_of::<Table>() / 8).is_multiple_of(8)) };
        let inline = (header - header / 8) % 8;
        self.tag.wrapping_sub(self.payload / 8) % 8 != inline
    }
}

/// The capacity of the overflow block for so many slots beyond the inline ones.
#[inline]
pub fn overflow_capacity(slots: u32) -> u32 {
    if slots == 0 {
        0
    } else {
        slots.next_power_of_two().max(4)
    }
}

/// Keys in slot order. Shared by the shapes along a path of the tree: each sees a prefix.
#[derive(Default)]
struct KeyList {
    keys: Vec<Gc<Str>>,
    /// Slots by key address, once the list is long.
    index: HashMap<u64, u32, BuildWordHasher>,
}

impl KeyList {
    fn push(&mut self, key: Gc<Str>) -> Result<(), OutOfMemory> {
        self.keys.try_reserve(1).map_err(|_| OutOfMemory)?;
        let n = self.keys.len();
        if n >= LINEAR_MAX {
            let missing = n + 1 - self.index.len();
            self.index.try_reserve(missing).map_err(|_| OutOfMemory)?;
            for slot in self.index.len()..n {
                self.index.insert(self.keys[slot].addr(), slot as u32);
            }
            self.index.insert(key.addr(), n as u32);
        }
        self.keys.push(key);
        Ok(())
    }

    /// A list of keys that are all different.
    fn of(from: &[Gc<Str>]) -> Result<KeyList, OutOfMemory> {
        let mut list = KeyList::default();
        list.keys.try_reserve(from.len()).map_err(|_| OutOfMemory)?;
        list.keys.extend_from_slice(from);
        if from.len() > LINEAR_MAX {
            list.index.try_reserve(from.len()).map_err(|_| OutOfMemory)?;
            for (slot, key) in from.iter().enumerate() {
                list.index.insert(key.addr(), slot as u32);
            }
        }
        Ok(list)
    }

    fn prefix(&self, n: usize) -> Result<KeyList, OutOfMemory> {
        KeyList::of(&self.keys[..n])
    }

    #[inline]
    fn find(&self, n: usize, key: Gc<Str>) -> Option<u32> {
        if n <= LINEAR_MAX {
            return self.keys[..n]
                .iter()
                .position(|&k| k == key)
                .map(|slot| slot as u32);
        }
        self.index
            .get(&key.addr())
            .copied()
            .filter(|&slot| (slot as usize) < n)
    }
}

/// What an owned shape knows beside its keys.
struct Owned {
    table: Gc<Table>,
    /// The slots that have been stored to since they were initialised.
    mutable: Vec<bool>,
    /// Whether someone has been told that the table lacks some key.
    absence_seen: Cell<bool>,
}

struct Shape {
    slots: u32,
    keys: u32,
    class: ClassId,
    /// The events (bits) that are among the keys.
    events: u32,
    inline_cap: u8,
    /// Tree shapes: the shape with the same keys and no metatable, or `NONE` if nobody has needed it.
    base: ShapeId,
    /// Key and class transitions made from here.
    transitions: u32,
    class_transitions: u32,
    owned: Option<Box<Owned>>,
}

#[derive(Clone, Copy)]
struct CacheEntry {
    key: u64,
    shape: ShapeId,
    location: Location,
}

const NO_ENTRY: CacheEntry = CacheEntry {
    key: 0,
    shape: ShapeId::NONE,
    location: Location::Absent,
};

/// All shapes of a VM.
pub struct Shapes {
    list: Vec<Shape>,
    key_lists: Vec<KeyList>,
    transitions: HashMap<(u32, u64), ShapeId, BuildWordHasher>,
    class_transitions: HashMap<(u32, u32), ShapeId, BuildWordHasher>,
    /// Results of [`Shapes::locate`], direct-mapped.
    cache: Box<[Cell<CacheEntry>; CACHE_SIZE]>,
    owned_made: u32,
}

impl Shapes {
    pub fn new() -> Shapes {
        let shape = |inline_cap, id| Shape {
            slots: 0,
            keys: 0,
            class: ClassId::NONE,
            events: 0,
            inline_cap,
            base: ShapeId(id),
            transitions: 0,
            class_transitions: 0,
            owned: None,
        };
        let mut list = vec![shape(0, 0)];
        for cap in INLINE_CAPS {
            list.push(shape(cap, list.len() as u32));
        }
        list.push(shape(0, ShapeId::DICTIONARY.0));
        Shapes {
            list,
            key_lists: vec![KeyList::default()],
            transitions: HashMap::default(),
            class_transitions: HashMap::default(),
            cache: Box::new([const { Cell::new(NO_ENTRY) }; CACHE_SIZE]),
            owned_made: 0,
        }
    }

    #[inline(always)]
    fn shape(&self, id: ShapeId) -> &Shape {
        &self.list[id.0 as usize]
    }

    #[inline(always)]
    fn shape_mut(&mut self, id: ShapeId) -> &mut Shape {
        &mut self.list[id.0 as usize]
    }

    /// The empty shape with room for at least `slots` inline slots, or as many as there can be.
    pub fn root_for(&self, slots: u32) -> ShapeId {
        let bucket = INLINE_CAPS
            .iter()
            .position(|&cap| cap as u32 >= slots)
            .unwrap_or(INLINE_CAPS.len() - 1);
        ShapeId(ShapeId::EMPTY.0 + bucket as u32)
    }

    /// The number of slots.
    #[inline(always)]
    pub fn slot_count(&self, id: ShapeId) -> u32 {
        self.shape(id).slots
    }

    #[inline(always)]
    pub fn inline_cap(&self, id: ShapeId) -> u32 {
        self.shape(id).inline_cap as u32
    }

    /// The capacity of the overflow block of a table of this shape.
    #[inline]
    pub fn overflow_cap(&self, id: ShapeId) -> u32 {
        let shape = self.shape(id);
        overflow_capacity(shape.slots.saturating_sub(shape.inline_cap as u32))
    }

    #[inline(always)]
    pub fn class(&self, id: ShapeId) -> ClassId {
        self.shape(id).class
    }

    /// The events (a bit each) that are among the keys.
    #[inline(always)]
    pub fn events(&self, id: ShapeId) -> u32 {
        self.shape(id).events
    }

    /// The keys in slot order.
    #[inline]
    pub fn keys(&self, id: ShapeId) -> &[Gc<Str>] {
        let shape = self.shape(id);
        &self.key_lists[shape.keys as usize].keys[..shape.slots as usize]
    }

    /// The slot of a (short) key.
    #[inline]
    pub fn find(&self, id: ShapeId, key: Gc<Str>) -> Option<u32> {
        let shape = self.shape(id);
        self.key_lists[shape.keys as usize].find(shape.slots as usize, key)
    }

    /// Where tables of the shape have a slot.
    #[inline]
    pub fn slot_location(&self, id: ShapeId, slot: u32) -> Location {
        let cap = self.shape(id).inline_cap as u32;
        if slot < cap {
            let base = size_of::<Table>() as u32;
            let payload = (base + 8 * slot) as u16;
            Location::Inline(SlotOffsets {
                payload,
                tag: (base + 8 * cap + slot) as u16,
            })
        } else {
            let j = slot - cap;
            let payload = (8 * j) as u16;
            Location::Overflow(SlotOffsets {
                payload,
                tag: (8 * self.overflow_cap(id) + j) as u16,
            })
        }
    }

    /// Where tables of the shape (not a dictionary) have a short key.
    #[inline(always)]
    pub(super) fn locate(&self, id: ShapeId, key: Gc<Str>) -> Location {
        let hash = (key.addr() >> 4) as u32 ^ id.0.wrapping_mul(0x9E37_79B1) >> 20;
        let cell = &self.cache[hash as usize % CACHE_SIZE];
        let entry = cell.get();
        if entry.key == key.addr() && entry.shape == id {
            return entry.location;
        }
        self.locate_uncached(id, key, cell)
    }

    #[inline(never)]
    fn locate_uncached(&self, id: ShapeId, key: Gc<Str>, cell: &Cell<CacheEntry>) -> Location {
        let location = match self.find(id, key) {
            Some(slot) => self.slot_location(id, slot),
            None => Location::Absent,
        };
        // Owned shapes change.
        if !self.is_owned(id) {
            cell.set(CacheEntry {
                key: key.addr(),
                shape: id,
                location,
            });
        }
        location
    }

    fn add_shape(&mut self, shape: Shape) -> Result<ShapeId, OutOfMemory> {
        self.list.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.list.push(shape);
        Ok(ShapeId(self.list.len() as u32 - 1))
    }

    fn add_key_list(&mut self, list: KeyList) -> Result<u32, OutOfMemory> {
        self.key_lists.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.key_lists.push(list);
        Ok(self.key_lists.len() as u32 - 1)
    }

    /// The transition of a tree shape by a key, if it has been made.
    #[inline]
    pub(super) fn next(&self, id: ShapeId, key: Gc<Str>) -> Option<ShapeId> {
        self.transitions.get(&(id.0, key.addr())).copied()
    }

    /// How many keys have been added to tables of this very shape.
    #[inline]
    pub(super) fn transition_count(&self, id: ShapeId) -> u32 {
        self.shape(id).transitions
    }

    /// Whether there can be more shapes.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= SHAPES_MAX
    }

    /// The tree shape with one key more, which the shape must not have.
    pub(super) fn add_key(&mut self, id: ShapeId, key: Gc<Str>) -> Result<ShapeId, OutOfMemory> {
        if let Some(next) = self.next(id, key) {
            return Ok(next);
        }
        self.transitions.try_reserve(1).map_err(|_| OutOfMemory)?;
        let Shape {
            slots,
            keys,
            class,
            events,
            inline_cap,
            ..
        } = *self.shape(id);
        let n = slots as usize;
        let list = &mut self.key_lists[keys as usize];
        // The root's list is shared by all first keys, so it stays empty.
        let keys = match list.keys.get(n) {
            Some(&k) if k == key => keys,
            None if n > 0 => {
                list.push(key)?;
                keys
            }
            _ => {
                let mut copy = list.prefix(n)?;
                copy.push(key)?;
                self.add_key_list(copy)?
            }
        };
        let next = self.add_shape(Shape {
            slots: slots + 1,
            keys,
            class,
            events: events | event_bit(key),
            inline_cap,
            base: ShapeId::NONE,
            transitions: 0,
            class_transitions: 0,
            owned: None,
        })?;
        if class == ClassId::NONE {
            self.shape_mut(next).base = next;
        }
        self.shape_mut(id).transitions += 1;
        self.transitions.insert((id.0, key.addr()), next);
        Ok(next)
    }

    /// A tree shape with a root's inline capacity and these keys, which are all different and at most
    /// [`TREE_SLOTS_MAX`]. It is made in one step, so no transition leads to it: each call makes another shape.
    pub(super) fn with_keys(&mut self, root: ShapeId, keys: &[Gc<Str>]) -> Result<ShapeId, OutOfMemory> {
        debug_assert!(self.slot_count(root) == 0 && keys.len() <= TREE_SLOTS_MAX as usize);
        if keys.is_empty() {
            return Ok(root);
        }
        let list = self.add_key_list(KeyList::of(keys)?)?;
        self.add_shape(Shape {
            slots: keys.len() as u32,
            keys: list,
            class: ClassId::NONE,
            events: keys.iter().fold(0, |events, &key| events | event_bit(key)),
            inline_cap: self.shape(root).inline_cap,
            base: ShapeId(self.list.len() as u32),
            transitions: 0,
            class_transitions: 0,
            owned: None,
        })
    }

    /// The tree or dictionary shape with the same keys and no metatable.
    fn base(&mut self, id: ShapeId) -> Result<ShapeId, OutOfMemory> {
        let shape = self.shape(id);
        if shape.base != ShapeId::NONE {
            return Ok(shape.base);
        }
        let n = shape.slots as usize;
        let keys = shape.keys as usize;
        let mut base = self.root_for(shape.inline_cap as u32);
        for slot in 0..n {
            let key = self.key_lists[keys].keys[slot];
            base = self.add_key(base, key)?;
        }
        self.shape_mut(id).base = base;
        Ok(base)
    }

    /// Whether tables of these keys can get one class more.
    pub(super) fn accepts_class(&mut self, id: ShapeId) -> Result<bool, OutOfMemory> {
        let base = if self.is_owned(id) {
            id
        } else {
            self.base(id)?
        };
        Ok(self.shape(base).class_transitions < CLASSES_MAX && !self.is_full())
    }

    /// The tree or dictionary shape with the same keys and this class; or `UNKNOWN` if the shape has too many.
    pub(super) fn with_class(
        &mut self,
        id: ShapeId,
        class: ClassId,
    ) -> Result<ShapeId, OutOfMemory> {
        if self.class(id) == class {
            return Ok(id);
        }
        let base = self.base(id)?;
        if class == ClassId::NONE {
            return Ok(base);
        }
        if let Some(&next) = self.class_transitions.get(&(base.0, class.0)) {
            return Ok(next);
        }
        if class != ClassId::UNKNOWN && !self.accepts_class(base)? {
            return self.with_class(id, ClassId::UNKNOWN);
        }
        self.class_transitions
            .try_reserve(1)
            .map_err(|_| OutOfMemory)?;
        let Shape {
            slots,
            keys,
            events,
            inline_cap,
            ..
        } = *self.shape(base);
        let shape = Shape {
            slots,
            keys,
            class,
            events,
            inline_cap,
            base,
            transitions: 0,
            class_transitions: 0,
            owned: None,
        };
        let next = self.add_shape(shape)?;
        self.shape_mut(base).class_transitions += 1;
        self.class_transitions.insert((base.0, class.0), next);
        Ok(next)
    }

    /// The dictionary shape of a class.
    pub(super) fn dictionary(&mut self, class: ClassId) -> Result<ShapeId, OutOfMemory> {
        self.with_class(ShapeId::DICTIONARY, class)
    }

    /// Whether tables of the shape have all their keys in the hash part.
    #[inline]
    pub fn is_dictionary(&self, id: ShapeId) -> bool {
        self.shape(id).base == ShapeId::DICTIONARY
    }

    /// Notes that someone relies on a key being absent from tables of the shape.
    pub fn rely_on_absence(&self, id: ShapeId) {
        self.note_absence(id);
    }

    /// Whether exactly one table has this shape.
    #[inline]
    pub fn is_owned(&self, id: ShapeId) -> bool {
        self.shape(id).owned.is_some()
    }

    /// A shape for `table` alone, with the keys and class of `id`; `None` if there are too many.
    pub(super) fn own(
        &mut self,
        id: ShapeId,
        table: Gc<Table>,
    ) -> Result<Option<ShapeId>, OutOfMemory> {
        if self.owned_made >= OWNED_MAX || self.is_full() {
            return Ok(None);
        }
        let Shape {
            slots,
            keys,
            class,
            events,
            inline_cap,
            ..
        } = *self.shape(id);
        let list = self.key_lists[keys as usize].prefix(slots as usize)?;
        let mut mutable = Vec::new();
        mutable
            .try_reserve(slots as usize)
            .map_err(|_| OutOfMemory)?;
        mutable.resize(slots as usize, false);
        let keys = self.add_key_list(list)?;
        let owned = Some(Box::new(Owned {
            table,
            mutable,
            absence_seen: Cell::new(false),
        }));
        let base = ShapeId::NONE;
        let shape = Shape {
            slots,
            keys,
            class,
            events,
            inline_cap,
            base,
            transitions: 0,
            class_transitions: 0,
            owned,
        };
        let id = self.add_shape(shape)?;
        self.owned_made += 1;
        Ok(Some(id))
    }

    /// Adds a key to an owned shape. The id changes if someone relies on the key's absence, or if slots move.
    pub(super) fn add_owned_key(
        &mut self,
        id: ShapeId,
        key: Gc<Str>,
    ) -> Result<ShapeId, OutOfMemory> {
        let shape = self.shape(id);
        let keys = shape.keys as usize;
        let overflow = (shape.slots + 1).saturating_sub(shape.inline_cap as u32);
        let renew = shape.owned.as_ref().is_some_and(|o| o.absence_seen.get())
            || overflow_capacity(overflow) != self.overflow_cap(id);
        if renew {
            self.list.try_reserve(1).map_err(|_| OutOfMemory)?;
        }
        if let Some(owned) = &mut self.shape_mut(id).owned {
            owned.mutable.try_reserve(1).map_err(|_| OutOfMemory)?;
        }
        self.key_lists[keys].push(key)?;
        let shape = self.shape_mut(id);
        shape.slots += 1;
        shape.events |= event_bit(key);
        if let Some(owned) = &mut shape.owned {
            owned.mutable.push(false);
        }
        if renew { self.renew(id) } else { Ok(id) }
    }

    /// Gives an owned shape another class, and a new id.
    pub(super) fn set_owned_class(
        &mut self,
        id: ShapeId,
        class: ClassId,
    ) -> Result<ShapeId, OutOfMemory> {
        // Nobody relies on a metatable of unknown class.
        if class == ClassId::UNKNOWN && self.class(id) == ClassId::UNKNOWN {
            return Ok(id);
        }
        let new = self.renew(id)?;
        let shape = self.shape_mut(new);
        shape.class = class;
        shape.class_transitions += 1;
        Ok(new)
    }

    /// Moves an owned shape to a new id.
    fn renew(&mut self, id: ShapeId) -> Result<ShapeId, OutOfMemory> {
        self.list.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.owned_made = self.owned_made.saturating_add(1);
        let shape = self.shape_mut(id);
        let tombstone = Shape {
            slots: 0,
            keys: 0,
            owned: None,
            ..*shape
        };
        let shape = std::mem::replace(shape, tombstone);
        if let Some(owned) = &shape.owned {
            owned.absence_seen.set(false);
        }
        self.list.push(shape);
        Ok(ShapeId(self.list.len() as u32 - 1))
    }

    /// Gives up an owned shape whose table is dead or has become a dictionary.
    pub(super) fn disown(&mut self, id: ShapeId) {
        let shape = self.shape_mut(id);
        let keys = std::mem::replace(&mut shape.keys, 0);
        shape.slots = 0;
        shape.owned = None;
        self.key_lists[keys as usize] = KeyList::default();
    }

    /// Notes that someone relies on an absence in an owned shape.
    pub(super) fn note_absence(&self, id: ShapeId) {
        if let Some(owned) = &self.shape(id).owned {
            owned.absence_seen.set(true);
        }
    }

    /// Whether the slot of an owned shape has not been stored to since its initialisation.
    #[inline]
    pub fn slot_is_constant(&self, id: ShapeId, slot: u32) -> bool {
        self.shape(id)
            .owned
            .as_ref()
            .is_some_and(|o| !o.mutable[slot as usize])
    }

    /// Makes a slot of an owned shape mutable.
    pub(super) fn set_mutable(&mut self, id: ShapeId, slot: u32) {
        if let Some(owned) = &mut self.shape_mut(id).owned {
            owned.mutable[slot as usize] = true;
        }
    }

    /// Marks the keys of all shapes.
    pub fn trace(&self, mut mark: impl FnMut(Gc<Header>)) {
        self.key_lists
            .iter()
            .flat_map(|list| &list.keys)
            .for_each(|key| mark(key.header()));
    }

    /// Gives up the shapes of dead owners and empties the lookup cache.
    pub fn sweep_weak(&mut self, alive: &dyn Fn(Gc<Header>) -> bool) {
        for id in 0..self.list.len() as u32 {
            let owner = self.list[id as usize]
                .owned
                .as_ref()
                .map(|owned| owned.table);
            if owner.is_some_and(|table| !alive(table.header())) {
                self.disown(ShapeId(id));
            }
        }
        self.cache.iter().for_each(|entry| entry.set(NO_ENTRY));
    }
}

impl Default for Shapes {
    fn default() -> Self {
        Shapes::new()
    }
}

fn event_bit(key: Gc<Str>) -> u32 {
    match key.event.get() {
        0 => 0,
        e => 1 << (e - 1),
    }
}
