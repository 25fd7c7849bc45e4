//! The `debug` library.

use std::io::{self, BufRead, Read, Write};

use super::load::{ANY, load};
use super::support::tostring_value;
use super::{library, set_field};
use crate::bytecode::proto::{Proto, proto_flags};
use crate::runtime::coroutine::{Coroutine, Hook};
use crate::runtime::function::CellState;
use crate::runtime::metatable::{Event, basic_type};
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::tier1::hook::event;
use crate::tier1::introspect::{self, Frame};
use crate::tier1::{Args, NativeResult, Raised, State};

/// Makes the library's table.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    library(
        st,
        &[
            ("debug", debug),
            ("gethook", gethook),
            ("getinfo", getinfo),
            ("getlocal", getlocal),
            ("getmetatable", getmetatable),
            ("getregistry", getregistry),
            ("getupvalue", getupvalue),
            ("getuservalue", getuservalue),
            ("setcstacklimit", setcstacklimit),
            ("sethook", sethook),
            ("setlocal", setlocal),
            ("setmetatable", setmetatable),
            ("setupvalue", setupvalue),
            ("setuservalue", setuservalue),
            ("traceback", traceback),
            ("upvalueid", upvalueid),
            ("upvaluejoin", upvaluejoin),
        ],
        &[],
    )
}

/// The coroutine that an optional first argument names, and how many arguments that took.
fn arg_coroutine(st: &State, args: Args) -> (Gc<Coroutine>, u32) {
    match st.arg(args, 0).as_coroutine() {
        Some(co) => (co, 1),
        None => (st.co, 0),
    }
}

/// The activation at a level as scripts count: in the running coroutine 0 is the running library function, in a
/// suspended one its innermost function.
fn frame_at(st: &State, co: Gc<Coroutine>, level: i64) -> Option<Frame> {
    st.frame_at(co, u32::try_from(level).ok()?)
}

fn traceback(st: &mut State, args: Args) -> NativeResult {
    let (co, skip) = arg_coroutine(st, args);
    let message = st.arg(args, skip);
    if !message.is_nil() && !message.is_string() && !message.tag().is_number() {
        return st.ret1(args, message);
    }
    let level = st.arg_int_or(args, skip + 1, if co == st.co { 1 } else { 0 })?;
    let text = if message.is_nil() { None } else { Some(st.arg_str(args, skip)?.as_bytes()) };
    let level = u32::try_from(level).unwrap_or(u32::MAX / 2);
    let text = introspect::traceback_of(st, co, text, level);
    let v = st.string_value(&text)?;
    st.ret1(args, v)
}

/// The longest line that [`debug`] reads.
const LINE_MAX: u64 = 249;

/// Runs what is typed until a line is "cont".
fn debug(st: &mut State, _: Args) -> NativeResult {
    loop {
        let mut errors = io::stderr().lock();
        // If nobody can see the prompt, there is nobody to tell.
        let _ = errors.write_all(b"lua_debug> ").and_then(|()| errors.flush());
        drop(errors);
        let mut line = Vec::new();
        let read = io::stdin().lock().take(LINE_MAX).read_until(b'\n', &mut line);
        if read.is_err() || line.is_empty() || line == b"cont\n" {
            return st.ret0();
        }
        let message = match load(st, &line, b"=(debug command)", ANY)? {
            Ok(command) => match st.call_value(Value::closure(command), &[]) {
                Ok(_) => continue,
                Err(Raised) if st.cancelling => return Err(Raised),
                Err(Raised) => st.error,
            },
            Err(message) => message,
        };
        let text = tostring_value(st, message)?;
        // As above.
        let _ = io::stderr().lock().write_all(&[text.as_bytes(), b"\n"].concat());
    }
}

/// What is left of a function that limited the native stack: the limit that there is.
fn setcstacklimit(st: &mut State, args: Args) -> NativeResult {
    st.arg_int(args, 0)?;
    st.ret1(args, Value::int(C_STACK_LIMIT))
}

/// Lua's limit of calls on the native stack.
const C_STACK_LIMIT: i64 = 200;

// Activations and functions.

/// The prototype of a function, unless it is a host function or passes for one.
fn proto_of(function: Value) -> Option<Gc<Proto>> {
    let proto = function.as_closure()?.proto;
    (proto.flags & proto_flags::BUILTIN == 0).then_some(proto)
}

/// The name of parameter `n`, counted from 1.
fn parameter_name(proto: Gc<Proto>, n: i32) -> Option<Gc<Str>> {
    let at = usize::try_from(n).ok()?.checked_sub(1)?;
    proto.info.locals_at(0).nth(at).map(|local| local.name)
}

/// Sets a field of a result to a string.
fn set_text(st: &mut State, t: Gc<Table>, name: &str, text: &[u8]) -> Result<(), Raised> {
    let v = st.string_value(text)?;
    set_field(st, t, name, v)
}

fn getinfo(st: &mut State, args: Args) -> NativeResult {
    let (co, skip) = arg_coroutine(st, args);
    let what = if st.arg(args, skip + 1).is_nil() { b"flnSrtu" } else { st.arg_str(args, skip + 1)?.as_bytes() };
    if what.first() == Some(&b'>') {
        return Err(st.arg_error(skip + 1, "invalid option '>'"));
    }
    let subject = st.arg(args, skip);
    let (function, frame) = if subject.tag().is_function() {
        (subject, None)
    } else {
        let level = st.arg_int(args, skip)?;
        match frame_at(st, co, level) {
            Some(frame) => (frame.function(), Some(frame)),
            None => return st.ret1(args, Value::NIL),
        }
    };
    if !what.iter().all(|b| b"SlnrutLf".contains(b)) {
        return Err(st.arg_error(skip + 1, "invalid option"));
    }
    let root = st.rt.shapes.root_for(16);
    let made = st.rt.new_table(root, 0);
    let t = st.check_memory(made)?;
    let proto = proto_of(function);
    if what.contains(&b'S') {
        describe_source(st, t, proto)?;
    }
    if what.contains(&b'l') {
        let line = frame.and_then(|f| f.line()).map_or(-1, |line| line as i64);
        set_field(st, t, "currentline", Value::int(line))?;
    }
    if what.contains(&b'u') {
        let (upvalues, params, vararg) = match (proto, function.as_closure(), function.as_native()) {
            (Some(p), Some(closure), _) => (closure.cell_count, p.params, p.flags & proto_flags::VARARG != 0),
            (None, Some(closure), _) => (closure.cell_count, 0, true),
            (_, _, Some(native)) => (native.upvalue_count, 0, true),
            _ => (0, 0, true),
        };
        set_field(st, t, "nups", Value::int(upvalues as i64))?;
        set_field(st, t, "nparams", Value::int(params as i64))?;
        set_field(st, t, "isvararg", Value::bool(vararg))?;
    }
    if what.contains(&b'n') {
        match frame.and_then(|f| f.name()) {
            Some(name) => {
                set_text(st, t, "name", &name.name)?;
                set_text(st, t, "namewhat", name.kind.as_bytes())?;
            }
            None => set_text(st, t, "namewhat", b"")?,
        }
    }
    if what.contains(&b'r') {
        let (first, count) = frame.map_or((0, 0), |frame| frame.transfer(st));
        set_field(st, t, "ftransfer", Value::int(first as i64))?;
        set_field(st, t, "ntransfer", Value::int(count as i64))?;
    }
    if what.contains(&b't') {
        let tail = frame.is_some_and(|f| f.is_tail_call());
        set_field(st, t, "istailcall", Value::bool(tail))?;
    }
    if what.contains(&b'L')
        && let Some(proto) = proto
    {
        let lines = active_lines(st, proto)?;
        set_field(st, t, "activelines", Value::table(lines))?;
    }
    if what.contains(&b'f') {
        set_field(st, t, "func", function)?;
    }
    st.ret1(args, Value::table(t))
}

fn describe_source(st: &mut State, t: Gc<Table>, proto: Option<Gc<Proto>>) -> Result<(), Raised> {
    let Some(proto) = proto else {
        set_text(st, t, "source", b"=[C]")?;
        set_text(st, t, "short_src", b"[C]")?;
        set_field(st, t, "linedefined", Value::int(-1))?;
        set_field(st, t, "lastlinedefined", Value::int(-1))?;
        return set_text(st, t, "what", b"C");
    };
    let source = proto.info.source;
    set_field(st, t, "source", Value::string(source))?;
    set_text(st, t, "short_src", &crate::bytecode::source::chunk_id(source.as_bytes()))?;
    set_field(st, t, "linedefined", Value::int(proto.info.line_defined as i64))?;
    set_field(st, t, "lastlinedefined", Value::int(proto.info.last_line as i64))?;
    set_text(st, t, "what", if proto.info.line_defined == 0 { b"main" } else { b"Lua" })
}

/// A set of the lines that have code.
fn active_lines(st: &mut State, proto: Gc<Proto>) -> Result<Gc<Table>, Raised> {
    let root = st.rt.shapes.root_for(0);
    let made = st.rt.new_table(root, 0);
    let t = st.check_memory(made)?;
    for (_, line) in proto.info.lines.runs().iter().filter(|(_, line)| *line != 0) {
        let stored = st.rt.set_int(t, *line as i64, Value::TRUE);
        st.check_store(stored)?;
    }
    Ok(t)
}

/// Argument `i` as a variable's number.
fn arg_variable(st: &mut State, args: Args, i: u32) -> Result<i32, Raised> {
    // Numbers out of range name no variable.
    Ok(i32::try_from(st.arg_int(args, i)?).unwrap_or(i32::MAX))
}

fn getlocal(st: &mut State, args: Args) -> NativeResult {
    let (co, skip) = arg_coroutine(st, args);
    let n = arg_variable(st, args, skip + 1)?;
    let subject = st.arg(args, skip);
    if subject.tag().is_function() {
        let parameter = proto_of(subject).and_then(|p| parameter_name(p, n));
        let v = match parameter {
            Some(name) => Value::string(name),
            None => Value::NIL,
        };
        return st.ret1(args, v);
    }
    let level = st.arg_int(args, skip)?;
    let Some(frame) = frame_at(st, co, level) else {
        return Err(st.arg_error(skip, "level out of range"));
    };
    match frame.variable(n) {
        Some(variable) => {
            let name = st.string_value(&variable.name)?;
            st.ret2(args, name, variable.value)
        }
        None => st.ret1(args, Value::NIL),
    }
}

fn setlocal(st: &mut State, args: Args) -> NativeResult {
    let (co, skip) = arg_coroutine(st, args);
    let level = st.arg_int(args, skip)?;
    let n = arg_variable(st, args, skip + 1)?;
    let Some(frame) = frame_at(st, co, level) else {
        return Err(st.arg_error(skip, "level out of range"));
    };
    let v = st.arg_any(args, skip + 2)?;
    let v = match st.set_variable(&frame, n, v) {
        Some(name) => st.string_value(&name)?,
        None => Value::NIL,
    };
    st.ret1(args, v)
}

// Hooks.

/// The letters of events.
const EVENTS: [(u8, u8); 3] = [(b'c', event::CALL), (b'r', event::RETURN), (b'l', event::LINE)];

fn sethook(st: &mut State, args: Args) -> NativeResult {
    let (co, skip) = arg_coroutine(st, args);
    let mut hook = Hook::NONE;
    if !st.arg(args, skip).is_nil() {
        let mask = st.arg_str(args, skip + 1)?;
        hook.function = st.arg_function(args, skip)?;
        let period = st.arg_int_or(args, skip + 2, 0)?;
        for (letter, event) in EVENTS {
            if mask.as_bytes().contains(&letter) {
                hook.events |= event;
            }
        }
        // As in Lua, where the number is a C `int`.
        hook.period = period as i32;
        if hook.period > 0 {
            hook.events |= event::COUNT;
        }
    }
    note_hook(st, co, hook.function)?;
    st.set_hook(co, hook);
    // The return is an event already.
    st.return_at(args.base, 0)
}

/// The registry's table of hooks by coroutine.
const HOOKS: &str = "_HOOKKEY";

/// Puts a hook where the reference implementation keeps it, and where there are programs that look for it.
fn note_hook(st: &mut State, co: Gc<Coroutine>, hook: Value) -> Result<(), Raised> {
    let key = st.string_value(HOOKS.as_bytes())?;
    let hooks = match st.rt.get(st.registry, key).as_table() {
        Some(hooks) => hooks,
        None => {
            let root = st.rt.shapes.root_for(0);
            let made = st.rt.new_table(root, 0);
            let hooks = st.check_memory(made)?;
            set_text(st, hooks, "__mode", b"k")?;
            let set = st.rt.set_metatable(hooks, Some(hooks));
            st.check_memory(set)?;
            let registry = st.registry;
            set_field(st, registry, HOOKS, Value::table(hooks))?;
            hooks
        }
    };
    let stored = st.rt.set(hooks, Value::coroutine(co), hook);
    st.check_store(stored)
}

fn gethook(st: &mut State, args: Args) -> NativeResult {
    let (co, _) = arg_coroutine(st, args);
    let hook = co.hook.get();
    if hook.events == 0 {
        return st.ret1(args, Value::NIL);
    }
    let letters = EVENTS.iter().filter(|(_, event)| hook.events & event != 0);
    let mask: Vec<u8> = letters.map(|(letter, _)| *letter).collect();
    let mask = st.string_value(&mask)?;
    st.ret(args, &[hook.function, mask, Value::int(hook.period as i64)])
}

// Upvalues.

/// The offset of upvalue `n` of a function, counted from 1.
fn upvalue_offset(function: Value, n: i64) -> Option<usize> {
    let count = match (function.as_closure(), function.as_native()) {
        (Some(closure), _) => closure.cell_count,
        (_, Some(native)) => native.upvalue_count,
        _ => 0,
    };
    (n >= 1 && n <= count as i64).then(|| n as usize - 1)
}

fn upvalue_name(function: Value, at: usize) -> Vec<u8> {
    match function.as_closure() {
        Some(closure) => match closure.proto.info.captured[at].name {
            Some(name) => name.as_bytes().to_vec(),
            None => b"(no name)".to_vec(),
        },
        None => Vec::new(),
    }
}

fn getupvalue(st: &mut State, args: Args) -> NativeResult {
    let n = st.arg_int(args, 1)?;
    let function = st.arg_function(args, 0)?;
    let Some(at) = upvalue_offset(function, n) else {
        return st.ret0();
    };
    let v = match (function.as_closure(), function.as_native()) {
        (Some(closure), _) => closure.cell(at).get(),
        (_, Some(native)) => native.upvalue(at),
        _ => Value::NIL,
    };
    let name = st.string_value(&upvalue_name(function, at))?;
    st.ret2(args, name, v)
}

fn setupvalue(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 2)?;
    let n = st.arg_int(args, 1)?;
    let function = st.arg_function(args, 0)?;
    let Some(at) = upvalue_offset(function, n) else {
        return st.ret0();
    };
    match (function.as_closure(), function.as_native()) {
        (Some(closure), _) => st.store_cell(closure.cell(at), v),
        // The upvalues of library functions are state that they rely on.
        _ => return st.ret0(),
    }
    let name = st.string_value(&upvalue_name(function, at))?;
    st.ret1(args, name)
}

fn upvalueid(st: &mut State, args: Args) -> NativeResult {
    let n = st.arg_int(args, 1)?;
    let function = st.arg_function(args, 0)?;
    let v = match (upvalue_offset(function, n), function.as_closure()) {
        (Some(at), Some(closure)) => Value::light(closure.cell(at).addr() as usize),
        (Some(at), None) => Value::light(function.payload() as usize + 16 * (at + 1)),
        (None, _) => Value::NIL,
    };
    st.ret1(args, v)
}

fn upvaluejoin(st: &mut State, args: Args) -> NativeResult {
    let mut found = [(Value::NIL, 0); 2];
    for (pair, i) in found.iter_mut().zip([0, 2]) {
        let n = st.arg_int(args, i + 1)?;
        let function = st.arg_function(args, i)?;
        match upvalue_offset(function, n) {
            Some(at) => *pair = (function, at),
            None => return Err(st.arg_error(i + 1, "invalid upvalue index")),
        }
    }
    let [(to, to_at), (from, from_at)] = found;
    let Some(to) = to.as_closure() else {
        return Err(st.arg_error(0, "Lua function expected"));
    };
    let Some(from) = from.as_closure() else {
        return Err(st.arg_error(2, "Lua function expected"));
    };
    let cell = from.cell(from_at);
    // Whoever takes the variable that is replaced for constant must learn that it is not. The second store tells.
    let old = to.cell(to_at);
    while old.state.get() != CellState::Mutable {
        st.store_cell(old, old.get());
    }
    st.rt.heap.write_barrier(to);
    to.set_cell(to_at, cell);
    st.ret0()
}

// Metatables, the registry, user values.

fn getmetatable(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let v = st.rt.metatable(v).map_or(Value::NIL, Value::table);
    st.ret1(args, v)
}

fn setmetatable(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg(args, 0);
    let m = st.arg(args, 1);
    if args.count < 2 || !m.is_nil() && !m.is_table() {
        return Err(st.arg_type_error(args, 1, "nil or table"));
    }
    let m = m.as_table();
    if let Some(basic) = basic_type(v.tag()) {
        st.rt.set_primitive_metatable(basic, m);
        return st.ret1(args, v);
    }
    if let Some(t) = v.as_table() {
        let set = st.rt.set_metatable(t, m);
        st.check_memory(set)?;
    } else if let Some(u) = v.as_userdata() {
        st.rt.heap.write_barrier(u);
        u.metatable.set(m);
    }
    if let Some(object) = v.as_object()
        && !st.rt.metamethod(v, Event::Gc).is_nil()
    {
        let registered = st.rt.heap.register_finalizer(object);
        st.check_memory(registered)?;
    }
    st.ret1(args, v)
}

fn getregistry(st: &mut State, args: Args) -> NativeResult {
    let registry = st.registry;
    st.ret1(args, Value::table(registry))
}

fn getuservalue(st: &mut State, args: Args) -> NativeResult {
    let n = st.arg_int_or(args, 1, 1)?;
    let Some(u) = st.arg(args, 0).as_userdata() else {
        return st.ret1(args, Value::NIL);
    };
    let values = u.user_values.take();
    let v = usize::try_from(n).ok().and_then(|n| values.get(n.checked_sub(1)?).copied());
    u.user_values.set(values);
    match v {
        Some(v) => st.ret2(args, v, Value::TRUE),
        None => st.ret1(args, Value::NIL),
    }
}

fn setuservalue(st: &mut State, args: Args) -> NativeResult {
    let n = st.arg_int_or(args, 2, 1)?;
    let v = st.arg(args, 0);
    let Some(u) = v.as_userdata() else {
        return Err(st.arg_type_error(args, 0, "userdata"));
    };
    let new = st.arg_any(args, 1)?;
    st.rt.heap.write_barrier(u);
    let mut values = u.user_values.take();
    let place = usize::try_from(n).ok().and_then(|n| values.get_mut(n.checked_sub(1)?));
    let found = place.map(|place| *place = new).is_some();
    u.user_values.set(values);
    st.ret1(args, if found { v } else { Value::NIL })
}
