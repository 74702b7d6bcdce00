//! Any text as a note, a checkpoint, a log proof, a verifier key or the path of a tile.
#![no_main]

use edgepass_log::cosignature::cosigned_at;
use edgepass_log::{Checkpoint, LogProof, Note, TileId, VerifierKey};
use libfuzzer_sys::fuzz_target;

const LOG: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const WITNESS: &str =
    "witness.example.com/w1+745fb5e8+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU";

fuzz_target!(|input: &[u8]| {
    // Each value has one text: what was read prints as it was.
    let (log, witness): (VerifierKey, VerifierKey) =
        (LOG.parse().unwrap(), WITNESS.parse().unwrap());
    if let Ok(note) = Note::parse(input) {
        assert_eq!(note.to_string().as_bytes(), input);
        let _ = (note.verified_by(&log), cosigned_at(&note, &witness));
    }
    if let Ok(proof) = LogProof::parse(input) {
        assert_eq!(proof.to_string().as_bytes(), input);
        let _ = proof.verify(b"entry", &log, "PeterNeumann");
    }
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(tile) = text.parse::<TileId>() {
        assert_eq!(tile.to_string(), text);
    }
});
