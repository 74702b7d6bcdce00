//! Points of edwards25519: affine ones, which tables hold, and their sums.
//!
//! **Variable time**: for public data only.

use super::field::FieldElement;

/// 2·d, d = −121665/121666.
const TWICE_D: FieldElement =
    FieldElement::from_hex(b"2406d9dc56dffce7198e80f2eef3d13000e0149a8283b156ebd69b9426b2f159");

/// √−1: 2 to the power (p − 1)/4.
const ROOT_OF_MINUS_ONE: FieldElement =
    FieldElement::from_hex(b"2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0");

/// An affine point, as sums take it: y + x, y − x and 2·d·x·y.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    plus: FieldElement,
    minus: FieldElement,
    product: FieldElement,
}

/// A sum of points, x = X/Z, y = Y/Z, x·y = T/Z (RFC 8032 §5.1.4). All have size 1.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    x: FieldElement,
    y: FieldElement,
    z: FieldElement,
    t: FieldElement,
}

impl Affine {
    fn new(x: &FieldElement, y: &FieldElement) -> Self {
        if cfg!(feature = "planted-fault") {
            return Self { plus: y.add(x).tight(), minus: y.sub(x).tight(), product: x.mul(y) };
        }
        Self { plus: y.add(x).tight(), minus: y.sub(x).tight(), product: x.mul(y).mul(&TWICE_D) }
    }

    /// The point that is encoded so; `None` if none is (RFC 8032 §5.1.3). Leaves it to others to
    /// refuse encodings that are not canonical.
    pub(super) fn decode(encoded: &[u8; 32]) -> Option<Self> {
        let y = FieldElement::from_bytes(encoded);
        let yy = y.square();
        // x² = u/v, u = y² − 1, v = d·y² + 1; 2·u and 2·v do as well.
        let u = yy.sub(&FieldElement::ONE);
        let u = u.add(&u).tight();
        let v = yy.mul(&TWICE_D).add(&FieldElement::ONE).add(&FieldElement::ONE).tight();
        // x = u·v³·(u·v⁷)^((p − 5)/8), or √−1 times that.
        let v3 = v.square().mul(&v);
        let uv7 = v3.square().mul(&v).mul(&u);
        let x = uv7.power_for_roots().mul(&v3).mul(&u);
        let vxx = x.square().mul(&v);
        let x = if vxx.equals(&u) {
            x
        } else if vxx.equals(&u.neg()) {
            x.mul(&ROOT_OF_MINUS_ONE)
        } else {
            return None;
        };
        let odd = |bytes: [u8; 32]| bytes.first().is_some_and(|octet| octet & 1 == 1);
        let negative = encoded.last().is_some_and(|octet| octet >> 7 == 1);
        let x = if odd(x.to_bytes()) == negative { x } else { x.neg().tight() };
        Some(Self::new(&x, &y))
    }
}

impl Sum {
    /// The neutral element: no points.
    pub(super) const EMPTY: Self = Self {
        x: FieldElement::ZERO,
        y: FieldElement::ONE,
        z: FieldElement::ONE,
        t: FieldElement::ZERO,
    };

    /// Add `point`, or its opposite. The formulas are complete: they hold for all points.
    ///
    /// Source: [RFC 8032 §5.1.4](https://www.rfc-editor.org/rfc/rfc8032#section-5.1.4), with the affine
    /// point's share computed beforehand.
    #[inline(never)]
    pub(super) fn add(&mut self, point: &Affine, negate: bool) {
        let Affine { plus, minus, product } = point;
        let (plus, minus) = if negate { (minus, plus) } else { (plus, minus) };
        let a = self.y.sub(&self.x).mul(minus);
        let b = self.y.add(&self.x).mul(plus); // size 2 by 1
        let c = self.t.mul(product);
        let twice_z = self.z.add(&self.z);
        let (less, more) = (twice_z.sub(&c), twice_z.add(&c)); // sizes 2 and 3
        let (f, g) = if negate { (more, less) } else { (less, more) };
        let (f, g) = (f.tight(), g.tight());
        let e = b.sub(&a);
        let h = b.add(&a); // size 2
        self.x = e.mul(&f);
        self.y = g.mul(&h);
        self.z = f.mul(&g);
        self.t = e.mul(&h);
    }

    /// Twice the sum.
    pub(super) fn double(&self) -> Self {
        let a = self.x.square();
        let b = self.y.square();
        let zz = self.z.square();
        let h = a.add(&b).tight();
        let e = h.sub(&self.x.add(&self.y).tight().square());
        let g = a.sub(&b);
        let f = zz.add(&zz).add(&g).tight();
        Self { x: e.mul(&f), y: g.mul(&h), z: f.mul(&g), t: e.mul(&h) }
    }

    /// The sum's encoding (RFC 8032 §5.1.2).
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

    /// As affine points, with one inversion for all of them.
    pub(super) fn to_affine(all: &[Self]) -> Vec<Affine> {
        // Montgomery's trick: products of all before, and the inverse of the product of all.
        let mut before = Vec::with_capacity(all.len());
        let mut product = FieldElement::ONE;
        for sum in all {
            before.push(product);
            product = product.mul(&sum.z);
        }
        let mut inverse = product.invert();
        let mut affine: Vec<Affine> = all
            .iter()
            .zip(before)
            .rev()
            .map(|(sum, before)| {
                let of_z = inverse.mul(&before);
                inverse = inverse.mul(&sum.z);
                Affine::new(&sum.x.mul(&of_z), &sum.y.mul(&of_z))
            })
            .collect();
        affine.reverse();
        affine
    }
}
