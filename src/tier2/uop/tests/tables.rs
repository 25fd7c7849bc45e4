//! Micro-ops on tables, strings and cells against the runtime's operations.

use super::*;
use crate::runtime::array::ArrayKind;
use crate::runtime::assumption::Assumption;
use crate::runtime::function::CellState;
use crate::runtime::shape::Location;
use crate::runtime::table::END;
use crate::runtime::value::Tag;
use crate::tier2::executor::{Code, Parts};
use crate::tier2::superblock::slot_operand;

/// Runs a superblock over three arguments, which the caller fills; nodes may leave for instruction 1, and do if they fail. `Some` of the
/// value that `fill` has made (in register 0 afterwards) if control came through.
fn through(
    st: &mut State,
    args: [Value; 3],
    types: [Type; 3],
    fill: impl FnOnce(&mut Builder, [Ref; 3]) -> Ref,
) -> Option<Value> {
    let f = function(st, "function(a, b, c) return a, b, c end");
    let mut b = Builder::new(f);
    let inputs = [0, 1, 2].map(|i| b.load(i as u16 + 1, types[i]));
    let z = fill(&mut b, inputs);
    b.exit(0, &[(1, z)]);
    assert_eq!(enter(st, f, &args, b.sb), Ok(Outcome::Continue));
    let v = (pc(st) == 0).then(|| register(st, 0));
    st.pop_record();
    v
}

/// Whether a guard lets these through.
fn passes(st: &mut State, op: MicroOp, operands: &[u64], args: [Value; 3], types: [Type; 3]) -> bool {
    let n = op.declaration().inputs.len();
    through(st, args, types, |b, inputs| {
        b.guard(op, &inputs[..n], operands, 1, &[]);
        b.int(1)
    })
    .is_some()
}

fn make(st: &mut State, op: MicroOp, operands: &[u64], args: [Value; 3], types: [Type; 3]) -> Value {
    let n = op.declaration().inputs.len();
    through(st, args, types, |b, inputs| b.node(op, &inputs[..n], operands)).expect("it has no exit")
}

const TAGGED: [Type; 3] = [Type::Tagged; 3];
const ELEMENT: [Type; 3] = [Type::Table, Type::Int, Type::Tagged];

/// Tables with arrays of all kinds, and keys elsewhere.
fn tables(st: &mut State) -> Vec<Value> {
    [
        "{}",
        "{1, 2, 3}",
        "{1.5, 2.5}",
        "{'a', 1, true}",
        "{1, nil, 3}",
        "{1, 2, [3] = 3, [4] = 4, x = 5}",
        "{a = 1, b = 'two', [1.5] = 2, [true] = 3, [-1] = 4}",
        "setmetatable({1, 2, nil, 4}, {})",
        "setmetatable({x = 1}, {__index = {y = 2}})",
        "(function() local t = {}; for i = 1, 5 do t[i] = i end; return t end)()",
        "(function() local t = {}; for i = 1, 40 do t['k' .. i] = i end; t.k3 = nil; return t end)()",
    ]
    .map(|source| eval(st, source))
    .to_vec()
}

#[test]
fn elements() {
    use MicroOp::*;
    let mut st = vm();
    for t in tables(&mut st) {
        let table = t.as_table().unwrap();
        for i in [i64::MIN, -1, 0, 1, 2, 3, 4, 5, 6, 1 << 32] {
            let args = [t, Value::int(i), Value::NIL];
            let used = i >= 1 && i <= table.array_len.get() as i64;
            assert_eq!(passes(&mut st, GUARD_IN_ARRAY, &[], args, ELEMENT), used);
            assert_eq!(passes(&mut st, GUARD_APPENDS, &[], args, ELEMENT), table.appends(i));
            let v = st.rt.get(table, Value::int(i));
            // The guard before the load, both in one instruction, and the guard behind that as well.
            let loaded = through(&mut st, args, ELEMENT, |b, [t, i, _]| {
                b.guard(GUARD_IN_ARRAY, &[t, i], &[], 1, &[]);
                b.node(LOAD_ELEMENT, &[t, i], &[])
            });
            assert_eq!(loaded.is_some(), used);
            loaded.into_iter().for_each(|loaded| assert_same(loaded, v));
            let test = through(&mut st, args, ELEMENT, |b, [t, i, _]| {
                b.guard(GUARD_IN_ARRAY, &[t, i], &[], 1, &[]);
                b.node(TEST_ELEMENT, &[t, i], &[])
            });
            assert_eq!(test.map(|v| v.tag() == Tag::TRUE), used.then_some(!v.is_falsy()));
            for (guard, load, ty) in [(GUARD_INT, LOAD_ELEMENT_I, Type::Int), (GUARD_FLOAT, LOAD_ELEMENT_F, Type::Float)] {
                let fits = used && super::super::code::pointer_tag(ty) == Some(v.tag());
                for bounds in [false, true] {
                    let loaded = through(&mut st, args, ELEMENT, |b, [t, i, _]| {
                        b.guard(GUARD_IN_ARRAY, &[t, i], &[], 1, &[]);
                        if !bounds {
                            b.node(BARRIER, &[t], &[]);
                        }
                        let v = b.node(LOAD_ELEMENT, &[t, i], &[]);
                        b.guard(guard, &[v], &[], 2, &[])
                    });
                    assert_eq!(loaded.is_some(), fits);
                    loaded.into_iter().for_each(|loaded| assert_same(loaded, v));
                }
                if fits {
                    for bounds in [false, true] {
                        let loaded = through(&mut st, args, ELEMENT, |b, [t, i, _]| {
                            if bounds {
                                b.guard(GUARD_IN_ARRAY, &[t, i], &[], 1, &[]);
                            }
                            b.node(load, &[t, i], &[])
                        });
                        assert_same(loaded.unwrap(), v);
                    }
                }
            }
        }
        for kind in [ArrayKind::EMPTY, ArrayKind::INT, ArrayKind::FLOAT, ArrayKind::PACKED, ArrayKind::ANY] {
            let args = [t, Value::NIL, Value::NIL];
            assert_eq!(passes(&mut st, GUARD_ARRAY_KIND, &[kind.0 as u64], args, ELEMENT), table.array_kind.get() == kind);
        }
        let length = make(&mut st, LENGTH_T, &[], [t, Value::NIL, Value::NIL], ELEMENT);
        assert_same(length, Value::int(table.length()));
    }
}

#[test]
fn stores_of_elements() {
    use MicroOp::*;
    let mut st = vm();
    let values = [(Type::Int, Value::int(8)), (Type::Float, Value::float(0.5)), (Type::Bool, Value::TRUE), (Type::Tagged, Value::NIL)];
    for (ty, v) in values {
        for i in [0, 1, 2, 3, 4, 6, 9] {
            // Two of each: one for the micro-ops, one for the runtime.
            let pairs: Vec<_> = tables(&mut st).into_iter().zip(tables(&mut st)).collect();
            for (t, model) in pairs {
                let (table, twin) = (t.as_table().unwrap(), model.as_table().unwrap());
                let types = [Type::Table, Type::Int, ty];
                let args = [t, Value::int(i), v];
                let accepts = !v.is_nil() && table.array_kind.get().accepts(v.tag());
                assert_eq!(passes(&mut st, GUARD_ACCEPTS, &[], [t, v, v], [Type::Table, ty, ty]), accepts);
                let storable = table.is_storable(i, v);
                assert_eq!(
                    passes(&mut st, GUARD_RAW_STORABLE, &[], [t, Value::int(i), v], types),
                    table.is_raw_storable(i, v)
                );
                assert!(!storable || table.is_raw_storable(i, v));
                let used = i >= 1 && i <= table.array_len.get() as i64;
                let stored = through(&mut st, args, types, |b, [t, i, v]| {
                    b.guard(GUARD_STORABLE, &[t, i, v], &[], 1, &[]);
                    b.node(if used { REPLACE_ELEMENT } else { STORE_ELEMENT }, &[t, i, v], &[]);
                    b.node(BARRIER, &[t], &[]);
                    v
                });
                assert_eq!(stored.is_some(), storable);
                if storable {
                    st.rt.set(twin, Value::int(i), v).unwrap();
                    assert_eq!(table.array_len.get(), twin.array_len.get());
                    assert!(table.array_kind.get() == twin.array_kind.get());
                    assert_same(st.rt.get(table, Value::int(i)), v);
                }
            }
        }
    }
}

#[test]
fn any_key() {
    use MicroOp::*;
    let mut st = vm();
    let long = st.string_value("long".repeat(20).as_bytes()).unwrap();
    let keys = |st: &mut State| {
        let [x, k3] = [b"x", &b"k3"[..]].map(|s| st.string_value(s).unwrap());
        [
            (Type::Int, Value::int(2)),
            (Type::Float, Value::float(1.5)),
            (Type::Float, Value::float(3.0)),
            (Type::Bool, Value::TRUE),
            (Type::String, x),
            (Type::String, long),
            (Type::Tagged, k3),
            (Type::Tagged, Value::int(-1)),
        ]
    };
    for t in tables(&mut st) {
        let table = t.as_table().unwrap();
        for (ty, key) in keys(&mut st) {
            let types = [Type::Table, ty, Type::Tagged];
            let expected = st.rt.get(table, key);
            assert_same(make(&mut st, RAW_GET, &[], [t, key, Value::NIL], types), expected);
            for v in [Value::int(77), Value::NIL, expected] {
                assert!(passes(&mut st, RAW_SET, &[], [t, key, v], types));
                assert_same(st.rt.get(table, key), v);
            }
        }
        for key in [Value::NIL, Value::float(f64::NAN)] {
            assert!(!passes(&mut st, RAW_SET, &[], [t, key, Value::TRUE], [Type::Table, Type::Tagged, Type::Bool]));
            assert!(st.error.is_nil());
        }
    }
}

#[test]
fn traversal() {
    use MicroOp::*;
    let mut st = vm();
    for t in tables(&mut st) {
        let table = t.as_table().unwrap();
        let mut key = Value::NIL;
        let mut before = 0;
        loop {
            let types = [Type::Table, Type::Tagged, Type::Int];
            let args = [t, key, Value::int(before)];
            let expected = st.rt.next(table, key).unwrap();
            let position = through(&mut st, args, types, |b, [t, k, _]| b.guard(FIND_NEXT, &[t, k], &[], 1, &[])).unwrap();
            let next = through(&mut st, args, types, |b, [t, _, p]| b.node(NEXT_POSITION, &[t, p], &[])).unwrap();
            assert_same(next, position);
            let args = [t, position, position];
            let (k, v) = expected.unwrap_or((Value::NIL, Value::NIL));
            assert_eq!(position.as_int_unchecked() as u64 == END, expected.is_none());
            assert_same(make(&mut st, LOAD_KEY, &[], args, ELEMENT), k);
            assert_same(make(&mut st, LOAD_VALUE, &[], args, ELEMENT), v);
            if expected.is_none() {
                break;
            }
            (key, before) = (k, position.as_int_unchecked());
        }
        let unknown = st.string_value(b"not a key").unwrap();
        assert!(!passes(&mut st, FIND_NEXT, &[], [t, unknown, Value::NIL], [Type::Table, Type::String, Type::Tagged]));
    }
}

/// Tables with many fields, in the table and in overflow blocks, and one with a shape of its own.
fn many_fields(st: &mut State) -> [Value; 3] {
    let stores: String = (1..=30).map(|i| format!("t.f{i} = 'v{i}' ")).collect();
    let made = &format!("(function() local t = {{a = 1, b = 2.5}} {stores} return t end)()");
    let holder = eval(st, made);
    assert!(st.rt.make_holder(holder.as_table().unwrap()).unwrap());
    [eval(st, made), eval(st, "{a = true, b = {}, c = nil}"), holder]
}

#[test]
fn fields() {
    use MicroOp::*;
    let mut st = vm();
    let mut seen = [0, 0];
    for t in many_fields(&mut st) {
        let table = t.as_table().unwrap();
        let keys: Vec<_> = st.rt.shapes.keys(table.shape.get()).to_vec();
        for key in keys {
            let (load, store, slot) = match st.rt.locate(table, key) {
                Location::Inline(slot) => (LOAD_INLINE, STORE_INLINE, slot),
                Location::Overflow(slot) => (LOAD_OVERFLOW, STORE_OVERFLOW, slot),
                other => panic!("{other:?}"),
            };
            seen[(load == LOAD_OVERFLOW) as usize] += 1;
            assert_eq!(slot.in_overflow(), load == LOAD_OVERFLOW);
            let slot = slot_operand(slot);
            let args = [t, Value::NIL, Value::NIL];
            let types = [Type::Table, Type::Tagged, Type::Tagged];
            let v = st.rt.get_str(table, key);
            assert_same(make(&mut st, load, &[slot], args, types), v);
            let held = through(&mut st, args, types, |b, _| {
                let object = b.sb.intern(Object { kind: ObjectKind::Table, addr: t.payload() });
                b.node(LOAD_HOLDER, &[], &[object.0 as u64, slot])
            });
            assert_same(held.unwrap(), v);
            for (guard, tag) in [(GUARD_STRING, Tag::STRING), (GUARD_INT, Tag::INT)] {
                let guarded = through(&mut st, args, types, |b, [t, ..]| {
                    let v = b.node(load, &[t], &[slot]);
                    b.guard(guard, &[v], &[], 1, &[])
                });
                assert_eq!(guarded.is_some(), v.tag() == tag);
                guarded.into_iter().for_each(|z| assert_same(z, v));
            }
            for (ty, new) in [(Type::Int, Value::int(5)), (Type::Bool, Value::FALSE), (Type::Tagged, v)] {
                through(&mut st, [t, new, new], [Type::Table, ty, ty], |b, [t, v, _]| {
                    b.node(store, &[t, v], &[slot]);
                    b.node(BARRIER, &[t], &[]);
                    v
                });
                assert_same(st.rt.get_str(table, key), new);
            }
        }
    }
    assert!(seen[0] > 5 && seen[1] > 10, "{seen:?}");
}

#[test]
fn headers() {
    use MicroOp::*;
    let mut st = vm();
    let [t, ..] = many_fields(&mut st);
    let table = t.as_table().unwrap();
    let shape = table.shape.get().0 as u64;
    let nil = Value::NIL;
    let typed = [Type::Table, Type::Tagged, Type::Tagged];
    for (operand, holds) in [(shape, true), (shape + 1, false)] {
        assert_eq!(passes(&mut st, GUARD_SHAPE, &[operand], [t, nil, nil], typed), holds);
        for v in [t, Value::int(3)] {
            // One instruction with the guard of the type.
            let through = through(&mut st, [v, nil, nil], TAGGED, |b, [x, ..]| {
                let exit = b.sb.snapshot(FrameId(0), 1, None, []);
                let t = b.sb.push(Node::new(GUARD_TABLE, &[x], &[]).with_exit(exit));
                b.sb.push(Node::new(GUARD_SHAPE, &[t], &[operand]).with_exit(exit));
                t
            });
            assert_eq!(through.is_some(), holds && v.is_table());
            through.into_iter().for_each(|z| assert_same(z, t));
        }
    }
    let epoch = st.rt.holder_epoch;
    assert!(passes(&mut st, GUARD_EPOCH, &[epoch as u64], [nil; 3], TAGGED));
    assert!(!passes(&mut st, GUARD_EPOCH, &[epoch.wrapping_add(1) as u64], [nil; 3], TAGGED));
    let classed = eval(&mut st, "setmetatable({}, {})");
    for (x, plain) in [(t, true), (classed, false)] {
        assert_eq!(passes(&mut st, GUARD_NO_METATABLE, &[], [x, nil, nil], typed), plain);
        assert_eq!(passes(&mut st, GUARD_FOUND_IN, &[], [x, nil, nil], typed), plain);
        assert!(passes(&mut st, GUARD_FOUND_IN, &[], [x, Value::FALSE, nil], typed));
    }
    for (v, flag, found) in [(nil, 0, false), (nil, 1, true), (Value::FALSE, 0, true)] {
        assert_eq!(passes(&mut st, GUARD_FOUND, &[flag], [v; 3], TAGGED), found);
    }

    // An empty table gets a class as `setmetatable` would give it.
    let (m, model) = (eval(&mut st, "{__index = {}}"), eval(&mut st, "{}"));
    let metatable = m.as_table().unwrap();
    st.rt.set_metatable(model.as_table().unwrap(), Some(metatable)).unwrap();
    let shape = model.as_table().unwrap().shape.get();
    let fresh = eval(&mut st, "{}");
    through(&mut st, [fresh, m, nil], [Type::Table, Type::Table, Type::Tagged], |b, [t, m, _]| {
        b.node(SET_METATABLE, &[t, m], &[shape.0 as u64]);
        t
    });
    let fresh = fresh.as_table().unwrap();
    assert!(fresh.shape.get() == shape && fresh.metatable.get() == Some(metatable));

    // A key is added by writing slot and shape.
    let key = st.rt.new_string(b"added").unwrap();
    let root = st.rt.shapes.root_for(4);
    let table = st.rt.new_table(root, 0).unwrap();
    let t = Value::table(table);
    let plan = st.rt.plan_add(table, key).unwrap();
    assert!(plan.inline);
    through(&mut st, [t, Value::int(6), nil], ELEMENT, |b, [t, v, _]| {
        b.node(STORE_INLINE, &[t, v], &[slot_operand(plan.offsets)]);
        b.node(SET_SHAPE, &[t], &[plan.next_shape.0 as u64]);
        t
    });
    assert_same(st.rt.get_str(table, key), Value::int(6));
}

#[test]
fn new_tables() {
    use MicroOp::*;
    let mut st = vm();
    let [many, few, _] = many_fields(&mut st);
    for like in [many, few] {
        let shape = like.as_table().unwrap().shape.get();
        let made = through(&mut st, [Value::NIL; 3], TAGGED, |b, _| {
            b.guard(ALLOCATE_TABLE, &[], &[shape.0 as u64, 3], 1, &[])
        });
        let t = made.unwrap().as_table().unwrap();
        assert!(t.shape.get() == shape && t.array_cap.get() == 3 && t.array_len.get() == 0);
        let keys: Vec<_> = st.rt.shapes.keys(shape).to_vec();
        assert!(keys.iter().all(|key| st.rt.get_str(t, *key).is_nil()));
        for key in keys {
            st.rt.set_str_const(t, key, Value::TRUE).unwrap();
            assert_same(st.rt.get_str(t, key), Value::TRUE);
        }
    }
    let f = function(&mut st, "function() return {x = 1, 2} end");
    let mut b = Builder::new(f);
    let t = b.guard(NEW_TABLE, &[], &[0], 1, &[]);
    b.exit(0, &[(1, t)]);
    enter(&mut st, f, &[], b.sb).unwrap();
    let t = register(&st, 0).as_table().unwrap();
    let site = &f.proto.info.tables[0];
    assert!(t.shape.get() == site.shape.get() && t.array_cap.get() == site.array_cap.get() && site.made.get() == 1);
    st.pop_record();

    // Without memory it leaves, and nothing is raised.
    let mut b = Builder::new(f);
    let t = b.guard(NEW_TABLE, &[], &[0], 1, &[]);
    b.exit(0, &[(1, t)]);
    let e = executor(&mut st, f, b.sb);
    let limit = st.rt.heap.used();
    st.rt.heap.set_limit(limit);
    let made = (0..100_000).find(|_| {
        call(&mut st, f, &[]);
        run(&mut st, e).unwrap();
        let left = pc(&st) == 1;
        st.pop_record();
        left
    });
    assert!(made.is_some() && st.error.is_nil());
}

#[test]
fn cells_and_closures() {
    use MicroOp::*;
    let mut st = vm();
    let nil = Value::NIL;
    let typed = [Type::Cell, Type::Tagged, Type::Tagged];
    let made = through(&mut st, [Value::int(4), nil, nil], TAGGED, |b, [v, ..]| b.guard(NEW_CELL, &[v], &[], 1, &[]));
    let cell = made.unwrap().as_cell().unwrap();
    assert!(cell.state.get() == CellState::Constant);
    assert_same(make(&mut st, LOAD_CELL, &[], [Value::cell(cell), nil, nil], typed), Value::int(4));
    let made = through(&mut st, [nil; 3], TAGGED, |b, _| b.guard(NEW_EMPTY_CELL, &[], &[], 1, &[]));
    let cell = made.unwrap().as_cell().unwrap();
    for state in [CellState::Uninitialised, CellState::Constant, CellState::Mutable, CellState::Mutable] {
        assert!(cell.state.get() == state);
        let mutable = state == CellState::Mutable;
        assert_eq!(passes(&mut st, GUARD_MUTABLE, &[], [Value::cell(cell), nil, nil], typed), mutable);
        let v = Value::bool(mutable);
        assert!(passes(&mut st, SET_CELL, &[], [Value::cell(cell), v, nil], [Type::Cell, Type::Bool, Type::Tagged]));
        assert_same(cell.get(), v);
    }
    make_nothing(&mut st, STORE_CELL, &[], [Value::cell(cell), Value::int(3), nil], typed);
    assert_same(cell.get(), Value::int(3));

    // An executor that relied on the cell may not go on.
    let cell = st.new_cell(Value::int(1), CellState::Constant).unwrap();
    let f = function(&mut st, "function(a) return a end");
    let mut b = Builder::new(f);
    let c = b.load(1, Type::Cell);
    let two = b.int(2);
    b.guard(SET_CELL, &[c, two], &[], 1, &[]);
    b.guard(GUARD_VALID, &[], &[], 2, &[]);
    b.exit(0, &[]);
    let code = lower(&b.sb).unwrap();
    let site = Anchor::Site(&raw const f.proto.entry);
    let parts = Parts {
        anchor: site,
        place: Place::none(),
        parent: std::ptr::null(),
        generation: 0,
        superblock: b.sb,
        code: Code::Uops(code),
        assumptions: vec![Assumption::CellConstant(cell)],
        instructions: (0, 0),
        details: None,
    };
    let e = st.tier2.graph.add(&mut st.rt, parts).unwrap();
    call(&mut st, f, &[Value::cell(cell)]);
    assert_eq!(run(&mut st, e), Ok(Outcome::Continue));
    assert_eq!(pc(&st), 2);
    // SAFETY: executors are not freed while nobody reaps them.
    assert!(unsafe { !(*e).is_valid() });
    st.pop_record();

    let outer = function(&mut st, "(function() local u, v = 1, 2; return function(x) u = x; return u + v end end)()");
    let closure = Value::closure(outer);
    for i in 0..2 {
        let captured = make(&mut st, LOAD_CAPTURED, &[i], [closure, nil, nil], [Type::Closure, Type::Tagged, Type::Tagged]);
        assert_same(captured, Value::cell(outer.cell(i as usize)));
    }
    let copy = through(&mut st, [closure, nil, nil], [Type::Closure, Type::Tagged, Type::Tagged], |b, [f, ..]| {
        let proto = proto_object(&mut b.sb, outer.proto).0 as u64;
        b.guard(GUARD_PROTO, &[f], &[proto], 1, &[]);
        let copy = b.guard(ALLOCATE_CLOSURE, &[], &[proto], 1, &[]);
        for i in 0..2 {
            let cell = b.node(LOAD_CAPTURED, &[f], &[i]);
            b.node(INIT_CAPTURED, &[copy, cell], &[i]);
        }
        copy
    });
    let copy = copy.unwrap();
    assert!(!copy.same_bits(closure));
    let (at, _) = st.call_value(copy, &[Value::int(40)]).unwrap();
    // SAFETY: a result.
    assert_same(unsafe { Value::load(st.slot(at)) }, Value::int(42));
}

fn make_nothing(st: &mut State, op: MicroOp, operands: &[u64], args: [Value; 3], types: [Type; 3]) {
    let n = op.declaration().inputs.len();
    through(st, args, types, |b, inputs| {
        b.node(op, &inputs[..n], operands);
        inputs[0]
    });
}

#[test]
fn identity_equality_and_strings() {
    use MicroOp::*;
    let mut st = vm();
    let mut values = samples(&mut st);
    values.extend(samples(&mut st));
    let long = |st: &mut State| st.string_value(&b"0123456789".repeat(10)).unwrap();
    values.extend([(Type::String, long(&mut st)), (Type::String, long(&mut st)), (Type::Float, Value::float(-5.0))]);
    for &(p, x) in &values {
        for &(q, y) in &values {
            let types = [p, q, Type::Tagged];
            let args = [x, y, Value::NIL];
            assert_same(make(&mut st, RAW_EQ, &[], args, types), Value::bool(x.raw_equals(y)));
            let primitive = crate::tier1::slow::is_raw_equality(&mut st, x, y);
            assert_eq!(passes(&mut st, GUARD_RAW_EQ, &[], args, types), primitive);
            if let (Some(x), Some(y)) = (x.as_string(), y.as_string()) {
                let expected = [
                    (EQ_S, x.as_bytes() == y.as_bytes()),
                    (LT_S, x.as_bytes() < y.as_bytes()),
                    (LE_S, x.as_bytes() <= y.as_bytes()),
                ];
                for (op, expected) in expected {
                    assert_same(make(&mut st, op, &[], args, types), Value::bool(expected));
                }
            }
            let objects = |ty| Type::Object.accepts(ty);
            if objects(p) && objects(q) {
                assert_same(make(&mut st, SAME, &[], args, types), Value::bool(x.payload() == y.payload()));
            }
            let kinds = [ObjectKind::Table, ObjectKind::String, ObjectKind::Closure, ObjectKind::Native];
            for kind in kinds {
                let is_kind = super::super::code::pointer_tag(kind.constant().unwrap().1) == Some(y.tag());
                if is_kind {
                    let same = through(&mut st, args, types, |b, [x, ..]| {
                        let object = b.sb.intern(Object { kind, addr: y.payload() });
                        b.guard(GUARD_OBJECT, &[x], &[object.0 as u64], 1, &[]);
                        x
                    });
                    assert_eq!(same.is_some(), x.same_bits(y));
                }
            }
        }
        if let Some(s) = x.as_string() {
            let args = [x, Value::NIL, Value::NIL];
            let length = make(&mut st, LENGTH_S, &[], args, [p, Type::Tagged, Type::Tagged]);
            assert_same(length, Value::int(s.len as i64));
        }
    }
    let next = eval(&mut st, "next");
    for ty in [Type::Native, Type::Tagged] {
        assert!(passes(&mut st, GUARD_NEXT, &[], [next; 3], [ty; 3]));
    }
}
