//! The leading decimal digits of floats, exact and correctly rounded (to nearest, ties to even), by integer arithmetic where
//! 128 bits are enough. Elsewhere the standard library's conversion does it.

/// A float's mantissa as an integer, and the exponent of its first bit; not for zeros, subnormals, infinities and NaN.
#[inline(always)]
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    (bits & ((1 << 52) - 1) | 1 << 52, (bits >> 52) as i32 - 1023)
}

static POWERS_OF_TEN: [u128; 39] = {
    let mut table = [1; 39];
    let mut i = 1;
    while i < 39 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// The greatest power of ten whose product with a mantissa fits into 128 bits.
const FACTOR_MAX: i32 = 22;

/// `quotient` plus `rest` parts of twice `half`, rounded.
#[inline(always)]
fn rounded(quotient: u128, rest: u128, half: u128) -> u128 {
    quotient + u128::from(rest > half || (rest == half && quotient & 1 == 1))
}

/// `value` times `10^decimals`, rounded; `value` is not negative. `None` if that is too large or takes too many bits on the way, and for more
/// than 22 decimals.
pub fn scaled(value: f64, decimals: usize) -> Option<u64> {
    let (mantissa, power) = parts(value);
    if decimals > FACTOR_MAX as usize || power > 63 {
        return None;
    }
    if value == 0.0 {
        return Some(0);
    }
    let product = u128::from(mantissa) * POWERS_OF_TEN[decimals];
    let scaled = match 52 - power {
        shift @ 1..=127 => rounded(
            product >> shift,
            product & ((1 << shift) - 1),
            1 << (shift - 1),
        ),
        shift @ ..=0 if product.leading_zeros() >= -shift as u32 => product << -shift,
        // Less than a half.
        129.. => 0,
        _ => return None,
    };
    u64::try_from(scaled).ok()
}

/// The finite `value` >= 0 rounded to `count` significant digits (1 to 19), with the decimal exponent of the first one. `None` if that
/// takes too many bits.
pub fn significant(value: f64, count: i32) -> Option<(u64, i32)> {
    if value == 0.0 {
        return Some((0, 0));
    }
    let (mantissa, power) = parts(value);
    // log10(2) as a fraction; within this range the product is the floor of log10(2^power), or one less, so the exponent is either
    // that or one or two more.
    if !(-75..126).contains(&power) {
        return None;
    }
    let mut exponent = (power * 315_653) >> 20;
    let scale = power - 52;
    let end = POWERS_OF_TEN[count as usize] as u64;
    loop {
        let decimal = count - 1 - exponent;
        if decimal > FACTOR_MAX {
            return None;
        }
        let quotient = if decimal >= 0 {
            let product = u128::from(mantissa) * POWERS_OF_TEN[decimal as usize];
            if scale >= 0 {
                product << scale
            } else {
                let shift = -scale as u32;
                rounded(
                    product >> shift,
                    product & ((1 << shift) - 1),
                    1 << (shift - 1),
                )
            }
        } else {
            let numerator = u128::from(mantissa) << scale.max(0);
            let denominator = POWERS_OF_TEN[-decimal as usize] << (-scale).max(0);
            // The denominator is even: ten is a factor.
            let half = denominator / 2;
            match (u64::try_from(numerator), u64::try_from(denominator)) {
                (Ok(n), Ok(d)) => rounded(u128::from(n / d), u128::from(n % d), half),
                _ => rounded(numerator / denominator, numerator % denominator, half),
            }
        };
        if quotient < u128::from(end) {
            return Some((quotient as u64, exponent));
        }
        // It has one digit too many, or has been rounded up to the next power of ten.
        exponent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by the standard library.
    fn expected(value: f64, count: i32) -> (u64, i32) {
        let text = format!("{value:.*e}", count as usize - 1);
        let (digits, exponent) = text.split_once('e').unwrap();
        (
            digits.replace('.', "").parse().unwrap(),
            exponent.parse().unwrap(),
        )
    }

    fn check(value: f64) {
        for count in 1..=19 {
            if let Some(found) = significant(value, count) {
                assert_eq!(found, expected(value, count), "{value:e}, {count} digits");
            }
        }
        for decimals in 0..=25 {
            if let Some(found) = scaled(value, decimals) {
                let text = format!("{value:.decimals$}").replace('.', "");
                assert_eq!(
                    found.to_string(),
                    text.trim_start_matches('0').to_string().max("0".into()),
                    "{value:e}, {decimals}"
                );
            }
        }
    }

    #[test]
    fn powers_and_their_neighbours() {
        for power in -1080..1024 {
            let value = 2f64.powi(power);
            for value in [value, value.next_up(), value.next_down(), value * 1.5] {
                check(value);
            }
        }
        for power in -320..308 {
            let value: f64 = format!("1e{power}").parse().unwrap();
            for value in [
                value,
                value.next_up(),
                value.next_down(),
                value * 5.0,
                value * 9.5,
            ] {
                check(value);
            }
        }
        check(0.0);
    }

    #[test]
    fn ties() {
        assert_eq!(scaled(0.5, 0), Some(0));
        assert_eq!(scaled(1.5, 0), Some(2));
        assert_eq!(scaled(0.125, 2), Some(12));
        assert_eq!(scaled(2.5, 0), Some(2));
        assert_eq!(significant(2.5, 1), Some((2, 0)));
        assert_eq!(significant(0.375, 2), Some((38, -1)));
        assert_eq!(significant(9.5, 1), Some((1, 1)));
        assert_eq!(significant(99_500.0, 2), Some((10, 5)));
    }

    #[test]
    fn common_numbers_are_covered() {
        for value in [
            0.0,
            0.1,
            1.0 / 3.0,
            1e-4,
            123.456,
            1e15,
            2f64.powi(53),
            9e18,
        ] {
            assert!(significant(value, 17).is_some(), "{value}");
            assert!(scaled(value, 2).is_some() || value > 1e17, "{value}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_float(bits in any::<u64>()) {
            let value = f64::from_bits(bits & !(1 << 63));
            if value.is_finite() {
                check(value);
            }
        }

        #[test]
        fn common_magnitudes(mantissa in any::<u32>(), power in -12i32..12) {
            check(f64::from(mantissa) * 10f64.powi(power));
            check(f64::from(mantissa) / 64.0);
        }
    }
}
