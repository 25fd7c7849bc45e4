//! An iteration method with sixteen callbacks.
//!
//! Each call path has a loop of its own, in which the callback is a constant and inlined, and its closure is never
//! allocated. The sum lives in a heap cell: its load is forwarded, its store stays in the loop. What the method
//! reads from the list is checked before each loop.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use perilune::runtime::array::ArrayKind;
use perilune::runtime::shape::ShapeId;
use perilune::runtime::value::Value;

use crate::Kernel;
use crate::vm::*;

const ITEMS: i64 = 100;
const SITES: i32 = 16;
const N: i64 = 1000;

pub fn kernels() -> Vec<Kernel> {
    let mut vm = Vm::new();
    let function = vm.closure(1, 8, &[2]);
    vm.enter(function);
    let method = vm.closure(2, 8, &[4]);
    let items = vm.array((1..=ITEMS).map(Value::int));
    let list = vm.table(&[("items", Value::table(items)), ("size", Value::int(ITEMS))]);
    let class = vm.table(&[("each", Value::closure(method)), ("__index", Value::NIL)]);
    vm.set(class, "__index", Value::table(class));
    vm.st.rt.make_holder(class).expect("memory for a shape");
    vm.set_metatable(list, class);
    let cell = vm.cell(Value::int(0));
    // SAFETY: the running function has the registers.
    unsafe {
        Value::store(vm.register(0), Value::table(list));
        Value::store(vm.register(1), Value::cell(cell));
    }
    let shape = list.shape.get();
    assert!(vm.st.rt.class_is_known(shape));
    let (items, size) = (vm.field(list, "items"), vm.field(list, "size"));

    let mut ops = Assembler::new().expect("memory for code");
    let start = prologue(&mut ops);
    dynasm!(ops
        ; .arch x64
        // rbp: the sum's cell, r8: passes.
        ; mov rbp, QWORD cell.addr() as i64
        ; mov QWORD [rbp + CELL_PAYLOAD], 0
        ; mov BYTE [rbp + CELL_TAG], INT
        ; mov r8d, 1
        ; pass:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
    );
    for site in 0..SITES {
        dynasm!(ops
            ; .arch x64
            ; mov rdi, QWORD list.addr() as i64
            ; cmp DWORD [rdi + SHAPE], shape.0 as i32
            ; jne ->exit
            ; cmp BYTE [rdi + items.tag], TABLE
            ; jne ->exit
            ; mov rsi, [rdi + items.payload]
            ; cmp BYTE [rdi + size.tag], INT
            ; jne ->exit
            ; mov r9, [rdi + size.payload]
            ; cmp DWORD [rsi + SHAPE], ShapeId::EMPTY.0 as i32
            ; jne ->exit
            ; cmp BYTE [rsi + ARRAY_KIND], ArrayKind::INT.0 as i8
            ; jne ->exit
            ; mov ecx, [rsi + ARRAY_LEN]
            ; cmp r9, rcx
            ; jg ->exit
            ; cmp r9, 1
            ; jl >done
            ; mov rsi, [rsi + ARRAY]
            ; sub rsi, 8
            ; cmp BYTE [rbp + CELL_TAG], INT
            ; jne ->exit
            ; mov rax, [rbp + CELL_PAYLOAD]
            ; mov ecx, 1
            ; next:
            ; cmp DWORD [r14 + INTERRUPT], 0
            ; jne ->exit
            ; mov rbx, [rsi]
        );
        match site % 4 {
            0 => dynasm!(ops ; .arch x64 ; add rax, rbx),
            1 => dynasm!(ops ; .arch x64 ; lea rax, [rax + rbx * 2]),
            2 => dynasm!(ops ; .arch x64 ; sub rax, rbx),
            _ => dynasm!(ops ; .arch x64 ; lea rax, [rax + rbx + site]),
        }
        dynasm!(ops
            ; .arch x64
            ; mov [rbp + CELL_PAYLOAD], rax
            ; sub rsi, 8
            ; inc rcx
            ; cmp rcx, r9
            ; jle <next
            ; done:
        );
    }
    dynasm!(ops
        ; .arch x64
        ; inc r8
        ; cmp r8, rdx
        ; jle <pass
        ; mov rax, [rbp + CELL_PAYLOAD]
    );
    epilogue(&mut ops);
    let code = Code::new(ops, start);
    vec![Kernel {
        name: "each, 16 callbacks",
        source: include_str!("../lua/each.lua"),
        operation: "element",
        argument: N,
        operations: (N * ITEMS * SITES as i64) as f64,
        run: Box::new(move |n| code.run(&mut vm, n) as i64 as f64),
    }]
}
