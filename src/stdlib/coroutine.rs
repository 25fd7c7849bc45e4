//! The `coroutine` library.

use super::support::return_text;
use super::{Fields, library_of, running};
use crate::runtime::coroutine::{Coroutine, Hook, Status};
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::tier1::coroutine::ResumeKind;
use crate::tier1::{Args, Builtin, NativeFn, NativeResult, Raised, State};

/// Makes the library's table.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    let known = [
        ("resume", resume as NativeFn, Builtin::CoroutineResume),
        ("yield", |st, args| st.yield_values(args), Builtin::CoroutineYield),
    ];
    let known = Fields::of_builtins(st, &known)?;
    library_of(
        st,
        &[
            ("close", close),
            ("create", create),
            ("isyieldable", isyieldable),
            ("running", running_coroutine),
            ("status", status),
            ("wrap", wrap),
        ],
        known,
        &[],
    )
}

fn arg_coroutine(st: &mut State, args: Args) -> Result<Gc<Coroutine>, Raised> {
    match st.arg(args, 0).as_coroutine() {
        Some(co) => Ok(co),
        None => Err(st.arg_type_error(args, 0, "thread")),
    }
}

/// A coroutine that will call the function in the first argument.
fn new_coroutine(st: &mut State, args: Args) -> Result<Gc<Coroutine>, Raised> {
    let f = st.arg_function(args, 0)?;
    let co = State::new_coroutine(&mut st.rt);
    let co = st.check_memory(co)?;
    // SAFETY: a fresh stack has more than two slots; the body's place is the first one above the bottom record's.
    unsafe { Value::store(co.stack.get().add(1), f) };
    co.top.set(2);
    // Events are inherited, but not whom Lua's library calls for them.
    co.hook.set(Hook { function: Value::NIL, ..st.co.hook.get() });
    Ok(co)
}

fn create(st: &mut State, args: Args) -> NativeResult {
    let co = new_coroutine(st, args)?;
    st.ret1(args, Value::coroutine(co))
}

fn wrap(st: &mut State, args: Args) -> NativeResult {
    let co = new_coroutine(st, args)?;
    let f = st.rt.new_builtin(resume_wrapped, Builtin::CoroutineWrapped, &[Value::coroutine(co)]);
    let f = st.check_memory(f)?;
    st.ret1(args, Value::native(f))
}

fn resume(st: &mut State, args: Args) -> NativeResult {
    let co = arg_coroutine(st, args)?;
    st.resume(co, args.base + 1, args.count - 1, ResumeKind::Protected)
}

/// What `coroutine.wrap` returns; its upvalue is the coroutine.
fn resume_wrapped(st: &mut State, args: Args) -> NativeResult {
    let co = running(st, args).upvalue(0).as_coroutine().expect("made by `wrap`");
    st.resume(co, args.base, args.count, ResumeKind::Wrapped)
}

fn status_name(co: Gc<Coroutine>) -> &'static str {
    match co.status.get() {
        Status::Suspended => "suspended",
        Status::Running => "running",
        Status::Normal => "normal",
        Status::Dead => "dead",
    }
}

fn status(st: &mut State, args: Args) -> NativeResult {
    let co = arg_coroutine(st, args)?;
    return_text(st, args, status_name(co))
}

fn isyieldable(st: &mut State, args: Args) -> NativeResult {
    let co = if args.count == 0 { st.co } else { arg_coroutine(st, args)? };
    let yieldable = co != st.main && co.non_yieldable.get() == 0;
    st.ret1(args, Value::bool(yieldable))
}

fn running_coroutine(st: &mut State, args: Args) -> NativeResult {
    let co = st.co;
    let is_main = co == st.main;
    st.ret2(args, Value::coroutine(co), Value::bool(is_main))
}

fn close(st: &mut State, args: Args) -> NativeResult {
    let co = arg_coroutine(st, args)?;
    if !matches!(co.status.get(), Status::Suspended | Status::Dead) {
        return Err(st.raise_text(&format!("cannot close a {} coroutine", status_name(co))));
    }
    match st.close_coroutine(co) {
        Ok(()) => st.ret1(args, Value::TRUE),
        // Nothing catches the host's request to stop.
        Err(_) if st.cancelling => Err(Raised),
        Err(error) => st.ret2(args, Value::FALSE, error),
    }
}
