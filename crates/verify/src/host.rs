//! The traits that a host implements, and the loop that drives a check to its verdict.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::checks::Check;
use crate::checks::dpop::replay::{ProofUse, Replay};
use crate::documents::fetch::{Answer, Content, FetchOrder};
use crate::documents::refused::Refused;
use crate::signature::SignatureRequest;
use crate::time::UnixMillis;
use crate::verdict::Verdict;
use crate::verifier::{HeldTimes, Progress, Received, Verifier, Watch, Watching};

/// Checks signatures that the verifier leaves to its host: ECDSA and RSA, and Ed25519 if the host has answered
/// [`questions`](crate::host_ed25519::questions).
pub trait HostCrypto {
    /// Returns whether the signature is valid. `false` also if the host cannot check it.
    fn check(&self, request: &SignatureRequest) -> impl Future<Output = bool>;
}

/// The environment of a verifier: clock, timer, network, crypto, the store of used proofs and,
/// optionally, a shared cache.
pub trait Host: HostCrypto {
    /// The shared cache: [`NoCache`] for a host without one.
    type Cache: SharedCache;

    /// Returns the current time.
    fn now(&self) -> UnixMillis;

    /// Fetches a document. Returns [`Answer::failed`] or [`Answer::failed_by`] if the fetch fails.
    fn fetch(&self, order: &FetchOrder) -> impl Future<Output = Answer>;

    /// Records this use of a DPoP proof and returns whether it is the first, or
    /// [`Replay::Unavailable`] if the store does not answer.
    fn first_use(&self, used: ProofUse) -> impl Future<Output = Replay>;

    /// Sleeps for `time`.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()>;

    /// Takes the reason why the answer to `order` was refused, for a log. Default: does nothing.
    fn refused(&self, _order: &FetchOrder, _refused: Refused) {}

    /// Returns the shared cache. Default: none.
    fn cache(&self) -> Option<&Self::Cache> {
        None
    }
}

/// A cache of documents that several verifiers share.
pub trait SharedCache {
    /// Returns the cache's copy of a document, or `None` for a miss. Called only if the verifier
    /// holds no copy.
    fn get(&self, order: &FetchOrder) -> impl Future<Output = Option<Answer>>;

    /// Stores an answer of the source that the verifier accepted. [`Content::NotModified`] changes
    /// only the times of the cached copy. No request waits for this.
    fn put(&self, order: FetchOrder, content: Content, held: HeldTimes);
}

/// The cache of a host without one. It has no values.
pub enum NoCache {}

impl SharedCache for NoCache {
    async fn get(&self, _order: &FetchOrder) -> Option<Answer> {
        match *self {}
    }

    fn put(&self, _order: FetchOrder, _content: Content, _held: HeldTimes) {
        match *self {}
    }
}

/// A verifier that several checks use in turn: in a `RefCell` on one thread, in a `Mutex` on
/// several.
pub trait Shared {
    /// Calls `act` with the verifier. Nothing is awaited meanwhile.
    fn with<T>(&self, act: impl FnOnce(&mut Verifier) -> T) -> T;
}

impl Shared for RefCell<Verifier> {
    fn with<T>(&self, act: impl FnOnce(&mut Verifier) -> T) -> T {
        act(&mut self.borrow_mut())
    }
}

impl Shared for Mutex<Verifier> {
    fn with<T>(&self, act: impl FnOnce(&mut Verifier) -> T) -> T {
        act(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Drives a check to its verdict.
///
/// Refreshes that are due remain in [`Verdict::refresh`]. Pass each of them to [`carry_out`], after
/// the response if the host can do so.
pub async fn judge(verifier: &impl Shared, mut check: Check, host: &impl Host) -> Verdict {
    let progress = verifier.with(|verifier| verifier.advance(&mut check, host.now()));
    go_on(verifier, check, progress, host).await
}

/// As [`judge`], but carries out the refreshes that are due before it returns the verdict.
pub async fn judge_and_refresh(verifier: &impl Shared, check: Check, host: &impl Host) -> Verdict {
    let mut verdict = judge(verifier, check, host).await;
    for order in std::mem::take(&mut verdict.refresh) {
        carry_out(verifier, order, host).await;
    }
    verdict
}

/// Drives a check to its verdict, from `progress`: the last result of [`Verifier::advance`].
pub async fn go_on(
    verifier: &impl Shared,
    mut check: Check,
    mut progress: Progress,
    host: &impl Host,
) -> Verdict {
    loop {
        match progress {
            Progress::Decided(verdict) => return verdict,
            // In a box: a check that fetches nothing then stays small.
            Progress::Fetch(order) => Box::pin(carry_out(verifier, order, host)).await,
            Progress::CheckSignature(request) => {
                check.signature_checked(host.check(&request).await);
            }
            Progress::CheckReplay(used) => check.replay_checked(host.first_use(used).await),
            Progress::Wait(time) => host.sleep(time).await,
        }
        progress = verifier.with(|verifier| verifier.advance(&mut check, host.now()));
    }
}

/// Takes the next step of a watch. Repeat until it returns `false`: the watch is over then, or when
/// the host drops it. No request waits for it.
pub async fn watch_on(verifier: &impl Shared, watch: &Watch, host: &impl Host) -> bool {
    match verifier.with(|verifier| verifier.watch_step(watch, host.now())) {
        Watching::Fetch(order) => carry_out(verifier, order, host).await,
        Watching::Pause(time) => host.sleep(time).await,
        Watching::Ended => return false,
    }
    true
}

/// Fetches a document and passes the answer to the verifier. Reads the shared cache first if the
/// order allows it; a fresh copy from there replaces the fetch. Follows the redirects that the
/// verifier allows.
pub async fn carry_out(verifier: &impl Shared, mut order: FetchOrder, host: &impl Host) {
    let cache = host.cache();
    let mut copy = match cache.filter(|_| order.may_read_cache) {
        Some(cache) => cache.get(&order).await,
        None => None,
    };
    loop {
        let is_copy = copy.is_some();
        let answer = match copy.take() {
            Some(copy) => copy,
            None => host.fetch(&order).await,
        };
        let to_share = cache.filter(|_| !is_copy).map(|cache| (cache, answer.content.clone()));
        let asked = order.clone();
        let mut received = verifier.with(|verifier| verifier.receive(asked, answer, host.now()));
        if let Received::CheckSignature(request, pending) = received {
            let valid = host.check(&request).await;
            received = verifier
                .with(|verifier| verifier.document_signature_checked(pending, valid, host.now()));
        }
        let taken = match received {
            Received::Settled { taken, refused } => {
                if let Some(refused) = refused.filter(|_| !is_copy) {
                    host.refused(&order, refused);
                }
                taken
            }
            Received::Fetch(next) if !is_copy => {
                order = next;
                continue;
            }
            // A redirect in a cached copy is not followed.
            Received::Fetch(_) | Received::CheckSignature(..) => false,
        };
        if !is_copy {
            // Metadata and aggregations have no confirmation time and are not cached.
            if taken
                && let Some((cache, content)) = to_share
                && let Some(held) = verifier.with(|verifier| verifier.held_times(&order))
            {
                cache.put(order, content, held);
            }
            return;
        }
        if verifier.with(|verifier| verifier.release_if_fresh(&order, host.now())) {
            return;
        }
    }
}
