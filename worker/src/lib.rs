//! The guard: stands in front of an origin API and lets through what the policy allows.
//!
//! `Env` gives the policy's surroundings, a request gives a verdict, a verdict gives a response;
//! what a token is worth is decided in `edgepass-verify`.

// Nothing that a caller sends may end the process or the isolate.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod fold;
mod forward;
mod incoming;
mod lasting;
mod metrics;
mod overlap;
mod policy;
mod replay;
mod request_target;
mod respond;
mod route;
mod settings;
mod untrusted;

use std::sync::Arc;
use std::task::{self, Poll, Waker};

use edgepass_verify::verdict::Challenge;
use edgepass_verify::{VerifyError, known_answer};
use edgepass_web::{Clock, Refusal};
use js_sys::{Object, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::forward::{Identity, Sent};
use crate::incoming::Incoming;
use crate::lasting::Lasting;
use crate::policy::{Access, Route, WebSocket};
use crate::request_target::RequestTarget;
use crate::respond::{CorsReply, PassOn};
use crate::route::Matched;
use crate::settings::Settings;

#[wasm_bindgen]
extern "C" {
    /// What a request may leave behind.
    pub type Context;
    #[wasm_bindgen(method, js_name = waitUntil)]
    fn wait_until(this: &Context, work: &Promise);

    /// A line in the Worker's log.
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn log(line: &str);
}

/// A module that does not work serves nobody.
#[wasm_bindgen(start)]
fn start() {
    // Where it happened, and not why: that may hold what a caller sent.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            log(&format!("the guard has stopped at {place}; please report this"));
        }
    }));
    if !known_answer::holds() {
        wasm_bindgen::throw_str("the module does not work here: its self-test failed");
    }
}

/// What the runtime is given for a request.
enum Reply {
    Now(web_sys::Response),
    /// Resolves to a response.
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

/// Answer a request: with a response, or a promise of one.
#[wasm_bindgen]
pub fn answer(
    request: web_sys::Request,
    env: Object,
    context: Context,
) -> Result<JsValue, JsValue> {
    let mut deciding =
        Box::pin(async move { decide(&request, &env, &context).await.map(JsValue::from) });
    // Nearly always what is needed is held. To wait would cost about as much as a verdict.
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
            log(&format!("the guard is not configured: {problem}"));
            let detail = "the guard is not configured; its log says what is wrong";
            return refused(&Refusal::plain(503, "guard_misconfigured", detail), &CorsReply::NONE);
        }
    };
    let facts = incoming::facts_of(request);
    let read = Incoming::read(request, &facts).filter(|request| {
        let host = request.header("host");
        host.is_none_or(request_target::is_plain_host)
    });
    let read = read.and_then(|request| Some((RequestTarget::of(request.url).ok()?, request)));
    let Some((target, request)) = read else {
        return refused(&refusal(&VerifyError::RequestInvalid), &CorsReply::NONE);
    };
    if target.path == metrics::PATH
        && let Some(opens) = settings.metrics.opens(request.header("authorization"))
    {
        return counters(&settings, opens).map(Reply::Now);
    }
    match settings.policy.find(target.path, request.method) {
        Matched::Route(route) => pass(&settings, route, &request, target, context).await,
        Matched::Resembles(stricter) => {
            settings.metrics.count("request_invalid");
            log(&format!(
                "a path was refused that the origin may read as {}, which asks for more than the route \
                 that it took; where the origin reads paths to the letter write origin_paths = \"exact\"",
                stricter.path
            ));
            refused(&refusal(&VerifyError::RequestInvalid), &CorsReply::NONE)
        }
        Matched::Preflight(routes) => respond::preflight(&request, &routes).map(Reply::Now),
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

/// Check the token, then forward.
async fn pass(
    settings: &Settings,
    route: &Route,
    request: &Incoming<'_>,
    target: RequestTarget<'_>,
    context: &Context,
) -> Result<Reply, JsValue> {
    let takes_none = ["GET", "HEAD"].contains(&request.method);
    let upgrade = route.websocket == WebSocket::Refuse && request.header("upgrade").is_some();
    if upgrade || (takes_none && request.has_body()) {
        return refused(&refusal(&VerifyError::RequestInvalid), &CorsReply::of(request, route));
    }
    let (identity, accepted) = match &route.access {
        Access::Public => (None, None),
        Access::Token(requirements) => {
            let caller = request.for_verifier(&target, settings.external_url.as_deref());
            let check = settings.verifier.begin_request(caller, Arc::clone(requirements));
            let judged = settings.verifier.judge(check, Clock::Host).await;
            settings.metrics.judged(&judged.verdict, &settings.verifier, Clock::Host.now());
            let work = settings.verifier.work(Clock::Host);
            for work in [judged.background, work].into_iter().flatten() {
                context.wait_until(&future_to_promise(async {
                    work.await;
                    Ok(JsValue::UNDEFINED)
                }));
            }
            let (verdict, accepted) = (&judged.verdict, judged.verdict.holds());
            match &verdict.outcome {
                Ok(claims) => (Some(Identity::of(claims, &verdict.granted)), accepted),
                Err(error) => {
                    let refusal = Refusal::of(error, &verdict.challenge);
                    return refused(&refusal, &CorsReply::of(request, route));
                }
            }
        }
    };
    let sent = Sent { route: settings.policy.number_of(route), accepted };
    match forward::forward(settings, route, request, target, identity, &sent) {
        Ok(answer) => Ok(Reply::Promised(answer)),
        Err(_) => answered(None, request.request, &sent).map(Reply::Now),
    }
}

/// What the client gets once the origin has answered: its response, if there is one.
fn answered(
    response: Option<web_sys::Response>,
    request: &web_sys::Request,
    sent: &Sent,
) -> Result<web_sys::Response, JsValue> {
    let settings = Settings::held().ok_or("whoever forwards has settings")?;
    let route = settings.policy.routes.get(sent.route).ok_or("a request has taken a route")?;
    let facts = route.cors.is_some().then(|| incoming::facts_of(request));
    let incoming = facts.as_ref().and_then(|facts| Incoming::read(request, facts));
    let cors = incoming.map_or(CorsReply::NONE, |incoming| CorsReply::of(&incoming, route));
    let Some(response) = response else {
        settings.metrics.count("origin_unavailable");
        log("the origin does not answer");
        return respond::refuse(&origin_unavailable(), &cors);
    };
    let lasting = sent.accepted.filter(|_| !route.outlives_token);
    let lasting = lasting.map(|accepted| Lasting {
        settings: &settings,
        route: sent.route,
        request,
        accepted,
    });
    respond::pass_on(response, &PassOn { route, cors: &cors, lasting }).or_else(|_| {
        settings.metrics.count("origin_unavailable");
        log("the origin's response cannot be passed on");
        respond::refuse(&origin_unavailable(), &cors)
    })
}

/// The counters of this isolate, for who knows the secret.
fn counters(settings: &Settings, opens: bool) -> Result<web_sys::Response, JsValue> {
    if !opens {
        return respond::refuse(&refusal(&VerifyError::TokenMissing), &CorsReply::NONE);
    }
    let now = Clock::Host.now();
    respond::metrics(&settings.metrics.text(&settings.verifier, settings.list_bytes, now))
}

fn refused(refusal: &Refusal, cors: &CorsReply) -> Result<Reply, JsValue> {
    respond::refuse(refusal, cors).map(Reply::Now)
}

/// A refusal that is decided before a token is looked at.
fn refusal(error: &VerifyError) -> Refusal {
    Refusal::of(error, &Challenge::default())
}

fn origin_unavailable() -> Refusal {
    Refusal::plain(502, "origin_unavailable", "the origin does not answer")
}
