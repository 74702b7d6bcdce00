//! Driving a check with what a JavaScript host offers.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use edgepass_verify::fetch::{Answer, Content, FetchOrder};
use edgepass_verify::verifier::{KeySource, Landed, Progress, Verifier};
use edgepass_verify::{Check, Demand, Policy, Verdict};
use js_sys::Function;

use crate::cache::{self, Entry};
use crate::clock::{Clock, sleep};
use crate::crypto::ImportedKeys;
use crate::fetch::fetch;

/// One issuer's verifier, shared by all requests of an isolate.
#[derive(Clone)]
pub struct WebVerifier(Rc<Inner>);

struct Inner {
    /// Borrowed only between awaits.
    verifier: RefCell<Verifier>,
    keys: ImportedKeys,
    cache: CacheTier,
    fetch: Option<Function>,
}

/// Whether isolates of a data centre share what they fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheTier {
    /// Through the Cache API.
    CacheApi,
    /// Not at all.
    None,
}

/// A verdict, and what remains to be done behind the response.
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Revalidations and cache writes; to be handed to `waitUntil`. Dropping it loses nothing but
    /// freshness.
    pub background: Option<Background>,
}

/// Work that outlives the verdict.
pub type Background = Pin<Box<dyn Future<Output = ()>>>;

impl WebVerifier {
    /// A verifier that holds nothing yet. `fetch` replaces the host's own.
    pub fn new(policy: Policy, keys: KeySource, cache: CacheTier, fetch: Option<Function>) -> Self {
        let verifier = RefCell::new(Verifier::new(policy, keys));
        Self(Rc::new(Inner { verifier, keys: ImportedKeys::default(), cache, fetch }))
    }

    /// Judge a token.
    pub async fn verify(&self, token: &str, demand: Demand, clock: Clock) -> Judged {
        let check = Check::begin(token, self.0.verifier.borrow().policy(), demand);
        self.judge(check, clock).await
    }

    /// Judge the token in an `Authorization` header.
    pub async fn verify_request(
        &self,
        authorization: Option<&str>,
        demand: Demand,
        clock: Clock,
    ) -> Judged {
        let check = Check::begin_request(authorization, self.0.verifier.borrow().policy(), demand);
        self.judge(check, clock).await
    }

    async fn judge(&self, mut check: Check, clock: Clock) -> Judged {
        let inner = &self.0;
        let mut behind = Vec::new();
        loop {
            let progress = inner.verifier.borrow_mut().advance(&mut check, clock.now());
            match progress {
                Progress::Decided(mut verdict) => {
                    let due = std::mem::take(&mut verdict.refresh);
                    let background = background(Rc::clone(inner), behind, due, clock);
                    return Judged { verdict, background };
                }
                Progress::Fetch(order) => behind.extend(inner.carry_out(order, clock).await),
                Progress::CheckSignature(request) => {
                    check.signature_checked(inner.keys.check(&request).await);
                }
                Progress::Wait(time) => sleep(time).await,
            }
        }
    }
}

impl Inner {
    /// Fetch a document, from the cache tier first if nothing usable is held. Gives back the cache
    /// write that remains to be done.
    async fn carry_out(&self, order: FetchOrder, clock: Clock) -> Option<Background> {
        if self.cache == CacheTier::CacheApi
            && order.may_read_cache
            && let Some(answer) = cache::restore(&order, clock.now()).await
        {
            self.land(order.clone(), answer, clock).await;
            if self.verifier.borrow_mut().release_if_fresh(&order, clock.now()) {
                return None;
            }
        }
        let answer = fetch(&order, self.fetch.as_ref(), clock).await;
        let confirmed_at = answer.confirmed_at;
        let received = (self.cache == CacheTier::CacheApi).then(|| answer.content.clone());
        self.land(order.clone(), answer, clock).await;
        if self.verifier.borrow().confirmed_at(&order) != Some(confirmed_at) {
            return None; // refused, or metadata: nothing to share
        }
        match received? {
            Content::Body { bytes, media_type, etag } => {
                let entry = Entry { bytes, media_type, etag, confirmed_at };
                Some(Box::pin(cache::keep(order, entry)))
            }
            Content::NotModified => Some(Box::pin(cache::confirm(order, confirmed_at))),
            Content::Failed => None,
        }
    }

    async fn land(&self, order: FetchOrder, answer: Answer, clock: Clock) {
        let landed = self.verifier.borrow_mut().land(order, answer, clock.now());
        if let Landed::CheckSignature(request, pending) = landed {
            let valid = self.keys.check(&request).await;
            self.verifier.borrow_mut().list_signature_checked(pending, valid, clock.now());
        }
    }
}

/// What remains to be done behind the response, if anything.
fn background(
    inner: Rc<Inner>,
    writes: Vec<Background>,
    due: Vec<FetchOrder>,
    clock: Clock,
) -> Option<Background> {
    if writes.is_empty() && due.is_empty() {
        return None;
    }
    Some(Box::pin(async move {
        for write in writes {
            write.await;
        }
        for order in due {
            if let Some(write) = inner.carry_out(order, clock).await {
                write.await;
            }
        }
    }))
}
