//! Loop-invariant code motion: what does the same in every pass of the loop is done once, before it.
//!
//! That goes for nodes without effects whose inputs do not change: if they read memory, nothing in the loop may write
//! there; if they are guards, they leave for the head of the loop, where nothing has happened yet. A node
//! that relies on a guard stays if the guard does; it relies on those before it with which it shares an input.

use perilune_uops::{Exit, Memory, MicroOp};

use super::alias::{Aliases, is_plain_load};
use crate::tier2::superblock::{is_constant, Node, Rewriter, Superblock};

/// Whether a node without effects has a meaning only behind guards that have held.
pub(super) fn relies_on_guards(node: &Node) -> bool {
    use MicroOp::*;
    const GUARDED: [Memory; 6] = [
        Memory::Cell,
        Memory::Captured,
        Memory::Field,
        Memory::Element,
        Memory::Hash,
        Memory::Header,
    ];
    matches!(node.op, IDIV_I | MOD_I | LOAD_EXTRA)
        || !node.is_guard()
            && GUARDED
                .into_iter()
                .any(|class| node.effects().reads.contains(class))
}

/// The guards that have stayed in the loop.
pub(super) struct Guards {
    /// For each node whether one of them has it as an input.
    guarded: Vec<bool>,
    /// The objects that superblocks name of which one of them is.
    objects: Vec<u64>,
    epoch: bool,
}

impl Guards {
    pub fn new(sb: &Superblock) -> Guards {
        Guards {
            guarded: vec![false; sb.nodes.len()],
            objects: Vec::new(),
            epoch: false,
        }
    }

    /// `node` stays.
    pub fn stays(&mut self, sb: &Superblock, aliases: &Aliases, node: &Node) {
        if node.is_guard() {
            for &input in node.inputs() {
                let origin = aliases.origin(input);
                self.guarded[origin.index()] = true;
                if is_constant(sb.node(origin).op) {
                    self.objects.push(sb.node(origin).operands[0]);
                }
            }
            self.epoch |= node.op == MicroOp::GUARD_EPOCH;
        }
    }

    /// Whether `node` may rely on one of them.
    pub fn protect(&self, aliases: &Aliases, node: &Node) -> bool {
        relies_on_guards(node)
            && (node
                .inputs()
                .iter()
                .any(|&input| self.guarded[aliases.origin(input).index()])
                || node.op == MicroOp::LOAD_HOLDER
                    && (self.epoch || self.objects.contains(&node.operands[0])))
    }
}

/// The pass; see the module's documentation.
pub fn hoist(old: &Superblock) -> Option<Superblock> {
    let looping = old.looping.as_ref()?;
    let head = looping.head;
    let aliases = Aliases::new(old);
    let calls = aliases
        .writers_in_loop()
        .iter()
        .any(|&w| old.node(w).effects().calls);
    let mut guards = Guards::new(old);
    let mut moves = false;
    let mut invariant: Vec<bool> = (0..old.nodes.len()).map(|i| i < head.index()).collect();
    for r in aliases.in_loop().skip(1 + looping.back.len()) {
        let node = old.node(r);
        let movable = match node.op {
            // The collector may hear of a store before it happens, if only it does not run in between.
            MicroOp::BARRIER => !calls,
            _ => node.effects().is_none() && matches!(node.exit_kind(), Exit::None | Exit::Restart),
        };
        let moved = movable
            && node.inputs().iter().all(|input| invariant[input.index()])
            && !guards.protect(&aliases, node)
            && !(is_plain_load(node.op)
                && !node.inputs().is_empty()
                && aliases.reshaped_in_loop(r))
            && (node.op == MicroOp::BARRIER || !aliases.clobbered_in_loop(r));
        if moved {
            invariant[r.index()] = true;
            moves = true;
        } else {
            guards.stays(old, &aliases, node);
        }
    }
    if !moves {
        return None;
    }
    let mut rw = Rewriter::new(old);
    for (r, _) in old.iter() {
        if r == head {
            for moved in aliases.in_loop().filter(|r| invariant[r.index()]) {
                let mut node = rw.renamed(moved);
                if !node.exit.is_none() {
                    node.exit = looping.entry;
                }
                rw.emit(moved, node);
            }
        }
        if r < head || !invariant[r.index()] {
            rw.copy(r);
        }
    }
    Some(rw.finish())
}
