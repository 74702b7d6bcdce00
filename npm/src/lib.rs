//! The exports of the npm package: JSON in, JSON out, and a promise in between.
//!
//! What a program uses is the TypeScript face in `face/`; these are its hidden half.

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

mod batch;
mod replay;

use edgepass_jose::{CompactJws, Scope};
use edgepass_status_list::StatusType;
use edgepass_verify::dpop::nonce::{NonceRule, NonceSecrets};
use edgepass_verify::duration::DurationText;
use edgepass_verify::error::Step;
use edgepass_verify::sender::{CertificateThumbprint, Target};
use edgepass_verify::verifier::{JwksUri, KeySource, Verifier};
use edgepass_verify::{Demand, Policy, PolicyConfig, Request, UnixMillis};
use edgepass_web::{CacheTier, Clock, IsolateReplay, Judged, Refusal, ReplayStore, WebVerifier};
use js_sys::{Array, Function, Promise};
use serde::Deserialize;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::replay::HostReplay;

/// A verifier.
#[wasm_bindgen]
pub struct Core(WebVerifier);

/// What is trusted, as the face writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trust {
    issuers: Vec<TrustedIssuer>,
    /// Secrets of DPoP nonces: the one that signs, and one that is still accepted.
    nonce_secrets: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustedIssuer {
    policy: PolicyConfig,
    /// A URL, a JWK Set in JSON, or nothing, to find the keys through the issuer's metadata.
    jwks: Option<String>,
}

/// What one call asks of a token, as the face writes it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DemandConfig {
    all_of: Vec<String>,
    any_of: Vec<String>,
    issuers: Option<Vec<String>>,
    audience: Option<Vec<String>>,
    stale_if_error: Option<DurationText>,
}

/// A request, as the face writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestText {
    authorization: Option<String>,
    dpop: Option<String>,
    query: Option<String>,
    method: String,
    /// As the client sees it; absent where that is not known.
    url: Option<String>,
    /// SHA-256 of the client's certificate, in hexadecimal.
    certificate: Option<String>,
}

#[wasm_bindgen]
impl Core {
    /// Make a verifier of what is trusted, in JSON. Does no I/O.
    #[wasm_bindgen(constructor)]
    pub fn new(
        trust: &str,
        cache_api: bool,
        fetch: Option<Function>,
        first_use: Option<Function>,
    ) -> Result<Core, JsError> {
        let trust: Trust = serde_json::from_str(trust)?;
        let mut issuers = Vec::new();
        for issuer in trust.issuers {
            let policy = Policy::try_from(issuer.policy)?;
            let keys = match issuer.jwks {
                None => KeySource::Discover,
                Some(text) if text.trim_start().starts_with('{') => {
                    KeySource::given(text.as_bytes(), &policy)?
                }
                Some(url) => KeySource::Url(JwksUri::parse(&url)?),
            };
            issuers.push((policy, keys));
        }
        let nonces = match trust.nonce_secrets {
            None => NonceRule::NotAsked,
            Some(secrets) => NonceRule::Signed(nonce_secrets(secrets)?),
        };
        let verifier = Verifier::of_issuers(issuers)?.with_nonces(nonces);
        let replay: Box<dyn ReplayStore> = match first_use {
            None => Box::new(IsolateReplay::default()),
            Some(first_use) => Box::new(HostReplay::new(first_use)),
        };
        let cache = if cache_api { CacheTier::CacheApi } else { CacheTier::None };
        Ok(Self(WebVerifier::new(verifier, replay, cache, fetch)))
    }

    /// Judge a token, or, when `request` is given, the token of that request in JSON.
    ///
    /// Resolves to `[verdict in JSON, promise of the work that remains or undefined]`. `now` is in
    /// seconds; without it the host's clock decides.
    pub fn verify(
        &self,
        token: &str,
        request: Option<String>,
        demand: &str,
        now: Option<f64>,
    ) -> Result<Promise, JsError> {
        let demand = read_demand(demand)?;
        let request = request.map(|text| read_request(&text)).transpose()?;
        let clock = match now {
            None => Clock::Host,
            Some(now) if (0.0..=253_402_300_799.0).contains(&now) => {
                Clock::starting_at(UnixMillis((now * 1000.0) as u64))
            }
            Some(_) => return Err(JsError::new("now must be seconds since the epoch")),
        };
        let (verifier, token) = (self.0.clone(), token.to_owned());
        Ok(future_to_promise(async move {
            let judged = match request {
                Some(request) => verifier.verify_request(request, demand, clock).await,
                None => verifier.verify(&token, demand, clock).await,
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

fn nonce_secrets(secrets: Vec<String>) -> Result<NonceSecrets, JsError> {
    let mut secrets = secrets.into_iter().map(String::into_bytes);
    match (secrets.next(), secrets.next(), secrets.next()) {
        (Some(current), previous, None) => Ok(NonceSecrets::new(current, previous)?),
        _ => Err(JsError::new("there are one or two nonce secrets")),
    }
}

fn read_demand(text: &str) -> Result<Demand, JsError> {
    let config: DemandConfig = serde_json::from_str(text)?;
    Ok(Demand {
        all_of: Scope::try_from(config.all_of)?,
        any_of: Scope::try_from(config.any_of)?,
        issuers: config.issuers,
        audience: config.audience,
        stale_if_error: config.stale_if_error.map(|duration| duration.0),
    })
}

fn read_request(text: &str) -> Result<Request, JsError> {
    let request: RequestText = serde_json::from_str(text)?;
    let method = request.method;
    Ok(Request {
        authorization: request.authorization,
        dpop: request.dpop,
        query: request.query,
        target: request.url.map(|url| Target { method, url }),
        // Cloudflare reports an empty digest where no certificate was shown.
        certificate: match request.certificate.filter(|digest| !digest.is_empty()) {
            None => None,
            Some(digest) => Some(
                CertificateThumbprint::from_hex(&digest)
                    .ok_or(JsError::new("certificateSha256 is 64 hexadecimal digits"))?,
            ),
        },
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
    let refusal = verdict.error().map(|error| {
        let refusal = Refusal::of(error, &verdict.challenge);
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
