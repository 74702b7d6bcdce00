//! Private keys that sign notes.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::key::{KeyError, SignatureKind, VerifierKey};
use crate::note::{Note, NoteError, NoteSignature};

/// A private key that signs notes. It has no `Debug`, and AWS-LC erases it.
pub struct NoteSigner(PrivateKey);

/// An Ed25519 key pair with the name and kind of its public half.
pub(crate) struct PrivateKey {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl NoteSigner {
    /// Makes a key of its name and seed: the private key of RFC 8032 §5.1.5.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`], [`KeyError::Private`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        PrivateKey::from_seed(name, SignatureKind::Note, seed).map(Self)
    }

    /// Makes a key of its name and PKCS #8 document (RFC 8410 §7).
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`], [`KeyError::Private`].
    pub fn from_pkcs8(name: &str, document: &[u8]) -> Result<Self, KeyError> {
        PrivateKey::from_pkcs8(name, SignatureKind::Note, document).map(Self)
    }

    /// The public half.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.0.key
    }

    /// Signs a text, which must end with a newline.
    ///
    /// # Errors
    ///
    /// [`NoteError::TooLarge`], [`NoteError::Characters`], [`NoteError::Malformed`],
    /// [`NoteError::SigningFailed`].
    pub fn sign(&self, text: &str) -> Result<Note, NoteError> {
        let signature = self.0.sign(text.as_bytes())?;
        Note::new(text, NoteSignature::by(&self.0.key, signature.to_vec()))
    }
}

impl PrivateKey {
    pub(crate) fn from_seed(
        name: &str,
        kind: SignatureKind,
        seed: &[u8; 32],
    ) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Private)?;
        Self::new(name, kind, pair)
    }

    pub(crate) fn from_pkcs8(
        name: &str,
        kind: SignatureKind,
        document: &[u8],
    ) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document);
        Self::new(name, kind, pair.map_err(|_| KeyError::Private)?)
    }

    fn new(name: &str, kind: SignatureKind, pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public_key = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Private)?;
        Ok(Self { key: VerifierKey::new(name, kind, public_key)?, pair })
    }

    /// The public half.
    pub(crate) fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Signs a message.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], NoteError> {
        let signature = self.pair.try_sign(message).map_err(|_| NoteError::SigningFailed)?;
        signature.as_ref().try_into().map_err(|_| NoteError::SigningFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_its_document_are_the_same_key() {
        const PREFIX: [u8; 16] = [
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        let document = [PREFIX.as_slice(), &[7; 32]].concat();
        let by_seed = NoteSigner::from_seed("a", &[7; 32]).unwrap();
        let by_document = NoteSigner::from_pkcs8("a", &document).unwrap();
        assert_eq!(by_seed.verifier_key(), by_document.verifier_key());
        assert_eq!(by_seed.sign("text\n"), by_document.sign("text\n"));
        assert_eq!(NoteSigner::from_pkcs8("a", &[0; 48]).err(), Some(KeyError::Private));
        assert_eq!(NoteSigner::from_seed("a b", &[7; 32]).err(), Some(KeyError::Name));
    }
}
