//! The guard's own responses, and its changes to the origin's responses.

use edgepass_verify::refusal::Refusal;
use wasm_bindgen::prelude::*;

use crate::incoming::Incoming;
use crate::lasting::{UNWATCHED_BYTES, WatchedRequest};
use crate::masking;
use crate::policy::{Access, Cors, Preflight, Route};

#[wasm_bindgen(module = "/src/respond.js")]
extern "C" {
    #[wasm_bindgen(js_name = factsOf)]
    fn facts_of(response: &web_sys::Response) -> String;

    #[wasm_bindgen(catch)]
    fn copied(
        response: &web_sys::Response,
        content: &JsValue,
    ) -> Result<web_sys::Response, JsValue>;

    #[wasm_bindgen(catch, js_name = copiedPrivately)]
    fn copied_privately(
        response: &web_sys::Response,
        content: &JsValue,
        cache_control: Option<&str>,
        is_masked: bool,
    ) -> Result<web_sys::Response, JsValue>;
}

/// CORS headers of a response.
pub(crate) struct CorsReply {
    /// Whether the response depends on the request's `Origin`: the route has `cors`.
    varies: bool,
    /// The request's `Origin`, if the route lets pages of that origin read the response.
    origin: Option<String>,
}

impl CorsReply {
    /// Leaves the CORS headers of a response as they are.
    pub(crate) const NONE: Self = Self { varies: false, origin: None };

    /// Returns the CORS headers of the origin's response to a request that matched `route`.
    pub(crate) fn of_response(request: &Incoming<'_>, route: &Route) -> Self {
        match &route.cors {
            Some(cors) if cors.preflight == Preflight::Guard => Self::of(request, route),
            _ => Self::NONE,
        }
    }

    /// Returns the CORS headers of the guard's own response to a request that matched `route`.
    pub(crate) fn of(request: &Incoming<'_>, route: &Route) -> Self {
        let origin = allowed(request, route).map(|(origin, _)| origin.to_owned());
        Self { varies: route.cors.is_some(), origin }
    }

    fn write(&self, headers: &web_sys::Headers) -> Result<(), JsValue> {
        if !self.varies {
            return Ok(());
        }
        // The route decides which pages may read the response, not the server behind the guard.
        match &self.origin {
            Some(origin) => headers.set("access-control-allow-origin", origin)?,
            None => {
                headers.delete("access-control-allow-origin")?;
                headers.delete("access-control-allow-credentials")?;
            }
        }
        headers.append("vary", "Origin")?;
        Ok(())
    }
}

/// Builds the response for a refusal. Pages that the route allows may also read its challenge,
/// nonce and `Retry-After`.
pub(crate) fn refuse(refusal: &Refusal, cors: &CorsReply) -> Result<web_sys::Response, JsValue> {
    let headers = web_sys::Headers::new()?;
    for (name, value) in refusal.headers() {
        headers.set(name, &value)?;
    }
    cors.write(&headers)?;
    if cors.origin.is_some() {
        let exposed = "WWW-Authenticate, DPoP-Nonce, Retry-After";
        headers.set("access-control-expose-headers", exposed)?;
    }
    response(refusal.status, &headers, Some(&refusal.body))
}

/// Builds the response with the counters, in the text format of OpenMetrics.
pub(crate) fn metrics(text: &str) -> Result<web_sys::Response, JsValue> {
    let headers = web_sys::Headers::new()?;
    headers.set("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")?;
    headers.set("cache-control", "no-store")?;
    response(200, &headers, Some(text))
}

/// Builds the response with the metadata of a protected resource (RFC 9728 §3.2), or to a preflight
/// for them. Any page may read them.
pub(crate) fn resource_metadata(json: &str, method: &str) -> Result<web_sys::Response, JsValue> {
    let headers = web_sys::Headers::new()?;
    if method == "OPTIONS" {
        headers.set("access-control-allow-origin", "*")?;
        headers.set("access-control-allow-headers", "*")?;
        headers.set("access-control-max-age", "600")?;
        return response(204, &headers, None);
    }
    headers.set("content-type", "application/json")?;
    headers.set("cache-control", "max-age=300")?;
    headers.set("access-control-allow-origin", "*")?;
    response(200, &headers, Some(json))
}

/// Builds a response with status 405 (RFC 9110 §15.5.6). `Allow` has the methods `allowed`, sorted,
/// and `HEAD` if `GET` is one of them.
pub(crate) fn method_not_allowed(mut allowed: Vec<&str>) -> Result<web_sys::Response, JsValue> {
    let detail = "this path does not allow the method";
    let refused = refuse(&Refusal::plain(405, "method_not_allowed", detail), &CorsReply::NONE)?;
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    allowed.sort_unstable();
    allowed.dedup();
    refused.headers().set("allow", &allowed.join(", "))?;
    Ok(refused)
}

/// Returns the route of the method that a preflight announces.
pub(crate) fn announced<'r>(request: &Incoming<'_>, routes: &[&'r Route]) -> Option<&'r Route> {
    let asked = request.header("access-control-request-method")?;
    let matched = if asked == "HEAD" { "GET" } else { asked };
    routes.iter().copied().find(|route| route.methods.iter().any(|own| own == matched))
}

/// Answers a CORS preflight, which carries no token and needs none. If the route of the announced
/// method does not allow the page, the response has no CORS headers.
pub(crate) fn preflight(
    request: &Incoming<'_>,
    route: Option<&Route>,
) -> Result<web_sys::Response, JsValue> {
    let headers = web_sys::Headers::new()?;
    let asked = request.header("access-control-request-method").unwrap_or_default();
    if let Some((origin, cors)) = route.and_then(|route| allowed(request, route)) {
        headers.set("access-control-allow-origin", origin)?;
        headers.set("access-control-allow-methods", asked)?;
        headers.set("access-control-allow-headers", &cors.headers)?;
        headers.set("access-control-max-age", &cors.max_age.to_string())?;
    }
    headers.append("vary", "Origin")?;
    response(204, &headers, None)
}

/// Builds the response to a preflight from the origin's: its status, and of its headers those of
/// CORS. Nothing else of the origin reaches a client without a token.
pub(crate) fn preflight_of_origin(
    answer: &web_sys::Response,
) -> Result<web_sys::Response, JsValue> {
    const KEPT: [&str; 7] = [
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-allow-private-network",
        "access-control-max-age",
        "vary",
    ];
    let headers = web_sys::Headers::new()?;
    for name in KEPT {
        if let Some(value) = answer.headers().get(name)? {
            headers.set(name, &value)?;
        }
    }
    response(answer.status(), &headers, None)
}

/// The facts that decide how the origin's response is changed.
pub(crate) struct PassOn<'r> {
    pub(crate) route: &'r Route,
    pub(crate) cors: &'r CorsReply,
    /// The request, if its response must end with the token.
    pub(crate) watched: Option<WatchedRequest<'r>>,
    /// The request, and what is masked in its response.
    pub(crate) masking: masking::Request<'r>,
}

/// Builds the response to the client from the origin's response. On a route that needs a token, no
/// shared cache may store the response, and it ends with the token if it is watched. If the route
/// has `cors`, the pages that it names may read the response.
pub(crate) fn pass_on(response: web_sys::Response, how: &PassOn<'_>) -> Result<JsValue, JsValue> {
    let is_public = matches!(how.route.access, Access::Public);
    if is_public && !how.cors.varies {
        return Ok(response.into());
    }
    let mut masked = None;
    let copy = if is_public {
        copied(&response, &response)?
    } else {
        let facts = facts_of(&response);
        let mut lines = facts.splitn(3, '\n');
        let [content, length, cache_control] = [(); 3].map(|()| lines.next().unwrap_or_default());
        let is_masked = how.masking.is_active();
        if is_masked && content == "body" {
            masked = how.masking.masked(how.route, &response);
        }
        // The length is that of the unmasked body: it only tells whether the body is a short one.
        let length = length.parse().ok();
        let length = length.filter(|length| masked.is_none() || *length <= UNWATCHED_BYTES);
        let source = masked.as_ref().map_or(&response, |masked| masked.unchecked_ref());
        let replaced = how.watched.as_ref().and_then(|watched| match content {
            "socket" => Some(watched.socket(&response)),
            "body" => watched.body(source, length),
            _ => None,
        });
        let replaced = match (&masked, replaced) {
            (Some(masked), None) => Some(masking::streamed(masked)?),
            (_, replaced) => replaced,
        };
        let content = replaced.as_ref().unwrap_or(&response);
        copied_privately(&response, content, private(cache_control).as_deref(), is_masked)?
    };
    if how.cors.varies {
        how.cors.write(&copy.headers())?;
    }
    match masked {
        None => Ok(copy.into()),
        Some(masked) => Ok(how.masking.chosen(&masked, &copy)),
    }
}

/// Returns `Cache-Control` for a response to one client. `None` if the value of the origin is as
/// strict: it has `private` without field names, or `no-store` without `must-understand`.
fn private(written: &str) -> Option<String> {
    let is_conditional = written.to_ascii_lowercase().contains("must-understand");
    let mut kept = vec!["private"];
    for directive in directives(written) {
        let name = directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            // With `must-understand`, a cache that understands the status code ignores `no-store`
            // (RFC 9111 §5.2.2.3).
            "no-store" if !is_conditional => return None,
            // With field names, `private` applies to these fields only.
            "private" if !directive.contains('=') => return None,
            "private" | "public" | "s-maxage" | "proxy-revalidate" | "" => {}
            _ => kept.push(directive.trim()),
        }
    }
    Some(kept.join(", "))
}

/// Splits a list at its commas, except those within quotes.
fn directives(written: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    written.split(move |sign| {
        quoted ^= sign == '"';
        sign == ',' && !quoted
    })
}

fn allowed<'r>(request: &Incoming<'r>, route: &'r Route) -> Option<(&'r str, &'r Cors)> {
    let cors = route.cors.as_ref()?;
    let origin = request.header("origin")?;
    cors.allows(origin).then_some((origin, cors))
}

fn response(
    status: u16,
    headers: &web_sys::Headers,
    body: Option<&str>,
) -> Result<web_sys::Response, JsValue> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status);
    init.set_headers_headers(headers);
    web_sys::Response::new_with_opt_str_and_init(body, &init)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_a_token_is_for_its_caller_alone() {
        for (written, left) in [
            ("", "private"),
            ("public", "private"),
            ("public, max-age=60, s-maxage=600", "private, max-age=60"),
            ("max-age=60", "private, max-age=60"),
            ("PUBLIC , Max-Age=60", "private, Max-Age=60"),
            ("private=\"set-cookie, x\", max-age=5", "private, max-age=5"),
            (
                "must-revalidate, stale-while-revalidate=9",
                "private, must-revalidate, stale-while-revalidate=9",
            ),
            ("no-cache", "private, no-cache"),
            (
                "must-understand, no-store, max-age=9",
                "private, must-understand, no-store, max-age=9",
            ),
            ("no-cache=\"a, no-store, private\"", "private, no-cache=\"a, no-store, private\""),
        ] {
            assert_eq!(private(written).as_deref(), Some(left), "{written:?}");
        }
        for strict in
            ["private", "no-store", "private, max-age=60", "max-age=60, NO-STORE", " Private "]
        {
            assert_eq!(private(strict), None, "{strict}");
        }
    }
}
