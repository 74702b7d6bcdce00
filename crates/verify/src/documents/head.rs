//! The status head of one issuer, held and refreshed, and the watch that waits for the next one.

use std::cmp::Ordering;
use std::time::Duration;

use edgepass_jose::{Jwk, JwkSet};

use crate::documents::fetch::{Answer, AnsweredBy, Content, DocumentKind, FetchOrder};
use crate::documents::held::{Attempt, Availability, Held, Replaced};
use crate::documents::refused::{Cause, Refused};
use crate::documents::signed::SignedDocument;
use crate::documents::status_head::{Digest, STATUS_HEAD_TYPE, StatusHead};
use crate::policy::freshness::{HeadUse, TimeLimits};
use crate::policy::{IssuerIndex, Policy};
use crate::signature::{Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::url;

/// The held head of an issuer.
pub(crate) struct HeadHolder {
    issuer: IssuerIndex,
    /// The URI that the last list with one named. `None`: the issuer publishes no head.
    uri: Option<String>,
    held: Held<HeldHead>,
    /// The digest of a document that was fetched and is newer than the head.
    outdated_by: Option<Digest>,
    /// The time of the last refresh for that reason.
    refetched_at: Option<UnixMillis>,
    watch: Option<LiveWatch>,
    watches_made: u64,
    /// The time of the last watch that failed.
    failed_watch_at: Option<UnixMillis>,
    /// The time of the first list. A process that ends before a refresh is due needs no watch.
    first_at: Option<UnixMillis>,
    /// Whether the last head that was too old came from a target, which holds no requests.
    is_of_target: bool,
    /// Whether a watch begins with the first list.
    watches_at_once: bool,
    /// Whether a token was checked since the last request of a watch.
    is_used: bool,
    /// The number of heads that were signed later than now by more than `clock_skew`.
    future_heads: u64,
}

struct HeldHead {
    head: StatusHead,
    /// The key that signed the head. When the key is withdrawn, the head is dropped.
    key: Jwk,
}

/// A watch: a task of the host that waits for heads, one request after the other. Like every lease
/// it ends by time, because the host may drop the task.
struct LiveWatch {
    number: u64,
    alive_until: UnixMillis,
    /// The requests that may still follow at once. Another one is added each [`PACE`].
    quick: u32,
    asked_at: UnixMillis,
    /// The number of the head that was held then.
    after: u64,
    /// Whether the watch has asked for the first head.
    has_asked: bool,
    /// Whether the last answer brought a later head, or one with another number.
    has_progress: bool,
}

/// A received head whose signature the host is to check.
pub(crate) struct PendingHead {
    order: FetchOrder,
    from: AnsweredBy,
    /// When the answer was current at the earliest, by the verifier's clock.
    answered_at: UnixMillis,
    etag: Option<String>,
    token: SignedDocument,
}

/// The next step of a watch.
pub(crate) enum WatchStep {
    Fetch(FetchOrder),
    Pause(Duration),
    End,
}

impl PendingHead {
    /// Whether the source or the host's shared cache answered.
    pub(crate) fn from(&self) -> AnsweredBy {
        self.from
    }
}

/// The result of an answer to an order for the head.
pub(crate) enum ReceivedHead {
    /// The answer was used or refused.
    Settled(Result<(), Refused>),
    /// The answer is a redirect to follow with this order.
    Follow(FetchOrder),
    /// The host must check the head's signature first.
    Signature(SignatureRequest, Box<PendingHead>),
}

/// The number of requests of a watch that may follow each other at once.
const QUICK: u32 = 10;
/// The time between further ones.
const PACE: Duration = Duration::from_millis(200);
/// The time after an answer without a later head, and between refreshes for a document that is newer
/// than the head: a cache between gives the same head for a second.
const REPEATED: Duration = Duration::from_secs(1);

impl HeadHolder {
    pub(crate) fn new(issuer: IssuerIndex) -> Self {
        Self {
            issuer,
            uri: None,
            held: Held::new(),
            outdated_by: None,
            refetched_at: None,
            watch: None,
            watches_made: 0,
            failed_watch_at: None,
            first_at: None,
            is_of_target: false,
            watches_at_once: false,
            is_used: false,
            future_heads: 0,
        }
    }

    /// Takes the URI of the head from a list. Returns whether a head confirms that list: not without a
    /// deadline, nor if the policy does not allow the URI.
    pub(crate) fn learn(&mut self, uri: Option<&str>, policy: &Policy, now: UnixMillis) -> bool {
        let Some(uri) = uri.filter(|uri| policy.allows_status_uri(uri)) else { return false };
        if policy.schedule.deadline().is_none() || policy.schedule.head == HeadUse::Ignore {
            return false;
        }
        if self.uri.as_deref() != Some(uri) {
            let new = Self::new(self.issuer);
            let old = std::mem::replace(self, new);
            (self.uri, self.first_at) = (Some(uri.to_owned()), Some(now));
            (self.watches_made, self.watches_at_once) = (old.watches_made, old.watches_at_once);
            self.future_heads = old.future_heads;
        }
        true
    }

    /// Records that a list which was taken names no head: the issuer publishes none any more.
    pub(crate) fn end(&mut self) {
        self.uri = None;
        self.watch = None;
        self.held.keep_if(|_| false);
    }

    /// Whether the issuer publishes a head.
    pub(crate) fn is_published(&self) -> bool {
        self.uri.is_some()
    }

    /// The held head, of any age.
    pub(crate) fn current(&self) -> Option<&StatusHead> {
        self.held.content().map(|held| &held.head)
    }

    pub(crate) fn confirmed_at(&self) -> Option<UnixMillis> {
        self.held.confirmed_at()
    }

    /// Whether a head is held.
    pub(crate) fn is_in_use(&self) -> bool {
        self.current().is_some()
    }

    /// Why the last answer was refused, unless an answer was used since.
    pub(crate) fn refused(&self) -> Option<Cause> {
        self.held.refused()
    }

    /// Records that a document is newer than the held head, which is to be fetched again.
    pub(crate) fn is_older_than(&mut self, document: Digest) {
        self.outdated_by = Some(document);
    }

    /// Records that the keys have changed: a head that was refused may be fetched again.
    pub(crate) fn keys_changed(&mut self, keys: &JwkSet) {
        self.held.keep_if(|held| keys.keys().contains(&held.key));
        self.held.start_generation();
    }

    /// Whether the head may be used, or has to be fetched first.
    pub(crate) fn availability(
        &self,
        policy: &Policy,
        stale_if_error: Option<Duration>,
        attempt: &mut Attempt,
        now: UnixMillis,
    ) -> Availability {
        let Some(limits) = self.limits(policy, stale_if_error) else {
            return Availability::Unavailable;
        };
        let availability = self.held.availability(now, &limits, attempt);
        match availability {
            Availability::Fresh { .. } if self.outdated_by.is_some() && !attempt.has_fetched() => {
                match self.held.is_being_fetched(now) {
                    true if attempt.may_wait(now, limits.fetch_timeout) => Availability::Wait,
                    _ => Availability::Fetch,
                }
            }
            availability => availability,
        }
    }

    /// The limits of what the head confirms.
    pub(crate) fn limits(
        &self,
        policy: &Policy,
        stale_if_error: Option<Duration>,
    ) -> Option<TimeLimits> {
        let limits = policy.schedule.signed_limits(stale_if_error)?;
        Some(self.held.signed_limits(limits))
    }

    pub(crate) fn is_fresh(&self, policy: &Policy, now: UnixMillis) -> bool {
        let limits = policy.schedule.signed_limits(None);
        limits.is_some_and(|limits| self.held.is_fresh(now, &limits))
    }

    /// An order for a request that needs the head.
    pub(crate) fn order(&mut self, policy: &Policy, now: UnixMillis) -> Option<FetchOrder> {
        let lease = self.held.begin_fetch(now, policy.schedule.fetch_timeout);
        self.order_for(policy, lease)
    }

    /// An order for a refresh, if one is due. Called for every token that needs the head.
    pub(crate) fn refresh(&mut self, policy: &Policy, now: UnixMillis) -> Option<FetchOrder> {
        self.is_used = true;
        let limits = policy.schedule.signed_limits(None)?;
        let refetched_lately = self
            .refetched_at
            .is_some_and(|at| now.since(at).is_some_and(|passed| passed < REPEATED));
        let is_outdated = self.outdated_by.is_some() && !refetched_lately;
        if is_outdated && self.held.may_refetch(now, &limits) {
            self.refetched_at = Some(now);
        } else if self.current().is_none() {
            // The first head: before the list that names it is too old by itself.
            let is_due = self.has_been_known_for(policy.schedule.interval(), now);
            if !is_due || !self.held.may_refetch(now, &limits) {
                return None;
            }
        } else if !self.held.refresh_due(now, &limits) {
            return None;
        }
        let lease = self.held.begin_refresh(now, policy.schedule.fetch_timeout);
        self.order_for(policy, lease)
    }

    /// Where to ask for the head now: a cache may have the head of before under the plain URL.
    pub(crate) fn url(&self) -> Option<String> {
        let uri = self.uri.as_ref()?;
        Some(self.outdated_by.map_or_else(|| uri.clone(), |by| by.in_query_of(uri)))
    }

    fn order_for(&self, policy: &Policy, lease: u64) -> Option<FetchOrder> {
        Some(FetchOrder {
            document: DocumentKind::StatusHead,
            url: self.url()?,
            uri: self.uri.clone()?,
            // Only a head that is signed later confirms anything.
            etag: None,
            max_bytes: policy.max_response_bytes,
            timeout: policy.schedule.fetch_timeout,
            wait: None,
            may_read_cache: self.held.content().is_none(),
            issuer: self.issuer,
            lease,
            redirects: 0,
            first_confirmed_at: None,
        })
    }

    /// Ends the order: the shared cache had a fresh head.
    pub(crate) fn release(&mut self, order: &FetchOrder) {
        self.held.answered_by_cache(order.lease);
    }

    /// Takes the answer to an order for the head.
    pub(crate) fn receive(
        &mut self,
        order: FetchOrder,
        answer: Answer,
        keys: Option<&JwkSet>,
        policy: &Policy,
        now: UnixMillis,
    ) -> ReceivedHead {
        if let Some(url) = order.redirect(&answer.content, policy) {
            let confirmed_at = order.confirmed_at(answer.confirmed_at);
            return ReceivedHead::Follow(order.redirected(url, None, confirmed_at));
        }
        if answer.from == AnsweredBy::Source {
            self.held.end_fetch(order.lease);
        }
        let parsed = match answer.content {
            Content::Body { bytes, media_type, etag } => {
                let none = JwkSet::default();
                let typ = DocumentKind::StatusHead.accept();
                match media_type.as_deref() == Some(typ) {
                    false => Err(Refused::MediaType),
                    true => SignedDocument::parse(
                        &bytes,
                        STATUS_HEAD_TYPE,
                        keys.unwrap_or(&none),
                        &policy.list_rules(),
                    )
                    .map(|token| (token, etag)),
                }
            }
            other => Err(other.refused()),
        };
        match parsed {
            Err(refused) => {
                self.refuse(&order, answer.from, refused, now);
                ReceivedHead::Settled(Err(refused))
            }
            Ok((token, etag)) => {
                let checked = token.check_signature();
                // A held request is answered long after it was sent.
                let answered_at = match order.wait {
                    Some(_) => now,
                    None => order.confirmed_at(answer.confirmed_at),
                };
                let pending = PendingHead { order, from: answer.from, answered_at, etag, token };
                match checked {
                    Checked::ByHost(request) => ReceivedHead::Signature(request, Box::new(pending)),
                    Checked::Here(valid) => ReceivedHead::Settled(
                        self.signature_checked(pending, valid, keys, policy, now),
                    ),
                }
            }
        }
    }

    /// Holds or refuses a received head, once it is known whether its signature is `valid`.
    pub(crate) fn signature_checked(
        &mut self,
        pending: PendingHead,
        valid: bool,
        keys: Option<&JwkSet>,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        let taken = self.take(&pending, valid, keys, policy, now);
        if let Err(refused) = taken {
            self.refuse(&pending.order, pending.from, refused, now);
        }
        taken
    }

    /// The head confirms what it names at the time at which it was signed. If that is later by this
    /// clock, the time at which the request was sent, less `Age`, counts instead; for a request that was
    /// held, the time at which its answer came. So neither the time for which a request was held nor a cache between matters. The
    /// limits leave room for `clock_skew`. A clock that is further behind lets copies serve for longer by
    /// that much if a cache repeats heads, and is counted; one that is further ahead makes heads look old.
    fn take(
        &mut self,
        pending: &PendingHead,
        valid: bool,
        keys: Option<&JwkSet>,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        let PendingHead { order, answered_at, etag, token, .. } = pending;
        // The key may have been withdrawn while the host checked the signature.
        if !keys.is_some_and(|keys| keys.keys().contains(token.key())) {
            return Err(Refused::Key);
        }
        if !valid {
            return Err(Refused::Signature);
        }
        let head = StatusHead::from_claims(&token.claims()?, &order.uri)?;
        let limits = policy.schedule.signed_limits(None).ok_or(Refused::TooOld)?;
        if head.issued_at > now.plus(policy.schedule.clock_skew) {
            self.future_heads = self.future_heads.saturating_add(1);
        }
        let confirmed_at = head.issued_at.min(*answered_at);
        if now.since(confirmed_at).is_none_or(|age| age >= limits.freshness_lifetime) {
            self.is_of_target = head.wait.is_none();
            return Err(Refused::TooOld);
        }
        let is_later = self.current().is_none_or(|held| head.issued_at > held.issued_at);
        let (key, number) = (token.key().clone(), head.number);
        // One that was signed by a wrong clock, or is not fresh any more, orders no others: the age of
        // each is limited anyway.
        let latest = now.plus(policy.schedule.clock_skew);
        let is_fresh = self.held.is_fresh(now, &limits);
        let by_time = |new: &HeldHead, held: &HeldHead| -> Ordering {
            match is_fresh && held.head.issued_at <= latest {
                true => new.head.issued_at.cmp(&held.head.issued_at),
                false => Ordering::Greater,
            }
        };
        match self.held.replace(HeldHead { head, key }, etag.clone(), confirmed_at, now, by_time) {
            Replaced::Older => return Err(Refused::Older),
            Replaced::Taken | Replaced::Outdated => {}
        }
        if is_later {
            self.outdated_by = None;
        }
        if let Some(watch) = self.watch.as_mut().filter(|_| order.wait.is_some()) {
            watch.has_progress = is_later || number != watch.after;
        }
        Ok(())
    }

    fn refuse(&mut self, order: &FetchOrder, from: AnsweredBy, refused: Refused, now: UnixMillis) {
        if order.wait.is_some() && refused == Refused::Older {
            // Meanwhile a request has brought a later head.
            return;
        }
        if order.wait.is_some() {
            // A watch that fails is no reason to doubt the source: a proxy may not bear it.
            self.watch = None;
            self.failed_watch_at = Some(now);
            return;
        }
        let cause = Cause { document: DocumentKind::StatusHead, refused };
        self.held.failed(order.lease, from, cause, now);
        // A target keeps its last head when the issuer is away.
        if refused == Refused::TooOld && std::mem::take(&mut self.is_of_target) {
            self.held.counts_as_outage();
        }
    }

    /// Lets a watch begin with the first list.
    pub(crate) fn watch_at_once(&mut self) {
        self.watches_at_once = true;
    }

    /// Whether a watch may begin: the source holds requests, as far as is known, the verifier has been
    /// used for a refresh interval, no watch lives, and none has failed lately.
    pub(crate) fn wants_watch(&self, policy: &Policy, now: UnixMillis) -> bool {
        let has_failed = self.failed_watch_at.is_some_and(|at| {
            now.since(at).is_some_and(|passed| passed < policy.schedule.interval())
        });
        let holds = match self.current() {
            Some(head) => head.wait.is_some(),
            None => self.watches_at_once && self.uri.is_some(),
        };
        let interval = policy.schedule.interval();
        let lasts = self.watches_at_once || self.has_been_known_for(interval, now);
        self.is_used
            && holds
            && lasts
            && policy.schedule.watch_wait().is_some()
            && !has_failed
            && !self.has_live_watch(now)
    }

    /// Whether the first list with the URI came so long ago.
    fn has_been_known_for(&self, time: Duration, now: UnixMillis) -> bool {
        self.first_at.is_some_and(|at| now.since(at).is_some_and(|known| known >= time))
    }

    /// See [`Counters::clock`](crate::verifier::Counters::clock).
    pub(crate) fn future_heads(&self) -> u64 {
        self.future_heads
    }

    /// Whether a watch lives, or has not ended as long as it may.
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    fn has_live_watch(&self, now: UnixMillis) -> bool {
        let is_live = |watch: &LiveWatch| now >= watch.asked_at && now < watch.alive_until;
        self.watch.as_ref().is_some_and(is_live)
    }

    /// Begins a watch. Returns its number.
    pub(crate) fn begin_watch(&mut self, policy: &Policy, now: UnixMillis) -> Option<u64> {
        if !self.wants_watch(policy, now) {
            return None;
        }
        self.watches_made = self.watches_made.wrapping_add(1);
        let number = self.watches_made;
        let alive_until = now.plus(policy.schedule.fetch_timeout);
        let asked_at = now.minus(PACE);
        self.watch = Some(LiveWatch {
            number,
            alive_until,
            quick: QUICK,
            asked_at,
            after: 0,
            has_asked: false,
            has_progress: true,
        });
        Some(number)
    }

    /// The next step of a watch that ends at `ends_at`.
    pub(crate) fn watch_step(
        &mut self,
        number: u64,
        ends_at: UnixMillis,
        policy: &Policy,
        now: UnixMillis,
    ) -> WatchStep {
        if self.current().is_none() {
            let is_first = self.watch.as_mut().is_some_and(|watch| {
                watch.number == number && !std::mem::replace(&mut watch.has_asked, true)
            });
            let order = if is_first { self.order(policy, now) } else { None };
            if order.is_none() && self.watch.as_ref().is_some_and(|watch| watch.number == number) {
                (self.watch, self.failed_watch_at) = (None, Some(now));
            }
            return order.map_or(WatchStep::End, WatchStep::Fetch);
        }
        let left = ends_at.since(now).unwrap_or_default();
        let longest = self.current().and_then(|head| head.wait);
        let wait = policy.schedule.watch_wait().zip(longest);
        let wait = wait.map(|(own, longest)| own.min(longest).min(left).as_secs());
        let wait = wait.filter(|wait| *wait > 0 && self.is_used);
        let Some(wait) = wait.map(Duration::from_secs) else {
            self.end_watch(number);
            return WatchStep::End;
        };
        let after = self.current().map_or(0, |head| head.number);
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.number == number) else {
            return WatchStep::End;
        };
        let passed = now.since(watch.asked_at).unwrap_or_default();
        let earned = passed.as_millis().checked_div(PACE.as_millis()).unwrap_or_default();
        let earned = u32::try_from(earned).unwrap_or(QUICK);
        watch.quick = watch.quick.saturating_add(earned).min(QUICK);
        let pause = if watch.has_progress { PACE } else { REPEATED }.saturating_sub(passed);
        if !pause.is_zero() && (watch.quick == 0 || !watch.has_progress) {
            watch.alive_until = now.plus(pause).plus(policy.schedule.fetch_timeout);
            return WatchStep::Pause(pause);
        }
        watch.quick = watch.quick.saturating_sub(1);
        (watch.asked_at, watch.after) = (now, after);
        self.is_used = false;
        let timeout = wait.saturating_add(policy.schedule.fetch_timeout);
        watch.alive_until = now.plus(timeout).plus(policy.schedule.fetch_timeout);
        let Some(order) = self.order_for(policy, WATCH_LEASE) else { return WatchStep::End };
        let url = url::with_parameter(&order.uri, "after", after);
        WatchStep::Fetch(FetchOrder {
            url,
            wait: Some(wait),
            timeout,
            may_read_cache: false,
            ..order
        })
    }

    fn end_watch(&mut self, number: u64) {
        if self.watch.as_ref().is_some_and(|watch| watch.number == number) {
            self.watch = None;
        }
    }
}

/// The lease of a watch's requests: none, since no other request waits for them.
const WATCH_LEASE: u64 = 0;
