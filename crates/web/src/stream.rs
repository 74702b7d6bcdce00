//! Reads a body up to a size limit.

use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    pub(crate) type Stream;
    #[wasm_bindgen(method, js_name = getReader, catch)]
    fn reader(this: &Stream) -> Result<Reader, JsValue>;

    type Reader;
    #[wasm_bindgen(method, catch)]
    fn read(this: &Reader) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn cancel(this: &Reader) -> Result<Promise, JsValue>;

    type Chunk;
    #[wasm_bindgen(method, getter, catch)]
    fn done(this: &Chunk) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, getter, catch)]
    fn value(this: &Chunk) -> Result<JsValue, JsValue>;
}

/// Reads a whole stream. Returns `None` if it is longer than `max_bytes`. An object that is no
/// stream of bytes is an error.
pub(crate) async fn read_stream(
    stream: &Stream,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, JsValue> {
    let reader = stream.reader()?;
    let mut bytes = Vec::new();
    loop {
        let chunk: Chunk = JsFuture::from(reader.read()?).await?.unchecked_into();
        if chunk.done()?.is_truthy() {
            return Ok(Some(bytes));
        }
        let value: Uint8Array = chunk.value()?.dyn_into()?;
        if bytes.len().saturating_add(value.length() as usize) > max_bytes {
            // The document is refused even if the cancellation fails.
            let _ = reader.cancel();
            return Ok(None);
        }
        bytes.extend(value.to_vec());
    }
}
