//! Strings: immutable byte sequences.
//!
//! Strings of at most [`SHORT_MAX`] bytes are interned with their hash computed, so that equality is pointer
//! equality. Longer ones are not interned, hashed on first use as a key, and equal by content. A long string
//! is a view of `len` bytes at `data`: its own bytes behind the header, or a prefix of an append-only
//! [`Buffer`] that it may share with the strings it was built from, so that repeated `s = s .. x` is linear.

use std::cell::Cell;

use super::object::{Gc, Kind, Object};

/// The longest interned string, in bytes.
pub const SHORT_MAX: usize = 40;

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

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Str {}
// SAFETY: begins with `Str`.
unsafe impl Object for LongStr {}
