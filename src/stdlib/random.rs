//! The generator behind `math.random`: xoshiro256** by David Blackman and Sebastiano Vigna, seeded
//! and projected as Lua 5.4 does, so that programs see the same sequences.

/// A generator's state; never all zero.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator for `math.randomseed(n1, n2)` (`n2` defaults to zero).
    pub fn seed(n1: u64, n2: u64) -> Rng {
        let mut rng = Rng {
            state: [n1, 0xff, n2, 0],
        };
        // Spread the seed over the whole state.
        for _ in 0..16 {
            rng.next_u64();
        }
        rng
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let c_mixed = c ^ a;
        let d_mixed = d ^ b;
        self.state = [
            a ^ d_mixed,
            b ^ c_mixed,
            c_mixed ^ (b << 17),
            d_mixed.rotate_left(45),
        ];
        b.wrapping_mul(5).rotate_left(7).wrapping_mul(9)
    }

    /// Maps `random`, the generator's latest output, into `low..=high` without bias, drawing more
    /// numbers as needed (fewer than one on average). `low` is not greater than `high`.
    #[inline]
    pub fn project(&mut self, random: u64, low: i64, high: i64) -> i64 {
        let range = high.wrapping_sub(low) as u64;
        // The smallest number of the form 2^b - 1 that covers the range.
        let mask = u64::MAX.checked_shr(range.leading_zeros()).unwrap_or(0);
        let mut offset = random & mask;
        while offset > range {
            offset = self.next_u64() & mask;
        }
        low.wrapping_add(offset as i64)
    }
}

/// The float in [0, 1) made of the high bits of `random`.
#[inline]
pub fn float_from(random: u64) -> f64 {
    (random >> 11) as f64 * (0.5 / (1u64 << 52) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_covers_exactly_the_range() {
        let mut rng = Rng::seed(7, 0);
        let mut seen = [false; 6];
        for _ in 0..200 {
            let random = rng.next_u64();
            seen[(rng.project(random, -2, 3) + 2) as usize] = true;
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(rng.project(12345, 9, 9), 9);
        assert_eq!(rng.project(u64::MAX, i64::MIN, i64::MAX), i64::MAX);
    }

    #[test]
    fn floats_stay_below_one() {
        assert_eq!(float_from(0), 0.0);
        assert_eq!(float_from(u64::MAX), 1.0f64.next_down());
    }
}
