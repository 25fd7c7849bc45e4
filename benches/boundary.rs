//! The cost of crossing between Rust and Lua, beside mlua on PUC-Rio Lua 5.4 in the same run.
//!
//! The loops in Lua make `CALLS` calls per iteration; their times are to be divided by it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// Calls per iteration of the loops in Lua.
const CALLS: i64 = 1000;

const FUNCTION_LOOP: &str =
    "function(n) local add, s = add, 0 for i = 1, n do s = add(s, i) end return s end";
const METHOD_LOOP: &str =
    "function(n) local o, s = object, 0 for i = 1, n do s = s + o:get(i) end return s end";
const ADD: &str = "function(a, b) return a + b end";

struct Object(i64);

impl perilune::UserData for Object {
    fn add_methods(methods: &mut perilune::UserDataMethods<Self>) {
        methods.add_method("get", |_, this, n: i64| Ok(this.0 + n));
    }
}

impl mlua::UserData for Object {
    fn add_methods<M: mlua::UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |_, this, n: i64| Ok(this.0 + n));
    }
}

fn perilune_vm() -> perilune::Vm {
    let vm = perilune::Vm::new();
    let add = vm
        .create_function(|_, (a, b): (i64, i64)| Ok(a.wrapping_add(b)))
        .unwrap();
    vm.globals().set("add", add).unwrap();
    vm.globals().set("object", Object(1)).unwrap();
    vm
}

fn mlua_vm() -> mlua::Lua {
    let lua = mlua::Lua::new();
    let add = lua
        .create_function(|_, (a, b): (i64, i64)| Ok(a.wrapping_add(b)))
        .unwrap();
    lua.globals().set("add", add).unwrap();
    lua.globals().set("object", Object(1)).unwrap();
    lua
}

fn boundary(c: &mut Criterion) {
    let (vm, lua) = (perilune_vm(), mlua_vm());
    for (name, source) in [
        ("lua_to_rust_x1000", FUNCTION_LOOP),
        ("userdata_method_x1000", METHOD_LOOP),
    ] {
        let mut group = c.benchmark_group(name);
        let f: perilune::Function = vm.load(source).eval().unwrap();
        group.bench_function("perilune", |b| {
            b.iter(|| f.call::<i64>(black_box(CALLS)).unwrap())
        });
        let f: mlua::Function = lua.load(source).eval().unwrap();
        group.bench_function("mlua", |b| {
            b.iter(|| f.call::<i64>(black_box(CALLS)).unwrap())
        });
        group.finish();
    }

    let mut group = c.benchmark_group("rust_to_lua");
    let f: perilune::Function = vm.load(ADD).eval().unwrap();
    group.bench_function("perilune", |b| {
        b.iter(|| f.call::<i64>((black_box(1i64), black_box(2i64))).unwrap())
    });
    let f: mlua::Function = lua.load(ADD).eval().unwrap();
    group.bench_function("mlua", |b| {
        b.iter(|| f.call::<i64>((black_box(1i64), black_box(2i64))).unwrap())
    });
    group.finish();

    let mut group = c.benchmark_group("table_get");
    let t = vm.globals();
    t.set("x", 1).unwrap();
    group.bench_function("perilune", |b| {
        b.iter(|| t.get::<i64>(black_box("x")).unwrap())
    });
    let t = lua.globals();
    t.set("x", 1).unwrap();
    group.bench_function("mlua", |b| b.iter(|| t.get::<i64>(black_box("x")).unwrap()));
    group.finish();

    let mut group = c.benchmark_group("vm_creation");
    group.bench_function("perilune", |b| b.iter(perilune::Vm::new));
    group.bench_function("mlua", |b| b.iter(mlua::Lua::new));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
    targets = boundary
}
criterion_main!(benches);
