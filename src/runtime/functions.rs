//! Mathematical functions of floats, as the library and compiled code call them.

use perilune_uops::FloatFunction;

/// A function of one float.
pub type Unary = extern "C" fn(f64) -> f64;

/// A function of two floats.
pub type Binary = extern "C" fn(f64, f64) -> f64;

/// A function of floats.
#[derive(Clone, Copy, Debug)]
pub enum Code {
    Unary(Unary),
    Binary(Binary),
}

/// The code of a function.
pub fn code(function: FloatFunction) -> Code {
    match function {
        FloatFunction::Acos => Code::Unary(acos),
        FloatFunction::Asin => Code::Unary(asin),
        FloatFunction::Cos => Code::Unary(cos),
        FloatFunction::Exp => Code::Unary(exp),
        FloatFunction::Log => Code::Unary(log),
        FloatFunction::Sin => Code::Unary(sin),
        FloatFunction::Tan => Code::Unary(tan),
        FloatFunction::Atan => Code::Binary(atan),
        FloatFunction::Fmod => Code::Binary(fmod),
        FloatFunction::LogTo => Code::Binary(log_to),
    }
}

/// The value of the function that an operand of a micro-op names. Functions of one float ignore `y`.
pub fn call(operand: u64, x: f64, y: f64) -> f64 {
    let function = FloatFunction::from_operand(operand).expect("verified superblocks name functions");
    match code(function) {
        Code::Unary(f) => f(x),
        Code::Binary(f) => f(x, y),
    }
}

pub extern "C" fn acos(x: f64) -> f64 {
    x.acos()
}

pub extern "C" fn asin(x: f64) -> f64 {
    x.asin()
}

pub extern "C" fn cos(x: f64) -> f64 {
    x.cos()
}

pub extern "C" fn exp(x: f64) -> f64 {
    x.exp()
}

pub extern "C" fn log(x: f64) -> f64 {
    x.ln()
}

pub extern "C" fn sin(x: f64) -> f64 {
    x.sin()
}

pub extern "C" fn tan(x: f64) -> f64 {
    x.tan()
}

pub extern "C" fn atan(y: f64, x: f64) -> f64 {
    y.atan2(x)
}

pub extern "C" fn fmod(x: f64, y: f64) -> f64 {
    x % y
}

pub extern "C" fn log_to(x: f64, base: f64) -> f64 {
    if base == 2.0 {
        x.log2()
    } else if base == 10.0 {
        x.log10()
    } else {
        x.ln() / base.ln()
    }
}
