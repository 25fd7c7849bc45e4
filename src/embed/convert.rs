//! Conversions between Rust and Lua values.
//!
//! [`FromLua`] and [`IntoLua`] convert one value, [`FromLuaMulti`] and [`IntoLuaMulti`] a list: arguments or results.
//! The hidden methods convert without handles in between; host types need only define the documented ones.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::error::{Error, Result};
use super::function::ValueKind;
use super::shared::{Context, Inner, Shared};
use super::value::{MultiValue, Value};
use super::{Table, Vm};
use crate::runtime::value::Value as Raw;
use crate::tier1::State;
use crate::tier1::native::{to_integer, to_number};

/// A value without a root: to be stored or converted before anything else is done with the VM.
#[derive(Clone, Copy)]
pub struct RawValue(pub(crate) Raw);

/// Values on the stack: arguments of a host function, or results of a call.
#[derive(Clone, Copy)]
pub struct Window {
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Arguments before the first.
    pub(crate) skipped: u32,
}

impl Window {
    /// Value `i`, or nil beyond the end.
    #[inline(always)]
    pub(crate) fn get(self, i: u32, cx: Context<'_>) -> RawValue {
        RawValue(if i < self.count {
            cx.slot(self.first + i)
        } else {
            Raw::NIL
        })
    }

    /// Value `i` converted.
    #[inline(always)]
    pub(crate) fn read<T: FromLua>(self, i: u32, cx: Context<'_>) -> Result<T> {
        match T::from_raw(self.get(i, cx), cx) {
            Ok(v) => Ok(v),
            Err(e) => Err(e.at(self.skipped + i + 1)),
        }
    }

    /// The values from `i` on.
    #[inline(always)]
    pub(crate) fn rest(self, i: u32) -> Window {
        let i = i.min(self.count);
        Window {
            first: self.first + i,
            count: self.count - i,
            skipped: self.skipped + i,
        }
    }
}

/// Roots `v` for the host.
pub(crate) fn root(st: &mut State, shared: &Shared, inner: &Arc<Inner>, v: Raw) -> Value {
    Value::root(st, shared, inner, v)
}

/// The conversion of a value by way of its raw form.
pub(crate) fn through_raw<T: FromLua>(value: Value, vm: &Vm) -> Result<T> {
    vm.section(|cx| {
        let raw = value.into_raw(cx)?;
        cx.push(raw.0)?;
        T::from_raw(raw, cx)
    })
}

/// A Rust type that Lua values can be converted to.
///
/// ```
/// use perilune::{Error, FromLua, Result, Table, Value, Vm};
///
/// struct Point(f64, f64);
///
/// impl FromLua for Point {
///     fn from_lua(value: Value, vm: &Vm) -> Result<Point> {
///         let t = Table::from_lua(value, vm)?;
///         Ok(Point(t.get("x")?, t.get("y")?))
///     }
/// }
///
/// let vm = Vm::new();
/// let p: Point = vm.load("{x = 1, y = 2}").eval()?;
/// assert_eq!(p.0 + p.1, 3.0);
/// # Ok::<(), Error>(())
/// ```
pub trait FromLua: Sized {
    #[doc(hidden)]
    const KIND: ValueKind = ValueKind::Any;

    /// Converts a value.
    fn from_lua(value: Value, vm: &Vm) -> Result<Self>;

    #[doc(hidden)]
    #[inline]
    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<Self> {
        let value = Value::from_raw(raw, cx)?;
        Self::from_lua(value, cx.vm)
    }
}

/// A Rust type that can be converted to a Lua value.
///
/// ```
/// use perilune::{Error, IntoLua, Result, Value, Vm};
///
/// struct Point(f64, f64);
///
/// impl IntoLua for Point {
///     fn into_lua(self, vm: &Vm) -> Result<Value> {
///         let t = vm.create_table()?;
///         t.set("x", self.0)?;
///         t.set("y", self.1)?;
///         Ok(Value::Table(t))
///     }
/// }
///
/// let vm = Vm::new();
/// vm.globals().set("p", Point(1.0, 2.0))?;
/// assert_eq!(vm.load("return p.x + p.y").eval::<f64>()?, 3.0);
/// # Ok::<(), Error>(())
/// ```
pub trait IntoLua: Sized {
    #[doc(hidden)]
    const KIND: ValueKind = ValueKind::Any;

    /// Converts to a value.
    fn into_lua(self, vm: &Vm) -> Result<Value>;

    #[doc(hidden)]
    #[inline]
    fn into_raw(self, cx: Context<'_>) -> Result<RawValue> {
        self.into_lua(cx.vm)?.into_raw(cx)
    }
}

/// A Rust type that a list of Lua values can be converted to: arguments or results. Missing values are nil, and
/// those too many are dropped.
///
/// ```
/// use perilune::Vm;
///
/// let vm = Vm::new();
/// let (n, rest): (i64, Option<String>) = vm.load("return 1, nil, 3").eval()?;
/// assert_eq!((n, rest), (1, None));
/// # Ok::<(), perilune::Error>(())
/// ```
pub trait FromLuaMulti: Sized {
    #[doc(hidden)]
    fn kinds(kinds: &mut Vec<ValueKind>) {
        kinds.push(ValueKind::Rest);
    }

    /// Converts a list.
    fn from_lua_multi(values: MultiValue, vm: &Vm) -> Result<Self>;

    #[doc(hidden)]
    #[inline]
    fn read_all(window: Window, cx: Context<'_>) -> Result<Self> {
        let values = MultiValue::read_all(window, cx)?;
        Self::from_lua_multi(values, cx.vm)
    }
}

/// A Rust type that can be converted to a list of Lua values: arguments or results.
///
/// ```
/// use perilune::Vm;
///
/// let vm = Vm::new();
/// let divide = vm.create_function(|_, (a, b): (i64, i64)| Ok((a / b, a % b)))?;
/// vm.globals().set("divide", divide)?;
/// assert_eq!(vm.load("return divide(7, 2)").eval::<(i64, i64)>()?, (3, 1));
/// # Ok::<(), perilune::Error>(())
/// ```
pub trait IntoLuaMulti: Sized {
    #[doc(hidden)]
    fn kinds(kinds: &mut Vec<ValueKind>) {
        kinds.push(ValueKind::Rest);
    }

    /// Converts to a list.
    fn into_lua_multi(self, vm: &Vm) -> Result<MultiValue>;

    #[doc(hidden)]
    #[inline]
    fn push_all(self, cx: Context<'_>) -> Result<()> {
        self.into_lua_multi(cx.vm)?.push_all(cx)
    }

    /// Leaves the results of a host function where its caller expects them.
    #[doc(hidden)]
    #[inline]
    fn ret(self, first: u32, cx: Context<'_>) -> Result<i32> {
        let from = cx.with(|st| st.frame().top);
        self.push_all(cx)?;
        cx.with(|st| {
            let n = st.frame().top - from;
            for i in 0..n {
                // SAFETY: the values pushed; they move down.
                unsafe { Raw::store(st.slot(first - 1 + i), Raw::load(st.slot(from + i))) };
            }
            Ok(n as i32)
        })
    }
}

impl<T: IntoLua> IntoLuaMulti for T {
    fn kinds(kinds: &mut Vec<ValueKind>) {
        kinds.push(T::KIND);
    }

    fn into_lua_multi(self, vm: &Vm) -> Result<MultiValue> {
        Ok(MultiValue::from_iter([self.into_lua(vm)?]))
    }

    #[inline]
    fn push_all(self, cx: Context<'_>) -> Result<()> {
        cx.push(self.into_raw(cx)?.0)
    }

    #[inline]
    fn ret(self, first: u32, cx: Context<'_>) -> Result<i32> {
        let raw = self.into_raw(cx)?;
        cx.put(first - 1, raw.0);
        Ok(1)
    }
}

impl<T: FromLua> FromLuaMulti for T {
    fn kinds(kinds: &mut Vec<ValueKind>) {
        kinds.push(T::KIND);
    }

    fn from_lua_multi(mut values: MultiValue, vm: &Vm) -> Result<T> {
        T::from_lua(values.pop_front().unwrap_or_default(), vm)
    }

    #[inline(always)]
    fn read_all(window: Window, cx: Context<'_>) -> Result<T> {
        window.read(0, cx)
    }
}

impl IntoLuaMulti for () {
    fn kinds(_: &mut Vec<ValueKind>) {}

    fn into_lua_multi(self, _: &Vm) -> Result<MultiValue> {
        Ok(MultiValue::new())
    }

    #[inline]
    fn push_all(self, _: Context<'_>) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn ret(self, _: u32, _: Context<'_>) -> Result<i32> {
        Ok(0)
    }
}

impl FromLuaMulti for () {
    fn kinds(_: &mut Vec<ValueKind>) {}

    fn from_lua_multi(_: MultiValue, _: &Vm) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn read_all(_: Window, _: Context<'_>) -> Result<()> {
        Ok(())
    }
}

macro_rules! tuples {
    ($($name:ident $index:literal)* ; $last:ident $at:literal) => {
        impl<$($name: IntoLua,)* $last: IntoLuaMulti> IntoLuaMulti for ($($name,)* $last,) {
            fn kinds(kinds: &mut Vec<ValueKind>) {
                $(kinds.push($name::KIND);)*
                $last::kinds(kinds);
            }

            #[allow(non_snake_case)]
            fn into_lua_multi(self, vm: &Vm) -> Result<MultiValue> {
                let ($($name,)* $last,) = self;
                $(let $name = $name.into_lua(vm)?;)*
                let mut values = $last.into_lua_multi(vm)?;
                let first: [Value; $at] = [$($name),*];
                first.into_iter().rev().for_each(|v| values.push_front(v));
                Ok(values)
            }

            #[allow(non_snake_case)]
            #[inline]
            fn push_all(self, cx: Context<'_>) -> Result<()> {
                let ($($name,)* $last,) = self;
                $(cx.push($name.into_raw(cx)?.0)?;)*
                $last.push_all(cx)
            }
        }

        impl<$($name: FromLua,)* $last: FromLuaMulti> FromLuaMulti for ($($name,)* $last,) {
            fn kinds(kinds: &mut Vec<ValueKind>) {
                $(kinds.push($name::KIND);)*
                $last::kinds(kinds);
            }

            #[allow(unused_mut)]
            fn from_lua_multi(mut values: MultiValue, vm: &Vm) -> Result<Self> {
                Ok((
                    $($name::from_lua(values.pop_front().unwrap_or_default(), vm)?,)*
                    $last::from_lua_multi(values, vm)?,
                ))
            }

            #[inline(always)]
            fn read_all(window: Window, cx: Context<'_>) -> Result<Self> {
                Ok(($(window.read::<$name>($index, cx)?,)* $last::read_all(window.rest($at), cx)?,))
            }
        }
    };
}

tuples!(; A 0);
tuples!(A 0 ; B 1);
tuples!(A 0 B 1 ; C 2);
tuples!(A 0 B 1 C 2 ; D 3);
tuples!(A 0 B 1 C 2 D 3 ; E 4);
tuples!(A 0 B 1 C 2 D 3 E 4 ; F 5);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 ; G 6);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 ; H 7);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 ; I 8);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 ; J 9);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 ; K 10);
tuples!(A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 ; L 11);

// Scalars.

/// A number, or a string that is one, as an integer.
#[inline]
fn integer(v: Raw) -> Result<i64> {
    if v.is_int() {
        Ok(v.as_int_unchecked())
    } else {
        integer_slow(v)
    }
}

#[cold]
fn integer_slow(v: Raw) -> Result<i64> {
    let n = to_number(v).ok_or_else(|| Error::conversion("number", v))?;
    to_integer(n)
        .ok_or_else(|| Error::unsuitable("integer", v, "number has no integer representation"))
}

/// A number, or a string that is one, as a float.
#[inline]
fn float(v: Raw) -> Result<f64> {
    if v.is_float() {
        return Ok(v.as_float_unchecked());
    }
    match to_number(v) {
        Some(n) => Ok(n.to_float_unchecked()),
        None => Err(Error::conversion("number", v)),
    }
}

/// Implements the conversions of a type whose raw form needs no handle.
macro_rules! scalar {
    ($type:ty, $kind:expr, |$v:ident| $from:expr, |$x:ident| $into:expr) => {
        impl FromLua for $type {
            const KIND: ValueKind = $kind;

            fn from_lua(value: Value, vm: &Vm) -> Result<$type> {
                through_raw(value, vm)
            }

            #[inline]
            fn from_raw(raw: RawValue, _: Context<'_>) -> Result<$type> {
                let $v = raw.0;
                $from
            }
        }

        impl IntoLua for $type {
            const KIND: ValueKind = $kind;

            fn into_lua(self, vm: &Vm) -> Result<Value> {
                vm.section(|cx| {
                    let raw = self.into_raw(cx)?;
                    Value::from_raw(raw, cx)
                })
            }

            #[inline]
            fn into_raw(self, _: Context<'_>) -> Result<RawValue> {
                let $x = self;
                $into.map(RawValue)
            }
        }
    };
}

macro_rules! integers {
    ($($type:ident)*) => {$(
        scalar!(
            $type,
            ValueKind::Any,
            |v| {
                let i = integer(v)?;
                $type::try_from(i)
                    .map_err(|_| Error::unsuitable("integer", v, concat!("number out of range for ", stringify!($type))))
            },
            |x| match i64::try_from(x) {
                Ok(i) => Ok(Raw::int(i)),
                Err(_) => Err(Error::IntoLua { from: stringify!($type), message: "out of range".into() }),
            }
        );
    )*};
}

scalar!(i64, ValueKind::Integer, |v| integer(v), |x| Ok(Raw::int(x)));
scalar!(f64, ValueKind::Float, |v| float(v), |x| Ok(Raw::float(x)));
scalar!(f32, ValueKind::Any, |v| float(v).map(|n| n as f32), |x| Ok(
    Raw::float(x as f64)
));
scalar!(bool, ValueKind::Boolean, |v| Ok(!v.is_falsy()), |x| Ok(
    Raw::bool(x)
));
integers!(i8 i16 i32 isize i128 u8 u16 u32 u64 usize u128);

// Strings.

/// A new string.
pub(crate) fn string_raw(bytes: &[u8], cx: Context<'_>) -> Result<RawValue> {
    cx.with(|st| {
        super::vm::collect_if_due(st);
        st.rt
            .new_string(bytes)
            .map(|s| RawValue(Raw::string(s)))
            .map_err(|_| Error::Memory)
    })
}

/// The bytes of a string or number.
fn with_bytes<T>(v: Raw, cx: Context<'_>, f: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    cx.with(|st| {
        if let Some(s) = v.as_string() {
            return f(s.as_bytes());
        }
        if v.tag().is_number() {
            return match st.number_to_str(v) {
                Ok(s) => f(s.as_bytes()),
                Err(_) => Err(Error::Memory),
            };
        }
        Err(Error::conversion("string", v))
    })
}

macro_rules! strings {
    ($($type:ty, |$x:ident| $bytes:expr;)*) => {$(
        impl IntoLua for $type {
            fn into_lua(self, vm: &Vm) -> Result<Value> {
                vm.section(|cx| {
                    let raw = self.into_raw(cx)?;
                    Value::from_raw(raw, cx)
                })
            }

            #[inline]
            fn into_raw(self, cx: Context<'_>) -> Result<RawValue> {
                let $x = &self;
                string_raw($bytes, cx)
            }
        }
    )*};
}

strings! {
    &str, |x| x.as_bytes();
    String, |x| x.as_bytes();
    &String, |x| x.as_bytes();
    Box<str>, |x| x.as_bytes();
    std::borrow::Cow<'_, str>, |x| x.as_bytes();
    &[u8], |x| x;
    Bytes, |x| &x.0;
}

impl FromLua for String {
    /// Strings and numbers; a string that is not UTF-8 is an error.
    fn from_lua(value: Value, vm: &Vm) -> Result<String> {
        through_raw(value, vm)
    }

    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<String> {
        with_bytes(raw.0, cx, |bytes| match std::str::from_utf8(bytes) {
            Ok(s) => Ok(s.to_owned()),
            Err(_) => Err(Error::unsuitable(
                "string",
                raw.0,
                "string is not valid UTF-8",
            )),
        })
    }
}

/// The bytes of a string. Lua strings are byte strings; a `Vec<u8>` converts to a table of numbers, this to a string.
///
/// ```
/// use perilune::{Bytes, Vm};
///
/// let vm = Vm::new();
/// let Bytes(b) = vm.load(r"return '\xff\0'").eval()?;
/// assert_eq!(b, [0xff, 0]);
/// # Ok::<(), perilune::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl FromLua for Bytes {
    fn from_lua(value: Value, vm: &Vm) -> Result<Bytes> {
        through_raw(value, vm)
    }

    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<Bytes> {
        with_bytes(raw.0, cx, |bytes| Ok(Bytes(bytes.to_vec())))
    }
}

impl FromLua for char {
    /// A string of one character.
    fn from_lua(value: Value, vm: &Vm) -> Result<char> {
        through_raw(value, vm)
    }

    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<char> {
        let s = String::from_raw(raw, cx)?;
        let mut chars = s.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(c),
            _ => Err(Error::unsuitable(
                "string",
                raw.0,
                "string of one character expected",
            )),
        }
    }
}

impl IntoLua for char {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        self.encode_utf8(&mut [0; 4]).into_lua(vm)
    }
}

impl IntoLua for &mut str {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        (&*self).into_lua(vm)
    }
}

// Options and collections.

impl<T: FromLua> FromLua for Option<T> {
    fn from_lua(value: Value, vm: &Vm) -> Result<Option<T>> {
        if value.is_nil() {
            Ok(None)
        } else {
            T::from_lua(value, vm).map(Some)
        }
    }

    #[inline]
    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<Option<T>> {
        if raw.0.is_nil() {
            Ok(None)
        } else {
            T::from_raw(raw, cx).map(Some)
        }
    }
}

impl<T: IntoLua> IntoLua for Option<T> {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        match self {
            Some(v) => v.into_lua(vm),
            None => Ok(Value::Nil),
        }
    }

    #[inline]
    fn into_raw(self, cx: Context<'_>) -> Result<RawValue> {
        match self {
            Some(v) => v.into_raw(cx),
            None => Ok(RawValue(Raw::NIL)),
        }
    }
}

fn sequence<T: IntoLua>(items: impl IntoIterator<Item = T>, vm: &Vm) -> Result<Value> {
    let t = vm.create_table()?;
    for (i, v) in items.into_iter().enumerate() {
        t.raw_set(i + 1, v)?;
    }
    Ok(Value::Table(t))
}

impl<T: FromLua> FromLua for Vec<T> {
    /// The elements 1 to `#t` of a table.
    fn from_lua(value: Value, vm: &Vm) -> Result<Vec<T>> {
        Table::from_lua(value, vm)?.sequence_values().collect()
    }
}

impl<T: IntoLua> IntoLua for Vec<T> {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        sequence(self, vm)
    }
}

impl<T: IntoLua, const N: usize> IntoLua for [T; N] {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        sequence(self, vm)
    }
}

impl<T: FromLua, const N: usize> FromLua for [T; N] {
    /// A table of exactly `N` elements.
    fn from_lua(value: Value, vm: &Vm) -> Result<[T; N]> {
        let items: Vec<T> = Vec::from_lua(value, vm)?;
        let n = items.len();
        items.try_into().map_err(|_| Error::FromLua {
            expected: "table".into(),
            got: "table",
            message: Some(format!("table with {N} elements expected, got {n}").into()),
        })
    }
}

fn map<K: IntoLua, V: IntoLua>(items: impl IntoIterator<Item = (K, V)>, vm: &Vm) -> Result<Value> {
    let t = vm.create_table()?;
    for (k, v) in items {
        t.raw_set(k, v)?;
    }
    Ok(Value::Table(t))
}

impl<K: FromLua + Eq + Hash, V: FromLua, S: BuildHasher + Default> FromLua for HashMap<K, V, S> {
    fn from_lua(value: Value, vm: &Vm) -> Result<Self> {
        Table::from_lua(value, vm)?.pairs().collect()
    }
}

impl<K: IntoLua, V: IntoLua, S> IntoLua for HashMap<K, V, S> {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        map(self, vm)
    }
}

impl<K: FromLua + Ord, V: FromLua> FromLua for BTreeMap<K, V> {
    fn from_lua(value: Value, vm: &Vm) -> Result<Self> {
        Table::from_lua(value, vm)?.pairs().collect()
    }
}

impl<K: IntoLua, V: IntoLua> IntoLua for BTreeMap<K, V> {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        map(self, vm)
    }
}
