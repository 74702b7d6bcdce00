//! Where a token's status lies: which list by its expiry, which index in it.

use sha2::{Digest, Sha256};

/// Lists are sharded by expiry: tokens that expire in the same window share lists, so that a whole
/// list can be retired once its last token has expired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExpiryWindow {
    /// In seconds; every token of the window's lists has expired by then.
    pub end: u64,
}

/// How long after its window a list is still served: verifiers' leeway is at most this.
pub const RETIRE_AFTER: u64 = 5 * 60;

impl ExpiryWindow {
    /// The window of a token that expires at `expiration`, when no token lives longer than
    /// `longest_lifetime` (both in seconds). Windows are a sixth of that, at least 10 minutes wide.
    pub fn of(expiration: u64, longest_lifetime: u64) -> Self {
        let width = (longest_lifetime / 6).max(600);
        Self { end: expiration.div_ceil(width).saturating_mul(width) }
    }
}

/// The index for the `counter`-th token of a list: a keyed permutation of `0..capacity`, so that
/// indices tell nothing about order or number, and none is used twice as long as no counter is.
///
/// An eight-round Feistel network over the smallest even number of bits that holds `capacity`,
/// walked until the value falls inside. `counter` must be below `capacity`.
///
/// Source: draft-ietf-oauth-status-list-20 §13.3 asks for unpredictable indices.
pub fn permute(secret: &[u8; 32], counter: u32, capacity: u32) -> u32 {
    let bits = capacity.max(2).next_power_of_two().trailing_zeros();
    let half = bits.div_ceil(2);
    let mask = (1_u32 << half) - 1;
    let mut value = counter;
    loop {
        let (mut left, mut right) = (value >> half, value & mask);
        for round in 0..8_u8 {
            let mixed = left ^ (round_function(secret, round, right) & mask);
            (left, right) = (right, mixed);
        }
        value = (left << half) | right;
        if value < capacity {
            return value;
        }
    }
}

fn round_function(secret: &[u8; 32], round: u8, value: u32) -> u32 {
    let digest = Sha256::new()
        .chain_update(secret)
        .chain_update([round])
        .chain_update(value.to_be_bytes())
        .finalize();
    digest.iter().take(4).fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_permutation_hits_every_index_once() {
        for capacity in [1_u32, 2, 3, 7, 64, 100, 1000, 4096] {
            let seen: HashSet<u32> =
                (0..capacity).map(|n| permute(&[5; 32], n, capacity)).collect();
            assert_eq!(seen.len(), capacity as usize);
            assert!(seen.iter().all(|index| *index < capacity));
        }
    }

    #[test]
    fn the_order_depends_on_the_secret() {
        let order = |secret| (0..100).map(|n| permute(&[secret; 32], n, 100)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_ends_at_or_after_its_tokens() {
        for (expiration, longest, end) in
            [(1, 3600, 600), (600, 3600, 600), (601, 3600, 1200), (601, 86_400, 14_400), (0, 1, 0)]
        {
            assert_eq!(ExpiryWindow::of(expiration, longest).end, end);
        }
    }
}
