//! The guard's own responses, and CORS.

use edgepass_web::Refusal;
use worker::wasm_bindgen::JsCast;
use worker::{Result, web_sys};

use crate::policy::{Cors, Route};

/// A refusal.
pub(crate) fn refuse(refusal: &Refusal, allowed_origin: Option<&str>) -> Result<web_sys::Response> {
    let headers = web_sys::Headers::new()?;
    for (name, value) in refusal.headers() {
        headers.set(name, &value)?;
    }
    if let Some(origin) = allowed_origin {
        allow(&headers, origin)?;
        headers
            .set("access-control-expose-headers", "WWW-Authenticate, DPoP-Nonce, Retry-After")?;
    }
    response(refusal.status, &headers, Some(&refusal.body))
}

/// 405 with `Allow` (RFC 9110 §15.5.6).
pub(crate) fn method_not_allowed(allowed: &[&str]) -> Result<web_sys::Response> {
    let detail = "this path takes other methods";
    let refused = refuse(&Refusal::plain(405, "method_not_allowed", detail), None)?;
    let mut allowed = allowed.to_vec();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    refused.headers().set("allow", &allowed.join(", "))?;
    Ok(refused)
}

/// The answer to a CORS preflight. It carries no token, and asks for none.
pub(crate) fn preflight(
    request: &web_sys::Request,
    routes: &[&Route],
) -> Result<web_sys::Response> {
    let headers = web_sys::Headers::new()?;
    let wanted = request.headers().get("access-control-request-method")?.unwrap_or_default();
    let route = routes.iter().find(|route| route.methods.contains(&wanted));
    if let Some((origin, cors)) =
        route.and_then(|route| allowed(request, route).transpose()).transpose()?
    {
        allow(&headers, &origin)?;
        headers.set("access-control-allow-methods", &wanted)?;
        headers.set("access-control-allow-headers", &cors.headers)?;
        headers.set("access-control-max-age", &cors.max_age.to_string())?;
    }
    headers.append("vary", "Origin")?;
    response(204, &headers, None)
}

/// The request's origin, if the route lets pages of it read the response.
pub(crate) fn allowed_origin(request: &web_sys::Request, route: &Route) -> Result<Option<String>> {
    Ok(allowed(request, route)?.map(|(origin, _)| origin))
}

/// The origin's response, readable by pages of `allowed_origin`.
pub(crate) fn with_cors(
    response: web_sys::Response,
    allowed_origin: Option<&str>,
) -> Result<web_sys::Response> {
    let Some(origin) = allowed_origin else { return Ok(response) };
    // `new Response(body, response)` keeps status, headers and a WebSocket; the copy's headers can
    // be changed.
    let copy = web_sys::Response::new_with_opt_readable_stream_and_init(
        response.body().as_ref(),
        response.unchecked_ref::<web_sys::ResponseInit>(),
    )?;
    allow(&copy.headers(), origin)?;
    Ok(copy)
}

fn allowed<'r>(request: &web_sys::Request, route: &'r Route) -> Result<Option<(String, &'r Cors)>> {
    let Some(cors) = &route.cors else { return Ok(None) };
    let origin = request.headers().get("origin")?;
    Ok(origin.filter(|origin| cors.origins.contains(origin)).map(|origin| (origin, cors)))
}

fn allow(headers: &web_sys::Headers, origin: &str) -> Result<()> {
    headers.set("access-control-allow-origin", origin)?;
    headers.append("vary", "Origin")?;
    Ok(())
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
