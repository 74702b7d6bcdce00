//! Cosignatures of checkpoints: a witness states which checkpoint was the latest at a time.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::{KeyError, SignatureKind, VerifierKey};
use crate::note::{Note, NoteError, NoteSignature};
use crate::signer::PrivateKey;

/// The latest time that a cosignature can have, in seconds.
const LAST_TIME: u64 = u64::MAX >> 1;

/// A private key that cosigns checkpoints. It has no `Debug`, and is erased from memory when dropped.
///
/// A witness needs a key of its own: one that signs nothing else.
pub struct Cosigner(PrivateKey);

/// The reason why a cosignature was refused, or could not be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CosignatureError {
    /// The note is not a checkpoint.
    #[error("the cosigned note is not a checkpoint")]
    Checkpoint(#[source] CheckpointError),
    /// The time is later than a cosignature allows (2^63 - 1 s).
    #[error("the time of a cosignature is too large")]
    Time,
    /// The key signs notes, did not cosign, or has a signature that does not verify.
    #[error("the checkpoint is not validly cosigned")]
    Note(#[source] NoteError),
}

impl Cosigner {
    /// Makes a key of its name and seed: the private key of RFC 8032 §5.1.5.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        PrivateKey::from_seed(name, SignatureKind::Cosignature, seed).map(Self)
    }

    /// The public half.
    pub fn verifier_key(&self) -> &VerifierKey {
        self.0.key()
    }

    /// Cosigns a checkpoint. `time` is in seconds since 1970.
    ///
    /// The caller has verified the log's signature, and that the checkpoint is consistent with every
    /// other one that this key cosigned.
    ///
    /// # Errors
    ///
    /// [`CosignatureError::Checkpoint`], [`CosignatureError::Time`]; [`CosignatureError::Note`] with
    /// [`NoteError::SigningFailed`].
    ///
    /// Source: [tlog-cosignature](https://c2sp.org/tlog-cosignature@v1.0.0).
    pub fn cosign(&self, checkpoint: &Note, time: u64) -> Result<NoteSignature, CosignatureError> {
        Checkpoint::parse(checkpoint.text()).map_err(CosignatureError::Checkpoint)?;
        if time > LAST_TIME {
            return Err(CosignatureError::Time);
        }
        let signature = self.0.sign(&message(checkpoint, time)).map_err(CosignatureError::Note)?;
        let octets = [time.to_be_bytes().as_slice(), &signature].concat();
        Ok(NoteSignature::by(self.verifier_key(), octets))
    }
}

/// Checks that a witness cosigned a checkpoint. Returns the time of the cosignature, in seconds
/// since 1970; of several, the latest. The time may be in the future. The log's own signature is not
/// checked.
///
/// # Errors
///
/// [`CosignatureError::Checkpoint`]; [`CosignatureError::Time`]; [`CosignatureError::Note`] with
/// [`NoteError::KeyKind`], [`NoteError::NotSigned`] or [`NoteError::SignatureInvalid`], the last also
/// if the key has a valid cosignature beside the invalid one.
pub fn cosigned_at(checkpoint: &Note, key: &VerifierKey) -> Result<u64, CosignatureError> {
    Checkpoint::parse(checkpoint.text()).map_err(CosignatureError::Checkpoint)?;
    if key.kind() != SignatureKind::Cosignature {
        return Err(CosignatureError::Note(NoteError::KeyKind));
    }
    let mut latest = None;
    for octets in checkpoint.signatures_of(key) {
        let invalid = CosignatureError::Note(NoteError::SignatureInvalid);
        let (time, signature) = octets.split_first_chunk().ok_or(invalid)?;
        let time = u64::from_be_bytes(*time);
        if time > LAST_TIME {
            return Err(CosignatureError::Time);
        }
        if !key.verifies(&message(checkpoint, time), signature) {
            return Err(invalid);
        }
        latest = latest.max(Some(time));
    }
    latest.ok_or(CosignatureError::Note(NoteError::NotSigned))
}

/// The message that a cosignature signs.
fn message(checkpoint: &Note, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{}", checkpoint.text()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{TreeHead, leaf_hash};
    use crate::signer::NoteSigner;

    fn checkpoint() -> Note {
        let tree = TreeHead { size: 1, root: leaf_hash(b"one") };
        let log = NoteSigner::from_seed("example.com/log", &[1; 32]).unwrap();
        Checkpoint::new("example.com/log", tree).unwrap().sign(&log).unwrap()
    }

    #[test]
    fn a_cosignature_verifies_and_has_its_time() {
        let mut note = checkpoint();
        let witness = Cosigner::from_seed("witness.example", &[2; 32]).unwrap();
        let key = witness.verifier_key();
        let not_signed = CosignatureError::Note(NoteError::NotSigned);
        assert_eq!(cosigned_at(&note, key), Err(not_signed));
        for (time, latest) in [(5, 5), (LAST_TIME, LAST_TIME), (0, LAST_TIME)] {
            note.add(witness.cosign(&note, time).unwrap()).unwrap();
            let read = Note::parse(note.to_string().as_bytes()).unwrap();
            assert_eq!(cosigned_at(&read, key), Ok(latest));
        }
        assert_eq!(witness.cosign(&note, LAST_TIME + 1).err(), Some(CosignatureError::Time));
        let other = Cosigner::from_seed("witness.example", &[3; 32]).unwrap();
        assert_eq!(cosigned_at(&note, other.verifier_key()), Err(not_signed));
    }

    #[test]
    fn a_cosignature_is_the_one_of_another_implementation() {
        // Made with OpenSSL, by pyca/cryptography.
        const KEY: &str =
            "witness.example.com/w1+745fb5e8+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU";
        const LINE: &str = "\u{2014} witness.example.com/w1 dF+16AAAAABkGFDLUwBLV8e4tjvb6qEHiNTQjDZI\
            X+7tvd038taw9A7W/cQ7ZhSah0uJMOI6CTPez5qwHtE49MrkWhU349mtYmi3Dw==\n";
        const TEXT: &str = "example.com/behind-the-sofa\n20852163\n\
            CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let log = NoteSigner::from_seed("example.com/behind-the-sofa", &[1; 32]).unwrap();
        let witness = Cosigner::from_seed("witness.example.com/w1", &[2; 32]).unwrap();
        assert_eq!(witness.verifier_key().to_string(), KEY);
        let note = log.sign(TEXT).unwrap();
        assert_eq!(witness.cosign(&note, 1_679_315_147).unwrap().to_string(), LINE);
        let note = format!("{note}{LINE}");
        let note = Note::parse(note.as_bytes()).unwrap();
        assert_eq!(cosigned_at(&note, &KEY.parse().unwrap()), Ok(1_679_315_147));
    }

    #[test]
    fn a_cosignature_is_for_one_text_and_one_time() {
        let note = checkpoint();
        let witness = Cosigner::from_seed("w", &[2; 32]).unwrap();
        let key = witness.verifier_key();
        let invalid = Err(CosignatureError::Note(NoteError::SignatureInvalid));
        let signature = witness.0.sign(&message(&note, 5)).unwrap();
        for (time, octets, expected) in [
            (5, signature.as_slice(), Ok(5)),
            (6, signature.as_slice(), invalid),
            (5, &signature[1..], invalid),
            (5, &[], invalid),
            (LAST_TIME + 1, signature.as_slice(), Err(CosignatureError::Time)),
        ] {
            let octets = [u64::to_be_bytes(time).as_slice(), octets].concat();
            let mut note = note.clone();
            note.add(NoteSignature::by(key, octets)).unwrap();
            assert_eq!(cosigned_at(&note, key), expected);
        }
        // Fewer octets than a time has.
        let mut short = note.clone();
        short.add(NoteSignature::by(key, vec![0; 7])).unwrap();
        assert_eq!(cosigned_at(&short, key), invalid);
        // The same octets as a signature of the note itself.
        let plain = NoteSigner::from_seed("w", &[2; 32]).unwrap();
        let mut note = plain.sign(note.text()).unwrap();
        note.add(witness.cosign(&note, 5).unwrap()).unwrap();
        assert_eq!(note.verified_by(plain.verifier_key()), Ok(()));
        assert_eq!(cosigned_at(&note, key), Ok(5));
        assert_eq!(note.verified_by(key), Err(NoteError::KeyKind));
        let kind = Err(CosignatureError::Note(NoteError::KeyKind));
        assert_eq!(cosigned_at(&note, plain.verifier_key()), kind);
    }

    #[test]
    fn a_note_that_is_no_checkpoint_is_not_cosigned() {
        let note = NoteSigner::from_seed("a", &[1; 32]).unwrap().sign("text\n").unwrap();
        let witness = Cosigner::from_seed("w", &[2; 32]).unwrap();
        let expected = CosignatureError::Checkpoint(CheckpointError::Malformed);
        assert_eq!(witness.cosign(&note, 5).err(), Some(expected));
        assert_eq!(cosigned_at(&note, witness.verifier_key()), Err(expected));
    }
}
