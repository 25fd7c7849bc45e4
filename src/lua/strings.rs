//! The strings of one compilation: identifiers and literals, interned to small numbers.
//!
//! Invariant: equal byte strings have equal ids, and the ids of the reserved words are their
//! positions in [`RESERVED`]. Filled by the lexer, read by everyone after it.

use std::hash::{BuildHasher, RandomState};
use std::mem::replace;

use super::{Fail, append, push};
use crate::heap::Meter;

/// Names an interned byte string of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StrId(pub u32);

/// The reserved words, in the order of the lexer's keyword tokens.
pub(super) const RESERVED: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

impl StrId {
    /// `break`, which also stands for the label that a `break` outside any loop misses.
    pub(super) const BREAK: StrId = StrId(1);
    /// `_ENV`.
    pub const ENV: StrId = StrId(RESERVED.len() as u32);
    /// `self`.
    pub const SELF: StrId = StrId(RESERVED.len() as u32 + 1);

    /// The id as an index, for side tables indexed by string.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An append-only interner.
///
/// An open-addressing table of `hash << 32 | id + 1` over one byte buffer. The hash is seeded per
/// compilation, so that a source cannot be built to collide.
#[derive(Default)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`; it starts where its predecessor ends.
    ends: Vec<u32>,
    /// A power of two of slots, at most half full; 0 is an empty slot.
    slots: Vec<u64>,
    seed: u64,
}

impl Strings {
    /// An interner that holds the reserved words, `_ENV` and `self`.
    pub(super) fn new(meter: &Meter) -> Result<Strings, Fail> {
        let mut strings = Strings {
            bytes: Vec::new(),
            ends: Vec::new(),
            slots: Vec::new(),
            seed: RandomState::new().hash_one(0u8),
        };
        strings.resize(meter, 128)?;
        for word in RESERVED.iter().chain(&["_ENV", "self"]) {
            strings.intern(meter, word.as_bytes())?;
        }
        Ok(strings)
    }

    /// The number of distinct strings, which is also the bound of the ids.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `id`.
    pub fn get(&self, id: StrId) -> &[u8] {
        let start = match id.index().checked_sub(1) {
            Some(previous) => self.ends[previous] as usize,
            None => 0,
        };
        &self.bytes[start..self.ends[id.index()] as usize]
    }

    /// The id of `text`, which is copied if it is new.
    #[inline]
    pub(super) fn intern(&mut self, meter: &Meter, text: &[u8]) -> Result<StrId, Fail> {
        let hash = hash(self.seed, text);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return self.insert(meter, text, hash, at);
            }
            let id = StrId(slot as u32 - 1);
            if (slot >> 32) as u32 == hash && self.get(id) == text {
                return Ok(id);
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, meter: &Meter, text: &[u8], hash: u32, at: usize) -> Result<StrId, Fail> {
        let id = self.ends.len() as u32;
        append(meter, &mut self.bytes, text)?;
        // Sources are shorter than 4 GiB, and no string is longer than its text in the source.
        push(meter, &mut self.ends, self.bytes.len() as u32)?;
        self.slots[at] = (hash as u64) << 32 | (id + 1) as u64;
        if self.ends.len() * 2 > self.slots.len() {
            self.resize(meter, self.slots.len() * 2)?;
        }
        Ok(StrId(id))
    }

    fn resize(&mut self, meter: &Meter, len: usize) -> Result<(), Fail> {
        let mut slots: Vec<u64> = meter.filled(len)?;
        let mask = len - 1;
        for &slot in self.slots.iter().filter(|&&slot| slot != 0) {
            let mut at = (slot >> 32) as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = slot;
        }
        meter.free(replace(&mut self.slots, slots));
        Ok(())
    }
}

/// A seeded hash by folded multiplication, eight bytes a step.
#[inline]
fn hash(seed: u64, text: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |a: u64, b: u64| {
        let product = a as u128 * b as u128;
        product as u64 ^ (product >> 64) as u64
    };
    let mut state = seed ^ text.len() as u64;
    // The last word overlaps with what comes before, which is cheaper than single bytes.
    let last = match text {
        [] => 0,
        [a] => *a as u64,
        [a, b] => (*a as u64) << 8 | *b as u64,
        [a, b, c] => (*a as u64) << 16 | (*b as u64) << 8 | *c as u64,
        [..] => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(a), Some(b)) if text.len() <= 8 => {
                (u32::from_le_bytes(*a) as u64) << 32 | u32::from_le_bytes(*b) as u64
            }
            _ => {
                let (words, _) = text.as_chunks::<8>();
                for word in words {
                    state = fold(state ^ u64::from_le_bytes(*word), K);
                }
                text.last_chunk()
                    .map_or(0, |word| u64::from_le_bytes(*word))
            }
        },
    };
    state = fold(state ^ last, K);
    (state ^ state >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::Heap;

    #[test]
    fn equal_strings_share_an_id() {
        let meter = Meter::new(&mut Heap::new());
        let mut strings = Strings::new(&meter).unwrap();
        let words: Vec<String> = (0..5000).map(|n| format!("name{n}")).collect();
        let ids: Vec<StrId> = words
            .iter()
            .map(|word| strings.intern(&meter, word.as_bytes()).unwrap())
            .collect();
        for (word, &id) in words.iter().zip(&ids) {
            assert_eq!(strings.intern(&meter, word.as_bytes()).unwrap(), id);
            assert_eq!(strings.get(id), word.as_bytes());
        }
        assert_eq!(strings.len(), RESERVED.len() + 2 + words.len());
    }

    #[test]
    fn well_known_ids() {
        let meter = Meter::new(&mut Heap::new());
        let mut strings = Strings::new(&meter).unwrap();
        assert_eq!(strings.get(StrId::ENV), b"_ENV");
        assert_eq!(strings.get(StrId::SELF), b"self");
        assert_eq!(strings.get(StrId::BREAK), b"break");
        assert_eq!(strings.get(StrId(0)), b"and");
        let empty = strings.intern(&meter, b"").unwrap();
        assert_eq!(strings.get(empty), b"");
    }
}
