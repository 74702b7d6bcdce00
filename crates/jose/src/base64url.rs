//! base64url as in JOSE: no padding, no white space, exactly one encoding of each byte string.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Decodes canonical base64url.
///
/// Returns `None` for padding, characters outside the alphabet and non-zero trailing bits, so that
/// no two texts decode to the same bytes.
///
/// Source: [RFC 7515 §2](https://www.rfc-editor.org/rfc/rfc7515#section-2).
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Decodes canonical base64url of exactly `N` octets. Returns `None` for any other input.
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

/// Encodes as base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_one_text_per_byte_string() {
        for (text, expected) in [
            ("", Some(vec![])),
            ("AA", Some(vec![0])),
            ("AB", None), // trailing bits set
            ("AA==", None),
            ("A", None),
            ("A A", None),
            ("AA\n", None),
            ("+/8", None), // the alphabet of plain base64
            ("-_8", Some(vec![0xfb, 0xff])),
        ] {
            assert_eq!(decode(text), expected, "{text:?}");
        }
    }
}
