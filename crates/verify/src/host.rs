//! What a verifier asks of the place it runs in, and the way of a check to its verdict there.

use std::cell::RefCell;
use std::time::Duration;

use crate::checks::Check;
use crate::checks::dpop::replay::{ProofUse, Replay};
use crate::documents::fetch::{Answer, Content, FetchOrder};
use crate::signature::SignatureRequest;
use crate::time::UnixMillis;
use crate::verdict::Verdict;
use crate::verifier::{Landed, Progress, Verifier};

/// Checks signatures that the verifier leaves to its host: ECDSA and RSA.
pub trait HostCrypto {
    /// Whether the signature is valid. What the host cannot do is not valid.
    fn check(&self, request: &SignatureRequest) -> impl Future<Output = bool>;
}

/// The place where a verifier runs.
pub trait Host: HostCrypto {
    /// The time now.
    fn now(&self) -> UnixMillis;

    /// Fetch a document. A failure is an answer, too.
    fn fetch(&self, order: &FetchOrder) -> impl Future<Output = Answer>;

    /// Remember this use of a DPoP proof, and say whether it is the first.
    fn first_use(&self, used: ProofUse) -> impl Future<Output = Replay>;

    /// Let this much time pass.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()>;

    /// Whether verifiers share what they fetch, by the two methods that follow.
    fn shares(&self) -> bool {
        false
    }

    /// A copy that was shared; asked for only while the verifier holds nothing that it could use.
    fn shared(&self, _order: &FetchOrder) -> impl Future<Output = Option<Answer>> {
        async { None }
    }

    /// Share what the source answered to an order, and the verifier took in.
    fn share(&self, _order: FetchOrder, _content: Content, _confirmed_at: UnixMillis) {}
}

/// Take a check to its verdict.
///
/// Refreshes that are due then are left in [`Verdict::refresh`]: each is for [`carry_out`], behind the
/// response where the host can do that.
pub async fn judge(verifier: &RefCell<Verifier>, mut check: Check, host: &impl Host) -> Verdict {
    let progress = verifier.borrow_mut().advance(&mut check, host.now());
    go_on(verifier, check, progress, host).await
}

/// The same, and carry out what is due then, before the verdict is given.
pub async fn judge_and_refresh(
    verifier: &RefCell<Verifier>,
    check: Check,
    host: &impl Host,
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
    host: &impl Host,
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
pub async fn carry_out(verifier: &RefCell<Verifier>, mut order: FetchOrder, host: &impl Host) {
    if order.may_read_cache
        && let Some(answer) = host.shared(&order).await
    {
        // A shared copy never leads elsewhere.
        let _ = land(verifier, order.clone(), answer, host).await;
        if verifier.borrow_mut().release_if_fresh(&order, host.now()) {
            return;
        }
    }
    loop {
        let answer = host.fetch(&order).await;
        let received = host.shares().then(|| (order.clone(), answer.content.clone()));
        match land(verifier, order, answer, host).await {
            Outcome::Follow(next) => order = next,
            Outcome::Settled { taken } => {
                // Metadata has no time of confirmation, and is not shared.
                if taken
                    && let Some((order, content)) = received
                    && let Some(confirmed_at) = verifier.borrow().confirmed_at(&order)
                {
                    host.share(order, content, confirmed_at);
                }
                return;
            }
        }
    }
}

/// What became of an answer, its signature checked.
enum Outcome {
    Settled { taken: bool },
    Follow(FetchOrder),
}

async fn land(
    verifier: &RefCell<Verifier>,
    order: FetchOrder,
    answer: Answer,
    host: &impl Host,
) -> Outcome {
    let landed = verifier.borrow_mut().land(order, answer, host.now());
    match landed {
        Landed::Settled { taken } => Outcome::Settled { taken },
        Landed::Fetch(next) => Outcome::Follow(next),
        Landed::CheckSignature(request, pending) => {
            let valid = host.check(&request).await;
            let mut verifier = verifier.borrow_mut();
            let taken = verifier.list_signature_checked(*pending, valid, host.now());
            Outcome::Settled { taken }
        }
    }
}
