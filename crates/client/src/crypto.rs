//! The native host of the verifier: HTTP by reqwest, ECDSA and RSA by aws-lc-rs.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use edgepass_crypto::sec1;
use edgepass_jose::{Algorithm, PublicKey};
use edgepass_verify::UnixMillis;
use edgepass_verify::checks::dpop::replay::{ProofUse, Replay, ReplayMemory};
use edgepass_verify::documents::fetch::{Answer, Body, FetchOrder, ResponseHead};
use edgepass_verify::host::{Host, HostCrypto, Later};
use edgepass_verify::signature::SignatureRequest;
use reqwest::header::{
    ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, DATE, ETAG, EXPIRES, HeaderName, IF_NONE_MATCH,
    LOCATION,
};
use reqwest::{Client, Response};

/// Fetches documents for a [`NativeHost`].
pub trait Fetch {
    /// Fetches the document that an order names. A failure is an [`Answer`] too.
    fn fetch(&self, order: &FetchOrder) -> impl Future<Output = Answer>;
}

/// Native host with the fetcher `F` and the clock `N`.
pub struct NativeHost<F, N> {
    /// The fetcher. Public, so that callers can read its records after a check.
    pub fetch: F,
    now: N,
    replay: RefCell<ReplayMemory>,
}

impl<F: Fetch, N: Fn() -> UnixMillis> NativeHost<F, N> {
    /// Creates a host that remembers no DPoP proofs yet.
    pub fn new(fetch: F, now: N) -> Self {
        Self { fetch, now, replay: RefCell::default() }
    }
}

impl<F, N> HostCrypto for NativeHost<F, N> {
    fn check<'a>(&'a self, request: &'a SignatureRequest) -> Later<'a, bool> {
        NativeCrypto.check(request)
    }
}

impl<F: Fetch, N: Fn() -> UnixMillis> Host for NativeHost<F, N> {
    fn now(&self) -> UnixMillis {
        (self.now)()
    }

    fn fetch<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, Answer> {
        Box::pin(self.fetch.fetch(order))
    }

    fn first_use(&self, used: ProofUse) -> Later<'_, Replay> {
        Box::pin(ready(self.replay.borrow_mut().first_use(&used, self.now())))
    }

    fn sleep(&self, time: Duration) -> Later<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// ECDSA and RSA by aws-lc-rs.
pub struct NativeCrypto;

impl HostCrypto for NativeCrypto {
    fn check<'a>(&'a self, request: &'a SignatureRequest) -> Later<'a, bool> {
        Box::pin(ready(check_signature(request)))
    }
}

/// Checks an ECDSA or RSA signature. Returns `false` for other keys, such as Ed25519 keys.
pub fn check_signature(request: &SignatureRequest) -> bool {
    let (input, signature) = (request.signing_input(), request.signature());
    match request.key.key() {
        PublicKey::P256 { x, y } => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, sec1(x, y))
            .verify(input, signature)
            .is_ok(),
        PublicKey::P384 { x, y } => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, sec1(x, y))
            .verify(input, signature)
            .is_ok(),
        PublicKey::Rsa { n, e } => rsa(request.key.algorithm()).is_some_and(|parameters| {
            RsaPublicKeyComponents { n, e }.verify(parameters, input, signature).is_ok()
        }),
        _ => false,
    }
}

/// Padding and hash of an RSA algorithm. For PSS the salt is as long as the hash (RFC 7518 §3.5).
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// What the program's requests say of it.
pub(crate) const USER_AGENT: &str = concat!("edgepass/", env!("CARGO_PKG_VERSION"));

/// Fetches over HTTP. Follows no redirects and makes caches revalidate (`no-cache`). The order sets
/// the limits of time and size.
pub struct HttpFetch {
    client: Client,
    now: fn() -> UnixMillis,
}

impl HttpFetch {
    /// Creates a fetcher with its own HTTP client. `now` is the clock that dates requests.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(now: fn() -> UnixMillis) -> reqwest::Result<Self> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
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
        let mut response = request.send().await?;
        let head = head(&response);
        let body = match head.carries_document() {
            true => bounded(&mut response, order.max_bytes).await.into(),
            false => Body::None,
        };
        Ok(head.answer(body, sent_at))
    }
}

impl Fetch for HttpFetch {
    async fn fetch(&self, order: &FetchOrder) -> Answer {
        let sent_at = (self.now)();
        self.get(order, sent_at).await.unwrap_or_else(|_| Answer::failed(sent_at))
    }
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
    let time = |date: String| {
        let time = httpdate::parse_http_date(&date).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(UnixMillis::from_seconds(time.as_secs()))
    };
    ResponseHead {
        status: response.status().as_u16(),
        age: joined(AGE),
        date: field(DATE).and_then(time),
        cache_control: joined(CACHE_CONTROL),
        expires: field(EXPIRES).map(|date| time(date).unwrap_or(UnixMillis(0))),
        location: field(LOCATION),
        content_type: field(CONTENT_TYPE),
        etag: field(ETAG),
    }
}

/// Reads a body. Returns `None` if it is longer than `max_bytes`.
pub(crate) async fn bounded(
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

/// Size limit of a response that `doctor` or `serve` fetches, in bytes. No document of an issuer is
/// that large.
pub(crate) const MAX_DOCUMENT: usize = 4 << 20;
