//! Hooks of the host: functions called at certain events of what runs in a VM.

use std::ops::BitOr;

use super::Vm;
use super::error::Result;
use super::string::LuaString;
use super::value::{Value, Variadic};
use crate::runtime::coroutine::Hook;
use crate::tier1::hook::event;
use crate::tier1::introspect::Frame;

/// When a hook is called.
///
/// ```
/// use perilune::HookTriggers;
///
/// let triggers = HookTriggers::ON_CALLS | HookTriggers::every_nth_instruction(1000);
/// assert!(triggers.on_calls && !triggers.every_line);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HookTriggers {
    /// When a function has been entered.
    pub on_calls: bool,
    /// When a function is about to return.
    pub on_returns: bool,
    /// When a source line begins.
    pub every_line: bool,
    /// Whenever that many instructions have been executed in the VM; 0 counts as 1.
    pub every_nth_instruction: Option<u32>,
}

impl HookTriggers {
    const NONE: HookTriggers = HookTriggers {
        on_calls: false,
        on_returns: false,
        every_line: false,
        every_nth_instruction: None,
    };

    /// When a function has been entered.
    pub const ON_CALLS: HookTriggers = HookTriggers {
        on_calls: true,
        ..HookTriggers::NONE
    };
    /// When a function is about to return.
    pub const ON_RETURNS: HookTriggers = HookTriggers {
        on_returns: true,
        ..HookTriggers::NONE
    };
    /// When a source line begins.
    pub const EVERY_LINE: HookTriggers = HookTriggers {
        every_line: true,
        ..HookTriggers::NONE
    };

    /// Whenever `n` instructions have been executed.
    pub const fn every_nth_instruction(n: u32) -> HookTriggers {
        HookTriggers {
            every_nth_instruction: Some(n),
            ..HookTriggers::NONE
        }
    }

    fn events(self) -> u8 {
        let flag = |on, event| if on { event } else { 0 };
        flag(self.on_calls, event::CALL)
            | flag(self.on_returns, event::RETURN)
            | flag(self.every_line, event::LINE)
            | flag(self.every_nth_instruction.is_some(), event::COUNT)
    }
}

impl BitOr for HookTriggers {
    type Output = HookTriggers;

    fn bitor(self, other: HookTriggers) -> HookTriggers {
        HookTriggers {
            on_calls: self.on_calls || other.on_calls,
            on_returns: self.on_returns || other.on_returns,
            every_line: self.every_line || other.every_line,
            every_nth_instruction: self.every_nth_instruction.or(other.every_nth_instruction),
        }
    }
}

/// Why a hook has been called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HookEvent {
    /// A function has been entered.
    Call,
    /// A function has been entered by a tail call.
    TailCall,
    /// A function is about to return.
    Return,
    /// A source line begins.
    Line,
    /// The number of instructions has been executed.
    Count,
}

/// What a hook finds out about the function that is running.
pub struct HookContext<'a> {
    vm: &'a Vm,
    event: HookEvent,
}

impl HookContext<'_> {
    /// Why the hook has been called.
    pub fn event(&self) -> HookEvent {
        self.event
    }

    /// The current line; none in a host function and in stripped code.
    pub fn line(&self) -> Option<u32> {
        self.frame(|frame| frame.line())
    }

    /// What messages call the source of the function; `[C]` for a host function.
    pub fn source(&self) -> Option<String> {
        self.frame(|frame| Some(String::from_utf8_lossy(&frame.chunk_id()).into_owned()))
    }

    /// What the function's caller calls it, if that can be told.
    pub fn function_name(&self) -> Option<String> {
        self.frame(|frame| Some(String::from_utf8_lossy(&frame.name()?.name).into_owned()))
    }

    fn frame<R>(&self, look: impl FnOnce(Frame) -> Option<R>) -> Option<R> {
        // The hook itself is at level 0.
        let found = self
            .vm
            .inner
            .with(|st, _| st.frame_at(st.co, 1).and_then(look));
        found.ok().flatten()
    }
}

impl Vm {
    /// Sets the hook of the VM, in place of the one set before. It is called in all coroutines, beside the hooks that
    /// scripts set with the debug library, but not for what it runs itself. Its errors are raised in the
    /// function that is running; [`Error::Cancelled`](crate::Error::Cancelled) ends the run, and Lua cannot catch it.
    ///
    /// Code runs more slowly as long as there is a hook.
    ///
    /// ```
    /// use perilune::{Error, HookTriggers, Vm};
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let vm = Vm::new();
    /// let left = AtomicU32::new(100);
    /// vm.set_hook(HookTriggers::every_nth_instruction(1000), move |_, _| {
    ///     match left.fetch_sub(1, Ordering::Relaxed) {
    ///         1 => Err(Error::Cancelled),
    ///         _ => Ok(()),
    ///     }
    /// })?;
    /// let endless = vm.load("while true do pcall(function() while true do end end) end");
    /// assert!(matches!(endless.exec(), Err(Error::Cancelled)));
    /// vm.remove_hook()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_hook<F>(&self, triggers: HookTriggers, hook: F) -> Result<()>
    where
        F: Fn(&Vm, HookContext<'_>) -> Result<()> + Send + 'static,
    {
        let function =
            self.create_function(move |vm, (name, _line): (LuaString, Variadic<Value>)| {
                let event = match &*name.as_bytes()? {
                    b"call" => HookEvent::Call,
                    b"tail call" => HookEvent::TailCall,
                    b"return" => HookEvent::Return,
                    b"line" => HookEvent::Line,
                    _ => HookEvent::Count,
                };
                hook(vm, HookContext { vm, event })
            })?;
        self.inner.with(|st, _| {
            let period = triggers.every_nth_instruction.unwrap_or(0).max(1);
            let hook = Hook {
                function: function.0.get(st),
                events: triggers.events(),
                period: i32::try_from(period).unwrap_or(i32::MAX),
                left: 0,
            };
            st.set_host_hook(hook);
        })
    }

    /// Removes the hook of the VM.
    pub fn remove_hook(&self) -> Result<()> {
        self.inner.with(|st, _| st.set_host_hook(Hook::NONE))
    }
}
