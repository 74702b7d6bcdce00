use super::*;
use crate::policy::freshness::FreshnessError;
use crate::verifier::{KeySource, Verifier};
use serde_json::{Value, json};

fn policy(extra: serde_json::Value) -> Result<Policy, PolicyError> {
    let mut config = json!({"issuer": "https://issuer.example", "audience": "api"});
    for (name, value) in extra.as_object().unwrap() {
        config[name] = value.clone();
    }
    serde_json::from_value::<PolicyConfig>(config).unwrap().try_into()
}

#[test]
fn every_cross_field_rule_has_its_own_error() {
    for (extra, expected) in [
        (json!({"issuer": ""}), PolicyError::IssuerInvalid),
        (json!({"audience": []}), PolicyError::AudienceEmpty),
        (json!({"audience": ""}), PolicyError::AudienceEmpty),
        (json!({"algorithms": ["HS256"]}), PolicyError::AlgorithmUnknown),
        (json!({"leeway": "6m"}), PolicyError::LeewayTooLong),
        (json!({"dpop": {"algorithms": ["none"]}}), PolicyError::AlgorithmUnknown),
        (json!({"scope_claim": "scp"}), PolicyError::FixedByProfile("scope_claim")),
        (json!({"required_claims": []}), PolicyError::FixedByProfile("required_claims")),
        (json!({"audience_claim": "azp"}), PolicyError::FixedByProfile("audience_claim")),
        (json!({"profile": "jwt"}), PolicyError::Unstated("typ")),
        (json!({"profile": "jwt", "typ": null}), PolicyError::Unstated("status.mode")),
        (json!({"expected_claims": {"tid": []}}), PolicyError::ExpectedClaimEmpty),
        (json!({"expected_claims": {"a\"b": "x"}}), PolicyError::ClaimNameInvalid),
        (json!({"status": {"uri_prefixes": ["http://x.example/"]}}), PolicyError::PrefixInvalid),
    ] {
        assert_eq!(policy(extra.clone()).err(), Some(expected), "{extra}");
    }
    assert!(policy(json!({"leeway": "5m"})).is_ok());
    let jwt = |mode: &str, freshness: &Value| {
        policy(json!({
            "profile": "jwt", "typ": null, "status": {"mode": mode}, "freshness": freshness,
        }))
    };
    for (freshness, name) in [
        (json!({"publish_delay": "1s"}), "freshness.publish_delay"),
        (json!({"shared_max_age": "1s"}), "freshness.shared_max_age"),
        (json!({"refresh_interval": "ttl"}), "freshness.refresh_interval"),
        (json!({"max_list_age": "5m"}), "freshness.max_list_age"),
        (json!({"keys": "http", "deadline": "10s"}), "freshness.deadline"),
    ] {
        let expected = Some(PolicyError::WithoutEffect(name));
        assert_eq!(jwt("ignore", &freshness).err(), expected, "{freshness}");
        assert!(jwt("when_present", &freshness).is_ok(), "{freshness}");
    }
    for freshness in [
        json!({"keys": "http", "deadline": "none", "fetch_timeout": "1s", "keys_hard_stop": "1h"}),
        json!({"stale_if_error": "0s"}),
        json!({"deadline": "20s", "refresh_interval": "10s", "max_list_age": "5m"}),
        json!({"keys": "deadline", "refresh_interval": "4s"}),
    ] {
        assert!(jwt("ignore", &freshness).is_ok(), "{freshness}");
    }
    for (extra, expected) in [
        (json!({"max_lifetime": "500ms"}), PolicyError::Zero("max_lifetime")),
        (json!({"max_token_bytes": 0}), PolicyError::Zero("max_token_bytes")),
        (json!({"status": {"max_list_bytes": 0}}), PolicyError::Zero("status.max_list_bytes")),
        (
            json!({"status": {"max_response_bytes": 0}}),
            PolicyError::Zero("status.max_response_bytes"),
        ),
        (json!({"freshness": {"fetch_timeout": "0s"}}), FreshnessError::NoTime.into()),
        (json!({"freshness": {"deadline": "25h"}}), FreshnessError::TooLong.into()),
        (
            json!({"freshness": {"deadline": "none", "refresh_interval": "0s", "stale_if_error": "0s"}}),
            FreshnessError::NeverUsable.into(),
        ),
        (
            json!({"freshness": {"deadline": "none", "publish_delay": "1s"}}),
            PolicyError::WithoutEffect("freshness.publish_delay"),
        ),
        (json!({"status": {"uri_prefixes": []}}), PolicyError::NoPrefix),
        (json!({"status": {"uri_prefixes": ["https://a/#b"]}}), PolicyError::PrefixInvalid),
        (json!({"issuer": "mine"}), PolicyError::NoPrefix),
        (json!({"issuer": "https://a/{tid}", "tenants": "any"}), PolicyError::NoPrefix),
        (
            json!({"issuer": "https://a/{tid}", "tenants": ["any", "b"], "status": {"mode": "ignore"}}),
            PolicyError::Tenants,
        ),
        (
            json!({"status": {"mode": "ignore", "uri_prefixes": ["https://a/"]}}),
            PolicyError::WithoutEffect("status.uri_prefixes"),
        ),
        (
            json!({"status": {"mode": "ignore", "max_list_bytes": 1}}),
            PolicyError::WithoutEffect("status.max_list_bytes"),
        ),
    ] {
        assert_eq!(policy(extra.clone()).err(), Some(expected), "{extra}");
    }
    let slow = policy(json!({"freshness": {"deadline": "5s"}}));
    assert!(matches!(slow, Err(PolicyError::Freshness(_))));
}

#[test]
fn an_issuer_is_discovered_only_by_a_url_that_can_be_read_one_way() {
    let discover = |issuer: &str| {
        let status = json!({ "mode": "ignore" });
        let policy = policy(json!({ "issuer": issuer, "status": status })).unwrap();
        Verifier::new(policy, KeySource::Discover).err()
    };
    for issuer in [
        "http://issuer.example",
        "https://issuer.example?x",
        "https://",
        "https://a@b",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1:80@evil.example",
        "http://localhost:@evil.example/x",
        "https://a\\\\b",
        "https://a:b",
        "joe",
    ] {
        assert_eq!(discover(issuer), Some(PolicyError::IssuerInvalid), "{issuer}");
        let status = json!({ "mode": "ignore" });
        let policy = policy(json!({ "issuer": issuer, "status": status })).unwrap();
        assert!(policy.status_uri_prefixes.is_empty(), "{issuer}");
        assert!(Verifier::new(policy, KeySource::Unusable).is_ok());
    }
    for issuer in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/x"] {
        assert_eq!(discover(issuer), None, "{issuer}");
    }
}

#[test]
fn issuers_are_told_apart() {
    let of = |issuers: &[&str]| {
        let one =
            |issuer: &&str| (policy(json!({ "issuer": issuer })).unwrap(), KeySource::Unusable);
        Verifier::of_issuers(issuers.iter().map(one).collect()).err()
    };
    assert_eq!(of(&["https://a.example", "https://b.example"]), None);
    assert_eq!(of(&["https://a.example", "https://a.example"]), Some(PolicyError::IssuerTwice));
    assert_eq!(of(&[]), Some(PolicyError::IssuerCount));
}

#[test]
fn an_unknown_field_or_a_bare_number_is_refused() {
    for text in [
        r#"{"issuer":"https://i.example","audience":"a","leway":"1s"}"#,
        r#"{"issuer":"https://i.example","audience":"a","leeway":10}"#,
        r#"{"audience":"a"}"#,
        r#"{"issuer":"https://i.example"}"#,
    ] {
        assert!(serde_json::from_str::<PolicyConfig>(text).is_err(), "{text}");
    }
}

#[test]
fn status_uris_cannot_leave_their_prefix() {
    let policy = policy(json!({})).unwrap();
    assert!(policy.allows_status_uri("https://issuer.example/status-lists/1"));
    assert!(policy.allows_status_uri("https://issuer.example/.well-known/lists/1?v=..%2e"));
    for uri in [
        "https://issuer.example.evil/1",
        "https://issuer.example",
        "https://issuer.example/../x",
        "https://issuer.example/%2E%2e/x",
        "https://issuer.example/a/..",
        "https://issuer.example/./a",
        "https://issuer.example/a\\b",
        "https://issuer.example/a#b",
        "https://issuer.example/a b",
        "https://issuer.example/ä",
        "http://issuer.example/1",
        "HTTPS://issuer.example/1",
        "http://169.254.169.254/",
    ] {
        assert!(!policy.allows_status_uri(uri), "{uri}");
    }
}

#[test]
fn a_prefix_ends_where_a_segment_ends() {
    let allows = |prefix: &str, uri: &str| {
        policy(json!({ "status": { "uri_prefixes": [prefix] } })).unwrap().allows_status_uri(uri)
    };
    for (prefix, uri) in [
        ("https://cdn.example", "https://cdn.example/1"),
        ("https://cdn.example/lists", "https://cdn.example/lists"),
        ("https://cdn.example/lists", "https://cdn.example/lists/1"),
        ("https://cdn.example/lists", "https://cdn.example/lists?id=1"),
        ("https://cdn.example/lists/", "https://cdn.example/lists/1"),
        ("https://cdn.example/lists?id=", "https://cdn.example/lists?id=1"),
        ("https://cdn.example/lists?of=a", "https://cdn.example/lists?of=a&id=1"),
    ] {
        assert!(allows(prefix, uri), "{prefix} {uri}");
    }
    for (prefix, uri) in [
        ("https://cdn.example", "https://cdn.example.evil/1"),
        ("https://cdn.example", "https://cdn.example:8443/1"),
        ("https://cdn.example", "https://cdn.example@evil/1"),
        ("https://cdn.example/lists", "https://cdn.example/lists-of-another/1"),
        ("https://cdn.example/lists", "https://cdn.example/lists%41/1"),
        ("https://cdn.example/lists", "https://cdn.example/lists;x/1"),
        ("https://cdn.example/lists?of=a", "https://cdn.example/lists?of=another"),
    ] {
        assert!(!allows(prefix, uri), "{prefix} {uri}");
    }
}
