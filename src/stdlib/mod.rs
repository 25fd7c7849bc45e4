//! Lua's standard library: host functions over [`State`].

mod base;
mod coroutine;
mod date;
mod debug;
mod format;
mod io;
pub mod load;
mod math;
mod os;
mod pack;
mod package;
mod pattern;
mod random;
pub mod stream;
mod string;
pub mod support;
mod table;
mod utf8;
mod utf8_codec;

use std::ops::BitOr;

use smallvec::SmallVec;

use crate::runtime::function::Native;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::tier1::{Args, NativeFn, Raised, State};

/// A set of libraries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Libraries(u16);

impl Libraries {
    pub const NONE: Libraries = Libraries(0);
    pub const BASE: Libraries = Libraries(1);
    pub const PACKAGE: Libraries = Libraries(2);
    pub const COROUTINE: Libraries = Libraries(4);
    pub const TABLE: Libraries = Libraries(8);
    pub const IO: Libraries = Libraries(16);
    pub const OS: Libraries = Libraries(32);
    pub const STRING: Libraries = Libraries(64);
    pub const MATH: Libraries = Libraries(128);
    pub const UTF8: Libraries = Libraries(256);
    pub const DEBUG: Libraries = Libraries(512);
    pub const ALL: Libraries = Libraries(1023);

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Libraries) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Libraries {
    type Output = Libraries;

    fn bitor(self, other: Libraries) -> Libraries {
        Libraries(self.0 | other.0)
    }
}

/// A function that makes a library's table.
type Open = fn(&mut State) -> Result<Gc<Table>, Raised>;

const LIBRARIES: [(Libraries, &str, Open); 10] = [
    (Libraries::BASE, "_G", base::open),
    (Libraries::PACKAGE, "package", package::open),
    (Libraries::COROUTINE, "coroutine", coroutine::open),
    (Libraries::TABLE, "table", table::open),
    (Libraries::IO, "io", io::open),
    (Libraries::OS, "os", os::open),
    (Libraries::STRING, "string", string::open),
    (Libraries::MATH, "math", math::open),
    (Libraries::UTF8, "utf8", utf8::open),
    (Libraries::DEBUG, "debug", debug::open),
];

/// Opens libraries: each becomes a global and a loaded module.
pub fn open(st: &mut State, libraries: Libraries) -> Result<(), Raised> {
    let loaded = package::registry_table(st, package::LOADED)?;
    let globals = st.globals;
    for (library, name, open) in LIBRARIES {
        if libraries.contains(library) {
            let t = open(st)?;
            set_field(st, loaded, name, Value::table(t))?;
            set_field(st, globals, name, Value::table(t))?;
        }
    }
    Ok(())
}

/// A table of host functions and other fields.
pub fn library(
    st: &mut State,
    functions: &[(&str, NativeFn)],
    others: &[(&str, Value)],
) -> Result<Gc<Table>, Raised> {
    let mut fields = SmallVec::<[_; 32]>::new();
    for (name, f) in functions {
        let f = st.rt.new_native(*f, &[]);
        let f = st.check_memory(f)?;
        fields.push((field_name(st, name)?, Value::native(f)));
    }
    for (name, v) in others {
        fields.push((field_name(st, name)?, *v));
    }
    let made = st.rt.new_table_with(&fields);
    st.check_memory(made)
}

fn field_name(st: &mut State, name: &str) -> Result<Gc<Str>, Raised> {
    let name = st.rt.new_string(name.as_bytes());
    st.check_memory(name)
}

/// Adds host functions to a table.
fn register(st: &mut State, t: Gc<Table>, functions: &[(&str, NativeFn)]) -> Result<(), Raised> {
    for (name, f) in functions {
        let f = st.rt.new_native(*f, &[]);
        let f = st.check_memory(f)?;
        set_field(st, t, name, Value::native(f))?;
    }
    Ok(())
}

/// Sets a field of a fresh table.
pub fn set_field(st: &mut State, t: Gc<Table>, name: &str, v: Value) -> Result<(), Raised> {
    let key = field_name(st, name)?;
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
