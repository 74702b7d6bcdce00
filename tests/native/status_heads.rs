//! Status heads: one request confirms every list, a changed list alone is fetched, and a head or a watch
//! that is false or absent makes nothing newer.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use edgepass_jose::base64url;
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_verify::documents::fetch::{Answer, Content, DocumentKind, Failure, FetchOrder};
use edgepass_verify::documents::refused::Refused;
use edgepass_verify::documents::status_head::Digest;
use edgepass_verify::policy::{OneOrMany, StatusMode};
use edgepass_verify::verifier::{JwksUri, KeySource, Progress, Received, Verifier, Watching};
use edgepass_verify::{PolicyConfig, Requirements, Sender, UnixMillis, Verdict};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";
const JWKS: &str = "https://issuer.example/jwks.json";
const HEAD: &str = "https://issuer.example/status-head";
const START: u64 = 1_800_000_000;

/// An issuer with a list for each of its tokens, and a verifier.
struct Scene {
    key: Ed25519KeyPair,
    verifier: Verifier,
    now: UnixMillis,
    has_head: bool,
    /// Statuses and number of each list, and when it was signed.
    lists: Vec<(StatusList, u64, u64)>,
    number: u64,
    /// Requests to the source, by kind.
    asked: HashMap<&'static str, u64>,
    /// What the source answers instead of the head.
    instead: Option<Content>,
    /// The entity tag of lists.
    etag: Option<String>,
    /// Whether the source redirects a request for a list to the list's own URL, and then says that nothing
    /// has changed.
    redirects: bool,
    /// A key that was withdrawn. A cache repeats the set that still has it.
    withdrawn: Option<Ed25519KeyPair>,
}

impl Scene {
    fn new(lists: usize, has_head: bool) -> Self {
        Self::with(lists, has_head, &json!({}))
    }

    fn with(lists: usize, has_head: bool, freshness: &Value) -> Self {
        let mut config = PolicyConfig::new(ISSUER.into(), OneOrMany::One("api".into()));
        config.freshness = serde_json::from_value(freshness.clone()).unwrap();
        config.status.mode = Some(StatusMode::WhenPresent);
        let source = KeySource::Url(JwksUri::parse(JWKS).unwrap());
        let list = || (StatusList::all_valid(Bits::One, 1024), 1, START);
        Self {
            key: Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap(),
            verifier: Verifier::new(config.try_into().unwrap(), source).unwrap(),
            now: UnixMillis(START * 1000),
            has_head,
            lists: (0..lists).map(|_| list()).collect(),
            number: 1,
            asked: HashMap::new(),
            instead: None,
            etag: None,
            redirects: false,
            withdrawn: None,
        }
    }

    fn sign(&self, typ: &str, claims: &Value) -> String {
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let header = json!({"alg": "EdDSA", "typ": typ, "kid": "k"});
        let input = format!("{}.{}", part(&header), part(claims));
        format!("{input}.{}", base64url::encode(self.key.sign(input.as_bytes()).as_ref()))
    }

    fn token(&self, list: usize) -> String {
        self.sign(
            "at+jwt",
            &json!({
                "iss": ISSUER, "sub": "s", "client_id": "c", "jti": list.to_string(), "aud": "api",
                "scope": "a", "iat": START - 60, "exp": START + 3600,
                "status": {"status_list": {"idx": 1, "uri": uri(list)}},
            }),
        )
    }

    /// A token by the withdrawn key.
    fn token_of_withdrawn(&self, has_status: bool) -> String {
        let token = self.token(0);
        let (_, claims) = token.split_once('.').unwrap();
        let (claims, _) = claims.split_once('.').unwrap();
        let mut claims: Value =
            serde_json::from_slice(&base64url::decode(claims).unwrap()).unwrap();
        if !has_status {
            claims.as_object_mut().unwrap().remove("status");
        }
        let claims = base64url::encode(claims.to_string().as_bytes());
        let header = base64url::encode(br#"{"alg":"EdDSA","typ":"at+jwt","kid":"withdrawn"}"#);
        let input = format!("{header}.{claims}");
        let key = self.withdrawn.as_ref().unwrap();
        format!("{input}.{}", base64url::encode(key.sign(input.as_bytes()).as_ref()))
    }

    fn jwks(&self) -> String {
        jwks(&[("k", &self.key)])
    }

    fn lst(&self, list: usize) -> String {
        encode(&self.lists[list].0)
    }

    fn list(&self, list: usize) -> String {
        let (_, number, signed) = &self.lists[list];
        let mut claims = json!({
            "sub": uri(list), "iat": signed, "exp": signed + 3600, "ttl": 5, "number": number,
            "status_list": {"bits": 1, "lst": self.lst(list)},
        });
        if self.has_head {
            claims["head_uri"] = json!(HEAD);
        }
        self.sign("statuslist+jwt", &claims)
    }

    /// The head that the issuer signs now.
    fn head(&self, change: impl FnOnce(&mut Value)) -> Content {
        let lists: serde_json::Map<String, Value> = (0..self.lists.len())
            .map(|list| {
                let digest = Digest::of(self.lst(list).as_bytes()).encoded();
                (format!("lists/{list}"), json!([self.lists[list].1, digest]))
            })
            .collect();
        let mut claims = json!({
            "sub": HEAD, "iat": self.now.0 as f64 / 1000.0, "number": self.number, "wait": 25,
            "jwk_set": Digest::of(self.jwks().as_bytes()).encoded(), "lists": lists,
        });
        change(&mut claims);
        body(self.sign("statushead+jwt", &claims), "application/statushead+jwt")
    }

    fn revoke(&mut self, list: usize) {
        let (statuses, number, signed) = &mut self.lists[list];
        statuses.set(1, 1);
        (*number, *signed) = (*number + 1, self.now.0 / 1000);
        self.number += 1;
    }

    /// Answers an order. A held request is answered when its time is over.
    fn answer(&mut self, order: FetchOrder) -> Result<bool, Refused> {
        *self.asked.entry(order.document.name()).or_default() += 1;
        let sent_at = self.now;
        self.now = self.now.plus(order.wait.unwrap_or_default());
        let content = match order.document {
            DocumentKind::JwkSet => {
                let old = self.withdrawn.as_ref();
                let old = old.map(|old| jwks(&[("k", &self.key), ("withdrawn", old)]));
                body(old.unwrap_or_else(|| self.jwks()), "application/jwk-set+json")
            }
            DocumentKind::StatusList if self.redirects => match order.etag {
                Some(_) => Content::NotModified,
                None => Content::Redirect { location: order.uri.clone() },
            },
            DocumentKind::StatusList => {
                let list = order.uri.rsplit('/').next().unwrap().parse().unwrap();
                match body(self.list(list), "application/statuslist+jwt") {
                    Content::Body { bytes, media_type, .. } => {
                        Content::Body { bytes, media_type, etag: self.etag.clone() }
                    }
                    other => other,
                }
            }
            DocumentKind::StatusHead => self.instead.clone().unwrap_or_else(|| self.head(|_| {})),
            _ => panic!("nobody asks for it"),
        };
        let answer = Answer { content, ..Answer::failed(sent_at) };
        match self.verifier.receive(order, answer, self.now) {
            Received::Settled { taken, refused } => refused.map_or(Ok(taken), Err),
            Received::Fetch(order) => self.answer(order),
            _ => panic!("the key is checked here"),
        }
    }

    /// Judges a token, and carries out the refreshes that are due.
    fn judge(&mut self, list: usize) -> Verdict {
        let token = self.token(list);
        self.judge_token(&token)
    }

    fn judge_token(&mut self, token: &str) -> Verdict {
        let mut check = self.verifier.begin(token, Sender::default(), Requirements::default());
        let mut verdict = loop {
            match self.verifier.advance(&mut check, self.now) {
                Progress::Decided(verdict) => break verdict,
                Progress::Fetch(order) => {
                    let _ = self.answer(order);
                }
                Progress::Wait(_) => panic!("waits at {} after {:?}", self.now.0, self.asked),
                _ => panic!("nothing else is asked"),
            }
        };
        for order in std::mem::take(&mut verdict.refresh) {
            let _ = self.answer(order);
        }
        verdict
    }

    fn code(&mut self, list: usize) -> &'static str {
        self.judge(list).error().map_or("accepted", |error| error.code())
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    fn asked(&self) -> u64 {
        self.asked.values().sum()
    }
}

fn uri(list: usize) -> String {
    format!("{ISSUER}/lists/{list}")
}

fn body(text: String, media_type: &str) -> Content {
    Content::Body { bytes: text.into_bytes(), media_type: Some(media_type.to_owned()), etag: None }
}

#[test]
fn one_request_confirms_every_list() {
    let mut requests = Vec::new();
    for has_head in [false, true] {
        let mut scene = Scene::new(174, has_head);
        let judge_all = |scene: &mut Scene| {
            (0..174).for_each(|list| {
                assert_eq!(scene.code(list), "accepted");
            })
        };
        judge_all(&mut scene);
        let before = scene.asked();
        // Two minutes, and the issuer does not sign any list again.
        for _ in 0..120 {
            scene.wait(1);
            judge_all(&mut scene);
        }
        requests.push(scene.asked() - before);
    }
    let [polling, heads] = requests[..] else { panic!("{requests:?}") };
    assert!(heads * 50 < polling, "{heads} requests with heads, {polling} without");
}

#[test]
fn only_a_changed_list_is_fetched_and_at_once() {
    let mut scene = Scene::new(20, true);
    (0..20).for_each(|list| assert_eq!(scene.code(list), "accepted"));
    scene.wait(6);
    scene.revoke(7);
    (0..20).for_each(|list| {
        scene.code(list);
    });
    assert_eq!(scene.code(7), "token_revoked");
    // A new verifier asks for a head, which confirms the keys, too.
    assert_eq!((scene.asked["status_list"], scene.asked["status_head"]), (21, 2));
}

#[test]
fn a_watch_brings_what_has_changed_and_ends_without_tokens() {
    let mut scene = Scene::new(3, true);
    assert_eq!(scene.code(0), "accepted");
    assert!(scene.verifier.watch(Duration::MAX, scene.now).is_none(), "not in the first interval");
    scene.wait(6);
    assert_eq!(scene.code(0), "accepted");
    let watch = scene.verifier.watch(Duration::MAX, scene.now).unwrap();
    assert!(scene.verifier.watch(Duration::MAX, scene.now).is_none(), "one watch");
    assert_eq!(scene.verifier.counters().watches, 1);
    let Watching::Fetch(order) = scene.verifier.watch_step(&watch, scene.now) else { panic!() };
    assert_eq!(
        (order.url.as_str(), order.wait.unwrap().as_secs()),
        ("https://issuer.example/status-head?after=1", 4)
    );
    // A token is checked while the request is held.
    scene.judge(0);
    scene.revoke(0);
    assert_eq!(scene.answer(order), Ok(true));
    let Watching::Fetch(order) = scene.verifier.watch_step(&watch, scene.now) else { panic!() };
    assert!(order.url.starts_with("https://issuer.example/lists/0?digest="), "{}", order.url);
    assert_eq!(scene.answer(order), Ok(true));
    assert_eq!(scene.code(0), "token_revoked");
    let Watching::Fetch(order) = scene.verifier.watch_step(&watch, scene.now) else { panic!() };
    assert_eq!(order.url, "https://issuer.example/status-head?after=2");
    assert_eq!(scene.answer(order), Ok(true));
    // Nothing was checked meanwhile.
    assert!(matches!(scene.verifier.watch_step(&watch, scene.now), Watching::Ended));
    assert_eq!(scene.verifier.counters().watches, 0);
}

#[test]
fn a_watch_that_waits_or_is_lost_confirms_nothing() {
    let mut scene = Scene::new(1, true);
    scene.code(0);
    scene.wait(6);
    scene.code(0);
    let watch = scene.verifier.watch(Duration::MAX, scene.now).unwrap();
    assert!(matches!(scene.verifier.watch_step(&watch, scene.now), Watching::Fetch(_)));
    // The request is never answered, and the source answers no other.
    scene.instead = Some(Content::Failed(Failure::Timeout));
    scene.wait(7);
    assert_eq!(scene.code(0), "accepted");
    scene.wait(2);
    let verdict = scene.judge(0);
    assert!(verdict.accepted() && verdict.stale, "an outage");
    scene.wait(60);
    assert_eq!(scene.code(0), "keys_unavailable");
    scene.instead = None;
    scene.wait(2);
    assert_eq!(scene.code(0), "accepted");
}

#[test]
fn what_no_signature_confirms_is_used_no_longer_than_the_deadline() {
    let digest = Digest::of(b"another list").encoded();
    let old = |scene: &Scene| scene.head(|_| {});
    type Lie = Box<dyn Fn(&Scene) -> Content>;
    let lies: [(&str, Lie); 6] = [
        ("a head of before", {
            let kept = old(&Scene::new(1, true));
            Box::new(move |_| kept.clone())
        }),
        ("nothing has changed", Box::new(|_| Content::NotModified)),
        ("a page", Box::new(|_| body("<html>".into(), "text/html"))),
        (
            "another digest",
            Box::new(move |scene| {
                let digest = digest.clone();
                scene.head(move |claims| claims["lists"]["lists/0"] = json!([2, digest]))
            }),
        ),
        ("no such list", Box::new(|scene| scene.head(|claims| claims["lists"] = json!({})))),
        (
            "another head",
            Box::new(|scene| {
                scene.head(|claims| claims["sub"] = json!("https://issuer.example/x"))
            }),
        ),
    ];
    for (name, lie) in lies {
        let mut scene = Scene::new(1, true);
        assert_eq!(scene.code(0), "accepted");
        for second in 1..=30 {
            scene.wait(1);
            scene.instead = Some(lie(&scene));
            let code = scene.code(0);
            assert_eq!(code == "accepted", second < 8, "{name}, after {second} s: {code}");
        }
        scene.instead = None;
        scene.wait(9);
        assert_eq!(scene.code(0), "accepted", "{name}");
    }
}

#[test]
fn a_clock_that_is_behind_is_counted_and_one_far_ahead_refuses() {
    let mut scene = Scene::new(1, true);
    scene.now = UnixMillis((START - 9) * 1000);
    let of_issuer = |scene: &Scene| {
        scene.head(|claims| {
            claims["iat"] = json!(scene.now.0 as f64 / 1000.0 + 9.0);
        })
    };
    for _ in 0..30 {
        scene.instead = Some(of_issuer(&scene));
        assert_eq!(scene.code(0), "accepted");
        scene.wait(1);
    }
    assert!(scene.verifier.counters().clock > 0);

    let mut scene = Scene::new(1, true);
    scene.now = UnixMillis((START + 30) * 1000);
    scene.instead = Some(scene.head(|claims| claims["iat"] = json!(START)));
    assert_eq!(scene.code(0), "status_unavailable");
    assert_eq!(scene.verifier.counters().refused.of(Refused::TooOld), 1);
}

#[test]
fn a_policy_may_ignore_heads() {
    let mut scene = Scene::with(1, true, &json!({"head": "ignore"}));
    for _ in 0..4 {
        assert_eq!(scene.code(0), "accepted");
        scene.wait(6);
    }
    assert!(!scene.asked.contains_key("status_head"));
}

/// A redirect to the URL that the held list came from carries its entity tag, if it has one.
#[test]
fn a_redirect_and_a_304_confirm_no_list_that_a_head_confirms() {
    let mut scene = Scene::new(1, true);
    scene.etag = Some("\"1\"".to_owned());
    assert_eq!(scene.code(0), "accepted");
    scene.redirects = true;
    for second in 1..=30 {
        scene.wait(1);
        scene.instead = Some(Content::NotModified);
        let code = scene.code(0);
        assert_eq!(code == "accepted", second < 8, "after {second} s: {code}");
    }
}

#[test]
fn an_issuer_may_stop_to_publish_heads() {
    let mut scene = Scene::new(2, true);
    (0..2).for_each(|list| assert_eq!(scene.code(list), "accepted"));
    scene.wait(6);
    (0..2).for_each(|list| assert_eq!(scene.code(list), "accepted"));
    // It signs all lists again without naming a head, and answers 404 where that was.
    scene.has_head = false;
    for (_, number, signed) in &mut scene.lists {
        (*number, *signed) = (*number + 1, START + 7);
    }
    scene.instead = Some(Content::Failed(Failure::Status(404)));
    for second in 1..100 {
        scene.wait(1);
        (0..2).for_each(|list| assert_eq!(scene.code(list), "accepted", "after {second} s"));
    }
    let asked = scene.asked["status_head"];
    scene.wait(20);
    assert_eq!((scene.code(0), scene.asked["status_head"]), ("accepted", asked), "no more");
}

#[test]
fn a_new_verifier_needs_a_head_for_the_keys_too() {
    let with_old_set = || {
        let mut scene = Scene::new(1, true);
        scene.withdrawn = Some(Ed25519KeyPair::from_seed_unchecked(&[2; 32]).unwrap());
        scene
    };
    // The list was signed a moment ago, and would need no head. A head names another set than the one that a
    // cache repeats.
    let mut scene = with_old_set();
    let token = scene.token_of_withdrawn(true);
    for _ in 0..3 {
        let verdict = scene.judge_token(&token);
        assert_eq!(verdict.error().map(|error| error.code()), Some("keys_unavailable"));
        scene.now = scene.now.plus(Duration::from_secs(1));
    }
    assert!(scene.asked["status_head"] > 0);

    // Where no head can be had, the list shows that the key that signed it was the issuer's. It says nothing
    // about another key.
    let mut scene = with_old_set();
    scene.instead = Some(Content::Failed(Failure::Unknown));
    let verdict = scene.judge_token(&token);
    assert_eq!(verdict.error().map(|error| error.code()), Some("status_unavailable"));
    assert!(scene.judge(0).accepted());

    // Nor does a token that names no status get past this.
    let token = scene.token_of_withdrawn(false);
    let code = |scene: &mut Scene| {
        let verdict = scene.judge_token(&token);
        verdict.error().map(|error| error.code())
    };
    assert_eq!(code(&mut scene), Some("keys_unavailable"));
    scene.instead = None;
    scene.now = scene.now.plus(Duration::from_secs(2));
    assert_eq!(code(&mut scene), Some("keys_unavailable"));
    scene.withdrawn = None;
    scene.now = scene.now.plus(Duration::from_secs(2));
    assert_eq!(code(&mut scene), Some("key_not_found"));
}

#[test]
fn a_list_that_came_after_a_head_was_current_when_the_head_was_signed() {
    // The verifier's clock is 20 s behind, so nothing confirms the list by its own `iat`.
    let mut scene = Scene::new(1, true);
    let ahead = |scene: &Scene| (scene.now.0 + 20_000) as f64 / 1000.0;
    let number = scene.lists[0].1;
    let iat = ahead(&scene);
    let before = scene.head(|head| head["iat"] = json!(iat));
    scene.lists[0].0.set(2, 1);
    scene.lists[0].1 = number + 1;
    scene.lists[0].2 = scene.now.0 / 1000 + 20;
    scene.instead = Some(before);
    assert_eq!(scene.code(0), "accepted");

    // Two lists of one number are not in an order, and a head that names one says nothing of the other.
    let mut scene = Scene::new(1, true);
    let iat = ahead(&scene);
    let other = scene.head(|head| head["iat"] = json!(iat));
    scene.lists[0].0.set(2, 1);
    scene.lists[0].2 = scene.now.0 / 1000 + 20;
    scene.instead = Some(other);
    assert_eq!(scene.code(0), "status_unavailable");
}

#[test]
fn an_answer_overtaken_by_a_head_is_asked_for_once_more() {
    let mut scene = Scene::new(2, true);
    scene.wait(10);
    let token = scene.token(0);
    let mut check = scene.verifier.begin(&token, Sender::default(), Requirements::default());
    let Progress::Fetch(order) = scene.verifier.advance(&mut check, scene.now) else { panic!() };
    scene.answer(order).unwrap();
    let Progress::Fetch(order) = scene.verifier.advance(&mut check, scene.now) else { panic!() };
    assert_eq!(order.url, uri(0));
    let overtaken = body(scene.list(0), "application/statuslist+jwt");
    let sent_at = scene.now;
    // Another token of the list is revoked while the answer travels, and another request fetches the head.
    scene.lists[0].0.set(2, 1);
    (scene.lists[0].1, scene.lists[0].2) = (2, scene.now.0 / 1000);
    scene.number += 1;
    assert_eq!(scene.code(1), "accepted");
    let answer = Answer { content: overtaken, ..Answer::failed(sent_at) };
    scene.verifier.receive(order, answer, scene.now);
    let Progress::Fetch(order) = scene.verifier.advance(&mut check, scene.now) else {
        panic!("the head names a later edition, which can be had")
    };
    assert_ne!(order.url, uri(0), "no cache has the later edition under this URL");
    scene.answer(order).unwrap();
    let Progress::Decided(verdict) = scene.verifier.advance(&mut check, scene.now) else {
        panic!()
    };
    assert!(verdict.accepted(), "{:?}", verdict.error());
}

/// A JWK Set of these keys.
fn jwks(keys: &[(&str, &Ed25519KeyPair)]) -> String {
    let jwk = |(name, key): &(&str, &Ed25519KeyPair)| {
        let x = base64url::encode(key.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": name, "x": x})
    };
    json!({"keys": keys.iter().map(jwk).collect::<Vec<_>>(), "iat": START}).to_string()
}
