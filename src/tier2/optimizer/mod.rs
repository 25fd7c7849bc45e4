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
//! recurrences  elements that the next pass loads    dce      what nobody uses
//! tag      tags of what the loop carries
//!
//! [`alias`] says which accesses to memory can meet. The passes know nothing of projection, executors or the
//! interpreter, and read no heap.

pub mod alias;
mod bounds;
mod carried;
mod cse;
mod dce;
mod fold;
mod hoist;
mod memory;
mod phis;
mod recurrences;
mod sink;
pub mod tag;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use super::superblock::Superblock;
use super::verify::verify;

/// A pass: the new superblock, or none if it would be the same.
type Run = fn(&Superblock) -> Option<Superblock>;

/// A pass by its name, and whether it has something to do only if there is a loop.
struct Pass {
    name: &'static str,
    run: Run,
    for_loops: bool,
}

const fn always(name: &'static str, run: Run) -> Pass {
    Pass {
        name,
        run,
        for_loops: false,
    }
}

const fn in_loops(name: &'static str, run: Run) -> Pass {
    Pass {
        name,
        run,
        for_loops: true,
    }
}

/// The passes in the order in which they run. What is virtual is known as soon as loads are what has been stored. Types of `PHI`s decide guards, which lets more be moved before the
/// loop; what is moved there leaves accesses whose places do not change; those become `PHI`s, which have types again.
const PIPELINE: &[Pass] = &[
    always("fold", fold::fold),
    always("cse", cse::cse),
    always("memory", memory::memory),
    in_loops("phis", phis::phis),
    always("sink", sink::sink),
    in_loops("hoist", hoist::hoist),
    always("fold", fold::fold),
    in_loops("cse", cse::cse),
    in_loops("carried", carried::carried),
    in_loops("phis", phis::phis),
    in_loops("fold", fold::fold),
    in_loops("hoist", hoist::hoist),
    in_loops("bounds", bounds::bounds),
    in_loops("recurrences", recurrences::recurrences),
    in_loops("fold", fold::fold),
    always("memory", memory::memory),
    always("cse", cse::cse),
    always("dce", dce::dce),
    in_loops("tag", tag::tag),
];

/// Makes a superblock that does the same in less time.
pub fn optimize(mut sb: Superblock) -> Superblock {
    // The passes that would find nothing: no other one has changed anything since they have run.
    let mut idle: SmallVec<[&str; PIPELINE.len()]> = SmallVec::new();
    for pass in PIPELINE {
        if pass.for_loops && sb.looping.is_none() || idle.contains(&pass.name) {
            continue;
        }
        if let Some(new) = (pass.run)(&sb) {
            sb = new;
            idle.clear();
        }
        idle.push(pass.name);
        if cfg!(debug_assertions)
            && let Err(error) = verify(&sb)
        {
            panic!("{} breaks a rule: {error}\n{sb}", pass.name);
        }
    }
    sb
}
