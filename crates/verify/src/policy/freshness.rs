//! How long a held copy may be used: the numbers behind the revocation deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::duration::DurationText;

/// Freshness as written; every duration a string with a unit.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreshnessConfig {
    /// After `revoke` has returned, no verifier whose source is reachable accepts the token later
    /// than this. Default `"10s"`. Shorter means more requests to the issuer. `"none"` follows the
    /// lists of issuers that promise no deadline: past the interval a request asks first, and if
    /// that fails the copy serves until its `exp`.
    pub deadline: Deadline,
    /// How long the issuer may take from the revocation to the served list. Default `"500ms"`.
    pub publish_delay: DurationText,
    /// `max-age` that shared caches between verifier and issuer may add. Default `"1s"`.
    pub shared_max_age: DurationText,
    /// While there is traffic, ask for a newer copy this often. Default `"5s"`. `"ttl"` goes by what
    /// each list says of itself.
    pub refresh_interval: RefreshInterval,
    /// Give up a fetch after this long. Default `"2500ms"`.
    pub fetch_timeout: DurationText,
    /// How long past the deadline a copy may serve when its source is unreachable. Default `"60s"`,
    /// so that an issuer's restart takes no API down; `"0s"` for the strict. Without a deadline the
    /// default is the list's `exp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<DurationText>,
    /// How old the `iat` that a list is signed with may be, whatever caches say of its age. Default
    /// `"5m"` for tokens of profile `rfc9068` with a deadline, whose issuer signs its lists anew in time;
    /// otherwise a list's own `exp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_list_age: Option<DurationText>,
}

/// `"10s"`, or `"none"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Deadline {
    /// A revocation bites within this.
    Within(Duration),
    /// No deadline: lists serve as their `ttl` and `exp` say.
    None,
}

/// `"5s"`, or `"ttl"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum RefreshInterval {
    /// This often.
    Every(Duration),
    /// As often as the list's `ttl` says.
    Ttl,
}

impl TryFrom<String> for Deadline {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
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
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
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

/// Freshness that adds up: made only by [`FreshnessConfig::check`].
#[derive(Clone, Debug)]
pub struct Schedule {
    deadline: Option<RevocationDeadline>,
    /// `None`: the list's own `ttl`.
    refresh_interval: Option<Duration>,
    pub(crate) fetch_timeout: Duration,
    /// `None`: until the list's `exp`.
    stale_if_error: Option<Duration>,
    /// After a failed fetch, nobody waits for another attempt for this long.
    retry_after: Duration,
}

#[derive(Clone, Copy, Debug)]
struct RevocationDeadline {
    deadline: Duration,
    /// A copy younger than this is used without waiting.
    window: Duration,
}

/// How long one held document may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TimeLimits {
    /// Younger, it is used without asking.
    pub(crate) freshness_lifetime: Duration,
    /// Older, while still fresh, a background revalidation is due. Without a promise there is none.
    pub(crate) revalidate_after: Option<Duration>,
    /// Younger, it serves when its source cannot be reached.
    pub(crate) usable_for: Duration,
    pub(crate) fetch_timeout: Duration,
    pub(crate) retry_after: Duration,
}

/// The settings cannot meet the deadline they state.
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

/// A list would be too old before its source has been away for as long as a copy may serve.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "max_list_age {max_list_age}: lists are signed anew after a third of it, and the rest is shorter than \
     the outage bound {outage_bound}; raise it to at least \"{least}\", or lower stale_if_error"
)]
pub struct ListAgeTooShort {
    max_list_age: DurationText,
    outage_bound: DurationText,
    least: DurationText,
}

/// How old a signed list may be if nothing else is said, where a deadline is promised.
pub const DEFAULT_MAX_LIST_AGE: Duration = Duration::from_secs(5 * 60);
/// Lists are dated in whole seconds, and signed anew no oftener than that.
const LEAST_LIST_AGE: Duration = Duration::from_secs(15);
/// The cool-down after a failed fetch. Well below the deadline, since it delays the moment when a
/// source that came back is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// At most one fetch for unknown `kid`s in this time, however many there are.
pub const UNKNOWN_KEY_COOL_DOWN: Duration = Duration::from_secs(30);
/// A JWK Set unconfirmed for this long is not used, whatever `stale_if_error` says.
pub const JWK_SET_HARD_STOP: Duration = Duration::from_secs(24 * 60 * 60);
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
const STALE_IF_ERROR: Duration = Duration::from_secs(60);
/// That of the default settings.
const DEFAULT_DEADLINE: RevocationDeadline =
    RevocationDeadline { deadline: Duration::from_secs(10), window: Duration::from_millis(8500) };

impl FreshnessConfig {
    /// Check that the deadline can be met.
    ///
    /// # Errors
    ///
    /// [`DeadlineUnmet`], naming every term.
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
                // Here a request that needs an answer asks for it, every time.
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
        let window = deadline.saturating_sub(self.before_refresh());
        Ok(Schedule {
            deadline: Some(RevocationDeadline { deadline, window }),
            refresh_interval,
            fetch_timeout: self.fetch_timeout.0,
            stale_if_error: Some(stale_if_error.unwrap_or(STALE_IF_ERROR)),
            retry_after: RETRY_AFTER,
        })
    }

    /// How old the signed `iat` of a list may be; `default` where nothing is written. `None`: as old as its
    /// `exp` says.
    ///
    /// # Errors
    ///
    /// [`ListAgeTooShort`].
    pub fn list_age(
        &self,
        schedule: &Schedule,
        default: Option<Duration>,
    ) -> Result<Option<Duration>, ListAgeTooShort> {
        let bound = schedule.outage_bound().unwrap_or_default();
        // Signed anew after a third, a list that was fetched just before has two thirds left.
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

    /// What a deadline has to cover, with this refresh interval.
    pub fn sum(&self, refresh_interval: Duration) -> Duration {
        let sum = self.before_refresh().saturating_add(refresh_interval);
        sum.saturating_add(self.fetch_timeout.0)
    }

    /// From a revocation until every answer of the source says so.
    fn before_refresh(&self) -> Duration {
        self.publish_delay.0.saturating_add(self.shared_max_age.0)
    }
}

impl Schedule {
    /// The revocation deadline, if one is promised.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline.map(|bound| bound.deadline)
    }

    /// The outage bound: deadline plus `stale_if_error`. A verifier that cannot reach the source
    /// refuses after this.
    pub fn outage_bound(&self) -> Option<Duration> {
        Some(self.deadline()?.saturating_add(self.stale_if_error?))
    }

    /// How often a newer copy is asked for while there is traffic.
    pub(crate) fn interval(&self) -> Duration {
        self.refresh_interval.unwrap_or(REFRESH_INTERVAL)
    }

    /// What holds for a document that says `ttl` of itself, for a request that asks for at most
    /// `stale_if_error`: less than configured is granted, more is not, so the outage bound holds.
    pub(crate) fn limits(
        &self,
        ttl: Option<Duration>,
        stale_if_error: Option<Duration>,
    ) -> TimeLimits {
        let interval = self.refresh_interval.or(ttl);
        let (freshness_lifetime, revalidate_after) = match self.deadline {
            Some(RevocationDeadline { window, .. }) => {
                (window, Some(interval.unwrap_or(REFRESH_INTERVAL).min(window)))
            }
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

    /// What holds for a JWK Set, which says nothing of itself. Without a deadline for lists, keys have
    /// the default one all the same: a withdrawn key must not live as long as a list.
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
