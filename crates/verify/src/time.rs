//! Time as hosts report it.

use std::time::Duration;

use edgepass_jose::NumericDate;

/// Milliseconds since 1970-01-01T00:00:00Z, by the host's clock.
///
/// Claims are judged in whole seconds ([`NumericDate`]), the age of a copy in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Converts whole seconds since the epoch, saturating.
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Returns the whole second that contains this instant, as claims are judged.
    pub fn numeric_date(self) -> NumericDate {
        NumericDate::from_seconds(self.0 / 1000)
    }

    /// Returns the time passed since `earlier`. `None` if `earlier` is later, as after a clock was
    /// set back.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_millis)
    }

    /// Returns the instant `duration` after this one, in whole milliseconds, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// Returns the instant `duration` before this one, in whole milliseconds, saturating.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
