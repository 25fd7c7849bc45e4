//! Interrupts from the keyboard: they end what is running, or the command if nothing is.
//!
//! The signal is blocked, and a thread waits for it: unlike a signal handler it may use the [`CancelHandle`].

use std::mem::MaybeUninit;
use std::process;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use perilune::CancelHandle;

/// The exit code of a command that an interrupt has ended.
const INTERRUPTED: i32 = 128 + libc::SIGINT;

/// Whether a program is running, for the thread that waits.
pub struct Watch(Arc<AtomicBool>);

/// A program is running as long as this exists.
pub struct Running<'a>(&'a AtomicBool);

impl Watch {
    /// Begins to wait for interrupts. If no thread can be made, they end the command as ever.
    pub fn start(cancel: CancelHandle) -> Watch {
        let running = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&running);
        let signals = interrupt_only();
        block(&signals);
        let waiting = thread::Builder::new()
            .name("interrupts".to_owned())
            .spawn(move || {
                loop {
                    let mut signal = 0;
                    // SAFETY: both point to initialised values.
                    if unsafe { libc::sigwait(&signals, &mut signal) } != 0 {
                        return;
                    }
                    if seen.load(Ordering::SeqCst) {
                        cancel.cancel();
                    } else {
                        process::exit(INTERRUPTED);
                    }
                }
            });
        if waiting.is_err() {
            unblock(&signals);
        }
        Watch(running)
    }

    /// Lets interrupts end what is about to run.
    pub fn running(&self) -> Running<'_> {
        self.0.store(true, Ordering::SeqCst);
        Running(&self.0)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn interrupt_only() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set; the signal exists.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        set.assume_init()
    }
}

fn block(set: &libc::sigset_t) {
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set, ptr::null_mut()) };
}

fn unblock(set: &libc::sigset_t) {
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set, ptr::null_mut()) };
}
