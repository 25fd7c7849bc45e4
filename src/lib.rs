//! perilune: an embeddable engine for dynamic languages, shipping Lua 5.4.

pub mod bytecode;
mod heap;
pub mod lua;
mod runtime;
mod tier1;
