//! The Cache API as a tier between isolates: an optimisation, never a premise.
//!
//! An entry says when its document was confirmed at the source; reading it confirms nothing. Lists
//! are verified again on reading.

use edgepass_verify::UnixMillis;
use edgepass_verify::documents::fetch::{Answer, AnsweredBy, Content, FetchOrder, media_type};
use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::dictionary::object;
use crate::fetch::{Response, header, read};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = caches, js_name = open, catch)]
    fn open(name: &str) -> Result<Promise, JsValue>;

    type Cache;
    #[wasm_bindgen(method, js_name = match, catch)]
    fn find(this: &Cache, url: &str) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn put(this: &Cache, url: &str, response: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_name = Response)]
    type NewResponse;
    #[wasm_bindgen(constructor, js_class = "Response", catch)]
    fn new(body: &Uint8Array, init: &JsValue) -> Result<NewResponse, JsValue>;
}

/// A document as an entry holds it.
pub(crate) struct Entry {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) confirmed_at: UnixMillis,
}

/// The entry for an order's document, as an answer. Any failure is a miss.
pub(crate) async fn restore(order: &FetchOrder, now: UnixMillis) -> Option<Answer> {
    // A time that lies ahead was written by another clock, or by somebody else: a miss.
    let entry = get(order).await.ok().flatten().filter(|entry| entry.confirmed_at <= now)?;
    Some(Answer {
        from: AnsweredBy::Cache,
        confirmed_at: entry.confirmed_at,
        dated: None,
        content: Content::Body {
            bytes: entry.bytes,
            media_type: entry.media_type,
            etag: entry.etag,
        },
    })
}

/// Keep what the source confirmed. A failure costs another isolate a fetch, nothing else.
pub(crate) async fn keep(order: FetchOrder, entry: Entry) {
    let _ = store(&order, &entry).await;
}

/// The source said that the entry is still current.
pub(crate) async fn confirm(order: FetchOrder, confirmed_at: UnixMillis) {
    if let Ok(Some(entry)) = get(&order).await
        && entry.etag == order.etag
        && entry.confirmed_at < confirmed_at
    {
        let _ = store(&order, &Entry { confirmed_at, ..entry }).await;
    }
}

async fn get(order: &FetchOrder) -> Result<Option<Entry>, JsValue> {
    let cache = cache().await?;
    let found = JsFuture::from(cache.find(&order.uri)?).await?;
    if found.is_undefined() {
        return Ok(None);
    }
    let response: Response = found.unchecked_into();
    let headers = response.headers();
    let confirmed_at = header(&headers, CONFIRMED_AT).and_then(|text| text.parse().ok());
    let (Some(confirmed_at), Some(bytes)) = (confirmed_at, read(&response, order.max_bytes).await?)
    else {
        return Ok(None);
    };
    Ok(Some(Entry {
        bytes,
        media_type: header(&headers, "content-type").map(|text| media_type(&text)),
        etag: header(&headers, ETAG),
        confirmed_at: UnixMillis(confirmed_at),
    }))
}

async fn store(order: &FetchOrder, entry: &Entry) -> Result<(), JsValue> {
    let mut headers = vec![
        (CONFIRMED_AT, JsValue::from(entry.confirmed_at.0.to_string())),
        ("cache-control", format!("max-age={MAX_AGE}").into()),
    ];
    if let Some(media_type) = &entry.media_type {
        headers.push(("content-type", media_type.as_str().into()));
    }
    if let Some(etag) = &entry.etag {
        headers.push((ETAG, etag.as_str().into()));
    }
    let init = object(&[("headers", object(&headers)?)])?;
    let response = NewResponse::new(&Uint8Array::from(entry.bytes.as_slice()), &init)?;
    JsFuture::from(cache().await?.put(&order.uri, &response)?).await?;
    Ok(())
}

async fn cache() -> Result<Cache, JsValue> {
    if Reflect::get(&js_sys::global(), &"caches".into())?.is_undefined() {
        return Err(JsValue::UNDEFINED);
    }
    Ok(JsFuture::from(open("edgepass")?).await?.unchecked_into())
}

/// When the document was confirmed, in milliseconds since the epoch.
const CONFIRMED_AT: &str = "x-edgepass-confirmed-at";
/// The source's entity tag, under a name that the cache itself does not act upon.
const ETAG: &str = "x-edgepass-etag";
/// Seconds; as long as a list may live. What is used is decided by `confirmed_at`.
const MAX_AGE: u32 = 3600;
