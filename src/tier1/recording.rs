//! Recording: one pass through a hot place, as the recording dispatch sees it.
//!
//! A recording begins at a loop head, at a function's entry, or where control has left an executor by an exit that has
//! become hot. It ends where the pass closes: at its beginning, at a loop head that it has seen before, at one that
//! has an executor, when the frame in which it began returns, or when another coroutine runs. The last step is where it ended and has not been
//! executed. The functions in a recording are kept alive.

use super::state::State;
use crate::bytecode::cache::LoopSite;
use crate::bytecode::proto::Proto;
use crate::bytecode::{Instr, Op};
use crate::runtime::coroutine::{Coroutine, record_flags};
use crate::runtime::function::Closure;
use crate::runtime::number;
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier2::executor::Executor;
use crate::tier2::superblock::SnapshotId;
use perilune_uops::{Role, Wide};

/// The longest recorded pass, in instructions.
const RECORDING_MAX: usize = 768;

/// The depth of a last step that is in another coroutine.
pub const ELSEWHERE: u32 = u32::MAX;

/// What is known of an indexing instruction's operands.
pub mod facts {
    /// The key is an integer, or a float equal to one, within the array in use.
    pub const IN_ARRAY: u16 = 1;
    /// The key is the one behind the last element, and there is capacity for it.
    pub const APPENDS: u16 = 2;
    /// The table has no metatable.
    pub const NO_METATABLE: u16 = 4;
    /// All operands of a concatenation are strings or numbers, and those whose tags are not noted are strings.
    pub const STRINGS: u16 = 8;
    /// The receiver of a field access has no such field, or has nil there.
    pub const NIL_FIELD: u16 = 16;
    /// The frame has marked a variable to be closed.
    pub const MARKED: u16 = 32;
    /// A numeric loop over integers begins, its step is positive, and so many steps can be counted.
    pub const COUNTS_UP: u16 = 64;
    /// The same with a negative step.
    pub const COUNTS_DOWN: u16 = 128;
    /// The key is a float equal to an integer.
    pub const INTEGRAL: u16 = 256;
}

/// One instruction, as seen before it ran.
#[derive(Clone, Copy)]
pub struct RecordedStep {
    /// The running function.
    pub closure: Gc<Closure>,
    /// Its prototype.
    pub proto: *const Proto,
    pub pc: u32,
    /// Activations on the stack; [`ELSEWHERE`] if another coroutine runs.
    pub depth: u32,
    /// The tags of the registers that `a`, `b` and `c` name, if they are read; of loop instructions those of the loop's
    /// registers in order; of calls those of the called function and, if it is a host function, its first arguments.
    pub tags: [u8; 4],
    /// See [`facts`].
    pub facts: u16,
    /// The shape of the first table among the operands, or 0.
    pub shape: u32,
    /// What the array of the table that is indexed holds.
    pub array_kind: u8,
    /// The metatable of the first userdata among the operands.
    pub metatable: Option<Gc<Table>>,
    /// The called function, if it is a host function or a closure, by its address; or 0.
    pub callee: u64,
    /// The number of values in the open list that the instruction uses; of `VARARG` that of extra arguments.
    pub count: u32,
}

impl RecordedStep {
    /// The instruction as it is in the code now.
    pub fn instr(&self) -> Instr {
        // SAFETY: the prototype is kept alive, and the program counter is one of its instructions.
        unsafe { *(*self.proto).code.add(self.pc as usize) }
    }

    /// Whether it uses a list of values that ends where the state says.
    pub fn uses_open_list(&self) -> bool {
        let instr = self.instr();
        matches!(instr.op().general(), Op::CALL | Op::TAILCALL | Op::RETURN | Op::SETLIST) && instr.b() == 0
    }

    /// Whether it gets or sets a field by a constant key.
    pub fn accesses_field(&self) -> bool {
        matches!(self.instr().op().general(), Op::GETFIELD | Op::SELF | Op::SETFIELD | Op::SETFIELDK)
    }

    /// The called function, or nil.
    pub fn callee_value(&self) -> Value {
        if self.callee == 0 { Value::NIL } else { Value::new(self.callee, Tag::from_byte(self.tags[0])) }
    }
}

/// Where a recording begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A loop head or function entry.
    Place(*const LoopSite),
    /// A hot exit.
    Exit(*const Executor, SnapshotId),
}

/// A recorded pass.
#[derive(Default)]
pub struct Recording {
    pub active: bool,
    /// The pass has ended, and nobody has taken it yet.
    pub complete: bool,
    /// The recording dispatch shall run one instruction and note nothing.
    pub(super) single: bool,
    pub steps: Vec<RecordedStep>,
    pub origin: Option<Origin>,
    start: Option<Start>,
}

#[derive(Clone, Copy)]
struct Start {
    pc: *const Instr,
    depth: u32,
    /// The depth below which the recording ends.
    floor: u32,
    co: Gc<Coroutine>,
}

impl State {
    /// Begins a recording at the current frame's program counter; it ends when `inlined` frames and one more have
    /// returned.
    pub(crate) fn begin_recording(&mut self, origin: Origin, inlined: u32) {
        let depth = self.depth();
        let start = Start { pc: self.frame().pc, depth, floor: depth - inlined, co: self.co };
        self.counters.recordings += 1;
        let recording = &mut self.recording;
        recording.steps.clear();
        recording.start = Some(start);
        recording.origin = Some(origin);
        recording.active = true;
        recording.complete = false;
    }

    /// Notes the instruction at `pc`, which is about to run; false when the pass is over.
    ///
    /// # Safety
    /// `pc` points into the code of `proto`, whose registers begin at `base`.
    pub(super) unsafe fn note(&mut self, proto: *const Proto, pc: *const Instr, base: *const Value) -> bool {
        let depth = self.depth();
        let Some(start) = self.recording.start else {
            return self.end_recording(false);
        };
        if self.recording.steps.try_reserve(1).is_err() {
            return self.end_recording(false);
        }
        // SAFETY: the caller's promise.
        let mut step = unsafe { self.step(proto, pc, base, depth) };
        if start.co != self.co {
            step.depth = ELSEWHERE;
            self.recording.steps.push(step);
            return self.end_recording(true);
        }
        self.note_branch(&step);
        // What begins at an exit goes on to the loop that it is in.
        let at_place = matches!(self.recording.origin, Some(Origin::Place(_)));
        let ends = depth < start.floor
            || self.recording.steps.len() + 1 >= RECORDING_MAX
            || at_place && !self.recording.steps.is_empty() && pc == start.pc && depth == start.depth
            || self.closes_loop(&step, depth == start.floor);
        self.recording.steps.push(step);
        !ends || self.end_recording(true)
    }

    /// # Safety
    /// As for `note`.
    unsafe fn step(&self, proto: *const Proto, pc: *const Instr, base: *const Value, depth: u32) -> RecordedStep {
        // SAFETY: the caller's promise; the operands of verified code are within the frame.
        unsafe {
            let instr = *pc;
            let op = instr.op().general();
            let format = instr.op().format();
            let closure: Gc<Closure> = Gc::from_addr(Value::payload_at(base.sub(1)));
            let mut step = RecordedStep {
                closure,
                proto,
                pc: pc.offset_from((*proto).code) as u32,
                depth,
                tags: [0; 4],
                facts: 0,
                shape: 0,
                array_kind: 0,
                metatable: None,
                callee: 0,
                count: 0,
            };
            let operands = [(format.a, instr.a()), (format.b, instr.b()), (format.c, instr.c())];
            for (i, (role, register)) in operands.into_iter().enumerate() {
                match role {
                    Role::Use => step.see(i, Value::load(base.add(register))),
                    Role::Captured if format.d == Wide::Field => step.see(i, closure.cell(register).get()),
                    _ => {}
                }
            }
            let a = base.add(instr.a());
            match op {
                Op::CALL | Op::TAILCALL | Op::TFORCALL => {
                    let v = Value::load(a);
                    if op != Op::TFORCALL && instr.b() == 0 {
                        step.count = self.open_list(a.add(1));
                    }
                    if v.tag() == Tag::CLOSURE || v.tag() == Tag::NATIVE {
                        step.callee = v.payload();
                    }
                    step.see(0, v);
                    if op == Op::TFORCALL {
                        let (state, control) = (Value::load(a.add(1)), Value::load(a.add(2)));
                        step.see(1, state);
                        step.see(2, control);
                        let key = control.as_int().map_or(Value::NIL, |i| Value::int(i.wrapping_add(1)));
                        step.index(state, key);
                    } else if v.tag() == Tag::NATIVE {
                        let n = match instr.b() {
                            0 => step.count as usize,
                            b => b - 1,
                        };
                        (1..=n.min(3)).for_each(|i| step.see(i, Value::load(a.add(i))));
                        if n > 0 && Value::load(a.add(1)).as_table().is_some_and(|t| t.metatable.get().is_none()) {
                            step.facts = facts::NO_METATABLE;
                        }
                    }
                }
                Op::LEN => step.index(Value::load(base.add(instr.b())), Value::NIL),
                Op::SETLIST if instr.b() == 0 => step.count = self.open_list(a.add(1)),
                Op::RETURN if instr.b() == 0 => step.count = self.open_list(a),
                Op::CLOSE if self.frame().flags & record_flags::TBC != 0 => step.facts = facts::MARKED,
                Op::VARARG => step.count = self.frame().extra_args,
                Op::FORPREP | Op::FORLOOP => {
                    let numbers = [0, 1, 2].map(|i| Value::load(a.add(i)));
                    numbers.into_iter().enumerate().for_each(|(i, v)| step.see(i, v));
                    if op == Op::FORPREP {
                        step.facts = counting(numbers);
                    }
                }
                Op::TFORLOOP => step.see(0, Value::load(a.add(4))),
                Op::CONCAT => {
                    let noted = instr.b().min(step.tags.len());
                    (0..noted).for_each(|i| step.see(i, Value::load(a.add(i))));
                    let stringy = |tag: Tag| tag == Tag::STRING || tag.is_number();
                    let all = (0..noted).all(|i| stringy(Value::tag_at(a.add(i))))
                        && (noted..instr.b()).all(|i| Value::tag_at(a.add(i)) == Tag::STRING);
                    step.facts = if all { facts::STRINGS } else { 0 };
                }
                Op::GETINDEX => step.index(Value::load(base.add(instr.b())), Value::load(base.add(instr.c()))),
                Op::GETINT => step.index(Value::load(base.add(instr.b())), Value::int(instr.sd() as i64)),
                Op::SETINDEX | Op::SETINDEXK => step.index(Value::load(a), Value::load(base.add(instr.b()))),
                Op::SETINT => step.index(Value::load(a), Value::int(instr.sd() as i64)),
                Op::GETFIELD | Op::SELF => self.note_field(&mut step, Value::load(base.add(instr.b()))),
                Op::SETFIELD | Op::SETFIELDK => self.note_field(&mut step, Value::load(a)),
                _ => {}
            }
            step
        }
    }

    /// The number of values from `first` on, which end where the state says.
    fn open_list(&self, first: *const Value) -> u32 {
        let bytes = (self.top as usize).saturating_sub(first as usize);
        (bytes / size_of::<Value>()) as u32
    }

    /// Notes whether the receiver of a field access has the field, and a metatable.
    fn note_field(&self, step: &mut RecordedStep, receiver: Value) {
        // SAFETY: the prototype runs, and field operands are verified.
        let key = unsafe { (*(*step.proto).fields.add(step.instr().d() as usize)).key };
        let Some(t) = receiver.as_table() else {
            return;
        };
        if t.metatable.get().is_none() {
            step.facts |= facts::NO_METATABLE;
        }
        if key.is_short() && self.rt.get_str(t, key).is_nil() {
            step.facts |= facts::NIL_FIELD;
        }
    }

    /// Whether `step` is a loop head at which the recording shall end: one that it has passed before, or one of the
    /// frame in which it began that has an executor.
    fn closes_loop(&self, step: &RecordedStep, lowest: bool) -> bool {
        let Some(last) = self.recording.steps.last() else {
            return false;
        };
        let instr = last.instr();
        if !std::ptr::eq(last.proto, step.proto)
            || last.depth != step.depth
            || step.pc > last.pc
            || !matches!(instr.op().general(), Op::LOOP | Op::FORLOOP | Op::TFORLOOP)
        {
            return false;
        }
        // SAFETY: the prototype runs; loop sites are verified operands.
        let site = unsafe { &*(*last.proto).loops.add(instr.bc() as usize) };
        if site.is_unrolled() {
            return false;
        }
        lowest && !site.executor.get().is_null()
            || self
                .recording
                .steps
                .iter()
                .any(|s| s.pc == step.pc && s.depth == step.depth && std::ptr::eq(s.proto, step.proto))
    }

    /// Keeps the history of the conditional jump before `step`: whether it was taken.
    fn note_branch(&mut self, step: &RecordedStep) {
        let Some(last) = self.recording.steps.last() else {
            return;
        };
        if !std::ptr::eq(last.proto, step.proto) || !last.instr().op().general().is_conditional() {
            return;
        }
        let taken = step.pc != last.pc + 1;
        // SAFETY: prototypes in a recording are alive.
        let info = unsafe { &(*last.proto).info };
        let mut history = info.history.take();
        if history.is_empty() && history.try_reserve_exact(info.code.len()).is_ok() {
            history.resize(info.code.len(), 0);
        }
        if let Some(bits) = history.get_mut(last.pc as usize) {
            *bits = *bits << 1 | taken as u16;
        }
        info.history.set(history);
    }

    /// Gives up a recording and what was to come of it: the dispatch loop with hooks does not record.
    pub(super) fn stop_recording(&mut self) {
        if self.recording.active || self.recording.complete {
            self.end_recording(false);
            self.recording.steps.clear();
        }
        // Nothing is entered either.
        self.take_entering();
    }

    /// Ends the recording; false, for `note`.
    fn end_recording(&mut self, complete: bool) -> bool {
        self.recording.active = false;
        self.recording.complete = complete;
        self.recording.start = None;
        self.counters.recorded_steps += self.recording.steps.len() as u64;
        false
    }
}

impl RecordedStep {
    /// Notes operand `i`.
    fn see(&mut self, i: usize, v: Value) {
        self.tags[i] = v.tag().byte();
        if let Some(t) = v.as_table()
            && self.shape == 0
        {
            self.shape = t.shape.get().0;
        }
        if let Some(userdata) = v.as_userdata()
            && self.metatable.is_none()
        {
            self.metatable = userdata.metatable.get();
        }
    }

    /// Notes what an indexing instruction finds.
    fn index(&mut self, object: Value, key: Value) {
        let Some(t) = object.as_table() else {
            return;
        };
        if t.metatable.get().is_none() {
            self.facts |= facts::NO_METATABLE;
        }
        self.array_kind = t.array_kind.get().0;
        if let Some(i) = key.as_int() {
            self.facts |= in_array(t, i);
        } else if let Some(i) = key.as_float().and_then(number::float_to_int_exact) {
            self.facts |= in_array(t, i) | facts::INTEGRAL;
        }
    }
}

/// What is known of a numeric loop that begins with a start, a limit and a step.
fn counting([start, limit, step]: [Value; 3]) -> u16 {
    let (Some(start), Some(step)) = (start.as_int(), step.as_int()) else {
        return 0;
    };
    let limit = limit.as_int().or_else(|| limit.as_float().filter(|f| f.abs() < 2f64.powi(62)).map(|f| f as i64));
    let countable = limit.and_then(|limit| limit.checked_sub(start)).is_some_and(|n| n != i64::MIN);
    match step {
        _ if !countable || step == i64::MIN || step == 0 => 0,
        ..0 => facts::COUNTS_DOWN,
        _ => facts::COUNTS_UP,
    }
}

fn in_array(t: Gc<Table>, i: i64) -> u16 {
    let n = (i as u64).wrapping_sub(1);
    if n < t.array_len.get() as u64 {
        facts::IN_ARRAY
    } else if t.appends_raw(i) {
        facts::APPENDS
    } else {
        0
    }
}
