//! Conditions, comparisons, and the operators that evaluate their right operand only if they must.

use super::Generator;
use super::expr::Operand;
use crate::bytecode::Op;
use crate::bytecode::proto_builder::JumpList;
use crate::lua::ast::{BinaryOp, ExprId, ExprKind, UnaryOp};

/// The ways out of a short-circuiting expression whose value is wanted.
#[derive(Default)]
struct Exits {
    /// With the value in place.
    done: JumpList,
    /// The value is true.
    yes: JumpList,
    /// The value is false.
    no: JumpList,
}

/// The comparison with its operands exchanged.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessEqual => BinaryOp::GreaterEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterEqual => BinaryOp::LessEqual,
        op => op,
    }
}

/// The jump on a comparison with a small integer.
fn immediate_jump(op: BinaryOp, sense: bool) -> Op {
    match (op, sense) {
        (BinaryOp::Less, true) => Op::JLTI,
        (BinaryOp::Less, false) => Op::JNLTI,
        (BinaryOp::LessEqual, true) => Op::JLEI,
        (BinaryOp::LessEqual, false) => Op::JNLEI,
        (BinaryOp::Greater, true) => Op::JGTI,
        (BinaryOp::Greater, false) => Op::JNGTI,
        (_, true) => Op::JGEI,
        (_, false) => Op::JNGEI,
    }
}

impl Generator<'_> {
    /// Whether the expression is generated as jumps.
    pub(super) fn is_condition(&self, e: ExprId) -> bool {
        match self.kind(e) {
            ExprKind::Unary(UnaryOp::Not, _) => true,
            ExprKind::Binary(op, ..) => {
                op.is_comparison() || matches!(op, BinaryOp::And | BinaryOp::Or)
            }
            _ => false,
        }
    }

    /// Whether the expression has a boolean value and is generated as jumps.
    fn is_boolean_condition(&self, e: ExprId) -> bool {
        match self.kind(e) {
            ExprKind::Unary(UnaryOp::Not, inner) => self.is_condition(inner),
            ExprKind::Binary(op, ..) => op.is_comparison(),
            _ => false,
        }
    }

    /// Whether a literal counts as true.
    fn truth(&self, e: ExprId) -> Option<bool> {
        match self.kind(e) {
            ExprKind::Nil | ExprKind::False => Some(false),
            ExprKind::True | ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) => Some(true),
            _ => None,
        }
    }

    /// Calls `each` for the operands of a chain of `op` (`and` or `or`), from left to right, with the line of the operator
    /// behind it, unless it is the last one.
    fn operands(
        &mut self,
        op: BinaryOp,
        e: ExprId,
        mut each: impl FnMut(&mut Self, ExprId, Option<u32>),
    ) {
        let base = self.pending.len();
        let mut operand = e;
        while let ExprKind::Binary(same, left, _) = self.kind(operand)
            && same == op
        {
            if !self.put_off(operand) {
                self.pending.truncate(base);
                return;
            }
            operand = left;
        }
        loop {
            let next = match self.pending.len() > base {
                true => self.pending.last().copied(),
                false => None,
            };
            each(self, operand, next.map(|next| self.chunk[next].line));
            let Some(ExprKind::Binary(_, _, right)) = next.map(|next| self.kind(next)) else {
                return;
            };
            self.pending.pop();
            operand = right;
        }
    }

    /// Jumps if the truth of the expression is `sense`. Takes no register.
    pub(super) fn jump_if(&mut self, e: ExprId, sense: bool, list: &mut JumpList) {
        self.jump_if_at(e, sense, None, list);
    }

    /// The same; the jump itself belongs to `line`, if that is given and no operator decides otherwise.
    pub(super) fn jump_if_at(&mut self, e: ExprId, sense: bool, line: Option<u32>, list: &mut JumpList) {
        match self.kind(e) {
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), ..) => {
                // The truth of an operand that decides.
                let decisive = op == BinaryOp::Or;
                let mut skip = JumpList::EMPTY;
                self.operands(op, e, |this, operand, operator| {
                    let line = operator.or(line);
                    if operator.is_none() || sense == decisive {
                        this.jump_if_at(operand, sense, line, list);
                    } else {
                        this.jump_if_at(operand, decisive, line, &mut skip);
                    }
                });
                self.patch_here(skip);
            }
            ExprKind::Unary(UnaryOp::Not, inner) => self.jump_if_at(inner, !sense, line, list),
            ExprKind::Binary(op, ..) if op.is_comparison() => self.jump_if_compared(e, sense, list),
            _ => match self.truth(e) {
                Some(truth) => {
                    if truth == sense {
                        self.line(self.chunk[e].line);
                        if !truth {
                            // Lua tests the value, so jumps that lead here are not passed through.
                            self.eval_to(e, self.f.free);
                        }
                        self.emit_jump(list, Op::JMP, 0, 0);
                    }
                }
                None => {
                    let start = self.f.free;
                    let operand = self.operand(e);
                    let r = self.register(operand);
                    self.f.free = start;
                    if let Some(line) = line {
                        self.line(line);
                    }
                    self.emit_jump(list, if sense { Op::JT } else { Op::JF }, r, 0);
                }
            },
        }
    }

    fn jump_if_compared(&mut self, e: ExprId, sense: bool, list: &mut JumpList) {
        let ExprKind::Binary(op, left, right) = self.kind(e) else {
            return;
        };
        let start = self.f.free;
        let line = self.chunk[e].line;
        // A literal on the left that fits the instruction changes sides.
        let is_equality = matches!(op, BinaryOp::Equal | BinaryOp::NotEqual);
        let fits = if is_equality {
            self.truth(left).is_some()
        } else {
            self.small(left).is_some()
        };
        if fits && self.truth(right).is_none() {
            let right = self.operand(right);
            self.compare(mirrored(op), right, left, start, line, sense, list);
        } else {
            let operand = self.operand(left);
            self.compare(op, operand, right, start, line, sense, list);
        }
    }

    /// A literal that fits an immediate operand.
    fn small(&self, e: ExprId) -> Option<i16> {
        match self.kind(e) {
            ExprKind::Int(i) => i.get().try_into().ok(),
            _ => None,
        }
    }

    /// Jumps if the truth of `left op right` is `sense`. Leaves `free` at `start`.
    #[allow(
        clippy::too_many_arguments,
        reason = "a comparison has that many parts"
    )]
    pub(super) fn compare(
        &mut self,
        op: BinaryOp,
        left: Operand,
        right: ExprId,
        start: usize,
        line: u32,
        sense: bool,
        list: &mut JumpList,
    ) {
        if let BinaryOp::Equal | BinaryOp::NotEqual = op {
            let sense = (op == BinaryOp::Equal) == sense;
            if let Some(k) = self.literal(right)
                && let Some(k) = self.f.builder.short_constant(k)
            {
                let op = if sense { Op::JEQK } else { Op::JNEK };
                self.jump_on_immediate(op, left, k, start, line, list);
            } else {
                let op = if sense { Op::JEQ } else { Op::JNE };
                self.jump_on_registers(op, left, right, false, start, line, list);
            }
            return;
        }
        if let Some(i) = self.small(right) {
            self.jump_on_immediate(immediate_jump(op, sense), left, i as u16, start, line, list);
            return;
        }
        let (jump, exchanged) = match (op, sense) {
            (BinaryOp::Less, true) => (Op::JLT, false),
            (BinaryOp::Less, false) => (Op::JNLT, false),
            (BinaryOp::LessEqual, true) => (Op::JLE, false),
            (BinaryOp::LessEqual, false) => (Op::JNLE, false),
            (BinaryOp::Greater, true) => (Op::JLT, true),
            (BinaryOp::Greater, false) => (Op::JNLT, true),
            (_, true) => (Op::JLE, true),
            (_, false) => (Op::JNLE, true),
        };
        self.jump_on_registers(jump, left, right, exchanged, start, line, list);
    }

    fn jump_on_immediate(
        &mut self,
        op: Op,
        left: Operand,
        bc: u16,
        start: usize,
        line: u32,
        list: &mut JumpList,
    ) {
        self.line(line);
        let left = self.register(left);
        self.f.free = start;
        let jump = crate::bytecode::Instr::with_bc(op, left as u8, bc, 0);
        self.f.builder.emit_jump(list, jump, start);
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "a comparison has that many parts"
    )]
    fn jump_on_registers(
        &mut self,
        op: Op,
        left: Operand,
        right: ExprId,
        exchanged: bool,
        start: usize,
        line: u32,
        list: &mut JumpList,
    ) {
        let right = self.operand(right);
        self.line(line);
        let left = self.register(left);
        let right = self.register(right);
        self.f.free = start;
        let (a, b) = if exchanged {
            (right, left)
        } else {
            (left, right)
        };
        self.emit_jump(list, op, a, b);
    }

    /// Evaluates a condition to a boolean in `dest`.
    pub(super) fn boolean(&mut self, e: ExprId, dest: usize) {
        let mut yes = JumpList::EMPTY;
        self.jump_if(e, true, &mut yes);
        self.finish_boolean(yes, dest);
    }

    /// Puts false into `dest`, or true after the jumps of `yes`.
    pub(super) fn finish_boolean(&mut self, yes: JumpList, dest: usize) {
        self.finish_exits(
            Exits {
                yes,
                ..Exits::default()
            },
            true,
            dest,
        );
    }

    /// Evaluates an `and` or `or` into `dest`.
    pub(super) fn logical(&mut self, e: ExprId, dest: usize) {
        let mut exits = Exits::default();
        let falls = self.logical_value(e, dest, &mut exits);
        self.finish_exits(exits, falls, dest);
    }

    /// Generates the value of `e`; true if falling through means that it is false, instead of being in `dest`.
    fn logical_value(&mut self, e: ExprId, dest: usize, exits: &mut Exits) -> bool {
        match self.kind(e) {
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), ..) => {
                let mut falls = false;
                self.operands(op, e, |this, operand, operator| match operator {
                    None => falls = this.logical_value(operand, dest, exits),
                    Some(line) => {
                        this.leave_if(operand, op == BinaryOp::Or, Some(line), dest, exits)
                    }
                });
                falls
            }
            _ if self.is_boolean_condition(e) => {
                self.jump_if(e, true, &mut exits.yes);
                true
            }
            _ => {
                self.eval_to(e, dest);
                false
            }
        }
    }

    /// Leaves with the value of `e` if its truth is `sense`.
    fn leave_if(
        &mut self,
        e: ExprId,
        sense: bool,
        line: Option<u32>,
        dest: usize,
        exits: &mut Exits,
    ) {
        match self.kind(e) {
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), ..) => {
                let decisive = op == BinaryOp::Or;
                let mut skip = JumpList::EMPTY;
                self.operands(op, e, |this, operand, operator| {
                    let line = operator.or(line);
                    if operator.is_none() || sense == decisive {
                        this.leave_if(operand, sense, line, dest, exits);
                    } else {
                        this.jump_if_at(operand, decisive, line, &mut skip);
                    }
                });
                self.patch_here(skip);
            }
            _ if self.is_condition(e) => {
                self.jump_if(e, sense, if sense { &mut exits.yes } else { &mut exits.no });
            }
            _ => match self.truth(e) {
                Some(truth) => {
                    if truth == sense {
                        self.eval_to(e, dest);
                        self.emit_jump(&mut exits.done, Op::JMP, 0, 0);
                    }
                }
                None => {
                    let start = self.f.free;
                    let operand = self.operand(e);
                    let r = self.register(operand);
                    self.f.free = start;
                    if let Some(line) = line {
                        self.line(line);
                    }
                    match (r == dest, sense) {
                        (true, true) => self.emit_jump(&mut exits.done, Op::JT, r, 0),
                        (true, false) => self.emit_jump(&mut exits.done, Op::JF, r, 0),
                        (false, true) => self.emit_jump(&mut exits.done, Op::JTSET, dest, r),
                        (false, false) => self.emit_jump(&mut exits.done, Op::JFSET, dest, r),
                    }
                }
            },
        }
    }

    fn finish_exits(&mut self, mut exits: Exits, falls: bool, dest: usize) {
        if falls || !exits.no.is_empty() {
            if !falls {
                self.emit_jump(&mut exits.done, Op::JMP, 0, 0);
            }
            self.patch_here(exits.no);
            self.emit(Op::FALSE, dest, 0, 0, 0);
        }
        if !exits.yes.is_empty() {
            self.emit_jump(&mut exits.done, Op::JMP, 0, 0);
            self.patch_here(exits.yes);
            self.emit(Op::TRUE, dest, 0, 0, 0);
        }
        self.patch_here(exits.done);
    }
}
