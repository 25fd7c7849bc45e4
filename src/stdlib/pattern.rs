//! Lua patterns: a backtracking matcher over bytes, after the one in Lua's string library.
//!
//! A [`Matcher`] interprets the pattern text directly; malformed parts are errors only once matching
//! reaches them, as Lua programs can observe. Sets become bitmaps when first reached. Shortcuts (the
//! scan for a first byte, the look at the literal after a repetition) skip only attempts that could
//! neither succeed nor fail with an error.
//!
//! Invariant: `slots[..level]` are the captures opened so far, in order; a failed attempt leaves
//! them as it found them.

use std::fmt;

use crate::runtime::number::{NumberBuffer, format_int};

/// How many captures a pattern may have.
pub const MAX_CAPTURES: usize = 32;

/// How deeply matching may nest: one level for each capture bracket and repetition on the way.
const MAX_DEPTH: u32 = 200;

/// How many bytes `%b` looks at before it counts them as steps.
const BALANCE_PIECE: usize = 1 << 15;

/// How many steps pass between calls of the poll function.
const POLL_INTERVAL: u32 = 4096;

/// Why matching stopped with an error. The text is the message Lua reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    EndsWithPercent,
    MissingBracket,
    MissingBalanceArguments,
    MissingFrontierSet,
    InvalidCaptureIndex(u8),
    InvalidPatternCapture,
    UnfinishedCapture,
    TooManyCaptures,
    TooComplex,
    InvalidReplacement,
    /// The result of a replacement does not fit into memory.
    OutOfMemory,
    /// The poll function asked to stop.
    Interrupted,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatternError::EndsWithPercent => "malformed pattern (ends with '%')",
            PatternError::MissingBracket => "malformed pattern (missing ']')",
            PatternError::MissingBalanceArguments => {
                "malformed pattern (missing arguments to '%b')"
            }
            PatternError::MissingFrontierSet => "missing '[' after '%f' in pattern",
            PatternError::InvalidCaptureIndex(index) => {
                return write!(f, "invalid capture index %{index}");
            }
            PatternError::InvalidPatternCapture => "invalid pattern capture",
            PatternError::UnfinishedCapture => "unfinished capture",
            PatternError::TooManyCaptures => "too many captures",
            PatternError::TooComplex => "pattern too complex",
            PatternError::InvalidReplacement => "invalid use of '%' in replacement string",
            PatternError::OutOfMemory => "not enough memory",
            PatternError::Interrupted => "interrupted",
        })
    }
}

impl std::error::Error for PatternError {}

/// A match as byte offsets into the subject: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub start: usize,
    pub end: usize,
}

/// What a capture holds, as byte offsets into the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// The text `start..end`.
    Text { start: usize, end: usize },
    /// The offset of a position capture, counted from zero.
    Position(usize),
}

/// Whether a pattern has no special characters, so that [`find_plain`] finds the same.
pub fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

/// The offset of the first occurrence of `needle` at or after `init`.
pub fn find_plain(haystack: &[u8], needle: &[u8], init: usize) -> Option<usize> {
    let rest = haystack.get(init..)?;
    let found = match needle {
        [] => Some(0),
        [byte] => memchr::memchr(*byte, rest),
        _ => memchr::memmem::find(rest, needle),
    };
    found.map(|offset| init + offset)
}

/// A set of byte values.
#[derive(Clone, Copy)]
struct ByteSet([u64; 4]);

impl ByteSet {
    const EMPTY: ByteSet = ByteSet([0; 4]);

    #[inline(always)]
    const fn contains(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 != 0
    }

    const fn insert(&mut self, byte: u8) {
        self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
    }

    fn insert_range(&mut self, low: u8, high: u8) {
        let (low, high) = (u32::from(low), u32::from(high));
        for (index, word) in (0u32..).zip(&mut self.0) {
            let base = index * 64;
            if low < base + 64 && high >= base && low <= high {
                let from = low.saturating_sub(base);
                let to = (high - base).min(63);
                *word |= (u64::MAX << from) & (u64::MAX >> (63 - to));
            }
        }
    }

    fn insert_all(&mut self, other: &ByteSet) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    const fn complement(self) -> ByteSet {
        let [a, b, c, d] = self.0;
        ByteSet([!a, !b, !c, !d])
    }
}

/// The classes `%a` to `%z`, with an empty entry for letters that name none, and their complements.
static CLASSES: [[ByteSet; 26]; 2] = {
    let mut table = [[ByteSet::EMPTY; 26]; 2];
    let mut index = 0;
    while index < 26 {
        let mut byte = 0u8;
        loop {
            let member = match b'a' + index as u8 {
                b'a' => byte.is_ascii_alphabetic(),
                b'c' => byte.is_ascii_control(),
                b'd' => byte.is_ascii_digit(),
                b'g' => byte.is_ascii_graphic(),
                b'l' => byte.is_ascii_lowercase(),
                b'p' => byte.is_ascii_punctuation(),
                b's' => matches!(byte, b' ' | b'\t'..=b'\r'),
                b'u' => byte.is_ascii_uppercase(),
                b'w' => byte.is_ascii_alphanumeric(),
                b'x' => byte.is_ascii_hexdigit(),
                // Undocumented, but still there.
                b'z' => byte == 0,
                _ => false,
            };
            if member {
                table[0][index].insert(byte);
            }
            if byte == u8::MAX {
                break;
            }
            byte += 1;
        }
        table[1][index] = table[0][index].complement();
        index += 1;
    }
    table
};

/// The class a letter after `%` names; `None` if the character stands for itself.
fn class(letter: u8) -> Option<&'static ByteSet> {
    let lower = letter.to_ascii_lowercase();
    if !matches!(
        lower,
        b'a' | b'c' | b'd' | b'g' | b'l' | b'p' | b's' | b'u' | b'w' | b'x' | b'z'
    ) {
        return None;
    }
    let negated = usize::from(letter != lower);
    Some(&CLASSES[negated][usize::from(lower - b'a')])
}

/// A pattern item that matches one byte.
#[derive(Clone, Copy)]
enum Single {
    Any,
    Byte(u8),
    Class(&'static ByteSet),
    /// The set in this entry of [`Matcher::sets`], until another set is read.
    Set(usize),
}

/// What the first byte of a match has to fit.
enum First {
    Byte(u8),
    Set(ByteSet),
}

/// A set of the pattern, translated.
#[derive(Clone, Copy)]
struct CachedSet {
    /// Where in the pattern it starts, or `usize::MAX` for an unused entry.
    start: usize,
    /// Just past its closing bracket.
    end: usize,
    set: ByteSet,
}

const SET_CACHE: usize = 4;

/// A capture: its start, and its end or one of two marks.
#[derive(Clone, Copy)]
struct Slot {
    start: usize,
    end: usize,
}

/// Marks a capture whose closing bracket has not been reached.
const OPEN: usize = usize::MAX;
/// Marks a position capture.
const POSITION: usize = usize::MAX - 1;

/// Why an attempt has no result.
#[derive(Clone, Copy)]
enum Fail {
    NoMatch,
    Error(PatternError),
}

impl From<PatternError> for Fail {
    fn from(error: PatternError) -> Fail {
        Fail::Error(error)
    }
}

/// The end of a match attempt.
type Outcome = Result<usize, Fail>;

/// What matching writes to: the captures of the latest match, and translated sets. Apart from the
/// [`Matcher`], because captures are read after it has ended, and so that it is cheap to make.
pub struct Workspace {
    level: usize,
    slots: [Slot; MAX_CAPTURES],
    sets: [CachedSet; SET_CACHE],
}

impl Default for Workspace {
    fn default() -> Workspace {
        Workspace {
            level: 0,
            slots: [Slot { start: 0, end: 0 }; MAX_CAPTURES],
            sets: [CachedSet {
                start: usize::MAX,
                end: 0,
                set: ByteSet::EMPTY,
            }; SET_CACHE],
        }
    }
}

impl Workspace {
    /// How many captures the latest match has. (Functions that return captures return the whole
    /// match if there are none.)
    pub fn capture_count(&self) -> usize {
        self.level
    }

    /// A capture of the latest match `whole`, counted from zero. Capture zero of a pattern without
    /// captures is the whole match.
    ///
    /// # Errors
    /// There is no such capture, or its closing bracket is missing.
    pub fn capture(&self, index: usize, whole: Match) -> Result<Capture, PatternError> {
        match self.slots[..self.level].get(index) {
            None if index == 0 => Ok(Capture::Text {
                start: whole.start,
                end: whole.end,
            }),
            None => Err(PatternError::InvalidCaptureIndex(
                u8::try_from(index + 1).unwrap_or(u8::MAX),
            )),
            Some(Slot { end: OPEN, .. }) => Err(PatternError::UnfinishedCapture),
            Some(&Slot {
                start,
                end: POSITION,
            }) => Ok(Capture::Position(start)),
            Some(&Slot { start, end }) => Ok(Capture::Text { start, end }),
        }
    }
}

/// Matches one pattern against one subject, repeatedly if wanted.
pub struct Matcher<'a> {
    source: &'a [u8],
    /// Without the anchor.
    pattern: &'a [u8],
    anchored: bool,
    work: &'a mut Workspace,
    /// How many more levels matching may nest.
    depth: u32,
    /// Steps left before the next poll.
    budget: u32,
    poll: &'a mut dyn FnMut(u32) -> bool,
}

impl<'a> Matcher<'a> {
    /// A matcher for a pattern in which a leading `^` is an anchor.
    ///
    /// Matching calls `poll` every few thousand steps with the number of steps since the last call
    /// (a step being about the work for one pattern item) and ends with
    /// [`PatternError::Interrupted`] once that returns `false`.
    pub fn new(
        source: &'a [u8],
        pattern: &'a [u8],
        work: &'a mut Workspace,
        poll: &'a mut dyn FnMut(u32) -> bool,
    ) -> Matcher<'a> {
        match pattern {
            [b'^', rest @ ..] => {
                let mut matcher = Matcher::unanchored(source, rest, work, poll);
                matcher.anchored = true;
                matcher
            }
            _ => Matcher::unanchored(source, pattern, work, poll),
        }
    }

    /// A matcher for a pattern in which a leading `^` stands for itself, as in `string.gmatch`.
    pub fn unanchored(
        source: &'a [u8],
        pattern: &'a [u8],
        work: &'a mut Workspace,
        poll: &'a mut dyn FnMut(u32) -> bool,
    ) -> Matcher<'a> {
        for set in &mut work.sets {
            set.start = usize::MAX;
        }
        Matcher {
            source,
            pattern,
            anchored: false,
            work,
            depth: MAX_DEPTH,
            budget: POLL_INTERVAL,
            poll,
        }
    }

    /// The first match starting at or after `init`; only at `init` if the pattern is anchored.
    pub fn find(&mut self, init: usize) -> Result<Option<Match>, PatternError> {
        self.find_next(init, None)
    }

    /// Like [`find`](Matcher::find), but passes over matches that end at `last_end`. With the end of
    /// the previous match, this enumerates matches as `gmatch` and `gsub` do: an empty match right
    /// after a match does not count.
    pub fn find_next(
        &mut self,
        init: usize,
        last_end: Option<usize>,
    ) -> Result<Option<Match>, PatternError> {
        let source = self.source;
        if init > source.len() {
            return Ok(None);
        }
        if self.anchored {
            let end = self.match_at(init)?.filter(|&end| Some(end) != last_end);
            return Ok(end.map(|end| Match { start: init, end }));
        }
        let first = self.first_item()?;
        let mut start = init;
        loop {
            if let Some(first) = &first {
                let rest = &source[start..];
                let found = match first {
                    First::Byte(byte) => memchr::memchr(*byte, rest),
                    First::Set(set) => rest.iter().position(|&byte| set.contains(byte)),
                };
                let Some(skipped) = found else {
                    return Ok(None);
                };
                start += skipped;
                self.charge(skipped / 32)?;
            }
            if let Some(end) = self.match_at(start)?
                && Some(end) != last_end
            {
                return Ok(Some(Match { start, end }));
            }
            if start == source.len() {
                return Ok(None);
            }
            start += 1;
        }
    }

    /// Tries to match at exactly `start`, which is within the subject; returns where the match ends.
    pub fn match_at(&mut self, start: usize) -> Result<Option<usize>, PatternError> {
        self.work.level = 0;
        self.depth = MAX_DEPTH;
        match self.descend(start, 0) {
            Ok(end) => Ok(Some(end)),
            Err(Fail::NoMatch) => Ok(None),
            Err(Fail::Error(error)) => Err(error),
        }
    }

    /// Gives `append` the pieces of a `gsub` replacement string for the latest match `whole`, with `%0` to `%9` and
    /// `%%` expanded.
    pub fn replacement(
        &self,
        replacement: &[u8],
        whole: Match,
        mut append: impl FnMut(&[u8]) -> Result<(), PatternError>,
    ) -> Result<(), PatternError> {
        let mut rest = replacement;
        while let Some(percent) = memchr::memchr(b'%', rest) {
            append(&rest[..percent])?;
            match rest.get(percent + 1) {
                Some(b'%') => append(b"%")?,
                Some(b'0') => append(&self.source[whole.start..whole.end])?,
                Some(digit @ b'1'..=b'9') => {
                    match self.work.capture(usize::from(digit - b'1'), whole)? {
                        Capture::Text { start, end } => append(&self.source[start..end])?,
                        Capture::Position(offset) => {
                            let mut buffer = NumberBuffer::default();
                            append(format_int(offset as i64 + 1, &mut buffer))?;
                        }
                    }
                }
                _ => return Err(PatternError::InvalidReplacement),
            }
            rest = &rest[percent + 2..];
        }
        append(rest)
    }

    /// Counts steps and polls when due.
    #[inline(always)]
    fn charge(&mut self, steps: usize) -> Result<(), PatternError> {
        if steps < self.budget as usize {
            self.budget -= steps as u32;
            Ok(())
        } else {
            self.poll(steps)
        }
    }

    #[cold]
    #[inline(never)]
    fn poll(&mut self, steps: usize) -> Result<(), PatternError> {
        let passed = (POLL_INTERVAL - self.budget) as usize + steps;
        self.budget = POLL_INTERVAL;
        if (self.poll)(u32::try_from(passed).unwrap_or(u32::MAX)) {
            Ok(())
        } else {
            Err(PatternError::Interrupted)
        }
    }

    /// What the first byte of any match has to fit, if the pattern starts with such an item. It is
    /// the first item that an attempt evaluates, so that finding it malformed is no different.
    fn first_item(&mut self) -> Result<Option<First>, PatternError> {
        let mut at = 0;
        while at < MAX_CAPTURES && self.pattern.get(at) == Some(&b'(') {
            at += 1 + usize::from(self.pattern.get(at + 1) == Some(&b')'));
        }
        match self.pattern[at..] {
            [] | [b'(' | b')', ..] | [b'$'] | [b'%', b'b' | b'f' | b'0'..=b'9', ..] => {
                return Ok(None);
            }
            _ => {}
        }
        let (single, next) = self.single(at)?;
        if let Some(b'*' | b'?' | b'-') = self.pattern.get(next) {
            return Ok(None);
        }
        Ok(Some(match single {
            Single::Any => return Ok(None),
            Single::Byte(byte) => First::Byte(byte),
            _ => First::Set(self.to_set(single)),
        }))
    }

    /// The bytes that fit `single`, independent of the cache.
    fn to_set(&self, single: Single) -> ByteSet {
        match single {
            Single::Any => ByteSet::EMPTY.complement(),
            Single::Byte(byte) => {
                let mut set = ByteSet::EMPTY;
                set.insert(byte);
                set
            }
            Single::Class(set) => *set,
            Single::Set(entry) => self.work.sets[entry].set,
        }
    }

    /// Reads the single-byte item at `at`, and where it ends.
    #[inline(always)]
    fn single(&mut self, at: usize) -> Result<(Single, usize), PatternError> {
        Ok(match self.pattern[at] {
            b'.' => (Single::Any, at + 1),
            b'%' => {
                let &letter = self
                    .pattern
                    .get(at + 1)
                    .ok_or(PatternError::EndsWithPercent)?;
                let single = class(letter).map_or(Single::Byte(letter), Single::Class);
                (single, at + 2)
            }
            b'[' => {
                let (entry, end) = self.set(at)?;
                (Single::Set(entry), end)
            }
            byte => (Single::Byte(byte), at + 1),
        })
    }

    /// The cache entry of the set whose opening bracket is at `start`, and where the set ends.
    #[inline(always)]
    fn set(&mut self, start: usize) -> Result<(usize, usize), PatternError> {
        let entry = start % SET_CACHE;
        if self.work.sets[entry].start != start {
            self.work.sets[entry] = self.read_set(start)?;
        }
        Ok((entry, self.work.sets[entry].end))
    }

    /// Translates the set whose opening bracket is at `start`.
    #[inline(never)]
    fn read_set(&mut self, start: usize) -> Result<CachedSet, PatternError> {
        let pattern = self.pattern;
        let negated = pattern.get(start + 1) == Some(&b'^');
        let first = start + 1 + usize::from(negated);
        // The first character is never the closing bracket.
        let mut close = first;
        loop {
            self.charge(1)?;
            let byte = pattern.get(close).ok_or(PatternError::MissingBracket)?;
            close += 1 + usize::from(*byte == b'%');
            if pattern.get(close) == Some(&b']') {
                break;
            }
        }
        let mut set = ByteSet::EMPTY;
        let mut content = &pattern[first..close];
        loop {
            self.charge(1)?;
            match *content {
                [] => break,
                [b'%', letter, ..] => {
                    match class(letter) {
                        Some(class) => set.insert_all(class),
                        None => set.insert(letter),
                    }
                    content = &content[2..];
                }
                // Only after a range up to `%`, as in `[a-%%]`: this escapes the closing bracket.
                [b'%'] => {
                    set.insert(b']');
                    break;
                }
                [low, b'-', high, ..] => {
                    set.insert_range(low, high);
                    content = &content[3..];
                }
                [byte, ..] => {
                    set.insert(byte);
                    content = &content[1..];
                }
            }
        }
        Ok(CachedSet {
            start,
            end: close + 1,
            set: if negated { set.complement() } else { set },
        })
    }

    /// Whether there is a byte at `at` and it fits.
    #[inline(always)]
    fn fits(&self, single: Single, at: usize) -> bool {
        let Some(&byte) = self.source.get(at) else {
            return false;
        };
        match single {
            Single::Any => true,
            Single::Byte(expected) => byte == expected,
            Single::Class(set) => set.contains(byte),
            Single::Set(entry) => self.work.sets[entry].set.contains(byte),
        }
    }

    /// Matches the pattern from `at` against the subject from `start`, one level down.
    #[inline]
    fn descend(&mut self, start: usize, at: usize) -> Outcome {
        if self.depth == 0 {
            return Err(PatternError::TooComplex.into());
        }
        self.depth -= 1;
        let outcome = self.run(start, at);
        self.depth += 1;
        outcome
    }

    fn run(&mut self, mut start: usize, mut at: usize) -> Outcome {
        let pattern = self.pattern;
        loop {
            self.charge(1)?;
            match pattern[at..] {
                [] => return Ok(start),
                [b'(', b')', ..] => return self.open_capture(start, at + 2, POSITION),
                [b'(', ..] => return self.open_capture(start, at + 1, OPEN),
                [b')', ..] => return self.close_capture(start, at + 1),
                [b'$'] => {
                    return if start == self.source.len() {
                        Ok(start)
                    } else {
                        Err(Fail::NoMatch)
                    };
                }
                [b'%', b'b', ..] => {
                    start = self.match_balance(start, at + 2)?;
                    at += 4;
                    continue;
                }
                [b'%', b'f', ..] => {
                    at = self.match_frontier(start, at + 2)?;
                    continue;
                }
                [b'%', digit @ b'0'..=b'9', ..] => {
                    start = self.match_back_reference(start, digit)?;
                    at += 2;
                    continue;
                }
                _ => {}
            }
            let (single, next) = self.single(at)?;
            match pattern.get(next) {
                Some(b'?') => {
                    if self.fits(single, start) {
                        match self.descend(start + 1, next + 1) {
                            Err(Fail::NoMatch) => {}
                            outcome => return outcome,
                        }
                    }
                    at = next + 1;
                }
                Some(b'*') => return self.max_expand(single, start, next + 1),
                Some(b'+') => {
                    return if self.fits(single, start) {
                        self.max_expand(single, start + 1, next + 1)
                    } else {
                        Err(Fail::NoMatch)
                    };
                }
                Some(b'-') => return self.min_expand(single, start, next + 1),
                _ => {
                    if !self.fits(single, start) {
                        return Err(Fail::NoMatch);
                    }
                    start += 1;
                    at = next;
                }
            }
        }
    }

    /// As many bytes as possible, then fewer.
    fn max_expand(&mut self, single: Single, start: usize, at: usize) -> Outcome {
        let rest = &self.source[start..];
        let count = match single {
            Single::Any => rest.len(),
            Single::Byte(expected) => count_while(rest, |byte| byte == expected),
            Single::Class(set) => count_while(rest, |byte| set.contains(byte)),
            Single::Set(entry) => {
                let set = self.work.sets[entry].set;
                count_while(rest, |byte| set.contains(byte))
            }
        };
        self.charge(count / 32)?;
        let mut end = start + count;
        let Some(expected) = self.literal_after(at) else {
            loop {
                match self.descend(end, at) {
                    Err(Fail::NoMatch) if end > start => end -= 1,
                    outcome => return outcome,
                }
            }
        };
        // Only ends followed by the literal are worth an attempt.
        if self.source.get(end) == Some(&expected) {
            match self.descend(end, at) {
                Err(Fail::NoMatch) => {}
                outcome => return outcome,
            }
        }
        while let Some(found) = memchr::memrchr(expected, &self.source[start..end]) {
            end = start + found;
            match self.descend(end, at) {
                Err(Fail::NoMatch) => {}
                outcome => return outcome,
            }
        }
        Err(Fail::NoMatch)
    }

    /// As few bytes as possible, then more.
    fn min_expand(&mut self, single: Single, mut start: usize, at: usize) -> Outcome {
        // Matching the rest of the pattern may reuse the cache entry.
        let set = self.to_set(single);
        let literal = self.literal_after(at);
        loop {
            if let Some(expected) = literal {
                // Only ends followed by the literal are worth an attempt.
                let rest = &self.source[start..];
                let skipped = if matches!(single, Single::Any) {
                    memchr::memchr(expected, rest).ok_or(Fail::NoMatch)?
                } else {
                    count_while(rest, |byte| byte != expected && set.contains(byte))
                };
                start += skipped;
                self.charge(skipped / 32)?;
                if self.source.get(start) != Some(&expected) {
                    return Err(Fail::NoMatch);
                }
            }
            match self.descend(start, at) {
                Err(Fail::NoMatch) => {}
                outcome => return outcome,
            }
            match self.source.get(start) {
                Some(&byte) if set.contains(byte) => start += 1,
                _ => return Err(Fail::NoMatch),
            }
        }
    }

    /// The byte that has to come next for the pattern from `at` to match, if that is easy to tell
    /// and an attempt without it could not end in an error.
    #[inline]
    fn literal_after(&self, mut at: usize) -> Option<u8> {
        // Leave room for the nesting of the attempts not made.
        if self.depth < 4 {
            return None;
        }
        if self.pattern.get(at) == Some(&b')') && self.innermost_open().is_some() {
            at += 1;
        }
        let (byte, next) = match self.pattern[at..] {
            [] | [b'(' | b')' | b'.' | b'[', ..] | [b'$'] => return None,
            [b'%', byte, ..] if !byte.is_ascii_alphanumeric() => (byte, at + 2),
            [b'%', ..] => return None,
            [byte, ..] => (byte, at + 1),
        };
        match self.pattern.get(next) {
            Some(b'*' | b'?' | b'-') => None,
            _ => Some(byte),
        }
    }

    fn open_capture(&mut self, start: usize, at: usize, end: usize) -> Outcome {
        let slot = self
            .work.slots
            .get_mut(self.work.level)
            .ok_or(PatternError::TooManyCaptures)?;
        *slot = Slot { start, end };
        self.work.level += 1;
        let outcome = self.descend(start, at);
        if outcome.is_err() {
            self.work.level -= 1;
        }
        outcome
    }

    fn close_capture(&mut self, start: usize, at: usize) -> Outcome {
        let index = self
            .innermost_open()
            .ok_or(PatternError::InvalidPatternCapture)?;
        self.work.slots[index].end = start;
        let outcome = self.descend(start, at);
        if outcome.is_err() {
            self.work.slots[index].end = OPEN;
        }
        outcome
    }

    fn innermost_open(&self) -> Option<usize> {
        self.work.slots[..self.work.level]
            .iter()
            .rposition(|slot| slot.end == OPEN)
    }

    /// `%b` with its two characters at `at`.
    fn match_balance(&mut self, start: usize, at: usize) -> Outcome {
        let [open, close] = match self.pattern[at..] {
            [open, close, ..] => [open, close],
            _ => return Err(PatternError::MissingBalanceArguments.into()),
        };
        let rest = &self.source[start..];
        if rest.first() != Some(&open) {
            return Err(Fail::NoMatch);
        }
        let mut nesting = 1usize;
        let mut offset = 1;
        for piece in rest[1..].chunks(BALANCE_PIECE) {
            for &byte in piece {
                offset += 1;
                if byte == close {
                    nesting -= 1;
                    if nesting == 0 {
                        self.charge(offset % BALANCE_PIECE / 32)?;
                        return Ok(start + offset);
                    }
                } else if byte == open {
                    nesting += 1;
                }
            }
            self.charge(piece.len() / 32)?;
        }
        Err(Fail::NoMatch)
    }

    /// `%f` with its set at `at`; returns where in the pattern to go on.
    fn match_frontier(&mut self, start: usize, at: usize) -> Outcome {
        if self.pattern.get(at) != Some(&b'[') {
            return Err(PatternError::MissingFrontierSet.into());
        }
        let (entry, next) = self.set(at)?;
        let set = &self.work.sets[entry].set;
        // Both ends of the subject count as a zero byte.
        let byte_at = |at: Option<usize>| at.and_then(|at| self.source.get(at)).copied();
        let before = byte_at(start.checked_sub(1)).unwrap_or(0);
        let after = byte_at(Some(start)).unwrap_or(0);
        if !set.contains(before) && set.contains(after) {
            Ok(next)
        } else {
            Err(Fail::NoMatch)
        }
    }

    fn match_back_reference(&mut self, start: usize, digit: u8) -> Outcome {
        let slot = (digit.checked_sub(b'1'))
            .and_then(|index| self.work.slots[..self.work.level].get(usize::from(index)))
            .filter(|slot| slot.end != OPEN)
            .ok_or(PatternError::InvalidCaptureIndex(digit - b'0'))?;
        if slot.end == POSITION {
            return Err(Fail::NoMatch);
        }
        let text = &self.source[slot.start..slot.end];
        let length = text.len();
        let fits = self.source[start..].starts_with(text);
        self.charge(length / 32)?;
        if fits {
            Ok(start + length)
        } else {
            Err(Fail::NoMatch)
        }
    }
}

#[inline(always)]
fn count_while(bytes: &[u8], fits: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|&byte| !fits(byte))
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(subject: &str, pattern: &str) -> Result<Option<Vec<Capture>>, PatternError> {
        let mut go_on = |_| true;
        let mut work = Workspace::default();
        let mut matcher = Matcher::new(subject.as_bytes(), pattern.as_bytes(), &mut work, &mut go_on);
        let Some(whole) = matcher.find(0)? else {
            return Ok(None);
        };
        (0..work.capture_count().max(1))
            .map(|index| work.capture(index, whole))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The captured texts, joined; positions as numbers.
    fn found(subject: &str, pattern: &str) -> String {
        match captures(subject, pattern) {
            Err(error) => error.to_string(),
            Ok(None) => "no match".to_owned(),
            Ok(Some(captures)) => captures
                .iter()
                .map(|capture| match *capture {
                    Capture::Text { start, end } => subject[start..end].to_owned(),
                    Capture::Position(offset) => offset.to_string(),
                })
                .collect::<Vec<_>>()
                .join("|"),
        }
    }

    #[test]
    fn items() {
        assert_eq!(found("hello world", "o w"), "o w");
        assert_eq!(found("key = value", "^(%w+)%s*=%s*(%w+)$"), "key|value");
        assert_eq!(found("key = value", "()=()"), "4|5");
        assert_eq!(found("f(a(b)c)d", "%b()"), "(a(b)c)");
        assert_eq!(found("THE (quick) fox", "%f[%a]%a+%f[%A]"), "THE");
        assert_eq!(found("say \"hi\" now", "([\"'])(.-)%1"), "\"|hi");
        assert_eq!(found("[[x]]", "%[%[(.-)%]%]"), "x");
        assert_eq!(found("aaab", "a-b"), "aaab");
        assert_eq!(found("x]y", "[]]"), "]");
        assert_eq!(found("x-y", "[a-]"), "-");
        assert_eq!(found("abc", "[^a-b]"), "c");
        assert_eq!(found("%]", "[a-%%]"), "]");
        assert_eq!(found("a$", "a$$"), "a$");
        assert_eq!(found("", "^$"), "");
        assert_eq!(found("abc", "b?c?$"), "bc");
        assert_eq!(found("*a", "*a"), "*a");
    }

    #[test]
    fn errors() {
        assert_eq!(found("a", "%"), "malformed pattern (ends with '%')");
        assert_eq!(found("a", "[a"), "malformed pattern (missing ']')");
        assert_eq!(found("a", "[a%"), "malformed pattern (missing ']')");
        assert_eq!(
            found("a", "%b"),
            "malformed pattern (missing arguments to '%b')"
        );
        assert_eq!(found("a", "%fa"), "missing '[' after '%f' in pattern");
        assert_eq!(found("a", "a)"), "invalid pattern capture");
        assert_eq!(found("a", "(a"), "unfinished capture");
        assert_eq!(found("a", "(a)%2"), "invalid capture index %2");
        assert_eq!(found("a", "%0"), "invalid capture index %0");
        assert_eq!(found("a", &"()".repeat(33)), "too many captures");
        assert_eq!(found("", &"a?".repeat(300)), "");
        assert_eq!(
            found(&"a".repeat(300), &"a?".repeat(300)),
            "pattern too complex"
        );
        // Parts never reached are not looked at.
        assert_eq!(found("a", "b["), "no match");
    }

    #[test]
    fn enumeration() {
        let mut go_on = |_| true;
        let mut work = Workspace::default();
        let mut matcher = Matcher::new(b"abc def", b"%a*", &mut work, &mut go_on);
        let mut ends = Vec::new();
        let (mut from, mut last) = (0, None);
        while let Some(found) = matcher.find_next(from, last).unwrap() {
            ends.push((found.start, found.end));
            from = found.end;
            last = Some(found.end);
        }
        assert_eq!(ends, [(0, 3), (4, 7)]);
    }

    #[test]
    fn replacements() {
        let mut go_on = |_| true;
        let mut work = Workspace::default();
        let mut matcher = Matcher::new(b"key=value", b"()(%w+)=(%w+)", &mut work, &mut go_on);
        let whole = matcher.find(0).unwrap().unwrap();
        let mut out = Vec::new();
        matcher
            .replacement(b"<%3=%2 %1 %0 %%>", whole, |piece| {
                out.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(out, b"<value=key 1 key=value %>");
        for (bad, error) in [
            (&b"%4"[..], PatternError::InvalidCaptureIndex(4)),
            (b"%x", PatternError::InvalidReplacement),
            (b"%", PatternError::InvalidReplacement),
        ] {
            assert_eq!(matcher.replacement(bad, whole, |_| Ok(())), Err(error));
        }
    }

    #[test]
    fn a_pathological_pattern_can_be_stopped() {
        let subject = vec![b'a'; 10_000];
        for pattern in [
            &b".-.-.-.-b."[..],
            b"a*a*a*a*[bc]",
            b"(.-)(.-)%1%2z",
            b"a?.-b$",
        ] {
            let mut polls = 0;
            let mut poll = |steps| {
                assert!(steps >= POLL_INTERVAL);
                polls += 1;
                polls < 5
            };
            let outcome = Matcher::new(&subject, pattern, &mut Workspace::default(), &mut poll).find(0);
            assert_eq!(outcome, Err(PatternError::Interrupted));
            assert_eq!(polls, 5);
        }
    }

    #[test]
    fn plain() {
        assert!(is_plain(b"a]b)c") && !is_plain(b"a.b"));
        assert_eq!(find_plain(b"hello", b"l", 3), Some(3));
        assert_eq!(find_plain(b"hello", b"lo", 0), Some(3));
        assert_eq!(find_plain(b"hello", b"", 5), Some(5));
        assert_eq!(find_plain(b"hello", b"", 6), None);
        assert_eq!(find_plain(b"hello", b"xyz", 0), None);
    }
}
