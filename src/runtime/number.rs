//! Lua numbers without a VM: reading and writing numerals, integer and float arithmetic where Lua
//! differs from Rust, and exact comparisons and conversions between the two subtypes.
//!
//! Invariant: every function is total and exact. Nothing here allocates, panics or depends on a
//! locale; results equal those of the reference implementation bit for bit.

use std::fmt;

use super::decimal;

/// A number as read from text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Numeral {
    Int(i64),
    Float(f64),
}

/// 2^63, the first float above every integer.
const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;

// ---------------------------------------------------------------------------------------------
// Reading
// ---------------------------------------------------------------------------------------------

/// Reads a whole string as a Lua numeral; `None` if it is not one.
///
/// Accepts what `tonumber` and the lexer accept: surrounding whitespace, a sign, decimal and
/// hexadecimal integers and floats. Hexadecimal integers wrap around; decimal integers that do not
/// fit become floats. `inf` and `nan` are not numerals. Floats are rounded to nearest, ties to even.
pub fn parse_numeral(text: &[u8]) -> Option<Numeral> {
    if let Some(value) = parse_short_int(text) {
        return Some(Numeral::Int(value));
    }
    let (negative, digits) = split_sign(trim(text));
    match digits {
        [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex, negative),
        _ => parse_decimal(digits, negative),
    }
}

/// Reads an integer in `base` (2 to 36) as `tonumber(text, base)` does: surrounding whitespace, an
/// optional sign, digits of either case, wrapping around on overflow.
pub fn parse_in_base(text: &[u8], base: u32) -> Option<i64> {
    let (negative, digits) = split_sign(trim(text));
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = (byte as char).to_digit(36).filter(|&d| d < base)?;
        value = value
            .wrapping_mul(i64::from(base))
            .wrapping_add(i64::from(digit));
    }
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// The common case: nothing but a few decimal digits, perhaps after a minus sign.
fn parse_short_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // 18 digits cannot overflow.
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// Whitespace as C's `isspace` has it; Rust's ASCII notion lacks the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

fn apply_sign(value: f64, negative: bool) -> f64 {
    if negative { -value } else { value }
}

/// What follows `0x`.
fn parse_hex(text: &[u8], negative: bool) -> Option<Numeral> {
    let mut mantissa = 0u64;
    let mut exponent = 0i64;
    // Whether a nonzero digit did not fit into the mantissa.
    let mut sticky = false;
    let mut digits = 0usize;
    // Hexadecimal integers keep the low 64 bits, floats the high ones.
    let mut wrapped = 0u64;
    let mut seen_point = false;
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        if *byte == b'.' && !seen_point {
            seen_point = true;
        } else if let Some(digit) = (*byte as char).to_digit(16) {
            digits += 1;
            wrapped = wrapped << 4 | u64::from(digit);
            if mantissa >> 60 == 0 {
                mantissa = mantissa << 4 | u64::from(digit);
                exponent -= 4 * i64::from(seen_point);
            } else {
                sticky |= digit != 0;
                exponent += 4 * i64::from(!seen_point);
            }
        } else {
            break;
        }
        rest = tail;
    }
    if digits == 0 {
        return None;
    }
    if rest.is_empty() && !seen_point {
        let value = wrapped as i64;
        return Some(Numeral::Int(if negative {
            value.wrapping_neg()
        } else {
            value
        }));
    }
    match rest {
        [] => {}
        [b'p' | b'P', power @ ..] => exponent += parse_exponent(power)?,
        _ => return None,
    }
    let value = round_to_float(mantissa, sticky, exponent);
    Some(Numeral::Float(apply_sign(value, negative)))
}

/// Reads the digits after an exponent mark, saturating far outside the range of floats (yet leaving
/// room to adjust by the length of any mantissa).
fn parse_exponent(text: &[u8]) -> Option<i64> {
    const BOUND: i64 = 1 << 60;
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(byte - b'0')).min(BOUND / 10);
    }
    Some(if negative { -value } else { value })
}

/// `mantissa * 2^exponent`, plus something below the last bit if `sticky`, to the nearest float,
/// ties to even.
fn round_to_float(mantissa: u64, sticky: bool, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let shift = mantissa.leading_zeros();
    let mantissa = mantissa << shift;
    // The value is in [2^power, 2^(power + 1)).
    let power = exponent - i64::from(shift) + 63;
    if power > 1023 {
        return f64::INFINITY;
    }
    // 64 bits minus 53, and one more for each power below the smallest normal exponent. Past 65 the
    // value is less than half the smallest subnormal, whatever the exact count.
    let dropped = (11 + (-1022 - power).max(0)).min(66) as u32;
    let wide = u128::from(mantissa);
    let mut kept = (wide >> dropped) as u64;
    let rest = wide & ((1 << dropped) - 1);
    let half = 1u128 << (dropped - 1);
    if rest > half || (rest == half && (sticky || kept & 1 == 1)) {
        kept += 1;
    }
    // The implicit bit of `kept` adds one to the exponent field, and so does a carry out of
    // rounding, which is exactly what the encoding asks for.
    let field = (power + 1022).max(0) as u64;
    f64::from_bits((field << 52) + kept)
}

fn parse_decimal(text: &[u8], negative: bool) -> Option<Numeral> {
    let whole = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = &text[whole..];
    if rest.is_empty()
        && let Some(value) = decimal_int(text, negative)
    {
        return Some(Numeral::Int(value));
    }
    let mut fraction: &[u8] = &[];
    if let [b'.', tail @ ..] = rest {
        let count = tail.iter().take_while(|b| b.is_ascii_digit()).count();
        (fraction, rest) = tail.split_at(count);
    }
    if whole + fraction.len() == 0 {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', power @ ..] => parse_exponent(power)?,
        _ => return None,
    };
    // Only ASCII is left, so the conversion to a string cannot fail.
    let value = if text.len() <= 1024 {
        std::str::from_utf8(text).ok()?.parse().ok()?
    } else {
        long_decimal(&text[..whole], fraction, exponent)?
    };
    Some(Numeral::Float(apply_sign(value, negative)))
}

/// A run of decimal digits as an integer, if there is one and it fits.
fn decimal_int(digits: &[u8], negative: bool) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    if negative {
        (value <= 1 << 63).then(|| (value as i64).wrapping_neg())
    } else {
        i64::try_from(value).ok()
    }
}

/// Floats with very many digits. No float or midpoint between floats has more than 768 significant
/// digits, so later ones matter only by being zero or not; and the exponent is recomputed for the
/// shortened mantissa because the standard parser clamps it early.
fn long_decimal(whole: &[u8], fraction: &[u8], exponent: i64) -> Option<f64> {
    const KEPT: usize = 800;
    let mut text = [0u8; KEPT + 32];
    let mut length = 0;
    let mut sticky = false;
    let mut exponent = exponent - fraction.len() as i64;
    for &byte in whole.iter().chain(fraction) {
        if length == 0 && byte == b'0' {
            continue;
        }
        if length < KEPT {
            text[length] = byte;
            length += 1;
        } else {
            sticky |= byte != b'0';
            exponent += 1;
        }
    }
    if length == 0 {
        return Some(0.0);
    }
    if sticky {
        text[length] = b'1';
        length += 1;
        exponent -= 1;
    }
    // Outside these bounds the result is infinite or zero anyway.
    let exponent = exponent.clamp(-9999, 9999);
    text[length] = b'e';
    let mut buffer = NumberBuffer::default();
    let power = format_int(exponent, &mut buffer);
    text[length + 1..length + 1 + power.len()].copy_from_slice(power);
    let text = &text[..length + 1 + power.len()];
    std::str::from_utf8(text).ok()?.parse().ok()
}

// ---------------------------------------------------------------------------------------------
// Writing
// ---------------------------------------------------------------------------------------------

/// Room for any number `tostring` can produce.
pub type NumberBuffer = [u8; 32];

/// `"00" "01" .. "99"`, to write two digits per division.
static DIGIT_PAIRS: [u8; 200] = {
    let mut table = [0; 200];
    let mut i = 0;
    while i < 100 {
        table[2 * i] = b'0' + (i / 10) as u8;
        table[2 * i + 1] = b'0' + (i % 10) as u8;
        i += 1;
    }
    table
};

/// Writes `value` in decimal so that it ends just before `buffer[end]`; returns where it starts.
/// The caller provides room for the digits (20 always suffice).
pub(crate) fn write_digits_before(mut value: u64, buffer: &mut [u8], end: usize) -> usize {
    let mut at = end;
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        let pair = value as usize * 2;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + value as u8;
    }
    at
}

/// An integer as `tostring` writes it.
pub fn format_int(value: i64, buffer: &mut NumberBuffer) -> &[u8] {
    let end = buffer.len();
    let mut start = write_digits_before(value.unsigned_abs(), buffer, end);
    if value < 0 {
        start -= 1;
        buffer[start] = b'-';
    }
    &buffer[start..]
}

/// A float as `tostring` writes it: `%.14g`, and `.0` after what would otherwise look like an
/// integer. The sign of a NaN shows, as it does in the reference implementation on Linux.
pub fn format_float(value: f64, buffer: &mut NumberBuffer) -> &[u8] {
    let negative = value.is_sign_negative();
    let magnitude = value.abs();
    // The cast saturates, so infinities and NaN fail the comparison.
    if magnitude < 1e14 && magnitude as u64 as f64 == magnitude {
        let end = buffer.len() - 2;
        buffer[end..].copy_from_slice(b".0");
        let mut start = write_digits_before(magnitude as u64, buffer, end);
        if negative {
            start -= 1;
            buffer[start] = b'-';
        }
        return &buffer[start..];
    }
    if !magnitude.is_finite() {
        let text: &[u8] = match (magnitude.is_nan(), negative) {
            (true, false) => b"nan",
            (true, true) => b"-nan",
            (false, false) => b"inf",
            (false, true) => b"-inf",
        };
        buffer[..text.len()].copy_from_slice(text);
        return &buffer[..text.len()];
    }
    let (digits, exponent) = fourteen_digits(magnitude);
    let length = layout_general(negative, digits, exponent, buffer);
    &buffer[..length]
}

/// Lays out fourteen decimal digits, the first of weight `10^exponent`, as `%.14g` does, adding
/// `.0` to whole numbers. Returns the length.
fn layout_general(negative: bool, digits: u64, exponent: i32, buffer: &mut NumberBuffer) -> usize {
    let mut text = [b'0'; DIGITS];
    write_digits_before(digits, &mut text, DIGITS);
    let significant = DIGITS - trailing_zeros(digits);

    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        buffer[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    if negative {
        put(b"-");
    }
    if exponent < -4 || exponent >= DIGITS as i32 {
        put(&text[..1]);
        if significant > 1 {
            put(b".");
            put(&text[1..significant]);
        }
        put(if exponent < 0 { b"e-" } else { b"e+" });
        let power = exponent.unsigned_abs() as usize;
        if power >= 100 {
            put(&[b'0' + (power / 100) as u8]);
        }
        let pair = power % 100 * 2;
        put(&DIGIT_PAIRS[pair..pair + 2]);
    } else if exponent < 0 {
        put(&b"0.000"[..(1 - exponent) as usize]);
        put(&text[..significant]);
    } else {
        let whole = exponent as usize + 1;
        put(&text[..whole]);
        if significant > whole {
            put(b".");
            put(&text[whole..significant]);
        } else {
            put(b".0");
        }
    }
    at
}

/// The precision of `tostring`.
const DIGITS: usize = 14;

/// How many decimal zeros end the nonzero `value` of up to fourteen digits.
fn trailing_zeros(mut value: u64) -> usize {
    let mut zeros = 0;
    for step in [8, 4, 2, 1] {
        let power = 10u64.pow(step);
        if value.is_multiple_of(power) {
            value /= power;
            zeros += step as usize;
        }
    }
    zeros
}

/// The finite `value` > 0 rounded to fourteen significant digits (ties to even), with the decimal
/// exponent of the first one.
fn fourteen_digits(value: f64) -> (u64, i32) {
    decimal::significant(value, DIGITS as i32).unwrap_or_else(|| fourteen_digits_slow(value))
}

#[cold]
fn fourteen_digits_slow(value: f64) -> (u64, i32) {
    let mut text = FixedText::<32>::default();
    // Neither the formatting of a float nor a text of this length fails.
    let _ = fmt::write(&mut text, format_args!("{value:.13e}"));
    let mut digits = 0;
    let mut exponent = 0;
    let mut parts = text.as_bytes().split(|&b| b == b'e');
    for &byte in parts.next().unwrap_or_default() {
        if byte != b'.' {
            digits = digits * 10 + u64::from(byte - b'0');
        }
    }
    if let Some(Numeral::Int(power)) = parts.next().and_then(parse_numeral) {
        exponent = power as i32;
    }
    (digits, exponent)
}

/// Text of bounded length on the stack, for use with `core::fmt`.
pub(crate) struct FixedText<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> FixedText<N> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<const N: usize> Default for FixedText<N> {
    fn default() -> Self {
        FixedText {
            bytes: [0; N],
            length: 0,
        }
    }
}

impl<const N: usize> fmt::Write for FixedText<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let target = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        target.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------
// Arithmetic
// ---------------------------------------------------------------------------------------------

/// `a // b` on integers; `None` if `b` is zero. Wraps around for the one quotient that overflows.
#[inline]
pub fn int_floor_div(a: i64, b: i64) -> Option<i64> {
    if b == 0 {
        return None;
    }
    let quotient = a.wrapping_div(b);
    // Division truncates: inexact negative quotients are one too high.
    let inexact = a.wrapping_rem(b) != 0;
    Some(quotient - i64::from(inexact && (a ^ b) < 0))
}

/// `a % b` on integers, with the sign of `b`; `None` if `b` is zero.
#[inline]
pub fn int_modulo(a: i64, b: i64) -> Option<i64> {
    if b == 0 {
        return None;
    }
    let rest = a.wrapping_rem(b);
    Some(if rest != 0 && (rest ^ b) < 0 {
        rest + b
    } else {
        rest
    })
}

/// `a // b` on floats.
#[inline]
pub fn float_floor_div(a: f64, b: f64) -> f64 {
    (a / b).floor()
}

/// `a % b` on floats: the remainder of truncated division, moved to the sign of `b`.
#[inline]
pub fn float_modulo(a: f64, b: f64) -> f64 {
    let rest = float_remainder(a, b);
    if (rest > 0.0 && b < 0.0) || (rest < 0.0 && b > 0.0) {
        rest + b
    } else {
        rest
    }
}

/// The remainder of truncated division, with the sign of `a`. Exact, as all such remainders are; most divisors are
/// small integers, for which a division is enough.
#[inline]
fn float_remainder(a: f64, b: f64) -> f64 {
    /// Quotient and divisor may each have so many bits that their product is exact.
    const BOUND: f64 = (1u64 << 26) as f64;
    let quotient = a / b;
    if quotient.abs() < BOUND && b.abs() < BOUND && b as i32 as f64 == b {
        // Rounding does not carry the quotient up to an integer: that integer times `b` is a float, too, so `a` is at
        // least half a step of the quotient away from it.
        return (a - (quotient as i32 as f64) * b).copysign(a);
    }
    a % b
}

/// `a ^ b`.
#[inline]
pub fn pow(a: f64, b: f64) -> f64 {
    if b == 2.0 { a * a } else { a.powf(b) }
}

/// `a << b`: logical; a negative count shifts right, counts of 64 and more give zero.
#[inline]
pub fn shift_left(a: i64, b: i64) -> i64 {
    let bits = a as u64;
    let shifted = match b {
        0..=63 => bits << b,
        -63..=-1 => bits >> -b,
        _ => 0,
    };
    shifted as i64
}

/// `a >> b`: logical; a negative count shifts left, counts of 64 and more give zero.
#[inline]
pub fn shift_right(a: i64, b: i64) -> i64 {
    // The one count whose negation overflows gives zero in either direction.
    shift_left(a, b.wrapping_neg())
}

// ---------------------------------------------------------------------------------------------
// Conversions
// ---------------------------------------------------------------------------------------------

/// What to do with a fraction when converting a float to an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Towards minus infinity.
    Floor,
    /// Towards plus infinity.
    Ceil,
}

/// Converts a float to an integer; `None` if the result is out of range, or `value` is NaN.
#[inline]
pub fn float_to_int(value: f64, rounding: Rounding) -> Option<i64> {
    match rounding {
        Rounding::Floor => in_int_range(value.floor()),
        Rounding::Ceil => in_int_range(value.ceil()),
    }
}

/// The integer equal to `value`, if there is one.
#[inline]
pub fn float_to_int_exact(value: f64) -> Option<i64> {
    // The cast saturates. A value above the range saturates to 2^63 - 1, which converts back to
    // 2^63, hence the separate bound.
    let int = value as i64;
    (int as f64 == value && value < TWO_POW_63).then_some(int)
}

/// An integer as a float, if it is in the range in which all are exact: -2^53 <= `i` < 2^53.
#[inline]
pub fn exact_float(i: i64) -> Option<f64> {
    const BOUND: i64 = 1 << 53;
    (-BOUND..BOUND).contains(&i).then_some(i as f64)
}

/// Converts a whole float (or an infinity or NaN).
#[inline]
fn in_int_range(whole: f64) -> Option<i64> {
    (-TWO_POW_63..TWO_POW_63)
        .contains(&whole)
        .then_some(whole as i64)
}

impl Numeral {
    /// The value as a float, rounded to nearest.
    #[inline]
    pub fn to_float(self) -> f64 {
        match self {
            Numeral::Int(int) => int as f64,
            Numeral::Float(float) => float,
        }
    }

    /// The integer equal to the value, if there is one.
    #[inline]
    pub fn to_int_exact(self) -> Option<i64> {
        match self {
            Numeral::Int(int) => Some(int),
            Numeral::Float(float) => float_to_int_exact(float),
        }
    }
}

/// The last value an integer `for` loop with a float `limit` may reach; `None` if it does not run.
/// `step` is not zero. As in the reference implementation, a NaN limit counts as one below every
/// integer.
pub fn for_limit(init: i64, limit: f64, step: i64) -> Option<i64> {
    let rounding = if step < 0 {
        Rounding::Ceil
    } else {
        Rounding::Floor
    };
    let limit = match float_to_int(limit, rounding) {
        Some(limit) => limit,
        None if limit > 0.0 && step > 0 => i64::MAX,
        None if limit > 0.0 || step > 0 => return None,
        None => i64::MIN,
    };
    let runs = if step > 0 {
        init <= limit
    } else {
        init >= limit
    };
    runs.then_some(limit)
}

/// How many times an integer `for` loop repeats after its first iteration; `None` if it does not
/// run at all. `step` is not zero. The count cannot overflow, and neither can the control variable
/// while it is obeyed.
#[inline]
pub fn for_repetitions(init: i64, limit: i64, step: i64) -> Option<u64> {
    let (low, high) = if step > 0 {
        (init, limit)
    } else {
        (limit, init)
    };
    if low > high {
        return None;
    }
    let distance = high.wrapping_sub(low) as u64;
    Some(if step == 1 {
        distance
    } else {
        distance / step.unsigned_abs()
    })
}

// ---------------------------------------------------------------------------------------------
// Comparisons between an integer and a float, by mathematical value
// ---------------------------------------------------------------------------------------------

/// Integers up to this magnitude convert to floats exactly.
const EXACT_INTS: u64 = 1 << 53;

/// `a == b`.
#[inline]
pub fn eq_int_float(a: i64, b: f64) -> bool {
    float_to_int_exact(b) == Some(a)
}

/// `a < b`.
#[inline]
pub fn lt_int_float(a: i64, b: f64) -> bool {
    if a.unsigned_abs() <= EXACT_INTS {
        return (a as f64) < b;
    }
    match in_int_range(b.ceil()) {
        Some(bound) => a < bound,
        None => b > 0.0,
    }
}

/// `a <= b`.
#[inline]
pub fn le_int_float(a: i64, b: f64) -> bool {
    if a.unsigned_abs() <= EXACT_INTS {
        return a as f64 <= b;
    }
    match in_int_range(b.floor()) {
        Some(bound) => a <= bound,
        None => b > 0.0,
    }
}

/// `a < b`.
#[inline]
pub fn lt_float_int(a: f64, b: i64) -> bool {
    if b.unsigned_abs() <= EXACT_INTS {
        return a < b as f64;
    }
    match in_int_range(a.floor()) {
        Some(bound) => bound < b,
        None => a < 0.0,
    }
}

/// `a <= b`.
#[inline]
pub fn le_float_int(a: f64, b: i64) -> bool {
    if b.unsigned_abs() <= EXACT_INTS {
        return a <= b as f64;
    }
    match in_int_range(a.ceil()) {
        Some(bound) => bound <= b,
        None => a < 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short way to a remainder gives the bits of the long one.
    #[test]
    fn float_remainder_is_exact() {
        let next = |x: f64, steps: i64| f64::from_bits((x.to_bits() as i64 + steps) as u64);
        let mut bits = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            bits
        };
        let check = |a: f64, b: f64| {
            for (a, b) in [(a, b), (-a, b), (a, -b), (-a, -b)] {
                let (rest, expected) = (float_remainder(a, b), a % b);
                assert!(
                    rest.to_bits() == expected.to_bits() || rest.is_nan() && expected.is_nan(),
                    "{a:e} % {b:e}: {rest:e}"
                );
            }
        };
        let bound = (1u64 << 26) as f64;
        let special = [
            0.0,
            5e-324,
            0.5,
            1.0,
            2.0,
            3.0,
            360.0,
            bound - 1.0,
            bound,
            bound + 1.0,
            1e15,
            1e300,
            f64::INFINITY,
            f64::NAN,
        ];
        for a in special {
            for b in special {
                check(a, b);
            }
        }
        for _ in 0..20_000 {
            let b = ((random() >> (37 + random() % 26)) + 1) as f64;
            let n = (random() >> (37 + random() % 26)) as f64;
            // At and around multiples of the divisor, where rounding matters, and anywhere.
            for steps in -3..=3 {
                check(next(n * b + 1.0, steps) - 1.0, b);
                check(next((n + 1.0) * b, steps), b);
            }
            check(n + random() as f64 / u64::MAX as f64, b);
        }
    }

    fn int(text: &str) -> Option<Numeral> {
        let value = parse_numeral(text.as_bytes());
        assert!(!matches!(value, Some(Numeral::Float(_))), "{text}");
        value
    }

    fn float_bits(text: &str) -> Option<u64> {
        match parse_numeral(text.as_bytes())? {
            Numeral::Float(value) => Some(value.to_bits()),
            Numeral::Int(value) => panic!("{text} gave the integer {value}"),
        }
    }

    fn shown(value: f64) -> String {
        let mut buffer = NumberBuffer::default();
        String::from_utf8(format_float(value, &mut buffer).to_vec()).unwrap()
    }

    #[test]
    fn integers() {
        assert_eq!(int("0"), Some(Numeral::Int(0)));
        assert_eq!(int(" \t\n\x0b\x0c\r+7 "), Some(Numeral::Int(7)));
        assert_eq!(int("-9223372036854775808"), Some(Numeral::Int(i64::MIN)));
        assert_eq!(int("9223372036854775807"), Some(Numeral::Int(i64::MAX)));
        assert_eq!(int("0xffffffffffffffff"), Some(Numeral::Int(-1)));
        assert_eq!(int("-0x1ffffffffffffffff"), Some(Numeral::Int(1)));
        for bad in [
            "", " ", "-", "+-1", "- 1", "1 2", "0x", "1_0", "1\0", "\0", "a",
        ] {
            assert_eq!(parse_numeral(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn floats() {
        assert_eq!(
            float_bits("9223372036854775808"),
            Some(TWO_POW_63.to_bits())
        );
        assert_eq!(float_bits("5."), Some(5f64.to_bits()));
        assert_eq!(float_bits(".5e-1"), Some(0.05f64.to_bits()));
        assert_eq!(float_bits("-0.0"), Some((-0f64).to_bits()));
        assert_eq!(float_bits("1e999"), Some(f64::INFINITY.to_bits()));
        assert_eq!(float_bits("0x.8p1"), Some(1f64.to_bits()));
        assert_eq!(float_bits("0x1p-1074"), Some(1));
        assert_eq!(float_bits("0x1p-1075"), Some(0));
        assert_eq!(float_bits("0x1.00000000000001p-1075"), Some(1));
        assert_eq!(
            float_bits("0x1.00000a000a00d8p-1023"),
            Some(0x8_0000_5000_5007)
        );
        assert_eq!(
            float_bits("0x1p99999999999999999999"),
            Some(f64::INFINITY.to_bits())
        );
        assert_eq!(
            float_bits("0x1.fffffffffffff8p1023"),
            Some(f64::INFINITY.to_bits())
        );
        for bad in [
            "inf", "nan", ".", "1e", "1e+", "0x.", "0x1p", "0x1p+", "1.2.3", "0xp1", "e5",
        ] {
            assert_eq!(parse_numeral(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn very_long_floats() {
        let zeros = "0".repeat(100_000);
        assert_eq!(
            float_bits(&format!("1{zeros}e-100000")),
            Some(1f64.to_bits())
        );
        assert_eq!(
            float_bits(&format!("0.{zeros}1e100001")),
            Some(1f64.to_bits())
        );
        // Half-way between 1 and its successor, and just above.
        let tie = "1.00000000000000011102230246251565404236316680908203125";
        let pad = "0".repeat(2000);
        assert_eq!(float_bits(&format!("{tie}{pad}")), Some(1f64.to_bits()));
        assert_eq!(
            float_bits(&format!("{tie}{pad}1")),
            Some(1f64.next_up().to_bits())
        );
        assert_eq!(float_bits(&format!("0.{zeros}")), Some(0));
    }

    #[test]
    fn bases() {
        assert_eq!(parse_in_base(b" -Zz ", 36), Some(-1295));
        assert_eq!(parse_in_base(b"101", 2), Some(5));
        assert_eq!(parse_in_base(b"102", 2), None);
        assert_eq!(parse_in_base(b"", 10), None);
        assert_eq!(parse_in_base(b"1 1", 10), None);
    }

    #[test]
    fn shown_floats() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (2.75, "2.75"),
            (0.1, "0.1"),
            (1e14, "1e+14"),
            (99_999_999_999_999.0, "99999999999999.0"),
            (99_999.999_999_999_99, "100000.0"),
            (1e100, "1e+100"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-1.0 / 3.0, "-0.33333333333333"),
            (5e-324, "4.9406564584125e-324"),
            (f64::MAX, "1.7976931348623e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (TWO_POW_63, "9.2233720368548e+18"),
        ] {
            assert_eq!(shown(value), text);
        }
        assert_eq!(shown(f64::NAN.copysign(1.0)), "nan");
        assert_eq!(shown(f64::NAN.copysign(-1.0)), "-nan");
    }

    #[test]
    fn shown_integers() {
        let mut buffer = NumberBuffer::default();
        for value in [0, 1, -1, 9, 10, 99, 100, 12345, i64::MAX, i64::MIN] {
            assert_eq!(format_int(value, &mut buffer), value.to_string().as_bytes());
        }
    }

    #[test]
    fn division() {
        assert_eq!(int_floor_div(7, -2), Some(-4));
        assert_eq!(int_floor_div(i64::MIN, -1), Some(i64::MIN));
        assert_eq!(int_floor_div(1, 0), None);
        assert_eq!(int_modulo(7, -2), Some(-1));
        assert_eq!(int_modulo(i64::MIN, -1), Some(0));
        assert_eq!(int_modulo(1, 0), None);
        assert_eq!(float_modulo(5.5, -2.0), -0.5);
        assert_eq!(float_modulo(-1.0, f64::INFINITY), f64::INFINITY);
        assert_eq!(float_modulo(1.0, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(float_modulo(1.0, 0.0).is_nan());
    }

    #[test]
    fn shifts() {
        assert_eq!(shift_left(1, 63), i64::MIN);
        assert_eq!(shift_left(1, 64), 0);
        assert_eq!(shift_left(-1, -63), 1);
        assert_eq!(shift_right(-1, 63), 1);
        assert_eq!(shift_right(-1, i64::MIN), 0);
        assert_eq!(shift_right(1, -1), 2);
    }

    #[test]
    fn loop_limits() {
        assert_eq!(for_limit(1, 3.7, 1), Some(3));
        assert_eq!(for_limit(1, -3.7, -1), Some(-3));
        assert_eq!(for_limit(1, 1e300, 1), Some(i64::MAX));
        assert_eq!(for_limit(1, 1e300, -1), None);
        assert_eq!(for_limit(1, -1e300, -1), Some(i64::MIN));
        assert_eq!(for_limit(1, f64::NAN, 1), None);
        assert_eq!(for_limit(4, 3.7, 1), None);
        assert_eq!(for_repetitions(1, 10, 3), Some(3));
        assert_eq!(for_repetitions(10, 1, -3), Some(3));
        assert_eq!(for_repetitions(2, 1, 1), None);
        assert_eq!(for_repetitions(i64::MIN, i64::MAX, 1), Some(u64::MAX));
        assert_eq!(for_repetitions(i64::MAX, i64::MIN, i64::MIN), Some(1));
    }

    #[test]
    fn comparisons_across_subtypes() {
        let near = i64::MAX - 1;
        assert!(lt_int_float(near, TWO_POW_63) && !lt_float_int(TWO_POW_63, near));
        assert!(!eq_int_float(i64::MAX, TWO_POW_63));
        assert!(eq_int_float(i64::MIN, -TWO_POW_63));
        assert!(le_int_float(i64::MIN, -TWO_POW_63) && le_float_int(-TWO_POW_63, i64::MIN));
        assert!(!lt_int_float((1 << 53) + 1, (1u64 << 53) as f64));
        for compare in [lt_int_float, le_int_float] {
            assert!(!compare(i64::MAX, f64::NAN) && !compare(0, f64::NAN));
        }
        for compare in [lt_float_int, le_float_int] {
            assert!(!compare(f64::NAN, i64::MAX) && !compare(f64::NAN, 0));
        }
    }
}
