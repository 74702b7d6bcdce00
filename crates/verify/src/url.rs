//! URLs: which of them may be fetched, and the normal form in which a proof's `htu` is compared.

use fluent_uri::{Uri, UriRef};

/// Returns whether a document may be fetched from `url`: https, or http from `127.0.0.1`, `[::1]`
/// or `localhost`; with a host and a port up to 65535 if any; without user information, backslashes and
/// characters other than visible ASCII.
pub fn is_acceptable(url: &str) -> bool {
    let (rest, loopback_only) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !authority.contains('@')
        && !host.is_empty()
        && host.starts_with('[') == host.ends_with(']')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && (port.is_empty() || port.parse::<u16>().is_ok());
    plain && (!loopback_only || ["127.0.0.1", "localhost", "[::1]"].contains(&host))
}

/// The normal form of an http or https URL, without query and fragment. Normalises the case of
/// scheme and host, the default port, percent-encoding, dot segments and an empty path. `None` for
/// any other text, and for a URL without host or with user information.
///
/// Source: [RFC 3986 §6.2.2 and §6.2.3](https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2), as
/// RFC 9449 §4.3 requires for the comparison of `htu`.
pub(crate) fn target_uri(url: &str) -> Option<String> {
    let (origin, path) = normal_form(url)?;
    Some(if path.is_empty() { format!("{origin}/") } else { format!("{origin}{path}") })
}

/// Returns scheme, host and port of an http or https URL, in normal form without the default port.
/// Returns `None` for any other text, and for a URL without host or with user information.
pub fn origin(url: &str) -> Option<String> {
    normal_form(url).map(|(origin, _)| origin)
}

/// A URI with another parameter in its query.
pub(crate) fn with_parameter(uri: &str, name: &str, value: impl std::fmt::Display) -> String {
    let separator = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{separator}{name}={value}")
}

/// Resolves `reference`, the `Location` of a response from `base`, to an absolute URL. `None` if
/// either is malformed.
pub(crate) fn resolve(reference: &str, base: &str) -> Option<String> {
    let base = Uri::parse(base).ok()?;
    let resolved = UriRef::parse(reference).ok()?.resolve_against(&base).ok()?;
    Some(resolved.into_string())
}

/// Returns scheme, host and port, and the path, in normal form. The path may be empty.
fn normal_form(url: &str) -> Option<(String, String)> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let uri = Uri::parse(url.get(..end)?).ok()?.normalize();
    let authority = uri.authority()?;
    let scheme = uri.scheme().as_str();
    let named = ["http", "https"].contains(&scheme) && !authority.host().is_empty();
    if !named || authority.has_userinfo() {
        return None;
    }
    Some((format!("{scheme}://{}", authority.as_str()), uri.path().as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_may_be_fetched_and_http_from_the_machine_itself() {
        for url in
            ["https://a", "https://a:1/b", "https://[::1]/", "https://[::1]:1/", "http://[::1]/"]
        {
            assert!(is_acceptable(url), "{url}");
        }
        for url in [
            "http://a",
            "https://",
            "https://a:b",
            "https://u@a",
            "https://a\\b",
            "ftp://a",
            "a",
            "https://a:65536",
            "https://[",
        ] {
            assert!(!is_acceptable(url), "{url}");
        }
    }

    #[test]
    fn equal_targets_have_one_normal_form() {
        for url in [
            "https://api.example/a",
            "HTTPS://API.example:443/a",
            "https://api.example/./b/../a",
            "https://api.example/%61",
            "https://api.example/a?q=1#f",
            "https://api.example:/a",
            "https://api.example/a?q=|",
        ] {
            assert_eq!(target_uri(url).as_deref(), Some("https://api.example/a"), "{url}");
        }
        assert_eq!(target_uri("https://h?x").as_deref(), Some("https://h/"));
        assert_eq!(target_uri("http://h:80/%e4").as_deref(), Some("http://h/%E4"));
        assert_eq!(origin("https://H:8443/x").as_deref(), Some("https://h:8443"));
    }

    #[test]
    fn different_targets_stay_different() {
        let normal = target_uri("https://api.example/a");
        for url in [
            "http://api.example/a",
            "https://api.example:8443/a",
            "https://api.example/a/",
            "https://api.example/A",
            "https://api.example/%2561",
            "https://api.example.evil/a",
            "https://api.example@evil/a",
            "//api.example/a",
            "/a",
            "ftp://api.example/a",
            "https:///a",
            "",
        ] {
            assert_ne!(target_uri(url), normal, "{url}");
        }
        for url in [
            "https://user@api.example/a",
            "https://api.example/a b",
            "https://ä/",
            "ftp://api.example/a",
            "https:///a",
            "a",
        ] {
            assert_eq!(target_uri(url), None, "{url}");
        }
    }
}
