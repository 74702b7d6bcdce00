//! PKCS #11 URIs (RFC 7512) of keys: `pkcs11:id=%a0%01..;type=private`.

use std::fmt::Write;

/// The URI of the private key with this `CKA_ID`.
pub(crate) fn of(id: &[u8]) -> String {
    let mut uri = "pkcs11:id=".to_owned();
    for octet in id {
        // Writing to a text cannot fail.
        let _ = write!(uri, "%{octet:02x}");
    }
    uri.push_str(";type=private");
    uri
}

/// The `CKA_ID` in a URI of [`of`].
pub(crate) fn id(uri: &str) -> Option<Vec<u8>> {
    let id = uri.strip_prefix("pkcs11:id=%")?.strip_suffix(";type=private")?;
    id.split('%').map(|octet| u8::from_str_radix(octet, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_its_uri() {
        let uri = of(&[0, 0xa0, 0xff]);
        assert_eq!(uri, "pkcs11:id=%00%a0%ff;type=private");
        assert_eq!(id(&uri), Some(vec![0, 0xa0, 0xff]));
        for wrong in ["", "pkcs11:", "pkcs11:id=;type=private", "pkcs11:id=%1g;type=private"] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }
}
