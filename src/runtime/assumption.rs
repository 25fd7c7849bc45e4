//! What compiled code takes for granted, and the one place where that ends.
//!
//! Whoever relies on an [`Assumption`] registers it with [`Assumptions::watch`]. The code that breaks one says so
//! through [`Assumptions::broken`], which costs one look into an empty table when nobody watches. The broken ones wait until
//! tier 2 takes them at the next safepoint, before any executor is entered and any assumption is watched.
//!
//! Watching is counted: an assumption is forgotten when all that rely on it have said [`Assumptions::unwatch`], or when
//! it breaks.

use std::cmp::Ordering;

use hashbrown::HashMap;

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
    /// The table keeps its metatable and its own shape, and its slots stay where they are.
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
    /// How many kinds there are.
    pub const KINDS: usize = 8;
    /// Their names, by [`Assumption::kind`].
    pub const KIND_NAMES: [&'static str; Assumption::KINDS] = [
        "slot constant",
        "key absent",
        "holder",
        "class",
        "events",
        "cell constant",
        "primitive metatable",
        "object alive",
    ];

    /// The kind as a number.
    pub fn kind(self) -> usize {
        self.words().0 as usize
    }

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

impl Ord for Assumption {
    fn cmp(&self, other: &Assumption) -> Ordering {
        self.words().cmp(&other.words())
    }
}

impl PartialOrd for Assumption {
    fn partial_cmp(&self, other: &Assumption) -> Option<Ordering> {
        Some(self.cmp(other))
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
    /// With how many rely on them.
    watched: HashMap<Assumption, u32, BuildWordHasher>,
    /// Has room for all that are watched, so that breaking one never allocates.
    broken: Vec<Assumption>,
    /// Whether any has been broken. Machine code asks for this byte.
    reported: bool,
}

impl Assumptions {
    /// The offset of the byte that says what [`Assumptions::any_broken`] does.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    pub const REPORTED: usize = std::mem::offset_of!(Assumptions, reported);

    /// From now on `a` is reported when it breaks, once.
    pub fn watch(&mut self, a: Assumption) -> Result<(), OutOfMemory> {
        debug_assert!(!self.broken.contains(&a), "what was broken is carried out first");
        self.watched.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.broken
            .try_reserve(self.watched.len() + 1)
            .map_err(|_| OutOfMemory)?;
        *self.watched.entry(a).or_insert(0) += 1;
        Ok(())
    }

    /// One of those that have watched `a` does not rely on it any more. Nothing happens if it has been broken.
    pub fn unwatch(&mut self, a: Assumption) {
        if let Some(count) = self.watched.get_mut(&a) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(&a);
            }
        }
    }

    /// How many assumptions are watched.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.watched.len()
    }

    /// `a` no longer holds.
    #[inline]
    pub fn broken(&mut self, a: Assumption) {
        if !self.watched.is_empty() && self.watched.remove(&a).is_some() {
            self.broken.push(a);
            self.reported = true;
        }
    }

    /// Whether there is anything to take.
    #[inline]
    pub fn any_broken(&self) -> bool {
        self.reported
    }

    /// Takes out what has been broken. The list is to be given back once that has been carried out.
    pub fn take_broken(&mut self) -> Vec<Assumption> {
        self.reported = false;
        std::mem::take(&mut self.broken)
    }

    /// Gives the list back to which broken assumptions are added.
    pub fn give_back(&mut self, mut list: Vec<Assumption>) {
        debug_assert!(self.broken.is_empty(), "nothing breaks while the consequences are drawn");
        list.clear();
        self.broken = list;
    }

    /// Reports the assumptions about dead objects as broken.
    pub fn sweep_weak(&mut self, alive: &dyn Fn(Gc<Header>) -> bool) {
        let broken = &mut self.broken;
        self.watched.retain(|&a, _| {
            let keep = a.is_alive(alive);
            if !keep {
                broken.push(a);
            }
            keep
        });
        self.reported = !self.broken.is_empty();
    }
}
