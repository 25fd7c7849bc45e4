//! The `perilune` command: options, messages, exit codes, output.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

    fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_perilune"))
            .args(args)
            .current_dir(&self.0)
            .env_remove("LUA_PATH")
            .env_remove("LUA_PATH_5_4")
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
        (&["-i"], "unrecognized option '-i'"),
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
    let version = concat!("perilune ", env!("CARGO_PKG_VERSION"), " (Lua 5.4)\n");
    assert_eq!(run(&["-v"]), prints(version));
    assert_eq!(
        run(&["-v", "-e", "print(_VERSION)"]),
        prints(&format!("{version}Lua 5.4\n"))
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
