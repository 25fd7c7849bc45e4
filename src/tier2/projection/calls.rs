//! Calls and returns: callees are followed, host functions are called out to.

use perilune_uops::{MicroOp, Type};
use smallvec::SmallVec;

use super::super::superblock::*;
use super::{Ended, Flow, Projector, Stop, Top};
use crate::bytecode::{Instr, Op};
use crate::bytecode::proto::{Proto, proto_flags};
use crate::runtime::coroutine::{Continuation, record_flags};
use crate::runtime::function::Native;
use crate::runtime::object::Gc;
use crate::runtime::value::{Tag, Value};
use crate::tier1::Leaf;
use crate::tier1::native::{Builtin, direct_code};

/// The most frames inlined at a time.
const DEPTH_MAX: usize = 16;
/// The activations of one function that are inlined at a time: as many as have so many instructions together, within bounds. A call that
/// is not inlined costs a short function several times what it does itself, while copies of long ones take time to make.
const RECURSION_CODE: usize = 128;
const RECURSION_BOUNDS: (usize, usize) = (3, 6);
/// The longest open list whose values are known one by one.
const LIST_MAX: usize = 16;
/// The most slots that a superblock may use.
const SLOTS_MAX: usize = 2000;

/// Whether a function called with so many arguments keeps none of them below its frame.
fn takes(proto: &Proto, nargs: usize) -> bool {
    proto.flags & proto_flags::VARARG == 0 || nargs <= proto.params as usize
}

impl Projector<'_> {
    /// The number of arguments that a call with operand `b` passes, if it is known.
    fn arguments(&self, func: usize, b: usize) -> Option<usize> {
        match (b, self.top) {
            (0, Top::Slot(top)) => Some((top - self.register(func) - 1) as usize),
            (0, _) => None,
            (b, _) => Some(b - 1),
        }
    }

    /// The same for a call instruction, with an open list in memory counted.
    fn known_arguments(&mut self, instr: Instr) -> Option<usize> {
        let (func, b) = (instr.a(), instr.b());
        self.arguments(func, b).or_else(|| self.list_in_memory(func + 1))
    }

    /// The length of the open list in memory from a register on: as many as were recorded, which is made sure of.
    pub(super) fn list_in_memory(&mut self, first: usize) -> Option<usize> {
        let (slot, count) = (self.register(first), self.step().count as usize);
        let fits = count <= LIST_MAX && slot as usize + count.max(1) <= self.sb.slot_count();
        if self.top != Top::Memory || self.cautious || !fits {
            return None;
        }
        let n = self.emit(MicroOp::LIST_COUNT, &[], &[slot as u64]);
        self.guard_count(n, count);
        // From here on the state tells where the list ends.
        self.top = Top::Slot(slot + count as Slot);
        self.here = SnapshotId::NONE;
        Some(count)
    }

    fn guard_count(&mut self, n: Ref, count: usize) {
        let count = self.sb.push(Node::int(count as i64));
        let same = self.emit(MicroOp::EQ_I, &[n, count], &[]);
        self.emit(MicroOp::GUARD_TRUE, &[same], &[]);
    }

    /// The extra arguments of the function in which the superblock begins: as many as were recorded.
    fn extra_arguments(&mut self) -> Option<SmallVec<[Ref; 8]>> {
        let count = self.step().count as usize;
        if self.extra.is_none() {
            if count > LIST_MAX || self.cautious {
                return None;
            }
            let n = self.emit(MicroOp::EXTRA_COUNT, &[], &[]);
            self.guard_count(n, count);
            self.extra = Some(SmallVec::from_elem(Ref::NONE, count));
        }
        let mut extra = self.extra.take()?;
        for (i, r) in extra.iter_mut().enumerate().filter(|e| e.1.is_none()) {
            let i = self.sb.push(Node::int(i as i64));
            *r = self.emit(MicroOp::LOAD_EXTRA, &[i], &[]);
        }
        self.extra = Some(extra.clone());
        Some(extra)
    }

    pub(super) fn call(&mut self, instr: Instr) -> Flow {
        let nargs = self.known_arguments(instr);
        self.call_at(instr, instr.a(), nargs, instr.c() as i16 - 1)
    }

    /// Calls register `func`.
    pub(super) fn call_at(&mut self, instr: Instr, func: usize, nargs: Option<usize>, wanted: i16) -> Flow {
        let callee = self.step().callee_value();
        if let Some(native) = callee.as_native() {
            if native.builtin == Builtin::Pcall
                && let Some(nargs) = nargs
                && self.enter_protected(instr, func, native, nargs, wanted)
            {
                return Ok(());
            }
            if let Some(nargs) = nargs
                && self.stays()
                && let Some(results) = self.intrinsic(native, func, nargs, wanted)
            {
                self.deliver(self.register(func), &results, wanted);
                return self.goes_on();
            }
            return self.call_native(instr, func, nargs, wanted);
        }
        let entered = match (callee.as_closure(), nargs) {
            (Some(closure), Some(nargs))
                if self.enters(closure.proto.as_ptr()) && self.may_inline(closure.proto.as_ptr()) =>
            {
                self.guard_callee(func, closure.proto.as_ptr());
                Some((closure.proto, nargs))
            }
            (None, Some(nargs)) if self.step().tags[0] == Tag::TABLE.byte() && self.enters_handler() => {
                self.call_handler(func, nargs).map(|proto| (proto, nargs + 1))
            }
            _ => None,
        };
        if let Some((proto, nargs)) = entered {
            let frame = Frame {
                caller: Some(self.frame),
                proto: self.object(ObjectKind::Proto, proto.addr()),
                base: self.register(func) + 1,
                registers: proto.registers as u16,
                return_pc: self.pc() + 1,
                call_site: instr.d(),
                wanted,
                continuation: Continuation::Call,
                flags: 0,
                extra_args: 0,
                result: self.register(func),
                aux: 0,
            };
            self.push_frame(frame, &proto, nargs);
            return Ok(());
        }
        if let Some((closure, nargs)) = callee.as_closure().zip(nargs)
            && instr.op().general() == Op::CALL
            && self.enters(closure.proto.as_ptr())
            && takes(&closure.proto, nargs)
            && !self.cautious
        {
            return self.push_out(instr, func, nargs, &closure.proto);
        }
        self.call_out(instr, func, nargs, wanted)
    }

    /// Follows `pcall` in register `func` into the function that it calls, if that is what was recorded.
    fn enter_protected(&mut self, instr: Instr, func: usize, pcall: Gc<Native>, nargs: usize, wanted: i16) -> bool {
        let next = self.next();
        let closure = next.closure;
        let enters = next.pc == 0 && next.depth == self.step().depth + 2 && nargs > 0;
        if !enters || self.cautious || self.step().tags[1] != Tag::CLOSURE.byte() || !self.may_inline(next.proto) {
            return false;
        }
        let slot = self.register(func);
        let f = self.read(slot);
        self.guard_native(f, pcall);
        let f = self.constant(Value::native(pcall)).expect("functions have constants");
        self.guard_callee(func + 1, next.proto);
        let catching = self.sb.chain(self.frame).filter(|id| self.sb.frame(*id).is_protected()).count();
        self.emit(MicroOp::GUARD_CATCHING, &[], &[catching as u64 + 1]);
        self.write(slot, f);
        let frame = Frame {
            caller: Some(self.frame),
            proto: self.object(ObjectKind::Proto, closure.proto.addr()),
            base: slot + 2,
            registers: closure.proto.registers as u16,
            return_pc: self.pc() + 1,
            call_site: instr.d(),
            wanted,
            continuation: Continuation::Native,
            flags: 0,
            extra_args: 0,
            result: slot,
            aux: 0,
        };
        self.push_frame(frame, &closure.proto, nargs - 1);
        true
    }

    /// Ends the superblock with a call that is not followed: control goes on in the function's executor.
    fn push_out(&mut self, instr: Instr, func: usize, nargs: usize, proto: &Proto) -> Flow {
        self.guard_callee(func, proto);
        let id = self.object(ObjectKind::Proto, proto as *const Proto as u64);
        let operands = [self.register(func) as u64, nargs as u64 + 1, id.0 as u64, instr.d() as u64];
        self.emit(MicroOp::PUSH_FRAME, &[], &operands);
        self.end_for_good();
        Err(Ended(Stop::Call))
    }

    /// The superblock has ended with a node that finishes the instruction.
    fn end_for_good(&mut self) {
        self.done += 1;
        self.unroll();
    }

    /// Whether the next recorded step is the beginning of a function called here.
    pub(super) fn enters(&self, proto: *const Proto) -> bool {
        let next = self.next();
        next.pc == 0 && next.depth == self.step().depth + 1 && std::ptr::eq(next.proto, proto)
    }

    pub(super) fn may_inline(&self, proto: *const Proto) -> bool {
        let chain: SmallVec<[FrameId; 16]> = self.sb.chain(self.frame).collect();
        let same = |id: &&FrameId| self.sb.object(self.sb.frame(**id).proto).addr == proto as u64;
        // SAFETY: recorded prototypes are alive.
        let instructions = unsafe { (*proto).info.code.len() };
        let recursion = (RECURSION_CODE / instructions).clamp(RECURSION_BOUNDS.0, RECURSION_BOUNDS.1);
        chain.len() < DEPTH_MAX
            && chain.iter().filter(same).count() < recursion
            && self.slots.len() < SLOTS_MAX
            && self.sb.frames.len() < u16::MAX as usize - 1
    }

    /// Makes sure that register `func` is a closure over `proto`.
    fn guard_callee(&mut self, func: usize, proto: *const Proto) {
        let slot = self.register(func);
        let x = self.read(slot);
        let f = self.guard_type(x, Type::Closure);
        let same = self.constant_object(f).is_some()
            || self.sb.node(f).op == MicroOp::ALLOCATE_CLOSURE
                && self.sb.object(ObjectId(self.sb.node(f).operands[0] as u32)).addr == proto as u64;
        if !same {
            let id = self.object(ObjectKind::Proto, proto as u64);
            self.emit(MicroOp::GUARD_PROTO, &[f], &[id.0 as u64]);
        }
        // The function is part of the frame, so that leaving finds it in memory.
        self.write(slot, f);
    }

    /// Pushes the frame of a function with `nargs` arguments behind it in slots.
    pub(super) fn push_frame(&mut self, mut frame: Frame, proto: &Proto, nargs: usize) {
        let params = proto.params as usize;
        let mut moved: SmallVec<[Ref; 8]> = SmallVec::new();
        let vararg = proto.flags & proto_flags::VARARG != 0 && nargs > params;
        let first = frame.base;
        if vararg {
            // The function and its parameters move up, above the extra arguments.
            (0..=params).for_each(|i| moved.push(self.read(first - 1 + i as Slot)));
            frame.base = first + nargs as Slot + 1;
            frame.flags |= record_flags::VARARG;
            frame.extra_args = (nargs - params) as u32;
        }
        self.sb.frames.push(frame);
        self.grow_slots();
        self.frame = FrameId(self.sb.frames.len() as u16 - 1);
        let nil = self.sb.push(Node::nil());
        for (i, v) in moved.into_iter().enumerate() {
            self.write(frame.base - 1 + i as Slot, v);
            if i > 0 {
                self.write(first - 1 + i as Slot, nil);
            }
        }
        for i in nargs..params {
            self.write(frame.base + i as Slot, nil);
        }
        self.top = Top::None;
    }

    /// Calls whatever is in a register, in memory. If that is not over when the call-out comes back, control leaves.
    fn call_out(&mut self, instr: Instr, func: usize, nargs: Option<usize>, wanted: i16) -> Flow {
        let slot = self.register(func);
        let operands = [
            slot as u64,
            nargs.map_or(0, |n| n as u64 + 1),
            (wanted + 1) as u64,
            instr.d() as u64,
        ];
        let stays = self.stays();
        self.emit(MicroOp::CALL, &[], &operands);
        self.results_in_memory(slot, wanted);
        if stays { self.goes_on() } else { self.stop_behind(Stop::Call) }
    }

    fn results_in_memory(&mut self, slot: Slot, wanted: i16) {
        self.forget_from(slot);
        self.top = if wanted < 0 { Top::Memory } else { Top::None };
    }

    fn call_native(&mut self, instr: Instr, func: usize, nargs: Option<usize>, wanted: i16) -> Flow {
        let slot = self.register(func);
        let x = self.read(slot);
        let known = self.step().callee_value().as_native().filter(|f| direct_code(*f).is_some() && !self.cautious);
        let f = match known {
            // Machine code calls it directly.
            Some(native) => {
                self.guard_native(x, native);
                self.constant(Value::native(native)).expect("functions have micro-ops")
            }
            None => self.guard_type(x, Type::Native),
        };
        self.write(slot, f);
        let operands = [slot as u64, nargs.map_or(0, |n| n as u64 + 1), (wanted + 1) as u64];
        if !self.stays() {
            let [func, nargs, wanted] = operands;
            self.emit(MicroOp::SWITCH, &[f], &[func, nargs, wanted, instr.d() as u64]);
            self.end_for_good();
            return Err(Ended(Stop::Call));
        }
        if let Some(op) = self.leaf_call(nargs) {
            self.emit(op, &[f], &operands);
            self.results_in_memory(slot, wanted);
            return self.goes_on();
        }
        self.emit(MicroOp::CALL_NATIVE, &[f], &operands);
        self.results_in_memory(slot, wanted);
        self.goes_on()
    }

    /// The micro-op for the recorded call, which comes back at once, if it is of a leaf function that has called nothing.
    fn leaf_call(&self, nargs: Option<usize>) -> Option<MicroOp> {
        // Of open lists the end would have to be told.
        let nargs = nargs?;
        let step = self.step();
        let op = match step.callee_value().as_native()?.builtin.leaf()? {
            Leaf::Reads => MicroOp::CALL_LEAF,
            Leaf::ChangesTables => MicroOp::CALL_TABLE,
        };
        let mut arguments = step.tags.iter().skip(1).take(nargs);
        let calls_back = arguments.any(|tag| Tag::from_byte(*tag).is_function());
        (!self.cautious && !calls_back).then_some(op)
    }

    pub(super) fn tail_call(&mut self, instr: Instr) -> Flow {
        let nargs = self.known_arguments(instr);
        let frame = *self.sb.frame(self.frame);
        let callee = self.step().callee_value();
        if callee.as_native().is_some() && self.stays() {
            // The frame stays while it runs, and returns what it returns.
            return self.call_at(instr, instr.a(), nargs, -1);
        }
        let Some((closure, nargs)) = callee.as_closure().zip(nargs) else {
            return self.leave_by(MicroOp::TAIL_CALL, instr.a(), nargs.map_or(0, |n| n + 1));
        };
        let next = self.next();
        let enters = next.pc == 0
            && next.depth == self.step().depth
            && std::ptr::eq(next.proto, closure.proto.as_ptr())
            && self.may_inline(closure.proto.as_ptr());
        if frame.caller.is_none() || !enters || frame.flags & record_flags::VARARG != 0 {
            let recorded = next.pc == 0 && std::ptr::eq(next.proto, closure.proto.as_ptr());
            // A frame with extra arguments is not replaced where it is.
            let plain = self.proto().flags & proto_flags::VARARG == 0 && !self.cautious;
            if frame.caller.is_none() && recorded && plain && takes(&closure.proto, nargs) {
                self.guard_callee(instr.a(), closure.proto.as_ptr());
                let id = self.object(ObjectKind::Proto, closure.proto.addr());
                let operands = [self.register(instr.a()) as u64, nargs as u64 + 1, id.0 as u64];
                self.emit(MicroOp::REPLACE_FRAME, &[], &operands);
                self.end_for_good();
                return Err(Ended(Stop::Return));
            }
            return self.leave_by(MicroOp::TAIL_CALL, instr.a(), nargs + 1);
        }
        self.guard_callee(instr.a(), closure.proto.as_ptr());
        self.replaces_frame();
        let from = self.register(instr.a());
        let values: SmallVec<[Ref; 8]> = (0..=nargs).map(|i| self.read(from + i as Slot)).collect();
        let proto = self.object(ObjectKind::Proto, closure.proto.addr());
        self.make_slots(frame.base as usize + nargs.max(closure.proto.registers as usize) + 1);
        for (i, v) in values.into_iter().enumerate() {
            self.write(frame.base - 1 + i as Slot, v);
        }
        let replaced = Frame {
            proto,
            registers: closure.proto.registers as u16,
            flags: frame.flags | record_flags::TAIL,
            ..frame
        };
        self.push_frame(replaced, &closure.proto, nargs);
        Ok(())
    }

    /// Ends the superblock with a micro-op that leaves the running frame, which a call-out makes first if it is an inlined one.
    fn leave_by(&mut self, op: MicroOp, first: usize, count: usize) -> Flow {
        if self.sb.looping.is_some() {
            // A loop that returns is not one.
            return self.stop_here(Stop::Return);
        }
        let slot = self.register(first) as u64;
        self.emit(op, &[], &[slot, count as u64]);
        if op != MicroOp::POP_FRAME {
            let exit = self.here();
            self.sb.push(Node::new(MicroOp::EXIT, &[], &[]).with_exit(exit));
        }
        self.done += 1;
        Err(Ended(Stop::Return))
    }

    /// Whether the recording goes on in `caller`, behind the call of the running frame.
    fn returns_to(&self, caller: FrameId, frame: &Frame) -> bool {
        let next = self.next();
        next.depth.wrapping_add(1 + frame.is_protected() as u32) == self.step().depth
            && next.proto as u64 == self.sb.object(self.sb.frame(caller).proto).addr
            && (next.pc == frame.return_pc || Self::jump_of(frame) == Some(next.pc))
    }

    pub(super) fn return_values(&mut self, _: Instr, first: usize, b: usize) -> Flow {
        let frame = *self.sb.frame(self.frame);
        let count = match (b, self.top) {
            (0, Top::Slot(top)) => Some((top - self.register(first)) as usize),
            (0, _) => self.list_in_memory(first),
            (b, _) => Some(b - 1),
        };
        let Some(caller) = frame.caller else {
            return self.leave_by(MicroOp::POP_FRAME, first, count.map_or(0, |n| n + 1));
        };
        let Some(count) = count else {
            // Results that end where only memory says.
            return self.stop_here(Stop::Frame);
        };
        let values: SmallVec<[Ref; 8]> = (0..count).map(|i| self.read(self.register(first + i))).collect();
        if !self.returns_to(caller, &frame) {
            return self.stop_here(Stop::Discontinuity);
        }
        self.finish_call(caller, &frame, &values)
    }

    pub(super) fn vararg(&mut self, instr: Instr) -> Flow {
        let frame = *self.sb.frame(self.frame);
        let wanted = instr.c() as i16 - 1;
        let first = self.register(instr.a());
        if frame.caller.is_none() {
            if let Some(values) = self.extra_arguments() {
                self.deliver(first, &values, wanted);
                return self.goes_on();
            }
            self.emit(MicroOp::VARARG, &[], &[first as u64, instr.c() as u64]);
            self.results_in_memory(first, wanted);
            return self.goes_on();
        }
        let from = frame.base - 1 - frame.extra_args as Slot;
        let values: SmallVec<[Ref; 8]> = (0..frame.extra_args as Slot).map(|i| self.read(from + i)).collect();
        self.deliver(first, &values, wanted);
        self.goes_on()
    }
}
