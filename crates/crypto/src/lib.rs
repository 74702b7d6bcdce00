//! Signature verification in Rust, and the rules for public keys.
//!
//! The rules are the strictest of all hosts' rules. The verifier applies them before a host's
//! crypto sees a key, so a token has the same verdict on every host.
//!
//! # Why own field arithmetic
//!
//! A key with which many signatures were verified gets a table ([`prepared`]). With it, the first
//! verification of a token takes less than a third of the time for Ed25519, and about half for
//! ES256, measured in workerd (docs/benchmarks.md). Tables need point additions that no public
//! interface of `curve25519-dalek` or `p256` offers, in limbs that suit Wasm's 64-bit
//! multiplication. So this crate has its own fields and points, for tables alone. Scalars are those
//! of the two crates, except the inverse modulo the order of P-256. The two crates also check that
//! a point is on its curve and that a scalar is in range.
//!
//! # Invariants
//!
//! * The crate handles public data only: messages, signatures, public keys. Nothing here is
//!   constant time, and nothing here may ever see a private key.
//! * Limbs are signed and bounded. `limbs.rs` defines the *size* of an element and the sizes that a
//!   product takes; debug builds assert these and check for overflow.
//! * A verification with tables accepts exactly the signatures that the reference path accepts.
//!
//! # How faults are detected
//!
//! * Tests compare fields with `num-bigint`, points with `curve25519-dalek` and `p256`, and
//!   verification with AWS-LC, both crates and Project Wycheproof (`tests/crypto/`).
//! * In use, the reference path checks at most one in [`prepared::RECHECK_EVERY`] acceptances of a
//!   key again, and at most one refusal per key and second. A disagreement is counted
//!   ([`prepared::PreparedKeys::faults`]) and ends the use of tables for that key.
//! * The feature `planted-fault` makes the tables of both curves wrong. A test shows that the
//!   reference path then detects the fault.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod comb;
pub mod ed25519;
mod es256;
mod inverse;
mod limbs;
pub mod prepared;
mod rsa;

use edgepass_jose::PublicKey;
use p256::elliptic_curve::point::AffineCoordinates;

/// Whether a key may be used: its encoding is canonical, and it is a point of large order on its
/// curve.
///
/// Of RSA keys it refuses those with a modulus as ROCA (CVE-2017-15361) leaves it;
/// `edgepass_jose::jwk` checks the form of the others.
///
/// # Example
///
/// ```
/// use edgepass_jose::PublicKey;
///
/// // y = 1 encodes the neutral element, which has order 1.
/// let mut x = [0; 32];
/// x[0] = 1;
/// assert!(!edgepass_crypto::is_sound(&PublicKey::Ed25519 { x }));
/// ```
pub fn is_sound(key: &PublicKey) -> bool {
    match key {
        PublicKey::Ed25519 { x } => ed25519::is_sound(x),
        PublicKey::P256 { x, y } => {
            p256::AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).is_some().into()
        }
        PublicKey::P384 { x, y } => {
            p384::AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).is_some().into()
        }
        PublicKey::Rsa { n, .. } => !rsa::has_roca_form(n),
        _ => false,
    }
}

/// Returns the uncompressed encoding of a point: the octet 4, then `x`, then `y` (SEC 1 §2.3.3).
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
