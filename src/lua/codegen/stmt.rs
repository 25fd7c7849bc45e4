//! Statements.

use super::{Generator, LabelState, Loop};
use crate::bytecode::Op;
use crate::bytecode::proto_builder::JumpList;
use crate::lua::ast::{
    Arm, Attrib, BlockId, ExprId, ExprList, FuncId, GotoId, LabelId, Span, Stmt, StmtKind, VarId,
};
use crate::runtime::value::Value;

/// What the variables behind a `for` loop are called.
const FOR_STATE: &[u8] = b"(for state)";

impl Generator<'_> {
    pub(super) fn statements(&mut self, block: BlockId) {
        for stmt in self.chunk.statements(block) {
            if self.f.builder.has_failed() {
                break;
            }
            self.statement(stmt);
        }
    }

    /// Generates a block with a scope of its own.
    fn block(&mut self, block: BlockId) {
        let scope = self.enter_scope();
        self.statements(block);
        self.line(self.chunk[block].end_line);
        self.leave_scope(scope);
    }

    fn statement(&mut self, stmt: &Stmt) {
        let line = stmt.line;
        self.line(line);
        match stmt.kind {
            StmtKind::Local {
                count,
                first,
                values,
            } => self.local(count as usize, first, values, line),
            StmtKind::LocalFunction { var, function } => self.local_function(var, function, line),
            StmtKind::Assign { target, value } => self.assign(target, value),
            StmtKind::AssignMany { targets, values } => self.assign_many(targets, values),
            StmtKind::Call(e) => self.call_next(e, 1),
            StmtKind::Do(body) => self.block(body),
            StmtKind::While {
                condition,
                line,
                body,
            } => self.while_loop(condition, line, body),
            StmtKind::Repeat {
                body,
                condition,
                line,
            } => self.repeat_loop(body, condition, line),
            StmtKind::If { arms, otherwise } => self.conditional(arms, otherwise),
            StmtKind::NumericFor { var, range, body } => self.numeric_for(var, range, body, line),
            StmtKind::GenericFor {
                count,
                first,
                values,
                body,
            } => self.generic_for(count as usize, first, values, body, line),
            StmtKind::Return { closes, values } => self.return_values(closes, values, line),
            StmtKind::Break { closes } => self.break_loop(closes),
            StmtKind::Goto(goto) => self.go_to(goto),
            StmtKind::Label(label) => self.label(label),
        }
    }

    // Variables.

    fn local(&mut self, count: usize, first: VarId, values: ExprList, line: u32) {
        let var = |i: usize| VarId(first.0 + i as u32);
        let mut values = self.chunk.list(values);
        let mut count = count;
        let mut constant = None;
        if let Some(last) = count.checked_sub(1)
            && self.chunk[var(last)].attrib == Attrib::CompileTime
        {
            constant = Some(var(last));
            count = last;
            values = &values[..last];
        }
        let start = self.f.free;
        if values.is_empty() {
            self.uninitialised(count, first);
        } else {
            self.adjust(values, count);
            self.line(line);
            match (0..count).find(|&i| self.chunk[var(i)].attrib == Attrib::Close) {
                None => self.variables(first, start, count),
                Some(i) => {
                    self.variables(first, start, i);
                    self.mark_to_be_closed(var(i), start + i, var(i + 1), count - i - 1);
                }
            }
        }
        if constant.is_some() {
            // It counts among the variables in scope.
            self.f.named.push(self.f.free);
        }
    }

    /// Declares variables without values.
    fn uninitialised(&mut self, count: usize, first: VarId) {
        let var = |i: usize| VarId(first.0 + i as u32);
        let mut i = 0;
        while i < count {
            let plain = (i..count)
                .take_while(|&i| !self.chunk[var(i)].captured)
                .count();
            let start = self.f.free;
            self.f.builder.join_nil();
            if plain > 0 {
                self.nil(plain);
            } else {
                self.emit(Op::NEWCELL, start, 0, 0, 0);
                self.claim(1);
            }
            for register in start..self.f.free {
                self.activate(var(i), register);
                i += 1;
            }
        }
        if (0..count).any(|i| self.chunk[var(i)].attrib == Attrib::Close) {
            // Its value is nil, which needs no closing.
            self.f.closes = true;
        }
    }

    /// Brings a to-be-closed variable into being, and the `count` variables behind it from `rest` on. The variable's
    /// register keeps the plain value; if it is captured (it is constant) its cell is in a register of its own.
    fn mark_to_be_closed(&mut self, var: VarId, register: usize, rest: VarId, count: usize) {
        self.activate(var, register);
        self.variables(rest, register + 1, count);
        self.emit(Op::TBC, register, 0, 0, 0);
        self.f.closes = true;
        if self.chunk[var].captured {
            let cell = self.f.free;
            self.emit(Op::MOVE, cell, register, 0, 0);
            self.claim(1);
            self.emit(Op::CELL, cell, 0, 0, 0);
            self.registers[var.index()] = cell;
        }
    }

    fn local_function(&mut self, var: VarId, function: FuncId, line: u32) {
        let register = self.f.free;
        if self.chunk[var].captured {
            self.emit(Op::NEWCELL, register, 0, 0, 0);
            self.claim(1);
            self.activate(var, register);
            let index = self.function(function);
            self.line(line);
            let closure = self.f.free;
            self.need(closure + 1);
            self.emit(Op::CLOSURE, closure, 0, 0, index);
            self.emit(Op::SETCELL, register, closure, 0, 0);
        } else {
            let index = self.function(function);
            self.line(line);
            self.emit(Op::CLOSURE, register, 0, 0, index);
            self.claim(1);
            self.activate(var, register);
        }
    }

    // Branches.

    fn conditional(&mut self, arms: Span, otherwise: BlockId) {
        let arms = self.chunk.arms(arms);
        let has_otherwise = !self.chunk.statements(otherwise).is_empty();
        let mut end = JumpList::EMPTY;
        for (i, arm) in arms.iter().enumerate() {
            if self.jump_only(arm) {
                continue;
            }
            let mut next = JumpList::EMPTY;
            self.jump_if_at(arm.condition, false, Some(arm.line), &mut next);
            self.block(arm.body);
            let ends = matches!(
                self.chunk.statements(arm.body).last().map(|stmt| stmt.kind),
                Some(StmtKind::Return { .. } | StmtKind::Break { .. } | StmtKind::Goto(_))
            );
            if (has_otherwise || i + 1 < arms.len()) && !ends {
                self.emit_jump(&mut end, Op::JMP, 0, 0);
            }
            self.patch_here(next);
        }
        if has_otherwise {
            self.block(otherwise);
        }
        self.patch_here(end);
    }

    /// Generates an arm that is a `break` and nothing else as a single jump; `false` if the arm is not that.
    fn jump_only(&mut self, arm: &Arm) -> bool {
        let [only] = self.chunk.statements(arm.body) else {
            return false;
        };
        if !matches!(only.kind, StmtKind::Break { closes: false }) {
            return false;
        }
        let Some(mut innermost) = self.f.loops.pop() else {
            return false;
        };
        self.jump_if_at(arm.condition, true, Some(arm.line), &mut innermost.breaks);
        self.f.loops.push(innermost);
        true
    }

    fn break_loop(&mut self, closes: bool) {
        let Some(mut innermost) = self.f.loops.pop() else {
            return;
        };
        if closes {
            self.emit(Op::CLOSE, innermost.level, 0, 0, 0);
        }
        self.emit_jump(&mut innermost.breaks, Op::JMP, 0, 0);
        self.f.loops.push(innermost);
    }

    fn go_to(&mut self, goto: GotoId) {
        let goto = self.chunk[goto];
        if goto.closes {
            let level = self.scope_end(goto.label);
            self.emit(Op::CLOSE, level, 0, 0, 0);
        }
        let LabelState { target, mut jumps } = self.labels[goto.label.index()];
        match target {
            Some(target) => {
                let free = self.f.free;
                self.f.free = self.scope_end(goto.label);
                self.emit_back(Op::LOOP, 0, target);
                self.f.free = free;
            }
            None => {
                self.emit_jump(&mut jumps, Op::JMP, 0, 0);
                self.labels[goto.label.index()].jumps = jumps;
            }
        }
    }

    /// The end of the registers of the variables in whose scope a label is.
    fn scope_end(&self, label: LabelId) -> usize {
        let in_scope = self.chunk[label].in_scope as usize;
        self.f.named.get(in_scope).copied().unwrap_or(self.f.free)
    }

    fn label(&mut self, label: LabelId) {
        // At the end of a block, jumps may have skipped the declarations of its last variables.
        if (self.chunk[label].in_scope as usize) < self.f.named.len() {
            self.f.joined = self.f.joined.min(self.scope_end(label));
        }
        let target = self.here();
        let state = &mut self.labels[label.index()];
        state.target = Some(target);
        let jumps = state.jumps;
        self.f.builder.patch(jumps, target);
    }

    // Loops.

    /// Generates the body of a loop, whose breaks are returned.
    fn loop_body(&mut self, level: usize, body: impl FnOnce(&mut Self)) -> JumpList {
        self.f.loops.push(Loop {
            breaks: JumpList::EMPTY,
            level,
        });
        body(self);
        self.f
            .loops
            .pop()
            .map_or(JumpList::EMPTY, |innermost| innermost.breaks)
    }

    fn while_loop(&mut self, condition: ExprId, line: u32, body: BlockId) {
        let start = self.here();
        let mut exit = JumpList::EMPTY;
        self.jump_if_at(condition, false, Some(line), &mut exit);
        let breaks = self.loop_body(self.f.free, |this| this.block(body));
        self.line(self.chunk[body].end_line);
        self.emit_back(Op::LOOP, 0, start);
        self.patch_here(exit);
        self.patch_here(breaks);
    }

    fn repeat_loop(&mut self, body: BlockId, condition: ExprId, line: u32) {
        let start = self.here();
        let mut exit = JumpList::EMPTY;
        let breaks = self.loop_body(self.f.free, |this| {
            let scope = this.enter_scope();
            this.statements(body);
            this.jump_if_at(condition, true, Some(line), &mut exit);
            let (level, free, closes) = (scope.free, this.f.free, this.f.closes);
            this.leave_scope(scope);
            this.emit_back(Op::LOOP, 0, start);
            this.patch_here(exit);
            if closes {
                this.f.free = free;
                this.emit(Op::CLOSE, level, 0, 0, 0);
                this.f.free = level;
            }
        });
        self.patch_here(breaks);
    }

    /// Names the `count` hidden variables of a `for` loop.
    fn loop_state(&mut self, first: usize, count: usize) {
        let name = match self.rt.new_string(FOR_STATE) {
            Ok(name) => name,
            Err(e) => {
                self.f.builder.fail(e.into());
                return;
            }
        };
        for register in first..first + count {
            let local = self.f.builder.begin_local(name, register);
            self.f.open.push(local);
        }
    }

    /// Brings the variables of a `for` loop into being, at the beginning of an iteration.
    fn loop_variables(&mut self, first: VarId, state: usize, count: usize) {
        let named = self.f.named.len();
        let register = self.claim(count);
        self.variables(first, register, count);
        // Jumps out of the scope give up the hidden variables, too.
        if let Some(level) = self.f.named.get_mut(named) {
            *level = state;
        }
    }

    fn numeric_for(&mut self, var: VarId, range: ExprList, body: BlockId, line: u32) {
        let scope = self.enter_scope();
        let state = self.f.free;
        let range = self.chunk.list(range);
        for &e in range {
            self.eval_next(e);
        }
        if range.len() == 2 {
            self.load(Value::int(1), self.f.free);
            self.claim(1);
        }
        self.loop_state(state, 3);
        self.line(self.chunk[body].do_line);
        let mut exit = JumpList::EMPTY;
        self.emit_jump(&mut exit, Op::FORPREP, state, 0);
        let start = self.here();
        let breaks = self.loop_body(state + 3, |this| {
            let inner = this.enter_scope();
            this.loop_variables(var, state, 1);
            this.statements(body);
            this.line(this.chunk[body].end_line);
            this.leave_scope(inner);
        });
        self.line(line);
        self.claim(1);
        self.emit_back(Op::FORLOOP, state, start);
        self.patch_here(exit);
        self.patch_here(breaks);
        self.leave_scope(scope);
    }

    fn generic_for(
        &mut self,
        count: usize,
        first: VarId,
        values: ExprList,
        body: BlockId,
        line: u32,
    ) {
        let scope = self.enter_scope();
        let state = self.f.free;
        self.adjust(self.chunk.list(values), 4);
        self.loop_state(state, 4);
        self.line(self.chunk[body].do_line);
        let mut call = JumpList::EMPTY;
        self.emit_jump(&mut call, Op::TFORPREP, state, 0);
        let start = self.here();
        let breaks = self.loop_body(state + 4, |this| {
            let inner = this.enter_scope();
            this.loop_variables(first, state, count);
            this.statements(body);
            this.line(this.chunk[body].end_line);
            this.leave_scope(inner);
        });
        self.patch_here(call);
        self.line(line);
        // The call needs room for the function and two arguments.
        self.need(state + 7);
        let site = self.f.builder.call_site();
        self.emit(Op::TFORCALL, state, 0, count, site);
        self.claim(count);
        self.emit_back(Op::TFORLOOP, state, start);
        self.f.free = state + 4;
        self.patch_here(breaks);
        // The closing value.
        self.f.closes = true;
        self.line(self.chunk[body].close_line);
        self.leave_scope(scope);
    }

    // Returning.

    fn return_values(&mut self, closes: bool, values: ExprList, line: u32) {
        let start = self.f.free;
        match *self.chunk.list(values) {
            [] => self.emit(Op::RETURN0, 0, 0, 0, 0),
            [e] if self.is_multiple(e) => {
                if !closes && self.kind(e).is_call() {
                    self.tail_call(e);
                } else {
                    self.values(values);
                }
                self.line(line);
                self.emit(Op::RETURN, start, 0, 0, 0);
            }
            [e] => {
                let operand = self.operand(e);
                let r = self.register(operand);
                self.line(line);
                self.emit(Op::RETURN1, r, 0, 0, 0);
            }
            _ => {
                let open = self.values(values);
                self.line(line);
                let b = if open { 0 } else { self.f.free - start + 1 };
                self.emit(Op::RETURN, start, b, 0, 0);
            }
        }
        self.f.free = start;
    }
}
