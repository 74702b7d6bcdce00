//! Logs that were tampered with, and texts that were changed at random.

use edgepass_log::cosignature::cosigned_at;
use edgepass_log::log_proof::LogProofError;
use edgepass_log::proof::{ProofError, check_consistency};
use edgepass_log::{
    Checkpoint, Cosigner, Hash, LogProof, Note, NoteSigner, TileId, VerifierKey, leaf_hash,
};
use fastrand::Rng;

use crate::plain;

const ORIGIN: &str = "example.com/log";

/// A change to the leaves of a log.
type Tamper = fn(&mut Vec<Hash>);

fn log() -> NoteSigner {
    NoteSigner::from_seed(ORIGIN, &[1; 32]).unwrap()
}

fn witness() -> Cosigner {
    Cosigner::from_seed("witness.example", &[2; 32]).unwrap()
}

fn entry(index: usize) -> Vec<u8> {
    (index as u64).to_be_bytes().to_vec()
}

/// A cosigned proof for an entry of a log of 11.
fn proof(index: usize) -> LogProof {
    let leaves = plain::leaves(11);
    let checkpoint = Checkpoint::new(ORIGIN, plain::tree(&leaves)).unwrap();
    let mut note = checkpoint.sign(&log()).unwrap();
    note.add(witness().cosign(&note, 1_800_000_000).unwrap()).unwrap();
    let hashes = plain::inclusion(index, &leaves);
    LogProof::new(index as u64, hashes, note).unwrap().with_extra(vec![1, 2, 3]).unwrap()
}

#[test]
fn a_tampered_log_is_not_consistent() {
    let leaves = plain::leaves(20);
    let old = plain::tree(&leaves[..13]);
    let tampered: [(&str, Tamper); 6] = [
        ("edited", |leaves| leaves[5] = leaf_hash(b"other")),
        ("reordered", |leaves| leaves.swap(3, 4)),
        ("duplicated", |leaves| leaves.insert(7, leaves[6])),
        ("moved", |leaves| leaves.rotate_left(1)),
        ("forked", |leaves| leaves[12] = leaf_hash(b"fork")),
        ("rewritten", |leaves| leaves.reverse()),
    ];
    let honest = plain::consistency(13, &leaves);
    assert_eq!(check_consistency(&honest, old, plain::tree(&leaves)), Ok(()));
    for (name, tamper) in tampered {
        let mut leaves = leaves.clone();
        tamper(&mut leaves);
        let tree = plain::tree(&leaves);
        for proof in [&plain::consistency(13, &leaves), &honest] {
            let verdict = check_consistency(proof, old, tree);
            assert_eq!(verdict, Err(ProofError::Invalid), "{name}");
        }
    }
    let truncated = plain::tree(&leaves[..12]);
    assert_eq!(check_consistency(&[], old, truncated), Err(ProofError::Shrunk));
}

#[test]
fn a_proof_is_for_its_entry_alone() {
    let (log, witness) = (log(), witness());
    for index in 0..11 {
        let proof = LogProof::parse(proof(index).to_string().as_bytes()).unwrap();
        let verify = |entry: &[u8]| proof.verify(entry, log.verifier_key(), ORIGIN);
        let checkpoint = verify(&entry(index)).unwrap();
        assert_eq!((checkpoint.origin(), checkpoint.tree().size), (ORIGIN, 11));
        assert_eq!(cosigned_at(proof.checkpoint(), witness.verifier_key()), Ok(1_800_000_000));
        let refused = Err(LogProofError::Inclusion(ProofError::Invalid));
        assert_eq!(verify(&entry(index + 1)), refused);
        // A node is no leaf: its children's hashes are not an entry.
        let leaves = plain::leaves(11);
        assert_eq!(verify(&leaves[..2].concat()), refused);
    }
}

#[test]
fn a_changed_proof_is_refused_or_has_the_same_meaning() {
    let (log, witness) = (log(), witness());
    let proof = proof(6);
    let text = proof.to_string().into_bytes();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut changed = text.clone();
            changed[at] ^= 1 << bit;
            let Ok(read) = LogProof::parse(&changed) else { continue };
            // Each proof has one text, so that the change is in a value.
            assert_eq!(read.to_string().into_bytes(), changed);
            let by_log = read.verify(&entry(6), log.verifier_key(), ORIGIN).is_ok();
            let by_witness = cosigned_at(read.checkpoint(), witness.verifier_key()).is_ok();
            // Extra data are not signed.
            let only_extra = LogProof::extra(&read) != proof.extra();
            assert!(only_extra || !(by_log && by_witness), "bit {bit} of octet {at}");
        }
        assert!(LogProof::parse(&text[..at]).is_err() || at > text.len() / 2);
    }
}

/// Changes some octets, and cuts, doubles or inserts a part.
fn mutate(text: &mut Vec<u8>, random: &mut Rng) {
    const PARTS: [&str; 12] =
        ["\n", "\n\n", " ", "+", "=", "0", "\u{2014} ", "x", "/", ".p/", "extra AA==\n", "index "];
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..=text.len());
        let end = random.usize(at..=text.len().min(at + 20));
        match random.u8(0..5) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => {
                let part = text[at..end].to_vec();
                text.splice(at..at, part);
            }
            3 => drop(text.splice(at..at, random.choice(PARTS).unwrap().bytes())),
            _ if at < text.len() => text[at] = random.u8(..),
            _ => {}
        }
    }
}

#[test]
fn mutated_texts_cause_no_panic_and_print_as_read() {
    let mut random = Rng::with_seed(5);
    let proof = proof(6);
    let note = proof.checkpoint().to_string();
    let key = log().verifier_key().to_string();
    let tile = "tile/0/x001/x234/067.p/17".to_owned();
    let texts = [proof.to_string(), note, proof.checkpoint().text().to_owned(), key, tile];
    let mut read = 0;
    for _ in 0..20_000 {
        let mut text = random.choice(&texts).unwrap().clone().into_bytes();
        mutate(&mut text, &mut random);
        if let Ok(proof) = LogProof::parse(&text) {
            let _ = proof.verify(&entry(6), log().verifier_key(), ORIGIN);
            assert_eq!(proof.to_string().into_bytes(), text);
            read += 1;
        }
        if let Ok(note) = Note::parse(&text) {
            let _ = (note.verified_by(log().verifier_key()), note.signatures());
            let _ = cosigned_at(&note, witness().verifier_key());
            assert_eq!(note.to_string().into_bytes(), text);
            read += 1;
        }
        let Ok(text) = str::from_utf8(&text) else { continue };
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(checkpoint.to_string(), text);
            read += 1;
        }
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), text);
        }
        if let Ok(tile) = text.parse::<TileId>() {
            assert_eq!(tile.to_string(), text);
            read += 1;
        }
    }
    assert!(read > 500, "{read} texts were read");
}
