//! The form of a line.
//!
//! ```json
//! {"id": "..", "session": "..",
//!  "token": "..", "presented_as": "Bearer",
//!  "request": {"method": "GET", "url": "https://..", "headers": [["Authorization", "DPoP .."]],
//!              "certificate": "base64 of the client's DER certificate"},
//!  "jwks": {"keys": []}, "jwks_text": "a raw body, as received",
//!  "policy": {"issuer": "https://..", "audience": "..", "algorithms": ["EdDSA"],
//!             "required_scopes": {"all_of": ["a:read"]}, "leeway": "0s", "typ": "at+jwt",
//!             "dpop": {"algorithms": ["ES256"], "max_age": "300s", "nonce": "..", "seen_jti": []},
//!             "status": {"mode": "required", "uri_prefixes": ["https://../"]}},
//!  "now": 1800000000,
//!  "responses": {"https://..": {"status": 200, "headers": {}, "body": "..", "body_base64": ".."}}}
//! ```
//!
//! Either `token` or `request`, either `jwks` or `jwks_text`. A policy takes every field of
//! [`PolicyConfig`] besides; `status` differs in its default (`ignore`) and in holding the freshness
//! of lists. A URI that `responses` does not name is unreachable. Unknown members of the line itself
//! are ignored.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepass_jose::Scope;
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::check::Demand;
use crate::dpop::nonce::NonceRule;
use crate::duration::DurationText;
use crate::fetch::{
    Answer, AnsweredBy, Content, FetchOrder, age, is_redirect, is_success, media_type,
};
use crate::freshness::{Deadline, FreshnessConfig, RefreshInterval};
use crate::policy::{
    DpopConfig, OneOrMany, Policy, PolicyConfig, Profile, StatusConfig, StatusMode,
};
use crate::sender::{CertificateThumbprint, Presentation, Request, Sender, Target};
use crate::time::UnixMillis;
use crate::verifier::KeySource;

/// A line that can be judged.
pub(super) struct Line {
    pub(super) id: Value,
    pub(super) session: Option<String>,
    pub(super) issuer: String,
    pub(super) asked: Asked,
    pub(super) trust: (Policy, KeySource),
    pub(super) nonces: NonceRule,
    pub(super) demand: Demand,
    pub(super) world: World,
}

/// What the verifier is shown.
pub(super) enum Asked {
    Token(String, Sender),
    Request(Request),
}

/// What surrounds the verifier.
pub(super) struct World {
    pub(super) now: UnixMillis,
    pub(super) seen_jwt_ids: HashSet<String>,
    responses: BTreeMap<String, Response>,
}

/// A line that cannot be judged.
pub(super) struct Unusable {
    pub(super) id: Value,
    /// Nothing of the line is in it.
    pub(super) message: String,
}

#[derive(Deserialize)]
struct LineText {
    #[serde(default)]
    id: Value,
    session: Option<String>,
    token: Option<String>,
    presented_as: Option<PresentationText>,
    request: Option<RequestText>,
    jwks: Option<Box<RawValue>>,
    jwks_text: Option<String>,
    policy: LinePolicy,
    now: f64,
    responses: Option<BTreeMap<String, Response>>,
}

#[derive(Clone, Copy, Deserialize)]
enum PresentationText {
    Bearer,
    #[serde(rename = "DPoP")]
    Dpop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestText {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// Base64 of the DER certificate that the platform reports.
    certificate: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinePolicy {
    #[serde(default)]
    profile: Profile,
    issuer: String,
    audience: OneOrMany,
    audience_claim: Option<String>,
    algorithms: Option<Vec<String>>,
    #[serde(default, deserialize_with = "crate::policy::present")]
    typ: Option<Option<String>>,
    required_claims: Option<Vec<String>>,
    #[serde(default)]
    expected_claims: BTreeMap<String, OneOrMany>,
    scope_claim: Option<String>,
    required_scopes: Option<ScopesText>,
    leeway: Option<DurationText>,
    max_lifetime: Option<DurationText>,
    max_token_bytes: Option<u64>,
    dpop: Option<LineDpop>,
    status: Option<LineStatus>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ScopesText {
    all_of: Vec<String>,
    any_of: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LineDpop {
    algorithms: Option<Vec<String>>,
    max_age: Option<DurationText>,
    /// The nonce that was handed out.
    nonce: Option<String>,
    /// `jti`s of proofs used before.
    seen_jti: HashSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineStatus {
    mode: StatusMode,
    uri_prefixes: Option<Vec<String>>,
    max_list_bytes: Option<u64>,
    max_response_bytes: Option<u64>,
    /// Without it a list's own `ttl` is the interval.
    refresh_interval: Option<DurationText>,
    /// Without it nothing happens in the background: past the interval the line asks first, and if
    /// that fails the copy serves until its `exp`.
    deadline: Option<DurationText>,
    stale_if_error: Option<DurationText>,
}

/// What a fetch would answer.
#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// 9999-12-31T23:59:59Z, as [`edgepass_jose::NumericDate::MAX`].
const MAX_NOW: f64 = 253_402_300_799.0;

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let line: LineText = serde_json::from_slice(text.as_bytes())
            .map_err(|error| Unusable { id: id_of(text), message: not_a_line(&error) })?;
        let unusable =
            |message: &str| Unusable { id: line.id.clone(), message: message.to_owned() };
        if !(0.0..=MAX_NOW).contains(&line.now) {
            return Err(unusable("now is in seconds since the epoch"));
        }
        let asked = match (line.token, line.request) {
            (Some(token), None) => {
                let presented_as = match line.presented_as {
                    None | Some(PresentationText::Bearer) => Presentation::Bearer,
                    Some(PresentationText::Dpop) => Presentation::Dpop,
                };
                Asked::Token(token, Sender { presented_as, ..Sender::default() })
            }
            (None, Some(request)) => Asked::Request(
                request.try_into().map_err(|()| unusable("certificate is base64 of DER"))?,
            ),
            _ => return Err(unusable("a line has a token or a request")),
        };
        let jwks = match (line.jwks, line.jwks_text) {
            (Some(value), None) => value.get().to_owned(),
            (None, Some(text)) => text,
            _ => return Err(unusable("a line has jwks or jwks_text")),
        };
        let LinePolicy { required_scopes, dpop, .. } = line.policy;
        let mut dpop = dpop.unwrap_or_default();
        let scopes = required_scopes.unwrap_or_default();
        let scope = |tokens: Vec<String>| {
            Scope::try_from(tokens).map_err(|_| unusable("required_scopes holds no scope token"))
        };
        let demand = Demand {
            all_of: scope(scopes.all_of)?,
            any_of: scope(scopes.any_of)?,
            ..Demand::default()
        };
        let seen_jwt_ids = std::mem::take(&mut dpop.seen_jti);
        let nonces = dpop.nonce.take().map_or(NonceRule::NotAsked, NonceRule::Exactly);
        let policy = LinePolicy { required_scopes: None, dpop: Some(dpop), ..line.policy };
        let issuer = policy.issuer.clone();
        let policy = Policy::try_from(PolicyConfig::from(policy))
            .map_err(|error| unusable(&error.to_string()))?;
        // A set that is none is not the line's fault: this is how a verifier meets it.
        let keys = KeySource::given(jwks.as_bytes(), &policy).unwrap_or(KeySource::Unusable);
        Ok(Self {
            id: line.id,
            session: line.session,
            issuer,
            asked,
            trust: (policy, keys),
            nonces,
            demand,
            world: World {
                now: UnixMillis((line.now * 1000.0) as u64),
                seen_jwt_ids,
                responses: line.responses.unwrap_or_default(),
            },
        })
    }
}

impl TryFrom<RequestText> for Request {
    type Error = ();

    fn try_from(request: RequestText) -> Result<Self, ()> {
        let field = |name: &str| {
            let own = |(field, value): &(String, String)| {
                field.eq_ignore_ascii_case(name).then(|| value.clone())
            };
            let values: Vec<String> = request.headers.iter().filter_map(own).collect();
            // RFC 9110 §5.3: as one field, which is how hosts see it.
            (!values.is_empty()).then(|| values.join(", "))
        };
        let certificate = match &request.certificate {
            None => None,
            Some(text) => Some(STANDARD.decode(text).map_err(|_| ())?),
        };
        Ok(Self {
            authorization: field("authorization"),
            dpop: field("dpop"),
            query: query(&request.url),
            target: Some(Target { method: request.method, url: request.url }),
            certificate: certificate.map(|der| CertificateThumbprint::of_der(&der)),
        })
    }
}

/// The query of a URL.
fn query(url: &str) -> Option<String> {
    let (_, query) = url.split('#').next()?.split_once('?')?;
    Some(query.to_owned())
}

impl From<LinePolicy> for PolicyConfig {
    fn from(line: LinePolicy) -> Self {
        let own = Self::new(line.issuer, line.audience);
        let dpop = DpopConfig::default();
        let own_dpop = line.dpop.unwrap_or_default();
        let status = StatusConfig::default();
        let (status, freshness) = match line.status {
            None => {
                let mode = Some(StatusMode::Ignore);
                (StatusConfig { mode, ..status }, FreshnessConfig::default())
            }
            Some(written) => (
                StatusConfig {
                    mode: Some(written.mode),
                    uri_prefixes: written.uri_prefixes,
                    max_list_bytes: written.max_list_bytes.unwrap_or(status.max_list_bytes),
                    max_response_bytes: written
                        .max_response_bytes
                        .unwrap_or(status.max_response_bytes),
                },
                FreshnessConfig {
                    deadline: written
                        .deadline
                        .map_or(Deadline::None, |deadline| Deadline::Within(deadline.0)),
                    refresh_interval: written
                        .refresh_interval
                        .map_or(RefreshInterval::Ttl, |every| RefreshInterval::Every(every.0)),
                    stale_if_error: written.stale_if_error,
                    ..FreshnessConfig::default()
                },
            ),
        };
        Self {
            profile: line.profile,
            audience_claim: line.audience_claim,
            algorithms: line.algorithms.unwrap_or(own.algorithms),
            typ: line.typ,
            required_claims: line.required_claims,
            expected_claims: line.expected_claims,
            scope_claim: line.scope_claim,
            leeway: line.leeway.unwrap_or(own.leeway),
            max_lifetime: line.max_lifetime.unwrap_or(own.max_lifetime),
            max_token_bytes: line.max_token_bytes.unwrap_or(own.max_token_bytes),
            dpop: DpopConfig {
                algorithms: own_dpop.algorithms.unwrap_or(dpop.algorithms),
                max_age: own_dpop.max_age.unwrap_or(dpop.max_age),
            },
            status,
            freshness,
            ..own
        }
    }
}

impl World {
    /// What a fetch would bring.
    pub(super) fn answer(&self, order: &FetchOrder) -> Answer {
        let (age, content) = self
            .responses
            .get(&order.url)
            .and_then(|response| response.content(order.max_bytes))
            .unwrap_or_default();
        Answer { from: AnsweredBy::Source, confirmed_at: self.now.minus(age), content }
    }
}

impl Response {
    fn content(&self, max_bytes: usize) -> Option<(std::time::Duration, Content)> {
        let header = |name: &str| {
            let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        let age = age(header("age").as_deref())?;
        let content = match self.status {
            304 => Content::NotModified,
            status if is_redirect(status) => Content::Redirect { location: header("location")? },
            status if is_success(status) => {
                let bytes = match &self.body_base64 {
                    None => self.body.clone().unwrap_or_default().into_bytes(),
                    Some(text) => STANDARD.decode(text).ok()?,
                };
                if bytes.len() > max_bytes {
                    return None;
                }
                let media_type = header("content-type").map(|text| media_type(&text));
                Content::Body { bytes, media_type, etag: header("etag") }
            }
            _ => return None,
        };
        Some((age, content))
    }
}

/// Where the form is broken, and what is expected there; nothing of the line itself.
fn not_a_line(error: &serde_json::Error) -> String {
    let column = error.column();
    if error.classify() != Category::Data {
        return format!("column {column}: the line is no JSON object");
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let expected = match text.rsplit_once("expected ") {
        _ if text.starts_with("missing field") => text.to_owned(),
        // What comes before the last "expected" may be the line's own words.
        Some((_, expected)) => format!("expected {expected}"),
        None => "a member has the wrong form".to_owned(),
    };
    format!("column {column}: {expected}")
}

/// The `id` of a line whose rest cannot be read.
fn id_of(text: &str) -> Value {
    #[derive(Deserialize)]
    struct Id {
        id: Value,
    }
    serde_json::from_slice::<Id>(text.as_bytes()).map(|line| line.id).unwrap_or_default()
}
