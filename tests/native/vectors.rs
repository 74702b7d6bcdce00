//! The verification vectors on the native host.

use std::collections::BTreeMap;
use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_tests::{Replay, VectorFile};
use edgepass_verify::documents::fetch::{Answer, Content, DocumentKind, Failure};
use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::verifier::{JwksUri, KeySource, Progress, Received, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, UnixMillis};
use serde_json::{Value, json};

#[tokio::test]
async fn every_vector_gives_its_verdict_and_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/verify.json");
    let text = std::fs::read_to_string(path).unwrap();
    let file: VectorFile = serde_json::from_str(&text).unwrap();
    let mut replay = Replay::default();
    let mut families: BTreeMap<&str, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for vector in &file.vectors {
        *families.entry(vector.id.split('/').next().unwrap()).or_default() += 1;
        let outcome = replay.judge(vector, &file).await;
        if outcome != vector.expect {
            wrong.push(format!("{}: {outcome:?} instead of {:?}", vector.id, vector.expect));
        }
    }
    println!("native: {} vectors {families:?}", file.vectors.len());
    assert!(file.vectors.len() > 250, "the file is incomplete");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A token whose key is withdrawn, or that expires, while its status list is being fetched.
#[test]
fn what_was_checked_before_a_wait_is_checked_again_after_it() {
    let file = include_str!("../vectors/verify.json");
    let file: Value = serde_json::from_str(file).unwrap();
    // This vector's token and list are signed by different keys.
    let named = |vector: &&Value| {
        vector["id"].as_str().is_some_and(|id| id.starts_with("session/list-of-a-withdrawn-key"))
    };
    let vector = file["vectors"].as_array().unwrap().iter().find(named).unwrap();
    let (token, now) = (vector["token"].as_str().unwrap(), vector["now"].as_u64().unwrap());
    let list_uri = "https://issuer.example/status-lists/1";
    let list = file["defaults"]["responses"][list_uri]["body"].as_str().unwrap();
    let keys = file["defaults"]["jwks"].clone();
    let withdrawn = json!({ "keys": [keys["keys"][0]], "iat": now });

    let body = |bytes: String, at| Answer {
        content: Content::Body {
            bytes: bytes.into_bytes(),
            media_type: Some(DocumentKind::StatusList.accept().into()),
            etag: None,
        },
        ..Answer::failed(at)
    };
    // (seconds until the list arrives, JWK Set that arrives meanwhile, expected code)
    for (wait, meanwhile, expected) in [
        (1, None, None),
        (1, Some(&withdrawn), Some("key_not_found")),
        (550, None, Some("keys_unavailable")), // the set is too old by then, and a fetch fails
        (3010, Some(&keys), Some("token_expired")),
    ] {
        let mut config: PolicyConfig = serde_json::from_value(vector["policy"].clone()).unwrap();
        // The list takes longer to arrive than the default of `max_list_age`.
        config.freshness.max_list_age = Some(DurationText(Duration::from_secs(3600)));
        let policy: Policy = config.try_into().unwrap();
        let source = KeySource::Url(JwksUri::parse("https://issuer.example/jwks").unwrap());
        let mut verifier = Verifier::new(policy, source).unwrap();
        let requirements = Requirements {
            all_of: Scope::parse("invoices:read").unwrap(),
            ..Requirements::default()
        };
        let mut check = verifier.begin(token, Sender::default(), requirements);
        let start = UnixMillis::from_seconds(now);
        let Progress::Fetch(keys_order) = verifier.advance(&mut check, start) else { panic!() };
        verifier.receive(keys_order.clone(), body(keys.to_string(), start), start);
        let Progress::Fetch(list_order) = verifier.advance(&mut check, start) else { panic!() };
        assert_eq!(list_order.url, list_uri);

        let later = UnixMillis::from_seconds(now + wait);
        if let Some(set) = meanwhile {
            verifier.receive(keys_order, body(set.to_string(), later), later);
        }
        let received = verifier.receive(list_order, body(list.to_owned(), later), later);
        assert!(matches!(received, Received::Settled { taken: true, .. }));
        let verdict = loop {
            match verifier.advance(&mut check, later) {
                Progress::Decided(verdict) => break verdict,
                Progress::Fetch(order) => {
                    let failed = Answer {
                        content: Content::Failed(Failure::Unknown),
                        ..body(String::new(), later)
                    };
                    verifier.receive(order, failed, later);
                }
                _ => panic!("nothing to wait for"),
            }
        };
        assert_eq!(verdict.error().map(|error| error.code()), expected, "{wait} s");
    }
}
