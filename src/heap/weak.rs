//! Weak tables and ephemerons, and the references into hash parts in general.
//!
//! A table with weak keys is an ephemeron table: it keeps a value alive only while the key is reachable by other
//! ways. Strings are values and never removed. Object parts have string keys, array parts integer keys, so those are
//! weak in their values only.

use super::Heap;
use super::mark::{Marker, cell};
use crate::runtime::hash::Node;
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};

/// Whether a value is an object that has not been marked, and not a string.
#[inline]
fn is_dead(v: Value) -> bool {
    match v.as_object() {
        Some(object) => v.tag() != Tag::STRING && !Heap::is_cell_marked(cell(object)),
        None => false,
    }
}

#[inline]
fn hash_nodes<'a>(t: Gc<Table>) -> &'a [Node] {
    t.hash_part().map_or(&[], |hash| hash.nodes())
}

/// Empties a node.
fn clear(node: &Node) {
    node.set_value(Value::NIL);
    node.kill_key();
}

impl Marker<'_> {
    /// Scans nodes of the hash part of a strong table, up to `end`. Returns their number.
    pub(super) fn scan_hash(&mut self, t: Gc<Table>, start: usize, end: usize) -> usize {
        let nodes = &hash_nodes(t)[start..end];
        for node in nodes {
            if node.value().is_nil() {
                node.kill_key();
            } else {
                self.mark_value(node.key());
                self.mark_value(node.value());
            }
        }
        nodes.len()
    }

    /// Scans the keys of a table with weak values.
    pub(super) fn scan_hash_keys(&mut self, t: Gc<Table>) -> usize {
        let nodes = hash_nodes(t);
        for node in nodes {
            if node.value().is_nil() {
                node.kill_key();
            } else {
                self.mark_value(node.key());
            }
        }
        nodes.len()
    }

    /// Marks the values of a table with weak keys whose keys are alive. Returns whether there were unmarked ones.
    pub(super) fn scan_ephemeron(&mut self, t: Gc<Table>) -> bool {
        let mut progress = false;
        for node in hash_nodes(t) {
            if node.value().is_nil() {
                node.kill_key();
            } else if !is_dead(node.key()) {
                // Strings as keys are values, kept alive by being there.
                self.mark_value(node.key());
                if node
                    .value()
                    .as_object()
                    .is_some_and(|v| !Heap::is_cell_marked(cell(v)))
                {
                    progress = true;
                    self.mark_value(node.value());
                }
            }
        }
        progress
    }

    /// Scans ephemeron tables until no key that became alive adds a value.
    pub(super) fn converge_ephemerons(&mut self) {
        let mut backwards = false;
        loop {
            // Tables found on the way are appended; the direction alternates, so that a chain of tables in either order
            // takes few rounds.
            let tables = std::mem::take(&mut self.rt.heap.marking.ephemerons);
            let mut progress = false;
            for i in 0..tables.len() {
                let t = tables[if backwards { tables.len() - 1 - i } else { i }];
                if self.scan_ephemeron(t) {
                    progress = true;
                    self.propagate_all();
                }
            }
            let marking = &mut self.rt.heap.marking;
            let found = std::mem::replace(&mut marking.ephemerons, tables);
            for t in found {
                super::mark::push(&mut marking.ephemerons, t, &mut marking.failed);
            }
            if !progress || marking.failed {
                return;
            }
            backwards = !backwards;
        }
    }

    /// Removes entries with dead values from the tables from `from` of the lists of tables with weak values on.
    pub(super) fn clear_weak_values(&mut self, from: (usize, usize)) {
        for i in from.0..self.rt.heap.marking.weak_values.len() {
            self.clear_values(self.rt.heap.marking.weak_values[i]);
        }
        for i in from.1..self.rt.heap.marking.all_weak.len() {
            self.clear_values(self.rt.heap.marking.all_weak[i]);
        }
    }

    /// Removes entries with dead keys from all tables with weak keys.
    pub(super) fn clear_weak_keys(&mut self) {
        for i in 0..self.rt.heap.marking.ephemerons.len() {
            self.clear_keys(self.rt.heap.marking.ephemerons[i]);
        }
        for i in 0..self.rt.heap.marking.all_weak.len() {
            self.clear_keys(self.rt.heap.marking.all_weak[i]);
        }
    }

    fn clear_values(&mut self, t: Gc<Table>) {
        let (inline, overflow, array) = self.runs(t);
        for i in 0..inline.len + overflow.len {
            // SAFETY: the runs of a table are initialised.
            let slot = unsafe {
                if i < inline.len {
                    inline.get(i)
                } else {
                    overflow.get(i - inline.len)
                }
            };
            if !self.survives(slot) {
                let key = self.rt.shapes.keys(t.shape.get())[i];
                self.remove(t, Value::string(key));
            }
        }
        for i in 0..array.len {
            // SAFETY: as above; the storage stays when elements are removed.
            if !self.survives(unsafe { array.get(i) }) {
                self.remove(t, Value::int(i as i64 + 1));
            }
        }
        for node in hash_nodes(t) {
            if node.value().is_nil() {
                // Nobody has looked at the keys of tables that are weak in both. A removed entry keeps no string alive.
                node.kill_key();
            } else if is_dead(node.value()) {
                self.rt.before_weak_clear(t);
                clear(node);
            } else {
                self.mark_string(node.value());
                self.mark_string(node.key());
            }
        }
    }

    /// Whether the value in a slot is not dead; a string is marked.
    fn survives(&mut self, (tag, payload): (u8, u64)) -> bool {
        let v = Value::new(payload, Tag::from_byte(tag));
        self.mark_string(v);
        !is_dead(v)
    }

    /// Assigns nil to an existing key.
    fn remove(&mut self, t: Gc<Table>, key: Value) {
        self.rt.before_weak_clear(t);
        let removed = self.rt.set(t, key, Value::NIL);
        debug_assert!(removed.is_ok(), "removing allocates nothing");
    }

    fn clear_keys(&mut self, t: Gc<Table>) {
        for node in hash_nodes(t) {
            if is_dead(node.key()) {
                clear(node);
            }
        }
    }

    fn mark_string(&mut self, v: Value) {
        if let Some(s) = v.as_string() {
            self.mark_str(s);
        }
    }
}
