//! Each pass from text to text.

use super::super::*;
use super::apply;

/// A straight line around these nodes; slots 1 to 6.
fn line(pass: Run, nodes: &str) -> String {
    let text = format!(
        "object o0: Proto 0x1000\nobject o1: Closure 0x2000\nframe f0: o0 base 1 registers 6\n\
         START\nat: pc 7 []\n{nodes}"
    );
    shortened(&apply(pass, &text))
}

/// The nodes of a text: what is the same in all of these tests is left out.
fn shortened(text: &str) -> String {
    let dull = ["object", "frame", "START"];
    let lines = text
        .lines()
        .filter(|line| !dull.iter().any(|word| line.starts_with(word)));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn folding_is_exact() {
    let folded = line(
        fold::fold,
        "x = LOAD [1]: Int
         f = LOAD [2]: Float
         zero = CONST_FLOAT 0.0
         a = ADD_F f zero
         b = SUB_F f zero
         eight = CONST_INT 8
         c = IDIV_I x eight
         d = MOD_I x eight
         max = CONST_INT 9223372036854775807
         e = ADD_I max eight
         two = CONST_FLOAT 2.0
         g = DIV_F f two
         EXIT exit pc 8 [1=a 2=b 3=c 4=d 5=e 6=g]",
    );
    insta::assert_snapshot!(folded, @r"
    v1 = LOAD [1]: Int
    v2 = LOAD [2]: Float
    v3 = CONST_FLOAT 0.0
    v4 = ADD_F v2 v3
    v5 = CONST_INT 8
    v6 = CONST_INT 3
    v7 = SAR_I v1 v6
    v8 = CONST_INT 7
    v9 = AND_I v1 v8
    v10 = CONST_INT 9223372036854775807
    v11 = CONST_INT -9223372036854775801
    v12 = CONST_FLOAT 2.0
    v13 = CONST_FLOAT 0.5
    v14 = MUL_F v2 v13
    s0: pc 8 [1=v4 2=v2 3=v7 4=v9 5=v11 6=v14]
    EXIT exit s0
    ");
}

#[test]
fn types_decide_guards() {
    let folded = line(
        fold::fold,
        "x = LOAD [1]
         i = GUARD_INT x exit at
         j = GUARD_INT x exit at
         f = GUARD_NUMBER x exit at
         GUARD_NOT_NIL x exit at
         c = TRUTH x
         n = NOT c
         GUARD_FALSE n exit at
         e = RAW_EQ x j
         EXIT exit pc 8 [1=f 2=e]",
    );
    insta::assert_snapshot!(folded, @r"
    v1 = LOAD [1]
    s0: pc 7 []
    v2 = GUARD_INT v1 exit s0
    v3 = INT_TO_FLOAT v2
    v4 = CONST_BOOL true
    v5 = CONST_BOOL false
    v6 = CONST_BOOL true
    s1: pc 8 [1=v3 2=v6]
    EXIT exit s1
    ");
}

#[test]
fn what_always_fails_ends_the_superblock() {
    let folded = line(
        fold::fold,
        "x = LOAD [1]
         start: pc 3 [1=x]
         LOOP entry start
         y = PHI x back z
         z = GUARD_INT x exit at
         w = GUARD_FLOAT z exit pc 5 [1=z 2=y]
         BACK",
    );
    insta::assert_snapshot!(folded, @r"
    v1 = LOAD [1]
    s0: pc 7 []
    v2 = GUARD_INT v1 exit s0
    s1: pc 5 [1=v2 2=v1]
    EXIT exit s1
    ");
}

#[test]
fn a_guarded_object_is_a_constant() {
    let folded = line(
        fold::fold,
        "x = LOAD [1]
         GUARD_OBJECT o1 x exit at
         f = GUARD_CLOSURE x exit at
         u = LOAD_CAPTURED 0 f
         GUARD_OBJECT o1 f exit at
         EXIT exit pc 8 [1=u]",
    );
    insta::assert_snapshot!(folded, @r"
    v1 = LOAD [1]
    s0: pc 7 []
    GUARD_OBJECT o1 v1 exit s0
    v3 = CONST_CLOSURE o1
    v4 = LOAD_CAPTURED 0 v3
    s1: pc 8 [1=v4]
    EXIT exit s1
    ");
}

#[test]
fn repeated_guards_and_loads_disappear() {
    let once = line(
        cse::cse,
        "t = LOAD [1]: Table
         u = LOAD [2]: Table
         GUARD_SHAPE 20 t exit at
         a = LOAD_INLINE 48:72 t
         STORE_INLINE 56:73 u a
         GUARD_SHAPE 20 t exit at
         b = LOAD_INLINE 48:72 t
         SET_SHAPE 21 u
         GUARD_SHAPE 20 t exit at
         c = LOAD_INLINE 48:72 t
         EXIT exit pc 8 [1=b 2=c]",
    );
    insta::assert_snapshot!(once, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Table
    s0: pc 7 []
    GUARD_SHAPE 20 v1 exit s0
    v4 = LOAD_INLINE 48:72 v1
    STORE_INLINE 56:73 v2 v4
    SET_SHAPE 21 v2
    GUARD_SHAPE 20 v1 exit s0
    s1: pc 8 [1=v4 2=v4]
    EXIT exit s1
    ");
}

#[test]
fn stores_are_forwarded_and_overwritten() {
    let forwarded = line(
        memory::memory,
        "t = LOAD [1]: Table
         x = LOAD [2]
         one = CONST_INT 1
         STORE_INLINE 48:72 t x
         BARRIER t
         STORE_INLINE 48:72 t one
         BARRIER t
         y = LOAD_INLINE 48:72 t
         EXIT exit pc 8 [2=y]",
    );
    insta::assert_snapshot!(forwarded, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]
    v3 = CONST_INT 1
    BARRIER v1
    STORE_INLINE 48:72 v1 v3
    s0: pc 8 [2=v3]
    EXIT exit s0
    ");
}

#[test]
fn tables_of_different_shapes_are_different() {
    let forwarded = line(
        memory::memory,
        "t = LOAD [1]: Table
         u = LOAD [2]: Table
         GUARD_SHAPE 20 t exit at
         GUARD_SHAPE 22 u exit at
         a = LOAD_INLINE 48:72 t
         STORE_INLINE 48:72 u a
         BARRIER u
         b = LOAD_INLINE 48:72 t
         w = LOAD [3]: Table
         STORE_INLINE 48:72 w u
         BARRIER w
         c = LOAD_INLINE 48:72 t
         EXIT exit pc 8 [2=b 3=c]",
    );
    insta::assert_snapshot!(forwarded, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Table
    s0: pc 7 []
    GUARD_SHAPE 20 v1 exit s0
    GUARD_SHAPE 22 v2 exit s0
    v5 = LOAD_INLINE 48:72 v1
    STORE_INLINE 48:72 v2 v5
    BARRIER v2
    v8 = LOAD [3]: Table
    STORE_INLINE 48:72 v8 v2
    BARRIER v8
    v11 = LOAD_INLINE 48:72 v1
    s1: pc 8 [2=v5 3=v11]
    EXIT exit s1
    ");
}

#[test]
fn a_new_table_is_known() {
    let forwarded = line(
        memory::memory,
        "u = LOAD [1]: Table
         x = LOAD [2]
         a = LOAD_INLINE 48:72 u
         t = ALLOCATE_TABLE 20 0 exit at
         STORE_INLINE 48:72 t x
         BARRIER t
         SET_SHAPE 21 t
         GUARD_SHAPE 21 t exit at
         b = LOAD_INLINE 48:72 u
         c = LOAD_INLINE 48:72 t
         EXIT exit pc 8 [1=b 2=c 3=t]",
    );
    insta::assert_snapshot!(forwarded, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]
    v3 = LOAD_INLINE 48:72 v1
    s0: pc 7 []
    v4 = ALLOCATE_TABLE 20 0 exit s0
    STORE_INLINE 48:72 v4 v2
    SET_SHAPE 21 v4
    s1: pc 8 [1=v3 2=v2 3=v4]
    EXIT exit s1
    ");
}

#[test]
fn elements_are_told_apart_by_constants() {
    let forwarded = line(
        memory::memory,
        "t = LOAD [1]: Table
         i = LOAD [2]: Int
         one = CONST_INT 1
         j = ADD_I i one
         GUARD_IN_ARRAY t i exit at
         GUARD_IN_ARRAY t j exit at
         a = LOAD_ELEMENT t i
         b = LOAD_ELEMENT t j
         GUARD_ACCEPTS t a exit at
         REPLACE_ELEMENT t j a
         BARRIER t
         c = LOAD_ELEMENT t i
         d = LOAD_ELEMENT t j
         EXIT exit pc 8 [1=c 2=d 3=b]",
    );
    insta::assert_snapshot!(forwarded, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Int
    v3 = CONST_INT 1
    v4 = ADD_I v2 v3
    s0: pc 7 []
    GUARD_IN_ARRAY v1 v2 exit s0
    GUARD_IN_ARRAY v1 v4 exit s0
    v7 = LOAD_ELEMENT v1 v2
    v8 = LOAD_ELEMENT v1 v4
    GUARD_ACCEPTS v1 v7 exit s0
    REPLACE_ELEMENT v1 v4 v7
    BARRIER v1
    s1: pc 8 [1=v7 2=v7 3=v8]
    EXIT exit s1
    ");
}

#[test]
fn phis_get_types() {
    let typed = line(
        phis::phis,
        "x = LOAD [1]
         y = LOAD [2]
         k = LOAD [3]
         start: pc 3 [1=x 2=y 3=k]
         LOOP entry start
         a = PHI x back b1
         b = PHI y back a1
         c = PHI k back c
         a1 = GUARD_INT a exit at
         b1 = GUARD_INT b exit at
         POLL exit pc 4 [1=b1 2=a1 3=c]
         BACK",
    );
    insta::assert_snapshot!(typed, @r"
    v1 = LOAD [1]
    v2 = LOAD [2]
    v3 = LOAD [3]
    s0: pc 3 [1=v1 2=v2 3=v3]
    v4 = GUARD_INT v1 exit s0
    v5 = GUARD_INT v2 exit s0
    LOOP entry s0
    v7 = PHI v4: Int back v8
    v8 = PHI v5: Int back v7
    s1: pc 4 [1=v8 2=v7 3=v3]
    POLL exit s1
    BACK
    ");
}

#[test]
fn a_phi_that_changes_its_type_stays_tagged() {
    let typed = line(
        phis::phis,
        "x = LOAD [1]
         start: pc 3 [1=x]
         LOOP entry start
         a = PHI x back f
         i = GUARD_INT a exit at
         f = INT_TO_FLOAT i
         POLL exit pc 4 [1=f]
         BACK",
    );
    insta::assert_snapshot!(typed, @r"
    v1 = LOAD [1]
    s0: pc 3 [1=v1]
    LOOP entry s0
    v3 = PHI v1 back v5
    s1: pc 7 []
    v4 = GUARD_INT v3 exit s1
    v5 = INT_TO_FLOAT v4
    s2: pc 4 [1=v5]
    POLL exit s2
    BACK
    ");
}

#[test]
fn invariant_accesses_move_before_the_loop() {
    let moved = line(
        hoist::hoist,
        "x = LOAD [1]
         start: pc 3 [1=x]
         LOOP entry start
         t = GUARD_TABLE x exit at
         GUARD_SHAPE 20 t exit at
         a = LOAD_INLINE 48:72 t
         b = LOAD_INLINE 56:73 t
         STORE_INLINE 56:73 t a
         BARRIER t
         POLL exit pc 4 [1=x 2=b]
         BACK",
    );
    insta::assert_snapshot!(moved, @r"
    v1 = LOAD [1]
    s0: pc 3 [1=v1]
    v2 = GUARD_TABLE v1 exit s0
    GUARD_SHAPE 20 v2 exit s0
    v4 = LOAD_INLINE 48:72 v2
    BARRIER v2
    LOOP entry s0
    v7 = LOAD_INLINE 56:73 v2
    STORE_INLINE 56:73 v2 v4
    s1: pc 4 [1=v1 2=v7]
    POLL exit s1
    BACK
    ");
}

#[test]
fn what_a_guard_protects_stays_behind_it() {
    let moved = line(
        hoist::hoist,
        "t = LOAD [1]: Table
         u = LOAD [2]: Table
         start: pc 3 []
         LOOP entry start
         GUARD_SHAPE 20 t exit at
         a = LOAD_INLINE 48:72 t
         SET_SHAPE 21 u
         POLL exit pc 4 [3=a]
         BACK",
    );
    insta::assert_snapshot!(moved, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Table
    s0: pc 3 []
    LOOP entry s0
    s1: pc 7 []
    GUARD_SHAPE 20 v1 exit s1
    v5 = LOAD_INLINE 48:72 v1
    SET_SHAPE 21 v2
    s2: pc 4 [3=v5]
    POLL exit s2
    BACK
    ");
}

#[test]
fn calls_keep_memory_in_the_loop() {
    let moved = line(
        hoist::hoist,
        "x = LOAD [1]
         f = LOAD [4]: Closure
         start: pc 3 [1=x]
         LOOP entry start
         t = GUARD_TABLE x exit at
         GUARD_SHAPE 20 t exit at
         a = LOAD_INLINE 48:72 t
         u = LOAD_CAPTURED 0 f
         LENGTH [2] a exit pc 4 [1=x]
         BACK",
    );
    insta::assert_snapshot!(moved, @r"
    v1 = LOAD [1]
    v2 = LOAD [4]: Closure
    s0: pc 3 [1=v1]
    v3 = GUARD_TABLE v1 exit s0
    LOOP entry s0
    s1: pc 7 []
    GUARD_SHAPE 20 v3 exit s1
    v6 = LOAD_INLINE 48:72 v3
    v7 = LOAD_CAPTURED 0 v2
    s2: pc 4 [1=v1]
    LENGTH [2] v6 exit s2
    BACK
    ");
}

#[test]
fn a_field_is_carried() {
    let carried = line(
        carried::carried,
        "t = LOAD [1]: Table
         GUARD_SHAPE 20 t exit at
         start: pc 3 []
         one = CONST_INT 1
         LOOP entry start
         a = LOAD_INLINE 48:72 t
         i = GUARD_INT a exit at
         j = ADD_I i one
         STORE_INLINE 48:72 t j
         BARRIER t
         POLL exit pc 4 []
         BACK",
    );
    insta::assert_snapshot!(carried, @r"
    v1 = LOAD [1]: Table
    s0: pc 7 []
    GUARD_SHAPE 20 v1 exit s0
    v3 = CONST_INT 1
    v4 = LOAD_INLINE 48:72 v1
    s1: pc 3 []
    LOOP entry s1
    v6 = PHI v4 back v8
    v7 = GUARD_INT v6 exit s0
    v8 = ADD_I v7 v3
    STORE_INLINE 48:72 v1 v8
    BARRIER v1
    s2: pc 4 []
    POLL exit s2
    BACK
    ");
}

#[test]
fn elements_of_the_pass_before_are_carried() {
    let body = |store: &str| {
        format!(
            "t = LOAD [1]: Table
             first = LOAD [2]: Int
             start: pc 3 []
             GUARD_ARRAY_KIND float t exit start
             one = CONST_INT 1
             LOOP entry start
             i = PHI first: Int back next
             before = SUB_I i one
             x = LOAD_ELEMENT_F t before
             y = LOAD_ELEMENT_F t i
             sum = ADD_F x y
             {store}
             POLL exit pc 4 [3=i]
             next = ADD_I i one
             BACK"
        )
    };
    let carried = line(recurrences::recurrences, &body("REPLACE_ELEMENT t i sum"));
    insta::assert_snapshot!(carried, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Int
    s0: pc 3 []
    GUARD_ARRAY_KIND float v1 exit s0
    v4 = CONST_INT 1
    v5 = CONST_INT -1
    v6 = ADD_I v2 v5
    v7 = LOAD_ELEMENT_F v1 v6
    LOOP entry s0
    v9 = PHI v2: Int back v16
    v10 = PHI v7: Float back v13
    v11 = SUB_I v9 v4
    v12 = LOAD_ELEMENT_F v1 v9
    v13 = ADD_F v10 v12
    REPLACE_ELEMENT v1 v9 v13
    s1: pc 4 [3=v9]
    POLL exit s1
    v16 = ADD_I v9 v4
    BACK
    ");
    // What another store may have changed is loaded.
    let other = body("u = LOAD [4]: Table\nREPLACE_ELEMENT t i sum\nREPLACE_ELEMENT u i x");
    let kept = line(recurrences::recurrences, &other);
    assert_eq!(kept.matches("LOAD_ELEMENT_F").count(), 2, "{kept}");
}

#[test]
fn what_is_not_used_disappears() {
    let live = line(
        dce::dce,
        "x = LOAD [1]
         y = LOAD [2]
         k = LOAD [3]
         start: pc 3 [1=x 2=y]
         LOOP entry start
         a = PHI x back b
         b = PHI y back a
         c = PHI k back d
         one = CONST_INT 1
         d = LOAD [4]
         e = IS_NIL d
         POLL exit pc 4 [3=c 4=d 5=d]
         BACK",
    );
    insta::assert_snapshot!(live, @r"
    v1 = LOAD [3]
    s0: pc 3 []
    LOOP entry s0
    v3 = PHI v1 back v4
    v4 = LOAD [4]
    s1: pc 4 [3=v3 5=v4]
    POLL exit s1
    BACK
    ");
}

#[test]
fn what_nobody_gets_hold_of_is_not_made() {
    let sunk = line(
        sink::sink,
        "x = LOAD [1]
         t = ALLOCATE_TABLE 20 2 exit at
         STORE_INLINE 48:72 t x
         SET_SHAPE 21 t
         BARRIER t
         one = CONST_INT 1
         INIT_ELEMENT t one x
         u = ALLOCATE_TABLE 20 0 exit pc 8 [2=t]
         STORE_INLINE 48:72 u t
         STORE_INLINE 56:73 t u
         a = LOAD_INLINE 48:72 u
         b = GUARD_TABLE a exit at
         GUARD_SHAPE 21 b exit at
         GUARD_IN_ARRAY b one exit at
         c = LOAD_ELEMENT b one
         GUARD_FOUND_IN b c exit at
         n = LENGTH_T t
         same = SAME t u
         POLL exit pc 9 [2=u 3=c 4=n 5=same]
         EXIT exit pc 10 [2=x]",
    );
    insta::assert_snapshot!(sunk, @r"
    v1 = LOAD [1]
    v2 = VIRTUAL_TABLE 2
    v3 = CONST_INT 1
    v4 = VIRTUAL_TABLE 0
    v5 = CONST_INT 1
    v6 = CONST_BOOL false
    s0: pc 9 [2=v4 3=v1 4=v5 5=v6] with v4 20 [48:72=v2] v2 21 [48:72=v1 element 1=v1 56:73=v4]
    POLL exit s0
    SUNK 2
    s1: pc 10 [2=v1]
    EXIT exit s1
    ");
}

#[test]
fn a_kind_of_array_is_that_of_its_elements() {
    let sunk = line(
        sink::sink,
        "x = LOAD [1]
         f = LOAD [2]: Float
         t = ALLOCATE_TABLE 20 3 exit at
         one = CONST_INT 1
         two = CONST_INT 2
         three = CONST_INT 3
         INIT_ELEMENT t one x
         INIT_ELEMENT t two f
         GUARD_ARRAY_KIND float t exit at
         a = LOAD_ELEMENT_F t one
         b = LOAD_ELEMENT_F t two
         c = ADD_F a b
         GUARD_STORABLE t three c exit at
         STORE_ELEMENT t three c
         POLL exit pc 9 [2=t]
         EXIT exit pc 10 []",
    );
    insta::assert_snapshot!(sunk, @r"
    v1 = LOAD [1]
    v2 = LOAD [2]: Float
    v3 = VIRTUAL_TABLE 3
    v4 = CONST_INT 1
    v5 = CONST_INT 2
    v6 = CONST_INT 3
    s0: pc 7 []
    v7 = GUARD_FLOAT v1 exit s0
    v8 = ADD_F v7 v2
    s1: pc 9 [2=v3] with v3 20 [element 1=v7 element 2=v2 element 3=v8]
    POLL exit s1
    SUNK 1
    s2: pc 10 []
    EXIT exit s2
    ");
}

#[test]
fn closures_and_their_variables_are_not_made() {
    let sunk = shortened(&apply(
        sink::sink,
        "object o0: Proto 0x1000
         frame f0: o0 base 1 registers 6
         START
         at: pc 7 []
         x = LOAD [1]
         i = CONST_INT 3
         k = NEW_CELL x exit at
         m = NEW_EMPTY_CELL exit at
         f = ALLOCATE_CLOSURE o0 exit at
         INIT_CAPTURED 0 f k
         INIT_CAPTURED 1 f m
         SET_CELL m f exit at
         SET_CELL k i exit at
         GUARD_PROTO o0 f exit at
         c = LOAD_CAPTURED 0 f
         GUARD_MUTABLE c exit at
         STORE_CELL c x
         v = LOAD_CELL k
         POLL exit pc 8 [1=v 2=f]
         EXIT exit pc 9 [1=v]",
    ));
    insta::assert_snapshot!(sunk, @r"
    v1 = LOAD [1]
    v2 = CONST_INT 3
    v3 = VIRTUAL_CELL
    v4 = VIRTUAL_CELL
    v5 = VIRTUAL_CLOSURE o0
    s0: pc 8 [1=v1 2=v5] with v5 0 [captured 0=v3 captured 1=v4] v3 2 [content=v1] v4 1 [content=v5]
    POLL exit s0
    SUNK 3
    s1: pc 9 [1=v1]
    EXIT exit s1
    ");
}

#[test]
fn what_somebody_gets_hold_of_is_made() {
    // By a store, through another object; by a call-out; by the next pass; and what the loop changes.
    let sunk = line(
        sink::sink,
        "o = LOAD [1]: Table
         a = ALLOCATE_TABLE 20 0 exit at
         b = ALLOCATE_TABLE 20 0 exit at
         STORE_INLINE 48:72 a b
         STORE_INLINE 48:72 o a
         c = ALLOCATE_TABLE 20 0 exit at
         d = ALLOCATE_TABLE 20 0 exit at
         CALL [2] 1 1 0 exit pc 8 [2=c]
         k = NEW_CELL o exit at
         start: pc 3 [4=k]
         LOOP entry start
         p = PHI d back e
         e = ALLOCATE_TABLE 20 0 exit pc 4 []
         SET_CELL k o exit pc 4 []
         POLL exit pc 4 [3=e 4=k]
         BACK",
    );
    insta::assert_snapshot!(sunk, @r"
    v1 = LOAD [1]: Table
    s0: pc 7 []
    v2 = ALLOCATE_TABLE 20 0 exit s0
    v3 = ALLOCATE_TABLE 20 0 exit s0
    STORE_INLINE 48:72 v2 v3
    STORE_INLINE 48:72 v1 v2
    v6 = ALLOCATE_TABLE 20 0 exit s0
    v7 = ALLOCATE_TABLE 20 0 exit s0
    s1: pc 8 [2=v6]
    CALL [2] 1 1 0 exit s1
    v9 = NEW_CELL v1 exit s0
    s2: pc 3 [4=v9]
    LOOP entry s2
    v11 = PHI v7 back v12
    s3: pc 4 []
    v12 = ALLOCATE_TABLE 20 0 exit s3
    s4: pc 4 []
    SET_CELL v9 v1 exit s4
    s5: pc 4 [3=v12 4=v9]
    POLL exit s5
    BACK
    ");
}

#[test]
fn an_object_made_before_the_loop_may_be_virtual_in_it() {
    let sunk = line(
        sink::sink,
        "x = LOAD [1]
         k = NEW_CELL x exit at
         start: pc 3 [4=k]
         LOOP entry start
         y = PHI x back v
         v = LOAD_CELL k
         POLL exit pc 4 [3=v 4=k]
         BACK",
    );
    insta::assert_snapshot!(sunk, @r"
    v1 = LOAD [1]
    v2 = VIRTUAL_CELL
    s0: pc 3 [4=v2] with v2 1 [content=v1]
    LOOP entry s0
    v4 = PHI v1 back v1
    s1: pc 4 [3=v1 4=v2] with v2 1 [content=v1]
    POLL exit s1
    BACK
    ");
}

/// A numeric loop over a table in slot 1 with these nodes in its body.
fn counting(step: &str, body: &str) -> String {
    let text = format!(
        "t = LOAD [1]: Table
         i0 = LOAD [2]: Int
         n0 = LOAD [3]: Int
         step = {step}
         start: pc 3 []
         LOOP entry start
         i = PHI i0: Int back i2
         n = PHI n0: Int back n2
         here: pc 4 [2=i 3=n]
         {body}
         zero = CONST_INT 0
         one = CONST_INT 1
         c = EQ_I n zero
         GUARD_FALSE c exit pc 5 []
         n2 = SUB_I n one
         i2 = ADD_I i step
         BACK"
    );
    line(bounds::bounds, &text)
}

#[test]
fn bounds_are_checked_for_the_first_index_and_the_last() {
    let up = counting(
        "CONST_INT 2",
        "two = CONST_INT 2
         before = SUB_I i two
         GUARD_IN_ARRAY t before exit here
         x = LOAD_ELEMENT t before
         GUARD_IN_ARRAY t i exit here
         y = LOAD_ELEMENT t i
         REPLACE_ELEMENT t before y",
    );
    insta::assert_snapshot!(up, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Int
    v3 = LOAD [3]: Int
    v4 = CONST_INT 2
    v5 = CONST_INT 4294967296
    v6 = LT_U v3 v5
    s0: pc 3 []
    GUARD_TRUE v6 exit s0
    v8 = MUL_I v3 v4
    v9 = ADD_I v2 v8
    v10 = CONST_INT -2
    v11 = ADD_I v2 v10
    GUARD_IN_ARRAY v1 v11 exit s0
    v13 = CONST_INT 0
    v14 = ADD_I v9 v13
    GUARD_IN_ARRAY v1 v14 exit s0
    LOOP entry s0
    v17 = PHI v2: Int back v29
    v18 = PHI v3: Int back v28
    v19 = CONST_INT 2
    v20 = SUB_I v17 v19
    v21 = LOAD_ELEMENT v1 v20
    v22 = LOAD_ELEMENT v1 v17
    REPLACE_ELEMENT v1 v20 v22
    v24 = CONST_INT 0
    v25 = CONST_INT 1
    v26 = EQ_I v18 v24
    s1: pc 5 []
    GUARD_FALSE v26 exit s1
    v28 = SUB_I v18 v25
    v29 = ADD_I v17 v4
    BACK
    ");
    let down = counting(
        "CONST_INT -1",
        "GUARD_IN_ARRAY t i exit here
         x = LOAD_ELEMENT t i",
    );
    insta::assert_snapshot!(down, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Int
    v3 = LOAD [3]: Int
    v4 = CONST_INT -1
    v5 = CONST_INT 4294967296
    v6 = LT_U v3 v5
    s0: pc 3 []
    GUARD_TRUE v6 exit s0
    v8 = MUL_I v3 v4
    v9 = ADD_I v2 v8
    v10 = CONST_INT 0
    v11 = ADD_I v2 v10
    GUARD_IN_ARRAY v1 v11 exit s0
    v13 = CONST_INT 0
    v14 = ADD_I v9 v13
    GUARD_IN_ARRAY v1 v14 exit s0
    LOOP entry s0
    v17 = PHI v2: Int back v25
    v18 = PHI v3: Int back v24
    v19 = LOAD_ELEMENT v1 v17
    v20 = CONST_INT 0
    v21 = CONST_INT 1
    v22 = EQ_I v18 v20
    s1: pc 5 []
    GUARD_FALSE v22 exit s1
    v24 = SUB_I v18 v21
    v25 = ADD_I v17 v4
    BACK
    ");
    let unknown = counting(
        "LOAD [4]: Int",
        "GUARD_IN_ARRAY t i exit here
         x = LOAD_ELEMENT t i",
    );
    insta::assert_snapshot!(unknown, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Int
    v3 = LOAD [3]: Int
    v4 = LOAD [4]: Int
    v5 = CONST_INT 4294967296
    v6 = LT_U v3 v5
    s0: pc 3 []
    GUARD_TRUE v6 exit s0
    v8 = CONST_INT 1
    v9 = CONST_INT 1073741824
    v10 = SUB_I v4 v8
    v11 = LT_U v10 v9
    GUARD_TRUE v11 exit s0
    v13 = MUL_I v3 v4
    v14 = ADD_I v2 v13
    v15 = CONST_INT 0
    v16 = ADD_I v2 v15
    GUARD_IN_ARRAY v1 v16 exit s0
    v18 = CONST_INT 0
    v19 = ADD_I v14 v18
    GUARD_IN_ARRAY v1 v19 exit s0
    LOOP entry s0
    v22 = PHI v2: Int back v30
    v23 = PHI v3: Int back v29
    v24 = LOAD_ELEMENT v1 v22
    v25 = CONST_INT 0
    v26 = CONST_INT 1
    v27 = EQ_I v23 v25
    s1: pc 5 []
    GUARD_FALSE v27 exit s1
    v29 = SUB_I v23 v26
    v30 = ADD_I v22 v4
    BACK
    ");
}

#[test]
fn what_is_made_before_the_loop_may_be_added_to_indices() {
    let before = "CONST_INT 1
         k = LOAD [4]: Int
         m = LOAD [5]: Int";
    let checked = counting(
        before,
        "row = ADD_I k i
         above = SUB_I row m
         four = CONST_INT 4
         next = ADD_I row four
         GUARD_IN_ARRAY t row exit here
         x = LOAD_ELEMENT t row
         GUARD_IN_ARRAY t above exit here
         REPLACE_ELEMENT t above x
         GUARD_IN_ARRAY t next exit here
         REPLACE_ELEMENT t next x",
    );
    insta::assert_snapshot!(checked, @r"
    v1 = LOAD [1]: Table
    v2 = LOAD [2]: Int
    v3 = LOAD [3]: Int
    v4 = CONST_INT 1
    v5 = LOAD [4]: Int
    v6 = LOAD [5]: Int
    v7 = CONST_INT 4294967296
    v8 = LT_U v3 v7
    s0: pc 3 []
    GUARD_TRUE v8 exit s0
    v10 = MUL_I v3 v4
    v11 = ADD_I v2 v10
    v12 = ADD_I v2 v5
    v13 = CONST_INT 0
    v14 = ADD_I v12 v13
    GUARD_IN_ARRAY v1 v14 exit s0
    v16 = ADD_I v11 v5
    v17 = CONST_INT 4
    v18 = ADD_I v16 v17
    GUARD_IN_ARRAY v1 v18 exit s0
    v20 = ADD_I v2 v5
    v21 = SUB_I v20 v6
    v22 = CONST_INT 0
    v23 = ADD_I v21 v22
    GUARD_IN_ARRAY v1 v23 exit s0
    v25 = ADD_I v11 v5
    v26 = SUB_I v25 v6
    v27 = CONST_INT 0
    v28 = ADD_I v26 v27
    GUARD_IN_ARRAY v1 v28 exit s0
    LOOP entry s0
    v31 = PHI v2: Int back v45
    v32 = PHI v3: Int back v44
    v33 = ADD_I v5 v31
    v34 = SUB_I v33 v6
    v35 = CONST_INT 4
    v36 = ADD_I v33 v35
    v37 = LOAD_ELEMENT v1 v33
    REPLACE_ELEMENT v1 v34 v37
    REPLACE_ELEMENT v1 v36 v37
    v40 = CONST_INT 0
    v41 = CONST_INT 1
    v42 = EQ_I v32 v40
    s1: pc 5 []
    GUARD_FALSE v42 exit s1
    v44 = SUB_I v32 v41
    v45 = ADD_I v31 v4
    BACK
    ");
    // Too much, or of the loop's own.
    let body = "p = ADD_I i k
         q = ADD_I p m
         r = SUB_I q k
         s = SUB_I r m
         GUARD_IN_ARRAY t s exit here";
    assert!(!counting(before, body).contains("LT_U"));
    let body = "p = ADD_I i n
         GUARD_IN_ARRAY t p exit here";
    assert!(!counting(before, body).contains("LT_U"));
    let body = "p = SUB_I k i
         GUARD_IN_ARRAY t p exit here";
    assert!(!counting(before, body).contains("LT_U"));
}

#[test]
fn bounds_are_checked_in_the_loop_if_they_change_there() {
    let body = "GUARD_IN_ARRAY t i exit here
         x = LOAD_ELEMENT t i
         RAW_SET t i x exit here";
    assert!(!counting("CONST_INT 1", body).contains("LT_U"));
    // Which element it is does not only depend on the pass; which table it is does.
    let body = "n3 = MUL_I i n
         GUARD_IN_ARRAY t n3 exit here
         o = LOAD [1]: Table
         GUARD_IN_ARRAY o i exit here";
    assert!(!counting("CONST_INT 1", body).contains("LT_U"));
    // The step is too large for the last index to be computed.
    let body = "GUARD_IN_ARRAY t i exit here";
    assert!(!counting("CONST_INT 1073741825", body).contains("LT_U"));
    assert!(counting("CONST_INT 1073741824", body).contains("LT_U"));
    let kept = format!("keep bounds\n{}", LOOP_OVER_ELEMENTS);
    assert_eq!(apply(bounds::bounds, &kept), apply(|_| None, &kept));
    assert!(apply(bounds::bounds, LOOP_OVER_ELEMENTS).contains("LT_U"));
}

const LOOP_OVER_ELEMENTS: &str = "object o0: Proto 0x1000
    frame f0: o0 base 1 registers 6
    t = LOAD [1]: Table
    i0 = LOAD [2]: Int
    one = CONST_INT 1
    zero = CONST_INT 0
    start: pc 3 []
    LOOP entry start
    i = PHI i0: Int back i2
    n = PHI i0: Int back n2
    GUARD_IN_ARRAY t i exit pc 4 []
    c = EQ_I n zero
    GUARD_FALSE c exit pc 5 []
    n2 = SUB_I n one
    i2 = ADD_I i one
    BACK";

#[test]
fn phis_that_count_alike_are_one() {
    let one = line(
        phis::phis,
        "a = LOAD [1]
         b = LOAD [2]
         one = CONST_INT 1
         start: pc 3 []
         LOOP entry start
         i = PHI a back j
         k = PHI b back j
         POLL exit pc 4 [1=i 2=k]
         n = GUARD_INT i exit pc 5 [1=i 2=k]
         j = ADD_I n one
         BACK",
    );
    insta::assert_snapshot!(one, @r"
    v1 = LOAD [1]
    v2 = LOAD [2]
    v3 = CONST_INT 1
    s0: pc 3 []
    v4 = GUARD_INT v2 exit s0
    v5 = GUARD_INT v1 exit s0
    v6 = EQ_I v4 v5
    GUARD_TRUE v6 exit s0
    v8 = GUARD_INT v1 exit s0
    LOOP entry s0
    v10 = PHI v8: Int back v12
    s1: pc 4 [1=v10 2=v10]
    POLL exit s1
    v12 = ADD_I v10 v3
    BACK
    ");
}
