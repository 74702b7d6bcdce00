//! The Wasm exports of the npm package.
//!
//! Programs use the TypeScript side in `lib/`, which calls these.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod batch;
mod config;
mod core;
mod replay;
mod verdict;

use edgepass_jose::CompactJws;
use edgepass_verify::error::Step;
use edgepass_verify::host_ed25519::questions;
use edgepass_verify::signature::SignatureRequest;
use edgepass_web::crypto;
use js_sys::{Array, Uint8Array};
use serde_json::json;
use wasm_bindgen::prelude::*;

/// Decodes a token without verifying it: header and claims in JSON. Undefined when it is longer
/// than `max_bytes` or not a compact JWS of JSON objects.
#[wasm_bindgen]
pub fn decode(token: &str, max_bytes: usize) -> Option<String> {
    let jws = CompactJws::parse(token, max_bytes).ok()?;
    let claims = jws.claims().ok()?.members();
    Some(json!({ "header": jws.header().members(), "claims": claims }).to_string())
}

/// Signatures for the host's Ed25519, as `[JWK, signed bytes, signature, what this crate decides]`.
#[wasm_bindgen]
pub fn ed25519_questions() -> Result<Array, JsValue> {
    let question = |(request, expected): (SignatureRequest, bool)| {
        let bytes = |bytes: &[u8]| JsValue::from(Uint8Array::from(bytes));
        let (input, signature) = (bytes(request.signing_input()), bytes(request.signature()));
        let jwk = crypto::jwk(request.key.key())?;
        Ok::<_, JsValue>(Array::of4(&jwk, &input, &signature, &expected.into()).into())
    };
    let [first, second] = questions().ok_or(JsValue::UNDEFINED)?.map(question);
    Ok(Array::of2(&first?, &second?))
}

/// The module's memory, which Rust and JavaScript both read and write.
#[wasm_bindgen]
pub fn shared_memory() -> JsValue {
    wasm_bindgen::memory()
}

/// The names of the steps of a check, in order, as a JSON array.
#[wasm_bindgen]
pub fn steps() -> String {
    json!(Step::ALL.map(Step::name)).to_string()
}
