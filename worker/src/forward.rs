//! Forwarding an accepted request: the same bytes of target and body, other credentials, past all caches.

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_verify::UnixMillis;
use edgepass_verify::verdict::Accepted;
use js_sys::Promise;
use wasm_bindgen::prelude::*;

use crate::incoming::Incoming;
use crate::policy::Route;
use crate::request_target::RequestTarget;
use crate::settings::Settings;
use crate::untrusted;

#[wasm_bindgen(module = "/src/forward.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn forwarded(
        request: &web_sys::Request,
        service: Option<&JsValue>,
        is_cached: bool,
        has_body: bool,
        changes: &str,
        answered: &JsValue,
        route: usize,
        until: Option<f64>,
        confirmed_at: Option<f64>,
    ) -> Result<Promise, JsValue>;
}

type Answered = dyn Fn(
    Option<web_sys::Response>,
    web_sys::Request,
    usize,
    Option<f64>,
    Option<f64>,
) -> Result<web_sys::Response, JsValue>;

thread_local! {
    /// Makes of the origin's response what the client gets. One for all requests: what is kept of one until
    /// then lies with the host, which forgets it with the request.
    static ANSWERED: Closure<Answered> = Closure::new(|response, request, route, until, confirmed_at| {
        crate::answered(response, &request, &Sent::from_host(route, until, confirmed_at))
    });
}

/// What is kept of a request while the origin answers.
pub(crate) struct Sent {
    /// The number of its route.
    pub(crate) route: usize,
    /// For how long its token holds, if it took one.
    pub(crate) accepted: Option<Accepted>,
}

impl Sent {
    fn from_host(route: usize, until: Option<f64>, confirmed_at: Option<f64>) -> Self {
        let time = |millis: f64| UnixMillis(millis as u64);
        let accepted = until
            .map(|until| Accepted { until: time(until), confirmed_at: confirmed_at.map(time) });
        Self { route, accepted }
    }
}

/// Who the token says is calling, as the origin is told.
pub(crate) struct Identity(Vec<(&'static str, String)>);

/// Claims that the origin is told, and under which header.
const TOLD: [(&str, &str); 4] = [
    ("iss", "x-edgepass-issuer"),
    ("sub", "x-edgepass-subject"),
    ("client_id", "x-edgepass-client-id"),
    ("jti", "x-edgepass-token-id"),
];
/// What is sent on for an answer that caches may hand to others: nothing that the answer could depend on, and
/// that no cache key holds.
const OF_CACHED_REQUESTS: [&str; 4] = ["if-modified-since", "if-none-match", "if-range", "range"];

impl Identity {
    /// From the claims of an accepted token, and what it grants: the scope that was checked, whichever
    /// claim it is in.
    pub(crate) fn of(claims: &ClaimsSet, granted: &Scope) -> Self {
        let told = |(claim, header): (&str, &'static str)| {
            let text = claims.get(claim)?.as_str()?;
            Some((header, header_value(text)))
        };
        let scope = (!granted.is_empty()).then(|| ("x-edgepass-scope", granted.to_string()));
        Self(TOLD.into_iter().filter_map(told).chain(scope).collect())
    }
}

/// Send the request to the origin and give back a promise of what the client gets, streaming both ways.
/// Redirects are the client's to follow.
///
/// The guard takes away what tells callers apart, so no cache on the way may answer for the origin; only what a
/// public route says may be kept is left to caches.
pub(crate) fn forward(
    settings: &Settings,
    route: &Route,
    request: &Incoming<'_>,
    target: RequestTarget<'_>,
    identity: Option<Identity>,
    sent: &Sent,
) -> Result<Promise, JsValue> {
    let drops = |name: &&str| match *name {
        name if route.cache => !OF_CACHED_REQUESTS.contains(&name),
        "authorization" | "dpop" => !route.forward_token,
        // The client's would stand where the runtime writes `no-cache`.
        "pragma" => true,
        name => {
            untrusted::is_untrusted(name)
                && !settings.policy.pass_headers.iter().any(|own| own == name)
        }
    };
    let told = identity.map(|identity| identity.0).unwrap_or_default();
    let told = told.iter().map(|(name, value)| (*name, value.as_str()));
    let secret =
        settings.origin_secret.as_deref().map(|secret| ("x-edgepass-origin-secret", secret));
    let uncached = (!route.cache).then_some(("cache-control", "no-cache, no-store"));
    let RequestTarget { path, query } = target;
    let base = settings.origin_url.as_deref().unwrap_or("https://origin");
    let mut changes = format!("{base}{path}{query}");
    for name in request.names().filter(drops) {
        changes.extend(["\n", name]);
    }
    changes.push('\n');
    for (name, value) in told.chain(secret).chain(uncached) {
        changes.extend(["\n", name, "\n", value]);
    }
    let millis = |time: UnixMillis| time.0 as f64;
    ANSWERED.with(|answered| {
        forwarded(
            request.request,
            settings.origin_service.as_ref(),
            route.cache,
            request.has_body(),
            &changes,
            answered.as_ref(),
            sent.route,
            sent.accepted.map(|accepted| millis(accepted.until)),
            sent.accepted.and_then(|accepted| accepted.confirmed_at).map(millis),
        )
    })
}

/// A claim as a header value: as it is when it is visible ASCII without `%`, percent-encoded
/// otherwise, so that it can neither break the header nor be mistaken for another value.
fn header_value(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'%');
    if plain && text.trim() == text {
        text.to_owned()
    } else {
        js_sys::encode_uri_component(text).into()
    }
}
