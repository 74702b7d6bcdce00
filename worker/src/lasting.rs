//! Ends WebSockets and long responses when their token expires or is refused.
//!
//! One closure judges the tokens of all these requests again. The data of each request are its
//! arguments, which JavaScript holds and frees.

use std::time::Duration;

use edgepass_verify::verdict::Validity;
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
        recheck: &JsValue,
        request: &web_sys::Request,
        route: usize,
    ) -> JsValue;

    fn relayed(
        response: &web_sys::Response,
        length: Option<f64>,
        first: u32,
        left: u32,
        recheck: &JsValue,
        request: &web_sys::Request,
        route: usize,
    ) -> JsValue;
}

type Recheck = Closure<dyn Fn(bool, web_sys::Request, usize) -> Promise>;

thread_local! {
    /// Judges the token of a request again. Resolves to the milliseconds until the next check, or
    /// to the code of the refusal.
    static RECHECK: Recheck = Closure::new(|has_ended, request, route| {
        future_to_promise(async move { Ok(recheck(has_ended, &request, route).await) })
    });
}

/// An accepted request whose response may outlast its token.
pub(crate) struct WatchedRequest<'r> {
    pub(crate) settings: &'r Settings,
    /// Index of the request's route in the policy.
    pub(crate) route: usize,
    pub(crate) request: &'r web_sys::Request,
    pub(crate) accepted: Validity,
}

/// The longest body that is passed on without rechecks, in bytes.
pub(crate) const UNWATCHED_BYTES: u64 = 1 << 20;
/// A length of this or more counts as unknown: JavaScript cannot represent every integer above it.
const MAX_LENGTH: u64 = 1 << 53;

impl WatchedRequest<'_> {
    /// Joins the origin's socket with a new one for the client. Returns the content of the response
    /// to the client: an object with `body` and `webSocket`.
    pub(crate) fn socket(&self, response: &web_sys::Response) -> JsValue {
        let ((first, left), route) = (self.times(), self.route);
        RECHECK.with(|recheck| joined(response, first, left, recheck.as_ref(), self.request, route))
    }

    /// Relays a body and returns the content of the response to the client. `length` is in bytes,
    /// or `None` if it is unknown. Returns `None`, and relays nothing, for a body of at most
    /// [`UNWATCHED_BYTES`].
    pub(crate) fn body(
        &self,
        response: &web_sys::Response,
        length: Option<u64>,
    ) -> Option<JsValue> {
        let length = length.filter(|length| *length < MAX_LENGTH);
        if length.is_some_and(|length| length <= UNWATCHED_BYTES) {
            return None;
        }
        let length = length.map(|length| length as f64);
        let ((first, left), route) = (self.times(), self.route);
        let relay = |recheck: &Recheck| {
            relayed(response, length, first, left, recheck.as_ref(), self.request, route)
        };
        Some(RECHECK.with(relay))
    }

    /// The milliseconds until the first recheck, and until the token ends.
    fn times(&self) -> (u32, u32) {
        let first = self.settings.verifier.judge_again_after(&self.accepted);
        let left = self.accepted.until.since(Clock::Host.now());
        (milliseconds(first.unwrap_or_default()), milliseconds(left.unwrap_or_default()))
    }
}

async fn recheck(has_ended: bool, request: &web_sys::Request, route: usize) -> JsValue {
    match judged_again(has_ended, request, route).await {
        Ok(milliseconds) => milliseconds.into(),
        Err(code) => code.into(),
    }
}

/// Judges the token of a request again. Returns the milliseconds until the next check, or the code
/// of the refusal. `has_ended`: the token has expired, and nothing else is checked.
async fn judged_again(
    has_ended: bool,
    request: &web_sys::Request,
    route: usize,
) -> Result<u32, &'static str> {
    // If the guard cannot judge the token, the response ends as well.
    const UNAVAILABLE: &str = "status_unavailable";
    const EXPIRED: &str = "token_expired";
    let settings = Settings::held().ok_or(UNAVAILABLE)?;
    if has_ended {
        settings.metrics.count_ended(EXPIRED);
        return Err(EXPIRED);
    }
    let route = settings.policy.routes.get(route).ok_or(UNAVAILABLE)?;
    let Access::Token(requirements) = &route.access else { return Err(UNAVAILABLE) };
    let facts = incoming::facts_of(request);
    let request = Incoming::read(request, &facts).ok_or(UNAVAILABLE)?;
    let target = RequestTarget::of(request.url).map_err(|_| UNAVAILABLE)?;
    let places = requirements.token_from.as_deref();
    let caller = request.for_verifier(&target, places, settings.external_url.as_deref());
    let verdict = settings.verifier.judge_again(&caller, requirements).await;
    let refused = match verdict.error() {
        Some(error) => error.code(),
        None => {
            let after =
                verdict.validity().and_then(|held| settings.verifier.judge_again_after(&held));
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
    // JavaScript timers take at most 2^31 - 1 milliseconds.
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).min(i32::MAX as u32)
}
