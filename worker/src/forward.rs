//! Forwards requests to the origin. Path and body stay byte for byte. The guard removes token and
//! proof, except on routes with `forward_token`, and bypasses all caches, except on routes with
//! `cache`.

use std::borrow::Cow;

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_verify::UnixMillis;
use edgepass_verify::token_place::{
    TokenPlace, without_bearer_protocol, without_cookie, without_parameter,
};
use edgepass_verify::verdict::Validity;
use js_sys::Promise;
use wasm_bindgen::prelude::*;

use crate::incoming::Incoming;
use crate::masking::{self, Masking};
use crate::policy::{Access, Route};
use crate::request_target::RequestTarget;
use crate::settings::Settings;
use crate::untrusted;

#[wasm_bindgen(module = "/src/forward.js")]
extern "C" {
    #[wasm_bindgen(js_name = canBypassCaches)]
    pub(crate) fn can_bypass_caches() -> bool;

    #[wasm_bindgen(catch)]
    fn forwarded(
        request: &web_sys::Request,
        service: Option<&JsValue>,
        is_cached: bool,
        has_body: bool,
        changes: &str,
        on_response: &JsValue,
        route: usize,
        until: Option<f64>,
        confirmed_at: Option<f64>,
        masks: u32,
        texts: &str,
    ) -> Result<Promise, JsValue>;
}

type OnResponse = dyn Fn(
    Option<web_sys::Response>,
    web_sys::Request,
    usize,
    Option<f64>,
    Option<f64>,
    u32,
    String,
) -> Result<JsValue, JsValue>;

thread_local! {
    /// Makes the response to the client from the origin's response. All requests share this
    /// closure. The data of each request are its arguments, which JavaScript holds and frees.
    static ON_RESPONSE: Closure<OnResponse> =
        Closure::new(|response, request, route, until, confirmed_at, active, texts: String| {
            let (issuer, agreement) = texts.split_once('\n').unwrap_or_default();
            let (issuer, agreement) = (issuer.to_owned(), agreement.to_owned());
            let masking = Masking { active, issuer, agreement };
            let pending = PendingRequest::from_host(route, until, confirmed_at, masking);
            crate::client_response(response, &request, &pending)
        });
}

/// The data of a forwarded request that the guard needs when the origin answers.
pub(crate) struct PendingRequest {
    /// Index of the request's route in the policy.
    pub(crate) route: usize,
    /// How long the acceptance of the token holds. `None` on a public route.
    pub(crate) accepted: Option<Validity>,
    /// What is masked in the response.
    pub(crate) masking: Masking,
}

impl PendingRequest {
    fn from_host(
        route: usize,
        until: Option<f64>,
        confirmed_at: Option<f64>,
        masking: Masking,
    ) -> Self {
        let time = |millis: f64| UnixMillis(millis as u64);
        let accepted = until
            .map(|until| Validity { until: time(until), confirmed_at: confirmed_at.map(time) });
        Self { route, accepted, masking }
    }
}

/// Headers that tell the origin issuer, subject, client, identifier and scope of an accepted token.
pub(crate) struct Identity(Vec<(&'static str, String)>);

/// Claims that the guard forwards if they are strings, and the header of each.
const IDENTITY_CLAIMS: [(&str, &str); 4] = [
    ("iss", "x-edgepass-issuer"),
    ("sub", "x-edgepass-subject"),
    ("client_id", "x-edgepass-client-id"),
    ("jti", "x-edgepass-token-id"),
];
/// The only headers of the client that a route with `cache = true` forwards. The response could
/// depend on other headers, which are in no cache key.
const OF_CACHED_REQUESTS: [&str; 4] = ["if-modified-since", "if-none-match", "if-range", "range"];
/// The only headers of the client that a forwarded preflight has: it comes without a token, so it
/// must not be able to act as another request.
const OF_PREFLIGHTS: [&str; 4] = [
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "origin",
];

impl Identity {
    /// Builds the headers from the claims of an accepted token and from `granted`, the scope in the
    /// claim that the policy names. A scope without scope tokens gets no header.
    pub(crate) fn of(claims: &ClaimsSet, granted: &Scope) -> Self {
        let header = |(claim, name): (&str, &'static str)| {
            let text = claims.get(claim)?.as_str()?;
            Some((name, header_value(text)))
        };
        let scope = granted.to_string();
        let scope = (!scope.is_empty()).then_some(("x-edgepass-scope", scope));
        Self(IDENTITY_CLAIMS.into_iter().filter_map(header).chain(scope).collect())
    }
}

/// Sends the request to the origin and returns a promise of the response to the client. Bodies
/// stream in both directions. Redirects are left to the client.
///
/// The guard removes headers by which a cache would tell clients apart, such as `Authorization`. So
/// no cache may answer for the origin, except on public routes with `cache = true`.
pub(crate) fn forward(
    settings: &Settings,
    route: &Route,
    request: &Incoming<'_>,
    target: RequestTarget<'_>,
    identity: Option<Identity>,
    pending: &PendingRequest,
) -> Result<Promise, JsValue> {
    let places = match &route.access {
        Access::Token(requirements) => requirements.token_from.as_deref(),
        Access::Public => None,
    };
    let is_preflight = request.method == "OPTIONS" && route.forwards_preflights();
    let held = match places {
        Some(places) if is_preflight || !route.forward_token => TokenHolders::of(places, request),
        _ => TokenHolders::default(),
    };
    // `Authorization` is the origin's own where the token is not taken from it.
    let is_token = places.is_none_or(|places| places.contains(&TokenPlace::Authorization));
    let is_masked = pending.masking.active != 0;
    // Conditions of a write protect the state of the origin (RFC 9110 §13.1).
    let reads_masked = is_masked && ["GET", "HEAD"].contains(&request.method);
    let drops = |name: &&str| match *name {
        name if is_preflight => !OF_PREFLIGHTS.contains(&name),
        name if route.cache => !OF_CACHED_REQUESTS.contains(&name),
        "authorization" => is_token && !route.forward_token,
        "dpop" => !route.forward_token,
        // The guard speaks to the origin itself. The runtime opens a WebSocket by this field.
        "upgrade" => !request.is_websocket(),
        "http2-settings" => true,
        name if reads_masked && masking::CONDITIONS.contains(&name) => true,
        name if held.drops.contains(&name) => true,
        // The runtime writes `Pragma: no-cache` only if the request has no `Pragma`.
        "pragma" => true,
        name => {
            untrusted::is_untrusted(name)
                && !settings.policy.pass_headers.iter().any(|own| own == name)
        }
    };
    let identity = identity.map(|identity| identity.0).unwrap_or_default();
    let identity = identity.iter().map(|(name, value)| (*name, value.as_str()));
    let secret =
        settings.origin_secret.as_deref().map(|secret| ("x-edgepass-origin-secret", secret));
    let uncached = (!route.cache).then_some(("cache-control", "no-cache, no-store"));
    let RequestTarget { path, query, .. } = target;
    let base = settings.origin_url.as_deref().unwrap_or("https://origin");
    let query = held.query_of(query);
    let mut changes = format!("{base}{path}{query}");
    for name in request.names().filter(drops) {
        changes.extend(["\n", name]);
    }
    changes.push('\n');
    let kept =
        held.kept.iter().filter(|_| !is_preflight).map(|(name, value)| (*name, value.as_str()));
    // The guard reads what it masks.
    let plain = is_masked.then_some(("accept-encoding", "identity"));
    for (name, value) in identity.chain(secret).chain(uncached).chain(plain).chain(kept) {
        changes.extend(["\n", name, "\n", value]);
    }
    let millis = |time: UnixMillis| time.0 as f64;
    ON_RESPONSE.with(|on_response| {
        forwarded(
            request.request,
            settings.origin_service.as_ref(),
            route.cache,
            // A GET or HEAD request that gets here has an empty body.
            request.has_body() && !["GET", "HEAD"].contains(&request.method) && !is_preflight,
            &changes,
            on_response.as_ref(),
            pending.route,
            pending.accepted.map(|accepted| millis(accepted.until)),
            pending.accepted.and_then(|accepted| accepted.confirmed_at).map(millis),
            pending.masking.active,
            &pending.masking.texts(),
        )
    })
}

/// The parts of a request that held, or could have held, the token.
#[derive(Default)]
struct TokenHolders<'r> {
    /// Header fields that are not forwarded.
    drops: Vec<&'r str>,
    /// Header fields that are forwarded with other values.
    kept: Vec<(&'static str, String)>,
    /// Parameters that are removed from the query.
    parameters: Vec<&'r str>,
}

impl<'r> TokenHolders<'r> {
    fn of(places: &'r [TokenPlace], request: &Incoming<'_>) -> Self {
        let mut held = Self::default();
        for place in places {
            match place {
                TokenPlace::Authorization => {}
                TokenPlace::Header(name) => held.drops.push(name),
                TokenPlace::Cookie(name) => {
                    let field = held.field("cookie", request);
                    held.keep("cookie", field.and_then(|field| without_cookie(&field, name)));
                }
                TokenPlace::WebSocketProtocol => {
                    let name = "sec-websocket-protocol";
                    let field = held.field(name, request);
                    held.keep(name, field.and_then(|field| without_bearer_protocol(&field)));
                }
                TokenPlace::Query(name) => held.parameters.push(name),
            }
        }
        held
    }

    /// The value of a field, as far as it is kept.
    fn field(&mut self, name: &'static str, request: &Incoming<'_>) -> Option<String> {
        match self.kept.iter().position(|(own, _)| *own == name) {
            Some(at) => Some(self.kept.swap_remove(at).1),
            None if self.drops.contains(&name) => None,
            None => request.header(name).map(str::to_owned),
        }
    }

    fn keep(&mut self, name: &'static str, value: Option<String>) {
        match value {
            Some(value) => self.kept.push((name, value)),
            None => self.drops.push(name),
        }
    }

    /// The query, with `?`, or an empty text.
    fn query_of<'q>(&self, query: &'q str) -> Cow<'q, str> {
        let Some(mut left) = query.strip_prefix('?').map(Cow::Borrowed) else {
            return query.into();
        };
        for name in &self.parameters {
            left = without_parameter(&left, name).into();
        }
        if left.is_empty() && !self.parameters.is_empty() {
            "".into()
        } else {
            ["?", &left].concat().into()
        }
    }
}

/// Encodes a claim as a header value. Printable ASCII stays as it is, if it has no `%` and no
/// leading or trailing white space. Any other text is percent-encoded, so that it can neither break
/// the header nor equal the encoding of another text.
fn header_value(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'%');
    if plain && text.trim() == text {
        text.to_owned()
    } else {
        js_sys::encode_uri_component(text).into()
    }
}
