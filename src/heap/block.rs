//! Blocks: where the cells of up to [`SMALL_MAX`] bytes live.
//!
//! A block is 32 KiB, aligned to its size and cut into cells of one size class; so the block of a cell is found
//! by masking its address. Blocks are carved from 1 MiB reservations. In the block's head lie two bitmaps with a
//! bit per 16-byte granule, of which those at cell starts are used:
//!
//! - `mark`: the collector's mark bits of the cycle in progress;
//! - `live`: the mark bits at the last sweep. A cell ahead of the class's walk whose bit is clear is free.
//!
//! Sweeping a block is copying `mark` to `live` and counting bits; dead cells are not touched. The allocator walks
//! `live` for runs of free cells ("spans"), which outlive the clearing of `mark` for the next cycle.
//!
//! Only the heap's own files use this module.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::OutOfMemory;

/// Bytes in a block, head included.
pub const BLOCK_SIZE: usize = 32 << 10;
/// What sizes are rounded to, and the distance between mark bits.
pub const GRANULE: usize = 16;
/// Bytes in a reservation.
const REGION_SIZE: usize = 1 << 20;
const REGION_BLOCKS: usize = REGION_SIZE / BLOCK_SIZE;
const REGION_LAYOUT: Layout = match Layout::from_size_align(REGION_SIZE, REGION_SIZE) {
    Ok(layout) => layout,
    Err(_) => panic!("the region size is a power of two"),
};
const WORDS: usize = BLOCK_SIZE / GRANULE / 64;

/// Where a block's first cell lies.
const FIRST: usize = size_of::<Block>();

/// Cells per block of the classes above 256 bytes. Their sizes are what fills a block, 10 to 25 % apart.
const CELLS_PER_BLOCK: [usize; 20] = [
    100, 83, 71, 62, 55, 50, 41, 35, 31, 27, 24, 20, 17, 15, 13, 11, 10, 8, 7, 6,
];

/// The number of size classes.
pub const CLASSES: usize = 16 + CELLS_PER_BLOCK.len();

/// The cell size of each class.
pub const CLASS_SIZE: [u32; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let mut i = 0;
    while i < CLASSES {
        sizes[i] = if i < 16 {
            ((i + 1) * GRANULE) as u32
        } else {
            ((BLOCK_SIZE - FIRST) / CELLS_PER_BLOCK[i - 16] / GRANULE * GRANULE) as u32
        };
        i += 1;
    }
    sizes
};

/// The largest size that is served from blocks.
pub const SMALL_MAX: usize = CLASS_SIZE[CLASSES - 1] as usize;

/// The class of each size, indexed by the size in granules.
static CLASS_OF: [u8; SMALL_MAX / GRANULE + 1] = {
    let mut classes = [0; SMALL_MAX / GRANULE + 1];
    let (mut class, mut granules) = (0, 0);
    while granules < classes.len() {
        if granules * GRANULE > CLASS_SIZE[class] as usize {
            class += 1;
        }
        classes[granules] = class as u8;
        granules += 1;
    }
    classes
};

/// The size class of cells that hold `size` bytes, which must not exceed [`SMALL_MAX`].
#[inline(always)]
pub fn class_of(size: usize) -> usize {
    CLASS_OF[size.div_ceil(GRANULE)] as usize
}

/// Where a block stands in the cycle of allocation and sweeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// The last marking is over and its result not yet in `live`.
    Unswept,
    /// Swept: in its class's list of available blocks, being allocated from, or without free cells.
    Swept,
}

/// A block's head. The cells follow it.
#[repr(C, align(16))]
pub struct Block {
    pub mark: [u64; WORDS],
    live: [u64; WORDS],
    /// The next block in the list this block is in.
    pub next: *mut Block,
    /// Index of the reservation.
    region: u32,
    pub cell_size: u32,
    /// Offset of the end of the last cell.
    end: u32,
    /// Cells accounted for: alive at the last sweep, or handed out since.
    pub charged: u32,
    pub class: u8,
    pub state: BlockState,
}

/// What sweeping a block found.
pub struct Swept {
    /// Cells that were accounted for and are free now.
    pub freed: u32,
    /// Cells alive.
    pub live: u32,
    pub cells: u32,
}

impl Block {
    /// The block that a cell of at most [`SMALL_MAX`] bytes lies in.
    #[inline(always)]
    pub fn of(cell: *mut u8) -> *mut Block {
        cell.map_addr(|a| a & !(BLOCK_SIZE - 1)).cast()
    }

    /// Word and bit of a cell in the bitmaps.
    #[inline(always)]
    pub fn bit(cell: *mut u8) -> (usize, u64) {
        let granule = (cell.addr() & (BLOCK_SIZE - 1)) / GRANULE;
        (granule / 64, 1 << (granule % 64))
    }

    /// Where the walk over a block's cells begins.
    pub const START: u32 = FIRST as u32;

    /// The first run of free cells at or behind offset `from`: its offsets, the end exclusive.
    pub fn next_span(&self, from: u32) -> Option<(u32, u32)> {
        let mut start = from;
        while start < self.end && self.is_live(start) {
            start += self.cell_size;
        }
        (start < self.end).then(|| (start, self.next_live(start)))
    }

    fn is_live(&self, offset: u32) -> bool {
        let granule = offset as usize / GRANULE;
        self.live[granule / 64] >> (granule % 64) & 1 != 0
    }

    /// The first live cell behind `offset`, or the end.
    fn next_live(&self, offset: u32) -> u32 {
        let granule = offset as usize / GRANULE;
        let mut word = granule / 64;
        let mut bits = self.live[word] & (!0 << (granule % 64));
        while bits == 0 {
            word += 1;
            if word == WORDS {
                return self.end;
            }
            bits = self.live[word];
        }
        ((word * 64 + bits.trailing_zeros() as usize) * GRANULE) as u32
    }

    /// Makes the mark bits of the finished marking the live bits; clears them unless they are sticky.
    pub fn sweep(&mut self, sticky: bool) -> Swept {
        debug_assert!(self.state == BlockState::Unswept);
        self.live = self.mark;
        if !sticky {
            self.mark = [0; WORDS];
        }
        self.state = BlockState::Swept;
        let live = self.live.iter().map(|w| w.count_ones()).sum();
        let freed = self.charged - live;
        self.charged = live;
        Swept {
            freed,
            live,
            cells: (self.end - Block::START) / self.cell_size,
        }
    }
}

/// A reservation that no heap uses, or null. Its pages are in memory already, so that a program which makes many VMs,
/// one after the other, does not have the system map and clear them each time.
static SPARE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Memory of [`REGION_LAYOUT`], uninitialised; null if there is none.
fn allocate_region() -> *mut u8 {
    let spare = SPARE.swap(ptr::null_mut(), Ordering::Acquire);
    if spare.is_null() {
        // SAFETY: the layout's size is not zero.
        unsafe { alloc(REGION_LAYOUT) }
    } else {
        spare
    }
}

/// Frees what [`allocate_region`] has returned, or keeps it as the spare one.
///
/// # Safety
/// `base` is not null, and nobody uses the region any longer.
unsafe fn free_region(base: *mut u8) {
    let previous = SPARE.swap(base, Ordering::AcqRel);
    if !previous.is_null() {
        // SAFETY: allocated with this layout; the swap has made it ours alone.
        unsafe { dealloc(previous, REGION_LAYOUT) };
    }
}

/// A 1 MiB reservation.
struct Region {
    /// Null for an entry not in use.
    base: *mut u8,
    /// A bit per block that is in no class.
    free: u32,
}

/// All reservations, and the pool of their blocks that no class uses.
#[derive(Default)]
pub struct Regions {
    regions: Vec<Region>,
    /// No region below this index has free blocks.
    first_free: usize,
}

impl Regions {
    /// Takes a block for `class` from the pool, reserving memory when the pool is empty.
    pub fn take(&mut self, class: usize) -> Result<NonNull<Block>, OutOfMemory> {
        let found = self.regions[self.first_free..]
            .iter()
            .position(|r| r.free != 0);
        let index = match found {
            Some(i) => self.first_free + i,
            None => self.reserve()?,
        };
        self.first_free = index;
        let region = &mut self.regions[index];
        let i = region.free.trailing_zeros() as usize;
        region.free &= !(1 << i);
        let cell_size = CLASS_SIZE[class];
        let cells = (BLOCK_SIZE - FIRST) as u32 / cell_size;
        let head = Block {
            mark: [0; WORDS],
            live: [0; WORDS],
            next: ptr::null_mut(),
            region: index as u32,
            cell_size,
            end: Block::START + cells * cell_size,
            charged: 0,
            class: class as u8,
            state: BlockState::Swept,
        };
        // SAFETY: the region has `REGION_BLOCKS` blocks of which `i` is free, so nothing else refers to it; the
        // region is aligned to a multiple of the block size.
        unsafe {
            let block = region.base.add(i * BLOCK_SIZE).cast::<Block>();
            block.write(head);
            Ok(NonNull::new_unchecked(block))
        }
    }

    /// Returns an empty block to the pool.
    pub fn put(&mut self, block: NonNull<Block>) {
        // SAFETY: blocks in use have initialised heads.
        let index = unsafe { block.as_ref().region } as usize;
        let region = &mut self.regions[index];
        let i = (block.as_ptr().addr() - region.base.addr()) / BLOCK_SIZE;
        debug_assert!(region.free & (1 << i) == 0);
        region.free |= 1 << i;
        self.first_free = self.first_free.min(index);
    }

    /// Gets a reservation from the system and returns its index.
    fn reserve(&mut self) -> Result<usize, OutOfMemory> {
        let index = match self.regions.iter().position(|r| r.base.is_null()) {
            Some(index) => index,
            None => {
                self.regions.try_reserve(1)?;
                self.regions.push(Region {
                    base: ptr::null_mut(),
                    free: 0,
                });
                self.regions.len() - 1
            }
        };
        let base = allocate_region();
        if base.is_null() {
            return Err(OutOfMemory);
        }
        const { assert!(REGION_BLOCKS == u32::BITS as usize) };
        self.regions[index] = Region { base, free: !0 };
        Ok(index)
    }

    /// Gives reservations without a block in use back to the system.
    pub fn release_empty(&mut self) {
        for region in &mut self.regions {
            if region.free == !0 && !region.base.is_null() {
                // SAFETY: no block of it is in use.
                unsafe { free_region(region.base) };
                *region = Region {
                    base: ptr::null_mut(),
                    free: 0,
                };
            }
        }
    }

    /// Bytes reserved from the system.
    pub fn reserved(&self) -> usize {
        self.regions.iter().filter(|r| !r.base.is_null()).count() * REGION_SIZE
    }

    /// All blocks in use.
    pub fn blocks(&self) -> impl Iterator<Item = NonNull<Block>> {
        self.regions
            .iter()
            .filter(|r| !r.base.is_null())
            .flat_map(|r| {
                (0..REGION_BLOCKS)
                    .filter(|i| r.free & (1 << i) == 0)
                    .map(|i| {
                        // SAFETY: within the region, which is not null.
                        unsafe { NonNull::new_unchecked(r.base.add(i * BLOCK_SIZE).cast()) }
                    })
            })
    }
}

impl Drop for Regions {
    fn drop(&mut self) {
        for region in &self.regions {
            if !region.base.is_null() {
                // SAFETY: the heap that used it is going away.
                unsafe { free_region(region.base) };
            }
        }
    }
}
