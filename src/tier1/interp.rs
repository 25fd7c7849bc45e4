//! The dispatch loop.
//!
//! One function, a `match` on the opcode. The program counter, the register window, the constants and the
//! prototype are locals; everything else is in the [`State`]. An instruction's fast path is here; whatever may
//! call, raise or allocate much is in [`slow`](super::slow), behind `saved!`, which stores the program counter
//! first and reloads the locals afterwards, since the frame, the stack and even the coroutine may have changed.
//!
//! Instructions are specialised in place. A specialised instruction that meets other operands turns back into
//! its general form, which counts such misses in its spare operand and stays general after
//! [`MISSES_MAX`] of them.
//!
//! The same function, instantiated with `RECORD`, is the recording dispatch: it notes each instruction with
//! what it sees before executing it ([`State::note`]). Instantiated with `HOOK` it is the dispatch with hooks
//! ([`State::before_instruction`]): calls and returns take the slow path, which runs their hooks, and nothing gets hot.
//! With `COUNT`, which both of these are and a VM may ask for, it counts instructions.

use super::call::{Outcome, Return};
use super::native::Args;
use super::slow::{self, Arith};
use super::state::{Raised, State};
use crate::bytecode::cache::{CallSite, FieldCache, FieldEntry, LoopSite, SlotKind};
use crate::bytecode::{Instr, Op};
use crate::bytecode::proto::{Proto, proto_flags};
use crate::runtime::coroutine::{CallRecord, Continuation, record_flags};
use crate::runtime::function::{CellState, Closure, UpCell};
use crate::runtime::number;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::table::{Table, table_flags};
use crate::runtime::value::{Tag, Value};
use crate::tier2;

/// Despecialisations after which an instruction stays general.
pub(super) const MISSES_MAX: u32 = 6;

/// Runs the current frame until the activation entered from Rust ends.
pub(crate) fn execute(st: &mut State) -> Result<Outcome, Raised> {
    loop {
        // In all of these the current record is a bytecode frame whose code has been verified.
        let outcome = if st.hook_events != 0 {
            st.stop_recording();
            // SAFETY: as said above.
            unsafe { dispatch::<false, true, true>(st)? }
        } else if st.recording.active {
            // SAFETY: as said above.
            unsafe { dispatch::<true, false, true>(st)? }
        } else if st.recording.complete {
            st.recorded();
            continue;
        } else if let Some(executor) = st.take_entering() {
            tier2::run(st, executor)?
        } else if st.count_instructions {
            // SAFETY: as said above.
            unsafe { dispatch::<false, false, true>(st)? }
        } else {
            // SAFETY: as said above.
            unsafe { dispatch::<false, false, false>(st)? }
        };
        if outcome == Outcome::Exit {
            return Ok(outcome);
        }
    }
}

/// Runs the one instruction at which the current frame stands.
pub(crate) fn execute_one(st: &mut State) -> Result<Outcome, Raised> {
    st.recording.single = true;
    // SAFETY: as in `execute`.
    unsafe { dispatch::<true, false, true>(st) }
}

/// The slot of a cached field: base plus offsets.
#[inline(always)]
unsafe fn read_slot(base: *const u8, payload: u16, tag: u16) -> Value {
    // SAFETY: the caller has checked the shape for which the offsets were computed.
    unsafe {
        Value::new(
            (base.add(payload as usize) as *const u64).read(),
            Tag::from_byte(base.add(tag as usize).read()),
        )
    }
}

#[inline(always)]
unsafe fn write_slot(base: *mut u8, payload: u16, tag: u16, v: Value) {
    // SAFETY: as in `read_slot`.
    unsafe {
        (base.add(payload as usize) as *mut u64).write(v.payload());
        base.add(tag as usize).write(v.tag().byte());
    }
}

/// Floor division by other than zero.
#[inline(always)]
fn floor_div_int(a: i64, b: i64) -> i64 {
    number::int_floor_div(a, b).unwrap_or_default()
}

/// Modulo by other than zero.
#[inline(always)]
fn mod_int(a: i64, b: i64) -> i64 {
    number::int_modulo(a, b).unwrap_or_default()
}

/// The value that a cache has found in its holder.
///
/// # Safety
/// The cache has a holder, and its epoch has been checked.
#[inline(always)]
unsafe fn holder_value(cache: &FieldCache) -> Value {
    // SAFETY: the epoch guarantees that the holder still has the shape for which the offsets were computed.
    unsafe {
        let holder = cache.holder.get().unwrap_unchecked();
        let base = if cache.in_overflow.get() { holder.overflow.get() as *const u8 } else { holder.as_ptr() as *const u8 };
        let slot = cache.slot.get();
        read_slot(base, slot.payload, slot.tag)
    }
}

/// What an entry for the shape of `t` says; `None` if that takes a closer look.
///
/// # Safety
/// `t` has the entry's shape.
#[inline(always)]
unsafe fn entry_value(st: &State, e: &FieldEntry, t: Gc<Table>) -> Option<Value> {
    let (base, holder) = match e.kind {
        SlotKind::Inline => (t.as_ptr() as *const u8, false),
        SlotKind::Overflow => (t.overflow.get() as *const u8, false),
        SlotKind::HolderInline => (e.holder?.as_ptr() as *const u8, true),
        SlotKind::HolderOverflow => (e.holder?.overflow.get() as *const u8, true),
        SlotKind::Absent => return (e.epoch == st.rt.holder_epoch).then_some(Value::NIL),
    };
    if holder && e.epoch != st.rt.holder_epoch {
        return None;
    }
    // SAFETY: the offsets belong to the shape, or to that of the holder, which the epoch vouches for.
    let v = unsafe { read_slot(base, e.slot.payload, e.slot.tag) };
    (!v.is_nil() || e.nil_is_final && e.epoch == st.rt.holder_epoch).then_some(v)
}

/// Looks the receiver's shape up in a polymorphic site.
#[inline(always)]
fn poly_get(st: &State, cache: &FieldCache, t: Gc<Table>) -> Option<Value> {
    let shape = t.shape.get();
    // SAFETY: null, or a live box owned by the cache.
    let more = unsafe { cache.more.get().as_ref() }?;
    let e = more.entries[..more.len].iter().find(|e| e.shape == shape)?;
    // SAFETY: the shape has been compared.
    unsafe { entry_value(st, e, t) }
}

/// Stores through a polymorphic site; false if it does not know the shape.
#[inline]
fn poly_set(st: &mut State, cache: &FieldCache, t: Gc<Table>, v: Value) -> bool {
    let shape = t.shape.get();
    // SAFETY: null, or a live box owned by the cache; offsets belong to the shape that is compared.
    unsafe {
        let Some(more) = cache.more.get().as_ref() else {
            return false;
        };
        let Some(e) = more.entries[..more.len].iter().find(|e| e.shape == shape) else {
            return false;
        };
        let base = if e.kind == SlotKind::Inline { t.as_ptr() as *mut u8 } else { t.overflow.get() };
        if !e.nil_is_final && *base.add(e.slot.tag as usize) == 0 {
            return false;
        }
        write_slot(base, e.slot.payload, e.slot.tag, v);
        st.rt.heap.write_barrier(t);
        true
    }
}

/// A get in a megamorphic site: puts the value at `dest`, or returns false if the shared cache does not have it.
///
/// # Safety
/// `receiver` and `dest` are slots of the stack.
#[inline(never)]
unsafe fn shared_get(st: &State, cache: &FieldCache, receiver: *const Value, dest: *mut Value) -> bool {
    // SAFETY: the caller's promise; the payload of a table is its address.
    unsafe {
        if !cache.is_megamorphic() || Value::tag_at(receiver) != Tag::TABLE {
            return false;
        }
        let t: Gc<Table> = Gc::from_addr(Value::payload_at(receiver));
        let Some(e) = st.rt.shared_cache.load(t.shape.get(), cache.key) else {
            return false;
        };
        let Some(v) = entry_value(st, e, t) else {
            return false;
        };
        Value::store(dest, v);
        true
    }
}

/// A set in a megamorphic site; false if the shared cache does not have it.
///
/// # Safety
/// `receiver` is a slot of the stack.
#[inline(never)]
unsafe fn shared_set(st: &mut State, cache: &FieldCache, receiver: *const Value, v: Value) -> bool {
    // SAFETY: the caller's promise; the offsets belong to the shape.
    unsafe {
        if !cache.is_megamorphic() || Value::tag_at(receiver) != Tag::TABLE {
            return false;
        }
        let t: Gc<Table> = Gc::from_addr(Value::payload_at(receiver));
        let Some(&e) = st.rt.shared_cache.store(t.shape.get(), cache.key) else {
            return false;
        };
        let base = if e.in_overflow { t.overflow.get() } else { t.as_ptr() as *mut u8 };
        if e.next_shape != e.shape {
            if !e.nil_is_final && t.has_flag(table_flags::IS_METATABLE) {
                return false;
            }
            // A nil reserves the slot.
            t.shape.set(e.next_shape);
        } else if !e.nil_is_final && *base.add(e.slot.tag as usize) == 0 {
            return false;
        }
        write_slot(base, e.slot.payload, e.slot.tag, v);
        st.rt.heap.write_barrier(t);
        true
    }
}

/// # Safety
/// The current record must be that of a bytecode function whose prototype has been verified.
unsafe fn dispatch<const RECORD: bool, const HOOK: bool, const COUNT: bool>(st: &mut State) -> Result<Outcome, Raised> {
    let mut pc: *const Instr;
    let mut base: *mut Value;
    let mut k: *const Value;
    let mut proto: *const Proto;
    // Of a call for one instruction: how many are left.
    let mut left = if RECORD && std::mem::take(&mut st.recording.single) { Some(1u8) } else { None };

    macro_rules! reload {
        () => {{
            let rec = st.record;
            pc = (*rec).pc;
            base = st.stack.add((*rec).base as usize);
            let closure: Gc<Closure> = Gc::from_addr(Value::payload_at(base.sub(1)));
            proto = closure.proto.as_ptr();
            k = (*proto).constants;
        }};
    }
    macro_rules! reg {
        ($i:expr) => {
            base.add($i)
        };
    }
    macro_rules! get {
        ($i:expr) => {
            Value::load(base.add($i))
        };
    }
    macro_rules! set {
        ($i:expr, $v:expr) => {
            Value::store(base.add($i), $v)
        };
    }
    // Runs something that may call, raise or move the stack; it sees the program counter behind `i`.
    macro_rules! saved {
        ($e:expr) => {{
            (*st.record).pc = pc;
            let outcome: Outcome = $e?;
            settle!(outcome);
        }};
    }
    // Goes on in the current frame, if this loop may.
    macro_rules! settle {
        ($outcome:expr) => {{
            let outcome: Outcome = $outcome;
            if outcome != Outcome::Continue && !(HOOK && outcome == Outcome::Hooked) {
                return Ok(outcome);
            }
            reload!();
            // A function that something else than a call instruction has called is hot all the same.
            if !HOOK && pc == (*proto).code && (*proto).entry.countdown.get() <= 1 && st.hot(&(*proto).entry, RECORD) {
                return Ok(Outcome::Continue);
            }
        }};
    }
    // Executes the running instruction again, in another form.
    macro_rules! again {
        () => {{
            pc = pc.sub(1);
            if HOOK {
                st.hook_repeat();
            }
            if RECORD && left.is_none() {
                // It has not run yet.
                st.recording.steps.pop();
            }
        }};
    }
    // Like `saved`, for what neither moves the frame nor gives up control.
    macro_rules! raising {
        ($e:expr) => {{
            (*st.record).pc = pc;
            $e?
        }};
    }
    macro_rules! rewrite {
        ($i:expr, $op:ident) => {{
            *(pc.sub(1) as *mut Instr) = $i.with_op(Op::$op);
            st.counters.specialised.count(Op::$op);
        }};
    }
    macro_rules! specialise {
        ($i:expr, $op:ident) => {
            if $i.d() < MISSES_MAX {
                rewrite!($i, $op)
            }
        };
    }
    // For instructions with a constant or a jump, which leave `c` free.
    macro_rules! specialise_k {
        ($i:expr, $op:ident) => {
            if ($i.c() as u32) < MISSES_MAX {
                rewrite!($i, $op)
            }
        };
    }
    // Back to the general form; executes it next.
    macro_rules! despecialise {
        ($i:expr, $op:ident) => {{
            *(pc.sub(1) as *mut Instr) = $i.with_op(Op::$op).with_d($i.d() + 1);
            st.counters.despecialised.count(Op::$op);
            again!();
        }};
    }
    macro_rules! despecialise_k {
        ($i:expr, $op:ident) => {{
            let misses = ($i.c() as u8).saturating_add(1);
            *(pc.sub(1) as *mut Instr) = Instr::new(Op::$op, $i.a() as u8, $i.b() as u8, misses, $i.d());
            st.counters.despecialised.count(Op::$op);
            again!();
        }};
    }
    // The same without counting, for forms that are tried again cheaply.
    macro_rules! generalise {
        ($i:expr, $op:ident) => {{
            *(pc.sub(1) as *mut Instr) = $i.with_op(Op::$op);
            st.counters.despecialised.count(Op::$op);
            again!();
        }};
    }
    macro_rules! jump {
        ($i:expr) => {
            pc = pc.offset($i.sd() as isize)
        };
    }
    // Jumps back; polls before that, while the program counter still tells the registers in use.
    macro_rules! back_edge {
        ($i:expr) => {{
            if *st.interrupt.as_ptr() != 0 {
                saved!(st.poll());
            }
            jump!($i);
            if !HOOK {
                let site: *const LoopSite = (*proto).loops.add($i.bc() as usize);
                let left = (*site).countdown.get().wrapping_sub(1);
                (*site).countdown.set(left);
                if left == 0 {
                    (*st.record).pc = pc;
                    if st.hot(&*site, RECORD) {
                        return Ok(Outcome::Continue);
                    }
                }
            }
        }};
    }
    macro_rules! arith {
        ($i:expr, $p:expr, $q:expr, $int:expr, $float:expr, $op:ident, $special:ident, $si:ident, $sf:ident) => {{
            let (p, q): (*const Value, *const Value) = ($p, $q);
            let (tp, tq) = (Value::tag_at(p), Value::tag_at(q));
            if tp == Tag::INT && tq == Tag::INT {
                $special!($i, $si);
                let v: i64 = $int(Value::payload_at(p) as i64, Value::payload_at(q) as i64);
                set!($i.a(), Value::int(v));
            } else if tp.is_number() && tq.is_number() {
                if tp == Tag::FLOAT && tq == Tag::FLOAT {
                    $special!($i, $sf);
                }
                let v: f64 = $float(Value::load(p).to_float_unchecked(), Value::load(q).to_float_unchecked());
                set!($i.a(), Value::float(v));
            } else {
                saved!(slow::arith(st, Arith::$op, Value::load(p), Value::load(q), $i.a()));
            }
        }};
    }
    macro_rules! arith_int {
        ($i:expr, $p:expr, $q:expr, $int:expr, $general:ident, $back:ident) => {{
            let (p, q): (*const Value, *const Value) = ($p, $q);
            if Value::tag_at(p) == Tag::INT && Value::tag_at(q) == Tag::INT {
                let v: i64 = $int(Value::payload_at(p) as i64, Value::payload_at(q) as i64);
                set!($i.a(), Value::int(v));
            } else {
                $back!($i, $general);
            }
        }};
    }
    macro_rules! arith_float {
        ($i:expr, $p:expr, $q:expr, $float:expr, $general:ident, $back:ident) => {{
            let (p, q): (*const Value, *const Value) = ($p, $q);
            if Value::tag_at(p) == Tag::FLOAT && Value::tag_at(q) == Tag::FLOAT {
                let v: f64 = $float(f64::from_bits(Value::payload_at(p)), f64::from_bits(Value::payload_at(q)));
                set!($i.a(), Value::float(v));
            } else {
                $back!($i, $general);
            }
        }};
    }
    // Operations on floats only: integers are converted.
    macro_rules! arith_to_float {
        ($i:expr, $p:expr, $q:expr, $float:expr, $op:ident $(, $special:ident, $sf:ident)?) => {{
            let (p, q): (*const Value, *const Value) = ($p, $q);
            let (tp, tq) = (Value::tag_at(p), Value::tag_at(q));
            if tp.is_number() && tq.is_number() {
                $(if tp == Tag::FLOAT && tq == Tag::FLOAT { $special!($i, $sf); })?
                let v: f64 = $float(Value::load(p).to_float_unchecked(), Value::load(q).to_float_unchecked());
                set!($i.a(), Value::float(v));
            } else {
                saved!(slow::arith(st, Arith::$op, Value::load(p), Value::load(q), $i.a()));
            }
        }};
    }
    // Integer division and modulo: a zero divisor goes the slow way.
    macro_rules! arith_div {
        ($i:expr, $p:expr, $q:expr, $int:expr, $float:expr, $op:ident $(, $si:ident)?) => {{
            let (p, q): (*const Value, *const Value) = ($p, $q);
            let (tp, tq) = (Value::tag_at(p), Value::tag_at(q));
            if tp == Tag::INT && tq == Tag::INT && Value::payload_at(q) != 0 {
                $(if Value::payload_at(q) as i64 > 0 { specialise_k!($i, $si); })?
                let v: i64 = $int(Value::payload_at(p) as i64, Value::payload_at(q) as i64);
                set!($i.a(), Value::int(v));
            } else if tp.is_number() && tq.is_number() && !(tp == Tag::INT && tq == Tag::INT) {
                let v: f64 = $float(Value::load(p).to_float_unchecked(), Value::load(q).to_float_unchecked());
                set!($i.a(), Value::float(v));
            } else {
                saved!(slow::arith(st, Arith::$op, Value::load(p), Value::load(q), $i.a()));
            }
        }};
    }
    macro_rules! bitwise {
        ($i:expr, $p:expr, $q:expr, $int:expr, $op:ident) => {{
            let (p, q): (*const Value, *const Value) = ($p, $q);
            if Value::tag_at(p) == Tag::INT && Value::tag_at(q) == Tag::INT {
                let v: i64 = $int(Value::payload_at(p) as i64, Value::payload_at(q) as i64);
                set!($i.a(), Value::int(v));
            } else {
                saved!(slow::arith(st, Arith::$op, Value::load(p), Value::load(q), $i.a()));
            }
        }};
    }
    macro_rules! kst {
        ($i:expr) => {
            k.add($i.d() as usize)
        };
    }
    macro_rules! field {
        ($i:expr) => {
            &*(*proto).fields.add($i.d() as usize)
        };
    }
    macro_rules! captured {
        ($n:expr) => {{
            let closure: Gc<Closure> = Gc::from_addr(Value::payload_at(base.sub(1)));
            closure.cell($n)
        }};
    }
    macro_rules! compare {
        ($i:expr, $op:tt, $float:expr, $sense:expr, $slow:ident $(, $si:ident, $sf:ident)?) => {{
            let (p, q) = (reg!($i.a()), reg!($i.b()));
            let (tp, tq) = (Value::tag_at(p), Value::tag_at(q));
            if tp == Tag::INT && tq == Tag::INT {
                $(if $i.c() < MISSES_MAX as usize { rewrite!($i, $si); })?
                if ((Value::payload_at(p) as i64) $op (Value::payload_at(q) as i64)) == $sense {
                    jump!($i);
                }
            } else if tp == Tag::FLOAT && tq == Tag::FLOAT {
                $(if $i.c() < MISSES_MAX as usize { rewrite!($i, $sf); })?
                if (f64::from_bits(Value::payload_at(p)) $op f64::from_bits(Value::payload_at(q))) == $sense {
                    jump!($i);
                }
            } else {
                saved!(slow::$slow(st, Value::load(p), Value::load(q), $sense, $i.sd()));
            }
        }};
    }
    macro_rules! compare_int {
        ($i:expr, $op:tt, $sense:expr, $general:ident) => {{
            let (p, q) = (reg!($i.a()), reg!($i.b()));
            if Value::tag_at(p) == Tag::INT && Value::tag_at(q) == Tag::INT {
                if ((Value::payload_at(p) as i64) $op (Value::payload_at(q) as i64)) == $sense {
                    jump!($i);
                }
            } else {
                despecialise_k!($i, $general);
            }
        }};
    }
    macro_rules! compare_float {
        ($i:expr, $op:tt, $sense:expr, $general:ident) => {{
            let (p, q) = (reg!($i.a()), reg!($i.b()));
            if Value::tag_at(p) == Tag::FLOAT && Value::tag_at(q) == Tag::FLOAT {
                if (f64::from_bits(Value::payload_at(p)) $op f64::from_bits(Value::payload_at(q))) == $sense {
                    jump!($i);
                }
            } else {
                despecialise_k!($i, $general);
            }
        }};
    }
    macro_rules! compare_imm {
        ($i:expr, $op:tt, $sense:expr, $slow:ident, $swapped:expr) => {{
            let p = reg!($i.a());
            let imm = $i.bc() as i16;
            let tag = Value::tag_at(p);
            if tag == Tag::INT {
                if ((Value::payload_at(p) as i64) $op imm as i64) == $sense {
                    jump!($i);
                }
            } else if tag == Tag::FLOAT {
                if (f64::from_bits(Value::payload_at(p)) $op imm as f64) == $sense {
                    jump!($i);
                }
            } else {
                let (x, y) = (Value::load(p), Value::int(imm as i64));
                let (x, y) = if $swapped { (y, x) } else { (x, y) };
                saved!(slow::$slow(st, x, y, $sense, $i.sd()));
            }
        }};
    }
    macro_rules! table_at {
        ($p:expr) => {
            Gc::<Table>::from_addr(Value::payload_at($p))
        };
    }
    // Element `i` (from 1) of the array part, if it is in use.
    macro_rules! array_get {
        ($t:expr, $i:expr, $dest:expr, $otherwise:expr) => {{
            let index = ($i as u64).wrapping_sub(1);
            if index < $t.array_len.get() as u64 {
                let a = $t.array.get();
                let tag = Tag::from_byte(*a.add(index as usize));
                if tag != Tag::NIL || $t.metatable.get().is_none() {
                    let payload = *(a as *const u64).sub(index as usize + 1);
                    set!($dest, Value::new(payload, tag));
                } else {
                    $otherwise
                }
            } else {
                $otherwise
            }
        }};
    }
    // Replaces an element in use by a value of the kind that the array holds; appends within the capacity.
    macro_rules! array_set {
        ($t:expr, $i:expr, $v:expr, $otherwise:expr) => {{
            let v: Value = $v;
            let index = ($i as u64).wrapping_sub(1);
            let len = $t.array_len.get() as u64;
            let a = $t.array.get();
            if index < len
                && !v.is_nil()
                && $t.array_kind.get().accepts(v.tag())
                && ($t.metatable.get().is_none() || *a.add(index as usize) != 0)
            {
                *(a as *mut u64).sub(index as usize + 1) = v.payload();
                *a.add(index as usize) = v.tag().byte();
                st.rt.heap.write_barrier($t);
            } else if index == len
                && index < $t.array_cap.get() as u64
                && !v.is_nil()
                && $t.array_kind.get().accepts(v.tag())
                && $t.metatable.get().is_none()
                && !$t.has_flag(table_flags::INDICES)
            {
                *(a as *mut u64).sub(index as usize + 1) = v.payload();
                *a.add(index as usize) = v.tag().byte();
                $t.array_len.set(len as u32 + 1);
                st.rt.heap.write_barrier($t);
            } else {
                $otherwise
            }
        }};
    }
    // Reads a cached slot of `t`; a nil that `__index` could replace goes the slow way.
    macro_rules! cached_get {
        ($cache:expr, $base:expr, $dest:expr, $otherwise:expr) => {{
            let slot = $cache.slot.get();
            let v = read_slot($base as *const u8, slot.payload, slot.tag);
            if v.tag() != Tag::NIL
                || $cache.nil_is_final.get() && $cache.epoch.get() == st.rt.holder_epoch
            {
                set!($dest, v);
            } else {
                $otherwise
            }
        }};
    }
    macro_rules! cached_set {
        ($t:expr, $cache:expr, $base:expr, $v:expr) => {{
            let slot = $cache.slot.get();
            write_slot($base as *mut u8, slot.payload, slot.tag, $v);
            st.rt.heap.write_barrier($t);
        }};
    }
    // With the table `t` at `p`, if it has the cached shape.
    macro_rules! of_shape {
        ($p:expr, $cache:expr, |$t:ident| $hit:expr, $miss:expr) => {
            if Value::tag_at($p) == Tag::TABLE && table_at!($p).shape.get() == $cache.shape.get() {
                let $t = table_at!($p);
                $hit
            } else {
                $miss
            }
        };
    }
    // Replaces the value of a cached slot of `t`; a nil that may have a `__newindex` goes the slow way.
    macro_rules! cached_replace {
        ($t:expr, $cache:expr, $base:expr, $v:expr, $miss:expr) => {{
            let to = $base as *mut u8;
            if $cache.nil_is_final.get() || *to.add($cache.slot.get().tag as usize) != 0 {
                cached_set!($t, $cache, to, $v);
            } else {
                $miss;
            }
        }};
    }
    // Adds the key to a table of the cached shape; a nil reserves the slot.
    macro_rules! cached_add {
        ($i:expr, $p:expr, $cache:expr, $v:expr) => {
            of_shape!(
                $p,
                $cache,
                |t| if $cache.nil_is_final.get() || !t.has_flag(table_flags::IS_METATABLE) {
                    cached_set!(t, $cache, t.as_ptr(), $v);
                    t.shape.set($cache.next_shape.get());
                } else {
                    miss_set!($i, $v)
                },
                miss_set!($i, $v)
            )
        };
    }
    // The method `v` of the value at `p`, unless it is nil.
    macro_rules! method {
        ($i:expr, $p:expr, $v:expr) => {{
            let (receiver, v): (Value, Value) = (Value::load($p), $v);
            if v.is_nil() {
                miss_self!($i);
            } else {
                set!($i.a() + 1, receiver);
                set!($i.a(), v);
            }
        }};
    }
    macro_rules! miss_get {
        ($i:expr) => {
            saved!(slow::get_field(st, pc.sub(1) as *mut Instr, get!($i.b()), field!($i), $i.a()))
        };
    }
    macro_rules! miss_self {
        ($i:expr) => {
            saved!(slow::get_method(st, pc.sub(1) as *mut Instr, get!($i.b()), field!($i), $i.a()))
        };
    }
    macro_rules! miss_set {
        ($i:expr, $v:expr) => {
            saved!(slow::set_field(st, pc.sub(1) as *mut Instr, get!($i.a()), field!($i), $v))
        };
    }
    // Collects garbage if it is time; registers from `live` up are free.
    macro_rules! safepoint {
        ($live:expr) => {
            if st.rt.heap.should_collect() {
                (*st.record).pc = pc;
                st.collect_at($live as u32);
            }
        };
    }
    macro_rules! call {
        ($i:expr, $nargs:expr, $wanted:expr) => {{
            let func = st.index_of(reg!($i.a()));
            saved!(slow::call(st, func, $nargs, $wanted));
        }};
    }
    macro_rules! nargs {
        ($i:expr) => {
            if $i.b() != 0 { $i.b() as u32 - 1 } else { st.top.offset_from(reg!($i.a() + 1)) as u32 }
        };
    }
    // Calls the host function at `func`.
    macro_rules! native_call {
        ($func:expr, $nargs:expr, $wanted:expr) => {{
            let func: *mut Value = $func;
            let nargs: u32 = $nargs;
            let native: Gc<crate::runtime::function::Native> = Gc::from_addr(Value::payload_at(func));
            (*st.record).pc = pc;
            let at = st.index_of(func);
            if HOOK {
                saved!(slow::call(st, at, nargs, $wanted));
                continue;
            }
            let args: Args = st.push_native(at, nargs, Return::call($wanted))?;
            let n = (native.func)(st, args)?;
            let interrupted = *st.interrupt.as_ptr() != 0;
            // A function that sets a hook for returns is the first to return through it.
            if n >= 0 && !(interrupted && st.hook_events != 0) {
                let wanted = (*st.record).wanted;
                st.record = st.record.sub(1);
                base = st.stack.add((*st.record).base as usize);
                let func = st.slot(at);
                if wanted == 1 {
                    if n == 0 {
                        Value::store(func, Value::NIL);
                    }
                } else if wanted < 0 {
                    st.top = func.add(n as usize);
                } else {
                    for j in n..wanted as i32 {
                        Value::store(func.add(j as usize), Value::NIL);
                    }
                }
                if interrupted || st.rt.heap.should_collect() {
                    let used = if wanted < 0 { n as u32 } else { wanted as u32 };
                    saved!(st.poll_after_call(at + used));
                }
            } else {
                let n = if n < 0 { n } else { st.keep_function(Value::native(native), n)? };
                settle!(st.settle(n)?);
            }
        }};
    }
    // Goes on at the head of `callee`, whose frame is the current one.
    macro_rules! begin {
        ($callee:expr, $base:expr) => {{
            let callee: *const Proto = $callee;
            base = $base;
            proto = callee;
            pc = (*callee).code;
            k = (*callee).constants;
            let site: *const LoopSite = &(*callee).entry;
            let left = (*site).countdown.get().wrapping_sub(1);
            (*site).countdown.set(left);
            if left == 0 {
                (*st.record).pc = pc;
                if st.hot(&*site, RECORD) {
                    return Ok(Outcome::Continue);
                }
            }
            if *st.interrupt.as_ptr() != 0 {
                saved!(st.poll());
            }
        }};
    }
    // Enters a bytecode function at `func`: `exact` callees take just the arguments given.
    macro_rules! enter_closure {
        ($func:expr, $callee:expr, $wanted:expr, $site:expr) => {{
            let func: *mut Value = $func;
            let callee: *const Proto = $callee;
            let new_base = func.add(1);
            (*st.record).pc = pc;
            let end = new_base.add((*callee).registers as usize);
            let next = st.record.add(1);
            if !HOOK && end <= st.stack_limit && next != st.records_end {
                let index = st.index_of(new_base);
                *next = CallRecord {
                    pc: (*callee).code,
                    return_site: &(*$site).returns,
                    then: None,
                    base: index,
                    top: index + (*callee).registers,
                    extra_args: 0,
                    wanted: $wanted,
                    continuation: Continuation::Call,
                    flags: 0,
                    aux: 0,
                };
                st.record = next;
                begin!(callee, new_base);
                true
            } else {
                false
            }
        }};
    }
    // Leaves the frame with `n` results at `first`.
    macro_rules! leave {
        ($first:expr, $n:expr) => {{
            let first: *mut Value = $first;
            let n: usize = $n;
            let rec = st.record;
            if !HOOK && (*rec).continuation as u8 | (*rec).flags & !record_flags::TAIL == 0 {
                let dest = base.sub(1);
                let wanted = (*rec).wanted;
                st.record = rec.sub(1);
                if wanted == 1 {
                    let v = if n == 0 { Value::NIL } else { Value::load(first) };
                    Value::store(dest, v);
                } else if wanted < 0 {
                    for j in 0..n {
                        Value::store(dest.add(j), Value::load(first.add(j)));
                    }
                    st.top = dest.add(n);
                } else {
                    for j in 0..wanted as usize {
                        let v = if j < n { Value::load(first.add(j)) } else { Value::NIL };
                        Value::store(dest.add(j), v);
                    }
                }
                reload!();
            } else {
                saved!(slow::leave(st, first, n));
            }
        }};
    }

    // SAFETY: for the whole loop. The verifier guarantees that registers, constants, cache indices and jumps are
    // within the function's bounds, that registers that are read have been written, and that registers used
    // as cells hold cells. Objects in registers are alive, because the collector scans them.
    unsafe {
        reload!();
        loop {
            if HOOK {
                (*st.record).pc = pc.add(1);
                if !st.before_instruction()? {
                    (*st.record).pc = (*st.record).pc.sub(1);
                    return Ok(Outcome::Continue);
                }
                reload!();
                pc = pc.sub(1);
            }
            let i = *pc;
            pc = pc.add(1);
            if RECORD {
                let goes_on = match &mut left {
                    None => st.note(proto, pc.sub(1), base),
                    Some(left) => {
                        *left = left.wrapping_sub(1);
                        *left == 0
                    }
                };
                if !goes_on {
                    (*st.record).pc = pc.sub(1);
                    return Ok(Outcome::Continue);
                }
            }
            if COUNT {
                st.counters.interpreted += 1;
            }
            match i.op_unchecked() {
                Op::MOVE => set!(i.a(), get!(i.b())),
                Op::LOADI => set!(i.a(), Value::int(i.sd() as i64)),
                Op::LOADK => set!(i.a(), Value::load(kst!(i))),
                Op::NIL => {
                    for j in i.a()..=i.a() + i.b() {
                        set!(j, Value::NIL);
                    }
                }
                Op::FALSE => set!(i.a(), Value::FALSE),
                Op::TRUE => set!(i.a(), Value::TRUE),

                Op::CELL => {
                    let v = get!(i.a());
                    let cell = raising!(st.new_cell(v, CellState::Constant));
                    set!(i.a(), Value::cell(cell));
                    safepoint!(slow::live_after(proto, pc, i.a()));
                }
                Op::NEWCELL => {
                    let cell = raising!(st.new_cell(Value::NIL, CellState::Uninitialised));
                    set!(i.a(), Value::cell(cell));
                    safepoint!(slow::live_after(proto, pc, i.a()));
                }
                Op::GETCELL => {
                    let cell: Gc<UpCell> = Gc::from_addr(Value::payload_at(reg!(i.b())));
                    set!(i.a(), cell.get());
                }
                Op::SETCELL => {
                    let cell: Gc<UpCell> = Gc::from_addr(Value::payload_at(reg!(i.a())));
                    st.store_cell(cell, get!(i.b()));
                }
                Op::GETUP => set!(i.a(), captured!(i.b()).get()),
                Op::SETUP => {
                    let cell = captured!(i.b());
                    st.store_cell(cell, get!(i.a()));
                }

                Op::GETENV => {
                    let env = captured!(i.b()).get();
                    saved!(slow::get_field(st, pc.sub(1) as *mut Instr, env, field!(i), i.a()));
                }
                Op::GETENV_INLINE | Op::GETENV_OVERFLOW => {
                    let env = captured!(i.b());
                    let cache = field!(i);
                    let t: Gc<Table> = Gc::from_addr(env.payload.get());
                    if env.tag.get() == Tag::TABLE.byte() && t.shape.get() == cache.shape.get() {
                        let from = if i.op_unchecked() == Op::GETENV_INLINE { t.as_ptr() as *mut u8 } else { t.overflow.get() };
                        cached_get!(cache, from, i.a(), generalise!(i, GETENV));
                    } else {
                        generalise!(i, GETENV);
                    }
                }
                Op::SETENV => {
                    let env = captured!(i.b()).get();
                    saved!(slow::set_field(st, pc.sub(1) as *mut Instr, env, field!(i), get!(i.a())));
                }
                Op::SETENV_INLINE | Op::SETENV_OVERFLOW => {
                    let env = captured!(i.b());
                    let cache = field!(i);
                    let t: Gc<Table> = Gc::from_addr(env.payload.get());
                    if env.tag.get() == Tag::TABLE.byte() && t.shape.get() == cache.shape.get() {
                        let to = if i.op_unchecked() == Op::SETENV_INLINE { t.as_ptr() as *mut u8 } else { t.overflow.get() };
                        cached_replace!(t, cache, to, get!(i.a()), {
                            saved!(slow::set_field(st, pc.sub(1) as *mut Instr, env.get(), cache, get!(i.a())))
                        });
                    } else {
                        generalise!(i, SETENV);
                    }
                }
                Op::GETFIELD => {
                    if !shared_get(st, field!(i), reg!(i.b()), reg!(i.a())) {
                        miss_get!(i);
                    }
                }
                Op::GETFIELD_INLINE => {
                    let (p, cache) = (reg!(i.b()), field!(i));
                    of_shape!(p, cache, |t| cached_get!(cache, t.as_ptr(), i.a(), miss_get!(i)), miss_get!(i));
                }
                Op::GETFIELD_OVERFLOW => {
                    let (p, cache) = (reg!(i.b()), field!(i));
                    of_shape!(p, cache, |t| cached_get!(cache, t.overflow.get(), i.a(), miss_get!(i)), miss_get!(i));
                }
                Op::GETFIELD_HOLDER => {
                    let (p, cache) = (reg!(i.b()), field!(i));
                    if Value::tag_at(p) == Tag::TABLE
                        && table_at!(p).shape.get() == cache.shape.get()
                        && cache.epoch.get() == st.rt.holder_epoch
                    {
                        let v = holder_value(cache);
                        if v.is_nil() {
                            miss_get!(i);
                        } else {
                            set!(i.a(), v);
                        }
                    } else {
                        miss_get!(i);
                    }
                }
                Op::GETFIELD_POLY => {
                    let p = reg!(i.b());
                    let found =
                        if Value::tag_at(p) == Tag::TABLE { poly_get(st, field!(i), table_at!(p)) } else { None };
                    match found {
                        Some(v) => set!(i.a(), v),
                        None => miss_get!(i),
                    }
                }
                Op::SETFIELD => {
                    let v = get!(i.b());
                    if !shared_set(st, field!(i), reg!(i.a()), v) {
                        miss_set!(i, v);
                    }
                }
                Op::SETFIELD_INLINE | Op::SETFIELD_OVERFLOW => {
                    let (p, cache) = (reg!(i.a()), field!(i));
                    of_shape!(
                        p,
                        cache,
                        |t| {
                            let inline = i.op_unchecked() == Op::SETFIELD_INLINE;
                            let to = if inline { t.as_ptr() as *mut u8 } else { t.overflow.get() };
                            cached_replace!(t, cache, to, get!(i.b()), miss_set!(i, get!(i.b())));
                        },
                        miss_set!(i, get!(i.b()))
                    );
                }
                Op::SETFIELD_ADD => {
                    let (p, cache, v) = (reg!(i.a()), field!(i), get!(i.b()));
                    cached_add!(i, p, cache, v);
                }
                Op::SETFIELD_POLY => {
                    let p = reg!(i.a());
                    let v = get!(i.b());
                    if Value::tag_at(p) != Tag::TABLE || !poly_set(st, field!(i), table_at!(p), v) {
                        miss_set!(i, v);
                    }
                }
                Op::SETFIELDK => {
                    let v = Value::load(k.add(i.bc() as usize));
                    if !shared_set(st, field!(i), reg!(i.a()), v) {
                        miss_set!(i, v);
                    }
                }
                Op::SETFIELDK_INLINE => {
                    let (p, cache, v) = (reg!(i.a()), field!(i), Value::load(k.add(i.bc() as usize)));
                    of_shape!(p, cache, |t| cached_replace!(t, cache, t.as_ptr(), v, miss_set!(i, v)), miss_set!(i, v));
                }
                Op::SETFIELDK_ADD => {
                    let (p, cache, v) = (reg!(i.a()), field!(i), Value::load(k.add(i.bc() as usize)));
                    cached_add!(i, p, cache, v);
                }
                Op::SELF => {
                    // The function's register may be the receiver's: that is copied only once the method is known.
                    let receiver = get!(i.b());
                    if shared_get(st, field!(i), reg!(i.b()), reg!(i.a())) {
                        set!(i.a() + 1, receiver);
                    } else {
                        miss_self!(i);
                    }
                }
                Op::SELF_INLINE => {
                    let (p, cache) = (reg!(i.b()), field!(i));
                    of_shape!(
                        p,
                        cache,
                        |t| {
                            let slot = cache.slot.get();
                            method!(i, p, read_slot(t.as_ptr() as *const u8, slot.payload, slot.tag));
                        },
                        miss_self!(i)
                    );
                }
                Op::SELF_HOLDER => {
                    let (p, cache) = (reg!(i.b()), field!(i));
                    if Value::tag_at(p) == Tag::TABLE
                        && table_at!(p).shape.get() == cache.shape.get()
                        && cache.epoch.get() == st.rt.holder_epoch
                    {
                        method!(i, p, holder_value(cache));
                    } else {
                        miss_self!(i);
                    }
                }
                Op::SELF_POLY => {
                    let p = reg!(i.b());
                    let found =
                        if Value::tag_at(p) == Tag::TABLE { poly_get(st, field!(i), table_at!(p)) } else { None };
                    method!(i, p, found.unwrap_or(Value::NIL));
                }
                Op::SELF_STRING => {
                    let (p, cache) = (reg!(i.b()), field!(i));
                    if Value::tag_at(p) == Tag::STRING && cache.epoch.get() == st.rt.holder_epoch {
                        method!(i, p, holder_value(cache));
                    } else {
                        miss_self!(i);
                    }
                }
                Op::GETINDEX => {
                    let (p, q) = (reg!(i.b()), reg!(i.c()));
                    let (tp, tq) = (Value::tag_at(p), Value::tag_at(q));
                    if tp == Tag::TABLE && tq == Tag::INT {
                        specialise!(i, GETINDEX_INT);
                    } else if tp == Tag::TABLE && tq == Tag::STRING {
                        specialise!(i, GETINDEX_STR);
                    }
                    saved!(slow::get_index(st, Value::load(p), Value::load(q), i.a()));
                }
                Op::GETINDEX_INT => {
                    let (p, q) = (reg!(i.b()), reg!(i.c()));
                    if Value::tag_at(p) == Tag::TABLE && Value::tag_at(q) == Tag::INT {
                        let t = table_at!(p);
                        array_get!(t, Value::payload_at(q), i.a(), {
                            saved!(slow::get_index(st, Value::load(p), Value::load(q), i.a()))
                        });
                    } else {
                        despecialise!(i, GETINDEX);
                    }
                }
                Op::GETINDEX_STR => {
                    let (p, q) = (reg!(i.b()), reg!(i.c()));
                    if Value::tag_at(p) == Tag::TABLE && Value::tag_at(q) == Tag::STRING {
                        let s: Gc<Str> = Gc::from_addr(Value::payload_at(q));
                        let t = table_at!(p);
                        let v = st.rt.get(t, Value::string(s));
                        if !v.is_nil() || t.metatable.get().is_none() {
                            set!(i.a(), v);
                        } else {
                            saved!(slow::get_index(st, Value::load(p), Value::load(q), i.a()));
                        }
                    } else {
                        despecialise!(i, GETINDEX);
                    }
                }
                Op::GETINT => {
                    let p = reg!(i.b());
                    if Value::tag_at(p) == Tag::TABLE {
                        let t = table_at!(p);
                        array_get!(t, i.sd() as i64, i.a(), {
                            saved!(slow::get_index(st, Value::load(p), Value::int(i.sd() as i64), i.a()))
                        });
                    } else {
                        saved!(slow::get_index(st, Value::load(p), Value::int(i.sd() as i64), i.a()));
                    }
                }
                Op::SETINDEX => {
                    let (p, q) = (reg!(i.a()), reg!(i.b()));
                    if Value::tag_at(p) == Tag::TABLE && Value::tag_at(q) == Tag::INT {
                        specialise!(i, SETINDEX_INT);
                    }
                    saved!(slow::set_index(st, Value::load(p), Value::load(q), get!(i.c())));
                }
                Op::SETINDEX_INT => {
                    let (p, q) = (reg!(i.a()), reg!(i.b()));
                    if Value::tag_at(p) == Tag::TABLE && Value::tag_at(q) == Tag::INT {
                        let t = table_at!(p);
                        array_set!(t, Value::payload_at(q), get!(i.c()), {
                            saved!(slow::set_index(st, Value::load(p), Value::load(q), get!(i.c())))
                        });
                    } else {
                        despecialise!(i, SETINDEX);
                    }
                }
                Op::SETINDEXK => {
                    let (p, q) = (reg!(i.a()), reg!(i.b()));
                    if Value::tag_at(p) == Tag::TABLE && Value::tag_at(q) == Tag::INT {
                        specialise_k!(i, SETINDEXK_INT);
                    }
                    saved!(slow::set_index(st, Value::load(p), Value::load(q), Value::load(kst!(i))));
                }
                Op::SETINDEXK_INT => {
                    let (p, q) = (reg!(i.a()), reg!(i.b()));
                    if Value::tag_at(p) == Tag::TABLE && Value::tag_at(q) == Tag::INT {
                        let t = table_at!(p);
                        array_set!(t, Value::payload_at(q), Value::load(kst!(i)), {
                            saved!(slow::set_index(st, Value::load(p), Value::load(q), Value::load(kst!(i))))
                        });
                    } else {
                        despecialise_k!(i, SETINDEXK);
                    }
                }
                Op::SETINT => {
                    let p = reg!(i.a());
                    if Value::tag_at(p) == Tag::TABLE {
                        let t = table_at!(p);
                        array_set!(t, i.sd() as i64, get!(i.b()), {
                            saved!(slow::set_index(st, Value::load(p), Value::int(i.sd() as i64), get!(i.b())))
                        });
                    } else {
                        saved!(slow::set_index(st, Value::load(p), Value::int(i.sd() as i64), get!(i.b())));
                    }
                }
                Op::NEWTABLE => {
                    let made = st.rt.new_table_at(&*(*proto).tables.add(i.d() as usize));
                    let t = raising!(st.check_memory(made));
                    set!(i.a(), Value::table(t));
                    safepoint!(slow::live_after(proto, pc, i.a()));
                }
                Op::SETLIST => {
                    let t = table_at!(reg!(i.a()));
                    let first = reg!(i.a() + 1);
                    let n = if i.b() != 0 { i.b() } else { st.top.offset_from(first) as usize };
                    raising!(slow::set_list(st, t, i.d().saturating_add(1), first, n));
                }

                Op::ADD => arith!(i, reg!(i.b()), reg!(i.c()), i64::wrapping_add, |x: f64, y: f64| x + y, Add, specialise, ADD_INT, ADD_FLOAT),
                Op::SUB => arith!(i, reg!(i.b()), reg!(i.c()), i64::wrapping_sub, |x: f64, y: f64| x - y, Sub, specialise, SUB_INT, SUB_FLOAT),
                Op::MUL => arith!(i, reg!(i.b()), reg!(i.c()), i64::wrapping_mul, |x: f64, y: f64| x * y, Mul, specialise, MUL_INT, MUL_FLOAT),
                Op::DIV => arith_to_float!(i, reg!(i.b()), reg!(i.c()), |x: f64, y: f64| x / y, Div, specialise, DIV_FLOAT),
                Op::POW => arith_to_float!(i, reg!(i.b()), reg!(i.c()), number::pow, Pow),
                Op::MOD => arith_div!(i, reg!(i.b()), reg!(i.c()), mod_int, number::float_modulo, Mod),
                Op::IDIV => arith_div!(i, reg!(i.b()), reg!(i.c()), floor_div_int, number::float_floor_div, IDiv),
                Op::BAND => bitwise!(i, reg!(i.b()), reg!(i.c()), |x: i64, y: i64| x & y, BAnd),
                Op::BOR => bitwise!(i, reg!(i.b()), reg!(i.c()), |x: i64, y: i64| x | y, BOr),
                Op::BXOR => bitwise!(i, reg!(i.b()), reg!(i.c()), |x: i64, y: i64| x ^ y, BXor),
                Op::SHL => bitwise!(i, reg!(i.b()), reg!(i.c()), number::shift_left, Shl),
                Op::SHR => bitwise!(i, reg!(i.b()), reg!(i.c()), number::shift_right, Shr),
                Op::ADDK => arith!(i, reg!(i.b()), kst!(i), i64::wrapping_add, |x: f64, y: f64| x + y, Add, specialise_k, ADDK_INT, ADDK_FLOAT),
                Op::SUBK => arith!(i, reg!(i.b()), kst!(i), i64::wrapping_sub, |x: f64, y: f64| x - y, Sub, specialise_k, SUBK_INT, SUBK_FLOAT),
                Op::MULK => arith!(i, reg!(i.b()), kst!(i), i64::wrapping_mul, |x: f64, y: f64| x * y, Mul, specialise_k, MULK_INT, MULK_FLOAT),
                Op::DIVK => arith_to_float!(i, reg!(i.b()), kst!(i), |x: f64, y: f64| x / y, Div, specialise_k, DIVK_FLOAT),
                Op::POWK => arith_to_float!(i, reg!(i.b()), kst!(i), number::pow, Pow),
                Op::MODK => arith_div!(i, reg!(i.b()), kst!(i), mod_int, number::float_modulo, Mod, MODK_INT),
                Op::IDIVK => arith_div!(i, reg!(i.b()), kst!(i), floor_div_int, number::float_floor_div, IDiv, IDIVK_INT),
                Op::BANDK => bitwise!(i, reg!(i.b()), kst!(i), |x: i64, y: i64| x & y, BAnd),
                Op::BORK => bitwise!(i, reg!(i.b()), kst!(i), |x: i64, y: i64| x | y, BOr),
                Op::BXORK => bitwise!(i, reg!(i.b()), kst!(i), |x: i64, y: i64| x ^ y, BXor),
                Op::SHLK => bitwise!(i, reg!(i.b()), kst!(i), number::shift_left, Shl),
                Op::SHRK => bitwise!(i, reg!(i.b()), kst!(i), number::shift_right, Shr),
                Op::ADD_INT => arith_int!(i, reg!(i.b()), reg!(i.c()), i64::wrapping_add, ADD, despecialise),
                Op::ADD_FLOAT => arith_float!(i, reg!(i.b()), reg!(i.c()), |x: f64, y: f64| x + y, ADD, despecialise),
                Op::SUB_INT => arith_int!(i, reg!(i.b()), reg!(i.c()), i64::wrapping_sub, SUB, despecialise),
                Op::SUB_FLOAT => arith_float!(i, reg!(i.b()), reg!(i.c()), |x: f64, y: f64| x - y, SUB, despecialise),
                Op::MUL_INT => arith_int!(i, reg!(i.b()), reg!(i.c()), i64::wrapping_mul, MUL, despecialise),
                Op::MUL_FLOAT => arith_float!(i, reg!(i.b()), reg!(i.c()), |x: f64, y: f64| x * y, MUL, despecialise),
                Op::DIV_FLOAT => arith_float!(i, reg!(i.b()), reg!(i.c()), |x: f64, y: f64| x / y, DIV, despecialise),
                Op::UNM => {
                    let p = reg!(i.b());
                    let tag = Value::tag_at(p);
                    if tag == Tag::INT {
                        set!(i.a(), Value::int((Value::payload_at(p) as i64).wrapping_neg()));
                    } else if tag == Tag::FLOAT {
                        set!(i.a(), Value::float(-f64::from_bits(Value::payload_at(p))));
                    } else {
                        let v = Value::load(p);
                        saved!(slow::arith(st, Arith::Unm, v, v, i.a()));
                    }
                }
                Op::BNOT => {
                    let v = get!(i.b());
                    if v.is_int() {
                        set!(i.a(), Value::int(!v.as_int_unchecked()));
                    } else {
                        saved!(slow::arith(st, Arith::BNot, v, v, i.a()));
                    }
                }
                Op::NOT => set!(i.a(), Value::bool(Value::tag_at(reg!(i.b())).is_falsy())),
                Op::LEN => {
                    let v = get!(i.b());
                    match v.tag() {
                        Tag::TABLE => specialise!(i, LEN_TABLE),
                        Tag::STRING => specialise!(i, LEN_STRING),
                        _ => {}
                    }
                    saved!(slow::len(st, v, i.a()));
                }
                Op::LEN_TABLE => {
                    let p = reg!(i.b());
                    if Value::tag_at(p) == Tag::TABLE {
                        let t = table_at!(p);
                        if t.metatable.get().is_none() {
                            set!(i.a(), Value::int(t.length()));
                        } else {
                            saved!(slow::len(st, Value::load(p), i.a()));
                        }
                    } else {
                        despecialise!(i, LEN);
                    }
                }
                Op::LEN_STRING => {
                    let p = reg!(i.b());
                    if Value::tag_at(p) == Tag::STRING {
                        let s: Gc<Str> = Gc::from_addr(Value::payload_at(p));
                        set!(i.a(), Value::int(s.len as i64));
                    } else {
                        despecialise!(i, LEN);
                    }
                }
                Op::CONCAT => {
                    let first = reg!(i.a());
                    if (0..i.b()).all(|j| Value::tag_at(first.add(j)) == Tag::STRING) {
                        specialise!(i, CONCAT_STR);
                    }
                    let live = slow::live_after(proto, pc, i.a()) as u32;
                    saved!(slow::concat(st, i.a() as u32, i.b() as u32, live));
                }
                Op::CONCAT_STR => {
                    let first = reg!(i.a());
                    let n = i.b();
                    if (0..n).all(|j| Value::tag_at(first.add(j)) == Tag::STRING) {
                        raising!(slow::concat_strings(st, first, n));
                        safepoint!(slow::live_after(proto, pc, i.a()));
                    } else {
                        despecialise!(i, CONCAT);
                    }
                }

                Op::JMP => jump!(i),
                Op::LOOP => {
                    back_edge!(i);
                }
                Op::JT => {
                    if !Value::tag_at(reg!(i.a())).is_falsy() {
                        jump!(i);
                    }
                }
                Op::JF => {
                    if Value::tag_at(reg!(i.a())).is_falsy() {
                        jump!(i);
                    }
                }
                Op::JTSET => {
                    let v = get!(i.b());
                    if !v.is_falsy() {
                        set!(i.a(), v);
                        jump!(i);
                    }
                }
                Op::JFSET => {
                    let v = get!(i.b());
                    if v.is_falsy() {
                        set!(i.a(), v);
                        jump!(i);
                    }
                }
                Op::JEQ | Op::JNE => {
                    let sense = i.op_unchecked() == Op::JEQ;
                    let (x, y) = (get!(i.a()), get!(i.b()));
                    match slow::primitive_equality(x, y) {
                        Some(result) => {
                            if result == sense {
                                jump!(i);
                            }
                        }
                        None => saved!(slow::equals(st, x, y, sense, i.sd())),
                    }
                }
                Op::JEQK | Op::JNEK => {
                    let sense = i.op_unchecked() == Op::JEQK;
                    let x = get!(i.a());
                    let y = Value::load(k.add(i.bc() as usize));
                    if x.raw_equals(y) == sense {
                        jump!(i);
                    }
                }
                Op::JLT => compare!(i, <, number::lt, true, less, JLT_INT, JLT_FLOAT),
                Op::JNLT => compare!(i, <, number::lt, false, less, JNLT_INT, JNLT_FLOAT),
                Op::JLE => compare!(i, <=, number::le, true, less_equal, JLE_INT, JLE_FLOAT),
                Op::JNLE => compare!(i, <=, number::le, false, less_equal, JNLE_INT, JNLE_FLOAT),
                Op::JLT_INT => compare_int!(i, <, true, JLT),
                Op::JLT_FLOAT => compare_float!(i, <, true, JLT),
                Op::JNLT_INT => compare_int!(i, <, false, JNLT),
                Op::JNLT_FLOAT => compare_float!(i, <, false, JNLT),
                Op::JLE_INT => compare_int!(i, <=, true, JLE),
                Op::JLE_FLOAT => compare_float!(i, <=, true, JLE),
                Op::JNLE_INT => compare_int!(i, <=, false, JNLE),
                Op::JNLE_FLOAT => compare_float!(i, <=, false, JNLE),
                Op::JLTI => compare_imm!(i, <, true, less, false),
                Op::JNLTI => compare_imm!(i, <, false, less, false),
                Op::JLEI => compare_imm!(i, <=, true, less_equal, false),
                Op::JNLEI => compare_imm!(i, <=, false, less_equal, false),
                Op::JGTI => compare_imm!(i, >, true, less, true),
                Op::JNGTI => compare_imm!(i, >, false, less, true),
                Op::JGEI => compare_imm!(i, >=, true, less_equal, true),
                Op::JNGEI => compare_imm!(i, >=, false, less_equal, true),

                Op::FORPREP => {
                    let p = reg!(i.a());
                    let ints = Value::tag_at(p) == Tag::INT
                        && Value::tag_at(p.add(1)) == Tag::INT
                        && Value::tag_at(p.add(2)) == Tag::INT;
                    let runs = if ints && Value::payload_at(p.add(2)) == 1 {
                        let (start, limit) = (Value::payload_at(p) as i64, Value::payload_at(p.add(1)) as i64);
                        if start <= limit {
                            set!(i.a() + 1, Value::int(limit.wrapping_sub(start)));
                            set!(i.a() + 3, Value::int(start));
                            true
                        } else {
                            false
                        }
                    } else {
                        raising!(slow::for_prepare(st, p))
                    };
                    if !runs {
                        jump!(i);
                    }
                }
                Op::FORLOOP => {
                    let p = reg!(i.a());
                    if Value::tag_at(p) == Tag::INT {
                        rewrite!(i, FORLOOP_INT);
                        again!();
                    } else {
                        let step = f64::from_bits(Value::payload_at(p.add(2)));
                        let limit = f64::from_bits(Value::payload_at(p.add(1)));
                        let next = f64::from_bits(Value::payload_at(p)) + step;
                        if if step > 0.0 { next <= limit } else { limit <= next } {
                            set!(i.a(), Value::float(next));
                            set!(i.a() + 3, Value::float(next));
                            back_edge!(i);
                        }
                    }
                }
                Op::FORLOOP_INT => {
                    let p = reg!(i.a());
                    if Value::tag_at(p) == Tag::INT {
                        let left = Value::payload_at(p.add(1));
                        if left > 0 {
                            let next = Value::payload_at(p).wrapping_add(Value::payload_at(p.add(2)));
                            Value::set_payload_at(p.add(1), left - 1);
                            Value::set_payload_at(p, next);
                            set!(i.a() + 3, Value::int(next as i64));
                            back_edge!(i);
                        }
                    } else {
                        generalise!(i, FORLOOP);
                    }
                }
                Op::TFORPREP => {
                    jump!(i);
                    if !Value::tag_at(reg!(i.a() + 3)).is_falsy() {
                        raising!(slow::mark_to_close(st, reg!(i.a() + 3)));
                    }
                }
                Op::TFORCALL => {
                    let p = reg!(i.a());
                    if !HOOK && slow::is_next(Value::load(p)) && Value::tag_at(p.add(1)) == Tag::TABLE {
                        rewrite!(i, TFORCALL_NEXT);
                        again!();
                    } else {
                        for j in 0..3 {
                            Value::store(p.add(4 + j), Value::load(p.add(j)));
                        }
                        if Value::tag_at(p) == Tag::NATIVE {
                            native_call!(p.add(4), 2, i.c() as i16);
                        } else {
                            let func = st.index_of(p.add(4));
                            saved!(slow::call(st, func, 2, i.c() as i16));
                        }
                    }
                }
                Op::TFORCALL_NEXT => {
                    let p = reg!(i.a());
                    if !HOOK && slow::is_next(Value::load(p)) && Value::tag_at(p.add(1)) == Tag::TABLE {
                        let t = table_at!(p.add(1));
                        let (key, v) = raising!(slow::next_in_loop(st, t, p));
                        set!(i.a() + 4, key);
                        if i.c() >= 2 {
                            set!(i.a() + 5, v);
                            for j in 2..i.c() {
                                set!(i.a() + 4 + j, Value::NIL);
                            }
                        }
                    } else {
                        generalise!(i, TFORCALL);
                    }
                }
                Op::TFORLOOP => {
                    let p = reg!(i.a());
                    if Value::tag_at(p.add(4)) != Tag::NIL {
                        Value::store(p.add(2), Value::load(p.add(4)));
                        back_edge!(i);
                    }
                }

                Op::CALL => {
                    let func = reg!(i.a());
                    let nargs = nargs!(i);
                    let wanted = i.c() as i16 - 1;
                    match Value::tag_at(func) {
                        Tag::CLOSURE => {
                            let callee: Gc<Closure> = Gc::from_addr(Value::payload_at(func));
                            let callee = callee.proto;
                            let site: *const CallSite = (*proto).calls.add(i.d() as usize);
                            let simple = callee.flags & proto_flags::VARARG == 0;
                            if simple && nargs == callee.params as u32 && (*site).misses.get() < MISSES_MAX as u16 {
                                (*site).proto.set(Some(callee));
                                rewrite!(i, CALL_EXACT);
                            }
                            if simple && nargs <= callee.params as u32 {
                                let mut room = func.add(1 + callee.params as usize) <= st.stack_limit;
                                if room {
                                    for j in nargs..callee.params as u32 {
                                        Value::store(func.add(1 + j as usize), Value::NIL);
                                    }
                                    room = enter_closure!(func, callee.as_ptr(), wanted, site);
                                }
                                if !room {
                                    call!(i, nargs, wanted);
                                }
                            } else {
                                call!(i, nargs, wanted);
                            }
                        }
                        Tag::NATIVE => {
                            let site: *const CallSite = (*proto).calls.add(i.d() as usize);
                            if (*site).misses.get() < MISSES_MAX as u16 {
                                rewrite!(i, CALL_NATIVE);
                            }
                            native_call!(func, nargs, wanted);
                        }
                        _ => call!(i, nargs, wanted),
                    }
                }
                Op::CALL_EXACT => {
                    let func = reg!(i.a());
                    let site: *const CallSite = (*proto).calls.add(i.d() as usize);
                    let callee: Gc<Closure> = Gc::from_addr(Value::payload_at(func));
                    if Value::tag_at(func) == Tag::CLOSURE && (*site).proto.get() == Some(callee.proto) {
                        let nargs = nargs!(i);
                        if (i.b() != 0 || nargs == callee.proto.params as u32)
                            && enter_closure!(func, callee.proto.as_ptr(), i.c() as i16 - 1, site)
                        {
                        } else {
                            call!(i, nargs, i.c() as i16 - 1);
                        }
                    } else {
                        (*site).misses.set((*site).misses.get().saturating_add(1));
                        generalise!(i, CALL);
                    }
                }
                Op::CALL_NATIVE => {
                    let func = reg!(i.a());
                    if Value::tag_at(func) == Tag::NATIVE {
                        native_call!(func, nargs!(i), i.c() as i16 - 1);
                    } else {
                        let site: *const CallSite = (*proto).calls.add(i.d() as usize);
                        (*site).misses.set((*site).misses.get().saturating_add(1));
                        generalise!(i, CALL);
                    }
                }
                Op::TAILCALL => {
                    let func = reg!(i.a());
                    let nargs = nargs!(i);
                    let rec = st.record;
                    let plain = !HOOK && (*rec).flags & !(record_flags::TAIL | record_flags::FINALIZER) == 0;
                    if plain && Value::tag_at(func) == Tag::CLOSURE {
                        let callee: Gc<Closure> = Gc::from_addr(Value::payload_at(func));
                        let callee = callee.proto;
                        let params = callee.params as u32;
                        let end = base.add(callee.registers as usize);
                        if callee.flags & proto_flags::VARARG == 0 && nargs <= params && end <= st.stack_limit {
                            // The callee takes the place of the running function; what it returns to stays.
                            for j in 0..=nargs as usize {
                                Value::store(base.sub(1).add(j), Value::load(func.add(j)));
                            }
                            for j in nargs..params {
                                set!(j as usize, Value::NIL);
                            }
                            (*rec).pc = callee.code;
                            (*rec).top = (*rec).base + callee.registers;
                            (*rec).flags |= record_flags::TAIL;
                            begin!(callee.as_ptr(), base);
                            continue;
                        }
                    }
                    let func = st.index_of(func);
                    saved!(slow::tail_call(st, func, nargs));
                }
                Op::RETURN => {
                    let first = reg!(i.a());
                    let n = if i.b() != 0 {
                        i.b() - 1
                    } else if (*st.record).flags & record_flags::CLOSING != 0 {
                        (*st.record).top as usize - st.index_of(first) as usize
                    } else {
                        st.top.offset_from(first) as usize
                    };
                    leave!(first, n);
                }
                Op::RETURN0 => leave!(base, 0),
                Op::RETURN1 => leave!(reg!(i.a()), 1),
                Op::VARARG => {
                    let rec = st.record;
                    let to = st.index_of(reg!(i.a()));
                    raising!(slow::spread_extra(st, (*rec).base, (*rec).extra_args, to, i.c() as i16 - 1));
                    base = st.stack.add((*st.record).base as usize);
                }
                Op::CLOSURE => {
                    let closure = raising!(slow::new_closure(st, proto, i.d() as usize, base));
                    set!(i.a(), Value::closure(closure));
                    safepoint!(slow::live_after(proto, pc, i.a()));
                }
                Op::TBC => raising!(slow::mark_to_close(st, reg!(i.a()))),
                Op::CLOSE => {
                    let from = st.index_of(reg!(i.a()));
                    // Executed again after each variable, until none is left.
                    (*st.record).pc = pc;
                    match st.close_one(from)? {
                        None => {}
                        Some(outcome) => settle!(outcome),
                    }
                }

                Op::ADDK_INT => arith_int!(i, reg!(i.b()), kst!(i), i64::wrapping_add, ADDK, despecialise_k),
                Op::ADDK_FLOAT => arith_float!(i, reg!(i.b()), kst!(i), |x: f64, y: f64| x + y, ADDK, despecialise_k),
                Op::SUBK_INT => arith_int!(i, reg!(i.b()), kst!(i), i64::wrapping_sub, SUBK, despecialise_k),
                Op::SUBK_FLOAT => arith_float!(i, reg!(i.b()), kst!(i), |x: f64, y: f64| x - y, SUBK, despecialise_k),
                Op::MULK_INT => arith_int!(i, reg!(i.b()), kst!(i), i64::wrapping_mul, MULK, despecialise_k),
                Op::MULK_FLOAT => arith_float!(i, reg!(i.b()), kst!(i), |x: f64, y: f64| x * y, MULK, despecialise_k),
                Op::DIVK_FLOAT => arith_float!(i, reg!(i.b()), kst!(i), |x: f64, y: f64| x / y, DIVK, despecialise_k),
                Op::MODK_INT => arith_int!(i, reg!(i.b()), kst!(i), mod_int, MODK, despecialise_k),
                Op::IDIVK_INT => arith_int!(i, reg!(i.b()), kst!(i), floor_div_int, IDIVK, despecialise_k),
            }
        }
    }
}
