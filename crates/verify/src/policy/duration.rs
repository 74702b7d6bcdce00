//! Durations in configuration, which always have a unit.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration, written as a string with a unit such as `"10s"`, `"2500ms"` or `"1h 30m"`.
///
/// Units are `ms`, `s`, `m`, `h` and `d`, in lower case; `days` means the same as `d`. A number
/// without a unit is refused, even 0, so that seconds are not taken for milliseconds. The longest
/// duration has 100 years.
///
/// # Example
///
/// ```
/// use edgepass_verify::policy::duration::DurationText;
///
/// let DurationText(duration) = DurationText::parse("1h 30m").unwrap();
/// assert_eq!(duration.as_secs(), 5400);
/// assert!(DurationText::parse("90").is_err());
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DurationText(pub Duration);

/// The error for a text that is no duration. It does not repeat the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "expected a duration with a unit, such as \"10s\", \"10m\" or \"1h 30m\" (units are ms, s, m, h, d)"
)]
pub struct DurationError;

/// Units and their lengths in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// 100 years of 365 days, in milliseconds.
const LONGEST: u64 = 100 * 365 * 86_400_000;

impl DurationText {
    /// Parses a text such as `"10m"`.
    ///
    /// # Errors
    ///
    /// [`DurationError`] if a number has no unit, or the text is malformed or too long a time.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let mut millis: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let part = rest.trim_start_matches(|char: char| char.is_ascii_digit());
            let number = rest.strip_suffix(part).unwrap_or_default();
            let after = part.trim_start_matches(|char: char| char.is_ascii_lowercase());
            let unit = match part.strip_suffix(after).unwrap_or_default() {
                "days" => "d",
                unit => unit,
            };
            let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError)?;
            let number: u64 = number.parse().map_err(|_| DurationError)?;
            let sum = number.checked_mul(*length).and_then(|part| millis.checked_add(part));
            millis = sum.filter(|sum| *sum <= LONGEST).ok_or(DurationError)?;
            rest = after.strip_prefix(' ').filter(|rest| !rest.is_empty()).unwrap_or(after);
        }
        if text.is_empty() { Err(DurationError) } else { Ok(Self(Duration::from_millis(millis))) }
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        let mut separator = "";
        for (unit, length) in UNITS {
            let number = left.checked_div(length).unwrap_or_default();
            left = left.checked_rem(length).unwrap_or_default();
            if number > 0 {
                write!(f, "{separator}{number}{unit}")?;
                separator = " ";
            }
        }
        Ok(())
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = DurationText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with a unit, such as \"10m\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DurationText, E> {
                DurationText::parse(text).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<DurationText, E> {
                DurationText::parse(&number.to_string()).map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<DurationText, E> {
                DurationText::parse(&number.to_string()).map_err(E::custom)
            }
        }

        input.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_required_and_the_error_says_what_to_write() {
        for (text, millis) in [
            ("10s", 10_000),
            ("2500ms", 2500),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("30days", 2_592_000_000),
            ("0s", 0),
            ("36500d", LONGEST),
        ] {
            assert_eq!(DurationText::parse(text), Ok(DurationText(Duration::from_millis(millis))));
        }
        for text in [
            "10",
            "0",
            "",
            " ",
            "s",
            "ten",
            "-1s",
            "10 parsecs",
            "10M",
            "10 s",
            "10s ",
            " 10s",
            "1y",
            "1.5h",
            "10S",
            "10s  5ms",
            "36500d 1ms",
            "99999999999999999999d",
            "213503982335d",
            "+1s",
            "1h,5m",
            "１s",
        ] {
            assert!(DurationText::parse(text).is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<DurationText>("10").is_err());
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in [0, 1, 999, 1000, 61_001, 90_061_500, 2_592_000_000, LONGEST] {
            let duration = DurationText(Duration::from_millis(millis));
            assert_eq!(DurationText::parse(&duration.to_string()), Ok(duration), "{duration}");
        }
        assert_eq!(DurationText(Duration::from_millis(5_400_500)).to_string(), "1h 30m 500ms");
    }
}
