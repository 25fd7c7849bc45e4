//! Full userdata: a host value with a metatable and user values.

use std::any::Any;
use std::cell::Cell;

use super::object::{Gc, Kind, Object};
use super::table::Table;
use super::value::Value;

/// A host value owned by the heap. Dropped when the object is swept or the VM is dropped, or earlier when the
/// host takes it out.
#[repr(C, align(8))]
pub struct Userdata {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    /// Whether the metatable has `__gc` and the finalizer is still to run.
    pub finalizable: Cell<bool>,
    pub spare: u8,
    pub user_value_count: u32,
    pub metatable: Cell<Option<Gc<Table>>>,
    /// The host value; `None` once it has been taken or dropped.
    pub data: Cell<Option<Box<dyn Any + Send>>>,
    /// User values, boxed because few userdata have any.
    pub user_values: Cell<Vec<Value>>,
}

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Userdata {}
