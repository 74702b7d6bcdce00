//! Combs: precomputed multiples of a point, with which scalar multiplication needs no doubling. The
//! combs of a key and of its curve's generator are the *table* of the key.
//!
//! A verifier sees few keys and many signatures. A comb holds the multiples d·2⁸ⁱ·P of a point P
//! for d from 1 to 128 and i from 0 to 31. A scalar k is split into 32 signed digits. Each digit
//! selects one multiple, so k·P is a sum of at most 32 points.
//!
//! **Variable time**: for public data only.

/// The number of digits of a scalar, and of positions of a comb.
const POSITIONS: usize = 32;

/// The number of multiples at each position, and the largest magnitude of a digit. For a negative
/// digit the multiple is subtracted.
const MULTIPLES: usize = 128;

/// The group operations that a comb needs.
pub(crate) trait Curve {
    /// A point in the form in which a comb stores it.
    type Affine: Copy;
    /// A sum of points, in coordinates that add without inversions.
    type Sum: Copy;
    /// The sum of no points: the neutral element.
    const NEUTRAL: Self::Sum;

    /// Adds `point` to `sum`, or subtracts it if `negate` is set.
    fn add(sum: &mut Self::Sum, point: &Self::Affine, negate: bool);

    /// Returns twice a sum.
    fn double(sum: &Self::Sum) -> Self::Sum;

    /// Returns the affine forms of sums, in order, without those at infinity.
    fn to_affine(sums: &[Self::Sum]) -> Vec<Self::Affine>;
}

/// The comb of one point: the multiples for d from 1 to 128 at each position, one after another.
pub(crate) struct Comb<C: Curve>(Vec<C::Affine>);

/// A [`Comb`] under construction.
pub(crate) struct CombBuilder<C: Curve> {
    multiples: Vec<C::Affine>,
    /// 2⁸ⁱ·P for the next position i.
    base: C::Affine,
}

impl<C: Curve> CombBuilder<C> {
    /// Prepares the comb of `point`. Computes nothing yet.
    pub(crate) fn new(point: C::Affine) -> Self {
        Self { multiples: Vec::new(), base: point }
    }

    /// Computes the multiples of the next position. Returns true after the last position.
    pub(crate) fn step(&mut self) -> bool {
        if self.multiples.is_empty() {
            self.multiples.reserve_exact(POSITIONS.saturating_mul(MULTIPLES));
        }
        // With B = `base`: d·B for d from 1 to 128, then 256·B, the base of the next position.
        let mut sum = C::NEUTRAL;
        let mut sums = Vec::with_capacity(MULTIPLES.saturating_add(1));
        for _ in 0..MULTIPLES {
            C::add(&mut sum, &self.base, false);
            sums.push(sum);
        }
        sums.push(C::double(&sum));
        let mut multiples = C::to_affine(&sums);
        if let Some(next) = multiples.pop() {
            self.base = next;
        }
        self.multiples.extend(multiples);
        self.multiples.len() >= POSITIONS.saturating_mul(MULTIPLES)
    }

    /// Returns the comb. Call this only once [`step`](Self::step) has returned true.
    pub(crate) fn finish(self) -> Comb<C> {
        Comb(self.multiples)
    }
}

impl<C: Curve> Comb<C> {
    /// The size of a complete comb, in bytes.
    pub(crate) const BYTES: usize = size_of::<[[C::Affine; MULTIPLES]; POSITIONS]>();

    /// The size of this comb, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    /// Adds `scalar` times the point to `sum`, or subtracts it if `subtract` is set. The scalar has
    /// its least significant octet first and must be below 2²⁵⁵.
    pub(crate) fn add_multiple(&self, sum: &mut C::Sum, scalar: &[u8; 32], subtract: bool) {
        for (multiples, digit) in self.0.chunks_exact(MULTIPLES).zip(digits(scalar)) {
            let multiple = usize::from(digit.unsigned_abs()).checked_sub(1);
            if let Some(point) = multiple.and_then(|at| multiples.get(at)) {
                C::add(sum, point, (digit < 0) != subtract);
            }
        }
    }
}

/// The field operations that [`inverses`] needs.
pub(crate) trait Field: Copy {
    /// The neutral element of multiplication.
    const ONE: Self;

    /// Returns the product.
    fn times(&self, other: &Self) -> Self;

    /// Returns the inverse. Zero gives zero.
    fn inverse(&self) -> Self;
}

/// Returns the inverses of several elements other than zero, in order, with one inversion
/// (Montgomery's trick).
pub(crate) fn inverses<F: Field>(elements: &[F]) -> Vec<F> {
    // `before` holds for each element the product of those before it.
    let mut before = Vec::with_capacity(elements.len());
    let mut product = F::ONE;
    for element in elements {
        before.push(product);
        product = product.times(element);
    }
    let mut inverse = product.inverse();
    for (before, element) in before.iter_mut().zip(elements).rev() {
        *before = inverse.times(before);
        inverse = inverse.times(element);
    }
    before
}

/// Returns the digits dᵢ in [−127, 128] with Σ dᵢ·2⁸ⁱ = `scalar`, which must be below 2²⁵⁵.
fn digits(scalar: &[u8; 32]) -> [i16; POSITIONS] {
    let mut carry = 0;
    scalar.map(|octet| {
        // At most 256. The last octet is at most 127, so its digit is at most 128 without a carry.
        let digit = i16::from(octet).saturating_add(carry);
        carry = i16::from(digit > 128);
        digit.saturating_sub(carry << 8)
    })
}
