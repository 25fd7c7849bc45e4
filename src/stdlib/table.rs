//! The `table` library.
//!
//! Every function has a path for plain tables, which have no metatable, and otherwise goes through metamethods.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};
use std::mem::{self, MaybeUninit};
use std::ptr;

use super::builtin::library_code;
use super::support::{Bytes, equals, index, length, set_index};
use super::{Fields, library_of};
use crate::heap::{Heap, OutOfMemory};
use crate::runtime::array::ArrayKind;
use crate::runtime::function::Closure;
use crate::runtime::metatable::Event;
use crate::runtime::number::{NumberBuffer, format_float, format_int};
use crate::runtime::object::Gc;
use crate::runtime::string::{COPY_DISTANCE, Str};
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier1::state::{STACK_MAX, STACK_SLACK};
use crate::tier1::{Args, Builtin, NativeFn, NativeResult, Raised, State};

/// Makes the library's table.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    let known = [
        ("concat", concat as NativeFn, Builtin::Leaf),
        ("insert", insert, Builtin::TableInsert),
        ("pack", pack, Builtin::Leaf),
        ("remove", remove, Builtin::TableRemove),
        ("unpack", unpack, Builtin::Leaf),
    ];
    let known = Fields::of_builtins(st, &known)?;
    library_of(
        st,
        &[
            ("move", move_),
            ("sort", sort),
        ],
        known,
        &[],
    )
}

/// The metamethods that stand in for a table's own access when something else is given as one.
const READ: &[Event] = &[Event::Index];
const WRITE: &[Event] = &[Event::NewIndex];
const READ_LENGTH: &[Event] = &[Event::Index, Event::Len];
const ALL: &[Event] = &[Event::Index, Event::NewIndex, Event::Len];

/// Argument `i`, a table or something with the metamethods.
#[inline]
fn arg_like_table(st: &mut State, args: Args, i: u32, events: &[Event]) -> Result<Value, Raised> {
    let v = st.arg(args, i);
    let plays = |e: &Event| !st.rt.metamethod(v, *e).is_nil();
    if v.is_table() || events.iter().all(plays) { Ok(v) } else { Err(st.arg_type_error(args, i, "table")) }
}

/// A table without metatable.
#[inline]
fn plain(v: Value) -> Option<Gc<Table>> {
    v.as_table().filter(|t| t.metatable.get().is_none())
}

/// A table without metatable whose elements are exactly those in its array, without nils.
#[inline]
fn plain_array(v: Value) -> Option<Gc<Table>> {
    plain(v).filter(|t| t.array_kind.get() != ArrayKind::ANY && t.length() == t.array_len.get() as i64)
}

/// Between elements of loops whose length is up to the script: lets the VM be stopped from time to time.
#[inline]
fn poll(st: &mut State, i: i64) -> Result<(), Raised> {
    if i & 0xFFFF == 0 { st.check_cancelled() } else { Ok(()) }
}

/// `object[i]`.
#[inline]
fn get(st: &mut State, object: Value, i: i64) -> Result<Value, Raised> {
    if let Some(t) = object.as_table() {
        let v = t.get_int(i);
        if !v.is_nil() || t.metatable.get().is_none() {
            return Ok(v);
        }
    }
    index(st, object, Value::int(i))
}

/// `object[i] = v`.
#[inline]
fn put(st: &mut State, object: Value, i: i64, v: Value) -> Result<(), Raised> {
    match plain(object) {
        Some(t) => {
            let stored = st.rt.set_int(t, i, v);
            st.check_store(stored)
        }
        None => set_index(st, object, Value::int(i), v),
    }
}

fn insert(st: &mut State, args: Args) -> NativeResult {
    let object = arg_like_table(st, args, 0, ALL)?;
    let n = length(st, object)?;
    let end = n.wrapping_add(1);
    match args.count {
        2 => {
            let v = st.arg(args, 1);
            put(st, object, end, v)?;
        }
        3 => {
            let at = st.arg_int(args, 1)?;
            if (at as u64).wrapping_sub(1) >= end as u64 {
                return Err(st.arg_error(1, "position out of bounds"));
            }
            let v = st.arg(args, 2);
            if at <= n
                && let Some(t) = plain_array(object)
            {
                let stored = st.rt.insert_element(t, at as u32, v);
                st.check_store(stored)?;
                return st.ret0();
            }
            if st.in_leaf {
                // What is called on the way may fail.
                return Err(Raised);
            }
            let mut i = end;
            while i > at {
                let moved = get(st, object, i - 1)?;
                put(st, object, i, moved)?;
                poll(st, i)?;
                i -= 1;
            }
            put(st, object, at, v)?;
        }
        _ => return Err(st.raise_text("wrong number of arguments to 'insert'")),
    }
    st.ret0()
}

fn remove(st: &mut State, args: Args) -> NativeResult {
    let object = arg_like_table(st, args, 0, ALL)?;
    let n = length(st, object)?;
    let mut at = st.arg_int_or(args, 1, n)?;
    if at != n && (at as u64).wrapping_sub(1) > n as u64 {
        return Err(st.arg_error(1, "position out of bounds"));
    }
    let removed = get(st, object, at)?;
    if at >= 1
        && at < n
        && let Some(t) = plain_array(object)
    {
        let stored = st.rt.remove_element(t, at as u32);
        st.check_store(stored)?;
        return st.ret1(args, removed);
    }
    if at >= n
        && let Some(t) = plain(object)
    {
        let stored = st.rt.set_int(t, at, Value::NIL);
        st.check_store(stored)?;
        return st.ret1(args, removed);
    }
    let kept = st.push_temp(removed)?;
    while at < n {
        let moved = get(st, object, at + 1)?;
        put(st, object, at, moved)?;
        poll(st, at)?;
        at += 1;
    }
    put(st, object, at, Value::NIL)?;
    st.return_at(kept, 1)
}

fn move_(st: &mut State, args: Args) -> NativeResult {
    let first = st.arg_int(args, 1)?;
    let last = st.arg_int(args, 2)?;
    let to = st.arg_int(args, 3)?;
    let target_arg = if st.arg(args, 4).is_nil() { 0 } else { 4 };
    let source = arg_like_table(st, args, 0, READ)?;
    let target = arg_like_table(st, args, target_arg, WRITE)?;
    if last >= first {
        if first <= 0 && last >= i64::MAX.wrapping_add(first) {
            return Err(st.arg_error(2, "too many elements to move"));
        }
        let n = last - first + 1;
        if to > i64::MAX - n + 1 {
            return Err(st.arg_error(3, "destination wrap around"));
        }
        let upward = to > last || to <= first || target_arg != 0 && !equals(st, source, target)?;
        for i in 0..n {
            let i = if upward { i } else { n - 1 - i };
            let v = get(st, source, first + i)?;
            put(st, target, to + i, v)?;
            poll(st, i)?;
        }
    }
    st.ret1(args, target)
}

fn pack(st: &mut State, args: Args) -> NativeResult {
    let n = args.count;
    let t = st.rt.new_table(st.rt.shapes.root_for(1), n);
    let t = st.check_memory(t)?;
    // SAFETY: the window holds `n` values.
    let stored = unsafe { st.rt.set_list(t, 1, st.slot(args.base), n) };
    st.check_store(stored)?;
    let key = Value::string(st.rt.strings.one_byte(b'n'));
    let stored = st.rt.set(t, key, Value::int(n as i64));
    st.check_store(stored)?;
    st.ret1(args, Value::table(t))
}

fn unpack(st: &mut State, args: Args) -> NativeResult {
    let object = st.arg(args, 0);
    let first = st.arg_int_or(args, 1, 1)?;
    let last = if st.arg(args, 2).is_nil() { length(st, object)? } else { st.arg_int(args, 2)? };
    if first > last {
        return st.ret0();
    }
    let top = args.base + args.count;
    let count = last.wrapping_sub(first) as u64;
    if count >= (STACK_MAX - STACK_SLACK).saturating_sub(top) as u64 {
        return Err(st.raise_text("too many results to unpack"));
    }
    let count = count as u32 + 1;
    st.reserve(top + count)?;
    if let Some(t) = plain(object) {
        // Nothing is called, so that the function's own window may be overwritten.
        let results = args.base - 1;
        for i in 0..count {
            let v = t.get_int(first + i as i64);
            // SAFETY: room was made above.
            unsafe { Value::store(st.slot(results + i), v) };
        }
        return Ok(count as i32);
    }
    for i in 0..count {
        let v = get(st, object, first + i as i64)?;
        st.push_temp(v)?;
    }
    st.return_at(top, count)
}

// Concatenation.

fn concat(st: &mut State, args: Args) -> NativeResult {
    let object = arg_like_table(st, args, 0, READ_LENGTH)?;
    let default = length(st, object)?;
    let separator = if st.arg(args, 1).is_nil() { &b""[..] } else { st.arg_str(args, 1)?.as_bytes() };
    let first = st.arg_int_or(args, 2, 1)?;
    let last = st.arg_int_or(args, 3, default)?;
    if let Some(t) = plain(object)
        && let Some(length) = length_of_strings(st, t, separator, first, last)?
    {
        // SAFETY: that is the length of what is written.
        let made = unsafe { st.rt.new_string_with(length, |heap, to| join_strings(heap, to, t, separator, first, last)) };
        let made = st.check_memory(made)?;
        return st.ret1(args, Value::string(made));
    }
    let mut text = Bytes::default();
    let joined = match join(st, &mut text, object, separator, first, last) {
        Ok(()) => st.string_value(text.as_slice()),
        Err(raised) => Err(raised),
    };
    text.release(st);
    let v = joined?;
    st.ret1(args, v)
}

fn join(
    st: &mut State,
    text: &mut Bytes,
    object: Value,
    separator: &[u8],
    first: i64,
    last: i64,
) -> Result<(), Raised> {
    let mut i = first;
    while i <= last {
        let v = get(st, object, i)?;
        if let Some(s) = v.as_string() {
            text.push(st, s.as_bytes())?;
        } else if let Some(n) = v.as_int() {
            text.push(st, format_int(n, &mut NumberBuffer::default()))?;
        } else if let Some(n) = v.as_float() {
            text.push(st, format_float(n, &mut NumberBuffer::default()))?;
        } else {
            let name = v.tag().type_name();
            return Err(st.raise_text(&format!("invalid value ({name}) at index {i} in table for 'concat'")));
        }
        if i == last {
            break;
        }
        text.push(st, separator)?;
        i += 1;
    }
    Ok(())
}

/// The length of the elements from `first` to `last` with separators between them, if there are any and all are strings.
fn length_of_strings(
    st: &mut State,
    t: Gc<Table>,
    separator: &[u8],
    first: i64,
    last: i64,
) -> Result<Option<usize>, Raised> {
    let Some(gaps) = last.checked_sub(first).and_then(|n| usize::try_from(n).ok()) else {
        return Ok(None);
    };
    let Some(mut length) = gaps.checked_mul(separator.len()) else {
        return Ok(None);
    };
    for i in first..=last {
        let more = t.get_int(i).as_string().map(|s| s.len);
        match more.and_then(|more| length.checked_add(more)) {
            Some(sum) => length = sum,
            None => return Ok(None),
        }
        poll(st, i)?;
    }
    Ok(Some(length))
}

/// Writes these elements, all strings, to a place that is as long as they are. Fails if the VM is to be stopped.
fn join_strings(
    heap: &Heap,
    to: &mut [MaybeUninit<u8>],
    t: Gc<Table>,
    separator: &[u8],
    first: i64,
    last: i64,
) -> Result<(), OutOfMemory> {
    let mut rest = to;
    let mut put = |bytes: &[u8]| -> Result<(), OutOfMemory> {
        for part in bytes.chunks(COPY_DISTANCE) {
            if part.len() == COPY_DISTANCE {
                heap.poll()?;
            }
            let (place, behind) = mem::take(&mut rest).split_at_mut(part.len());
            // SAFETY: as long as the part.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), place.as_mut_ptr().cast(), part.len()) };
            rest = behind;
        }
        Ok(())
    };
    for i in first..=last {
        if i & 0xFFFF == 0 {
            heap.poll()?;
        }
        if i > first {
            put(separator)?;
        }
        put(t.get_int(i).as_string().map_or(&[], |s| s.as_bytes()))?;
    }
    Ok(())
}

// Sorting.

fn sort(st: &mut State, args: Args) -> NativeResult {
    let object = arg_like_table(st, args, 0, ALL)?;
    let n = length(st, object)?;
    if n < 2 {
        return st.ret0();
    }
    if n >= i32::MAX as i64 {
        return Err(st.arg_error(0, "array too big"));
    }
    let comparator = st.arg(args, 1);
    if comparator.is_nil() {
        if let Some(t) = plain_array(object)
            && sort_uniform(st, t)?
        {
            return st.ret0();
        }
    } else if !comparator.tag().is_function() {
        return Err(st.arg_type_error(args, 1, "function"));
    }
    let code = sort_code(st, comparator.is_nil())?;
    st.forbid_yields()?;
    st.continue_in(code, args, args.count.min(2), &[object, Value::int(n), comparator])
}

/// How many items are sorted between two polls.
const SORT_PIECE: usize = 1 << 14;
/// The longest strings that are compared without a poll.
const COMPARED_MAX: usize = 1 << 12;

/// Sorts an array whose elements are all integers, all floats but NaN, or all strings that are not very long; false if they are not.
fn sort_uniform(st: &mut State, t: Gc<Table>) -> Result<bool, Raised> {
    let n = t.array_len.get();
    match t.array_kind.get() {
        ArrayKind::INT => {
            sort_as(st, t, n, Value::as_int_unchecked, |a, b| a.cmp(b), Value::int)?;
        }
        ArrayKind::FLOAT => {
            if (1..=n).any(|i| t.element(i).as_float_unchecked().is_nan()) {
                return Ok(false);
            }
            // Without NaN, the order is total but for the two zeros, which are equal.
            let order = |a: &f64, b: &f64| a.partial_cmp(b).unwrap_or(Ordering::Equal);
            sort_as(st, t, n, Value::as_float_unchecked, order, Value::float)?;
        }
        _ => {
            if t.element_tags().iter().any(|&tag| tag != Tag::STRING.byte()) {
                return Ok(false);
            }
            let string = |v: Value| v.as_string().expect("all elements are strings");
            if (1..=n).any(|i| string(t.element(i)).len > COMPARED_MAX) {
                // So many comparisons may take long.
                return Ok(false);
            }
            sort_as(st, t, n, string, |a: &Gc<Str>, b: &Gc<Str>| a.compare(*b), Value::string)?;
        }
    }
    Ok(true)
}

#[inline(always)]
fn sort_as<T: Copy>(
    st: &mut State,
    t: Gc<Table>,
    n: u32,
    from: impl Fn(Value) -> T,
    order: impl Fn(&T, &T) -> Ordering,
    to: impl Fn(T) -> Value,
) -> Result<(), Raised> {
    // The items, and as many again where they are merged.
    let copies = 1 + usize::from(n as usize > SORT_PIECE);
    let bytes = copies * n as usize * size_of::<T>();
    let charged = st.rt.heap.charge(bytes);
    st.check_memory(charged)?;
    let sorted = sort_items(st, (0..n).map(|i| from(t.element(i + 1))), order);
    st.rt.heap.discharge(bytes);
    for (i, item) in sorted?.into_iter().enumerate() {
        let stored = st.rt.set_int(t, i as i64 + 1, to(item));
        st.check_store(stored)?;
        poll(st, i as i64)?;
    }
    Ok(())
}

/// The items in order. Sorts pieces, then merges them, and lets the VM be stopped in between.
#[inline(always)]
fn sort_items<T: Copy>(
    st: &mut State,
    source: impl ExactSizeIterator<Item = T>,
    order: impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, Raised> {
    let mut items = Vec::new();
    let room = items.try_reserve_exact(source.len());
    room.map_err(|_| st.raise_memory())?;
    items.extend(source);
    for piece in items.chunks_mut(SORT_PIECE) {
        piece.sort_unstable_by(&order);
        st.check_cancelled()?;
    }
    let mut merged = Vec::new();
    let mut sorted = SORT_PIECE;
    while sorted < items.len() {
        let room = merged.try_reserve_exact(items.len());
        room.map_err(|_| st.raise_memory())?;
        for pair in items.chunks(2 * sorted) {
            let (mut left, mut right) = pair.split_at(sorted.min(pair.len()));
            while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
                if order(b, a).is_lt() {
                    merged.push(*b);
                    right = right_rest;
                } else {
                    merged.push(*a);
                    left = left_rest;
                }
                poll(st, merged.len() as i64)?;
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        mem::swap(&mut items, &mut merged);
        merged.clear();
        sorted *= 2;
    }
    Ok(items)
}

/// Handles of the sorting code in bytecode, as far as it has been needed.
#[derive(Default)]
struct SortCode {
    by_function: Option<u32>,
    by_operator: Option<u32>,
}

/// The code that sorts by an order function, or by the operator `<`.
fn sort_code(st: &mut State, by_operator: bool) -> Result<Gc<Closure>, Raised> {
    let handles = st.extensions.get_or_default::<SortCode>();
    let known = if by_operator { handles.by_operator } else { handles.by_function };
    if let Some(code) = known.and_then(|handle| st.handles.get(handle).as_closure()) {
        return Ok(code);
    }
    let source = include_str!("sort.lua");
    let source = if by_operator { Cow::Owned(with_operator(source)) } else { Cow::Borrowed(source) };
    let code = library_code(st, &source, &[("invalid_order", invalid_order), ("random_bits", random_bits)])?;
    let handle = st.handles.insert(Value::closure(code));
    let handles = st.extensions.get_or_default::<SortCode>();
    *(if by_operator { &mut handles.by_operator } else { &mut handles.by_function }) = Some(handle);
    Ok(code)
}

/// Replaces the calls of `less` by comparisons.
fn with_operator(source: &str) -> String {
    let mut replaced = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, call)) = rest.split_once("less(") {
        let (operands, after) = call.split_once(')').unwrap_or((call, ""));
        replaced.push_str(before);
        replaced.push_str(&operands.replace(',', " <"));
        rest = after;
    }
    replaced + rest
}

/// Raises the error in the name of the library code that calls this.
fn invalid_order(st: &mut State, _: Args) -> NativeResult {
    st.pop_record();
    Err(st.raise_text("invalid order function for sorting"))
}

/// Bits that an adversary cannot foresee.
fn random_bits(st: &mut State, args: Args) -> NativeResult {
    let bits = RandomState::new().hash_one(st.rt.heap.allocated());
    st.ret1(args, Value::int((bits >> 32) as i64))
}
