//! The field GF(p) of P-256, p = 2²⁵⁶ − 2²²⁴ + 2¹⁹² + 2⁹⁶ − 1 (SP 800-186 §3.2.1.3).
//!
//! **Variable time**: for public data only.
//!
//! Elements are [limbs](crate::limbs) in Montgomery form with R = 2²⁶¹. p ≡ −1 (mod 2²⁹), so the
//! Montgomery quotient of a column is the column's own low limb, and a multiple of p takes four
//! shifts: the reduction multiplies nothing.
//!
//! *Values*: a product of elements below a·p and b·p in magnitude lies between −(a·b/31)·p and
//! (a·b/31 + 1)·p, since R > 31·p and the quotient is in [0, R). No element here exceeds 8·p in
//! magnitude.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "sizes are bounded as limbs.rs argues; arrays have fixed lengths"
)]

use crate::comb::Field;
use crate::limbs::{
    self, BITS, Columns, LIMBS, Limbs, MASK, MAX_PRODUCT, from_hex, products, size,
};

/// An element. Products and the results of [`FieldElement::tight`] have size 1.
#[derive(Clone, Copy)]
pub(crate) struct FieldElement(Limbs);

/// p, not in Montgomery form.
const MODULUS: Limbs =
    from_hex(b"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");

/// R² mod p. Multiplication by it brings a plain number into Montgomery form.
const R_SQUARED: FieldElement =
    FieldElement(from_hex(b"000013fffffff7fffffffffffffffbffffffeffffffffc000000000000000c00"));

impl Field for FieldElement {
    const ONE: Self = Self::ONE;

    fn times(&self, other: &Self) -> Self {
        self.mul(other)
    }

    fn inverse(&self) -> Self {
        self.invert()
    }
}

impl FieldElement {
    /// One in Montgomery form: R mod p.
    pub(super) const ONE: Self =
        Self(from_hex(b"0000001fffffffdfffffffffffffffffffffffe0000000000000000000000020"));

    /// Reads 32 octets, most significant first, of a number below p.
    pub(super) fn from_bytes(octets: &[u8; 32]) -> Self {
        Self::plain(octets).mul(&R_SQUARED)
    }

    /// Reads 32 octets, most significant first, without bringing the number into Montgomery form.
    /// Size 1.
    pub(super) fn plain(octets: &[u8; 32]) -> Self {
        let mut octets = *octets;
        octets.reverse();
        Self(limbs::from_bytes(&octets))
    }

    /// Returns the element outside Montgomery form, for comparison with the product of an element
    /// and a plain number.
    pub(super) fn to_plain(self) -> Self {
        const UNIT: FieldElement = FieldElement([1, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.mul(&UNIT)
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

    pub(super) fn double(&self) -> Self {
        self.add(self)
    }

    /// Returns the same value with size 1. The value must be below 2²⁶¹ in magnitude.
    pub(super) fn tight(&self) -> Self {
        Self(carry(&self.0.map(i64::from)))
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

    /// Returns `a·b − c·d`, with one reduction.
    #[inline(never)]
    pub(super) fn difference_of_products(a: &Self, b: &Self, c: &Self, d: &Self) -> Self {
        debug_assert!(size(&a.0) * size(&b.0) + size(&c.0) * size(&d.0) <= MAX_PRODUCT);
        let (mut columns, other) = (products(&a.0, &b.0), products(&c.0, &d.0));
        for at in 0..columns.len() {
            columns[at] -= other[at];
        }
        reduce(columns)
    }

    /// Returns the inverse, by Fermat: aᵖ⁻². Zero gives zero.
    pub(super) fn invert(&self) -> Self {
        let mut power = Self::ONE;
        for bit in (0..256).rev() {
            power = power.square();
            // p − 2 differs from p only in bit 1: …11 becomes …01.
            if bit != 1 && bit_of_modulus(bit) {
                power = power.mul(self);
            }
        }
        power
    }

    /// Whether the element may be 0 modulo p. The value must be at most 5·p in magnitude. This is
    /// cheap, but also true for one other element in 2²⁵, so [`FieldElement::is_zero`] decides
    /// after it.
    pub(super) fn may_be_zero(&self) -> bool {
        // k·p ≡ −k (mod 2²⁹), and all limbs but limb 0 count multiples of 2²⁹.
        (i64::from(self.0[0]) + 5) & MASK <= 10
    }

    /// Returns the same element by another value: the value plus k·p.
    #[cfg(test)]
    pub(super) fn plus_multiple_of_p(&self, k: i64) -> Self {
        let shifted = |at| i64::from(self.0[at]) + k * i64::from(MODULUS[at]);
        Self(carry(&std::array::from_fn(shifted)))
    }

    /// Whether the element is 0 modulo p. The value must be at most 8·p in magnitude; beyond, a
    /// multiple of p gives false.
    pub(super) fn is_zero(&self) -> bool {
        let canonical = |limbs: [i64; LIMBS]| {
            let mut carried = limbs;
            for at in 0..LIMBS - 1 {
                carried[at + 1] += carried[at] >> BITS;
                carried[at] &= MASK;
            }
            carried
        };
        let shifted: [i64; LIMBS] =
            std::array::from_fn(|at| i64::from(self.0[at]) + 8 * i64::from(MODULUS[at]));
        let shifted = canonical(shifted);
        (0..=16).any(|k| canonical(MODULUS.map(|limb| k * i64::from(limb))) == shifted)
    }
}

fn bit_of_modulus(bit: usize) -> bool {
    MODULUS[bit / BITS as usize] >> (bit % BITS as usize) & 1 == 1
}

/// Montgomery's reduction: returns the columns' value divided by R, modulo p.
///
/// In each of the nine low columns, adding the column's low limb times p clears that limb: p is −1
/// at the column's place, and above it 2⁹⁶ = 2³·²⁹⁺⁹, 2¹⁹² = 2⁶·²⁹⁺¹⁸, −2²²⁴ = −2⁷·²⁹⁺²¹ and
/// 2²⁵⁶ = 2⁸·²⁹⁺²⁴.
#[inline(always)]
fn reduce(columns: Columns) -> FieldElement {
    let mut c = columns;
    macro_rules! clear {
        ($($at:literal)*) => { $(
            let m = c[$at] & MASK;
            c[$at + 1] += c[$at] >> BITS;
            c[$at + 3] += m << 9;
            c[$at + 6] += m << 18;
            c[$at + 7] -= m << 21;
            c[$at + 8] += m << 24;
        )* };
    }
    clear!(0 1 2 3 4 5 6 7 8);
    FieldElement(carry(&[c[9], c[10], c[11], c[12], c[13], c[14], c[15], c[16], c[17]]))
}

/// Carries every limb but the top one into [0, 2²⁹). The value must be below 2²⁶¹ in magnitude.
#[inline(always)]
fn carry(limbs: &[i64; LIMBS]) -> Limbs {
    let mut c = *limbs;
    let mut carried = [0; LIMBS];
    macro_rules! carry {
        ($($at:literal)*) => { $(
            carried[$at] = (c[$at] & MASK) as i32;
            c[$at + 1] += c[$at] >> BITS;
        )* };
    }
    carry!(0 1 2 3 4 5 6 7);
    debug_assert!(c[8].unsigned_abs() <= 1 << BITS, "a value is too large");
    carried[8] = c[8] as i32;
    carried
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;

    use super::*;
    use crate::limbs::testing::{extremes, from_hex, value};

    /// The largest top limb of a value below 8·p.
    const TOP: i32 = 8 << 24;

    fn modulus() -> BigInt {
        from_hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff")
    }

    /// Asserts that `result` is `expected` divided by R, has size 1, and is below 8·p in magnitude.
    fn assert_is(result: FieldElement, expected: &BigInt) {
        let (p, result, limbs) = (modulus(), value(&result.0), result.0);
        assert!(((&result << 261_u32) - expected) % &p == BigInt::ZERO, "{limbs:?}");
        assert!(size(&limbs) <= 1 && limbs[..8].iter().all(|limb| *limb >= 0), "{limbs:?}");
        assert!(result < 8 * &p && result > -8 * &p, "{limbs:?}");
    }

    #[test]
    fn products_hold_at_every_bound() {
        let (ones, threes) = (extremes(1, TOP, 300), extremes(3, TOP, 300));
        for a in &ones {
            assert_is(FieldElement(*a).square(), &(value(a) * value(a)));
            for b in &threes {
                let product = value(a) * value(b);
                assert_is(FieldElement(*a).mul(&FieldElement(*b)), &product);
                assert_is(FieldElement(*b).mul(&FieldElement(*a)), &product);
            }
        }
        let twos = extremes(2, TOP, 100);
        for (a, b) in ones.iter().zip(&twos) {
            for (c, d) in ones.iter().zip(ones.iter().rev()) {
                let [x, y, z, w] = [a, b, c, d].map(|limbs| FieldElement(*limbs));
                let expected = value(a) * value(b) - value(c) * value(d);
                assert_is(FieldElement::difference_of_products(&x, &y, &z, &w), &expected);
            }
        }
    }

    #[test]
    fn carrying_changes_no_value() {
        for limbs in extremes(3, TOP, 1000) {
            let tight = FieldElement(limbs).tight();
            assert_eq!(value(&tight.0), value(&limbs));
            assert!(size(&tight.0) <= 1);
        }
    }

    #[test]
    fn zero_is_recognised_in_every_disguise() {
        let p = MODULUS.map(i64::from);
        for k in -8..=8_i64 {
            let carried = carry(&p.map(|limb| k * limb));
            assert!(FieldElement(carried).is_zero(), "{k}");
            assert!(k.abs() > 5 || FieldElement(carried).may_be_zero(), "{k}");
            for at in 0..LIMBS {
                let mut other = carried;
                other[at] += 1;
                assert!(!FieldElement(other).is_zero(), "{k}, limb {at}");
            }
        }
        for limbs in extremes(1, TOP, 1000) {
            let zero = (value(&limbs) % modulus()) == BigInt::ZERO;
            assert_eq!(FieldElement(limbs).is_zero(), zero, "{limbs:?}");
        }
    }

    #[test]
    fn inverses_and_plain_numbers() {
        for seed in 1..50_u8 {
            let element = FieldElement::from_bytes(&[seed; 32]);
            let one = element.mul(&element.invert());
            assert!(one.sub(&FieldElement::ONE).is_zero());
            assert!(element.to_plain().sub(&FieldElement::plain(&[seed; 32])).is_zero());
        }
    }
}
