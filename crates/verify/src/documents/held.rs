//! One held document: whether its copy may be used, and which request fetches the next one.

use std::cmp::Ordering;
use std::time::Duration;

use crate::documents::fetch::{Answer, AnsweredBy, Dates};
use crate::documents::refused::{Cause, Refused};
use crate::policy::freshness::TimeLimits;
use crate::time::UnixMillis;

/// The held copy of a document, and the fetches of it that are under way.
pub(crate) struct Held<T> {
    copy: Option<HeldCopy<T>>,
    leases: Vec<Lease>,
    leases_made: u64,
    failed_at: Option<UnixMillis>,
    /// Why the last answer was refused, unless an answer was used since.
    refused: Option<Cause>,
    /// Whether that refusal shows an error of the source (RFC 5861 §4), rather than a source that
    /// answers otherwise.
    is_outage: bool,
    refresh_started_at: Option<UnixMillis>,
    /// When a document that leads to this one last came.
    led_to_at: Option<UnixMillis>,
    /// The generation. Increases when the copy is invalidated.
    generation: u32,
    /// The last lease of the previous generation.
    last_lease_before: u64,
    /// The `Date`s of the last responses.
    dates: Dates,
}

struct HeldCopy<T> {
    content: T,
    etag: Option<String>,
    confirmed_at: UnixMillis,
    /// The copy has expired and is not used. Its order still decides which answers are older.
    dropped: bool,
}

impl<T> HeldCopy<T> {
    fn confirm(&mut self, confirmed_at: UnixMillis, now: UnixMillis) {
        // A time in the future means that the clock was set back after it was recorded.
        let known = if self.confirmed_at > now { confirmed_at } else { self.confirmed_at };
        self.confirmed_at = known.max(confirmed_at);
    }
}

/// A fetch under way. It expires, because the request that fetches may be cancelled at any await.
struct Lease {
    id: u64,
    begun_at: UnixMillis,
    timeout: Duration,
    /// The shared cache had a fresh copy, so nothing is fetched from the source.
    is_answered_by_cache: bool,
}

impl Lease {
    /// The time since the lease began. `None` once it has expired, or if the clock was set back.
    fn age(&self, now: UnixMillis) -> Option<Duration> {
        now.since(self.begun_at).filter(|age| *age < self.timeout)
    }

    /// As [`Lease::age`], but `None` also if the shared cache answered.
    fn live_age(&self, now: UnixMillis) -> Option<Duration> {
        self.age(now).filter(|_| !self.is_answered_by_cache)
    }
}

/// Whether a document may be used now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Availability {
    /// The copy is fresh. With `refresh`, a revalidation in the background is due.
    Fresh { refresh: bool },
    /// The copy is stale, but may be used: `stale_if_error` covers it, and a fetch has just failed
    /// or this request has fetched already.
    Stale,
    /// The request must fetch the document first.
    Fetch,
    /// Another request is fetching the document: call [`Held::availability`] again shortly.
    Wait,
    /// There is no usable copy, and this request may not fetch now.
    Unavailable,
}

/// The attempt of one request to get one document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    /// When the request first waited for another's fetch.
    pub(crate) waiting_since: Option<UnixMillis>,
    /// The lease of the request's own fetch in this generation.
    fetched: Option<u64>,
    /// The value of [`Held::generation`] at the request's last call of [`Held::availability`].
    generation: u32,
}

impl Attempt {
    /// Records that the request fetches the document, under this lease.
    pub(crate) fn fetches(&mut self, lease: u64) {
        self.fetched = Some(lease);
    }

    /// Whether the request, which waits for another's fetch, has waited for less than `timeout`.
    pub(crate) fn may_wait(&mut self, now: UnixMillis, timeout: Duration) -> bool {
        let since = *self.waiting_since.get_or_insert(now);
        now.since(since).is_some_and(|waited| waited < timeout)
    }

    /// Records that the request waits for another document first: the time for which it waits for this
    /// one begins anew.
    pub(crate) fn yields(&mut self) {
        self.waiting_since = None;
    }

    /// Whether the request has fetched the document.
    pub(crate) fn has_fetched(&self) -> bool {
        self.fetched.is_some()
    }
}

/// The result of [`Held::replace`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replaced {
    /// The new copy is held now.
    Taken,
    /// The new copy is as new as the held one, but was confirmed earlier. The held copy stays; this
    /// is no failure.
    Outdated,
    /// The new copy is older than the held or the dropped one, and refused.
    Older,
}

/// The time that a request waits for another request's fetch before it starts its own.
const OWN_FETCH_AFTER: Duration = Duration::from_millis(250);
/// The maximum number of leases. Beyond it the oldest one is dropped.
const MAX_LEASES: usize = 4;

impl<T> Held<T> {
    pub(crate) fn new() -> Self {
        Self {
            copy: None,
            leases: Vec::new(),
            leases_made: 0,
            failed_at: None,
            refused: None,
            is_outage: false,
            refresh_started_at: None,
            led_to_at: None,
            generation: 0,
            last_lease_before: 0,
            dates: Dates::default(),
        }
    }

    /// The confirmation time of an answer. It is not later than the request that first brought a
    /// response with the same `Date`.
    pub(crate) fn confirmed_by(&mut self, answer: &Answer) -> UnixMillis {
        let first = self.dates.first_seen(answer.dated);
        first.map_or(answer.confirmed_at, |first| first.min(answer.confirmed_at))
    }

    pub(crate) fn content(&self) -> Option<&T> {
        self.usable().map(|copy| &copy.content)
    }

    pub(crate) fn etag(&self) -> Option<&str> {
        self.usable()?.etag.as_deref()
    }

    pub(crate) fn confirmed_at(&self) -> Option<UnixMillis> {
        self.usable().map(|copy| copy.confirmed_at)
    }

    /// The age of the copy. `None` if there is no usable copy, or if the clock was set back: the
    /// age is then unknown, so the copy is not fresh.
    pub(crate) fn age(&self, now: UnixMillis) -> Option<Duration> {
        now.since(self.usable()?.confirmed_at)
    }

    /// Whether the copy is fresh, so that it may be used without a fetch.
    pub(crate) fn is_fresh(&self, now: UnixMillis, limits: &TimeLimits) -> bool {
        self.age(now).is_some_and(|age| age < limits.freshness_lifetime)
    }

    /// Decides by `limits` whether the copy may be used, or whether the request fetches, waits or
    /// fails.
    pub(crate) fn availability(
        &self,
        now: UnixMillis,
        limits: &TimeLimits,
        attempt: &mut Attempt,
    ) -> Availability {
        // The copy that this request fetched was invalidated, so the request may fetch once more.
        if attempt.generation != self.generation {
            attempt.generation = self.generation;
            attempt.fetched = None;
        }
        // The shared cache answered this request. If that copy is stale by now, the request may
        // still fetch from the source.
        if self
            .leases
            .iter()
            .any(|lease| lease.is_answered_by_cache && Some(lease.id) == attempt.fetched)
        {
            attempt.fetched = None;
        }
        if self.is_fresh(now, limits) {
            return Availability::Fresh { refresh: self.refresh_due(now, limits) };
        }
        let last_resort = match self.age(now) {
            // Without a time for which copies are fresh, the one that this request has just fetched is.
            Some(age)
                if age < limits.usable_for
                    && limits.freshness_lifetime.is_zero()
                    && self.failed_at.is_none() =>
            {
                Availability::Fresh { refresh: false }
            }
            Some(age) if age < limits.usable_for => Availability::Stale,
            _ => Availability::Unavailable,
        };
        if attempt.has_fetched() || self.cooling_down(now, limits) {
            return last_resort;
        }
        let fetching = self.live_leases(now);
        let Some(oldest) = self.leases.iter().filter_map(|lease| lease.live_age(now)).max() else {
            return Availability::Fetch;
        };
        // A request does not wait too long for two answers that each come in time.
        attempt.waiting_since =
            attempt.waiting_since.map(|since| since.max(self.led_to_at.unwrap_or(since)));
        let waited = attempt.waiting_since.and_then(|since| now.since(since));
        if waited.is_none() {
            attempt.waiting_since = Some(now);
        }
        match waited.unwrap_or_default() {
            waited if waited < OWN_FETCH_AFTER => Availability::Wait,
            _ if fetching < limits.max_fetches => Availability::Fetch,
            waited if waited < limits.fetch_timeout => Availability::Wait,
            // No fetch has failed, so the source may be reachable: the requests that fetched were
            // cancelled. There is no reason to use a stale copy; this request takes over the oldest
            // lease.
            _ if oldest >= OWN_FETCH_AFTER => Availability::Fetch,
            waited if waited < limits.fetch_timeout.saturating_mul(2) => Availability::Wait,
            _ => Availability::Unavailable,
        }
    }

    /// Records that a fetch starts, and returns its lease. The lease ends with [`Held::end_fetch`],
    /// expires, or is replaced as the oldest of [`MAX_LEASES`].
    pub(crate) fn begin_fetch(&mut self, now: UnixMillis, timeout: Duration) -> u64 {
        self.leases.retain(|lease| lease.age(now).is_some());
        if self.live_leases(now) >= MAX_LEASES
            && let Some(oldest) = self.leases.iter().position(|lease| !lease.is_answered_by_cache)
        {
            self.leases.remove(oldest);
        }
        self.leases_made = self.leases_made.wrapping_add(1);
        self.leases.push(Lease {
            id: self.leases_made,
            begun_at: now,
            timeout,
            is_answered_by_cache: false,
        });
        self.leases_made
    }

    /// Ends the leases of all fetches: another request takes over.
    pub(crate) fn take_over(&mut self) {
        self.leases.retain(|lease| lease.is_answered_by_cache);
    }

    /// Records that a document has come that leads to this one, so the fetch goes on.
    pub(crate) fn is_led_to(&mut self, now: UnixMillis) {
        self.led_to_at = Some(now);
    }

    /// As [`Held::begin_fetch`], for a refresh. No other is due before a refresh interval is over.
    pub(crate) fn begin_refresh(&mut self, now: UnixMillis, timeout: Duration) -> u64 {
        self.refresh_started_at = Some(now);
        self.begin_fetch(now, timeout)
    }

    /// Ends the lease of a fetch, whatever its result.
    pub(crate) fn end_fetch(&mut self, lease: u64) {
        self.leases.retain(|held| held.id != lease);
    }

    /// Records that the fetch is not needed, because the shared cache had a fresh copy.
    pub(crate) fn answered_by_cache(&mut self, lease: u64) {
        let answered = self.leases.iter_mut().filter(|held| held.id == lease);
        answered.for_each(|lease| lease.is_answered_by_cache = true);
    }

    /// Records a failed fetch, after which no request fetches for `retry_after`. Ignores answers of
    /// the shared cache, and fetches that began before the current generation.
    pub(crate) fn failed(&mut self, lease: u64, from: AnsweredBy, cause: Cause, now: UnixMillis) {
        if from == AnsweredBy::Source && lease > self.last_lease_before {
            self.failed_at = Some(now);
            self.refused = Some(cause);
            self.is_outage = matches!(cause.refused, Refused::Failed(_));
        }
    }

    /// Records that the last refusal shows an error of the source.
    pub(crate) fn counts_as_outage(&mut self) {
        self.is_outage = self.refused.is_some();
    }

    /// Why the last answer was refused, unless an answer was used since.
    pub(crate) fn refused(&self) -> Option<Cause> {
        self.refused
    }

    /// Confirms the copy that has `etag`. Returns whether that copy is held.
    pub(crate) fn confirm(
        &mut self,
        etag: Option<&str>,
        confirmed_at: UnixMillis,
        now: UnixMillis,
    ) -> bool {
        match &mut self.copy {
            Some(copy) if !copy.dropped && etag.is_some() && copy.etag.as_deref() == etag => {
                copy.confirm(confirmed_at, now);
                self.failed_at = None;
                self.refused = None;
                true
            }
            _ => false,
        }
    }

    /// Confirms the copy, whatever its entity tag: a signed head names it.
    pub(crate) fn confirm_copy(&mut self, confirmed_at: UnixMillis, now: UnixMillis) {
        if let Some(copy) = self.copy.as_mut().filter(|copy| !copy.dropped) {
            copy.confirm(confirmed_at, now);
        }
    }

    /// Takes back the confirmation of the copy: it may be outdated, whenever it was fetched.
    pub(crate) fn unconfirm(&mut self) {
        if let Some(copy) = &mut self.copy {
            copy.confirmed_at = UnixMillis::default();
        }
    }

    /// Holds a new copy, unless it is older than the held or the dropped one. Of two copies of
    /// equal order, the one that was confirmed later stays.
    pub(crate) fn replace(
        &mut self,
        content: T,
        etag: Option<String>,
        confirmed_at: UnixMillis,
        now: UnixMillis,
        order_of: impl Fn(&T, &T) -> Ordering,
    ) -> Replaced {
        if let Some(held) = &self.copy {
            let outdated =
                !held.dropped && confirmed_at < held.confirmed_at && held.confirmed_at <= now;
            match order_of(&content, &held.content) {
                Ordering::Less => return Replaced::Older,
                Ordering::Equal if outdated => return Replaced::Outdated,
                Ordering::Equal | Ordering::Greater => {}
            }
        }
        self.copy = Some(HeldCopy { content, etag, confirmed_at, dropped: false });
        self.failed_at = None;
        self.refused = None;
        Replaced::Taken
    }

    /// Changes the usable copy in place.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut T)) {
        if let Some(copy) = self.copy.as_mut().filter(|copy| !copy.dropped) {
            change(&mut copy.content);
        }
    }

    /// Drops the copy, and starts a generation. The part that `strip` leaves still decides which
    /// answers are older.
    pub(crate) fn drop_copy(&mut self, strip: impl FnOnce(&mut T)) {
        if let Some(copy) = &mut self.copy {
            copy.dropped = true;
            strip(&mut copy.content);
            self.start_generation();
        }
    }

    /// Forgets the copy, held or dropped, unless it is `believed`. If no usable copy is left, a
    /// generation starts.
    pub(crate) fn keep_if(&mut self, believed: impl FnOnce(&T) -> bool) {
        self.copy = self.copy.take().filter(|copy| believed(&copy.content));
        if self.usable().is_none() {
            self.start_generation();
        }
    }

    /// Starts a generation. Every request may fetch once more, and if fetches fail that began
    /// before, no cool-down follows.
    pub(crate) fn start_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.last_lease_before = self.leases_made;
        self.failed_at = None;
    }

    fn usable(&self) -> Option<&HeldCopy<T>> {
        self.copy.as_ref().filter(|copy| !copy.dropped)
    }

    fn cooling_down(&self, now: UnixMillis, limits: &TimeLimits) -> bool {
        self.failed_at.is_some_and(|at| now.since(at).is_some_and(|age| age < limits.retry_after))
    }

    pub(crate) fn refresh_due(&self, now: UnixMillis, limits: &TimeLimits) -> bool {
        let Some(revalidate_after) = limits.revalidate_after else { return false };
        self.age(now) >= Some(revalidate_after)
            && !self.refreshed_lately(now, limits)
            && !self.cooling_down(now, limits)
            && self.live_leases(now) == 0
    }

    /// Whether the document may be fetched now, before a refresh is due: nothing fetches it, and no fetch
    /// has failed just now.
    pub(crate) fn may_refetch(&self, now: UnixMillis, limits: &TimeLimits) -> bool {
        !self.cooling_down(now, limits) && self.live_leases(now) == 0
    }

    /// The limits where only a signature confirms: `stale_if_error` covers errors (RFC 5861 §4), not
    /// answers that confirm nothing, which a cache can give for ever.
    pub(crate) fn signed_limits(&self, limits: TimeLimits) -> TimeLimits {
        if self.refused.is_some() && self.is_outage {
            return limits;
        }
        TimeLimits { usable_for: limits.freshness_lifetime, ..limits }
    }

    /// Whether a refresh began less than a refresh interval ago.
    pub(crate) fn refreshed_lately(&self, now: UnixMillis, limits: &TimeLimits) -> bool {
        self.refresh_started_at
            .is_some_and(|at| now.since(at).is_some_and(|age| age < limits.refresh_interval))
    }

    /// Whether the document is being fetched.
    pub(crate) fn is_being_fetched(&self, now: UnixMillis) -> bool {
        self.live_leases(now) > 0
    }

    fn live_leases(&self, now: UnixMillis) -> usize {
        self.leases.iter().filter(|lease| lease.live_age(now).is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::fetch::DocumentKind;
    use crate::policy::freshness::FreshnessConfig;

    const CAUSE: Cause = Cause { document: DocumentKind::StatusList, refused: Refused::TooOld };

    struct Scene {
        held: Held<u64>,
        limits: TimeLimits,
    }

    impl Scene {
        /// Holds version 1, confirmed at 100 s.
        fn new() -> Self {
            let mut held = Held::new();
            let at = UnixMillis(100_000);
            held.replace(1, Some("\"1\"".into()), at, at, u64::cmp);
            Self {
                held,
                limits: FreshnessConfig::default().check(true).unwrap().limits(None, None),
            }
        }

        fn availability(&self, at: u64, attempt: &mut Attempt) -> Availability {
            self.held.availability(UnixMillis(at), &self.limits, attempt)
        }

        fn first(&self, at: u64) -> Availability {
            self.availability(at, &mut Attempt::default())
        }
    }

    #[test]
    fn what_a_request_fetched_and_was_dropped_since_is_fetched_once_more() {
        let mut scene = Scene::new();
        scene.held.drop_copy(|_| {});
        let attempt = &mut Attempt::default();
        assert_eq!(scene.availability(100_000, attempt), Availability::Fetch);
        attempt.fetches(1);
        let at = UnixMillis(100_000);
        scene.held.replace(2, Some("\"2\"".into()), at, at, u64::cmp);
        // The key that signed it was withdrawn while the request looked for its token's key.
        scene.held.drop_copy(|_| {});
        assert_eq!(scene.availability(100_000, attempt), Availability::Fetch);
        attempt.fetches(2);
        assert_eq!(scene.availability(100_000, attempt), Availability::Unavailable);
    }

    #[test]
    fn age_decides_to_the_millisecond() {
        let scene = Scene::new();
        for (at, expected) in [
            (100_000, Availability::Fresh { refresh: false }),
            (104_999, Availability::Fresh { refresh: false }),
            (105_000, Availability::Fresh { refresh: true }),
            (108_499, Availability::Fresh { refresh: true }),
            (108_500, Availability::Fetch),
            (99_999, Availability::Fetch), // the clock ran backwards
        ] {
            assert_eq!(scene.first(at), expected, "at {at}");
        }
    }

    #[test]
    fn a_failure_lets_the_copy_serve_until_the_outage_bound_and_nobody_waits() {
        for (at, expected) in [
            (108_500, Availability::Stale),
            (168_499, Availability::Stale),
            (168_500, Availability::Unavailable),
            (99_999, Availability::Unavailable), // the clock ran backwards: the age is unknown
        ] {
            let mut scene = Scene::new();
            scene.held.failed(1, AnsweredBy::Source, CAUSE, UnixMillis(at));
            assert_eq!(scene.first(at), expected, "at {at}");
        }
        let mut scene = Scene::new();
        scene.held.failed(1, AnsweredBy::Source, CAUSE, UnixMillis(110_000));
        assert_eq!(scene.first(110_999), Availability::Stale);
        assert_eq!(scene.first(111_000), Availability::Fetch);
        // The reason is told until an answer is used.
        let now = UnixMillis(111_000);
        assert_eq!(scene.held.refused(), Some(CAUSE));
        assert!(!scene.held.confirm(Some("\"2\""), now, now));
        assert_eq!(scene.held.refused(), Some(CAUSE));
        assert!(scene.held.confirm(Some("\"1\""), now, now));
        assert_eq!(scene.held.refused(), None);
    }

    #[test]
    fn one_refresh_at_a_time_and_one_per_interval() {
        let mut scene = Scene::new();
        let lease = scene.held.begin_refresh(UnixMillis(105_000), Duration::from_millis(2500));
        assert_eq!(scene.first(105_001), Availability::Fresh { refresh: false });
        scene.held.end_fetch(lease);
        scene.held.failed(1, AnsweredBy::Source, CAUSE, UnixMillis(105_002));
        assert_eq!(scene.first(108_499), Availability::Fresh { refresh: false });
    }

    #[test]
    fn a_request_polls_then_fetches_itself_and_a_lease_expires() {
        let mut scene = Scene::new();
        scene.held.begin_fetch(UnixMillis(110_000), Duration::from_millis(2500));
        let mut attempt = Attempt::default();
        assert_eq!(scene.availability(110_000, &mut attempt), Availability::Wait);
        assert_eq!(scene.availability(110_249, &mut attempt), Availability::Wait);
        assert_eq!(scene.availability(110_250, &mut attempt), Availability::Fetch);
        for _ in 0..3 {
            scene.held.begin_fetch(UnixMillis(110_250), Duration::from_millis(2500));
        }
        assert_eq!(scene.availability(110_251, &mut attempt), Availability::Wait); // four run
        assert_eq!(scene.availability(112_500, &mut attempt), Availability::Fetch); // one expired
        assert_eq!(scene.first(112_750), Availability::Fetch);
    }

    #[test]
    fn callers_who_hang_up_make_no_copy_serve_longer() {
        let mut scene = Scene::new();
        let mut begin = |at| scene.held.begin_fetch(UnixMillis(at), Duration::from_millis(2500));
        for at in [110_000, 110_250, 110_500, 110_750] {
            begin(at);
        }
        let attempt = &mut Attempt::default();
        assert_eq!(scene.availability(110_750, attempt), Availability::Wait);
        // As each lease expires, another client takes its place and disconnects.
        for at in [112_500, 112_750, 113_000, 113_200] {
            scene.held.begin_fetch(UnixMillis(at), Duration::from_millis(2500));
        }
        assert_eq!(scene.availability(113_249, attempt), Availability::Wait);
        assert_eq!(
            scene.availability(113_250, attempt),
            Availability::Fetch,
            "nothing failed: ask"
        );
        let own = scene.held.begin_fetch(UnixMillis(113_250), Duration::from_millis(2500));
        assert_eq!(scene.held.live_leases(UnixMillis(113_250)), MAX_LEASES);
        // If even that lease is taken, the request is refused, and no stale copy is used.
        scene.held.end_fetch(own);
        for _ in 0..4 {
            scene.held.begin_fetch(UnixMillis(115_700), Duration::from_millis(2500));
        }
        assert_eq!(scene.availability(115_749, attempt), Availability::Wait);
        assert_eq!(scene.availability(115_750, attempt), Availability::Unavailable);
    }

    #[test]
    fn a_clock_set_back_ends_leases() {
        let mut scene = Scene::new();
        for _ in 0..4 {
            scene.held.begin_fetch(UnixMillis(110_000), Duration::from_millis(2500));
        }
        let mut attempt = Attempt::default();
        assert_eq!(scene.availability(110_000, &mut attempt), Availability::Wait);
        assert_eq!(scene.availability(90_000, &mut attempt), Availability::Fetch);
    }

    #[test]
    fn what_was_asked_before_a_key_was_withdrawn_is_no_failure() {
        let mut scene = Scene::new();
        let lease = scene.held.begin_fetch(UnixMillis(109_000), Duration::from_millis(2500));
        scene.held.keep_if(|_| false);
        scene.held.end_fetch(lease);
        scene.held.failed(lease, AnsweredBy::Source, CAUSE, UnixMillis(109_100));
        assert_eq!(scene.first(109_100), Availability::Fetch);
        let lease = scene.held.begin_fetch(UnixMillis(109_100), Duration::from_millis(2500));
        scene.held.end_fetch(lease);
        scene.held.failed(lease, AnsweredBy::Source, CAUSE, UnixMillis(109_200));
        assert_eq!(scene.first(109_200), Availability::Unavailable);
        // A copy signed by a withdrawn key does not order later copies, even if it had expired
        // before.
        let at = UnixMillis(109_300);
        assert_eq!(scene.held.replace(7, None, at, at, u64::cmp), Replaced::Taken);
        scene.held.drop_copy(|_| {});
        scene.held.keep_if(|_| false);
        assert_eq!(scene.held.replace(1, None, at, at, u64::cmp), Replaced::Taken);
        scene.held.keep_if(|_| true);
        assert_eq!(scene.held.content(), Some(&1));
    }

    #[test]
    fn an_older_answer_is_refused_and_a_304_confirms_only_what_it_names() {
        let mut scene = Scene::new();
        let held = &mut scene.held;
        let at = UnixMillis;
        let replace = |held: &mut Held<u64>, version, confirmed_at| {
            held.replace(version, None, at(confirmed_at), at(110_000), u64::cmp)
        };
        assert_eq!(replace(held, 0, 101_000), Replaced::Older);
        assert!(!held.confirm(Some("\"2\""), at(102_000), at(110_000)));
        assert!(!held.confirm(None, at(102_000), at(110_000)));
        assert_eq!(held.confirmed_at(), Some(at(100_000)));
        assert!(held.confirm(Some("\"1\""), at(102_000), at(110_000)));
        assert!(held.confirm(Some("\"1\""), at(101_000), at(110_000)));
        assert_eq!(held.confirmed_at(), Some(at(102_000)));
        assert_eq!(replace(held, 1, 99_000), Replaced::Outdated); // equal, confirmed earlier
        assert_eq!(held.confirmed_at(), Some(at(102_000)));
        assert_eq!(replace(held, 7, 99_000), Replaced::Taken); // newer, whenever it was confirmed
        assert_eq!((held.content(), held.confirmed_at()), (Some(&7), Some(at(99_000))));
        held.drop_copy(|_| {});
        assert_eq!(held.content(), None);
        assert_eq!(replace(held, 6, 103_000), Replaced::Older); // older than the dropped copy
        assert_eq!(replace(held, 7, 103_000), Replaced::Taken);
    }

    #[test]
    fn a_clock_set_back_heals_with_the_next_answer() {
        let mut scene = Scene::new();
        let now = UnixMillis(80_000);
        assert_eq!(scene.first(80_000), Availability::Fetch);
        let replaced = scene.held.replace(1, Some("\"1\"".into()), now, now, u64::cmp);
        assert_eq!(replaced, Replaced::Taken);
        assert_eq!(scene.first(80_001), Availability::Fresh { refresh: false });

        let mut scene = Scene::new();
        assert!(scene.held.confirm(Some("\"1\""), now, now));
        assert_eq!(scene.first(80_001), Availability::Fresh { refresh: false });
    }

    #[test]
    fn a_copy_from_a_cache_is_fetched_when_it_ages() {
        let mut scene = Scene::new();
        let mut attempt = Attempt::default();
        assert_eq!(scene.availability(108_500, &mut attempt), Availability::Fetch);
        let lease = scene.held.begin_fetch(UnixMillis(108_500), Duration::from_millis(2500));
        attempt.fetches(lease);
        // The cache has the copy as confirmed 8.4 s ago.
        let (confirmed_at, now) = (UnixMillis(100_100), UnixMillis(108_500));
        scene.held.replace(2, None, confirmed_at, now, u64::cmp);
        scene.held.answered_by_cache(lease);
        assert_eq!(
            scene.availability(108_599, &mut attempt),
            Availability::Fresh { refresh: true }
        );
        assert_eq!(scene.availability(108_600, &mut attempt), Availability::Fetch);
    }

    #[test]
    fn one_request_fetches_once() {
        let scene = Scene::new();
        let mut attempt = Attempt::default();
        attempt.fetches(1);
        assert_eq!(scene.availability(109_000, &mut attempt), Availability::Stale);
        assert_eq!(scene.availability(200_000, &mut attempt), Availability::Unavailable);
    }
}
