//! ES256 under a key whose multiples were laid out (ECDSA with P-256 and SHA-256).
//!
//! **Variable time**: for public data only, which is all that checking a signature handles. Field and
//! points are this project's own; scalars are those of the crate `p256`, and so are the rules for what
//! a key is.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "operators of points and scalars, which wrap around by definition"
)]

mod field;
mod point;

use p256::elliptic_curve::bigint::{CheckedAdd, U256};
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::scalar::IsHigh;
use p256::elliptic_curve::{Curve, PrimeField};
use p256::{FieldBytes, NistP256, Scalar};
use sha2::{Digest, Sha256};

use self::point::{Affine, Coordinates, Sum};
use crate::comb::{MULTIPLES, POSITIONS, digits};
use crate::inverse::Modulus;

/// All multiples d·2⁸ⁱ·P of a point P that a comb picks from.
pub(crate) struct Comb(Vec<Affine>);

/// What one takes.
pub(crate) const COMB_BYTES: usize = size_of::<[[Affine; MULTIPLES]; POSITIONS]>();

/// A [`Comb`] under construction.
pub(crate) struct CombBuilder {
    entries: Vec<Affine>,
    /// 2⁸ⁱ·P for the position i that is next.
    base: Affine,
}

impl CombBuilder {
    /// For the point with these coordinates, which must be on the curve.
    pub(crate) fn new(x: &[u8; 32], y: &[u8; 32]) -> Self {
        Self { entries: Vec::new(), base: Affine::from_bytes(x, y) }
    }

    /// For the generator (SP 800-186 §3.2.1.3).
    pub(crate) fn generator() -> Self {
        if cfg!(feature = "planted-fault") {
            return Self::new(&[1; 32], &[2; 32]);
        }
        Self::new(
            b"\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
              \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96",
            b"\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
              \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5",
        )
    }

    /// Lay out the next position; true when that was the last.
    pub(crate) fn step(&mut self) -> bool {
        if self.entries.is_empty() {
            self.entries.reserve_exact(POSITIONS * MULTIPLES);
        }
        // d·B for d from 1 to 128, and 256·B, which is where the next position begins.
        let mut sum = Sum::Infinity;
        let mut multiples = Vec::with_capacity(MULTIPLES + 1);
        for _ in 0..MULTIPLES {
            sum.add(&self.base, false);
            multiples.extend(sum.finite().copied());
        }
        multiples.extend(sum.finite().map(Coordinates::double));
        let mut multiples = Coordinates::to_affine(&multiples);
        if let Some(next) = multiples.pop() {
            self.base = next;
        }
        self.entries.extend(multiples);
        self.entries.len() >= POSITIONS * MULTIPLES
    }

    /// The comb, once it is complete.
    pub(crate) fn finish(self) -> Comb {
        Comb(self.entries)
    }
}

impl Comb {
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    /// Add `scalar` times the point to `sum`.
    fn add_multiple(&self, sum: &mut Sum, scalar: Scalar) {
        // k·P = −(n − k)·P, and one of k and n − k is below 2²⁵⁵.
        let opposite = bool::from(scalar.is_high());
        let scalar = if opposite { -scalar } else { scalar };
        let mut octets: [u8; 32] = scalar.to_bytes().into();
        octets.reverse();
        for (multiples, digit) in self.0.chunks_exact(MULTIPLES).zip(digits(&octets)) {
            let multiple = usize::from(digit.unsigned_abs()).checked_sub(1);
            if let Some(entry) = multiple.and_then(|at| multiples.get(at)) {
                sum.add(entry, (digit < 0) != opposite);
            }
        }
    }
}

/// Check a signature over `message`, R‖S, by the key and the generator laid out.
///
/// Source: [FIPS 186-5 §6.4.2](https://doi.org/10.6028/NIST.FIPS.186-5), [RFC 7518
/// §3.4](https://www.rfc-editor.org/rfc/rfc7518#section-3.4).
pub(crate) fn verify_by_tables(
    generator: &Comb,
    key: &Comb,
    message: &[u8],
    signature: &[u8],
) -> bool {
    verify_digest(generator, key, &Sha256::digest(message).into(), signature)
}

fn verify_digest(generator: &Comb, key: &Comb, digest: &[u8; 32], signature: &[u8]) -> bool {
    let Some((r_octets, s_octets)) = signature.split_first_chunk::<32>() else { return false };
    let Ok(s_octets) = <&[u8; 32]>::try_from(s_octets) else { return false };
    // Steps 1 and 2: r and s lie in [1, n − 1].
    let (Some(r), Some(s)) = (nonzero(r_octets), nonzero(s_octets)) else { return false };
    // Steps 3 to 5.
    let Some(inverse) = invert(&s) else { return false };
    let e = <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(*digest));
    // Step 6.
    let mut sum = Sum::Infinity;
    generator.add_multiple(&mut sum, e * inverse);
    key.add_multiple(&mut sum, r * inverse);
    // Steps 7 and 8: the sum's x modulo n is r. Since p < 2n, x is r or r + n.
    let Some(sum) = sum.finite() else { return false };
    sum.has_x(r_octets) || plus_order(r_octets).is_some_and(|x| sum.has_x(&x))
}

fn invert(scalar: &Scalar) -> Option<Scalar> {
    const ORDER: Modulus =
        Modulus::from_hex(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let mut octets: [u8; 32] = scalar.to_bytes().into();
    octets.reverse();
    let mut inverse = ORDER.invert(&octets);
    inverse.reverse();
    nonzero(&inverse)
}

fn nonzero(octets: &[u8; 32]) -> Option<Scalar> {
    let scalar = Scalar::from_repr(FieldBytes::from(*octets)).into_option()?;
    (scalar != Scalar::ZERO).then_some(scalar)
}

/// `octets` + n, if it is below p.
fn plus_order(octets: &[u8; 32]) -> Option<[u8; 32]> {
    const MODULUS: U256 =
        U256::from_be_hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let sum = U256::from_be_slice(octets).checked_add(NistP256::ORDER.as_ref()).into_option()?;
    (sum < MODULUS).then(|| sum.to_be_bytes().into())
}

#[cfg(test)]
mod tests;
