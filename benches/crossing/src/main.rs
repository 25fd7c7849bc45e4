//! What a call of a Rust function costs in a hot Lua loop, beside mlua on LuaJIT in the same run.
//!
//! Each line has nanoseconds of processor time per call, the loop included: the least and the median of the rounds, in which the two take turns.
//! An argument says how many rounds.

const CALLS: i64 = 200_000;
const ROUNDS: usize = 40;

/// The loops: functions of the number of passes.
const LOOPS: [(&str, &str); 8] = [
    (
        "empty loop",
        "local s = 0 for i = 1, n do s = s + i end return s",
    ),
    (
        "two floats",
        "local add, s = add_floats, 0.5 for i = 1, n do s = add(s, 1.5) end return s",
    ),
    (
        "two integers",
        "local add, s = add, 0 for i = 1, n do s = add(s, i) end return s",
    ),
    (
        "integer, global",
        "local s = 0 for i = 1, n do s = s + increment(i) end return s",
    ),
    (
        "boolean",
        "local odd, s = odd, 0 for i = 1, n do if odd(i) then s = s + 1 end end return s",
    ),
    (
        "no result",
        "local note, s = note, 0 for i = 1, n do note(i) s = s + 1 end return s",
    ),
    (
        "userdata method",
        "local o, s = object, 0 for i = 1, n do s = s + o:get(i) end return s",
    ),
    (
        "userdata, mutable",
        "local o, s = object, 0 for i = 1, n do o:add(1) s = s + 1 end return s",
    ),
];

struct Object(i64);

impl perilune::UserData for Object {
    fn add_methods(methods: &mut perilune::UserDataMethods<Self>) {
        methods.add_method("get", |_, this, n: i64| Ok(this.0.wrapping_add(n)));
        methods.add_method_mut("add", |_, this, n: i64| {
            this.0 = this.0.wrapping_add(n);
            Ok(())
        });
    }
}

impl mlua::UserData for Object {
    fn add_methods<M: mlua::UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |_, this, n: i64| Ok(this.0.wrapping_add(n)));
        methods.add_method_mut("add", |_, this, n: i64| {
            this.0 = this.0.wrapping_add(n);
            Ok(())
        });
    }
}

macro_rules! functions {
    ($vm:expr) => {{
        let vm = &$vm;
        let globals = vm.globals();
        globals.set(
            "add",
            vm.create_function(|_, (a, b): (i64, i64)| Ok(a.wrapping_add(b)))?,
        )?;
        globals.set(
            "add_floats",
            vm.create_function(|_, (a, b): (f64, f64)| Ok(a + b))?,
        )?;
        globals.set(
            "increment",
            vm.create_function(|_, a: i64| Ok(a.wrapping_add(1)))?,
        )?;
        globals.set("odd", vm.create_function(|_, a: i64| Ok(a % 2 != 0))?)?;
        globals.set("note", vm.create_function(|_, _: i64| Ok(()))?)?;
        globals.set("object", Object(1))?;
    }};
}

/// The processor time that the thread has used, in nanoseconds.
fn now() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the address of a time to be filled.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds per pass.
fn time<E: std::fmt::Debug>(run: impl Fn(i64) -> Result<f64, E>) -> f64 {
    let begin = now();
    run(CALLS).expect("the loop raises no error");
    (now() - begin) / CALLS as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |n| n.parse())?;
    let vm = perilune::Vm::new();
    functions!(vm);
    let lua = mlua::Lua::new();
    functions!(lua);
    println!(
        "{:20} {:>16} {:>16} {:>15}",
        "", "perilune", "mlua", "ratio"
    );
    for (name, body) in LOOPS {
        let source = format!("local n = ... {body}");
        let ours = vm.load(&source).into_function()?;
        let theirs = lua.load(&source).into_function()?;
        let results = (ours.call::<f64>(CALLS)?, theirs.call::<f64>(CALLS)?);
        assert_eq!(results.0, results.1, "{name}");
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            a.push(time(|n| ours.call::<f64>(n)));
            b.push(time(|n| theirs.call::<f64>(n)));
        }
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        let middle = rounds / 2;
        println!(
            "{name:20} {:7.2} {:8.2} {:7.2} {:8.2} {:7.3} {:7.3}",
            a[0],
            a[middle],
            b[0],
            b[middle],
            a[0] / b[0],
            a[middle] / b[middle]
        );
    }
    Ok(())
}
