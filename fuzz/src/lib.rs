//! The fuzz targets, and what they borrow from the tests.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/random/generator.rs"]
#[allow(dead_code, reason = "programs are not made smaller here")]
mod generator;
pub mod targets;
