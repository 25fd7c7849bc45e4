//! The passes from text to text, and as a whole.

use super::*;

/// Applies a pass to a superblock in text form.
fn apply(pass: fn(&Superblock) -> Superblock, text: &str) -> String {
    let sb: Superblock = Superblock::parse(text).expect("the superblock can be read");
    pass(&sb).to_string()
}

fn optimized(text: &str) -> String {
    apply(|sb| optimize(sb.clone()), text)
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
    v4 = GUARD_FLOAT v0 exit s0
    v5 = GUARD_INT v1 exit s0
    v6 = GUARD_INT v2 exit s0
    v7 = GUARD_INT v3 exit s0
    v8 = CONST_FLOAT 2.0
    v9 = LOAD [4]
    v10 = GUARD_INT v9 exit s0
    v11 = CONST_INT 0
    v12 = CONST_INT 1
    LOOP entry s0
    v14 = PHI v4: Float back v20
    v15 = PHI v5: Int back v25
    v16 = PHI v6: Int back v24
    v17 = PHI v7: Int back v25
    v18 = INT_TO_FLOAT v17
    v19 = MUL_F v18 v8
    v20 = ADD_F v14 v19
    s1: pc 12 [1=v20 2=v15 3=v16 5=v17 6=v19]
    POLL exit s1
    v22 = EQ_I v16 v11
    s2: pc 13 [1=v20 2=v15 3=v16 5=v17 6=v19]
    GUARD_FALSE v22 exit s2
    v24 = SUB_I v16 v12
    v25 = ADD_I v15 v10
    BACK
    ");
}
