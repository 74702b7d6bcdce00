//! Revokes, suspends and resumes tokens while `serve` runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use edgepass_jose::CompactJws;
use edgepass_status_list::{StatusList, StatusListClaims, StatusType};
use serde_json::{Value, json};

use crate::keys::run_sql;
use crate::serving::Serving;
use crate::{Issuer, assert_refused, lines, said};

#[test]
fn each_selection_revokes_exactly_the_tokens_that_match() {
    let serving = Serving::start();
    let kid = || serving.tokens()[0]["kid"].as_str().unwrap().to_owned();
    let other = serving.issue(&["invoice-reader", "--client", "other", "--subject", "x"]);
    let tokens = || ["a", "b"].map(|name| serving.issue(&["invoice-clerk", "--client", name]));
    let file = serving.issuer.path("jtis.txt");

    let [a, b] = tokens();
    serving.act(&["revoke", "--role", "invoice-clerk", "--dry-run"], 2);
    assert_eq!(serving.status(&a), "live");
    serving.act(&["revoke", "--role", "invoice-clerk"], 2);
    assert_eq!((serving.status(&a), serving.status(&b)), ("revoked".into(), "revoked".into()));

    let [a, b] = tokens();
    serving.act(&["revoke", "--client", "a"], 1);
    let none = serving.act(&["revoke", "--subject", "b", "--role", "invoice-reader"], 0);
    assert!(none["message"].as_str().unwrap().contains("no live token fits"), "{none}");
    assert_eq!((serving.status(&a), serving.status(&b)), ("revoked".into(), "live".into()));
    serving.act(&["revoke", "--subject", "b"], 1);

    let [a, b] = tokens();
    std::fs::write(&file, format!("{a}\n\n{b}\nno-such-token\n")).unwrap();
    serving.act(&["revoke", "--jti-file", file.to_str().unwrap()], 2);
    assert_eq!(serving.status(&b), "revoked");
    assert_eq!(serving.status(&other), "live");
    // A file above the size limit is refused, not read in part.
    std::fs::write(&file, format!("{}{other}\n", "\n".repeat(8 << 20))).unwrap();
    let file = file.to_str().unwrap();
    let large = serving.issuer.run(&["revoke", "--jti-file", file, "--reason", "test"]);
    assert_refused(&large, 2, "more than 8 MiB");

    serving.act(&["revoke", "--issued-before", "2020-01-01T00:00:00Z"], 0);
    for (option, says) in [("--key", "no such key"), ("--role", "no such role")] {
        let mistyped = ["revoke", option, "-nope", "--reason", "test"];
        assert_refused(&serving.issuer.run(&mistyped), 1, says);
        assert_refused(&serving.issuer.run(&[&mistyped[..], &["--dry-run"]].concat()), 1, says);
    }
    serving.act(&["revoke", "--key", &kid()], 1);
    assert_eq!(serving.status(&other), "revoked");
    let [a, _] = tokens();
    serving.act(&["revoke", "--issued-before", "now"], 2);
    assert_eq!(serving.status(&a), "revoked");

    let trail = String::from_utf8(serving.issuer.run(&["audit", "--json"]).stdout).unwrap();
    let entry = trail
        .lines()
        .find(|line| line.contains("\"fitting\":{\"role\":\"invoice-reader\",\"subject\":\"b\""))
        .unwrap();
    let entry: Value = serde_json::from_str(entry).unwrap();
    assert_eq!((&entry["act"], &entry["count"]), (&json!("statuses_changed"), &json!(0)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test compares points in time")]
fn every_token_that_was_issued_before_revoke_returned_is_in_the_lists_that_are_served() {
    let serving = Serving::start();
    for round in 0..3 {
        let stop = AtomicBool::new(false);
        let (issued, returned_at) = std::thread::scope(|scope| {
            let callers: [_; 3] = std::array::from_fn(|_| {
                scope.spawn(|| {
                    let mut issued = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let token = serving.token();
                        issued.push((std::time::Instant::now(), token));
                    }
                    issued
                })
            });
            std::thread::sleep(std::time::Duration::from_millis(300));
            let revoke = ["revoke", "--role", "invoice-reader", "--reason", "test"];
            let output = serving.issuer.run(&revoke);
            let returned_at = std::time::Instant::now();
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            // After the act, tokens are issued again.
            std::thread::sleep(std::time::Duration::from_millis(1500));
            stop.store(true, Ordering::Relaxed);
            let issued = callers.into_iter().flat_map(|caller| caller.join().unwrap());
            (issued.collect::<Vec<_>>(), returned_at)
        });
        let before = issued.iter().filter(|(at, _)| *at < returned_at);
        let before: Vec<&str> = before.filter_map(|(_, token)| token.as_deref()).collect();
        assert!(before.len() > 5, "round {round}: {} tokens", before.len());
        let lists = serving.lists();
        for token in before {
            assert_eq!(served_status(&lists, token), Some(StatusType::Invalid), "round {round}");
        }
        let after = issued.iter().filter(|(at, _)| *at > returned_at);
        let after: Vec<&str> = after.filter_map(|(_, token)| token.as_deref()).collect();
        assert!(!after.is_empty(), "round {round}: nothing is issued any more");
    }
}

/// Status of a token in the served lists.
fn served_status(lists: &HashMap<String, StatusList>, token: &str) -> Option<StatusType> {
    let claims: Value = claims_of(token);
    let reference = &claims["status"]["status_list"];
    lists.get(reference["uri"].as_str()?)?.status(reference["idx"].as_u64()?)
}

fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).and_then(edgepass_jose::base64url::decode).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

impl Serving {
    /// Requests a token over HTTP. `None` while such tokens are being revoked (503).
    fn token(&self) -> Option<String> {
        let (status, body) =
            self.send("oauth/token", &self.secret, "grant_type=client_credentials");
        assert!(status == 200 || status == 503, "{status} {body}");
        body["access_token"].as_str().map(str::to_owned)
    }

    /// All served lists by their URIs.
    fn lists(&self) -> HashMap<String, StatusList> {
        let named: Value =
            serde_json::from_str(&self.get("status-list-aggregation").unwrap()).unwrap();
        let uris = named["status_lists"].as_array().unwrap().iter();
        uris.map(|uri| {
            let uri = uri.as_str().unwrap();
            let text = self.get(uri.strip_prefix(&format!("{}/", self.url)).unwrap()).unwrap();
            let jws = CompactJws::parse(&text, 1 << 20).unwrap();
            let claims = StatusListClaims::from_claims(&jws.claims().unwrap(), 1 << 20).unwrap();
            (uri.to_owned(), claims.list)
        })
        .collect()
    }
}

#[test]
fn a_token_is_suspended_and_resumed() {
    let serving = Serving::start();
    let jti = serving.issue(&["invoice-reader"]);
    serving.act(&["suspend", "--jti", &jti], 1);
    assert_eq!(serving.status(&jti), "suspended");
    let list: Value =
        serde_json::from_str(&serving.get("status-list-aggregation").unwrap()).unwrap();
    assert!(!list["status_lists"].as_array().unwrap().is_empty());
    serving.act(&["resume", "--jti", &jti], 1);
    assert_eq!(serving.status(&jti), "live");
    serving.act(&["revoke", "--jti", &jti], 1);
    let resume = ["resume", "--jti", &jti, "--reason", "test"];
    assert_refused(&serving.issuer.run(&resume), 1, "revoked for good");
    assert_eq!(serving.status(&jti), "revoked");
}

#[test]
fn suspending_says_that_it_is_not_set_up() {
    let issuer = Issuer::new();
    let output = issuer.run(&["suspend", "--role", "invoice-clerk", "--reason", "test"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("before [status] says suspension = true"), "{output:?}");
}

#[test]
fn over_http_a_client_may_do_what_its_configuration_says() {
    let serving = Serving::start();
    let jti = serving.issue(&["invoice-reader", "--client", "other"]);
    let by_role =
        |act: &str| json!({"act": act, "fitting": {"role": "invoice-reader"}, "reason": "x"});
    let mut dry = by_role("revoke");
    dry["dry_run"] = true.into();
    let (status, body) = serving.post(&serving.secret, &dry);
    assert_eq!(
        (status, &body["count"], &body["roles"]),
        (200, &json!(1), &json!({"invoice-reader": 1}))
    );
    assert_eq!(serving.status(&jti), "live");
    for (secret, body, expected, error) in [
        ("wrong", by_role("revoke"), 401, "invalid_client"),
        (&serving.secret, by_role("suspend"), 400, "unauthorized_client"),
        (&serving.secret, json!({"act": "revoke", "reason": "x"}), 400, "invalid_request"),
        (&serving.secret, json!({"act": "revoke"}), 400, "invalid_request"),
    ] {
        let (status, answer) = serving.post(secret, &body);
        assert_eq!((status, answer["error"].as_str()), (expected, Some(error)), "{body}");
    }
    let (status, body) = serving.post(&serving.secret, &by_role("revoke"));
    assert_eq!((status, &body["count"], &body["published"]), (200, &json!(1), &json!(true)));
    assert_eq!(serving.status(&jti), "revoked");
}

#[test]
fn an_act_without_a_valid_selection_is_a_usage_error() {
    let issuer = Issuer::new();
    for (arguments, says) in [
        (&["revoke", "--reason", "x"][..], "required"),
        (&["revoke", "--jti", "a", "--role", "b", "--reason", "x"], "cannot be used with"),
        (&["revoke", "--issued-before", "yesterday", "--reason", "x"], "2026-11-22T10:00:00Z"),
    ] {
        let output = issuer.run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let mut serving = Serving::start();
    let output = serving.issuer.run(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "10s >= 500ms publish_delay + 1s shared_max_age + 5s refresh_interval + 2s 500ms fetch_timeout",
        "1m 10s = 10s deadline + 1m stale_if_error",
        "25h",
        "exactly those of this issuer",
        "0 wrong",
    ] {
        assert!(text.replace("1d 1h", "25h").contains(line), "{line} is missing:\n{text}");
    }
    assert_eq!(output.status.code(), Some(0), "{text}");
    serving.kill();
    let output = serving.issuer.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], false);
    assert!(report.to_string().contains("is `edgepass serve` running?"), "{report}");
}

#[test]
fn a_token_is_replaced_and_the_old_one_ends_after_its_grace() {
    let serving = Serving::start();
    let old = serving.issue(&["invoice-clerk", "--scope", "invoices:read", "--subject", "ada"]);
    let replace = |arguments: &[&str]| {
        let all = [&["issue", "--json", "--replace", old.as_str()], arguments].concat();
        serving.issuer.run(&all)
    };
    assert_eq!(replace(&["--scope", "invoices:write"]).status.code(), Some(1));
    assert_eq!(replace(&["--grace", "2h"]).status.code(), Some(1));
    assert_eq!(replace(&["--role", "invoice-reader"]).status.code(), Some(2));
    let output = replace(&["--grace", "0s"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let new: Value = serde_json::from_slice(&output.stdout).unwrap();
    serving.wait_for("the old token is revoked", || serving.status(&old) == "revoked");
    let tokens = serving.tokens();
    let new = tokens.iter().find(|token| token["jti"] == new["jti"]).unwrap();
    for (member, value) in
        [("role", "invoice-clerk"), ("scope", "invoices:read"), ("sub", "ada"), ("status", "live")]
    {
        assert_eq!(new[member], value, "{new}");
    }
    assert_eq!(replace(&[]).status.code(), Some(1), "the old one is not valid any more");
}

#[test]
fn tokens_are_listed_by_expiry_and_as_comma_separated_values() {
    let issuer = Issuer::new();
    let issue = |arguments: &[&str]| {
        let output = issuer.run(&[&["issue", "--role", "invoice-reader"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    };
    issue(&["--ttl", "1h", "--subject", "a, \"b\""]);
    issue(&["--ttl", "2m"]);
    let list = |arguments: &[&str]| {
        let output = issuer.run(&[&["tokens"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(list(&["--json", "--expiring-in", "5m"]).lines().count(), 1);
    assert_eq!(list(&["--json", "--expiring-in", "2h"]).lines().count(), 2);
    assert_eq!(list(&["--json", "--agreement", "none"]).lines().count(), 0);
    let csv = list(&["--csv"]);
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.contains("\"a, \"\"b\"\"\""), "{csv}");
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(columns > 10 && csv.lines().next().unwrap().contains("jti"), "{csv}");
    assert_eq!(list(&["--csv", "--expiring-in", "5m"]).lines().count(), 2);
}

#[test]
fn serve_deletes_records_of_tokens_that_expired_long_ago() {
    let mut serving = Serving::start();
    let names: Vec<String> = (0..3).map(|_| serving.issue(&["invoice-reader"])).collect();
    serving.kill();
    // The first expired an hour ago, the second before `keep_records`.
    let database = serving.issuer.path("data/edgepass.db");
    run_sql(&database, "UPDATE tokens SET expiration = unixepoch() - 3600 WHERE seq = 1");
    run_sql(&database, "UPDATE tokens SET expiration = unixepoch() - 2592001 WHERE seq = 2");
    serving.restart();
    serving.wait_until_ready();
    let known = || -> Vec<String> {
        let tokens = serving.tokens();
        tokens.iter().map(|token| token["jti"].as_str().unwrap().to_owned()).collect()
    };
    serving.wait_for("the second record is deleted", || known().len() == 2);
    assert_eq!(known(), [names[2].clone(), names[0].clone()]);
    let trail = lines(&serving.issuer.run(&["audit", "--json"]).stdout);
    let issued = |name: &&String| trail.iter().any(|entry| entry["jwt_id"] == **name);
    assert!(names.iter().all(|name| issued(&name)), "{trail:?}");
}
