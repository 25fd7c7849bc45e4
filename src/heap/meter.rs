//! The memory of work in progress outside the heap, such as a compilation.
//!
//! Whoever works on vectors of its own while the heap is lent out, or not at hand, grows them through a [`Meter`]. It
//! knows what the heap's limit leaves, so that growth beyond it fails before it happens; [`Meter::settle`] brings the
//! heap's books up to date whenever the heap is at hand.
//!
//! Such work may be long. [`Meter::poll`] fails, as if memory had run out, when the VM is to be stopped; whoever reports
//! the failure looks at the request first.
//!
//! Invariant: between two settlements the heap allocates nothing, so that what is left is exact.

use std::cell::Cell;
use std::sync::atomic::AtomicU32;

use super::pacing::poll;
use super::{Heap, OutOfMemory};

/// The most elements that are copied between two polls.
const PIECE: usize = 1 << 16;

/// What some work may allocate, and what it holds.
pub struct Meter<'a> {
    /// The VM's polled word.
    interrupt: Option<&'a AtomicU32>,
    /// Bytes that may still be taken.
    left: Cell<usize>,
    /// Bytes taken and not given back.
    used: Cell<usize>,
    /// How many of those the heap has been charged for.
    settled: Cell<usize>,
}

impl<'a> Meter<'a> {
    /// A meter that lets as much be taken as the heap has left, for work that is short.
    pub fn new(heap: &mut Heap) -> Meter<'a> {
        Meter::with_interrupt(heap, None)
    }

    /// A meter for work that ends when the polled word `interrupt` has [`CANCEL`](super::CANCEL).
    pub fn with_interrupt(heap: &mut Heap, interrupt: Option<&'a AtomicU32>) -> Meter<'a> {
        heap.return_spans();
        Meter {
            interrupt,
            left: Cell::new(heap.room()),
            used: Cell::new(0),
            settled: Cell::new(0),
        }
    }

    /// Takes `bytes`, which the caller is about to allocate.
    pub fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let left = self.left.get().checked_sub(bytes).ok_or(OutOfMemory)?;
        self.left.set(left);
        self.used.set(self.used.get() + bytes);
        Ok(())
    }

    /// Fails if the VM is to be stopped.
    #[inline]
    pub fn poll(&self) -> Result<(), OutOfMemory> {
        poll(self.interrupt)
    }

    /// Gives bytes back that have been taken and freed.
    pub fn give_back(&self, bytes: usize) {
        debug_assert!(bytes <= self.used.get());
        self.left.set(self.left.get() + bytes);
        self.used.set(self.used.get() - bytes);
    }

    /// Makes room for `additional` more elements of a vector.
    #[cold]
    #[inline(never)]
    pub fn reserve<T>(&self, vec: &mut Vec<T>, additional: usize) -> Result<(), OutOfMemory> {
        let needed = vec.len().checked_add(additional).ok_or(OutOfMemory)?;
        if needed <= vec.capacity() {
            return Ok(());
        }
        let capacity = needed.max(vec.capacity() * 2).max(8);
        let before = vec.capacity() * size_of::<T>();
        // Both blocks may exist while the contents move.
        self.take(capacity.checked_mul(size_of::<T>()).ok_or(OutOfMemory)?)?;
        let grown = vec.try_reserve_exact(capacity - vec.len());
        self.give_back(if grown.is_ok() {
            before
        } else {
            capacity * size_of::<T>()
        });
        Ok(grown?)
    }

    /// `Vec::push`, metered.
    #[inline]
    pub fn push<T>(&self, vec: &mut Vec<T>, item: T) -> Result<(), OutOfMemory> {
        if vec.len() == vec.capacity() {
            self.reserve(vec, 1)?;
        }
        vec.push(item);
        Ok(())
    }

    /// `Vec::extend_from_slice`, metered and polling.
    #[inline]
    pub fn append<T: Copy>(&self, vec: &mut Vec<T>, items: &[T]) -> Result<(), OutOfMemory> {
        if vec.capacity() - vec.len() < items.len() {
            self.reserve(vec, items.len())?;
        }
        if items.len() <= PIECE {
            vec.extend_from_slice(items);
            return Ok(());
        }
        for piece in items.chunks(PIECE) {
            self.poll()?;
            vec.extend_from_slice(piece);
        }
        Ok(())
    }

    /// A vector of `len` default values, metered.
    pub fn filled<T: Default + Clone>(&self, len: usize) -> Result<Vec<T>, OutOfMemory> {
        let mut vec = Vec::new();
        let bytes = len.checked_mul(size_of::<T>()).ok_or(OutOfMemory)?;
        self.take(bytes)?;
        if let Err(e) = vec.try_reserve_exact(len) {
            self.give_back(bytes);
            return Err(e.into());
        }
        vec.resize(len, T::default());
        Ok(vec)
    }

    /// Frees a vector whose growth was metered.
    pub fn free<T>(&self, vec: Vec<T>) {
        self.give_back(vec.capacity() * size_of::<T>());
    }

    /// Charges the heap for what has been taken, and learns what it has left.
    pub fn settle(&self, heap: &mut Heap) {
        let (used, settled) = (self.used.get(), self.settled.replace(self.used.get()));
        if used >= settled {
            heap.charge_unchecked(used - settled);
        } else {
            heap.discharge(settled - used);
        }
        self.left.set(heap.room());
    }

    /// Ends the work, whose memory has been freed.
    pub fn close(self, heap: &mut Heap) {
        heap.discharge(self.settled.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_charged_and_limited() {
        let mut heap = Heap::new();
        heap.set_limit(1000);
        let meter = Meter::new(&mut heap);
        let mut v: Vec<u64> = Vec::new();
        for i in 0..8 {
            meter.push(&mut v, i).unwrap();
        }
        meter.settle(&mut heap);
        assert_eq!(heap.used(), 64);
        // 64 bytes are in use and 512 fit, but not 1024.
        assert_eq!(meter.append(&mut v, &[0; 120]), Err(OutOfMemory));
        assert_eq!((v.len(), v.capacity()), (8, 8));
        meter.append(&mut v, &[0; 50]).unwrap();
        meter.settle(&mut heap);
        assert_eq!(heap.used(), 58 * 8);
        let rest: Result<Vec<u8>, _> = meter.filled(1000 - 58 * 8 + 1);
        assert_eq!(rest, Err(OutOfMemory));
        let rest: Vec<u8> = meter.filled(1000 - 58 * 8).unwrap();
        meter.free(rest);
        meter.free(v);
        meter.settle(&mut heap);
        assert_eq!(heap.used(), 0);
        assert_eq!(meter.take(1000), Ok(()));
        meter.settle(&mut heap);
        meter.close(&mut heap);
        assert_eq!(heap.used(), 0);
    }
}
