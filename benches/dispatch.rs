//! The experiment behind the form of the dispatch loop: the same small bytecode, executed by a `match` in a loop, by
//! handlers called from a loop, and by handlers that end in calls of each other, which the optimizer turns into jumps.
//!
//! The program counts the steps of Collatz sequences; its instructions are as wide as perilune's and its values
//! as large.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

#[derive(Clone, Copy)]
#[repr(u8)]
enum Op {
    LoadI,
    Move,
    AddK,
    MulK,
    DivK2,
    JumpOdd,
    JumpNe1,
    ForLoop,
    Jump,
    Halt,
}

fn instr(op: Op, a: u8, b: u8, d: i32) -> u64 {
    op as u64 | (a as u64) << 8 | (b as u64) << 16 | (d as u32 as u64) << 32
}

/// `R[1]` counts the steps of all sequences from `n` down to 1.
fn program(n: i32) -> Vec<u64> {
    vec![
        instr(Op::LoadI, 0, 0, n),
        instr(Op::LoadI, 1, 0, 0),
        // outer:
        instr(Op::Move, 2, 0, 0),
        instr(Op::Jump, 0, 0, 6),
        // step:
        instr(Op::JumpOdd, 2, 0, 2),
        instr(Op::DivK2, 2, 2, 0),
        instr(Op::Jump, 0, 0, 2),
        // odd:
        instr(Op::MulK, 2, 2, 3),
        instr(Op::AddK, 2, 2, 1),
        // count:
        instr(Op::AddK, 1, 1, 1),
        // test:
        instr(Op::JumpNe1, 2, 0, -7),
        instr(Op::ForLoop, 0, 0, -10),
        instr(Op::Halt, 0, 0, 0),
    ]
}

type Reg = (i64, u64);
const INT: u64 = 3;

fn a(i: u64) -> usize {
    (i >> 8) as u8 as usize
}
fn b(i: u64) -> usize {
    (i >> 16) as u8 as usize
}
fn d(i: u64) -> i64 {
    (i >> 32) as i32 as i64
}

fn run_match(code: &[u64], regs: &mut [Reg; 4]) -> i64 {
    let mut pc = 0usize;
    loop {
        let i = code[pc];
        pc += 1;
        macro_rules! jump {
            () => {
                pc = (pc as i64 + d(i)) as usize
            };
        }
        match i as u8 {
            x if x == Op::LoadI as u8 => regs[a(i) & 3] = (d(i), INT),
            x if x == Op::Move as u8 => regs[a(i) & 3] = regs[b(i) & 3],
            x if x == Op::AddK as u8 => {
                let (v, t) = regs[b(i) & 3];
                if t != INT {
                    return -1;
                }
                regs[a(i) & 3] = (v.wrapping_add(d(i)), INT);
            }
            x if x == Op::MulK as u8 => {
                let (v, t) = regs[b(i) & 3];
                if t != INT {
                    return -1;
                }
                regs[a(i) & 3] = (v.wrapping_mul(d(i)), INT);
            }
            x if x == Op::DivK2 as u8 => {
                let (v, t) = regs[b(i) & 3];
                if t != INT {
                    return -1;
                }
                regs[a(i) & 3] = (v >> 1, INT);
            }
            x if x == Op::JumpOdd as u8 => {
                if regs[a(i) & 3].0 & 1 != 0 {
                    jump!();
                }
            }
            x if x == Op::JumpNe1 as u8 => {
                if regs[a(i) & 3].0 != 1 {
                    jump!();
                }
            }
            x if x == Op::ForLoop as u8 => {
                let r = &mut regs[a(i) & 3];
                r.0 -= 1;
                if r.0 > 0 {
                    jump!();
                }
            }
            x if x == Op::Jump as u8 => jump!(),
            _ => return regs[1].0,
        }
    }
}

struct Machine<'a> {
    code: &'a [u64],
    regs: [Reg; 4],
    failed: bool,
}

/// A handler returns the next program counter, or `usize::MAX` to stop.
type Handler = fn(&mut Machine<'_>, u64, usize) -> usize;

fn k(m: &mut Machine<'_>, i: u64, pc: usize, f: impl Fn(i64, i64) -> i64) -> usize {
    let (v, t) = m.regs[b(i) & 3];
    if t != INT {
        m.failed = true;
        return usize::MAX;
    }
    m.regs[a(i) & 3] = (f(v, d(i)), INT);
    pc
}

fn target(i: u64, pc: usize, taken: bool) -> usize {
    if taken {
        (pc as i64 + d(i)) as usize
    } else {
        pc
    }
}

const HANDLERS: [Handler; 10] = [
    |m, i, pc| {
        m.regs[a(i) & 3] = (d(i), INT);
        pc
    },
    |m, i, pc| {
        m.regs[a(i) & 3] = m.regs[b(i) & 3];
        pc
    },
    |m, i, pc| k(m, i, pc, i64::wrapping_add),
    |m, i, pc| k(m, i, pc, i64::wrapping_mul),
    |m, i, pc| k(m, i, pc, |v, _| v >> 1),
    |m, i, pc| target(i, pc, m.regs[a(i) & 3].0 & 1 != 0),
    |m, i, pc| target(i, pc, m.regs[a(i) & 3].0 != 1),
    |m, i, pc| {
        let r = &mut m.regs[a(i) & 3];
        r.0 -= 1;
        let taken = r.0 > 0;
        target(i, pc, taken)
    },
    |_, i, pc| target(i, pc, true),
    |_, _, _| usize::MAX,
];

fn run_handlers(code: &[u64]) -> i64 {
    let mut m = Machine {
        code,
        regs: [(0, INT); 4],
        failed: false,
    };
    let mut pc = 0;
    while pc != usize::MAX {
        let i = m.code[pc];
        pc = HANDLERS[i as u8 as usize](&mut m, i, pc + 1);
    }
    if m.failed { -1 } else { m.regs[1].0 }
}

type Threaded = fn(&[u64], usize, &mut [Reg; 4]) -> i64;

macro_rules! threaded {
    ($($name:ident($i:ident, $pc:ident, $regs:ident) $body:block)*) => {$(
        fn $name(code: &[u64], at: usize, $regs: &mut [Reg; 4]) -> i64 {
            let $i = code[at];
            let $pc = at + 1;
            let next: usize = $body;
            THREADED[code[next] as u8 as usize](code, next, $regs)
        }
    )*};
}

macro_rules! int {
    ($regs:ident, $i:ident) => {{
        let (v, t) = $regs[b($i) & 3];
        if t != INT {
            return -1;
        }
        v
    }};
}

threaded! {
    t_loadi(i, pc, regs) { regs[a(i) & 3] = (d(i), INT); pc }
    t_move(i, pc, regs) { regs[a(i) & 3] = regs[b(i) & 3]; pc }
    t_addk(i, pc, regs) { let v = int!(regs, i); regs[a(i) & 3] = (v.wrapping_add(d(i)), INT); pc }
    t_mulk(i, pc, regs) { let v = int!(regs, i); regs[a(i) & 3] = (v.wrapping_mul(d(i)), INT); pc }
    t_divk(i, pc, regs) { let v = int!(regs, i); regs[a(i) & 3] = (v >> 1, INT); pc }
    t_jodd(i, pc, regs) { target(i, pc, regs[a(i) & 3].0 & 1 != 0) }
    t_jne(i, pc, regs) { target(i, pc, regs[a(i) & 3].0 != 1) }
    t_for(i, pc, regs) { regs[a(i) & 3].0 -= 1; target(i, pc, regs[a(i) & 3].0 > 0) }
    t_jump(i, pc, _regs) { target(i, pc, true) }
}

fn t_halt(_: &[u64], _: usize, regs: &mut [Reg; 4]) -> i64 {
    regs[1].0
}

const THREADED: [Threaded; 10] = [
    t_loadi, t_move, t_addk, t_mulk, t_divk, t_jodd, t_jne, t_for, t_jump, t_halt,
];

fn bench(c: &mut Criterion) {
    let code = program(200);
    let expected = run_match(&code, &mut [(0, INT); 4]);
    assert_eq!(run_handlers(&code), expected);
    let mut group = c.benchmark_group("dispatch");
    group.bench_function("match in a loop", |x| {
        x.iter(|| black_box(run_match(black_box(&code), &mut [(0, INT); 4])))
    });
    group.bench_function("handlers called from a loop", |x| {
        x.iter(|| black_box(run_handlers(black_box(&code))))
    });
    // Without optimization nothing turns the calls into jumps, and the stack would overflow.
    if !cfg!(debug_assertions) {
        group.bench_function("handlers that call each other", |x| {
            x.iter(|| black_box(t_loadi(black_box(&code), 0, &mut [(0, INT); 4])))
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
