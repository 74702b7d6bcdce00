//! The location of a token's status. The token's `exp` determines the window of the list, a
//! permutation the index.

use sha2::{Digest, Sha256};

/// The period in which the tokens of a list expire. Tokens that expire in the same window share
/// lists, so that a list can be retired once its last token has expired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExpiryWindow {
    /// End of the window, in seconds. All tokens of its lists have expired by then.
    pub end: u64,
}

/// Time for which a list is still served after the end of its window, in seconds. Equals the
/// longest leeway of a verifier.
pub const RETIRE_AFTER: u64 = 5 * 60;

impl ExpiryWindow {
    /// The window of a token that expires at `expiration`, where no token lives longer than
    /// `longest_lifetime` (both in seconds). A window is a sixth of that lifetime wide, at least 10
    /// minutes.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::status_index::ExpiryWindow;
    ///
    /// // Tokens live at most an hour, so windows are ten minutes wide.
    /// assert_eq!(ExpiryWindow::of(601, 3600).end, 1200);
    /// assert_eq!(ExpiryWindow::of(1200, 3600).end, 1200);
    /// ```
    pub fn of(expiration: u64, longest_lifetime: u64) -> Self {
        let width = (longest_lifetime / 6).max(600);
        Self { end: expiration.div_ceil(width).saturating_mul(width) }
    }
}

/// The index of the `counter`-th token of a list: a keyed permutation of `0..capacity`. Indices
/// reveal neither the order nor the number of tokens. Different counters give different indices.
///
/// The permutation is an eight-round Feistel network over the smallest even number of bits that
/// holds every index. It is repeated until the value is below `capacity`. `counter` must be below
/// `capacity`.
///
/// Source: draft-ietf-oauth-status-list-20 §13.3 asks for unpredictable indices.
///
/// # Example
///
/// ```
/// use edgepass_issuer::status_index::permute;
///
/// let mut indices: Vec<u32> = (0..1024).map(|n| permute(&[5; 32], n, 1024)).collect();
/// indices.sort_unstable();
/// assert!(indices.into_iter().eq(0..1024));
/// ```
pub fn permute(secret: &[u8; 32], counter: u32, capacity: u32) -> u32 {
    let bits = capacity.max(2).next_power_of_two().trailing_zeros();
    let half = bits.div_ceil(2);
    let mask = (1_u32 << half).wrapping_sub(1);
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
