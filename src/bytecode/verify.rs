//! The verifier: proves that the interpreter can run a prototype without checking anything.
//!
//! The interpreter trusts its operands: it indexes registers, constants and caches without bounds checks and takes a
//! register for a cell because the instruction says so. The verifier accepts a prototype only if that can do no
//! harm, on any path through the code, whatever the values are. Code of the Lua front end always passes; for code
//! from elsewhere the verifier is the gate.
//!
//! # What is checked of each instruction
//!
//! - The opcode exists and is general: specialised instructions rely on what caches have learned.
//! - Registers and groups of registers lie below [`Proto::registers`]; constants, captured variables, caches and
//!   nested prototypes exist; `Number` constants are numbers; operands that are not used are zero.
//! - Every field cache, call site, table site and loop site belongs to one instruction, since what one learns is
//!   wrong for another. Only loop site 65535, which learns nothing, may be shared.
//! - Jumps lead to an instruction of the function; `LOOP`, `FORLOOP` and `TFORLOOP` lead backwards and no others
//!   do, so every cycle polls. Control cannot run off the end.
//!
//! # What is checked of each path
//!
//! Symbolic execution computes for each instruction what every register holds before it, on all paths that lead
//! there: nothing that may be relied on, a value, or a cell.
//!
//! - A register that is read holds a value (`GETCELL`, `SETCELL` and the sources of `CLOSURE`: a cell).
//! - When an instruction can call or collect garbage, only registers below its `live` count survive (and its
//!   result); all of these are initialised, except those that `SELF` initialises itself and those that a `CLOSE`
//!   gives up.
//! - The results of an open call, or of `...`, go straight to the next instruction: a `CALL`, `RETURN` or
//!   `SETLIST` that takes values up to the top and nothing else may follow, and it may follow nothing else. A
//!   `TAILCALL` is followed by the `RETURN` of its results, which is executed if the callee could not take the
//!   frame's place.
//! - The loop registers of a `FORLOOP` were prepared by `FORPREP` and nobody else has written them: it may
//!   rewrite a count in place. The table register of a `SETLIST` holds a table from `NEWTABLE`.
//! - Registers with variables to be closed are marked in ascending order, stay in use and are not written until a
//!   `CLOSE` (or the end of the function) has closed them.
//!
//! The debug library can assign to locals that are in scope, unless their names begin with a parenthesis; so the
//! registers of these are not taken for prepared loops or new tables. It can assign to temporaries only where that is
//! no matter: see [`is_relied_on`].
//!
//! # What is checked of the rest
//!
//! Counts and extents: parameters, `live` counts, captured variables (255 at most), locals, lines; constants are
//! nil, booleans, numbers or strings; keys of field caches are short strings. Nested prototypes likewise.
//!
//! A main function may have any captured variables: whoever loads it makes its cells.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

use perilune_uops::{Role, Wide};

use super::cache::COLD_LOOP_SITE;
use super::proto::{CellSource, Proto, ProtoInfo, proto_flags};
use super::{Instr, Op};
use crate::runtime::object::Gc;
use crate::runtime::value::Tag;

/// Why a prototype is rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// The line where the function's definition begins, or 0 for a main function.
    pub line_defined: u32,
    /// The instruction, if it is to blame.
    pub pc: Option<u32>,
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid bytecode in the function of line {}",
            self.line_defined
        )?;
        if let Some(pc) = self.pc {
            write!(f, ", instruction {pc}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for VerifyError {}

/// Checks a prototype and those nested in it. Time is linear in the code for straight code and, at worst, linear
/// in the code times the number of registers.
pub fn verify(proto: &Proto) -> Result<(), VerifyError> {
    let mut pending: Vec<&Proto> = vec![proto];
    while let Some(proto) = pending.pop() {
        verify_one(proto)?;
        pending.extend(proto.info.protos.iter().map(|p: &Gc<Proto>| &**p));
    }
    Ok(())
}

/// Checks a prototype whose nested ones have been checked.
pub fn verify_one(proto: &Proto) -> Result<(), VerifyError> {
    Verifier {
        proto,
        info: &proto.info,
    }
    .run()
}

/// Whether instructions of the function may rely on what kind of value a register holds: as a loop's state or a new
/// table. It is not asked where they do that, since few functions assign to temporaries of others.
pub fn is_relied_on(proto: &Proto, register: usize) -> bool {
    proto.info.code.iter().any(|i| match i.op().general() {
        Op::SETLIST => register == i.a(),
        Op::FORLOOP => (i.a()..i.a() + 3).contains(&register),
        _ => false,
    })
}

/// A set of registers.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Set([u64; 4]);

impl Set {
    fn insert(&mut self, r: usize) {
        self.0[r / 64] |= 1 << (r % 64);
    }

    fn remove(&mut self, r: usize) {
        self.0[r / 64] &= !(1 << (r % 64));
    }

    fn has(&self, r: usize) -> bool {
        self.0[r / 64] >> (r % 64) & 1 != 0
    }

    /// Removes all registers from `r` on.
    fn truncate(&mut self, r: usize) {
        self.intersect(&Set::below(r));
    }

    fn below(r: usize) -> Set {
        let mut words = [0; 4];
        for (i, word) in words.iter_mut().enumerate() {
            let bits = r.saturating_sub(64 * i);
            *word = if bits >= 64 { !0 } else { (1 << bits) - 1 };
        }
        Set(words)
    }

    fn intersect(&mut self, other: &Set) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= b);
    }

    fn unite(&mut self, other: &Set) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    fn without(&self, other: &Set) -> Set {
        let mut rest = *self;
        rest.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= !b);
        rest
    }

    /// The registers that are `n` (1 to 63) below those of the set.
    fn down(&self, n: usize) -> Set {
        let word = |i: usize| self.0.get(i).copied().unwrap_or(0);
        Set(std::array::from_fn(|i| {
            word(i) >> n | word(i + 1) << (64 - n)
        }))
    }

    fn first(&self) -> Option<usize> {
        let i = self.0.iter().position(|&word| word != 0)?;
        Some(64 * i + self.0[i].trailing_zeros() as usize)
    }

    fn last(&self) -> Option<usize> {
        let i = self.0.iter().rposition(|&word| word != 0)?;
        Some(64 * i + 63 - self.0[i].leading_zeros() as usize)
    }
}

/// What is known before an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Facts {
    values: Set,
    cells: Set,
    /// Values that are tables from `NEWTABLE`.
    tables: Set,
    /// First registers of prepared numeric loops.
    loops: Set,
    /// Registers with a variable that may have to be closed.
    marked: Set,
    /// The first register of an open list that ends at `top`.
    open: Option<usize>,
}

impl Facts {
    fn write(&mut self, r: usize) {
        self.values.insert(r);
        self.cells.remove(r);
        self.tables.remove(r);
        for first in r.saturating_sub(2)..=r {
            self.loops.remove(first);
        }
    }

    /// Forgets registers from `r` on.
    fn truncate(&mut self, r: usize) {
        self.values.truncate(r);
        self.cells.truncate(r);
        self.tables.truncate(r);
        self.loops.truncate(r.saturating_sub(2));
    }

    /// Takes into account that somebody may have assigned to these registers' locals.
    fn expose(&mut self, assignable: &Set) {
        self.tables = self.tables.without(assignable);
        self.loops = self.loops.without(assignable);
        self.loops = self.loops.without(&assignable.down(1));
        self.loops = self.loops.without(&assignable.down(2));
    }

    /// What holds on this path and another one; `None` if they do not fit together.
    fn join(&self, other: &Facts) -> Option<Facts> {
        if self.open != other.open {
            return None;
        }
        let mut both = *self;
        both.values.intersect(&other.values);
        both.cells.intersect(&other.cells);
        both.tables.intersect(&other.tables);
        both.loops.intersect(&other.loops);
        both.marked.unite(&other.marked);
        Some(both)
    }
}

/// Where control goes after an instruction, with what is known then.
#[derive(Default)]
struct Next {
    next: Option<Facts>,
    jump: Option<Facts>,
}

type Check<T = ()> = Result<T, String>;

/// `Err` with a formatted message if a condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

struct Verifier<'a> {
    proto: &'a Proto,
    info: &'a ProtoInfo,
}

impl Verifier<'_> {
    fn run(&self) -> Result<(), VerifyError> {
        self.check_rest()
            .map_err(|message| self.error(None, message))?;
        self.check_instructions()?;
        self.check_paths()
    }

    fn error(&self, pc: Option<usize>, message: String) -> VerifyError {
        VerifyError {
            line_defined: self.info.line_defined,
            pc: pc.map(|pc| pc as u32),
            message,
        }
    }

    fn registers(&self) -> usize {
        self.proto.registers as usize
    }

    fn check_rest(&self) -> Check {
        let info = self.info;
        let len = info.code.len();
        ensure!(len != 0, "no code");
        ensure!(len <= i32::MAX as usize, "too much code");
        ensure!(
            self.registers() <= Instr::MAX_REGISTERS,
            "too many registers"
        );
        ensure!(
            self.proto.params as usize <= self.registers(),
            "more parameters than registers"
        );
        let flags = proto_flags::VARARG | proto_flags::BUILTIN;
        ensure!(self.proto.flags & !flags == 0, "unknown flags");
        ensure!(info.live.len() == len, "live counts do not match the code");
        ensure!(
            info.live.iter().all(|&n| n as usize <= self.registers()),
            "a live count exceeds the registers"
        );
        ensure!(
            info.captured.len() <= u8::MAX as usize,
            "too many captured variables"
        );
        for (i, v) in info.constants.iter().enumerate() {
            let plain = matches!(
                v.tag(),
                Tag::NIL | Tag::FALSE | Tag::TRUE | Tag::INT | Tag::FLOAT | Tag::STRING
            );
            ensure!(
                plain,
                "constant {i} is not nil, a boolean, a number or a string"
            );
        }
        for (i, cache) in info.fields.iter().enumerate() {
            ensure!(
                cache.key.is_short(),
                "the key of field cache {i} is too long"
            );
        }
        for (i, local) in info.locals.iter().enumerate() {
            ensure!(
                local.start <= local.end && local.end as usize <= len,
                "the extent of local {i} is not in the code"
            );
            ensure!(
                (local.register as usize) < self.registers(),
                "local {i} has no register"
            );
        }
        let runs = info.lines.runs();
        ensure!(
            runs.is_sorted_by(|a, b| a.0 < b.0),
            "lines are not in order"
        );
        ensure!(
            runs.last().is_none_or(|run| (run.0 as usize) < len),
            "lines beyond the code"
        );
        Ok(())
    }

    // Each instruction by itself.

    fn check_instructions(&self) -> Result<(), VerifyError> {
        let info = self.info;
        let mut users = Users {
            fields: vec![false; info.fields.len()],
            calls: vec![false; info.calls.len()],
            tables: vec![false; info.tables.len()],
            loops: vec![false; info.loops.len()],
        };
        for (pc, &i) in info.code.iter().enumerate() {
            self.check_instruction(pc, i, &mut users)
                .map_err(|message| self.error(Some(pc), message))?;
        }
        Ok(())
    }

    fn check_instruction(&self, pc: usize, i: Instr, users: &mut Users) -> Check {
        let info = self.info;
        ensure!(
            (i.opcode() as usize) < Op::ALL.len(),
            "unknown opcode {}",
            i.opcode()
        );
        let op = i.op();
        ensure!(
            op.general() == op,
            "{} is a specialised instruction",
            op.name()
        );
        let format = op.format();
        let wide_b = matches!(format.b, Role::Loop | Role::Constant | Role::Imm);
        for (name, role, operand) in [
            ("a", format.a, i.a()),
            ("b", format.b, i.b()),
            ("c", format.c, i.c()),
        ] {
            match role {
                Role::None if name == "c" && wide_b => {}
                Role::None => ensure!(operand == 0, "operand {name} is not used, but not zero"),
                // An open list may begin behind the registers.
                Role::Group if op == Op::VARARG && i.c() == 0 || op == Op::RETURN && i.b() == 0 => {
                    ensure!(operand <= self.registers(), "no register {operand}");
                }
                Role::Def | Role::Use | Role::Cell | Role::DefCell | Role::Group => {
                    ensure!(operand < self.registers(), "no register {operand}");
                }
                Role::Captured => ensure!(
                    operand < info.captured.len(),
                    "no captured variable {operand}"
                ),
                Role::Loop => {
                    let shared = i.bc() == COLD_LOOP_SITE;
                    users.claim("loop site", |u| &mut u.loops, i.bc() as usize, shared)?;
                }
                Role::Constant => ensure!(
                    (i.bc() as usize) < info.constants.len(),
                    "no constant {}",
                    i.bc()
                ),
                Role::Count | Role::Imm => {}
            }
        }
        let d = i.d() as usize;
        match format.d {
            Wide::None => ensure!(d == 0, "operand d is not used, but not zero"),
            Wide::Int => {}
            Wide::Constant => ensure!(d < info.constants.len(), "no constant {d}"),
            Wide::Number => {
                let number = info.constants.get(d).is_some_and(|v| v.tag().is_number());
                ensure!(number, "constant {d} is not a number");
            }
            Wide::Jump => {
                let back = matches!(op, Op::LOOP | Op::FORLOOP | Op::TFORLOOP);
                ensure!(back == (i.sd() < 0), "a jump in the wrong direction");
                ensure!(
                    jump_target(pc, i) < info.code.len(),
                    "a jump out of the code"
                );
            }
            Wide::Field => users.claim("field cache", |u| &mut u.fields, d, false)?,
            Wide::Call => users.claim("call site", |u| &mut u.calls, d, false)?,
            Wide::Table => users.claim("table site", |u| &mut u.tables, d, false)?,
            Wide::Proto => ensure!(d < info.protos.len(), "no nested prototype {d}"),
        }
        self.check_group(op, i)?;
        ensure!(
            ends(op) || pc + 1 < info.code.len(),
            "control runs off the end"
        );
        Ok(())
    }

    /// Groups of registers that an instruction names by their first one.
    fn check_group(&self, op: Op, i: Instr) -> Check {
        let (a, b, c) = (i.a(), i.b(), i.c());
        let end = match op {
            Op::NIL => a + b + 1,
            Op::SELF => a + 2,
            Op::CONCAT => {
                ensure!(b >= 2, "a concatenation of fewer than two values");
                a + b
            }
            Op::SETLIST => {
                ensure!(i.sd() >= 0, "a negative index");
                a + b + 1
            }
            Op::FORPREP | Op::FORLOOP | Op::TFORPREP => a + 4,
            Op::TFORCALL => {
                ensure!(c >= 1, "a loop without variables");
                a + 4 + c.max(3)
            }
            Op::TFORLOOP => a + 5,
            Op::CALL => a + b.max(1).max(c.saturating_sub(1)),
            Op::TAILCALL => a + b.max(1),
            Op::RETURN => a + b.saturating_sub(1),
            Op::VARARG => {
                ensure!(
                    self.proto.flags & proto_flags::VARARG != 0,
                    "the function takes no extra arguments"
                );
                a + c.saturating_sub(1)
            }
            _ => return Ok(()),
        };
        ensure!(
            end <= self.registers(),
            "no register {}",
            end.saturating_sub(1)
        );
        Ok(())
    }

    // Paths.

    fn check_paths(&self) -> Result<(), VerifyError> {
        let code = &self.info.code;
        // What is known where paths meet, and before the first instruction; and whether that is news.
        let mut known: Vec<Option<Box<(Facts, bool)>>> = vec![None; code.len()];
        let mut meets = vec![false; code.len()];
        for (pc, i) in code.iter().enumerate() {
            if i.op().format().d == Wide::Jump {
                meets[jump_target(pc, *i)] = true;
            }
        }
        let scopes = self.assignable();
        let first = Facts {
            values: Set::below(self.proto.params as usize),
            ..Facts::default()
        };
        known[0] = Some(Box::new((first, true)));
        let mut pending = BinaryHeap::from([Reverse(0)]);
        while let Some(Reverse(start)) = pending.pop() {
            let Some((facts, true)) = known[start]
                .as_deref_mut()
                .map(|k| (k.0, std::mem::replace(&mut k.1, false)))
            else {
                continue;
            };
            let mut scope = scopes.partition_point(|scope| scope.0 <= start);
            let mut pc = start;
            let mut here = Some(facts);
            while let Some(mut facts) = here.take() {
                while scopes.get(scope).is_some_and(|scope| scope.0 <= pc) {
                    scope += 1;
                }
                if let Some((_, assignable)) = scope.checked_sub(1).map(|i| &scopes[i]) {
                    facts.expose(assignable);
                }
                let after = self
                    .step(pc, facts)
                    .map_err(|message| self.error(Some(pc), message))?;
                for (to, facts) in [
                    (jump_target(pc, code[pc]), after.jump),
                    (pc + 1, after.next),
                ] {
                    let Some(facts) = facts else { continue };
                    if to == pc + 1 && !meets[to] {
                        here = Some(facts);
                        continue;
                    }
                    let joined = match &known[to] {
                        None => facts,
                        Some(old) => match old.0.join(&facts) {
                            Some(joined) if joined == old.0 => continue,
                            Some(joined) => joined,
                            None => {
                                return Err(self.error(
                                    Some(to),
                                    "an open list on some paths only".to_string(),
                                ));
                            }
                        },
                    };
                    known[to] = Some(Box::new((joined, true)));
                    pending.push(Reverse(to));
                }
                pc += 1;
            }
        }
        Ok(())
    }

    /// The registers of locals in scope that can be assigned to from outside: in order, each set with the first
    /// instruction where it holds.
    fn assignable(&self) -> Vec<(usize, Set)> {
        let mut events = Vec::new();
        for local in self.info.locals.iter().filter(|local| !local.is_hidden()) {
            events.push((local.start as usize, local.register as usize, 1));
            events.push((local.end as usize, local.register as usize, -1));
        }
        events.sort_unstable();
        let mut count = [0i64; Instr::MAX_REGISTERS + 1];
        let mut set = Set::default();
        let mut sets: Vec<(usize, Set)> = Vec::new();
        for (pc, register, change) in events {
            count[register] += change;
            if count[register] > 0 {
                set.insert(register)
            } else {
                set.remove(register)
            }
            match sets.last_mut() {
                Some(last) if last.0 == pc => last.1 = set,
                _ => sets.push((pc, set)),
            }
        }
        sets
    }

    /// What is known after the instruction at `pc`.
    fn step(&self, pc: usize, before: Facts) -> Check<Next> {
        let i = self.info.code[pc];
        let (op, format) = (i.op(), i.op().format());
        let (a, b, c) = (i.a(), i.b(), i.c());
        for (role, r) in [(format.a, a), (format.b, b), (format.c, c)] {
            match role {
                Role::Use => self.value(&before, r)?,
                Role::Cell => ensure!(before.cells.has(r), "register {r} may not hold a cell"),
                _ => {}
            }
        }
        let takes_open = b == 0 && matches!(op, Op::CALL | Op::TAILCALL | Op::RETURN | Op::SETLIST);
        ensure!(
            takes_open == before.open.is_some(),
            "{}",
            if takes_open {
                "no open list to take"
            } else {
                "an open list is not taken"
            }
        );

        let mut after = before;
        after.open = None;
        if stops(op) {
            let live = self.info.live[pc] as usize;
            let mut unwritten = Set::below(live)
                .without(&before.values)
                .without(&before.cells);
            if op == Op::SELF {
                // The receiver is put into its place before a metamethod is called, and must survive that.
                ensure!(live >= a + 2, "the receiver does not count as live");
                unwritten.truncate(a);
            } else if op == Op::CLOSE {
                // A jump may have skipped the last variables of the block; the others count until they are closed.
                unwritten.truncate(a);
            }
            if let Some(r) = unwritten.first() {
                return Err(format!(
                    "register {r} counts as live, but may not be initialised"
                ));
            }
            if let Some(r) = before.marked.last() {
                ensure!(
                    r < live,
                    "register {r} has to be closed, but does not count as live"
                );
            }
            after.truncate(live);
        }
        let mut next = Next::default();
        match op {
            Op::MOVE => {
                self.define(&mut after, a)?;
                if before.tables.has(b) {
                    after.tables.insert(a);
                }
            }
            Op::NIL => (a..=a + b).try_for_each(|r| self.define(&mut after, r))?,
            Op::CELL => {
                self.value(&before, a)?;
                self.define_cell(&mut after, a)?;
            }
            Op::NEWCELL => self.define_cell(&mut after, a)?,
            Op::NEWTABLE => {
                self.define(&mut after, a)?;
                after.tables.insert(a);
            }
            Op::SELF => {
                self.define(&mut after, a)?;
                self.define(&mut after, a + 1)?;
            }
            Op::SETLIST => {
                ensure!(
                    before.tables.has(a),
                    "register {a} may not hold a new table"
                );
                // An open list lies above the table: what makes one overwrites all above its beginning.
                self.values(&before, a + 1, before.open.unwrap_or(a + 1 + b))?;
            }
            Op::CONCAT => {
                self.values(&before, a, a + b)?;
                let live = self.info.live[pc] as usize;
                ensure!(live >= a + b, "operands do not count as live");
                after.truncate(a);
                self.define(&mut after, a)?;
            }
            Op::JTSET | Op::JFSET => {
                let mut jump = after;
                self.define(&mut jump, a)?;
                next.jump = Some(jump);
            }
            Op::FORPREP => {
                self.values(&before, a, a + 3)?;
                (a..a + 4).try_for_each(|r| self.define(&mut after, r))?;
                // A loop that does not run may have written them, or not.
                let mut jump = after;
                if !before.values.has(a + 3) {
                    jump.values.remove(a + 3);
                }
                next.jump = Some(jump);
                after.loops.insert(a);
            }
            Op::FORLOOP => {
                ensure!(before.loops.has(a), "the loop may not have been prepared");
                let mut jump = after;
                self.define(&mut jump, a + 3)?;
                next.jump = Some(jump);
            }
            Op::TFORPREP => {
                self.value(&before, a + 3)?;
                self.mark(&mut after, a + 3)?;
            }
            Op::TFORCALL => {
                self.values(&before, a, a + 3)?;
                self.call(&mut after, a + 4, c + 1)?;
            }
            Op::TFORLOOP => {
                self.value(&before, a + 4)?;
                let mut jump = after;
                self.define(&mut jump, a + 2)?;
                next.jump = Some(jump);
            }
            Op::CALL => {
                self.arguments(&before, i)?;
                self.call(&mut after, a, c)?;
            }
            Op::TAILCALL => {
                self.arguments(&before, i)?;
                self.call(&mut after, a, 0)?;
                let follows = self.info.code.get(pc + 1);
                ensure!(
                    follows == Some(&Instr::new(Op::RETURN, a as u8, 0, 0, 0)),
                    "no RETURN of the results follows"
                );
            }
            Op::RETURN => {
                let end = before.open.unwrap_or((a + b).saturating_sub(1));
                ensure!(end >= a, "the open list lies below the results");
                self.values(&before, a, end)?;
            }
            Op::VARARG if c == 0 => self.call(&mut after, a, 0)?,
            // Nothing above is lost.
            Op::VARARG => (a..a + c - 1).try_for_each(|r| self.define(&mut after, r))?,
            Op::CLOSURE => {
                for var in &self.info.protos[i.d() as usize].info.captured {
                    match var.source {
                        CellSource::Register(r) => {
                            let r = r as usize;
                            ensure!(
                                r < self.registers() && before.cells.has(r),
                                "register {r} may not hold a cell"
                            );
                        }
                        CellSource::Captured(n) => {
                            ensure!(
                                (n as usize) < self.info.captured.len(),
                                "no captured variable {n}"
                            );
                        }
                    }
                }
                self.define(&mut after, a)?;
            }
            Op::TBC => self.mark(&mut after, a)?,
            Op::CLOSE => after.marked.truncate(a),
            _ if format.a == Role::Def => self.define(&mut after, a)?,
            _ => {}
        }
        if format.d == Wide::Jump && next.jump.is_none() {
            next.jump = Some(after);
        }
        if !ends(op) {
            next.next = Some(after);
        }
        Ok(next)
    }

    fn value(&self, facts: &Facts, r: usize) -> Check {
        ensure!(!facts.cells.has(r), "register {r} holds a cell");
        ensure!(facts.values.has(r), "register {r} may not be initialised");
        Ok(())
    }

    fn values(&self, facts: &Facts, from: usize, to: usize) -> Check {
        (from..to).try_for_each(|r| self.value(facts, r))
    }

    fn define(&self, facts: &mut Facts, r: usize) -> Check {
        ensure!(
            !facts.marked.has(r),
            "register {r} is written before it is closed"
        );
        facts.write(r);
        Ok(())
    }

    fn define_cell(&self, facts: &mut Facts, r: usize) -> Check {
        self.define(facts, r)?;
        facts.values.remove(r);
        facts.cells.insert(r);
        Ok(())
    }

    fn mark(&self, facts: &mut Facts, r: usize) -> Check {
        ensure!(
            facts.marked.last().is_none_or(|last| last < r),
            "variables to be closed are not in ascending order"
        );
        facts.marked.insert(r);
        Ok(())
    }

    /// The function and the arguments of a call.
    fn arguments(&self, facts: &Facts, i: Instr) -> Check {
        let end = facts.open.unwrap_or(i.a() + i.b());
        ensure!(end > i.a(), "the open list lies below the arguments");
        self.values(facts, i.a(), end)
    }

    /// Results from register `a` on, as many as `c` says; what lay above is gone.
    fn call(&self, facts: &mut Facts, a: usize, c: usize) -> Check {
        let beyond = facts.marked.last().is_none_or(|last| last < a);
        ensure!(beyond, "a call overwrites a variable to be closed");
        facts.truncate(a);
        match c {
            0 => facts.open = Some(a),
            c => (a..a + c - 1).try_for_each(|r| self.define(facts, r))?,
        }
        Ok(())
    }
}

/// Where a jump leads; far out of the code if that is before the first instruction.
fn jump_target(pc: usize, i: Instr) -> usize {
    (pc + 1).wrapping_add_signed(i.sd() as isize)
}

/// Whether control never goes on behind the instruction.
fn ends(op: Op) -> bool {
    matches!(
        op,
        Op::JMP | Op::LOOP | Op::TFORPREP | Op::RETURN | Op::RETURN0 | Op::RETURN1
    )
}

/// Which caches have a user.
struct Users {
    fields: Vec<bool>,
    calls: Vec<bool>,
    tables: Vec<bool>,
    loops: Vec<bool>,
}

impl Users {
    fn claim(
        &mut self,
        what: &str,
        of: impl Fn(&mut Users) -> &mut Vec<bool>,
        index: usize,
        shared: bool,
    ) -> Check {
        let Some(used) = of(self).get_mut(index) else {
            return Err(format!("no {what} {index}"));
        };
        ensure!(!*used || shared, "{what} {index} has two users");
        *used = true;
        Ok(())
    }
}

/// Whether a call or a collection can take place in the instruction.
fn stops(op: Op) -> bool {
    !matches!(
        op,
        Op::MOVE
            | Op::LOADI
            | Op::LOADK
            | Op::NIL
            | Op::FALSE
            | Op::TRUE
            | Op::GETCELL
            | Op::SETCELL
            | Op::GETUP
            | Op::SETUP
            | Op::SETLIST
            | Op::NOT
            | Op::JMP
            | Op::JT
            | Op::JF
            | Op::JTSET
            | Op::JFSET
            | Op::JEQK
            | Op::JNEK
            | Op::FORPREP
            | Op::TFORPREP
            | Op::TBC
            | Op::RETURN
            | Op::RETURN0
            | Op::RETURN1
            | Op::VARARG
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytecode::proto::{CapturedVar, LocalVar};
    use crate::bytecode::proto_builder::{FunctionHead, ProtoBuilder, instr};
    use crate::heap::Meter;
    use crate::runtime::Runtime;
    use crate::runtime::value::Value;

    /// An instruction and its live count.
    type Line = (Instr, usize);

    /// An instruction during which the two parameters are in use.
    fn i(op: Op, a: usize, b: usize, c: usize, d: i32) -> Line {
        (instr(op, a, b, c, d as u32), 2)
    }

    /// The same during which the registers below `live` are.
    fn live(line: Line, live: usize) -> Line {
        (line.0, live)
    }

    fn jump(op: Op, a: usize, d: i32) -> Line {
        i(op, a, 0, 0, d)
    }

    const END: Line = (Instr::new(Op::RETURN0, 0, 0, 0, 0), 2);

    /// A vararg function of two parameters with ten registers, one captured variable, the constants 7 and "text" (which
    /// is also the key of the field caches), three caches of each kind, and a nested function that captures register
    /// 2 and its parent's captured variable.
    fn check_with(
        code: &[Line],
        edit: impl FnOnce(&mut Proto, &mut Runtime),
    ) -> Result<(), String> {
        let rt = &mut Runtime::new().unwrap();
        let text = rt.new_string(b"text").unwrap();
        let head = |params, flags| FunctionHead {
            source: text,
            line_defined: 0,
            last_line: 9,
            params,
            flags,
        };
        let captured = |source| CapturedVar::new(None, source);
        let meter = Meter::new(&mut rt.heap);
        let mut inner = ProtoBuilder::new(head(0, 0), &meter);
        inner.captured(captured(CellSource::Register(2)));
        inner.captured(captured(CellSource::Captured(0)));
        inner.emit(END.0, 0);
        let inner = inner.finish(rt).unwrap();
        let mut outer = ProtoBuilder::new(head(2, proto_flags::VARARG), &meter);
        outer.reserve_registers(10);
        outer.captured(captured(CellSource::Captured(0)));
        outer.constant(Value::int(7));
        outer.constant(Value::string(text));
        outer.nested(inner);
        for _ in 0..3 {
            outer.field(text);
            outer.call_site();
            outer.table_site(rt, 0, 0);
            outer.loop_site();
        }
        for (line, &(instr, live)) in code.iter().enumerate() {
            outer.set_line(line as u32 + 1);
            outer.emit(instr, live);
        }
        let proto = outer.finish(rt).unwrap();
        // SAFETY: nobody else uses the prototype.
        edit(unsafe { &mut *proto.as_ptr() }, rt);
        verify(&proto).map_err(|e| e.to_string())
    }

    fn check(code: &[Line]) -> Result<(), String> {
        check_with(code, |_, _| ())
    }

    #[track_caller]
    fn good(code: &[Line]) {
        assert_eq!(check(code), Ok(()));
    }

    #[track_caller]
    fn bad(message: &str, code: &[Line]) {
        let e = check(code).unwrap_err();
        assert!(e.contains(message), "{e}");
    }

    #[track_caller]
    fn bad_with(message: &str, code: &[Line], edit: impl FnOnce(&mut Proto, &mut Runtime)) {
        let e = check_with(code, edit).unwrap_err();
        assert!(e.contains(message), "{e}");
    }

    #[test]
    fn the_front_end_passes() {
        let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");
        let mut count = 0;
        for file in std::fs::read_dir(programs).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|e| e == "lua") {
                let source = std::fs::read(&path).unwrap();
                let rt = &mut Runtime::new().unwrap();
                let proto = crate::lua::codegen::compile(rt, None, &source, b"=program", 0).unwrap();
                assert_eq!(verify(&proto), Ok(()), "{}", path.display());
                count += 1;
            }
        }
        assert!(count > 0);
    }

    #[test]
    fn straight_code() {
        good(&[END]);
        good(&[
            i(Op::ADD, 2, 0, 1, 0),
            i(Op::ADDK, 2, 2, 0, 0),
            i(Op::RETURN1, 2, 0, 0, 0),
        ]);
        good(&[
            i(Op::NIL, 2, 3, 0, 0),
            live(i(Op::CONCAT, 2, 4, 0, 0), 6),
            i(Op::SETENV, 2, 0, 0, 0),
            END,
        ]);
        good(&[
            live(i(Op::SELF, 2, 0, 0, 0), 4),
            i(Op::CALL, 2, 2, 2, 0),
            i(Op::RETURN1, 2, 0, 0, 0),
        ]);
        good(&[i(Op::JEQK, 0, 1, 0, 1), END, END]);
    }

    #[test]
    fn opcodes() {
        let mut unknown = END;
        unknown.0 = Instr(Op::ALL.len() as u64);
        bad("unknown opcode", &[unknown, END]);
        bad(
            "ADD_INT is a specialised instruction",
            &[i(Op::ADD_INT, 2, 0, 1, 0), END],
        );
    }

    #[test]
    fn operands() {
        bad("no register 10", &[i(Op::MOVE, 10, 0, 0, 0), END]);
        bad("no register 10", &[i(Op::MOVE, 0, 10, 0, 0), END]);
        bad("no register 11", &[i(Op::NIL, 8, 3, 0, 0), END]);
        bad("no register 10", &[i(Op::SELF, 9, 0, 0, 0), END]);
        bad("no register 10", &[i(Op::CONCAT, 9, 2, 0, 0), END]);
        bad("no register 10", &[i(Op::CALL, 9, 2, 1, 0), END]);
        bad("no register 10", &[i(Op::CALL, 9, 1, 3, 0), END]);
        bad("no register 10", &[i(Op::VARARG, 9, 0, 3, 0), END]);
        bad("no register 10", &[i(Op::RETURN, 9, 3, 0, 0)]);
        bad("no register 10", &[i(Op::SETLIST, 9, 1, 0, 0), END]);
        bad("no register 10", &[i(Op::TFORCALL, 4, 0, 1, 0), END]);
        bad("no register 11", &[i(Op::TFORCALL, 2, 0, 6, 0), END]);
        bad("no register 10", &[jump(Op::FORPREP, 7, 0), END]);
        bad("no register 11", &[i(Op::RETURN, 11, 0, 0, 0)]);
        bad("no captured variable 1", &[i(Op::GETUP, 2, 1, 0, 0), END]);
        bad("no constant 2", &[i(Op::LOADK, 2, 0, 0, 2), END]);
        bad("no constant 2", &[i(Op::SETFIELDK, 0, 2, 0, 0), END]);
        bad("no constant 256", &[i(Op::JEQK, 0, 0, 1, 0), END]);
        bad(
            "constant 1 is not a number",
            &[i(Op::ADDK, 2, 0, 0, 1), END],
        );
        bad("no field cache 3", &[i(Op::GETFIELD, 2, 0, 0, 3), END]);
        bad("no call site 3", &[i(Op::CALL, 0, 1, 1, 3), END]);
        bad("no table site 3", &[i(Op::NEWTABLE, 2, 0, 0, 3), END]);
        bad("no loop site 3", &[i(Op::LOOP, 0, 3, 0, -1)]);
        bad("no nested prototype 1", &[i(Op::CLOSURE, 2, 0, 0, 1), END]);
        bad("operand a is not used", &[i(Op::JMP, 1, 0, 0, 0), END]);
        bad("operand b is not used", &[i(Op::LOADI, 2, 1, 0, 0), END]);
        bad("operand c is not used", &[i(Op::MOVE, 2, 0, 1, 0), END]);
        bad("operand d is not used", &[i(Op::MOVE, 2, 0, 0, 1), END]);
        bad(
            "a concatenation of fewer",
            &[i(Op::CONCAT, 0, 1, 0, 0), END],
        );
        bad("a negative index", &[i(Op::SETLIST, 0, 1, 0, -1), END]);
        bad(
            "a loop without variables",
            &[i(Op::TFORCALL, 0, 0, 0, 0), END],
        );
    }

    #[test]
    fn caches_have_one_user() {
        bad(
            "field cache 1 has two users",
            &[
                i(Op::GETFIELD, 2, 0, 0, 1),
                i(Op::SETFIELD, 0, 1, 0, 1),
                END,
            ],
        );
        bad(
            "call site 0 has two users",
            &[i(Op::CALL, 1, 1, 1, 0), i(Op::CALL, 0, 1, 1, 0), END],
        );
        bad(
            "table site 0 has two users",
            &[
                i(Op::NEWTABLE, 2, 0, 0, 0),
                i(Op::NEWTABLE, 3, 0, 0, 0),
                END,
            ],
        );
        bad(
            "loop site 0 has two users",
            &[i(Op::LOOP, 0, 0, 0, -1), i(Op::LOOP, 0, 0, 0, -2)],
        );
    }

    #[test]
    fn jumps() {
        good(&[
            jump(Op::JF, 0, 1),
            i(Op::LOADI, 1, 0, 0, 5),
            i(Op::LOOP, 0, 0, 0, -3),
        ]);
        bad("wrong direction", &[jump(Op::JT, 0, -1), END]);
        bad("wrong direction", &[i(Op::JMP, 0, 0, 0, -1), END]);
        bad("wrong direction", &[i(Op::LOOP, 0, 0, 0, 0), END]);
        bad("out of the code", &[jump(Op::JT, 0, 1), END]);
        bad("out of the code", &[i(Op::LOOP, 0, 0, 0, -2), END]);
        bad("off the end", &[i(Op::LOADI, 2, 0, 0, 0)]);
        bad("off the end", &[END, i(Op::LOADI, 2, 0, 0, 0)]);
    }

    #[test]
    fn registers_are_initialised() {
        bad(
            "register 2 may not be initialised",
            &[i(Op::MOVE, 3, 2, 0, 0), END],
        );
        bad(
            "register 3 may not be initialised",
            &[i(Op::NIL, 2, 0, 0, 0), i(Op::RETURN, 2, 3, 0, 0)],
        );
        // On one path only.
        bad(
            "instruction 2: register 2 may not",
            &[
                jump(Op::JT, 0, 1),
                i(Op::LOADI, 2, 0, 0, 1),
                i(Op::RETURN1, 2, 0, 0, 0),
            ],
        );
        good(&[
            jump(Op::JT, 0, 2),
            i(Op::LOADI, 2, 0, 0, 1),
            i(Op::JMP, 0, 0, 0, 1),
            i(Op::LOADI, 2, 0, 0, 2),
            i(Op::RETURN1, 2, 0, 0, 0),
        ]);
        // A jump that sets does so only if it jumps.
        good(&[
            i(Op::JTSET, 2, 0, 0, 1),
            i(Op::LOADI, 2, 0, 0, 1),
            i(Op::RETURN1, 2, 0, 0, 0),
        ]);
        bad(
            "register 2 may not",
            &[i(Op::JTSET, 2, 0, 0, 0), i(Op::RETURN1, 2, 0, 0, 0)],
        );
        // What a call overwrites.
        bad(
            "register 3 may not",
            &[
                i(Op::NIL, 2, 1, 0, 0),
                i(Op::CALL, 2, 1, 1, 0),
                i(Op::RETURN1, 3, 0, 0, 0),
            ],
        );
        // Known on entry of a loop, but not when it comes round again.
        bad(
            "register 2 may not",
            &[
                i(Op::LOADI, 2, 0, 0, 1),
                i(Op::MOVE, 3, 2, 0, 0),
                live(i(Op::LOOP, 0, 0, 0, -2), 2),
            ],
        );
    }

    #[test]
    fn live_counts() {
        bad(
            "register 2 counts as live",
            &[live(i(Op::NEWTABLE, 3, 0, 0, 0), 3), END],
        );
        bad(
            "register 2 may not",
            &[
                i(Op::LOADI, 2, 0, 0, 1),
                i(Op::NEWTABLE, 3, 0, 0, 0),
                i(Op::RETURN1, 2, 0, 0, 0),
            ],
        );
        good(&[
            i(Op::LOADI, 2, 0, 0, 1),
            live(i(Op::NEWTABLE, 3, 0, 0, 0), 3),
            i(Op::RETURN, 2, 3, 0, 0),
        ]);
        bad(
            "the receiver does not count",
            &[i(Op::SELF, 2, 0, 0, 0), END],
        );
        bad(
            "operands do not count",
            &[
                i(Op::NIL, 2, 1, 0, 0),
                live(i(Op::CONCAT, 2, 2, 0, 0), 3),
                END,
            ],
        );
        bad_with("a live count exceeds", &[END], |p, _| p.info.live[0] = 11);
        bad_with("live counts do not match", &[END], |p, _| {
            p.info.live.clear()
        });
    }

    #[test]
    fn cells() {
        good(&[
            i(Op::CELL, 0, 0, 0, 0),
            i(Op::NEWCELL, 2, 0, 0, 0),
            live(i(Op::CLOSURE, 3, 0, 0, 0), 3),
            i(Op::SETCELL, 2, 3, 0, 0),
            i(Op::GETCELL, 4, 0, 0, 0),
            i(Op::RETURN1, 4, 0, 0, 0),
        ]);
        bad(
            "register 0 may not hold a cell",
            &[i(Op::GETCELL, 2, 0, 0, 0), END],
        );
        bad(
            "register 0 may not hold a cell",
            &[i(Op::SETCELL, 0, 1, 0, 0), END],
        );
        bad(
            "register 2 may not hold a cell",
            &[i(Op::CLOSURE, 3, 0, 0, 0), END],
        );
        bad(
            "register 2 may not be initialised",
            &[i(Op::CELL, 2, 0, 0, 0), END],
        );
        let cell = i(Op::CELL, 0, 0, 0, 0);
        bad(
            "register 0 holds a cell",
            &[cell, i(Op::RETURN1, 0, 0, 0, 0)],
        );
        bad(
            "register 0 holds a cell",
            &[cell, i(Op::MOVE, 2, 0, 0, 0), END],
        );
        bad(
            "register 0 holds a cell",
            &[cell, i(Op::CALL, 0, 2, 1, 0), END],
        );
        bad("register 0 holds a cell", &[cell, cell, END]);
        // On one path a cell, on the other a value: neither.
        let mixed = [jump(Op::JT, 0, 1), i(Op::CELL, 1, 0, 0, 0)];
        bad(
            "register 1 may not be initialised",
            &[&mixed[..], &[i(Op::RETURN1, 1, 0, 0, 0)]].concat(),
        );
        let live_one = live(i(Op::GETCELL, 2, 1, 0, 0), 1);
        bad(
            "register 1 may not hold a cell",
            &[&mixed[..], &[live_one, END]].concat(),
        );
        // A loop that does not run may still have written its variable.
        bad(
            "register 5 may not hold a cell",
            &[
                i(Op::NIL, 2, 2, 0, 0),
                live(i(Op::NEWCELL, 5, 0, 0, 0), 5),
                jump(Op::FORPREP, 2, 1),
                END,
                i(Op::GETCELL, 6, 5, 0, 0),
                END,
            ],
        );
        bad_with(
            "no captured variable 5",
            &[i(Op::NEWCELL, 2, 0, 0, 0), i(Op::CLOSURE, 3, 0, 0, 0), END],
            |p, _| {
                // SAFETY: nobody else uses the prototype.
                let inner = unsafe { &mut *p.info.protos[0].as_ptr() };
                inner.info.captured[1].source = CellSource::Captured(5);
            },
        );
    }

    #[test]
    fn open_lists() {
        good(&[i(Op::VARARG, 3, 0, 0, 0), i(Op::RETURN, 3, 0, 0, 0)]);
        good(&[i(Op::VARARG, 10, 0, 0, 0), i(Op::RETURN, 10, 0, 0, 0)]);
        good(&[
            i(Op::VARARG, 2, 0, 0, 0),
            i(Op::CALL, 1, 0, 0, 0),
            live(i(Op::CALL, 0, 0, 1, 1), 0),
            END,
        ]);
        bad(
            "an open list is not taken",
            &[i(Op::VARARG, 2, 0, 0, 0), END],
        );
        bad(
            "an open list is not taken",
            &[
                i(Op::VARARG, 2, 0, 0, 0),
                i(Op::LOADI, 0, 0, 0, 0),
                i(Op::RETURN, 2, 0, 0, 0),
            ],
        );
        bad("no open list to take", &[i(Op::RETURN, 0, 0, 0, 0)]);
        bad("no open list to take", &[i(Op::CALL, 0, 0, 1, 0), END]);
        bad(
            "below the arguments",
            &[
                i(Op::VARARG, 1, 0, 0, 0),
                live(i(Op::CALL, 1, 0, 1, 0), 1),
                END,
            ],
        );
        bad(
            "below the results",
            &[i(Op::VARARG, 1, 0, 0, 0), i(Op::RETURN, 2, 0, 0, 0)],
        );
        bad(
            "register 2 may not",
            &[i(Op::VARARG, 3, 0, 0, 0), i(Op::RETURN, 1, 0, 0, 0)],
        );
        bad(
            "on some paths only",
            &[
                jump(Op::JT, 0, 1),
                i(Op::VARARG, 2, 0, 0, 0),
                i(Op::RETURN, 2, 0, 0, 0),
            ],
        );
        bad_with(
            "takes no extra arguments",
            &[i(Op::VARARG, 2, 0, 2, 0), END],
            |p, _| p.flags = 0,
        );
    }

    #[test]
    fn tail_calls() {
        good(&[i(Op::TAILCALL, 0, 2, 0, 0), i(Op::RETURN, 0, 0, 0, 0)]);
        bad(
            "no RETURN of the results",
            &[i(Op::TAILCALL, 0, 2, 0, 0), END],
        );
        bad(
            "no RETURN of the results",
            &[i(Op::TAILCALL, 1, 1, 0, 0), i(Op::RETURN, 0, 0, 0, 0)],
        );
    }

    #[test]
    fn table_constructors() {
        let table = i(Op::NEWTABLE, 2, 0, 0, 0);
        good(&[
            table,
            i(Op::LOADI, 3, 0, 0, 5),
            i(Op::SETLIST, 2, 1, 0, 0),
            i(Op::RETURN1, 2, 0, 0, 0),
        ]);
        good(&[
            table,
            live(i(Op::VARARG, 3, 0, 0, 0), 3),
            i(Op::SETLIST, 2, 0, 0, 0),
            END,
        ]);
        bad(
            "register 0 may not hold a new table",
            &[i(Op::SETLIST, 0, 1, 0, 0), END],
        );
        bad(
            "register 3 may not",
            &[table, i(Op::SETLIST, 2, 1, 0, 0), END],
        );
        bad(
            "register 3 may not hold a new table",
            &[
                table,
                i(Op::MOVE, 3, 2, 0, 0),
                i(Op::VARARG, 2, 0, 0, 0),
                i(Op::SETLIST, 3, 0, 0, 0),
                END,
            ],
        );
        // Somebody could assign to the variable.
        let code = [
            table,
            i(Op::LOADI, 3, 0, 0, 5),
            i(Op::SETLIST, 2, 1, 0, 0),
            END,
        ];
        let named = |name: &'static [u8]| {
            move |p: &mut Proto, rt: &mut Runtime| {
                let name = rt.new_string(name).unwrap();
                p.info.locals.push(LocalVar {
                    name,
                    register: 2,
                    start: 1,
                    end: 2,
                });
            }
        };
        bad_with("register 2 may not hold a new table", &code, named(b"x"));
        assert_eq!(check_with(&code, named(b"(state)")), Ok(()));
    }

    #[test]
    fn loops() {
        let range = i(Op::NIL, 2, 2, 0, 0);
        let body = live(i(Op::FORLOOP, 2, 0, 0, -1), 6);
        good(&[range, jump(Op::FORPREP, 2, 1), body, END]);
        bad(
            "not have been prepared",
            &[range, i(Op::LOADI, 5, 0, 0, 0), body, END],
        );
        bad(
            "not have been prepared",
            &[
                range,
                jump(Op::FORPREP, 2, 2),
                i(Op::MOVE, 3, 0, 0, 0),
                live(i(Op::FORLOOP, 2, 0, 0, -2), 6),
                END,
            ],
        );
        bad(
            "register 4 may not",
            &[i(Op::NIL, 2, 1, 0, 0), jump(Op::FORPREP, 2, 0), END],
        );
        bad_with(
            "not have been prepared",
            &[range, jump(Op::FORPREP, 2, 1), body, END],
            |p, rt| {
                let name = rt.new_string(b"limit").unwrap();
                p.info.locals.push(LocalVar {
                    name,
                    register: 3,
                    start: 0,
                    end: 4,
                });
            },
        );
        let generic = [
            i(Op::NIL, 2, 3, 0, 0),
            jump(Op::TFORPREP, 2, 0),
            live(i(Op::TFORCALL, 2, 0, 1, 0), 6),
            live(i(Op::TFORLOOP, 2, 0, 0, -2), 7),
            live(i(Op::CLOSE, 2, 0, 0, 0), 6),
            END,
        ];
        good(&generic);
        let mut lost = generic;
        lost[2].1 = 5;
        bad("register 5 has to be closed", &lost);
    }

    #[test]
    fn variables_to_be_closed() {
        let value = i(Op::NIL, 2, 1, 0, 0);
        let (first, second) = (i(Op::TBC, 2, 0, 0, 0), i(Op::TBC, 3, 0, 0, 0));
        let close = live(i(Op::CLOSE, 2, 0, 0, 0), 4);
        good(&[value, first, second, close, i(Op::LOADI, 2, 0, 0, 0), END]);
        good(&[value, first, END]);
        bad("ascending order", &[value, second, first, END]);
        bad(
            "ascending order",
            &[value, first, live(i(Op::LOOP, 0, 0, 0, -2), 3)],
        );
        bad(
            "register 2 is written before it is closed",
            &[value, first, i(Op::LOADI, 2, 0, 0, 0), END],
        );
        bad(
            "a call overwrites",
            &[value, first, live(i(Op::CALL, 2, 1, 1, 0), 3), END],
        );
        bad(
            "register 2 has to be closed, but",
            &[value, first, i(Op::NEWTABLE, 4, 0, 0, 0), END],
        );
        bad(
            "register 3 has to be closed, but",
            &[value, first, second, live(i(Op::CLOSE, 2, 0, 0, 0), 3), END],
        );
        bad(
            "register 4 may not be initialised",
            &[i(Op::TBC, 4, 0, 0, 0), END],
        );
    }

    #[test]
    fn everything_else() {
        bad_with("no code", &[END], |p, _| p.info.code.clear());
        bad_with("too many registers", &[END], |p, _| p.registers = 256);
        bad_with("more parameters", &[END], |p, _| p.params = 11);
        bad_with("unknown flags", &[END], |p, _| p.flags = 8);
        bad_with("constant 2 is not", &[END], |p, _| {
            p.info.constants.push(Value::light(1))
        });
        bad_with("too many captured", &[END], |p, _| {
            p.info.captured = vec![p.info.captured[0].clone(); 256]
        });
        bad_with("lines beyond", &[END], |p, _| p.info.lines.push(1, 9));
        bad_with("the key of field cache 0", &[END], |p, rt| {
            p.info.fields[0].key = rt.new_string(&[b'x'; 41]).unwrap();
        });
        let local = |register, start, end| {
            move |p: &mut Proto, rt: &mut Runtime| {
                let name = rt.new_string(b"x").unwrap();
                p.info.locals.push(LocalVar {
                    name,
                    register,
                    start,
                    end,
                });
            }
        };
        bad_with("local 0 has no register", &[END], local(10, 0, 1));
        bad_with("the extent of local 0", &[END], local(0, 1, 0));
        bad_with("the extent of local 0", &[END], local(0, 0, 2));
        bad_with("in the function of line 3", &[END], |p, _| {
            // SAFETY: nobody else uses the prototype.
            let inner = unsafe { &mut *p.info.protos[0].as_ptr() };
            inner.info.line_defined = 3;
            inner.registers = 300;
        });
    }
}
