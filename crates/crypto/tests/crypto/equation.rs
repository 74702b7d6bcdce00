//! Signatures on which the two equations of Ed25519 differ (RFC 8032 §5.1.7): a key with a part of small order
//! makes some that satisfy only the equation with the cofactor. `tests/vectors/ed25519.json` has them as tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, Scalar};
use edgepass_crypto::ed25519;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

/// The private scalar of the key, without its part of small order.
const SECRET: u64 = 0x0065_6467_6570_6173;

fn key() -> EdwardsPoint {
    ED25519_BASEPOINT_POINT * Scalar::from(SECRET) + EIGHT_TORSION[1]
}

fn challenge(r: &[u8], key: &[u8; 32], message: &[u8]) -> Scalar {
    Scalar::from_hash(Sha512::new().chain_update(r).chain_update(key).chain_update(message))
}

/// The first signature over `message` that satisfies both equations, or only the one with the cofactor.
fn sign(message: &[u8], both: bool) -> [u8; 64] {
    let encoded = key().compress().0;
    let sign = |nonce: u64| {
        let r = (ED25519_BASEPOINT_POINT * Scalar::from(nonce)).compress().0;
        let k = challenge(&r, &encoded, message);
        let s = Scalar::from(nonce) + k * Scalar::from(SECRET);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(s.as_bytes());
        (k.to_bytes()[0].is_multiple_of(8) == both).then_some(signature)
    };
    (1..).find_map(sign).unwrap()
}

/// Whether `8 (S B - R - k A) = 0`.
fn satisfies_with_cofactor(signature: &[u8; 64], message: &[u8]) -> bool {
    let (r, s) = signature.split_at(32);
    let s = Scalar::from_canonical_bytes(s.try_into().unwrap()).unwrap();
    let point = CompressedEdwardsY(r.try_into().unwrap()).decompress().unwrap();
    let k = challenge(r, &key().compress().0, message);
    (ED25519_BASEPOINT_POINT * s - point - key() * k).is_small_order()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn the_vectors_of_other_hosts_differ_in_the_equation_alone() {
    let encoded = key().compress().0;
    let claims = json!({
        "iss": "https://issuer.example", "aud": "https://api.example", "sub": "equation", "client_id": "equation",
        "iat": 1_800_000_000, "exp": 1_800_000_600, "jti": "1", "scope": "a:read",
    });
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "mixed" });
    let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let token = |signature: [u8; 64]| format!("{input}.{}", encode(signature));
    let (both, cofactored) = (sign(input.as_bytes(), true), sign(input.as_bytes(), false));
    for (signature, expected) in [(both, true), (cofactored, false)] {
        assert!(satisfies_with_cofactor(&signature, input.as_bytes()));
        assert_eq!(ed25519::verify(&encoded, input.as_bytes(), &signature), expected);
        assert!(ed25519::is_strict(&signature));
    }
    let expected = json!({
        "source": "made by crates/crypto/tests/crypto/equation.rs, which checks them",
        "now": 1_800_000_300,
        "key": { "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "mixed", "x": encode(encoded) },
        "accepted": token(both),
        "refused": token(cofactored),
    });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/ed25519.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(file, expected, "the file should be: {expected:#}");
}
