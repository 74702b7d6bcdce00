//! Signed notes: a text, and signatures of it by named keys.

use std::fmt;

use crate::encoding;
use crate::key::{KeyId, SignatureKind, VerifierKey, is_name};

/// The most octets that a note may have. 16 signatures of any standardised algorithm fit.
pub const MAX_NOTE: usize = 128 << 10;

/// The most signatures that a note may have.
pub const MAX_SIGNATURES: usize = 100;

/// The start of a signature line: an em dash and a space.
const LINE_START: &str = "\u{2014} ";

/// A text with at least one signature. A `Note` has the right form, but its signatures may be
/// invalid: see [`Note::verified_by`] and [`cosigned_at`](crate::cosignature::cosigned_at).
///
/// Its form is the text, a blank line and the signature lines, as [`fmt::Display`] prints them. The
/// same note has no other form.
///
/// Source: [signed-note](https://c2sp.org/signed-note@v1.0.0).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A signature of a note. Its text is a signature line, with the newline at its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteSignature {
    name: String,
    key_id: KeyId,
    signature: Vec<u8>,
}

/// The reason why a note was refused, or could not be signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoteError {
    /// The note has more than [`MAX_NOTE`] octets or [`MAX_SIGNATURES`] signatures.
    #[error("the note is too large or has too many signatures")]
    TooLarge,
    /// The note is not UTF-8, or contains a control character other than the newline.
    #[error("the note contains characters that are not allowed")]
    Characters,
    /// The text does not end with a newline, or no blank line and signature follow it.
    #[error("the note is not a text, a blank line and signatures")]
    Malformed,
    /// A signature line does not have the form of one.
    #[error("a signature line of the note is malformed")]
    SignatureLine,
    /// The given key signs something else.
    #[error("the key is not one for this kind of signature")]
    KeyKind,
    /// The note has no signature by the given key.
    #[error("the note is not signed by the key")]
    NotSigned,
    /// A signature by the given key does not verify.
    #[error("a signature of the note is not valid")]
    SignatureInvalid,
    /// The private key could not sign.
    #[error("signing failed")]
    SigningFailed,
}

impl Note {
    /// Reads a note. It checks no signature.
    ///
    /// # Errors
    ///
    /// [`NoteError::TooLarge`], [`NoteError::Characters`], [`NoteError::Malformed`],
    /// [`NoteError::SignatureLine`].
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::TooLarge);
        }
        let note = str::from_utf8(note).map_err(|_| NoteError::Characters)?;
        if note.contains(is_forbidden) {
            return Err(NoteError::Characters);
        }
        // The text may contain blank lines: the last one ends it.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        // One more than allowed is enough to refuse the note.
        let lines = lines.split('\n').take(MAX_SIGNATURES.saturating_add(1));
        let signatures: Vec<_> = lines.map(NoteSignature::parse).collect::<Result<_, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooLarge);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// Makes a note of a text, which must end with a newline, and a signature of it.
    ///
    /// # Errors
    ///
    /// [`NoteError::TooLarge`], [`NoteError::Characters`], [`NoteError::Malformed`].
    pub(crate) fn new(text: &str, signature: NoteSignature) -> Result<Self, NoteError> {
        if text.contains(is_forbidden) {
            return Err(NoteError::Characters);
        }
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed);
        }
        let mut note = Self { text: text.to_owned(), signatures: Vec::new() };
        note.add(signature)?;
        Ok(note)
    }

    /// Adds a signature, such as a cosignature.
    ///
    /// # Errors
    ///
    /// [`NoteError::TooLarge`]; the note is then unchanged.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        let length = self.to_string().len().saturating_add(signature.to_string().len());
        if length > MAX_NOTE || self.signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError::TooLarge);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Drops the signatures that do not name this key. Whoever passes a note on may have added some.
    pub fn keep_only(&mut self, key: &VerifierKey) {
        let names = |one: &NoteSignature| one.name == key.name() && one.key_id == key.id();
        self.signatures.retain(names);
    }

    /// The text, with the newline at its end. It must be ignored unless a trusted key signed it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures in their order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Checks that the key signed the text. Signatures by other keys are ignored.
    ///
    /// # Errors
    ///
    /// [`NoteError::KeyKind`] if the key cosigns. [`NoteError::NotSigned`].
    /// [`NoteError::SignatureInvalid`], also if the key has a valid signature beside the invalid one.
    pub fn verified_by(&self, key: &VerifierKey) -> Result<(), NoteError> {
        if key.kind() != SignatureKind::Note {
            return Err(NoteError::KeyKind);
        }
        let mut verdict = Err(NoteError::NotSigned);
        for signature in self.signatures_of(key) {
            if !key.verifies(self.text.as_bytes(), signature) {
                return Err(NoteError::SignatureInvalid);
            }
            verdict = Ok(());
        }
        verdict
    }

    /// The octets of the signatures that name this key.
    pub(crate) fn signatures_of<'n>(
        &'n self,
        key: &'n VerifierKey,
    ) -> impl Iterator<Item = &'n [u8]> {
        let named = self.signatures.iter();
        named
            .filter(|signature| signature.name == key.name() && signature.key_id == key.id())
            .map(|signature| signature.signature.as_slice())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

impl NoteSignature {
    /// A signature by this key.
    pub(crate) fn by(key: &VerifierKey, signature: Vec<u8>) -> Self {
        Self { name: key.name().to_owned(), key_id: key.id(), signature }
    }

    /// Reads a signature line without its newline.
    ///
    /// # Errors
    ///
    /// [`NoteError::SignatureLine`].
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let parse = || {
            let (name, signature) = line.strip_prefix(LINE_START)?.split_once(' ')?;
            let octets = encoding::decode(signature)?;
            let (key_id, signature) = octets.split_first_chunk()?;
            let is_valid = is_name(name) && !signature.is_empty();
            let name = name.to_owned();
            is_valid.then(|| Self { name, key_id: *key_id, signature: signature.to_vec() })
        };
        parse().ok_or(NoteError::SignatureLine)
    }

    /// The name of the key, as claimed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ID of the key, as claimed.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = [self.key_id.as_slice(), &self.signature].concat();
        writeln!(f, "{LINE_START}{} {}", self.name, encoding::encode(&octets))
    }
}

/// Whether a note must not contain this character.
fn is_forbidden(c: char) -> bool {
    c < ' ' && c != '\n'
}

#[cfg(test)]
mod tests;
