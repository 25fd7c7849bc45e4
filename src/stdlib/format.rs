//! `string.format` without a VM: reading conversion specifications and rendering single values.
//!
//! The output is that of C's `printf` in the C locale, byte for byte. Fetching and converting
//! arguments is the caller's business, and so is the order of its errors: [`Item::parse`] finds out
//! which conversion is asked for, [`Item::spec`] checks its flags, width and precision.
//!
//! Invariant: a [`Spec`] exists only for a conversion Lua knows, with modifiers it accepts, so that
//! rendering fails only for lack of memory and a numeric result fits into [`ROOM`].

use std::collections::TryReserveError;
use std::fmt::{self, Write};

use crate::runtime::decimal;
use crate::runtime::number::{
    FixedText, NumberBuffer, Numeral, format_int, parse_numeral, write_digits_before,
};

/// More than any number takes: 309 digits before the point and 99 after, sign and point.
const ROOM: usize = 512;

/// The longest item including the percent sign; longer ones cannot be valid.
const MAX_ITEM: usize = 22;

/// Why a conversion specification is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    TooLong,
    /// No such conversion.
    UnknownConversion(ItemText),
    /// The conversion does not take these flags, this width or this precision.
    BadModifiers(ItemText),
    /// `%q` takes none.
    QuoteModifiers,
}

impl FormatError {
    /// The message Lua reports. It quotes the format, so it need not be valid UTF-8.
    pub fn message(&self) -> Vec<u8> {
        match self {
            FormatError::TooLong => b"invalid format (too long)".to_vec(),
            FormatError::UnknownConversion(item) => {
                [b"invalid conversion '%", item.as_bytes(), b"' to 'format'"].concat()
            }
            FormatError::BadModifiers(item) => [
                b"invalid conversion specification: '%",
                item.as_bytes(),
                b"'",
            ]
            .concat(),
            FormatError::QuoteModifiers => b"specifier '%q' cannot have modifiers".to_vec(),
        }
    }
}

/// An item as it was written, without the percent sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemText {
    bytes: [u8; MAX_ITEM],
    length: usize,
}

impl ItemText {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A conversion item of a format string, not yet checked.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    modifiers: &'a [u8],
    /// The character that selects the conversion, or zero at the end of the format.
    pub conversion: u8,
}

impl<'a> Item<'a> {
    /// Reads an item from what follows a percent sign (other than in `%%`); returns it with its
    /// length.
    pub fn parse(rest: &'a [u8]) -> Result<(Item<'a>, usize), FormatError> {
        let is_modifier = |byte: &&u8| matches!(byte, b'-' | b'+' | b'#' | b' ' | b'.' | b'0'..=b'9');
        let length = rest.iter().take_while(is_modifier).count();
        if length + 1 >= MAX_ITEM {
            return Err(FormatError::TooLong);
        }
        let item = Item {
            modifiers: &rest[..length],
            conversion: rest.get(length).copied().unwrap_or(0),
        };
        Ok((item, rest.len().min(length + 1)))
    }

    /// Whether anything stands between the percent sign and the conversion character.
    pub fn has_modifiers(&self) -> bool {
        !self.modifiers.is_empty()
    }

    /// Checks the item.
    ///
    /// # Errors
    /// The conversion does not exist, or does not take the modifiers given.
    pub fn spec(&self) -> Result<Spec, FormatError> {
        let (flags, takes_precision): (&[u8], bool) = match self.conversion {
            b'd' | b'i' => (b"-+0 ", true),
            b'u' => (b"-0", true),
            b'o' | b'x' | b'X' => (b"-#0", true),
            b'a' | b'A' | b'e' | b'E' | b'f' | b'g' | b'G' => (b"-+#0 ", true),
            b's' => (b"-", true),
            b'c' | b'p' => (b"-", false),
            b'q' if self.has_modifiers() => return Err(FormatError::QuoteModifiers),
            b'q' => (b"", false),
            _ => return Err(FormatError::UnknownConversion(self.text())),
        };
        let mut spec = Spec::plain(self.conversion);
        let mut rest = self.modifiers;
        if rest.is_empty() {
            return Ok(spec);
        }
        while let [flag, tail @ ..] = rest
            && flags.iter().any(|known| known == flag)
        {
            match flag {
                b'-' => spec.left = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                b'#' => spec.alternate = true,
                _ => spec.zero = true,
            }
            rest = tail;
        }
        // A zero here is a flag the conversion does not take.
        if rest.first() != Some(&b'0') {
            spec.width = two_digits(&mut rest);
            if let [b'.', tail @ ..] = rest
                && takes_precision
            {
                rest = tail;
                spec.precision = Some(two_digits(&mut rest));
            }
        }
        if rest.is_empty() {
            Ok(spec)
        } else {
            Err(FormatError::BadModifiers(self.text()))
        }
    }

    fn text(&self) -> ItemText {
        let mut text = ItemText {
            bytes: [0; MAX_ITEM],
            length: self.modifiers.len(),
        };
        text.bytes[..text.length].copy_from_slice(self.modifiers);
        // Messages end at a zero byte.
        if self.conversion != 0 {
            text.bytes[text.length] = self.conversion;
            text.length += 1;
        }
        text
    }
}

/// Reads up to two digits.
fn two_digits(text: &mut &[u8]) -> usize {
    let mut value = 0;
    for _ in 0..2 {
        let [digit @ b'0'..=b'9', rest @ ..] = *text else {
            break;
        };
        value = value * 10 + usize::from(digit - b'0');
        *text = rest;
    }
    value
}

/// A checked conversion specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    conversion: u8,
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    /// The least number of bytes, 0 to 99.
    width: usize,
    /// 0 to 99.
    precision: Option<usize>,
}

impl Spec {
    /// Without modifiers.
    const fn plain(conversion: u8) -> Spec {
        Spec {
            conversion,
            left: false,
            plus: false,
            space: false,
            alternate: false,
            zero: false,
            width: 0,
            precision: None,
        }
    }

    fn sign(&self, negative: bool) -> &'static [u8] {
        match () {
            _ if negative => b"-",
            _ if self.plus => b"+",
            _ if self.space => b" ",
            _ => b"",
        }
    }

    /// Pads what was appended since `start` to the width; zeros go after `prefix` bytes. The caller
    /// has reserved room.
    fn pad(&self, out: &mut Vec<u8>, start: usize, prefix: usize, zero: bool) {
        let missing = self.width.saturating_sub(out.len() - start);
        if missing == 0 {
            return;
        }
        let (at, byte) = match (self.left, zero) {
            (true, _) => (out.len(), b' '),
            (false, true) => (start + prefix, b'0'),
            (false, false) => (start, b' '),
        };
        insert(out, at, missing, byte);
    }
}

/// Inserts `count` copies of `byte` at `at`.
fn insert(out: &mut Vec<u8>, at: usize, count: usize, byte: u8) {
    out.resize(out.len() + count, byte);
    out[at..].rotate_right(count);
}

/// Appends an integer: conversions `d i u o x X`.
pub fn format_int_spec(out: &mut Vec<u8>, spec: &Spec, value: i64) -> Result<(), TryReserveError> {
    out.try_reserve(ROOM)?;
    let start = out.len();
    let mut digits = [0; 24];
    let mut first = digits.len();
    let signed = matches!(spec.conversion, b'd' | b'i');
    if signed {
        out.extend_from_slice(spec.sign(value < 0));
    }
    let radix_bits = match spec.conversion {
        b'o' => 3,
        b'x' | b'X' => 4,
        _ => 0,
    };
    if radix_bits == 0 {
        let magnitude = if signed {
            value.unsigned_abs()
        } else {
            value as u64
        };
        first = write_digits_before(magnitude, &mut digits, first);
    } else {
        let table = hex_digits(spec.conversion);
        let mut rest = value as u64;
        loop {
            first -= 1;
            digits[first] = table[(rest & ((1 << radix_bits) - 1)) as usize];
            rest >>= radix_bits;
            if rest == 0 {
                break;
            }
        }
        if spec.alternate && radix_bits == 4 && value != 0 {
            out.extend_from_slice(&[b'0', spec.conversion]);
        }
    }
    let mut digits = &digits[first..];
    if value == 0 && spec.precision == Some(0) {
        digits = &[];
    }
    let prefix = out.len() - start;
    let mut least = spec.precision.unwrap_or(0);
    if spec.alternate && radix_bits == 3 && digits != b"0" {
        least = least.max(digits.len() + 1);
    }
    let zeros = least.saturating_sub(digits.len());
    out.resize(out.len() + zeros, b'0');
    out.extend_from_slice(digits);
    spec.pad(out, start, prefix, spec.zero && spec.precision.is_none());
    Ok(())
}

/// Appends a byte: conversion `c`.
pub fn format_char_spec(out: &mut Vec<u8>, spec: &Spec, byte: u8) -> Result<(), TryReserveError> {
    format_str_spec(out, spec, &[byte])
}

/// Appends a string: conversion `s`. With modifiers, the caller has made sure that the string has no
/// zero bytes.
pub fn format_str_spec(out: &mut Vec<u8>, spec: &Spec, text: &[u8]) -> Result<(), TryReserveError> {
    let text = match spec.precision {
        Some(precision) if precision < text.len() => &text[..precision],
        _ => text,
    };
    out.try_reserve(text.len().max(spec.width))?;
    let start = out.len();
    out.extend_from_slice(text);
    spec.pad(out, start, 0, false);
    Ok(())
}

/// Appends an address: conversion `p`; `None` for values without identity.
pub fn format_pointer_spec(
    out: &mut Vec<u8>,
    spec: &Spec,
    address: Option<usize>,
) -> Result<(), TryReserveError> {
    let mut text = FixedText::<32>::default();
    // An address takes at most 18 bytes.
    let _ = match address {
        Some(address) => write!(text, "{address:#x}"),
        None => text.write_str("(null)"),
    };
    format_str_spec(out, spec, text.as_bytes())
}

/// Appends a float: conversions `a A e E f g G`.
pub fn format_float_spec(
    out: &mut Vec<u8>,
    spec: &Spec,
    value: f64,
) -> Result<(), TryReserveError> {
    out.try_reserve(ROOM)?;
    let start = out.len();
    let magnitude = value.abs();
    out.extend_from_slice(spec.sign(value.is_sign_negative()));
    let mut prefix = out.len() - start;
    if magnitude.is_finite() {
        match spec.conversion {
            b'f' => append_fixed(out, spec, magnitude),
            b'e' | b'E' => append_scientific(out, spec, magnitude),
            b'g' | b'G' => append_general(out, spec, magnitude),
            _ => {
                append_hex(out, spec, magnitude);
                prefix += 2;
            }
        }
    } else {
        let name = if magnitude.is_nan() { b"nan" } else { b"inf" };
        out.extend_from_slice(name);
    }
    if spec.conversion.is_ascii_uppercase() {
        out[start..].make_ascii_uppercase();
    }
    spec.pad(out, start, prefix, spec.zero && magnitude.is_finite());
    Ok(())
}

/// Lets `core::fmt` append to a vector with room reserved.
struct Appender<'a>(&'a mut Vec<u8>);

impl fmt::Write for Appender<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

const DEFAULT_PRECISION: usize = 6;

/// So many digits always fit into a word.
const SHORT_COUNT: usize = 19;

fn append_fixed(out: &mut Vec<u8>, spec: &Spec, magnitude: f64) {
    let precision = spec.precision.unwrap_or(DEFAULT_PRECISION);
    match decimal::scaled(magnitude, precision) {
        Some(scaled) => append_point(out, scaled, precision),
        None => {
            // Neither the formatting of a float nor an `Appender` fails.
            let _ = write!(Appender(out), "{magnitude:.precision$}");
        }
    }
    if precision == 0 && spec.alternate {
        out.push(b'.');
    }
}

/// Appends `scaled` divided by `10^decimals`, exactly.
fn append_point(out: &mut Vec<u8>, scaled: u64, decimals: usize) {
    // 20 digits, or 22 behind the point and one before it.
    let mut digits = [b'0'; 24];
    let end = digits.len();
    let first = write_digits_before(scaled, &mut digits, end).min(end - decimals - 1);
    let (whole, fraction) = digits[first..].split_at(end - decimals - first);
    out.extend_from_slice(whole);
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// A float's leading decimal digits, correctly rounded, and the exponent of the first.
struct Decimal {
    digits: [u8; 100],
    count: usize,
    exponent: i32,
}

impl Decimal {
    /// `count` digits, 1 to 100.
    fn new(magnitude: f64, count: usize) -> Decimal {
        if count <= SHORT_COUNT
            && let Some((digits, exponent)) = decimal::significant(magnitude, count as i32)
        {
            let mut decimal = Decimal { digits: [b'0'; 100], count, exponent };
            write_digits_before(digits, &mut decimal.digits, count);
            return decimal;
        }
        let mut text = FixedText::<128>::default();
        // The digits, a point and an exponent fit; nothing else fails.
        let _ = write!(text, "{magnitude:.*e}", count - 1);
        let mut decimal = Decimal {
            digits: [b'0'; 100],
            count,
            exponent: 0,
        };
        let mut parts = text.as_bytes().split(|&byte| byte == b'e');
        let mantissa = parts.next().unwrap_or_default();
        let digits = mantissa.iter().filter(|byte| byte.is_ascii_digit());
        for (target, digit) in decimal.digits.iter_mut().zip(digits) {
            *target = *digit;
        }
        if let Some(Numeral::Int(exponent)) = parts.next().and_then(parse_numeral) {
            decimal.exponent = exponent as i32;
        }
        decimal
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.count]
    }
}

/// Appends `e`, a sign and at least two digits.
fn append_exponent(out: &mut Vec<u8>, exponent: i32) {
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.unsigned_abs() < 10 {
        out.push(b'0');
    }
    append_decimal(out, exponent.unsigned_abs());
}

fn append_decimal(out: &mut Vec<u8>, value: u32) {
    let mut buffer = NumberBuffer::default();
    out.extend_from_slice(format_int(i64::from(value), &mut buffer));
}

fn append_scientific(out: &mut Vec<u8>, spec: &Spec, magnitude: f64) {
    let precision = spec.precision.unwrap_or(DEFAULT_PRECISION);
    let decimal = Decimal::new(magnitude, precision + 1);
    let digits = decimal.digits();
    out.push(digits[0]);
    if precision > 0 || spec.alternate {
        out.push(b'.');
    }
    out.extend_from_slice(&digits[1..]);
    append_exponent(out, decimal.exponent);
}

fn append_general(out: &mut Vec<u8>, spec: &Spec, magnitude: f64) {
    // The precision counts significant digits.
    let precision = spec.precision.unwrap_or(DEFAULT_PRECISION).max(1);
    let decimal = Decimal::new(magnitude, precision);
    let exponent = decimal.exponent;
    let scientific = exponent < -4 || exponent >= precision as i32;
    // How many digits stand before the point.
    let whole = match exponent {
        _ if scientific => 1,
        0.. => exponent as usize + 1,
        _ => 0,
    };
    let (before, mut after) = decimal.digits().split_at(whole);
    if !spec.alternate {
        while let [rest @ .., b'0'] = after {
            after = rest;
        }
    }
    if whole == 0 {
        out.push(b'0');
    }
    out.extend_from_slice(before);
    if !after.is_empty() || spec.alternate {
        out.push(b'.');
    }
    if whole == 0 {
        let zeros = (-1 - exponent) as usize;
        out.resize(out.len() + zeros, b'0');
    }
    out.extend_from_slice(after);
    if scientific {
        append_exponent(out, exponent);
    }
}

fn hex_digits(conversion: u8) -> &'static [u8; 16] {
    if conversion == b'X' {
        b"0123456789ABCDEF"
    } else {
        b"0123456789abcdef"
    }
}

/// A hexadecimal float: one bit before the point (none for subnormals), the fraction's thirteen
/// digits without trailing zeros, or rounded to the precision, ties to even.
fn append_hex(out: &mut Vec<u8>, spec: &Spec, magnitude: f64) {
    const FRACTION_DIGITS: usize = 13;
    let bits = magnitude.to_bits();
    let field = (bits >> 52) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let (leading, exponent) = match (field, fraction) {
        (0, 0) => (0, 0),
        (0, _) => (0, -1022),
        _ => (1, field - 1023),
    };
    let mut significand = leading << 52 | fraction;
    let mut digits = FRACTION_DIGITS;
    match spec.precision {
        Some(precision) if precision < FRACTION_DIGITS => {
            let dropped = 4 * (FRACTION_DIGITS - precision) as u32;
            let rest = significand & ((1 << dropped) - 1);
            let half = 1 << (dropped - 1);
            significand >>= dropped;
            if rest > half || (rest == half && significand & 1 == 1) {
                significand += 1;
            }
            digits = precision;
        }
        Some(_) => {}
        None => {
            while digits > 0 && significand & 15 == 0 {
                significand >>= 4;
                digits -= 1;
            }
        }
    }
    let table = hex_digits(b'x');
    out.extend_from_slice(b"0x");
    out.push(table[(significand >> (4 * digits)) as usize]);
    let extra = spec.precision.unwrap_or(0).saturating_sub(digits);
    if digits + extra > 0 || spec.alternate {
        out.push(b'.');
    }
    for digit in (0..digits).rev() {
        out.push(table[(significand >> (4 * digit) & 15) as usize]);
    }
    out.resize(out.len() + extra, b'0');
    out.extend_from_slice(if exponent < 0 { b"p-" } else { b"p+" });
    append_decimal(out, exponent.unsigned_abs());
}

/// Gives `append` the pieces of a string literal that reads back as `text`: conversion `q`.
pub fn quote_string<E>(text: &[u8], mut append: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    append(b"\"")?;
    let mut rest = text;
    while let Some(at) = rest
        .iter()
        .position(|&byte| matches!(byte, b'"' | b'\\') || byte.is_ascii_control())
    {
        append(&rest[..at])?;
        let byte = rest[at];
        rest = &rest[at + 1..];
        match byte {
            b'"' | b'\\' | b'\n' => append(&[b'\\', byte])?,
            _ => {
                append(b"\\")?;
                let mut digits = [b'0'; 3];
                let first = write_digits_before(u64::from(byte), &mut digits, 3);
                // A digit that follows must not be read as part of the escape.
                let padded = rest.first().is_some_and(u8::is_ascii_digit);
                append(&digits[if padded { 0 } else { first }..])?;
            }
        }
    }
    append(rest)?;
    append(b"\"")
}

/// Appends a literal that reads back as `value`: conversion `q`.
pub fn quote_int(out: &mut Vec<u8>, value: i64) -> Result<(), TryReserveError> {
    out.try_reserve(ROOM)?;
    if value == i64::MIN {
        // In decimal it would read as a float, negated.
        out.extend_from_slice(b"0x8000000000000000");
    } else {
        let mut buffer = NumberBuffer::default();
        out.extend_from_slice(format_int(value, &mut buffer));
    }
    Ok(())
}

/// Appends an expression that reads back as exactly `value`: conversion `q`.
pub fn quote_float(out: &mut Vec<u8>, value: f64) -> Result<(), TryReserveError> {
    out.try_reserve(ROOM)?;
    if value.is_nan() {
        out.extend_from_slice(b"(0/0)");
        return Ok(());
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        out.extend_from_slice(b"1e9999");
    } else {
        append_hex(out, &Spec::plain(b'a'), value.abs());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        let (item, length) = Item::parse(text.as_bytes()).unwrap();
        assert_eq!(length, text.len());
        item.spec().unwrap()
    }

    fn float(text: &str, value: f64) -> String {
        let mut out = Vec::new();
        format_float_spec(&mut out, &spec(text), value).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn int(text: &str, value: i64) -> String {
        let mut out = Vec::new();
        format_int_spec(&mut out, &spec(text), value).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn error(text: &str) -> String {
        let error = match Item::parse(text.as_bytes()) {
            Ok((item, _)) => item.spec().unwrap_err(),
            Err(error) => error,
        };
        String::from_utf8(error.message()).unwrap()
    }

    #[test]
    fn integers() {
        assert_eq!(int("5d", 42), "   42");
        assert_eq!(int("-5d", 42), "42   ");
        assert_eq!(int("+.3d", 7), "+007");
        assert_eq!(int("05d", -42), "-0042");
        assert_eq!(int("05.3d", -42), " -042");
        assert_eq!(int(".0d", 0), "");
        assert_eq!(int("#x", 255), "0xff");
        assert_eq!(int("#08X", 255), "0X0000FF");
        assert_eq!(int("#o", 8), "010");
        assert_eq!(int("#.0o", 0), "0");
        assert_eq!(int("x", -1), "ffffffffffffffff");
        assert_eq!(int("u", -1), "18446744073709551615");
        assert_eq!(int("d", i64::MIN), "-9223372036854775808");
    }

    #[test]
    fn floats() {
        assert_eq!(float(".0f", 2.5), "2");
        assert_eq!(float(".0f", 0.5), "0");
        assert_eq!(float(".2f", 0.125), "0.12");
        assert_eq!(float("#.0f", 3.0), "3.");
        assert_eq!(float("+08.2f", 2.71), "+0002.71");
        assert_eq!(float("e", 0.0), "0.000000e+00");
        assert_eq!(float(".3E", 1e-300), "1.000E-300");
        assert_eq!(float("g", 100000.0), "100000");
        assert_eq!(float("g", 1e6), "1e+06");
        assert_eq!(float("g", 0.0001), "0.0001");
        assert_eq!(float("#g", 1.0), "1.00000");
        assert_eq!(float("G", 1e-5), "1E-05");
        assert_eq!(float("a", 1.0), "0x1p+0");
        assert_eq!(float("A", 0.1), "0X1.999999999999AP-4");
        assert_eq!(float(".0a", 1.5), "0x2p+0");
        assert_eq!(float("a", 5e-324), "0x0.0000000000001p-1022");
        assert_eq!(float("010f", f64::INFINITY), "       inf");
        assert_eq!(float("+G", f64::NEG_INFINITY), "-INF");
        assert_eq!(float(".99f", f64::MAX).len(), 409);
        assert_eq!(float(".30f", 0.0), format!("0.{}", "0".repeat(30)));
        assert_eq!(float(".22f", 0.5), format!("0.5{}", "0".repeat(21)));
        assert_eq!(float(".17g", 0.1), "0.10000000000000001");
        assert_eq!(float("g", 0.0), "0");
        assert_eq!(float(".3f", 1e16), "10000000000000000.000");
    }

    #[test]
    fn strings() {
        let mut out = Vec::new();
        format_str_spec(&mut out, &spec("-6.2s"), b"hello").unwrap();
        format_char_spec(&mut out, &spec("3c"), b'x').unwrap();
        format_pointer_spec(&mut out, &spec("8p"), None).unwrap();
        format_pointer_spec(&mut out, &spec("p"), Some(0x1f)).unwrap();
        assert_eq!(out, b"he      x  (null)0x1f");
    }

    #[test]
    fn quoted() {
        let mut out = Vec::new();
        let quoted = quote_string(b"a\"\\\n\r\0z\x011\xff\x7f", |piece| {
            out.extend_from_slice(piece);
            Ok::<(), ()>(())
        });
        assert_eq!(quoted, Ok(()));
        assert_eq!(out, b"\"a\\\"\\\\\\\n\\13\\0z\\0011\xff\\127\"");
        out.clear();
        quote_int(&mut out, i64::MIN).unwrap();
        quote_float(&mut out, -0.5).unwrap();
        quote_float(&mut out, f64::NEG_INFINITY).unwrap();
        quote_float(&mut out, f64::NAN).unwrap();
        assert_eq!(out, b"0x8000000000000000-0x1p-1-1e9999(0/0)");
    }

    #[test]
    fn errors() {
        assert_eq!(error("y"), "invalid conversion '%y' to 'format'");
        assert_eq!(error(""), "invalid conversion '%' to 'format'");
        assert_eq!(error("5"), "invalid conversion '%5' to 'format'");
        assert_eq!(error("010c"), "invalid conversion specification: '%010c'");
        assert_eq!(error("100d"), "invalid conversion specification: '%100d'");
        assert_eq!(error(".3c"), "invalid conversion specification: '%.3c'");
        assert_eq!(error("5q"), "specifier '%q' cannot have modifiers");
        assert_eq!(error(&"0".repeat(21)), "invalid format (too long)");
        assert_eq!(
            error(&format!("{}d", "0".repeat(30))),
            "invalid format (too long)"
        );
    }
}
