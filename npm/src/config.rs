//! Options, demands and requests, as the face writes them in JSON.

use edgepass_jose::Scope;
use edgepass_jose::json::parse_object;
use edgepass_verify::checks::dpop::nonce::{NonceRule, NonceSecrets};
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::json;
use edgepass_verify::sender::{CertificateThumbprint, Target};
use edgepass_verify::verifier::{JwksUri, KeySource, Verifier};
use edgepass_verify::{Demand, Policy, PolicyConfig, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsError;

/// What is trusted, as the face writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trust {
    issuers: Vec<TrustedIssuer>,
    /// Secrets of DPoP nonces: the one that signs, and one that is still accepted.
    nonce_secrets: Option<Vec<String>>,
    /// What verified tokens may take, in bytes.
    verified_bytes: Option<u64>,
    /// What the status lists of one issuer may take, in bytes.
    list_bytes: Option<u64>,
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
    all_of: Option<Vec<String>>,
    any_of: Option<Vec<String>>,
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

fn read<T: DeserializeOwned>(text: &str) -> Result<T, JsError> {
    Ok(json::read(parse_object(text.as_bytes())?.into())?)
}

/// A verifier of what is trusted.
pub(crate) fn read_trust(text: &str) -> Result<Verifier, JsError> {
    let trust: Trust = read(text)?;
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
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let verifier = match trust.verified_bytes {
        None => verifier,
        Some(most) => verifier.with_verified_bytes(bytes(most)),
    };
    Ok(match trust.list_bytes {
        None => verifier,
        Some(most) => verifier.with_list_bytes(bytes(most)),
    })
}

fn nonce_secrets(secrets: Vec<String>) -> Result<NonceSecrets, JsError> {
    let mut secrets = secrets.into_iter().map(String::into_bytes);
    match (secrets.next(), secrets.next(), secrets.next()) {
        (Some(current), previous, None) => Ok(NonceSecrets::new(current, previous)?),
        _ => Err(JsError::new("there are one or two nonce secrets")),
    }
}

pub(crate) fn read_demand(text: &str) -> Result<Demand, JsError> {
    let config: DemandConfig = read(text)?;
    Ok(Demand {
        all_of: asked(config.all_of)?,
        any_of: asked(config.any_of)?,
        issuers: config.issuers,
        audience: config.audience,
        stale_if_error: config.stale_if_error.map(|duration| duration.0),
    })
}

/// A scope that is asked for: one that is written and empty asks for nothing.
fn asked(scope: Option<Vec<String>>) -> Result<Scope, JsError> {
    match scope {
        None => Ok(Scope::default()),
        Some(tokens) if tokens.is_empty() => {
            Err(JsError::new("allOf and anyOf name a scope token, or are left out"))
        }
        Some(tokens) => Ok(Scope::try_from(tokens)?),
    }
}

pub(crate) fn read_request(text: &str) -> Result<Request, JsError> {
    let request: RequestText = read(text)?;
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
                    .ok_or_else(|| JsError::new("certificateSha256 is 64 hexadecimal digits"))?,
            ),
        },
    })
}
