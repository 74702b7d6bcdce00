//! Tokens that were verified, so that the same text need not be parsed and verified again.
//!
//! A hit spares what depends on the text alone: parsing, `typ`, `alg` and `iss` by the policy, and,
//! when the key that is found now is the one that verified it, the signature. Everything that may have
//! changed is checked as for any other token: the key is looked up, and times, audience, binding, scope
//! and status are judged.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::checks::token::{RememberedToken, UnverifiedToken};

/// What tokens take by default, in bytes.
pub(crate) const DEFAULT_BYTES: usize = 4 << 20;

/// Two generations: when the young one is full it becomes the old one, whose tokens come back when they
/// are used, and are forgotten when not.
pub(crate) struct VerifiedTokens {
    max_bytes: usize,
    young: Generation,
    old: Generation,
    hits: u64,
}

#[derive(Default)]
struct Generation {
    /// By the hash of the whole text; the text itself is compared as well. Whoever
    /// sends tokens chooses what is looked up, never what is kept: only verified ones are. So the hash
    /// need not be secret, and of two tokens with one hash the newer is kept.
    tokens: HashMap<u64, RememberedToken, FixedState>,
    bytes: usize,
}

impl VerifiedTokens {
    /// Of at most `max_bytes`; 0 turns it off.
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

    /// The key of a token that was found is still the one that verified it.
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
        // Another key may have verified the same text: the newer takes its place. The old generation
        // does not hold it, since whatever is looked up there moves.
        if let Some(replaced) = self.young.tokens.insert(hash, token) {
            self.young.bytes = self.young.bytes.saturating_sub(replaced.bytes());
        }
    }

    /// What has expired is of no use any more.
    pub(crate) fn forget(&mut self, text: &str) {
        let hash = hash(text);
        let _ = self.young.take(hash, text).or_else(|| self.old.take(hash, text));
    }

    pub(crate) fn clear(&mut self) {
        (self.young, self.old) = (Generation::default(), Generation::default());
    }

    /// How many tokens needed no signature.
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

/// Whether two texts are the same, compared by eight octets: in Wasm the built-in way takes one by one.
fn same(a: &str, b: &str) -> bool {
    let ((a, a_rest), (b, b_rest)) = (a.as_bytes().as_chunks::<8>(), b.as_bytes().as_chunks::<8>());
    let equal = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b);
    a.len() == b.len() && a_rest == b_rest && a.iter().zip(b).all(equal)
}

fn hash(text: &str) -> u64 {
    FixedState::default().hash_one(text)
}
