//! The `perilune` command: options, messages, exit codes, output.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use perilune::Engine;

/// What a run of the command has left.
#[derive(Debug, PartialEq)]
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

/// A directory of its own for each test.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("command_{test}"));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(self, name: &str, text: &str) -> Directory {
        fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_with_input(args, "")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perilune"));
        command.arg0("perilune");
        command.args(args).current_dir(&self.0).env("HOME", &self.0);
        for name in ["LUA_PATH", "LUA_CPATH", "LUA_INIT"] {
            command.env_remove(name).env_remove(format!("{name}_5_4"));
        }
        command
    }

    fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        finish(self.command(args), input)
    }

    fn run_in_environment(&self, args: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        finish(command, "")
    }
}

/// Runs a command to its end.
fn finish(mut command: Command, input: &str) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(args: &[&str]) -> Run {
    Directory::new("plain").run(args)
}

fn prints(stdout: &str) -> Run {
    Run {
        status: 0,
        stdout: stdout.to_owned(),
        stderr: String::new(),
    }
}

fn fails(stderr: &str) -> Run {
    Run {
        status: 1,
        stdout: String::new(),
        stderr: stderr.to_owned(),
    }
}

#[test]
fn runs_a_script_with_arguments() {
    let directory = Directory::new("arguments").file(
        "args.lua",
        "#!/usr/bin/env perilune\nprint(...) print(arg[-2], arg[-1], arg[0], arg[1], arg[2], #arg)",
    );
    let run = directory.run(&["-e", "x = 1", "args.lua", "a", "-e"]);
    assert_eq!(run, prints("a\t-e\n-e\tx = 1\targs.lua\ta\t-e\t2\n"));
    let run = directory.run(&["-W", "--", "args.lua"]);
    assert_eq!(run, prints("\n-W\t--\targs.lua\tnil\tnil\t0\n"));
    let run = directory.run(&["-e", "arg = {'new'}", "args.lua", "old"]);
    assert_eq!(run, prints("new\nnil\tnil\tnil\tnew\tnil\t1\n"));
    let run = directory.run(&["-e", "arg = nil", "args.lua"]);
    assert_eq!(run, fails("perilune: 'arg' is not a table\n"));
}

/// The limits of the process leave no room for machine code, or little.
#[test]
fn without_code_memory_programs_run_all_the_same() {
    let program = "local s = 0 for i = 1, 100000 do s = s + i % 7 if i % 3 == 0 then s = s - 1 end end print(s)";
    for limit in ["-f 0", "-f 100", "-v 100000", "-v 200000"] {
        let mut command = Command::new("sh");
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_perilune"), "-e", program]);
        assert_eq!(finish(command, ""), prints("266667\n"), "ulimit {limit}");
    }
}

#[test]
fn without_a_script_the_commands_name_is_argument_zero() {
    let run = run(&["-e", "print(#arg, arg[0]:match('[^/]*$'), arg[1])"]);
    assert_eq!(run, prints("2\tperilune\t-e\n"));
}

#[test]
fn runs_standard_input() {
    let directory = Directory::new("stdin");
    assert_eq!(
        directory.run_with_input(&[], "#!perilune\nprint(1)"),
        prints("1\n")
    );
    let run = directory.run_with_input(&["-", "a"], "print(arg[0], ...)");
    assert_eq!(run, prints("-\ta\n"));
    let run = directory.run_with_input(&["-"], "\nx = = 1");
    assert_eq!(
        run,
        fails("perilune: stdin:2: unexpected symbol near '='\n")
    );
    // Code on the command line takes the place of a script.
    assert_eq!(
        directory.run_with_input(&["-e", "x = 1"], "print(1)"),
        prints("")
    );
}

#[test]
fn executes_strings_and_requires_modules_in_order() {
    let directory = Directory::new("modules")
        .file("mod.lua", "print('mod', ...) return {name = 'mod'}")
        .file("hyphen-v1.lua", "return 'hyphenated'");
    let run = directory.run(&["-e", "print(mod)", "-l", "mod", "-e", "print(mod.name)"]);
    assert_eq!(run, prints("nil\nmod\tmod\t./mod.lua\nmod\n"));
    let run = directory.run(&["-lg=mod", "-eprint(g.name, mod)"]);
    assert_eq!(run, prints("mod\tmod\t./mod.lua\nmod\tnil\n"));
    let run = directory.run(&["-l", "hyphen-v1", "-e", "print(hyphen)"]);
    assert_eq!(run, prints("hyphenated\n"));
    let run = directory.run(&["-l", "missing", "-e", "print(1)"]);
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with(
        "perilune: module 'missing' not found:\n\tno field package.preload['missing']\n"
    ));
    assert!(run.stderr.ends_with("\nstack traceback:\n\t[C]: in function 'error'\n\t[C]: in function 'require'\n\t[C]: in ?\n")
        || run.stderr.ends_with("\nstack traceback:\n\t[C]: in function 'require'\n\t[C]: in ?\n"));
}

#[test]
fn errors_have_a_traceback() {
    let directory = Directory::new("errors")
        .file(
            "error.lua",
            "local function f()\n  error('message')\nend\nf()",
        )
        .file("syntax.lua", "x = = 1");
    let run = directory.run(&["error.lua"]);
    let expected = "perilune: error.lua:2: message\nstack traceback:\n\t[C]: in function 'error'\n\
        \terror.lua:2: in local 'f'\n\terror.lua:4: in main chunk\n\t[C]: in ?\n";
    assert_eq!(run, fails(expected));
    let run = directory.run(&["syntax.lua"]);
    assert_eq!(
        run,
        fails("perilune: syntax.lua:1: unexpected symbol near '='\n")
    );
    let run = directory.run(&["-e", "print(debug.traceback('here'))"]);
    assert_eq!(
        run,
        prints("here\nstack traceback:\n\t(command line):1: in main chunk\n\t[C]: in ?\n")
    );
    // Nothing is done after the first error.
    let run = directory.run(&["-e", "error('first', 0)", "-e", "print(2)", "error.lua"]);
    assert!(
        run.stderr
            .starts_with("perilune: first\nstack traceback:\n")
    );
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
}

#[test]
fn errors_that_are_not_strings() {
    let traceback = "stack traceback:\n\t[C]: in function 'error'\n\t(command line):1: in main chunk\n\t[C]: in ?\n";
    for (value, message) in [
        ("{}", "(error object is a table value)"),
        ("nil", "(error object is a nil value)"),
        (
            "setmetatable({}, {__tostring = function() return 1 end})",
            "(error object is a table value)",
        ),
        ("12", "12"),
    ] {
        let run = run(&["-e", &format!("error({value})")]);
        assert_eq!(
            run,
            fails(&format!("perilune: {message}\n{traceback}")),
            "{value}"
        );
    }
    let run = run(&[
        "-e",
        "error(setmetatable({}, {__tostring = function() return 'described' end}))",
    ]);
    assert_eq!(run, fails("perilune: described\n"));
}

#[test]
fn scripts_that_cannot_be_read() {
    let directory = Directory::new("unreadable");
    let run = directory.run(&["missing.lua"]);
    assert_eq!(
        run,
        fails("perilune: cannot open missing.lua: No such file or directory\n")
    );
    let run = directory.run(&["."]);
    assert_eq!(run, fails("perilune: cannot read .: Is a directory\n"));
}

#[test]
fn bad_options_show_the_usage() {
    for (args, problem) in [
        (&["-x"][..], "unrecognized option '-x'"),
        (&["-vi"], "unrecognized option '-vi'"),
        (&["-i-"], "unrecognized option '-i-'"),
        (&["-vv"], "unrecognized option '-vv'"),
        (&["--unknown"], "unrecognized option '--unknown'"),
        (
            &["--hot-threshold=many"],
            "unrecognized option '--hot-threshold=many'",
        ),
        (
            &["--memory-limit="],
            "unrecognized option '--memory-limit='",
        ),
        (&["-e"], "'-e' needs argument"),
        (&["-l", "-v"], "'-l' needs argument"),
    ] {
        let run = run(args);
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{args:?}");
        let expected = format!(
            "perilune: {problem}\nusage: perilune [options] [script [args]]\nAvailable options are:\n"
        );
        assert!(
            run.stderr.starts_with(&expected),
            "{args:?}: {}",
            run.stderr
        );
    }
}

#[test]
fn shows_its_version() {
    assert_eq!(run(&["-v"]), prints(GREETING));
    assert_eq!(
        run(&["-v", "-e", "print(_VERSION)"]),
        prints(&format!("{GREETING}Lua 5.4\n"))
    );
}

#[test]
fn warnings_are_off_until_asked_for() {
    let warn = "warn('hot', ' tin')";
    assert_eq!(run(&["-e", warn]), prints(""));
    let run = run(&["-W", "-e", warn]);
    assert_eq!(
        (run.status, run.stderr.as_str()),
        (0, "Lua warning: hot tin\n")
    );
}

#[test]
fn exit_codes() {
    for (code, status) in [("", 0), ("true", 0), ("false", 1), ("7", 7), ("3, true", 3)] {
        let run = run(&["-e", &format!("io.write('out') os.exit({code})")]);
        let expected = Run {
            status,
            stdout: "out".to_owned(),
            stderr: String::new(),
        };
        assert_eq!(run, expected, "{code}");
    }
}

#[test]
fn finalizers_run_at_the_end_and_output_is_complete() {
    let keep =
        "t = setmetatable({}, {__gc = function() io.write('finalized') end}) io.write('end ')";
    assert_eq!(run(&["-e", keep]), prints("end finalized"));
    assert_eq!(
        run(&["-e", &format!("{keep} os.exit(0, true)")]),
        prints("end finalized")
    );
    assert_eq!(run(&["-e", &format!("{keep} os.exit(0)")]), prints("end "));
    let run = run(&["-e", &format!("{keep} error('x')")]);
    assert_eq!((run.status, run.stdout.as_str()), (1, "end finalized"));
}

#[test]
fn lists_bytecode_instead_of_running() {
    let directory = Directory::new("dump").file(
        "dump.lua",
        "print('not printed')\nlocal function f() return 1 end",
    );
    let run = directory.run(&["--dump=bytecode", "dump.lua"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let functions: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("function @dump.lua:"))
        .collect();
    assert_eq!(functions.len(), 2, "{}", run.stdout);
    assert!(run.stdout.contains("; print\n") && run.stdout.contains("; \"not printed\"\n"));
    assert!(!run.stdout.lines().any(|line| line == "not printed"));
}

#[test]
fn shows_what_executors_are_made_of() {
    let program = "local function twice(x) return x * 2 end\nlocal s = 0\nfor i = 1, 3000 do\n  s = s + twice(i)\nend\n\
                   local n = 0\nwhile n < 3000 do n = n + 1 end\nprint(s + n)";
    let directory = Directory::new("executors").file("hot.lua", program);
    let run = |args: &[&str]| directory.run(&[args, &["hot.lua"]].concat());
    let all = run(&["--dump=superblock,uops,bytecode", "--tier2=uops"]);
    let unknown = run(&["--dump=superblock,nothing"]);
    assert!(
        unknown.status == 1
            && unknown
                .stderr
                .contains("unrecognized option '--dump=superblock,nothing'")
    );
    if !Engine::Uops.is_built_in() {
        assert_eq!(all.status, 1);
        return;
    }
    assert!(
        all.stdout.starts_with("function @hot.lua") && all.stdout.ends_with("9006000\n"),
        "{}",
        all.stdout
    );
    let headers =
        |run: &Run, what: &str| run.stderr.lines().filter(|l| l.starts_with(what)).count();
    let made = headers(&all, "superblock of ");
    assert!(
        made >= 2
            && headers(&all, "optimized superblock of ") == made
            && headers(&all, "code of ") == made
    );
    assert!(
        all.stderr
            .contains("superblock of main chunk hot.lua:4 pc "),
        "{}",
        all.stderr
    );
    assert!(all.stderr.contains(", loop, stop loop\n"), "{}", all.stderr);
    let some = run(&[
        "--dump=superblock",
        "--dump-filter=hot.lua:7",
        "--tier2=uops",
    ]);
    assert!(
        some.stderr
            .contains("superblock of main chunk hot.lua:7 pc "),
        "{}",
        some.stderr
    );
    assert!(!some.stderr.contains("hot.lua:4"), "{}", some.stderr);
    let function = run(&[
        "--dump=uops",
        "--dump-filter=twice",
        "--hot-threshold=5",
        "--tier2=uops",
    ]);
    assert!(
        function
            .stderr
            .lines()
            .filter(|l| l.starts_with("code of "))
            .all(|l| l.contains("code of twice "))
    );

    let counted = run(&[
        "--stats",
        "--count-instructions",
        "--graph=graph.dot",
        "--tier2=uops",
    ]);
    for figure in [
        "executors made",
        "exits to the interpreter",
        "bytes of executors",
        "percent in executors",
    ] {
        assert!(counted.stderr.contains(figure), "{}", counted.stderr);
    }
    let graph = fs::read_to_string(directory.0.join("graph.dot")).unwrap();
    assert!(
        graph.starts_with("digraph executors {") && graph.contains("hot.lua:4"),
        "{graph}"
    );
    assert_eq!(run(&["--graph=/nowhere/graph.dot"]).status, 1);
}

#[test]
fn shows_machine_code_with_its_micro_ops() {
    if !Engine::Jit.is_built_in() {
        return;
    }
    let program = "local s = 0.5\nfor i = 1, 3000 do\n  s = s + i\nend\nprint(s)";
    let directory = Directory::new("asm").file("hot.lua", program);
    let run = directory.run(&["--dump=asm", "hot.lua"]);
    if cfg!(not(feature = "disasm")) {
        assert_eq!(run.status, 1);
        assert!(run.stderr.contains("--features disasm"), "{}", run.stderr);
        return;
    }
    assert_eq!((run.status, run.stdout.as_str()), (0, "4501500.5\n"));
    let mut lines = run.stderr.lines();
    let header = lines.next().unwrap();
    assert!(
        header.starts_with("machine code of main chunk hot.lua:3 pc ")
            && header.ends_with(", loop, stop loop"),
        "{header}"
    );
    // Behind the micro-op there is its instruction.
    let add = lines.find(|line| line.contains(" = ADD_F ")).unwrap();
    let instruction = lines.next().unwrap();
    assert!(instruction.contains("addsd xmm"), "{add}\n{instruction}");
    for expected in ["; the loop", "; slots", "exit 0 (s0, pc "] {
        assert!(run.stderr.contains(expected), "{expected}\n{}", run.stderr);
    }
    let uops = directory.run(&["--dump=asm", "--tier2=off", "hot.lua"]);
    assert!(uops.status == 1 && uops.stderr.contains("makes no machine code"));
}

#[test]
fn shows_statistics_after_the_run() {
    let program = "local t = {x = 0} for i = 1, 1000 do t.x = t.x + i end print(t.x)";
    let count = |run: &Run, figure: &str| {
        let line = run
            .stderr
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(figure));
        line.map_or(0, |n| n.trim().parse::<u64>().unwrap())
    };
    let run_1 = run(&["--stats", "--hot-threshold=100", "-e", program]);
    assert_eq!((run_1.status, run_1.stdout.as_str()), (0, "500500\n"));
    assert!(count(&run_1, "FORLOOP_INT ") >= 1, "{}", run_1.stderr);
    assert!(count(&run_1, "inline-cache misses") >= 2);
    assert_eq!(count(&run_1, "hot places"), 1);
    assert!(count(&run_1, "recordings") >= 1);
    assert!(count(&run_1, "bytes allocated") >= count(&run_1, "bytes used"));
    let run_2 = run(&["--stats", "--hot-threshold=1000000", "-e", program]);
    assert_eq!(count(&run_2, "hot places"), 0);
    let run_3 = run(&["--stats", "--gc-stress", "-e", program]);
    assert!(count(&run_3, "collector steps") > count(&run_2, "collector steps"));
    let unstable = "for _, v in ipairs{1, 1, 0.5, 1} do local x = v + v end";
    assert!(count(&run(&["--stats", "-e", unstable]), "despecialised") >= 1);
}

#[test]
fn memory_can_be_limited() {
    let run = run(&[
        "--memory-limit=1000000",
        "-e",
        "local t = {} for i = 1, math.huge do t[i] = {} end",
    ]);
    assert_eq!(run, fails("perilune: not enough memory\n"));
}

#[test]
fn obeys_the_environment() {
    let directory = Directory::new("environment")
        .file("init.lua", "print('from a file', arg[0])")
        .file("mod.lua", "return 'mod'");
    let path = "print((package.path:gsub('/usr.*', '')), (package.cpath:gsub('/usr.*', '')))";
    let run = |args: &[&str], variables| directory.run_in_environment(args, variables);
    let init = [("LUA_INIT", "print('init', ...)")];
    assert_eq!(run(&["-e", "print(1)"], &init), prints("init\n1\n"));
    assert_eq!(run(&["-E", "-e", "print(1)"], &init), prints("1\n"));
    let versioned = [("LUA_INIT", "error()"), ("LUA_INIT_5_4", "@init.lua")];
    assert_eq!(
        run(&["-e", "print(1)"], &versioned),
        prints("from a file\tperilune\n1\n")
    );
    let failing = run(&["-e", "print(1)"], &[("LUA_INIT", "error('no')")]);
    assert_eq!((failing.status, failing.stdout.as_str()), (1, ""));
    assert!(
        failing
            .stderr
            .starts_with("perilune: LUA_INIT:1: no\nstack traceback:\n"),
        "{failing:?}"
    );
    let missing = run(&["-e", "print(1)"], &[("LUA_INIT", "@missing.lua")]);
    assert_eq!(
        missing,
        fails("perilune: cannot open missing.lua: No such file or directory\n")
    );
    let paths = [
        ("LUA_PATH", "a;;b"),
        ("LUA_CPATH_5_4", "c"),
        ("LUA_CPATH", "d"),
    ];
    assert_eq!(run(&["-e", path], &paths), prints("a;\tc\n"));
    assert_eq!(run(&["-E", "-e", path], &paths), prints("\t\n"));
    let found = run(
        &["-e", "print(require 'mod')"],
        &[("LUA_PATH_5_4", "./?.lua")],
    );
    assert_eq!(found, prints("mod\t./mod.lua\n"));
}

#[test]
fn warnings_can_be_switched() {
    let run = run(&[
        "-e",
        "warn('lost') warn('@on') warn('seen') warn('@unknown') warn('@off') warn('lost')",
    ]);
    assert_eq!(
        (run.status, run.stderr.as_str()),
        (0, "Lua warning: seen\n")
    );
}

#[test]
fn a_name_behind_two_hyphens_is_a_file() {
    let missing = "perilune: cannot open -: No such file or directory\n";
    assert_eq!(run(&["--", "-"]), fails(missing));
    assert_eq!(run(&["-i-"]).status, 1);
}

/// What the interactive mode prints for lines of input.
fn interact(directory: &Directory, args: &[&str], input: &str) -> (String, String) {
    let run = directory.run_with_input(args, input);
    assert_eq!(run.status, 0, "{run:?}");
    (run.stdout, run.stderr)
}

const GREETING: &str = concat!(
    "perilune ",
    env!("CARGO_PKG_VERSION"),
    " (Lua 5.4)  Lua is by Lua.org, PUC-Rio\n"
);

#[test]
fn interactive_mode_prints_values_and_asks_for_the_rest() {
    let directory = Directory::new("interactive").file("script.lua", "x = 'set' print(...)");
    let input = "1 + 1\n=x, nil\nlocal a = 1 return a\nfor i = 1, 2 do\nprint(i)\nend\nx =\n5\nx\n";
    let (stdout, stderr) = interact(&directory, &["-i", "script.lua", "arg"], input);
    let expected = "arg\n> 1 + 1\n2\n> =x, nil\nset\tnil\n> local a = 1 return a\n1\n\
                    > for i = 1, 2 do\n>> print(i)\n>> end\n1\n2\n> x =\n>> 5\n> x\n5\n> \n";
    assert_eq!(
        (stdout, stderr.as_str()),
        (format!("{GREETING}{expected}"), "")
    );
}

#[test]
fn interactive_mode_goes_on_after_errors() {
    let directory = Directory::new("interactive_errors");
    let input = "error('one')\nx = = 1\nerror({})\nprint = nil\n2\n_PROMPT = 3\n_PROMPT2 = 'more '\nx = (\n1)\n=x\nio.write(x, '\\n')\n(";
    let (stdout, stderr) = interact(&directory, &["-i"], input);
    let traceback =
        "stack traceback:\n\t[C]: in function 'error'\n\tstdin:1: in main chunk\n\t[C]: in ?\n";
    let expected = format!(
        "stdin:1: one\n{traceback}stdin:1: unexpected symbol near '='\n\
         (error object is a table value)\n{traceback}\
         error calling 'print' (attempt to call a nil value)\n\
         error calling 'print' (attempt to call a nil value)\n\
         error calling 'print' (attempt to call a nil value)\n\
         stdin:1: unexpected symbol near <eof>\n"
    );
    assert_eq!(stderr, expected);
    assert_eq!(
        stdout,
        format!(
            "{GREETING}> error('one')\n> x = = 1\n> error({{}})\n> print = nil\n> 2\n> _PROMPT = 3\n\
             3_PROMPT2 = 'more '\n3x = (\nmore 1)\n3=x\n3io.write(x, '\\n')\n1\n3(\nmore 3\n"
        )
    );
}

/// A terminal with the command at its other end.
struct Terminal {
    master: fs::File,
    child: std::process::Child,
    seen: String,
}

impl Terminal {
    fn open(mut command: Command) -> Terminal {
        let (mut master, mut slave) = (0, 0);
        let none = std::ptr::null_mut();
        // SAFETY: the two descriptors are written to; the other arguments may be null.
        let opened =
            unsafe { libc::openpty(&mut master, &mut slave, none, none.cast(), none.cast()) };
        assert_eq!(opened, 0);
        // SAFETY: both descriptors have just been opened, and nobody else has them.
        let (master, slave) =
            unsafe { (fs::File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        command
            .env("TERM", "xterm")
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave);
        let child = command.spawn().unwrap();
        Terminal {
            master,
            child,
            seen: String::new(),
        }
    }

    fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until what is new contains `text`.
    fn expect(&mut self, text: &str) {
        let mut bytes = [0; 1024];
        while !self.seen.contains(text) {
            let n = self.master.read(&mut bytes).unwrap_or(0);
            assert!(n > 0, "no {text:?} in {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }
}

#[test]
fn interactive_mode_on_a_terminal() {
    let directory = Directory::new("terminal");
    let mut terminal = Terminal::open(directory.command(&[]));
    terminal.expect(GREETING.trim_end());
    terminal.expect("> ");
    terminal.send("('ab'):rep(3)\n");
    terminal.expect("\nababab\r\n");
    terminal.expect("> ");
    terminal.send("while true do\n");
    terminal.expect(">> ");
    terminal.send("end print('not reached')\n");
    std::thread::sleep(std::time::Duration::from_millis(300));
    // SAFETY: the child has not been waited for, so the number is still its own.
    unsafe { libc::kill(terminal.child.id() as i32, libc::SIGINT) };
    terminal.expect("interrupted!\r\n");
    terminal.expect("> ");
    terminal.send("6 * 7\n");
    terminal.expect("\n42\r\n");
    terminal.expect("> ");
    terminal.send("\u{4}");
    assert!(terminal.child.wait().unwrap().success());
}

#[cfg(feature = "repl")]
#[test]
fn lines_can_be_edited_completed_and_recalled() {
    let directory = Directory::new("editing");
    let mut terminal = Terminal::open(directory.command(&["-i"]));
    terminal.expect("> ");
    terminal.send("string.rep('xz', 2\u{1b}[D\u{1b}[D\u{1b}[D\u{1b}[D\u{7f}y\u{5})\n");
    terminal.expect("\nxyxy");
    terminal.expect("> ");
    terminal.send("string.rev\t('abc')\n");
    terminal.expect("\ncba");
    terminal.expect("> ");
    terminal.send("\u{1b}[A\u{1b}[A\n");
    terminal.expect("\nxyxy");
    terminal.expect("> ");
    terminal.send("lost\u{3}");
    terminal.expect("> ");
    terminal.send("\u{4}");
    assert!(terminal.child.wait().unwrap().success());
    let mut terminal = Terminal::open(directory.command(&["-i"]));
    terminal.expect("> ");
    terminal.send("\u{1b}[A\n");
    terminal.expect("\nxyxy");
    terminal.send("\u{4}");
    assert!(terminal.child.wait().unwrap().success());
}

#[test]
fn a_process_that_ends_closes_what_is_open() {
    let script = "
        local function closer(text) return setmetatable({}, { __close = function(_, e) print(text, e) end }) end
        local function finalized(f) return setmetatable({}, { __gc = f }) end
        last = finalized(function() print('last') end)
        first = finalized(function()
            print('first')
            finalized(function() print('never') end)
            os.exit(3, true)
        end)
        local a <close> = closer('a')
        local b <close> = closer('b')
        coroutine.wrap(function()
            local c <close> = closer('c')
            os.exit(4, true)
        end)()";
    let run = run(&["-e", script]);
    assert_eq!(
        (run.status, run.stdout.as_str()),
        (3, "b\tnil\na\tnil\nfirst\nlast\n")
    );
}

#[test]
fn error_values_describe_themselves_where_they_are_raised() {
    let directory = Directory::new("describe").file(
        "raise.lua",
        "local e = setmetatable({}, {__tostring = function()\nreturn 'line ' .. debug.getinfo(4, 'l').currentline\nend})\n\nerror(e)",
    );
    assert_eq!(directory.run(&["raise.lua"]), fails("perilune: line 5\n"));
}

#[test]
fn messages_begin_with_the_name_of_the_command() {
    let mut command = Directory::new("name").command(&["-e", "error('no', 0)"]);
    command.arg0("other");
    let run = finish(command, "");
    assert!(run.stderr.starts_with("other: no\n"), "{}", run.stderr);
}

#[test]
fn interrupts_are_errors_first() {
    let script = "print('ready') print(pcall(function() while true do end end)) print('waits') while true do end";
    let mut child = Directory::new("interrupts")
        .command(&["-e", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut expect = |expected: &str| {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, expected);
    };
    // SAFETY: the process exists until it has been waited for.
    let interrupt = || assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    expect("ready\n");
    interrupt();
    expect("false\tinterrupted!\n");
    expect("waits\n");
    interrupt();
    let status = child.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(libc::SIGINT));
}
