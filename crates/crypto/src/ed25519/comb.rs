//! Verifies Ed25519 signatures with tables: the combs of the key and of the generator.
//!
//! **Variable time**: for public data only. Field and points are this project's own; scalars are
//! those of `curve25519-dalek`. This accepts exactly the signatures that [`verify`](super::verify)
//! accepts, by the same equation without cofactor.

use curve25519_dalek::Scalar;
use sha2::{Digest, Sha512};

use super::point::{Affine, Sum};
use crate::comb::{self, Curve};

/// The twisted Edwards curve of Ed25519 (RFC 8032 §5.1).
pub(crate) enum Edwards25519 {}

impl Curve for Edwards25519 {
    type Affine = Affine;
    type Sum = Sum;
    const NEUTRAL: Sum = Sum::NEUTRAL;

    fn add(sum: &mut Sum, point: &Affine, negate: bool) {
        sum.add(point, negate);
    }

    fn double(sum: &Sum) -> Sum {
        sum.double()
    }

    fn to_affine(sums: &[Sum]) -> Vec<Affine> {
        Sum::to_affine(sums)
    }
}

pub(crate) type Comb = comb::Comb<Edwards25519>;
pub(crate) type CombBuilder = comb::CombBuilder<Edwards25519>;

/// Starts to compute the comb of a key. Returns `None` if the key is not sound.
pub(crate) fn begin_comb(key: &[u8; 32]) -> Option<CombBuilder> {
    let point = super::is_sound(key).then(|| Affine::decode(key)).flatten()?;
    Some(CombBuilder::new(point))
}

/// Starts to compute the comb of the generator: y = 4/5, x even (RFC 8032 §5.1).
pub(crate) fn begin_generator() -> Option<CombBuilder> {
    let mut encoded = [0x66; 32];
    encoded[0] = 0x58;
    begin_comb(&encoded)
}

/// Verifies a signature as [`super::verify`] does, with combs. `encoded` is the encoding of the
/// key.
///
/// The comparison of encodings refuses every R that is not canonical.
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
    let mut sum = Sum::NEUTRAL;
    generator.add_multiple(&mut sum, s.as_bytes(), false);
    key.add_multiple(&mut sum, k.as_bytes(), true);
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
            let mut builder = begin_comb(key.compress().as_bytes()).unwrap();
            while !builder.step() {}
            let comb = builder.finish();
            for seed in 100..200 {
                let (mut sum, k) = (Sum::NEUTRAL, scalar(seed));
                comb.add_multiple(&mut sum, k.as_bytes(), false);
                assert_eq!(sum.encode(), (key * k).compress().0, "seed {seed}");
            }
        }
    }
}
