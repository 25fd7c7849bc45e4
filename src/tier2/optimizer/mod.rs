//! The optimizer: a sequence of passes, each of which makes a superblock out of a superblock.
//!
//! Each pass is one function in a file of its own, goes over the nodes once, in order, and is tested from text to text. The
//! invariant of all of them: whatever memory holds and whatever the inputs are, the new superblock leaves at an exit with
//! the state that tier 1 would have there. It may leave earlier than the old one, where a guard has been moved before the
//! loop, but then tier 1 goes on from the head of the loop and nothing is lost.
//!
//! fold     constants, identities, types            cse      what has been computed, loaded or guarded before
//! memory   stores to loads, stores nobody sees      phis     invariant and typed PHIs
//! hoist    invariant nodes before the loop          carried  memory carried around the loop in PHIs
//! sink     objects that nobody gets hold of         bounds   checks of indices that count
//! dce      what nobody uses                         tag      tags of what the loop carries
//!
//! [`alias`] says which accesses to memory can meet. The passes know nothing of projection, executors or the
//! interpreter, and read no heap.

pub(super) mod alias;
mod bounds;
mod carried;
mod cse;
mod dce;
mod fold;
mod hoist;
mod memory;
mod phis;
mod sink;
pub mod tag;
#[cfg(test)]
mod tests;

use super::superblock::Superblock;
use super::verify::verify;

/// A pass by its name.
type Pass = (&'static str, fn(&Superblock) -> Superblock);

/// The passes in the order in which they run. What is virtual is known as soon as loads are what has been stored. Types of `PHI`s decide guards, which lets more be moved before the
/// loop; what is moved there leaves accesses whose places do not change; those become `PHI`s, which have types again.
const PIPELINE: &[Pass] = &[
    ("fold", fold::fold),
    ("cse", cse::cse),
    ("memory", memory::memory),
    ("phis", phis::phis),
    ("sink", sink::sink),
    ("hoist", hoist::hoist),
    ("fold", fold::fold),
    ("cse", cse::cse),
    ("carried", carried::carried),
    ("phis", phis::phis),
    ("fold", fold::fold),
    ("hoist", hoist::hoist),
    ("bounds", bounds::bounds),
    ("fold", fold::fold),
    ("memory", memory::memory),
    ("cse", cse::cse),
    ("dce", dce::dce),
    ("tag", tag::tag),
];

/// Makes a superblock that does the same in less time.
pub fn optimize(mut sb: Superblock) -> Superblock {
    for (name, pass) in PIPELINE {
        sb = pass(&sb);
        if cfg!(debug_assertions)
            && let Err(error) = verify(&sb)
        {
            panic!("{name} breaks a rule: {error}\n{sb}");
        }
    }
    sb
}
