//! What machine code calls: for every micro-op without a short form in machine code a function that does what the micro-op says.
//!
//! A helper takes the frame, with inputs and operands in it, and leaves its output there. It returns 0, or 1 if control is to leave
//! for the node's exit. None of them runs the collector or other code: what may do that is a call-out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use perilune_uops::{FloatFunction, MicroOp};

use super::frame::Frame;
use crate::bytecode::proto::Proto;
use crate::runtime::functions::{self, Binary, Code, Unary};
use crate::runtime::number;
use crate::runtime::object::{Gc, Header};
use crate::runtime::shape::ShapeId;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::stdlib::{self, substring};
use crate::tier1::{Raised, State, joined, slow};
use crate::tier2::superblock::Node;

/// A helper. Called with the frame of the running activation, in which inputs and operands have been stored.
pub type Helper = unsafe extern "C" fn(*mut Frame) -> u64;

const DONE: u64 = 0;
const LEAVE: u64 = 1;

fn status(holds: bool) -> u64 {
    if holds { DONE } else { LEAVE }
}

macro_rules! helpers {
    ($( $(#[$doc:meta])* $name:ident |$st:ident, $frame:ident| $body:expr; )*) => {$(
        $(#[$doc])*
        unsafe extern "C" fn $name(frame: *mut Frame) -> u64 {
            // SAFETY: machine code passes the frame of the running activation, whose state is the VM's; nothing else
            // refers to either while it does. The inputs have the types that the micro-op declares, and objects among them
            // are alive: the collector has not run since they were reachable.
            #[allow(unused_variables, reason = "not all of them need both")]
            let ($st, $frame) = unsafe { (&mut *(*frame).state, &mut *frame) };
            $body
        }
    )*};
}

impl Frame {
    fn put(&mut self, v: Value) {
        self.output = [v.payload(), v.tag().byte() as u64];
    }

    fn put_word(&mut self, word: u64) {
        self.output[0] = word;
    }

    fn object<T: crate::runtime::object::Object>(&self, k: usize) -> Gc<T> {
        Gc::from_addr(self.args[2 * k])
    }
}

/// The outcome of an allocation: what has failed is tried again, and raised, by tier 1.
fn made<T, E>(
    st: &mut State,
    frame: &mut Frame,
    result: Result<T, E>,
    word: impl FnOnce(T) -> u64,
) -> u64 {
    match result {
        Ok(object) => {
            frame.put_word(word(object));
            DONE
        }
        Err(_) => {
            st.error = Value::NIL;
            LEAVE
        }
    }
}

helpers! {
    guard_next |st, frame| status(slow::is_next(frame.arg(0)));
    raw_eq |st, frame| { frame.put_word(frame.arg(0).raw_equals(frame.arg(1)) as u64); DONE };
    guard_raw_eq |st, frame| status(slow::is_raw_equality(st, frame.arg(0), frame.arg(1)));
    less_string |st, frame| {
        let (x, y) = (frame.object::<Str>(0), frame.object::<Str>(1));
        frame.put_word((x.as_bytes() < y.as_bytes()) as u64);
        DONE
    };
    less_equal_string |st, frame| {
        let (x, y) = (frame.object::<Str>(0), frame.object::<Str>(1));
        frame.put_word((x.as_bytes() <= y.as_bytes()) as u64);
        DONE
    };
    part |st, frame| {
        let s = substring(st, frame.object(0), frame.args[2] as i64, frame.args[4] as i64);
        made(st, frame, s, Gc::addr)
    };
    new_table |st, frame| {
        let proto = Gc::<Proto>::from_addr(frame.operand(1));
        // SAFETY: a site of the running function, which is alive.
        let site = unsafe { &*proto.tables.add(frame.operand(0) as usize) };
        let table = st.rt.new_table_at(site);
        made(st, frame, table, Gc::addr)
    };
    allocate_table |st, frame| {
        let table = st.rt.allocate_table(ShapeId(frame.operand(0) as u32), frame.operand(1) as u32);
        made(st, frame, table, Gc::addr)
    };
    length |st, frame| { frame.put_word(frame.object::<Table>(0).length() as u64); DONE };
    raw_get |st, frame| { let v = st.rt.get(frame.object(0), frame.arg(1)); frame.put(v); DONE };
    raw_set |st, frame| {
        let stored = st.rt.set(frame.object(0), frame.arg(1), frame.arg(2));
        let failed = stored.is_err();
        // Caches are flushed even if nothing has been stored.
        let checked = st.check_store(stored);
        if failed || checked.is_err() { st.error = Value::NIL; }
        status(!failed)
    };
    find_next |st, frame| match st.rt.find_next(frame.object(0), frame.arg(1)) {
        Ok(position) => { frame.put_word(position); DONE }
        Err(_) => LEAVE,
    };
    key_position |st, frame| match st.rt.key_position(frame.object(0), frame.arg(1)) {
        Ok(position) => { frame.put_word(position); DONE }
        Err(_) => LEAVE,
    };
    guard_valid |st, frame| {
        st.settle_assumptions();
        // SAFETY: the code that calls is that of an executor, which stays allocated while it runs.
        status(unsafe { (*(*(frame.operand(0) as *const super::Info)).executor.get()).is_valid() })
    };
}

/// The write barrier of an object whose barrier byte is set.
///
/// # Safety
/// The frame is that of the running activation, the object alive.
pub unsafe extern "C" fn barrier(frame: *mut Frame, object: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        (*(*frame).state)
            .rt
            .heap
            .barrier(Gc::<Header>::from_addr(object))
    };
}

/// Many objects have not been made.
///
/// # Safety
/// The frame is that of the running activation.
pub unsafe extern "C" fn many_sunk(frame: *mut Frame) {
    // SAFETY: the caller's promise.
    unsafe { (*(*frame).state).rt.heap.many_sunk() };
}

/// A value, in the two registers that functions return.
#[repr(C)]
pub struct Pair {
    payload: u64,
    tag: u64,
}

impl From<Value> for Pair {
    fn from(v: Value) -> Pair {
        Pair {
            payload: v.payload(),
            tag: v.tag().byte() as u64,
        }
    }
}

macro_rules! direct {
    ($( $(#[$doc:meta])* $name:ident |$st:ident $(, $arg:ident)*| -> $result:ty $body:block )*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The frame is that of the running activation, the arguments are of the types that the micro-op declares, and objects
        /// among them alive.
        pub unsafe extern "C" fn $name(frame: *mut Frame $(, $arg: u64)*) -> $result {
            // SAFETY: the caller's promise; nothing else refers to the state while machine code runs.
            let $st = unsafe { &mut *(*frame).state };
            $body
        }
    )*};
}

// Helpers with their arguments in registers.
direct! {
    /// What a cell that is not mutable becomes when it is stored to.
    first_stores |st, cell| -> () { st.first_stores(Gc::from_addr(cell)) }
    get_string |st, table, key| -> Pair { st.rt.get(Gc::from_addr(table), Value::string(Gc::from_addr(key))).into() }
    get_int |st, table, key| -> Pair { st.rt.get(Gc::from_addr(table), Value::int(key as i64)).into() }
    next_position |st, table, position| -> u64 { st.rt.next_position(Gc::from_addr(table), position) }
    get_table |st, table, key| -> Pair { st.rt.get(Gc::from_addr(table), Value::table(Gc::from_addr(key))).into() }
    random_float |st| -> u64 { stdlib::random_float(st).to_bits() }
    random_between |st, low, high| -> u64 { stdlib::random_between(st, low as i64, high as i64) as u64 }
    /// The concatenation of `n` strings and numbers from a slot on; null if there is no memory.
    concat |st, first, n| -> u64 {
        let at = st.frame().base - 1 + first as u32;
        match joined(st, st.slot(at), n as usize) {
            Ok(s) => s.addr(),
            Err(Raised) => {
                st.error = Value::NIL;
                0
            }
        }
    }
    load_key |st, table, position| -> Pair { st.rt.key_before(Gc::from_addr(table), position).into() }
    load_value |st, table, position| -> Pair { st.rt.value_before(Gc::from_addr(table), position).into() }
}

/// Calls the leaf function in a slot. Returns 0, or 1 if control is to leave for the node's exit.
///
/// # Safety
/// The frame is that of the running activation; the slots of the call have been stored.
pub unsafe extern "C" fn call_leaf(
    frame: *mut Frame,
    slot: u64,
    arguments: u64,
    results: u64,
) -> u64 {
    // SAFETY: the caller's promise; nothing else refers to the state while machine code runs.
    let (st, slots) = unsafe { (&mut *(*frame).state, (*frame).slots) };
    let func = st.index_of(slots) + slot as u32;
    let called = catch_unwind(AssertUnwindSafe(|| {
        slow::call_leaf(st, func, [arguments as u32, results as u32])
    }));
    // One that panics does so again when tier 1 repeats the call, and is caught where others are.
    status(called.unwrap_or_else(|_| {
        st.in_leaf = false;
        false
    }))
}

extern "C" fn power(x: f64, y: f64) -> f64 {
    number::pow(x, y)
}

extern "C" fn modulo(x: f64, y: f64) -> f64 {
    number::float_modulo(x, y)
}

extern "C" fn floor_division(x: f64, y: f64) -> f64 {
    number::float_floor_div(x, y)
}

extern "C" fn floor(x: f64) -> f64 {
    x.floor()
}

extern "C" fn ceil(x: f64) -> f64 {
    x.ceil()
}

/// The address of the function of floats that a micro-op calls, if it is one without a short form.
pub fn float_function(node: &Node) -> Option<usize> {
    use MicroOp::*;
    let unary = |f: Unary| f as usize;
    let binary = |f: Binary| f as usize;
    Some(match node.op {
        POW_F => binary(power),
        MOD_F => binary(modulo),
        IDIV_F => binary(floor_division),
        FLOOR_F => unary(floor),
        CEIL_F => unary(ceil),
        CALL_F | CALL_FF => match functions::code(FloatFunction::from_operand(node.operands[0])?) {
            Code::Unary(f) => unary(f),
            Code::Binary(f) => binary(f),
        },
        _ => return None,
    })
}

/// A cell of at most [`SMALL_MAX`](crate::heap::SMALL_MAX) bytes, or null if there is no memory.
///
/// # Safety
/// The frame is that of the running activation.
pub unsafe extern "C" fn allocate_cell(frame: *mut Frame, size: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    let cell = unsafe { (*(*frame).state).rt.heap.alloc(size) };
    cell.map_or(std::ptr::null_mut(), NonNull::as_ptr)
}

/// The helper of a micro-op that has one.
pub fn helper(op: MicroOp) -> Option<Helper> {
    use MicroOp::*;
    Some(match op {
        GUARD_NEXT => guard_next,
        RAW_EQ | EQ_S => raw_eq,
        GUARD_RAW_EQ => guard_raw_eq,
        LT_S => less_string,
        LE_S => less_equal_string,
        SUBSTRING => part,
        NEW_TABLE => new_table,
        ALLOCATE_TABLE => allocate_table,
        LENGTH_T => length,
        RAW_GET => raw_get,
        RAW_SET => raw_set,
        FIND_NEXT => find_next,
        KEY_POSITION => key_position,
        GUARD_VALID => guard_valid,
        _ => return None,
    })
}
