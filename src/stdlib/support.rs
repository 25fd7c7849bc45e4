//! Operations with metamethods that host functions share.
//!
//! Metamethods are run to their end by a nested call, so nothing can yield in them. Each operation tries the
//! primitive case first; values that a host function needs after one of these must be in its window.

use std::fmt::Write;

use smallvec::SmallVec;

use crate::heap::{Heap, OutOfMemory};
use crate::runtime::metatable::Event;
use crate::runtime::number::FixedText;
use crate::runtime::object::Gc;
use crate::runtime::string::{COPY_DISTANCE, Str};
use crate::runtime::value::{Tag, Value};
use crate::tier1::native::{to_integer, to_number};
use crate::tier1::{
    Args, Chain, NativeResult, Raised, State, index_chain, message, newindex_chain, primitive_order,
};

/// `object[key]`.
pub fn index(st: &mut State, object: Value, key: Value) -> Result<Value, Raised> {
    match index_chain(st, object, key)? {
        Chain::Value(v) => Ok(v),
        Chain::Handler(handler, object) => call_for_value(st, handler, &[object, key]),
    }
}

/// `object[key] = v`.
pub fn set_index(st: &mut State, object: Value, key: Value, v: Value) -> Result<(), Raised> {
    match newindex_chain(st, object, key, v)? {
        Chain::Value(_) => Ok(()),
        Chain::Handler(handler, object) => call_for_value(st, handler, &[object, key, v]).map(drop),
    }
}

/// `#v`, which must be an integer.
pub fn length(st: &mut State, v: Value) -> Result<i64, Raised> {
    if let Some(s) = v.as_string() {
        return Ok(s.len as i64);
    }
    let handler = st.rt.metamethod(v, Event::Len);
    if handler.is_nil() {
        return match v.as_table() {
            Some(t) => Ok(t.length()),
            None => Err(message::type_error(st, v, "get length of")),
        };
    }
    let n = call_for_value(st, handler, &[v])?;
    match to_number(n).and_then(to_integer) {
        Some(n) => Ok(n),
        None => Err(st.raise_text("object length is not an integer")),
    }
}

/// `a < b`.
#[inline]
pub fn less_than(st: &mut State, a: Value, b: Value) -> Result<bool, Raised> {
    match primitive_order(a, b, Event::Lt) {
        Some(less) => Ok(less),
        None => less_than_by_event(st, a, b),
    }
}

#[cold]
fn less_than_by_event(st: &mut State, a: Value, b: Value) -> Result<bool, Raised> {
    let mut handler = st.rt.metamethod(a, Event::Lt);
    if handler.is_nil() {
        handler = st.rt.metamethod(b, Event::Lt);
    }
    if handler.is_nil() {
        return Err(message::compare_error(st, a, b));
    }
    call_for_value(st, handler, &[a, b]).map(|v| !v.is_falsy())
}

/// `a == b`.
pub fn equals(st: &mut State, a: Value, b: Value) -> Result<bool, Raised> {
    if a.raw_equals(b) {
        return Ok(true);
    }
    let comparable = a.is_table() && b.is_table() || a.as_userdata().is_some() && b.as_userdata().is_some();
    if !comparable {
        return Ok(false);
    }
    let mut handler = st.rt.metamethod(a, Event::Eq);
    if handler.is_nil() {
        handler = st.rt.metamethod(b, Event::Eq);
    }
    if handler.is_nil() {
        return Ok(false);
    }
    call_for_value(st, handler, &[a, b]).map(|v| !v.is_falsy())
}

/// `tostring(v)`. A new string is not rooted.
pub fn tostring_value(st: &mut State, v: Value) -> Result<Gc<Str>, Raised> {
    if let Some(s) = v.as_string() {
        return Ok(s);
    }
    let handler = st.rt.metamethod(v, Event::ToString);
    if !handler.is_nil() {
        let s = call_for_value(st, handler, &[v])?;
        return tostring_result(st, s);
    }
    if v.tag().is_number() {
        return st.number_to_str(v);
    }
    let s = match v.tag() {
        Tag::NIL => st.rt.new_string(b"nil"),
        Tag::FALSE => st.rt.new_string(b"false"),
        Tag::TRUE => st.rt.new_string(b"true"),
        tag => {
            let mut text: SmallVec<[u8; 64]> = match st.rt.metamethod(v, Event::Name).as_string() {
                Some(name) => SmallVec::from_slice(name.as_bytes()),
                None => SmallVec::from_slice(tag.type_name().as_bytes()),
            };
            let mut address = FixedText::<32>::default();
            // It takes at most 20 bytes.
            let _ = write!(address, ": {:#014x}", v.payload());
            text.extend_from_slice(address.as_bytes());
            st.rt.new_string(&text)
        }
    };
    st.check_memory(s)
}

/// The string that `__tostring` has given.
pub fn tostring_result(st: &mut State, v: Value) -> Result<Gc<Str>, Raised> {
    if v.tag().is_number() {
        return st.number_to_str(v);
    }
    v.as_string().ok_or_else(|| st.raise_text("'__tostring' must return a string"))
}

/// Calls `f`; its first result. The VM may be stopped here: loops of the library over what may be endless consist of such
/// calls.
pub fn call_for_value(st: &mut State, f: Value, args: &[Value]) -> Result<Value, Raised> {
    st.check_cancelled()?;
    let (at, n) = st.call_value(f, args)?;
    // SAFETY: results are initialised.
    Ok(if n == 0 { Value::NIL } else { unsafe { Value::load(st.slot(at)) } })
}

/// Returns a string.
pub fn return_text(st: &mut State, args: Args, text: &str) -> NativeResult {
    let v = st.string_value(text.as_bytes())?;
    st.ret1(args, v)
}

/// How many bytes are collected between two polls.
const POLL_DISTANCE: usize = 1 << 16;

/// Bytes being collected for a result. Their memory counts against the heap's limit; [`Bytes::release`] ends that.
#[derive(Default)]
pub struct Bytes {
    bytes: Vec<u8>,
    charged: usize,
}

impl Bytes {
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The memory that is charged to the heap, in bytes.
    pub fn charged(&self) -> usize {
        self.charged
    }

    /// The memory in use, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    #[inline]
    pub fn push(&mut self, st: &mut State, piece: &[u8]) -> Result<(), Raised> {
        let pushed = self.append(&mut st.rt.heap, piece);
        st.check_memory(pushed)
    }

    /// As [`Bytes::push`], where the state is in use.
    #[inline]
    pub fn append(&mut self, heap: &mut Heap, piece: &[u8]) -> Result<(), OutOfMemory> {
        self.reserve(heap, piece.len())?;
        let before = self.bytes.len();
        for part in piece.chunks(COPY_DISTANCE) {
            if part.len() == COPY_DISTANCE {
                heap.poll()?;
            }
            self.bytes.extend_from_slice(part);
        }
        // What is long because of many pieces can be stopped, too.
        if before ^ self.bytes.len() >= POLL_DISTANCE { heap.poll() } else { Ok(()) }
    }

    /// Makes room for `more` bytes.
    #[inline]
    pub fn reserve(&mut self, heap: &mut Heap, more: usize) -> Result<(), OutOfMemory> {
        if self.bytes.capacity() - self.bytes.len() < more { self.grow(heap, more) } else { Ok(()) }
    }

    #[cold]
    fn grow(&mut self, heap: &mut Heap, more: usize) -> Result<(), OutOfMemory> {
        let capacity = self.bytes.len().saturating_add(more).max(self.bytes.capacity() * 2).max(256);
        heap.charge(capacity - self.charged)?;
        self.charged = capacity;
        self.bytes.try_reserve_exact(capacity - self.bytes.len()).map_err(|_| OutOfMemory)?;
        self.settle(heap)
    }

    /// Lets `write` append to the bytes themselves; what it takes beyond the room reserved is charged afterwards, so
    /// it must be bounded by the size of something that is charged already.
    #[inline]
    pub fn write<R>(&mut self, st: &mut State, write: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R, Raised> {
        let written = write(&mut self.bytes);
        let settled = self.settle(&mut st.rt.heap);
        st.check_memory(settled).map(|()| written)
    }

    #[inline]
    fn settle(&mut self, heap: &mut Heap) -> Result<(), OutOfMemory> {
        let more = self.bytes.capacity().saturating_sub(self.charged);
        if more > 0 {
            heap.charge(more)?;
            self.charged += more;
        }
        Ok(())
    }

    /// Frees the memory.
    pub fn release(self, st: &mut State) {
        st.rt.heap.discharge(self.charged);
    }
}
