//! Properties of the verifier, on the native host.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use edgepass::native::NativeCrypto;
use edgepass_verify::batch::{Batch, Outcome};
use serde_json::{Value, json};

const LINES: &str = include_str!("../vectors/batch.jsonl");

/// The lines whose `id` is `algorithm/` and a name: a good token under every algorithm.
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
        // ES256 has a valid twin of each signature, which differs in more than one bit.
        for position in 0..token.len() * 8 {
            let mut bytes = token.clone().into_bytes();
            bytes[position / 8] ^= 1 << (position % 8);
            // What is no UTF-8 reaches no verifier as text.
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            line["token"] = json!(changed);
            let outcome = judge(&mut batch, &line).await;
            assert_eq!(outcome, Outcome::Rejected, "{} bit {position}", line["id"]);
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
            assert_eq!(judge(&mut batch, &line).await, Outcome::Rejected, "{}", line["id"]);
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
            let expected = if early { Outcome::Rejected } else { Outcome::Accepted };
            assert_eq!(judge(&mut batch, &line).await, expected, "{now}");
        }
        for now in [expiration, expiration + 1, 1_u64 << 31, 1 << 32, 1 << 33, 253_402_300_799] {
            line["now"] = json!(now);
            assert_eq!(judge(&mut batch, &line).await, Outcome::Rejected, "{now}");
        }
    }
}

async fn judge(batch: &mut Batch, line: &Value) -> Outcome {
    batch.judge(&line.to_string(), &NativeCrypto).await.verdict
}
