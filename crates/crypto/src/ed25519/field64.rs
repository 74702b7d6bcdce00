//! The field GF(p) of edwards25519 for processors with 64-bit products, by code that fiat-crypto
//! generates together with its proofs. Has the interface of [`super::field`], which is for Wasm.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "constants are read when the program is compiled; arrays have fixed lengths"
)]

use fiat_crypto::curve25519_64::{
    fiat_25519_add, fiat_25519_carry, fiat_25519_carry_mul, fiat_25519_carry_square,
    fiat_25519_from_bytes, fiat_25519_loose_field_element as Loose, fiat_25519_opp, fiat_25519_sub,
    fiat_25519_tight_field_element as Tight, fiat_25519_to_bytes,
};

use super::powers::element;
use crate::limbs::octets_from_hex;

/// An element. Products and the results of [`FieldElement::tight`] have size 1: they are what
/// fiat-crypto calls tight. Sums, differences and opposites take such, and have size 2: they are loose.
/// The other operations take both.
#[derive(Clone, Copy)]
pub(crate) struct FieldElement([u64; 5]);

element!(FieldElement);

impl FieldElement {
    pub(super) const ZERO: Self = Self([0; 5]);
    pub(super) const ONE: Self = Self([1, 0, 0, 0, 0]);

    pub(super) const fn from_hex(digits: &[u8; 64]) -> Self {
        Self::from_bytes(&octets_from_hex(digits))
    }

    /// Reads 32 octets, least significant first. Ignores the highest bit.
    pub(super) const fn from_bytes(octets: &[u8; 32]) -> Self {
        let mut octets = *octets;
        octets[31] &= 0x7f;
        let mut element = Tight([0; 5]);
        fiat_25519_from_bytes(&mut element, &octets);
        Self(element.0)
    }

    /// Returns the canonical encoding, least significant octet first (RFC 8032 §5.1.2).
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut octets = [0; 32];
        fiat_25519_to_bytes(&mut octets, &self.of_size_1());
        octets
    }

    #[inline]
    pub(super) fn add(&self, other: &Self) -> Self {
        let mut sum = Loose([0; 5]);
        fiat_25519_add(&mut sum, &self.of_size_1(), &other.of_size_1());
        Self(sum.0)
    }

    #[inline]
    pub(super) fn sub(&self, other: &Self) -> Self {
        let mut difference = Loose([0; 5]);
        fiat_25519_sub(&mut difference, &self.of_size_1(), &other.of_size_1());
        Self(difference.0)
    }

    pub(super) fn neg(&self) -> Self {
        let mut opposite = Loose([0; 5]);
        fiat_25519_opp(&mut opposite, &self.of_size_1());
        Self(opposite.0)
    }

    /// Returns the same value modulo p with size 1.
    #[inline]
    pub(super) fn tight(&self) -> Self {
        let mut element = Tight([0; 5]);
        fiat_25519_carry(&mut element, &Loose(self.0));
        Self(element.0)
    }

    /// As [`tight`](Self::tight). In Wasm sums may be added to again: there it does nothing.
    #[inline]
    pub(super) fn carried(&self) -> Self {
        self.tight()
    }

    #[inline]
    pub(super) fn mul(&self, other: &Self) -> Self {
        let mut product = Tight([0; 5]);
        fiat_25519_carry_mul(&mut product, &Loose(self.0), &Loose(other.0));
        Self(product.0)
    }

    #[inline]
    pub(super) fn square(&self) -> Self {
        let mut square = Tight([0; 5]);
        fiat_25519_carry_square(&mut square, &Loose(self.0));
        Self(square.0)
    }

    #[inline]
    fn of_size_1(&self) -> Tight {
        debug_assert!(self.0.iter().all(|limb| *limb <= 1 << 51), "an element of size 2");
        Tight(self.0)
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::{BigInt, Sign};

    use super::*;
    use crate::ed25519::powers::Element;

    fn value(element: FieldElement) -> BigInt {
        BigInt::from_bytes_le(Sign::Plus, &element.to_bytes())
    }

    #[test]
    fn results_are_those_of_big_integers() {
        let p = (BigInt::from(1) << 255) - 19;
        let mut elements: Vec<FieldElement> = (0..60_u8)
            .map(|seed| {
                FieldElement::from_bytes(&std::array::from_fn(|at| {
                    seed.wrapping_mul(at as u8 ^ 0x5b)
                }))
            })
            .collect();
        for near in [0, 1, 2, 18, 19, 20, 0xec, 0xed, 0xee, 0xff] {
            elements.push(FieldElement::from_bytes(
                &[[near; 1].as_slice(), &[0xff; 31]].concat().try_into().unwrap(),
            ));
            elements.push(FieldElement::from_bytes(
                &[[near; 1].as_slice(), &[0; 31]].concat().try_into().unwrap(),
            ));
        }
        for a in &elements {
            let same = |found: FieldElement, expected: BigInt| {
                assert_eq!(value(found), ((expected % &p) + &p) % &p);
            };
            same(a.square(), value(*a) * value(*a));
            same(a.add(a).square(), value(*a) * value(*a) * 4);
            same(a.neg().tight(), -value(*a));
            if value(*a) != BigInt::ZERO {
                assert!(a.mul(&a.invert()).equals(&FieldElement::ONE));
            }
            for b in &elements {
                same(a.mul(b), value(*a) * value(*b));
                let (sum, difference) = (value(*a) + value(*b), value(*a) - value(*b));
                same(a.add(b).mul(&a.sub(b)), sum * difference);
                same(a.add(b).tight(), value(*a) + value(*b));
                same(a.sub(b).tight(), value(*a) - value(*b));
            }
        }
    }

    #[test]
    fn constants_are_read_from_hexadecimal_digits() {
        let digits = b"2406d9dc56dffce7198e80f2eef3d13000e0149a8283b156ebd69b9426b2f159";
        let expected = BigInt::parse_bytes(digits, 16).unwrap();
        assert_eq!(value(FieldElement::from_hex(digits)), expected);
    }
}
