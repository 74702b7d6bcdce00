//! What a verifier asks of the place it runs in, and the way of a check to its verdict there.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use crate::checks::Check;
use crate::checks::dpop::replay::{ProofUse, Replay};
use crate::documents::fetch::{Answer, Content, FetchOrder};
use crate::signature::SignatureRequest;
use crate::time::UnixMillis;
use crate::verdict::Verdict;
use crate::verifier::{Progress, Received, Verifier};

/// What a host gives when it is ready.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Checks signatures that the verifier leaves to its host: ECDSA and RSA.
pub trait HostCrypto {
    /// Whether the signature is valid. What the host cannot do is not valid.
    fn check<'a>(&'a self, request: &'a SignatureRequest) -> Later<'a, bool>;
}

/// The place where a verifier runs.
pub trait Host: HostCrypto {
    /// The time now.
    fn now(&self) -> UnixMillis;

    /// Fetch a document. A failure is an answer, too.
    fn fetch<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, Answer>;

    /// Remember this use of a DPoP proof, and say whether it is the first.
    fn first_use(&self, used: ProofUse) -> Later<'_, Replay>;

    /// Let this much time pass.
    fn sleep(&self, time: Duration) -> Later<'_, ()>;

    /// The cache that verifiers share, if there is one.
    fn cache(&self) -> Option<&dyn SharedCache> {
        None
    }
}

/// A cache of documents that verifiers share.
pub trait SharedCache {
    /// Its copy of a document; asked for only while the verifier holds nothing that it could use.
    fn get<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, Option<Answer>>;

    /// Keep what the source answered to an order, and the verifier took in. Nobody waits for that.
    fn put(&self, order: FetchOrder, content: Content, confirmed_at: UnixMillis);
}

/// Take a check to its verdict.
///
/// Refreshes that are due then are left in [`Verdict::refresh`]: each is for [`carry_out`], behind the
/// response where the host can do that.
pub async fn judge(verifier: &RefCell<Verifier>, mut check: Check, host: &dyn Host) -> Verdict {
    let progress = verifier.borrow_mut().advance(&mut check, host.now());
    go_on(verifier, check, progress, host).await
}

/// The same, and carry out what is due then, before the verdict is given.
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

/// Take a check to its verdict that has come to `progress`.
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

/// Fetch a document and hand it to the verifier, wherever redirects lead.
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
            // A cached copy leads nowhere else.
            Received::Fetch(_) if is_copy => false,
            Received::Fetch(next) => {
                order = next;
                continue;
            }
        };
        if !is_copy {
            // Metadata has no time of confirmation, and is not shared.
            if taken
                && let Some((cache, content)) = to_share
                && let Some(confirmed_at) = verifier.borrow().confirmed_at(&order)
            {
                cache.put(order, content, confirmed_at);
            }
            return;
        }
        if verifier.borrow_mut().release_if_fresh(&order, host.now()) {
            return;
        }
    }
}
