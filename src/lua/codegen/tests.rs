//! Listings of what small functions become.

use super::*;
use crate::bytecode::listing::list;

fn listing(source: &str) -> String {
    let mut rt = Runtime::new().expect("memory suffices");
    let proto = compile(&mut rt, None, source.as_bytes(), b"=t", 0).expect("the source is correct");
    let mut out = String::new();
    list(proto, &mut out).expect("a string takes everything");
    out.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn check(source: &str, expected: &str) {
    let actual = listing(source);
    assert!(actual == expected, "got\n{actual}instead of\n{expected}");
}

#[test]
fn limits_are_errors() {
    let mut rt = Runtime::new().expect("memory suffices");
    let nested = format!("local t = {}{}", "{1, ".repeat(90), "}".repeat(90));
    assert!(compile(&mut rt, None, nested.as_bytes(), b"=t", 0).is_ok());
    let wide = format!("return f({})", vec!["x"; 260].join(", "));
    let error = compile(&mut rt, None, wide.as_bytes(), b"=t", 0).err();
    let message = b"t:1: function or expression needs too many registers near 'x'";
    assert_eq!(error, Some(CompileError::Syntax(message.to_vec())));
}

#[test]
fn deep_trees_need_no_deep_stack() {
    let mut rt = Runtime::new().expect("memory suffices");
    for (first, more) in [
        ("x", " + x"),
        ("f", "()"),
        ("f", ".a[x]"),
        ("x", " < x"),
        ("x", " and y"),
        ("x", ":m(1)"),
    ] {
        let source = format!("return {first}{}", more.repeat(100_000));
        assert!(
            compile(&mut rt, None, source.as_bytes(), b"=t", 0).is_ok(),
            "{more}"
        );
    }
}

#[test]
fn many_loops_share_the_last_site() {
    let mut rt = Runtime::new().expect("memory suffices");
    let source = "while x do end ".repeat(70_000);
    let proto = compile(&mut rt, None, source.as_bytes(), b"=t", 0).expect("the source is correct");
    assert_eq!(proto.info.loops.len(), 65_536);
}

#[test]
fn locals_have_extents() {
    let mut rt = Runtime::new().expect("memory suffices");
    let source = b"local a, b = 1 do local c = a end for i = 1, 2 do end";
    let proto = compile(&mut rt, None, source, b"=t", 0).expect("the source is correct");
    let locals: Vec<(String, u8, u32, u32)> = proto
        .info
        .locals
        .iter()
        .map(|l| {
            (
                l.name.as_bytes().escape_ascii().to_string(),
                l.register,
                l.start,
                l.end,
            )
        })
        .collect();
    let expected = [
        ("a", 0, 2, 9),
        ("b", 1, 2, 9),
        ("c", 2, 3, 3),
        ("(for state)", 2, 6, 8),
        ("(for state)", 3, 6, 8),
        ("(for state)", 4, 6, 8),
        ("i", 5, 7, 7),
    ];
    assert_eq!(
        locals,
        expected.map(|(name, register, start, end)| (name.to_owned(), register, start, end))
    );
}

#[test]
fn locals_are_operands_in_place() {
    check(
        r#"local a, b = ...
local c = a + b * 2 - (1 + 2)
a = c .. b .. "x"
return c"#,
        r#"function =t:0,0 (0 params, flags 1, 6 registers, 1 captured)
    0 [1] VARARG     r0 3
    1 [2] MULK       r2 r1 0        ; 2
    2 [2] ADD        r2 r0 r2
    3 [2] SUBK       r2 r2 1        ; 3
    4 [3] MOVE       r3 r2
    5 [3] MOVE       r4 r1
    6 [3] LOADK      r5 2           ; "x"
    7 [3] CONCAT     r3 3
    8 [3] MOVE       r0 r3
    9 [4] RETURN1    r2
   10 [4] RETURN0
"#,
    );
}

#[test]
fn captured_variables_live_in_cells() {
    check(
        r#"local x = 1
local y
local function f(p)
  y = x + p
  return function() return p end
end
x = x + f(2)"#,
        r#"function =t:0,0 (0 params, flags 1, 5 registers, 1 captured)
    0 [1] LOADI      r0 1
    1 [2] CELL       r0
    2 [2] NEWCELL    r1
    3 [6] CLOSURE    r2 0           ; line 3
    4 [7] MOVE       r3 r2
    5 [7] LOADI      r4 2
    6 [7] CALL       r3 2 2 0
    7 [7] GETCELL    r4 r0
    8 [7] ADD        r3 r4 r3
    9 [7] SETCELL    r0 r3
   10 [7] RETURN0

function =t:3,6 (1 params, flags 0, 3 registers, 2 captured)
    0 [4] CELL       r0
    1 [4] GETUP      r1 u1
    2 [4] GETCELL    r2 r0
    3 [4] ADD        r1 r1 r2
    4 [4] SETUP      r1 u0
    5 [5] CLOSURE    r1 0           ; line 5
    6 [5] RETURN1    r1
    7 [6] RETURN0

function =t:5,5 (0 params, flags 0, 1 registers, 1 captured)
    0 [5] GETUP      r0 u0
    1 [5] RETURN1    r0
    2 [5] RETURN0
"#,
    );
}

#[test]
fn conditions_jump_on_comparisons() {
    check(
        r#"local a, b = ...
if a < 5 and 6 <= b or not (a == nil) then b = a > b end
return not a, a ~= b"#,
        r#"function =t:0,0 (0 params, flags 1, 4 registers, 1 captured)
    0 [1] VARARG     r0 3
    1 [2] JNLTI      r0 5 1         ; to 3
    2 [2] JGEI       r1 6 1         ; to 4
    3 [2] JEQK       r0 0 4         ; nil ; to 8
    4 [2] JLT        r1 r0 2        ; to 7
    5 [2] FALSE      r1
    6 [2] JMP        1              ; to 8
    7 [2] TRUE       r1
    8 [3] NOT        r2 r0
    9 [3] JNE        r0 r1 2        ; to 12
   10 [3] FALSE      r3
   11 [3] JMP        1              ; to 13
   12 [3] TRUE       r3
   13 [3] RETURN     r2 3
   14 [3] RETURN0
"#,
    );
}

#[test]
fn short_circuit_values() {
    check(
        r#"local a, b, c = ...
a = a and b or c
b = a and (b < c or nil)
local d = f() or 1"#,
        r#"function =t:0,0 (0 params, flags 1, 4 registers, 1 captured)
    0 [1] VARARG     r0 4
    1 [2] JF         r0 1           ; to 3
    2 [2] JTSET      r0 r1 1        ; to 4
    3 [2] MOVE       r0 r2
    4 [3] JFSET      r1 r0 4        ; to 9
    5 [3] JLT        r1 r2 2        ; to 8
    6 [3] NIL        r1 0
    7 [3] JMP        1              ; to 9
    8 [3] TRUE       r1
    9 [4] GETENV     r3 u0 0        ; f
   10 [4] CALL       r3 1 2 0
   11 [4] JT         r3 1           ; to 13
   12 [4] LOADI      r3 1
   13 [4] RETURN0
"#,
    );
}

#[test]
fn numeric_loop() {
    check(
        r#"for i = 1, 10 do
  local f = function() return i end
  if i == 5 then break end
end"#,
        r#"function =t:0,0 (0 params, flags 1, 6 registers, 1 captured)
    0 [1] LOADI      r0 1
    1 [1] LOADI      r1 10
    2 [1] LOADI      r2 1
    3 [1] FORPREP    r0 5           ; to 9
    4 [2] CELL       r3
    5 [2] CLOSURE    r4 0           ; line 2
    6 [3] GETCELL    r5 r3
    7 [3] JEQK       r5 0 1         ; 5 ; to 9
    8 [1] FORLOOP    r0 0 -5        ; to 4
    9 [4] RETURN0

function =t:2,2 (0 params, flags 0, 1 registers, 1 captured)
    0 [2] GETUP      r0 u0
    1 [2] RETURN1    r0
    2 [2] RETURN0
"#,
    );
}

#[test]
fn generic_loop_closes_its_value() {
    check(
        r#"for k, v in pairs(t) do
  t[k], t.x = v, nil
end"#,
        r#"function =t:0,0 (0 params, flags 1, 9 registers, 1 captured)
    0 [1] GETENV     r0 u0 0        ; pairs
    1 [1] GETENV     r1 u0 1        ; t
    2 [1] CALL       r0 2 5 0
    3 [1] TFORPREP   r0 5           ; to 9
    4 [2] GETENV     r6 u0 2        ; t
    5 [2] GETENV     r7 u0 3        ; t
    6 [2] MOVE       r8 r5
    7 [2] SETFIELDK  r7 0 4         ; nil ; x
    8 [2] SETINDEX   r6 r4 r8
    9 [1] TFORCALL   r0 2 1
   10 [1] TFORLOOP   r0 0 -7        ; to 4
   11 [3] CLOSE      r0
   12 [3] RETURN0
"#,
    );
}

#[test]
fn while_and_repeat() {
    check(
        r#"local n = 0
while n < 3 do n = n + 1 end
repeat local m = n until m"#,
        r#"function =t:0,0 (0 params, flags 1, 2 registers, 1 captured)
    0 [1] LOADI      r0 0
    1 [2] JNLTI      r0 3 2         ; to 4
    2 [2] ADDK       r0 r0 0        ; 1
    3 [2] LOOP       0 -3           ; to 1
    4 [3] MOVE       r1 r0
    5 [3] JT         r1 1           ; to 7
    6 [3] LOOP       1 -3           ; to 4
    7 [3] RETURN0
"#,
    );
}

#[test]
fn gotos() {
    check(
        r#"do
  local x <close> = f()
  goto done
end
::top::
if x then goto done end
goto top
::done::"#,
        r#"function =t:0,0 (0 params, flags 1, 1 registers, 1 captured)
    0 [2] GETENV     r0 u0 0        ; f
    1 [2] CALL       r0 1 2 0
    2 [2] TBC        r0
    3 [3] CLOSE      r0
    4 [3] JMP        5              ; to 10
    5 [3] CLOSE      r0
    6 [6] GETENV     r0 u0 1        ; x
    7 [6] JF         r0 1           ; to 9
    8 [6] JMP        1              ; to 10
    9 [7] LOOP       0 -4           ; to 6
   10 [8] RETURN0
"#,
    );
}

#[test]
fn calls_and_results() {
    check(
        r#"local t = {1, x = 2, [3] = true, f(...)}
local a, b = t:m(1, ...), (f())
t.y, a = f()
return t.n(a, f())"#,
        r#"function =t:0,0 (0 params, flags 1, 6 registers, 1 captured)
    0 [1] NEWTABLE   r0 0
    1 [1] LOADI      r1 1
    2 [1] SETFIELDK  r0 0 0         ; 2 ; x
    3 [1] TRUE       r2
    4 [1] SETINT     r0 r2 3
    5 [1] GETENV     r2 u0 1        ; f
    6 [1] VARARG     r3 0
    7 [1] CALL       r2 0 0 0
    8 [1] SETLIST    r0 0 0
    9 [2] SELF       r1 r0 2        ; m
   10 [2] LOADI      r3 1
   11 [2] VARARG     r4 0
   12 [2] CALL       r1 0 2 1
   13 [2] GETENV     r2 u0 3        ; f
   14 [2] CALL       r2 1 2 2
   15 [3] GETENV     r3 u0 4        ; f
   16 [3] CALL       r3 1 3 3
   17 [3] MOVE       r1 r4
   18 [3] SETFIELD   r0 r3 5        ; y
   19 [4] GETFIELD   r3 r0 6        ; n
   20 [4] MOVE       r4 r1
   21 [4] GETENV     r5 u0 7        ; f
   22 [4] CALL       r5 1 0 4
   23 [4] TAILCALL   r3 0 5
   24 [4] RETURN     r3 0
   25 [4] RETURN0
"#,
    );
}

#[test]
fn a_captured_variable_to_be_closed_has_a_cell_beside_it() {
    check(
        r#"local x <close> = f()
return function() return x end"#,
        r#"function =t:0,0 (0 params, flags 1, 3 registers, 1 captured)
    0 [1] GETENV     r0 u0 0        ; f
    1 [1] CALL       r0 1 2 0
    2 [1] TBC        r0
    3 [1] MOVE       r1 r0
    4 [1] CELL       r1
    5 [2] CLOSURE    r2 0           ; line 2
    6 [2] RETURN1    r2
    7 [2] RETURN0

function =t:2,2 (0 params, flags 0, 1 registers, 1 captured)
    0 [2] GETUP      r0 u0
    1 [2] RETURN1    r0
    2 [2] RETURN0
"#,
    );
}

#[test]
fn conflicting_assignments_copy() {
    check(
        r#"local i, t = 1, {}
i, t[i], t = 2, i, nil"#,
        r#"function =t:0,0 (0 params, flags 1, 6 registers, 1 captured)
    0 [1] LOADI      r0 1
    1 [1] NEWTABLE   r1 0
    2 [2] MOVE       r2 r1
    3 [2] MOVE       r3 r0
    4 [2] LOADI      r4 2
    5 [2] MOVE       r5 r0
    6 [2] NIL        r1 0
    7 [2] SETINDEX   r2 r3 r5
    8 [2] MOVE       r0 r4
    9 [2] RETURN0
"#,
    );
}

#[test]
fn constants_that_do_not_fit() {
    check(
        r#"local t = {}
t[1] = 4294967296
t[4294967296] = 1
if t == 1.5 or t < 40000 then t = -9223372036854775807 end"#,
        r#"function =t:0,0 (0 params, flags 1, 2 registers, 1 captured)
    0 [1] NEWTABLE   r0 0
    1 [2] LOADK      r1 0           ; 4294967296
    2 [2] SETINT     r0 r1 1
    3 [3] LOADK      r1 0           ; 4294967296
    4 [3] SETINDEXK  r0 r1 1        ; 1
    5 [4] JEQK       r0 2 2         ; 1.5 ; to 8
    6 [4] LOADI      r1 40000
    7 [4] JNLT       r0 r1 1        ; to 9
    8 [4] LOADK      r0 3           ; -9223372036854775807
    9 [4] RETURN0
"#,
    );
}
