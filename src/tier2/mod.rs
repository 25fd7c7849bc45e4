//! Tier 2: superblocks, their optimizer, and executors.

pub mod superblock;
pub mod text;
