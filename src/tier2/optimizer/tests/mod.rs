//! The passes from text to text, and as a whole.

mod evaluate;
mod passes;

use evaluate::{Oracle, run, settle};
use proptest::prelude::*;

use super::*;
use crate::tier2::random::{self, Content, Options, World};
use perilune_uops::Type;

/// Applies a pass to a superblock in text form.
fn apply(pass: Run, text: &str) -> String {
    let sb: Superblock = Superblock::parse(text).expect("the superblock can be read");
    pass(&sb).unwrap_or(sb).to_string()
}

fn optimized(text: &str) -> String {
    apply(|sb| Some(optimize(sb.clone())), text)
}

/// `for i = 1, n do s = s + i * 2.0 end`, from the head of the loop.
const SUM: &str = "
    object o0: Proto 0x1000
    frame f0: o0 base 1 registers 6
    # 1 s, 2 index, 3 count, 4 step, 5 i
    s0 = LOAD [1]
    a0 = LOAD [2]
    n0 = LOAD [3]
    i0 = LOAD [5]
    start: pc 10 [1=s0 2=a0 3=n0 5=i0]
    LOOP entry start
    s = PHI s0 back s2
    a = PHI a0 back a2
    n = PHI n0 back n2
    i = PHI i0 back a2
    # MULK i 2.0
    at10: pc 10 [1=s 2=a 3=n 5=i]
    x = GUARD_NUMBER i exit at10
    k = CONST_FLOAT 2.0
    y = GUARD_FLOAT k exit at10
    t = MUL_F x y
    # ADD s t
    at11: pc 11 [1=s 2=a 3=n 5=i 6=t]
    s1 = GUARD_FLOAT s exit at11
    t1 = GUARD_FLOAT t exit at11
    s2 = ADD_F s1 t1
    # FORLOOP
    at12: pc 12 [1=s2 2=a 3=n 5=i 6=t]
    POLL exit at12
    a1 = GUARD_INT a exit at12
    n1 = GUARD_INT n exit at12
    step = LOAD [4]
    step1 = GUARD_INT step exit at12
    zero = CONST_INT 0
    c = EQ_I n1 zero
    GUARD_FALSE c exit pc 13 [1=s2 2=a 3=n 5=i 6=t]
    one = CONST_INT 1
    n2 = SUB_I n1 one
    a2 = ADD_I a1 step1
    BACK
";

#[test]
fn sum() {
    insta::assert_snapshot!(optimized(SUM), @r"
    object o0: Proto 0x1000
    frame f0: o0 base 1 registers 6
    v0 = LOAD [1]
    v1 = LOAD [2]
    v2 = LOAD [3]
    v3 = LOAD [5]
    s0: pc 10 []
    v4 = GUARD_INT v3 exit s0
    v5 = GUARD_INT v1 exit s0
    v6 = EQ_I v4 v5
    GUARD_TRUE v6 exit s0
    v8 = GUARD_FLOAT v0 exit s0
    v9 = GUARD_INT v2 exit s0
    v10 = CONST_FLOAT 2.0
    v11 = LOAD [4]
    v12 = GUARD_INT v11 exit s0
    v13 = CONST_INT 0
    v14 = CONST_INT 1
    LOOP entry s0
    v16 = PHI v8: Float back v21
    v17 = PHI v5: Int back v26
    v18 = PHI v9: Int back v25
    v19 = INT_TO_FLOAT v17
    v20 = MUL_F v19 v10
    v21 = ADD_F v16 v20
    s1: pc 12 [1=v21 2=v17 3=v18 5=v17 6=v20]
    POLL exit s1
    v23 = EQ_I v18 v13
    s2: pc 13 [1=v21 2=v17 3=v18 5=v17 6=v20]
    GUARD_FALSE v23 exit s2
    v25 = SUB_I v18 v14
    v26 = ADD_I v17 v12
    BACK
    ");
}

/// Checks that a superblock does what another one did, or leaves at the head of the loop instead of going into it.
fn check(old: &Superblock, new: &Superblock, seed: u64) -> Result<(), String> {
    let mut oracle = Oracle::new(seed);
    let (mut expected, mut entry) = run(old, &mut oracle);
    let (mut found, _) = run(new, &mut oracle);
    settle(&mut expected, &oracle);
    settle(&mut found, &oracle);
    if let Some(entry) = &mut entry {
        settle(entry, &oracle);
    }
    if found == expected || Some(&found) == entry.as_ref() {
        return Ok(());
    }
    let at = expected
        .iter()
        .zip(&found)
        .take_while(|(x, y)| x == y)
        .count();
    let (expected, found) = (expected.get(at), found.get(at));
    Err(format!(
        "expected {expected:?}\nfound {found:?}\nand not {entry:?}\nfrom\n{old}\nto\n{new}"
    ))
}

/// Any superblock that does not depend on anything outside of the model.
fn any_superblock() -> impl Strategy<Value = Superblock> {
    let flags = any::<(bool, bool, bool, bool)>();
    (1..60usize, flags, any::<u64>()).prop_map(
        |(size, (looping, calls, allocations, inlining), seed)| {
            let options = Options {
                size,
                passes: looping.then_some(4),
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
            random::superblock(&world, options, seed)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_superblock_does_what_it_did(sb in any_superblock(), seed: u64) {
        let mut before = sb.clone();
        for Pass { name, run, .. } in PIPELINE {
            let Some(after) = run(&before) else { continue };
            if let Err(error) = verify(&after) {
                panic!("{name} breaks a rule: {error}\nfrom\n{before}\nto\n{after}");
            }
            check(&before, &after, seed).map_err(|e| TestCaseError::fail(format!("{name}: {e}")))?;
            before = after;
        }
        check(&sb, &before, seed).map_err(TestCaseError::fail)?;
    }
}

/// The counters of a particle system: a method on an object in a loop, whose fields are counted up.
#[test]
fn fields_of_an_object_stay_in_registers() {
    let text = "
        object o0: Proto 0x1000
        frame f0: o0 base 1 registers 6
        # 1 self, 2 index, 3 count, 4 step, 5 i
        START
        i0 = LOAD [2]
        n0 = LOAD [3]
        start: pc 10 [2=i0 3=n0]
        LOOP entry start
        i = PHI i0 back i2
        n = PHI n0 back n2
        # self.x = self.x + 1.5
        x = LOAD [1]
        at10: pc 10 [1=x 2=i 3=n]
        t = GUARD_TABLE x exit at10
        GUARD_SHAPE 20 t exit at10
        a = LOAD_INLINE 48:72 t
        GUARD_FOUND false a exit at10
        at11: pc 11 [1=x 2=i 3=n 6=a]
        f = GUARD_FLOAT a exit at11
        k = CONST_FLOAT 1.5
        b = ADD_F f k
        at12: pc 12 [1=x 2=i 3=n 6=b]
        t2 = GUARD_TABLE x exit at12
        GUARD_SHAPE 20 t2 exit at12
        old = LOAD_INLINE 48:72 t2
        GUARD_FOUND false old exit at12
        STORE_INLINE 48:72 t2 b
        BARRIER t2
        # FORLOOP
        at13: pc 13 [1=x 2=i 3=n 6=b]
        POLL exit at13
        i1 = GUARD_INT i exit at13
        n1 = GUARD_INT n exit at13
        step = LOAD [4]
        step1 = GUARD_INT step exit at13
        zero = CONST_INT 0
        c = EQ_I n1 zero
        GUARD_FALSE c exit pc 14 [1=x 2=i 3=n 6=b]
        one = CONST_INT 1
        n2 = SUB_I n1 one
        i2 = ADD_I i1 step1
        BACK";
    insta::assert_snapshot!(optimized(text), @r"
    object o0: Proto 0x1000
    frame f0: o0 base 1 registers 6
    START
    v1 = LOAD [2]
    v2 = LOAD [3]
    s0: pc 10 []
    v3 = GUARD_INT v1 exit s0
    v4 = GUARD_INT v2 exit s0
    v5 = LOAD [1]
    v6 = GUARD_TABLE v5 exit s0
    GUARD_SHAPE 20 v6 exit s0
    v8 = CONST_FLOAT 1.5
    BARRIER v6
    v10 = LOAD [4]
    v11 = GUARD_INT v10 exit s0
    v12 = CONST_INT 0
    v13 = CONST_INT 1
    v14 = LOAD_INLINE 48:72 v6
    v15 = GUARD_FLOAT v14 exit s0
    LOOP entry s0
    v17 = PHI v3: Int back v26
    v18 = PHI v4: Int back v25
    v19 = PHI v15: Float back v20
    v20 = ADD_F v19 v8
    STORE_INLINE 48:72 v6 v20
    s1: pc 13 [2=v17 3=v18 6=v20]
    POLL exit s1
    v23 = EQ_I v18 v12
    s2: pc 14 [2=v17 3=v18 6=v20]
    GUARD_FALSE v23 exit s2
    v25 = SUB_I v18 v13
    v26 = ADD_I v17 v11
    BACK
    ");
}
