//! The native host of a verifier: a fetcher, a clock, timers of tokio, crypto of aws-lc-rs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use edgepass_verify::UnixMillis;
use edgepass_verify::checks::dpop::replay::{ProofUse, Replay, ReplayMemory};
use edgepass_verify::documents::fetch::{Answer, FetchOrder};
use edgepass_verify::documents::refused::Refused;
use edgepass_verify::host::{Host, HostCrypto, NoCache};
use edgepass_verify::signature::SignatureRequest;

use crate::http_fetch::Fetch;
use edgepass_verify::native::check_signature;

/// Native host with the fetcher `F` and the clock `N`. It remembers used DPoP proofs of its own
/// process only.
pub struct NativeHost<F, N> {
    /// The fetcher. Public, so that callers can read its records after a check.
    pub fetch: F,
    now: N,
    replay: Mutex<ReplayMemory>,
}

impl<F, N> NativeHost<F, N> {
    /// Creates a host that remembers no DPoP proofs yet.
    pub fn new(fetch: F, now: N) -> Self {
        Self { fetch, now, replay: Mutex::default() }
    }
}

impl<F, N> HostCrypto for NativeHost<F, N> {
    async fn check(&self, request: &SignatureRequest) -> bool {
        check_signature(request)
    }
}

impl<F: Fetch, N: Fn() -> UnixMillis> Host for NativeHost<F, N> {
    type Cache = NoCache;

    fn now(&self) -> UnixMillis {
        (self.now)()
    }

    async fn fetch(&self, order: &FetchOrder) -> Answer {
        self.fetch.fetch(order).await
    }

    async fn first_use(&self, used: ProofUse) -> Replay {
        let now = self.now();
        self.replay.lock().unwrap_or_else(PoisonError::into_inner).first_use(&used, now)
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn refused(&self, order: &FetchOrder, refused: Refused) {
        let (document, reason) = (order.document.name(), refused.name());
        tracing::warn!(document, reason, url = order.url, "a document was refused");
    }
}

/// Reads the system clock. A time before 1970 gives 0.
#[expect(clippy::disallowed_methods, reason = "this is a host: the clock is read here")]
pub fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
