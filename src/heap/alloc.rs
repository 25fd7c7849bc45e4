//! The allocator: cells, spans and free lists, accounting and the limit.
//!
//! Each class bumps through a span of free cells of its current block; then it takes from its list of cells freed
//! explicitly; then it looks for the next span: in the current block, in a swept block, in a block that it sweeps
//! now, in a fresh block. Whole spans are charged when they are taken, and their unused rest counts as unused when
//! someone asks.

#[cfg(any(feature = "internals", all(feature = "jit", target_arch = "x86_64", target_os = "linux")))]
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use super::block::{Block, BlockState, CLASS_SIZE, CLASSES, SMALL_MAX, class_of};
use super::large::{LargeCells, is_large};
use super::mark::prefetch;
use super::{Heap, OutOfMemory};
#[cfg(any(feature = "internals", all(feature = "jit", target_arch = "x86_64", target_os = "linux")))]
use super::{Bump, Spans};

/// What free memory is filled with in debug builds.
const POISON: u8 = 0xdb;

impl Heap {
    /// An uninitialised cell of at least `size` bytes, aligned to 16 up to [`SMALL_MAX`] bytes and to 8 above.
    ///
    /// The cell is unmarked. Who allocates an object writes its header at once, with barrier byte 0.
    #[inline(always)]
    pub fn alloc(&mut self, size: usize) -> Result<NonNull<u8>, OutOfMemory> {
        if size <= SMALL_MAX {
            self.alloc_class(class_of(size))
        } else {
            self.alloc_large(size)
        }
    }

    /// Where machine code allocates cells of `size` bytes, at most [`SMALL_MAX`].
    #[cfg(any(feature = "internals", all(feature = "jit", target_arch = "x86_64", target_os = "linux")))]
    pub const fn spans_of(size: usize) -> Spans {
        let mut class = 0;
        while (CLASS_SIZE[class] as usize) < size {
            class += 1;
        }
        let bump = offset_of!(Heap, bump) + class * size_of::<Bump>();
        Spans {
            cursor: bump + offset_of!(Bump, cursor),
            limit: bump + offset_of!(Bump, limit),
            free_list: bump + offset_of!(Bump, free_list),
            free_count: bump + offset_of!(Bump, free_count),
            cell: CLASS_SIZE[class] as usize,
        }
    }

    /// A cell of a size class.
    #[inline(always)]
    fn alloc_class(&mut self, class: usize) -> Result<NonNull<u8>, OutOfMemory> {
        let bump = &mut self.bump[class];
        let cell = bump.cursor;
        if cell != bump.limit {
            // SAFETY: the span is a run of whole cells, and the cursor is not at its end.
            unsafe {
                bump.cursor = cell.add(CLASS_SIZE[class] as usize);
                return Ok(NonNull::new_unchecked(cell));
            }
        }
        let Some(cell) = NonNull::new(bump.free_list) else {
            return self.alloc_slow(class);
        };
        // SAFETY: cells in the list hold the pointer to the next one.
        bump.free_list = unsafe { cell.cast().read() };
        bump.free_count -= 1;
        Ok(cell)
    }

    /// Takes the next span for a class and the first cell of it.
    #[cold]
    #[inline(never)]
    fn alloc_slow(&mut self, class: usize) -> Result<NonNull<u8>, OutOfMemory> {
        self.count_allocation()?;
        let size = CLASS_SIZE[class];
        self.check_limit(size as usize)?;
        let (block, start, end) = loop {
            let super::Class {
                current, position, ..
            } = self.classes[class];
            // SAFETY: the current block of a class is null or in use.
            if let Some(block) = unsafe { current.as_mut() }
                && let Some((start, end)) = block.next_span(position)
            {
                break (block, start, end);
            }
            self.next_block(class)?;
        };
        // Near the limit no class may take more than a small part of what is left.
        let most = if self.fail_at.is_some() {
            1
        } else {
            (self.room() / size as usize / 16).max(1)
        };
        let cells = ((end - start) / size).min(u32::try_from(most).unwrap_or(u32::MAX));
        let end = start + cells * size;
        block.charged += cells;
        let base = (block as *mut Block).cast::<u8>();
        self.classes[class].position = end;
        self.charge_unchecked((cells * size) as usize);
        let bump = &mut self.bump[class];
        // SAFETY: the offsets lie in the block.
        unsafe {
            bump.cursor = base.add((start + size) as usize);
            bump.limit = base.add(end as usize);
            Ok(NonNull::new_unchecked(base.add(start as usize)))
        }
    }

    /// Makes another block with free cells the current one of the class.
    fn next_block(&mut self, class: usize) -> Result<(), OutOfMemory> {
        let block = loop {
            let c = &mut self.classes[class];
            if let Some(mut block) = NonNull::new(c.available) {
                // SAFETY: blocks in the lists are in use.
                c.available = unsafe { block.as_mut().next };
                break block;
            }
            if self.held >> class & 1 != 0 || c.unswept.is_null() {
                break self.regions.take(class)?;
            }
            self.sweep_block(class);
        };
        let c = &mut self.classes[class];
        c.current = block.as_ptr();
        c.position = Block::START;
        Ok(())
    }

    /// Sweeps the first unswept block of a class: it becomes available, returns to the pool, or has no free cells.
    /// An empty one is kept if the class has no other. Returns whether there was one.
    pub(super) fn sweep_block(&mut self, class: usize) -> bool {
        let c = &mut self.classes[class];
        let Some(mut pointer) = NonNull::new(c.unswept) else {
            return false;
        };
        // SAFETY: blocks in the lists are in use.
        let block = unsafe { pointer.as_mut() };
        c.unswept = block.next;
        let swept = block.sweep(self.sticky);
        self.charged -= (swept.freed * block.cell_size) as usize;
        if swept.live == 0 && !c.available.is_null() {
            self.regions.put(pointer);
        } else if swept.live < swept.cells {
            block.next = c.available;
            c.available = pointer.as_ptr();
            if cfg!(debug_assertions) {
                poison_free_cells(pointer);
            }
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn alloc_large(&mut self, size: usize) -> Result<NonNull<u8>, OutOfMemory> {
        self.count_allocation()?;
        let footprint = size
            .checked_add(LargeCells::footprint(0))
            .ok_or(OutOfMemory)?;
        self.check_limit(footprint)?;
        let cell = self.large.alloc(size)?;
        self.charge_unchecked(footprint);
        Ok(cell)
    }

    /// Frees a cell that nothing refers to any longer. For storage that has exactly one owner, not for objects.
    ///
    /// `cell` must have been allocated with this size from this heap, and not be used again.
    pub fn free(&mut self, cell: NonNull<u8>, size: usize) {
        if size > SMALL_MAX {
            self.charged -= self.large.free(cell);
            return;
        }
        let block = Block::of(cell.as_ptr());
        let (word, bit) = Block::bit(cell.as_ptr());
        // SAFETY: the block of a cell in use is in use; nothing else refers to its head now.
        let swept = unsafe {
            (*block).mark[word] &= !bit;
            (*block).state == BlockState::Swept
        };
        // In an unswept block the sweep finds the cell. While failures are injected, cells must not be handed out
        // without being counted; the next sweep finds them too.
        if swept && self.fail_at.is_none() {
            let class = class_of(size);
            if cfg!(debug_assertions) {
                // SAFETY: the caller gives the cell up.
                unsafe { cell.write_bytes(POISON, CLASS_SIZE[class] as usize) };
            }
            let bump = &mut self.bump[class];
            // SAFETY: cells hold at least 16 bytes.
            unsafe { cell.cast().write(bump.free_list) };
            bump.free_list = cell.as_ptr();
            bump.free_count += 1;
        }
    }

    /// Bytes that an allocation of `size` really holds: what a growing array may use of its cell.
    #[inline]
    #[cfg(test)]
    pub fn usable_size(size: usize) -> usize {
        if size <= SMALL_MAX {
            CLASS_SIZE[class_of(size)] as usize
        } else {
            size
        }
    }

    /// Whether a cell is marked.
    #[inline(always)]
    pub(super) fn is_cell_marked(cell: NonNull<u8>) -> bool {
        if is_large(cell.as_ptr()) {
            return LargeCells::is_marked(cell);
        }
        let (word, bit) = Block::bit(cell.as_ptr());
        // SAFETY: the block of a cell in use is in use.
        unsafe { (*Block::of(cell.as_ptr())).mark[word] & bit != 0 }
    }

    /// Sets a cell's mark bit; returns whether it was clear.
    #[inline(always)]
    pub(super) fn mark_cell(cell: NonNull<u8>) -> bool {
        if is_large(cell.as_ptr()) {
            return LargeCells::mark(cell);
        }
        let (word, bit) = Block::bit(cell.as_ptr());
        // SAFETY: the block of a cell in use is in use, and nothing refers to its head now.
        let mark = unsafe { &mut (*Block::of(cell.as_ptr())).mark[word] };
        let unmarked = *mark & bit == 0;
        *mark |= bit;
        unmarked
    }

    /// Whether the sweep in progress has still to free this cell. Never true between cycles and during marking.
    #[inline]
    pub(super) fn is_cell_dead(&self, cell: NonNull<u8>) -> bool {
        if is_large(cell.as_ptr()) {
            return self.large.is_dead(cell);
        }
        // SAFETY: the block of a cell in use is in use.
        let unswept = unsafe { (*Block::of(cell.as_ptr())).state == BlockState::Unswept };
        unswept && !Heap::is_cell_marked(cell)
    }

    /// Asks for what [`Heap::is_cell_dead`] will look at.
    #[inline(always)]
    pub(super) fn prefetch_cell_mark(cell: NonNull<u8>) {
        let block = Block::of(cell.as_ptr());
        // SAFETY: the block of a cell in use is in use; only addresses are computed.
        unsafe {
            prefetch((&raw const (*block).mark[Block::bit(cell.as_ptr()).0]).cast());
            prefetch((&raw const (*block).state).cast());
        }
    }

    // Accounting.

    /// Accounts for host memory that an object is about to own, and counts as an allocation.
    pub fn charge(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        self.count_allocation()?;
        self.check_limit(bytes)?;
        self.charge_unchecked(bytes);
        Ok(())
    }

    /// The reverse of [`Heap::charge`].
    pub fn discharge(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.charged);
        self.charged = self.charged.saturating_sub(bytes);
    }

    pub(super) fn charge_unchecked(&mut self, bytes: usize) {
        self.charged += bytes;
        self.allocated += bytes as u64;
        if self.charged >= self.trigger {
            self.request();
        }
    }

    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.charged)
    }

    fn check_limit(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        if bytes > self.room() {
            self.return_spans();
            if bytes > self.room() {
                self.refused = true;
                self.request();
                return Err(OutOfMemory);
            }
        }
        Ok(())
    }

    /// Bytes in use: cells, heads of large cells, and charged host memory; dead cells until they are swept.
    pub fn used(&self) -> usize {
        let unused: usize = (0..CLASSES)
            .map(|class| {
                let bump = &self.bump[class];
                bump.limit.addr() - bump.cursor.addr()
                    + bump.free_count * CLASS_SIZE[class] as usize
            })
            .sum();
        self.charged - unused
    }

    /// Bytes that blocks hold of the system's memory, used or not. Large cells and host memory are not among them.
    pub fn reserved(&self) -> usize {
        self.regions.reserved()
    }

    /// Makes the `n`-th allocation from now fail (0: the next one), and none after it; `None` ends that mode. While
    /// it is on, every allocation takes the slow path and is counted.
    pub fn set_fail_at(&mut self, n: Option<u64>) {
        self.fail_at = n;
        self.return_spans();
        for bump in &mut self.bump {
            bump.free_list = ptr::null_mut();
            bump.free_count = 0;
        }
    }

    /// Allocations left until the injected failure; `u64::MAX` when it has happened.
    pub fn fail_at(&self) -> Option<u64> {
        self.fail_at
    }

    fn count_allocation(&mut self) -> Result<(), OutOfMemory> {
        if let Some(n) = &mut self.fail_at {
            let fails = *n == 0;
            *n = if *n == u64::MAX {
                u64::MAX
            } else {
                n.wrapping_sub(1)
            };
            if fails {
                return Err(OutOfMemory);
            }
        }
        Ok(())
    }

    /// Gives the unused rests of spans back to their blocks.
    pub(super) fn return_spans(&mut self) {
        for (class, bump) in self.bump.iter_mut().enumerate() {
            let rest = bump.limit.addr() - bump.cursor.addr();
            if rest > 0 {
                let c = &mut self.classes[class];
                c.position -= rest as u32;
                // SAFETY: the span was taken from the class's current block.
                unsafe { (*c.current).charged -= rest as u32 / CLASS_SIZE[class] };
                self.charged -= rest;
                self.allocated -= rest as u64;
                bump.limit = bump.cursor;
            }
        }
    }

    /// Makes all blocks unswept and forgets spans and free lists: whatever is not marked is free after the sweep.
    pub(super) fn begin_sweep(&mut self) {
        self.return_spans();
        for (bump, c) in self.bump.iter_mut().zip(&mut self.classes) {
            bump.free_list = ptr::null_mut();
            bump.free_count = 0;
            c.current = ptr::null_mut();
            c.available = ptr::null_mut();
            c.unswept = ptr::null_mut();
        }
        for mut block in self.regions.blocks() {
            // SAFETY: blocks in use have initialised heads, and nothing else refers to them now.
            let b = unsafe { block.as_mut() };
            b.state = BlockState::Unswept;
            let c = &mut self.classes[b.class as usize];
            b.next = c.unswept;
            c.unswept = block.as_ptr();
        }
        self.large.begin_sweep();
    }

    /// Finishes the sweep of blocks and large cells.
    pub(super) fn finish_sweep(&mut self) {
        for class in 0..CLASSES {
            while self.sweep_block(class) {}
        }
        while self.sweep_large_cell().is_some() {}
    }

    /// Sweeps one large cell; `None` if there was none left.
    pub(super) fn sweep_large_cell(&mut self) -> Option<()> {
        let freed = self.large.sweep_one(self.sticky)?;
        self.charged -= freed;
        Some(())
    }

    /// Gives the memory of empty blocks back to the system, as far as whole reservations are empty.
    pub(super) fn release_empty(&mut self) {
        for class in 0..CLASSES {
            let mut list = std::mem::replace(&mut self.classes[class].available, ptr::null_mut());
            while let Some(pointer) = NonNull::new(list) {
                // SAFETY: blocks in the lists are in use.
                let block = unsafe { &mut *list };
                list = block.next;
                if block.charged == 0 {
                    self.regions.put(pointer);
                } else {
                    block.next = self.classes[class].available;
                    self.classes[class].available = pointer.as_ptr();
                }
            }
        }
        self.regions.release_empty();
    }
}

/// Makes uses of dead cells visible.
fn poison_free_cells(block: NonNull<Block>) {
    let mut position = Block::START;
    // SAFETY: the block is in use and swept; its free cells belong to nobody.
    unsafe {
        while let Some((start, end)) = block.as_ref().next_span(position) {
            block
                .cast::<u8>()
                .add(start as usize)
                .write_bytes(POISON, (end - start) as usize);
            position = end;
        }
    }
}
