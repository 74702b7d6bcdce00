//! Scanning a stream.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::candidate::{
    BASE64, Candidate, HEADER, Kind, Read, Written, decoded, has_header, secret, tokens,
};

/// How every token and every secret begins.
pub const STARTS: [(&str, Kind); 2] = [(HEADER, Kind::Token), ("edgepass_cs_", Kind::Secret)];
/// How a token that is broken within its first characters begins.
const SHORT: &str = "eyJ";
/// What is kept of a stream while more of it comes: a candidate and its gaps fit into it.
const KEPT: usize = 64 * 1024;

/// Finds candidates in a stream.
pub struct Scanner {
    starts: AhoCorasick,
    /// For each pattern: what it is the start of, and how many characters of base64 are before it in its group.
    meanings: Vec<(Kind, Option<usize>)>,
    /// What was not scanned to its end yet.
    kept: Vec<u8>,
    /// The line of the stream in which `kept` begins.
    line: u64,
}

impl Scanner {
    /// A scanner of one stream after the other.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: there is no automaton for the patterns. They are constant, so it would be a fault of the
    /// library that builds it; a scanner that finds nothing would hide that.
    pub fn new() -> Result<Self, BuildError> {
        let mut patterns: Vec<String> = Vec::new();
        let mut meanings = Vec::new();
        for (start, kind) in STARTS {
            let plain = if kind == Kind::Token { SHORT } else { start };
            patterns.push(plain.to_owned());
            meanings.push((kind, None));
            // The text may begin at each of the three places of a group of octets. Characters that depend on
            // what is before or after it are left out.
            for (offset, first) in [(0_usize, 0_usize), (1, 2), (2, 3)] {
                let mut octets = vec![0; offset];
                octets.extend(start.bytes());
                let text = STANDARD_NO_PAD.encode(&octets);
                let last = octets.len().saturating_mul(8) / 6;
                if let Some(known) = text.get(first..last) {
                    patterns.push(known.to_owned());
                    meanings.push((kind, Some(first)));
                }
            }
        }
        let starts = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::Standard)
            .build(&patterns)?;
        Ok(Self { starts, meanings, kept: Vec::new(), line: 1 })
    }

    /// Takes the next part of the stream, and gives what is whole by now.
    pub fn part(&mut self, part: &[u8], found: impl FnMut(Candidate)) {
        // Texts in UTF-16 and UTF-32 are those in ASCII with octets of zero in between.
        match part.contains(&0) {
            true => self.kept.extend(part.iter().filter(|byte| **byte != 0)),
            false => self.kept.extend_from_slice(part),
        }
        if self.kept.len() > KEPT * 2 {
            self.scan(self.kept.len().saturating_sub(KEPT), found);
        }
    }

    /// Ends the stream, and gives the rest. The scanner begins anew.
    pub fn end(&mut self, found: impl FnMut(Candidate)) {
        self.scan(self.kept.len(), found);
        self.line = 1;
        self.kept.clear();
    }

    /// Gives the candidates that begin before `until`, and forgets what is before it.
    fn scan(&mut self, until: usize, mut found: impl FnMut(Candidate)) {
        let (mut counted, mut line) = (0_usize, self.line);
        for hit in self.starts.find_overlapping_iter(&self.kept) {
            let start = hit.start();
            if start >= until {
                break;
            }
            let Some((kind, group)) = self.meanings.get(hit.pattern().as_usize()).copied() else {
                continue;
            };
            let Some(rest) = self.kept.get(start..) else { continue };
            let read: Vec<(Read, Written)> = match (kind, group) {
                (kind, Some(before)) => in_base64(&self.kept, start, kind, before),
                (Kind::Token, None) => tokens(rest).into_iter().map(plainly).collect(),
                (Kind::Secret, None) => secret(rest).into_iter().map(plainly).collect(),
            };
            if read.is_empty() {
                continue;
            }
            let before = self.kept.get(counted..start).unwrap_or_default();
            line = line.saturating_add(lines(before));
            counted = start;
            for (read, written) in read {
                found(Candidate { kind: read.kind, text: read.text, written, line });
            }
        }
        let rest = self.kept.get(counted..until).unwrap_or_default();
        self.line = line.saturating_add(lines(rest));
        self.kept.drain(..until);
    }
}

fn plainly(read: Read) -> (Read, Written) {
    let written = if read.is_broken { Written::Broken } else { Written::Plain };
    (read, written)
}

/// The candidates in base64 that begin here. Once in base64 is enough.
fn in_base64(text: &[u8], start: usize, kind: Kind, before: usize) -> Vec<(Read, Written)> {
    // Most look-alikes end within the first octets.
    let [whole, short] = BASE64;
    let octets = decoded(text, start, before, short);
    let begin = STARTS.iter().find(|(_, own)| *own == kind).map_or("", |(start, _)| start);
    let place = octets.windows(begin.len()).take(4).position(|window| window == begin.as_bytes());
    let Some(rest) = place.and_then(|place| octets.get(place..)) else { return Vec::new() };
    let read = match kind {
        Kind::Token if has_header(rest) => {
            let octets = decoded(text, start, before, whole);
            place.and_then(|place| octets.get(place..)).map(tokens).unwrap_or_default()
        }
        Kind::Token => Vec::new(),
        Kind::Secret => secret(rest).into_iter().collect(),
    };
    read.into_iter().map(|read| (read, Written::Base64)).collect()
}

fn lines(text: &[u8]) -> u64 {
    u64::try_from(text.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use edgepass_jose::base64url;
    use fastrand::Rng;

    use super::*;

    const SECRET: &str = "edgepass_cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";

    fn token(alg: &str, signature: usize) -> String {
        let header = format!("{{\"alg\":\"{alg}\",\"kid\":\"edgepass-k\",\"typ\":\"at+jwt\"}}");
        let claims = "{\"iss\":\"https://issuer.example\",\"jti\":\"1\",\"scope\":\"a b c\"}";
        let part = |text: &str| base64url::encode(text.as_bytes());
        let signature: String = "Ab0_-xyZ".chars().cycle().take(signature).collect();
        format!("{}.{}.{signature}", part(header.as_str()), part(claims))
    }

    /// What is found in a stream, which comes in parts of a size: texts, how they are written, and lines.
    fn scan(text: &[u8], part: usize) -> Vec<(String, Written, u64)> {
        let (mut scanner, mut all) = (Scanner::new().unwrap(), Vec::new());
        let mut found = |it: Candidate| all.push((it.text.to_string(), it.written, it.line));
        for part in text.chunks(part) {
            scanner.part(part, &mut found);
        }
        scanner.end(&mut found);
        all
    }

    fn found(text: &str) -> Vec<(String, Written, u64)> {
        scan(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn plain_texts_are_found_wherever_they_are() {
        let token = token("EdDSA", 86);
        for around in [
            "{}",
            "token={}",
            "Authorization: Bearer {}\r\n",
            "\"{}\"",
            "['{}']",
            "https://x/?t={}&a=b",
            "edgepass_{}",
            "x{}.",
            "{}\nnext line of text",
            "{}AAAA",
        ] {
            let text = around.replace("{}", &token);
            assert_eq!(found(&text), [(token.clone(), Written::Plain, 1)], "{around}");
            let text = around.replace("{}", SECRET);
            let plain = found(&text);
            assert_eq!(plain.len(), 1, "{around}");
            assert_eq!(plain[0].0, SECRET);
        }
        let lines = format!("a\nb\n{token}\nc\n{SECRET}\n");
        let lines: Vec<u64> = found(&lines).into_iter().map(|(_, _, line)| line).collect();
        assert_eq!(lines, [3, 5]);
    }

    #[test]
    fn broken_and_encoded_texts_are_found() {
        let token = token("ES256", 86);
        let wrapped = |width: usize, end: &str| {
            let lines: Vec<String> = token
                .as_bytes()
                .chunks(width)
                .map(|it| String::from_utf8_lossy(it).into())
                .collect();
            lines.join(end)
        };
        for text in [
            wrapped(64, "\n"),
            wrapped(76, "\r\n"),
            wrapped(40, "\n      "),
            wrapped(60, "\" +\n    \""),
            wrapped(60, "\\\n"),
            wrapped(70, "\\n"),
            wrapped(70, "\n# "),
            token.replace('.', "%2E").replace('_', "%5f"),
        ] {
            let all = found(&format!("before {text} after"));
            assert_eq!(all, [(token.clone(), Written::Broken, 1)], "{text}");
        }
        for before in ["", "a", "ab", "abc", "{\"access_token\":\"", "Authorization: Bearer "] {
            for real in [token.as_str(), SECRET] {
                let inner = format!("{before}{real}\" more");
                let encoded = STANDARD.encode(&inner);
                let folded: Vec<&str> = encoded
                    .as_bytes()
                    .chunks(76)
                    .map(|it| std::str::from_utf8(it).unwrap())
                    .collect();
                for text in [&encoded, &URL_SAFE_NO_PAD.encode(&inner), &folded.join("\n")] {
                    let all = found(&format!("secret: {text}\n"));
                    assert_eq!(all.len(), 1, "{before}: {all:?}");
                    assert_eq!((all[0].0.as_str(), all[0].1), (real, Written::Base64), "{before}");
                }
            }
        }
    }

    #[test]
    fn the_size_of_parts_makes_no_difference() {
        let rng = &mut Rng::with_seed(3);
        let mut text = String::new();
        let mut expected = 0;
        for number in 0..400 {
            for _ in 0..rng.usize(0..3000) {
                text.push(char::from(*rng.choice(b" \nabcXYZ012=.eyJ-_\"").unwrap()));
            }
            match number % 3 {
                0 => text.push_str(&token("EdDSA", 86)),
                1 => text.push_str(&STANDARD.encode(SECRET)),
                _ => text.push_str(SECRET),
            }
            text.push('\n');
            expected += 1;
        }
        let whole = scan(text.as_bytes(), usize::MAX);
        assert_eq!(whole.len(), expected);
        for part in [1000, 4096, 65_536, 200_001] {
            assert_eq!(scan(text.as_bytes(), part), whole, "{part}");
        }
    }

    #[test]
    fn rsa_signatures_have_three_lengths_and_look_alikes_none() {
        for length in [342, 512, 683] {
            let token = token("RS256", length);
            assert!(found(&token).iter().any(|(text, ..)| *text == token), "{length}");
        }
        for text in [
            "eyJ",
            "eyJhbGciOi",
            "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.",
            "edgepass_cs_",
            "edgepass_cs_short",
            "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.AAAA",
            "eyJhbGciOiJFZERTQSJ9.AAAA.AAAA",
        ] {
            assert_eq!(found(text), [], "{text}");
            let repeated = found(&text.repeat(100));
            assert!(repeated.iter().all(|(found, ..)| found.starts_with("edgepass_cs_")), "{text}");
        }
        // Nothing that a stream may hold makes the scanner slow or panic.
        let rng = &mut Rng::with_seed(9);
        for _ in 0..200 {
            let text: Vec<u8> = (0..rng.usize(0..4000)).map(|_| rng.u8(..)).collect();
            drop(scan(&text, rng.usize(1..5000)));
        }
        assert_eq!(found(&"eyJhbGciOiJFZERTQSJ9.eyJ".repeat(20_000)), []);
    }
}
