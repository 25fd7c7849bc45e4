use std::collections::HashSet;

use proptest::prelude::*;

use super::super::optimizer::optimize;
use super::super::uop::lower;
use super::super::verify::verify;
use super::*;

/// Any superblock for a symbolic world: a part of what there is, a loop or none.
fn any_superblock() -> impl Strategy<Value = Superblock> {
    let flags = any::<(bool, bool, bool, bool)>();
    (1..60usize, flags, any::<u64>()).prop_map(
        |(size, (looping, calls, allocations, inlining), seed)| {
            let passes = looping.then_some(8);
            let options = Options {
                size,
                passes,
                calls,
                allocations,
                inlining,
            };
            let mut world = World::symbolic();
            if seed.is_multiple_of(3) {
                world.params = vec![
                    Content::of(Type::Int),
                    Content::table(1, None),
                    Content::tagged(Type::Float),
                ];
            }
            superblock(&world, options, seed)
        },
    )
}

/// Changes one field of a superblock to something that need not make sense.
fn damage(block: &mut Superblock, random: &mut Random) {
    let at = random.below(block.nodes.len());
    let strange = [0, 1, 7, 40, u16::MAX as u64, u32::MAX as u64, u64::MAX][random.below(7)];
    let some_ref = Ref(if random.one_in(2) {
        random.below(block.nodes.len()) as u32
    } else {
        strange as u32
    });
    let node = &mut block.nodes[at];
    match random.below(14) {
        0 => node.op = MicroOp::ALL[random.below(MicroOp::ALL.len())],
        1 => {
            node.ty = if random.one_in(2) {
                None
            } else {
                Some(Type::ALL[random.below(Type::ALL.len())])
            }
        }
        2 => node.inputs[random.below(3)] = some_ref,
        3 => node.operands[random.below(4)] = strange,
        4 => node.exit = SnapshotId(some_ref.0),
        5 => _ = block.nodes.remove(at),
        6 => block.nodes.truncate(at),
        7 => _ = block.frames.pop(),
        8 => _ = block.objects.pop(),
        9 => block.param_shapes.push((strange as u32, some_ref.0)),
        10 => {
            block.looping = Some(Loop {
                head: some_ref,
                back: vec![some_ref],
                entry: SnapshotId(strange as u32),
                label: SnapshotId::NONE,
            counters: Vec::new(),
            })
        }
        11 => block.looping = None,
        12 => {
            let frame = random.below(block.frames.len());
            let frame = &mut block.frames[frame];
            match random.below(4) {
                0 => frame.caller = Some(FrameId(strange as u16)),
                1 => frame.base = strange as Slot,
                2 => frame.registers = strange as u16,
                _ => frame.proto = ObjectId(strange as u32),
            }
        }
        _ => {
            let n = block.slots.len();
            if n > 0 {
                let slot = &mut block.slots[random.below(n)];
                *slot = if random.one_in(2) {
                    (strange as Slot, slot.1)
                } else {
                    (slot.0, some_ref)
                };
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_superblocks_are_valid(block in any_superblock()) {
        prop_assert_eq!(verify(&block), Ok(()), "{}", block);
    }

    #[test]
    fn random_superblocks_are_read_back(block in any_superblock()) {
        let text = block.to_string();
        let back = Superblock::parse(&text);
        prop_assert_eq!(back.as_ref(), Ok(&block), "{}", text);
    }

    #[test]
    fn a_copy_by_the_rewriter_is_valid(block in any_superblock()) {
        let mut rewriter = Rewriter::new(&block);
        for (r, _) in block.iter() {
            rewriter.copy(r);
        }
        let copy = rewriter.finish();
        prop_assert_eq!(verify(&copy), Ok(()));
        prop_assert_eq!(copy.to_string(), block.to_string());
    }

    // Every pass is followed by the verifier.
    #[test]
    fn random_superblocks_are_optimized(block in any_superblock()) {
        let optimized = optimize(block.clone());
        prop_assert_eq!(verify(&optimized), Ok(()), "{}", block);
        let text = optimized.to_string();
        prop_assert_eq!(Superblock::parse(&text).map(|back| back.to_string()), Ok(text));
    }

    #[test]
    fn random_superblocks_are_lowered(block in any_superblock()) {
        prop_assert!(lower(&block).is_ok(), "{:?} of {}", lower(&block).err(), block);
        let optimized = optimize(block);
        prop_assert!(lower(&optimized).is_ok(), "{:?} of {}", lower(&optimized).err(), optimized);
    }

    #[test]
    fn damaged_superblocks_are_judged_and_written(mut block in any_superblock(), seed: u64, n in 1..4) {
        let mut random = Random(seed);
        for _ in 0..n {
            if block.nodes.is_empty() || block.frames.is_empty() {
                break;
            }
            damage(&mut block, &mut random);
        }
        let text = block.to_string();
        // What is judged valid is in particular well formed.
        if verify(&block).is_ok() {
            let back = Superblock::parse(&text);
            prop_assert!(back.is_ok(), "{:?} in\n{}", back, text);
            prop_assert_eq!(back.map(|back| back.to_string()), Ok(text));
        }
    }

    #[test]
    fn damaged_texts_are_read_or_rejected(block in any_superblock(), from: usize, len in 0..20usize, by in "[a-z0-9=:\\[\\] \\n#é]{0,6}") {
        let mut text = block.to_string();
        let from = from % text.len();
        let to = (from + len).min(text.len());
        text.replace_range(from..to, &by);
        if let Ok(block) = Superblock::parse(&text) {
            let written = block.to_string();
            prop_assert_eq!(Superblock::parse(&written).map(|back| back.to_string()), Ok(written));
        }
    }
}

#[test]
fn a_seed_gives_one_superblock() {
    let world = World::symbolic();
    let make = |seed| superblock(&world, Options::all(40), seed).to_string();
    assert_eq!(make(7), make(7));
    assert_ne!(make(7), make(8));
}

/// What the generator can make, it makes.
#[test]
fn the_micro_ops_vary() {
    let world = World::symbolic();
    let mut seen = HashSet::new();
    let mut depth = 0;
    for seed in 0..200 {
        let block = superblock(&world, Options::all(60), seed);
        seen.extend(block.nodes.iter().map(|node| node.op));
        depth = depth.max(block.depth());
    }
    assert!(depth >= 2, "{depth}");
    assert!(seen.len() > 90, "{}", seen.len());
    for op in [
        MicroOp::PHI,
        MicroOp::SET_SHAPE,
        MicroOp::REPLACE_ELEMENT,
        MicroOp::LOAD_ELEMENT_I,
        MicroOp::STORE_CELL,
    ] {
        assert!(seen.contains(&op), "{op}");
    }
}
