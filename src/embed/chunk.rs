//! Chunks: source text and binary chunks on their way to becoming a function.

use std::sync::atomic::{AtomicU32, Ordering};

use super::convert::{FromLuaMulti, IntoLuaMulti};
use super::error::{Error, Result};
use super::function::Function;
use super::handle::Handle;
use super::{Table, Vm};
use crate::bytecode::binary;
use crate::lua::codegen::{CompileError, compile};
use crate::lua::skip_shebang;
use crate::runtime::function::CellState;
use crate::runtime::value::Value as Raw;
use crate::stdlib::load::{ANY, load};
use crate::tier1::state::interrupt;
use crate::tier1::{Raised, State};

/// Source text, or a binary chunk made by [`Function::dump`] or `string.dump`, to be run; made by [`Vm::load`].
/// Binary chunks are verified, whatever their origin.
///
/// ```
/// let vm = perilune::Vm::new();
/// let env = vm.create_table()?;
/// env.set("x", 20)?;
/// let n: i64 = vm.load("x + 1").name("=config").env(&env).eval()?;
/// assert_eq!(n, 21);
/// # Ok::<(), perilune::Error>(())
/// ```
#[must_use = "a chunk does nothing until it is run"]
pub struct Chunk<'a> {
    pub(super) vm: &'a Vm,
    pub(super) source: Vec<u8>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) env: Option<Table>,
}

impl Chunk<'_> {
    /// Names the chunk for messages, in Lua's way: `=name` as it is, `@file` for a file; anything else is taken
    /// for the source itself. Without a name, the source is quoted.
    pub fn name(mut self, name: impl AsRef<[u8]>) -> Self {
        self.name = Some(name.as_ref().to_vec());
        self
    }

    /// Takes the source as that of a file, which may begin with a byte order mark, and whose first line is not Lua
    /// if it begins with `#`.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let n: i64 = vm.load("#!/usr/bin/perilune\nreturn 1").file().call(())?;
    /// assert_eq!(n, 1);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn file(mut self) -> Self {
        self.source = skip_shebang(&self.source).to_vec();
        self
    }

    /// Lets the chunk have its globals in this table.
    pub fn env(mut self, env: &Table) -> Self {
        self.env = Some(env.clone());
        self
    }

    /// Compiles the chunk.
    pub fn into_function(self) -> Result<Function> {
        self.compile(&self.source)
    }

    /// Runs the chunk.
    pub fn exec(self) -> Result<()> {
        self.call(())
    }

    /// Runs the chunk, which may also be an expression, and converts its results.
    pub fn eval<R: FromLuaMulti>(self) -> Result<R> {
        if self.is_binary() {
            return self.call(());
        }
        let expression = [b"return ", self.source.as_slice()].concat();
        match self.compile(&expression) {
            Ok(f) => f.call(()),
            Err(Error::Syntax { .. }) => self.call(()),
            Err(e) => Err(e),
        }
    }

    /// Runs the chunk with arguments, which it finds in `...`.
    pub fn call<R: FromLuaMulti>(self, args: impl IntoLuaMulti) -> Result<R> {
        self.into_function()?.call(args)
    }

    fn is_binary(&self) -> bool {
        self.source.first() == Some(&binary::MARK)
    }

    fn compile(&self, source: &[u8]) -> Result<Function> {
        let inner = &self.vm.inner;
        let name = self.name.as_deref().unwrap_or(&self.source);
        inner.with(|st, shared| {
            super::vm::collect_if_due(st);
            let env = match &self.env {
                Some(env) => env.0.in_vm(st, inner)?,
                None => Raw::table(st.globals),
            };
            if self.is_binary() {
                let loaded =
                    load(st, source, name, ANY).map_err(|Raised| unfinished(&st.interrupt))?;
                let f = loaded.map_err(|message| Error::Syntax {
                    message: message.as_string().map_or_else(String::new, |s| {
                        String::from_utf8_lossy(s.as_bytes()).into_owned()
                    }),
                    incomplete_input: false,
                })?;
                if f.cell_count > 0 {
                    st.store_cell(f.cell(0), env);
                }
                return Ok(Function(Handle::new(st, shared, inner, Raw::closure(f))));
            }
            let proto = compile(
                &mut st.rt,
                Some(&st.interrupt),
                source,
                name,
                st.native_depth,
            )
            .map_err(|e| match e {
                CompileError::Memory => unfinished(&st.interrupt),
                CompileError::Syntax(message) => Error::Syntax {
                    incomplete_input: message.ends_with(b"<eof>"),
                    message: String::from_utf8_lossy(&message).into_owned(),
                },
            })?;
            let closure = close_over(st, proto, env).map_err(|Raised| Error::Memory)?;
            Ok(Function(Handle::new(st, shared, inner, closure)))
        })?
    }
}

/// Why a chunk has not been compiled if not for what it says: the VM is to be stopped, or memory has run out.
fn unfinished(word: &AtomicU32) -> Error {
    if word.fetch_and(!interrupt::CANCEL, Ordering::Relaxed) & interrupt::CANCEL != 0 {
        Error::Cancelled
    } else {
        Error::Memory
    }
}

fn close_over(
    st: &mut State,
    proto: crate::runtime::object::Gc<crate::bytecode::proto::Proto>,
    env: Raw,
) -> std::result::Result<Raw, Raised> {
    let cell = st.new_cell(env, CellState::Constant)?;
    let closure = st.rt.new_closure(proto, &[cell]);
    st.check_memory(closure).map(Raw::closure)
}
