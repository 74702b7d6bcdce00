//! Selects the route for a request.

use crate::fold;
use crate::overlap::{is_above, is_as_strict};
use crate::policy::{GuardPolicy, OriginPaths, Route, Segment};
use crate::request_target::RequestTarget;

/// Result of the search for a route.
#[derive(Debug)]
pub(crate) enum Matched<'p> {
    /// The first route with the path and the method. It decides.
    Route(&'p Route),
    /// A route matches, but the origin may read the path as a path of this stricter route. The
    /// guard refuses the request.
    Resembles(&'p Route),
    /// The path has an escaped slash, and no route matches, or one that refuses such paths.
    EscapedSlash,
    /// A request `OPTIONS` to a path with a route that has `cors`: a CORS preflight. Holds all
    /// routes with this path.
    Preflight(Vec<&'p Route>),
    /// Routes have the path, but none of them has the method. Holds their methods.
    MethodNotAllowed(Vec<&'p str>),
    /// No route has this path.
    NotFound,
}

impl GuardPolicy {
    /// Finds the route for a target and a method. `HEAD` is matched as `GET`.
    pub(crate) fn find(&self, target: &RequestTarget<'_>, method: &str) -> Matched<'_> {
        let path = target.normal.as_ref();
        let at_path: Vec<&Route> =
            self.routes.iter().filter(|route| matches(&route.pattern, path)).collect();
        if at_path.is_empty() {
            // The client may have meant a slash between segments.
            let has_slash = target.escaped_slash.is_some();
            return if has_slash { Matched::EscapedSlash } else { Matched::NotFound };
        }
        if method == "OPTIONS" && at_path.iter().any(|route| route.cors.is_some()) {
            return Matched::Preflight(at_path);
        }
        let wanted = if method == "HEAD" { "GET" } else { method };
        match at_path.iter().find(|route| route.methods.iter().any(|own| own == wanted)) {
            Some(route) if target.escaped_slash.is_some() && !route.takes_escaped_slash => {
                Matched::EscapedSlash
            }
            Some(route) => match self.resembled(route, target, wanted) {
                Some(stricter) => Matched::Resembles(stricter),
                None => Matched::Route(route),
            },
            None => Matched::MethodNotAllowed(
                at_path.iter().flat_map(|route| route.methods.iter().map(String::as_str)).collect(),
            ),
        }
    }

    /// Whether a route is for this very path.
    pub(crate) fn names(&self, path: &str) -> bool {
        self.routes.iter().any(|route| route.path == path)
    }

    /// Returns the index of a route of this policy; `usize::MAX` for any other route.
    pub(crate) fn index_of(&self, route: &Route) -> usize {
        self.routes.iter().position(|own| std::ptr::eq(own, route)).unwrap_or(usize::MAX)
    }

    /// Returns a route for `method` that `taken` is not as strict as, if the origin may read the path
    /// as a path of that route. With `origin_paths = "exact"` it may only take escapes literally. If
    /// the pattern of `taken` is literal and the path has no such escapes, the policy names the path
    /// itself.
    fn resembled(&self, taken: &Route, target: &RequestTarget<'_>, method: &str) -> Option<&Route> {
        let is_open = |segment: &Segment| !matches!(segment, Segment::Literal(_));
        let has_escapes = target.is_normalized() || target.escaped_slash.is_some();
        let is_exact = self.origin_paths == OriginPaths::Exact;
        if !has_escapes && (is_exact || !taken.pattern.iter().any(is_open)) {
            return None;
        }
        let is_stricter = |other: &&Route| {
            other.methods.iter().any(|own| own == method) && !is_as_strict(taken, other)
        };
        let mut stricter = self.routes.iter().filter(is_stricter).peekable();
        // Without such a route, the readings of the path need not be computed, which takes time.
        stricter.peek()?;
        if is_exact {
            return stricter.find(|other| matches(&other.pattern, target.path));
        }
        let path = target.normal.as_ref();
        let whole = segments(path);
        let mut others = other_readings(&whole);
        if target.is_normalized() {
            let literally = segments(target.path);
            others.extend(other_readings(&literally));
            others.push(literally);
        }
        if target.escaped_slash.is_some() {
            let with_slashes = segments(&target.with_slashes());
            others.extend(other_readings(&with_slashes));
            others.push(with_slashes);
        }
        stricter.find(|other| {
            // The policy names the path itself by one route, and what is below it by another.
            let is_named = is_above(&taken.folded, &other.folded)
                && whole.len() < other.folded.len()
                && !path.ends_with('/');
            let as_written =
                || resembles(&other.folded, &whole) && !matches(&other.pattern, path) && !is_named;
            let literally = || has_escapes && matches(&other.pattern, target.path);
            let otherwise = || others.iter().any(|parts| resembles(&other.folded, parts));
            as_written() || literally() || otherwise()
        })
    }
}

/// Splits a path into segments, without a trailing slash.
fn segments(path: &str) -> Vec<String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').skip(1).map(str::to_owned).collect()
}

/// Returns other readings of these segments by some origins: split at Unicode look-alikes of
/// separators, without a leading script (`/index.php/reports`), without a session
/// (`/(S(x))/reports`), without a folder's index page (`/reports/index.html`), and combinations of
/// these.
fn other_readings(whole: &[String]) -> Vec<Vec<String>> {
    let mut readings = vec![whole.to_vec()];
    for otherwise in [with_separators, without_program, without_session, without_page] {
        let more: Vec<_> = readings.iter().filter_map(|parts| otherwise(parts)).collect();
        readings.extend(more);
    }
    readings.remove(0);
    readings
}

fn with_separators(parts: &[String]) -> Option<Vec<String>> {
    let split = |part: &String| -> Vec<String> {
        let text = fold::decoded(part);
        if text.is_ascii() {
            return vec![part.clone()];
        }
        lower_case(&text).split(['/', '\\']).map(str::to_owned).collect()
    };
    let split: Vec<String> = parts.iter().flat_map(split).collect();
    (split.len() > parts.len()).then_some(split)
}

fn without_program(parts: &[String]) -> Option<Vec<String>> {
    match parts {
        [first, rest @ ..] if fold::is_program(first) => Some(rest.to_vec()),
        _ => None,
    }
}

fn without_session(parts: &[String]) -> Option<Vec<String>> {
    let is_other = |part: &&String| !(part.starts_with('(') && part.ends_with("))"));
    let rest: Vec<String> = parts.iter().filter(is_other).cloned().collect();
    (rest.len() < parts.len()).then_some(rest)
}

fn without_page(parts: &[String]) -> Option<Vec<String>> {
    match parts {
        [rest @ .., last] if fold::is_index_page(last) => Some(rest.to_vec()),
        _ => None,
    }
}

/// Whether some origin may read the segments `parts` as a path of the folded pattern.
fn resembles(folded: &[Segment], parts: &[String]) -> bool {
    let last = folded.len().saturating_sub(1);
    for (position, segment) in folded.iter().enumerate() {
        // In many origins a pattern for everything below a path also matches the path itself.
        if *segment == Segment::Rest {
            return true;
        }
        let Some(part) = parts.get(position) else { return false };
        let is_last = position == last;
        let is_read_so = match segment {
            Segment::Rest | Segment::Any => true,
            Segment::Literal(literal) => fold::segment(part, is_last, lower_case) == *literal,
        };
        if !is_read_so {
            return false;
        }
        // The segments after a script may be its argument.
        if is_last && fold::is_program(part) {
            return true;
        }
    }
    parts.len() == folded.len()
}

/// Folds case and, beyond ASCII, Unicode spellings: full width, long s and Kelvin become plain
/// letters (NFKD), and only letters, numbers and ASCII remain, so accents and joiners are dropped.
/// Uses the host's Unicode tables.
#[cfg(target_arch = "wasm32")]
fn lower_case(text: &str) -> String {
    use js_sys::{JsString, RegExp};
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let text = JsString::from(text).normalize("NFKD");
    let others = RegExp::new(r"[^\p{L}\p{N}\x00-\x7f]", "gu");
    text.replace_by_pattern(&others, "").to_upper_case().to_lower_case().into()
}

#[cfg(not(target_arch = "wasm32"))]
fn lower_case(text: &str) -> String {
    use unicode_normalization::UnicodeNormalization;
    let kept = |sign: &char| sign.is_ascii() || sign.is_alphanumeric();
    text.nfkd().filter(kept).collect::<String>().to_uppercase().to_lowercase()
}

fn matches(pattern: &[Segment], path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    for segment in pattern {
        let Some(part) = parts.next() else { return false };
        match segment {
            // A trailing slash makes another path, which only a pattern with the slash matches.
            Segment::Rest => return !part.is_empty() && !path.ends_with('/'),
            Segment::Any if !part.is_empty() => {}
            Segment::Literal(literal) if literal == part => {}
            Segment::Any | Segment::Literal(_) => return false,
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'p>(policy: &'p GuardPolicy, path: &str, method: &str) -> Matched<'p> {
        let url = format!("https://h.example{path}");
        policy.find(&RequestTarget::of(&url).unwrap(), method)
    }

    fn policy() -> GuardPolicy {
        let text = serde_json::json!({ "route": [
            { "path": "/", "methods": ["GET"], "public": true },
            { "path": "/a", "methods": ["GET"], "all_of": ["a"], "cors": { "origins": ["https://x"] } },
            { "path": "/a", "methods": ["POST"], "all_of": ["b"] },
            { "path": "/a/{id}", "methods": ["GET"], "all_of": ["c"] },
            { "path": "/r/*", "methods": ["GET"], "all_of": ["d"] },
        ] });
        serde_json::from_value::<crate::policy::PolicyText>(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn a_path_matches_whole_segments_and_case_counts() {
        let policy = policy();
        for (path, found) in [
            ("/", true),
            ("/a", true),
            ("/a/", false),
            ("/A", false),
            ("/ab", false),
            ("/a/1", true),
            ("/a/1/2", false),
            ("/r", false),
            ("/r/", false),
            ("/r/1/2", true),
            ("/r/1/", false),
        ] {
            let matched = find(&policy, path, "GET");
            assert_eq!(matches!(matched, Matched::Route(_)), found, "{path}: {matched:?}");
        }
    }

    #[test]
    fn what_an_origin_may_read_as_a_stricter_route_takes_no_laxer_one() {
        let text = serde_json::json!({ "route": [
            { "path": "/reports/admin", "methods": ["GET"], "all_of": ["admin"] },
            { "path": "/reports/tool.php", "methods": ["GET"], "all_of": ["admin"] },
            { "path": "/reports/open", "methods": ["GET"], "public": true },
            { "path": "/reports/*", "methods": ["GET", "POST"], "all_of": ["read"] },
            { "path": "/Secret/*", "methods": ["GET"], "all_of": ["admin"] },
            { "path": "/{tenant}/*", "methods": ["GET"], "all_of": ["read"] },
        ] });
        let policy = |origin_paths: &str| -> GuardPolicy {
            let mut text = text.clone();
            text["origin_paths"] = origin_paths.into();
            serde_json::from_value::<crate::policy::PolicyText>(text).unwrap().try_into().unwrap()
        };
        let (loose, exact) = (policy("loose"), policy("exact"));
        for path in [
            "/reports/Admin",
            "/reports/admin.",
            "/reports/admin%20",
            "/reports/admin.json",
            "/reports/%EF%BD%81dmin",
            "/reports/adm%C4%B1n",
            "/reports/admin%CC%81",
            "/reports/tool.PHP",
            "/reports/tool.php/extra",
            "/reports/admin.PHP/extra",
            "/reports/tool",
            "/secret/x",
            "/index.php/reports/admin",
            "/(S(abc))/reports/admin",
            "/reports/admin/index.html",
            "/reports/admin:$i30:$INDEX_ALLOCATION",
            "/SECRET/x/y",
        ] {
            assert!(matches!(find(&loose, path, "GET"), Matched::Resembles(_)), "{path}");
            assert!(matches!(find(&exact, path, "GET"), Matched::Route(_)), "{path}");
        }
        for path in ["/reports/admin", "/reports/OPEN", "/reports/x", "/reports/admin/x", "/x/y"] {
            assert!(matches!(find(&loose, path, "GET"), Matched::Route(_)), "{path}");
        }
        assert!(matches!(find(&loose, "/reports/Admin", "POST"), Matched::Route(_)));
    }

    #[test]
    fn one_route_for_an_item_and_another_for_what_is_below_it() {
        let text = serde_json::json!({ "route": [
            { "path": "/users/{id}", "methods": ["GET"], "all_of": ["read"] },
            { "path": "/users/{id}/*", "methods": ["GET"], "all_of": ["admin"] },
        ] });
        let text: crate::policy::PolicyText = serde_json::from_value(text).unwrap();
        let policy = GuardPolicy::try_from(text).unwrap();
        for (path, taken) in [
            ("/users/42", "/users/{id}"),
            ("/users/42/keys", "/users/{id}/*"),
            ("/users/a.b", "/users/{id}"),
        ] {
            let Matched::Route(route) = find(&policy, path, "GET") else { panic!("{path}") };
            assert_eq!(route.path, taken, "{path}");
        }
        // A script may take what follows as its argument; a trailing slash is another path.
        assert!(matches!(find(&policy, "/Users/42", "GET"), Matched::NotFound));
        assert!(matches!(find(&policy, "/users/42/", "GET"), Matched::NotFound));
    }

    #[test]
    fn methods_decide_after_the_path() {
        let policy = policy();
        assert!(matches!(find(&policy, "/a", "HEAD"), Matched::Route(_)));
        assert!(matches!(find(&policy, "/a", "POST"), Matched::Route(_)));
        assert!(matches!(find(&policy, "/a", "OPTIONS"), Matched::Preflight(_)));
        assert!(matches!(find(&policy, "/a/1", "OPTIONS"), Matched::MethodNotAllowed(_)));
        let Matched::MethodNotAllowed(allowed) = find(&policy, "/a", "DELETE") else { panic!() };
        assert_eq!(allowed, ["GET", "POST"]);
        assert!(matches!(find(&policy, "/b", "OPTIONS"), Matched::NotFound));
    }

    #[test]
    fn a_path_with_escapes_takes_no_laxer_route_than_any_reading_of_it() {
        let text = serde_json::json!({ "route": [
            { "path": "/files/admin/*", "methods": ["GET"], "all_of": ["admin"] },
            { "path": "/files/a-b", "methods": ["GET"], "all_of": ["read"] },
            { "path": "/files/~open", "methods": ["GET"], "public": true },
            { "path": "/files/{name}", "methods": ["GET"], "all_of": ["read", "list"], "encoded_slash": "pass" },
            { "path": "/ids/{id}", "methods": ["GET"], "all_of": ["read"], "encoded_slash": "pass" },
            { "path": "/plain/{id}", "methods": ["GET"], "all_of": ["read"] },
        ] });
        for origin_paths in ["loose", "exact"] {
            let mut text = text.clone();
            text["origin_paths"] = origin_paths.into();
            let policy: GuardPolicy = serde_json::from_value::<crate::policy::PolicyText>(text)
                .unwrap()
                .try_into()
                .unwrap();
            let taken = |path: &str| match find(&policy, path, "GET") {
                Matched::Route(route) => route.path.clone(),
                other => format!("{other:?}").split(['(', ' ']).next().unwrap().to_owned(),
            };
            for (path, loose, exact) in [
                ("/files/a-b", "/files/a-b", "/files/a-b"),
                // An origin that takes escapes literally serves these by the stricter route.
                ("/files/a%2Db", "Resembles", "Resembles"),
                ("/files/%7Eopen", "Resembles", "Resembles"),
                ("/files/x%2Dy", "/files/{name}", "/files/{name}"),
                ("/files/admin%2Fx", "Resembles", "/files/{name}"),
                ("/files/Admin%2fx", "Resembles", "/files/{name}"),
                ("/files/group%2Fproject", "/files/{name}", "/files/{name}"),
                ("/ids/https%3A%2F%2Fx.example%2Fa", "/ids/{id}", "/ids/{id}"),
                ("/plain/a%2Fb", "EscapedSlash", "EscapedSlash"),
                ("/plain/100%25", "/plain/{id}", "/plain/{id}"),
                ("/%70lain/1", "/plain/{id}", "/plain/{id}"),
            ] {
                let expected = if origin_paths == "loose" { loose } else { exact };
                assert_eq!(taken(path), expected, "{path} {origin_paths}");
            }
        }
    }
}
