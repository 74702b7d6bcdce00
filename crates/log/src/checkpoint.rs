//! Checkpoints: the head of a log's tree, as the text of a note.

use std::fmt;

use tlog_tiles::checkpoint as tlog;

use crate::encoding;
use crate::hash::{EMPTY_ROOT, MAX_SIZE, TreeHead};
use crate::key::VerifierKey;
use crate::note::{Note, NoteError};
use crate::signer::NoteSigner;

/// The head of the tree of a log.
///
/// Its text is three lines: the log's origin, the size in decimal and the root hash in base64.
/// Extension lines may follow. This crate keeps them and gives them no meaning.
///
/// Source: [tlog-checkpoint](https://c2sp.org/tlog-checkpoint@v1.0.0).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    origin: String,
    tree: TreeHead,
    extension: String,
}

/// The reason why a checkpoint was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// The note is malformed, or not validly signed by the log.
    #[error("the note of the checkpoint is not valid")]
    Note(#[source] NoteError),
    /// The text is not an origin, a size, a root hash and extension lines; or it has a size above
    /// [`MAX_SIZE`], or the size 0 with another root hash than [`EMPTY_ROOT`].
    #[error("the text of the checkpoint is malformed")]
    Malformed,
    /// The checkpoint is one of another log.
    #[error("the checkpoint has another origin than expected")]
    Origin,
}

impl Checkpoint {
    /// Makes a checkpoint without extension lines.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Malformed`], also for an origin that is empty or contains a control
    /// character.
    pub fn new(origin: &str, tree: TreeHead) -> Result<Self, CheckpointError> {
        Self::checked(origin, tree, "")
    }

    /// Reads the text of a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let read = tlog::Checkpoint::from_bytes(text.as_bytes());
        let read = read.map_err(|_| CheckpointError::Malformed)?;
        let tree = TreeHead { size: read.size(), root: read.hash().0 };
        let checkpoint = Self::checked(read.origin(), tree, read.extension())?;
        // Each checkpoint has one text.
        if checkpoint.to_string() == text {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Malformed)
        }
    }

    /// Reads a signed checkpoint of the log with this origin and key.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Note`], [`CheckpointError::Malformed`], [`CheckpointError::Origin`].
    pub fn open(note: &[u8], key: &VerifierKey, origin: &str) -> Result<Self, CheckpointError> {
        Self::of_note(&Note::parse(note).map_err(CheckpointError::Note)?, key, origin)
    }

    /// As [`Checkpoint::open`], of a note that was read before.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Note`], [`CheckpointError::Malformed`], [`CheckpointError::Origin`].
    pub fn of_note(note: &Note, key: &VerifierKey, origin: &str) -> Result<Self, CheckpointError> {
        note.verified_by(key).map_err(CheckpointError::Note)?;
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin == origin { Ok(checkpoint) } else { Err(CheckpointError::Origin) }
    }

    /// Signs the checkpoint. The name of the key should be the origin. A log signs only checkpoints
    /// that are consistent with each other.
    ///
    /// # Errors
    ///
    /// [`NoteError::TooLarge`], [`NoteError::SigningFailed`].
    pub fn sign(&self, signer: &NoteSigner) -> Result<Note, NoteError> {
        signer.sign(&self.to_string())
    }

    /// The name of the log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The size and the root hash.
    pub fn tree(&self) -> TreeHead {
        self.tree
    }

    /// The extension lines, each with a newline at its end.
    pub fn extension(&self) -> &str {
        &self.extension
    }

    /// A checkpoint whose printed form is valid.
    fn checked(origin: &str, tree: TreeHead, extension: &str) -> Result<Self, CheckpointError> {
        let is_head = tree.size <= MAX_SIZE && (tree.size > 0 || tree.root == EMPTY_ROOT);
        let is_text = |text: &str| !text.contains(|c: char| c < ' ');
        if origin.is_empty() || !is_text(origin) || !extension.split('\n').all(is_text) || !is_head
        {
            return Err(CheckpointError::Malformed);
        }
        Ok(Self { origin: origin.to_owned(), tree, extension: extension.to_owned() })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = encoding::encode(&self.tree.root);
        write!(f, "{}\n{}\n{root}\n{}", self.origin, self.tree.size, self.extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    const NONE: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn reads_and_prints_the_same_text() {
        for (text, size, extension) in [
            (format!("example.com/behind-the-sofa\n20852163\n{ROOT}\n"), 20_852_163, ""),
            (format!("a log + more\n1\n{ROOT}\none\n\u{2014} two\n"), 1, "one\n\u{2014} two\n"),
            (format!("o\n{MAX_SIZE}\n{ROOT}\n"), MAX_SIZE, ""),
            (format!("o\n0\n{NONE}\n"), 0, ""),
        ] {
            let checkpoint = Checkpoint::parse(&text).unwrap();
            assert_eq!((checkpoint.tree().size, checkpoint.extension()), (size, extension));
            assert_eq!(checkpoint.to_string(), text);
        }
        let empty = Checkpoint::new("o", TreeHead::EMPTY).unwrap();
        assert_eq!(empty.to_string(), format!("o\n0\n{NONE}\n"));
    }

    #[test]
    fn refuses_all_other_texts() {
        for text in [
            String::new(),
            "\n".to_owned(),
            format!("\n1\n{ROOT}\n"),
            format!("o\n1\n{ROOT}"),
            format!("o\n1\n{ROOT}\n\n"),
            format!("o\n1\n{ROOT}\n\none\n"),
            format!("o\n1\n{ROOT}\none"),
            format!("o\n1\n{ROOT}\none\n\ntwo\n"),
            format!("o\n1\n{ROOT}\r\n"),
            format!("o\r\n1\n{ROOT}\n"),
            format!("o\n01\n{ROOT}\n"),
            format!("o\n+1\n{ROOT}\n"),
            format!("o\n 1\n{ROOT}\n"),
            format!("o\n-1\n{ROOT}\n"),
            format!("o\n\n{ROOT}\n"),
            format!("o\n{}\n{ROOT}\n", MAX_SIZE + 1),
            format!("o\n0\n{ROOT}\n"),
            "o\n1\n\n".to_owned(),
            format!("o\n1\n{}\n", ROOT.replace("2I=", "2J=")), // trailing bits
            format!("o\n1\n{}\n", ROOT.trim_end_matches('=')),
            format!("o\n1\n{}\n", ROOT.replace("2I=", "")),
            format!("o\n1\n {ROOT}\n"),
        ] {
            assert_eq!(Checkpoint::parse(&text), Err(CheckpointError::Malformed), "{text:?}");
        }
        for origin in ["", "a\n", "a\nb", "a\t"] {
            let refused = Checkpoint::new(origin, TreeHead::EMPTY);
            assert_eq!(refused, Err(CheckpointError::Malformed), "{origin:?}");
        }
    }

    #[test]
    fn opens_for_its_origin_and_key_alone() {
        let (own, other) = (
            NoteSigner::from_seed("o", &[1; 32]).unwrap(),
            NoteSigner::from_seed("o", &[2; 32]).unwrap(),
        );
        let tree = TreeHead { size: 1, root: leaf_hash(b"one") };
        let checkpoint = Checkpoint::new("o", tree).unwrap();
        let note = checkpoint.sign(&own).unwrap().to_string();
        let open = |signer: &NoteSigner, origin| {
            Checkpoint::open(note.as_bytes(), signer.verifier_key(), origin)
        };
        assert_eq!(open(&own, "o"), Ok(checkpoint));
        assert_eq!(open(&own, "p"), Err(CheckpointError::Origin));
        assert_eq!(open(&other, "o"), Err(CheckpointError::Note(NoteError::NotSigned)));
        let text = own.sign("text\n").unwrap().to_string();
        let opened = Checkpoint::open(text.as_bytes(), own.verifier_key(), "text");
        assert_eq!(opened, Err(CheckpointError::Malformed));
    }
}
