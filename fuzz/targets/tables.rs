//! Signatures under four Ed25519 and four P-256 keys, made with fuzzed nonces and then changed.
//! Tables must give the verdicts of `ed25519-dalek` and `p256`.

#![no_main]

use std::sync::LazyLock;

use curve25519_dalek::{EdwardsPoint, Scalar};
use edgepass_crypto::ed25519;
use edgepass_crypto::prepared::Tables;
use edgepass_jose::PublicKey;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use p256::ecdsa::signature::Verifier;
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256, Sha512};

#[derive(Arbitrary, Debug)]
struct Input {
    key: u8,
    nonce: [u8; 32],
    /// Octets of the signature to replace: position and new value. At most 64 are applied.
    changes: Vec<(u8, u8)>,
    message: Vec<u8>,
}

struct Ed25519Key(Scalar, [u8; 32], Tables);
struct P256Key(p256::Scalar, p256::ecdsa::VerifyingKey, Tables);

static ED25519: LazyLock<Vec<Ed25519Key>> = LazyLock::new(|| {
    let keys = (1..5_u64).map(|number| {
        let secret =
            Scalar::from_bytes_mod_order_wide(&Sha512::digest(number.to_be_bytes()).into());
        let encoded = EdwardsPoint::mul_base(&secret).compress().0;
        Ed25519Key(secret, encoded, Tables::of(&PublicKey::Ed25519 { x: encoded }).unwrap())
    });
    keys.collect()
});

static P256: LazyLock<Vec<P256Key>> = LazyLock::new(|| {
    // The generator, a small multiple, a negated multiple, and a pseudo-random point.
    let drawn = reduced(&Sha256::digest(b"drawn").into());
    let secrets =
        [p256::Scalar::ONE, p256::Scalar::from(256_u64), -p256::Scalar::from(3_u64), drawn];
    let keys = secrets.into_iter().map(|secret| {
        let encoded = (p256::ProjectivePoint::GENERATOR * secret).to_affine().to_sec1_point(false);
        let (x, y) = encoded.as_bytes()[1..].split_at(32);
        let key = PublicKey::P256 { x: x.try_into().unwrap(), y: y.try_into().unwrap() };
        let verifying = p256::ecdsa::VerifyingKey::from_sec1_bytes(encoded.as_bytes()).unwrap();
        P256Key(secret, verifying, Tables::of(&key).unwrap())
    });
    keys.collect()
});

fn reduced(octets: &[u8; 32]) -> p256::Scalar {
    p256::Scalar::reduce(&p256::FieldBytes::from(*octets))
}

fn change(signature: &mut [u8; 64], changes: &[(u8, u8)]) {
    for (at, octet) in changes.iter().take(64) {
        signature[usize::from(*at) % 64] = *octet;
    }
}

fuzz_target!(|input: Input| {
    let number = usize::from(input.key / 2) % 4;
    if input.key % 2 == 0 {
        let Ed25519Key(secret, encoded, tables) = &ED25519[number];
        let nonce = Scalar::from_bytes_mod_order(input.nonce);
        let r = EdwardsPoint::mul_base(&nonce).compress().0;
        let hash = Sha512::new().chain_update(r).chain_update(encoded).chain_update(&input.message);
        let s = nonce + Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * secret;
        let mut signature: [u8; 64] = [r, s.to_bytes()].concat().try_into().unwrap();
        change(&mut signature, &input.changes);
        let expected = ed25519::verify(encoded, &input.message, &signature);
        assert_eq!(tables.verify(&input.message, &signature), expected);
        assert!(expected || !input.changes.is_empty() || r[0] <= 1);
    } else {
        let P256Key(secret, verifying, tables) = &P256[number];
        let nonce = reduced(&input.nonce);
        let Some(inverse) = nonce.invert().into_option() else { return };
        let point = (p256::ProjectivePoint::GENERATOR * nonce).to_affine().to_sec1_point(false);
        let r = reduced(&point.as_bytes()[1..33].try_into().unwrap());
        let s = inverse * (reduced(&Sha256::digest(&input.message).into()) + r * secret);
        let mut signature: [u8; 64] = [r.to_bytes(), s.to_bytes()].concat().try_into().unwrap();
        change(&mut signature, &input.changes);
        let expected = p256::ecdsa::Signature::from_slice(&signature)
            .is_ok_and(|signature| verifying.verify(&input.message, &signature).is_ok());
        assert_eq!(tables.verify(&input.message, &signature), expected);
    }
});
