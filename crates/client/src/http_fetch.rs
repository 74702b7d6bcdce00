//! Fetches documents over HTTP.

use std::error::Error;
use std::future::Future;
use std::time::UNIX_EPOCH;

use edgepass_verify::UnixMillis;
use edgepass_verify::documents::fetch::{Answer, Body, Failure, FetchOrder, ResponseHead};
use reqwest::Response;
use reqwest::header::{
    ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, DATE, ETAG, EXPIRES, HeaderName, IF_NONE_MATCH,
    LOCATION,
};

/// Fetches documents for a verifier.
pub trait Fetch {
    /// Fetches the document that an order names. A failure is an [`Answer`] too.
    fn fetch(&self, order: &FetchOrder) -> impl Future<Output = Answer>;
}

/// `User-Agent` of requests, unless the program sets its own.
pub const USER_AGENT: &str = concat!("edgepass/", env!("CARGO_PKG_VERSION"));

/// Fetches over HTTP. Follows no redirects and makes caches revalidate (`no-cache`). The order sets
/// the limits of time and size.
pub struct HttpFetch {
    client: reqwest::Client,
    now: fn() -> UnixMillis,
}

impl HttpFetch {
    /// Creates a fetcher with its own HTTP client. `now` is the clock that dates requests, and
    /// `user_agent` is the value of `User-Agent`.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up, or `user_agent` is no field value.
    pub fn new(now: fn() -> UnixMillis, user_agent: &str) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(user_agent)
            .build()?;
        Ok(Self { client, now })
    }

    async fn get(&self, order: &FetchOrder, sent_at: UnixMillis) -> reqwest::Result<Answer> {
        let mut request = self
            .client
            .get(&order.url)
            .timeout(order.timeout)
            .header(ACCEPT, order.document.accept())
            .header(CACHE_CONTROL, "no-cache");
        if let Some(etag) = &order.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(wait) = order.wait {
            request = request.header("prefer", format!("wait={}", wait.as_secs()));
        }
        let mut response = request.send().await?;
        let head = head(&response);
        let body = match head.carries_document() {
            true => match bounded(&mut response, order.max_bytes).await? {
                Some(bytes) => Body::Whole(bytes),
                None => Body::TooLarge,
            },
            false => Body::None,
        };
        Ok(head.answer(body, sent_at))
    }
}

impl Fetch for HttpFetch {
    async fn fetch(&self, order: &FetchOrder) -> Answer {
        let sent_at = (self.now)();
        let answer = self.get(order, sent_at).await;
        answer.unwrap_or_else(|error| Answer::failed_by(failure(&error), sent_at))
    }
}

/// The reason for which a request failed. reqwest tells a timeout and a failure to connect; the
/// errors inside tell of names and certificates. The text of the outermost one holds the URL.
fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout;
    }
    let mut inside = error.source();
    while let Some(error) = inside {
        let text = error.to_string();
        if text.contains("dns error") {
            return Failure::Dns;
        }
        if text.contains("certificate") || text.contains("TLS") || text.contains("tls") {
            return Failure::Tls;
        }
        inside = error.source();
    }
    if error.is_connect() { Failure::Connection } else { Failure::Unknown }
}

fn head(response: &Response) -> ResponseHead {
    let headers = response.headers();
    let field = |name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let joined = |name: HeaderName| {
        let values = headers.get_all(name);
        let values: Vec<&str> = values.iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    ResponseHead {
        status: response.status().as_u16(),
        age: joined(AGE),
        date: date(response),
        cache_control: joined(CACHE_CONTROL),
        expires: field(EXPIRES).map(|date| time(&date).unwrap_or(UnixMillis(0))),
        location: field(LOCATION),
        content_type: field(CONTENT_TYPE),
        etag: field(ETAG),
    }
}

/// The field `Date`, in whole seconds.
#[must_use]
pub fn date(response: &Response) -> Option<UnixMillis> {
    time(response.headers().get(DATE)?.to_str().ok()?)
}

fn time(date: &str) -> Option<UnixMillis> {
    let time = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMillis::from_seconds(time.as_secs()))
}

/// Reads a body. Returns `None` if it is longer than `max_bytes`.
///
/// # Errors
///
/// The connection breaks, or the request's timeout passes.
pub async fn bounded(
    response: &mut Response,
    max_bytes: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len().saturating_add(chunk.len()) > max_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}
