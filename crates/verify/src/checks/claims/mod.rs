//! Steps 5 and 7: the signed claims, such as times, audience and scope.

use edgepass_jose::claims::{Audience, ClaimError};
use edgepass_jose::{ClaimsSet, NumericDate, Scope};
use edgepass_status_list::StatusReference;

use crate::checks::Requirements;
use crate::checks::binding::Confirmation;
use crate::checks::{networks, purpose};
use crate::error::VerifyError;
use crate::policy::{Policy, StatusMode, granted};
use crate::time::UnixMillis;

/// Judges claims before they are signed, as if the client that they are bound to presented them at
/// `now`: issuer, form, required and expected claims, times, lifetime, audience, and whether the
/// binding is one that verifiers check. Returns the reference
/// to their status; `None` if they have none or the policy ignores status.
///
/// # Errors
///
/// The [`VerifyError`] of the first failure.
///
/// # Example
///
/// ```
/// use edgepass_jose::ClaimsSet;
/// use edgepass_verify::checks::judge_unsigned;
/// use edgepass_verify::policy::OneOrMany;
/// use edgepass_verify::{Policy, PolicyConfig, UnixMillis, VerifyError};
///
/// let audience = OneOrMany::One("https://api.example".into());
/// let policy = Policy::try_from(PolicyConfig::new("https://issuer.example".into(), audience))?;
/// let claims = br#"{
///     "iss": "https://issuer.example", "aud": "https://api.example", "sub": "client",
///     "client_id": "client", "jti": "1", "iat": 1800000000, "exp": 1800000600,
///     "status": {"status_list": {"idx": 7, "uri": "https://issuer.example/status-lists/1"}}
/// }"#;
/// let claims = ClaimsSet::parse(claims)?;
/// let status = judge_unsigned(&claims, &policy, UnixMillis::from_seconds(1_800_000_000))?;
/// assert_eq!(status.map(|reference| reference.index), Some(7));
///
/// let late = judge_unsigned(&claims, &policy, UnixMillis::from_seconds(1_800_000_610));
/// assert_eq!(late, Err(VerifyError::TokenExpired));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn judge_unsigned(
    claims: &ClaimsSet,
    policy: &Policy,
    now: UnixMillis,
) -> Result<Option<StatusReference>, VerifyError> {
    if !policy.issuer.is(claims.required_string("iss")?, claims) {
        return Err(VerifyError::IssuerMismatch);
    }
    let found = check_claims(claims, policy, &Requirements::default(), now.numeric_date())?;
    networks::of(claims)?;
    purpose::form(claims)?;
    match Confirmation::of(claims)? {
        Confirmation::NotUnderstood => Err(VerifyError::BindingMismatch),
        Confirmation::None | Confirmation::To { .. } => Ok(found.status),
    }
}

/// The result of step 5.
pub(crate) struct Found {
    /// The reference to the token's status. `None` if the token has none or the policy ignores
    /// status.
    pub(crate) status: Option<StatusReference>,
    /// The scope that the token grants.
    pub(crate) granted: Scope,
}

/// Step 5. Checks the form of all claims first, then times, lifetime and audience, in the order of
/// [`VerifyError`]'s variants.
pub(crate) fn check_claims(
    claims: &ClaimsSet,
    policy: &Policy,
    requirements: &Requirements,
    now: NumericDate,
) -> Result<Found, VerifyError> {
    let expiration = claims.expiration()?.ok_or_else(|| ClaimError::missing("exp"))?;
    let issued_at = claims.issued_at()?;
    let not_before = claims.not_before()?;
    let aud = policy.audience_claim.get(claims)?.ok_or_else(|| policy.audience_claim.missing())?;
    let audience = Audience::of(aud).ok_or_else(|| policy.audience_claim.invalid())?;
    check_presence(claims, policy)?;
    let granted = granted(claims, &policy.scope)?;
    let status = status_reference(claims, policy)?;

    // "on or after" (RFC 7519 §4.1.4): without leeway a token is refused in the second of `exp`.
    if now >= expiration.plus(policy.leeway) {
        return Err(VerifyError::TokenExpired);
    }
    let horizon = now.plus(policy.leeway);
    if [issued_at, not_before].into_iter().flatten().any(|date| date > horizon) {
        return Err(VerifyError::TokenNotYetValid);
    }
    if expiration.since(issued_at.unwrap_or(now)) > policy.max_lifetime {
        return Err(VerifyError::LifetimeExceeded);
    }
    let accepted = requirements.audience.as_deref().unwrap_or(&policy.audience);
    if !accepted.iter().any(|own| audience.contains(own)) {
        return Err(VerifyError::AudienceMismatch);
    }
    Ok(Found { status, granted })
}

/// Checks that required claims are present and neither `null` nor empty, that `sub`, `client_id`
/// and `jti` are strings if they are required, and that expected claims have an accepted value.
fn check_presence(claims: &ClaimsSet, policy: &Policy) -> Result<(), VerifyError> {
    for path in &policy.required_claims {
        match path.get(claims)? {
            None => return Err(path.missing().into()),
            Some(value) if value.is_null() || value.as_str() == Some("") => {
                return Err(path.invalid().into());
            }
            Some(value) if value.as_str().is_none() && path.is_of_text() => {
                return Err(path.invalid().into());
            }
            Some(_) => {}
        }
    }
    for (path, values) in &policy.expected_claims {
        let value = path.get(claims)?.ok_or_else(|| path.missing())?;
        if !values.fits(value) {
            return Err(path.invalid().into());
        }
    }
    Ok(())
}

/// Step 7: compares the granted scope with the requirements.
pub(crate) fn check_scope(granted: &Scope, requirements: &Requirements) -> Result<(), VerifyError> {
    let missing = requirements.all_of.missing_in(granted);
    if !missing.is_empty() {
        return Err(VerifyError::ScopeInsufficient(missing));
    }
    if !requirements.any_of.is_empty() && !requirements.any_of.intersects(granted) {
        return Err(VerifyError::ScopeInsufficient(requirements.any_of.clone()));
    }
    Ok(())
}

/// The reference to the token's status. `None` if the policy ignores status, or does not require
/// one and the token has none.
fn status_reference(
    claims: &ClaimsSet,
    policy: &Policy,
) -> Result<Option<StatusReference>, VerifyError> {
    if policy.status_mode == StatusMode::Ignore {
        return Ok(None);
    }
    match StatusReference::from_claims(claims)? {
        Some(reference) if policy.allows_status_uri(&reference.uri) => Ok(Some(reference)),
        Some(_) => Err(ClaimError::invalid("status").into()),
        None if policy.status_mode == StatusMode::Required => {
            Err(ClaimError::missing("status").into())
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
