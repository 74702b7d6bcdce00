//! Whether the host's Ed25519 decides as this crate's.
//!
//! RFC 8032 §5.1.7 allows two equations, with and without a cofactor. This crate uses the one without. A host
//! that uses the same one may check signatures for keys without tables, which takes half the time of
//! this crate's in Wasm. A host with the other equation accepts more signatures, and is never asked.

use edgepass_jose::{Algorithm, Jwk, JwkSet};

use crate::signature::{SignatureRequest, SignedBytes};

/// What is known about the host's Ed25519.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum HostEd25519 {
    /// No token with such a signature was checked.
    #[default]
    NotNeeded,
    /// [`questions`] are to be put to the host.
    Unknown,
    /// It decides as this crate.
    Agrees,
    /// It does not, or has no Ed25519.
    Differs,
}

impl HostEd25519 {
    /// Notes that a signature was checked.
    pub(crate) fn needed(&mut self) {
        if *self == Self::NotNeeded {
            *self = Self::Unknown;
        }
    }
}

/// A key with a part of small order.
const KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"1","x":"PuF6b_LfpGjXGIpeRqifNOlaSnTNoBUv7hl9a4AOUrg"}]}"#;
/// What it signed.
const MESSAGE: &[u8] = b"edgepass";
/// Two signatures in base64url, with what this crate decides. Both satisfy the equation with the cofactor.
const SIGNATURES: [(&str, bool); 2] = [
    (
        "uGJAn7XExBI98qv3RiuI8EGtNt1oZM6HL9VHK-NjxbGvJz0WiFop_iFKH8uy3UarCSvl47HE_Sa9A9INS2trAQ",
        true,
    ),
    (
        "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmajYiof949zcdWNN7ZsCfBHkU4fhTE5l3aBG1l24nNIDQ",
        false,
    ),
];

/// Signatures for the host to check, with what this crate decides about each. Never `None`, as a test shows.
pub fn questions() -> Option<[(SignatureRequest, bool); 2]> {
    let key = key()?;
    let question = |(signature, expected): (&str, bool)| {
        let signature = edgepass_jose::base64url::decode(signature)?;
        let signed = SignedBytes::Bytes { input: MESSAGE.to_vec(), signature };
        Some((SignatureRequest::new(key.clone(), signed), expected))
    };
    let [first, second] = SIGNATURES.map(question);
    Some([first?, second?])
}

fn key() -> Option<Jwk> {
    let set =
        JwkSet::parse(KEY.as_bytes(), &[Algorithm::Ed25519], edgepass_crypto::is_sound).ok()?;
    set.keys().first().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{Checked, check};

    #[test]
    fn this_crate_answers_the_questions_as_it_says() {
        for (request, expected) in questions().unwrap() {
            assert!(edgepass_crypto::ed25519::is_strict(request.signature()));
            let signature = request.signature().to_vec();
            let signed = SignedBytes::Bytes { input: request.signing_input().to_vec(), signature };
            assert!(
                matches!(check(&request.key, signed), Checked::Here(valid) if valid == expected)
            );
        }
    }
}
