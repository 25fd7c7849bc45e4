//! The source lines of code: those of the bytecode instructions that its micro-ops stand for.

use crate::jit::map::{CodeMap, Part};
use crate::tier2::place::Place;
use crate::tier2::superblock::{SnapshotId, Superblock};

/// From an offset on code is for a line, up to the next one's offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub offset: u32,
    pub file: String,
    pub line: u32,
}

/// The lines of code, whose superblock's objects are alive.
///
/// A micro-op with an exit belongs to the instruction that the exit resumes at. Others are taken to belong to the
/// instruction of the last such micro-op before them.
pub fn of(sb: &Superblock, map: &CodeMap, size: usize) -> Vec<Line> {
    let mut exits: Vec<SnapshotId> = Vec::with_capacity(sb.nodes.len());
    let first = sb
        .nodes
        .iter()
        .map(|node| node.exit)
        .find(|id| !id.is_none());
    let Some(first) = first else {
        return Vec::new();
    };
    for node in &sb.nodes {
        let last = *exits.last().unwrap_or(&first);
        exits.push(if node.exit.is_none() { last } else { node.exit });
    }
    let mut lines: Vec<Line> = Vec::new();
    for (range, part) in map.parts(size) {
        let id = match part {
            Part::Node(i) | Part::Cold(i) => exits[i as usize],
            Part::Exit(id) => id,
            Part::Literals => break,
            _ => first,
        };
        let place = Place::of_snapshot(sb, id);
        let (file, line) = (place.file(), place.line());
        let same = |last: &Line| last.line == line && last.file == file;
        if !lines.last().is_some_and(same) {
            lines.push(Line {
                offset: range.start,
                file,
                line,
            });
        }
    }
    lines
}
