//! Fetches documents from a [`Source`]: no HTTP cache, no redirects, limits on time and size.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use edgepass_verify::UnixMillis;
use edgepass_verify::documents::fetch::{Answer, Body, Content, FetchOrder, ResponseHead};
use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::bucket::Bucket;
use crate::clock::{Clock, sleep};
use crate::dictionary::object;
use crate::stream::{Stream, read_stream};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn host_fetch(url: &str, init: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = AbortSignal, js_name = timeout, catch)]
    fn abort_after(millis: u32) -> Result<JsValue, JsValue>;

    type Service;
    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Service, url: &str, init: &JsValue) -> Result<Promise, JsValue>;

    /// The members of `Response` that are used here.
    pub(crate) type Response;
    #[wasm_bindgen(method, getter)]
    fn status(this: &Response) -> u16;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn headers(this: &Response) -> Headers;
    #[wasm_bindgen(method, getter)]
    fn body(this: &Response) -> Option<Stream>;

    pub(crate) type Headers;
    #[wasm_bindgen(method, catch)]
    fn get(this: &Headers, name: &str) -> Result<Option<String>, JsValue>;
}

/// Source of documents.
pub enum Source {
    /// The global `fetch` of the host.
    Host,
    /// A `fetch` function that the caller provides.
    Own(Function),
    /// An object with a method `fetch`, such as a service binding.
    Service(JsValue),
    /// An R2 bucket that is bound to the Worker.
    Bucket(Bucket),
}

/// Fetches the document that an order names. A failure is returned as [`Answer::failed`].
pub(crate) async fn fetch(order: &FetchOrder, source: &Source, clock: Clock) -> Answer {
    let sent_at = clock.now();
    let answer = match source {
        Source::Bucket(bucket) => {
            let got = in_time(bucket.get(order), order.timeout).await;
            let content = got.unwrap_or(Ok(Content::Failed));
            content.map(|content| Answer { content, ..Answer::failed(sent_at) })
        }
        _ => get(order, source, sent_at).await,
    };
    answer.unwrap_or_else(|_| Answer::failed(sent_at))
}

/// Awaits `work` for at most `timeout`; returns `None` after that. For calls that take no abort
/// signal.
async fn in_time<T>(work: impl Future<Output = T>, timeout: Duration) -> Option<T> {
    let (mut work, mut timer) = (pin!(work), pin!(sleep(timeout)));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => timer.as_mut().poll(context).map(|()| None),
    })
    .await
}

async fn get(order: &FetchOrder, source: &Source, sent_at: UnixMillis) -> Result<Answer, JsValue> {
    let init = init(order)?;
    let promise = match source {
        Source::Own(fetch) => {
            fetch.call2(&JsValue::UNDEFINED, &order.url.as_str().into(), &init)?
        }
        Source::Service(service) => {
            let service: &Service = service.unchecked_ref();
            service.fetch(&order.url, &init)?.into()
        }
        Source::Host | Source::Bucket(_) => host_fetch(&order.url, &init)?.into(),
    };
    let response: Response = JsFuture::from(Promise::resolve(&promise)).await?.unchecked_into();
    let headers = response.headers();
    let field = |name| header(&headers, name);
    let time = |name| {
        // Milliseconds since the epoch, or NaN.
        let millis = field(name).map(|date| js_sys::Date::parse(&date));
        millis.map(|millis| (millis >= 0.0).then_some(UnixMillis(millis as u64)))
    };
    let head = ResponseHead {
        status: response.status(),
        age: field("age"),
        date: time("date").flatten(),
        cache_control: field("cache-control"),
        expires: time("expires").map(|time| time.unwrap_or(UnixMillis(0))),
        location: field("location"),
        content_type: field("content-type"),
        etag: field("etag"),
    };
    let body = match head.carries_document() {
        true => read(&response, order.max_bytes).await.into(),
        false => Body::None,
    };
    Ok(head.answer(body, sent_at))
}

/// Reads the body, empty if there is none. Returns `None` if it is longer than `max_bytes`.
pub(crate) async fn read(
    response: &Response,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, JsValue> {
    match response.body() {
        Some(stream) => read_stream(&stream, max_bytes).await,
        None => Ok(Some(Vec::new())),
    }
}

pub(crate) fn header(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).ok().flatten()
}

fn init(order: &FetchOrder) -> Result<JsValue, JsValue> {
    let mut headers = vec![("accept", JsValue::from(order.document.accept()))];
    if let Some(etag) = &order.etag {
        headers.push(("if-none-match", etag.as_str().into()));
    }
    let millis = u32::try_from(order.timeout.as_millis()).unwrap_or(u32::MAX);
    object(&[
        ("headers", object(&headers)?),
        ("cache", "no-store".into()),
        ("redirect", "manual".into()),
        ("signal", abort_after(millis)?),
    ])
}
