//! Authorization server metadata, which names the URL of the issuer's JWK Set.

use edgepass_jose::json;
use serde_json::Value;

use crate::url;

/// Returns the URL of the metadata of `issuer`. The well-known path is inserted between host and
/// path. A slash at the end is dropped first.
///
/// Source: [RFC 8414 §3.1](https://www.rfc-editor.org/rfc/rfc8414#section-3.1).
///
/// # Example
///
/// ```
/// use edgepass_verify::documents::metadata::metadata_url;
///
/// assert_eq!(
///     metadata_url("https://issuer.example/tenant"),
///     "https://issuer.example/.well-known/oauth-authorization-server/tenant",
/// );
/// ```
pub fn metadata_url(issuer: &str) -> String {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let (scheme, rest) = issuer.split_once("://").unwrap_or(("https", issuer));
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}")
}

/// Returns the URL of the metadata of an OpenID provider: the well-known path follows the issuer's
/// own.
///
/// Source: [OpenID Connect Discovery 1.0 §4](https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig).
pub(crate) fn openid_metadata_url(issuer: &str) -> String {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    format!("{issuer}/.well-known/openid-configuration")
}

/// Returns `jwks_uri` of a metadata document. Returns `None` if the document is malformed or of
/// another issuer, or if its URL is not acceptable: metadata of an https issuer must not lead to an
/// http URL or, from another origin, to a machine without a public name.
///
/// Source: [RFC 8414 §3.3](https://www.rfc-editor.org/rfc/rfc8414#section-3.3): the `issuer` value
/// MUST be identical, else the metadata MUST NOT be used.
pub fn jwks_uri(text: &[u8], issuer: &str) -> Option<String> {
    let members = json::parse_document(text).ok()?;
    let named = members.get("issuer").and_then(Value::as_str)?;
    let uri = members.get("jwks_uri").and_then(Value::as_str)?;
    (named == issuer && url::is_acceptable(uri) && may_lead_to(issuer, uri)).then(|| uri.to_owned())
}

/// Whether metadata of `issuer` may name `uri`: never http for an https issuer, and a machine
/// without a public name, such as the verifier's own, only if the issuer has the same origin.
fn may_lead_to(issuer: &str, uri: &str) -> bool {
    if issuer.starts_with("http://") {
        // Only an issuer on loopback may have an http URL, for tests.
        return true;
    }
    uri.starts_with("https://") && (has_public_name(uri) || url::origin(uri) == url::origin(issuer))
}

/// Whether a URL's host is a name not in `localhost`, and not an IP address in any form that
/// URL parsers read as one (<https://url.spec.whatwg.org/#ends-in-a-number-checker>).
fn has_public_name(url: &str) -> bool {
    let origin = url::origin(url).unwrap_or_default().to_ascii_lowercase();
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let host = authority.split(':').next().unwrap_or_default().trim_end_matches('.');
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    !is_number && last != "localhost" && !host.contains(['[', '%'])
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

    #[test]
    fn metadata_leads_neither_from_https_to_http_nor_to_the_verifiers_own_machine() {
        let at = |issuer: &str, uri: &str| {
            let text = format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}"}}"#);
            jwks_uri(text.as_bytes(), issuer).is_some()
        };
        for uri in [
            "http://127.0.0.1:6379/",
            "http://localhost/jwks",
            "http://[::1]/jwks",
            "https://127.0.0.1/jwks",
            "https://127.8.9.1:1/jwks",
            "https://localhost:8443/jwks",
            "https://a.localhost/jwks",
            "https://[::1]/jwks",
            "https://[::ffff:127.0.0.1]/jwks",
            "https://0.0.0.0/jwks",
            "https://2130706433/jwks",
            "https://0x7f.1/jwks",
            "https://169.254.169.254/jwks",
            "https://10.0.0.1/jwks",
            "https://LOCALHOST./jwks",
        ] {
            assert!(!at("https://issuer.example", uri), "{uri}");
        }
        assert!(at("https://issuer.example", "https://keys.example/jwks"));
        assert!(at("http://127.0.0.1:8787", "http://127.0.0.1:8787/jwks"));
        assert!(at("http://127.0.0.1:8787", "http://localhost:1/jwks"));
        assert!(at("https://10.0.0.1", "https://10.0.0.1/jwks"));
    }
}
