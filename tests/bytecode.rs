//! Functions described by hand, descriptions that must be refused, and random ones that must do no harm.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use perilune::bytecode::{
    BuildError, CellSource, Constant, FunctionBuilder, FunctionDescription, Instr, Label, Op, Role,
    TableSize, Wide,
};
use perilune::{CancelHandle, Error, Function, Libraries, Result, Value, Variadic, Vm};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn i(op: Op, a: u8, b: u8, c: u8) -> Instr {
    Instr::new(op, a, b, c, 0)
}

fn d(op: Op, a: u8, b: u8, c: u8, d: u32) -> Instr {
    Instr::new(op, a, b, c, d)
}

fn load(vm: &Vm, builder: FunctionBuilder) -> Function {
    let description = builder.finish().unwrap();
    vm.load_bytecode(&description).unwrap()
}

#[test]
fn numeric_loops() {
    let mut f = FunctionBuilder::new("=f", 1, 0);
    f.emit(d(Op::LOADI, 1, 0, 0, 0), 1);
    f.emit(d(Op::LOADI, 2, 0, 0, 1), 2);
    f.emit(i(Op::MOVE, 3, 0, 0), 3);
    f.emit(d(Op::LOADI, 4, 0, 0, 1), 4);
    let (body, end) = (f.label(), f.label());
    f.emit_jump(i(Op::FORPREP, 2, 0, 0), end, 5);
    f.place(body);
    f.emit(i(Op::ADD, 1, 1, 5), 6);
    let site = f.loop_site();
    f.emit_jump(Instr::with_bc(Op::FORLOOP, 2, site, 0), body, 5);
    f.place(end);
    f.emit(i(Op::RETURN1, 1, 0, 0), 2);
    let vm = Vm::new();
    let f = load(&vm, f);
    assert_eq!(f.call::<i64>(0).unwrap(), 0);
    assert_eq!(f.call::<i64>(1000).unwrap(), 500_500);
}

/// A counter with a cell: `local n = start; return function() n = n + 1 return n end`.
#[test]
fn closures() {
    let mut inner = FunctionBuilder::new("=f", 0, 2);
    let n = inner.captured("n", CellSource::Register(0));
    let one = inner.constant(Constant::Integer(1));
    inner.emit(i(Op::GETUP, 0, n, 0), 0);
    inner.emit(d(Op::ADDK, 0, 0, 0, one), 1);
    inner.emit(i(Op::SETUP, 0, n, 0), 1);
    inner.emit(i(Op::RETURN1, 0, 0, 0), 1);
    let mut f = FunctionBuilder::new("=f", 1, 0);
    let inner = f.nested(inner.finish().unwrap());
    f.emit(i(Op::CELL, 0, 0, 0), 1);
    f.begin_local("n", 0);
    f.emit(d(Op::CLOSURE, 1, 0, 0, inner), 1);
    f.emit(i(Op::RETURN1, 1, 0, 0), 2);
    let vm = Vm::builder().gc_stress(true).build().unwrap();
    let f = load(&vm, f);
    let (first, second): (Function, Function) = (f.call(10).unwrap(), f.call(20).unwrap());
    assert_eq!(first.call::<i64>(()).unwrap(), 11);
    assert_eq!(first.call::<i64>(()).unwrap(), 12);
    assert_eq!(second.call::<i64>(()).unwrap(), 21);
}

/// `return select("#", ...), ...`
#[test]
fn extra_arguments_and_globals() {
    let mut f = FunctionBuilder::new("=f", 0, 0);
    f.set_vararg();
    let env = f.captured("_ENV", CellSource::Captured(0));
    let select = f.field("select");
    let count = f.constant(Constant::String(b"#".to_vec()));
    f.emit(d(Op::GETENV, 0, env, 0, select), 0);
    f.emit(d(Op::LOADK, 1, 0, 0, count), 1);
    f.emit(i(Op::VARARG, 2, 0, 0), 2);
    let site = f.call_site();
    f.emit(d(Op::CALL, 0, 0, 2, site), 0);
    f.emit(i(Op::VARARG, 1, 0, 0), 1);
    f.emit(i(Op::RETURN, 0, 0, 0), 1);
    let vm = Vm::new();
    let f = load(&vm, f);
    let results: Variadic<i64> = f.call((5, 6, 7)).unwrap();
    assert_eq!(results.to_vec(), [3, 5, 6, 7]);
    let results: Variadic<i64> = f.call(()).unwrap();
    assert_eq!(results.to_vec(), [0]);
}

/// `return {x = 1, a, a}`, and what messages say of a missing field.
#[test]
fn tables_and_messages() {
    let mut f = FunctionBuilder::new("=f", 1, 0);
    f.begin_local("a", 0);
    let (x, y) = (f.field("x"), f.field("y"));
    let one = f.constant(Constant::Integer(1)) as u8;
    let table = f.table_site(TableSize {
        slots: 1,
        elements: 2,
    });
    f.emit(d(Op::NEWTABLE, 1, 0, 0, table), 1);
    f.emit(d(Op::SETFIELDK, 1, one, 0, x), 2);
    f.emit(i(Op::MOVE, 2, 0, 0), 2);
    f.emit(i(Op::MOVE, 3, 0, 0), 3);
    f.emit(d(Op::SETLIST, 1, 2, 0, 0), 4);
    f.set_line(7);
    let skip = f.label();
    f.emit_jump(i(Op::JT, 0, 0, 0), skip, 2);
    f.emit(d(Op::GETFIELD, 2, 0, 0, y), 2);
    f.place(skip);
    f.emit(i(Op::RETURN1, 1, 0, 0), 2);
    let vm = Vm::new();
    let f = load(&vm, f);
    vm.globals().set("f", &f).unwrap();
    let sum: i64 = vm
        .load("local t = f(4) return #t + t.x + t[1] + t[2]")
        .eval()
        .unwrap();
    assert_eq!(sum, 11);
    let Error::Runtime(e) = f.call::<Value>(()).unwrap_err() else {
        panic!("an error of the function")
    };
    assert_eq!(e.message, "f:7: attempt to index a nil value (local 'a')");
}

/// `local x <close> = a; return b()`, the call being no tail call.
#[test]
fn variables_to_be_closed() {
    let mut f = FunctionBuilder::new("=f", 2, 0);
    f.emit(i(Op::MOVE, 2, 0, 0), 2);
    f.emit(i(Op::TBC, 2, 0, 0), 3);
    f.emit(i(Op::MOVE, 3, 1, 0), 3);
    let site = f.call_site();
    f.emit(d(Op::CALL, 3, 1, 2, site), 3);
    f.emit(i(Op::RETURN1, 3, 0, 0), 4);
    let vm = Vm::builder().gc_stress(true).build().unwrap();
    vm.globals().set("f", load(&vm, f)).unwrap();
    let log: String = vm
        .load(
            r#"
            local log = {}
            local x = setmetatable({}, {__close = function(_, e) log[#log + 1] = "closed " .. tostring(e) end})
            local result = f(x, function() log[#log + 1] = "called" return "result" end)
            local _, e = pcall(f, x, function() error("failed", 0) end)
            return table.concat(log, ", ") .. "; " .. result .. ", " .. e
            "#,
        )
        .eval()
        .unwrap();
    assert_eq!(log, "called, closed nil, closed failed; result, failed");
}

#[test]
fn tail_calls() {
    let mut f = FunctionBuilder::new("=f", 2, 0);
    let site = f.call_site();
    f.emit(d(Op::TAILCALL, 0, 2, 0, site), 0);
    f.emit(i(Op::RETURN, 0, 0, 0), 0);
    let vm = Vm::new();
    let f = load(&vm, f);
    let double: Function = vm.load("function(x) return x, x end").eval().unwrap();
    assert_eq!(f.call::<(i64, i64)>((double, 4)).unwrap(), (4, 4));
}

#[test]
fn loops_beyond_the_sites_share_one_that_learns_nothing() {
    let mut f = FunctionBuilder::new("=f", 0, 0);
    let mut last = 0;
    for _ in 0..65_600 {
        let (head, end) = (f.label(), f.label());
        f.emit(i(Op::TRUE, 0, 0, 0), 0);
        f.place(head);
        f.emit_jump(i(Op::JF, 0, 0, 0), end, 1);
        f.emit(i(Op::FALSE, 0, 0, 0), 0);
        last = f.loop_site();
        f.emit_jump(Instr::with_bc(Op::LOOP, 0, last, 0), head, 1);
        f.place(end);
    }
    f.emit(i(Op::RETURN0, 0, 0, 0), 0);
    assert_eq!(last, u16::MAX);
    let vm = Vm::builder().hot_threshold(1).build().unwrap();
    load(&vm, f).call::<()>(()).unwrap();
}

#[test]
fn descriptions_of_lua_functions_can_be_loaded_again() {
    let source = r#"
        local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
        local t = {fib(5), x = 1.5, fib(10)}
        for _, v in ipairs(t) do t.x = t.x + v end
        return t.x .. "!"
    "#;
    let vm = Vm::new();
    let f = vm.load(source).into_function().unwrap();
    let before = f.description().unwrap().unwrap();
    assert_eq!(f.call::<String>(()).unwrap(), "61.5!");
    // The code has specialised by now, which must not show.
    let after = f.description().unwrap().unwrap();
    assert_eq!(before, after);
    drop(vm);
    let vm = Vm::new();
    let again = vm.load_bytecode(&after).unwrap();
    assert_eq!(again.call::<String>(()).unwrap(), "61.5!");
    assert_eq!(again.description().unwrap().unwrap(), before);
    assert!(
        vm.load("print")
            .eval::<Function>()
            .unwrap()
            .description()
            .unwrap()
            .is_none()
    );
}

// What must be refused.

fn refused(edit: impl FnOnce(&mut FunctionDescription)) -> String {
    let mut f = FunctionBuilder::new("=f", 1, 3);
    let key = f.field("key");
    f.captured("_ENV", CellSource::Captured(0));
    f.emit(d(Op::GETFIELD, 1, 0, 0, key), 1);
    f.emit(i(Op::RETURN1, 1, 0, 0), 2);
    let mut description = f.finish().unwrap();
    let vm = Vm::new();
    vm.load_bytecode(&description)
        .expect("it is right before the edit");
    edit(&mut description);
    match vm.load_bytecode(&description) {
        Err(Error::Bytecode(e)) => e.to_string(),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn wrong_descriptions_are_refused() {
    type Damage = Box<dyn FnOnce(&mut FunctionDescription)>;
    let cases: Vec<(&str, Damage)> = vec![
        ("function of line 3: no code", Box::new(|f| f.code.clear())),
        ("off the end", Box::new(|f| f.code.truncate(1))),
        (
            "instruction 0: no register 2",
            Box::new(|f| f.code[0].instr = i(Op::MOVE, 2, 0, 0)),
        ),
        (
            "register 0 may not be initialised",
            Box::new(|f| f.params = 0),
        ),
        ("no field cache 0", Box::new(|f| f.fields.clear())),
        (
            "the key of a field cache is too long",
            Box::new(|f| f.fields[0] = vec![b'x'; 41]),
        ),
        (
            "more sites than instructions",
            Box::new(|f| f.call_sites = u32::MAX),
        ),
        (
            "more sites than instructions",
            Box::new(|f| f.loop_sites = u32::MAX),
        ),
        ("a live count exceeds", Box::new(|f| f.code[0].live = 3)),
        ("counts as live", Box::new(|f| f.code[0].live = 2)),
        (
            "too many upvalues",
            Box::new(|f| f.captured = vec![f.captured[0].clone(); 256]),
        ),
        (
            "a specialised instruction",
            Box::new(|f| f.code[0].instr = f.code[0].instr.with_op(Op::GETFIELD_INLINE)),
        ),
        (
            "out of the code",
            Box::new(|f| f.code[0].instr = d(Op::JMP, 0, 0, 0, i32::MAX as u32)),
        ),
        (
            "nested too deep",
            Box::new(|f| {
                for _ in 0..300 {
                    let inner = f.clone();
                    f.functions = vec![inner];
                }
            }),
        ),
        (
            "function of line 9, instruction 0",
            Box::new(|f| {
                let mut inner = f.clone();
                inner.line_defined = 9;
                inner.code[0].instr = i(Op::GETUP, 1, 1, 0);
                f.functions = vec![inner];
            }),
        ),
    ];
    for (message, edit) in cases {
        let e = refused(edit);
        assert!(e.contains(message), "{e} instead of {message}");
    }
}

#[test]
fn builders_report_mistakes() {
    let build = |edit: fn(&mut FunctionBuilder, Label)| {
        let mut f = FunctionBuilder::new("=f", 0, 5);
        let label = f.label();
        edit(&mut f, label);
        f.finish().unwrap_err()
    };
    let error = |message, line| BuildError { message, line };
    assert_eq!(
        build(|f, label| {
            f.set_line(6);
            f.emit_jump(i(Op::JMP, 0, 0, 0), label, 0);
        }),
        error("a jump to a label without a place", 6)
    );
    assert_eq!(
        build(|f, label| {
            f.place(label);
            f.place(label);
        }),
        error("a label has been placed twice", 5)
    );
    assert_eq!(
        build(|f, _| {
            f.emit(i(Op::TRUE, 255, 0, 0), 0);
        }),
        error("function needs too many registers", 5)
    );
    assert_eq!(build(|f, _| f.end_local(0)), error("no such local", 5));
}

// Random descriptions.

const PROGRAMS: [&str; 6] = [
    "local a, b = ... for i = 1, 3 do a = (a or 0) + i end return a, b",
    "local t = {1, 2, x = 'k', ...} for k, v in pairs(t) do t[k] = v .. 'x' end return #t, t.x, t[1]",
    "local n = 0 local function up(...) n = n + 1 if n < 5 then return up(n, ...) end return ... end return up(1), n",
    "local ok, e = pcall(function(...) local x <close> = setmetatable({}, {__close = function() g = 1 end}) return ... + 1 end, ...)
     return ok, tostring(e), g",
    "local co = coroutine.wrap(function(a) local i = 0 while i < 3 do i = i + 1 a = coroutine.yield(a) end return {a} end)
     local s = 'r' repeat local v = co(s) s = tostring(v) until not v or #s > 9 return s",
    "local c = {} c.__index = c function c.m(s, v) s.v = v return s end local o = setmetatable({}, c)
     for i = 1, 3 do local f = function() i = i + 1 return o:m(i) end if f().v == 2 then goto on end o.w = -i // 2 ::on:: end
     return o.v < 9 and o.w ~= nil, not c",
];

/// A function that changes all variables of its callers that it can get at, and a table that calls it at every
/// opportunity.
const MEDDLER: &str = r#"
    local function meddle(...)
        for level = 2, 3 do
            for n = -3, 9 do
                if debug.getinfo(level, "l") and debug.getlocal(level, n) then
                    debug.setlocal(level, n, n % 2 == 0 and n or {n})
                end
            end
        end
        return ...
    end
    local meta = {}
    for event in ("index newindex call add sub mul div mod pow idiv band bor bxor shl shr unm bnot len concat eq lt le close")
        :gmatch("%a+") do
        meta["__" .. event] = meddle
    end
    return meddle, setmetatable({}, meta)
"#;

fn machine() -> Vm {
    Vm::builder()
        .libraries(Libraries::BASE | Libraries::STRING | Libraries::COROUTINE | Libraries::DEBUG)
        .memory_limit(8 << 20)
        .output(Box::new(io::sink()))
        .gc_stress(true)
        .hot_threshold(1)
        .build()
        .unwrap()
}

/// Runs `f`, cancelling what goes on for long, again and again, since closing variables may take as long.
fn briefly<R>(cancel: CancelHandle, f: impl FnOnce() -> R) -> R {
    thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            while wait.recv_timeout(Duration::from_millis(30)) == Err(RecvTimeoutError::Timeout) {
                cancel.cancel();
            }
        });
        let result = f();
        drop(done);
        result
    })
}

/// Loads a description and runs it; whether it was accepted.
fn try_out(description: &FunctionDescription) -> bool {
    let vm = machine();
    let f = match vm.load_bytecode(description) {
        Ok(f) => f,
        Err(Error::Bytecode(_) | Error::Memory) => return false,
        Err(e) => panic!("{e}"),
    };
    let (meddle, t): (Value, Value) = vm.load(MEDDLER).eval().unwrap();
    briefly(vm.cancel_handle(), || {
        // Any error will do.
        let _: Result<Variadic<Value>> = f.call((1, "text", t.clone(), &f, 2.5));
        let _: Result<Variadic<Value>> =
            f.call((meddle.clone(), t.clone(), t.clone(), 3, meddle.clone()));
        let _ = vm.collect_garbage();
    });
    true
}

#[derive(Clone, Debug)]
enum Edit {
    Operand(u8, u8),
    Wide(i8),
    Op(usize),
    Live(i8),
    Remove,
    Repeat,
    Swap,
    Registers(i8),
    Params(u8),
    Vararg,
    Captured(u8, bool),
    Local(u8, u8, u8),
    Constant(u8, bool),
}

fn edits() -> impl Strategy<Value = (usize, usize, Edit)> {
    let edit = prop_oneof![
        4 => (0..3u8, 0..12u8).prop_map(|(which, to)| Edit::Operand(which, to)),
        2 => (-4..5i8).prop_map(Edit::Wide),
        4 => (0..Op::ALL.len()).prop_map(Edit::Op),
        2 => (-3..4i8).prop_map(Edit::Live),
        2 => Just(Edit::Remove),
        1 => Just(Edit::Repeat),
        2 => Just(Edit::Swap),
        1 => (-3..4i8).prop_map(Edit::Registers),
        1 => (0..6u8).prop_map(Edit::Params),
        1 => Just(Edit::Vararg),
        1 => (0..6u8, any::<bool>()).prop_map(|(n, outer)| Edit::Captured(n, outer)),
        2 => (0..10u8, 0..20u8, 0..20u8).prop_map(|(r, start, end)| Edit::Local(r, start, end)),
        1 => (0..4u8, any::<bool>()).prop_map(|(n, text)| Edit::Constant(n, text)),
    ];
    (0..4usize, 0..64usize, edit)
}

/// Changes the function that is `which`-th in the description, near instruction `at`.
fn apply(f: &mut FunctionDescription, which: usize, at: usize, edit: &Edit) {
    if which > 0 && !f.functions.is_empty() {
        let n = (which - 1) % f.functions.len();
        return apply(&mut f.functions[n], which - 1, at, edit);
    }
    let Some(at) = at.checked_rem(f.code.len()) else {
        return;
    };
    let len = f.code.len();
    let line = f.code[at];
    let instr = line.instr;
    let (a, b, c) = (instr.a() as u8, instr.b() as u8, instr.c() as u8);
    match *edit {
        Edit::Operand(0, to) => f.code[at].instr = d(instr.op(), to, b, c, instr.d()),
        Edit::Operand(1, to) => f.code[at].instr = d(instr.op(), a, to, c, instr.d()),
        Edit::Operand(_, to) => f.code[at].instr = d(instr.op(), a, b, to, instr.d()),
        Edit::Wide(by) => f.code[at].instr = instr.with_d(instr.d().wrapping_add_signed(by.into())),
        Edit::Op(n) => f.code[at].instr = instr.with_op(Op::ALL[n].general()),
        Edit::Live(by) => f.code[at].live = line.live.saturating_add_signed(by),
        Edit::Remove => drop(f.code.remove(at)),
        Edit::Repeat => f.code.insert(at, line),
        Edit::Swap => f.code.swap(at, (at + 1) % len),
        Edit::Registers(by) => f.registers = f.registers.saturating_add_signed(by),
        Edit::Params(n) => f.params = n,
        Edit::Vararg => f.vararg = !f.vararg,
        Edit::Captured(n, outer) => {
            let source = if outer {
                CellSource::Captured(n)
            } else {
                CellSource::Register(n)
            };
            if let Some(var) = f.captured.last_mut() {
                var.source = source;
            }
        }
        Edit::Local(register, start, end) => {
            if let Some(local) = f.locals.first_mut() {
                (local.register, local.start, local.end) = (register, start.into(), end.into());
            }
        }
        Edit::Constant(n, text) => {
            let constant = if text {
                Constant::String(vec![n])
            } else {
                Constant::Integer(n.into())
            };
            if let Some(old) = f.constants.first_mut() {
                *old = constant;
            }
        }
    }
}

/// Runs `cases` random descriptions; at least one in `rate` must be accepted for the test to mean something.
fn survives<S: Strategy>(
    cases: u32,
    rate: u32,
    strategy: S,
    describe: impl Fn(S::Value) -> FunctionDescription,
) {
    let accepted = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&strategy, |value| {
            accepted.set(accepted.get() + try_out(&describe(value)) as u32);
            Ok(())
        })
        .unwrap();
    assert!(
        accepted.get() >= cases / rate,
        "only {} of {cases} were accepted",
        accepted.get()
    );
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300)
}

#[test]
fn changed_functions_do_no_harm() {
    let vm = Vm::new();
    let functions: Vec<_> = PROGRAMS
        .iter()
        .map(|source| {
            vm.load(source)
                .into_function()
                .unwrap()
                .description()
                .unwrap()
                .unwrap()
        })
        .collect();
    let changes = (0..functions.len(), proptest::collection::vec(edits(), 1..4));
    survives(cases(), 12, changes, |(n, edits)| {
        let mut f = functions[n].clone();
        for (which, at, edit) in &edits {
            apply(&mut f, *which, *at, edit);
        }
        f
    });
}

/// Random instructions over four initialised registers and eight in all, each with sites of its own.
#[test]
fn random_functions_do_no_harm() {
    let instruction = (0..Op::ALL.len(), 0..8u8, 0..5u8, 0..5u8, 0..4u32, 0..7usize);
    let code = proptest::collection::vec(instruction, 1..8);
    survives(4 * cases(), 60, code, |code| {
        let mut f = FunctionBuilder::new("=random", 4, 0);
        f.set_vararg();
        f.reserve_registers(8);
        f.captured("_ENV", CellSource::Captured(0));
        f.constant(Constant::Integer(3));
        f.constant(Constant::Float(0.5));
        f.constant(Constant::String(b"text".to_vec()));
        for (n, a, b, c, wide, live) in code {
            let op = Op::ALL[n].general();
            let format = op.format();
            let operand = |role, n: u8| match role {
                Role::None | Role::Captured => 0,
                _ => n,
            };
            let wide = match format.d {
                Wide::None | Wide::Proto => 0,
                Wide::Int | Wide::Constant | Wide::Number => wide % 3,
                Wide::Jump if matches!(op, Op::LOOP | Op::FORLOOP | Op::TFORLOOP) => !wide,
                Wide::Jump => wide % 2,
                Wide::Field => f.field("text"),
                Wide::Call => f.call_site(),
                Wide::Table => f.table_site(TableSize::default()),
            };
            let (a, b, c) = (
                operand(format.a, a),
                operand(format.b, b),
                operand(format.c, c),
            );
            let instr = match format.b {
                Role::Loop => Instr::with_bc(op, a, f.loop_site(), wide),
                Role::Constant => Instr::with_bc(op, a, u16::from(b) % 3, wide),
                Role::Imm => Instr::with_bc(op, a, b.into(), wide),
                _ => d(op, a, b, c, wide),
            };
            f.emit(instr, live);
        }
        f.emit(i(Op::RETURN0, 0, 0, 0), 0);
        f.finish().unwrap()
    });
}

/// Extra arguments may go to a variable below registers that are in use.
#[test]
fn extra_arguments_leave_the_registers_above_alone() {
    let vm = Vm::new();
    let source = "local function f(t, ...) local a, b a, b = #t + 1, ... return a, b end return f({1, 2}, 5)";
    assert_eq!(vm.load(source).call::<(i64, i64)>(()).unwrap(), (3, 5));
    let f = vm.load(source).into_function().unwrap();
    let again = vm
        .load_bytecode(&f.description().unwrap().unwrap())
        .unwrap();
    assert_eq!(again.call::<(i64, i64)>(()).unwrap(), (3, 5));
}

/// The binary chunks of the programs, stripped and not.
fn chunks() -> Vec<Vec<u8>> {
    let vm = Vm::new();
    let dump = |source: &&str| {
        let f = vm.load(source).into_function().unwrap();
        [false, true].map(|strip| f.dump(strip).unwrap().unwrap())
    };
    PROGRAMS.iter().flat_map(dump).collect()
}

#[test]
fn a_chunk_is_what_was_dumped() {
    let vm = Vm::new();
    for source in PROGRAMS {
        let f = vm.load(source).into_function().unwrap();
        let chunk = f.dump(false).unwrap().unwrap();
        let again = vm.load(&chunk).into_function().unwrap();
        assert_eq!(again.description().unwrap(), f.description().unwrap());
        assert_eq!(again.dump(false).unwrap().unwrap(), chunk);
    }
    assert!(
        vm.load("return print")
            .eval::<Function>()
            .unwrap()
            .dump(true)
            .unwrap()
            .is_none()
    );
}

#[test]
fn changed_chunks_do_no_harm() {
    let chunks = chunks();
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4);
    let mut runner = TestRunner::new(Config {
        cases: cases(),
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&(0..chunks.len(), changes), |(n, changes)| {
            let mut chunk = chunks[n].clone();
            for (at, byte) in changes {
                let at = at.index(chunk.len());
                chunk[at] = byte;
            }
            let vm = machine();
            match vm.load(&chunk).name("=chunk").into_function() {
                Ok(f) => assert!(try_out(&f.description().unwrap().unwrap())),
                Err(Error::Memory) => {}
                Err(Error::Syntax { message, .. }) => {
                    let is_source = chunk[0] != 0x1b;
                    assert!(
                        is_source || message.starts_with("chunk: bad binary format ("),
                        "{message}"
                    );
                }
                Err(e) => panic!("{e}"),
            }
            Ok(())
        })
        .unwrap();
}
