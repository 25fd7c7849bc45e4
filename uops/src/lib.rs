//! The instructions of perilune's bytecode, declared once, and their expansion into micro-ops.
//!
//! This crate knows nothing of the runtime. [`Op`] and its [`Format`] come from the table in
//! [`instructions`]; the interpreter, the builder, the verifier and the listing are written against them.

pub mod instructions;

pub use instructions::{Format, Op, Role, Wide};
