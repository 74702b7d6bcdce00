//! Folds paths as the laxest origins read them, to find the stricter routes that a path could mean.
//!
//! Express, IIS and ASP.NET ignore case. Windows drops trailing dots and blanks. Servlet
//! containers drop `;` and the text after it. Rails and MultiViews ignore an extension. PHP reads
//! `/a.php/b` as `/a.php`. docs/security.md names the origins that the rules are tested against.

/// Folds a segment, percent-decoded or not, as the laxest origin reads it. For text beyond ASCII,
/// `lower_case` also unifies the Unicode spellings of a letter, and drops accents, joiners and
/// characters that look like blanks.
pub(crate) fn segment(text: &str, is_last: bool, lower_case: impl Fn(&str) -> String) -> String {
    let text = lower_case(&decoded(text));
    let cut = [";", "?", "#", "::", ":$"].into_iter().filter_map(|sign| text.find(sign)).min();
    let named = text.get(..cut.unwrap_or(text.len())).unwrap_or_default();
    let named = named.trim_matches(is_blank).trim_end_matches(|sign| sign == '.' || is_blank(sign));
    if is_last { without_extension(named) } else { named }.to_owned()
}

/// Whether a segment names a program. The segments after it may be the program's argument.
pub(crate) fn is_program(segment: &str) -> bool {
    let extension = segment.rsplit_once('.').map_or("", |(_, extension)| extension);
    PROGRAMS.iter().any(|program| extension.eq_ignore_ascii_case(program))
}

/// Whether a segment names the index page of a folder, which also answers at the folder's path.
pub(crate) fn is_index_page(segment: &str) -> bool {
    let stem = segment.rsplit_once('.').map_or("", |(stem, _)| stem);
    ["index", "default"].iter().any(|page| stem.eq_ignore_ascii_case(page))
}

const PROGRAMS: [&str; 8] = ["asp", "aspx", "cfm", "cgi", "jsp", "php", "pl", "py"];

fn is_blank(sign: char) -> bool {
    sign.is_ascii_whitespace() || sign.is_ascii_control() || sign == '+'
}

/// Returns the text before the first dot; the whole name if it begins with a dot or has none.
fn without_extension(name: &str) -> &str {
    match name.split_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// Decodes percent-escapes once. Broken escapes stay; text that would not be UTF-8 stays whole. The
/// guard refuses such paths.
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
