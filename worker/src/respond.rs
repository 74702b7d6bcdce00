//! The guard's own responses, and CORS.

use edgepass_web::Refusal;
use worker::wasm_bindgen::JsCast;
use worker::{Result, web_sys};

use crate::policy::{Cors, Route};

/// What a response says to browsers.
pub(crate) struct CorsReply {
    /// Whether the answer depends on who asks.
    varies: bool,
    /// The page's origin, if the route lets it read the response.
    origin: Option<String>,
}

impl CorsReply {
    /// Nothing.
    pub(crate) const NONE: Self = Self { varies: false, origin: None };

    /// For a request that takes `route`.
    pub(crate) fn of(request: &web_sys::Request, route: &Route) -> Result<Self> {
        let origin = allowed(request, route)?.map(|(origin, _)| origin);
        Ok(Self { varies: route.cors.is_some(), origin })
    }

    fn write(&self, headers: &web_sys::Headers) -> Result<()> {
        if let Some(origin) = &self.origin {
            headers.set("access-control-allow-origin", origin)?;
        }
        if self.varies {
            headers.append("vary", "Origin")?;
        }
        Ok(())
    }
}

/// A refusal.
pub(crate) fn refuse(refusal: &Refusal, cors: &CorsReply) -> Result<web_sys::Response> {
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

/// Counters in OpenMetrics' text format.
pub(crate) fn metrics(text: &str) -> Result<web_sys::Response> {
    let headers = web_sys::Headers::new()?;
    headers.set("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")?;
    headers.set("cache-control", "no-store")?;
    response(200, &headers, Some(text))
}

/// 405 with `Allow` (RFC 9110 §15.5.6).
pub(crate) fn method_not_allowed(mut allowed: Vec<&str>) -> Result<web_sys::Response> {
    let detail = "this path takes other methods";
    let refused = refuse(&Refusal::plain(405, "method_not_allowed", detail), &CorsReply::NONE)?;
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    allowed.sort_unstable();
    allowed.dedup();
    refused.headers().set("allow", &allowed.join(", "))?;
    Ok(refused)
}

/// The answer to a CORS preflight. It carries no token, and asks for none.
pub(crate) fn preflight(
    request: &web_sys::Request,
    routes: &[&Route],
) -> Result<web_sys::Response> {
    let headers = web_sys::Headers::new()?;
    let asked = request.headers().get("access-control-request-method")?.unwrap_or_default();
    let matched = if asked == "HEAD" { "GET" } else { asked.as_str() };
    let route = routes.iter().find(|route| route.methods.iter().any(|own| own == matched));
    let grant = match route {
        Some(route) => allowed(request, route)?,
        None => None,
    };
    if let Some((origin, cors)) = grant {
        headers.set("access-control-allow-origin", &origin)?;
        headers.set("access-control-allow-methods", &asked)?;
        headers.set("access-control-allow-headers", &cors.headers)?;
        headers.set("access-control-max-age", &cors.max_age.to_string())?;
    }
    headers.append("vary", "Origin")?;
    response(204, &headers, None)
}

/// The origin's response, readable by the pages that the route names.
pub(crate) fn with_cors(
    response: web_sys::Response,
    cors: &CorsReply,
) -> Result<web_sys::Response> {
    if !cors.varies {
        return Ok(response);
    }
    // `new Response(body, response)` keeps status, headers and a WebSocket; the copy's headers can
    // be changed.
    let copy = web_sys::Response::new_with_opt_readable_stream_and_init(
        response.body().as_ref(),
        response.unchecked_ref::<web_sys::ResponseInit>(),
    )?;
    cors.write(&copy.headers())?;
    Ok(copy)
}

fn allowed<'r>(request: &web_sys::Request, route: &'r Route) -> Result<Option<(String, &'r Cors)>> {
    let Some(cors) = &route.cors else { return Ok(None) };
    let origin = request.headers().get("origin")?;
    Ok(origin.filter(|origin| cors.origins.contains(origin)).map(|origin| (origin, cors)))
}

fn response(
    status: u16,
    headers: &web_sys::Headers,
    body: Option<&str>,
) -> Result<web_sys::Response> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status);
    init.set_headers_headers(headers);
    Ok(web_sys::Response::new_with_opt_str_and_init(body, &init)?)
}
