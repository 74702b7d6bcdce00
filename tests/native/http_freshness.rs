//! JWK Sets of issuers that promise no deadline: how often they are fetched, through caches that
//! send every kind of `Age` and `Cache-Control`, and during outages.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use edgepass_jose::base64url;
use edgepass_verify::checks::Check;
use edgepass_verify::documents::fetch::{Answer, Body, DocumentKind, FetchOrder, ResponseHead};
use edgepass_verify::documents::refused::Refused;
use edgepass_verify::verifier::{JwksUri, KeySource, Progress, Received, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, UnixMillis, Verdict};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";
const JWKS: &str = "https://issuer.example/jwks.json";
const START: u64 = 1_800_000_000_000;
/// The time that the source usually takes to answer, in milliseconds. Longer than a request of a verifier
/// with a deadline waits for another's fetch.
const LATENCY: u64 = 600;

/// The source, as it answers now.
#[derive(Clone)]
struct Source {
    /// Further members of the set.
    more: Value,
    /// `None`: it cannot be reached.
    keys: Option<Vec<u8>>,
    age: Option<String>,
    cache_control: Option<String>,
    /// The source knows conditional requests.
    has_etag: bool,
    /// The time that it takes to answer, in milliseconds.
    latency: u64,
}

/// An isolate in virtual time.
struct Scene {
    verifier: Verifier,
    now: u64,
    source: Source,
    /// Orders under way, and when each ends.
    under_way: Vec<(u64, Fetching)>,
    /// The numbers of fetches, and of those with `If-None-Match`.
    fetches: usize,
    conditional: usize,
    most_at_once: usize,
}

struct Fetching {
    /// The check that waits for it. `None` for a refresh.
    check: Option<Check>,
    order: FetchOrder,
    sent_at: UnixMillis,
}

impl Scene {
    fn new(change: Value) -> Self {
        Self::with(change, KeySource::Url(JwksUri::parse(JWKS).unwrap()))
    }

    fn with(change: Value, jwks: KeySource) -> Self {
        let mut config = json!({
            "profile": "jwt", "issuer": ISSUER, "audience": "api", "typ": null,
            "status": {"mode": "ignore"}, "max_lifetime": "366d",
        });
        for (name, value) in change.as_object().unwrap() {
            config[name] = value.clone();
        }
        let config: PolicyConfig = serde_json::from_value(config).unwrap();
        Self {
            verifier: Verifier::new(Policy::try_from(config).unwrap(), jwks).unwrap(),
            now: START,
            source: Source {
                more: json!({}),
                keys: Some(vec![1]),
                age: None,
                cache_control: None,
                has_etag: true,
                latency: LATENCY,
            },
            under_way: Vec::new(),
            fetches: 0,
            conditional: 0,
            most_at_once: 0,
        }
    }

    /// Judges `tokens` that arrive at once, until each has a verdict.
    fn judge(&mut self, tokens: &[String]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut ready: Vec<Check> = Vec::new();
        for token in tokens {
            let (sender, requirements) = (Sender::default(), Requirements::default());
            ready.push(self.verifier.begin(token, sender, requirements));
        }
        while verdicts.len() < tokens.len() {
            let mut sleeping = Vec::new();
            for mut check in std::mem::take(&mut ready) {
                match self.verifier.advance(&mut check, UnixMillis(self.now)) {
                    Progress::Decided(mut verdict) => {
                        for order in std::mem::take(&mut verdict.refresh) {
                            self.begin(None, order);
                        }
                        verdicts.push(verdict);
                    }
                    Progress::Fetch(order) => self.begin(Some(check), order),
                    Progress::Wait(time) => {
                        assert_eq!(time, Duration::from_millis(20));
                        sleeping.push(check);
                    }
                    _ => panic!("nothing else is asked"),
                }
            }
            self.pass(20, &mut ready);
            ready.append(&mut sleeping);
        }
        verdicts
    }

    fn begin(&mut self, check: Option<Check>, order: FetchOrder) {
        assert!(order.url == JWKS || order.document == DocumentKind::Metadata, "{}", order.url);
        self.fetches += 1;
        self.conditional += usize::from(order.etag.is_some());
        let takes = if self.source.keys.is_some() { self.source.latency } else { 2_500 };
        let fetching = Fetching { check, order, sent_at: UnixMillis(self.now) };
        self.under_way.push((self.now + takes, fetching));
        self.most_at_once = self.most_at_once.max(self.under_way.len());
    }

    /// Lets time pass. Checks whose fetch ends are ready again.
    fn pass(&mut self, millis: u64, ready: &mut Vec<Check>) {
        self.now += millis;
        let now = self.now;
        let (ended, under_way) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(ends, _)| *ends <= now);
        self.under_way = under_way;
        let ended: Vec<(u64, Fetching)> = ended;
        for (_, Fetching { check, order, sent_at }) in ended {
            let answer = self.answer(&order, sent_at);
            match self.verifier.receive(order, answer, UnixMillis(now)) {
                Received::Settled { .. } => {}
                _ => panic!("nothing else is due"),
            }
            ready.extend(check);
        }
    }

    fn rest(&mut self, seconds: u64) {
        let mut ready = Vec::new();
        for _ in 0..seconds * 10 {
            self.pass(100, &mut ready);
        }
        assert!(ready.is_empty());
    }

    fn answer(&self, order: &FetchOrder, sent_at: UnixMillis) -> Answer {
        let Some(keys) = &self.source.keys else { return Answer::failed(sent_at) };
        if order.document == DocumentKind::Metadata {
            // As Auth0 and others: metadata of OpenID Connect alone.
            let is_openid = order.url.ends_with("/openid-configuration");
            let head = ResponseHead {
                status: if is_openid { 200 } else { 404 },
                age: None,
                date: None,
                cache_control: None,
                expires: None,
                location: None,
                content_type: Some("application/json".into()),
                etag: None,
            };
            let metadata = json!({"issuer": ISSUER, "jwks_uri": JWKS}).to_string();
            return head.answer(Body::Whole(metadata.into_bytes()), sent_at);
        }
        let etag = self.source.has_etag.then(|| format!("\"{keys:?}\""));
        let is_same = etag.is_some() && order.etag == etag;
        let head = ResponseHead {
            status: if is_same { 304 } else { 200 },
            age: self.source.age.clone(),
            date: None,
            cache_control: self.source.cache_control.clone(),
            expires: None,
            location: None,
            content_type: Some("application/json".into()),
            etag,
        };
        let body = if is_same {
            Body::None
        } else {
            Body::Whole(jwks(keys, &self.source.more).into_bytes())
        };
        head.answer(body, sent_at)
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn jwks(seeds: &[u8], more: &Value) -> String {
    let jwk = |seed: &u8| {
        let x = base64url::encode(pair(*seed).public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": seed.to_string(), "x": x})
    };
    let mut set = more.clone();
    set["keys"] = seeds.iter().map(jwk).collect();
    set.to_string()
}

fn token(key: u8) -> String {
    let part = |value: Value| base64url::encode(value.to_string().as_bytes());
    let header = part(json!({"alg": "EdDSA", "kid": key.to_string()}));
    let claims = part(json!({
        "iss": ISSUER, "aud": "api", "exp": START / 1000 + 300 * 24 * 3600,
    }));
    let input = format!("{header}.{claims}");
    let signature = pair(key).sign(input.as_bytes());
    format!("{input}.{}", base64url::encode(signature.as_ref()))
}

fn code(verdict: &Verdict) -> &'static str {
    verdict.error().map_or("accepted", |error| error.code())
}

/// Every kind of `Age` that caches send.
fn ages() -> Vec<Option<String>> {
    let numbers = [0, 1, 8, 9, 59, 60, 61, 68, 69, 600, 3_600, 5_059, 24_873, 86_399, 86_400];
    let mut ages: Vec<Option<String>> =
        numbers.into_iter().chain([100_000, 1_000_000]).map(|age| Some(age.to_string())).collect();
    for odd in ["7, 5059", "5059,7", "", "x", "1.5", "-1", "-1000000", "99999999999999", "1e3"] {
        ages.push(Some(odd.into()));
    }
    ages.push(None);
    ages
}

#[test]
fn a_thousand_requests_at_once_cause_one_fetch_whatever_the_age() {
    let tokens = vec![token(1); 1_000];
    for age in ages() {
        for cache_control in [
            None,
            Some("public, max-age=24873, must-revalidate, no-transform"),
            Some("max-age=0"),
            Some("no-cache"),
            Some("no-store, must-revalidate"),
            Some("max-age=-5"),
            Some("s-maxage=1"),
        ] {
            let what = format!("Age {age:?}, Cache-Control {cache_control:?}");
            let mut scene = Scene::new(json!({}));
            scene.source.age = age.clone();
            scene.source.cache_control = cache_control.map(str::to_owned);
            let at_once = if cache_control.is_none() { 1_000 } else { 100 };
            let verdicts = scene.judge(&tokens[..at_once]);
            assert!(verdicts.iter().all(|verdict| code(verdict) == "accepted"), "{what}");
            assert_eq!((scene.fetches, scene.most_at_once), (1, 1), "{what}");
            // Within a minute nothing is asked.
            for _ in 0..5 {
                scene.rest(11);
                assert!(scene.judge(&tokens[..5]).iter().all(|v| code(v) == "accepted"), "{what}");
            }
            assert_eq!(scene.fetches, 1, "{what}");
            // Ten minutes: at most one conditional request a minute, none at once with another.
            for _ in 0..60 {
                scene.rest(10);
                let verdicts = scene.judge(&tokens[..5]);
                assert!(verdicts.iter().all(|v| code(v) == "accepted" && !v.stale), "{what}");
            }
            let all = scene.fetches;
            assert!((1..=11).contains(&all), "{what}: {all} fetches");
            assert_eq!((scene.conditional, scene.most_at_once), (all - 1, 1), "{what}");
        }
    }
}

#[test]
fn a_thousand_requests_at_once_cause_one_fetch_of_each_document_however_slow_they_are() {
    let tokens = vec![token(1); 1_000];
    for latency in [20, 240, 600, 1_300, 1_500, 2_000, 2_300, 2_480] {
        for (source, fetches) in
            [(KeySource::Discover, 3), (KeySource::Url(JwksUri::parse(JWKS).unwrap()), 1)]
        {
            let mut scene = Scene::with(json!({}), source);
            scene.source.latency = latency;
            let verdicts = scene.judge(&tokens);
            let codes: Vec<&str> = verdicts.iter().map(code).collect();
            assert!(codes.iter().all(|code| *code == "accepted"), "{latency} ms: {codes:?}");
            assert_eq!((scene.fetches, scene.most_at_once), (fetches, 1), "{latency} ms");
        }
    }
}

#[test]
fn requests_that_are_cancelled_let_one_other_fetch_at_a_time() {
    let mut scene = Scene::new(json!({}));
    let token = token(1);
    let begin = |scene: &mut Scene| {
        scene.verifier.begin(&token, Sender::default(), Requirements::default())
    };
    let mut checks: Vec<Check> = (0..1_000).map(|_| begin(&mut scene)).collect();
    // Every client whose request fetches hangs up.
    let mut fetched_at = Vec::new();
    for _ in 0..500 {
        let now = UnixMillis(scene.now);
        checks.retain_mut(|check| match scene.verifier.advance(check, now) {
            Progress::Fetch(_) => {
                fetched_at.push(scene.now);
                false
            }
            Progress::Wait(_) => true,
            Progress::Decided(verdict) => {
                assert_eq!(code(&verdict), "keys_unavailable");
                false
            }
            _ => panic!("nothing else is asked"),
        });
        scene.now += 20;
        if checks.is_empty() {
            break;
        }
    }
    let pauses: Vec<u64> = fetched_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= 240), "{pauses:?}");
}

#[test]
fn a_set_is_fetched_as_often_as_its_source_says() {
    for (cache_control, age, hours, expected) in [
        (None, None, 10, 60..=90),                         // every 7 to 8 min
        (Some("max-age=3600"), None, 10, 12..=15),         // every 42 to 48 min
        (Some("max-age=3600"), Some("3000"), 10, 60..=90), // 10 min are left
        (Some("max-age=604800"), None, 96, 5..=6),         // at least every 19.2 h
    ] {
        let mut scene = Scene::new(json!({}));
        scene.source.cache_control = cache_control.map(str::to_owned);
        scene.source.age = age.map(str::to_owned);
        for _ in 0..hours * 120 {
            let verdict = scene.judge(&[token(1)]).remove(0);
            assert!(code(&verdict) == "accepted" && !verdict.stale);
            scene.now += 30_000 - 20;
            scene.pass(0, &mut Vec::new());
        }
        let all = scene.fetches;
        assert!(expected.contains(&all), "{cache_control:?} {age:?}: {all} fetches");
    }
}

#[test]
fn an_outage_ends_nothing_before_the_hard_stop() {
    for (change, age, accepted_for) in [
        (json!({}), None, 24 * 60),
        (json!({}), Some("36000"), 14 * 60),
        (json!({"freshness": {"keys_hard_stop": "2h"}}), None, 2 * 60),
        (json!({"freshness": {"stale_if_error": "30m"}}), None, 90),
        (json!({"freshness": {"stale_if_error": "0s"}}), None, 60),
    ] {
        let mut scene = Scene::new(change);
        scene.source.age = age.map(str::to_owned);
        // One hour, whatever the age.
        let left = age.map_or(0, |age: &str| age.parse::<u64>().unwrap()) + 3600;
        scene.source.cache_control = Some(format!("max-age={left}"));
        assert_eq!(code(&scene.judge(&[token(1)])[0]), "accepted");
        scene.source.keys = None;
        let tokens = vec![token(1); 5];
        let mut refused_after = None;
        for minute in 0..26 * 60 {
            scene.now = START + minute * 60_000 + 30_000;
            scene.pass(0, &mut Vec::new());
            let before = scene.fetches;
            let verdicts = scene.judge(&tokens);
            assert!(scene.fetches - before <= 1, "{} fetches", scene.fetches - before);
            let codes: Vec<&str> = verdicts.iter().map(code).collect();
            assert!(codes.iter().all(|one| *one == codes[0]), "{codes:?}");
            if codes[0] != "accepted" {
                assert_eq!(codes[0], "keys_unavailable");
                refused_after.get_or_insert(minute);
            }
        }
        assert_eq!(refused_after, Some(accepted_for), "{age:?}");
        assert_eq!(scene.most_at_once, 1);
    }
}

#[test]
fn unknown_keys_ask_once_per_cool_down() {
    let mut scene = Scene::new(json!({}));
    scene.source.cache_control = Some("max-age=86400".into());
    scene.judge(&[token(1)]);
    // A new key: the first token that names it makes the verifier ask.
    scene.source.keys = Some(vec![1, 2]);
    scene.rest(40);
    let verdicts = scene.judge(&vec![token(2); 1_000]);
    assert!(verdicts.iter().all(|verdict| code(verdict) == "accepted"));
    assert_eq!((scene.fetches, scene.most_at_once), (2, 1));
    // Keys that do not exist, for ten minutes.
    for round in 0..60_u8 {
        scene.rest(10);
        let tokens: Vec<String> = (0..20).map(|at| token(3 + (round % 5) * 20 + at)).collect();
        let verdicts = scene.judge(&tokens);
        assert!(verdicts.iter().all(|verdict| code(verdict) == "key_not_found"));
    }
    assert!((18..=23).contains(&scene.fetches), "{} fetches", scene.fetches);
    assert_eq!(scene.most_at_once, 1);
    // While the source is away, nobody knows whether the key exists. Known keys are accepted.
    scene.source.keys = None;
    scene.rest(40);
    let verdicts = scene.judge(&[vec![token(9); 50], vec![token(2); 50]].concat());
    let codes = |wanted| verdicts.iter().filter(|verdict| code(verdict) == wanted).count();
    assert_eq!((codes("keys_unavailable"), codes("accepted")), (50, 50));
}

#[test]
fn a_new_key_is_taken_from_a_cache_that_answers_with_a_larger_age() {
    for has_etag in [true, false] {
        let mut scene = Scene::new(json!({}));
        scene.source.has_etag = has_etag;
        scene.source.cache_control = Some("max-age=24873".into());
        scene.judge(&[token(1)]);
        scene.rest(40);
        // Another point of presence, whose copy is old, but not as old as the key.
        scene.source.age = Some("5059".into());
        scene.source.keys = Some(vec![1, 2]);
        for key in [2, 1, 2] {
            assert_eq!(code(&scene.judge(&[token(key)])[0]), "accepted");
        }
        assert_eq!(scene.fetches, 2);
    }
}

#[test]
fn private_members_of_a_foreign_set_have_no_effect() {
    let mut scene = Scene::new(json!({}));
    scene.source.has_etag = false;
    for (key, more) in [
        (1, json!({"iat": START / 1000, "exp": 0})),
        (2, json!({"iat": 5, "exp": START / 1000 - 1})),
        (3, json!({"iat": "x"})),
        (4, json!({})),
    ] {
        scene.source.more = more;
        scene.source.keys = Some((1..=key).collect());
        assert_eq!(code(&scene.judge(&[token(key)])[0]), "accepted", "{key}");
        scene.rest(40);
    }
    let mut scene = Scene::new(json!({"freshness": {"deadline": "10s"}}));
    scene.source.more = json!({"exp": 0});
    assert_eq!(code(&scene.judge(&[token(1)])[0]), "keys_unavailable");
}

#[test]
fn a_slow_source_may_have_more_time_where_there_is_no_deadline() {
    let check = |freshness: Value, mode: &str| {
        let config = json!({
            "profile": "jwt", "issuer": ISSUER, "audience": "api", "typ": null,
            "status": {"mode": mode}, "freshness": freshness,
        });
        Policy::try_from(serde_json::from_value::<PolicyConfig>(config).unwrap()).map(|_| ())
    };
    assert_eq!(check(json!({"fetch_timeout": "30s"}), "ignore"), Ok(()));
    assert!(check(json!({"fetch_timeout": "30s"}), "when_present").is_err());
    assert!(check(json!({"fetch_timeout": "30s", "deadline": "10s"}), "ignore").is_err());
    assert!(check(json!({"fetch_timeout": "30s", "keys": "deadline"}), "ignore").is_err());
}

#[test]
fn without_a_copy_a_failure_is_tried_again_after_a_second() {
    let mut scene = Scene::new(json!({}));
    let keys = scene.source.keys.take();
    let verdicts = scene.judge(&vec![token(1); 1_000]);
    assert!(verdicts.iter().all(|verdict| code(verdict) == "keys_unavailable"));
    assert_eq!((scene.fetches, scene.most_at_once), (1, 1));
    scene.source.keys = keys;
    scene.rest(1);
    assert_eq!(code(&scene.judge(&[token(1)])[0]), "accepted");
}

#[test]
fn a_source_without_entity_tags_is_asked_without_conditions() {
    let mut scene = Scene::new(json!({}));
    scene.source.has_etag = false;
    for _ in 0..3 {
        scene.judge(&vec![token(1); 100]);
        scene.rest(601);
    }
    assert_eq!((scene.fetches, scene.conditional, scene.most_at_once), (3, 0, 1));
}

#[test]
fn caches_that_answer_in_turn_do_not_make_every_request_fetch() {
    let mut scene = Scene::new(json!({}));
    scene.source.has_etag = false;
    scene.source.cache_control = Some("max-age=3600".into());
    for round in 0..200 {
        // One node of the cache has the copy since long ago, and the other one does not.
        scene.source.age = Some(if round % 2 == 0 { "10" } else { "3590" }.into());
        let verdict = scene.judge(&[token(1)]).remove(0);
        assert_eq!(code(&verdict), "accepted");
        scene.rest(30);
    }
    assert!(scene.fetches <= 101, "{} fetches in 100 min", scene.fetches);
}

#[test]
fn with_a_deadline_an_old_copy_is_refused_and_counted() {
    for (change, is_http) in [
        (json!({}), true),
        (json!({"freshness": {"deadline": "none"}}), true),
        (json!({"freshness": {"keys": "http"}}), true),
        (json!({"freshness": {"deadline": "10s"}}), false),
        (json!({"freshness": {"keys": "deadline"}}), false),
        (json!({"freshness": {"keys": "deadline", "deadline": "none"}}), false),
        (json!({"status": {"mode": "when_present"}}), true),
        (json!({"status": {"mode": "when_present"}, "freshness": {"deadline": "30s"}}), false),
    ] {
        let mut scene = Scene::new(change.clone());
        scene.source.age = Some("5059".into());
        let verdict = scene.judge(&[token(1)]).remove(0);
        let expected = if is_http { "accepted" } else { "keys_unavailable" };
        assert_eq!(code(&verdict), expected, "{change}");
        let counted = scene.verifier.counters().refused.of(Refused::TooOld);
        assert_eq!(counted, u64::from(!is_http), "{change}");
    }
}
