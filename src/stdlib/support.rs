//! Operations with metamethods that host functions share.

use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::value::Value;
use crate::tier1::{Raised, State, message};

/// `object[key]`.
pub fn index(st: &mut State, object: Value, key: Value) -> Result<Value, Raised> {
    let mut object = object;
    for _ in 0..2000 {
        let handler = if let Some(t) = object.as_table() {
            let v = st.rt.get(t, key);
            if !v.is_nil() {
                return Ok(v);
            }
            let handler = st.rt.table_event(t, Event::Index);
            if handler.is_nil() {
                return Ok(Value::NIL);
            }
            handler
        } else {
            let handler = st.rt.metamethod(object, Event::Index);
            if handler.is_nil() {
                return Err(message::index_error(st, object, key));
            }
            handler
        };
        if handler.tag().is_function() {
            let (at, n) = st.call_value(handler, &[object, key])?;
            // SAFETY: results are initialised.
            return Ok(if n == 0 { Value::NIL } else { unsafe { Value::load(st.slot(at)) } });
        }
        object = handler;
    }
    Err(st.raise_text("'__index' chain too long; possibly a loop"))
}

/// `tostring(v)`.
pub fn tostring_value(st: &mut State, v: Value) -> Result<Gc<Str>, Raised> {
    let handler = st.rt.metamethod(v, Event::ToString);
    if !handler.is_nil() {
        let (at, n) = st.call_value(handler, &[v])?;
        // SAFETY: results are initialised.
        let s = if n == 0 { Value::NIL } else { unsafe { Value::load(st.slot(at)) } };
        return s.as_string().ok_or_else(|| st.raise_text("'__tostring' must return a string"));
    }
    if let Some(s) = v.as_string() {
        return Ok(s);
    }
    if v.tag().is_number() {
        return st.number_to_str(v);
    }
    let text = format!("{}: {:#x}", v.tag().type_name(), v.payload());
    let s = st.rt.new_string(text.as_bytes());
    st.check_memory(s)
}
