//! Strings: immutable byte sequences.
//!
//! Strings of at most [`SHORT_MAX`] bytes are interned with their hash computed, so that equality is pointer
//! equality. Longer ones are not interned, hashed on first use as a key, and equal by content. A long string
//! is a view of `len` bytes at `data`: its own bytes behind the header, or a prefix of an append-only
//! [`Buffer`] that it may share with the strings it was built from, so that repeated `s = s .. x` is linear.

use std::cell::Cell;
use std::cmp::Ordering;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::ptr::{self, NonNull};
use std::slice;

use super::Runtime;
use super::object::{Gc, Kind, Object};
use crate::heap::{GRANULE, Heap, OutOfMemory};

/// The longest interned string, in bytes.
pub const SHORT_MAX: usize = 40;

/// From this length on a string that is appended to gets a buffer with slack.
const BUFFER_MIN: usize = 256;

/// The head of a string; see [`LongStr`] for what follows in a long one. A short one's bytes follow at once.
#[repr(C, align(8))]
pub struct Str {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    /// One more than the [`Event`](super::metatable::Event) that this (short) string names, or 0.
    pub event: Cell<u8>,
    /// Long strings: whether `hash` has been computed.
    pub hashed: Cell<bool>,
    pub hash: Cell<u32>,
    pub len: usize,
}

/// A string that is not interned.
#[repr(C)]
pub struct LongStr {
    pub head: Str,
    pub data: *const u8,
    /// The block that `data` points into, if it is not this string's own.
    pub buffer: *mut Buffer,
}

/// An append-only block of bytes that long strings share: a heap block of its own, not an object.
#[repr(C)]
pub struct Buffer {
    /// Bytes in use. Only a string that ends here may be extended in place.
    pub used: Cell<usize>,
    /// Bytes available behind this head.
    pub capacity: usize,
}

const _: () = {
    assert!(size_of::<Str>() == 16 && offset_of!(Str, hash) == 4 && offset_of!(Str, len) == 8);
    assert!(size_of::<Str>().is_multiple_of(GRANULE));
    assert!(size_of::<LongStr>() == 32 && size_of::<Buffer>() == 16);
};

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Str {}
// SAFETY: begins with `Str`.
unsafe impl Object for LongStr {}

impl Str {
    #[inline(always)]
    fn new(kind: Kind, len: usize, hash: u32) -> Str {
        Str {
            barrier: Cell::new(0),
            kind,
            event: Cell::new(0),
            hashed: Cell::new(kind == Kind::ShortString),
            hash: Cell::new(hash),
            len,
        }
    }

    /// Whether the string is interned.
    #[inline(always)]
    pub fn is_short(&self) -> bool {
        self.kind == Kind::ShortString
    }
}

impl Gc<Str> {
    /// The bytes. The slice is valid as long as the string is; see [`Gc`].
    #[inline]
    pub fn as_bytes<'a>(self) -> &'a [u8] {
        // SAFETY: a short string's bytes lie behind its head, a long one's at `data`; both are `len`
        // initialised bytes that never change (a buffer is only written behind `used`).
        unsafe {
            let data = match self.kind {
                Kind::ShortString => self.as_ptr().add(1) as *const u8,
                _ => (*(self.as_ptr() as *const LongStr)).data,
            };
            slice::from_raw_parts(data, self.len)
        }
    }

    /// Copies the bytes of a string of at most [`SHORT_MAX`] bytes.
    ///
    /// # Safety
    /// At `to` there must be room for as many bytes, rounded up to a multiple of [`GRANULE`].
    #[inline]
    pub unsafe fn copy_short(self, to: *mut u8) {
        debug_assert!(self.len <= SHORT_MAX);
        if !self.is_short() {
            // SAFETY: the caller's promise.
            unsafe { ptr::copy_nonoverlapping(self.as_bytes().as_ptr(), to, self.len) };
            return;
        }
        // SAFETY: the caller's promise. The string's bytes begin at a multiple of the granule in its cell, which ends at one.
        unsafe {
            let from = self.as_ptr().add(1).cast::<[MaybeUninit<u8>; GRANULE]>();
            let to = to.cast::<[MaybeUninit<u8>; GRANULE]>();
            for k in 0..self.len.div_ceil(GRANULE) {
                to.add(k).write_unaligned(from.add(k).read());
            }
        }
    }

    /// The string as a long one, if it is.
    #[inline]
    pub fn as_long(self) -> Option<Gc<LongStr>> {
        (!self.is_short()).then(|| self.cast())
    }

    /// Equality by content of strings that are not the same object.
    #[inline]
    pub fn content_equals(self, other: Gc<Str>) -> bool {
        // Two short strings are equal only if they are the same one.
        !self.is_short()
            && !other.is_short()
            && self.len == other.len
            && self.as_bytes() == other.as_bytes()
    }

    /// Byte order, as `strcoll` has it in the C locale, zeros included.
    #[inline]
    pub fn compare(self, other: Gc<Str>) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

pub(super) fn new_short(heap: &mut Heap, bytes: &[u8], hash: u32) -> Result<Gc<Str>, OutOfMemory> {
    let p: NonNull<Str> = heap.alloc(size_of::<Str>() + bytes.len())?.cast();
    // SAFETY: the cell is fresh and has room for the head and the bytes.
    unsafe {
        p.write(Str::new(Kind::ShortString, bytes.len(), hash));
        ptr::copy_nonoverlapping(bytes.as_ptr(), p.as_ptr().add(1) as *mut u8, bytes.len());
        Ok(Gc::from_ptr(p))
    }
}

/// A long string of its own `len` bytes, which `fill` writes or fails.
fn new_long(
    heap: &mut Heap,
    len: usize,
    fill: impl FnOnce(&Heap, *mut u8) -> Result<(), OutOfMemory>,
) -> Result<Gc<Str>, OutOfMemory> {
    let size = len.checked_add(size_of::<LongStr>()).ok_or(OutOfMemory)?;
    let p: NonNull<LongStr> = heap.alloc(size)?.cast();
    // SAFETY: the cell is fresh and has room for the head and the bytes.
    unsafe {
        let data = p.as_ptr().add(1) as *mut u8;
        if let Err(e) = fill(heap, data) {
            heap.free(p.cast(), size);
            return Err(e);
        }
        p.write(LongStr {
            head: Str::new(Kind::LongString, len, 0),
            data,
            buffer: ptr::null_mut(),
        });
        Ok(Gc::from_ptr(p).cast())
    }
}

/// The first `len` bytes of a buffer as a string.
fn new_view(heap: &mut Heap, buffer: NonNull<Buffer>, len: usize) -> Result<Gc<Str>, OutOfMemory> {
    let p: NonNull<LongStr> = heap.alloc(size_of::<LongStr>())?.cast();
    // SAFETY: the cell is fresh; the bytes begin behind the buffer's head.
    unsafe {
        let data = buffer.as_ptr().add(1) as *const u8;
        p.write(LongStr {
            head: Str::new(Kind::LongString, len, 0),
            data,
            buffer: buffer.as_ptr(),
        });
        Ok(Gc::from_ptr(p).cast())
    }
}

/// How many bytes are copied between two polls.
pub const COPY_DISTANCE: usize = 1 << 20;

/// Copies the pieces to `to`, one behind the other. Fails if there is much to copy and the VM is to be stopped.
///
/// # Safety
/// There must be room for all of them, not overlapping any.
unsafe fn copy_pieces(heap: &Heap, mut to: *mut u8, pieces: &[&[u8]]) -> Result<(), OutOfMemory> {
    for part in pieces.iter().flat_map(|piece| piece.chunks(COPY_DISTANCE)) {
        if part.len() == COPY_DISTANCE {
            heap.poll()?;
        }
        // SAFETY: the caller's promise.
        unsafe {
            ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
            to = to.add(part.len());
        }
    }
    Ok(())
}

impl Runtime {
    /// The string with these bytes.
    #[inline]
    pub fn new_string(&mut self, bytes: &[u8]) -> Result<Gc<Str>, OutOfMemory> {
        if bytes.len() <= SHORT_MAX {
            return self.strings.intern(&mut self.heap, bytes);
        }
        // SAFETY: `new_long` gives room for as many bytes.
        new_long(&mut self.heap, bytes.len(), |heap, to| unsafe {
            copy_pieces(heap, to, &[bytes])
        })
    }

    /// The string of `len` bytes that `fill` writes; it polls the heap if they are many.
    ///
    /// # Safety
    /// `fill` must write all of them, or fail.
    pub unsafe fn new_string_with(
        &mut self,
        len: usize,
        fill: impl FnOnce(&Heap, &mut [MaybeUninit<u8>]) -> Result<(), OutOfMemory>,
    ) -> Result<Gc<Str>, OutOfMemory> {
        if len <= SHORT_MAX {
            let mut bytes = [MaybeUninit::uninit(); SHORT_MAX];
            fill(&self.heap, &mut bytes[..len])?;
            // SAFETY: the caller's promise: these bytes have been written.
            let bytes = unsafe { slice::from_raw_parts(bytes.as_ptr() as *const u8, len) };
            return self.strings.intern(&mut self.heap, bytes);
        }
        // SAFETY: `new_long` gives room for as many bytes.
        new_long(&mut self.heap, len, |heap, to| fill(heap, unsafe { slice::from_raw_parts_mut(to as *mut MaybeUninit<u8>, len) }))
    }

    /// The (short) string with these bytes, which then lives as long as the VM.
    pub fn intern_static(&mut self, bytes: &[u8]) -> Result<Gc<Str>, OutOfMemory> {
        self.strings.intern_static(&mut self.heap, bytes)
    }

    /// `left` followed by the pieces.
    ///
    /// Linear in the length of the result, except that appending to the result of an append takes amortised
    /// time linear in the pieces, at the price of a buffer of at most twice the length.
    pub fn append(&mut self, left: Gc<Str>, pieces: &[&[u8]]) -> Result<Gc<Str>, OutOfMemory> {
        let mut rest = 0usize;
        for piece in pieces {
            rest = rest.checked_add(piece.len()).ok_or(OutOfMemory)?;
        }
        if rest == 0 {
            return Ok(left);
        }
        let total = left
            .len
            .checked_add(rest)
            .filter(|&n| n <= isize::MAX as usize / 4)
            .ok_or(OutOfMemory)?;
        if total <= SHORT_MAX {
            let mut bytes = [0u8; SHORT_MAX];
            bytes[..left.len].copy_from_slice(left.as_bytes());
            // SAFETY: the pieces are as long as what is left of the result, which fits.
            unsafe { copy_pieces(&self.heap, bytes.as_mut_ptr().add(left.len), pieces)? };
            return self.strings.intern(&mut self.heap, &bytes[..total]);
        }
        let shared = left.as_long().and_then(|long| NonNull::new(long.buffer));
        if let Some(buffer) = shared {
            // SAFETY: a string's buffer is alive as long as the string.
            let head = unsafe { buffer.as_ref() };
            if head.used.get() == left.len && head.capacity - left.len >= rest {
                let result = new_view(&mut self.heap, buffer, total)?;
                // SAFETY: the bytes behind `used` are in nobody's view, and there are enough of them.
                unsafe { copy_pieces(&self.heap, (buffer.as_ptr().add(1) as *mut u8).add(left.len), pieces)? };
                head.used.set(total);
                return Ok(result);
            }
        }
        if (shared.is_some() || left.len >= BUFFER_MIN) && rest < left.len {
            let capacity = total * 2;
            let size = size_of::<Buffer>() + capacity;
            let buffer: NonNull<Buffer> = self.heap.alloc(size)?.cast();
            let result = match new_view(&mut self.heap, buffer, total) {
                Ok(result) => result,
                Err(e) => {
                    self.heap.free(buffer.cast(), size);
                    return Err(e);
                }
            };
            // SAFETY: the buffer is fresh and has room for twice as much.
            unsafe {
                buffer.write(Buffer {
                    used: Cell::new(total),
                    capacity,
                });
                let data = buffer.as_ptr().add(1) as *mut u8;
                copy_pieces(&self.heap, data, &[left.as_bytes()])?;
                copy_pieces(&self.heap, data.add(left.len), pieces)?;
            }
            return Ok(result);
        }
        // SAFETY: `new_long` gives room for the whole.
        new_long(&mut self.heap, total, |heap, to| unsafe {
            copy_pieces(heap, to, &[left.as_bytes()])?;
            copy_pieces(heap, to.add(left.len), pieces)
        })
    }
}
