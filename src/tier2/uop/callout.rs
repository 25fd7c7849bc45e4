//! Call-outs: what executors leave to the runtime.
//!
//! Before a call-out runs, the slots of its snapshot are stored, and for those that may call, the records of inlined
//! frames pushed, stopped behind the running instruction: to whom it calls the frames look as in tier 1. Afterwards the
//! executor goes on, unless a frame was pushed or replaced, or a jump made, or the executor may not go on; then everything is
//! in memory already and tier 1 goes on.
//!
//! Call-outs that do not call leave by their snapshot if they fail: tier 1 executes the instruction again, and raises.

use std::ptr;

use perilune_uops::{MicroOp, Operation};

use crate::bytecode::proto::Proto;
use crate::bytecode::{Instr, Op};
use crate::heap::OutOfMemory;
use crate::runtime::coroutine::{Coroutine, record_flags};
use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier1::call::Outcome;
use crate::tier1::slow::{self, Comparison};
use crate::tier1::{Arith, Raised, State, execute_one, joined};
use crate::tier2::deopt;
use crate::tier2::executor::Executor;
use crate::tier2::superblock::{FrameId, Node, SnapshotId, Superblock};

/// What an executor wants of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub op: MicroOp,
    pub operands: [u64; 4],
    pub exit: SnapshotId,
    /// The running frame, and its prototype's address.
    pub frame: FrameId,
    pub proto: u64,
}

impl Request {
    /// What a node with an exit asks for.
    pub fn new(sb: &Superblock, node: &Node) -> Request {
        let frame = sb.snapshot_at(node.exit).frame;
        let proto = sb.object(sb.frame(frame).proto).addr;
        Request { op: node.op, operands: node.operands, exit: node.exit, frame, proto }
    }

    /// Whether all frames have to be on the stack, because others may look at them.
    pub fn needs_records(&self) -> bool {
        let moves = matches!(self.op, MicroOp::RAISE | MicroOp::PUSH_FRAME | MicroOp::REPLACE_FRAME | MicroOp::POP_FRAME);
        moves || self.op.declaration().effects.calls
    }

    /// How far behind the running instruction the frame is stopped then.
    pub fn behind(&self) -> u32 {
        if self.op == MicroOp::INTERPRET { 0 } else { 1 }
    }
}

/// A running executor that makes a call-out: where its values are is the backend's business.
pub trait Calling {
    /// The running executor, which is alive.
    fn executor(&self) -> *const Executor;

    /// The stack index of slot 0.
    fn origin(&self) -> u32;

    /// The running coroutine, and its records up to the first frame's.
    fn stack(&self) -> (Gc<Coroutine>, u32);

    /// The value of an input.
    fn input(&self, k: usize) -> Value;

    /// Sets the payload of the output.
    fn set_output(&mut self, word: u64);

    /// Stores the slots of a snapshot, as [`deopt::store_snapshot`] does.
    fn store(&self, st: &mut State, id: SnapshotId) -> Result<(), OutOfMemory>;

    /// Whether the records of the snapshot's frames have been pushed already.
    fn has_records(&self) -> bool {
        false
    }

    /// Pushes the records of a snapshot's frames, the innermost one stopped at `pc`.
    fn materialise(&self, st: &mut State, id: SnapshotId, pc: u32) {
        if self.has_records() {
            return;
        }
        // SAFETY: the current record is the first frame's, room was made for the others. The executor assumes that its
        // prototypes are alive.
        unsafe { deopt::materialise(st, &(*self.executor()).superblock, self.origin(), id, pc) };
    }

    /// After a call-out: drops the records of inlined frames.
    fn drop_inlined(&mut self, st: &mut State) {
        let (co, depth) = self.stack();
        st.drop_activations(depth + 1);
        // SAFETY: the coroutine still has the records up to the first frame's.
        st.record = unsafe { co.records.get().add(depth as usize - 1) };
    }

    /// The same after a call. False, with the records still there, if there is no room for the executor's frames any more.
    fn resume(&mut self, st: &mut State) -> bool {
        let (depth, catching) = (st.depth(), st.co.catching.get());
        self.drop_inlined(st);
        // SAFETY: the running executor.
        let room = unsafe { (*self.executor()).room };
        if deopt::make_room(st, room) {
            return true;
        }
        // SAFETY: nothing has been pushed, and growing moves all records.
        st.record = unsafe { self.stack().0.records.get().add(depth as usize - 1) };
        st.co.catching.set(catching);
        false
    }
}

/// Where control is after a call-out.
pub enum Next {
    /// In the executor, at the next instruction.
    On,
    /// It leaves through an exit.
    Exit(SnapshotId),
    /// In tier 1.
    Left(Outcome),
}

/// The frame that a call-out runs in, and what it needs of it.
struct Site<'a> {
    out: &'a Request,
    proto: Gc<Proto>,
    /// The running instruction.
    pc: u32,
    /// The stack indices of slot 0 and of the frame's first register.
    origin: u32,
    base: u32,
}

impl Site<'_> {
    /// The stack index of the slot in operand `k`.
    fn index(&self, k: usize) -> u32 {
        self.origin + self.out.operands[k] as u32
    }

    /// The register of the running function that the slot in operand `k` is.
    fn register(&self, k: usize) -> usize {
        (self.index(k) - self.base) as usize
    }

    /// The number of values from stack index `first` that the count in operand `k` means.
    fn count(&self, st: &State, k: usize, first: u32) -> u32 {
        match self.out.operands[k] as u32 {
            0 => st.index_of(st.top) - first,
            n => n - 1,
        }
    }

    /// A call may have pushed a frame: then tells it at which place it returns.
    fn returns_here(&self, st: &mut State, activation: &impl Calling, depth: u32) {
        let pushed = st.co == activation.stack().0 && st.depth() == depth + 1 && !st.frame().pc.is_null();
        // SAFETY: the running instruction; those of calls name a call site of their function.
        unsafe {
            let instr = *self.instruction();
            if pushed && instr.op().general() == Op::CALL {
                st.frame_mut().return_site = &(*self.proto.calls.add(instr.d() as usize)).returns;
            }
        }
    }

    /// The running instruction.
    fn instruction(&self) -> *mut Instr {
        // SAFETY: a snapshot's program counter is within the code of its frame's prototype.
        unsafe { self.proto.code.add(self.pc as usize) }
    }
}

/// Performs a call-out of the running executor.
pub fn call_out(st: &mut State, activation: &mut impl Calling, out: &Request) -> Result<Next, Raised> {
    // SAFETY: the running executor is alive.
    let executor = unsafe { &*activation.executor() };
    let snapshot = executor.superblock.snapshot_at(out.exit);
    let origin = activation.origin();
    let base = origin + executor.superblock.frame(out.frame).base as u32;
    let site = Site { out, proto: Gc::from_addr(out.proto), pc: snapshot.pc, origin, base };
    // Verified superblocks describe no virtual objects here, so there is nothing that could fail.
    let stored = activation.store(st, out.exit);
    debug_assert!(stored.is_ok());
    if let Some(top) = snapshot.top {
        st.top = st.slot(origin + top as u32);
    }
    if out.needs_records() {
        calling(st, activation, &site)
    } else {
        Ok(in_frame(st, activation, &site))
    }
}

/// Call-outs that do not call.
fn in_frame(st: &mut State, activation: &mut impl Calling, site: &Site) -> Next {
    // For the positions in messages, although nobody sees these.
    activation.materialise(st, site.out.exit, site.pc + 1);
    let next = in_materialised_frame(st, activation, site);
    activation.drop_inlined(st);
    next
}

fn in_materialised_frame(st: &mut State, activation: &mut impl Calling, site: &Site) -> Next {
    let out = site.out;
    let inlined = site.base != site.origin + 1;
    // SAFETY: for the whole function. Slots named by operands are slots of frames for which there is room, and the
    // snapshot has stored those that are read.
    unsafe {
        let done: Result<(), Raised> = match out.op {
            MicroOp::GUARD_STRINGS => {
                let first = st.slot(site.index(0));
                let strings = (0..out.operands[1] as usize).all(|k| Value::tag_at(first.add(k)) == Tag::STRING);
                return if strings { Next::On } else { Next::Exit(out.exit) };
            }
            MicroOp::CONCAT_S => {
                let first = st.slot(site.index(0));
                joined(st, first, out.operands[1] as usize).map(|s| activation.set_output(s.addr()))
            }
            MicroOp::NEW_CLOSURE => {
                let base = st.slot(site.base);
                slow::new_closure(st, site.proto.as_ptr(), out.operands[0] as usize, base)
                    .map(|closure| activation.set_output(closure.addr()))
            }
            MicroOp::SET_LIST => {
                let first = site.index(0) + 1;
                let n = match out.operands[1] as u32 {
                    0 => st.index_of(st.top) - first,
                    n => n,
                };
                let t: Gc<Table> = Gc::from_addr(activation.input(0).payload());
                let start = (out.operands[2] as u32).saturating_add(1);
                slow::set_list(st, t, start, st.slot(first), n as usize)
            }
            MicroOp::FOR_PREPARE => {
                let first = st.slot(site.index(0));
                slow::for_prepare(st, first).map(|runs| activation.set_output(runs as u64))
            }
            MicroOp::VARARG => {
                slow::spread_extra(st, site.base, st.frame().extra_args, site.index(0), out.operands[1] as i16 - 1)
            }
            MicroOp::CALL_LEAF | MicroOp::CALL_TABLE => {
                let counts = [1, 2].map(|k| out.operands[k] as u32);
                return if slow::call_leaf(st, site.index(0), counts) { Next::On } else { Next::Exit(out.exit) };
            }
            // The record of an inlined function would have to remember it.
            MicroOp::MARK_TO_CLOSE if inlined => return Next::Exit(out.exit),
            MicroOp::MARK_TO_CLOSE => {
                let p = st.slot(site.index(0));
                slow::mark_to_close(st, p)
            }
            op => unreachable!("{op} is not such a call-out"),
        };
        match done {
            Ok(()) => Next::On,
            Err(Raised) => {
                // Tier 1 is to find everything as it was, the reserve for errors included.
                st.error = Value::NIL;
                st.shrink_reserve();
                Next::Exit(out.exit)
            }
        }
    }
}

/// Call-outs that may call.
fn calling(st: &mut State, activation: &mut impl Calling, site: &Site) -> Result<Next, Raised> {
    let out = site.out;
    let inputs: [Value; 3] = std::array::from_fn(|k| match out.op.declaration().inputs.get(k) {
        Some(_) => activation.input(k),
        None => Value::NIL,
    });
    let input = |k: usize| inputs[k];
    activation.materialise(st, out.exit, site.pc + out.behind());
    // SAFETY: the program counter behind the running instruction.
    let before = Before::of(st, unsafe { site.instruction().add(1) });
    let depth = before.depth;
    let field = |k: usize| {
        // SAFETY: the index of a field cache of the running prototype, which is alive.
        unsafe { &*site.proto.fields.add(out.operands[k] as usize) }
    };
    let outcome = match out.op {
        MicroOp::ARITH => {
            let op = arith(out.operands[1]).expect("verified superblocks have arithmetic operations only");
            slow::arith(st, op, input(0), input(1), site.register(0))?
        }
        MicroOp::COMPARE => {
            let event = event(out.operands[0]).expect("verified superblocks have comparisons only");
            let (x, y) = (input(0), input(1));
            match slow::comparison(st, event, x, y)? {
                Comparison::Known(result) => {
                    activation.set_output(result as u64);
                    activation.drop_inlined(st);
                    return Ok(Next::On);
                }
                Comparison::Handler(handler) => {
                    // The instruction's jump is made by the return from the metamethod.
                    // SAFETY: the running instruction.
                    let instr = unsafe { *site.instruction() };
                    let outcome = slow::call_comparison(st, handler, x, y, jumps_if(instr.op()), instr.sd())?;
                    return Ok(Next::Left(outcome));
                }
            }
        }
        MicroOp::LENGTH => slow::len(st, input(0), site.register(0))?,
        MicroOp::CONCAT => {
            let first = site.register(0);
            // SAFETY: behind the running instruction.
            let live = unsafe { slow::live_after(site.proto.as_ptr(), site.instruction().add(1), first) };
            slow::concat(st, first as u32, out.operands[1] as u32, live as u32)?
        }
        MicroOp::GET_INDEX => slow::get_index(st, input(0), input(1), site.register(0))?,
        MicroOp::SET_INDEX => slow::set_index(st, input(0), input(1), input(2))?,
        MicroOp::GET_FIELD => slow::get_field(st, site.instruction(), input(0), field(1), site.register(0))?,
        MicroOp::SET_FIELD => slow::set_field(st, site.instruction(), input(0), field(0), input(1))?,
        MicroOp::GET_METHOD => slow::get_method(st, site.instruction(), input(0), field(1), site.register(0))?,
        MicroOp::RAISE => return Err(st.raise(input(0))),
        MicroOp::CALL => {
            let func = site.index(0);
            let nargs = site.count(st, 1, func + 1);
            let outcome = slow::call(st, func, nargs, out.operands[2] as i16 - 1)?;
            site.returns_here(st, activation, depth);
            outcome
        }
        MicroOp::PUSH_FRAME => {
            let func = site.index(0);
            let nargs = site.count(st, 1, func + 1);
            // SAFETY: the running instruction, a call.
            let wanted = unsafe { *site.instruction() }.c() as i16 - 1;
            let outcome = slow::call(st, func, nargs, wanted)?;
            site.returns_here(st, activation, depth);
            return Ok(Next::Left(outcome));
        }
        MicroOp::CALL_NATIVE => return native(st, activation, out, &before),
        MicroOp::SWITCH => return switch(st, activation, out).map(Next::Left),
        MicroOp::TAIL_CALL | MicroOp::REPLACE_FRAME => {
            let func = site.index(0);
            let nargs = site.count(st, 1, func + 1);
            return slow::tail_call(st, func, nargs).map(Next::Left);
        }
        MicroOp::POP_FRAME | MicroOp::LEAVE => {
            let first = site.index(0);
            let n = match out.operands[1] {
                0 if st.frame().flags & record_flags::CLOSING != 0 => st.frame().top - first,
                _ => site.count(st, 1, first),
            };
            return slow::leave(st, st.slot(first), n as usize).map(Next::Left);
        }
        MicroOp::CLOSE => match st.close_one(site.index(0))? {
            None => Outcome::Continue,
            Some(outcome) => outcome,
        },
        MicroOp::INTERPRET => execute_one(st)?,
        op => unreachable!("{op} is not such a call-out"),
    };
    Ok(after_call(st, activation, &before, outcome))
}

#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
/// `CALL_NATIVE` alone, of machine code, which has stored the slots and pushed the records.
pub fn call_native(st: &mut State, activation: &mut impl Calling, out: &Request) -> Result<Next, Raised> {
    // SAFETY: the running executor is alive.
    let snapshot = unsafe { (*activation.executor()).superblock.snapshot_at(out.exit) };
    if let Some(top) = snapshot.top {
        st.top = st.slot(activation.origin() + top as u32);
    }
    let before = Before::of(st, st.frame().pc);
    native(st, activation, out, &before)
}

#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
/// The end of a direct call that has been shown, with the number of its results, or a negative number if it has raised an error.
pub fn direct_call_returned(
    st: &mut State,
    activation: &mut impl Calling,
    out: &Request,
    disturbances: u64,
    native: Value,
    results: i32,
) -> Result<Next, Raised> {
    if results < 0 {
        return Err(Raised);
    }
    let func = activation.origin() + out.operands[0] as u32;
    // SAFETY: the host function's record is the current one, above that of its caller.
    let behind = unsafe { (*st.record.sub(1)).pc };
    let before = Before { depth: st.depth() - 1, disturbances, behind };
    let outcome = slow::native_returned(st, native, func, results, out.operands[2] as i16 - 1)?;
    native_returned(st, activation, out, &before, outcome)
}

/// The same, in the running frame.
fn native(st: &mut State, activation: &mut impl Calling, out: &Request, before: &Before) -> Result<Next, Raised> {
    let (func, nargs, wanted) = native_call(st, activation, out);
    let outcome = slow::call_native(st, func, nargs, wanted)?;
    native_returned(st, activation, out, before, outcome)
}

/// The stack index of the called host function, the number of its arguments, and of the results that are wanted.
fn native_call(st: &State, activation: &impl Calling, out: &Request) -> (u32, u32, i16) {
    let func = activation.origin() + out.operands[0] as u32;
    let nargs = match out.operands[1] as u32 {
        0 => st.index_of(st.top) - func - 1,
        n => n - 1,
    };
    (func, nargs, out.operands[2] as i16 - 1)
}

/// `SWITCH`, in the running frame, of which everything is in memory.
fn switch(st: &mut State, activation: &mut impl Calling, out: &Request) -> Result<Outcome, Raised> {
    let (func, nargs, wanted) = native_call(st, activation, out);
    // SAFETY: the function has been stored to its slot.
    if unsafe { st.switch_directly(st.slot(func), nargs, wanted, ptr::null()) }.is_some() {
        return Ok(Outcome::Continue);
    }
    let (co, depth) = (st.co, st.depth());
    let outcome = slow::call_native(st, func, nargs, wanted)?;
    if outcome != Outcome::Exit && st.co == co && st.depth() == depth {
        st.poll_after_native(func, wanted)?;
    }
    Ok(outcome)
}

/// Polls after the call of a host function, and says where control is.
fn native_returned(
    st: &mut State,
    activation: &mut impl Calling,
    out: &Request,
    before: &Before,
    outcome: Outcome,
) -> Result<Next, Raised> {
    let returned = outcome != Outcome::Exit && st.co == activation.stack().0 && st.depth() == before.depth;
    if returned {
        st.poll_after_native(activation.origin() + out.operands[0] as u32, out.operands[2] as i16 - 1)?;
    }
    Ok(after_call(st, activation, before, outcome))
}

/// How things stand before something is called.
struct Before {
    depth: u32,
    disturbances: u64,
    /// The instruction behind the running one.
    behind: *const Instr,
}

impl Before {
    fn of(st: &State, behind: *const Instr) -> Before {
        Before { depth: st.depth(), disturbances: st.tier2.disturbances, behind }
    }
}

/// Where control is after something has been called.
fn after_call(st: &mut State, activation: &mut impl Calling, before: &Before, outcome: Outcome) -> Next {
    if outcome == Outcome::Exit {
        return Next::Left(outcome);
    }
    st.settle_assumptions();
    let same_frame = st.co == activation.stack().0
        && st.depth() == before.depth
        && ptr::eq(st.frame().pc, before.behind);
    // SAFETY: the running executor is alive.
    let valid = unsafe { (*activation.executor()).is_valid() };
    // What is being recorded has to be executed by tier 1.
    let undisturbed =
        st.hook_events == 0 && st.tier2.disturbances == before.disturbances && !st.recording.active;
    let goes_on = same_frame && undisturbed && valid;
    if goes_on && activation.resume(st) { Next::On } else { Next::Left(Outcome::Continue) }
}

/// The arithmetic operation that an operand names.
fn arith(operand: u64) -> Option<Arith> {
    const PAIRS: [(Operation, Arith); 14] = [
        (Operation::Add, Arith::Add),
        (Operation::Sub, Arith::Sub),
        (Operation::Mul, Arith::Mul),
        (Operation::Div, Arith::Div),
        (Operation::Mod, Arith::Mod),
        (Operation::Pow, Arith::Pow),
        (Operation::IDiv, Arith::IDiv),
        (Operation::BAnd, Arith::BAnd),
        (Operation::BOr, Arith::BOr),
        (Operation::BXor, Arith::BXor),
        (Operation::Shl, Arith::Shl),
        (Operation::Shr, Arith::Shr),
        (Operation::Unm, Arith::Unm),
        (Operation::BNot, Arith::BNot),
    ];
    PAIRS.iter().find(|p| p.0 as u64 == operand).map(|p| p.1)
}

/// The comparison that an operand names.
fn event(operand: u64) -> Option<Event> {
    let pairs = [(Operation::Eq, Event::Eq), (Operation::Lt, Event::Lt), (Operation::Le, Event::Le)];
    pairs.iter().find(|p| p.0 as u64 == operand).map(|p| p.1)
}

/// Of a comparing jump: for which result it jumps.
fn jumps_if(op: Op) -> bool {
    match op.general() {
        Op::JNE | Op::JNLT | Op::JNLE | Op::JNLTI | Op::JNLEI | Op::JNGTI | Op::JNGEI => false,
        Op::JEQ | Op::JLT | Op::JLE | Op::JLTI | Op::JLEI | Op::JGTI | Op::JGEI => true,
        _ => unreachable!("comparisons are made by comparing jumps"),
    }
}
