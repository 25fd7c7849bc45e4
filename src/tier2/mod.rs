//! Tier 2: superblocks, their optimizer, and executors.

pub mod optimizer;
pub mod superblock;
pub mod text;
