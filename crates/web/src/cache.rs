//! The Cache API as a shared cache between isolates. It is optional: any failure is a miss.
//!
//! An entry stores when its document was confirmed at the source. Reading the entry does not
//! confirm the document. The verifier checks the signature of a list again after reading; a JWK Set
//! is trusted.

use std::time::Duration;

use edgepass_verify::UnixMillis;
use edgepass_verify::documents::fetch::{Answer, AnsweredBy, Content, FetchOrder, media_type};
use edgepass_verify::verifier::HeldTimes;
use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::clock::in_time;
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

/// A document in the cache.
pub(crate) struct Entry {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) held: HeldTimes,
}

/// Returns the entry for an order's document as an answer, or `None` for a miss or a failure.
pub(crate) async fn restore(order: &FetchOrder, now: UnixMillis) -> Option<Answer> {
    // A confirmation time in the future comes from another clock or another program: a miss.
    // A cache that does not answer is a miss, too.
    let found = in_time(get(order), order.timeout).await?.ok().flatten();
    let entry = found.filter(|entry| entry.held.confirmed_at <= now)?;
    Some(Answer {
        from: AnsweredBy::Cache,
        fresh_for: entry.held.fresh_for,
        content: Content::Body {
            bytes: entry.bytes,
            media_type: entry.media_type,
            etag: entry.etag,
        },
        ..Answer::failed(entry.held.confirmed_at)
    })
}

/// Stores a document that the source confirmed. If this fails, another isolate fetches the document
/// itself.
pub(crate) async fn keep(order: FetchOrder, entry: Entry) {
    let _ = store(&order, &entry).await;
}

/// After a 304, moves the confirmation time of the entry forward, if the entry has the order's
/// entity tag. Never moves it back.
pub(crate) async fn confirm(order: FetchOrder, held: HeldTimes) {
    if let Ok(Some(entry)) = get(&order).await
        && entry.etag == order.etag
        && entry.held.confirmed_at < held.confirmed_at
    {
        let _ = store(&order, &Entry { held, ..entry }).await;
    }
}

async fn get(order: &FetchOrder) -> Result<Option<Entry>, JsValue> {
    let cache = cache().await?;
    let found = JsFuture::from(cache.find(&order.uri)?).await?;
    if found.is_undefined() {
        return Ok(None);
    }
    let response: Response = found.unchecked_into();
    let headers = response.headers()?;
    let number = |name| header(&headers, name)?.parse().ok();
    let confirmed_at = number(CONFIRMED_AT);
    let (Some(confirmed_at), Some(bytes)) = (confirmed_at, read(&response, order.max_bytes).await?)
    else {
        return Ok(None);
    };
    Ok(Some(Entry {
        bytes,
        media_type: header(&headers, "content-type").map(|text| media_type(&text)),
        etag: header(&headers, ETAG),
        held: HeldTimes {
            confirmed_at: UnixMillis(confirmed_at),
            fresh_for: number(FRESH_FOR).map(Duration::from_millis),
        },
    }))
}

async fn store(order: &FetchOrder, entry: &Entry) -> Result<(), JsValue> {
    let mut headers = vec![
        (CONFIRMED_AT, JsValue::from(entry.held.confirmed_at.0.to_string())),
        ("cache-control", format!("max-age={MAX_AGE}").into()),
    ];
    if let Some(fresh_for) = entry.held.fresh_for {
        let millis = fresh_for.as_millis() as u64;
        headers.push((FRESH_FOR, millis.to_string().into()));
    }
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

/// Header field of an entry: the confirmation time, in milliseconds since the epoch.
const CONFIRMED_AT: &str = "x-edgepass-confirmed-at";
/// Header field of an entry: the freshness lifetime by HTTP, in milliseconds from the confirmation.
const FRESH_FOR: &str = "x-edgepass-fresh-for";
/// Header field of an entry: the source's entity tag, under a name that the Cache API ignores.
const ETAG: &str = "x-edgepass-etag";
/// The `max-age` of an entry in the Cache API, in seconds: `exp - iat` of an Edgepass issuer's
/// lists. It limits storage only; the age of a copy is counted from [`CONFIRMED_AT`].
const MAX_AGE: u32 = 3600;
