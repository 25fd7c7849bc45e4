//! Counters in a global and in a class beside the called method.
//!
//! Both tables are holders, on which executors depend; the counters' slots are mutable and hence plain memory. The
//! globals have outgrown their inline slots, so theirs lies in the overflow block, whose address is hoisted: adding a
//! key to the globals would invalidate the executor. Nothing in the loop can see the counters but the loop itself, so
//! they live in registers, and its exits write them back.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use perilune::runtime::value::Value;

use crate::Kernel;
use crate::vm::*;

const N: i64 = 5_000_000;

pub fn kernels() -> Vec<Kernel> {
    let mut vm = Vm::new();
    let function = vm.closure(1, 8, &[1]);
    vm.enter(function);
    let method = vm.closure(2, 4, &[4]);
    let class = vm.table(&[
        ("ticks", Value::int(0)),
        ("__index", Value::NIL),
        ("tick", Value::closure(method)),
    ]);
    vm.set(class, "__index", Value::table(class));
    let ticker = vm.table(&[]);
    vm.set_metatable(ticker, class);
    vm.st.rt.make_holder(class).expect("memory for a shape");
    let globals = vm.st.globals;
    vm.set(globals, "calls", Value::int(0));
    let (key, ticks_key) = (vm.key("calls"), vm.key("ticks"));
    for (t, k) in [(globals, key), (class, ticks_key)] {
        // The second store makes a slot mutable.
        vm.st
            .rt
            .set_str_const(t, k, Value::int(1))
            .expect("no error in a store");
        assert!(!vm.st.rt.store_needs_slow_path(t, k));
    }
    // SAFETY: the running function has the register.
    unsafe { Value::store(vm.register(0), Value::table(ticker)) };
    let (calls, ticks) = (
        vm.overflow_field(globals, "calls"),
        vm.field(class, "ticks"),
    );
    let shape = ticker.shape.get();
    assert!(vm.st.rt.class_is_known(shape));

    let mut ops = Assembler::new().expect("memory for code");
    let start = prologue(&mut ops);
    dynasm!(ops
        ; .arch x64
        // r8: the globals' overflow block, r9: the class, rdx: n.
        ; mov r8, QWORD globals.addr() as i64
        ; mov r8, [r8 + OVERFLOW]
        ; mov r9, QWORD class.addr() as i64
        ; mov QWORD [r8 + calls.payload], 0
        ; mov BYTE [r8 + calls.tag], INT
        ; mov QWORD [r9 + ticks.payload], 0
        ; mov BYTE [r9 + ticks.tag], INT
        ; mov rdi, QWORD ticker.addr() as i64
        ; cmp DWORD [rdi + SHAPE], shape.0 as i32
        ; jne ->exit
        // rax: calls, rbx: ticks, rcx: i.
        ; cmp BYTE [r8 + calls.tag], INT
        ; jne ->exit
        ; mov rax, [r8 + calls.payload]
        ; cmp BYTE [r9 + ticks.tag], INT
        ; jne ->exit
        ; mov rbx, [r9 + ticks.payload]
        ; mov ecx, 1
        ; .align 32
        ; next:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne >polled
        ; inc rax
        ; add rbx, rcx
        ; inc rcx
        ; cmp rcx, rdx
        ; jle <next
        ; mov [r8 + calls.payload], rax
        ; mov [r9 + ticks.payload], rbx
        ; add rax, rbx
        ; jmp >done
        ; polled:
        ; mov [r8 + calls.payload], rax
        ; mov [r9 + ticks.payload], rbx
        ; jmp ->exit
        ; done:
    );
    epilogue(&mut ops);
    let code = Code::new(ops, start);
    vec![Kernel {
        name: "counters",
        source: include_str!("../lua/counters.lua"),
        operation: "iteration",
        argument: N,
        operations: N as f64,
        run: Box::new(move |n| code.run(&mut vm, n) as i64 as f64),
    }]
}
