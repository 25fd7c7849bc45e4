//! The Lua 5.4 front end: from source text to a resolved syntax tree.
//!
//! [`parse`] runs the [`lexer`] and the [`parser`] in one pass and returns an [`ast::Chunk`], in
//! which every name is already a local, an upvalue or a global. Growth is proportional to the
//! source and fails with an error, nesting is bounded, and no input panics.

pub mod ast;
pub mod codegen;
pub mod fold;
mod lexer;
mod parser;
mod strings;
#[cfg(test)]
mod tests;

use crate::bytecode::binary::MARK;
use crate::bytecode::source::chunk_id;
use crate::heap::{Meter, OutOfMemory};
pub use parser::parse;
pub use strings::StrId;

/// Why a source text was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// The text is not Lua; the message carries its position.
    Malformed(Vec<u8>),
    /// The text is nested deeper than Lua allows.
    StackOverflow,
    /// Memory ran out.
    OutOfMemory,
}

impl SyntaxError {
    /// The message as Lua words it.
    pub fn message(&self) -> &[u8] {
        match self {
            SyntaxError::Malformed(message) => message,
            SyntaxError::StackOverflow => b"C stack overflow",
            SyntaxError::OutOfMemory => b"not enough memory",
        }
    }
}

/// The kind of an error on its way out of the front end; the message waits in the lexer, so that
/// results stay small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fail {
    Malformed,
    StackOverflow,
    OutOfMemory,
}

impl From<OutOfMemory> for Fail {
    fn from(_: OutOfMemory) -> Fail {
        Fail::OutOfMemory
    }
}

/// `Vec::push`, metered.
#[inline]
fn push<T>(meter: &Meter, vec: &mut Vec<T>, item: T) -> Result<(), Fail> {
    Ok(meter.push(vec, item)?)
}

/// `Vec::extend_from_slice`, metered.
#[inline]
fn append<T: Copy>(meter: &Meter, vec: &mut Vec<T>, items: &[T]) -> Result<(), Fail> {
    Ok(meter.append(vec, items)?)
}

/// The text of a source file without its byte order mark and without a first line that starts with
/// `#`. That line's newline stays, so that line numbers hold, unless a binary chunk follows.
pub fn skip_shebang(source: &[u8]) -> &[u8] {
    let text = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    if text.first() != Some(&b'#') {
        return text;
    }
    let end = text.iter().position(|&c| c == b'\n').unwrap_or(text.len());
    match &text[end..] {
        [b'\n', chunk @ ..] if chunk.first() == Some(&MARK) => chunk,
        text => text,
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn chunk_ids() {
        let id = |name: &str| String::from_utf8(chunk_id(name.as_bytes())).unwrap();
        assert_eq!(id("=stdin"), "stdin");
        assert_eq!(id("@dir/file.lua"), "dir/file.lua");
        assert_eq!(id("return 1"), "[string \"return 1\"]");
        assert_eq!(id("x = 1\ny = 2"), "[string \"x = 1...\"]");
        assert_eq!(id(""), "[string \"\"]");
        assert_eq!(id("a\0b"), "[string \"a");
        let long: String = ('0'..='9').cycle().take(100).collect();
        assert_eq!(id(&format!("={long}")), long[..59]);
        assert_eq!(id(&format!("@{long}")), format!("...{}", &long[44..]));
        assert_eq!(id(&long), format!("[string \"{}...\"]", &long[..45]));
        assert_eq!(id(&long[..44]), format!("[string \"{}\"]", &long[..44]));
        assert_eq!(id(&long[..45]), format!("[string \"{}...\"]", &long[..45]));
    }

    #[test]
    fn first_lines() {
        assert_eq!(skip_shebang(b"#!/usr/bin/lua\nx"), b"\nx");
        assert_eq!(skip_shebang(b"\xef\xbb\xbf# only"), b"");
        assert_eq!(skip_shebang(b"\xef\xbb\xbfx"), b"x");
        assert_eq!(skip_shebang(b"x\n#"), b"x\n#");
    }
}
