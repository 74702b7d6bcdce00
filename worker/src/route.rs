//! Which route a request takes.

use crate::policy::{GuardPolicy, Route, Segment};

/// What the policy says of a path and a method.
#[derive(Debug)]
pub(crate) enum Matched<'p> {
    /// This route.
    Route(&'p Route),
    /// A CORS preflight for this path; it carries no token.
    Preflight(Vec<&'p Route>),
    /// The path is known, the method is not; holds the methods that are.
    MethodNotAllowed(Vec<&'p str>),
    /// No route has this path.
    NotFound,
}

impl GuardPolicy {
    /// Find the route for a path and a method. `HEAD` is matched as `GET`.
    pub(crate) fn find(&self, path: &str, method: &str) -> Matched<'_> {
        let at_path: Vec<&Route> =
            self.routes.iter().filter(|route| matches(&route.pattern, path)).collect();
        if at_path.is_empty() {
            return Matched::NotFound;
        }
        if method == "OPTIONS" && at_path.iter().any(|route| route.cors.is_some()) {
            return Matched::Preflight(at_path);
        }
        let wanted = if method == "HEAD" { "GET" } else { method };
        match at_path.iter().find(|route| route.methods.iter().any(|own| own == wanted)) {
            Some(route) => Matched::Route(route),
            None => Matched::MethodNotAllowed(
                at_path.iter().flat_map(|route| route.methods.iter().map(String::as_str)).collect(),
            ),
        }
    }
}

fn matches(pattern: &[Segment], path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    for segment in pattern {
        let Some(part) = parts.next() else { return false };
        match segment {
            // A trailing slash is a path of its own, matched only where it is written.
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
            let matched = policy.find(path, "GET");
            assert_eq!(matches!(matched, Matched::Route(_)), found, "{path}: {matched:?}");
        }
    }

    #[test]
    fn methods_decide_after_the_path() {
        let policy = policy();
        assert!(matches!(policy.find("/a", "HEAD"), Matched::Route(_)));
        assert!(matches!(policy.find("/a", "POST"), Matched::Route(_)));
        assert!(matches!(policy.find("/a", "OPTIONS"), Matched::Preflight(_)));
        assert!(matches!(policy.find("/a/1", "OPTIONS"), Matched::MethodNotAllowed(_)));
        let Matched::MethodNotAllowed(allowed) = policy.find("/a", "DELETE") else { panic!() };
        assert_eq!(allowed, ["GET", "POST"]);
        assert!(matches!(policy.find("/b", "OPTIONS"), Matched::NotFound));
    }
}
