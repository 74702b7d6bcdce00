//! Points of P-256: the affine points of combs, and their sums.
//!
//! **Variable time**: for public data only.

use super::field::FieldElement;
use crate::comb::inverses;

/// A point other than the one at infinity.
#[derive(Clone, Copy)]
pub(crate) struct Affine {
    pub(super) x: FieldElement,
    pub(super) y: FieldElement,
}

/// A sum of points: the point at infinity, or x = X/ZZ, y = Y/ZZZ with ZZ³ = ZZZ².
///
/// Adding an affine point takes fewer products in these coordinates than in Jacobian ones, and sums
/// over combs hardly ever double. X, Y, ZZ and ZZZ have size 1. By interval arithmetic over the
/// formulas below, Y, ZZ and ZZZ stay between −0.3 and 1.3 times the prime, and X = r² − ppp − 2·q
/// between −3.5 and 2.2 times. The code compares with zero only differences of a product and one of
/// these, which stay below 5 times the prime in magnitude.
///
/// Source: coordinates "XYZZ for short Weierstrass curves" of the [Explicit-Formulas
/// Database](https://www.hyperelliptic.org/EFD/g1p/auto-shortw-xyzz.html).
#[derive(Clone, Copy)]
pub(crate) enum Sum {
    Infinity,
    Finite(Coordinates),
}

#[derive(Clone, Copy)]
pub(crate) struct Coordinates {
    x: FieldElement,
    y: FieldElement,
    zz: FieldElement,
    zzz: FieldElement,
}

impl Affine {
    pub(super) fn from_bytes(x: &[u8; 32], y: &[u8; 32]) -> Self {
        Self { x: FieldElement::from_bytes(x), y: FieldElement::from_bytes(y) }
    }

    fn with_sign(&self, negate: bool) -> Self {
        Self { x: self.x, y: if negate { self.y.neg() } else { self.y } }
    }
}

impl Sum {
    pub(super) fn finite(&self) -> Option<&Coordinates> {
        match self {
            Self::Infinity => None,
            Self::Finite(point) => Some(point),
        }
    }

    /// Adds `point`, or subtracts it if `negate` is set.
    ///
    /// Formulas madd-2008-s of the Explicit-Formulas Database. They do not hold for equal and
    /// opposite points, which are treated separately.
    #[inline(never)]
    pub(super) fn add(&mut self, point: &Affine, negate: bool) {
        let Self::Finite(Coordinates { x, y, zz, zzz }) = self else {
            *self = Self::Finite(Coordinates::of(&point.with_sign(negate)));
            return;
        };
        let point = point.with_sign(negate);
        let p = point.x.mul(zz).sub(x);
        let r = point.y.mul(zzz).sub(y);
        if p.may_be_zero() && p.is_zero() {
            *self = if r.is_zero() {
                Self::Finite(Coordinates::of(&point).double())
            } else {
                Self::Infinity
            };
            return;
        }
        let pp = p.square();
        let ppp = p.mul(&pp);
        let q = x.mul(&pp);
        *x = r.square().sub(&ppp).sub(&q.double()).tight();
        *y = FieldElement::difference_of_products(&r, &q.sub(x), y, &ppp);
        *zz = zz.mul(&pp);
        *zzz = zzz.mul(&ppp);
    }
}

impl Coordinates {
    fn of(point: &Affine) -> Self {
        Self { x: point.x, y: point.y.tight(), zz: FieldElement::ONE, zzz: FieldElement::ONE }
    }

    /// Returns twice this point. It is finite, since no point of P-256 has order 2.
    ///
    /// Formulas dbl-2008-s-1 of the Explicit-Formulas Database, with a = −3.
    pub(super) fn double(&self) -> Self {
        let u = self.y.double().tight();
        let v = u.square();
        let w = u.mul(&v);
        let s = self.x.mul(&v);
        let slope = self.x.square().sub(&self.zz.square());
        let m = slope.double().add(&slope).tight();
        let x = m.square().sub(&s.double()).tight();
        let y = FieldElement::difference_of_products(&m, &s.sub(&x), &w, &self.y);
        Self { x, y, zz: v.mul(&self.zz), zzz: w.mul(&self.zzz) }
    }

    /// Whether the point's x coordinate is `x`, most significant octet first: X = x·ZZ. False for
    /// ZZ = 0, which no point has.
    pub(super) fn has_x(&self, x: &[u8; 32]) -> bool {
        !self.zz.is_zero() && FieldElement::plain(x).mul(&self.zz).sub(&self.x.to_plain()).is_zero()
    }

    #[cfg(test)]
    pub(super) fn has_y(&self, y: &[u8; 32]) -> bool {
        FieldElement::plain(y).mul(&self.zzz).sub(&self.y.to_plain()).is_zero()
    }

    /// Returns the affine forms of points, with one inversion for all of them.
    pub(super) fn to_affine<'a>(points: impl Iterator<Item = &'a Self> + Clone) -> Vec<Affine> {
        let zzz: Vec<_> = points.clone().map(|point| point.zzz).collect();
        let affine = |(point, of_zzz): (&Self, FieldElement)| {
            // With ZZ = z² and ZZZ = z³, ZZ/ZZZ is 1/z.
            let of_z = point.zz.mul(&of_zzz);
            Affine { x: point.x.mul(&of_z.square()), y: point.y.mul(&of_zzz) }
        };
        points.zip(inverses(&zzz)).map(affine).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &[u8; 32] = b"\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
        \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96";
    const Y: &[u8; 32] = b"\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
        \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";

    fn affine(point: &Coordinates) -> Affine {
        Coordinates::to_affine(std::iter::once(point))[0]
    }

    /// Coordinates may differ from their canonical value by multiples of p within the stated
    /// bounds. Equal and opposite points must be recognised nevertheless.
    #[test]
    fn equal_and_opposite_points_are_recognised_in_every_disguise() {
        let generator = Affine::from_bytes(X, Y);
        let mut sum = Sum::Infinity;
        for _ in 0..7 {
            sum.add(&generator, false);
        }
        let Some(seven) = sum.finite().copied() else { panic!("7·G is finite") };
        let point = affine(&seven);
        let double = affine(&seven.double());
        for (x, y) in (-3..=2).flat_map(|x| [(x, 0), (x, 1), (x, -1)]) {
            let disguised = Coordinates {
                x: seven.x.plus_multiple_of_p(x),
                y: seven.y.plus_multiple_of_p(y),
                ..seven
            };
            let mut opposite = Sum::Finite(disguised);
            opposite.add(&point, true);
            assert!(opposite.finite().is_none(), "{x}, {y}");
            let mut equal = Sum::Finite(disguised);
            equal.add(&point, false);
            let equal = affine(equal.finite().unwrap());
            assert!(
                equal.x.sub(&double.x).is_zero() && equal.y.sub(&double.y).is_zero(),
                "{x}, {y}"
            );
        }
    }

    #[test]
    fn what_is_no_point_has_no_x() {
        let zero = FieldElement::ONE.sub(&FieldElement::ONE);
        let none = Coordinates { x: zero, y: zero, zz: zero, zzz: zero };
        assert!(!none.has_x(X) && !none.has_x(&[0; 32]));
    }
}
