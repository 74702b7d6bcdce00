//! The guard: a Worker in front of an origin. It forwards the requests that its policy allows.
//!
//! This crate reads settings and requests, and writes responses. `edgepass-verify` judges the
//! tokens.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod fold;
mod forward;
mod incoming;
mod lasting;
mod masking;
mod metrics;
mod overlap;
mod policy;
mod policy_error;
mod rate_limit;
mod replay;
mod request_target;
mod resource;
mod respond;
mod route;
mod settings;
mod settings_error;
mod untrusted;
mod usage;

use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Duration;

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_verify::checks::purpose;
use edgepass_verify::refusal::Refusal;
use edgepass_verify::verdict::{Challenge, Validity};
use edgepass_verify::{VerifyError, known_answer};
use edgepass_web::{Background, Clock};
use js_sys::{Object, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::forward::{Identity, PendingRequest};
use crate::incoming::Incoming;
use crate::lasting::WatchedRequest;
use crate::masking::Masking;
use crate::policy::{Access, Route, WebSocket};
use crate::request_target::{Misread, Part, RequestTarget};
use crate::respond::{CorsReply, PassOn};
use crate::route::Matched;
use crate::settings::Settings;

#[wasm_bindgen]
extern "C" {
    /// The execution context of a request. It keeps work alive after the response.
    pub type Context;
    #[wasm_bindgen(method, js_name = waitUntil)]
    fn wait_until(this: &Context, work: &Promise);

    /// Writes a line to the Worker's log.
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn log(line: &str);
}

/// Sets the panic hook and runs the self-test. Throws if the test fails: the module does not load.
#[wasm_bindgen(start)]
fn start() {
    // Logs only the place: the message of a panic may contain text that a client sent.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            log(&format!("the guard crashed at {place}; please report this"));
        }
    }));
    if !known_answer::holds() {
        wasm_bindgen::throw_str("the self-test of the guard's Wasm module failed");
    }
}

/// The guard's reply to the runtime: a response, or a promise of one.
enum Reply {
    Now(web_sys::Response),
    /// A promise that resolves to a response.
    Promised(Promise),
}

impl From<Reply> for JsValue {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Now(response) => response.into(),
            Reply::Promised(promise) => promise.into(),
        }
    }
}

/// Answers a request with a response, or with a promise of one.
#[wasm_bindgen]
pub fn answer(
    request: web_sys::Request,
    env: Object,
    context: Context,
) -> Result<JsValue, JsValue> {
    let mut deciding =
        Box::pin(async move { decide(&request, &env, &context).await.map(JsValue::from) });
    // Most checks wait for nothing, so the first poll completes them. Another promise would cost
    // about as much as a verdict.
    match deciding.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(decided) => decided,
        Poll::Pending => Ok(future_to_promise(deciding).into()),
    }
}

async fn decide(
    request: &web_sys::Request,
    env: &Object,
    context: &Context,
) -> Result<Reply, JsValue> {
    let settings = match Settings::of(env) {
        Ok(settings) => settings,
        Err(problem) => {
            log(&format!("the guard is misconfigured: {problem}"));
            let detail = "the guard is misconfigured; its log names the mistake";
            return refused(&Refusal::plain(503, "guard_misconfigured", detail), &CorsReply::NONE);
        }
    };
    let facts = incoming::facts_of(request);
    let read = Incoming::read(request, &facts).filter(|request| {
        let host = request.header("host");
        host.is_none_or(request_target::is_plain_host)
    });
    let Some(request) = read else {
        return misread("the request has a Host that is no host, or a field with a line break");
    };
    let target = match RequestTarget::of(request.url) {
        Ok(target) => target,
        Err(part) => return misread(&format!("the path cannot be read unambiguously: {part}")),
    };
    if target.path == metrics::PATH
        && let Some(may_read) = settings.metrics.may_read(request.header("authorization"))
    {
        return counters(&settings, may_read).map(Reply::Now);
    }
    // Challenges name these URLs, so a route with a wildcard does not cover them.
    if let Some(metadata) = settings.metadata(target.path)
        && !settings.policy.names(target.path)
        && ["GET", "HEAD", "OPTIONS"].contains(&request.method)
    {
        return respond::resource_metadata(&metadata, request.method).map(Reply::Now);
    }
    match settings.policy.find(&target, request.method) {
        Matched::Route(route) => pass(&settings, route, &request, target, context).await,
        Matched::Resembles(stricter) => {
            settings.metrics.count("request_invalid");
            log(&format!(
                "refused a path that the origin may read as {}, a stricter route than the one that \
                 matched; if the origin reads paths literally, write origin_paths = \"exact\"",
                stricter.path
            ));
            misread(
                "the origin may read the path as one of a stricter route; a policy with \
                 origin_paths = \"exact\" trusts that it does not",
            )
        }
        Matched::EscapedSlash => escaped_slash(&settings, &target),
        Matched::Preflight(routes) => {
            let route = respond::announced(&request, &routes);
            let by_origin = route.filter(|route| route.forwards_preflights());
            match by_origin.filter(|_| request.header("origin").is_some()) {
                Some(route) if target.escaped_slash.is_some() && !route.takes_escaped_slash => {
                    escaped_slash(&settings, &target)
                }
                Some(route) => {
                    let nothing = (None, Masking::default());
                    forwarded(&settings, route, &request, target, None, nothing)
                }
                None => respond::preflight(&request, route).map(Reply::Now),
            }
        }
        Matched::MethodNotAllowed(allowed) => {
            settings.metrics.count("method_not_allowed");
            respond::method_not_allowed(allowed).map(Reply::Now)
        }
        Matched::NotFound => {
            settings.metrics.count("route_not_found");
            let detail = "no route of the guard has this path";
            refused(&Refusal::plain(404, "route_not_found", detail), &CorsReply::NONE)
        }
    }
}

/// Checks the token, unless the route is public, then forwards the request or refuses it.
async fn pass(
    settings: &Settings,
    route: &Route,
    request: &Incoming<'_>,
    target: RequestTarget<'_>,
    context: &Context,
) -> Result<Reply, JsValue> {
    let takes_no_body = ["GET", "HEAD"].contains(&request.method);
    let upgrade = route.websocket == WebSocket::Refuse && request.is_websocket();
    let is_misread = if upgrade {
        Some("the route takes no WebSocket; it would by websocket = \"pass\"")
    } else if takes_no_body && request.has_body() && !request.has_empty_body().await {
        Some("a GET or HEAD request has a body")
    } else {
        None
    };
    if let Some(detail) = is_misread {
        let refusal =
            Refusal::with_detail(&VerifyError::RequestInvalid, &Challenge::default(), detail);
        return refused(&refusal, &CorsReply::of(request, route));
    }
    let (identity, accepted, masking) = match &route.access {
        Access::Public => (None, None, Masking::default()),
        Access::Token(requirements) => {
            let places = requirements.token_from.as_deref();
            let caller = request.for_verifier(&target, places, settings.external_url.as_deref());
            let check = settings.verifier.begin_request(caller, Arc::clone(requirements));
            let judged = settings.verifier.judge(check, Clock::Host).await;
            settings.metrics.judged(&judged.verdict, &settings.verifier, Clock::Host.now());
            let work = settings.verifier.work(Clock::Host);
            let watch = settings.verifier.watch(WATCH_LIMIT, Clock::Host);
            for work in [judged.background, work, watch].into_iter().flatten() {
                behind(context, work);
            }
            let (verdict, accepted) = (&judged.verdict, judged.verdict.validity());
            let is_limited = match (&verdict.outcome, &route.rate_limit) {
                (Ok(claims), Some(limit)) => !settings.limits.allow(limit, route, claims).await,
                _ => false,
            };
            let usage = settings.usage.as_ref().and_then(|usage| {
                let code = is_limited.then_some("rate_limited");
                let number = settings.policy.index_of(route);
                usage.count(verdict, code, number, request, Clock::Host.now());
                usage.due(Clock::Host)
            });
            if let Some(report) = usage {
                behind(context, report);
            }
            match &verdict.outcome {
                Ok(claims) => {
                    if let (true, Some(limit)) = (is_limited, &route.rate_limit) {
                        settings.metrics.count("rate_limited");
                        let detail = "the subject of the token has sent too many requests";
                        let refusal = Refusal {
                            retry_after: Some(limit.period),
                            ..Refusal::plain(429, "rate_limited", detail)
                        };
                        return refused(&refusal, &CorsReply::of(request, route));
                    }
                    let masking = masking_of(route, claims, &verdict.granted);
                    (Some(Identity::of(claims, &verdict.granted)), accepted, masking)
                }
                Err(error) => {
                    let refusal = Refusal::of(error, &verdict.challenge);
                    return refused(&refusal, &CorsReply::of(request, route));
                }
            }
        }
    };
    forwarded(settings, route, request, target, identity, (accepted, masking))
}

/// What is masked for a token with these claims and this scope.
fn masking_of(route: &Route, claims: &ClaimsSet, granted: &Scope) -> Masking {
    let Some(masks) = &route.masks else { return Masking::default() };
    let agreement = purpose::agreement_of(claims).unwrap_or_default();
    let issuer = claims.get("iss").and_then(|issuer| issuer.as_str()).unwrap_or_default();
    Masking {
        active: masks.active(granted),
        issuer: issuer.to_owned(),
        agreement: agreement.to_owned(),
    }
}

/// Lets work go on behind the response.
fn behind(context: &Context, work: Background) {
    context.wait_until(&future_to_promise(async {
        work.await;
        Ok(JsValue::UNDEFINED)
    }));
}

/// The time for which a request's work may wait for status heads: Workers end it 30 s after the
/// response.
const WATCH_LIMIT: Duration = Duration::from_secs(25);

/// Forwards a request to the origin.
fn forwarded(
    settings: &Settings,
    route: &Route,
    request: &Incoming<'_>,
    target: RequestTarget<'_>,
    identity: Option<Identity>,
    (accepted, masking): (Option<Validity>, Masking),
) -> Result<Reply, JsValue> {
    let pending = PendingRequest { route: settings.policy.index_of(route), accepted, masking };
    match forward::forward(settings, route, request, target, identity, &pending) {
        Ok(answer) => Ok(Reply::Promised(answer)),
        Err(_) => {
            let response = client_response(None, request.request, &pending)?;
            Ok(Reply::Now(response.unchecked_into()))
        }
    }
}

/// Builds the response to the client from the origin's response, or a promise of it; `None` if the origin gave none.
fn client_response(
    response: Option<web_sys::Response>,
    request: &web_sys::Request,
    pending: &PendingRequest,
) -> Result<JsValue, JsValue> {
    let settings = Settings::held().ok_or("no settings for a forwarded request")?;
    let route =
        settings.policy.routes.get(pending.route).ok_or("no route for a forwarded request")?;
    let Some(response) = response else {
        return unavailable(&settings, request, route).map(JsValue::from);
    };
    let facts = route.cors.is_some().then(|| incoming::facts_of(request));
    let incoming = facts.as_ref().and_then(|facts| Incoming::read(request, facts));
    let cors = incoming.map_or(CorsReply::NONE, |own| CorsReply::of_response(&own, route));
    if request.method() == "OPTIONS" && route.forwards_preflights() {
        return respond::preflight_of_origin(&response).map(JsValue::from);
    }
    let watched = pending.accepted.filter(|_| !route.outlives_token);
    let watched = watched.map(|accepted| WatchedRequest {
        settings: &settings,
        route: pending.route,
        request,
        accepted,
    });
    let masking = masking::Request { settings: &settings, request, pending };
    respond::pass_on(response, &PassOn { route, cors: &cors, watched, masking }).or_else(|_| {
        settings.metrics.count("origin_unavailable");
        log("the origin's response cannot be passed on");
        refuse_forwarded(request, route, &origin_unavailable()).map(JsValue::from)
    })
}

/// The refusal of a request that the origin does not answer.
fn unavailable(
    settings: &Settings,
    request: &web_sys::Request,
    route: &Route,
) -> Result<web_sys::Response, JsValue> {
    settings.metrics.count("origin_unavailable");
    log("the origin does not answer");
    refuse_forwarded(request, route, &origin_unavailable())
}

/// Refuses a request that was forwarded.
fn refuse_forwarded(
    request: &web_sys::Request,
    route: &Route,
    refusal: &Refusal,
) -> Result<web_sys::Response, JsValue> {
    let facts = route.cors.is_some().then(|| incoming::facts_of(request));
    let incoming = facts.as_ref().and_then(|facts| Incoming::read(request, facts));
    let cors = incoming.map_or(CorsReply::NONE, |incoming| CorsReply::of(&incoming, route));
    respond::refuse(refusal, &cors)
}

/// Returns the counters of this isolate, or status 401 unless `may_read`.
fn counters(settings: &Settings, may_read: bool) -> Result<web_sys::Response, JsValue> {
    if !may_read {
        return respond::refuse(&refusal(&VerifyError::TokenMissing), &CorsReply::NONE);
    }
    let now = Clock::Host.now();
    respond::metrics(&settings.metrics.text(settings, now))
}

fn refused(refusal: &Refusal, cors: &CorsReply) -> Result<Reply, JsValue> {
    respond::refuse(refusal, cors).map(Reply::Now)
}

/// Builds the refusal of a request whose token was not checked.
fn refusal(error: &VerifyError) -> Refusal {
    Refusal::of(error, &Challenge::default())
}

/// Refuses a path with an escaped slash.
fn escaped_slash(settings: &Settings, target: &RequestTarget<'_>) -> Result<Reply, JsValue> {
    settings.metrics.count("request_invalid");
    let at = target.escaped_slash.unwrap_or_default();
    let part = Misread { part: Part::EscapedSlash, at };
    misread(&format!("the path cannot be read unambiguously: {part}"))
}

/// Refuses a request that servers may read in different ways. `detail` repeats no more of it than an
/// octet.
fn misread(detail: &str) -> Result<Reply, JsValue> {
    let error = VerifyError::RequestInvalid;
    refused(&Refusal::with_detail(&error, &Challenge::default(), detail), &CorsReply::NONE)
}

fn origin_unavailable() -> Refusal {
    Refusal::plain(502, "origin_unavailable", "the origin does not answer")
}
