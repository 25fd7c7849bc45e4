//! Values: a 64-bit payload and a tag.
//!
//! The layout is fixed, because machine code reads it: payload at offset 0, tag at offset 8, sixteen
//! bytes without padding. A value in a register is always read and written as two 64-bit scalars
//! ([`Value::load`], [`Value::store`]): a 16-byte vector load that follows two narrower stores cannot be
//! forwarded from the store buffer and costs several times as much.

use std::mem::{align_of, offset_of, size_of};

use super::coroutine::Coroutine;
use super::function::{Closure, Native, UpCell};
use super::object::{Gc, Header};
use super::string::Str;
use super::table::Table;
use super::userdata::Userdata;

/// The type tag of a [`Value`]. In tables it is stored as one byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Tag(u64);

impl Tag {
    pub const NIL: Tag = Tag(0);
    pub const FALSE: Tag = Tag(1);
    pub const TRUE: Tag = Tag(2);
    pub const INT: Tag = Tag(3);
    pub const FLOAT: Tag = Tag(4);
    /// A host pointer compared by address.
    pub const LIGHT: Tag = Tag(5);
    pub const STRING: Tag = Tag(6);
    pub const TABLE: Tag = Tag(7);
    /// A closure over bytecode.
    pub const CLOSURE: Tag = Tag(8);
    /// A function of the host.
    pub const NATIVE: Tag = Tag(9);
    pub const USERDATA: Tag = Tag(10);
    pub const COROUTINE: Tag = Tag(11);
    /// The heap cell of a captured local; only ever in registers, never seen by scripts.
    pub const CELL: Tag = Tag(12);

    /// The tag as stored in tables.
    #[inline(always)]
    pub const fn byte(self) -> u8 {
        self.0 as u8
    }

    /// The inverse of [`Tag::byte`].
    #[inline(always)]
    pub fn from_byte(b: u8) -> Tag {
        Tag(b as u64)
    }

    /// Whether the payload is a pointer into the heap.
    #[inline(always)]
    pub fn is_collectable(self) -> bool {
        self.0 >= Tag::STRING.0
    }

    /// `nil` and `false`.
    #[inline(always)]
    pub fn is_falsy(self) -> bool {
        self.0 <= Tag::FALSE.0
    }

    #[inline(always)]
    pub fn is_number(self) -> bool {
        self == Tag::INT || self == Tag::FLOAT
    }

    #[inline(always)]
    pub fn is_function(self) -> bool {
        self == Tag::CLOSURE || self == Tag::NATIVE
    }

    /// The type name as `type()` reports it.
    pub fn type_name(self) -> &'static str {
        match self {
            Tag::NIL => "nil",
            Tag::FALSE | Tag::TRUE => "boolean",
            Tag::INT | Tag::FLOAT => "number",
            Tag::LIGHT | Tag::USERDATA => "userdata",
            Tag::STRING => "string",
            Tag::TABLE => "table",
            Tag::CLOSURE | Tag::NATIVE => "function",
            Tag::COROUTINE => "thread",
            _ => "upvalue",
        }
    }
}

/// A Lua value. See the module's documentation for the layout.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Value {
    payload: u64,
    tag: Tag,
}

const _: () = {
    assert!(size_of::<Value>() == 16 && align_of::<Value>() == 8);
    assert!(offset_of!(Value, payload) == 0 && offset_of!(Value, tag) == 8);
};

impl Value {
    pub const NIL: Value = Value::new(0, Tag::NIL);
    pub const FALSE: Value = Value::new(0, Tag::FALSE);
    pub const TRUE: Value = Value::new(0, Tag::TRUE);

    #[inline(always)]
    pub const fn new(payload: u64, tag: Tag) -> Value {
        Value { payload, tag }
    }

    #[inline(always)]
    pub fn int(i: i64) -> Value {
        Value::new(i as u64, Tag::INT)
    }

    #[inline(always)]
    pub fn float(f: f64) -> Value {
        Value::new(f.to_bits(), Tag::FLOAT)
    }

    #[inline(always)]
    pub fn bool(b: bool) -> Value {
        Value::new(0, if b { Tag::TRUE } else { Tag::FALSE })
    }

    #[inline(always)]
    pub fn light(p: usize) -> Value {
        Value::new(p as u64, Tag::LIGHT)
    }

    #[inline(always)]
    pub fn string(s: Gc<Str>) -> Value {
        Value::new(s.addr(), Tag::STRING)
    }

    #[inline(always)]
    pub fn table(t: Gc<Table>) -> Value {
        Value::new(t.addr(), Tag::TABLE)
    }

    #[inline(always)]
    pub fn closure(c: Gc<Closure>) -> Value {
        Value::new(c.addr(), Tag::CLOSURE)
    }

    #[inline(always)]
    pub fn native(n: Gc<Native>) -> Value {
        Value::new(n.addr(), Tag::NATIVE)
    }

    #[inline(always)]
    pub fn userdata(u: Gc<Userdata>) -> Value {
        Value::new(u.addr(), Tag::USERDATA)
    }

    #[inline(always)]
    pub fn coroutine(c: Gc<Coroutine>) -> Value {
        Value::new(c.addr(), Tag::COROUTINE)
    }

    #[inline(always)]
    pub fn cell(c: Gc<UpCell>) -> Value {
        Value::new(c.addr(), Tag::CELL)
    }

    #[inline(always)]
    pub fn tag(self) -> Tag {
        self.tag
    }

    #[inline(always)]
    pub fn payload(self) -> u64 {
        self.payload
    }

    #[inline(always)]
    pub fn is_nil(self) -> bool {
        self.tag == Tag::NIL
    }

    #[inline(always)]
    pub fn is_int(self) -> bool {
        self.tag == Tag::INT
    }

    #[inline(always)]
    pub fn is_float(self) -> bool {
        self.tag == Tag::FLOAT
    }

    #[inline(always)]
    pub fn is_table(self) -> bool {
        self.tag == Tag::TABLE
    }

    #[inline(always)]
    pub fn is_string(self) -> bool {
        self.tag == Tag::STRING
    }

    #[inline(always)]
    pub fn is_falsy(self) -> bool {
        self.tag.is_falsy()
    }

    /// The payload as an integer; meaningful for `INT` only.
    #[inline(always)]
    pub fn as_int_unchecked(self) -> i64 {
        self.payload as i64
    }

    /// The payload as a float; meaningful for `FLOAT` only.
    #[inline(always)]
    pub fn as_float_unchecked(self) -> f64 {
        f64::from_bits(self.payload)
    }

    #[inline(always)]
    pub fn as_int(self) -> Option<i64> {
        (self.tag == Tag::INT).then_some(self.payload as i64)
    }

    #[inline(always)]
    pub fn as_float(self) -> Option<f64> {
        (self.tag == Tag::FLOAT).then(|| f64::from_bits(self.payload))
    }

    #[inline(always)]
    pub fn as_string(self) -> Option<Gc<Str>> {
        (self.tag == Tag::STRING).then(|| Gc::from_addr(self.payload))
    }

    #[inline(always)]
    pub fn as_table(self) -> Option<Gc<Table>> {
        (self.tag == Tag::TABLE).then(|| Gc::from_addr(self.payload))
    }

    #[inline(always)]
    pub fn as_closure(self) -> Option<Gc<Closure>> {
        (self.tag == Tag::CLOSURE).then(|| Gc::from_addr(self.payload))
    }

    #[inline(always)]
    pub fn as_native(self) -> Option<Gc<Native>> {
        (self.tag == Tag::NATIVE).then(|| Gc::from_addr(self.payload))
    }

    #[inline(always)]
    pub fn as_userdata(self) -> Option<Gc<Userdata>> {
        (self.tag == Tag::USERDATA).then(|| Gc::from_addr(self.payload))
    }

    #[inline(always)]
    pub fn as_coroutine(self) -> Option<Gc<Coroutine>> {
        (self.tag == Tag::COROUTINE).then(|| Gc::from_addr(self.payload))
    }

    #[inline(always)]
    pub fn as_cell(self) -> Option<Gc<UpCell>> {
        (self.tag == Tag::CELL).then(|| Gc::from_addr(self.payload))
    }

    /// The header of the object a collectable value points to.
    #[inline(always)]
    pub fn as_object(self) -> Option<Gc<Header>> {
        self.tag.is_collectable().then(|| Gc::from_addr(self.payload))
    }

    /// Equality of bits: identity for everything but floats (where 0.0 and -0.0 differ) and long strings.
    #[inline(always)]
    pub fn same_bits(self, other: Value) -> bool {
        self.tag == other.tag && self.payload == other.payload
    }

    /// Primitive equality (`rawequal`): numbers by mathematical value, strings by content, the rest by identity.
    #[inline]
    pub fn raw_equals(self, other: Value) -> bool {
        if self.tag == other.tag {
            return match self.tag {
                Tag::NIL | Tag::FALSE | Tag::TRUE => true,
                Tag::FLOAT => self.as_float_unchecked() == other.as_float_unchecked(),
                Tag::STRING if self.payload != other.payload => {
                    Gc::<Str>::from_addr(self.payload).content_equals(Gc::from_addr(other.payload))
                }
                _ => self.payload == other.payload,
            };
        }
        match (self.tag, other.tag) {
            (Tag::INT, Tag::FLOAT) => super::number::eq_int_float(self.payload as i64, other.as_float_unchecked()),
            (Tag::FLOAT, Tag::INT) => super::number::eq_int_float(other.payload as i64, self.as_float_unchecked()),
            _ => false,
        }
    }

    /// A number as a float; meaningful for numbers only.
    #[inline(always)]
    pub fn to_float_unchecked(self) -> f64 {
        if self.tag == Tag::INT { self.payload as i64 as f64 } else { f64::from_bits(self.payload) }
    }

    /// The tag of the value at `p`.
    ///
    /// # Safety
    /// `p` must point to an initialised value.
    #[inline(always)]
    pub unsafe fn tag_at(p: *const Value) -> Tag {
        // SAFETY: the caller's promise.
        unsafe { (*p).tag }
    }

    /// The payload of the value at `p`.
    ///
    /// # Safety
    /// As for [`Value::tag_at`].
    #[inline(always)]
    pub unsafe fn payload_at(p: *const Value) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { (*p).payload }
    }

    /// Replaces the payload of the value at `p`.
    ///
    /// # Safety
    /// As for [`Value::tag_at`]; the payload must go with the tag.
    #[inline(always)]
    pub unsafe fn set_payload_at(p: *mut Value, payload: u64) {
        // SAFETY: the caller's promise.
        unsafe { (*p).payload = payload }
    }

    /// Reads a value as two scalars.
    ///
    /// # Safety
    /// `p` must point to an initialised value.
    #[inline(always)]
    pub unsafe fn load(p: *const Value) -> Value {
        // SAFETY: the caller's promise. Volatile keeps the compiler from merging the two halves into a
        // vector access.
        unsafe {
            let payload = (&raw const (*p).payload).read_volatile();
            let tag = (&raw const (*p).tag).read_volatile();
            Value { payload, tag }
        }
    }

    /// Writes a value as two scalars.
    ///
    /// # Safety
    /// `p` must be valid for writing a value.
    #[inline(always)]
    pub unsafe fn store(p: *mut Value, v: Value) {
        // SAFETY: the caller's promise; volatile as in `load`.
        unsafe {
            (&raw mut (*p).payload).write_volatile(v.payload);
            (&raw mut (*p).tag).write_volatile(v.tag);
        }
    }
}
