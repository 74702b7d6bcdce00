//! The request target: what the guard matches, and the bytes that it forwards.

use std::borrow::Cow;
use std::fmt;

/// Path and query of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RequestTarget<'a> {
    /// The path as it came, not decoded. Starts with `/`. The guard forwards these bytes.
    pub(crate) path: &'a str,
    /// The path with the escapes of unreserved characters decoded: `%7E` is `~` (RFC 3986
    /// §6.2.2.2). The guard matches this form.
    pub(crate) normal: Cow<'a, str>,
    /// Starts with `?`, or is empty.
    pub(crate) query: &'a str,
    /// The position of the first escaped slash in the path, if there is one.
    pub(crate) escaped_slash: Option<usize>,
}

/// A part of a path that servers may read in different ways, and its position in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Misread {
    pub(crate) part: Part,
    pub(crate) at: usize,
}

/// See [`Misread`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// This octet stands for itself where it should be escaped.
    Octet(u8),
    /// An escape of this octet.
    Escape(u8),
    /// A `%` without two hexadecimal digits after it.
    BrokenEscape,
    /// An escaped percent sign with two digits after it: another escape, if decoded twice.
    DoubleEscape,
    /// Octets that are no UTF-8 when decoded.
    NotUtf8,
    /// A segment `.` or `..`.
    DotSegment,
    /// An empty segment that is not the last one.
    EmptySegment,
    /// A slash, `%2F`, in a route without `encoded_slash = "pass"`.
    EscapedSlash,
    /// The query holds another octet than visible ASCII.
    Query(u8),
    /// The URL has no path.
    NoPath,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::Octet(octet) => write!(f, "octet 0x{octet:02X} is not escaped")?,
            Part::Escape(octet) => write!(f, "octet 0x{octet:02X} is escaped")?,
            Part::BrokenEscape => f.write_str("a percent sign without two hexadecimal digits")?,
            Part::DoubleEscape => f.write_str("an escape within an escape")?,
            Part::NotUtf8 => f.write_str("escapes that are not UTF-8")?,
            Part::DotSegment => f.write_str("a dot segment")?,
            Part::EmptySegment => f.write_str("an empty segment")?,
            Part::EscapedSlash => {
                f.write_str("an escaped slash (a route allows it by encoded_slash = \"pass\")")?;
            }
            Part::Query(octet) => write!(f, "octet 0x{octet:02X} is in the query")?,
            Part::NoPath => return f.write_str("the URL has no path"),
        }
        write!(f, ", at byte {} of the request target", self.at)
    }
}

impl<'a> RequestTarget<'a> {
    /// Extracts the target from an absolute URL. Drops a fragment.
    ///
    /// The guard must match the path that the origin reads, so it refuses a path that servers could
    /// read in two ways. Such a path contains dot segments, empty segments other than the last,
    /// back slashes, `;`, characters that a URL parser would re-encode, escapes that are broken or
    /// not UTF-8, or escapes of controls, back slashes, or of a percent sign that begins another
    /// escape. Whether an escaped slash is refused depends on the route.
    ///
    /// The query must be visible ASCII. It has no effect on the route. When the guard forwards the
    /// request, a URL parser may escape quotes in the query.
    pub(crate) fn of(url: &'a str) -> Result<Self, Misread> {
        const NO_PATH: Misread = Misread { part: Part::NoPath, at: 0 };
        let after_scheme = url.split_once("://").ok_or(NO_PATH)?.1;
        let slash = after_scheme.find('/').ok_or(NO_PATH)?;
        let target = after_scheme.get(slash..).ok_or(NO_PATH)?;
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        if let Some((at, octet)) = query.bytes().enumerate().find(|(_, it)| !it.is_ascii_graphic())
        {
            return Err(Misread { part: Part::Query(octet), at: path.len().saturating_add(at) });
        }
        let (normal, escaped_slash) = normal(path)?;
        Ok(Self { path, normal, query, escaped_slash })
    }

    /// Whether the path has escapes that the guard decodes to match it.
    pub(crate) fn is_normalized(&self) -> bool {
        self.path != self.normal
    }

    /// The path as an origin reads it that decodes escaped slashes.
    pub(crate) fn with_slashes(&self) -> String {
        self.normal.replace("%2F", "/").replace("%2f", "/")
    }
}

/// Checks a path, and decodes the escapes of unreserved characters. Also returns the position of the
/// first escaped slash.
fn normal(path: &str) -> Result<(Cow<'_, str>, Option<usize>), Misread> {
    const LITERAL: &[u8] = b"/-._~!$&'()*+,=:@";
    let misread = |part, at| Err(Misread { part, at });
    let (mut decoded, mut normal) = (Vec::new(), String::new());
    // Where in `path` each octet of `decoded` and of `normal` begins.
    let (mut decoded_from, mut normal_from) = (Vec::new(), Vec::new());
    let (mut slash, mut has_unreserved) = (None, false);
    let mut bytes = path.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte != b'%' {
            if !byte.is_ascii_alphanumeric() && !LITERAL.contains(&byte) {
                return misread(Part::Octet(byte), at);
            }
            decoded.push(byte);
            decoded_from.push(at);
            normal.push(byte.into());
            normal_from.push(at);
            continue;
        }
        let mut digit = || char::from(bytes.next()?.1).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return misread(Part::BrokenEscape, at);
        };
        let octet = (high << 4 | low) as u8;
        if octet.is_ascii_control() || octet == b'\\' {
            return misread(Part::Escape(octet), at);
        }
        decoded.push(octet);
        decoded_from.push(at);
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            normal.push(octet.into());
            normal_from.push(at);
            has_unreserved = true;
        } else {
            let escape = path.get(at..at.saturating_add(3)).unwrap_or_default();
            normal.push_str(escape);
            normal_from.extend(escape.bytes().map(|_| at));
        }
        if octet == b'/' {
            slash.get_or_insert(at);
        }
    }
    let from = |from: &[usize], at: usize| from.get(at).copied().unwrap_or_default();
    if let Err(error) = std::str::from_utf8(&decoded) {
        return misread(Part::NotUtf8, from(&decoded_from, error.valid_up_to()));
    }
    for (at, _) in normal.match_indices("%25") {
        let after = normal.as_bytes().get(at.saturating_add(3)..at.saturating_add(5));
        if after.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return misread(Part::DoubleEscape, from(&normal_from, at));
        }
    }
    // Only the last segment may be empty: a trailing slash.
    if let Some(at) = normal.find("//") {
        return misread(Part::EmptySegment, from(&normal_from, at.saturating_add(1)));
    }
    // An origin may decode escaped slashes before it resolves dot segments.
    let mut start = 0_usize;
    for whole in normal.split('/') {
        let mut at = start;
        for part in whole.split("%2F").flat_map(|part| part.split("%2f")) {
            if [".", ".."].contains(&part) {
                return misread(Part::DotSegment, from(&normal_from, at));
            }
            at = at.saturating_add(part.len()).saturating_add(3);
        }
        start = start.saturating_add(whole.len()).saturating_add(1);
    }
    Ok((if has_unreserved { normal.into() } else { path.into() }, slash))
}

/// Whether the value of `Host` has only characters of a host and a port. The runtime makes the
/// value part of the request's URL, where a slash or a question mark would change the path.
pub(crate) fn is_plain_host(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
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
            "/a%5cb",
            "/a%5Cb",
            "/%2e%2e/x",
            "/a%00b",
            "/%252e/x",
            "/%2525",
            "/%25%32%65",
            "/%",
            "/%z",
            "/%zz",
            "/a%2F..%2fb",
            "/a%2f.",
            "/%2E",
            "/a/%2e./b",
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
            let url = format!("https://h.example{path}");
            assert!(RequestTarget::of(&url).is_err(), "{path:?}");
        }
        for url in ["https://h.example", "h.example/a"] {
            assert_eq!(RequestTarget::of(url), Err(Misread { part: Part::NoPath, at: 0 }));
        }
    }

    #[test]
    fn what_is_refused_is_named_with_its_position() {
        for (target, says) in [
            ("/a;v=1", "octet 0x3B is not escaped, at byte 2"),
            ("/a/[1]", "octet 0x5B is not escaped, at byte 3"),
            ("/a%5Cb", "octet 0x5C is escaped, at byte 2"),
            ("/100%", "two hexadecimal digits, at byte 4"),
            ("/a%252e", "an escape within an escape, at byte 2"),
            ("/%41%252e", "an escape within an escape, at byte 4"),
            ("/a%C3%A9%ff", "not UTF-8, at byte 8"),
            ("/a/../b", "a dot segment, at byte 3"),
            ("/a.b/./c", "a dot segment, at byte 5"),
            ("/%41/%2e%2E", "a dot segment, at byte 5"),
            ("/a%2f.%2Fb", "a dot segment, at byte 5"),
            ("/a//b", "an empty segment, at byte 3"),
            ("/%41//b", "an empty segment, at byte 5"),
            ("/a?\u{e9}", "octet 0xC3 is in the query, at byte 3"),
        ] {
            let error = RequestTarget::of(&format!("https://h.example{target}")).unwrap_err();
            assert!(error.to_string().contains(says), "{target}: {error}");
        }
    }

    #[test]
    fn escapes_of_unreserved_characters_are_equal_to_them() {
        for (path, normal) in [
            ("/a%7Eb", "/a~b"),
            ("/a%2Db/report%2Epdf", "/a-b/report.pdf"),
            ("/%61dmin", "/admin"),
            ("/100%25", "/100%25"),
            ("/100%25x", "/100%25x"),
            ("/a%20b", "/a%20b"),
            ("/group%2Fproject", "/group%2Fproject"),
            ("/%40scope%2fname", "/%40scope%2fname"),
        ] {
            let url = format!("https://h.example{path}");
            let target = RequestTarget::of(&url).unwrap();
            assert_eq!((target.path, target.normal.as_ref()), (path, normal));
            assert_eq!(target.escaped_slash.is_some(), path.to_ascii_lowercase().contains("%2f"));
        }
        let target = RequestTarget::of("https://h.example/a%2Fb%2fc/d").unwrap();
        assert_eq!((target.escaped_slash, target.with_slashes().as_str()), (Some(2), "/a/b/c/d"));
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
            let target = RequestTarget::of(url).unwrap();
            assert_eq!((target.path, target.query), (path, query), "{url}");
        }
    }
}
