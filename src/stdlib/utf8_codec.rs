//! UTF-8 as Lua's `utf8` library has it: sequences of up to six bytes for values below 2^31, which
//! is the original definition; the strict form allows only Unicode scalar values.
//!
//! Positions are byte offsets counted from zero; nothing here requires a text to be well formed.

/// The largest value that can be encoded.
pub const MAX_CODE: u32 = 0x7fff_ffff;

/// `utf8.charpattern`.
pub const CHAR_PATTERN: &[u8] = b"[\0-\x7f\xc2-\xfd][\x80-\xbf]*";

/// The message for malformed text.
pub const INVALID: &str = "invalid UTF-8 code";

/// Whether a byte continues a sequence.
#[inline]
pub fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Decodes the sequence at the start of `text`, returning its value and length; `None` if it is
/// malformed, longer than needed, or (if `strict`) no Unicode scalar value.
#[inline]
pub fn decode(text: &[u8], strict: bool) -> Option<(u32, usize)> {
    let lead = *text.first()?;
    if lead < 0x80 {
        return Some((u32::from(lead), 1));
    }
    decode_sequence(text, lead, strict)
}

fn decode_sequence(text: &[u8], lead: u8, strict: bool) -> Option<(u32, usize)> {
    /// The least value that needs a sequence of two, three.. bytes.
    const LEAST: [u32; 5] = [0x80, 0x800, 0x1_0000, 0x20_0000, 0x400_0000];

    let length = lead.leading_ones() as usize;
    if !(2..=6).contains(&length) {
        return None;
    }
    let mut code = u32::from(lead) & (0x7f >> length);
    for &byte in text.get(1..length)? {
        if !is_continuation(byte) {
            return None;
        }
        code = code << 6 | u32::from(byte & 0x3f);
    }
    if code < LEAST[length - 2] || (strict && char::from_u32(code).is_none()) {
        return None;
    }
    Some((code, length))
}

/// Encodes `code`, at most [`MAX_CODE`], into the end of the buffer; returns the encoding.
pub fn encode(code: u32, buffer: &mut [u8; 6]) -> &[u8] {
    let mut rest = code;
    let mut start = buffer.len() - 1;
    if code < 0x80 {
        buffer[start] = code as u8;
        return &buffer[start..];
    }
    // The largest value that fits into the lead byte of a sequence as long as the one so far.
    let mut lead_max = 0x3f;
    while rest > lead_max && start > 0 {
        buffer[start] = 0x80 | (rest & 0x3f) as u8;
        start -= 1;
        rest >>= 6;
        lead_max >>= 1;
    }
    let marker = !(lead_max << 1 | 1) as u8;
    buffer[start] = marker | rest as u8;
    &buffer[start..]
}

/// How many characters start in `text[from..to]`, and where the last one ends; the position of the first malformed one as
/// the error. `to` is within the text.
pub fn count(text: &[u8], from: usize, to: usize, strict: bool) -> Result<(usize, usize), usize> {
    let mut at = from;
    let mut characters = 0;
    while at < to {
        let (_, length) = decode(&text[at..], strict).ok_or(at)?;
        at += length;
        characters += 1;
    }
    Ok((characters, at))
}

/// Steps the iteration of `utf8.codes`: the position and value of the first character after the one
/// that `after` (the previous position plus one, or zero to begin) points into; `Ok(None)` at the end.
///
/// # Errors
/// The text is malformed there; the message is [`INVALID`].
pub fn next_code(
    text: &[u8],
    after: usize,
    strict: bool,
) -> Result<Option<(usize, u32)>, MalformedText> {
    let Some(rest) = text.get(after..) else {
        return Ok(None);
    };
    let skipped = rest
        .iter()
        .take_while(|&&byte| is_continuation(byte))
        .count();
    let rest = &rest[skipped..];
    if rest.is_empty() {
        return Ok(None);
    }
    match decode(rest, strict) {
        Some((code, length)) if !rest.get(length).copied().is_some_and(is_continuation) => {
            Ok(Some((after + skipped, code)))
        }
        _ => Err(MalformedText),
    }
}

/// The text is not UTF-8 where it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedText;

/// The start position was inside a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsideCharacter;

/// Where the `n`-th character counted from position `from` (at most the text's length) starts, as
/// `utf8.offset` counts: 1 is the character at `from`, -1 the one before, 0 the one that contains
/// the byte at `from`. `None` if there is no such character.
///
/// # Errors
/// `n` is not zero and `from` is not the start of a character.
pub fn offset(text: &[u8], n: i64, from: usize) -> Result<Option<usize>, InsideCharacter> {
    let continues = |at: usize| text.get(at).copied().is_some_and(is_continuation);
    let mut at = from;
    if n == 0 {
        while at > 0 && continues(at) {
            at -= 1;
        }
        return Ok(Some(at));
    }
    if continues(at) {
        return Err(InsideCharacter);
    }
    if n < 0 {
        for _ in n..0 {
            if at == 0 {
                return Ok(None);
            }
            at -= 1;
            while at > 0 && continues(at) {
                at -= 1;
            }
        }
    } else {
        for _ in 1..n {
            if at >= text.len() {
                return Ok(None);
            }
            at += 1;
            while continues(at) {
                at += 1;
            }
        }
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_at_the_edges() {
        for bits in 0..=31 {
            for code in [(1u64 << bits) - 1, 1 << bits] {
                let code = (code as u32).min(MAX_CODE);
                let mut buffer = [0; 6];
                let text = encode(code, &mut buffer);
                assert_eq!(decode(text, false), Some((code, text.len())), "{code:#x}");
            }
        }
        let mut buffer = [0; 6];
        assert_eq!(encode('€' as u32, &mut buffer), "€".as_bytes());
    }

    #[test]
    fn malformed() {
        for bad in [
            &b""[..],
            b"\x80",
            b"\xc0\x80",
            b"\xe2\x82",
            b"\xff",
            b"\xfe\x80",
            b"\xc3(",
        ] {
            assert_eq!(decode(bad, false), None);
        }
        for lax in [&b"\xed\xa0\x80"[..], b"\xf4\x90\x80\x80"] {
            assert!(decode(lax, false).is_some() && decode(lax, true).is_none());
        }
    }

    #[test]
    fn offsets() {
        let text = "aé€".as_bytes();
        assert_eq!(offset(text, 3, 0), Ok(Some(3)));
        assert_eq!(offset(text, 4, 0), Ok(Some(6)));
        assert_eq!(offset(text, 5, 0), Ok(None));
        assert_eq!(offset(text, -1, 6), Ok(Some(3)));
        assert_eq!(offset(text, 0, 2), Ok(Some(1)));
        assert_eq!(offset(text, 1, 2), Err(InsideCharacter));
        assert_eq!(offset(text, i64::MIN, 6), Ok(None));
    }
}
