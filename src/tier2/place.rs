//! Where superblocks begin, as people say it: function, file, line.
//!
//! Functions have no names of their own. They are called what the table of loaded modules or their caller calls them.

use std::fmt::{self, Display, Formatter};

use super::executor::{Anchor, Executor};
use super::projection::Stop;
use super::superblock::{SnapshotId, Superblock};
use crate::bytecode::cache::LoopSite;
use crate::bytecode::proto::Proto;
use crate::bytecode::source::chunk_id;
use crate::runtime::function::Closure;
use crate::runtime::object::Gc;
use crate::runtime::value::Value;
use crate::tier1::State;
use crate::tier1::recording::Origin;

/// An instruction. Its prototype is alive as long as the executor that begins there is valid.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub proto: Option<Gc<Proto>>,
    pub pc: u32,
}

impl Place {
    /// Of executors whose code is nowhere.
    #[cfg(test)]
    pub const fn none() -> Place {
        Place { proto: None, pc: 0 }
    }

    /// Where a snapshot resumes. The superblock's objects are alive.
    pub fn of_snapshot(sb: &Superblock, id: SnapshotId) -> Place {
        let snapshot = sb.snapshot_at(id);
        let object = sb.object(sb.frame(snapshot.frame).proto);
        Place { proto: Some(Gc::from_addr(object.addr)), pc: snapshot.pc }
    }

    /// What the function's source is called: all of a file's name, where messages shorten it.
    pub fn file(&self) -> String {
        let Some(proto) = self.proto else { return "?".to_owned() };
        let source = proto.info.source.as_bytes();
        match source {
            [b'@', path @ ..] => String::from_utf8_lossy(path).into_owned(),
            _ => String::from_utf8_lossy(&chunk_id(source)).into_owned(),
        }
    }

    pub fn line(&self) -> u32 {
        self.proto.map_or(0, |proto| proto.info.lines.line(self.pc))
    }

    /// Whether a filter wants to see it: `FILE:LINE` a line of its function (of the main chunk its own line),
    /// `LINE` the same in any file.
    fn is_at(&self, filter: &str) -> bool {
        let Some(proto) = self.proto else { return false };
        let (file, line) = filter.rsplit_once(':').unwrap_or(("", filter));
        let Ok(line) = line.parse::<u32>() else { return false };
        let info = &proto.info;
        let source = info.source.as_bytes();
        let lines = match (info.line_defined, info.lines.line(self.pc)) {
            // Main chunks have all lines.
            (0, here) => here..=here,
            (first, _) => first..=info.last_line,
        };
        source.ends_with(file.as_bytes()) && lines.contains(&line)
    }

    /// Whether one of the filters, function names or lines, wants to see it. Without any, all is wanted.
    pub fn matches(&self, filters: &[String], function: &str) -> bool {
        filters.is_empty() || filters.iter().any(|f| f == function || self.is_at(f))
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.proto {
            Some(proto) => {
                let source = chunk_id(proto.info.source.as_bytes());
                write!(f, "{}:{}", String::from_utf8_lossy(&source), proto.info.lines.line(self.pc))
            }
            None => f.write_str("?"),
        }
    }
}

/// The first line of a dump.
pub struct Header {
    pub function: String,
    pub place: Place,
    origin: Origin,
    parent: u32,
    pub stop: Stop,
}

impl Header {
    /// Of a superblock that begins at `place` in `closure`, which may be running.
    pub fn new(st: &State, origin: Origin, closure: Gc<Closure>, place: Place, stop: Stop) -> Header {
        let parent = match origin {
            Origin::Place(_) => 0,
            // SAFETY: executors at whose exits superblocks begin are alive.
            Origin::Exit(parent, _) => unsafe { (*parent).number },
        };
        Header { function: function_name(st, closure), place, origin, parent, stop }
    }
}

impl Display for Header {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} {} pc {}, ", self.function, self.place, self.place.pc)?;
        match self.origin {
            Origin::Place(site) => f.write_str(kind_of_place(self.place, site))?,
            Origin::Exit(_, exit) => write!(f, "exit {} of executor {}", exit.0, self.parent)?,
        }
        write!(f, ", stop {}", self.stop.name())
    }
}

fn kind_of_place(place: Place, site: *const LoopSite) -> &'static str {
    match place.proto {
        Some(proto) if std::ptr::eq(&raw const proto.entry, site) => "function",
        Some(proto) if proto.info.loops.as_ptr_range().contains(&site) => "loop",
        _ => "return",
    }
}

/// The kind of place at which an executor begins.
pub fn kind(executor: &Executor) -> &'static str {
    match executor.anchor {
        Anchor::Site(site) => kind_of_place(executor.place, site),
        Anchor::Exit(..) => "side exit",
    }
}

/// What a function is called.
fn function_name(st: &State, closure: Gc<Closure>) -> String {
    let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
    if closure.proto.info.line_defined == 0 {
        return "main chunk".to_owned();
    }
    if let Some(name) = st.global_name(Value::closure(closure)) {
        return text(name);
    }
    let mut frames = (0..).map_while(|level| st.frame_at(st.co, level)).take(64);
    let frame = frames.find(|frame| frame.function().same_bits(Value::closure(closure)));
    match frame.and_then(|frame| frame.name()) {
        Some(name) => text(name.name),
        None => format!("function at line {}", closure.proto.info.line_defined),
    }
}
