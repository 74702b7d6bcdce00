//! Checking signatures in Rust.
//!
//! The rules here are the strictest of all hosts' and are applied before any host's own crypto sees
//! a key, so that a token has one verdict everywhere.

// Nothing that a caller sends may end the process or the isolate.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod comb;
pub mod ed25519;
mod es256;
mod inverse;
mod limbs;
pub mod prepared;

use edgepass_jose::PublicKey;
use p256::elliptic_curve::point::AffineCoordinates;

/// Whether a key may be used at all: canonical and of large order, on its curve.
///
/// RSA keys are judged by their shape alone (`edgepass_jose::jwk`).
pub fn is_sound(key: &PublicKey) -> bool {
    match key {
        PublicKey::Ed25519 { x } => ed25519::is_sound(x),
        PublicKey::P256 { x, y } => {
            p256::AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).is_some().into()
        }
        PublicKey::P384 { x, y } => {
            p384::AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).is_some().into()
        }
        PublicKey::Rsa { .. } => true,
        _ => false,
    }
}

/// A point as its uncompressed octets (SEC 1 §2.3.3).
pub fn sec1(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepass_jose::base64url;

    #[test]
    fn a_point_off_p256_is_refused() {
        // RFC 7517 appendix A.1
        let coordinate = |text| base64url::decode_array(text).unwrap();
        let x = coordinate("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
        let y = coordinate("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        assert!(is_sound(&PublicKey::P256 { x, y }));
        assert!(!is_sound(&PublicKey::P256 { x: y, y: x }));
        assert!(!is_sound(&PublicKey::P256 { x: [0; 32], y: [0; 32] }));
    }
}
