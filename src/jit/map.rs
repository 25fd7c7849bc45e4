//! Maps of code: which part of it is for what. They are made when someone wants to look at code from outside; running it needs none.

use std::ops::Range;

use crate::tier2::superblock::SnapshotId;

/// What a part of code is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The beginning, where parameters are moved to their places.
    Begin,
    /// A node of the superblock.
    Node(u32),
    /// What is rare about a node, behind the rest.
    Cold(u32),
    /// The way out when everything is in memory.
    Leave,
    /// Where control comes in along an edge of the graph.
    LinkedEntry,
    /// Where calls and returns come in.
    CalledEntry,
    /// The stub of an exit.
    Exit(SnapshotId),
    /// The way out of all exits that lead nowhere else.
    Out,
    /// Constants, behind the code.
    Literals,
}

/// The parts of an executor's code, by their offsets in it.
#[derive(Default, Debug)]
pub struct CodeMap {
    /// Where parts begin, in ascending order; each ends where the next one begins.
    starts: Vec<(u32, Part)>,
}

impl CodeMap {
    /// What comes at `offset`, which is not before anything noted so far, is for `part`.
    pub fn push(&mut self, offset: u32, part: Part) {
        debug_assert!(self.starts.last().is_none_or(|last| last.0 <= offset));
        match self.starts.last_mut() {
            Some(last) if last.1 == part => {}
            // It has been empty.
            Some(last) if last.0 == offset => last.1 = part,
            _ => self.starts.push((offset, part)),
        }
    }

    /// All parts in code of `size` bytes.
    pub fn parts(&self, size: usize) -> impl Iterator<Item = (Range<u32>, Part)> + '_ {
        let next = self.starts.iter().skip(1).map(|next| next.0);
        let ends = next.chain([size as u32]);
        self.starts
            .iter()
            .zip(ends)
            .map(|(&(start, part), end)| (start..end, part))
    }

    /// The part with the byte at `offset`.
    #[cfg(any(test, feature = "disasm"))]
    #[cfg(any(test, feature = "disasm"))]
    pub fn at(&self, offset: u32) -> Option<Part> {
        let behind = self.starts.partition_point(|part| part.0 <= offset);
        Some(self.starts[behind.checked_sub(1)?].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_without_code_leave_no_trace() {
        let mut map = CodeMap::default();
        map.push(0, Part::Begin);
        map.push(0, Part::Node(0));
        map.push(4, Part::Node(1));
        map.push(9, Part::Node(2));
        map.push(9, Part::Node(3));
        map.push(12, Part::Node(3));
        map.push(20, Part::Out);
        let parts: Vec<_> = map.parts(25).collect();
        let expected = [(0..4, 0), (4..9, 1), (9..20, 3)].map(|(range, i)| (range, Part::Node(i)));
        assert_eq!(parts[..3], expected);
        assert_eq!(parts[3], (20..25, Part::Out));
        for (range, part) in parts {
            assert!(range.clone().all(|offset| map.at(offset) == Some(part)));
        }
        assert_eq!(CodeMap::default().at(0), None);
    }
}
