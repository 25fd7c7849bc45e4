//! The basic functions.

use std::io::{self, Write};

use smallvec::SmallVec;

use super::load::{ANY, Loaded, load, load_file};
use super::stream::Streams;
use super::support::{Bytes, index, tostring_result, tostring_value};
use super::{Fields, Known, running};
use crate::heap::Mode;
use crate::runtime::metatable::Event;
use crate::runtime::number::parse_in_base;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::value::{Tag, Value};
use crate::tier1::callback::protected_call_returned;
use crate::tier1::native::string_to_number;
use crate::tier1::state::WarningSink;
use crate::tier1::{Args, Builtin, NativeFn, NativeResult, Raised, State};

/// Adds the functions to the globals.
pub fn open(st: &mut State, globals: &mut Fields) -> Result<(), Raised> {
    let functions: &[(&str, NativeFn)] = &[
        ("collectgarbage", collectgarbage),
        ("dofile", dofile),
        ("error", error),
        ("load", load_),
        ("loadfile", loadfile),
        ("print", print),
        ("warn", warn),
        ("xpcall", xpcall),
    ];
    for &(name, f) in functions {
        globals.add_function(st, name, f, &[])?;
    }
    let known: &[Known] = &[
        ("assert", assert, Builtin::Assert),
        ("pcall", pcall, Builtin::Pcall),
        ("getmetatable", getmetatable, Builtin::Leaf),
        ("rawequal", rawequal, Builtin::RawEqual),
        ("rawget", rawget, Builtin::RawGet),
        ("rawlen", rawlen, Builtin::RawLen),
        ("rawset", rawset, Builtin::RawSet),
        ("select", select, Builtin::Select),
        ("setmetatable", setmetatable, Builtin::SetMetatable),
        ("tonumber", tonumber, Builtin::ToNumber),
        ("tostring", tostring, Builtin::ToString),
    ];
    for &known in known {
        globals.add_builtin(st, known, &[])?;
    }
    let next = st.rt.new_builtin(next, Builtin::Next, &[]);
    let next = Value::native(st.check_memory(next)?);
    globals.add(st, "next", next)?;
    let step = st.rt.new_builtin(ipairs_step, Builtin::IpairsStep, &[]);
    let step = Value::native(st.check_memory(step)?);
    let mut names = [Value::NIL; TYPE_NAMES.len()];
    for (name, text) in names.iter_mut().zip(TYPE_NAMES) {
        *name = st.string_value(text.as_bytes())?;
    }
    globals.add_builtin(st, ("pairs", pairs, Builtin::Pairs), &[next])?;
    globals.add_builtin(st, ("ipairs", ipairs, Builtin::Ipairs), &[step])?;
    globals.add_builtin(st, ("type", type_, Builtin::Type), &names)?;
    if st.warnings.is_none() {
        st.warnings = Some(warnings_to_stderr());
    }
    let version = st.string_value(b"Lua 5.4")?;
    globals.add(st, "_VERSION", version)
}

// Errors.

fn assert(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    if !v.is_falsy() {
        return st.ret_at(args, args.base, args.count);
    }
    let message = if args.count > 1 { st.arg(args, 1) } else { st.string_value(b"assertion failed!")? };
    Err(raise_with_position(st, message, 1))
}

fn error(st: &mut State, args: Args) -> NativeResult {
    let level = st.arg_int_or(args, 1, 1)?;
    let message = st.arg(args, 0);
    Err(if level > 0 { raise_with_position(st, message, level) } else { st.raise(message) })
}

/// Raises a message, preceded by the position of the function at `level` if it is a string.
fn raise_with_position(st: &mut State, message: Value, level: i64) -> Raised {
    let Some(text) = message.as_string() else {
        return st.raise(message);
    };
    let mut positioned = st.position(level.min(u32::MAX as i64) as u32);
    if positioned.is_empty() {
        return st.raise(message);
    }
    positioned.extend_from_slice(text.as_bytes());
    match st.string_value(&positioned) {
        Ok(message) => st.raise(message),
        Err(raised) => raised,
    }
}

fn pcall(st: &mut State, args: Args) -> NativeResult {
    st.arg_any(args, 0)?;
    st.catch_errors(false)?;
    st.call_then(args.base, args.count - 1, protected_call_returned)
}

fn xpcall(st: &mut State, args: Args) -> NativeResult {
    let handler = st.arg_function(args, 1)?;
    let f = st.arg(args, 0);
    // The handler is expected in the first slot, and the function must be next to its arguments.
    st.set_arg(args, 0, handler);
    st.set_arg(args, 1, f);
    st.catch_errors(true)?;
    st.call_then(args.base + 1, args.count - 2, xpcall_returned)
}

fn xpcall_returned(st: &mut State, args: Args) -> NativeResult {
    // SAFETY: the slot that held the handler.
    unsafe { Value::store(st.slot(args.base - 1), Value::TRUE) };
    st.return_at(args.base - 1, args.count + 1)
}

fn warn(st: &mut State, args: Args) -> NativeResult {
    st.arg_str(args, 0)?;
    for i in 1..args.count {
        st.arg_str(args, i)?;
    }
    for i in 0..args.count {
        let piece = st.arg_str(args, i)?;
        if let Some(mut sink) = st.warnings.take() {
            sink(piece.as_bytes(), i + 1 < args.count);
            st.warnings = Some(sink);
        }
    }
    st.ret0()
}

/// Shows warnings on standard error, once "@on" has switched them on.
fn warnings_to_stderr() -> WarningSink {
    let mut shown = false;
    let mut begun = false;
    Box::new(move |piece, more| {
        let begins = !begun;
        begun = more;
        if begins && !more && piece.first() == Some(&b'@') {
            match piece {
                b"@on" => shown = true,
                b"@off" => shown = false,
                _ => {}
            }
            return;
        }
        if shown {
            let prefix: &[u8] = if begins { b"Lua warning: " } else { b"" };
            let end: &[u8] = if more { b"" } else { b"\n" };
            // A warning that cannot be shown is lost; there is no other place for it.
            let _ = io::stderr().write_all(&[prefix, piece, end].concat());
        }
    })
}

// Types and conversions.

/// By tag; the upvalues of `type`.
const TYPE_NAMES: [&str; 12] = [
    "nil", "boolean", "boolean", "number", "number", "userdata", "string", "table", "function", "function", "userdata",
    "thread",
];

fn type_(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let name = running(st, args).upvalue(v.tag().byte() as usize);
    st.ret1(args, name)
}

fn tostring(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    if let Some(func) = tostring_call(st, v)? {
        return st.call_then(func, 1, |st, results| {
            let v = st.arg(results, 0);
            let s = tostring_result(st, v)?;
            let args = Args { base: st.frame().base, count: 1 };
            st.ret1(args, Value::string(s))
        });
    }
    let s = tostring_value(st, v)?;
    st.ret1(args, Value::string(s))
}

/// If `v` has a `__tostring`, prepares a call of that at the stack index returned, across which nobody can yield.
fn tostring_call(st: &mut State, v: Value) -> Result<Option<u32>, Raised> {
    if v.is_string() {
        return Ok(None);
    }
    let handler = st.rt.metamethod(v, Event::ToString);
    if handler.is_nil() {
        return Ok(None);
    }
    st.forbid_yields()?;
    let func = st.push_temp(handler)?;
    st.push_temp(v)?;
    Ok(Some(func))
}

fn tonumber(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg(args, 0);
    if st.arg(args, 1).is_nil() {
        let result = match v.as_string() {
            Some(s) => string_to_number(s).unwrap_or(Value::NIL),
            None if v.tag().is_number() => v,
            None => {
                st.arg_any(args, 0)?;
                Value::NIL
            }
        };
        return st.ret1(args, result);
    }
    let base = st.arg_int(args, 1)?;
    let Some(text) = v.as_string() else {
        return Err(st.arg_type_error(args, 0, "string"));
    };
    if !(2..=36).contains(&base) {
        return Err(st.arg_error(1, "base out of range"));
    }
    let result = parse_in_base(text.as_bytes(), base as u32).map_or(Value::NIL, Value::int);
    st.ret1(args, result)
}

fn select(st: &mut State, args: Args) -> NativeResult {
    if st.arg(args, 0).as_string().is_some_and(|s| s.as_bytes().first() == Some(&b'#')) {
        return st.ret1(args, Value::int(args.count as i64 - 1));
    }
    let n = st.arg_int(args, 0)?;
    let count = args.count as i64;
    let first = if n < 0 { count.saturating_add(n) } else { n.min(count) };
    if first < 1 {
        return Err(st.arg_error(0, "index out of range"));
    }
    st.ret_at(args, args.base + first as u32, (count - first) as u32)
}

// Tables.

fn getmetatable(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let result = match st.rt.metatable(v) {
        None => Value::NIL,
        Some(m) => match st.rt.metamethod(v, Event::Metatable) {
            shown if shown.is_nil() => Value::table(m),
            shown => shown,
        },
    };
    st.ret1(args, result)
}

fn setmetatable(st: &mut State, args: Args) -> NativeResult {
    let t = st.arg_table(args, 0)?;
    let v = st.arg(args, 1);
    let m = v.as_table();
    if m.is_none() && !(v.is_nil() && args.count > 1) {
        return Err(st.arg_type_error(args, 1, "nil or table"));
    }
    if t.metatable.get().is_some() && !st.rt.table_event(t, Event::Metatable).is_nil() {
        return Err(st.raise_text("cannot change a protected metatable"));
    }
    let set = st.rt.set_metatable(t, m);
    st.check_memory(set)?;
    if m.is_some() && !st.rt.table_event(t, Event::Gc).is_nil() {
        let registered = st.rt.heap.register_finalizer(t.header());
        st.check_memory(registered)?;
    }
    st.ret1(args, Value::table(t))
}

fn rawequal(st: &mut State, args: Args) -> NativeResult {
    let a = st.arg_any(args, 0)?;
    let b = st.arg_any(args, 1)?;
    st.ret1(args, Value::bool(a.raw_equals(b)))
}

fn rawget(st: &mut State, args: Args) -> NativeResult {
    let t = st.arg_table(args, 0)?;
    let key = st.arg_any(args, 1)?;
    let v = st.rt.get(t, key);
    st.ret1(args, v)
}

fn rawset(st: &mut State, args: Args) -> NativeResult {
    let t = st.arg_table(args, 0)?;
    let key = st.arg_any(args, 1)?;
    let v = st.arg_any(args, 2)?;
    let stored = st.rt.set(t, key, v);
    st.check_store(stored)?;
    st.ret1(args, Value::table(t))
}

fn rawlen(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg(args, 0);
    let n = match (v.as_table(), v.as_string()) {
        (Some(t), _) => t.length(),
        (_, Some(s)) => s.len as i64,
        _ => return Err(st.arg_type_error(args, 0, "table or string")),
    };
    st.ret1(args, Value::int(n))
}

fn next(st: &mut State, args: Args) -> NativeResult {
    let t = st.arg_table(args, 0)?;
    let key = st.arg(args, 1);
    match st.rt.next(t, key) {
        Ok(Some((key, v))) => st.ret2(args, key, v),
        Ok(None) => st.ret1(args, Value::NIL),
        Err(_) => Err(st.raise_at("invalid key to 'next'")),
    }
}

/// Its upvalue is `next`.
fn pairs(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let handler = st.rt.metamethod(v, Event::Pairs);
    if handler.is_nil() {
        let next = running(st, args).upvalue(0);
        return st.ret(args, &[next, v, Value::NIL]);
    }
    let at = st.push_temp(handler)?;
    st.push_temp(v)?;
    st.call_then(at, 1, |st, results| {
        for i in results.count..3 {
            // SAFETY: there are always a few free slots above a window.
            unsafe { Value::store(st.slot(results.base + i), Value::NIL) };
        }
        st.return_at(results.base, 3)
    })
}

/// Its upvalue is the iterator.
fn ipairs(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let step = running(st, args).upvalue(0);
    st.ret(args, &[step, v, Value::int(0)])
}

fn ipairs_step(st: &mut State, args: Args) -> NativeResult {
    let i = st.arg_int(args, 1)?.wrapping_add(1);
    let object = st.arg(args, 0);
    let element = object.as_table().map_or(Value::NIL, |t| t.get_int(i));
    let v = if element.is_nil() { index(st, object, Value::int(i))? } else { element };
    if v.is_nil() { st.ret1(args, v) } else { st.ret2(args, Value::int(i), v) }
}

// Output.

fn print(st: &mut State, args: Args) -> NativeResult {
    print_from(st, args, 0)
}

/// Prints the arguments from number `first` on.
fn print_from(st: &mut State, args: Args, first: u32) -> NativeResult {
    for i in first..args.count {
        let v = st.arg(args, i);
        // The number of the argument waits above the arguments.
        st.frame_mut().top = args.base + args.count;
        if !v.is_string() && !v.tag().is_number() {
            st.push_temp(Value::int(i as i64))?;
            if let Some(func) = tostring_call(st, v)? {
                return st.call_then(func, 1, printed);
            }
        }
        let s = tostring_value(st, v)?;
        print_piece(st, i, s);
    }
    if let Some(stdout) = st.extensions.get_or_default::<Streams>().stdout() {
        let _ = stdout.end_line();
    }
    st.ret0()
}

/// Goes on after `__tostring` has given the text of an argument.
fn printed(st: &mut State, results: Args) -> NativeResult {
    let v = st.arg(results, 0);
    let s = tostring_result(st, v)?;
    let base = st.frame().base;
    let args = Args { base, count: results.base - 1 - base };
    // SAFETY: the slot above the arguments. Scripts can set it with the debug library.
    let i = unsafe { Value::load(st.slot(results.base - 1)) }.as_int();
    let i = i.and_then(|i| u32::try_from(i).ok()).unwrap_or(args.count);
    print_piece(st, i, s);
    print_from(st, args, i.saturating_add(1))
}

fn print_piece(st: &mut State, i: u32, s: Gc<Str>) {
    if i > 0 {
        write_stdout(st, b"\t");
    }
    write_stdout(st, s.as_bytes());
}

/// As in the reference, failures to print are not reported.
#[inline]
fn write_stdout(st: &mut State, bytes: &[u8]) {
    if let Some(stdout) = st.extensions.get_or_default::<Streams>().stdout() {
        let _ = stdout.write(bytes);
    }
}

// Chunks.

fn load_(st: &mut State, args: Args) -> NativeResult {
    let mode = arg_mode(st, args, 2)?;
    let env = args.count > 3;
    let source = st.arg(args, 0);
    if source.is_string() || source.tag().is_number() {
        let text = st.arg_str(args, 0)?.as_bytes();
        let name = if st.arg(args, 1).is_nil() { text } else { st.arg_str(args, 1)?.as_bytes() };
        let loaded = load(st, text, name, mode)?;
        let env = env.then(|| st.arg(args, 3));
        return return_loaded(st, args, loaded, env);
    }
    if !st.arg(args, 1).is_nil() {
        st.arg_str(args, 1)?;
    }
    st.arg_function(args, 0)?;
    let reading = Reading { text: Bytes::default(), named: !st.arg(args, 1).is_nil(), mode: mode.into(), env };
    // Errors of the reader are the result, too.
    st.catch_errors_as_nil()?;
    st.forbid_yields()?;
    let func = st.free_index();
    read_next(st, Box::new(reading), func)
}

/// A chunk whose text comes from a function.
struct Reading {
    text: Bytes,
    /// Whether the chunk's name is in the second slot of the window.
    named: bool,
    mode: SmallVec<[u8; 8]>,
    /// Whether the environment is in the fourth slot of the window.
    env: bool,
}

/// Calls the reader for the next piece, at stack index `func`.
fn read_next(st: &mut State, reading: Box<Reading>, func: u32) -> NativeResult {
    let charged = reading.text.charged();
    st.keep_waiting(reading, charged)?;
    let reader = st.slot(st.frame().base);
    // SAFETY: a host function has free slots above its window.
    unsafe { Value::store(st.slot(func), Value::load(reader)) };
    st.call_then(func, 0, read)
}

/// Goes on after the reader has given a piece: asks for the next one, or loads the chunk after the last.
fn read(st: &mut State, results: Args) -> NativeResult {
    let mut reading = st.take_waiting::<Reading>();
    let piece = st.arg(results, 0);
    // A reader of the host's does not look whether the VM shall stop.
    let appended = st.check_cancelled().and_then(|()| append_piece(st, &mut reading.text, piece));
    match appended {
        Ok(true) => read_next(st, reading, results.base),
        Ok(false) => {
            let args = Args { base: st.frame().base, count: 4 };
            let loaded = load_read(st, args, &reading);
            reading.text.release(st);
            let env = reading.env.then(|| st.arg(args, 3));
            return_loaded(st, args, loaded?, env)
        }
        Err(raised) => {
            reading.text.release(st);
            Err(raised)
        }
    }
}

fn load_read(st: &mut State, args: Args, reading: &Reading) -> Result<Loaded, Raised> {
    let name = if reading.named { st.arg_str(args, 1)?.as_bytes() } else { b"=(load)" };
    load(st, reading.text.as_slice(), name, &reading.mode)
}

/// Appends a piece that the reader has given; false if it was the end.
fn append_piece(st: &mut State, text: &mut Bytes, piece: Value) -> Result<bool, Raised> {
    let piece = match piece.tag() {
        Tag::NIL => return Ok(false),
        Tag::STRING => piece.as_string(),
        Tag::INT | Tag::FLOAT => Some(st.number_to_str(piece)?),
        _ => None,
    };
    match piece {
        Some(s) => text.push(st, s.as_bytes()).map(|()| s.len > 0),
        None => Err(st.raise_text("reader function must return a string")),
    }
}

fn arg_mode<'a>(st: &mut State, args: Args, i: u32) -> Result<&'a [u8], Raised> {
    if st.arg(args, i).is_nil() { Ok(ANY) } else { st.arg_str(args, i).map(|s| s.as_bytes()) }
}

/// The function, its first captured variable set to `env` if that is given; or nil and the message.
fn return_loaded(st: &mut State, args: Args, loaded: Loaded, env: Option<Value>) -> NativeResult {
    match loaded {
        Ok(f) => {
            if let Some(env) = env
                && f.cell_count > 0
            {
                st.store_cell(f.cell(0), env);
            }
            st.ret1(args, Value::closure(f))
        }
        Err(message) => st.ret2(args, Value::NIL, message),
    }
}

fn arg_file<'a>(st: &mut State, args: Args) -> Result<Option<&'a [u8]>, Raised> {
    if st.arg(args, 0).is_nil() { Ok(None) } else { st.arg_str(args, 0).map(|s| Some(s.as_bytes())) }
}

fn loadfile(st: &mut State, args: Args) -> NativeResult {
    let file = arg_file(st, args)?;
    let mode = arg_mode(st, args, 1)?;
    let env = (args.count > 2).then(|| st.arg(args, 2));
    let loaded = load_file(st, file, mode)?;
    return_loaded(st, args, loaded, env)
}

fn dofile(st: &mut State, args: Args) -> NativeResult {
    let file = arg_file(st, args)?;
    match load_file(st, file, ANY)? {
        Ok(f) => {
            let at = st.push_temp(Value::closure(f))?;
            st.call_then(at, 0, |st, results| st.return_at(results.base, results.count))
        }
        Err(message) => Err(st.raise(message)),
    }
}

// The collector.

fn collectgarbage(st: &mut State, args: Args) -> NativeResult {
    let option = if st.arg(args, 0).is_nil() { &b"collect"[..] } else { st.arg_str(args, 0)?.as_bytes() };
    let mut numbers = [0; 3];
    let expected = match option {
        b"collect" | b"stop" | b"restart" | b"count" | b"isrunning" => 0,
        b"step" | b"setpause" | b"setstepmul" => 1,
        b"generational" => 2,
        b"incremental" => 3,
        _ => {
            let message = format!("invalid option '{}'", String::from_utf8_lossy(option));
            return Err(st.arg_error(0, &message));
        }
    };
    for (i, n) in numbers.iter_mut().enumerate().take(expected) {
        *n = usize::try_from(st.arg_int_or(args, i as u32 + 1, 0)?).unwrap_or(0);
    }
    if st.finalizing {
        // The collector cannot be controlled from a finalizer.
        return st.ret1(args, Value::NIL);
    }
    let result = match option {
        b"collect" => {
            st.collect_in_native(|rt, roots| rt.collect_full(roots));
            st.run_finalizers()?;
            Value::int(0)
        }
        b"step" => {
            let done = st.collect_in_native(|rt, roots| rt.gc_step_kb(roots, numbers[0]));
            st.run_finalizers()?;
            // Young collections are no whole cycles.
            Value::bool(done && st.rt.heap.mode() == Mode::Incremental)
        }
        b"stop" => {
            st.rt.heap.stop();
            Value::int(0)
        }
        b"restart" => {
            st.rt.heap.restart();
            Value::int(0)
        }
        b"count" => Value::float(st.rt.heap.used() as f64 / 1024.0),
        b"isrunning" => Value::bool(st.rt.heap.is_running()),
        b"setpause" => {
            let pause = &mut st.rt.heap.parameters_mut().pause;
            Value::int(std::mem::replace(pause, kept(numbers[0])) as i64)
        }
        b"setstepmul" => {
            let multiplier = &mut st.rt.heap.parameters_mut().step_multiplier;
            Value::int(std::mem::replace(multiplier, kept(numbers[0])) as i64)
        }
        mode => set_mode(st, mode == b"generational", numbers)?,
    };
    st.ret1(args, result)
}

/// What Lua keeps of a parameter of the collector: a byte, in fours.
fn kept(n: usize) -> usize {
    ((n / 4) & 0xff) * 4
}

/// Changes the mode, and the parameters that are given (not 0); the name of the mode before.
fn set_mode(st: &mut State, generational: bool, numbers: [usize; 3]) -> Result<Value, Raised> {
    let set = |parameter: &mut usize, n: usize| {
        if n != 0 {
            *parameter = n;
        }
    };
    let parameters = st.rt.heap.parameters_mut();
    let mode = if generational {
        set(&mut parameters.minor_multiplier, numbers[0]);
        set(&mut parameters.major_multiplier, numbers[1]);
        Mode::Generational
    } else {
        set(&mut parameters.pause, numbers[0]);
        set(&mut parameters.step_multiplier, numbers[1]);
        if numbers[2] != 0 {
            parameters.step_size = numbers[2].min(60) as u32;
        }
        Mode::Incremental
    };
    let before = st.collect_in_native(|rt, roots| rt.set_gc_mode(roots, mode));
    st.string_value(match before {
        Mode::Generational => b"generational",
        Mode::Incremental => b"incremental",
    })
}
