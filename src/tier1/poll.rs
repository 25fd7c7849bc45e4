//! Polls: what the interpreter does at back-edges, function entries and safepoints besides executing.
//!
//! One word ([`State::interrupt`]) says whether anything is to be done. Heat is counted here too: when a loop or
//! function becomes hot, its next pass runs in the recording dispatch, which notes what happens and keeps the
//! branch history. Attempts that lead nowhere back off exponentially.

use std::sync::atomic::Ordering;

use super::call::Outcome;
use super::state::{Raised, State, interrupt};
use crate::bytecode::{Instr, Op};
use crate::bytecode::cache::LoopSite;
use crate::bytecode::proto::Proto;
use crate::runtime::object::Gc;
use crate::runtime::value::{Tag, Value};
use perilune_uops::Role;

/// The longest recorded pass, in instructions.
const RECORDING_MAX: usize = 512;

/// One executed instruction, as seen before it ran.
#[derive(Clone, Copy)]
pub struct RecordedStep {
    pub proto: *const Proto,
    pub pc: u32,
    pub instr: Instr,
    /// The tags of the registers that `a`, `b` and `c` name, if they are read.
    pub tags: [u8; 3],
    /// The shape of the first table among them, or 0.
    pub shape: u32,
    /// The payload of the called function, or 0.
    pub callee: u64,
}

/// A recorded pass.
#[derive(Default)]
pub struct Recording {
    pub active: bool,
    pub steps: Vec<RecordedStep>,
    /// Where the pass began: it is complete when this instruction comes again at this depth.
    start: Option<(*const Instr, u32)>,
}

impl State {
    /// A place has used up its countdown. Whether the recording dispatch shall run now.
    #[cold]
    #[inline(never)]
    pub(super) fn hot(&mut self, site: &LoopSite) -> bool {
        let attempts = site.attempts.get();
        let passes = (self.hot_threshold.max(1) as u64) << attempts;
        site.countdown.set(u32::try_from(passes).unwrap_or(u32::MAX));
        if attempts == 0 {
            // The place is new: all that it needed was its first countdown.
            site.attempts.set(1);
            return self.recording.active;
        }
        if self.recording.active || attempts > LoopSite::ATTEMPTS_MAX {
            return self.recording.active;
        }
        site.attempts.set(attempts + 1);
        if attempts == 1 {
            self.counters.hot_places += 1;
        }
        self.counters.recordings += 1;
        self.recording.steps.clear();
        self.recording.start = Some((self.frame().pc, self.depth()));
        self.recording.active = true;
        true
    }

    /// Notes the instruction at `pc`, which is about to run; false when the pass is over.
    ///
    /// # Safety
    /// `pc` points into the code of `proto`, whose registers begin at `base`.
    pub(super) unsafe fn note(&mut self, proto: *const Proto, pc: *const Instr, base: *const Value) -> bool {
        let depth = self.depth();
        let Some((start, start_depth)) = self.recording.start else {
            return self.end_recording();
        };
        let again = !self.recording.steps.is_empty() && pc == start && depth == start_depth;
        if again || depth < start_depth || self.recording.steps.len() >= RECORDING_MAX {
            return self.end_recording();
        }
        // SAFETY: the caller's promise.
        unsafe {
            let instr = *pc;
            let format = instr.op().format();
            let mut step = RecordedStep {
                proto,
                pc: pc.offset_from((*proto).code) as u32,
                instr,
                tags: [0; 3],
                shape: 0,
                callee: 0,
            };
            let operands = [(format.a, instr.a()), (format.b, instr.b()), (format.c, instr.c())];
            for (i, (role, register)) in operands.into_iter().enumerate() {
                if role == Role::Use {
                    let v = Value::load(base.add(register));
                    step.tags[i] = v.tag().byte();
                    if let Some(t) = v.as_table()
                        && step.shape == 0
                    {
                        step.shape = t.shape.get().0;
                    }
                }
            }
            if matches!(instr.op().general(), Op::CALL | Op::TAILCALL) {
                let v = Value::load(base.add(instr.a()));
                if v.tag() == Tag::CLOSURE || v.tag() == Tag::NATIVE {
                    step.callee = v.payload();
                }
            }
            self.note_branch(&step);
            if self.recording.steps.try_reserve(1).is_err() {
                return self.end_recording();
            }
            self.recording.steps.push(step);
        }
        true
    }

    /// Keeps the history of the conditional jump before `step`: whether it was taken.
    fn note_branch(&mut self, step: &RecordedStep) {
        let Some(last) = self.recording.steps.last() else {
            return;
        };
        let op = last.instr.op().general();
        if !std::ptr::eq(last.proto, step.proto) || !op.is_conditional() {
            return;
        }
        let taken = step.pc != last.pc + 1;
        // SAFETY: prototypes in a recording are alive: their frames are, or were within this pass.
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

    /// Ends a recording, complete or not; false.
    pub(super) fn end_recording(&mut self) -> bool {
        self.recording.active = false;
        self.recording.start = None;
        self.counters.recorded_steps += self.recording.steps.len() as u64;
        false
    }

    /// Counts an entry of a function that is called other than by the fast path.
    #[inline]
    pub(super) fn count_entry(&mut self, proto: Gc<Proto>) {
        let left = proto.entry.countdown.get();
        if left > 1 {
            proto.entry.countdown.set(left - 1);
        }
    }

    /// Does what the interrupt word asks for.
    #[cold]
    #[inline(never)]
    pub(super) fn poll(&mut self) -> Result<Outcome, Raised> {
        self.check_cancelled()?;
        let bits = self.interrupt.fetch_and(interrupt::CANCEL | interrupt::HOOK, Ordering::Relaxed);
        if bits & interrupt::COLLECT != 0 {
            let live = self.registers_in_use();
            self.collect_at(live);
        }
        if self.rt.heap.has_finalizers() {
            self.run_finalizers()?;
        }
        Ok(self.settled())
    }

    /// The registers that the current bytecode function uses where it is stopped, as its prototype says.
    fn registers_in_use(&self) -> u32 {
        let frame = self.frame();
        // SAFETY: a bytecode function lies below its base.
        let function = unsafe { Value::load(self.slot(frame.base - 1)) };
        let proto = function.as_closure().expect("polls are made by bytecode functions").proto;
        // SAFETY: the program counter points into the function's code.
        match unsafe { frame.pc.offset_from(proto.code) } {
            0 => proto.params as u32,
            pc => proto.info.live[pc as usize - 1] as u32,
        }
    }

    /// A poll after a frame has been replaced. Open results may lie above the registers in use, so neither the
    /// collector nor finalizers may run.
    pub(super) fn poll_in(&mut self, outcome: Outcome) -> Result<Outcome, Raised> {
        self.check_cancelled()?;
        Ok(outcome)
    }

    /// A poll after a host function has returned to a bytecode function, which uses its slots below
    /// `end`. Finalizers wait: they would overwrite open results.
    #[cold]
    #[inline(never)]
    pub(super) fn poll_after_call(&mut self, end: u32) -> Result<Outcome, Raised> {
        if self.rt.heap.should_collect() {
            self.collect_at(end - self.frame().base);
        }
        self.check_cancelled()?;
        Ok(self.settled())
    }

    /// Raises an error if the host has asked the VM to stop. Long-running library functions call this.
    pub fn check_cancelled(&mut self) -> Result<(), Raised> {
        if self.interrupt.load(Ordering::Relaxed) & interrupt::CANCEL == 0 {
            return Ok(());
        }
        // The request is being carried out: what closes variables on the way runs normally, until it is cancelled, too.
        self.interrupt.fetch_and(!interrupt::CANCEL, Ordering::Relaxed);
        self.cancelling = true;
        Err(self.raise(Value::NIL))
    }
}
