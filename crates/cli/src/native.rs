//! The native host of the verifier: HTTP by reqwest, ECDSA and RSA by aws-lc-rs.

use std::future::Future;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use edgepass_crypto::sec1;
use edgepass_jose::{Algorithm, PublicKey};
use edgepass_verify::batch::HostCrypto;
use edgepass_verify::checks::dpop::replay::ReplayMemory;
use edgepass_verify::documents::fetch::{
    Answer, AnsweredBy, Content, Dated, FetchOrder, age, is_redirect, is_success, media_type,
};
use edgepass_verify::signature::SignatureRequest;
use edgepass_verify::verifier::{Landed, Progress, Verifier};
use edgepass_verify::{Check, UnixMillis, Verdict};
use reqwest::header::{
    ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, DATE, ETAG, HeaderMap, IF_NONE_MATCH, LOCATION,
};
use reqwest::{Client, Response, StatusCode};

/// How the host fetches.
pub trait Fetch {
    /// Carry an order out. A failure is an answer, too.
    fn fetch(&self, order: &FetchOrder) -> impl Future<Output = Answer>;
}

/// Take a check to its verdict, doing what the verifier asks for on the way. Revalidations that
/// are due are carried out before the verdict is returned.
pub async fn judge(
    verifier: &mut Verifier,
    mut check: Check,
    fetch: &impl Fetch,
    replay: &mut ReplayMemory,
    now: impl Fn() -> UnixMillis,
) -> Verdict {
    loop {
        match verifier.advance(&mut check, now()) {
            Progress::Decided(mut verdict) => {
                for order in std::mem::take(&mut verdict.refresh) {
                    carry_out(verifier, order, fetch, &now).await;
                }
                return verdict;
            }
            Progress::Fetch(order) => carry_out(verifier, order, fetch, &now).await,
            Progress::CheckSignature(request) => check.signature_checked(check_signature(&request)),
            Progress::CheckReplay(used) => check.replay_checked(replay.first_use(&used, now())),
            Progress::Wait(time) => tokio::time::sleep(time).await,
        }
    }
}

async fn carry_out(
    verifier: &mut Verifier,
    mut order: FetchOrder,
    fetch: &impl Fetch,
    now: impl Fn() -> UnixMillis,
) {
    loop {
        let answer = fetch.fetch(&order).await;
        match verifier.land(order, answer, now()) {
            Landed::Fetch(next) => order = next,
            Landed::CheckSignature(request, pending) => {
                verifier.list_signature_checked(*pending, check_signature(&request), now());
                return;
            }
            Landed::Settled { .. } => return,
        }
    }
}

/// This host's crypto.
pub struct NativeCrypto;

impl HostCrypto for NativeCrypto {
    async fn check(&self, request: &SignatureRequest) -> bool {
        check_signature(request)
    }
}

/// Check an ECDSA or RSA signature.
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

/// Padding and hash of an algorithm; for PSS the salt is as long as the hash (RFC 7518 §3.5).
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

/// Fetching over HTTP: no redirects, no cache, bounded in time and size.
pub struct HttpFetch {
    client: Client,
    now: fn() -> UnixMillis,
}

impl HttpFetch {
    /// A client of its own.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(now: fn() -> UnixMillis) -> reqwest::Result<Self> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("edgepass/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, now })
    }

    async fn get(&self, order: &FetchOrder) -> reqwest::Result<Received> {
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
        // Several `Age` lines are one list (RFC 9110 §5.3).
        let ages: Vec<&str> =
            response.headers().get_all(AGE).iter().filter_map(|age| age.to_str().ok()).collect();
        let ages = (!ages.is_empty()).then(|| ages.join(","));
        let Some(age) = age(ages.as_deref()) else { return Ok(Received::default()) };
        let date = text(response.headers(), DATE.as_str());
        let date = date.and_then(|date| httpdate::parse_http_date(&date).ok());
        let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        let date = date.map(|date| UnixMillis::from_seconds(date.as_secs()));
        let content = match response.status() {
            StatusCode::NOT_MODIFIED => Content::NotModified,
            status if is_redirect(status.as_u16()) => {
                match text(response.headers(), LOCATION.as_str()) {
                    Some(location) => Content::Redirect { location },
                    None => Content::Failed,
                }
            }
            status if is_success(status.as_u16()) => {
                let content_type = text(response.headers(), CONTENT_TYPE.as_str());
                let etag = text(response.headers(), ETAG.as_str());
                let Some(bytes) = bounded(&mut response, order.max_bytes).await? else {
                    return Ok(Received { content: Content::TooLarge, ..Received::default() });
                };
                let media_type = content_type.map(|text| media_type(&text));
                Content::Body { bytes, media_type, etag }
            }
            _ => Content::Failed,
        };
        Ok(Received { age, date, content })
    }
}

impl Fetch for HttpFetch {
    async fn fetch(&self, order: &FetchOrder) -> Answer {
        let sent_at = (self.now)();
        let Received { age, date, content } = self.get(order).await.unwrap_or_default();
        let dated = date.map(|date| Dated { date, sent_at });
        Answer { from: AnsweredBy::Source, confirmed_at: sent_at.minus(age), content, dated }
    }
}

/// A body, or `None` when it is longer than `max_bytes`.
pub(crate) async fn bounded(
    response: &mut Response,
    max_bytes: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// More than any document of an issuer has, in bytes.
pub(crate) const MAX_DOCUMENT: usize = 4 << 20;

/// A response, as far as it says something of a document.
#[derive(Default)]
struct Received {
    age: Duration,
    date: Option<UnixMillis>,
    content: Content,
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
