//! The guard's own responses, and CORS.

use edgepass_web::Refusal;
use wasm_bindgen::prelude::*;

use crate::incoming::Incoming;
use crate::lasting::Lasting;
use crate::policy::{Access, Cors, Route};

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
    ) -> Result<web_sys::Response, JsValue>;
}

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
    pub(crate) fn of(request: &Incoming<'_>, route: &Route) -> Self {
        let origin = allowed(request, route).map(|(origin, _)| origin.to_owned());
        Self { varies: route.cors.is_some(), origin }
    }

    fn write(&self, headers: &web_sys::Headers) -> Result<(), JsValue> {
        if !self.varies {
            return Ok(());
        }
        // Which pages may read an answer is the route's to say.
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

/// A refusal.
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

/// Counters in OpenMetrics' text format.
pub(crate) fn metrics(text: &str) -> Result<web_sys::Response, JsValue> {
    let headers = web_sys::Headers::new()?;
    headers.set("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")?;
    headers.set("cache-control", "no-store")?;
    response(200, &headers, Some(text))
}

/// 405 with `Allow` (RFC 9110 §15.5.6).
pub(crate) fn method_not_allowed(mut allowed: Vec<&str>) -> Result<web_sys::Response, JsValue> {
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
    request: &Incoming<'_>,
    routes: &[&Route],
) -> Result<web_sys::Response, JsValue> {
    let headers = web_sys::Headers::new()?;
    let asked = request.header("access-control-request-method").unwrap_or_default();
    let matched = if asked == "HEAD" { "GET" } else { asked };
    let route = routes.iter().find(|route| route.methods.iter().any(|own| own == matched));
    if let Some((origin, cors)) = route.and_then(|route| allowed(request, route)) {
        headers.set("access-control-allow-origin", origin)?;
        headers.set("access-control-allow-methods", asked)?;
        headers.set("access-control-allow-headers", &cors.headers)?;
        headers.set("access-control-max-age", &cors.max_age.to_string())?;
    }
    headers.append("vary", "Origin")?;
    response(204, &headers, None)
}

/// What becomes of the origin's response on its way to the client.
pub(crate) struct PassOn<'r> {
    pub(crate) route: &'r Route,
    pub(crate) cors: &'r CorsReply,
    /// Who was let through by a token, for as long as that lives.
    pub(crate) lasting: Option<Lasting<'r>>,
}

/// The origin's response: kept from shared caches if a token opened it, ended with its token, and
/// readable by the pages that the route names.
pub(crate) fn pass_on(
    response: web_sys::Response,
    how: &PassOn<'_>,
) -> Result<web_sys::Response, JsValue> {
    let is_public = matches!(how.route.access, Access::Public);
    if is_public && !how.cors.varies {
        return Ok(response);
    }
    let copy = if is_public {
        copied(&response, &response)?
    } else {
        let facts = facts_of(&response);
        let mut lines = facts.splitn(3, '\n');
        let [content, length, cache_control] = [(); 3].map(|()| lines.next().unwrap_or_default());
        let watched = how.lasting.as_ref().and_then(|lasting| match content {
            "socket" => Some(lasting.socket(&response)),
            "body" => lasting.body(&response, length.parse().ok()),
            _ => None,
        });
        let content = watched.as_ref().unwrap_or(&response);
        copied_privately(&response, content, private(cache_control).as_deref())?
    };
    if how.cors.varies {
        how.cors.write(&copy.headers())?;
    }
    Ok(copy)
}

/// `Cache-Control` of an answer for one caller; nothing where the origin's is as strict.
fn private(written: &str) -> Option<String> {
    let is_conditional = written.to_ascii_lowercase().contains("must-understand");
    let mut kept = vec!["private"];
    for directive in directives(written) {
        let name = directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            // Who understands the status may keep what says both (RFC 9111 §5.2.2.3).
            "no-store" if !is_conditional => return None,
            // With names of fields it speaks of these alone.
            "private" if !directive.contains('=') => return None,
            "private" | "public" | "s-maxage" | "proxy-revalidate" | "" => {}
            _ => kept.push(directive.trim()),
        }
    }
    Some(kept.join(", "))
}

/// The members of a list; commas in quotes separate none.
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
    cors.origins.iter().any(|own| own == origin).then_some((origin, cors))
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
