//! The collector's own lists fail to grow, at every point: the cycle is given up, and the heap is as it was.

use super::graph::{TestRoots, new_table, set, string, weak_table};
use crate::heap::{Mode, Phase, faults};
use crate::runtime::Runtime;
use crate::runtime::value::Value;

/// Builds a graph that needs each of the lists, in the middle of collections, and checks what is left of it. Registrations
/// of finalizers may fail; they are told.
fn exercise(mode: Mode) {
    let mut rt = Runtime::new().unwrap();
    let roots = TestRoots::default();
    let tables = ["k", "v", "kv"].map(|mode| weak_table(&mut rt, mode));
    let [ephemerons, weak_values, all_weak] = tables;
    let strong = new_table(&mut rt);
    roots.0.borrow_mut().extend(tables.map(Value::table));
    roots.0.borrow_mut().push(Value::table(strong));
    rt.set_gc_mode(&roots, mode);
    let mut registered = 0;
    for i in 1..=24 {
        let (key, value, dead) = (new_table(&mut rt), new_table(&mut rt), new_table(&mut rt));
        set(&mut rt, strong, Value::int(i), Value::table(key));
        set(&mut rt, value, Value::int(1), Value::int(i));
        set(&mut rt, ephemerons, Value::table(key), Value::table(value));
        set(&mut rt, weak_values, Value::int(i), Value::table(value));
        set(&mut rt, all_weak, Value::table(dead), Value::table(key));
        let name = string(&mut rt, &format!("name {i}"));
        set(&mut rt, strong, name, name);
        if i % 4 == 0 && rt.heap.register_finalizer(dead.header()).is_ok() {
            registered += 1;
        }
        rt.work(&roots, 300);
    }
    rt.work(&roots, isize::MAX);
    rt.collect_full(&roots);
    for i in 1..=24 {
        let key = rt.get(strong, Value::int(i));
        let value = rt
            .get(ephemerons, key)
            .as_table()
            .expect("its key is alive");
        assert_eq!(rt.get(value, Value::int(1)).as_int(), Some(i));
        assert_eq!(rt.get(weak_values, Value::int(i)).as_table(), Some(value));
        let name = string(&mut rt, &format!("name {i}"));
        assert!(rt.get(strong, name).same_bits(name));
    }
    // Without a failure still to come, the next cycles find everything.
    faults::set(None);
    let mut finalized = 0;
    for _ in 0..2 {
        rt.collect_full(&roots);
        while rt.heap.next_finalizer().is_some() {
            finalized += 1;
        }
    }
    rt.collect_full(&roots);
    assert_eq!(finalized, registered);
    assert!(rt.next(all_weak, Value::NIL).unwrap().is_none());
    assert!(rt.heap.phase == Phase::Pause);
}

#[test]
fn any_list_may_fail_to_grow() {
    for mode in [Mode::Incremental, Mode::Generational] {
        let mut n = 0;
        loop {
            faults::set(Some(n));
            exercise(mode);
            // The counter tells whether the failure happened before the exercise ended the mode.
            if !faults::happened() {
                break;
            }
            n += 1;
            assert!(n < 100_000);
        }
        assert!(n > 50, "{n} reservations in {mode:?} mode");
    }
}
