//! What a native process is given: its clock, its randomness, its open files. The only place that asks.

use std::time::SystemTime;

use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_verify::UnixMillis;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// How many connections may be open at once, beside the files that the process needs itself. It may open
/// as many files as the system lets it, from now on.
pub fn connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = if raised.is_ok() { maximum } else { current };
    let left = files.unwrap_or(u64::MAX).saturating_sub(OWN_FILES).clamp(16, 4096);
    usize::try_from(left).unwrap_or(16)
}

/// For the database, targets and the log.
const OWN_FILES: u64 = 96;

/// The operating system's randomness.
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        fill(bytes)
    }
}
