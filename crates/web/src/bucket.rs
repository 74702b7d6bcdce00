//! Documents from an R2 bucket that is bound to the Worker. Reads are strongly consistent. They
//! need no request to a hostname, which suits a Worker that cannot fetch from its own hostname.
//!
//! Source: [R2 Workers
//! API](https://developers.cloudflare.com/r2/api/workers/workers-api-reference/).

use edgepass_verify::documents::fetch::{Content, Failure, FetchOrder, media_type};
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::dictionary::object;
use crate::stream::{Stream, read_stream};

#[wasm_bindgen]
extern "C" {
    type R2Bucket;
    #[wasm_bindgen(method, catch)]
    fn get(this: &R2Bucket, key: &str, options: &JsValue) -> Result<Promise, JsValue>;

    type R2Object;
    #[wasm_bindgen(method, getter)]
    fn etag(this: &R2Object) -> String;
    #[wasm_bindgen(method, getter)]
    fn body(this: &R2Object) -> Option<Stream>;
    #[wasm_bindgen(method, getter, js_name = httpMetadata)]
    fn http_metadata(this: &R2Object) -> Option<HttpMetadata>;

    type HttpMetadata;
    #[wasm_bindgen(method, getter, js_name = contentType)]
    fn content_type(this: &HttpMetadata) -> Option<String>;
}

/// An R2 binding, and the URL under which its objects are published.
pub struct Bucket {
    binding: JsValue,
    base: String,
}

impl Bucket {
    /// Creates a source of the objects below `base`, a URL without a trailing slash. The rest of a
    /// document's URL is the object's key.
    pub fn new(binding: JsValue, base: String) -> Self {
        Self { binding, base }
    }

    /// Whether a document at this URL may be in the bucket.
    pub fn may_hold(&self, url: &str) -> bool {
        let rest = url.strip_prefix(&self.base);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Reads the object that an order names. A missing object, or a URL that is not below the base,
    /// is a failed fetch.
    pub(crate) async fn get(&self, order: &FetchOrder) -> Result<Content, JsValue> {
        // A query is for caches, of which there are none.
        let url = order.url.split('?').next().unwrap_or_default();
        let key = url.strip_prefix(&self.base).and_then(|path| path.strip_prefix('/'));
        let Some(key) = key else { return Ok(Content::Failed(Failure::Unknown)) };
        let unless = match &order.etag {
            Some(etag) => object(&[("etagDoesNotMatch", etag.as_str().into())])?,
            None => JsValue::UNDEFINED,
        };
        let options = object(&[("onlyIf", unless)])?;
        let bucket: &R2Bucket = self.binding.unchecked_ref();
        let found = JsFuture::from(bucket.get(key, &options)?).await?;
        if found.is_null() {
            return Ok(Content::Failed(Failure::Status(404)));
        }
        let found: R2Object = found.unchecked_into();
        // No body means that the condition failed: the held copy is current.
        let Some(body) = found.body() else { return Ok(Content::NotModified) };
        let bytes = read_stream(&body, order.max_bytes).await?;
        Ok(bytes.map_or(Content::TooLarge, |bytes| Content::Body {
            bytes,
            media_type: found
                .http_metadata()
                .and_then(|m| m.content_type())
                .map(|t| media_type(&t)),
            etag: Some(found.etag()),
        }))
    }
}
