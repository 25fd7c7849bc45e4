//! What instructions learn: the inline caches beside the code.
//!
//! Pointers in caches are weak. The collector clears the caches that name a dead object in the atomic phase.

use std::cell::Cell;
use std::mem::size_of;
use std::ptr;

use super::proto::Proto;
use crate::runtime::object::{Gc, Header};
use crate::runtime::shape::ShapeId;
use crate::runtime::string::Str;
use crate::runtime::table::Table;

/// Where a slot lies, relative to its table or to its overflow block (which of the two, the specialised
/// instruction or [`FieldEntry::kind`] says).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct SlotOffsets {
    pub payload: u16,
    pub tag: u16,
}

/// The cache of an instruction that gets or sets a constant key.
#[repr(C)]
pub struct FieldCache {
    pub key: Gc<Str>,
    /// The shape the receiver must have, or `ShapeId::NONE`.
    pub shape: Cell<ShapeId>,
    /// The VM's holder epoch at which what is known of holders was proven: where they have the key, or that none has.
    pub epoch: Cell<u32>,
    pub slot: Cell<SlotOffsets>,
    /// For stores that add the key: the shape afterwards.
    pub next_shape: Cell<ShapeId>,
    /// The table that holds the value, for values found through `__index`.
    pub holder: Cell<Option<Gc<Table>>>,
    /// Further shapes, once the site has seen several.
    pub more: Cell<*mut PolyCache>,
    /// How often the site has been respecialised; from [`MEGAMORPHIC`] on, how often nothing could be learned.
    pub misses: Cell<u16>,
    /// Whether a nil in the slot needs no look at `__index` (of a get) or `__newindex` (of a set); for stores that
    /// add the key, as in [`StoreEntry`].
    pub nil_is_final: Cell<bool>,
    /// Whether the slot lies in the overflow block.
    pub in_overflow: Cell<bool>,
}

/// How a [`FieldEntry`] reaches the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SlotKind {
    Inline,
    Overflow,
    /// Inline slot of the holder.
    HolderInline,
    /// Overflow slot of the holder.
    HolderOverflow,
    /// The key is nowhere: the result is nil.
    Absent,
}

/// One shape of a polymorphic site.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FieldEntry {
    pub shape: ShapeId,
    pub epoch: u32,
    pub slot: SlotOffsets,
    pub kind: SlotKind,
    /// As in [`FieldCache`].
    pub nil_is_final: bool,
    pub holder: Option<Gc<Table>>,
}

/// The most shapes a site distinguishes.
pub const POLY_MAX: usize = 4;

/// The shapes of a polymorphic site; the first `len` entries are in use.
pub struct PolyCache {
    pub len: usize,
    pub entries: [FieldEntry; POLY_MAX],
}

/// Misses after which a site keeps no shapes of its own and uses the VM's [`SharedCache`].
pub const MEGAMORPHIC: u16 = 64;

impl FieldCache {
    /// Whether the site has given up on shapes of its own.
    #[inline(always)]
    pub fn is_megamorphic(&self) -> bool {
        self.misses.get() >= MEGAMORPHIC
    }

    /// An empty cache for `key`.
    pub fn new(key: Gc<Str>) -> FieldCache {
        FieldCache {
            key,
            shape: Cell::new(ShapeId::NONE),
            epoch: Cell::new(0),
            slot: Cell::new(SlotOffsets::default()),
            next_shape: Cell::new(ShapeId::NONE),
            holder: Cell::new(None),
            more: Cell::new(ptr::null_mut()),
            misses: Cell::new(0),
            nil_is_final: Cell::new(false),
            in_overflow: Cell::new(false),
        }
    }

    /// Forgets every shape; the instruction fails its check next time and looks again.
    pub fn clear(&self) {
        self.shape.set(ShapeId::NONE);
        self.holder.set(None);
        let more = self.more.replace(ptr::null_mut());
        if !more.is_null() {
            // SAFETY: `more` is null or a box made by the interpreter for this cache alone.
            drop(unsafe { Box::from_raw(more) });
        }
    }
}

/// How a constant key is stored to tables of a shape: it replaces the slot's value, or adds the key without
/// needing memory.
#[derive(Clone, Copy)]
pub struct StoreEntry {
    pub shape: ShapeId,
    /// The shape afterwards; the same unless the key is added.
    pub next_shape: ShapeId,
    pub slot: SlotOffsets,
    /// Whether the slot lies in the overflow block.
    pub in_overflow: bool,
    /// Whether a nil in the slot needs no look at `__newindex`; for a key that is added, whether metatables may get it,
    /// too (it is no event).
    pub nil_is_final: bool,
}

/// Pairs of entries in each table of a [`SharedCache`]; a power of two.
const SHARED_SIZE: usize = 256;

/// Entries by shape and key, two to a place, the newer one first.
struct SharedTable<E>(Box<[[(u64, E); 2]; SHARED_SIZE]>);

impl<E: Copy> SharedTable<E> {
    fn new(none: E) -> SharedTable<E> {
        SharedTable(Box::new([[(0, none); 2]; SHARED_SIZE]))
    }

    #[inline(always)]
    fn index(shape: ShapeId, key: Gc<Str>) -> usize {
        // Shapes that one site sees often have neighbouring ids, and so have keys of one chunk addresses.
        let key = key.addr() >> 4;
        ((key ^ key >> 7) as usize ^ (shape.0 as usize).wrapping_mul(11)) % SHARED_SIZE
    }

    #[inline(always)]
    fn find(&self, shape: ShapeId, key: Gc<Str>, shape_of: impl Fn(&E) -> ShapeId) -> Option<&E> {
        let place = &self.0[Self::index(shape, key)];
        place
            .iter()
            .find(|(k, e)| *k == key.addr() && shape_of(e) == shape)
            .map(|(_, e)| e)
    }

    fn put(&mut self, shape: ShapeId, key: Gc<Str>, e: E, shape_of: impl Fn(&E) -> ShapeId) {
        let place = &mut self.0[Self::index(shape, key)];
        // An entry of the same shape and key is out of date.
        if place[0].0 != key.addr() || shape_of(&place[0].1) != shape {
            place[1] = place[0];
        }
        place[0] = (key.addr(), e);
    }
}

/// What the megamorphic sites of a VM have learned. Keys and holders are weak, so it is emptied in the atomic phase,
/// and whenever inline caches are flushed.
pub struct SharedCache {
    loads: SharedTable<FieldEntry>,
    stores: SharedTable<StoreEntry>,
}

const NO_LOAD: FieldEntry = FieldEntry {
    shape: ShapeId::NONE,
    epoch: 0,
    slot: SlotOffsets { payload: 0, tag: 0 },
    kind: SlotKind::Absent,
    nil_is_final: false,
    holder: None,
};

const NO_STORE: StoreEntry = StoreEntry {
    shape: ShapeId::NONE,
    next_shape: ShapeId::NONE,
    slot: SlotOffsets { payload: 0, tag: 0 },
    in_overflow: false,
    nil_is_final: false,
};

impl SharedCache {
    pub fn new() -> SharedCache {
        SharedCache {
            loads: SharedTable::new(NO_LOAD),
            stores: SharedTable::new(NO_STORE),
        }
    }

    /// How to get `key` from tables of `shape`.
    #[inline(always)]
    pub fn load(&self, shape: ShapeId, key: Gc<Str>) -> Option<&FieldEntry> {
        self.loads.find(shape, key, |e| e.shape)
    }

    /// How to set `key` in tables of `shape`.
    #[inline(always)]
    pub fn store(&self, shape: ShapeId, key: Gc<Str>) -> Option<&StoreEntry> {
        self.stores.find(shape, key, |e| e.shape)
    }

    pub fn put_load(&mut self, key: Gc<Str>, e: FieldEntry) {
        self.loads.put(e.shape, key, e, |e| e.shape);
    }

    pub fn put_store(&mut self, key: Gc<Str>, e: StoreEntry) {
        self.stores.put(e.shape, key, e, |e| e.shape);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.loads.0.fill([(0, NO_LOAD); 2]);
        self.stores.0.fill([(0, NO_STORE); 2]);
    }
}

impl Default for SharedCache {
    fn default() -> SharedCache {
        SharedCache::new()
    }
}

impl FieldCache {
    pub(super) fn sweep(&self, alive: &dyn Fn(Gc<Header>) -> bool) {
        let dead = |holder: Option<Gc<Table>>| holder.is_some_and(|t| !alive(t.header()));
        // SAFETY: null, or a live box owned by the cache.
        let more = unsafe { self.more.get().as_ref() };
        if dead(self.holder.get())
            || more.is_some_and(|p| p.entries[..p.len].iter().any(|e| dead(e.holder)))
        {
            self.clear();
        }
    }
}

impl Drop for FieldCache {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a call instruction has learned.
#[repr(C)]
pub struct CallSite {
    /// The place behind the call, at which a compiled caller goes on. Its heat is counted when an executor returns to it.
    pub returns: LoopSite,
    /// The prototype last called, for calls whose arguments match its parameters exactly.
    pub proto: Cell<Option<Gc<Proto>>>,
    pub misses: Cell<u16>,
}

impl CallSite {
    pub fn new() -> CallSite {
        CallSite {
            returns: LoopSite::new(),
            proto: Cell::new(None),
            misses: Cell::new(0),
        }
    }
}

impl Default for CallSite {
    fn default() -> Self {
        CallSite::new()
    }
}

/// What a table constructor has learned about the tables it makes.
#[repr(C)]
pub struct TableSite {
    /// The empty shape with the inline capacity learned so far.
    pub shape: Cell<ShapeId>,
    /// Array capacity to allocate.
    pub array_cap: Cell<u32>,
    /// A table made here a while ago, whose present size is the next lesson. Weak.
    pub sample: Cell<Option<Gc<Table>>>,
    /// Tables made; a sample is taken at powers of two.
    pub made: Cell<u32>,
    /// Slots and elements the constructor itself fills.
    pub slots: u16,
    pub elements: u16,
}

/// The heat of a place: a back-edge, a function's entry or what comes behind a call. And the executor found there.
#[repr(C)]
pub struct LoopSite {
    /// Passes until the next attempt.
    pub countdown: Cell<u32>,
    /// How often the countdown has begun: 0 before the first pass, then one more than there were attempts. Each
    /// attempt doubles the distance to the next.
    pub attempts: Cell<u16>,
    /// Its executor has gone: the countdown begins anew before the next attempt.
    pub cooling: Cell<bool>,
    /// How many executors have a copy of the loop for a path of calls.
    pub copies: Cell<u8>,
    /// The executor to enter, owned by tier 2.
    pub executor: Cell<*const u8>,
    /// Where machine code enters it: a compiled call or return is one load and an indirect jump. Null if that has to be left
    /// to the runtime.
    pub code: Cell<*const u8>,
}

/// The loop site of all loops that get none of their own. It never becomes hot, so nothing is learned in it.
pub const COLD_LOOP_SITE: u16 = u16::MAX;

impl LoopSite {
    /// Attempts after which a place is given up for good.
    pub const ATTEMPTS_MAX: u16 = 12;

    /// Copies after which the loop's own executor has to do.
    pub const COPIES_MAX: u8 = 16;

    /// A place whose first pass asks the VM for a countdown.
    pub fn new() -> LoopSite {
        LoopSite {
            countdown: Cell::new(1),
            attempts: Cell::new(0),
            cooling: Cell::new(false),
            copies: Cell::new(0),
            executor: Cell::new(ptr::null()),
            code: Cell::new(ptr::null()),
        }
    }

    /// A place that has been given up from the beginning.
    pub fn cold() -> LoopSite {
        let site = LoopSite::new();
        site.attempts.set(LoopSite::ATTEMPTS_MAX + 1);
        site
    }

    /// The attempts of a loop whose passes are followed one by one, as parts of what is around it: it has been given up from the
    /// beginning, too.
    const UNROLLED: u16 = u16::MAX;

    /// Makes the loop such a one; see [`unrolled_loops`](super::unrolling::unrolled_loops).
    pub fn unroll(&self) {
        self.attempts.set(LoopSite::UNROLLED);
    }

    /// Whether it is one.
    pub fn is_unrolled(&self) -> bool {
        self.attempts.get() == LoopSite::UNROLLED
    }
}

impl Default for LoopSite {
    fn default() -> LoopSite {
        LoopSite::new()
    }
}

const _: () = {
    assert!(size_of::<FieldCache>() == 48);
    assert!(size_of::<LoopSite>() == 24);
    assert!(size_of::<CallSite>() == 40);
};
