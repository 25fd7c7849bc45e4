//! Memory: loads of what is known to be there, and stores that nobody sees.
//!
//! A load of a place that has been loaded from or stored to is the value known to be there. A store of that value
//! again disappears, and so does a store that is followed by another one to the same place, with nothing between
//! that could see it: every exit can. Guards of shapes that stores have left disappear, and so do barriers of
//! objects that the collector has heard of since it last ran; it runs in call-outs only, and new objects are none that it has scanned.

use perilune_uops::{Exit, MicroOp};

use super::alias::{Aliases, Meet, is_fresh, is_plain_load, stored};
use crate::tier2::superblock::{Node, Ref, Rewriter, Superblock};

/// What is known to be in a place.
struct Entry {
    /// An access to the place.
    access: Ref,
    value: Ref,
}

struct Forwarder<'a> {
    sb: &'a Superblock,
    aliases: Aliases<'a>,
    known: Vec<Entry>,
    /// Stores that nobody can have seen yet.
    unseen: Vec<Ref>,
    /// Objects that need no barrier.
    heard: Vec<Ref>,
    /// For each node the one that stands for it.
    value: Vec<Ref>,
    dropped: Vec<bool>,
}

/// The pass; see the module's documentation.
pub fn memory(old: &Superblock) -> Option<Superblock> {
    let n = old.nodes.len();
    let mut forwarder = Forwarder {
        sb: old,
        aliases: Aliases::new(old),
        known: Vec::new(),
        unseen: Vec::new(),
        heard: Vec::new(),
        value: (0..n as u32).map(Ref).collect(),
        dropped: vec![false; n],
    };
    let end = old.iter().position(|(r, node)| !forwarder.visit(r, node));
    let stays = |(r, dropped): (Ref, &bool)| !dropped && forwarder.value[r.index()] == r;
    if end.is_none() && (0..).map(Ref).zip(&forwarder.dropped).all(stays) {
        return None;
    }
    let mut rw = Rewriter::new(old);
    for (r, node) in old.iter() {
        if end == Some(r.index()) {
            return Some(rw.leave(node.exit));
        }
        let value = forwarder.value[r.index()];
        if value != r {
            rw.replace(r, rw.name(value));
        } else if !forwarder.dropped[r.index()] {
            rw.copy(r);
        }
    }
    Some(rw.finish())
}

impl Forwarder<'_> {
    /// Goes past a node; false if control does not.
    fn visit(&mut self, r: Ref, node: &Node) -> bool {
        match node.op {
            MicroOp::LOOP => {
                self.enter_loop();
                return true;
            }
            MicroOp::GUARD_SHAPE if let Some(shape) = self.aliases.shape_at(r) => {
                if shape as u64 != node.operands[0] {
                    return false;
                }
                self.dropped[r.index()] = true;
                return true;
            }
            MicroOp::SET_SHAPE
                if self.aliases.shape_at(r).map(u64::from) == Some(node.operands[0]) =>
            {
                self.dropped[r.index()] = true;
                return true;
            }
            MicroOp::BARRIER => {
                let object = self.aliases.origin(node.inputs[0]);
                if self.heard.contains(&object) {
                    self.dropped[r.index()] = true;
                } else {
                    self.heard.push(object);
                }
                return true;
            }
            op if is_plain_load(op) && self.forward(r, node) => return true,
            _ => {}
        }
        if node.exit_kind() != Exit::None {
            self.unseen.clear();
        }
        if !node.effects().reads.is_empty() {
            let aliases = &self.aliases;
            self.unseen.retain(|&store| !aliases.clobbers(store, r));
        }
        if let Some(value) = stored(node) {
            self.store(r, node, self.value[value.index()]);
        } else if !node.effects().writes.is_empty() || node.is_call_out() {
            let aliases = &self.aliases;
            self.known
                .retain(|entry| !aliases.clobbers(r, entry.access));
        }
        if node.effects().calls {
            self.heard.clear();
        }
        if is_fresh(node.op) {
            self.heard.push(r);
        }
        true
    }

    /// Forgets what the loop may change.
    fn enter_loop(&mut self) {
        let aliases = &self.aliases;
        self.unseen.clear();
        self.known
            .retain(|entry| !aliases.clobbered_in_loop(entry.access));
        if aliases
            .writers_in_loop()
            .iter()
            .any(|&w| self.sb.node(w).effects().calls)
        {
            self.heard.clear();
        }
    }

    /// Gives a load the value known to be there; otherwise it is known from now on.
    fn forward(&mut self, r: Ref, node: &Node) -> bool {
        let there = self.known.iter().find(|entry| {
            self.aliases.meet(entry.access, r) == Meet::Always
                && (node.op.declaration().output == self.sb.node(entry.value).ty
                    || node.ty == Some(perilune_uops::Type::Tagged))
        });
        match there {
            Some(entry) => {
                self.value[r.index()] = entry.value;
                true
            }
            None => {
                self.known.push(Entry {
                    access: r,
                    value: r,
                });
                false
            }
        }
    }

    fn store(&mut self, r: Ref, node: &Node, value: Ref) {
        use MicroOp::*;
        let aliases = &self.aliases;
        // A store to a cell also makes it mutable, and one behind the last element lengthens the array.
        let plain = matches!(
            node.op,
            STORE_INLINE | STORE_OVERFLOW | STORE_CELL | REPLACE_ELEMENT
        );
        let same =
            |entry: &Entry| entry.value == value && aliases.meet(entry.access, r) == Meet::Always;
        if plain && self.known.iter().any(same) {
            self.dropped[r.index()] = true;
            return;
        }
        self.known
            .retain(|entry| !aliases.clobbers(r, entry.access));
        self.known.push(Entry { access: r, value });
        if plain {
            let dropped = &mut self.dropped;
            self.unseen.retain(|&store| {
                let overwritten = aliases.meet(store, r) == Meet::Always;
                dropped[store.index()] |= overwritten;
                !overwritten
            });
            self.unseen.push(r);
        }
    }
}
