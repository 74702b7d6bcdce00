use super::*;
use crate::signer::NoteSigner;

fn signer(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(name, &[seed; 32]).unwrap()
}

#[test]
fn a_signed_note_reads_prints_and_verifies() {
    let signer = signer("example.com/log", 1);
    for text in ["\n", "one\n", "\n\none\n\ntwo\n\n\n", "\u{2014} a AAAAAAA=\n", "caf\u{e9}\n"] {
        let note = signer.sign(text).unwrap();
        assert_eq!(note.text(), text);
        assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note.clone()));
        assert_eq!(note.verified_by(signer.verifier_key()), Ok(()));
    }
    for (text, expected) in [
        ("", NoteError::Malformed),
        ("one", NoteError::Malformed),
        ("one\t\n", NoteError::Characters),
        ("one\r\n", NoteError::Characters),
    ] {
        assert_eq!(signer.sign(text), Err(expected));
    }
    assert_eq!(signer.sign(&format!("{}\n", "x".repeat(MAX_NOTE))), Err(NoteError::TooLarge));
}

#[test]
fn refuses_other_forms() {
    const LINE: &str = "\u{2014} a AAAAAAA=";
    assert!(Note::parse(format!("text\n\n{LINE}\n").as_bytes()).is_ok());
    for (note, expected) in [
        (String::new(), NoteError::Malformed),
        ("text\n".to_owned(), NoteError::Malformed),
        ("text\n\n".to_owned(), NoteError::Malformed),
        (format!("text\n{LINE}\n"), NoteError::Malformed),
        (format!("text\n\n{LINE}"), NoteError::Malformed),
        (format!("text\n\n{LINE}\n\n"), NoteError::Malformed),
        (format!("text\n\n{LINE}\n\n{LINE}\nx\n"), NoteError::SignatureLine),
        (format!("text\r\n\n{LINE}\n"), NoteError::Characters),
        (format!("text\0\n\n{LINE}\n"), NoteError::Characters),
        (format!("text\n\n{LINE} \n"), NoteError::SignatureLine),
        (format!("text\n\n {LINE}\n"), NoteError::SignatureLine),
        ("text\n\n- a AAAAAAA=\n".to_owned(), NoteError::SignatureLine),
        ("text\n\n\u{2014} AAAAAAA=\n".to_owned(), NoteError::SignatureLine),
        ("text\n\n\u{2014}  AAAAAAA=\n".to_owned(), NoteError::SignatureLine),
        ("text\n\n\u{2014} a+b AAAAAAA=\n".to_owned(), NoteError::SignatureLine),
        ("text\n\n\u{2014} a\u{2003}b AAAAAAA=\n".to_owned(), NoteError::SignatureLine),
        ("text\n\n\u{2014} a AAAAAA==\n".to_owned(), NoteError::SignatureLine), // a key ID alone
        ("text\n\n\u{2014} a AAAAAAB=\n".to_owned(), NoteError::SignatureLine), // trailing bits
        ("text\n\n\u{2014} a AAAAAAA\n".to_owned(), NoteError::SignatureLine),
    ] {
        assert_eq!(Note::parse(note.as_bytes()), Err(expected), "{note:?}");
    }
    assert_eq!(Note::parse(b"text\xff\n\n"), Err(NoteError::Characters));
}

#[test]
fn accepts_so_many_signatures_and_no_more() {
    let signer = signer("a", 1);
    let mut note = signer.sign("text\n").unwrap();
    let line = note.signatures()[0].clone();
    for _ in 1..MAX_SIGNATURES {
        note.add(line.clone()).unwrap();
    }
    assert_eq!(Note::parse(note.to_string().as_bytes()).as_ref(), Ok(&note));
    assert_eq!(note.verified_by(signer.verifier_key()), Ok(()));
    assert_eq!(note.add(line.clone()), Err(NoteError::TooLarge));
    let more = format!("{note}{line}");
    assert_eq!(Note::parse(more.as_bytes()), Err(NoteError::TooLarge));

    // 16 signatures of the largest standardised algorithm, ML-DSA-87.
    let large = NoteSignature::by(signer.verifier_key(), vec![0; 8 + 4627]);
    let mut note = Note::new("text\n", large.clone()).unwrap();
    for _ in 1..16 {
        note.add(large.clone()).unwrap();
    }
    assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
    assert_eq!(Note::parse(&vec![b'a'; MAX_NOTE + 1]), Err(NoteError::TooLarge));
}

#[test]
fn ignores_other_keys_and_refuses_an_invalid_signature_of_this_one() {
    let (own, other) = (signer("a", 1), signer("a", 2));
    let namesake = signer("b", 1);
    let mut note = other.sign("text\n").unwrap();
    assert_eq!(note.verified_by(own.verifier_key()), Err(NoteError::NotSigned));
    assert_eq!(note.verified_by(namesake.verifier_key()), Err(NoteError::NotSigned));
    let signature = own.sign("text\n").unwrap().signatures()[0].clone();
    note.add(signature).unwrap();
    assert_eq!(note.verified_by(own.verifier_key()), Ok(()));
    assert_eq!(note.verified_by(other.verifier_key()), Ok(()));
    // Of another text, beside the valid one.
    note.add(own.sign("other\n").unwrap().signatures()[0].clone()).unwrap();
    assert_eq!(note.verified_by(own.verifier_key()), Err(NoteError::SignatureInvalid));
    assert_eq!(note.verified_by(other.verifier_key()), Ok(()));
    let cosigns = VerifierKey::new("a", SignatureKind::Cosignature, [0; 32]).unwrap();
    assert_eq!(note.verified_by(&cosigns), Err(NoteError::KeyKind));
}

#[test]
fn any_changed_or_missing_octet_is_refused() {
    let signer = signer("example.com/log", 1);
    let note = signer.sign("one\n\ntwo\n").unwrap().to_string();
    let verdict = |octets: &[u8]| Note::parse(octets)?.verified_by(signer.verifier_key());
    assert_eq!(verdict(note.as_bytes()), Ok(()));
    for at in 0..note.len() {
        assert!(verdict(&note.as_bytes()[..at]).is_err());
        for bit in 0..8 {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1 << bit;
            assert!(verdict(&changed).is_err(), "bit {bit} of octet {at}");
        }
    }
}
