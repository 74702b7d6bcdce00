//! Sockets and long answers: they end when their token does.
//!
//! What is kept for them lies with the host, which forgets it with the request: one function of this
//! module looks at them all.

use std::time::Duration;

use edgepass_verify::verdict::Accepted;
use edgepass_web::Clock;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::incoming::{self, Incoming};
use crate::policy::Access;
use crate::request_target::RequestTarget;
use crate::settings::Settings;

#[wasm_bindgen(module = "/src/lasting.js")]
extern "C" {
    fn joined(
        response: &web_sys::Response,
        first: u32,
        left: u32,
        look: &JsValue,
        request: &web_sys::Request,
        route: usize,
    ) -> JsValue;

    fn relayed(
        response: &web_sys::Response,
        length: Option<f64>,
        first: u32,
        left: u32,
        look: &JsValue,
        request: &web_sys::Request,
        route: usize,
    ) -> JsValue;
}

type Look = Closure<dyn Fn(bool, web_sys::Request, usize) -> Promise>;

thread_local! {
    /// Resolves to how many milliseconds from now to look again, or to why the token is refused.
    static LOOK: Look = Closure::new(|is_past, request, route| {
        future_to_promise(async move { Ok(look(is_past, &request, route).await) })
    });
}

/// A request that was let through, whose answer may go on.
pub(crate) struct Lasting<'r> {
    pub(crate) settings: &'r Settings,
    /// The number of its route.
    pub(crate) route: usize,
    pub(crate) request: &'r web_sys::Request,
    pub(crate) accepted: Accepted,
}

/// Answers of up to so many bytes are passed on without being watched.
const SHORT: u64 = 1 << 20;
/// The host has no numbers above for lengths: such a length is as good as none.
const MAX_LENGTH: u64 = 1 << 53;

impl Lasting<'_> {
    /// What the client gets of a response that opens a socket.
    pub(crate) fn socket(&self, response: &web_sys::Response) -> JsValue {
        let ((first, left), route) = (self.times(), self.route);
        LOOK.with(|look| joined(response, first, left, look.as_ref(), self.request, route))
    }

    /// What the client gets of a response with a body of `length`, if it is long, or that is not known.
    pub(crate) fn body(
        &self,
        response: &web_sys::Response,
        length: Option<u64>,
    ) -> Option<JsValue> {
        let length = length.filter(|length| *length < MAX_LENGTH);
        if length.is_some_and(|length| length <= SHORT) {
            return None;
        }
        let length = length.map(|length| length as f64);
        let ((first, left), route) = (self.times(), self.route);
        let relay = |look: &Look| {
            relayed(response, length, first, left, look.as_ref(), self.request, route)
        };
        Some(LOOK.with(relay))
    }

    /// After how many milliseconds it is looked at first, and after how many its token ends.
    fn times(&self) -> (u32, u32) {
        let first = self.settings.verifier.judge_again_after(&self.accepted);
        let left = self.accepted.until.since(Clock::Host.now());
        (milliseconds(first.unwrap_or_default()), milliseconds(left.unwrap_or_default()))
    }
}

async fn look(is_past: bool, request: &web_sys::Request, route: usize) -> JsValue {
    match judged_again(is_past, request, route).await {
        Ok(milliseconds) => milliseconds.into(),
        Err(why) => why.into(),
    }
}

/// After how many milliseconds to look again, or the code of what refuses the token now.
async fn judged_again(
    is_past: bool,
    request: &web_sys::Request,
    route: usize,
) -> Result<u32, &'static str> {
    // What cannot be judged is not let through for longer.
    const LOST: &str = "status_unavailable";
    const EXPIRED: &str = "token_expired";
    let settings = Settings::held().ok_or(LOST)?;
    if is_past {
        settings.metrics.count_ended(EXPIRED);
        return Err(EXPIRED);
    }
    let route = settings.policy.routes.get(route).ok_or(LOST)?;
    let Access::Token(requirements) = &route.access else { return Err(LOST) };
    let facts = incoming::facts_of(request);
    let request = Incoming::read(request, &facts).ok_or(LOST)?;
    let target = RequestTarget::of(request.url).map_err(|_| LOST)?;
    let caller = request.for_verifier(&target, settings.external_url.as_deref());
    let verdict = settings.verifier.judge_again(&caller, requirements).await;
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
