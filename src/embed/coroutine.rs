//! Coroutines.

use super::convert::{FromLuaMulti, IntoLuaMulti, Window};
use super::error::{Error, Result};
use super::handle::handle_type;
use super::shared::{Context, Section};
use crate::runtime::coroutine::Status;
use crate::runtime::value::Value as Raw;
use crate::tier1::coroutine::ResumeKind;
use crate::tier1::{Args, NativeResult, Raised, State};

handle_type! {
    /// A coroutine.
    ///
    /// ```
    /// use perilune::{CoroutineStatus, Function, Vm};
    ///
    /// let vm = Vm::new();
    /// let body: Function = vm.load("function(a) local b = coroutine.yield(a + 1); return b * 2 end").eval()?;
    /// let co = vm.create_coroutine(&body)?;
    /// assert_eq!(co.resume::<i64>(1)?, 2);
    /// assert_eq!(co.status()?, CoroutineStatus::Suspended);
    /// assert_eq!(co.resume::<i64>(21)?, 42);
    /// assert_eq!(co.status()?, CoroutineStatus::Dead);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    Coroutine, "thread", |v| v.as_coroutine().is_some()
}

/// What a coroutine is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoroutineStatus {
    /// It can be resumed.
    Suspended,
    /// It is the one that runs.
    Running,
    /// It has resumed another one.
    Normal,
    /// It has ended, with or without an error.
    Dead,
}

/// Resumes the coroutine in the first argument with the others.
fn resume(st: &mut State, args: Args) -> NativeResult {
    match st.arg(args, 0).as_coroutine() {
        Some(co) => st.resume(co, args.base + 1, args.count - 1, ResumeKind::Protected),
        None => Err(st.arg_type_error(args, 0, "thread")),
    }
}

/// The host function [`resume`], made once.
fn resume_function(cx: Context<'_>) -> Result<Raw> {
    cx.with(|st| match cx.shared.resume.get() {
        Some(slot) => Ok(st.handles.get(slot)),
        None => {
            let f = Raw::native(st.rt.new_native(resume, &[]).map_err(|_| Error::Memory)?);
            cx.shared.resume.set(Some(cx.shared.root(st, f)));
            Ok(f)
        }
    })
}

impl Coroutine {
    /// Starts the coroutine or goes on with it: the arguments are those of its function, or the results of the `yield`
    /// that it is suspended in. Returns what it yields or returns next.
    pub fn resume<R: FromLuaMulti>(&self, args: impl IntoLuaMulti) -> Result<R> {
        let section = Section::new(&self.0.inner)?;
        let cx = section.context();
        cx.push(resume_function(cx)?)?;
        cx.push(cx.with(|st| self.0.get(st)))?;
        args.push_all(cx)?;
        let count = section.call()?;
        let first = section.first();
        if cx.slot(first).is_falsy() {
            let error = cx.slot(first + 1);
            return self.0.inner.protect(|st, _| Err(st.raise(error)));
        }
        let window = Window {
            first: first + 1,
            count: count - 1,
            skipped: 0,
        };
        R::read_all(window, cx).map_err(Error::of_result)
    }

    /// What the coroutine is doing.
    pub fn status(&self) -> Result<CoroutineStatus> {
        self.0.inner.with(
            |st, _| match self.0.get(st).as_coroutine().map(|co| co.status.get()) {
                Some(Status::Suspended) => CoroutineStatus::Suspended,
                Some(Status::Running) => CoroutineStatus::Running,
                Some(Status::Normal) => CoroutineStatus::Normal,
                Some(Status::Dead) | None => CoroutineStatus::Dead,
            },
        )
    }

    /// Ends a suspended coroutine: closes its pending to-be-closed variables. An error of those, or the one with which the
    /// coroutine has ended, is returned.
    pub fn close(&self) -> Result<()> {
        self.0.inner.protect(|st, _| {
            let Some(co) = self.0.get(st).as_coroutine() else {
                return Ok(());
            };
            if !matches!(co.status.get(), Status::Suspended | Status::Dead) {
                return Err(st.raise_text("cannot close a running coroutine"));
            }
            match st.close_coroutine(co) {
                Ok(()) => Ok(()),
                Err(error) if st.cancelling => {
                    Err(Raised).inspect_err(|_: &Raised| st.error = error)
                }
                Err(error) => Err(st.raise(error)),
            }
        })
    }
}
