//! Client secrets: 256 random bits. The issuer stores only a salted hash.
//!
//! The text of a secret is `edgepass_cs_`, 43 characters of base64url, and a checksum of 6
//! characters, so that a scanner finds secrets and tells them from texts that look like one.

use std::fmt;

use crc::{CRC_32_ISO_HDLC, Crc};
use edgepass_jose::base64url;
use edgepass_verify::UnixMillis;
use serde::Serialize;
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
/// use edgepass_issuer::client::secret::SecretHash;
///
/// let text = "sha256:AAAA:-YkZxKC2LOsuddd1L0VagGPRmCFn3X7HVqVFhgkmjBE";
/// let hash = SecretHash::parse(text).unwrap();
/// assert!(hash.matches("secret"));
/// assert!(!hash.matches("Secret"));
/// assert_eq!(hash.to_string(), text);
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct SecretHash {
    salt: Vec<u8>,
    hash: [u8; 32],
}

/// A stored secret and the time for which it holds.
#[derive(Clone, Serialize)]
pub struct DatedSecret {
    /// The hash of the secret.
    #[serde(serialize_with = "as_text")]
    pub hash: SecretHash,
    /// The first second in which the secret holds. `None`: it holds already.
    pub from: Option<u64>,
    /// The first second in which the secret no longer holds. `None`: it has no end.
    pub until: Option<u64>,
}

impl DatedSecret {
    /// Whether `secret` is this one and holds now.
    pub fn matches(&self, secret: &str, now: UnixMillis) -> bool {
        let now = now.numeric_date().seconds();
        let holds =
            self.from.is_none_or(|from| now >= from) && self.until.is_none_or(|until| now < until);
        self.hash.matches(secret) && holds
    }
}

fn as_text<S: serde::Serializer>(hash: &SecretHash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}

/// The start of every secret.
pub const PREFIX: &str = "edgepass_cs_";

/// The CRC-32 of the random part, in base62 with digits first, padded to 6 characters.
fn checksum(body: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut left = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(body.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        let value = usize::try_from(left % 62).unwrap_or_default();
        *digit = DIGITS.get(value).copied().unwrap_or(b'0');
        left /= 62;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

/// Whether a text has the form of a secret of this program, with the right checksum.
///
/// # Example
///
/// ```
/// use edgepass_issuer::client::secret::is_secret;
///
/// assert!(is_secret("edgepass_cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8"));
/// assert!(!is_secret("edgepass_cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB0DofJ8"));
/// ```
pub fn is_secret(text: &str) -> bool {
    let Some((body, sum)) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_at_checked(43))
    else {
        return false;
    };
    base64url::decode_array::<32>(body).is_some() && checksum(body) == sum
}

/// The text does not have the form `sha256:<salt>:<hash>`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write the hash that `edgepass client-secret` prints: \"sha256:<salt>:<hash>\"")]
pub struct NotASecretHash;

impl ClientSecret {
    /// Generates a secret of 32 random bytes.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    pub fn generate(entropy: &mut impl Entropy) -> Result<Self, NoEntropy> {
        let bytes = Zeroizing::new(entropy.bytes::<32>()?);
        let body = Zeroizing::new(base64url::encode(bytes.as_slice()));
        let checksum = checksum(&body);
        Ok(Self(Zeroizing::new(format!("{PREFIX}{}{checksum}", *body))))
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
        assert!(is_secret(secret.reveal()), "{}", secret.reveal());
        assert!(read.matches(secret.reveal()));
        assert!(!read.matches(&format!("{} ", secret.reveal())));
        assert!(!read.matches(""));
        for text in ["", "sha256::", "sha256:AAAA:AAAA", "md5:AAAA:AAAA", "sha256:a:b:c"] {
            assert_eq!(SecretHash::parse(text).err(), Some(NotASecretHash), "{text:?}");
        }
    }
}
