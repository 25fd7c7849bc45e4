//! Copying expansions: the steps of an instruction become nodes.

use perilune_uops::{Feedback, Field, MicroOp, Operand, Role, Step, Type};
use smallvec::SmallVec;

use super::super::superblock::*;
use super::{Flow, Projector, Stop, target, type_of_tag};
use crate::bytecode::Instr;
use crate::bytecode::proto::Proto;
use crate::runtime::value::Value;
use crate::tier1::recording::facts;

impl Projector<'_> {
    /// The number in a field of an instruction.
    fn field(&self, instr: Instr, field: Field) -> u64 {
        match field {
            Field::A => instr.a() as u64,
            Field::B => instr.b() as u64,
            Field::C => instr.c() as u64,
            Field::D => instr.sd() as i64 as u64,
            Field::BC if instr.op().format().b == Role::Imm => instr.bc() as i16 as i64 as u64,
            Field::BC => instr.bc() as u64,
            Field::Zero => 0,
        }
    }

    /// An operand of a step as the operand of a node.
    pub(super) fn operand(&self, instr: Instr, operand: Operand) -> u64 {
        match operand {
            Operand::Register(Field::Zero, n) => self.register(n as usize) as u64,
            Operand::Register(field, n) => (self.register(self.field(instr, field) as usize) + n as Slot) as u64,
            Operand::Number(field, n) => self.field(instr, field).wrapping_add(n as u64),
            Operand::Literal(n) => n as u64,
            Operand::Next => (self.pc() + 1) as u64,
            Operand::Operation(op) => op as u64,
            Operand::Feedback(feedback) => match feedback {
                Feedback::Proto => unreachable!("calls are projected by hand"),
                _ => unreachable!("field accesses are projected by hand"),
            },
        }
    }

    /// Constant `k` of the running function.
    pub(super) fn constant_of(&mut self, k: usize) -> Ref {
        let proto: &Proto = self.proto();
        let v = proto.info.constants[k];
        self.constant(v).expect("constants of prototypes have micro-ops")
    }

    /// The tag that an operand register had when it was recorded.
    pub(super) fn recorded_tag(&self, instr: Instr, operand: Operand) -> Option<u8> {
        let format = instr.op().format();
        let Operand::Register(field, n) = operand else {
            return None;
        };
        let role = match field {
            Field::A => format.a,
            Field::B => format.b,
            Field::C => format.c,
            _ => return None,
        };
        match (field, role) {
            (Field::A, Role::Use | Role::Cell) if n == 0 => Some(self.step().tags[0]),
            (Field::B, Role::Use | Role::Cell) if n == 0 => Some(self.step().tags[1]),
            (Field::C, Role::Use | Role::Cell) if n == 0 => Some(self.step().tags[2]),
            // Loops.
            (Field::A, Role::Group) if (n as usize) < 3 => Some(self.step().tags[n as usize]),
            _ => None,
        }
    }

    /// Whether `case` is for the operands that were recorded.
    pub(super) fn case_fits(&self, instr: Instr, case: &[Step]) -> bool {
        case.iter().all(|step| self.guard_fits(instr, case, step))
    }

    fn guard_fits(&self, instr: Instr, case: &[Step], step: &Step) -> bool {
        let facts = self.step().facts;
        let needed = match step.op {
            MicroOp::GUARD_IN_ARRAY => return facts & facts::IN_ARRAY != 0,
            MicroOp::GUARD_STORABLE => return facts & (facts::IN_ARRAY | facts::APPENDS) != 0 && !self.cautious,
            MicroOp::GUARD_NO_METATABLE => return facts & facts::NO_METATABLE != 0,
            MicroOp::GUARD_FOUND_IN => return facts & facts::NO_METATABLE != 0 || !self.cautious,
            MicroOp::GUARD_NUMBER => None,
            MicroOp::GUARD_NOT_ZERO | MicroOp::EXACT_FLOAT => return !self.cautious,
            op => match guarded_type(op) {
                Some(ty) => Some(ty),
                None => return true,
            },
        };
        let source = &case[step.inputs[0] as usize];
        let actual = match source.op {
            MicroOp::LOAD => {
                // What is known of the value weighs more than what was recorded.
                let known = match source.operands[0] {
                    Operand::Register(..) => {
                        let slot = self.operand(instr, source.operands[0]) as usize;
                        let known = self.slots[slot].value;
                        (!known.is_none()).then(|| self.sb.type_of(known)).filter(|t| *t != Type::Tagged)
                    }
                    _ => None,
                };
                known.or_else(|| self.recorded_tag(instr, source.operands[0]).and_then(type_of_tag))
            }
            MicroOp::CONST => {
                let k = self.operand(instr, source.operands[0]) as usize;
                let v: Value = self.proto().info.constants[k];
                type_of_tag(v.tag().byte())
            }
            op => op.declaration().output,
        };
        match needed {
            Some(ty) => actual == Some(ty),
            None => matches!(actual, Some(Type::Int | Type::Float)),
        }
    }

    /// `x` as a value of type `ty`, guarded if that is not known.
    pub(super) fn guard_type(&mut self, x: Ref, ty: Type) -> Ref {
        if self.sb.type_of(x) == ty {
            return x;
        }
        let op = guard_of(ty).expect("there is a guard for each type that is recorded");
        let guarded = self.emit(op, &[x], &[]);
        self.refine(x, guarded);
        guarded
    }

    /// Copies the steps of an expansion or case, up to where control jumps.
    pub(super) fn expand(&mut self, instr: Instr, steps: &[Step]) -> Flow {
        let mut values: SmallVec<[Ref; 16]> = SmallVec::new();
        for (at, step) in steps.iter().enumerate() {
            let inputs: SmallVec<[Ref; 3]> = step.inputs.iter().map(|i| values[*i as usize]).collect();
            let operands: SmallVec<[u64; 4]> = step.operands.iter().map(|o| self.operand(instr, *o)).collect();
            let value = match step.op {
                MicroOp::LOAD => self.read(operands[0] as Slot),
                MicroOp::STORE => {
                    self.write(operands[0] as Slot, inputs[0]);
                    Ref::NONE
                }
                MicroOp::STORE_NILS => {
                    let nil = self.sb.push(Node::nil());
                    (0..=operands[1]).for_each(|i| self.write((operands[0] + i) as Slot, nil));
                    Ref::NONE
                }
                MicroOp::CONST => self.constant_of(operands[0] as usize),
                MicroOp::GUARD_NUMBER => match self.sb.type_of(inputs[0]) {
                    Type::Float => inputs[0],
                    Type::Int => self.sb.push(Node::new(MicroOp::INT_TO_FLOAT, &inputs, &[])),
                    _ => self.guard_number(instr, step, steps, inputs[0]),
                },
                op if guarded_type(op).is_some() => {
                    self.guard_type(inputs[0], guarded_type(op).expect("just checked"))
                }
                MicroOp::JUMP => return self.goes_to(target(self.pc(), instr)),
                MicroOp::JUMP_IF | MicroOp::JUMP_UNLESS => {
                    let to = match step.operands[0] {
                        Operand::Next => self.pc() + 1,
                        _ => target(self.pc(), instr),
                    };
                    let complete = at + 1 == steps.len();
                    if self.branch(instr, step.op, to, inputs[0], complete)? {
                        return Ok(());
                    }
                    Ref::NONE
                }
                // Collection waits for the next poll, which is not far.
                MicroOp::SAFEPOINT => Ref::NONE,
                op => {
                    let r = self.emit(op, &inputs, &operands);
                    self.after(op, &operands);
                    r
                }
            };
            values.push(value);
        }
        self.goes_on()
    }

    /// A number of unknown type as a float: guarded to be what was recorded.
    fn guard_number(&mut self, instr: Instr, step: &Step, steps: &[Step], x: Ref) -> Ref {
        let source = &steps[step.inputs[0] as usize];
        let tag = source.operands.first().and_then(|o| self.recorded_tag(instr, *o));
        match tag.and_then(type_of_tag) {
            Some(Type::Int) => {
                let i = self.guard_type(x, Type::Int);
                self.sb.push(Node::new(MicroOp::INT_TO_FLOAT, &[i], &[]))
            }
            Some(Type::Float) => self.guard_type(x, Type::Float),
            _ => self.emit(MicroOp::GUARD_NUMBER, &[x], &[]),
        }
    }

    /// A conditional jump to `to`: becomes a guard on the way that was recorded. Whether it was taken. `complete` says
    /// whether the instruction is over when it is not.
    pub(super) fn branch(
        &mut self,
        instr: Instr,
        op: MicroOp,
        to: u32,
        condition: Ref,
        complete: bool,
    ) -> Result<bool, super::Ended> {
        let next = self.pc() + 1;
        let jump = target(self.pc(), instr);
        if !self.stays() || jump == next {
            return self.stop_here(Stop::Discontinuity);
        }
        let taken = self.next().pc == to;
        let exit = match (taken, complete) {
            (false, _) => self.snapshot(to),
            (true, true) => self.snapshot(next),
            // What else the instruction does has not happened yet.
            (true, false) => self.here(),
        };
        let holds = (op == MicroOp::JUMP_IF) == taken;
        let guard = if holds { MicroOp::GUARD_TRUE } else { MicroOp::GUARD_FALSE };
        self.sb.push(Node::new(guard, &[condition], &[]).with_exit(exit));
        Ok(taken)
    }

    /// What a micro-op has done to the frame.
    fn after(&mut self, op: MicroOp, operands: &[u64]) {
        use perilune_uops::Immediate;
        let declaration = op.declaration();
        let Some(at) = declaration.operands.iter().position(|o| matches!(o, Immediate::Def | Immediate::Group)) else {
            self.settle_after(op);
            return;
        };
        let slot = operands[at] as Slot;
        match op {
            MicroOp::ARITH | MicroOp::LENGTH | MicroOp::GET_INDEX | MicroOp::GET_FIELD => self.forget(slot),
            MicroOp::GET_METHOD => {
                self.forget(slot);
                self.forget(slot + 1);
            }
            MicroOp::FOR_PREPARE => (0..4).for_each(|i| self.forget(slot + i)),
            MicroOp::CONCAT => (0..operands[1] as Slot).for_each(|i| self.forget(slot + i)),
            MicroOp::VARARG
            | MicroOp::CALL
            | MicroOp::CALL_NATIVE
            | MicroOp::CALL_LEAF
            | MicroOp::CALL_TABLE => self.forget_from(slot),
            _ => {}
        }
        self.settle_after(op);
    }

    /// Notes whether a micro-op may have invalidated the executor without looking itself.
    fn settle_after(&mut self, op: MicroOp) {
        if matches!(op, MicroOp::SET_CELL | MicroOp::RAW_SET) {
            self.unsettled = true;
        }
    }
}
