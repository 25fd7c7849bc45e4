//! Tables: an object part for string keys, an array part for 1..n, a hash part for everything else.
use std::cell::Cell;

use super::object::{Gc, Kind, Object};
use super::hash::HashPart;
use super::shape::ShapeId;

/// The header of a table. The inline slots follow it: first the payloads (8 bytes each), then the tags (one
/// byte each), both runs as long as the shape's inline capacity.
#[repr(C, align(8))]
pub struct Table {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    /// What the array part holds; see [`ArrayKind`].
    pub array_kind: Cell<ArrayKind>,
    /// See [`TableFlags`].
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
