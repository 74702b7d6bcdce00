//! Client secrets: 256 random bits. The issuer stores only a salted hash.

use std::fmt;

use edgepass_jose::base64url;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::entropy::{Entropy, NoEntropy};

/// A new client secret. The issuer shows it once and never stores it.
pub struct ClientSecret(Zeroizing<String>);

/// The salted SHA-256 of a client secret. Its text is `sha256:<salt>:<hash>`, both base64url.
///
/// A fast hash suffices: a secret has 256 random bits, so it cannot be guessed.
///
/// # Example
///
/// ```
/// use edgepass_issuer::client_secret::SecretHash;
///
/// let text = "sha256:AAAA:-YkZxKC2LOsuddd1L0VagGPRmCFn3X7HVqVFhgkmjBE";
/// let hash = SecretHash::parse(text).unwrap();
/// assert!(hash.matches("secret"));
/// assert!(!hash.matches("Secret"));
/// assert_eq!(hash.to_string(), text);
/// ```
#[derive(Clone)]
pub struct SecretHash {
    salt: Vec<u8>,
    hash: [u8; 32],
}

/// The text does not have the form `sha256:<salt>:<hash>`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write the hash that `edgepass client-secret` prints: \"sha256:<salt>:<hash>\"")]
pub struct NotASecretHash;

impl ClientSecret {
    /// Generates a secret: 32 random bytes as 43 characters of base64url.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    pub fn generate(entropy: &mut impl Entropy) -> Result<Self, NoEntropy> {
        let bytes = Zeroizing::new(entropy.bytes::<32>()?);
        Ok(Self(Zeroizing::new(base64url::encode(bytes.as_slice()))))
    }

    /// The text of the secret, to be handed to the client once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Hashes the secret with a new salt of 16 random bytes.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    pub fn hash(&self, entropy: &mut impl Entropy) -> Result<SecretHash, NoEntropy> {
        let salt = entropy.bytes::<16>()?.to_vec();
        Ok(SecretHash { hash: digest(&salt, self.reveal()), salt })
    }
}

impl SecretHash {
    /// Parses the text `sha256:<salt>:<hash>` of the configuration.
    ///
    /// # Errors
    ///
    /// [`NotASecretHash`].
    pub fn parse(text: &str) -> Result<Self, NotASecretHash> {
        let mut parts = text.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("sha256"), Some(salt), Some(hash), None) if !salt.is_empty() => Ok(Self {
                salt: base64url::decode(salt).ok_or(NotASecretHash)?,
                hash: base64url::decode_array(hash).ok_or(NotASecretHash)?,
            }),
            _ => Err(NotASecretHash),
        }
    }

    /// Whether `secret` is the secret that was hashed. Compares the hashes in constant time.
    pub fn matches(&self, secret: &str) -> bool {
        self.hash.ct_eq(&digest(&self.salt, secret)).into()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = base64url::encode;
        write!(f, "sha256:{}:{}", encode(&self.salt), encode(&self.hash))
    }
}

fn digest(salt: &[u8], secret: &str) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(secret.as_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
            for byte in bytes {
                *byte = self.0;
                self.0 = self.0.wrapping_add(1);
            }
            Ok(())
        }
    }

    #[test]
    fn a_hash_survives_its_text_and_matches_only_its_secret() {
        let secret = ClientSecret::generate(&mut Counting(0)).unwrap();
        let hash = secret.hash(&mut Counting(9)).unwrap();
        let read = SecretHash::parse(&hash.to_string()).unwrap();
        assert!(read.matches(secret.reveal()));
        assert!(!read.matches(&format!("{} ", secret.reveal())));
        assert!(!read.matches(""));
        for text in ["", "sha256::", "sha256:AAAA:AAAA", "md5:AAAA:AAAA", "sha256:a:b:c"] {
            assert_eq!(SecretHash::parse(text).err(), Some(NotASecretHash), "{text:?}");
        }
    }
}
