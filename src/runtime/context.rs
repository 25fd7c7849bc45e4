//! The runtime: the heap and everything that gives its objects meaning, without any execution.

use super::assumption::{Assumption, Assumptions};
use super::class::Classes;
use super::metatable::{BASIC_TYPES, Event, MetatableCache};
use super::object::{Gc, Header};
use super::shape::Shapes;
use super::interner::StringTable;
use super::string::Str;
use super::table::Table;
use crate::bytecode::cache::SharedCache;
use crate::heap::{Heap, OutOfMemory};

/// The state that operations on values need.
pub struct Runtime {
    pub heap: Heap,
    pub strings: StringTable,
    pub shapes: Shapes,
    pub classes: Classes,
    /// The names of the events, by [`Event`].
    pub events: [Gc<Str>; Event::ALL.len()],
    /// By [`basic_type`](super::metatable::basic_type). Set through
    /// [`set_primitive_metatable`](Runtime::set_primitive_metatable).
    pub primitive_metatables: [Option<Gc<Table>>; BASIC_TYPES],
    /// Changes whenever a cached way through holders may have: a key added to one, its metatable changed,
    /// its shape given up.
    pub holder_epoch: u32,
    /// Changes whenever an event of a table in use as a metatable changes.
    pub class_epoch: u32,
    /// Set when shapes have lost their meaning: the interpreter must clear every inline cache before the next
    /// instruction.
    pub flush_caches: bool,
    /// What megamorphic sites share.
    pub shared_cache: SharedCache,
    pub assumptions: Assumptions,
    pub(super) metatable_cache: MetatableCache,
}

impl Runtime {
    pub fn new() -> Result<Runtime, OutOfMemory> {
        let mut heap = Heap::new();
        let mut strings = StringTable::new(&mut heap)?;
        let mut events = [strings.empty(); Event::ALL.len()];
        for &e in Event::ALL {
            let name = strings.intern_static(&mut heap, e.name().as_bytes())?;
            name.event.set(e as u8 + 1);
            events[e as usize] = name;
        }
        Ok(Runtime {
            heap,
            strings,
            shapes: Shapes::new(),
            classes: Classes::new(),
            events,
            primitive_metatables: [None; BASIC_TYPES],
            holder_epoch: 0,
            class_epoch: 0,
            flush_caches: false,
            shared_cache: SharedCache::new(),
            assumptions: Assumptions::default(),
            metatable_cache: MetatableCache::new(),
        })
    }

    /// Something that others rely on no longer holds.
    #[inline]
    pub fn assumption_broken(&mut self, a: Assumption) {
        self.assumptions.broken(a);
    }

    /// Marks what the runtime itself keeps alive.
    pub fn trace(&self, mut mark: impl FnMut(Gc<Header>)) {
        self.strings.trace(&mut mark);
        self.shapes.trace(&mut mark);
        self.primitive_metatables
            .iter()
            .flatten()
            .for_each(|m| mark(m.header()));
    }

    /// Clears the weak references to dead objects, but for those to strings. Called in the atomic phase, after everything
    /// is marked.
    pub fn sweep_weak(&mut self, alive: &dyn Fn(Gc<Header>) -> bool) {
        self.shapes.sweep_weak(alive);
        self.classes.sweep_weak(alive);
        self.assumptions.sweep_weak(alive);
        self.metatable_cache.clear();
        self.shared_cache.clear();
    }
}
