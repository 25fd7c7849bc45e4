//! Lua's standard library: host functions over [`State`].

mod date;
mod debug;
mod format;
mod io;
pub mod load;
mod os;
mod pack;
mod package;
mod pattern;
pub mod stream;
mod string;
pub mod support;

use crate::runtime::function::Native;
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::tier1::{Args, NativeFn, Raised, State};

/// A table of host functions.
pub fn library(st: &mut State, functions: &[(&str, NativeFn)]) -> Result<Gc<Table>, Raised> {
    let root = st.rt.shapes.root_for(functions.len() as u32);
    let made = st.rt.new_table(root, 0);
    let t = st.check_memory(made)?;
    for (name, f) in functions {
        let f = st.rt.new_native(*f, &[]);
        let f = st.check_memory(f)?;
        set_field(st, t, name, Value::native(f))?;
    }
    Ok(t)
}

/// Sets a field of a fresh table.
pub fn set_field(st: &mut State, t: Gc<Table>, name: &str, v: Value) -> Result<(), Raised> {
    let key = st.rt.new_string(name.as_bytes());
    let key = st.check_memory(key)?;
    let stored = st.rt.init_str(t, key, v);
    st.check_store(stored)
}

/// The running host function.
#[inline]
pub fn running(st: &State, args: Args) -> Gc<Native> {
    // SAFETY: a host function lies below its window.
    let f = unsafe { Value::load(st.slot(args.base - 1)) };
    f.as_native().expect("host functions are called as such")
}

/// A function that makes a library's table.
type Open = fn(&mut State) -> Result<Gc<Table>, Raised>;

/// Opens the libraries: each becomes a global and a loaded module.
pub fn open_libraries(st: &mut State) -> Result<(), Raised> {
    let libraries: [(&str, Open); 5] = [
        ("package", package::open),
        ("string", string::open),
        ("io", io::open),
        ("os", os::open),
        ("debug", debug::open),
    ];
    for (name, open) in libraries {
        let t = open(st)?;
        let loaded = package::registry_table(st, package::LOADED)?;
        let globals = st.globals;
        set_field(st, loaded, name, Value::table(t))?;
        set_field(st, globals, name, Value::table(t))?;
    }
    Ok(())
}
