//! Common subexpressions: a node without effects that does what an earlier one has done is that one.
//!
//! This goes for guards, too: what has held once holds, unless memory that the guard reads may have been written
//! in between. So a repeated guard disappears, and a repeated load is the first one's value.

use std::hash::Hasher;

use hashbrown::HashTable;
use perilune_uops::{Exit, MicroOp};

use super::alias::Aliases;
use crate::runtime::hasher::WordHasher;
use crate::tier2::superblock::{Node, Ref, Rewriter, Superblock, is_virtual};

/// Whether two nodes do the same, given the same memory.
fn equal(a: &Node, b: &Node) -> bool {
    a.op == b.op && a.ty == b.ty && a.inputs == b.inputs && a.operands == b.operands
}

fn hash(node: &Node) -> u64 {
    let mut hasher = WordHasher::default();
    hasher.write_u64(node.op as u64 | (node.inputs[0].0 as u64) << 32);
    hasher.write_u64(node.inputs[1].0 as u64 | (node.inputs[2].0 as u64) << 32);
    hasher.write_u64(node.operands[0] ^ node.operands[1].rotate_left(32));
    hasher.finish()
}

/// Whether the pass handles such nodes at all.
fn is_repeatable(node: &Node) -> bool {
    node.effects().is_none()
        && matches!(node.exit_kind(), Exit::None | Exit::Restart)
        && !matches!(node.op, MicroOp::LOOP | MicroOp::PHI | MicroOp::PARAM)
        && !is_virtual(node.op)
}

/// A node that reads memory.
struct Read {
    hash: u64,
    old: Ref,
    new: Ref,
}

/// The pass; see the module's documentation.
pub fn cse(old: &Superblock) -> Option<Superblock> {
    let aliases = Aliases::new(old);
    let mut rw = Rewriter::new(old);
    // New nodes that depend on their inputs only, and those that read memory.
    let mut pure: HashTable<Ref> = HashTable::with_capacity(old.nodes.len());
    let mut reads: Vec<Read> = Vec::new();
    for (r, node) in old.iter() {
        if node.op == MicroOp::LOOP {
            reads.retain(|read| !aliases.clobbered_in_loop(read.old));
        }
        if !is_repeatable(node) {
            rw.copy(r);
            if !node.effects().writes.is_empty() || node.is_call_out() {
                reads.retain(|read| !aliases.clobbers(r, read.old));
            }
            continue;
        }
        let new = rw.renamed(r);
        let h = hash(&new);
        if !node.effects().reads.is_empty() {
            match reads
                .iter()
                .find(|read| read.hash == h && equal(rw.new.node(read.new), &new))
            {
                Some(read) => rw.replace(r, read.new),
                None => {
                    let new = rw.emit(r, new);
                    reads.push(Read {
                        hash: h,
                        old: r,
                        new,
                    });
                }
            }
            continue;
        }
        match pure.find(h, |&made| equal(rw.new.node(made), &new)) {
            Some(&made) => rw.replace(r, made),
            None => {
                let made = rw.emit(r, new);
                pure.insert_unique(h, made, |&made| hash(rw.new.node(made)));
            }
        }
    }
    rw.finish().unless_same(old)
}
