//! Loading chunks: from text and from files.
//!
//! A chunk that cannot be loaded is not an error that is raised, but a message: `load`, `loadfile` and `require` each
//! do something else with it.

use std::io::{self, ErrorKind, Read};

use super::io::{error_text, path_of};
use smallvec::SmallVec;

use super::support::Bytes;
use crate::bytecode::LoadError;
use crate::bytecode::binary::{self, ReadError};
use crate::bytecode::names::c_string;
use crate::bytecode::proto::Proto;
use crate::lua::codegen::{CompileError, compile};
use crate::lua::skip_shebang;
use crate::runtime::function::{CellState, Closure, UpCell};
use crate::runtime::object::Gc;
use crate::runtime::value::Value;
use crate::tier1::{Raised, State};

/// A function, or the message why there is none.
pub type Loaded = Result<Gc<Closure>, Value>;

/// Accepts text and binary chunks; see [`load`].
pub const ANY: &[u8] = b"bt";

/// Compiles or reads a chunk, if `mode` contains the letter of its kind (`t` or `b`). Its first captured variable is the
/// table of globals.
pub fn load(st: &mut State, source: &[u8], chunk_name: &[u8], mode: &[u8]) -> Result<Loaded, Raised> {
    let binary = source.first() == Some(&binary::MARK);
    if !mode.contains(if binary { &b'b' } else { &b't' }) {
        let kind = if binary { &b"binary"[..] } else { b"text" };
        let text = [b"attempt to load a ", kind, b" chunk (mode is '", mode, b"')"].concat();
        return st.string_value(&text).map(Err);
    }
    if binary {
        return load_binary(st, source, chunk_name);
    }
    match compile(&mut st.rt, Some(&st.interrupt), source, chunk_name, st.native_depth) {
        Ok(proto) => {
            let closure = close_over_globals(st, proto);
            Ok(closure.map_err(|Raised| Value::string(st.memory_message)))
        }
        Err(CompileError::Syntax(message)) => st.string_value(&message).map(Err),
        Err(CompileError::Memory) => {
            st.check_cancelled()?;
            Ok(Err(Value::string(st.memory_message)))
        }
    }
}

fn load_binary(st: &mut State, chunk: &[u8], chunk_name: &[u8]) -> Result<Loaded, Raised> {
    let reason = match binary::read(chunk, &mut st.rt.heap) {
        Ok(read) => {
            let made = read.function.make(&mut st.rt);
            read.release(&mut st.rt.heap);
            match made {
                Ok(proto) => return close_over_globals(st, proto).map(Ok),
                Err(LoadError::Memory) => return Err(st.raise_memory()),
                Err(LoadError::Invalid(e)) => e.to_string(),
            }
        }
        Err(ReadError::Memory) => return Err(st.raise_memory()),
        Err(ReadError::Invalid(reason)) => reason.to_owned(),
    };
    let name = match chunk_name {
        [b'@' | b'=', name @ ..] => name,
        [binary::MARK, ..] => b"binary string",
        name => name,
    };
    let text = [c_string(name), b": bad binary format (", reason.as_bytes(), b")"].concat();
    st.string_value(&text).map(Err)
}

/// A closure over a function that no other encloses: its first captured variable is the table of globals, the others are
/// nil.
pub fn close_over_globals(st: &mut State, proto: Gc<Proto>) -> Result<Gc<Closure>, Raised> {
    let mut cells: SmallVec<[Gc<UpCell>; 8]> = SmallVec::new();
    for i in 0..proto.info.captured.len() {
        let (v, state) = match i {
            0 => (Value::table(st.globals), CellState::Constant),
            _ => (Value::NIL, CellState::Uninitialised),
        };
        cells.push(st.new_cell(v, state)?);
    }
    let closure = st.rt.new_closure(proto, &cells);
    st.check_memory(closure)
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
