//! Executors that lose what they assume while they run, too many executors, and what the programs of the conformance suite
//! make of the micro-ops.
//!
//! Programs run with everything hot at once, in every engine of the build and without any, and must print the same.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use perilune::{Engine, Vm, VmBuilder};

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a program; returns what it printed, and the VM.
fn run(builder: VmBuilder, engine: Engine, source: &str) -> (String, Vm) {
    let output = Output::default();
    let vm = builder
        .engine(engine)
        .output(Box::new(output.clone()))
        .build()
        .unwrap();
    vm.load(source).name("=program").exec().unwrap();
    let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    (text, vm)
}

/// The engines with executors that the build has.
fn engines() -> impl Iterator<Item = Engine> {
    [Engine::Uops, Engine::Jit]
        .into_iter()
        .filter(|engine| engine.is_built_in())
}

/// Runs a program without executors and with those of every engine: everything hot at once, with a collection at every
/// opportunity, and with few executors.
fn check(source: &str) -> Option<Vm> {
    let (expected, _) = run(Vm::builder(), Engine::Off, source);
    assert!(!expected.is_empty());
    let mut last = None;
    for engine in engines() {
        let (text, _) = run(
            Vm::builder().hot_threshold(1).gc_stress(true),
            engine,
            source,
        );
        assert_eq!(text, expected, "{engine:?}, collecting all the time");
        let (text, _) = run(
            Vm::builder().hot_threshold(1).executor_limit(3),
            engine,
            source,
        );
        assert_eq!(text, expected, "{engine:?}, with three executors");
        let (text, vm) = run(Vm::builder().hot_threshold(1), engine, source);
        assert_eq!(text, expected, "{engine:?}");
        assert!(vm.statistics().unwrap().executors.made > 0);
        last = Some(vm);
    }
    last
}

fn invalidated(vm: &Vm) -> u64 {
    vm.statistics()
        .unwrap()
        .executors
        .invalidated
        .iter()
        .map(|(_, n)| n)
        .sum()
}

#[test]
fn globals_are_redefined_in_hot_loops() {
    let vm = check(
        "function f(x) return x + 1 end
        local s = 0
        for i = 1, 400 do
          s = s + f(i)
          if i % 100 == 0 then
            local k = i
            f = function(x) return x * 2 + k end
          end
        end
        print(s)
        limit = 10
        local n = 0
        while n < limit do
          n = n + 1
          if n == 9 and limit < 300 then limit = limit + 50; n = 0 end
        end
        print(n, limit)",
    );
    assert!(vm.is_none_or(|vm| invalidated(&vm) > 0));
}

#[test]
fn methods_and_metatables_change_in_hot_loops() {
    let vm = check(
        "local C = {}; C.__index = C
        function C.get(self) return self.v end
        C.__add = function(a, b) return a.v + (type(b) == 'table' and b.v or b) end
        local o, s = setmetatable({v = 3}, C), 0
        for i = 1, 500 do
          s = s + o:get() + (o + i)
          if i == 200 then C.get = function(self) return -self.v end end
          if i == 300 then C.__add = function(a, b) return 1000 end end
          if i == 400 then setmetatable(o, {__index = {get = function() return 7 end}, __add = C.__add}) end
        end
        print(s)",
    );
    assert!(vm.is_none_or(|vm| invalidated(&vm) > 0));
}

#[test]
fn an_executor_is_invalidated_by_what_it_calls() {
    check(
        "K = 1
        local function deep(n)
          if n == 0 then
            K = K + 1
            collectgarbage()
            return K
          end
          return deep(n - 1) + K
        end
        local s = 0
        for i = 1, 60 do s = s + deep(i % 5) end
        print(s)",
    );
}

#[test]
fn comparators_and_callbacks_redefine_what_is_running() {
    check(
        "order = function(a, b) return a < b end
        local compared = 0
        local t = {}
        for round = 1, 12 do
          for i = 1, 40 do t[i] = (i * 7919 * round) % 101 end
          table.sort(t, function(a, b)
            compared = compared + 1
            if compared % 97 == 0 then
              local old = order
              order = function(a, b) return old(a, b) end
            end
            if compared % 400 == 0 then order = function(a, b) return a < b end end
            return order(a, b)
          end)
          for i = 2, 40 do assert(t[i - 1] <= t[i]) end
        end
        print(#t, t[1], t[40])
        suffix = 'a'
        local n = 0
        local text = string.rep('x', 200):gsub('x', function(c)
          n = n + 1
          if n % 50 == 0 then suffix = suffix .. 'b' end
          return c .. suffix
        end)
        print(#text, text:sub(-8))",
    );
}

#[test]
fn finalizers_redefine_what_is_running() {
    check(
        "local log = 0
        function step(x) return x + 1 end
        local meta
        meta = {__gc = function(o)
          log = log + 1
          step = function(x) return x + 1 end
          meta.__index = function(_, k) return #k end
        end}
        local s = 0
        for i = 1, 300 do
          local o = setmetatable({}, meta)
          s = step(s)
          if i % 40 == 0 then o = nil; collectgarbage() end
        end
        collectgarbage()
        print(s, log > 0)",
    );
}

#[test]
fn functions_are_collected_while_their_executors_wait() {
    let vm = check(
        "local s = 0
        for i = 1, 60 do
          local f = load('local s = 0; for i = 1, 30 do s = s + i end; return s + ' .. i)
          s = s + f() + f()
          f = nil
          if i % 10 == 0 then collectgarbage() end
        end
        print(s)",
    );
    let Some(vm) = vm else { return };
    vm.collect_garbage().unwrap();
    let statistics = vm.statistics().unwrap().executors;
    assert!(statistics.made > 60, "{statistics}");
    assert!(statistics.alive < 20, "{statistics}");
    assert!(
        statistics
            .invalidated
            .iter()
            .any(|(kind, n)| *kind == "object alive" && *n > 40),
        "{statistics}"
    );
}

#[test]
fn coroutines_leave_executors_that_go() {
    check(
        "factor = 2
        local function producer(n)
          return coroutine.wrap(function()
            for i = 1, n do
              coroutine.yield(i * factor)
              if i % 20 == 0 then factor = factor + 1 end
            end
          end)
        end
        local s = 0
        for round = 1, 4 do
          for v in producer(60) do s = s + v end
        end
        print(s, factor)",
    );
}

#[test]
fn executors_that_are_not_used_are_retired() {
    if !Engine::Uops.is_built_in() {
        return;
    }
    let source = "local fs = {}
        for i = 1, 100 do fs[i] = load('local s = 0; for i = 1, 40 do s = s + i * ' .. i .. ' end; return s') end
        local s = 0
        for round = 1, 3 do for i = 1, 100 do s = s + fs[i]() end end
        print(s)";
    let (_, vm) = run(
        Vm::builder().hot_threshold(2).executor_limit(16),
        Engine::Uops,
        source,
    );
    let statistics = vm.statistics().unwrap().executors;
    assert!(
        statistics.retired > 50 && statistics.alive <= 16,
        "{statistics}"
    );
    let (_, vm) = run(
        Vm::builder().hot_threshold(2).executor_memory(40_000),
        Engine::Uops,
        source,
    );
    let statistics = vm.statistics().unwrap().executors;
    assert!(
        statistics.retired > 0 && statistics.bytes < 80_000,
        "{statistics}"
    );
}

#[test]
fn what_is_used_stays() {
    // `step` is hot all the time, entered from machine code; each round makes a new function hot and forgets it.
    let source = "local function step(x)\nif x % 2 == 0 then return x + 1 end\nreturn x + 3\nend\nlocal s = 0\n\
                  local function work(n) for i = 1, n do s = step(s) % 1000 end end\n\
                  for round = 1, 120 do\nwork(100)\n\
                  local f = load('local t = 0; for i = 1, 50 do t = t + (i % 3) end; return t')\n\
                  s = s + f()\nend\nprint(s)";
    for engine in engines() {
        let settings = Vm::builder().hot_threshold(4).executor_limit(12);
        let (text, vm) = run(settings, engine, source);
        let (expected, _) = run(Vm::builder(), Engine::Off, source);
        assert_eq!(text, expected, "{engine:?}");
        let statistics = vm.statistics().unwrap().executors;
        assert!(statistics.made > 100, "{engine:?}: {statistics}");
        let graph = vm.executor_graph().unwrap();
        let number = |line: &str| -> Option<u64> {
            let (number, rest) = line.trim().strip_prefix('e')?.split_once(" [label=")?;
            rest.contains(": loop\\nprogram:6 ")
                .then_some(number)?
                .parse()
                .ok()
        };
        let worker = graph.lines().find_map(number);
        assert!(
            worker.is_some_and(|n| n < 40),
            "{engine:?}: {worker:?}\n{graph}"
        );
    }
}

#[test]
fn where_code_finds_no_room_others_are_retired() {
    if !Engine::Jit.is_built_in() {
        return;
    }
    let source = "local fs = {}
        for i = 1, 300 do fs[i] = load('local s = 0; for i = 1, 40 do s = s + i * ' .. i .. ' end; return s') end
        local s = 0
        for round = 1, 3 do for i = 1, 300 do s = s + fs[i]() end end
        print(s)";
    let run_in = |code: Option<usize>| {
        let builder = Vm::builder().hot_threshold(2);
        let builder = match code {
            Some(bytes) => builder.code_memory(bytes),
            None => builder,
        };
        let (output, vm) = run(builder, Engine::Jit, source);
        (output, vm.statistics().unwrap().executors)
    };
    let (expected, unlimited) = run_in(None);
    assert_eq!(unlimited.retired, 0, "{unlimited}");
    let (output, statistics) = run_in(Some(64 << 10));
    assert_eq!(output, expected);
    assert!(
        statistics.retired > 100 && statistics.made > 200 && statistics.alive > 10,
        "{statistics}"
    );
    // Nothing fits.
    let (output, statistics) = run_in(Some(0));
    assert_eq!(output, expected);
    assert!(statistics.alive < unlimited.alive / 4, "{statistics}");
}

#[test]
fn executed_instructions_are_counted() {
    let source = "local s = 0; for i = 1, 20000 do if i % 3 == 0 then s = s + i else s = s - 1 end end; print(s)";
    let counted = |engine| {
        let (_, vm) = run(Vm::builder().count_instructions(true), engine, source);
        vm.statistics().unwrap()
    };
    let all = counted(Engine::Off);
    assert_eq!(
        (all.executors.executed, all.percent_in_executors()),
        (0, Some(0.0))
    );
    let total = all.interpreted.unwrap() as f64;
    for engine in engines() {
        let split = counted(engine);
        let sum = (split.interpreted.unwrap() + split.executors.executed) as f64;
        assert!(
            (sum - total).abs() < total / 10.0,
            "{engine:?}: {sum} instead of {total}\n{split}"
        );
        assert!(
            split.percent_in_executors() > Some(80.0),
            "{engine:?}: {split}"
        );
    }
}

#[test]
fn graphs_name_executors_and_transfers() {
    if !Engine::Uops.is_built_in() {
        return;
    }
    let source = "local s = 0\nfor i = 1, 2000 do\nif i % 3 == 0 then s = s + 1 end\nend\nprint(s)";
    let (_, vm) = run(Vm::builder(), Engine::Uops, source);
    let graph = vm.executor_graph().unwrap();
    assert!(
        graph.starts_with("digraph executors {") && graph.trim_end().ends_with('}'),
        "{graph}"
    );
    assert!(
        graph.contains("e1 [label=\"1: loop\\nprogram:3 pc "),
        "{graph}"
    );
    assert!(
        graph.contains("side exit") && graph.contains("e1 -> e2 ["),
        "{graph}"
    );
}

/// Micro-ops that no program below makes, by the reason. Tests of the backends execute them all the same.
const NOT_MADE: &[(&str, &[&str])] = &[
    (
        "expansions have them, and projection knows enough to put something else in their place",
        &[
            "CALLEE",
            "GUARD_ROOM",
            "GUARD_PLAIN_RETURN",
            "GUARD_EPOCH",
            "GUARD_FOUND",
            "LOAD_HOLDER",
            "GUARD_NUMBER",
            "GUARD_STRINGS",
            "LEAVE",
            "NEW_CLOSURE",
            "NEW_TABLE",
            "NOT",
            "SAFEPOINT",
        ],
    ),
    (
        "only machine code comes back to the head of its loop",
        &["JOIN"],
    ),
    (
        "projection has no use for them yet",
        &[
            "GUARD_ACCEPTS",
            "GUARD_APPENDS",
            "INTERPRET",
            "RAISE",
            "TEST_ELEMENT",
        ],
    ),
    (
        "metamethods are followed, and other operands seldom reach them",
        &["GET_INDEX", "SET_INDEX"],
    ),
    (
        "hot code with constants of these types is rare",
        &["CONST_COROUTINE", "CONST_USERDATA"],
    ),
];

/// Programs for micro-ops that the conformance suite leaves out.
const EXTRA: &[&str] = &[
    "local co = coroutine.create(print); local n = 0; for i = 1, 50 do if type(co) == 'thread' then n = n + 1 end end print(n)",
    "local s = 0.0; for i = 1, 50 do s = s + math.sqrt(i) + math.floor(i / 3) + math.ceil(i / 3) + math.abs(-i)
      + math.max(i, 3) + math.min(i, 4) + math.max(i + 0.5, 2.5) + math.min(i + 0.5, 7.5) + math.abs(-i - 0.5)
      + i // 2.5 + (i + 0.5) % 3 + 2.0 ^ (i % 5) + -(i + 0.5) + -i end; print(s)",
    "local s = 0; for i = 1, 60 do s = s + math.sin(i) + math.atan(i, 2) + math.random() + math.random(i)
      + math.max(i, 30.5); if s > i then s = s - 1 end end; print(s > 0)",
    "local f = io.stdout; local n = 0; for i = 1, 60 do if f:setvbuf('full') then n = n + 1 end end; print(n)",
    "local n = 0; for i = 1, 50 do n = (n | i) & 0xffff ~ (i << 3) ~ (~i >> 60) ~ (i >> 1) end; print(n)",
    "local t = {}; for i = 1, 60 do t[i] = i; t[#t + 1] = nil end; local s = 0
      for _, v in ipairs(t) do s = s + v end; for k, v in pairs(t) do s = s + k * v end
      for k, v in next, t do s = s + v end; print(s)",
    "local s = 0; for x = 0.0, 10.0, 0.25 do s = s + x end; for x = 10.0, 0.0, -0.5 do s = s + x end; print(s)",
    "local a = 'b'; local n = 0; for i = 1, 60 do local c = i % 2 == 0 and 'a' or 'c'
      if c < a then n = n + 1 end; if c <= a then n = n + 2 end; if c == a then n = n + 4 end; n = n + #c end; print(n)",
    "local function va(...) local a, b = ...; return select('#', ...) + a + (b or 0) end
      local s = 0; for i = 1, 60 do s = s + va(i, 2) + va(i) end; print(s)",
    "local fs = {}; for i = 1, 60 do local x = i; fs[i] = function() x = x + 1; return x end end
      local s = 0; for i = 1, 60 do s = s + fs[i]() + fs[i]() end; print(s)",
    "local C = {}; C.__index = C; local function new(v) return setmetatable({v = v}, C) end
      function C:get() return self.v end; local s = 0; for i = 1, 90 do s = s + new(i):get() end; print(s)",
    "for i = 1, 60 do local t <close> = setmetatable({}, {__close = function() end}) end
      local ok = 0; for i = 1, 40 do if pcall(error, i) then ok = ok + 1 end end; print(ok)",
    "local function many(...) local n = 0; for i = 1, 3 do local t = {...}; n = n + #t end; return n end
      local t = {}; for i = 1, 40 do t[i] = i end; local s = 0; for i = 1, 60 do s = s + many(table.unpack(t)) end
      for i = 1, 60 do for j = math.mininteger, math.maxinteger, math.maxinteger do s = s + 1 end end; print(s)",
];

#[test]
fn every_micro_op_is_made_by_some_program() {
    if !Engine::Uops.is_built_in() {
        return;
    }
    let mut made: BTreeSet<&'static str> = BTreeSet::new();
    let mut add = |prelude: &str, source: &str| {
        let builder = Vm::builder()
            .hot_threshold(2)
            .engine(Engine::Uops)
            .output(Box::new(io::sink()));
        let vm = builder.build().unwrap();
        vm.load(prelude).name("@prelude.lua").exec().unwrap();
        // Programs may end in an error; what they have made counts all the same.
        let _ = vm.load(source).name("@program.lua").exec();
        made.extend(
            vm.statistics()
                .unwrap()
                .executors
                .micro_ops
                .iter()
                .map(|(name, _)| *name),
        );
    };
    EXTRA.iter().for_each(|source| add("", source));
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let prelude = fs::read_to_string(suite.join("prelude.lua")).unwrap();
    for entry in fs::read_dir(&suite).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "lua") && !path.ends_with("prelude.lua") {
            add(&prelude, &String::from_utf8_lossy(&fs::read(path).unwrap()));
        }
    }
    let all = perilune_uops::MicroOp::ALL
        .iter()
        .filter(|op| op.is_in_superblocks())
        .map(|op| op.name());
    let missing: BTreeSet<&str> = all.filter(|name| !made.contains(name)).collect();
    let expected: BTreeSet<&str> = NOT_MADE
        .iter()
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    let unexpected: Vec<_> = missing.difference(&expected).collect();
    assert!(unexpected.is_empty(), "no program makes {unexpected:?}");
    let outdated: Vec<_> = expected.difference(&missing).collect();
    // What gets hot, and with what values, differs a little between engines; the list is that of the default one.
    let listed = cfg!(feature = "jit");
    assert!(
        outdated.is_empty() || !listed,
        "programs do make {outdated:?}"
    );
}
