//! The `math` library.

use std::time::{SystemTime, UNIX_EPOCH};

use super::random::{Rng, float_from};
use super::support::less_than;
use super::{Fields, library_of, running};
use crate::runtime::functions;
use crate::runtime::number::{self, Rounding};
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value};
use crate::tier1::native::{to_integer, to_number};
use crate::tier1::{Args, Builtin, NativeFn, NativeResult, Raised, State};

/// The generator behind `math.random`, seeded at random on first use.
struct Generator(Rng);

impl Default for Generator {
    fn default() -> Generator {
        let address = Box::new(0u8);
        Generator(Rng::seed(random_seed(), &raw const *address as usize as u64))
    }
}

/// How many degrees a radian is.
pub const DEGREES: f64 = 180.0 / std::f64::consts::PI;
/// How many radians a degree is.
pub const RADIANS: f64 = std::f64::consts::PI / 180.0;

/// The next random float of `math.random`.
pub fn random_float(st: &mut State) -> f64 {
    float_from(random_bits(st))
}

/// The next random integer of `math.random`, from `low` to `high`.
pub fn random_between(st: &mut State, low: i64, high: i64) -> i64 {
    debug_assert!(low <= high);
    let bits = random_bits(st);
    st.extensions.get_or_default::<Generator>().0.project(bits, low, high)
}

fn random_bits(st: &mut State) -> u64 {
    st.extensions.get_or_default::<Generator>().0.next_u64()
}

/// A seed that differs from run to run.
fn random_seed() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    time.as_nanos() as u64
}

/// Makes the library's table.
pub fn open(st: &mut State) -> Result<Gc<Table>, Raised> {
    let known = [
        ("abs", abs as NativeFn, Builtin::MathAbs),
        ("acos", |st, args| float_function(st, args, f64::acos), Builtin::MathAcos),
        ("asin", |st, args| float_function(st, args, f64::asin), Builtin::MathAsin),
        ("atan", atan, Builtin::MathAtan),
        ("ceil", ceil, Builtin::MathCeil),
        ("cos", |st, args| float_function(st, args, f64::cos), Builtin::MathCos),
        ("deg", |st, args| float_function(st, args, |x| x * DEGREES), Builtin::MathDeg),
        ("exp", |st, args| float_function(st, args, f64::exp), Builtin::MathExp),
        ("floor", floor, Builtin::MathFloor),
        ("fmod", fmod, Builtin::MathFmod),
        ("log", log, Builtin::MathLog),
        ("max", max, Builtin::MathMax),
        ("min", min, Builtin::MathMin),
        ("modf", modf, Builtin::Leaf),
        ("rad", |st, args| float_function(st, args, |x| x * RADIANS), Builtin::MathRad),
        ("random", random, Builtin::MathRandom),
        ("sin", |st, args| float_function(st, args, f64::sin), Builtin::MathSin),
        ("sqrt", |st, args| float_function(st, args, f64::sqrt), Builtin::MathSqrt),
        ("tan", |st, args| float_function(st, args, f64::tan), Builtin::MathTan),
        ("tointeger", tointeger, Builtin::MathToInteger),
        ("ult", ult, Builtin::MathUlt),
    ];
    let mut known = Fields::of_builtins(st, &known)?;
    let names = [st.string_value(b"integer")?, st.string_value(b"float")?];
    known.add_builtin(st, ("type", type_, Builtin::MathType), &names)?;
    library_of(
        st,
        &[("randomseed", randomseed)],
        known,
        &[
            ("pi", Value::float(std::f64::consts::PI)),
            ("huge", Value::float(f64::INFINITY)),
            ("maxinteger", Value::int(i64::MAX)),
            ("mininteger", Value::int(i64::MIN)),
        ],
    )
}

#[inline(always)]
fn float_function(st: &mut State, args: Args, f: impl Fn(f64) -> f64) -> NativeResult {
    let x = st.arg_float(args, 0)?;
    st.ret1(args, Value::float(f(x)))
}

fn abs(st: &mut State, args: Args) -> NativeResult {
    let result = match st.arg(args, 0).as_int() {
        Some(i) => Value::int(i.wrapping_abs()),
        None => Value::float(st.arg_float(args, 0)?.abs()),
    };
    st.ret1(args, result)
}

fn floor(st: &mut State, args: Args) -> NativeResult {
    round(st, args, Rounding::Floor)
}

fn ceil(st: &mut State, args: Args) -> NativeResult {
    round(st, args, Rounding::Ceil)
}

/// The integer next to the argument, as a float if it is out of range.
#[inline(always)]
fn round(st: &mut State, args: Args, rounding: Rounding) -> NativeResult {
    let v = st.arg(args, 0);
    if v.is_int() {
        return st.ret1(args, v);
    }
    let x = st.arg_float(args, 0)?;
    let result = match number::float_to_int(x, rounding) {
        Some(i) => Value::int(i),
        None => Value::float(if rounding == Rounding::Floor { x.floor() } else { x.ceil() }),
    };
    st.ret1(args, result)
}

fn atan(st: &mut State, args: Args) -> NativeResult {
    let y = st.arg_float(args, 0)?;
    let x = if st.arg(args, 1).is_nil() { 1.0 } else { st.arg_float(args, 1)? };
    st.ret1(args, Value::float(functions::atan(y, x)))
}

fn fmod(st: &mut State, args: Args) -> NativeResult {
    if let (Some(a), Some(b)) = (st.arg(args, 0).as_int(), st.arg(args, 1).as_int()) {
        if b == 0 {
            return Err(st.arg_error(1, "zero"));
        }
        return st.ret1(args, Value::int(a.wrapping_rem(b)));
    }
    let a = st.arg_float(args, 0)?;
    let b = st.arg_float(args, 1)?;
    st.ret1(args, Value::float(functions::fmod(a, b)))
}

fn log(st: &mut State, args: Args) -> NativeResult {
    let x = st.arg_float(args, 0)?;
    let result = if st.arg(args, 1).is_nil() {
        functions::log(x)
    } else {
        functions::log_to(x, st.arg_float(args, 1)?)
    };
    st.ret1(args, Value::float(result))
}

fn max(st: &mut State, args: Args) -> NativeResult {
    choose(st, args, less_than)
}

fn min(st: &mut State, args: Args) -> NativeResult {
    choose(st, args, |st, best, v| less_than(st, v, best))
}

/// The argument that is better than all others; as in the reference, it need not be a number.
#[inline(always)]
fn choose(
    st: &mut State,
    args: Args,
    better: impl Fn(&mut State, Value, Value) -> Result<bool, Raised>,
) -> NativeResult {
    let mut best = st.arg_any(args, 0)?;
    for i in 1..args.count {
        let v = st.arg(args, i);
        if better(st, best, v)? {
            best = v;
        }
    }
    st.ret1(args, best)
}

fn modf(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg(args, 0);
    if v.is_int() {
        return st.ret2(args, v, Value::float(0.0));
    }
    let x = st.arg_float(args, 0)?;
    let whole = x.trunc();
    let rest = if x == whole { 0.0 } else { x - whole };
    let whole = number::float_to_int_exact(whole).map_or(Value::float(whole), Value::int);
    st.ret2(args, whole, Value::float(rest))
}

fn random(st: &mut State, args: Args) -> NativeResult {
    let bits = random_bits(st);
    let (low, high) = match args.count {
        0 => return st.ret1(args, Value::float(float_from(bits))),
        1 => {
            let high = st.arg_int(args, 0)?;
            if high == 0 {
                return st.ret1(args, Value::int(bits as i64));
            }
            (1, high)
        }
        2 => (st.arg_int(args, 0)?, st.arg_int(args, 1)?),
        _ => return Err(st.raise_text("wrong number of arguments")),
    };
    if low > high {
        return Err(st.arg_error(0, "interval is empty"));
    }
    let result = st.extensions.get_or_default::<Generator>().0.project(bits, low, high);
    st.ret1(args, Value::int(result))
}

fn randomseed(st: &mut State, args: Args) -> NativeResult {
    let (n1, n2) = if args.count == 0 {
        (random_seed() as i64, random_bits(st) as i64)
    } else {
        (st.arg_int(args, 0)?, st.arg_int_or(args, 1, 0)?)
    };
    st.extensions.get_or_default::<Generator>().0 = Rng::seed(n1 as u64, n2 as u64);
    st.ret2(args, Value::int(n1), Value::int(n2))
}

fn tointeger(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let result = to_number(v).and_then(to_integer).map_or(Value::NIL, Value::int);
    st.ret1(args, result)
}

/// Its upvalues are the names.
fn type_(st: &mut State, args: Args) -> NativeResult {
    let v = st.arg_any(args, 0)?;
    let result = match v.tag() {
        Tag::INT => running(st, args).upvalue(0),
        Tag::FLOAT => running(st, args).upvalue(1),
        _ => Value::NIL,
    };
    st.ret1(args, result)
}

fn ult(st: &mut State, args: Args) -> NativeResult {
    let a = st.arg_int(args, 0)?;
    let b = st.arg_int(args, 1)?;
    st.ret1(args, Value::bool((a as u64) < b as u64))
}
