//! The field GF(p) of edwards25519, p = 2²⁵⁵ − 19 (RFC 7748 §4.1).
//!
//! **Variable time**: for public data only.
//!
//! Elements are [limbs](crate::limbs). Since 2²⁶¹ ≡ 19·2⁶ = 1216, the upper half of a product is
//! folded into the lower one.
//!
//! *Values*: a product lies in [−2²⁹, 2²⁶²), with limbs in [−1, 2²⁹]. Formulas add and subtract a
//! few such values.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "sizes are bounded as limbs.rs argues; arrays have fixed lengths"
)]

use super::powers::element;
use crate::limbs::{self, BITS, Columns, LIMBS, Limbs, MASK, from_hex, products};

/// An element. Products and the results of [`FieldElement::tight`] have size 1.
#[derive(Clone, Copy)]
pub(crate) struct FieldElement(Limbs);

/// 2²⁶¹ modulo p.
const FOLD: i64 = 19 << 6;

element!(FieldElement);

impl FieldElement {
    pub(super) const ZERO: Self = Self([0; LIMBS]);
    pub(super) const ONE: Self = Self([1, 0, 0, 0, 0, 0, 0, 0, 0]);

    pub(super) const fn from_hex(digits: &[u8; 64]) -> Self {
        Self(from_hex(digits))
    }

    /// Reads 32 octets, least significant first. Ignores the highest bit.
    pub(super) fn from_bytes(octets: &[u8; 32]) -> Self {
        let mut octets = *octets;
        octets[31] &= 0x7f;
        Self(limbs::from_bytes(&octets))
    }

    /// Returns the canonical encoding, least significant octet first (RFC 8032 §5.1.2).
    pub(super) fn to_bytes(self) -> [u8; 32] {
        // 1024·p makes the value positive. Four folds of the part above 2²⁵⁵ leave it below 2²⁵⁵.
        let mut c: [i64; LIMBS] =
            std::array::from_fn(|at| i64::from(self.0[at]) + 1024 * i64::from(MODULUS[at]));
        for _ in 0..4 {
            for at in 0..LIMBS - 1 {
                c[at + 1] += c[at] >> BITS;
                c[at] &= MASK;
            }
            c[0] += 19 * (c[8] >> 23);
            c[8] &= (1 << 23) - 1;
        }
        // It is now below 2²⁵⁵, and at least p exactly if adding 19 carries into bit 255.
        let mut carried = c;
        carried[0] += 19;
        for at in 0..LIMBS - 1 {
            carried[at + 1] += carried[at] >> BITS;
            carried[at] &= MASK;
        }
        let above = carried[8] >> 23 == 1;
        carried[8] &= (1 << 23) - 1;
        limbs::to_bytes(&(if above { carried } else { c }).map(|limb| limb as i32))
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }

    pub(super) fn sub(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] - other.0[at]))
    }

    pub(super) fn neg(&self) -> Self {
        Self(self.0.map(|limb| -limb))
    }

    /// Returns the same value modulo p with size 1.
    pub(super) fn tight(&self) -> Self {
        fold(&self.0.map(i64::from))
    }

    /// Returns the element itself: natively, sums are of elements of size 1 alone.
    pub(super) fn carried(&self) -> Self {
        *self
    }

    // Not inlined: faster in engines that compile one function at a time, and the code is smaller.
    #[inline(never)]
    pub(super) fn mul(&self, other: &Self) -> Self {
        reduce(products(&self.0, &other.0))
    }

    #[inline(never)]
    pub(super) fn square(&self) -> Self {
        reduce(limbs::square(&self.0))
    }
}

/// The prime p.
const MODULUS: Limbs =
    from_hex(b"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");

/// Returns the columns' value modulo p.
#[inline(always)]
fn reduce(columns: Columns) -> FieldElement {
    let mut c = columns;
    // Carry first, since folding multiplies.
    macro_rules! carry {
        ($($at:literal)*) => { $(
            c[$at + 1] += c[$at] >> BITS;
            c[$at] &= MASK;
        )* };
    }
    carry!(8 9 10 11 12 13 14 15 16);
    fold(&std::array::from_fn(|at| c[at] + FOLD * c[at + 9]))
}

/// Carries, and folds the part above 2²⁶¹ into the lowest limb.
#[inline(always)]
fn fold(limbs: &[i64; LIMBS]) -> FieldElement {
    let mut c = *limbs;
    macro_rules! carry {
        ($($at:literal)*) => { $(
            c[$at + 1] += c[$at] >> BITS;
            c[$at] &= MASK;
        )* };
    }
    carry!(0 1 2 3 4 5 6 7);
    // At most 2¹⁷ is above the top limb. Folded, that carries at most ±1 out of the lowest limb.
    c[0] += FOLD * (c[8] >> BITS);
    c[8] &= MASK;
    carry!(0);
    FieldElement(c.map(|limb| limb as i32))
}

#[cfg(test)]
mod tests {
    use num_bigint::{BigInt, Sign};

    use super::*;
    use crate::ed25519::powers::Element;
    use crate::limbs::size;
    use crate::limbs::testing::{extremes, from_hex, value};

    const TOP: i32 = MASK as i32;

    fn modulus() -> BigInt {
        from_hex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed")
    }

    /// Asserts that `result` is `expected` modulo p, has size 1, and is encoded canonically.
    fn assert_is(result: FieldElement, expected: &BigInt) {
        let (p, limbs) = (modulus(), result.0);
        assert!((value(&limbs) - expected) % &p == BigInt::ZERO, "{limbs:?}");
        assert!(size(&limbs) <= 1 && limbs.iter().all(|limb| *limb >= -1), "{limbs:?}");
        let encoded = BigInt::from_bytes_le(Sign::Plus, &result.to_bytes());
        assert!(encoded < p && (encoded - expected) % &p == BigInt::ZERO, "{limbs:?}");
    }

    #[test]
    fn products_hold_at_every_bound() {
        let (ones, threes) = (extremes(1, TOP, 300), extremes(3, 3 * TOP, 300));
        for a in &ones {
            assert_is(FieldElement(*a).square(), &(value(a) * value(a)));
            for b in &threes {
                assert_is(FieldElement(*a).mul(&FieldElement(*b)), &(value(a) * value(b)));
            }
        }
    }

    #[test]
    fn carrying_changes_no_value_modulo_p() {
        for limbs in extremes(3, 3 * TOP, 1000) {
            assert_is(FieldElement(limbs).tight(), &value(&limbs));
        }
    }

    #[test]
    fn encodings_are_canonical_around_every_multiple_of_p() {
        for k in -8..=8_i64 {
            for off in -20..=20_i64 {
                let mut limbs = MODULUS.map(|limb| k * i64::from(limb));
                limbs[0] += off;
                let mut carried = limbs;
                for at in 0..LIMBS - 1 {
                    carried[at + 1] += carried[at] >> BITS;
                    carried[at] &= MASK;
                }
                let element = FieldElement(carried.map(|limb| limb as i32));
                let encoded = BigInt::from_bytes_le(Sign::Plus, &element.to_bytes());
                let expected = (modulus() + off) % modulus();
                assert_eq!(encoded, expected, "{k}, {off}");
            }
        }
    }

    #[test]
    fn inverses() {
        for seed in 1..50_u8 {
            let element = FieldElement::from_bytes(&[seed; 32]);
            assert!(element.mul(&element.invert()).equals(&FieldElement::ONE));
        }
    }
}
