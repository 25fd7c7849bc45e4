//! The VM and its settings.

use std::cell::Cell;
use std::io::Write;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::chunk::Chunk;
use super::convert::{FromLuaMulti, IntoLuaMulti, string_raw};
use super::coroutine::Coroutine;
use super::error::{Error, Result};
use super::function::{Function, code, signature};
use super::handle::Handle;
use super::shared::{CancelTarget, Context, Inner, Section};
use super::string::LuaString;
use super::table::Table;
use crate::bytecode::cache::POLY_MAX;
use crate::bytecode::{FunctionDescription, LoadError};
use crate::heap::OutOfMemory;
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
use crate::jit::{Watch, outside::Outside};
use crate::runtime::shape::ShapeId;
use crate::runtime::value::Value as Raw;
use crate::stdlib::{self, Libraries};
use crate::tier1::state::WarningSink;
use crate::tier1::statistics::Statistics;
use crate::tier1::{Raised, State};
use crate::tier2::dot::Dot;
use crate::tier2::executor::Limits;
use crate::tier2::page::page;
use crate::tier2::{CodeSettings, Dump, Engine, Perf};

/// A Lua VM: its heap, its globals, and all that runs in it.
///
/// VMs are independent of each other. A VM may be moved to another thread, and its handles may be used from any thread;
/// operations then wait until no other thread is using the VM. The host function of a VM gets a `&Vm` to work with.
///
/// Dropping the VM runs all finalizers, unless a [`CancelHandle`] stops one of them, and drops all host values. Handles
/// may outlive it: their operations then return [`Error::Dropped`]. A VM that is dropped while it runs ends when the
/// outermost call returns.
///
/// ```
/// let vm = perilune::Vm::new();
/// vm.globals().set("name", "Luna")?;
/// assert_eq!(vm.load("return 'Hello, ' .. name").eval::<String>()?, "Hello, Luna");
/// # Ok::<(), perilune::Error>(())
/// ```
pub struct Vm {
    pub(crate) inner: Arc<Inner>,
    /// There is one owner, on one thread at a time.
    marker: PhantomData<Cell<()>>,
}

impl Default for Vm {
    fn default() -> Vm {
        Vm::new()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.inner.owner_dropped();
    }
}

/// Runs a step of the collector if one is due: host code that makes objects in a loop gives the interpreter no
/// opportunity.
#[inline]
pub(crate) fn collect_if_due(st: &mut State) {
    if st.rt.heap.should_collect() {
        st.collect_in_native(|rt, roots| rt.gc_step(roots));
    }
}

impl Vm {
    /// A VM with all libraries and without limits.
    ///
    /// # Panics
    /// If the system's memory is exhausted.
    pub fn new() -> Vm {
        Vm::builder().build().expect("memory for a VM")
    }

    /// Settings for a VM.
    ///
    /// ```
    /// use perilune::{Libraries, Vm};
    ///
    /// let vm = Vm::builder().libraries(Libraries::BASE | Libraries::STRING).memory_limit(1 << 20).build()?;
    /// assert!(vm.load("return io == nil").eval::<bool>()?);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn builder() -> VmBuilder {
        VmBuilder::default()
    }

    /// Another owner of the VM with this shared part.
    ///
    /// # Safety
    /// The pointer must come from an `Arc` that lives longer than the result, which must not be dropped.
    #[inline(always)]
    pub(crate) unsafe fn borrowed(inner: *const Inner) -> Vm {
        Vm {
            // SAFETY: the caller's promise.
            inner: unsafe { Arc::from_raw(inner) },
            marker: PhantomData,
        }
    }

    /// Runs host code that puts values on the stack.
    #[inline]
    pub(crate) fn section<R>(&self, f: impl FnOnce(Context<'_>) -> Result<R>) -> Result<R> {
        let section = Section::new(&self.inner)?;
        f(section.context())
    }

    /// A chunk of Lua source, to be run, evaluated or made a function.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// vm.load("x = 1").exec()?;
    /// assert_eq!(vm.load("x + 1").eval::<i64>()?, 2);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn load(&self, source: impl AsRef<[u8]>) -> Chunk<'_> {
        Chunk {
            vm: self,
            source: source.as_ref().to_vec(),
            name: None,
            env: None,
        }
    }

    /// Makes a function of its description in bytecode, which is verified. Captured variable 0, if there is one, is the
    /// table of globals; others are nil. See [`bytecode`](crate::bytecode).
    ///
    /// ```
    /// use perilune::bytecode::{FunctionBuilder, Instr, Op};
    ///
    /// let mut double = FunctionBuilder::new("=double", 1, 0);
    /// double.emit(Instr::new(Op::ADD, 0, 0, 0, 0), 1);
    /// double.emit(Instr::new(Op::RETURN1, 0, 0, 0, 0), 1);
    /// let vm = perilune::Vm::new();
    /// let double = vm.load_bytecode(&double.finish()?)?;
    /// assert_eq!(double.call::<i64>(21)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load_bytecode(&self, description: &FunctionDescription) -> Result<Function> {
        self.inner.with(|st, shared| {
            collect_if_due(st);
            let proto = description.make(&mut st.rt).map_err(|e| match e {
                LoadError::Memory => Error::Memory,
                LoadError::Invalid(e) => Error::Bytecode(Box::new(e)),
            })?;
            let closure =
                stdlib::load::close_over_globals(st, proto).map_err(|Raised| Error::Memory)?;
            Ok(Function(Handle::new(
                st,
                shared,
                &self.inner,
                Raw::closure(closure),
            )))
        })?
    }

    /// The table of globals.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// vm.globals().set("answer", 42)?;
    /// assert_eq!(vm.load("answer").eval::<i64>()?, 42);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn globals(&self) -> Table {
        Table(Handle::globals(&self.inner))
    }

    /// Makes an empty table.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// assert!(vm.create_table()?.is_empty()?);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn create_table(&self) -> Result<Table> {
        self.inner.with(|st, shared| {
            collect_if_due(st);
            let t = st.rt.new_table(ShapeId::EMPTY, 0)?;
            Ok(Table(Handle::new(st, shared, &self.inner, Raw::table(t))))
        })?
    }

    /// Makes a string.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// assert_eq!(vm.create_string("moon")?.to_vec()?, b"moon");
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn create_string(&self, bytes: impl AsRef<[u8]>) -> Result<LuaString> {
        let bytes = bytes.as_ref();
        self.section(|cx| Ok(LuaString(cx.handle(string_raw(bytes, cx)?.0))))
    }

    /// Makes a function of a Rust closure. Its arguments are converted from Lua's, and its results to Lua's; an error is
    /// raised in Lua, and a panic goes on in the Rust code that called into the VM.
    ///
    /// ```
    /// use perilune::{Error, Vm};
    ///
    /// let vm = Vm::new();
    /// let root = vm.create_function(|_, x: f64| {
    ///     if x < 0.0 { Err(Error::message("negative number")) } else { Ok(x.sqrt()) }
    /// })?;
    /// vm.globals().set("root", root)?;
    /// assert_eq!(vm.load("return root(16)").eval::<f64>()?, 4.0);
    /// assert!(vm.load("return pcall(root, -1)").eval::<bool>().is_ok_and(|ok| !ok));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn create_function<A, R, F>(&self, f: F) -> Result<Function>
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, A) -> Result<R> + Send + 'static,
    {
        self.new_function(code::<F, A, R>(), signature::<A, R>(), f)
    }

    /// Makes a coroutine that will run `f`.
    pub fn create_coroutine(&self, f: &Function) -> Result<Coroutine> {
        self.inner.with(|st, shared| {
            collect_if_due(st);
            let f = f.0.in_vm(st, &self.inner)?;
            let co = State::new_coroutine(&mut st.rt)?;
            // SAFETY: a fresh stack has more than two slots; the body's place is above the bottom record's.
            unsafe { Raw::store(co.stack.get().add(1), f) };
            co.top.set(2);
            Ok(Coroutine(Handle::new(
                st,
                shared,
                &self.inner,
                Raw::coroutine(co),
            )))
        })?
    }

    /// Lets other threads stop this VM.
    ///
    /// ```
    /// use perilune::{Error, Vm};
    /// use std::{thread, time::Duration};
    ///
    /// let vm = Vm::new();
    /// let cancel = vm.cancel_handle();
    /// thread::spawn(move || {
    ///     thread::sleep(Duration::from_millis(20));
    ///     cancel.cancel();
    /// });
    /// assert!(matches!(vm.load("while true do end").exec(), Err(Error::Cancelled)));
    /// ```
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(self.inner.cancel.clone())
    }

    /// Limits the memory that objects of the VM may use, in bytes; `usize::MAX` for no limit. An allocation that would
    /// exceed it raises "not enough memory" in Lua after a full collection has not helped, and is
    /// [`Error::Memory`] for the host. Counted are all Lua objects, their stacks and tables, and the size of host
    /// values, but not what those own. What is in use already stays.
    ///
    /// ```
    /// use perilune::{Error, Vm};
    ///
    /// let vm = Vm::new();
    /// vm.set_memory_limit(vm.used_memory()? + 100_000)?;
    /// assert!(matches!(vm.load("local s = ('x'):rep(1000000)").exec(), Err(Error::Memory)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_memory_limit(&self, bytes: usize) -> Result<()> {
        self.inner.with(|st, _| st.rt.heap.set_limit(bytes))
    }

    /// The memory in use, in bytes, including garbage not yet collected.
    pub fn used_memory(&self) -> Result<usize> {
        self.inner.with(|st, _| st.rt.heap.used())
    }

    /// Makes the `n`-th allocation of the VM from now fail (0: the next one), and none after it; `None` ends that.
    /// Returns whether the failure asked for before has happened. For tests.
    #[doc(hidden)]
    pub fn fail_allocation_at(&self, n: Option<u64>) -> Result<bool> {
        self.inner.with(|st, _| {
            let happened = st.rt.heap.fail_at() == Some(u64::MAX);
            st.rt.heap.set_fail_at(n);
            happened
        })
    }

    /// Emits a warning, as `warn` does in Lua.
    ///
    /// ```
    /// let vm = perilune::Vm::builder().warnings(|piece, _| assert_eq!(piece, b"low tide")).build()?;
    /// vm.warning("low tide")?;
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn warning(&self, message: impl AsRef<[u8]>) -> Result<()> {
        self.inner.with(|st, _| st.warn(message.as_ref()))
    }

    /// What the VM has done so far, and the state of its code and heap.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// vm.load("for i = 1, 10 do end").exec()?;
    /// let forms = vm.statistics()?.specialised;
    /// assert!(forms.iter().any(|(form, n)| *form == "FORLOOP_INT" && *n == 1));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn statistics(&self) -> Result<Statistics> {
        self.inner.with(|st, _| st.statistics())
    }

    /// The executors and how control goes from one to another, as a graph in the language of Graphviz: exits that have been
    /// taken are edges, dashed if they lead to the interpreter.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// assert!(vm.executor_graph()?.starts_with("digraph"));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn executor_graph(&self) -> Result<String> {
        self.inner.with(|st, _| Dot(&st.tier2.graph).to_string())
    }

    /// The same as a page for browsers, which needs nothing but itself: with what
    /// [`executor_details`](VmBuilder::executor_details) keeps, source lines, superblocks, exits, and machine code if the
    /// disassembler is built in (cargo feature `disasm`). The sources are read from the files that chunks are named after.
    ///
    /// ```
    /// let vm = perilune::Vm::builder().executor_details(true).build()?;
    /// assert!(vm.executor_page()?.starts_with("<!DOCTYPE html>"));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn executor_page(&self) -> Result<String> {
        self.inner.with(|st, _| {
            // Broken assumptions may be about objects that have died.
            st.settle_assumptions();
            page(&st.tier2.graph, st.tier2.engine)
        })
    }

    /// Runs a full collection and the finalizers that become due.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// vm.load("t = {}; for i = 1, 1000 do t[i] = {} end; t = nil").exec()?;
    /// let before = vm.used_memory()?;
    /// vm.collect_garbage()?;
    /// assert!(vm.used_memory()? < before);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn collect_garbage(&self) -> Result<()> {
        self.inner.protect(|st, _| {
            st.collect_in_native(|rt, roots| rt.collect_full(roots));
            st.run_finalizers()
        })
    }
}

impl From<OutOfMemory> for Error {
    fn from(_: OutOfMemory) -> Error {
        Error::Memory
    }
}

/// Stops a VM from any thread; made by [`Vm::cancel_handle`]. It may outlive the VM.
#[derive(Clone)]
pub struct CancelHandle(Arc<CancelTarget>);

impl CancelHandle {
    /// Asks the VM to stop. The run in progress, or the next one, ends with [`Error::Cancelled`] at the next loop
    /// iteration or call; Lua cannot catch this, but closes its to-be-closed variables. A host function in progress
    /// is not interrupted. The request ends with the run, and the VM can be used again.
    pub fn cancel(&self) {
        self.0.set(true);
    }

    /// Raises the error `interrupted!` at the next loop iteration or call of a Lua function. Unlike a request to stop, it is an
    /// ordinary error, which Lua can catch.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// vm.cancel_handle().interrupt();
    /// let message: String = vm
    ///     .load("return select(2, pcall(function() while true do end end))")
    ///     .eval()?;
    /// assert!(message.contains("interrupted!"));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn interrupt(&self) {
        self.0.interrupt();
    }

    /// Withdraws a request to stop that has not been noticed yet.
    pub fn withdraw(&self) {
        self.0.set(false);
    }
}

impl std::fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CancelHandle")
    }
}

/// A VM was asked for that cannot be made.
#[derive(Debug)]
enum Impossible {
    /// The engine is not part of the build.
    EngineMissing(Engine),
    /// The disassembler is not part of the build.
    DisassemblerMissing,
    /// The engine makes no machine code, and something is wanted of that.
    NoMachineCode(Engine),
}

impl std::fmt::Display for Impossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Impossible::EngineMissing(engine) => {
                write!(f, "the engine {engine:?} is not built in")
            }
            Impossible::DisassemblerMissing => f.write_str(
                "the disassembler is not built in (cargo feature 'disasm': cargo install perilune --features disasm)",
            ),
            Impossible::NoMachineCode(engine) => {
                write!(f, "the engine {engine:?} makes no machine code to be shown")
            }
        }
    }
}

impl std::error::Error for Impossible {}

impl From<Impossible> for Error {
    fn from(problem: Impossible) -> Error {
        Error::external(problem)
    }
}

/// Settings of a VM to be; made by [`Vm::builder`].
#[must_use = "settings do nothing until the VM is built"]
pub struct VmBuilder {
    libraries: Libraries,
    memory_limit: usize,
    gc_stress: bool,
    stack_stress: bool,
    invalidation_stress: u32,
    cached_shapes: Option<usize>,
    hot_threshold: Option<u32>,
    engine: Engine,
    dump: Dump,
    count_instructions: bool,
    count_executions: bool,
    executor_details: bool,
    perf: Option<Perf>,
    gdb: bool,
    executor_limits: Limits,
    code: CodeSettings,
    output: Option<Box<dyn Write + Send>>,
    warnings: Option<WarningSink>,
    tracebacks: bool,
    environment: bool,
}

impl Default for VmBuilder {
    fn default() -> VmBuilder {
        VmBuilder {
            libraries: Libraries::ALL,
            memory_limit: usize::MAX,
            gc_stress: false,
            stack_stress: false,
            invalidation_stress: 0,
            cached_shapes: None,
            hot_threshold: None,
            engine: Engine::DEFAULT,
            dump: Dump::default(),
            count_instructions: false,
            count_executions: false,
            executor_details: false,
            perf: None,
            gdb: false,
            executor_limits: Limits::default(),
            code: CodeSettings::default(),
            output: None,
            warnings: None,
            tracebacks: true,
            environment: true,
        }
    }
}

impl VmBuilder {
    /// The libraries that scripts find. Default: all.
    pub fn libraries(mut self, libraries: Libraries) -> VmBuilder {
        self.libraries = libraries;
        self
    }

    /// See [`Vm::set_memory_limit`]. Default: none.
    pub fn memory_limit(mut self, bytes: usize) -> VmBuilder {
        self.memory_limit = bytes;
        self
    }

    /// Collects at every opportunity, which is very slow. For tests.
    pub fn gc_stress(mut self, on: bool) -> VmBuilder {
        self.gc_stress = on;
        self
    }

    /// Moves the stacks at every call and leaves no room to spare on them, which is slow. For tests.
    pub fn stack_stress(mut self, on: bool) -> VmBuilder {
        self.stack_stress = on;
        self
    }

    /// Takes compiled code back for no reason, each time that one more of its assumptions could have been broken `n`
    /// times; 0 for never. For tests.
    pub fn invalidation_stress(mut self, n: u32) -> VmBuilder {
        self.invalidation_stress = n;
        self
    }

    /// The number of table shapes that an instruction remembers before it gives up and looks keys up every time: at least
    /// 1, at most 4, which is the default.
    pub fn cached_shapes(mut self, shapes: usize) -> VmBuilder {
        self.cached_shapes = Some(shapes);
        self
    }

    /// The number of passes after which a loop or function counts as hot.
    pub fn hot_threshold(mut self, passes: u32) -> VmBuilder {
        self.hot_threshold = Some(passes);
        self
    }

    /// What runs the hot parts of programs. Default: machine code if it is built in, else the tier-2 interpreter if that is,
    /// else the interpreter alone. An engine that is not built in makes [`build`](VmBuilder::build) fail.
    pub fn engine(mut self, engine: Engine) -> VmBuilder {
        self.engine = engine;
        self
    }

    /// Prints superblocks to standard error when they are made, before and after optimization. For people who work
    /// on the engine.
    pub fn dump_superblocks(mut self, on: bool) -> VmBuilder {
        self.dump.superblocks = on;
        self
    }

    /// Prints the code that the tier-2 interpreter runs to standard error when it is made. For people who work on the
    /// engine.
    pub fn dump_micro_ops(mut self, on: bool) -> VmBuilder {
        self.dump.uops = on;
        self
    }

    /// Prints machine code to standard error when it is made: disassembled, with the micro-ops that it comes from. For
    /// people who work on the engine. Needs the engine [`Engine::Jit`] and the cargo feature `disasm`; without them
    /// [`build`](VmBuilder::build) fails.
    pub fn dump_machine_code(mut self, on: bool) -> VmBuilder {
        self.dump.machine_code = on;
        self
    }

    /// Prints only what begins in certain functions: those of a name, or those with a line, given as `FILE:LINE` or
    /// `LINE`. Several filters show what any of them wants.
    pub fn dump_filter(mut self, filter: impl Into<String>) -> VmBuilder {
        self.dump.filters.push(filter.into());
        self
    }

    /// Counts the instructions that the interpreter executes, which makes it slower;
    /// see [`Statistics::interpreted`]. Implies
    /// [`count_executions`](VmBuilder::count_executions).
    ///
    /// ```
    /// let vm = perilune::Vm::builder().count_instructions(true).build()?;
    /// vm.load("for i = 1, 10 do end").exec()?;
    /// assert!(vm.statistics()?.interpreted >= Some(10));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn count_instructions(mut self, on: bool) -> VmBuilder {
        self.count_instructions = on;
        self
    }

    /// Lets machine code count how often it is entered and how often its loops go back, which makes short loops slower.
    /// Without that [`ExecutorStatistics::executed`](crate::ExecutorStatistics::executed) and the
    /// [graph of executors](Vm::executor_graph) know of none. The tier-2 interpreter always counts.
    pub fn count_executions(mut self, on: bool) -> VmBuilder {
        self.count_executions = on;
        self
    }

    /// Keeps for [`Vm::executor_page`] what is of no use otherwise: the names of functions, superblocks before optimization,
    /// and maps of machine code. The memory for it is not limited. Implies
    /// [`count_executions`](VmBuilder::count_executions).
    pub fn executor_details(mut self, on: bool) -> VmBuilder {
        self.executor_details = on;
        self
    }

    /// Tells the profiler `perf` which executor machine code belongs to: its function, its line, and its number. The file is
    /// made by the first VM of the process that asks for it. Needs the engine [`Engine::Jit`]; without it, and if the file
    /// cannot be made, [`build`](VmBuilder::build) fails. Costs time and memory when an executor is made. Default: nothing
    /// is told.
    pub fn perf(mut self, perf: Perf) -> VmBuilder {
        self.perf = Some(perf);
        self
    }

    /// Tells debuggers of machine code by the interface that GDB has defined: names, source lines, and how to unwind the
    /// native stack. Needs the engine [`Engine::Jit`]; without it [`build`](VmBuilder::build) fails. Costs time and memory
    /// when an executor is made.
    pub fn gdb(mut self, on: bool) -> VmBuilder {
        self.gdb = on;
        self
    }

    /// How many executors there may be; at the limit those that are used least are given up. Default: 4096.
    pub fn executor_limit(mut self, executors: usize) -> VmBuilder {
        self.executor_limits.executors = executors;
        self
    }

    /// The same for the bytes that executors take, which count towards the [memory limit](VmBuilder::memory_limit),
    /// too. Default: 64 MiB.
    pub fn executor_memory(mut self, bytes: usize) -> VmBuilder {
        self.executor_limits.bytes = bytes;
        self
    }

    /// Gives the VM code memory of its own, of `bytes` bytes. Where that is full, executors that are used little are given up, and
    /// what finds no room is interpreted. Default: code memory that the VMs of the process share, of 128 MiB.
    pub fn code_memory(mut self, bytes: usize) -> VmBuilder {
        self.code.memory = Some(bytes);
        self
    }

    /// Fills registers that hold nothing with values that no program has, wherever machine code begins and after its calls,
    /// which makes it larger and slower. For tests.
    pub fn register_stress(mut self, on: bool) -> VmBuilder {
        self.code.traps = on;
        self
    }

    /// Where `print` and `io.write` go. Output is passed on at the end of a line, unless the script says otherwise.
    /// `write` cannot use the VM. Default: standard output.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::sync::{Arc, Mutex};
    ///
    /// #[derive(Clone, Default)]
    /// struct Log(Arc<Mutex<Vec<u8>>>);
    ///
    /// impl Write for Log {
    ///     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
    ///         self.0.lock().unwrap().write(bytes)
    ///     }
    ///     fn flush(&mut self) -> std::io::Result<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let log = Log::default();
    /// let vm = perilune::Vm::builder().output(Box::new(log.clone())).build()?;
    /// vm.load("print('hello', 1)").exec()?;
    /// drop(vm);
    /// assert_eq!(*log.0.lock().unwrap(), b"hello\t1\n");
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn output(mut self, output: Box<dyn Write + Send>) -> VmBuilder {
        self.output = Some(output);
        self
    }

    /// Where warnings go: called with a piece of the message, and whether more follows. The function cannot use the
    /// VM, and a panic in it goes no further. Default: standard error, after `warn("@on")`.
    pub fn warnings(mut self, mut sink: impl FnMut(&[u8], bool) + Send + 'static) -> VmBuilder {
        self.warnings = Some(Box::new(move |piece, more| {
            // A panic must not unwind through the engine; its hook has reported it.
            let _ = catch_unwind(AssertUnwindSafe(|| sink(piece, more)));
        }));
        self
    }

    /// Whether the environment variables `LUA_PATH` and `LUA_CPATH` (and those that end in `_5_4`) say where modules are
    /// searched. Default: yes.
    pub fn environment(mut self, on: bool) -> VmBuilder {
        self.environment = on;
        self
    }

    /// Whether errors that reach the host carry a traceback. Default: yes.
    pub fn tracebacks(mut self, on: bool) -> VmBuilder {
        self.tracebacks = on;
        self
    }

    /// Whether the build has what the settings need.
    fn check(&self) -> std::result::Result<(), Impossible> {
        if !self.engine.is_built_in() {
            return Err(Impossible::EngineMissing(self.engine));
        }
        let of_machine_code = self.dump.machine_code || self.perf.is_some() || self.gdb;
        if of_machine_code && self.engine != Engine::Jit {
            return Err(Impossible::NoMachineCode(self.engine));
        }
        if self.dump.machine_code && cfg!(not(feature = "disasm")) {
            return Err(Impossible::DisassemblerMissing);
        }
        Ok(())
    }

    /// Makes the VM.
    pub fn build(self) -> Result<Vm> {
        self.check()?;
        let mut state = State::new()?;
        let st = &mut *state;
        st.rt.heap.set_limit(self.memory_limit);
        st.tier2.engine = self.engine;
        #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
        {
            let outside = Outside::new(self.perf, self.gdb).map_err(Error::external)?;
            st.tier2.jit.watch = Watch {
                map: self.dump.machine_code || self.executor_details || outside.is_on(),
                counts: self.count_executions || self.count_instructions || self.executor_details,
            };
            st.tier2.jit.outside = outside;
        }
        st.tier2.dump = self.dump;
        st.tier2.keeps_superblocks = self.executor_details;
        st.tier2.graph.limits = self.executor_limits;
        st.tier2.set_code_settings(self.code);
        st.count_instructions = self.count_instructions;
        if let Some(passes) = self.hot_threshold {
            st.hot_threshold = passes;
            let exits = u16::try_from(passes).unwrap_or(u16::MAX);
            st.tier2.hot_exit = st.tier2.hot_exit.min(exits);
        }
        if let Some(shapes) = self.cached_shapes {
            st.cached_shapes = shapes.clamp(1, POLY_MAX);
        }
        st.warnings = self.warnings;
        if let Some(output) = self.output {
            stdlib::stream::redirect_output(st, output);
        }
        let vm = Vm {
            inner: Inner::new(state),
            marker: PhantomData,
        };
        vm.inner.protect(|st, _| {
            if !self.environment {
                stdlib::ignore_environment(st)?;
            }
            stdlib::open(st, self.libraries)
        })?;
        vm.inner.with(|st, _| {
            st.keep_traceback = self.tracebacks;
            st.rt.heap.set_stress(self.gc_stress);
            st.set_stack_stress(self.stack_stress);
            st.tier2.invalidation_stress = self.invalidation_stress;
        })?;
        Ok(vm)
    }
}
