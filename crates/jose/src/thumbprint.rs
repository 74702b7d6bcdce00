//! The JWK Thumbprint of a public key (RFC 7638).

use sha2::{Digest, Sha256};

use crate::base64url;
use crate::public_key::PublicKey;

/// Returns the JWK Thumbprint of a key in base64url: SHA-256 over its required members in
/// lexicographic order.
///
/// Source: [RFC 7638 §3](https://www.rfc-editor.org/rfc/rfc7638#section-3), RFC 8037 §2.
pub fn thumbprint(key: &PublicKey) -> String {
    let encode = base64url::encode;
    let ec = |crv: &str, x: &[u8], y: &[u8]| {
        format!(r#"{{"crv":"{crv}","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
    };
    let canonical = match key {
        PublicKey::Ed25519 { x } => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
        }
        PublicKey::P256 { x, y } => ec("P-256", x, y),
        PublicKey::P384 { x, y } => ec("P-384", x, y),
        PublicKey::Rsa { n, e } => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
        }
    };
    encode(&Sha256::digest(canonical.as_bytes()))
}
