//! The rules that every expansion keeps, beyond those that the compiler checks.

use super::*;
use crate::{Exit, Format, Immediate, Memory, Role, Wide};

/// Calls `check` with every expansion and every case.
fn for_each(check: impl Fn(Op, &'static [Step])) {
    for &op in Op::ALL {
        check(op, op.expansion());
        op.cases().iter().for_each(|case| check(op, case));
    }
}

fn role(format: Format, field: Field) -> Role {
    match field {
        Field::A => format.a,
        Field::B | Field::BC => format.b,
        Field::C => format.c,
        Field::D | Field::Zero => Role::None,
    }
}

/// Whether an operand gives the micro-op what it declares, by what the instruction's fields are.
fn fits(format: Format, operand: Operand, wanted: Immediate) -> bool {
    use Immediate as I;
    match operand {
        Operand::Register(Field::Zero, n) => wanted == I::Group && n == 0,
        Operand::Register(field, n) => match role(format, field) {
            Role::Group => matches!(wanted, I::Use | I::Def | I::Group),
            Role::Use => n == 0 && matches!(wanted, I::Use | I::Group),
            Role::Cell => n == 0 && wanted == I::Use,
            Role::Def | Role::DefCell => n == 0 && wanted == I::Def,
            _ => false,
        },
        Operand::Number(Field::D, 0) => match format.d {
            Wide::Int => wanted == I::Int,
            Wide::Constant | Wide::Number => wanted == I::Constant,
            Wide::Jump => wanted == I::Target,
            Wide::Field => wanted == I::Field,
            Wide::Call => wanted == I::Call,
            Wide::Table => wanted == I::Site,
            Wide::Proto => wanted == I::Nested,
            Wide::None => false,
        },
        Operand::Number(field, n) => match role(format, field) {
            Role::Count => wanted == I::Count,
            Role::Captured => n == 0 && wanted == I::Captured,
            Role::Loop => field == Field::BC && n == 0 && wanted == I::Loop,
            Role::Constant => field == Field::BC && n == 0 && wanted == I::Constant,
            Role::Imm => field == Field::BC && n == 0 && wanted == I::Int,
            _ => false,
        },
        Operand::Literal(_) => matches!(wanted, I::Int | I::Flag | I::Count),
        Operand::Next => wanted == I::Target,
        Operand::Operation(_) => wanted == I::Operation,
        Operand::Feedback(feedback) => {
            wanted
                == match feedback {
                    Feedback::Shape | Feedback::NextShape => I::Shape,
                    Feedback::Slot => I::Slot,
                    Feedback::Holder => I::Object,
                    Feedback::Epoch => I::Epoch,
                    Feedback::NilIsFinal => I::Flag,
                    Feedback::Proto => I::Proto,
                }
        }
    }
}

#[test]
fn operands_are_what_the_format_says() {
    for_each(|op, steps| {
        for step in steps {
            for (&operand, &wanted) in step.operands.iter().zip(step.op.declaration().operands) {
                assert!(
                    fits(op.format(), operand, wanted),
                    "{}: {} {operand}",
                    op.name(),
                    step.op
                );
            }
        }
    });
}

#[test]
fn guards_come_before_effects() {
    for_each(|op, steps| {
        let mut begun = false;
        for step in steps {
            let declared = step.op.declaration();
            assert!(
                !begun || declared.exit != Exit::Restart,
                "{}: {}",
                op.name(),
                Listing(steps)
            );
            begun |= !declared.effects.is_none()
                || matches!(declared.exit, Exit::Branch | Exit::Transfer);
        }
    });
}

/// A frame that a call-out has pushed finishes the instruction through its continuation, which knows of registers
/// and jumps only.
#[test]
fn after_a_call_there_are_only_polls_and_the_branch() {
    for_each(|op, steps| {
        let called = steps.iter().position(|s| s.op.declaration().effects.calls);
        for step in steps.iter().skip(called.map_or(steps.len(), |at| at + 1)) {
            let exit = step.op.declaration().exit;
            assert!(
                matches!(exit, Exit::Here | Exit::Branch),
                "{}: {}",
                op.name(),
                Listing(steps)
            );
        }
    });
}

#[test]
fn after_a_transfer_there_are_only_polls() {
    for_each(|op, steps| {
        let gone = steps
            .iter()
            .position(|s| s.op.declaration().exit == Exit::Transfer);
        for step in steps.iter().skip(gone.map_or(steps.len(), |at| at + 1)) {
            assert_eq!(
                step.op.declaration().exit,
                Exit::Here,
                "{}: {}",
                op.name(),
                Listing(steps)
            );
        }
    });
}

#[test]
fn registers_are_written_once_and_as_the_format_says() {
    for_each(|op, steps| {
        let mut written = Vec::new();
        for step in steps {
            for (operand, kind) in step.operands.iter().zip(step.op.declaration().operands) {
                if *kind == Immediate::Def {
                    assert!(!written.contains(operand), "{}: {operand} twice", op.name());
                    written.push(*operand);
                }
            }
        }
        let format = op.format();
        for (field, role) in [
            (Field::A, format.a),
            (Field::B, format.b),
            (Field::C, format.c),
        ] {
            if matches!(role, Role::Def | Role::DefCell) {
                assert!(
                    written.contains(&Operand::Register(field, 0)),
                    "{}: {}",
                    op.name(),
                    Listing(steps)
                );
            }
        }
    });
}

#[test]
fn a_branch_is_where_the_instruction_is_conditional() {
    for_each(|op, steps| {
        let branches = steps
            .iter()
            .filter(|s| s.op.declaration().exit == Exit::Branch)
            .count();
        assert_eq!(
            branches,
            op.is_conditional() as usize,
            "{}: {}",
            op.name(),
            Listing(steps)
        );
        let jump = Operand::Number(Field::D, 0);
        let jumps = steps.iter().filter(|s| {
            s.op.declaration().operands.contains(&Immediate::Target) && s.operands.contains(&jump)
        });
        assert_eq!(
            jumps.count(),
            (op.format().d == Wide::Jump) as usize,
            "{}: {}",
            op.name(),
            Listing(steps)
        );
        // What is behind the branch happens on one path only, so it can do no more than complete the instruction.
        for step in steps
            .iter()
            .skip_while(|s| s.op.declaration().exit != Exit::Branch)
        {
            let effects = step.op.declaration().effects;
            assert!(
                !effects.raises && !effects.calls,
                "{}: {}",
                op.name(),
                Listing(steps)
            );
        }
    });
}

#[test]
fn every_value_is_used() {
    for_each(|op, steps| {
        for (i, step) in steps.iter().enumerate() {
            let used = steps.iter().any(|s| s.inputs.contains(&(i as u8)));
            assert!(
                used || step.name.is_empty(),
                "{}: {} is not used",
                op.name(),
                step.name
            );
        }
    });
}

#[test]
fn stores_into_objects_are_followed_by_a_barrier() {
    let heap = [Memory::Field, Memory::Element, Memory::Cell];
    for_each(|op, steps| {
        for (i, step) in steps.iter().enumerate() {
            let writes = step.op.declaration().effects.writes;
            if heap.iter().any(|&class| writes.contains(class)) && !writes.contains(Memory::Barrier)
            {
                let told = steps[i..]
                    .iter()
                    .any(|s| s.op == MicroOp::BARRIER && s.inputs[0] == step.inputs[0]);
                assert!(told, "{}: {}", op.name(), Listing(steps));
            }
        }
    });
}

/// A specialised form guards what it relies on, or else means what the general one means.
#[test]
fn specialised_forms_and_cases_are_guarded() {
    let guarded = |steps: &[Step]| {
        steps
            .iter()
            .any(|s| s.op.declaration().exit == Exit::Restart)
    };
    for &op in Op::ALL {
        let same =
            || Listing(op.expansion()).to_string() == Listing(op.general().expansion()).to_string();
        assert!(guarded(op.expansion()) || same(), "{}", op.name());
        assert!(op.cases().iter().all(|case| guarded(case)), "{}", op.name());
    }
}

#[test]
fn expansions_read_as_in_the_table() {
    let listing = |op: Op| Listing(op.expansion()).to_string();
    assert_eq!(
        listing(Op::ADD_INT),
        "x = LOAD [b]; i = GUARD_INT x; y = LOAD [c]; j = GUARD_INT y; z = ADD_I i j; STORE [a] z;"
    );
    assert_eq!(
        listing(Op::TFORCALL),
        "f = LOAD [a]; s = LOAD [a+1]; k = LOAD [a+2]; \
         STORE [a+4] f; STORE [a+5] s; STORE [a+6] k; CALL [a+4] {3} {c+1} {d};"
    );
    assert_eq!(
        listing(Op::SETFIELD_ADD),
        "x = LOAD [a]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; v = LOAD [b]; GUARD_NOT_NIL v; \
         STORE_INLINE {slot} t v; SET_SHAPE {next_shape} t; BARRIER t;"
    );
    assert_eq!(
        listing(Op::JLT),
        "x = LOAD [a]; y = LOAD [b]; c = COMPARE {Lt} x y; JUMP_IF {d} c;"
    );
}
