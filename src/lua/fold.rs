//! Arithmetic on literals at compile time.
//!
//! Folds exactly what Lua's own compiler folds: never an operation that could raise an error, and
//! never to a NaN or a zero float (whose sign a constant table could lose).

use super::ast::{BinaryOp, Chunk, ExprKind, UnaryOp};
use crate::heap::{Meter, OutOfMemory};
use crate::runtime::number::Numeral::{self, Float, Int};

/// Replaces the operations of a chunk that can be folded by their values, in one pass: operands come first. Fails only
/// if the VM is to be stopped.
pub fn fold(chunk: &mut Chunk, meter: &Meter) -> Result<(), OutOfMemory> {
    for i in 0..chunk.exprs.len() {
        if i & 0xFFFF == 0xFFFF {
            meter.poll()?;
        }
        let folded = match chunk.exprs[i].kind {
            ExprKind::Unary(UnaryOp::Not, operand) => match chunk[operand].kind {
                ExprKind::Nil | ExprKind::False => Some(ExprKind::True),
                ExprKind::True | ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) => {
                    Some(ExprKind::False)
                }
                _ => None,
            },
            ExprKind::Unary(op, operand) => numeral(chunk[operand].kind)
                .and_then(|operand| unary(op, operand))
                .map(literal),
            ExprKind::Binary(op, left, right) => numeral(chunk[left].kind)
                .zip(numeral(chunk[right].kind))
                .and_then(|(left, right)| binary(op, left, right))
                .map(literal),
            _ => None,
        };
        if let Some(kind) = folded {
            chunk.exprs[i].kind = kind;
        }
    }
    Ok(())
}

/// A literal's number.
pub(super) fn numeral(literal: ExprKind) -> Option<Numeral> {
    match literal {
        ExprKind::Int(value) => Some(Int(value.get())),
        ExprKind::Float(value) => Some(Float(value.get())),
        _ => None,
    }
}

/// The literal of a number.
pub(super) fn literal(value: Numeral) -> ExprKind {
    match value {
        Int(value) => ExprKind::Int(value.into()),
        Float(value) => ExprKind::Float(value.into()),
    }
}

/// `op operand`, if it can be folded.
pub fn unary(op: UnaryOp, operand: Numeral) -> Option<Numeral> {
    match (op, operand) {
        (UnaryOp::Negate, Int(value)) => Some(Int(value.wrapping_neg())),
        (UnaryOp::Negate, Float(value)) => float(-value),
        (UnaryOp::BitNot, value) => Some(Int(!value.to_int_exact()?)),
        (UnaryOp::Not | UnaryOp::Length, _) => None,
    }
}

/// `left op right`, if it can be folded.
pub fn binary(op: BinaryOp, left: Numeral, right: Numeral) -> Option<Numeral> {
    use BinaryOp::*;
    match op {
        Add | Subtract | Multiply | FloorDivide | Modulo => match (left, right) {
            (Int(left), Int(right)) => integer(op, left, right),
            _ => floating(op, left.to_float(), right.to_float()),
        },
        Divide | Power => floating(op, left.to_float(), right.to_float()),
        BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight => {
            let (left, right) = (left.to_int_exact()?, right.to_int_exact()?);
            Some(Int(match op {
                BitAnd => left & right,
                BitOr => left | right,
                BitXor => left ^ right,
                ShiftLeft => shift_left(left, right),
                _ => shift_left(left, right.wrapping_neg()),
            }))
        }
        _ => None,
    }
}

fn integer(op: BinaryOp, left: i64, right: i64) -> Option<Numeral> {
    Some(Int(match op {
        BinaryOp::Add => left.wrapping_add(right),
        BinaryOp::Subtract => left.wrapping_sub(right),
        BinaryOp::Multiply => left.wrapping_mul(right),
        _ if right == 0 => return None,
        BinaryOp::FloorDivide => {
            let rounds_up = left.wrapping_rem(right) != 0 && (left < 0) != (right < 0);
            left.wrapping_div(right) - rounds_up as i64
        }
        _ => {
            let remainder = left.wrapping_rem(right);
            if remainder != 0 && (remainder < 0) != (right < 0) {
                remainder + right
            } else {
                remainder
            }
        }
    }))
}

fn floating(op: BinaryOp, left: f64, right: f64) -> Option<Numeral> {
    float(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Power if right == 2.0 => left * left,
        BinaryOp::Power => left.powf(right),
        _ if right == 0.0 => return None,
        BinaryOp::Divide => left / right,
        BinaryOp::FloorDivide => (left / right).floor(),
        _ => {
            let remainder = left % right;
            if remainder != 0.0 && (remainder < 0.0) != (right < 0.0) {
                remainder + right
            } else {
                remainder
            }
        }
    })
}

fn float(value: f64) -> Option<Numeral> {
    (!value.is_nan() && value != 0.0).then_some(Float(value))
}

/// A logical shift, to the right for negative distances.
fn shift_left(value: i64, distance: i64) -> i64 {
    let bits = value as u64;
    match distance {
        0..64 => (bits << distance) as i64,
        -63..0 => (bits >> -distance) as i64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::BinaryOp::*;
    use super::*;

    #[test]
    fn integers() {
        let fold = |op, left, right| binary(op, Int(left), Int(right));
        assert_eq!(fold(Add, i64::MAX, 1), Some(Int(i64::MIN)));
        assert_eq!(fold(FloorDivide, -7, 2), Some(Int(-4)));
        assert_eq!(fold(FloorDivide, 7, 2), Some(Int(3)));
        assert_eq!(fold(FloorDivide, i64::MIN, -1), Some(Int(i64::MIN)));
        assert_eq!(fold(Modulo, -7, 2), Some(Int(1)));
        assert_eq!(fold(Modulo, 7, -2), Some(Int(-1)));
        assert_eq!(fold(Modulo, i64::MIN, -1), Some(Int(0)));
        assert_eq!(fold(Modulo, 1, 0), None);
        assert_eq!(fold(Divide, 1, 2), Some(Float(0.5)));
        assert_eq!(fold(Divide, 1, 0), None);
        assert_eq!(fold(Power, 2, 10), Some(Float(1024.0)));
        assert_eq!(fold(ShiftLeft, 1, 63), Some(Int(i64::MIN)));
        assert_eq!(fold(ShiftLeft, 1, 64), Some(Int(0)));
        assert_eq!(fold(ShiftRight, -1, 63), Some(Int(1)));
        assert_eq!(fold(ShiftRight, 1, i64::MIN), Some(Int(0)));
        assert_eq!(fold(Less, 1, 2), None);
    }

    #[test]
    fn floats() {
        let fold = |op, left, right| binary(op, Float(left), Float(right));
        assert_eq!(fold(Modulo, -5.5, 2.0), Some(Float(0.5)));
        assert_eq!(fold(FloorDivide, -5.5, 2.0), Some(Float(-3.0)));
        assert_eq!(fold(Subtract, 1.0, 1.0), None);
        assert_eq!(fold(BitAnd, 7.0, 2.0), Some(Int(2)));
        assert_eq!(fold(BitAnd, 7.5, 2.0), None);
        assert_eq!(fold(BitOr, 9223372036854775808.0, 0.0), None);
        assert_eq!(unary(UnaryOp::Negate, Float(0.0)), None);
        assert_eq!(unary(UnaryOp::Negate, Int(0)), Some(Int(0)));
        assert_eq!(unary(UnaryOp::BitNot, Float(1.0)), Some(Int(-2)));
    }
}
