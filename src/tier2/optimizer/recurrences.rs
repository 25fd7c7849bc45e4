//! Recurrences: an element that a pass of the loop stores and the next one loads stays in a register.
//!
//! If the index counts by a constant step, the element at `index + c` has been stored by the pass before at
//! `index + c + step`. Such a load becomes a `PHI`, which begins with the load before the loop; the stores stay. No other store
//! between that one and the load may be of the same element.
//!
//! A loop that branches is left alone: side executors would come back to it without the element at hand.

use perilune_uops::MicroOp;

use super::alias::{Aliases, stored};
use super::hoist::Guards;
use crate::tier2::superblock::{Node, Ref, Rewriter, Superblock};

/// A load, and what the pass before has stored there.
struct Recurrence {
    load: Ref,
    /// The `PHI` that counts, and what is added to it.
    counter: Ref,
    offset: i64,
    stored: Ref,
}

/// The pass; see the module's documentation.
pub fn recurrences(old: &Superblock) -> Option<Superblock> {
    let found = find(old);
    let looping = old.looping.as_ref().filter(|_| !found.is_empty())?;
    let first = looping.head.0 + 1 + looping.back.len() as u32;
    let mut rw = Rewriter::new(old);
    let mut inits = Vec::new();
    for (r, _) in old.iter() {
        if r == looping.head {
            for recurrence in &found {
                let begins = rw.name(old.node(recurrence.counter).inputs[0]);
                let offset = rw.add(Node::int(recurrence.offset));
                let index = rw.add(Node::new(MicroOp::ADD_I, &[begins, offset], &[]));
                let table = rw.name(old.node(recurrence.load).inputs[0]);
                let load = Node::new(old.node(recurrence.load).op, &[table, index], &[]);
                inits.push(rw.add(load));
            }
        }
        if r.0 == first {
            for (recurrence, &init) in found.iter().zip(&inits) {
                let phi = rw.carry(old.type_of(recurrence.load), init, recurrence.stored);
                rw.replace(recurrence.load, phi);
            }
        }
        if !found.iter().any(|recurrence| recurrence.load == r) {
            rw.copy(r);
        }
    }
    Some(rw.finish())
}

fn find(sb: &Superblock) -> Vec<Recurrence> {
    let mut found = Vec::new();
    let Some(looping) = &sb.looping else {
        return found;
    };
    let body = &sb.nodes[looping.head.index()..];
    let branches = body.iter().filter(|n| matches!(n.op, MicroOp::GUARD_TRUE | MicroOp::GUARD_FALSE));
    if branches.count() > 1 {
        return found;
    }
    let aliases = Aliases::new(sb);
    let mut guards = Guards::new(sb);
    for load in aliases.in_loop() {
        let node = sb.node(load);
        guards.stays(sb, &aliases, node);
        let typed = matches!(node.op, MicroOp::LOAD_ELEMENT_I | MicroOp::LOAD_ELEMENT_F);
        if !typed || node.inputs[0] > looping.head || guards.protect(&aliases, node) {
            continue;
        }
        let (counter, offset) = aliases.index(node.inputs[1]);
        let Some(step) = step(sb, counter) else { continue };
        let element = |&&w: &&Ref| {
            let store = sb.node(w);
            store.op == MicroOp::REPLACE_ELEMENT
                && aliases.origin(store.inputs[0]) == aliases.origin(node.inputs[0])
                && aliases.index(store.inputs[1]) == (counter, offset.wrapping_add(step))
        };
        let writers = aliases.writers_in_loop();
        // The last one is what the next pass finds.
        let Some(&store) = writers.iter().rev().find(element) else { continue };
        let undisturbed = writers.iter().all(|&w| {
            w == store || !(w > store && aliases.clobbers(w, store) || w < load && aliases.clobbers(w, load))
        });
        if let Some(value) = stored(sb.node(store))
            && undisturbed
            && sb.type_of(value) == sb.type_of(load)
        {
            found.push(Recurrence { load, counter, offset, stored: value });
        }
    }
    found
}

/// The constant that a `PHI` counts by.
fn step(sb: &Superblock, counter: Ref) -> Option<i64> {
    let looping = sb.looping.as_ref()?;
    let i = sb.phis().position(|phi| phi == counter)?;
    let next = sb.node(looping.back[i]);
    let by = sb.node(*next.inputs().get(1)?);
    let counts = next.op == MicroOp::ADD_I && next.inputs[0] == counter && by.op == MicroOp::CONST_INT;
    counts.then_some(by.operands[0] as i64)
}
