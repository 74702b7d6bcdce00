//! A verifier with everything that it needs from its process.

use std::future::{Future, pending, poll_fn};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use edgepass_verify::checks::RequirementsError;
use edgepass_verify::documents::fetch::FetchOrder;
use edgepass_verify::host::{Host, Shared, carry_out, judge, watch_on};
use edgepass_verify::native::check_signature;
use edgepass_verify::policy::{OneOrMany, PolicyError};
use edgepass_verify::verifier::{Counters, KeySource};
use edgepass_verify::{
    Check, Policy, PolicyConfig, Request, Requirements, Sender, UnixMillis, Verdict, Verifier,
};

use crate::host::{NativeHost, now};
use crate::http_fetch::{HttpFetch, USER_AGENT};

/// Verifies tokens in a server that runs on tokio. Clones share keys, status lists and verified
/// tokens, so make one client and clone it.
///
/// A check awaits the network only where the verifier holds no copy that it may use. Refreshes,
/// tables of keys and prefetched lists run in tasks of their own. No lock is held across an await.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    verifier: Mutex<Verifier>,
    host: NativeHost<HttpFetch, fn() -> UnixMillis>,
    external_url: Option<String>,
    /// Whether a task does [`Inner::work`].
    works: AtomicBool,
}

/// The reason why a [`Client`] cannot be made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The policy is not acceptable.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The external URL is not a scheme and an authority, such as `https://api.example`.
    #[error("the external URL must be a scheme and an authority, without a slash at the end")]
    ExternalUrl,
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Http(#[from] reqwest::Error),
}

/// What a [`Client`] is made of.
pub struct ClientBuilder {
    verifier: Verifier,
    external_url: Option<String>,
    user_agent: String,
}

impl ClientBuilder {
    /// Sets scheme and authority of this API as its clients see them, such as
    /// `https://api.example`. A DPoP proof is compared with it and the path of the request, not with
    /// a field `Host`. Default: none, and tokens that are bound to a key are refused.
    #[must_use]
    pub fn external_url(self, url: &str) -> Self {
        Self { external_url: Some(url.to_owned()), ..self }
    }

    /// Sets the value of `User-Agent` of the client's requests. Default: `edgepass/VERSION`.
    #[must_use]
    pub fn user_agent(self, user_agent: &str) -> Self {
        Self { user_agent: user_agent.to_owned(), ..self }
    }

    /// Makes the client. Fetches nothing yet: see [`Client::warm`].
    ///
    /// # Errors
    ///
    /// [`ClientError::ExternalUrl`], [`ClientError::Http`].
    pub fn build(self) -> Result<Client, ClientError> {
        let Self { verifier, external_url, user_agent } = self;
        if external_url.as_deref().is_some_and(|url| !is_origin(url)) {
            return Err(ClientError::ExternalUrl);
        }
        let fetch = HttpFetch::new(now, &user_agent)?;
        Ok(Client(Arc::new(Inner {
            verifier: Mutex::new(verifier),
            host: NativeHost::new(fetch, now),
            external_url,
            works: AtomicBool::new(false),
        })))
    }
}

fn is_origin(url: &str) -> bool {
    let parsed = reqwest::Url::parse(url);
    parsed.is_ok_and(|parsed| parsed.origin().ascii_serialization() == url)
}

impl Client {
    /// Makes a client for tokens of one Edgepass issuer, with the default policy: each token names
    /// `audience` and has a status, and a revocation takes effect within 10 seconds.
    ///
    /// # Errors
    ///
    /// [`ClientError::Policy`], [`ClientError::Http`].
    pub fn of_issuer(issuer: &str, audience: &str) -> Result<Self, ClientError> {
        let audience = OneOrMany::One(audience.to_owned());
        let policy = Policy::try_from(PolicyConfig::new(issuer.to_owned(), audience))?;
        Self::builder(Verifier::new(policy, KeySource::Discover)?).build()
    }

    /// Begins a client for any [`Verifier`]: of several issuers, for example, or with a policy of
    /// your own.
    pub fn builder(verifier: Verifier) -> ClientBuilder {
        ClientBuilder { verifier, external_url: None, user_agent: USER_AGENT.to_owned() }
    }

    /// Judges a token as if presented with the scheme Bearer.
    pub async fn verify(&self, token: &str, requirements: impl Into<Arc<Requirements>>) -> Verdict {
        let inner = &self.0;
        let check = inner
            .verifier
            .with(|verifier| verifier.begin(token, Sender::default(), requirements.into()));
        self.judge(check).await
    }

    /// Judges the token of a request.
    pub async fn verify_request(
        &self,
        request: Request,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Verdict {
        let check =
            self.0.verifier.with(|verifier| verifier.begin_request(request, requirements.into()));
        self.judge(check).await
    }

    /// Fetches the JWK Set of every issuer that is not fresh, so that the first tokens need not wait
    /// for it, and waits for those that are being fetched. Returns whether one of every issuer is
    /// held then.
    pub async fn warm(&self) -> bool {
        // Metadata first, then the JWK Sets that it names.
        for _ in 0..2 {
            self.settle().await;
            let due = self.0.verifier.with(|verifier| verifier.warm(self.0.host.now()));
            let fetches: Vec<_> =
                due.into_iter().map(|order| self.carry_out(vec![order])).collect();
            for fetch in fetches {
                // A task that was cancelled has fetched nothing; the answer below says so.
                let _ = fetch.await;
            }
        }
        self.settle().await;
        self.0.verifier.with(|verifier| verifier.has_keys())
    }

    /// Waits until no JWK Set that is not fresh is being fetched. Each fetch has a limit.
    async fn settle(&self) {
        let inner = &self.0;
        while inner.verifier.with(|verifier| verifier.is_warming(inner.host.now())) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the counters so far, and the present sizes, for metrics.
    pub fn counters(&self) -> Counters {
        self.0.verifier.with(|verifier| verifier.counters())
    }

    /// Checks that tokens can meet these requirements.
    ///
    /// # Errors
    ///
    /// [`RequirementsError`].
    pub fn check_requirements(&self, requirements: &Requirements) -> Result<(), RequirementsError> {
        self.0.verifier.with(|verifier| verifier.check_requirements(requirements))
    }

    /// Scheme and authority of this API as its clients see them.
    pub fn external_url(&self) -> Option<&str> {
        self.0.external_url.as_deref()
    }

    /// Judges a token. If that has to wait, a task does it: the framework drops the request's future
    /// when its client goes away, and others wait for the same fetch.
    async fn judge(&self, check: Check) -> Verdict {
        let Self(inner) = self.clone();
        let mut judging = Box::pin(async move { judge(&inner.verifier, check, &inner.host).await });
        let ready = poll_fn(|context| Poll::Ready(judging.as_mut().poll(context))).await;
        let mut verdict = match ready {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => match tokio::spawn(judging).await {
                Ok(verdict) => verdict,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The runtime shuts down, and drops this future, too.
                    Err(_) => pending().await,
                },
            },
        };
        let due = std::mem::take(&mut verdict.refresh);
        if !due.is_empty() {
            self.carry_out(due);
        }
        self.work();
        self.watch();
        verdict
    }

    /// Starts the tasks that wait for status heads, unless they run. They end when no token is checked
    /// any more, or with the client.
    fn watch(&self) {
        let inner = &self.0;
        while let Some(watch) =
            inner.verifier.with(|verifier| verifier.watch(Duration::MAX, inner.host.now()))
        {
            let held = Arc::downgrade(inner);
            tokio::spawn(async move {
                while let Some(inner) = held.upgrade() {
                    if !watch_on(&inner.verifier, &watch, &inner.host).await {
                        return;
                    }
                }
            });
        }
    }

    fn carry_out(&self, due: Vec<FetchOrder>) -> tokio::task::JoinHandle<()> {
        let Self(inner) = self.clone();
        tokio::spawn(async move {
            for order in due {
                carry_out(&inner.verifier, order, &inner.host).await;
            }
        })
    }

    /// Starts the work that makes later checks faster, unless a task does it: prefetched lists,
    /// second checks of signatures, tables of keys.
    fn work(&self) {
        let inner = &self.0;
        let now = inner.host.now();
        let is_due = |verifier: &mut Verifier| verifier.wants_prefetch() || verifier.has_work(now);
        if !inner.verifier.with(is_due) || inner.works.swap(true, Ordering::AcqRel) {
            return;
        }
        let Self(inner) = self.clone();
        tokio::spawn(async move {
            // Also when the task is cancelled.
            let _ended = Ended(&inner.works);
            inner.work().await;
        });
    }
}

impl Inner {
    async fn work(&self) {
        while let Some(order) = self.verifier.with(|verifier| verifier.prefetch(self.host.now())) {
            carry_out(&self.verifier, order, &self.host).await;
        }
        while self.verifier.with(|verifier| verifier.has_work(self.host.now())) {
            let request = self.verifier.with(|verifier| verifier.work(self.host.now()));
            if let Some(request) = request {
                let valid = check_signature(&request);
                self.verifier.with(|verifier| verifier.rechecked(&request, valid));
            }
            // Requests get their turn between the slices.
            tokio::task::yield_now().await;
        }
    }
}

/// Says at its end that no task works any more.
struct Ended<'w>(&'w AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgepass_jose::base64url;
    use edgepass_verify::verifier::JwksUri;
    use tokio::net::TcpListener;

    use super::*;

    fn policy(issuer: &str) -> Policy {
        let audience = OneOrMany::One("https://api.example".into());
        Policy::try_from(PolicyConfig::new(issuer.into(), audience)).unwrap()
    }

    /// A token that names the issuer. Its signature is not valid.
    fn token(issuer: &str) -> String {
        let claims = format!(r#"{{"iss":"{issuer}","exp":4000000000}}"#);
        let header = br#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#;
        [header, claims.as_bytes(), &[1; 64]].map(base64url::encode).join(".")
    }

    #[tokio::test]
    async fn a_source_that_hangs_delays_nobody_else() {
        // Accepts connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", silent.local_addr().unwrap());
        let (slow, quick) = ("https://slow.example", "https://quick.example");
        let hanging = KeySource::Url(JwksUri::parse(&url).unwrap());
        let given = KeySource::given(br#"{"keys":[]}"#, &policy(quick)).unwrap();
        let issuers = vec![(policy(slow), hanging), (policy(quick), given)];
        let client = Client::builder(Verifier::of_issuers(issuers).unwrap()).build().unwrap();

        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.verify(&token(slow), Requirements::default()).await }
        });
        let _connection = silent.accept().await.unwrap();
        for _ in 0..1000 {
            let verdict = client.verify(&token(quick), Requirements::default()).await;
            assert_eq!(verdict.error().unwrap().code(), "key_not_found");
        }
        assert!(!waiting.is_finished(), "the other check still waits");
        let verdict =
            tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
        assert_eq!(verdict.error().unwrap().code(), "keys_unavailable");
        assert_eq!(verdict.cause.unwrap().refused.name(), "timeout");
        assert!(!client.warm().await);
    }

    #[tokio::test]
    async fn a_request_that_goes_away_leaves_its_fetch_to_the_others() {
        let source = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", source.local_addr().unwrap());
        let issuer = "https://issuer.example";
        let keys = KeySource::Url(JwksUri::parse(&url).unwrap());
        let client = Client::builder(Verifier::new(policy(issuer), keys).unwrap()).build().unwrap();
        let verify = || {
            let client = client.clone();
            tokio::spawn(
                async move { client.verify(&token(issuer), Requirements::default()).await },
            )
        };
        let first = verify();
        let (connection, _) = source.accept().await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let (second, warm) = (
            verify(),
            tokio::spawn({
                let client = client.clone();
                async move { client.warm().await }
            }),
        );
        tokio::task::yield_now().await;
        let body = br#"{"keys":[]}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.writable().await.unwrap();
        let sent = connection.try_write(&[head.as_bytes(), body].concat()).unwrap();
        assert_eq!(sent, head.len() + body.len());
        assert_eq!(second.await.unwrap().error().unwrap().code(), "key_not_found");
        assert!(warm.await.unwrap());
        let other = tokio::time::timeout(Duration::from_millis(50), source.accept()).await;
        assert!(other.is_err(), "one fetch served all");
    }

    #[test]
    fn an_external_url_is_an_origin() {
        let client = |url: &str| {
            let verifier =
                Verifier::new(policy("https://issuer.example"), KeySource::Discover).unwrap();
            Client::builder(verifier).external_url(url).build()
        };
        assert!(client("https://api.example").is_ok());
        for url in ["https://api.example/", "api.example", "https://api.example/v1", "HTTPS://a"] {
            assert!(matches!(client(url), Err(ClientError::ExternalUrl)), "{url}");
        }
    }
}
