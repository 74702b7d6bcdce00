//! Time limits of held copies, computed from the revocation deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::duration::{DurationError, DurationText};

/// The freshness settings as written. Every duration is a string with a unit.
///
/// With a deadline, the settings must satisfy `deadline >= publish_delay + shared_max_age +
/// refresh_interval + fetch_timeout`, where `"ttl"` counts as 0.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreshnessConfig {
    /// The longest time from a revocation to the last acceptance of the token, by verifiers that
    /// can reach the source. Default `"10s"`. A shorter deadline costs more requests to the issuer.
    ///
    /// With `"none"`, a list is fresh for the refresh interval. After that each request fetches it
    /// first. If the fetch fails, the verifier uses the copy for `stale_if_error`, or until the
    /// list's `exp` if that is not set. JWK Sets keep the default deadline.
    pub deadline: Deadline,
    /// The longest time from a revocation until the issuer serves a list that shows it. Default
    /// `"500ms"`.
    pub publish_delay: DurationText,
    /// The `max-age` for which shared caches between verifier and issuer keep documents. Default
    /// `"1s"`.
    pub shared_max_age: DurationText,
    /// The age from which on a request makes the verifier refresh a copy. Default `"5s"`. `"ttl"`
    /// takes the `ttl` of each list; JWK Sets, and lists without `ttl`, then take 5 s. Without a
    /// deadline there is no refresh: this is the freshness lifetime of lists, and with `"ttl"` a
    /// list without `ttl` is fresh until its `exp`.
    pub refresh_interval: RefreshInterval,
    /// The time after which a fetch is given up. Default `"2500ms"`.
    pub fetch_timeout: DurationText,
    /// How long a copy may be used after its freshness lifetime, while fetches fail. Default
    /// `"60s"`, so that an API stays up while its issuer restarts. With `"0s"` a stale copy is
    /// never used. Without a deadline, the default for lists is until their `exp`. A stale JWK Set
    /// is never used from an age of 24 h on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<DurationText>,
    /// The largest age of a list by its signed `iat`, whatever age caches report. At least `"15s"`
    /// and 1.5 times the outage bound. Default for profile `rfc9068` with a deadline, whose issuer
    /// signs lists again in time: `"5m"`, or that minimum if it is longer. Otherwise by default
    /// only the list's `exp` bounds its age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_list_age: Option<DurationText>,
}

/// The deadline as written: a duration such as `"10s"`, or `"none"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Deadline {
    /// A revocation takes effect within this time.
    Within(Duration),
    /// No deadline. Lists are fresh for the refresh interval, and used longer while fetches fail.
    None,
}

/// The refresh interval as written: a duration such as `"5s"`, or `"ttl"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
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

impl From<Deadline> for String {
    fn from(deadline: Deadline) -> Self {
        match deadline {
            Deadline::Within(duration) => DurationText(duration).to_string(),
            Deadline::None => "none".into(),
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

impl From<RefreshInterval> for String {
    fn from(interval: RefreshInterval) -> Self {
        match interval {
            RefreshInterval::Every(duration) => DurationText(duration).to_string(),
            RefreshInterval::Ttl => "ttl".into(),
        }
    }
}

impl Default for FreshnessConfig {
    fn default() -> Self {
        let millis = |millis| DurationText(Duration::from_millis(millis));
        Self {
            deadline: Deadline::Within(Duration::from_secs(10)),
            publish_delay: millis(500),
            shared_max_age: millis(1000),
            refresh_interval: RefreshInterval::Every(REFRESH_INTERVAL),
            fetch_timeout: millis(2500),
            stale_if_error: None,
            max_list_age: None,
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
    /// For this time after a failed fetch, no request fetches the document.
    pub(crate) retry_after: Duration,
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
/// The age from which on a stale JWK Set is not used, whatever `stale_if_error` says.
pub const JWK_SET_HARD_STOP: Duration = Duration::from_secs(24 * 60 * 60);
/// The default of `refresh_interval`, and the interval that `"ttl"` gives where there is no `ttl`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
const STALE_IF_ERROR: Duration = Duration::from_secs(60);
/// The deadline and freshness lifetime of the default settings.
const DEFAULT_DEADLINE: RevocationDeadline = RevocationDeadline {
    deadline: Duration::from_secs(10),
    freshness_lifetime: Duration::from_millis(8500),
};

impl FreshnessConfig {
    /// Checks that the deadline can be met, if there is one.
    ///
    /// # Errors
    ///
    /// [`DeadlineUnmet`], whose text names every term.
    pub fn check(&self) -> Result<Schedule, DeadlineUnmet> {
        let refresh_interval = match self.refresh_interval {
            RefreshInterval::Every(interval) => Some(interval),
            RefreshInterval::Ttl => None,
        };
        let stale_if_error = self.stale_if_error.map(|duration| duration.0);
        let Deadline::Within(deadline) = self.deadline else {
            return Ok(Schedule {
                deadline: None,
                refresh_interval,
                fetch_timeout: self.fetch_timeout.0,
                stale_if_error,
                // Without a deadline there is no cool-down: each request may fetch a stale list.
                retry_after: Duration::ZERO,
            });
        };
        let sum = self.sum(refresh_interval.unwrap_or_default());
        if deadline < sum {
            return Err(DeadlineUnmet {
                deadline: DurationText(deadline),
                publish_delay: self.publish_delay,
                shared_max_age: self.shared_max_age,
                refresh_interval: DurationText(refresh_interval.unwrap_or_default()),
                fetch_timeout: self.fetch_timeout,
                sum: DurationText(sum),
            });
        }
        let freshness_lifetime = deadline.saturating_sub(self.before_refresh());
        Ok(Schedule {
            deadline: Some(RevocationDeadline { deadline, freshness_lifetime }),
            refresh_interval,
            fetch_timeout: self.fetch_timeout.0,
            stale_if_error: Some(stale_if_error.unwrap_or(STALE_IF_ERROR)),
            retry_after: RETRY_AFTER,
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
        sum.saturating_add(self.fetch_timeout.0)
    }

    /// The longest time from a revocation until every answer of the source, also through shared
    /// caches, shows it.
    fn before_refresh(&self) -> Duration {
        self.publish_delay.0.saturating_add(self.shared_max_age.0)
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

    /// The refresh interval; 5 s for `"ttl"`.
    pub(crate) fn interval(&self) -> Duration {
        self.refresh_interval.unwrap_or(REFRESH_INTERVAL)
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
                Some(interval.unwrap_or(REFRESH_INTERVAL).min(freshness_lifetime)),
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
            retry_after: self.retry_after,
        }
    }

    /// The limits of a JWK Set. Where lists have no deadline, keys have the default deadline and,
    /// unless it is set, the default `stale_if_error`. So a withdrawn key is not trusted as long as
    /// a list.
    pub(crate) fn key_limits(&self, stale_if_error: Option<Duration>) -> TimeLimits {
        let own = Self {
            deadline: Some(self.deadline.unwrap_or(DEFAULT_DEADLINE)),
            refresh_interval: self.refresh_interval.filter(|_| self.deadline.is_some()),
            stale_if_error: Some(self.stale_if_error.unwrap_or(STALE_IF_ERROR)),
            retry_after: RETRY_AFTER,
            ..self.clone()
        };
        let limits = own.limits(None, stale_if_error);
        TimeLimits { usable_for: limits.usable_for.min(JWK_SET_HARD_STOP), ..limits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_give_the_numbers_that_the_documents_state() {
        let schedule = FreshnessConfig::default().check().unwrap();
        let limits = schedule.limits(None, None);
        assert_eq!(limits.freshness_lifetime, Duration::from_millis(8500));
        assert_eq!(limits.revalidate_after, Some(Duration::from_secs(5)));
        assert_eq!(limits.usable_for, Duration::from_millis(68_500));
        assert_eq!(schedule.outage_bound(), Some(Duration::from_secs(70)));
    }

    #[test]
    fn a_route_may_ask_for_less_never_for_more() {
        let schedule = FreshnessConfig::default().check().unwrap();
        for (asked, usable_for) in [(0, 8500), (30, 38_500), (61, 68_500)] {
            let limits = schedule.limits(None, Some(Duration::from_secs(asked)));
            assert_eq!(limits.usable_for, Duration::from_millis(usable_for), "{asked} s");
        }
    }

    #[test]
    fn without_a_deadline_a_list_serves_as_its_ttl_says() {
        let config = FreshnessConfig {
            deadline: Deadline::None,
            refresh_interval: RefreshInterval::Ttl,
            ..FreshnessConfig::default()
        };
        let schedule = config.check().unwrap();
        let limits = schedule.limits(Some(Duration::from_secs(40)), None);
        assert_eq!(limits.freshness_lifetime, Duration::from_secs(40));
        assert_eq!((limits.revalidate_after, limits.usable_for), (None, Duration::MAX));
        assert_eq!(schedule.limits(None, None).freshness_lifetime, Duration::MAX);
        assert_eq!(schedule.outage_bound(), None);
        let default = FreshnessConfig::default().check().unwrap();
        assert_eq!(schedule.key_limits(None), default.key_limits(None));
        assert_eq!(default.key_limits(None).usable_for, Duration::from_millis(68_500));
    }

    #[test]
    fn a_deadline_that_cannot_be_met_is_refused_with_every_term() {
        let config = FreshnessConfig {
            deadline: Deadline::Within(Duration::from_secs(8)),
            ..FreshnessConfig::default()
        };
        let text = config.check().unwrap_err().to_string();
        for part in ["deadline 8s", "refresh_interval 5s", "at least \"9s\""] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn freshness_is_written_with_units_or_words() {
        let text = r#"{"deadline":"none","refresh_interval":"ttl","stale_if_error":"1m"}"#;
        let config: FreshnessConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.deadline, Deadline::None);
        assert_eq!(config.refresh_interval, RefreshInterval::Ttl);
        for wrong in [r#"{"deadline":"never"}"#, r#"{"deadline":10}"#, r#"{"deadline":"10"}"#] {
            assert!(serde_json::from_str::<FreshnessConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
