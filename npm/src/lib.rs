//! The exports of the npm package: JSON in, JSON out, and a promise in between.
//!
//! What a program uses is the TypeScript face in `face/`; these are its hidden half.

use edgepass_jose::{CompactJws, JwkSet, Scope};
use edgepass_status_list::StatusType;
use edgepass_verify::duration::DurationText;
use edgepass_verify::error::Step;
use edgepass_verify::verifier::{JwksUri, KeySource};
use edgepass_verify::{Demand, Policy, PolicyConfig, UnixMillis};
use edgepass_web::{CacheTier, Clock, Judged, Refusal, WebVerifier};
use js_sys::{Array, Function, Promise};
use serde::Deserialize;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

/// One issuer's verifier.
#[wasm_bindgen]
pub struct Core(WebVerifier);

/// What one call asks of a token, as the face writes it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DemandConfig {
    all_of: Vec<String>,
    any_of: Vec<String>,
    audience: Option<Vec<String>>,
    stale_if_error: Option<DurationText>,
}

#[wasm_bindgen]
impl Core {
    /// Make a verifier from a policy in JSON. `jwks` is a URL, a JWK Set in JSON, or undefined to
    /// find the keys through the issuer's metadata. Does no I/O.
    #[wasm_bindgen(constructor)]
    pub fn new(
        policy: &str,
        jwks: Option<String>,
        cache_api: bool,
        fetch: Option<Function>,
    ) -> Result<Core, JsError> {
        let config: PolicyConfig = serde_json::from_str(policy)?;
        let policy = Policy::try_from(config)?;
        let keys =
            match jwks {
                None => KeySource::Discover,
                Some(text) if text.trim_start().starts_with('{') => KeySource::Given(
                    JwkSet::parse(text.as_bytes(), &policy.algorithms, edgepass_crypto::is_sound)?,
                ),
                Some(url) => KeySource::Url(JwksUri::parse(&url)?),
            };
        let cache = if cache_api { CacheTier::CacheApi } else { CacheTier::None };
        Ok(Self(WebVerifier::new(policy, keys, cache, fetch)))
    }

    /// Judge a token, or, when `is_header` is set, the token in an `Authorization` header.
    ///
    /// Resolves to `[verdict in JSON, promise of the work that remains or undefined]`. `now` is in
    /// seconds; without it the host's clock decides.
    pub fn verify(
        &self,
        text: Option<String>,
        is_header: bool,
        demand: &str,
        now: Option<f64>,
    ) -> Result<Promise, JsError> {
        let demand = read_demand(demand)?;
        let clock = match now {
            None => Clock::Host,
            Some(now) if (0.0..=253_402_300_799.0).contains(&now) => {
                Clock::starting_at(UnixMillis((now * 1000.0) as u64))
            }
            Some(_) => return Err(JsError::new("now must be seconds since the epoch")),
        };
        let verifier = self.0.clone();
        Ok(future_to_promise(async move {
            let text = text.as_deref();
            let judged = if is_header {
                verifier.verify_request(text, demand, clock).await
            } else {
                verifier.verify(text.unwrap_or_default(), demand, clock).await
            };
            let verdict = verdict(&judged);
            let work = judged.background.map_or(JsValue::UNDEFINED, |work| {
                future_to_promise(async move {
                    work.await;
                    Ok(JsValue::UNDEFINED)
                })
                .into()
            });
            Ok(Array::of2(&verdict.into(), &work).into())
        }))
    }
}

/// Decode a token without verifying it: header and claims in JSON, or undefined.
#[wasm_bindgen]
pub fn decode(token: &str, max_bytes: usize) -> Option<String> {
    let jws = CompactJws::parse(token, max_bytes).ok()?;
    let claims = jws.payload_object().ok()?;
    Some(json!({ "header": jws.header().members(), "claims": claims }).to_string())
}

/// The names of the checks, in their order, in JSON.
#[wasm_bindgen]
pub fn steps() -> String {
    json!(Step::ALL.map(Step::name)).to_string()
}

fn read_demand(text: &str) -> Result<Demand, JsError> {
    let config: DemandConfig = serde_json::from_str(text)?;
    Ok(Demand {
        all_of: Scope::try_from(config.all_of)?,
        any_of: Scope::try_from(config.any_of)?,
        audience: config.audience,
        stale_if_error: config.stale_if_error.map(|duration| duration.0),
        ..Demand::default()
    })
}

fn verdict(judged: &Judged) -> String {
    let verdict = &judged.verdict;
    let status = verdict.status.map(|report| {
        let value = match report.status {
            StatusType::Valid => 0,
            StatusType::Invalid => 1,
            StatusType::Suspended => 2,
            StatusType::Unknown(value) => value,
        };
        json!({
            "value": value,
            "confirmed_at": report.confirmed_at.0,
            "stale": report.stale,
        })
    });
    let refusal = verdict.error().map(Refusal::of).map(|refusal| {
        let headers: Value = refusal.headers().into_iter().collect();
        json!({ "status": refusal.status, "headers": headers, "body": refusal.body })
    });
    json!({
        "accepted": verdict.accepted(),
        "code": verdict.error().map(|error| error.code()),
        "step": verdict.error().map(|error| error.step().name()),
        "message": verdict.error().map(ToString::to_string),
        "claims": verdict.outcome.as_ref().ok().map(|claims| claims.members()),
        "status": status,
        "stale": verdict.stale,
        "refusal": refusal,
    })
    .to_string()
}
