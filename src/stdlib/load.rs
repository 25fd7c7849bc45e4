//! Loading chunks: from text and from files.
//!
//! A chunk that cannot be loaded is not an error that is raised, but a message: `load`, `loadfile` and `require` each
//! do something else with it.

use std::io::{self, ErrorKind, Read};

use super::io::{error_text, path_of};
use super::support::Bytes;
use crate::lua::codegen::{CompileError, compile};
use crate::lua::skip_shebang;
use crate::runtime::function::{CellState, Closure};
use crate::runtime::object::Gc;
use crate::runtime::value::Value;
use crate::tier1::{Raised, State};

/// A function, or the message why there is none.
pub type Loaded = Result<Gc<Closure>, Value>;

/// Accepts text and binary chunks; see [`load`].
pub const ANY: &[u8] = b"bt";

/// The first byte of a binary chunk.
const BINARY_MARK: u8 = 0x1b;

/// Compiles a chunk, if `mode` contains the letter of its kind (`t` or `b`). Its `_ENV` is the table of globals.
pub fn load(st: &mut State, source: &[u8], chunk_name: &[u8], mode: &[u8]) -> Result<Loaded, Raised> {
    let binary = source.first() == Some(&BINARY_MARK);
    if !mode.contains(if binary { &b'b' } else { &b't' }) {
        let kind = if binary { &b"binary"[..] } else { b"text" };
        let text = [b"attempt to load a ", kind, b" chunk (mode is '", mode, b"')"].concat();
        return st.string_value(&text).map(Err);
    }
    if binary {
        let mut text = crate::bytecode::source::chunk_id(chunk_name);
        text.extend_from_slice(b": bad binary format (not supported)");
        return st.string_value(&text).map(Err);
    }
    match compile(&mut st.rt, source, chunk_name, st.native_depth) {
        Ok(proto) => {
            let closure = st
                .new_cell(Value::table(st.globals), CellState::Constant)
                .and_then(|environment| {
                    let closure = st.rt.new_closure(proto, &[environment]);
                    st.check_memory(closure)
                });
            Ok(closure.map_err(|Raised| Value::string(st.memory_message)))
        }
        Err(CompileError::Syntax(message)) => st.string_value(&message).map(Err),
        Err(CompileError::Memory) => Ok(Err(Value::string(st.memory_message))),
    }
}

/// Loads a file; standard input if there is no name.
pub fn load_file(st: &mut State, name: Option<&[u8]>, mode: &[u8]) -> Result<Loaded, Raised> {
    let mut source = Bytes::default();
    let (chunk_name, read) = match name {
        Some(name) => ([b"@", name].concat(), read_file(st, name, &mut source)),
        None => (b"=stdin".to_vec(), read_all(st, io::stdin().lock(), &mut source).map_err(|e| ("read", e))),
    };
    let loaded = match read {
        Ok(()) => load(st, skip_shebang(source.as_slice()), &chunk_name, mode),
        Err((_, e)) if e.kind() == ErrorKind::OutOfMemory => Ok(Err(Value::string(st.memory_message))),
        // The VM is being stopped.
        Err((_, e)) if e.kind() == ErrorKind::Interrupted => Err(Raised),
        Err((what, e)) => {
            let mut text = format!("cannot {what} ").into_bytes();
            text.extend_from_slice(&chunk_name[1..]);
            if let Some(code) = e.raw_os_error() {
                text.extend_from_slice(b": ");
                text.extend_from_slice(&error_text(code));
            }
            st.string_value(&text).map(Err)
        }
    };
    source.release(st);
    loaded
}

fn read_file(st: &mut State, name: &[u8], source: &mut Bytes) -> Result<(), (&'static str, io::Error)> {
    let file = std::fs::File::open(path_of(name)).map_err(|e| ("open", e))?;
    read_all(st, file, source).map_err(|e| ("read", e))
}

fn read_all(st: &mut State, mut file: impl Read, source: &mut Bytes) -> io::Result<()> {
    let mut piece = [0; 1 << 14];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => source.append(&mut st.rt.heap, &piece[..n]).map_err(|_| ErrorKind::OutOfMemory)?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        st.check_cancelled().map_err(|Raised| ErrorKind::Interrupted)?;
    }
}
