//! Log proofs: a checkpoint and the proof that an entry is in its tree, as one text.

use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::encoding;
use crate::hash::{Hash, leaf_hash};
use crate::key::VerifierKey;
use crate::note::{MAX_NOTE, Note, NoteError};
use crate::proof::{MAX_HASHES, ProofError, check_inclusion};

/// The most octets of extra data that a log proof may have.
pub const MAX_EXTRA: usize = 64 << 10;

/// The most octets that the text of a log proof may have: its limits in base64, and the rest.
const MAX_TEXT: usize = MAX_NOTE + MAX_EXTRA * 4 / 3 + MAX_HASHES * 45 + 256;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The proof that an entry is in a log, for a reader who knows the log's origin and key.
///
/// Its text is the line `c2sp.org/tlog-proof@v1`, a line `extra` and base64 if there are extra data,
/// a line `index` and the index, a line for each hash of the inclusion proof, a blank line and the
/// signed checkpoint. The same proof has no other text.
///
/// Source: [tlog-proof](https://c2sp.org/tlog-proof@v1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogProof {
    extra: Vec<u8>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: Note,
}

/// The reason why a log proof was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LogProofError {
    /// The text, the extra data or the list of hashes is too long.
    #[error("the log proof is too large")]
    TooLarge,
    /// The text does not have the form of a log proof.
    #[error("the log proof is malformed")]
    Malformed,
    /// The checkpoint in the text is not a note.
    #[error("the checkpoint of the log proof is malformed")]
    Note(#[source] NoteError),
    /// The checkpoint is not one of this log.
    #[error("the checkpoint of the log proof is not valid")]
    Checkpoint(#[source] CheckpointError),
    /// The proof does not show that the entry is in the tree.
    #[error("the log proof does not include the entry")]
    Inclusion(#[source] ProofError),
}

impl LogProof {
    /// Makes a log proof of an inclusion proof in the tree of a signed checkpoint. Checks nothing but
    /// the number of hashes.
    ///
    /// # Errors
    ///
    /// [`LogProofError::TooLarge`].
    pub fn new(index: u64, hashes: Vec<Hash>, checkpoint: Note) -> Result<Self, LogProofError> {
        if hashes.len() > MAX_HASHES {
            return Err(LogProofError::TooLarge);
        }
        Ok(Self { extra: Vec::new(), index, hashes, checkpoint })
    }

    /// Adds extra data. They are not authenticated. Without octets, there are none.
    ///
    /// # Errors
    ///
    /// [`LogProofError::TooLarge`].
    pub fn with_extra(self, extra: Vec<u8>) -> Result<Self, LogProofError> {
        if extra.len() > MAX_EXTRA {
            return Err(LogProofError::TooLarge);
        }
        Ok(Self { extra, ..self })
    }

    /// Reads a log proof. It checks neither signatures nor hashes.
    ///
    /// # Errors
    ///
    /// [`LogProofError::TooLarge`], [`LogProofError::Malformed`], [`LogProofError::Note`].
    pub fn parse(text: &[u8]) -> Result<Self, LogProofError> {
        const MALFORMED: LogProofError = LogProofError::Malformed;
        if text.len() > MAX_TEXT {
            return Err(LogProofError::TooLarge);
        }
        let text = str::from_utf8(text).map_err(|_| MALFORMED)?;
        let (head, note) = text.split_once("\n\n").ok_or(MALFORMED)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(MALFORMED);
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                encoding::decode(extra).filter(|extra| !extra.is_empty()).ok_or(MALFORMED)?
            }
            None => Vec::new(),
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(encoding::decimal).ok_or(MALFORMED)?;
        // One more than allowed is enough to refuse the proof.
        let lines = lines.take(MAX_HASHES.saturating_add(1));
        let hashes: Option<_> = lines.map(encoding::decode_array).collect();
        let note = Note::parse(note.as_bytes()).map_err(LogProofError::Note)?;
        Self::new(index, hashes.ok_or(MALFORMED)?, note)?.with_extra(extra)
    }

    /// Checks that the entry is in the log with this key and origin. Returns the checkpoint.
    ///
    /// The extra data are not authenticated. Cosignatures are checked apart:
    /// [`cosigned_at`](crate::cosignature::cosigned_at).
    ///
    /// # Errors
    ///
    /// [`LogProofError::Checkpoint`], [`LogProofError::Inclusion`].
    pub fn verify(
        &self,
        entry: &[u8],
        key: &VerifierKey,
        origin: &str,
    ) -> Result<Checkpoint, LogProofError> {
        let checkpoint = Checkpoint::of_note(&self.checkpoint, key, origin)
            .map_err(LogProofError::Checkpoint)?;
        check_inclusion(&self.hashes, self.index, &leaf_hash(entry), checkpoint.tree())
            .map_err(LogProofError::Inclusion)?;
        Ok(checkpoint)
    }

    /// The extra data. They are not authenticated.
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// The index of the entry.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The hashes from the leaf's sibling up to the root's child.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The signed checkpoint.
    pub fn checkpoint(&self) -> &Note {
        &self.checkpoint
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", encoding::encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", encoding::encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{TreeHead, node_hash};
    use crate::signer::NoteSigner;

    /// A log of two entries, and the proof that the second one is in it.
    fn proof(signer: &NoteSigner) -> LogProof {
        let (one, two) = (leaf_hash(b"one"), leaf_hash(b"two"));
        let tree = TreeHead { size: 2, root: node_hash(&one, &two) };
        let note = Checkpoint::new("o", tree).unwrap().sign(signer).unwrap();
        LogProof::new(1, vec![one], note).unwrap()
    }

    #[test]
    fn reads_prints_and_verifies() {
        let signer = NoteSigner::from_seed("o", &[1; 32]).unwrap();
        let key = signer.verifier_key();
        for extra in [b"".as_slice(), b"extra\0", &[7; MAX_EXTRA]] {
            let proof = proof(&signer).with_extra(extra.to_vec()).unwrap();
            let read = LogProof::parse(proof.to_string().as_bytes()).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.verify(b"two", key, "o").unwrap().tree().size, 2);
        }
        let proof = proof(&signer);
        let refused = Err(LogProofError::Inclusion(ProofError::Invalid));
        assert_eq!(proof.verify(b"one", key, "o"), refused);
        let refused = Err(LogProofError::Checkpoint(CheckpointError::Origin));
        assert_eq!(proof.verify(b"two", key, "p"), refused);
        assert!(proof.clone().with_extra(vec![0; MAX_EXTRA + 1]).is_err());
        let many = vec![[0; 32]; MAX_HASHES + 1];
        assert!(LogProof::new(1, many, proof.checkpoint().clone()).is_err());
    }

    #[test]
    fn refuses_all_other_texts() {
        let text = proof(&NoteSigner::from_seed("o", &[1; 32]).unwrap()).to_string();
        let hash = text.lines().nth(2).unwrap().to_owned();
        for (from, to) in [
            (HEADER, "c2sp.org/tlog-proof@v2"),
            ("index 1\n", ""),
            ("index 1", "index 01"),
            ("index 1", "index +1"),
            ("index 1", "index 1 "),
            ("index 1", "index -1"),
            ("index 1", "index 18446744073709551616"),
            ("index 1\n", "index 1\r\n"),
            ("index 1", "extra \nindex 1"),
            ("index 1", "extra AB==\nindex 1"),
            ("index 1", "extra AA==\nextra AA==\nindex 1"),
            ("index 1", "index 1\nextra AA=="),
            (hash.as_str(), "AAAA"),
            (hash.as_str(), hash.trim_end_matches('=')),
        ] {
            let text = text.replacen(from, to, 1);
            assert_eq!(LogProof::parse(text.as_bytes()), Err(LogProofError::Malformed), "{text}");
        }
        let many = text.replacen(&hash, &vec![hash.as_str(); MAX_HASHES + 1].join("\n"), 1);
        assert_eq!(LogProof::parse(many.as_bytes()), Err(LogProofError::TooLarge));
        let large = vec![b'a'; MAX_TEXT + 1];
        assert_eq!(LogProof::parse(&large), Err(LogProofError::TooLarge));
        let no_note = text.split_inclusive('\n').take(4).collect::<String>();
        let refused = Err(LogProofError::Note(NoteError::Malformed));
        assert_eq!(LogProof::parse(no_note.as_bytes()), refused);
    }
}
