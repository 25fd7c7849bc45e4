//! The interner: all short strings, so that equality of these is pointer equality.
//!
//! Strings of one byte lie in a table and live as long as the VM. The others are held weakly, in a hash table that is cut into
//! segments of a fixed size (extendible hashing): a directory, indexed by the upper bits of the hash, says in which segment a
//! string is. A segment that is full is split, and two neighbours that have become empty enough are merged. So neither growth nor
//! shrinking ever takes longer than that of one segment, however many strings there are.
//!
//! Within a segment it is open addressing with linear probing. The hashes lie beside the strings, so that probing, moving and
//! sweeping read no string but those that are asked for.
//!
//! Dead strings are removed by a sweep in steps. Until it is over the heap keeps their cells, and a dead string that is
//! asked for again is revived.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::hash::{BuildHasher, RandomState};
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
use std::mem::offset_of;
use std::ptr::NonNull;

use super::hasher::hash_bytes;
use super::object::{Gc, Header};
use super::string::{SHORT_MAX, Str, new_short};
use crate::heap::{Heap, OutOfMemory};

/// Entries per segment.
pub const ENTRIES: usize = if cfg!(test) { 16 } else { 1024 };
const MASK: usize = ENTRIES - 1;
/// A segment with so many strings is split before it gets another one.
const FULL: usize = ENTRIES / 3 * 2;
/// Neighbours that had at most so many strings before the sweep, taken together, are merged.
const FEW: usize = ENTRIES / 2;
/// More bits of the hash than this never choose a segment: the others choose the entry.
const DEPTH_MAX: u32 = u32::BITS - ENTRIES.trailing_zeros();
/// How far ahead the sweep asks for mark bits.
const AHEAD: usize = 16;

/// A part of the table. All zeros are one without strings.
struct Segment {
    /// The hashes of the strings, or 0 where there is none.
    hashes: [u32; ENTRIES],
    /// The addresses of the strings; meaningless where there is none.
    strings: [u64; ENTRIES],
    used: usize,
    /// How many strings there were before the last sweep.
    before_sweep: usize,
    /// How many upper bits all hashes have in common.
    depth: u32,
}

const LAYOUT: Layout = Layout::new::<Segment>();

impl Segment {
    fn new(heap: &mut Heap, depth: u32) -> Result<NonNull<Segment>, OutOfMemory> {
        heap.charge(size_of::<Segment>())?;
        // SAFETY: the layout is not empty.
        let Some(mut segment) = NonNull::new(unsafe { alloc_zeroed(LAYOUT) }.cast::<Segment>())
        else {
            heap.discharge(size_of::<Segment>());
            return Err(OutOfMemory);
        };
        // SAFETY: fresh; zeros are a segment.
        unsafe { segment.as_mut().depth = depth };
        Ok(segment)
    }

    /// # Safety
    /// The segment was made by [`Segment::new`], and nobody refers to it any more.
    unsafe fn free(heap: &mut Heap, segment: NonNull<Segment>) {
        heap.discharge(size_of::<Segment>());
        // SAFETY: the caller's promise.
        unsafe { dealloc(segment.as_ptr().cast(), LAYOUT) };
    }

    /// Adds a string that is not there. There must be room.
    fn add(&mut self, hash: u32, s: u64) {
        let mut at = hash as usize & MASK;
        while self.hashes[at] != 0 {
            at = (at + 1) & MASK;
        }
        self.hashes[at] = hash;
        self.strings[at] = s;
        self.used += 1;
    }

    /// The strings with their hashes.
    fn entries(&self) -> impl Iterator<Item = (u32, u64)> {
        self.hashes
            .iter()
            .zip(&self.strings)
            .filter(|e| *e.0 != 0)
            .map(|e| (*e.0, *e.1))
    }

    /// Removes the dead strings.
    fn sweep(&mut self, heap: &Heap) {
        self.before_sweep = self.used;
        // There is a free entry. From there on each string is put where it belongs now, which is not behind where it was.
        let Some(start) = self.hashes.iter().position(|&hash| hash == 0) else {
            return;
        };
        for i in start + 1..start + ENTRIES {
            let ahead = (i + AHEAD) & MASK;
            if self.hashes[ahead] != 0 {
                Heap::prefetch_mark(Gc::<Str>::from_addr(self.strings[ahead]));
            }
            let at = i & MASK;
            let hash = self.hashes[at];
            if hash == 0 {
                continue;
            }
            let s = self.strings[at];
            self.hashes[at] = 0;
            self.used -= 1;
            if !heap.is_dead(Gc::<Str>::from_addr(s)) {
                self.add(hash, s);
            }
        }
    }
}

/// All short strings.
pub struct StringTable {
    seed: u64,
    /// A segment of depth `d` is in all entries whose index begins with the `d` bits that its hashes have in common. Each points to a
    /// segment, which belongs to the table.
    directory: Vec<NonNull<Segment>>,
    /// The directory has two to this power entries.
    depth: u32,
    /// The sweep in progress has still to examine the segments from this entry of the directory on; [`SWEPT`] if there is none.
    unswept: usize,
    /// No segment that the sweep has examined is deeper.
    swept_depth: u32,
    /// The strings of one byte.
    bytes: Box<[Gc<Str>; 256]>,
    /// Strings that the VM itself needs, and the empty string first.
    statics: Vec<Gc<Str>>,
}

// SAFETY: the segments belong to the table alone.
unsafe impl Send for StringTable {}

/// The value of `unswept` between sweeps.
const SWEPT: usize = usize::MAX;

impl StringTable {
    /// The offset of the pointer to the strings of one byte.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    pub const BYTES: usize = offset_of!(StringTable, bytes);

    pub fn new(heap: &mut Heap) -> Result<StringTable, OutOfMemory> {
        let seed = RandomState::new().hash_one(0u64);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(256).map_err(|_| OutOfMemory)?;
        for b in 0..=255u8 {
            bytes.push(new_short(heap, &[b], hash_of(seed, &[b]))?);
        }
        let mut directory = Vec::new();
        directory.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
        directory.push(Segment::new(heap, 0)?);
        let mut table = StringTable {
            seed,
            directory,
            depth: 0,
            unswept: SWEPT,
            swept_depth: 0,
            bytes: bytes
                .into_boxed_slice()
                .try_into()
                .expect("there are 256 bytes"),
            statics: Vec::new(),
        };
        table.intern_static(heap, b"")?;
        Ok(table)
    }

    /// The segment for a hash.
    #[inline(always)]
    fn segment(&mut self, hash: u32) -> &mut Segment {
        let index = (hash as u64 >> (u32::BITS - self.depth)) as usize;
        debug_assert!(index < self.directory.len());
        // SAFETY: the directory has an entry for each value of so many bits; segments belong to the table.
        unsafe {
            self.directory
                .get_unchecked(index)
                .as_ptr()
                .as_mut()
                .unwrap_unchecked()
        }
    }

    /// All segments, each once.
    fn segments(&self) -> impl Iterator<Item = NonNull<Segment>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let segment = *self.directory.get(at)?;
            // SAFETY: segments belong to the table.
            at += 1 << (self.depth - unsafe { segment.as_ref().depth });
            Some(segment)
        })
    }

    /// The interned string of at most [`SHORT_MAX`] bytes.
    #[inline]
    pub fn intern(&mut self, heap: &mut Heap, bytes: &[u8]) -> Result<Gc<Str>, OutOfMemory> {
        debug_assert!(bytes.len() <= SHORT_MAX);
        if let [b] = *bytes {
            return Ok(self.bytes[b as usize]);
        }
        let hash = hash_of(self.seed, bytes);
        let segment = self.segment(hash);
        let mut at = hash as usize & MASK;
        loop {
            let found = segment.hashes[at];
            if found == hash {
                let s = Gc::<Str>::from_addr(segment.strings[at]);
                if s.as_bytes() == bytes {
                    if self.unswept != SWEPT {
                        heap.revive(s);
                    }
                    return Ok(s);
                }
            }
            if found == 0 {
                return self.insert(heap, bytes, hash, at);
            }
            at = (at + 1) & MASK;
        }
    }

    /// Makes a string whose free entry has been found.
    #[inline]
    fn insert(
        &mut self,
        heap: &mut Heap,
        bytes: &[u8],
        hash: u32,
        at: usize,
    ) -> Result<Gc<Str>, OutOfMemory> {
        if self.segment(hash).used >= FULL {
            return self.insert_into_full(heap, bytes, hash);
        }
        let s = new_short(heap, bytes, hash)?;
        let segment = self.segment(hash);
        segment.hashes[at] = hash;
        segment.strings[at] = s.addr();
        segment.used += 1;
        Ok(s)
    }

    #[cold]
    #[inline(never)]
    fn insert_into_full(
        &mut self,
        heap: &mut Heap,
        bytes: &[u8],
        hash: u32,
    ) -> Result<Gc<Str>, OutOfMemory> {
        while self.segment(hash).used >= FULL {
            self.split(heap, hash)?;
        }
        let s = new_short(heap, bytes, hash)?;
        self.segment(hash).add(hash, s.addr());
        Ok(s)
    }

    /// The interned string, which then lives as long as the VM.
    pub fn intern_static(&mut self, heap: &mut Heap, bytes: &[u8]) -> Result<Gc<Str>, OutOfMemory> {
        self.statics.try_reserve(1).map_err(|_| OutOfMemory)?;
        let s = self.intern(heap, bytes)?;
        if bytes.len() != 1 && !self.statics.contains(&s) {
            self.statics.push(s);
        }
        Ok(s)
    }

    /// The empty string.
    #[inline]
    pub fn empty(&self) -> Gc<Str> {
        self.statics[0]
    }

    /// The string of one byte.
    #[inline]
    pub fn one_byte(&self, b: u8) -> Gc<Str> {
        self.bytes[b as usize]
    }

    /// The hash of a string used as a key, computed on first use for a long one.
    #[inline]
    pub fn hash_of(&self, s: Gc<Str>) -> u32 {
        if !s.hashed.get() {
            s.hash.set(hash_of(self.seed, s.as_bytes()));
            s.hashed.set(true);
        }
        s.hash.get()
    }

    /// Splits the segment of a hash.
    fn split(&mut self, heap: &mut Heap, hash: u32) -> Result<(), OutOfMemory> {
        let depth = self.segment(hash).depth;
        if depth == DEPTH_MAX {
            return Err(OutOfMemory);
        }
        if depth == self.depth {
            self.double_directory(heap)?;
        }
        // The sweep in progress may have seen the segment already.
        self.swept_depth = self.swept_depth.max(depth + 1);
        let mut upper = Segment::new(heap, depth + 1)?;
        let mut lower = Segment::new(heap, depth + 1).inspect_err(|_| {
            // SAFETY: just made.
            unsafe { Segment::free(heap, upper) };
        })?;
        // SAFETY: made above.
        let halves = unsafe { [lower.as_mut(), upper.as_mut()] };
        let bit = u32::BITS - 1 - depth;
        for (hash, s) in self.segment(hash).entries() {
            halves[(hash >> bit & 1) as usize].add(hash, s);
        }
        // Half as many entries of the directory as the old segment had.
        let span = 1 << (self.depth - depth - 1);
        let first = (hash as u64 >> (u32::BITS - self.depth)) as usize & !(2 * span - 1);
        let old = self.directory[first];
        self.directory[first..first + span].fill(lower);
        self.directory[first + span..first + 2 * span].fill(upper);
        // SAFETY: these were all entries that pointed to it.
        unsafe { Segment::free(heap, old) };
        Ok(())
    }

    fn double_directory(&mut self, heap: &mut Heap) -> Result<(), OutOfMemory> {
        let n = self.directory.len();
        let more = n * size_of::<NonNull<Segment>>();
        heap.charge(more)?;
        if self.directory.try_reserve_exact(n).is_err() {
            heap.discharge(more);
            return Err(OutOfMemory);
        }
        self.directory.resize(2 * n, self.directory[0]);
        for i in (0..n).rev() {
            self.directory[2 * i + 1] = self.directory[i];
            self.directory[2 * i] = self.directory[i];
        }
        self.depth += 1;
        if self.unswept != SWEPT {
            self.unswept *= 2;
        }
        Ok(())
    }

    /// The number of strings, those of one byte not counted.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        // SAFETY: segments belong to the table.
        self.segments()
            .map(|segment| unsafe { segment.as_ref() }.used)
            .sum()
    }

    /// Marks the strings that live as long as the VM.
    pub fn trace(&self, mut mark: impl FnMut(Gc<Header>)) {
        self.bytes
            .iter()
            .chain(&self.statics)
            .for_each(|s| mark(s.header()));
    }

    /// Begins to remove the dead strings, whose cells must not be reused before that is done.
    pub fn begin_sweep(&mut self) {
        self.unswept = 0;
        self.swept_depth = 0;
    }

    /// Sweeps one segment; false if none is left. Gives memory back where few strings are left: if that is `urgent`, at once,
    /// otherwise where there have been few since the last sweep.
    pub fn sweep_some(&mut self, heap: &mut Heap, urgent: bool) -> bool {
        if self.unswept >= self.directory.len() {
            self.unswept = SWEPT;
            self.shrink_directory(heap);
            return false;
        }
        let mut at = self.unswept;
        // SAFETY: segments belong to the table.
        let segment = unsafe { self.directory[at].as_mut() };
        segment.sweep(heap);
        if urgent {
            segment.before_sweep = segment.used;
        }
        let mut depth = segment.depth;
        self.unswept += 1 << (self.depth - depth);
        while let Some(first) = self.merge(heap, at) {
            (at, depth) = (first, depth - 1);
        }
        self.swept_depth = self.swept_depth.max(depth);
        true
    }

    /// Merges the segment at an entry of the directory, which has been swept, with the one before, if that is the other half of
    /// what was split, and both had few strings. Returns the entry at which the result begins.
    fn merge(&mut self, heap: &mut Heap, at: usize) -> Option<usize> {
        // SAFETY: segments belong to the table.
        let upper = unsafe { self.directory[at].as_ref() };
        let depth = upper.depth;
        // The number of entries of each.
        let span = 1 << (self.depth - depth);
        if depth == 0 || at & span == 0 {
            return None;
        }
        let first = at - span;
        let mut lower = self.directory[first];
        // SAFETY: another segment, of the table.
        let lower = unsafe { lower.as_mut() };
        let few = |a: usize, b: usize| a + b <= FEW;
        if lower.depth != depth
            || !few(lower.before_sweep, upper.before_sweep)
            || !few(lower.used, upper.used)
        {
            return None;
        }
        for (hash, s) in upper.entries() {
            lower.add(hash, s);
        }
        lower.depth = depth - 1;
        lower.before_sweep += upper.before_sweep;
        let old = self.directory[at];
        self.directory[first..at + span].fill(NonNull::from(lower));
        // SAFETY: these were all entries that pointed to it.
        unsafe { Segment::free(heap, old) };
        Some(first)
    }

    /// After a sweep: makes the directory no larger than the depth of the segments demands.
    fn shrink_directory(&mut self, heap: &mut Heap) {
        let surplus = self.depth - self.swept_depth;
        if surplus == 0 {
            return;
        }
        let n = self.directory.len() >> surplus;
        for i in 0..n {
            self.directory[i] = self.directory[i << surplus];
        }
        heap.discharge((self.directory.len() - n) * size_of::<NonNull<Segment>>());
        self.directory.truncate(n);
        self.directory.shrink_to_fit();
        self.depth = self.swept_depth;
    }
}

impl Drop for StringTable {
    fn drop(&mut self) {
        for segment in self.segments() {
            // SAFETY: nobody uses the table any more.
            unsafe { dealloc(segment.as_ptr().cast(), LAYOUT) };
        }
    }
}

/// The hash of a string, never 0.
#[inline(always)]
fn hash_of(seed: u64, bytes: &[u8]) -> u32 {
    hash_bytes(seed, bytes).max(1)
}
