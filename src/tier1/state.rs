//! The state of one VM.
//!
//! The fields at the top are read by machine code. `record`, `stack` and their ends are the running
//! coroutine's, kept here while it runs and written back when another one takes over
//! ([`State::leave_coroutine`], [`State::enter_coroutine`]).

use std::alloc::{self, Layout};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::statistics::Counters;
use crate::bytecode::Instr;
use crate::bytecode::cache::POLY_MAX;
use crate::heap::OutOfMemory;
use crate::runtime::Runtime;
use crate::runtime::coroutine::{CallRecord, Coroutine, Hook, Status};
use crate::runtime::object::{Gc, Kind};
use crate::runtime::shape::ShapeId;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::Value;

/// Marks that an error is being raised; the error value is [`State::error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised;

/// The most slots a coroutine's stack may have.
pub const STACK_MAX: u32 = 1_000_000;
/// Slots beyond [`STACK_MAX`] that error handling may use.
const STACK_RESERVE: u32 = 4096;
/// Slots that are always free above a frame's registers: the arguments of a metamethod call.
pub const STACK_SLACK: u32 = 8;
/// The greatest [`State::native_depth`].
pub const NATIVE_DEPTH_MAX: u32 = 196;

/// Passes through a loop or function before its first recording.
const HOT_THRESHOLD: u32 = 64;
const FIRST_STACK: u32 = 48;
const FIRST_RECORDS: u32 = 6;
/// The largest stack, in slots, that [`State::stack_stress`] moves at every call: moving a stack that a deep recursion
/// has filled would take quadratic time.
const STRESSED_STACK: u32 = 2048;
/// The same for the stack of call records.
const STRESSED_RECORDS: u32 = 200;
/// What [`State::stack_stress`] leaves where a stack was.
const POISON: u8 = 0xdb;

/// Bits of [`State::interrupt`].
pub mod interrupt {
    /// Finalizers are waiting.
    pub const FINALIZE: u32 = 2;
    /// Somebody wants an error to be raised that the program can catch.
    pub const RAISE: u32 = 1 << 8;
    /// The host has asked the VM to stop; the collector wants to run.
    pub use crate::heap::{CANCEL, COLLECT};
    /// Hooks are due in the running coroutine: set as long as [`State::hook_events`](super::State::hook_events) is not 0.
    pub const HOOK: u32 = 1 << 16;
}

/// Takes a piece of a warning, and whether more of it follows.
pub type WarningSink = Box<dyn FnMut(&[u8], bool) + Send>;

/// The state of a VM.
#[repr(C)]
pub struct State {
    /// Nonzero when something is to be done at the next poll; see [`interrupt`].
    pub interrupt: AtomicU32,
    /// The current activation.
    pub record: *mut CallRecord,
    pub stack: *mut Value,
    /// Frames must end at or below this.
    pub stack_limit: *mut Value,
    pub records_end: *mut CallRecord,
    /// The end of the last open list of values.
    pub top: *mut Value,
    pub rt: Runtime,
    pub co: Gc<Coroutine>,
    pub main: Gc<Coroutine>,
    /// The error being raised.
    pub error: Value,
    /// What a host function that returned a request wants done.
    pub(super) pending: Option<super::call::Step>,
    /// States of host functions that wait for what they have called, the innermost last.
    pub(super) waiting: Vec<super::callback::Waiting>,
    /// Whether the message handler has already been applied to `error`.
    pub error_handled: bool,
    /// The depth of the activation that has raised `error`, as long as nothing has changed the stack since then;
    /// otherwise 0.
    pub(super) raised_depth: u32,
    /// Activations of the interpreter on the native stack, and what counts like them (see [`super::callback`]).
    pub native_depth: u32,
    pub globals: Gc<Table>,
    /// Values that library and host keep alive by name.
    pub registry: Gc<Table>,
    /// Values that host handles keep alive.
    pub handles: crate::tier1::native::HandleTable,
    /// The message of an out-of-memory error, made in advance.
    pub memory_message: Gc<Str>,
    /// Heat at which a loop or function is recorded.
    pub hot_threshold: u32,
    /// The most shapes that the inline cache of an instruction distinguishes.
    pub cached_shapes: usize,
    /// Whether the stacks of the running coroutine are moved, with no room to spare, whenever room on them is asked for:
    /// pointers that are used for too long then find [`POISON`].
    pub(super) stack_stress: bool,
    /// What the recording dispatch noted last.
    pub recording: crate::tier1::recording::Recording,
    pub counters: Counters,
    /// Whether tier 1 counts the instructions that it executes.
    pub count_instructions: bool,
    /// Whether finalizers are running: they do not nest.
    pub finalizing: bool,
    /// The traceback of the last error that nothing caught, if the host wants one.
    pub traceback: Option<Vec<u8>>,
    /// Whether to keep a traceback of errors that reach the host.
    pub keep_traceback: bool,
    /// Whether the error being raised is the host's request to stop, which nothing catches.
    pub cancelling: bool,
    /// Where warnings go.
    pub warnings: Option<WarningSink>,
    /// Values that belong to library modules (the state of `math.random`, open files, ...).
    pub extensions: crate::tier1::native::Extensions,
    /// The embedding's part of the VM, for host functions; null without one.
    pub host: *const (),
    /// The hook of the host, for all coroutines.
    pub(super) host_hook: Hook,
    /// The events that hooks want from the running coroutine; not 0 selects the dispatch loop with hooks.
    pub hook_events: u8,
    /// A leaf function has been called without a record. Errors are not made then, since nobody will see them.
    pub in_leaf: bool,
    /// The values that the hooked call or return passes.
    pub(super) transfer: super::hook::Transfer,
    pub tier2: crate::tier2::Tier2,
}

// SAFETY: all raw pointers point into memory that this state owns; nothing is shared with another VM, and
// host values stored in it are `Send`. A state is used by one thread at a time (`&mut`).
unsafe impl Send for State {}

impl State {
    /// A VM without libraries; opening them makes its globals a holder. Boxed, because others may point to its interrupt word.
    pub fn new() -> Result<Box<State>, OutOfMemory> {
        let mut rt = Runtime::new()?;
        let globals = rt.new_table(ShapeId::EMPTY, 0)?;
        let registry = rt.new_table(ShapeId::EMPTY, 0)?;
        let main = State::new_coroutine(&mut rt)?;
        let memory_message = rt.intern_static(b"not enough memory")?;
        let mut st = Box::new(State {
            interrupt: AtomicU32::new(0),
            record: ptr::null_mut(),
            stack: ptr::null_mut(),
            stack_limit: ptr::null_mut(),
            records_end: ptr::null_mut(),
            top: ptr::null_mut(),
            rt,
            co: main,
            main,
            error: Value::NIL,
            pending: None,
            waiting: Vec::new(),
            error_handled: false,
            raised_depth: 0,
            native_depth: 0,
            globals,
            registry,
            handles: Default::default(),
            memory_message,
            hot_threshold: HOT_THRESHOLD,
            cached_shapes: POLY_MAX,
            stack_stress: false,
            recording: Default::default(),
            counters: Counters::default(),
            count_instructions: false,
            finalizing: false,
            traceback: None,
            keep_traceback: false,
            cancelling: false,
            warnings: None,
            extensions: Default::default(),
            host: ptr::null(),
            host_hook: Hook::NONE,
            hook_events: 0,
            in_leaf: false,
            transfer: Default::default(),
            tier2: Default::default(),
        });
        st.enter_coroutine(main);
        let word: *const AtomicU32 = &st.interrupt;
        // SAFETY: the state is boxed and owns the heap.
        unsafe { st.rt.heap.set_interrupt_word(word) };
        Ok(st)
    }

    /// Raises `v`.
    #[cold]
    pub fn raise(&mut self, v: Value) -> Raised {
        self.error = v;
        self.error_handled = false;
        Raised
    }

    /// Raises "not enough memory".
    #[cold]
    pub fn raise_memory(&mut self) -> Raised {
        let message = self.memory_message;
        self.raise(Value::string(message))
    }

    /// A new string as a value.
    pub fn string_value(&mut self, bytes: &[u8]) -> Result<Value, Raised> {
        let s = self.rt.new_string(bytes);
        self.check_memory(s).map(Value::string)
    }

    /// Turns a failed allocation into a raised error.
    #[inline(always)]
    pub fn check_memory<T>(&mut self, r: Result<T, OutOfMemory>) -> Result<T, Raised> {
        match r {
            Ok(v) => Ok(v),
            Err(OutOfMemory) => Err(self.raise_memory()),
        }
    }

    /// Asks the interpreter to look at `bits` at its next poll.
    #[inline]
    pub fn request(&self, bits: u32) {
        self.interrupt.fetch_or(bits, Ordering::Relaxed);
    }

    /// The stack index of a slot.
    #[inline(always)]
    pub fn index_of(&self, slot: *const Value) -> u32 {
        // SAFETY: both point into the running coroutine's stack.
        unsafe { slot.offset_from(self.stack) as u32 }
    }

    /// The slot at a stack index.
    #[inline(always)]
    pub fn slot(&self, index: u32) -> *mut Value {
        debug_assert!(index <= self.co.stack_size.get());
        // SAFETY: indices in use are within the stack.
        unsafe { self.stack.add(index as usize) }
    }

    /// The current activation.
    #[inline(always)]
    pub fn frame(&self) -> &CallRecord {
        // SAFETY: there always is a current record: a coroutine's first is pushed when it is made.
        unsafe { &*self.record }
    }

    /// The current activation, to be changed.
    #[inline(always)]
    pub fn frame_mut(&mut self) -> &mut CallRecord {
        // SAFETY: as in `frame`; `&mut self` makes it the only reference.
        unsafe { &mut *self.record }
    }

    /// The number of records of the running coroutine.
    #[inline]
    pub fn depth(&self) -> u32 {
        // SAFETY: both point into the record stack.
        unsafe { self.record.offset_from(self.co.records.get()) as u32 + 1 }
    }

    /// Makes a suspended coroutine with an empty first record.
    pub fn new_coroutine(rt: &mut Runtime) -> Result<Gc<Coroutine>, OutOfMemory> {
        let stack_layout = stack_layout(FIRST_STACK);
        let record_layout = record_layout(FIRST_RECORDS);
        rt.heap.charge(stack_layout.size() + record_layout.size())?;
        // SAFETY: neither layout is empty. All bits zero is nil.
        let (stack, records) =
            unsafe { (alloc::alloc_zeroed(stack_layout) as *mut Value, alloc::alloc_zeroed(record_layout) as *mut CallRecord) };
        let cell = if stack.is_null() || records.is_null() {
            Err(OutOfMemory)
        } else {
            rt.heap.alloc(size_of::<Coroutine>())
        };
        let cell = match cell {
            Ok(cell) => cell,
            Err(e) => {
                // SAFETY: allocated above with these layouts, and not used elsewhere.
                unsafe {
                    if !stack.is_null() {
                        alloc::dealloc(stack as *mut u8, stack_layout);
                    }
                    if !records.is_null() {
                        alloc::dealloc(records as *mut u8, record_layout);
                    }
                }
                rt.heap.discharge(stack_layout.size() + record_layout.size());
                return Err(e);
            }
        };
        let p = cell.cast::<Coroutine>();
        // SAFETY: the cell is fresh and large enough; the stack has at least one slot and one record.
        let co = unsafe {
            // The stack's slots are nil: all bits zero.
            records.write(CallRecord::bottom());
            p.write(Coroutine {
                barrier: Default::default(),
                kind: Kind::Coroutine,
                status: Status::Suspended.into(),
                hooks_running: 0.into(),
                non_yieldable: 0.into(),
                catching: 0.into(),
                stack: stack.into(),
                stack_size: FIRST_STACK.into(),
                top: 1.into(),
                records: records.into(),
                records_size: FIRST_RECORDS.into(),
                depth: 1.into(),
                resumer: None.into(),
                to_close: Vec::new().into(),
                hook: Hook::NONE.into(),
                hook_pc: 0.into(),
            });
            Gc::from_ptr(p)
        };
        rt.heap.register_coroutine(co)?;
        Ok(co)
    }

    /// Writes the running coroutine's state back into its object.
    pub fn leave_coroutine(&mut self) {
        let depth = self.depth();
        self.co.depth.set(depth);
        let top = self.index_of(self.top);
        self.co.top.set(top);
    }

    /// Makes `co` the running coroutine.
    #[inline]
    pub fn enter_coroutine(&mut self, co: Gc<Coroutine>) {
        self.co = co;
        self.stack = co.stack.get();
        self.stack_limit = self.limit_of_stack();
        // SAFETY: the coroutine's own sizes.
        unsafe {
            self.record = co.records.get().add(co.depth.get() as usize - 1);
            self.records_end = co.records.get().add(co.records_size.get() as usize);
            self.top = self.stack.add(co.top.get() as usize);
        }
        co.status.set(Status::Running);
        if self.hook_events | self.host_hook.events | co.hook.get().events != 0 {
            self.update_hook_events();
        }
    }

    /// Moves stacks at every call from now on.
    pub fn set_stack_stress(&mut self, on: bool) {
        self.stack_stress = on;
        self.stack_limit = self.limit_of_stack();
    }

    /// What [`State::stack_limit`] is for the running coroutine. Under stress no frame fits, so that each makes room first.
    fn limit_of_stack(&self) -> *mut Value {
        let size = self.co.stack_size.get();
        let usable = if self.stack_stress && size <= STRESSED_STACK { 0 } else { size - STACK_SLACK };
        // SAFETY: within the stack.
        unsafe { self.stack.add(usable as usize) }
    }

    /// Whether slots up to index `end` may be used without asking for room.
    #[inline(always)]
    pub(super) fn slot_fits(&self, end: u32) -> bool {
        self.stack.wrapping_add(end as usize) <= self.stack_limit
    }

    /// Makes room for slots up to index `end` of the running coroutine (and the slack behind). Moves the stack:
    /// slot pointers become invalid, indices stay. `self.top` is kept.
    #[cold]
    #[inline(never)]
    pub fn grow_stack(&mut self, end: u32) -> Result<(), Raised> {
        if self.in_leaf {
            return Err(Raised);
        }
        let old = self.co.stack_size.get();
        let need = end.saturating_add(STACK_SLACK);
        if self.stack_stress && self.depth() <= STRESSED_RECORDS && need.max(self.stack_in_use()) <= STRESSED_STACK {
            return self.move_stacks(need);
        }
        if need <= old {
            return Ok(());
        }
        let limit = if old > STACK_MAX { STACK_MAX + STACK_RESERVE } else { STACK_MAX };
        if need > limit {
            if old > STACK_MAX {
                let message = self.string_value(b"error in error handling")?;
                return Err(self.raise(message));
            }
            // The handler of this very error needs a little more.
            self.resize_stack(STACK_MAX + STACK_RESERVE)?;
            return Err(self.raise_text("stack overflow"));
        }
        self.resize_stack(need.max((old * 2).min(STACK_MAX)))
    }

    /// The slots that the running coroutine cannot do without, and the slack. Windows overlap: the registers of a function
    /// may end above those of what it has called.
    fn stack_in_use(&self) -> u32 {
        let mut end = self.index_of(self.top);
        for depth in (1..=self.depth()).rev() {
            let record = self.record_at(depth);
            end = end.max(record.top);
            // Functions further below begin further below.
            if record.base + Instr::MAX_REGISTERS as u32 <= end {
                break;
            }
        }
        end + STACK_SLACK
    }

    /// Gives back the reserve that a stack overflow took, once the stack is used normally again.
    pub(crate) fn shrink_reserve(&mut self) {
        let most = if self.stack_stress { STRESSED_STACK } else { STACK_MAX };
        if self.co.stack_size.get() > most && self.stack_in_use() < most {
            // Shrinking in place cannot fail in a way that matters: the larger stack stays usable.
            let _ = self.resize_stack(most);
        }
    }

    /// Moves both stacks of the running coroutine, and leaves no more than `need` slots and the records in use.
    fn move_stacks(&mut self, need: u32) -> Result<(), Raised> {
        // Activations that have been popped are not to be looked at again.
        self.raised_depth = 0;
        self.resize_records(self.depth())?;
        self.resize_stack(need.max(self.stack_in_use()))
    }

    fn resize_stack(&mut self, size: u32) -> Result<(), Raised> {
        let old = self.co.stack_size.get();
        let top = self.index_of(self.top);
        let p = self.resize(self.stack as *mut u8, stack_layout(old), stack_layout(size))? as *mut Value;
        if size > old {
            // SAFETY: the new part of the allocation. The collector relies on every slot holding a value.
            unsafe { p.add(old as usize).write_bytes(0, (size - old) as usize) };
        }
        self.co.stack.set(p);
        self.co.stack_size.set(size);
        self.stack = p;
        self.stack_limit = self.limit_of_stack();
        // SAFETY: within the new allocation: callers shrink only above what is in use.
        self.top = unsafe { p.add(top as usize) };
        Ok(())
    }

    /// Makes room for one more record. Moves the records.
    #[cold]
    #[inline(never)]
    pub fn grow_records(&mut self) -> Result<(), Raised> {
        let old = self.co.records_size.get();
        let stressed = self.stack_stress && old <= STRESSED_RECORDS;
        self.resize_records(if stressed { old + 1 } else { old * 2 })
    }

    fn resize_records(&mut self, size: u32) -> Result<(), Raised> {
        let depth = self.depth();
        let old = self.co.records_size.get();
        let (old_layout, new_layout) = (record_layout(old), record_layout(size));
        let p = self.resize(self.co.records.get() as *mut u8, old_layout, new_layout)? as *mut CallRecord;
        self.co.records.set(p);
        self.co.records_size.set(size);
        // SAFETY: within the new allocation: callers shrink only above the current record.
        unsafe {
            // Machine code does not write all of the records that it pushes.
            p.add(old.min(size) as usize).write_bytes(0, size.saturating_sub(old) as usize);
            self.record = p.add(depth as usize - 1);
            self.records_end = p.add(size as usize);
        }
        Ok(())
    }

    /// Reallocates a stack, whose memory is charged. Under stress it always moves.
    fn resize(&mut self, p: *mut u8, old: Layout, new: Layout) -> Result<*mut u8, Raised> {
        let more = new.size().saturating_sub(old.size());
        if more > 0 {
            let charged = self.rt.heap.charge(more);
            self.check_memory(charged)?;
        }
        let moved = if self.stack_stress {
            // SAFETY: the new size is not zero; `p` was allocated with `old`, and no pointer to it is used again. Poisoning
            // it is what makes that visible.
            unsafe {
                let moved = alloc::alloc(new);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(p, old.size().min(new.size()));
                    p.write_bytes(POISON, old.size());
                    alloc::dealloc(p, old);
                }
                moved
            }
        } else {
            // SAFETY: allocated with `old`; the new size is not zero.
            unsafe { alloc::realloc(p, old, new.size()) }
        };
        if moved.is_null() {
            self.rt.heap.discharge(more);
            return Err(self.raise_memory());
        }
        self.rt.heap.discharge(old.size().saturating_sub(new.size()));
        Ok(moved)
    }

    /// Pushes a record for a function whose first register is at `base` and whose window ends at `top`.
    #[inline(always)]
    pub fn push_record(&mut self, record: CallRecord) -> Result<(), Raised> {
        // SAFETY: one past the current record is at most the end of the allocation.
        let mut next = unsafe { self.record.add(1) };
        if next == self.records_end {
            self.grow_records()?;
            // SAFETY: there is room now.
            next = unsafe { self.record.add(1) };
        }
        // SAFETY: `next` lies within the record stack.
        unsafe { next.write(record) };
        self.record = next;
        Ok(())
    }

    /// Drops the current record.
    #[inline(always)]
    pub fn pop_record(&mut self) {
        debug_assert!(self.depth() > 1);
        // SAFETY: the first record of a coroutine is never popped.
        self.record = unsafe { self.record.sub(1) };
    }
}

impl CallRecord {
    /// The first record of a coroutine: a host frame without a function, at slot 1.
    pub fn bottom() -> CallRecord {
        use crate::runtime::coroutine::{Continuation, record_flags};
        CallRecord {
            pc: ptr::null(),
            return_site: ptr::null(),
            then: None,
            base: 1,
            top: 1,
            extra_args: 0,
            wanted: -1,
            continuation: Continuation::Host,
            flags: record_flags::NATIVE,
            aux: 0,
        }
    }
}

/// The memory of a value stack with `slots` slots.
pub fn stack_layout(slots: u32) -> Layout {
    Layout::array::<Value>(slots as usize).expect("a stack is far smaller than the address space")
}

/// The memory of a record stack with `records` records.
pub fn record_layout(records: u32) -> Layout {
    Layout::array::<CallRecord>(records as usize).expect("a record stack is far smaller than the address space")
}
