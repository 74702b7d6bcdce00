//! Ed25519, strictly: canonical encodings, no points of small order, S < L.

mod comb;
mod field;
mod point;

pub(crate) use self::comb::{COMB_BYTES, Comb, CombBuilder, verify_by_tables};

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use ed25519_dalek::{Signature, VerifyingKey};

/// Whether `encoded` is the canonical encoding of a point that is not of small order.
///
/// RFC 8032 §5.1.3 allows a decoder to be lenient; hosts differ, so the strictest reading is taken.
pub fn is_sound(encoded: &[u8; 32]) -> bool {
    sound_point(encoded).is_some()
}

/// Check a signature over `message` by the key encoded as `key`.
///
/// False for a signature that is not 64 octets, for S >= L, for an R or a key that is not the
/// canonical encoding of a point of large order, and for a signature that does not verify. The
/// equation is the one without cofactor: `[S]B = R + [k]A`.
///
/// Source: [RFC 8032 §5.1.7](https://www.rfc-editor.org/rfc/rfc8032#section-5.1.7),
/// [RFC 8037 §3.1](https://www.rfc-editor.org/rfc/rfc8037#section-3.1).
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(signature), Ok(verifying)) =
        (Signature::from_slice(signature), VerifyingKey::from_bytes(key))
    else {
        return false;
    };
    is_sound(key)
        && is_sound(signature.r_bytes())
        && verifying.verify_strict(message, &signature).is_ok()
}

fn sound_point(encoded: &[u8; 32]) -> Option<EdwardsPoint> {
    let compressed = CompressedEdwardsY(*encoded);
    let point = compressed.decompress()?;
    (point.compress() == compressed && !point.is_small_order()).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepass_jose::base64url;

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
        }
        assert!(is_sound(&three));
    }
}
