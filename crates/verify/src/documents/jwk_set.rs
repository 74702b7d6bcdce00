//! Step 3: the issuer's JWK Set, held and refreshed, in which a token's key is looked up.

use std::cmp::Ordering;
use std::time::Duration;

use edgepass_jose::jwk_set::{JwkSetError, KeyMatch};
use edgepass_jose::{Algorithm, Jwk, JwkSet};

use crate::checks::KeyFetches;
use crate::documents::fetch::{Answer, AnsweredBy, Content, DocumentKind, Failure, FetchOrder};
use crate::documents::head::HeadHolder;
use crate::documents::held::{Attempt, Availability, Held, Replaced};
use crate::documents::metadata;
use crate::documents::refused::{Cause, Refused};
use crate::documents::status_head::{Digest, StatusHead};
use crate::error::VerifyError;
use crate::policy::freshness::{HttpFreshness, KeyFreshness, TimeLimits, UNKNOWN_KEY_COOL_DOWN};
use crate::policy::{IssuerIndex, Policy, PolicyError};
use crate::time::UnixMillis;
use crate::url;

/// The source of the issuer's keys.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A given JWK Set, used for as long as the verifier exists, whatever its `exp`.
    Given(JwkSet),
    /// A JWK Set that is fetched from this URL.
    Url(JwksUri),
    /// A JWK Set that is fetched from `jwks_uri` of the issuer's metadata (RFC 8414).
    Discover,
    /// No JWK Set, now or later. Every token is refused with [`VerifyError::KeysUnavailable`].
    Unusable,
}

impl KeySource {
    /// Reads a given JWK Set.
    ///
    /// # Errors
    ///
    /// [`JwkSetError`] if the set is refused as a whole. Single keys that cannot be used are left
    /// out instead.
    pub fn given(text: &[u8], policy: &Policy) -> Result<Self, JwkSetError> {
        JwkSet::parse(text, &policy.algorithms, |key| policy.takes_key(key)).map(Self::Given)
    }
}

/// The URL of a JWK Set: https, or http on loopback. Its responses decide which keys are trusted.
#[derive(Clone, Debug)]
pub struct JwksUri(String);

impl JwksUri {
    /// Checks the URL.
    ///
    /// # Errors
    ///
    /// [`PolicyError::JwksUriInvalid`].
    pub fn parse(url: &str) -> Result<Self, PolicyError> {
        if url::is_acceptable(url) {
            Ok(Self(url.to_owned()))
        } else {
            Err(PolicyError::JwksUriInvalid)
        }
    }
}

pub(crate) struct KeyHolder {
    issuer: IssuerIndex,
    source: KeySource,
    /// The URL of the set, once known. A URL from metadata is forgotten when an answer from there
    /// is refused.
    jwks_uri: Option<String>,
    /// Whether the metadata are looked for as those of OpenID Connect, since the source has none of
    /// RFC 8414.
    is_openid: bool,
    set: Held<JwkSet>,
    /// The digest of the body of the held set.
    digest: Option<Digest>,
    /// The digest that the held status head names, if it is another one.
    named: Option<Digest>,
    /// Whether a status head has confirmed the held set.
    is_headed: bool,
    /// The freshness of the held set by HTTP.
    http: HttpFreshness,
    /// The freshness lifetime that the source last stated.
    stated: Option<Duration>,
    /// The time of the last answer of the source that confirmed the held set.
    answered_at: Option<UnixMillis>,
    /// The time at which an unknown `kid` last caused a fetch.
    unknown_key_at: Option<UnixMillis>,
    /// The number of answers of the source that confirmed an aged set: see [`KeyHolder::is_aged`].
    aged: u64,
}

/// The result of receiving a JWK Set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReceivedSet {
    /// The received set is held from now on. `withdraws`: a key of the set held before is not in
    /// it.
    Replaced {
        withdraws: bool,
    },
    /// Status 304 for the held set.
    Confirmed,
    /// The held set stays, because it is as new and was confirmed later.
    Ignored,
    Refused(Refused),
}

pub(crate) enum KeyLookup {
    Use {
        key: Jwk,
        /// Whether another key has the same `kid` and algorithm, and was not asked for.
        has_other: bool,
        stale: bool,
        refresh: Option<FetchOrder>,
    },
    Fetch(FetchOrder),
    Wait,
    Refuse(VerifyError),
}

/// Whether an issuer's set may be used.
pub(crate) enum SetLookup {
    /// If a refresh is due, [`KeyHolder::refresh_order`] orders it.
    Use {
        stale: bool,
        refresh: bool,
    },
    Fetch(FetchOrder),
    Wait,
    Refuse,
}

impl KeyHolder {
    pub(crate) fn new(source: KeySource, issuer: IssuerIndex) -> Self {
        let jwks_uri = match &source {
            KeySource::Url(url) => Some(url.0.clone()),
            KeySource::Given(_) | KeySource::Discover | KeySource::Unusable => None,
        };
        Self {
            is_openid: false,
            issuer,
            source,
            jwks_uri,
            set: Held::new(),
            digest: None,
            named: None,
            is_headed: false,
            http: HttpFreshness::default(),
            stated: None,
            answered_at: None,
            unknown_key_at: None,
            aged: 0,
        }
    }

    /// Finds the key for `key_id` and `algorithm`; of two keys the second one if `other` is set. If
    /// it cannot, says whether to fetch a document, to wait for another request's fetch, or to
    /// refuse the token.
    pub(crate) fn look_up(
        &mut self,
        (key_id, algorithm): (Option<&str>, Algorithm),
        other: bool,
        (policy, head): (&Policy, &mut HeadHolder),
        stale_if_error: Option<Duration>,
        fetches: &mut KeyFetches,
        now: UnixMillis,
    ) -> KeyLookup {
        match &self.source {
            KeySource::Given(set) => {
                let found = set.find(key_id, algorithm);
                return match choose(found, other) {
                    Some((key, has_other)) => {
                        KeyLookup::Use { key, has_other, stale: false, refresh: None }
                    }
                    None => KeyLookup::Refuse(VerifyError::KeyNotFound),
                };
            }
            KeySource::Unusable => return KeyLookup::Refuse(VerifyError::KeysUnavailable),
            KeySource::Url(_) | KeySource::Discover => {}
        }
        let found = self.look_up_set((policy, head), stale_if_error, fetches, now);
        let (stale, refresh) = match found {
            SetLookup::Use { stale, refresh } => (stale, refresh),
            SetLookup::Fetch(order) => return KeyLookup::Fetch(order),
            SetLookup::Wait => return KeyLookup::Wait,
            SetLookup::Refuse => return KeyLookup::Refuse(VerifyError::KeysUnavailable),
        };
        let found = self.set.content().map_or(KeyMatch::None, |set| set.find(key_id, algorithm));
        if let Some((key, has_other)) = choose(found, other) {
            let refresh = refresh.then(|| self.refresh_order(policy, head, now)).flatten();
            return KeyLookup::Use { key, has_other, stale, refresh };
        }
        match found {
            KeyMatch::One(_) | KeyMatch::Two(..) | KeyMatch::Unfit => {
                KeyLookup::Refuse(VerifyError::KeyNotFound)
            }
            KeyMatch::None => {
                let limits = self.limits(policy, stale_if_error, now);
                self.look_up_unknown(policy, &limits, &mut fetches.attempt, now)
            }
        }
    }

    /// Looks up a fetched set, whatever its keys. If it may not be used, says whether to fetch a
    /// document, to wait for another request's fetch, or to refuse the token.
    pub(crate) fn look_up_set(
        &mut self,
        (policy, head): (&Policy, &mut HeadHolder),
        stale_if_error: Option<Duration>,
        fetches: &mut KeyFetches,
        now: UnixMillis,
    ) -> SetLookup {
        if self.set.content().is_some_and(|set| has_expired(set, policy, now)) {
            // The `iat` of the dropped set still decides which sets are older.
            self.set.drop_copy(|_| {});
        }
        if self.is_headed && !head.is_published() {
            // The issuer has stopped to publish heads: HTTP confirms again.
            (self.is_headed, self.named) = (false, None);
        }
        let mut limits = self.limits(policy, stale_if_error, now);
        if self.is_headed && self.set.content().is_some() && !self.set.is_fresh(now, &limits) {
            // Only a head can confirm the set. If a fresh one does not, the set has changed.
            match head.availability(policy, stale_if_error, &mut fetches.head, now) {
                Availability::Fresh { .. } => {}
                Availability::Fetch => {
                    fetches.attempt.yields();
                    let order = head.order(policy, now);
                    return order.map_or(SetLookup::Refuse, SetLookup::Fetch);
                }
                Availability::Wait => {
                    fetches.attempt.yields();
                    return SetLookup::Wait;
                }
                // The source may have a later set all the same. If the keys do not fit the head, it has.
                Availability::Stale | Availability::Unavailable => {
                    let most = head.limits(policy, stale_if_error).map(|limits| limits.usable_for);
                    limits.usable_for = policy.keys.at_most(most.unwrap_or_default());
                }
            }
        }
        match self.set.availability(now, &limits, &mut fetches.attempt) {
            Availability::Fresh { .. } if self.is_headed => {
                SetLookup::Use { stale: false, refresh: true }
            }
            Availability::Fresh { refresh } => SetLookup::Use { stale: false, refresh },
            Availability::Stale => SetLookup::Use { stale: true, refresh: false },
            Availability::Fetch => SetLookup::Fetch(self.order(policy, now)),
            Availability::Wait => SetLookup::Wait,
            Availability::Unavailable => SetLookup::Refuse,
        }
    }

    /// Takes a status head that was accepted: it confirms the set whose digest it names. From then on
    /// nothing else confirms it. Returns the digest of the set if it may be newer than the head.
    pub(crate) fn named_by(
        &mut self,
        head: &StatusHead,
        confirmed_at: UnixMillis,
        policy: &Policy,
        now: UnixMillis,
    ) -> Option<Digest> {
        if !self.may_be_headed(policy) {
            return None;
        }
        let named = head.jwk_set?;
        let is_same = self.digest == Some(named);
        let named = Some(named).filter(|_| !is_same);
        if named.is_some() && named != self.named {
            // Every request may fetch the set once more.
            self.set.start_generation();
        }
        self.named = named;
        let was_headed = std::mem::replace(&mut self.is_headed, true);
        match (is_same, was_headed) {
            (true, _) => {
                if !was_headed {
                    // What HTTP confirmed before does not count.
                    self.set.unconfirm();
                }
                self.set.confirm_copy(confirmed_at, now);
                None
            }
            (false, false) => {
                let is_later = self.set.confirmed_at() > Some(confirmed_at);
                self.set.unconfirm();
                self.digest.filter(|_| is_later)
            }
            (false, true) => None,
        }
    }

    /// Whether a head can confirm the set.
    fn may_be_headed(&self, policy: &Policy) -> bool {
        let is_fetched = matches!(self.source, KeySource::Url(_) | KeySource::Discover);
        is_fetched && policy.keys.freshness == KeyFreshness::Deadline
    }

    /// Whether a head has confirmed the set, and nothing else does since.
    pub(crate) fn is_headed(&self) -> bool {
        self.is_headed
    }

    /// Whether the issuer publishes heads, and none was held yet that could confirm the set. What HTTP says
    /// of the set does not count then.
    pub(crate) fn awaits_head(&self, policy: &Policy, head: &HeadHolder) -> bool {
        head.is_published() && !head.is_in_use() && !self.is_headed && self.may_be_headed(policy)
    }

    /// An order for the set if the head names another one, and nothing fetches it yet.
    pub(crate) fn changed(&mut self, policy: &Policy, now: UnixMillis) -> Option<FetchOrder> {
        self.named?;
        let limits = self.limits(policy, None, now);
        let is_due = self.set.may_refetch(now, &limits);
        is_due.then(|| {
            let lease = self.set.begin_refresh(now, limits.fetch_timeout);
            self.order_for(policy, lease)
        })
    }

    /// Of two given sets, keeps the one with the later `iat`: if equal, its own.
    pub(crate) fn keep_newer(&mut self, other: Self) {
        if let (KeySource::Given(own), KeySource::Given(held)) = (&self.source, &other.source)
            && order_of(own, held) == Ordering::Less
        {
            self.source = other.source;
        }
    }

    /// Why the last answer was refused, unless an answer was used since.
    pub(crate) fn refused(&self) -> Option<Cause> {
        self.set.refused()
    }

    /// The set, whatever its age, for the signatures of status lists.
    pub(crate) fn current(&self) -> Option<&JwkSet> {
        match &self.source {
            KeySource::Given(set) => Some(set),
            KeySource::Unusable => None,
            KeySource::Url(_) | KeySource::Discover => self.set.content(),
        }
    }

    pub(crate) fn is_fresh(&self, policy: &Policy, now: UnixMillis) -> bool {
        self.set.is_fresh(now, &self.limits(policy, None, now))
    }

    /// The lifetime of the held set by HTTP, if the policy uses it.
    pub(crate) fn fresh_for(&self, policy: &Policy) -> Option<Duration> {
        let is_http = policy.keys.freshness == KeyFreshness::Http;
        is_http.then_some(self.http.lifetime)
    }

    fn limits(
        &self,
        policy: &Policy,
        stale_if_error: Option<Duration>,
        now: UnixMillis,
    ) -> TimeLimits {
        let (schedule, rules) = (&policy.schedule, &policy.keys);
        match rules.freshness {
            KeyFreshness::Deadline if self.is_headed => {
                let limits = schedule.signed_limits(stale_if_error);
                let limits = limits.unwrap_or_else(|| schedule.key_limits(rules, stale_if_error));
                let usable_for = rules.at_most(limits.usable_for);
                self.set.signed_limits(TimeLimits { usable_for, ..limits })
            }
            KeyFreshness::Deadline => schedule.key_limits(rules, stale_if_error),
            KeyFreshness::Http => {
                schedule.http_key_limits(rules, self.http, self.set.age(now), stale_if_error)
            }
        }
    }

    /// See [`Counters::aged`](crate::verifier::Counters::aged).
    pub(crate) fn aged(&self) -> u64 {
        self.aged
    }

    /// Whether less than half of `max_list_age` remains until the set's `exp`. `false` if either is
    /// not set.
    fn is_aged(&self, policy: &Policy, now: UnixMillis) -> bool {
        let expiration = self.set.content().and_then(JwkSet::expiration);
        let left = expiration.map(|expiration| expiration.since(now.numeric_date()));
        left.zip(policy.max_list_age).is_some_and(|(left, age)| left < age / 2)
    }

    pub(crate) fn confirmed_at(&self) -> Option<UnixMillis> {
        self.set.confirmed_at()
    }

    /// Ends the order: the shared cache had a fresh copy.
    pub(crate) fn release(&mut self, order: &FetchOrder) {
        self.set.answered_by_cache(order.lease);
    }

    /// Takes the answer to an order for the metadata, which must name the issuer and the URL of its
    /// JWK Set. `false`: the source answers, but has none there, and the next order looks where
    /// OpenID Connect has them.
    pub(crate) fn receive_metadata(
        &mut self,
        order: &FetchOrder,
        answer: Answer,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<bool, Refused> {
        self.set.end_fetch(order.lease);
        let found = match &answer.content {
            Content::Body { bytes, .. } => {
                metadata::jwks_uri(bytes, policy.issuer.as_str()).ok_or(Refused::Subject)
            }
            other => Err(other.refused()),
        };
        match found {
            Ok(uri) => {
                self.jwks_uri = Some(uri);
                self.set.is_led_to(now);
                Ok(true)
            }
            Err(refused) => {
                let is_elsewhere = match refused {
                    Refused::Failed(Failure::Status(status)) => (400..500).contains(&status),
                    Refused::Failed(_) => false,
                    _ => true,
                };
                self.is_openid = is_elsewhere && !self.is_openid;
                if self.is_openid {
                    self.set.is_led_to(now);
                    return Ok(false);
                }
                self.refuse(order, refused, answer.from, now);
                Err(refused)
            }
        }
    }

    /// Takes the answer to an order for the JWK Set.
    pub(crate) fn receive_set(
        &mut self,
        order: &FetchOrder,
        answer: Answer,
        (policy, head): (&Policy, &mut HeadHolder),
        now: UnixMillis,
    ) -> ReceivedSet {
        if answer.from == AnsweredBy::Source {
            self.set.end_fetch(order.lease);
        }
        let confirmed_at = self.set.confirmed_by(&answer);
        let (from, fresh_for) = (answer.from, answer.fresh_for);
        let age = now.since(confirmed_at).unwrap_or_default();
        if policy.keys.freshness == KeyFreshness::Deadline
            && !self.is_headed
            && is_too_old(&answer.content, confirmed_at, &self.limits(policy, None, now), now)
        {
            self.refuse(order, Refused::TooOld, from, now);
            return ReceivedSet::Refused(Refused::TooOld);
        }
        let received = match answer.content {
            // Asked for before a head was in use.
            Content::NotModified if self.is_headed => ReceivedSet::Ignored,
            Content::NotModified if self.set.confirm(order.etag.as_deref(), confirmed_at, now) => {
                ReceivedSet::Confirmed
            }
            Content::Body { bytes, etag, .. } => {
                match JwkSet::parse(&bytes, &policy.algorithms, |key| policy.takes_key(key)) {
                    Ok(set) if has_expired(&set, policy, now) => {
                        ReceivedSet::Refused(Refused::Expired)
                    }
                    Ok(set) if self.is_headed => self.take_headed(set, &bytes, etag, head, now),
                    Ok(set) => {
                        let is_http = policy.keys.freshness == KeyFreshness::Http;
                        let is_newest = is_http && from == AnsweredBy::Source;
                        let modes = (is_http, is_newest);
                        let received = self.replace(set, etag, modes, confirmed_at, now);
                        if matches!(received, ReceivedSet::Replaced { .. }) {
                            self.digest = Some(Digest::of(bytes.trim_ascii_end()));
                        }
                        received
                    }
                    Err(_) => ReceivedSet::Refused(Refused::Malformed),
                }
            }
            other => ReceivedSet::Refused(other.refused()),
        };
        match (&received, from) {
            (ReceivedSet::Refused(_), _) => {}
            (_, AnsweredBy::Cache) => self.http = HttpFreshness::of_cache(fresh_for),
            (_, AnsweredBy::Source) => {
                // A 304 need not repeat the lifetime (RFC 9111 §4.3.4).
                if received != ReceivedSet::Confirmed || fresh_for.is_some() {
                    self.stated = fresh_for;
                }
                let held_age = self.set.age(now).unwrap_or_default();
                self.http = HttpFreshness::of_response(self.stated, age, held_age, now);
                self.answered_at = Some(now);
                let is_confirmed = received != ReceivedSet::Ignored && !self.is_headed;
                if is_confirmed && self.is_aged(policy, now) {
                    self.aged = self.aged.saturating_add(1);
                }
            }
        }
        if let ReceivedSet::Refused(refused) = received {
            self.refuse(order, refused, from, now);
            if matches!(self.source, KeySource::Discover) {
                self.jwks_uri = None;
            }
        }
        received
    }

    /// Records that the answer to an order was refused.
    fn refuse(&mut self, order: &FetchOrder, refused: Refused, from: AnsweredBy, now: UnixMillis) {
        let cause = Cause { document: order.document, refused };
        self.set.failed(order.lease, from, cause, now);
    }

    /// Replaces the set. By HTTP, sets have no order: an issuer that promises no deadline may give
    /// `iat` another meaning (RFC 7517 §5). The newest answer then brings other keys even if it was
    /// confirmed before the held set: an `Age` says how old an answer is, not how new the set.
    fn replace(
        &mut self,
        set: JwkSet,
        etag: Option<String>,
        (is_http, is_newest): (bool, bool),
        confirmed_at: UnixMillis,
        now: UnixMillis,
    ) -> ReceivedSet {
        let held = self.set.content().map_or(&[][..], JwkSet::keys);
        let withdraws = held.iter().any(|key| !set.keys().contains(key));
        let order_of = |new: &JwkSet, held: &JwkSet| match order_of(new, held) {
            _ if is_newest && new.keys() != held.keys() => Ordering::Greater,
            _ if is_http => Ordering::Equal,
            order => order,
        };
        match self.set.replace(set, etag, confirmed_at, now, order_of) {
            Replaced::Taken => ReceivedSet::Replaced { withdraws },
            Replaced::Outdated => ReceivedSet::Ignored,
            Replaced::Older => ReceivedSet::Refused(Refused::Older),
        }
    }

    /// Takes a set where a status head confirms it, and nothing else. The set that the head names is
    /// held whatever its dates. A later one than the held set was current when that was, or is newer:
    /// it keeps the confirmation of the held set until another head names it.
    fn take_headed(
        &mut self,
        set: JwkSet,
        body: &[u8],
        etag: Option<String>,
        head: &mut HeadHolder,
        now: UnixMillis,
    ) -> ReceivedSet {
        let digest = Digest::of(body.trim_ascii_end());
        let is_named = head.current().and_then(|head| head.jwk_set) == Some(digest);
        // An issuer renews a set with a later `exp`.
        let dates = |set: &JwkSet| (set.issued_at(), set.expiration());
        let order = self.set.content().map(|held| dates(&set).cmp(&dates(held)));
        if !is_named {
            match order {
                Some(Ordering::Less) => return ReceivedSet::Refused(Refused::Older),
                Some(Ordering::Equal) if self.named.is_some() => {
                    // Which of the two is older only another head can say.
                    head.is_older_than(digest);
                    return ReceivedSet::Refused(Refused::Older);
                }
                // Nothing new, and no head confirms it: not asked for again at once.
                Some(Ordering::Equal) => return ReceivedSet::Refused(Refused::Older),
                Some(Ordering::Greater) | None => head.is_older_than(digest),
            }
        }
        let confirmed_at = if is_named { head.confirmed_at() } else { self.set.confirmed_at() };
        let held = self.set.content().map_or(&[][..], JwkSet::keys);
        let withdraws = held.iter().any(|key| !set.keys().contains(key));
        let confirmed_at = confirmed_at.unwrap_or_default();
        match self.set.replace(set, etag, confirmed_at, now, |_, _| Ordering::Greater) {
            Replaced::Older => return ReceivedSet::Refused(Refused::Older),
            Replaced::Outdated => return ReceivedSet::Ignored,
            Replaced::Taken => {}
        }
        (self.digest, self.named) = (Some(digest), None);
        ReceivedSet::Replaced { withdraws }
    }

    /// Decides about a token for which the held set has no key. If the set is younger than the
    /// refresh interval, or by HTTP if the source answered within the cool-down, the key does not
    /// exist. Otherwise such tokens cause one fetch per
    /// [`UNKNOWN_KEY_COOL_DOWN`], however many there are. The others get
    /// [`VerifyError::KeysUnavailable`].
    fn look_up_unknown(
        &mut self,
        policy: &Policy,
        limits: &TimeLimits,
        attempt: &mut Attempt,
        now: UnixMillis,
    ) -> KeyLookup {
        let is_http = policy.keys.freshness == KeyFreshness::Http;
        let (age, known_for) = match is_http {
            true => (self.answered_at.and_then(|at| now.since(at)), UNKNOWN_KEY_COOL_DOWN),
            false => (self.set.age(now), limits.refresh_interval),
        };
        if age.is_some_and(|age| age < known_for) {
            return KeyLookup::Refuse(VerifyError::KeyNotFound);
        }
        if is_http && self.set.is_being_fetched(now) && !attempt.has_fetched() {
            return match attempt.may_wait(now, limits.fetch_timeout) {
                true => KeyLookup::Wait,
                false => KeyLookup::Refuse(VerifyError::KeysUnavailable),
            };
        }
        let cooling = self
            .unknown_key_at
            .is_some_and(|at| now.since(at).is_some_and(|passed| passed < UNKNOWN_KEY_COOL_DOWN));
        if attempt.has_fetched() || cooling {
            return KeyLookup::Refuse(VerifyError::KeysUnavailable);
        }
        self.unknown_key_at = Some(now);
        KeyLookup::Fetch(self.order(policy, now))
    }

    /// An order for the set before a token needs it, unless it is given or fresh, or is being
    /// fetched.
    pub(crate) fn warm(&mut self, policy: &Policy, now: UnixMillis) -> Option<FetchOrder> {
        let is_fetched = matches!(self.source, KeySource::Url(_) | KeySource::Discover);
        let is_due = is_fetched && !self.is_fresh(policy, now) && !self.set.is_being_fetched(now);
        is_due.then(|| self.order(policy, now))
    }

    /// Whether a set that is not fresh is being fetched.
    pub(crate) fn is_warming(&self, policy: &Policy, now: UnixMillis) -> bool {
        !self.is_fresh(policy, now) && self.set.is_being_fetched(now)
    }

    fn order(&mut self, policy: &Policy, now: UnixMillis) -> FetchOrder {
        if policy.keys.freshness == KeyFreshness::Http {
            self.set.take_over();
        }
        let lease = self.set.begin_fetch(now, policy.schedule.fetch_timeout);
        self.order_for(policy, lease)
    }

    /// The order of the refresh that is due: of the set, or of the status head that confirms it.
    pub(crate) fn refresh_order(
        &mut self,
        policy: &Policy,
        head: &mut HeadHolder,
        now: UnixMillis,
    ) -> Option<FetchOrder> {
        if self.is_headed {
            return self.changed(policy, now).or_else(|| head.refresh(policy, now));
        }
        let lease = self.set.begin_refresh(now, policy.schedule.fetch_timeout);
        Some(self.order_for(policy, lease))
    }

    fn order_for(&self, policy: &Policy, lease: u64) -> FetchOrder {
        let (document, url, etag) = match &self.jwks_uri {
            Some(url) => (DocumentKind::JwkSet, url.clone(), self.set.etag().map(str::to_owned)),
            None => {
                let issuer = policy.issuer.as_str();
                let url = if self.is_openid {
                    metadata::openid_metadata_url(issuer)
                } else {
                    metadata::metadata_url(issuer)
                };
                (DocumentKind::Metadata, url, None)
            }
        };
        let named = self.named.filter(|_| document == DocumentKind::JwkSet);
        FetchOrder {
            document,
            uri: url.clone(),
            url: named.map_or_else(|| url.clone(), |digest| digest.in_query_of(&url)),
            etag: etag.filter(|_| !self.is_headed),
            wait: None,
            max_bytes: policy.max_response_bytes,
            timeout: policy.schedule.fetch_timeout,
            may_read_cache: document == DocumentKind::JwkSet && self.set.content().is_none(),
            issuer: self.issuer,
            lease,
            redirects: 0,
            first_confirmed_at: None,
        }
    }
}

/// The key that was found; of two keys the second one if `other` is set. Says whether it is the
/// first one of two.
fn choose(found: KeyMatch<'_>, other: bool) -> Option<(Jwk, bool)> {
    match found {
        KeyMatch::One(key) => Some((key.clone(), false)),
        KeyMatch::Two(_, second) if other => Some((second.clone(), false)),
        KeyMatch::Two(first, _) => Some((first.clone(), true)),
        KeyMatch::Unfit | KeyMatch::None => None,
    }
}

/// Whether an answer brings or confirms a copy that is older than any that may be used.
pub(super) fn is_too_old(
    content: &Content,
    confirmed_at: UnixMillis,
    limits: &TimeLimits,
    now: UnixMillis,
) -> bool {
    matches!(content, Content::Body { .. } | Content::NotModified)
        && now.since(confirmed_at).is_some_and(|age| age >= limits.usable_for)
}

/// Whether the set's `exp` has passed. It is a private member, which an issuer that promises no
/// deadline may use for something else (RFC 7517 §5).
fn has_expired(set: &JwkSet, policy: &Policy, now: UnixMillis) -> bool {
    policy.keys.freshness == KeyFreshness::Deadline
        && set.expiration().is_some_and(|expiration| now.numeric_date() >= expiration)
}

/// Orders sets by their `iat`. A set without `iat` is older than any with one, so that a replayed
/// set does not bring a withdrawn key back.
///
/// `exp` does not count: an issuer may shorten the lifetime of its sets, or its clock may be set
/// back.
fn order_of(new: &JwkSet, held: &JwkSet) -> Ordering {
    new.issued_at().cmp(&held.issued_at())
}
