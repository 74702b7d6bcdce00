//! Points of P-256: affine ones, which tables hold, and their sums.
//!
//! **Variable time**: for public data only.

use super::field::FieldElement;

/// A point other than the one at infinity.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) x: FieldElement,
    pub(super) y: FieldElement,
}

/// A sum of points: the point at infinity, or x = X/ZZ, y = Y/ZZZ with ZZ³ = ZZZ².
///
/// These coordinates add an affine point with fewer products than Jacobian ones; nothing here doubles
/// but by exception. X, Y, ZZ and ZZZ have size 1, and values below 3·p in magnitude.
#[derive(Clone, Copy)]
pub(super) enum Sum {
    Infinity,
    Finite(Coordinates),
}

#[derive(Clone, Copy)]
pub(super) struct Coordinates {
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

    /// Add `point`, or its opposite.
    ///
    /// Formulas madd-2008-s of the Explicit-Formulas Database; equal and opposite points, for which
    /// they do not hold, are computed by themselves.
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

    /// Twice this point. No point of P-256 has order 2, so that is finite.
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

    /// Whether the point's x is this number: X = x·ZZ.
    pub(super) fn has_x(&self, x: &[u8; 32]) -> bool {
        FieldElement::plain(x).mul(&self.zz).sub(&self.x.to_plain()).is_zero()
    }

    #[cfg(test)]
    pub(super) fn has_y(&self, y: &[u8; 32]) -> bool {
        FieldElement::plain(y).mul(&self.zzz).sub(&self.y.to_plain()).is_zero()
    }

    /// As affine points, with one inversion for all of them.
    pub(super) fn to_affine(all: &[Self]) -> Vec<Affine> {
        // Montgomery's trick: products of all before, and the inverse of the product of all.
        let mut before = Vec::with_capacity(all.len());
        let mut product = FieldElement::ONE;
        for point in all {
            before.push(product);
            product = product.mul(&point.zzz);
        }
        let mut inverse = product.invert();
        let mut affine: Vec<Affine> = all
            .iter()
            .zip(before)
            .rev()
            .map(|(point, before)| {
                let of_zzz = inverse.mul(&before);
                inverse = inverse.mul(&point.zzz);
                // ZZ = z², ZZZ = z³: ZZ/ZZZ is 1/z.
                let of_z = point.zz.mul(&of_zzz);
                Affine { x: point.x.mul(&of_z.square()), y: point.y.mul(&of_zzz) }
            })
            .collect();
        affine.reverse();
        affine
    }
}
