//! Revoking, suspending and resuming, beside a running `serve`.

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::{Issuer, assert_refused, said};

#[test]
fn every_grain_revokes_what_it_says_and_nothing_else() {
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
    serving.act(&["revoke", "--subject", "b", "--role", "invoice-reader"], 0);
    assert_eq!((serving.status(&a), serving.status(&b)), ("revoked".into(), "live".into()));
    serving.act(&["revoke", "--subject", "b"], 1);

    let [a, b] = tokens();
    std::fs::write(&file, format!("{a}\n\n{b}\nno-such-token\n")).unwrap();
    serving.act(&["revoke", "--jti-file", file.to_str().unwrap()], 2);
    assert_eq!(serving.status(&b), "revoked");
    assert_eq!(serving.status(&other), "live");
    // What would be read in part is not read at all.
    std::fs::write(&file, format!("{}{other}\n", "\n".repeat(8 << 20))).unwrap();
    let file = file.to_str().unwrap();
    let large = serving.issuer.run(&["revoke", "--jti-file", file, "--reason", "test"]);
    assert_refused(&large, 2, "more than 8 MiB");

    serving.act(&["revoke", "--issued-before", "2020-01-01T00:00:00Z"], 0);
    for (option, says) in [("--key", "no such key"), ("--role", "no such role")] {
        let mistyped = serving.issuer.run(&["revoke", option, "-nope", "--reason", "test"]);
        assert_refused(&mistyped, 1, says);
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
    assert_refused(&serving.issuer.run(&resume), 1, "revoked, for good");
    assert_eq!(serving.status(&jti), "revoked");
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
fn what_selects_nothing_or_everything_is_a_mistake() {
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
        "all of ours",
        "0 wrong",
    ] {
        assert!(text.replace("1day 1h", "25h").contains(line), "{line} is missing:\n{text}");
    }
    assert_eq!(output.status.code(), Some(0), "{text}");
    serving.kill();
    let output = serving.issuer.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], false);
    assert!(report.to_string().contains("does `edgepass serve` run?"), "{report}");
}
