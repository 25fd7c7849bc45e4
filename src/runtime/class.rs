//! Metatable classes: what shapes know about the metatables of their tables.
//!
//! A class stands for all metatables that have the same events with the same values, whatever their other
//! keys. Invariant: a table whose shape has class `c` has a metatable whose events are those of `c`, or `c` says
//! that it does not know ([`ClassId::UNKNOWN`], or a class that has been dissolved). So an event store to a table
//! that serves as a metatable dissolves the class of its events first.

use hashbrown::HashTable;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash, Hasher};

use super::hasher::BuildWordHasher;
use super::metatable::Event;
use super::object::{Gc, Header};
use super::value::Value;
use crate::heap::OutOfMemory;

/// Names a class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct ClassId(pub u32);

impl ClassId {
    /// There is no metatable.
    pub const NONE: ClassId = ClassId(0);
    /// Read the header.
    pub const UNKNOWN: ClassId = ClassId(1);
}

/// The events of a metatable: those with a value, and the values in the order of the events.
#[derive(Clone, Default)]
pub struct Events {
    present: u32,
    values: SmallVec<[Value; 4]>,
}

impl Events {
    /// Adds an event; to be called in the order of events.
    pub fn push(&mut self, e: Event, v: Value) {
        debug_assert!(self.present >> e as u32 == 0);
        self.present |= 1 << e as u32;
        self.values.push(v);
    }

    #[inline]
    pub fn get(&self, e: Event) -> Value {
        let bit = 1 << e as u32;
        if self.present & bit == 0 {
            return Value::NIL;
        }
        self.values[(self.present & (bit - 1)).count_ones() as usize]
    }

    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    fn hash(&self) -> u64 {
        let mut h = BuildWordHasher::default().build_hasher();
        self.present.hash(&mut h);
        for v in &self.values {
            h.write_u64(v.payload());
            h.write_u8(v.tag().byte());
        }
        h.finish()
    }

    fn same(&self, other: &Events) -> bool {
        self.present == other.present
            && self
                .values
                .iter()
                .zip(&other.values)
                .all(|(a, b)| a.same_bits(*b))
    }
}

struct Class {
    events: Events,
    /// False for `UNKNOWN` and dissolved classes.
    known: bool,
}

/// All classes. Event values are weak: a class with a dead one is dissolved.
pub struct Classes {
    list: Vec<Class>,
    interned: HashTable<ClassId>,
}

impl Classes {
    pub fn new() -> Classes {
        let list = vec![
            Class {
                events: Events::default(),
                known: true,
            },
            Class {
                events: Events::default(),
                known: false,
            },
        ];
        Classes {
            list,
            interned: HashTable::new(),
        }
    }

    /// The value of an event, or `None` if the class does not know.
    #[inline]
    pub fn event(&self, id: ClassId, e: Event) -> Option<Value> {
        let class = &self.list[id.0 as usize];
        class.known.then(|| class.events.get(e))
    }

    /// Whether the class vouches for events; if not, the metatable must be read.
    #[inline]
    pub fn is_known(&self, id: ClassId) -> bool {
        self.list[id.0 as usize].known
    }

    /// The class of these events, if there is one.
    pub fn find(&self, events: &Events) -> Option<ClassId> {
        self.interned
            .find(events.hash(), |id| {
                self.list[id.0 as usize].events.same(events)
            })
            .copied()
    }

    /// The class of these events.
    pub fn intern(&mut self, events: Events) -> Result<ClassId, OutOfMemory> {
        if let Some(id) = self.find(&events) {
            return Ok(id);
        }
        let list = &self.list;
        self.interned
            .try_reserve(1, |id| list[id.0 as usize].events.hash())
            .map_err(|_| OutOfMemory)?;
        self.list.try_reserve(1).map_err(|_| OutOfMemory)?;
        let id = ClassId(self.list.len() as u32);
        let hash = events.hash();
        self.list.push(Class {
            events,
            known: true,
        });
        let list = &self.list;
        self.interned
            .insert_unique(hash, id, |id| list[id.0 as usize].events.hash());
        Ok(id)
    }

    /// From now on the class knows nothing.
    pub fn dissolve(&mut self, id: ClassId) {
        if let Ok(entry) = self
            .interned
            .find_entry(self.list[id.0 as usize].events.hash(), |&other| other == id)
        {
            entry.remove();
        }
        let class = &mut self.list[id.0 as usize];
        class.known = false;
        class.events = Events::default();
    }

    /// Dissolves the classes with dead event values. No table alive can depend on one: its metatable would
    /// keep the values alive, and weak metatables are announced before they are cleared
    /// ([`before_weak_clear`](super::Runtime::before_weak_clear)).
    pub fn sweep_weak(&mut self, alive: &dyn Fn(Gc<Header>) -> bool) {
        let list = &mut self.list;
        self.interned.retain(|id| {
            let class = &mut list[id.0 as usize];
            let keep = class
                .events
                .values
                .iter()
                .all(|v| v.as_object().is_none_or(alive));
            if !keep {
                class.known = false;
                class.events = Events::default();
            }
            keep
        });
    }
}

impl Default for Classes {
    fn default() -> Self {
        Classes::new()
    }
}
