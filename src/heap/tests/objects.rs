//! The other kinds of objects, pacing and failure.

use std::alloc::alloc;
use std::cell::Cell;
use std::sync::Arc;

use super::graph::{TestRoots, new_table, set, string, weak_table};
use crate::heap::{Mode, Roots};
use crate::runtime::Runtime;
use crate::runtime::coroutine::{CallRecord, Continuation, Coroutine, Hook, Status, record_flags};
use crate::runtime::function::{CellState, UpCell};
use crate::runtime::object::{Gc, Kind};
use crate::runtime::userdata::Userdata;
use crate::runtime::value::{Tag, Value};
use crate::tier1::state::{record_layout, stack_layout};

fn userdata(rt: &mut Runtime, data: Arc<()>) -> Gc<Userdata> {
    let p = rt.heap.alloc(size_of::<Userdata>()).unwrap().cast();
    // SAFETY: a fresh cell of this size.
    let u = unsafe {
        p.write(Userdata {
            barrier: Cell::new(0),
            kind: Kind::Userdata,
            finalizable: Cell::new(false),
            spare: 0,
            user_value_count: 0,
            metatable: Cell::new(None),
            data: Cell::new(Some(Box::new(data))),
            user_values: Cell::new(Vec::new()),
        });
        Gc::from_ptr(p)
    };
    rt.heap.register_userdata(u).unwrap();
    u
}

fn cell(rt: &mut Runtime, v: Value) -> Gc<UpCell> {
    let p = rt.heap.alloc(size_of::<UpCell>()).unwrap().cast();
    // SAFETY: a fresh cell of this size.
    let c = unsafe {
        p.write(UpCell {
            barrier: Cell::new(0),
            kind: Kind::Cell,
            state: Cell::new(CellState::Uninitialised),
            tag: Cell::new(Tag::NIL.byte()),
            spare: 0,
            payload: Cell::new(0),
        });
        Gc::from_ptr(p)
    };
    c.put(v);
    c
}

/// A coroutine in a host function whose window has `slots` slots.
fn coroutine(rt: &mut Runtime, slots: u32) -> Gc<Coroutine> {
    let size = stack_layout(slots + 10).size() + record_layout(1).size();
    rt.heap.charge(size).unwrap();
    let p = rt.heap.alloc(size_of::<Coroutine>()).unwrap().cast();
    // SAFETY: fresh memory of the right sizes.
    let co = unsafe {
        let stack = alloc(stack_layout(slots + 10)).cast::<Value>();
        for i in 0..slots as usize {
            stack.add(i).write(Value::NIL);
        }
        let records = alloc(record_layout(1)).cast::<CallRecord>();
        records.write(CallRecord {
            pc: std::ptr::null(),
            return_site: std::ptr::null(),
            then: None,
            base: 1,
            top: slots,
            extra_args: 0,
            wanted: -1,
            continuation: Continuation::Host,
            flags: record_flags::NATIVE,
            aux: 0,
        });
        p.write(Coroutine {
            barrier: Cell::new(0),
            kind: Kind::Coroutine,
            status: Cell::new(Status::Suspended),
            hooks_running: Cell::new(0),
            non_yieldable: Cell::new(0),
            catching: Cell::new(0),
            stack: Cell::new(stack),
            stack_size: Cell::new(slots + 10),
            top: Cell::new(slots),
            records: Cell::new(records),
            records_size: Cell::new(1),
            depth: Cell::new(1),
            resumer: Cell::new(None),
            to_close: Cell::new(Vec::new()),
            hook: Cell::new(Hook::NONE),
            hook_pc: Cell::new(0),
        });
        Gc::from_ptr(p)
    };
    rt.heap.register_coroutine(co).unwrap();
    co
}

fn store(co: Gc<Coroutine>, i: usize, v: Value) {
    // SAFETY: tests name slots of the window.
    unsafe { Value::store(co.stack.get().add(i), v) }
}

#[test]
fn userdata_are_dropped_when_dead_and_with_the_heap() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let data = Arc::new(());
    for _ in 0..1000 {
        userdata(&mut rt, data.clone());
    }
    let kept = userdata(&mut rt, data.clone());
    roots.0.borrow_mut().push(Value::userdata(kept));
    rt.collect_full(&roots);
    assert_eq!(Arc::strong_count(&data), 2);
    drop(rt);
    assert_eq!(Arc::strong_count(&data), 1);
}

#[test]
fn stacks_are_scanned_again_in_the_atomic_phase_and_released_with_their_coroutine() {
    for mode in [Mode::Incremental, Mode::Generational] {
        let mut rt = Runtime::new().unwrap();
        let roots = TestRoots::default();
        rt.set_gc_mode(&roots, mode);
        rt.collect_full(&roots);
        let before = rt.heap.used();
        let co = coroutine(&mut rt, 20);
        roots.0.borrow_mut().push(Value::coroutine(co));
        for round in 0..50 {
            // Not enough to finish a cycle: the stack changes behind the collector's back.
            for i in 1..20 {
                let t = new_table(&mut rt);
                set(&mut rt, t, Value::int(1), Value::int(round + i));
                let c = cell(&mut rt, Value::table(t));
                store(co, i as usize, Value::cell(c));
                rt.work(&roots, 200);
            }
            rt.work(&roots, 4000);
            for i in 1..20 {
                // SAFETY: as in `store`.
                let v = unsafe { Value::load(co.stack.get().add(i as usize)) };
                let t = v.as_cell().unwrap().get().as_table().unwrap();
                assert_eq!(t.get_int(1).as_int(), Some(round + i));
            }
        }
        roots.0.borrow_mut().clear();
        rt.collect_full(&roots);
        assert_eq!(rt.heap.used(), before);
    }
}

#[test]
fn dead_slots_are_cleared() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let co = coroutine(&mut rt, 5);
    roots.0.borrow_mut().push(Value::coroutine(co));
    let t = new_table(&mut rt);
    store(co, 6, Value::table(t));
    rt.collect_full(&roots);
    // SAFETY: the collector has written all slots outside windows.
    assert!(unsafe { Value::load(co.stack.get().add(6)) }.is_nil());
}

#[test]
fn a_chain_of_ephemerons_is_followed() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let tables: Vec<_> = (0..20).map(|_| weak_table(&mut rt, "k")).collect();
    let keys: Vec<_> = (0..=20).map(|_| new_table(&mut rt)).collect();
    for i in 0..20 {
        set(
            &mut rt,
            tables[i],
            Value::table(keys[i]),
            Value::table(keys[i + 1]),
        );
    }
    roots
        .0
        .borrow_mut()
        .extend(tables.iter().map(|&t| Value::table(t)));
    roots.0.borrow_mut().push(Value::table(keys[0]));
    rt.collect_full(&roots);
    for i in 0..20 {
        assert_eq!(
            rt.get(tables[i], Value::table(keys[i])).as_table(),
            Some(keys[i + 1])
        );
    }
    roots.0.borrow_mut().pop();
    rt.collect_full(&roots);
    assert!(
        tables
            .iter()
            .all(|&t| rt.next(t, Value::NIL).unwrap().is_none())
    );
}

#[test]
fn values_are_cleared_before_resurrection_and_keys_after() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let (by_value, by_key) = (weak_table(&mut rt, "v"), weak_table(&mut rt, "k"));
    roots
        .0
        .borrow_mut()
        .extend([Value::table(by_value), Value::table(by_key)]);
    let object = new_table(&mut rt);
    rt.heap.register_finalizer(object.header()).unwrap();
    let name = string(&mut rt, "name");
    for key in [name, Value::int(1), Value::float(0.5)] {
        set(&mut rt, by_value, key, Value::table(object));
    }
    set(&mut rt, by_key, Value::table(object), Value::TRUE);
    rt.collect_full(&roots);
    assert!(rt.next(by_value, Value::NIL).unwrap().is_none());
    assert!(!rt.get(by_key, Value::table(object)).is_nil());
    assert_eq!(
        rt.heap.next_finalizer().and_then(Value::as_table),
        Some(object)
    );
    assert!(rt.heap.next_finalizer().is_none());
    rt.collect_full(&roots);
    assert!(rt.next(by_key, Value::NIL).unwrap().is_none());
}

#[test]
fn strings_are_not_removed_from_weak_tables() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let t = weak_table(&mut rt, "kv");
    roots.0.borrow_mut().push(Value::table(t));
    let (short, long) = (
        string(&mut rt, "a short one"),
        string(&mut rt, &"long".repeat(1000)),
    );
    set(&mut rt, t, Value::int(1), short);
    set(&mut rt, t, long, short);
    set(&mut rt, t, short, long);
    rt.collect_full(&roots);
    rt.collect_full(&roots);
    assert_eq!(
        rt.get(t, Value::int(1)).as_string().unwrap().as_bytes(),
        b"a short one"
    );
    assert_eq!(
        rt.get(t, short).as_string().unwrap().as_bytes(),
        "long".repeat(1000).as_bytes()
    );
}

#[test]
fn all_finalizers_run_in_reverse_order_at_the_end() {
    let mut rt = Runtime::new().unwrap();
    let objects: Vec<_> = (0..5).map(|_| new_table(&mut rt)).collect();
    for &o in &objects {
        rt.heap.register_finalizer(o.header()).unwrap();
        rt.heap.register_finalizer(o.header()).unwrap();
    }
    rt.heap.all_finalizers();
    let order: Vec<_> = std::iter::from_fn(|| rt.heap.next_finalizer())
        .map(|v| v.as_table().unwrap())
        .collect();
    assert!(order.iter().eq(objects.iter().rev()));
}

/// Allocates garbage, with a safepoint after each table.
fn churn(rt: &mut Runtime, roots: &dyn Roots, tables: usize) -> usize {
    let mut peak = 0;
    for i in 0..tables {
        let t = new_table(rt);
        set(rt, t, Value::int(1), Value::int(i as i64));
        if rt.heap.should_collect() {
            rt.gc_step(roots);
        }
        peak = peak.max(rt.heap.used());
    }
    peak
}

#[test]
fn the_heap_stays_near_twice_what_is_alive() {
    for (mode, factor) in [(Mode::Incremental, 3), (Mode::Generational, 3)] {
        let mut rt = Runtime::new().unwrap();
        let roots = TestRoots::default();
        rt.set_gc_mode(&roots, mode);
        let list = new_table(&mut rt);
        roots.0.borrow_mut().push(Value::table(list));
        for i in 1..=20_000 {
            let t = new_table(&mut rt);
            set(&mut rt, list, Value::int(i), Value::table(t));
        }
        rt.collect_full(&roots);
        let alive = rt.heap.used();
        let peak = churn(&mut rt, &roots, 500_000);
        assert!(peak < alive * factor, "{mode:?}: {peak} of {alive}");
        assert!(rt.heap.stats().cycles > 5);
    }
}

#[test]
fn a_stopped_collector_does_not_run_until_the_limit_calls() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    rt.heap.stop();
    churn(&mut rt, &roots, 50_000);
    assert_eq!(rt.heap.stats().cycles, 0);
    assert!(!rt.heap.is_running() && !rt.heap.should_collect());
    let limit = rt.heap.used() + 1_000_000;
    rt.heap.set_limit(limit);
    let peak = churn(&mut rt, &roots, 200_000);
    assert!(peak <= limit && rt.heap.stats().cycles > 0);
    rt.heap.restart();
    assert!(rt.heap.should_collect());
}

#[test]
fn a_nearly_full_heap_does_not_collect_all_the_time() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let list = new_table(&mut rt);
    roots.0.borrow_mut().push(Value::table(list));
    for i in 1..=20_000 {
        let t = new_table(&mut rt);
        set(&mut rt, list, Value::int(i), Value::table(t));
    }
    rt.collect_full(&roots);
    let limit = rt.heap.used() / 100 * 105;
    rt.heap.set_limit(limit);
    let cycles = rt.heap.stats().cycles;
    assert!(churn(&mut rt, &roots, 100_000) <= limit);
    // 100000 tables of 96 bytes through a room of which half is used between collections.
    let room = limit - limit / 105 * 100;
    assert!(rt.heap.stats().cycles - cycles < (100_000 * 160 / (room / 2) + 5) as u64);
}

#[test]
fn steps_complete_a_cycle() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let mut steps = 1;
    while !rt.gc_step_kb(&roots, 0) {
        steps += 1;
        assert!(steps < 1000);
    }
    assert_eq!(rt.heap.stats().cycles, 1);
    assert!(rt.gc_step_kb(&roots, 1 << 20));
}

#[test]
fn stress_asks_for_a_collection_at_every_safepoint() {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    rt.heap.set_stress(true);
    for _ in 0..3 {
        assert!(rt.heap.should_collect());
        rt.gc_step(&roots);
    }
    assert_eq!(rt.heap.stats().cycles, 3);
    rt.heap.set_stress(false);
    assert!(!rt.heap.should_collect());
}
