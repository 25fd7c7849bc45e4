//! A product of matrix and vector: float arrays, and integer arithmetic converted to floats.
//!
//! The checks of the arrays (shape, kind, length) are hoisted out of the loops, as peeling does; each iteration
//! polls. Payloads of an array run downward, so the loops walk them by a pointer.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use perilune::runtime::array::ArrayKind;
use perilune::runtime::shape::ShapeId;
use perilune::runtime::value::Value;

use crate::Kernel;
use crate::vm::*;

const N: i64 = 1000;

pub fn kernels() -> Vec<Kernel> {
    let mut vm = Vm::new();
    let function = vm.closure(1, 8, &[2]);
    vm.enter(function);
    let vectors = [(); 2].map(|()| vm.array((0..N).map(|_| Value::float(0.0))));
    for (i, &v) in vectors.iter().enumerate() {
        // SAFETY: the running function has these registers.
        unsafe { Value::store(vm.register(i as u32), Value::table(v)) };
    }
    let [x, y] = vectors.map(|v| v.addr() as i64);
    let mut ops = Assembler::new().expect("memory for code");
    let start = prologue(&mut ops);
    dynasm!(ops
        ; .arch x64
        // rbx, rsi: the vectors' bases; rdx: n.
        ; mov rax, QWORD x
        ; mov rcx, QWORD y
    );
    for table in [0u8, 1] {
        dynasm!(ops
            ; .arch x64
            ; cmp DWORD [Rq(table) + SHAPE], ShapeId::EMPTY.0 as i32
            ; jne ->exit
            ; cmp BYTE [Rq(table) + ARRAY_KIND], ArrayKind::FLOAT.0 as i8
            ; jne ->exit
            ; mov edi, [Rq(table) + ARRAY_LEN]
            ; cmp rdx, rdi
            ; jg ->exit
        );
    }
    dynasm!(ops
        ; .arch x64
        ; mov rbx, [rax + ARRAY]
        ; mov rsi, [rcx + ARRAY]
        // xmm7: 1.0, xmm6: 0.5.
        ; mov rax, QWORD 1f64.to_bits() as i64
        ; movq xmm7, rax
        ; mov rax, QWORD 0.5f64.to_bits() as i64
        ; movq xmm6, rax

        // x[i] = 1.0 / i
        ; mov ecx, 1
        ; lea rdi, [rbx - 8]
        ; fill:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; xorps xmm0, xmm0
        ; cvtsi2sd xmm0, rcx
        ; movapd xmm1, xmm7
        ; divsd xmm1, xmm0
        ; movsd [rdi], xmm1
        ; sub rdi, 8
        ; inc rcx
        ; cmp rcx, rdx
        ; jle <fill

        // rcx: i, xmm5: i as a float, r8: i + j - 1, r9: j, rdi: the element, xmm0: a.
        ; mov ecx, 1
        ; outer:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; xorps xmm5, xmm5
        ; cvtsi2sd xmm5, rcx
        ; xorps xmm0, xmm0
        ; mov r8, rcx
        ; mov r9d, 1
        ; lea rdi, [rbx - 8]
        ; inner:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; lea rax, [r8 - 1]
        ; imul rax, r8
        ; xorps xmm1, xmm1
        ; cvtsi2sd xmm1, rax
        ; mulsd xmm1, xmm6
        ; addsd xmm1, xmm5
        ; movapd xmm2, xmm7
        ; divsd xmm2, xmm1
        ; mulsd xmm2, [rdi]
        ; addsd xmm0, xmm2
        ; sub rdi, 8
        ; inc r8
        ; inc r9
        ; cmp r9, rdx
        ; jle <inner
        // y[i] = a
        ; mov rax, rcx
        ; neg rax
        ; movsd [rsi + rax * 8], xmm0
        ; inc rcx
        ; cmp rcx, rdx
        ; jle <outer

        // The sum of y.
        ; xorps xmm0, xmm0
        ; mov ecx, 1
        ; lea rdi, [rsi - 8]
        ; sum:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; addsd xmm0, [rdi]
        ; sub rdi, 8
        ; inc rcx
        ; cmp rcx, rdx
        ; jle <sum
        ; movq rax, xmm0
    );
    epilogue(&mut ops);
    let code = Code::new(ops, start);
    vec![Kernel {
        name: "spectral norm",
        source: include_str!("../lua/spectral.lua"),
        operation: "element",
        argument: N,
        operations: (N * N) as f64,
        run: Box::new(move |n| f64::from_bits(code.run(&mut vm, n))),
    }]
}
