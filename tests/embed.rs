//! The embedding API from outside: conversions, errors, host values, limits, and misuse.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use perilune::*;

fn eval<R: FromLuaMulti>(vm: &Vm, source: &str) -> R {
    vm.load(source)
        .eval()
        .unwrap_or_else(|e| panic!("{source}: {e}"))
}

fn message(e: Error) -> String {
    match e {
        Error::Runtime(e) => e.message,
        e => e.to_string(),
    }
}

// Conversions.

#[test]
fn integers_are_checked() {
    let vm = Vm::new();
    assert_eq!(eval::<u8>(&vm, "255"), 255);
    assert_eq!(eval::<i64>(&vm, "'0x10'"), 16);
    assert_eq!(eval::<i32>(&vm, "3.0"), 3);
    for (source, text) in [
        ("256", "number out of range for u8"),
        ("-1", "number out of range for u8"),
        ("1.5", "number has no integer representation"),
        ("{}", "number expected, got table"),
        ("nil", "number expected, got nil"),
        ("'x'", "number expected, got string"),
    ] {
        assert_eq!(
            vm.load(source).eval::<u8>().unwrap_err().to_string(),
            text,
            "{source}"
        );
    }
    let f = vm.create_function(|_, n: u8| Ok(n)).unwrap();
    vm.globals().set("f", f).unwrap();
    let e = vm.load("f(1000)").name("=c").exec().unwrap_err();
    assert_eq!(
        message(e),
        "c:1: bad argument #1 to 'f' (number out of range for u8)"
    );
    let e = vm.load("f({})").name("=c").exec().unwrap_err();
    assert_eq!(
        message(e),
        "c:1: bad argument #1 to 'f' (number expected, got table)"
    );
    assert!(matches!(
        vm.globals().set("x", u64::MAX),
        Err(Error::IntoLua { from: "u64", .. })
    ));
    assert!(vm.globals().set("x", u64::MAX / 2).is_ok());
}

#[test]
fn scalars_and_strings() {
    let vm = Vm::new();
    assert_eq!(eval::<f64>(&vm, "1"), 1.0);
    assert!(!eval::<bool>(&vm, "nil"));
    assert!(eval::<bool>(&vm, "0"));
    assert_eq!(eval::<String>(&vm, "12"), "12");
    assert_eq!(eval::<char>(&vm, "'é'"), 'é');
    assert_eq!(eval::<Bytes>(&vm, r"'\xff\0a'").0, b"\xff\0a");
    assert!(vm.load(r"'\xff'").eval::<String>().is_err());
    assert_eq!(eval::<Option<i64>>(&vm, "nil"), None);
    assert_eq!(eval::<Option<i64>>(&vm, "4"), Some(4));
    let g = vm.globals();
    g.set("s", "a").unwrap();
    g.set("t", String::from("b")).unwrap();
    g.set("u", Bytes(vec![0xff])).unwrap();
    assert_eq!(eval::<Bytes>(&vm, "s .. t .. u").0, b"ab\xff");
}

#[test]
fn collections() {
    let vm = Vm::new();
    let g = vm.globals();
    g.set("list", vec![1, 2, 3]).unwrap();
    assert_eq!(eval::<i64>(&vm, "#list + list[3]"), 6);
    assert_eq!(eval::<Vec<String>>(&vm, "{'a', 'b'}"), ["a", "b"]);
    assert_eq!(eval::<[i64; 2]>(&vm, "{1, 2}"), [1, 2]);
    assert!(vm.load("{1}").eval::<[i64; 2]>().is_err());
    let map: BTreeMap<String, i64> = eval(&vm, "{a = 1, b = 2}");
    assert_eq!(
        map.into_iter().collect::<Vec<_>>(),
        [("a".into(), 1), ("b".into(), 2)]
    );
    g.set("map", HashMap::from([("k", 5)])).unwrap();
    assert_eq!(eval::<i64>(&vm, "map.k"), 5);
    assert!(vm.load("{1, 'x'}").eval::<Vec<i64>>().is_err());
}

#[test]
fn lists_of_values() {
    let vm = Vm::new();
    let (a, b, rest): (i64, Option<i64>, Variadic<i64>) = eval(&vm, "1, nil, 3, 4");
    assert_eq!((a, b, rest.0), (1, None, vec![3, 4]));
    eval::<()>(&vm, "1, 2");
    assert_eq!(eval::<MultiValue>(&vm, "1, nil").len(), 2);
    type Twelve = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
    let f = vm.create_function(|_, t: Twelve| Ok(t)).unwrap();
    let t: Twelve = f.call((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)).unwrap();
    assert_eq!(t.11, 12);
    let many: Variadic<i64> = eval(
        &vm,
        "table.unpack({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 1, 200)"
            .replace("200", "10")
            .as_str(),
    );
    assert_eq!(many.len(), 10);
    let list = Variadic((0..100_000i64).collect());
    let count: Function = eval(&vm, "function(...) return select('#', ...) end");
    assert_eq!(count.call::<usize>(list).unwrap(), 100_000);
    let list = Variadic((0..2_000_000i64).collect());
    assert!(matches!(
        count.call::<usize>(list),
        Err(Error::StackOverflow)
    ));
    assert_eq!(count.call::<usize>((1, 2)).unwrap(), 2);
}

#[test]
fn values_keep_their_subtype_and_identity() {
    let vm = Vm::new();
    assert!(matches!(eval(&vm, "3"), Value::Integer(3)));
    assert!(matches!(eval(&vm, "3.0"), Value::Number(_)));
    let t: Value = eval(&vm, "{}");
    vm.globals().set("t", &t).unwrap();
    assert_eq!(eval::<Value>(&vm, "t"), t);
    assert_ne!(eval::<Value>(&vm, "{}"), t);
    assert_eq!(
        eval::<LuaString>(&vm, "'a' .. 'b'"),
        eval::<LuaString>(&vm, "'ab'")
    );
}

// Tables, functions, coroutines.

#[test]
fn tables() {
    let vm = Vm::new();
    let t: Table = eval(
        &vm,
        "setmetatable({}, {__index = function(_, k) return k .. '?' end, __newindex = error})",
    );
    assert_eq!(t.get::<String>("a").unwrap(), "a?");
    assert!(t.raw_get::<Value>("a").unwrap().is_nil());
    assert!(t.set("a", 1).is_err());
    t.raw_set("a", 1).unwrap();
    assert_eq!(t.get::<i64>("a").unwrap(), 1);
    let e = t.raw_set(f64::NAN, 1).unwrap_err();
    assert!(message(e).contains("index is NaN"));
    assert!(t.raw_set(Value::Nil, 1).is_err());
    t.clear().unwrap();
    assert!(t.is_empty().unwrap());
    let t = vm.create_table().unwrap();
    for i in 1..=5 {
        t.push(i * i).unwrap();
    }
    assert_eq!(
        t.sequence_values::<i64>()
            .collect::<Result<Vec<_>>>()
            .unwrap(),
        [1, 4, 9, 16, 25]
    );
    assert_eq!(t.pairs::<i64, i64>().map(|p| p.unwrap().1).sum::<i64>(), 55);
    let object: Table = eval(
        &vm,
        "{n = 3, add = function(self, m) return self.n + m end}",
    );
    assert_eq!(object.call_method::<i64>("add", 4).unwrap(), 7);
    assert!(object.call_method::<i64>("missing", ()).is_err());
}

#[test]
fn finalizers_set_by_the_host_run() {
    let vm = Vm::new();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let m = vm.create_table().unwrap();
    let gc = vm.create_function(move |_, _: Table| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    m.set("__gc", gc.unwrap()).unwrap();
    vm.create_table().unwrap().set_metatable(Some(&m)).unwrap();
    vm.collect_garbage().unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    let kept = vm.create_table().unwrap();
    kept.set_metatable(Some(&m)).unwrap();
    drop(vm);
    assert_eq!(ran.load(Ordering::Relaxed), 2);
}

#[test]
fn coroutines() {
    let vm = Vm::new();
    let body: Function = eval(
        &vm,
        "function(...) local n = select('#', ...) while true do n = n + coroutine.yield(n) end end",
    );
    let co = vm.create_coroutine(&body).unwrap();
    assert_eq!(co.resume::<i64>((1, 2, 3)).unwrap(), 3);
    assert_eq!(co.resume::<i64>(4).unwrap(), 7);
    let e = co.resume::<i64>(vec![1]).unwrap_err();
    assert!(message(e.clone()).contains("arithmetic"), "{e}");
    assert_eq!(co.status().unwrap(), CoroutineStatus::Dead);
    assert!(message(co.resume::<i64>(()).unwrap_err()).contains("cannot resume dead coroutine"));
    let closing: Function = eval(
        &vm,
        "function() local x <close> = setmetatable({}, {__close = function() closed = true end}) coroutine.yield() end",
    );
    let co = vm.create_coroutine(&closing).unwrap();
    co.resume::<()>(()).unwrap();
    co.close().unwrap();
    assert!(eval::<bool>(&vm, "closed"));
}

#[test]
fn environments_and_names() {
    let vm = Vm::new();
    let env = vm.create_table().unwrap();
    vm.load("x = 1").env(&env).exec().unwrap();
    assert_eq!(env.get::<i64>("x").unwrap(), 1);
    assert!(eval::<bool>(&vm, "x == nil"));
    let e = vm.load("error('e')").name("@file.lua").exec().unwrap_err();
    assert_eq!(message(e), "file.lua:1: e");
    match vm.load("for").exec() {
        Err(Error::Syntax {
            incomplete_input: true,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    match vm.load("x = = 2").exec() {
        Err(Error::Syntax {
            incomplete_input: false,
            message,
        }) => assert!(message.contains("unexpected symbol near '='")),
        other => panic!("{other:?}"),
    }
}

// Errors.

#[derive(Debug, PartialEq)]
struct Custom(u32);

impl std::fmt::Display for Custom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "custom {}", self.0)
    }
}

impl std::error::Error for Custom {}

#[test]
fn host_errors_come_back_whole() {
    let vm = Vm::new();
    let fail = vm
        .create_function(|_, n: u32| Err::<(), _>(Error::external(Custom(n))))
        .unwrap();
    vm.globals().set("fail", fail).unwrap();
    let e = vm
        .load("local function f() fail(7) end f()")
        .exec()
        .unwrap_err();
    assert_eq!(
        e.source().unwrap().downcast_ref::<Custom>(),
        Some(&Custom(7))
    );
    assert_eq!(e.downcast_ref::<Custom>(), Some(&Custom(7)));
    let Error::Runtime(e) = e else { panic!() };
    assert_eq!(e.message, "custom 7");
    assert!(e.traceback.unwrap().contains("stack traceback"));
    assert_eq!(
        eval::<(bool, String)>(
            &vm,
            "(function() local ok, e = pcall(fail, 1) return ok, tostring(e) end)()"
        ),
        (false, "custom 1".into())
    );
    let caught: Error = eval(&vm, "select(2, pcall(fail, 2))");
    assert_eq!(caught.downcast_ref::<Custom>(), Some(&Custom(2)));
    let e = vm
        .load("local ok, e = pcall(fail, 3) error(e)")
        .exec()
        .unwrap_err();
    assert_eq!(e.downcast_ref::<Custom>(), Some(&Custom(3)));
}

#[test]
fn errors_cross_nested_calls() {
    let vm = Vm::new();
    let call = vm
        .create_function(|_, f: Function| f.call::<MultiValue>(()))
        .unwrap();
    vm.globals().set("call", call).unwrap();
    let e = vm
        .load("call(function() call(function() error({code = 5}) end) end)")
        .exec()
        .unwrap_err();
    let Error::Runtime(e) = e else { panic!() };
    let Value::Table(t) = e.value else { panic!() };
    assert_eq!(t.get::<i64>("code").unwrap(), 5);
    assert_eq!(
        eval::<i64>(
            &vm,
            "select(2, pcall(call, function() error({code = 6}) end)).code"
        ),
        6
    );
    assert_eq!(
        eval::<i64>(
            &vm,
            "call(function() return call(function() return 9 end) end)"
        ),
        9
    );
    let e = vm
        .load("local function f() call(f) end f()")
        .exec()
        .unwrap_err();
    assert!(message(e).contains("stack overflow"));
    assert_eq!(eval::<i64>(&vm, "call(function() return 1 end)"), 1);
    let e = vm
        .load("coroutine.wrap(function() call(function() coroutine.yield() end) end)()")
        .exec()
        .unwrap_err();
    assert!(message(e).contains("attempt to yield across a C-call boundary"));
}

#[test]
fn panics_go_through() {
    let vm = Vm::new();
    let g = vm.globals();
    g.set(
        "panics",
        vm.create_function(|_, ()| -> Result<()> { panic!("out of order") })
            .unwrap(),
    )
    .unwrap();
    let unwound = Arc::new(AtomicUsize::new(0));
    let count = unwound.clone();
    g.set(
        "call",
        vm.create_function(move |_, f: Function| {
            struct Count<'a>(&'a AtomicUsize);
            impl Drop for Count<'_> {
                fn drop(&mut self) {
                    self.0.fetch_add(1, Ordering::Relaxed);
                }
            }
            let _count = Count(&count);
            f.call::<()>(())
        })
        .unwrap(),
    )
    .unwrap();
    for source in [
        "pcall(panics)",
        "pcall(function() call(function() pcall(panics) end) end)",
        "coroutine.resume(coroutine.create(panics))",
        "pcall(coroutine.wrap(panics))",
        "xpcall(panics, print)",
    ] {
        let payload = catch_unwind(AssertUnwindSafe(|| vm.load(source).exec())).unwrap_err();
        assert_eq!(
            *payload.downcast_ref::<&str>().unwrap(),
            "out of order",
            "{source}"
        );
        assert_eq!(eval::<i64>(&vm, "1 + 1"), 2);
        assert!(!eval::<bool>(&vm, "pcall(error)"));
    }
    assert_eq!(unwound.load(Ordering::Relaxed), 1);
}

// Host values.

struct Counter(i64);

impl UserData for Counter {
    fn add_methods(methods: &mut UserDataMethods<Self>) {
        methods.add_method("get", |_, this, ()| Ok(this.0));
        methods.add_method_mut("add", |_, this, n: i64| {
            this.0 += n;
            Ok(this.0)
        });
        methods.add_method("with", |_, this, f: Function| {
            f.call::<()>(())?;
            Ok(this.0)
        });
        methods.add_method_mut("with_mut", |_, this, f: Function| {
            f.call::<()>(())?;
            Ok(this.0)
        });
        methods.add_function("new", |_, n: i64| Ok(Counter(n)));
        methods.add_field_method_get("value", |_, this| Ok(this.0));
        methods.add_field_method_set("value", |_, this, n: i64| {
            this.0 = n;
            Ok(())
        });
        methods.add_meta_method(MetaMethod::Add, |_, this, other: UserDataRef<Counter>| {
            Ok(Counter(this.0 + other.0))
        });
        methods.add_meta_method(MetaMethod::Len, |_, this, ()| Ok(this.0));
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("counter at {}", this.0))
        });
        methods.add_meta_method_mut(MetaMethod::Call, |_, this, ()| {
            this.0 += 1;
            Ok(this.0)
        });
    }
}

struct Plain(#[expect(dead_code, reason = "held for its Drop")] DropCount);

impl UserData for Plain {}

struct DropCount(Arc<AtomicUsize>);

impl Drop for DropCount {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn userdata_methods() {
    let vm = Vm::new();
    vm.globals().set("c", Counter(1)).unwrap();
    assert_eq!(eval::<i64>(&vm, "c:add(4) + c:get()"), 10);
    assert_eq!(eval::<i64>(&vm, "c.value + #c"), 10);
    vm.load("c.value = 7").exec().unwrap();
    assert_eq!(
        eval::<String>(&vm, "tostring(c + c.new(1))"),
        "counter at 8"
    );
    assert_eq!(eval::<i64>(&vm, "c()"), 8);
    assert!(eval::<bool>(&vm, "c.unknown == nil"));
    assert!(!eval::<bool>(&vm, "getmetatable(c)"));
    for (source, text) in [
        ("c.value = 'x'", "number expected, got string"),
        ("c.other = 1", "cannot set field 'other'"),
        (
            "c.get()",
            "bad argument #1 to 'get' (Counter expected, got nil)",
        ),
        ("c.get({})", "Counter expected, got table"),
        (
            "c:get(1, 2) c:add({})",
            "bad argument #1 to 'add' (number expected, got table)",
        ),
        ("local d = c + 1", "Counter expected, got number"),
    ] {
        let e = message(vm.load(source).exec().unwrap_err());
        assert!(e.contains(text), "{source}: {e}");
    }
    let c: AnyUserData = eval(&vm, "c");
    assert_eq!(c.call_method::<i64>("get", ()).unwrap(), 8);
    assert_eq!(c.get::<i64>("value").unwrap(), 8);
}

#[test]
fn userdata_borrows() {
    let vm = Vm::new();
    let c = vm.create_userdata(Counter(1)).unwrap();
    vm.globals().set("c", &c).unwrap();
    assert_eq!(eval::<i64>(&vm, "c:with(function() c:get() end)"), 1);
    let e = vm
        .load("c:with(function() c:add(1) end)")
        .exec()
        .unwrap_err();
    assert!(message(e.clone()).contains("userdata is already borrowed"));
    assert!(e.downcast_ref::<Error>().is_some());
    let e = vm
        .load("c:with_mut(function() c:get() end)")
        .exec()
        .unwrap_err();
    assert!(message(e).contains("userdata is already mutably borrowed"));
    {
        let held = c.borrow::<Counter>().unwrap();
        assert_eq!(held.0, 1);
        assert!(c.borrow::<Counter>().is_ok());
        assert!(matches!(
            c.borrow_mut::<Counter>(),
            Err(Error::UserDataBorrowed { mutably: false })
        ));
        assert!(c.take::<Counter>().is_err());
        assert!(vm.load("c:add(1)").exec().is_err());
        vm.collect_garbage().unwrap();
    }
    c.borrow_mut::<Counter>().unwrap().0 = 5;
    assert!(matches!(c.borrow::<Plain>(), Err(Error::FromLua { .. })));
    assert_eq!(c.take::<Counter>().unwrap().0, 5);
    assert!(matches!(c.borrow::<Counter>(), Err(Error::UserDataTaken)));
    assert!(vm.load("c:get()").exec().is_err());
}

#[test]
fn host_values_are_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let vm = Vm::new();
    vm.globals()
        .set("p", Plain(DropCount(drops.clone())))
        .unwrap();
    let held = DropCount(drops.clone());
    let f = vm
        .create_function(move |_, ()| Ok(Arc::strong_count(&held.0) as i64))
        .unwrap();
    vm.globals().set("f", f).unwrap();
    vm.load("p = nil").exec().unwrap();
    vm.collect_garbage().unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    vm.load("f = nil").exec().unwrap();
    vm.collect_garbage().unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    vm.globals()
        .set("p", Plain(DropCount(drops.clone())))
        .unwrap();
    drop(vm);
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

// Misuse.

#[test]
fn handles_of_another_vm_are_refused() {
    let (a, b) = (Vm::new(), Vm::new());
    let t = a.create_table().unwrap();
    assert!(matches!(b.globals().set("t", &t), Err(Error::WrongVm)));
    assert!(matches!(b.globals().get::<Value>(&t), Err(Error::WrongVm)));
    let f: Function = eval(&b, "type");
    assert!(matches!(f.call::<String>(&t), Err(Error::WrongVm)));
    assert!(matches!(b.load("").env(&t).exec(), Err(Error::WrongVm)));
    assert!(matches!(
        b.create_table().unwrap().set_metatable(Some(&t)),
        Err(Error::WrongVm)
    ));
    assert!(matches!(a.create_coroutine(&f), Err(Error::WrongVm)));
    let g = b.create_function(move |_, ()| Ok(t.clone())).unwrap();
    let e = g.call::<Value>(()).unwrap_err();
    assert!(matches!(e.downcast_ref::<Error>(), Some(Error::WrongVm)));
    assert_eq!(eval::<i64>(&b, "1"), 1);
}

#[test]
fn handles_outlive_the_vm() {
    let vm = Vm::new();
    let t: Table = eval(&vm, "{1}");
    let f: Function = eval(&vm, "print");
    let s: LuaString = eval(&vm, "'s'");
    let u = vm.create_userdata(Counter(0)).unwrap();
    let cancel = vm.cancel_handle();
    let copy = t.clone();
    drop(vm);
    assert!(matches!(t.get::<i64>(1), Err(Error::Dropped)));
    assert!(matches!(f.call::<()>(()), Err(Error::Dropped)));
    assert!(matches!(s.to_vec(), Err(Error::Dropped)));
    assert!(matches!(u.borrow::<Counter>(), Err(Error::Dropped)));
    assert!(t.to_pointer().is_null());
    assert!(t.pairs::<Value, Value>().next().unwrap().is_err());
    cancel.cancel();
    drop(t);
    let again = copy.clone();
    drop(copy);
    assert!(again.len().is_err());
}

#[test]
fn dropping_a_running_vm_waits() {
    let slot = Arc::new(Mutex::new(None));
    let vm = Vm::new();
    let inner = slot.clone();
    let f = vm.create_function(move |vm, ()| {
        drop(inner.lock().unwrap().take());
        vm.globals().set("still", 1)?;
        Ok(vm.create_table().is_ok())
    });
    vm.globals().set("f", f.unwrap()).unwrap();
    let run: Function = eval(&vm, "function() return f() and still == 1 end");
    *slot.lock().unwrap() = Some(vm);
    assert!(run.call::<bool>(()).unwrap());
    assert!(matches!(run.call::<bool>(()), Err(Error::Dropped)));
}

#[test]
fn dropping_a_vm_during_a_conversion_waits() {
    struct DropsVm(Vm);
    impl IntoLua for DropsVm {
        fn into_lua(self, _: &Vm) -> Result<Value> {
            drop(self.0);
            Ok(Value::Integer(1))
        }
    }
    let vm = Vm::new();
    let f: Function = eval(&vm, "function(a, b) return a + b end");
    assert_eq!(f.call::<i64>((DropsVm(vm), 2)).unwrap(), 3);
    assert!(matches!(f.call::<i64>((1, 2)), Err(Error::Dropped)));
}

#[test]
fn borrows_keep_a_dropped_vm() {
    let vm = Vm::new();
    let u = vm.create_userdata(Counter(3)).unwrap();
    let s: LuaString = eval(&vm, "('x'):rep(100)");
    let (value, bytes) = (u.borrow::<Counter>().unwrap(), s.as_bytes().unwrap());
    drop(vm);
    assert_eq!((value.0, bytes.len()), (3, 100));
    drop(value);
    assert_eq!(bytes[99], b'x');
    drop(bytes);
    assert!(matches!(s.to_vec(), Err(Error::Dropped)));
}

#[test]
fn host_code_inside_the_engine_is_refused() {
    // A host value that uses the VM while the collector drops it.
    struct UsesVm(Table, Arc<Mutex<Vec<Option<Error>>>>);
    impl UserData for UsesVm {}
    impl Drop for UsesVm {
        fn drop(&mut self) {
            let copy = self.0.clone();
            self.1.lock().unwrap().push(copy.set("x", 1).err());
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let vm = Vm::new();
    let t = vm.create_table().unwrap();
    drop(vm.create_userdata(UsesVm(t.clone(), seen.clone())).unwrap());
    vm.collect_garbage().unwrap();
    assert!(matches!(seen.lock().unwrap()[..], [Some(Error::Busy)]));
    assert!(t.is_empty().unwrap());
    vm.globals()
        .set("u", UsesVm(t.clone(), seen.clone()))
        .unwrap();
    drop(vm);
    assert!(matches!(seen.lock().unwrap()[1], Some(Error::Dropped)));
    // A panic in a destructor stays there.
    struct Panics;
    impl UserData for Panics {}
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let vm = Vm::new();
    vm.create_userdata(Panics).unwrap();
    vm.collect_garbage().unwrap();
    assert_eq!(eval::<i64>(&vm, "2"), 2);
}

#[test]
fn reentrant_use() {
    let vm = Vm::new();
    let t = vm.create_table().unwrap();
    let inside = t.clone();
    let f = vm.create_function(move |vm, n: i64| {
        inside.set(n, n)?;
        let made: Function = vm
            .load("function(n) if n > 0 then return f(n - 1) end return 0 end")
            .eval()?;
        vm.collect_garbage()?;
        Ok(made.call::<i64>(n)? + 1)
    });
    vm.globals().set("f", f.unwrap()).unwrap();
    assert_eq!(eval::<i64>(&vm, "f(20)"), 21);
    assert_eq!(t.len().unwrap(), 20);
}

#[test]
fn arguments_survive_collections_between_their_conversions() {
    struct Collects;
    impl IntoLua for Collects {
        fn into_lua(self, vm: &Vm) -> Result<Value> {
            vm.collect_garbage()?;
            vm.load("local t = {} for i = 1, 100 do t[i] = {i} end")
                .exec()?;
            Ok(Value::Boolean(true))
        }
    }
    let vm = Vm::builder().gc_stress(true).build().unwrap();
    let f: Function = eval(&vm, "function(a, b, c, d) return a .. c, b, d end");
    let r: (String, bool, bool) = f
        .call((
            "first ".repeat(10),
            Collects,
            "second ".repeat(10),
            Collects,
        ))
        .unwrap();
    assert_eq!(r.0, "first ".repeat(10) + &"second ".repeat(10));
    let g = vm
        .create_function(|_, ()| Ok(("a".repeat(100), Collects, vec![1, 2, 3])))
        .unwrap();
    let (a, b, c): (String, bool, Vec<i64>) = g.call(()).unwrap();
    assert_eq!((a.len(), b, c.len()), (100, true, 3));
}

// Threads.

#[test]
fn vms_and_handles_are_send() {
    fn send<T: Send>() {}
    fn send_and_sync<T: Send + Sync>() {}
    send::<Vm>();
    send::<VmBuilder>();
    send_and_sync::<(Table, Function, LuaString, Coroutine, AnyUserData)>();
    send_and_sync::<(Value, Error, CancelHandle)>();
}

#[test]
fn vms_move_between_threads() {
    let vm = Vm::new();
    vm.load("n = 1").exec().unwrap();
    let t = vm.globals();
    let vm = thread::spawn(move || {
        vm.load("n = n + 1").exec().unwrap();
        vm
    })
    .join()
    .unwrap();
    assert_eq!(t.get::<i64>("n").unwrap(), 2);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let t = t.clone();
            thread::spawn(move || {
                for _ in 0..200 {
                    let list: Vec<Table> = (0..4).map(|_| t.clone()).collect();
                    let x: Value = list[0].get("n").unwrap();
                    assert!(!x.is_nil());
                }
            })
        })
        .collect();
    for _ in 0..50 {
        vm.load("for i = 1, 1000 do local t = {i} end")
            .exec()
            .unwrap();
    }
    workers.into_iter().for_each(|w| w.join().unwrap());
    let t = thread::spawn(move || {
        drop(vm);
        t
    })
    .join()
    .unwrap();
    assert!(t.get::<i64>("n").is_err());
}

#[test]
fn handles_dropped_on_another_thread_are_given_back() {
    let vm = Vm::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let u = vm.create_userdata(Plain(DropCount(drops.clone()))).unwrap();
    let (to, from) = mpsc::channel();
    let (done_to, done) = mpsc::channel();
    thread::spawn(move || {
        drop(from.recv().unwrap());
        done_to.send(()).unwrap();
    });
    let done = Mutex::new(done);
    let sender = Mutex::new(Some((to, u)));
    let f = vm.create_function(move |_, ()| {
        let (to, u) = sender.lock().unwrap().take().unwrap();
        to.send(u).unwrap();
        done.lock().unwrap().recv().unwrap();
        Ok(())
    });
    f.unwrap().call::<()>(()).unwrap();
    vm.collect_garbage().unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

// Limits.

fn cancelled_after(vm: &Vm, source: &str) {
    let cancel = vm.cancel_handle();
    let timer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        cancel.cancel();
    });
    match vm.load(source).exec() {
        Err(Error::Cancelled) => {}
        other => panic!("{source}: {other:?}"),
    }
    timer.join().unwrap();
    assert_eq!(eval::<i64>(vm, "40 + 2"), 42);
    assert!(!eval::<bool>(vm, "pcall(error)"));
}

#[test]
fn cancellation() {
    let vm = Vm::new();
    let call = vm
        .create_function(|_, f: Function| Ok(f.call::<()>(()).is_ok()))
        .unwrap();
    vm.globals().set("swallow", call).unwrap();
    for source in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() return f() end f()",
        "repeat until not pcall(pcall, error)",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "while true do swallow(function() while true do end end) end",
        "xpcall(function() while true do end end, function() return 1 end)",
        "for i = 1, math.huge do local s = ('x'):rep(100) end",
        "table.sort(endless, function() return true end)",
        "table.sort(endless, rawequal)",
        "table.sort(endless)",
        "pcall(table.sort, endless, function(a, b) table.sort(endless, function() return true end) end)",
        "while true do pcall(table.sort, {3, 2, 1, 5}, function() return true end) end",
        "string.gsub('x', '.', function() while true do end end)",
        "while true do string.gsub(('x'):rep(1000), '.', function() end) end",
        "while true do string.gsub(('x'):rep(1000), '.', string.upper) end",
        "load(function() return ' ' end)",
        "load(os.time)",
        "tostring(setmetatable({}, {__tostring = function() while true do end end}))",
    ] {
        vm.load(
            "endless = setmetatable({}, {
                 __len = function() return 1 << 30 end,
                 __index = function(_, i) return i == 1 << 30 and 0 or i end,
                 __newindex = function() end,
             })",
        )
        .exec()
        .unwrap();
        cancelled_after(&vm, source);
    }
}

#[test]
fn callbacks_that_fail_leave_no_memory_behind() {
    let vm = Vm::new();
    let left = eval::<f64>(
        &vm,
        "local function fail(f, ...)
             collectgarbage() collectgarbage()
             local before = collectgarbage('count')
             pcall(f, ...)
             collectgarbage() collectgarbage()
             return collectgarbage('count') - before
         end
         local s, n, left = ('x'):rep(200000), 0, 0
         for _, wrap in ipairs { function(f) return f end, coroutine.wrap } do
             n = 0
             left = math.max(left, fail(wrap(string.gsub), s, '.', function() n = n + 1 if n == 150000 then error(n) end return 'yz' end))
             n = 0
             left = math.max(left, fail(wrap(load), function() n = n + 1 if n == 20 then error(n) end return s end))
         end
         return left",
    );
    assert!(left < 100.0, "{left} KiB are left");
}

#[test]
fn cancellation_closes_variables() {
    let vm = Vm::new();
    vm.globals()
        .set(
            "add",
            vm.create_function(|_, (a, b): (i64, i64)| Ok(a + b))
                .unwrap(),
        )
        .unwrap();
    cancelled_after(
        &vm,
        "closed = 0
         local function scope(f)
             local x <close> = setmetatable({}, {__close = function() for i = 1, 1000 do end closed = add(closed, 1) end})
             f()
         end
         pcall(scope, function()
             coroutine.wrap(function() scope(function() while true do end end) end)()
         end)",
    );
    assert_eq!(eval::<i64>(&vm, "closed"), 2);
}

#[test]
fn cancelling_an_idle_vm_stops_the_next_run() {
    let vm = Vm::new();
    vm.cancel_handle().cancel();
    assert!(matches!(
        vm.load("for i = 1, 10 do end").exec(),
        Err(Error::Cancelled)
    ));
    vm.load("for i = 1, 10 do end").exec().unwrap();
    vm.cancel_handle().cancel();
    vm.cancel_handle().withdraw();
    vm.load("for i = 1, 10 do end").exec().unwrap();
}

#[test]
fn memory_limit() {
    let vm = Vm::new();
    vm.set_memory_limit(vm.used_memory().unwrap() + (1 << 20))
        .unwrap();
    for source in [
        "local t = {} while true do t[#t + 1] = {} end",
        "local s = 'x' while true do s = s .. s end",
    ] {
        assert!(
            matches!(vm.load(source).exec(), Err(Error::Memory)),
            "{source}"
        );
        let (ok, text): (bool, String) = eval(&vm, &format!("pcall(function() {source} end)"));
        assert_eq!(
            (ok, text.as_str()),
            (false, "not enough memory"),
            "{source}"
        );
        vm.collect_garbage().unwrap();
    }
    let held: Vec<_> = (0..)
        .map_while(|_| vm.create_string("x".repeat(10_000)).ok())
        .collect();
    assert!(held.len() > 50);
    assert!(matches!(
        vm.create_string("x".repeat(100_000)),
        Err(Error::Memory)
    ));
    drop(held);
    vm.load("local t = {} for i = 1, 100000 do t = {} end")
        .exec()
        .unwrap();
    for _ in 0..100_000 {
        vm.create_table().unwrap();
        vm.create_string("some string of more than forty bytes, made again and again")
            .unwrap();
    }
    assert!(vm.used_memory().unwrap() < 2 << 20);
}

#[test]
fn output_and_warnings() {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (sink, warnings) = (Sink::default(), Arc::new(Mutex::new(Vec::new())));
    let kept = warnings.clone();
    let vm = Vm::builder()
        .output(Box::new(sink.clone()))
        .warnings(move |piece, more| kept.lock().unwrap().push((piece.to_vec(), more)))
        .build()
        .unwrap();
    vm.load(
        "local n = 0
         local o = setmetatable({}, {__tostring = function() n = n + 1 if n > 3 then error('m') end return 'o' .. n end})
         print(1, 'a') io.write('x', 2, '\\n') warn('w', 'v')
         print() print(o, nil, o, o) print(pcall(print, true, o))",
    )
    .exec()
    .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&sink.0.lock().unwrap()),
        "1\ta\nx2\n\no1\tnil\to2\to3\ntruefalse\t[string \"local n = 0...\"]:2: m\n"
    );
    assert_eq!(
        *warnings.lock().unwrap(),
        [(b"w".to_vec(), true), (b"v".to_vec(), false)]
    );
}

#[test]
fn libraries_are_chosen() {
    let vm = Vm::builder()
        .libraries(Libraries::BASE | Libraries::MATH)
        .build()
        .unwrap();
    assert!(eval::<bool>(
        &vm,
        "io == nil and os == nil and math.type(1) == 'integer'"
    ));
}

#[test]
fn scripts_cannot_reach_the_closure_of_a_host_function() {
    let vm = Vm::new();
    let f = vm.create_function(|_, ()| Ok(1)).unwrap();
    vm.globals().set("f", f).unwrap();
    vm.load("debug.setupvalue(f, 1, nil) pcall(debug.upvaluejoin, f, 1, f, 1)")
        .exec()
        .unwrap();
    assert_eq!(eval::<i64>(&vm, "f()"), 1);
}

/// The events that a hook of the host sees in a run of `source`, with line and name.
fn hooked(triggers: HookTriggers, source: &str) -> Vec<(HookEvent, Option<u32>, Option<String>)> {
    let vm = Vm::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let f = vm.load(source).name("=hooked").into_function().unwrap();
    vm.set_hook(triggers, move |_, context| {
        if context.source().as_deref() == Some("hooked") {
            log.lock()
                .unwrap()
                .push((context.event(), context.line(), context.function_name()));
        }
        Ok(())
    })
    .unwrap();
    f.call::<()>(()).unwrap();
    vm.remove_hook().unwrap();
    vm.load("local a = 1").name("=hooked").exec().unwrap();
    drop(vm);
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

#[test]
fn hooks_of_the_host_see_all_coroutines() {
    let source =
        "local function f()\n  return 1\nend\ncoroutine.wrap(function()\n  local x = f()\nend)()";
    let lines: Vec<u32> = hooked(HookTriggers::EVERY_LINE, source)
        .iter()
        .map(|(event, line, _)| {
            assert_eq!(*event, HookEvent::Line);
            line.unwrap()
        })
        .collect();
    assert_eq!(lines, [3, 4, 6, 4, 6, 5, 2, 6]);
    let calls = hooked(HookTriggers::ON_CALLS | HookTriggers::ON_RETURNS, source);
    let calls: Vec<_> = calls
        .iter()
        .map(|(event, _, name)| (*event, name.as_deref()))
        .collect();
    assert_eq!(
        calls,
        [
            (HookEvent::Call, None),
            (HookEvent::Call, None),
            (HookEvent::Call, Some("f")),
            (HookEvent::Return, Some("f")),
            (HookEvent::Return, None),
            (HookEvent::Return, None),
        ]
    );
}

#[test]
fn a_hook_of_the_host_limits_what_script_hooks_do() {
    let vm = Vm::new();
    let source = "coroutine.wrap(function()\n\
        debug.sethook(function() while true do end end, 'l')\n\
        local a = 1\n\
        end)()";
    vm.set_hook(HookTriggers::every_nth_instruction(10_000), |_, context| {
        assert_eq!(context.event(), HookEvent::Count);
        Err(Error::Cancelled)
    })
    .unwrap();
    assert!(matches!(vm.load(source).exec(), Err(Error::Cancelled)));
    // A hook that is set while code runs takes effect at once, and its errors can be caught unless they end the run.
    vm.remove_hook().unwrap();
    let set = vm
        .create_function(|vm, ()| {
            vm.set_hook(HookTriggers::EVERY_LINE, |vm, _| {
                vm.remove_hook()?;
                Err(Error::message("a line"))
            })
        })
        .unwrap();
    vm.globals().set("set", set).unwrap();
    let caught: String = vm
        .load("local _, e = pcall(function()\nset()\nlocal a = 1\nend) return tostring(e)")
        .eval()
        .unwrap();
    assert!(caught.contains("a line"), "{caught}");
}

/// A function of the host that sets a hook for returns is the first to return, however it is called.
#[test]
fn functions_return_through_the_hook_that_they_set() {
    let source = "local function call(i) local r = set(i) return r end
        local s = 0
        for i = 1, 40 do s = s + call(i) end
        return s";
    for engine in [Engine::Off, Engine::Uops, Engine::Jit] {
        if !engine.is_built_in() {
            continue;
        }
        for hot in [1, 2, 5, 100] {
            let vm = Vm::builder()
                .engine(engine)
                .hot_threshold(hot)
                .build()
                .unwrap();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&seen);
            let set = vm.create_function(move |vm, i: i64| {
                let log = Arc::clone(&log);
                if i == 30 {
                    vm.set_hook(HookTriggers::ON_RETURNS, move |vm, context| {
                        let mut log = log.lock().unwrap();
                        log.push((context.event(), context.function_name()));
                        if log.len() == 2 {
                            vm.remove_hook()?;
                        }
                        Ok(())
                    })?;
                }
                Ok(i)
            });
            vm.globals().set("set", set.unwrap()).unwrap();
            assert_eq!(eval::<i64>(&vm, source), 820, "{engine:?}, {hot}");
            let names = ["set", "call"].map(|name| (HookEvent::Return, Some(name.to_owned())));
            assert_eq!(*seen.lock().unwrap(), names, "{engine:?}, {hot}");
        }
    }
}
