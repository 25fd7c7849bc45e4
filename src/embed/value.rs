//! Values as the host sees them.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::convert::{FromLua, FromLuaMulti, IntoLua, IntoLuaMulti, RawValue, Window};
use super::error::{self, Error, Result};
use super::shared::{Context, Inner, Shared};
use super::{AnyUserData, Coroutine, Function, LuaString, Table, Vm};
use crate::runtime::value::Value as Raw;
use crate::tier1::State;

/// A Lua value of any type.
///
/// ```
/// use perilune::{Value, Vm};
///
/// let vm = Vm::new();
/// assert!(matches!(vm.load("return 7 // 2").eval()?, Value::Integer(3)));
/// assert!(matches!(vm.load("return 7 / 2").eval()?, Value::Number(n) if n == 3.5));
/// # Ok::<(), perilune::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `nil`.
    #[default]
    Nil,
    /// `true` or `false`.
    Boolean(bool),
    /// A number of the subtype integer.
    Integer(i64),
    /// A number of the subtype float.
    Number(f64),
    /// A string.
    String(LuaString),
    /// A table.
    Table(Table),
    /// A function of Lua or of the host.
    Function(Function),
    /// A coroutine.
    Thread(Coroutine),
    /// A value of the host.
    UserData(AnyUserData),
    /// An address, compared as such.
    LightUserData(LightUserData),
    /// An error of a host function that Lua has caught.
    Error(Box<Error>),
}

/// An address as a Lua value. Lua can compare it, nothing else.
///
/// ```
/// use perilune::{LightUserData, Vm};
///
/// let vm = Vm::new();
/// vm.globals().set("key", LightUserData(std::ptr::null_mut()))?;
/// assert!(vm.load("return type(key) == 'userdata'").eval::<bool>()?);
/// # Ok::<(), perilune::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LightUserData(pub *mut c_void);

// SAFETY: the address is never used to access memory.
unsafe impl Send for LightUserData {}
// SAFETY: as above.
unsafe impl Sync for LightUserData {}

impl Value {
    /// The name of the type, as `type` gives it.
    ///
    /// ```
    /// assert_eq!(perilune::Value::Integer(1).type_name(), "number");
    /// ```
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Boolean(_) => "boolean",
            Value::Integer(_) | Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Table(_) => "table",
            Value::Function(_) => "function",
            Value::Thread(_) => "thread",
            Value::UserData(_) | Value::LightUserData(_) | Value::Error(_) => "userdata",
        }
    }

    /// Whether this is `nil`.
    ///
    /// ```
    /// assert!(perilune::Value::Nil.is_nil());
    /// ```
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// Roots a value for the host.
    #[inline]
    pub(crate) fn root(st: &mut State, shared: &Shared, inner: &Arc<Inner>, v: Raw) -> Value {
        use crate::runtime::value::Tag;
        let mut handle = || super::handle::Handle::new(st, shared, inner, v);
        match v.tag() {
            Tag::NIL => Value::Nil,
            Tag::FALSE => Value::Boolean(false),
            Tag::TRUE => Value::Boolean(true),
            Tag::INT => Value::Integer(v.as_int_unchecked()),
            Tag::FLOAT => Value::Number(v.as_float_unchecked()),
            Tag::LIGHT => Value::LightUserData(LightUserData(v.payload() as usize as *mut c_void)),
            Tag::STRING => Value::String(LuaString(handle())),
            Tag::TABLE => Value::Table(Table(handle())),
            Tag::CLOSURE | Tag::NATIVE => Value::Function(Function(handle())),
            Tag::COROUTINE => Value::Thread(Coroutine(handle())),
            _ => match error::of_value(v) {
                Some(e) => Value::Error(Box::new(e)),
                None => Value::UserData(AnyUserData(handle())),
            },
        }
    }

    /// The value for use by this VM.
    pub(crate) fn raw_in(
        &self,
        st: &mut State,
        shared: &Shared,
        inner: &Arc<Inner>,
    ) -> Result<Raw> {
        match self {
            Value::Nil => Ok(Raw::NIL),
            Value::Boolean(b) => Ok(Raw::bool(*b)),
            Value::Integer(i) => Ok(Raw::int(*i)),
            Value::Number(n) => Ok(Raw::float(*n)),
            Value::LightUserData(p) => Ok(Raw::light(p.0 as usize)),
            Value::String(s) => s.0.in_vm(st, inner),
            Value::Table(t) => t.0.in_vm(st, inner),
            Value::Function(f) => f.0.in_vm(st, inner),
            Value::Thread(c) => c.0.in_vm(st, inner),
            Value::UserData(u) => u.0.in_vm(st, inner),
            Value::Error(e) => {
                error::to_value(st, shared, (**e).clone()).map_err(|_| Error::Memory)
            }
        }
    }
}

/// Numbers by value, strings by content, everything else by identity. Errors equal nothing.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Nil, Value::Nil) => true,
            (Value::Boolean(a), Value::Boolean(b)) => a == b,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::Integer(i), Value::Number(n)) | (Value::Number(n), Value::Integer(i)) => {
                crate::runtime::number::eq_int_float(*i, *n)
            }
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Table(a), Value::Table(b)) => a == b,
            (Value::Function(a), Value::Function(b)) => a == b,
            (Value::Thread(a), Value::Thread(b)) => a == b,
            (Value::UserData(a), Value::UserData(b)) => a == b,
            (Value::LightUserData(a), Value::LightUserData(b)) => a == b,
            _ => false,
        }
    }
}

macro_rules! value_from {
    ($($type:ident $variant:ident),*) => {$(
        impl From<$type> for Value {
            fn from(v: $type) -> Value {
                Value::$variant(v)
            }
        }
    )*};
}

value_from!(
    LuaString String, Table Table, Function Function, Coroutine Thread, AnyUserData UserData,
    LightUserData LightUserData
);

impl IntoLua for Value {
    fn into_lua(self, _: &Vm) -> Result<Value> {
        Ok(self)
    }

    fn into_raw(self, cx: Context<'_>) -> Result<RawValue> {
        cx.with(|st| self.raw_in(st, cx.shared, &cx.vm.inner))
            .map(RawValue)
    }
}

impl IntoLua for &Value {
    fn into_lua(self, _: &Vm) -> Result<Value> {
        Ok(self.clone())
    }
}

impl FromLua for Value {
    fn from_lua(value: Value, _: &Vm) -> Result<Value> {
        Ok(value)
    }

    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<Value> {
        Ok(cx.with(|st| Value::root(st, cx.shared, &cx.vm.inner, raw.0)))
    }
}

impl IntoLua for LightUserData {
    fn into_lua(self, _: &Vm) -> Result<Value> {
        Ok(Value::LightUserData(self))
    }
}

impl FromLua for LightUserData {
    fn from_lua(value: Value, _: &Vm) -> Result<LightUserData> {
        match value {
            Value::LightUserData(p) => Ok(p),
            other => Err(Error::FromLua {
                expected: "light userdata".into(),
                got: other.type_name(),
                message: None,
            }),
        }
    }
}

impl IntoLua for Error {
    fn into_lua(self, _: &Vm) -> Result<Value> {
        Ok(Value::Error(Box::new(self)))
    }
}

impl FromLua for Error {
    /// The error in an error value; any other value becomes an error with its text.
    fn from_lua(value: Value, vm: &Vm) -> Result<Error> {
        match value {
            Value::Error(e) => Ok(*e),
            other => {
                let got = other.type_name();
                let text = String::from_lua(other, vm);
                Ok(Error::message(text.unwrap_or_else(|_| {
                    format!("(error object is a {got} value)")
                })))
            }
        }
    }
}

/// A list of values: all arguments, or all results.
///
/// ```
/// use perilune::{MultiValue, Vm};
///
/// let vm = Vm::new();
/// let values: MultiValue = vm.load("return 1, nil, 'x'").eval()?;
/// assert_eq!(values.len(), 3);
/// # Ok::<(), perilune::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MultiValue(VecDeque<Value>);

impl MultiValue {
    /// An empty list.
    pub fn new() -> MultiValue {
        MultiValue::default()
    }
}

impl Deref for MultiValue {
    type Target = VecDeque<Value>;

    fn deref(&self) -> &VecDeque<Value> {
        &self.0
    }
}

impl DerefMut for MultiValue {
    fn deref_mut(&mut self) -> &mut VecDeque<Value> {
        &mut self.0
    }
}

impl FromIterator<Value> for MultiValue {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> MultiValue {
        MultiValue(values.into_iter().collect())
    }
}

impl IntoIterator for MultiValue {
    type Item = Value;
    type IntoIter = std::collections::vec_deque::IntoIter<Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl IntoLuaMulti for MultiValue {
    fn into_lua_multi(self, _: &Vm) -> Result<MultiValue> {
        Ok(self)
    }

    fn push_all(self, cx: Context<'_>) -> Result<()> {
        self.0
            .into_iter()
            .try_for_each(|v| cx.push(v.into_raw(cx)?.0))
    }
}

impl FromLuaMulti for MultiValue {
    fn from_lua_multi(values: MultiValue, _: &Vm) -> Result<MultiValue> {
        Ok(values)
    }

    fn read_all(window: Window, cx: Context<'_>) -> Result<MultiValue> {
        (0..window.count)
            .map(|i| Value::from_raw(window.get(i, cx), cx))
            .collect()
    }
}

/// Any number of values of one type: as the last argument of a function, or as results.
///
/// ```
/// use perilune::{Variadic, Vm};
///
/// let vm = Vm::new();
/// let sum = vm.create_function(|_, numbers: Variadic<i64>| Ok(numbers.iter().sum::<i64>()))?;
/// assert_eq!(sum.call::<i64>((1, 2, 3))?, 6);
/// # Ok::<(), perilune::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variadic<T>(pub Vec<T>);

impl<T> Deref for Variadic<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Variadic<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> FromIterator<T> for Variadic<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Variadic<T> {
        Variadic(values.into_iter().collect())
    }
}

impl<T> IntoIterator for Variadic<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: IntoLua> IntoLuaMulti for Variadic<T> {
    fn into_lua_multi(self, vm: &Vm) -> Result<MultiValue> {
        self.0.into_iter().map(|v| v.into_lua(vm)).collect()
    }

    fn push_all(self, cx: Context<'_>) -> Result<()> {
        self.0
            .into_iter()
            .try_for_each(|v| cx.push(v.into_raw(cx)?.0))
    }
}

impl<T: FromLua> FromLuaMulti for Variadic<T> {
    fn from_lua_multi(values: MultiValue, vm: &Vm) -> Result<Variadic<T>> {
        values.into_iter().map(|v| T::from_lua(v, vm)).collect()
    }

    fn read_all(window: Window, cx: Context<'_>) -> Result<Variadic<T>> {
        (0..window.count).map(|i| window.read(i, cx)).collect()
    }
}
