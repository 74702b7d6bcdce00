//! Steps 5 to 7: what the signed claims say about time, audience, sender and scope.

use edgepass_jose::{ClaimsSet, NumericDate, Scope};
use edgepass_status_list::StatusReference;

use crate::check::Demand;
use crate::credentials::Presentation;
use crate::error::VerifyError;
use crate::policy::{Policy, StatusMode};

/// Step 5. Returns where the token's status is, unless the policy ignores status.
///
/// Form first, then times, lifetime and audience, in the order of [`VerifyError`]'s variants.
pub(crate) fn check_claims(
    claims: &ClaimsSet,
    policy: &Policy,
    demand: &Demand,
    now: NumericDate,
) -> Result<Option<StatusReference>, VerifyError> {
    let expiration = claims.expiration()?.ok_or(VerifyError::ClaimMissing("exp"))?;
    let issued_at = claims.issued_at()?.ok_or(VerifyError::ClaimMissing("iat"))?;
    let not_before = claims.not_before()?;
    let audience = claims.audience()?;
    // RFC 9068 §2.2: REQUIRED, besides those above and `iss`.
    for name in ["sub", "client_id", "jti"] {
        claims.required_string(name)?;
    }
    claims.string("scope")?;
    let status = status_reference(claims, policy)?;

    // "on or after" (RFC 7519 §4.1.4): refused in the very second of `exp`.
    if now >= expiration.plus(policy.leeway) {
        return Err(VerifyError::TokenExpired);
    }
    let horizon = now.plus(policy.leeway);
    if issued_at > horizon || not_before.is_some_and(|not_before| not_before > horizon) {
        return Err(VerifyError::TokenNotYetValid);
    }
    if expiration.since(issued_at) > policy.max_lifetime {
        return Err(VerifyError::LifetimeExceeded);
    }
    let accepted = demand.audience.as_deref().unwrap_or(&policy.audience);
    if !accepted.iter().any(|own| audience.contains(&own.as_str())) {
        return Err(VerifyError::AudienceMismatch);
    }
    Ok(status)
}

/// Step 6. Sender-constrained tokens are refused until their proofs can be checked: a token with
/// `cnf` must never pass as a bearer token (RFC 9449 §7.2, RFC 8705 §3).
pub(crate) fn check_binding(claims: &ClaimsSet, demand: &Demand) -> Result<(), VerifyError> {
    if claims.get("cnf").is_some() || demand.presented_as == Presentation::Dpop {
        return Err(VerifyError::BindingMismatch);
    }
    Ok(())
}

/// Step 7. A malformed scope string grants nothing.
pub(crate) fn check_scope(claims: &ClaimsSet, demand: &Demand) -> Result<(), VerifyError> {
    let granted = claims.string("scope")?.and_then(|text| Scope::parse(text).ok());
    let granted = granted.unwrap_or_default();
    let missing = demand.all_of.missing_in(&granted);
    if !missing.is_empty() {
        return Err(VerifyError::ScopeInsufficient(missing));
    }
    if !demand.any_of.is_empty() && !demand.any_of.intersects(&granted) {
        return Err(VerifyError::ScopeInsufficient(demand.any_of.clone()));
    }
    Ok(())
}

fn status_reference(
    claims: &ClaimsSet,
    policy: &Policy,
) -> Result<Option<StatusReference>, VerifyError> {
    if policy.status_mode == StatusMode::Ignore {
        return Ok(None);
    }
    match StatusReference::from_claims(claims)? {
        Some(reference) if policy.allows_status_uri(&reference.uri) => Ok(Some(reference)),
        Some(_) => Err(VerifyError::ClaimInvalid("status")),
        None if policy.status_mode == StatusMode::Required => {
            Err(VerifyError::ClaimMissing("status"))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepass_jose::json::parse_object;
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
        ClaimsSet::new(parse_object(claims.to_string().as_bytes()).unwrap())
    }

    fn check(changes: Value, now: u64) -> Option<VerifyError> {
        let now = NumericDate::from_seconds(now);
        check_claims(&claims(changes), &policy(), &Demand::default(), now).err()
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
            assert_eq!(missing, Some(VerifyError::ClaimMissing(name)));
            let wrong = check(json!({ name: {"a": 1} }), 1500);
            assert_eq!(wrong, Some(VerifyError::ClaimInvalid(name)));
        }
        for changes in [json!({"sub": ""}), json!({"nbf": "1"}), json!({"scope": ["a:read"]})] {
            assert!(matches!(check(changes, 1500), Some(VerifyError::ClaimInvalid(_))));
        }
        let status =
            json!({"status": {"status_list": {"idx": 1, "uri": "https://evil.example/1"}}});
        assert_eq!(check(status, 1500), Some(VerifyError::ClaimInvalid("status")));
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
        let demand = |all_of: &str, any_of: &str| Demand {
            all_of: Scope::parse(all_of).unwrap_or_default(),
            any_of: Scope::parse(any_of).unwrap_or_default(),
            ..Demand::default()
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
            let claims = claims(json!({ "scope": scope }));
            assert_eq!(check_scope(&claims, &demand(all_of, any_of)).err(), expected, "{scope:?}");
        }
    }

    #[test]
    fn a_bound_token_never_passes_as_bearer() {
        let bound = claims(json!({"cnf": {"jkt": "x"}}));
        let mismatch = Err(VerifyError::BindingMismatch);
        assert_eq!(check_binding(&bound, &Demand::default()), mismatch);
        let dpop = Demand { presented_as: Presentation::Dpop, ..Demand::default() };
        assert_eq!(check_binding(&claims(json!({})), &dpop), mismatch);
        assert_eq!(check_binding(&claims(json!({})), &Demand::default()), Ok(()));
    }
}
