//! Running code: the dispatch loop, entering, leaving, and transfers between executors.
//!
//! An [`Activation`] begins when tier 1 enters an executor and ends when control is back in tier 1; it goes from one
//! executor to another along patched edges. While it lasts, the current record is that of the running executor's first
//! frame, except during call-outs; `pc` and `top` of the state mean nothing.
//!
//! Invariants: the running executor is not freed while activations are counted in `Tier2::active`; registers have been
//! made for its code.

use smallvec::SmallVec;

use super::callout::{Calling, Next, call_out};
use super::code::{CallOut, Code, Form, Insn, Location, Opcode, value_at};
use crate::runtime::array::ArrayKind;
use crate::runtime::coroutine::{Coroutine, record_flags};
use crate::runtime::function::{CellState, Closure, Native, UpCell};
use crate::runtime::functions;
use crate::runtime::number;
use crate::runtime::object::{Gc, Header};
use crate::runtime::shape::ShapeId;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::userdata::Userdata;
use crate::runtime::value::{Tag, Value};
use crate::bytecode::proto::Proto;
use crate::heap::OutOfMemory;
use crate::stdlib::{self, substring};
use crate::tier1::call::Outcome;
use crate::tier1::{Raised, State, slow};
use crate::tier2::deopt;
use crate::tier2::executor::{Anchor, Executor};
use crate::tier2::superblock::{FrameId, SnapshotId, slot_offsets};

/// Enters an executor that begins in memory, in the current record. When this returns, control is in tier 1 again, at
/// the current record's program counter. An executor for whose frames there is no room is not entered.
pub fn run(st: &mut State, executor: *const Executor) -> Result<Outcome, Raised> {
    let Some(mut activation) = Activation::begin(st, executor) else {
        return Ok(Outcome::Continue);
    };
    let result = activation.run(st);
    activation.end(st);
    result
}

/// An executor that is running.
pub(super) struct Activation {
    pub executor: *const Executor,
    /// The executor that was running when this activation began: a call-out of its has led here.
    outer: *const Executor,
    /// The stack index of slot 0.
    pub origin: u32,
    /// The running coroutine, and its records up to the first frame's.
    pub co: Gc<Coroutine>,
    pub depth: u32,
    registers: Vec<u64>,
}

/// An activation that makes a call-out, or leaves.
struct CallingOut<'a> {
    activation: &'a mut Activation,
    out: Option<&'a CallOut>,
}

impl CallingOut<'_> {
    fn out(&self) -> &CallOut {
        self.out.expect("inputs and output are those of a call-out")
    }
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
        let (register, form) = self.out().inputs[k];
        // SAFETY: a register of the running code.
        unsafe { value_at(self.activation.registers.as_ptr(), register, form) }
    }

    fn set_output(&mut self, word: u64) {
        let output = self.out().output as usize;
        self.activation.registers[output] = word;
    }

    fn store(&self, st: &mut State, id: SnapshotId) -> Result<(), OutOfMemory> {
        let activation = &*self.activation;
        // SAFETY: the running executor; room was made for its slots.
        unsafe {
            let executor = &*activation.executor;
            let locations = executor.code.uops().locations(id);
            let value = |k: usize| activation.value(&locations[k]);
            deopt::store_snapshot(st, &executor.superblock, activation.origin, id, value)
        }
    }
}

/// How the dispatch loop ends.
enum Left {
    /// At an exit.
    Exit(SnapshotId),
    /// Control is in tier 1.
    Done(Outcome),
}

impl Activation {
    fn begin(st: &mut State, executor: *const Executor) -> Option<Activation> {
        // SAFETY: whoever enters an executor knows it from a place or edge, which keeps it alive.
        let e = unsafe { &*executor };
        debug_assert!(e.is_valid());
        let registers = std::mem::take(&mut st.tier2.registers);
        let outer = st.tier2.current;
        let mut activation = Activation { executor, outer, origin: 0, co: st.co, depth: 0, registers };
        st.tier2.active += 1;
        if activation.enter_in_memory(st, executor) {
            return Some(activation);
        }
        activation.end(st);
        None
    }

    fn end(self, st: &mut State) {
        st.tier2.registers = self.registers;
        st.tier2.current = self.outer;
        st.tier2.active -= 1;
    }

    /// Makes `executor` the running one, beginning in the current record. False if there is no room.
    fn enter_in_memory(&mut self, st: &mut State, executor: *const Executor) -> bool {
        // SAFETY: as in `begin`.
        let e = unsafe { &*executor };
        if !deopt::make_room(st, e.room) || !self.prepare(e.code.uops()) {
            return false;
        }
        self.origin = st.frame().base - 1;
        debug_assert!(deopt::is_running(st, deopt::proto_of(&e.superblock, FrameId(0))));
        self.co = st.co;
        self.depth = st.depth();
        self.switch_to(st, e);
        true
    }

    fn switch_to(&mut self, st: &mut State, e: &Executor) {
        self.executor = e;
        st.tier2.current = e;
        e.counts().enter();
    }

    /// Makes registers for some code, with its constants. False if there is no memory for them.
    fn prepare(&mut self, code: &Code) -> bool {
        let missing = code.registers.saturating_sub(self.registers.len());
        if missing > 0 {
            if self.registers.try_reserve(missing).is_err() {
                return false;
            }
            self.registers.resize(code.registers, 0);
        }
        self.registers[code.first_constant..][..code.constants.len()].copy_from_slice(&code.constants);
        true
    }

    /// The value at a location.
    fn value(&self, location: &Location) -> Value {
        // SAFETY: locations name registers of the code, which have been made.
        unsafe { value_at(self.registers.as_ptr(), location.register, location.form) }
    }

    fn run(&mut self, st: &mut State) -> Result<Outcome, Raised> {
        loop {
            // SAFETY: the executor is entered at its beginning with registers for its code, and room for its frames.
            match unsafe { self.dispatch(st)? } {
                Left::Done(Outcome::Continue) => match st.next_executor() {
                    Some(target) if self.enter_in_memory(st, target) => {}
                    _ => return Ok(Outcome::Continue),
                },
                Left::Done(outcome) => return Ok(outcome),
                Left::Exit(id) => {
                    if !self.exit(st, id)? {
                        return Ok(Outcome::Continue);
                    }
                }
            }
        }
    }

    /// Leaves through an exit: to its target (true) or to tier 1.
    fn exit(&mut self, st: &mut State, id: SnapshotId) -> Result<bool, Raised> {
        // SAFETY: the running executor.
        let e = unsafe { &*self.executor };
        // SAFETY: a patched edge keeps its target alive.
        let Some(target) = (unsafe { e.exit(id).target.get().as_ref() }) else {
            self.deoptimise(st, id)?;
            st.exit_taken(e, id);
            return Ok(false);
        };
        match target.anchor {
            Anchor::Site(_) => {
                self.deoptimise(st, id)?;
                Ok(self.enter_in_memory(st, target))
            }
            Anchor::Exit(..) => {
                if deopt::make_room(st, target.room) && self.pass_parameters(e, target, id) {
                    self.switch_to(st, target);
                    return Ok(true);
                }
                self.deoptimise(st, id)?;
                Ok(false)
            }
        }
    }

    fn call_out(&mut self, st: &mut State, executor: &Executor, at: usize) -> Result<Next, Raised> {
        let out = &executor.code.uops().call_outs[at];
        executor.counts().call_out();
        call_out(st, &mut CallingOut { activation: self, out: Some(out) }, &out.request)
    }

    /// Gives a side executor the values of the exit at which it begins. False if there are no registers.
    fn pass_parameters(&mut self, e: &Executor, target: &Executor, id: SnapshotId) -> bool {
        let from = e.code.uops().locations(id);
        let mut words: SmallVec<[u64; 32]> = SmallVec::new();
        for param in &target.code.uops().params {
            let location = &from[param.index as usize];
            let v = self.value(location);
            debug_assert!(param.form == location.form || param.form == Form::TAGGED);
            match param.form {
                Form::TAGGED => words.extend([v.payload(), v.tag().byte() as u64]),
                Form::BOOL => words.push((v.tag() == Tag::TRUE) as u64),
                _ => words.push(v.payload()),
            }
        }
        if !self.prepare(target.code.uops()) {
            return false;
        }
        // Parameters have the first registers, in order.
        self.registers[..words.len()].copy_from_slice(&words);
        true
    }

    /// Hands over to tier 1 in the state of a snapshot. If objects could not be made for lack of memory, that is raised there.
    fn deoptimise(&mut self, st: &mut State, id: SnapshotId) -> Result<(), Raised> {
        // SAFETY: the running executor.
        let pc = unsafe { (*self.executor).superblock.snapshot_at(id).pc };
        let running = CallingOut { activation: self, out: None };
        let stored = running.store(st, id);
        running.materialise(st, id, pc);
        st.check_memory(stored)
    }

    /// Runs the executor from its beginning.
    ///
    /// # Safety
    /// Registers and room for frames have been made for the running executor; its parameters and constants are in their registers.
    unsafe fn dispatch(&mut self, st: &mut State) -> Result<Left, Raised> {
        // SAFETY: for the whole function. Lowering has checked that registers are within those made, and that the code ends in an
        // instruction that does not fall through. Superblocks are verified: inputs have the types that instructions
        // expect, memory is accessed behind the guards that it needs. Pointers in registers are alive: the collector
        // runs in call-outs only, where all that is used afterwards is reachable from the slots stored.
        unsafe {
            let executor = &*self.executor;
            let insns: *const Insn = executor.code.uops().insns.as_ptr();
            let regs = self.registers.as_mut_ptr();
            let mut slots: *mut Value = st.slot(self.origin);
            let mut ip = insns;
            let mut passes = 0u64;

            macro_rules! get {
                ($r:expr) => {
                    *regs.add($r as usize)
                };
            }
            macro_rules! int {
                ($r:expr) => {
                    get!($r) as i64
                };
            }
            macro_rules! float {
                ($r:expr) => {
                    f64::from_bits(get!($r))
                };
            }
            macro_rules! tag {
                ($r:expr) => {
                    Tag::from_byte(get!($r as usize + 1) as u8)
                };
            }
            macro_rules! object {
                ($r:expr, $ty:ty) => {
                    Gc::<$ty>::from_addr(get!($r))
                };
            }
            macro_rules! put {
                ($r:expr, $word:expr) => {{
                    let word: u64 = $word;
                    get!($r) = word;
                }};
            }
            macro_rules! put_value {
                ($r:expr, $v:expr) => {{
                    let v: Value = $v;
                    get!($r) = v.payload();
                    get!($r as usize + 1) = v.tag().byte() as u64;
                }};
            }
            macro_rules! leave {
                ($id:expr) => {{
                    executor.counts().pass(passes);
                    return Ok(Left::Exit($id));
                }};
            }
            macro_rules! guard {
                ($i:expr, $condition:expr) => {{
                    let holds: bool = $condition;
                    if !holds {
                        leave!($i.exit());
                    }
                }};
            }
            // What has failed is tried again, and raised, by tier 1.
            macro_rules! made {
                ($i:expr, $result:expr) => {
                    match $result {
                        Ok(v) => v,
                        Err(_) => {
                            st.error = Value::NIL;
                            leave!($i.exit());
                        }
                    }
                };
            }
            macro_rules! ints {
                ($i:expr, |$x:ident, $y:ident| $z:expr) => {{
                    let ($x, $y) = (int!($i.b), int!($i.c));
                    put!($i.a, ($z) as u64);
                }};
            }
            macro_rules! floats {
                ($i:expr, |$x:ident, $y:ident| $z:expr) => {{
                    let ($x, $y) = (float!($i.b), float!($i.c));
                    let z: f64 = $z;
                    put!($i.a, z.to_bits());
                }};
            }
            macro_rules! float_test {
                ($i:expr, |$x:ident, $y:ident| $z:expr) => {{
                    let ($x, $y) = (float!($i.b), float!($i.c));
                    let z: bool = $z;
                    put!($i.a, z as u64);
                }};
            }
            macro_rules! any {
                ($r:expr, $form:expr) => {
                    value_at(regs, $r, $form)
                };
            }
            // A slot of an object part, relative to `base`.
            macro_rules! slot {
                ($base:expr, $operand:expr) => {{
                    let offsets = slot_offsets($operand as u64);
                    let base = $base as *mut u8;
                    (base.add(offsets.payload as usize) as *mut u64, base.add(offsets.tag as usize))
                }};
            }
            macro_rules! load_slot {
                ($i:expr, $base:expr) => {{
                    let (payload, tag) = slot!($base, $i.high());
                    put_value!($i.a, Value::new(*payload, Tag::from_byte(*tag)));
                }};
            }
            macro_rules! load_slot_guarded {
                ($i:expr, $base:expr) => {{
                    let (payload, tag) = slot!($base, $i.high());
                    guard!($i, *tag as u16 == $i.c);
                    put!($i.a, *payload);
                }};
            }
            macro_rules! store_slot {
                ($i:expr, $base:expr) => {{
                    let v = any!($i.c, $i.form());
                    let (payload, tag) = slot!($base, $i.imm as u32);
                    *payload = v.payload();
                    *tag = v.tag().byte();
                }};
            }
            macro_rules! element {
                ($t:expr, $index:expr) => {{
                    let array = $t.array.get();
                    let index = $index as usize;
                    (array.sub(8 * index) as *mut u64, array.add(index - 1))
                }};
            }
            macro_rules! in_array {
                ($t:expr, $index:expr) => {
                    ($index as u64).wrapping_sub(1) < $t.array_len.get() as u64
                };
            }

            loop {
                let i = *ip;
                ip = ip.add(1);
                match i.op {
                    Opcode::Move2 => {
                        put!(i.a, get!(i.b));
                        put!(i.imm as u16, get!(i.c));
                    }
                    Opcode::Move => put!(i.a, get!(i.b)),
                    Opcode::Set => put!(i.a, i.imm),
                    Opcode::LoadSlot => put_value!(i.a, Value::load(slots.add(i.b as usize))),
                    Opcode::LoadSlotPayload => put!(i.a, Value::payload_at(slots.add(i.b as usize))),
                    Opcode::LoadSlotBool => put!(i.a, (Value::tag_at(slots.add(i.b as usize)) == Tag::TRUE) as u64),
                    Opcode::LoadSlotGuard => {
                        let p = slots.add(i.b as usize);
                        guard!(i, Value::tag_at(p).byte() as u16 == i.c);
                        put!(i.a, Value::payload_at(p));
                    }
                    Opcode::ExtraCount => put!(i.a, (*st.record).extra_args as u64),
                    Opcode::ListCount => put!(i.a, st.top.offset_from(slots.add(i.b as usize)) as u64),
                    Opcode::LoadExtra => {
                        // The extra arguments lie below the function.
                        let n = (*st.record).extra_args as usize;
                        put_value!(i.a, Value::load(slots.sub(n).add(get!(i.b) as usize)));
                    }

                    Opcode::GuardTag => {
                        guard!(i, get!(i.b as usize + 1) as u16 == i.c);
                        put!(i.a, get!(i.b));
                    }
                    Opcode::GuardNumber => {
                        let v = any!(i.b, Form::TAGGED);
                        guard!(i, v.tag().is_number());
                        put!(i.a, v.to_float_unchecked().to_bits());
                    }
                    Opcode::GuardBool => {
                        let tag = tag!(i.b);
                        guard!(i, tag == Tag::FALSE || tag == Tag::TRUE);
                        put!(i.a, (tag == Tag::TRUE) as u64);
                    }
                    Opcode::GuardIdentical => {
                        guard!(i, get!(i.b) == get!(i.c) && get!(i.b as usize + 1) == get!(i.c as usize + 1))
                    }
                    Opcode::GuardSame | Opcode::GuardEqI => guard!(i, get!(i.b) == get!(i.c)),
                    Opcode::GuardNil => guard!(i, tag!(i.b) == Tag::NIL),
                    Opcode::GuardNotNil => guard!(i, tag!(i.b) != Tag::NIL),
                    Opcode::GuardNext => guard!(i, slow::is_next(any!(i.b, Form::TAGGED))),
                    Opcode::GuardNextPayload => guard!(i, slow::is_next(Value::native(object!(i.b, Native)))),
                    Opcode::GuardTrue => guard!(i, get!(i.b) != 0),
                    Opcode::GuardFalse => guard!(i, get!(i.b) == 0),
                    Opcode::Truthy => put!(i.a, !tag!(i.b).is_falsy() as u64),
                    Opcode::IsNil => put!(i.a, (tag!(i.b) == Tag::NIL) as u64),

                    Opcode::AddI => ints!(i, |x, y| x.wrapping_add(y)),
                    Opcode::SubI => ints!(i, |x, y| x.wrapping_sub(y)),
                    Opcode::MulI => ints!(i, |x, y| x.wrapping_mul(y)),
                    Opcode::IDivI => ints!(i, |x, y| number::int_floor_div(x, y).unwrap_or_default()),
                    Opcode::ModI => ints!(i, |x, y| number::int_modulo(x, y).unwrap_or_default()),
                    Opcode::NegI => put!(i.a, int!(i.b).wrapping_neg() as u64),
                    Opcode::AndI => ints!(i, |x, y| x & y),
                    Opcode::OrI => ints!(i, |x, y| x | y),
                    Opcode::XorI => ints!(i, |x, y| x ^ y),
                    Opcode::NotI => put!(i.a, !get!(i.b)),
                    Opcode::ShlI => ints!(i, |x, y| number::shift_left(x, y)),
                    Opcode::ShrI => ints!(i, |x, y| number::shift_right(x, y)),
                    Opcode::Tag => put_value!(i.a, any!(i.b, i.form())),
                    Opcode::SarI => ints!(i, |x, y| x >> (y & 63)),
                    Opcode::AbsI => put!(i.a, int!(i.b).wrapping_abs() as u64),
                    Opcode::MinI => ints!(i, |x, y| x.min(y)),
                    Opcode::MaxI => ints!(i, |x, y| x.max(y)),
                    Opcode::EqI => ints!(i, |x, y| x == y),
                    Opcode::LtI => ints!(i, |x, y| x < y),
                    Opcode::LeI => ints!(i, |x, y| x <= y),
                    Opcode::LtU => ints!(i, |x, y| (x as u64) < y as u64),
                    Opcode::Select => put!(i.a, if get!(i.b) != 0 { get!(i.c) } else { get!(i.third()) }),
                    Opcode::SelectTagged => {
                        let chosen = if get!(i.b) != 0 {
                            any!(i.c, i.form())
                        } else {
                            any!(i.third(), i.second_form())
                        };
                        put_value!(i.a, chosen)
                    }
                    Opcode::GuardNotZero => guard!(i, get!(i.b) != 0),

                    Opcode::AddF => floats!(i, |x, y| x + y),
                    Opcode::SubF => floats!(i, |x, y| x - y),
                    Opcode::MulF => floats!(i, |x, y| x * y),
                    Opcode::DivF => floats!(i, |x, y| x / y),
                    Opcode::IDivF => floats!(i, |x, y| number::float_floor_div(x, y)),
                    Opcode::ModF => floats!(i, |x, y| number::float_modulo(x, y)),
                    Opcode::PowF => floats!(i, |x, y| number::pow(x, y)),
                    Opcode::NegF => put!(i.a, (-float!(i.b)).to_bits()),
                    Opcode::AbsF => put!(i.a, float!(i.b).abs().to_bits()),
                    Opcode::SqrtF => put!(i.a, float!(i.b).sqrt().to_bits()),
                    Opcode::FloorF => put!(i.a, float!(i.b).floor().to_bits()),
                    Opcode::CeilF => put!(i.a, float!(i.b).ceil().to_bits()),
                    Opcode::MinF => floats!(i, |x, y| if y < x { y } else { x }),
                    Opcode::MaxF => floats!(i, |x, y| if x < y { y } else { x }),
                    Opcode::EqF => float_test!(i, |x, y| x == y),
                    Opcode::LtF => float_test!(i, |x, y| x < y),
                    Opcode::LeF => float_test!(i, |x, y| x <= y),
                    Opcode::IntToFloat => put!(i.a, (int!(i.b) as f64).to_bits()),
                    Opcode::FloatToInt => match number::float_to_int_exact(float!(i.b)) {
                        Some(n) => put!(i.a, n as u64),
                        None => leave!(i.exit()),
                    },
                    Opcode::ExactFloat => match number::exact_float(int!(i.b)) {
                        Some(f) => put!(i.a, f.to_bits()),
                        None => leave!(i.exit()),
                    },
                    Opcode::CallF => put!(i.a, functions::call(i.imm, float!(i.b), 0.0).to_bits()),
                    Opcode::CallFF => put!(i.a, functions::call(i.imm, float!(i.b), float!(i.c)).to_bits()),
                    Opcode::RandomF => put!(i.a, stdlib::random_float(st).to_bits()),
                    Opcode::RandomI => {
                        let (low, high) = (int!(i.b), int!(i.c));
                        put!(i.a, stdlib::random_between(st, low, high) as u64)
                    }
                    Opcode::GoesOn => {
                        let step = float!(i.third());
                        float_test!(i, |x, y| goes_on(x, y, step));
                    }

                    Opcode::GuardNeI => guard!(i, get!(i.b) != get!(i.c)),
                    Opcode::GuardLtI => guard!(i, int!(i.b) < int!(i.c)),
                    Opcode::GuardLeI => guard!(i, int!(i.b) <= int!(i.c)),
                    Opcode::GuardLtU => guard!(i, get!(i.b) < get!(i.c)),
                    Opcode::GuardNotLtU => guard!(i, get!(i.b) >= get!(i.c)),
                    Opcode::GuardEqF => guard!(i, float!(i.b) == float!(i.c)),
                    Opcode::GuardNeF => guard!(i, float!(i.b) != float!(i.c)),
                    Opcode::GuardLtF => guard!(i, float!(i.b) < float!(i.c)),
                    Opcode::GuardNotLtF => {
                        if float!(i.b) < float!(i.c) {
                            leave!(i.exit());
                        }
                    }
                    Opcode::GuardLeF => guard!(i, float!(i.b) <= float!(i.c)),
                    Opcode::GuardNotLeF => {
                        if float!(i.b) <= float!(i.c) {
                            leave!(i.exit());
                        }
                    }
                    Opcode::GuardGoesOn => guard!(i, goes_on(float!(i.b), float!(i.c), float!(i.third()))),
                    Opcode::GuardTruthy => guard!(i, !tag!(i.b).is_falsy()),
                    Opcode::GuardFalsy => guard!(i, tag!(i.b).is_falsy()),

                    Opcode::Not => put!(i.a, get!(i.b) ^ 1),
                    Opcode::RawEq => {
                        let equal = any!(i.b, i.form()).raw_equals(any!(i.c, i.second_form()));
                        put!(i.a, equal as u64);
                    }
                    Opcode::GuardRawEq => {
                        let (x, y) = (any!(i.b, i.form()), any!(i.c, i.second_form()));
                        guard!(i, slow::is_raw_equality(st, x, y));
                    }
                    Opcode::EqS => {
                        let (x, y) = (object!(i.b, Str), object!(i.c, Str));
                        put!(i.a, Value::string(x).raw_equals(Value::string(y)) as u64);
                    }
                    Opcode::LtS => {
                        let (x, y) = (object!(i.b, Str), object!(i.c, Str));
                        put!(i.a, (x.as_bytes() < y.as_bytes()) as u64);
                    }
                    Opcode::LeS => {
                        let (x, y) = (object!(i.b, Str), object!(i.c, Str));
                        put!(i.a, (x.as_bytes() <= y.as_bytes()) as u64);
                    }
                    Opcode::LoadByte => match object!(i.b, Str).as_bytes().get(get!(i.c).wrapping_sub(1) as usize) {
                        Some(&byte) => put!(i.a, byte as u64),
                        None => leave!(i.exit()),
                    },
                    Opcode::Substring => {
                        let (s, from, to) = (object!(i.b, Str), int!(i.c), int!(i.third()));
                        put!(i.a, made!(i, substring(st, s, from, to)).addr());
                    }
                    Opcode::ByteString => match u8::try_from(int!(i.b)) {
                        Ok(byte) => put!(i.a, made!(i, st.rt.new_string(&[byte])).addr()),
                        Err(_) => leave!(i.exit()),
                    },
                    Opcode::LengthS => put!(i.a, object!(i.b, Str).len as u64),

                    Opcode::LoadCaptured => put!(i.a, object!(i.b, Closure).cell(i.c as usize).addr()),
                    Opcode::InitCaptured => object!(i.b, Closure).set_cell(i.c as usize, object!(i.a, UpCell)),
                    Opcode::LoadCell => put_value!(i.a, object!(i.b, UpCell).get()),
                    Opcode::SetCell => st.store_cell(object!(i.b, UpCell), any!(i.c, i.form())),
                    Opcode::GuardMutable => guard!(i, object!(i.b, UpCell).state.get() == CellState::Mutable),
                    Opcode::StoreCell => object!(i.b, UpCell).put(any!(i.c, i.form())),
                    Opcode::NewCell => {
                        let v = any!(i.b, i.form());
                        put!(i.a, made!(i, st.new_cell(v, CellState::Constant)).addr());
                    }
                    Opcode::NewEmptyCell => {
                        put!(i.a, made!(i, st.new_cell(Value::NIL, CellState::Uninitialised)).addr())
                    }
                    Opcode::AllocateClosure => {
                        put!(i.a, made!(i, st.rt.allocate_closure(object!(i.b, Proto))).addr())
                    }
                    Opcode::GuardProto => guard!(i, object!(i.b, Closure).proto.addr() == get!(i.c)),

                    Opcode::GuardShape => guard!(i, object!(i.b, Table).shape.get().0 == i.high()),
                    Opcode::GuardTableShape => {
                        let payload = get!(i.b);
                        guard!(i, tag!(i.b) == Tag::TABLE && Gc::<Table>::from_addr(payload).shape.get().0 == i.high());
                        put!(i.a, payload);
                    }
                    Opcode::SetShape => object!(i.b, Table).shape.set(ShapeId(i.imm as u32)),
                    Opcode::GuardMetatable => {
                        let metatable = object!(i.b, Userdata).metatable.get();
                        guard!(i, metatable.is_some_and(|m| m.addr() == get!(i.c)))
                    }
                    Opcode::GuardNoMetatable => guard!(i, object!(i.b, Table).metatable.get().is_none()),
                    Opcode::SetMetatable => {
                        let t = object!(i.b, Table);
                        t.metatable.set(Some(object!(i.c, Table)));
                        t.shape.set(ShapeId(i.imm as u32));
                    }
                    Opcode::GuardEpoch => guard!(i, st.rt.holder_epoch == i.high()),
                    Opcode::Barrier => st.rt.heap.write_barrier(object!(i.b, Header)),
                    Opcode::NewTable => {
                        let site = &*object!(i.b, Proto).tables.add(i.high() as usize);
                        put!(i.a, made!(i, st.rt.new_table_at(site)).addr());
                    }
                    Opcode::AllocateTable => {
                        let t = made!(i, st.rt.allocate_table(ShapeId(i.high()), i.c as u32));
                        put!(i.a, t.addr());
                    }

                    Opcode::LoadInline => load_slot!(i, object!(i.b, Table).as_ptr()),
                    Opcode::LoadInlineGuard => load_slot_guarded!(i, object!(i.b, Table).as_ptr()),
                    Opcode::LoadOverflow => load_slot!(i, object!(i.b, Table).overflow.get()),
                    Opcode::LoadOverflowGuard => load_slot_guarded!(i, object!(i.b, Table).overflow.get()),
                    Opcode::StoreInline => store_slot!(i, object!(i.b, Table).as_ptr()),
                    Opcode::StoreOverflow => store_slot!(i, object!(i.b, Table).overflow.get()),
                    Opcode::GuardFoundIn => {
                        guard!(i, tag!(i.c) != Tag::NIL || object!(i.b, Table).metatable.get().is_none())
                    }

                    Opcode::GuardInArray => guard!(i, in_array!(object!(i.b, Table), get!(i.c))),
                    Opcode::GuardArrayKind => {
                        guard!(i, object!(i.b, Table).array_kind.get() == ArrayKind(i.c as u8))
                    }
                    Opcode::GuardAccepts => {
                        let v = any!(i.c, i.form());
                        guard!(i, !v.is_nil() && object!(i.b, Table).array_kind.get().accepts(v.tag()));
                    }
                    Opcode::GuardAppends => guard!(i, object!(i.b, Table).appends(int!(i.c))),
                    Opcode::GuardStorable => {
                        let v = any!(i.third(), i.form());
                        guard!(i, object!(i.b, Table).is_storable(int!(i.c), v));
                    }
                    Opcode::GuardRawStorable => {
                        let v = any!(i.third(), i.form());
                        guard!(i, object!(i.b, Table).is_raw_storable(int!(i.c), v));
                    }
                    Opcode::LoadElement => {
                        let (payload, tag) = element!(object!(i.b, Table), get!(i.c));
                        put_value!(i.a, Value::new(*payload, Tag::from_byte(*tag)));
                    }
                    Opcode::LoadElementGuard => {
                        let (payload, tag) = element!(object!(i.b, Table), get!(i.c));
                        guard!(i, *tag as u16 == i.third());
                        put!(i.a, *payload);
                    }
                    Opcode::LoadElementPayload => put!(i.a, *element!(object!(i.b, Table), get!(i.c)).0),
                    Opcode::GuardLoadElement => {
                        let (t, index) = (object!(i.b, Table), get!(i.c));
                        guard!(i, in_array!(t, index));
                        let (payload, tag) = element!(t, index);
                        put_value!(i.a, Value::new(*payload, Tag::from_byte(*tag)));
                    }
                    Opcode::GuardLoadElementPayload => {
                        let (t, index) = (object!(i.b, Table), get!(i.c));
                        guard!(i, in_array!(t, index));
                        put!(i.a, *element!(t, index).0);
                    }
                    Opcode::GuardLoadElementGuard => {
                        let (t, index) = (object!(i.b, Table), get!(i.c));
                        guard!(i, in_array!(t, index));
                        let (payload, tag) = element!(t, index);
                        let high = i.high();
                        if *tag as u32 != high >> 24 {
                            leave!(SnapshotId(high & 0xFF_FFFF));
                        }
                        put!(i.a, *payload);
                    }
                    Opcode::TestElement => {
                        let tag = *element!(object!(i.b, Table), get!(i.c)).1;
                        put!(i.a, !Tag::from_byte(tag).is_falsy() as u64);
                    }
                    Opcode::StoreElement => {
                        let (t, index) = (object!(i.b, Table), get!(i.c));
                        let v = any!(i.third(), i.form());
                        let (payload, tag) = element!(t, index);
                        *payload = v.payload();
                        *tag = v.tag().byte();
                        if index > t.array_len.get() as u64 {
                            t.array_len.set(index as u32);
                        }
                    }
                    Opcode::ReplaceElement => {
                        let v = any!(i.third(), i.form());
                        let (payload, tag) = element!(object!(i.b, Table), get!(i.c));
                        *payload = v.payload();
                        *tag = v.tag().byte();
                    }
                    Opcode::InitElement => object!(i.b, Table).push_element(any!(i.third(), i.form())),
                    Opcode::LengthT => put!(i.a, object!(i.b, Table).length() as u64),

                    Opcode::RawGet => put_value!(i.a, st.rt.get(object!(i.b, Table), any!(i.c, i.form()))),
                    Opcode::RawSet => {
                        let (key, v) = (any!(i.c, i.form()), any!(i.third(), i.second_form()));
                        let stored = st.rt.set(object!(i.b, Table), key, v);
                        if stored.is_err() {
                            leave!(i.exit());
                        }
                        made!(i, st.check_store(stored));
                    }
                    Opcode::FindNext => match st.rt.find_next(object!(i.b, Table), any!(i.c, i.form())) {
                        Ok(position) => put!(i.a, position),
                        Err(_) => leave!(i.exit()),
                    },
                    Opcode::KeyPosition => match st.rt.key_position(object!(i.b, Table), any!(i.c, i.form())) {
                        Ok(position) => put!(i.a, position),
                        Err(_) => leave!(i.exit()),
                    },
                    Opcode::NextPosition => put!(i.a, st.rt.next_position(object!(i.b, Table), get!(i.c))),
                    Opcode::LoadKey => put_value!(i.a, st.rt.key_before(object!(i.b, Table), get!(i.c))),
                    Opcode::LoadValue => put_value!(i.a, st.rt.value_before(object!(i.b, Table), get!(i.c))),

                    Opcode::Poll => guard!(i, *st.interrupt.as_ptr() == 0),
                    Opcode::Sunk => st.rt.heap.sunk(i.imm as u32),
                    Opcode::Safepoint => guard!(i, !st.rt.heap.should_collect()),
                    Opcode::Start => {
                        let previous = std::mem::replace(&mut st.tier2.previous, std::ptr::null());
                        if !previous.is_null() {
                            st.tier2.graph.release(&mut st.rt, previous);
                        }
                    }
                    Opcode::GuardPlainReturn => {
                        guard!(i, (*st.record).continuation as u8 | (*st.record).flags == 0)
                    }
                    Opcode::GuardUnmarked => guard!(i, (*st.record).flags & record_flags::TBC == 0),
                    Opcode::GuardCatching => guard!(i, st.may_catch(i.c as u32)),
                    Opcode::GuardValid => {
                        st.settle_assumptions();
                        guard!(i, executor.is_valid());
                    }
                    Opcode::Back => {
                        passes += 1;
                        ip = insns.add(i.imm as usize);
                    }
                    Opcode::Exit => leave!(i.exit()),
                    Opcode::CallOut => match self.call_out(st, executor, i.imm as usize) {
                        Ok(Next::On) => slots = st.slot(self.origin),
                        Ok(Next::Exit(id)) => leave!(id),
                        Ok(Next::Left(outcome)) => {
                            executor.counts().pass(passes);
                            return Ok(Left::Done(outcome));
                        }
                        Err(raised) => {
                            executor.counts().pass(passes);
                            return Err(raised);
                        }
                    },
                }
            }
        }
    }
}

/// Whether a loop over floats goes on.
#[inline(always)]
fn goes_on(next: f64, limit: f64, step: f64) -> bool {
    if step > 0.0 { next <= limit } else { limit <= next }
}
