//! Looking at activations: functions, lines, names and variables of any coroutine's stack, and tracebacks.
//!
//! Level 0 is the current activation. A coroutine's first record belongs to the host and is no level. Nothing here
//! runs code or allocates on the VM's heap.

use super::hook::Transfer;
use super::state::State;
use crate::bytecode::names::Name;
use crate::bytecode::source::chunk_id;
use crate::bytecode::proto::{Proto, proto_flags};
use crate::bytecode::verify::is_relied_on;
use crate::runtime::coroutine::{CallRecord, Coroutine, record_flags};
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};

/// Levels that a traceback shows at its beginning, if it cannot show all.
const FIRST_LEVELS: u32 = 10;
/// Levels that it shows at its end.
const LAST_LEVELS: u32 = 11;

/// An activation. Valid until its coroutine runs again.
#[derive(Clone, Copy)]
pub struct Frame {
    co: Gc<Coroutine>,
    /// Index of the record.
    index: u32,
    record: CallRecord,
    /// The first slot of the next activation, or the end of the window of the last one.
    end: u32,
    /// A hook runs between two instructions of this activation.
    hooked: bool,
}

/// A variable of an activation.
pub struct Variable {
    pub name: Vec<u8>,
    pub value: Value,
    slot: u32,
    settable: bool,
}

impl Frame {
    fn new(co: Gc<Coroutine>, depth: u32, index: u32) -> Frame {
        // SAFETY: the caller names one of the `depth` records in use.
        let record = unsafe { *co.records.get().add(index as usize) };
        let mut frame = Frame {
            co,
            index,
            record,
            end: record.top,
            hooked: false,
        };
        if index + 1 < depth {
            let callee = Frame::new(co, 0, index + 1);
            frame.end = callee.function_slot();
            frame.hooked = callee.record.is_hook();
        }
        frame
    }

    /// The function that runs; the host function that library code in bytecode stands in for.
    pub fn function(&self) -> Value {
        match self.stands_in() {
            true => self.stack_slot(self.record.base - 1 - self.record.extra_args),
            false => self.code(),
        }
    }

    /// The function whose code runs.
    fn code(&self) -> Value {
        self.stack_slot(self.record.base - 1)
    }

    /// Whether this is library code in bytecode, which shows the host function that it stands in for and that one's
    /// arguments where others have extra arguments.
    fn stands_in(&self) -> bool {
        self.bytecode().is_some_and(|proto| proto.flags & proto_flags::BUILTIN != 0)
    }

    /// The value of a register (or of a slot of a host function's window), which must be in use. It may be a cell.
    pub fn slot(&self, register: usize) -> Value {
        self.stack_slot(self.record.base + register as u32)
    }

    fn stack_slot(&self, index: u32) -> Value {
        assert!(index < self.co.stack_size.get());
        // SAFETY: within the stack; slots in use are initialised.
        unsafe { Value::load(self.co.stack.get().add(index as usize)) }
    }

    /// The prototype, unless this is a host function or passes for one.
    pub fn proto(&self) -> Option<Gc<Proto>> {
        self.bytecode()
            .filter(|proto| proto.flags & proto_flags::BUILTIN == 0)
    }

    fn bytecode(&self) -> Option<Gc<Proto>> {
        if self.record.flags & record_flags::NATIVE != 0 {
            return None;
        }
        self.code().as_closure().map(|closure| closure.proto)
    }

    /// The instruction that is being executed.
    pub(super) fn pc(&self, proto: Gc<Proto>) -> usize {
        // SAFETY: the program counter of a bytecode frame points into its prototype's code, behind the running
        // instruction.
        let next = unsafe { self.record.pc.offset_from(proto.code) };
        (next - 1).max(0) as usize
    }

    /// Where the slots in use end, if nothing has been called.
    pub(super) fn live_end(&self) -> u32 {
        match self.bytecode() {
            Some(proto) => self.record.base + proto.info.live[self.pc(proto)] as u32,
            None => self.record.top,
        }
    }

    /// Whether this record, which had been popped, still belongs to the contents of the stack.
    pub(super) fn is_intact(&self) -> bool {
        let function = self.code();
        if self.record.flags & record_flags::NATIVE != 0 {
            return function.tag() == Tag::NATIVE;
        }
        function.as_closure().is_some_and(|closure| {
            let code = closure.proto.code.cast_const();
            let behind = code.wrapping_add(closure.proto.info.code.len());
            (code..behind).contains(&self.record.pc.wrapping_sub(1))
        })
    }

    /// The current line; `None` in a host function and in stripped code.
    pub fn line(&self) -> Option<u32> {
        let proto = self.proto()?;
        Some(proto.info.lines.line(self.pc(proto) as u32)).filter(|&line| line != 0)
    }

    /// What messages call the source.
    pub fn chunk_id(&self) -> Vec<u8> {
        self.proto().map_or(b"[C]".to_vec(), |proto| {
            chunk_id(proto.info.source.as_bytes())
        })
    }

    /// The values that the call or return passes for which a hook runs: the number of the first among the
    /// [variables](Frame::variable), and how many there are.
    pub fn transfer(&self, st: &State) -> (u32, u32) {
        let Transfer { co, depth, first, count } = st.transfer;
        if co == Some(self.co) && depth == self.index + 1 { (first, count) } else { (0, 0) }
    }

    /// Whether the activations between this one and its caller are gone.
    pub fn is_tail_call(&self) -> bool {
        self.record.flags & record_flags::TAIL != 0
    }

    /// What the caller's instruction calls the function.
    pub fn name(&self) -> Option<Name> {
        if self.record.flags & record_flags::FINALIZER != 0 {
            return Some(Name {
                kind: "metamethod",
                name: b"__gc".to_vec(),
            });
        }
        if self.record.is_hook() && !self.is_tail_call() {
            return Some(Name {
                kind: "hook",
                name: b"?".to_vec(),
            });
        }
        if self.is_tail_call() || self.index <= 1 {
            return None;
        }
        let caller = Frame::new(self.co, 0, self.index - 1);
        let proto = caller.proto()?;
        proto.info.called_name(caller.pc(proto))
    }

    /// Where the function lay when it was called.
    fn function_slot(&self) -> u32 {
        let function = self.record.base - 1;
        if self.record.flags & record_flags::VARARG == 0 {
            return function;
        }
        let params = self.bytecode().map_or(0, |proto| proto.params as u32);
        function - (params + self.record.extra_args + 1)
    }

    /// Variable `n`: from 1 the locals in scope in order of declaration and then other values in use, from -1
    /// downwards the extra arguments.
    pub fn variable(&self, n: i32) -> Option<Variable> {
        let base = self.record.base;
        let extra = self.record.extra_args;
        if self.stands_in() {
            let n = u32::try_from(n).ok().filter(|&n| n >= 1 && n < extra)?;
            return Some(self.variable_at(b"(C temporary)", base - 1 - extra + n, true));
        }
        if n < 0 {
            let i = n.unsigned_abs();
            let slot = (base - 1).checked_sub(extra)? + (i - 1);
            return (i <= extra).then(|| self.variable_at(b"(vararg)", slot, true));
        }
        let register = (n as u32).checked_sub(1)?;
        let Some(proto) = self.bytecode() else {
            let in_use = register < self.end.saturating_sub(base);
            return in_use.then(|| self.variable_at(b"(C temporary)", base + register, true));
        };
        let pc = self.pc(proto);
        // Registers above are not in use, and not what they seem.
        let in_use = self.end.saturating_sub(base);
        let live = if self.hooked { in_use } else { in_use.min(proto.info.live[pc] as u32) };
        if let Some(local) = proto.info.locals_at(pc).nth(register as usize) {
            if (local.register as u32) < live {
                let slot = base + local.register as u32;
                return Some(self.variable_at(local.name.as_bytes(), slot, !local.is_hidden()));
            }
            return Some(Variable {
                name: local.name.as_bytes().to_vec(),
                value: Value::NIL,
                slot: 0,
                settable: false,
            });
        }
        (register < live).then(|| {
            let settable = !is_relied_on(&proto, register as usize);
            self.variable_at(b"(temporary)", base + register, settable)
        })
    }

    fn variable_at(&self, name: &[u8], slot: u32, settable: bool) -> Variable {
        let v = self.stack_slot(slot);
        Variable {
            name: name.to_vec(),
            value: v.as_cell().map_or(v, |cell| cell.get()),
            slot,
            settable,
        }
    }
}

impl State {
    /// The records in use of a coroutine.
    fn depth_of(&self, co: Gc<Coroutine>) -> u32 {
        if co == self.co {
            self.depth()
        } else {
            co.depth.get()
        }
    }

    /// The activation of `co` at `level`.
    pub fn frame_at(&self, co: Gc<Coroutine>, level: u32) -> Option<Frame> {
        let depth = self.depth_of(co);
        let index = (depth - 1).checked_sub(level).filter(|&index| index > 0)?;
        Some(Frame::new(co, depth, index))
    }

    /// Sets variable `n` of an activation ([`Frame::variable`]) and returns its name. Loop states of bytecode functions cannot
    /// be set, nor temporary values if instructions rely on what they are.
    pub fn set_variable(&mut self, frame: &Frame, n: i32, v: Value) -> Option<Vec<u8>> {
        let variable = frame.variable(n).filter(|variable| variable.settable)?;
        match frame.stack_slot(variable.slot).as_cell() {
            Some(cell) => self.store_cell(cell, v),
            None => {
                self.tier2.disturbances += 1;
                // SAFETY: the slot of a variable in use. Stacks have no write barrier.
                unsafe { Value::store(frame.co.stack.get().add(variable.slot as usize), v) }
            },
        }
        Some(variable.name)
    }

    /// The name under which a function is found in a loaded module: "module.name", or the name alone for globals.
    pub fn global_name(&self, function: Value) -> Option<Vec<u8>> {
        let loaded = self
            .entries(self.registry)
            .find(|(key, _)| is_named(*key, b"_LOADED"))?
            .1
            .as_table()?;
        for (key, module) in self.entries(loaded) {
            let Some(module_name) = key.as_string() else {
                continue;
            };
            if module.raw_equals(function) {
                return Some(module_name.as_bytes().to_vec());
            }
            let Some(module) = module.as_table() else {
                continue;
            };
            let found = self
                .entries(module)
                .find(|(key, v)| key.is_string() && v.raw_equals(function));
            if let Some(name) = found.and_then(|(key, _)| key.as_string()) {
                return Some(match module_name.as_bytes() {
                    b"_G" => name.as_bytes().to_vec(),
                    module => [module, b".", name.as_bytes()].concat(),
                });
            }
        }
        None
    }

    fn entries(&self, t: Gc<Table>) -> impl Iterator<Item = (Value, Value)> {
        let mut position = 0;
        std::iter::from_fn(move || {
            let (next, key, v) = self.rt.next_index(t, position)?;
            position = next;
            Some((key, v))
        })
    }
}

fn is_named(key: Value, name: &[u8]) -> bool {
    key.as_string().is_some_and(|s| s.as_bytes() == name)
}

/// The traceback of the running coroutine from `level` on.
pub fn traceback(st: &State, level: u32) -> Vec<u8> {
    traceback_of(st, st.co, None, level)
}

/// The traceback of any coroutine from `level` on, below a message.
pub fn traceback_of(st: &State, co: Gc<Coroutine>, message: Option<&[u8]>, level: u32) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(message) = message {
        text.extend_from_slice(message);
        text.push(b'\n');
    }
    text.extend_from_slice(b"stack traceback:");
    let last = st.depth_of(co).saturating_sub(2);
    let shortened = last.saturating_sub(level) > FIRST_LEVELS + LAST_LEVELS;
    let mut level = level;
    let mut shown = 0;
    while let Some(frame) = st.frame_at(co, level) {
        level += 1;
        if shortened && shown == FIRST_LEVELS {
            let skipped = last - level - LAST_LEVELS + 1;
            text.extend_from_slice(format!("\n\t...\t(skipping {skipped} levels)").as_bytes());
            level += skipped;
        } else {
            text.extend_from_slice(b"\n\t");
            text.extend_from_slice(&frame.chunk_id());
            if let Some(line) = frame.line() {
                text.extend_from_slice(format!(":{line}").as_bytes());
            }
            text.extend_from_slice(b": in ");
            text.extend_from_slice(&describe(st, &frame));
            if frame.is_tail_call() {
                text.extend_from_slice(b"\n\t(...tail calls...)");
            }
        }
        shown += 1;
    }
    text
}

/// What a traceback calls a function.
fn describe(st: &State, frame: &Frame) -> Vec<u8> {
    if let Some(name) = st.global_name(frame.function()) {
        return [b"function '", &name[..], b"'"].concat();
    }
    if let Some(Name { kind, name }) = frame.name() {
        return [kind.as_bytes(), b" '", &name[..], b"'"].concat();
    }
    match frame.proto() {
        None => b"?".to_vec(),
        Some(proto) if proto.info.line_defined == 0 => b"main chunk".to_vec(),
        Some(proto) => {
            let line = proto.info.line_defined;
            [
                b"function <",
                &frame.chunk_id()[..],
                format!(":{line}>").as_bytes(),
            ]
            .concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdlib::{self, Libraries, load};

    const EXPECTED: &str = "deep
stack traceback:
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in local 'recurse'
\tt:11: in main chunk
stack traceback:
\tt:2: in field 'run'
\tt:3: in method 'method'
\tt:4: in function 'global'
\t(...tail calls...)
\tt:11: in main chunk
added
stack traceback:
\tt:6: in metamethod 'add'
\tt:11: in main chunk
stack traceback:
\t[C]: in function 'coroutine.yield'
\tt:7: in function <t:7>
dead
stack traceback:
\tt:7: in function <t:7>
deep
stack traceback:
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\t...\t(skipping 20 levels)
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in upvalue 'recurse'
\tt:1: in local 'recurse'
\tt:11: in main chunk";

    /// What the chunk `t` returns.
    fn run(source: &str) -> String {
        let st = &mut *State::new().unwrap();
        stdlib::open(st, Libraries::ALL).unwrap();
        let main = load::load(st, source.as_bytes(), b"=t", load::ANY).unwrap();
        let Ok(main) = main else {
            panic!("the source is correct")
        };
        let (at, n) = st.call_value(Value::closure(main), &[]).unwrap();
        assert_eq!(n, 1);
        // SAFETY: the result.
        let v = unsafe { Value::load(st.slot(at)) };
        String::from_utf8(v.as_string().unwrap().as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn tracebacks_are_worded_as_in_lua() {
        let text = run(
            r#"local function recurse(n) if n > 0 then local x = recurse(n - 1) return x end return debug.traceback("deep") end
local lib = {run = function() return (debug.traceback()) end}
function lib:method() local text = lib.run() return text end
function global() local text = lib:method() return text end
local function tail() return global() end
local meta = setmetatable({}, {__add = function() return (debug.traceback("added", 1)) end})
local co = coroutine.create(function(a) local b = coroutine.yield(a) return b.x.y end)
coroutine.resume(co)
local suspended = debug.traceback(co)
coroutine.resume(co, {})
return (table.concat({recurse(2), tail(), meta + 1, suspended, debug.traceback(co, "dead"), recurse(40)}, "\n"))"#,
        );
        assert_eq!(text, EXPECTED);
    }

    #[test]
    fn hidden_and_temporary_values_cannot_be_set() {
        let text = run(r#"
            local seen = {}
            local function set(...)
                for _, n in ipairs{3, 5, 6, 7, 8, 9} do
                    local name = debug.getlocal(2, n)
                    seen[#seen + 1] = tostring(name) .. "=" .. tostring(debug.setlocal(2, n, 7))
                end
            end
            local captured = 1
            local function get() return captured end
            for i = 1, 1 do
                local t = {1, 2, set()}
                seen[#seen + 1] = #t .. i .. get()
            end
            return (table.concat(seen, " "))
            "#);
        assert_eq!(
            text,
            "captured=captured (for state)=nil (for state)=nil (for state)=nil i=i (temporary)=nil 277"
        );
    }
}
