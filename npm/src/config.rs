//! Options, requirements and requests, read from the JSON that the TypeScript side writes.

use edgepass_jose::json::parse_object;
use edgepass_verify::checks::RequirementsConfig;
use edgepass_verify::policy::json;
use edgepass_verify::sender::RequestConfig;
use edgepass_verify::verifier::Verifier;
use edgepass_verify::verifier::config::VerifierConfig;
use edgepass_verify::{Request, Requirements};
use serde::de::DeserializeOwned;
use wasm_bindgen::JsError;

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
    let request = Request::try_from(read::<RequestConfig>(text)?);
    request.map_err(|_| JsError::new("certificateSha256 must be 64 hexadecimal digits"))
}
