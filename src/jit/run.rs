//! Running machine code: entering, leaving, call-outs.
//!
//! An [`Activation`] begins when tier 1 enters an executor and ends when control is back in tier 1. In between machine code goes
//! from one executor to another along patched edges without telling anybody; at exits and call-outs it says whose code it is.
//! While an activation lasts, the current record is that of the running executor's first frame, except during
//! call-outs, and the frame's `slots` its slot 0; `pc` of that record and `top` of the state mean nothing.
//!
//! Nothing unwinds through machine code: errors, and panics of host functions, wait in the activation until control has left.
//!
//! Invariants: code is not freed while activations are counted in `Tier2::active`; what the frame says of the stacks is true
//! whenever machine code runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::frame::Frame;
use super::memory::MemoryError;
use super::outside::Outside;
use super::plan::Located;
use super::{CallOut, CompileError, Engine, Info, Machine, Parent, Watch, compile};
use crate::bytecode::cache::LoopSite;
use crate::heap::OutOfMemory;
use crate::runtime::coroutine::Coroutine;
use crate::runtime::object::Gc;
use crate::runtime::shape::Shapes;
use crate::runtime::value::Value;
use crate::tier1::call::Outcome;
use crate::tier1::native::{DirectCall, DirectFn};
use crate::tier1::{Args, Raised, State, slow};
use crate::tier2::executor::{Anchor, Executor};
use crate::tier2::superblock::{SnapshotId, Superblock};
use crate::tier2::uop::{self, Calling, Next, Request};
use crate::tier2::{CodeSettings, deopt};

/// Machine code's part of a VM.
#[derive(Default)]
pub struct Jit {
    /// Made when the first superblock is compiled.
    engine: Option<Arc<Engine>>,
    /// Whether that has failed: it is not tried again.
    failed: bool,
    /// What all code of the VM does for those who look at it.
    pub watch: Watch,
    pub outside: Outside,
    pub settings: CodeSettings,
    /// Whether code has not found room since this was last asked.
    pub exhausted: bool,
    /// Frames that no activation uses at the moment, each in a list of its own.
    frames: Vec<Vec<Frame>>,
    /// How many frames there are, used or not.
    made: usize,
}

impl Jit {
    /// The code of a superblock, which begins in memory or at an exit of an executor.
    pub fn compile(
        &mut self,
        sb: &Superblock,
        shapes: &Shapes,
        parent: Option<(&Executor, SnapshotId)>,
    ) -> Option<Machine> {
        if self.engine.is_none() && !self.failed {
            self.engine = Engine::for_settings(self.settings).ok();
            self.failed = self.engine.is_none();
            if let Some(engine) = &self.engine {
                self.outside.publish_stubs(engine.stubs.bytes());
            }
        }
        let engine = self.engine.as_ref()?;
        let parent = parent.map(|(executor, exit)| Parent {
            executor,
            code: executor.code.machine(),
            exit,
        });
        match compile(engine, sb, shapes, parent, self.watch) {
            Ok(code) => Some(code),
            Err(error) => {
                self.exhausted |=
                    matches!(error, CompileError::Memory(MemoryError::Exhausted { .. }));
                None
            }
        }
    }

    /// A frame, if there is memory for one.
    fn take_frame(&mut self) -> Option<Vec<Frame>> {
        if let Some(frame) = self.frames.pop() {
            return Some(frame);
        }
        let mut frame = Vec::new();
        frame.try_reserve_exact(1).ok()?;
        // There is room for all of them to come back.
        self.frames.try_reserve(self.made + 1).ok()?;
        self.made += 1;
        frame.push(Frame {
            state: ptr::null_mut(),
            slots: ptr::null_mut(),
            limit: ptr::null_mut(),
            records_end: ptr::null_mut(),
            output: [0; 2],
            exit: 0,
            left: ptr::null(),
            spills: [0; super::frame::SPILLS],
            args: [0; 10],
            gprs: [0; 16],
            xmms: [0; 16],
            activation: ptr::null_mut(),
        });
        Some(frame)
    }
}

/// How control is to go on when machine code has been left for good.
enum Left {
    /// In tier 1.
    Done(Result<Outcome, Raised>),
    Panic(Box<dyn Any + Send>),
}

/// An executor that is running, or another one that control has come to from there.
pub struct Activation {
    frame: *mut Frame,
    executor: *const Executor,
    /// The executor that was running when this activation began: a call-out of its has led here.
    outer: *const Executor,
    /// The stack index of slot 0.
    origin: u32,
    /// The running coroutine, and its records up to the first frame's.
    co: Gc<Coroutine>,
    depth: u32,
    left: Option<Left>,
}

/// Enters an executor that begins in memory, in the current record. When this returns, control is in tier 1 again, at
/// the current record's program counter. An executor for whose frames there is no room is not entered.
pub fn run(st: &mut State, executor: *const Executor) -> Result<Outcome, Raised> {
    let Some(mut owned) = st.tier2.jit.take_frame() else {
        return Ok(Outcome::Continue);
    };
    let mut activation = Activation {
        frame: owned.as_mut_ptr(),
        executor,
        outer: st.tier2.current,
        origin: 0,
        co: st.co,
        depth: 0,
        left: None,
    };
    st.tier2.active += 1;
    let left = activation.run(st, executor);
    st.tier2.active -= 1;
    st.tier2.current = activation.outer;
    // As many as have been made: there is room.
    st.tier2.jit.frames.push(owned);
    match left {
        Left::Done(result) => result,
        Left::Panic(payload) => resume_unwind(payload),
    }
}

impl Activation {
    fn run(&mut self, st: &mut State, mut executor: *const Executor) -> Left {
        loop {
            if !self.enter_in_memory(st, executor) {
                return Left::Done(Ok(Outcome::Continue));
            }
            // SAFETY: whoever enters an executor knows it from a place or edge, which keeps it alive.
            let code = unsafe { &*executor }.code.machine();
            // SAFETY: the frame is set up for code that begins in memory, with room for its frames.
            unsafe {
                (*self.frame).state = st;
                (*self.frame).activation = self;
                (*self.frame).left = ptr::null();
                code.engine.stubs.enter(self.frame, code.entry());
            }
            // SAFETY: the frame is this activation's.
            let info = unsafe { (*self.frame).left };
            let left = match self.left.take() {
                // A frame has been pushed, replaced or popped, and no code goes on.
                None if info.is_null() => Some(Left::Done(Ok(Outcome::Continue))),
                left => left,
            };
            match left {
                None => {}
                Some(Left::Done(Ok(Outcome::Continue))) => match st.next_executor() {
                    Some(next) => {
                        executor = next;
                        continue;
                    }
                    None => return Left::Done(Ok(Outcome::Continue)),
                },
                Some(left) => return left,
            }
            // SAFETY: machine code has left by an exit of the code whose information it has put there, and has just run.
            let (executor_left, exit) = unsafe {
                (
                    (*info).executor.get(),
                    SnapshotId((*self.frame).exit as u32),
                )
            };
            self.switch_to(st, executor_left);
            self.locate(st);
            match self.exit(st, exit) {
                Ok(Some(next)) => executor = next,
                Ok(None) => return Left::Done(Ok(Outcome::Continue)),
                Err(raised) => return Left::Done(Err(raised)),
            }
        }
    }

    /// Makes `executor` the running one, beginning in the current record. False if there is no room.
    fn enter_in_memory(&mut self, st: &mut State, executor: *const Executor) -> bool {
        // SAFETY: as in `run`.
        let e = unsafe { &*executor };
        debug_assert!(e.is_valid());
        if !deopt::make_room(st, e.room) {
            return false;
        }
        self.origin = st.frame().base - 1;
        self.co = st.co;
        self.depth = st.depth();
        self.switch_to(st, executor);
        e.wake();
        self.refresh(st);
        true
    }

    fn switch_to(&mut self, st: &mut State, executor: *const Executor) {
        self.executor = executor;
        st.tier2.current = executor;
    }

    /// Machine code may have pushed and popped frames, and switched coroutines: sees where it stands.
    fn locate(&mut self, st: &State) {
        // SAFETY: the frame is this activation's, and machine code is not running.
        self.origin = st.index_of(unsafe { (*self.frame).slots });
        (self.co, self.depth) = (st.co, st.depth());
    }

    /// Control is at the beginning of some code, in the current record: tells it where that stands.
    #[inline]
    fn stand(&mut self, st: &mut State) {
        self.origin = st.frame().base - 1;
        self.refresh(st);
    }

    /// Tells machine code where the stacks are now.
    fn refresh(&mut self, st: &mut State) {
        // SAFETY: the frame is this activation's, and machine code is not running.
        let frame = unsafe { &mut *self.frame };
        frame.slots = st.slot(self.origin);
        // One by one: a load of both would wait for the stores of each, which are often recent.
        // SAFETY: as above.
        unsafe {
            ptr::write_volatile(&mut frame.limit, st.stack_limit);
            ptr::write_volatile(&mut frame.records_end, st.records_end);
        }
    }

    /// Leaves through an exit: to the executor that is returned, which begins in memory, or to tier 1.
    fn exit(&mut self, st: &mut State, id: SnapshotId) -> Result<Option<*const Executor>, Raised> {
        // SAFETY: the running executor.
        let e = unsafe { &*self.executor };
        // SAFETY: the running executor.
        let pc = e.superblock.snapshot_at(id).pc;
        let running = CallingOut {
            activation: self,
            out: None,
        };
        let stored = running.store(st, id);
        running.materialise(st, id, pc);
        st.check_memory(stored)?;
        // SAFETY: a patched edge keeps its target alive.
        let next = match unsafe { e.exit(id).target.get().as_ref() } {
            Some(target) => {
                // Machine code comes here only if there was no room, or if the target sleeps.
                e.wake_target(id, target);
                let in_memory = matches!(target.anchor, Anchor::Site(_));
                in_memory.then_some(&raw const *target)
            }
            None => {
                st.exit_taken(e, id);
                None
            }
        };
        Ok(next)
    }
}

/// An activation that makes a call-out, or leaves.
struct CallingOut<'a> {
    activation: &'a mut Activation,
    out: Option<&'a CallOut>,
}

impl Calling for CallingOut<'_> {
    fn executor(&self) -> *const Executor {
        self.activation.executor
    }

    fn origin(&self) -> u32 {
        self.activation.origin
    }

    fn stack(&self) -> (Gc<Coroutine>, u32) {
        (self.activation.co, self.activation.depth)
    }

    fn input(&self, k: usize) -> Value {
        let out = self.out.expect("inputs are those of a call-out");
        // SAFETY: the frame is this activation's, and machine code is not running.
        unsafe { (*self.activation.frame).value(&out.inputs[k]) }
    }

    fn set_output(&mut self, word: u64) {
        // SAFETY: as above.
        unsafe { (*self.activation.frame).output[0] = word };
    }

    fn has_records(&self) -> bool {
        // Machine code pushes them before such call-outs.
        self.out.is_some_and(|out| out.request.needs_records())
    }

    fn store(&self, st: &mut State, id: SnapshotId) -> Result<(), OutOfMemory> {
        if self.out.is_some() {
            // Machine code has done that.
            return Ok(());
        }
        // SAFETY: the running executor; room was made for its slots. The frame is as above.
        unsafe {
            let (e, frame) = (&*self.activation.executor, &*self.activation.frame);
            let located = e.code.machine().info.exits.at(&e.superblock, id);
            let located: SmallVec<[Located; 32]> = located.collect();
            let value = |k: usize| frame.value(&located[k]);
            deopt::store_snapshot(st, &e.superblock, self.activation.origin, id, value)
        }
    }
}

/// Control goes on behind the call-out.
pub const ON: u64 = 0;
/// Control leaves for the call-out's exit.
pub const EXIT: u64 = 1;
/// Control is elsewhere already.
pub const LEFT: u64 = 2;

/// Performs a call-out of the code that `info` belongs to.
///
/// # Safety
/// The frame is that of the running activation, with the registers of inputs saved in it. The slots of the call-out's
/// snapshot have been stored.
pub unsafe extern "C" fn call_out(frame: *mut Frame, info: *const Info, at: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        calling_out(frame, info, at, |st, calling, out| {
            uop::call_out(st, calling, out)
        })
    }
}

/// The same for `CALL_NATIVE`.
///
/// # Safety
/// As for [`call_out`].
pub unsafe extern "C" fn call_native(frame: *mut Frame, info: *const Info, at: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        calling_out(frame, info, at, |st, calling, out| {
            uop::call_native(st, calling, out)
        })
    }
}

/// Performs `SWITCH`, and returns the address of the code that goes on; null if control leaves. The function is in `func`, with
/// one less than `count` arguments behind it, or an open list of them; `return_site` is that of the call.
///
/// # Safety
/// As for [`call_out`].
pub unsafe extern "C" fn switch(
    frame: *mut Frame,
    info: *const Info,
    at: u64,
    func: *mut Value,
    count: u32,
    return_site: *const LoopSite,
) -> *const u8 {
    // SAFETY: the caller's promise. Where control is afterwards everything is in memory, and places have code that begins there.
    unsafe {
        let st = &mut *(*frame).state;
        let wanted = (&(*info).call_outs)[at as usize].request.operands[2] as i16 - 1;
        let nargs = match count {
            0 => st.top.offset_from(func) as u32 - 1,
            n => n - 1,
        };
        let code = match st.switch_directly(func, nargs, wanted, return_site) {
            Some(site) if !site.is_null() => (*site).code.get(),
            Some(_) => st.code_to_go_on(),
            None => return go_elsewhere(frame, info, at),
        };
        (*(*frame).activation).stand(st);
        code
    }
}

/// Performs a call-out with which the code ends, and returns the address of the code that goes on; null if control leaves.
///
/// # Safety
/// As for [`call_out`].
pub unsafe extern "C" fn go_elsewhere(frame: *mut Frame, info: *const Info, at: u64) -> *const u8 {
    // SAFETY: the caller's promise.
    unsafe {
        calling_out(frame, info, at, |st, calling, out| {
            uop::call_out(st, calling, out)
        });
        let (activation, st) = (&mut *(*frame).activation, &mut *(*frame).state);
        if !matches!(activation.left, Some(Left::Done(Ok(Outcome::Continue)))) {
            return ptr::null();
        }
        st.settle_assumptions();
        let code = st.code_to_go_on();
        if !code.is_null() {
            activation.left = None;
            activation.stand(st);
        }
        code
    }
}

/// A direct call of machine code: of a host function with such code, whose arguments are in its slots. No records are pushed, unless
/// it is shown.
#[repr(C)]
struct Direct {
    call: DirectCall,
    frame: *mut Frame,
    info: *const Info,
    at: u64,
    /// Counted when it was shown, and the function, which its results may replace.
    disturbances: u64,
    native: Value,
}

/// Performs a direct call of the code that `info` belongs to.
///
/// # Safety
/// As for [`call_out`]; `code` is that of the host function in the call-out's slot.
pub unsafe extern "C" fn call_directly(
    frame: *mut Frame,
    info: *const Info,
    at: u64,
    code: DirectFn,
) -> u64 {
    // SAFETY: the caller's promise; only `code` and what it calls refer to the state while it runs.
    unsafe {
        let st = (*frame).state;
        let out = &(&(*info).call_outs)[at as usize];
        let operands = &out.request.operands;
        let func = (*st).index_of((*frame).slots) + operands[0] as u32;
        let args = Args {
            base: func + 1,
            count: operands[1] as u32 - 1,
        };
        if !slow::has_room_for_native(&*st, out.inlined, args) {
            show_frames(frame, info, at);
            return call_native(frame, info, at);
        }
        let call = DirectCall::new(st, args, show);
        let mut direct = Direct {
            call,
            frame,
            info,
            at,
            disturbances: 0,
            native: Value::NIL,
        };
        let results = code((&raw mut direct).cast(), args.base, args.count);
        if !direct.call.shown {
            slow::complete_results(&mut *st, func, results, operands[2] as i16 - 1);
            return ON;
        }
        // The stack may have moved.
        (*frame).slots = (*st).slot((*(*frame).activation).origin);
        calling_out(frame, info, at, |st, calling, out| {
            // A host function that has returned is not among the records that code pushes.
            calling.activation.depth -= (results >= 0) as u32;
            let Direct {
                disturbances,
                native,
                ..
            } = direct;
            uop::direct_call_returned(st, calling, out, disturbances, native, results)
        })
    }
}

/// Pushes the records of a call-out's frames, as machine code does for others.
///
/// # Safety
/// As for [`call_out`], without the records.
unsafe fn show_frames(frame: *mut Frame, info: *const Info, at: u64) {
    // SAFETY: the caller's promise; room was made for the records.
    unsafe {
        let (activation, st, info) = (&mut *(*frame).activation, &mut *(*frame).state, &*info);
        activation.switch_to(st, info.executor.get());
        activation.locate(st);
        let sb = &(*activation.executor).superblock;
        let out = &info.call_outs[at as usize].request;
        let pc = sb.snapshot_at(out.exit).pc + out.behind();
        deopt::materialise(st, sb, activation.origin, out.exit, pc);
    }
}

/// Shows a direct call.
///
/// # Safety
/// It is in progress, the call of a [`Direct`], and has not been shown.
unsafe fn show(call: *mut DirectCall) {
    // SAFETY: the caller's promise. Room for the function's record was made sure of.
    unsafe {
        let direct = call.cast::<Direct>();
        let (frame, info, at) = ((*direct).frame, (*direct).info, (*direct).at);
        show_frames(frame, info, at);
        let st = &mut *(*frame).state;
        (*direct).disturbances = st.tier2.disturbances;
        (*direct).native = Value::load(st.slot((*call).args.base - 1));
        let out = &(&(*info).call_outs)[at as usize].request;
        slow::show_native(st, (*call).args, out.operands[2] as i16 - 1);
    }
}

/// # Safety
/// As for [`call_out`].
#[inline(always)]
unsafe fn calling_out(
    frame: *mut Frame,
    info: *const Info,
    at: u64,
    perform: impl FnOnce(&mut State, &mut CallingOut, &Request) -> Result<Next, Raised>,
) -> u64 {
    // SAFETY: the caller's promise; the activation and the state are referred to by nobody else while machine code runs.
    let (activation, st, info) =
        unsafe { (&mut *(*frame).activation, &mut *(*frame).state, &*info) };
    activation.switch_to(st, info.executor.get());
    info.counts.call_out();
    let out = &info.call_outs[at as usize];
    activation.locate(st);
    activation.depth -= out.inlined;
    let next = catch_unwind(AssertUnwindSafe(|| {
        let mut calling = CallingOut {
            activation: &mut *activation,
            out: Some(out),
        };
        perform(st, &mut calling, &out.request)
    }));
    let left = match next {
        Ok(Ok(Next::On)) => {
            activation.refresh(st);
            return ON;
        }
        Ok(Ok(Next::Exit(id))) => {
            debug_assert_eq!(id, out.request.exit);
            activation.refresh(st);
            return EXIT;
        }
        Ok(Ok(Next::Left(outcome))) => Left::Done(Ok(outcome)),
        Ok(Err(raised)) => Left::Done(Err(raised)),
        Err(payload) => Left::Panic(payload),
    };
    activation.left = Some(left);
    LEFT
}
