//! The `string` library and the metatable of strings.
//!
//! Subjects are read in place: a string's bytes stay where they are, and the collector does not run inside a
//! host function, except while that calls back into Lua; its arguments are rooted then. Results are built in a
//! buffer that is kept from call to call ([`Scratch`]) or made directly from slices of the subject.

use std::mem::{self, MaybeUninit};
use std::sync::atomic::{AtomicU32, Ordering};

use smallvec::SmallVec;

use super::format::{self, FormatError, Item};
use super::pack::{self, Blame, Kind, Options, PackError, Unpacked};
use super::pattern::{self, Capture, Match, Matcher, PatternError, Workspace};
use super::support::{Bytes, index, tostring_value};
use super::{Fields, library, library_of, running};
use crate::bytecode::binary;
use crate::heap::{Heap, OutOfMemory};
use crate::runtime::metatable::{Event, basic_type};
use crate::runtime::number::{self, NumberBuffer};
use crate::runtime::object::Gc;
use crate::runtime::string::{COPY_DISTANCE, Str};
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier1::state::{STACK_MAX, STACK_SLACK, interrupt};
use crate::tier1::{Args, Arith, ArithError, Builtin, NativeFn, NativeResult, Raised, State, arith_numbers, native};

/// Makes the library's table and the metatable of strings.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    let known = [
        ("byte", byte as NativeFn, Builtin::StringByte),
        ("char", char, Builtin::StringChar),
        ("find", find, Builtin::Leaf),
        ("format", format, Builtin::Leaf),
        ("gmatch", gmatch, Builtin::Leaf),
        ("gsub", gsub, Builtin::Leaf),
        ("len", len, Builtin::StringLen),
        ("lower", lower, Builtin::Leaf),
        ("match", match_, Builtin::Leaf),
        ("packsize", packsize, Builtin::Leaf),
        ("rep", rep, Builtin::Leaf),
        ("reverse", reverse, Builtin::Leaf),
        ("sub", sub, Builtin::StringSub),
        ("unpack", unpack, Builtin::Leaf),
        ("upper", upper, Builtin::Leaf),
    ];
    let known = Fields::of_builtins(st, &known)?;
    let strings = library_of(
        st,
        &[
            ("dump", dump),
            ("pack", pack),
        ],
        known,
        &[],
    )?;
    let arithmetic: [(&str, NativeFn); 8] = [
        ("__add", |st, args| arith(st, args, Arith::Add, Event::Add)),
        ("__sub", |st, args| arith(st, args, Arith::Sub, Event::Sub)),
        ("__mul", |st, args| arith(st, args, Arith::Mul, Event::Mul)),
        ("__mod", |st, args| arith(st, args, Arith::Mod, Event::Mod)),
        ("__pow", |st, args| arith(st, args, Arith::Pow, Event::Pow)),
        ("__div", |st, args| arith(st, args, Arith::Div, Event::Div)),
        ("__idiv", |st, args| arith(st, args, Arith::IDiv, Event::IDiv)),
        ("__unm", |st, args| arith(st, args, Arith::Unm, Event::Unm)),
    ];
    let metatable = library(st, &arithmetic, &[("__index", Value::table(strings))])?;
    if let Some(basic) = basic_type(Tag::STRING) {
        st.rt.set_primitive_metatable(basic, Some(metatable));
    }
    Ok(strings)
}

/// What calls build results in and match with. One is kept from call to call, as a box: larger things are slow to move.
#[derive(Default)]
struct Scratch {
    buffer: Bytes,
    work: Workspace,
}

#[derive(Default)]
struct Kept(Option<Box<Scratch>>);

/// A larger buffer is not kept.
const KEPT_MAX: usize = 1 << 18;

/// Takes what is kept, with an empty buffer. A call that is made meanwhile gets another one.
fn take_scratch(st: &mut State) -> Box<Scratch> {
    let mut scratch = st.extensions.get_or_default::<Kept>().0.take().unwrap_or_default();
    scratch.buffer.truncate(0);
    scratch
}

fn put_scratch(st: &mut State, mut scratch: Box<Scratch>) {
    if scratch.buffer.capacity() > KEPT_MAX {
        mem::take(&mut scratch.buffer).release(st);
    }
    if let Some(other) = st.extensions.get_or_default::<Kept>().0.replace(scratch) {
        other.buffer.release(st);
    }
}

/// Builds a string in the buffer and returns it.
fn build(
    st: &mut State,
    args: Args,
    fill: impl FnOnce(&mut State, &mut Bytes) -> Result<(), Raised>,
) -> NativeResult {
    let mut scratch = take_scratch(st);
    let made = fill(st, &mut scratch.buffer).and_then(|()| st.string_value(scratch.buffer.as_slice()));
    put_scratch(st, scratch);
    let made = made?;
    st.ret1(args, made)
}

/// The offset that the position `i` means as the start of a range: from 0, clipped below only.
#[inline]
fn start_offset(i: i64, len: usize) -> usize {
    if i > 0 {
        i as usize - 1
    } else if i == 0 {
        0
    } else {
        // Negative positions count from the end; those before the first byte mean the first.
        (len as i64).saturating_add(i).max(0) as usize
    }
}

/// The offset behind the position `i` as the last of a range: clipped to the string.
#[inline]
fn end_offset(i: i64, len: usize) -> usize {
    if i > len as i64 {
        len
    } else if i >= 0 {
        i as usize
    } else {
        (len as i64).saturating_add(i).saturating_add(1).max(0) as usize
    }
}

/// Stores `n` results one after the other.
fn ret_each(
    st: &mut State,
    args: Args,
    n: usize,
    mut value: impl FnMut(&mut State, usize) -> Result<Value, Raised>,
) -> NativeResult {
    st.reserve(args.base + n as u32)?;
    for i in 0..n {
        let v = value(st, i)?;
        // SAFETY: room was made above.
        unsafe { Value::store(st.slot(args.base - 1 + i as u32), v) };
    }
    Ok(n as i32)
}

fn dump(st: &mut State, args: Args) -> NativeResult {
    let function = st.arg_function(args, 0)?;
    let strip = !st.arg(args, 1).is_falsy();
    let proto = function.as_closure().map(|closure| closure.proto);
    let Some(proto) = proto.filter(|proto| binary::is_writable(proto)) else {
        return Err(st.raise_text("unable to dump given function"));
    };
    let mut chunk = Bytes::default();
    let written = binary::write(&proto, strip, &mut |piece| chunk.push(st, piece));
    let v = written.and_then(|()| st.string_value(chunk.as_slice()));
    chunk.release(st);
    st.ret1(args, v?)
}

fn len(st: &mut State, args: Args) -> NativeResult {
    let s = st.arg_str(args, 0)?;
    st.ret1(args, Value::int(s.len as i64))
}

fn sub(st: &mut State, args: Args) -> NativeResult {
    let s = st.arg_str(args, 0)?;
    let from = st.arg_int(args, 1)?;
    let to = st.arg_int_or(args, 2, -1)?;
    let part = substring(st, s, from, to);
    let part = st.check_memory(part)?;
    st.ret1(args, Value::string(part))
}

/// The part of `s` from position `from` to position `to`.
#[inline]
pub fn substring(st: &mut State, s: Gc<Str>, from: i64, to: i64) -> Result<Gc<Str>, OutOfMemory> {
    let start = start_offset(from, s.len);
    let end = end_offset(to, s.len);
    if start >= end {
        Ok(st.rt.strings.empty())
    } else if end - start == s.len {
        Ok(s)
    } else {
        st.rt.new_string(&s.as_bytes()[start..end])
    }
}

fn byte(st: &mut State, args: Args) -> NativeResult {
    let s = st.arg_str(args, 0)?;
    let from = st.arg_int_or(args, 1, 1)?;
    let start = start_offset(from, s.len);
    let end = if args.count < 3 && from > 0 {
        // The most common case: one position.
        match s.as_bytes().get(start) {
            Some(&b) => return st.ret1(args, Value::int(b as i64)),
            None => return st.ret0(),
        }
    } else {
        let to = st.arg_int_or(args, 2, from)?;
        end_offset(to, s.len)
    };
    if start >= end {
        return st.ret0();
    }
    let bytes = &s.as_bytes()[start..end];
    if bytes.len() >= crate::tier1::state::STACK_MAX as usize {
        return Err(st.raise_text("stack overflow (string slice too long)"));
    }
    ret_each(st, args, bytes.len(), |_, i| Ok(Value::int(bytes[i] as i64)))
}

fn char(st: &mut State, args: Args) -> NativeResult {
    let mut bytes: SmallVec<[u8; 64]> = SmallVec::new();
    for i in 0..args.count {
        let c = st.arg_int(args, i)?;
        match u8::try_from(c) {
            Ok(b) => bytes.push(b),
            Err(_) => return Err(st.arg_error(i, "value out of range")),
        }
    }
    let v = st.string_value(&bytes)?;
    st.ret1(args, v)
}

/// Makes a string as long as the argument, each byte by `map` of the offset and the argument's bytes.
#[inline(always)]
fn map_bytes(st: &mut State, args: Args, map: impl Fn(usize, &[u8]) -> u8) -> NativeResult {
    let s = st.arg_str(args, 0)?;
    let from = s.as_bytes();
    // SAFETY: every byte is written.
    let made = unsafe {
        st.rt.new_string_with(s.len, |heap, to| {
            for start in (0..to.len()).step_by(COPY_DISTANCE) {
                heap.poll()?;
                let end = to.len().min(start + COPY_DISTANCE);
                for (i, b) in (start..end).zip(&mut to[start..end]) {
                    b.write(map(i, from));
                }
            }
            Ok(())
        })
    };
    let made = st.check_memory(made)?;
    st.ret1(args, Value::string(made))
}

fn lower(st: &mut State, args: Args) -> NativeResult {
    map_bytes(st, args, |i, from| from[i].to_ascii_lowercase())
}

fn upper(st: &mut State, args: Args) -> NativeResult {
    map_bytes(st, args, |i, from| from[i].to_ascii_uppercase())
}

fn reverse(st: &mut State, args: Args) -> NativeResult {
    map_bytes(st, args, |i, from| from[from.len() - 1 - i])
}

/// The longest result of `rep`, in bytes, separator after the last copy included.
const REP_MAX: u64 = i32::MAX as u64;

fn rep(st: &mut State, args: Args) -> NativeResult {
    let s = st.arg_str(args, 0)?;
    let n = st.arg_int(args, 1)?;
    let separator = if st.arg(args, 2).is_nil() { st.rt.strings.empty() } else { st.arg_str(args, 2)? };
    if n <= 0 {
        let empty = st.rt.strings.empty();
        return st.ret1(args, Value::string(empty));
    }
    let unit = s.len as u64 + separator.len as u64;
    if unit > REP_MAX / n as u64 {
        return Err(st.raise_text("resulting string too large"));
    }
    if n == 1 {
        return st.ret1(args, Value::string(s));
    }
    let total = (unit * n as u64) as usize - separator.len;
    let (text, between) = (s.as_bytes(), separator.as_bytes());
    let fill = |heap: &Heap, to: &mut [MaybeUninit<u8>]| {
        if let ([b], []) = (text, between) {
            for part in to.chunks_mut(COPY_DISTANCE) {
                heap.poll()?;
                part.fill(MaybeUninit::new(*b));
            }
            return Ok(());
        }
        // The first copy and separator, then twice as much each time.
        let unit = unit as usize;
        let first = unit.min(total);
        let mut done = 0;
        for part in text.chunks(COPY_DISTANCE).chain(between.chunks(COPY_DISTANCE)) {
            heap.poll()?;
            let n = part.len().min(first - done);
            to[done..done + n].write_copy_of_slice(&part[..n]);
            done += n;
        }
        while done < total {
            heap.poll()?;
            let n = done.min(total - done).min(COPY_DISTANCE / unit.max(1) * unit + unit);
            let (written, rest) = to.split_at_mut(done);
            rest[..n].copy_from_slice(&written[..n]);
            done += n;
        }
        Ok(())
    };
    // SAFETY: every byte is written.
    let made = unsafe { st.rt.new_string_with(total, fill) };
    let made = st.check_memory(made)?;
    st.ret1(args, Value::string(made))
}

// Patterns.

/// How many bytes are searched for a text between two polls.
const FIND_DISTANCE: usize = 1 << 20;

#[inline(always)]
fn cancelled(interrupt: &AtomicU32) -> bool {
    interrupt.load(Ordering::Relaxed) & interrupt::CANCEL != 0
}

#[cold]
#[inline(never)]
fn pattern_error(st: &mut State, e: PatternError) -> Raised {
    match e {
        PatternError::OutOfMemory => st.raise_memory(),
        PatternError::Interrupted => match st.check_cancelled() {
            Err(raised) => raised,
            // The request has been withdrawn meanwhile.
            Ok(()) => st.raise_text("interrupted"),
        },
        e => st.raise_text(&e.to_string()),
    }
}

/// A capture as a value.
#[inline]
fn capture_value(st: &mut State, source: &[u8], capture: Capture) -> Result<Value, Raised> {
    match capture {
        Capture::Text { start, end } => st.string_value(&source[start..end]),
        Capture::Position(offset) => Ok(Value::int(offset as i64 + 1)),
    }
}

/// Stores the captures of a match as results behind the first `skip` ones; the whole match if there are no captures
/// and `whole_too`.
#[inline]
fn ret_captures(
    st: &mut State,
    args: Args,
    skip: u32,
    source: &[u8],
    work: &Workspace,
    whole: Match,
    whole_too: bool,
) -> NativeResult {
    let mut n = work.capture_count();
    if n == 0 && whole_too {
        n = 1;
    }
    store_captures(st, args.base - 1 + skip, n, source, work, whole)?;
    Ok((skip as usize + n) as i32)
}

/// Stores the first `n` captures of a match, or the whole match if there are none, at stack index `first` and up.
#[inline]
fn store_captures(
    st: &mut State,
    first: u32,
    n: usize,
    source: &[u8],
    work: &Workspace,
    whole: Match,
) -> Result<(), Raised> {
    st.reserve(first + n as u32 + 1)?;
    for i in 0..n {
        let v = match work.capture(i, whole) {
            Ok(capture) => capture_value(st, source, capture)?,
            Err(e) => return Err(pattern_error(st, e)),
        };
        // SAFETY: room was made above.
        unsafe { Value::store(st.slot(first + i as u32), v) };
    }
    Ok(())
}

/// Subjects shorter than this are searched byte by byte, which needs no preparation.
const SHORT_SUBJECT: usize = 512;

#[inline]
fn find_plain(source: &[u8], needle: &[u8], init: usize) -> Option<usize> {
    let (first, rest) = match needle {
        [first, rest @ ..] if source.len() < SHORT_SUBJECT => (*first, rest),
        _ => return pattern::find_plain(source, needle, init),
    };
    let last = source.len().checked_sub(needle.len())?;
    let mut at = init;
    while at <= last {
        at += memchr::memchr(first, &source[at..=last])?;
        if &source[at + 1..at + 1 + rest.len()] == rest {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn find(st: &mut State, args: Args) -> NativeResult {
    find_or_match(st, args, true)
}

fn match_(st: &mut State, args: Args) -> NativeResult {
    find_or_match(st, args, false)
}

/// [`find_plain`], in pieces, so that it can be stopped.
#[inline(always)]
fn find_text(st: &mut State, source: &[u8], text: &[u8], mut init: usize) -> Result<Option<usize>, Raised> {
    let distance = FIND_DISTANCE.max(text.len());
    while source.len() - init > distance + text.len() {
        let found = find_plain(&source[..init + distance + text.len()], text, init);
        if found.is_some() {
            return Ok(found);
        }
        st.check_cancelled()?;
        init += distance;
    }
    Ok(find_plain(source, text, init))
}

#[inline(always)]
fn find_or_match(st: &mut State, args: Args, find: bool) -> NativeResult {
    let source = st.arg_str(args, 0)?.as_bytes();
    let pattern = st.arg_str(args, 1)?.as_bytes();
    let from = st.arg_int_or(args, 2, 1)?;
    let init = start_offset(from, source.len());
    if init > source.len() {
        return st.ret1(args, Value::NIL);
    }
    if find && (!st.arg(args, 3).is_falsy() || pattern::is_plain(pattern)) {
        return match find_text(st, source, pattern, init)? {
            Some(at) => st.ret2(args, Value::int(at as i64 + 1), Value::int((at + pattern.len()) as i64)),
            None => st.ret1(args, Value::NIL),
        };
    }
    let mut scratch = take_scratch(st);
    let interrupt = &st.interrupt;
    let found = Matcher::new(source, pattern, &mut scratch.work, &mut |_| !cancelled(interrupt)).find(init);
    let result = match found {
        Ok(Some(whole)) if find => ret_captures(st, args, 2, source, &scratch.work, whole, false).inspect(|_| {
            // SAFETY: the function's slot and the one above.
            unsafe {
                Value::store(st.slot(args.base - 1), Value::int(whole.start as i64 + 1));
                Value::store(st.slot(args.base), Value::int(whole.end as i64));
            }
        }),
        Ok(Some(whole)) => ret_captures(st, args, 0, source, &scratch.work, whole, true),
        Ok(None) => st.ret1(args, Value::NIL),
        Err(e) => Err(pattern_error(st, e)),
    };
    put_scratch(st, scratch);
    result
}

/// Upvalues of the iterator that `gmatch` makes.
mod gmatch_state {
    pub const SOURCE: usize = 0;
    pub const PATTERN: usize = 1;
    /// Where the next attempt starts.
    pub const POSITION: usize = 2;
    /// Where the last match ended, or -1.
    pub const LAST_END: usize = 3;
}

fn gmatch(st: &mut State, args: Args) -> NativeResult {
    let source = st.arg_str(args, 0)?;
    let pattern = st.arg_str(args, 1)?;
    let from = st.arg_int_or(args, 2, 1)?;
    let init = start_offset(from, source.len).min(source.len + 1);
    let upvalues = [Value::string(source), Value::string(pattern), Value::int(init as i64), Value::int(-1)];
    let made = st.rt.new_builtin(gmatch_step, Builtin::Leaf, &upvalues);
    let made = st.check_memory(made)?;
    st.ret1(args, Value::native(made))
}

fn gmatch_step(st: &mut State, args: Args) -> NativeResult {
    use gmatch_state::{LAST_END, PATTERN, POSITION, SOURCE};
    let this = running(st, args);
    let (Some(source), Some(pattern)) = (this.upvalue(SOURCE).as_string(), this.upvalue(PATTERN).as_string()) else {
        return st.ret0();
    };
    let source = source.as_bytes();
    let position = this.upvalue(POSITION).as_int_unchecked() as usize;
    let last_end = usize::try_from(this.upvalue(LAST_END).as_int_unchecked()).ok();
    let mut scratch = take_scratch(st);
    let interrupt = &st.interrupt;
    let found = Matcher::unanchored(source, pattern.as_bytes(), &mut scratch.work, &mut |_| !cancelled(interrupt))
        .find_next(position, last_end);
    let result = match found {
        Ok(Some(whole)) => {
            let results = ret_captures(st, args, 0, source, &scratch.work, whole, true);
            if results.is_ok() {
                // Integers need no barrier.
                this.set_upvalue(POSITION, Value::int(whole.end as i64));
                this.set_upvalue(LAST_END, Value::int(whole.end as i64));
            }
            results
        }
        Ok(None) => {
            this.set_upvalue(POSITION, Value::int(source.len() as i64 + 1));
            st.ret0()
        }
        Err(e) => Err(pattern_error(st, e)),
    };
    put_scratch(st, scratch);
    result
}

/// What `gsub` replaces matches by, unless it is a function.
#[derive(Clone, Copy)]
enum Replacement {
    /// A string without escapes.
    Plain(Gc<Str>),
    /// A string with captures to be filled in.
    Template(Gc<Str>),
    Table(Gc<Table>),
}

fn gsub(st: &mut State, args: Args) -> NativeResult {
    let source = st.arg_str(args, 0)?;
    let pattern = st.arg_str(args, 1)?;
    let max = st.arg_int_or(args, 3, i64::MAX)?;
    let v = st.arg(args, 2);
    let replacement = match v.tag() {
        Tag::STRING | Tag::INT | Tag::FLOAT => {
            let s = st.arg_str(args, 2)?;
            if memchr::memchr(b'%', s.as_bytes()).is_some() {
                Replacement::Template(s)
            } else {
                Replacement::Plain(s)
            }
        }
        Tag::TABLE => Replacement::Table(st.arg_table(args, 2)?),
        tag if tag.is_function() => {
            if st.in_leaf {
                return Err(Raised);
            }
            let calls = Box::new(Calls { scratch: take_scratch(st), copied: 0, found: None, count: 0, max });
            let func = st.free_index();
            return go_on(st, calls, func, None);
        }
        _ => return Err(st.arg_type_error(args, 2, "string/function/table")),
    };
    let mut scratch = take_scratch(st);
    let counted = substitute(st, source.as_bytes(), pattern.as_bytes(), replacement, max, &mut scratch);
    let result = match counted {
        Ok((count, true)) => match st.string_value(scratch.buffer.as_slice()) {
            Ok(made) => st.ret2(args, made, Value::int(count)),
            Err(raised) => Err(raised),
        },
        Ok((count, false)) => st.ret2(args, Value::string(source), Value::int(count)),
        Err(raised) => Err(raised),
    };
    put_scratch(st, scratch);
    result
}

/// A substitution that calls a function for each match.
struct Calls {
    scratch: Box<Scratch>,
    /// The subject is in the buffer up to here.
    copied: usize,
    /// The match for which the function has been called.
    found: Option<Match>,
    count: i64,
    max: i64,
}

impl Calls {
    /// Puts the replacement of the last match into the result, if the function has given one.
    fn replace(&mut self, st: &mut State, source: &[u8], v: Value) -> Result<(), Raised> {
        let Some(whole) = self.found.filter(|_| !v.is_falsy()) else {
            return Ok(());
        };
        // A script may have exchanged the subject with the debug library.
        let kept = source.get(self.copied..whole.start).unwrap_or_default();
        self.scratch.buffer.push(st, kept)?;
        self.copied = whole.end;
        append_value(st, &mut self.scratch.buffer, v)
    }

    /// Finds the next match and puts its captures at stack index `first`; how many, or `None` at the end.
    fn find(&mut self, st: &mut State, source: &[u8], pattern: &[u8], first: u32) -> Result<Option<u32>, Raised> {
        let anchored = pattern.first() == Some(&b'^');
        if self.count >= self.max || anchored && self.count > 0 {
            return Ok(None);
        }
        let last_end = self.found.map(|whole| whole.end);
        let interrupt = &st.interrupt;
        let found = Matcher::new(source, pattern, &mut self.scratch.work, &mut |_| !cancelled(interrupt))
            .find_next(last_end.unwrap_or(0).min(source.len()), last_end);
        match found {
            Ok(Some(whole)) => {
                self.found = Some(whole);
                self.count += 1;
                let n = self.scratch.work.capture_count().max(1);
                store_captures(st, first, n, source, &self.scratch.work, whole)?;
                Ok(Some(n as u32))
            }
            Ok(None) => Ok(None),
            Err(e) => Err(pattern_error(st, e)),
        }
    }
}

/// The function has returned: its results lie where it was.
fn called(st: &mut State, results: Args) -> NativeResult {
    let calls = st.take_waiting::<Calls>();
    let v = st.arg(results, 0);
    go_on(st, calls, results.base, Some(v))
}

/// Goes on substituting with a call at stack index `func`, after a call that has given `v`.
fn go_on(st: &mut State, mut calls: Box<Calls>, func: u32, v: Option<Value>) -> NativeResult {
    let args = Args { base: st.frame().base, count: 3 };
    let next = call_next(st, &mut calls, args, func, v);
    if let Ok(Some(n)) = next {
        let charged = calls.scratch.buffer.charged();
        st.keep_waiting(calls, charged)?;
        return st.call_then(func, n, called);
    }
    put_scratch(st, calls.scratch);
    next.map(|_| 2)
}

/// Prepares the next call and returns its number of arguments; at the end `None`, with the results in their places.
fn call_next(
    st: &mut State,
    calls: &mut Calls,
    args: Args,
    func: u32,
    v: Option<Value>,
) -> Result<Option<u32>, Raised> {
    let source = st.arg_str(args, 0)?;
    let pattern = st.arg_str(args, 1)?;
    if let Some(v) = v {
        calls.replace(st, source.as_bytes(), v)?;
        st.check_cancelled()?;
    }
    st.frame_mut().top = func;
    if let Some(n) = calls.find(st, source.as_bytes(), pattern.as_bytes(), func + 1)? {
        let f = st.arg(args, 2);
        // SAFETY: room was made for the captures above.
        unsafe { Value::store(st.slot(func), f) };
        st.forbid_yields()?;
        return Ok(Some(n));
    }
    let mut made = Value::string(source);
    if calls.copied > 0 || calls.scratch.buffer.len() > 0 {
        calls.scratch.buffer.push(st, source.as_bytes().get(calls.copied..).unwrap_or_default())?;
        made = st.string_value(calls.scratch.buffer.as_slice())?;
    }
    st.ret2(args, made, Value::int(calls.count)).map(|_| None)
}

/// Replaces the first `max` matches; returns how many there were, and whether the buffer holds a result that differs from
/// the subject.
fn substitute(
    st: &mut State,
    source: &[u8],
    pattern: &[u8],
    replacement: Replacement,
    max: i64,
    scratch: &mut Scratch,
) -> Result<(i64, bool), Raised> {
    let Scratch { buffer: out, work } = scratch;
    let anchored = pattern.first() == Some(&b'^');
    let mut count = 0;
    let mut changed = false;
    // The subject is in `out` up to here.
    let mut copied = 0;
    match replacement {
        Replacement::Plain(s) | Replacement::Template(s) => {
            let text = s.as_bytes();
            let plain = matches!(replacement, Replacement::Plain(_));
            let (interrupt, heap) = (&st.interrupt, &mut st.rt.heap);
            let mut poll = |_| !cancelled(interrupt);
            let mut matcher = Matcher::new(source, pattern, work, &mut poll);
            let mut last_end = None;
            let mut position = 0;
            while count < max {
                let step = matcher.find_next(position, last_end).and_then(|found| {
                    let Some(whole) = found else {
                        return Ok(None);
                    };
                    let mut pieces = 0u32;
                    let mut append = |piece: &[u8]| {
                        pieces = pieces.wrapping_add(1);
                        if pieces & 0xFFFF == 0 {
                            heap.poll().map_err(|_| PatternError::Interrupted)?;
                        }
                        out.append(heap, piece).map_err(|_| PatternError::OutOfMemory)
                    };
                    append(&source[copied..whole.start])?;
                    if plain {
                        append(text)?;
                    } else {
                        matcher.replacement(text, whole, append)?;
                    }
                    Ok(Some(whole.end))
                });
                match step {
                    Ok(Some(end)) => {
                        count += 1;
                        changed = true;
                        (copied, position, last_end) = (end, end, Some(end));
                    }
                    Ok(None) => break,
                    Err(e) => return Err(pattern_error(st, e)),
                }
                if anchored {
                    break;
                }
            }
        }
        Replacement::Table(t) => {
            let mut last_end = None;
            let mut position = 0;
            while count < max {
                let interrupt = &st.interrupt;
                let mut poll = |_| !cancelled(interrupt);
                let found = Matcher::new(source, pattern, work, &mut poll).find_next(position, last_end);
                let whole = match found {
                    Ok(Some(whole)) => whole,
                    Ok(None) => break,
                    Err(e) => return Err(pattern_error(st, e)),
                };
                count += 1;
                (position, last_end) = (whole.end, Some(whole.end));
                let key = first_capture(st, source, work, whole)?;
                let mut v = st.rt.get(t, key);
                if v.is_nil() && t.metatable.get().is_some() {
                    v = index(st, Value::table(t), key)?;
                }
                if !v.is_falsy() {
                    out.push(st, &source[copied..whole.start])?;
                    append_value(st, out, v)?;
                    copied = whole.end;
                    changed = true;
                }
                st.check_cancelled()?;
                if anchored {
                    break;
                }
            }
        }
    }
    if changed {
        out.push(st, &source[copied..])?;
    }
    Ok((count, changed))
}

fn first_capture(st: &mut State, source: &[u8], work: &Workspace, whole: Match) -> Result<Value, Raised> {
    match work.capture(0, whole) {
        Ok(capture) => capture_value(st, source, capture),
        Err(e) => Err(pattern_error(st, e)),
    }
}

/// Appends a replacement that a table or function gave.
fn append_value(st: &mut State, out: &mut Bytes, v: Value) -> Result<(), Raised> {
    let mut digits = NumberBuffer::default();
    let text = match v.tag() {
        Tag::STRING => Gc::<Str>::as_bytes(v.as_string().unwrap_or(st.rt.strings.empty())),
        Tag::INT => number::format_int(v.as_int_unchecked(), &mut digits),
        Tag::FLOAT => number::format_float(v.as_float_unchecked(), &mut digits),
        tag => return Err(st.raise_text(&format!("invalid replacement value (a {})", tag.type_name()))),
    };
    out.push(st, text)
}

// Formatting.

fn format(st: &mut State, args: Args) -> NativeResult {
    let text = st.arg_str(args, 0)?.as_bytes();
    build(st, args, |st, out| {
        let mut rest = text;
        let mut i = 0;
        // Mostly a few bytes away.
        while let Some(percent) = rest.iter().position(|&byte| byte == b'%') {
            out.push(st, &rest[..percent])?;
            rest = &rest[percent + 1..];
            if rest.first() == Some(&b'%') {
                out.push(st, b"%")?;
                rest = &rest[1..];
                continue;
            }
            i += 1;
            if i >= args.count {
                return Err(st.arg_error(i, "no value"));
            }
            let length = match rest.first() {
                Some(b'd') => {
                    let n = st.arg_int(args, i)?;
                    let mut digits = NumberBuffer::default();
                    out.push(st, number::format_int(n, &mut digits))?;
                    1
                }
                Some(b's') => {
                    append_tostring(st, out, st.arg(args, i))?;
                    1
                }
                _ => {
                    let (item, length) = match Item::parse(rest) {
                        Ok(parsed) => parsed,
                        Err(e) => return Err(format_error(st, e)),
                    };
                    format_item(st, out, args, i, &item)?;
                    length
                }
            };
            rest = &rest[length..];
        }
        out.push(st, rest)
    })
}

#[cold]
fn format_error(st: &mut State, e: FormatError) -> Raised {
    st.raise_bytes(&e.message())
}

/// Appends `tostring(v)`.
fn append_tostring(st: &mut State, out: &mut Bytes, v: Value) -> Result<(), Raised> {
    if let Some(s) = v.as_string() {
        return out.push(st, s.as_bytes());
    }
    if v.tag().is_number() {
        return append_value(st, out, v);
    }
    let s = tostring_value(st, v)?;
    out.push(st, s.as_bytes())
}

/// Appends argument `i` as an item with modifiers, or of the less common conversions, says. The argument's type is
/// checked before the modifiers or after them, as in Lua.
fn format_item(st: &mut State, out: &mut Bytes, args: Args, i: u32, item: &Item<'_>) -> Result<(), Raised> {
    let done = match item.conversion {
        b'c' => {
            let spec = item.spec().map_err(|e| format_error(st, e))?;
            let c = st.arg_int(args, i)?;
            out.write(st, |out| format::format_char_spec(out, &spec, c as u8))?
        }
        b'd' | b'i' | b'u' | b'o' | b'x' | b'X' => {
            let n = st.arg_int(args, i)?;
            let spec = item.spec().map_err(|e| format_error(st, e))?;
            out.write(st, |out| format::format_int_spec(out, &spec, n))?
        }
        b'a' | b'A' => {
            let spec = item.spec().map_err(|e| format_error(st, e))?;
            let n = st.arg_float(args, i)?;
            out.write(st, |out| format::format_float_spec(out, &spec, n))?
        }
        b'e' | b'E' | b'f' | b'g' | b'G' => {
            let n = st.arg_float(args, i)?;
            let spec = item.spec().map_err(|e| format_error(st, e))?;
            out.write(st, |out| format::format_float_spec(out, &spec, n))?
        }
        b'p' => {
            let spec = item.spec().map_err(|e| format_error(st, e))?;
            let v = st.arg(args, i);
            let identity = v.tag().is_collectable() || v.tag() == Tag::LIGHT && v.payload() != 0;
            out.write(st, |out| format::format_pointer_spec(out, &spec, identity.then_some(v.payload() as usize)))?
        }
        b'q' => {
            item.spec().map_err(|e| format_error(st, e))?;
            let v = st.arg(args, i);
            match v.tag() {
                Tag::STRING => {
                    let s = st.arg_str(args, i)?;
                    return format::quote_string(s.as_bytes(), |piece| out.push(st, piece));
                }
                Tag::INT => out.write(st, |out| format::quote_int(out, v.as_int_unchecked()))?,
                Tag::FLOAT => out.write(st, |out| format::quote_float(out, v.as_float_unchecked()))?,
                Tag::NIL | Tag::FALSE | Tag::TRUE => return append_tostring(st, out, v),
                _ => return Err(st.arg_error(i, "value has no literal form")),
            }
        }
        b's' => {
            let s = tostring_value(st, st.arg(args, i))?;
            let text = s.as_bytes();
            if item.has_modifiers() && memchr::memchr(0, text).is_some() {
                return Err(st.arg_error(i, "string contains zeros"));
            }
            let spec = item.spec().map_err(|e| format_error(st, e))?;
            out.write(st, |out| format::format_str_spec(out, &spec, text))?
        }
        _ => {
            item.spec().map_err(|e| format_error(st, e))?;
            Ok(())
        }
    };
    done.map_err(|_| st.raise_memory())
}

// Packing.

#[cold]
fn pack_error(st: &mut State, e: PackError, value: u32) -> Raised {
    if e == PackError::OutOfMemory {
        return st.raise_memory();
    }
    match e.blame() {
        Blame::None => st.raise_bytes(&e.message()),
        Blame::Argument(n) => st.arg_error(n as u32 - 1, &e.to_string()),
        Blame::Value => st.arg_error(value, &e.to_string()),
    }
}

fn pack(st: &mut State, args: Args) -> NativeResult {
    let mut options = Options::new(st.arg_str(args, 0)?.as_bytes());
    // Messages call the first missing value nil, not "no value".
    st.push_temp(Value::NIL)?;
    let args = Args { count: args.count + 1, ..args };
    build(st, args, |st, out| {
        let mut i = 0;
        for seen in 1u32.. {
            if seen & 0xFFFF == 0 {
                st.check_cancelled()?;
            }
            let layout = match options.next_option(out.len()) {
                Ok(Some(layout)) => layout,
                Ok(None) => return Ok(()),
                Err(e) => return Err(pack_error(st, e, i)),
            };
            // A string of fixed size may be much longer than its text.
            let fixed = if layout.kind == Kind::FixedString { layout.size } else { 0 };
            let reserved = out.reserve(&mut st.rt.heap, layout.padding + fixed);
            st.check_memory(reserved)?;
            let mut done = out.write(st, |out| pack::pad(out, &layout))?;
            if !matches!(layout.kind, Kind::Padding | Kind::Nothing) {
                i += 1;
            }
            if done.is_ok() {
                done = match layout.kind {
                    Kind::Int | Kind::Uint => {
                        let n = st.arg_int(args, i)?;
                        out.write(st, |out| pack::pack_int(out, &layout, n))?
                    }
                    Kind::Float => {
                        let n = st.arg_float(args, i)?;
                        out.write(st, |out| pack::pack_float(out, &layout, n))?
                    }
                    Kind::FixedString | Kind::CountedString | Kind::ZeroString => {
                        let s = st.arg_str(args, i)?;
                        out.write(st, |out| pack::pack_string(out, &layout, s.as_bytes()))?
                    }
                    Kind::Padding | Kind::Nothing => Ok(()),
                };
            }
            if let Err(e) = done {
                return Err(pack_error(st, e, i));
            }
        }
        Ok(())
    })
}

fn packsize(st: &mut State, args: Args) -> NativeResult {
    let format = st.arg_str(args, 0)?;
    match pack::pack_size(format.as_bytes()) {
        Ok(size) => st.ret1(args, Value::int(size as i64)),
        Err(e) => Err(pack_error(st, e, 0)),
    }
}

fn unpack(st: &mut State, args: Args) -> NativeResult {
    let mut options = Options::new(st.arg_str(args, 0)?.as_bytes());
    let data = st.arg_str(args, 1)?.as_bytes();
    let from = st.arg_int_or(args, 2, 1)?;
    let mut offset = start_offset(from, data.len());
    if offset > data.len() {
        return Err(st.arg_error(2, "initial position out of string"));
    }
    let first = st.free_index();
    let mut count = 0;
    for seen in 1u32.. {
        if seen & 0xFFFF == 0 {
            st.check_cancelled()?;
        }
        let step = match options.next_option(offset) {
            Ok(Some(layout)) => pack::unpack(data, offset, &layout),
            Ok(None) => break,
            Err(e) => Err(e),
        };
        let (unpacked, end) = step.map_err(|e| pack_error(st, e, 1))?;
        offset = end;
        let v = match unpacked {
            Unpacked::Nothing => continue,
            Unpacked::Int(n) => Value::int(n),
            Unpacked::Float(n) => Value::float(n),
            Unpacked::Text(range) => st.string_value(&data[range])?,
        };
        if first + count + 1 >= STACK_MAX - STACK_SLACK {
            return Err(st.raise_text("stack overflow (too many results)"));
        }
        st.push_temp(v)?;
        count += 1;
    }
    st.push_temp(Value::int(offset as i64 + 1))?;
    st.return_at(first, count + 1)
}

// Arithmetic.

/// An arithmetic metamethod of strings: converts the operands, or leaves the operation to the second one's metamethod.
fn arith(st: &mut State, args: Args, op: Arith, event: Event) -> NativeResult {
    let (x, y) = (st.arg(args, 0), st.arg(args, 1));
    if let (Some(a), Some(b)) = (native::to_number(x), native::to_number(y)) {
        return match arith_numbers(op, a, b) {
            Ok(v) => st.ret1(args, v),
            Err(ArithError::DivideByZero) => Err(st.raise_message(b"attempt to divide by zero")),
            Err(ArithError::ModuloByZero) => Err(st.raise_message(b"attempt to perform 'n%0'")),
            Err(ArithError::NoInteger) => Err(st.raise_text("number has no integer representation")),
        };
    }
    let handler = if y.is_string() { Value::NIL } else { st.rt.metamethod(y, event) };
    if handler.is_nil() {
        let text = format!(
            "attempt to {} a '{}' with a '{}'",
            &event.name()[2..],
            x.tag().type_name(),
            y.tag().type_name()
        );
        return Err(st.raise_text(&text));
    }
    let (at, n) = st.call_value(handler, &[x, y])?;
    // SAFETY: results are initialised.
    let v = if n == 0 { Value::NIL } else { unsafe { Value::load(st.slot(at)) } };
    st.ret1(args, v)
}
