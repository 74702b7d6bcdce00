//! Integers of 261 bits in nine limbs of 29 bits, for both fields.
//!
//! **Variable time**: for public data only.
//!
//! Wasm multiplies 64-bit integers but has no wider product. Limbs of 29 bits leave room to add up
//! a column of products in an `i64`. Limbs are signed, so sums and differences need no carries.
//!
//! The *size* of an integer bounds its limbs. It has size k if each limb is at most k·2²⁹ plus
//! [`TOLERANCE`] in magnitude. A reduction returns size 1. Its limbs are at least −1; only
//! the top limb may be lower for P-256, where it is small. The difference of two such integers has
//! size 1 as well. Other sums and differences have at most the sum of the sizes.
//!
//! A column of a product is a sum of at most nine products of limbs, at most 9·k·l·2⁵⁸ in magnitude
//! for sizes k and l. A reduction adds less than 2⁵⁵ to it. The sum fits an `i64` while k·l is at
//! most [`MAX_PRODUCT`]. Debug builds assert sizes, and check every operation for overflow.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "bounds are argued above; arrays have fixed lengths and indices are constants"
)]

pub(crate) const LIMBS: usize = 9;
pub(crate) const BITS: u32 = 29;
pub(crate) const MASK: i64 = (1 << BITS) - 1;

/// The tolerated excess of a limb over the bound of its size. Columns have room for far more.
const TOLERANCE: i64 = 64;

/// The largest product of the sizes of two factors that [`products`] takes.
pub(crate) const MAX_PRODUCT: i64 = 3;

pub(crate) type Limbs = [i32; LIMBS];
pub(crate) type Columns = [i64; 2 * LIMBS];

/// Parses 64 lower-case hexadecimal digits, most significant first. Each limb is below 2²⁹.
pub(crate) const fn from_hex(digits: &[u8; 64]) -> Limbs {
    let mut limbs = [0; LIMBS];
    let mut bit = 0;
    while bit < 256 {
        let digit = digits[63 - bit / 4];
        let value = if digit >= b'a' { digit - b'a' + 10 } else { digit - b'0' };
        let set = value >> (bit % 4) & 1;
        limbs[bit / BITS as usize] |= (set as i32) << (bit % BITS as usize);
        bit += 1;
    }
    limbs
}

/// Parses 64 lower-case hexadecimal digits, most significant first. Returns the least significant octet
/// first.
pub(crate) const fn octets_from_hex(digits: &[u8; 64]) -> [u8; 32] {
    let mut octets = [0; 32];
    let mut at = 0;
    while at < 64 {
        let digit = digits[63 - at];
        let value = if digit >= b'a' { digit - b'a' + 10 } else { digit - b'0' };
        octets[at / 2] |= value << (4 * (at % 2));
        at += 1;
    }
    octets
}

/// Splits a number of 32 octets, least significant first. Each limb is below 2²⁹.
pub(crate) fn from_bytes(octets: &[u8; 32]) -> Limbs {
    let mut octets = octets.iter();
    let (mut pending, mut bits) = (0_i64, 0);
    std::array::from_fn(|_| {
        while bits < BITS
            && let Some(octet) = octets.next()
        {
            pending |= i64::from(*octet) << bits;
            bits += 8;
        }
        let limb = pending & MASK;
        pending >>= BITS;
        bits = bits.saturating_sub(BITS);
        limb as i32
    })
}

/// Returns the octets, least significant first, of a number below 2²⁵⁶ whose limbs are in [0, 2²⁹).
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) fn to_bytes(limbs: &Limbs) -> [u8; 32] {
    let mut limbs = limbs.iter();
    let (mut pending, mut bits) = (0_i64, 0);
    std::array::from_fn(|_| {
        if bits < 8
            && let Some(limb) = limbs.next()
        {
            pending |= i64::from(*limb) << bits;
            bits += BITS;
        }
        let octet = pending as u8;
        pending >>= 8;
        bits -= 8;
        octet
    })
}

/// Returns the smallest size that the limbs have.
pub(crate) fn size(limbs: &Limbs) -> i64 {
    let largest = limbs.iter().map(|limb| limb.unsigned_abs()).max().unwrap_or(0);
    (i64::from(largest) + MASK - TOLERANCE) >> BITS
}

/// Returns the columns of the schoolbook product. Column i counts 2²⁹ⁱ; the last is zero.
#[inline(always)]
pub(crate) fn products(a: &Limbs, b: &Limbs) -> Columns {
    debug_assert!(size(a) * size(b) <= MAX_PRODUCT, "limbs are too large");
    let (a, b) = (a.map(i64::from), b.map(i64::from));
    [
        a[0] * b[0],
        a[0] * b[1] + a[1] * b[0],
        a[0] * b[2] + a[1] * b[1] + a[2] * b[0],
        a[0] * b[3] + a[1] * b[2] + a[2] * b[1] + a[3] * b[0],
        a[0] * b[4] + a[1] * b[3] + a[2] * b[2] + a[3] * b[1] + a[4] * b[0],
        a[0] * b[5] + a[1] * b[4] + a[2] * b[3] + a[3] * b[2] + a[4] * b[1] + a[5] * b[0],
        a[0] * b[6]
            + a[1] * b[5]
            + a[2] * b[4]
            + a[3] * b[3]
            + a[4] * b[2]
            + a[5] * b[1]
            + a[6] * b[0],
        a[0] * b[7]
            + a[1] * b[6]
            + a[2] * b[5]
            + a[3] * b[4]
            + a[4] * b[3]
            + a[5] * b[2]
            + a[6] * b[1]
            + a[7] * b[0],
        a[0] * b[8]
            + a[1] * b[7]
            + a[2] * b[6]
            + a[3] * b[5]
            + a[4] * b[4]
            + a[5] * b[3]
            + a[6] * b[2]
            + a[7] * b[1]
            + a[8] * b[0],
        a[1] * b[8]
            + a[2] * b[7]
            + a[3] * b[6]
            + a[4] * b[5]
            + a[5] * b[4]
            + a[6] * b[3]
            + a[7] * b[2]
            + a[8] * b[1],
        a[2] * b[8]
            + a[3] * b[7]
            + a[4] * b[6]
            + a[5] * b[5]
            + a[6] * b[4]
            + a[7] * b[3]
            + a[8] * b[2],
        a[3] * b[8] + a[4] * b[7] + a[5] * b[6] + a[6] * b[5] + a[7] * b[4] + a[8] * b[3],
        a[4] * b[8] + a[5] * b[7] + a[6] * b[6] + a[7] * b[5] + a[8] * b[4],
        a[5] * b[8] + a[6] * b[7] + a[7] * b[6] + a[8] * b[5],
        a[6] * b[8] + a[7] * b[7] + a[8] * b[6],
        a[7] * b[8] + a[8] * b[7],
        a[8] * b[8],
        0,
    ]
}

/// Returns the columns of the schoolbook square. Column i counts 2²⁹ⁱ; the last is zero.
#[inline(always)]
pub(crate) fn square(a: &Limbs) -> Columns {
    debug_assert!(size(a) * size(a) <= MAX_PRODUCT, "limbs are too large");
    let a = a.map(i64::from);
    let twice = a.map(|limb| 2 * limb);
    [
        a[0] * a[0],
        twice[0] * a[1],
        twice[0] * a[2] + a[1] * a[1],
        twice[0] * a[3] + twice[1] * a[2],
        twice[0] * a[4] + twice[1] * a[3] + a[2] * a[2],
        twice[0] * a[5] + twice[1] * a[4] + twice[2] * a[3],
        twice[0] * a[6] + twice[1] * a[5] + twice[2] * a[4] + a[3] * a[3],
        twice[0] * a[7] + twice[1] * a[6] + twice[2] * a[5] + twice[3] * a[4],
        twice[0] * a[8] + twice[1] * a[7] + twice[2] * a[6] + twice[3] * a[5] + a[4] * a[4],
        twice[1] * a[8] + twice[2] * a[7] + twice[3] * a[6] + twice[4] * a[5],
        twice[2] * a[8] + twice[3] * a[7] + twice[4] * a[6] + a[5] * a[5],
        twice[3] * a[8] + twice[4] * a[7] + twice[5] * a[6],
        twice[4] * a[8] + twice[5] * a[7] + a[6] * a[6],
        twice[5] * a[8] + twice[6] * a[7],
        twice[6] * a[8] + a[7] * a[7],
        twice[7] * a[8],
        a[8] * a[8],
        0,
    ]
}

/// Limbs at their bounds and the values of limbs, for the tests of the fields.
#[cfg(test)]
pub(crate) mod testing {
    use num_bigint::BigInt;
    use sha2::{Digest, Sha256};

    use super::*;

    /// Returns the integer that the limbs represent.
    pub(crate) fn value(limbs: &Limbs) -> BigInt {
        limbs.iter().rev().fold(BigInt::ZERO, |sum, limb| (sum << BITS) + limb)
    }

    pub(crate) fn from_hex(digits: &str) -> BigInt {
        BigInt::parse_bytes(digits.as_bytes(), 16).unwrap()
    }

    /// Returns limbs of size at most `size`, the top one at most `top` in magnitude. First, each
    /// limb is zero or at a bound while all others are zero or at one bound. Then follow `random`
    /// ones with about half of their limbs at a bound.
    pub(crate) fn extremes(size: i32, top: i32, random: u64) -> Vec<Limbs> {
        let bound = |at| if at == LIMBS - 1 { top } else { size * MASK as i32 };
        let mut all = Vec::new();
        for others in [-1, 0, 1] {
            for at in 0..LIMBS {
                for sign in [-1, 0, 1] {
                    let mut limbs: Limbs = std::array::from_fn(|at| others * bound(at));
                    limbs[at] = sign * bound(at);
                    all.push(limbs);
                }
            }
        }
        for seed in 0..random {
            let noise = Sha256::digest([seed.to_be_bytes(), [size as u8; 8]].concat());
            let second = Sha256::digest(noise);
            all.push(std::array::from_fn(|at| {
                let word = i32::from_be_bytes(noise[3 * at..3 * at + 4].try_into().unwrap());
                match second[at] % 4 {
                    0 => bound(at),
                    1 => -bound(at),
                    _ => word.checked_rem(bound(at).max(1)).unwrap_or(0),
                }
            }));
        }
        all
    }
}
