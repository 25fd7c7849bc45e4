//! Objects with finalizers.
//!
//! An object is registered when it gets a metatable with `__gc`. Once it is found unreachable it moves to the pending
//! list, which keeps it alive, in the reverse order of registration; from there the interpreter takes and finalizes
//! it at a poll. Afterwards it is an ordinary object, which may be registered again.

use std::collections::VecDeque;

use super::mark::Marker;
use super::{Heap, OutOfMemory, reserve};
use crate::runtime::object::{Gc, Header, Kind};
use crate::runtime::table::{Table, table_flags};
use crate::runtime::userdata::Userdata;
use crate::runtime::value::Value;

/// The objects with finalizers.
#[derive(Default)]
pub(super) struct Finalizers {
    /// In the order of registration.
    registered: Vec<Gc<Header>>,
    /// Unreachable, in the order in which they are to be finalized.
    pending: VecDeque<Gc<Header>>,
    /// The VM closes: no more objects are registered.
    closed: bool,
}

fn is_registered(object: Gc<Header>) -> bool {
    match object.kind {
        Kind::Table => object.cast::<Table>().has_flag(table_flags::FINALIZABLE),
        _ => object.cast::<Userdata>().finalizable.get(),
    }
}

fn set_registered(object: Gc<Header>, registered: bool) {
    if object.kind == Kind::Table {
        let flags = &object.cast::<Table>().flags;
        let others = flags.get() & !table_flags::FINALIZABLE;
        flags.set(if registered {
            others | table_flags::FINALIZABLE
        } else {
            others
        });
    } else {
        object.cast::<Userdata>().finalizable.set(registered);
    }
}

impl Heap {
    /// Registers a table or userdata whose metatable has `__gc`. Nothing happens if it is registered already.
    pub fn register_finalizer(&mut self, object: Gc<Header>) -> Result<(), OutOfMemory> {
        debug_assert!(matches!(object.kind, Kind::Table | Kind::Userdata));
        if is_registered(object) || self.finalizers.closed {
            return Ok(());
        }
        // The pending list must be able to take it without fail.
        let finalizers = &mut self.finalizers;
        reserve(&mut finalizers.registered)?;
        finalizers
            .pending
            .try_reserve(finalizers.registered.len() + 1)?;
        finalizers.registered.push(object);
        set_registered(object, true);
        Ok(())
    }

    /// Whether objects wait to be finalized.
    pub fn has_finalizers(&self) -> bool {
        !self.finalizers.pending.is_empty()
    }

    /// Takes the next object to be finalized.
    pub fn next_finalizer(&mut self) -> Option<Value> {
        let object = self.finalizers.pending.pop_front()?;
        set_registered(object, false);
        Some(match object.kind {
            Kind::Table => Value::table(object.cast()),
            _ => Value::userdata(object.cast()),
        })
    }

    /// Makes all registered objects pending, behind those that are: when the VM closes, each is finalized
    /// whether it is reachable or not. From now on nothing is registered.
    pub fn all_finalizers(&mut self) {
        let Finalizers {
            registered,
            pending,
            closed,
        } = &mut self.finalizers;
        *closed = true;
        pending.extend(registered.drain(..).rev());
    }
}

impl Marker<'_> {
    /// Moves the unmarked objects to the pending list.
    pub(super) fn separate_finalizers(&mut self) {
        let Finalizers {
            registered,
            pending,
            ..
        } = &mut self.rt.heap.finalizers;
        for &object in registered.iter().rev() {
            if !Heap::is_marked(object) {
                // Room was reserved at registration.
                pending.push_back(object);
            }
        }
        registered.retain(|&object| Heap::is_marked(object));
    }

    /// Marks the pending objects, which their finalizers will see.
    pub(super) fn mark_pending(&mut self) {
        for i in 0..self.rt.heap.finalizers.pending.len() {
            self.mark(self.rt.heap.finalizers.pending[i]);
        }
    }
}
