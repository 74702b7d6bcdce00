//! Durations in configuration, which always have a unit.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration, written as a string with a unit such as `"10s"`, `"2500ms"` or `"1h 30m"`.
///
/// A number without a unit is refused, even 0, so that seconds are not taken for milliseconds.
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
#[error("expected a duration with a unit, such as \"10s\", \"10m\" or \"1h\"")]
pub struct DurationError;

impl DurationText {
    /// Parses a text such as `"10m"`.
    ///
    /// # Errors
    ///
    /// [`DurationError`] if a number has no unit, or the text is malformed.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        // `humantime` accepts 0 without a unit.
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DurationError);
        }
        humantime::parse_duration(text).map(Self).map_err(|_| DurationError)
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
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
        for (text, millis) in [("10s", 10_000), ("2500ms", 2500), ("1h 30m", 5_400_000)] {
            assert_eq!(DurationText::parse(text), Ok(DurationText(Duration::from_millis(millis))));
        }
        for text in ["10", "0", "", "s", "ten", "-1s", "10 parsecs"] {
            assert!(DurationText::parse(text).is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<DurationText>("10").is_err());
    }
}
