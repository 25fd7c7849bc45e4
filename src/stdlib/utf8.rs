//! The `utf8` library, over the [codec](super::utf8_codec).

use super::utf8_codec::{self as codec, CHAR_PATTERN, INVALID, MAX_CODE};
use super::support::Bytes;
use super::{Fields, library_of, running};
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::tier1::{Args, Builtin, NativeFn, NativeResult, Raised, State};

/// Makes the library's table.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    let steps: [NativeFn; 2] = [|st, args| step(st, args, true), |st, args| step(st, args, false)];
    let steps = steps.map(|step| st.rt.new_builtin(step, Builtin::Leaf, &[]));
    let mut upvalues = [Value::NIL; 2];
    for (upvalue, made) in upvalues.iter_mut().zip(steps) {
        *upvalue = Value::native(st.check_memory(made)?);
    }
    let pattern = st.string_value(CHAR_PATTERN)?;
    let known = [
        ("char", char as NativeFn, Builtin::Leaf),
        ("codepoint", codepoint, Builtin::Leaf),
        ("len", len, Builtin::Leaf),
        ("offset", offset, Builtin::Leaf),
    ];
    let mut known = Fields::of_builtins(st, &known)?;
    known.add_builtin(st, ("codes", codes, Builtin::Leaf), &upvalues)?;
    library_of(st, &[], known, &[("charpattern", pattern)])
}

/// A position that scripts gave: negative ones count from the end. 0 if it is before the start.
fn position(i: i64, len: usize) -> i64 {
    if i >= 0 {
        i
    } else if i.unsigned_abs() > len as u64 {
        0
    } else {
        len as i64 + i + 1
    }
}

fn char(st: &mut State, args: Args) -> NativeResult {
    let mut text = Bytes::default();
    let encoded = encode_all(st, args, &mut text).and_then(|()| st.string_value(text.as_slice()));
    text.release(st);
    st.ret1(args, encoded?)
}

fn encode_all(st: &mut State, args: Args, text: &mut Bytes) -> Result<(), Raised> {
    for i in 0..args.count {
        let code = st.arg_int(args, i)?;
        if code as u64 > MAX_CODE as u64 {
            return Err(st.arg_error(i, "value out of range"));
        }
        text.push(st, codec::encode(code as u32, &mut [0; 6]))?;
    }
    Ok(())
}

fn codepoint(st: &mut State, args: Args) -> NativeResult {
    let text = st.arg_str(args, 0)?.as_bytes();
    let from = st.arg_int_or(args, 1, 1)?;
    let from = position(from, text.len());
    let to = st.arg_int_or(args, 2, from)?;
    let to = position(to, text.len());
    let strict = st.arg(args, 3).is_falsy();
    if from < 1 {
        return Err(st.arg_error(1, "out of bounds"));
    }
    if to > text.len() as i64 {
        return Err(st.arg_error(2, "out of bounds"));
    }
    if from > to {
        return st.ret0();
    }
    if to - from >= i32::MAX as i64 {
        return Err(st.raise_text("string slice too long"));
    }
    // The text stays where it is; the argument keeps it alive, so results go above it.
    let first = args.base + args.count;
    let mut n = 0;
    let mut at = from as usize - 1;
    while at < to as usize {
        let Some((code, length)) = codec::decode(&text[at..], strict) else {
            return Err(st.raise_text(INVALID));
        };
        st.reserve(first + n + 1)?;
        // SAFETY: room was made above.
        unsafe { Value::store(st.slot(first + n), Value::int(code as i64)) };
        n += 1;
        at += length;
    }
    st.ret_at(args, first, n)
}

/// How many bytes or characters are passed between two polls.
const POLL_DISTANCE: usize = 1 << 16;
const INSIDE_CHARACTER: &str = "initial position is a continuation byte";

fn len(st: &mut State, args: Args) -> NativeResult {
    let text = st.arg_str(args, 0)?.as_bytes();
    let from = st.arg_int_or(args, 1, 1)?;
    let from = position(from, text.len());
    let to = st.arg_int_or(args, 2, -1)?;
    let to = position(to, text.len());
    let strict = st.arg(args, 3).is_falsy();
    if from < 1 || from > text.len() as i64 + 1 {
        return Err(st.arg_error(1, "initial position out of bounds"));
    }
    if to > text.len() as i64 {
        return Err(st.arg_error(2, "final position out of bounds"));
    }
    let (mut at, end) = (from as usize - 1, to.max(0) as usize);
    let mut characters = 0;
    while at < end {
        match codec::count(text, at, end.min(at + POLL_DISTANCE), strict) {
            Ok((n, next)) => {
                characters += n;
                at = next;
            }
            Err(at) => return st.ret2(args, Value::NIL, Value::int(at as i64 + 1)),
        }
        st.check_cancelled()?;
    }
    st.ret1(args, Value::int(characters as i64))
}

fn offset(st: &mut State, args: Args) -> NativeResult {
    let text = st.arg_str(args, 0)?.as_bytes();
    let n = st.arg_int(args, 1)?;
    let default = if n >= 0 { 1 } else { text.len() as i64 + 1 };
    let from = st.arg_int_or(args, 2, default)?;
    let from = position(from, text.len());
    if from < 1 || from > text.len() as i64 + 1 {
        return Err(st.arg_error(2, "position out of bounds"));
    }
    let (mut n, mut at) = (n, from as usize - 1);
    while n.unsigned_abs() > POLL_DISTANCE as u64 {
        let part = n.signum() * POLL_DISTANCE as i64;
        match codec::offset(text, part, at) {
            // Whatever the text begins with, nothing is in front of it.
            Ok(None | Some(0)) => return st.ret1(args, Value::NIL),
            Ok(Some(next)) => at = next,
            Err(codec::InsideCharacter) => return Err(st.raise_text(INSIDE_CHARACTER)),
        }
        // Forwards, the first character is the one at hand.
        n -= if part > 0 { part - 1 } else { part };
        st.check_cancelled()?;
    }
    match codec::offset(text, n, at) {
        Ok(Some(at)) => st.ret1(args, Value::int(at as i64 + 1)),
        Ok(None) => st.ret1(args, Value::NIL),
        Err(codec::InsideCharacter) => Err(st.raise_text(INSIDE_CHARACTER)),
    }
}

/// Returns the iterator (one of the two upvalues: strict, lax), the text and 0.
fn codes(st: &mut State, args: Args) -> NativeResult {
    let s = st.arg_str(args, 0)?;
    let lax = !st.arg(args, 1).is_falsy();
    if s.as_bytes().first().is_some_and(|&b| codec::is_continuation(b)) {
        return Err(st.arg_error(0, INVALID));
    }
    let step = running(st, args).upvalue(lax as usize);
    st.ret(args, &[step, Value::string(s), Value::int(0)])
}

fn step(st: &mut State, args: Args, strict: bool) -> NativeResult {
    let text = st.arg_str(args, 0)?.as_bytes();
    let after = st.arg_int(args, 1)?;
    match codec::next_code(text, after as u64 as usize, strict) {
        Ok(Some((at, code))) => st.ret2(args, Value::int(at as i64 + 1), Value::int(code as i64)),
        Ok(None) => st.ret0(),
        Err(codec::MalformedText) => Err(st.raise_text(INVALID)),
    }
}
