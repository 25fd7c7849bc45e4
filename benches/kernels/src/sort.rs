//! Sorting records with a comparator: quicksort as the built-in bytecode of `table.sort` would compile.
//!
//! The comparator is inlined at its five call sites. Each element loaded is checked for its tag, shape and key's tag; those of
//! the pivot are invariant in the scans. Exchanges pass the array's barrier. The smaller part is sorted by a call
//! that pushes a record, the larger one in the same activation.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use perilune::runtime::value::Value;

use crate::Kernel;
use crate::vm::*;

const RECORDS: i64 = 5000;
const N: i64 = 10;

const RAX: u8 = 0;
const RCX: u8 = 1;
const RSI: u8 = 6;
const RDI: u8 = 7;
const R8: u8 = 8;
const R9: u8 = 9;
const R10: u8 = 10;
const R11: u8 = 11;

/// Registers of an activation of the sort: the table, the comparator, the bounds, and the window for calls.
const REGISTERS: i32 = 9;
const LOW: i32 = 2 * SLOT;
const HIGH: i32 = 3 * SLOT;
const WINDOW: i32 = 5;

struct Records {
    shape: i32,
    key: Field,
}

impl Records {
    /// Loads the element at `index` and its key, with all checks.
    fn load(&self, ops: &mut Assembler, index: u8, element: u8, key: u8) {
        dynasm!(ops
            ; .arch x64
            ; cmp BYTE [rbx + Rq(index) - 1], TABLE
            ; jne ->exit
            ; mov Rq(key), Rq(index)
            ; neg Rq(key)
            ; mov Rq(element), [rbx + Rq(key) * 8]
        );
        self.load_key(ops, element, key);
    }

    fn load_key(&self, ops: &mut Assembler, element: u8, key: u8) {
        self.check(ops, element);
        dynasm!(ops ; .arch x64 ; mov Rq(key), [Rq(element) + self.key.payload]);
    }

    fn check(&self, ops: &mut Assembler, element: u8) {
        dynasm!(ops
            ; .arch x64
            ; cmp DWORD [Rq(element) + SHAPE], self.shape
            ; jne ->exit
            ; cmp BYTE [Rq(element) + self.key.tag], INT
            ; jne ->exit
        );
    }
}

/// Exchanges two elements that are tables, given their indices and values. Uses `rcx`.
fn exchange(ops: &mut Assembler, (i, a): (u8, u8), (j, b): (u8, u8)) {
    dynasm!(ops
        ; .arch x64
        ; cmp BYTE [rbp], 0
        ; je >unmarked
        ; call ->barrier
        ; unmarked:
        ; mov rcx, Rq(i)
        ; neg rcx
        ; mov [rbx + rcx * 8], Rq(b)
        ; mov rcx, Rq(j)
        ; neg rcx
        ; mov [rbx + rcx * 8], Rq(a)
    );
}

pub fn kernels() -> Vec<Kernel> {
    let mut vm = Vm::new();
    let function = vm.closure(1, 12, &[4]);
    vm.enter(function);
    let sort = vm.closure(4, REGISTERS as u32, &[4]);
    let mut seed = 42;
    let records: Vec<_> = (0..RECORDS)
        .map(|_| {
            seed = seed * 16807 % 2147483647;
            vm.table(&[("key", Value::int(seed))])
        })
        .collect();
    let fields = Records {
        shape: records[0].shape.get().0 as i32,
        key: vm.field(records[0], "key"),
    };
    let records = vm.array(records.into_iter().map(Value::table));
    let sorted = vm.array((1..=RECORDS as u32).map(|i| records.element(i)));
    // SAFETY: the running function has the registers.
    unsafe {
        Value::store(vm.register(0), Value::table(records));
        Value::store(vm.register(1), Value::table(sorted));
    }
    let sites = return_sites(3);
    let site = |i: usize| &raw const sites[i].returns as i64;
    let mut returns = Vec::new();

    let mut ops = Assembler::new().expect("memory for code");
    let start = prologue(&mut ops);
    dynasm!(ops
        ; .arch x64
        // The main function's frame: [r13 + 64] passes left, [r13 + 80] sum. rbp: sorted.
        ; mov [r13 + 64], rdx
        ; mov QWORD [r13 + 72], INT as i32
        ; mov QWORD [r13 + 80], 0
        ; mov QWORD [r13 + 88], INT as i32
        ; pass:
        ; mov rax, QWORD records.addr() as i64
        ; mov rbp, QWORD sorted.addr() as i64
        ; cmp BYTE [rax + ARRAY_KIND], TABLE
        ; jne ->exit
        ; cmp BYTE [rbp + ARRAY_KIND], TABLE
        ; jne ->exit
        ; mov r11d, [rax + ARRAY_LEN]
        ; cmp r11d, [rbp + ARRAY_LEN]
        ; ja ->exit
        ; mov rbx, [rbp + ARRAY]
        ; mov rax, [rax + ARRAY]
        // sorted[i] = records[i]
        ; mov ecx, 1
        ; mov rdx, -1
        ; copy:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; cmp BYTE [rax + rcx - 1], TABLE
        ; jne ->exit
        ; mov rsi, [rax + rdx * 8]
        ; cmp BYTE [rbp], 0
        ; je >unmarked
        ; call ->barrier
        ; unmarked:
        ; mov [rbx + rdx * 8], rsi
        ; mov BYTE [rbx + rcx - 1], TABLE
        ; dec rdx
        ; inc rcx
        ; cmp rcx, r11
        ; jle <copy
        ; mov r10d, 1
        ; mov rax, QWORD site(0)
    );
    let call = |ops: &mut Assembler, window: i32| {
        dynasm!(ops
            ; .arch x64
            ; mov rcx, QWORD sort.proto.code as i64
            ; mov [r15 + RECORD_PC], rcx
            ; mov edx, [r15 + RECORD_BASE]
            ; add r15, RECORD_SIZE
            ; cmp r15, [r14 + RECORDS_END]
            ; jae ->exit
            ; mov rcx, QWORD sort.addr() as i64
            ; mov [r13 + window * SLOT - SLOT], rcx
            ; mov QWORD [r13 + window * SLOT - 8], CLOSURE as i32
            ; mov [r15 + RECORD_RETURN_SITE], rax
            ; add edx, window
            ; lea ecx, [rdx + REGISTERS]
            ; mov [r15 + RECORD_BASE], edx
            ; mov [r15 + RECORD_TOP], ecx
            ; mov DWORD [r15 + RECORD_EXTRA], 0
            ; mov DWORD [r15 + RECORD_WANTED], ONE_RESULT
            ; add r13, window * SLOT
            ; jmp ->sort
        );
    };
    call(&mut ops, 10);
    returns.push(ops.offset());
    dynasm!(ops
        ; .arch x64
        ; sub r13, 10 * SLOT
        ; mov eax, 17
    );
    fields.load(&mut ops, RAX, RSI, RDI);
    dynasm!(ops ; .arch x64 ; add [r13 + 80], rdi ; mov eax, 2500);
    fields.load(&mut ops, RAX, RSI, RDI);
    dynasm!(ops
        ; .arch x64
        ; add [r13 + 80], rdi
        ; dec QWORD [r13 + 64]
        ; jnz <pass
        ; mov rax, [r13 + 80]
        ; jmp ->finish

        // Sorts from r10 to r11.
        ; ->sort:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; lea rcx, [r13 + REGISTERS * SLOT]
        ; cmp rcx, [r14 + STACK_LIMIT]
        ; ja ->exit
        ; ->part:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; cmp r10, r11
        ; jge ->done
    );
    // The smallest of three to the front, the largest to the end.
    fields.load(&mut ops, R10, RSI, R8);
    fields.load(&mut ops, R11, RDI, R9);
    dynasm!(ops ; .arch x64 ; cmp r9, r8 ; jge >ordered);
    exchange(&mut ops, (R10, RSI), (R11, RDI));
    dynasm!(ops
        ; .arch x64
        ; xchg rsi, rdi
        ; xchg r8, r9
        ; ordered:
        ; mov rdx, r11
        ; sub rdx, r10
        ; cmp rdx, 1
        ; je ->done
        ; lea rax, [r10 + r11]
        ; shr rax, 1
    );
    fields.load(&mut ops, RAX, 12, RCX);
    // r12: the middle element, rcx: its key.
    dynasm!(ops ; .arch x64 ; cmp rcx, r8 ; mov r8, rcx ; jge >not_below);
    exchange(&mut ops, (RAX, 12), (R10, RSI));
    dynasm!(ops
        ; .arch x64
        ; mov r12, rsi
        ; jmp >middle
        ; not_below:
        ; cmp r9, r8
        ; jge >middle
    );
    exchange(&mut ops, (RAX, 12), (R11, RDI));
    dynasm!(ops
        ; .arch x64
        ; mov r12, rdi
        ; middle:
        ; cmp rdx, 2
        ; je ->done
        // The pivot goes to the last place but one; r8: its key.
        ; lea rdx, [r11 - 1]
        ; mov rcx, rdx
        ; neg rcx
        ; mov rdi, [rbx + rcx * 8]
    );
    exchange(&mut ops, (RAX, 12), (2, RDI));
    fields.load_key(&mut ops, 12, R8);
    dynasm!(ops
        ; .arch x64
        // rax: i, r9: -i; rdx: j, rsi: -j.
        ; mov rax, r10
        ; mov r9, r10
        ; neg r9
        ; mov rsi, rdx
        ; neg rsi
        ; ->scan_up:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; dec r9
        ; inc rax
        ; cmp BYTE [rbx + rax - 1], TABLE
        ; jne ->exit
        ; mov rdi, [rbx + r9 * 8]
    );
    fields.check(&mut ops, RDI);
    dynasm!(ops
        ; .arch x64
        ; cmp [rdi + fields.key.payload], r8
        ; jge ->scan_down
        ; cmp rax, r11
        ; jl ->scan_up
        ; jmp ->exit
        ; ->scan_down:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; inc rsi
        ; dec rdx
        ; cmp BYTE [rbx + rdx - 1], TABLE
        ; jne ->exit
        ; mov rcx, [rbx + rsi * 8]
    );
    fields.check(&mut ops, RCX);
    dynasm!(ops
        ; .arch x64
        ; cmp r8, [rcx + fields.key.payload]
        ; jge >met
        ; cmp rdx, rax
        ; jge ->scan_down
        ; jmp ->exit
        ; met:
        ; cmp rdx, rax
        ; jl >split
        ; cmp BYTE [rbp], 0
        ; je >unmarked
        ; call ->barrier
        ; unmarked:
        ; mov [rbx + r9 * 8], rcx
        ; mov [rbx + rsi * 8], rdi
        ; jmp ->scan_up
        ; split:
        // The pivot goes between the parts.
        ; cmp BYTE [rbp], 0
        ; je >unmarked
        ; call ->barrier
        ; unmarked:
        ; mov rcx, r11
        ; neg rcx
        ; mov [rbx + rcx * 8 + 8], rdi
        ; mov [rbx + r9 * 8], r12
        ; mov rcx, rax
        ; sub rcx, r10
        ; mov rdx, r11
        ; sub rdx, rax
        ; mov QWORD [r13 + LOW + 8], INT as i32
        ; mov QWORD [r13 + HIGH + 8], INT as i32
        ; cmp rcx, rdx
        ; jge >right
        ; lea rcx, [rax + 1]
        ; mov [r13 + LOW], rcx
        ; mov [r13 + HIGH], r11
        ; lea r11, [rax - 1]
        ; mov rax, QWORD site(1)
    );
    call(&mut ops, WINDOW);
    dynasm!(ops
        ; .arch x64
        ; right:
        ; mov [r13 + LOW], r10
        ; lea rcx, [rax - 1]
        ; mov [r13 + HIGH], rcx
        ; lea r10, [rax + 1]
        ; mov rax, QWORD site(2)
    );
    call(&mut ops, WINDOW);
    returns.extend([ops.offset(), ops.offset()]);
    dynasm!(ops
        ; .arch x64
        ; sub r13, WINDOW * SLOT
        ; mov r10, [r13 + LOW]
        ; mov r11, [r13 + HIGH]
        ; jmp ->part
        ; ->done:
        ; mov rcx, [r15 + RECORD_RETURN_SITE]
        ; sub r15, RECORD_SIZE
        ; jmp QWORD [rcx + SITE_CODE]
        // rbp: the array.
        ; ->barrier:
        ; push rax
        ; push rcx
        ; push rdx
        ; push rsi
        ; push rdi
        ; push r8
        ; push r9
        ; push r10
        ; push r11
        ; mov [r14 + RECORD], r15
        ; mov rdi, r14
        ; mov rsi, rbp
        ; mov rax, QWORD barrier as *const () as i64
        ; call rax
        ; pop r11
        ; pop r10
        ; pop r9
        ; pop r8
        ; pop rdi
        ; pop rsi
        ; pop rdx
        ; pop rcx
        ; pop rax
        ; ret
        ; ->finish:
    );
    epilogue(&mut ops);
    let code = Code::new(ops, start).returning(sites, returns);
    vec![Kernel {
        name: "sort",
        source: include_str!("../lua/sort.lua"),
        operation: "element",
        argument: N,
        operations: (N * RECORDS) as f64,
        run: Box::new(move |n| {
            let sum = code.run(&mut vm, n) as i64 as f64;
            let name = vm.key("key");
            let key = |i: u32| {
                let record = sorted.element(i).as_table().expect("a record");
                vm.st.rt.get_str(record, name).as_int()
            };
            assert!((2..=RECORDS as u32).all(|i| key(i - 1) <= key(i)));
            sum
        }),
    }]
}
