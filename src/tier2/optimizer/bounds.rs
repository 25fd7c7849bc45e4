//! Array bounds: what a counting loop's indices are checked for in each pass is checked once, before it.
//!
//! In pass `k` of a numeric loop, from 0, the index is `first + k * step`, and `count - k` passes are to come; the loop is left when none
//! is. So what indices plus constants are in bounds for the first pass and for the last one is in bounds in between, as long as
//! nothing shortens the array and the last index is what it seems to be: with less than 2^32 passes and steps of
//! less than 2^30 nothing wraps around. What is made before the loop may be added to an index, too, or subtracted: wherever that leads,
//! the indices of the first pass and of the last one are as far from each other.
//!
//! The loop may be left before it has come to its last pass, so the check may fail although none of those in the loop would have. Then
//! control leaves at the head of the loop, and what begins there keeps its checks ([`Superblock::keeps_bounds`]).

use perilune_uops::{MicroOp, Type};
use smallvec::SmallVec;

use super::alias::Aliases;
use crate::tier2::superblock::{Counter, Node, Ref, Rewriter, Superblock};

/// The most passes, the greatest step, and the greatest constant that is added to an index.
const COUNT_MAX: i64 = 1 << 32;
const STEP_MAX: i64 = 1 << 30;
const OFFSET_MAX: i64 = 1 << 30;

/// What is made before the loop and added to an index, or subtracted.
type Terms = SmallVec<[(MicroOp, Ref); TERMS_MAX]>;
/// The most of them.
const TERMS_MAX: usize = 3;

/// The indices of a table that are checked together: a counter plus terms plus constants from one to another.
struct Range {
    table: Ref,
    counter: usize,
    terms: Terms,
    least: i64,
    greatest: i64,
}

/// The pass; see the module's documentation.
pub fn bounds(old: &Superblock) -> Option<Superblock> {
    let looping = old.looping.as_ref()?;
    let counters = counters(old);
    if old.keeps_bounds || counters.is_empty() || !looping.counters.is_empty() {
        return None;
    }
    let aliases = Aliases::new(old);
    let (mut ranges, mut dropped): (Vec<Range>, Vec<Ref>) = (Vec::new(), Vec::new());
    for r in aliases.in_loop() {
        let node = old.node(r);
        if node.op != MicroOp::GUARD_IN_ARRAY || node.inputs[0] > looping.head {
            continue;
        }
        let Some((counter, terms, offset)) = index(old, &aliases, &counters, node.inputs[1]) else { continue };
        if offset.unsigned_abs() > OFFSET_MAX as u64 || aliases.clobbered_in_loop(r) {
            continue;
        }
        dropped.push(r);
        let table = node.inputs[0];
        let same = |range: &&mut Range| (range.table, range.counter) == (table, counter) && range.terms == terms;
        match ranges.iter_mut().find(same) {
            Some(range) => {
                range.least = range.least.min(offset);
                range.greatest = range.greatest.max(offset);
            }
            None => ranges.push(Range { table, counter, terms, least: offset, greatest: offset }),
        }
    }
    if ranges.is_empty() {
        return None;
    }
    let mut rw = Rewriter::new(old);
    for (r, _) in old.iter() {
        if r == looping.head {
            check(&mut rw, &counters, &ranges);
        }
        if !dropped.contains(&r) {
            rw.copy(r);
        }
    }
    let used = |i: usize| ranges.iter().any(|range| range.counter == i);
    rw.counters.extend(counters.iter().enumerate().filter(|(i, _)| used(*i)).map(|(_, c)| *c));
    Some(rw.finish())
}

/// An index as a counter, terms and a constant.
fn index(sb: &Superblock, aliases: &Aliases, counters: &[Counter], r: Ref) -> Option<(usize, Terms, i64)> {
    let head = sb.looping.as_ref()?.head;
    let mut terms = Terms::new();
    let (mut base, mut offset) = aliases.index(r);
    while !base.is_none() {
        if let Some(counter) = counters.iter().position(|c| c.index == base) {
            terms.sort_unstable();
            return Some((counter, terms, offset));
        }
        let node = sb.node(base);
        let (rest, term) = match (node.op, node.inputs()) {
            (MicroOp::ADD_I | MicroOp::SUB_I, &[x, y]) if y < head => (x, y),
            (MicroOp::ADD_I, &[x, y]) if x < head => (y, x),
            _ => return None,
        };
        if terms.len() == TERMS_MAX {
            return None;
        }
        terms.push((node.op, term));
        let (inner, constant) = aliases.index(rest);
        (base, offset) = (inner, offset.wrapping_add(constant));
    }
    None
}

/// The `PHI`s that count, with their steps.
fn counters(sb: &Superblock) -> Vec<Counter> {
    let Some(looping) = &sb.looping else {
        return Vec::new();
    };
    let constant = |r: Ref| {
        let node = sb.node(r);
        (node.op == MicroOp::CONST_INT).then_some(node.operands[0] as i64)
    };
    let nodes = &sb.nodes[looping.head.index()..];
    // Whether the loop is left when `count` is 0.
    let ends_at_zero = |count: Ref| {
        nodes.iter().filter(|node| node.op == MicroOp::GUARD_FALSE).any(|guard| {
            let test = sb.node(guard.inputs[0]);
            test.op == MicroOp::EQ_I && test.inputs[0] == count && constant(test.inputs[1]) == Some(0)
        })
    };
    let counts_down = |(phi, back): (Ref, &Ref)| {
        let back = sb.node(*back);
        let counts = back.op == MicroOp::SUB_I && back.inputs[0] == phi && constant(back.inputs[1]) == Some(1);
        (counts && ends_at_zero(phi)).then_some(phi)
    };
    let Some(count) = sb.phis().zip(&looping.back).find_map(counts_down) else {
        return Vec::new();
    };
    let steps = |(phi, back): (Ref, &Ref)| {
        let back = sb.node(*back);
        let step = back.inputs[1];
        let small = |step: i64| step != 0 && step.unsigned_abs() <= STEP_MAX as u64;
        let counts = back.op == MicroOp::ADD_I
            && back.inputs[0] == phi
            && step < phi
            && sb.type_of(phi) == Type::Int
            && constant(step).is_none_or(small);
        counts.then_some(Counter { index: phi, step, count })
    };
    sb.phis().zip(&looping.back).filter_map(steps).collect()
}

/// Adds the checks before the loop.
fn check(rw: &mut Rewriter, counters: &[Counter], ranges: &[Range]) {
    use MicroOp::*;
    let old = rw.old;
    let Some(looping) = &old.looping else { return };
    let guard = |rw: &mut Rewriter, op, inputs: &[Ref]| {
        rw.add(Node::new(op, inputs, &[]).with_exit(looping.entry));
    };
    let make = |rw: &mut Rewriter, op, inputs: &[Ref]| rw.add(Node::new(op, inputs, &[]));
    let first = |rw: &Rewriter, phi: Ref| rw.name(old.node(phi).inputs[0]);
    let count = first(rw, counters[0].count);
    let most = rw.add(Node::int(COUNT_MAX));
    let few = make(rw, LT_U, &[count, most]);
    guard(rw, GUARD_TRUE, &[few]);
    for (i, counter) in counters.iter().enumerate() {
        let mut ranges = ranges.iter().filter(|range| range.counter == i).peekable();
        if ranges.peek().is_none() {
            continue;
        }
        let step = rw.name(counter.step);
        let up = match *rw.new.node(step) {
            Node { op: CONST_INT, operands: [step, ..], .. } => step as i64 > 0,
            _ => {
                // A step that is not known is taken to lead upward.
                let (one, most) = (rw.add(Node::int(1)), rw.add(Node::int(STEP_MAX)));
                let less = make(rw, SUB_I, &[step, one]);
                let small = make(rw, LT_U, &[less, most]);
                guard(rw, GUARD_TRUE, &[small]);
                true
            }
        };
        let begins = first(rw, counter.index);
        let way = make(rw, MUL_I, &[count, step]);
        let ends = make(rw, ADD_I, &[begins, way]);
        for range in ranges {
            let table = rw.name(range.table);
            let (at_first, at_last) =
                if up { (range.least, range.greatest) } else { (range.greatest, range.least) };
            for (index, offset) in [(begins, at_first), (ends, at_last)] {
                let with_term = |rw: &mut Rewriter, index, &(op, term): &(MicroOp, Ref)| {
                    let term = rw.name(term);
                    make(rw, op, &[index, term])
                };
                let index = range.terms.iter().fold(index, |index, term| with_term(rw, index, term));
                let offset = rw.add(Node::int(offset));
                let index = make(rw, ADD_I, &[index, offset]);
                guard(rw, GUARD_IN_ARRAY, &[table, index]);
            }
        }
    }
}
