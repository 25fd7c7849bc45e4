//! The lexer: bytes to tokens, with one token of lookahead.
//!
//! Invariant: `token` is the current token, `line` the line up to which the text has been read
//! (the one messages name) and `last_line` that of the token before the current one (the one code
//! is attributed to). It also words all errors of the front end, since those quote tokens.
//! The parser owns it.

use super::strings::{RESERVED, StrId, Strings};
use super::{Fail, append, chunk_id, push};
use crate::heap::Meter;
use crate::runtime::number::{Numeral, parse_numeral};

/// The kinds of tokens. The keywords come first, in the order of [`RESERVED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tok {
    And,
    Break,
    Do,
    Else,
    Elseif,
    End,
    False,
    For,
    Function,
    Goto,
    If,
    In,
    Local,
    Nil,
    Not,
    Or,
    Repeat,
    Return,
    Then,
    True,
    Until,
    While,
    Concat,
    Dots,
    Equal,
    GreaterEqual,
    LessEqual,
    NotEqual,
    ShiftLeft,
    ShiftRight,
    FloorDivide,
    DoubleColon,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Caret,
    Hash,
    Ampersand,
    Tilde,
    Pipe,
    Less,
    Greater,
    Assign,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Semicolon,
    Colon,
    Comma,
    Dot,
    Name,
    String,
    Int,
    Float,
    Eof,
    /// A byte that starts no token.
    Unknown,
}

/// The number of token kinds.
pub(super) const TOKEN_KINDS: usize = Tok::Unknown as usize + 1;

const KEYWORDS: [Tok; RESERVED.len()] = {
    use Tok::*;
    [
        And, Break, Do, Else, Elseif, End, False, For, Function, Goto, If, In, Local, Nil, Not, Or,
        Repeat, Return, Then, True, Until, While,
    ]
};

impl Tok {
    /// How messages show the token, for those whose text is fixed.
    fn text(self) -> &'static str {
        match self {
            Tok::Concat => "..",
            Tok::Dots => "...",
            Tok::Equal => "==",
            Tok::GreaterEqual => ">=",
            Tok::LessEqual => "<=",
            Tok::NotEqual => "~=",
            Tok::ShiftLeft => "<<",
            Tok::ShiftRight => ">>",
            Tok::FloorDivide => "//",
            Tok::DoubleColon => "::",
            Tok::Plus => "+",
            Tok::Minus => "-",
            Tok::Star => "*",
            Tok::Slash => "/",
            Tok::Percent => "%",
            Tok::Caret => "^",
            Tok::Hash => "#",
            Tok::Ampersand => "&",
            Tok::Tilde => "~",
            Tok::Pipe => "|",
            Tok::Less => "<",
            Tok::Greater => ">",
            Tok::Assign => "=",
            Tok::LeftParen => "(",
            Tok::RightParen => ")",
            Tok::LeftBrace => "{",
            Tok::RightBrace => "}",
            Tok::LeftBracket => "[",
            Tok::RightBracket => "]",
            Tok::Semicolon => ";",
            Tok::Colon => ":",
            Tok::Comma => ",",
            Tok::Dot => ".",
            Tok::Name => "<name>",
            Tok::String => "<string>",
            Tok::Int => "<integer>",
            Tok::Float => "<number>",
            Tok::Eof => "<eof>",
            Tok::Unknown => "?",
            keyword => RESERVED[keyword as usize],
        }
    }

    /// The token in the words of a message: quoted, unless it names a class of tokens.
    pub(super) fn describe(self) -> String {
        match self {
            Tok::Name | Tok::String | Tok::Int | Tok::Float | Tok::Eof => self.text().into(),
            _ => format!("'{}'", self.text()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Tok,
    /// Where the token's text is in the source.
    start: u32,
    end: u32,
    /// The string id, the integer, the float's bits or the unknown byte.
    value: u64,
}

impl Token {
    /// The id of a name or string.
    pub(super) fn string(self) -> StrId {
        StrId(self.value as u32)
    }

    /// The value of an integer.
    pub(super) fn int(self) -> i64 {
        self.value as i64
    }

    /// The value of a float.
    pub(super) fn float(self) -> f64 {
        f64::from_bits(self.value)
    }
}

const SPACE: u8 = 1;
const NEWLINE: u8 = 2;
const LETTER: u8 = 4;
const DIGIT: u8 = 8;
const HEX: u8 = 16;
/// Bytes that end the plain part of a quoted string.
const QUOTED: u8 = 32;
const WORD: u8 = LETTER | DIGIT;

/// The classes of each byte, which unlike C's do not depend on a locale.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let c = i as u8;
        table[i] = match c {
            b'\n' | b'\r' => NEWLINE | QUOTED,
            b' ' | b'\t' | 0x0b | 0x0c => SPACE,
            b'a'..=b'f' | b'A'..=b'F' => LETTER | HEX,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => LETTER,
            b'0'..=b'9' => DIGIT | HEX,
            b'"' | b'\'' | b'\\' => QUOTED,
            _ => 0,
        };
        i += 1;
    }
    table
};

fn is(c: u8, class: u8) -> bool {
    CLASS[c as usize] & class != 0
}

/// What an error message quotes.
enum Near<'a> {
    Nothing,
    Eof,
    Text(&'a [u8]),
}

/// How many bytes are read between two polls.
const POLL_DISTANCE: usize = 1 << 13;

pub(super) struct Lexer<'s> {
    source: &'s [u8],
    /// The next byte to read.
    pos: usize,
    /// Where to poll next.
    poll_at: usize,
    pub(super) line: u32,
    pub(super) last_line: u32,
    pub(super) token: Token,
    ahead: Option<Token>,
    pub(super) strings: Strings,
    /// The decoded text of the string being read.
    buffer: Vec<u8>,
    chunk_name: &'s [u8],
    /// What all memory of the front end is taken from.
    pub(super) meter: &'s Meter<'s>,
    /// The message of the error on its way out.
    message: Vec<u8>,
}

impl<'s> Lexer<'s> {
    /// A lexer before the first token: [`Lexer::advance`] reads it.
    pub(super) fn new(source: &'s [u8], chunk_name: &'s [u8], meter: &'s Meter<'s>) -> Result<Lexer<'s>, Fail> {
        if source.len() >= u32::MAX as usize {
            return Err(Fail::OutOfMemory);
        }
        let start = Token {
            kind: Tok::Eof,
            start: 0,
            end: 0,
            value: 0,
        };
        Ok(Lexer {
            source,
            pos: 0,
            poll_at: POLL_DISTANCE,
            line: 1,
            last_line: 1,
            token: start,
            ahead: None,
            strings: Strings::new(meter)?,
            buffer: Vec::new(),
            chunk_name,
            meter,
            message: Vec::new(),
        })
    }

    /// Makes the next token the current one.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<(), Fail> {
        self.last_line = self.line;
        self.token = match self.ahead.take() {
            Some(token) => token,
            None => self.scan()?,
        };
        Ok(())
    }

    /// The kind of the token after the current one.
    pub(super) fn peek(&mut self) -> Result<Tok, Fail> {
        let token = self.scan()?;
        self.ahead = Some(token);
        Ok(token.kind)
    }

    /// The strings, when all has been read.
    pub(super) fn finish(self) -> Strings {
        self.meter.free(self.buffer);
        self.strings
    }

    /// The message of the last failure.
    pub(super) fn take_message(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.message)
    }

    /// An error at the current token, which the message quotes.
    #[cold]
    pub(super) fn syntax_error(&mut self, message: &[u8]) -> Fail {
        let token = self.token;
        let raw = &self.source[token.start as usize..token.end as usize];
        let mut text = Vec::new();
        let built = match token.kind {
            Tok::Eof => return self.error(message, Near::Eof),
            Tok::String => self.string_text(token, &mut text),
            Tok::Unknown => match token.value as u8 {
                0 => return self.error(message, Near::Nothing),
                c @ 0x20..=0x7e => append(self.meter, &mut text, &[c]),
                c => append(self.meter, &mut text, format!("<\\{c}>").as_bytes()),
            },
            _ => append(self.meter, &mut text, raw),
        };
        match built {
            Ok(()) => self.error(message, Near::Text(&text)),
            Err(fail) => fail,
        }
    }

    /// An error that concerns no particular token.
    #[cold]
    pub(super) fn semantic_error(&mut self, message: &[u8]) -> Fail {
        self.error(message, Near::Nothing)
    }

    /// An error without a position.
    #[cold]
    pub(super) fn plain_error(&mut self, message: &[u8]) -> Fail {
        self.message = message.to_vec();
        Fail::Malformed
    }

    /// A string token as messages quote it: decoded, between its delimiters.
    fn string_text(&self, token: Token, text: &mut Vec<u8>) -> Result<(), Fail> {
        let source = &self.source[token.start as usize..];
        let opening = match source[0] {
            b'[' => {
                let level = source[1..].iter().take_while(|&&c| c == b'=').count();
                &source[..level + 2]
            }
            _ => &source[..1],
        };
        append(self.meter, text, opening)?;
        append(self.meter, text, self.strings.get(token.string()))?;
        for &c in opening {
            push(self.meter, text, if c == b'[' { b']' } else { c })?;
        }
        Ok(())
    }

    #[cold]
    fn error(&mut self, message: &[u8], near: Near) -> Fail {
        match self.word_error(message, near) {
            Ok(()) => Fail::Malformed,
            Err(fail) => fail,
        }
    }

    fn word_error(&mut self, message: &[u8], near: Near) -> Result<(), Fail> {
        let mut text = chunk_id(self.chunk_name);
        append(self.meter, &mut text, format!(":{}: ", self.line).as_bytes())?;
        append(self.meter, &mut text, message)?;
        match near {
            Near::Nothing => {}
            Near::Eof => append(self.meter, &mut text, b" near <eof>")?,
            Near::Text(token) => {
                // Lua prints token texts as C strings.
                let end = token.iter().position(|&c| c == 0).unwrap_or(token.len());
                append(self.meter, &mut text, b" near '")?;
                append(self.meter, &mut text, &token[..end])?;
                append(self.meter, &mut text, b"'")?;
            }
        }
        self.message = text;
        Ok(())
    }

    fn current(&self) -> Option<u8> {
        self.source.get(self.pos).copied()
    }

    /// Moves on if the next byte is `c`.
    fn accept(&mut self, c: u8) -> bool {
        let found = self.current() == Some(c);
        self.pos += found as usize;
        found
    }

    /// Lets the VM be stopped, if there has been no opportunity for long.
    #[inline]
    fn poll(&mut self) -> Result<(), Fail> {
        if self.pos >= self.poll_at {
            self.poll_at = self.pos + POLL_DISTANCE;
            self.meter.poll()?;
        }
        Ok(())
    }

    /// The bytes to come, as many as may be read without a poll, and whether these are all.
    #[inline]
    fn piece(&self) -> (&'s [u8], bool) {
        let rest = &self.source[self.pos..];
        let len = rest.len().min(POLL_DISTANCE);
        (&rest[..len], len == rest.len())
    }

    /// Moves on to the next byte that is in `class`, or not in it, or to the end.
    #[inline]
    fn find(&mut self, class: u8, wanted: bool) -> Result<(), Fail> {
        loop {
            let (piece, last) = self.piece();
            let found = piece.iter().position(|&c| is(c, class) == wanted);
            self.pos += found.unwrap_or(piece.len());
            if found.is_some() || last {
                return Ok(());
            }
            self.poll()?;
        }
    }

    /// Moves on while the next byte is in `class`.
    #[inline]
    fn skip(&mut self, class: u8) -> Result<(), Fail> {
        self.find(class, false)
    }

    fn token(&self, kind: Tok, start: usize, value: u64) -> Token {
        Token {
            kind,
            start: start as u32,
            end: self.pos as u32,
            value,
        }
    }

    /// Goes past a line end, given its first byte, which has been read.
    fn line_end(&mut self, first: u8) -> Result<(), Fail> {
        if let Some(second @ (b'\n' | b'\r')) = self.current()
            && second != first
        {
            self.pos += 1;
        }
        self.line += 1;
        if self.line >= i32::MAX as u32 {
            return Err(self.error(b"chunk has too many lines", Near::Nothing));
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<Token, Fail> {
        loop {
            self.poll()?;
            let start = self.pos;
            let Some(c) = self.current() else {
                return Ok(self.token(Tok::Eof, start, 0));
            };
            self.pos += 1;
            let kind = match c {
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => return self.word(start),
                b' ' | b'\t' | 0x0b | 0x0c => {
                    self.skip(SPACE)?;
                    continue;
                }
                b'\n' | b'\r' => {
                    self.line_end(c)?;
                    continue;
                }
                b'0'..=b'9' => return self.numeral(start),
                b'"' | b'\'' => return self.quoted(start, c),
                b'-' if self.accept(b'-') => {
                    self.comment()?;
                    continue;
                }
                b'[' => match self.long_bracket(start) {
                    Some(level) => {
                        let id = self.long_string(start, level, "string")?;
                        return Ok(self.token(Tok::String, start, id.0 as u64));
                    }
                    None if self.pos == start + 1 => Tok::LeftBracket,
                    None => {
                        let text = &self.source[start..self.pos];
                        return Err(self.error(b"invalid long string delimiter", Near::Text(text)));
                    }
                },
                b'.' => match self.current() {
                    Some(b'.') => {
                        self.pos += 1;
                        if self.accept(b'.') {
                            Tok::Dots
                        } else {
                            Tok::Concat
                        }
                    }
                    Some(b'0'..=b'9') => return self.numeral(start),
                    _ => Tok::Dot,
                },
                b'=' if self.accept(b'=') => Tok::Equal,
                b'<' if self.accept(b'=') => Tok::LessEqual,
                b'<' if self.accept(b'<') => Tok::ShiftLeft,
                b'>' if self.accept(b'=') => Tok::GreaterEqual,
                b'>' if self.accept(b'>') => Tok::ShiftRight,
                b'/' if self.accept(b'/') => Tok::FloorDivide,
                b'~' if self.accept(b'=') => Tok::NotEqual,
                b':' if self.accept(b':') => Tok::DoubleColon,
                b'=' => Tok::Assign,
                b'<' => Tok::Less,
                b'>' => Tok::Greater,
                b'/' => Tok::Slash,
                b'~' => Tok::Tilde,
                b':' => Tok::Colon,
                b'-' => Tok::Minus,
                b'+' => Tok::Plus,
                b'*' => Tok::Star,
                b'%' => Tok::Percent,
                b'^' => Tok::Caret,
                b'#' => Tok::Hash,
                b'&' => Tok::Ampersand,
                b'|' => Tok::Pipe,
                b'(' => Tok::LeftParen,
                b')' => Tok::RightParen,
                b'{' => Tok::LeftBrace,
                b'}' => Tok::RightBrace,
                b']' => Tok::RightBracket,
                b';' => Tok::Semicolon,
                b',' => Tok::Comma,
                _ => return Ok(self.token(Tok::Unknown, start, c as u64)),
            };
            return Ok(self.token(kind, start, 0));
        }
    }

    fn word(&mut self, start: usize) -> Result<Token, Fail> {
        self.skip(WORD)?;
        let id = self.strings.intern(self.meter, &self.source[start..self.pos])?;
        let kind = match KEYWORDS.get(id.index()) {
            Some(&keyword) => keyword,
            None => Tok::Name,
        };
        Ok(self.token(kind, start, id.0 as u64))
    }

    fn numeral(&mut self, start: usize) -> Result<Token, Fail> {
        self.pos = start;
        self.skip(DIGIT)?;
        let digits = &self.source[start..self.pos];
        let plain = !matches!(self.current(), Some(c) if c == b'.' || is(c, LETTER));
        if plain && digits.len() <= 18 {
            // Fits without overflow check.
            let add = |value, &digit: &u8| value * 10 + (digit - b'0') as u64;
            let value = digits.iter().fold(0, add);
            return Ok(self.token(Tok::Int, start, value));
        }
        // A point in front is not looked at: `.0x` begins a hexadecimal numeral, even if a malformed one.
        let first = start + (self.source[start] == b'.') as usize;
        self.pos = first + 1;
        let is_hex = self.source[first] == b'0' && matches!(self.current(), Some(b'x' | b'X'));
        self.pos += is_hex as usize;
        let exponent = if is_hex { b'p' } else { b'e' };
        while let Some(c) = self.current() {
            self.poll()?;
            if c | 0x20 == exponent {
                self.pos += 1;
                if matches!(self.current(), Some(b'-' | b'+')) {
                    self.pos += 1;
                }
            } else if c == b'.' || is(c, HEX) {
                self.pos += 1;
            } else {
                // A letter that touches a numeral makes it malformed.
                self.pos += is(c, LETTER) as usize;
                break;
            }
        }
        let text = &self.source[start..self.pos];
        match parse_numeral(text) {
            Some(Numeral::Int(value)) => Ok(self.token(Tok::Int, start, value as u64)),
            Some(Numeral::Float(value)) => Ok(self.token(Tok::Float, start, value.to_bits())),
            None => Err(self.error(b"malformed number", Near::Text(text))),
        }
    }

    /// Skips a comment, whose two dashes have been read.
    fn comment(&mut self) -> Result<(), Fail> {
        let start = self.pos;
        if self.accept(b'[')
            && let Some(level) = self.long_bracket(start)
        {
            self.long_text(level, "comment")?;
            return Ok(());
        }
        self.find(NEWLINE, true)
    }

    /// Reads the rest of a long opening bracket, whose first byte is at `start`, and returns its
    /// level. Without a second bracket, stops behind the equals signs.
    fn long_bracket(&mut self, start: usize) -> Option<usize> {
        while self.accept(b'=') {}
        let level = self.pos - start - 1;
        self.accept(b'[').then_some(level)
    }

    fn long_string(&mut self, start: usize, level: usize, what: &str) -> Result<StrId, Fail> {
        let has_returns = self.long_text(level, what)?;
        let delimiter = level + 2;
        let mut text = &self.source[start + delimiter..self.pos - delimiter];
        text = match text {
            [b'\r', b'\n', rest @ ..] | [b'\n', b'\r', rest @ ..] => rest,
            [b'\r' | b'\n', rest @ ..] => rest,
            _ => text,
        };
        if !has_returns {
            return self.strings.intern(self.meter, text);
        }
        self.buffer.clear();
        while let [c, rest @ ..] = text {
            text = rest;
            if !is(*c, NEWLINE) {
                push(self.meter, &mut self.buffer, *c)?;
                continue;
            }
            push(self.meter, &mut self.buffer, b'\n')?;
            if let [second @ (b'\n' | b'\r'), rest @ ..] = text
                && second != c
            {
                text = rest;
            }
        }
        self.strings.intern(self.meter, &self.buffer)
    }

    /// Goes past a long bracket's closing bracket, counting lines. Returns whether there were
    /// carriage returns in between.
    fn long_text(&mut self, level: usize, what: &str) -> Result<bool, Fail> {
        let first_line = self.line;
        let mut has_returns = false;
        while let Some(c) = self.current() {
            self.poll()?;
            self.pos += 1;
            match c {
                b']' => {
                    let rest = &self.source[self.pos..];
                    let signs = rest.iter().take_while(|&&c| c == b'=').count();
                    self.pos += signs;
                    if signs == level && self.accept(b']') {
                        return Ok(has_returns);
                    }
                }
                b'\n' | b'\r' => {
                    let start = self.pos - 1;
                    self.line_end(c)?;
                    has_returns |= self.source[start..self.pos].contains(&b'\r');
                }
                _ => {}
            }
        }
        let message = format!("unfinished long {what} (starting at line {first_line})");
        Err(self.error(message.as_bytes(), Near::Eof))
    }

    /// Reads a quoted string, whose opening quote has been read.
    #[inline]
    fn quoted(&mut self, start: usize, quote: u8) -> Result<Token, Fail> {
        let (piece, _) = self.piece();
        let plain = piece.iter().position(|&c| is(c, QUOTED));
        if let Some(len) = plain
            && piece[len] == quote
        {
            self.pos += len + 1;
            let id = self.strings.intern(self.meter, &piece[..len])?;
            return Ok(self.token(Tok::String, start, id.0 as u64));
        }
        self.quoted_slow(start, quote)
    }

    /// Reads a quoted string with escapes, the other quote, or an error in it.
    fn quoted_slow(&mut self, start: usize, quote: u8) -> Result<Token, Fail> {
        self.buffer.clear();
        loop {
            self.poll()?;
            let (piece, last) = self.piece();
            let len = piece.iter().position(|&c| is(c, QUOTED));
            append(self.meter, &mut self.buffer, &piece[..len.unwrap_or(piece.len())])?;
            self.pos += len.unwrap_or(piece.len());
            if len.is_none() && !last {
                continue;
            }
            match self.current() {
                None => return Err(self.error(b"unfinished string", Near::Eof)),
                Some(c) if c == quote => {
                    self.pos += 1;
                    let id = self.strings.intern(self.meter, &self.buffer)?;
                    return Ok(self.token(Tok::String, start, id.0 as u64));
                }
                Some(b'\\') => self.escape(quote)?,
                Some(b'\n' | b'\r') => {
                    return Err(self.string_error(b"unfinished string", quote, self.pos));
                }
                Some(other_quote) => {
                    push(self.meter, &mut self.buffer, other_quote)?;
                    self.pos += 1;
                }
            }
        }
    }

    /// Decodes the escape sequence at the current position.
    fn escape(&mut self, quote: u8) -> Result<(), Fail> {
        let start = self.pos;
        self.pos += 1;
        let Some(c) = self.current() else {
            // The caller reports the unfinished string.
            return Ok(());
        };
        self.pos += 1;
        let byte = match c {
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'\\' | b'"' | b'\'' => c,
            b'\n' | b'\r' => {
                self.line_end(c)?;
                b'\n'
            }
            b'x' => {
                let high = self.hex_digit(quote, start)?;
                (high << 4 | self.hex_digit(quote, start)?) as u8
            }
            b'z' => {
                while let Some(c) = self.current() {
                    self.poll()?;
                    if is(c, NEWLINE) {
                        self.pos += 1;
                        self.line_end(c)?;
                    } else if is(c, SPACE) {
                        self.pos += 1;
                    } else {
                        break;
                    }
                }
                return Ok(());
            }
            b'u' => return self.utf8_escape(quote, start),
            b'0'..=b'9' => {
                let mut value = (c - b'0') as u32;
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'9') = self.current() else {
                        break;
                    };
                    value = value * 10 + (digit - b'0') as u32;
                    self.pos += 1;
                }
                match u8::try_from(value) {
                    Ok(byte) => byte,
                    Err(_) => {
                        return Err(self.escape_error(b"decimal escape too large", quote, start));
                    }
                }
            }
            _ => {
                self.pos -= 1;
                return Err(self.escape_error(b"invalid escape sequence", quote, start));
            }
        };
        push(self.meter, &mut self.buffer, byte)
    }

    fn hex_digit(&mut self, quote: u8, escape: usize) -> Result<u32, Fail> {
        match self.current().and_then(|c| (c as char).to_digit(16)) {
            Some(digit) => {
                self.pos += 1;
                Ok(digit)
            }
            None => Err(self.escape_error(b"hexadecimal digit expected", quote, escape)),
        }
    }

    /// Decodes the rest of `\u{...}`: any value below 2^31, in UTF-8's original form of up to six
    /// bytes.
    fn utf8_escape(&mut self, quote: u8, escape: usize) -> Result<(), Fail> {
        if !self.accept(b'{') {
            return Err(self.escape_error(b"missing '{'", quote, escape));
        }
        let mut value = self.hex_digit(quote, escape)?;
        while let Some(digit) = self.current().and_then(|c| (c as char).to_digit(16)) {
            self.poll()?;
            if value > 0x7fff_ffff >> 4 {
                return Err(self.escape_error(b"UTF-8 value too large", quote, escape));
            }
            value = value << 4 | digit;
            self.pos += 1;
        }
        if !self.accept(b'}') {
            return Err(self.escape_error(b"missing '}'", quote, escape));
        }
        if value < 0x80 {
            return push(self.meter, &mut self.buffer, value as u8);
        }
        // A sequence of n bytes has 5n + 1 bits of payload.
        let continuations = (1..5).find(|n| value >> (5 * n + 6) == 0).unwrap_or(5);
        let marker = 0xff80u32 >> continuations;
        push(
            self.meter, &mut self.buffer,
            (marker | value >> (6 * continuations)) as u8,
        )?;
        for n in (0..continuations).rev() {
            push(self.meter, &mut self.buffer, 0x80 | (value >> (6 * n) & 0x3f) as u8)?;
        }
        Ok(())
    }

    /// An error in the escape sequence that starts at `escape`; the byte at the current position
    /// is the offending one.
    #[cold]
    fn escape_error(&mut self, message: &[u8], quote: u8, escape: usize) -> Fail {
        let end = (self.pos + 1).min(self.source.len());
        let source = self.source;
        match append(self.meter, &mut self.buffer, &source[escape..end]) {
            Ok(()) => self.string_error(message, quote, end),
            Err(fail) => fail,
        }
    }

    /// An error in a quoted string, of which `buffer` holds what is to be quoted.
    #[cold]
    fn string_error(&mut self, message: &[u8], quote: u8, end: usize) -> Fail {
        self.pos = end;
        let mut text = Vec::new();
        match append(self.meter, &mut text, &[quote]).and_then(|()| append(self.meter, &mut text, &self.buffer)) {
            Ok(()) => self.error(message, Near::Text(&text)),
            Err(fail) => fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(source: &str) -> Vec<Vec<u8>> {
        let meter = Meter::new(&mut crate::heap::Heap::new());
        let mut lexer = Lexer::new(source.as_bytes(), b"=test", &meter).unwrap();
        let mut found = Vec::new();
        loop {
            lexer.advance().unwrap();
            match lexer.token.kind {
                Tok::Eof => return found,
                Tok::String => found.push(lexer.strings.get(lexer.token.string()).to_vec()),
                kind => panic!("unexpected {kind:?}"),
            }
        }
    }

    fn numeral(source: &str) -> Token {
        let meter = Meter::new(&mut crate::heap::Heap::new());
        let mut lexer = Lexer::new(source.as_bytes(), b"=test", &meter).unwrap();
        lexer.advance().unwrap();
        lexer.token
    }

    #[test]
    fn escapes() {
        assert_eq!(
            strings(
                r#" "a\n\t\\\"\'\65\x41\z   b" '"' '\
' "#
            ),
            [b"a\n\t\\\"'AAb".to_vec(), b"\"".to_vec(), b"\n".to_vec()]
        );
        assert_eq!(strings(r#""\u{41}\u{7FF}""#), ["A\u{7ff}".as_bytes()]);
        assert_eq!(
            strings(r#""\u{20AC}\u{10FFFF}""#),
            ["€\u{10ffff}".as_bytes()]
        );
        assert_eq!(
            strings(r#""\u{7FFFFFFF}\u{200000}""#),
            [b"\xfd\xbf\xbf\xbf\xbf\xbf\xf8\x88\x80\x80\x80".to_vec()]
        );
    }

    #[test]
    fn long_strings() {
        assert_eq!(
            strings("[[\na\r\nb\n\rc\rd]] [==[\r\n]]]=]]==] [[]] --[[ x ]] [=[[]=]"),
            [&b"a\nb\nc\nd"[..], b"]]]=]", b"", b"["]
        );
    }

    #[test]
    fn numerals() {
        let int = |source| {
            let token = numeral(source);
            assert_eq!(token.kind, Tok::Int);
            token.int()
        };
        let float = |source| {
            let token = numeral(source);
            assert_eq!(token.kind, Tok::Float);
            token.float()
        };
        assert_eq!(int("3"), 3);
        assert_eq!(int("0xff"), 255);
        assert_eq!(int("9223372036854775807"), i64::MAX);
        assert_eq!(int("0xffffffffffffffff"), -1);
        assert_eq!(float("9223372036854775808"), 9223372036854775808.0);
        assert_eq!(float("3e2"), 300.0);
        assert_eq!(float(".5"), 0.5);
        assert_eq!(float("0x.8p1"), 1.0);
    }

    #[test]
    fn every_keyword_has_its_token() {
        for (word, token) in RESERVED.iter().zip(KEYWORDS) {
            assert_eq!(numeral(word).kind, token);
            assert_eq!(token.text(), *word);
        }
    }
}
