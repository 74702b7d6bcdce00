//! Fetches documents from a [`Source`]: no HTTP cache, no redirects, limits on time and size.

use edgepass_verify::UnixMillis;
use edgepass_verify::documents::fetch::{Answer, Body, Failure, FetchOrder, ResponseHead};
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::bucket::Bucket;
use crate::clock::{Clock, in_time};
use crate::dictionary::object;
use crate::stream::read_stream;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn host_fetch(url: &str, init: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = AbortSignal, js_name = timeout, catch)]
    fn abort_after(millis: u32) -> Result<JsValue, JsValue>;

    type Service;
    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Service, url: &str, init: &JsValue) -> Result<Promise, JsValue>;

    /// The members of `Response` that are used here. A function of the program may return any
    /// value, so each access may throw.
    pub(crate) type Response;
    #[wasm_bindgen(method, getter, catch)]
    fn status(this: &Response) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, getter, catch)]
    pub(crate) fn headers(this: &Response) -> Result<Headers, JsValue>;
    #[wasm_bindgen(method, getter, catch)]
    fn body(this: &Response) -> Result<JsValue, JsValue>;

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

/// What the verifier's requests say, beside the document that they ask for.
#[derive(Clone, Debug)]
pub struct RequestOptions {
    /// The value of `User-Agent`. `None` where a host sets the field itself, as browsers do: there,
    /// another value would cause a preflight.
    pub user_agent: Option<String>,
    /// Whether the host's `fetch` knows `cache: "no-store"`. workerd refuses it with a compatibility
    /// date before 2024-11-11; the request then says `Cache-Control: no-cache`.
    pub has_cache_mode: bool,
    /// A function of the program that is told of refused answers.
    pub on_event: Option<Function>,
}

/// Fetches the document that an order names. If that fails, or if the source does not answer within
/// the order's timeout, returns the answer for a failed request, and what the host threw.
pub(crate) async fn fetch(
    order: &FetchOrder,
    source: &Source,
    options: &RequestOptions,
    clock: Clock,
) -> (Answer, JsValue) {
    let sent_at = clock.now();
    let work = async {
        match source {
            Source::Bucket(bucket) => {
                let content = bucket.get(order).await?;
                Ok(Answer { content, ..Answer::failed(sent_at) })
            }
            _ => get(order, source, options, sent_at).await,
        }
    };
    // The timeout does not depend on whether the source heeds the signal.
    match in_time(work, order.timeout).await {
        Some(Ok(answer)) => (answer, JsValue::UNDEFINED),
        Some(Err(error)) => (Answer::failed_by(failure(&error), sent_at), error),
        None => (Answer::failed_by(Failure::Timeout, sent_at), JsValue::UNDEFINED),
    }
}

/// What the errors of hosts say, by reason: codes of Node.js and Bun, words of Deno and workerd.
const TOLD: [(Failure, &[&str]); 4] = [
    (Failure::Timeout, &["TimeoutError", "ETIMEDOUT", "_TIMEOUT"]),
    (Failure::Dns, &["ENOTFOUND", "EAI_", "dns error", "DNS lookup"]),
    (Failure::Tls, &["CERT", "certificate", "SSL", "TLS"]),
    (
        Failure::Connection,
        &[
            "ECONN",
            "EPIPE",
            "UND_ERR_SOCKET",
            "onnection",
            "FailedToOpenSocket",
            "Unable to connect",
        ],
    ),
];

/// The reason for a failure, by the error that the host threw and by its cause.
fn failure(error: &JsValue) -> Failure {
    let member = |of: &JsValue, name: &str| Reflect::get(of, &name.into()).unwrap_or_default();
    let cause = member(error, "cause");
    let texts = [
        (&cause, "code"),
        (error, "code"),
        (error, "name"),
        (&cause, "message"),
        (error, "message"),
    ];
    let texts = texts.map(|(of, name)| member(of, name).as_string().unwrap_or_default());
    let told = texts.iter().find_map(|text| {
        TOLD.iter().find(|(_, words)| words.iter().any(|word| text.contains(word)))
    });
    told.map_or(Failure::Unknown, |(failure, _)| *failure)
}

async fn get(
    order: &FetchOrder,
    source: &Source,
    options: &RequestOptions,
    sent_at: UnixMillis,
) -> Result<Answer, JsValue> {
    let init = init(order, options)?;
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
    let headers = response.headers()?;
    let field = |name| headers.get(name);
    let time = |name| {
        // Milliseconds since the epoch, or NaN.
        let millis = field(name)?.map(|date| js_sys::Date::parse(&date));
        Ok::<_, JsValue>(millis.map(|millis| (millis >= 0.0).then_some(UnixMillis(millis as u64))))
    };
    let head = ResponseHead {
        status: response.status()?.as_f64().unwrap_or_default() as u16,
        age: field("age")?,
        date: time("date")?.flatten(),
        cache_control: field("cache-control")?,
        expires: time("expires")?.map(|time| time.unwrap_or(UnixMillis(0))),
        location: field("location")?,
        content_type: field("content-type")?,
        etag: field("etag")?,
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
    let body = response.body()?;
    if body.is_null() {
        return Ok(Some(Vec::new()));
    }
    read_stream(&body.unchecked_into(), max_bytes).await
}

pub(crate) fn header(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).ok().flatten()
}

fn init(order: &FetchOrder, options: &RequestOptions) -> Result<JsValue, JsValue> {
    let mut headers = vec![("accept", JsValue::from(order.document.accept()))];
    if let Some(user_agent) = &options.user_agent {
        headers.push(("user-agent", user_agent.as_str().into()));
    }
    if let Some(etag) = &order.etag {
        headers.push(("if-none-match", etag.as_str().into()));
    }
    if let Some(wait) = order.wait {
        headers.push(("prefer", format!("wait={}", wait.as_secs()).into()));
    }
    let mut cache = ("cache", JsValue::from("no-store"));
    if !options.has_cache_mode {
        headers.push(("cache-control", "no-cache".into()));
        cache.1 = JsValue::UNDEFINED;
    }
    let millis = u32::try_from(order.timeout.as_millis()).unwrap_or(u32::MAX);
    object(&[
        ("headers", object(&headers)?),
        cache,
        ("redirect", "manual".into()),
        ("signal", abort_after(millis)?),
    ])
}
