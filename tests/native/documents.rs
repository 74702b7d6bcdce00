//! Responses of an issuer's source: bad ones are refused and counted, while the held copy serves.
//! Also prefetched lists, and lists that are dropped to make room.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use edgepass_jose::base64url;
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_verify::documents::fetch::{Answer, Content, DocumentKind, Failure, FetchOrder};
use edgepass_verify::documents::refused::Refused;
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::verifier::{JwksUri, KeySource, Progress, Received, Verifier};
use edgepass_verify::{PolicyConfig, Requirements, Sender, UnixMillis, Verdict};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";
const JWKS: &str = "https://issuer.example/jwks.json";
const AGGREGATION: &str = "https://issuer.example/lists";
const START: u64 = 1_800_000_000;

struct Scene {
    keys: Vec<Ed25519KeyPair>,
    verifier: Verifier,
    now: UnixMillis,
    fetched: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let config = PolicyConfig::new(ISSUER.into(), OneOrMany::One("api".into()));
        let source = KeySource::Url(JwksUri::parse(JWKS).unwrap());
        let key = |seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        Self {
            keys: vec![key(1), key(2)],
            verifier: Verifier::new(config.try_into().unwrap(), source).unwrap(),
            now: UnixMillis(START * 1000),
            fetched: Vec::new(),
        }
    }

    fn sign(&self, key: usize, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", base64url::encode(self.keys[key].sign(input.as_bytes()).as_ref()))
    }

    fn token(&self, list: u32) -> String {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k0"});
        let claims = json!({
            "iss": ISSUER, "sub": "s", "client_id": "c", "jti": "j", "aud": "api", "scope": "a",
            "iat": START - 60, "exp": START + 3600,
            "status": {"status_list": {"idx": 1, "uri": uri(list)}},
        });
        self.sign(0, &header, &claims)
    }

    fn jwks(&self, keys: &[usize]) -> String {
        let jwk = |at: &usize| {
            let x = base64url::encode(self.keys[*at].public_key().as_ref());
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": format!("k{at}"), "x": x})
        };
        json!({"keys": keys.iter().map(jwk).collect::<Vec<_>>(), "iat": START}).to_string()
    }

    fn list(&self, list: u32, change: impl Fn(&mut Value, &mut Value)) -> String {
        let mut statuses = StatusList::all_valid(Bits::One, 1 << 17);
        (0..40_000).step_by(2).for_each(|index| assert!(statuses.set(index * 3, 1)));
        let mut header = json!({"alg": "EdDSA", "typ": "statuslist+jwt", "kid": "k0"});
        let mut claims = json!({
            "sub": uri(list), "iat": START - 1, "exp": START + 3600, "ttl": 5, "number": 7,
            "status_list": {
                "bits": 1, "lst": encode(&statuses), "aggregation_uri": AGGREGATION,
            },
        });
        change(&mut header, &mut claims);
        self.sign(0, &header, &claims)
    }

    fn good(&self, order: &FetchOrder) -> Content {
        match order.document {
            DocumentKind::JwkSet => body(self.jwks(&[0]), "application/jwk-set+json"),
            DocumentKind::StatusList => {
                let list = order.uri.rsplit('/').next().unwrap().parse().unwrap();
                body(self.list(list, |_, _| {}), "application/statuslist+jwt")
            }
            DocumentKind::Aggregation => {
                let mut uris: Vec<String> = (1..20).map(uri).collect();
                uris.insert(0, "https://elsewhere.example/1".into());
                body(json!({"status_lists": uris}).to_string(), "application/json")
            }
            DocumentKind::Metadata | DocumentKind::StatusHead => panic!("nobody asks for it"),
        }
    }

    fn receive(&mut self, order: FetchOrder, content: Content) -> bool {
        self.fetched.push(order.uri.clone());
        let answer = Answer { content, ..Answer::failed(self.now) };
        match self.verifier.receive(order, answer, self.now) {
            Received::Settled { taken, .. } => taken,
            _ => panic!("nothing else is due"),
        }
    }

    /// Judges a token. The source answers every fetch with a good document.
    fn judge(&mut self, list: u32) -> Verdict {
        let token = self.token(list);
        let mut check = self.verifier.begin(&token, Sender::default(), Requirements::default());
        loop {
            match self.verifier.advance(&mut check, self.now) {
                Progress::Decided(verdict) => return verdict,
                Progress::Fetch(order) => {
                    let content = self.good(&order);
                    self.receive(order, content);
                }
                _ => panic!("nothing else is asked"),
            }
        }
    }

    /// Returns the order to refresh list 1, which is due after 6 s.
    fn refresh(&mut self) -> FetchOrder {
        self.now = self.now.plus(Duration::from_secs(6));
        let mut due = self.judge(1).refresh;
        due.retain(|order| order.document == DocumentKind::StatusList);
        due.pop().unwrap()
    }
}

fn uri(list: u32) -> String {
    format!("https://issuer.example/lists/{list}")
}

fn body(text: String, media_type: &str) -> Content {
    let (media_type, etag) = (Some(media_type.to_owned()), Some("\"1\"".to_owned()));
    Content::Body { bytes: text.into_bytes(), media_type, etag }
}

#[test]
fn a_bad_list_is_refused_and_counted_and_the_held_copy_serves() {
    let scene = Scene::new();
    let list = "application/statuslist+jwt";
    let changed = |change: &dyn Fn(&mut Value, &mut Value)| body(scene.list(1, change), list);
    let bomb = {
        let mut huge = StatusList::all_valid(Bits::One, 1 << 24);
        huge.set(1, 0);
        encode(&huge)
    };
    let good = scene.list(1, |_, _| {});
    let mut flipped = good.clone();
    let last = flipped.pop().unwrap();
    flipped.pop();
    flipped.push('A');
    flipped.push(last);
    let cases = [
        (Content::Failed(Failure::Unknown), Refused::Failed(Failure::Unknown)),
        (Content::TooLarge, Refused::TooLarge),
        (Content::Redirect { location: "https://elsewhere.example/1".into() }, Refused::Redirect),
        (Content::NotModified, Refused::NotHeld),
        (body(good.clone(), "text/html"), Refused::MediaType),
        (body("<html>".into(), list), Refused::Malformed),
        (body(good[..good.len() / 2].into(), list), Refused::Malformed),
        (changed(&|header, _| header["typ"] = json!("at+jwt")), Refused::Type),
        (changed(&|header, _| header["kid"] = json!("k9")), Refused::Key),
        (body(flipped, list), Refused::Signature),
        (changed(&|_, claims| claims["sub"] = json!(uri(2))), Refused::Subject),
        (changed(&|_, claims| claims["exp"] = json!(START)), Refused::Expired),
        (changed(&|_, claims| claims["nbf"] = json!(START + 3600)), Refused::NotYetValid),
        (changed(&|_, claims| claims["number"] = json!(6)), Refused::Older),
        (changed(&|_, claims| claims["iat"] = json!("x")), Refused::Malformed),
        (changed(&|_, claims| claims["status_list"]["lst"] = json!(bomb)), Refused::TooLarge),
    ];
    for (content, reason) in cases {
        let mut scene = Scene::new();
        assert!(scene.judge(1).accepted());
        let mut order = scene.refresh();
        if matches!(content, Content::NotModified) {
            order.etag = Some("\"another\"".into());
        }
        assert!(!scene.receive(order, content), "{reason:?}");
        let refused = scene.verifier.counters().refused;
        for (other, count) in refused.iter() {
            assert_eq!(count, u64::from(other == reason), "{reason:?}: {}", other.name());
        }
        let verdict = scene.judge(1);
        assert!(verdict.accepted() && !verdict.stale, "{reason:?}");
    }
}

#[test]
fn a_bad_jwk_set_is_refused_and_counted() {
    for (content, reason) in [
        (body("[]".into(), "application/json"), Refused::Malformed),
        (body(json!({"keys": [], "iat": START - 1}).to_string(), ""), Refused::Older),
        (Content::TooLarge, Refused::TooLarge),
    ] {
        let mut scene = Scene::new();
        assert!(scene.judge(1).accepted());
        scene.now = scene.now.plus(Duration::from_secs(7));
        let mut due = scene.judge(1).refresh;
        due.retain(|order| order.document == DocumentKind::JwkSet);
        assert!(!scene.receive(due.pop().unwrap(), content), "{reason:?}");
        assert_eq!(scene.verifier.counters().refused.of(reason), 1, "{reason:?}");
    }
}

#[test]
fn the_issuers_first_lists_are_fetched_ahead_once() {
    let mut scene = Scene::new();
    assert!(!scene.verifier.wants_prefetch());
    assert!(scene.judge(2).accepted());
    assert!(scene.verifier.wants_prefetch());
    scene.fetched.clear();
    while let Some(order) = scene.verifier.prefetch(scene.now) {
        let content = scene.good(&order);
        assert!(scene.receive(order, content));
    }
    // Of the first six URIs, one is outside the issuer's prefix and one is already held.
    let expected = [AGGREGATION.to_owned(), uri(1), uri(3), uri(4), uri(5)];
    assert_eq!(scene.fetched, expected);
    assert!(!scene.verifier.wants_prefetch());
    scene.fetched.clear();
    assert!(scene.judge(4).accepted());
    assert!(scene.fetched.is_empty(), "{:?}", scene.fetched);
}

#[test]
fn the_least_recently_used_lists_make_room() {
    let mut scene = Scene::new();
    let room = 3 * (1 << 17) / 8;
    scene.verifier =
        std::mem::replace(&mut scene.verifier, Scene::new().verifier).with_list_bytes(room);
    for list in 1..=5 {
        assert!(scene.judge(list).accepted());
    }
    let counters = scene.verifier.counters();
    assert_eq!((counters.lists, counters.list_bytes), (3, room));
    scene.fetched.clear();
    scene.judge(5);
    scene.judge(3);
    assert!(scene.fetched.is_empty());
    scene.judge(1);
    assert_eq!(scene.fetched, [uri(1)]);
}

#[test]
fn a_list_that_has_not_changed_costs_no_allocation() {
    let mut scene = Scene::new();
    assert!(scene.judge(1).accepted());
    let order = scene.refresh();
    let confirmed_at = scene.now;
    let content = Content::NotModified;
    let answer = Answer { content, ..Answer::failed(confirmed_at) };
    let (verifier, now) = (&mut scene.verifier, scene.now);
    let mut taken = false;
    // Freeing the order and the answer does not count, only new allocations do.
    let counted = allocation_counter::measure(|| {
        taken =
            matches!(verifier.receive(order, answer, now), Received::Settled { taken: true, .. });
    });
    assert!(taken);
    assert_eq!(counted.count_total, 0);
    assert_eq!(scene.verifier.confirmed(confirmed_at).lists, Some(confirmed_at));
}

#[test]
fn a_list_or_set_that_is_repeated_is_believed_for_so_long_and_counted() {
    // The source repeats one list, signed at START - 1. It is accepted for `max_list_age`, five
    // minutes.
    let mut scene = Scene::new();
    let mut codes = Vec::new();
    for second in 0..400 {
        scene.now = UnixMillis((START + second) * 1000);
        codes.push(scene.judge(1).error().map(|error| error.code()));
        // Half of that time ends at 149 s. Later confirmations count; one comes every few seconds.
        let aged = scene.verifier.counters().aged;
        assert!(second > 149 || aged == 0, "{aged} at {second} s");
        assert!(second < 156 || aged > 0, "none at {second} s");
    }
    assert!(codes[..299].iter().all(Option::is_none));
    assert!(codes[299..].iter().all(|code| *code == Some("status_unavailable")), "{codes:?}");
    assert!(
        scene
            .verifier
            .counters()
            .refused
            .iter()
            .any(|(refused, count)| { refused == Refused::Expired && count > 0 })
    );
}

#[test]
fn a_set_says_nothing_once_its_exp_has_passed() {
    let mut scene = Scene::new();
    let token = scene.token(1);
    let set = scene.jwks(&[0]).replace("\"iat\"", &format!("\"exp\":{},\"iat\"", START + 300));
    for (second, expected) in [(0, None), (299, None), (300, Some("keys_unavailable"))] {
        scene.now = UnixMillis((START + second) * 1000);
        let mut check = scene.verifier.begin(&token, Sender::default(), Requirements::default());
        let verdict = loop {
            match scene.verifier.advance(&mut check, scene.now) {
                Progress::Decided(verdict) => break verdict,
                Progress::Fetch(order) => {
                    let content = match order.document {
                        DocumentKind::JwkSet => body(set.clone(), "application/jwk-set+json"),
                        _ => {
                            let iat = START + second;
                            let list = scene.list(1, |_, claims| claims["iat"] = iat.into());
                            body(list, "application/statuslist+jwt")
                        }
                    };
                    scene.receive(order, content);
                }
                _ => panic!("nothing else is asked"),
            }
        };
        assert_eq!(verdict.error().map(|error| error.code()), expected, "at {second} s");
    }
}
