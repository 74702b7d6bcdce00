//! Sealing: private keys are encrypted at rest under a master key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use edgepass_jose::base64url;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The 256-bit key that seals the private keys. It has no `Debug`, and is erased from memory when
/// dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// The reason why a master key could not be parsed, or a key not be sealed or opened.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// The text is not 43 characters of base64url.
    #[error("a master key is 32 random bytes as 43 characters of base64url")]
    NotAMasterKey,
    /// The sealed key does not open: another master key or name sealed it, or it was changed or
    /// erased.
    #[error("the master key does not open the signing keys; use the one they were sealed with")]
    WrongMasterKey,
    /// AES-256-GCM could not be set up or failed to seal.
    #[error("sealing failed")]
    Failed,
}

impl MasterKey {
    /// Creates a master key from random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses the text of a file or an environment variable. Surrounding white space is ignored.
    ///
    /// # Errors
    ///
    /// [`SealError::NotAMasterKey`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        base64url::decode_array(text.trim()).map(Self).ok_or(SealError::NotAMasterKey)
    }

    /// The key as 43 characters of base64url, to be kept in a file.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(base64url::encode(&self.0))
    }

    /// A secret for this purpose, from which neither the key nor another purpose's secret follows.
    pub(crate) fn derive(&self, purpose: &str) -> Vec<u8> {
        let key = hmac::Key::new(HMAC_SHA256, &self.0);
        hmac::sign(&key, purpose.as_bytes()).as_ref().to_vec()
    }

    /// Seals `secret` with AES-256-GCM. Returns nonce, ciphertext and tag. `name` is authenticated,
    /// so that a sealed key does not open under another name.
    ///
    /// # Errors
    ///
    /// [`SealError::Failed`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::seal::{MasterKey, SealError};
    ///
    /// let key = MasterKey::new([7; 32]);
    /// let sealed = key.seal("kid-1", b"secret").unwrap();
    /// assert_eq!(key.open("kid-1", &sealed).unwrap().as_slice(), b"secret");
    /// assert_eq!(key.open("kid-2", &sealed).err(), Some(SealError::WrongMasterKey));
    /// ```
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .key()?
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| SealError::Failed)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens the output of [`MasterKey::seal`] under the same name.
    ///
    /// # Errors
    ///
    /// [`SealError::WrongMasterKey`]; [`SealError::Failed`] if AES-256-GCM cannot be set up.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        const WRONG: SealError = SealError::WrongMasterKey;
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(WRONG)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| WRONG)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .key()?
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| WRONG)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    fn key(&self) -> Result<RandomizedNonceKey, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0).map_err(|_| SealError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_under_the_same_key_and_name() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.seal("kid-1", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(key.open("kid-1", &sealed).unwrap().as_slice(), b"secret");
        let wrong = Some(SealError::WrongMasterKey);
        assert_eq!(key.open("kid-2", &sealed).err(), wrong);
        assert_eq!(MasterKey::new([8; 32]).open("kid-1", &sealed).err(), wrong);
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert_eq!(key.open("kid-1", &changed).err(), wrong, "byte {byte}");
        }
        assert_eq!(key.open("kid-1", &sealed[..5]).err(), wrong);
    }

    #[test]
    fn a_master_key_survives_its_text() {
        let text = MasterKey::new([7; 32]).to_text();
        assert!(MasterKey::parse(&format!("{}\n", *text)).is_ok());
        for text in ["", "short", &format!("{}=", *text)] {
            assert_eq!(MasterKey::parse(text).err(), Some(SealError::NotAMasterKey));
        }
    }
}
