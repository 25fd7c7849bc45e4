//! Full userdata: a host value with a metatable and user values.

use std::any::Any;
use std::cell::Cell;

use super::metatable::Event;
use super::object::{Gc, Kind, Object};
use super::Runtime;
use super::table::Table;
use super::value::Value;
use crate::heap::OutOfMemory;

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

impl Runtime {
    /// A userdata around a host value. If the metatable has a finalizer, it will run.
    pub fn new_userdata(
        &mut self,
        data: Box<dyn Any + Send>,
        metatable: Option<Gc<Table>>,
    ) -> Result<Gc<Userdata>, OutOfMemory> {
        let p = self.heap.alloc(size_of::<Userdata>())?.cast::<Userdata>();
        // SAFETY: the cell is fresh and large enough.
        let userdata = unsafe {
            p.write(Userdata {
                barrier: Cell::new(0),
                kind: Kind::Userdata,
                finalizable: Cell::new(false),
                spare: 0,
                user_value_count: 0,
                metatable: Cell::new(metatable),
                data: Cell::new(Some(data)),
                user_values: Cell::new(Vec::new()),
            });
            Gc::from_ptr(p)
        };
        self.heap.register_userdata(userdata)?;
        let finalizer = self.metamethod(Value::userdata(userdata), Event::Gc);
        if !finalizer.is_nil() {
            self.heap.register_finalizer(userdata.header())?;
        }
        Ok(userdata)
    }
}
