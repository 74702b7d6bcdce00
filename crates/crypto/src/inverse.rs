//! Inverses modulo a prime of at most 256 bits, by divsteps.
//!
//! **Variable time**: for public data only.
//!
//! Source: Bernstein and Yang, "Fast constant-time gcd computation and modular inversion", 2019, in
//! the variable-time form of libsecp256k1 (its `doc/safegcd_implementation.md`): 30 steps run on
//! the low limbs, and their matrix is then applied to the whole numbers. Numbers are nine signed
//! limbs of 30 bits; the top limb carries the sign. [`Modulus::update`] keeps d and e between
//! −2·modulus and the modulus (section 4 of that document).

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "entries of a matrix are below 2³⁰ and limbs below 2³¹: sums of three products fit an i64; \
              arrays have fixed lengths and loops stay inside"
)]

use crate::limbs::octets_from_hex;

const LIMBS: usize = 9;
const BITS: u32 = 30;
const MASK: i64 = (1 << BITS) - 1;

type Limbs = [i32; LIMBS];

/// An odd prime, and its inverse modulo 2³².
pub(crate) struct Modulus {
    limbs: Limbs,
    inverse: u32,
}

/// The matrix of 30 divsteps, multiplied by 2³⁰.
struct StepMatrix {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

impl Modulus {
    /// Parses 64 lower-case hexadecimal digits, most significant first.
    pub(crate) const fn from_hex(digits: &[u8; 64]) -> Self {
        let limbs = split(&octets_from_hex(digits));
        // Newton's iteration: each step doubles the number of correct low bits. It starts with
        // three, since an odd number is its own inverse modulo 8.
        let low = limbs[0] as u32;
        let mut inverse = low;
        let mut step = 0;
        while step < 4 {
            inverse = inverse.wrapping_mul(2_u32.wrapping_sub(low.wrapping_mul(inverse)));
            step += 1;
        }
        Self { limbs, inverse }
    }

    /// Returns the inverse of a number below the modulus, both least significant octet first. Zero
    /// gives zero.
    pub(crate) fn invert(&self, number: &[u8; 32]) -> [u8; 32] {
        let (mut d, mut e) = ([0; LIMBS], [0; LIMBS]);
        e[0] = 1;
        let (mut f, mut g) = (self.limbs, split(number));
        let mut eta = -1;
        // 25 rounds of 30 divsteps are enough for 256 bits. The limit rules out an endless loop.
        for _ in 0..26 {
            if g == [0; LIMBS] {
                break;
            }
            let matrix = StepMatrix::run(&mut eta, f[0] as u32, g[0] as u32);
            self.update(&mut d, &mut e, &matrix);
            matrix.apply(&mut f, &mut g);
        }
        // f is now 1 or −1. If the number is zero, f is the modulus and d is zero.
        self.canonical(&d, f[LIMBS - 1] < 0)
    }

    /// Multiplies d and e by the matrix and divides both by 2³⁰, modulo the modulus.
    fn update(&self, d: &mut Limbs, e: &mut Limbs, matrix: &StepMatrix) {
        let StepMatrix { u, v, q, r } = *matrix;
        let (d_sign, e_sign) = (i64::from(d[LIMBS - 1] >> 31), i64::from(e[LIMBS - 1] >> 31));
        // Multiples of the modulus are added: first as if a negative d or e were increased by the
        // modulus, then so that both sums are divisible by 2³⁰.
        let mut md = (u & d_sign) + (v & e_sign);
        let mut me = (q & d_sign) + (r & e_sign);
        let mut cd = u * i64::from(d[0]) + v * i64::from(e[0]);
        let mut ce = q * i64::from(d[0]) + r * i64::from(e[0]);
        let inverse = i64::from(self.inverse);
        md -= (inverse.wrapping_mul(cd & MASK).wrapping_add(md)) & MASK;
        me -= (inverse.wrapping_mul(ce & MASK).wrapping_add(me)) & MASK;
        cd = (cd + i64::from(self.limbs[0]) * md) >> BITS;
        ce = (ce + i64::from(self.limbs[0]) * me) >> BITS;
        for at in 1..LIMBS {
            let (di, ei, modulus) = (i64::from(d[at]), i64::from(e[at]), i64::from(self.limbs[at]));
            cd += u * di + v * ei + modulus * md;
            ce += q * di + r * ei + modulus * me;
            d[at - 1] = (cd & MASK) as i32;
            e[at - 1] = (ce & MASK) as i32;
            cd >>= BITS;
            ce >>= BITS;
        }
        d[LIMBS - 1] = cd as i32;
        e[LIMBS - 1] = ce as i32;
    }

    /// Reduces a number between −2·modulus and the modulus to [0, modulus). Negates the number
    /// first if `negate` is set.
    fn canonical(&self, number: &Limbs, negate: bool) -> [u8; 32] {
        let mut limbs = if negate { number.map(|limb| -limb) } else { *number };
        for multiple in [2, 1, 0, -1, -2] {
            // Takes the sum that is not negative and below the modulus.
            let shifted = self.plus(&limbs, multiple);
            let less = self.plus(&shifted, -1);
            if shifted[LIMBS - 1] >= 0 && less[LIMBS - 1] < 0 {
                limbs = shifted;
                break;
            }
        }
        join(&limbs)
    }

    /// Returns `limbs` plus `multiple` times the modulus, carried.
    fn plus(&self, limbs: &Limbs, multiple: i64) -> Limbs {
        let mut carry = 0;
        std::array::from_fn(|at| {
            carry += i64::from(limbs[at]) + multiple * i64::from(self.limbs[at]);
            let limb = if at == LIMBS - 1 { carry } else { carry & MASK };
            carry >>= BITS;
            limb as i32
        })
    }
}

impl StepMatrix {
    /// Runs 30 divsteps on the low limbs, several at once where there are trailing zeros. `eta` is
    /// −δ of the paper.
    fn run(eta: &mut i32, f: u32, g: u32) -> Self {
        let (mut f, mut g) = (f, g);
        let (mut u, mut v, mut q, mut r) = (1_u32, 0_u32, 0_u32, 1_u32);
        let mut left = BITS;
        loop {
            // At most as many zeros as steps are left.
            let zeros = (g | u32::MAX << left).trailing_zeros();
            g >>= zeros;
            u <<= zeros;
            v <<= zeros;
            *eta -= zeros as i32;
            left -= zeros;
            if left == 0 {
                break;
            }
            if *eta < 0 {
                *eta = -*eta;
                (f, g) = (g, f.wrapping_neg());
                (u, q) = (q, u.wrapping_neg());
                (v, r) = (r, v.wrapping_neg());
            }
            // Adds the multiple of f that clears low bits of g: as many as there are steps before
            // the next exchange of f and g, six at most. f·(f² − 2) is −1/f modulo 2⁶.
            let steps = (*eta as u32).saturating_add(1).min(left);
            let mask = (u32::MAX >> (32 - steps)) & 63;
            let inverse = f.wrapping_mul(f.wrapping_mul(f).wrapping_sub(2));
            let w = inverse.wrapping_mul(g) & mask;
            g = g.wrapping_add(f.wrapping_mul(w));
            q = q.wrapping_add(u.wrapping_mul(w));
            r = r.wrapping_add(v.wrapping_mul(w));
        }
        let signed = |word: u32| i64::from(word as i32);
        Self { u: signed(u), v: signed(v), q: signed(q), r: signed(r) }
    }

    /// Multiplies f and g by the matrix and divides both by 2³⁰, which leaves no remainder.
    fn apply(&self, f: &mut Limbs, g: &mut Limbs) {
        let Self { u, v, q, r } = *self;
        let mut cf = (u * i64::from(f[0]) + v * i64::from(g[0])) >> BITS;
        let mut cg = (q * i64::from(f[0]) + r * i64::from(g[0])) >> BITS;
        for at in 1..LIMBS {
            let (fi, gi) = (i64::from(f[at]), i64::from(g[at]));
            cf += u * fi + v * gi;
            cg += q * fi + r * gi;
            f[at - 1] = (cf & MASK) as i32;
            g[at - 1] = (cg & MASK) as i32;
            cf >>= BITS;
            cg >>= BITS;
        }
        f[LIMBS - 1] = cf as i32;
        g[LIMBS - 1] = cg as i32;
    }
}

/// Splits a number, least significant octet first, into limbs.
const fn split(octets: &[u8; 32]) -> Limbs {
    let mut limbs = [0; LIMBS];
    let (mut pending, mut bits, mut at, mut limb) = (0_u64, 0, 0, 0);
    while at < 32 {
        pending |= (octets[at] as u64) << bits;
        bits += 8;
        at += 1;
        if bits >= BITS {
            limbs[limb] = (pending & MASK as u64) as i32;
            limb += 1;
            pending >>= BITS;
            bits -= BITS;
        }
    }
    limbs[limb] = pending as i32;
    limbs
}

/// Returns the octets of a number in [0, 2²⁵⁶), least significant first.
fn join(limbs: &Limbs) -> [u8; 32] {
    let mut limbs = limbs.iter();
    let (mut pending, mut bits) = (0_u64, 0);
    std::array::from_fn(|_| {
        if bits < 8
            && let Some(limb) = limbs.next()
        {
            pending |= u64::from(*limb as u32) << bits;
            bits += BITS;
        }
        let octet = pending as u8;
        pending >>= 8;
        bits -= 8;
        octet
    })
}

#[cfg(test)]
mod tests {
    use num_bigint::BigUint;
    use sha2::{Digest, Sha256};

    use super::*;

    const PRIMES: [&[u8; 64]; 3] = [
        b"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
        b"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    ];

    fn octets(number: &BigUint) -> [u8; 32] {
        let mut octets = number.to_bytes_le();
        octets.resize(32, 0);
        octets.try_into().unwrap()
    }

    #[test]
    fn inverses_are_inverses() {
        for digits in PRIMES {
            let modulus = Modulus::from_hex(digits);
            let prime = BigUint::parse_bytes(digits, 16).unwrap();
            let one = BigUint::from(1_u8);
            let near = (1..200_u32).flat_map(|n| [BigUint::from(n), &prime - n]);
            let powers = (0..255_u32)
                .flat_map(|bit| [&one << bit, (&one << bit) + &one, &prime - (&one << bit)]);
            let drawn =
                (0..20_000_u32).map(|n| BigUint::from_bytes_le(&Sha256::digest(n.to_be_bytes())));
            for number in near.chain(powers).chain(drawn).map(|number| number % &prime) {
                if number == BigUint::ZERO {
                    continue;
                }
                let inverse = BigUint::from_bytes_le(&modulus.invert(&octets(&number)));
                assert!(inverse < prime && &inverse * &number % &prime == one, "{number}");
            }
            assert_eq!(modulus.invert(&[0; 32]), [0; 32]);
        }
    }
}
