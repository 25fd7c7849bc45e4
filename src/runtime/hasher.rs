//! Hashing of bytes and of words.
//!
//! Both rest on the folded multiplication of wyhash (Wang Yi): the two halves of a 128-bit product, xored.

use std::hash::{BuildHasherDefault, Hasher};

const K0: u64 = 0x9E37_79B9_7F4A_7C15;
const K1: u64 = 0xD6E8_FEB8_6659_FD93;

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or([0; 8]))
}

#[inline(always)]
fn half_word(bytes: &[u8], at: usize) -> u64 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or([0; 4])) as u64
}

/// The hash of a byte string under a VM's seed. Reads every byte.
#[inline]
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u32 {
    let n = bytes.len();
    let mut h = seed ^ (n as u64).wrapping_mul(K1);
    let tail = if n >= 8 {
        let mut at = 0;
        while at + 8 < n {
            h = fold(h ^ word(bytes, at), K0);
            at += 8;
        }
        word(bytes, n - 8)
    } else if n >= 4 {
        half_word(bytes, 0) << 32 | half_word(bytes, n - 4)
    } else if n > 0 {
        (bytes[0] as u64) << 16 | (bytes[n / 2] as u64) << 8 | bytes[n - 1] as u64
    } else {
        0
    };
    h = fold(h ^ tail, K0);
    fold(h, K1) as u32
}

/// A hasher for keys made of a few words, such as ids and addresses.
#[derive(Default)]
pub struct WordHasher(u64);

/// Builds [`WordHasher`]s.
pub type BuildWordHasher = BuildHasherDefault<WordHasher>;

impl Hasher for WordHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(b as u64);
        }
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.write_u64(n as u64);
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.write_u64(n as u64);
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.0 = fold(self.0 ^ n ^ K1, K0);
    }

    #[inline]
    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
