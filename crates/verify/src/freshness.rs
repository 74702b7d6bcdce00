//! How long a held copy may be used: the numbers behind the revocation deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::DurationText;

/// Freshness as written; every duration a string with a unit.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreshnessConfig {
    /// After `revoke` has returned, no verifier whose source is reachable accepts the token later
    /// than this. Default `"10s"`. Shorter means more requests to the issuer.
    pub deadline: DurationText,
    /// How long the issuer may take from the revocation to the served list. Default `"500ms"`.
    pub publish_delay: DurationText,
    /// `max-age` that shared caches between verifier and issuer may add. Default `"1s"`.
    pub shared_max_age: DurationText,
    /// While there is traffic, ask for a newer copy this often. Default `"5s"`.
    pub refresh_interval: DurationText,
    /// Give up a fetch after this long. Default `"2500ms"`.
    pub fetch_timeout: DurationText,
    /// How long past the deadline a copy may serve when its source is unreachable. Default `"60s"`,
    /// so that an issuer's restart takes no API down; `"0s"` for the strict.
    pub stale_if_error: DurationText,
}

impl Default for FreshnessConfig {
    fn default() -> Self {
        let millis = |millis| DurationText(Duration::from_millis(millis));
        Self {
            deadline: millis(10_000),
            publish_delay: millis(500),
            shared_max_age: millis(1000),
            refresh_interval: millis(5000),
            fetch_timeout: millis(2500),
            stale_if_error: millis(60_000),
        }
    }
}

/// Freshness that adds up: made only by [`FreshnessConfig::check`].
#[derive(Clone, Debug)]
pub struct Schedule {
    /// See [`FreshnessConfig::deadline`].
    pub deadline: Duration,
    /// A copy younger than this is used without waiting.
    pub freshness_window: Duration,
    /// See [`FreshnessConfig::refresh_interval`].
    pub refresh_interval: Duration,
    /// See [`FreshnessConfig::fetch_timeout`].
    pub fetch_timeout: Duration,
    /// See [`FreshnessConfig::stale_if_error`].
    pub stale_if_error: Duration,
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

/// After a failed fetch, nobody waits for another attempt for this long. Well below the deadline,
/// since it delays the moment when a source that came back is asked again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// At most one fetch for unknown `kid`s in this time, however many there are.
pub const UNKNOWN_KEY_COOL_DOWN: Duration = Duration::from_secs(30);
/// A JWK Set unconfirmed for this long is not used, whatever `stale_if_error` says.
pub const JWK_SET_HARD_STOP: Duration = Duration::from_secs(24 * 60 * 60);

impl FreshnessConfig {
    /// Check that the deadline can be met.
    ///
    /// # Errors
    ///
    /// [`DeadlineUnmet`], naming every term.
    pub fn check(&self) -> Result<Schedule, DeadlineUnmet> {
        let before_refresh = self.publish_delay.0.saturating_add(self.shared_max_age.0);
        let sum = before_refresh
            .saturating_add(self.refresh_interval.0)
            .saturating_add(self.fetch_timeout.0);
        if self.deadline.0 < sum {
            return Err(DeadlineUnmet {
                deadline: self.deadline,
                publish_delay: self.publish_delay,
                shared_max_age: self.shared_max_age,
                refresh_interval: self.refresh_interval,
                fetch_timeout: self.fetch_timeout,
                sum: DurationText(sum),
            });
        }
        Ok(Schedule {
            deadline: self.deadline.0,
            freshness_window: self.deadline.0.saturating_sub(before_refresh),
            refresh_interval: self.refresh_interval.0,
            fetch_timeout: self.fetch_timeout.0,
            stale_if_error: self.stale_if_error.0,
        })
    }
}

impl Schedule {
    /// The outage bound: deadline plus `stale_if_error`. A verifier that cannot reach the source
    /// refuses after this.
    pub fn outage_bound(&self) -> Duration {
        self.deadline.saturating_add(self.stale_if_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_give_the_numbers_that_the_documents_state() {
        let schedule = FreshnessConfig::default().check().unwrap();
        assert_eq!(schedule.freshness_window, Duration::from_millis(8500));
        assert_eq!(schedule.outage_bound(), Duration::from_secs(70));
    }

    #[test]
    fn a_deadline_that_cannot_be_met_is_refused_with_every_term() {
        let config = FreshnessConfig {
            deadline: DurationText(Duration::from_secs(8)),
            ..FreshnessConfig::default()
        };
        let text = config.check().unwrap_err().to_string();
        for part in ["deadline 8s", "refresh_interval 5s", "at least \"9s\""] {
            assert!(text.contains(part), "{text}");
        }
    }
}
