//! The guard's policy file, as written and as checked. The build script includes this module, too,
//! and refuses an invalid file, so the Worker contains a valid one.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_mask::{Plan, Rule, With};
use edgepass_verify::Requirements;
use edgepass_verify::checks::RequirementsConfig;
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::token_place::TokenPlace;
use serde::{Deserialize, Serialize};

use crate::policy_error::{PolicyError, RouteError};
use crate::{overlap, untrusted};

/// The policy file as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyText {
    #[serde(default)]
    origin_paths: OriginPaths,
    #[serde(default)]
    pass_headers: Vec<String>,
    #[serde(rename = "route")]
    routes: Vec<RouteText>,
}

/// How literally the origin reads paths. Default `loose`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OriginPaths {
    /// The origin may ignore case, trailing dots and blanks, and extensions. The guard refuses a
    /// request that the origin may read as one for a stricter route.
    #[default]
    Loose,
    /// The origin reads paths literally, as the guard does. The guard compares no folded paths.
    Exact,
}

/// A route as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    path: String,
    methods: Vec<String>,
    #[serde(default)]
    public: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_of: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    any_of: Option<Vec<String>>,
    /// Purposes of which the agreement of the token must have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    purposes: Option<Vec<String>>,
    /// Categories of data that the agreement of the token must cover.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<String>>,
    /// Issuers whose tokens the route accepts. Default: all that the guard trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_if_error: Option<DurationText>,
    /// Places of a request in which the token may be. Default: `"authorization"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_from: Option<OneOrMany>,
    #[serde(default)]
    forward_token: bool,
    #[serde(default)]
    websocket: WebSocket,
    #[serde(default)]
    encoded_slash: EncodedSlash,
    #[serde(default)]
    outlives_token: bool,
    #[serde(default)]
    cache: bool,
    /// Path of the protected resource (RFC 9728) that the route belongs to. Default: the whole API.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimitText>,
    /// Values that are masked in the origin's responses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mask: Vec<MaskText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<CorsText>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct MaskText {
    /// Paths to the values.
    fields: Vec<String>,
    /// Scope token with which the values stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    unless: Option<String>,
    with: With,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RateLimitText {
    /// Name of a rate limit binding of the Worker.
    binding: String,
    /// `Retry-After` of a refusal: the period of the binding, `"10s"` or `"60s"`.
    period: DurationText,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CorsText {
    /// Origins whose pages may call the route. Required unless the origin answers preflights.
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    preflight: Preflight,
    /// Request headers that pages may send. Default: `authorization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<DurationText>,
}

/// Who answers a CORS preflight.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Preflight {
    /// The guard answers, and decides which pages may read responses.
    #[default]
    Guard,
    /// The guard forwards preflights, but only their headers of CORS, and of the answer only the
    /// status and its headers of CORS. It leaves these headers as they are in all responses of the
    /// origin. `origins` then only let pages read the guard's own refusals.
    Origin,
}

/// Treatment of a WebSocket upgrade.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WebSocket {
    /// The guard refuses every request with the header `Upgrade`.
    #[default]
    Refuse,
    /// The guard forwards the upgrade; unless the route is public, only with an accepted token.
    Pass,
}

/// Treatment of a path with an escaped slash (`%2F`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EncodedSlash {
    /// The guard refuses the request: some origins read the slash as the end of a segment.
    #[default]
    Refuse,
    /// The escape is a part of its segment, and the origin gets it as it came.
    Pass,
}

/// The checked policy.
#[derive(Debug)]
pub(crate) struct GuardPolicy {
    pub(crate) origin_paths: OriginPaths,
    /// Untrusted headers that the guard forwards for this API nevertheless. In lower case.
    pub(crate) pass_headers: Vec<String>,
    /// The routes in the order of the file. The first route that matches decides.
    pub(crate) routes: Vec<Route>,
}

/// A checked route.
#[derive(Debug)]
pub(crate) struct Route {
    /// Pattern as written, for messages.
    pub(crate) path: String,
    pub(crate) pattern: Vec<Segment>,
    /// The folded pattern ([`overlap::folded`]).
    pub(crate) folded: Vec<Segment>,
    pub(crate) methods: Vec<String>,
    pub(crate) access: Access,
    pub(crate) forward_token: bool,
    pub(crate) websocket: WebSocket,
    /// Whether the path may have escaped slashes.
    pub(crate) takes_escaped_slash: bool,
    /// Whether WebSockets and long responses may continue after the token expired or was revoked.
    pub(crate) outlives_token: bool,
    /// Whether caches between guard and origin may store the origin's responses and answer for it.
    pub(crate) cache: bool,
    pub(crate) cors: Option<Cors>,
    /// Path of the protected resource: empty for the whole API.
    pub(crate) resource: String,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) masks: Option<Masks>,
}

/// What is masked in the responses of a route.
#[derive(Debug)]
pub(crate) struct Masks {
    pub(crate) plan: Arc<Plan>,
    /// The rules of the plan, each with the scope token with which its values stay.
    rules: Vec<(Rule, Option<String>)>,
}

impl Masks {
    /// The rules that hold for a token with this scope, as bits.
    pub(crate) fn active(&self, granted: &Scope) -> u32 {
        let holds =
            |unless: &Option<String>| unless.as_ref().is_none_or(|scope| !granted.contains(scope));
        let bits = self.rules.iter().zip(0..);
        bits.filter(|((_, unless), _)| holds(unless)).fold(0, |all, (_, bit)| all | 1 << bit)
    }

    /// Whether a value is hashed, which needs a key.
    pub(crate) fn has_hash(&self) -> bool {
        self.rules.iter().any(|(rule, _)| rule.with == With::Hash)
    }

    fn of(masks: Vec<MaskText>) -> Result<Option<Self>, RouteError> {
        let mut rules = Vec::new();
        for MaskText { fields, unless, with } in masks {
            let is_token =
                |text: &str| Scope::parse(text).is_ok_and(|scope| scope.iter().count() == 1);
            if fields.is_empty() || !unless.as_deref().is_none_or(is_token) {
                return Err(RouteError::Mask);
            }
            for field in fields {
                let path = field.parse().map_err(|_| RouteError::MaskPath(field))?;
                rules.push((Rule { path, with }, unless.clone()));
            }
        }
        if rules.is_empty() {
            return Ok(None);
        }
        let all: Vec<Rule> = rules.iter().map(|(rule, _)| rule.clone()).collect();
        let plan = Arc::new(Plan::new(&all).map_err(|_| RouteError::Masks)?);
        Ok(Some(Self { plan, rules }))
    }
}

impl Route {
    /// Whether at least what `other` masks is masked.
    pub(crate) fn masks_as_much(&self, other: &Self) -> bool {
        let Some(other) = &other.masks else { return true };
        self.masks.as_ref().is_some_and(|own| own.rules == other.rules)
    }

    /// Whether the origin answers CORS preflights.
    pub(crate) fn forwards_preflights(&self) -> bool {
        self.cors.as_ref().is_some_and(|cors| cors.preflight == Preflight::Origin)
    }
}

/// A limit of requests per subject, in each location.
#[derive(Debug)]
pub(crate) struct RateLimit {
    pub(crate) binding: String,
    /// In seconds.
    pub(crate) period: u32,
}

/// Condition for access to a route.
#[derive(Debug)]
pub(crate) enum Access {
    /// No token is needed.
    Public,
    /// The token must meet these requirements.
    Token(Arc<Requirements>),
}

/// One segment of a path pattern.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// Exactly this text. Empty for a trailing slash.
    Literal(String),
    /// `{name}`: one segment that is not empty.
    Any,
    /// A final `*`: all further segments, at least one, without a trailing slash.
    Rest,
}

/// Permission for web pages to call a route.
#[derive(Debug)]
pub(crate) struct Cors {
    pub(crate) origins: Vec<String>,
    pub(crate) preflight: Preflight,
    /// Value of `Access-Control-Allow-Headers`.
    pub(crate) headers: String,
    /// Value of `Access-Control-Max-Age`, in seconds. Default 5.
    pub(crate) max_age: u64,
}

impl TryFrom<PolicyText> for GuardPolicy {
    type Error = PolicyError;

    fn try_from(text: PolicyText) -> Result<Self, PolicyError> {
        let check = |route: RouteText| {
            let path = route.path.clone();
            Route::try_from(route).map_err(|mistake| PolicyError::Route { path, mistake })
        };
        let routes: Vec<Route> = text.routes.into_iter().map(check).collect::<Result<_, _>>()?;
        if routes.is_empty() {
            return Err(PolicyError::NoRoutes);
        }
        overlap::refuse_hidden(&routes)?;
        if text.origin_paths == OriginPaths::Loose {
            overlap::refuse_aliases(&routes)?;
            overlap::refuse_crossing(&routes)?;
        }
        let may_pass = |name: &String| {
            is_header_name(name)
                && *name == name.to_ascii_lowercase()
                && !name.starts_with(untrusted::OWN)
                && untrusted::is_untrusted(name)
        };
        if let Some(name) = text.pass_headers.iter().find(|name| !may_pass(name)) {
            return Err(PolicyError::PassHeaders(name.clone()));
        }
        Ok(Self { origin_paths: text.origin_paths, pass_headers: text.pass_headers, routes })
    }
}

impl GuardPolicy {
    /// The names of the rate limit bindings that routes use.
    pub(crate) fn limiters(&self) -> impl Iterator<Item = &str> {
        let limits = self.routes.iter().filter_map(|route| route.rate_limit.as_ref());
        limits.map(|limit| limit.binding.as_str())
    }
}

impl TryFrom<RouteText> for Route {
    type Error = RouteError;

    fn try_from(route: RouteText) -> Result<Self, RouteError> {
        let known = |method: &String| METHODS.contains(&method.as_str());
        if route.methods.is_empty() || !route.methods.iter().all(known) {
            return Err(RouteError::Methods);
        }
        let access = access(&route)?;
        let takes_protocol = matches!(&access, Access::Token(requirements)
            if requirements.token_from.iter().flatten().any(|place| *place == TokenPlace::WebSocketProtocol));
        if takes_protocol && route.websocket == WebSocket::Refuse {
            return Err(RouteError::ProtocolWithoutWebSocket);
        }
        if route.cache && (!matches!(access, Access::Public) || route.methods != ["GET"]) {
            return Err(RouteError::CacheOfRestricted);
        }
        if route.cache && (route.forward_token || route.websocket == WebSocket::Pass) {
            return Err(RouteError::CacheOfToken);
        }
        if route.outlives_token && matches!(access, Access::Public) {
            return Err(RouteError::NoTokenToOutlive);
        }
        if route.websocket == WebSocket::Pass && !route.methods.iter().any(|own| own == "GET") {
            return Err(RouteError::WebSocketWithoutGet);
        }
        let is_public = matches!(access, Access::Public);
        let rate_limit = route.rate_limit.map(RateLimit::try_from).transpose()?;
        let cors = route.cors.map(Cors::try_from).transpose()?;
        if let (Access::Token(requirements), Some(cors)) = (&access, &cors) {
            cors.check_places(requirements.token_from.as_deref())?;
        }
        if is_public && (rate_limit.is_some() || route.resource.is_some()) {
            return Err(RouteError::PublicWithSubject);
        }
        let is_resource = |path: &str| {
            !path.ends_with('/')
                && pattern(path)
                    .is_ok_and(|parts| parts.iter().all(|part| matches!(part, Segment::Literal(_))))
        };
        if route.resource.as_deref().is_some_and(|path| !is_resource(path)) {
            return Err(RouteError::Resource);
        }
        let masks = Masks::of(route.mask)?;
        if masks.is_some() && (is_public || route.websocket == WebSocket::Pass) {
            return Err(RouteError::MaskWithoutToken);
        }
        let resource = route.resource.unwrap_or_default();
        let pattern = pattern(&route.path)?;
        let takes_escaped_slash = route.encoded_slash == EncodedSlash::Pass;
        let is_literal = pattern.iter().all(|part| matches!(part, Segment::Literal(_)));
        if takes_escaped_slash && is_literal {
            return Err(RouteError::EncodedSlash);
        }
        Ok(Self {
            resource,
            rate_limit,
            masks,
            folded: overlap::folded(&pattern),
            pattern,
            path: route.path,
            access,
            methods: route.methods,
            forward_token: route.forward_token,
            websocket: route.websocket,
            takes_escaped_slash,
            outlives_token: route.outlives_token,
            cache: route.cache,
            cors,
        })
    }
}

impl TryFrom<RateLimitText> for RateLimit {
    type Error = RouteError;

    fn try_from(limit: RateLimitText) -> Result<Self, RouteError> {
        let period = limit.period.0.as_secs();
        // The periods that a binding may have.
        let is_period =
            [10, 60].iter().any(|seconds| limit.period.0 == Duration::from_secs(*seconds));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match u32::try_from(period) {
            Ok(period)
                if is_period && !limit.binding.is_empty() && limit.binding.bytes().all(is_name) =>
            {
                Ok(Self { binding: limit.binding, period })
            }
            _ => Err(RouteError::RateLimit),
        }
    }
}

impl TryFrom<CorsText> for Cors {
    type Error = RouteError;

    fn try_from(cors: CorsText) -> Result<Self, RouteError> {
        let by_origin = cors.preflight == Preflight::Origin;
        if by_origin && (cors.headers.is_some() || cors.max_age.is_some()) {
            return Err(RouteError::CorsOfOrigin);
        }
        let needs_origins = cors.origins.is_empty() && !by_origin;
        if needs_origins || !cors.origins.iter().all(|origin| is_web_origin(origin)) {
            return Err(RouteError::CorsOrigins);
        }
        let headers = cors.headers.unwrap_or_else(|| vec!["authorization".into()]);
        if !headers.iter().all(|name| is_header_name(name)) {
            return Err(RouteError::CorsHeaders);
        }
        let max_age = cors.max_age.map_or(Duration::from_secs(5), |max_age| max_age.0).as_secs();
        let headers = headers.join(", ");
        Ok(Self { origins: cors.origins, preflight: cors.preflight, headers, max_age })
    }
}

impl Cors {
    /// Refuses `headers` that let no page send the token: none of the fields in which it may be.
    fn check_places(&self, places: Option<&[TokenPlace]>) -> Result<(), RouteError> {
        let is_sendable = |place: &TokenPlace| {
            let field = match place {
                TokenPlace::Authorization => "authorization",
                TokenPlace::Header(name) => name,
                _ => return true,
            };
            self.headers.split(", ").any(|own| own.eq_ignore_ascii_case(field))
        };
        let places = places.unwrap_or(&[TokenPlace::Authorization]);
        match self.preflight == Preflight::Origin || places.iter().any(is_sendable) {
            true => Ok(()),
            false => Err(RouteError::CorsWithoutToken),
        }
    }

    /// Whether pages of this origin, the value of a request's `Origin`, may call the route.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|own| match own.split_once('*') {
            None => own == origin,
            // One label, or a part of it, never a dot. Below a public suffix it is another site.
            Some((before, after)) => {
                let label = origin.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                label.is_some_and(|label| !label.is_empty() && label.bytes().all(is_label))
            }
        })
    }
}

/// Whether a text is an origin as browsers and apps send it: `https://app.example`,
/// `tauri://localhost`. Of an `http` or `https` origin, the first label may have one `*`, if two more
/// labels follow.
fn is_web_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = scheme.starts_with(|sign: char| sign.is_ascii_lowercase())
        && scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]*".contains(&byte);
    let first = host.split('.').next().unwrap_or_default();
    let stars = host.matches('*').count();
    let may_have_star = ["http", "https"].contains(&scheme)
        && first.matches('*').count() == stars
        && host.matches('.').count() >= 2;
    is_scheme
        && host.bytes().all(allowed)
        && is_authority(scheme, host)
        && (stars == 0 || stars == 1 && may_have_star)
}

/// Whether a text is a host, and a port that is written only if it is not the scheme's own.
fn is_authority(scheme: &str, text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        let own = [("http", "80"), ("https", "443")].contains(&(scheme, port));
        let number = port.parse::<u16>().ok().filter(|number| *number > 0);
        !own && number.is_some_and(|number| number.to_string() == port)
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| {
            address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address)
        }),
        None => {
            let name = host.strip_suffix('.').unwrap_or(host);
            name.split('.').all(|label| !label.is_empty()) && !host.contains(['[', ']', ':'])
        }
    };
    is_host && port.is_none_or(is_port)
}

fn is_header_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|sign| sign.is_ascii_alphanumeric() || sign == b'-')
}

fn access(route: &RouteText) -> Result<Access, RouteError> {
    let lists = [&route.all_of, &route.any_of, &route.issuers, &route.purposes, &route.data];
    let is_empty = |list: &Vec<String>| list.is_empty() || list.iter().any(String::is_empty);
    if lists.into_iter().flatten().any(is_empty) || route.audience.as_deref() == Some("") {
        return Err(RouteError::Empty);
    }
    let requirements = RequirementsConfig {
        all_of: route.all_of.clone(),
        any_of: route.any_of.clone(),
        purposes: route.purposes.clone(),
        data: route.data.clone(),
        issuers: route.issuers.clone(),
        audience: route.audience.clone().map(OneOrMany::One),
        stale_if_error: route.stale_if_error,
        token_from: route.token_from.clone(),
        // `Settings` sets it, since it depends on the URL of the API.
        resource_metadata: None,
    };
    let requirements = Requirements::try_from(requirements).map_err(RouteError::Requirements)?;
    // Tokens of some issuers carry no scope, so a route that names issuers need not require scope.
    let token = lists.into_iter().any(Option::is_some);
    match (route.public, token) {
        (true, true) => Err(RouteError::PublicWithRequirements),
        (false, false) => Err(RouteError::NoRequirements),
        (true, false)
            if route.audience.is_some()
                || route.stale_if_error.is_some()
                || route.token_from.is_some() =>
        {
            Err(RouteError::PublicWithOptions)
        }
        (true, false) => Ok(Access::Public),
        (false, true) => Ok(Access::Token(Arc::new(requirements))),
    }
}

fn pattern(path: &str) -> Result<Vec<Segment>, RouteError> {
    let rest = path.strip_prefix('/').ok_or(RouteError::Path)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let last = parts.len().saturating_sub(1);
    let segment = |(position, part): (usize, &&str)| {
        let literal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()+,=:@".contains(&byte);
        match *part {
            "*" if position == last => Ok(Segment::Rest),
            "." | ".." => Err(RouteError::Path),
            "" if position == last => Ok(Segment::Literal(String::new())),
            part if part.len() > 2 && part.starts_with('{') && part.ends_with('}') => {
                Ok(Segment::Any)
            }
            part if !part.is_empty() && part.bytes().all(literal) => {
                Ok(Segment::Literal(part.to_owned()))
            }
            _ => Err(RouteError::Path),
        }
    };
    parts.iter().enumerate().map(segment).collect()
}

/// Methods that a route may name. `GET` includes `HEAD`.
pub(crate) const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(route: serde_json::Value) -> Result<GuardPolicy, String> {
        let text = serde_json::json!({ "route": [route] });
        let written: PolicyText = serde_json::from_value(text).map_err(|e| e.to_string())?;
        GuardPolicy::try_from(written).map_err(|error| error.to_string())
    }

    #[test]
    fn routes_that_shadow_each_other_are_named() {
        use serde_json::json;
        let route =
            |path: &str, scope: &str| json!({"path": path, "methods": ["GET"], "all_of": [scope]});
        let check = |routes: &[serde_json::Value]| -> Result<GuardPolicy, String> {
            let text = json!({ "route": routes });
            let written = serde_json::from_value::<PolicyText>(text).map_err(|e| e.to_string())?;
            GuardPolicy::try_from(written).map_err(|error| error.to_string())
        };
        for (first, second) in [
            ("/a/{id}", "/a/list"),
            ("/a/*", "/a/{id}/b"),
            ("/a", "/a"),
            ("/a/{x}", "/a/{y}"),
            ("/*", "/a"),
        ] {
            let error = check(&[route(first, "a"), route(second, "b")]).unwrap_err();
            assert!(
                error.contains(second) && error.contains("put the narrower one first"),
                "{error}"
            );
        }
        for (first, second) in
            [("/a/list", "/a/List"), ("/a", "/a/"), ("/a/x.json", "/a/x.xml"), ("/A/{x}", "/a/{y}")]
        {
            let error = check(&[route(first, "a"), route(second, "b")]).unwrap_err();
            assert!(error.contains("many origins read these paths as one"), "{error}");
            assert!(check(&[route(first, "a"), route(second, "a")]).is_ok());
        }
        let mut both = route("/a/admin", "admin");
        both["methods"] = json!(["GET", "POST"]);
        let error = check(&[route("/a/*", "read"), both.clone()]).unwrap_err();
        assert!(error.contains("put the narrower one first"), "{error}");
        assert!(check(&[route("/a/*", "admin"), both]).is_err(), "GET of the second has no effect");
        // The guard would refuse each of their requests in favour of the stricter route.
        for (lax, strict) in [("/API/{x}", "/api/*"), ("/t/{x}/", "/t/{x}/*")] {
            for routes in [
                [route(strict, "b"), json!({"path": lax, "methods": ["GET"], "public": true})],
                [json!({"path": lax, "methods": ["GET"], "public": true}), route(strict, "b")],
            ] {
                let error = check(&routes).unwrap_err();
                assert!(error.contains("many origins read these paths as one"), "{lax}: {error}");
            }
        }
        let (wide, deep) = (route("/a/{x}/c", "a"), route("/a/b/{y}", "b"));
        let error = check(&[wide.clone(), deep.clone()]).unwrap_err();
        assert!(error.contains("neither is the narrower one"), "{error}");
        let both = json!({"path": "/a/{x}/c", "methods": ["GET"], "all_of": ["a", "b"]});
        assert!(check(&[both, deep.clone()]).is_ok());
        let text = json!({ "origin_paths": "exact", "route": [wide, deep] });
        let exact: PolicyText = serde_json::from_value(text).unwrap();
        assert!(GuardPolicy::try_from(exact).is_ok());
        assert!(check(&[route("/a/b", "a"), route("/a/{x}", "b"), route("/a/*", "c")]).is_ok());
    }

    #[test]
    fn pages_and_apps_are_named_by_their_origins() {
        for good in [
            "https://app.example",
            "http://localhost:5173",
            "http://[::1]:8080",
            "tauri://localhost",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
            "https://*.app.example",
            "https://pr-*.preview.example.com",
        ] {
            assert!(is_web_origin(good), "{good}");
        }
        for bad in [
            "*",
            "null",
            "app.example",
            "https://",
            "https://app.example/",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://*",
            "https://*.example",
            "https://app.*.example",
            "https://**.app.example",
            "tauri://*.a.b",
            "https://a b",
            "HTTPS://app.example",
            "https://app.example:",
            "https://app.example:0",
            "https://app.example:08443",
            "https://app.example:99999",
            "https://app..example",
            "https://.example",
            "http://[::1",
            "http://[0:0::1]",
            "http://[::1]:",
            "http://::1",
        ] {
            assert!(!is_web_origin(bad), "{bad}");
        }
        let cors = Cors::try_from(CorsText {
            origins: ["https://pr-*.app.example", "tauri://localhost"].map(str::to_owned).into(),
            preflight: Preflight::Guard,
            headers: None,
            max_age: None,
        })
        .unwrap();
        for (origin, allowed) in [
            ("https://pr-7.app.example", true),
            ("https://pr-a-b.app.example", true),
            ("tauri://localhost", true),
            ("https://pr-.app.example", false),
            ("https://pr-a.b.app.example", false),
            ("https://pr-7.app.example.evil", false),
            ("https://pr-7.app.example:8443", false),
            ("http://pr-7.app.example", false),
            ("https://evil/pr-7.app.example", false),
            ("https://pr-*.app.example", false),
        ] {
            assert_eq!(cors.allows(origin), allowed, "{origin}");
        }
    }

    #[test]
    fn every_setting_refuses_every_wrong_kind_of_value() {
        use serde_json::{Value, json};
        let values = [
            json!(null),
            json!(true),
            json!(7),
            json!(-1.5),
            json!(""),
            json!("x"),
            json!([]),
            json!([7]),
            json!([null]),
            json!([""]),
            json!({}),
            json!({"x": 1}),
        ];
        let route = json!({"path": "/a", "methods": ["GET"], "all_of": ["a"]});
        let public = json!({"path": "/a", "methods": ["GET"], "public": true});
        let cors = json!({"origins": ["https://app.example"]});
        let mut taken = Vec::new();
        let mut try_one = |name: &str, value: &Value, policy: Value| {
            let read = edgepass_verify::policy::json::read::<PolicyText>(policy);
            if read.is_ok_and(|text| GuardPolicy::try_from(text).is_ok()) {
                taken.push(format!("{name} = {value}"));
            }
        };
        for value in &values {
            for name in
                ["path", "methods", "all_of", "any_of", "issuers", "audience", "purposes", "data"]
            {
                let mut route = route.clone();
                route[name] = value.clone();
                try_one(name, value, json!({ "route": [route] }));
            }
            for name in [
                "stale_if_error",
                "forward_token",
                "websocket",
                "outlives_token",
                "cors",
                "pubic",
                "token_from",
                "encoded_slash",
                "resource",
                "rate_limit",
                "mask",
            ] {
                let mut route = route.clone();
                route[name] = value.clone();
                try_one(name, value, json!({ "route": [route] }));
            }
            for name in ["public", "cache"] {
                let mut route = public.clone();
                route[name] = value.clone();
                try_one(name, value, json!({ "route": [route] }));
            }
            for name in ["origins", "headers", "max_age", "origin", "preflight"] {
                let (mut route, mut cors) = (route.clone(), cors.clone());
                cors[name] = value.clone();
                route["cors"] = cors;
                try_one(name, value, json!({ "route": [route] }));
            }
            for name in ["origin_paths", "pass_headers", "route", "routes"] {
                let mut policy = json!({ "route": [route] });
                policy[name] = value.clone();
                try_one(name, value, policy);
            }
        }
        // The values above that are valid for their setting.
        taken.sort_unstable();
        let right = [
            "audience = \"x\"",
            "cache = true",
            "forward_token = true",
            "mask = []",
            "outlives_token = true",
            "pass_headers = []",
            "public = true",
        ];
        assert_eq!(taken, right);
    }

    #[test]
    fn every_mistake_says_what_to_write() {
        use serde_json::json;
        assert!(check(json!({"path": "/a", "methods": ["GET"], "public": true})).is_ok());
        assert!(check(json!({"path": "/a", "methods": ["GET"], "issuers": ["https://i"]})).is_ok());
        let cors = |headers: &[&str], from: &str| {
            check(
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"], "token_from": from, "cors": {"origins": ["https://app.example"], "headers": headers}}),
            )
        };
        assert!(cors(&["Authorization"], "authorization").is_ok());
        assert!(cors(&["x-token"], "header:x-token").is_ok());
        assert!(cors(&["content-type"], "cookie:s").is_ok());
        assert!(
            cors(&["content-type"], "authorization")
                .unwrap_err()
                .contains("name the header of the token")
        );
        assert!(cors(&["authorization"], "header:x-token").is_err());
        for (route, says) in [
            (json!({"path": "a", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/a/../b", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/*/b", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/a%2fb", "methods": ["GET"], "public": true}), "after \"/\""),
            (json!({"path": "/a", "methods": [], "public": true}), "GET, POST"),
            (json!({"path": "/a", "methods": ["get"], "public": true}), "GET, POST"),
            (json!({"path": "/a", "methods": ["GET"]}), "all_of or any_of"),
            (json!({"path": "/a", "methods": ["GET"], "all_of": ["a\tb"]}), "control characters"),
            (json!({"path": "/a", "methods": ["GET"], "scopes": ["a"]}), "unknown field"),
            (json!({"path": "/a", "methods": ["GET"], "public": true, "all_of": ["a"]}), "either"),
            (json!({"path": "/a", "methods": ["GET"], "issuers": []}), "must not be empty"),
            (
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"], "stale_if_error": 5}),
                "\"10s\"",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "public": true, "cors": {"origins": ["*"]}}),
                "https://app.example",
            ),
            (json!({"path": "/a", "methods": ["GET"], "all_of": ["a"], "cache": true}), "public"),
            (json!({"path": "/a", "methods": ["POST"], "public": true, "cache": true}), "GET"),
            (
                json!({"path": "/a", "methods": ["GET"], "public": true, "outlives_token": true}),
                "outlive",
            ),
            (
                json!({"path": "/a", "methods": ["POST"], "all_of": ["a"], "websocket": "pass"}),
                "GET",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"], "token_from": "websocket"}),
                "websocket = \"pass\"",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"], "token_from": "body"}),
                "header:NAME",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "public": true, "token_from": "query"}),
                "token_from",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "public": true, "resource": "/a"}),
                "subject",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"], "resource": "a"}),
                "resource",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"],
                    "rate_limit": {"binding": "A-B", "period": "10s"}}),
                "rate_limit",
            ),
            (
                json!({"path": "/a", "methods": ["GET"], "all_of": ["a"],
                    "cors": {"preflight": "origin", "max_age": "5s"}}),
                "cors.preflight",
            ),
        ] {
            let error = check(route.clone()).expect_err(&route.to_string());
            assert!(error.contains(says), "{route}: {error}");
        }
    }
}
