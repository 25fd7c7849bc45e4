//! What the fuzz targets do with an input. An input that shows a mistake panics or hangs.
//!
//! `tests/corpora.rs` compiles this module into a test of its own, which replays the inputs of `fuzz/corpus`.

mod engines;
mod loading;
mod reference;

pub use engines::program;
pub use loading::{bytecode, chunk, source};
pub use reference::{format, number, pack, pattern, script};
