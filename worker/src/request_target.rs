//! The request target. The guard matches the same bytes of a path that it forwards.

/// Path and query of a request, not decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RequestTarget<'a> {
    /// Starts with `/`.
    pub(crate) path: &'a str,
    /// Starts with `?`, or is empty.
    pub(crate) query: &'a str,
}

/// Error: the URL is not absolute, or servers may read its target in different ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ambiguous;

impl<'a> RequestTarget<'a> {
    /// Extracts the target from an absolute URL. Drops a fragment.
    ///
    /// The guard must match the path that the origin reads, so it refuses a path that servers could
    /// read in two ways. Such a path contains dot segments, empty segments other than the last,
    /// back slashes, `;`, characters that a URL parser would re-encode, escapes that are broken,
    /// not UTF-8 or needless (`%61`), or escapes of controls, slashes, back slashes or the percent
    /// sign.
    ///
    /// The query must be visible ASCII. It has no effect on the route. When the guard forwards the
    /// request, a URL parser may escape quotes in the query.
    pub(crate) fn of(url: &'a str) -> Result<Self, Ambiguous> {
        let after_scheme = url.split_once("://").ok_or(Ambiguous)?.1;
        let slash = after_scheme.find('/').ok_or(Ambiguous)?;
        let target = after_scheme.get(slash..).ok_or(Ambiguous)?;
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        if is_unambiguous(path) && query.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self { path, query })
        } else {
            Err(Ambiguous)
        }
    }
}

/// Whether the value of `Host` has only characters of a host and a port. The runtime makes the
/// value part of the request's URL, where a slash or a question mark would change the path.
pub(crate) fn is_plain_host(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

fn is_unambiguous(path: &str) -> bool {
    const LITERAL: &[u8] = b"/-._~!$&'()*+,=:@";
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !byte.is_ascii_alphanumeric() && !LITERAL.contains(&byte) {
                return false;
            }
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else { return false };
        let escaped = (high << 4 | low) as u8;
        let needless = escaped.is_ascii_alphanumeric() || b"-._~".contains(&escaped);
        if needless || escaped.is_ascii_control() || b"/\\%".contains(&escaped) {
            return false;
        }
        decoded.push(escaped);
    }
    let mut segments = path.split('/').skip(1).peekable();
    let mut whole = true;
    while let Some(segment) = segments.next() {
        // Only the last segment may be empty: a trailing slash.
        whole &=
            segment != "." && segment != ".." && (!segment.is_empty() || segments.peek().is_none());
    }
    whole && std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_read_differently_is_refused() {
        for path in [
            "/a/../b",
            "/..",
            "/a/./b",
            "//x",
            "/a//b",
            "///",
            "/a\\b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/%2e%2e/x",
            "/a%00b",
            "/%252e/x",
            "/%25",
            "/%",
            "/%z",
            "/%zz",
            "/%61dmin",
            "/a%2Db",
            "/a%7e",
            "/%c0%ae",
            "/%ff",
            "/a;b",
            "/{a}",
            "/a|b",
            "/a^b",
            "/a`b",
            "/a\"b",
            "/a%0ab",
            "/a%7f",
            "/a\u{0}b",
            "/caf\u{e9}",
            "/a b",
            "/a\tb",
        ] {
            assert_eq!(
                RequestTarget::of(&format!("https://h.example{path}")),
                Err(Ambiguous),
                "{path:?}"
            );
        }
        assert_eq!(RequestTarget::of("https://h.example"), Err(Ambiguous));
        assert_eq!(RequestTarget::of("h.example/a"), Err(Ambiguous));
    }

    #[test]
    fn a_host_cannot_carry_a_path() {
        for host in ["a.b/adm?", "u:p@b", "a b", "a\\b", "a#b", ""] {
            assert!(!is_plain_host(host), "{host:?}");
        }
        for host in ["api.example", "127.0.0.1:8080", "[::1]:80"] {
            assert!(is_plain_host(host), "{host:?}");
        }
    }

    #[test]
    fn path_and_query_are_the_bytes_of_the_url() {
        for (url, path, query) in [
            ("https://h/", "/", ""),
            ("https://h/a/", "/a/", ""),
            ("https://h/a%20b,c=%C3%A9?x=../y&z=%2e%2f#f", "/a%20b,c=%C3%A9", "?x=../y&z=%2e%2f"),
            ("https://h/...?", "/...", "?"),
        ] {
            assert_eq!(RequestTarget::of(url), Ok(RequestTarget { path, query }), "{url}");
        }
    }
}
