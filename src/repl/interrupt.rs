//! Interrupts from the keyboard. The first one raises an error in the script, the next one ends the command. In the interactive
//! mode they end what is running, or the command if nothing is.
//!
//! The signal is blocked, and a thread waits for it: unlike a signal handler it may use the [`CancelHandle`].

use std::mem::MaybeUninit;
use std::process;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use perilune::CancelHandle;

/// The exit code of a command that an interrupt has ended.
const INTERRUPTED: i32 = 128 + libc::SIGINT;

// What an interrupt is for.

/// A script, which may catch the error.
const SCRIPT: u8 = 0;
/// The command, which has been interrupted before.
const COMMAND: u8 = 1;
/// The interactive mode, which waits for input.
const INPUT: u8 = 2;
/// What runs in the interactive mode.
const RUNNING: u8 = 3;

/// What the next interrupt is for, shared with the thread that waits.
pub struct Watch(Arc<AtomicU8>);

/// A program is running in the interactive mode as long as this exists.
pub struct Running<'a>(&'a AtomicU8);

impl Watch {
    /// Begins to wait for interrupts, as those of a script. If no thread can be made, they end the command as ever.
    pub fn start(cancel: CancelHandle) -> Watch {
        let target = Arc::new(AtomicU8::new(SCRIPT));
        let seen = Arc::clone(&target);
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
                    match seen.load(Ordering::SeqCst) {
                        SCRIPT => {
                            seen.store(COMMAND, Ordering::SeqCst);
                            cancel.interrupt();
                        }
                        RUNNING => cancel.cancel(),
                        INPUT => process::exit(INTERRUPTED),
                        _ => end_by_interrupt(&signals),
                    }
                }
            });
        if waiting.is_err() {
            unblock(&signals);
        }
        Watch(target)
    }

    /// The interactive mode begins.
    pub fn interactive(&self) {
        self.0.store(INPUT, Ordering::SeqCst);
    }

    /// Lets interrupts end what is about to run in the interactive mode.
    pub fn running(&self) -> Running<'_> {
        self.0.store(RUNNING, Ordering::SeqCst);
        Running(&self.0)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(INPUT, Ordering::SeqCst);
    }
}

/// Ends the command as if nobody had waited for the signal, so that whoever has started it sees why.
fn end_by_interrupt(signals: &libc::sigset_t) {
    // SAFETY: the signal's usual action takes no handler; the set is initialised.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        unblock(signals);
        libc::raise(libc::SIGINT);
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
