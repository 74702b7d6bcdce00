use super::*;
use serde_json::{Value, json};

fn policy() -> Policy {
    let config = json!({"issuer": "https://i.example", "audience": ["api", "api2"],
        "leeway": "5s", "max_lifetime": "1h", "status": {"mode": "when_present"}});
    serde_json::from_value::<crate::PolicyConfig>(config).unwrap().try_into().unwrap()
}

fn claims(changes: Value) -> ClaimsSet {
    let mut claims = json!({"iss": "https://i.example", "aud": "api", "sub": "s",
        "client_id": "c", "jti": "j", "iat": 1000, "exp": 1600, "scope": "a:read b:read"});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    ClaimsSet::parse(claims.to_string().as_bytes()).unwrap()
}

fn check(changes: Value, now: u64) -> Option<VerifyError> {
    let now = NumericDate::from_seconds(now);
    check_claims(&claims(changes), &policy(), &Requirements::default(), now).err()
}

#[test]
fn every_time_rule_holds_to_the_second() {
    use VerifyError::*;
    for (changes, now, expected) in [
        (json!({}), 1604, None),
        (json!({}), 1605, Some(TokenExpired)),
        (json!({"exp": 1600.9}), 1605, Some(TokenExpired)),
        (json!({}), 995, None),
        (json!({}), 994, Some(TokenNotYetValid)),
        (json!({"iat": 1000.1}), 995, Some(TokenNotYetValid)),
        (json!({"nbf": 1100}), 1095, None),
        (json!({"nbf": 1100}), 1094, Some(TokenNotYetValid)),
        (json!({"exp": 4600}), 1500, None),
        (json!({"exp": 4601}), 1500, Some(LifetimeExceeded)),
    ] {
        assert_eq!(check(changes.clone(), now), expected, "{changes} at {now}");
    }
}

#[test]
fn required_claims_are_required_with_their_types() {
    for name in ["exp", "iat", "aud", "sub", "client_id", "jti"] {
        let missing = check(json!({ name: null }), 1500);
        assert_eq!(missing, Some(VerifyError::ClaimMissing(name.into())));
        let wrong = check(json!({ name: {"a": 1} }), 1500);
        assert_eq!(wrong, Some(VerifyError::ClaimInvalid(name.into())));
    }
    for changes in [json!({"sub": ""}), json!({"nbf": "1"}), json!({"scope": ["a:read"]})] {
        assert!(matches!(check(changes, 1500), Some(VerifyError::ClaimInvalid(_))));
    }
    let status = json!({"status": {"status_list": {"idx": 1, "uri": "https://evil.example/1"}}});
    assert_eq!(check(status, 1500), Some(VerifyError::ClaimInvalid("status".into())));
}

#[test]
fn audience_is_membership_by_code_point() {
    for (aud, accepted) in [
        (json!("api"), true),
        (json!(["x", "api2"]), true),
        (json!("API"), false),
        (json!("api "), false),
        (json!("ap"), false),
        (json!(["apiapi2"]), false),
    ] {
        let expected = (!accepted).then_some(VerifyError::AudienceMismatch);
        assert_eq!(check(json!({ "aud": aud }), 1500), expected, "{aud}");
    }
}

#[test]
fn all_of_and_any_of_say_what_they_mean() {
    let requirements = |all_of: &str, any_of: &str| Requirements {
        all_of: Scope::parse(all_of).unwrap_or_default(),
        any_of: Scope::parse(any_of).unwrap_or_default(),
        ..Requirements::default()
    };
    let missing = |text| Some(VerifyError::ScopeInsufficient(Scope::parse(text).unwrap()));
    for (scope, all_of, any_of, expected) in [
        ("a:read b:read", "a:read b:read", "", None),
        ("a:read b:read", "a:read c:read", "", missing("c:read")),
        ("a:read b:read", "", "c:read a:read", None),
        ("a:read b:read", "", "c:read d:read", missing("c:read d:read")),
        ("a:read  b:read", "a:read", "", missing("a:read")), // malformed grants nothing
        ("a:reader", "a:read", "", missing("a:read")),
        ("A:READ", "a:read", "", missing("a:read")),
        ("", "", "", None),
    ] {
        let granted = granted(&claims(json!({ "scope": scope })), &policy().scope).unwrap();
        assert_eq!(
            check_scope(&granted, &requirements(all_of, any_of)).err(),
            expected,
            "{scope:?}"
        );
    }
}

#[test]
fn claims_are_judged_before_they_are_signed() {
    let judged = |changes: Value| {
        judge_unsigned(&claims(changes), &policy(), UnixMillis::from_seconds(1100))
    };
    let own = json!({"status_list": {"idx": 7, "uri": "https://i.example/lists/1"}});
    let reference = judged(json!({ "status": own })).unwrap().unwrap();
    assert_eq!((reference.index, reference.uri.as_str()), (7, "https://i.example/lists/1"));
    assert_eq!(judged(json!({})).unwrap(), None);
    assert_eq!(judged(json!({"cnf": {"jkt": "x"}})).unwrap(), None);
    let foreign = json!({"status_list": {"idx": 7, "uri": "https://other.example/lists/1"}});
    for (changes, expected) in [
        (json!({"iss": "https://other.example"}), VerifyError::IssuerMismatch),
        (json!({"iss": null}), VerifyError::ClaimMissing("iss".into())),
        (json!({"exp": 1000}), VerifyError::TokenExpired),
        (json!({"aud": "other"}), VerifyError::AudienceMismatch),
        (json!({"client_id": ""}), VerifyError::ClaimInvalid("client_id".into())),
        (json!({"cnf": {"kid": "x"}}), VerifyError::BindingMismatch),
        (json!({ "status": foreign }), VerifyError::ClaimInvalid("status".into())),
    ] {
        assert_eq!(judged(changes.clone()).unwrap_err(), expected, "{changes}");
    }
}
