//! Octets and numbers as text, with exactly one text for each value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Decodes base64 with padding (RFC 4648 §4).
///
/// Returns `None` for missing padding, characters outside the alphabet and non-zero trailing bits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Decodes base64 of exactly `N` octets. Returns `None` for any other input.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

/// Encodes as base64 with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads an ASCII decimal without sign or leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let is_canonical = text == "0" || !text.starts_with('0');
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_canonical && is_digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_one_text_per_value() {
        for (text, expected) in [
            ("AA==", Some(vec![0])),
            ("AB==", None), // trailing bits set
            ("AA", None),
            ("AA=", None),
            ("AA==\n", None),
            ("-_8=", None), // the alphabet of base64url
            ("+/8=", Some(vec![0xfb, 0xff])),
        ] {
            assert_eq!(decode(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            ("-0", None),
            (" 1", None),
            ("1\u{0661}", None), // an Arabic digit
        ] {
            assert_eq!(decimal(text), expected, "{text:?}");
        }
    }
}
