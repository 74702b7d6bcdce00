//! Verifies ES256 signatures (ECDSA with P-256 and SHA-256) with tables: the combs of the key and
//! of the generator.
//!
//! **Variable time**: for public data only; verification handles no secrets. Field, points and the
//! inverse modulo the order are this project's own. Other operations on scalars are those of the
//! crate `p256`, which also decides whether a key is on the curve ([`crate::is_sound`]).

#![allow(
    clippy::arithmetic_side_effects,
    reason = "the operators of scalars work modulo the order, and do not overflow"
)]

mod field;
mod point;

use p256::elliptic_curve::bigint::{CheckedAdd, U256};
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::scalar::IsHigh;
use p256::elliptic_curve::{Curve as _, PrimeField};
use p256::{FieldBytes, NistP256, Scalar};
use sha2::{Digest, Sha256};

use self::point::{Affine, Coordinates, Sum};
use crate::comb::{self, Curve};
use crate::inverse::Modulus;

/// The curve P-256 (SP 800-186 §3.2.1.3).
pub(crate) enum P256 {}

impl Curve for P256 {
    type Affine = Affine;
    type Sum = Sum;
    const NEUTRAL: Sum = Sum::Infinity;

    fn add(sum: &mut Sum, point: &Affine, negate: bool) {
        sum.add(point, negate);
    }

    fn double(sum: &Sum) -> Sum {
        sum.finite().map_or(Sum::Infinity, |sum| Sum::Finite(sum.double()))
    }

    fn to_affine(sums: &[Sum]) -> Vec<Affine> {
        Coordinates::to_affine(sums.iter().filter_map(Sum::finite))
    }
}

pub(crate) type Comb = comb::Comb<P256>;
pub(crate) type CombBuilder = comb::CombBuilder<P256>;

/// Starts to compute the comb of the point with these coordinates, most significant octet first.
/// The point must be on the curve.
pub(crate) fn begin_comb(x: &[u8; 32], y: &[u8; 32]) -> CombBuilder {
    CombBuilder::new(Affine::from_bytes(x, y))
}

/// Starts to compute the comb of P-256's generator (SP 800-186 §3.2.1.3).
pub(crate) fn begin_generator() -> CombBuilder {
    if cfg!(feature = "planted-fault") {
        return begin_comb(&[1; 32], &[2; 32]);
    }
    begin_comb(
        b"\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
          \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96",
        b"\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
          \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5",
    )
}

/// Adds `scalar` times the comb's point to `sum`.
fn add_multiple(comb: &Comb, sum: &mut Sum, scalar: Scalar) {
    // A comb takes scalars below 2²⁵⁵. k·P = −(n − k)·P, and one of k and n − k is below that.
    let opposite = bool::from(scalar.is_high());
    let scalar = if opposite { -scalar } else { scalar };
    let mut octets: [u8; 32] = scalar.to_bytes().into();
    octets.reverse();
    comb.add_multiple(sum, &octets, opposite);
}

/// Verifies an ES256 signature over `message`, with the combs of the generator and of the key.
/// `signature` is R‖S, 64 octets; any other length is refused.
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
    // Step 1: r and s lie in [1, n − 1].
    let (Some(r), Some(s)) = (nonzero(r_octets), nonzero(s_octets)) else { return false };
    // Steps 3 to 5. The caller has done step 2, the hash.
    let Some(inverse) = invert(&s) else { return false };
    let e = <Scalar as Reduce<FieldBytes>>::reduce(&FieldBytes::from(*digest));
    // Step 6.
    let mut sum = Sum::Infinity;
    add_multiple(generator, &mut sum, e * inverse);
    add_multiple(key, &mut sum, r * inverse);
    // Steps 7 to 9: the sum's x modulo n is r. Since p < 2n, x is r or r + n.
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

/// Returns `octets` + n, most significant octet first, or `None` if that is not below p.
fn plus_order(octets: &[u8; 32]) -> Option<[u8; 32]> {
    const MODULUS: U256 =
        U256::from_be_hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let sum = U256::from_be_slice(octets).checked_add(NistP256::ORDER.as_ref()).into_option()?;
    (sum < MODULUS).then(|| sum.to_be_bytes().into())
}

#[cfg(test)]
mod tests;
