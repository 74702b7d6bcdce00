//! Limits of requests per route and subject, by the rate limit bindings of Workers. A binding counts
//! in each Cloudflare location by itself.

use edgepass_jose::ClaimsSet;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::policy::{RateLimit, Route};

#[wasm_bindgen]
extern "C" {
    type Limiter;
    #[wasm_bindgen(method, catch)]
    fn limit(this: &Limiter, options: &JsValue) -> Result<Promise, JsValue>;

    type Outcome;
    #[wasm_bindgen(method, getter, catch)]
    fn success(this: &Outcome) -> Result<JsValue, JsValue>;
}

/// The bindings that routes name.
pub(crate) struct RateLimits(Vec<(String, JsValue)>);

impl RateLimits {
    pub(crate) fn new(bindings: Vec<(String, JsValue)>) -> Self {
        Self(bindings)
    }

    /// Whether the subject of a token may send another request to the route. `true` also if the
    /// binding does not answer: a limit protects the origin from too many requests, and grants
    /// nothing.
    pub(crate) async fn allow(&self, limit: &RateLimit, route: &Route, claims: &ClaimsSet) -> bool {
        let Some((_, binding)) = self.0.iter().find(|(name, _)| *name == limit.binding) else {
            return true;
        };
        self.ask(binding, route, claims).await.unwrap_or(true)
    }

    async fn ask(
        &self,
        binding: &JsValue,
        route: &Route,
        claims: &ClaimsSet,
    ) -> Result<bool, JsValue> {
        let text = |name| claims.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        // A line feed is in no path, and JSON has escaped the others.
        let methods = route.methods.join(",");
        let named = [text("iss"), text("sub"), text("client_id")];
        let key = format!("{}\n{methods}\n{}", route.path, named.join("\n"));
        let options = edgepass_web::dictionary::object(&[("key", key.into())])?;
        let limiter: &Limiter = binding.unchecked_ref();
        let outcome: Outcome = JsFuture::from(limiter.limit(&options)?).await?.unchecked_into();
        Ok(outcome.success()?.as_bool().unwrap_or(true))
    }
}
