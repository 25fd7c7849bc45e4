//! The array part of tables: the elements 1..n.
//!
//! One block of nine bytes an element of capacity; the base pointer stands between the payloads, which run downward
//! from it, and the tags, which run upward. Invariants: elements up to `array_len` are initialised, those behind are not
//! read; the kind describes all elements in use; no integer key within the capacity has a value in the hash part.

use std::ptr::{self, NonNull};
use std::slice;

use super::Runtime;
use super::object::Gc;
use super::table::{Table, TableError, table_flags};
use super::value::{Tag, Value};
use crate::heap::OutOfMemory;

/// What the elements in use are: the tag of all of them, or one of the constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct ArrayKind(pub u8);

impl ArrayKind {
    /// There are none.
    pub const EMPTY: ArrayKind = ArrayKind(0);
    /// All integers.
    pub const INT: ArrayKind = ArrayKind(3);
    /// All floats.
    pub const FLOAT: ArrayKind = ArrayKind(4);
    /// Of different tags, but none nil.
    pub const PACKED: ArrayKind = ArrayKind(0xFE);
    /// Anything.
    pub const ANY: ArrayKind = ArrayKind(0xFF);

    /// Whether an element may be replaced by one with this tag (not nil) without changing the kind.
    #[inline(always)]
    pub fn accepts(self, tag: Tag) -> bool {
        self.0 == tag.byte() || self.0 >= ArrayKind::PACKED.0
    }

    /// The kind with one more element of this tag.
    #[inline(always)]
    pub fn join(self, tag: Tag) -> ArrayKind {
        if tag == Tag::NIL || self == ArrayKind::ANY {
            ArrayKind::ANY
        } else if self.0 == tag.byte() || self == ArrayKind::EMPTY {
            ArrayKind(tag.byte())
        } else {
            ArrayKind::PACKED
        }
    }
}

// The kinds of uniform arrays are the tags.
const _: () = assert!(ArrayKind::INT.0 == 3 && ArrayKind::FLOAT.0 == 4);

/// The smallest capacity that growth makes.
const CAP_MIN: u32 = 4;
/// From this capacity on arrays grow by a half instead of doubling.
const DOUBLING_MAX: u32 = 1 << 16;

/// The size of the block of an array of this capacity, in bytes.
#[inline]
pub fn array_size(cap: u32) -> usize {
    9 * cap as usize
}

impl Gc<Table> {
    /// The tag of element `i`, from 1, which is in use.
    #[inline(always)]
    fn element_tag(self, i: u32) -> u8 {
        debug_assert!(i >= 1 && i <= self.array_len.get());
        // SAFETY: the element is in use, so its tag is initialised.
        unsafe { *self.array.get().add(i as usize - 1) }
    }

    /// Element `i`, from 1, which is in use.
    #[inline(always)]
    pub fn element(self, i: u32) -> Value {
        debug_assert!(i >= 1 && i <= self.array_len.get());
        // SAFETY: the element is in use, so payload and tag are initialised.
        unsafe {
            let base = self.array.get();
            let payload = *(base.sub(8 * i as usize) as *const u64);
            Value::new(payload, Tag::from_byte(*base.add(i as usize - 1)))
        }
    }

    /// Writes element `i`, from 1 and within the capacity; neither barrier nor length nor kind.
    #[inline(always)]
    pub(super) fn put_element(self, i: u32, v: Value) {
        debug_assert!(i >= 1 && i <= self.array_cap.get());
        // SAFETY: the element is within the block.
        unsafe {
            let base = self.array.get();
            *(base.sub(8 * i as usize) as *mut u64) = v.payload();
            *base.add(i as usize - 1) = v.tag().byte();
        }
    }

    /// Whether `i` is the index behind the last element, with capacity for it, and a store there has nothing to ask.
    #[inline(always)]
    pub fn appends(self, i: i64) -> bool {
        self.appends_raw(i) && self.metatable.get().is_none()
    }

    /// The same if nothing is asked.
    #[inline(always)]
    pub fn appends_raw(self, i: i64) -> bool {
        let index = (i as u64).wrapping_sub(1);
        index == self.array_len.get() as u64
            && index < self.array_cap.get() as u64
            && !self.has_flag(table_flags::INDICES)
    }

    /// Whether a store of `v` at `i` needs no more than writing the element: `v` is not nil and of the array's kind, and
    /// it goes over an element for which no metatable would be asked, or behind the last one.
    #[inline(always)]
    pub fn is_storable(self, i: i64, v: Value) -> bool {
        if v.is_nil() || !self.array_kind.get().accepts(v.tag()) {
            return false;
        }
        if (i as u64).wrapping_sub(1) < self.array_len.get() as u64 {
            self.metatable.get().is_none() || self.element_tag(i as u32) != Tag::NIL.byte()
        } else {
            self.appends(i)
        }
    }

    /// The same if no metatable is asked.
    #[inline(always)]
    pub fn is_raw_storable(self, i: i64, v: Value) -> bool {
        let within = (i as u64).wrapping_sub(1) < self.array_len.get() as u64;
        !v.is_nil() && self.array_kind.get().accepts(v.tag()) && (within || self.appends_raw(i))
    }

    /// The tags of the elements in use.
    #[inline]
    pub fn element_tags<'a>(self) -> &'a [u8] {
        let n = self.array_len.get() as usize;
        if n == 0 {
            return &[];
        }
        // SAFETY: the tags of elements in use are initialised; nobody writes while the caller looks.
        unsafe { slice::from_raw_parts(self.array.get(), n) }
    }

    /// The array's block and its size, for the collector.
    #[inline]
    pub fn array_block(self) -> Option<(NonNull<u8>, usize)> {
        let cap = self.array_cap.get();
        if cap == 0 {
            return None;
        }
        // SAFETY: the base lies this far into the block.
        let block = unsafe { self.array.get().sub(8 * cap as usize) };
        NonNull::new(block).map(|block| (block, array_size(cap)))
    }

    /// Puts a value (not nil) behind the end or over an element, within the capacity; nils fill a gap.
    pub(super) fn extend_to(self, i: u32, v: Value) {
        let len = self.array_len.get();
        let mut kind = self.array_kind.get();
        if i > len + 1 {
            // SAFETY: the gap is within the capacity.
            unsafe {
                self.array
                    .get()
                    .add(len as usize)
                    .write_bytes(Tag::NIL.byte(), (i - 1 - len) as usize)
            };
            kind = ArrayKind::ANY;
        }
        self.put_element(i, v);
        self.array_kind.set(kind.join(v.tag()));
        self.array_len.set(len.max(i));
    }

    /// Puts a value (not nil) behind the last element, within the capacity and without barrier.
    pub fn push_element(self, v: Value) {
        self.extend_to(self.array_len.get() + 1, v);
    }

    /// Assigns nil to an element in use.
    pub(super) fn clear_element(self, i: u32) {
        if i == self.array_len.get() {
            self.array_len.set(i - 1);
            if i == 1 {
                self.array_kind.set(ArrayKind::EMPTY);
            }
        } else {
            self.put_element(i, Value::NIL);
            self.array_kind.set(ArrayKind::ANY);
        }
    }

    /// Elements that are not nil.
    pub(super) fn count_elements(self) -> usize {
        let tags = self.element_tags();
        match self.array_kind.get() {
            ArrayKind::ANY => tags.iter().filter(|&&tag| tag != Tag::NIL.byte()).count(),
            _ => tags.len(),
        }
    }

    /// Drops nils at the end and determines the kind anew.
    pub(super) fn refresh_array(self) {
        let tags = self.element_tags();
        let len = tags
            .iter()
            .rposition(|&tag| tag != Tag::NIL.byte())
            .map_or(0, |last| last + 1);
        let kind = tags[..len].iter().fold(ArrayKind::EMPTY, |kind, &tag| {
            kind.join(Tag::from_byte(tag))
        });
        self.array_len.set(len as u32);
        self.array_kind.set(kind);
    }

    /// A border (`#` without metamethods): an `n` such that element `n` is not nil (or `n` is 0) and element `n + 1` is.
    #[inline]
    pub fn length(self) -> i64 {
        let len = self.array_len.get();
        if self.array_kind.get() == ArrayKind::ANY && self.element_tag(len) == Tag::NIL.byte() {
            return self.border_in_array();
        }
        if len == self.array_cap.get() && self.has_flag(table_flags::INDICES) {
            return self.border_in_hash();
        }
        len as i64
    }

    #[cold]
    #[inline(never)]
    fn border_in_array(self) -> i64 {
        let tags = self.element_tags();
        let is_nil = |i: usize| tags[i - 1] == Tag::NIL.byte();
        let mut above = tags.len();
        if above >= 2 && !is_nil(above - 1) {
            return above as i64 - 1;
        }
        let mut below = 0;
        while above - below > 1 {
            let middle = (above + below) / 2;
            if is_nil(middle) {
                above = middle
            } else {
                below = middle
            }
        }
        below as i64
    }

    /// The border of a table whose array is full: doubling, then bisection.
    #[inline(never)]
    fn border_in_hash(self) -> i64 {
        let is_nil = |i: u64| self.get_int(i as i64).is_nil();
        let mut below = self.array_len.get() as u64;
        if is_nil(below + 1) {
            return below as i64;
        }
        let mut above = below + 1;
        while !is_nil(above) {
            below = above;
            if above > i64::MAX as u64 / 2 {
                if !is_nil(i64::MAX as u64) {
                    return i64::MAX;
                }
                above = i64::MAX as u64;
                break;
            }
            above *= 2;
        }
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if is_nil(middle) {
                above = middle
            } else {
                below = middle
            }
        }
        below as i64
    }
}

impl Runtime {
    /// Gives the array a capacity of at least its elements in use.
    pub(super) fn set_array_cap(&mut self, t: Gc<Table>, cap: u32) -> Result<(), OutOfMemory> {
        let len = t.array_len.get();
        debug_assert!(cap >= len);
        let old = t.array_block();
        let base = if cap == 0 {
            ptr::null_mut()
        } else {
            let block = self.heap.alloc(array_size(cap))?.as_ptr();
            // SAFETY: both blocks have room for the elements in use on both sides of their bases.
            unsafe {
                let base = block.add(8 * cap as usize);
                if len > 0 {
                    let payloads = 8 * len as usize;
                    ptr::copy_nonoverlapping(
                        t.array.get().sub(payloads),
                        base.sub(payloads),
                        payloads,
                    );
                    ptr::copy_nonoverlapping(t.array.get(), base, len as usize);
                }
                base
            }
        };
        t.array.set(base);
        t.array_cap.set(cap);
        if let Some((block, size)) = old {
            self.heap.free(block, size);
        }
        Ok(())
    }

    /// Makes room for the element behind a full array; false if the elements are so few that they belong
    /// into the hash part.
    pub(super) fn grow_array(&mut self, t: Gc<Table>) -> Result<bool, TableError> {
        let cap = t.array_cap.get();
        if t.array_kind.get() == ArrayKind::ANY
            && t.count_elements() < t.array_len.get() as usize / 2
        {
            return Ok(false);
        }
        let more = if cap < DOUBLING_MAX {
            cap.max(CAP_MIN)
        } else {
            cap / 2
        };
        let cap = cap
            .checked_add(if cap == 0 { CAP_MIN } else { more })
            .ok_or(TableError::Memory)?;
        self.set_array_cap(t, cap)?;
        self.migrate(t);
        Ok(true)
    }

    /// Moves the integer keys within the capacity from the hash part to the array.
    pub(super) fn migrate(&mut self, t: Gc<Table>) {
        let Some(hash) = t.hash_part().filter(|hash| hash.has_ints()) else {
            return;
        };
        let (len, cap) = (t.array_len.get(), t.array_cap.get());
        let take = |i: u32, node: &super::hash::Node| {
            if !node.value().is_nil() {
                t.extend_to(i, node.value());
                node.set_value(Value::NIL);
            }
        };
        if ((cap - len) as usize) < hash.node_count() {
            for i in len + 1..=cap {
                if let Some(at) = hash.find_int(i as i64) {
                    take(i, &hash.nodes()[at]);
                }
            }
        } else {
            for node in hash.nodes() {
                if let Some(i) = node.key().as_int().filter(|&i| i >= 1 && i <= cap as i64) {
                    take(i as u32, node);
                }
            }
            if t.array_kind.get() == ArrayKind::ANY {
                t.refresh_array();
            }
        }
    }

    /// Sets the elements from `start` on, as a constructor does: exact capacity, and nils at the end count as
    /// elements in use (so that borders are the reference's).
    ///
    /// # Safety
    /// `values` must point to `count` values.
    pub unsafe fn set_list(
        &mut self,
        t: Gc<Table>,
        start: u32,
        values: *const Value,
        count: u32,
    ) -> Result<(), TableError> {
        let end = (start - 1).checked_add(count).ok_or(TableError::Memory)?;
        self.heap.write_barrier(t);
        // Elements before `start` were set before, but a finalizer or hook may have seen the table since.
        let in_order = t.array_len.get() == start - 1;
        if in_order && end > t.array_cap.get() {
            self.set_array_cap(t, end)?;
        }
        let mut kind = t.array_kind.get();
        for i in 0..count {
            // SAFETY: the caller's promise.
            let v = unsafe { Value::load(values.add(i as usize)) };
            if in_order {
                t.put_element(start + i, v);
                kind = kind.join(v.tag());
            } else {
                self.set_int(t, (start + i) as i64, v)?;
            }
        }
        if in_order && count > 0 {
            t.array_kind.set(kind);
            t.array_len.set(end);
            self.drop_shadowed(t);
        }
        Ok(())
    }

    /// Restores the array's invariant after elements were set without a look at the hash part.
    fn drop_shadowed(&mut self, t: Gc<Table>) {
        if let Some(hash) = t.hash_part().filter(|hash| hash.has_ints()) {
            let len = t.array_len.get() as i64;
            for node in hash.nodes() {
                if node.key().as_int().is_some_and(|i| i >= 1 && i <= len) {
                    node.set_value(Value::NIL);
                }
            }
            self.migrate(t);
        }
    }
}

// Shifting, for the table library.
impl Runtime {
    /// Inserts an element before element `i`, from 1, of an array without nils that holds all of the table's elements.
    pub fn insert_element(&mut self, t: Gc<Table>, i: u32, v: Value) -> Result<(), TableError> {
        let len = t.array_len.get();
        debug_assert!(i >= 1 && i <= len && t.array_kind.get() != ArrayKind::ANY);
        // A full array without nils grows, so that the elements stay in the array.
        self.set_int(t, len as i64 + 1, t.element(len))?;
        let count = (len - i) as usize;
        // SAFETY: elements `i..i + count` and those behind them are within the block; payloads run downward.
        unsafe {
            let base = t.array.get();
            let tags = base.add(i as usize - 1);
            ptr::copy(tags, tags.add(1), count);
            let payloads = base.sub(8 * (i as usize + count - 1));
            ptr::copy(payloads, payloads.sub(8), 8 * count);
        }
        self.set_int(t, i as i64, v)
    }

    /// Removes element `i`, from 1, of an array that holds all of the table's elements.
    pub fn remove_element(&mut self, t: Gc<Table>, i: u32) -> Result<(), TableError> {
        let len = t.array_len.get();
        debug_assert!(i >= 1 && i <= len);
        self.heap.write_barrier(t);
        let count = (len - i) as usize;
        // SAFETY: elements `i..=len` are in use; payloads run downward.
        unsafe {
            let base = t.array.get();
            let tags = base.add(i as usize - 1);
            ptr::copy(tags.add(1), tags, count);
            let payloads = base.sub(8 * len as usize);
            ptr::copy(payloads, payloads.add(8), 8 * count);
        }
        self.set_int(t, len as i64, Value::NIL)
    }
}
