//! Recursion: a function executor with a typed register argument.
//!
//! The argument arrives unboxed in `rdi`, the result in `rax`. A few levels of the recursion are inlined and
//! exist in no call record. Each remaining call pushes a record of which it writes only the return site, and leaves the
//! payloads of its live registers in the frame; the rest -- the other fields, the caller's program counter, the function
//! below its base, the tags of live registers -- follows from the site and is written when somebody is to look at the
//! frames ([`complete`]). Every entry polls, and checks both stacks.

use dynasmrt::{AssemblyOffset, DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use perilune::bytecode::cache::CallSite;
use perilune::runtime::coroutine::{CallRecord, Continuation};
use perilune::runtime::function::Closure;
use perilune::runtime::object::Gc;
use perilune::runtime::value::Value;

use crate::Kernel;
use crate::vm::*;

/// Registers of an activation: the argument, the first result, and the two windows for calls.
const REGISTERS: i32 = 5;

/// What a return site tells of the caller's frame and of the callee's place.
struct Site {
    /// The callee's base above the caller's.
    slot: i32,
    /// The caller's registers that hold integers.
    live: Vec<i32>,
    /// The instruction at which the caller goes on.
    pc: usize,
}

struct Emitter {
    ops: Assembler,
    levels: i32,
    entry: DynamicLabel,
    sites: Box<[CallSite]>,
    calls: Vec<Site>,
    returns: Vec<AssemblyOffset>,
    /// Registers that are live where code is being emitted.
    live: Vec<i32>,
}

impl Emitter {
    /// The body for the argument in `rdi`, with the frame at `slot` of the executor's window.
    fn body(&mut self, level: i32, slot: i32) {
        let (small, end) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        let n = slot * SLOT;
        let first = n + SLOT;
        dynasm!(self.ops
            ; .arch x64
            ; cmp rdi, 2
            ; jl =>small
            ; mov [r13 + n], rdi
            ; dec rdi
        );
        self.live.push(slot);
        self.call(level, slot + 2, 1);
        dynasm!(self.ops
            ; .arch x64
            ; mov rdi, [r13 + n]
            ; mov [r13 + first], rax
            ; sub rdi, 2
        );
        self.live.pop();
        self.live.push(slot + 1);
        self.call(level, slot + 3, 2);
        self.live.pop();
        dynasm!(self.ops
            ; .arch x64
            ; add rax, [r13 + first]
            ; jmp =>end
            ; =>small
            ; mov rax, rdi
            ; =>end
        );
    }

    /// A call of the function with the argument in `rdi` and its window at `slot`.
    fn call(&mut self, level: i32, slot: i32, pc: usize) {
        if level + 1 < self.levels {
            return self.body(level + 1, slot);
        }
        let site = &raw const self.sites[self.calls.len()].returns;
        self.calls.push(Site {
            slot,
            live: self.live.clone(),
            pc,
        });
        let delta = slot * SLOT;
        dynasm!(self.ops
            ; .arch x64
            ; mov rax, QWORD site as i64
            ; add r15, RECORD_SIZE
            ; cmp r15, [r14 + RECORDS_END]
            ; jae ->full
            ; mov [r15 + RECORD_RETURN_SITE], rax
            ; add r13, delta
            ; jmp =>self.entry
        );
        self.returns.push(self.ops.offset());
        dynasm!(self.ops
            ; .arch x64
            ; sub r13, delta
        );
    }
}

/// Writes what calls have left out, from the record that the host has entered with up to the current one.
fn complete(vm: &mut Vm, code: &Code, calls: &[Site], function: Gc<Closure>) {
    let mut record = vm.bottom();
    while record != vm.st.record {
        // SAFETY: both lie within the stack of records, and their registers within the stack of values.
        unsafe {
            let next = record.add(1);
            let site = &calls[code.site_of(&*next)];
            let base = (*record).base + site.slot as u32;
            (*record).pc = function.proto.code.add(site.pc);
            for &register in &site.live {
                let live = vm.st.slot((*record).base + register as u32);
                Value::store(live, Value::int(Value::payload_at(live) as i64));
            }
            Value::store(vm.st.slot(base - 1), Value::closure(function));
            *next = CallRecord {
                pc: function.proto.code,
                return_site: (*next).return_site,
                base,
                top: base + REGISTERS as u32,
                wanted: 1,
                continuation: Continuation::Call,
                flags: 0,
                ..CallRecord::bottom()
            };
            record = next;
        }
    }
}

/// Has the stack of records overflow, and checks that the frames can be told from what the code has left.
fn check_frames(vm: &mut Vm, code: &Code, calls: &[Site], function: Gc<Closure>, levels: i64) {
    const DEPTH: usize = 6;
    let end = vm.st.records_end;
    // SAFETY: within the stack of records.
    vm.st.records_end = unsafe { vm.st.record.add(DEPTH) };
    assert!(code.enter(vm, N).exited == 1, "the records are exhausted");
    vm.st.records_end = end;
    complete(vm, code, calls, function);
    // The outermost activation is the host's call; below the last one everybody has called for the first time.
    for i in 1..DEPTH as i64 - 1 {
        // SAFETY: records in use.
        let record = unsafe { &*vm.bottom().add(i as usize) };
        // SAFETY: the record's registers are on the stack.
        let argument = unsafe { Value::load(vm.st.slot(record.base)) };
        assert!(argument.same_bits(Value::int(N - (i - 1) * levels)));
        assert!(record.base as i64 == 2 + (i - 1) * 2 * levels);
        // SAFETY: the function lies below them.
        let callee = unsafe { Value::load(vm.st.slot(record.base - 1)) };
        assert!(callee.same_bits(Value::closure(function)));
    }
    // Runs write payloads only: under a reference's tag that stays here the collector would take one for an object.
    let end = vm.st.frame().top;
    vm.st.record = vm.bottom();
    for slot in vm.st.frame().base..end {
        // SAFETY: registers of the activations that there have been.
        unsafe { Value::store(vm.st.slot(slot), Value::NIL) };
    }
}

const N: i64 = 30;

fn kernel(name: &'static str, levels: i32) -> Kernel {
    let mut vm = Vm::new();
    let function = vm.closure(1, REGISTERS as u32, &[3, 3, 3]);
    vm.enter(function);
    let mut ops = Assembler::new().expect("memory for code");
    let entry = ops.new_dynamic_label();
    let outer = 1 << levels;
    let mut e = Emitter {
        ops,
        levels,
        entry,
        sites: return_sites(outer + 1),
        calls: Vec::new(),
        returns: Vec::new(),
        live: Vec::new(),
    };
    let start = prologue(&mut e.ops);
    // The call from the host is returned to through a site as well.
    let site = &raw const e.sites[outer].returns;
    dynasm!(e.ops
        ; .arch x64
        ; mov rdi, rdx
        ; mov rcx, QWORD site as i64
        ; add r15, RECORD_SIZE
        ; mov [r15 + RECORD_RETURN_SITE], rcx
        ; jmp =>entry
        ; .align 32
        ; =>entry
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; lea rcx, [r13 + levels * REGISTERS * SLOT]
        ; cmp rcx, [r14 + STACK_LIMIT]
        ; ja ->exit
    );
    e.body(0, 0);
    dynasm!(e.ops
        ; .arch x64
        ; mov rcx, [r15 + RECORD_RETURN_SITE]
        ; sub r15, RECORD_SIZE
        ; jmp QWORD [rcx + SITE_CODE]
        ; ->full:
        ; sub r15, RECORD_SIZE
        ; jmp ->exit
    );
    let last = e.ops.offset();
    epilogue(&mut e.ops);
    let Emitter {
        ops,
        sites,
        mut calls,
        returns,
        ..
    } = e;
    calls.push(Site {
        slot: 0,
        live: Vec::new(),
        pc: 0,
    });
    let places = returns.into_iter().chain([last]);
    let code = Code::new(ops, start).returning(sites, places);
    check_frames(&mut vm, &code, &calls, function, levels as i64);
    Kernel {
        name,
        source: include_str!("../lua/fib.lua"),
        operation: "call",
        argument: N,
        operations: 2.0 * 1346269.0 - 1.0,
        run: Box::new(move |n| code.run(&mut vm, n) as i64 as f64),
    }
}

pub fn kernels() -> Vec<Kernel> {
    vec![
        kernel("fib, no inlining", 1),
        kernel("fib, 2 levels", 2),
        kernel("fib, 3 levels", 3),
    ]
}
