//! What both implementations of the field share: powers, inverses, and equality.

use crate::inverse::Modulus;

/// An element of the field.
pub(super) trait Element: Copy {
    fn product(&self, other: &Self) -> Self;

    fn squared(&self) -> Self;

    /// Reads 32 octets, least significant first. Ignores the highest bit.
    fn of(octets: &[u8; 32]) -> Self;

    /// The canonical encoding, least significant octet first (RFC 8032 §5.1.2).
    fn octets(&self) -> [u8; 32];

    fn square_times(&self, times: usize) -> Self {
        (0..times).fold(*self, |power, _| power.squared())
    }

    /// Returns the power (p − 5)/8 = 2²⁵² − 3 of the element, for square roots (RFC 8032 §5.1.3).
    fn power_for_roots(&self) -> Self {
        let a2 = self.squared();
        let a9 = a2.square_times(2).product(self);
        let e5 = a9.product(&a2).squared().product(&a9); // 2⁵ − 1
        let e10 = e5.square_times(5).product(&e5);
        let e20 = e10.square_times(10).product(&e10);
        let e40 = e20.square_times(20).product(&e20);
        let e50 = e40.square_times(10).product(&e10);
        let e100 = e50.square_times(50).product(&e50);
        let e200 = e100.square_times(100).product(&e100);
        let e250 = e200.square_times(50).product(&e50);
        e250.square_times(2).product(self)
    }

    /// Returns the inverse. Zero gives zero.
    fn invert(&self) -> Self {
        const P: Modulus =
            Modulus::from_hex(b"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
        Self::of(&P.invert(&self.octets()))
    }

    fn equals(&self, other: &Self) -> bool {
        self.octets() == other.octets()
    }
}

/// Implements [`Element`] and [`Field`](crate::comb::Field) by the functions of a type.
macro_rules! element {
    ($name:ident) => {
        impl crate::ed25519::powers::Element for $name {
            fn product(&self, other: &Self) -> Self {
                self.mul(other)
            }

            fn squared(&self) -> Self {
                self.square()
            }

            fn of(octets: &[u8; 32]) -> Self {
                Self::from_bytes(octets)
            }

            fn octets(&self) -> [u8; 32] {
                self.to_bytes()
            }
        }

        impl crate::comb::Field for $name {
            const ONE: Self = Self::ONE;

            fn times(&self, other: &Self) -> Self {
                self.mul(other)
            }

            fn inverse(&self) -> Self {
                crate::ed25519::powers::Element::invert(self)
            }
        }
    };
}

pub(super) use element;
