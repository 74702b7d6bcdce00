//! Exports the probe to JavaScript hosts.

use edgepass_web::crypto::WebCrypto;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

/// Returns the names of the files that the probe judges, as JSON.
#[wasm_bindgen]
pub fn files() -> String {
    serde_json::to_string(&edgepass_probe::FILES).unwrap_or_default()
}

/// Judges one file. The promise resolves to the report as JSON.
#[wasm_bindgen]
pub fn run(name: String, text: String) -> Promise {
    future_to_promise(async move {
        let report = edgepass_probe::run(&name, &text, &WebCrypto::default()).await;
        Ok(serde_json::to_string(&report).unwrap_or_default().into())
    })
}
