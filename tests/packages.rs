//! Packages that were written for other implementations: programs that exercise them print the same under perilune and
//! under `lua5.4`.
//!
//! The packages are Debian's (`lua-penlight` and so on). What is not installed is skipped, with a message.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where Debian puts modules; those for earlier versions are found as well.
const DIRECTORIES: [&str; 4] = [
    "/usr/share/lua/5.4",
    "/usr/share/lua/5.3",
    "/usr/share/lua/5.2",
    "/usr/share/lua/5.1",
];

/// The programs, and the modules that they need.
const PROGRAMS: [(&str, &[&str]); 11] = [
    ("argparse", &["argparse"]),
    ("basexx", &["basexx"]),
    ("binaryheap", &["binaryheap"]),
    ("dkjson", &["dkjson"]),
    ("inspect", &["inspect"]),
    ("luassert", &["luassert", "say"]),
    ("luaunit", &["luaunit"]),
    ("mediator", &["mediator"]),
    ("messagepack", &["MessagePack"]),
    ("moses", &["moses"]),
    ("penlight", &["pl"]),
];

/// Whether a module is there, as a file or a directory.
fn is_installed(module: &str) -> bool {
    DIRECTORIES.iter().any(|directory| {
        let file = Path::new(directory).join(module);
        file.is_dir() || file.with_extension("lua").is_file()
    })
}

fn run(interpreter: &str, program: &Path) -> Option<Output> {
    let path: Vec<String> = DIRECTORIES
        .iter()
        .map(|directory| format!("{directory}/?.lua;{directory}/?/init.lua"))
        .collect();
    Command::new(interpreter)
        .arg(program)
        .env("LUA_PATH", path.join(";"))
        .env_remove("LUA_PATH_5_4")
        .env_remove("LUA_INIT")
        .env_remove("LUA_INIT_5_4")
        .output()
        .ok()
}

#[test]
fn programs_print_what_they_print_under_the_reference() {
    let programs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    let mut skipped = Vec::new();
    for (name, modules) in PROGRAMS {
        if let Some(missing) = modules.iter().find(|module| !is_installed(module)) {
            skipped.push(format!("{name}: no module '{missing}'"));
            continue;
        }
        let program = programs.join(name).with_extension("lua");
        let Some(expected) = run("lua5.4", &program) else {
            skipped.push(format!("{name}: no lua5.4"));
            continue;
        };
        let complaint = String::from_utf8_lossy(&expected.stderr);
        assert!(
            expected.status.success(),
            "{name} under lua5.4: {complaint}"
        );
        let actual =
            run(env!("CARGO_BIN_EXE_perilune"), &program).expect("the command has been built");
        let complaint = String::from_utf8_lossy(&actual.stderr);
        assert!(actual.status.success(), "{name}: {complaint}");
        let lines = |output: &Output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(&actual), lines(&expected), "{name}");
    }
    if !skipped.is_empty() {
        println!("skipped, as packages are missing:\n{}", skipped.join("\n"));
    }
}

#[test]
fn every_program_is_listed() {
    let programs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    let mut found: Vec<String> = programs
        .read_dir()
        .expect("the programs are part of the repository")
        .map(|entry| entry.expect("a readable directory").path())
        .map(|path| {
            path.file_stem()
                .expect("a file")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    let listed: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, listed);
}
