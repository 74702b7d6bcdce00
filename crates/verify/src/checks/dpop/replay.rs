//! Used proofs, recorded so that none is used twice.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::time::UnixMillis;

/// One use of a proof, for a store that decides whether it is the first.
#[derive(Clone)]
pub struct ProofUse {
    /// The SHA-256 digest of key thumbprint, URL and `jti`: the same for every use of the proof. It
    /// reveals none of them, and a long `jti` takes no more space.
    pub id: [u8; 32],
    /// The thumbprint of the client's key. A store may be partitioned by it.
    pub key_thumbprint: String,
    /// The claim `jti`, as the client wrote it.
    pub jwt_id: String,
    /// From this time on the proof, or its nonce, is too old to be accepted, and the store may
    /// forget it.
    pub until: UnixMillis,
}

/// The answer of a store of used proofs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replay {
    /// The proof was not used before. The store has now recorded it.
    First,
    /// The proof was used before.
    Seen,
    /// The store does not answer. The token is refused; a later attempt may succeed.
    Unavailable,
}

/// A memory of the proofs that one isolate or process has seen, of bounded size.
///
/// It has two generations. A proof is remembered for at least as long as it is accepted, unless
/// more than [`ReplayMemory::CAPACITY`] proofs arrive in that time: then the oldest are forgotten.
#[derive(Default)]
pub struct ReplayMemory {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
    /// The latest `until` of the young generation.
    young_until: UnixMillis,
    /// The latest `until` of the old generation. From then on it can be forgotten.
    old_until: UnixMillis,
}

impl ProofUse {
    pub(crate) fn new(jwt_id: &str, target: &str, thumbprint: &str, until: UnixMillis) -> Self {
        let mut digest = Sha256::new();
        // The parts cannot be confused: the thumbprint has a fixed length, and the URL has no line
        // feed.
        digest.update(thumbprint);
        digest.update(target);
        digest.update("\n");
        digest.update(jwt_id);
        Self {
            id: digest.finalize().into(),
            key_thumbprint: thumbprint.to_owned(),
            jwt_id: jwt_id.to_owned(),
            until,
        }
    }
}

impl ReplayMemory {
    /// The maximum number of proofs in one of the two generations.
    pub const CAPACITY: usize = 1 << 15;

    /// The number of remembered proofs.
    pub(crate) fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Records this use and returns whether it is the first. Never returns
    /// [`Replay::Unavailable`].
    pub fn first_use(&mut self, proof: &ProofUse, now: UnixMillis) -> Replay {
        if self.old_until <= now || self.young.len() >= Self::CAPACITY {
            self.old = std::mem::take(&mut self.young);
            self.old_until = std::mem::take(&mut self.young_until);
        }
        if self.old.contains(&proof.id) || !self.young.insert(proof.id) {
            return Replay::Seen;
        }
        self.young_until = self.young_until.max(proof.until);
        Replay::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(jwt_id: &str, target: &str, until: u64) -> ProofUse {
        ProofUse::new(jwt_id, target, "k", UnixMillis(until))
    }

    #[test]
    fn a_proof_is_used_once_for_each_target() {
        let mut memory = ReplayMemory::default();
        let mut first =
            |jwt_id, target| memory.first_use(&proof(jwt_id, target, 900), UnixMillis(0));
        assert_eq!(first("a", "t"), Replay::First);
        assert_eq!(first("a", "t"), Replay::Seen);
        assert_eq!(first("b", "t"), Replay::First);
        assert_eq!(first("a", "u"), Replay::First);
        assert_eq!(first("b", "t"), Replay::Seen);
    }

    #[test]
    fn a_proof_is_remembered_while_it_is_accepted_and_forgotten_later() {
        let mut memory = ReplayMemory::default();
        for start in (0..100_000).step_by(100) {
            let used = proof(&start.to_string(), "t", start + 900);
            assert_eq!(memory.first_use(&used, UnixMillis(start)), Replay::First);
            for back in (0..900).step_by(300).filter(|back| *back <= start) {
                let again = proof(&(start - back).to_string(), "t", start - back + 900);
                assert_eq!(memory.first_use(&again, UnixMillis(start)), Replay::Seen, "{back}");
            }
            assert!(memory.young.len() + memory.old.len() < 40);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = ReplayMemory::default();
        for number in 0..3 * ReplayMemory::CAPACITY {
            let used = proof(&number.to_string(), "t", u64::MAX);
            assert_eq!(memory.first_use(&used, UnixMillis(0)), Replay::First);
        }
        assert!(memory.young.len() + memory.old.len() <= 2 * ReplayMemory::CAPACITY);
    }
}
