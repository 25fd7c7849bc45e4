//! Large cells: those above [`SMALL_MAX`](super::block::SMALL_MAX) bytes, each a system allocation of its own.
//!
//! A hidden 24-byte head precedes the cell, so that its address is 8 modulo 16, while that of a cell in a block
//! is 0 modulo 16: one bit of the address tells which kind of cell it is.
//!
//! Only the heap's own files use this module.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use super::{OutOfMemory, reserve};

/// What precedes a large cell.
#[repr(C)]
struct LargeHead {
    /// Bytes behind the head.
    size: usize,
    /// Where the heap's list has it.
    index: u32,
    /// The sweep that examined it last, or that preceded its allocation.
    sweep: u32,
    marked: bool,
}

const HEAD: usize = size_of::<LargeHead>();
const _: () = assert!(HEAD == 24);

/// Whether a cell is a large one, judging by its address.
#[inline(always)]
pub fn is_large(cell: *mut u8) -> bool {
    cell.addr() & 8 != 0
}

/// The list of all large cells.
#[derive(Default)]
pub struct LargeCells {
    list: Vec<NonNull<LargeHead>>,
    /// Counts sweeps.
    sweep: u32,
    /// Entries of the list that the sweep in progress has still to examine: those below this index.
    unswept: usize,
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEAD)?, 16).ok()
}

impl LargeCells {
    /// The head of a large cell.
    fn head(cell: NonNull<u8>) -> NonNull<LargeHead> {
        debug_assert!(is_large(cell.as_ptr()));
        // SAFETY: large cells have a head before them.
        unsafe { cell.sub(HEAD).cast() }
    }

    /// What is accounted for a cell of `size` bytes.
    pub fn footprint(size: usize) -> usize {
        size + HEAD
    }

    pub fn alloc(&mut self, size: usize) -> Result<NonNull<u8>, OutOfMemory> {
        let layout = layout(size).ok_or(OutOfMemory)?;
        let index = u32::try_from(self.list.len()).map_err(|_| OutOfMemory)?;
        reserve(&mut self.list)?;
        // SAFETY: the size is not zero.
        let head = NonNull::new(unsafe { alloc(layout) })
            .ok_or(OutOfMemory)?
            .cast::<LargeHead>();
        // SAFETY: just allocated with room for the head and aligned to 16.
        unsafe {
            head.write(LargeHead {
                size,
                index,
                sweep: self.sweep,
                marked: false,
            })
        };
        self.list.push(head);
        // SAFETY: the allocation is longer than the head.
        Ok(unsafe { head.cast::<u8>().add(HEAD) })
    }

    /// Frees a cell; returns its footprint.
    pub fn free(&mut self, cell: NonNull<u8>) -> usize {
        let head = LargeCells::head(cell);
        // SAFETY: cells in the list have initialised heads.
        let (index, size) = unsafe { (head.as_ref().index as usize, head.as_ref().size) };
        self.list.swap_remove(index);
        if let Some(moved) = self.list.get_mut(index) {
            // SAFETY: as above.
            unsafe { moved.as_mut().index = index as u32 };
        }
        // SAFETY: allocated with this layout in `alloc`, and no longer in the list.
        unsafe { dealloc(head.cast().as_ptr(), layout(size).unwrap_unchecked()) };
        LargeCells::footprint(size)
    }

    /// Marks a cell; returns whether it was unmarked.
    pub fn mark(cell: NonNull<u8>) -> bool {
        // SAFETY: large cells have initialised heads, which nothing refers to across calls.
        let head = unsafe { LargeCells::head(cell).as_mut() };
        !std::mem::replace(&mut head.marked, true)
    }

    pub fn is_marked(cell: NonNull<u8>) -> bool {
        // SAFETY: as in `mark`.
        unsafe { LargeCells::head(cell).as_ref().marked }
    }

    /// Whether the sweep in progress has found or will find the cell dead.
    pub fn is_dead(&self, cell: NonNull<u8>) -> bool {
        // SAFETY: as in `mark`.
        let head = unsafe { LargeCells::head(cell).as_ref() };
        !head.marked && head.sweep != self.sweep
    }

    /// Begins a sweep: cells allocated from now on survive it.
    pub fn begin_sweep(&mut self) {
        self.sweep = self.sweep.wrapping_add(1);
        self.unswept = self.list.len();
    }

    /// Sweeps one cell. Returns the footprint freed (0 if the cell lives), or `None` at the end.
    pub fn sweep_one(&mut self, sticky: bool) -> Option<usize> {
        // Explicit frees may have shortened the list. They move its last entry to a place that may be examined
        // again, which does no harm because that entry carries this sweep's number or is still to be examined.
        self.unswept = self.unswept.min(self.list.len()).checked_sub(1)?;
        // SAFETY: cells in the list have initialised heads.
        let head = unsafe { self.list[self.unswept].as_mut() };
        if head.sweep == self.sweep {
            return Some(0);
        }
        head.sweep = self.sweep;
        if head.marked {
            head.marked = sticky;
            return Some(0);
        }
        // SAFETY: the cell lies behind the head.
        Some(self.free(unsafe { self.list[self.unswept].cast::<u8>().add(HEAD) }))
    }

    /// Clears all mark bits.
    pub fn unmark_all(&mut self) {
        for head in &mut self.list {
            // SAFETY: as in `sweep_one`.
            unsafe { head.as_mut().marked = false };
        }
    }
}

impl Drop for LargeCells {
    fn drop(&mut self) {
        for head in &self.list {
            // SAFETY: allocated with this layout in `alloc`; the heap that used it is going away.
            unsafe {
                dealloc(
                    head.cast().as_ptr(),
                    layout(head.as_ref().size).unwrap_unchecked(),
                )
            };
        }
    }
}
