//! Method calls on objects with a fresh metatable each.
//!
//! One compare of the shape proves the fields' places, the metatable's class and thereby the method, which is inlined.
//! The array's kind says that its elements are tables. The fields' tags are checked, since shapes do not know types; integers are stored without a barrier.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use perilune::runtime::value::Value;

use crate::Kernel;
use crate::vm::*;

const OBJECTS: i64 = 100;
const N: i64 = 20_000;

pub fn kernels() -> Vec<Kernel> {
    let mut vm = Vm::new();
    let function = vm.closure(1, 8, &[1]);
    vm.enter(function);
    let method = vm.closure(2, 4, &[4]);
    let class = vm.table(&[("move", Value::closure(method))]);
    vm.st.rt.make_holder(class).expect("memory for a shape");
    let objects: Vec<_> = (1..=OBJECTS)
        .map(|i| {
            let object = vm.table(&[("x", Value::int(i)), ("moves", Value::int(0))]);
            let metatable = vm.table(&[("__index", Value::table(class))]);
            vm.set_metatable(object, metatable);
            object
        })
        .collect();
    let shape = objects[0].shape.get();
    assert!(vm.st.rt.class_is_known(shape) && objects.iter().all(|o| o.shape.get() == shape));
    let (x, moves) = (vm.field(objects[0], "x"), vm.field(objects[0], "moves"));
    let shape = shape.0 as i32;
    let array = vm.array(objects.into_iter().map(Value::table));
    // SAFETY: the running function has the register.
    unsafe { Value::store(vm.register(0), Value::table(array)) };

    let mut ops = Assembler::new().expect("memory for code");
    let start = prologue(&mut ops);
    dynasm!(ops
        ; .arch x64
        // rbx: the array's base, rbp: its length, rdx: n.
        ; mov rax, QWORD array.addr() as i64
        ; cmp BYTE [rax + ARRAY_KIND], TABLE
        ; jne ->exit
        ; mov rbx, [rax + ARRAY]
        ; mov ebp, [rax + ARRAY_LEN]

        // objects[i].x = i
        ; mov ecx, 1
        ; lea rsi, [rbx - 8]
        ; reset:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; mov rdi, [rsi]
        ; cmp DWORD [rdi + SHAPE], shape
        ; jne ->exit
        ; mov [rdi + x.payload], rcx
        ; mov BYTE [rdi + x.tag], INT
        ; sub rsi, 8
        ; inc rcx
        ; cmp rcx, rbp
        ; jle <reset

        // rax: sum, r8: k, rcx: i, rsi: the element.
        ; xor eax, eax
        ; mov r8d, 1
        ; outer:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; mov ecx, 1
        ; lea rsi, [rbx - 8]
        ; inner:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; mov rdi, [rsi]
        ; cmp DWORD [rdi + SHAPE], shape
        ; jne ->exit
        ; cmp BYTE [rdi + x.tag], INT
        ; jne ->exit
        ; mov r9, [rdi + x.payload]
        ; add r9, r8
        ; mov [rdi + x.payload], r9
        ; cmp BYTE [rdi + moves.tag], INT
        ; jne ->exit
        ; inc QWORD [rdi + moves.payload]
        ; add rax, r9
        ; sub rsi, 8
        ; inc rcx
        ; cmp rcx, rbp
        ; jle <inner
        ; inc r8
        ; cmp r8, rdx
        ; jle <outer
    );
    epilogue(&mut ops);
    let code = Code::new(ops, start);
    vec![Kernel {
        name: "methods",
        source: include_str!("../lua/methods.lua"),
        operation: "call",
        argument: N,
        operations: (N * OBJECTS) as f64,
        run: Box::new(move |n| code.run(&mut vm, n) as i64 as f64),
    }]
}
