//! The probe, for JavaScript hosts.

use edgepass_web::crypto::WebCrypto;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

/// The files that there are, in JSON.
#[wasm_bindgen]
pub fn files() -> String {
    serde_json::to_string(&edgepass_probe::FILES).unwrap_or_default()
}

/// Judge one file; resolves to its report in JSON.
#[wasm_bindgen]
pub fn run(name: String, text: String) -> Promise {
    future_to_promise(async move {
        let report = edgepass_probe::run(&name, &text, &WebCrypto::default()).await;
        Ok(serde_json::to_string(&report).unwrap_or_default().into())
    })
}
