//! Tests of the allocation and of transfers between executors. That machine code does what the tier-2 interpreter does is tested
//! with random superblocks, and with each pure micro-op, where those are made.

use proptest::prelude::*;

use super::allocation::{Place, Registers, allocate};
use super::checker::check;
use super::plan::Plan;
use super::x86_64;
use crate::tier2::optimizer::tag::tag;
use crate::tier2::random::{Options, World, superblock};
use crate::tier2::superblock::Superblock;

fn random(size: usize, looping: bool, inlining: bool, seed: u64) -> Superblock {
    let options = Options {
        size,
        passes: looping.then_some(8),
        calls: true,
        allocations: true,
        inlining,
    };
    let sb = superblock(&World::symbolic(), options, seed);
    tag(&sb).unwrap_or(sb)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn allocations_are_right(
        size in 1..200usize,
        (looping, inlining) in any::<(bool, bool)>(),
        registers in 1..12usize,
        seed: u64,
    ) {
        let sb = random(size, looping, inlining, seed);
        let params = located(&sb);
        let plan = Plan::new(&sb, &params);
        let few = Registers {
            general: &x86_64::ALLOCATED.general[..registers.min(11)],
            float: &x86_64::ALLOCATED.float[..registers],
            ..x86_64::ALLOCATED
        };
        let allocation = allocate(&plan, few, &[]);
        prop_assert!(allocation.is_ok());
        if let Ok(allocation) = allocation {
            prop_assert_eq!(check(&plan, &allocation), Ok(()), "{}", sb);
        }
    }

    #[test]
    fn wrong_places_are_found(size in 20..200usize, seed: u64) {
        // In loops a place may be free before what the pass leaves is put there.
        let sb = random(size, false, false, seed);
        let params = located(&sb);
        let plan = Plan::new(&sb, &params);
        let Ok(mut allocation) = allocate(&plan, x86_64::ALLOCATED, &[]) else { panic!("there are enough places") };
        // Two values that are alive at the same time.
        let lives = allocation.lives.clone();
        let overlap = (0..lives.len()).flat_map(|a| (0..a).map(move |b| (a, b))).find(|&(a, b)| {
            let (a, b) = (lives[a], lives[b]);
            a.place != Place::None && b.place != Place::None && b.start < a.start && a.start < b.end && a.start < a.end
        });
        if let Some((a, b)) = overlap {
            allocation.lives[b].place = allocation.lives[a].place;
            prop_assert!(check(&plan, &allocation).is_err(), "{}", sb);
        }
    }
}

/// Places for the parameters of a superblock, as a parent might have them.
fn located(sb: &Superblock) -> Vec<super::plan::Located> {
    use perilune_uops::{MicroOp, Type};
    let params = sb.nodes.iter().filter(|node| node.op == MicroOp::PARAM);
    let mut located = Vec::new();
    for node in params {
        let (index, ty) = (
            node.operands[0] as usize,
            node.ty.expect("parameters have types"),
        );
        let other = super::plan::Located {
            ty: Type::Int,
            places: [Place::Const(0), Place::None],
        };
        if located.len() <= index {
            located.resize(index + 1, other);
        }
        let word = |k: usize| Place::Spill((2 * index + k) as u16);
        let places = match ty {
            Type::Tagged => [Place::Gpr(3), word(1)],
            Type::Float => [Place::Xmm(index as u8 % 15), Place::None],
            _ => [word(0), Place::None],
        };
        located[index] = super::plan::Located { ty, places };
    }
    located
}
