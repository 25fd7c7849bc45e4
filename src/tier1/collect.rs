//! The collector's host side: what a VM keeps alive, what it refers to weakly, and running finalizers.

use super::state::{Raised, State, interrupt};
use crate::bytecode::Op;
use super::recording::RecordedStep;
use crate::bytecode::cache::FieldCache;
use crate::heap::{Marker, Roots};
use crate::runtime::Runtime;
use crate::runtime::coroutine::Coroutine;
use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::table::Table;
use crate::runtime::value::Value;

/// Everything a VM keeps alive beside what the runtime itself does.
struct VmRoots<'a> {
    coroutines: [Gc<Coroutine>; 2],
    tables: [Gc<Table>; 2],
    message: Gc<Str>,
    values: [Value; 2],
    handles: &'a [Value],
    recording: &'a [RecordedStep],
}

impl Roots for VmRoots<'_> {
    fn trace(&self, marker: &mut Marker<'_>) {
        self.coroutines.iter().for_each(|co| marker.mark(*co));
        self.tables.iter().for_each(|t| marker.mark(*t));
        marker.mark(self.message);
        self.values.iter().for_each(|v| marker.mark_value(*v));
        self.handles.iter().for_each(|v| marker.mark_value(*v));
        for step in self.recording {
            marker.mark(step.closure);
            if let Some(callee) = step.callee_value().as_object() {
                marker.mark(callee);
            }
            if let Some(metatable) = step.metatable {
                marker.mark(metatable);
            }
        }
    }
}

impl State {
    /// Runs a part of the collector. The slots in use of the running coroutine must end at [`State::top`].
    pub fn with_collector<R>(&mut self, run: impl FnOnce(&mut Runtime, &dyn Roots) -> R) -> R {
        self.leave_coroutine();
        self.raised_depth = 0;
        self.counters.collector_steps += 1;
        let roots = VmRoots {
            coroutines: [self.co, self.main],
            tables: [self.globals, self.registry],
            message: self.memory_message,
            values: [self.error, self.host_hook.function],
            handles: self.handles.values(),
            recording: &self.recording.steps,
        };
        let result = run(&mut self.rt, &roots);
        // Objects may have died: executors that refer to them go, before their memory is used again.
        self.settle_assumptions();
        if self.rt.heap.has_finalizers() {
            self.request(interrupt::FINALIZE);
        }
        result
    }

    /// Runs a part of the collector from a host function: everything up to the end of its window is in use.
    pub fn collect_in_native<R>(&mut self, run: impl FnOnce(&mut Runtime, &dyn Roots) -> R) -> R {
        let top = self.top;
        self.top = self.slot(self.frame().top);
        let result = self.with_collector(run);
        self.top = top;
        result
    }

    /// A safepoint of the running bytecode function, whose registers from `live` up are free.
    #[cold]
    #[inline(never)]
    pub(super) fn collect_at(&mut self, live: u32) {
        let top = self.top;
        self.top = self.slot(self.frame().base + live);
        self.with_collector(|rt, roots| rt.gc_step(roots));
        self.top = top;
    }

    /// Runs the finalizers that are waiting. Errors in them are warnings.
    pub fn run_finalizers(&mut self) -> Result<(), Raised> {
        if self.finalizing {
            return Ok(());
        }
        self.finalizing = true;
        while let Some(object) = self.rt.heap.next_finalizer() {
            let method = self.rt.metamethod(object, Event::Gc);
            if !method.tag().is_function() {
                continue;
            }
            let saved = (self.error, self.error_handled);
            let running = self.rt.heap.is_running();
            self.rt.heap.stop();
            let called = self.without_hooks(|st| st.call_finalizer(method, object));
            if running {
                self.rt.heap.restart();
            }
            if called.is_err() {
                if self.cancelling {
                    self.finalizing = false;
                    return Err(Raised);
                }
                let text = self.error_text();
                self.warn(&[b"error in __gc (".as_slice(), &text, b")"].concat());
            }
            (self.error, self.error_handled) = saved;
        }
        self.finalizing = false;
        Ok(())
    }

    /// Closes the pending variables of the main program and runs all finalizers, since the process is about to end. A
    /// finalizer may ask for that again: then the others run inside of it.
    pub fn close_everything(&mut self) -> Result<(), Raised> {
        let main = self.main;
        let mut error = Value::NIL;
        loop {
            let mut list = main.to_close.take();
            let slot = list.pop();
            main.to_close.set(list);
            let Some(slot) = slot else { break };
            // SAFETY: a variable marked to be closed is initialised, in the main program's stack.
            let v = unsafe { Value::load(main.stack.get().add(slot as usize)) };
            let method = self.rt.metamethod(v, Event::Close);
            if self.call_value(method, &[v, error]).is_err() {
                if self.cancelling {
                    return Err(Raised);
                }
                error = self.error;
            }
        }
        self.rt.heap.all_finalizers();
        let outer = std::mem::replace(&mut self.finalizing, false);
        let done = self.run_finalizers();
        self.finalizing = outer;
        done
    }

    /// The error being raised as text, for messages.
    fn error_text(&self) -> Vec<u8> {
        match self.error.as_string() {
            Some(s) => s.as_bytes().to_vec(),
            None => b"error object is not a string".to_vec(),
        }
    }

    /// Emits a warning.
    pub fn warn(&mut self, message: &[u8]) {
        if let Some(mut sink) = self.warnings.take() {
            sink(message, false);
            self.warnings = Some(sink);
        }
    }

    /// Forgets all inline caches: shapes that they check no longer mean what they did. Broken assumptions have been
    /// carried out.
    pub(crate) fn flush_caches(&mut self) {
        self.rt.flush_caches = false;
        self.tier2.graph.invalidate_all(&mut self.rt);
        self.rt.shared_cache.clear();
        for proto in self.rt.heap.protos() {
            proto.info.fields.iter().for_each(FieldCache::clear);
            for i in 0..proto.info.code.len() {
                // SAFETY: within the code; the general form has the same operands.
                unsafe {
                    let at = proto.code.add(i);
                    let general = (*at).op().general();
                    if matches!(
                        general,
                        Op::GETFIELD | Op::SETFIELD | Op::SETFIELDK | Op::SELF | Op::GETENV | Op::SETENV
                    ) {
                        *at = (*at).with_op(general);
                    }
                }
            }
        }
    }
}
