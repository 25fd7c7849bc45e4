//! The instructions of perilune's bytecode, declared once, and their expansion into micro-ops.
//!
//! This crate knows nothing of the runtime. It has three tables: [`Op`] with its [`Format`], the instructions, against
//! which the interpreter, the builder, the verifier and the listing are written; [`MicroOp`] with its [`Declaration`],
//! of which superblocks consist; and between them [`Op::expansion`], which says what each instruction is made of.
//! `cargo run -p perilune-uops --example manual` prints all three.

pub mod expansion;
pub mod functions;
pub mod instructions;
pub mod microops;
pub mod names;

pub use expansion::{Feedback, Field, Listing, Operand, Operation, Step};
pub use functions::FloatFunction;
pub use instructions::{Format, Op, Role, Wide};
pub use microops::{Declaration, Effects, Exit, Immediate, Memory, MemorySet, MicroOp, Type};
pub use names::UnknownName;
