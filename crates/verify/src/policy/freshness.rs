//! Time limits of held copies, computed from the revocation deadline.

use std::time::Duration;

use serde::Deserialize;

use crate::policy::duration::{DurationError, DurationText};
use crate::time::UnixMillis;

/// The freshness settings as written. Every duration is a string with a unit. All are optional.
///
/// With a deadline, the settings must satisfy `deadline >= publish_delay + shared_max_age +
/// refresh_interval + fetch_timeout`, where `"ttl"` counts as 0.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct FreshnessConfig {
    /// How JWK Sets stay fresh. Default [`KeyFreshness::Http`] for profile `jwt` without a written
    /// deadline, otherwise [`KeyFreshness::Deadline`].
    pub keys: Option<KeyFreshness>,
    /// The age from which on a stale JWK Set is not used, whatever `stale_if_error` says. Default
    /// `"24h"`.
    pub keys_hard_stop: Option<DurationText>,
    /// The longest time from a revocation to the last acceptance of the token, by verifiers that
    /// can reach the source. Default `"10s"`. A shorter deadline costs more requests to the issuer.
    ///
    /// With `"none"`, a list is fresh for the refresh interval. After that each request fetches it
    /// first. If the fetch fails, the verifier uses the copy for `stale_if_error`, or until the
    /// list's `exp` if that is not set. JWK Sets with a deadline then have the default one.
    pub deadline: Option<Deadline>,
    /// The longest time from a revocation until the issuer serves a list that shows it. Default
    /// `"500ms"`.
    pub publish_delay: Option<DurationText>,
    /// The `max-age` for which shared caches between verifier and issuer keep documents. Default
    /// `"1s"`.
    pub shared_max_age: Option<DurationText>,
    /// The age from which on a request makes the verifier refresh a copy. Default `"5s"`. `"ttl"`
    /// takes the `ttl` of each list; JWK Sets, and lists without `ttl`, then take 5 s. Without a
    /// deadline there is no refresh: this is the freshness lifetime of lists, and with `"ttl"` a
    /// list without `ttl` is fresh until its `exp`.
    pub refresh_interval: Option<RefreshInterval>,
    /// The time after which a fetch is given up. Default `"2500ms"`.
    pub fetch_timeout: Option<DurationText>,
    /// How long a copy may be used after its freshness lifetime, while fetches fail. Default
    /// `"60s"`, so that an API stays up while its issuer restarts. With `"0s"` a stale copy is
    /// never used. Without a deadline, the default for lists is until their `exp`. A stale JWK Set
    /// is never used from the age `keys_hard_stop` on; with [`KeyFreshness::Http`] that is the
    /// default.
    pub stale_if_error: Option<DurationText>,
    /// Whether status heads are used. Default [`HeadUse::Follow`].
    pub head: Option<HeadUse>,
    /// The largest difference between the clocks of issuer and verifier for which the deadline holds.
    /// Default `"2s"`. Only status heads need it, since they state when they were signed: what a head
    /// names is fresh for the deadline less this time.
    pub clock_skew: Option<DurationText>,
    /// The largest age of a list by its signed `iat`, whatever age caches report. At least `"15s"`
    /// and 1.5 times the outage bound. Default for profile `rfc9068` with a deadline, whose issuer
    /// signs lists again in time: `"5m"`, or that minimum if it is longer. Otherwise by default
    /// only the list's `exp` bounds its age.
    pub max_list_age: Option<DurationText>,
}

/// The use of the status head that lists name (`head_uri`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum HeadUse {
    /// A list that names a head is current only while a signed head says so, whatever caches answer.
    /// One request for the head then takes the place of one for each list.
    Follow,
    /// Each list is asked for, and believed as HTTP answers: where the head cannot be fetched.
    Ignore,
}

/// How long a fetched JWK Set is fresh.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum KeyFreshness {
    /// By the revocation deadline, like lists. For issuers that publish a change of their keys
    /// within it.
    Deadline,
    /// By the response's `Cache-Control` and `Age` (RFC 9111), at most 24 h; 10 min if it states
    /// nothing. For issuers that promise no deadline. A refresh is due after 70 to 80 % of that
    /// time, but never within a minute. If fetches fail, the set is used until `keys_hard_stop`.
    Http,
}

/// The deadline as written: a duration such as `"10s"`, or `"none"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum Deadline {
    /// A revocation takes effect within this time.
    Within(Duration),
    /// No deadline. Lists are fresh for the refresh interval, and used longer while fetches fail.
    None,
}

/// The refresh interval as written: a duration such as `"5s"`, or `"ttl"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum RefreshInterval {
    /// A fixed interval.
    Every(Duration),
    /// The `ttl` of each list: see [`FreshnessConfig::refresh_interval`].
    Ttl,
}

impl TryFrom<String> for Deadline {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        match text.as_str() {
            "none" => Ok(Self::None),
            text => DurationText::parse(text).map(|duration| Self::Within(duration.0)),
        }
    }
}

impl TryFrom<String> for RefreshInterval {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        match text.as_str() {
            "ttl" => Ok(Self::Ttl),
            text => DurationText::parse(text).map(|duration| Self::Every(duration.0)),
        }
    }
}

/// Freshness settings that meet their deadline, if there is one. Only [`FreshnessConfig::check`]
/// makes a `Schedule`.
#[derive(Clone, Debug)]
pub struct Schedule {
    deadline: Option<RevocationDeadline>,
    /// `None`: the `ttl` of each list.
    refresh_interval: Option<Duration>,
    pub(crate) fetch_timeout: Duration,
    /// `None`: until the list's `exp`.
    stale_if_error: Option<Duration>,
    /// For this time after a failed fetch, no request fetches the document.
    retry_after: Duration,
    pub(crate) clock_skew: Duration,
    pub(crate) head: HeadUse,
}

#[derive(Clone, Copy, Debug)]
struct RevocationDeadline {
    deadline: Duration,
    /// The freshness lifetime of a copy: deadline less `publish_delay` and `shared_max_age`.
    freshness_lifetime: Duration,
}

/// The time limits of one held document. The first three are compared with the age of the copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TimeLimits {
    /// Below this age the copy is fresh and used without a fetch (RFC 9111 §4.2.1).
    pub(crate) freshness_lifetime: Duration,
    /// From this age on a refresh is due. `None` without a deadline: there is no refresh.
    pub(crate) revalidate_after: Option<Duration>,
    /// Below this age a stale copy may be used if fetches fail.
    pub(crate) usable_for: Duration,
    pub(crate) fetch_timeout: Duration,
    /// For this time after a refresh began, no other one is due.
    pub(crate) refresh_interval: Duration,
    /// For this time after a failed fetch, no request fetches the document.
    pub(crate) retry_after: Duration,
    /// The maximum number of simultaneous fetches. More than one only where the age of a copy must
    /// not depend on requests that are cancelled while they fetch.
    pub(crate) max_fetches: usize,
}

/// The freshness of one held JWK Set by HTTP. Both times count from the copy's confirmation, so
/// they include the `Age` with which it came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct HttpFreshness {
    pub(crate) lifetime: Duration,
    revalidate_after: Duration,
}

/// The rules for the freshness of JWK Sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRules {
    pub(crate) freshness: KeyFreshness,
    hard_stop: Duration,
    /// As written, without a default.
    stale_if_error: Option<Duration>,
}

/// The error for a deadline below the sum of the other settings, which cannot be met.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "deadline {deadline} cannot be met: publish_delay {publish_delay} + shared_max_age \
     {shared_max_age} + refresh_interval {refresh_interval} + fetch_timeout {fetch_timeout} is \
     {sum}; raise deadline to at least \"{sum}\" or lower the others"
)]
pub struct DeadlineUnmet {
    deadline: DurationText,
    publish_delay: DurationText,
    shared_max_age: DurationText,
    refresh_interval: DurationText,
    fetch_timeout: DurationText,
    sum: DurationText,
}

/// The reason why [`FreshnessConfig::check`] refuses settings.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FreshnessError {
    /// The deadline cannot be met.
    #[error(transparent)]
    Unmet(#[from] DeadlineUnmet),
    /// The deadline is longer than [`LONGEST_DEADLINE`].
    #[error(
        "deadline is at most {}; for none at all, write \"none\"",
        DurationText(LONGEST_DEADLINE)
    )]
    TooLong,
    /// `fetch_timeout` is 0, so no fetch can succeed.
    #[error("fetch_timeout must not be 0")]
    NoTime,
    /// Without a deadline, `refresh_interval` and `stale_if_error` are both 0, so a list is too old
    /// as soon as it has been fetched.
    #[error("refresh_interval and stale_if_error must not both be 0: no list could be used")]
    NeverUsable,
}

/// The error for a `max_list_age` below 15 s or below 1.5 times the outage bound: during an outage,
/// lists could exceed it within that bound.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "max_list_age {max_list_age} is too short: lists are signed again after a third of it, and a copy must \
     outlast the outage bound {outage_bound}; raise it to at least \"{least}\", or lower stale_if_error"
)]
pub struct ListAgeTooShort {
    max_list_age: DurationText,
    outage_bound: DurationText,
    least: DurationText,
}

/// The longest deadline: 24 h.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);
/// The default of `max_list_age` where a deadline is set and the issuer is known to renew lists.
pub const DEFAULT_MAX_LIST_AGE: Duration = Duration::from_secs(5 * 60);
/// The smallest `max_list_age`. Lists are dated in whole seconds and signed again after a third of
/// it.
const LEAST_LIST_AGE: Duration = Duration::from_secs(15);
/// The cool-down after a failed fetch. It is well below the default deadline, since it delays the
/// first fetch from a source that is reachable again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The time in which all unknown `kid`s of one issuer together cause at most one fetch.
pub const UNKNOWN_KEY_COOL_DOWN: Duration = Duration::from_secs(30);
/// The default of `keys_hard_stop`.
const KEYS_HARD_STOP: Duration = Duration::from_secs(24 * 60 * 60);
/// The freshness lifetime by HTTP of a JWK Set whose response states none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The longest freshness lifetime by HTTP.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time from an answer to the next refresh of a JWK Set by HTTP, whatever responses say.
const LEAST_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest freshness lifetime by HTTP, so that a refresh is due before it ends.
const LEAST_LIFETIME: Duration = Duration::from_secs(75);
/// The part of the freshness lifetime by HTTP after which a refresh is due at the latest, in
/// 1/10,000.
const REFRESHED_AFTER: u64 = 8_000;
/// The cool-down after a failed fetch by HTTP while the held copy may be used.
const HTTP_RETRY_AFTER: Duration = Duration::from_secs(30);
/// The maximum number of simultaneous fetches of one document that has a deadline.
const MAX_FETCHES: usize = 4;
/// The default of `refresh_interval`, and the interval that `"ttl"` gives where there is no `ttl`.
pub const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
const STALE_IF_ERROR: Duration = Duration::from_secs(60);
const PUBLISH_DELAY: Duration = Duration::from_millis(500);
const SHARED_MAX_AGE: Duration = Duration::from_secs(1);
const FETCH_TIMEOUT: Duration = Duration::from_millis(2500);
const DEADLINE: Duration = Duration::from_secs(10);
/// The default of `clock_skew`.
pub const CLOCK_SKEW: Duration = Duration::from_secs(2);
/// The deadline and freshness lifetime of the default settings.
const DEFAULT_DEADLINE: RevocationDeadline =
    RevocationDeadline { deadline: DEADLINE, freshness_lifetime: Duration::from_millis(8500) };

impl FreshnessConfig {
    /// Checks that the deadline can be met, if there is one, and that lists can be used at all.
    /// Without documents that have a deadline (`may_have_deadline`), the default deadline need not
    /// be met.
    ///
    /// # Errors
    ///
    /// [`FreshnessError`]. The text of [`DeadlineUnmet`] names every term.
    pub fn check(&self, may_have_deadline: bool) -> Result<Schedule, FreshnessError> {
        let refresh_interval = match self.refresh_interval {
            None => Some(DEFAULT_REFRESH_INTERVAL),
            Some(RefreshInterval::Every(interval)) => Some(interval),
            Some(RefreshInterval::Ttl) => None,
        };
        let stale_if_error = self.stale_if_error.map(|duration| duration.0);
        let fetch_timeout = self.fetch_timeout();
        let head = self.head.unwrap_or(HeadUse::Follow);
        let clock_skew = self.clock_skew.map_or(CLOCK_SKEW, |written| written.0);
        let deadline = match self.deadline {
            None => may_have_deadline.then_some(DEADLINE),
            Some(Deadline::Within(deadline)) => Some(deadline),
            Some(Deadline::None) => None,
        };
        if fetch_timeout.is_zero() {
            return Err(FreshnessError::NoTime);
        }
        let Some(deadline) = deadline else {
            let none = Some(Duration::ZERO);
            if refresh_interval == none && stale_if_error == none {
                return Err(FreshnessError::NeverUsable);
            }
            return Ok(Schedule {
                deadline: None,
                refresh_interval,
                fetch_timeout,
                stale_if_error,
                // Without a deadline there is no cool-down: each request may fetch a stale list.
                retry_after: Duration::ZERO,
                clock_skew,
                head,
            });
        };
        if deadline > LONGEST_DEADLINE {
            return Err(FreshnessError::TooLong);
        }
        let sum = self.sum(refresh_interval.unwrap_or_default());
        if deadline < sum {
            let unmet = DeadlineUnmet {
                deadline: DurationText(deadline),
                publish_delay: DurationText(self.publish_delay()),
                shared_max_age: DurationText(self.shared_max_age()),
                refresh_interval: DurationText(refresh_interval.unwrap_or_default()),
                fetch_timeout: DurationText(fetch_timeout),
                sum: DurationText(sum),
            };
            return Err(unmet.into());
        }
        let freshness_lifetime = deadline.saturating_sub(self.before_refresh());
        Ok(Schedule {
            deadline: Some(RevocationDeadline { deadline, freshness_lifetime }),
            refresh_interval,
            fetch_timeout,
            stale_if_error: Some(stale_if_error.unwrap_or(STALE_IF_ERROR)),
            retry_after: RETRY_AFTER,
            clock_skew,
            head,
        })
    }

    /// The largest age of a list by its `iat`: `max_list_age`, or else `default`, raised to the
    /// minimum. `None`: only the list's `exp` bounds its age.
    ///
    /// # Errors
    ///
    /// [`ListAgeTooShort`] if `max_list_age` is below the minimum: 15 s, and 1.5 times the outage
    /// bound.
    pub fn list_age(
        &self,
        schedule: &Schedule,
        default: Option<Duration>,
    ) -> Result<Option<Duration>, ListAgeTooShort> {
        let bound = schedule.outage_bound().unwrap_or_default();
        // The issuer signs a list again after a third. A copy fetched just before has two thirds
        // left, which must cover the outage bound.
        let least = bound.saturating_mul(3).div_f32(2.0).max(LEAST_LIST_AGE);
        match (self.max_list_age, default) {
            (Some(DurationText(age)), _) if age < least => Err(ListAgeTooShort {
                max_list_age: DurationText(age),
                outage_bound: DurationText(bound),
                least: DurationText(least),
            }),
            (Some(DurationText(age)), _) => Ok(Some(age)),
            (None, default) => Ok(default.map(|age| age.max(least))),
        }
    }

    /// The shortest deadline that these settings can meet with this refresh interval.
    pub fn sum(&self, refresh_interval: Duration) -> Duration {
        let sum = self.before_refresh().saturating_add(refresh_interval);
        sum.saturating_add(self.fetch_timeout())
    }

    /// Returns `publish_delay`, or its default.
    pub fn publish_delay(&self) -> Duration {
        self.publish_delay.map_or(PUBLISH_DELAY, |written| written.0)
    }

    /// Returns `shared_max_age`, or its default.
    pub fn shared_max_age(&self) -> Duration {
        self.shared_max_age.map_or(SHARED_MAX_AGE, |written| written.0)
    }

    /// Returns `fetch_timeout`, or its default.
    pub fn fetch_timeout(&self) -> Duration {
        self.fetch_timeout.map_or(FETCH_TIMEOUT, |written| written.0)
    }

    /// Whether a deadline is written, other than `"none"`.
    pub(crate) fn has_deadline(&self) -> bool {
        matches!(self.deadline, Some(Deadline::Within(_)))
    }

    /// The rules for JWK Sets that are fresh by `default`, unless `keys` is written.
    pub(crate) fn key_rules(&self, default: KeyFreshness) -> KeyRules {
        KeyRules {
            freshness: self.keys.unwrap_or(default),
            hard_stop: self.keys_hard_stop.map_or(KEYS_HARD_STOP, |written| written.0),
            stale_if_error: self.stale_if_error.map(|written| written.0),
        }
    }

    /// The name of a written setting that has no effect: without documents of its kind, or without
    /// a deadline. `has_lists` says whether lists are fetched, and `keys` how long fetched keys are
    /// fresh; `None` if the keys are given.
    pub(crate) fn without_effect(
        &self,
        has_lists: bool,
        keys: Option<KeyFreshness>,
    ) -> Option<&'static str> {
        let has_deadline = !matches!(self.deadline, Some(Deadline::None));
        let lists_or_deadline = has_lists || keys == Some(KeyFreshness::Deadline);
        let settings = [
            ("freshness.deadline", self.has_deadline(), lists_or_deadline),
            (
                "freshness.publish_delay",
                self.publish_delay.is_some(),
                lists_or_deadline && has_deadline,
            ),
            (
                "freshness.shared_max_age",
                self.shared_max_age.is_some(),
                lists_or_deadline && has_deadline,
            ),
            ("freshness.head", self.head.is_some(), has_lists && has_deadline),
            (
                "freshness.clock_skew",
                self.clock_skew.is_some(),
                has_lists && has_deadline && self.head != Some(HeadUse::Ignore),
            ),
            ("freshness.refresh_interval", self.refresh_interval.is_some(), lists_or_deadline),
            ("freshness.max_list_age", self.max_list_age.is_some(), lists_or_deadline),
            ("freshness.keys", self.keys.is_some(), keys.is_some()),
            ("freshness.keys_hard_stop", self.keys_hard_stop.is_some(), keys.is_some()),
            (
                "freshness.stale_if_error",
                self.stale_if_error.is_some(),
                has_lists || keys.is_some(),
            ),
            ("freshness.fetch_timeout", self.fetch_timeout.is_some(), has_lists || keys.is_some()),
        ];
        let idle =
            settings.into_iter().find(|(_, is_written, has_effect)| *is_written && !has_effect);
        idle.map(|(name, ..)| name)
    }

    /// The longest time from a revocation until every answer of the source, also through shared
    /// caches, shows it.
    fn before_refresh(&self) -> Duration {
        self.publish_delay().saturating_add(self.shared_max_age())
    }
}

impl Schedule {
    /// The revocation deadline, if there is one.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline.map(|bound| bound.deadline)
    }

    /// The outage bound: deadline plus `stale_if_error`. A verifier that cannot reach the source
    /// refuses a revoked token from this time after the revocation on. `None` without a deadline.
    pub fn outage_bound(&self) -> Option<Duration> {
        Some(self.deadline()?.saturating_add(self.stale_if_error?))
    }

    /// `clock_skew`, or its default.
    pub fn clock_skew(&self) -> Duration {
        self.clock_skew
    }

    /// The refresh interval; 5 s for `"ttl"`.
    pub(crate) fn interval(&self) -> Duration {
        self.refresh_interval.unwrap_or(DEFAULT_REFRESH_INTERVAL)
    }

    /// The limits of a list with this `ttl`, for a check whose requirements have this
    /// `stale_if_error`. They can shorten the configured `stale_if_error` but not extend it, so the
    /// outage bound holds.
    pub(crate) fn limits(
        &self,
        ttl: Option<Duration>,
        stale_if_error: Option<Duration>,
    ) -> TimeLimits {
        let interval = self.refresh_interval.or(ttl);
        let (freshness_lifetime, revalidate_after) = match self.deadline {
            Some(RevocationDeadline { freshness_lifetime, .. }) => (
                freshness_lifetime,
                Some(interval.unwrap_or(DEFAULT_REFRESH_INTERVAL).min(freshness_lifetime)),
            ),
            None => (interval.unwrap_or(Duration::MAX), None),
        };
        let stale = [self.stale_if_error, stale_if_error].into_iter().flatten().min();
        TimeLimits {
            freshness_lifetime,
            revalidate_after,
            usable_for: stale
                .map_or(Duration::MAX, |stale| freshness_lifetime.saturating_add(stale)),
            fetch_timeout: self.fetch_timeout,
            refresh_interval: revalidate_after.unwrap_or_default(),
            retry_after: self.retry_after,
            max_fetches: MAX_FETCHES,
        }
    }

    /// The limits of what a status head confirms. `None` without a deadline: no head is used then.
    ///
    /// A copy is fresh for the deadline less `clock_skew`, counted from the time at which the issuer
    /// signed the head. So it is not used for longer than the deadline by any clock that differs by at
    /// most `clock_skew`. If that leaves no time for a refresh, the lifetime is longer, and the bound
    /// is [`Schedule::signed_bound`].
    pub(crate) fn signed_limits(&self, stale_if_error: Option<Duration>) -> Option<TimeLimits> {
        let freshness_lifetime = self.signed_lifetime()?;
        let stale = [self.stale_if_error, stale_if_error].into_iter().flatten().min();
        let interval = self.interval();
        Some(TimeLimits {
            freshness_lifetime,
            revalidate_after: Some(interval.min(freshness_lifetime)),
            usable_for: freshness_lifetime.saturating_add(stale.unwrap_or_default()),
            fetch_timeout: self.fetch_timeout,
            refresh_interval: interval,
            retry_after: self.retry_after,
            max_fetches: MAX_FETCHES,
        })
    }

    fn signed_lifetime(&self) -> Option<Duration> {
        let RevocationDeadline { deadline, .. } = self.deadline?;
        let least = self.interval().saturating_add(self.fetch_timeout);
        Some(deadline.saturating_sub(self.clock_skew).max(least))
    }

    /// The longest time from a revocation to the last acceptance of the token where status heads are
    /// used, whatever caches answer, as long as clocks differ by at most `clock_skew` and no fetch
    /// fails. `None` without a deadline.
    pub fn signed_bound(&self) -> Option<Duration> {
        Some(self.signed_lifetime()?.saturating_add(self.clock_skew))
    }

    /// The time for which a source is asked to hold a request for the head: four fifths of the refresh
    /// interval, in whole seconds. `None`: that is less than a second, or there is no deadline.
    pub(crate) fn watch_wait(&self) -> Option<Duration> {
        self.deadline?;
        let seconds = self.interval().saturating_mul(4).as_secs() / 5;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// The limits of a JWK Set with a deadline. Where lists have none, keys have the default
    /// deadline and, unless it is set, the default `stale_if_error`. So a withdrawn key is not
    /// trusted as long as a list.
    pub(crate) fn key_limits(
        &self,
        rules: &KeyRules,
        stale_if_error: Option<Duration>,
    ) -> TimeLimits {
        let own = Self {
            deadline: Some(self.deadline.unwrap_or(DEFAULT_DEADLINE)),
            refresh_interval: self.refresh_interval.filter(|_| self.deadline.is_some()),
            stale_if_error: Some(self.stale_if_error.unwrap_or(STALE_IF_ERROR)),
            retry_after: RETRY_AFTER,
            ..self.clone()
        };
        let limits = own.limits(None, stale_if_error);
        TimeLimits { usable_for: rules.at_most(limits.usable_for), ..limits }
    }

    /// The limits of a JWK Set that is fresh by HTTP and that has this age. If fetches fail, the
    /// copy may be used until the hard stop, unless a `stale_if_error` is written.
    pub(crate) fn http_key_limits(
        &self,
        rules: &KeyRules,
        copy: HttpFreshness,
        age: Option<Duration>,
        stale_if_error: Option<Duration>,
    ) -> TimeLimits {
        let stale = [rules.stale_if_error, stale_if_error].into_iter().flatten().min();
        let usable = stale.map_or(Duration::MAX, |stale| copy.lifetime.saturating_add(stale));
        // A copy that has just come is fresh, whatever its age.
        let usable_for = usable.min(rules.hard_stop).max(copy.lifetime);
        let is_usable = age.is_some_and(|age| age < usable_for);
        TimeLimits {
            freshness_lifetime: copy.lifetime,
            revalidate_after: Some(copy.revalidate_after),
            usable_for,
            fetch_timeout: self.fetch_timeout,
            refresh_interval: LEAST_INTERVAL,
            retry_after: if is_usable { HTTP_RETRY_AFTER } else { RETRY_AFTER },
            max_fetches: 1,
        }
    }
}

impl KeyRules {
    /// The time for which a set may be used: no longer than the hard stop.
    pub(crate) fn at_most(&self, usable_for: Duration) -> Duration {
        usable_for.min(self.hard_stop)
    }
}

/// Some 1/10,000 of a time.
fn part(time: Duration, of_10_000: u64) -> Duration {
    Duration::from_millis((time.as_millis() as u64).saturating_mul(of_10_000) / 10_000)
}

impl HttpFreshness {
    /// The freshness of a copy of the age `held_age` that an answer of the source with this age
    /// has just brought or confirmed. `stated` is the lifetime that the answer states (RFC 9111
    /// §4.2.1).
    ///
    /// The copy is fresh for what is left of `stated`, at most 24 h; for 10 min if the answer
    /// states nothing. A refresh is due after 70 to 80 % of that, but not within a minute. `jitter`
    /// spreads the refreshes of verifiers that fetched together.
    pub(crate) fn of_response(
        stated: Option<Duration>,
        age: Duration,
        held_age: Duration,
        jitter: UnixMillis,
    ) -> Self {
        let left = stated.map_or(DEFAULT_LIFETIME, |stated| stated.saturating_sub(age));
        let left = left.clamp(LEAST_LIFETIME, LONGEST_LIFETIME);
        let earlier = jitter.0 % 1000;
        let revalidate = part(left, REFRESHED_AFTER.saturating_sub(earlier)).max(LEAST_INTERVAL);
        Self {
            lifetime: held_age.saturating_add(left),
            revalidate_after: held_age.saturating_add(revalidate),
        }
    }

    /// The freshness of a copy from a cache that verifiers share: the lifetime that the verifier
    /// which fetched it computed. Without one, the copy is stale.
    pub(crate) fn of_cache(lifetime: Option<Duration>) -> Self {
        let lifetime = lifetime.unwrap_or_default();
        Self { lifetime, revalidate_after: part(lifetime, REFRESHED_AFTER) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_give_the_numbers_that_the_documents_state() {
        let schedule = FreshnessConfig::default().check(true).unwrap();
        let limits = schedule.limits(None, None);
        assert_eq!(limits.freshness_lifetime, Duration::from_millis(8500));
        assert_eq!(limits.revalidate_after, Some(Duration::from_secs(5)));
        assert_eq!(limits.usable_for, Duration::from_millis(68_500));
        assert_eq!(schedule.outage_bound(), Some(Duration::from_secs(70)));
    }

    #[test]
    fn a_route_may_ask_for_less_never_for_more() {
        let schedule = FreshnessConfig::default().check(true).unwrap();
        for (asked, usable_for) in [(0, 8500), (30, 38_500), (61, 68_500)] {
            let limits = schedule.limits(None, Some(Duration::from_secs(asked)));
            assert_eq!(limits.usable_for, Duration::from_millis(usable_for), "{asked} s");
        }
    }

    #[test]
    fn without_a_deadline_a_list_serves_as_its_ttl_says() {
        let config = FreshnessConfig {
            deadline: Some(Deadline::None),
            refresh_interval: Some(RefreshInterval::Ttl),
            ..FreshnessConfig::default()
        };
        let schedule = config.check(true).unwrap();
        let limits = schedule.limits(Some(Duration::from_secs(40)), None);
        assert_eq!(limits.freshness_lifetime, Duration::from_secs(40));
        assert_eq!((limits.revalidate_after, limits.usable_for), (None, Duration::MAX));
        assert_eq!(schedule.limits(None, None).freshness_lifetime, Duration::MAX);
        assert_eq!(schedule.outage_bound(), None);
        let default = FreshnessConfig::default().check(true).unwrap();
        let rules = FreshnessConfig::default().key_rules(KeyFreshness::Deadline);
        assert_eq!(schedule.key_limits(&rules, None), default.key_limits(&rules, None));
        assert_eq!(default.key_limits(&rules, None).usable_for, Duration::from_millis(68_500));
    }

    #[test]
    fn a_deadline_that_cannot_be_met_is_refused_with_every_term() {
        let config = FreshnessConfig {
            deadline: Some(Deadline::Within(Duration::from_secs(8))),
            ..FreshnessConfig::default()
        };
        let text = config.check(true).unwrap_err().to_string();
        for part in ["deadline 8s", "refresh_interval 5s", "at least \"9s\""] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn freshness_is_written_with_units_or_words() {
        let text = r#"{"deadline":"none","refresh_interval":"ttl","stale_if_error":"1m"}"#;
        let config: FreshnessConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.deadline, Some(Deadline::None));
        assert_eq!(config.refresh_interval, Some(RefreshInterval::Ttl));
        for wrong in [r#"{"deadline":"never"}"#, r#"{"deadline":10}"#, r#"{"deadline":"10"}"#] {
            assert!(serde_json::from_str::<FreshnessConfig>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn by_http_a_set_is_fresh_as_its_response_says_within_bounds() {
        const MINUTE: u64 = 60;
        const DAY: u64 = 24 * 60 * MINUTE;
        let seconds = Duration::from_secs;
        for (stated, age, fresh_for, refreshed_after) in [
            (None, 0, 10 * MINUTE, 8 * MINUTE),
            (None, 5059, 10 * MINUTE, 8 * MINUTE),
            (Some(24_873), 5059, 19_814, 15_851),
            (Some(24_873), 1_000_000, 75, MINUTE),
            (Some(0), 0, 75, MINUTE),
            (Some(70), 0, 75, MINUTE),
            (Some(u64::MAX), 0, DAY, 69_120),
            (Some(DAY), DAY + 1, 75, MINUTE),
        ] {
            let copy = HttpFreshness::of_response(
                stated.map(seconds),
                seconds(age),
                seconds(age),
                UnixMillis(1_800_000_000_000),
            );
            assert_eq!(copy.lifetime, seconds(age + fresh_for), "{stated:?} {age}");
            let after = copy.revalidate_after.as_secs_f64().round() as u64;
            assert_eq!(after, age + refreshed_after, "{stated:?} {age}");
        }
        let at = |millis: u64| {
            let zero = Duration::ZERO;
            HttpFreshness::of_response(None, zero, zero, UnixMillis(1_800_000_000_000 + millis))
        };
        let after = |millis| at(millis).revalidate_after;
        assert_eq!(after(500), seconds(8 * MINUTE - 30));
        assert!((0..1000).all(|millis| (seconds(420)..=seconds(480)).contains(&after(millis))));
    }

    #[test]
    fn by_http_an_outage_ends_nothing_before_the_hard_stop() {
        let config = FreshnessConfig::default();
        let (schedule, rules) = (config.check(true).unwrap(), config.key_rules(KeyFreshness::Http));
        let seconds = Duration::from_secs;
        let limits = |age, stale| {
            let age = seconds(age);
            let copy = HttpFreshness::of_response(Some(seconds(600)), age, age, UnixMillis(0));
            schedule.http_key_limits(&rules, copy, Some(age), stale)
        };
        assert_eq!(limits(0, None).usable_for, seconds(24 * 60 * 60));
        assert_eq!(limits(5059, None).usable_for, seconds(24 * 60 * 60));
        assert_eq!(limits(1_000_000, None).usable_for, seconds(1_000_075));
        assert_eq!(limits(0, Some(seconds(30))).usable_for, seconds(630));
        assert_eq!(limits(0, Some(Duration::ZERO)).usable_for, seconds(600));
    }
}
