//! A host whose crypto accepts every signature, so that fuzzing reaches the steps after it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgepass_verify::checks::dpop::replay::Replay;
use edgepass_verify::documents::fetch::{Answer, Content, FetchOrder};
use edgepass_verify::host::HostCrypto;
use edgepass_verify::signature::SignatureRequest;
use edgepass_verify::verifier::{KeySource, Progress, Received, Verifier};
use edgepass_verify::{Check, Policy, PolicyConfig, UnixMillis, Verdict};
use serde_json::{Value, json};

/// The current time of all targets, in milliseconds.
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// The issuer whose tokens [`verifier`] accepts.
pub const ISSUER: &str = "https://issuer.example";
/// The URI of the issuer's status list.
pub const LIST: &str = "https://issuer.example/lists/1";

/// Host crypto that accepts every signature.
pub struct Yes;

impl HostCrypto for Yes {
    async fn check(&self, _request: &SignatureRequest) -> bool {
        true
    }
}

/// Encodes bytes as base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Makes a compact JWS with a dummy signature of 64 octets, the length of ES256.
pub fn jws(header: &[u8], payload: &[u8]) -> String {
    format!("{}.{}.{}", encode(header), encode(payload), encode(&[1; 64]))
}

/// A P-256 key, RFC 7517 appendix A.1.
pub fn public_key() -> Value {
    json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
}

/// Makes a verifier for tokens signed by [`public_key`]; `extra` adds members to its policy.
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

/// Runs a check to its verdict. Every fetch returns `body`.
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
            Progress::Wait(_) => unreachable!("no other request fetches"),
            Progress::Fetch(order) => receive(verifier, order, body),
        }
    }
    unreachable!("a check ends")
}

/// Passes `body` to the verifier as the source's response.
fn receive(verifier: &mut Verifier, order: FetchOrder, body: &[u8]) {
    let media_type = Some(order.document.accept().to_owned());
    let content = Content::Body { bytes: body.to_vec(), media_type, etag: None };
    let answer = Answer { content, ..Answer::failed(NOW) };
    if let Received::CheckSignature(_, list) = verifier.receive(order, answer, NOW) {
        verifier.document_signature_checked(list, true, NOW);
    }
}

/// Runs a future that is ready at its first poll.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the future is not ready"),
    }
}
