//! perilune: an embeddable engine for dynamic languages, shipping Lua 5.4.

pub mod bytecode;

/// Declares modules that are private, but open to the benchmarks of the engine's layouts.
macro_rules! internal {
    ($($name:ident)*) => {$(
        #[cfg(feature = "internals")]
        #[doc(hidden)]
        pub mod $name;
        #[cfg(not(feature = "internals"))]
        mod $name;
    )*};
}

internal! { heap lua runtime stdlib tier1 }
