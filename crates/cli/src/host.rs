//! The clock and the randomness of a native process. The only place that reads either.

use std::time::SystemTime;

use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_verify::UnixMillis;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the host: the clock is read here")]
pub fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Fill with the operating system's randomness.
///
/// # Errors
///
/// [`NoEntropy`].
#[expect(clippy::disallowed_methods, reason = "this is the host: randomness is drawn here")]
pub fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    getrandom::fill(bytes).map_err(|_| NoEntropy)
}

/// The operating system's randomness.
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        fill(bytes)
    }
}
