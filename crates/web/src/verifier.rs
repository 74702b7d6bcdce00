//! Driving a check with what a JavaScript host offers.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgepass_verify::checks::dpop::replay::{ProofUse, Replay, ReplayMemory};
use edgepass_verify::documents::fetch::{Answer, Content, FetchOrder};
use edgepass_verify::documents::refused::RefusedCounts;
use edgepass_verify::host::{self, Host, HostCrypto, Later, SharedCache};
use edgepass_verify::signature::SignatureRequest;
use edgepass_verify::verdict::Accepted;
use edgepass_verify::verifier::{Confirmed, Counters, Progress, Verifier};
use edgepass_verify::{Check, Request, Requirements, Sender, UnixMillis, Verdict};

use crate::cache::{self, Entry};
use crate::clock::{Clock, sleep};
use crate::crypto::WebCrypto;
use crate::fetch::{Source, fetch};

/// A verifier with what it needs of the host, shared by all requests of an isolate.
#[derive(Clone)]
pub struct WebVerifier(Rc<Inner>);

struct Inner {
    /// Borrowed only between awaits.
    verifier: RefCell<Verifier>,
    crypto: WebCrypto,
    replay: Box<dyn ReplayStore>,
    cache: CacheTier,
    source: Source,
    /// When somebody last worked behind a response.
    worked_at: Cell<Option<UnixMillis>>,
}

/// Remembers which DPoP proofs were used.
pub trait ReplayStore {
    /// Remember this use, and say whether it is the first.
    fn first_use(&self, used: ProofUse, now: UnixMillis) -> Later<'_, Replay>;
}

/// The proofs seen by this isolate. Another isolate does not know of them.
#[derive(Default)]
pub struct IsolateReplay(RefCell<ReplayMemory>);

impl ReplayStore for IsolateReplay {
    fn first_use(&self, used: ProofUse, now: UnixMillis) -> Later<'_, Replay> {
        Box::pin(std::future::ready(self.0.borrow_mut().first_use(&used, now)))
    }
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
    /// Drive `verifier` with what the host offers.
    pub fn new(
        verifier: Verifier,
        replay: Box<dyn ReplayStore>,
        cache: CacheTier,
        source: Source,
    ) -> Self {
        let verifier = RefCell::new(verifier);
        let crypto = WebCrypto::default();
        let worked_at = Cell::new(None);
        Self(Rc::new(Inner { verifier, crypto, replay, cache, source, worked_at }))
    }

    /// Begin with a token that was presented as Bearer.
    pub fn begin(&self, token: &str, requirements: Arc<Requirements>) -> Check {
        self.0.verifier.borrow_mut().begin(token, Sender::default(), requirements)
    }

    /// Begin with the token of a request.
    pub fn begin_request(&self, request: Request, requirements: Arc<Requirements>) -> Check {
        self.0.verifier.borrow_mut().begin_request(request, requirements)
    }

    /// Judge once more a request that was let through ([`Verifier::begin_again`]). What is due is fetched
    /// at once.
    pub async fn judge_again(
        &self,
        request: &Request,
        requirements: &Arc<Requirements>,
    ) -> Verdict {
        let begin =
            || self.0.verifier.borrow_mut().begin_again(request.clone(), Arc::clone(requirements));
        let first = self.judge(begin(), Clock::Host).await;
        let Some(due) = first.background else { return first.verdict };
        due.await;
        // What else is due was asked for a moment ago.
        self.judge(begin(), Clock::Host).await.verdict
    }

    /// See [`Verifier::judge_again_after`].
    pub fn judge_again_after(&self, accepted: &Accepted) -> Option<Duration> {
        self.0.verifier.borrow().judge_again_after(accepted, Clock::Host.now())
    }

    /// Go as far as possible without waiting.
    pub fn advance(&self, check: &mut Check, now: UnixMillis) -> Progress {
        self.0.verifier.borrow_mut().advance(check, now)
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.0.verifier.borrow().counters()
    }

    /// How old what is held, and may be used, is.
    pub fn confirmed(&self, now: UnixMillis) -> Confirmed {
        self.0.verifier.borrow().confirmed(now)
    }

    /// When the JWK Set was confirmed whose confirmation is longest ago.
    pub fn keys_confirmed_at(&self) -> Option<UnixMillis> {
        self.0.verifier.borrow().keys_confirmed_at()
    }

    /// Fetched documents that were not taken in.
    pub fn refused(&self) -> RefusedCounts {
        self.0.verifier.borrow().refused()
    }

    /// Take a check to its verdict.
    pub async fn judge(&self, mut check: Check, clock: Clock) -> Judged {
        let progress = self.advance(&mut check, clock.now());
        self.go_on(check, progress, clock).await
    }

    /// Take a check to its verdict that has come to `progress`.
    pub async fn go_on(&self, check: Check, progress: Progress, clock: Clock) -> Judged {
        let inner = &self.0;
        let host = OnHost::new(inner, clock);
        let mut verdict = host::go_on(&inner.verifier, check, progress, &host).await;
        let due = std::mem::take(&mut verdict.refresh);
        let background = background(Rc::clone(inner), host.writes.take(), due, clock);
        Judged { verdict, background }
    }

    /// Refreshes that are due, to be run behind the response.
    pub fn refresh(&self, due: Vec<FetchOrder>, clock: Clock) -> Option<Background> {
        background(Rc::clone(&self.0), Vec::new(), due, clock)
    }

    /// Work that makes later checks faster, to be run behind the response; in slices, between which
    /// others have their turn. Nothing when somebody is at it.
    pub fn work(&self, clock: Clock) -> Option<Background> {
        let now = clock.now();
        // Whoever was at it may have been cancelled.
        let at_it = |at: UnixMillis| now.since(at).is_some_and(|passed| passed < TAKEN_OVER_AFTER);
        let is_due = {
            let verifier = self.0.verifier.borrow();
            verifier.wants_prefetch() || verifier.has_work(now)
        };
        if self.0.worked_at.get().is_some_and(at_it) || !is_due {
            return None;
        }
        self.0.worked_at.set(Some(now));
        let inner = Rc::clone(&self.0);
        Some(Box::pin(async move {
            inner.prefetch(clock).await;
            while inner.verifier.borrow().has_work(clock.now()) {
                sleep(Duration::ZERO).await;
                inner.worked_at.set(Some(clock.now()));
                let request = inner.verifier.borrow_mut().work(clock.now());
                if let Some(request) = request {
                    // A host that cannot say is no disagreement.
                    if let Ok(valid) = inner.crypto.try_check(&request).await {
                        inner.verifier.borrow_mut().rechecked(&request, valid);
                    }
                }
            }
            inner.worked_at.set(None);
        }))
    }
}

/// How long after its last slice somebody's work is taken over.
const TAKEN_OVER_AFTER: Duration = Duration::from_millis(250);

impl Inner {
    /// Fetch status lists before a token asks for them.
    async fn prefetch(&self, clock: Clock) {
        loop {
            let order = self.verifier.borrow_mut().prefetch(clock.now());
            let Some(order) = order else { return };
            self.worked_at.set(Some(clock.now()));
            self.carry_out(order, clock).await;
        }
    }

    /// Carry an order out behind a response, cache writes included.
    async fn carry_out(&self, order: FetchOrder, clock: Clock) {
        let host = OnHost::new(self, clock);
        host::carry_out(&self.verifier, order, &host).await;
        for write in host.writes.take() {
            write.await;
        }
    }
}

/// This host, as the verifier asks it.
struct OnHost<'i> {
    inner: &'i Inner,
    clock: Clock,
    /// Cache writes that remain to be done.
    writes: RefCell<Vec<Background>>,
}

impl<'i> OnHost<'i> {
    fn new(inner: &'i Inner, clock: Clock) -> Self {
        Self { inner, clock, writes: RefCell::default() }
    }
}

impl HostCrypto for OnHost<'_> {
    fn check<'a>(&'a self, request: &'a SignatureRequest) -> Later<'a, bool> {
        self.inner.crypto.check(request)
    }
}

impl Host for OnHost<'_> {
    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    fn fetch<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, Answer> {
        Box::pin(fetch(order, &self.inner.source, self.clock))
    }

    fn first_use(&self, used: ProofUse) -> Later<'_, Replay> {
        self.inner.replay.first_use(used, self.now())
    }

    fn sleep(&self, time: Duration) -> Later<'_, ()> {
        Box::pin(sleep(time))
    }

    fn cache(&self) -> Option<&dyn SharedCache> {
        (self.inner.cache == CacheTier::CacheApi).then_some(self)
    }
}

impl SharedCache for OnHost<'_> {
    fn get<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, Option<Answer>> {
        Box::pin(cache::restore(order, self.now()))
    }

    fn put(&self, order: FetchOrder, content: Content, confirmed_at: UnixMillis) {
        let write: Background = match content {
            Content::Body { bytes, media_type, etag } => {
                let entry = Entry { bytes, media_type, etag, confirmed_at };
                Box::pin(cache::keep(order, entry))
            }
            Content::NotModified => Box::pin(cache::confirm(order, confirmed_at)),
            Content::Redirect { .. } | Content::TooLarge | Content::Failed => return,
        };
        self.writes.borrow_mut().push(write);
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
            inner.carry_out(order, clock).await;
        }
    }))
}
