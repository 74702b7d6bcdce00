//! Reading a candidate from where it begins.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use edgepass_jose::base64url;
use zeroize::Zeroizing;

/// What a candidate looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A compact JWS.
    Token,
    /// A client secret.
    Secret,
}

/// How a candidate is written.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Written {
    /// As it is.
    Plain,
    /// With line breaks in between, or escapes.
    Broken,
    /// In base64.
    Base64,
}

/// A text that may be a token or a secret. It has no `Debug`: it may be a credential.
pub struct Candidate {
    /// What it looks like.
    pub kind: Kind,
    /// The text, whole.
    pub text: Zeroizing<String>,
    /// How it is written.
    pub written: Written,
    /// The line that it begins in, from 1.
    pub line: u64,
}

/// The longest token, in octets. Verifiers accept none that is longer.
const MAX_TOKEN: usize = 16 * 1024;
/// The longest first part of a token.
const MAX_HEADER: usize = 1024;
/// How the first part of every token begins.
pub(crate) const HEADER: &str = "eyJhbGciOi";
/// The length of a secret.
const SECRET: usize = 12 + 43 + 6;
/// Most octets between two characters of a candidate: the end of a line, quotes, and an indentation.
const MAX_GAP: usize = 160;

/// A text that was read, and whether anything was between its characters.
pub(crate) struct Read {
    pub(crate) kind: Kind,
    pub(crate) text: Zeroizing<String>,
    pub(crate) is_broken: bool,
}

/// Characters of base64url and dots in a text, without what is between them.
struct Characters<'t> {
    text: &'t [u8],
    at: usize,
    is_broken: bool,
}

impl Characters<'_> {
    /// The next character.
    fn next(&mut self) -> Option<u8> {
        if let Some(own) = self.text.get(self.at).copied().filter(|byte| is_own(*byte)) {
            self.at = self.at.saturating_add(1);
            return Some(own);
        }
        // `%2E` for a dot, and so on.
        if let Some([b'%', high, low]) = self.text.get(self.at..self.at.saturating_add(3)) {
            let digits = [*high, *low];
            let escaped = std::str::from_utf8(&digits).ok();
            let byte = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            if let Some(byte) = byte.filter(|byte| is_own(*byte)) {
                self.at = self.at.saturating_add(3);
                self.is_broken = true;
                return Some(byte);
            }
        }
        if let Some((byte, length)) = self.escaped() {
            self.at = self.at.saturating_add(length);
            self.is_broken = true;
            return Some(byte);
        }
        let after = self.after_gap()?;
        self.is_broken = true;
        self.at = after.saturating_add(1);
        self.text.get(after).copied()
    }

    /// A character that is escaped by a backslash: `\_` of Markdown, `\u002e` of JSON. With its length.
    fn escaped(&self) -> Option<(u8, usize)> {
        let rest = self.text.get(self.at..)?.strip_prefix(b"\\")?;
        match rest {
            [byte @ (b'_' | b'-' | b'.'), ..] => Some((*byte, 2)),
            [b'u', digits @ ..] => {
                let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
                let byte = u8::try_from(u32::from_str_radix(digits, 16).ok()?).ok()?;
                is_own(byte).then_some((byte, 6))
            }
            _ => None,
        }
    }

    /// Where the next character is after the end of a line and what may be around it. `None`: there is no such
    /// gap.
    fn after_gap(&self) -> Option<usize> {
        let (mut at, mut has_break) = (self.at, false);
        let end = self.at.saturating_add(MAX_GAP);
        while at < end {
            let two = self.text.get(at..at.saturating_add(2)).unwrap_or_default();
            match (self.text.get(at).copied()?, two) {
                (_, [b'\\', b'n' | b'r']) => {
                    has_break = true;
                    at = at.saturating_add(1);
                }
                (_, b"\\t") => at = at.saturating_add(1),
                (b'\n' | b'\r', _) => has_break = true,
                // The end of a line that goes on, strings that are added up, and signs of quoted mail and
                // comments.
                (byte, _) if is_filling(byte) => {}
                (byte, _) => return (has_break && is_own(byte)).then_some(at),
            }
            at = at.saturating_add(1);
        }
        None
    }

    /// The characters up to a dot, which is read as well, at most `most`. They begin with `start`.
    fn part(&mut self, into: &mut String, start: &str, most: usize) -> Option<()> {
        let begin = into.len();
        for _ in 0..=most {
            match self.next()? {
                b'.' => return Some(()),
                own => into.push(char::from(own)),
            }
            // Look-alikes end here, and are cheap.
            let own = into.as_bytes().get(begin..).unwrap_or_default();
            let start = start.as_bytes();
            if own.len() <= start.len() && start.get(..own.len()) != Some(own) {
                return None;
            }
        }
        None
    }
}

fn is_filling(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'\\' | b'+' | b'>' | b'#' | b'=' | b'*' | b'/')
}

fn is_own(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The number of characters of a signature, by the header of a token. `None`: it is none of this program.
fn signature_lengths(header: &str) -> Option<&'static [usize]> {
    let header = base64url::decode(header)?;
    let header = edgepass_jose::json::parse_object(&header).ok()?;
    match header.get("alg")?.as_str()? {
        "EdDSA" | "Ed25519" | "ES256" => Some(&[86]),
        // Keys of 2048, 3072 and 4096 bits.
        "RS256" => Some(&[342, 512, 683]),
        _ => None,
    }
}

/// Reads the token that begins here. A token with a signature of several possible lengths is given with each.
pub(crate) fn tokens(text: &[u8]) -> Vec<Read> {
    let mut characters = Characters { text, at: 0, is_broken: false };
    let read = || -> Option<Vec<Read>> {
        let mut token = Zeroizing::new(String::new());
        characters.part(&mut token, HEADER, MAX_HEADER)?;
        let lengths = signature_lengths(&token)?;
        let mut payload = String::new();
        characters.part(&mut payload, "eyJ", MAX_TOKEN)?;
        token.push('.');
        token.push_str(&payload);
        token.push('.');
        let mut found = Vec::new();
        let (mut signature, longest) = (0_usize, lengths.last().copied()?);
        while signature < longest {
            match characters.next() {
                Some(own) if own != b'.' => token.push(char::from(own)),
                _ => break,
            }
            signature = signature.saturating_add(1);
            if lengths.contains(&signature) {
                let (kind, is_broken) = (Kind::Token, characters.is_broken);
                found.push(Read { kind, text: token.clone(), is_broken });
            }
        }
        Some(found)
    };
    // The part above borrows `characters`.
    let mut read = read;
    read().unwrap_or_default()
}

/// Whether a text may be the begin of a token: its first part is whole, and names an algorithm.
pub(crate) fn has_header(text: &[u8]) -> bool {
    let mut characters = Characters { text, at: 0, is_broken: false };
    let mut header = String::new();
    characters.part(&mut header, HEADER, MAX_HEADER).is_some()
        && signature_lengths(&header).is_some()
}

/// The most characters of base64 that hold a token, and that hold a header or a secret.
pub(crate) const BASE64: [usize; 2] = [MAX_TOKEN * 2, 2048];

/// Reads the secret that begins here.
pub(crate) fn secret(text: &[u8]) -> Option<Read> {
    let mut characters = Characters { text, at: 0, is_broken: false };
    let mut secret = Zeroizing::new(String::with_capacity(SECRET));
    for _ in 0..SECRET {
        secret.push(char::from(characters.next().filter(|own| *own != b'.')?));
    }
    Some(Read { kind: Kind::Secret, text: secret, is_broken: characters.is_broken })
}

/// Base64 of either alphabet, with padding or without, whatever the last bits are.
const LAX: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A character of either alphabet in the standard one.
fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Decodes base64 at a place of a text, at most so many characters, with line breaks in between. The `before`
/// characters before it belong to its first group.
pub(crate) fn decoded(text: &[u8], start: usize, before: usize, most: usize) -> Zeroizing<Vec<u8>> {
    let mut characters = Zeroizing::new(Vec::new());
    let preceding = text.get(..start).unwrap_or_default().iter().rev().take(MAX_GAP).copied();
    let preceding = preceding
        .take_while(|byte| is_base64(*byte) || is_filling(*byte) || matches!(byte, b'\n' | b'\r'));
    characters.extend(preceding.filter(|byte| is_base64(*byte)).take(before).map(standard));
    // Nothing is known of what is missing.
    let missing = before.saturating_sub(characters.len());
    characters.extend(std::iter::repeat_n(b'A', missing));
    characters.reverse();
    let text = text.get(start..).unwrap_or_default();
    let mut at = 0_usize;
    while characters.len() < most {
        let Some(byte) = text.get(at).copied() else { break };
        if is_base64(byte) {
            characters.push(standard(byte));
            at = at.saturating_add(1);
            continue;
        }
        let gap = Characters { text, at, is_broken: false };
        match gap.after_gap().filter(|after| text.get(*after).copied().is_some_and(is_base64)) {
            Some(after) => at = after,
            None => break,
        }
    }
    let whole = characters.len().saturating_sub(usize::from(characters.len() % 4 == 1));
    let decoded = LAX.decode(characters.get(..whole).unwrap_or_default());
    Zeroizing::new(decoded.unwrap_or_default())
}
