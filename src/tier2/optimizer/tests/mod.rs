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
    entry: pc 10 [1=s0 2=a0 3=n0 5=i0]
    LOOP entry entry
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
    insta::assert_snapshot!(optimized(SUM), @"");
}
