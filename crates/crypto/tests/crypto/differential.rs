//! Verification by tables against independent implementations: `p256` and `aws-lc-rs` for ES256,
//! `ed25519-dalek` and `aws-lc-rs` for Ed25519.
//!
//! About half of the signatures are valid; the others were changed, or have values at the bounds.
//! `EDGEPASS_SIGNATURES` is the number for both algorithms together; default 100,000.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};
use edgepass_crypto::ed25519;
use edgepass_crypto::prepared::Tables;
use edgepass_jose::PublicKey;
use p256::ecdsa::signature::Verifier;
use sha2::{Digest, Sha512};

/// The number of keys of each algorithm.
const KEYS: u64 = 12;

fn signatures() -> u64 {
    std::env::var("EDGEPASS_SIGNATURES").map_or(100_000, |text| text.parse().unwrap())
}

/// A repeatable source of bytes: SHA-512 of a counter.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self) -> [u8; 64] {
        self.0 += 1;
        Sha512::digest(self.0.to_be_bytes()).into()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(u16::from_be_bytes(*self.bytes().first_chunk().unwrap())) % bound
    }
}

/// Changes a valid signature, or leaves half of them as they are. `bounds` are values of R or S at
/// the bounds of their ranges.
fn change(signature: &[u8; 64], bounds: &[[u8; 32]], noise: &mut Noise) -> Vec<u8> {
    let mut changed = signature.to_vec();
    let half = 32 * noise.below(2);
    match noise.below(8) {
        0..4 => {}
        4 => {
            let bit = noise.below(512);
            changed[bit / 8] ^= 1 << (bit % 8);
        }
        5 => changed[half..half + 32].copy_from_slice(&bounds[noise.below(bounds.len())]),
        6 => changed[half..half + 32].copy_from_slice(noise.bytes().first_chunk::<32>().unwrap()),
        _ => {
            for half in [0, 32] {
                changed[half..half + 32].copy_from_slice(&bounds[noise.below(bounds.len())]);
            }
        }
    }
    changed
}

/// Parses texts of 64 hexadecimal digits.
fn halves(texts: &[&str]) -> Vec<[u8; 32]> {
    let nibble = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
    let read = |text: &&str| {
        std::array::from_fn(|at| {
            let digits = &text.as_bytes()[2 * at..];
            nibble(digits[0]) << 4 | nibble(digits[1])
        })
    };
    texts.iter().map(read).collect()
}

#[test]
fn es256_by_tables_agrees_with_p256_and_aws_lc() {
    // 0, 1, 2, n − 1, n, n + 1, (n − 1)/2, (n + 1)/2, p − n, p, all ones.
    let bounds = halves(&[
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000001",
        "0000000000000000000000000000000000000000000000000000000000000002",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552",
        "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
        "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a9",
        "000000000000000000000000000000004319055358e8617b0c46353d039cdaae",
        "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ]);
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let mut noise = Noise(1 << 32);
    let (mut accepted, each) = (0_u64, signatures() / 2 / KEYS);
    for _ in 0..KEYS {
        let signer = EcdsaKeyPair::generate(algorithm).unwrap();
        let point = signer.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let tables =
            Tables::of(&PublicKey::P256 { x: x.try_into().unwrap(), y: y.try_into().unwrap() })
                .unwrap();
        let other = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
        let third = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        for number in 0..each {
            let message = noise.bytes();
            let good = signer.sign(&random, &message).unwrap();
            let changed = change(good.as_ref().try_into().unwrap(), &bounds, &mut noise);
            let expected = third.verify(&message, &changed).is_ok();
            assert_eq!(tables.verify(&message, &changed), expected, "{message:?} {changed:?}");
            // `p256` is slow, so it judges one in 16.
            if number % 16 == 0 {
                let theirs = p256::ecdsa::Signature::from_slice(&changed)
                    .is_ok_and(|signature| other.verify(&message, &signature).is_ok());
                assert_eq!(theirs, expected, "{message:?} {changed:?}");
            }
            accepted += u64::from(expected);
        }
    }
    println!("ES256: {} signatures, {accepted} accepted", each * KEYS);
    assert!(accepted > each * KEYS / 4 && accepted < each * KEYS * 3 / 4);
}

#[test]
fn ed25519_by_tables_agrees_with_dalek_and_aws_lc() {
    // 0, 1, p − 1, p, p + 1 with the sign bit, L − 1, L, L + 1, two points of order 8, all ones.
    let bounds = halves(&[
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ecd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
        "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
        "eed3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ]);
    let mut noise = Noise(1 << 33);
    let (mut accepted, each) = (0_u64, signatures() / 2 / KEYS);
    for _ in 0..KEYS {
        let seed: [u8; 32] = *noise.bytes().first_chunk().unwrap();
        let signer = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let encoded: [u8; 32] = signer.public_key().as_ref().try_into().unwrap();
        let tables = Tables::of(&PublicKey::Ed25519 { x: encoded }).unwrap();
        let third = UnparsedPublicKey::new(&ED25519, encoded);
        for number in 0..each {
            let message = noise.bytes();
            let good = signer.sign(&message);
            let changed = change(good.as_ref().try_into().unwrap(), &bounds, &mut noise);
            let by_tables = tables.verify(&message, &changed);
            assert_eq!(
                by_tables,
                third.verify(&message, &changed).is_ok(),
                "{message:?} {changed:?}"
            );
            if number % 4 == 0 {
                let expected = ed25519::verify(&encoded, &message, &changed);
                assert_eq!(by_tables, expected, "{message:?} {changed:?}");
            }
            accepted += u64::from(by_tables);
        }
    }
    println!("Ed25519: {} signatures, {accepted} accepted", each * KEYS);
    assert!(accepted > each * KEYS / 4 && accepted < each * KEYS * 3 / 4);
}
