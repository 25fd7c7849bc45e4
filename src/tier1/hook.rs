//! Hooks: functions that are called when a function is entered or left, when a new source line begins, and after
//! a number of instructions.
//!
//! Each coroutine has a hook of its own, which scripts set, and the host may set one for all of them. What both want
//! from the running coroutine is in [`State::hook_events`]. As long as that is not 0 the dispatch loop with hooks runs, where
//! calls and returns go through [`State::enter`] and [`State::deliver`]; the other loops know nothing of hooks, and end
//! when they see [`Outcome::Hooked`] or [`interrupt::HOOK`].
//!
//! Invariant: [`State::update_hook_events`] is called after every change of what `hook_events` is computed from.
//!
//! A hook runs to its end on the native stack, so it cannot yield. While it runs, its coroutine has no events for it. A line
//! begins when the running instruction has another line than the one before or does not lie behind it. That is Lua's
//! rule, and the code generator places instructions and lines so that the same lines begin as in Lua; but where Lua
//! has an instruction to close captured variables at the end of a loop that is left by `break`, there is none here.

use std::sync::atomic::Ordering;

use super::call::{Outcome, REQUEST, Step};
use super::native::NativeResult;
use super::state::{Raised, State, interrupt};
use crate::bytecode::proto::proto_flags;
use crate::bytecode::{Instr, Op, Wide};
use crate::runtime::coroutine::{Coroutine, Hook, record_flags};
use crate::runtime::object::Gc;
use crate::runtime::value::Value;

/// Events, as bits of [`Hook::events`].
pub mod event {
    /// A function has been entered.
    pub const CALL: u8 = 1;
    /// A function is about to return.
    pub const RETURN: u8 = 2;
    /// A new line begins.
    pub const LINE: u8 = 4;
    /// [`Hook::period`](super::Hook::period) instructions have been executed.
    pub const COUNT: u8 = 8;
}

/// Bits of [`Coroutine::hooks_running`].
mod running {
    pub const SCRIPT: u8 = 1;
    pub const HOST: u8 = 2;
}

/// A value of [`Coroutine::hook_pc`]: the next instruction has had its hooks already.
const REPEAT: u32 = u32::MAX;

/// The values that a call or return passes whose hook is running.
#[derive(Clone, Copy, Default)]
pub(super) struct Transfer {
    pub co: Option<Gc<Coroutine>>,
    /// The number of records of that coroutine.
    pub depth: u32,
    /// The first value, counted as the debug library counts variables.
    pub first: u32,
    pub count: u32,
}

impl State {
    /// Sets the hook of a coroutine.
    pub fn set_hook(&mut self, co: Gc<Coroutine>, hook: Hook) {
        self.rt.heap.write_barrier(co);
        co.hook.set(enabled(hook));
        if co == self.co {
            self.start_hooks();
        }
    }

    /// Sets the hook for all coroutines.
    pub fn set_host_hook(&mut self, hook: Hook) {
        self.host_hook = enabled(hook);
        self.start_hooks();
    }

    fn start_hooks(&mut self) {
        self.update_hook_events();
        self.note_position(self.depth());
    }

    pub(super) fn update_hook_events(&mut self) {
        let hook = self.co.hook.get();
        let mut events = 0;
        if self.co.hooks_running.get() & running::HOST == 0 {
            events = self.host_hook.events;
            if self.co.hooks_running.get() & running::SCRIPT == 0 && !hook.function.is_nil() {
                events |= hook.events;
            }
        }
        self.hook_events = events;
        let requested = self.interrupt.load(Ordering::Relaxed) & interrupt::HOOK != 0;
        if requested && events == 0 {
            self.interrupt
                .fetch_and(!interrupt::HOOK, Ordering::Relaxed);
        } else if !requested && events != 0 {
            self.request(interrupt::HOOK);
        }
    }

    /// Where control is in a bytecode frame.
    #[inline(always)]
    pub(super) fn settled(&self) -> Outcome {
        if self.hook_events == 0 {
            Outcome::Continue
        } else {
            Outcome::Hooked
        }
    }

    /// The next instruction to be executed has had its hooks.
    pub(super) fn hook_repeat(&mut self) {
        self.co.hook_pc.set(REPEAT);
    }

    /// Notes where the bytecode function at `depth` or nearest below it is, so that it does not seem to begin a line.
    fn note_position(&mut self, depth: u32) {
        let frames = (1..=depth).rev().map(|depth| self.record_at(depth));
        let Some(record) = frames
            .into_iter()
            .find(|record| record.flags & record_flags::NATIVE == 0)
        else {
            return;
        };
        // SAFETY: a bytecode function lies below its base, and the program counter points into its code.
        let next = unsafe {
            let function = Value::load(self.slot(record.base - 1)).as_closure();
            let proto = function
                .expect("a frame of bytecode has a closure below its base")
                .proto;
            record.pc.offset_from(proto.code)
        };
        self.co.hook_pc.set((next - 1).max(0) as u32);
    }

    /// Runs the hooks that are due before the instruction in front of the program counter; whether any hooks are left.
    pub(super) fn before_instruction(&mut self) -> Result<bool, Raised> {
        let events = self.hook_events;
        if events == 0 {
            return Ok(false);
        }
        let frame = self.frame();
        // SAFETY: a bytecode function lies below its base.
        let function = unsafe { Value::load(self.slot(frame.base - 1)) }.as_closure();
        let proto = function.expect("bytecode is executed").proto;
        // SAFETY: the program counter points behind an instruction.
        let pc = unsafe { frame.pc.offset_from(proto.code) } as u32 - 1;
        let last = self.co.hook_pc.replace(pc);
        if last == REPEAT {
            return Ok(true);
        }
        if events & event::COUNT != 0 {
            self.count_instruction()?;
        }
        if events & event::LINE != 0 && proto.flags & proto_flags::BUILTIN == 0 {
            let last = if (last as usize) < proto.info.code.len() {
                last
            } else {
                0
            };
            if is_passed_through(&proto.info.code, last, pc) {
                self.co.hook_pc.set(last);
                return Ok(self.hook_events != 0);
            }
            let line = proto.info.lines.line(pc);
            if pc <= last || line != proto.info.lines.line(last) {
                let line = if line == 0 {
                    Value::NIL
                } else {
                    Value::int(line as i64)
                };
                self.run_hooks(event::LINE, b"line", line, (0, 0))?;
            }
        }
        Ok(self.hook_events != 0)
    }

    fn count_instruction(&mut self) -> Result<(), Raised> {
        if self.host_hook.tick() && self.co.hooks_running.get() & running::HOST == 0 {
            self.run_host_hook(b"count", Value::NIL, (0, 0))?;
        }
        let mut hook = self.co.hook.get();
        let due = hook.tick();
        self.co.hook.set(hook);
        if due && self.hook_events & event::COUNT != 0 {
            self.run_script_hook(b"count", Value::NIL, (0, 0))?;
        }
        Ok(())
    }

    /// The current function has just been entered.
    #[cold]
    pub(super) fn hook_call(&mut self) -> Result<(), Raised> {
        let frame = *self.frame();
        self.co.hook_pc.set(0);
        if self.hook_events & event::CALL == 0 {
            return Ok(());
        }
        let mut count = frame.top - frame.base;
        if frame.flags & record_flags::NATIVE == 0 {
            // SAFETY: a bytecode function lies below its base.
            let function = unsafe { Value::load(self.slot(frame.base - 1)) };
            count = function
                .as_closure()
                .map_or(0, |closure| closure.proto.params as u32);
        }
        let tail = frame.flags & record_flags::TAIL != 0;
        let name: &[u8] = if tail { b"tail call" } else { b"call" };
        self.run_hooks(event::CALL, name, Value::NIL, (1, count))
    }

    /// The current function is about to return `n` values, which begin at stack index `first`.
    #[cold]
    pub(super) fn hook_return(&mut self, first: u32, n: u32) -> Result<(), Raised> {
        let frame = *self.frame();
        if self.hook_events & event::RETURN != 0 {
            let top = self.top;
            if frame.flags & record_flags::NATIVE != 0 {
                self.frame_mut().top = frame.top.max(first + n);
            } else if self.index_of(top) < first + n {
                self.top = self.slot(first + n);
            }
            let top = self.index_of(top);
            self.run_hooks(
                event::RETURN,
                b"return",
                Value::NIL,
                (first + 1 - frame.base, n),
            )?;
            self.frame_mut().top = frame.top;
            self.top = self.slot(top);
        }
        self.note_position(self.depth() - 1);
        Ok(())
    }

    /// Puts the running host function `f` back into its slot, where it may have left results, so that hooks find it there. The
    /// results move; what is to be done next is returned.
    #[cold]
    pub(super) fn keep_function(&mut self, f: Value, result: i32) -> NativeResult {
        let Ok(n) = u32::try_from(result) else {
            return Ok(result);
        };
        let function = self.frame().base - 1;
        let first = self.frame().top;
        self.reserve(first + n)?;
        // SAFETY: room was made above. The results move upwards, so the last one goes first.
        unsafe {
            for i in (0..n).rev() {
                Value::store(self.slot(first + i), Value::load(self.slot(function + i)));
            }
            Value::store(self.slot(function), f);
        }
        self.pending = Some(Step::Return { first, n });
        Ok(REQUEST)
    }

    /// Lets `body` call without events in the running coroutine: finalizers may run between any two instructions, where whoever
    /// traces a program does not expect them.
    pub(super) fn without_hooks<R>(&mut self, body: impl FnOnce(&mut State) -> R) -> R {
        let co = self.co;
        let before = co.hooks_running.replace(running::SCRIPT | running::HOST);
        self.update_hook_events();
        let pc = co.hook_pc.get();
        let result = body(self);
        co.hook_pc.set(pc);
        co.hooks_running.set(before);
        self.update_hook_events();
        result
    }

    fn run_hooks(
        &mut self,
        event: u8,
        name: &[u8],
        line: Value,
        transfer: (u32, u32),
    ) -> Result<(), Raised> {
        if self.hook_events & event != 0 && self.host_hook.events & event != 0 {
            self.run_host_hook(name, line, transfer)?;
        }
        if self.hook_events & event != 0 && self.co.hook.get().events & event != 0 {
            self.run_script_hook(name, line, transfer)?;
        }
        Ok(())
    }

    fn run_host_hook(
        &mut self,
        name: &[u8],
        line: Value,
        transfer: (u32, u32),
    ) -> Result<(), Raised> {
        self.run_hook(self.host_hook.function, running::HOST, name, line, transfer)
    }

    fn run_script_hook(
        &mut self,
        name: &[u8],
        line: Value,
        transfer: (u32, u32),
    ) -> Result<(), Raised> {
        let function = self.co.hook.get().function;
        if function.is_nil() {
            return Ok(());
        }
        self.run_hook(function, running::SCRIPT, name, line, transfer)
    }

    fn run_hook(
        &mut self,
        hook: Value,
        who: u8,
        name: &[u8],
        line: Value,
        (first, count): (u32, u32),
    ) -> Result<(), Raised> {
        let name = self.string_value(name)?;
        let co = self.co;
        let before = co.hooks_running.replace(co.hooks_running.get() | who);
        self.update_hook_events();
        let transfer = Transfer {
            co: Some(co),
            depth: self.depth(),
            first,
            count,
        };
        let outer = std::mem::replace(&mut self.transfer, transfer);
        let (top, pc) = (self.index_of(self.top), co.hook_pc.get());
        let called = self.call_hook(hook, &[name, line]);
        co.hook_pc.set(pc);
        self.top = self.slot(top);
        self.transfer = outer;
        co.hooks_running.set(before);
        self.update_hook_events();
        called
    }
}

impl Hook {
    /// Counts an instruction; whether an event is due.
    fn tick(&mut self) -> bool {
        if self.events & event::COUNT == 0 {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return false;
        }
        self.left = self.period;
        true
    }
}

/// The hook as it is set: none without events, and counting from the start.
fn enabled(hook: Hook) -> Hook {
    if hook.events == 0 {
        Hook::NONE
    } else {
        Hook {
            left: hook.period,
            ..hook
        }
    }
}

/// Whether control has jumped from `last` to a jump, instead of where that leads. Lua has no such chains.
fn is_passed_through(code: &[Instr], last: u32, pc: u32) -> bool {
    let (from, to) = (code[last as usize].op().general(), code[pc as usize].op());
    matches!(to, Op::JMP | Op::LOOP)
        && pc != last
        && pc != last + 1
        && from.format().d == Wide::Jump
        && !matches!(
            from,
            Op::FORPREP | Op::FORLOOP | Op::TFORPREP | Op::TFORLOOP
        )
}
