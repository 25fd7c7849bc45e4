//! Concatenation of strings and numbers.

use smallvec::SmallVec;

use super::state::{Raised, State};
use crate::runtime::number::{NumberBuffer, format_float, format_int};
use crate::runtime::object::Gc;
use crate::runtime::string::{SHORT_MAX, Str};
use crate::runtime::value::Value;

/// Room for a short string, and behind it for what is copied or written beyond its end.
const ROOM: usize = SHORT_MAX + size_of::<NumberBuffer>();

/// The concatenation of `n` strings and numbers from `first`.
pub fn joined(st: &mut State, first: *const Value, n: usize) -> Result<Gc<Str>, Raised> {
    let mut text = [0; ROOM];
    let mut len = 0;
    for i in 0..n {
        // SAFETY: `n` values from `first` are initialised.
        let v = unsafe { Value::load(first.add(i)) };
        match v.as_string() {
            Some(s) if len + s.len > SHORT_MAX => return joined_long(st, first, n),
            // SAFETY: the result so far is short, and so it is with the string; behind it there is room for rounding up.
            Some(s) => unsafe {
                s.copy_short(text.as_mut_ptr().add(len));
                len += s.len;
            },
            None => {
                let mut buffer = NumberBuffer::default();
                let digits = digits(v, &mut buffer);
                text[len..len + digits.len()].copy_from_slice(digits);
                len += digits.len();
                if len > SHORT_MAX {
                    return joined_long(st, first, n);
                }
            }
        }
    }
    let s = st.rt.new_string(&text[..len]);
    st.check_memory(s)
}

/// The same where the result may be long.
fn joined_long(st: &mut State, first: *const Value, n: usize) -> Result<Gc<Str>, Raised> {
    // SAFETY: `n` values from `first` are initialised.
    let values = (0..n).map(|i| unsafe { Value::load(first.add(i)) });
    // The digits of all numbers, one behind the other, and how many each has.
    let mut all_digits: SmallVec<[u8; 64]> = SmallVec::new();
    let mut counts: SmallVec<[usize; 8]> = SmallVec::new();
    for v in values.clone().filter(|v| !v.is_string()) {
        let mut buffer = NumberBuffer::default();
        let digits = digits(v, &mut buffer);
        all_digits.extend_from_slice(digits);
        counts.push(digits.len());
    }
    let mut rest = &all_digits[..];
    let mut counts = counts.into_iter();
    let pieces: SmallVec<[&[u8]; 8]> = values
        .clone()
        .map(|v| match v.as_string() {
            Some(s) => s.as_bytes(),
            None => {
                let (digits, behind) = rest.split_at(counts.next().unwrap_or(0));
                rest = behind;
                digits
            }
        })
        .collect();
    // What the first operand has in its buffer is not copied.
    let Some((at, left)) = values.enumerate().find(|(i, _)| !pieces[*i].is_empty()) else {
        return Ok(st.rt.strings.empty());
    };
    let left = match left.as_string() {
        Some(s) => Ok(s),
        None => st.rt.new_string(pieces[at]),
    };
    let s = left.and_then(|left| st.rt.append(left, &pieces[at + 1..]));
    st.check_memory(s)
}

/// A number as text.
fn digits(v: Value, buffer: &mut NumberBuffer) -> &[u8] {
    match v.as_int() {
        Some(i) => format_int(i, buffer),
        None => format_float(v.as_float_unchecked(), buffer),
    }
}
