//! Loading chunks, for `load`, `loadfile`, `dofile` and `require`.

use std::io::Read;

use super::output::output;
use crate::bytecode::Proto;
use crate::lua::codegen::{CompileError, compile};
use crate::lua::skip_shebang;
use crate::runtime::function::{CellState, Closure};
use crate::runtime::object::{Gc, Kind};
use crate::runtime::value::Value;
use crate::tier1::{Raised, State};

/// The first byte of a binary chunk.
const SIGNATURE: u8 = 0x1b;

/// A chunk as a function, or why it is none: a message for the caller, not an error.
pub type Loaded = Result<Gc<Closure>, Vec<u8>>;

/// Loads source text (`mode` contains "t") or a binary chunk ("b"). The function's first captured variable, if it has
/// any, is `env`. `name` is "@file", "=name" or the source itself.
pub fn load(st: &mut State, text: &[u8], name: &[u8], mode: &[u8], env: Value) -> Result<Loaded, Raised> {
    let binary = text.first() == Some(&SIGNATURE);
    let (kind, letter) = if binary { ("binary", b'b') } else { ("text", b't') };
    if !mode.contains(&letter) {
        let mode = String::from_utf8_lossy(mode);
        return Ok(Err(format!("attempt to load a {kind} chunk (mode is '{mode}')").into_bytes()));
    }
    if binary {
        let shown = match name {
            [b'@' | b'=', rest @ ..] => rest,
            [SIGNATURE, ..] => b"binary string",
            _ => name,
        };
        return Ok(Err([shown, b": bad binary format (truncated chunk)"].concat()));
    }
    let depth = st.native_depth;
    match compile(&mut st.rt, text, name, depth) {
        Ok(proto) => close_over(st, proto, env).map(Ok),
        Err(CompileError::Syntax(message)) => Ok(Err(message)),
        Err(CompileError::Memory) => Err(st.raise_memory()),
    }
}

/// A main function: its first captured variable is `env`, the others are nil.
fn close_over(st: &mut State, proto: Gc<Proto>, env: Value) -> Result<Gc<Closure>, Raised> {
    let count = proto.info.captured.len();
    let cell = st.rt.heap.alloc(Closure::size(count));
    let p = st.check_memory(cell)?.cast::<Closure>();
    // SAFETY: the cell is fresh and large enough.
    let closure = unsafe {
        p.write(Closure {
            barrier: Default::default(),
            kind: Kind::Closure,
            cell_count: count as u8,
            spare: 0,
            spare2: 0,
            proto,
        });
        Gc::from_ptr(p)
    };
    for i in 0..count {
        let cell = match i {
            0 => st.new_cell(env, CellState::Constant)?,
            _ => st.new_cell(Value::NIL, CellState::Uninitialised)?,
        };
        closure.set_cell(i, cell);
    }
    Ok(closure)
}

/// Loads a file (standard input without a name), skipping a byte order mark and a first line that begins with `#`.
pub fn load_file(st: &mut State, file: Option<&[u8]>, mode: &[u8], env: Value) -> Result<Loaded, Raised> {
    let (text, name) = match file {
        Some(path) => (read_file(path), [b"@", path].concat()),
        None => {
            // What has been written so far may be a prompt.
            let _ = output(st).flush();
            let mut text = Vec::new();
            (std::io::stdin().read_to_end(&mut text).map(|_| text), b"=stdin".to_vec())
        }
    };
    match text {
        Ok(text) => load(st, skip_shebang(&text), &name, mode, env),
        Err(e) => {
            let verb: &[u8] = if e.kind() == std::io::ErrorKind::IsADirectory { b"cannot read " } else { b"cannot open " };
            Ok(Err([verb, &name[1..], b": ", error_text(&e).as_bytes()].concat()))
        }
    }
}

#[cfg(unix)]
fn read_file(path: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    std::fs::read(std::ffi::OsStr::from_bytes(path))
}

#[cfg(not(unix))]
fn read_file(path: &[u8]) -> std::io::Result<Vec<u8>> {
    std::fs::read(String::from_utf8_lossy(path).as_ref())
}

/// The operating system's text for an error, without the number that Rust adds.
pub fn error_text(e: &std::io::Error) -> String {
    let text = e.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}
