//! Marking: the grey list, the write barrier's log, and what roots call.
//!
//! An object's mark bit is set when it is discovered, and then it waits on the grey list until it is
//! [scanned](super::trace), after which its barrier byte is 1. Strings and storage blocks are marked only. A store
//! into a scanned container logs the container, and everything logged is scanned again in the atomic phase.
//!
//! If memory for a list runs out, marking has failed: the cycle is given up and nothing is freed.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::trace::Partial;
use super::{Heap, Phase, reserve};
use crate::runtime::Runtime;
use crate::runtime::coroutine::Coroutine;
use crate::runtime::object::{Gc, Header, Kind, Object};
use crate::runtime::string::{LongStr, Str};
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};

/// What the collector's host keeps alive, and what it wants to know of deaths.
pub trait Roots {
    /// Marks everything that is reachable from outside the heap. The running coroutine must have been written back.
    fn trace(&self, marker: &mut Marker<'_>);
}

/// The lists of a marking in progress.
#[derive(Default)]
pub(super) struct Marking {
    /// Marked objects still to be scanned.
    pub gray: Vec<Gc<Header>>,
    /// Large tables of which some has been scanned. Their barrier byte is 1 already, so that a store logs them,
    /// wherever in them it is.
    pub partial: Vec<Partial>,
    /// Containers stored to since they were scanned.
    pub logged: Vec<Gc<Header>>,
    /// Coroutines scanned, whose stacks the atomic phase scans again.
    pub coroutines: Vec<Gc<Coroutine>>,
    /// The logged containers have been scanned once more, not yet in the atomic phase.
    pub precleaned: bool,
    pub weak_values: Vec<Gc<Table>>,
    pub ephemerons: Vec<Gc<Table>>,
    pub all_weak: Vec<Gc<Table>>,
    /// A list could not grow.
    pub failed: bool,
}

impl Marking {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.gray.clear();
        self.partial.clear();
        self.logged.clear();
        self.clear_lists();
        self.failed = false;
    }

    /// Forgets what the atomic phase has dealt with.
    pub fn clear_lists(&mut self) {
        self.precleaned = false;
        self.coroutines.clear();
        self.weak_values.clear();
        self.ephemerons.clear();
        self.all_weak.clear();
    }
}

/// Appends to a list of the collector; on failure notes that marking has failed.
#[inline(always)]
pub(super) fn push<T>(list: &mut Vec<T>, item: T, failed: &mut bool) {
    // In tests every entry may be the one for which there is no room.
    if (cfg!(test) || list.len() == list.capacity()) && reserve(list).is_err() {
        *failed = true;
    } else {
        list.push(item);
    }
}

impl Heap {
    /// To be called before a reference is stored in `container`, unless it has not been scanned since its allocation.
    #[inline(always)]
    pub fn write_barrier<T: Object>(&mut self, container: Gc<T>) {
        let header = container.header();
        if header.barrier.get() != 0 {
            self.barrier(header);
        }
    }

    /// The slow path of the write barrier, for containers whose barrier byte is not 0.
    #[cold]
    #[inline(never)]
    pub fn barrier(&mut self, container: Gc<Header>) {
        container.barrier.set(0);
        if (self.phase == Phase::Mark || self.sticky) && Heap::is_marked(container) {
            push(
                &mut self.marking.logged,
                container,
                &mut self.marking.failed,
            );
        }
    }

    /// Whether an object is marked. Tells the living from the dead at the end of the atomic phase only.
    #[inline(always)]
    pub(super) fn is_marked<T: Object>(object: Gc<T>) -> bool {
        Heap::is_cell_marked(cell(object))
    }
}

#[inline(always)]
pub(super) fn cell<T: Object>(object: Gc<T>) -> NonNull<u8> {
    // SAFETY: a `Gc` is never null.
    unsafe { NonNull::new_unchecked(object.as_ptr().cast()) }
}

/// Objects about to be scanned, first in, first out. Between coming in and being scanned there is time to get their memory
/// into the cache: without it, waiting for that is most of what marking does.
struct Coming {
    objects: [MaybeUninit<Gc<Header>>; COMING],
    /// All that have ever come and gone; those in between are there, each at its number modulo [`COMING`].
    came: usize,
    gone: usize,
}

const COMING: usize = 8;

impl Coming {
    fn new() -> Coming {
        Coming {
            objects: [MaybeUninit::uninit(); COMING],
            came: 0,
            gone: 0,
        }
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.came - self.gone == COMING
    }

    #[inline(always)]
    fn push(&mut self, object: Gc<Header>) {
        debug_assert!(!self.is_full());
        // An object most often is on two cache lines.
        let line = object.as_ptr().cast::<i8>();
        prefetch(line);
        prefetch(line.wrapping_add(64));
        self.objects[self.came % COMING].write(object);
        self.came += 1;
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<Gc<Header>> {
        if self.came == self.gone {
            return None;
        }
        let at = self.gone % COMING;
        self.gone += 1;
        // SAFETY: it has been written when it came, and has not been overwritten, since no more than `COMING` are there.
        Some(unsafe { self.objects[at].assume_init() })
    }
}

/// Asks for a cache line.
#[inline(always)]
pub(super) fn prefetch(line: *const i8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which does nothing for addresses that cannot be read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Discovers objects. Given to roots.
pub struct Marker<'a> {
    pub(super) rt: &'a mut Runtime,
}

impl Marker<'_> {
    #[inline(always)]
    pub fn mark_value(&mut self, v: Value) {
        self.mark_slot(v.tag().byte(), v.payload());
    }

    /// Marks the value with this tag and payload.
    #[inline(always)]
    pub(super) fn mark_slot(&mut self, tag: u8, payload: u64) {
        let tag = Tag::from_byte(tag);
        if tag == Tag::STRING {
            self.mark_str(Gc::from_addr(payload));
        } else if tag.is_collectable() {
            self.discover(Gc::from_addr(payload));
        }
    }

    /// Marks an object of any kind.
    #[inline]
    pub fn mark<T: Object>(&mut self, object: Gc<T>) {
        let header = object.header();
        match header.kind {
            Kind::ShortString | Kind::LongString => self.mark_str(header.cast()),
            _ => self.discover(header),
        }
    }

    #[inline]
    pub fn mark_str(&mut self, s: Gc<Str>) {
        if Heap::mark_cell(cell(s)) && s.kind == Kind::LongString {
            let long: Gc<LongStr> = s.cast();
            if let Some(buffer) = NonNull::new(long.buffer) {
                Heap::mark_cell(buffer.cast());
            }
        }
    }

    /// Marks an object that is not a string.
    #[inline(always)]
    fn discover(&mut self, object: Gc<Header>) {
        if Heap::mark_cell(cell(object)) {
            let marking = &mut self.rt.heap.marking;
            push(&mut marking.gray, object, &mut marking.failed);
        }
    }

    /// Marks a storage block, which belongs to one object and is nothing but memory.
    #[inline(always)]
    pub(super) fn mark_block(&mut self, block: *mut u8) {
        if let Some(block) = NonNull::new(block) {
            Heap::mark_cell(block);
        }
    }

    /// Marks what the runtime itself keeps alive.
    pub(super) fn mark_runtime(&mut self) {
        // The runtime's own references are leaves and metatables; their marks do not depend on the heap's lists,
        // which are put back afterwards.
        let mut marking = std::mem::take(&mut self.rt.heap.marking);
        self.rt.trace(|object| {
            if Heap::mark_cell(cell(object)) && object.kind == Kind::Table {
                push(&mut marking.gray, object, &mut marking.failed);
            }
        });
        self.rt.heap.marking = marking;
    }

    /// Scans grey objects until `budget` bytes have been looked at or none is left. Returns what is left of the
    /// budget.
    pub(super) fn propagate(&mut self, mut budget: isize) -> isize {
        let mut coming = Coming::new();
        while budget > 0 {
            if !coming.is_full()
                && let Some(object) = self.rt.heap.marking.gray.pop()
            {
                coming.push(object);
                continue;
            }
            let scanned = match coming.pop() {
                Some(object) => self.scan(object),
                None => match self.scan_slice() {
                    Some(scanned) => scanned,
                    None => break,
                },
            };
            budget -= scanned as isize;
        }
        let marking = &mut self.rt.heap.marking;
        while let Some(object) = coming.pop() {
            push(&mut marking.gray, object, &mut marking.failed);
        }
        budget
    }

    /// Scans grey objects until none is left. Returns the bytes looked at.
    pub(super) fn propagate_all(&mut self) -> isize {
        isize::MAX - self.propagate(isize::MAX)
    }

    /// Makes the containers logged so far grey again, once in a cycle, so that the atomic phase need not look at them
    /// unless they are stored to even after that. Returns whether there were any.
    pub(super) fn preclean(&mut self) -> bool {
        let marking = &mut self.rt.heap.marking;
        if marking.precleaned || marking.logged.is_empty() {
            return false;
        }
        marking.precleaned = true;
        while let Some(container) = marking.logged.pop() {
            push(&mut marking.gray, container, &mut marking.failed);
        }
        true
    }
}
