//! The allocator against a shadow model.

use std::ptr::NonNull;

use proptest::prelude::*;

use crate::heap::Heap;
use crate::heap::block::SMALL_MAX;
use crate::heap::large::LargeCells;

#[derive(Clone, Debug)]
enum Step {
    Alloc(usize),
    Free(usize),
    /// Marks a subset chosen by this number and sweeps, lazily if the flag is set.
    Collect(u64, bool),
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..300).prop_map(Step::Alloc),
        2 => (0usize..20_000).prop_map(Step::Alloc),
        4 => any::<usize>().prop_map(Step::Free),
        1 => (any::<u64>(), any::<bool>()).prop_map(|(n, lazy)| Step::Collect(n, lazy)),
        1 => Just(Step::Check),
    ]
}

/// Cells with the byte they are filled with.
#[derive(Default)]
struct Model {
    cells: Vec<(NonNull<u8>, usize, u8)>,
    next: u8,
}

impl Model {
    fn alloc(&mut self, heap: &mut Heap, size: usize) {
        let cell = heap.alloc(size).unwrap();
        assert_eq!(cell.addr().get() % if size > SMALL_MAX { 8 } else { 16 }, 0);
        assert!(!Heap::is_cell_marked(cell) && !heap.is_cell_dead(cell));
        self.next = self.next.wrapping_add(1);
        // SAFETY: the cell has at least this size.
        unsafe { cell.write_bytes(self.next, Heap::usable_size(size)) };
        self.cells.push((cell, size, self.next));
    }

    /// A cell handed out twice, or freed memory that was written to, shows in the contents.
    fn check(&self) {
        for &(cell, size, byte) in &self.cells {
            // SAFETY: as in `alloc`.
            let bytes =
                unsafe { std::slice::from_raw_parts(cell.as_ptr(), Heap::usable_size(size)) };
            assert!(bytes.iter().all(|&b| b == byte));
        }
    }

    fn footprint(&self) -> usize {
        let of = |size| {
            if size > SMALL_MAX {
                LargeCells::footprint(size)
            } else {
                Heap::usable_size(size)
            }
        };
        self.cells.iter().map(|c| of(c.1)).sum()
    }

    fn collect(&mut self, heap: &mut Heap, choice: u64, lazy: bool) {
        let mut i = 0u32;
        self.cells.retain(|&(cell, ..)| {
            i += 1;
            let keep = choice.rotate_left(i) & 1 != 0;
            if keep {
                Heap::mark_cell(cell);
            }
            keep
        });
        heap.begin_sweep();
        if !lazy {
            heap.finish_sweep();
            assert_eq!(heap.used(), self.footprint());
        }
    }
}

proptest! {
    #[test]
    fn cells_are_disjoint_and_accounting_is_exact(steps in prop::collection::vec(step(), 1..400)) {
        let mut heap = Heap::new();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Alloc(size) => model.alloc(&mut heap, size),
                Step::Free(i) if !model.cells.is_empty() => {
                    let (cell, size, _) = model.cells.swap_remove(i % model.cells.len());
                    heap.free(cell, size);
                }
                Step::Free(_) => {}
                Step::Collect(choice, lazy) => {
                    heap.finish_sweep();
                    model.collect(&mut heap, choice, lazy);
                }
                Step::Check => model.check(),
            }
        }
        model.check();
        heap.finish_sweep();
        model.collect(&mut heap, 0, false);
        prop_assert_eq!(heap.used(), 0);
        heap.release_empty();
        prop_assert_eq!(heap.reserved(), 0);
    }

    #[test]
    fn the_limit_holds_and_most_of_it_is_usable(limit in 20_000usize..400_000, sizes in prop::collection::vec(1usize..2000, 20)) {
        let mut heap = Heap::new();
        heap.set_limit(limit);
        let mut sizes = sizes.iter().cycle();
        while heap.alloc(*sizes.next().unwrap()).is_ok() {
            prop_assert!(heap.used() <= limit);
        }
        prop_assert!(heap.used() + SMALL_MAX + 2000 >= limit);
        prop_assert!(heap.should_collect());
    }
}

#[test]
fn injected_failures_count_every_allocation() {
    let mut heap = Heap::new();
    let cell = heap.alloc(32).unwrap();
    heap.set_fail_at(Some(3));
    heap.free(cell, 32);
    let results = [32, 32, 100_000, 32, 32].map(|size| heap.alloc(size).is_ok());
    assert_eq!(results, [true, true, true, false, true]);
    heap.set_fail_at(None);
    assert!(heap.alloc(32).is_ok());
}

#[test]
fn host_memory_is_charged() {
    let mut heap = Heap::new();
    heap.set_limit(1000);
    heap.charge(600).unwrap();
    assert_eq!(heap.used(), 600);
    assert!(heap.charge(401).is_err());
    heap.discharge(600);
    assert_eq!(heap.used(), 0);
}

#[test]
fn a_dead_block_serves_another_class() {
    let mut heap = Heap::new();
    for _ in 0..100_000 {
        heap.alloc(64).unwrap();
    }
    let reserved = heap.reserved();
    heap.begin_sweep();
    heap.finish_sweep();
    for _ in 0..50_000 {
        heap.alloc(112).unwrap();
    }
    assert_eq!(heap.reserved(), reserved);
}
