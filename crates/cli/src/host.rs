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

/// Let the process open as many files as it may want, and tell how many connections leave it enough
/// for itself.
pub fn make_room_for_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS + OWN_FILES;
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let mut files = current.unwrap_or(u64::MAX);
    let more = Rlimit { current: Some(most), maximum };
    if files < most && setrlimit(Resource::Nofile, more).is_ok() {
        files = most;
    }
    let room = files.saturating_sub(OWN_FILES).clamp(16, MAX_CONNECTIONS);
    usize::try_from(room).unwrap_or(16)
}

const MAX_CONNECTIONS: u64 = 4096;
/// For the database, targets and the log.
const OWN_FILES: u64 = 96;

/// The operating system's randomness.
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        fill(bytes)
    }
}
