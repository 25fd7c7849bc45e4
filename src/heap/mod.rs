//! The heap: allocation, accounting, and the incremental mark and sweep collector.
//!
//! Objects and the storage blocks of tables are cells of this heap and never move. Cells of up to
//! [`SMALL_MAX`] bytes come from [blocks](block) of one size class, larger ones from the system. Mark bits lie
//! beside the cells, so that sweeping is bitmap work and needs no destructors; objects that own host memory
//! (coroutines, userdata, prototypes) are registered and released one by one.
//!
//! The collector runs only when the interpreter asks for it at a safepoint ([`Heap::should_collect`]), never inside
//! an allocation. All growth is fallible: what passes the limit or the system's memory is [`OutOfMemory`].
//!
//! ```text
//! alloc    the allocator: spans, free lists, accounting, limit
//! block    blocks, bitmaps, reservations        large    cells above SMALL_MAX
//! ```

mod alloc;
mod block;
mod large;
#[cfg(test)]
mod tests;

use std::collections::TryReserveError;
use std::ptr;

pub use block::SMALL_MAX;
use block::{Block, CLASSES, Regions};
use large::LargeCells;

/// An allocation failed: the limit or the system's memory is exhausted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

impl From<TryReserveError> for OutOfMemory {
    fn from(_: TryReserveError) -> OutOfMemory {
        OutOfMemory
    }
}

/// Where a size class allocates next. Machine code does what [`Heap::alloc_class`] does.
#[derive(Clone, Copy)]
#[repr(C)]
struct Bump {
    /// The next cell of the span, unless equal to `limit`.
    cursor: *mut u8,
    limit: *mut u8,
    /// Cells freed explicitly, each holding a pointer to the next.
    free_list: *mut u8,
    free_count: usize,
}

/// The blocks of a size class. Those without free cells are in no list.
#[derive(Clone, Copy)]
struct Class {
    /// The block being allocated from, and the offset behind the last span taken from it.
    current: *mut Block,
    position: u32,
    /// Swept blocks with free cells.
    available: *mut Block,
    unswept: *mut Block,
}

/// The heap of one VM.
#[repr(C)]
pub struct Heap {
    bump: [Bump; CLASSES],
    classes: [Class; CLASSES],
    regions: Regions,
    large: LargeCells,
    /// A bit per class whose unswept blocks must not be allocated from yet, because a list still names dead cells
    /// of it.
    held: u64,
    /// Mark bits survive the sweep.
    sticky: bool,
    /// Bytes accounted for, unused rests of spans and free lists included.
    charged: usize,
    limit: usize,
    /// The collector is asked for when `charged` reaches this.
    threshold: usize,
    requested: bool,
    stress: bool,
    fail_at: Option<u64>,
    /// All bytes ever charged, less those given back unused.
    allocated: u64,
}

impl Heap {
    /// An empty heap without limit.
    pub fn new() -> Heap {
        let bump = Bump {
            cursor: ptr::null_mut(),
            limit: ptr::null_mut(),
            free_list: ptr::null_mut(),
            free_count: 0,
        };
        let class = Class {
            current: ptr::null_mut(),
            position: 0,
            available: ptr::null_mut(),
            unswept: ptr::null_mut(),
        };
        Heap {
            bump: [bump; CLASSES],
            classes: [class; CLASSES],
            regions: Regions::default(),
            large: LargeCells::default(),
            held: 0,
            sticky: false,
            charged: 0,
            limit: usize::MAX,
            threshold: usize::MAX,
            requested: false,
            stress: false,
            fail_at: None,
            allocated: 0,
        }
    }

    /// Sets the limit on [`Heap::used`], in bytes. What is in use already stays.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Whether the interpreter should call the collector at its next safepoint.
    #[inline(always)]
    pub fn should_collect(&self) -> bool {
        self.requested
    }
}

impl Default for Heap {
    fn default() -> Heap {
        Heap::new()
    }
}
