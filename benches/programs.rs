//! Whole-program benchmarks: every program under `benches/programs` (portable Lua, which Lua 5.1
//! and LuaJIT run as well) and `benches/programs54` (Lua 5.4 only), each run as a process of its
//! own under perilune and under the Luas it is compared with.
//!
//! ```text
//! cargo bench --bench programs -- --lua luajit=luajit --lua lua5.4=lua5.4
//! ```
//!
//! The Luas take turns, so that a change of the machine's speed touches all of them. Wall time,
//! processor time and peak memory are the medians of the runs; a time ratio is the median of the
//! ratios of neighbouring runs, perilune's time over the other's, so that below one is faster. The
//! standard output of every run must be the same as that of the first Lua that runs the program.
//!
//! Unix only: peak memory comes from `wait4`. The kernel counts the memory of the process that
//! started a program as part of its peak, so peaks below this runner's own few megabytes do not show.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: cargo bench --bench programs -- [options]
  --lua NAME=PATH     compare with this Lua (repeatable; the first one is the yardstick)
  --perilune PATH     the perilune to measure (default: the one just built)
  --perilune-arg ARG  an argument for perilune before the program (repeatable)
  --runs N            runs of each program under each Lua (default 5)
  --filter SUBSTRING  only programs whose name contains this
  --set SET           all, common or lua54 (default all)
  --size-percent P    scale every program's size argument (default 100)
  --timeout SECONDS   kill a run that takes longer (default 120)
  --json FILE         write all results to this file as well";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        // `cargo test --benches` gets here, and test runners that ask for a list of tests.
        if !args.iter().any(|arg| arg == "--list") {
            println!("programs: only measured by `cargo bench`");
        }
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Options::parse(args).and_then(|options| benchmark(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("programs: {message}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything, prints and writes the results; false if some program failed.
fn benchmark(options: &Options) -> Result<bool, String> {
    let programs = find_programs(options)?;
    let mut results = Vec::new();
    for (done, program) in programs.into_iter().enumerate() {
        eprintln!("[{}] {}", done + 1, program.name);
        results.push(measure(options, program));
    }
    let summaries: Vec<Summary> = (1..options.luas.len())
        .filter_map(|lua| Summary::new(&results, lua))
        .collect();
    print!("{}", table(options, &results));
    for summary in &summaries {
        println!("{}", summary.line(options));
    }
    let failures: Vec<String> = results.iter().flat_map(|r| r.failures(options)).collect();
    for failure in &failures {
        println!("FAILED {failure}");
    }
    if let Some(file) = &options.json {
        std::fs::write(file, json(options, &results, &summaries))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(failures.is_empty())
}

// Options

#[derive(Clone, Copy, PartialEq)]
enum Set {
    Common,
    Lua54,
}

impl Set {
    const ALL: [Set; 2] = [Set::Common, Set::Lua54];

    fn name(self) -> &'static str {
        match self {
            Set::Common => "common",
            Set::Lua54 => "lua54",
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Set::Common => "programs",
            Set::Lua54 => "programs54",
        }
    }
}

/// An interpreter to run programs with.
struct Lua {
    name: String,
    path: String,
    args: Vec<String>,
}

impl Lua {
    fn runs(&self, set: Set) -> bool {
        let name = self.name.to_lowercase();
        set == Set::Common || name == "perilune" || name.contains("5.4") && !name.contains("luajit")
    }
}

struct Options {
    /// Perilune is the first, the yardstick the second.
    luas: Vec<Lua>,
    runs: usize,
    filter: String,
    sets: Vec<Set>,
    size_percent: u64,
    timeout: Duration,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(args: Vec<String>) -> Result<Options, String> {
        let mut options = Options {
            luas: vec![Lua {
                name: "perilune".to_owned(),
                path: env!("CARGO_BIN_EXE_perilune").to_owned(),
                args: Vec::new(),
            }],
            runs: 5,
            filter: String::new(),
            sets: Set::ALL.to_vec(),
            size_percent: 100,
            timeout: Duration::from_secs(120),
            json: None,
        };
        let mut args = args.into_iter().filter(|arg| arg != "--bench");
        while let Some(option) = args.next() {
            let Some(value) = args.next() else {
                return Err(format!("unknown option or no value: {option}\n{USAGE}"));
            };
            match option.as_str() {
                "--lua" => {
                    let (name, path) = value
                        .split_once('=')
                        .ok_or_else(|| format!("--lua {value}: NAME=PATH expected"))?;
                    if options.luas.iter().any(|lua| lua.name == name) {
                        return Err(format!("--lua {value}: the name is taken"));
                    }
                    options.luas.push(Lua {
                        name: name.to_owned(),
                        path: path.to_owned(),
                        args: Vec::new(),
                    });
                }
                "--perilune" => options.luas[0].path = value,
                "--perilune-arg" => options.luas[0].args.push(value),
                "--runs" => options.runs = positive(&option, &value)? as usize,
                "--filter" => options.filter = value,
                "--set" if value == "all" => options.sets = Set::ALL.to_vec(),
                "--set" => {
                    let set = Set::ALL.into_iter().find(|set| set.name() == value);
                    options.sets = vec![set.ok_or_else(|| format!("--set {value}: no such set"))?];
                }
                "--size-percent" => options.size_percent = positive(&option, &value)?,
                "--timeout" => options.timeout = Duration::from_secs(positive(&option, &value)?),
                "--json" => options.json = Some(PathBuf::from(value)),
                _ => return Err(format!("unknown option: {option}\n{USAGE}")),
            }
        }
        Ok(options)
    }
}

fn positive(option: &str, value: &str) -> Result<u64, String> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!(
            "{option} {value}: a positive whole number expected"
        )),
    }
}

// Programs

struct Program {
    name: String,
    set: Set,
    path: PathBuf,
    /// The size argument, if it is not the program's own default.
    size: Option<u64>,
}

fn find_programs(options: &Options) -> Result<Vec<Program>, String> {
    let mut programs = Vec::new();
    for &set in &options.sets {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("benches")
            .join(set.directory());
        let describe = |error| format!("{}: {error}", directory.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(describe)? {
            paths.push(entry.map_err(describe)?.path());
        }
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if path.extension().is_some_and(|extension| extension == "lua")
                && name.contains(&options.filter)
            {
                programs.push(Program {
                    name: name.into_owned(),
                    set,
                    size: scaled_size(&path, options.size_percent)?,
                    path,
                });
            }
        }
    }
    if programs.is_empty() {
        return Err(format!("no program's name contains '{}'", options.filter));
    }
    Ok(programs)
}

/// The given percentage of the default size, which every program states as `(...) or SIZE)`.
fn scaled_size(path: &Path, percent: u64) -> Result<Option<u64>, String> {
    if percent == 100 {
        return Ok(None);
    }
    let source =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    source
        .split_once("(...) or ")
        .and_then(|(_, rest)| rest.split(')').next()?.parse::<u64>().ok())
        .map(|default| Some((default * percent / 100).max(1)))
        .ok_or_else(|| format!("{}: no default size found", path.display()))
}

// Measuring

/// One finished run.
struct Run {
    wall: Duration,
    /// User and system time of all threads.
    cpu: Duration,
    peak_bytes: u64,
}

/// What running one program under one Lua came to.
enum Outcome {
    NotApplicable,
    Failed(String),
    Measured(Vec<Run>),
}

impl Outcome {
    fn median(&self, of: impl Fn(&Run) -> f64) -> Option<f64> {
        match self {
            Outcome::Measured(runs) => Some(median(runs.iter().map(of).collect())),
            Outcome::NotApplicable | Outcome::Failed(_) => None,
        }
    }

    fn wall_seconds(&self) -> Option<f64> {
        self.median(|run| run.wall.as_secs_f64())
    }

    fn cpu_seconds(&self) -> Option<f64> {
        self.median(|run| run.cpu.as_secs_f64())
    }

    fn peak_bytes(&self) -> Option<f64> {
        self.median(|run| run.peak_bytes as f64)
    }
}

struct ProgramResult {
    program: Program,
    /// In the order of the options' Luas.
    outcomes: Vec<Outcome>,
}

impl ProgramResult {
    /// The median over pairs of neighbouring runs of perilune's wall time over the other Lua's.
    fn time_ratio(&self, lua: usize) -> Option<f64> {
        match (&self.outcomes[0], &self.outcomes[lua]) {
            (Outcome::Measured(ours), Outcome::Measured(theirs)) => {
                let pairs = ours.iter().zip(theirs);
                let ratios = pairs.map(|(a, b)| a.wall.as_secs_f64() / b.wall.as_secs_f64());
                Some(median(ratios.collect()))
            }
            _ => None,
        }
    }

    fn memory_ratio(&self, lua: usize) -> Option<f64> {
        Some(self.outcomes[0].peak_bytes()? / self.outcomes[lua].peak_bytes()?)
    }

    fn failures(&self, options: &Options) -> Vec<String> {
        let outcomes = options.luas.iter().zip(&self.outcomes);
        outcomes
            .filter_map(|(lua, outcome)| match outcome {
                Outcome::Failed(reason) => Some(format!(
                    "{} under {}: {reason}",
                    self.program.name, lua.name
                )),
                Outcome::NotApplicable | Outcome::Measured(_) => None,
            })
            .collect()
    }
}

/// Runs the program under all Luas in turns. A Lua that fails once is not run any further.
fn measure(options: &Options, program: Program) -> ProgramResult {
    let mut outcomes: Vec<Outcome> = options
        .luas
        .iter()
        .map(|lua| match lua.runs(program.set) {
            true => Outcome::Measured(Vec::new()),
            false => Outcome::NotApplicable,
        })
        .collect();
    // The others run before perilune so that the first output is the yardstick's.
    let order = (1..options.luas.len()).chain([0]);
    let mut expected: Option<Vec<u8>> = None;
    for lua in std::iter::repeat_n(order, options.runs).flatten() {
        let Outcome::Measured(runs) = &mut outcomes[lua] else {
            continue;
        };
        match run(&options.luas[lua], &program, options.timeout) {
            Err(reason) => outcomes[lua] = Outcome::Failed(reason),
            Ok((_, output)) if expected.as_ref().is_some_and(|it| *it != output) => {
                let text = String::from_utf8_lossy(&output).replace('\n', " / ");
                outcomes[lua] = Outcome::Failed(format!("different output: {text}"));
            }
            Ok((run, output)) => {
                runs.push(run);
                expected = Some(output);
            }
        }
    }
    ProgramResult { program, outcomes }
}

/// Runs the program once and returns its costs and standard output, or why it failed.
fn run(lua: &Lua, program: &Program, timeout: Duration) -> Result<(Run, Vec<u8>), String> {
    let mut command = Command::new(&lua.path);
    command.args(&lua.args).arg(&program.path);
    command.args(program.size.map(|size| size.to_string()));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| format!("{}: {error}", lua.path))?;
    let pid = child.id() as libc::pid_t;
    let stdout = read_in_background(child.stdout.take());
    let stderr = read_in_background(child.stderr.take());

    let (finished, watch) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = watch.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            // SAFETY: kill has no memory effects. The process is a child of ours that is not
            // reaped before this thread is joined, so the number cannot denote another one.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        late
    });
    let waited = wait_for_exit(pid);
    let wall = start.elapsed();
    drop(finished);
    let timed_out = watchdog.join().is_ok_and(|late| late);
    waited?;
    let (status, usage) = reap(pid)?;
    let output = stdout.join().unwrap_or_default();
    let errors = stderr.join().unwrap_or_default();

    if timed_out {
        return Err(format!("timeout after {} s", timeout.as_secs()));
    }
    if status != 0 {
        let errors = String::from_utf8_lossy(&errors);
        let first_line = errors.lines().next().unwrap_or_default();
        return Err(match libc::WIFSIGNALED(status) {
            true => format!("killed by signal {} {first_line}", libc::WTERMSIG(status)),
            false => format!("exit {} {first_line}", libc::WEXITSTATUS(status)),
        });
    }
    // Linux counts kilobytes, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let run = Run {
        wall,
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        peak_bytes: usage.ru_maxrss as u64 * unit,
    };
    Ok((run, output))
}

fn read_in_background(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is kept: the comparison of outputs shows the rest.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Waits until the child has exited, without reaping it.
fn wait_for_exit(pid: libc::pid_t) -> Result<(), String> {
    loop {
        // SAFETY: siginfo_t is plain data for which zeros are valid, and waitid writes nothing
        // but that structure, which outlives the call.
        let result = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOWAIT;
            libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, options)
        };
        if result == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(format!("waitid: {error}"));
        }
    }
}

/// Reaps the exited child and returns its wait status and resource usage.
fn reap(pid: libc::pid_t) -> Result<(libc::c_int, libc::rusage), String> {
    let mut status = 0;
    // SAFETY: rusage is plain data for which zeros are valid, and wait4 writes nothing but the
    // status and that structure, which both outlive the call.
    let (result, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &mut status, 0, &mut usage), usage)
    };
    match result == pid {
        true => Ok((status, usage)),
        false => Err(format!("wait4: {}", std::io::Error::last_os_error())),
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// The median of at least one number.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        0 => (numbers[middle - 1] + numbers[middle]) / 2.0,
        _ => numbers[middle],
    }
}

fn geometric_mean(numbers: &[f64]) -> f64 {
    (numbers.iter().map(|number| number.ln()).sum::<f64>() / numbers.len() as f64).exp()
}

// Reporting

/// Perilune against one other Lua, over all programs that both ran.
struct Summary {
    lua: usize,
    programs: usize,
    time: f64,
    memory: f64,
    worst_time: f64,
    worst_program: String,
}

impl Summary {
    fn new(results: &[ProgramResult], lua: usize) -> Option<Summary> {
        let mut times = Vec::new();
        let mut memories = Vec::new();
        let mut worst: Option<(f64, &str)> = None;
        for result in results {
            let (Some(time), Some(memory)) = (result.time_ratio(lua), result.memory_ratio(lua))
            else {
                continue;
            };
            times.push(time);
            memories.push(memory);
            if worst.is_none_or(|(ratio, _)| time > ratio) {
                worst = Some((time, &result.program.name));
            }
        }
        let (worst_time, worst_program) = worst?;
        Some(Summary {
            lua,
            programs: times.len(),
            time: geometric_mean(&times),
            memory: geometric_mean(&memories),
            worst_time,
            worst_program: worst_program.to_owned(),
        })
    }

    fn line(&self, options: &Options) -> String {
        format!(
            "perilune/{}: geometric mean of {} programs: time {:.3}, memory {:.3}; \
             worst time {:.3} ({})",
            options.luas[self.lua].name,
            self.programs,
            self.time,
            self.memory,
            self.worst_time,
            self.worst_program
        )
    }
}

/// The results as a table of aligned columns: times and ratios, then memory and ratios.
fn table(options: &Options, results: &[ProgramResult]) -> String {
    let mut header = vec!["program".to_owned()];
    for unit in ["s", "MB"] {
        for (index, lua) in options.luas.iter().enumerate() {
            header.push(format!("{} {unit}", lua.name));
            if index > 0 {
                header.push("ratio".to_owned());
            }
        }
    }
    let mut rows = vec![header];
    for result in results {
        let mut row = vec![result.program.name.clone()];
        for (lua, outcome) in result.outcomes.iter().enumerate() {
            row.push(match outcome {
                Outcome::Failed(_) => "FAILED".to_owned(),
                _ => cell(outcome.wall_seconds()),
            });
            if lua > 0 {
                row.push(cell(result.time_ratio(lua)));
            }
        }
        for (lua, outcome) in result.outcomes.iter().enumerate() {
            let bytes = outcome.peak_bytes();
            row.push(bytes.map_or("-".to_owned(), |it| format!("{:.1}", it / 1e6)));
            if lua > 0 {
                row.push(cell(result.memory_ratio(lua)));
            }
        }
        rows.push(row);
    }

    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        text.push_str(&format!("{:1$}", row[0], widths[0]));
        for (value, width) in row.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {value:>width$}"));
        }
        text.push('\n');
    }
    text
}

fn cell(number: Option<f64>) -> String {
    number.map_or("-".to_owned(), |it| format!("{it:.3}"))
}

fn json(options: &Options, results: &[ProgramResult], summaries: &[Summary]) -> String {
    let luas = options.luas.iter().map(|lua| {
        let args = list(lua.args.iter().map(|arg| quote(arg)));
        format!(
            r#"{{"name": {}, "path": {}, "args": {args}}}"#,
            quote(&lua.name),
            quote(&lua.path)
        )
    });
    let programs = results.iter().map(|result| {
        let outcomes = options.luas.iter().zip(&result.outcomes).enumerate();
        let outcomes = outcomes.filter_map(|(index, (lua, outcome))| {
            json_outcome(result, index, outcome)
                .map(|text| format!("\n      {}: {text}", quote(&lua.name)))
        });
        format!(
            "\n    {{\"name\": {}, \"set\": {}, \"results\": {{{}}}}}",
            quote(&result.program.name),
            quote(result.program.set.name()),
            outcomes.collect::<Vec<_>>().join(",")
        )
    });
    let summaries = summaries.iter().map(|summary| {
        format!(
            "\n    {{\"lua\": {}, \"programs\": {}, \"time_ratio\": {:.6}, \
             \"memory_ratio\": {:.6}, \"worst_time_ratio\": {:.6}, \"worst_program\": {}}}",
            quote(&options.luas[summary.lua].name),
            summary.programs,
            summary.time,
            summary.memory,
            summary.worst_time,
            quote(&summary.worst_program)
        )
    });
    format!(
        "{{\n  \"runs\": {},\n  \"size_percent\": {},\n  \"luas\": {},\n  \"programs\": {},\n  \
         \"summaries\": {}\n}}\n",
        options.runs,
        options.size_percent,
        list(luas),
        list(programs),
        list(summaries)
    )
}

/// One Lua's part of one program's results; nothing if it does not run that program.
fn json_outcome(result: &ProgramResult, lua: usize, outcome: &Outcome) -> Option<String> {
    let runs = match outcome {
        Outcome::NotApplicable => return None,
        Outcome::Failed(reason) => return Some(format!(r#"{{"failure": {}}}"#, quote(reason))),
        Outcome::Measured(runs) => runs,
    };
    let mut text = format!(
        r#"{{"wall_s": {:.6}, "cpu_s": {:.6}, "peak_bytes": {:.0}, "wall_runs_s": {}"#,
        outcome.wall_seconds()?,
        outcome.cpu_seconds()?,
        outcome.peak_bytes()?,
        list(
            runs.iter()
                .map(|run| format!("{:.6}", run.wall.as_secs_f64()))
        )
    );
    if lua > 0
        && let (Some(time), Some(memory)) = (result.time_ratio(lua), result.memory_ratio(lua))
    {
        text.push_str(&format!(
            r#", "time_ratio": {time:.6}, "memory_ratio": {memory:.6}"#
        ));
    }
    text.push('}');
    Some(text)
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
