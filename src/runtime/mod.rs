//! The object model: values, strings, tables and shapes, functions, coroutines, metatables.

pub mod coroutine;
pub mod function;
pub mod object;
pub mod string;
pub mod table;
pub mod userdata;
pub mod value;
