//! Forwarding an accepted request: the same bytes of target and body, other credentials, past all caches.

use edgepass_jose::{ClaimsSet, Scope};
use wasm_bindgen::prelude::*;
use worker::js_sys::{self, Promise};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Env, Result, wasm_bindgen, web_sys};

use crate::policy::Route;
use crate::settings::Settings;
use crate::target::Target;
use crate::untrusted;

#[wasm_bindgen(module = "/src/forward.js")]
extern "C" {
    #[wasm_bindgen(js_name = namesOf)]
    fn names_of(headers: &web_sys::Headers) -> String;

    #[wasm_bindgen(catch)]
    fn outgoing(
        request: &web_sys::Request,
        url: &str,
        is_cached: bool,
        has_body: bool,
        dropped: &str,
        set: &str,
    ) -> Result<web_sys::Request, JsValue>;
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

/// Send the request to the origin and give back its response, streaming both ways. Redirects are
/// the caller's to follow.
///
/// The guard takes away what tells callers apart, so no cache on the way may answer for the origin; only what a
/// public route says may be kept is left to caches.
pub(crate) async fn forward(
    settings: &Settings,
    route: &Route,
    request: &web_sys::Request,
    target: Target<'_>,
    identity: Option<Identity>,
    env: &Env,
) -> Result<web_sys::Response> {
    let names = names_of(&request.headers());
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
    let dropped: Vec<&str> = names.split('\n').filter(drops).collect();
    let told = identity.map(|identity| identity.0).unwrap_or_default();
    let told = told.iter().map(|(name, value)| (*name, value.as_str()));
    let secret =
        settings.origin_secret.as_deref().map(|secret| ("x-edgepass-origin-secret", secret));
    let uncached = (!route.cache).then_some(("cache-control", "no-cache, no-store"));
    let set: Vec<&str> =
        told.chain(secret).chain(uncached).flat_map(|(name, value)| [name, value]).collect();
    let Target { path, query } = target;
    let base = settings.origin_url.as_deref().unwrap_or("https://origin");
    let outgoing = outgoing(
        request,
        &format!("{base}{path}{query}"),
        route.cache,
        !bodiless(request)?,
        &dropped.join("\n"),
        &set.join("\n"),
    )?;
    let promise: Promise = match env.service("ORIGIN").ok() {
        Some(service) => {
            let service: worker::worker_sys::Fetcher = JsValue::from(service).unchecked_into();
            service.fetch(&outgoing)?.unchecked_into()
        }
        None => js_sys::global()
            .unchecked_into::<web_sys::WorkerGlobalScope>()
            .fetch_with_request(&outgoing),
    };
    Ok(JsFuture::from(promise).await?.unchecked_into())
}

/// Whether a request has no body, though the runtime may give it an empty one.
pub(crate) fn bodiless(request: &web_sys::Request) -> Result<bool> {
    Ok(request.body().is_none() || request.headers().get("content-length")?.as_deref() == Some("0"))
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
