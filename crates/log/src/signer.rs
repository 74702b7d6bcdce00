//! Private keys that sign notes.

use ed25519_dalek::{Signer, SigningKey};

use crate::key::{KeyError, SignatureKind, VerifierKey};
use crate::note::{Note, NoteError, NoteSignature};

/// A private key that signs notes. It has no `Debug`, and is erased from memory when dropped.
pub struct NoteSigner(PrivateKey);

/// An Ed25519 key pair with the name and kind of its public half.
pub(crate) struct PrivateKey {
    pair: SigningKey,
    key: VerifierKey,
}

impl NoteSigner {
    /// Makes a key of its name and seed: the private key of RFC 8032 §5.1.5.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        PrivateKey::from_seed(name, SignatureKind::Note, seed).map(Self)
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
        let pair = SigningKey::from_bytes(seed);
        let public_key = pair.verifying_key().to_bytes();
        Ok(Self { key: VerifierKey::new(name, kind, public_key)?, pair })
    }

    /// The public half.
    pub(crate) fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Signs a message.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], NoteError> {
        let signature = self.pair.try_sign(message).map_err(|_| NoteError::SigningFailed)?;
        Ok(signature.to_bytes())
    }
}
