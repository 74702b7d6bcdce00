//! Verifier keys: a name, a kind of signature and an Ed25519 public key.

use std::fmt;
use std::str::FromStr;

use edgepass_crypto::ed25519;
use sha2::{Digest, Sha256};

use crate::encoding;

/// The first four octets of a hash over a key's name, kind and octets. It is no proof of identity.
pub type KeyId = [u8; 4];

/// What a key signs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SignatureKind {
    /// The text of a note: signature type `0x01` of signed-note.
    Note,
    /// A checkpoint and a time: signature type `0x04`, of tlog-cosignature.
    Cosignature,
}

/// The public half of a key that signs notes or cosigns checkpoints.
///
/// Its text is `NAME+ID+KEY`: the key ID as eight lower-case hexadecimal digits, then the base64 of
/// the signature type and the 32 octets of the public key.
///
/// Source: [signed-note, verifier keys](https://c2sp.org/signed-note@v1.0.0#verifier-keys).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifierKey {
    name: String,
    kind: SignatureKind,
    public_key: [u8; 32],
    id: KeyId,
}

/// The reason why a key was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The name is empty, or contains a space, a plus sign or a control character.
    #[error("the name of the key is not valid")]
    Name,
    /// The text does not have the form of a verifier key.
    #[error("the verifier key is malformed")]
    Malformed,
    /// The signature type is neither `0x01` nor `0x04`.
    #[error("the signature type of the verifier key is not supported")]
    Kind,
    /// The key ID is not the one of this name, type and public key.
    #[error("the ID of the verifier key does not belong to it")]
    Id,
}

impl SignatureKind {
    /// The octet that identifies the signature type.
    fn octet(self) -> u8 {
        match self {
            Self::Note => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

impl VerifierKey {
    /// Makes a key of its parts. The public key is an encoded point (RFC 8032 §5.1.5). An encoding of
    /// no point verifies no signature.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`].
    pub fn new(name: &str, kind: SignatureKind, public_key: [u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        let input = [name.as_bytes(), b"\n", &[kind.octet()], &public_key].concat();
        let hash = Sha256::digest(&input);
        let id = *hash.first_chunk().ok_or(KeyError::Malformed)?;
        Ok(Self { name: name.to_owned(), kind, public_key, id })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The encoded point (RFC 8032 §5.1.5).
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// What the key signs.
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The key ID.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether an Ed25519 signature of a message is valid.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519::verify(&self.public_key, message, signature)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    /// # Errors
    ///
    /// [`KeyError`].
    fn from_str(text: &str) -> Result<Self, KeyError> {
        // The name contains no plus sign, the base64 may.
        let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
        let (id, key) = rest.split_once('+').ok_or(KeyError::Malformed)?;
        let key = encoding::decode(key).ok_or(KeyError::Malformed)?;
        let (kind, public_key) = key.split_first().ok_or(KeyError::Malformed)?;
        let kind = [SignatureKind::Note, SignatureKind::Cosignature]
            .into_iter()
            .find(|known| known.octet() == *kind)
            .ok_or(KeyError::Kind)?;
        let public_key = public_key.try_into().map_err(|_| KeyError::Malformed)?;
        let key = Self::new(name, kind, public_key)?;
        if hexadecimal(key.id) == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.octet()], self.public_key.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hexadecimal(self.id), encoding::encode(&key))
    }
}

/// Whether a text can be the name of a key.
pub(crate) fn is_name(text: &str) -> bool {
    let is_refused = |c: char| c.is_whitespace() || c < ' ' || c == '+';
    !text.is_empty() && !text.contains(is_refused)
}

/// A key ID as eight lower-case hexadecimal digits.
fn hexadecimal(id: KeyId) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn reads_and_prints_the_same_text() {
        let key: VerifierKey = KEY.parse().unwrap();
        assert_eq!((key.name(), key.kind()), ("PeterNeumann", SignatureKind::Note));
        assert_eq!(key.id(), [0xc7, 0x4f, 0x20, 0xa3]);
        assert_eq!(key.to_string(), KEY);
        let other = VerifierKey::new("w", SignatureKind::Cosignature, key.public_key).unwrap();
        assert_ne!(other.id(), key.id());
        assert_eq!(other.to_string().parse(), Ok(other));
    }

    #[test]
    fn refuses_all_other_texts() {
        for (from, to, expected) in [
            ("PeterNeumann", "", KeyError::Name),
            ("PeterNeumann", "Peter Neumann", KeyError::Name),
            ("PeterNeumann", "Peter\u{a0}Neumann", KeyError::Name),
            ("PeterNeumann", "Peter\tNeumann", KeyError::Name),
            ("PeterNeumann", "Peter+Neumann", KeyError::Malformed),
            ("PeterNeumann", "peterNeumann", KeyError::Id),
            ("c74f20a3", "C74F20A3", KeyError::Id),
            ("c74f20a3", "c74f20a4", KeyError::Id),
            ("c74f20a3", "0c74f20a3", KeyError::Id),
            ("+c74f20a3", "", KeyError::Malformed),
            ("+ARpc", "+ARpd", KeyError::Id),
            ("+ARpc", "+Ahpc", KeyError::Kind),
            ("10TW", "10TWAA==", KeyError::Malformed),
            ("10TW", "10T", KeyError::Malformed),
            ("10TW", "", KeyError::Malformed),
        ] {
            let text = KEY.replacen(from, to, 1);
            assert_eq!(text.parse::<VerifierKey>(), Err(expected), "{text}");
        }
    }
}
