//! Programs that never end can be stopped from another thread, wherever they are, and the VM goes on afterwards.
//!
//! Nothing here depends on how long that takes: a program that cannot be stopped fails the test after [`PATIENCE`].
//! `PERILUNE_LATENCY=1` prints how long each took to stop.

mod common;

use std::env;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::compilers;
use perilune::{CancelHandle, Error, Vm, VmBuilder};

/// Longer than anything takes, even on a busy machine and with checks compiled in.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a program may do before it is stopped.
const HEAD_START: Duration = Duration::from_millis(15);

/// So that those that also take memory do not take the machine's.
const LIMIT: usize = 64 << 20;

const ENDLESS: &[&str] = &[
    "while true do end",
    "repeat until false",
    "::top:: goto top",
    "do ::top:: do goto top end end",
    "for i = 1, math.maxinteger do end",
    "for i = math.mininteger, math.maxinteger do end",
    "for i = 1, math.huge do end",
    "for i = 0.0, math.huge do end",
    "for i = 1.0, 2.0, 1e-18 do end",
    "for x in function() return 1 end do end",
    "for k in pairs(setmetatable({}, {__pairs = function() return function() return 1 end end})) do end",
    "for i in ipairs(setmetatable({}, {__index = function() return 1 end})) do end",
    "for i in ipairs(setmetatable({}, {__index = setmetatable({}, {__index = function() return 1 end})})) do end",
    "local t = {1} while true do for k in next, t do end end",
    "local t = {1} local k while true do k = next(t, k) end",
    "local n = 0 while true do n = n + 1 if n % 3 == 0 then n = n + 1 end end",
    "local n = 0 while true do n = n + 1 if n % 3 == 0 then n = n + 0.5 elseif n % 5 == 0 then n = 0 end end",
    "while true do for i = 1, 3 do end end",
    "while true do for i = 1, 0 do end end",
    "while true do for i = 1, 0 do end for i = 1, 5 do if i == 3 then break end end end",
    "local t = {1, 2, 3} while true do for i = 1, #t do t[i] = t[i] + 1 end end",
    "local n = 0 ::top:: n = n + 1 if n % 2 == 0 then goto top end do goto top end",
    "local function one() return 1 end local n = 0 repeat n = n + one() until n < 0",
    "local P = {} P.__index = P function P:step() self.n = self.n + 1 end local p = setmetatable({n = 0}, P) while true do p:step() end",
    "local n = 0 repeat local f = function() return n end n = n + 1 until f() < 0",
    "local n, s = 0, 'abc' while true do n = n + #s + s:byte(n % 3 + 1) end",
    "local t = {x = 1} while true do for k, v in pairs(t) do t[k] = v + 1 end end",
    "local t = setmetatable({}, {__index = function(t, k) return k end}) local n = 0 while true do n = n + t[n] % 2 + 1 end",
    "local m = {} m.__add = function(a, b) return setmetatable({}, m) end local a = setmetatable({}, m) while true do a = a + 1 end",
    "local co = coroutine.wrap(function() local n = 0 while true do n = n + 1 coroutine.yield(n) end end) local s = 0 while true do s = s + co() end",
    "local function f(n) if n == 0 then return 0 end return f(n - 1) + 1 end while true do f(100) end",
    "local function f(...) return select('#', ...) end while true do f(1, 2, f(3, 4)) end",
    "local x = 1 while true do local ok, e = pcall(function() x = x + 1 if x % 2 == 0 then error(x) end end) end",
    "while true do string.format('%50.50s|%-99d', 'x', 1) end",
    "local s = 'x' while true do s = ('y'):rep(100, s):sub(1, 50) end",
    "local t = {} while true do t[#t + 1] = 1 t[#t] = nil end",
    "local function f() return f() end f()",
    "local function f(...) return f(...) end f(1, 2, 3)",
    "local f, g function f() return g() end function g() return f() end f()",
    "while true do pcall(error) end",
    "while true do pcall(pcall, error) end",
    "while true do xpcall(error, print and function(m) return m end) end",
    "xpcall(error, function() while true do end end)",
    "pcall(function() while true do end end)",
    "while true do pcall(function() while true do end end) end",
    "local function f() pcall(f) f() end f()",
    "local function f() pcall(f) pcall(f) end f()",
    "local function f() coroutine.wrap(pcall)(f) return f() end f()",
    "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
    "coroutine.wrap(function() while true do end end)()",
    "while true do coroutine.wrap(function() end)() end",
    "while true do coroutine.resume(coroutine.create(error)) end",
    "while true do coroutine.close(coroutine.create(print)) end",
    "for _ in coroutine.wrap(function() while true do coroutine.yield(1) end end) do end",
    "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) while true do pcall(function() return t[1] end) end",
    "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) while true do end end return t.x",
    "local t = setmetatable({}, {__newindex = function() while true do end end}) t.x = 1",
    "local t = setmetatable({}, {__concat = function() while true do end end}) return t .. 1 .. 2",
    "local t = setmetatable({}, {__eq = function() while true do end end}) return t == setmetatable({}, getmetatable(t))",
    "local t = setmetatable({}, {__lt = function() while true do end end}) return t < t",
    "local t = setmetatable({}, {__len = function() while true do end end}) return #t",
    "local t = setmetatable({}, {__call = function(f) return f() end}) t()",
    "local t = setmetatable({}, {__tostring = function() while true do end end}) tostring(t)",
    "local t = setmetatable({}, {__tostring = function() while true do end end}) string.format('%s', t)",
    "local t = setmetatable({}, {__close = function() while true do end end}) local x <close> = t",
    "while true do local x <close> = setmetatable({}, {__close = function() end}) end",
    "local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) \
     coroutine.yield() end) coroutine.resume(co) coroutine.close(co)",
    "setmetatable({}, {__gc = function() while true do end end}) collectgarbage()",
    "while true do setmetatable({}, {__gc = function() end}) end",
    "local m = {} m.__gc = function() setmetatable({}, m) end setmetatable({}, m) while true do collectgarbage() end",
    "while true do collectgarbage('step') end",
    "while true do local t = {} t.x = t end",
    "while true do local s = ('x'):rep(100) .. 'y' end",
    "string.find(('a'):rep(50), ('a-'):rep(50) .. 'b')",
    "string.find(('a'):rep(50), ('a*'):rep(50) .. 'b')",
    "string.find(('a'):rep(50), ('a?'):rep(50) .. ('.-'):rep(20) .. 'b')",
    "string.match(('a'):rep(50), ('(.-)'):rep(20) .. 'b')",
    "string.gsub(('a'):rep(50), ('.-'):rep(20) .. 'b', '')",
    "for _ in string.gmatch(('a'):rep(50), ('.-'):rep(20) .. 'b') do end",
    "string.find(('a'):rep(1 << 20), ('a'):rep(1 << 19) .. 'b', 1, true) while true do end",
    "string.gsub('x', '', function() while true do end end)",
    "while true do string.gsub(('x'):rep(1000), '.', '%0') end",
    "while true do string.format('%99.99f', 1e300) end",
    "while true do string.rep('x', 100000) end",
    "string.rep('', math.maxinteger) while true do end",
    "pcall(string.rep, 'x', math.maxinteger) while true do end",
    "while true do string.pack('z', ('x'):rep(1000)) end",
    "local t = {} for i = 1, 1000 do t[i] = 'x' end while true do table.concat(t, ',') end",
    "table.concat(setmetatable({}, {__index = function() return '' end}), '', 1, math.maxinteger - 1)",
    "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 'x')",
    "table.remove(setmetatable({}, {__len = function() return 1 << 60 end}), 1)",
    "table.move(setmetatable({}, {__index = function() end}), 1, math.maxinteger - 1, 2)",
    "table.move({}, 1, math.maxinteger - 1, 1, {})",
    "table.move({}, 1, math.maxinteger - 1, 2)",
    "table.sort(setmetatable({}, {__len = function() return (1 << 31) - 2 end}), function() return false end)",
    "table.sort(setmetatable({}, {__len = function() return (1 << 31) - 2 end, __index = function(_, i) return i end, __newindex = function() end}))",
    "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() while true do end end)",
    "local t = {} for i = 1, 100 do t[i] = i end while true do pcall(table.sort, t, function() return true end) end",
    "local t = {} for i = 1, 1000 do t[i] = i end while true do table.sort(t) end",
    "while true do table.unpack({}, 1, 1000) end",
    "while true do select('#', table.unpack({}, 1, 100000)) end",
    "load(function() return ' ' end)",
    "load(function() while true do end end)",
    "while true do load('return 1') end",
    "while true do load('return +') end",
    "local s = ('x = 1 '):rep(100000) while true do load(s) end",
    "while true do tostring({}) tostring(1.5) tonumber('0x1p4') end",
    "while true do math.random() end",
    "while true do os.time() os.clock() os.date() end",
    "for c in io.lines('/dev/zero', 1) do end",
    "for c in io.lines('/dev/zero', 1 << 16) do end",
    "local f = io.open('/dev/zero') while true do f:read(0) f:read('n') end",
    "local f = io.open('/dev/null', 'w') while true do f:write('x') end",
    "while true do utf8.char(228, 8364) utf8.len('äöü') end",
    "while true do for _ in utf8.codes('äöü') do end end",
    "utf8.len(('x'):rep(1 << 22)) while true do end",
    "package.preload.endless = function() while true do end end require('endless')",
    "package.searchers[1] = function() while true do end end require('none')",
    "while true do pcall(require, 'no.such.module') end",
    "warn('@off') while true do warn('x') end",
    "while true do debug.traceback('x') debug.getinfo(1) end",
    "while true do setmetatable({}, {__index = {}}).x = 1 end",
    "local function f(n) if n > 0 then pcall(f, n - 1) pcall(f, n - 1) end end f(100)",
    "local m = {} local function new(n) return setmetatable({n = n}, m) end \
     function m.__unm(a) if a.n == 0 then return a end local _ = -new(a.n - 1) return -new(a.n - 1) end local _ = -new(100)",
    "local function f(n) if n == 0 then return 1 end return f(n - 1) + f(n - 1) end return f(100)",
    "local function f(n) for i in (function() return n > 0 and f(n - 1) or n > 0 and f(n - 1) end) do end end f(100)",
    "local function f(n) if n > 0 then string.gsub('xx', 'x', function() f(n - 1) end) end end f(100)",
    "local function f(n) if n > 0 then table.sort({2, 1}, function() f(n - 1) f(n - 1) end) end end f(100)",
    "local t = {} while true do t[1] = 1 t[1] = nil t.x = 1 t.x = nil end",
    "local t = {} local i = 0 while true do i = i + 1 t[i % 1000 .. ''] = i end",
    "local function f() local x <close> = setmetatable({}, {__close = f}) error('x') end while true do pcall(f) end",
    "local e = setmetatable({}, {__tostring = function(e) error(e) end}) while true do pcall(tostring, e) end",
];

/// Asks for the end again and again, since what closes variables on the way may be endless, too.
fn cancel_until_done(cancel: CancelHandle, f: impl FnOnce()) {
    thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            while wait.recv_timeout(HEAD_START) == Err(RecvTimeoutError::Timeout) {
                cancel.cancel();
            }
        });
        f();
        drop(done);
    });
}

fn assert_usable(vm: &Vm) {
    let sum = "local t = {} for i = 1, 100 do t[i] = {i} end local n = 0 for _, v in ipairs(t) do n = n + v[1] end \
               local co = coroutine.wrap(function() coroutine.yield(n) end) return co()";
    // A request that came too late for the program may end this one instead.
    vm.cancel_handle().withdraw();
    assert_eq!(vm.load(sum).eval::<i64>().expect("a usable VM"), 5050);
    vm.collect_garbage().expect("nothing fails");
}

fn stop(settings: VmBuilder, program: &str) {
    let vm = settings
        .memory_limit(LIMIT)
        .warnings(|_, _| {})
        .build()
        .expect("the libraries fit");
    let started = Instant::now();
    cancel_until_done(vm.cancel_handle(), || {
        match vm.load(program).name("=endless").exec() {
            // Some take memory first.
            Err(Error::Cancelled | Error::Memory) => {}
            other => panic!("{other:?}"),
        }
    });
    if env::var_os("PERILUNE_LATENCY").is_some() {
        println!("{:6} ms {program}", started.elapsed().as_millis());
    }
    // Finalizers that never end are stopped here, too.
    cancel_until_done(
        vm.cancel_handle(),
        || {
            while vm.collect_garbage().is_err() {}
        },
    );
    assert_usable(&vm);
    cancel_until_done(vm.cancel_handle(), || drop(vm));
}

fn stop_all(settings: impl Fn() -> VmBuilder) {
    let mut failures = Vec::new();
    for program in ENDLESS {
        let (done, wait) = channel();
        let settings = settings();
        let runner = thread::spawn(move || {
            stop(settings, program);
            // The receiver is there unless the test has failed already.
            done.send(()).expect("somebody waits");
        });
        match wait.recv_timeout(PATIENCE) {
            Ok(()) => runner.join().expect("it has reported its end"),
            Err(RecvTimeoutError::Timeout) => {
                failures.push(format!("does not stop: {program}"));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => failures.push(format!("fails: {program}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn endless_programs_can_be_stopped() {
    stop_all(Vm::builder);
}

#[test]
fn endless_programs_can_be_stopped_when_hot() {
    for engine in compilers() {
        stop_all(|| Vm::builder().engine(engine).hot_threshold(2));
    }
}

#[test]
fn endless_programs_can_be_stopped_when_cramped() {
    stop_all(|| {
        Vm::builder()
            .stack_stress(true)
            .cached_shapes(1)
            .hot_threshold(1)
    });
}

/// A request to stop ends all of the finalizers that run when a VM is dropped, not one of them.
#[test]
fn endless_finalizers_do_not_keep_a_vm() {
    let vm = Vm::new();
    vm.load(
        "local m = {__gc = function() while true do end end} \
         for i = 1, 100000 do keep = setmetatable({keep}, m) end",
    )
    .exec()
    .expect("nothing is finalized yet");
    let (done, wait) = channel();
    thread::spawn(move || {
        cancel_until_done(vm.cancel_handle(), || drop(vm));
        done.send(()).expect("somebody waits");
    });
    assert_eq!(wait.recv_timeout(PATIENCE), Ok(()), "the VM stays");
}
