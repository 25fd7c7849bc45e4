//! What instructions do when their fast path does not apply.
//!
//! These functions see the state with the program counter saved behind the running instruction. Where they call
//! a metamethod they push its frame and say how its result finishes the instruction; they never run it.

use super::call::{Outcome, Return, Step};
use super::concat::joined;
use super::native::{Builtin, to_integer, to_number};
use super::state::{Raised, State};
use super::{ic, message};
use crate::bytecode::cache::FieldCache;
use crate::bytecode::Instr;
use crate::bytecode::proto::{CellSource, Proto};
use crate::runtime::coroutine::{Continuation, record_flags};
use crate::runtime::function::{CellState, Closure, UpCell};
use crate::runtime::assumption::Assumption;
use crate::runtime::metatable::Event;
use crate::runtime::number;
use crate::runtime::object::Gc;
use crate::runtime::table::{Table, TableError};
use crate::runtime::value::{Tag, Value};

/// The longest chain of `__index` or `__newindex` tables that is followed.
const CHAIN_MAX: usize = 2000;

/// An arithmetic or bitwise operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arith {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    IDiv,
    BAnd,
    BOr,
    BXor,
    Shl,
    Shr,
    Unm,
    BNot,
}

impl Arith {
    fn event(self) -> Event {
        match self {
            Arith::Add => Event::Add,
            Arith::Sub => Event::Sub,
            Arith::Mul => Event::Mul,
            Arith::Div => Event::Div,
            Arith::Mod => Event::Mod,
            Arith::Pow => Event::Pow,
            Arith::IDiv => Event::IDiv,
            Arith::BAnd => Event::BAnd,
            Arith::BOr => Event::BOr,
            Arith::BXor => Event::BXor,
            Arith::Shl => Event::Shl,
            Arith::Shr => Event::Shr,
            Arith::Unm => Event::Unm,
            Arith::BNot => Event::BNot,
        }
    }

    /// Whether the operands are converted to integers.
    pub fn is_bitwise(self) -> bool {
        matches!(self, Arith::BAnd | Arith::BOr | Arith::BXor | Arith::Shl | Arith::Shr | Arith::BNot)
    }
}

/// Why an operation on two numbers has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArithError {
    /// "attempt to divide by zero"
    DivideByZero,
    /// "attempt to perform 'n%0'"
    ModuloByZero,
    /// "number has no integer representation"
    NoInteger,
}

/// `op` on two numbers (the second is ignored by the unary operations). The one definition of Lua's arithmetic
/// besides the fast paths; constant folding uses it too.
pub fn arith_numbers(op: Arith, x: Value, y: Value) -> Result<Value, ArithError> {
    if op.is_bitwise() {
        let a = to_integer(x).ok_or(ArithError::NoInteger)?;
        let b = to_integer(y).ok_or(ArithError::NoInteger)?;
        return Ok(Value::int(match op {
            Arith::BAnd => a & b,
            Arith::BOr => a | b,
            Arith::BXor => a ^ b,
            Arith::Shl => number::shift_left(a, b),
            Arith::Shr => number::shift_right(a, b),
            _ => !a,
        }));
    }
    if let (Some(a), Some(b)) = (x.as_int(), y.as_int()) {
        match op {
            Arith::Add => return Ok(Value::int(a.wrapping_add(b))),
            Arith::Sub => return Ok(Value::int(a.wrapping_sub(b))),
            Arith::Mul => return Ok(Value::int(a.wrapping_mul(b))),
            Arith::IDiv => return number::int_floor_div(a, b).map(Value::int).ok_or(ArithError::DivideByZero),
            Arith::Mod => return number::int_modulo(a, b).map(Value::int).ok_or(ArithError::ModuloByZero),
            Arith::Unm => return Ok(Value::int(a.wrapping_neg())),
            _ => {}
        }
    }
    let (a, b) = (x.to_float_unchecked(), y.to_float_unchecked());
    Ok(Value::float(match op {
        Arith::Add => a + b,
        Arith::Sub => a - b,
        Arith::Mul => a * b,
        Arith::Div => a / b,
        Arith::Pow => number::pow(a, b),
        Arith::Mod => number::float_modulo(a, b),
        Arith::IDiv => number::float_floor_div(a, b),
        _ => -a,
    }))
}

/// Arithmetic that is not on two numbers, or fails: strings are converted, metamethods called.
#[cold]
#[inline(never)]
pub fn arith(st: &mut State, op: Arith, x: Value, y: Value, dest: usize) -> Result<Outcome, Raised> {
    // Bitwise operators do not convert strings.
    let numbers = x.tag().is_number() && y.tag().is_number();
    if let (Some(a), Some(b)) = (to_number(x), to_number(y))
        && (numbers || !op.is_bitwise())
    {
        match arith_numbers(op, a, b) {
            Ok(v) => {
                let to = st.frame().base + dest as u32;
                // SAFETY: `dest` is a register of the current frame.
                unsafe { Value::store(st.slot(to), v) };
                return Ok(Outcome::Continue);
            }
            Err(ArithError::DivideByZero) => return Err(zero_error(st, numbers, "attempt to divide by zero")),
            Err(ArithError::ModuloByZero) => return Err(zero_error(st, numbers, "attempt to perform 'n%0'")),
            Err(ArithError::NoInteger) if binary_handler(st, op.event(), x, y).is_nil() => {
                return Err(message::no_integer(st, x, y));
            }
            Err(ArithError::NoInteger) => {}
        }
    }
    let handler = binary_handler(st, op.event(), x, y);
    if handler.is_nil() {
        return Err(message::arith_error(st, op.is_bitwise(), x, y));
    }
    st.call_metamethod(handler, &[x, y], Return::to(Continuation::StoreResult, dest as u64))
}

/// Strings have their arithmetic from the string library in Lua, where errors have no position.
fn zero_error(st: &mut State, numbers: bool, message: &str) -> Raised {
    if numbers { st.raise_at(message) } else { st.raise_message(message.as_bytes()) }
}

fn binary_handler(st: &State, event: Event, x: Value, y: Value) -> Value {
    let handler = st.rt.metamethod(x, event);
    if handler.is_nil() { st.rt.metamethod(y, event) } else { handler }
}

/// Where an `__index` or `__newindex` chain ends.
pub enum Chain {
    /// A value; nil for a store, which has been made.
    Value(Value),
    /// A function, and the object to call it with.
    Handler(Value, Value),
}

/// Follows the `__index` chain of `object`.
pub fn index_chain(st: &mut State, object: Value, key: Value) -> Result<Chain, Raised> {
    let mut object = object;
    for _ in 0..CHAIN_MAX {
        let handler = match object.as_table() {
            Some(t) => {
                let v = st.rt.get(t, key);
                if !v.is_nil() {
                    return Ok(Chain::Value(v));
                }
                let handler = st.rt.table_event(t, Event::Index);
                if handler.is_nil() {
                    return Ok(Chain::Value(Value::NIL));
                }
                handler
            }
            None => {
                let handler = st.rt.metamethod(object, Event::Index);
                if handler.is_nil() {
                    return Err(message::index_error(st, object));
                }
                handler
            }
        };
        if handler.tag().is_function() {
            return Ok(Chain::Handler(handler, object));
        }
        object = handler;
    }
    // Where the last link leads is still looked at, but not further.
    match object.as_table().map(|t| st.rt.get(t, key)) {
        Some(v) if !v.is_nil() => Ok(Chain::Value(v)),
        _ => Err(st.raise_at("'__index' chain too long; possible loop")),
    }
}

/// Follows the `__newindex` chain of `object`, and stores unless it ends in a function.
pub fn newindex_chain(st: &mut State, object: Value, key: Value, v: Value) -> Result<Chain, Raised> {
    let mut object = object;
    for _ in 0..CHAIN_MAX {
        let handler = match object.as_table() {
            Some(t) => {
                let handler = match t.metatable.get() {
                    None => Value::NIL,
                    Some(_) => st.rt.table_event(t, Event::NewIndex),
                };
                if handler.is_nil() || !st.rt.get(t, key).is_nil() {
                    return store(st, t, key, v);
                }
                handler
            }
            None => {
                let handler = st.rt.metamethod(object, Event::NewIndex);
                if handler.is_nil() {
                    return Err(message::index_error(st, object));
                }
                handler
            }
        };
        if handler.tag().is_function() {
            return Ok(Chain::Handler(handler, object));
        }
        object = handler;
    }
    match object.as_table() {
        Some(t) if !st.rt.get(t, key).is_nil() => store(st, t, key, v),
        _ => Err(st.raise_at("'__newindex' chain too long; possible loop")),
    }
}

fn store(st: &mut State, t: Gc<Table>, key: Value, v: Value) -> Result<Chain, Raised> {
    let stored = st.rt.set(t, key, v);
    st.check_store(stored)?;
    Ok(Chain::Value(Value::NIL))
}

/// `R[dest] = object[key]` with metamethods.
#[inline(never)]
pub fn get_index(st: &mut State, object: Value, key: Value, dest: usize) -> Result<Outcome, Raised> {
    match index_chain(st, object, key)? {
        Chain::Value(v) => {
            let to = st.frame().base + dest as u32;
            // SAFETY: `dest` is a register of the current frame.
            unsafe { Value::store(st.slot(to), v) };
            Ok(Outcome::Continue)
        }
        Chain::Handler(handler, object) => {
            st.call_metamethod(handler, &[object, key], Return::to(Continuation::StoreResult, dest as u64))
        }
    }
}

/// `object[key] = v` with metamethods.
#[inline(never)]
pub fn set_index(st: &mut State, object: Value, key: Value, v: Value) -> Result<Outcome, Raised> {
    match newindex_chain(st, object, key, v)? {
        Chain::Value(_) => Ok(Outcome::Continue),
        Chain::Handler(handler, object) => {
            st.call_metamethod(handler, &[object, key, v], Return::to(Continuation::Discard, 0))
        }
    }
}

impl State {
    /// Turns a failed table store into a raised error.
    pub fn check_store(&mut self, r: Result<(), TableError>) -> Result<(), Raised> {
        if self.rt.flush_caches {
            self.flush_caches();
        }
        match r {
            Ok(()) => Ok(()),
            Err(TableError::NilKey) => Err(self.raise_at("table index is nil")),
            Err(TableError::NanKey) => Err(self.raise_at("table index is NaN")),
            Err(TableError::Memory) => Err(self.raise_memory()),
        }
    }

    /// A new heap cell.
    #[inline]
    pub fn new_cell(&mut self, v: Value, state: CellState) -> Result<Gc<UpCell>, Raised> {
        let cell = self.rt.new_cell(v, state);
        self.check_memory(cell)
    }

    /// Stores to a captured variable: the first store makes it constant, the second mutable.
    #[inline(always)]
    pub fn store_cell(&mut self, cell: Gc<UpCell>, v: Value) {
        if cell.state.get() != CellState::Mutable {
            self.first_stores(cell);
        }
        cell.put(v);
        self.rt.heap.write_barrier(cell);
    }

    /// What a cell that is not mutable becomes when it is stored to.
    #[cold]
    pub fn first_stores(&mut self, cell: Gc<UpCell>) {
        if cell.state.get() == CellState::Uninitialised {
            cell.state.set(CellState::Constant);
        } else {
            cell.state.set(CellState::Mutable);
            self.rt.assumption_broken(Assumption::CellConstant(cell));
        }
    }
}

/// `R[dest] = receiver[F.key]`; teaches the cache.
#[inline(never)]
pub fn get_field(
    st: &mut State,
    at: *mut Instr,
    receiver: Value,
    cache: &FieldCache,
    dest: usize,
) -> Result<Outcome, Raised> {
    st.counters.field_misses += 1;
    if let Some(t) = receiver.as_table() {
        ic::learn_get(st, at, t, cache);
        let v = st.rt.get_str(t, cache.key);
        if !v.is_nil() || t.metatable.get().is_none() {
            let to = st.frame().base + dest as u32;
            // SAFETY: `dest` is a register of the current frame.
            unsafe { Value::store(st.slot(to), v) };
            return Ok(Outcome::Continue);
        }
    }
    get_index(st, receiver, Value::string(cache.key), dest)
}

/// `R[dest+1] = receiver; R[dest] = receiver[F.key]`; teaches the cache.
#[inline(never)]
pub fn get_method(
    st: &mut State,
    at: *mut Instr,
    receiver: Value,
    cache: &FieldCache,
    dest: usize,
) -> Result<Outcome, Raised> {
    st.counters.field_misses += 1;
    if let Some(t) = receiver.as_table() {
        ic::learn_get(st, at, t, cache);
    } else if receiver.is_string() {
        ic::learn_string_method(st, at, cache);
    }
    let found = index_chain(st, receiver, Value::string(cache.key))?;
    let to = st.frame().base + dest as u32;
    // SAFETY: `dest` and the register above it belong to the current frame.
    unsafe { Value::store(st.slot(to + 1), receiver) };
    match found {
        Chain::Value(v) => {
            // SAFETY: as above.
            unsafe { Value::store(st.slot(to), v) };
            Ok(Outcome::Continue)
        }
        Chain::Handler(handler, object) => {
            // Both registers are in use while the handler runs.
            // SAFETY: as above.
            unsafe { Value::store(st.slot(to), receiver) };
            st.call_metamethod(
                handler,
                &[object, Value::string(cache.key)],
                Return::to(Continuation::StoreResult, dest as u64),
            )
        }
    }
}

/// `receiver[F.key] = v`; teaches the cache.
#[inline(never)]
pub fn set_field(
    st: &mut State,
    at: *mut Instr,
    receiver: Value,
    cache: &FieldCache,
    v: Value,
) -> Result<Outcome, Raised> {
    st.counters.field_misses += 1;
    if let Some(t) = receiver.as_table() {
        let plain = t.metatable.get().is_none() || st.rt.table_event(t, Event::NewIndex).is_nil();
        if plain {
            // Learned before the store, because it is this store that may add the key.
            ic::learn_set(st, at, t, cache);
            let stored = st.rt.set_str_const(t, cache.key, v);
            st.check_store(stored)?;
            return Ok(Outcome::Continue);
        }
    }
    set_index(st, receiver, Value::string(cache.key), v)
}

/// Registers in use after the instruction before `pc`, which has just written `dest`.
///
/// # Safety
/// `pc` points behind an instruction of `proto`.
#[inline(always)]
pub unsafe fn live_after(proto: *const Proto, pc: *const Instr, dest: usize) -> usize {
    // SAFETY: there is a count for each instruction.
    unsafe {
        let at = pc.offset_from((*proto).code) as usize - 1;
        let live: &[u8] = &(*proto).info.live;
        (*live.get_unchecked(at) as usize).max(dest + 1)
    }
}

/// How a comparison comes out.
pub enum Comparison {
    Known(bool),
    /// As the truth of what this metamethod returns.
    Handler(Value),
}

/// `x == y`, `x < y` or `x <= y`, as `event` says, as far as no metamethod is needed.
#[inline]
pub fn comparison(st: &mut State, event: Event, x: Value, y: Value) -> Result<Comparison, Raised> {
    let primitive = if event == Event::Eq { primitive_equality(x, y) } else { primitive_order(x, y, event) };
    if let Some(result) = primitive {
        return Ok(Comparison::Known(result));
    }
    let handler = binary_handler(st, event, x, y);
    if !handler.is_nil() {
        Ok(Comparison::Handler(handler))
    } else if event == Event::Eq {
        Ok(Comparison::Known(false))
    } else {
        Err(message::compare_error(st, x, y))
    }
}

/// `x == y`, unless these are two different tables or userdata: they may have an `__eq`.
#[inline(always)]
pub fn primitive_equality(x: Value, y: Value) -> Option<bool> {
    let plain = x.tag() != y.tag() || !matches!(x.tag(), Tag::TABLE | Tag::USERDATA) || x.same_bits(y);
    plain.then(|| x.raw_equals(y))
}

/// Whether `x == y` needs no metamethod.
pub fn is_raw_equality(st: &mut State, x: Value, y: Value) -> bool {
    primitive_equality(x, y).is_some() || binary_handler(st, Event::Eq, x, y).is_nil()
}

/// `x == y` for two different tables or userdata: jumps by `distance` if the result equals `sense`.
#[cold]
#[inline(never)]
pub fn equals(st: &mut State, x: Value, y: Value, sense: bool, distance: i32) -> Result<Outcome, Raised> {
    compare(st, x, y, Event::Eq, sense, distance)
}

/// Calls the metamethod of a comparison: jumps by `distance` if the truth of its result equals `sense`.
pub fn call_comparison(
    st: &mut State,
    handler: Value,
    x: Value,
    y: Value,
    sense: bool,
    distance: i32,
) -> Result<Outcome, Raised> {
    st.call_metamethod(handler, &[x, y], Return::to(Continuation::Jump, jump_operand(sense, distance)))
}

fn jump_operand(sense: bool, distance: i32) -> u64 {
    ((distance as i64) << 1 | sense as i64) as u64
}

fn jump_if(st: &mut State, taken: bool, distance: i32) {
    if taken {
        let frame = st.frame_mut();
        // SAFETY: a jump's distance, checked by the verifier.
        frame.pc = unsafe { frame.pc.offset(distance as isize) };
    }
}

/// `a < b` for other than two integers or two floats.
#[inline(never)]
pub fn less(st: &mut State, x: Value, y: Value, sense: bool, distance: i32) -> Result<Outcome, Raised> {
    compare(st, x, y, Event::Lt, sense, distance)
}

/// `a <= b` for other than two integers or two floats.
#[inline(never)]
pub fn less_equal(st: &mut State, x: Value, y: Value, sense: bool, distance: i32) -> Result<Outcome, Raised> {
    compare(st, x, y, Event::Le, sense, distance)
}

/// The primitive order of two numbers or two strings; `None` if there is none.
#[inline]
pub fn primitive_order(x: Value, y: Value, event: Event) -> Option<bool> {
    let strict = event == Event::Lt;
    match (x.tag(), y.tag()) {
        (Tag::INT, Tag::INT) => {
            let (a, b) = (x.as_int_unchecked(), y.as_int_unchecked());
            Some(if strict { a < b } else { a <= b })
        }
        (Tag::FLOAT, Tag::FLOAT) => {
            let (a, b) = (x.as_float_unchecked(), y.as_float_unchecked());
            Some(if strict { a < b } else { a <= b })
        }
        (Tag::INT, Tag::FLOAT) => {
            let (a, b) = (x.as_int_unchecked(), y.as_float_unchecked());
            Some(if strict { number::lt_int_float(a, b) } else { number::le_int_float(a, b) })
        }
        (Tag::FLOAT, Tag::INT) => {
            let (a, b) = (x.as_float_unchecked(), y.as_int_unchecked());
            Some(if strict { number::lt_float_int(a, b) } else { number::le_float_int(a, b) })
        }
        (Tag::STRING, Tag::STRING) => {
            let (a, b) = (x.as_string()?, y.as_string()?);
            Some(if strict { a.as_bytes() < b.as_bytes() } else { a.as_bytes() <= b.as_bytes() })
        }
        _ => None,
    }
}

fn compare(st: &mut State, x: Value, y: Value, event: Event, sense: bool, distance: i32) -> Result<Outcome, Raised> {
    match comparison(st, event, x, y)? {
        Comparison::Known(result) => {
            jump_if(st, result == sense, distance);
            Ok(Outcome::Continue)
        }
        Comparison::Handler(handler) => call_comparison(st, handler, x, y, sense, distance),
    }
}

/// `R[dest] = #v`.
#[inline(never)]
pub fn len(st: &mut State, v: Value, dest: usize) -> Result<Outcome, Raised> {
    let plain = match v.tag() {
        Tag::STRING => v.as_string().map(|s| Value::int(s.len as i64)),
        Tag::TABLE => v.as_table().filter(|t| st.rt.table_event(*t, Event::Len).is_nil()).map(|t| Value::int(t.length())),
        _ => None,
    };
    if let Some(n) = plain {
        let to = st.frame().base + dest as u32;
        // SAFETY: `dest` is a register of the current frame.
        unsafe { Value::store(st.slot(to), n) };
        return Ok(Outcome::Continue);
    }
    let handler = st.rt.metamethod(v, Event::Len);
    if handler.is_nil() {
        return Err(message::type_error(st, v, "get length of"));
    }
    st.call_metamethod(handler, &[v, v], Return::to(Continuation::StoreResult, dest as u64))
}

/// `R[first] = R[first] .. ... .. R[first+n-1]`; a safepoint, after which `live` registers are in use.
#[inline(never)]
pub fn concat(st: &mut State, first: u32, n: u32, live: u32) -> Result<Outcome, Raised> {
    match st.concat_from(first, n)? {
        None => {
            if st.rt.heap.should_collect() {
                st.collect_at(live);
            }
            Ok(Outcome::Continue)
        }
        Some(step) => st.drive(step),
    }
}

/// The same when all operands are strings or numbers, and without a safepoint.
#[inline(never)]
pub fn concat_strings(st: &mut State, first: *mut Value, n: usize) -> Result<(), Raised> {
    let s = joined(st, first, n)?;
    // SAFETY: `n` registers from `first` are initialised.
    unsafe { Value::store(first, Value::string(s)) };
    Ok(())
}

impl State {
    /// Concatenates registers `first..first + n` of the current frame from the right, as far as no metamethod is
    /// needed; the result ends up in `first`.
    fn concat_from(&mut self, first: u32, mut n: u32) -> Result<Option<Step>, Raised> {
        let base = self.frame().base + first;
        while n > 1 {
            let right = self.slot(base + n - 1);
            // SAFETY: operands are registers of the current frame.
            let (x, y) = unsafe { (Value::load(right.sub(1)), Value::load(right)) };
            let stringy = |v: Value| v.is_string() || v.tag().is_number();
            if !(stringy(x) && stringy(y)) {
                let handler = binary_handler(self, Event::Concat, x, y);
                if handler.is_nil() {
                    return Err(message::concat_error(self, x, y));
                }
                let func = self.frame().top;
                let p = self.slot(func);
                // SAFETY: above a frame's window there is always the slack.
                unsafe {
                    Value::store(p, handler);
                    Value::store(p.add(1), x);
                    Value::store(p.add(2), y);
                }
                let aux = (first as u64) << 32 | (n - 1) as u64;
                return Ok(Some(Step::Call { func, nargs: 2, ret: Return::to(Continuation::Concat, aux) }));
            }
            // All operands to the left that are strings or numbers join in one go.
            let mut count = 2;
            // SAFETY: as above.
            while count < n && stringy(unsafe { Value::load(self.slot(base + n - 1 - count)) }) {
                count += 1;
            }
            let p = self.slot(base + n - count);
            concat_strings(self, p, count as usize)?;
            n -= count - 1;
        }
        Ok(None)
    }

    /// A `__concat` has returned `v`: goes on with the operands to its left.
    pub(super) fn concat_resume(&mut self, v: Value, aux: u64) -> Result<Option<Step>, Raised> {
        let (first, n) = ((aux >> 32) as u32, aux as u32);
        let at = self.frame().base + first + n - 1;
        // SAFETY: the place of the two operands' left one.
        unsafe { Value::store(self.slot(at), v) };
        self.concat_from(first, n)
    }
}

/// Stores `n` values from `first` into the array part of `t`, from index `start`.
#[inline(never)]
pub fn set_list(st: &mut State, t: Gc<Table>, start: u32, first: *const Value, n: usize) -> Result<(), Raised> {
    // SAFETY: `n` registers from `first` are initialised.
    let stored = unsafe { st.rt.set_list(t, start, first, n as u32) };
    st.check_store(stored)
}

/// Prepares a numeric loop whose fast path did not apply; whether it runs at all.
#[inline(never)]
pub fn for_prepare(st: &mut State, p: *mut Value) -> Result<bool, Raised> {
    // SAFETY: the four registers of a numeric loop.
    let (start, limit, step) = unsafe { (Value::load(p), Value::load(p.add(1)), Value::load(p.add(2))) };
    if let (Some(from), Some(by)) = (start.as_int(), step.as_int()) {
        if by == 0 {
            return Err(st.raise_at("'for' step is zero"));
        }
        let to = match limit.as_int() {
            Some(to) => Some(to),
            None => match to_number(limit) {
                Some(f) => match to_integer_limit(f) {
                    Limit::Int(to) => Some(to),
                    Limit::Float(f) => number::for_limit(from, f, by),
                },
                None => return Err(message::for_error(st, limit, "limit")),
            },
        };
        let passes = to.and_then(|to| number::for_repetitions(from, to, by));
        let Some(passes) = passes else {
            return Ok(false);
        };
        // SAFETY: as above.
        unsafe {
            Value::store(p.add(1), Value::int(passes as i64));
            Value::store(p.add(3), start);
        }
        return Ok(true);
    }
    let Some(to) = to_number(limit) else {
        return Err(message::for_error(st, limit, "limit"));
    };
    let Some(by) = to_number(step) else {
        return Err(message::for_error(st, step, "step"));
    };
    let Some(from) = to_number(start) else {
        return Err(message::for_error(st, start, "initial value"));
    };
    let (from, to, by) = (from.to_float_unchecked(), to.to_float_unchecked(), by.to_float_unchecked());
    if by == 0.0 {
        return Err(st.raise_at("'for' step is zero"));
    }
    if if by > 0.0 { to < from } else { from < to } {
        return Ok(false);
    }
    // SAFETY: as above.
    unsafe {
        Value::store(p, Value::float(from));
        Value::store(p.add(1), Value::float(to));
        Value::store(p.add(2), Value::float(by));
        Value::store(p.add(3), Value::float(from));
    }
    Ok(true)
}

enum Limit {
    Int(i64),
    Float(f64),
}

fn to_integer_limit(v: Value) -> Limit {
    match v.as_int() {
        Some(i) => Limit::Int(i),
        None => Limit::Float(v.as_float_unchecked()),
    }
}

/// Marks the variable at `p` to be closed.
#[inline(never)]
pub fn mark_to_close(st: &mut State, p: *mut Value) -> Result<(), Raised> {
    // SAFETY: a register of the current frame.
    let v = unsafe { Value::load(p) };
    if v.is_falsy() {
        return Ok(());
    }
    if st.rt.metamethod(v, Event::Close).is_nil() {
        return Err(message::close_error(st, p));
    }
    let slot = st.index_of(p);
    st.add_to_close(slot)?;
    st.frame_mut().flags |= record_flags::TBC;
    Ok(())
}

/// Whether `v` is the library's `next`.
#[inline(always)]
pub fn is_next(v: Value) -> bool {
    matches!(v.as_native(), Some(n) if n.builtin == Builtin::Next)
}

/// One step of a traversal whose control variable is `R[a+2]`; nil and nil at the end.
#[inline]
pub fn next_in_loop(st: &mut State, t: Gc<Table>, p: *mut Value) -> Result<(Value, Value), Raised> {
    // SAFETY: the control variable of a generic loop.
    let key = unsafe { Value::load(p.add(2)) };
    match st.rt.next(t, key) {
        Ok(Some(pair)) => Ok(pair),
        Ok(None) => Ok((Value::NIL, Value::NIL)),
        Err(_) => Err(st.raise_at("invalid key to 'next'")),
    }
}

/// `R[to], ...` = the `extra` extra arguments of the function at stack index `base`; `wanted` of them, or with -1 all
/// and `top` behind them. `to` is a stack index.
#[inline(always)]
pub fn spread_extra(st: &mut State, base: u32, extra: u32, to: u32, wanted: i16) -> Result<(), Raised> {
    let mut count = wanted as u32;
    if wanted < 0 {
        count = extra;
        st.reserve(to + extra)?;
        st.top = st.slot(to + extra);
    }
    // SAFETY: extra arguments lie below the function; results are registers, or room was made for them.
    unsafe {
        let from = st.slot(base).sub(extra as usize + 1);
        let to = st.slot(to);
        for j in 0..count as usize {
            let v = if j < extra as usize { Value::load(from.add(j)) } else { Value::NIL };
            Value::store(to.add(j), v);
        }
    }
    Ok(())
}

/// A closure over the nested prototype `index`, in the frame at `base`.
#[inline(never)]
pub fn new_closure(st: &mut State, proto: *const Proto, index: usize, base: *mut Value) -> Result<Gc<Closure>, Raised> {
    // SAFETY: the verifier has checked the index, and that the named registers hold cells.
    unsafe {
        let child = (&(*proto).info.protos)[index];
        let sources = &child.info.captured;
        let closure = st.rt.allocate_closure(child);
        let closure = st.check_memory(closure)?;
        let parent: Gc<Closure> = Gc::from_addr(Value::payload_at(base.sub(1)));
        for (i, source) in sources.iter().enumerate() {
            let cell = match source.source {
                CellSource::Register(r) => Gc::from_addr(Value::payload_at(base.add(r as usize))),
                CellSource::Captured(n) => parent.cell(n as usize),
            };
            source.see(cell.addr());
            closure.set_cell(i, cell);
        }
        Ok(closure)
    }
}

/// A call whose callee is not a simple bytecode function.
#[inline(never)]
pub fn call(st: &mut State, func: u32, nargs: u32, wanted: i16) -> Result<Outcome, Raised> {
    let outcome = st.drive(Step::Call { func, nargs, ret: Return::call(wanted) })?;
    // The fast path polls at the callee's head, and plain returns do not.
    st.poll_in(outcome)
}

/// A call of what is most likely a host function.
pub fn call_native(st: &mut State, func: u32, nargs: u32, wanted: i16) -> Result<Outcome, Raised> {
    // SAFETY: the caller has put the function there.
    let native = unsafe { Value::load(st.slot(func)) }.as_native();
    let Some(native) = native.filter(|_| st.hook_events == 0) else {
        return call(st, func, nargs, wanted);
    };
    let args = st.push_native(func, nargs, Return::call(wanted))?;
    let n = (native.func)(st, args)?;
    native_returned(st, Value::native(native), func, n, wanted)
}

/// Calls the host function at stack index `func` without a record, if it is a leaf function. The counts are those of arguments and
/// results, plus one; only the results may be an open list (0). False if it would have raised an error or called something; then it has changed nothing but the slots of the
/// call.
#[inline]
pub fn call_leaf(st: &mut State, func: u32, counts: [u32; 2]) -> bool {
    // SAFETY: the caller has put the function there.
    let native = unsafe { Value::load(st.slot(func)) }.as_native();
    let args = super::Args { base: func + 1, count: counts[0] - 1 };
    let Some(native) = native.filter(|native| native.builtin.leaf().is_some()) else {
        return false;
    };
    if !st.slot_fits(args.base + args.count + super::call::NATIVE_SLOTS) {
        return false;
    }
    st.in_leaf = true;
    let results = (native.func)(st, args);
    st.in_leaf = false;
    match results {
        Ok(n) => {
            debug_assert!(n >= 0, "leaf functions make no requests");
            // SAFETY: its results lie where the caller wants them.
            unsafe { complete_results(st, func, n, counts[1] as i16 - 1) };
            true
        }
        Err(Raised) => {
            st.error = Value::NIL;
            false
        }
    }
}

/// Goes on after a host function, which was in slot `func` and whose record is the current one: it has left `n` results, or
/// makes a request.
pub fn native_returned(st: &mut State, native: Value, func: u32, n: i32, wanted: i16) -> Result<Outcome, Raised> {
    // A function that sets a hook for returns is the first to return through it.
    if n < 0 || st.hook_events != 0 {
        let n = if n < 0 { n } else { st.keep_function(native, n)? };
        let outcome = st.settle(n)?;
        return st.poll_in(outcome);
    }
    // SAFETY: the host function's record is the current one; its results lie where the caller wants them.
    unsafe {
        st.record = st.record.sub(1);
        complete_results(st, func, n, wanted);
    }
    Ok(st.settled())
}

/// Gives the caller of a host function with `n` results as many as it wants.
///
/// # Safety
/// The results lie at `func`, where the caller has registers for those that it wants.
#[inline]
pub unsafe fn complete_results(st: &mut State, func: u32, n: i32, wanted: i16) {
    let first = st.slot(func);
    // SAFETY: the caller's promise.
    unsafe {
        if wanted < 0 {
            st.top = first.add(n as usize);
        }
        for j in n..wanted as i32 {
            Value::store(first.add(j as usize), Value::NIL);
        }
    }
}

#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
/// Whether there is room for the record of a host function above `records` others, and for its slots.
#[inline]
pub fn has_room_for_native(st: &State, records: u32, args: super::Args) -> bool {
    let next = st.record.wrapping_add(records as usize + 1);
    next < st.records_end && st.slot_fits(args.base + args.count + super::call::NATIVE_SLOTS)
}

#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
/// Pushes the record of a host function for which there is room.
pub fn show_native(st: &mut State, args: super::Args, wanted: i16) {
    let pushed = st.push_native(args.base - 1, args.count, Return::call(wanted));
    debug_assert!(pushed.is_ok(), "there is room");
}

/// A tail call: the callee takes the place of the running function.
#[inline(never)]
pub fn tail_call(st: &mut State, func: u32, mut nargs: u32) -> Result<Outcome, Raised> {
    while !st.tag_at(func).is_function() {
        // What stands in for the value is tail called, too.
        st.insert_call_handler(func, nargs)?;
        nargs += 1;
    }
    let frame = *st.frame();
    if frame.flags & record_flags::TBC != 0 || st.tag_at(func) != Tag::CLOSURE {
        // Host functions keep the caller's frame while they run, and return through it.
        return st.drive(Step::Call { func, nargs, ret: Return::call(-1) });
    }
    let dest = st.result_slot();
    for i in 0..=nargs {
        // SAFETY: the function and its arguments lie above the frame's own function.
        unsafe { Value::store(st.slot(dest + i), Value::load(st.slot(func + i))) };
    }
    st.pop_record();
    let ret = Return {
        wanted: frame.wanted,
        continuation: frame.continuation,
        then: frame.then,
        aux: frame.aux,
        flags: frame.flags & (record_flags::FINALIZER | record_flags::NO_YIELD) | record_flags::TAIL,
    };
    let outcome = st.drive(Step::Call { func: dest, nargs, ret })?;
    // The frame keeps its place, so heat alone would not notice a loop of tail calls.
    st.poll_in(outcome)
}

/// A return that is not a plain one.
#[inline(never)]
pub fn leave(st: &mut State, first: *mut Value, n: usize) -> Result<Outcome, Raised> {
    let first = st.index_of(first);
    if st.frame().flags & record_flags::TBC != 0 {
        // The return is executed again after each variable.
        if let Some(outcome) = st.close_before_return(first, n as u32)? {
            return Ok(outcome);
        }
    }
    st.return_values(first, n as u32)
}
