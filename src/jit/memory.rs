//! Code memory: one region of which every executor's code is a block.
//!
//! The region is memory with two views: code is written and patched through the one, and runs in the other.
//! No page is ever writable and executable at once. Blocks are freed when they are dropped, and the region is
//! unmapped with the last user.
//!
//! Invariants: blocks do not overlap; free ranges are in ascending order and never adjacent; the list of free ranges has
//! room for every block to be freed, so that freeing cannot fail.

use std::ffi::c_void;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Blocks begin at multiples of this.
const ALIGNMENT: u32 = 16;
const PAGE: usize = 4096;
/// An instruction that raises an exception (`int3`).
const TRAP: u8 = 0xCC;

/// Why there is no code memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryError {
    /// A system call has failed.
    System {
        call: &'static str,
        address: usize,
        size: usize,
        errno: i32,
    },
    /// The limit is reached, or what is free is too scattered.
    Exhausted { wanted: usize, free: usize },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            MemoryError::System {
                call,
                address,
                size,
                errno,
            } => {
                let error = std::io::Error::from_raw_os_error(errno);
                write!(
                    f,
                    "{call} of {address:#x}..{:#x}: {error}",
                    address.saturating_add(size)
                )
            }
            MemoryError::Exhausted { wanted, free } => {
                write!(
                    f,
                    "{wanted} bytes of code do not fit: {free} bytes are free"
                )
            }
        }
    }
}

impl std::error::Error for MemoryError {}

/// The system calls that a region is made with.
trait System {
    /// Memory that several views can share, and a writable view of it.
    fn create(&self, size: usize) -> Result<*mut u8, MemoryError>;
    /// Another view of the same memory.
    fn view(&self, of: *mut u8, size: usize) -> Result<*mut u8, MemoryError>;
    /// Makes a view executable, and no longer writable.
    fn make_executable(&self, view: *mut u8, size: usize) -> Result<(), MemoryError>;
}

/// Memory is anonymous, not a file: perf looks for names of code in such mappings only.
struct Linux;

fn failed(call: &'static str, address: usize, size: usize) -> MemoryError {
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    MemoryError::System {
        call,
        address,
        size,
        errno,
    }
}

impl System for Linux {
    fn create(&self, size: usize) -> Result<*mut u8, MemoryError> {
        // SAFETY: the system chooses the address.
        let view = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if view == libc::MAP_FAILED {
            Err(failed("mmap", 0, size))
        } else {
            Ok(view.cast())
        }
    }

    fn view(&self, of: *mut u8, size: usize) -> Result<*mut u8, MemoryError> {
        // SAFETY: of shared memory, moving nothing makes another view; the system chooses the address.
        let view = unsafe { libc::mremap(of.cast(), 0, size, libc::MREMAP_MAYMOVE) };
        if view == libc::MAP_FAILED {
            Err(failed("mremap", of.addr(), size))
        } else {
            Ok(view.cast())
        }
    }

    fn make_executable(&self, view: *mut u8, size: usize) -> Result<(), MemoryError> {
        // SAFETY: a view that nobody uses yet.
        let status =
            unsafe { libc::mprotect(view.cast(), size, libc::PROT_READ | libc::PROT_EXEC) };
        if status != 0 {
            return Err(failed("mprotect", view.addr(), size));
        }
        Ok(())
    }
}

/// A view of the memory.
struct View {
    start: *mut u8,
    size: usize,
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: mapped with this size; whoever used it is gone.
        let status = unsafe { libc::munmap(self.start.cast::<c_void>(), self.size) };
        debug_assert_eq!(
            status,
            0,
            "{}",
            failed("munmap", self.start.addr(), self.size)
        );
    }
}

/// What is free.
struct Free {
    /// Offsets and sizes.
    ranges: Vec<(u32, u32)>,
    bytes: usize,
    /// Blocks in use.
    blocks: usize,
}

struct Region {
    writable: View,
    executable: View,
    free: Mutex<Free>,
}

// SAFETY: the views are memory that only blocks access, each its own part; the list of free ranges has a lock.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// A region of code memory. Clones are the same region.
#[derive(Clone)]
pub struct CodeMemory(Arc<Region>);

impl CodeMemory {
    /// A region of `limit` bytes, rounded up to whole pages. Pages take no memory before they are written.
    pub fn new(limit: usize) -> Result<CodeMemory, MemoryError> {
        CodeMemory::with_system(limit, &Linux)
    }

    fn with_system(limit: usize, system: &dyn System) -> Result<CodeMemory, MemoryError> {
        // Displacements between blocks are 32 bits wide.
        let size = limit.clamp(PAGE, 1 << 30).next_multiple_of(PAGE);
        let view = |start| View { start, size };
        let writable = view(system.create(size)?);
        let executable = view(system.view(writable.start, size)?);
        system.make_executable(executable.start, size)?;
        let free = Free {
            ranges: vec![(0, size as u32)],
            bytes: size,
            blocks: 0,
        };
        Ok(CodeMemory(Arc::new(Region {
            writable,
            executable,
            free: Mutex::new(free),
        })))
    }

    /// A block of `size` bytes.
    pub fn allocate(&self, size: usize) -> Result<Block, MemoryError> {
        let mut guard = self.0.free.lock();
        let free = &mut *guard;
        let exhausted = MemoryError::Exhausted {
            wanted: size,
            free: free.bytes,
        };
        let rounded = u32::try_from(size.max(1))
            .ok()
            .and_then(|size| size.checked_next_multiple_of(ALIGNMENT));
        let size = rounded.ok_or(exhausted)?;
        let at = free
            .ranges
            .iter()
            .position(|range| range.1 >= size)
            .ok_or(exhausted)?;
        // Between and around the blocks, this one included, there are at most so many ranges.
        let most = free.blocks + 2;
        let missing = most.saturating_sub(free.ranges.len());
        free.ranges.try_reserve(missing).map_err(|_| exhausted)?;
        let (offset, len) = free.ranges[at];
        if len == size {
            free.ranges.remove(at);
        } else {
            free.ranges[at] = (offset + size, len - size);
        }
        free.bytes -= size as usize;
        free.blocks += 1;
        Ok(Block {
            memory: self.clone(),
            offset,
            size,
        })
    }

    /// Bytes that are not in use.
    #[cfg(test)]
    fn free_bytes(&self) -> usize {
        self.0.free.lock().bytes
    }

    fn release(&self, offset: u32, size: u32) {
        let mut guard = self.0.free.lock();
        let free = &mut *guard;
        free.bytes += size as usize;
        free.blocks -= 1;
        let at = free.ranges.partition_point(|range| range.0 < offset);
        let joins_next = free
            .ranges
            .get(at)
            .is_some_and(|next| offset + size == next.0);
        let joins_previous = at > 0 && free.ranges[at - 1].0 + free.ranges[at - 1].1 == offset;
        match (joins_previous, joins_next) {
            (true, true) => {
                free.ranges[at - 1].1 += size + free.ranges[at].1;
                free.ranges.remove(at);
            }
            (true, false) => free.ranges[at - 1].1 += size,
            (false, true) => free.ranges[at] = (offset, size + free.ranges[at].1),
            (false, false) => free.ranges.insert(at, (offset, size)),
        }
    }
}

/// A block of code memory; dropping it frees it.
pub struct Block {
    memory: CodeMemory,
    offset: u32,
    size: u32,
}

impl Block {
    /// Where the code runs.
    pub fn address(&self) -> *const u8 {
        // SAFETY: the block lies in the view.
        unsafe { self.memory.0.executable.start.add(self.offset as usize) }
    }

    fn writable(&self, at: usize, size: usize) -> *mut u8 {
        assert!(
            at + size <= self.size as usize,
            "{at}+{size} is beyond a block of {}",
            self.size
        );
        // SAFETY: within the block, as checked.
        unsafe { self.memory.0.writable.start.add(self.offset as usize + at) }
    }

    /// Fills in code. Nobody runs it yet.
    pub fn write(&mut self, code: &[u8]) {
        let to = self.writable(0, code.len());
        // SAFETY: the destination is as large, and nobody else refers to it.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), to, code.len()) };
    }

    /// Replaces the aligned 32-bit word at an offset, at once.
    pub fn patch(&self, at: usize, word: u32) {
        assert!(at.is_multiple_of(4), "patches are aligned");
        let to = self.writable(at, 4).cast::<u32>();
        // SAFETY: an aligned word in the block, which is only ever changed here once the code runs.
        unsafe {
            std::sync::atomic::AtomicU32::from_ptr(to)
                .store(word, std::sync::atomic::Ordering::Release)
        };
    }
}

impl Drop for Block {
    /// Leaves traps behind, so that whatever still leads here shows at once.
    fn drop(&mut self) {
        let to = self.writable(0, self.size as usize);
        // SAFETY: the whole block, which nobody runs any more.
        unsafe { ptr::write_bytes(to, TRAP, self.size as usize) };
        self.memory.release(self.offset, self.size);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    /// Fails at a certain call.
    struct Failing {
        left: Cell<u32>,
    }

    impl Failing {
        fn check(&self, call: &'static str, size: usize) -> Result<(), MemoryError> {
            match self.left.get() {
                0 => Err(MemoryError::System {
                    call,
                    address: 0x1000,
                    size,
                    errno: libc::ENOMEM,
                }),
                n => {
                    self.left.set(n - 1);
                    Ok(())
                }
            }
        }
    }

    impl System for Failing {
        fn create(&self, size: usize) -> Result<*mut u8, MemoryError> {
            self.check("mmap", size)?;
            Linux.create(size)
        }

        fn view(&self, of: *mut u8, size: usize) -> Result<*mut u8, MemoryError> {
            self.check("mremap", size)?;
            Linux.view(of, size)
        }

        fn make_executable(&self, view: *mut u8, size: usize) -> Result<(), MemoryError> {
            self.check("mprotect", size)?;
            Linux.make_executable(view, size)
        }
    }

    #[test]
    fn failures_of_the_system_are_errors_with_the_range() {
        let calls = ["mmap", "mremap", "mprotect"];
        for (n, call) in calls.iter().enumerate() {
            let system = Failing {
                left: Cell::new(n as u32),
            };
            let Err(error) = CodeMemory::with_system(8192, &system) else {
                panic!("no failure at call {n}")
            };
            let MemoryError::System {
                call: failed,
                errno,
                size,
                ..
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!((failed, errno, size), (*call, libc::ENOMEM, 8192));
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("{call} of 0x1000..0x3000: ")),
                "{error}"
            );
        }
        assert!(CodeMemory::with_system(8192, &Failing { left: Cell::new(3) }).is_ok());
    }

    #[test]
    fn what_is_written_in_one_view_runs_in_the_other() {
        let memory = CodeMemory::new(PAGE).unwrap();
        let mut block = memory.allocate(9).unwrap();
        // mov eax, 1; nop; nop; ret
        block.write(&[0xB8, 1, 0, 0, 0, 0x90, 0x90, 0xC3]);
        // SAFETY: a function of this type.
        let f: extern "C" fn() -> u32 = unsafe { std::mem::transmute(block.address()) };
        assert_eq!(f(), 1);
        // The last byte of the number, and then add eax, eax; ret
        block.patch(4, 0xC3C0_0100);
        assert_eq!(f(), 2);
    }

    #[test]
    fn the_limit_is_an_error_and_freed_blocks_are_used_again() {
        let memory = CodeMemory::new(PAGE).unwrap();
        let whole = memory.allocate(PAGE).unwrap();
        let address = whole.address();
        let error = memory.allocate(1).err().unwrap();
        assert_eq!(error, MemoryError::Exhausted { wanted: 1, free: 0 });
        assert_eq!(
            error.to_string(),
            "1 bytes of code do not fit: 0 bytes are free"
        );
        assert!(memory.allocate(usize::MAX).is_err());
        drop(whole);
        assert_eq!(memory.allocate(PAGE - 15).unwrap().address(), address);
    }

    #[test]
    fn freed_code_traps() {
        let memory = CodeMemory::new(PAGE).unwrap();
        let mut block = memory.allocate(20).unwrap();
        block.write(&[0xC3; 20]);
        let (address, size) = (block.address(), block.size as usize);
        drop(block);
        // SAFETY: the region is still mapped, and nobody writes to it.
        let left = unsafe { std::slice::from_raw_parts(address, size) };
        assert_eq!((size, left), (32, &[TRAP; 32][..]));
    }

    #[test]
    #[should_panic(expected = "beyond a block")]
    fn patches_stay_in_their_block() {
        CodeMemory::new(PAGE)
            .unwrap()
            .allocate(16)
            .unwrap()
            .patch(16, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_do_not_overlap(steps in proptest::collection::vec((1usize..600, 0usize..8), 1..200)) {
            let memory = CodeMemory::new(4 * PAGE).unwrap();
            let mut blocks: Vec<Block> = Vec::new();
            for (size, action) in steps {
                if action < 5 {
                    if let Ok(block) = memory.allocate(size) {
                        blocks.push(block);
                    }
                } else if !blocks.is_empty() {
                    blocks.swap_remove(size % blocks.len());
                }
                let used: usize = blocks.iter().map(|b| b.size as usize).sum();
                prop_assert_eq!(memory.free_bytes() + used, 4 * PAGE);
                let mut ranges: Vec<_> = blocks.iter().map(|b| (b.offset, b.size)).collect();
                ranges.extend(&memory.0.free.lock().ranges);
                ranges.sort();
                prop_assert!(ranges.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0));
                let free = memory.0.free.lock();
                prop_assert!(free.ranges.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0));
            }
            blocks.clear();
            prop_assert_eq!(&memory.0.free.lock().ranges, &vec![(0, 4 * PAGE as u32)]);
        }
    }
}
