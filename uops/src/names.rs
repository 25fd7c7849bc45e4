//! Names of enumerations, as the tables and the text form of superblocks write them.

use std::fmt;

/// No member of the enumeration has this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownName;

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("unknown name")
    }
}

impl std::error::Error for UnknownName {}

/// Gives an enumeration the list of its members in order, their names, and the way back from a name. A member that is
/// left out does not compile.
macro_rules! named {
    ($enumeration:ident: $($member:ident)*) => {
        impl $enumeration {
            /// Every member, in order.
            pub const ALL: &'static [$enumeration] = &[$($enumeration::$member),*];

            /// The name in the tables.
            pub const fn name(self) -> &'static str {
                match self { $($enumeration::$member => stringify!($member)),* }
            }
        }

        impl std::fmt::Display for $enumeration {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $enumeration {
            type Err = $crate::names::UnknownName;

            fn from_str(name: &str) -> Result<$enumeration, $crate::names::UnknownName> {
                $enumeration::ALL
                    .iter()
                    .copied()
                    .find(|member| member.name() == name)
                    .ok_or($crate::names::UnknownName)
            }
        }
    };
}

pub(crate) use named;
