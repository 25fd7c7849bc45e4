//! Loading chunks: from text and from files.
//!
//! A chunk that cannot be loaded is not an error that is raised, but a message: `load`, `loadfile` and `require` each
//! do something else with it.

use std::io::{self, Read};

use super::io::{error_text, path_of};
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
            let environment = st.new_cell(Value::table(st.globals), CellState::Constant)?;
            let closure = st.rt.new_closure(proto, &[environment]);
            st.check_memory(closure).map(Ok)
        }
        Err(CompileError::Syntax(message)) => st.string_value(&message).map(Err),
        Err(CompileError::Memory) => Err(st.raise_memory()),
    }
}

/// Loads a file; standard input if there is no name.
pub fn load_file(st: &mut State, name: Option<&[u8]>, mode: &[u8]) -> Result<Loaded, Raised> {
    let (chunk_name, read) = match name {
        Some(name) => ([b"@", name].concat(), read_file(name)),
        None => (b"=stdin".to_vec(), read_stdin().map_err(|e| ("read", e))),
    };
    match read {
        Ok(source) => load(st, skip_shebang(&source), &chunk_name, mode),
        Err((what, e)) => {
            let mut text = format!("cannot {what} ").into_bytes();
            text.extend_from_slice(&chunk_name[1..]);
            if let Some(code) = e.raw_os_error() {
                text.extend_from_slice(b": ");
                text.extend_from_slice(&error_text(code));
            }
            st.string_value(&text).map(Err)
        }
    }
}

fn read_file(name: &[u8]) -> Result<Vec<u8>, (&'static str, io::Error)> {
    let mut file = std::fs::File::open(path_of(name)).map_err(|e| ("open", e))?;
    let mut source = Vec::new();
    file.read_to_end(&mut source).map_err(|e| ("read", e))?;
    Ok(source)
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut source = Vec::new();
    io::stdin().lock().read_to_end(&mut source)?;
    Ok(source)
}
