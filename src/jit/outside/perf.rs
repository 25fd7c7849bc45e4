//! Files by which perf names machine code: a map of names, or a dump of all code that there has been.
//!
//! Both belong to the process, whichever VMs write to them, and stay open to its end. What cannot be written is left out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process;
use std::ptr;

use parking_lot::Mutex;

use super::Code;
use crate::tier2::Perf;

static MAP: Mutex<Option<File>> = Mutex::new(None);
static DUMP: Mutex<Option<Dump>> = Mutex::new(None);

/// Makes a file, if it has not been made by this process.
pub fn open(perf: Perf) -> io::Result<()> {
    match perf {
        Perf::Map => open_once(&MAP, map_path(), Ok),
        Perf::Dump => open_once(&DUMP, dump_path(), Dump::begin),
    }
}

fn map_path() -> PathBuf {
    format!("/tmp/perf-{}.map", process::id()).into()
}

/// In the current directory.
fn dump_path() -> PathBuf {
    format!("jit-{}.dump", process::id()).into()
}

fn open_once<T>(
    file: &Mutex<Option<T>>,
    path: PathBuf,
    begin: impl FnOnce(File) -> io::Result<T>,
) -> io::Result<()> {
    let mut file = file.lock();
    if file.is_none() {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        // Others may put links into the directory of temporary files.
        options.custom_flags(libc::O_NOFOLLOW);
        let opened = options.open(&path).and_then(begin);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        *file = Some(opened.map_err(named)?);
    }
    Ok(())
}

/// Writes down where code is.
pub fn write(perf: Perf, code: &Code) {
    // There is nobody to be told of a failure.
    let _ = match perf {
        Perf::Map => MAP.lock().as_mut().map(|file| {
            // In one piece: perf may be reading.
            let (start, size) = (code.address, code.bytes.len());
            file.write_all(format!("{start:x} {size:x} {}\n", code.name).as_bytes())
        }),
        Perf::Dump => DUMP.lock().as_mut().map(|dump| dump.add(code)),
    };
}

/// A dump in the format that `perf inject --jit` reads ("jitdump").
struct Dump {
    file: File,
    /// Pieces of code in it.
    count: u64,
}

const MAGIC: u32 = 0x4A69_5444;
const VERSION: u32 = 1;
const EM_X86_64: u32 = 62;
const CODE_LOAD: u32 = 0;
const CODE_DEBUG_INFO: u32 = 2;

impl Dump {
    fn begin(file: File) -> io::Result<Dump> {
        let mut header = Vec::new();
        let pid = process::id();
        for word in [MAGIC, VERSION, 40, EM_X86_64, 0, pid] {
            header.extend(word.to_ne_bytes());
        }
        header.extend(now().to_ne_bytes());
        let flags = 0u64;
        header.extend(flags.to_ne_bytes());
        let mut dump = Dump { file, count: 0 };
        dump.file.write_all(&header)?;
        dump.mark()?;
        Ok(dump)
    }

    /// Maps the beginning of the file as if it were code. perf records such mappings, which is how it learns where the file is.
    fn mark(&self) -> io::Result<()> {
        // SAFETY: the system chooses the address; the mapping, which nobody uses, stays to the end of the process.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE,
                self.file.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn add(&mut self, code: &Code) -> io::Result<()> {
        let mut records = Vec::new();
        if !code.lines.is_empty() {
            records.extend(debug_info(code));
        }
        records.extend(load(code, self.count));
        self.count += 1;
        self.file.write_all(&records)
    }
}

/// A record with this content.
fn record(id: u32, content: &[u8]) -> Vec<u8> {
    const HEADER: usize = 16;
    let size = (HEADER + content.len()) as u32;
    let mut record = Vec::with_capacity(size as usize);
    record.extend(id.to_ne_bytes());
    record.extend(size.to_ne_bytes());
    record.extend(now().to_ne_bytes());
    record.extend(content);
    record
}

fn load(code: &Code, index: u64) -> Vec<u8> {
    // SAFETY: it has no arguments and cannot fail.
    let thread = unsafe { libc::gettid() };
    let mut content = Vec::new();
    content.extend(process::id().to_ne_bytes());
    content.extend(thread.to_ne_bytes());
    for word in [code.address, code.address, code.bytes.len() as u64, index] {
        content.extend(word.to_ne_bytes());
    }
    content.extend(code.name.as_bytes());
    content.push(0);
    content.extend(code.bytes);
    record(CODE_LOAD, &content)
}

fn debug_info(code: &Code) -> Vec<u8> {
    let mut content = Vec::new();
    content.extend(code.address.to_ne_bytes());
    content.extend((code.lines.len() as u64).to_ne_bytes());
    for line in code.lines {
        content.extend((code.address + line.offset as u64).to_ne_bytes());
        let discriminator = 0u32;
        content.extend(line.line.to_ne_bytes());
        content.extend(discriminator.to_ne_bytes());
        content.extend(line.file.as_bytes());
        content.push(0);
    }
    record(CODE_DEBUG_INFO, &content)
}

/// The time by the clock that perf is told to use with `-k mono`.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the destination is a time. The clock is there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::super::lines::Line;
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    fn half(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn records_say_what_perf_reads() {
        let lines = [(0, "a.lua", 3), (4, "b.lua", 700)].map(|(offset, file, line)| Line {
            offset,
            file: file.to_owned(),
            line,
        });
        let code = Code {
            name: "f a.lua:3",
            address: 0x7000_0000,
            bytes: &[0x90, 0xC3],
            lines: &lines,
        };
        let load = load(&code, 5);
        assert_eq!((half(&load, 0), half(&load, 4) as usize), (0, load.len()));
        assert_eq!(half(&load, 16), process::id());
        assert_eq!(
            [24, 32, 40, 48].map(|at| word(&load, at)),
            [0x7000_0000, 0x7000_0000, 2, 5]
        );
        assert_eq!(&load[56..], b"f a.lua:3\0\x90\xC3");

        let info = debug_info(&code);
        assert_eq!((half(&info, 0), half(&info, 4) as usize), (2, info.len()));
        assert_eq!((word(&info, 16), word(&info, 24)), (0x7000_0000, 2));
        assert_eq!((word(&info, 32), half(&info, 40)), (0x7000_0000, 3));
        assert_eq!(&info[48..54], b"a.lua\0");
        assert_eq!((word(&info, 54), half(&info, 62)), (0x7000_0004, 700));
        assert!(info.ends_with(b"b.lua\0") && word(&info, 8) <= now());
    }
}
