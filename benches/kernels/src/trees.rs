//! Binary trees: inline allocation, barriers, recursion with references in frames, and the real collector.
//!
//! A node is one cell with two inline slots. Each activation that has called keeps its table in its frame with a
//! tag, where the collector finds it: entries poll, and the allocator's slow path asks for the collector through the
//! interrupt word. Inlined activations have no records: the live registers of the record below extend over theirs.

use dynasmrt::{AssemblyOffset, DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use perilune::bytecode::cache::CallSite;
use perilune::runtime::function::Closure;
use perilune::runtime::object::Gc;
use perilune::runtime::table::Table;
use perilune::runtime::value::Value;

use crate::Kernel;
use crate::vm::*;

const DEPTH: i32 = 10;
const LONG_LIVED_DEPTH: u32 = 14;
const N: i64 = 100;

/// Registers of an activation of either function.
const REGISTERS: i32 = 6;
const NODE: usize = size_of::<Table>() + 2 * 9;
/// The first window for calls of `make` and of `count`.
const MAKE_WINDOW: i32 = 3;
const COUNT_WINDOW: i32 = 2;

struct Emitter {
    ops: Assembler,
    levels: i32,
    make: Gc<Closure>,
    count: Gc<Closure>,
    make_entry: DynamicLabel,
    count_entry: DynamicLabel,
    shape: i64,
    left: Field,
    right: Field,
    sites: Box<[CallSite]>,
    returns: Vec<AssemblyOffset>,
}

impl Emitter {
    /// Calls `function` from `caller`, with its window at `slot` of the frame; instruction `pc` says which registers
    /// are in use meanwhile.
    fn call(
        &mut self,
        caller: Gc<Closure>,
        pc: i32,
        function: Gc<Closure>,
        entry: DynamicLabel,
        slot: i32,
    ) {
        let site = &raw const self.sites[self.returns.len()].returns;
        let pc = caller.proto.code.wrapping_add(pc as usize + 1) as i64;
        let delta = slot * SLOT;
        dynasm!(self.ops
            ; .arch x64
            ; mov rax, QWORD pc
            ; mov [r15 + RECORD_PC], rax
            ; mov eax, [r15 + RECORD_BASE]
            ; add r15, RECORD_SIZE
            ; cmp r15, [r14 + RECORDS_END]
            ; jae ->exit
        );
        self.function_slot(function, slot);
        dynasm!(self.ops
            ; .arch x64
            ; mov rcx, QWORD site as i64
            ; mov [r15 + RECORD_RETURN_SITE], rcx
            ; add eax, slot
            ; lea ecx, [rax + REGISTERS]
            ; mov [r15 + RECORD_BASE], eax
            ; mov [r15 + RECORD_TOP], ecx
            ; mov DWORD [r15 + RECORD_EXTRA], 0
            ; mov DWORD [r15 + RECORD_WANTED], ONE_RESULT
            ; add r13, delta
            ; jmp =>entry
        );
        self.returns.push(self.ops.offset());
        dynasm!(self.ops ; .arch x64 ; sub r13, delta);
    }

    fn function_slot(&mut self, function: Gc<Closure>, slot: i32) {
        let at = slot * SLOT;
        dynasm!(self.ops
            ; .arch x64
            ; mov rcx, QWORD function.addr() as i64
            ; mov [r13 + at - SLOT], rcx
            ; mov QWORD [r13 + at - SLOT + 8], CLOSURE as i32
        );
    }

    /// The entry of a function whose argument is in `rdi`: polls and checks the stack.
    fn entry(&mut self, function: Gc<Closure>, label: DynamicLabel, tag: i8) {
        let code = function.proto.code as i64;
        dynasm!(self.ops
            ; .arch x64
            ; jmp >entry
            ; poll:
            ; mov rax, QWORD code
            ; mov [r15 + RECORD_PC], rax
            ; mov [r13], rdi
            ; mov QWORD [r13 + 8], tag as i32
            ; call ->poll
            ; mov rdi, [r13]
            ; jmp >polled
            ; entry:
            ; =>label
            ; cmp DWORD [r14 + INTERRUPT], 0
            ; jne <poll
            ; polled:
            ; lea rcx, [r13 + self.levels * REGISTERS * SLOT]
            ; cmp rcx, [r14 + STACK_LIMIT]
            ; ja ->exit
        );
    }

    fn returns(&mut self) {
        dynasm!(self.ops
            ; .arch x64
            ; mov rcx, [r15 + RECORD_RETURN_SITE]
            ; sub r15, RECORD_SIZE
            ; jmp QWORD [rcx + SITE_CODE]
        );
    }

    /// A new node in `rax`, its slots nil.
    fn node(&mut self) {
        let (cursor, limit, cell) = bump(NODE);
        dynasm!(self.ops
            ; .arch x64
            ; mov rax, [r14 + cursor]
            ; cmp rax, [r14 + limit]
            ; jne >bump
            ; call ->alloc
            ; jmp >init
            ; bump:
            ; lea rcx, [rax + cell]
            ; mov [r14 + cursor], rcx
            ; init:
            ; mov rcx, QWORD self.shape
            ; xorps xmm0, xmm0
            ; mov [rax], rcx
            ; movups [rax + 8], xmm0
            ; movups [rax + 24], xmm0
            ; movups [rax + 40], xmm0
            ; movups [rax + 56], xmm0
        );
    }

    /// Stores the table in `rax` to a field of the one in register `slot`, which is in `rcx` afterwards.
    fn store(&mut self, slot: i32, field: Field) {
        dynasm!(self.ops
            ; .arch x64
            ; mov rcx, [r13 + slot * SLOT]
            ; cmp BYTE [rcx], 0
            ; je >plain
            ; call ->barrier
            ; plain:
            ; mov [rcx + field.payload], rax
            ; mov BYTE [rcx + field.tag], TABLE
        );
    }

    /// `make` for the depth in `rdi`, with its frame at `slot`; the node in `rax`.
    fn make(&mut self, level: i32, slot: i32) {
        let (leaf, end) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        let (depth, table) = (slot * SLOT, (slot + 1) * SLOT);
        dynasm!(self.ops ; .arch x64 ; test rdi, rdi ; jz =>leaf);
        self.node();
        dynasm!(self.ops
            ; .arch x64
            ; mov [r13 + depth], rdi
            ; mov QWORD [r13 + depth + 8], INT as i32
            ; mov [r13 + table], rax
            ; mov QWORD [r13 + table + 8], TABLE as i32
        );
        for field in [self.left, self.right] {
            dynasm!(self.ops ; .arch x64 ; mov rdi, [r13 + depth] ; dec rdi);
            let window = slot + MAKE_WINDOW;
            if level + 1 < self.levels {
                self.function_slot(self.make, window);
                self.make(level + 1, window);
            } else {
                self.call(self.make, slot + 2, self.make, self.make_entry, window);
            }
            self.store(slot + 1, field);
        }
        dynasm!(self.ops ; .arch x64 ; mov rax, rcx ; jmp =>end ; =>leaf);
        self.node();
        dynasm!(self.ops ; .arch x64 ; =>end);
    }

    /// `count` for the table in `rdi`, with its frame at `slot`; the number in `rax`.
    fn count(&mut self, level: i32, slot: i32) {
        let (leaf, end) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        let (tree, sum) = (slot * SLOT, (slot + 1) * SLOT);
        let (left, right) = (self.left, self.right);
        dynasm!(self.ops
            ; .arch x64
            ; cmp DWORD [rdi + SHAPE], (self.shape >> 32) as i32
            ; jne ->exit
            ; cmp BYTE [rdi + left.tag], TABLE
            ; jne =>leaf
            ; mov [r13 + tree], rdi
            ; mov QWORD [r13 + tree + 8], TABLE as i32
            ; mov rdi, [rdi + left.payload]
        );
        for field in [left, right] {
            let window = slot + COUNT_WINDOW + i32::from(field.payload == right.payload);
            if level + 1 < self.levels {
                self.function_slot(self.count, window);
                self.count(level + 1, window);
            } else {
                self.call(self.count, window - 1, self.count, self.count_entry, window);
            }
            if field.payload == left.payload {
                dynasm!(self.ops
                    ; .arch x64
                    ; inc rax
                    ; mov rdi, [r13 + tree]
                    ; mov [r13 + sum], rax
                    ; mov QWORD [r13 + sum + 8], INT as i32
                    ; cmp DWORD [rdi + SHAPE], (self.shape >> 32) as i32
                    ; jne ->exit
                    ; cmp BYTE [rdi + right.tag], TABLE
                    ; jne ->exit
                    ; mov rdi, [rdi + right.payload]
                );
            }
        }
        dynasm!(self.ops
            ; .arch x64
            ; add rax, [r13 + sum]
            ; jmp =>end
            ; =>leaf
            ; cmp BYTE [rdi + left.tag], 1
            ; ja ->exit
            ; mov eax, 1
            ; =>end
        );
    }
}

/// A tree made without machine code.
fn tree(vm: &mut Vm, depth: u32) -> Gc<Table> {
    let node = vm.table(&[("left", Value::NIL), ("right", Value::NIL)]);
    if depth > 0 {
        for name in ["left", "right"] {
            let child = tree(vm, depth - 1);
            vm.set(node, name, Value::table(child));
        }
    }
    node
}

fn kernel(name: &'static str, levels: i32) -> Kernel {
    let mut vm = Vm::new();
    vm.st.rt.heap.restart();
    // Instruction `i` of the two functions has `i` registers in use behind it.
    let live: Vec<u8> = (0..=levels as u8 * REGISTERS as u8).collect();
    let main = vm.closure(1, 10, &[3]);
    vm.enter(main);
    let (make, count) = (
        vm.closure(1, REGISTERS as u32, &live),
        vm.closure(1, REGISTERS as u32, &live),
    );
    let long_lived = tree(&mut vm, LONG_LIVED_DEPTH);
    // SAFETY: the running function has the registers.
    unsafe { Value::store(vm.register(0), Value::table(long_lived)) };
    let (left, right) = (vm.field(long_lived, "left"), vm.field(long_lived, "right"));
    assert!(
        left.payload == 48 && right.tag == 65,
        "fresh nodes are cleared by vector stores"
    );

    let mut ops = Assembler::new().expect("memory for code");
    let (make_entry, count_entry) = (ops.new_dynamic_label(), ops.new_dynamic_label());
    let shape = table_word(long_lived.shape.get());
    let sites = return_sites(2 * (1 << levels) + 3);
    let returns = Vec::new();
    let mut e = Emitter {
        ops,
        levels,
        make,
        count,
        make_entry,
        count_entry,
        shape,
        left,
        right,
        sites,
        returns,
    };

    let start = prologue(&mut e.ops);
    // Registers of the main function: the long-lived tree, passes left, the sum; the window is at 5.
    dynasm!(e.ops
        ; .arch x64
        ; mov [r13 + SLOT], rdx
        ; mov QWORD [r13 + SLOT + 8], INT as i32
        ; mov QWORD [r13 + 2 * SLOT + 8], INT as i32
        ; mov QWORD [r13 + 2 * SLOT], 0
        ; mov rdi, [r13]
    );
    let main_call = |e: &mut Emitter, function: Gc<Closure>, entry| {
        e.call(main, 0, function, entry, 5);
    };
    main_call(&mut e, count, count_entry);
    dynasm!(e.ops ; .arch x64 ; mov [r13 + 2 * SLOT], rax ; ->pass: ; mov edi, DEPTH);
    main_call(&mut e, make, make_entry);
    dynasm!(e.ops ; .arch x64 ; mov rdi, rax);
    main_call(&mut e, count, count_entry);
    dynasm!(e.ops
        ; .arch x64
        ; add [r13 + 2 * SLOT], rax
        ; dec QWORD [r13 + SLOT]
        ; jnz ->pass
        ; mov rax, [r13 + 2 * SLOT]
        ; jmp ->finish
    );
    e.entry(make, make_entry, INT);
    e.make(0, 0);
    e.returns();
    e.entry(count, count_entry, TABLE);
    e.count(0, 0);
    e.returns();
    let helper = |ops: &mut Assembler, f: i64| {
        dynasm!(ops ; .arch x64 ; mov [r14 + RECORD], r15 ; mov rdi, r14 ; mov rax, QWORD f ; call rax);
    };
    dynasm!(e.ops ; .arch x64 ; ->alloc: ; push rdi ; mov esi, NODE as i32);
    helper(&mut e.ops, alloc_slow as *const () as i64);
    dynasm!(e.ops
        ; .arch x64
        ; pop rdi
        ; test rax, rax
        ; jz >failed
        ; ret
        ; failed:
        ; add rsp, 8
        ; jmp ->exit
        ; ->barrier:
        ; push rax
        ; push rcx
        ; sub rsp, 8
        ; mov rsi, rcx
    );
    helper(&mut e.ops, barrier as *const () as i64);
    dynasm!(e.ops ; .arch x64 ; add rsp, 8 ; pop rcx ; pop rax ; ret ; ->poll: ; sub rsp, 8);
    helper(&mut e.ops, collect as *const () as i64);
    dynasm!(e.ops ; .arch x64 ; add rsp, 8 ; ret ; ->finish:);
    epilogue(&mut e.ops);
    let Emitter {
        ops,
        sites,
        returns,
        ..
    } = e;
    let code = Code::new(ops, start).returning(sites, returns);
    Kernel {
        name,
        source: include_str!("../lua/trees.lua"),
        operation: "node",
        argument: N,
        operations: N as f64 * ((2 << DEPTH) - 1) as f64,
        run: Box::new(move |n| {
            let cycles = vm.st.rt.heap.stats().cycles;
            let nodes = code.run(&mut vm, n) as i64 as f64;
            assert!(
                vm.st.rt.heap.stats().cycles > cycles,
                "a run completes collections"
            );
            nodes
        }),
    }
}

pub fn kernels() -> Vec<Kernel> {
    vec![
        kernel("trees, no inlining", 1),
        kernel("trees, 2 levels", 2),
        kernel("trees, 3 levels", 3),
    ]
}
