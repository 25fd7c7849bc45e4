//! Mathematical functions that micro-ops call.

use crate::names::named;

named! {
    /// A mathematical function of floats.
    pub enum FloatFunction {
        Acos,
        Asin,
        Cos,
        Exp,
        /// The natural logarithm.
        Log,
        Sin,
        Tan,
        /// The angle of the point (y, x), of which the first input is y.
        Atan,
        /// The remainder, with the sign of the dividend.
        Fmod,
        /// The logarithm of the first input to the base that the second one is.
        LogTo,
    }
}

impl FloatFunction {
    /// The number of inputs.
    pub const fn arity(self) -> usize {
        match self {
            FloatFunction::Atan | FloatFunction::Fmod | FloatFunction::LogTo => 2,
            _ => 1,
        }
    }

    /// The function that an immediate operand names.
    pub fn from_operand(operand: u64) -> Option<FloatFunction> {
        FloatFunction::ALL
            .get(usize::try_from(operand).ok()?)
            .copied()
    }
}
