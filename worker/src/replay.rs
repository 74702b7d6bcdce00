//! A store of used DPoP proofs for all isolates: one Durable Object for each client key
//! (`used-proofs.js`).

use std::time::Duration;

use edgepass_verify::UnixMillis;
use edgepass_verify::checks::dpop::replay::{ProofUse, Replay};
use edgepass_web::clock::in_time;
use edgepass_web::{Later, ReplayStore};
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    /// A namespace of Durable Objects of the class `UsedProofs`.
    type Namespace;
    #[wasm_bindgen(method, catch, js_name = getByName)]
    fn get_by_name(this: &Namespace, name: &str) -> Result<UsedProofs, JsValue>;

    type UsedProofs;
    #[wasm_bindgen(method, catch, js_name = firstUse)]
    fn first_use(this: &UsedProofs, id: &str, until: f64) -> Result<JsValue, JsValue>;
}

/// The longest time that the guard waits for a binding.
pub(crate) const BINDING_TIMEOUT: Duration = Duration::from_millis(2500);

/// The namespace `USED_PROOFS` as a store of used proofs. A failed call, an answer that is no
/// boolean, or none within [`BINDING_TIMEOUT`] makes the store unavailable.
pub(crate) struct SharedReplay(pub(crate) JsValue);

impl ReplayStore for SharedReplay {
    fn first_use(&self, used: ProofUse, _now: UnixMillis) -> Later<'_, Replay> {
        Box::pin(async move {
            let answer = in_time(self.ask(&used), BINDING_TIMEOUT).await;
            match answer.and_then(Result::ok).and_then(|answer| answer.as_bool()) {
                Some(true) => Replay::First,
                Some(false) => Replay::Seen,
                None => Replay::Unavailable,
            }
        })
    }
}

impl SharedReplay {
    async fn ask(&self, used: &ProofUse) -> Result<JsValue, JsValue> {
        let id: String = used.id.iter().map(|octet| format!("{octet:02x}")).collect();
        let object = self.0.unchecked_ref::<Namespace>().get_by_name(&used.key_thumbprint)?;
        let answer = object.first_use(&id, used.until.0 as f64)?;
        JsFuture::from(Promise::resolve(&answer)).await
    }
}
