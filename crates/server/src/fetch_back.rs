//! Fetches published documents by their public URIs: whether they arrive as they were published, and
//! whether the clocks agree.

use std::time::Duration;

use edgepass_issuer::publish::document::{Document, MAX_AGE};
use edgepass_issuer::{Publisher, Store};
use edgepass_jose::CompactJws;
use edgepass_verify::UnixMillis;
use tokio::time::{Instant, sleep};

use crate::Host;
use crate::metrics::{FetchedBack, Metrics};

/// A document as its public URI returns it.
#[derive(Debug)]
pub struct Fetched {
    /// The body.
    pub body: Vec<u8>,
    /// The field `Date`, in whole seconds. A cache repeats that of its source.
    pub date: Option<UnixMillis>,
}

pub(crate) struct FetchBack<'p, S> {
    publisher: &'p Publisher<S>,
    host: Host,
    metrics: &'p Metrics,
    /// Time of the last warning about clocks. `None`: there was none yet.
    warned_at: Option<Instant>,
}

/// Time for which a shared cache may serve the previous document: `max-age`, and 0.5 s more, since
/// caches count in whole seconds.
const SHARED_CACHE_WAIT: Duration = MAX_AGE.saturating_add(Duration::from_millis(500));
/// Shortest time between two warnings about clocks.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// As `clock_skew` of a verifier by default.
const DATE_TOLERANCE: Duration = Duration::from_secs(2);

impl<'p, S: Store> FetchBack<'p, S> {
    pub(crate) fn new(publisher: &'p Publisher<S>, host: Host, metrics: &'p Metrics) -> Self {
        Self { publisher, host, metrics, warned_at: None }
    }

    /// Fetches what was published since the last call. Counts the outcome of each document.
    pub(crate) async fn fetch_new<F: Future<Output = Option<Fetched>> + Send>(
        &mut self,
        get: &(impl Fn(String) -> F + Send),
    ) {
        for document in self.publisher.take_unseen() {
            let mut outcome = FetchedBack::Unreachable;
            for pause in [Duration::ZERO, SHARED_CACHE_WAIT] {
                sleep(pause).await;
                outcome = self.fetch(&document, get).await;
                if matches!(outcome, FetchedBack::Same | FetchedBack::Replaced) {
                    break;
                }
            }
            self.metrics.fetched_back(outcome);
            if matches!(outcome, FetchedBack::Unreachable | FetchedBack::Different) {
                tracing::warn!(
                    path = document.path,
                    outcome = outcome.name(),
                    "the public URI does not return the published document"
                );
            }
        }
    }

    async fn fetch<F: Future<Output = Option<Fetched>> + Send>(
        &mut self,
        document: &Document,
        get: &(impl Fn(String) -> F + Send),
    ) -> FetchedBack {
        let current = self.publisher.document(&document.path);
        if current.is_none_or(|current| current.etag != document.etag) {
            return FetchedBack::Replaced;
        }
        let fetched = get(self.publisher.public_uri(document)).await;
        let Some(Fetched { body, date }) = fetched else { return FetchedBack::Unreachable };
        if body != document.body {
            return FetchedBack::Different;
        }
        if differs(date, signed_at(document), (self.host.now)()) {
            self.clock_differs();
        }
        FetchedBack::Same
    }

    fn clock_differs(&mut self) {
        self.metrics.clock_differs();
        if self.warned_at.is_none_or(|at| at.elapsed() > WARN_INTERVAL) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                "the Date at the public URI differs from this machine's clock: revocations may take effect late; \
                 check both clocks"
            );
        }
    }
}

/// Whether a `Date` shows that clocks differ: a response cannot be older than the document that it carries,
/// whatever caches do, and none is from the future.
fn differs(
    date: Option<UnixMillis>,
    signed_at: Option<UnixMillis>,
    received_at: UnixMillis,
) -> bool {
    let Some(date) = date else { return false };
    // Both times are in whole seconds: `Date` is cut, and `iat` may be rounded up.
    let latest = date.plus(DATE_TOLERANCE).plus(Duration::from_secs(2));
    date.minus(DATE_TOLERANCE) > received_at || signed_at.is_some_and(|signed| latest < signed)
}

/// The `iat` of a document that is a JWT.
fn signed_at(document: &Document) -> Option<UnixMillis> {
    let text = std::str::from_utf8(&document.body).ok()?;
    let issued_at = CompactJws::parse(text, text.len()).ok()?.claims().ok()?.issued_at().ok()??;
    Some(UnixMillis::from_seconds(issued_at.seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_shows_that_a_clock_is_wrong() {
        let at = UnixMillis::from_seconds;
        for (date, expected) in [
            (Some(100), false),
            (Some(103), false),
            (Some(104), true),
            (Some(96), false),
            (Some(95), true),
            (Some(0), true),
            (None, false),
        ] {
            assert_eq!(differs(date.map(at), Some(at(100)), at(101)), expected, "{date:?}");
            assert_eq!(differs(date.map(at), None, at(101)), expected && date > Some(100));
        }
    }
}
