//! Batches on the native host.

use std::collections::BTreeMap;

use edgepass::line_judges::LineJudges;
use edgepass_verify::batch::{Batch, Outcome};
use edgepass_verify::native::NativeCrypto;
use serde_json::{Value, json};

const LINES: &str = include_str!("../vectors/batch.jsonl");

/// Judges lines with their expected answers. Returns the number of lines of each kind.
pub(crate) async fn judge_all(lines: &str) -> BTreeMap<String, u32> {
    let mut batch = Batch::default();
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for text in lines.lines() {
        let line: Value = serde_json::from_str(text).unwrap();
        let id = line["id"].as_str().unwrap();
        *kinds.entry(id.split('/').next().unwrap().to_owned()).or_default() += 1;
        let answer = serde_json::to_value(batch.judge(text, &NativeCrypto).await).unwrap();
        let members = ["verdict", "code", "stale", "fetched"].map(|name| answer[name].clone());
        let expected = ["verdict", "code", "stale", "fetched"].map(|name| &line["expect"][name]);
        if members.iter().ne(expected) || answer["id"] != line["id"] {
            wrong.push(format!("{id}: {answer} instead of {}", line["expect"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    kinds
}

#[tokio::test]
async fn every_line_gives_its_answer() {
    println!("native: {} lines {:?}", LINES.lines().count(), judge_all(LINES).await);
}

/// Lines that are judged in parallel get the same answers, in the same order, as one after another.
#[tokio::test]
async fn all_cores_answer_as_one() {
    let mut one = Batch::default();
    let mut expected = Vec::new();
    let lines: Vec<&str> = LINES.lines().chain(["not json"]).collect();
    for line in &lines {
        expected.push(serde_json::to_value(one.judge(line, &NativeCrypto).await).unwrap());
    }
    for together in [1, 7, 1000] {
        let mut judges = LineJudges::default();
        let mut answers = Vec::new();
        for chunk in lines.chunks(together) {
            let chunk: Vec<Vec<u8>> = chunk.iter().map(|line| line.as_bytes().to_vec()).collect();
            answers.extend(judges.judge(&chunk));
        }
        let answers: Vec<Value> =
            answers.iter().map(|answer| serde_json::to_value(answer).unwrap()).collect();
        assert!(answers == expected, "{together} at once");
    }
}

/// An answer repeats no part of the token or of the request's headers, whether refused or not.
#[tokio::test]
async fn an_answer_holds_nothing_of_the_token() {
    let mut batch = Batch::default();
    for text in LINES.lines() {
        let line: Value = serde_json::from_str(text).unwrap();
        let mut answer = serde_json::to_value(batch.judge(text, &NativeCrypto).await).unwrap();
        answer["id"] = Value::Null;
        answer["fetched"] = Value::Null;
        let said = answer.to_string();
        let headers = line["request"]["headers"].as_array().cloned().unwrap_or_default();
        let tokens = headers.iter().filter_map(|header| header[1].as_str());
        for token in tokens.chain(line["token"].as_str()) {
            for part in token.split(['.', ' ']).filter(|part| part.len() > 8) {
                assert!(!said.contains(part), "{}: {said}", line["id"]);
            }
        }
    }
}

#[tokio::test]
async fn an_unusable_line_is_answered_and_the_run_goes_on() {
    let mut batch = Batch::default();
    for (line, id) in [
        ("", Value::Null),
        ("not json", Value::Null),
        ("[]", Value::Null),
        ("{}", Value::Null),
        (r#"{"id":"a"}"#, json!("a")),
        (r#"{"id":7,"token":1}"#, json!(7)),
        (r#"{"id":"a","id":"b"}"#, Value::Null),
        (&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), Value::Null),
    ] {
        let answer = serde_json::to_value(batch.judge(line, &NativeCrypto).await).unwrap();
        assert_eq!((&answer["verdict"], &answer["id"]), (&json!("error"), &id));
        assert!(answer["message"].is_string() && answer["code"].is_null());
    }
    // A member of the wrong type is an error; only `null` counts as absent.
    let first = LINES.lines().next().unwrap();
    let line: Value = serde_json::from_str(first).unwrap();
    for (member, value, is_line) in [
        ("/policy/status", json!("required"), false),
        ("/policy/status", json!([]), false),
        ("/policy/status", json!(true), false),
        ("/policy/status", Value::Null, true),
        ("/policy/freshness", json!({"deadline": "none"}), false),
        ("/policy/dpop", json!("x"), false),
        ("/jwks_text", Value::Null, true),
        (
            "/request",
            json!({"method": "GET", "url": "https://a.example/", "headers": [["a", "b", "c"]]}),
            false,
        ),
    ] {
        let mut changed = line.clone();
        let (parent, name) = member.rsplit_once('/').unwrap();
        if name == "request" {
            changed.as_object_mut().unwrap().remove("token");
        }
        changed.pointer_mut(parent).unwrap()[name] = value.clone();
        let answer = batch.judge(&changed.to_string(), &NativeCrypto).await;
        assert_eq!(answer.verdict != Outcome::Error, is_line, "{member} {value}: {answer:?}");
    }
    let answer = serde_json::to_value(batch.judge(first, &NativeCrypto).await).unwrap();
    assert_eq!(answer["verdict"], "accepted");
}
