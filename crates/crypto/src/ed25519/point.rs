//! Points of edwards25519: the affine points of combs, and their sums.
//!
//! **Variable time**: for public data only.

use super::FieldElement;
use super::powers::Element;
use crate::comb::inverses;

/// 4·d, where d = −121665/121666 is the constant of the curve (RFC 8032 §5.1).
const FOUR_D: FieldElement =
    FieldElement::from_hex(b"480db3b8adbff9ce331d01e5dde7a26001c02935050762add7ad37284d65e2b2");

/// 4 and ½.
const FOUR: FieldElement =
    FieldElement::from_hex(b"0000000000000000000000000000000000000000000000000000000000000004");
const HALF: FieldElement =
    FieldElement::from_hex(b"3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7");

/// √−1: 2 to the power (p − 1)/4.
const ROOT_OF_MINUS_ONE: FieldElement =
    FieldElement::from_hex(b"2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0");

/// An affine point in the form that additions need: (y + x)/2, (y − x)/2 and d·x·y.
#[derive(Clone, Copy)]
pub(crate) struct Affine {
    plus: FieldElement,
    minus: FieldElement,
    product: FieldElement,
}

/// A sum of points: x = X/Z, y = Y/Z, x·y = T/Z (RFC 8032 §5.1.4). All four have size 1.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    x: FieldElement,
    y: FieldElement,
    z: FieldElement,
    t: FieldElement,
}

impl Affine {
    /// The point with these coordinates. Takes half of each.
    fn of_halves(x: &FieldElement, y: &FieldElement) -> Self {
        let (plus, minus, product) = (y.add(x).tight(), y.sub(x).tight(), x.mul(y));
        if cfg!(feature = "planted-fault") {
            return Self { plus, minus, product };
        }
        Self { plus, minus, product: product.mul(&FOUR_D) }
    }

    /// Decodes a point. Returns `None` if no point has this encoding (RFC 8032 §5.1.3). Accepts
    /// encodings that are not canonical, which the caller refuses.
    pub(super) fn decode(encoded: &[u8; 32]) -> Option<Self> {
        let y = FieldElement::from_bytes(encoded);
        let yy = y.square();
        // x² = u/v with u = y² − 1 and v = d·y² + 1. The code uses 4·u and 4·v, which have the same
        // quotient.
        let u = yy.sub(&FieldElement::ONE).mul(&FOUR);
        let v = yy.mul(&FOUR_D).add(&FOUR).tight();
        // x = u·v³·(u·v⁷)^((p − 5)/8), or √−1 times that.
        let v3 = v.square().mul(&v);
        let uv7 = v3.square().mul(&v).mul(&u);
        let x = uv7.power_for_roots().mul(&v3).mul(&u);
        let vxx = x.square().mul(&v);
        let x = if vxx.equals(&u) {
            x
        } else if vxx.equals(&u.neg().carried()) {
            x.mul(&ROOT_OF_MINUS_ONE)
        } else {
            return None;
        };
        let odd = |bytes: [u8; 32]| bytes.first().is_some_and(|octet| octet & 1 == 1);
        let negative = encoded.last().is_some_and(|octet| octet >> 7 == 1);
        let x = if odd(x.to_bytes()) == negative { x } else { x.neg().tight() };
        Some(Self::of_halves(&x.mul(&HALF), &y.mul(&HALF)))
    }
}

impl Sum {
    /// The neutral element: x = 0, y = 1.
    pub(super) const NEUTRAL: Self = Self {
        x: FieldElement::ZERO,
        y: FieldElement::ONE,
        z: FieldElement::ONE,
        t: FieldElement::ZERO,
    };

    /// Adds `point`, or subtracts it if `negate` is set. The formulas are complete: they hold for
    /// all points.
    ///
    /// Source: [RFC 8032 §5.1.4](https://www.rfc-editor.org/rfc/rfc8032#section-5.1.4). The terms
    /// that depend on the affine point alone are precomputed. A to H have half their values there.
    #[inline(never)]
    pub(super) fn add(&mut self, point: &Affine, negate: bool) {
        let Affine { plus, minus, product } = point;
        let (plus, minus) = if negate { (minus, plus) } else { (plus, minus) };
        let a = self.y.sub(&self.x).mul(minus);
        let b = self.y.add(&self.x).mul(plus); // size 2 by 1
        let c = self.t.mul(product);
        let (less, more) = (self.z.sub(&c).tight(), self.z.add(&c).tight());
        let (f, g) = if negate { (more, less) } else { (less, more) };
        let e = b.sub(&a); // size 2
        let h = b.add(&a); // size 2
        self.x = e.mul(&f);
        self.y = g.mul(&h);
        self.z = f.mul(&g);
        self.t = e.mul(&h);
    }

    /// Returns twice the sum.
    pub(super) fn double(&self) -> Self {
        let a = self.x.square();
        let b = self.y.square();
        let zz = self.z.square();
        let h = a.add(&b).tight();
        let e = h.sub(&self.x.add(&self.y).tight().square());
        let g = a.sub(&b).carried();
        let f = zz.add(&zz).carried().add(&g).tight();
        Self { x: e.mul(&f), y: g.mul(&h), z: f.mul(&g), t: e.mul(&h) }
    }

    /// Returns the sum's encoding (RFC 8032 §5.1.2).
    pub(super) fn encode(&self) -> [u8; 32] {
        let inverse = self.z.invert();
        let (x, y) = (self.x.mul(&inverse).to_bytes(), self.y.mul(&inverse).to_bytes());
        let sign = x.first().map_or(0, |octet| octet << 7);
        let mut encoded = y;
        if let Some(last) = encoded.last_mut() {
            *last |= sign;
        }
        encoded
    }

    /// Returns the affine forms of sums, with one inversion for all of them.
    pub(super) fn to_affine(sums: &[Self]) -> Vec<Affine> {
        let twice_z: Vec<_> = sums.iter().map(|sum| sum.z.add(&sum.z).carried()).collect();
        let affine = |(sum, inverse): (&Self, FieldElement)| {
            Affine::of_halves(&sum.x.mul(&inverse), &sum.y.mul(&inverse))
        };
        sums.iter().zip(inverses(&twice_z)).map(affine).collect()
    }
}
