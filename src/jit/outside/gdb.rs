//! The interface to debuggers that GDB has defined: a list of object files in memory, and a function that the debugger
//! stops at whenever the list changes.
//!
//! The list and the function have fixed names. They are weak symbols: another maker of code in the same process may have them,
//! and then both use the same ones.

use std::arch::global_asm;
use std::ptr;

use parking_lot::Mutex;

// The function does nothing; the descriptor is of version 1 and names nothing.
global_asm!(
    ".pushsection .text.__jit_debug_register_code, \"ax\", @progbits",
    ".weak __jit_debug_register_code",
    ".type __jit_debug_register_code, @function",
    "__jit_debug_register_code:",
    "ret",
    ".size __jit_debug_register_code, . - __jit_debug_register_code",
    ".popsection",
    ".pushsection .data.__jit_debug_descriptor, \"aw\", @progbits",
    ".weak __jit_debug_descriptor",
    ".type __jit_debug_descriptor, @object",
    ".balign 8",
    "__jit_debug_descriptor:",
    ".long 1",
    ".long 0",
    ".quad 0",
    ".quad 0",
    ".size __jit_debug_descriptor, . - __jit_debug_descriptor",
    ".popsection",
);

/// An object file in the list.
#[repr(C)]
struct Entry {
    next: *mut Entry,
    previous: *mut Entry,
    object: *const u8,
    size: u64,
}

/// The list, and what happens to it.
#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

const NOTHING: u32 = 0;
const REGISTER: u32 = 1;
const UNREGISTER: u32 = 2;

const _: () = assert!(size_of::<Entry>() == 32 && size_of::<Descriptor>() == 24);

unsafe extern "C" {
    fn __jit_debug_register_code();
    static mut __jit_debug_descriptor: Descriptor;
}

/// Held while the list changes.
static LIST: Mutex<()> = Mutex::new(());

/// An object file that debuggers know of until this is dropped.
pub struct Registered {
    entry: *mut Entry,
    /// What the entry refers to.
    _object: Box<[u8]>,
}

/// Tells debuggers of an object file.
pub fn register(object: Box<[u8]>) -> Registered {
    let entry = Box::into_raw(Box::new(Entry {
        next: ptr::null_mut(),
        previous: ptr::null_mut(),
        object: object.as_ptr(),
        size: object.len() as u64,
    }));
    let _guard = LIST.lock();
    // SAFETY: entries in the list are alive, and the list changes only while the lock is held.
    unsafe {
        let list = &raw mut __jit_debug_descriptor;
        (*entry).next = (*list).first;
        if let Some(next) = (*entry).next.as_mut() {
            next.previous = entry;
        }
        (*list).first = entry;
        notify(list, REGISTER, entry);
    }
    Registered {
        entry,
        _object: object,
    }
}

/// Lets debuggers look at the list.
///
/// # Safety
/// The lock is held, and the entry alive.
unsafe fn notify(list: *mut Descriptor, action: u32, entry: *mut Entry) {
    // SAFETY: the caller's promise; the function does nothing.
    unsafe {
        (*list).relevant = entry;
        (*list).action = action;
        __jit_debug_register_code();
        (*list).action = NOTHING;
        (*list).relevant = ptr::null_mut();
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _guard = LIST.lock();
        // SAFETY: as in `register`; the entry has been made there and is freed here only.
        unsafe {
            let list = &raw mut __jit_debug_descriptor;
            let (previous, next) = ((*self.entry).previous, (*self.entry).next);
            match previous.as_mut() {
                Some(previous) => previous.next = next,
                None => (*list).first = next,
            }
            if let Some(next) = next.as_mut() {
                next.previous = previous;
            }
            notify(list, UNREGISTER, self.entry);
            drop(Box::from_raw(self.entry));
        }
    }
}

/// The object files in the list, for tests.
#[cfg(test)]
fn registered() -> Vec<Vec<u8>> {
    let _guard = LIST.lock();
    let mut objects = Vec::new();
    // SAFETY: as above.
    unsafe {
        let list = &raw const __jit_debug_descriptor;
        assert_eq!(((*list).version, (*list).action), (1, NOTHING));
        let (mut entry, mut previous) = ((*list).first, ptr::null_mut());
        while let Some(e) = entry.as_ref() {
            assert_eq!(e.previous, previous);
            objects.push(std::slice::from_raw_parts(e.object, e.size as usize).to_vec());
            (entry, previous) = (e.next, entry);
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_share_the_list_and_nothing_stays_in_it() {
        let threads: Vec<_> = (0..4u8)
            .map(|t| {
                thread::spawn(move || {
                    let object = |n: u8| Box::from([b'g', t, n]);
                    for n in 0..100 {
                        let first = register(object(n));
                        let second = register(object(n + 100));
                        let own = registered()
                            .into_iter()
                            .filter(|o| o.len() == 3 && o[..2] == [b'g', t]);
                        assert_eq!(own.map(|o| o[2]).collect::<Vec<_>>(), [n + 100, n]);
                        // In both orders.
                        if n % 2 == 0 {
                            drop(first);
                        }
                        drop(second);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert!(registered().iter().all(|o| o[0] != b'g'));
    }
}
