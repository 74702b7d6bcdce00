//! The task that publishes recorded changes, at the issuer's own endpoint and at every target.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgepass_issuer::paths::LISTS;
use edgepass_issuer::publish::document::Document;
use edgepass_issuer::publish::error::PublishError;
use edgepass_issuer::publish::head::TARGET_INTERVAL;
use edgepass_issuer::storage::StoreError;
use edgepass_issuer::{Publisher, Store};
use edgepass_verify::UnixMillis;
use futures_util::future::{join, join_all};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::fetch_back::{FetchBack, Fetched};
use crate::head_number::HeadNumber;
use crate::metrics::Metrics;
use crate::{Host, error_chain};

/// Publishes after every commit to the database, by any process.
pub struct Publication<S> {
    publisher: Publisher<S>,
    host: Host,
    /// Starts a round at once. A round is one call of [`Publisher::sync`].
    requested: Notify,
    /// Number of the last round that started. A round sees every commit made before its start.
    started: AtomicU64,
    /// Number of the last round that ended.
    ended: watch::Sender<u64>,
    /// Sent after each round and after each update of a target, also a failed one.
    progress: watch::Sender<()>,
    /// Lag of the issuer's own endpoint, then of each target.
    lags: Vec<Lag>,
    /// While another process publishes: when the last look at what it has published began.
    looked: Mutex<Option<(Instant, UnixMillis)>>,
    heads: Arc<HeadNumber>,
    /// Until when this process leads for certain.
    valid: Mutex<Option<watch::Receiver<Instant>>>,
    /// Longest time since that look for which documents are served.
    publish_delay: Duration,
}

/// Interval at which the database is checked for commits of any process. A request handler that
/// waits for its own commit starts a round without waiting for the next check.
const POLL: Duration = Duration::from_millis(50);
/// Pause between checks while the database cannot be read. Each such check logs an error.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between attempts to publish, reached after several failures in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Time after which the issuer counts as not healthy if a change is not published everywhere. Also
/// the time limit for the check of targets at the start.
const MAX_LAG: Duration = Duration::from_secs(2);
/// Longest time for which a request handler waits for publication.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time between rounds, and between updates of a target that is up to date, if there is no
/// commit. Some work falls due without one: editions are renewed, keys rotated, and lists retired.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

impl<S: Store> Publication<S> {
    pub(crate) fn new(publisher: Publisher<S>, host: Host, publish_delay: Duration) -> Self {
        Self {
            lags: (0..=publisher.target_count()).map(|_| Lag::default()).collect(),
            publisher,
            host,
            requested: Notify::new(),
            started: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            progress: watch::Sender::new(()),
            looked: Mutex::new(None),
            heads: Arc::default(),
            valid: Mutex::new(None),
            publish_delay,
        }
    }

    /// Compares the targets with the database, for at most 2 s, then publishes until the task is
    /// dropped. Run it once.
    pub async fn run(&self) {
        let _ = timeout(MAX_LAG, self.publisher.check_targets((self.host.now)())).await;
        let targets = self.lags.iter().skip(1).enumerate();
        let targets =
            targets.map(|(target, lag)| join(self.publish_at(target, lag), self.heads_at(target)));
        join(self.serve(), join_all(targets)).await;
    }

    /// Runs rounds, which publish recorded changes at the issuer's own endpoint.
    async fn serve(&self) {
        let Some(lag) = self.lags.first() else { return };
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        let mut idle_for = Duration::ZERO;
        let mut pause = POLL;
        let mut ended = Instant::now();
        loop {
            let is_requested = tokio::select! {
                _ = ticks.tick() => false,
                () = self.requested.notified() => true,
                // While there are many commits, a round at each tick sees them all.
                () = self.publisher.store().changed(), if ended.elapsed() >= POLL => false,
            };
            let version = match self.publisher.store().version().await {
                Ok(version) => Some(version),
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "database not readable");
                    lag.start((self.host.now)());
                    tokio::time::sleep(UNREADABLE_PAUSE).await;
                    continue;
                }
            };
            idle_for = idle_for.saturating_add(POLL);
            if !is_requested && !lag.is_open() && version == seen && idle_for < HOUSEKEEPING {
                continue;
            }
            idle_for = Duration::ZERO;
            seen = version;
            let round = self.started.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
            lag.start((self.host.now)());
            let outcome = self.publisher.sync(&mut { self.host }, self.host.now).await;
            let outcome = self.record_published(outcome).await;
            if outcome == Some(true) {
                lag.end();
            }
            self.ended.send_replace(round);
            pause = pause_after(outcome, pause).await;
            ended = Instant::now();
        }
    }

    /// Updates a target after each round, so that it holds the documents of the issuer's endpoint.
    async fn publish_at(&self, target: usize, lag: &Lag) {
        let mut ended = self.ended.subscribe();
        let mut pause = POLL;
        loop {
            // A target that holds everything is not behind while it is checked again.
            if self.publisher.lacks(target) {
                lag.start((self.host.now)());
            }
            let outcome = self.publisher.update_target(target, self.host.now).await;
            let outcome = self.record_published(outcome).await;
            if outcome == Some(true) {
                lag.end();
            } else {
                lag.start((self.host.now)());
            }
            pause = pause_after(outcome, pause).await;
            if outcome == Some(true) {
                // Continue also without a new round: another program may have changed the target.
                let _ = timeout(HOUSEKEEPING, ended.changed()).await;
            }
        }
    }

    /// Writes status heads to a target: every [`TARGET_INTERVAL`], and when something has changed. Lists that
    /// take long to write delay none.
    async fn heads_at(&self, target: usize) {
        let mut progress = self.progress.subscribe();
        let mut pause = POLL;
        loop {
            let outcome = self.publisher.update_head(target, self.host.now).await;
            if let Err(error) = &outcome {
                tracing::error!(error = %error_chain(error), "a status head could not be written; trying again");
            }
            pause = pause_after(outcome.ok().map(|()| true), pause).await;
            let _ = timeout(TARGET_INTERVAL, progress.changed()).await;
        }
    }

    /// Records the lists and keys that every target holds by now, and wakes the handlers that wait
    /// in `until`. `None`: publishing or recording failed, which is logged.
    async fn record_published(&self, outcome: Result<bool, PublishError>) -> Option<bool> {
        let confirmed = self.publisher.confirm(self.host.now).await;
        self.tell_head();
        self.progress.send_replace(());
        let outcome = outcome.and_then(|done| confirmed.map(|()| done));
        outcome
            .inspect_err(|error| {
                tracing::error!(error = %error_chain(error), "publication failed; trying again");
            })
            .ok()
    }

    /// Implements [`App::fetch_back`](crate::App::fetch_back).
    pub(crate) async fn fetch_back<F: Future<Output = Option<Fetched>> + Send>(
        &self,
        get: impl Fn(String) -> F + Send,
        metrics: &Metrics,
    ) {
        let mut watch = FetchBack::new(&self.publisher, self.host, metrics);
        let mut ended = self.ended.subscribe();
        while ended.changed().await.is_ok() {
            watch.fetch_new(&get).await;
        }
    }

    /// Serves what another process publishes from the same database, until the task is dropped. `written` gives
    /// the documents that were written since an earlier call, with the number to be given at the next call.
    /// Documents are served for `publish_delay` after the beginning of the last successful look: by then, a
    /// revocation may have been published that this process does not know.
    pub async fn follow<F>(&self, written: impl Fn(i64) -> F + Send)
    where
        F: Future<Output = Result<(i64, Vec<(String, String)>), StoreError>> + Send,
    {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut serial, mut idle_for) = (None, 0, HOUSEKEEPING);
        let mut ended = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.requested.notified() => idle_for = HOUSEKEEPING,
                () = self.publisher.store().changed(), if ended.elapsed() >= POLL => {}
            }
            let began = (Instant::now(), (self.host.now)());
            let round = self.started.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
            let look = async {
                let version = self.publisher.store().version().await?;
                // The database has lost commits: what was read before does not count.
                if seen.is_some_and(|seen| version < seen) {
                    serial = 0;
                }
                if seen != Some(version) || idle_for >= HOUSEKEEPING {
                    let look =
                        self.publisher.look((self.host.now)().numeric_date().seconds()).await?;
                    let (last, documents) = written(serial).await?;
                    self.publisher.follow(look, documents, began.1);
                    self.tell_head();
                    ended = Instant::now();
                    (seen, serial, idle_for) = (Some(version), last, Duration::ZERO);
                }
                Ok::<_, PublishError>(())
            };
            match look.await {
                Ok(()) => *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(began),
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "published documents not readable");
                    tokio::time::sleep(UNREADABLE_PAUSE).await;
                }
            }
            idle_for = idle_for.saturating_add(POLL);
            self.ended.send_replace(round);
            self.progress.send_replace(());
        }
    }

    /// Publishes from now on, instead of following. [`Publication::run`] comes next. Serves documents while the
    /// time of `valid` is not over: after that another process may publish, although this one has not noticed,
    /// such as when it was stopped. `None`: no other process publishes.
    pub fn lead(&self, valid: Option<watch::Receiver<Instant>>) {
        self.publisher.lead();
        *self.valid.lock().unwrap_or_else(PoisonError::into_inner) = valid;
        // The first round of this process comes after its check of the targets.
        self.started.store(0, Ordering::SeqCst);
        self.ended.send_replace(0);
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// When the last look at what another process has published began. `None`: this process publishes.
    fn looked(&self) -> Option<(Instant, UnixMillis)> {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another process may have published since what this one has.
    pub(crate) fn is_stale(&self) -> bool {
        let valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = valid.as_ref().is_some_and(|valid| Instant::now() >= *valid.borrow());
        let is_late = |(looked, _): (Instant, _)| looked.elapsed() >= self.publish_delay;
        is_over || self.looked().is_some_and(is_late)
    }

    /// The document to serve at `path`. `None`: none, or it may be outdated.
    pub(crate) fn document(&self, path: &str) -> Option<Arc<Document>> {
        if self.is_stale() { None } else { self.publisher.public_document(path) }
    }

    /// Tells the requests that wait for the status head if it has changed.
    fn tell_head(&self) {
        self.heads.set(self.publisher.head_number());
    }

    /// Waits until the status head has another number than `after`.
    pub(crate) async fn head_after(&self, after: u64) {
        self.heads.after(after).await;
    }

    /// The status head to serve: signed now, or when this process last saw what another one publishes.
    /// `None`: there is none, or what it names may be outdated.
    pub(crate) fn head(&self) -> Option<Arc<Document>> {
        // Before what it names is looked at.
        let now = (self.host.now)();
        let as_of = self.looked().map_or(now, |(_, at)| at.min(now));
        if self.is_stale() {
            return None;
        }
        self.publisher.head(as_of).unwrap_or_else(|error| {
            tracing::error!(error = %error_chain(&error), "the status head cannot be made");
            None
        })
    }

    /// Whether the endpoint and every target are up to date, or have been behind for less than 2 s.
    /// `false` before the first publication.
    pub fn is_healthy(&self) -> bool {
        if self.looked().is_some() || self.is_stale() {
            return !self.is_stale();
        }
        let now = (self.host.now)();
        self.lags.iter().all(|lag| lag.is_short(now))
    }

    pub(crate) fn publisher(&self) -> &Publisher<S> {
        &self.publisher
    }

    /// Whether publication has stopped until a restart, since a target holds documents of another database.
    pub fn is_stopped(&self) -> bool {
        self.publisher.is_stopped()
    }

    /// Waits until a list is served, for at most 5 s. `false`: it is not. A token that names it must not be
    /// handed out then.
    pub(crate) async fn serves_list(&self, list_id: &str) -> bool {
        let path = format!("{LISTS}{list_id}");
        if self.document(&path).is_none() {
            self.until(|publisher| publisher.covers(list_id, 0)).await;
        }
        self.document(&path).is_some()
    }

    /// Waits for the end of the first round. The targets were compared with the database before that.
    pub async fn started(&self) {
        let mut ended = self.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended > 0).await;
    }

    /// Starts a round, and waits up to 5 s until `done` returns `true`. `false`: the time ran out.
    pub(crate) async fn until(&self, done: impl Fn(&Publisher<S>) -> bool) -> bool {
        let mut progress = self.progress.subscribe();
        self.requested.notify_one();
        let attempt = async {
            while !done(&self.publisher) {
                if progress.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(PUBLISH_TIMEOUT, attempt).await.is_ok()
    }

    /// Starts a round, which sees every commit made before this call, and waits up to 5 s for its
    /// end.
    pub(crate) async fn round(&self) {
        let mut ended = self.ended.subscribe();
        let next = self.started.load(Ordering::SeqCst).wrapping_add(1);
        self.requested.notify_one();
        // The caller does the same after a timeout: it looks for the document.
        let _ = timeout(PUBLISH_TIMEOUT, ended.wait_for(|ended| *ended >= next)).await;
    }
}

/// Pauses after an attempt to publish: not at all if it was complete, for [`POLL`] if it was
/// incomplete, for `pause` if it failed. Returns the pause to make if the next attempt fails, which
/// doubles with each failure up to [`LONGEST_PAUSE`].
async fn pause_after(outcome: Option<bool>, pause: Duration) -> Duration {
    match outcome {
        Some(true) => POLL,
        Some(false) => {
            tokio::time::sleep(POLL).await;
            POLL
        }
        None => {
            tokio::time::sleep(pause).await;
            pause.saturating_mul(2).min(LONGEST_PAUSE)
        }
    }
}

/// Unix time in milliseconds since when the endpoint or a target has been behind. 0: up to date.
struct Lag(AtomicU64);

impl Default for Lag {
    /// Behind since 1970, so that the issuer is not healthy before its first publication.
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}

impl Lag {
    fn start(&self, now: UnixMillis) {
        let _ = self.0.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn is_short(&self, now: UnixMillis) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        since == 0 || now.since(UnixMillis(since)).is_some_and(|late| late < MAX_LAG)
    }
}
