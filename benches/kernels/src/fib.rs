//! Recursion: a function executor with a typed register argument.
//!
//! The argument arrives unboxed in `rdi`, the result in `rax`. A few levels of the recursion are inlined and
//! exist in no call record; each remaining call writes the registers that are live, with their tags, to the frame,
//! pushes a record, and is returned to through its return site. Every entry polls, and checks both stacks.

use dynasmrt::{AssemblyOffset, DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use perilune::bytecode::cache::CallSite;
use perilune::runtime::function::Closure;
use perilune::runtime::object::Gc;

use crate::Kernel;
use crate::vm::*;

/// Registers of an activation: the argument, the first result, and the two windows for calls.
const REGISTERS: i32 = 5;

struct Emitter {
    ops: Assembler,
    levels: i32,
    function: Gc<Closure>,
    entry: DynamicLabel,
    sites: Box<[CallSite]>,
    returns: Vec<AssemblyOffset>,
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
            ; mov QWORD [r13 + n + 8], INT as i32
            ; dec rdi
        );
        self.call(level, slot + 2);
        dynasm!(self.ops
            ; .arch x64
            ; mov rdi, [r13 + n]
            ; mov [r13 + first], rax
            ; mov QWORD [r13 + first + 8], INT as i32
            ; sub rdi, 2
        );
        self.call(level, slot + 3);
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
    fn call(&mut self, level: i32, slot: i32) {
        if level + 1 < self.levels {
            return self.body(level + 1, slot);
        }
        let site = &raw const self.sites[self.returns.len()];
        let delta = slot * SLOT;
        let pc = self.function.proto.code as i64;
        dynasm!(self.ops
            ; .arch x64
            ; mov rax, QWORD pc
            ; mov [r15 + RECORD_PC], rax
            ; mov eax, [r15 + RECORD_BASE]
            ; add r15, RECORD_SIZE
            ; cmp r15, [r14 + RECORDS_END]
            ; jae ->exit
            ; mov rcx, QWORD self.function.addr() as i64
            ; mov [r13 + delta - SLOT], rcx
            ; mov QWORD [r13 + delta - SLOT + 8], CLOSURE as i32
            ; mov rcx, QWORD site as i64
            ; mov [r15 + RECORD_RETURN_SITE], rcx
            ; add eax, slot
            ; lea ecx, [rax + REGISTERS]
            ; mov [r15 + RECORD_BASE], eax
            ; mov [r15 + RECORD_TOP], ecx
            ; mov DWORD [r15 + RECORD_EXTRA], 0
            ; mov DWORD [r15 + RECORD_WANTED], ONE_RESULT
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

fn kernel(name: &'static str, levels: i32) -> Kernel {
    let mut vm = Vm::new();
    let function = vm.closure(1, REGISTERS as u32, &[5]);
    vm.enter(function);
    let mut ops = Assembler::new().expect("memory for code");
    let entry = ops.new_dynamic_label();
    let sites = return_sites((1 << levels) + 1);
    let mut e = Emitter {
        ops,
        levels,
        function,
        entry,
        sites,
        returns: Vec::new(),
    };
    let start = prologue(&mut e.ops);
    // The call from the host is returned to through a site as well.
    let outer = &raw const e.sites[1 << levels];
    dynasm!(e.ops
        ; .arch x64
        ; mov rdi, rdx
        ; mov rcx, QWORD outer as i64
        ; mov [r15 + RECORD_RETURN_SITE], rcx
        ; add r15, RECORD_SIZE
        ; mov [r15 + RECORD_RETURN_SITE], rcx
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
        ; jmp QWORD [rcx]
    );
    let last = e.ops.offset();
    epilogue(&mut e.ops);
    let Emitter {
        ops,
        sites,
        returns,
        ..
    } = e;
    let places = returns.into_iter().chain([last]);
    let code = Code::new(ops, start).returning(sites, places);
    const N: i64 = 30;
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
