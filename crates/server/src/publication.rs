//! The task that keeps what is served equal to what is recorded.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use edgepass_issuer::{Publisher, Store};
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
    healthy: AtomicBool,
}

/// How often the database is asked whether anything was committed. A commit of another process is
/// noticed within this; a request of this process does not wait for it.
const POLL: Duration = Duration::from_millis(50);
/// While the database cannot be read, ask and log this often.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(500);
/// After failures in a row the next attempt is at most this far.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A cache in between may answer with what was true before for this long.
const SHARED_CACHE: Duration = Duration::from_millis(1500);
/// How long a request waits for its change to be served.
const PATIENCE: Duration = Duration::from_secs(5);
/// Even without a commit, look this often whether an edition must be renewed or retired.
const HOUSEKEEPING_ROUNDS: u32 = 200;

impl<S: Store> Publication<S> {
    pub(crate) fn new(publisher: Publisher<S>, host: Host) -> Self {
        Self {
            publisher,
            host,
            wanted: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            healthy: AtomicBool::new(false),
        }
    }

    /// Publish until the task is dropped. Run it once.
    pub async fn run(&self) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        let mut idle_rounds = 0_u32;
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
                    self.healthy.store(false, Ordering::Relaxed);
                    tokio::time::sleep(UNREADABLE_PAUSE).await;
                    continue;
                }
            };
            idle_rounds += 1;
            let healthy = self.healthy.load(Ordering::Relaxed);
            if !asked && healthy && version == seen && idle_rounds < HOUSEKEEPING_ROUNDS {
                continue;
            }
            idle_rounds = 0;
            seen = version;
            let round = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let outcome = self.publisher.sync(&mut { self.host }, (self.host.now)()).await;
            if let Err(error) = &outcome {
                tracing::error!(error = %error_chain(error), "publication failed; trying again");
            }
            self.healthy.store(outcome.is_ok(), Ordering::Relaxed);
            self.ended.send_replace(round);
            match outcome {
                Ok(()) => pause = POLL,
                Err(_) => {
                    tokio::time::sleep(pause).await; // whoever waits asks again at once
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
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

    /// Whether the last round published everything.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn publisher(&self) -> &Publisher<S> {
        &self.publisher
    }

    /// Publish now, until `done` or for as long as a request may wait.
    pub(crate) async fn until(&self, done: impl Fn(&Publisher<S>) -> bool) -> bool {
        let mut ended = self.ended.subscribe();
        let attempt = async {
            while !done(&self.publisher) {
                self.wanted.notify_one();
                if ended.changed().await.is_err() {
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
