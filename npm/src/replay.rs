//! A store of used DPoP proofs that the program provides.

use std::time::Duration;

use edgepass_verify::UnixMillis;
use edgepass_verify::checks::dpop::replay::{ProofUse, Replay};
use edgepass_web::clock::in_time;
use edgepass_web::{Later, ReplayStore};
use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// The time after which the function is given up.
const TIMEOUT: Duration = Duration::from_millis(2500);

/// The option `firstUse`: `(id, until) => Promise<boolean>`. A failure, no result within
/// 2.5 s, or a result that is not a boolean, makes the store unavailable.
pub(crate) struct HostReplay(Function);

impl HostReplay {
    pub(crate) fn new(first_use: Function) -> Self {
        Self(first_use)
    }

    async fn ask(&self, used: ProofUse) -> Result<bool, JsValue> {
        let id: String = used.id.iter().map(|octet| format!("{octet:02x}")).collect();
        // Exact: milliseconds since the epoch are far below 2^53.
        let until = JsValue::from_f64(used.until.0 as f64);
        let answer = self.0.call2(&JsValue::UNDEFINED, &id.into(), &until)?;
        let first = JsFuture::from(Promise::resolve(&answer)).await?;
        first.as_bool().ok_or(JsValue::UNDEFINED)
    }
}

impl ReplayStore for HostReplay {
    fn first_use(&self, used: ProofUse, _now: UnixMillis) -> Later<'_, Replay> {
        Box::pin(async move {
            match in_time(self.ask(used), TIMEOUT).await {
                Some(Ok(true)) => Replay::First,
                Some(Ok(false)) => Replay::Seen,
                Some(Err(_)) | None => Replay::Unavailable,
            }
        })
    }
}
