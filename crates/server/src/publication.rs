//! The task that keeps what is served equal to what is recorded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgepass_issuer::publish::document::MAX_AGE;
use edgepass_issuer::publish::error::PublishError;
use edgepass_issuer::{Publisher, Store};
use edgepass_verify::UnixMillis;
use futures_util::future::{join, join_all};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::metrics::{FetchedBack, Metrics};
use crate::{Host, error_chain};

/// Publishes whenever a commit of any process changed the database.
pub struct Publication<S> {
    publisher: Publisher<S>,
    host: Host,
    wanted: Notify,
    /// Rounds begun; with `ended`, tells a round that may have missed a commit from one that cannot.
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    /// Something was served, or put at a target.
    progress: watch::Sender<()>,
    /// The issuer's own endpoint, then each target.
    places: Vec<PlaceHealth>,
}

/// How often the database is asked whether anything was committed. A commit of another process is
/// noticed within this; a request of this process does not wait for it.
const POLL: Duration = Duration::from_millis(50);
/// While the database cannot be read, ask and log this often.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(500);
/// After failures in a row the next attempt is at most this far.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What is not done in this time is behind.
const PUNCTUAL: Duration = Duration::from_secs(2);
/// A cache in between may answer with what was true before for `max-age`; its clock ticks in whole seconds.
const SHARED_CACHE: Duration = MAX_AGE.saturating_add(Duration::from_millis(500));
/// How long a request waits for its change to be served.
const PATIENCE: Duration = Duration::from_secs(5);
/// Even without a commit, look this often whether an edition must be renewed or retired.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

impl<S: Store> Publication<S> {
    pub(crate) fn new(publisher: Publisher<S>, host: Host) -> Self {
        Self {
            places: (0..=publisher.target_count()).map(|_| PlaceHealth::default()).collect(),
            publisher,
            host,
            wanted: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            progress: watch::Sender::new(()),
        }
    }

    /// Publish until the task is dropped. Run it once.
    pub async fn run(&self) {
        let _ = timeout(PUNCTUAL, self.publisher.check_targets()).await;
        let targets = self.places.iter().skip(1).enumerate();
        let targets = targets.map(|(target, health)| self.place(target, health));
        join(self.serve(), join_all(targets)).await;
    }

    /// Keep the issuer's own endpoint equal to what is recorded.
    async fn serve(&self) {
        let Some(health) = self.places.first() else { return };
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        let mut idle_for = Duration::ZERO;
        let mut pause = POLL;
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                () = self.wanted.notified() => true,
            };
            let version = match self.publisher.store().version().await {
                Ok(version) => Some(version),
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "database not readable");
                    health.behind((self.host.now)());
                    tokio::time::sleep(UNREADABLE_PAUSE).await;
                    continue;
                }
            };
            idle_for += POLL;
            if !asked && !health.has_more() && version == seen && idle_for < HOUSEKEEPING {
                continue;
            }
            idle_for = Duration::ZERO;
            seen = version;
            let round = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            health.behind((self.host.now)());
            let outcome = self.publisher.sync(&mut { self.host }, self.host.now).await;
            let outcome = self.settle(outcome).await;
            if outcome == Some(true) {
                health.done();
            }
            self.ended.send_replace(round);
            pause = rest(outcome, pause).await;
        }
    }

    /// Keep a target equal to what is served.
    async fn place(&self, target: usize, health: &PlaceHealth) {
        let mut ended = self.ended.subscribe();
        let mut pause = POLL;
        loop {
            // What is only looked at anew is not behind.
            if self.publisher.lacks(target) {
                health.behind((self.host.now)());
            }
            let outcome = self.publisher.place(target, self.host.now).await;
            let outcome = self.settle(outcome).await;
            if outcome == Some(true) {
                health.done();
            } else {
                health.behind((self.host.now)());
            }
            pause = rest(outcome, pause).await;
            if outcome == Some(true) {
                // Also without a new round: somebody else may have changed what lies there.
                let _ = timeout(HOUSEKEEPING, ended.changed()).await;
            }
        }
    }

    /// Record what is published by now, and tell whoever waits. `None`: something failed.
    async fn settle(&self, outcome: Result<bool, PublishError>) -> Option<bool> {
        let confirmed = self.publisher.confirm(self.host.now).await;
        self.progress.send_replace(());
        let outcome = outcome.and_then(|done| confirmed.map(|()| done));
        outcome
            .inspect_err(|error| {
                tracing::error!(error = %error_chain(error), "publication failed; trying again");
            })
            .ok()
    }

    /// Fetch back by its public URI whatever was published, until the task is dropped, and tell where
    /// the public sees something else. Run it once; `get` gives a body, if there is an answer.
    pub(crate) async fn fetch_back<F: Future<Output = Option<Vec<u8>>> + Send>(
        &self,
        get: impl Fn(String) -> F + Send,
        metrics: &Metrics,
    ) {
        let mut ended = self.ended.subscribe();
        while ended.changed().await.is_ok() {
            for document in self.publisher.take_unseen() {
                let uri = self.publisher.public_uri(&document);
                let mut outcome = FetchedBack::Unreachable;
                for pause in [Duration::ZERO, SHARED_CACHE] {
                    tokio::time::sleep(pause).await;
                    let current = self.publisher.document(&document.path);
                    if current.is_none_or(|current| current.etag != document.etag) {
                        outcome = FetchedBack::Replaced;
                        break;
                    }
                    outcome = match get(uri.clone()).await {
                        None => FetchedBack::Unreachable,
                        Some(body) if body == document.body => FetchedBack::Same,
                        Some(_) => FetchedBack::Different,
                    };
                    if outcome == FetchedBack::Same {
                        break;
                    }
                }
                metrics.fetched_back(outcome);
                if matches!(outcome, FetchedBack::Unreachable | FetchedBack::Different) {
                    tracing::warn!(
                        path = document.path,
                        outcome = outcome.name(),
                        "the public does not see what was published"
                    );
                }
            }
        }
    }

    /// Whether everything is published everywhere, or on its way for a moment.
    pub fn is_healthy(&self) -> bool {
        let now = (self.host.now)();
        self.places.iter().all(|place| place.is_punctual(now))
    }

    pub(crate) fn publisher(&self) -> &Publisher<S> {
        &self.publisher
    }

    /// Publish now, until `done` or for as long as a request may wait.
    pub(crate) async fn until(&self, done: impl Fn(&Publisher<S>) -> bool) -> bool {
        let mut progress = self.progress.subscribe();
        self.wanted.notify_one();
        let attempt = async {
            while !done(&self.publisher) {
                if progress.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(PATIENCE, attempt).await.is_ok()
    }

    /// Run one round that begins now, so that it sees every commit until now.
    pub(crate) async fn round(&self) {
        let mut ended = self.ended.subscribe();
        let next = self.begun.load(Ordering::SeqCst) + 1;
        self.wanted.notify_one();
        // A round that does not end in time changes nothing for the caller.
        let _ = timeout(PATIENCE, ended.wait_for(|ended| *ended >= next)).await;
    }
}

/// Rest after an attempt, the longer the more failed in a row; how long to rest the next time.
async fn rest(outcome: Option<bool>, pause: Duration) -> Duration {
    match outcome {
        Some(true) => POLL,
        Some(false) => {
            tokio::time::sleep(POLL).await;
            POLL
        }
        None => {
            tokio::time::sleep(pause).await;
            (pause * 2).min(LONGEST_PAUSE)
        }
    }
}

/// Since when a place lacks something, in milliseconds; 0: it has everything.
struct PlaceHealth(AtomicU64);

impl Default for PlaceHealth {
    /// Nothing is anywhere yet, since ever.
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}

impl PlaceHealth {
    fn behind(&self, now: UnixMillis) {
        let _ = self.0.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn done(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn has_more(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn is_punctual(&self, now: UnixMillis) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        since == 0 || now.since(UnixMillis(since)).is_some_and(|late| late < PUNCTUAL)
    }
}
