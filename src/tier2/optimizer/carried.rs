//! Carried values: what a pass of the loop leaves in memory for the next one stays in a register.
//!
//! A load whose place does not change, to which the loop stores afterwards and to which nothing else may, becomes a
//! `PHI`: it begins with the load, moved before the loop, and comes back as what is stored. The stores stay, because every
//! exit must find them done.

use super::alias::{Aliases, Meet, is_plain_load, stored};
use super::hoist::Guards;
use crate::tier2::superblock::{Ref, Rewriter, Superblock};

/// The pass; see the module's documentation.
pub fn carried(old: &Superblock) -> Option<Superblock> {
    let looping = old.looping.as_ref()?;
    let aliases = Aliases::new(old);
    let found = find(old, &aliases);
    if found.is_empty() {
        return None;
    }
    let first = looping.head.0 + 1 + looping.back.len() as u32;
    let mut rw = Rewriter::new(old);
    let mut inits = Vec::new();
    for (r, _) in old.iter() {
        if r == looping.head {
            for &(load, _) in &found {
                let node = rw.renamed(load);
                inits.push(rw.add(node));
            }
        }
        if r.0 == first {
            for (&(load, back), &init) in found.iter().zip(&inits) {
                let phi = rw.carry(old.type_of(load), init, back);
                rw.replace(load, phi);
            }
        }
        if !found.iter().any(|&(load, _)| load == r) {
            rw.copy(r);
        }
    }
    Some(rw.finish())
}

/// The loads, with what is stored last.
fn find(sb: &Superblock, aliases: &Aliases) -> Vec<(Ref, Ref)> {
    let mut found = Vec::new();
    let Some(looping) = &sb.looping else {
        return found;
    };
    let mut guards = Guards::new(sb);
    for r in aliases.in_loop() {
        let node = sb.node(r);
        guards.stays(sb, aliases, node);
        if !is_plain_load(node.op)
            || node.inputs().iter().any(|&input| input > looping.head)
            || guards.protect(aliases, node)
            || node.inputs().is_empty()
            || aliases.reshaped_in_loop(r)
        {
            continue;
        }
        let mut last = None;
        let only = aliases
            .writers_in_loop()
            .iter()
            .filter(|&&w| aliases.clobbers(w, r))
            .all(|&w| {
                last = stored(sb.node(w));
                w > r && last.is_some() && aliases.meet(w, r) == Meet::Always
            });
        if let (true, Some(value)) = (only, last) {
            let ty = sb.type_of(r);
            if ty == perilune_uops::Type::Tagged || sb.type_of(value) == ty {
                found.push((r, value));
            }
        }
    }
    found
}
