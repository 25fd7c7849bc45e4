//! Objects that own host memory: coroutines, userdata and prototypes.
//!
//! They are listed, and the sweep walks the list and releases what the dead ones own. Until it has passed, their
//! cells are held back from the allocator.

use std::alloc::{Layout, dealloc};
use std::ptr;

use super::block::class_of;
use super::mark::cell;
use super::{Heap, OutOfMemory, reserve};
use crate::bytecode::Instr;
use crate::bytecode::cache::{CallSite, FieldCache, LoopSite, TableSite};
use crate::bytecode::proto::{CapturedVar, LocalVar, Proto};
use crate::runtime::coroutine::Coroutine;
use crate::runtime::object::{Gc, Header, Kind, Object};
use crate::runtime::string::{SHORT_MAX, Str};
use crate::runtime::userdata::Userdata;
use crate::runtime::value::Value;
use crate::tier1::state::{record_layout, stack_layout};

/// An object, and the bytes charged for what it owns (not of coroutines, which tell themselves).
struct Owner {
    object: Gc<Header>,
    bytes: usize,
}

/// The size classes of owners, a bit each.
fn owner_classes() -> u64 {
    let sizes = [size_of::<Coroutine>(), size_of::<Userdata>(), size_of::<Proto>()];
    sizes.iter().fold(0, |held, &size| held | 1 << class_of(size))
}

/// The list of owners.
#[derive(Default)]
pub(super) struct Owners {
    list: Vec<Owner>,
    /// Entries that the sweep in progress has still to examine: those below this index.
    unswept: usize,
}

impl Owners {
    /// All coroutines.
    pub fn coroutines(&self) -> impl Iterator<Item = Gc<Coroutine>> {
        self.list
            .iter()
            .filter(|o| o.object.kind == Kind::Coroutine)
            .map(|o| o.object.cast())
    }
}

impl Heap {
    /// Makes the heap the owner of a coroutine's stacks, for which the caller has charged. If that fails, the
    /// stacks have been freed and discharged.
    pub fn register_coroutine(&mut self, co: Gc<Coroutine>) -> Result<(), OutOfMemory> {
        self.register(co, 0)
    }

    /// Makes the heap the owner of a userdata's value, and charges for it. If that fails, the value has been
    /// dropped.
    pub fn register_userdata(&mut self, userdata: Gc<Userdata>) -> Result<(), OutOfMemory> {
        let data = userdata.data.take();
        let values = userdata.user_values.take();
        let bytes =
            data.as_ref().map_or(0, |d| size_of_val(&**d)) + values.capacity() * size_of::<Value>();
        userdata.data.set(data);
        userdata.user_values.set(values);
        self.register(userdata, bytes)
    }

    /// Makes the heap the owner of a prototype's arrays, and charges for them. If that fails, they have been freed.
    pub fn register_proto(&mut self, proto: Gc<Proto>) -> Result<(), OutOfMemory> {
        let info = &proto.info;
        let bytes = info.code.capacity() * (size_of::<Instr>() + 1)
            + info.constants.capacity() * size_of::<Value>()
            + info.fields.capacity() * size_of::<FieldCache>()
            + info.calls.capacity() * size_of::<CallSite>()
            + info.tables.capacity() * size_of::<TableSite>()
            + info.loops.capacity() * size_of::<LoopSite>()
            + info.protos.capacity() * size_of::<Gc<Proto>>()
            + info.captured.capacity() * size_of::<CapturedVar>()
            + info.locals.capacity() * size_of::<LocalVar>()
            + size_of_val(info.lines.runs())
            + size_of_val(&**info);
        self.register(proto, bytes)
    }

    fn register<T: Object>(&mut self, object: Gc<T>, bytes: usize) -> Result<(), OutOfMemory> {
        let owner = Owner {
            object: object.header(),
            bytes,
        };
        if let Err(e) = self.charge(bytes) {
            self.release(Owner { bytes: 0, ..owner });
            return Err(e);
        }
        if let Err(e) = reserve(&mut self.owners.list) {
            self.release(owner);
            return Err(e);
        }
        self.owners.list.push(owner);
        Ok(())
    }

    /// All prototypes, to clear their inline caches.
    pub fn protos(&self) -> impl Iterator<Item = Gc<Proto>> {
        self.owners
            .list
            .iter()
            .filter(|o| o.object.kind == Kind::Proto)
            .map(|o| o.object.cast())
    }

    /// Begins the walk over the list and holds back the cells of owners.
    pub(super) fn begin_owner_sweep(&mut self) {
        self.held |= owner_classes();
        self.owners.unswept = self.owners.list.len();
    }

    /// Holds back the cells of interned strings.
    pub(super) fn hold_strings(&mut self) {
        for class in class_of(size_of::<Str>())..=class_of(size_of::<Str>() + SHORT_MAX) {
            self.held |= 1 << class;
        }
    }

    /// Holds back only the cells of owners.
    pub(super) fn release_strings(&mut self) {
        self.held = owner_classes();
    }

    /// Examines one owner; `None` at the end, when no cells are held back any longer.
    pub(super) fn sweep_owner(&mut self) -> Option<()> {
        let Some(i) = self.owners.unswept.checked_sub(1) else {
            self.held = 0;
            return None;
        };
        self.owners.unswept = i;
        if self.is_cell_dead(cell(self.owners.list[i].object)) {
            // The last entry, which takes its place, has been examined or is new.
            let owner = self.owners.list.swap_remove(i);
            self.release(owner);
        }
        Some(())
    }

    /// Releases what a dead object owns.
    fn release(&mut self, owner: Owner) {
        self.discharge(owner.bytes);
        match owner.object.kind {
            Kind::Coroutine => {
                let co: Gc<Coroutine> = owner.object.cast();
                let stack = stack_layout(co.stack_size.get());
                let records = record_layout(co.records_size.get());
                self.discharge(stack.size() + records.size());
                drop(co.to_close.take());
                free(co.stack.get(), stack);
                free(co.records.get(), records);
            }
            Kind::Userdata => {
                let userdata: Gc<Userdata> = owner.object.cast();
                drop(userdata.user_values.take());
                drop(userdata.data.take());
            }
            // SAFETY: the object is dead and released once, and its cell has not been reused.
            Kind::Proto => unsafe { ptr::drop_in_place(owner.object.cast::<Proto>().as_ptr()) },
            _ => unreachable!("other objects own nothing"),
        }
    }

    /// Releases what all objects own.
    pub(super) fn release_all(&mut self) {
        while let Some(owner) = self.owners.list.pop() {
            self.release(owner);
        }
    }
}

/// Frees a stack of a coroutine.
fn free<T>(p: *mut T, layout: Layout) {
    // SAFETY: the interpreter allocates the stacks of coroutines with the layouts of their sizes, and this
    // coroutine is dead.
    unsafe { dealloc(p.cast(), layout) }
}
