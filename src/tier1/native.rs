//! What host functions see: their arguments, results, errors, and ways to call back.
//!
//! A host function gets a window of arguments on the running coroutine's stack and leaves its results at the
//! function's slot and up ([`State::ret1`] and friends). It must read its arguments before it writes results.
//! It may call Lua in two ways: [`State::call`] runs the callee to its end on the native stack (nobody can yield
//! across it), [`State::call_then`] pushes the callee and continues in another function afterwards, without
//! native recursion. [`State::forbid_yields`] keeps others from yielding across the latter, too.

use std::any::{Any, TypeId};

use super::state::{Raised, State};
use crate::runtime::function::Native;
use crate::runtime::number;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};

/// The arguments of a host function: a window on the running coroutine's stack.
#[derive(Clone, Copy, Debug)]
pub struct Args {
    /// Stack index of the first argument; the function lies one below.
    pub base: u32,
    pub count: u32,
}

/// What a host function did: it left this many results at the function's slot and up.
pub type NativeResult = Result<i32, Raised>;

/// A host function.
pub type NativeFn = fn(&mut State, Args) -> NativeResult;

/// How a host function goes on after a function that it had called: the window holds that function's results.
pub type ContinuationFn = fn(&mut State, Args) -> NativeResult;

/// A call of a host function by machine code, for which no records have been pushed. Who wants to use the VM, other than to read
/// arguments and to store results, has it shown first.
#[repr(C)]
pub struct DirectCall {
    pub state: *mut State,
    pub args: Args,
    /// Whether everything is as it is when a host function runs.
    pub shown: bool,
    show: unsafe fn(*mut DirectCall),
}

impl DirectCall {
    /// # Safety
    /// `show` makes everything as it is when a host function runs, if it is given the address of what is returned.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    #[inline(always)]
    pub unsafe fn new(state: *mut State, args: Args, show: unsafe fn(*mut DirectCall)) -> DirectCall {
        DirectCall { state, args, shown: false, show }
    }

    /// Pushes the records of the frames, the host function's among them.
    ///
    /// # Safety
    /// The call is in progress and has not been shown; nobody uses the state.
    #[cold]
    pub unsafe fn show(call: *mut DirectCall) {
        // SAFETY: the caller's promise.
        unsafe {
            (*call).shown = true;
            ((*call).show)(call);
        }
    }
}

/// The code of a host function for direct calls, which gets the window of its arguments: stack index of the first, and number. Returns the number of results, or a negative number if it has raised an error;
/// then the call has been shown.
pub type DirectFn = unsafe extern "C" fn(*mut DirectCall, u32, u32) -> i32;

/// What the value in the upvalue of a [`Builtin::Host`] function begins with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostHead {
    pub direct: DirectFn,
}

/// The value in the upvalue of a host function.
///
/// # Safety
/// The function is a [`Builtin::Host`].
#[inline(always)]
pub unsafe fn host_value(native: Gc<Native>) -> *const HostHead {
    // SAFETY: its upvalue was set when it was made, to a userdata whose value is never taken, and cannot be changed by
    // scripts. The value is boxed, and boxes of trait objects begin with the data pointer.
    unsafe {
        let userdata = native.upvalue(0).as_userdata().unwrap_unchecked();
        let data = (*userdata.data.as_ptr()).as_ref().unwrap_unchecked();
        (&raw const **data).cast()
    }
}

/// The code of a function for direct calls, if it has any.
pub fn direct_code(native: Gc<Native>) -> Option<DirectFn> {
    if native.builtin != Builtin::Host {
        return None;
    }
    // SAFETY: just checked.
    Some(unsafe { (*host_value(native)).direct })
}

/// Library functions that instructions or the optimizer know by identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Builtin {
    Other,
    Next,
    /// The iterator of `ipairs`.
    IpairsStep,
    Assert,
    Ipairs,
    Pairs,
    RawEqual,
    RawGet,
    RawLen,
    RawSet,
    Select,
    SetMetatable,
    ToNumber,
    ToString,
    Type,
    MathAbs,
    MathAcos,
    MathAsin,
    MathAtan,
    MathCeil,
    MathCos,
    MathDeg,
    MathExp,
    MathFloor,
    MathFmod,
    MathLog,
    MathMax,
    MathMin,
    MathRad,
    MathRandom,
    MathSin,
    MathSqrt,
    MathTan,
    MathToInteger,
    MathType,
    MathUlt,
    StringByte,
    StringChar,
    StringLen,
    StringSub,
    TableInsert,
    CoroutineResume,
    /// What `coroutine.wrap` has returned.
    CoroutineWrapped,
    CoroutineYield,
    Pcall,
    TableRemove,
    /// A leaf function that is known for nothing else.
    Leaf,
    /// A Rust closure of the embedding's; its first upvalue is not for scripts.
    Host,
}

/// What a leaf function does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaf {
    /// It changes nothing but its own state.
    Reads,
    /// It may change elements of tables, but no fields with names.
    ChangesTables,
}

impl Builtin {
    /// What it does if it is a leaf function: one that most often calls nothing, and changes something only when it is sure of its
    /// success. Such functions may be called without a record on the stack
    /// ([`slow::call_leaf`](super::slow::call_leaf)); they must not look at the current one but by calls that fail then
    /// ([`State::in_leaf`]).
    pub fn leaf(self) -> Option<Leaf> {
        match self {
            Builtin::Leaf
            | Builtin::Select
            | Builtin::ToNumber
            | Builtin::ToString
            | Builtin::MathFmod
            | Builtin::StringByte
            | Builtin::StringChar
            | Builtin::StringSub => Some(Leaf::Reads),
            Builtin::TableInsert | Builtin::TableRemove => Some(Leaf::ChangesTables),
            _ => None,
        }
    }
}

/// Values that host handles keep alive: a slab with a free list.
#[derive(Default)]
pub struct HandleTable {
    slots: Vec<Value>,
    free: Vec<u32>,
}

impl HandleTable {
    /// Roots `v`.
    pub fn insert(&mut self, v: Value) -> u32 {
        match self.free.pop() {
            Some(i) => {
                self.slots[i as usize] = v;
                i
            }
            None => {
                self.slots.push(v);
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Ends a root.
    pub fn remove(&mut self, i: u32) {
        self.slots[i as usize] = Value::NIL;
        self.free.push(i);
    }

    pub fn get(&self, i: u32) -> Value {
        self.slots[i as usize]
    }

    /// All rooted values.
    pub fn values(&self) -> &[Value] {
        &self.slots
    }
}

/// One value per type, kept for library modules.
#[derive(Default)]
pub struct Extensions {
    values: Vec<(TypeId, Box<dyn Any + Send>)>,
}

impl Extensions {
    /// The value of type `T`, made on first use.
    pub fn get_or_default<T: Any + Send + Default>(&mut self) -> &mut T {
        let id = TypeId::of::<T>();
        let at = match self.values.iter().position(|v| v.0 == id) {
            Some(at) => at,
            None => {
                self.values.push((id, Box::<T>::default()));
                self.values.len() - 1
            }
        };
        // What is asked for again and again is found at once.
        if at != 0 {
            self.values.swap(0, at);
        }
        let value: *mut (dyn Any + Send) = &mut *self.values[0].1;
        // SAFETY: found by its type; `self` stays borrowed.
        unsafe { &mut *value.cast::<T>() }
    }
}

impl State {
    // Arguments.

    /// Argument `i` (from 0), or nil if it is absent.
    #[inline(always)]
    pub fn arg(&self, args: Args, i: u32) -> Value {
        if i < args.count {
            // SAFETY: the window's slots are initialised.
            unsafe { Value::load(self.slot(args.base + i)) }
        } else {
            Value::NIL
        }
    }

    /// Replaces argument `i`, which must exist.
    pub fn set_arg(&mut self, args: Args, i: u32, v: Value) {
        assert!(i < args.count);
        // SAFETY: within the window.
        unsafe { Value::store(self.slot(args.base + i), v) };
    }

    /// Argument `i` (from 0), raising "value expected" if it is absent.
    #[inline]
    pub fn arg_any(&mut self, args: Args, i: u32) -> Result<Value, Raised> {
        if i < args.count { Ok(self.arg(args, i)) } else { Err(self.arg_error(i, "value expected")) }
    }

    /// Argument `i` as an integer, converting floats and strings that represent one.
    #[inline]
    pub fn arg_int(&mut self, args: Args, i: u32) -> Result<i64, Raised> {
        let v = self.arg(args, i);
        if v.is_int() {
            return Ok(v.as_int_unchecked());
        }
        self.arg_int_slow(args, i)
    }

    #[cold]
    fn arg_int_slow(&mut self, args: Args, i: u32) -> Result<i64, Raised> {
        let v = self.arg(args, i);
        match to_number(v) {
            Some(n) => match to_integer(n) {
                Some(n) => Ok(n),
                None => Err(self.arg_error(i, "number has no integer representation")),
            },
            None => Err(self.arg_type_error(args, i, "number")),
        }
    }

    /// Like [`State::arg_int`], with a default for nil or absent.
    #[inline]
    pub fn arg_int_or(&mut self, args: Args, i: u32, default: i64) -> Result<i64, Raised> {
        if self.arg(args, i).is_nil() { Ok(default) } else { self.arg_int(args, i) }
    }

    /// Argument `i` as a float, converting integers and strings.
    #[inline]
    pub fn arg_float(&mut self, args: Args, i: u32) -> Result<f64, Raised> {
        let v = self.arg(args, i);
        if v.is_float() {
            return Ok(v.as_float_unchecked());
        }
        match to_number(v) {
            Some(n) => Ok(match n.as_int() {
                Some(n) => n as f64,
                None => n.as_float_unchecked(),
            }),
            None => Err(self.arg_type_error(args, i, "number")),
        }
    }

    /// Argument `i` as a string, converting numbers (and replacing the argument, so that it is rooted).
    #[inline]
    pub fn arg_str(&mut self, args: Args, i: u32) -> Result<Gc<Str>, Raised> {
        let v = self.arg(args, i);
        if let Some(s) = v.as_string() {
            return Ok(s);
        }
        if v.tag().is_number() {
            let s = self.number_to_str(v)?;
            self.set_arg(args, i, Value::string(s));
            return Ok(s);
        }
        Err(self.arg_type_error(args, i, "string"))
    }

    /// Argument `i` as a table.
    #[inline]
    pub fn arg_table(&mut self, args: Args, i: u32) -> Result<Gc<Table>, Raised> {
        match self.arg(args, i).as_table() {
            Some(t) => Ok(t),
            None => Err(self.arg_type_error(args, i, "table")),
        }
    }

    /// Argument `i` as a function.
    pub fn arg_function(&mut self, args: Args, i: u32) -> Result<Value, Raised> {
        let v = self.arg(args, i);
        if v.tag().is_function() { Ok(v) } else { Err(self.arg_type_error(args, i, "function")) }
    }

    // Results.

    /// Returns `n` values that lie at stack index `first`, within the window or above it.
    pub fn ret_at(&mut self, args: Args, first: u32, n: u32) -> NativeResult {
        debug_assert!(first >= args.base);
        for i in 0..n {
            // SAFETY: they are initialised, and there is room for as many below.
            unsafe { Value::store(self.slot(args.base - 1 + i), Value::load(self.slot(first + i))) };
        }
        Ok(n as i32)
    }

    /// Returns nothing.
    #[inline(always)]
    pub fn ret0(&mut self) -> NativeResult {
        Ok(0)
    }

    /// Returns one value.
    #[inline(always)]
    pub fn ret1(&mut self, args: Args, v: Value) -> NativeResult {
        // SAFETY: the function's slot lies below the window.
        unsafe { Value::store(self.slot(args.base - 1), v) };
        Ok(1)
    }

    /// Returns two values.
    #[inline(always)]
    pub fn ret2(&mut self, args: Args, v: Value, w: Value) -> NativeResult {
        // SAFETY: the function's slot and the one above; the slack above a frame's window has room.
        unsafe {
            Value::store(self.slot(args.base - 1), v);
            Value::store(self.slot(args.base), w);
        }
        Ok(2)
    }

    /// Returns many values.
    pub fn ret(&mut self, args: Args, values: &[Value]) -> NativeResult {
        let end = args.base as usize + values.len();
        if end > STACK_MAX_RESULTS {
            return Err(self.raise_text("stack overflow (too many results)"));
        }
        self.reserve(end as u32)?;
        for (i, v) in values.iter().enumerate() {
            // SAFETY: room was made above.
            unsafe { Value::store(self.slot(args.base - 1 + i as u32), *v) };
        }
        Ok(values.len() as i32)
    }

    /// Makes room on the stack up to index `end`.
    #[inline]
    pub fn reserve(&mut self, end: u32) -> Result<(), Raised> {
        if self.slot_fits(end) { Ok(()) } else { self.grow_stack(end) }
    }

    // Conversions.

    /// The string form of a number, as `tostring` gives it.
    pub fn number_to_str(&mut self, v: Value) -> Result<Gc<Str>, Raised> {
        let mut buffer = number::NumberBuffer::default();
        let text = match v.as_int() {
            Some(i) => number::format_int(i, &mut buffer),
            None => number::format_float(v.as_float_unchecked(), &mut buffer),
        };
        let s = self.rt.new_string(text);
        self.check_memory(s)
    }

    // Errors.

    /// Raises a message with the position of the function that called the running host function (level 1).
    #[cold]
    pub fn raise_text(&mut self, message: &str) -> Raised {
        self.raise_bytes(message.as_bytes())
    }

    /// Like [`State::raise_text`], for messages that quote a script's bytes.
    #[cold]
    pub fn raise_bytes(&mut self, message: &[u8]) -> Raised {
        if self.in_leaf {
            return Raised;
        }
        let mut text = self.position(1);
        text.extend_from_slice(message);
        match self.string_value(&text) {
            Ok(v) => self.raise(v),
            Err(raised) => raised,
        }
    }

    /// Raises "bad argument #i to 'f' (message)"; `i` counts from 0.
    #[cold]
    pub fn arg_error(&mut self, i: u32, message: &str) -> Raised {
        if self.in_leaf {
            return Raised;
        }
        let (name, method) = self.running_name();
        let mut n = i + 1;
        if method {
            n -= 1;
            if n == 0 {
                let mut text = b"calling '".to_vec();
                text.extend_from_slice(&name);
                text.extend_from_slice(b"' on bad self (");
                text.extend_from_slice(message.as_bytes());
                text.push(b')');
                return self.raise_bytes(&text);
            }
        }
        let mut text = format!("bad argument #{n} to '").into_bytes();
        text.extend_from_slice(&name);
        text.extend_from_slice(b"' (");
        text.extend_from_slice(message.as_bytes());
        text.push(b')');
        self.raise_bytes(&text)
    }

    /// Raises "bad argument ... (expected expected, got actual)".
    #[cold]
    pub fn arg_type_error(&mut self, args: Args, i: u32, expected: &str) -> Raised {
        let actual = if i < args.count {
            let v = self.arg(args, i);
            if v.tag() == Tag::LIGHT { b"light userdata".to_vec() } else { self.type_name_of(v) }
        } else {
            b"no value".to_vec()
        };
        self.arg_error(i, &format!("{expected} expected, got {}", String::from_utf8_lossy(&actual)))
    }
}

const STACK_MAX_RESULTS: usize = super::state::STACK_MAX as usize;

/// A number, or a string that is one, as a number value.
#[inline]
pub fn to_number(v: Value) -> Option<Value> {
    match v.tag() {
        Tag::INT | Tag::FLOAT => Some(v),
        Tag::STRING => string_to_number(v.as_string()?),
        _ => None,
    }
}

/// The number that a string represents.
pub fn string_to_number(s: Gc<Str>) -> Option<Value> {
    Some(match number::parse_numeral(s.as_bytes())? {
        number::Numeral::Int(i) => Value::int(i),
        number::Numeral::Float(f) => Value::float(f),
    })
}

/// A number as an integer, if it has an exact integer representation.
#[inline]
pub fn to_integer(n: Value) -> Option<i64> {
    match n.tag() {
        Tag::INT => Some(n.as_int_unchecked()),
        Tag::FLOAT => number::float_to_int_exact(n.as_float_unchecked()),
        _ => None,
    }
}
