//! The tier-2 interpreter: executors as micro-ops over an array of untagged 64-bit registers.
//!
//! [`lower()`] makes [`Code`] of a superblock, [`run()`] enters an executor that has such code. What instructions do is in
//! [`run`](mod@run), what leaves to the runtime in [`callout`].

mod callout;
mod code;
mod lower;
mod run;
#[cfg(test)]
pub(super) mod tests;

#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
pub use callout::{Calling, Next, Request, call_native, call_out, direct_call_returned};
pub use code::Code;
pub use lower::lower;
#[cfg(test)]
pub use lower::LowerError;
pub use code::pointer_tag;
pub use run::run;
