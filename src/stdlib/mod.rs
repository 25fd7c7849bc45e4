//! Lua's standard library: host functions over [`State`].

mod base;
mod builtin;
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

pub use math::{DEGREES, RADIANS, random_between, random_float};
pub use string::substring;

use std::ops::BitOr;

use smallvec::SmallVec;

use crate::runtime::function::Native;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::tier1::{Args, Builtin, NativeFn, Raised, State};

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

/// The libraries that are nothing but a table.
const LIBRARIES: [(Libraries, &str, Open); 8] = [
    (Libraries::COROUTINE, "coroutine", coroutine::open),
    (Libraries::TABLE, "table", table::open),
    (Libraries::IO, "io", io::open),
    (Libraries::OS, "os", os::open),
    (Libraries::STRING, "string", string::open),
    (Libraries::MATH, "math", math::open),
    (Libraries::UTF8, "utf8", utf8::open),
    (Libraries::DEBUG, "debug", debug::open),
];

/// Opens libraries in a fresh VM: each becomes a global and a loaded module.
pub fn open(st: &mut State, libraries: Libraries) -> Result<(), Raised> {
    let globals = st.globals;
    let (registry, main) = (st.registry, st.main);
    for (i, v) in [(1, Value::coroutine(main)), (2, Value::table(globals))] {
        let stored = st.rt.set_int(registry, i, v);
        st.check_store(stored)?;
    }
    let loaded = package::registry_table(st, package::LOADED)?;
    let (mut fields, mut modules) = (Fields::default(), Fields::default());
    if libraries.contains(Libraries::BASE) {
        base::open(st, &mut fields)?;
        modules.add(st, "_G", Value::table(globals))?;
    }
    if libraries.contains(Libraries::PACKAGE) {
        let t = package::open(st, &mut fields)?;
        modules.add(st, "package", Value::table(t))?;
    }
    for (library, name, open) in LIBRARIES {
        if libraries.contains(library) {
            let t = open(st)?;
            modules.add(st, name, Value::table(t))?;
        }
    }
    fields.0.extend_from_slice(&modules.0);
    modules.fill(st, loaded)?;
    fields.fill(st, globals)?;
    let made = st.rt.make_holder(globals);
    st.check_memory(made)?;
    Ok(())
}

/// Lets the libraries, which are still to be opened, ignore environment variables.
pub fn ignore_environment(st: &mut State) -> Result<(), Raised> {
    let registry = st.registry;
    set_field(st, registry, package::NO_ENVIRONMENT, Value::TRUE)
}

/// The fields of a table to be, all with different names.
#[derive(Default)]
pub struct Fields(SmallVec<[(Gc<Str>, Value); 64]>);

impl Fields {
    pub fn add(&mut self, st: &mut State, name: &str, v: Value) -> Result<(), Raised> {
        let name = field_name(st, name)?;
        self.0.push((name, v));
        Ok(())
    }

    /// Adds a host function.
    pub fn add_function(&mut self, st: &mut State, name: &str, f: NativeFn, upvalues: &[Value]) -> Result<(), Raised> {
        self.add_builtin(st, (name, f, Builtin::Other), upvalues)
    }

    /// Adds a host function that the optimizer knows.
    pub fn add_builtin(&mut self, st: &mut State, (name, f, builtin): Known, upvalues: &[Value]) -> Result<(), Raised> {
        let f = st.rt.new_builtin(f, builtin, upvalues);
        let f = st.check_memory(f)?;
        self.add(st, name, Value::native(f))
    }

    /// Host functions that the optimizer knows, without upvalues.
    fn of_builtins(st: &mut State, functions: &[Known]) -> Result<Fields, Raised> {
        let mut fields = Fields::default();
        for &known in functions {
            fields.add_builtin(st, known, &[])?;
        }
        Ok(fields)
    }

    /// Puts the fields into an empty table.
    pub fn fill(&self, st: &mut State, t: Gc<Table>) -> Result<(), Raised> {
        let filled = st.rt.fill_table(t, &self.0);
        st.check_memory(filled)
    }
}

/// A host function that the optimizer knows, by its name.
type Known<'a> = (&'a str, NativeFn, Builtin);

/// A table of host functions and other fields.
pub fn library(
    st: &mut State,
    functions: &[(&str, NativeFn)],
    others: &[(&str, Value)],
) -> Result<Gc<Table>, Raised> {
    library_of(st, functions, Fields::default(), others)
}

/// The same, with the fields `known` besides.
fn library_of(
    st: &mut State,
    functions: &[(&str, NativeFn)],
    known: Fields,
    others: &[(&str, Value)],
) -> Result<Gc<Table>, Raised> {
    let mut fields = known;
    for &(name, f) in functions {
        fields.add_function(st, name, f, &[])?;
    }
    for &(name, v) in others {
        fields.add(st, name, v)?;
    }
    let root = st.rt.shapes.root_for(fields.0.len() as u32);
    let made = st.rt.new_table(root, 0);
    let t = st.check_memory(made)?;
    fields.fill(st, t)?;
    Ok(t)
}

fn field_name(st: &mut State, name: &str) -> Result<Gc<Str>, Raised> {
    let name = st.rt.new_string(name.as_bytes());
    st.check_memory(name)
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
