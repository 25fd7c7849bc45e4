//! Loops: numeric ones, and traversals by `next`, `ipairs` and other iterators.

use perilune_uops::{MicroOp, Type};

use super::super::superblock::*;
use super::{Flow, Projector, type_of_tag};
use crate::bytecode::{Instr, Op};
use crate::runtime::value::Tag;
use crate::tier1::recording::facts;
use crate::tier1::{Builtin, is_next};

impl Projector<'_> {
    pub(super) fn for_prepare(&mut self, instr: Instr) -> Flow {
        let case = Op::FORPREP.cases()[0];
        let step = self.read(self.register(instr.a() + 2));
        let one = self.sb.node(step).op == MicroOp::CONST_INT && self.sb.node(step).operands[0] == 1;
        if one && self.case_fits(instr, case) {
            return self.expand(instr, case);
        }
        if !self.stays() || self.cautious {
            return self.general(instr);
        }
        let numbers = [0, 1, 2].map(|i| self.loop_number(instr, i));
        let counts = self.step().facts & (facts::COUNTS_UP | facts::COUNTS_DOWN) != 0;
        match numbers {
            [Some(Type::Int), Some(limit), Some(Type::Int)] if counts => self.prepare_count(instr, limit),
            [Some(Type::Int), _, Some(Type::Int)] | [None, ..] | [_, None, _] | [.., None] => self.general(instr),
            numbers => self.prepare_floats(instr, numbers.map(|n| n.expect("matched above"))),
        }
    }

    /// The type of a number of a numeric loop that is about to begin: start, limit, step.
    fn loop_number(&self, instr: Instr, i: usize) -> Option<Type> {
        let known = self.slots[self.register(instr.a() + i) as usize].value;
        let known = (!known.is_none()).then(|| self.sb.type_of(known)).filter(|ty| *ty != Type::Tagged);
        known.or(type_of_tag(self.step().tags[i])).filter(|ty| matches!(ty, Type::Int | Type::Float))
    }

    /// A loop over integers: how often it runs is settled before it begins.
    fn prepare_count(&mut self, instr: Instr, limit: Type) -> Flow {
        let up = self.step().facts & facts::COUNTS_UP != 0;
        let slot = |i: usize| self.register(instr.a() + i);
        let slots = [slot(0), slot(1), slot(2), slot(3)];
        let [start, last, step] = [slots[0], slots[1], slots[2]].map(|slot| self.read(slot));
        let start = self.guard_type(start, Type::Int);
        let mut last = self.guard_type(last, limit);
        if limit == Type::Float {
            let rounded = self.emit(if up { MicroOp::FLOOR_F } else { MicroOp::CEIL_F }, &[last], &[]);
            last = self.emit(MicroOp::FLOAT_TO_INT, &[rounded], &[]);
        }
        let step = self.guard_type(step, Type::Int);
        let zero = self.sb.push(Node::int(0));
        let constant = self.sb.node(step).op == MicroOp::CONST_INT;
        if !constant {
            let (low, high) = if up { (zero, step) } else { (step, zero) };
            let holds = self.emit(MicroOp::LT_I, &[low, high], &[]);
            self.emit(MicroOp::GUARD_TRUE, &[holds], &[]);
            self.emit(MicroOp::GUARD_NOT_ZERO, &[step], &[]);
        }
        let (low, high) = if up { (start, last) } else { (last, start) };
        let runs = self.emit(MicroOp::LE_I, &[low, high], &[]);
        let to = super::target(self.pc(), instr);
        if self.branch(instr, MicroOp::JUMP_UNLESS, to, runs, false)? {
            return self.goes_to(to);
        }
        let distance = self.emit(MicroOp::SUB_I, &[high, low], &[]);
        let size = match (up, constant) {
            (true, _) => step,
            (false, true) => {
                let step = self.sb.node(step).operands[0] as i64;
                self.sb.push(Node::int(step.wrapping_neg()))
            }
            (false, false) => self.emit(MicroOp::NEG_I, &[step], &[]),
        };
        let unit = Node::int(1);
        let count = if self.sb.node(size).op == unit.op && self.sb.node(size).operands == unit.operands {
            distance
        } else {
            // The distance between integers may be greater than all of them.
            let fits = self.emit(MicroOp::LE_I, &[zero, distance], &[]);
            self.emit(MicroOp::GUARD_TRUE, &[fits], &[]);
            self.emit(MicroOp::IDIV_I, &[distance, size], &[])
        };
        self.write(slots[1], count);
        self.write(slots[3], start);
        self.goes_on()
    }

    /// A loop over floats.
    fn prepare_floats(&mut self, instr: Instr, types: [Type; 3]) -> Flow {
        let mut numbers = [Ref::NONE; 3];
        for (i, ty) in types.into_iter().enumerate() {
            let x = self.read(self.register(instr.a() + i));
            let x = self.guard_type(x, ty);
            numbers[i] = if ty == Type::Int { self.emit(MicroOp::INT_TO_FLOAT, &[x], &[]) } else { x };
        }
        let zero = self.sb.push(Node::float(0.0));
        let stands = self.emit(MicroOp::EQ_F, &[numbers[2], zero], &[]);
        self.emit(MicroOp::GUARD_FALSE, &[stands], &[]);
        // A loop begins unless the start has passed the limit, and goes on if it has not: that differs for what is no number.
        for &x in &numbers[..2] {
            let same = self.emit(MicroOp::EQ_F, &[x, x], &[]);
            self.emit(MicroOp::GUARD_TRUE, &[same], &[]);
        }
        let runs = self.emit(MicroOp::FOR_GOES_ON, &numbers, &[]);
        let to = super::target(self.pc(), instr);
        if self.branch(instr, MicroOp::JUMP_UNLESS, to, runs, false)? {
            return self.goes_to(to);
        }
        for (i, r) in [numbers[0], numbers[1], numbers[2], numbers[0]].into_iter().enumerate() {
            self.write(self.register(instr.a() + i), r);
        }
        self.goes_on()
    }

    pub(super) fn for_loop(&mut self, instr: Instr) -> Flow {
        if self.next().pc != self.pc() + 1 && !self.is_unrolled(self.step()) {
            self.poll();
        }
        let ints = self.step().tags[0] == Tag::INT.byte();
        let steps = if ints { Op::FORLOOP_INT } else { Op::FORLOOP }.expansion();
        let slot = self.register(instr.a() + 2) as usize;
        let Some(step) = self.constant_step(instr).filter(|_| ints && !self.cautious) else {
            return self.expand(instr, steps);
        };
        // Memory, or whatever the slot has, goes on having it.
        let x = self.read(slot as Slot);
        let x = self.guard_type(x, Type::Int);
        let known = self.slots[slot];
        let constant = self.sb.push(Node::int(step));
        if self.sb.node(x).op != MicroOp::CONST_INT {
            let same = self.emit(MicroOp::EQ_I, &[x, constant], &[]);
            self.emit(MicroOp::GUARD_TRUE, &[same], &[]);
        }
        self.slots[slot].value = constant;
        let flow = self.expand(instr, steps);
        self.slots[slot] = known;
        flow
    }

    /// The step of a numeric loop, if its code says that it is a constant.
    fn constant_step(&self, instr: Instr) -> Option<i64> {
        let body = super::target(self.pc(), instr) as usize;
        let code = &self.proto().info.code;
        let [before, prepare] = code.get(body.checked_sub(2)?..body)? else {
            return None;
        };
        let loads = before.op() == Op::LOADI && before.a() == instr.a() + 2;
        let prepares = prepare.op().general() == Op::FORPREP && prepare.a() == instr.a();
        (loads && prepares).then(|| before.sd() as i64)
    }

    pub(super) fn iterator_prepare(&mut self, instr: Instr) -> Flow {
        let closing = self.read(self.register(instr.a() + 3));
        let nil = self.sb.node(closing).op == MicroOp::CONST_NIL || self.sb.type_of(closing) == Type::Bool;
        if !nil {
            // Hardly any loop has a variable to close.
            self.emit(MicroOp::GUARD_NIL, &[closing], &[]);
        }
        self.goes_to(super::target(self.pc(), instr))
    }

    pub(super) fn iterator_loop(&mut self, instr: Instr) -> Flow {
        if self.next().pc != self.pc() + 1 {
            self.poll();
        }
        let key = self.register(instr.a() + 4);
        let x = self.read(key);
        // What is compared with nil next is what the loop's body uses.
        if let Some(ty) = type_of_tag(self.step().tags[0])
            && matches!(ty, Type::Int | Type::String | Type::Table)
            && self.sb.type_of(x) == Type::Tagged
            && !self.cautious
        {
            let end = self.snapshot(self.pc());
            let guard = guard_of(ty).expect("these types have guards");
            let typed = self.sb.push(Node::new(guard, &[x], &[]).with_exit(end));
            self.refine(x, typed);
        }
        self.expand(instr, Op::TFORLOOP.expansion())
    }

    pub(super) fn iterator_call(&mut self, instr: Instr) -> Flow {
        let a = instr.a();
        let iterator = self.read(self.register(a));
        let state = self.read(self.register(a + 1));
        if is_next(self.step().callee_value())
            && self.step().tags[1] == Tag::TABLE.byte()
            && self.stays()
        {
            return self.next_pair(instr, iterator, state);
        }
        if let Some(native) = self.step().callee_value().as_native()
            && native.builtin == Builtin::IpairsStep
            && self.stays()
            && let Some((key, v)) = self.element_step(native, iterator, state, a)
        {
            self.deliver(self.register(a + 4), &[key, v], instr.c() as i16);
            return self.goes_on();
        }
        let control = self.read(self.register(a + 2));
        for (i, v) in [iterator, state, control].into_iter().enumerate() {
            self.write(self.register(a + 4 + i), v);
        }
        // Executing the instruction again would write the same.
        self.extent = self.register(a + 7);
        self.here = SnapshotId::NONE;
        self.call_at(instr, a + 4, Some(2), instr.c() as i16)
    }

    /// `next` in a loop over a table.
    fn next_pair(&mut self, instr: Instr, iterator: Ref, state: Ref) -> Flow {
        let a = instr.a();
        if self.constant_object(iterator).is_none() {
            self.emit(MicroOp::GUARD_NEXT, &[iterator], &[]);
        }
        let table = self.guard_type(state, Type::Table);
        let slot = self.register(a + 2);
        let control = self.read(slot);
        let position = match self.traversal {
            Some(t) if t.control == slot && (t.table, t.key) == (table, control) => {
                self.emit(MicroOp::NEXT_POSITION, &[table, t.position], &[])
            }
            _ => self.emit(MicroOp::FIND_NEXT, &[table, control], &[]),
        };
        let key = self.emit(MicroOp::LOAD_KEY, &[table, position], &[]);
        self.traversal = Some(super::Traversal { control: slot, table, key, position });
        let v = self.emit(MicroOp::LOAD_VALUE, &[table, position], &[]);
        self.deliver(self.register(a + 4), &[key, v], instr.c() as i16);
        self.goes_on()
    }
}
