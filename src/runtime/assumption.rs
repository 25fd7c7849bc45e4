//! What compiled code takes for granted, and the one place where that ends.
//!
//! Whoever relies on an [`Assumption`] registers it with [`Assumptions::watch`]. The code that breaks one says so
//! through [`Assumptions::broken`], which costs one look into an empty table when nobody watches. The broken ones wait until
//! tier 2 drains them at the next safepoint, before any executor is entered.

use hashbrown::HashSet;

use super::class::ClassId;
use super::function::UpCell;
use super::hasher::BuildWordHasher;
use super::object::{Gc, Header};
use super::string::Str;
use super::table::Table;
use crate::heap::OutOfMemory;

/// A fact about the heap that holds until the assumption is reported as broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assumption {
    /// The slot of a holder keeps its value. Goes with `Holder`.
    SlotConstant { table: Gc<Table>, slot: u32 },
    /// The holder has no such key. Goes with `Holder`.
    KeyAbsent { table: Gc<Table>, key: Gc<Str> },
    /// The table keeps its metatable and its own shape.
    Holder { table: Gc<Table> },
    /// The metatables of the class keep their events.
    Class(ClassId),
    /// The metatable keeps its events.
    Events { metatable: Gc<Table> },
    /// The captured variable keeps its value.
    CellConstant(Gc<UpCell>),
    /// The object has not been collected.
    Alive(Gc<Header>),
    /// The basic type (see [`basic_type`](super::metatable::basic_type)) keeps its metatable and that one its events.
    PrimitiveMetatable(u8),
}

impl Assumption {
    fn words(self) -> (u8, u64, u64) {
        match self {
            Assumption::SlotConstant { table, slot } => (0, table.addr(), slot as u64),
            Assumption::KeyAbsent { table, key } => (1, table.addr(), key.addr()),
            Assumption::Holder { table } => (2, table.addr(), 0),
            Assumption::Class(class) => (3, class.0 as u64, 0),
            Assumption::Events { metatable } => (4, metatable.addr(), 0),
            Assumption::CellConstant(cell) => (5, cell.addr(), 0),
            Assumption::PrimitiveMetatable(basic) => (6, basic as u64, 0),
            Assumption::Alive(object) => (7, object.addr(), 0),
        }
    }

    fn is_alive(self, alive: &dyn Fn(Gc<Header>) -> bool) -> bool {
        match self {
            Assumption::SlotConstant { table, .. }
            | Assumption::Holder { table }
            | Assumption::Events { metatable: table } => alive(table.header()),
            Assumption::KeyAbsent { table, key } => alive(table.header()) && alive(key.header()),
            Assumption::CellConstant(cell) => alive(cell.header()),
            Assumption::Alive(object) => alive(object),
            Assumption::Class(_) | Assumption::PrimitiveMetatable(_) => true,
        }
    }
}

impl std::hash::Hash for Assumption {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.words().hash(state);
    }
}

/// The assumptions that someone relies on, and those broken since they were last drained.
#[derive(Default)]
pub struct Assumptions {
    watched: HashSet<Assumption, BuildWordHasher>,
    /// Has room for all that are watched, so that breaking one never allocates.
    broken: Vec<Assumption>,
}

impl Assumptions {
    /// From now on `a` is reported when it breaks, once.
    pub fn watch(&mut self, a: Assumption) -> Result<(), OutOfMemory> {
        self.watched.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.broken
            .try_reserve(self.watched.len() + 1)
            .map_err(|_| OutOfMemory)?;
        self.watched.insert(a);
        Ok(())
    }

    /// `a` no longer holds.
    #[inline]
    pub fn broken(&mut self, a: Assumption) {
        if !self.watched.is_empty() && self.watched.remove(&a) {
            self.broken.push(a);
        }
    }

    /// Whether there is anything to drain.
    #[inline]
    pub fn any_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Takes out what has been broken.
    pub fn drain(&mut self) -> impl Iterator<Item = Assumption> + '_ {
        self.broken.drain(..)
    }

    /// Reports the assumptions about dead objects as broken.
    pub fn sweep_weak(&mut self, alive: &dyn Fn(Gc<Header>) -> bool) {
        let broken = &mut self.broken;
        self.watched.retain(|&a| {
            let keep = a.is_alive(alive);
            if !keep {
                broken.push(a);
            }
            keep
        });
    }
}
