//! The cost of the engine's parts, beside mlua on PUC-Rio Lua 5.4 in the same run.
//!
//! The parts that scripts use are loops in Lua of `ROUNDS` rounds; their rates are rounds per second. Compilation is
//! measured in bytes of source per second. VM creation includes dropping the VM.

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Rounds of a loop in Lua per iteration.
const ROUNDS: i64 = 1000;

/// Bytes of the large source, approximately.
const SOURCE_SIZE: usize = 5 << 20;

/// Each part: its name, what it needs, and what a round does, `i` being its number from 1.
const PARTS: [(&str, &str, &str); 16] = [
    ("array_get", "local t, s = {}, 0 for i = 1, 1000 do t[i] = i end", "s = s + t[i]"),
    ("array_set", "local t = {} for i = 1, 1000 do t[i] = i end", "t[i] = n"),
    ("array_append", "local t", "if i == 1 then t = {} end t[#t + 1] = i"),
    ("field_get", "local t, s = { a = 1, b = 2, c = 3 }, 0", "s = s + t.c"),
    ("field_set", "local t = { a = 1, b = 2, c = 3 }", "t.c = i"),
    ("hash_get", "local t, s = {}, 0 for i = 1, 1000 do t[i * 1.5 + 0.25] = i end", "s = s + t[i * 1.5 + 0.25]"),
    ("hash_set", "local t = {} for i = 1, 1000 do t[i * 1.5 + 0.25] = i end", "t[i * 1.5 + 0.25] = n"),
    (
        "string_key_get",
        "local t, keys, s = {}, {}, 0 for i = 1, 1000 do keys[i] = 'key' .. i t[keys[i]] = i end",
        "s = s + t[keys[i]]",
    ),
    ("global_get", "x = 1 local s = 0", "s = s + x"),
    ("call", "local s = 0 local function f(a, b) return a + b end", "s = f(s, i)"),
    ("method_call", "local o = { v = 0 } function o:add(x) self.v = self.v + x end", "o:add(i)"),
    ("new_table", "local t", "t = { i, i }"),
    ("new_object", "local t", "t = { x = i, y = i }"),
    ("new_closure", "local f", "f = function() return i end"),
    ("intern", "local sub, text, s = string.sub, ('abcdefgh'):rep(128)", "s = sub(text, i, i + 12)"),
    ("concat", "local s, tail = '', ('x'):rep(50)", "s = i .. tail .. i"),
];

/// The part as a function of the number of rounds.
fn part_source(setup: &str, round: &str) -> String {
    format!("{setup} return function(n) for i = 1, n do {round} end end")
}

fn parts(c: &mut Criterion) {
    for (name, setup, round) in PARTS {
        let source = part_source(setup, round);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(ROUNDS as u64));
        let vm = perilune::Vm::new();
        let f: perilune::Function = vm.load(&source).eval().unwrap();
        group.bench_function("perilune", |b| b.iter(|| f.call::<()>(black_box(ROUNDS)).unwrap()));
        let lua = mlua::Lua::new();
        let f: mlua::Function = lua.load(&source).eval().unwrap();
        group.bench_function("mlua", |b| b.iter(|| f.call::<()>(black_box(ROUNDS)).unwrap()));
        group.finish();
    }
}

/// A string that exists already, and one that does not, from Rust.
fn strings(c: &mut Criterion) {
    let (vm, lua) = (perilune::Vm::new(), mlua::Lua::new());
    let mut group = c.benchmark_group("create_string");
    let kept = (vm.create_string("a short string").unwrap(), lua.create_string("a short string").unwrap());
    group.bench_function("perilune", |b| b.iter(|| vm.create_string(black_box("a short string")).unwrap()));
    group.bench_function("mlua", |b| b.iter(|| lua.create_string(black_box("a short string")).unwrap()));
    drop(kept);
    group.finish();
    let mut group = c.benchmark_group("create_new_string");
    let mut bytes = *b"a short string: 00000000";
    let mut count = 0u64;
    let mut next = move || {
        count += 1;
        bytes[16..].copy_from_slice(&count.to_ne_bytes());
        bytes
    };
    group.bench_function("perilune", |b| b.iter(|| vm.create_string(next()).unwrap()));
    group.bench_function("mlua", |b| b.iter(|| lua.create_string(next()).unwrap()));
    group.finish();
}

/// The programs in `benches/programs`, each in a function, over and over.
fn large_source() -> String {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/programs");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let programs: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut source = String::new();
    for i in 0.. {
        if source.len() >= SOURCE_SIZE {
            break;
        }
        let program = &programs[i % programs.len()];
        writeln!(source, "functions[{i}] = function(...)\n{program}\nend").unwrap();
    }
    source
}

fn compile(c: &mut Criterion) {
    let source = large_source();
    let mut group = c.benchmark_group("compile");
    group.throughput(Throughput::Bytes(source.len() as u64));
    group.sample_size(10);
    let vm = perilune::Vm::new();
    group.bench_function("perilune", |b| b.iter(|| vm.load(&source).into_function().unwrap()));
    let lua = mlua::Lua::new();
    group.bench_function("mlua", |b| b.iter(|| lua.load(&source).into_function().unwrap()));
    group.finish();
}

fn vm_creation(c: &mut Criterion) {
    let mut group = c.benchmark_group("vm_creation");
    group.bench_function("perilune", |b| b.iter(perilune::Vm::new));
    group.bench_function("mlua", |b| b.iter(mlua::Lua::new));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    targets = vm_creation, compile, strings, parts
}
criterion_main!(benches);
