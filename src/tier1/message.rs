use super::state::{Raised, State};
use crate::runtime::value::Value;
pub fn call_error(st: &mut State, v: Value) -> Raised { let t=format!("attempt to call a {} value", v.tag().type_name()); st.raise_at(&t) }
pub fn index_error(st: &mut State, v: Value, _key: Value) -> Raised { let t=format!("attempt to index a {} value", v.tag().type_name()); st.raise_at(&t) }
pub fn arith_error(st: &mut State, _b: bool, v: Value, w: Value) -> Raised { let v = if v.tag().is_number() {w} else {v}; let t=format!("attempt to perform arithmetic on a {} value", v.tag().type_name()); st.raise_at(&t) }
pub fn no_integer(st: &mut State, _v: Value, _w: Value) -> Raised { st.raise_at("number has no integer representation") }
pub fn compare_error(st: &mut State, _v: Value, _w: Value) -> Raised { st.raise_at("attempt to compare") }
pub fn type_error(st: &mut State, v: Value, what: &str) -> Raised { let t=format!("attempt to {what} a {} value", v.tag().type_name()); st.raise_at(&t) }
pub fn concat_error(st: &mut State, v: Value, _w: Value) -> Raised { let t=format!("attempt to concatenate a {} value", v.tag().type_name()); st.raise_at(&t) }
pub fn for_error(st: &mut State, _v: Value, what: &str) -> Raised { let t=format!("'for' {what} value must be a number"); st.raise_at(&t) }
pub fn close_error(st: &mut State, _p: *const Value) -> Raised { st.raise_at("variable got a non-closable value") }
impl State {
    pub fn raise_at(&mut self, m: &str) -> Raised { self.raise_text(m) }
    pub fn position(&self, _level: u32) -> Vec<u8> { b"pos: ".to_vec() }
    pub fn running_name(&mut self) -> (Vec<u8>, bool) { (b"?".to_vec(), false) }
    pub fn type_name_of(&self, v: Value) -> Vec<u8> { v.tag().type_name().into() }
}
