//! The `io` library. Files are userdata that hold the number of a stream in the VM's [`Streams`]; closing one takes
//! the number away.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, SeekFrom};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use smallvec::SmallVec;

use super::stream::{Buffering, Device, STDERR, STDIN, STDOUT, Stream, Streams};
use super::support::Bytes;
use super::{library, running, set_field};
use crate::runtime::number::{self, NumberBuffer};
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::userdata::Userdata;
use crate::runtime::value::{Tag, Value};
use crate::tier1::{Args, NativeResult, Raised, State, native};

/// The name of the files' type, and of their metatable in the registry.
const FILE_TYPE: &str = "FILE*";
/// Registry keys of the default files.
const INPUT: &str = "_IO_input";
const OUTPUT: &str = "_IO_output";

/// The host value of a file: its stream's number, unless it is closed.
struct FileHandle(Option<u32>);

/// Makes the library's table, the files' metatable and the standard files.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    let methods = library(
        st,
        &[
            ("close", file_close),
            ("flush", file_flush),
            ("lines", file_lines),
            ("read", file_read),
            ("seek", file_seek),
            ("setvbuf", file_setvbuf),
            ("write", file_write),
        ],
        &[],
    )?;
    let name = st.string_value(FILE_TYPE.as_bytes())?;
    let metatable = library(
        st,
        &[("__gc", file_gc), ("__close", file_gc), ("__tostring", file_tostring)],
        &[("__index", Value::table(methods)), ("__name", name)],
    )?;
    let registry = st.registry;
    set_field(st, registry, FILE_TYPE, Value::table(metatable))?;
    let (input, output, error) = (new_file(st, STDIN)?, new_file(st, STDOUT)?, new_file(st, STDERR)?);
    set_field(st, registry, INPUT, input)?;
    set_field(st, registry, OUTPUT, output)?;
    library(
        st,
        &[
            ("close", io_close),
            ("flush", io_flush),
            ("input", io_input),
            ("lines", io_lines),
            ("open", io_open),
            ("output", io_output),
            ("popen", io_popen),
            ("read", io_read),
            ("tmpfile", io_tmpfile),
            ("type", io_type),
            ("write", io_write),
        ],
        &[("stdin", input), ("stdout", output), ("stderr", error)],
    )
}

fn streams(st: &mut State) -> &mut Streams {
    st.extensions.get_or_default()
}

fn new_file(st: &mut State, id: u32) -> Result<Value, Raised> {
    let metatable = registry(st, FILE_TYPE)?.as_table();
    let made = st.rt.new_userdata(Box::new(FileHandle(Some(id))), metatable);
    st.check_memory(made).map(Value::userdata)
}

/// A file for a new stream.
fn add_file(st: &mut State, stream: Stream) -> Result<Value, Raised> {
    let id = streams(st).insert(stream);
    new_file(st, id)
}

fn registry(st: &mut State, key: &str) -> Result<Value, Raised> {
    let key = st.string_value(key.as_bytes())?;
    Ok(st.rt.get(st.registry, key))
}

// Errors.

/// The system's text for an error number.
pub fn error_text(code: i32) -> Vec<u8> {
    let mut buffer = [0u8; 256];
    // SAFETY: the buffer is writable for its length; the text is terminated within it.
    unsafe { libc::strerror_r(code, buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.split(|&b| b == 0).next().unwrap_or_default().to_vec()
}

/// Returns nil, a message and an error number.
pub fn ret_error(st: &mut State, args: Args, e: &io::Error, name: Option<&[u8]>) -> NativeResult {
    let (text, code) = error_parts(st, e)?;
    let mut message = Vec::new();
    if let Some(name) = name {
        message.extend_from_slice(name);
        message.extend_from_slice(b": ");
    }
    message.extend_from_slice(&text);
    let message = st.string_value(&message)?;
    st.ret(args, &[Value::NIL, message, Value::int(code as i64)])
}

/// The text and number of an error; running out of memory is raised.
fn error_parts(st: &mut State, e: &io::Error) -> Result<(Vec<u8>, i32), Raised> {
    match e.raw_os_error() {
        Some(code) => Ok((error_text(code), code)),
        None if e.kind() == ErrorKind::OutOfMemory => Err(st.raise_memory()),
        None => Ok((e.to_string().into_bytes(), 0)),
    }
}

/// Returns true, or nil and the error.
pub fn ret_outcome(st: &mut State, args: Args, r: io::Result<()>, name: Option<&[u8]>) -> NativeResult {
    match r {
        Ok(()) => st.ret1(args, Value::TRUE),
        Err(e) => ret_error(st, args, &e, name),
    }
}

/// Returns how a process has ended.
pub fn ret_status(st: &mut State, args: Args, status: ExitStatus) -> NativeResult {
    let (what, code) = match (status.code(), status.signal()) {
        (Some(code), _) => ("exit", code),
        (None, Some(signal)) => ("signal", signal),
        (None, None) => ("exit", status.into_raw()),
    };
    let what = st.string_value(what.as_bytes())?;
    let first = if status.success() { Value::TRUE } else { Value::NIL };
    st.ret(args, &[first, what, Value::int(code as i64)])
}

/// A file name as the system takes it: up to the first zero.
pub fn path_of(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes.split(|&b| b == 0).next().unwrap_or_default())
}

// Files as arguments.

/// The stream's number if `v` is a file: `Some(None)` if that is closed.
fn handle(v: Value) -> Option<Option<u32>> {
    let u = v.as_userdata()?;
    let data = u.data.take();
    let id = data.as_ref().and_then(|d| d.downcast_ref::<FileHandle>()).map(|h| h.0);
    u.data.set(data);
    id
}

/// Argument 0 as a file, open or closed.
fn arg_file(st: &mut State, args: Args) -> Result<(Gc<Userdata>, Option<u32>), Raised> {
    let v = st.arg(args, 0);
    match (v.as_userdata(), handle(v)) {
        (Some(u), Some(id)) => Ok((u, id)),
        _ => Err(st.arg_type_error(args, 0, FILE_TYPE)),
    }
}

/// Argument 0 as an open file.
fn arg_open_file(st: &mut State, args: Args) -> Result<(Gc<Userdata>, u32), Raised> {
    match arg_file(st, args)? {
        (u, Some(id)) => Ok((u, id)),
        (_, None) => Err(st.raise_text("attempt to use a closed file")),
    }
}

/// A default file, which must be open.
fn default_file(st: &mut State, key: &str) -> Result<(Value, u32), Raised> {
    let v = registry(st, key)?;
    match handle(v) {
        Some(Some(id)) => Ok((v, id)),
        _ => {
            let text = format!("default {} file is closed", &key["_IO_".len()..]);
            Err(st.raise_text(&text))
        }
    }
}

fn take_stream(st: &mut State, id: u32) -> Result<Box<Stream>, Raised> {
    match streams(st).take(id) {
        Some(stream) => Ok(stream),
        None => Err(st.raise_text("attempt to use a closed file")),
    }
}

// Opening and closing.

/// Whether `mode` is one of `fopen`'s that Lua lets through.
fn is_mode(mode: &[u8]) -> bool {
    let Some((b'r' | b'w' | b'a', rest)) = mode.split_first() else {
        return false;
    };
    rest.strip_prefix(b"+").unwrap_or(rest).iter().all(|&b| b == b'b')
}

fn open_stream(name: &[u8], mode: &[u8]) -> io::Result<Stream> {
    let update = mode.get(1) == Some(&b'+');
    let mut options = OpenOptions::new();
    match mode[0] {
        b'r' => options.read(true).write(update),
        b'w' => options.write(true).create(true).truncate(true).read(update),
        _ => options.append(true).create(true).read(update),
    };
    let file = options.open(path_of(name))?;
    Ok(Stream::new(Device::File(file), mode[0] == b'r' || update, mode[0] != b'r' || update))
}

fn io_open(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?.as_bytes();
    let mode = if st.arg(args, 1).is_nil() { b"r" } else { st.arg_str(args, 1)?.as_bytes() };
    if !is_mode(mode) {
        return Err(st.arg_error(1, "invalid mode"));
    }
    match open_stream(name, mode) {
        Ok(stream) => {
            let file = add_file(st, stream)?;
            st.ret1(args, file)
        }
        Err(e) => ret_error(st, args, &e, Some(name)),
    }
}

/// Opens a file or raises an error.
fn open_or_raise(st: &mut State, name: &[u8], mode: &[u8]) -> Result<Value, Raised> {
    match open_stream(name, mode) {
        Ok(stream) => add_file(st, stream),
        Err(e) => {
            let (text, _) = error_parts(st, &e)?;
            let message = [b"cannot open file '", name, b"' (", &text, b")"].concat();
            Err(st.raise_bytes(&message))
        }
    }
}

fn io_popen(st: &mut State, args: Args) -> NativeResult {
    let command = st.arg_str(args, 0)?.as_bytes();
    let mode = if st.arg(args, 1).is_nil() { b"r" } else { st.arg_str(args, 1)?.as_bytes() };
    let read = match mode {
        b"r" => true,
        b"w" => false,
        _ => return Err(st.arg_error(1, "invalid mode")),
    };
    streams(st).flush_all();
    let mut shell = shell(command);
    if read { shell.stdout(Stdio::piped()) } else { shell.stdin(Stdio::piped()) };
    match shell.spawn() {
        Ok(child) => {
            let file = add_file(st, Stream::new(Device::Process(child), read, !read))?;
            st.ret1(args, file)
        }
        Err(e) => ret_error(st, args, &e, Some(command)),
    }
}

/// A command for the system's shell.
pub fn shell(command: &[u8]) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(path_of(command));
    shell
}

fn io_tmpfile(st: &mut State, args: Args) -> NativeResult {
    match temporary_file(b"/tmp/tmpfXXXXXX\0") {
        Ok((file, name)) => {
            let removed = std::fs::remove_file(path_of(&name));
            if let Err(e) = removed {
                return ret_error(st, args, &e, None);
            }
            let file = add_file(st, Stream::new(Device::File(file), true, true))?;
            st.ret1(args, file)
        }
        Err(e) => ret_error(st, args, &e, None),
    }
}

/// Makes a file with a name that did not exist; `template` ends in six `X` and a zero.
pub fn temporary_file(template: &[u8]) -> io::Result<(std::fs::File, Vec<u8>)> {
    let mut name = template.to_vec();
    // SAFETY: the name is writable and ends with a zero; a descriptor that is returned is ours.
    let file = unsafe {
        let fd = libc::mkstemp(name.as_mut_ptr().cast());
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        std::fs::File::from_raw_fd(fd)
    };
    name.pop();
    Ok((file, name))
}

/// Closes the file and returns what `close` does.
fn close(st: &mut State, args: Args, file: Gc<Userdata>, id: u32) -> NativeResult {
    if id <= STDERR {
        let message = st.string_value(b"cannot close standard file")?;
        return st.ret2(args, Value::NIL, message);
    }
    file.data.set(Some(Box::new(FileHandle(None))));
    match streams(st).remove(id).map(|stream| stream.close()) {
        Some(Ok(Some(status))) => ret_status(st, args, status),
        Some(Err(e)) => ret_error(st, args, &e, None),
        Some(Ok(None)) | None => st.ret1(args, Value::TRUE),
    }
}

fn file_close(st: &mut State, args: Args) -> NativeResult {
    let (file, id) = arg_open_file(st, args)?;
    close(st, args, file, id)
}

fn io_close(st: &mut State, args: Args) -> NativeResult {
    if args.count > 0 {
        return file_close(st, args);
    }
    let (v, id) = default_file(st, OUTPUT)?;
    match v.as_userdata() {
        Some(file) => close(st, args, file, id),
        None => st.ret0(),
    }
}

/// `__gc` and `__close`: a file may be closed already.
fn file_gc(st: &mut State, args: Args) -> NativeResult {
    if let (file, Some(id)) = arg_file(st, args)? {
        close(st, args, file, id)?;
    }
    st.ret0()
}

fn file_tostring(st: &mut State, args: Args) -> NativeResult {
    let text = match arg_file(st, args)? {
        (file, Some(_)) => format!("file ({:#x})", file.addr()),
        (_, None) => "file (closed)".to_owned(),
    };
    let v = st.string_value(text.as_bytes())?;
    st.ret1(args, v)
}

fn io_type(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let v = match handle(v) {
        Some(Some(_)) => st.string_value(b"file")?,
        Some(None) => st.string_value(b"closed file")?,
        None => Value::NIL,
    };
    st.ret1(args, v)
}

// Default files.

fn io_input(st: &mut State, args: Args) -> NativeResult {
    set_default(st, args, INPUT, b"r")
}

fn io_output(st: &mut State, args: Args) -> NativeResult {
    set_default(st, args, OUTPUT, b"w")
}

fn set_default(st: &mut State, args: Args, key: &str, mode: &[u8]) -> NativeResult {
    let v = st.arg(args, 0);
    if !v.is_nil() {
        let file = if v.is_string() || v.tag().is_number() {
            let name = st.arg_str(args, 0)?;
            open_or_raise(st, name.as_bytes(), mode)?
        } else {
            arg_open_file(st, args)?;
            v
        };
        let key = st.string_value(key.as_bytes())?;
        let stored = st.rt.set(st.registry, key, file);
        st.check_store(stored)?;
    }
    let current = registry(st, key)?;
    st.ret1(args, current)
}

// Writing.

fn io_write(st: &mut State, args: Args) -> NativeResult {
    let (file, id) = default_file(st, OUTPUT)?;
    write(st, args, file, id, 0)
}

fn file_write(st: &mut State, args: Args) -> NativeResult {
    let (_, id) = arg_open_file(st, args)?;
    let file = st.arg(args, 0);
    write(st, args, file, id, 1)
}

/// Writes the arguments from `first` on.
fn write(st: &mut State, args: Args, file: Value, id: u32, first: u32) -> NativeResult {
    for i in first..args.count {
        let v = st.arg(args, i);
        let mut digits = NumberBuffer::default();
        let text = match v.tag() {
            Tag::INT => number::format_int(v.as_int_unchecked(), &mut digits),
            Tag::FLOAT => {
                // As by "%.14g": floats with an integer value do not look like floats here.
                let text = number::format_float(v.as_float_unchecked(), &mut digits);
                text.strip_suffix(b".0").unwrap_or(text)
            }
            _ => st.arg_str(args, i)?.as_bytes(),
        };
        let written = streams(st).get(id).map_or(Ok(()), |stream| stream.write(text));
        if let Err(e) = written {
            return ret_error(st, args, &e, None);
        }
    }
    st.ret1(args, file)
}

fn flush(st: &mut State, args: Args, id: u32) -> NativeResult {
    let flushed = streams(st).get(id).map_or(Ok(()), |stream| stream.flush());
    ret_outcome(st, args, flushed, None)
}

fn io_flush(st: &mut State, args: Args) -> NativeResult {
    let (_, id) = default_file(st, OUTPUT)?;
    flush(st, args, id)
}

fn file_flush(st: &mut State, args: Args) -> NativeResult {
    let (_, id) = arg_open_file(st, args)?;
    flush(st, args, id)
}

/// Argument `i` as one of some words.
fn arg_option(st: &mut State, args: Args, i: u32, default: Option<&str>, words: &[&str]) -> Result<usize, Raised> {
    let text = match default {
        Some(default) if st.arg(args, i).is_nil() => default.as_bytes(),
        _ => st.arg_str(args, i)?.as_bytes(),
    };
    match words.iter().position(|w| w.as_bytes() == text) {
        Some(at) => Ok(at),
        None => Err(st.arg_error(i, &format!("invalid option '{}'", String::from_utf8_lossy(text)))),
    }
}

fn file_setvbuf(st: &mut State, args: Args) -> NativeResult {
    let (_, id) = arg_open_file(st, args)?;
    let buffering = match arg_option(st, args, 1, None, &["no", "full", "line"])? {
        0 => Buffering::No,
        1 => Buffering::Full,
        _ => Buffering::Line,
    };
    let size = st.arg_int_or(args, 2, 1024)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let done = streams(st).get(id).map_or(Ok(()), |stream| stream.set_buffering(buffering, size));
    ret_outcome(st, args, done, None)
}

fn file_seek(st: &mut State, args: Args) -> NativeResult {
    let (_, id) = arg_open_file(st, args)?;
    let whence = arg_option(st, args, 1, Some("cur"), &["set", "cur", "end"])?;
    let offset = st.arg_int_or(args, 2, 0)?;
    let to = match (whence, u64::try_from(offset)) {
        (0, Ok(offset)) => SeekFrom::Start(offset),
        (0, Err(_)) => return ret_error(st, args, &io::Error::from_raw_os_error(libc::EINVAL), None),
        (1, _) => SeekFrom::Current(offset),
        _ => SeekFrom::End(offset),
    };
    let mut stream = take_stream(st, id)?;
    let position = stream.seek(to);
    streams(st).put(id, stream);
    match position {
        Ok(position) => st.ret1(args, Value::int(position as i64)),
        Err(e) => ret_error(st, args, &e, None),
    }
}

// Reading.

/// What to read.
#[derive(Clone, Copy)]
enum Format {
    Number,
    Line { keep_end: bool },
    All,
    Bytes(usize),
}

/// Reads the format `v`, which is argument `i`.
fn parse_format(st: &mut State, args: Args, i: u32, v: Value) -> Result<Format, Raised> {
    if v.tag().is_number() {
        return match native::to_integer(v) {
            Some(n) => Ok(Format::Bytes(n as usize)),
            None => Err(st.arg_error(i, "number has no integer representation")),
        };
    }
    let Some(s) = v.as_string() else {
        return Err(st.arg_type_error(args, i, "string"));
    };
    let text = s.as_bytes();
    match text.strip_prefix(b"*").unwrap_or(text).first() {
        Some(b'n') => Ok(Format::Number),
        Some(b'l') => Ok(Format::Line { keep_end: false }),
        Some(b'L') => Ok(Format::Line { keep_end: true }),
        Some(b'a') => Ok(Format::All),
        _ => Err(st.arg_error(i, "invalid format")),
    }
}

type Values = SmallVec<[Value; 8]>;

/// Reads one value per format, up to the first that fails, which gives nil.
fn read_values(
    st: &mut State,
    id: u32,
    formats: &[Format],
    values: &mut Values,
) -> Result<io::Result<()>, Raised> {
    if id == STDIN {
        streams(st).flush_lines();
    }
    let mut stream = take_stream(st, id)?;
    let mut done = Ok(Ok(()));
    for format in formats {
        match read_value(st, &mut stream, *format) {
            Ok(Ok(v)) => values.push(v),
            Ok(Err(e)) => done = Ok(Err(e)),
            Err(raised) => done = Err(raised),
        }
        if !matches!(done, Ok(Ok(()))) || values.last().is_some_and(|v| v.is_nil()) {
            break;
        }
    }
    streams(st).put(id, stream);
    done
}

fn read_value(st: &mut State, stream: &mut Stream, format: Format) -> Result<io::Result<Value>, Raised> {
    if let Format::Number = format {
        return Ok(read_number(stream).map(|n| n.unwrap_or(Value::NIL)));
    }
    if let Format::Line { keep_end } = format
        && let Ok(ahead) = stream.fill()
        && let Some(end) = memchr::memchr(b'\n', ahead)
    {
        // A line that is in the buffer is not copied twice.
        let v = st.string_value(&ahead[..end + keep_end as usize]);
        stream.consume(end + 1);
        return v.map(Ok);
    }
    let mut out = Bytes::default();
    let read = read_text(st, stream, format, &mut out);
    let v = match read {
        Ok(true) => st.string_value(out.as_slice()).map(Ok),
        Ok(false) => Ok(Ok(Value::NIL)),
        Err(e) if e.kind() == ErrorKind::OutOfMemory => Err(st.raise_memory()),
        Err(e) => Ok(Err(e)),
    };
    out.release(st);
    v
}

/// Appends what is to be read, unless it is a number; whether there is something.
fn read_text(st: &mut State, stream: &mut Stream, format: Format, out: &mut Bytes) -> io::Result<bool> {
    let heap = &mut st.rt.heap;
    match format {
        Format::Line { keep_end } => stream.read_line(out, heap).map(|ended| {
            if ended && !keep_end {
                out.truncate(out.len() - 1);
            }
            ended || out.len() > 0
        }),
        Format::Number | Format::Bytes(0) => stream.peek().map(|next| next.is_some()),
        Format::All => stream.read_bytes(out, heap, usize::MAX).map(|()| true),
        Format::Bytes(n) => stream.read_bytes(out, heap, n).map(|()| out.len() > 0),
    }
}

/// The longest numeral that is read.
const NUMERAL_MAX: usize = 200;

/// Collects a numeral from a stream.
struct NumeralReader<'a> {
    stream: &'a mut Stream,
    text: SmallVec<[u8; 32]>,
    too_long: bool,
}

impl NumeralReader<'_> {
    /// Takes the next byte if it is wanted.
    fn accept(&mut self, wanted: impl Fn(u8) -> bool) -> io::Result<bool> {
        match self.stream.peek()? {
            Some(b) if wanted(b) => {
                if self.text.len() >= NUMERAL_MAX {
                    self.too_long = true;
                    return Ok(false);
                }
                self.text.push(b);
                self.stream.consume(1);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn digits(&mut self, hexadecimal: bool) -> io::Result<usize> {
        let mut n = 0;
        while self.accept(|b| if hexadecimal { b.is_ascii_hexdigit() } else { b.is_ascii_digit() })? {
            n += 1;
        }
        Ok(n)
    }
}

/// Reads a numeral as far as one can tell that it is one; it may turn out not to be one.
fn read_number(stream: &mut Stream) -> io::Result<Option<Value>> {
    while stream.peek()?.is_some_and(|b| b.is_ascii_whitespace() || b == 0x0b) {
        stream.consume(1);
    }
    let mut reader = NumeralReader { stream, text: SmallVec::new(), too_long: false };
    let sign = |b| b == b'-' || b == b'+';
    let mut digits = 0;
    let mut hexadecimal = false;
    reader.accept(sign)?;
    if reader.accept(|b| b == b'0')? {
        if reader.accept(|b| b == b'x' || b == b'X')? {
            hexadecimal = true;
        } else {
            digits = 1;
        }
    }
    digits += reader.digits(hexadecimal)?;
    if reader.accept(|b| b == b'.')? {
        digits += reader.digits(hexadecimal)?;
    }
    let exponent = if hexadecimal { b'p' } else { b'e' };
    if digits > 0 && reader.accept(|b| b.to_ascii_lowercase() == exponent)? {
        reader.accept(sign)?;
        reader.digits(false)?;
    }
    if reader.too_long {
        return Ok(None);
    }
    Ok(number::parse_numeral(&reader.text).map(|n| match n {
        number::Numeral::Int(i) => Value::int(i),
        number::Numeral::Float(f) => Value::float(f),
    }))
}

/// Reads by the formats from argument `first` on.
fn read(st: &mut State, args: Args, id: u32, first: u32) -> NativeResult {
    let mut formats: SmallVec<[Format; 8]> = SmallVec::new();
    for i in first..args.count {
        let v = st.arg(args, i);
        formats.push(parse_format(st, args, i, v)?);
    }
    if formats.is_empty() {
        formats.push(Format::Line { keep_end: false });
    }
    let mut values = Values::new();
    match read_values(st, id, &formats, &mut values)? {
        Ok(()) => st.ret(args, &values),
        Err(e) => ret_error(st, args, &e, None),
    }
}

fn io_read(st: &mut State, args: Args) -> NativeResult {
    let (_, id) = default_file(st, INPUT)?;
    read(st, args, id, 0)
}

fn file_read(st: &mut State, args: Args) -> NativeResult {
    let (_, id) = arg_open_file(st, args)?;
    read(st, args, id, 1)
}

/// The most formats that `lines` takes.
const LINE_FORMATS_MAX: u32 = 250;

/// Makes the iterator of `lines`: its upvalues are the file, whether to close it, and the formats, which are the
/// arguments from 1 on.
fn lines_iterator(st: &mut State, args: Args, file: Value, close: bool) -> Result<Value, Raised> {
    if args.count > LINE_FORMATS_MAX + 1 {
        return Err(st.arg_error(LINE_FORMATS_MAX + 1, "too many arguments"));
    }
    let mut upvalues: SmallVec<[Value; 8]> = SmallVec::from_slice(&[file, Value::bool(close)]);
    upvalues.extend((1..args.count).map(|i| st.arg(args, i)));
    let made = st.rt.new_native(next_line, &upvalues);
    st.check_memory(made).map(Value::native)
}

fn next_line(st: &mut State, args: Args) -> NativeResult {
    let this = running(st, args);
    let file = this.upvalue(0);
    let Some(Some(id)) = handle(file) else {
        return Err(st.raise_text("file is already closed"));
    };
    let mut formats: SmallVec<[Format; 8]> = SmallVec::new();
    for i in 2..this.upvalue_count as usize {
        formats.push(parse_format(st, args, i as u32 - 1, this.upvalue(i))?);
    }
    if formats.is_empty() {
        formats.push(Format::Line { keep_end: false });
    }
    let mut values = Values::new();
    match read_values(st, id, &formats, &mut values)? {
        Ok(()) if values.first().is_some_and(|v| !v.is_nil()) => st.ret(args, &values),
        Ok(()) => {
            if let (true, Some(file)) = (!this.upvalue(1).is_falsy(), file.as_userdata()) {
                close(st, args, file, id)?;
            }
            st.ret0()
        }
        Err(e) => {
            let (text, _) = error_parts(st, &e)?;
            Err(st.raise_bytes(&text))
        }
    }
}

fn file_lines(st: &mut State, args: Args) -> NativeResult {
    arg_open_file(st, args)?;
    let file = st.arg(args, 0);
    let iterator = lines_iterator(st, args, file, false)?;
    st.ret1(args, iterator)
}

fn io_lines(st: &mut State, args: Args) -> NativeResult {
    if st.arg(args, 0).is_nil() {
        let file = registry(st, INPUT)?;
        if handle(file).flatten().is_none() {
            return Err(st.raise_text("attempt to use a closed file"));
        }
        let iterator = lines_iterator(st, args, file, false)?;
        return st.ret1(args, iterator);
    }
    let name = st.arg_str(args, 0)?;
    let file = open_or_raise(st, name.as_bytes(), b"r")?;
    let iterator = lines_iterator(st, args, file, true)?;
    st.ret(args, &[iterator, Value::NIL, Value::NIL, file])
}
