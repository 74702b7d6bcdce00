//! Proofs that were used, so that none is used twice.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::time::UnixMillis;

/// One use of a proof, for a store that says whether it is the first.
#[derive(Clone)]
pub struct ProofUse {
    /// The same for every use of one proof at one target; says nothing of either. A digest, so that
    /// a long `jti` takes no more room.
    pub id: [u8; 32],
    /// The thumbprint of the client's key: what stores of several places may be divided by.
    pub key_thumbprint: String,
    /// `jti`, as the client wrote it.
    pub jwt_id: String,
    /// From then on the proof is refused by its age, and need not be remembered.
    pub until: UnixMillis,
}

/// What a store says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replay {
    /// The proof was not seen before; it is now.
    First,
    /// It was.
    Seen,
    /// The store does not answer: the request is refused for now.
    Unavailable,
}

/// The proofs seen by one isolate or process, bounded.
///
/// Two generations: a proof is remembered for at least as long as it is accepted, unless more than
/// [`ReplayMemory::CAPACITY`] come in that time, when the oldest are forgotten.
#[derive(Default)]
pub struct ReplayMemory {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
    /// The latest `until` of the young.
    young_until: UnixMillis,
    old_until: UnixMillis,
}

impl ProofUse {
    pub(crate) fn new(jwt_id: &str, target: &str, thumbprint: &str, until: UnixMillis) -> Self {
        let mut digest = Sha256::new();
        // The thumbprint has one length, and a target holds no line break.
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
    /// The most proofs of one generation.
    pub const CAPACITY: usize = 1 << 15;

    /// How many proofs are remembered.
    pub(crate) fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Remember this use.
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
