//! Lists that another issuer publishes, over time: its keys are refreshed and withdrawn like those of
//! tokens.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use edgepass_jose::base64url;
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_verify::documents::fetch::{Answer, Content, DocumentKind, Failure, FetchOrder};
use edgepass_verify::verifier::{KeySource, Progress, Received, Verifier};
use edgepass_verify::{
    Policy, PolicyConfig, Requirements, Sender, UnixMillis, Verdict, VerifyError,
};
use serde_json::{Value, json};

const TOKENS: &str = "https://login.example";
const LISTS: &str = "https://status.example";
const START: u64 = 1_800_000_000;

struct Scene {
    verifier: Verifier,
    now: UnixMillis,
    /// The seeds of the keys in the set of [`LISTS`].
    published: Vec<u8>,
    /// The seed of the key that signs the list.
    signs: u8,
    is_up: bool,
    fetched: Vec<DocumentKind>,
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn jwks(seeds: &[u8]) -> String {
    let jwk = |seed: &u8| {
        let x = base64url::encode(key(*seed).public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": seed.to_string(), "x": x})
    };
    json!({"keys": seeds.iter().map(jwk).collect::<Vec<_>>()}).to_string()
}

fn sign(seed: u8, typ: &str, claims: &Value) -> String {
    let header = json!({"alg": "EdDSA", "kid": seed.to_string(), "typ": typ});
    let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
    let input = format!("{}.{}", part(&header), part(claims));
    format!("{input}.{}", base64url::encode(key(seed).sign(input.as_bytes()).as_ref()))
}

impl Scene {
    fn new() -> Self {
        let config: PolicyConfig = serde_json::from_value(json!({
            "profile": "jwt", "issuer": TOKENS, "audience": "api", "typ": null,
            "status": {"mode": "required", "issuer": LISTS},
        }))
        .unwrap();
        let policy = Policy::try_from(config).unwrap();
        let keys = KeySource::given(jwks(&[1]).as_bytes(), &policy).unwrap();
        Self {
            verifier: Verifier::new(policy, keys).unwrap(),
            now: UnixMillis(START * 1000),
            published: vec![2],
            signs: 2,
            is_up: true,
            fetched: Vec::new(),
        }
    }

    fn answer(&self, order: &FetchOrder) -> Content {
        let (text, media_type) = match order.document {
            _ if !self.is_up => return Content::Failed(Failure::Connection),
            DocumentKind::Metadata => {
                let metadata = json!({"issuer": LISTS, "jwks_uri": format!("{LISTS}/jwks")});
                (metadata.to_string(), "application/json")
            }
            DocumentKind::JwkSet => (jwks(&self.published), "application/json"),
            _ => {
                let list = encode(&StatusList::all_valid(Bits::One, 64));
                let seconds = self.now.0 / 1000;
                let claims = json!({
                    "sub": order.uri, "iat": seconds, "exp": seconds + 3600,
                    "status_list": {"bits": 1, "lst": list},
                });
                (sign(self.signs, "statuslist+jwt", &claims), "application/statuslist+jwt")
            }
        };
        let media_type = Some(media_type.to_owned());
        Content::Body { bytes: text.into_bytes(), media_type, etag: None }
    }

    fn fetch(&mut self, order: FetchOrder) {
        self.fetched.push(order.document);
        let content = self.answer(&order);
        let answer = Answer { content, ..Answer::failed(self.now) };
        assert!(matches!(self.verifier.receive(order, answer, self.now), Received::Settled { .. }));
    }

    /// Judges a token, with the refreshes that are due. Returns the verdict and the kinds fetched.
    fn judge(&mut self) -> (Verdict, Vec<DocumentKind>) {
        let claims = json!({
            "iss": TOKENS, "aud": "api", "iat": START, "exp": START + 7200,
            "status": {"status_list": {"idx": 1, "uri": format!("{LISTS}/1")}},
        });
        let token = sign(1, "JWT", &claims);
        let mut check = self.verifier.begin(&token, Sender::default(), Requirements::default());
        loop {
            match self.verifier.advance(&mut check, self.now) {
                Progress::Decided(mut verdict) => {
                    std::mem::take(&mut verdict.refresh).into_iter().for_each(|o| self.fetch(o));
                    return (verdict, std::mem::take(&mut self.fetched));
                }
                Progress::Fetch(order) => self.fetch(order),
                _ => panic!("nothing else is asked"),
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = UnixMillis(self.now.0 + seconds * 1000);
    }
}

#[test]
fn the_keys_of_lists_are_fetched_refreshed_and_withdrawn() {
    use DocumentKind::{JwkSet, Metadata, StatusList};
    let mut scene = Scene::new();
    let (verdict, fetched) = scene.judge();
    assert!(verdict.accepted(), "{:?}", verdict.error());
    assert_eq!(fetched, [Metadata, JwkSet, StatusList]);
    assert_eq!(scene.judge().1, [], "all is held");

    // Past the refresh interval, keys and list are both refreshed after the verdict.
    scene.pass(6);
    let (verdict, mut fetched) = scene.judge();
    fetched.sort_by_key(|kind| kind.name());
    assert!(verdict.accepted() && fetched == [JwkSet, StatusList], "{fetched:?}");

    // A withdrawn key takes its lists with it.
    (scene.published, scene.signs) = (vec![3], 3);
    scene.pass(6);
    scene.judge();
    let (verdict, _) = scene.judge();
    assert!(verdict.accepted(), "{:?}", verdict.error());
    scene.signs = 2;
    scene.published = vec![4];
    scene.pass(10);
    let (verdict, _) = scene.judge();
    assert_eq!(verdict.error(), Some(&VerifyError::StatusUnavailable));
}

#[test]
fn an_outage_of_the_issuer_of_lists_ends_like_one_of_the_tokens_issuer() {
    let mut scene = Scene::new();
    assert!(scene.judge().0.accepted());
    scene.is_up = false;
    scene.pass(30);
    let (verdict, _) = scene.judge();
    assert!(verdict.accepted() && verdict.stale, "{:?}", verdict.error());
    scene.pass(60);
    let (verdict, _) = scene.judge();
    assert_eq!(verdict.error(), Some(&VerifyError::StatusUnavailable));
    scene.is_up = true;
    scene.pass(6);
    assert!(scene.judge().0.accepted());
}

#[test]
fn the_issuer_of_lists_is_warmed_and_counted_but_signs_no_tokens() {
    let mut scene = Scene::new();
    assert!(!scene.verifier.has_keys());
    assert_eq!(scene.verifier.issuers().collect::<Vec<_>>(), [TOKENS]);
    for _ in 0..2 {
        let orders = scene.verifier.warm(scene.now);
        assert_eq!(orders.len(), 1);
        orders.into_iter().for_each(|order| scene.fetch(order));
    }
    assert!(scene.verifier.has_keys());
    let claims = json!({"iss": LISTS, "aud": "api", "iat": START, "exp": START + 60});
    let token = sign(2, "JWT", &claims);
    let mut check = scene.verifier.begin(&token, Sender::default(), Requirements::default());
    let Progress::Decided(verdict) = scene.verifier.advance(&mut check, scene.now) else {
        panic!("nothing is fetched for an unknown issuer");
    };
    assert_eq!(verdict.error(), Some(&VerifyError::IssuerMismatch));
}

#[test]
fn many_checks_at_once_fetch_each_document_of_the_issuer_of_lists_once() {
    let mut scene = Scene::new();
    let claims = json!({
        "iss": TOKENS, "aud": "api", "iat": START, "exp": START + 7200,
        "status": {"status_list": {"idx": 1, "uri": format!("{LISTS}/1")}},
    });
    let token = sign(1, "JWT", &claims);
    let begin = |scene: &mut Scene| {
        scene.verifier.begin(&token, Sender::default(), Requirements::default())
    };
    let mut checks: Vec<_> = (0..200).map(|_| begin(&mut scene)).collect();
    let mut accepted = 0;
    while !checks.is_empty() {
        let mut orders = Vec::new();
        checks.retain_mut(|check| match scene.verifier.advance(check, scene.now) {
            Progress::Decided(verdict) => {
                accepted += usize::from(verdict.accepted());
                false
            }
            Progress::Fetch(order) => {
                orders.push(order);
                true
            }
            Progress::Wait(time) => time <= Duration::from_secs(1),
            _ => panic!("nothing else is asked"),
        });
        scene.now = UnixMillis(scene.now.0 + 20);
        orders.into_iter().for_each(|order| scene.fetch(order));
    }
    use DocumentKind::{JwkSet, Metadata, StatusList};
    assert_eq!((accepted, scene.fetched), (200, vec![Metadata, JwkSet, StatusList]));
}
