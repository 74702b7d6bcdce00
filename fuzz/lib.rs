//! A host whose crypto says yes, so that what lies behind a signature is reached.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgepass_verify::checks::dpop::replay::Replay;
use edgepass_verify::documents::fetch::{Answer, AnsweredBy, Content, FetchOrder};
use edgepass_verify::host::{HostCrypto, Later};
use edgepass_verify::signature::SignatureRequest;
use edgepass_verify::verifier::{KeySource, Received, Progress, Verifier};
use edgepass_verify::{Check, Policy, PolicyConfig, UnixMillis, Verdict};
use serde_json::{Value, json};

/// What time it is.
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// The issuer, and the URI of its list.
pub const ISSUER: &str = "https://issuer.example";
/// See [`ISSUER`].
pub const LIST: &str = "https://issuer.example/lists/1";

/// Says yes.
pub struct Yes;

impl HostCrypto for Yes {
    fn check<'a>(&'a self, _request: &'a SignatureRequest) -> Later<'a, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// base64url.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A compact JWS with a signature of the length that ES256 has.
pub fn jws(header: &[u8], payload: &[u8]) -> String {
    format!("{}.{}.{}", encode(header), encode(payload), encode(&[1; 64]))
}

/// A P-256 key, RFC 7517 appendix A.1.
pub fn public_key() -> Value {
    json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
}

/// A verifier of tokens signed by that key.
pub fn verifier(extra: Value) -> Verifier {
    let mut config = json!({"issuer": ISSUER, "audience": "api"});
    for (name, value) in extra.as_object().unwrap() {
        config[name] = value.clone();
    }
    let config: PolicyConfig = serde_json::from_value(config).unwrap();
    let policy = Policy::try_from(config).unwrap();
    let keys = json!({"keys": [public_key()]}).to_string();
    let keys = KeySource::given(keys.as_bytes(), &policy).unwrap();
    Verifier::new(policy, keys).unwrap()
}

/// Take a check to its verdict; every fetch answers `body`.
pub fn decide(verifier: &mut Verifier, mut check: Check, body: &[u8]) -> Verdict {
    for _ in 0..100 {
        match verifier.advance(&mut check, NOW) {
            Progress::Decided(verdict) => {
                while let Some(order) = verifier.prefetch(NOW) {
                    receive(verifier, order, body);
                }
                return verdict;
            }
            Progress::CheckSignature(_) => check.signature_checked(true),
            Progress::CheckReplay(_) => check.replay_checked(Replay::First),
            Progress::Wait(_) => unreachable!("nobody else fetches"),
            Progress::Fetch(order) => receive(verifier, order, body),
        }
    }
    unreachable!("a check ends")
}

/// The source answers `body`.
fn receive(verifier: &mut Verifier, order: FetchOrder, body: &[u8]) {
    let media_type = Some(order.document.accept().to_owned());
    let content = Content::Body { bytes: body.to_vec(), media_type, etag: None };
    let answer = Answer { from: AnsweredBy::Source, confirmed_at: NOW, content, dated: None };
    if let Received::CheckSignature(_, list) = verifier.receive(order, answer, NOW) {
        verifier.list_signature_checked(*list, true, NOW);
    }
}

/// Run a future that never waits.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing is waited for"),
    }
}
