//! perilune: an embeddable engine for dynamic languages, shipping Lua 5.4.
//!
//! ```
//! use perilune::{Result, Vm};
//!
//! fn main() -> Result<()> {
//!     let vm = Vm::new();
//!     let area = vm.create_function(|_, (w, h): (f64, f64)| Ok(w * h))?;
//!     vm.globals().set("area", area)?;
//!     let total: f64 = vm.load("return area(2, 3) + area(1, 4)").eval()?;
//!     assert_eq!(total, 10.0);
//!     Ok(())
//! }
//! ```

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Declares modules that are private, but open to the benchmarks of the engine's layouts.
macro_rules! internal {
    ($($name:ident)*) => {$(
        #[cfg(feature = "internals")]
        #[doc(hidden)]
        pub mod $name;
        #[cfg(not(feature = "internals"))]
        pub(crate) mod $name;
    )*};
}

pub mod bytecode;
mod embed;
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
mod jit;

pub use embed::*;
pub use stdlib::Libraries;
pub use tier1::statistics::{ExecutorStatistics, Statistics};
pub use tier2::{CompileTime, Engine, Perf};

internal! { heap lua runtime stdlib tier1 tier2 }
