//! Checks an allocation: follows which value every place holds, through the nodes in order and twice through the loop,
//! and finds every use in the place where it is looked for.
//!
//! It relies on nothing that the allocator has computed but the places themselves.

use std::collections::HashMap;
use std::fmt;

use perilune_uops::MicroOp;

use super::allocation::{Allocation, Place};
use super::plan::{Part, Plan};
use crate::tier2::superblock::Ref;

/// Node `at` uses `value`, and its place holds something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misplaced {
    pub at: usize,
    pub value: Ref,
    pub place: Place,
    /// The value that is there, if any.
    pub found: Option<u32>,
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Misplaced {
            at,
            value,
            place,
            found,
        } = self;
        write!(
            f,
            "node {at} uses {value} in {place:?}, which holds value {found:?}"
        )
    }
}

impl std::error::Error for Misplaced {}

struct Checker<'p, 'a> {
    plan: &'p Plan<'a>,
    allocation: &'p Allocation,
    holds: HashMap<Place, u32>,
}

/// Whether every use finds its value.
pub fn check(plan: &Plan, allocation: &Allocation) -> Result<(), Misplaced> {
    let mut checker = Checker {
        plan,
        allocation,
        holds: HashMap::new(),
    };
    for life in &allocation.lives {
        debug_assert!(
            !allocation.reserved.contains(&life.place) || life.is_where_it_was(),
            "a value of the loop's is overwritten"
        );
    }
    let n = plan.sb.nodes.len();
    for i in 0..n {
        checker.node(i)?;
    }
    if let Some(head) = plan.head() {
        // `BACK` has moved what the pass has left into the places of the `PHI`s.
        for i in head + 1 + plan.back().len()..n {
            checker.node(i)?;
        }
    }
    Ok(())
}

impl Checker<'_, '_> {
    fn uses(&self, at: usize, value: Ref) -> Result<(), Misplaced> {
        for part in self.plan.parts[value.index()] {
            if let Part::Value(v) = part {
                let place = self.allocation.place(part);
                if self.allocation.reserved.contains(&place) {
                    // A parameter that stays where it comes from, perhaps one of several.
                    continue;
                }
                let found = self.holds.get(&place).copied();
                if found != Some(v) {
                    return Err(Misplaced {
                        at,
                        value,
                        place,
                        found,
                    });
                }
            }
        }
        Ok(())
    }

    /// That a derived value is where node `at` looks for it.
    fn uses_derived(&self, at: usize, derived: u32) -> Result<(), Misplaced> {
        let value = self.plan.derived(derived);
        let place = self.allocation.place(Part::Value(value));
        let found = self.holds.get(&place).copied();
        if found == Some(value) {
            return Ok(());
        }
        let value = self.plan.addresses.derived[derived as usize]
            .common
            .operand();
        Err(Misplaced {
            at,
            value,
            place,
            found,
        })
    }

    /// The derived values that are made before node `at`.
    fn derive(&mut self, at: usize) -> Result<(), Misplaced> {
        for (i, derived) in self.plan.addresses.derived.iter().enumerate() {
            if derived.at as usize == at {
                self.uses(at, derived.common.operand())?;
                let value = self.plan.derived(i as u32);
                let place = self.allocation.place(Part::Value(value));
                debug_assert_ne!(place, Place::None);
                self.holds.insert(place, value);
            }
        }
        Ok(())
    }

    fn makes(&mut self, node: usize) {
        for k in 0..2 {
            let own = Plan::value(node, k);
            if self.plan.parts[node][k] == Part::Value(own) {
                let place = self.allocation.place(Part::Value(own));
                debug_assert_ne!(place, Place::None);
                self.holds.insert(place, own);
            }
        }
    }

    /// All moves at once.
    fn phis(&mut self, at: usize, values: &[Ref]) -> Result<(), Misplaced> {
        let phis: Vec<Ref> = self.plan.sb.phis().collect();
        for (phi, &value) in phis.iter().zip(values) {
            if self.plan.parts[phi.index()][0] != Part::None {
                self.uses(at, value)?;
            }
        }
        phis.iter().for_each(|phi| self.makes(phi.index()));
        Ok(())
    }

    fn node(&mut self, i: usize) -> Result<(), Misplaced> {
        let plan = self.plan;
        let node = &plan.sb.nodes[i];
        self.derive(i)?;
        match node.op {
            MicroOp::PHI => return Ok(()),
            MicroOp::LOOP => {
                let inits: Vec<Ref> = plan
                    .sb
                    .phis()
                    .map(|phi| plan.sb.node(phi).inputs[0])
                    .collect();
                return self.phis(i, &inits);
            }
            MicroOp::BACK => return self.phis(i, plan.back()),
            _ => {}
        }
        if plan.sunk[i].is_some() || plan.is_dead(i) {
            return Ok(());
        }
        let mut inner = Some(i);
        while let Some(at) = inner {
            let sunk = plan.with[at].map(|w| w as usize);
            let merged = |r: Ref| Some(r.index()) == sunk;
            for r in plan.used_by(at).filter(|&r| !merged(r)) {
                self.uses(i, r)?;
            }
            for derived in plan.addresses.used_by(at) {
                self.uses_derived(i, derived)?;
            }
            inner = sunk;
        }
        self.makes(i);
        Ok(())
    }
}
