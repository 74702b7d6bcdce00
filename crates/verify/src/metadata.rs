//! Authorization server metadata: finding the JWK Set from the issuer identifier.

use edgepass_jose::json;
use serde_json::Value;

use crate::url;

/// Where the metadata of `issuer` lies: the well-known path goes between host and path.
///
/// Source: [RFC 8414 §3.1](https://www.rfc-editor.org/rfc/rfc8414#section-3.1).
pub fn metadata_url(issuer: &str) -> String {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let (scheme, rest) = issuer.split_once("://").unwrap_or(("https", issuer));
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}")
}

/// `jwks_uri` of a metadata document, if the document is that of `issuer`.
///
/// Source: [RFC 8414 §3.3](https://www.rfc-editor.org/rfc/rfc8414#section-3.3): the `issuer` value
/// MUST be identical, else the metadata MUST NOT be used.
pub fn jwks_uri(text: &[u8], issuer: &str) -> Option<String> {
    let members = json::parse_object(text).ok()?;
    let named = members.get("issuer").and_then(Value::as_str)?;
    let uri = members.get("jwks_uri").and_then(Value::as_str)?;
    (named == issuer && url::is_acceptable(uri)).then(|| uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_path_is_inserted_before_the_issuers_own() {
        let well_known = "/.well-known/oauth-authorization-server";
        for (issuer, url) in [
            ("https://h.example", format!("https://h.example{well_known}")),
            ("https://h.example/", format!("https://h.example{well_known}")),
            ("https://h.example/a/b", format!("https://h.example{well_known}/a/b")),
            ("http://127.0.0.1:1/a/", format!("http://127.0.0.1:1{well_known}/a")),
        ] {
            assert_eq!(metadata_url(issuer), url);
        }
    }

    #[test]
    fn metadata_of_another_issuer_is_not_used() {
        let text = br#"{"issuer":"https://h.example","jwks_uri":"https://h.example/jwks"}"#;
        assert_eq!(jwks_uri(text, "https://h.example").as_deref(), Some("https://h.example/jwks"));
        assert_eq!(jwks_uri(text, "https://h.example/"), None);
        assert_eq!(jwks_uri(text, "https://evil.example"), None);
        let http = br#"{"issuer":"https://h.example","jwks_uri":"http://h.example/jwks"}"#;
        assert_eq!(jwks_uri(http, "https://h.example"), None);
        assert_eq!(jwks_uri(b"<html>", "https://h.example"), None);
    }
}
