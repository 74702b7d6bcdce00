//! The form of a batch line.
//!
//! ```json
//! {"id": "..", "session": "..",
//!  "token": "..", "presented_as": "Bearer",
//!  "request": {"method": "GET", "url": "https://..", "headers": [["Authorization", "DPoP .."]],
//!              "certificate": "base64 of the client's DER certificate",
//!              "certificate_sha256": "or its digest in hexadecimal"},
//!  "jwks": {"keys": []}, "jwks_text": "a raw body, as received",
//!  "policy": {"issuer": "https://..", "audience": "..", "algorithms": ["EdDSA"],
//!             "required_scopes": {"all_of": ["a:read"]}, "token_from": "authorization", "leeway": "0s", "typ": "at+jwt",
//!             "dpop": {"algorithms": ["ES256"], "max_age": "300s", "nonce": "..", "seen_jti": []},
//!             "status": {"mode": "required", "uri_prefixes": ["https://../"]}},
//!  "now": 1800000000,
//!  "responses": {"https://..": {"status": 200, "headers": {}, "body": "..", "body_base64": ".."}}}
//! ```
//!
//! A line has either `token` or `request`, and either `jwks` or `jwks_text`. `policy` takes the
//! other fields of [`PolicyConfig`] too, except `freshness`. Instead, its `status` also takes
//! `deadline` (default `"none"`), `refresh_interval` (default `"ttl"`) and `stale_if_error`.
//! Without `status` no status is looked up. A URL that `responses` does not name is unreachable.
//! Unknown members of the line itself are ignored.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};
use edgepass_jose::json::{JsonObject, NotAnObject, parse_object};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::checks::dpop::nonce::NonceRule;
use crate::checks::{Requirements, RequirementsConfig, RequirementsError};
use crate::documents::fetch::{Answer, FetchOrder, ResponseHead};
use crate::policy::json::ShapeError;
use crate::policy::{self, Policy, PolicyConfig, PolicyError};
use crate::sender::{Presentation, Request, RequestConfig, RequestError, Sender};
use crate::time::UnixMillis;
use crate::token_place::NotAPlace;
use crate::verifier::KeySource;

/// A line that is well-formed, so that it can be judged.
pub struct Line {
    pub(super) id: Value,
    pub(super) session: Option<String>,
    pub(super) issuer: String,
    pub(super) presented: Presented,
    pub(super) trust: (Policy, KeySource),
    pub(super) nonces: NonceRule,
    pub(super) requirements: Requirements,
    pub(super) environment: LineEnvironment,
}

/// The token or request that the verifier judges.
pub(super) enum Presented {
    Token(String, Sender),
    Request(Request),
}

/// The data of a line for its host: the clock, the `jti`s of proofs that count as used, and the
/// response of each URL.
pub(super) struct LineEnvironment {
    pub(super) now: Cell<UnixMillis>,
    pub(super) seen_jwt_ids: HashSet<String>,
    responses: BTreeMap<String, Response>,
}

/// A line that cannot be judged. `id` is null if the line is no JSON object.
pub(super) struct UnusableLine {
    pub(super) id: Value,
    pub(super) error: Box<LineError>,
}

/// A mistake in a line. The texts repeat nothing of the line, except durations of its policy.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    NotAnObject(#[from] NotAnObject),
    #[error("missing field `{0}`")]
    Missing(&'static str),
    /// A member has the wrong form.
    #[error("{name}: {}", .error.without_names())]
    Member { name: &'static str, error: ShapeError },
    #[error("now: expected seconds since the epoch")]
    Now,
    #[error("a line must have either token or request")]
    TokenOrRequest,
    #[error("a line must have either jwks or jwks_text")]
    JwksOrText,
    #[error("{0}: expected an object")]
    NotAnObjectMember(&'static str),
    #[error("required_scopes: expected scope tokens")]
    Scopes,
    #[error("token_from: {0}")]
    TokenPlace(NotAPlace),
    #[error(
        "policy: write deadline, refresh_interval and stale_if_error in status, not in freshness"
    )]
    Freshness,
    #[error("request: {0}")]
    Request(#[from] RequestError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

#[derive(Clone, Copy, Deserialize)]
enum PresentationText {
    Bearer,
    #[serde(rename = "DPoP")]
    Dpop,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ScopesText {
    all_of: Vec<String>,
    any_of: Vec<String>,
    purposes: Vec<String>,
    data: Vec<String>,
}

/// The response from a URL. `body_base64` takes precedence over `body`; without both the body is
/// empty.
#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// 9999-12-31T23:59:59Z in seconds, as [`edgepass_jose::NumericDate::MAX`].
const MAX_NOW: f64 = 253_402_300_799.0;

impl Line {
    /// Whether the line belongs to a session, so that its verdict depends on earlier lines.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn parse(text: &str) -> Result<Self, UnusableLine> {
        let mut line = parse_object(text.as_bytes())
            .map_err(|error| UnusableLine { id: Value::Null, error: Box::new(error.into()) })?;
        let id = line.remove("id").unwrap_or_default();
        match Self::of_members(&mut line) {
            Ok(read) => Ok(Self { id, ..read }),
            Err(error) => Err(UnusableLine { id, error: Box::new(error) }),
        }
    }

    fn of_members(line: &mut JsonObject) -> Result<Self, LineError> {
        let now: f64 = required(line, "now")?;
        if !(0.0..=MAX_NOW).contains(&now) {
            return Err(LineError::Now);
        }
        let presented = match (take(line, "token")?, take::<RequestConfig>(line, "request")?) {
            (Some(token), None) => {
                let presented_as = match take(line, "presented_as")? {
                    None | Some(PresentationText::Bearer) => Presentation::Bearer,
                    Some(PresentationText::Dpop) => Presentation::Dpop,
                };
                Presented::Token(token, Sender { presented_as, ..Sender::default() })
            }
            (None, Some(request)) => {
                let error = ShapeError::Missing("url");
                let missing = LineError::Member { name: "request", error };
                request.url.as_ref().ok_or(missing)?;
                Presented::Request(request.try_into()?)
            }
            _ => return Err(LineError::TokenOrRequest),
        };
        let jwks = match (take::<Value>(line, "jwks")?, take(line, "jwks_text")?) {
            (Some(value), None) => value.to_string(),
            (None, Some(text)) => text,
            _ => return Err(LineError::JwksOrText),
        };
        let Some(Value::Object(mut policy)) = line.remove("policy") else {
            return Err(LineError::NotAnObjectMember("policy"));
        };
        // `null` means absent, except in `typ`, where it means "any".
        policy.retain(|name, value| name == "typ" || !value.is_null());
        let scopes: ScopesText = take(&mut policy, "required_scopes")?.unwrap_or_default();
        // In a line, an empty list of scope tokens means the same as none.
        let named = |tokens: Vec<String>| Some(tokens).filter(|tokens| !tokens.is_empty());
        let requirements = RequirementsConfig {
            all_of: named(scopes.all_of),
            any_of: named(scopes.any_of),
            purposes: named(scopes.purposes),
            data: named(scopes.data),
            token_from: take(&mut policy, "token_from")?,
            ..RequirementsConfig::default()
        };
        let requirements = Requirements::try_from(requirements).map_err(|error| match error {
            RequirementsError::TokenPlace(place) => LineError::TokenPlace(place),
            _ => LineError::Scopes,
        })?;
        let (mut nonce, mut seen_jwt_ids) = (None, None);
        if let Some(Value::Object(dpop)) = policy.get_mut("dpop") {
            dpop.retain(|_, value| !value.is_null());
            nonce = take(dpop, "nonce")?;
            seen_jwt_ids = take(dpop, "seen_jti")?;
        }
        set_status(&mut policy)?;
        let policy: PolicyConfig = read("policy", Value::Object(policy))?;
        let issuer = policy.issuer.clone();
        let policy = Policy::try_from(policy)?;
        // An unreadable JWK Set is no mistake of the line: a verifier may receive one, and then
        // refuses the token.
        let keys = KeySource::given(jwks.as_bytes(), &policy).unwrap_or(KeySource::Unusable);
        Ok(Self {
            id: Value::Null,
            session: take(line, "session")?,
            issuer,
            presented,
            trust: (policy, keys),
            nonces: nonce.map_or(NonceRule::NotRequired, NonceRule::Exactly),
            requirements,
            environment: LineEnvironment {
                now: Cell::new(UnixMillis((now * 1000.0) as u64)),
                seen_jwt_ids: seen_jwt_ids.unwrap_or_default(),
                responses: take(line, "responses")?.unwrap_or_default(),
            },
        })
    }
}

/// The freshness settings of a line, in its `status`.
const FRESHNESS: [&str; 3] = ["deadline", "refresh_interval", "stale_if_error"];

/// Moves the freshness settings from a line's `status` to the policy's `freshness`. Without
/// `deadline` there are no refreshes. Without `refresh_interval` the `ttl` of a list is its
/// interval. Without `status` the verifier looks up no status, and the settings have no effect.
fn set_status(policy: &mut JsonObject) -> Result<(), LineError> {
    if policy.contains_key("freshness") {
        return Err(LineError::Freshness);
    }
    let mut freshness = JsonObject::new();
    match policy.get_mut("status") {
        None => drop(policy.insert("status".into(), json!({"mode": "ignore"}))),
        Some(Value::Object(status))
            if status.get("mode").and_then(Value::as_str) == Some("ignore") =>
        {
            status.retain(|name, value| !(value.is_null() || FRESHNESS.contains(&name.as_str())));
        }
        Some(Value::Object(status)) => {
            status.retain(|_, value| !value.is_null());
            for (name, default) in FRESHNESS.into_iter().zip([Some("none"), Some("ttl"), None]) {
                let written = status.remove(name).or_else(|| default.map(Value::from));
                written.and_then(|value| freshness.insert(name.into(), value));
            }
        }
        Some(_) => return Err(LineError::NotAnObjectMember("policy: status")),
    }
    policy.insert("freshness".into(), Value::Object(freshness));
    Ok(())
}

/// Takes out a member, unless it is absent or null.
fn take<T: DeserializeOwned>(
    members: &mut JsonObject,
    name: &'static str,
) -> Result<Option<T>, LineError> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(name, value).map(Some),
    }
}

fn required<T: DeserializeOwned>(
    members: &mut JsonObject,
    name: &'static str,
) -> Result<T, LineError> {
    take(members, name)?.ok_or(LineError::Missing(name))
}

fn read<T: DeserializeOwned>(name: &'static str, value: Value) -> Result<T, LineError> {
    policy::json::read(value).map_err(|error| LineError::Member { name, error })
}

impl LineEnvironment {
    /// The answer to a fetch, from the line's responses. A URL without one is a failed fetch.
    pub(super) fn answer(&self, order: &FetchOrder) -> Answer {
        let now = self.now.get();
        match self.responses.get(&order.url) {
            Some(response) => {
                let body = response.bytes().map(|bytes| within(bytes, order.max_bytes));
                response.head().answer(body.into(), now)
            }
            None => Answer::failed(now),
        }
    }
}

/// The body, or `None` if it is longer than `max_bytes`.
fn within(bytes: Vec<u8>, max_bytes: usize) -> Option<Vec<u8>> {
    (bytes.len() <= max_bytes).then_some(bytes)
}

impl Response {
    fn head(&self) -> ResponseHead {
        let field = |name: &str| {
            let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        ResponseHead {
            status: self.status,
            age: field("age"),
            date: None,
            cache_control: field("cache-control"),
            expires: None,
            location: field("location"),
            content_type: field("content-type"),
            etag: field("etag"),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, DecodeError> {
        match &self.body_base64 {
            None => Ok(self.body.clone().unwrap_or_default().into_bytes()),
            Some(text) => STANDARD.decode(text),
        }
    }
}
