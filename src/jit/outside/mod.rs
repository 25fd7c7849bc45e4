//! Machine code as tools outside see it: profilers and debuggers that want to know whose code is at an address.
//!
//! ```text
//! perf      files for the profiler perf            lines   source lines of code
//! gdb       the interface to debuggers             object  the object files that these read
//! ```
//!
//! Nothing of it happens unless a VM is asked for it. Code is published when its executor has been made, and what debuggers
//! have been told is withdrawn when the code is freed.

mod gdb;
pub mod lines;
mod object;
mod perf;

use std::io;

use crate::tier2::executor::Executor;
use crate::tier2::place;

use crate::tier2::Perf;
use lines::Line;

/// What a VM tells tools outside.
#[derive(Default)]
pub struct Outside {
    perf: Option<Perf>,
    gdb: bool,
}

/// Code, as tools want to know of it.
pub struct Code<'a> {
    /// Of the executor. Without control characters.
    pub name: &'a str,
    /// Where it runs.
    pub address: u64,
    pub bytes: &'a [u8],
    /// In the order of offsets.
    pub lines: &'a [Line],
}

/// Debuggers know of code as long as this is not dropped.
pub type Published = gdb::Registered;

impl Outside {
    /// Opens the file that perf reads, if there is to be one and it is not open yet.
    pub fn new(perf: Option<Perf>, gdb: bool) -> io::Result<Outside> {
        if let Some(perf) = perf {
            perf::open(perf)?;
        }
        Ok(Outside { perf, gdb })
    }

    /// Whether anybody is told anything.
    pub fn is_on(&self) -> bool {
        self.perf.is_some() || self.gdb
    }

    /// Tells profilers of the code through which control enters and leaves.
    pub fn publish_stubs(&self, bytes: &[u8]) {
        if let Some(perf) = self.perf {
            let code = Code {
                name: "entering and leaving executors",
                address: bytes.as_ptr() as u64,
                bytes,
                lines: &[],
            };
            perf::write(perf, &code);
        }
    }

    /// Tells of the code of a new executor.
    pub fn publish(&self, executor: &Executor) {
        let machine = executor.code.machine();
        let lines = match &machine.map {
            Some(map) => lines::of(&executor.superblock, map, machine.size),
            None => Vec::new(),
        };
        let code = Code {
            name: &name(executor),
            address: machine.address(),
            bytes: machine.bytes(),
            lines: &lines,
        };
        if let Some(perf) = self.perf {
            perf::write(perf, &code);
        }
        if self.gdb {
            let published = gdb::register(object::of(&code));
            // It is told of once.
            let _ = machine.published.set(published);
        }
    }
}

/// What tools call an executor: its function, the line at which it begins, and its number.
fn name(executor: &Executor) -> String {
    let details = executor.details.as_ref();
    let function = details.map_or("?", |details| &details.header.function);
    let (place, kind) = (executor.place, place::kind(executor));
    let name = format!("{function} {place} {kind} #{}", executor.number);
    name.replace(char::is_control, "?")
}
