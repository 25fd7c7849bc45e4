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

/// A numeric loop with few passes.
struct Candidate {
    /// Where its body begins and ends.
    head: usize,
    end: usize,
    passes: u32,
    /// The register of its variable.
    variable: usize,
    site: usize,
}

/// The loop sites of such loops in a function's code, which may be wrong in any way. Without the memory to find out, there are none.
pub fn unrolled_loops(code: &[Instr]) -> Vec<usize> {
    let known = code
        .iter()
        .all(|instr| (instr.opcode() as usize) < Op::ALL.len());
    let candidates = if known { candidates(code) } else { None };
    candidates
        .and_then(|loops| short_ones(code, &loops))
        .unwrap_or_default()
}

/// The candidates in a function's code, in the order of their ends; `None` without memory.
fn candidates(code: &[Instr]) -> Option<Vec<Candidate>> {
    let mut found = Vec::new();
    for end in 0..code.len() {
        if let Some(candidate) = candidate(code, end) {
            found.try_reserve(1).ok()?;
            found.push(candidate);
        }
    }
    Some(found)
}

/// The sites of the candidates of which all passes together are short enough.
fn short_ones(code: &[Instr], candidates: &[Candidate]) -> Option<Vec<usize>> {
    let mut sites = Vec::new();
    if candidates.is_empty() {
        return Some(sites);
    }
    sites.try_reserve_exact(candidates.len()).ok()?;
    // How much each instruction counts for in what is recorded of the loops around it that are such loops.
    let mut weights: Vec<u32> = Vec::new();
    weights.try_reserve_exact(code.len()).ok()?;
    let mut next = candidates.iter().peekable();
    for (at, &instr) in code.iter().enumerate() {
        let Some(ended) = next.next_if(|candidate| candidate.end == at) else {
            weights.push(weight(at, instr, candidates));
            continue;
        };
        weights.push(1);
        let body = &mut weights[ended.head..];
        if body.iter().sum::<u32>() * ended.passes <= INSTRUCTIONS_MAX {
            body.iter_mut().for_each(|weight| *weight *= ended.passes);
            sites.push(ended.site);
        } else {
            // Neither is a loop around it.
            weights[at] = INSTRUCTIONS_MAX + 1;
        }
    }
    Some(sites)
}

/// What an instruction counts for that does not end a candidate.
fn weight(at: usize, instr: Instr, candidates: &[Candidate]) -> u32 {
    // Bodies are short, so those around the instruction end soon.
    let first = candidates.partition_point(|candidate| candidate.end < at);
    let near = candidates[first..]
        .iter()
        .take_while(|candidate| candidate.end - at < INSTRUCTIONS_MAX as usize);
    let around = near.filter(|candidate| candidate.head <= at);
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
        _ if op.is_conditional()
            && !used.all(|(_, register)| around.clone().any(|c| c.variable == register)) =>
        {
            INSTRUCTIONS_MAX + 1
        }
        _ => 1,
    }
}

/// The loop that ends at `end`, if it is short and constants say that its passes are few.
fn candidate(code: &[Instr], end: usize) -> Option<Candidate> {
    let instr = code[end];
    if instr.op().general() != Op::FORLOOP {
        return None;
    }
    let a = instr.a();
    let head = usize::try_from(end as i64 + 1 + instr.sd() as i64).ok()?;
    end.checked_sub(head)
        .filter(|body| *body < INSTRUCTIONS_MAX as usize)?;
    let before = code.get(head.checked_sub(4)?..head)?;
    let prepares = before[3].op().general() == Op::FORPREP && before[3].a() == a;
    let constant = |k: usize| {
        let instr = before[k];
        (instr.op() == Op::LOADI && instr.a() == a + k).then(|| instr.sd() as i64)
    };
    let (start, limit, step) = (constant(0)?, constant(1)?, constant(2)?);
    let passes = (limit - start).checked_div(step)? + 1;
    let few = prepares && (1..=PASSES_MAX).contains(&passes);
    few.then_some(Candidate {
        head,
        end,
        passes: passes as u32,
        variable: a + 3,
        site: instr.bc() as usize,
    })
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
        unrolled_loops(&proto.info.code).len()
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
