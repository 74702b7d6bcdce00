//! Tokens that were verified, so that the same text need not be parsed and verified again.
//!
//! A hit spares what depends on the text alone: parsing, `typ`, `alg` and `iss` by the policy, and,
//! when the key that is found now is the one that verified it, the signature. Everything that may have
//! changed is checked as for any other token: the key is looked up, and times, audience, binding, scope
//! and status are judged.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use foldhash::fast::FixedState;

use crate::token::{RememberedToken, UnverifiedToken};

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
    /// Whoever sends tokens chooses what is looked up, never what is kept: only verified ones are. So the
    /// hash need not be secret.
    tokens: HashSet<Entry, FixedState>,
    bytes: usize,
}

/// Found by the whole text of the token.
struct Entry(RememberedToken);

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.0.text()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text().hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.text() == other.0.text()
    }
}

impl Eq for Entry {}

impl VerifiedTokens {
    /// Of at most `max_bytes`; 0 turns it off.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let (young, old) = (Generation::default(), Generation::default());
        Self { max_bytes, young, old, hits: 0 }
    }

    pub(crate) fn find(&mut self, text: &str) -> Option<UnverifiedToken> {
        if let Some(Entry(token)) = self.young.tokens.get(text) {
            return Some(token.to_unverified());
        }
        let Entry(token) = self.old.take(text)?;
        let found = token.to_unverified();
        self.keep(token);
        Some(found)
    }

    /// The key of a token that was found is still the one that verified it.
    pub(crate) fn hit(&mut self) {
        self.hits = self.hits.saturating_add(1);
    }

    pub(crate) fn keep(&mut self, token: RememberedToken) {
        let (bytes, half) = (token.bytes(), self.max_bytes / 2);
        if bytes > half {
            return;
        }
        if self.young.bytes.saturating_add(bytes) > half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes = self.young.bytes.saturating_add(bytes);
        // Another key may have verified the same text: the newer takes its place. The old generation
        // does not hold it, since whatever is looked up there moves.
        if let Some(Entry(replaced)) = self.young.tokens.replace(Entry(token)) {
            self.young.bytes = self.young.bytes.saturating_sub(replaced.bytes());
        }
    }

    /// What has expired is of no use any more.
    pub(crate) fn forget(&mut self, text: &str) {
        let _ = self.young.take(text).or_else(|| self.old.take(text));
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
    fn take(&mut self, text: &str) -> Option<Entry> {
        let entry = self.tokens.take(text)?;
        self.bytes = self.bytes.saturating_sub(entry.0.bytes());
        Some(entry)
    }
}
