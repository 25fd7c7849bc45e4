//! The object model: values, strings, tables and shapes, functions, coroutines, metatables.

pub mod array;
pub mod assumption;
pub mod class;
mod context;
pub mod coroutine;
pub mod decimal;
pub mod function;
pub mod functions;
pub mod hash;
pub mod hasher;
pub mod interner;
pub mod metatable;
pub mod number;
pub mod object;
pub mod shape;

pub mod string;
pub mod table;
#[cfg(test)]
mod tests;
pub mod userdata;
pub mod value;

pub use context::Runtime;
