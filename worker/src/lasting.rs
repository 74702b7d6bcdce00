//! Sockets and long answers: they end when their token does.
//!
//! What is kept for them lies with the host, which forgets it with the request: one function of this
//! module looks at them all.

use std::time::Duration;

use edgepass_verify::Verdict;
use edgepass_verify::verdict::Accepted;
use edgepass_web::Clock;
use wasm_bindgen::prelude::*;
use worker::js_sys::{Promise, Reflect};
use worker::wasm_bindgen_futures::future_to_promise;
use worker::{wasm_bindgen, web_sys};

use crate::caller;
use crate::policy::{Access, Route};
use crate::settings::Settings;
use crate::target::Target;

#[wasm_bindgen(module = "/src/lasting.js")]
extern "C" {
    fn joined(
        origin: &JsValue,
        first: u32,
        left: u32,
        look: &JsValue,
        request: &web_sys::Request,
        route: u32,
    ) -> JsValue;

    fn relayed(
        body: &web_sys::ReadableStream,
        length: Option<f64>,
        first: u32,
        left: u32,
        look: &JsValue,
        request: &web_sys::Request,
        route: u32,
    ) -> web_sys::ReadableStream;
}

type Look = Closure<dyn Fn(bool, web_sys::Request, u32) -> Promise>;

thread_local! {
    /// Resolves to how many milliseconds from now to look again, or to why the token is refused.
    static LOOK: Look = Closure::new(|is_past, request, route| {
        future_to_promise(async move { Ok(look(is_past, &request, route).await) })
    });
}

/// A request that was let through, whose answer may go on.
pub(crate) struct Lasting<'r> {
    settings: &'r Settings,
    route: &'r Route,
    request: &'r web_sys::Request,
    accepted: Accepted,
}

/// Answers of up to so many bytes are passed on without being watched.
const SHORT: u64 = 1 << 20;
/// The host has no numbers above for lengths: such a length is as good as none.
const MAX_LENGTH: u64 = 1 << 53;

impl<'r> Lasting<'r> {
    /// For what `route` let through, unless that outlives its token.
    pub(crate) fn of(
        settings: &'r Settings,
        route: &'r Route,
        request: &'r web_sys::Request,
        verdict: &Verdict,
    ) -> Option<Self> {
        let accepted = verdict.holds().filter(|_| !route.outlives_token)?;
        Some(Self { settings, route, request, accepted })
    }

    /// What the client gets of the origin's socket.
    pub(crate) fn socket(&self, origin: &JsValue) -> JsValue {
        let ((first, left), route) = (self.times(), self.route_number());
        LOOK.with(|look| joined(origin, first, left, look.as_ref(), self.request, route))
    }

    /// What the client gets of the body: that itself, unless it is long, or of a length that is not known.
    pub(crate) fn body(&self, response: &web_sys::Response) -> Option<web_sys::ReadableStream> {
        let body = response.body()?;
        let length = response.headers().get("content-length").ok().flatten();
        let length = length
            .and_then(|length| length.parse::<u64>().ok())
            .filter(|length| *length < MAX_LENGTH);
        if length.is_some_and(|length| length <= SHORT) {
            return Some(body);
        }
        let length = length.map(|length| length as f64);
        let ((first, left), route) = (self.times(), self.route_number());
        let relay =
            |look: &Look| relayed(&body, length, first, left, look.as_ref(), self.request, route);
        Some(LOOK.with(relay))
    }

    /// After how many milliseconds it is looked at first, and after how many its token ends.
    fn times(&self) -> (u32, u32) {
        let first = self.settings.verifier.judge_again_after(&self.accepted);
        let left = self.accepted.until.since(Clock::Host.now());
        (milliseconds(first.unwrap_or_default()), milliseconds(left.unwrap_or_default()))
    }

    fn route_number(&self) -> u32 {
        let mut routes = self.settings.policy.routes.iter();
        let position = routes.position(|own| std::ptr::eq(own, self.route));
        // No policy has so many: whoever asks for that route is refused.
        position.and_then(|position| u32::try_from(position).ok()).unwrap_or(u32::MAX)
    }
}

/// The origin's socket, if the response opens one.
pub(crate) fn socket_of(response: &web_sys::Response) -> Option<JsValue> {
    Reflect::get(response, &"webSocket".into()).ok().filter(|socket| socket.is_object())
}

async fn look(is_past: bool, request: &web_sys::Request, route: u32) -> JsValue {
    match judged_again(is_past, request, route).await {
        Ok(milliseconds) => milliseconds.into(),
        Err(why) => why.into(),
    }
}

/// After how many milliseconds to look again, or the code of what refuses the token now.
async fn judged_again(
    is_past: bool,
    request: &web_sys::Request,
    route: u32,
) -> Result<u32, &'static str> {
    // What cannot be judged is not let through for longer.
    const LOST: &str = "status_unavailable";
    const EXPIRED: &str = "token_expired";
    let settings = Settings::held().ok_or(LOST)?;
    if is_past {
        settings.metrics.count_ended(EXPIRED);
        return Err(EXPIRED);
    }
    let route = settings.policy.routes.get(route as usize).ok_or(LOST)?;
    let Access::Token(demand) = &route.access else { return Err(LOST) };
    let url = request.url();
    let target = Target::of(&url).map_err(|_| LOST)?;
    let caller =
        caller::of(request, &target, settings.external_url.as_deref()).map_err(|_| LOST)?;
    let verdict = settings.verifier.judge_again(&caller, demand).await;
    let refused = match verdict.error() {
        Some(error) => error.code(),
        None => {
            let after = verdict.holds().and_then(|held| settings.verifier.judge_again_after(&held));
            match after {
                Some(after) => return Ok(milliseconds(after)),
                None => EXPIRED,
            }
        }
    };
    settings.metrics.count_ended(refused);
    Err(refused)
}

fn milliseconds(time: Duration) -> u32 {
    // The most that a timer takes.
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).min(i32::MAX as u32)
}
