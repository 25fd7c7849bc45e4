//! Injected failures of the collector's own lists, for tests.

use std::cell::Cell;

use super::OutOfMemory;

thread_local! {
    /// How many reservations succeed before one fails.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    static HAPPENED: Cell<bool> = const { Cell::new(false) };
}

/// Lets the `n`-th reservation of this thread from now fail (0: the next one), and none after it.
pub fn set(n: Option<u64>) {
    LEFT.set(n);
    if n.is_some() {
        HAPPENED.set(false);
    }
}

/// Whether the failure asked for last has happened.
pub fn happened() -> bool {
    HAPPENED.get()
}

/// Counts a reservation.
pub fn check() -> Result<(), OutOfMemory> {
    match LEFT.get() {
        Some(0) => {
            LEFT.set(None);
            HAPPENED.set(true);
            Err(OutOfMemory)
        }
        left => {
            LEFT.set(left.map(|n| n - 1));
            Ok(())
        }
    }
}
