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

/// Declares an enumeration whose members have names: in the tables, in the manual with what the documentation says of
/// them, and in the text form of superblocks, where they are read back.
macro_rules! named {
    (
        $(#[doc = $doc:literal])+
        pub enum $enumeration:ident { $( $(#[doc = $description:literal])* $member:ident, )+ }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $enumeration { $( $(#[doc = $description])* $member, )+ }

        impl $enumeration {
            /// Every member, in order.
            pub const ALL: &'static [$enumeration] = &[$($enumeration::$member),+];

            /// The name in the tables.
            pub const fn name(self) -> &'static str {
                match self { $($enumeration::$member => stringify!($member)),+ }
            }

            /// What it is; empty if the name says all.
            pub const fn description(self) -> &'static str {
                match self { $($enumeration::$member => concat!($($description),*)),+ }
            }
        }

        impl std::fmt::Display for $enumeration {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.pad(self.name())
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
