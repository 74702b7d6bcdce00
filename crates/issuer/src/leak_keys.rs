//! The signatures of GitHub's reports of leaked tokens.
//!
//! Source: <https://docs.github.com/code-security/secret-scanning/secret-scanning-partner-program>.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A public key by which GitHub signs reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GithubKey {
    /// `key_identifier`.
    pub id: String,
    /// `SubjectPublicKeyInfo` in DER.
    der: Vec<u8>,
}

impl GithubKey {
    /// Reads a key as <https://api.github.com/meta/public_keys/secret_scanning> gives it. `None`: the
    /// text is no public key in PEM.
    pub fn parse(id: &str, pem: &str) -> Option<Self> {
        let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?;
        let body = body.strip_suffix("-----END PUBLIC KEY-----")?;
        let base64: String = body.chars().filter(|char| !char.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(base64).ok().filter(|der| !der.is_empty())?;
        (!id.is_empty()).then(|| Self { id: id.to_owned(), der })
    }

    /// Whether this key signed the body. `signature` is base64 of a DER signature.
    pub fn signed(&self, body: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.der);
        key.verify(body, &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of GitHub's documentation, whose keys are for tests.
    const SAMPLES: [(&str, &str, &str); 2] = [
        (
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsz9ugWDj5jK5ELBK42ynytbo38gP\nHzZFI03Exwz8Lh/tCfL3YxwMdLjB+bMznsanlhK0RwcGP3IDb34kQDIo3Q==",
            r#"[{"token":"some_token","type":"some_type","url":"some_url","source":"some_source"}]"#,
            "MEUCIFLZzeK++IhS+y276SRk2Pe5LfDrfvTXu6iwKKcFGCrvAiEAhHN2kDOhy2I6eGkOFmxNkOJ+L2y8oQ9A2T9GGJo6WJY=",
        ),
        (
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9MJJHnMfn2+H4xL4YaPDA4RpJqUq\nkCmRCBnYERxZanmcpzQSXs1X/AljlKkbJ8qpVIW4clayyef9gWhFbNHWAA==",
            r#"[{"token":"some_token","type":"some_type","url":"some_url"}]"#,
            "MEUCIQDKZokqnCjrRtw0tni+2Ltvl/uiMJ1EGumEsp1BsNr32AIgQY1YXD2nlj+XNfGK4rBfkMJ1JDOQcYXxa2sY8FNkrKc=",
        ),
    ];

    #[test]
    fn only_the_octets_that_github_signed_are_accepted() {
        let keys = SAMPLES.map(|(key, _, _)| {
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
            GithubKey::parse("id", &pem).unwrap()
        });
        for (position, (_, body, signature)) in SAMPLES.into_iter().enumerate() {
            assert!(keys[position].signed(body.as_bytes(), signature));
            assert!(!keys[1 - position].signed(body.as_bytes(), signature));
            for other in [format!("{body}\n"), body.replace(':', ": "), String::new()] {
                assert!(!keys[position].signed(other.as_bytes(), signature), "{other}");
            }
            for wrong in ["", "AAAA", &signature[4..], &signature.replace('M', "N")] {
                assert!(!keys[position].signed(body.as_bytes(), wrong), "{wrong}");
            }
        }
        assert_eq!(GithubKey::parse("id", "-----BEGIN PUBLIC KEY-----"), None);
    }
}
