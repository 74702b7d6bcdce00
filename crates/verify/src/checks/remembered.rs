//! Verified tokens, remembered so that the same text need not be parsed and verified again.
//!
//! For a remembered token the verifier skips the parts that depend on the text alone: parsing, the
//! policy's rules for `typ`, `alg` and `iss`, and the signature, if the key found now is the one
//! that verified it. Everything that may have changed is judged as for any other token: key, times,
//! audience, binding, scope and status.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::checks::token::{RememberedToken, UnverifiedToken};

/// The default memory limit: 4 MiB.
pub(crate) const DEFAULT_BYTES: usize = 4 << 20;

/// Remembered tokens in two generations, each of at most half the memory limit. When the young one
/// is full, the old one is forgotten and the young one becomes the old one. A token that is found
/// in the old generation moves to the young one.
pub(crate) struct VerifiedTokens {
    max_bytes: usize,
    young: Generation,
    old: Generation,
    hits: u64,
}

#[derive(Default)]
struct Generation {
    /// Tokens by the hash of their text; the text itself is compared as well. A client chooses
    /// which texts are looked up, but only verified tokens are kept. So the hash need not be
    /// secret. Of two tokens with the same hash the newer is kept.
    tokens: HashMap<u64, RememberedToken, FixedState>,
    bytes: usize,
}

impl VerifiedTokens {
    /// Keeps tokens of at most `max_bytes` in all; 0 remembers none.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let (young, old) = (Generation::default(), Generation::default());
        Self { max_bytes, young, old, hits: 0 }
    }

    pub(crate) fn find(&mut self, text: &str) -> Option<UnverifiedToken> {
        let hash = hash(text);
        if let Some(token) = self.young.get(hash, text) {
            return Some(token.to_unverified());
        }
        let token = self.old.take(hash, text)?;
        let found = token.to_unverified();
        self.put(hash, token);
        Some(found)
    }

    /// Counts a found token whose key is still the one that verified it.
    pub(crate) fn hit(&mut self) {
        self.hits = self.hits.saturating_add(1);
    }

    pub(crate) fn keep(&mut self, token: RememberedToken) {
        self.put(hash(token.text()), token);
    }

    fn put(&mut self, hash: u64, token: RememberedToken) {
        let (bytes, half) = (token.bytes(), self.max_bytes / 2);
        if bytes > half {
            return;
        }
        if self.young.bytes.saturating_add(bytes) > half {
            let count = self.young.tokens.len();
            self.old = std::mem::take(&mut self.young);
            self.young.tokens.reserve(count);
        }
        self.young.bytes = self.young.bytes.saturating_add(bytes);
        // Another key may have verified the same text: the newer entry replaces the other. The old
        // generation does not hold the text, because a lookup moves it to the young one.
        if let Some(replaced) = self.young.tokens.insert(hash, token) {
            self.young.bytes = self.young.bytes.saturating_sub(replaced.bytes());
        }
    }

    /// Forgets a token that has expired.
    pub(crate) fn forget(&mut self, text: &str) {
        let hash = hash(text);
        let _ = self.young.take(hash, text).or_else(|| self.old.take(hash, text));
    }

    pub(crate) fn clear(&mut self) {
        (self.young, self.old) = (Generation::default(), Generation::default());
    }

    /// The number of calls of [`VerifiedTokens::hit`]: checks that skipped the signature.
    pub(crate) fn hits(&self) -> u64 {
        self.hits
    }
}

impl Generation {
    fn get(&self, hash: u64, text: &str) -> Option<&RememberedToken> {
        self.tokens.get(&hash).filter(|token| same(token.text(), text))
    }

    fn take(&mut self, hash: u64, text: &str) -> Option<RememberedToken> {
        self.get(hash, text)?;
        let token = self.tokens.remove(&hash)?;
        self.bytes = self.bytes.saturating_sub(token.bytes());
        Some(token)
    }
}

/// Whether two texts are equal. Compares eight octets at a time; in Wasm the built-in comparison
/// takes them one by one.
fn same(a: &str, b: &str) -> bool {
    let ((a, a_rest), (b, b_rest)) = (a.as_bytes().as_chunks::<8>(), b.as_bytes().as_chunks::<8>());
    let equal = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b);
    a.len() == b.len() && a_rest == b_rest && a.iter().zip(b).all(equal)
}

fn hash(text: &str) -> u64 {
    FixedState::default().hash_one(text)
}
