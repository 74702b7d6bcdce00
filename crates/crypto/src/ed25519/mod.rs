//! Ed25519, strictly: canonical encodings, no points of small order, S below the group order L.

mod comb;
// In Wasm, and under test everywhere.
#[cfg(any(target_arch = "wasm32", test))]
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
mod field;
#[cfg(not(target_arch = "wasm32"))]
mod field64;
mod point;
mod powers;

pub(crate) use self::comb::{Comb, CombBuilder, begin_comb, begin_generator, verify_by_tables};

#[cfg(target_arch = "wasm32")]
use self::field::FieldElement;
#[cfg(not(target_arch = "wasm32"))]
use self::field64::FieldElement;

use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};

use crate::limbs::{LIMBS, Limbs, from_bytes, from_hex};

/// Whether `encoded` is the canonical encoding of a point that is not of small order.
///
/// Hosts differ in which other encodings they accept (RFC 8032 §5.1.3), so this takes the strictest
/// reading.
pub fn is_sound(encoded: &[u8; 32]) -> bool {
    is_soundly_encoded(encoded) && CompressedEdwardsY(*encoded).decompress().is_some()
}

/// Verifies a signature over `message` by the key encoded as `key`.
///
/// False for a signature that is not 64 octets, for S >= L, for an R or a key that is not the
/// canonical encoding of a point of large order, and for a signature that does not verify. The
/// equation is the one without cofactor: `[S]B = R + [k]A`.
///
/// Source: [RFC 8032 §5.1.7](https://www.rfc-editor.org/rfc/rfc8032#section-5.1.7),
/// [RFC 8037 §3.1](https://www.rfc-editor.org/rfc/rfc8037#section-3.1).
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(signature), true) = (Signature::from_slice(signature), is_soundly_encoded(key)) else {
        return false;
    };
    // `verify` computes R, encodes it and compares, so it refuses other encodings of the point.
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify(message, &signature).is_ok())
        && !is_small_order(signature.r_bytes())
}

/// Whether a signature has the only form that [`verify`] accepts: 64 octets, S < L, and an R that is a
/// canonical encoding and not that of a point of small order. Hosts that use the equation without cofactor
/// then agree with [`verify`] about signatures by a sound key.
pub fn is_strict(signature: &[u8]) -> bool {
    let Some((r, rest)) = signature.split_first_chunk::<32>() else { return false };
    let Ok(s) = <[u8; 32]>::try_from(rest) else { return false };
    is_soundly_encoded(r) && Scalar::from_canonical_bytes(s).is_some().into()
}

/// Whether the encoding is canonical and not that of a point of small order. Does not check whether
/// it encodes a point at all.
///
/// An encoding is canonical if y < p. The other non-canonical form, a sign for x = 0, exists only
/// for points of small order.
fn is_soundly_encoded(encoded: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = encoded;
    let is_below_p =
        *lowest < 0xed || middle.iter().any(|octet| *octet != 0xff) || highest & 0x7f != 0x7f;
    is_below_p && !is_small_order(encoded)
}

/// Whether the point, whose y must be encoded canonically, has an order of 1, 2, 4 or 8.
fn is_small_order(encoded: &[u8; 32]) -> bool {
    // The y of such points: 0, 1, −1 and two for order 8. Each occurs with either sign of x.
    const SMALL: [Limbs; 5] = [
        [0; LIMBS],
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        from_hex(b"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec"),
        from_hex(b"05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826"),
        from_hex(b"7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7"),
    ];
    let mut y = *encoded;
    y[31] &= 0x7f;
    SMALL.contains(&from_bytes(&y))
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::EdwardsPoint;
    use edgepass_jose::base64url;
    use sha2::{Digest, Sha256};

    use super::*;

    const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const INPUT: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    const SIGNATURE: &str =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn example() -> ([u8; 32], Vec<u8>) {
        (base64url::decode_array(KEY).unwrap(), base64url::decode(SIGNATURE).unwrap())
    }

    #[test]
    fn accepts_the_example_of_rfc_8037_appendix_a4() {
        let (key, signature) = example();
        assert!(verify(&key, INPUT.as_bytes(), &signature));
    }

    #[test]
    fn soundness_is_what_dalek_finds_by_decoding() {
        let by_decoding = |encoded: &[u8; 32]| {
            let compressed = CompressedEdwardsY(*encoded);
            let is_large =
                |point: EdwardsPoint| point.compress() == compressed && !point.is_small_order();
            compressed.decompress().is_some_and(is_large)
        };
        // Every y near 0 and p with either sign, the points of small order, and pseudo-random ones.
        let mut encodings = Vec::new();
        for low in 0..=255 {
            for (fill, high) in [(0x00, 0x00), (0xff, 0x7f), (0xff, 0x7e)] {
                let mut encoded = [fill; 32];
                (encoded[0], encoded[31]) = (low, high);
                encodings.push(encoded);
            }
        }
        encodings
            .extend(curve25519_dalek::constants::EIGHT_TORSION.map(|point| point.compress().0));
        let random = |seed: u32| -> [u8; 32] { Sha256::digest(seed.to_be_bytes()).into() };
        encodings.extend((0..2000).map(random));
        let mut sound = 0;
        for mut encoded in encodings {
            for _ in 0..2 {
                encoded[31] ^= 0x80;
                assert_eq!(is_sound(&encoded), by_decoding(&encoded), "{encoded:02x?}");
                sound += u32::from(is_sound(&encoded));
            }
        }
        assert!(sound > 1000);
    }

    #[test]
    fn points_of_small_order_are_those_of_dalek() {
        for point in curve25519_dalek::constants::EIGHT_TORSION {
            assert!(is_small_order(&point.compress().0));
        }
        assert!(!is_small_order(&example().0));
    }

    #[test]
    fn refuses_every_single_bit_change() {
        let (key, signature) = example();
        for bit in 0..signature.len() * 8 {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&key, INPUT.as_bytes(), &changed), "signature bit {bit}");
        }
        for bit in 0..key.len() * 8 {
            let mut changed = key;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&changed, INPUT.as_bytes(), &signature), "key bit {bit}");
        }
        for length in [0, 63, 65] {
            let mut changed = signature.clone();
            changed.resize(length, 0);
            assert!(!verify(&key, INPUT.as_bytes(), &changed));
            assert!(!is_strict(&changed));
        }
    }

    #[test]
    fn refuses_s_plus_the_group_order() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (key, mut signature) = example();
        let mut carry = 0_u16;
        for (digit, order) in signature[32..].iter_mut().zip(ORDER) {
            carry += u16::from(*digit) + u16::from(order);
            *digit = carry as u8;
            carry >>= 8;
        }
        assert!(!verify(&key, INPUT.as_bytes(), &signature));
        assert!(!is_strict(&signature));
    }

    #[test]
    fn refuses_small_order_and_non_canonical_points() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut negative_zero = identity;
        negative_zero[31] = 0x80; // y = 1, x = "-0"
        let mut modulus_plus_one = [0xff; 32];
        modulus_plus_one[0] = 0xee;
        modulus_plus_one[31] = 0x7f; // y = p + 1, which is 1 again
        // y = p + 3 is a non-canonical spelling of y = 3, a point of large order.
        let mut three = [0; 32];
        three[0] = 3;
        let mut non_canonical_three = [0xff; 32];
        non_canonical_three[0] = 0xf0;
        non_canonical_three[31] = 0x7f;
        for encoded in [identity, negative_zero, modulus_plus_one, non_canonical_three, [0; 32]] {
            assert!(!is_sound(&encoded), "{encoded:?}");
            let mut signature = example().1;
            assert!(is_strict(&signature));
            signature[..32].copy_from_slice(&encoded);
            assert!(!is_strict(&signature), "{encoded:?}");
        }
        assert!(is_sound(&three));
    }
}
