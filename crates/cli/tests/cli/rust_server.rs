//! Rust servers in front of a real issuer: our own client, and the crate `jsonwebtoken`.

use std::time::Duration;

use edgepass_client::Client;
use edgepass_client::Requirements;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use crate::serving::Serving;

const AUDIENCE: &str = "https://api.example";

fn token(serving: &Serving) -> String {
    let form = "grant_type=client_credentials&scope=invoices:read";
    let (status, answer) = serving.send("oauth/token", &serving.secret, form);
    assert_eq!(status, 200, "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_makes_tables_and_fetches_lists_ahead() {
    let serving = Serving::start_with("");
    let client = Client::of_issuer(&serving.url, AUDIENCE).unwrap();
    assert!(client.warm().await);
    for _ in 0..80 {
        let verdict = client.verify(&token(&serving), Requirements::default()).await;
        assert!(verdict.accepted(), "{:?}", verdict.error());
    }
    let aggregation: Value =
        serde_json::from_str(&serving.get("status-list-aggregation").unwrap()).unwrap();
    let lists = aggregation["status_lists"].as_array().unwrap().len();
    for _ in 0..100 {
        let counters = client.counters();
        if counters.table_bytes > 0 && counters.lists >= lists.min(6) {
            assert_eq!(counters.faults, 0);
            return;
        }
        // Nobody asks: the client works by itself.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after 5 s: {:?}, of {lists} lists", client.counters());
}

#[test]
fn the_crate_jsonwebtoken_verifies_tokens_by_the_published_keys() {
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let written = |name: &str| format!("algorithm = \"{name}\"");
        let serving = Serving::start_prepared(
            |text| {
                ["EdDSA", "ES256"]
                    .iter()
                    .fold(text, |text, name| text.replace(&written(name), &written(algorithm)))
            },
            |_| {},
        );
        serving.wait_until_ready();
        let keys: JwkSet =
            serde_json::from_str(&serving.get(".well-known/jwks.json").unwrap()).unwrap();
        let token = token(&serving);
        let header = decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let jwk = keys.find(header.kid.as_deref().unwrap()).unwrap();
        let key = DecodingKey::from_jwk(jwk).unwrap();
        let mut rules = Validation::new(header.alg);
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[&serving.url]);
        let claims = decode::<Value>(&token, &key, &rules).unwrap().claims;
        assert_eq!(claims["scope"], "invoices:read");
        // Another audience, and another signature, are refused.
        let mut others = rules.clone();
        others.set_audience(&["https://other.example"]);
        assert!(decode::<Value>(&token, &key, &others).is_err());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        assert!(
            decode::<Value>(&format!("{signed}.{first}{}", &signature[1..]), &key, &rules).is_err()
        );
    }
}
