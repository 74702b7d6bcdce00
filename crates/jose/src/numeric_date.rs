//! NumericDate in whole seconds since the epoch. Arithmetic saturates.

use serde_json::Number;

/// Seconds since 1970-01-01T00:00:00Z, ignoring leap seconds (RFC 7519 §2).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NumericDate(u64);

impl NumericDate {
    /// The latest date that a claim may have: 9999-12-31T23:59:59Z. Later dates and those before
    /// 1970 are refused.
    pub const MAX: Self = Self(253_402_300_799);

    /// Makes a date from whole seconds since the epoch; saturates at [`NumericDate::MAX`].
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.min(Self::MAX.0))
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// Returns the date `seconds` later. It may exceed [`NumericDate::MAX`]; saturates at 2^64 - 1.
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to this date; 0 if `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads a claim and rounds a fraction down. Use it for `exp`, so that no token is valid longer
    /// than it states. Returns `None` if the result is before 1970 or after [`NumericDate::MAX`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::NumericDate;
    ///
    /// let claim = serde_json::json!(100.9);
    /// let number = claim.as_number().unwrap();
    /// assert_eq!(NumericDate::floor(number), Some(NumericDate::from_seconds(100)));
    /// assert_eq!(NumericDate::ceil(number), Some(NumericDate::from_seconds(101)));
    /// ```
    pub fn floor(value: &Number) -> Option<Self> {
        Self::read(value, f64::floor)
    }

    /// Reads a claim and rounds a fraction up. Use it for `nbf` and `iat`, so that no token is
    /// valid too early. Returns `None` if the result is before 1970 or after [`NumericDate::MAX`].
    pub fn ceil(value: &Number) -> Option<Self> {
        Self::read(value, f64::ceil)
    }

    fn read(number: &Number, round: fn(f64) -> f64) -> Option<Self> {
        if let Some(whole) = number.as_u64() {
            return (whole <= Self::MAX.0).then_some(Self(whole));
        }
        let fraction = round(number.as_f64()?);
        // `as` is exact here: the number is whole, and its checked range is far below 2^53.
        (fraction >= 0.0 && fraction <= Self::MAX.0 as f64).then_some(Self(fraction as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fractions_round_to_the_strict_side_and_absurd_dates_are_refused() {
        let at = |seconds| Some(NumericDate(seconds));
        for (value, floor, ceil) in [
            (json!(10), at(10), at(10)),
            (json!(10.9), at(10), at(11)),
            (json!(10.0), at(10), at(10)),
            (json!(-1), None, None),
            (json!(-0.5), None, at(0)),
            (json!("10"), None, None),
            (json!(null), None, None),
            (json!(true), None, None),
            (json!([10]), None, None),
            (json!(u64::MAX), None, None),
            (json!(1e300), None, None),
            (json!(253_402_300_799_u64), at(253_402_300_799), at(253_402_300_799)),
            (json!(253_402_300_800_u64), None, None),
        ] {
            let read =
                |round: fn(&Number) -> Option<NumericDate>| value.as_number().and_then(round);
            assert_eq!(read(NumericDate::floor), floor, "floor {value}");
            assert_eq!(read(NumericDate::ceil), ceil, "ceil {value}");
        }
    }
}
