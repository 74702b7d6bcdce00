//! Any bytes as a JWK Set.
#![no_main]

use edgepass_jose::jwk_set::{JwkSet, KeyMatch, MAX_KEYS};
use edgepass_jose::{Algorithm, PublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(set) = JwkSet::parse(bytes, &Algorithm::ALL, edgepass_crypto::is_sound) else { return };
    assert!(set.keys().len() <= MAX_KEYS);
    for key in set.keys() {
        assert!(key.algorithm().fits(key.key()));
        if let PublicKey::Rsa { n, .. } = key.key() {
            assert!((256..=1024).contains(&n.len()));
        }
        assert_eq!(key.thumbprint().len(), 43);
        if let Some(id) = key.key_id() {
            match set.find(Some(id), key.algorithm()) {
                KeyMatch::One(found) => assert_eq!(found, key),
                KeyMatch::Two(first, second) => assert!(first != second),
                KeyMatch::Unfit | KeyMatch::None => panic!("the key is in the set"),
            }
        }
    }
});
