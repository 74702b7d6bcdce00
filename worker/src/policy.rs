//! The guard's policy file: as written, then checked. Compiled into the build script as well, which
//! refuses a wrong file, so that the Worker starts with a right one.

use std::sync::Arc;
use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_verify::Demand;
use edgepass_verify::duration::DurationText;
use serde::{Deserialize, Serialize};

/// The file as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyText {
    #[serde(rename = "route")]
    routes: Vec<RouteText>,
}

/// A route as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    path: String,
    methods: Vec<String>,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    all_of: Vec<String>,
    #[serde(default)]
    any_of: Vec<String>,
    /// Only tokens of these issuers; all that the guard trusts when absent.
    issuers: Option<Vec<String>>,
    audience: Option<String>,
    stale_if_error: Option<DurationText>,
    #[serde(default)]
    forward_token: bool,
    #[serde(default)]
    websocket: WebSocket,
    cors: Option<CorsText>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CorsText {
    origins: Vec<String>,
    /// Request headers that pages may send; the token's when absent.
    headers: Option<Vec<String>>,
    max_age: Option<DurationText>,
}

/// What happens to a WebSocket upgrade.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WebSocket {
    /// It is refused.
    #[default]
    Refuse,
    /// It is passed on, once the token is accepted.
    Pass,
}

/// The checked policy.
#[derive(Debug)]
pub(crate) struct GuardPolicy {
    /// In the order written; the first that matches decides.
    pub(crate) routes: Vec<Route>,
}

/// A checked route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) pattern: Vec<Segment>,
    pub(crate) methods: Vec<String>,
    pub(crate) access: Access,
    pub(crate) forward_token: bool,
    pub(crate) websocket: WebSocket,
    pub(crate) cors: Option<Cors>,
}

/// What a route asks of the caller.
#[derive(Debug)]
pub(crate) enum Access {
    /// Nothing.
    Public,
    /// A token of which this is asked.
    Token(Arc<Demand>),
}

/// One part of a path pattern.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// Exactly this.
    Literal(String),
    /// Any one segment that is not empty.
    Any,
    /// Everything that follows, at least one segment.
    Rest,
}

/// Which pages may call a route.
#[derive(Debug)]
pub(crate) struct Cors {
    pub(crate) origins: Vec<String>,
    pub(crate) headers: String,
    pub(crate) max_age: u64,
}

impl TryFrom<PolicyText> for GuardPolicy {
    type Error = String;

    fn try_from(text: PolicyText) -> Result<Self, String> {
        let check = |route: RouteText| {
            let path = route.path.clone();
            Route::try_from(route).map_err(|message| format!("route {path}: {message}"))
        };
        Ok(Self { routes: text.routes.into_iter().map(check).collect::<Result<_, _>>()? })
    }
}

impl TryFrom<RouteText> for Route {
    type Error = String;

    fn try_from(route: RouteText) -> Result<Self, String> {
        let known = |method: &String| METHODS.contains(&method.as_str());
        if route.methods.is_empty() || !route.methods.iter().all(known) {
            return Err(format!("methods: name some of {}", METHODS.join(", ")));
        }
        Ok(Self {
            pattern: pattern(&route.path)?,
            access: access(&route)?,
            methods: route.methods,
            forward_token: route.forward_token,
            websocket: route.websocket,
            cors: route.cors.map(Cors::try_from).transpose()?,
        })
    }
}

impl TryFrom<CorsText> for Cors {
    type Error = String;

    fn try_from(cors: CorsText) -> Result<Self, String> {
        let origin = |text: &String| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            rest.is_some_and(|host| !host.is_empty() && !host.contains('/'))
        };
        if cors.origins.is_empty() || !cors.origins.iter().all(origin) {
            return Err("cors.origins: write origins, [\"https://app.example\"]".into());
        }
        let token = |text: &String| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let headers = cors.headers.unwrap_or_else(|| vec!["authorization".into()]);
        if !headers.iter().all(token) {
            return Err("cors.headers: write header names, [\"content-type\"]".into());
        }
        let max_age = cors.max_age.map_or(Duration::from_secs(5), |max_age| max_age.0).as_secs();
        Ok(Self { origins: cors.origins, headers: headers.join(", "), max_age })
    }
}

fn access(route: &RouteText) -> Result<Access, String> {
    const BAD_SCOPE: &str = "scopes hold visible ASCII without spaces, '\"' and '\\'";
    // Tokens of some issuers carry no scope: a route that names its issuers may ask for none.
    let issuers = route.issuers.as_ref().is_some_and(|issuers| !issuers.is_empty());
    let token = issuers || !route.all_of.is_empty() || !route.any_of.is_empty();
    match (route.public, token) {
        (true, true) => Err("public: write either public = true, or scopes or issuers".into()),
        (false, false) => Err("write all_of or any_of, issuers, or public = true".into()),
        (true, false) if route.audience.is_some() || route.stale_if_error.is_some() => {
            Err("a public route has neither audience nor stale_if_error".into())
        }
        (true, false) => Ok(Access::Public),
        (false, true) => Ok(Access::Token(Arc::new(Demand {
            all_of: Scope::try_from(route.all_of.clone()).map_err(|_| BAD_SCOPE)?,
            any_of: Scope::try_from(route.any_of.clone()).map_err(|_| BAD_SCOPE)?,
            issuers: route.issuers.clone(),
            audience: route.audience.clone().map(|audience| vec![audience]),
            stale_if_error: route.stale_if_error.map(|duration| duration.0),
        }))),
    }
}

fn pattern(path: &str) -> Result<Vec<Segment>, String> {
    const FORM: &str = "path: write segments after \"/\": literal, {name}, or a final *";
    let rest = path.strip_prefix('/').ok_or(FORM)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let last = parts.len().saturating_sub(1);
    let segment = |(position, part): (usize, &&str)| {
        let literal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()+,=:@".contains(&byte);
        match *part {
            "*" if position == last => Ok(Segment::Rest),
            "." | ".." => Err(FORM.to_owned()),
            "" if position == last => Ok(Segment::Literal(String::new())),
            part if part.len() > 2 && part.starts_with('{') && part.ends_with('}') => {
                Ok(Segment::Any)
            }
            part if !part.is_empty() && part.bytes().all(literal) => {
                Ok(Segment::Literal(part.to_owned()))
            }
            _ => Err(FORM.to_owned()),
        }
    };
    parts.iter().enumerate().map(segment).collect()
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(route: serde_json::Value) -> Result<GuardPolicy, String> {
        let text = serde_json::json!({ "route": [route] });
        let written: PolicyText = serde_json::from_value(text).map_err(|e| e.to_string())?;
        written.try_into()
    }

    #[test]
    fn every_mistake_says_what_to_write() {
        use serde_json::json;
        assert!(check(json!({"path": "/a", "methods": ["GET"], "public": true})).is_ok());
        assert!(check(json!({"path": "/a", "methods": ["GET"], "issuers": ["https://i"]})).is_ok());
        for (route, says) in [
            (json!({"path": "a", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/a/../b", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/*/b", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/a%2fb", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/a", "methods": [], "public": true}), "GET, POST"),
            (json!({"path": "/a", "methods": ["get"], "public": true}), "GET, POST"),
            (json!({"path": "/a", "methods": ["GET"]}), "all_of or any_of"),
            (json!({"path": "/a", "methods": ["GET"], "all_of": ["a b"]}), "visible ASCII"),
            (json!({"path": "/a", "methods": ["GET"], "scopes": ["a"]}), "unknown field"),
            (json!({"path": "/a", "methods": ["GET"], "public": true, "all_of": ["a"]}), "either"),
            (json!({"path": "/a", "methods": ["GET"], "issuers": []}), "all_of or any_of"),
            (
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"], "stale_if_error": 5}),
                "\"5s\"",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "public": true, "cors": {"origins": ["*"]}}),
                "https://app.example",
            ),
        ] {
            let error = check(route.clone()).expect_err(&route.to_string());
            assert!(error.contains(says), "{route}: {error}");
        }
    }
}
