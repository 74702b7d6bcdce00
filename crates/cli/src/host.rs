//! The operating system's clock, randomness and limit of open files. Only this module reads them.

use std::time::SystemTime;

use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_server::ConnectionLimits;
use edgepass_verify::UnixMillis;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Reads the system clock. A time before 1970 gives 0.
#[expect(clippy::disallowed_methods, reason = "this is the host: the clock is read here")]
pub fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Fills `bytes` with randomness from the operating system.
///
/// # Errors
///
/// [`NoEntropy`]: the operating system provides none.
#[expect(clippy::disallowed_methods, reason = "this is the host: randomness is drawn here")]
pub fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    getrandom::fill(bytes).map_err(|_| NoEntropy)
}

/// Raises the soft limit of open files as far as needed and allowed. Returns the numbers of
/// connections to accept: together at most the limit less 96 files of the process itself. Where that
/// is not enough for both, half of it is for requests, at least 16.
pub fn make_room_for_connections() -> ConnectionLimits {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS + MAX_WATCHES + OWN_FILES;
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let mut files = current.unwrap_or(u64::MAX);
    let more = Rlimit { current: Some(most), maximum };
    if files < most && setrlimit(Resource::Nofile, more).is_ok() {
        files = most;
    }
    let room = files.saturating_sub(OWN_FILES).min(MAX_CONNECTIONS + MAX_WATCHES);
    let connections = (room / 2).clamp(16, MAX_CONNECTIONS);
    let count = |number: u64| usize::try_from(number).unwrap_or_default();
    ConnectionLimits {
        connections: count(connections),
        watches: count(room.saturating_sub(connections)),
    }
}

const MAX_CONNECTIONS: u64 = 4096;
/// The most requests that wait for a status head.
const MAX_WATCHES: u64 = 12_288;
/// Number of file descriptors reserved for the database, targets and the log.
const OWN_FILES: u64 = 96;

/// [`Entropy`] from the operating system.
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        fill(bytes)
    }
}
