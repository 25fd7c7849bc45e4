//! Library functions written in Lua, so that what they call runs and compiles together with them.
//!
//! The code is compiled when it is needed first. It refers to no globals: what it cannot say in Lua it calls by the
//! name of a local of its chunk. A host function starts it in its place ([`State::continue_in`]), so that nobody sees
//! that it is not a host function.

use crate::lua::codegen::{CompileError, compile_library};
use crate::runtime::function::{CellState, Closure};
use crate::runtime::object::Gc;
use crate::runtime::value::Value;
use crate::tier1::{NativeFn, Raised, State};

/// Compiles a chunk that returns a function and makes that function, with `helpers` as the values of the chunk's locals.
pub fn library_code(st: &mut State, source: &str, helpers: &[(&str, NativeFn)]) -> Result<Gc<Closure>, Raised> {
    let chunk = match compile_library(&mut st.rt, source.as_bytes()) {
        Ok(chunk) => chunk,
        Err(CompileError::Syntax(message)) => return Err(st.raise_message(&message)),
        Err(CompileError::Memory) => return Err(st.raise_memory()),
    };
    let function = chunk.info.protos[0];
    let mut cells = Vec::with_capacity(helpers.len());
    for variable in &function.info.captured {
        let is_named = |&&(name, _): &&(&str, NativeFn)| variable.name.is_some_and(|s| s.as_bytes() == name.as_bytes());
        let helper = helpers.iter().find(is_named);
        let &(_, helper) = helper.expect("library code refers to its helpers only");
        let helper = st.rt.new_native(helper, &[]);
        let helper = Value::native(st.check_memory(helper)?);
        cells.push(st.new_cell(helper, CellState::Constant)?);
    }
    let closure = st.rt.new_closure(function, &cells);
    st.check_memory(closure)
}
