//! Tests of the whole front end: messages, resolution, lines, robustness.

use super::ast::*;
use super::{StrId, SyntaxError};
use crate::heap::{Heap, Meter};

fn parse(source: &[u8], chunk_name: &[u8], depth: u32) -> Result<Chunk, SyntaxError> {
    super::parse(source, chunk_name, depth, &Meter::new(&mut Heap::new()))
}

fn chunk(source: &str) -> Chunk {
    match parse(source.as_bytes(), b"=t", 0) {
        Ok(chunk) => chunk,
        Err(error) => panic!("{}", String::from_utf8_lossy(error.message())),
    }
}

fn error(source: &[u8]) -> String {
    match parse(source, b"=t", 0) {
        Ok(_) => "none".into(),
        Err(error) => String::from_utf8_lossy(error.message()).into_owned(),
    }
}

fn find_var(chunk: &Chunk, name: &str) -> Var {
    let mut vars = chunk.vars.iter();
    let found = vars.find(|var| chunk.strings.get(var.name) == name.as_bytes());
    *found.expect("a variable of this name")
}

/// The value of the chunk's last statement, an assignment.
fn last_value(chunk: &Chunk) -> Expr {
    let body = chunk[FuncId::MAIN].body;
    match chunk.statements(body).last().map(|stmt| stmt.kind) {
        Some(StmtKind::Assign { value, .. }) => chunk[value],
        other => panic!("not an assignment: {other:?}"),
    }
}

/// Sources with the messages of Lua 5.4.8, less the chunk's name.
const ERRORS: &[(&str, &str)] = &[
    (r#"x = "abc"#, "1: unfinished string near <eof>"),
    ("x = \"abc\n\"", r#"1: unfinished string near '"abc'"#),
    (r#"x = "\q""#, r#"1: invalid escape sequence near '"\q'"#),
    (
        r#"x="\xg1""#,
        r#"1: hexadecimal digit expected near '"\xg'"#,
    ),
    (
        r#"x="\300""#,
        r#"1: decimal escape too large near '"\300"'"#,
    ),
    (
        r#"x="\u{}""#,
        r#"1: hexadecimal digit expected near '"\u{}'"#,
    ),
    (r#"x="\u12""#, r#"1: missing '{' near '"\u1'"#),
    (r#"x="\u{12x}""#, r#"1: missing '}' near '"\u{12x'"#),
    (
        r#"x="\u{80000000}""#,
        r#"1: UTF-8 value too large near '"\u{80000000'"#,
    ),
    (
        "x=\"abc\\z  \n def\\q\"",
        r#"2: invalid escape sequence near '"abcdef\q'"#,
    ),
    (
        "x = [[abc",
        "1: unfinished long string (starting at line 1) near <eof>",
    ),
    (
        "--[==[ abc ]]",
        "1: unfinished long comment (starting at line 1) near <eof>",
    ),
    ("x=[=abc", "1: invalid long string delimiter near '[='"),
    ("x = [==[a]]b]==] y", "1: syntax error near <eof>"),
    ("x=3x", "1: malformed number near '3x'"),
    ("x=0x", "1: malformed number near '0x'"),
    ("x=3..4", "1: malformed number near '3..4'"),
    ("x=12abc_def", "1: malformed number near '12abc_'"),
    ("@", "1: unexpected symbol near '@'"),
    ("x = \x01", r#"1: unexpected symbol near '<\1>'"#),
    ("x = a !", "1: unexpected symbol near '!'"),
    (r#"x = "a\0b" y"#, "1: syntax error near <eof>"),
    ("\r\n\r\n@", "3: unexpected symbol near '@'"),
    ("\n\r\r@", "3: unexpected symbol near '@'"),
    ("x", "1: syntax error near <eof>"),
    ("x y", "1: syntax error near 'y'"),
    ("x.", "1: <name> expected near <eof>"),
    ("x(1", "1: ')' expected near <eof>"),
    ("x()=1", "1: syntax error near '='"),
    ("(x)=1", "1: syntax error near '='"),
    ("1=2", "1: unexpected symbol near '1'"),
    ("x={1 2}", "1: '}' expected near '2'"),
    (
        "x={\n1\n",
        "3: '}' expected (to close '{' at line 1) near <eof>",
    ),
    ("x={[1]}", "1: '=' expected near '}'"),
    ("x = }", "1: unexpected symbol near '}'"),
    ("return 1 2", "1: <eof> expected near '2'"),
    ("x = 1 = 2", "1: unexpected symbol near '='"),
    ("x = y z", "1: syntax error near <eof>"),
    ("if x", "1: 'then' expected near <eof>"),
    (
        "if x then\n\n",
        "3: 'end' expected (to close 'if' at line 1) near <eof>",
    ),
    ("if x then else elseif", "1: 'end' expected near 'elseif'"),
    (
        "while x\ndo\n\n",
        "4: 'end' expected (to close 'while' at line 1) near <eof>",
    ),
    (
        "repeat\n\n",
        "3: 'until' expected (to close 'repeat' at line 1) near <eof>",
    ),
    (
        "do\n\n",
        "3: 'end' expected (to close 'do' at line 1) near <eof>",
    ),
    ("for", "1: <name> expected near <eof>"),
    ("for x", "1: '=' or 'in' expected near <eof>"),
    ("for x in", "1: unexpected symbol near <eof>"),
    ("for x=1 do end", "1: ',' expected near 'do'"),
    ("for 1 in y", "1: <name> expected near '1'"),
    ("function x(", "1: <name> or '...' expected near <eof>"),
    ("function x(a,)", "1: <name> or '...' expected near ')'"),
    (
        "function x() return ... end",
        "1: cannot use '...' outside a vararg function near '...'",
    ),
    (
        "function x(a)\n\n",
        "3: 'end' expected (to close 'function' at line 1) near <eof>",
    ),
    ("local x y", "1: syntax error near <eof>"),
    ("local x <const", "1: '>' expected near <eof>"),
    (
        "f(\n1\n",
        "3: ')' expected (to close '(' at line 1) near <eof>",
    ),
    ("x:y", "1: function arguments expected near <eof>"),
    (r#"x.y = f"a" "b" c"#, "1: syntax error near <eof>"),
    ("local x <foo>", "1: unknown attribute 'foo'"),
    (
        "local x <close>, y <close> = 1",
        "1: multiple to-be-closed variables in local list",
    ),
    (
        "local x <const> = 1; x = 2",
        "1: attempt to assign to const variable 'x'",
    ),
    (
        "local x <const> = f(); function f() x = 2 end",
        "1: attempt to assign to const variable 'x'",
    ),
    ("local x<const>=1; x\n\n= 2", "1: '>' expected near '>='"),
    (
        "local x<const>=f();\nfunction x()\n\nend",
        "1: '>' expected near '>='",
    ),
    (
        "local x <const> = 1 function x() end\nlocal y",
        "2: attempt to assign to const variable 'x'",
    ),
    ("x = .0xm", "1: malformed number near '.0xm'"),
    ("local x<const> = 1; (x) = 2", "1: syntax error near '='"),
    (
        r#"local x<const>="a"; t[x] = 1; x = 3"#,
        "1: '>' expected near '>='",
    ),
    (
        "local _ENV<const> = 1; _ENV = 2",
        "1: attempt to assign to const variable '_ENV'",
    ),
    (
        "local x<const> = not nil and -2^2 // 3; x = 1",
        "1: attempt to assign to const variable 'x'",
    ),
    ("break", "1: break outside loop at line 1"),
    (
        "function f() break\n\n end\n\n",
        "5: break outside loop at line 1",
    ),
    ("goto x\n\n", "3: no visible label 'x' for <goto> at line 1"),
    ("::x::\n\n::x::", "3: label 'x' already defined on line 3"),
    (
        "::x:: do ::x:: end",
        "1: label 'x' already defined on line 1",
    ),
    (
        "goto x local y ::x:: y=1",
        "1: <goto x> at line 1 jumps into the scope of local 'y'",
    ),
    (
        "do goto x end local y ::x:: z=1",
        "1: <goto x> at line 1 jumps into the scope of local 'y'",
    ),
    (
        "repeat goto x; local y; ::x:: until y",
        "1: <goto x> at line 1 jumps into the scope of local 'y'",
    ),
    (
        "::x:: function f() goto x end",
        "1: no visible label 'x' for <goto> at line 1",
    ),
    ("break goto x", "1: break outside loop at line 1"),
];

#[test]
fn messages() {
    for (source, message) in ERRORS {
        assert_eq!(error(source.as_bytes()), format!("t:{message}"), "{source}");
    }
}

#[test]
fn accepted() {
    for source in [
        "goto x local y ::x:: ; ::z:: ;",
        "do goto x; local y; ::x:: end",
        "::a:: goto a",
        "do ::x:: end ::x::",
        "x=...",
        "local x <const> = 1; local function f() local x; x = 2 end",
        "return",
        "return;",
        "::break_::",
        r#"a.b["c"]:d{}.e = 1"#,
        "goto x; local y <const> = 1; ::x::",
        r#"x = 0x1p4 .. "\u{7FFFFFFF}""#,
        "for i = 1, 2 do goto c; local z; ::c:: end",
        "while x do goto c; do local z end ::c:: y() end",
    ] {
        assert_eq!(error(source.as_bytes()), "none", "{source}");
    }
}

#[test]
fn bytes_in_messages() {
    assert_eq!(error(b"x = \xe9"), "t:1: unexpected symbol near '<\\233>'");
    assert_eq!(error(b"x = \0"), "t:1: unexpected symbol");
}

#[test]
fn nesting_is_limited() {
    let overflow = "C stack overflow";
    for (opening, closing) in [("(", ")"), ("{", "}"), ("- ", ""), ("a..", ""), ("f(", ")")] {
        let nested = |n| format!("x={}a{}", opening.repeat(n), closing.repeat(n));
        assert_eq!(error(nested(190).as_bytes()), "none");
        assert_eq!(error(nested(200).as_bytes()), overflow);
        assert_eq!(error(nested(100_000).as_bytes()), overflow);
    }
    let blocks = |n| "do ".repeat(n) + &"end ".repeat(n);
    assert_eq!(error(blocks(199).as_bytes()), "none");
    assert_eq!(error(blocks(200).as_bytes()), overflow);
    assert_eq!(
        parse(blocks(150).as_bytes(), b"=t", 50).err(),
        Some(SyntaxError::StackOverflow)
    );
    assert_eq!(error(("a,".repeat(300) + "a=1").as_bytes()), overflow);
}

#[test]
fn chains_are_not_limited() {
    for source in [
        format!("x=a{}", "+1".repeat(100_000)),
        format!("x=a{}", ".b".repeat(100_000)),
        format!("x=a{}", "()".repeat(100_000)),
        format!("if x then {} end", "elseif x then ".repeat(10_000)),
        format!("local x <const> = 1{}", "+1".repeat(100_000)),
    ] {
        assert_eq!(error(source.as_bytes()), "none");
    }
}

#[test]
fn counts_are_limited() {
    let names = |prefix: &str, n: usize| -> String {
        let names: Vec<String> = (0..n).map(|i| format!("{prefix}{i}")).collect();
        names.join(",")
    };
    assert_eq!(
        error(format!("local {}", names("a", 200)).as_bytes()),
        "none"
    );
    assert_eq!(
        error(format!("local {}", names("a", 201)).as_bytes()),
        "t:1: too many local variables (limit is 200) in main function near <eof>"
    );
    assert_eq!(
        error(format!("\nfunction f({}) end", names("a", 201)).as_bytes()),
        "t:2: too many local variables (limit is 200) in function at line 2 near ')'"
    );
    let upvalues = |used: &str| {
        let (a, b) = (names("a", 130), names("b", 130));
        format!("local {a}\nfunction f() local {b}\nfunction g() return {used} end end")
    };
    let fits = upvalues(&[names("a", 127), names("b", 128)].join(","));
    assert_eq!(error(fits.as_bytes()), "none");
    let exceeds = upvalues(&[names("a", 128), names("b", 128)].join(","));
    assert_eq!(
        error(exceeds.as_bytes()),
        "t:3: too many upvalues (limit is 255) in function at line 3 near 'end'"
    );
    let gotos = "goto a;".repeat(40_000);
    assert_eq!(
        error(gotos.as_bytes()),
        "too many labels/gotos (limit is 32767)"
    );
}

#[test]
fn names_are_resolved() {
    let chunk = chunk(
        "local a, b = 1
         local function f(x) a = x; return function() return a, x, f, g end end
         return b",
    );
    let (a, b) = (find_var(&chunk, "a"), find_var(&chunk, "b"));
    assert!(a.captured && a.assigned && !b.captured && !b.assigned);
    let x = find_var(&chunk, "x");
    assert!(x.captured && !x.assigned && x.function == FuncId(1));
    assert!(find_var(&chunk, "f").captured);
    let upvalues = |function| -> Vec<(String, UpvalueSource)> {
        let upvalues = chunk.upvalues(function).iter();
        let name =
            |var: VarId| String::from_utf8_lossy(chunk.strings.get(chunk[var].name)).into_owned();
        upvalues
            .map(|up: &Upvalue| (name(up.var), up.source))
            .collect()
    };
    use UpvalueSource::*;
    assert_eq!(upvalues(FuncId::MAIN), [("_ENV".into(), Loader)]);
    assert_eq!(
        upvalues(FuncId(1)),
        [
            ("a".into(), ParentLocal),
            ("f".into(), ParentLocal),
            ("_ENV".into(), ParentUpvalue(0)),
        ]
    );
    assert_eq!(
        upvalues(FuncId(2)),
        [
            ("a".into(), ParentUpvalue(0)),
            ("x".into(), ParentLocal),
            ("f".into(), ParentUpvalue(1)),
            ("_ENV".into(), ParentUpvalue(2)),
        ]
    );
    assert_eq!(chunk[FuncId(2)].line, 2);
}

#[test]
fn globals_follow_env() {
    let global = chunk("x = y");
    assert!(matches!(
        last_value(&global).kind,
        ExprKind::Global { env: 0, .. }
    ));
    let local = chunk("local _ENV = {}; x = y");
    assert!(matches!(last_value(&local).kind, ExprKind::Field { .. }));
}

#[test]
fn scopes_end() {
    let chunk = chunk("do local x = 1 end for x = 1, 2 do end y = x");
    assert!(matches!(last_value(&chunk).kind, ExprKind::Global { .. }));
}

#[test]
fn constants_propagate() {
    let value = |initial: &str| {
        let source = format!("local x <const> = {initial}; local function f() y = x end y = x");
        let chunk = chunk(&source);
        (last_value(&chunk).kind, find_var(&chunk, "x").attrib)
    };
    assert!(matches!(value("2^53").0, ExprKind::Float(v) if v.get() == 9007199254740992.0));
    assert!(matches!(value("-(1 << 4) + 2 * 3").0, ExprKind::Int(v) if v.get() == -10));
    assert!(matches!(value("nil or 'a'").0, ExprKind::Str(_)));
    assert!(matches!(value("not 0").0, ExprKind::False));
    assert_eq!(value("nil").1, Attrib::CompileTime);
    for dynamic in [
        "1 // 0",
        "f()",
        "{}",
        "'a' .. 'b'",
        "false and 1",
        "1 < 2",
        "-'2'",
    ] {
        let (kind, attrib) = value(dynamic);
        assert!(matches!(kind, ExprKind::Local(_)), "{dynamic}");
        assert_eq!(attrib, Attrib::Const);
    }
}

#[test]
fn jumps_know_what_they_close() {
    let source = "
        ::top::
        local a <close> = nil
        while x do
            local b <close> = nil
            if y then break end
            goto top
        end
        for k in pairs {} do if y then break end goto done end
        ::done::";
    let chunk = chunk(source);
    let closes: Vec<bool> = chunk.gotos.iter().map(|goto| goto.closes).collect();
    assert_eq!(closes, [true, true]);
    let breaks: Vec<bool> = chunk
        .stmts
        .iter()
        .filter_map(|stmt| match stmt.kind {
            StmtKind::Break { closes } => Some(closes),
            _ => None,
        })
        .collect();
    assert_eq!(breaks, [true, false]);
    let [top, done] = chunk.labels[..] else {
        panic!("two labels")
    };
    assert_eq!((top.in_scope, done.in_scope), (0, 0));
}

#[test]
fn lines_are_those_of_lua() {
    let lines =
        |source: &str| -> Vec<u32> { chunk(source).exprs.iter().map(|expr| expr.line).collect() };
    // A field read before an operator belongs to the operator's line.
    assert_eq!(lines("x = a.b\n+\nc"), [3, 1, 2, 3, 2]);
    // Comparisons belong to the line of their last operand.
    assert_eq!(lines("x = 1\n<\n2"), [3, 1, 3, 3]);
    // A call belongs to the line of its parenthesis, its last argument to that of the closing one.
    assert_eq!(lines("f\n(a,\nb\n)"), [1, 2, 4, 2]);
    // A method is looked up, and its object read, at the line of its name.
    assert_eq!(lines("a\n:b\n()"), [2, 2, 3]);
}

#[test]
fn parentheses_matter_for_values_and_targets_only() {
    assert!(matches!(
        last_value(&chunk("x = (f())")).kind,
        ExprKind::Paren(_)
    ));
    assert!(matches!(
        last_value(&chunk("x = (1 + 2)")).kind,
        ExprKind::Binary(..)
    ));
}

#[test]
fn string_keys_are_fields() {
    let chunk = chunk("local k <const> = 'x'; y = t[k]");
    match last_value(&chunk).kind {
        ExprKind::Field { name, .. } => assert_eq!(chunk.strings.get(name), b"x"),
        other => panic!("{other:?}"),
    }
    assert_eq!(chunk.strings.get(StrId::SELF), b"self");
}

#[test]
fn left_children_lead_to_the_leaf() {
    let chunk = chunk("x = a.b:c(1)[2] + 3");
    let StmtKind::Assign { value, .. } = chunk.statements(chunk[FuncId::MAIN].body)[0].kind else {
        panic!("an assignment")
    };
    let mut depth = 0;
    let mut expr = value;
    while let Some(left) = chunk.left(expr) {
        assert!(left < expr);
        expr = left;
        depth += 1;
    }
    assert_eq!(depth, 5);
    assert!(matches!(chunk[expr].kind, ExprKind::Global { .. }));
}

/// Any bytes give a chunk or a message: sources are mutated with a fixed random sequence.
#[test]
fn mutated_sources_do_not_panic() {
    const SEED: &str = r#"#!
local a <const>, b <close> = 0x1p4, nil
for i = 1, #t do goto cont; local s = "\u{48}\z  \x41\065" ::cont:: end
function m.n:o(...) local x = {...; [1] = 2, y = 3} return x.y["z"]:w{} .. [==[ ]] ]==] end
repeat local q = function() return q, a, ~1 // 2 end until q --[[ c ]]
while true do if x then break elseif y then return 1e5 else z() end end
"#;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % bound
    };
    let mut rejected = 0;
    for _ in 0..20_000 {
        let mut source = SEED.as_bytes().to_vec();
        for _ in 0..1 + random(6) {
            let at = random(source.len());
            match random(4) {
                0 => source[at] = random(256) as u8,
                1 => source.truncate(at + 1),
                2 => source.insert(at, b"\"'[]{}()=.:<>\\\n-"[random(16)]),
                _ => {
                    let end = (at + random(20)).min(source.len());
                    let piece = source[at..end].to_vec();
                    let to = random(source.len());
                    source.splice(to..to, piece);
                }
            }
        }
        if let Err(error) = parse(super::skip_shebang(&source), b"@mutated", 0) {
            assert!(!error.message().is_empty());
            rejected += 1;
        }
    }
    assert!(rejected > 10_000);
}

/// What parsing takes counts against the limit: it fails at every limit below what it needs, and with no more memory
/// than it may have; afterwards what is not the tree's has been given back.
#[test]
fn memory_is_metered() {
    let mut source = b"local t = {}\n".to_vec();
    for i in 0..300 {
        source.extend_from_slice(
            format!("function t.f{i}(a, ...) local b = {{a, x{i} = 'text {i}'}}; return function() return a .. b end end\n")
                .as_bytes(),
        );
    }
    let parse = |limit| {
        let mut heap = Heap::new();
        heap.set_limit(limit);
        let meter = Meter::new(&mut heap);
        let parsed = super::parse(&source, b"=t", 0, &meter);
        meter.settle(&mut heap);
        (parsed.err(), heap.used())
    };
    let (error, tree) = parse(usize::MAX);
    assert_eq!(error, None);
    assert!(tree > source.len() && tree < 16 * source.len(), "{tree}");
    let mut limit = 0;
    loop {
        let (error, used) = parse(limit);
        assert!(used <= limit);
        match error {
            Some(error) => assert_eq!(error, SyntaxError::OutOfMemory),
            None => break assert_eq!(used, tree),
        }
        limit += 997;
    }
    assert!(limit > tree);
}
