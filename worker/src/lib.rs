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

mod caller;
mod fold;
mod forward;
mod lasting;
mod metrics;
mod overlap;
mod policy;
mod replay;
mod respond;
mod route;
mod settings;
mod target;
mod untrusted;

use std::sync::Arc;

use edgepass_verify::verdict::Challenge;
use edgepass_verify::{VerifyError, known_answer};
use edgepass_web::{Clock, Refusal};
use worker::web_sys;
use worker::{Context, Env, Request, Result, console_error, event};

use crate::forward::Identity;
use crate::lasting::Lasting;
use crate::policy::{Access, Route, WebSocket};
use crate::respond::{CorsReply, PassOn};
use crate::route::Matched;
use crate::settings::Settings;
use crate::target::Target;

/// A module that does not work serves nobody.
#[event(start)]
fn start() {
    if !known_answer::holds() {
        wasm_bindgen::throw_str("the module does not work here: its self-test failed");
    }
}

/// Answer a request.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<web_sys::Response> {
    match answer(request.inner(), &env, &context).await {
        Ok(response) => Ok(response),
        // What is left to fail is the origin's doing: a response that cannot be passed on.
        Err(_) => {
            console_error!("the origin's response cannot be passed on");
            respond::refuse(&origin_unavailable(), &CorsReply::NONE)
        }
    }
}

async fn answer(
    request: &web_sys::Request,
    env: &Env,
    context: &Context,
) -> Result<web_sys::Response> {
    let settings = match Settings::of(env) {
        Ok(settings) => settings,
        Err(problem) => {
            console_error!("the guard is not configured: {problem}");
            return respond::refuse(&refusal(&VerifyError::KeysUnavailable), &CorsReply::NONE);
        }
    };
    let url = request.url();
    let host = request.headers().get("host")?;
    let target = match Target::of(&url) {
        Ok(target) if host.as_deref().is_none_or(target::is_plain_host) => target,
        _ => return respond::refuse(&refusal(&VerifyError::RequestInvalid), &CorsReply::NONE),
    };
    if target.path == metrics::PATH
        && let Some(opens) = settings.metrics.opens(authorization(request)?.as_deref())
    {
        return counters(&settings, opens);
    }
    match settings.policy.find(target.path, &request.method()) {
        Matched::Route(route) => pass(&settings, route, request, target, env, context).await,
        Matched::Resembles(stricter) => {
            settings.metrics.count("request_invalid");
            console_error!(
                "a path was refused that the origin may read as {}, which asks for more than the route \
                 that it took; where the origin reads paths to the letter write origin_paths = \"exact\"",
                stricter.path
            );
            respond::refuse(&refusal(&VerifyError::RequestInvalid), &CorsReply::NONE)
        }
        Matched::Preflight(routes) => respond::preflight(request, &routes),
        Matched::MethodNotAllowed(allowed) => {
            settings.metrics.count("method_not_allowed");
            respond::method_not_allowed(allowed)
        }
        Matched::NotFound => {
            settings.metrics.count("route_not_found");
            let detail = "no route of the guard has this path";
            respond::refuse(&Refusal::plain(404, "route_not_found", detail), &CorsReply::NONE)
        }
    }
}

/// Check the token, then forward.
async fn pass(
    settings: &Settings,
    route: &Route,
    request: &web_sys::Request,
    target: Target<'_>,
    env: &Env,
    context: &Context,
) -> Result<web_sys::Response> {
    let cors = CorsReply::of(request, route)?;
    let takes_none = ["GET", "HEAD"].contains(&request.method().as_str());
    let upgrade = route.websocket == WebSocket::Refuse && request.headers().has("upgrade")?;
    if upgrade || (takes_none && !forward::bodiless(request)?) {
        return respond::refuse(&refusal(&VerifyError::RequestInvalid), &cors);
    }
    let (identity, lasting) = match &route.access {
        Access::Public => (None, None),
        Access::Token(demand) => {
            let caller = caller::of(request, &target, settings.external_url.as_deref())?;
            let check = settings.verifier.begin_request(caller, Arc::clone(demand));
            let judged = settings.verifier.judge(check, Clock::Host).await;
            settings.metrics.judged(&judged.verdict, &settings.verifier, Clock::Host.now());
            let work = settings.verifier.work(Clock::Host);
            for work in [judged.background, work].into_iter().flatten() {
                context.wait_until(work);
            }
            let verdict = judged.verdict;
            let lasting = Lasting::of(settings, route, request, &verdict);
            match verdict.outcome {
                Ok(claims) => (Some(Identity::of(&claims, &verdict.granted)), lasting),
                Err(error) => {
                    let refusal = Refusal::of(&error, &verdict.challenge);
                    return respond::refuse(&refusal, &cors);
                }
            }
        }
    };
    match forward::forward(settings, route, request, target, identity, env).await {
        Ok(response) => respond::pass_on(response, &PassOn { route, cors: &cors, lasting }),
        Err(_) => {
            settings.metrics.count("origin_unavailable");
            console_error!("the origin does not answer");
            respond::refuse(&origin_unavailable(), &cors)
        }
    }
}

/// The counters of this isolate, for who knows the secret.
fn counters(settings: &Settings, opens: bool) -> Result<web_sys::Response> {
    if !opens {
        return respond::refuse(&refusal(&VerifyError::TokenMissing), &CorsReply::NONE);
    }
    let now = Clock::Host.now();
    respond::metrics(&settings.metrics.text(&settings.verifier, settings.list_bytes, now))
}

fn authorization(request: &web_sys::Request) -> Result<Option<String>> {
    Ok(request.headers().get("authorization")?)
}

/// A refusal that is decided before a token is looked at.
fn refusal(error: &VerifyError) -> Refusal {
    Refusal::of(error, &Challenge::default())
}

fn origin_unavailable() -> Refusal {
    Refusal::plain(502, "origin_unavailable", "the origin does not answer")
}
