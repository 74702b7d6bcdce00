//! Octets as text, with exactly one text for each value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Decodes base64 with padding (RFC 4648 §4).
///
/// Returns `None` for missing padding, characters outside the alphabet and non-zero trailing bits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Encodes as base64 with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
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
    }
}
