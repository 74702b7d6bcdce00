//! The operating system's clock, randomness and limit of open files. Only this module reads them.

use std::time::SystemTime;

use edgepass_issuer::entropy::{Entropy, NoEntropy};
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

/// Raises the soft limit of open files as far as needed and allowed. Returns the number of
/// connections to accept: the limit less 96 files of the process itself, but at least 16 and at
/// most 4096.
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
/// Number of file descriptors reserved for the database, targets and the log.
const OWN_FILES: u64 = 96;

/// [`Entropy`] from the operating system.
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        fill(bytes)
    }
}
