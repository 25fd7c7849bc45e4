//! The `perilune` command: runs Lua programs as `lua` does, on the public interface only. Its interactive mode is in
//! [`repl`].

mod repl;

use std::cell::Cell;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;

use repl::interrupt::Watch;

use perilune::{
    Bytes, Chunk, Engine, Error, Function, MultiValue, Perf, Result, Table, Value, Variadic, Vm,
};

/// What messages begin with if the command has been called without a name.
const NAME: &str = "perilune";

const VERSION: &str = concat!(
    "perilune ",
    env!("CARGO_PKG_VERSION"),
    " (Lua 5.4)  Lua is by Lua.org, PUC-Rio"
);

const USAGE: &str = "usage: perilune [options] [script [args]]
Available options are:
  -e stat   execute string 'stat'
  -i        enter interactive mode after executing 'script'
  -l mod    require library 'mod' into global 'mod'
  -l g=mod  require library 'mod' into global 'g'
  -v        show version information
  -E        ignore environment variables
  -W        turn warnings on
  --        stop handling options
  -         stop handling options and execute stdin
  --dump=bytecode        list the script's bytecode instead of running it
  --dump=LIST            show what is named, with commas between: bytecode, superblock, uops, asm (on stderr as they are made)
  --dump-filter=WHAT     show only what begins in function WHAT, or at FILE:LINE
  --graph=FILE           write the graph of executors to FILE after the run: a page if it ends in .html, else for Graphviz
  --perf=map             name machine code for perf in /tmp/perf-PID.map
  --perf=dump            write machine code to jit-PID.dump, for perf inject --jit
  --gdb                  tell debuggers of machine code
  --tier2=ENGINE         run what is hot with: off, uops, jit
  --stats                show statistics on stderr after the run
  --count-instructions   count instructions for the statistics, which makes the interpreter slower
  --gc-stress            collect garbage at every opportunity
  --hot-threshold=N      count loops and functions as hot after N passes
  --memory-limit=BYTES   raise an error when the program needs more memory";

/// What is done before the script, in the order of the command line.
enum Task {
    Execute(Vec<u8>),
    Require(Vec<u8>),
    WarningsOn,
}

enum Script {
    File(OsString),
    Stdin,
}

/// The command line.
#[derive(Default)]
struct Options {
    tasks: Vec<Task>,
    version: bool,
    interactive: bool,
    ignore_environment: bool,
    dump_bytecode: bool,
    /// Whether the script is listed and not run.
    list_only: bool,
    stats: bool,
    gc_stress: bool,
    hot_threshold: Option<u32>,
    engine: Option<Engine>,
    dump_superblocks: bool,
    dump_micro_ops: bool,
    dump_machine_code: bool,
    dump_filters: Vec<String>,
    graph: Option<OsString>,
    perf: Option<Perf>,
    gdb: bool,
    count_instructions: bool,
    memory_limit: Option<usize>,
    script: Option<Script>,
    /// All words of the command line, the command's own name first.
    words: Vec<OsString>,
    /// Which of them is the script; their number if there is none.
    script_index: usize,
}

impl Options {
    /// What a list of things to dump asks for; `None` if it cannot be understood.
    fn dump(&mut self, list: &[u8]) -> Option<()> {
        for word in list.split(|&b| b == b',') {
            match word {
                b"bytecode" => self.dump_bytecode = true,
                b"superblock" => self.dump_superblocks = true,
                b"uops" => self.dump_micro_ops = true,
                b"asm" => self.dump_machine_code = true,
                _ => return None,
            }
        }
        let executors = self.dump_superblocks || self.dump_micro_ops || self.dump_machine_code;
        self.list_only = self.dump_bytecode && !executors;
        Some(())
    }

    /// Why a command line cannot be understood is the error.
    fn parse(words: Vec<OsString>) -> std::result::Result<Options, String> {
        let mut options = Options::default();
        let mut next = 1;
        while let Some(word) = words.get(next) {
            let bytes = word.as_bytes();
            let bad = || format!("unrecognized option '{}'", word.display());
            let number = |digits: &[u8]| str::from_utf8(digits).ok()?.parse::<usize>().ok();
            match bytes {
                b"-" => {
                    options.script = Some(Script::Stdin);
                    break;
                }
                b"--" => {
                    next += 1;
                    break;
                }
                b"-v" => options.version = true,
                b"-i" => (options.interactive, options.version) = (true, true),
                b"-E" => options.ignore_environment = true,
                b"-W" => options.tasks.push(Task::WarningsOn),
                [b'-', letter @ (b'e' | b'l'), text @ ..] => {
                    let text = if text.is_empty() {
                        next += 1;
                        let text = words.get(next).map(|word| word.as_bytes());
                        text.filter(|text| !text.starts_with(b"-"))
                            .ok_or_else(|| format!("'{}' needs argument", word.display()))?
                    } else {
                        text
                    };
                    options.tasks.push(match letter {
                        b'e' => Task::Execute(text.to_vec()),
                        _ => Task::Require(text.to_vec()),
                    });
                }
                b"--count-instructions" => options.count_instructions = true,
                b"--tier2=off" => options.engine = Some(Engine::Off),
                b"--tier2=jit" => options.engine = Some(Engine::Jit),
                b"--tier2=uops" => options.engine = Some(Engine::Uops),
                b"--stats" => options.stats = true,
                b"--perf=map" => options.perf = Some(Perf::Map),
                b"--perf=dump" => options.perf = Some(Perf::Dump),
                b"--gdb" => options.gdb = true,
                b"--gc-stress" => options.gc_stress = true,
                [b'-', rest @ ..] => {
                    if let Some(digits) = rest.strip_prefix(b"-hot-threshold=") {
                        let passes = number(digits).and_then(|n| u32::try_from(n).ok());
                        options.hot_threshold = Some(passes.ok_or_else(bad)?);
                    } else if let Some(list) = rest.strip_prefix(b"-dump=") {
                        options.dump(list).ok_or_else(bad)?;
                    } else if let Some(filter) = rest.strip_prefix(b"-dump-filter=") {
                        options
                            .dump_filters
                            .push(String::from_utf8_lossy(filter).into_owned());
                    } else if let Some(file) = rest.strip_prefix(b"-graph=") {
                        options.graph = Some(OsString::from_vec(file.to_vec()));
                    } else if let Some(digits) = rest.strip_prefix(b"-memory-limit=") {
                        options.memory_limit = Some(number(digits).ok_or_else(bad)?);
                    } else {
                        return Err(bad());
                    }
                }
                _ => break,
            }
            next += 1;
        }
        if options.script.is_none() {
            options.script = words.get(next).cloned().map(Script::File);
        }
        let codes = options
            .tasks
            .iter()
            .any(|task| matches!(task, Task::Execute(_)));
        if options.script.is_none() && !options.interactive && !options.version && !codes {
            // Without anything to do, what is done depends on where the input comes from.
            options.interactive = io::stdin().is_terminal();
            options.version = options.interactive;
            options.script = (!options.interactive).then_some(Script::Stdin);
        }
        options.script_index = next.min(words.len());
        options.words = words;
        Ok(options)
    }
}

/// A failure has been reported.
struct Failed;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}

fn run() -> std::result::Result<(), Failed> {
    let options = Options::parse(env::args_os().collect()).map_err(|problem| {
        complain(problem);
        show(io::stderr(), USAGE);
        Failed
    })?;
    if options.version {
        show(io::stdout(), VERSION);
    }
    let (stats, interactive, graph) = (options.stats, options.interactive, options.graph.clone());
    let vm = new_vm(&options).map_err(complain)?;
    let interrupts = Watch::start(vm.cancel_handle());
    // Programs run below a host function, as they do in `lua`: tracebacks show it.
    let main = vm.create_function(move |vm, ()| Ok(run_program(vm, &options).is_ok()));
    let succeeded = main
        .and_then(|main| main.call_with_handler::<bool>((), &describer(&vm)?))
        .map_err(complain)?;
    if interactive && succeeded {
        repl::run(&vm, &interrupts).map_err(report)?;
    }
    if stats {
        let statistics = vm.statistics().map_err(complain)?;
        show(io::stderr(), statistics.to_string().trim_end());
    }
    if let Some(file) = graph {
        let graph = if is_page(&file) {
            vm.executor_page()
        } else {
            vm.executor_graph()
        };
        let graph = graph.map_err(complain)?;
        fs::write(&file, graph).map_err(|e| complain(cannot("write", &file, &e)))?;
    }
    // Runs the finalizers, which may print, and writes what is still to be written.
    drop(vm);
    if succeeded { Ok(()) } else { Err(Failed) }
}

/// Whether a file is to be a page for browsers, by its name.
fn is_page(file: &OsStr) -> bool {
    let extension = Path::new(file).extension();
    extension.is_some_and(|extension| extension == "html" || extension == "htm")
}

fn new_vm(options: &Options) -> Result<Vm> {
    let mut builder = Vm::builder()
        .gc_stress(options.gc_stress)
        .environment(!options.ignore_environment)
        .dump_superblocks(options.dump_superblocks)
        .dump_micro_ops(options.dump_micro_ops)
        .dump_machine_code(options.dump_machine_code)
        .count_instructions(options.count_instructions)
        .count_executions(options.stats || options.graph.is_some())
        .executor_details(options.graph.as_deref().is_some_and(is_page))
        .gdb(options.gdb);
    for filter in &options.dump_filters {
        builder = builder.dump_filter(filter);
    }
    if let Some(engine) = options.engine {
        builder = builder.engine(engine);
    }
    if let Some(perf) = options.perf {
        builder = builder.perf(perf);
    }
    if let Some(passes) = options.hot_threshold {
        builder = builder.hot_threshold(passes);
    }
    if let Some(bytes) = options.memory_limit {
        builder = builder.memory_limit(bytes);
    }
    builder.build()
}

fn run_program(vm: &Vm, options: &Options) -> std::result::Result<(), Failed> {
    set_arg(vm, options).map_err(report)?;
    if !options.ignore_environment {
        run_initialisation(vm)?;
    }
    for task in &options.tasks {
        let done = match task {
            Task::Execute(source) => vm.load(source).name("=(command line)").exec(),
            Task::Require(module) => require(vm, module),
            Task::WarningsOn => vm.warning("@on"),
        };
        done.map_err(report)?;
    }
    if let Some(script) = &options.script {
        let chunk = read_script(vm, script).map_err(complain)?;
        let done = chunk.into_function().and_then(|f| {
            if options.dump_bytecode {
                list(&f)?;
            }
            if options.list_only {
                Ok(())
            } else {
                f.call(script_arguments(vm)?)
            }
        });
        done.map_err(report)?;
    }
    Ok(())
}

/// Runs what the environment variable `LUA_INIT_5_4` or else `LUA_INIT` says: code, or a file behind `@`.
fn run_initialisation(vm: &Vm) -> std::result::Result<(), Failed> {
    let set = |name| env::var_os(name).map(|text| (name, text.into_vec()));
    let Some((name, text)) = set("LUA_INIT_5_4").or_else(|| set("LUA_INIT")) else {
        return Ok(());
    };
    let chunk = match text.strip_prefix(b"@") {
        Some(file) => {
            let file = Script::File(OsString::from_vec(file.to_vec()));
            read_script(vm, &file).map_err(complain)?
        }
        None => vm.load(text).name(format!("={name}")),
    };
    chunk.exec().map_err(report)
}

/// Sets the global `arg`: the script at 0, its arguments from 1, what precedes it below.
fn set_arg(vm: &Vm, options: &Options) -> Result<()> {
    let arg = vm.create_table()?;
    // Without a script, the command's name is at 0.
    let zero = if options.script.is_some() {
        options.script_index
    } else {
        0
    };
    for (i, word) in options.words.iter().enumerate() {
        arg.set(i as i64 - zero as i64, Bytes(word.clone().into_vec()))?;
    }
    vm.globals().set("arg", arg)
}

/// What the script gets as `...`: the elements of `arg`, which code of the command line may have changed.
fn script_arguments(vm: &Vm) -> Result<Variadic<Value>> {
    let arg: Value = vm.globals().get("arg")?;
    match arg {
        Value::Table(arg) => arg.sequence_values().collect(),
        _ => Err(Error::message("'arg' is not a table")),
    }
}

/// `-l name`, `-l global=name`. Of a name with a hyphen, the part before it names the global.
fn require(vm: &Vm, text: &[u8]) -> Result<()> {
    let mut parts = text.splitn(2, |&b| b == b'=');
    let global = parts.next().unwrap_or_default();
    let module = parts.next().unwrap_or(text);
    let global = match module.len() == text.len() {
        true => global.split(|&b| b == b'-').next().unwrap_or(global),
        false => global,
    };
    let require: Function = vm.globals().get("require")?;
    let loaded: Value = require.call(vm.create_string(module)?)?;
    vm.globals().set(vm.create_string(global)?, loaded)
}

fn read_script<'a>(vm: &'a Vm, script: &Script) -> std::result::Result<Chunk<'a>, String> {
    let mut source = Vec::new();
    let name = match script {
        Script::Stdin => {
            let read = io::stdin().lock().read_to_end(&mut source);
            read.map_err(|e| cannot("read", OsStr::new("stdin"), &e))?;
            b"=stdin".to_vec()
        }
        Script::File(path) => {
            let mut file = File::open(path).map_err(|e| cannot("open", path, &e))?;
            file.read_to_end(&mut source)
                .map_err(|e| cannot("read", path, &e))?;
            [b"@", path.as_bytes()].concat()
        }
    };
    Ok(vm.load(source).name(name).file())
}

fn cannot(what: &str, name: &OsStr, error: &io::Error) -> String {
    let reason = error.to_string();
    // The system's words, without the number that Rust adds.
    let reason = reason.split(" (os error").next().unwrap_or(&reason);
    format!("cannot {what} {}: {reason}", name.display())
}

fn list(f: &Function) -> Result<()> {
    if let Some(listing) = f.listing()? {
        show(io::stdout(), listing.trim_end());
    }
    Ok(())
}

thread_local! {
    /// How the value of the last error describes itself, if it does.
    static DESCRIPTION: Cell<Option<String>> = const { Cell::new(None) };
}

/// A message handler that asks error values to describe themselves, where they have been raised, and notes the answer for
/// [`error_text`]. It leaves them as they are.
fn describer(vm: &Vm) -> Result<Function> {
    vm.create_function(|_, value: Value| {
        DESCRIPTION.set(None);
        DESCRIPTION.set(description(&value));
        Ok(value)
    })
}

/// Shows an error.
fn report(error: Error) -> Failed {
    complain(error_text(&error))
}

/// An error with its traceback, which values that describe themselves have not.
fn error_text(error: &Error) -> String {
    match error {
        Error::Runtime(_) => DESCRIPTION.take(),
        _ => None,
    }
    .unwrap_or_else(|| error.to_string())
}

/// What the `__tostring` of an error value says.
fn description(value: &Value) -> Option<String> {
    let metatable: Table = match value {
        Value::Table(t) => t.metatable().ok()??,
        Value::UserData(u) => u.metatable().ok()??,
        _ => return None,
    };
    if metatable.raw_get::<Value>("__tostring").ok()?.is_nil() {
        return None;
    }
    let tostring: Function = metatable.raw_get("__tostring").ok()?;
    match tostring
        .call::<MultiValue>(value.clone())
        .ok()?
        .into_iter()
        .next()?
    {
        Value::String(s) => Some(String::from_utf8_lossy(&s.to_vec().ok()?).into_owned()),
        _ => None,
    }
}

fn complain(problem: impl Display) -> Failed {
    let name = env::args_os().next().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| NAME.into());
    show(io::stderr(), format_args!("{}: {problem}", name.display()));
    Failed
}

/// Writes a line. If nobody can see it, there is nobody to tell.
fn show(mut to: impl Write, line: impl Display) {
    let _ = writeln!(to, "{line}");
}
