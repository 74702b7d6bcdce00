//! Revoking, suspending and resuming, beside a running `serve`.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Issuer, assert_refused, said};

struct Serving {
    issuer: Issuer,
    url: String,
    secret: String,
    process: Child,
}

impl Serving {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        drop(listener);
        let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
        let made = issuer.run(&["init", ".", "--listen", &listen, "--json"]);
        assert_eq!(made.status.code(), Some(0), "{}", said(&made));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let file = issuer.path("edgepass.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("suspension = false", "suspension = true");
        let may = "id = \"example-service\"\nmay = [\"revoke\"]";
        std::fs::write(&file, text.replace("id = \"example-service\"", may)).unwrap();
        let mut serve = issuer.command(&["serve"]);
        let process = serve.stderr(Stdio::null()).spawn().unwrap();
        let serving = Self {
            issuer,
            url: format!("http://{listen}"),
            secret: made["client_secret"].as_str().unwrap().to_owned(),
            process,
        };
        for _ in 0..500 {
            if ureq::get(format!("{}/readyz", serving.url)).call().is_ok() {
                return serving;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("serve is not ready after 5 s");
    }

    fn issue(&self, arguments: &[&str]) -> String {
        let arguments = [&["issue", "--json", "--role"], arguments].concat();
        let output = self.issuer.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let issued: Value = serde_json::from_slice(&output.stdout).unwrap();
        issued["jti"].as_str().unwrap().to_owned()
    }

    /// An act must succeed, be published, and change so many tokens.
    fn act(&self, arguments: &[&str], count: u64) -> Value {
        let output = self.issuer.run(&[arguments, &["--reason", "test", "--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["count"], count, "{arguments:?}: {value}");
        value
    }

    fn tokens(&self) -> Vec<Value> {
        serde_json::from_slice(&self.issuer.run(&["tokens", "--json"]).stdout).unwrap()
    }

    fn status(&self, jti: &str) -> String {
        let tokens = self.tokens();
        let token = tokens.iter().find(|token| token["jti"] == jti).unwrap();
        token["status"].as_str().unwrap().to_owned()
    }

    fn post(&self, secret: &str, body: &Value) -> (u16, Value) {
        use base64::Engine;
        let basic = format!("example-service:{secret}");
        let basic = base64::engine::general_purpose::STANDARD.encode(basic);
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.post(format!("{}/status-acts", self.url));
        let request = request.header("authorization", format!("Basic {basic}"));
        let mut response = request.send(body.to_string()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

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

    serving.act(&["revoke", "--issued-before", "2020-01-01T00:00:00Z"], 0);
    serving.act(&["revoke", "--key", "no-such-key"], 0);
    serving.act(&["revoke", "--key", &kid()], 1);
    assert_eq!(serving.status(&other), "revoked");
    let [a, _] = tokens();
    serving.act(&["revoke", "--issued-before", "now"], 2);
    assert_eq!(serving.status(&a), "revoked");

    let trail = String::from_utf8(serving.issuer.run(&["audit", "--json"]).stdout).unwrap();
    let entry = trail.lines().find(|line| line.contains("\"subject\":\"b\"")).unwrap();
    let entry: Value = serde_json::from_str(entry).unwrap();
    assert_eq!((&entry["act"], &entry["count"]), (&json!("statuses_changed"), &json!(0)));
}

#[test]
fn a_token_is_suspended_and_resumed() {
    let serving = Serving::start();
    let jti = serving.issue(&["invoice-reader"]);
    serving.act(&["suspend", "--jti", &jti], 1);
    assert_eq!(serving.status(&jti), "suspended");
    let list = ureq::get(format!("{}/status-list-aggregation", serving.url)).call();
    let list: Value =
        serde_json::from_str(&list.unwrap().body_mut().read_to_string().unwrap()).unwrap();
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
