//! Loops that are too short to be loops in compiled code.
//!
//! A numeric loop whose start, limit and step are small constants, with few passes of few instructions, is followed pass by
//! pass by what records the loop or function around it: then its variable is a constant in each pass, and nothing goes
//! in and out of a loop of its own. Branches would double the ways through it with each pass, so those that its variables do not
//! decide are not allowed, and calls count for as much as what they may hide.

use perilune_uops::Role;

use super::{Instr, Op};

/// The most passes of such a loop.
const PASSES_MAX: i64 = 8;
/// The most instructions of all its passes together.
const INSTRUCTIONS_MAX: u32 = 192;
/// The instructions that a call counts for.
const CALL: u32 = 48;

/// The loop sites of such loops in a function's code. Without the memory to find out, there are none.
pub fn unrolled_loops(code: &[Instr]) -> impl Iterator<Item = usize> + '_ {
    let candidates = || {
        code.iter()
            .enumerate()
            .filter_map(|(at, instr)| Some((at, instr, passes(code, at)?)))
    };
    // How much each instruction counts for in what is recorded of the loops around it that are such loops.
    let mut weights: Vec<u32> = Vec::new();
    let possible = candidates().next().is_none() || weights.try_reserve_exact(code.len()).is_ok();
    let decided = move |at: usize, register: usize| {
        candidates()
            .any(|(end, instr, (head, _))| (head..end).contains(&at) && register == instr.a() + 3)
    };
    let loops = move |(at, instr): (usize, &Instr)| {
        let Some((head, passes)) = passes(code, at) else {
            weights.push(weight(at, *instr, decided));
            return None;
        };
        weights.push(1);
        let once: u32 = weights[head..].iter().sum();
        if once * passes > INSTRUCTIONS_MAX {
            // Neither is a loop around it.
            weights[at] = INSTRUCTIONS_MAX + 1;
            return None;
        }
        weights[head..]
            .iter_mut()
            .for_each(|weight| *weight *= passes);
        Some(instr.bc() as usize)
    };
    let none = candidates().next().is_none() || !possible;
    code.iter()
        .enumerate()
        .take_while(move |_| !none)
        .filter_map(loops)
}

/// What an instruction counts for that does not end such a loop. `decided` says whether a register has the variable of one.
fn weight(at: usize, instr: Instr, decided: impl Fn(usize, usize) -> bool) -> u32 {
    let op = instr.op().general();
    let format = op.format();
    let operands = [
        (format.a, instr.a()),
        (format.b, instr.b()),
        (format.c, instr.c()),
    ];
    let mut used = operands.into_iter().filter(|(role, _)| *role == Role::Use);
    match op {
        Op::LOOP | Op::FORLOOP | Op::TFORLOOP => INSTRUCTIONS_MAX + 1,
        Op::CALL | Op::TFORCALL => CALL,
        _ if op.is_conditional() && !used.all(|(_, register)| decided(at, register)) => {
            INSTRUCTIONS_MAX + 1
        }
        _ => 1,
    }
}

/// Where the body of the loop begins that ends at `at`, and its passes, if it is short and constants say that they are few.
fn passes(code: &[Instr], at: usize) -> Option<(usize, u32)> {
    if code[at].op().general() != Op::FORLOOP {
        return None;
    }
    let a = code[at].a();
    let head = usize::try_from(at as i64 + 1 + code[at].sd() as i64).ok()?;
    at.checked_sub(head)
        .filter(|body| *body < INSTRUCTIONS_MAX as usize)?;
    let before = code.get(head.checked_sub(4)?..head)?;
    let prepares = before[3].op().general() == Op::FORPREP && before[3].a() == a;
    let constant = |k: usize| {
        let instr = before[k];
        (instr.op() == Op::LOADI && instr.a() == a + k).then(|| instr.sd() as i64)
    };
    let (start, limit, step) = (constant(0)?, constant(1)?, constant(2)?);
    let passes = (limit - start).checked_div(step)? + 1;
    (prepares && (1..=PASSES_MAX).contains(&passes)).then_some((head, passes as u32))
}

#[cfg(test)]
mod tests {
    use super::unrolled_loops;
    use crate::lua::codegen::compile;
    use crate::runtime::Runtime;

    /// How many loops of the main chunk are such loops.
    fn unrolled(source: &str) -> usize {
        let mut rt = Runtime::new().expect("memory suffices");
        let proto =
            compile(&mut rt, None, source.as_bytes(), b"=t", 0).expect("the source is correct");
        unrolled_loops(&proto.info.code).count()
    }

    #[test]
    fn short_loops_with_constant_bounds() {
        assert_eq!(unrolled("for i = 1, 3 do print(i) end"), 1);
        assert_eq!(unrolled("for i = 3, 1, -1 do print(i) end"), 1);
        assert_eq!(
            unrolled("for i = -1, 1 do for j = 0, 2 do x = x + t[i + j] end end"),
            2
        );
        assert_eq!(
            unrolled(
                "for i = -1, 1 do for j = -1, 1 do if not (i == 0 and j == 0) then x = x + t[i] end end end"
            ),
            2
        );
    }

    #[test]
    fn others() {
        assert_eq!(unrolled("for i = 1, 9 do print(i) end"), 0);
        assert_eq!(unrolled("for i = 1, 0 do print(i) end"), 0);
        assert_eq!(unrolled("local n = 3 for i = 1, n do print(i) end"), 0);
        assert_eq!(
            unrolled("for i = 1, 3 do for k in pairs({}) do print(k) end end"),
            0
        );
        assert_eq!(unrolled("for i = 1, 3 do while f() do end end"), 0);
        assert_eq!(unrolled("for i = 1, 3 do if x then print(i) end end"), 0);
        assert_eq!(unrolled("for i = 1, 5 do print(i) end"), 0);
        assert_eq!(
            unrolled("for i = 1, 8 do for j = 1, 8 do for k = 1, 8 do x = x + k end end end"),
            1
        );
        let long = "print(i) ".repeat(60);
        assert_eq!(unrolled(&format!("for i = 1, 4 do {long} end")), 0);
    }
}
