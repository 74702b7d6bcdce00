//! Folds path segments: segments that some origin reads as one get the same form. The guard
//! compares these forms to find stricter routes to which the origin may assign a request.
//!
//! Express, IIS and ASP.NET ignore case. Windows drops trailing dots and blanks. Servlet containers
//! drop `;` and the text after it. Rails and Apache's MultiViews ignore an extension. PHP runs
//! `/a.php` for `/a.php/b`. docs/security.md names the origins that the rules are tested with.

/// Folds a segment: decodes percent-escapes, applies `lower_case`, cuts at the first `;`, `?`, `#`,
/// `::` or `:$`, and trims blanks and trailing dots. In the last segment also drops the extension,
/// from the first dot on.
pub(crate) fn segment(text: &str, is_last: bool, lower_case: impl Fn(&str) -> String) -> String {
    let text = lower_case(&decoded(text));
    let cut = [";", "?", "#", "::", ":$"].into_iter().filter_map(|sign| text.find(sign)).min();
    let named = text.get(..cut.unwrap_or(text.len())).unwrap_or_default();
    let named = named.trim_matches(is_blank).trim_end_matches(|sign| sign == '.' || is_blank(sign));
    if is_last { without_extension(named) } else { named }.to_owned()
}

/// Whether a segment has the extension of a server-side script, such as `.php`, in any case. The
/// script may take the segments after it as its argument (`/a.php/b` runs `/a.php`).
pub(crate) fn is_program(segment: &str) -> bool {
    let extension = segment.rsplit_once('.').map_or("", |(_, extension)| extension);
    PROGRAMS.iter().any(|program| extension.eq_ignore_ascii_case(program))
}

/// Whether a segment is `index` or `default` with an extension, in any case. Many origins also
/// serve this page at the path of its folder.
pub(crate) fn is_index_page(segment: &str) -> bool {
    let stem = segment.rsplit_once('.').map_or("", |(stem, _)| stem);
    ["index", "default"].iter().any(|page| stem.eq_ignore_ascii_case(page))
}

const PROGRAMS: [&str; 8] = ["asp", "aspx", "cfm", "cgi", "jsp", "php", "pl", "py"];

fn is_blank(sign: char) -> bool {
    sign.is_ascii_whitespace() || sign.is_ascii_control() || sign == '+'
}

/// Returns the text before the first dot, or the whole name if it begins with a dot or has none.
fn without_extension(name: &str) -> &str {
    match name.split_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// Decodes percent-escapes once. Broken escapes stay. If the result is not UTF-8, the text stays as
/// it is. The guard refuses paths of both kinds.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let mut digit = || char::from(ahead.next()?).to_digit(16);
        match (byte, digit(), digit()) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                bytes = ahead;
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_origin_reads_as_admin_is_admin() {
        for spelling in [
            "admin",
            "Admin",
            "ADMIN",
            "admin.",
            "admin..",
            "admin%20",
            "%20admin",
            "admin+",
            "admin;x=1",
            "admin%3Bx",
            "admin.json",
            "admin.json.",
            "admin::$DATA",
            "admin%3Fx",
            "admin%23x",
            "admin%09",
        ] {
            assert_eq!(segment(spelling, true, str::to_ascii_lowercase), "admin", "{spelling}");
        }
        for other in ["admin-x", "administrator", "admin,x", "admin:cancel", "xadmin", "a.dmin"] {
            assert_ne!(segment(other, true, str::to_ascii_lowercase), "admin", "{other}");
        }
    }

    #[test]
    fn an_extension_counts_where_it_is_not_the_last_segment() {
        let fold = |text, is_last| segment(text, is_last, str::to_ascii_lowercase);
        assert_eq!(fold("v1.2", false), "v1.2");
        assert_eq!(fold(".well-known", true), ".well-known");
        assert!(is_program("index.PHP") && !is_program("index") && !is_program("acme.com"));
    }
}
