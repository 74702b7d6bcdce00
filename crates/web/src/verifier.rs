//! Runs checks with the functions of a JavaScript host.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgepass_verify::checks::RequirementsError;
use edgepass_verify::checks::dpop::replay::{ProofUse, Replay, ReplayMemory};
use edgepass_verify::documents::fetch::{Answer, Content, FetchOrder};
use edgepass_verify::documents::refused::Refused;
use edgepass_verify::host::{self, Host, HostCrypto, SharedCache};
use edgepass_verify::signature::SignatureRequest;
use edgepass_verify::verdict::Validity;
use edgepass_verify::verifier::{Confirmed, Counters, HeldTimes, Progress, Verifier};
use edgepass_verify::{Check, Request, Requirements, Sender, UnixMillis, Verdict};
use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use crate::cache::{self, Entry};
use crate::clock::{Clock, sleep};
use crate::crypto::WebCrypto;
use crate::event;
use crate::fetch::{RequestOptions, Source, fetch};

/// A verifier with its host functions, shared by all requests of an isolate.
#[derive(Clone)]
pub struct WebVerifier(Rc<Inner>);

struct Inner {
    /// Never borrowed across an await.
    verifier: RefCell<Verifier>,
    crypto: WebCrypto,
    replay: Box<dyn ReplayStore>,
    cache: CacheTier,
    source: Source,
    options: RequestOptions,
    /// Time of the last step of [`WebVerifier::work`]: a fetch or a slice. `None` if no request
    /// does it.
    worked_at: Cell<Option<UnixMillis>>,
}

/// The time between two looks at a fetch that another request makes.
const POLL: Duration = Duration::from_millis(20);

/// A future on the one thread of a JavaScript host.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Remembers used DPoP proofs.
pub trait ReplayStore {
    /// Records the use of a proof and returns whether it is the first.
    fn first_use(&self, used: ProofUse, now: UnixMillis) -> Later<'_, Replay>;
}

/// The DPoP proofs that this isolate has seen, up to a limit. Other isolates do not know them.
#[derive(Default)]
pub struct IsolateReplay(RefCell<ReplayMemory>);

impl ReplayStore for IsolateReplay {
    fn first_use(&self, used: ProofUse, now: UnixMillis) -> Later<'_, Replay> {
        Box::pin(std::future::ready(self.0.borrow_mut().first_use(&used, now)))
    }
}

/// Whether the isolates of a data centre share fetched documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheTier {
    /// They share documents through the Cache API.
    CacheApi,
    /// Each isolate fetches for itself.
    None,
}

/// A verdict, and the work that remains to be done after the response.
pub struct Judged {
    /// Result of the check.
    pub verdict: Verdict,
    /// Refreshes and cache writes, to be passed to `waitUntil`; `None` if there are none. If the
    /// host drops it, copies only become stale earlier.
    pub background: Option<Background>,
}

/// Work that continues after the verdict.
pub type Background = Pin<Box<dyn Future<Output = ()>>>;

impl WebVerifier {
    /// Creates a `WebVerifier` from a verifier, a store of used proofs, a cache, and a source with
    /// the options of its requests.
    pub fn new(
        verifier: Verifier,
        replay: Box<dyn ReplayStore>,
        cache: CacheTier,
        (source, options): (Source, RequestOptions),
    ) -> Self {
        let verifier = RefCell::new(verifier);
        let crypto = WebCrypto::default();
        let worked_at = Cell::new(None);
        Self(Rc::new(Inner { verifier, crypto, replay, cache, source, options, worked_at }))
    }

    /// Begins the check of a token that was presented as Bearer, without a proof or certificate.
    pub fn begin(&self, token: &str, requirements: Arc<Requirements>) -> Check {
        self.0.verifier.borrow_mut().begin(token, Sender::default(), requirements)
    }

    /// Begins the check of the token in a request.
    pub fn begin_request(&self, request: Request, requirements: Arc<Requirements>) -> Check {
        self.0.verifier.borrow_mut().begin_request(request, requirements)
    }

    /// Judges an accepted request again ([`Verifier::begin_again`]). If refreshes or cache writes
    /// are due, carries them out and judges once more, so that the verdict uses the refreshed
    /// copies.
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
        // Work that is due after this is dropped: the source was asked a moment ago.
        self.judge(begin(), Clock::Host).await.verdict
    }

    /// Time after which to judge an accepted request again; see [`Verifier::judge_again_after`].
    pub fn judge_again_after(&self, accepted: &Validity) -> Option<Duration> {
        self.0.verifier.borrow().judge_again_after(accepted, Clock::Host.now())
    }

    /// Advances a check to its verdict, or until the host must act.
    pub fn advance(&self, check: &mut Check, now: UnixMillis) -> Progress {
        self.0.verifier.borrow_mut().advance(check, now)
    }

    /// The identifiers of the issuers, as the policies write them.
    pub fn issuers(&self) -> Vec<String> {
        self.0.verifier.borrow().issuers().map(str::to_owned).collect()
    }

    /// Checks that tokens can meet these requirements; see [`Verifier::check_requirements`].
    ///
    /// # Errors
    ///
    /// [`RequirementsError::NotGrantable`].
    pub fn check_requirements(&self, requirements: &Requirements) -> Result<(), RequirementsError> {
        self.0.verifier.borrow().check_requirements(requirements)
    }

    /// Counts of events so far, and sizes of held data, for metrics.
    pub fn counters(&self) -> Counters {
        self.0.verifier.borrow().counters()
    }

    /// Confirmation times of the oldest JWK Set and the oldest usable status list, of all issuers.
    pub fn confirmed(&self, now: UnixMillis) -> Confirmed {
        self.0.verifier.borrow().confirmed(now)
    }

    /// Runs a check to its verdict.
    pub async fn judge(&self, check: Check, clock: Clock) -> Judged {
        let host = OnHost::new(&self.0, clock);
        self.judged(host::judge(&self.0.verifier, check, &host).await, &host)
    }

    /// Continues a check from `progress` to its verdict.
    pub async fn go_on(&self, check: Check, progress: Progress, clock: Clock) -> Judged {
        let host = OnHost::new(&self.0, clock);
        self.judged(host::go_on(&self.0.verifier, check, progress, &host).await, &host)
    }

    fn judged(&self, mut verdict: Verdict, host: &OnHost<'_>) -> Judged {
        let due = std::mem::take(&mut verdict.refresh);
        let background = background(Rc::clone(&self.0), host.writes.take(), due, host.clock);
        Judged { verdict, background }
    }

    /// Work that carries out the refreshes in `due`, to run after the response. `None` if `due` is
    /// empty.
    pub fn refresh(&self, due: Vec<FetchOrder>, clock: Clock) -> Option<Background> {
        background(Rc::clone(&self.0), Vec::new(), due, clock)
    }

    /// Fetches the JWK Sets that are not fresh, so that the first tokens need not wait, and waits for
    /// those that are being fetched. Returns whether one of every issuer is held then.
    pub async fn warm(&self, clock: Clock) -> bool {
        // Metadata first, then the JWK Sets that it names.
        for _ in 0..2 {
            self.settle(clock).await;
            let due = self.0.verifier.borrow_mut().warm(clock.now());
            let fetches = due.into_iter().filter_map(|order| self.refresh(vec![order], clock));
            let fetches: js_sys::Array = fetches
                .map(|fetch| {
                    future_to_promise(async {
                        fetch.await;
                        Ok(JsValue::UNDEFINED)
                    })
                })
                .collect();
            // None of them is rejected.
            let _ = JsFuture::from(Promise::all(&fetches)).await;
        }
        self.settle(clock).await;
        self.0.verifier.borrow().has_keys()
    }

    /// Waits until no JWK Set that is not fresh is being fetched. Each fetch has a limit.
    async fn settle(&self, clock: Clock) {
        while self.0.verifier.borrow().is_warming(clock.now()) {
            sleep(POLL).await;
        }
    }

    /// Whether [`WebVerifier::watch`] has work.
    pub fn wants_watch(&self, now: UnixMillis) -> bool {
        self.0.verifier.borrow().wants_watch(now)
    }

    /// Work that waits for status heads, for at most `limit`, to run after the response. Other requests
    /// get their turn meanwhile. `None` if no watch is due. If the host drops it, a later request starts
    /// another one.
    pub fn watch(&self, limit: Duration, clock: Clock) -> Option<Background> {
        let watch = self.0.verifier.borrow_mut().watch(limit, clock.now())?;
        let inner = Rc::clone(&self.0);
        Some(Box::pin(async move {
            loop {
                let host = OnHost::new(&inner, clock);
                let goes_on = host::watch_on(&inner.verifier, &watch, &host).await;
                for write in host.writes.take() {
                    write.await;
                }
                if !goes_on {
                    return;
                }
            }
        }))
    }

    /// Whether the host's Ed25519 is to be asked; see [`Verifier::asks_about_ed25519`].
    pub fn asks_about_ed25519(&self) -> bool {
        self.0.verifier.borrow().asks_about_ed25519()
    }

    /// Takes an answer of other host functions than WebCrypto; see [`Verifier::ed25519_answered`].
    pub fn ed25519_answered(&self, agrees: bool) {
        self.0.verifier.borrow_mut().ed25519_answered(agrees);
    }

    /// Work that makes later checks faster, to run after the response: asks the host about Ed25519,
    /// prefetches lists, rechecks signatures, computes tables. Between its steps other requests get their turn. `None` if
    /// there is nothing to do or another request does it.
    pub fn work(&self, clock: Clock) -> Option<Background> {
        let now = clock.now();
        // The request that did the work may have been cancelled.
        let at_it = |at: UnixMillis| now.since(at).is_some_and(|passed| passed < TAKEN_OVER_AFTER);
        let is_due = {
            let verifier = self.0.verifier.borrow();
            verifier.asks_about_ed25519() || verifier.wants_prefetch() || verifier.has_work(now)
        };
        if self.0.worked_at.get().is_some_and(at_it) || !is_due {
            return None;
        }
        self.0.worked_at.set(Some(now));
        let inner = Rc::clone(&self.0);
        Some(Box::pin(async move {
            if inner.verifier.borrow().asks_about_ed25519() {
                // The response goes first.
                sleep(Duration::ZERO).await;
                let agrees = inner.crypto.ask_about_ed25519().await;
                inner.verifier.borrow_mut().ed25519_answered(agrees);
            }
            inner.prefetch(clock).await;
            while inner.verifier.borrow().has_work(clock.now()) {
                sleep(Duration::ZERO).await;
                inner.worked_at.set(Some(clock.now()));
                let request = inner.verifier.borrow_mut().work(clock.now());
                if let Some(request) = request {
                    // An error of the host is no disagreement with the tables.
                    if let Ok(valid) = inner.crypto.try_check(&request).await {
                        inner.verifier.borrow_mut().rechecked(&request, valid);
                    }
                }
            }
            inner.worked_at.set(None);
        }))
    }
}

/// Time after the last step after which another request may take over the work.
const TAKEN_OVER_AFTER: Duration = Duration::from_millis(250);

impl Inner {
    /// Fetches an issuer's aggregation and status lists before a token needs them.
    async fn prefetch(&self, clock: Clock) {
        loop {
            let order = self.verifier.borrow_mut().prefetch(clock.now());
            let Some(order) = order else { return };
            self.worked_at.set(Some(clock.now()));
            self.carry_out(order, clock).await;
        }
    }

    /// Carries out an order after a response, including its cache writes.
    async fn carry_out(&self, order: FetchOrder, clock: Clock) {
        let host = OnHost::new(self, clock);
        host::carry_out(&self.verifier, order, &host).await;
        for write in host.writes.take() {
            write.await;
        }
    }
}

/// The JavaScript host, as the verifier calls it.
struct OnHost<'i> {
    inner: &'i Inner,
    clock: Clock,
    /// Cache writes to do after the response.
    writes: RefCell<Vec<Background>>,
    /// What the last fetch threw.
    error: Cell<JsValue>,
}

impl<'i> OnHost<'i> {
    fn new(inner: &'i Inner, clock: Clock) -> Self {
        Self { inner, clock, writes: RefCell::default(), error: Cell::default() }
    }
}

impl HostCrypto for OnHost<'_> {
    async fn check(&self, request: &SignatureRequest) -> bool {
        Box::pin(self.inner.crypto.check(request)).await
    }
}

impl Host for OnHost<'_> {
    type Cache = Self;

    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    async fn fetch(&self, order: &FetchOrder) -> Answer {
        let Inner { source, options, .. } = self.inner;
        let (answer, error) = Box::pin(fetch(order, source, options, self.clock)).await;
        self.error.set(error);
        answer
    }

    fn refused(&self, order: &FetchOrder, refused: Refused) {
        if let Some(on_event) = &self.inner.options.on_event {
            event::tell(on_event, order, refused, self.error.take());
        }
    }

    async fn first_use(&self, used: ProofUse) -> Replay {
        self.inner.replay.first_use(used, self.now()).await
    }

    async fn sleep(&self, time: Duration) {
        sleep(time).await;
    }

    fn cache(&self) -> Option<&Self> {
        (self.inner.cache == CacheTier::CacheApi).then_some(self)
    }
}

impl SharedCache for OnHost<'_> {
    async fn get(&self, order: &FetchOrder) -> Option<Answer> {
        cache::restore(order, self.now()).await
    }

    fn put(&self, order: FetchOrder, content: Content, held: HeldTimes) {
        let write: Background = match content {
            Content::Body { bytes, media_type, etag } => {
                let entry = Entry { bytes, media_type, etag, held };
                Box::pin(cache::keep(order, entry))
            }
            Content::NotModified => Box::pin(cache::confirm(order, held)),
            Content::Redirect { .. } | Content::TooLarge | Content::Failed(_) => return,
        };
        self.writes.borrow_mut().push(write);
    }
}

/// Work for after the response: cache writes, then due orders. `None` if there are neither.
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
