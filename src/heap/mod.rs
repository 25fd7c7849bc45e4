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
//! block    blocks, bitmaps, reservations        large     cells above SMALL_MAX
//! cycle    the phases of a collection           pacing    when to collect, and how much at a time
//! mark     grey objects, write barrier, roots   trace     what each kind of object refers to
//! weak     weak tables and ephemerons           finalize  objects with finalizers
//! owners   objects that own host memory         meter     memory of work outside the heap
//! ```

mod alloc;
mod block;
mod cycle;
#[cfg(test)]
mod faults;
mod finalize;
mod large;
mod mark;
mod meter;
mod owners;
mod pacing;
#[cfg(test)]
mod tests;
mod trace;
mod weak;

use std::collections::TryReserveError;
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::AtomicU32;

#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
pub use block::SMALL_MAX;
pub use block::GRANULE;
use block::{Block, CLASSES, Regions};
use finalize::Finalizers;
use large::LargeCells;
use mark::Marking;
pub use mark::{Marker, Roots};
pub use meter::Meter;
use owners::Owners;
use pacing::Pacing;
pub use pacing::{CANCEL, COLLECT, Mode};

/// An allocation failed: the limit or the system's memory is exhausted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// Makes room for one more entry of a list of the heap's own.
#[inline]
fn reserve<T>(list: &mut Vec<T>) -> Result<(), OutOfMemory> {
    #[cfg(test)]
    faults::check()?;
    Ok(list.try_reserve(1)?)
}

impl From<TryReserveError> for OutOfMemory {
    fn from(_: TryReserveError) -> OutOfMemory {
        OutOfMemory
    }
}

/// Where a size class allocates next. Machine code does what `Heap::alloc_class` does.
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

/// Where in a [`Heap`] machine code finds the fields of a size class's [`Bump`], and the size of its cells.
#[cfg(any(feature = "internals", all(feature = "jit", target_arch = "x86_64", target_os = "linux")))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spans {
    pub cursor: usize,
    pub limit: usize,
    pub free_list: usize,
    pub free_count: usize,
    pub cell: usize,
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

/// Where the collector is; see [`cycle`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Pause,
    Mark,
    Strings,
    Owners,
    Sweep,
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
    phase: Phase,
    /// Mark bits survive the sweep: the mode is generational.
    sticky: bool,
    /// Bytes accounted for, unused rests of spans and free lists included.
    charged: usize,
    limit: usize,
    /// The collector is asked for when `charged` reaches this.
    trigger: usize,
    requested: bool,
    /// There has been no memory for something since the last cycle: a step will not do.
    refused: bool,
    /// See [`Heap::sunk`].
    sunk_left: u32,
    /// A word of the VM's state that is polled, or null.
    interrupt: *const AtomicU32,
    stress: bool,
    fail_at: Option<u64>,
    /// All bytes ever charged, less those given back unused.
    allocated: u64,
    marking: Marking,
    finalizers: Finalizers,
    owners: Owners,
    /// Classes below this one have been swept in this cycle.
    sweep_class: usize,
    pacing: Pacing,
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
        let mut heap = Heap {
            bump: [bump; CLASSES],
            classes: [class; CLASSES],
            regions: Regions::default(),
            large: LargeCells::default(),
            held: 0,
            phase: Phase::Pause,
            sticky: false,
            charged: 0,
            limit: usize::MAX,
            trigger: usize::MAX,
            requested: false,
            refused: false,
            sunk_left: pacing::SUNK_MANY,
            interrupt: ptr::null(),
            stress: false,
            fail_at: None,
            allocated: 0,
            marking: Marking::default(),
            finalizers: Finalizers::default(),
            owners: Owners::default(),
            sweep_class: 0,
            pacing: Pacing::default(),
        };
        heap.schedule_cycle(0);
        heap
    }

    /// The offset of the byte that says what [`Heap::should_collect`] does. Machine code reads it.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    pub const REQUESTED: usize = offset_of!(Heap, requested);

    /// The offset of the number that [`Heap::sunk`] counts down. Machine code does that, too.
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    pub const SUNK_LEFT: usize = offset_of!(Heap, sunk_left);

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

impl Drop for Heap {
    fn drop(&mut self) {
        self.release_all();
    }
}
