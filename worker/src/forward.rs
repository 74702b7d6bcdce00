//! Forwarding an accepted request: the same bytes of target and body, other credentials.

use edgepass_jose::{ClaimsSet, Scope};
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{self, Promise};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Env, Result, web_sys};

use crate::policy::Route;
use crate::settings::Settings;
use crate::target::Target;

/// Who the token says is calling, as the origin is told.
pub(crate) struct Identity(Vec<(&'static str, String)>);

/// Claims that the origin is told, and under which header.
const TOLD: [(&str, &str); 4] = [
    ("iss", "x-edgepass-issuer"),
    ("sub", "x-edgepass-subject"),
    ("client_id", "x-edgepass-client-id"),
    ("jti", "x-edgepass-token-id"),
];
/// What headers begin with in which servers behind a proxy look for the client's certificate; from a
/// client they are forgeries (RFC 9440 §2.4).
const CERTIFICATE_HEADERS: [&str; 8] = [
    "client-cert",
    "cf-client-cert",
    "ssl-client-cert",
    "x-client-cert",
    "x-ssl-client-cert",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-amzn-mtls-clientcert",
];
/// Every header that starts so is the guard's own.
const OWN_PREFIX: &str = "x-edgepass-";

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
pub(crate) async fn forward(
    settings: &Settings,
    route: &Route,
    request: &web_sys::Request,
    target: Target<'_>,
    identity: Option<Identity>,
    env: &Env,
) -> Result<web_sys::Response> {
    let headers = web_sys::Headers::new_with_headers(&request.headers())?;
    remove_own(&headers)?;
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
    let init = web_sys::RequestInit::new();
    init.set_method(&request.method());
    init.set_headers_headers(&headers);
    init.set_redirect(web_sys::RequestRedirect::Manual);
    init.set_body_opt_readable_stream(request.body().as_ref());

    let Target { path, query } = target;
    let service = env.service("ORIGIN").ok();
    let base = settings.origin_url.as_deref().unwrap_or("https://origin");
    let outgoing = web_sys::Request::new_with_str_and_init(&format!("{base}{path}{query}"), &init)?;
    let promise: Promise = match service {
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

/// Remove every header of the guard's own namespace, every one that names a certificate, and
/// look-alikes: many servers read `_`, and some any other sign, as `-`.
fn remove_own(headers: &web_sys::Headers) -> Result<()> {
    let names: Vec<String> = js_sys::Array::from(&headers.keys())
        .iter()
        .filter_map(|name| name.as_string())
        .filter(|name| is_forgery(&folded(name)))
        .collect();
    for name in names {
        headers.delete(&name)?;
    }
    Ok(())
}

fn is_forgery(folded: &str) -> bool {
    folded.starts_with(OWN_PREFIX)
        || CERTIFICATE_HEADERS.iter().any(|prefix| folded.starts_with(prefix))
}

/// A header name as the laxest server reads it.
fn folded(name: &str) -> String {
    let fold =
        |sign: char| if sign.is_ascii_alphanumeric() { sign.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect()
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
