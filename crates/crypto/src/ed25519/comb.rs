//! Ed25519 under a key whose multiples were laid out.
//!
//! **Variable time**: for public data only. Field and points are this project's own; scalars are those
//! of `curve25519-dalek`. The equation is that of [`verify`](super::verify), the one without cofactor,
//! and so is what is accepted.

use curve25519_dalek::Scalar;
use sha2::{Digest, Sha512};

use super::point::{Affine, Sum};
use crate::comb::{MULTIPLES, POSITIONS, digits};

/// All multiples d·2⁸ⁱ·P of a point P that a comb picks from.
pub(crate) struct Comb(Vec<Affine>);

/// What one takes.
pub(crate) const COMB_BYTES: usize = size_of::<[[Affine; MULTIPLES]; POSITIONS]>();

/// A [`Comb`] under construction.
pub(crate) struct CombBuilder {
    entries: Vec<Affine>,
    /// 2⁸ⁱ·P for the position i that is next.
    base: Affine,
}

impl CombBuilder {
    /// For a key; `None` if it is not sound.
    pub(crate) fn new(key: &[u8; 32]) -> Option<Self> {
        let base = super::is_sound(key).then(|| Affine::decode(key)).flatten()?;
        Some(Self { entries: Vec::new(), base })
    }

    /// For the generator: y = 4/5, x even (RFC 8032 §5.1).
    pub(crate) fn generator() -> Option<Self> {
        let mut encoded = [0x66; 32];
        encoded[0] = 0x58;
        Self::new(&encoded)
    }

    /// Lay out the next position; true when that was the last.
    pub(crate) fn step(&mut self) -> bool {
        if self.entries.is_empty() {
            self.entries.reserve_exact(POSITIONS.saturating_mul(MULTIPLES));
        }
        // d·B for d from 1 to 128, and 256·B, which is where the next position begins.
        let mut sum = Sum::EMPTY;
        let mut multiples = Vec::with_capacity(MULTIPLES.saturating_add(1));
        for _ in 0..MULTIPLES {
            sum.add(&self.base, false);
            multiples.push(sum);
        }
        multiples.push(sum.double());
        let mut multiples = Sum::to_affine(&multiples);
        if let Some(next) = multiples.pop() {
            self.base = next;
        }
        self.entries.extend(multiples);
        self.entries.len() >= POSITIONS.saturating_mul(MULTIPLES)
    }

    /// The comb, once it is complete.
    pub(crate) fn finish(self) -> Comb {
        Comb(self.entries)
    }
}

impl Comb {
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    /// Add `scalar` times the point to `sum`, or subtract it.
    fn add_multiple(&self, sum: &mut Sum, scalar: &Scalar, subtract: bool) {
        for (multiples, digit) in self.0.chunks_exact(MULTIPLES).zip(digits(scalar.as_bytes())) {
            let multiple = usize::from(digit.unsigned_abs()).checked_sub(1);
            if let Some(entry) = multiple.and_then(|at| multiples.get(at)) {
                sum.add(entry, (digit < 0) != subtract);
            }
        }
    }
}

/// As [`super::verify`], for the key encoded as `encoded`, by the key and the generator laid out.
///
/// Comparing encodings refuses every R that is not canonical.
pub(crate) fn verify_by_tables(
    generator: &Comb,
    key: &Comb,
    encoded: &[u8; 32],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
    let Ok(s) = <[u8; 32]>::try_from(s) else { return false };
    let Some(s) = Scalar::from_canonical_bytes(s).into_option() else { return false };
    let hash = Sha512::new().chain_update(r).chain_update(encoded).chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let mut sum = Sum::EMPTY;
    generator.add_multiple(&mut sum, &s, false);
    key.add_multiple(&mut sum, &k, true);
    sum.encode() == *r && !super::is_small_order(r)
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::EdwardsPoint;

    use super::*;

    fn scalar(seed: u64) -> Scalar {
        Scalar::from_bytes_mod_order_wide(&Sha512::digest(seed.to_be_bytes()).into())
    }

    #[test]
    fn multiples_are_those_of_dalek() {
        for seed in 0..3 {
            let key = EdwardsPoint::mul_base(&scalar(seed));
            let mut builder = CombBuilder::new(key.compress().as_bytes()).unwrap();
            while !builder.step() {}
            let comb = builder.finish();
            for seed in 100..200 {
                let (mut sum, k) = (Sum::EMPTY, scalar(seed));
                comb.add_multiple(&mut sum, &k, false);
                assert_eq!(sum.encode(), (key * k).compress().0, "seed {seed}");
            }
        }
    }
}
