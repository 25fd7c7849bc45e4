//! A generator: resuming and yielding as machine code, projected into the consumer's loop.
//!
//! Each switch does all that the interpreter's does: the host functions' records are pushed and popped on both
//! coroutines, statuses and the chain of resumers are kept, and the state's fields are exchanged. What a resumed
//! coroutine goes on with is guarded by the return site in its last record. The value travels in a register.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use perilune::bytecode::cache::LoopSite;
use perilune::runtime::coroutine::{CallRecord, Continuation, Coroutine, Status, record_flags};
use perilune::runtime::function::{Closure, Native};
use perilune::runtime::object::{Gc, Kind};
use perilune::runtime::value::Value;
use perilune::tier1::coroutine::ResumeKind;
use perilune::tier1::state::{NATIVE_DEPTH_MAX, STACK_SLACK};
use perilune::tier1::{Args, Builtin, NativeFn, NativeResult, State};

use crate::Kernel;
use crate::vm::*;

const N: i64 = 500_000;

const RDX: u8 = 2;
const RBX: u8 = 3;

/// What a host function's record has for results wanted, continuation and flags.
const NATIVE_CALL: i32 = ONE_RESULT | ((record_flags::NATIVE | record_flags::WRAPS) as i32) << 24;

/// Registers of the main function: iterator and sum; the iterator is called with its window at 4.
const ITERATOR: i32 = 0;
const SUM: i32 = SLOT;
const ITERATOR_WINDOW: i32 = 4;
/// Registers of the generator: its argument and the loop's variable; `yield` has its window at 4.
const LIMIT: i32 = 0;
const INDEX: i32 = SLOT;
const YIELD_WINDOW: i32 = 4;

/// `coroutine.yield`.
fn yield_native(st: &mut State, args: Args) -> NativeResult {
    st.yield_values(args)
}

/// What `coroutine.wrap` makes.
fn wrap_native(st: &mut State, args: Args) -> NativeResult {
    // SAFETY: a host function lies below its window.
    let function = unsafe { Value::load(st.slot(args.base - 1)) };
    let co = function
        .as_native()
        .and_then(|f| f.upvalue(0).as_coroutine());
    st.resume(
        co.expect("the coroutine"),
        args.base,
        args.count,
        ResumeKind::Wrapped,
    )
}

fn native(vm: &mut Vm, func: NativeFn, upvalues: &[Value]) -> Gc<Native> {
    let p = vm
        .st
        .rt
        .heap
        .alloc(Native::size(upvalues.len()))
        .expect("memory for a function")
        .cast::<Native>();
    // SAFETY: the cell is fresh and large enough.
    let native = unsafe {
        p.write(Native {
            barrier: 0.into(),
            kind: Kind::Native,
            upvalue_count: upvalues.len() as u8,
            builtin: Builtin::Other,
            spare: 0,
            func,
        });
        Gc::from_ptr(p)
    };
    for (i, &v) in upvalues.iter().enumerate() {
        native.set_upvalue(i, v);
    }
    native
}

/// A coroutine that is about to enter the generator's body, with `n` as its argument.
fn coroutine(
    vm: &mut Vm,
    bodies: [Gc<Closure>; 2],
    start: *const LoopSite,
    n: i64,
) -> Gc<Coroutine> {
    let st = &mut vm.st;
    let co = State::new_coroutine(&mut st.rt).expect("memory for a coroutine");
    let main = st.co;
    st.leave_coroutine();
    st.enter_coroutine(co);
    for (i, body) in bodies.into_iter().enumerate() {
        let base = 2 + 4 * i as u32;
        let record = CallRecord {
            pc: body.proto.code,
            return_site: start,
            base,
            top: base + body.proto.registers,
            flags: 0,
            continuation: [Continuation::Coroutine, Continuation::Call][i],
            ..CallRecord::bottom()
        };
        st.push_record(record).expect("memory for call records");
        // SAFETY: a fresh stack is larger than that.
        unsafe { Value::store(st.slot(base - 1), Value::closure(body)) };
    }
    st.top = st.slot(st.frame().top);
    // SAFETY: as above.
    unsafe {
        Value::store(st.slot(st.frame().base), Value::int(n));
        Value::store(st.slot(st.frame().base + 1), Value::int(0));
    }
    st.leave_coroutine();
    co.status.set(Status::Suspended);
    st.enter_coroutine(main);
    co
}

/// Writes the record in `r15` of a host function called with its window at `window`; `eax` is its base afterwards.
/// Uses `rcx`.
fn native_record(ops: &mut Assembler, caller: Gc<Closure>, window: i32, site: i64) {
    dynasm!(ops
        ; .arch x64
        ; mov rcx, QWORD caller.proto.code as i64 + 8
        ; mov [r15 + RECORD_PC], rcx
        ; mov eax, [r15 + RECORD_BASE]
        ; add r15, RECORD_SIZE
        ; cmp r15, [r14 + RECORDS_END]
        ; jae ->exit
        ; mov rcx, QWORD site
        ; mov QWORD [r15 + RECORD_PC], 0
        ; mov [r15 + RECORD_RETURN_SITE], rcx
        ; mov QWORD [r15 + RECORD_THEN], 0
        ; add eax, window
        ; mov [r15 + RECORD_BASE], eax
        ; mov [r15 + RECORD_TOP], eax
        ; mov DWORD [r15 + RECORD_EXTRA], 0
        ; mov DWORD [r15 + RECORD_WANTED], NATIVE_CALL
        ; mov QWORD [r15 + RECORD_AUX], 0
    );
}

/// How a coroutine that does not run keeps its place.
#[derive(Clone, Copy, PartialEq)]
enum Saved {
    /// As [`Coroutine`] does: counts, from which entering computes pointers.
    Counts,
    /// An alternative: as the pointers that the state needs, here in blocks beside the coroutines: record, top, stack, its
    /// limit and the records' end, the last three written only when a stack moves.
    Pointers,
}

/// The block of [`Saved::Pointers`].
type Place = [*const u8; 5];

/// Where the machine code finds a coroutine: its register, and its block.
#[derive(Clone, Copy)]
struct Switched {
    co: u8,
    block: *mut Place,
}

/// Writes record, the top (whose index is in `eax`) and a status back to a coroutine. Uses `rcx`.
fn leave(ops: &mut Assembler, saved: Saved, of: Switched, window: i32, status: Status) {
    let co = of.co;
    if saved == Saved::Pointers {
        dynasm!(ops
            ; .arch x64
            ; mov rcx, QWORD of.block as i64
            ; mov [rcx], r15
            ; lea r8, [r13 + window * SLOT]
            ; mov [rcx + 8], r8
            ; mov BYTE [Rq(co) + CO_STATUS], status as i8
        );
        return;
    }
    // A third of the distance, modulo 2^32.
    const THIRD: i32 = 0xAAAA_AAABu32 as i32;
    dynasm!(ops
        ; .arch x64
        ; mov rcx, r15
        ; sub rcx, [Rq(co) + CO_RECORDS]
        ; shr rcx, 4
        ; imul ecx, ecx, THIRD
        ; inc ecx
        ; mov [Rq(co) + CO_DEPTH], ecx
        ; mov [Rq(co) + CO_TOP], eax
        ; mov BYTE [Rq(co) + CO_STATUS], status as i8
    );
}

/// Makes the coroutine in register `co` the running one: its record in `r15`, its stack in `rcx`. Uses `rsi`.
fn enter(ops: &mut Assembler, saved: Saved, of: Switched) {
    let co = of.co;
    if saved == Saved::Pointers {
        dynasm!(ops
            ; .arch x64
            ; mov r8, QWORD of.block as i64
            ; mov [r14 + CURRENT], Rq(co)
            ; mov r15, [r8]
            ; mov rsi, [r8 + 8]
            ; mov [r14 + TOP], rsi
            ; mov rcx, [r8 + 16]
            ; mov [r14 + STACK], rcx
            ; mov rsi, [r8 + 24]
            ; mov [r14 + STACK_LIMIT], rsi
            ; mov rsi, [r8 + 32]
            ; mov [r14 + RECORDS_END], rsi
            ; mov BYTE [Rq(co) + CO_STATUS], Status::Running as i8
        );
        return;
    }
    dynasm!(ops
        ; .arch x64
        ; mov [r14 + CURRENT], Rq(co)
        ; mov rcx, [Rq(co) + CO_STACK]
        ; mov [r14 + STACK], rcx
        ; mov esi, [Rq(co) + CO_STACK_SIZE]
        ; shl rsi, 4
        ; lea rsi, [rcx + rsi - STACK_SLACK as i32 * SLOT]
        ; mov [r14 + STACK_LIMIT], rsi
        ; mov esi, [Rq(co) + CO_TOP]
        ; shl rsi, 4
        ; add rsi, rcx
        ; mov [r14 + TOP], rsi
        ; mov esi, [Rq(co) + CO_RECORDS_SIZE]
        ; lea rsi, [rsi + rsi * 2]
        ; shl rsi, 4
        ; add rsi, [Rq(co) + CO_RECORDS]
        ; mov [r14 + RECORDS_END], rsi
        ; mov r15d, [Rq(co) + CO_DEPTH]
        ; lea r15, [r15 + r15 * 2]
        ; shl r15, 4
        ; add r15, [Rq(co) + CO_RECORDS]
        ; sub r15, RECORD_SIZE
        ; mov BYTE [Rq(co) + CO_STATUS], Status::Running as i8
    );
}

/// Drops a host function's record and finds its caller's base; the stack is in `rcx`. Uses `rsi`.
fn pop(ops: &mut Assembler) {
    dynasm!(ops
        ; .arch x64
        ; sub r15, RECORD_SIZE
        ; mov esi, [r15 + RECORD_BASE]
        ; shl rsi, 4
        ; lea r13, [rcx + rsi]
    );
}

/// The block of the running coroutine.
fn place(st: &State) -> Place {
    [
        st.record as *const u8,
        st.top as *const u8,
        st.stack as *const u8,
        st.stack_limit as *const u8,
        st.records_end as *const u8,
    ]
}

fn kernel(name: &'static str, saved: Saved) -> Kernel {
    let mut vm = Vm::new();
    let mut places: Box<[Place; 2]> = Box::new([[std::ptr::null(); 5]; 2]);
    let consumer = Switched {
        co: RDX,
        block: &raw mut places[0],
    };
    let producer = Switched {
        co: RBX,
        block: &raw mut places[1],
    };
    let main = vm.closure(1, 8, &[2]);
    vm.enter(main);
    let bodies = [vm.closure(0, 4, &[4]), vm.closure(1, 8, &[4])];
    let generator = bodies[1];
    let yield_function = native(&mut vm, yield_native, &[]);
    // A constant of the machine code, which leaves it in the generator's frame.
    vm.st.handles.insert(Value::native(yield_function));
    let sites = return_sites(3);
    let site = |i: usize| &raw const sites[i].returns;
    let (wrap_site, yield_site, start_site) = (site(0) as i64, site(1) as i64, site(2) as i64);
    let start_cell = site(2);

    let mut ops = Assembler::new().expect("memory for code");
    let start = prologue(&mut ops);
    dynasm!(ops
        ; .arch x64
        // rbx: the coroutine, r12: sum.
        ; cmp BYTE [r13 + ITERATOR + 8], NATIVE
        ; jne ->exit
        ; mov rdi, [r13 + ITERATOR]
        ; mov rax, QWORD wrap_native as *const () as i64
        ; cmp [rdi + NATIVE_FUNC], rax
        ; jne ->exit
        ; mov rbx, [rdi + size_of::<Native>() as i32]
        ; mov r12, [r13 + SUM]

        ; ->next:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        // Call the iterator.
        ; mov rax, [r13 + ITERATOR]
        ; mov [r13 + (ITERATOR_WINDOW - 1) * SLOT], rax
        ; mov QWORD [r13 + (ITERATOR_WINDOW - 1) * SLOT + 8], NATIVE as i32
    );
    native_record(&mut ops, main, ITERATOR_WINDOW, wrap_site);
    dynasm!(ops
        ; .arch x64
        // Resume.
        ; cmp BYTE [rbx + CO_STATUS], Status::Suspended as i8
        ; jne ->exit
        ; cmp DWORD [r14 + NATIVE_DEPTH], NATIVE_DEPTH_MAX as i32
        ; jae ->exit
        ; inc DWORD [r14 + NATIVE_DEPTH]
        ; mov rdx, [r14 + CURRENT]
    );
    leave(&mut ops, saved, consumer, ITERATOR_WINDOW, Status::Normal);
    dynasm!(ops ; .arch x64 ; mov [rbx + CO_RESUMER], rdx);
    enter(&mut ops, saved, producer);
    dynasm!(ops
        ; .arch x64
        ; mov rdx, QWORD yield_site
        ; cmp [r15 + RECORD_RETURN_SITE], rdx
        ; jne ->begin
        // In the generator, behind its yield.
    );
    pop(&mut ops);
    let resumed = ops.offset();
    dynasm!(ops
        ; .arch x64
        ; cmp BYTE [r13 + LIMIT + 8], INT
        ; jne ->exit
        ; cmp BYTE [r13 + INDEX + 8], INT
        ; jne ->exit
        ; mov rdi, [r13 + INDEX]
        ; ->begun:
        ; cmp DWORD [r14 + INTERRUPT], 0
        ; jne ->exit
        ; inc rdi
        ; cmp rdi, [r13 + LIMIT]
        ; jg ->finished
        ; mov [r13 + INDEX], rdi
        // Yield.
        ; mov rax, QWORD yield_function.addr() as i64
        ; mov [r13 + (YIELD_WINDOW - 1) * SLOT], rax
        ; mov QWORD [r13 + (YIELD_WINDOW - 1) * SLOT + 8], NATIVE as i32
        ; mov [r13 + YIELD_WINDOW * SLOT], rdi
        ; mov QWORD [r13 + YIELD_WINDOW * SLOT + 8], INT as i32
        ; cmp DWORD [rbx + CO_NON_YIELDABLE], 0
        ; jne ->exit
        ; mov rdx, [rbx + CO_RESUMER]
        ; test rdx, rdx
        ; jz ->exit
    );
    native_record(&mut ops, generator, YIELD_WINDOW, yield_site);
    leave(&mut ops, saved, producer, YIELD_WINDOW, Status::Suspended);
    dynasm!(ops ; .arch x64 ; mov QWORD [rbx + CO_RESUMER], 0 ; dec DWORD [r14 + NATIVE_DEPTH]);
    enter(&mut ops, saved, consumer);
    dynasm!(ops
        ; .arch x64
        ; mov rdx, QWORD wrap_site
        ; cmp [r15 + RECORD_RETURN_SITE], rdx
        ; jne ->exit
    );
    pop(&mut ops);
    let returned = ops.offset();
    dynasm!(ops
        ; .arch x64
        // In the loop's body, with the value in rdi.
        ; add r12, rdi
        ; mov [r13 + SUM], r12
        ; jmp ->next

        // The first resumption.
        ; ->begin:
        ; mov rdx, QWORD start_site
        ; cmp [r15 + RECORD_RETURN_SITE], rdx
        ; jne ->exit
        ; mov esi, [r15 + RECORD_BASE]
        ; shl rsi, 4
        ; lea r13, [rcx + rsi]
        ; xor edi, edi
        ; jmp ->begun

        // The generator has returned: the coroutine ends.
        ; ->finished:
        ; mov rdx, [rbx + CO_RESUMER]
        ; mov r15, [rbx + CO_RECORDS]
        ; mov eax, 1
    );
    leave(&mut ops, saved, producer, 0, Status::Dead);
    dynasm!(ops ; .arch x64 ; mov QWORD [rbx + CO_RESUMER], 0 ; dec DWORD [r14 + NATIVE_DEPTH]);
    enter(&mut ops, saved, consumer);
    pop(&mut ops);
    dynasm!(ops ; .arch x64 ; mov rax, r12);
    epilogue(&mut ops);
    let code = Code::new(ops, start).returning(sites, [returned, resumed]);
    Kernel {
        name,
        source: include_str!("../lua/generator.lua"),
        operation: "value",
        argument: N,
        operations: N as f64,
        run: Box::new(move |n| {
            let co = coroutine(&mut vm, bodies, start_cell, n);
            let main = vm.st.co;
            vm.st.enter_coroutine(co);
            places[1] = place(&vm.st);
            vm.st.enter_coroutine(main);
            places[0] = place(&vm.st);
            co.status.set(Status::Suspended);
            let iterator = native(&mut vm, wrap_native, &[Value::coroutine(co)]);
            // SAFETY: the running function has the registers.
            unsafe {
                Value::store(vm.register(0), Value::native(iterator));
                Value::store(vm.register(1), Value::int(0));
            }
            code.run(&mut vm, n) as i64 as f64
        }),
    }
}

pub fn kernels() -> Vec<Kernel> {
    vec![
        kernel("generator", Saved::Counts),
        kernel("generator, saved pointers", Saved::Pointers),
    ]
}
