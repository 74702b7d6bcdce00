//! The host's clock, as data.

use std::time::Duration;

use edgepass_jose::NumericDate;

/// Milliseconds since 1970-01-01T00:00:00Z, as a host's clock gives them.
///
/// Claims are judged in whole seconds ([`NumericDate`]); the age of a held copy in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// From whole seconds.
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The second this instant lies in.
    pub fn numeric_date(self) -> NumericDate {
        NumericDate::from_seconds(self.0 / 1000)
    }

    /// Time passed since `earlier`; `None` when the clock ran backwards in between.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_millis)
    }

    /// This instant and `duration` later, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This instant and `duration` earlier, saturating.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
