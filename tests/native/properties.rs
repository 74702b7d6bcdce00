//! Properties of the verifier, on the native host.

use std::cell::RefCell;

use edgepass_client::{Fetch, NativeHost};
use edgepass_verify::batch::{Batch, Outcome};
use edgepass_verify::documents::fetch::{Answer, Content, FetchOrder};
use edgepass_verify::host::judge_and_refresh;
use edgepass_verify::native::NativeCrypto;
use edgepass_verify::verifier::{KeySource, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, UnixMillis};
use serde_json::{Value, json};

const LINES: &str = include_str!("../vectors/batch.jsonl");

/// The accepted lines of the family `algorithm`: one good token for every algorithm.
fn good_lines() -> impl Iterator<Item = Value> {
    let lines = LINES.lines().map(|text| serde_json::from_str::<Value>(text).unwrap());
    lines.filter(|line| {
        let id = line["id"].as_str().unwrap();
        id.starts_with("algorithm/") && line["expect"]["verdict"] == "accepted"
    })
}

#[tokio::test]
async fn any_flipped_bit_is_refused() {
    let mut algorithms = 0;
    for mut line in good_lines() {
        let mut batch = Batch::default();
        let token = line["token"].as_str().unwrap().to_owned();
        assert_eq!(judge(&mut batch, &line).await, Outcome::Accepted);
        // Every ES256 signature has a second valid form, but it differs in more than one bit.
        for position in 0..token.len() * 8 {
            let mut bytes = token.clone().into_bytes();
            bytes[position / 8] ^= 1 << (position % 8);
            // A verifier takes text, so bytes that are not UTF-8 never reach it.
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            line["token"] = json!(changed);
            let outcome = judge(&mut batch, &line).await;
            assert_eq!(outcome, Outcome::Refused, "{} bit {position}", line["id"]);
        }
        algorithms += 1;
    }
    assert_eq!(algorithms, 9);
}

#[tokio::test]
async fn any_shorter_or_longer_token_is_refused() {
    for mut line in good_lines() {
        let mut batch = Batch::default();
        let token = line["token"].as_str().unwrap().to_owned();
        let shorter = (0..token.len()).map(|length| token[..length].to_owned());
        let longer = ["A", "=", ".", " ", "\n", "\0"].map(|more| format!("{token}{more}"));
        for changed in shorter.chain(longer) {
            line["token"] = json!(changed);
            assert_eq!(judge(&mut batch, &line).await, Outcome::Refused, "{}", line["id"]);
        }
    }
}

#[tokio::test]
async fn what_has_expired_stays_expired() {
    for mut line in good_lines().take(1) {
        let mut batch = Batch::default();
        let expiration = 1_800_000_540_u64;
        for now in [0, expiration - 601, expiration - 600, expiration - 1] {
            line["now"] = json!(now);
            let early = now < expiration - 600;
            let expected = if early { Outcome::Refused } else { Outcome::Accepted };
            assert_eq!(judge(&mut batch, &line).await, expected, "{now}");
        }
        for now in [expiration, expiration + 1, 1_u64 << 31, 1 << 32, 1 << 33, 253_402_300_799] {
            line["now"] = json!(now);
            assert_eq!(judge(&mut batch, &line).await, Outcome::Refused, "{now}");
        }
    }
}

/// One verifier, two issuers: each token is judged by its own issuer's keys and policy.
#[tokio::test]
async fn issuers_do_not_stand_in_for_each_other() {
    let line = |id: &str| {
        let lines = LINES.lines().map(|text| serde_json::from_str::<Value>(text).unwrap());
        lines.into_iter().find(|line| line["id"] == id).unwrap()
    };
    let policy = |line: &Value, mode: &str| {
        let mut policy = line["policy"].clone();
        policy.as_object_mut().unwrap().remove("required_scopes");
        policy["status"] = json!({ "mode": mode });
        if mode != "ignore" {
            policy["status"]["uri_prefixes"] = json!(["https://issuer.example/"]);
        }
        Policy::try_from(serde_json::from_value::<PolicyConfig>(policy).unwrap()).unwrap()
    };
    let (foreign, own) = (line("profile/github-actions"), line("status/valid"));
    let only = |kid: &str| {
        let keys = own["jwks"]["keys"].as_array().unwrap().iter();
        let keys: Vec<&Value> = keys.filter(|key| key["kid"] == kid).collect();
        json!({ "keys": keys }).to_string()
    };
    for (foreign_kid, own_kid, expected) in [
        ("rs256", "ed", [None, None]),
        ("ed", "rs256", [Some("key_not_found"), Some("key_not_found")]),
        ("rs256", "es256", [None, Some("key_not_found")]),
    ] {
        let (first, second) = (policy(&foreign, "ignore"), policy(&own, "required"));
        let keys = |kid: &str, policy| KeySource::given(only(kid).as_bytes(), policy).unwrap();
        let (one, two) = (keys(foreign_kid, &first), keys(own_kid, &second));
        let verifier = Verifier::of_issuers(vec![(first, one), (second, two)]).unwrap();
        let verifier = RefCell::new(verifier);
        let now = UnixMillis::from_seconds(1_800_000_000);
        let uri = "https://issuer.example/lists/1";
        let list = own["responses"][uri]["body"].as_str().unwrap().to_owned();
        for (line, expected) in [&foreign, &own].into_iter().zip(expected) {
            let token = line["token"].as_str().unwrap();
            let check =
                verifier.borrow_mut().begin(token, Sender::default(), Requirements::default());
            let source = Source { list: list.clone(), now };
            let host = NativeHost::new(source, || now);
            let verdict = judge_and_refresh(&verifier, check, &host).await;
            assert_eq!(
                verdict.error().map(|error| error.code()),
                expected,
                "{foreign_kid} {own_kid}"
            );
        }
    }
}

/// Answers every fetch with one status list.
struct Source {
    list: String,
    now: UnixMillis,
}

impl Fetch for Source {
    async fn fetch(&self, _order: &FetchOrder) -> Answer {
        let content = Content::Body {
            bytes: self.list.clone().into_bytes(),
            media_type: Some("application/statuslist+jwt".into()),
            etag: None,
        };
        Answer { content, ..Answer::failed(self.now) }
    }
}

async fn judge(batch: &mut Batch, line: &Value) -> Outcome {
    batch.judge(&line.to_string(), &NativeCrypto).await.verdict
}
