//! Options, requirements and requests, read from the JSON that the TypeScript side writes.

use edgepass_jose::json::parse_object;
use edgepass_verify::checks::RequirementsConfig;
use edgepass_verify::policy::json;
use edgepass_verify::sender::{CertificateThumbprint, Endpoint};
use edgepass_verify::verifier::Verifier;
use edgepass_verify::verifier::config::VerifierConfig;
use edgepass_verify::{Request, Requirements};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsError;

/// A request, as the TypeScript side writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestText {
    authorization: Option<String>,
    dpop: Option<String>,
    query: Option<String>,
    method: String,
    /// The URL as the client sees it; absent without `externalUrl`.
    url: Option<String>,
    /// SHA-256 of the client's certificate, in hexadecimal; empty for none.
    certificate: Option<String>,
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, JsError> {
    Ok(json::read(parse_object(text.as_bytes())?.into())?)
}

/// Makes a verifier from its options.
pub(crate) fn read_trust(text: &str) -> Result<Verifier, JsError> {
    Ok(read::<VerifierConfig>(text)?.try_into()?)
}

pub(crate) fn read_requirements(text: &str) -> Result<Requirements, JsError> {
    Ok(read::<RequirementsConfig>(text)?.try_into()?)
}

pub(crate) fn read_request(text: &str) -> Result<Request, JsError> {
    let request: RequestText = read(text)?;
    let method = request.method;
    Ok(Request {
        authorization: request.authorization,
        dpop: request.dpop,
        query: request.query,
        endpoint: request.url.map(|url| Endpoint { method, url }),
        // Cloudflare reports an empty digest where the client showed no certificate.
        certificate: match request.certificate.filter(|digest| !digest.is_empty()) {
            None => None,
            Some(digest) => {
                Some(CertificateThumbprint::from_hex(&digest).ok_or_else(|| {
                    JsError::new("certificateSha256 must be 64 hexadecimal digits")
                })?)
            }
        },
    })
}
