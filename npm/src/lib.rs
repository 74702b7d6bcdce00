//! The exports of the npm package: JSON in, JSON out, and a promise in between.
//!
//! What a program uses is the TypeScript face in `lib/`; these are its hidden half.

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
mod config;
mod core;
mod replay;
mod verdict;

use edgepass_jose::CompactJws;
use edgepass_verify::error::Step;
use serde_json::json;
use wasm_bindgen::prelude::*;

/// Decode a token without verifying it: header and claims in JSON, or undefined.
#[wasm_bindgen]
pub fn decode(token: &str, max_bytes: usize) -> Option<String> {
    let jws = CompactJws::parse(token, max_bytes).ok()?;
    let claims = jws.claims().ok()?.members();
    Some(json!({ "header": jws.header().members(), "claims": claims }).to_string())
}

/// The module's memory, in which both sides read and write.
#[wasm_bindgen]
pub fn shared_memory() -> JsValue {
    wasm_bindgen::memory()
}

/// The names of the checks, in their order, in JSON.
#[wasm_bindgen]
pub fn steps() -> String {
    json!(Step::ALL.map(Step::name)).to_string()
}
