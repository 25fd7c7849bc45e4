//! What is to be seen of executors from outside: the page of their graph, files for profilers, the list for debuggers.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use perilune::{Engine, Perf, Vm, VmBuilder};

const PROGRAM: &str = "local function twice(x) return x * 2 end\n\
    local s = 0\n\
    for i = 1, 3000 do\n\
      s = s + twice(i)\n\
      if i % 3 == 0 then s = s - 0.5 end\n\
    end\n\
    return s";

fn run(settings: VmBuilder, source: &str) -> Vm {
    let vm = settings.build().unwrap();
    vm.load(source).name("@hot.lua").exec().unwrap();
    vm
}

/// A directory of its own for each test.
fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("outside_{test}"));
    fs::create_dir_all(&path).unwrap();
    path
}

fn command(directory: &Path, args: &[&str]) -> process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perilune"));
    command.args(args).current_dir(directory);
    command.output().unwrap()
}

/// The page as a browser has it when the script has run; none if there is no browser.
fn rendered(page: &Path, fragment: &str) -> Option<String> {
    let profile = tempdir(page);
    let mut browser = Command::new("chromium");
    browser.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]);
    browser.arg(format!("--user-data-dir={}", profile.display()));
    browser.arg("--dump-dom");
    browser.arg(format!("file://{}{fragment}", page.display()));
    let output = browser.output().ok()?;
    let _ = fs::remove_dir_all(profile);
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && dom.contains("</html>"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(dom)
}

/// A new directory beside a file.
fn tempdir(beside: &Path) -> PathBuf {
    let path = beside.with_extension("profile");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn pages_show_executors_in_a_browser() {
    if Engine::Jit.is_built_in() || Engine::Uops.is_built_in() {
        // The source wants to be something else in the page.
        let program = "local t = {s = 0}\n\
            function t.add(x) t.s = t.s + x end -- </script><script>document.title = 'Lost'</script>\n\
            for i = 1, 5000 do\n\
              t.add(i)\n\
              if i % 3 == 0 then t.add('<b>bold</b>' and 0.5) end\n\
            end\n\
            print(t.s)\n";
        let directory = directory("page");
        fs::write(directory.join("hot & <i>.lua"), program).unwrap();
        let ran = command(&directory, &["--graph=graph.html", "hot & <i>.lua"]);
        assert!(
            ran.status.success() && ran.stdout == b"12503333.0\n",
            "{ran:?}"
        );
        let page = directory.join("graph.html");
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.starts_with("<!DOCTYPE html>"));
        // The two ends of scripts are those of the data and of the page's own.
        assert_eq!(text.matches("</script>").count(), 2);
        let numbers = text.split("\"number\":").nth(1).unwrap();
        let number = numbers.split(',').next().unwrap();
        let Some(dom) = rendered(&page, &format!("#{number}")) else {
            eprintln!("skipped: there is no chromium");
            return;
        };
        assert!(dom.contains("<title>Executors</title>"), "{dom}");
        let nodes = dom.matches("<g class=\"node").count();
        assert!(nodes >= 2, "{nodes} executors\n{dom}");
        // One is chosen, and its source shown.
        assert_eq!(dom.matches(" selected\" transform").count(), 1, "{dom}");
        assert!(
            dom.contains("class=\"here\"") && dom.contains("&lt;/script&gt;&lt;script&gt;"),
            "{dom}"
        );
        assert!(dom.contains("hot &amp; &lt;i&gt;.lua"), "{dom}");
        assert!(!dom.contains("<i>") && !dom.contains("<b>"), "{dom}");
        assert!(dom.contains("class=\"edge tree"), "{dom}");
    }
}

#[test]
fn pages_have_what_is_kept_for_them() {
    for engine in [Engine::Uops, Engine::Jit] {
        if !engine.is_built_in() {
            continue;
        }
        let settings = || Vm::builder().engine(engine);
        let vm = run(settings().executor_details(true), PROGRAM);
        let page = vm.executor_page().unwrap();
        for expected in [
            "\"function\":\"main chunk\"",
            "\"before\":\"",
            "\"kind\":\"loop\"",
            "\"stop\":\"loop\"",
        ] {
            assert!(page.contains(expected), "{engine:?}: {expected}\n{page}");
        }
        let has_code = page.contains("addsd");
        assert_eq!(
            has_code,
            engine == Engine::Jit && cfg!(feature = "disasm"),
            "{page}"
        );
        let sum = |of: &str| -> u64 {
            let counts = page.split(of).skip(1);
            let count = |rest: &str| rest.split(',').next().unwrap().parse::<u64>().unwrap();
            counts.map(count).sum()
        };
        // Two thirds of the passes go straight through the loop, the others through a side exit.
        let runs = sum("\"entries\":") + sum("\"passes\":");
        assert!((2800..7000).contains(&runs), "{engine:?}: {runs}\n{page}");
        // Without details there are less of them, and no failure.
        let page = run(settings(), PROGRAM).executor_page().unwrap();
        assert!(page.contains("\"before\":null"), "{page}");
    }
}

#[test]
fn maps_for_perf_name_executors() {
    if !Engine::Jit.is_built_in() {
        return;
    }
    run(Vm::builder().perf(Perf::Map), PROGRAM);
    let path = format!("/tmp/perf-{}.map", process::id());
    let map = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    let mut names = Vec::new();
    for line in map.lines() {
        let mut words = line.splitn(3, ' ');
        let mut number = || u64::from_str_radix(words.next().unwrap(), 16).unwrap();
        let (start, size) = (number(), number());
        assert!(start > 0 && (16..1 << 20).contains(&size), "{line}");
        names.push(words.next().unwrap());
    }
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("main chunk hot.lua:4 loop #")),
        "{map}"
    );
    assert!(
        names.iter().any(|name| name.contains(" side exit #")),
        "{map}"
    );
}

#[test]
fn dumps_for_perf_have_code_and_lines() {
    if !Engine::Jit.is_built_in() {
        return;
    }
    let directory = directory("dump");
    fs::write(directory.join("hot.lua"), PROGRAM).unwrap();
    let ran = command(&directory, &["--perf=dump", "hot.lua"]);
    assert!(ran.status.success(), "{ran:?}");
    let is_dump = |path: &PathBuf| path.extension().is_some_and(|e| e == "dump");
    let mut files = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().path());
    let path = files.find(is_dump).expect("it has been made");
    let dump = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    let half = |at: usize| u32::from_ne_bytes(dump[at..at + 4].try_into().unwrap());
    let word = |at: usize| u64::from_ne_bytes(dump[at..at + 8].try_into().unwrap());
    assert_eq!((half(0), half(4), half(8)), (0x4A69_5444, 1, 40));
    let (mut at, mut loads, mut lines) = (40, 0, 0);
    while at < dump.len() {
        let (id, size) = (half(at), half(at + 4) as usize);
        match id {
            0 => {
                let name = CStr::from_bytes_until_nul(&dump[at + 56..]).unwrap();
                let name = name.to_str().unwrap();
                // The first one is no executor's.
                assert!(name.contains(" hot.lua:") != (loads == 0), "{name}");
                assert_eq!(word(at + 40) as usize, size - 56 - name.len() - 1);
                assert_eq!(word(at + 48), loads);
                loads += 1;
            }
            2 => lines += word(at + 24),
            _ => panic!("a record of kind {id}"),
        }
        at += size;
    }
    assert!(
        at == dump.len() && loads >= 3 && lines > loads,
        "{loads} {lines}"
    );
}

#[test]
fn what_tools_cannot_have_is_refused() {
    for settings in [Vm::builder().perf(Perf::Map), Vm::builder().gdb(true)] {
        let refused = settings.engine(Engine::Off).build();
        let message = refused.err().expect("it is").to_string();
        assert!(message.contains("no machine code"), "{message}");
    }
    if !cfg!(feature = "disasm") && Engine::Jit.is_built_in() {
        let refused = Vm::builder().dump_machine_code(true).build();
        let message = refused.err().expect("it is").to_string();
        assert!(message.contains("--features disasm"), "{message}");
    }
}

/// The list of object files that debuggers read.
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
mod debuggers {
    use super::*;

    #[repr(C)]
    struct Entry {
        next: *const Entry,
        previous: *const Entry,
        object: *const u8,
        size: u64,
    }

    #[repr(C)]
    struct Descriptor {
        version: u32,
        action: u32,
        relevant: *const Entry,
        first: *const Entry,
    }

    unsafe extern "C" {
        static __jit_debug_descriptor: Descriptor;
    }

    /// Held by those who make VMs that change the list.
    static LIST: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn objects() -> Vec<Vec<u8>> {
        let mut objects = Vec::new();
        // SAFETY: the list is what the interface says it is; nobody changes it meanwhile.
        unsafe {
            assert_eq!(__jit_debug_descriptor.version, 1);
            let mut entry = __jit_debug_descriptor.first;
            while let Some(e) = entry.as_ref() {
                objects.push(std::slice::from_raw_parts(e.object, e.size as usize).to_vec());
                entry = e.next;
            }
        }
        objects
    }

    fn contains(object: &[u8], text: &str) -> bool {
        object.windows(text.len()).any(|w| w == text.as_bytes())
    }

    #[test]
    fn debuggers_know_of_executors_as_long_as_they_exist() {
        let _guard = LIST.lock().unwrap();
        assert_eq!(objects().len(), 0);
        let vm = run(Vm::builder().gdb(true), PROGRAM);
        let known = objects();
        let made = vm.statistics().unwrap().executors.made as usize;
        assert!(
            known.len() >= 2 && known.len() == made,
            "{} of {made}",
            known.len()
        );
        for object in &known {
            assert!(object.starts_with(b"\x7fELF\x02") && contains(object, " hot.lua:"));
        }
        drop(vm);
        assert_eq!(objects().len(), 0);
        // Those that leave the graph are freed, and withdrawn, before the VM is.
        let vm = run(
            Vm::builder().gdb(true).hot_threshold(2).executor_limit(8),
            "for i = 1, 40 do local f = load('local s = 0; for i = 1, 20 do s = s + i end') f() end",
        );
        assert!(vm.statistics().unwrap().executors.made > 16);
        assert!(objects().len() <= 12, "{}", objects().len());
    }

    #[test]
    fn gdb_reads_the_list() {
        let directory = directory("gdb");
        let program = format!("{}\nos.exit(0)", PROGRAM.replace("return s", ""));
        fs::write(directory.join("hot.lua"), program).unwrap();
        let mut gdb = Command::new("gdb");
        // The process is stopped before its end.
        for order in ["catch syscall exit_group", "run", "info line hot.lua:4"] {
            gdb.args(["-ex", order]);
        }
        gdb.args(["-batch", "-nx", "--args", env!("CARGO_BIN_EXE_perilune")]);
        let output = gdb
            .args(["--gdb", "hot.lua"])
            .current_dir(&directory)
            .env_remove("DEBUGINFOD_URLS")
            .output();
        let shown = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let shown = shown.unwrap_or_default();
        if !shown.contains("Catchpoint 1 (call to syscall exit_group)") {
            eprintln!("skipped: there is no gdb, or it may not trace\n{shown}");
            return;
        }
        assert!(shown.contains("<main chunk hot.lua:4 loop #"), "{shown}");
    }
}
