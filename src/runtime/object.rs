//! What every heap object begins with, and the pointer type to them.
//!
//! Objects are cells of the [heap](crate::heap). The first byte of each is the barrier byte: a store of any
//! value into a container whose byte is not zero must log the container first
//! ([`Heap::barrier`](crate::heap::Heap::barrier)). The mark bits are not here but in the blocks' side bitmaps.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

/// What a heap object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    ShortString,
    LongString,
    Table,
    Closure,
    Native,
    Cell,
    Userdata,
    Coroutine,
    Proto,
}

/// The common first bytes of heap objects. Each kind has fields of its own in the rest of the word.
#[repr(C, align(8))]
pub struct Header {
    /// Nonzero: a store into this object must call the write barrier.
    pub barrier: Cell<u8>,
    pub kind: Kind,
}

/// A type of heap object: `#[repr(C)]`, beginning with the two bytes of [`Header`].
///
/// # Safety
/// Implementors are `#[repr(C)]` with `barrier: Cell<u8>` at offset 0 and `kind: Kind` at offset 1.
pub unsafe trait Object {}

// SAFETY: it is the header itself.
unsafe impl Object for Header {}

/// A pointer to a heap object.
///
/// It is valid while the collector can reach the object. The collector runs at safepoints of the
/// interpreter only, never inside an allocation, so code between two safepoints may hold any `Gc`; across
/// a safepoint it must be reachable from a root (a stack slot, a table, a handle).
#[repr(transparent)]
pub struct Gc<T: Object>(NonNull<T>);

impl<T: Object> Gc<T> {
    /// # Safety
    /// `p` must point to an initialised object of the type.
    #[inline(always)]
    pub unsafe fn from_ptr(p: NonNull<T>) -> Gc<T> {
        Gc(p)
    }

    /// The pointer in a payload. Only for payloads whose tag or kind says that they are of this type.
    #[inline(always)]
    pub(crate) fn from_addr(addr: u64) -> Gc<T> {
        debug_assert!(addr != 0);
        // SAFETY: payloads of collectable values are never null.
        Gc(unsafe { NonNull::new_unchecked(addr as usize as *mut T) })
    }

    #[inline(always)]
    pub fn addr(self) -> u64 {
        self.0.as_ptr() as usize as u64
    }

    #[inline(always)]
    pub fn as_ptr(self) -> *mut T {
        self.0.as_ptr()
    }

    #[inline(always)]
    pub fn header(self) -> Gc<Header> {
        Gc(self.0.cast())
    }

    /// This object as another kind. Only after checking [`Header::kind`].
    #[inline(always)]
    pub(crate) fn cast<U: Object>(self) -> Gc<U> {
        Gc(self.0.cast())
    }
}

impl<T: Object> Clone for Gc<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Object> Copy for Gc<T> {}

impl<T: Object> PartialEq for Gc<T> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Object> Eq for Gc<T> {}

impl<T: Object> Deref for Gc<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the type's rule: a `Gc` is used only while its object is alive. All mutable fields of
        // objects are `Cell`s, so shared references are enough.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Object> fmt::Debug for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.addr())
    }
}
