//! Tests: every pure micro-op against the definitions that tier 1 uses, superblocks written by hand, exits and call-outs.

use perilune_uops::{MicroOp, Operation, Type};
use proptest::prelude::*;

use super::{LowerError, lower, run};
use crate::bytecode::Op;
use crate::bytecode::proto::Proto;
use crate::runtime::coroutine::Continuation;
use crate::runtime::function::Closure;
use crate::runtime::number;
use crate::runtime::object::Gc;
use crate::runtime::value::Value;
use crate::stdlib::load::{ANY, load};
use crate::stdlib::{self, Libraries};
use crate::tier1::call::{Outcome, Return};
use crate::tier1::{Arith, Raised, State, arith_numbers, execute, primitive_order};
use crate::tier2::Engine;
use crate::tier2::executor::{Anchor, Code, Executor, Parts};
use crate::tier2::place::Place;
use crate::tier2::superblock::{
    Frame, FrameId, Loop, NO_CALL_SITE, Node, Object, ObjectId, ObjectKind, Ref, Slot, SnapshotId, Superblock,
};

/// A VM with the libraries, whose collector leaves alone what a test holds.
pub(in crate::tier2) fn vm() -> Box<State> {
    let mut st = State::new().unwrap();
    stdlib::open(&mut st, Libraries::ALL).unwrap();
    st.tier2.engine = Engine::Uops;
    st.rt.heap.stop();
    st
}

/// The value of a Lua expression.
pub(in crate::tier2) fn eval(st: &mut State, source: &str) -> Value {
    let source = format!("return {source}");
    let Ok(chunk) = load(st, source.as_bytes(), b"=test", ANY).unwrap() else { panic!("{source}") };
    let (at, n) = st.call_value(Value::closure(chunk), &[]).unwrap();
    assert_eq!(n, 1);
    // SAFETY: a result.
    unsafe { Value::load(st.slot(at)) }
}

pub(in crate::tier2) fn function(st: &mut State, source: &str) -> Gc<Closure> {
    eval(st, source).as_closure().unwrap()
}

/// The position of an instruction of a function.
fn find(proto: Gc<Proto>, op: Op) -> u32 {
    proto.info.code.iter().position(|i| i.op().general() == op).expect("the function has such an instruction") as u32
}

/// A superblock that is being written by hand; its first frame is `closure`'s.
struct Builder {
    sb: Superblock,
}

const ENTRY: FrameId = FrameId(0);

impl Builder {
    fn new(closure: Gc<Closure>) -> Builder {
        let mut sb = Superblock::default();
        let proto = proto_object(&mut sb, closure.proto);
        sb.frames.push(Frame {
            caller: None,
            proto,
            base: 1,
            registers: closure.proto.registers as u16,
            return_pc: 0,
            call_site: NO_CALL_SITE,
            wanted: 0,
            continuation: Continuation::Call,
            flags: 0,
            extra_args: 0,
            result: 0,
            aux: 0,
        });
        Builder { sb }
    }

    /// Inlines a call of `callee` at the call instruction at `pc` of `caller`.
    fn inline(&mut self, caller: FrameId, pc: u32, callee: Gc<Closure>) -> FrameId {
        let outer = *self.sb.frame(caller);
        let proto: Gc<Proto> = Gc::from_addr(self.sb.object(outer.proto).addr);
        let call = proto.info.code[pc as usize];
        assert_eq!(call.op().general(), Op::CALL);
        let object = proto_object(&mut self.sb, callee.proto);
        self.sb.frames.push(Frame {
            caller: Some(caller),
            proto: object,
            base: outer.base + call.a() as u16 + 1,
            registers: callee.proto.registers as u16,
            return_pc: pc + 1,
            call_site: call.d(),
            wanted: call.c() as i16 - 1,
            continuation: Continuation::Call,
            flags: 0,
            extra_args: 0,
            result: outer.base + call.a() as u16,
            aux: 0,
        });
        FrameId(self.sb.frames.len() as u16 - 1)
    }

    fn node(&mut self, op: MicroOp, inputs: &[Ref], operands: &[u64]) -> Ref {
        self.sb.push(Node::new(op, inputs, operands))
    }

    fn load(&mut self, slot: Slot, ty: Type) -> Ref {
        self.sb.push(Node::new(MicroOp::LOAD, &[], &[slot as u64]).with_type(ty))
    }

    fn int(&mut self, i: i64) -> Ref {
        self.sb.push(Node::int(i))
    }

    /// A node with an exit to `pc` of the first frame.
    fn guard(&mut self, op: MicroOp, inputs: &[Ref], operands: &[u64], pc: u32, slots: &[(Slot, Ref)]) -> Ref {
        let exit = self.sb.snapshot(ENTRY, pc, None, slots.iter().copied());
        self.sb.push(Node::new(op, inputs, operands).with_exit(exit))
    }

    fn exit(&mut self, pc: u32, slots: &[(Slot, Ref)]) {
        self.guard(MicroOp::EXIT, &[], &[], pc, slots);
    }

    /// Begins the loop: `PHI`s of these values.
    fn begin_loop(&mut self, values: &[Ref]) -> Vec<Ref> {
        let entry = self.sb.snapshot(ENTRY, 0, None, []);
        let head = self.node(MicroOp::LOOP, &[], &[]);
        self.sb.looping = Some(Loop { head, back: Vec::new(), entry, label: SnapshotId::NONE, counters: Vec::new() });
        let phi = |&v: &Ref| {
            let ty = self.sb.type_of(v);
            self.sb.push(Node::new(MicroOp::PHI, &[v], &[]).with_type(ty))
        };
        values.iter().map(phi).collect()
    }

    fn back(&mut self, values: &[Ref]) {
        self.node(MicroOp::BACK, &[], &[]);
        self.sb.looping.as_mut().unwrap().back = values.to_vec();
    }
}

fn proto_object(sb: &mut Superblock, proto: Gc<Proto>) -> ObjectId {
    sb.intern(Object { kind: ObjectKind::Proto, addr: proto.addr() })
}

/// Calls `closure` up to its first instruction.
pub(in crate::tier2) fn call(st: &mut State, closure: Gc<Closure>, args: &[Value]) {
    let func = st.free_index();
    st.reserve(func + 1 + args.len() as u32).unwrap();
    // SAFETY: there is room.
    unsafe {
        Value::store(st.slot(func), Value::closure(closure));
        for (i, v) in args.iter().enumerate() {
            Value::store(st.slot(func + 1 + i as u32), *v);
        }
    }
    st.push_closure(closure, func, args.len() as u32, Return::to(Continuation::Host, 0)).unwrap();
}

/// Makes an executor of a superblock.
pub(in crate::tier2) fn executor(st: &mut State, closure: Gc<Closure>, sb: Superblock) -> *const Executor {
    let code = match st.tier2.engine {
        #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
        Engine::Jit => Code::Machine(st.tier2.jit.compile(&sb, &st.rt.shapes, None).unwrap()),
        _ => Code::Uops(lower(&sb).unwrap()),
    };
    let site = &raw const closure.proto.entry;
    let parts = Parts {
        anchor: Anchor::Site(site),
        place: Place { proto: Some(closure.proto), pc: 0 },
        parent: std::ptr::null(),
        generation: 0,
        superblock: sb,
        code,
        assumptions: Vec::new(),
        instructions: (0, 0),
        details: None,
    };
    st.tier2.graph.add(&mut st.rt, parts).unwrap()
}

/// Runs a superblock in a call of `closure`.
fn enter(st: &mut State, closure: Gc<Closure>, args: &[Value], sb: Superblock) -> Result<Outcome, Raised> {
    let executor = executor(st, closure, sb);
    call(st, closure, args);
    let result = crate::tier2::run(st, executor);
    assert_eq!(st.tier2.active, 0);
    assert!(st.tier2.current.is_null());
    result
}

/// The register of the current frame.
fn register(st: &State, r: u32) -> Value {
    // SAFETY: a register.
    unsafe { Value::load(st.slot(st.frame().base + r)) }
}

/// The instruction at which the current frame stands.
pub(in crate::tier2) fn pc(st: &State) -> u32 {
    // SAFETY: a bytecode function lies below its base.
    let closure = unsafe { Value::load(st.slot(st.frame().base - 1)) }.as_closure().unwrap();
    // SAFETY: the program counter points into its code.
    unsafe { st.frame().pc.offset_from(closure.proto.code) as u32 }
}

/// Runs what the current frame still has to do, in tier 1, and returns its result.
fn finish(st: &mut State) -> Value {
    assert_eq!(execute(st), Ok(Outcome::Exit));
    // SAFETY: the results end at the top.
    unsafe { Value::load(st.top.sub(1)) }
}

fn show(v: Value) -> String {
    format!("{} {:#x}", v.tag().type_name(), v.payload())
}

#[track_caller]
fn assert_same(x: Value, y: Value) {
    let nan = |v: Value| v.as_float().is_some_and(f64::is_nan);
    assert!(x.same_bits(y) || nan(x) && nan(y), "{} is not {}", show(x), show(y));
}

/// The value of a micro-op for values in the arguments, which is the same in all engines.
fn value_of(op: MicroOp, args: &[Value], types: &[Type]) -> Value {
    let value = value_in(Engine::Uops, op, args, types);
    if Engine::Jit.is_built_in() {
        assert_same(value_in(Engine::Jit, op, args, types), value);
    }
    value
}

fn value_in(engine: Engine, op: MicroOp, args: &[Value], types: &[Type]) -> Value {
    let mut st = vm();
    st.tier2.engine = engine;
    let f = function(&mut st, "function(a, b, c) return a end");
    let mut b = Builder::new(f);
    let inputs: Vec<Ref> = types.iter().enumerate().map(|(i, &ty)| b.load(i as u16 + 1, ty)).collect();
    let z = b.guard(op, &inputs, &[], 1, &[]);
    if op.declaration().exit == perilune_uops::Exit::None {
        b.sb.nodes[z.index()].exit = SnapshotId::NONE;
    }
    b.exit(0, &[(1, z)]);
    let outcome = enter(&mut st, f, args, b.sb);
    assert_eq!(outcome, Ok(Outcome::Continue));
    if pc(&st) == 1 { Value::NIL } else { register(&st, 0) }
}

fn ints() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -70..70i64, Just(i64::MIN), Just(i64::MAX), Just(-1), Just(0)]
}

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        (-9..9i32).prop_map(|i| i as f64 / 2.0),
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(i64::MIN as f64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn integers_are_computed_as_in_tier_1(x in ints(), y in ints()) {
        use MicroOp::*;
        let args = [Value::int(x), Value::int(y)];
        for (op, arith) in [
            (ADD_I, Arith::Add), (SUB_I, Arith::Sub), (MUL_I, Arith::Mul), (AND_I, Arith::BAnd), (OR_I, Arith::BOr),
            (XOR_I, Arith::BXor), (SHL_I, Arith::Shl), (SHR_I, Arith::Shr), (IDIV_I, Arith::IDiv), (MOD_I, Arith::Mod),
        ] {
            if let Ok(expected) = arith_numbers(arith, args[0], args[1]) {
                assert_same(value_of(op, &args, &[Type::Int; 2]), expected);
            }
        }
        for (op, arith) in [(NEG_I, Arith::Unm), (NOT_I, Arith::BNot)] {
            assert_same(value_of(op, &args, &[Type::Int]), arith_numbers(arith, args[0], args[0]).unwrap());
        }
        let expected = [
            (EQ_I, Value::bool(x == y)), (LT_I, Value::bool(x < y)), (LE_I, Value::bool(x <= y)),
            (LT_U, Value::bool((x as u64) < y as u64)), (MIN_I, Value::int(x.min(y))), (MAX_I, Value::int(x.max(y))),
            (RAW_EQ, Value::bool(x == y)),
        ];
        for (op, expected) in expected {
            assert_same(value_of(op, &args, &[Type::Int; 2]), expected);
        }
        assert_same(value_of(ABS_I, &args, &[Type::Int]), Value::int(x.wrapping_abs()));
        assert_same(value_of(INT_TO_FLOAT, &args, &[Type::Int]), Value::float(x as f64));
        let exact = number::exact_float(x).map_or(Value::NIL, Value::float);
        assert_same(value_of(EXACT_FLOAT, &args, &[Type::Int]), exact);
        for b in [false, true] {
            let args = [Value::bool(b), args[0], args[1]];
            let expected = if b { args[1] } else { args[2] };
            assert_same(value_of(SELECT_I, &args, &[Type::Bool, Type::Int, Type::Int]), expected);
            let mixed = [args[0], Value::float(y as f64), args[2]];
            let expected = if b { mixed[1] } else { mixed[2] };
            assert_same(value_of(SELECT, &mixed, &[Type::Bool, Type::Float, Type::Int]), expected);
            assert_same(value_of(SELECT, &mixed, &[Type::Bool, Type::Tagged, Type::Tagged]), expected);
        }
    }

    #[test]
    fn floats_are_computed_as_in_tier_1(x in floats(), y in floats(), w in floats()) {
        use MicroOp::*;
        let args = [Value::float(x), Value::float(y), Value::float(w)];
        for (op, arith) in [
            (ADD_F, Arith::Add), (SUB_F, Arith::Sub), (MUL_F, Arith::Mul), (DIV_F, Arith::Div), (POW_F, Arith::Pow),
            (IDIV_F, Arith::IDiv), (MOD_F, Arith::Mod),
        ] {
            assert_same(value_of(op, &args, &[Type::Float; 2]), arith_numbers(arith, args[0], args[1]).unwrap());
        }
        let expected = [
            (EQ_F, Value::bool(x == y)), (LT_F, Value::bool(x < y)), (LE_F, Value::bool(x <= y)),
            (MIN_F, Value::float(if y < x { y } else { x })), (MAX_F, Value::float(if x < y { y } else { x })),
        ];
        for (op, expected) in expected {
            assert_same(value_of(op, &args, &[Type::Float; 2]), expected);
        }
        let expected = [
            (NEG_F, Value::float(-x)), (ABS_F, Value::float(x.abs())), (SQRT_F, Value::float(x.sqrt())),
            (FLOOR_F, Value::float(x.floor())), (CEIL_F, Value::float(x.ceil())),
            (FLOAT_TO_INT, number::float_to_int_exact(x).map_or(Value::NIL, Value::int)),
        ];
        for (op, expected) in expected {
            assert_same(value_of(op, &args, &[Type::Float]), expected);
        }
        let goes_on = if w > 0.0 { x <= y } else { y <= x };
        assert_same(value_of(FOR_GOES_ON, &args, &[Type::Float; 3]), Value::bool(goes_on));
    }

    #[test]
    fn comparisons_decide_the_same_in_their_guards(x in ints(), y in ints(), f in floats(), g in floats(), same in any::<bool>()) {
        use MicroOp::*;
        let y = if same { x } else { y };
        let mut st = vm();
        let function = function(&mut st, "function(a, b) return a end");
        for op in [EQ_I, LT_I, LE_I, LT_U, EQ_F, LT_F, LE_F] {
            let float = op.declaration().inputs[0] == Type::Float;
            let args = if float { [Value::float(f), Value::float(g)] } else { [Value::int(x), Value::int(y)] };
            let types = [op.declaration().inputs[0]; 2];
            let expected = value_of(op, &args, &types).tag() == Value::TRUE.tag();
            for (guard, sense) in [(GUARD_TRUE, true), (GUARD_FALSE, false)] {
                let mut b = Builder::new(function);
                let (p, q) = (b.load(1, types[0]), b.load(2, types[1]));
                let c = b.node(op, &[p, q], &[]);
                b.guard(guard, &[c], &[], 1, &[]);
                b.exit(0, &[]);
                // The test and its guard are one instruction.
                assert_eq!(lower(&b.sb).unwrap().count(), 4);
                enter(&mut st, function, &args, b.sb).unwrap();
                assert_eq!(pc(&st) == 0, expected == sense, "{op} {guard} {} {}", show(args[0]), show(args[1]));
                st.pop_record();
            }
        }
    }
}

/// One value of each type, by the type that it has unboxed.
fn samples(st: &mut State) -> Vec<(Type, Value)> {
    let text = st.string_value(b"text").unwrap();
    let cell = st.new_cell(Value::int(9), crate::runtime::function::CellState::Constant).unwrap();
    let userdata = eval(st, "io.stdout");
    vec![
        (Type::Int, Value::int(-5)),
        (Type::Float, Value::float(2.5)),
        (Type::Bool, Value::TRUE),
        (Type::Bool, Value::FALSE),
        (Type::Table, eval(st, "{}")),
        (Type::String, text),
        (Type::Closure, eval(st, "function() end")),
        (Type::Native, eval(st, "print")),
        (Type::Coroutine, eval(st, "coroutine.create(print)")),
        (Type::Userdata, userdata),
        (Type::Cell, Value::cell(cell)),
        (Type::Tagged, Value::NIL),
    ]
}

#[test]
fn values_of_every_type_come_back() {
    let mut st = vm();
    let f = function(&mut st, "function(a, b) return a, b end");
    for (ty, v) in samples(&mut st) {
        let mut b = Builder::new(f);
        let (unboxed, tagged) = (b.load(1, ty), b.load(1, Type::Tagged));
        b.exit(3, &[(1, tagged), (2, unboxed)]);
        enter(&mut st, f, &[v, Value::int(0)], b.sb).unwrap();
        assert_eq!(pc(&st), 3);
        assert_same(register(&st, 0), v);
        assert_same(register(&st, 1), v);
        st.pop_record();
    }
}

#[test]
fn guards_of_types_let_their_types_through() {
    use MicroOp::*;
    let mut st = vm();
    let f = function(&mut st, "function(a, b) return a, b end");
    let guards = [
        (GUARD_INT, Type::Int),
        (GUARD_FLOAT, Type::Float),
        (GUARD_BOOL, Type::Bool),
        (GUARD_STRING, Type::String),
        (GUARD_TABLE, Type::Table),
        (GUARD_CLOSURE, Type::Closure),
        (GUARD_NATIVE, Type::Native),
        (GUARD_CELL, Type::Cell),
        (GUARD_USERDATA, Type::Userdata),
        (GUARD_COROUTINE, Type::Coroutine),
    ];
    for (ty, v) in samples(&mut st) {
        for (guard, passes) in guards {
            // Sunk into the guard, tagged, and of a known type.
            for way in 0..3 {
                let mut b = Builder::new(f);
                let x = b.load(1, if way == 2 { ty } else { Type::Tagged });
                if way == 1 {
                    b.guard(GUARD_NOT_NIL, &[x], &[], 1, &[]);
                }
                let z = b.guard(guard, &[x], &[], 1, &[(2, x)]);
                b.exit(0, &[(2, z)]);
                enter(&mut st, f, &[v, Value::NIL], b.sb).unwrap();
                assert_eq!(pc(&st) == 0, ty == passes, "{guard} {ty:?} {way}");
                if way != 1 || ty != Type::Tagged {
                    assert_same(register(&st, 1), v);
                }
                st.pop_record();
            }
        }
        for (op, holds) in [
            (GUARD_NIL, v.is_nil()),
            (GUARD_NOT_NIL, !v.is_nil()),
            (GUARD_NEXT, false),
        ] {
            let mut b = Builder::new(f);
            let x = b.load(1, ty);
            b.guard(op, &[x], &[], 1, &[]);
            b.exit(0, &[]);
            enter(&mut st, f, &[v, Value::NIL], b.sb).unwrap();
            assert_eq!(pc(&st) == 0, holds, "{op} {ty:?}");
            st.pop_record();
        }
        assert_same(value_of(TRUTH, &[v], &[ty]), Value::bool(!v.is_falsy()));
        assert_same(value_of(IS_NIL, &[v], &[ty]), Value::bool(v.is_nil()));
    }
}

#[test]
fn a_loop_carries_its_values_back() {
    let mut st = vm();
    let f = function(&mut st, "function(a, b, n) return a end");
    let mut b = Builder::new(f);
    let (x, y, n) = (b.load(1, Type::Int), b.load(2, Type::Tagged), b.load(3, Type::Int));
    let zero = b.int(0);
    let one = b.int(1);
    let phis = b.begin_loop(&[x, y, y, n, zero]);
    let slots = [(1, phis[0]), (2, phis[1]), (3, phis[2]), (4, phis[4])];
    let more = b.node(MicroOp::LT_I, &[zero, phis[3]], &[]);
    b.guard(MicroOp::GUARD_TRUE, &[more], &[], 1, &slots);
    let sum = b.node(MicroOp::ADD_I, &[phis[4], phis[3]], &[]);
    let left = b.node(MicroOp::SUB_I, &[phis[3], one], &[]);
    let next = b.node(MicroOp::ADD_I, &[phis[0], phis[0]], &[]);
    // Two values change places in each pass, a third follows one of them.
    b.back(&[next, phis[2], phis[1], left, sum]);
    let code = lower(&b.sb).unwrap();
    // Three loads, four moves in front of the loop, and three for the change of places.
    assert_eq!(code.count(), 3 + 4 + 1 + 3 + 3 + 1);
    let (before, after) = (Value::int(3), Value::float(0.5));
    let e = executor(&mut st, f, b.sb);
    for passes in [0, 1, 2, 5] {
        call(&mut st, f, &[before, after, Value::int(passes)]);
        assert_eq!(run(&mut st, e), Ok(Outcome::Continue));
        assert_same(register(&st, 0), Value::int(3 << passes));
        assert_same(register(&st, 1), after);
        assert_same(register(&st, 2), after);
        assert_same(register(&st, 3), Value::int(passes * (passes + 1) / 2));
        st.pop_record();
    }
    // SAFETY: it is in the graph.
    let e = unsafe { &*e };
    assert_eq!((e.counts().entries.get(), e.counts().passes.get()), (4, 8));
    let temperatures: Vec<u16> = e.exits.iter().map(|exit| exit.temperature.get()).collect();
    assert_eq!(temperatures, [0, 4]);
}

#[test]
fn values_that_turn_in_circles() {
    let mut st = vm();
    let f = function(&mut st, "function(a, b, c, d, e, n) return a end");
    let mut b = Builder::new(f);
    let values: Vec<Ref> = (1..=5).map(|slot| b.load(slot, Type::Tagged)).collect();
    let n = b.load(6, Type::Int);
    let (zero, one) = (b.int(0), b.int(1));
    let phis = b.begin_loop(&[values, vec![n]].concat());
    let slots: Vec<(Slot, Ref)> = (0..5).map(|i| (i as u16 + 1, phis[i])).collect();
    let more = b.node(MicroOp::LT_I, &[zero, phis[5]], &[]);
    b.guard(MicroOp::GUARD_TRUE, &[more], &[], 0, &slots);
    let left = b.node(MicroOp::SUB_I, &[phis[5], one], &[]);
    b.back(&[phis[1], phis[2], phis[0], phis[4], phis[3], left]);
    let args: Vec<Value> = (0..5).map(Value::int).chain([Value::int(4)]).collect();
    enter(&mut st, f, &args, b.sb).unwrap();
    for (r, i) in [1, 2, 0, 3, 4].into_iter().enumerate() {
        assert_same(register(&st, r as u32), Value::int(i));
    }
}

/// A function, one that it calls, and one that that calls, with the superblock of a call that has inlined both.
fn nested(st: &mut State) -> (Gc<Closure>, [Gc<Closure>; 2], Builder, [FrameId; 3]) {
    eval(st, "(function() function H(x, y) local z = x * y; return z end; \
        function G(x) local r = H(x, 10); return r + 1 end; return 1 end)()");
    let f = function(st, "function(a, g) local v = g(a); return v * 2 end");
    let (g, h) = (function(st, "G"), function(st, "H"));
    let mut b = Builder::new(f);
    let in_g = b.inline(ENTRY, find(f.proto, Op::CALL), g);
    let in_h = b.inline(in_g, find(g.proto, Op::CALL), h);
    (f, [g, h], b, [ENTRY, in_g, in_h])
}

/// The slots of the inlined calls' functions and arguments.
fn nested_slots(b: &mut Builder, frames: [FrameId; 3], closures: [Gc<Closure>; 2], x: Ref) -> Vec<(Slot, Ref)> {
    let mut slots = Vec::new();
    for (frame, closure) in frames[1..].iter().zip(closures) {
        let base = b.sb.frame(*frame).base;
        let object = b.sb.intern(Object { kind: ObjectKind::Closure, addr: closure.addr() });
        let function = b.node(MicroOp::CONST_CLOSURE, &[], &[object.0 as u64]);
        slots.extend([(base - 1, function), (base, x)]);
    }
    let base = b.sb.frame(frames[2]).base;
    let ten = b.int(10);
    slots.push((base + 1, ten));
    slots
}

#[test]
fn frames_of_inlined_functions_are_made() {
    let mut st = vm();
    let (f, closures, mut b, frames) = nested(&mut st);
    let x = b.load(1, Type::Int);
    let slots = nested_slots(&mut b, frames, closures, x);
    let exit = b.sb.snapshot(frames[2], 0, None, slots);
    b.sb.push(Node::new(MicroOp::EXIT, &[], &[]).with_exit(exit));
    let depth = st.depth();
    let g = Value::closure(closures[0]);
    enter(&mut st, f, &[Value::int(4), g], b.sb).unwrap();
    assert_eq!(st.depth(), depth + 3);
    assert_eq!(pc(&st), 0);
    let frame = *st.frame();
    assert_eq!(frame.top, frame.base + closures[1].proto.registers);
    assert_eq!((frame.wanted, frame.flags, frame.extra_args), (1, 0, 0));
    assert_same(finish(&mut st), Value::int(82));
}

#[test]
fn an_error_in_an_inlined_function_has_its_frames() {
    let mut st = vm();
    let (f, closures, mut b, frames) = nested(&mut st);
    let x = b.load(1, Type::Tagged);
    let slots = nested_slots(&mut b, frames, closures, x);
    let exit = b.sb.snapshot(frames[2], find(closures[1].proto, Op::MUL), None, slots);
    let ten = b.int(10);
    let z = b.sb.frame(frames[2]).base as u64 + 2;
    b.sb.push(Node::new(MicroOp::ARITH, &[x, ten], &[z, Operation::Mul as u64]).with_exit(exit));
    b.exit(0, &[]);
    let depth = st.depth();
    let g = Value::closure(closures[0]);
    assert_eq!(enter(&mut st, f, &[Value::NIL, g], b.sb), Err(Raised));
    assert_eq!(st.depth(), depth + 3);
    let message = st.error.as_string().unwrap();
    let text = String::from_utf8_lossy(message.as_bytes());
    assert_eq!(text, "test:1: attempt to perform arithmetic on a nil value (local 'x')");
}

/// Runs a call-out in an inlined function, and then tier 1; the superblock leaves at `pc` of that function.
fn call_out_inlined(
    st: &mut State,
    x: Value,
    op: MicroOp,
    operands: impl Fn(u64) -> Vec<u64>,
    inputs: impl Fn(&mut Builder, Ref) -> Vec<Ref>,
) -> Result<(Outcome, u32), Raised> {
    let (f, closures, mut b, frames) = nested(st);
    let v = b.load(1, Type::Tagged);
    let slots = nested_slots(&mut b, frames, closures, v);
    let at = find(closures[1].proto, Op::MUL);
    let exit = b.sb.snapshot(frames[2], at, None, slots.clone());
    let inputs = inputs(&mut b, v);
    let z = b.sb.frame(frames[2]).base + 2;
    b.sb.push(Node::new(op, &inputs, &operands(z as u64)).with_exit(exit));
    // Here the interpreter shows that it goes on: the second argument is lost otherwise.
    let marked = b.int(77);
    let result = b.load(z, Type::Tagged);
    let mut slots = slots;
    slots.pop();
    slots.extend([(z - 1, marked), (z, result)]);
    let exit = b.sb.snapshot(frames[2], at + 1, None, slots);
    b.sb.push(Node::new(MicroOp::EXIT, &[], &[]).with_exit(exit));
    let depth = st.depth();
    let g = Value::closure(closures[0]);
    let outcome = enter(st, f, &[x, g], b.sb)?;
    Ok((outcome, st.depth() - depth))
}

#[test]
fn a_call_out_goes_on_unless_it_pushes_a_frame() {
    let mut st = vm();
    let arith = |z| vec![z, Operation::Mul as u64];
    let ten = |b: &mut Builder, x| vec![x, b.int(10)];
    let text = st.string_value(b"7").unwrap();
    let outcome = call_out_inlined(&mut st, text, MicroOp::ARITH, arith, ten);
    assert_eq!(outcome, Ok((Outcome::Continue, 3)));
    assert_same(register(&st, 1), Value::int(77));
    assert_same(register(&st, 2), Value::int(70));
    assert_same(finish(&mut st), Value::int(142));

    // A metamethod in Lua runs in tier 1, and the executor is left.
    let object = eval(&mut st, "setmetatable({}, {__mul = function(a, b) return b + 1 end})");
    let outcome = call_out_inlined(&mut st, object, MicroOp::ARITH, arith, ten);
    assert_eq!(outcome, Ok((Outcome::Continue, 4)));
    assert_same(finish(&mut st), Value::int(24));

    // One in Rust has been run.
    let object = eval(&mut st, "setmetatable({}, {__mul = rawlen})");
    let outcome = call_out_inlined(&mut st, object, MicroOp::ARITH, arith, ten);
    assert_eq!(outcome, Ok((Outcome::Continue, 3)));
    assert_same(register(&st, 1), Value::int(77));
    assert_same(finish(&mut st), Value::int(2));
}

#[test]
fn a_disturbed_activation_goes_on_in_tier_1() {
    let mut st = vm();
    let arith = |z| vec![z, Operation::Mul as u64];
    let ten = |b: &mut Builder, x| vec![x, b.int(10)];
    let object = eval(&mut st, "setmetatable({}, {__index = debug, __mul = rawlen})");
    st.tier2.disturbances += 1;
    let outcome = call_out_inlined(&mut st, object, MicroOp::ARITH, arith, ten);
    assert_eq!(outcome, Ok((Outcome::Continue, 3)));
    assert_same(register(&st, 1), Value::int(77));
    st.pop_record();
    st.pop_record();
    st.pop_record();
    // `debug.setlocal` as a metamethod gets the wrong arguments, so the host plays its part.
    fn disturb(st: &mut State, args: crate::tier1::Args) -> crate::tier1::NativeResult {
        st.tier2.disturbances += 1;
        st.ret1(args, Value::int(5))
    }
    let native = Value::native(st.rt.new_native(disturb, &[]).unwrap());
    let key = st.rt.new_string(b"__mul").unwrap();
    let metatable = object.as_table().unwrap().metatable.get().unwrap();
    st.rt.set_str_const(metatable, key, native).unwrap();
    let outcome = call_out_inlined(&mut st, object, MicroOp::ARITH, arith, ten);
    assert_eq!(outcome, Ok((Outcome::Continue, 3)));
    assert_same(register(&st, 1), Value::int(10));
    assert_same(register(&st, 2), Value::int(5));
    assert_same(finish(&mut st), Value::int(12));
}

#[test]
fn an_instruction_can_be_interpreted() {
    let mut st = vm();
    let none = |_: u64| vec![];
    let no_inputs = |_: &mut Builder, _| vec![];
    let outcome = call_out_inlined(&mut st, Value::int(6), MicroOp::INTERPRET, none, no_inputs);
    assert_eq!(outcome, Ok((Outcome::Continue, 3)));
    assert_same(register(&st, 1), Value::int(77));
    assert_same(register(&st, 2), Value::int(60));
    assert_same(finish(&mut st), Value::int(122));
    assert!(!st.recording.active);
    let outcome = call_out_inlined(&mut st, Value::NIL, MicroOp::INTERPRET, none, no_inputs);
    assert_eq!(outcome, Err(Raised));
}

#[test]
fn comparisons_are_known_or_made_by_metamethods() {
    let mut st = vm();
    let f = function(&mut st, "function(a, b) if a < b then return 1 else return 2 end end");
    let at = f.proto.info.code.iter().position(|i| matches!(i.op().general(), Op::JLT | Op::JNLT)).unwrap() as u32;
    let objects = |st: &mut State, result: &str| {
        let source = format!("setmetatable({{}}, {{__lt = function() return {result} end}})");
        eval(st, &source)
    };
    let (truthy, falsy) = (objects(&mut st, "1"), objects(&mut st, "nil"));
    let (a, z) = (st.string_value(b"a").unwrap(), st.string_value(b"z").unwrap());
    for (x, y, goes_on) in [
        (Value::int(1), Value::float(1.5), true),
        (z, a, true),
        (truthy, Value::int(1), false),
        (Value::int(1), falsy, false),
    ] {
        let mut b = Builder::new(f);
        let (p, q) = (b.load(1, Type::Tagged), b.load(2, Type::Tagged));
        let c = b.guard(MicroOp::COMPARE, &[p, q], &[Operation::Lt as u64], at, &[(1, p), (2, q)]);
        let marked = b.node(MicroOp::SELECT_I, &[c, Ref(0), Ref(0)], &[]);
        // Replaced below: the selected values are constants behind the comparison.
        b.sb.nodes.truncate(marked.index());
        let (yes, no) = (b.int(10), b.int(20));
        let result = b.node(MicroOp::SELECT_I, &[c, yes, no], &[]);
        b.exit(0, &[(1, result)]);
        enter(&mut st, f, &[x, y], b.sb).unwrap();
        if goes_on {
            let order = primitive_order(x, y, crate::runtime::metatable::Event::Lt).unwrap();
            assert_same(register(&st, 0), Value::int(if order { 10 } else { 20 }));
            st.pop_record();
        } else {
            let expected = if x.same_bits(truthy) { 1 } else { 2 };
            assert_same(finish(&mut st), Value::int(expected));
        }
    }
}

#[test]
fn values_are_passed_along_a_patched_edge() {
    let mut st = vm();
    let f = function(&mut st, "function(a, b, c) return a, b, c end");
    let mut b = Builder::new(f);
    let (x, y) = (b.load(1, Type::Int), b.load(2, Type::Tagged));
    let truth = b.sb.push(Node::bool(true));
    let sum = b.node(MicroOp::ADD_I, &[x, x], &[]);
    b.exit(0, &[(1, sum), (2, y), (3, truth)]);
    let parent = executor(&mut st, f, b.sb);
    let exit = SnapshotId(0);

    let mut side = Builder::new(f);
    let param = |side: &mut Builder, i: u64, ty| side.sb.push(Node::new(MicroOp::PARAM, &[], &[i]).with_type(ty));
    // The second parameter is not used.
    let p = param(&mut side, 0, Type::Int);
    param(&mut side, 1, Type::Tagged);
    let r = param(&mut side, 2, Type::Bool);
    let five = side.int(5);
    let z = side.node(MicroOp::ADD_I, &[p, five], &[]);
    side.exit(1, &[(2, z), (3, r)]);
    let code = lower(&side.sb).unwrap();
    let anchor = Anchor::Exit(parent, exit);
    let parts = Parts {
        anchor,
        place: Place::none(),
        parent,
        generation: 1,
        superblock: side.sb,
        code: Code::Uops(code),
        assumptions: Vec::new(),
        instructions: (0, 0),
        details: None,
    };
    let target = st.tier2.graph.add(&mut st.rt, parts).unwrap();
    // SAFETY: both are in the graph.
    let (parent, target) = unsafe { (&*parent, &*target) };
    st.tier2.graph.link(parent, exit, target);
    call(&mut st, f, &[Value::int(4), Value::NIL, Value::NIL]);
    assert_eq!(run(&mut st, parent), Ok(Outcome::Continue));
    assert_eq!(pc(&st), 1);
    // The side executor does not mention the first slot, which holds what it held.
    assert_same(register(&st, 0), Value::int(4));
    assert_same(register(&st, 1), Value::int(13));
    assert_same(register(&st, 2), Value::TRUE);
    assert_eq!((parent.counts().entries.get(), target.counts().entries.get()), (1, 1));
    assert_eq!((parent.exits[0].temperature.get(), target.exits[0].temperature.get()), (0, 1));
}

#[test]
fn an_exit_can_lead_to_an_executor_that_begins_in_memory() {
    let mut st = vm();
    let (f, closures, mut b, frames) = nested(&mut st);
    let x = b.load(1, Type::Int);
    let slots = nested_slots(&mut b, frames, closures, x);
    let exit = b.sb.snapshot(frames[2], 0, None, slots);
    b.sb.push(Node::new(MicroOp::EXIT, &[], &[]).with_exit(exit));
    let first = executor(&mut st, f, b.sb);
    let mut second = Builder::new(closures[1]);
    let (x, y) = (second.load(1, Type::Int), second.load(2, Type::Int));
    let z = second.node(MicroOp::MUL_I, &[x, y], &[]);
    second.exit(find(closures[1].proto, Op::MUL) + 1, &[(3, z)]);
    let second = executor(&mut st, closures[1], second.sb);
    // SAFETY: both are in the graph.
    let (first, second) = unsafe { (&*first, &*second) };
    st.tier2.graph.link(first, exit, second);
    let g = Value::closure(closures[0]);
    call(&mut st, f, &[Value::int(4), g]);
    assert_eq!(run(&mut st, first), Ok(Outcome::Continue));
    assert_eq!(second.counts().entries.get(), 1);
    assert_same(register(&st, 2), Value::int(40));
    assert_same(finish(&mut st), Value::int(82));
}

#[test]
fn a_frame_returns_from_an_executor() {
    let mut st = vm();
    let f = function(&mut st, "function(a, b) return a, b end");
    let mut b = Builder::new(f);
    let (x, y) = (b.load(1, Type::Int), b.load(2, Type::Int));
    let at = find(f.proto, Op::RETURN);
    b.guard(MicroOp::POP_FRAME, &[], &[1, 3], at, &[(1, y), (2, x)]);
    let outcome = enter(&mut st, f, &[Value::int(1), Value::int(2)], b.sb);
    assert_eq!(outcome, Ok(Outcome::Exit));
    // SAFETY: the results.
    let results = unsafe { [Value::load(st.top.sub(2)), Value::load(st.top.sub(1))] };
    assert_same(results[0], Value::int(2));
    assert_same(results[1], Value::int(1));
}

#[test]
fn calls_go_on_behind_host_functions_only() {
    let mut st = vm();
    let f = function(&mut st, "function(g, a) local v = g(a); return v end");
    let at = find(f.proto, Op::CALL);
    let instr = f.proto.info.code[at as usize];
    let slot = instr.a() as u16 + 1;
    for (source, goes_on, expected) in [
        ("math.abs", true, Value::int(30)),
        ("function(x) return -x end", false, Value::int(3)),
        ("setmetatable({}, {__call = function(_, x) return x - 1 end})", false, Value::int(-4)),
    ] {
        for native in [true, false] {
            if native && !goes_on {
                continue;
            }
            let callee = eval(&mut st, source);
            let mut b = Builder::new(f);
            let (g, a) = (b.load(1, Type::Tagged), b.load(2, Type::Tagged));
            let slots = [(slot, g), (slot + 1, a)];
            if native {
                let g = b.guard(MicroOp::GUARD_NATIVE, &[g], &[], at, &slots);
                b.guard(MicroOp::CALL_NATIVE, &[g], &[slot as u64, 2, 2], at, &slots);
            } else {
                b.guard(MicroOp::CALL, &[], &[slot as u64, 2, 2, instr.d() as u64], at, &slots);
            }
            let result = b.load(slot, Type::Int);
            let ten = b.int(10);
            let z = b.node(MicroOp::MUL_I, &[result, ten], &[]);
            b.exit(at + 1, &[(slot, z)]);
            assert_eq!(enter(&mut st, f, &[callee, Value::int(-3)], b.sb), Ok(Outcome::Continue));
            assert_same(finish(&mut st), expected);
        }
    }
}

#[test]
fn an_executor_without_room_is_not_entered() {
    let mut st = vm();
    let f = function(&mut st, "function(a) return a end");
    let mut b = Builder::new(f);
    let seven = b.int(7);
    b.exit(0, &[(1, seven)]);
    b.sb.frames[0].registers = u16::MAX;
    let e = executor(&mut st, f, b.sb);
    call(&mut st, f, &[Value::int(1)]);
    let limit = st.rt.heap.used() + 1000;
    st.rt.heap.set_limit(limit);
    assert_eq!(run(&mut st, e), Ok(Outcome::Continue));
    assert!(st.error.is_nil());
    assert_same(register(&st, 0), Value::int(1));
    st.rt.heap.set_limit(usize::MAX);
    assert_eq!(run(&mut st, e), Ok(Outcome::Continue));
    assert_same(register(&st, 0), Value::int(7));
}

#[test]
fn what_does_not_belong_into_a_superblock_is_refused() {
    let mut st = vm();
    let f = function(&mut st, "function(a) return a end");
    let mut b = Builder::new(f);
    b.load(1, Type::Int);
    assert_eq!(lower(&b.sb).unwrap_err(), LowerError::Open);
    let mut b = Builder::new(f);
    let x = b.load(1, Type::Int);
    b.node(MicroOp::STORE, &[x], &[2]);
    b.exit(0, &[]);
    assert_eq!(lower(&b.sb).unwrap_err(), LowerError::MicroOp(MicroOp::STORE));
}

mod expansions;
mod tables;
