//! The graph of executors as a page for browsers: one file that needs nothing else.
//!
//! What is known of executors is put into the page as data, which its script draws. All that comes from programs is in that
//! data, and what could end it is escaped.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter, Write};
use std::fs;

use super::executor::{Code, Executor, Graph};
use super::place::{self, Place};
use super::superblock::SnapshotId;
use super::Engine;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// See the module's documentation. Sources are read from the files that functions are said to come from.
pub fn page(graph: &Graph, engine: Engine) -> String {
    let mut files = Files::default();
    let executors = graph.executors().map(|e| describe(graph, e, &mut files)).collect();
    let data = Json::Object(vec![
        ("engine", Json::Text(format!("{engine:?}"))),
        ("executors", Json::List(executors)),
        ("files", Json::List(files.0.into_iter().map(|file| file.1).collect())),
    ]);
    let mut page = String::new();
    let mut rest = TEMPLATE;
    for (mark, content) in [("/*STYLE*/", STYLE), ("/*DATA*/", &data.to_string()), ("/*SCRIPT*/", SCRIPT)] {
        let (before, after) = rest.split_once(mark).expect("the template has all marks, in order");
        page.extend([before, content]);
        rest = after;
    }
    page + rest
}

/// The sources that executors come from, each once: its name and what the page knows of it.
#[derive(Default)]
struct Files(Vec<(String, Json)>);

impl Files {
    /// The index of a place's file.
    fn index(&mut self, place: Place) -> usize {
        let name = place.file();
        if let Some(at) = self.0.iter().position(|file| file.0 == name) {
            return at;
        }
        let lines = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            Json::List(text.lines().map(Json::text).collect())
        };
        let text = match place.proto.map(|proto| proto.info.source) {
            Some(source) => match source.as_bytes() {
                [b'@', ..] => fs::read(&name).map_or(Json::Null, |text| lines(&text)),
                [b'=', ..] => Json::Null,
                text => lines(text),
            },
            None => Json::Null,
        };
        let file = Json::Object(vec![("name", Json::text(&name)), ("text", text)]);
        self.0.push((name, file));
        self.0.len() - 1
    }
}

#[cfg_attr(not(all(feature = "jit", target_arch = "x86_64", target_os = "linux")), allow(unused_variables, reason = "machine code leads to other executors"))]
fn describe(graph: &Graph, e: &Executor, files: &mut Files) -> Json {
    let details = e.details.as_deref();
    let text = |text: Option<&String>| text.map_or(Json::Null, |text| Json::text(text));
    // SAFETY: the parents of an executor are freed no sooner than it is.
    let parent = unsafe { e.parent.as_ref() };
    let joined = e.with_loop().filter(|_| e.superblock.joins());
    let number = |e: Option<&Executor>| Json::Number(e.map_or(0, |e| u64::from(e.number)));
    let function = details.map_or("?", |d| &d.header.function);
    let mut members = vec![
        ("number", number(Some(e))),
        ("function", Json::text(function)),
        ("place", Json::Text(e.place.to_string())),
        ("pc", Json::Number(u64::from(e.place.pc))),
        ("kind", Json::text(place::kind(e))),
        ("stop", Json::text(details.map_or("?", |d| d.header.stop.name()))),
        ("parent", number(parent)),
        ("joins", number(joined)),
        ("entries", Json::Number(e.counts().entries.get())),
        ("passes", Json::Number(e.counts().passes.get())),
        ("executed", Json::Number(e.executed())),
        ("microOps", Json::Number(e.superblock.nodes.len() as u64)),
        ("bytes", Json::Number(e.code.code_bytes() as u64)),
        ("lines", lines(e, files)),
        ("before", text(details.and_then(|d| d.before.as_ref()))),
        ("after", Json::Text(e.superblock.to_string())),
        ("exits", exits(e)),
    ];
    match &e.code {
        Code::Uops(code) => members.push(("listing", Json::Text(code.to_string()))),
        #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
        Code::Machine(code) => members.push(("code", sections(graph, e, code))),
    }
    Json::Object(members)
}

/// The source lines that an executor comes from.
fn lines(e: &Executor, files: &mut Files) -> Json {
    let exits = used_snapshots(e).into_iter();
    let places = exits.map(|id| Place::of_snapshot(&e.superblock, id));
    let lines: BTreeSet<_> = [e.place].into_iter().chain(places).map(|p| (files.index(p), p.line())).collect();
    let pair = |(file, line)| Json::List(vec![Json::Number(file as u64), Json::Number(u64::from(line))]);
    Json::List(lines.into_iter().map(pair).collect())
}

fn used_snapshots(e: &Executor) -> BTreeSet<SnapshotId> {
    let exits = e.superblock.nodes.iter().map(|node| node.exit);
    exits.filter(|id| !id.is_none()).collect()
}

fn exits(e: &Executor) -> Json {
    let names = e.superblock.names();
    let exit = |id: SnapshotId| {
        let (exit, place) = (e.exit(id), Place::of_snapshot(&e.superblock, id));
        // SAFETY: a patched edge keeps its target alive.
        let target = unsafe { exit.target.get().as_ref() };
        Json::Object(vec![
            ("id", Json::Number(u64::from(id.0))),
            ("name", Json::Text(names.name(id).to_string())),
            ("place", Json::Text(format!("{place} pc {}", place.pc))),
            ("taken", Json::Number(u64::from(exit.taken.get()))),
            ("temperature", Json::Number(u64::from(exit.temperature.get()))),
            ("target", Json::Number(target.map_or(0, |t| u64::from(t.number)))),
        ])
    };
    Json::List(used_snapshots(e).into_iter().map(exit).collect())
}

/// Machine code, if it can be disassembled.
#[cfg(all(feature = "disasm", target_arch = "x86_64", target_os = "linux"))]
fn sections(graph: &Graph, e: &Executor, code: &crate::jit::Machine) -> Json {
    let named = |address| {
        let contains = |e: &&Executor| e.code.machine().contains(address);
        graph.executors().find(contains).map(|e| format!("executor {}", e.number))
    };
    let sections = code.sections(&e.superblock, &named);
    let line = |(offset, text)| Json::List(vec![Json::Number(u64::from(offset)), Json::Text(text)]);
    let section = |section: crate::jit::Section| {
        Json::Object(vec![
            ("title", Json::Text(section.title)),
            ("rare", Json::Number(u64::from(section.rare))),
            ("lines", Json::List(section.lines.into_iter().map(line).collect())),
        ])
    };
    match code.map {
        Some(_) => Json::List(sections.into_iter().map(section).collect()),
        None => Json::Null,
    }
}

#[cfg(all(feature = "jit", not(feature = "disasm"), target_arch = "x86_64", target_os = "linux"))]
fn sections(_: &Graph, _: &Executor, _: &crate::jit::Machine) -> Json {
    Json::Null
}

/// Data for scripts. Its text may stand in a page's script: nothing in it ends that.
enum Json {
    Null,
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    fn text(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

fn write_text(f: &mut Formatter, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => write!(f, "\\u{:04x}", c as u32)?,
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

impl Display for Json {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Number(n) => write!(f, "{n}"),
            Json::Text(text) => write_text(f, text),
            Json::List(items) => {
                f.write_char('[')?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { "," } else { "" })?;
                }
                f.write_char(']')
            }
            Json::Object(members) => {
                f.write_char('{')?;
                for (i, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}\"{name}\":{value}", if i > 0 { "," } else { "" })?;
                }
                f.write_char('}')
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_place() {
        let text = "</script><!-- & \"quoted\" \\ \n\u{1}\u{2028} ü";
        let data = Json::Object(vec![
            ("text", Json::text(text)),
            ("list", Json::List(vec![Json::Null, Json::Number(u64::MAX)])),
        ]);
        assert_eq!(
            data.to_string(),
            "{\"text\":\"\\u003c/script\\u003e\\u003c!-- \\u0026 \\\"quoted\\\" \\\\ \\u000a\\u0001\\u2028 ü\",\
             \"list\":[null,18446744073709551615]}"
        );
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page(&Graph::default(), Engine::Off);
        assert!(page.contains("\"executors\":[]") && page.ends_with("</html>\n"));
        // The only address is the name of a language.
        assert_eq!(page.matches("://").count(), 1);
        assert!(!page.contains("src=") && !page.contains("@import") && !page.contains("url(h"));
    }
}
