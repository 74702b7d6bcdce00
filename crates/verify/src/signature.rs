//! Checking a JWS signature: here, or by the host's crypto.

use edgepass_crypto::ed25519;
use edgepass_jose::{CompactJws, Jwk, PublicKey};

/// Where a signature is checked.
pub enum Checked {
    /// It was, here in Rust.
    Here(bool),
    /// The host's crypto does this algorithm.
    ByHost(SignatureRequest),
}

/// What the host's crypto is to check.
#[derive(Clone)]
pub struct SignatureRequest {
    /// The key, and through it the algorithm.
    pub key: Jwk,
    /// The signed bytes.
    pub signing_input: Vec<u8>,
    /// The signature, as JWS carries it: R‖S for ECDSA.
    pub signature: Vec<u8>,
}

/// Check `signature` over `signing_input` by the one algorithm that `key` is bound to.
///
/// A signature of the wrong length is refused here, since hosts differ on it.
///
/// Source: [RFC 7518 §3.3 to §3.5](https://www.rfc-editor.org/rfc/rfc7518#section-3.3), RFC 8037
/// §3.1.
pub fn check(key: &Jwk, signing_input: &[u8], signature: &[u8]) -> Checked {
    let length = match key.key() {
        PublicKey::Ed25519 { x } => {
            return Checked::Here(ed25519::verify(x, signing_input, signature));
        }
        PublicKey::P256 { .. } => 64,
        PublicKey::P384 { .. } => 96,
        PublicKey::Rsa { n, .. } => n.len(),
        _ => return Checked::Here(false),
    };
    if signature.len() != length {
        return Checked::Here(false);
    }
    Checked::ByHost(SignatureRequest {
        key: key.clone(),
        signing_input: signing_input.to_vec(),
        signature: signature.to_vec(),
    })
}

/// As [`check`], for a parsed JWS.
pub(crate) fn check_jws(jws: &CompactJws, key: &Jwk) -> Checked {
    check(key, jws.signing_input(), jws.signature())
}
