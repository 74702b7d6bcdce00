//! Forwarding an accepted request: the same bytes of target and body, other credentials, past all caches.

use edgepass_jose::{ClaimsSet, Scope};
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{self, Promise, Reflect};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Env, Result, web_sys};

use crate::policy::Route;
use crate::settings::Settings;
use crate::target::Target;
use crate::untrusted;

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
    let init = web_sys::RequestInit::new();
    init.set_method(&request.method());
    init.set_redirect(web_sys::RequestRedirect::Manual);
    let headers = if route.cache {
        only(&OF_CACHED_REQUESTS, &request.headers())?
    } else {
        init.set_cache(web_sys::RequestCache::NoStore);
        let headers = web_sys::Headers::new_with_headers(&request.headers())?;
        remove_untrusted(&headers, &settings.policy.pass_headers)?;
        // Cloudflare appends to what the client wrote; it writes this one alone.
        if let Some(address) = headers.get("cf-connecting-ip")? {
            headers.set("x-forwarded-for", &address)?;
        }
        // The client's would stand where the runtime writes `no-cache`.
        headers.set("cache-control", "no-cache, no-store")?;
        headers.delete("pragma")?;
        headers
    };
    if !route.forward_token {
        headers.delete("authorization")?;
        headers.delete("dpop")?;
    }
    for (name, value) in identity.map(|identity| identity.0).unwrap_or_default() {
        headers.set(name, &value)?;
    }
    if let Some(secret) = &settings.origin_secret {
        headers.set("x-edgepass-origin-secret", secret)?;
    }
    init.set_headers_headers(&headers);
    // Encoded bodies are passed on as they are, also where the guard passes them through.
    Reflect::set(&init, &"encodeResponseBody".into(), &"manual".into())?;
    if !bodiless(request)? {
        init.set_body_opt_readable_stream(request.body().as_ref());
    }

    let Target { path, query } = target;
    let base = settings.origin_url.as_deref().unwrap_or("https://origin");
    let outgoing = web_sys::Request::new_with_str_and_init(&format!("{base}{path}{query}"), &init)?;
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

/// Remove what no client may write, but for what the policy says is the client's; and look-alikes: many
/// servers read `_`, and some any other sign, as `-`.
fn remove_untrusted(headers: &web_sys::Headers, passed: &[String]) -> Result<()> {
    let names: Vec<String> = js_sys::Array::from(&headers.keys())
        .iter()
        .filter_map(|name| name.as_string())
        .filter(|name| untrusted::is_untrusted(name) && !passed.contains(name))
        .collect();
    for name in names {
        headers.delete(&name)?;
    }
    Ok(())
}

/// Whether a request has no body, though the runtime may give it an empty one.
pub(crate) fn bodiless(request: &web_sys::Request) -> Result<bool> {
    Ok(request.body().is_none() || request.headers().get("content-length")?.as_deref() == Some("0"))
}

fn only(names: &[&str], all: &web_sys::Headers) -> Result<web_sys::Headers> {
    let headers = web_sys::Headers::new()?;
    for name in names {
        if let Some(value) = all.get(name)? {
            headers.set(name, &value)?;
        }
    }
    Ok(headers)
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
