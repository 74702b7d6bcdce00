//! The verification vectors on the native host.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

use std::collections::BTreeMap;

use edgepass_tests::{Replay, VectorFile};

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
    assert!(file.vectors.len() > 250, "the file is not whole");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
