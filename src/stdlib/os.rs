//! The `os` library.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::date::{self, DateError, Tm};
use super::io::{path_of, ret_error, ret_outcome, ret_status, shell, temporary_file};
use super::library;
use super::stream::Streams;
use super::support::{Bytes, index};
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier1::{Args, NativeResult, Raised, State, native};

/// Makes the library's table.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    library(
        st,
        &[
            ("clock", clock),
            ("date", date),
            ("difftime", difftime),
            ("execute", execute),
            ("exit", exit),
            ("getenv", getenv),
            ("remove", remove),
            ("rename", rename),
            ("setlocale", setlocale),
            ("time", time),
            ("tmpname", tmpname),
        ],
        &[],
    )
}

/// A string argument as C takes it: up to the first zero.
fn arg_c_string(st: &mut State, args: Args, i: u32) -> Result<CString, Raised> {
    let s = st.arg_str(args, i)?;
    let bytes = path_of(s.as_bytes()).as_bytes();
    Ok(CString::new(bytes).unwrap_or_default())
}

/// The processor time that the process has used, in seconds.
fn clock(st: &mut State, args: Args) -> NativeResult {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to a place of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    st.ret1(args, Value::float(t.tv_sec as f64 + t.tv_nsec as f64 / 1e9))
}

fn difftime(st: &mut State, args: Args) -> NativeResult {
    let later = st.arg_int(args, 0)?;
    let earlier = st.arg_int(args, 1)?;
    st.ret1(args, Value::float((later as i128 - earlier as i128) as f64))
}

// Processes and the environment.

fn execute(st: &mut State, args: Args) -> NativeResult {
    if st.arg(args, 0).is_nil() {
        let exists = std::path::Path::new("/bin/sh").exists();
        return st.ret1(args, Value::bool(exists));
    }
    let command = st.arg_str(args, 0)?;
    match shell(command.as_bytes()).status() {
        Ok(status) => ret_status(st, args, status),
        Err(e) => ret_error(st, args, &e, None),
    }
}

fn exit(st: &mut State, args: Args) -> NativeResult {
    let code = match st.arg(args, 0).tag() {
        Tag::TRUE | Tag::NIL => libc::EXIT_SUCCESS,
        Tag::FALSE => libc::EXIT_FAILURE,
        _ => st.arg_int(args, 0)? as i32,
    };
    if !st.arg(args, 1).is_falsy() {
        st.close_everything()?;
    }
    st.extensions.get_or_default::<Streams>().flush_all();
    std::process::exit(code)
}

/// No name of a variable is as long as this.
const NAME_MAX: usize = 1 << 17;

fn getenv(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?;
    let name = path_of(name.as_bytes());
    // No variable has such a name; systems limit the length of all there is to say of one.
    let valid = (1..NAME_MAX).contains(&name.len()) && !name.as_bytes().contains(&b'=');
    let v = match valid.then(|| std::env::var_os(name)).flatten() {
        Some(text) => st.string_value(text.as_bytes())?,
        None => Value::NIL,
    };
    st.ret1(args, v)
}

/// Only the C locale is supported.
fn setlocale(st: &mut State, args: Args) -> NativeResult {
    const CATEGORIES: [&[u8]; 6] = [b"all", b"collate", b"ctype", b"monetary", b"numeric", b"time"];
    let known = match st.arg(args, 0).is_nil() {
        true => true,
        false => matches!(st.arg_str(args, 0)?.as_bytes(), b"" | b"C" | b"POSIX"),
    };
    if !st.arg(args, 1).is_nil() {
        let category = st.arg_str(args, 1)?.as_bytes();
        if !CATEGORIES.contains(&category) {
            let text = format!("invalid option '{}'", String::from_utf8_lossy(category));
            return Err(st.arg_error(1, &text));
        }
    }
    let v = if known { st.string_value(b"C")? } else { Value::NIL };
    st.ret1(args, v)
}

// Files.

fn c_outcome(status: i32) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn remove(st: &mut State, args: Args) -> NativeResult {
    let name = arg_c_string(st, args, 0)?;
    // SAFETY: the name ends with a zero.
    let done = c_outcome(unsafe { libc::remove(name.as_ptr()) });
    ret_outcome(st, args, done, Some(name.to_bytes()))
}

fn rename(st: &mut State, args: Args) -> NativeResult {
    let from = arg_c_string(st, args, 0)?;
    let to = arg_c_string(st, args, 1)?;
    // SAFETY: both names end with a zero.
    let done = c_outcome(unsafe { libc::rename(from.as_ptr(), to.as_ptr()) });
    ret_outcome(st, args, done, None)
}

fn tmpname(st: &mut State, args: Args) -> NativeResult {
    match temporary_file(b"/tmp/lua_XXXXXX\0") {
        Ok((_, name)) => {
            let name = st.string_value(&name)?;
            st.ret1(args, name)
        }
        Err(_) => Err(st.raise_text("unable to generate a unique filename")),
    }
}

// Dates.

/// Now, in seconds since 1970 began.
fn now() -> i64 {
    // SAFETY: without a place to write to, the call only returns the time.
    unsafe { libc::time(std::ptr::null_mut()) }
}

fn empty_tm() -> libc::tm {
    // SAFETY: the structure is plain data, for which zeros and a null pointer are valid.
    unsafe { std::mem::zeroed() }
}

fn from_c(tm: &libc::tm) -> Tm {
    let zone = if tm.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: zone names are strings that live as long as the process.
        unsafe { CStr::from_ptr(tm.tm_zone) }.to_string_lossy().into_owned()
    };
    Tm {
        year: tm.tm_year as i64 + 1900,
        month: tm.tm_mon as u8 + 1,
        day: tm.tm_mday as u8,
        hour: tm.tm_hour as u8,
        minute: tm.tm_min as u8,
        second: tm.tm_sec as u8,
        weekday: tm.tm_wday as u8 + 1,
        yearday: tm.tm_yday as u16 + 1,
        is_dst: (tm.tm_isdst >= 0).then_some(tm.tm_isdst > 0),
        utc_offset: tm.tm_gmtoff as i32,
        zone,
    }
}

/// The local date and time; `None` if it cannot be represented.
fn local(time: i64) -> Option<Tm> {
    let mut tm = empty_tm();
    // SAFETY: both places are our own.
    let filled = unsafe { libc::localtime_r(&time, &mut tm) };
    (!filled.is_null()).then(|| from_c(&tm))
}

/// What a conversion of `os.date` becomes at most, in bytes, but for long names of time zones.
const CONVERSION_MAX: usize = 40;

fn date(st: &mut State, args: Args) -> NativeResult {
    let format = if st.arg(args, 0).is_nil() { b"%c" } else { st.arg_str(args, 0)?.as_bytes() };
    let time = if st.arg(args, 1).is_nil() { now() } else { st.arg_int(args, 1)? };
    let (format, tm) = match format.strip_prefix(b"!") {
        Some(rest) => (rest, Tm::utc(time)),
        None => (format, local(time)),
    };
    let Some(tm) = tm else {
        return Err(st.raise_text("date result cannot be represented in this installation"));
    };
    if format.split(|&b| b == 0).next() == Some(b"*t") {
        let root = st.rt.shapes.root_for(9);
        let made = st.rt.new_table(root, 0);
        let t = st.check_memory(made)?;
        set_fields(st, t, &tm)?;
        return st.ret1(args, Value::table(t));
    }
    let mut out = Bytes::default();
    let conversions = memchr::memchr_iter(b'%', format).count();
    let reserved = out.reserve(&mut st.rt.heap, format.len() + conversions * CONVERSION_MAX);
    st.check_memory(reserved)?;
    let written = out.write(st, |out| date::strftime(out, format, &tm));
    let v = st.string_value(out.as_slice());
    out.release(st);
    match written? {
        Ok(()) => st.ret1(args, v?),
        Err(DateError::OutOfMemory) => Err(st.raise_memory()),
        Err(e) => {
            let message = e.message(format);
            Err(st.arg_error(0, &String::from_utf8_lossy(&message)))
        }
    }
}

fn set_fields(st: &mut State, t: Gc<Table>, tm: &Tm) -> Result<(), Raised> {
    let fields = [
        ("year", tm.year),
        ("month", tm.month as i64),
        ("day", tm.day as i64),
        ("hour", tm.hour as i64),
        ("min", tm.minute as i64),
        ("sec", tm.second as i64),
        ("yday", tm.yearday as i64),
        ("wday", tm.weekday as i64),
    ];
    for (name, n) in fields {
        set_date_field(st, t, name, Value::int(n))?;
    }
    match tm.is_dst {
        Some(dst) => set_date_field(st, t, "isdst", Value::bool(dst)),
        None => Ok(()),
    }
}

fn set_date_field(st: &mut State, t: Gc<Table>, name: &str, v: Value) -> Result<(), Raised> {
    let key = st.string_value(name.as_bytes())?;
    let stored = st.rt.set(t, key, v);
    st.check_store(stored)
}

/// A field of a date table as C's structure has it: less `delta`.
fn date_field(
    st: &mut State,
    t: Gc<Table>,
    name: &str,
    default: Option<i32>,
    delta: i64,
) -> Result<i32, Raised> {
    let key = st.string_value(name.as_bytes())?;
    let v = index(st, Value::table(t), key)?;
    match native::to_number(v).and_then(native::to_integer) {
        Some(n) => match n.checked_sub(delta).map(i32::try_from) {
            Some(Ok(n)) => Ok(n),
            _ => Err(st.raise_text(&format!("field '{name}' is out-of-bound"))),
        },
        None if !v.is_nil() => Err(st.raise_text(&format!("field '{name}' is not an integer"))),
        None => match default {
            Some(n) => Ok(n),
            None => Err(st.raise_text(&format!("field '{name}' missing in date table"))),
        },
    }
}

fn time(st: &mut State, args: Args) -> NativeResult {
    if st.arg(args, 0).is_nil() {
        return st.ret1(args, Value::int(now()));
    }
    let t = st.arg_table(args, 0)?;
    let mut tm = empty_tm();
    tm.tm_year = date_field(st, t, "year", None, 1900)?;
    tm.tm_mon = date_field(st, t, "month", None, 1)?;
    tm.tm_mday = date_field(st, t, "day", None, 0)?;
    tm.tm_hour = date_field(st, t, "hour", Some(12), 0)?;
    tm.tm_min = date_field(st, t, "min", Some(0), 0)?;
    tm.tm_sec = date_field(st, t, "sec", Some(0), 0)?;
    let key = st.string_value(b"isdst")?;
    let dst = index(st, Value::table(t), key)?;
    tm.tm_isdst = if dst.is_nil() { -1 } else { !dst.is_falsy() as i32 };
    // SAFETY: the structure is our own.
    let seconds = unsafe { libc::mktime(&mut tm) };
    // The table gets its fields in their usual ranges.
    set_fields(st, t, &from_c(&tm))?;
    if seconds == -1 {
        return Err(st.raise_text("time result cannot be represented in this installation"));
    }
    st.ret1(args, Value::int(seconds))
}
