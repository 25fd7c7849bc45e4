//! Calls of Rust functions from hot loops: compiled code calls them without frames, and nobody can tell.

use std::panic::{AssertUnwindSafe, catch_unwind};

use perilune::{Engine, Error, Function, Result, Table, UserData, UserDataMethods, Value, Vm};

struct Counter(i64);

impl UserData for Counter {
    fn add_methods(methods: &mut UserDataMethods<Self>) {
        methods.add_method("get", |_, this, ()| Ok(this.0));
        methods.add_method_mut("add", |_, this, n: i64| {
            this.0 += n;
            Ok(())
        });
        methods.add_method_mut("apply", |_, this, f: Function| {
            this.0 = f.call(this.0)?;
            Ok(this.0)
        });
    }
}

struct Other;

impl UserData for Other {
    fn add_methods(methods: &mut UserDataMethods<Self>) {
        methods.add_method("get", |_, _, ()| Ok("other"));
    }
}

fn vm(engine: Engine, hot: u32, stressed: bool) -> Result<Vm> {
    let vm = Vm::builder()
        .engine(engine)
        .hot_threshold(hot)
        .gc_stress(stressed)
        .stack_stress(stressed)
        .build()?;
    let globals = vm.globals();
    let f = vm.create_function(|_, (a, b): (f64, f64)| Ok(a + b))?;
    globals.set("add", f)?;
    let f = vm.create_function(|_, a: i64| Ok(a.wrapping_mul(3)))?;
    globals.set("triple", f)?;
    let f = vm.create_function(|_, a: bool| Ok(!a))?;
    globals.set("invert", f)?;
    let f = vm.create_function(|_, (a, b): (i64, i64)| Ok((b, a)))?;
    globals.set("swap", f)?;
    let f = vm.create_function(|_, s: String| Ok(s + "!"))?;
    globals.set("exclaim", f)?;
    let f = vm.create_function(|_, a: Option<i64>| Ok(a.map(|a| a + 1)))?;
    globals.set("maybe", f)?;
    // Errors, after effects.
    let f = vm.create_function(|vm, n: i64| {
        let calls: i64 = vm.globals().get("calls")?;
        vm.globals().set("calls", calls + 1)?;
        if n % 10 == 7 {
            Err(Error::message(format!("no {n}")))
        } else {
            Ok(n)
        }
    })?;
    globals.set("checked", f)?;
    let f = vm.create_function(|_, n: i64| {
        if n == 77 {
            Err(Error::message("seventy-seven"))
        } else {
            Ok(n)
        }
    })?;
    globals.set("pure", f)?;
    // Uses of the VM.
    let f = vm.create_function(|_, (f, n): (Function, i64)| f.call::<Value>(n))?;
    globals.set("call", f)?;
    let f = vm.create_function(|vm, n: i64| {
        if n % 16 == 0 {
            vm.collect_garbage()?;
        }
        let t = vm.create_table()?;
        t.set("n", n)?;
        Ok(t)
    })?;
    globals.set("boxed", f)?;
    let f = vm.create_function(|_, t: Table| t.get::<i64>("n"))?;
    globals.set("unboxed", f)?;
    let f = vm.create_function(|vm, depth: i64| {
        vm.load("local t = debug.traceback('', 2) return (t:gsub('%s+', ' ')), ...")
            .call::<(String, i64)>(depth)
    })?;
    globals.set("trace", f)?;
    let f = vm.create_function(|vm, name: String| {
        vm.load("local name, v = ... for i = 1, 20 do local n = debug.getlocal(3, i) if n == name then debug.setlocal(3, i, 1000) end end")
            .call::<()>((name, 1))
    })?;
    globals.set("disturb", f)?;
    globals.set("counter", Counter(0))?;
    globals.set("other", Other)?;
    globals.set("calls", 0)?;
    Ok(vm)
}

/// What a program returns with each engine, however soon it is hot.
fn check(source: &str) {
    let run = |engine, hot, stressed| -> String {
        let vm = vm(engine, hot, stressed).unwrap();
        let program = format!(
            "local out = {{}} local function note(...) \
             local t = table.pack(...) for i = 1, t.n do t[i] = tostring(t[i]) end \
             out[#out + 1] = table.concat(t, ' ') end\n{source}\n return table.concat(out, '\\n')"
        );
        vm.load(&program).name("@program").eval().unwrap()
    };
    let expected = run(Engine::Off, 64, false);
    assert!(!expected.is_empty());
    for engine in [Engine::Uops, Engine::Jit] {
        if !engine.is_built_in() {
            continue;
        }
        for hot in [1, 2, 5, 30] {
            for stressed in [false, true] {
                let name = format!("{engine:?}, hot after {hot}, stressed: {stressed}");
                assert_eq!(run(engine, hot, stressed), expected, "{name}\n{source}");
            }
        }
    }
}

#[test]
fn arguments_and_results_are_converted() {
    check(
        "local s, t, u = 0, '', 0
        for i = 1, 200 do
          s = s + add(i, 0.5) + triple(i) + triple(i + 0.0) + add('1', i)
          if invert(i % 3 == 0) then s = s + 1 end
          if invert(nil) and not invert(i) then s = s + 1 end
          local a, b, c = swap(i, 2 * i)
          s = s + a - b
          if c ~= nil then note('third result') end
          t = exclaim(i)
          u = u + (maybe(i) or 0) + (maybe(nil) or 7) + (maybe() or 8)
          s = s + triple(i, 'more', {}) + select('#', swap(1, 2)) + #{swap(i, i)}
        end
        note(s, t, u)",
    );
}

#[test]
fn errors_are_raised_where_they_happen() {
    check(
        "local function level(i) local x = checked(i) return x + 1 end
        local failed, sum = {}, 0
        for i = 1, 120 do
          local ok, e = pcall(level, i)
          if ok then sum = sum + e else failed[#failed + 1] = tostring(e) end
        end
        note(sum, calls, table.concat(failed, ','))
        local closed = 0
        local function inner(i)
          local guard <close> = setmetatable({}, {__close = function() closed = closed + 1 end})
          local function nested(n) local r = pure(n) return r end
          return nested(i) + 0
        end
        for i = 1, 120 do
          local ok, e = pcall(inner, i)
          if not ok then note(i, e) end
        end
        note(closed)
        local messages = {}
        for i = 1, 60 do
          local ok, e = pcall(function() local r = triple(i == 50 and {} or i) return r end)
          if not ok then note(e) end
          ok, e = pcall(function() local r = triple(i == 51 and 0.5 or i) return r end)
          if not ok then note(e) end
          ok, e = pcall(function() local r = counter.get(i == 52 and other or counter) return r end)
          if not ok then note(e) end
          local function handler(e) return debug.traceback(tostring(e)) end
          ok, e = xpcall(function() local r = pure(i + 20) return r end, handler)
          if not ok then note((e:gsub('%s+', ' '))) end
        end",
    );
}

#[test]
fn functions_use_the_vm() {
    check(
        "local s = 0
        local function double(n) return 2 * n end
        for i = 1, 150 do
          s = s + call(double, i) + boxed(i).n + unboxed(boxed(i))
          s = s + call(function(n) s = s + 1 return n end, i)
        end
        note(s)
        local function outer(n) local t = trace(n) return t end
        local last
        for i = 1, 60 do
          local t = outer(i)
          if last and t ~= last then note('another traceback', t) end
          last = t
        end
        note(last)
        local total = 0
        for i = 1, 60 do
          local x = i
          if i == 40 then disturb('x') end
          total = total + x
        end
        note(total)",
    );
}

#[test]
fn methods_are_found_in_their_metatable() {
    check(
        "local s = 0
        for i = 1, 200 do
          counter:add(i)
          s = s + counter:get()
        end
        note(s)
        local objects = {counter, other, counter}
        for i = 1, 90 do
          local o = objects[i % 3 + 1]
          local v = o:get()
          if v == 'other' then s = s + 1 else s = s + v end
        end
        note(s)
        for i = 1, 60 do s = s + counter:apply(function(n) return n + i end) end
        note(s)
        local ok, e = pcall(function()
          for i = 1, 60 do counter:apply(function(n) if i == 50 then return counter:add(1) end return n end) end
        end)
        note(ok, e)
        for i = 1, 60 do
          if i == 30 then debug.getmetatable(counter).__index = {get = function() return -1 end} end
          s = s + counter:get()
        end
        note(s)
        debug.setmetatable(counter, {__index = {get = function() return 100 end}})
        for i = 1, 60 do s = s + counter:get() end
        note(s)",
    );
}

#[test]
fn coroutines_run_in_host_functions() {
    check(
        "local s = 0
        local function generate(n) for i = 1, n do coroutine.yield(triple(i)) end end
        for i = 1, 60 do
          local co = coroutine.wrap(generate)
          s = s + co(3) + call(function() return co() end, 1) + co()
          local ok, e = pcall(call, coroutine.yield, i)
          if i == 60 then note(ok, e) end
        end
        note(s)",
    );
}

#[test]
fn a_panic_goes_on_in_the_host() {
    for engine in [Engine::Off, Engine::Uops, Engine::Jit] {
        if !engine.is_built_in() {
            continue;
        }
        let vm = vm(engine, 2, false).unwrap();
        let f = vm
            .create_function(|_, n: i64| if n == 50 { panic!("at fifty") } else { Ok(n) })
            .unwrap();
        vm.globals().set("f", f).unwrap();
        let source = "closed = 0 local function g(i) \
            local c <close> = setmetatable({}, {__close = function() closed = closed + 1 end}) \
            local r = f(i) return r end \
            local s = 0 for i = 1, 100 do local ok, v = pcall(g, i) s = s + v end return s";
        let caught = catch_unwind(AssertUnwindSafe(|| vm.load(source).eval::<i64>()));
        let payload = caught.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"at fifty"));
        // The VM can still be used.
        assert_eq!(vm.globals().get::<i64>("closed").unwrap(), 50);
        let sum = vm.load("local s = 0 for i = 51, 100 do s = s + f(i) end return s");
        assert_eq!(sum.eval::<i64>().unwrap(), (51..=100).sum::<i64>());
    }
}

#[test]
fn a_cancelled_loop_of_host_calls_ends() {
    let vm = vm(Engine::Jit, 2, false);
    let Ok(vm) = vm else { return };
    let cancel = vm.cancel_handle();
    let f = vm
        .create_function(move |_, n: i64| {
            if n == 1000 {
                cancel.cancel();
            }
            Ok(n)
        })
        .unwrap();
    vm.globals().set("f", f).unwrap();
    let result = vm.load("local i = 0 while true do i = f(i) + 1 end").exec();
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}
