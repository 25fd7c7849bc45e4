//! Handles: how the host refers to objects of a VM.
//!
//! A handle names a slot in the VM's table of roots, which keeps the object alive. Handles that are clones of each other
//! share a slot. They may be kept beyond the VM's life and dropped at any time, on any thread.

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use super::shared::{Context, GLOBALS, Inner, Shared};
use crate::runtime::value::Value as Raw;
use crate::tier1::State;

/// A counted reference to a root slot.
pub(crate) struct Handle {
    pub inner: Arc<Inner>,
    slot: u32,
}

impl Handle {
    /// Roots `v`.
    #[inline]
    pub fn new(st: &mut State, shared: &Shared, inner: &Arc<Inner>, v: Raw) -> Handle {
        Handle {
            inner: inner.clone(),
            slot: shared.root(st, v),
        }
    }

    /// The table of globals, whose slot every VM has from the beginning.
    pub fn globals(inner: &Arc<Inner>) -> Handle {
        inner.lock.lock().add_reference(GLOBALS);
        Handle {
            inner: inner.clone(),
            slot: GLOBALS,
        }
    }

    /// The object, for use by its own VM.
    #[inline]
    pub fn get(&self, st: &State) -> Raw {
        st.handles.get(self.slot)
    }

    /// The object, if it belongs to the context's VM.
    #[inline]
    pub fn in_context(&self, cx: Context<'_>) -> Result<Raw> {
        cx.with(|st| self.in_vm(st, &cx.vm.inner))
    }

    /// The object, if it belongs to this VM.
    #[inline]
    pub fn in_vm(&self, st: &State, inner: &Arc<Inner>) -> Result<Raw> {
        if Arc::ptr_eq(&self.inner, inner) {
            Ok(self.get(st))
        } else {
            Err(Error::WrongVm)
        }
    }

    /// Whether both name the same object.
    pub fn same(&self, other: &Handle) -> bool {
        if !Arc::ptr_eq(&self.inner, &other.inner) {
            return false;
        }
        self.slot == other.slot
            || self
                .inner
                .with(|st, _| self.get(st).raw_equals(other.get(st)))
                .unwrap_or(false)
    }

    /// The object's address, or null if the VM is gone.
    pub fn to_pointer(&self) -> *const c_void {
        self.inner
            .with(|st, _| self.get(st).payload() as usize as *const c_void)
            .unwrap_or(std::ptr::null())
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        self.inner.lock.lock().add_reference(self.slot);
        Handle {
            inner: self.inner.clone(),
            slot: self.slot,
        }
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        self.inner.release(self.slot);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", self.to_pointer())
    }
}

/// Defines the common parts of a handle type.
macro_rules! handle_type {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $test:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub(crate) $crate::embed::handle::Handle);

        impl $name {
            /// The object's address, to tell objects apart; null if the VM is gone.
            pub fn to_pointer(&self) -> *const std::ffi::c_void {
                self.0.to_pointer()
            }
        }

        /// Identity, or equal bytes for strings.
        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                self.0.same(&other.0)
            }
        }

        impl $crate::embed::convert::IntoLua for $name {
            fn into_lua(self, _: &$crate::embed::Vm) -> $crate::embed::Result<$crate::embed::Value> {
                Ok($crate::embed::Value::from(self))
            }

            #[inline]
            fn into_raw(
                self,
                cx: $crate::embed::shared::Context<'_>,
            ) -> $crate::embed::Result<$crate::embed::convert::RawValue> {
                self.0.in_context(cx).map($crate::embed::convert::RawValue)
            }
        }

        impl $crate::embed::convert::IntoLua for &$name {
            fn into_lua(self, _: &$crate::embed::Vm) -> $crate::embed::Result<$crate::embed::Value> {
                Ok($crate::embed::Value::from(self.clone()))
            }

            #[inline]
            fn into_raw(
                self,
                cx: $crate::embed::shared::Context<'_>,
            ) -> $crate::embed::Result<$crate::embed::convert::RawValue> {
                self.0.in_context(cx).map($crate::embed::convert::RawValue)
            }
        }

        impl $crate::embed::convert::FromLua for $name {
            fn from_lua(value: $crate::embed::Value, vm: &$crate::embed::Vm) -> $crate::embed::Result<$name> {
                $crate::embed::convert::through_raw(value, vm)
            }

            #[inline]
            fn from_raw(
                raw: $crate::embed::convert::RawValue,
                cx: $crate::embed::shared::Context<'_>,
            ) -> $crate::embed::Result<$name> {
                let test: fn($crate::runtime::value::Value) -> bool = $test;
                if !test(raw.0) {
                    return Err($crate::embed::Error::conversion($expected, raw.0));
                }
                Ok($name(cx.handle(raw.0)))
            }
        }
    };
}
pub(crate) use handle_type;

impl Context<'_> {
    /// Roots `v`.
    #[inline]
    pub(crate) fn handle(&self, v: Raw) -> Handle {
        self.with(|st| Handle::new(st, self.shared, &self.vm.inner, v))
    }
}
