//! Judges the lines of a batch, for `verifyBatch`.

use std::cell::RefCell;
use std::rc::Rc;

use edgepass_verify::batch::Batch;
use edgepass_web::crypto::WebCrypto;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

/// Judges the lines of a batch (docs/batch.md), one at a time.
#[wasm_bindgen]
pub struct BatchCore(Rc<State>);

struct State {
    /// `None` while a line is being judged.
    batch: RefCell<Option<Batch>>,
    crypto: WebCrypto,
}

#[wasm_bindgen]
impl BatchCore {
    /// Creates a batch without sessions.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        let batch = RefCell::new(Some(Batch::default()));
        Self(Rc::new(State { batch, crypto: WebCrypto::default() }))
    }

    /// Judges a line. Resolves to its answer in JSON; rejects while another line is being judged.
    pub fn judge(&self, line: String) -> Promise {
        let state = Rc::clone(&self.0);
        future_to_promise(async move {
            let mut batch = state
                .batch
                .take()
                .ok_or_else(|| JsError::new("await the answer to a line before the next"))?;
            let answer = batch.judge(&line, &state.crypto).await;
            state.batch.replace(Some(batch));
            let text = serde_json::to_string(&answer)
                .map_err(|_| JsError::new("the answer cannot be written as JSON"))?;
            Ok(text.into())
        })
    }
}
