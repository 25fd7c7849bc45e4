//! What a [`Vm`](super::Vm) and its handles share: the lock, and the one pointer to the VM's state.
//!
//! # Why the safe interface is sound
//!
//! The state of a VM may be used by one piece of code at a time. Two rules see to that:
//!
//! - *One thread.* Whoever touches [`Shared`] holds the reentrant lock of [`Inner`]. The engine runs only inside
//!   [`Inner::with`], so while it runs, and while host functions run that it has called, this thread holds the lock.
//! - *One user on that thread.* [`Shared::current`] is taken by whoever uses the state ([`Inner::with`] replaces it by
//!   null, and puts it back afterwards). The engine calls host functions through [`enter`], which for the duration of
//!   the function puts a pointer there that derives from the engine's own `&mut State`. So the pointer is there
//!   exactly while no `&mut State` is in use, and every reference that is made from it is a reborrow of the
//!   reference that is suspended.
//!
//! Machine code calls host functions through [`enter_directly`], without records on the stack and without that pointer. Whoever asks
//! for it then finds the call in [`Shared::direct`] and shows it: from then on everything is as if the engine had called the function.
//!
//! Host code that runs at other times (`Drop` of a host value during a collection, the sink of warnings) finds null and
//! gets [`Error::Busy`]. If a panic unwinds through the engine itself the pointer stays null, and the VM refuses all
//! further use.
//!
//! Handles never own the state. The [`Vm`](super::Vm) does; when it is dropped the state goes, at the latest when the
//! outermost call returns, and what remains of [`Inner`] answers [`Error::Dropped`].

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};

use super::error::{self, Error, Result};
use super::vm::Vm;
use crate::runtime::hasher::BuildWordHasher;
use crate::runtime::value::Value;
use crate::tier1::native::DirectCall;
use crate::tier1::state::interrupt;
use crate::tier1::{Raised, State};

/// The slot of the table of globals.
pub(crate) const GLOBALS: u32 = 0;

/// The part of a VM that outlives its state.
pub(crate) struct Inner {
    pub lock: ReentrantMutex<Shared>,
    /// Something is to be done when the state is free: see [`Inner::attend`].
    attention: AtomicBool,
    /// Slots of handles that were dropped while another thread held the lock.
    foreign: Mutex<Vec<u32>>,
    pub cancel: Arc<CancelTarget>,
}

/// What the lock protects.
pub(crate) struct Shared {
    /// The state, or null while somebody uses it.
    current: Cell<*mut State>,
    /// The call of the running host function, if machine code has made it and nobody has used the state since; else null.
    direct: Cell<*mut DirectCall>,
    /// By slot of the state's handle table, the number of handles that share it.
    references: RefCell<Vec<u32>>,
    /// Slots without references that could not be given back at once.
    released: RefCell<Vec<u32>>,
    /// Calls into Lua in progress.
    depth: Cell<u32>,
    /// Borrows of host values and strings in progress: the state must stay.
    pins: Cell<u32>,
    /// The owner is gone.
    closing: Cell<bool>,
    closed: Cell<bool>,
    /// A panic of a host function on its way to the next Rust caller.
    pub panic: Cell<Option<Box<dyn Any + Send>>>,
    /// Slots of the metatables of host types.
    pub types: RefCell<HashMap<TypeId, u32, BuildWordHasher>>,
    /// The slot of the host function that resumes coroutines.
    pub resume: Cell<Option<u32>>,
    /// The slot of the metatable of errors.
    pub error_metatable: Cell<Option<u32>>,
}

// SAFETY: the state is `Send`, host values that wait here are, and slots are numbers.
unsafe impl Send for Shared {}

/// The interrupt word of a VM, as long as there is one.
pub(crate) struct CancelTarget(Mutex<Option<NonNull<AtomicU32>>>);

// SAFETY: the pointer is used under the mutex and removed before the word is freed; the word is atomic.
unsafe impl Send for CancelTarget {}
// SAFETY: as above.
unsafe impl Sync for CancelTarget {}

impl CancelTarget {
    pub fn set(&self, on: bool) {
        let target = self.0.lock();
        if let Some(word) = *target {
            // SAFETY: the word exists as long as the pointer is here.
            let word = unsafe { word.as_ref() };
            if on {
                word.fetch_or(interrupt::CANCEL, Ordering::Relaxed);
            } else {
                word.fetch_and(!interrupt::CANCEL, Ordering::Relaxed);
            }
        }
    }

    pub fn interrupt(&self) {
        let target = self.0.lock();
        if let Some(word) = *target {
            // SAFETY: the word exists as long as the pointer is here.
            let word = unsafe { word.as_ref() };
            word.fetch_or(interrupt::RAISE, Ordering::Relaxed);
        }
    }
}

impl Inner {
    pub fn new(state: Box<State>) -> Arc<Inner> {
        let word = NonNull::from(&state.interrupt);
        let inner = Arc::new(Inner {
            lock: ReentrantMutex::new(Shared {
                current: Cell::new(Box::into_raw(state)),
                direct: Cell::new(ptr::null_mut()),
                references: RefCell::default(),
                released: RefCell::default(),
                depth: Cell::new(0),
                pins: Cell::new(0),
                closing: Cell::new(false),
                closed: Cell::new(false),
                panic: Cell::new(None),
                types: RefCell::default(),
                resume: Cell::new(None),
                error_metatable: Cell::new(None),
            }),
            attention: AtomicBool::new(false),
            foreign: Mutex::default(),
            cancel: Arc::new(CancelTarget(Mutex::new(Some(word)))),
        });
        let host = Arc::as_ptr(&inner).cast();
        {
            let shared = inner.lock.lock();
            // SAFETY: nobody else knows the state yet.
            let st = unsafe { &mut *shared.current.get() };
            st.host = host;
            let globals = Value::table(st.globals);
            let slot = shared.root(st, globals);
            assert!(slot == GLOBALS, "the first handle of a VM");
        }
        inner
    }

    /// Uses the state. `f` must not run host code, except through the engine.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut State, &Shared) -> R) -> Result<R> {
        self.with_locked(&self.lock.lock(), f)
    }

    /// [`Inner::with`] for who holds the lock.
    #[inline]
    fn with_locked<R>(
        &self,
        shared: &Shared,
        f: impl FnOnce(&mut State, &Shared) -> R,
    ) -> Result<R> {
        let st = shared.state()?;
        shared.current.set(ptr::null_mut());
        // SAFETY: the pointer was there, so nobody uses the state; nobody else will while it is not.
        let result = f(unsafe { &mut *st }, shared);
        shared.current.set(st);
        if self.attention.load(Ordering::Relaxed) {
            self.attend(shared);
        }
        Ok(result)
    }

    /// Gives back slots, and frees the state if its owner is gone and nothing needs it any longer.
    #[cold]
    fn attend(&self, shared: &Shared) {
        let st = shared.current.get();
        if st.is_null() {
            return;
        }
        self.attention.store(false, Ordering::Relaxed);
        for slot in std::mem::take(&mut *self.foreign.lock()) {
            shared.drop_reference(slot);
        }
        for slot in std::mem::take(&mut *shared.released.borrow_mut()) {
            // SAFETY: the pointer is there, so nobody uses the state.
            unsafe { (*st).handles.remove(slot) };
        }
        if shared.closing.get() {
            if shared.depth.get() == 0 && shared.pins.get() == 0 {
                self.close(shared);
            } else {
                self.attention.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The owner is gone.
    pub fn owner_dropped(&self) {
        let shared = self.lock.lock();
        shared.closing.set(true);
        self.attention.store(true, Ordering::Relaxed);
        self.attend(&shared);
    }

    /// Runs all finalizers and frees the state.
    #[cold]
    fn close(&self, shared: &Shared) {
        let st = shared.current.replace(ptr::null_mut());
        // No call is in progress; the calls of the finalizers are not to close the state again.
        shared.depth.set(1);
        {
            // SAFETY: nobody else uses the state: the pointer was there.
            let st = unsafe { &mut *st };
            st.interrupt
                .fetch_and(!interrupt::CANCEL, Ordering::Relaxed);
            st.rt.heap.all_finalizers();
            // Each round ends with the last finalizer, or with one that panicked. If one was cancelled the host does not want
            // to wait for the others, of which there may be any number.
            while st.rt.heap.has_finalizers() {
                if st.run_finalizers().is_err() {
                    st.cancelling = false;
                    if shared.panic.take().is_none() {
                        break;
                    }
                }
            }
        }
        *self.cancel.0.lock() = None;
        shared.closed.set(true);
        // SAFETY: made from a box in `new`; `closed` says that it is gone.
        drop(unsafe { Box::from_raw(st) });
        shared.depth.set(0);
    }

    /// One handle fewer for a slot.
    #[inline]
    pub fn release(&self, slot: u32) {
        match self.lock.try_lock() {
            Some(shared) => {
                let st = shared.current.get();
                if !shared.drop_reference_now(slot) {
                    return;
                }
                if st.is_null() {
                    shared.released.borrow_mut().push(slot);
                    self.attention.store(true, Ordering::Relaxed);
                } else {
                    // SAFETY: the pointer is there, so nobody uses the state.
                    unsafe { (*st).handles.remove(slot) };
                }
            }
            None => {
                self.foreign.lock().push(slot);
                self.attention.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Keeps the lock and the state until [`Inner::unpin`].
    pub fn pin(&self) -> Result<()> {
        let shared = self.lock.lock();
        shared.state()?;
        shared.pins.set(shared.pins.get() + 1);
        std::mem::forget(shared);
        Ok(())
    }

    /// Ends a pin.
    ///
    /// # Safety
    /// This thread must have made the pin, and it must not have been ended.
    pub unsafe fn unpin(&self) {
        {
            let shared = self.lock.lock();
            shared.pins.set(shared.pins.get() - 1);
            if self.attention.load(Ordering::Relaxed) {
                self.attend(&shared);
            }
        }
        // SAFETY: the pin has forgotten a guard of this thread.
        unsafe { self.lock.force_unlock() };
    }
}

impl Shared {
    /// The state, for a moment in which no host code runs.
    #[inline]
    pub fn state(&self) -> Result<*mut State> {
        let st = self.current.get();
        if st.is_null() { self.shown() } else { Ok(st) }
    }

    /// The state, if machine code has called the running host function, which is shown.
    #[cold]
    fn shown(&self) -> Result<*mut State> {
        if self.direct.get().is_null() {
            return Err(self.refusal());
        }
        self.show();
        Ok(self.current.get())
    }

    /// Shows the direct call in progress.
    #[cold]
    fn show(&self) {
        let call = self.direct.replace(ptr::null_mut());
        // SAFETY: the call is in progress, and has not been shown, or it would not be here.
        unsafe {
            DirectCall::show(call);
            self.current.set((*call).state);
        }
    }

    #[cold]
    fn refusal(&self) -> Error {
        if self.closed.get() {
            Error::Dropped
        } else {
            Error::Busy
        }
    }

    /// Roots `v` in a slot that has one reference.
    #[inline]
    pub fn root(&self, st: &mut State, v: Value) -> u32 {
        let slot = st.handles.insert(v);
        let mut references = self.references.borrow_mut();
        // The engine may root values of its own, which nobody refers to by a handle.
        if slot as usize >= references.len() {
            references.resize(slot as usize + 1, 0);
        }
        references[slot as usize] = 1;
        slot
    }

    /// One more handle for a slot.
    pub fn add_reference(&self, slot: u32) {
        self.references.borrow_mut()[slot as usize] += 1;
    }

    /// One handle fewer; whether it was the last one.
    #[inline]
    fn drop_reference_now(&self, slot: u32) -> bool {
        let mut references = self.references.borrow_mut();
        let count = &mut references[slot as usize];
        *count -= 1;
        *count == 0
    }

    fn drop_reference(&self, slot: u32) {
        if self.drop_reference_now(slot) {
            self.released.borrow_mut().push(slot);
        }
    }
}

impl Inner {
    /// Runs Lua. `f` must leave nothing unrooted in what it returns. An error or a request to stop is returned, and a
    /// panic of a host function resumed.
    #[inline]
    pub fn protect<R>(
        self: &Arc<Inner>,
        f: impl FnOnce(&mut State, &Shared) -> std::result::Result<R, Raised>,
    ) -> Result<R> {
        self.protect_locked(&self.lock.lock(), f)
    }

    /// [`Inner::protect`] for who holds the lock.
    #[inline]
    fn protect_locked<R>(
        self: &Arc<Inner>,
        shared: &Shared,
        f: impl FnOnce(&mut State, &Shared) -> std::result::Result<R, Raised>,
    ) -> Result<R> {
        // Beside the result, which is then small and cheap to return.
        let mut failure = None;
        let result = self.with_locked(shared, |st, shared| {
            shared.depth.set(shared.depth.get() + 1);
            let result = f(st, shared);
            let depth = shared.depth.get() - 1;
            shared.depth.set(depth);
            if result.is_err() {
                failure = Some(self.failure(st, shared));
            }
            if depth == 0 {
                st.cancelling = false;
                if st.interrupt.load(Ordering::Relaxed) & interrupt::CANCEL != 0 {
                    st.interrupt
                        .fetch_and(!interrupt::CANCEL, Ordering::Relaxed);
                }
            }
            result
        })?;
        match (result, failure) {
            (_, Some(Failure::Error(error))) => Err(error),
            (_, Some(Failure::Panic(payload))) => resume_unwind(payload),
            (Ok(r), None) => Ok(r),
            (Err(Raised), None) => unreachable!("an error is a failure"),
        }
    }

    /// What ended a run.
    #[cold]
    fn failure(self: &Arc<Inner>, st: &mut State, shared: &Shared) -> Failure {
        let traceback = st.traceback.take();
        if let Some(payload) = shared.panic.take() {
            st.cancelling = false;
            return Failure::Panic(payload);
        }
        if st.cancelling {
            return Failure::Error(Error::Cancelled);
        }
        let v = std::mem::replace(&mut st.error, Value::NIL);
        Failure::Error(error::from_lua(st, shared, self, v, traceback))
    }
}

/// How a run ends early.
enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

/// Host code's way to the state while the engine is suspended or idle. Scalars are converted through it without
/// handles. This thread holds the lock, and the pointer is the one in [`Shared::current`] for as long as this exists.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) shared: &'a Shared,
    st: *mut State,
}

impl Context<'_> {
    /// Uses the state for a moment. `f` must not run host code.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        if !self.shared.direct.get().is_null() {
            self.shared.show();
        }
        // SAFETY: the engine is suspended or idle, and host code uses the state for such moments only.
        f(unsafe { &mut *self.st })
    }

    /// The value at a stack index of the current activation.
    #[inline(always)]
    pub(crate) fn slot(&self, index: u32) -> Value {
        // SAFETY: callers name initialised slots. They are there in calls that have not been shown, too.
        unsafe { Value::load((*self.st).slot(index)) }
    }

    /// Stores a result of the running host function.
    #[inline(always)]
    pub(crate) fn put(&self, index: u32, v: Value) {
        // SAFETY: callers name the slot of the function or one of its window. It is there in calls that have not been shown, too.
        unsafe { Value::store((*self.st).slot(index), v) };
    }

    /// Puts a value on top of the current activation's window, which keeps it alive.
    #[inline]
    pub(crate) fn push(&self, v: Value) -> Result<()> {
        self.with(|st| st.push_temp(v).map(drop).map_err(|Raised| stack_error(st)))
    }
}

/// A push has failed: the stack is full, or memory.
#[cold]
fn stack_error(st: &mut State) -> Error {
    let memory = st.error.as_string() == Some(st.memory_message);
    st.error = Value::NIL;
    if memory {
        Error::Memory
    } else {
        Error::StackOverflow
    }
}

/// A piece of host code that puts values on the stack: holds the lock, keeps the state, and takes the values off
/// in the end.
pub(crate) struct Section<'a> {
    vm: ManuallyDrop<Vm>,
    inner: &'a Arc<Inner>,
    shared: ReentrantMutexGuard<'a, Shared>,
    st: *mut State,
    /// The end of the window before.
    top: u32,
}

impl<'a> Section<'a> {
    #[inline]
    pub fn new(inner: &'a Arc<Inner>) -> Result<Section<'a>> {
        let shared = inner.lock.lock();
        let st = shared.state()?;
        shared.pins.set(shared.pins.get() + 1);
        // SAFETY: nobody uses the state at this moment.
        let top = unsafe { (*st).frame().top };
        // SAFETY: the `Arc` is borrowed for longer than this exists.
        let vm = ManuallyDrop::new(unsafe { Vm::borrowed(Arc::as_ptr(inner)) });
        Ok(Section {
            vm,
            inner,
            shared,
            st,
            top,
        })
    }

    #[inline(always)]
    pub fn context(&self) -> Context<'_> {
        Context {
            vm: &self.vm,
            shared: &self.shared,
            st: self.st,
        }
    }

    /// The stack index of the first value pushed.
    pub fn first(&self) -> u32 {
        self.top
    }

    /// The number of values pushed.
    pub fn count(&self) -> u32 {
        self.context().with(|st| st.frame().top) - self.top
    }

    /// Calls the first value pushed with the others; the results take their place.
    #[inline]
    pub fn call(&self) -> Result<u32> {
        let (func, count) = (self.top, self.count());
        self.inner.protect_locked(&self.shared, |st, _| {
            let n = st.call(func, count - 1)?;
            st.frame_mut().top = func + n;
            Ok(n)
        })
    }

    /// Calls the second value pushed with those behind it and the first one as message handler; the results take the place of
    /// all but the first.
    pub fn call_handled(&self) -> Result<u32> {
        let (func, count) = (self.top + 1, self.count() - 1);
        self.inner.protect_locked(&self.shared, |st, _| {
            let n = st.call_handled(func, count - 1)?;
            st.frame_mut().top = func + n;
            Ok(n)
        })
    }
}

impl Drop for Section<'_> {
    #[inline]
    fn drop(&mut self) {
        self.shared.pins.set(self.shared.pins.get() - 1);
        if !self.shared.current.get().is_null() {
            // SAFETY: nobody uses the state.
            unsafe { (*self.st).frame_mut().top = self.top };
            if self.inner.attention.load(Ordering::Relaxed) {
                self.inner.attend(&self.shared);
            }
        }
    }
}

/// Lets `body`, which is host code, run in a host function that the engine has called with `st`. A panic becomes an
/// error that nothing in Lua catches.
#[inline]
pub(crate) fn enter<R>(
    st: &mut State,
    body: impl FnOnce(Context<'_>) -> Result<R>,
) -> std::result::Result<R, Raised> {
    // SAFETY: a state with host functions belongs to an `Inner`, which lives at least as long. The `Arc` is not dropped,
    // so its count need not have been raised.
    let vm = ManuallyDrop::new(unsafe { Vm::borrowed(st.host.cast()) });
    // SAFETY: the engine runs in `Inner::with`, so this thread holds the lock.
    let shared = unsafe { &*vm.inner.lock.data_ptr() };
    let cancelling = st.cancelling;
    let p: *mut State = st;
    let before = shared.current.replace(p);
    debug_assert!(before.is_null());
    let result = catch_unwind(AssertUnwindSafe(|| {
        body(Context {
            vm: &vm,
            shared,
            st: p,
        })
    }));
    shared.current.set(ptr::null_mut());
    left(st, &vm, shared, cancelling, result)
}

/// What a host function that has been left has done.
#[inline]
fn left<R>(
    st: &mut State,
    vm: &Vm,
    shared: &Shared,
    cancelling: bool,
    result: std::thread::Result<Result<R>>,
) -> std::result::Result<R, Raised> {
    match result {
        Ok(Ok(r)) if st.cancelling == cancelling => Ok(r),
        // It has been told to stop, and goes on as if it had not.
        Ok(Ok(_)) => Err(Raised),
        Ok(Err(error)) => Err(error::raise(st, shared, &vm.inner, error)),
        Err(payload) => {
            shared.panic.set(Some(payload));
            st.cancelling = true;
            Err(st.raise(Value::NIL))
        }
    }
}

/// The same for a host function that machine code has called. Returns the number of results, or -1 if an error has been raised:
/// then, and if `body` has used the state, the call has been shown.
///
/// # Safety
/// The call is in progress, and nobody uses its state.
#[inline(always)]
pub(crate) unsafe fn enter_directly(
    call: *mut DirectCall,
    body: impl FnOnce(Context<'_>) -> Result<i32>,
) -> i32 {
    // SAFETY: the caller's promise. A state with host functions belongs to an `Inner`, which lives at least as long; the `Arc`
    // is not dropped, so its count need not have been raised. The engine runs in `Inner::with`, so this thread holds the lock.
    let (st, vm) = unsafe {
        let st = (*call).state;
        (st, ManuallyDrop::new(Vm::borrowed((*st).host.cast())))
    };
    // SAFETY: as above.
    let (shared, cancelling) = unsafe { (&*vm.inner.lock.data_ptr(), (*st).cancelling) };
    debug_assert!(shared.current.get().is_null() && shared.direct.get().is_null());
    shared.direct.set(call);
    // Beside the result, which is then a number.
    let mut failure = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let context = Context {
            vm: &vm,
            shared,
            st,
        };
        match body(context) {
            Ok(n) => n,
            Err(error) => {
                failure = Some(error);
                -1
            }
        }
    }));
    let hidden = !shared.direct.get().is_null();
    shared.direct.set(ptr::null_mut());
    match result {
        Ok(n @ 0..) if hidden => n,
        result => {
            let result = result.map(|n| failure.map_or(Ok(n), Err));
            // SAFETY: the call is in progress, and has been shown exactly if it is not there any more.
            unsafe { left_directly(call, hidden, &vm, shared, cancelling, result) }
        }
    }
}

/// The end of a direct call that has been shown, or is to be shown now.
///
/// # Safety
/// As for [`enter_directly`].
#[cold]
#[inline(never)]
unsafe fn left_directly(
    call: *mut DirectCall,
    hidden: bool,
    vm: &Vm,
    shared: &Shared,
    cancelling: bool,
    result: std::thread::Result<Result<i32>>,
) -> i32 {
    if hidden {
        // SAFETY: the caller's promise.
        unsafe { DirectCall::show(call) };
    }
    shared.current.set(ptr::null_mut());
    // SAFETY: the caller's promise.
    let st = unsafe { &mut *(*call).state };
    left(st, vm, shared, cancelling, result).unwrap_or(-1)
}
