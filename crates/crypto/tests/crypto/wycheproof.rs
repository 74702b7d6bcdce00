//! Project Wycheproof's signatures, checked by tables; see `tests/third-party` for their source.

use edgepass_crypto::prepared::Tables;
use edgepass_crypto::{ed25519, is_sound};
use edgepass_jose::PublicKey;
use serde_json::Value;

const ED25519: &str = include_str!("../../../../tests/third-party/wycheproof/ed25519_test.json");
const ES256: &str =
    include_str!("../../../../tests/third-party/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json");

fn octets(text: &Value) -> Vec<u8> {
    let nibble = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
    let pairs = text.as_str().unwrap().as_bytes().chunks(2);
    pairs.map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}

/// Verifies every signature of a file and compares with its label. Returns the numbers of accepted
/// and refused signatures.
fn judge(file: &str, key: impl Fn(&Value) -> PublicKey) -> (u32, u32) {
    let file: Value = serde_json::from_str(file).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let key = key(&group["publicKey"]);
        assert!(is_sound(&key));
        let tables = Tables::of(&key).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let (message, signature) = (octets(&test["msg"]), octets(&test["sig"]));
            let valid = tables.verify(&message, &signature);
            if let PublicKey::Ed25519 { x } = &key {
                assert_eq!(valid, ed25519::verify(x, &message, &signature), "{test}");
            }
            assert_eq!(valid, test["result"] == "valid", "{test}");
            *(if valid { &mut accepted } else { &mut refused }) += 1;
        }
    }
    (accepted, refused)
}

#[test]
fn ed25519_by_tables_judges_as_labelled() {
    let counts =
        judge(ED25519, |key| PublicKey::Ed25519 { x: octets(&key["pk"]).try_into().unwrap() });
    println!("Ed25519: {counts:?}");
    assert!(counts.0 > 50 && counts.1 > 50);
}

#[test]
fn es256_by_tables_judges_as_labelled() {
    let counts = judge(ES256, |key| {
        // A hexadecimal number, which may have a leading zero octet or fewer than 32 octets.
        let coordinate = |name: &str| {
            let octets = octets(&key[name]);
            let kept = &octets[octets.len().saturating_sub(32)..];
            let mut padded = [0; 32];
            padded[32 - kept.len()..].copy_from_slice(kept);
            padded
        };
        PublicKey::P256 { x: coordinate("wx"), y: coordinate("wy") }
    });
    println!("ES256: {counts:?}");
    assert!(counts.0 > 50 && counts.1 > 50);
}
