//! Limits of requests per route and subject, by the rate limit bindings of Workers. A binding counts
//! in each Cloudflare location by itself.

use edgepass_jose::ClaimsSet;
use edgepass_web::clock::in_time;
use js_sys::Promise;
use serde_json::Value;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::policy::{RateLimit, Route};
use crate::replay::BINDING_TIMEOUT;

#[wasm_bindgen]
extern "C" {
    type Limiter;
    #[wasm_bindgen(method, catch)]
    fn limit(this: &Limiter, options: &JsValue) -> Result<Promise, JsValue>;

    type Outcome;
    #[wasm_bindgen(method, getter, catch)]
    fn success(this: &Outcome) -> Result<JsValue, JsValue>;
}

/// The claims that together name a subject. Tokens of some issuers have an empty `sub`, such as the
/// service tokens of Cloudflare Access, which have a `common_name`.
const SUBJECT: [&str; 5] = ["iss", "sub", "client_id", "azp", "common_name"];

/// The values of these claims, whatever their type: profile `jwt` does not ask for texts.
fn subject(claims: &ClaimsSet) -> Value {
    SUBJECT
        .iter()
        .map(|name| claims.get(name).map_or(Value::Null, |value| value.to_value()))
        .collect()
}

/// The bindings that routes name.
pub(crate) struct RateLimits(Vec<(String, JsValue)>);

impl RateLimits {
    pub(crate) fn new(bindings: Vec<(String, JsValue)>) -> Self {
        Self(bindings)
    }

    /// Whether the subject of a token may send another request to the route. `true` also if the
    /// binding does not answer within [`BINDING_TIMEOUT`]: a limit protects the origin from too many
    /// requests, and grants nothing.
    pub(crate) async fn allow(&self, limit: &RateLimit, route: &Route, claims: &ClaimsSet) -> bool {
        let Some((_, binding)) = self.0.iter().find(|(name, _)| *name == limit.binding) else {
            return true;
        };
        let asked = in_time(self.ask(binding, route, claims), BINDING_TIMEOUT).await;
        asked.and_then(Result::ok).unwrap_or(true)
    }

    async fn ask(
        &self,
        binding: &JsValue,
        route: &Route,
        claims: &ClaimsSet,
    ) -> Result<bool, JsValue> {
        // Neither a path nor a JSON text holds a line feed.
        let key =
            [&*route.path, &*route.methods.join(","), &*subject(claims).to_string()].join("\n");
        let options = edgepass_web::dictionary::object(&[("key", key.into())])?;
        let limiter: &Limiter = binding.unchecked_ref();
        let outcome: Outcome = JsFuture::from(limiter.limit(&options)?).await?.unchecked_into();
        Ok(outcome.success()?.as_bool().unwrap_or(true))
    }
}
