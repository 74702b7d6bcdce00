//! The traits that a host implements, and the loop that drives a check to its verdict.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use crate::checks::Check;
use crate::checks::dpop::replay::{ProofUse, Replay};
use crate::documents::fetch::{Answer, Content, FetchOrder};
use crate::signature::SignatureRequest;
use crate::time::UnixMillis;
use crate::verdict::Verdict;
use crate::verifier::{HeldTimes, Progress, Received, Verifier};

/// A future that a host returns. It need not be `Send`.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Checks signatures that the verifier leaves to its host: ECDSA and RSA.
pub trait HostCrypto {
    /// Returns whether the signature is valid. `false` also if the host cannot check it.
    fn check<'a>(&'a self, request: &'a SignatureRequest) -> Later<'a, bool>;
}

/// The environment of a verifier: clock, timer, network, crypto, the store of used proofs and,
/// optionally, a shared cache.
pub trait Host: HostCrypto {
    /// Returns the current time.
    fn now(&self) -> UnixMillis;

    /// Fetches a document. Returns [`Answer::failed`] if the fetch fails.
    fn fetch<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, Answer>;

    /// Records this use of a DPoP proof and returns whether it is the first, or
    /// [`Replay::Unavailable`] if the store does not answer.
    fn first_use(&self, used: ProofUse) -> Later<'_, Replay>;

    /// Sleeps for `time`.
    fn sleep(&self, time: Duration) -> Later<'_, ()>;

    /// Returns the shared cache. Default: none.
    fn cache(&self) -> Option<&dyn SharedCache> {
        None
    }
}

/// A cache of documents that several verifiers share.
pub trait SharedCache {
    /// Returns the cache's copy of a document, or `None` for a miss. Called only if the verifier
    /// holds no copy.
    fn get<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, Option<Answer>>;

    /// Stores an answer of the source that the verifier accepted. [`Content::NotModified`] changes
    /// only the times of the cached copy. No request waits for this.
    fn put(&self, order: FetchOrder, content: Content, held: HeldTimes);
}

/// Drives a check to its verdict.
///
/// Refreshes that are due remain in [`Verdict::refresh`]. Pass each of them to [`carry_out`], after
/// the response if the host can do so.
pub async fn judge(verifier: &RefCell<Verifier>, mut check: Check, host: &dyn Host) -> Verdict {
    let progress = verifier.borrow_mut().advance(&mut check, host.now());
    go_on(verifier, check, progress, host).await
}

/// As [`judge`], but carries out the refreshes that are due before it returns the verdict.
pub async fn judge_and_refresh(
    verifier: &RefCell<Verifier>,
    check: Check,
    host: &dyn Host,
) -> Verdict {
    let mut verdict = judge(verifier, check, host).await;
    for order in std::mem::take(&mut verdict.refresh) {
        carry_out(verifier, order, host).await;
    }
    verdict
}

/// Drives a check to its verdict, from `progress`: the last result of [`Verifier::advance`].
pub async fn go_on(
    verifier: &RefCell<Verifier>,
    mut check: Check,
    mut progress: Progress,
    host: &dyn Host,
) -> Verdict {
    loop {
        match progress {
            Progress::Decided(verdict) => return verdict,
            Progress::Fetch(order) => carry_out(verifier, order, host).await,
            Progress::CheckSignature(request) => {
                check.signature_checked(host.check(&request).await);
            }
            Progress::CheckReplay(used) => check.replay_checked(host.first_use(used).await),
            Progress::Wait(time) => host.sleep(time).await,
        }
        progress = verifier.borrow_mut().advance(&mut check, host.now());
    }
}

/// Fetches a document and passes the answer to the verifier. Reads the shared cache first if the
/// order allows it; a fresh copy from there replaces the fetch. Follows the redirects that the
/// verifier allows.
pub async fn carry_out(verifier: &RefCell<Verifier>, mut order: FetchOrder, host: &dyn Host) {
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
        let received = verifier.borrow_mut().receive(order.clone(), answer, host.now());
        let taken = match received {
            Received::Settled { taken } => taken,
            Received::CheckSignature(request, pending) => {
                let valid = host.check(&request).await;
                verifier.borrow_mut().list_signature_checked(*pending, valid, host.now())
            }
            // A redirect in a cached copy is not followed.
            Received::Fetch(_) if is_copy => false,
            Received::Fetch(next) => {
                order = next;
                continue;
            }
        };
        if !is_copy {
            // Metadata and aggregations have no confirmation time and are not cached.
            if taken
                && let Some((cache, content)) = to_share
                && let Some(held) = verifier.borrow().held_times(&order)
            {
                cache.put(order, content, held);
            }
            return;
        }
        if verifier.borrow_mut().release_if_fresh(&order, host.now()) {
            return;
        }
    }
}
