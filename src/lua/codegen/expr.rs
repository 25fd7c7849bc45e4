//! Expressions.

use super::{Generator, instr};
use crate::bytecode::Op;
use crate::bytecode::proto_builder::JumpList;
use crate::lua::StrId;
use crate::lua::ast::{BinaryOp, ExprId, ExprKind, ExprList, FieldKey, Span, UnaryOp};
use crate::runtime::string::SHORT_MAX;
use crate::runtime::value::Value;

/// Elements of a table constructor that are stored together.
const LIST_BATCH: usize = 50;

/// Where the value of an operand is. Captured variables are read as late as plain ones would be: by the
/// instruction that uses them, after all operands have been evaluated.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    Register(usize),
    /// In the cell in this register.
    Cell(usize),
    /// In this captured variable.
    Captured(u8),
}

/// What is to be done with an integer key: nothing, it fits the instruction.
pub(super) fn small_key(kind: ExprKind) -> Option<i32> {
    match kind {
        ExprKind::Int(i) => i.get().try_into().ok(),
        _ => None,
    }
}

/// The instructions of an operator: on two registers, and on a register and a constant.
fn arithmetic_ops(op: BinaryOp) -> (Op, Op) {
    use BinaryOp::*;
    match op {
        Add => (Op::ADD, Op::ADDK),
        Subtract => (Op::SUB, Op::SUBK),
        Multiply => (Op::MUL, Op::MULK),
        Modulo => (Op::MOD, Op::MODK),
        Power => (Op::POW, Op::POWK),
        Divide => (Op::DIV, Op::DIVK),
        FloorDivide => (Op::IDIV, Op::IDIVK),
        BitAnd => (Op::BAND, Op::BANDK),
        BitOr => (Op::BOR, Op::BORK),
        BitXor => (Op::BXOR, Op::BXORK),
        ShiftLeft => (Op::SHL, Op::SHLK),
        _ => (Op::SHR, Op::SHRK),
    }
}

impl Generator<'_> {
    pub(super) fn kind(&self, e: ExprId) -> ExprKind {
        self.chunk[e].kind
    }

    /// The value of a literal.
    pub(super) fn literal(&mut self, e: ExprId) -> Option<Value> {
        Some(match self.kind(e) {
            ExprKind::Nil => Value::NIL,
            ExprKind::True => Value::TRUE,
            ExprKind::False => Value::FALSE,
            ExprKind::Int(i) => Value::int(i.get()),
            ExprKind::Float(f) => Value::float(f.get()),
            ExprKind::Str(s) => Value::string(self.string(s)),
            _ => return None,
        })
    }

    fn is_literal(&self, e: ExprId) -> bool {
        use ExprKind::*;
        matches!(
            self.kind(e),
            Nil | True | False | Int(_) | Float(_) | Str(_)
        )
    }

    pub(super) fn is_multiple(&self, e: ExprId) -> bool {
        matches!(self.kind(e), ExprKind::Call { .. } | ExprKind::Vararg)
    }

    /// The name as the key of a field cache; long strings are no such keys.
    pub(super) fn field(&mut self, name: StrId) -> Option<u32> {
        let key = self.string(name);
        (key.len <= SHORT_MAX).then(|| self.f.builder.field(key))
    }

    /// Evaluates an expression to wherever that is cheapest. Takes a register if it needs one.
    pub(super) fn operand(&mut self, e: ExprId) -> Operand {
        self.eval(e, None)
    }

    /// Evaluates an expression into `dest`, which may be the first free register. Takes no register.
    pub(super) fn eval_to(&mut self, e: ExprId, dest: usize) {
        self.current = Some(e);
        if dest == self.f.free {
            self.need(dest + 1);
        }
        self.eval(e, Some(dest));
    }

    /// Evaluates an expression into the next register and takes that.
    pub(super) fn eval_next(&mut self, e: ExprId) -> usize {
        self.eval_to(e, self.f.free);
        self.claim(1)
    }

    /// Reads the operand into a register, if it is not in one.
    pub(super) fn register(&mut self, operand: Operand) -> usize {
        match operand {
            Operand::Register(r) => r,
            Operand::Cell(_) | Operand::Captured(_) => {
                let r = self.f.free;
                self.read_to(operand, r);
                self.claim(1)
            }
        }
    }

    /// Reads the operand into `dest`.
    pub(super) fn read_to(&mut self, operand: Operand, dest: usize) {
        match operand {
            Operand::Register(r) if r == dest => {}
            Operand::Register(r) => self.emit(Op::MOVE, dest, r, 0, 0),
            Operand::Cell(r) => self.emit(Op::GETCELL, dest, r, 0, 0),
            Operand::Captured(index) => self.emit(Op::GETUP, dest, index as usize, 0, 0),
        }
    }

    /// Makes the operand the topmost temporary, in register `start`.
    fn settle(&mut self, operand: Operand, start: usize) {
        self.f.free = start;
        self.read_to(operand, start);
        self.claim(1);
    }

    /// The value is in `dest`, or in the temporary `start`; nothing else is needed any longer.
    fn done(&mut self, start: usize, dest: Option<usize>) -> Operand {
        self.f.free = start;
        match dest {
            Some(dest) => Operand::Register(dest),
            None => Operand::Register(self.claim(1)),
        }
    }

    /// The value is in the temporary `start`, but wanted in `dest`.
    fn deliver(&mut self, start: usize, dest: Option<usize>) -> Operand {
        self.f.free = start;
        if let Some(dest) = dest {
            self.need(start + 1);
            self.read_to(Operand::Register(start), dest);
        }
        self.done(start, dest)
    }

    /// Whether [`step`](Self::step) generates the expression, once its left operand is there.
    fn is_step(&self, e: ExprId) -> bool {
        match self.kind(e) {
            ExprKind::Binary(BinaryOp::And | BinaryOp::Or, ..) => false,
            ExprKind::Binary(op, left, _) => {
                !(self.is_on_numeral(e) || op.is_comparison() && self.is_literal(left))
            }
            _ => self.chunk.left(e).is_some(),
        }
    }

    /// Whether the expression is an arithmetic operation with a numeral on its left.
    fn is_on_numeral(&self, e: ExprId) -> bool {
        match self.kind(e) {
            ExprKind::Binary(op, left, _) => {
                !op.is_comparison()
                    && !matches!(op, BinaryOp::Concat | BinaryOp::And | BinaryOp::Or)
                    && matches!(self.kind(left), ExprKind::Int(_) | ExprKind::Float(_))
            }
            _ => false,
        }
    }

    fn eval(&mut self, e: ExprId, dest: Option<usize>) -> Operand {
        let start = self.f.free;
        let base = self.pending.len();
        let mut leaf = e;
        while self.is_step(leaf)
            && let Some(left) = self.chunk.left(leaf)
        {
            if !self.put_off(leaf) {
                self.pending.truncate(base);
                return Operand::Register(start);
            }
            leaf = left;
        }
        let mut value = self.leaf(leaf, if leaf == e { dest } else { None });
        while self.pending.len() > base
            && let Some(step) = self.pending.pop()
        {
            value = self.step(step, value, start, if step == e { dest } else { None });
        }
        value
    }

    /// Pushes an expression to [`pending`](Generator::pending); `false` if memory runs out.
    pub(super) fn put_off(&mut self, e: ExprId) -> bool {
        let pushed = self.meter.push(&mut self.pending, e);
        if let Err(failure) = pushed {
            self.f.builder.fail(failure.into());
        }
        pushed.is_ok()
    }

    /// Evaluates an expression that has no left operand.
    fn leaf(&mut self, e: ExprId, dest: Option<usize>) -> Operand {
        self.current = Some(e);
        let start = self.f.free;
        let target = dest.unwrap_or(start);
        let line = self.chunk[e].line;
        self.line(line);
        match self.kind(e) {
            ExprKind::Local(var) => {
                let r = self.registers[var.index()];
                let operand = if self.chunk[var].captured {
                    Operand::Cell(r)
                } else {
                    Operand::Register(r)
                };
                match dest {
                    None => return operand,
                    Some(dest) => self.read_to(operand, dest),
                }
            }
            ExprKind::Upvalue(index) => self.read_to(Operand::Captured(index), target),
            ExprKind::Global { env, name } => match self.field(name) {
                Some(field) => self.emit(Op::GETENV, target, env as usize, 0, field),
                None => {
                    let env = self.register(Operand::Captured(env));
                    let key = self.name(name);
                    self.f.free = start;
                    self.emit(Op::GETINDEX, target, env, key, 0);
                }
            },
            ExprKind::Vararg => self.emit(Op::VARARG, target, 0, 2, 0),
            ExprKind::Function(function) => {
                let index = self.function(function);
                self.line(line);
                self.emit(Op::CLOSURE, target, 0, 0, index);
            }
            ExprKind::Table(fields) => {
                self.table(fields, line);
                return self.deliver(start, dest);
            }
            ExprKind::Paren(inner) => return self.eval(inner, dest),
            ExprKind::Unary(UnaryOp::Not, inner) if self.is_condition(inner) => {
                self.boolean(e, target)
            }
            ExprKind::Unary(op, inner) => {
                let operand = self.operand(inner);
                let r = self.register(operand);
                self.f.free = start;
                self.line(line);
                let op = match op {
                    UnaryOp::Negate => Op::UNM,
                    UnaryOp::BitNot => Op::BNOT,
                    UnaryOp::Not => Op::NOT,
                    UnaryOp::Length => Op::LEN,
                };
                self.emit(op, target, r, 0, 0);
            }
            ExprKind::Binary(BinaryOp::And | BinaryOp::Or, ..) => self.logical(e, target),
            ExprKind::Binary(op, left, right) if self.is_on_numeral(e) => {
                self.arithmetic_of_numeral(op, left, right, target, line);
            }
            ExprKind::Binary(..) => self.boolean(e, target),
            _ => {
                if let Some(v) = self.literal(e) {
                    self.load(v, target);
                }
            }
        }
        self.done(start, dest)
    }

    /// Loads a literal.
    pub(super) fn load(&mut self, v: Value, dest: usize) {
        match v.as_int().map(i32::try_from) {
            Some(Ok(i)) => self.emit(Op::LOADI, dest, 0, 0, i as u32),
            _ if v.is_nil() => {
                if !self.f.builder.extend_nil(dest, 1, self.f.free) {
                    self.emit(Op::NIL, dest, 0, 0, 0);
                }
            }
            _ if v.same_bits(Value::TRUE) => self.emit(Op::TRUE, dest, 0, 0, 0),
            _ if v.same_bits(Value::FALSE) => self.emit(Op::FALSE, dest, 0, 0, 0),
            _ => {
                let k = self.f.builder.constant(v);
                self.emit(Op::LOADK, dest, 0, 0, k);
            }
        }
    }

    /// Loads a name into a new temporary.
    pub(super) fn name(&mut self, name: StrId) -> usize {
        let name = Value::string(self.string(name));
        self.load(name, self.f.free);
        self.claim(1)
    }

    /// Completes an expression whose left operand has been evaluated, to a variable or the temporary `start`.
    fn step(&mut self, e: ExprId, left: Operand, start: usize, dest: Option<usize>) -> Operand {
        self.current = Some(e);
        let target = dest.unwrap_or(start);
        let line = self.chunk[e].line;
        match self.kind(e) {
            ExprKind::Field { name, .. } => {
                self.line(line);
                let object = self.register(left);
                match self.field(name) {
                    Some(field) => {
                        self.f.free = start;
                        self.emit(Op::GETFIELD, target, object, 0, field);
                    }
                    None => {
                        let key = self.name(name);
                        self.f.free = start;
                        self.emit(Op::GETINDEX, target, object, key, 0);
                    }
                }
            }
            ExprKind::Index { key, .. } => match small_key(self.kind(key)) {
                Some(key) => {
                    self.line(line);
                    let object = self.register(left);
                    self.f.free = start;
                    self.emit(Op::GETINT, target, object, 0, key as u32);
                }
                None => {
                    let key = self.operand(key);
                    self.line(line);
                    let object = self.register(left);
                    let key = self.register(key);
                    self.f.free = start;
                    self.emit(Op::GETINDEX, target, object, key, 0);
                }
            },
            ExprKind::Method { name, .. } => {
                self.method(name, left, start, line);
                return Operand::Register(start);
            }
            ExprKind::Call { callee, args } => {
                self.call(callee, args, left, start, line, 2);
                return self.deliver(start, dest);
            }
            ExprKind::Binary(BinaryOp::Concat, _, right) => {
                self.concat(e, left, right, start);
                return self.deliver(start, dest);
            }
            ExprKind::Binary(op, _, right) if op.is_comparison() => {
                let mut yes = JumpList::EMPTY;
                self.compare(op, left, right, start, line, true, &mut yes);
                self.finish_boolean(yes, target);
            }
            ExprKind::Binary(op, _, right) => self.arithmetic(op, left, right, start, target, line),
            _ => {}
        }
        self.done(start, dest)
    }

    fn arithmetic(
        &mut self,
        op: BinaryOp,
        left: Operand,
        right: ExprId,
        start: usize,
        dest: usize,
        line: u32,
    ) {
        let (plain, constant) = arithmetic_ops(op);
        if matches!(self.kind(right), ExprKind::Int(_) | ExprKind::Float(_))
            && let Some(k) = self.literal(right)
        {
            self.line(line);
            let k = self.f.builder.constant(k);
            let left = self.register(left);
            self.f.free = start;
            self.emit(constant, dest, left, 0, k);
            return;
        }
        let right = self.operand(right);
        self.line(line);
        let left = self.register(left);
        let right = self.register(right);
        self.f.free = start;
        self.emit(plain, dest, left, right, 0);
    }

    /// An operation with a numeral on its left, which is loaded after the right operand has been evaluated.
    fn arithmetic_of_numeral(
        &mut self,
        op: BinaryOp,
        left: ExprId,
        right: ExprId,
        dest: usize,
        line: u32,
    ) {
        let start = self.f.free;
        let right = self.operand(right);
        if let Some(v) = self.literal(left) {
            let right = self.register(right);
            self.load(v, self.f.free);
            let left = self.claim(1);
            self.line(line);
            self.f.free = start;
            self.emit(arithmetic_ops(op).0, dest, left, right, 0);
        }
    }

    /// Concatenates into the temporary `start`; a concatenation on the right is part of this one.
    fn concat(&mut self, e: ExprId, left: Operand, mut right: ExprId, start: usize) {
        self.settle(left, start);
        let mut line = self.chunk[e].line;
        while let ExprKind::Binary(BinaryOp::Concat, left, rest) = self.kind(right) {
            self.eval_next(left);
            line = self.chunk[right].line;
            right = rest;
        }
        self.eval_next(right);
        self.line(line);
        // The operands stay in use while metamethods are called.
        self.emit(Op::CONCAT, start, self.f.free - start, 0, 0);
    }

    /// Puts the method into register `start` and the receiver behind it.
    fn method(&mut self, name: StrId, receiver: Operand, start: usize, line: u32) {
        self.line(line);
        let receiver = self.register(receiver);
        match self.field(name) {
            Some(field) => {
                self.f.free = start;
                // SELF writes both registers before it calls a metamethod.
                let self_ = instr(Op::SELF, start, receiver, 0, field);
                self.f.builder.emit(self_, start + 2);
            }
            None => {
                self.settle(Operand::Register(receiver), start);
                self.settle(Operand::Register(start), start + 1);
                let key = self.name(name);
                self.f.free = start + 2;
                self.emit(Op::GETINDEX, start, start + 1, key, 0);
            }
        }
        self.f.free = start;
        self.claim(2);
    }

    /// Calls the function `left` from register `start`. With `results` 0 all results are wanted, else one less.
    fn call(
        &mut self,
        callee: ExprId,
        args: ExprList,
        left: Operand,
        start: usize,
        line: u32,
        results: usize,
    ) {
        let b = self.arguments(callee, args, left, start);
        self.line(line);
        let site = self.f.builder.call_site();
        self.emit(Op::CALL, start, b, results, site);
    }

    /// Evaluates a call's arguments; leaves `free` at `start`.
    fn arguments(&mut self, callee: ExprId, args: ExprList, left: Operand, start: usize) -> usize {
        if !matches!(self.kind(callee), ExprKind::Method { .. }) {
            self.settle(left, start);
        }
        let open = self.values(args);
        let b = if open { 0 } else { self.f.free - start };
        self.f.free = start;
        b
    }

    /// A call whose results go to the next register and above; takes none. `results` is as in `CALL`.
    pub(super) fn call_next(&mut self, e: ExprId, results: usize) {
        if let ExprKind::Call { callee, args } = self.kind(e) {
            let start = self.f.free;
            let left = self.callee(callee);
            self.call(callee, args, left, start, self.chunk[e].line, results);
        }
    }

    /// A tail call.
    pub(super) fn tail_call(&mut self, e: ExprId) {
        if let ExprKind::Call { callee, args } = self.kind(e) {
            let start = self.f.free;
            let left = self.callee(callee);
            let b = self.arguments(callee, args, left, start);
            self.line(self.chunk[e].line);
            let site = self.f.builder.call_site();
            self.emit(Op::TAILCALL, start, b, 0, site);
        }
    }

    fn callee(&mut self, callee: ExprId) -> Operand {
        let start = self.f.free;
        match self.kind(callee) {
            ExprKind::Method { object, name } => {
                let object = self.operand(object);
                self.method(name, object, start, self.chunk[callee].line);
                Operand::Register(start)
            }
            _ => self.operand(callee),
        }
    }

    /// Evaluates the last expression of a list, a call or `...`, to the next register and above; takes none.
    /// `results` is as in `CALL`.
    fn open(&mut self, e: ExprId, results: usize) {
        match self.kind(e) {
            ExprKind::Vararg => {
                self.line(self.chunk[e].line);
                self.emit(Op::VARARG, self.f.free, 0, results, 0);
            }
            _ => self.call_next(e, results),
        }
    }

    /// Evaluates a list into the next registers and takes them. True if the list is open: the values of the last
    /// expression are not among the registers taken, they go up to `top`.
    pub(super) fn values(&mut self, list: ExprList) -> bool {
        let Some((&last, init)) = self.chunk.list(list).split_last() else {
            return false;
        };
        for &e in init {
            self.eval_next(e);
        }
        let open = self.is_multiple(last);
        if open {
            self.open(last, 0);
        } else {
            self.eval_next(last);
        }
        open
    }

    /// Evaluates expressions into the next `wanted` registers and takes them.
    pub(super) fn adjust(&mut self, list: &[ExprId], wanted: usize) {
        let start = self.f.free;
        for (i, &e) in list.iter().enumerate() {
            if i + 1 == list.len() && self.is_multiple(e) {
                let results = wanted.saturating_sub(i);
                if results > 0 || self.kind(e).is_call() {
                    self.open(e, results + 1);
                }
                self.claim(results);
            } else {
                self.eval_next(e);
            }
        }
        let count = self.f.free - start;
        if count < wanted {
            self.nil(wanted - count);
        }
        self.f.free = start + wanted;
    }

    /// Takes the next `count` registers (at least one) with nil in them.
    pub(super) fn nil(&mut self, count: usize) {
        let first = self.f.free;
        if !self.f.builder.extend_nil(first, count, first) {
            self.emit(Op::NIL, first, count - 1, 0, 0);
        }
        self.claim(count);
    }

    /// Builds a table in the next register; takes it.
    fn table(&mut self, fields: Span, line: u32) {
        let table = self.f.free;
        let fields = self.chunk.fields(fields);
        let elements = fields
            .iter()
            .filter(|field| matches!(field.key, FieldKey::Next))
            .count();
        let slots = fields
            .iter()
            .filter(|field| matches!(field.key, FieldKey::Name(_)))
            .count();
        let open = fields.last().is_some_and(|field| {
            matches!(field.key, FieldKey::Next) && self.is_multiple(field.value)
        });
        let site = self
            .f
            .builder
            .table_site(self.rt, slots, elements - open as usize);
        self.line(line);
        self.emit(Op::NEWTABLE, table, 0, 0, site);
        self.claim(1);
        let mut stored = 0;
        let mut list_line = line;
        for (i, field) in fields.iter().enumerate() {
            if self.f.builder.has_failed() {
                break;
            }
            let waiting = self.f.free - table - 1;
            if waiting == LIST_BATCH {
                self.flush(table, waiting, stored);
                stored += waiting;
            }
            match field.key {
                FieldKey::Next if open && i + 1 == fields.len() => {
                    self.open(field.value, 0);
                    self.line(field.line);
                    self.flush(table, 0, stored);
                    return;
                }
                FieldKey::Next => {
                    self.eval_next(field.value);
                    list_line = field.line;
                }
                FieldKey::Name(_) | FieldKey::Expr(_) => self.store_field(table, field),
            }
        }
        let waiting = self.f.free - table - 1;
        if waiting > 0 {
            self.line(list_line);
            self.flush(table, waiting, stored);
        }
    }

    /// Stores the elements behind the table, of which there are `count` or (0) as many as there are.
    fn flush(&mut self, table: usize, count: usize, stored: usize) {
        match u32::try_from(stored) {
            Ok(stored) if stored <= i32::MAX as u32 => {
                self.emit(Op::SETLIST, table, count, 0, stored)
            }
            _ => self.f.builder.exceed("table constructor too long"),
        }
        self.f.free = table + 1;
    }
}

impl ExprKind {
    pub(super) fn is_call(self) -> bool {
        matches!(self, ExprKind::Call { .. })
    }
}
